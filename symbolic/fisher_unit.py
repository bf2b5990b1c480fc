"""How well is one read-out weight known under Gaussian inputs? λ(m, τ) = E[σ(z)²]/s², z ~ N(m, τ²), for any activation.

A preactivation is Gaussian over Gaussian inputs, with the bias and the mean input in m.  E[σ(z)²] is the solution of the
heat equation ∂_q F = ½ ∂²_m F, q = τ², that starts from σ(m)²: the check behind every closed form here.
"""

from collections.abc import Callable
from functools import cache, partial

import sympy as sp

from fieldflow.symbolic import gaussian
from fieldflow.symbolic.activations import CATALOGUE, Activation, activation, kinks
from fieldflow.symbolic.errors import NoClosedForm
from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.gaussian import average, diagonal, expectation
from fieldflow.symbolic.normal_form import normal_form
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.special import BivariateNormal, NormalCdf, OwenT
from fieldflow.symbolic.symbols import noise_variance, q, z

mean = sp.Symbol("m", real=True)
tau = sp.Symbol("tau", nonnegative=True)
_q, _tau = sp.Symbol("q", positive=True), sp.Symbol("tau", positive=True)
_TINY = sp.Rational(1, 10**145)


def by_owen(expr: sp.Expr) -> sp.Expr:
    """Return the expression with Φ₂(h, h; ρ) = Φ(h) - 2T(h, √((1-ρ)/(1+ρ)))."""

    def replaced(h: sp.Expr, k: sp.Expr, rho: sp.Expr) -> sp.Expr:
        if h != k:
            return BivariateNormal(h, k, rho)
        slope = sp.sqrt(sp.factor(sp.together((1 - rho) / (1 + rho))))
        return (1 + sp.erf(h / sp.sqrt(2))) / 2 - 2 * OwenT(h, slope)

    found = expr.replace(BivariateNormal, replaced)
    return min(found, sp.expand(found), key=sp.count_ops)


@cache
def owen() -> Formula:
    """Return Φ₂(h, h; ρ) = Φ(h) - 2T(h, √((1-ρ)/(1+ρ))), by its slope in ρ and its value at ρ = 0."""
    h, share = sp.Symbol("h", real=True), sp.Symbol("x", positive=True)
    rho = sp.Symbol("rho", real=True)
    value: sp.Expr = NormalCdf(h) - 2 * OwenT(h, sp.sqrt((1 - rho) / (1 + rho)))
    both = BivariateNormal(h, h, rho)
    inside = {rho: (share - 1) / (share + 1)}
    return Formula(
        name="expectation.owen",
        lhs=sp.Symbol(r"\Phi_2(h, h; \rho)"),
        expr=value,
        args=(h, rho),
        domain="-1 < rho <= 1",
        validity="exact",
        references=(Reference("owen1956tables", "Eq. (2.1)"),),
        steps=(
            step(sp.diff(value.doit(), rho), sp.diff(both, rho), "the same slope in rho", where=inside),
            step(value.doit().subs(rho, 0), NormalCdf(h).doit() ** 2, "rho = 0: independent"),
        ),
    )


def _closed(known: Activation) -> sp.Expr:
    """Return E[σ(z)²] as an expression of (m, q), by σ² itself where that is in the span, else as a pair u = v."""
    try:
        return average(normal_form(sp.expand(known.expr**2)), mean, _q)
    except NoClosedForm:
        both = diagonal(expectation(known.expr, known.expr, (mean, mean)).exact)
        return by_owen(both.subs(q, _q))


def _checks(known: Activation, value: sp.Expr) -> tuple[Step, ...]:
    centred = gaussian.second_moment(known.expr)
    where = None
    growth = _growth(known)
    if growth > 0:
        where = {_q: _q / (1 + _q) / (4 * growth)}
    found = [step(sp.diff(value, _q), sp.diff(value, mean, 2) / 2, "heat equation in (m, q = tau^2)", where=where)]
    if centred.closed_form:
        start = by_owen(centred.expr.subs(q, _q))
        found.append(step(value.subs(mean, 0), start, "m = 0: the second moment of the centred unit", where=where))
    return tuple(found)


def _growth(known: Activation) -> sp.Expr:
    """Return the largest α in the weights exp(αz²) of σ."""
    return max((m.alpha for m in normal_form(known.expr)), default=sp.Integer(0))


@cache
def unit(sigma: sp.Expr | str) -> Formula:
    """Return λ(m, τ) = E[σ(z)²]/s² for z ~ N(m, τ²), as a formula of (m, tau, s2).

    >>> unit("sin").expr
    (1/2 - exp(-2*tau**2)*cos(2*m)/2)/s2
    """
    known = activation(sigma)
    common = {
        "name": f"fisher.{known.name}", "lhs": sp.Symbol(r"\lambda(m, \tau)"), "args": (mean, tau, noise_variance),
        "domain": "tau > 0; sigma(m)^2/s^2 at tau = 0", "validity": "exact at any width, given the hidden layer",
        "references": (Reference("howard2024bayesian", "Eq. (50)"),),
    }  # fmt: skip
    bracket = sp.Function("E")(known.expr**2)
    still = known.expr.subs(z, mean) ** 2 / noise_variance
    try:
        value = _closed(known)
    except NoClosedForm as reason:
        integral = _integral(known.expr)
        spread = sp.Max(tau, _TINY)
        return Formula(
            **common, expr=integral, derived_from=("fisher.readout", "definition"), closed_form=False,
            steps=(definition(bracket, integral, f"no closed form: {str(reason).removeprefix('sigma: ')}"),),
            breaks=(tuple((place - mean) / spread for place in kinks(known.expr)),),
        )  # fmt: skip
    growth = _growth(known)
    exact = value.subs(_q, tau**2) / noise_variance
    return Formula(
        **common,
        expr=exact,
        derived_from=("fisher.readout", "lemma.stein"),
        steps=(definition(bracket, value, "Stein's lemma with a mean"), *_checks(known, value)),
        numerical=sp.Piecewise((still, sp.Eq(tau, 0)), (exact, True)),
        closed_form="special" if exact.has(BivariateNormal) else True,
        requires=(1 - 4 * growth * tau**2,) if growth > 0 else (),
    )


def _integral(sigma: sp.Expr) -> sp.Expr:
    x = sp.Symbol("x", real=True)
    weight = sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)
    return sp.Integral(sigma.subs(z, mean + tau * x) ** 2 / noise_variance * weight, (x, -sp.oo, sp.oo))


FORMULAS: dict[str, Callable[[], Formula]] = {
    "expectation.owen": owen,
    **{f"fisher.{name}": partial(unit, name) for name in CATALOGUE if name != "relu"},
}
