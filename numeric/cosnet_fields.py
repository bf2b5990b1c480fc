"""What do cosine networks of any density and read-out do? Fields drawn at given points.

f(x) = Σ_i ω_i (b_i² + m²)^{α/2} cos(b_i·x + c_i)/√N with b of density ∝ f_R(b)(b² + m²)^{-α-1}, ω = √(2Ω_α) or N(0, σ_w²).
Streams as in ``cosnet``: directions from the normals of HIDDEN, two uniforms a unit for |b|, by the inverse of its
distribution function, and the phase; Gaussian weights from READOUT.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.jit import jit
from fieldflow.numeric.rng import HIDDEN, READOUT, UNIFORM, fill_normals, fill_uniforms

_INTERVALS = 16384
_PLACES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_FAR = 12.0
"""Where e^{-b²/2R²} ends: e^{-72}."""


class MomentumTable(NamedTuple):
    """Distribution function of |b| at nodes, with the slopes d|b|/dF; below the first node |b| ∝ F^{1/power}.

    ``volume`` is Ω_α = ∫d^db/(2π)^d f_R (b² + m²)^{-α-1}.
    """

    cumulative: NDArray[np.float64]
    momenta: NDArray[np.float64]
    slopes: NDArray[np.float64]
    power: float
    volume: float


class FieldLayer(NamedTuple):
    """A network as the compiled code needs it; ``scale`` is √(2Ω/N), or σ_w/√N in front of normal weights."""

    d: int
    width: int
    mass: float
    alpha: float
    scale: float
    normal: bool


def momentum_table(d: int, radius: float, mass: float, alpha: float, in_ball: bool) -> MomentumTable:
    """Return the law of |b|, for inversion to about ten digits.

    >>> table = momentum_table(2, 3.0, 1.0, -1.0, True)
    >>> round(float(momenta_at(table, np.array([0.25]))[0]), 9)
    1.5
    """
    power = float(d) if mass > 0.0 else d - 2.0 * (alpha + 1.0)
    start = min(mass, radius) if mass > 0.0 else radius
    top = radius if in_ball else _FAR * radius
    low, high = math.log(start) - 40.0 / power, math.log(top)

    def log_density(logarithm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the logarithm of the density of ln|b|, not normalised."""
        squares = np.logaddexp(2.0 * logarithm, 2.0 * math.log(mass)) if mass > 0.0 else 2.0 * logarithm
        found = d * logarithm - (alpha + 1.0) * squares
        return found if in_ball else found - 0.5 * (np.exp(logarithm) / radius) ** 2

    nodes = np.linspace(low, high, _INTERVALS + 1)
    half = 0.5 * (nodes[1] - nodes[0])
    logs = log_density(nodes)
    shift = float(np.max(logs))
    inside = 0.5 * (nodes[1:] + nodes[:-1])[:, None] + half * _PLACES
    pieces = half * (np.exp(log_density(inside) - shift) @ _WEIGHTS)
    below = math.exp(logs[0] - shift) / power
    running = below + np.concatenate([[0.0], np.cumsum(pieces)])
    total = float(running[-1])
    cumulative, momenta = running / total, np.exp(nodes)
    slopes = momenta * total / np.maximum(np.exp(logs - shift), np.finfo(np.float64).tiny)
    kept = np.concatenate([np.diff(cumulative) > 1e-15 * cumulative[1:], [True]])
    sphere = 2.0 * math.pi ** (0.5 * d) / math.gamma(0.5 * d) / (2.0 * math.pi) ** d
    volume = sphere * total * math.exp(shift)
    return MomentumTable(cumulative[kept], momenta[kept], slopes[kept], power, volume)


@jit
def _momentum(table, u):  # type: ignore[no-untyped-def]
    """Return the |b| with F(|b|) = u, by cubic Hermite interpolation."""
    if u <= table.cumulative[0]:
        return table.momenta[0] * (u / table.cumulative[0]) ** (1.0 / table.power)
    right = min(np.searchsorted(table.cumulative, u), table.cumulative.size - 1)
    left = right - 1
    step = table.cumulative[right] - table.cumulative[left]
    t = min(1.0, (u - table.cumulative[left]) / step)
    rest = 1.0 - t
    low = table.momenta[left] * (1.0 + 2.0 * t) + step * table.slopes[left] * t
    high = table.momenta[right] * (1.0 + 2.0 * rest) - step * table.slopes[right] * rest
    return rest * rest * low + t * t * high


@jit
def _invert(table, uniforms, out):  # type: ignore[no-untyped-def]
    for i in range(uniforms.size):
        out[i] = _momentum(table, uniforms[i])


def momenta_at(table: MomentumTable, uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quantiles of |b| at uniforms in (0, 1)."""
    out = np.empty(uniforms.size)
    _invert(table, uniforms, out)
    return out


@jit
def fields_block(layer, table, seed, first, x, out, stop):  # type: ignore[no-untyped-def]
    """Fill ``out`` (members, points) with the fields of members first, first + 1, … at the points x (points, d)."""
    directions = np.empty((layer.width, layer.d))
    numbers, weights = np.empty(2 * layer.width), np.ones(layer.width)
    for slot in range(out.shape[0]):
        if stop[0] != 0:
            return
        member = first + slot
        fill_normals(directions.reshape(-1), seed, member, HIDDEN)
        fill_uniforms(numbers, seed, member, UNIFORM)
        if layer.normal:
            fill_normals(weights, seed, member, READOUT)
        out[slot] = 0.0
        for unit in range(layer.width):
            size = _momentum(table, numbers[2 * unit])
            phase = np.pi * (2.0 * numbers[2 * unit + 1] - 1.0)
            norm = np.sqrt(np.dot(directions[unit], directions[unit]))
            amplitude = layer.scale * weights[unit] * (size * size + layer.mass**2) ** (0.5 * layer.alpha)
            for point in range(x.shape[0]):
                turn = np.dot(directions[unit], x[point]) * size / norm
                out[slot, point] += amplitude * np.cos(turn + phase)
