"""Where does an expression change its branch, and what is it in between? Max, Min, Abs, sign, steps and Piecewise resolved.

Between two neighbouring switch points every switching function is one of its branches; a switch that cannot be solved for
is left standing.
"""

from itertools import pairwise
from typing import Any

import sympy as sp

from fieldflow.symbolic.symbols import z

_SWITCHING = (sp.Max, sp.Min, sp.Abs, sp.sign, sp.Heaviside, sp.Piecewise)

_ODD = (sp.tanh, sp.erf, sp.sinh, sp.atan, sp.asinh)
"""Increasing functions that vanish at zero only."""

_MOST = 64
"""Switch points above which an expression is left as it is."""


class _Inside(Exception):
    """Switch points inside an interval that was taken for one piece."""

    def __init__(self, points: list[sp.Expr]) -> None:
        self.points = points


def intervals(expr: sp.Expr) -> tuple[list[sp.Expr], list[sp.Expr]]:
    """Return the switch points in increasing order, and the expression below, between and above them.

    >>> intervals(sp.Max(-1, sp.Min(1, z)))
    ([-1, 1], [-1, z, 1])
    """
    points: list[sp.Expr] = []
    while len(points) <= _MOST:
        edges = [-sp.oo, *points, sp.oo]
        try:
            return points, [_resolved(expr, low, high) for low, high in pairwise(edges)]
        except _Inside as found:
            points = sorted([*points, *found.points], key=_number)
    return [], [expr]


def _number(value: sp.Expr) -> Any:
    return sp.N(value, 40)


def _resolved(expr: sp.Expr, low: sp.Expr, high: sp.Expr) -> sp.Expr:
    """Return the expression between two points; _Inside if it switches there."""
    if not expr.has(*_SWITCHING):
        return expr
    if isinstance(expr, sp.Piecewise):
        return _branch(expr, low, high)
    parts = [_resolved(part, low, high) for part in expr.args]
    if isinstance(expr, (sp.Max, sp.Min)):
        best = parts[0]
        for part in parts[1:]:
            sign = _sign(best - part, low, high)
            if sign is None:
                return expr.func(*parts)
            best = best if (sign >= 0) == isinstance(expr, sp.Max) else part
        return best
    if isinstance(expr, (sp.Abs, sp.sign, sp.Heaviside)):
        sign = _sign(parts[0], low, high)
        if sign is None:
            return expr.func(*parts)
        values = {sp.Abs: sign * parts[0], sp.sign: sp.Integer(sign), sp.Heaviside: sp.Rational(1 + sign, 2)}
        return values[expr.func]
    return expr.func(*parts)


def _branch(expr: sp.Piecewise, low: sp.Expr, high: sp.Expr) -> sp.Expr:
    for piece, condition in expr.args:
        if condition == sp.true:
            return _resolved(piece, low, high)
        if not isinstance(condition, sp.core.relational._Inequality):
            break
        sign = _sign(_resolved(condition.gts - condition.lts, low, high), low, high)
        if sign is None:
            break
        if sign > 0 or (sign == 0 and condition.rel_op in (">=", "<=")):
            return _resolved(piece, low, high)
    return expr


def _sign(switch: sp.Expr, low: sp.Expr, high: sp.Expr) -> int | None:
    """Return the sign of a function between two points, None if its zeros are not found; _Inside if it changes there."""
    switch = sp.expand(switch)
    if not switch.has(z):
        return int(sp.sign(sp.N(switch, 30)))
    zeros = _zeros(switch)
    if zeros is None:
        return None
    margin = sp.Float(10, 30) ** -25
    inside = [x for x in zeros if _number(low) + margin < _number(x) < _number(high) - margin]
    if inside:
        raise _Inside(inside)
    return int(sp.sign(sp.N(switch.subs(z, _middle(low, high)), 30)))


def _middle(low: sp.Expr, high: sp.Expr) -> sp.Expr:
    if low == -sp.oo:
        return sp.Integer(0) if high == sp.oo else high - 1
    return low + 1 if high == sp.oo else (low + high) / 2


def _zeros(switch: sp.Expr) -> list[sp.Expr] | None:
    """Return the real zeros, None if they cannot be had exactly."""
    core = switch.as_independent(z, as_Add=False)[1]
    if isinstance(core, _ODD):
        return _zeros(sp.expand(core.args[0]))
    try:
        if not switch.is_polynomial(z):
            known = switch.has(sp.exp) and not switch.has(sp.sin, sp.cos, sp.tan, *_SWITCHING)
            found = sp.solveset(switch, z, sp.S.Reals) if known else None
            return list(found) if isinstance(found, sp.FiniteSet) else ([] if found is sp.S.EmptySet else None)
        polynomial = sp.Poly(switch, z)
        if polynomial.degree() == 1:
            slope, offset = polynomial.all_coeffs()
            return [-offset / slope]
        return list(dict.fromkeys(sp.real_roots(polynomial)))
    except (NotImplementedError, sp.PolynomialError, ValueError):
        return None
