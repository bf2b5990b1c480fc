"""How are the λ of a layer distributed? Distribution functions, densities and moments over random hidden weights.

Without hidden bias and with centred isotropic inputs a preactivation is N(0, q) over the inputs, q = s_x²|v|², so
λ = g(q)/s² is a function of |v|² alone, and |v|²/(2σ_v²) ~ Gamma(d/2): a monotonic g turns the law of a Gamma variable
into that of λ.  The Gauss-net is log-normal × Pareto.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import sympy as sp
from sympy.codegen.cfunctions import log1p

from fieldflow.symbolic.fisher_unit import mean as unit_mean
from fieldflow.symbolic.fisher_unit import tau, unit
from fieldflow.symbolic.formula import Formula, Step, step
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.shells import sloppy_fraction
from fieldflow.symbolic.special import RegularizedUpperGamma, gamma_density
from fieldflow.symbolic.symbols import cutoff, d, degree, moment, noise_variance, s_x, sigma_v

_positive, _u, _q = (sp.Symbol(name, positive=True) for name in ("Lambda", "u", "q"))
_order = sp.Symbol("n", positive=True)
_ARGS = (cutoff, d, s_x, sigma_v, noise_variance)
_SOURCE = (Reference("howard2024bayesian", "Eqs. (50), (53)"),)
_CENTRED = "one hidden layer, no hidden bias, inputs N(0, s_x^2), weights N(0, sigma_v^2)"
_CDF, _DENSITY = sp.Symbol(r"\mathrm{P}(\lambda < \Lambda)"), sp.Symbol(r"p_\lambda(\Lambda)")


def _formula(name: str, lhs: sp.Expr, expr: sp.Expr, args: tuple[sp.Symbol, ...], steps: tuple[Step, ...], after: str,
             domain: str = _CENTRED, **more: Any) -> Formula:  # fmt: skip
    return Formula(
        name=name, lhs=lhs, expr=expr, args=args, domain=domain, validity="exact at any width", references=_SOURCE,
        derived_from=(after,), steps=steps, **more,
    )  # fmt: skip


def _gamma_moment() -> tuple[Step, ...]:
    """Return that E[G^m] = Γ(d/2 + m)/Γ(d/2) for G ~ Gamma(d/2), by the integral over its density."""
    density = _u ** (d / 2 - 1) * sp.exp(-_u) / sp.gamma(d / 2)
    power = sp.Symbol("m", positive=True)
    found = sp.integrate(sp.powsimp(_u**power * density), (_u, 0, sp.oo), conds="none")
    return (step(found, sp.gamma(d / 2 + power) / sp.gamma(d / 2), "E[G^m], G = |v|^2/(2 sigma_v^2) ~ Gamma(d/2)"),)


@cache
def homogeneous_density() -> Formula:
    """Return the density of λ for a homogeneous activation: the slope of ``shell.sloppy_fraction``."""
    distribution = sloppy_fraction().expr.subs(cutoff, _positive)
    argument = next(iter(distribution.atoms(RegularizedUpperGamma))).args[1]
    expr = sp.diff(distribution, _positive)
    expected = argument ** (d / 2) * sp.exp(-argument) / (degree * _positive * sp.gamma(d / 2))
    args = (_positive, d, degree, moment, s_x, sigma_v, noise_variance)
    return _formula(
        "fisher.homogeneous_density", _DENSITY, expected, args,
        (step(expr, expected, "slope of P(lambda < Lambda); u ~ Lambda^{1/k}"),), "shell.sloppy_fraction",
        _CENTRED + ", sigma homogeneous of degree k > 0",
        numerical=argument * gamma_density(d / 2, argument) / (degree * _positive),
    )  # fmt: skip


@cache
def homogeneous_moment() -> Formula:
    """Return E[λ^n] = (c_k (2 s_x² σ_v²)^k/s²)^n Γ(d/2 + kn)/Γ(d/2)."""
    scale = moment * (2 * s_x**2 * sigma_v**2) ** degree / noise_variance
    expr = scale**_order * sp.gamma(d / 2 + degree * _order) / sp.gamma(d / 2)
    back = moment * s_x ** (2 * degree) * (2 * sigma_v**2 * _u) ** degree / noise_variance
    return _formula(
        "fisher.homogeneous_moment", sp.Symbol(r"\mathrm{E}[\lambda^n]"), expr,
        (_order, d, degree, moment, s_x, sigma_v, noise_variance),
        (
            step(sp.powdenest(sp.powsimp(back / scale, force=True), force=True), _u**degree,
                 "lambda = c_k s_x^{2k} |v|^{2k}/s^2 = scale G^k"),
            *_gamma_moment(),
        ),
        "shell.sloppy_fraction", _CENTRED + ", sigma homogeneous of degree k > 0",
        numerical=sp.exp(_order * sp.log(scale) + sp.loggamma(d / 2 + degree * _order) - sp.loggamma(d / 2)),
    )  # fmt: skip


def _centred_unit(name: str) -> sp.Expr:
    """Return s²λ of a centred unit as a function of q = τ²; Owen's T(0, a) = arctan(a)/2π."""
    value = (unit(name).expr * noise_variance).subs(unit_mean, 0)
    owen = next((f for f in value.atoms(sp.Function) if type(f).__name__ == "OwenT"), None)
    if owen is not None:
        value = value.subs(owen, sp.atan(owen.args[1]) / (2 * sp.pi))
    return sp.simplify(value.subs(tau, sp.sqrt(_q)))


_INVERSES: dict[str, Callable[[sp.Expr], sp.Expr]] = {
    # sin(πy/2) = 2q/(1 + 2q), written without the difference 1 - sin(πy/2)
    "erf": lambda y: sp.sin(sp.pi * y / 2) / (4 * sp.sin(sp.pi * (1 - y) / 4) ** 2),
    "sin": lambda y: -sp.log(1 - 2 * y) / 2,
    "cos": lambda y: -sp.log(2 * y - 1) / 2,
}
"""q at which s²λ = y; each is checked against the unit it inverts."""

_RANGES = {"erf": (0, 1), "sin": (0, sp.Rational(1, 2)), "cos": (sp.Rational(1, 2), 1)}
"""Between which values s²λ lies."""


def _inside(name: str) -> sp.Expr:
    """Return Λ as a point of the open range of λ, for the checks."""
    low, high = _RANGES[name]
    share = sp.Symbol("x", positive=True)
    return (low + (high - low) * share / (1 + share)) / noise_variance


@cache
def radial_cdf(name: str) -> Formula:
    """Return P(λ < Λ) of erf, sin or cos units."""
    y = noise_variance * cutoff
    low, high = _RANGES[name]
    place = _INVERSES[name]
    argument = place(y) / (2 * s_x**2 * sigma_v**2)
    beyond = RegularizedUpperGamma(d / 2, argument)
    rises = name != "cos"
    share = sp.Symbol("x", positive=True)
    inside = low + (high - low) * share / (1 + share)
    expr = sp.Piecewise((sp.Integer(0), y <= low), (sp.Integer(1), y >= high), (1 - beyond if rises else beyond, True))
    centred = _centred_unit(name)
    return _formula(
        f"fisher.{name}_cdf", _CDF, expr, _ARGS,
        (
            *_arcsine(name),
            step(centred.subs(_q, place(inside)), inside, f"s^2 lambda of a centred {name} unit, inverted"),
            step(sp.diff(place(_u), _u) * sp.diff(centred, _q).subs(_q, place(_u)), sp.Integer(1),
                 "monotonic: the slopes of the two are inverse to each other", where={_u: inside}),
            step(sp.diff(1 - sp.uppergamma(d / 2, _u) / sp.gamma(d / 2), _u),
                 _u ** (d / 2 - 1) * sp.exp(-_u) / sp.gamma(d / 2), "q/(2 s_x^2 sigma_v^2) ~ Gamma(d/2)"),
        ),
        f"fisher.{name}",
        numerical=expr.replace(sp.log, lambda inside: log1p(sp.expand(inside - 1))),
    )  # fmt: skip


def _arcsine(name: str) -> tuple[Step, ...]:
    if name != "erf":
        return ()
    familiar = 2 / sp.pi * sp.asin(2 * _q / (1 + 2 * _q))
    return (step(_centred_unit(name), familiar, "without a bias Owen's T is an arc tangent: the familiar arcsine"),)


@cache
def radial_density(name: str) -> Formula:
    """Return the density of λ for erf, sin or cos units."""
    whole = radial_cdf(name).expr
    branch = whole.args[2][0].subs(cutoff, _positive)
    slope = sp.diff(branch, _positive)
    low, high = _RANGES[name]
    y = noise_variance * _positive
    expr = sp.Piecewise((sp.Integer(0), sp.Or(y <= low, y >= high)), (slope, True))
    argument = next(iter(branch.atoms(RegularizedUpperGamma))).args[1]
    rate = sp.diff(argument, _positive)
    plain = argument ** (d / 2 - 1) * sp.exp(-argument) / sp.gamma(d / 2) * rate
    harmless = gamma_density(d / 2, argument) * (rate if name != "cos" else -rate)
    return _formula(
        f"fisher.{name}_density", _DENSITY, expr, (_positive, *_ARGS[1:]),
        (step(slope, plain if name != "cos" else -plain, "slope of P(lambda < Lambda)",
              where={_positive: _inside(name)}),),
        f"fisher.{name}_cdf",
        numerical=sp.Piecewise((sp.Integer(0), sp.Or(y <= low, y >= high)), (harmless, True)),
    )  # fmt: skip


@cache
def wave_moment(name: str, order: int) -> Formula:
    """Return E[λ^n] of sin or cos units for a whole n: powers of e^{-2q}, whose average over q is (1 + 4m s_x² σ_v²)^{-d/2}."""
    power = sp.Symbol("m", positive=True)
    decay = (1 + 4 * power * s_x**2 * sigma_v**2) ** (-d / 2)
    wave = sp.Symbol("E", positive=True)  # stands for e^{-2q}
    unit_value = _centred_unit(name).subs(sp.exp(-2 * _q), wave)
    polynomial = sp.Poly(sp.expand((unit_value / noise_variance) ** order), wave)
    expr = sum(
        (value * (decay.subs(power, exponent) if exponent else 1) for (exponent,), value in polynomial.terms()),
        sp.Integer(0),
    )
    rate = sp.Symbol("r", positive=True)
    transform = sp.integrate(
        _u ** (d / 2 - 1) * sp.exp(-(1 + rate) * _u) / sp.gamma(d / 2), (_u, 0, sp.oo), conds="none"
    )
    return _formula(
        f"fisher.{name}_moment_{order}", sp.Symbol(rf"\mathrm{{E}}[\lambda^{{{order}}}]"), expr, _ARGS[1:],
        (
            step(transform, (1 + rate) ** (-d / 2), "E[e^{-r G}], G ~ Gamma(d/2); here r = 4 m s_x^2 sigma_v^2"),
            step(polynomial.as_expr().subs(wave, sp.exp(-2 * _q)), (_centred_unit(name) / noise_variance) ** order,
                 "lambda^n as a polynomial in e^{-2q}"),
        ),
        f"fisher.{name}",
    )  # fmt: skip


FORMULAS: dict[str, Callable[[], Formula]] = {
    "fisher.homogeneous_density": homogeneous_density,
    "fisher.homogeneous_moment": homogeneous_moment,
    **{f"fisher.{name}_cdf": partial(radial_cdf, name) for name in _INVERSES},
    **{f"fisher.{name}_density": partial(radial_density, name) for name in _INVERSES},
    **{f"fisher.{name}_moment_{n}": partial(wave_moment, name, n) for name in ("sin", "cos") for n in (1, 2)},
}
