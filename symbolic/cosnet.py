"""Which field does a cosine network describe? Its spectrum, derived from the integrals over its parameters.

Equations (77)-(90) of arXiv:2405.17538, corrected: f(x) = Σ w_i h_i(x), h = (b² + m²)^{α/2} cos(b·x + c), with
c ~ Unif[-π, π], b of density ∝ f_R(b)(b² + m²)^{-(α+1)} and w ~ N(0, σ_w²/N).  The paper has α = -1 and b uniform in the
ball of radius R, f_R = θ(R - |b|).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import sympy as sp

from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.radial import RadialWave
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.shells import as_matrices
from fieldflow.symbolic.symbols import d, sigma_w

p = sp.Symbol("p", nonnegative=True)
k = sp.Symbol("k", positive=True)
R = sp.Symbol("R", positive=True)
mass = sp.Symbol("m", positive=True)
massive = sp.Symbol("m", nonnegative=True)  # the same letter where m = 0 is allowed
alpha = sp.Symbol("alpha", real=True)
volume = sp.Symbol("Omega", positive=True)
regulator = sp.Symbol("f_R", nonnegative=True)
effective = sp.Symbol("sigma_w2", positive=True)
N = sp.Symbol("N", positive=True)

PAPER = "howard2024bayesian"
BALL = "b uniform in the ball of radius R, c uniform, w ~ N(0, sigma_w^2/N)"

_u, _v, _c = sp.symbols("u v c", real=True)


def ball() -> sp.Expr:
    """Return Vol(B_R) = π^{d/2}R^d/Γ(d/2 + 1)."""
    return sp.pi ** (d / 2) * R**d / sp.gamma(d / 2 + 1)


def sphere() -> sp.Expr:
    """Return the area 2π^{d/2}/Γ(d/2) of the unit sphere."""
    return 2 * sp.pi ** (d / 2) / sp.gamma(d / 2)


def ball_step() -> Step:
    """Return that the volume of the ball is the integral over its shells."""
    shells = sp.integrate(sphere() * k ** (d - 1), (k, 0, R))
    return step(shells, ball(), "Vol(B_R) = integral of the area of shells of radius k")


@cache
def phase_steps() -> tuple[Step, ...]:
    """Return the averages over the phase c: h has mean zero, and a pair of cosines keeps the difference of its arguments."""
    single = sp.integrate(sp.cos(_u + _c), (_c, -sp.pi, sp.pi)) / (2 * sp.pi)
    pair = sp.integrate(sp.cos(_u + _c) * sp.cos(_v + _c), (_c, -sp.pi, sp.pi)) / (2 * sp.pi)
    return (
        step(sp.simplify(single), sp.Integer(0), "E_c cos(u + c) = 0: V(x) = 0, Eq. (85)"),
        step(sp.simplify(pair), sp.cos(_u - _v) / 2, "E_c cos(u + c) cos(v + c), u = b.x, v = b.x'"),
    )


def transform(density: sp.Expr, amplitude2: sp.Expr) -> sp.Expr:
    """Return the spectrum of f: the two-point function is σ_w² E_b[a(b)² cos(b·r)/2] = ∫d^dp/(2π)^d e^{ip·r} Σ(p)."""
    return (2 * sp.pi) ** d * sigma_w**2 * amplitude2 * density / 2


def normalisation() -> sp.Expr:
    """Return C_d = (2π)^d/(2 Vol B_R), read off the spectrum."""
    found = transform(1 / ball(), 1 / (p**2 + mass**2)) / sigma_w**2 * (p**2 + mass**2)
    return sp.simplify(found)


@cache
def spectrum() -> Formula:
    """Return Σ(p) = C_d σ_w² θ(R - p)/(p² + m²), C_d = (2π)^d/(2 Vol B_R): (81) with its support."""
    inside = normalisation() * sigma_w**2 / (p**2 + mass**2)
    printed = (2 * sp.pi) ** d / (2 * ball())
    expr = sp.Piecewise((inside, p <= R), (sp.Integer(0), True)).subs(mass, massive)
    return Formula(
        name="cosnet.spectrum",
        lhs=sp.Symbol(r"\Sigma(p)"),
        expr=expr,
        args=(p, d, R, massive, sigma_w),
        domain=BALL,
        validity="exact at any width",
        references=(
            Reference(PAPER, "Eqs. (77)-(81), (85)"),
            Reference("halverson2021building", "as cited at Eq. (81) of arXiv:2405.17538"),
        ),
        steps=(
            *phase_steps(),
            ball_step(),
            step(transform(1 / ball(), 1 / (p**2 + mass**2)), inside,
                 "density 1/Vol(B_R) for p <= R, amplitude^2 1/(p^2 + m^2): (81) times theta(R - p)"),
            step(normalisation(), printed, "C_d below Eq. (81)"),
        ),
    )  # fmt: skip


@cache
def spectrum_general() -> Formula:
    """Return Σ(p) = σ_w² f_R(p)/(2Ω_α(p² + m²)), the same for every α but for the constant."""
    density = regulator * (p**2 + mass**2) ** (-alpha - 1) / ((2 * sp.pi) ** d * volume)
    expr = sp.powsimp(transform(density, (p**2 + mass**2) ** alpha))
    fixed = expr.subs(sigma_w, sp.sqrt(2 * volume))
    unit = ball() / (2 * sp.pi) ** d
    paper = spectrum().expr.subs(massive, mass).args[0][0]
    return Formula(
        name="cosnet.spectrum_general",
        lhs=sp.Symbol(r"\Sigma(p)"),
        expr=expr.subs(mass, massive),
        args=(p, massive, sigma_w, volume, regulator),
        domain="density f_R(k)(k^2 + m^2)^{-alpha-1}/((2 pi)^d Omega), amplitude (k^2 + m^2)^{alpha/2}; sigma_w^2 = 2 Omega "
        "for the fixed read-out",
        validity="exact at any width",
        derived_from=("cosnet.spectrum",),
        steps=(
            *phase_steps(),
            step(transform(density, (p**2 + mass**2) ** alpha), expr, "alpha drops out but for Omega"),
            step(fixed, regulator / (p**2 + mass**2), "fixed read-out: amplitude^2 times 2 Omega, no sigma_w"),
            step(expr.subs({volume: unit, regulator: 1}), paper, "alpha = -1, ball: (2 pi)^d Omega = Vol(B_R)"),
        ),
    )


def _momentum_volume(gaussian: bool) -> Formula:
    """Return Ω_α = ∫ d^dk/(2π)^d f_R(k)(k² + m²)^{-α-1}."""
    weight = sp.exp(-(k**2) / (2 * R**2)) if gaussian else sp.Integer(1)
    shell = sphere() / (2 * sp.pi) ** d * k ** (d - 1) * weight
    integrand = shell * (k**2 + mass**2) ** (-alpha - 1)
    top = sp.oo if gaussian else R
    flat = sp.integrate(shell, (k, 0, top))
    expected = (R / sp.sqrt(2 * sp.pi)) ** d if gaussian else ball() / (2 * sp.pi) ** d
    # e^{-t²/2} is below 10^{-40} at t = 14.
    numerical = sp.Integral(integrand, (k, 0, 14 * R if gaussian else R))
    return Formula(
        name="cosnet.momentum_volume" + ("_gaussian" if gaussian else ""),
        lhs=sp.Symbol(r"\Omega_\alpha"),
        expr=sp.Integral(integrand, (k, 0, top)).subs(mass, massive),
        args=(d, R, massive, alpha),
        domain="regulator " + ("e^{-k^2/2R^2}" if gaussian else "theta(R - k)") + "; d > 2 alpha + 2 where m = 0",
        validity="exact",
        derived_from=("definition",),
        steps=(
            definition(sp.Symbol(r"\Omega_\alpha"), sp.Integral(integrand, (k, 0, top)), "normalises the density of b"),
            step(sp.simplify(flat), expected, "alpha = -1"),
        ),
        numerical=numerical.subs(mass, massive),
        closed_form=False,
        tolerance=1e-13,
        breaks=((massive,),),
    )


@cache
def renormalized_radius() -> Formula:
    """Return R' = R σ_w(Λ)^{-2/d}: what (90) should say, C_d(Λ) = (2π)^d/(2 Vol B_{R'})."""
    new = sp.Symbol("R_new", positive=True)
    target = normalisation().subs(R, new)
    expr = R * effective ** (-1 / d)
    printed = (2 * sp.pi) ** d / ball().subs(R, R * (2 / effective) ** (1 / d))
    return Formula(
        name="cosnet.renormalized",
        lhs=sp.Symbol(r"R'"),
        expr=expr,
        args=(effective, d, R),
        domain="sigma_w2 = sigma_w^2(Lambda) of cosnet.effective_variance; the support stays p < R",
        validity="exact",
        references=(Reference(PAPER, "Eq. (90), corrected"),),
        derived_from=("cosnet.spectrum",),
        steps=(
            step(
                sp.simplify(target.subs(new, expr)), normalisation() * effective, "C_d(R') = C_d(R) sigma_w^2(Lambda)"
            ),
            step(printed, normalisation() * effective, "(90) as printed lacks the 1/2 of C_d: R'^d = 2 R^d/sigma_w^2"),
        ),
    )


def _renormalized(name: str, lhs: str, numerator: sp.Expr, locator: str) -> Formula:
    constant = normalisation()
    expr = sp.simplify(numerator / (constant * effective))
    inverse = (p**2 + mass**2) / (constant * effective)
    ratio = sp.Symbol("p_pole_squared")
    return Formula(
        name=name,
        lhs=sp.Symbol(lhs),
        expr=expr.subs(mass, massive),
        args=tuple(a for a in (effective, d, R, massive) if a in expr.subs(mass, massive).free_symbols),
        domain="sigma_w2 = sigma_w^2(Lambda) of cosnet.effective_variance",
        validity="exact",
        references=(Reference(PAPER, locator),),
        derived_from=("cosnet.spectrum",),
        steps=(
            step(sp.expand(inverse).coeff(p, 2 if numerator == 1 else 0), expr,
                 "inverse covariance (p^2 + m^2)/(C_d sigma_w^2(Lambda))"),
            step(sp.solve(inverse.subs(p**2, ratio), ratio)[0], -(mass**2), "p^2 and m^2 scale together: the pole stays"),
        ),
    )  # fmt: skip


@cache
def renormalized_mass() -> Formula:
    """Return m_Λ² = m²/(C_d σ_w²(Λ)) of (89)."""
    return _renormalized("cosnet.renormalized_mass", r"m_\Lambda^{2}", mass**2, "Eq. (89)")


@cache
def renormalized_momentum() -> Formula:
    """Return p_Λ²/p² = 1/(C_d σ_w²(Λ)) of (89)."""
    return _renormalized("cosnet.renormalized_momentum", r"p_\Lambda^{2}/p^{2}", sp.Integer(1), "Eqs. (88), (89)")


_n, _one = sp.symbols("n o", positive=True, integer=True)
_SIZES: dict[str, Any] = {
    "M": sp.MatrixSymbol("M", _n, _n),
    "K": sp.MatrixSymbol("K", _n, _n),
    "K_stiff": sp.MatrixSymbol("K_stiff", _n, _n),
    "Y": sp.MatrixSymbol("Y", _n, _one),
}
_SIZES |= {"M^T": _SIZES["M"].T, "Y^T": _SIZES["Y"].T}


def _traces() -> tuple[sp.Expr, sp.Expr]:
    """Return (moved, E moved): Σ_stiff(ω_T² - ω²) and its average, with ω_T = ω + HᵀM(Y - Hω).

    P projects on stiff weights.  E[ωᵀAω] = tr A: a quadratic term loses ωᵀ and ω, and the trace lets HᵀA' turn to A'Hᵀ.
    """
    names = "omega omega^T P H H^T M M^T Y Y^T K K_stiff"
    w, w_t, project, h, h_t, m, m_t, y, y_t, gram, stiff = sp.symbols(names, commutative=False)
    change = h_t * m * (y - h * w)
    change_t = (y_t - w_t * h_t) * m_t * h
    moved = sp.expand(2 * w_t * project * change + change_t * project * change)
    averaged = sp.Integer(0)
    for term in sp.Add.make_args(moved):
        number, factors = term.args_cnc()
        if [w_t, w] == [factors[0], factors[-1]]:
            inner = factors[1:-1]
            while inner[0] in (h_t, project):
                inner = [*inner[1:], inner[0]]
            averaged += sp.Mul(*number) * sp.Mul(*inner)
        elif w not in factors and w_t not in factors:
            averaged += term
    kernels = averaged.subs(h * project * h_t, stiff).subs(h * h_t, gram)
    return moved, sp.expand(kernels)


@cache
def effective_variance() -> Formula:
    """Return σ_w²(Λ) = σ_w² + (σ_w²/N)[YᵀMᵀK_>MY + tr(MᵀK_>MK) - 2tr(MK_>)], (87) with Σ_i E w_i²."""
    moved, kernels = _traces()
    m, m_t, y, y_t, gram, stiff = sp.symbols("M M^T Y Y^T K K_stiff", commutative=False)
    expected = y_t * m_t * stiff * m * y + m_t * stiff * m * gram - 2 * m * stiff
    traces = sum((_trace(term) for term in sp.Add.make_args(kernels)), sp.Integer(0))
    return Formula(
        name="cosnet.effective_variance",
        lhs=sp.Symbol(r"\sigma_w^{2}(\Lambda)"),
        expr=sigma_w**2 + sigma_w**2 / N * traces,
        args=(sigma_w, N, _SIZES["K_stiff"], _SIZES["M"], _SIZES["K"], _SIZES["Y"]),
        domain="one output; K_> = K_>(X, X); resampled weights have E xi^2 = 1",
        validity="exact at any width, given the hidden layer",
        references=(Reference(PAPER, "Eq. (87)"),),
        derived_from=("training.gd", "shell.mean"),
        steps=(
            definition(sp.Symbol("D_T", commutative=False), moved,
                       "sum over stiff weights of omega_T^2 - omega^2, omega_T = omega + H^T M (Y - H omega)"),
            step(kernels, expected, "E[omega omega^T] = 1 and cyclic traces; H P H^T = K_>, H H^T = K"),
        ),
    )  # fmt: skip


def _trace(term: sp.Expr) -> sp.Expr:
    number, factors = term.args_cnc()
    return sp.Mul(*number) * sp.Trace(as_matrices(sp.Mul(*factors), _SIZES))


@cache
def direction_average() -> Formula:
    """Return f_d(z) = Γ(d/2)(2/z)^{d/2-1}J_{d/2-1}(z), a plane wave averaged over directions."""
    z = sp.Symbol("z", nonnegative=True)
    n = sp.Symbol("n", positive=True, integer=True)
    # E n_1^{2n} over the sphere is a ratio of Beta functions; J is its power series.
    moment = sp.gamma(n + sp.Rational(1, 2)) * sp.gamma(d / 2) / (sp.sqrt(sp.pi) * sp.gamma(n + d / 2))
    beta = sp.beta(n + sp.Rational(1, 2), (d - 1) / 2) / sp.beta(sp.Rational(1, 2), (d - 1) / 2)
    order = d / 2 - 1
    term = sp.gamma(d / 2) * 4**-n / (sp.factorial(n) * sp.gamma(n + order + 1))
    positive = sp.Symbol("z", positive=True)
    three = sp.integrate(sp.cos(positive * _u), (_u, -1, 1)) / 2
    above = {d: 1 + d}
    return Formula(
        name="cosnet.plane_wave",
        lhs=sp.Symbol(r"f_{d}\left(z\right)"),
        expr=RadialWave(d, z).doit(),
        args=(d, z),
        domain="f_1 = cos z, f_2 = J_0(z), f_3 = sin(z)/z",
        validity="exact",
        derived_from=("uniform law on the sphere",),
        steps=(
            step(beta.rewrite(sp.gamma), moment, "E n_1^{2n}: density (1 - n_1^2)^{(d-3)/2}", where=above),
            step(
                moment / sp.factorial(2 * n), term, "term n of E cos(z n_1) and of Gamma(d/2)(2/z)^{d/2-1} J_{d/2-1}(z)"
            ),
            step(three, sp.sin(positive) / positive, "d = 3: n_1 is uniform"),
            step(RadialWave(3, positive).doit(), sp.sin(positive) / positive, "d = 3"),
            step(sp.simplify(RadialWave(d, positive).doit().subs(d, 1).rewrite(sp.cos)), sp.cos(positive), "d = 1"),
        ),
        numerical=RadialWave(d, z),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    "cosnet.plane_wave": direction_average,
    "cosnet.spectrum": spectrum,
    "cosnet.spectrum_general": spectrum_general,
    "cosnet.momentum_volume": lambda: _momentum_volume(False),
    "cosnet.momentum_volume_gaussian": lambda: _momentum_volume(True),
    "cosnet.renormalized": renormalized_radius,
    "cosnet.renormalized_mass": renormalized_mass,
    "cosnet.renormalized_momentum": renormalized_momentum,
    "cosnet.effective_variance": effective_variance,
}
