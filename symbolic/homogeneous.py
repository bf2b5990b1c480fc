"""How does the angle between two points survive a layer? Determinant and distance of rectifiers and steps, without cancellation.

For σ(z) = p z₊ + m (-z)₊ or p θ(z) + m θ(-z) the kernel of the next layer needs E₁₁E₂₂ - E₁₂² for nearly equal or nearly
opposite points.  The difference of the products loses half the digits; written with the angle ϑ between the points and
with chord(s, c) = s - c·atan2(s, c), both small, nothing is subtracted.  Here s = √D.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import sympy as sp

from fieldflow.symbolic.activations import Activation
from fieldflow.symbolic.formula import Formula, Step, step
from fieldflow.symbolic.gaussian import expectation
from fieldflow.symbolic.pair import DETERMINANT, det, gap
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.special import Angle, Chord
from fieldflow.symbolic.symbols import c, q11, q22, z

plus, minus = sp.symbols("p m", real=True)


class Carried(NamedTuple):
    """E₁₁E₂₂ - E₁₂² and E₁₁ + E₂₂ - 2E₁₂ as functions of (q11, c, q22, D, δ), for c ≥ 0 and for c < 0."""

    determinant: tuple[sp.Expr, sp.Expr]
    distance: tuple[sp.Expr, sp.Expr]


_S = sp.sqrt(det)


_BOW = Chord(_S, sp.Abs(c)) / sp.pi
_TURN = Angle(_S, sp.Abs(c))  # the angle between u and v, or between u and -v: the smaller of the two


@cache
def rectifier() -> Carried:
    """Return the forms for σ = p z₊ + m (-z)₊."""
    half, share = (plus**2 + minus**2) / 2, (plus + minus) ** 2 / (plus**2 + minus**2)
    # u·u + v·v + 2u·v without cancellation: its product with δ is 4D + (q11 - q22)².
    opposite = (4 * det + (q11 - q22) ** 2) / gap
    return Carried(
        (
            half**2 * (det - 2 * share * c * _BOW - share**2 * _BOW**2),
            half**2 * (det + share * (2 - share) * c**2 - 2 * share * (1 - share) * c * _BOW - share**2 * _BOW**2),
        ),
        (half * (gap - 2 * share * _BOW), half * (opposite - 2 * (2 - share) * c - 2 * share * _BOW)),
    )


@cache
def steps() -> Carried:
    """Return the forms for σ = p θ(z) + m θ(-z)."""
    height = (plus - minus) ** 2 / (2 * sp.pi)
    turn, rest = height * _TURN, (plus + minus) ** 2 / 2
    return Carried(
        (turn * (plus**2 + minus**2 - turn), (sp.pi * height - turn) * (rest + turn)),
        (2 * turn, 2 * (sp.pi * height - turn)),
    )


def quarter_turn_minus_angle() -> sp.Expr:
    """Return asin(c/√(q11 q22)) by the smaller angle."""
    return sp.Piecewise((sp.pi / 2 - _TURN, c >= 0), (_TURN - sp.pi / 2, True))


def carried(known: Activation) -> tuple[sp.Expr, sp.Expr] | None:
    """Return determinant and distance for an activation of degree 0 or 1, None for others.

    >>> from fieldflow.symbolic.activations import activation
    >>> carried(activation("erf")) is None
    True
    """
    if known.degree not in (0, 1):
        return None
    values = {plus: known.expr.subs(z, 1), minus: known.expr.subs(z, -1)}
    forms = rectifier() if known.degree == 1 else steps()
    near, far = (
        (forms.determinant[i].subs(values, simultaneous=True), forms.distance[i].subs(values, simultaneous=True))
        for i in (0, 1)
    )
    determinant, distance = (sp.Piecewise((a, c >= 0), (b, True)) for a, b in zip(near, far, strict=True))
    return determinant, distance


def _checked(sigma: sp.Expr, forms: Carried, rule: str) -> tuple[Step, ...]:
    """Return the proof against the Gaussian expectation of σ, on both sides of c = 0, for D = q11 q22 - c²."""
    pair = expectation(sigma, sigma).exact
    diagonal = [(plus**2 + minus**2) / 2 * (1 if sigma.has(sp.Heaviside) else entry) for entry in (q11, q22)]
    plain = (diagonal[0] * diagonal[1] - pair**2, diagonal[0] + diagonal[1] - 2 * pair)
    found = []
    for side, sign in ((0, 1), (1, -1)):
        size = sp.Symbol("r", positive=True)
        where = {c: sign * sp.sqrt(q11 * q22) * size / sp.sqrt(1 + size**2)}
        for name, left, right in zip(
            ("determinant", "distance"), plain, (forms.determinant[side], forms.distance[side]), strict=True
        ):
            explicit = right.subs({det: DETERMINANT, gap: q11 + q22 - 2 * c}, simultaneous=True)
            label = f"{name}, c {'>' if sign > 0 else '<'} 0: {rule}"
            found.append(step(left, explicit, label, where=where))
    return tuple(found)


@cache
def _formula(name: str, sigma: sp.Expr, forms: Carried, rule: str) -> Formula:
    return Formula(
        name=name,
        lhs=sp.Symbol(r"E_{11} E_{22} - E_{12}^{2}"),
        expr=forms.determinant[0],
        args=(q11, c, q22, det, plus, minus),
        domain="c >= 0; the steps hold the form for c < 0 and the distance E11 + E22 - 2 E12 as well",
        validity="exact",
        references=(Reference("cho2009kernel", "Sec. 2.1"),),
        derived_from=("expectation.relu", "expectation.step"),
        steps=_checked(sigma, forms, rule),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    "nngp.rectifier_determinant": lambda: _formula(
        "nngp.rectifier_determinant",
        plus * sp.Max(z, 0) + minus * sp.Max(-z, 0),
        rectifier(),
        "s - c atan2(s, c) collected",
    ),
    "nngp.step_determinant": lambda: _formula(
        "nngp.step_determinant",
        plus * sp.Heaviside(z, sp.Rational(1, 2)) + minus * sp.Heaviside(-z, sp.Rational(1, 2)),
        steps(),
        "E11 - E12 is proportional to the angle",
    ),
}
