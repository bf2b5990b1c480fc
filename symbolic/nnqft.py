"""Which quartic coupling do sampled networks have, and how does it run with the box? The NN-QFT correspondence.

S = S_GP + ∫_{[-L,L]^d} d^dy [λ f(y)^4 + κ f(y)^6] of Halverson, Maiti and Stoner (arXiv:2008.08601): one measured set of
correlators, a coupling for every box L, and the β function that keeps the correlators where they are.
"""

from collections.abc import Callable
from functools import cache
from math import factorial

import sympy as sp

from fieldflow.symbolic.corrected_actions import mean_over
from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.multigraph import connected_graphs
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.symbols import d, sigma_b, sigma_w

SLIDES = "halverson2021neural"
VERTEX = "K_W = K - sigma_b^2 at the vertex: the read-out bias does not interact"

box = sp.Symbol("L", positive=True)
coupling = sp.Symbol("lambda_4", real=True)
N = sp.Symbol("N", positive=True)
G4, G4_gp = sp.symbols("G4 G4_GP", real=True)
G6, G6_4 = sp.symbols("G6 G6_lambda", real=True)
integral = sp.Symbol("I", real=True, nonzero=True)
running = sp.Symbol("dlogI_dlogL", real=True)
volume_power = sp.Symbol("p", positive=True)

_s = sp.Symbol("s", positive=True)


def _vertex_factor(n: int) -> int:
    """Return n!·n!/symmetry factor: how often n external points pair with one vertex φ^n."""
    (graph,) = connected_graphs(n, (n,))
    return factorial(n) * factorial(n) // graph.symmetry_factor


def _counted(n: int) -> Step:
    """Return Wick's theorem for E[u^n v^n], where the factor counts pairings of every u with a v, without diagrams."""
    a, b, c = sp.symbols("a b c")
    generating = sp.exp(_s * (a**2 + b**2) / 2 + c * a * b)
    moment = sp.Subs(sp.Derivative(generating, (a, n), (b, n)), (a, b), (0, 0))
    apart = [(k, factorial(n) // factorial((n - k) // 2)) for k in range(n % 2, n, 2)]
    wick = sum(sp.Rational(ways**2, factorial(k) * 2 ** (n - k)) * c**k * _s ** (n - k) for k, ways in apart)
    text = (
        f"Wick: E[u^{n} v^{n}] of Gaussian u, v with variance s and covariance c; in the term c^{n} every u is paired with some v, "
        f"in {n}! ways: external points and one vertex"
    )
    return step(moment, wick + _vertex_factor(n) * c**n, text)


@cache
def quartic() -> Formula:
    """Return λ = (G_GP - G)^{(4)}/(24 I), I = ∫ d^dy ∏ K_W(x_i, y), from first-order perturbation theory."""
    factor = _vertex_factor(4)
    first_order = G4_gp - factor * coupling * integral
    expr = sp.solve(sp.Eq(G4, first_order), coupling)[0]
    return Formula(
        name="nnqft.lambda",
        lhs=sp.Symbol(r"\lambda_{4}"),
        expr=expr,
        args=(G4, G4_gp, integral),
        domain=f"first order in lambda; I = integral over the box [-L, L]^d of the product of four K_W(x_i, y); {VERTEX}",
        validity="order 1/N^1",
        references=(Reference(SLIDES, "Sec. 3, slides: 2-pt, 4-pt and 6-pt correlation functions"),),
        steps=(
            _counted(4),
            definition(
                G4,
                first_order,
                "first-order perturbation theory: one vertex -lambda, 4! ways to join it to the four points",
            ),
        ),
    )


@cache
def sextic() -> Formula:
    """Return κ = (G_λ - G)^{(6)}/(720 I_6): what the four-point coupling leaves of the six-point function."""
    factor = _vertex_factor(6)
    kappa = sp.Symbol("kappa", real=True)
    first_order = G6_4 - factor * kappa * integral
    expr = sp.solve(sp.Eq(G6, first_order), kappa)[0]
    return Formula(
        name="nnqft.kappa",
        lhs=sp.Symbol(r"\kappa"),
        expr=expr,
        args=(G6, G6_4, integral),
        domain="first order in kappa; I = integral over the box of the product of six K_W(x_i, y); G6_lambda is (3.19) with the "
        "measured lambda and kappa = 0, so that kappa's own loop in the four-point function is in lambda",
        validity="order 1/N^2",
        references=(Reference(SLIDES, "Eq. (3.19)"),),
        steps=(
            _counted(6),
            definition(
                G6,
                first_order,
                "first-order perturbation theory: one vertex -kappa, 6! ways to join it to the six points",
            ),
        ),
    )


@cache
def beta() -> Formula:
    """Return β = ∂λ/∂ log L = -λ ∂ log I/∂ log L: the correlators do not know the box."""
    strength, function = sp.Function("lambda")(box), sp.Function("I")(box)
    product = sp.Derivative(strength * function, box)
    slope = box * sp.solve(product.doit(), sp.diff(strength, box))[0]
    logarithmic = box * sp.Derivative(sp.log(function), box)
    expr = (slope / (box * sp.diff(sp.log(function), box)) * running).subs(strength, coupling)
    return Formula(
        name="nnqft.beta",
        lhs=sp.Symbol(r"\beta(\lambda)"),
        expr=expr,
        args=(coupling, running),
        domain="lambda(L) I(L) is the measured (G_GP - G)/24, whatever the box; a zero of I(L) is a pole of lambda",
        validity="order 1/N^1",
        references=(Reference(SLIDES, "slides: dependence of the quartic coupling on the cut-off"),),
        derived_from=("nnqft.lambda",),
        steps=(
            definition(product.doit(), sp.Integer(0), "one set of correlators for every box: the product of lambda and I is fixed"),
            step(slope, -strength * logarithmic, "L times the slope of lambda, from this: lambda runs against the box integral"),
            definition(running, logarithmic, "the running of the box integral, taken on its surface"),
        ),
    )  # fmt: skip


@cache
def beta_power() -> Formula:
    """Return β = -(d + 4k)λ where K_W(x, ty) = t^k K_W(x, y): I(L) = L^{d+4k} I(1)."""
    scaled = box ** (d + 4 * volume_power) * sp.Symbol("I_1", positive=True)
    slope = sp.simplify(box * sp.diff(sp.log(scaled), box))
    return Formula(
        name="nnqft.beta_power",
        lhs=sp.Symbol(r"\beta(\lambda)"),
        expr=-(d + 4 * volume_power) * coupling,
        args=(coupling, d, volume_power),
        domain="K_W(x, y) homogeneous of degree p in y: p = 1 for ReLU without biases at every L; p -> 0 for bounded kernels "
        "with limits at infinity (Erf) as L -> infinity, where the slides' -d lambda holds",
        validity="order 1/N^1",
        references=(Reference(SLIDES, "slides: beta = -lambda d_in, which is the Erf-net's, asymptotically"),),
        derived_from=("nnqft.beta",),
        steps=(
            definition(sp.Symbol("I(L)"), scaled, "y = L y' in the integral over the box"),
            step(slope, d + 4 * volume_power, "its logarithmic derivative"),
        ),
    )


@cache
def gauss_coupling() -> Formula:
    """Return Nλ of the Gauss-net near the origin in a wide box: -3(e^{4σ_b²} - 1)σ_W^{d-4}/(24 (πd/2)^{d/2})."""
    b, y = sp.symbols("b y", real=True)
    width = sp.Symbol("sigma_w", positive=True)
    density = sp.exp(-(b**2) / (2 * _s**2))
    unit = sp.exp(b - _s**2)
    fourth, second = (sp.simplify(mean_over(density, sp.powsimp(unit**n), b)) for n in (4, 2))
    connected = width**4 * (3 * fourth - 3 * second**2)
    one_axis = sp.integrate(sp.exp(-4 * width**2 * y**2 / (2 * d)), (y, -sp.oo, sp.oo), conds="none")
    whole = width**8 * one_axis**d
    expr = -3 * (sp.exp(4 * sigma_b**2) - 1) / (24 * (sp.pi * d / 2) ** (d / 2)) * sigma_w ** (d - 4)
    found = (-connected / (24 * whole)).subs(_s, sp.Symbol("sigma_b", positive=True))
    positive = {sigma_w: width, sigma_b: sp.Symbol("sigma_b", positive=True)}
    return Formula(
        name="nnqft.lambda_gauss",
        lhs=sp.Symbol(r"N\lambda"),
        expr=expr,
        args=(sigma_w, sigma_b, d),
        domain="Gauss-net exp(Wx + b)/sqrt(exp(2(sigma_b^2 + sigma_W^2 x^2/d))), sigma_W |x| << 1, box L >> sqrt(d)/sigma_W: "
        "the integral over the box converges, and beta -> 0",
        validity="order 1/N^1",
        references=(Reference(SLIDES, "slides: our examples and their kernels"),),
        derived_from=("nnqft.lambda", "cumulants.G4", "nngp.gaussnet"),
        steps=(
            step(fourth, sp.exp(4 * _s**2), "E h^4 at the origin, h = exp(b - sigma_b^2), s for sigma_b"),
            step(second, sp.Integer(1), "E h^2 at the origin"),
            step(
                found, expr.subs(positive), "-sigma_W^4 (3 E h^4 - 3 (E h^2)^2)/24 over the Gaussian integral of K_W^4"
            ),
        ),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    "nnqft.lambda": quartic,
    "nnqft.kappa": sextic,
    "nnqft.beta": beta,
    "nnqft.beta_power": beta_power,
    "nnqft.lambda_gauss": gauss_coupling,
}
