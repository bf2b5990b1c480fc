"""n-point functions by streaming: exact small networks, calibrated errors, merging, threads, memory, mistakes."""

import subprocess
import sys
from itertools import combinations_with_replacement

import numpy as np
import pytest
from scipy import stats

import fieldflow as ff
from fieldflow.errors import BadInput, Underpowered

NET = ff.MLP(1, widths=(5,), activation="relu")
X = np.array([[1.0], [0.5]])
# One hidden layer of ReLU at x > 0: f = x Σ w h with E h² = 1/2, E h⁴ = 3/2, E h⁶ = 15/2 (theory: m₄ = 5/N, m₆ = 15/N + 44/N²).
FOURTH, SIXTH = (3 * 1.5 - 3 * 0.25) / 5, (15 * 7.5 - 3 * 15 * 1.5 * 0.5 + 2 * 15 * 0.125) / 25
WITHOUT_SUBTRACTION = 3 * 1.5 / 5
"""Negative control: the fourth moment of one neuron instead of its cumulant."""


def pull(measurement, truth):
    return abs(measurement.value - truth) / measurement.std_error


def test_the_exact_numbers_are_those_of_the_theory_sheet():
    gaussian = 0.5
    assert FOURTH / (3 * gaussian**2) == pytest.approx(5 / 5)
    sixth_moment = SIXTH + 15 * FOURTH * gaussian + 15 * gaussian**3
    assert sixth_moment / (15 * gaussian**3) - 1 == pytest.approx(15 / 5 + 44 / 25)


@pytest.mark.statistical
@pytest.mark.parametrize("rao_blackwell", [True, False])
def test_a_narrow_relu_network(rao_blackwell):
    found = ff.sample_correlators(NET, X, 600_000, seed=1, rao_blackwell=rao_blackwell)
    assert pull(found.measurement((0, 1)), 0.25) < 4
    assert pull(found.measurement((0, 1, 0, 1)), FOURTH / 4) < 4
    assert pull(found.measurement((0, 0, 1, 0, 1, 1)), SIXTH / 8) < 4
    assert pull(found.measurement((0, 0, 0, 0)), WITHOUT_SUBTRACTION) > 8
    assert found.measurement((0, 0, 1)).std_error == 0.0
    assert found.n == 600_000


@pytest.mark.statistical
def test_integrating_the_readout_pays():
    with_readout = ff.sample_correlators(NET, X, 100_000, seed=2, rao_blackwell=False)
    without = ff.sample_correlators(NET, X, 100_000, seed=2)
    for n in (2, 4, 6):
        plain, better = with_readout.connected(n).std_error, without.connected(n).std_error
        assert (better < 0.75 * plain).all()


@pytest.mark.statistical
@pytest.mark.parametrize("activation", ["erf", "tanh"])
def test_the_covariance_is_the_kernel(activation):
    """Exact at any width; whitened with the estimated covariance of all entries."""
    net = ff.MLP(2, widths=(10,), activation=activation, sigma_b=(0.5, 0.3))
    x = np.array([[1.0, 0.0], [0.3, -1.0], [2.0, 1.0]])
    kernel = ff.nngp(net, x)
    members = 65_536
    estimate = ff.sample_correlators(net, x, members, seed=3, orders=(2,)).connected(2)
    exact = np.array([kernel[i, j] for i, j in combinations_with_replacement(range(3), 2)])
    off = estimate.packed - exact
    chi2 = off @ np.linalg.solve(estimate.covariance, off)
    assert stats.chi2.sf(chi2, 6) > 1e-3
    control = estimate.packed - exact / 2
    assert (control @ np.linalg.solve(estimate.covariance, control) - 6) / np.sqrt(12) > 8


@pytest.mark.statistical
def test_errors_are_calibrated():
    """Pulls over seeds have mean 0 and variance 1; the mean square of 1.5 times the error would not."""
    pulls = {2: [], 4: []}
    for seed in range(150):
        found = ff.sample_correlators(NET, X[:1], 65_536, seed=seed, orders=(2, 4))
        for n, truth in ((2, 0.5), (4, FOURTH)):
            measured = found.measurement((0,) * n)
            pulls[n].append((measured.value - truth) / measured.std_error)
    for values in map(np.array, pulls.values()):
        assert abs(values.mean()) * np.sqrt(150) < 4
        tail = stats.chi2.cdf(np.sum(values**2), 150)
        assert 1e-3 < tail < 1 - 1e-3
        assert stats.chi2.cdf(np.sum((values / 1.5) ** 2), 150) < 1e-6


@pytest.mark.statistical
def test_odd_cumulants_of_samples():
    """a exponential: κ_n = (n-1)!; b = a + an independent one; a large mean costs no digits."""
    draw = np.random.default_rng(8)
    one, two = draw.exponential(size=(2, 400_000))
    found = ff.correlators_of(np.column_stack([one, one + two]) + 1e4, orders=(1, 2, 3, 4, 5, 6))
    for n, cumulant in ((1, 1 + 1e4), (2, 1), (3, 2), (4, 6), (5, 24), (6, 120)):
        assert pull(found.measurement((0,) * n), cumulant) < 4
        if n > 1:
            assert pull(found.measurement((0,) * (n - 1) + (1,)), cumulant) < 4
            assert pull(found.measurement((1,) * n), 2 * cumulant) < 4
    assert pull(found.measurement((0,) * 4), 9) > 8  # the central moment
    assert pull(found.moment(2).measurement((0, 1)), 1 + (1e4 + 1) * (1e4 + 2)) < 4


def same(one, other):
    for n in range(1, one.highest + 1):
        for kind in ("moment", "connected"):
            first, second = getattr(one, kind)(n), getattr(other, kind)(n)
            np.testing.assert_array_equal(first.packed, second.packed)
            np.testing.assert_array_equal(first.loading, second.loading)


@pytest.mark.parametrize("rao_blackwell", [True, False])
def test_threads_and_merging_change_nothing(rao_blackwell):
    def run(first, members, threads=2):
        return ff.sample_correlators(
            NET,
            X,
            members,
            seed=4,
            first=first,
            block=32,
            threads=threads,
            rao_blackwell=rao_blackwell,
            orders=range(1, 7),
        )

    whole = run(0, 20_000)
    same(whole, run(0, 20_000, threads=1))
    parts = [run(0, 3200), run(3200, 6400 + 32), run(9632, 20_000 - 9632)]
    same(whole, parts[0].merge(parts[1]).merge(parts[2]))
    same(whole, parts[2].merge(parts[0]).merge(parts[1]))
    assert parts[0].merge(parts[2]).n == 3200 + 20_000 - 9632
    with pytest.raises(BadInput, match=r"members 3200 to \d+ are in both"):
        parts[1].merge(whole)


def test_merging_samples():
    samples = np.random.default_rng(9).normal(size=(5000, 2)) ** 2
    given = {"centre": [1.0, 1.0], "block": 64}
    whole = ff.correlators_of(samples, **given)
    parts = [ff.correlators_of(samples[:1920], **given), ff.correlators_of(samples[1920:], first=1920, **given)]
    same(whole, parts[1].merge(parts[0]))
    with pytest.raises(BadInput, match="centre"):
        parts[0].merge(ff.correlators_of(samples[1920:], first=1920, block=64))


def test_more_members_change_no_earlier_sum():
    few = ff.sample_correlators(NET, X, 8192, seed=5, block=256)
    many = ff.sample_correlators(NET, X, 16_384, seed=5, block=256)
    np.testing.assert_array_equal(few.tree.sums, many.tree.sums[: len(few.tree.sums)])


def test_samples_of_the_ensemble_give_the_same_numbers():
    samples = ff.Ensemble(NET, members=5000, seed=6).sample(X)
    found = ff.sample_correlators(NET, X, 5000, seed=6, rao_blackwell=False, orders=(3, 4))
    other = ff.correlators_of(samples, orders=(3, 4), centre=np.zeros(2))
    for n in (1, 2, 3, 4):
        np.testing.assert_allclose(found.connected(n).packed, other.connected(n).packed, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.connected(n).std_error, other.connected(n).std_error, rtol=1e-9)


def test_tensors_are_symmetric_and_points_may_repeat():
    found = ff.sample_correlators(NET, [[1.0], [0.5], [1.0]], 4096)
    value = found.connected(4).value
    assert value.shape == (3,) * 4
    np.testing.assert_array_equal(value, value.transpose(2, 0, 3, 1))
    np.testing.assert_allclose(value[0, 0, 1, 1], value[2, 0, 1, 1], rtol=1e-12)
    estimate = found.connected(4)
    place = estimate.measurement((1, 0, 0, 1))
    assert (place.value, place.n, place.seed) == (value[0, 0, 1, 1], 4096, 0)
    assert place.std_error == pytest.approx(estimate.std_error[0, 1, 0, 1], rel=1e-12)
    np.testing.assert_allclose(np.sqrt(np.diag(estimate.covariance))[0], estimate.std_error[0, 0, 0, 0], rtol=1e-12)


MEMORY = """
import sys, psutil, fieldflow as ff
net = ff.MLP(1, widths=(3,), activation="relu")
ff.sample_correlators(net, [[0.5], [1.0]], 200_000, seed=1)
before = psutil.Process().memory_info().rss
ff.sample_correlators(net, [[0.5], [1.0]], int(sys.argv[1]), seed=2)
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_members():
    """Three million networks beyond two hundred thousand; their outputs alone would be 48 MB."""
    command = [sys.executable, "-c", MEMORY, str(3_000_000)]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < 8e6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"net": "relu"}, "net: expected a fieldflow.MLP"),
        ({"net": ff.MLP(1, depth=1, activation="relu")}, "net: a network given by depth"),
        ({"net": ff.MLP(1, widths=(3, 3), activation="relu")}, "correlators_of"),
        ({"net": ff.MLP(1, widths=(3,), activation="relu", d_out=2)}, "one output"),
        ({"points": [1.0]}, "points: expected shape"),
        ({"points": np.ones((17, 1))}, "points: expected at most 16"),
        ({"members": 0}, "members"),
        ({"seed": -1}, "seed"),
        ({"orders": (2, 7)}, r"orders\[1\]"),
        ({"orders": ()}, "orders"),
        ({"threads": 0}, "threads"),
        ({"first": 5}, "first: expected a multiple"),
        ({"block": 48}, "block: expected a power of two"),
        ({"points": [[1e80]]}, "not finite"),
    ],
)
def test_mistakes_are_named(change, message):
    given = {"net": NET, "points": X, "members": 4096, **change}
    with pytest.raises(BadInput, match=message):
        ff.sample_correlators(given.pop("net"), given.pop("points"), given.pop("members"), **given)


def test_too_few_members_are_named():
    with pytest.raises(Underpowered, match="6-point functions with errors need at least 192"):
        ff.sample_correlators(NET, X, 191)
    with pytest.raises(Underpowered, match="at least 128 independent samples, got 100"):
        ff.correlators_of(np.ones((100, 2)), orders=(2,))
    assert ff.sample_correlators(NET, X, 192).n == 192


@pytest.mark.parametrize(
    ("members", "remedy"),
    [
        (64, r"give 192 or more or at least 128 with the highest of orders at 4, as in orders=\(2, 4\)$"),
        (150, r"give 192 or more or the highest of orders at 4, as in orders=\(2, 4\)$"),
    ],
)
def test_too_few_members_come_with_a_remedy(members, remedy):
    with pytest.raises(Underpowered, match=remedy):
        ff.sample_correlators(NET, X, members)
    assert ff.sample_correlators(NET, X, max(members, 128), orders=(2, 4)).n == max(members, 128)


def test_questions_beyond_the_orders_are_named():
    found = ff.sample_correlators(NET, X, 4096, orders=(2,))
    with pytest.raises(BadInput, match="n: expected an integer from 1 to 2"):
        found.connected(4)
    with pytest.raises(BadInput, match=r"index\[1\]"):
        found.measurement((0, 2))
    with pytest.raises(BadInput, match="expected 2 indices"):
        found.connected(2).measurement((0, 1, 1))
    with pytest.raises(BadInput, match="same seed"):
        found.merge(ff.sample_correlators(NET, X, 4096, orders=(2,), seed=1))
    with pytest.raises(BadInput, match="other: expected Correlators"):
        found.merge(3)
    with pytest.raises(BadInput, match="samples: expected shape"):
        ff.correlators_of([1.0, 2.0])
