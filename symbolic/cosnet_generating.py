"""Can all correlators of a cosine network be had at once? The generating functional W[J] = ln E e^{J·f}, exactly.

W = N ln E_k[F]: F is the average of e^{J·f} over phase and read-out weight of one neuron of momentum k, a function of
|J̃(k)|, J̃(k) = Σ_j J_j e^{ik·x_j}.
"""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic.cosnet import N, alpha, massive, volume
from fieldflow.symbolic.cosnet_transform import SOURCE
from fieldflow.symbolic.formula import Formula, Step, step
from fieldflow.symbolic.radial import ScaledRadialWave
from fieldflow.symbolic.symbols import sigma_w

momentum = sp.Symbol("k", nonnegative=True)
source = sp.Symbol("J_k", nonnegative=True)
average = sp.Symbol("E_F", real=True)
_z, _c, _a = sp.Symbol("z", positive=True), sp.Symbol("c", real=True), sp.Symbol("a", positive=True)
_SMALL = sp.Rational(1, 2)
_TERMS = 14
"""Powers of the excess kept below ``_SMALL``: the next is below 10^{-17} of the first."""


def _bessel_steps() -> tuple[Step, ...]:
    """Return ∫dc/2π e^{z cos c} = I_0(z), term by term."""
    j = sp.Symbol("j", integer=True, positive=True)
    half = sp.Rational(1, 2)
    # Even moments of a cosine, a Beta function; odd ones vanish.
    moment = sp.gamma(j + half) / (sp.sqrt(sp.pi) * sp.gamma(j + 1))
    beta = sp.beta(j + half, half) / sp.pi
    series = sp.summation((_z / 2) ** (2 * j) / sp.factorial(j) ** 2, (j, 0, sp.oo))
    return (
        step(beta.rewrite(sp.gamma), moment, "E_c cos^{2j} c, by the Beta function"),
        step(moment * _z ** (2 * j) / sp.factorial(2 * j), (_z / 2) ** (2 * j) / sp.factorial(j) ** 2,
             "term j of E_c e^{z cos c} and of I_0(z)"),
        step(series.subs(j, 0) if series.has(j) else series, sp.besseli(0, _z), "their sum"),
    )  # fmt: skip


def _argument(fixed: bool) -> sp.Expr:
    """Return the a of e^a I_0(a), or the z of I_0(z)."""
    if fixed:
        return sp.sqrt(2 * volume) * (momentum**2 + massive**2) ** (alpha / 2) * source / sp.sqrt(N)
    return sigma_w**2 * (momentum**2 + massive**2) ** alpha * source**2 / (4 * N)


def _excess(fixed: bool, x: sp.Expr) -> sp.Expr:
    """Return F - 1 for floating point: a power series where F is close to 1, and scaled Bessel functions that keep digits."""
    whole = sp.besseli(0, _z) - 1 if fixed else sp.exp(_z) * sp.besseli(0, _z) - 1
    few = sp.series(whole, _z, 0, _TERMS).removeO()
    scaled = sp.exp(_z if fixed else 2 * _z) * ScaledRadialWave(2, _z) - 1
    return sp.Piecewise((sp.horner(few).subs(_z, x), x < _SMALL), (scaled.subs(_z, x), True))


@cache
def neuron(fixed: bool) -> Formula:
    """Return F - 1 of one neuron of momentum k: e^a I_0(a) - 1, or I_0(z) - 1 for the fixed amplitude."""
    x = _argument(fixed)
    expr = sp.besseli(0, x) - 1 if fixed else sp.exp(x) * sp.besseli(0, x) - 1
    w = sp.Symbol("w", real=True)
    drawn = sp.integrate(sp.exp(w * _z - w**2 / 2) / sp.sqrt(2 * sp.pi), (w, -sp.oo, sp.oo))
    readout = (
        step(sp.simplify(drawn), sp.exp(_z**2 / 2), "E_w e^{w z} = e^{z^2/2}: z = sqrt(4a) cos(c + arg J)"),
        step(sp.expand(sp.exp(2 * _a * sp.cos(_c) ** 2)), sp.exp(_a + _a * sp.cos(2 * _c)),
             "e^{2a cos^2 c} = e^a e^{a cos 2c}, and 2c is as uniform as c"),
    )  # fmt: skip
    strength = sigma_w * (momentum**2 + massive**2) ** (alpha / 2) * source / sp.sqrt(N)
    sizes = step(_argument(False), strength**2 / 4, "4a is the square of sigma_w (k^2 + m^2)^{alpha/2} |J|/sqrt N")
    return Formula(
        name="cosnet.source_" + ("fixed" if fixed else "gaussian"),
        lhs=sp.Symbol(r"\mathrm{E}_{c,w}[e^{J\cdot f}] - 1"),
        expr=expr,
        args=(momentum, source, massive, alpha, N, volume if fixed else sigma_w),
        domain="one neuron of momentum k; J_k = |sum_j J_j e^{i k.x_j}|",
        validity="exact",
        references=SOURCE,
        derived_from=("cosnet.spectrum_general",),
        steps=(*_bessel_steps(), *(() if fixed else (*readout, sizes))),
        numerical=_excess(fixed, x),
    )


@cache
def generating(fixed: bool) -> Formula:
    """Return W[J] = N ln(1 + E_k[F - 1])."""
    x = _argument(fixed)
    factor = neuron(fixed).expr + 1
    lam = sp.Symbol("l", positive=True)
    second = sp.series(factor.subs(source, lam), lam, 0, 4).removeO().coeff(lam, 2)
    two = (2 * volume if fixed else sigma_w**2) * (momentum**2 + massive**2) ** alpha / (4 * N)
    free = sp.Symbol("z_1", real=True)
    power = sp.limit(N * sp.log(1 + free / N), N, sp.oo)
    return Formula(
        name="cosnet.generating_" + ("fixed" if fixed else "gaussian"),
        lhs=sp.Symbol("W[J]"),
        expr=N * sp.log(1 + average),
        args=(average, N),
        domain="E_F: average of cosnet.source_" + ("fixed" if fixed else "gaussian")
        + " over k of density f_R (k^2 + m^2)^{-alpha-1}/((2 pi)^d Omega)",
        validity="exact at any width",
        references=SOURCE,
        derived_from=(neuron(fixed).name, "cosnet.width_factor"),
        steps=(
            *neuron(fixed).steps,
            step(second, two, "order J^2 of one neuron: times N, the free field"),
            step(power, free, "N -> infinity with N E_F fixed: W is that average, the free field"),
            step(x.subs(source, 0), sp.Integer(0), "W[0] = 0"),
        ),
    )  # fmt: skip


FORMULAS: dict[str, Callable[[], Formula]] = {
    "cosnet.source_gaussian": lambda: neuron(False),
    "cosnet.source_fixed": lambda: neuron(True),
    "cosnet.generating_gaussian": lambda: generating(False),
    "cosnet.generating_fixed": lambda: generating(True),
}
