"""Ensemble: the addressed weights, thread independence, training and coarse-graining by hand, infinite-width law."""

import numpy as np
import pytest

import fieldflow as ff
from fieldflow.numeric import rng
from oracles import primal

GENERATOR = np.random.default_rng(8)
X, XS, FISHER = GENERATOR.normal(size=(9, 2)), GENERATOR.normal(size=(3, 2)), GENERATOR.normal(size=(4, 2))
Y = X[:, 0] ** 2 - X[:, 1]
NET = ff.MLP(2, widths=(4, 30), activation=("identity", "relu"), sigma_w=(1.1, 0.9, 0.7), sigma_b=(0.3, 0.2, 0.5))


def by_hand(net, seed, member, x):
    """Hidden outputs (width, n) from the documented addresses: neuron by neuron, weights then bias, layer by layer."""
    count = sum(m * (n + 1) for n, m in zip((net.d_in, *net.widths), net.widths, strict=False))
    numbers = iter(rng.normals(count, seed=seed, member=member, stream=0))
    values = x.T
    for layer, width in enumerate(net.widths):
        fan_in = len(values)
        out = np.empty((width, x.shape[0]))
        for neuron in range(width):
            weights = np.array([next(numbers) for _ in range(fan_in)]) * net.sigma_w[layer] / np.sqrt(fan_in)
            out[neuron] = weights @ values + net.sigma_b[layer] * next(numbers)
        values = np.maximum(out, 0) if net.activation[layer].name == "relu" else out
    return values


def readout(net, seed, member, stream):
    return rng.normals(net.widths[-1] + 1, seed=seed, member=member, stream=stream)


def features(net, hidden):
    scaled = hidden * net.sigma_w[-1] / np.sqrt(net.widths[-1])
    return np.vstack([scaled, np.full((1, hidden.shape[1]), net.sigma_b[-1])])


@pytest.mark.parametrize("method", ["gd", "sgd", "gradient_flow"])
@pytest.mark.parametrize("mode", ["resample", "prune"])
def test_a_member_by_hand(method, mode):
    seed, member, cutoffs = 12345678901234567890, 70, np.array([0.0, 0.2, 0.6, 1.5])
    rate, steps = (0.05, 40) if method == "sgd" else (0.3, 40)
    ens = ff.Ensemble(NET, members=71, seed=seed).train(X, Y, learning_rate=rate, steps=steps, method=method)
    found = ens.coarse_grain(cutoffs, fisher=FISHER, noise_variance=0.8, mode=mode).sample(XS)[:, member]
    trained = primal.train(
        features(NET, by_hand(NET, seed, member, X)),
        Y,
        readout(NET, seed, member, 1),
        method=method,
        learning_rate=rate,
        steps=steps,
    )
    diagonal = np.append(np.mean(by_hand(NET, seed, member, FISHER) ** 2, axis=1) / 0.8, 1 / 0.8)
    there = features(NET, by_hand(NET, seed, member, XS))
    for i, cutoff in enumerate(cutoffs):
        expected = primal.coarse_grain(there, trained, readout(NET, seed, member, 2), diagonal, cutoff, mode)
        np.testing.assert_allclose(found[i], expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(ff.Ensemble(NET, members=71, seed=seed).fisher_diagonal(FISHER, noise_variance=0.8)[member],
                               diagonal, rtol=1e-12)  # fmt: skip


def test_more_members_or_threads_change_no_bit_and_more_cutoffs_only_the_order_of_a_sum():
    def draw(members, threads, cutoffs):
        ens = ff.Ensemble(NET, members=members, seed=3, threads=threads).train(X, Y, learning_rate=0.3, steps=30)
        return ens.coarse_grain(cutoffs, fisher=FISHER).sample(XS)

    base = draw(150, 1, [0.3])
    assert (draw(150, 3, [0.3]) == base).all()
    assert (draw(40, 2, [0.3])[:, :40] == base[:, :40]).all()
    np.testing.assert_allclose(draw(150, 2, [0.0, 0.3, 2.0])[1], base[0], rtol=1e-13, atol=1e-13)


@pytest.mark.statistical
def test_gaussian_fisher_law_is_the_mean_over_many_inputs():
    net = ff.MLP(2, widths=(40,), activation="relu", sigma_b=(0.4, 0.0))
    ens = ff.Ensemble(net, members=2, seed=1)
    points = np.array([0.5, -1.0]) + np.array([0.7, 1.2]) * np.random.default_rng(3).normal(size=(200_000, 2))
    law = ens.coarse_grain(0.5, fisher="gaussian", input_mean=[0.5, -1.0], input_std=[0.7, 1.2]).shell.law
    exact = ens.gaussian_law(law, 0, 2)[1]
    squares = by_hand(net, 1, 1, points) ** 2
    np.testing.assert_allclose(ens.fisher_diagonal(points)[1], squares.mean(axis=1), rtol=1e-11)
    error = squares.std(axis=1) / np.sqrt(squares.shape[1])
    often = np.mean(squares > 0, axis=1) > 1e-3  # rarer units have too few samples for a Gaussian error
    assert often.sum() >= 35
    assert np.abs((squares.mean(axis=1) - exact)[often] / error[often]).max() < 4.5
    assert np.abs((squares.mean(axis=1) - 0.5 * exact)[often] / error[often]).min() > 8


@pytest.mark.statistical
def test_wide_ensemble_follows_the_infinite_width_law():
    """Mean and variance of 3000 trained members at N = 1000 against the closed shell flow, pulls with 1/N allowed for."""
    net = ff.MLP(2, widths=(1000,), activation="relu")
    flow = ff.TrainingFlow(ff.MLP(2, depth=1, activation="relu"), X, Y, learning_rate=0.5, steps=100)
    cutoffs = np.array([0.0, 0.1, 0.4])
    shell = ff.ShellFlow(flow)
    ens = ff.Ensemble(net, members=3000, seed=2).train(X, Y, learning_rate=0.5, steps=100)
    sample = ens.coarse_grain(cutoffs, fisher="gaussian").sample(XS)
    error = sample.std(axis=1, ddof=1) / np.sqrt(3000)
    pulls = (sample.mean(axis=1) - shell.mean(XS, cutoffs)) / error
    assert np.abs(pulls).max() < 4.5
    control = (sample.mean(axis=1) - 0.5 * shell.mean(XS, cutoffs)) / error
    assert np.abs(control).max() > 8


def test_untrained_ensemble_is_the_prior_and_outputs_are_separate():
    net = ff.MLP(2, widths=(200,), activation="relu", d_out=2)
    sample = ff.Ensemble(net, members=2000, seed=0).sample(XS)
    assert sample.shape == (2000, 3, 2)
    covariance = np.cov(sample[:, 0, 0], sample[:, 0, 1])
    prior = ff.nngp(net, XS)[0, 0]
    assert abs(covariance[0, 1]) < 4.5 * prior / np.sqrt(2000)
    assert abs(covariance[0, 0] - prior) < 4.5 * prior * np.sqrt(2.1 / 2000)
    both = np.column_stack([Y, 2 * Y])
    trained = ff.Ensemble(net, members=5, seed=0).train(X, both, learning_rate=0.6, steps=50)
    assert trained.coarse_grain([0.0, 1.0], fisher="gaussian").sample(XS).shape == (2, 5, 3, 2)


def test_divergence_is_seen():
    net = ff.MLP(2, widths=(50,), activation="relu")
    ens = ff.Ensemble(net, members=10, seed=0)
    assert not ens.train(X, Y, learning_rate=0.1, steps=100).diverged().any()
    assert ens.train(X, Y, learning_rate=100.0, steps=100).diverged().all()


@pytest.mark.parametrize(
    ("act", "key"),
    [
        (lambda: ff.Ensemble(NET, members=0), "members"),
        (lambda: ff.Ensemble(NET, members=True), "members"),
        (lambda: ff.Ensemble(NET, members=3, seed=-1), "seed"),
        (lambda: ff.Ensemble(NET, members=3, seed=2**64), "seed"),
        (lambda: ff.Ensemble(NET, members=3, threads=0), "threads"),
        (lambda: ff.Ensemble(ff.MLP(2, depth=1, activation="relu"), members=3), "net"),
        (lambda: ff.Ensemble(NET, members=3).train(X, Y, learning_rate=0.1, steps=float("inf")), "steps"),
        (lambda: ff.Ensemble(NET, members=3).train(X, Y[:2], learning_rate=0.1, steps=2), "y"),
        (lambda: ff.Ensemble(NET, members=3).coarse_grain([1.0, 0.5], fisher=FISHER), "cutoff"),
        (lambda: ff.Ensemble(NET, members=3).coarse_grain(1.0, fisher="gaussian"), "fisher"),
        (lambda: ff.Ensemble(NET, members=3).sample([[1.0]]), "x"),
    ],
)
def test_bad_arguments_are_named(act, key):
    with pytest.raises(ff.errors.BadInput, match=f"^{key}"):
        act()
