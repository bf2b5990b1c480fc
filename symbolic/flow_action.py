"""Which action does a trained or coarse-grained ensemble have at order 1/N? Its couplings from the corrections of 1/N.

Equations (57) and (58) of arXiv:2405.17538, corrected: with κ₂ = Σ + E/N, κ₃ = c₃/N and κ₄ = c₄/N the action about the mean
is ½φ(Σ^{-1} + …/N)φ + g_1φ + g_3φφφ + g_4φφφφ.  At infinite width it is the Gaussian one, ½φΣ^{-1}φ.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import sympy as sp

from fieldflow.symbolic import inverse_rules
from fieldflow.symbolic.contraction import G2, cumulant
from fieldflow.symbolic.formula import Formula, Step, step
from fieldflow.symbolic.inverse_rules import field
from fieldflow.symbolic.noncommutative import derivative, symbols
from fieldflow.symbolic.reference import Reference

N = sp.Symbol("N", positive=True)

_m = sp.Symbol("m", positive=True, integer=True)
_MATRICES: dict[str, Any] = {
    "Delta": sp.MatrixSymbol("Delta", _m, _m),
    "excess": sp.MatrixSymbol("E", _m, _m),
    "shift": sp.MatrixSymbol("Ng_2", _m, _m),
}


@cache
def quadratic_form() -> Formula:
    """Return the quadratic form Δ_N + 2g_2 = Δ + (2Ng_2 - ΔEΔ)/N with Δ = Σ^{-1}, on a mesh."""
    delta, sigma, excess = symbols("Delta Sigma E")
    rate = -delta * excess * delta
    # d/dt of (inverse)(Σ + tE) = 1, at t = 0.
    identity = derivative(delta * sigma, {delta: rate, sigma: excess})
    inverse, shift = _MATRICES["Delta"], _MATRICES["shift"]
    value = inverse + (2 * shift - inverse * _MATRICES["excess"] * inverse) / N
    return Formula(
        name="action.quadratic_form",
        lhs=sp.Symbol(r"\Delta_\Lambda"),
        expr=value,
        args=(*_MATRICES.values(), N),
        domain="Delta = Sigma^{-1} at infinite width, E/N the covariance beyond Sigma, Ng_2 = N times the shift g_2; S = half of "
        "phi times this times phi + g_1 phi + g_3 phi^3 + g_4 phi^4 about the mean",
        validity="order 1/N^1",
        references=(Reference(inverse_rules.PAPER, "Eqs. (57), (58)"),),
        derived_from=("finite_width.variance", "action.g1", "action.g2", "action.g3", "action.g4"),
        steps=(
            step(identity.subs(sigma * delta, 1).subs(delta * sigma, 1), sp.Integer(0),
                 "(Sigma + t E) times its inverse stays 1 if the inverse moves by -Delta E Delta"),
            *_one_point_steps(),
        ),
    )  # fmt: skip


def _one_point_steps() -> tuple[Step, ...]:
    """Return the terms of order 1/N of ½φ²/G_2 + Σ_r g_r φ^r at one mesh point, with G_2 and the cumulants in 1/N."""
    small = sp.Symbol("x", positive=True)
    sigma, excess, c3, c4 = sp.symbols("Sigma E c_3 c_4", real=True)
    orders = {G2: sigma + small * excess, cumulant(3): small * c3, cumulant(4): small * c4}
    rules = {r: inverse_rules.coupling_formula(r, 1, odd=True, counting="trained") for r in (1, 2, 3, 4)}
    whole = field**2 / (2 * G2) + sum(rule.numerical * field**r for r, rule in rules.items())
    action = whole.subs(orders, simultaneous=True)

    def first(power: int) -> sp.Expr:
        return sp.expand(sp.diff(sp.Poly(sp.expand(action), field).coeff_monomial(field**power), small).subs(small, 0))

    shift = c4 / (4 * sigma**3)
    return (
        step(2 * first(2), sp.expand(2 * shift - excess / sigma**2),
             "at one mesh point: twice the coefficient of phi^2, where N g_2 = c_4/(4 Sigma^3)"),
        step(first(1), c3 / (2 * sigma**2), "phi: N g_1, the tadpole of kappa_3"),
        step(first(3), -c3 / (6 * sigma**3), "phi^3: N g_3"),
        step(first(4), -c4 / (24 * sigma**4), "phi^4: N g_4"),
    )  # fmt: skip


FORMULAS: dict[str, Callable[[], Formula]] = {"action.quadratic_form": quadratic_form}
