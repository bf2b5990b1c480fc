"""How does a trained network change when its kernel does? Matrices with their first two derivatives, exactly.

A jet is an array (3, ..., n, n): the coefficients of 1, t and t² of a matrix that depends on t.  Sums and products of jets
truncated at t² are those of block triangular matrices, so every identity between matrices holds between jets, the doubling
S_{2T} = S_T + B^T S_T of training among them.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TAYLOR = 12
"""Terms of the exponential of a matrix of norm at most 1/4, below rounding."""


def constant(matrix: Array, like: Array) -> Array:
    """Return a matrix that does not depend on t as a jet of the shape of ``like``."""
    jet = np.zeros_like(like)
    jet[0] = matrix
    return jet


def product(left: Array, right: Array) -> Array:
    """Return the product of two jets.

    >>> x = np.array([2.0, 1.0, 0.0]).reshape(3, 1, 1)
    >>> product(x, x).ravel().tolist()
    [4.0, 4.0, 1.0]
    """
    return np.stack(
        [
            left[0] @ right[0],
            left[0] @ right[1] + left[1] @ right[0],
            left[0] @ right[2] + left[1] @ right[1] + left[2] @ right[0],
        ]
    )


def inverse(jet: Array) -> Array:
    """Return the inverse of a jet.

    >>> inverse(np.array([2.0, 1.0, 0.0]).reshape(3, 1, 1)).ravel().tolist()
    [0.5, -0.25, 0.125]
    """
    start = np.linalg.inv(jet[0])
    first = -start @ jet[1] @ start
    return np.stack([start, first, -start @ (jet[1] @ first + jet[2] @ start)])


def descent(gram: Array, update: Array, steps: int) -> Array:
    """Return A Σ_{t<T} B^t, B = 1 - KA, for jets K and A."""
    identity = constant(np.eye(gram.shape[-1]), gram)
    step = identity - product(gram, update)
    total, power = np.zeros_like(gram), identity
    for bit in bin(steps)[2:]:
        total, power = total + product(power, total), product(power, power)
        if bit == "1":
            total, power = identity + product(step, total), product(step, power)
    return product(update, total)


def full_batch(gram: Array, eta: float, steps: int) -> Array:
    """Return M_T of full-batch descent."""
    return descent(gram, constant(eta * np.eye(gram.shape[-1]), gram), steps)


def sequential(gram: Array, gamma: float, steps: int) -> Array:
    """Return M_T of per-sample descent in a fixed order, A = γ(1 + γL)^{-1}, L the strictly lower triangle of K."""
    identity = constant(np.eye(gram.shape[-1]), gram)
    return descent(gram, gamma * inverse(identity + gamma * np.tril(gram, -1)), steps)


def gradient_flow(gram: Array, eta: float, time: float) -> Array:
    """Return η∫_0^t e^{-ηsK} ds of gradient flow, by doubling of a short time."""
    largest = float(np.max(np.linalg.norm(gram[0], axis=(-2, -1)), initial=0.0)) * eta * time
    halvings = max(0, int(np.ceil(np.log2(max(largest, 1e-300)))) + 2)
    short = time / 2.0**halvings
    identity = constant(np.eye(gram.shape[-1]), gram)
    exponent = -eta * short * gram
    series = identity
    for order in range(_TAYLOR, 0, -1):
        series = identity + product(exponent, series) / (order + 1)
    total, power = eta * short * series, identity + product(exponent, series)
    for _ in range(halvings):
        total, power = total + product(power, total), product(power, power)
    return total
