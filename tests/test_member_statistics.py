"""Statistics in constant memory: those of the samples themselves, merged from parts, and what is refused."""

import numpy as np
import psutil
import pytest

import fieldflow as ff
from fieldflow.errors import BadInput

X = np.array([[1.0], [-1.0], [0.3]])


def ensemble(members=300, outputs=1, **changed):
    net = ff.MLP(1, widths=(20,), activation="relu", sigma_b=0.3, d_out=outputs)
    return ff.Ensemble(net, members, **({"seed": 1} | changed))


def shelled(**changed):
    trained = ensemble(**changed).train(
        [[1.0], [2.0]], np.ones((2, changed.get("outputs", 1))), learning_rate=0.1, steps=10
    )
    return trained.coarse_grain([0.0, 0.2, 0.6], fisher=[[1.0], [2.0]])


CASES = {
    "plain": (ensemble, 0),
    "two outputs": (lambda: ensemble(outputs=2), 0),
    "cut-offs": (shelled, 1),
    "cut-offs, two outputs": (lambda: shelled(outputs=2), 1),
}


@pytest.mark.parametrize("case", CASES)
def test_statistics_are_those_of_the_samples(case):
    build, axis = CASES[case]
    ens = build()
    samples = np.moveaxis(ens.sample(X), axis, 0)
    found = ens.statistics(X)
    assert found.shape == found.mean.shape == samples.shape[1:]
    assert (found.count, found.excluded, found.ranges) == (300, 0, ((0, 300),))
    centred = samples - samples.mean(axis=0)
    np.testing.assert_allclose(found.mean, samples.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(found.variance, samples.var(axis=0, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(found.mean_std_error, np.sqrt(samples.var(axis=0, ddof=1) / 300), rtol=1e-12)
    for order in (2, 3, 4, 5, 6):
        scale = np.mean(np.abs(centred) ** order, axis=0)
        assert np.all(np.abs(found.moment(order) - np.mean(centred**order, axis=0)) <= 1e-11 * scale)
    points = np.moveaxis(centred, axis + 1, -1)
    both = np.moveaxis(np.mean(points[..., :, None] * points[..., None, :], axis=0), (-2, -1), (axis, axis + 1))
    np.testing.assert_allclose(found.covariance, both * 300 / 299, atol=1e-13)
    spread = np.moveaxis((points[..., :, None] * points[..., None, :]).std(axis=0), (-2, -1), (axis, axis + 1))
    np.testing.assert_allclose(found.covariance_std_error, spread / np.sqrt(300), rtol=1e-9)
    kurtosis = np.mean(centred**4, axis=0) / np.mean(centred**2, axis=0) ** 2 - 3.0
    np.testing.assert_allclose(found.excess_kurtosis, kurtosis, rtol=1e-10, atol=1e-10)


def test_standard_errors_are_those_of_the_influence_functions():
    ens = ensemble()
    samples, found = ens.sample(X), ens.statistics(X)
    c = samples - samples.mean(axis=0)
    m2, m3, m4 = (np.mean(c**k, axis=0) for k in (2, 3, 4))
    for order in (2, 3, 6):
        influence = c**order - order * np.mean(c ** (order - 1), axis=0) * c
        np.testing.assert_allclose(found.moment_std_error(order), influence.std(axis=0) / np.sqrt(300), rtol=1e-9)
    np.testing.assert_array_equal(found.variance_std_error, found.moment_std_error(2))
    kurtosis = (c**4 - 4.0 * m3 * c) / m2**2 - 2.0 * m4 * c**2 / m2**3
    np.testing.assert_allclose(found.excess_kurtosis_std_error, kurtosis.std(axis=0) / np.sqrt(300), rtol=1e-9)


@pytest.mark.statistical
def test_quantiles_and_histograms_lie_within_their_errors():
    """The read-out of this net is Gaussian given the hidden layer, and the law of f is symmetric: the median is 0."""
    found = ensemble(members=20_000).statistics(X)
    pull = found.quantile(0.5) / found.quantile_std_error(0.5)
    assert np.all(np.abs(pull) < 4.5)
    assert np.all(np.abs(found.quantile(0.6) / found.quantile_std_error(0.6)) > 8.0)
    both = (found.quantile(0.9) + found.quantile(0.1)) / np.hypot(
        found.quantile_std_error(0.9), found.quantile_std_error(0.1)
    )
    assert np.all(np.abs(both) < 4.5)
    edges, density, error = found.histogram(2, bins=30)
    assert len(edges) == 31
    assert np.sum(density * np.diff(edges)) == pytest.approx(1.0, abs=1e-12)
    samples = ensemble(members=20_000).sample(X)[:, 2]
    counted = np.histogram(samples, bins=edges)[0] / 20_000 / np.diff(edges)
    assert np.all(np.abs(density - counted) <= np.maximum(error, 1e-4))


def test_parts_merge_to_the_whole():
    ens = shelled()
    whole = ens.statistics(X)
    parts = [ens.statistics(X, first=first, count=count) for first, count in ((192, 108), (0, 64), (64, 128))]
    merged = parts[0].merge(parts[1])
    assert merged.ranges == ((0, 64), (192, 108))
    merged = merged.merge(parts[2])
    assert (merged.ranges, merged.count) == (((0, 300),), 300)
    np.testing.assert_array_equal(merged.quantile(0.25), whole.quantile(0.25))
    np.testing.assert_allclose(merged.moment(4), whole.moment(4), rtol=1e-12)
    np.testing.assert_allclose(merged.covariance, whole.covariance, rtol=1e-12)


def test_threads_change_no_bit():
    one, two = (shelled(threads=threads).statistics(X) for threads in (1, 2))
    for name in ("mean", "covariance", "covariance_std_error", "excess_kurtosis"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    np.testing.assert_array_equal(one.quantile(0.3), two.quantile(0.3))


def test_diverged_members_are_left_out():
    x, y = np.linspace(-1.0, 1.0, 6)[:, None], np.linspace(0.0, 3.0, 6)
    ens = ensemble(members=200).train(x, y, learning_rate=4.0, steps=30)
    diverged = ens.diverged()
    assert 0 < diverged.sum() < 100
    found = ens.statistics(X)
    assert found.excluded == diverged.sum()
    np.testing.assert_allclose(found.mean, ens.sample(X)[~diverged].mean(axis=0), rtol=1e-12)
    with pytest.raises(BadInput, match="diverged; expected a smaller learning_rate"):
        ensemble(members=200).train(x, y, learning_rate=90.0, steps=30).statistics(X)


def test_memory_does_not_grow_with_the_members():
    """What is held at the end: for a hundred times as many members not one array more."""
    process = psutil.Process()
    ensemble(members=640).statistics(X)
    before = process.memory_info().rss
    few = process.memory_info().rss - before
    kept = ensemble(members=64_000).statistics(X)
    assert kept.count == 64_000
    assert (
        process.memory_info().rss - before - few < 8 * 2**20
    )  # the samples alone would be 1.5 MB a point, hidden units 10 MB


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.statistics([[np.nan]]), "x"),
        (lambda e: e.statistics(X, first=10), "first: expected a multiple of 64, got 10"),
        (lambda e: e.statistics(X, first=320), "first"),
        (lambda e: e.statistics(X, count=301), "count"),
        (lambda e: e.statistics(X, progress=3), "progress"),
        (lambda e: e.statistics(X).moment(7), "order"),
        (lambda e: e.statistics(X).moment(1), "order"),
        (lambda e: e.statistics(X).quantile(1.5), "level"),
        (lambda e: e.statistics(X).histogram(3), r"index: expected one position within each of \(3,\), got \(3,\)"),
        (lambda e: e.statistics(X).histogram(0, 0), "index"),
        (lambda e: e.statistics(X).histogram(0, bins=0), "bins"),
        (lambda e: e.statistics(X).merge(3), "other: expected Statistics, got int"),
        (lambda e: e.statistics(X).merge(e.statistics(X)), "other: expected other members, member 0 is in both"),
        (lambda e: e.statistics(X).merge(e.statistics(X[:2])), "other: expected statistics of the same ensemble"),
        (lambda e: e.statistics(X).merge(ensemble(seed=2).statistics(X)), "other: expected statistics of the same"),
        (lambda e: e.coarse_grain(np.inf, fisher=X, mode="prune").statistics([[0.0]]).histogram(0), "index"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(BadInput, match=message):
        call(ensemble())
