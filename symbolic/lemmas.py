"""Which three statements do all Gaussian expectations rest on? Completing the square, Stein's lemma and Price's theorem."""

from collections.abc import Callable
from functools import cache
from typing import Any

import sympy as sp

from fieldflow.symbolic import pair
from fieldflow.symbolic.formula import Formula, step
from fieldflow.symbolic.normal_form import Monomial
from fieldflow.symbolic.pair import DETERMINANT, det
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.symbols import c, q11, q22, z

STEIN, PRICE = Reference("stein1981estimation", "Lemma 1"), Reference("price1958useful", "theorem")

_SLOPE_U, _SLOPE_V = (
    sp.Symbol("E_F_u", real=True),
    sp.Symbol("E_F_v", real=True),
)


def inside(alpha: Any = 0) -> dict[sp.Symbol, sp.Expr]:
    """Return substitutions that keep points inside the domain: |c| < √(q11 q22), and small variances if α > 0."""
    left, right = q11, q22
    if alpha > 0:
        left, right = (variance / (1 + variance) / (8 * alpha) for variance in (q11, q22))
    return {q11: left, q22: right, c: sp.sqrt(left * right) * c / sp.sqrt(1 + c**2)}


@cache
def stein() -> Formula:
    """Return E[uF(u, v)] = q11 E[∂_u F] + c E[∂_v F]."""
    density = sp.exp(-(z**2) / (2 * q11)) / sp.sqrt(2 * sp.pi * q11)
    u, v = sp.symbols("u v", real=True)
    both = sp.exp(-(q22 * u**2 - 2 * c * u * v + q11 * v**2) / (2 * DETERMINANT))
    return Formula(
        name="lemma.stein",
        lhs=sp.Symbol(r"\mathrm{E}[u\,F(u, v)]"),
        expr=q11 * _SLOPE_U + c * _SLOPE_V,
        args=(q11, c, _SLOPE_U, _SLOPE_V),
        domain="(u, v) ~ N(0, [[q11, c], [c, q22]]), F a function or distribution of polynomial growth",
        validity="exact",
        references=(STEIN,),
        steps=(
            step(z * density, -q11 * sp.diff(density, z), "one variable: then integrate by parts"),
            step(u * both, -q11 * sp.diff(both, u) - c * sp.diff(both, v), "two variables: then integrate by parts"),
        ),
    )


@cache
def price() -> Formula:
    """Return P(u > 0, v > 0) by Price's theorem, integrated from c = 0."""
    exact, _ = pair.orthant(c, sp.sqrt(q11 * q22), DETERMINANT)
    both = sp.Rational(1, 4) + exact / (2 * sp.pi)
    density = 1 / (2 * sp.pi * sp.sqrt(q11 * q22 - c**2))
    return Formula(
        name="lemma.price",
        lhs=sp.Symbol(r"\mathrm{E}[\theta(u)\,\theta(v)]"),
        expr=both,
        args=(q11, c, q22),
        domain="(u, v) ~ N(0, [[q11, c], [c, q22]])",
        validity="exact",
        references=(PRICE,),
        steps=(
            step(sp.diff(both, c), density, "Price: d/dc E[theta theta] = E[delta delta]", where=inside()),
            step(both.subs(c, 0), sp.Rational(1, 2) ** 2, "at c = 0 the expectation factorises"),
        ),
    )


@cache
def tilt() -> Formula:
    """Return E[exp(α₁u² + β₁u + α₂v² + β₂v)]: the weight of the tilted Gaussian that ``pair.tilt`` uses."""
    a, b = sp.symbols("alpha_1 alpha_2", negative=True)
    beta, gamma, u, v = sp.symbols("beta_1 beta_2 u v", real=True)
    law = pair.tilt(Monomial(0, a, beta), Monomial(0, b, gamma), (sp.Integer(0), sp.Integer(0)))
    plain = -(q22 * u**2 - 2 * c * u * v + q11 * v**2) / (2 * DETERMINANT)
    x, y = u - law.mean[0], v - law.mean[1]
    # The tilted covariance is cov/delta and its determinant D/delta.
    tilted = -(law.cov[2] * x**2 - 2 * law.cov[1] * x * y + law.cov[0] * y**2) / (2 * det)
    delta, exponent = (sp.expand(e.subs(det, DETERMINANT)) for e in (law.delta, law.log_weight * law.delta))
    return Formula(
        name="lemma.tilt",
        lhs=sp.Symbol(r"\mathrm{E}[e^{\alpha_1 u^2 + \beta_1 u + \alpha_2 v^2 + \beta_2 v}]"),
        expr=sp.exp(sp.factor(sp.cancel(exponent)) / delta) / sp.sqrt(delta),
        args=(q11, c, q22, a, beta, b, gamma),
        domain="(u, v) ~ N(0, [[q11, c], [c, q22]]); alpha_1, alpha_2 <= 0, or small enough for the root to be positive",
        validity="exact",
        derived_from=("completing the square",),
        steps=(
            step(
                plain + a * u**2 + beta * u + b * v**2 + gamma * v,
                (tilted + law.log_weight).subs(det, DETERMINANT),
                "completing the square in the exponent: the exponentials tilt the Gaussian",
                where=inside(),
            ),
        ),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {"lemma.stein": stein, "lemma.price": price, "lemma.tilt": tilt}
