"""How is E[σ²] of one Gaussian variable written for floating point? In tails for small variances, in erf for large ones.

With steps away from zero, 1 - erf(t/√(2q)) is what is small for q -> 0, erf(t/√(2q)) for q -> ∞; whichever is written
out, the constants around it cancel exactly, before any rounding.  A tail under a weight is e^x·erfc(y) = e^{x - y²} erfcx(y).
"""

import sympy as sp

from fieldflow.symbolic.special import NormalCdf, ScaledErfc

_Term = tuple[sp.Expr, sp.Expr]
"""(exponent, bounded function) that a rational coefficient multiplies."""


def near_and_far(exact: sp.Expr, q: sp.Symbol, distances: list[sp.Expr]) -> tuple[sp.Expr, list[sp.Expr]]:
    """Return a form of ``exact`` that chooses by q, and the forms to choose from; ``distances`` are those of the steps.

    >>> q = sp.Symbol("q", positive=True)
    >>> near_and_far(1 - sp.erf(1 / sp.sqrt(q)), q, [sp.Integer(1)])[0].args[0]
    (exp(-1/q)*ScaledErfc(1/sqrt(q)), q < 1)
    """
    near = _written(exact, q, tails=True)
    if not distances:
        return near, [near]
    far, border = _written(exact, q, tails=False), sp.Mul(*distances) ** sp.Rational(2, len(distances))
    return sp.Piecewise((near, q < border), (far, True)), [near, far]


def _written(exact: sp.Expr, q: sp.Symbol, *, tails: bool) -> sp.Expr:
    """Return Σ coefficient·e^exponent·{1, erf, Φ, erfcx}; without ``tails``, erf stays where no growing weight multiplies it."""
    found: dict[_Term, sp.Expr] = {}

    def add(coefficient: sp.Expr, exponent: sp.Expr, function: sp.Expr) -> None:
        key = (sp.expand(exponent), function)
        found[key] = found.get(key, sp.Integer(0)) + coefficient

    one = sp.Integer(1)
    for term in sp.Add.make_args(sp.expand(exact)):
        coefficient, exponent, gates = _split(term)
        if not gates:
            add(coefficient, exponent, one)
            continue
        (x,) = gates
        if not tails and not (exponent.has(q) and exponent.is_polynomial(q)):
            add(coefficient, exponent, sp.erf(x))
        elif x.is_positive or x.is_negative:  # erf(x) = ±(1 - erfc|x|)
            sign, size = (1, x) if x.is_positive else (-1, -x)
            add(sign * coefficient, exponent, one)
            add(-sign * coefficient, exponent - size**2, ScaledErfc(size))
        else:
            add(-coefficient, exponent, one)
            add(2 * coefficient, exponent, NormalCdf(sp.sqrt(2) * x))
    return sum(
        (sp.factor(value) * sp.exp(power) * function for (power, function), value in found.items()), sp.Integer(0)
    )


def _split(term: sp.Expr) -> tuple[sp.Expr, sp.Expr, list[sp.Expr]]:
    """Return the coefficient, the exponent of the weight, and the arguments of erf of one product."""
    coefficient, exponent, gates = sp.Integer(1), sp.Integer(0), []
    for factor in sp.Mul.make_args(term):
        if isinstance(factor, sp.exp):
            exponent += factor.args[0]
        elif isinstance(factor, sp.erf):
            gates.append(factor.args[0])
        else:
            coefficient *= factor
    return coefficient, exponent, gates
