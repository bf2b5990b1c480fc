"""Running sums and counts: the same moments, quantiles and errors as from the whole sample, in any order of merging."""

import numpy as np
import pytest
from scipy import stats

from fieldflow.numeric.comoments import Comoments
from fieldflow.numeric.tally import _EDGES, BINS, Reference, Tally

LAWS = {
    "heavy": stats.t(3),
    "narrow": stats.norm(5.0, 1e-3),
    "skew": stats.gamma(2.0),
    "huge": stats.norm(0.0, 1e20),
    "atom": stats.bernoulli(0.3),
}


def filled(values, size=64):
    tally = Tally(Reference.of(values[:64]))
    for first in range(0, len(values), size):
        tally.add(values[first : first + size])
    return tally


@pytest.fixture(scope="module", params=LAWS)
def sample(request):
    return LAWS[request.param].rvs((20_000, 2), random_state=np.random.default_rng(3)).astype(float)


def test_central_moments_are_those_of_the_sample(sample):
    tally = filled(sample)
    scale = sample.std(axis=0)
    centred = (sample - sample.mean(axis=0)) / scale
    orders = (2, 3, 4, 5, 6)
    for order in orders:
        power = np.mean(np.abs(centred) ** order, axis=0)
        error = np.abs(tally.central(order) / scale**order - np.mean(centred**order, axis=0))
        assert np.all(error <= 1e-9 * power if order % 2 else error <= 1e-11 * power)
    np.testing.assert_allclose(tally.mean, sample.mean(axis=0), atol=1e-12 * np.abs(sample).max())


def test_a_value_is_counted_between_the_edges_of_its_bin(sample):
    tally = filled(sample)
    scaled = (sample[:, 0] - tally.reference.centre[0]) / tally.reference.scale[0]
    edges = np.concatenate([[-np.finfo(float).max], _EDGES[1:-1], [np.finfo(float).max]])
    assert len(edges) == BINS + 1
    np.testing.assert_array_equal(tally.counts[0], np.histogram(scaled, bins=edges)[0])


@pytest.mark.parametrize("level", [0.001, 0.25, 0.5, 0.9, 0.999])
def test_quantiles_are_within_a_bin_of_the_sample(sample, level):
    tally = filled(sample)
    found, exact = tally.quantile(level), np.quantile(sample, level, axis=0, method="inverted_cdf")
    width = np.maximum(np.abs(exact - tally.reference.centre) / 64.0, tally.reference.scale * 2.0**-9)
    assert np.all(np.abs(found - exact) <= width)


def test_quantiles_of_smooth_laws_are_far_better_than_a_bin():
    """Linear within a bin: against the sampling error of a million, an eighth of it at most."""
    values = stats.norm.ppf((np.arange(1_000_000) + 0.5) / 1_000_000)[:, None]
    tally = Tally(Reference(np.array([0.1]), np.array([1.1])))
    tally.add(values)
    for level in (0.01, 0.25, 0.5, 0.8, 0.99):
        exact = stats.norm.ppf(level)
        error = np.sqrt(level * (1.0 - level) / 1e6) / stats.norm.pdf(exact)
        assert abs(tally.quantile(level)[0] - exact) < error / 8.0


def test_constants_are_exact():
    for value in (0.0, -3.7):
        tally = filled(np.full((100, 1), value))
        assert tally.quantile(0.3).tolist() == [value]
        assert tally.variance[0] <= 1e-28


def test_parts_merge_to_the_same_counts_in_any_order(sample):
    whole = filled(sample)
    parts = []
    for rows in (slice(0, 5000), slice(5000, 5001), slice(5001, 20_000)):
        parts.append(Tally(whole.reference))
        parts[-1].add(sample[rows])
    for order in ((0, 1, 2), (2, 0, 1)):
        merged = Tally(whole.reference)
        for i in order:
            merged.merge(parts[i])
        np.testing.assert_array_equal(merged.counts, whole.counts)
        np.testing.assert_array_equal([merged.low, merged.high], [whole.low, whole.high])
        np.testing.assert_allclose(merged.central(2), whole.central(2), rtol=1e-11)
    merged.merge(Tally(whole.reference))
    assert merged.count == 20_000


def test_the_distribution_is_that_of_the_sample():
    values = np.random.default_rng(1).normal(size=(50_000, 1))
    at = np.array([-9.0, -1.0, 0.2, 2.0, 9.0])
    share = np.mean(values < at, axis=0)
    np.testing.assert_allclose(filled(values).distribution(0, at), share, atol=3e-4)


@pytest.mark.statistical
def test_errors_of_moments_are_the_spread_over_samples():
    """Influence functions: variance and kurtosis of 2000 samples of a uniform law spread as each sample says."""
    draws = np.random.default_rng(5).uniform(size=(400, 2000))
    tally = filled(draws)
    m2, m4 = tally.central(2), tally.central(4)
    one, zero = np.ones_like(m2), np.zeros_like(m2)
    variance = tally.error([-m2, zero, one])
    wrong = tally.error([-m2, zero, 1.3 * one])
    kurtosis = tally.error([m4 / m2**2, zero, -2.0 * m4 / m2**3, zero, 1.0 / m2**2])
    relative = 1.0 / np.sqrt(2.0 * 2000)
    for errors, values in ((variance, m2), (kurtosis, m4 / m2**2)):
        assert abs(values.std(ddof=1) / np.sqrt(np.mean(errors**2)) - 1.0) < 4.0 * relative
    assert abs(m2.std(ddof=1) / np.sqrt(np.mean(wrong**2)) - 1.0) > 8.0 * relative


def test_covariances_and_their_errors_are_those_of_the_products():
    values = np.random.default_rng(2).gamma(2.0, size=(500, 2, 3)) @ np.array([[1, 2, 0], [0, 1, 1], [1, 0, 3.0]]) + 7.0
    both = [Comoments(np.full((2, 3), 6.5)) for _ in range(2)]
    both[0].add(values[:130])
    both[1].add(values[130:])
    both[0].merge(both[1])
    for group in range(2):
        centred = values[:, group] - values[:, group].mean(axis=0)
        np.testing.assert_allclose(both[0].covariance[group], np.cov(values[:, group], rowvar=False), rtol=1e-11)
        spread = np.einsum("ni,nj->nij", centred, centred).std(axis=0) / np.sqrt(500)
        np.testing.assert_allclose(both[0].covariance_error[group], spread, rtol=1e-9)
