"""Moments and cumulants of conditionally Gaussian fields, and the jackknife, against quadrature and exact laws."""

import itertools

import numpy as np
import pytest
from scipy import stats

from fieldflow.numeric.field_moments import cumulants, gaussian_moments, tuples
from fieldflow.numeric.jackknife import leave_one_out, pseudo_values, standard_error

MEAN, COVARIANCE = np.array([0.7, -0.4]), np.array([[1.3, 0.5], [0.5, 0.8]])


def test_moments_against_gauss_hermite():
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    both = np.array(np.meshgrid(nodes, nodes)).reshape(2, -1)
    field = MEAN[:, None] + np.linalg.cholesky(COVARIANCE) @ both
    weight = np.outer(weights, weights).reshape(-1) / np.sum(weights) ** 2
    expected = [weight @ np.prod(field[list(indices)], axis=0) for indices in tuples(2)]
    found = gaussian_moments(MEAN[None], COVARIANCE[None])[0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def mixture():
    """Two Gaussians of weights 1/4 and 3/4."""
    means = np.array([MEAN, [-0.2, 0.9]])
    covariances = np.array([COVARIANCE, [[0.4, -0.1], [-0.1, 0.6]]])
    return np.array([0.25, 0.75]), means, covariances


def joint(weights, *columns):
    """Return the joint cumulant of two or three columns of a discrete law."""
    centred = [column - weights @ column for column in columns]
    return weights @ np.prod(centred, axis=0)


def test_cumulants_are_those_of_total_cumulance():
    weights, m, c = mixture()
    first, second, third, fourth = cumulants(weights @ gaussian_moments(m, c), 2)
    np.testing.assert_allclose(first, weights @ m, rtol=1e-13)
    for order, found in ((2, second), (3, third), (4, fourth)):
        for value, indices in zip(found, itertools.combinations_with_replacement(range(2), order), strict=True):
            assert value == pytest.approx(total_cumulance(weights, m, c, indices), rel=1e-12, abs=1e-13)


def total_cumulance(weights, m, c, indices):
    """E over the mixture by the law of total cumulance, typed here: single points and pairs, each pair once."""
    every = range(len(indices))
    if len(indices) == 2:
        a, b = indices
        return weights @ c[:, a, b] + joint(weights, m[:, a], m[:, b])
    if len(indices) == 3:
        total = joint(weights, *(m[:, i] for i in indices))
        for k in every:
            a, b = (indices[i] for i in every if i != k)
            total += joint(weights, m[:, indices[k]], c[:, a, b])
        return total
    columns = [m[:, i] - weights @ m[:, i] for i in indices]
    total = weights @ np.prod(columns, axis=0)
    for other in (1, 2, 3):
        rest = [i for i in (1, 2, 3) if i != other]
        total -= (weights @ (columns[0] * columns[other])) * (weights @ (columns[rest[0]] * columns[rest[1]]))
        total += joint(weights, c[:, indices[0], indices[other]], c[:, indices[rest[0]], indices[rest[1]]])
    for pair in itertools.combinations(every, 2):
        a, b = (indices[i] for i in every if i not in pair)
        total += joint(weights, m[:, indices[pair[0]]], m[:, indices[pair[1]]], c[:, a, b])
    return total


def test_a_fixed_covariance_left_out_is_not_seen_above_the_second_cumulant():
    weights, m, c = mixture()
    fixed = np.array([[5.0, 1.0], [1.0, 4.0]])
    whole, rest = (cumulants(weights @ gaussian_moments(m - 0.3, part), 2) for part in (c, c - fixed))
    np.testing.assert_allclose(whole[1] - rest[1], [5.0, 1.0, 4.0], rtol=1e-12)
    for order in (2, 3):
        np.testing.assert_allclose(whole[order], rest[order], rtol=1e-11, atol=1e-12)


def test_the_jackknife_removes_the_bias_of_a_variance_and_finds_its_error():
    values = np.random.Generator(np.random.Philox(3)).gamma(2.0, size=40)
    left = leave_one_out(np.stack([values, values**2], axis=1))

    def plug_in(pair):
        return pair[..., 1] - pair[..., 0] ** 2

    found = pseudo_values(plug_in(np.array([values.mean(), np.mean(values**2)])), plug_in(left))
    assert found.mean() == pytest.approx(values.var(ddof=1), rel=1e-12)
    assert abs(plug_in(np.array([values.mean(), np.mean(values**2)])) - values.var(ddof=1)) > 1e-3
    assert standard_error(plug_in(left)) == pytest.approx(stats.sem(found), rel=1e-12)
