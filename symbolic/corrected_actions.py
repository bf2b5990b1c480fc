"""What should the printed equations on actions, Edgeworth series and priors say? (39), (41), (42), (54), (61), (71)."""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic.formula import Formula, definition, step
from fieldflow.symbolic.nngp import weight_average
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.symbols import noise_variance, sigma_w

PAPER = "howard2024bayesian"

phi = sp.Symbol("phi", real=True)
_mu = sp.Symbol("mu", real=True)
_G = sp.Symbol("G", positive=True)


def mean_over(density: sp.Expr, value: sp.Expr, variable: sp.Symbol) -> sp.Expr:
    """Return ∫ value·density/∫ density over the real line."""
    top, bottom = (sp.integrate(sp.expand(part * density), (variable, -sp.oo, sp.oo)) for part in (value, 1))
    return sp.simplify(top / bottom)


@cache
def edgeworth() -> Formula:
    """Return the sixth coefficient of the Edgeworth series: the Bell polynomial κ₆ + 10κ₃², not the moment."""
    t = sp.Symbol("t")
    order = 8
    kappa = {n: sp.Symbol(f"kappa_{n}", real=True) for n in range(3, order + 1)}
    exponent = sum(value * t**n / sp.factorial(n) for n, value in kappa.items())
    series = sp.expand(sum(exponent**power / sp.factorial(power) for power in range(3)))
    bell = {n: sp.expand(series.coeff(t, n) * sp.factorial(n)) for n in kappa}
    return Formula(
        name="erratum.eq39",
        lhs=sp.Symbol("c_6"),
        expr=bell[6],
        args=(kappa[3], kappa[6]),
        domain="p = sum over n of (-1)^n/n! c_n d^n p_0, p_0 with the mean and the variance of p; for n < 6, c_n = kappa_n",
        validity="exact",
        references=(Reference(PAPER, "Eqs. (39), (40)"),),
        steps=(
            definition(sp.Symbol(r"\sum_n c_n t^n/n!"), sp.Symbol(r"\exp \sum_{n \geq 3} \kappa_n t^n/n!"),
                       "(40) with t for minus the derivative"),
            *(step(bell[n], kappa[n], f"n = {n}: no product of two cumulants reaches this order") for n in (3, 4, 5)),
            step(bell[6], kappa[6] + 10 * kappa[3] ** 2, "n = 6: 6!/(2 3! 3!) = 10 pairs of third cumulants"),
            step(bell[8], kappa[8] + 35 * kappa[4] ** 2 + 56 * kappa[3] * kappa[5], "n = 8: complete Bell polynomial"),
        ),
    )  # fmt: skip


@cache
def free_action() -> Formula:
    """Return S_free = (φ - μ)²/2G per mode: with ½ and with the mean."""
    action = (phi - _mu) ** 2 / (2 * _G)
    weight = sp.exp(-action)
    a, b, c = sp.Symbol("a", positive=True), sp.Symbol("b", positive=True), sp.Symbol("c", real=True)
    inverse = sp.Matrix([[a, c], [c, b]]).inv()
    x, y = sp.symbols("phi_1 phi_2", real=True)
    form = (sp.Matrix([[x, y]]) * inverse * sp.Matrix([x, y]))[0, 0]
    slope = sp.diff(-form / 2, x)
    return Formula(
        name="erratum.eq41",
        lhs=sp.Symbol(r"S_{\mathrm{free}}(\phi)"),
        expr=action,
        args=(phi, _mu, _G),
        domain="one mode of variance G and mean mu; on a mesh half of (phi - mu) G^{-1} (phi - mu), summed over points",
        validity="exact",
        references=(Reference(PAPER, "Eqs. (41), (57)"),),
        derived_from=("Gaussian integrals",),
        steps=(
            step(mean_over(weight, phi, phi), _mu, "the mean under exp(-S)"),
            step(mean_over(weight, (phi - _mu) ** 2, phi), _G, "the variance under exp(-S); without 1/2 it would be G/2"),
            step(sp.simplify(a * slope + c * sp.diff(-form / 2, y)), -x,
                 "two points: G times the slope of -S is minus the field, so that Stein's lemma returns G"),
        ),
    )  # fmt: skip


@cache
def quadratic_shift() -> Formula:
    """Return -ln p of (40) to first order in κ₄ at one point: φ² and a constant come with φ⁴."""
    s, kappa = sp.Symbol("G", positive=True), sp.Symbol("kappa_4", real=True)
    weight = sp.exp(-(phi**2) / (2 * s))
    correction = sp.expand(sp.simplify(sp.diff(weight, phi, 4) / weight / 24))
    action = phi**2 / (2 * s) - kappa * correction
    quartic = -kappa * phi**4 / (24 * s**4)
    first = mean_over(weight, phi**2 * kappa * correction, phi)
    bare = mean_over(weight, -(phi**2) * quartic, phi) - s * mean_over(weight, -quartic, phi)
    return Formula(
        name="erratum.eq42",
        lhs=sp.Symbol(r"S(\phi)"),
        expr=sp.expand(action),
        args=(phi, s, kappa),
        domain="one point, even, first order in kappa_4; (42) and (58) begin at n = 3 and keep the phi^4 alone",
        validity="order 1/N^1",
        references=(Reference(PAPER, "Eqs. (40)-(42), (58)"),),
        derived_from=("erratum.eq39", "erratum.eq41"),
        steps=(
            step(
                correction,
                (phi**4 - 6 * s * phi**2 + 3 * s**2) / (24 * s**4),
                "fourth derivative of the Gaussian, over it",
            ),
            step(first, sp.Integer(0), "with all three terms the variance stays G at first order"),
            step(bare, kappa / (2 * s), "with phi^4 alone it moves by kappa_4/2G"),
        ),
    )


@cache
def readout_prior() -> Formula:
    """Return the law of a redrawn weight: the prior N(0, s_w); Jeffreys' is flat on the whole line."""
    w, size, s_w = sp.Symbol("w", real=True), sp.Symbol("W", positive=True), sp.Symbol("s_w", positive=True)
    y, h, rest, square = sp.symbols("y h f_rest E_h2", positive=True)
    log_likelihood = -((y - (w * h + rest)) ** 2) / (2 * noise_variance)
    information = -sp.diff(log_likelihood, w, 2).subs(h, sp.sqrt(square))
    density = sp.exp(-(w**2) / (2 * s_w)) / sp.sqrt(2 * sp.pi * s_w)
    mass = sp.integrate(sp.sqrt(information), (w, -size, size))
    return Formula(
        name="erratum.eq54",
        lhs=sp.Symbol(r"\pi^{<}_\Lambda(w)"),
        expr=density,
        args=(w, s_w),
        domain="a sloppy read-out weight of prior variance s_w",
        validity="exact",
        references=(Reference(PAPER, "Eq. (54)"),),
        derived_from=("fisher.readout",),
        steps=(
            step(information, square / noise_variance, "the Fisher information does not depend on w"),
            step(
                sp.limit(1 / mass, size, sp.oo),
                sp.Integer(0),
                "the mass of Jeffreys' prior diverges: nothing to draw from",
            ),
            step(sp.integrate(density, (w, -sp.oo, sp.oo)), sp.Integer(1), "the prior that (75) uses has mass 1"),
        ),
    )


@cache
def fan_in() -> Formula:
    """Return the output variance with Var w = σ_w²/N: a limit exists; with σ_w² it grows like N."""
    size, square = 3, sp.Symbol("E_h2", nonnegative=True)
    weights, h = list(sp.symbols(f"w1:{size + 1}")), sp.symbols(f"h1:{size + 1}")
    bias = sp.Symbol("b")
    output = sum(w * value for w, value in zip(weights, h, strict=True))

    def variance(own: sp.Expr) -> sp.Expr:
        return sp.expand(weight_average(output**2, weights, own, bias)).subs({value: sp.sqrt(square) for value in h})

    return Formula(
        name="erratum.eq61",
        lhs=sp.Symbol(r"\mathrm{Var}\,\phi"),
        expr=variance(sigma_w**2 / size),
        args=(sigma_w, square),
        domain="weights of variance sigma_w^2/fan_in, no bias; E_h2 the mean square of a neuron of the layer below",
        validity="exact at any width",
        references=(Reference(PAPER, "Eq. (61)"), Reference("lee2018deep", "Sec. 2.1")),
        derived_from=("nngp.recursion",),
        steps=(
            step(variance(sigma_w**2 / size), sigma_w**2 * square, "three neurons: the same at any width"),
            step(variance(sigma_w**2), size * sigma_w**2 * square, "as printed, three neurons: grows like the width"),
        ),
    )


@cache
def many_data_centre() -> Formula:
    """Return the spread 2σ²/n of posterior draws about the truth: width and centre each contribute σ²/n."""
    count, variance = sp.symbols("n sigma2", positive=True)
    draw, centre, truth = sp.symbols("mu ybar mu_star", real=True)
    step_variance = variance / count
    density = sp.exp(-((draw - centre) ** 2) / (2 * step_variance)) / sp.sqrt(2 * sp.pi * step_variance)
    data = sp.exp(-((centre - truth) ** 2) / (2 * step_variance)) / sp.sqrt(2 * sp.pi * step_variance)
    inner = sp.simplify(sp.integrate(sp.expand((draw - truth) ** 2) * density, (draw, -sp.oo, sp.oo)))
    total = sp.simplify(sp.integrate(sp.expand(inner) * data, (centre, -sp.oo, sp.oo)))
    return Formula(
        name="erratum.eq71",
        lhs=sp.Symbol(r"\mathrm{E}(\mu - \mu_\ast)^2"),
        expr=total,
        args=(count, variance),
        domain="location of a normal law from n data of variance sigma2, flat prior; mu drawn from the posterior of one data set",
        validity="exact",
        references=(Reference(PAPER, "Eq. (71)"), Reference("berman2025aspects", "Eq. (16)")),
        derived_from=("paper.eq71",),
        steps=(
            step(inner, (centre - truth) ** 2 + variance / count, "the posterior is centred at the mean of the data"),
            step(total, 2 * variance / count, "which itself has variance sigma^2/n"),
        ),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    "erratum.eq39": edgeworth,
    "erratum.eq41": free_action,
    "erratum.eq42": quadratic_shift,
    "erratum.eq54": readout_prior,
    "erratum.eq61": fan_in,
    "erratum.eq71": many_data_centre,
}
