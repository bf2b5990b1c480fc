"""What should the talk on RG and Bayesian updating, and the note on Boltzmann machines, say? T.5-T.21 and its dictionary.

One mode or one parameter stands for all; P = K_Λ/(p² + m²) is the regulated propagator, Ṗ = dP/d ln Λ.
"""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic.corrected_actions import mean_over, phi
from fieldflow.symbolic.corrected_cosnet import m, p
from fieldflow.symbolic.formula import Formula, step
from fieldflow.symbolic.reference import Reference

TALK, NOTE = "berman2025aspects", "jefferson2019deep"

_P, _P0, _G0, _rate = (sp.Symbol(name, positive=True) for name in ("P", "P_0", "G_0", "Pdot"))
_T, _tau, _sigma2 = (sp.Symbol(name, positive=True) for name in ("T", "tau", "sigma2"))
_truth, _m0, _mean = (sp.Symbol(name, real=True) for name in ("mu_star", "m_0", "mu"))
_v0 = sp.Symbol("v_0", positive=True)


def _at(number: str) -> tuple[Reference, ...]:
    return (Reference(TALK, f"Eq. ({number})" if "," not in number else f"Eqs. ({number})"),)


@cache
def diffusion() -> Formula:
    """Return dG/d ln Λ = Ṗ(2G/P - 1) of a mode under -∂ρ = ½∇·[Ṗ(∇ρ + 2P^{-1}φρ)]."""
    variance = sp.Symbol("G", positive=True)
    exact = _P + (_P / _P0) ** 2 * (_G0 - _P0)
    density = sp.exp(-(phi**2) / (2 * exact)) / sp.sqrt(2 * sp.pi * exact)
    flow = sp.diff(density, _P)
    right = -sp.diff(sp.diff(density, phi) + 2 * phi * density / _P, phi) / 2
    gaussian = sp.exp(-(phi**2) / (2 * variance))
    moved = -sp.diff(_rate * (sp.diff(gaussian, phi) + 2 * phi * gaussian / _P), phi) / 2
    rate = sp.simplify(sp.integrate(sp.expand(phi**2 * moved), (phi, -sp.oo, sp.oo)) / sp.sqrt(2 * sp.pi * variance))
    return Formula(
        name="erratum.talk8",
        lhs=sp.Symbol(r"dG/d\ln\Lambda"),
        expr=rate,
        args=(variance, _P, _rate),
        domain="variance G of one mode, Pdot = dP/d ln Lambda; with V = phi P^{-1} phi the right side of T.8 needs the factor -1/2",
        validity="exact",
        references=_at("5), (8"),
        derived_from=("Polchinski's equation for the normalised density",),
        steps=(
            step(sp.simplify(flow / density), sp.simplify(right / density),
                 "N(0, G), G = P + (P/P_0)^2 (G_0 - P_0), solves it with -1/2 in front; both sides over the density"),
            step(rate, _rate * (2 * variance / _P - 1), "its second moment"),
            step(sp.diff(exact, _P), sp.simplify(2 * exact / _P - 1), "which is the flow of G"),
        ),
    )  # fmt: skip


@cache
def inverse_propagator() -> Formula:
    """Return the variance K_Λ/(p² + m²) of a free mode: the weight of T.7 holds the inverse propagator."""
    regulator = sp.Symbol("K", positive=True)
    weight = sp.exp(-(phi**2) * (p**2 + m**2) / (2 * regulator))
    return Formula(
        name="erratum.talk7",
        lhs=sp.Symbol(r"\langle \phi^2 \rangle"),
        expr=mean_over(weight, phi**2, phi),
        args=(p, m, regulator),
        domain="G(p^2) of T.7 read as the inverse propagator p^2 + m^2, as its formula needs and its text denies",
        validity="exact",
        references=_at("7"),
        derived_from=("Gaussian integrals",),
        steps=(
            step(mean_over(weight, phi**2, phi), regulator / (p**2 + m**2), "variance under T.7 without interaction"),
        ),
    )


@cache
def exponential_family() -> Formula:
    """Return e^{θq - A(θ)}, A = ln(1 + e^θ) for a coin: without A the probabilities do not sum to 1."""
    theta, face = sp.Symbol("theta", real=True), sp.Symbol("q", nonnegative=True)
    potential = sp.log(1 + sp.exp(theta))
    density = sp.exp(theta * face - potential)
    return Formula(
        name="erratum.talk12",
        lhs=sp.Symbol(r"p(y|\theta)"),
        expr=density,
        args=(theta, face),
        domain="a coin, q = 0 or 1; in general A = ln of the sum of exp(theta q)",
        validity="exact",
        references=_at("12"),
        derived_from=("normalisation",),
        steps=(
            step(sp.simplify(density.subs(face, 0) + density.subs(face, 1)), sp.Integer(1), "sums to 1"),
            step(
                sp.simplify(sp.diff(potential, theta)),
                sp.simplify(density.subs(face, 1)),
                "the slope of A is the mean of q",
            ),
        ),
    )


def _posterior() -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    """Return π_0 e^{-TD} (not normalised), its mean and its variance, for the location of a normal law."""
    divergence = (_mean - _truth) ** 2 / (2 * _sigma2)
    weight = sp.exp(-((_mean - _m0) ** 2) / (2 * _v0) - _T * divergence)
    variance = 1 / (1 / _v0 + _T / _sigma2)
    return weight, variance * (_m0 / _v0 + _T * _truth / _sigma2), variance


def _square_step() -> sp.Expr:
    """Return the exponent minus that of N(m, v): free of μ iff π_0 e^{-TD} is that normal law."""
    weight, centre, variance = _posterior()
    return sp.simplify(sp.diff(weight.args[0] + (_mean - centre) ** 2 / (2 * variance), _mean))


@cache
def replicator() -> Formula:
    """Return the mean of π_0 e^{-TD}/Z: the prior pulls it away from θ*."""
    level = sp.Symbol("D_1", positive=True)
    other, prior, rival = (
        sp.Symbol("D_2", positive=True),
        sp.Symbol("pi_1", positive=True),
        sp.Symbol("pi_2", positive=True),
    )
    first, second = prior * sp.exp(-_T * level), rival * sp.exp(-_T * other)
    share = first / (first + second)
    mean_divergence = (first * level + second * other) / (first + second)
    return Formula(
        name="erratum.talk15",
        lhs=sp.Symbol(r"\mathrm{E}_{\pi_T}\,\mu"),
        expr=sp.factor(sp.together(_posterior()[1])),
        args=(_T, _truth, _sigma2, _m0, _v0),
        domain="pi_T proportional to pi_0 exp(-T D); here the location of a normal law of variance sigma2, prior N(m_0, v_0)",
        validity="exact",
        references=_at("14), (15"),
        derived_from=("the replicator equation T.14",),
        steps=(
            step(sp.simplify(sp.diff(share, _T)), sp.simplify(-(level - mean_divergence) * share),
                 "two models: pi_0 exp(-T D)/Z solves T.14 from pi_0"),
            step(share.subs(_T, 0), prior / (prior + rival), "and starts at the prior, which T.15 has dropped"),
            step(_square_step(), sp.Integer(0), "completing the square: the location of a normal law"),
            step(sp.factor(sp.together(_posterior()[1])), _posterior()[1], "its mean"),
        ),
    )  # fmt: skip


@cache
def normal_posterior() -> Formula:
    """Return the variance of π_T with a prior N(m_0, v_0): σ²v_0/(σ² + T v_0)."""
    variance = _posterior()[2]
    return Formula(
        name="erratum.talk19",
        lhs=sp.Symbol(r"\mathrm{Var}_{\pi_T}\,\mu"),
        expr=sp.simplify(variance),
        args=(_T, _sigma2, _v0),
        domain="prior N(m_0, v_0); T.19 is its limit v_0 -> infinity, a flat prior, and centred at mu_star only after the data "
        "are replaced by their expectation: for one data set the centre is their mean",
        validity="exact",
        references=_at("19"),
        derived_from=("erratum.talk15",),
        steps=(
            step(_square_step(), sp.Integer(0), "completing the square"),
            step(sp.limit(variance, _v0, sp.oo), _sigma2 / _T, "flat prior: T.19"),
        ),
    )


@cache
def diffusivity() -> Formula:
    """Return D = σ²/2 in ∂_τπ = D ∂²π for π_τ = N(μ*, σ²τ)."""
    density = sp.exp(-((_mean - _truth) ** 2) / (2 * _sigma2 * _tau)) / sp.sqrt(2 * sp.pi * _sigma2 * _tau)
    value = sp.simplify(sp.diff(density, _tau) / sp.diff(density, _mean, 2))
    return Formula(
        name="erratum.talk20",
        lhs=sp.Symbol("D"),
        expr=value,
        args=(_sigma2,),
        domain="T.20 with flat prior, tau = 1/T",
        validity="exact",
        references=_at("20"),
        derived_from=("erratum.talk19",),
        steps=(step(value, _sigma2 / 2, "time derivative over second derivative of T.20"),),
    )


@cache
def predictive_diffusion() -> Formula:
    """Return ∂_τ p = ½I^{-1}∂_θ²p for an exponential law: derivatives in θ, with the ½."""
    theta, y, shift = sp.Symbol("theta", positive=True), sp.Symbol("y", nonnegative=True), sp.Symbol("mu", real=True)
    delta = sp.Symbol("delta", real=True)
    density = theta * sp.exp(-theta * y)
    information = sp.integrate((1 / theta - y) ** 2 * density, (y, 0, sp.oo))
    rate = sp.diff(density, theta, 2) / (2 * information)
    located = sp.exp(-((y - shift) ** 2) / 2)
    # theta + delta with E delta = 0, E delta² = tau/I: the odd powers average out.
    nearby = sp.Poly(sp.series(density.subs(theta, theta + delta), delta, 0, 3).removeO(), delta)
    averaged = nearby.coeff_monomial(1) + nearby.coeff_monomial(delta**2) * _tau / information
    return Formula(
        name="erratum.talk21",
        lhs=sp.Symbol(r"\partial_\tau p_\tau(y)|_{\tau = 0}"),
        expr=sp.simplify(rate),
        args=(theta, y),
        domain="p = theta exp(-theta y), posterior N(theta, tau I^{-1}); as printed T.21 holds for no law",
        validity="exact",
        references=_at("21"),
        derived_from=("erratum.talk20",),
        steps=(
            step(sp.simplify(information), theta**-2, "Fisher information of the exponential law"),
            step(
                sp.simplify(sp.diff(averaged, _tau)),
                sp.simplify(rate),
                "theta + delta averaged over the posterior, E delta^2 = tau/I",
            ),
            step(
                sp.diff(located, shift, 2),
                sp.diff(located, y, 2),
                "in a location family the derivatives may be taken in y",
            ),
        ),
    )


@cache
def scale_direction() -> Formula:
    """Return d(σ²τ)/d ln Λ = -Ṗ: the inverse observation time grows as the cutoff falls."""
    heat, start = sp.Symbol("t", positive=True), sp.Symbol("r", positive=True)
    action = start * phi**2 / (2 * (1 + start * heat)) + sp.log(1 + start * heat) / 2
    weight = sp.exp(-action)
    momentum, scale = sp.Symbol("p", positive=True), sp.Symbol("Lambda", positive=True)
    propagator = sp.exp(-(momentum**2) / scale**2) / (momentum**2 + m**2)
    rate = -scale * sp.diff(propagator, scale)
    return Formula(
        name="erratum.talk_dictionary",
        lhs=sp.Symbol(r"d(\sigma^2\tau)/d\ln\Lambda"),
        expr=sp.simplify(rate),
        args=(momentum, m, scale),
        domain="regulator K = exp(-p^2/Lambda^2), sigma^2 tau = P_{Lambda_0} - P_Lambda",
        validity="exact",
        references=(Reference(TALK, "dictionary, row 1"),),
        derived_from=("Polchinski's equation",),
        steps=(
            step(sp.simplify(sp.diff(weight, heat)), sp.simplify(sp.diff(weight, phi, 2) / 2),
                 "exp(-S) obeys the heat equation in t = P_{Lambda_0} - P_Lambda, as pi does in sigma^2 tau (quadratic S)"),
            step(sp.simplify(rate / propagator), -2 * momentum**2 / scale**2, "t falls as Lambda grows"),
        ),
    )  # fmt: skip


@cache
def marginal_energy() -> Formula:
    """Return H'(x) of a unit x = ±1 above a Gaussian unit: equal weights for every x, not only for the sum."""
    x, y = sp.Symbol("x", real=True), sp.Symbol("y", real=True)
    a, b, v = sp.symbols("a b v", real=True)
    energy = -a * x - x * v * y + y**2 / 2 - b * y
    square = sp.expand(energy - (y - (b + v * x)) ** 2 / 2)
    marginal = square - sp.log(2 * sp.pi) / 2
    one = sp.exp(-marginal.subs(x, 1))
    two = sp.exp(-marginal.subs(x, -1))
    return Formula(
        name="erratum.note_energy",
        lhs=sp.Symbol("H'(x)"),
        expr=marginal,
        args=(x, a, b, v),
        domain="H = -a x - x v y + y^2/2 - b y, x = +1 or -1, y real; with two Gaussian layers only while the coupling between "
        "them has norm below 1",
        validity="exact",
        references=(Reference(NOTE, "aside on the partition function"),),
        derived_from=("completing the square",),
        steps=(
            step(square, -a * x - (b + v * x) ** 2 / 2, "completing the square in y; the Gaussian integral gives sqrt(2 pi)"),
            step(sp.simplify((one - two) / (one + two)), sp.tanh(a + b * v),
                 "mean of x; another H' with the same sum of weights has the same Z and another mean"),
        ),
    )  # fmt: skip


FORMULAS: dict[str, Callable[[], Formula]] = {
    "erratum.talk7": inverse_propagator,
    "erratum.talk8": diffusion,
    "erratum.talk12": exponential_family,
    "erratum.talk15": replicator,
    "erratum.talk19": normal_posterior,
    "erratum.talk20": diffusivity,
    "erratum.talk21": predictive_diffusion,
    "erratum.talk_dictionary": scale_direction,
    "erratum.note_energy": marginal_energy,
}
