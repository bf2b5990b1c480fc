"""What is E e^{-τ² h²/2} of one neuron h = σ(z), z ~ N(0, q), for every τ? A rule graded towards zeros of h, and a table.

At large τ the integrand is a spike at each zero of h; panels that halve towards it resolve the spike at any τ.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

Array = NDArray[np.float64]

_REACH = 9.5
"""Standard deviations of z kept: what lies beyond has probability 2e-21."""

_GRID = 4001
_TOUCHING = 1e-4
"""Minima of |h| below this part of its maximum count as zeros: of others no spike comes."""

_LEVELS = 44
_WIDEST = 0.5
_LOWEST, _HIGHEST, _PANEL, _NODES = -18.0, 30.0, 0.5, 22
"""Range of ln τ in the table, width of its panels, Chebyshev nodes in each: interpolation errors below 1e-15."""


MOST_ZEROS = 200


class TooManyZeros(ArithmeticError):
    """σ has more minima of |σ| in the range of z than panels can be graded towards; holds their number."""


class NeuronLaw(NamedTuple):
    """h² at nodes, with weights summing to 1 - ``atom``, the probability of h = 0 (to rounding)."""

    squares: Array
    weights: Array
    atom: float

    @property
    def mean_square(self) -> float:
        """E h²."""
        return float(self.weights @ self.squares)


def _zeros(function: Callable[[Array], Array], reach: float) -> list[float]:
    """Return where h vanishes, crossing zero or touching it."""
    grid = np.linspace(-reach, reach, _GRID)
    size = np.abs(function(grid))

    def scalar(point: float) -> float:
        return float(function(np.array([point]))[0])

    inner, below, above = size[1:-1], size[:-2], size[2:]
    lowest = np.flatnonzero((inner <= np.minimum(below, above)) & ((inner < below) | (inner < above))) + 1
    if len(lowest) > MOST_ZEROS:
        raise TooManyZeros(len(lowest))
    found = []
    for i in lowest:
        left, right = grid[i - 1], grid[i + 1]
        if scalar(left) * scalar(right) < 0.0:
            found.append(float(scipy.optimize.brentq(scalar, left, right, xtol=1e-300, rtol=1e-15)))
        else:
            touched = scipy.optimize.minimize_scalar(lambda z: abs(scalar(z)), bounds=(left, right), method="bounded",
                                               options={"xatol": 1e-13 * reach})  # fmt: skip
            if touched.fun < _TOUCHING * np.max(size):
                found.append(float(touched.x))
    return found


def _edges(breaks: Array, reach: float, widest: float) -> Array:
    """Return panel edges that halve towards every break from both sides and are nowhere further apart than ``widest``."""
    marks = np.unique(np.concatenate([[-reach], breaks[np.abs(breaks) < reach], [reach]]))
    halves = 0.5 ** np.arange(1, _LEVELS + 1)
    edges = [marks]
    for left, right in pairwise(marks):
        gap = right - left
        edges += [left + gap * halves, right - gap * halves]
        edges.append(np.linspace(left, right, int(gap / widest) + 2))
    return np.unique(np.concatenate(edges))


def neuron_law(
    function: Callable[[Array], Array], kinks: tuple[float, ...], variance: float, points: int = 24
) -> NeuronLaw:
    """Return the law of h² as a quadrature rule.

    Parameters
    ----------
    function : callable
        σ of an array.
    kinks : floats
        Where σ has steps or kinks.
    variance : float
        q >= 0.
    points : int
        Gauss-Legendre points per panel.

    >>> law = neuron_law(lambda z: np.maximum(z, 0.0), (0.0,), 2.0)
    >>> round(law.mean_square, 12), round(law.atom, 12)
    (1.0, 0.5)
    """
    root = float(np.sqrt(variance))
    if root == 0.0:
        nodes, weights = np.zeros(1), np.ones(1)
    else:
        reach = _REACH * root
        breaks = np.array([*kinks, *_zeros(function, reach)])
        edges = _edges(breaks, reach, _WIDEST * root)
        abscissae, shares = np.polynomial.legendre.leggauss(points)
        half, middle = 0.5 * np.diff(edges)[:, None], 0.5 * (edges[1:] + edges[:-1])[:, None]
        nodes = (middle + half * abscissae).reshape(-1)
        weights = (half * shares).reshape(-1) * np.exp(-0.5 * (nodes / root) ** 2) / (root * np.sqrt(2.0 * np.pi))
        weights /= weights.sum()
    squares = function(nodes.copy()) ** 2
    off = squares == 0.0
    return NeuronLaw(squares[~off], weights[~off], float(weights[off].sum()))


def mixture(law: NeuronLaw, tau: Array) -> Array:
    """Return E[e^{-τ² h²/2}; h ≠ 0], shape (k,), node by node."""
    found = np.empty_like(tau)
    for start in range(0, len(tau), 64):
        part = tau[start : start + 64, None]
        found[start : start + 64] = np.exp(-0.5 * part**2 * law.squares) @ law.weights
    return found


class Table:
    """E[e^{-τ² h²/2}; h ≠ 0] for arrays of τ >= 0, by piecewise Chebyshev interpolation in ln τ."""

    def __init__(self, law: NeuronLaw) -> None:
        count = round((_HIGHEST - _LOWEST) / _PANEL)
        self._unit = np.sqrt(law.mean_square) if law.mean_square > 0.0 else 1.0
        angles = np.pi * (np.arange(_NODES) + 0.5) / _NODES
        centres = _LOWEST + _PANEL * (np.arange(count) + 0.5)
        logs = centres[:, None] + 0.5 * _PANEL * np.cos(angles)
        self.tau = np.exp(logs.reshape(-1)) / self._unit
        self.values = mixture(law, self.tau)
        basis = np.cos(np.arange(_NODES)[:, None] * angles) * (2.0 / _NODES)
        basis[0] *= 0.5
        self._coefficients = basis @ self.values.reshape(count, _NODES).T
        self._total = 1.0 - law.atom
        # Beyond the table a power of τ, by the order of the zeros of h.
        before, self._last = mixture(law, np.exp([_HIGHEST - 1.0, _HIGHEST]) / self._unit)
        self._power = float(np.log(self._last / before)) if self._last > 0.0 else 0.0

    def __call__(self, tau: Array) -> Array:
        """Return the values at τ, any shape."""
        with np.errstate(divide="ignore"):
            place = (np.log(tau * self._unit) - _LOWEST) / _PANEL
        inside = np.clip(place, 0.0, self._coefficients.shape[1] - 1e-9)
        panel = inside.astype(np.int64)
        found = np.polynomial.chebyshev.chebval(
            2.0 * (inside - panel) - 1.0, self._coefficients[:, panel], tensor=False
        )
        beyond = np.maximum(place * _PANEL + _LOWEST - _HIGHEST, 0.0)
        found = np.where(beyond > 0.0, self._last * np.exp(self._power * beyond), np.maximum(found, 0.0))
        return np.where(place < 0.0, self._total, found)
