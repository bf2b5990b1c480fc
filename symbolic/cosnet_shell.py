"""Which modes of a cosine network are stiff? The law of λ, the theorem information shell = momentum shell, shell kernels.

Broad inputs: λ depends on |b| alone, stiff ⇔ |b| <= R_Λ, so pruning is the sharp Wilsonian momentum shell.  Gaussian inputs
of finite width also see the phase c: K_> is not translation invariant.
"""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic.cosnet import BALL, PAPER, R, ball, k, mass, massive, normalisation, p, sphere
from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.gaussian import second_moment
from fieldflow.symbolic.radial import RadialWave, ScaledRadialWave, ShellEdge
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.symbols import cutoff, d, noise_variance, q, s_x, sigma_w

phase = sp.Symbol("c", real=True)
level = sp.Symbol("Lambda", positive=True)
shell = sp.Symbol("R_Lambda", positive=True)
minus, plus = sp.Symbol("rho_minus", nonnegative=True), sp.Symbol("rho_plus", nonnegative=True)
_u, _v, _theta = sp.symbols("u v theta", real=True)
_opening = sp.Symbol("theta_0", positive=True)
_q = sp.Symbol("q", real=True)

_SHELL = (Reference(PAPER, "Eqs. (50), (53), (95)"),)
_BROAD = BALL + "; Fisher inputs much broader than 1/|b|"
_GAUSSIAN = BALL + "; Fisher inputs N(0, s_x^2)"


def fisher_value(dispersion: sp.Expr) -> sp.Expr:
    """Return λ = E_x[cos²(b·x + c)] (b² + m²)^{-1}/s² with e^{-2s_x²b²} = ``dispersion``."""
    return (1 + dispersion * sp.cos(2 * phase)) / (2 * noise_variance * (k**2 + mass**2))


@cache
def fisher() -> Formula:
    """Return λ = ½(1 + e^{-2s_x²b²} cos 2c)/(s²(b² + m²)) of a unit under inputs N(0, s_x²1)."""
    # cos²(z + c) = cos²c cos²z + sin²c sin²z - 2 sin c cos c sin z cos z, whose last term is odd in z ~ N(0, s_x² b²).
    spread = s_x**2 * k**2
    even, odd = (second_moment(name).expr.subs(q, spread) for name in ("cos", "sin"))
    averaged = sp.cos(phase) ** 2 * even + sp.sin(phase) ** 2 * odd
    expr = fisher_value(sp.exp(-2 * spread))
    z = sp.Symbol("z", real=True)
    whole = sp.cos(phase) ** 2 * sp.cos(z) ** 2 + sp.sin(phase) ** 2 * sp.sin(z) ** 2
    mixed = 2 * sp.sin(phase) * sp.cos(phase) * sp.sin(z) * sp.cos(z)
    return Formula(
        name="cosnet.fisher",
        lhs=sp.Symbol(r"\lambda(b, c)"),
        expr=expr.subs(mass, massive),
        args=(k, phase, massive, s_x, noise_variance),
        domain="k = |b|; Fisher inputs N(0, s_x^2)",
        validity="exact at any width, given the hidden layer",
        references=_SHELL,
        derived_from=("fisher.readout", "expectation.cos", "expectation.sin"),
        steps=(
            step(sp.cos(z + phase) ** 2, whole - mixed, "z = b.x; the last term is odd"),
            step(averaged / (noise_variance * (k**2 + mass**2)), expr, "E cos^2 z = (1 + e^{-2 q})/2, q = s_x^2 b^2"),
            step(sp.limit(expr, s_x, sp.oo), fisher_value(sp.Integer(0)), "broad inputs: 1/(2 s^2 (b^2 + m^2))"),
        ),
    )


def _radius(value: sp.Expr) -> sp.Expr:
    """Return the momentum at which the broad λ equals ``value``."""
    (found,) = sp.solve(fisher_value(sp.Integer(0)).subs(k, sp.sqrt(p)) - value, p)
    return sp.sqrt(found)


def _inside() -> dict[sp.Symbol, sp.Expr]:
    """Keep Λ below the largest λ, 1/(2s²m²)."""
    return {level: 1 / (2 * noise_variance * (mass**2 + k**2))}


@cache
def shell_radius() -> Formula:
    """Return R_Λ = min(R, √max(0, 1/(2s²Λ) - m²)): the information shell is a momentum shell."""
    broad = fisher_value(sp.Integer(0))
    found = _radius(level)
    squared = sp.expand(found**2)
    expr = sp.Min(R, sp.sqrt(sp.Max(0, squared))).subs(level, cutoff).subs(mass, massive)
    kept = normalisation() * sigma_w**2 / (p**2 + mass**2)
    return Formula(
        name="cosnet.shell_radius",
        lhs=sp.Symbol(r"R_\Lambda"),
        expr=expr,
        args=(cutoff, R, massive, noise_variance),
        domain=_BROAD + "; R at cut-off 0, and 0 for an empty shell",
        validity="exact at any width",
        references=_SHELL,
        derived_from=("cosnet.fisher", "cosnet.spectrum"),
        steps=(
            step(broad.subs(k, found), level, "lambda = Lambda at |b| = R_Lambda"),
            step(squared, 1 / (2 * noise_variance * level) - mass**2, "R_Lambda^2"),
            step(sp.diff(broad, k), -2 * k * broad / (k**2 + mass**2), "lambda falls with |b|: stiff <=> |b| <= R_Lambda"),
            definition(sp.Symbol("K_stiff"), sp.Piecewise((kept, p <= sp.Min(R, shell)), (0, True)),
                       "the average over b stops at R_Lambda: K_>(p) = C_d sigma_w^2 theta(R_Lambda - p)/(p^2 + m^2)"),
        ),
        numerical=sp.Piecewise((R, sp.Eq(cutoff, 0)), (expr, True)),
    )  # fmt: skip


@cache
def sloppy_fraction() -> Formula:
    """Return P(λ < Λ) = 1 - (R_Λ/R)^d for broad inputs: the distribution function of λ."""
    inside = sp.integrate(sphere() * k ** (d - 1), (k, 0, shell)) / ball()
    expr = 1 - sp.powsimp(sp.simplify(inside), force=True)
    fraction = expr.subs(shell, sp.Symbol("R_Lambda", nonnegative=True))
    return Formula(
        name="cosnet.sloppy_fraction",
        lhs=sp.Symbol(r"\mathrm{P}(\lambda < \Lambda)"),
        expr=fraction,
        args=(d, R, sp.Symbol("R_Lambda", nonnegative=True)),
        domain=_BROAD + "; R_Lambda of cosnet.shell_radius",
        validity="exact at any width",
        references=_SHELL,
        derived_from=("cosnet.shell_radius",),
        steps=(
            step(inside, (shell / R) ** d, "stiff fraction: the part of the ball inside R_Lambda"),
            step(expr.subs(shell, R), sp.Integer(0), "nothing is sloppy while R_Lambda = R"),
        ),
    )


@cache
def fisher_density() -> Formula:
    """Return the density of λ for broad inputs: d R_λ^{d-2}/(4 s² λ² R^d) between its ends."""
    found = _radius(level)
    stiff = (shell / R) ** d
    density = sp.simplify(-sp.diff(stiff.subs(shell, found), level))
    expected = d * shell ** (d - 2) / (4 * noise_variance * level**2 * R**d)
    ends = [fisher_value(sp.Integer(0)).subs(k, edge) for edge in (R, 0)]
    return Formula(
        name="cosnet.fisher_density",
        lhs=sp.Symbol(r"\rho(\lambda)"),
        expr=sp.Piecewise((density, sp.And(level >= ends[0], level < ends[1])), (0, True)),
        args=(level, d, R, mass, noise_variance),
        domain=_BROAD + "; Lambda stands for lambda",
        validity="exact at any width",
        references=_SHELL,
        derived_from=("cosnet.sloppy_fraction",),
        steps=(
            step(density, expected.subs(shell, found), "derivative of the distribution function", where=_inside()),
            step(stiff.subs(shell, found).subs(level, ends[0]), sp.Integer(1), "all are stiff at the smallest lambda"),
        ),
    )


def threshold(value: sp.Expr) -> sp.Expr:
    """Return q(k) = (2Λs²(k² + m²) - 1)e^{2s_x²k²}: stiff ⇔ cos 2c >= q."""
    (found,) = sp.solve(fisher_value(sp.Symbol("e", positive=True)) - value, sp.cos(2 * phase))
    return sp.simplify(found.subs(sp.Symbol("e", positive=True), sp.exp(-2 * s_x**2 * k**2)))


_GROWTH = sp.exp(2 * s_x**2 * k**2)
_BOUNDED = sp.exp(sp.Min(2 * s_x**2 * k**2, 700))


def _clipped() -> sp.Expr:
    """Return q between -1 and 1."""
    factor = 2 * cutoff * noise_variance * (k**2 + mass**2) - 1
    return sp.Max(-1, sp.Min(1, factor * _GROWTH))


def _bounded(expr: sp.Expr) -> sp.Expr:
    """Return the expression without overflow: beyond e^700 q is clipped anyhow."""
    return expr.subs(_GROWTH, _BOUNDED)


def _edges() -> tuple[tuple[sp.Expr, ...], ...]:
    """Return where q crosses 1, and -1 twice."""
    return (tuple(crossing(branch, sp.Integer(1 if branch == 1 else -1)) for branch in (1, 0, -1)),)


def crossing(branch: int, value: sp.Expr) -> sp.Expr:
    """Return the momentum at which q equals ``value``."""
    return ShellEdge(branch, value, 2 * cutoff * noise_variance, massive, s_x)


def _explicit_threshold() -> sp.Expr:
    return (2 * level * noise_variance * (k**2 + mass**2) - 1) * sp.exp(2 * s_x**2 * k**2)


def _phase_steps() -> tuple[Step, ...]:
    """Return the averages over the phase of stiff units: p_0 = arccos(q)/π, p_2 = √(1 - q²)/π."""
    pair = sp.cos(_u + phase) * sp.cos(_v + phase)
    share = sp.integrate(sp.Integer(1), (_theta, -_opening, _opening)) / (2 * sp.pi)
    wave = sp.integrate(sp.cos(_u + _v + _theta), (_theta, -_opening, _opening)) / (2 * sp.pi)
    crossing = threshold(level)
    dispersion = sp.exp(-2 * s_x**2 * k**2)
    boundary = fisher_value(dispersion).subs(sp.cos(2 * phase), crossing)
    return (
        step(boundary, level, "lambda = Lambda at cos 2c = q: stiff <=> cos 2c >= q"),
        step(crossing, _explicit_threshold(), "q(|b|)"),
        step(pair, (sp.cos(_u - _v) + sp.cos(_u + _v + 2 * phase)) / 2, "u = b.x, v = b.x'"),
        step(share, _opening / sp.pi, "theta = 2c is uniform; stiff for |theta| <= theta_0 = arccos q: p_0"),
        step(wave, sp.cos(_u + _v) * sp.sin(_opening) / sp.pi, "E cos(u + v + theta) 1{stiff} = p_2 cos(u + v)"),
        step(sp.sin(sp.acos(_q)), sp.sqrt(1 - _q**2), "sin theta_0: p_2 = sqrt(1 - q^2)/pi"),
    )


def _shares(threshold_value: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    return sp.acos(threshold_value) / sp.pi, sp.sqrt(1 - threshold_value**2) / sp.pi


def _ball_average(value: sp.Expr) -> sp.Expr:
    """Return E_b of a function of |b|: density d k^{d-1}/R^d."""
    density = sp.simplify(sphere() * k ** (d - 1) / ball())
    return sp.Integral((density * value).subs(mass, massive), (k, 0, R))


@cache
def shell_average() -> Formula:
    """Return E_c[cos(u + c)cos(v + c)1{cos 2c >= q}] = ½[p_0 cos(u - v) + p_2 cos(u + v)]."""
    first, second = _shares(_q)
    return Formula(
        name="cosnet.shell_average",
        lhs=sp.Symbol(r"\mathrm{E}_c[\cos(u+c)\cos(v+c)\,1_{\cos 2c\geq q}]"),
        expr=(first * sp.cos(_u - _v) + second * sp.cos(_u + _v)) / 2,
        args=(_u, _v, _q),
        domain="-1 <= q <= 1; p_0 = 1, p_2 = 0 below and 0, 0 above",
        validity="exact",
        derived_from=("cosnet.fisher",),
        steps=_phase_steps(),
    )


@cache
def shell_kernel() -> Formula:
    """Return K_>(x, x') = (σ_w²/2) E_b{[p_0 f_d(|b||x - x'|) + p_2 f_d(|b||x + x'|)]/(b² + m²)}."""
    first, second = _shares(_clipped())
    waves = first * RadialWave(d, k * minus) + second * RadialWave(d, k * plus)
    expr = _ball_average(sigma_w**2 / 2 * waves / (k**2 + mass**2))
    below = threshold(level).subs({level: 1 / (8 * noise_variance * mass**2), k: mass})
    above = threshold(level).subs({level: 1 / (2 * noise_variance * mass**2), k: mass})
    return Formula(
        name="cosnet.shell_kernel",
        lhs=sp.Symbol(r"K_{>}(x, x')"),
        expr=expr,
        args=(cutoff, minus, plus, d, R, massive, sigma_w, s_x, noise_variance),
        domain=_GAUSSIAN + "; cut-off > 0; rho_minus = |x - x'|, rho_plus = |x + x'|",
        validity="exact at any width",
        references=_SHELL,
        derived_from=("cosnet.shell_average", "cosnet.plane_wave"),
        steps=(
            *_phase_steps(),
            step(sp.limit(sp.exp(below), s_x, sp.oo), sp.Integer(0),
                 "broad inputs: q -> -oo for |b| < R_Lambda (here 2 s^2 Lambda (b^2 + m^2) = 1/2)"),
            step(sp.limit(sp.exp(-above), s_x, sp.oo), sp.Integer(0),
                 "q -> oo for |b| > R_Lambda: p_0 -> theta(R_Lambda - |b|), p_2 -> 0"),
        ),
        numerical=_bounded(expr),
        closed_form=False,
        tolerance=1e-13,
        breaks=_edges(),
    )  # fmt: skip


@cache
def sloppy_fraction_gaussian() -> Formula:
    """Return P(λ < Λ) = 1 - E_b p_0 under inputs N(0, s_x²1): the distribution function of λ."""
    sloppy, _ = _shares(-_clipped())
    return Formula(
        name="cosnet.sloppy_fraction_gaussian",
        lhs=sp.Symbol(r"\mathrm{P}(\lambda < \Lambda)"),
        expr=_ball_average(sloppy),
        args=(cutoff, d, R, massive, s_x, noise_variance),
        domain=_GAUSSIAN + "; cut-off > 0",
        validity="exact at any width",
        references=_SHELL,
        derived_from=("cosnet.shell_average",),
        steps=(
            *_phase_steps()[:2],
            step(1 - sp.acos(_q) / sp.pi, sp.acos(-_q) / sp.pi, "sloppy: 1 - p_0"),
        ),
        numerical=_bounded(_ball_average(sloppy)),
        closed_form=False,
        tolerance=1e-13,
        breaks=_edges(),
    )


@cache
def fisher_density_gaussian() -> Formula:
    """Return the density of λ under inputs N(0, s_x²1): an average over |b|, evaluated over q = cos 2c (k on each branch)."""
    rate, slope = sp.diff(threshold(level), level), sp.diff(threshold(level), k)
    ratio = sp.simplify(rate / slope)
    density = sp.simplify(sphere() * k ** (d - 1) / ball())
    angle = sp.Symbol("theta", real=True)
    terms = []
    for branch in (1, 0, -1):
        edge = crossing(branch, sp.cos(angle))
        value = (density * sp.Abs(ratio)).subs({mass: massive, level: cutoff}).subs(k, edge)
        terms.append(sp.Piecewise((value / sp.pi, sp.And(edge > 0, edge <= R)), (0, True)))
    at = _explicit_threshold()
    share = sp.factor(sp.diff(at, level)) / (sp.pi * sp.sqrt(1 - at**2))
    over_momenta = sp.Piecewise((density * share, sp.Abs(at) < 1), (0, True)).subs({mass: massive, level: cutoff})
    start, end = (_bounded(_clipped()).subs(mass, massive).subs(k, at) for at in (0, R))
    exponent = 2 * s_x**2 * (1 / (2 * cutoff * noise_variance) - massive**2) - 1
    turn = sp.Max(-1, -cutoff * noise_variance / s_x**2 * sp.exp(sp.Min(exponent, 700)))
    expected = (k**2 + mass**2) / (2 * k * (level + s_x**2 * (2 * level * (k**2 + mass**2) - 1 / noise_variance)))
    return Formula(
        name="cosnet.fisher_density_gaussian",
        lhs=sp.Symbol(r"\rho(\lambda)"),
        expr=sp.Integral(over_momenta, (k, 0, R)),
        args=(cutoff, d, R, massive, s_x, noise_variance),
        domain=_GAUSSIAN + "; Lambda > 0 stands for lambda",
        validity="exact at any width",
        references=_SHELL,
        derived_from=("cosnet.sloppy_fraction_gaussian",),
        steps=(
            step(-sp.diff(sp.acos(threshold(level)), level), rate / sp.sqrt(1 - threshold(level) ** 2),
                 "derivative of 1 - p_0 times pi, where |q| < 1"),
            step(ratio, expected, "k -> q: (dq/dLambda)/(dq/dk)"),
            step(-sp.diff(sp.cos(angle), angle) / sp.sin(angle), sp.Integer(1), "q = cos theta: dq/sqrt(1 - q^2) = -dtheta"),
        ),
        numerical=sp.Integral(sum(terms, sp.Integer(0)), (angle, 0, sp.pi)),
        closed_form=False,
        tolerance=1e-8,
        breaks=((sp.acos(start), sp.acos(end), sp.acos(turn)),),
    )  # fmt: skip


@cache
def windowed_spectrum() -> Formula:
    """Return E|∫dx W(x) e^{-ip·x} f(x)|²/∫W² for W = e^{-x²/2L²}, momenta between A and B: what a sample can measure."""
    low, high = sp.Symbol("A", nonnegative=True), sp.Symbol("B", positive=True)
    window = sp.Symbol("L", positive=True)
    narrow = (window**2 / sp.pi) ** (d / 2)
    overlap = 2 * window**2 * p * k
    spectrum = normalisation() * sigma_w**2 / (k**2 + mass**2)
    expr, stable = (
        sp.Integral((sphere() * k ** (d - 1) * narrow * angles * spectrum).subs(mass, massive), (k, low, high))
        for angles in (
            sp.exp(-(window**2) * (p**2 + k**2)) * RadialWave(d, sp.I * overlap),
            sp.exp(-(window**2) * (p - k) ** 2) * ScaledRadialWave(d, overlap),
        )
    )
    x = sp.Symbol("x", real=True)
    transform = sp.simplify(sp.integrate(sp.exp(-(x**2) / (2 * window**2)) * sp.cos(p * x), (x, -sp.oo, sp.oo)))
    square = sp.integrate(sp.exp(-(x**2) / window**2), (x, -sp.oo, sp.oo))
    ratio = sp.sqrt(window**2 / sp.pi) * sp.exp(-(window**2) * p**2)
    cosine = sp.Symbol("n_1", real=True)
    exponent = -(window**2) * (p**2 - 2 * p * k * cosine + k**2)
    scaled = -(window**2) * (p - k) ** 2 + 2 * window**2 * p * k * (cosine - 1)
    return Formula(
        name="cosnet.windowed_spectrum",
        lhs=sp.Symbol(r"\mathrm{E}|\tilde f_W(p)|^{2}/\int W^{2}"),
        expr=expr,
        args=(p, low, high, window, d, R, massive, sigma_w),
        domain=BALL + "; A < |b| < B; the spectrum averaged over a Gaussian of width 1/(sqrt 2 L)",
        validity="exact at any width",
        references=(Reference(PAPER, "Eq. (81)"),),
        derived_from=("cosnet.spectrum", "cosnet.plane_wave"),
        steps=(
            step(transform**2 / (2 * sp.pi * square), ratio, "per dimension: |W(p)|^2/(2 pi int W^2)"),
            step(exponent, scaled, "L^2 |p - k|^2, then the average over directions of k"),
        ),
        numerical=stable,
        closed_form=False,
        tolerance=1e-12,
        breaks=((p, p - 4 / window, p + 4 / window),),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    "cosnet.fisher": fisher,
    "cosnet.shell_radius": shell_radius,
    "cosnet.sloppy_fraction": sloppy_fraction,
    "cosnet.fisher_density": fisher_density,
    "cosnet.shell_average": shell_average,
    "cosnet.shell_kernel": shell_kernel,
    "cosnet.sloppy_fraction_gaussian": sloppy_fraction_gaussian,
    "cosnet.fisher_density_gaussian": fisher_density_gaussian,
    "cosnet.windowed_spectrum": windowed_spectrum,
}
