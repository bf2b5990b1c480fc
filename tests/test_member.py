"""Fisher matrix of all layers: against finite differences, the read-out's closed form, relative entropy and sampled scores."""

import numpy as np
import pytest

import fieldflow as ff
from fieldflow.errors import BadInput
from fieldflow.flow import training_matrix
from fieldflow.formulas import compiled

NETS = {
    "erf": ff.MLP(2, widths=(5,), activation="erf", sigma_b=0.3),
    "deep": ff.MLP(3, widths=(4, 6, 3), activation=("tanh", "sin", "gelu"), sigma_w=1.5, sigma_b=(0.2, 0.0, 0.4, 0.0)),
    "two outputs": ff.MLP(2, widths=(4, 3), activation="swish", sigma_b=0.1, d_out=2),
    "relu": ff.MLP(2, widths=(7,), activation="relu", scaling="unscaled"),
}
RNG = np.random.default_rng(5)
X = {name: RNG.normal(size=(6, net.d_in)) for name, net in NETS.items()}


def member(name, index=1):
    return ff.Ensemble(NETS[name], members=3, seed=9).member(index)


@pytest.mark.parametrize("name", NETS)
def test_one_member_is_the_ensembles_member(name):
    ens = ff.Ensemble(NETS[name], members=3, seed=9)
    np.testing.assert_allclose(member(name).outputs(X[name]), ens.sample(X[name])[1], rtol=1e-12, atol=1e-13)
    y = RNG.normal(size=(6, NETS[name].d_out))
    trained = ens.train(X[name], y, learning_rate=0.05, steps=7, method="sgd")
    there = RNG.normal(size=(2, NETS[name].d_in))
    np.testing.assert_allclose(trained.member(1).outputs(there), trained.sample(there)[1], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", NETS)
def test_slopes_are_limits_of_differences(name):
    one = member(name)
    found = one.jacobian(X[name])
    step = 1e-4
    for place in range(len(one.parameters)):
        change = np.zeros(len(one.parameters))
        change[place] = step
        sides = [ff.Member(one.net, one.parameters + s * change).outputs(X[name]) for s in (1, -1)]
        np.testing.assert_allclose(found[:, place], (sides[0] - sides[1]).ravel() / (2 * step), atol=3e-7)


def test_readout_block_is_the_fisher_diagonal_of_the_ensemble():
    """λ_i = E[h_i²]/s² of the raw read-out weight in every scaling."""
    for name in ("erf", "relu"):
        one = member(name)
        fisher = one.fisher_matrix(X[name], noise_variance=0.5)
        block = [*range(*one.layout["W2"].indices(10**6))]
        block += range(*one.layout["b2"].indices(10**6)) if "b2" in one.layout else []
        expected = ff.Ensemble(NETS[name], members=3, seed=9).fisher_diagonal(X[name], noise_variance=0.5)[1]
        np.testing.assert_allclose(np.diag(fisher)[block], expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["erf", "deep", "two outputs"])
def test_twice_the_relative_entropy_is_the_fisher_length(name):
    """2 KL/(δθᵀ I δθ) → 1, the error linear in |δθ| (equations 51, 52)."""
    one = member(name)
    fisher = one.fisher_matrix(X[name], noise_variance=0.7)
    direction = np.random.default_rng(2).normal(size=len(one.parameters))
    length = direction @ fisher @ direction
    errors = [
        2.0 * one.relative_entropy(size * direction, X[name], noise_variance=0.7) / (size**2 * length) - 1.0
        for size in (1e-2, 1e-3, 1e-4)
    ]
    assert abs(errors[2]) < 2e-3
    assert errors[0] / errors[1] == pytest.approx(10.0, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(10.0, rel=0.05)


@pytest.mark.statistical
def test_fisher_matrix_is_the_covariance_of_the_score():
    """Equations (47)-(50): scores of data drawn from the likelihood; the control takes the noise for its variance."""
    one, x, noise, draws = member("two outputs"), X["two outputs"], 0.3, 40_000
    jacobian = one.jacobian(x).reshape(len(x), 2, -1)
    residual = np.random.default_rng(3).normal(scale=np.sqrt(noise), size=(draws, 2))
    place = np.arange(draws) % len(x)
    scores = np.einsum("do,doP->dP", residual, jacobian[place]) / noise
    rows = np.arange(0, len(one.parameters), 3)
    products = scores[:, rows, None] * scores[:, None, rows]
    error = products.std(axis=0) / np.sqrt(draws)
    fisher = one.fisher_matrix(x, noise_variance=noise)[np.ix_(rows, rows)]
    pulls = (products.mean(axis=0) - fisher) / error
    assert np.max(np.abs(pulls)) < 4.5
    assert np.max(np.abs((products.mean(axis=0) - fisher * np.sqrt(noise)) / error)) > 30


def test_spectrum_is_that_of_the_matrix_with_its_zeros():
    one = member("deep")
    values = one.fisher_spectrum(X["deep"][:4], noise_variance=2.0)
    dense = np.linalg.eigvalsh(one.fisher_matrix(X["deep"][:4], noise_variance=2.0))[::-1]
    np.testing.assert_allclose(values, np.clip(dense, 0.0, None), atol=1e-13)
    assert np.all(values[4:] == 0.0)
    assert np.all(values[:4] > 0.0)


def test_posterior_of_the_readout_shrinks_by_the_fisher_matrix():
    """Equation (71) with the prior: the covariance of read-out weights after n data, against the function-space posterior."""
    one, x, noise = member("relu"), X["relu"], 0.4
    block = one.layout["W2"]
    fisher = one.fisher_matrix(x, noise_variance=noise)[block, block]
    covariance = compiled("fisher.posterior")(fisher, float(len(x)), one.net.readout_variance)
    features = one.jacobian(x)[:, block]
    kernel = one.net.readout_variance * features @ features.T
    expected = kernel - kernel @ np.linalg.solve(kernel + noise * np.eye(len(x)), kernel)
    np.testing.assert_allclose(features @ covariance @ features.T, expected, rtol=1e-9, atol=1e-11)


def test_bad_input_is_named():
    one = member("erf")
    with pytest.raises(BadInput, match=r"^parameters: expected shape \(21,\), got \(3,\)"):
        ff.Member(NETS["erf"], [1.0, 2.0, 3.0])
    with pytest.raises(BadInput, match=r"^change: expected shape \(21,\)"):
        one.relative_entropy([1.0], X["erf"])
    with pytest.raises(BadInput, match=r"^noise_variance: expected a finite number > 0"):
        one.fisher_matrix(X["erf"], noise_variance=0.0)
    with pytest.raises(BadInput, match=r"^index: expected an integer from 0 to 2, got 3"):
        member("erf", 3)
    with pytest.raises(BadInput, match=r"^net: a network given by depth is infinitely wide"):
        ff.Member(ff.MLP(1, depth=1, activation="relu"), [1.0])
    wide = ff.MLP(1, widths=(20_000,), activation="relu")
    with pytest.raises(BadInput, match=r"^net: the Fisher matrix of 40000 parameters takes 12.8 GB"):
        ff.Ensemble(wide, members=1).member(0).fisher_matrix([[1.0]])
    ens = ff.Ensemble(NETS["relu"], members=2).coarse_grain(0.1, fisher=X["relu"])
    with pytest.raises(BadInput, match=r"^member: a coarse-grained ensemble has one network per cut-off"):
        ens.member(0)


def test_trained_member_solves_what_training_solves():
    """The read-out after full-batch descent, from the dual solution written out."""
    net, x = NETS["relu"], X["relu"]
    y = np.linspace(-1.0, 1.0, len(x))
    ens = ff.Ensemble(net, members=1, seed=4)
    start, end = ens.member(0), ens.train(x, y, learning_rate=0.02, steps=30).member(0)
    features = start.jacobian(x)[:, start.layout["W2"]]
    kernel = net.readout_variance * features @ features.T
    matrix = training_matrix(kernel, method="gd", learning_rate=0.02, steps=30, d_out=1)
    change = net.readout_variance * features.T @ matrix @ (y - start.outputs(x))
    np.testing.assert_allclose(
        end.parameters[start.layout["W2"]] - start.parameters[start.layout["W2"]], change, rtol=1e-8
    )
    np.testing.assert_array_equal(end.parameters[start.layout["W1"]], start.parameters[start.layout["W1"]])
