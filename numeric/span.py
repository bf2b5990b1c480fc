"""In how many dimensions do the points live, and what is E[σ(v_1·g)…σ(v_n·g)] there by quadrature?

Pre-activations are z_i = v_i·g, g standard normal: what matters is the span of the vectors.  For smooth σ the trapezoidal
rule converges geometrically against a Gaussian weight (the error is e^{-2πa/h} for σ analytic in a strip of half-width a),
faster than Gauss-Hermite's rule, and a change of step and range together shows how well it has converged.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.symmetric import positions, sorted_tuples

Array = NDArray[np.float64]

_RANK = 1e-14
"""Singular values of the unit vectors below which a direction is rounding."""

_RANGE, _WIDER = 10.0, 0.15
_NODES, _GROWTH = 24, 1.4142
_MOST = 2**23
_BLOCK = 2**12


def span(vectors: Array) -> tuple[Array, Array]:
    """Return the norms (m,) and the unit vectors (m, rank) in an orthonormal basis of their span; zero stays zero.

    >>> norms, units = span(np.array([[0.0, 2.0], [0.0, -1.0]]))
    >>> norms.tolist(), units.shape
    ([2.0, 1.0], (2, 1))
    """
    largest = np.max(np.abs(vectors), axis=1, keepdims=True)
    scaled = vectors / np.where(largest > 0.0, largest, 1.0)
    lengths = np.sqrt(np.sum(scaled**2, axis=1, keepdims=True))
    units = scaled / np.where(lengths > 0.0, lengths, 1.0)
    _, values, axes = np.linalg.svd(units, full_matrices=False)
    rank = int(np.sum(values > _RANK))
    norms: Array = (largest * lengths)[:, 0]
    coordinates: Array = units @ axes[:rank].T
    return norms, coordinates


def quadrature(sigma: Callable[[Array], Any], vectors: Array, rank: int, accuracy: float) -> tuple[Array, float]:
    """Return E[σ(v_1·g)…σ(v_n·g)] packed over sorted tuples (n = ``rank``), and the last relative change.

    Parameters
    ----------
    sigma : callable
        Of an array of any shape.
    vectors : array (m, dimension)
        dimension <= 3.
    rank : int
        Number of factors.
    accuracy : float
        Relative to Π (E|σ_i|^n)^{1/n}; refinement ends there, or where the grid would be too large.
    """
    size, dimension = vectors.shape
    tuples = sorted_tuples(size, rank)
    change = np.inf if dimension else 0.0
    previous: Array | None = None
    for level, count in enumerate(_counts(dimension)):
        values, power = _averages(sigma, vectors, rank, count, _RANGE + _WIDER * level)
        scale = np.prod(power[tuples], axis=1) ** (1.0 / rank)
        if previous is not None:
            worst = np.abs(values - previous) / np.where(scale > 0.0, scale, 1.0)
            change = float(np.max(worst))
        previous = values
        if change <= accuracy or not np.all(np.isfinite(values)):
            break
    return values, change


def _counts(dimension: int) -> Iterator[int]:
    """Yield numbers of nodes per axis, each step finer by a factor that is no fraction."""
    count = float(_NODES)
    while dimension == 0 or count**dimension <= _MOST:
        yield int(count)
        if dimension == 0:
            return
        count *= _GROWTH


def _averages(
    sigma: Callable[[Array], Any], vectors: Array, rank: int, count: int, reach: float
) -> tuple[Array, Array]:
    """Return the packed averages and E|σ_i|^n on one grid."""
    size, dimension = vectors.shape
    left, right = sorted_tuples(size, rank // 2), sorted_tuples(size, rank - rank // 2)
    gram = np.zeros((len(left), len(right)))
    power = np.zeros(size)
    for nodes, weights in _grid(dimension, count, reach):
        values = np.asarray(sigma(vectors @ nodes), dtype=np.float64)
        gram += (_multiplied(values, left) * weights) @ _multiplied(values, right).T
        power += np.abs(values) ** rank @ weights
    every = sorted_tuples(size, rank)
    half = rank // 2
    return gram[positions(every[:, :half], size), positions(every[:, half:], size)], power


def _multiplied(values: Array, tuples: NDArray[np.int64]) -> Array:
    """Return the products of rows over index tuples, (tuples, nodes)."""
    found = np.ones((len(tuples), values.shape[1]))
    for column in tuples.T:
        found *= values[column]
    return found


def _grid(dimension: int, count: int, reach: float) -> Iterator[tuple[Array, Array]]:
    """Yield blocks of nodes (dimension, k) inside a ball and their Gaussian weights."""
    axis = np.linspace(-reach, reach, count)
    step = 2.0 * reach / (count - 1)
    total = count**dimension
    for start in range(0, total, _BLOCK):
        index = (
            np.unravel_index(np.arange(start, min(start + _BLOCK, total)), (count,) * dimension) if dimension else ()
        )
        nodes = axis[np.array(index, dtype=np.int64).reshape(dimension, -1)] if dimension else np.zeros((0, 1))
        squares = np.sum(nodes**2, axis=0)
        inside = squares <= reach**2
        if np.any(inside):
            weights = np.exp(-0.5 * squares[inside]) * (step / np.sqrt(2.0 * np.pi)) ** dimension
            yield nodes[:, inside], weights
