"""What does the shell keep of a homogeneous unit, direction by direction? The radius integrated by hand.

For σ(tz) = t^k σ(z) the preactivations of one unit are linear in its p Gaussian numbers ξ = |ξ|·ξ̂, so λ = g(ξ̂)|ξ|^{2k} with
any Fisher inputs: on every direction the shell is a radius, and |ξ|²/2 ~ Gamma(p/2).
"""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic.formula import Formula, Step, step
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.special import RegularizedUpperGamma
from fieldflow.symbolic.symbols import cutoff, degree, moment, noise_variance, s_x, sigma_v

p = sp.Symbol("p", positive=True)
unit_fisher = sp.Symbol("g", nonnegative=True)
_g, _u = sp.Symbol("g", positive=True), sp.Symbol("u", positive=True)
_positive = sp.Symbol("Lambda", positive=True)

_DOMAIN = (
    "sigma homogeneous of degree k > 0; g = lambda at |xi| = 1, p the number of normals of a unit; "
    "g = 0: stiff at Lambda = 0 only"
)
_SOURCE = (Reference("howard2024bayesian", "Eqs. (53), (94), (95)"),)


def _argument(value: sp.Expr = unit_fisher) -> sp.Expr:
    """Return |ξ|²/2 at which λ = g|ξ|^{2k} crosses Λ."""
    return (cutoff / value) ** (1 / degree) / 2


def moment_beyond(power: sp.Expr) -> sp.Expr:
    """Return E[|ξ|^{2·power} 1{|ξ|²/2 >= u}], |ξ|²/2 ~ Gamma(p/2), as 2^power Γ(p/2 + power)/Γ(p/2) Q(p/2 + power, u)."""
    order = p / 2 + power
    return 2**power * sp.gamma(order) / sp.gamma(p / 2) * RegularizedUpperGamma(order, _u)


def _radial(power: sp.Expr) -> tuple[Step, ...]:
    order = p / 2 + power
    plain = moment_beyond(power).replace(RegularizedUpperGamma, lambda a, x: sp.uppergamma(a, x) / sp.gamma(a))
    crossing = sp.powsimp(_g * (2 * _u) ** degree, force=True)
    slope = -((2 * _u) ** power) * _u ** (p / 2 - 1) * sp.exp(-_u) / sp.gamma(p / 2)
    return (
        step(_argument(_g).subs(cutoff, crossing), _u, "g |xi|^{2k} = Lambda at |xi|^2 = 2u"),
        step(sp.diff(plain, _u), slope, "minus |xi|^{2 power} times the density of |xi|^2/2"),
        step(
            plain.subs(_u, 0), 2**power * sp.gamma(order) / sp.gamma(p / 2), "u = 0: the whole moment of a Gamma variable"
        ),
    )  # fmt: skip


@cache
def stiff() -> Formula:
    """Return E[|ξ|^{2k} 1{λ >= Λ}] on one direction; the shell kernel is its average with σ(ξ̂·x)σ(ξ̂·x')."""
    value = moment_beyond(degree).subs(_u, _argument())
    # Γ itself overflows at p = 342 normals: a deep network has one per point.
    everything = 2**degree * sp.exp(sp.loggamma(p / 2 + degree) - sp.loggamma(p / 2))
    beyond = everything * RegularizedUpperGamma(p / 2 + degree, _argument())
    isotropic = moment * s_x ** (2 * degree) * sigma_v ** (2 * degree) / noise_variance
    return Formula(
        name="shell.angular",
        lhs=sp.Symbol(r"\mathrm{E}[|\xi|^{2k} 1\{\lambda \geq \Lambda\} \mid \hat\xi]"),
        expr=value,
        args=(cutoff, unit_fisher, p, degree),
        domain=_DOMAIN,
        validity="exact at any width",
        references=_SOURCE,
        derived_from=("fisher.readout",),
        steps=(
            *_radial(degree),
            step(
                sp.powsimp(sp.powdenest(_argument(isotropic).subs(cutoff, _positive), force=True), force=True),
                sp.powsimp(
                    (noise_variance * _positive / moment) ** (1 / degree) / (2 * s_x**2 * sigma_v**2), force=True
                ),
                "centred isotropic inputs: g is the same for all directions, the u of shell.homogeneous_Z",
            ),
        ),
        numerical=sp.Piecewise(
            (everything, sp.Eq(cutoff, 0)), (sp.Integer(0), sp.Eq(unit_fisher, 0)), (beyond, True)
        ),
    )  # fmt: skip


@cache
def sloppy() -> Formula:
    """Return P(λ < Λ) on one direction."""
    value = 1 - moment_beyond(sp.Integer(0)).subs(_u, _argument())
    return Formula(
        name="shell.angular_sloppy",
        lhs=sp.Symbol(r"\mathrm{P}(\lambda < \Lambda \mid \hat\xi)"),
        expr=value,
        args=(cutoff, unit_fisher, p, degree),
        domain=_DOMAIN,
        validity="exact at any width",
        references=_SOURCE,
        derived_from=("shell.angular",),
        steps=_radial(sp.Integer(0)),
        numerical=sp.Piecewise(
            (sp.Integer(0), sp.Eq(cutoff, 0)), (sp.Integer(1), sp.Eq(unit_fisher, 0)), (value, True)
        ),
    )  # fmt: skip


@cache
def step_factor() -> Formula:
    """Return Z = 1{Λ <= c_0/s²} of degree 0: all units have the same λ, and go together."""
    expr = sp.Piecewise((sp.Integer(1), noise_variance * cutoff <= moment), (sp.Integer(0), True))
    scale = sp.Symbol("t", positive=True)
    a, b = sp.symbols("a b", real=True)
    unit = a * sp.Heaviside(scale) + b * sp.Heaviside(-scale)
    return Formula(
        name="shell.step_Z",
        lhs=sp.Symbol(r"Z(\Lambda)"),
        expr=expr,
        args=(cutoff, moment, noise_variance),
        domain="one hidden layer, sigma homogeneous of degree 0, no hidden bias, centred Gaussian inputs; c_0 = E[sigma(z)^2]",
        validity="exact at any width",
        references=_SOURCE,
        derived_from=("fisher.readout",),
        steps=(
            step(unit, a, "degree 0: a on one side of zero, b on the other, at any scale"),
            step(
                sp.Symbol("s_x", positive=True) ** (2 * degree).subs(degree, 0) * moment / noise_variance,
                moment / noise_variance,
                "lambda = c_k s_x^{2k} |v|^{2k}/s^2 at k = 0 does not depend on the weights",
            ),
        ),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    "shell.angular": stiff,
    "shell.angular_sloppy": sloppy,
    "shell.step_Z": step_factor,
}
