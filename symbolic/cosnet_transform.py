"""Which momentum integrals give all correlators of a cosine network? I_p(y), the transform of f_R(k)(k² + m²)^{-p}.

I_1 is the two-point function, I_{α+1}(0) = Ω_α normalises the density of b, and the n-point functions of one neuron are
sums of I_{1+α-nα/2}: theory and data of arXiv:2604.27050.
"""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic import cosnet, cosnet_propagator
from fieldflow.symbolic.cosnet import R, alpha, k, mass, massive, sphere
from fieldflow.symbolic.formula import Formula, Step, step
from fieldflow.symbolic.momentum import CutoffTransform, GaussianTransform, InfiniteTransform
from fieldflow.symbolic.radial import CutoffPropagator, InfinitePropagator, RadialWave
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.symbols import d

SOURCE = (Reference("nnftalpha2026", "four-point functions of cosine networks"),)

power = sp.Symbol("p", real=True)
y = sp.Symbol("y", positive=True)
separation = sp.Symbol("y", nonnegative=True)
_LHS = sp.Symbol("I_{p}(y)")
_t, _u, _q = sp.symbols("t u q", positive=True)
_tau = sp.Symbol("tau", positive=True)


def integrand(dimension: sp.Expr, exponent: sp.Expr) -> sp.Expr:
    """Return the integrand of ∫d^dk/(2π)^d e^{ik·y}(k² + m²)^{-p} after the average over directions."""
    shell = sphere().subs(d, dimension) / (2 * sp.pi) ** dimension * k ** (dimension - 1)
    return shell * RadialWave(dimension, k * y) * (k**2 + mass**2) ** (-exponent)


def _public(expr: sp.Expr) -> sp.Expr:
    """Return the expression with m >= 0 and y >= 0 as arguments."""
    return expr.subs({mass: massive, y: separation})


def _special_cases() -> tuple[Step, ...]:
    volume = cosnet.FORMULAS["cosnet.momentum_volume"]().expr.subs(massive, mass)
    two_point = cosnet_propagator.radial(d).subs(cosnet_propagator.r, y)
    return (
        step(integrand(d, sp.Integer(1)), two_point, "p = 1 is the two-point function"),
        step(integrand(d, alpha + 1).subs(y, 0), volume.function, "p = alpha + 1 at y = 0 is Omega_alpha"),
    )


@cache
def transform() -> Formula:
    """Return I_p(y) with |k| < R."""
    nu = sp.Symbol("nu", positive=True)
    pole = (k**2 + mass**2) ** (-power)
    plane = sp.Integer(2)
    return Formula(
        name="cosnet.transform",
        lhs=_LHS,
        expr=_public(sp.Integral(integrand(d, power), (k, 0, R))),
        args=(separation, d, power, R, massive),
        domain="regulator theta(R - |k|); 2p < d where m = 0",
        validity="exact",
        references=SOURCE,
        derived_from=("cosnet.plane_wave", "cosnet.spectrum_general"),
        steps=(
            *_special_cases(),
            step(sp.diff(k ** (nu + 1) * sp.besselj(nu + 1, k * y), k), y * k ** (nu + 1) * sp.besselj(nu, k * y),
                 "by parts beyond R: k^{nu+1} J_nu(ky) = d/dk [k^{nu+1} J_{nu+1}(ky)]/y"),
            step(sp.diff(pole, k) / k, -2 * power * pole / (k**2 + mass**2), "(1/k) d/dk of (k^2 + m^2)^{-p}"),
            step(CutoffTransform(plane, 1, R, mass, y), CutoffPropagator(plane, R, mass, y), "one value for both, d = 2"),
        ),
        numerical=_public(CutoffTransform(d, power, R, mass, y)),
        closed_form=False,
    )  # fmt: skip


def heat(u: sp.Expr) -> sp.Expr:
    """Return g(u) = e^{-(u - τ)m²}(4πu)^{-d/2}e^{-y²/4u}, ∫d^dk/(2π)^d e^{ik·y - uk²} with its factor of the mass."""
    return sp.exp(-(u - _tau) * mass**2 - y**2 / (4 * u)) / (4 * sp.pi * u) ** (d / 2)


@cache
def heat_steps() -> tuple[Step, ...]:
    """Return Schwinger's parameter, the Gaussian integral over k in any d, and the continuation in p by parts."""
    j = sp.Symbol("j", integer=True, nonnegative=True)
    exponent, size = sp.symbols("p A", positive=True)
    schwinger = sp.integrate(_t ** (exponent - 1) * sp.exp(-_t * size), (_t, 0, sp.oo)) / sp.gamma(exponent)
    # Term j of the series of the plane wave, see cosnet.plane_wave.
    wave = sp.gamma(d / 2) * (-(y**2) / 4) ** j * k ** (2 * j) / (sp.factorial(j) * sp.gamma(d / 2 + j))
    shell = sphere() / (2 * sp.pi) ** d
    moment = sp.gamma(d / 2 + j) / (2 * _u ** (d / 2 + j))
    count = sp.Symbol("a", positive=True)
    gauss = sp.integrate(k ** (count - 1) * sp.exp(-_u * k**2), (k, 0, sp.oo))
    summed = sp.summation((-(y**2) / (4 * _u)) ** j / sp.factorial(j), (j, 0, sp.oo))
    kernel = sp.Function("g")(_tau + _t)
    return (
        step(schwinger, size**-exponent, "(k^2 + m^2)^{-p} = int_0^oo t^{p-1} e^{-t(k^2 + m^2)} dt/Gamma(p), p > 0"),
        step(gauss, sp.gamma(count / 2) / (2 * _u ** (count / 2)), "moments of e^{-u k^2}, u = tau + t, tau = 1/2R^2"),
        step(shell * wave.subs(k, 1) * moment, (4 * sp.pi * _u) ** (-d / 2) * (-(y**2) / (4 * _u)) ** j / sp.factorial(j),
             "term j of the plane wave, averaged"),
        step(summed, sp.exp(-(y**2) / (4 * _u)), "the sum over j: g(u) = e^{-(u - tau)m^2} (4 pi u)^{-d/2} e^{-y^2/4u}"),
        step(sp.diff(_t**exponent / sp.gamma(exponent + 1) * kernel, _t),
             sp.expand_func(_t ** (exponent - 1) / sp.gamma(exponent)) * kernel
             + _t**exponent / sp.gamma(exponent + 1) * sp.diff(kernel, _t),
             "by parts: p, g -> p + 1, -dg/du, which continues I_p to any p"),
        step(sp.integrate(-sp.diff(sp.exp(-(_tau + _t)), _t), (_t, 0, sp.oo)), sp.exp(-_tau),
             "p = 0 after n steps: int (-dg/du) dt = g(tau), so that I_{-n} = (-d/du)^n g at tau"),
        step(-sp.diff(sp.log(heat(_u)), _u), mass**2 + d / (2 * _u) - y**2 / (4 * _u**2), "slope of ln g"),
    )  # fmt: skip


@cache
def transform_gaussian() -> Formula:
    """Return I_p(y) with f_R = e^{-k²/2R²}; for numbers, an integral over Schwinger's parameter that does not oscillate."""
    weight = sp.exp(-(k**2) / (2 * R**2))
    return Formula(
        name="cosnet.transform_gaussian",
        lhs=_LHS,
        expr=_public(sp.Integral(integrand(d, power) * weight, (k, 0, sp.oo))),
        args=(separation, d, power, R, massive),
        domain="regulator e^{-k^2/2R^2}; 2p < d where m = 0",
        validity="exact",
        references=SOURCE,
        derived_from=("cosnet.plane_wave", "cosnet.spectrum_general"),
        steps=heat_steps(),
        numerical=_public(GaussianTransform(d, power, R, mass, y)),
        closed_form=False,
    )


@cache
def transform_infinite() -> Formula:
    """Return I_p(y) without a regulator: 2^{1-p}(m/y)^{d/2-p}K_{d/2-p}(my)/((2π)^{d/2}Γ(p))."""
    found = InfiniteTransform(d, power, mass, y).doit()
    higher = found.subs(power, power + 1)
    above = sp.integrate(_t ** (_q - 1) * sp.exp(-_t * mass**2), (_t, 0, sp.oo))
    below = sp.integrate(_u ** (_q - 1) * sp.exp(-_u * y**2 / 4), (_u, 0, sp.oo))
    return Formula(
        name="cosnet.transform_infinite",
        lhs=_LHS,
        expr=_public(found),
        args=(separation, d, power, massive),
        domain="no regulator: the transform of a distribution for 2p < d, y > 0; y = 0 for 2p > d; m = 0 for 2p < d",
        validity="exact",
        references=SOURCE,
        derived_from=("cosnet.transform", "cosnet.propagator_infinite_d3"),
        steps=(
            step(found.subs(power, 1), InfinitePropagator(d, mass, y).doit(), "p = 1 is the propagator"),
            step(-sp.diff(found, mass) / (2 * mass), power * higher, "-d/dm^2 of (k^2 + m^2)^{-p} is p (k^2 + m^2)^{-p-1}"),
            step(mass**2 * higher - sp.diff(higher, y, 2) - (d - 1) / y * sp.diff(higher, y), found,
                 "(-Laplace + m^2) takes p + 1 to p"),
            step(above, sp.gamma(_q) * mass ** (-2 * _q), "y = 0, Schwinger's parameter: q = p - d/2"),
            step(below, sp.gamma(_q) * (y / 2) ** (-2 * _q), "m = 0, u = 1/t: q = d/2 - p"),
        ),
        numerical=_public(InfiniteTransform(d, power, mass, y)),
    )  # fmt: skip


FORMULAS: dict[str, Callable[[], Formula]] = {
    "cosnet.transform": transform,
    "cosnet.transform_gaussian": transform_gaussian,
    "cosnet.transform_infinite": transform_infinite,
}
