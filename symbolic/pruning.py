"""What does a trained ensemble lose when weights are removed by any rule? One share s says it all.

A rule keeps a read-out weight ω_i or not; s is the share of the prior variance E[ω²h²] that it keeps.  At infinite width
f_pruned = s f_T + √(s(1-s)) η with η ~ GP(0, K) independent of f_T: rules differ only in the s they reach when they remove a
fraction p of the weights.  Random removal, by magnitude, by Fisher information (the information shell) and by both.
"""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.special import InverseRegularizedUpperGamma, RegularizedUpperGamma
from fieldflow.symbolic.symbols import d, degree

_share = sp.Symbol("s", nonnegative=True)
_fraction = sp.Symbol("p", nonnegative=True)
_threshold = sp.Symbol("t", nonnegative=True)
_salience = sp.Symbol("tau", positive=True)
_w = sp.Symbol("w", real=True)
_PRIOR_DENSITY = sp.exp(-(_w**2) / 2) / sp.sqrt(2 * sp.pi)

_SHARES = (
    "s: kept share of the prior variance of the read-out sum; homogeneous sigma without biases, or a rule that does not look at "
    "the hidden unit"
)
_RADIAL = "one hidden layer, sigma homogeneous of degree k > 0, no biases, Gaussian Fisher inputs"


def _kept(power: sp.Expr) -> sp.Expr:
    """Return E[w^power 1{|w| >= t}] for w ~ N(0, 1)."""
    positive = sp.Symbol("t", positive=True)
    found = 2 * sp.integrate(_w**power * _PRIOR_DENSITY, (_w, positive, sp.oo))
    return sp.simplify(found).subs(positive, _threshold)


def _boundary() -> sp.Expr:
    """Return the jump t of w 1{|w| >= t} at both edges, weighted by the density there."""
    return 2 * _threshold * _PRIOR_DENSITY.subs(_w, _threshold)


@cache
def mean() -> Formula:
    """Return the pruned mean s μ: training moved each weight by O(1/√N), and the removed set with it."""
    mu = sp.Symbol("mu", real=True)
    return Formula(
        name="pruning.mean",
        lhs=sp.Symbol(r"\mathrm{E}f_p"),
        expr=_share * mu,
        args=(_share, mu),
        domain=_SHARES,
        validity="infinite width",
        derived_from=("shell.mean", "pruning.magnitude_share"),
        steps=(
            definition(sp.Symbol("omega"), sp.Symbol("omega_0") + sp.Symbol("delta"),
                       "training: delta = O(1/sqrt N), so g(omega) = g(omega_0) + delta E g' summed over N weights"),
            step(_kept(sp.Integer(0)) + _boundary(), _kept(sp.Integer(2)),
                 "g = w 1{|w| >= t}: E g' holds the edges of the removed set and equals E[w g] (Stein)"),
        ),
    )  # fmt: skip


@cache
def covariance() -> Formula:
    """Return s²Σ_T + s(1-s)K: what is kept of f_T, and an independent Gaussian process."""
    prior, trained = sp.symbols("K_xy Sigma_xy", real=True)
    kept, start, rest = sp.symbols("A f_0 r", real=True)
    # Second moments of A = Σ φ g(ω_0) and f_0 = Σ φ ω_0 at infinite width, in units of K.
    moments = {kept * kept: _share * prior, kept * start: _share * prior, start * start: prior}

    def average(expr: sp.Expr) -> sp.Expr:
        return sp.expand(sum(
            (coefficient * moments[a**i * b**j] for a, b in ((kept, start),)
             for (i, j), coefficient in sp.Poly(sp.expand(expr), kept, start).terms()), sp.Integer(0)))  # fmt: skip

    left_over = kept - _share * start
    return Formula(
        name="pruning.covariance",
        lhs=sp.Symbol(r"\mathrm{Cov}(f_p, f_p')"),
        expr=_share**2 * trained + _share * (1 - _share) * prior,
        args=(_share, prior, trained),
        domain=_SHARES,
        validity="infinite width",
        derived_from=("pruning.mean",),
        steps=(
            definition(rest, left_over, "f_p = A + s (f_T - f_0) = s f_T + r"),
            step(average(left_over * start), sp.Integer(0), "r is independent of f_0, hence of f_T"),
            step(average(left_over**2), _share * (1 - _share) * prior, "Var A = Cov(A, f_0) = s K, for g is omega or 0"),
            step((_share * (prior - (prior - trained) * _share)).expand(),
                 sp.expand(_share**2 * trained + _share * (1 - _share) * prior),
                 "by Fisher information it is shell.covariance_prune with K_> = s K"),
        ),
    )  # fmt: skip


@cache
def random_share() -> Formula:
    """Return s = 1 - p of weights removed at random."""
    return Formula(
        name="pruning.random_share",
        lhs=sp.Symbol("s"),
        expr=1 - _fraction,
        args=(_fraction,),
        domain="each weight removed with probability p, 0 <= p <= 1",
        validity="exact at any width",
        derived_from=("definition",),
        steps=(step((1 - _fraction) * sp.integrate(_w**2 * _PRIOR_DENSITY, (_w, -sp.oo, sp.oo)), 1 - _fraction,
                    "E[w^2 b] = E[w^2] E[b]"),),
    )  # fmt: skip


@cache
def magnitude_share() -> Formula:
    """Return s = 2[1 - Φ(t) + tφ(t)], the share beyond t standard deviations: also the slope that a shift of the weights sees."""
    found = _kept(sp.Integer(2))
    return Formula(
        name="pruning.magnitude_share",
        lhs=sp.Symbol("s"),
        expr=sp.erfc(_threshold / sp.sqrt(2)) + sp.sqrt(2 / sp.pi) * _threshold * sp.exp(-(_threshold**2) / 2),
        args=(_threshold,),
        domain="weights below t prior standard deviations removed, t >= 0",
        validity="infinite width",
        derived_from=("definition",),
        steps=(
            step(found, sp.erfc(_threshold / sp.sqrt(2)) + sp.sqrt(2 / sp.pi) * _threshold * sp.exp(-(_threshold**2) / 2),
                 "E[w^2 1{|w| >= t}], w ~ N(0, 1)"),
            step(sp.diff(found, _threshold), -(_threshold**2) * 2 * _PRIOR_DENSITY.subs(_w, _threshold), "by its slope"),
        ),
    )  # fmt: skip


@cache
def magnitude_threshold() -> Formula:
    """Return t with P(|w| < t) = p: t²/2 has the law of u in one dimension."""
    u = sp.Symbol("u", positive=True)
    return Formula(
        name="pruning.magnitude_threshold",
        lhs=sp.Symbol("t"),
        expr=sp.sqrt(2 * InverseRegularizedUpperGamma(sp.Rational(1, 2), 1 - _fraction)),
        args=(_fraction,),
        domain="0 <= p < 1",
        validity="infinite width",
        derived_from=("pruning.magnitude_share",),
        steps=(
            step(_kept(sp.Integer(0)).subs(_threshold, sp.sqrt(2 * u)),
                 (sp.uppergamma(sp.Rational(1, 2), u) / sp.gamma(sp.Rational(1, 2))).rewrite(sp.erf),
                 "1 - p = P(|w| >= t) = Q(1/2, t^2/2)"),
        ),
    )  # fmt: skip


@cache
def fisher_share() -> Formula:
    """Return s = Z = Q(d/2 + k, u) at the u below which a fraction p = 1 - Q(d/2, u) of the units lies."""
    reached = InverseRegularizedUpperGamma(d / 2, 1 - _fraction)
    return Formula(
        name="pruning.fisher_share",
        lhs=sp.Symbol("s"),
        expr=RegularizedUpperGamma(d / 2 + degree, reached),
        args=(_fraction, d, degree),
        domain=_RADIAL + ", 0 <= p < 1",
        validity="exact at any width",
        references=(Reference("howard2024bayesian", "Eqs. (53), (95)"),),
        derived_from=("shell.homogeneous_Z", "shell.sloppy_fraction"),
        steps=_one_dimension(),
    )


def _one_dimension() -> tuple[Step, ...]:
    """Return that at d = k = 1 the Fisher information orders as the magnitude does: λ is the square of one normal."""
    positive = sp.Symbol("t", positive=True)
    shell = (sp.uppergamma(sp.Rational(3, 2), positive**2 / 2) / sp.gamma(sp.Rational(3, 2))).rewrite(sp.erf)
    return (
        step(sp.expand_func(shell), magnitude_share().expr.subs(_threshold, positive),
             "check: at d = k = 1 the share is that of the magnitude, u = t^2/2"),
    )  # fmt: skip


def _over_weights(integrand: sp.Expr) -> sp.Expr:
    return sp.Integral(_PRIOR_DENSITY * integrand, (_w, -sp.oo, sp.oo))


def _salient(order: sp.Expr) -> sp.Expr:
    return RegularizedUpperGamma(order, (_salience / _w**2) ** (1 / degree))


@cache
def saliency_fraction() -> Formula:
    """Return the fraction of weights with ω²u^k < τ (saliency ω²λ): what removing it costs to second order."""
    return _saliency(
        "saliency_fraction", "p", _over_weights(1 - _salient(d / 2)), "P(u^k < tau/w^2) averaged over the weight"
    )


@cache
def saliency_share() -> Formula:
    """Return the share s that weights of saliency ω²u^k >= τ keep."""
    return _saliency(
        "saliency_share",
        "s",
        _over_weights(_w**2 * _salient(d / 2 + degree)),
        "E[u^k 1{u^k >= tau/w^2}]/E[u^k] weighted by w^2",
    )


def _saliency(name: str, lhs: str, expr: sp.Expr, rule: str) -> Formula:
    radius, u = sp.Symbol("a", positive=True), sp.Symbol("u", positive=True)
    order = d / 2 + (degree if name.endswith("share") else 0)
    return Formula(
        name=f"pruning.{name}",
        lhs=sp.Symbol(lhs),
        expr=expr,
        args=(_salience, d, degree),
        domain=_RADIAL
        + "; saliency w^2 lambda of a weight of w prior standard deviations, lambda = lambda_1 u^k, at least "
        "tau lambda_1",
        validity="infinite width",
        references=(Reference("lecun1990optimal", "Sec. 2"),),
        derived_from=("shell.homogeneous_Z", "pruning.covariance"),
        steps=(
            definition(sp.Symbol(lhs), expr, rule),
            step(
                -sp.diff(sp.uppergamma(order, radius) / sp.gamma(order), radius),
                (u ** (order - 1) * sp.exp(-u) / sp.gamma(order)).subs(u, radius),
                "density of u, weighted by u^k in the share",
            ),
        ),
        closed_form=False,
        tolerance=1e-10,
        breaks=((sp.Integer(0),),),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    "pruning.mean": mean,
    "pruning.covariance": covariance,
    "pruning.random_share": random_share,
    "pruning.magnitude_share": magnitude_share,
    "pruning.magnitude_threshold": magnitude_threshold,
    "pruning.fisher_share": fisher_share,
    "pruning.saliency_fraction": saliency_fraction,
    "pruning.saliency_share": saliency_share,
}
