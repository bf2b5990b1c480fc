"""What should the printed equations on cosine networks and free fields say? (77)-(90), and two slides of arXiv:2008.08601.

Everything follows from the parameter integrals: phase c uniform on [-π, π], frequency b uniform on the ball of radius R.
"""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic.corrected_actions import PAPER, mean_over, phi
from fieldflow.symbolic.formula import Formula, step
from fieldflow.symbolic.paper_flow import matrix, nc, traced
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.symbols import cutoff, d, noise_variance, sigma_w

p, r = sp.Symbol("p", nonnegative=True), sp.Symbol("r", nonnegative=True)
m, R = sp.Symbol("m", positive=True), sp.Symbol("R", positive=True)
_SLIDES = "halverson2021neural"


def ball_volume(radius: sp.Expr) -> sp.Expr:
    """Return the volume of a d-dimensional ball."""
    return sp.pi ** (d / 2) * radius**d / sp.gamma(d / 2 + 1)


def constant(radius: sp.Expr) -> sp.Expr:
    """Return C_d = (2π)^d/(2 Vol B_R)."""
    return (2 * sp.pi) ** d / (2 * ball_volume(radius))


@cache
def phase_average() -> Formula:
    """Return E_c[h(x)h(y)] = cos(b·(x - y))/(2(b² + m²)): one cosine of the whole scalar product."""
    u, v, square = sp.Symbol("u", real=True), sp.Symbol("v", real=True), sp.Symbol("b2", nonnegative=True)
    c = sp.Symbol("c", real=True)
    product = sp.cos(u + c) * sp.cos(v + c)
    average = sp.simplify(sp.integrate(sp.expand(sp.expand_trig(product)), (c, -sp.pi, sp.pi)) / (2 * sp.pi))
    b1, b2, x1, x2 = sp.symbols("b_1 b_2 x_1 x_2", real=True)
    split = sp.integrate(
        sp.expand(sp.expand_trig((sp.cos(b1 * x1 + c) + sp.cos(b2 * x2 + c)) ** 2)), (c, -sp.pi, sp.pi)
    )
    return Formula(
        name="erratum.eq77",
        lhs=sp.Symbol(r"\mathrm{E}_c[h(x)h(y)]"),
        expr=average / (square + m**2),
        args=(u, v, square, m),
        domain="h(x) = cos(b x + c)/sqrt(b2 + m^2), u = b x, v = b y scalar products, b2 = b b",
        validity="exact at any width",
        references=(Reference(PAPER, "Eq. (77)"),),
        derived_from=("average over the phase",),
        steps=(
            step(average, sp.cos(u - v) / 2, "phase uniform: the sum of the angles averages out, translation invariance"),
            step(split / (2 * sp.pi), 1 + sp.cos(b1 * x1 - b2 * x2),
                 "as printed, two components, at x = y: still a function of x, not of x - y"),
        ),
    )  # fmt: skip


@cache
def spectrum() -> Formula:
    """Return Σ(p) = C_d σ_w² θ(R - |p|)/(p² + m²), of the frequencies that occur."""
    density = sp.Symbol("C_d", positive=True)
    value = density * sigma_w**2 * sp.Heaviside(R - p) / (p**2 + m**2)
    inside = constant(R) * sigma_w**2 / (p**2 + m**2)
    line = sp.integrate(inside.subs(d, 1) / (2 * sp.pi), (p, -R, R))
    return Formula(
        name="erratum.eq81",
        lhs=sp.Symbol(r"\Sigma(p)"),
        expr=value,
        args=(p, R, m, density, sigma_w),
        domain="b uniform on the ball of radius R, C_d = (2 pi)^d/(2 Vol B_R); the same theta in (83) and (85)",
        validity="infinite width",
        references=(Reference(PAPER, "Eqs. (81), (83), (85)"),),
        derived_from=("erratum.eq77",),
        steps=(
            step(sigma_w**2 / ball_volume(R) / (2 * (p**2 + m**2)), inside / (2 * sp.pi) ** d,
                 "density 1/Vol of the frequencies times (77) averaged: the Fourier integrand C_d/(p^2 + m^2) for p < R, 0 beyond"),
            step(sp.simplify(line), sigma_w**2 * sp.atan(R / m) / (2 * R * m), "variance in d = 1"),
            step(sp.integrate(sigma_w**2 / (2 * R) / (2 * (p**2 + m**2)), (p, -R, R)), sigma_w**2 * sp.atan(R / m) / (2 * R * m),
                 "the same from the parameters"),
        ),
    )  # fmt: skip


@cache
def free_field() -> Formula:
    """Return ½(p² + m²)|φ|² per mode: S = ½∫φ(-∇² + m²)φ."""
    action = (p**2 + m**2) * phi**2 / 2
    x, k = sp.Symbol("x", real=True), sp.Symbol("k", real=True)
    wave = sp.exp(sp.I * k * x)
    gap = sp.Symbol("epsilon", positive=True)
    return Formula(
        name="erratum.eq84",
        lhs=sp.Symbol("S"),
        expr=action,
        args=(p, m, phi),
        domain="one mode of a Euclidean field, |p| < R; in space half of phi (-∇^2 + m^2) phi, integrated",
        validity="infinite width",
        references=(Reference(PAPER, "Eq. (84)"), Reference(_SLIDES, "slides, free scalar action")),
        derived_from=("erratum.eq81", "erratum.eq41"),
        steps=(
            step(sp.simplify((-sp.diff(wave, x, 2) + m**2 * wave) / wave), k**2 + m**2, "plane wave: -∇^2 gives +p^2"),
            step(mean_over(sp.exp(-action), phi**2, phi), 1 / (p**2 + m**2), "variance of the mode: the spectrum (83)"),
            step(mean_over(sp.exp(-gap * phi**2), phi**2, phi), 1 / (2 * gap),
                 "as printed, epsilon = m^2 - p^2: another variance, and none at all for p > m"),
        ),
    )  # fmt: skip


@cache
def learnt_mean() -> Formula:
    """Return the mean of a trained cos-net at its one training point along Λ, d = 1: not zero."""
    y, b = sp.Symbol("y", real=True), sp.Symbol("b", real=True)
    radius = sp.Symbol("R_L", positive=True)
    stiff = sp.integrate(1 / (2 * R) / (2 * (b**2 + m**2)), (b, -radius, radius))
    whole = stiff.subs(radius, R)
    shell = sp.sqrt(1 / (2 * noise_variance * cutoff) - m**2)
    information = 1 / (2 * noise_variance * (b**2 + m**2))
    positive = sp.Symbol("Lambda", positive=True)
    crossing = information.subs(b, shell.subs(cutoff, positive))
    return Formula(
        name="erratum.eq86",
        lhs=sp.Symbol(r"\mu_\Lambda(x_1)"),
        expr=sp.simplify(stiff / whole * y).subs(radius, shell),
        args=(y, R, m, cutoff, noise_variance),
        domain="d = 1, one training point (x_1, y) fitted to convergence, every member on its own hidden layer, Fisher inputs "
        "broad, 1/(2 s2 (R^2 + m^2)) <= Lambda < 1/(2 s2 m^2)",
        validity="infinite width",
        references=(Reference(PAPER, "Eq. (86)"),),
        derived_from=("shell.mean", "erratum.eq81", "paper.eq64_gap"),
        steps=(
            step(sp.simplify(crossing), positive, "broad inputs: lambda = E[h^2]/s2, the shell lies at |b| = R_Lambda"),
            step(stiff, sp.atan(radius / m) / (2 * R * m), "stiff part of the kernel at r = 0, over sigma_w^2"),
            step(sp.simplify(stiff / whole), sp.atan(radius / m) / sp.atan(R / m), "mu = k_> M Y with M = 1/K"),
        ),
        requires=(1 / (2 * noise_variance * cutoff) - m**2,),
    )


@cache
def effective_variance() -> Formula:
    """Return σ_w²(Λ) = Σ_i [Ξ_ii + w̄_i²]: the sum runs over both."""
    covariance, average, average_t, pair = nc("Xi w_mean w_mean^T V_xy")
    words = sp.expand((covariance + average * average_t) * pair)
    unit = traced(words.subs(pair, 1))
    two = sp.MatrixSymbol("X", 2, 2), sp.MatrixSymbol("u", 2, 1)
    explicit = sp.Trace(two[0] + two[1] * two[1].T).subs(
        {two[0]: sp.Matrix(2, 2, sp.symbols("Xi_11 Xi_12 Xi_21 Xi_22")), two[1]: sp.Matrix(sp.symbols("w_1 w_2"))}
    )
    terms = sp.symbols("Xi_11 Xi_22 w_1 w_2")
    return Formula(
        name="erratum.eq87",
        lhs=sp.Symbol(r"\sigma_w(\Lambda)^2"),
        expr=unit,
        args=(matrix("Xi"), matrix("w_mean")),
        domain="V(x, y) = 1 times a function of x - y, V(x) = 0; independent hidden layer (63)",
        validity="exact at any width",
        references=(Reference(PAPER, "Eq. (87)"),),
        derived_from=("paper.eq76",),
        steps=(
            step(
                sp.expand(explicit.doit()),
                terms[0] + terms[1] + terms[2] ** 2 + terms[3] ** 2,
                "two neurons, written out",
            ),
        ),
    )


@cache
def unmoved_pole() -> Formula:
    """Return G(r)/G(0) = e^{-mr} in d = 1: whatever σ_w²(Λ) is, the correlation length stays 1/m."""
    factor = sp.Symbol("s", positive=True)
    k = sp.Symbol("k", positive=True)
    positive = sp.Symbol("r", positive=True)
    propagator = factor * sp.exp(-m * positive) / (2 * m)
    back = 2 * sp.integrate(propagator * sp.cos(k * positive), (positive, 0, sp.oo))
    scaled = 1 / (k**2 / factor + m**2 / factor)
    return Formula(
        name="erratum.eq89",
        lhs=sp.Symbol("G(r)/G(0)"),
        expr=(propagator / propagator.subs(positive, 0)).subs(positive, r),
        args=(m, r),
        domain="d = 1, R -> infinity, spectrum s/(p^2 + m^2) with s = C_d sigma_w(Lambda)^2 of any size",
        validity="infinite width",
        references=(Reference(PAPER, "Eqs. (88), (89)"),),
        derived_from=("erratum.eq81",),
        steps=(
            step(scaled, factor / (k**2 + m**2), "dividing p^2 and m^2 by s multiplies the field by s^{1/2} and does no more"),
            step(sp.simplify(back), factor / (k**2 + m**2), "the propagator of this spectrum"),
            step(sp.simplify(-sp.diff(propagator, positive, 2) + m**2 * propagator), sp.Integer(0),
                 "it decays with the mass m, not with m s^{-1/2}"),
        ),
    )  # fmt: skip


@cache
def rescaled_radius() -> Formula:
    """Return R' = R σ_w(Λ)^{-2/d}: the radius that absorbs the effective variance into C_d."""
    factor = sp.Symbol("s", positive=True)
    radius = R * factor ** (-1 / d)
    return Formula(
        name="erratum.eq90",
        lhs=sp.Symbol("R'"),
        expr=radius,
        args=(R, factor, d),
        domain="s = sigma_w(Lambda)^2; C_d keeps its 1/2 on both sides, and the spectrum its support |p| < R: R' is no cut-off",
        validity="infinite width",
        references=(Reference(PAPER, "Eq. (90)"),),
        derived_from=("erratum.eq81", "erratum.eq87"),
        steps=(
            step(sp.simplify(factor * constant(R) / constant(radius)), sp.Integer(1), "s C_d(R) = C_d(R')"),
            step(sp.simplify(radius.subs(factor, 1)), R, "nothing flows at s = 1"),
            step(sp.simplify(constant(R) / (2 * constant(R * 2 ** (1 / d)))), sp.Integer(1),
                 "as printed, s = 1: C_d = (2 pi)^d/Vol of a radius 2^{1/d} R"),
        ),
    )  # fmt: skip


@cache
def beta_homogeneous() -> Formula:
    """Return β = -(d + 4)λ₄ of ReLU without biases: the box integral grows like L^{d+4}, not L^d."""
    size, coupling, unit = sp.symbols("L lambda_4 I_1", positive=True)
    integral = size ** (d + 4) * unit
    x, y = sp.symbols("x y", positive=True)
    legs = (x * y / 2) ** 4
    return Formula(
        name="erratum.slides_beta",
        lhs=sp.Symbol(r"\beta(\lambda_4)"),
        expr=sp.simplify(-coupling * size * sp.diff(sp.log(integral), size)),
        args=(coupling, d),
        domain="ReLU, sigma_b = 0: K(x, a y) = a K(x, y), a > 0, in all four legs of the vertex at y in a box of size L",
        validity="exact at any width",
        references=(Reference(_SLIDES, "slides, dependence of the quartic coupling on the cutoff"),),
        derived_from=("expectation.relu",),
        steps=(
            step(
                sp.integrate(legs, (y, 0, size)),
                size**5 * x**4 / 80,
                "d = 1, points on one side: the integral grows like L^5",
            ),
            step(
                sp.simplify(size * sp.diff(sp.log(integral), size)),
                d + 4,
                "y = L u: L^d from the volume, L^4 from the legs",
            ),
        ),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    "erratum.eq77": phase_average,
    "erratum.eq81": spectrum,
    "erratum.eq84": free_field,
    "erratum.eq86": learnt_mean,
    "erratum.eq87": effective_variance,
    "erratum.eq89": unmoved_pole,
    "erratum.eq90": rescaled_radius,
    "erratum.slides_beta": beta_homogeneous,
}
