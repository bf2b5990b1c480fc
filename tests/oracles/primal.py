"""Step-by-step training of read-out weights, one update after the other."""

import numpy as np


def train(features, y, weights, *, method, learning_rate, steps):
    """Return normalised read-out weights after training, from the gradient of the mean squared loss.

    features (m, n) normalised, y (n,), weights (m,); one "sgd" step is a sweep over the rows in order.
    """
    weights = weights.copy()
    n = len(y)
    if method == "gradient_flow":
        # Many small Euler steps with Richardson extrapolation would be slower than the exact exponential in the
        # eigenbasis of the weight-space Hessian, which shares nothing with a dual Krylov method.
        hessian = 2.0 * features @ features.T / n
        values, vectors = np.linalg.eigh(hessian)
        gradient = vectors.T @ (2.0 * features @ (features.T @ weights - y) / n)
        time = learning_rate * steps
        flow = np.where(
            values > 1e-300, -np.expm1(-np.maximum(values, 0) * time) / np.where(values > 0, values, 1), time
        )
        return weights - vectors @ (flow * gradient)
    for _ in range(steps):
        if method == "gd":
            weights -= learning_rate * 2.0 * features @ (features.T @ weights - y) / n
        else:
            for i in range(n):
                weights -= learning_rate * 2.0 * features[:, i] * (features[:, i] @ weights - y[i])
    return weights


def coarse_grain(features, trained, redrawn, diagonal, cutoff, mode):
    """Return f_Λ (points,) by an explicit loop over neurons."""
    value = np.zeros(features.shape[1])
    for i, fisher in enumerate(diagonal):
        if fisher >= cutoff:
            value += trained[i] * features[i]
        elif mode == "resample":
            value += redrawn[i] * features[i]
    return value
