"""How well does the likelihood know a read-out weight? The Fisher diagonal under a Gaussian likelihood.

Equations (45)-(50) of arXiv:2405.17538 for y = f(x) + noise of variance s².
"""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic.formula import Formula, step
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.symbols import noise_variance

_mean, _tau = sp.Symbol("m", real=True), sp.Symbol("tau", nonnegative=True)
_SQUARE = sp.Symbol("E_h2", nonnegative=True)


@cache
def readout() -> Formula:
    """Return λ_i = E_x[h_i²]/s² of the raw read-out weight w_i."""
    y, w, h, rest, residual = sp.symbols("y w_i h_i f_rest epsilon", real=True)
    log_likelihood = -((y - (w * h + rest)) ** 2) / (2 * noise_variance) - sp.log(2 * sp.pi * noise_variance) / 2
    score = sp.diff(log_likelihood, w).subs(y, w * h + rest + residual)
    squared = sp.Poly(sp.expand(score**2), residual)
    averaged = squared.coeff_monomial(residual**2) * noise_variance + squared.coeff_monomial(1)
    return Formula(
        name="fisher.readout",
        lhs=sp.Symbol(r"\lambda_{i}"),
        expr=_SQUARE / noise_variance,
        args=(_SQUARE, noise_variance),
        domain="E_h2 = mean of h_i(x)^2 over the Fisher inputs",
        validity="exact at any width, given the hidden layer",
        references=(Reference("howard2024bayesian", "Eqs. (45)-(50)"),),
        steps=(
            step(score, sp.simplify(h * residual / noise_variance), "score (47) at y = f + epsilon"),
            step(sp.simplify(averaged), h**2 / noise_variance, "Eq. (50), E epsilon = 0, E epsilon^2 = s^2"),
        ),
    )


@cache
def relu() -> Formula:
    """Return λ of a ReLU unit with preactivation N(m, τ²) over the inputs, by Stein's lemma with a mean."""
    tau = sp.Symbol("tau", positive=True)
    cdf = sp.erfc(-_mean / (sp.sqrt(2) * tau)) / 2
    density = sp.exp(-(_mean**2) / (2 * tau**2)) / (sp.sqrt(2 * sp.pi) * tau)
    first = _mean * cdf + tau**2 * density  # E[z θ] = m E[θ] + τ² E[δ]
    second = sp.expand(_mean * first + tau**2 * cdf)  # E[z · zθ] = m E[zθ] + τ² E[θ]
    probability = sp.diff(cdf, _mean)
    centred = sp.Symbol("tau", nonnegative=True) ** 2 / 2
    value = second.subs(tau, _tau) / noise_variance
    return Formula(
        name="fisher.relu",
        lhs=sp.Symbol(r"\lambda(m, \tau)"),
        expr=value,
        args=(_mean, _tau, noise_variance),
        domain="tau > 0; max(m, 0)^2/s^2 at tau = 0",
        validity="exact at any width, given the hidden layer",
        references=(Reference("howard2024bayesian", "Eq. (50)"), Reference("stein1981estimation", "Lemma 1")),
        derived_from=("fisher.readout",),
        steps=(
            step(probability, density, "d/dm E[theta(z)] = E[delta(z)]"),
            step(sp.diff(second, _mean), 2 * first, "d/dm E[relu^2] = 2 E[relu]"),
            step(second.subs(_mean, 0), centred.subs(_tau, tau), "m = 0: tau^2/2"),
        ),
        numerical=sp.Piecewise((sp.Max(_mean, 0) ** 2 / noise_variance, sp.Eq(_tau, 0)), (value, True)),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {"fisher.readout": readout, "fisher.relu": relu}
