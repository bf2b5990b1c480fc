"""How is a Gauss-net coarse-grained? Its λ are log-normal × Pareto, and its shell is a tilted probability.

h(x) = e^{w·x + b}/√exp[2(σ_b² + σ_w² x²/d)], w ~ N(0, σ_w²/d), b ~ N(0, σ_b²) (the Gauss activation of arXiv:2008.08601);
Fisher inputs N(0, s_x²).  Then ln λ = ln C + 2b + ρG with G = |w|²/(2κ) ~ Gamma(d/2), κ = σ_w²/d.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import sympy as sp

from fieldflow.symbolic.formula import Formula, Step, step
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.special import NoncentralChiSquared, NormalCdf, RegularizedUpperGamma
from fieldflow.symbolic.symbols import d, noise_variance, s_x

cutoff = sp.Symbol("Lambda", positive=True)
sigma_w, sigma_b = sp.Symbol("sigma_w", positive=True), sp.Symbol("sigma_b", nonnegative=True)
_w, _b, _x, _y = sp.symbols("w b x x_2", real=True)
_square, _sum = sp.Symbol("w2", nonnegative=True), sp.Symbol("r2", nonnegative=True)
_order = sp.Symbol("n", positive=True)
_kappa = sigma_w**2 / d
_SOURCE = (Reference("halverson2021neural", "Sec. 2 (Gauss-net)"),)
_DOMAIN = "Gauss-net, inputs N(0, s_x^2)"
_TINY = sp.Rational(1, 10**145)


def _share() -> sp.Expr:
    """Return ρ = 4κs_x²/(1 + 4κs_x²)."""
    return 4 * _kappa * s_x**2 / (1 + 4 * _kappa * s_x**2)


def _floor() -> sp.Expr:
    """Return C, the λ of a unit without weights and bias."""
    return sp.exp(-2 * sigma_b**2) * (1 + 4 * _kappa * s_x**2) ** (-d / 2) / noise_variance


def _log_ratio() -> sp.Expr:
    """Return ln(Λ/C), with the exponential in C taken out."""
    return sp.log(noise_variance * cutoff) + 2 * sigma_b**2 + d * sp.log(1 + 4 * _kappa * s_x**2) / 2


def _formula(name: str, lhs: sp.Expr, expr: sp.Expr, args: tuple[sp.Symbol, ...], steps: tuple[Step, ...],
             after: tuple[str, ...], **more: Any) -> Formula:  # fmt: skip
    return Formula(
        name=name, lhs=lhs, expr=expr, args=args, validity="exact at any width", references=_SOURCE, derived_from=after,
        steps=steps, **{"domain": _DOMAIN, **more},
    )  # fmt: skip


@cache
def unit() -> Formula:
    """Return λ of one unit as a function of w2 = |w|² and b."""
    expr = _floor() * sp.exp(2 * _b + _share() * _square / (2 * _kappa))
    feature = sp.exp(_w * _x + _b) / sp.sqrt(sp.exp(2 * (sigma_b**2 + _kappa * _x**2)))
    weighted = sp.log(feature).expand(force=True) * 2 - _x**2 / (2 * s_x**2)
    width = s_x**2 / (1 + 4 * _kappa * s_x**2)
    completed = 2 * _b - 2 * sigma_b**2 - (_x - 2 * _w * width) ** 2 / (2 * width) + 2 * _w**2 * width
    return _formula(
        "fisher.gaussnet", sp.Symbol(r"\lambda(w, b)"), expr, (_square, _b, d, sigma_w, sigma_b, s_x, noise_variance),
        (
            step(sp.expand(weighted), sp.expand(completed), "exponent of h^2 times the density of one input coordinate"),
            step(sp.sqrt(width) / s_x, (1 + 4 * _kappa * s_x**2) ** sp.Rational(-1, 2), "its Gaussian integral, per coordinate"),
            step(2 * _w**2 * width, _share() * _w**2 / (2 * _kappa), "what is left in the exponent is rho |w|^2/(2 kappa)"),
        ),
        ("fisher.readout",),
    )  # fmt: skip


@cache
def distribution() -> Formula:
    """Return P(λ < Λ): a Gamma variable beyond a normal one."""
    xi = sp.Symbol("x", real=True)
    reached = (_log_ratio() - 2 * sigma_b * xi) / _share()
    weight = sp.exp(-(xi**2) / 2) / sp.sqrt(2 * sp.pi)
    expr = sp.Integral((1 - RegularizedUpperGamma(d / 2, sp.Max(0, reached))) * weight, (xi, -sp.oo, sp.oo))
    gamma = sp.Symbol("G", positive=True)
    value = sp.log(unit().expr.subs({_b: sigma_b * xi, _square: 2 * _kappa * gamma}))
    return _formula(
        "fisher.gaussnet_cdf", sp.Symbol(r"\mathrm{P}(\lambda < \Lambda)"), expr,
        (cutoff, d, sigma_w, sigma_b, s_x, noise_variance),
        (
            step(sp.expand_log(value.subs(gamma, reached), force=True).expand(), sp.log(cutoff),
                 "ln lambda = ln C + 2 sigma_b x + rho G reaches ln Lambda at this G"),
        ),
        ("fisher.gaussnet",), closed_form=False, breaks=((_log_ratio() / sp.Max(2 * sigma_b, _TINY),),),
    )  # fmt: skip


@cache
def pareto() -> Formula:
    """Return P(λ < Λ) in two dimensions, where e^{ρG} is Pareto of index 1/ρ: closed in Φ."""
    level, index, spread = (
        sp.Symbol("l", real=True),
        sp.Symbol("rho", positive=True),
        sp.Symbol("sigma_b", positive=True),
    )
    beyond = sp.exp(-level / index + 2 * spread**2 / index**2)
    closed = NormalCdf(level / (2 * spread)) - beyond * NormalCdf(level / (2 * spread) - 2 * spread / index)
    plain, normal = closed.doit(), NormalCdf(level / (2 * spread)).doit()
    exponential = 1 - sp.exp(-level / index)
    ratio = _log_ratio().subs({d: 2, sigma_b: spread}, simultaneous=True)
    return _formula(
        "fisher.gaussnet_pareto", sp.Symbol(r"\mathrm{P}(\lambda < \Lambda)"),
        closed.subs({level: ratio, index: _share().subs(d, 2)}, simultaneous=True),
        (cutoff, sigma_w, spread, s_x, noise_variance),
        (
            step(exponential + index * sp.diff(exponential, level), sp.Integer(1), "F + rho F' = 1 for rho G, G ~ Exp(1)"),
            step(plain + index * sp.diff(plain, level), normal,
                 "adding 2b ~ N(0, 4 sigma_b^2): F + rho F' = Phi(l/(2 sigma_b)), l = ln(Lambda/C)"),
        ),
        ("fisher.gaussnet_cdf",), domain=_DOMAIN + ", d = 2, sigma_b > 0",
    )  # fmt: skip


@cache
def moments() -> Formula:
    """Return E[λ^n] = C^n e^{2n²σ_b²}(1 - nρ)^{-d/2}, infinite from n = 1/ρ on."""
    expr = _floor() ** _order * sp.exp(2 * _order**2 * sigma_b**2) * (1 - _order * _share()) ** (-d / 2)
    g, rate = sp.Symbol("G", positive=True), sp.Symbol("r", positive=True)
    density = g ** (d / 2 - 1) * sp.exp(-g) / sp.gamma(d / 2)
    left = sp.Symbol("x", positive=True)  # 1 - nρ
    transform = sp.integrate(sp.powsimp(density * sp.exp((1 - left) * g)), (g, 0, sp.oo), conds="none")
    normal = sp.integrate(sp.exp(rate * _b) * sp.exp(-(_b**2) / (2 * sigma_b**2)), (_b, -sp.oo, sp.oo), conds="none")
    spread = sp.Symbol("sigma_b", positive=True)
    return _formula(
        "fisher.gaussnet_moment", sp.Symbol(r"\mathrm{E}[\lambda^n]"), expr,
        (_order, d, sigma_w, sigma_b, s_x, noise_variance),
        (
            step(transform, left ** (-d / 2), "E[e^{n rho G}], G ~ Gamma(d/2), n rho = 1 - x < 1"),
            step((normal / (sp.sqrt(2 * sp.pi) * sigma_b)).subs(sigma_b, spread), sp.exp(rate**2 * spread**2 / 2),
                 "E[e^{r b}], here r = 2n"),
        ),
        ("fisher.gaussnet",), requires=(1 - _order * _share(),),
    )  # fmt: skip


def _tilted() -> tuple[Step, ...]:
    """Return that h(x)h(x') times the density of (w, b) is K/σ_w² times a shifted density, one coordinate each."""
    product = _w * (_x + _y) + 2 * _b - 2 * sigma_b**2 - _kappa * (_x**2 + _y**2)
    weights = -((_w - _kappa * (_x + _y)) ** 2) / (2 * _kappa) - _kappa * (_x - _y) ** 2 / 2
    spread = sp.Symbol("sigma_b", positive=True)
    biases = -((_b - 2 * spread**2) ** 2) / (2 * spread**2)
    original = product - _w**2 / (2 * _kappa) - _b**2 / (2 * sigma_b**2)
    return (
        step(sp.expand(original.subs(sigma_b, spread)), sp.expand(weights + biases),
             "h h' times the prior: w ~ N(kappa (x + x'), kappa), b ~ N(2 sigma_b^2, sigma_b^2), times e^{-kappa (x - x')^2/2}"),
    )  # fmt: skip


@cache
def kernel() -> Formula:
    """Return K_W(x, x') = σ_w² e^{-κ|x - x'|²/2}, the covariance without the read-out bias."""
    distance = sp.Symbol("r2", nonnegative=True)
    return _formula(
        "nngp.gaussnet", sp.Symbol("K_W(x, x')"), sigma_w**2 * sp.exp(-_kappa * distance / 2), (distance, d, sigma_w),
        _tilted(), ("lemma.tilt",), domain="Gauss-net; r2 = |x - x'|^2",
    )  # fmt: skip


@cache
def shell_factor() -> Formula:
    """Return Z with K_>(x, x') = Z K_W(x, x'): the probability of λ >= Λ under the tilted law, a function of |x + x'|²."""
    xi = sp.Symbol("x", real=True)
    spread = sp.Symbol("sigma_b", nonnegative=True)
    reached = 2 * (_log_ratio() - 4 * sigma_b**2 - 2 * sigma_b * xi) / _share()
    weight = sp.exp(-(xi**2) / 2) / sp.sqrt(2 * sp.pi)
    beyond = 1 - NoncentralChiSquared(sp.Max(0, reached), d, _kappa * _sum)
    squared = sp.Symbol("chi2", positive=True)
    value = sp.log(unit().expr.subs({_b: 2 * sigma_b**2 + sigma_b * xi, _square: _kappa * squared}))
    return _formula(
        "shell.gaussnet_Z", sp.Symbol(r"Z(\Lambda; |x + x'|^2)"), sp.Integral(beyond * weight, (xi, -sp.oo, sp.oo)),
        (cutoff, _sum, d, sigma_w, spread, s_x, noise_variance),
        (
            *_tilted(),
            step(sp.expand_log(value.subs(squared, reached), force=True).expand(), sp.log(cutoff),
                 "|w|^2/kappa ~ chi^2_d(kappa |x + x'|^2) under the tilted law; lambda = Lambda at this value"),
        ),
        ("fisher.gaussnet", "nngp.gaussnet"), domain=_DOMAIN + "; r2 = |x + x'|^2", closed_form=False,
        breaks=(((_log_ratio() - 4 * sigma_b**2) / sp.Max(2 * sigma_b, _TINY),),),
    )  # fmt: skip


FORMULAS: dict[str, Callable[[], Formula]] = {
    "fisher.gaussnet": unit,
    "fisher.gaussnet_cdf": distribution,
    "fisher.gaussnet_pareto": pareto,
    "fisher.gaussnet_moment": moments,
    "nngp.gaussnet": kernel,
    "shell.gaussnet_Z": shell_factor,
}
