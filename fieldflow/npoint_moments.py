"""What is ⟨h(x_1)…h(x_n)⟩ over one hidden unit? Chosen by what its activation is, read off the normal form.

Sums of z^k·exp(αz² + βz) in closed form at any points; what is a polynomial on each side of zero (rectifiers, steps) in
closed form where points and bias direction span at most three dimensions; other smooth activations there by quadrature.
"""

import warnings
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import sympy as sp
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fieldflow.compile import compile_scalar
from fieldflow.errors import BadInput, InaccurateResult, NoClosedForm
from fieldflow.formulas import deriving
from fieldflow.inputs import Array
from fieldflow.kernels import nngp
from fieldflow.network import MLP
from fieldflow.numeric.cone_moments import cone_products
from fieldflow.numeric.cones import arrangement
from fieldflow.numeric.span import quadrature, span
from fieldflow.numeric.symmetric import packed, positions, sorted_tuples
from fieldflow.numeric.wick import Exponential, gaussian_products
from fieldflow.symbolic.activations import Activation, implemented, kinks
from fieldflow.symbolic.normal_form import STEP_NOISE, Monomial, Terms, normal_form

_DIMENSIONS = 3
"""Of the span, up to which cones and quadratures are offered."""

_STOP, _WANTED = 1e-11, 1e-10
"""Relative change at which the quadrature ends (the last grid is then far better than that), and above which it warns."""


class Exponentials(NamedTuple):
    """σ(z) = Σ P(z) exp(αz² + βz)."""

    terms: tuple[Exponential, ...]


class Sides(NamedTuple):
    """σ(z) = Σ_k below[k] z^k for z < 0 and Σ_k above[k] z^k for z > 0."""

    below: dict[int, float]
    above: dict[int, float]


class Smooth(NamedTuple):
    """σ without a closed form here, and without a kink."""


class Kinked(NamedTuple):
    """σ with a kink or a step that is not that of ``Sides``."""


Family = Exponentials | Sides | Smooth | Kinked


def moments(net: MLP, points: Array, n: int) -> Array:
    """Return E[σ(z_1)…σ(z_n)] over one hidden unit, packed over sorted tuples of the points (checked, one hidden layer).

    Raises
    ------
    NoClosedForm
        For n > 2 and an activation with kinks other than at zero between polynomials; for n > 3 and an activation that is
        not a sum of polynomials times exponentials if the points span more than three dimensions (the rank is named).
    BadInput
        If an expectation is infinite or no float.

    Warns
    -----
    InaccurateResult
        If a quadrature does not converge to 1e-10.

    >>> round(float(moments(MLP(1, widths=(1,), activation="relu"), np.array([[1.0]]), 4)[0]), 12)
    1.5
    """
    activation = net.activation[0]
    with deriving():
        family = _family(activation.expr)
    vectors = hidden_vectors(net, points)
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(family, Exponentials):
            chosen = vectors[sorted_tuples(len(vectors), n)]
            found = gaussian_products(chosen @ np.swapaxes(chosen, 1, 2), family.terms)
        elif isinstance(family, Kinked):
            found = _kernel(net, points, n)
        else:
            found = _spanned(net, points, vectors, family, n)
    if not np.all(np.isfinite(found)):
        raise BadInput(
            f"activation: the expectation of {n} factors of {activation.name} is infinite or exceeds the range of floats"
        )
    return found


def hidden_vectors(net: MLP, points: Array) -> Array:
    """Return v(x) (m, d_in + 1) with pre-activation z(x) = v(x)·g, g standard normal: weights first, then the bias."""
    scale = net.sigma_w[0] * np.sqrt(net.layer_factor(0))
    with np.errstate(over="ignore"):
        vectors = np.column_stack([scale * points, np.full(len(points), net.sigma_b[0])])
        squares = np.sum(vectors**2, axis=1)
    if not np.all(np.isfinite(squares)):
        raise BadInput("points: expected points whose squared norm is a float (< 1.8e308)")
    return vectors


def _family(expr: sp.Expr) -> Family:
    return Smooth() if implemented(expr) else _recognised(expr)


@cache
def _recognised(expr: sp.Expr) -> Family:
    """Return which route an activation takes."""
    try:
        terms = normal_form(expr)
    except NoClosedForm:
        return Kinked() if kinks(expr) else Smooth()
    if all(monomial.gate is None for monomial in terms):
        return _exponentials(terms)
    if all(_one_sided(monomial) for monomial in terms):
        return _sides(terms)
    return Kinked() if kinks(expr) else Smooth()


def _one_sided(monomial: Monomial) -> bool:
    gate = monomial.gate
    at_zero = gate is None or (gate.noise == STEP_NOISE and gate.offset == 0)
    return bool(at_zero and monomial.alpha == 0 and monomial.beta == 0)


def _exponentials(terms: Terms) -> Exponentials:
    grouped: dict[tuple[sp.Expr, sp.Expr], dict[int, complex]] = {}
    for monomial, value in terms.items():
        grouped.setdefault((monomial.alpha, monomial.beta), {})[monomial.power] = _number(value)
    return Exponentials(
        tuple(
            Exponential(float(alpha), _number(beta), tuple(powers.get(k, 0.0) for k in range(max(powers) + 1)))
            for (alpha, beta), powers in grouped.items()
        )
    )


def _number(value: sp.Expr) -> complex:
    return complex(sp.N(value, 30))


def _sides(terms: Terms) -> Sides:
    sides = Sides({}, {})
    for monomial, value in terms.items():
        for side in sides if monomial.gate is None else (sides.above,):
            side[monomial.power] = side.get(monomial.power, 0.0) + float(value)
    return sides


def _kernel(net: MLP, points: Array, n: int) -> Array:
    """Return the pair expectations of any activation at any points: the kernel of an infinitely wide network."""
    if n != 2:
        raise NoClosedForm(
            f"activation: {net.activation[0].name} has a kink or step that is not one at zero between two polynomials; "
            f"products of {n} factors are derived for sums of z^k*exp(a*z^2 + b*z), for polynomials on each side of zero, "
            "and by quadrature for smooth activations"
        )
    wide = MLP(
        net.d_in,
        depth=1,
        activation=net.activation[0].expr,
        sigma_w=(net.sigma_w[0] * np.sqrt(net.layer_factor(0) * net.d_in), 1.0),
        sigma_b=(net.sigma_b[0], 0.0),
    )
    return packed(nngp(wide, points))


def _spanned(net: MLP, points: Array, vectors: Array, family: Sides | Smooth, n: int) -> Array:
    """Return the moments in the span of all points, or tuple by tuple where only that is small enough."""
    norms, units = span(vectors)
    dimension = units.shape[1]
    if dimension <= _DIMENSIONS:
        return _in_span(norms, units, net.activation[0], family, n)
    if n == 2:
        return _kernel(net, points, n)
    if n > _DIMENSIONS:
        raise NoClosedForm(
            f"points: with the bias direction they span rank {dimension}; products of {n} factors of "
            f"{net.activation[0].name} are derived up to rank {_DIMENSIONS}"
        )
    place = int(positions(np.arange(n), n))
    return np.array([
        _in_span(*span(vectors[chosen]), net.activation[0], family, n)[place]
        for chosen in sorted_tuples(len(vectors), n)
    ])  # fmt: skip


def _in_span(norms: Array, units: Array, activation: Activation, family: Sides | Smooth, n: int) -> Array:
    if isinstance(family, Sides):
        return _on_cones(norms, units, float(compile_scalar(activation.expr)(0.0)), family, n)
    # Many small matrix products: threads would wait for each other, and change the last bits.
    with threadpool_limits(limits=1, user_api="blas"):
        values, change = quadrature(compile_scalar(activation.expr), norms[:, None] * units, n, _STOP)
    if not change <= _WANTED and np.all(np.isfinite(values)):
        warnings.warn(
            f"{activation.name}: quadrature of products of {n} factors changes by {change:.1e} (relative) on its finest grid",
            InaccurateResult,
            stacklevel=2,
        )
    return values


def _on_cones(norms: Array, units: Array, at_zero: float, sides: Sides, n: int) -> Array:
    """Return the moments of an activation that is a polynomial on each side of zero: a sum over degrees and cells."""
    directions = np.zeros((len(units), _DIMENSIONS))
    directions[:, : units.shape[1]] = units
    cells = arrangement(directions)
    tuples = sorted_tuples(len(units), n)
    side = cells.signs.T
    degrees = sorted(set(sides.below) | set(sides.above))
    coefficients = {}
    for k in degrees:
        value = np.where(side > 0.0, sides.above.get(k, 0.0), sides.below.get(k, 0.0))
        value[norms == 0.0] = at_zero if k == 0 else 0.0
        coefficients[k] = value * norms[:, None] ** k
    if 0 not in degrees and at_zero != 0.0:
        raise BadInput(f"activation: its value {at_zero:g} at zero is not that of its two sides")
    total = np.zeros(len(tuples))
    for exponents in product(degrees, repeat=n):
        total += cone_products(directions, cells, np.array([coefficients[k] for k in exponents]), exponents, tuples)
    return total
