"""Is a deep random network ordered or chaotic, and how deep does a signal reach? Mean-field theory of one activation.

Every number is a compiled formula of ``symbolic/meanfield.py``; this file only finds roots.  In layers of equal σ_w, σ_b
the variance settles at q*, the correlation of two inputs at c*, and both forget their start over ξ_q and ξ_c layers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy
import sympy as sp

from fieldflow import inputs
from fieldflow.compile import compile_formula
from fieldflow.errors import BadInput, NoEdgeOfChaos, NoFixedPoint
from fieldflow.formulas import compiled, deriving, pair_expectation, second_moment
from fieldflow.inputs import Array
from fieldflow.symbolic import meanfield
from fieldflow.symbolic.activations import Activation, activation, implemented
from fieldflow.symbolic.symbols import z

_OCTAVES = 60
"""Powers of two, up or down from the start, within which a fixed point is looked for."""

_EDGE_OCTAVES = (-40, 30)
"""Powers of two between which a fixed point on the edge of chaos is looked for."""

_PER_OCTAVE = np.arange(1, 9) / 8

_ROUNDING = 8.0 * np.finfo(np.float64).eps
"""Relative size below which V(q) - q is no difference: √2² is not 2."""

_CRITICAL = 1e-12
"""χ₁ - 1 below which a network counts as critical."""

_NOISE = 1e-13
"""Relative size below which q - E[σ²]/E[σ'²], a difference of nearly equal numbers, has no sign."""


@dataclass(frozen=True, init=False)
class MeanField:
    """Signals in an infinitely wide network of equal layers: fixed points, phase and depth scales.

    Theory of Poole et al. (arXiv:1606.05340, Sec. 2) and Schoenholz et al. (arXiv:1611.01232, Secs. 2-3).

    Parameters
    ----------
    activation : str or SymPy expression in one symbol
        Continuous; a jump makes χ₁ infinite.
    sigma_w, sigma_b : float
        Prior scales: weights N(0, σ_w²/fan_in), biases N(0, σ_b²).
    start : float
        Variance from which the length map is followed to its fixed point.

    Raises
    ------
    BadInput
        If an argument is not of the stated form; the message names it.

    >>> net = MeanField("relu", sigma_w=1.0, sigma_b=0.5)
    >>> round(net.fixed_point, 12), round(net.chi1, 12), net.correlation_fixed_point
    (0.5, 0.5, 1.0)
    """

    activation: Activation
    sigma_w: float
    sigma_b: float
    start: float

    def __init__(self, activation: Any, sigma_w: float, sigma_b: float, *, start: float = 1.0) -> None:
        values = {
            "activation": _continuous(activation),
            "sigma_w": inputs.real("sigma_w", sigma_w, minimum=0.0),
            "sigma_b": inputs.real("sigma_b", sigma_b, minimum=0.0),
            "start": inputs.real("start", start, minimum=0.0, strict=True),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def length_map(self, q: Any) -> Any:
        """Return V(q) = σ_b² + σ_w² E[σ(z)²], z ~ N(0, q): the variance one layer above; broadcasts.

        >>> float(MeanField("relu", 2.0, 1.0).length_map(3.0))
        7.0
        """
        return compiled("meanfield.fixed_point")(self.sigma_w, self.sigma_b, second_moment(self.activation.expr)(q))

    def correlation_map(self, c: Any) -> Any:
        """Return C(c), the correlation one layer above, for two inputs of variance q* > 0; broadcasts.

        >>> round(float(MeanField("relu", 1.0, 0.5).correlation_map(1.0)), 12)
        1.0
        """
        q = self._variance
        correlation = inputs.real_array("c", c)
        # An odd function of independent variables averages to 0, which quadrature finds only up to rounding.
        silent = (correlation == 0.0) & _is_odd(self.activation.expr)
        pair = pair_expectation(self.activation.expr)(q, q * np.where(silent, 1.0, correlation), q)
        return compiled("meanfield.correlation_map")(self.sigma_w, self.sigma_b, np.where(silent, 0.0, pair), q)

    @cached_property
    def fixed_point(self) -> float:
        """q* = V(q*) that is reached from ``start``; where V(q) = q for all q (ReLU, σ_w² = 2, σ_b = 0) that is ``start``.

        Raises NoFixedPoint if the variance grows without bound or keeps oscillating.
        """
        with np.errstate(over="ignore"):
            found = self._followed()
        if self.slope_at(found) < -1.0:
            raise NoFixedPoint(f"sigma_w: the length map overshoots its fixed point {found:g}; the variance oscillates")
        return found

    def slope_at(self, q: float) -> float:
        """Return V'(q), the slope of the length map.

        >>> MeanField("relu", 1.0, 0.5).slope_at(3.0)
        0.5
        """
        # Where σ(0) = 0 the slope is continuous at q = 0, and V(0) > 0 otherwise: q* is never 0 then.
        rate = _moment_rate(self.activation.expr)(max(q, 1e-16))
        return float(compiled("meanfield.variance_slope")(self.sigma_w, rate))

    @cached_property
    def chi1(self) -> float:
        """χ₁ = σ_w² E[σ'²] at q*: below 1 nearby inputs converge (ordered), above 1 they separate (chaotic)."""
        slope = second_moment(self.activation.derivative)(self.fixed_point)
        return float(compiled("meanfield.chi1")(self.sigma_w, slope))

    @cached_property
    def correlation_fixed_point(self) -> float:
        """c*, the attracting fixed point of the correlation map in [0, 1].

        C has non-negative Taylor coefficients (Hermite), so it is convex there: c* = 1 if χ₁ <= 1, else the other one.
        Raises NoFixedPoint if q* = 0.
        """
        q, excess = self._variance, self.chi1 - 1.0
        if excess <= _CRITICAL or q == 0.0:
            return 1.0
        if self.correlation_map(0.0) <= 0.0:
            return 0.0

        def gain(distance: float) -> float:
            """Return (1 - C(1 - e))/e - 1, which falls from χ₁ - 1 to -C(0): the trivial root e = 0 is divided out."""
            return excess if distance == 0.0 else float((1.0 - self.correlation_map(1.0 - distance)) / distance - 1.0)

        return 1.0 - float(scipy.optimize.brentq(gain, 0.0, 1.0, xtol=1e-15, rtol=_ROUNDING))

    @cached_property
    def correlation_length(self) -> float:
        """ξ_c = -1/ln χ, χ the slope of the correlation map at c*, in layers; infinite on the edge of chaos."""
        q, c = self._variance, self.correlation_fixed_point
        if c == 1.0:
            return _depth_scale("meanfield.correlation_length", self.chi1)
        pair = pair_expectation(self.activation.derivative)(q, c * q, q)
        return _depth_scale(
            "meanfield.correlation_length", float(compiled("meanfield.correlation_slope")(self.sigma_w, pair))
        )

    @cached_property
    def variance_length(self) -> float:
        """ξ_q = -1/ln |V'(q*)|, in layers; infinite where the fixed point is marginal."""
        return _depth_scale("meanfield.variance_length", abs(self.slope_at(self.fixed_point)))

    @property
    def _variance(self) -> float:
        """q*; NoFixedPoint if it vanishes."""
        if self.fixed_point == 0.0:
            raise NoFixedPoint("sigma_w, sigma_b: signals die out (q* = 0), so their correlation has no fixed point")
        return self.fixed_point

    def _followed(self) -> float:
        """Return the first fixed point above or below the start, whichever way the length map goes."""
        low, side = self.start, float(self._side(np.array(self.start)))
        if side == 0.0:
            return low
        for octave in range(_OCTAVES):
            q = self.start * 2.0 ** (side * (octave + _PER_OCTAVE))
            try:
                sides = self._side(q)
            except BadInput:  # weights such as exp(z²/9) have no second moment beyond some q
                break
            for point, found in zip(q, sides, strict=True):
                if found == -side:
                    return self._root(low, point)
                low = point if found == side else low
        if side > 0.0:
            raise NoFixedPoint(
                f"sigma_w: no fixed point from the start {self.start:g} up to {low:.1e}, the variance grows "
                f"(activation {self.activation.name}, sigma_w {self.sigma_w:g}, sigma_b {self.sigma_b:g})"
            )
        return self._root(0.0, low) if self.length_map(0.0) > 0.0 else 0.0

    def _side(self, q: Array) -> Array:
        """Return the sign of V(q) - q, 0 within rounding."""
        gap = self.length_map(q) - q
        side: Array = np.where(np.abs(gap) <= _ROUNDING * q, 0.0, np.sign(gap))
        return side

    def _root(self, low: float, high: float) -> float:
        return _bracketed(lambda q: float(self.length_map(q)) - q, low, high)


class EdgeOfChaos(NamedTuple):
    """Points with χ₁ = 1: scales, fixed point and V'(q); the fixed point is reached only where |V'(q)| <= 1."""

    sigma_w: Array
    sigma_b: Array
    q: Array
    variance_slope: Array


def edge_of_chaos_curve(activation: Any, q: Any) -> EdgeOfChaos:
    """Return the edge of chaos (χ₁ = 1) as a curve in the fixed point q*; no root is searched for.

    σ_w² = 1/E[σ'²] and σ_b² = q* - σ_w² E[σ²] (Schoenholz et al., arXiv:1611.01232, Sec. 3).

    Parameters
    ----------
    activation : str or SymPy expression in one symbol
    q : array_like
        Variances q* > 0.

    Returns
    -------
    EdgeOfChaos
        Arrays of the shape of ``q``; sigma_b is NaN where no real one exists.

    Raises
    ------
    NoEdgeOfChaos
        If the curve is one point (homogeneous activations, as ReLU).

    >>> edge = edge_of_chaos_curve("erf", [1.0])
    >>> [round(float(value[0]), 4) for value in edge]
    [1.3252, 0.4291, 1.0, 0.3333]
    """
    known = _with_edge(activation)
    variance = inputs.real_array("q", q)
    if np.any(variance <= 0.0):
        raise BadInput(f"q: expected variances > 0, got {np.min(variance):g}")
    return _edge_at(known, variance)


def edge_of_chaos(activation: Any, sigma_b: Any) -> EdgeOfChaos:
    """Return the σ_w of the edge of chaos (χ₁ = 1 at an attracting q*) for given σ_b.

    Parameters
    ----------
    activation : str or SymPy expression in one symbol
    sigma_b : array_like
        Bias scales >= 0.

    Returns
    -------
    EdgeOfChaos
        Arrays of the shape of ``sigma_b``; the smallest q* where there are several.

    Raises
    ------
    NoEdgeOfChaos
        If the curve is one point (homogeneous activations, as ReLU), or does not pass through a ``sigma_b``.

    >>> round(float(edge_of_chaos("tanh", 0.05**0.5).sigma_w) ** 2, 3)
    1.761
    """
    known = _with_edge(activation)
    scales = inputs.real_array("sigma_b", sigma_b)
    if np.any(scales < 0.0):
        raise BadInput(f"sigma_b: expected numbers >= 0, got {np.min(scales):g}")
    q = np.array([_edge_variance(known, float(scale)) for scale in scales.flat]).reshape(scales.shape)
    return _edge_at(known, q)._replace(sigma_b=scales)


def _edge_variance(known: Activation, sigma_b: float) -> float:
    """Return the smallest attracting q* of the edge at ``sigma_b``."""
    linear = known.expr.subs(z, 0) == 0 and known.derivative.subs(z, 0) != 0
    # At q = 0 the slope V' is 1; the sign of V' - 1 just above says whether that point attracts.
    if sigma_b == 0.0 and linear and _edge_at(known, np.array(2.0**-20)).variance_slope <= 1.0:
        return 0.0
    low, before = 0.0, 0.0
    for octave in range(*_EDGE_OCTAVES):
        try:
            points = _edge_octave(known, octave)
        except BadInput:  # beyond what the expectations can be computed for
            break
        for q, bias in points:
            gap = bias - sigma_b**2
            if not np.isfinite(gap) or abs(gap) <= _NOISE * q:
                continue
            if np.sign(gap) == -before:
                root = _bracketed(lambda at: float(_bias_variance(known, at)) - sigma_b**2, low, q)
                if abs(_edge_at(known, np.array(root)).variance_slope) <= 1.0:
                    return root
            low, before = q, np.sign(gap)
    raise NoEdgeOfChaos(
        f"sigma_b: the edge of chaos of {known.name} has no attracting fixed point at sigma_b = {sigma_b:g} (up to q = {low:.1e})"
    )


@cache
def _edge_octave(known: Activation, octave: int) -> list[tuple[float, float]]:
    """Return (q, σ_b²) on the edge for some q from 2^octave to its double."""
    q = 2.0 ** (octave + _PER_OCTAVE)
    with np.errstate(over="ignore", invalid="ignore"):
        return list(zip(q.tolist(), _bias_variance(known, q).tolist(), strict=True))


def _bias_variance(known: Activation, q: Any) -> Any:
    """Return the σ_b² of the edge with fixed point q."""
    return compiled("meanfield.edge_bias_variance")(q, second_moment(known.expr)(q), second_moment(known.derivative)(q))


def _edge_at(known: Activation, q: Array) -> EdgeOfChaos:
    sigma_w = compiled("meanfield.edge_sigma_w")(second_moment(known.derivative)(q))
    bias = _bias_variance(known, np.maximum(q, np.finfo(np.float64).tiny))
    sigma_b = np.sqrt(np.where(bias < -_NOISE * q, np.nan, np.maximum(bias, 0.0)))
    slope = compiled("meanfield.variance_slope")(sigma_w, _moment_rate(known.expr)(np.maximum(q, 1e-16)))
    return EdgeOfChaos(*(np.asarray(value) for value in (sigma_w, sigma_b, q, slope)))


def _with_edge(given: Any) -> Activation:
    """Return the activation, unless its edge of chaos is one point or none at all."""
    known = _continuous(given)
    if known.derivative == 0:
        raise NoEdgeOfChaos(f"activation: {known.name} is constant, so chi_1 = 0 for every sigma_w")
    if known.degree == 1:
        square = float(compiled("meanfield.edge_sigma_w")(second_moment(known.derivative)(1.0))) ** 2
        raise NoEdgeOfChaos(
            f"activation: {known.name} is homogeneous, so its edge of chaos is no curve but the point "
            f"sigma_w^2 = {square:.12g}, sigma_b = 0, where every q is a fixed point"
        )
    return known


def _continuous(given: Any) -> Activation:
    """Return the activation; BadInput if it jumps."""
    known = activation(given)
    if implemented(known.expr):
        raise BadInput("activation: mean-field theory needs its derivative; expected a name or a SymPy expression")
    for part in known.expr.atoms(sp.Heaviside, sp.sign):
        for place in sp.solve(part.args[0], z):
            if sp.limit(known.expr, z, place, "+") != sp.limit(known.expr, z, place, "-"):
                raise BadInput(
                    f"activation: expected a continuous one, {known.name} jumps at {place}, where chi_1 is infinite"
                )
    return known


def _is_odd(expr: sp.Expr) -> bool:
    return bool(sp.expand(expr.subs(z, -z) + expr) == 0)


@cache
def _moment_rate(sigma: sp.Expr) -> Callable[..., Any]:
    """Return compiled dE[σ²]/dq as a function of q."""
    with deriving():
        return compile_formula(meanfield.moment_rate(sigma))


def _depth_scale(name: str, slope: float) -> float:
    """Return -1/ln(slope): 0 if one layer forgets everything, infinite if none does."""
    if slope <= 0.0:
        return 0.0
    return float(compiled(name)(slope)) if slope < 1.0 else np.inf


def _bracketed(function: Callable[[float], float], low: float, high: float) -> float:
    return float(scipy.optimize.brentq(function, low, high, xtol=np.finfo(np.float64).tiny, rtol=_ROUNDING))
