"""How does a sum of many parts become one expression that people read and floating point trusts?

Parts with the same transcendental factor are collected, their rational coefficients cancelled, and a root that divides its
coefficient is multiplied into it.  The floating-point twin writes polynomials with D = q11 q22 - c² where that removes a
subtraction, and differences of exponentials with expm1.
"""

from collections.abc import Iterable

import sympy as sp

from fieldflow.symbolic.fraction import Fraction, fraction
from fieldflow.symbolic.pair import DETERMINANT, Atom, det, gap, with_determinant
from fieldflow.symbolic.special import ExpDifference
from fieldflow.symbolic.symbols import c, q11, q22

_TINY = sp.Rational(1, 10**290)
"""Below this a root that can vanish is held in a denominator: its numerator vanishes first."""


def collect(parts: Iterable[Atom]) -> tuple[sp.Expr, sp.Expr]:
    """Return the sum of the parts, exactly and in its floating-point form (a function of D and δ as well)."""
    found: dict[tuple[sp.Expr, sp.Expr], tuple[sp.Expr, Atom]] = {}
    for part in parts:
        key = (part.exact, part.root)
        before = found[key][0] if key in found else sp.Integer(0)
        found[key] = (before + part.factor, part)
    exact, stable = sp.Integer(0), []
    for total, atom in found.values():
        value = _rational(total)
        if value.numerator == 0:
            continue
        coefficient, power = _absorb(value, atom.root)
        exact += coefficient * atom.exact * sp.sqrt(atom.root) ** power
        root = atom.stable_root
        if power < 0 and sp.expand(root).subs({q11: 0, q22: 0, det: 0, c: 0}) == 0:
            root = sp.Max(root, _TINY)
        stable.append((_stable(coefficient), _stable_exponents(atom.stable) * sp.sqrt(root) ** power))
    carried = _sum_with_expm1(stable).replace(lambda part: part == DETERMINANT, lambda part: det)
    return _tidy(exact), carried


def _rational(total: sp.Expr) -> Fraction:
    explicit = total.xreplace({det: DETERMINANT})
    value = fraction(explicit, (DETERMINANT,))
    if value.numerator.ring.ngens > len(explicit.free_symbols) and explicit.has(sp.sin, sp.cos):
        value = fraction(sp.trigsimp(value.factored()), (DETERMINANT,))
    return value


def _absorb(value: Fraction, root: sp.Expr) -> tuple[sp.Expr, int]:
    """Return the coefficient and the power ±1 of √root it multiplies."""
    if root == 1:
        return value.factored(), 1
    quotient = value.divided(root)
    return (value.factored(), -1) if quotient is None else (quotient.factored(), 1)


def _tidy(expr: sp.Expr) -> sp.Expr:
    """Return a sum with the common numerical factor taken out when that saves ink."""
    factored = sp.factor_terms(expr)
    return factored if sp.count_ops(factored) < sp.count_ops(expr) else expr


def _stable(coefficient: sp.Expr) -> sp.Expr:
    """Return a factored rational function with each factor in the form that subtracts least."""
    return coefficient.replace(lambda part: part.is_Add and part.is_polynomial(), with_determinant)


def _stable_exponents(factor: sp.Expr) -> sp.Expr:
    """Return the factor with exp(-k(q11 + q22 - 2c)) written in δ, and D in other exponents."""
    return factor.replace(sp.exp, lambda power: sp.exp(_exponent(power)))


def _exponent(power: sp.Expr) -> sp.Expr:
    if power.is_polynomial(q11, q22, c):
        rate = power.coeff(q11)
        if rate != 0 and rate.is_number and sp.expand(power - rate * (q11 + q22 - 2 * c)).is_number:
            return rate * gap + sp.expand(power - rate * (q11 + q22 - 2 * c))
        return power
    return _stable(power)


def _sum_with_expm1(parts: list[tuple[sp.Expr, sp.Expr]]) -> sp.Expr:
    """Return the sum; a·e^x - a·e^y becomes a·ExpDifference(x, y, x - y)."""
    total, waiting = sp.Integer(0), list(parts)
    while waiting:
        coefficient, factor = waiting.pop(0)
        partner = next(
            (
                other
                for other in waiting
                if isinstance(factor, sp.exp)
                and isinstance(other[1], sp.exp)
                and sp.expand(other[0] + coefficient) == 0
            ),
            None,
        )
        if partner is None:
            total += coefficient * factor
            continue
        waiting.remove(partner)
        x, y = factor.args[0], partner[1].args[0]
        difference = sp.expand((x - y).subs(gap, q11 + q22 - 2 * c))
        total += coefficient * ExpDifference(x, y, difference)
    return total
