"""The judges themselves: calibrated where the law holds, and able to see a wrong one."""

import numpy as np
import pytest
from scipy import stats

from fieldflow.numeric import statistics


def test_whitening_gives_independent_standard_components():
    generator = np.random.default_rng(0)
    loading = generator.normal(size=(6, 3)) @ generator.normal(size=(3, 9))
    draws = loading @ generator.normal(size=(9, 20_000))
    components = np.array([statistics.whiten(column, loading) for column in draws.T])
    assert components.shape[1] == 3
    covariance = np.cov(components, rowvar=False)
    assert np.abs(covariance - np.eye(3)).max() < 5 / np.sqrt(20_000)
    wrong = np.array([statistics.whiten(column, 0.9 * loading) for column in draws.T])
    assert statistics.chi2_shift(float(np.sum(wrong**2)), wrong.size) > 8


def test_cells_without_variance_are_left_out():
    loading = np.array([[1.0, 0.0], [0.0, 0.0]])
    assert statistics.whiten(np.array([2.0, 0.0]), loading).tolist() == [2.0]


def test_holm_against_its_definition():
    p_values = np.array([0.04, 0.001, 0.03, 0.2])
    assert statistics.holm(p_values) == pytest.approx([0.09, 0.004, 0.09, 0.2])


@pytest.mark.statistical
def test_hotelling_is_calibrated_and_invariant():
    generator = np.random.default_rng(1)
    mixing = generator.normal(size=(5, 5))
    p_values = []
    for _ in range(400):
        sample = generator.normal(size=(60, 5)) @ mixing.T
        covariance = np.cov(sample, rowvar=False) / 60
        p_values.append(statistics.hotelling(sample.mean(axis=0), covariance, 60)[2])
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3
    # Without the finite-sample factor (a plain χ²) the same p-values are visibly too small.
    naive = []
    for _ in range(400):
        sample = generator.normal(size=(20, 5))
        statistic, rank, _ = statistics.hotelling(sample.mean(axis=0), np.cov(sample, rowvar=False) / 20, 20)
        naive.append(stats.chi2.sf(statistic, rank))
    assert stats.kstest(naive, "uniform").pvalue < 1e-8


def test_intercept_weights_reproduce_a_polynomial_in_one_over_n():
    widths = np.array([250.0, 500, 1000, 2000, 4000])
    values = 1.5 + 13.25 / widths - 40 / widths**2
    fit = statistics.intercept_weights(widths, np.full(5, 100.0)) @ values
    np.testing.assert_allclose(fit, [1.5, 13.25, -40], rtol=1e-8)


def test_bootstrap_error_of_a_mean():
    sample = np.random.default_rng(2).normal(size=(500, 2)) * [1.0, 3.0]
    error, covariance = statistics.bootstrap_errors(sample, lambda s: s.mean(axis=0), seed=0, resamples=2000)
    np.testing.assert_allclose(error * np.sqrt(500), sample.std(axis=0), rtol=5 / np.sqrt(2 * 2000))
    assert covariance.shape == (2, 2)
