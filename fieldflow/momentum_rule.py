"""How is a function averaged over the momentum of a neuron? Product rules over |k| and the directions that matter.

A function of |k| and of k·x_j needs the projection of k on the span of the points only, r <= d dimensions: its length ρ|k|
has the density ρ^{r-1}(1 - ρ²)^{(d-r)/2-1}, its direction is uniform.  Functions are even in k: half a sphere is enough.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import special

from fieldflow.inputs import Array

_POINTS = 16
_PLACES, _WEIGHTS = np.polynomial.legendre.leggauss(_POINTS)
_RADIANS = 6.0
"""What a wave may turn within a panel at the coarsest level."""


class Momenta(NamedTuple):
    """Part of the rule: |k| (p,), projections (p, r) and weights (p,) without the density of |k|."""

    size: Array
    projections: Array
    weights: Array


def half_sphere(r: int, count: int) -> tuple[Array, Array]:
    """Return unit vectors (p, r) and weights (p,) of total 1 that average even functions over directions.

    >>> vectors, weights = half_sphere(3, 8)
    >>> np.round((vectors**2).T @ weights, 12).tolist()
    [0.333333333333, 0.333333333333, 0.333333333333]
    """
    if r <= 1:
        return np.ones((1, r)), np.ones(1)
    if r == 2:
        angles = np.pi * (np.arange(count) + 0.5) / count
        return np.stack([np.cos(angles), np.sin(angles)], axis=1), np.full(count, 1.0 / count)
    # Last coordinate first; exchanged by k -> -k in pairs, so the half circle below still sees whole periods.
    heights, outer = special.roots_jacobi(count, 0.5 * (r - 3), 0.5 * (r - 3))
    vectors, inner = half_sphere(r - 1, count)
    across = np.sqrt(1.0 - heights**2)
    found = np.concatenate(
        [
            across[:, None, None] * vectors,
            np.broadcast_to(heights[:, None, None], (count, len(vectors), 1)),
        ],
        axis=2,
    )
    return found.reshape(-1, r), np.outer(outer / outer.sum(), inner).reshape(-1)


def projected(d: int, r: int, count: int) -> tuple[Array, Array]:
    """Return projections (p, r) on r dimensions of unit vectors in d, and weights of total 1, for even functions."""
    vectors, inner = half_sphere(r, count)
    if d == r or r == 0:
        return vectors, inner
    places, outer = special.roots_jacobi(count // 2 + 8, 0.5 * (d - r) - 1.0, 0.5 * r - 1.0)
    lengths = np.sqrt(0.5 * (1.0 + places))
    found = (lengths[:, None, None] * vectors).reshape(len(lengths) * len(vectors), r)
    return found, np.outer(outer / outer.sum(), inner).reshape(-1)


def panel_edges(top: float, mass: float, decay: float, spread: float, level: int) -> Array:
    """Return the ends of panels in |k| from 0 to ``top``.

    They double from the mass on, or for m = 0, where the density is k^{decay - 1}, from where nothing is left below; none
    holds more than a wave of length ``spread``, less at higher levels.
    """
    widest = _RADIANS / max(spread, 1e-300) / 2**level
    low = 0.0 if mass > 0.0 else top * 1e-17 ** (1.0 / decay)
    edges = [low]
    while edges[-1] < top:
        step = min(max(edges[-1], mass) / (1 if level == 0 else 2), widest, 0.25 * top)
        edges.append(min(top, edges[-1] + step))
    return np.array(edges)


def directions_needed(k: float, spread: float, level: int) -> int:
    """Return how many directions per angle resolve waves of length ``spread`` at momentum k."""
    return int((0.6 * k * spread + 12.0) * 1.5**level)


def momentum_rule(d: int, r: int, edges: Array, spread: float, level: int) -> Iterator[Momenta]:
    """Yield the rule panel by panel."""
    for low, high in pairwise(edges):
        sizes = 0.5 * (low + high) + 0.5 * (high - low) * _PLACES
        vectors, share = projected(d, r, directions_needed(high, spread, level))
        yield Momenta(
            np.repeat(sizes, len(vectors)),
            (sizes[:, None, None] * vectors).reshape(len(sizes) * len(vectors), r),
            np.outer(0.5 * (high - low) * _WEIGHTS, share).reshape(-1),
        )


def rule_size(d: int, r: int, edges: Array, spread: float, level: int) -> tuple[float, float]:
    """Return how many momenta the rule has, and how many its largest panel."""
    counts = [float(directions_needed(high, spread, level)) for high in edges[1:]]
    angles = max(r - 1, 0)
    panels = [_POINTS * count**angles * (count / 2 + 8 if d > r > 0 else 1) for count in counts]
    return sum(panels), max(panels)
