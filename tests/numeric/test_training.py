"""The dual solution against training step by step, on well and badly conditioned problems."""

import numpy as np
import pytest

from fieldflow.numeric import training
from oracles import primal


def problem(seed, units, n, scale=1.0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, 2)) + 1.0
    features = np.maximum(generator.normal(size=(units, 2)) @ x.T, 0.0) * scale
    y = (1 - x[:, 0]) ** 2 - 0.5 * (x[:, 1] - x[:, 0] ** 2)
    return np.ascontiguousarray(features), y


@pytest.mark.parametrize("method", ["gd", "sgd", "gradient_flow"])
@pytest.mark.parametrize(("units", "n"), [(60, 25), (10, 25), (300, 40)])
def test_dual_equals_primal(method, units, n):
    features, y = problem(1, units, n)
    kernel = features.T @ features
    learning_rate = 0.4 / np.linalg.eigvalsh(kernel)[-1] * (n if method != "sgd" else 1)
    rate = 2 * learning_rate / (1 if method == "sgd" else n)
    weights = np.random.default_rng(2).normal(size=units)
    expected = primal.train(features, y, weights, method=method, learning_rate=learning_rate, steps=300)
    alpha, _ = training.dual_solution(kernel, y - features.T @ weights, rate, training.METHODS[method], 300.0)
    found = weights + features @ alpha
    assert np.abs(found - expected).max() <= 1e-10 * np.abs(expected).max()


@pytest.mark.parametrize("method", ["gd", "sgd"])
def test_final_residual_is_that_of_training_from_zero(method):
    features, y = problem(3, 80, 30)
    kernel = features.T @ features
    learning_rate = 0.3 / np.linalg.eigvalsh(kernel)[-1] * (30 if method == "gd" else 1)
    rate = 2 * learning_rate / (30 if method == "gd" else 1)
    weights = primal.train(features, y, np.zeros(80), method=method, learning_rate=learning_rate, steps=57)
    _, residual = training.dual_solution(kernel, y, rate, training.METHODS[method], 57.0)
    np.testing.assert_allclose(residual, y - features.T @ weights, atol=1e-10 * np.abs(y).max())


def test_a_diverging_rate_grows_like_the_step_by_step_residual():
    features, y = problem(5, 50, 20)
    kernel = features.T @ features
    learning_rate = 1.05 * 20 / np.linalg.eigvalsh(kernel)[-1]
    weights = primal.train(features, y, np.zeros(50), method="gd", learning_rate=learning_rate, steps=200)
    _, residual = training.dual_solution(kernel, y, 2 * learning_rate / 20, training.GD, 200.0)
    expected = y - features.T @ weights
    assert np.linalg.norm(expected) > 1e3 * np.linalg.norm(y)
    assert np.abs(residual - expected).max() <= 1e-9 * np.abs(expected).max()


def test_duplicated_inputs_with_different_targets_stay_finite():
    features, y = problem(6, 40, 12)
    features[:, 1] = features[:, 0]
    y[1] = y[0] + 1.0
    kernel = features.T @ features
    rate = 0.5 / np.linalg.eigvalsh(kernel)[-1]
    for method in ("gd", "sgd"):
        learning_rate = rate / 2 * (12 if method == "gd" else 1)
        expected = primal.train(features, y, np.zeros(40), method=method, learning_rate=learning_rate, steps=400)
        alpha, _ = training.dual_solution(kernel, y, rate, training.METHODS[method], 400.0)
        assert np.abs(features @ alpha - expected).max() <= 1e-10 * np.abs(expected).max()


def test_zero_time_and_zero_target_change_nothing():
    features, y = problem(7, 20, 10)
    kernel = features.T @ features
    for duration, target in ((0.0, y), (10.0, np.zeros(10))):
        alpha, residual = training.dual_solution(kernel, target, 0.01, training.SGD, duration)
        assert not alpha.any()
        assert (residual == target).all()


@pytest.mark.parametrize("method", ["gd", "sgd"])
def test_growth_is_seen_however_late_the_unstable_direction_is(method):
    """On a spectrum that falls slowly a small basis knows of no instability at all; the matrix power does."""
    generator = np.random.default_rng(8)
    features, y = generator.normal(size=(70, 60)), generator.normal(size=60)
    kernel = features.T @ features
    top = np.linalg.eigvalsh(kernel)[-1]
    for factor in (0.02, 0.3, 1.9, 2.001, 2.02, 2.1, 4.0):
        rate = factor / top
        lower = np.eye(60) + rate * np.tril(kernel, -1) if method == "sgd" else np.eye(60)
        step = np.eye(60) - rate * kernel @ np.linalg.inv(lower)
        expected = np.linalg.matrix_power(step, 300) @ y
        for first_check in (0, 8, 60):
            _, residual, _ = training.solve(kernel, y, rate, training.METHODS[method], 300.0, first_check)
            assert np.abs(residual - expected).max() <= 1e-11 * max(np.abs(expected).max(), np.abs(y).max())


@pytest.mark.parametrize("units", [60, 400])
@pytest.mark.parametrize("method", ["gd", "sgd"])
def test_training_keeps_twelve_digits(method, units):
    """With as many steps as the experiment of the paper: 2e-12 of step-by-step training, whatever size of basis it takes."""
    features, y = problem(9, units, 60)
    weights = np.random.default_rng(3).normal(size=units)
    top = np.linalg.eigvalsh(features.T @ features)[-1]
    for factor in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 1.5):
        rate = factor / top
        learning_rate = rate * (60 if method == "gd" else 1) / 2
        expected = primal.train(features, y, weights, method=method, learning_rate=learning_rate, steps=1000)
        rule = training.METHODS[method]
        alpha, _ = training.dual_solution(features.T @ features, y - features.T @ weights, rate, rule, 1000.0)
        assert np.abs(weights + features @ alpha - expected).max() <= 2e-12 * np.abs(expected).max()
