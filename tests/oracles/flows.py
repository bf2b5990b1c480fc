"""Training of a Gaussian process step by step: mean and covariance by iterating the update, no matrix functions."""

import numpy as np


def iterate(kernel, prior, targets, *, method, learning_rate, steps):
    """Return (mean, covariance) on all points (training points first) after explicit updates.

    kernel: tangent kernel of all points; prior: covariance of the initial function; targets (n,).
    Each update is linear in f: f -> f + k (y - f(X)) rate; the map is carried as a matrix and a shift.
    """
    points, n = len(prior), len(targets)
    matrix, shift = np.eye(points), np.zeros(points)
    for _ in range(steps):
        if method == "gd":
            gain = 2 * learning_rate / n * kernel[:, :n]
            step = np.eye(points)
            step[:, :n] -= gain
            matrix, shift = step @ matrix, step @ shift + gain @ targets
        else:
            for i in range(n):
                gain = 2 * learning_rate * kernel[:, i]
                step = np.eye(points)
                step[:, i] -= gain
                matrix, shift = step @ matrix, step @ shift + gain * targets[i]
    return shift, matrix @ prior @ matrix.T
