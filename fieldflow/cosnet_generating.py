"""What is W[J] = ln E e^{J·f} of a cosine network, from which all its correlators follow? N ln of an average over one neuron.

Formulas ``cosnet.generating_gaussian|fixed`` of averages over k of ``cosnet.source_gaussian|fixed``, by quadrature.
"""

import math
import warnings
from typing import Any

import numpy as np

from fieldflow import inputs, memory
from fieldflow.cosnet_correlators import connected
from fieldflow.cosnet_neuron import Neuron
from fieldflow.errors import BadInput, InaccurateResult, NoClosedForm
from fieldflow.formulas import compiled
from fieldflow.inputs import Array
from fieldflow.momentum_rule import Momenta, momentum_rule, panel_edges, rule_size

_TOLERANCE = 1e-11
_LEVELS = 4
_MOST = 2e8
"""Momenta times sets of sources that are evaluated at most."""

_WAVES = 1e5
"""Radians of the longest wave: a few seconds in one dimension."""

_FAR = 45.0
"""e^{-45} of the largest integrand is where the Gaussian regulator has cut it off."""


def generating_functional(neuron: Neuron, width: float, points: Any, sources: Any) -> Array:
    """Return W[J] for J = Σ_j J_j δ(x - x_j): points (m, d), sources (b, m) or (m,) → (b,) or ()."""
    points = inputs.points("points", points, neuron.d)
    sources = inputs.real_array("sources", sources)
    if sources.ndim not in (1, 2) or sources.shape[-1] != len(points) or sources.size == 0:
        raise BadInput(f"sources: expected shape (b, {len(points)}) or ({len(points)},), got {sources.shape}")
    if math.isinf(width):
        kernel = connected(neuron, width, points, 2, None)
        free: Array = 0.5 * np.einsum("...i,ij,...j->...", sources, kernel, sources)
        return free
    average = _average(neuron, width, points, np.atleast_2d(sources))
    name = "cosnet.generating_" + ("fixed" if neuron.sigma_w is None else "gaussian")
    found: Array = compiled(name)(average, width)
    return found if sources.ndim == 2 else found[0]


def _average(neuron: Neuron, width: float, points: Array, sources: Array) -> Array:
    """Return the average of F - 1 over k for every set of sources, by rules that are refined until two agree."""
    largest = float(np.max(np.sum(np.abs(sources), axis=1)))
    top = _top(neuron, width, largest)
    coordinates = _in_span(points)
    r = coordinates.shape[1]
    spread = float(np.max(np.linalg.norm(coordinates[:, None] - coordinates, axis=2)))
    decay = neuron.d if neuron.mass > 0.0 else neuron.d - 2.0 * (neuron.alpha + 1.0)
    before: Array = np.full(len(sources), np.nan)
    gap = np.inf
    if top * spread > _WAVES:
        raise NoClosedForm(
            f"points: W needs waves of {top * spread:.1e} radians to be resolved, more than {_WAVES:.0e}; expected points closer "
            "together or a smaller radius"
        )
    for level in range(_LEVELS):
        edges = panel_edges(top, neuron.mass, decay, spread, level)
        every, most = rule_size(neuron.d, r, edges, spread, level)
        if every * len(sources) > _MOST:
            if level > 1:
                break
            raise NoClosedForm(
                f"points: W needs {every:.1e} momenta per set of sources for waves of {top * spread:.0f} radians in {r} "
                "dimensions, which is too many; expected points closer together or a smaller radius"
            )
        memory.require(int(most * (2 * len(points) + 4 * len(sources) + r + 2) * 8), "W: one panel of momenta")
        parts = momentum_rule(neuron.d, r, edges, spread, level)
        now: Array = np.sum([_panel(neuron, width, coordinates, sources, part) for part in parts], axis=0)
        if not np.all(np.isfinite(now)):
            raise BadInput("sources: too strong, one neuron's average of e^{J·f} is beyond the range of floats")
        gap = float(np.max(np.abs(now - before) / np.maximum(np.abs(now), np.finfo(float).tiny)))
        before = now
        if gap <= _TOLERANCE:
            return before
    warnings.warn(f"W: the quadrature stopped at a relative error of about {gap:.1e}", InaccurateResult, stacklevel=4)
    return before


def _panel(neuron: Neuron, width: float, coordinates: Array, sources: Array, part: Momenta) -> Array:
    """Return Σ over the momenta of one panel of density times F - 1."""
    phases = part.projections @ coordinates.T
    strength = np.hypot(np.cos(phases) @ sources.T, np.sin(phases) @ sources.T)
    constant = neuron.volume if neuron.sigma_w is None else neuron.sigma_w
    name = "cosnet.source_" + ("fixed" if neuron.sigma_w is None else "gaussian")
    with np.errstate(over="ignore"):  # reported by the caller
        excess = compiled(name)(part.size[:, None], strength, neuron.mass, neuron.alpha, width, constant)
    found: Array = (part.weights * np.exp(_log_density(neuron, part.size))) @ excess
    return found


def _log_density(neuron: Neuron, k: Array) -> Array:
    """Return the logarithm of the density of |k|."""
    d = neuron.d
    sphere = math.log(2.0) - math.lgamma(0.5 * d) + 0.5 * d * math.log(math.pi) - d * math.log(2.0 * math.pi)
    shape = (d - 1.0) * np.log(k) - (neuron.alpha + 1.0) * np.log(k**2 + neuron.mass**2)
    cut: Array = -0.5 * (k / neuron.radius) ** 2 if neuron.gaussian else np.zeros_like(k)
    found: Array = sphere - math.log(neuron.volume) + shape + cut
    return found


def _in_span(points: Array) -> Array:
    """Return coordinates (m, r) of the points in their span: |J̃| knows only their differences."""
    centred = points - points.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    kept = sizes > 1e-12 * max(float(np.max(np.abs(points))), np.finfo(float).tiny)
    coordinates: Array = left[:, kept] * sizes[kept]
    return coordinates


def _top(neuron: Neuron, width: float, largest: float) -> float:
    """Return the momentum at which the integrand ends; BadInput where W is infinite."""
    if neuron.radius == math.inf:
        raise NoClosedForm("radius: W[J] is for networks with a momentum cut-off, expected a finite number")
    if neuron.mass == 0.0 and neuron.alpha < 0.0:
        raise BadInput("mass: expected > 0 for alpha < 0: the amplitude of soft neurons, and W, is infinite")
    if not neuron.gaussian:
        return neuron.radius
    fixed = neuron.sigma_w is None
    scale = (
        math.sqrt(2.0 * neuron.volume / width) if fixed else float(neuron.sigma_w or 0.0) ** 2 * largest / (2.0 * width)
    )
    power = neuron.alpha if fixed else 2.0 * neuron.alpha
    rate = scale * largest
    if largest > 0.0 and (power > 2.0 or (power == 2.0 and rate >= 0.5 / neuron.radius**2)):
        raise BadInput(
            f"sources: W[J] is infinite: e^(J·f) of a neuron grows like exp(c k^{power:g}), faster than the regulator falls"
        )
    k = neuron.radius * np.geomspace(1e-3, 1e3, 6000)
    bound = _log_density(neuron, k) + np.log(k) + rate * (k**2 + neuron.mass**2) ** (0.5 * power)
    peak = int(np.argmax(bound))
    beyond = np.flatnonzero(bound[peak:] < bound[peak] - _FAR)
    if len(beyond) == 0:
        raise BadInput("sources: too strong, one neuron's average of e^{J·f} is beyond the range of floats")
    return float(k[peak + beyond[0]])
