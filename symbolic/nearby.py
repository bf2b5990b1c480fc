"""How far apart are the outputs of two nearly equal preactivations? What rounded covariances no longer know.

u = m - w/2 and v = m + w/2 with Var m = M, Cov(m, w) = g, Var w small: then σ(v) - σ(u) = σ'(m) w and
(σ(u) + σ(v))/2 = σ(m), both up to terms smaller by a factor Var w, for σ with a continuous derivative.
"""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic.formula import Formula, Step, step
from fieldflow.symbolic.gaussian import expectation_value
from fieldflow.symbolic.pair import DETERMINANT, det
from fieldflow.symbolic.symbols import c, q11, q22, z

MIDDLE, HALF = sp.Symbol("M", positive=True), sp.Symbol("g", real=True)
SQUARE, MIXED, SLOPED, STEEP = sp.symbols("E_0 E_1 E_2 E_3", real=True)
"""E[σ²], E[mσσ'], E[m²σ'²] and E[σ'²] at m ~ N(0, M)."""

_size = sp.Symbol("h", positive=True)
_m, _rest, _value, _slope = sp.symbols("m w_perp sigma sigma_1", real=True)
_MOMENTS = {(2, 0, 0): SQUARE, (1, 1, 1): MIXED, (0, 2, 2): SLOPED, (0, 2, 0): STEEP}
"""By the powers of σ, σ' and m."""

_DOMAIN = (
    "M = Var (u + v)/2, g = Cov((u + v)/2, v - u), D = det Cov(u, v); leading order in Var(v - u); continuous slope"
)


def _averaged(expr: sp.Expr) -> sp.Expr:
    """Return the expectation: w_perp is independent of m, centred, of variance D/M."""
    total = sp.Integer(0)
    for (value, slope, place, rest), number in sp.Poly(sp.expand(expr), _value, _slope, _m, _rest).terms():
        if rest % 2 == 0:
            total += number * (det / MIDDLE) ** (rest // 2) * _MOMENTS[value, slope, place]
    return total


def _difference() -> sp.Expr:
    return _slope * (HALF / MIDDLE * _m + _rest)


def _determinant() -> sp.Expr:
    return sp.expand(SQUARE * _averaged(_difference() ** 2) - _averaged(_value * _difference()) ** 2)


@cache
def distance() -> Formula:
    """Return E[(σ(v) - σ(u))²] to leading order."""
    return Formula(
        name="nngp.nearby_distance",
        lhs=sp.Symbol(r"\mathrm{E}[(\sigma(v) - \sigma(u))^2]"),
        expr=_averaged(_difference() ** 2),
        args=(det, MIDDLE, HALF, SLOPED, STEEP),
        domain=_DOMAIN,
        validity="exact",
        derived_from=("Taylor expansion about the midpoint",),
        steps=_premises(),
    )


@cache
def determinant() -> Formula:
    """Return E[σ(u)²]E[σ(v)²] - E[σ(u)σ(v)]² to leading order: the determinant of σ(m) and σ'(m) w."""
    return Formula(
        name="nngp.nearby_determinant",
        lhs=sp.Symbol(r"E_{11} E_{22} - E_{12}^{2}"),
        expr=sp.collect(_determinant(), HALF),
        args=(det, MIDDLE, HALF, SQUARE, MIXED, SLOPED, STEEP),
        domain=_DOMAIN,
        validity="exact",
        derived_from=("nngp.nearby_distance",),
        steps=(
            _polynomial("equal lengths: first order in h", 1, {q11: sp.Integer(1), q22: sp.Integer(1), c: 1 - _size}),
            _polynomial("on one line: second order in h", 2, {q11: sp.Integer(1), q22: (1 + _size) ** 2, c: 1 + _size}),
        ),
    )


def _premises() -> tuple[Step, ...]:
    middle, half = (q11 + q22 + 2 * c) / 4, (q22 - q11) / 2
    variance = q11 + q22 - 2 * c
    return (
        step(middle * variance - half**2, DETERMINANT, "(u, v) -> (m, w) has determinant 1: M Var w - g^2 = D"),
        step(variance - half**2 / middle, DETERMINANT / middle, "w = (g/M) m + w_perp, Var w_perp = D/M"),
    )


def _polynomial(rule: str, power: int, near: dict[sp.Symbol, sp.Expr]) -> Step:
    """Return that the leading term is right for σ = z + z³, whose expectations are polynomials."""
    sigma = z + z**3
    pair = expectation_value(sigma, sigma)
    own = {point: pair.subs({c: point, q11: point, q22: point}, simultaneous=True) for point in (q11, q22)}
    exact = sp.expand((own[q11] * own[q22] - pair**2).subs(near))

    def moment(expr: sp.Expr) -> sp.Expr:
        return expectation_value(expr, sp.Integer(1)).subs(q11, 1)

    slope = sp.diff(sigma, z)
    moments = {
        SQUARE: moment(sp.expand(sigma**2)),
        MIXED: moment(sp.expand(z * sigma * slope)),
        SLOPED: moment(sp.expand(z**2 * slope**2)),
        STEEP: moment(sp.expand(slope**2)),
    }
    half = ((q22 - q11) / 2).subs(near)
    leading = sp.expand(_determinant().subs({det: DETERMINANT.subs(near), HALF: half, MIDDLE: 1, **moments}))
    return step(exact.coeff(_size, power), leading.coeff(_size, power), f"sigma = z + z^3, {rule}")


FORMULAS: dict[str, Callable[[], Formula]] = {
    "nngp.nearby_distance": distance,
    "nngp.nearby_determinant": determinant,
}
