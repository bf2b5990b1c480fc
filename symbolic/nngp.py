"""How does a layer map covariances? The NNGP and tangent-kernel recursions of fully connected networks."""

from collections.abc import Callable
from functools import cache

import sympy as sp

from fieldflow.symbolic.formula import Formula, Step, step
from fieldflow.symbolic.reference import Reference
from fieldflow.symbolic.symbols import a_l, sigma_b, sigma_w

_WIDTH = 3  # neurons written out in the derivation; the sums below are symmetric, so the pattern is general

E_PAIR = sp.Symbol("E_sigma", real=True)
SLOPE_PAIR = sp.Symbol("E_slope", real=True)
PRODUCT = sp.Symbol("x_dot_y", real=True)
ABOVE, TANGENT = sp.Symbol("q_next", real=True), sp.Symbol("Theta", real=True)


def weight_average(expr: sp.Expr, weights: list[sp.Symbol], variance: sp.Expr, bias: sp.Symbol) -> sp.Expr:
    """Return the expectation of a quadratic form over independent centred weights and a bias of variance σ_b²."""
    polynomial = sp.Poly(sp.expand(expr), *weights, bias)
    total = sp.Integer(0)
    for powers, coefficient in polynomial.terms():
        if any(power % 2 for power in powers):
            continue
        value = coefficient
        for power, own in zip(powers, [variance] * len(weights) + [sigma_b**2], strict=True):
            value *= own ** (power // 2)
        total += value
    return total


@cache
def _layer_step() -> Step:
    """Return Cov[b + Σ w_i h_i, b + Σ w_i h_i'] = σ_b² + σ_w² a E[hh'] with E[ww] = σ_w² a/N."""
    weights = list(sp.symbols(f"w1:{_WIDTH + 1}"))
    here, there = sp.symbols(f"h1:{_WIDTH + 1}"), sp.symbols(f"g1:{_WIDTH + 1}")
    bias = sp.Symbol("b")
    product = (bias + sum(w * h for w, h in zip(weights, here, strict=True))) * (
        bias + sum(w * g for w, g in zip(weights, there, strict=True))
    )
    averaged = weight_average(product, weights, sigma_w**2 * a_l / _WIDTH, bias)
    mean_product = sum(h * g for h, g in zip(here, there, strict=True)) / sp.Integer(_WIDTH)
    return step(averaged, sigma_b**2 + sigma_w**2 * a_l * mean_product, "independent weights: E[w_i w_j] = 0, i != j")


@cache
def recursion() -> Formula:
    """Return q' = σ_b² + σ_w² a E[σσ]; a = 1 (fan_in) or the width (unscaled)."""
    return Formula(
        name="nngp.recursion",
        lhs=sp.Symbol(r"q^{(\ell+1)}"),
        expr=sigma_b**2 + sigma_w**2 * a_l * E_PAIR,
        args=(sigma_w, sigma_b, a_l, E_PAIR),
        domain="hidden layers of independent neurons; the mean over neurons of h h' becomes its expectation",
        validity="infinite width",
        references=(Reference("howard2024bayesian", "Eqs. (59)-(62)"), Reference("lee2018deep", "Sec. 2.3")),
        steps=(_layer_step(),),
    )


@cache
def input_layer() -> Formula:
    """Return q = σ_b² + σ_w² a_0 x·x'; a_0 = 1/d_in (fan_in) or 1 (unscaled)."""
    weight, bias = sp.Symbol("w"), sp.Symbol("b")
    x, y = sp.symbols("x y", real=True)
    averaged = weight_average((bias + weight * x) * (bias + weight * y), [weight], sigma_w**2 * a_l, bias)
    return Formula(
        name="nngp.input",
        lhs=sp.Symbol("q^{(1)}"),
        expr=sigma_b**2 + sigma_w**2 * a_l * PRODUCT,
        args=(sigma_w, sigma_b, a_l, PRODUCT),
        domain="first preactivation, exactly Gaussian",
        validity="exact at any width",
        references=(Reference("howard2024bayesian", "Eq. (61), with its missing 1/fan_in"),),
        steps=(step(averaged, sigma_b**2 + sigma_w**2 * a_l * x * y, "independent weights, one coordinate"),),
    )


@cache
def tangent_recursion() -> Formula:
    """Return Θ' = q' + σ_w² a E[σ'σ'] Θ (NTK parameterisation, all weights and biases)."""
    scale, omega = sp.Symbol("alpha", positive=True), sp.Symbol("omega", real=True)
    h, g = sp.symbols("h g", real=True)
    own = sp.diff(scale * omega * h, omega) * sp.diff(scale * omega * g, omega)
    return Formula(
        name="ntk.recursion",
        lhs=sp.Symbol(r"\Theta^{(\ell+1)}"),
        expr=ABOVE + sigma_w**2 * a_l * SLOPE_PAIR * TANGENT,
        args=(ABOVE, sigma_w, a_l, SLOPE_PAIR, TANGENT),
        domain="tangent kernel of the layer below independent of the weights above",
        validity="infinite width",
        references=(Reference("jacot2018neural", "Theorem 1"),),
        derived_from=("nngp.recursion",),
        steps=(
            step(own, scale**2 * h * g, "own weights: the gradients' product averages to the layer's covariance q'"),
        ),
    )


FORMULAS: dict[str, Callable[[], Formula]] = {
    "nngp.recursion": recursion,
    "nngp.input": input_layer,
    "ntk.recursion": tangent_recursion,
}
