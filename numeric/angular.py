"""How is an average over directions integrated? Gauss-Lobatto panels on the circle, halved until they resolve it.

The integrands are smooth between known angles (the kinks of the activation at each point); the weight may have jumps or
thin layers anywhere, so panels are halved where it is not resolved.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ORDER = 12
HALVINGS = 50
"""A jump is enclosed in a panel of length 2π/2^50: far below rounding."""

TOLERANCE = 1e-13
"""Of the last Legendre coefficients of the weight on a panel, times the panel's share of the circle."""

LONGEST = np.pi / 8

INSIDE = 1.0 - 1e-12
"""The ends of a panel are evaluated this little inside, for the one-sided limit at a step of the activation."""


def _lobatto(order: int) -> tuple[Array, Array]:
    """Return places and shares of the Gauss-Lobatto rule: with both ends, so that no jump hides between two panels."""
    polynomial = np.polynomial.Legendre.basis(order - 1)
    places = np.concatenate([[-1.0], np.sort(polynomial.deriv().roots().real), [1.0]])
    return places, 2.0 / (order * (order - 1) * polynomial(places) ** 2)


_PLACES, _SHARES = _lobatto(ORDER)
_LAST = (
    np.array([[ORDER - 1.5], [0.5 * (ORDER - 1)]])
    * np.polynomial.legendre.legvander(_PLACES, ORDER - 1).T[-2:]
    * _SHARES
)
"""Maps the values on the nodes of a panel to their two highest Legendre coefficients (the rule's own norm for the last)."""


class Circle(NamedTuple):
    """Directions (nodes, 2), their weights (nodes,) of sum 1, the weight function there (rows, nodes), an error estimate."""

    directions: Array
    weights: Array
    values: Array
    error: float


def circle(breaks: Array, weight: Callable[[Array], Array]) -> Circle:
    """Return a rule for the average over the circle of smooth functions times ``weight``.

    Parameters
    ----------
    breaks : array (b,)
        Angles between which the rest of the integrand is smooth.
    weight : callable
        Maps directions (nodes, 2) to (rows, nodes), values of order one.

    >>> rule = circle(np.zeros(1), lambda v: (v[:, 0] > 0.6)[None, :] * 1.0)
    >>> bool(abs(rule.values[0] @ rule.weights - np.arccos(0.6) / np.pi) < 1e-12)
    True
    """
    panels = _panels(breaks)
    kept: list[tuple[Array, Array, Array]] = []
    error = 0.0
    for halving in range(HALVINGS + 1):
        angles = panels.mean(axis=1)[:, None] + 0.5 * np.diff(panels) * (INSIDE * _PLACES)
        values = weight(_directions(angles.reshape(-1))).reshape(-1, *angles.shape)
        length = (panels[:, 1] - panels[:, 0]) / (2.0 * np.pi)
        rest = length * np.max(np.abs(values @ _LAST.T), axis=(0, 2))
        done = (rest <= TOLERANCE) | (halving == HALVINGS)
        error += float(np.sum(rest[done]))
        kept.append((angles[done].reshape(-1), (0.5 * length[done, None] * _SHARES).reshape(-1),
                     values[:, done].reshape(len(values), -1)))  # fmt: skip
        middle = panels[~done].mean(axis=1)
        panels = np.concatenate(
            [np.column_stack([panels[~done, 0], middle]), np.column_stack([middle, panels[~done, 1]])]
        )
        if not len(panels):
            break
    angles, weights, values = (np.concatenate(part, axis=-1) for part in zip(*kept, strict=True))
    return Circle(_directions(angles), weights, values, error)


def line(weight: Callable[[Array], Array]) -> Circle:
    """Return the rule for the two directions of one dimension.

    >>> line(lambda v: v.T).directions.ravel().tolist()
    [1.0, -1.0]
    """
    directions = np.array([[1.0], [-1.0]])
    return Circle(directions, np.array([0.5, 0.5]), weight(directions), 0.0)


def kinks(points: Array) -> Array:
    """Return the angles at which a direction is at right angles to one of the points (n, 2).

    >>> kinks(np.array([[1.0, 0.0]])).round(3).tolist()
    [1.571, 4.712]
    """
    moved = points[np.any(points != 0.0, axis=1)]
    angle = np.arctan2(moved[:, 1], moved[:, 0])
    result: Array = np.mod(np.concatenate([angle + np.pi / 2, angle - np.pi / 2]), 2 * np.pi)
    return result


def shell_sums(left: Array, right: Array, weights: Array) -> Array:
    """Return Σ_nodes weights[c] left rightᵀ as (c, n1, n2); left (nodes, n1), right (nodes, n2), weights (c, nodes)."""
    return np.array([(left * row[:, None]).T @ right for row in weights])


def _panels(breaks: Array) -> Array:
    """Return panels (m, 2) that cover the circle, cut at the breaks and not longer than ``LONGEST``."""
    edges = np.unique(np.concatenate([np.mod(breaks, 2 * np.pi), [0.0, 2 * np.pi]]))
    pieces = [np.linspace(low, high, int(np.ceil((high - low) / LONGEST)) + 1) for low, high in pairwise(edges)]
    return np.concatenate([np.column_stack([piece[:-1], piece[1:]]) for piece in pieces])


def _directions(angles: Array) -> Array:
    return np.column_stack([np.cos(angles), np.sin(angles)])
