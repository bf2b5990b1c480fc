"""Which activations does the engine integrate in closed form? Sums of z^n·exp(αz² + βz)·g with g one of 1, a step, an erf.

A step θ(az + t) and (1 + erf(az + t))/2 are one object here, a *gate*: the probability that a normal variable of variance
κ² stays below az + t, with κ² = 0 or 1/2.
"""

from dataclasses import dataclass, replace
from typing import Any

import sympy as sp

from fieldflow.symbolic.errors import NoClosedForm
from fieldflow.symbolic.switches import intervals
from fieldflow.symbolic.symbols import z

STEP_NOISE, ERF_NOISE = sp.Integer(0), sp.Rational(1, 2)


@dataclass(frozen=True)
class Gate:
    """P(κξ <= slope·z + offset) for ξ ~ N(0, 1), κ² = noise; steps have slope 1 and erfs a positive slope."""

    slope: sp.Expr
    offset: sp.Expr
    noise: sp.Expr


@dataclass(frozen=True)
class Monomial:
    """z^power · exp(alpha z² + beta z) · gate."""

    power: int = 0
    alpha: sp.Expr = sp.S.Zero
    beta: sp.Expr = sp.S.Zero
    gate: Gate | None = None


Terms = dict[Monomial, sp.Expr]
"""Coefficient of each monomial, real or complex."""


def normal_form(expr: sp.Expr) -> Terms:
    """Return the coefficients of ``expr``, an expression of ``symbols.z``, in the span of monomials.

    Raises
    ------
    NoClosedForm
        If the expression is not in their span; the message says which part.

    >>> normal_form(sp.Abs(z)) == {
    ...     Monomial(1): -1, Monomial(1, gate=Gate(sp.Integer(1), sp.Integer(0), STEP_NOISE)): 2
    ... }
    True
    """
    whole = sp.sympify(expr)
    try:
        return _clean(_terms(whole))
    except NoClosedForm:
        points, branches = intervals(whole)
        if not points:
            raise
    parts = [(sp.Integer(1), _terms(branches[0]))]
    for point, before, after in zip(points, branches, branches[1:], strict=False):
        parts.append((sp.Integer(1), _multiply(_terms(sp.expand(after - before)), _step(z - point))))
    return _clean(_add(*parts))


def rebuilt(terms: Terms) -> sp.Expr:
    """Return the expression that a normal form stands for."""
    total = sp.Integer(0)
    for monomial, coefficient in terms.items():
        value = coefficient * z**monomial.power * sp.exp(monomial.alpha * z**2 + monomial.beta * z)
        total += value * _gate_expression(monomial.gate)
    return total


def kinks(terms: Terms) -> list[sp.Expr]:
    """Return where the steps are, in increasing order."""
    return sorted({-m.gate.offset for m in terms if m.gate is not None and m.gate.noise == STEP_NOISE}, key=float)


def _gate_expression(gate: Gate | None) -> sp.Expr:
    if gate is None:
        return sp.Integer(1)
    inside = gate.slope * z + gate.offset
    return sp.Heaviside(inside, sp.Rational(1, 2)) if gate.noise == STEP_NOISE else (1 + sp.erf(inside)) / 2


def _clean(terms: Terms) -> Terms:
    expanded = {monomial: sp.expand(value) for monomial, value in terms.items()}
    return {monomial: value for monomial, value in expanded.items() if value != 0}


def squared(terms: Terms) -> tuple[Terms, list[tuple[Monomial, Monomial, sp.Expr]]]:
    """Return the square as a normal form, and the products (two gates, one of them an erf) that have none."""
    inside: Terms = {}
    pairs = []
    for left, one in terms.items():
        for right, two in terms.items():
            try:
                inside = _add(
                    (sp.Integer(1), inside), (one * two, _multiply({left: sp.Integer(1)}, {right: sp.Integer(1)}))
                )
            except NoClosedForm:
                pairs.append((left, right, one * two))
    return _clean(inside), pairs


def _add(*parts: tuple[sp.Expr, Terms]) -> Terms:
    total: Terms = {}
    for factor, terms in parts:
        for monomial, value in terms.items():
            total[monomial] = total.get(monomial, sp.Integer(0)) + factor * value
    return total


def _multiply(first: Terms, second: Terms) -> Terms:
    total: Terms = {}
    for left, one in first.items():
        for right, two in second.items():
            monomial = Monomial(
                left.power + right.power,
                left.alpha + right.alpha,
                sp.expand(left.beta + right.beta),
                _joint_gate(left.gate, right.gate),
            )
            total[monomial] = total.get(monomial, sp.Integer(0)) + one * two
    return total


def _joint_gate(left: Gate | None, right: Gate | None) -> Gate | None:
    if left is None or right is None:
        return left or right
    if left.noise == right.noise == STEP_NOISE:
        return left if left.offset <= right.offset else right  # θ(z + s)θ(z + t) = θ(z + min(s, t))
    raise NoClosedForm("sigma: a product of two steps or error functions, one of them an erf, has no closed form here")


def _terms(expr: sp.Expr) -> Terms:
    if not expr.has(z):
        return {Monomial(): sp.expand_complex(expr) if expr.has(sp.I) else expr}
    if expr == z:
        return {Monomial(1): sp.Integer(1)}
    if expr.is_Add:
        return _add(*((sp.Integer(1), _terms(part)) for part in expr.args))
    if expr.is_Mul:
        return _product([_terms(part) for part in expr.args])
    if expr.is_Pow and expr.exp.is_Integer and 0 < expr.exp <= 32:
        return _product([_clean(_terms(expr.base))] * int(expr.exp))
    if isinstance(expr, sp.Piecewise):
        return _piecewise(expr)
    rule = _RULES.get(expr.func)
    if rule is None:
        raise NoClosedForm(f"sigma: {expr} is not a sum of z^n*exp(a*z^2 + b*z) times 1, a step or an erf")
    found: Terms = rule(*expr.args)
    return found


def _product(factors: list[Terms]) -> Terms:
    result: Terms = {Monomial(): sp.Integer(1)}
    for factor in factors:
        result = _multiply(result, factor)
    return result


def _coefficients(argument: sp.Expr, degree: int, where: str) -> list[sp.Expr]:
    """Return (a_0, …, a_degree) of a polynomial argument; NoClosedForm for anything else."""
    try:
        found = sp.Poly(argument, z).all_coeffs()[::-1]
    except sp.PolynomialError as error:
        raise NoClosedForm(f"sigma: the argument {argument} of {where} is not a polynomial") from error
    if len(found) > degree + 1:
        raise NoClosedForm(f"sigma: the argument {argument} of {where} is of degree > {degree}")
    return [*found, *[sp.Integer(0)] * (degree + 1 - len(found))]


def _exp(argument: sp.Expr) -> Terms:
    constant, beta, alpha = _coefficients(sp.expand(argument), 2, "exp")
    if alpha.has(sp.I):
        raise NoClosedForm("sigma: exp of an imaginary square is not supported")
    return {Monomial(0, alpha, beta): sp.expand_complex(sp.exp(constant)) if constant.has(sp.I) else sp.exp(constant)}


def _waves(argument: sp.Expr, sign: int, factor: sp.Expr, unit: sp.Expr) -> Terms:
    """Return factor·(e^{iy} + sign·e^{-iy}) for unit = i, the hyperbolic functions for unit = 1."""
    return _add((factor, _exp(unit * argument)), (sign * factor, _exp(-unit * argument)))


def _erf(argument: sp.Expr) -> Terms:
    offset, slope = _coefficients(argument, 1, "erf")
    if not (slope.is_extended_real and offset.is_extended_real):
        raise NoClosedForm("sigma: erf of a complex argument is not supported")
    sign = 1 if slope > 0 else -1
    gate = Gate(sign * slope, sign * offset, ERF_NOISE)
    return {Monomial(gate=gate): sp.Integer(2 * sign), Monomial(): sp.Integer(-sign)}


def _step(argument: sp.Expr) -> Terms:
    offset, slope = _coefficients(argument, 1, "a step, Max, Min, Abs or sign")
    if slope == 0:
        return {Monomial(): sp.Heaviside(offset, sp.Rational(1, 2))}
    gate = Gate(sp.Integer(1), sp.together(offset / slope), STEP_NOISE)
    if slope > 0:
        return {Monomial(gate=gate): sp.Integer(1)}
    return {Monomial(): sp.Integer(1), Monomial(gate=gate): sp.Integer(-1)}


def _maximum(first: sp.Expr, *others: sp.Expr) -> Terms:
    if len(others) > 1:
        raise NoClosedForm("sigma: Max and Min of more than two arguments are not supported")
    result = _terms(first)
    for other in others:  # max(f, g) = g + (f - g) θ(f - g)
        excess = sp.expand(first - other)
        result = _add((sp.Integer(1), _terms(other)), (sp.Integer(1), _multiply(_terms(excess), _step(excess))))
    return result


def _minimum(*parts: sp.Expr) -> Terms:
    return _add((sp.Integer(-1), _maximum(*(-part for part in parts))))


def _sign(argument: sp.Expr) -> Terms:
    return _add((sp.Integer(2), _step(argument)), (sp.Integer(-1), {Monomial(): sp.Integer(1)}))


def _piecewise(expr: sp.Piecewise) -> Terms:
    """Return Σ piece·(its condition and none before); conditions are comparisons of linear expressions."""
    total: Terms = {}
    free: Terms = {Monomial(): sp.Integer(1)}
    for piece, condition in expr.args:
        inside: Terms = {Monomial(): sp.Integer(1)}
        if condition != sp.true:
            if not isinstance(condition, sp.core.relational._Inequality):
                raise NoClosedForm(f"sigma: the condition {condition} is not a comparison")
            inside = _step(condition.gts - condition.lts)
        here = _multiply(free, inside)
        total = _add((sp.Integer(1), total), (sp.Integer(1), _multiply(here, _terms(piece))))
        free = _add((sp.Integer(1), free), (sp.Integer(-1), here))
    return _clean(total)


_HALF = sp.Rational(1, 2)
_RULES: dict[Any, Any] = {
    sp.exp: _exp,
    sp.sin: lambda a: _waves(a, -1, -sp.I / 2, sp.I),
    sp.cos: lambda a: _waves(a, 1, _HALF, sp.I),
    sp.sinh: lambda a: _waves(a, -1, _HALF, sp.Integer(1)),
    sp.cosh: lambda a: _waves(a, 1, _HALF, sp.Integer(1)),
    sp.erf: _erf,
    sp.erfc: lambda a: _add((sp.Integer(1), {Monomial(): sp.Integer(1)}), (sp.Integer(-1), _erf(a))),
    sp.Heaviside: lambda a, *_: _step(a),
    sp.sign: _sign,
    sp.Abs: lambda a: _maximum(a, -a),
    sp.Max: _maximum,
    sp.Min: _minimum,
}


def jumps(terms: Terms) -> list[tuple[sp.Expr, sp.Expr]]:
    """Return (where, how much) for each discontinuity of a normal form."""
    total: dict[sp.Expr, sp.Expr] = {}
    for monomial, coefficient in terms.items():
        if monomial.gate is not None and monomial.gate.noise == STEP_NOISE:
            place = -monomial.gate.offset
            height = rebuilt({replace(monomial, gate=None): coefficient}).subs(z, place)
            total[place] = total.get(place, sp.Integer(0)) + height
    return [(place, height) for place, value in total.items() if (height := sp.expand_complex(value)) != 0]
