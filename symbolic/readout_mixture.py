"""What is the law of a finite network at one point? A Gaussian of random width: read-out weights over independent neurons.

Given its hidden layer f = Σ w_i h_i + b is Gaussian; the average over N independent neurons is a power.
"""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic.formula import Formula, step
from fieldflow.symbolic.symbols import sigma_b

_t, _h = sp.Symbol("t", nonnegative=True), sp.Symbol("h", real=True)
_s, _q = sp.Symbol("s_w", positive=True), sp.Symbol("q", positive=True)
_neuron, _width = sp.Symbol("psi", nonnegative=True), sp.Symbol("N", positive=True)


def _normal(variable: sp.Symbol, variance: sp.Expr) -> sp.Expr:
    return sp.exp(-(variable**2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance)


@cache
def characteristic() -> Formula:
    """Return χ(t) = E e^{itf} = ψ(t)^N e^{-σ_b² t²/2}, ψ(t) = E_h e^{-s_w t² h²/2} of one neuron."""
    w = sp.Symbol("w", real=True)
    scale = sp.Symbol("a", positive=True)
    waves = 2 * sp.integrate(_normal(w, scale) * sp.cos(_h * w), (w, 0, sp.oo))
    return Formula(
        name="edgeworth.characteristic",
        lhs=sp.Symbol(r"\chi(t)"),
        expr=_neuron**_width * sp.exp(-((sigma_b * _t) ** 2) / 2),
        args=(_neuron, _width, _t, sigma_b),
        domain="one hidden layer of N independent neurons; psi: E exp(-s_w t^2 h^2/2) of one; sigma_b of the read-out",
        validity="exact at any width",
        derived_from=("independent neurons, Gaussian read-out",),
        steps=(
            step(waves, sp.exp(-scale * _h**2 / 2), "average over one read-out weight of variance a, or over the bias (h = 1)"),
            step(sp.exp(-((sigma_b * _t) ** 2) / 2), waves.subs({scale: sigma_b**2, _h: _t}), "the bias is one more such weight"),
        ),
    )  # fmt: skip


@cache
def relu_neuron() -> Formula:
    """Return ψ(t) of one rectified neuron: ½ for those that are off, (1 + s_w q t²)^{-1/2}/2 for the others."""
    x = sp.Symbol("x", positive=True)
    on = sp.integrate(_normal(x, 1 / (1 / _q + _s * _t**2)), (x, 0, sp.oo))
    expr = (1 + 1 / sp.sqrt(1 + _s * _q * _t**2)) / 2
    moved = sp.sqrt(1 / (1 / _q + _s * _t**2) / _q)
    return Formula(
        name="edgeworth.relu_neuron",
        lhs=sp.Symbol(r"\psi(t)"),
        expr=expr,
        args=(_t, _s, _q),
        domain="relu of a preactivation N(0, q); with no read-out bias f = 0 has the probability 2^(-N)",
        validity="exact at any width",
        derived_from=("edgeworth.characteristic",),
        steps=(
            step(on, sp.Rational(1, 2), "half of the Gaussian of variance 1/(1/q + s_w t^2)"),
            step(
                sp.Rational(1, 2) + moved * on,
                expr,
                "neurons that are off, and the norm of that Gaussian over the first",
            ),
            step(sp.limit(expr, _t, sp.oo), sp.Rational(1, 2), "an atom: psi does not vanish at large t"),
        ),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    "edgeworth.characteristic": characteristic,
    "edgeworth.relu_neuron": relu_neuron,
}
