"""How far does a cosine network remember? The two-point function Cov[f(x), f(x + r)] in d dimensions, cut off at R or not.

The inverse Fourier transform of (81) with its support; theory for d = 1, 3 in closed form by exponential integrals.
"""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic.cosnet import (
    BALL,
    PAPER,
    R,
    alpha,
    k,
    mass,
    massive,
    normalisation,
    regulator,
    sphere,
    volume,
)
from fieldflow.symbolic.formula import Formula, Step, definition, step
from fieldflow.symbolic.radial import CutoffPropagator, InfinitePropagator, RadialWave
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.symbols import d, sigma_w

r = sp.Symbol("r", positive=True)
distance = sp.Symbol("r", nonnegative=True)
_SOURCE = (Reference(PAPER, "Eq. (81)"),)
_LHS = sp.Symbol(r"\mathrm{Cov}[f(x),f(x+r)]")


def radial(dimension: sp.Expr) -> sp.Expr:
    """Return the integrand of ∫d^dk/(2π)^d e^{ik·r}/(k² + m²) after the average over directions."""
    wave = RadialWave(dimension, k * r)
    return sphere().subs(d, dimension) / (2 * sp.pi) ** dimension * k ** (dimension - 1) * wave / (k**2 + mass**2)


def _strength(dimension: sp.Expr) -> sp.Expr:
    return sp.simplify(normalisation().subs(d, dimension)) * sigma_w**2


@cache
def propagator() -> Formula:
    """Return C_d σ_w² ∫_{|k|<R} d^dk/(2π)^d e^{ik·r}/(k² + m²) in any dimension, as a radial integral."""
    return Formula(
        name="cosnet.propagator",
        lhs=_LHS,
        expr=_public(_strength(d) * sp.Integral(radial(d), (k, 0, R))),
        args=(distance, d, R, massive, sigma_w),
        domain=BALL + "; m > 0 in d <= 2",
        validity="exact at any width",
        references=_SOURCE,
        derived_from=("cosnet.spectrum", "cosnet.plane_wave"),
        steps=(
            *(
                step(radial(sp.Integer(n)).doit(), expected, f"directions averaged, d = {n}")
                for n, expected in (
                    (1, sp.cos(k * r) / sp.pi / (k**2 + mass**2)),
                    (2, k * sp.besselj(0, k * r) / (2 * sp.pi) / (k**2 + mass**2)),
                    (3, k * sp.sin(k * r) / (2 * sp.pi**2 * r) / (k**2 + mass**2)),
                )
            ),
        ),
        numerical=_public(_strength(d) * CutoffPropagator(d, R, mass, r)),
        closed_form=False,
    )


def _public(expr: sp.Expr) -> sp.Expr:
    """Return the expression with m >= 0 and r >= 0 as arguments."""
    return expr.subs({mass: massive, r: distance})


def _tail(sign: int) -> sp.Expr:
    """Return T± = ∫_R^∞ e^{ikr}/(k ∓ im) dk = e^{∓mr} E_1(-iRr ∓ mr)."""
    return sp.exp(-sign * mass * r) * sp.expint(1, -sp.I * R * r - sign * mass * r)


def _tail_steps() -> tuple[Step, ...]:
    wave = sp.exp(sp.I * R * r)
    return (
        step(1 / (k**2 + mass**2),
             (1 / (k - sp.I * mass) - 1 / (k + sp.I * mass)) / (2 * sp.I * mass), "partial fractions"),
        step(sp.diff(_tail(1), R), -wave / (R - sp.I * mass), "T_+ = e^{-mr} E_1(-iRr - mr) = int_R^oo e^{ikr}/(k - im) dk"),
        step(sp.diff(_tail(-1), R), -wave / (R + sp.I * mass), "T_- = e^{mr} E_1(-iRr + mr) = int_R^oo e^{ikr}/(k + im) dk"),
    )  # fmt: skip


def _whole_line() -> sp.Expr:
    """Return ∫_{-∞}^∞ dk/2π e^{ikr}/(k² + m²), by SymPy."""
    found = sp.integrate(sp.cos(k * r) / (k**2 + mass**2), (k, 0, sp.oo)) / sp.pi
    return sp.simplify(found.rewrite(sp.exp))


def _line() -> sp.Expr:
    """Return the one-dimensional propagator with |k| < R: the whole line without its two ends."""
    return _whole_line() - sp.re((_tail(1) - _tail(-1)) / (2 * sp.I * mass)) / sp.pi


def _space() -> sp.Expr:
    """Return the three-dimensional one, -∂_r/(2πr) of the one in d = 1."""
    ends = (_tail(1) - _tail(-1)) / (2 * sp.I * mass)
    slope = sp.simplify(sp.expand(sp.diff(ends, r)))
    return -(sp.diff(_whole_line(), r) - sp.re(slope) / sp.pi) / (2 * sp.pi * r)


@cache
def propagator_line() -> Formula:
    """Return d = 1: e^{-mr}/2m - Re[(T_+ - T_-)/(2im)]/π, times C_1σ_w²."""
    one = sp.Integer(1)
    found = _line()
    return Formula(
        name="cosnet.propagator_d1",
        lhs=_LHS,
        expr=_strength(one) * found.subs(r, distance),
        args=(distance, R, mass, sigma_w),
        domain=BALL + "; d = 1",
        validity="exact at any width",
        references=_SOURCE,
        derived_from=("cosnet.propagator",),
        steps=(
            step(_whole_line(), sp.exp(-mass * r) / (2 * mass), "R -> infinity"),
            *_tail_steps(),
            step(
                sp.diff(found, R), radial(one).doit().subs(k, R), "the integral of Re T: d/dR is the integrand at k = R"
            ),
            step(found, CutoffPropagator(1, R, mass, r), "the radial integral, by quadrature"),
        ),
        numerical=(_strength(one) * CutoffPropagator(1, R, mass, r)).subs(r, distance),
    )


@cache
def propagator_plane() -> Formula:
    """Return d = 2: (1/2π)∫_0^R k J_0(kr)/(k² + m²) dk, times C_2σ_w²; no closed form for r > 0."""
    two = sp.Integer(2)
    integral = sp.Integral(radial(two).doit(), (k, 0, R))
    return Formula(
        name="cosnet.propagator_d2",
        lhs=_LHS,
        expr=_strength(two) * integral.subs(r, distance),
        args=(distance, R, mass, sigma_w),
        domain=BALL + "; d = 2",
        validity="exact at any width",
        references=_SOURCE,
        derived_from=("cosnet.propagator",),
        steps=(
            step(radial(two).doit(), k * sp.besselj(0, k * r) / (2 * sp.pi * (k**2 + mass**2)), "f_2 = J_0"),
            *_by_parts(),
        ),
        numerical=(_strength(two) * CutoffPropagator(2, R, mass, r)).subs(r, distance),
        closed_form=False,
    )


def _by_parts() -> tuple[Step, ...]:
    """Return the two identities behind the expansion of ∫_R^∞ in 1/(Rr), used for Rr >> 1."""
    order = sp.Symbol("nu", positive=True)
    n = sp.Symbol("n", positive=True, integer=True)
    pole = 1 / (k**2 + mass**2)
    return (
        step(sp.diff(k ** (order + 1) * sp.besselj(order + 1, k * r), k), r * k ** (order + 1) * sp.besselj(order, k * r),
             "by parts: k^{nu+1} J_nu(kr) = d/dk [k^{nu+1} J_{nu+1}(kr)]/r"),
        step(sp.diff(pole**n, k) / k, -2 * n * pole ** (n + 1), "(1/k) d/dk of (k^2 + m^2)^{-n}"),
    )  # fmt: skip


@cache
def propagator_space() -> Formula:
    """Return d = 3: e^{-mr}/4πr - Im[(T_+ + T_-)/2]/(2π²r), times C_3σ_w²."""
    three = sp.Integer(3)
    found = _space()
    printed = sp.exp(-mass * r) / (4 * sp.pi * r) - sp.im((_tail(1) + _tail(-1)) / 2) / (2 * sp.pi**2 * r)
    return Formula(
        name="cosnet.propagator_d3",
        lhs=_LHS,
        expr=_public(_strength(three) * found),
        args=(distance, R, massive, sigma_w),
        domain=BALL + "; d = 3",
        validity="exact at any width",
        references=_SOURCE,
        derived_from=("cosnet.propagator", "cosnet.propagator_d1"),
        steps=(
            step(-sp.diff(radial(sp.Integer(1)).doit(), r) / (2 * sp.pi * r), radial(three).doit(),
                 "two more dimensions: -d/dr of the integrand in d = 1, over 2 pi r"),
            *_tail_steps(),
            step(found, printed, "d/dr T_pm = -+ m T_pm - e^{iRr}/r: the boundary terms cancel"),
            step(found, CutoffPropagator(3, R, mass, r), "the radial integral, by quadrature"),
        ),
        numerical=_public(_strength(three) * CutoffPropagator(3, R, mass, r)),
    )  # fmt: skip


def _unbounded(dimension: int) -> Formula:
    """Return G_∞(r) = (2π)^{-d/2}(m/r)^{d/2-1}K_{d/2-1}(mr)."""
    general = InfinitePropagator(d, mass, r).doit()
    found = sp.simplify(sp.expand_func(general.subs(d, dimension)))
    slope = sp.diff(general, r)
    flux = sp.simplify(-(sphere() * r ** (d - 1)).subs(d, dimension) * sp.diff(found, r))
    light = mass if dimension < 3 else massive
    return Formula(
        name=f"cosnet.propagator_infinite_d{dimension}",
        lhs=sp.Symbol(r"G_\infty(r)"),
        expr=found.subs(mass, light),
        args=(r, light),
        domain=f"d = {dimension}, R = infinity: the inverse Fourier transform of 1/(p^2 + m^2)",
        validity="exact",
        references=_SOURCE,
        derived_from=("cosnet.propagator",),
        steps=(
            step(sp.diff(general, r, 2) + (d - 1) / r * slope, mass**2 * general,
                 "(-Laplace + m^2) G = 0 for r > 0, solved by (m/r)^{d/2-1} K_{d/2-1}(mr) in any d"),
            step(sp.limit(flux, r, 0), sp.Integer(1), "unit flux out of r = 0: (-Laplace + m^2) G = delta"),
        ),
        numerical=InfinitePropagator(dimension, light, r),
    )  # fmt: skip


@cache
def variance(dimension: int) -> Formula:
    """Return Var f(x), the propagator at r = 0."""
    n = sp.Integer(dimension)
    integrand = radial(n).subs(r, 0)
    found = sp.simplify(sp.integrate(integrand, (k, 0, R)))
    return Formula(
        name=f"cosnet.variance_d{dimension}",
        lhs=sp.Symbol(r"\mathrm{Var}[f(x)]"),
        expr=_strength(n) * found,
        args=(R, mass, sigma_w),
        domain=BALL + f"; d = {dimension}",
        validity="exact at any width",
        references=_SOURCE,
        derived_from=("cosnet.propagator",),
        steps=(
            step(sp.diff(found, R), integrand.subs(k, R), "d/dR is the integrand at k = R"),
            step(sp.limit(found, R, 0), sp.Integer(0), "nothing inside R = 0"),
        ),
        numerical=_strength(n) * CutoffPropagator(n, R, mass, 0),
    )


@cache
def shell_propagator() -> Formula:
    """Return ∫_{|k|<Q} d^dk/(2π)^d e^{ik·r} σ_w² f_R(k)/(2Ω(k² + m²)) for f_R = e^{-k²/2R²}, momenta below Q."""
    top = sp.Symbol("Q", positive=True)
    constant = sigma_w**2 / (2 * volume)
    integrand = constant * radial(d) * sp.exp(-(k**2) / (2 * R**2))
    bare = constant * radial(d) * regulator
    return Formula(
        name="cosnet.propagator_gaussian",
        lhs=_LHS,
        expr=_public(sp.Integral(integrand, (k, 0, top))),
        args=(distance, d, R, massive, sigma_w, volume, top),
        domain=f"regulator e^(-k^2/2R^2), any {alpha}; momenta below Q = R_Lambda, or 14 R for all",
        validity="exact at any width",
        derived_from=("cosnet.spectrum_general", "cosnet.plane_wave"),
        steps=(
            definition(
                sp.Symbol("Sigma", commutative=False), sp.Integral(bare, (k, 0, top)), "inverse Fourier transform"
            ),
            step(bare.subs(regulator, sp.exp(-(k**2) / (2 * R**2))), integrand, "f_R = e^{-k^2/2R^2}"),
        ),
        closed_form=False,
        tolerance=1e-13,
        breaks=((massive, R),),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    "cosnet.propagator": propagator,
    "cosnet.propagator_d1": propagator_line,
    "cosnet.propagator_d2": propagator_plane,
    "cosnet.propagator_d3": propagator_space,
    "cosnet.propagator_infinite_d1": lambda: _unbounded(1),
    "cosnet.propagator_infinite_d2": lambda: _unbounded(2),
    "cosnet.propagator_infinite_d3": lambda: _unbounded(3),
    "cosnet.propagator_gaussian": shell_propagator,
    "cosnet.variance_d1": lambda: variance(1),
    "cosnet.variance_d2": lambda: variance(2),
    "cosnet.variance_d3": lambda: variance(3),
}
