"""Mean-field formulas: derived with steps that hold, refuted when a lemma is changed, right for closed activations."""

from dataclasses import replace

import pytest
import sympy as sp

from fieldflow.symbolic import meanfield
from fieldflow.symbolic.activations import activation
from fieldflow.symbolic.errors import ProofFailed
from fieldflow.symbolic.nngp import E_PAIR
from fieldflow.symbolic.symbols import q, sigma_b, sigma_w, z

CONTINUOUS = ["identity", "relu", "leaky_relu", "abs", "erf", "probit", "gelu", "sin", "cos", "exp", "gaussian"]


def test_fixed_point_is_the_diagonal_recursion():
    formula = meanfield.fixed_point()
    assert formula.expr == sigma_b**2 + sigma_w**2 * E_PAIR
    assert {reference.key for reference in formula.references} == {"poole2016exponential", "schoenholz2017deep"}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_rate_is_half_the_expected_second_derivative(name):
    """D_q = ½ E[(σ²)''] by direct integration of a fourth-order difference of E[σ²] at 30 digits."""
    moment = meanfield.gaussian.second_moment(name).expr
    at, h = sp.Rational(13, 10), sp.Rational(1, 10**6)
    values = [sp.N(moment.subs(q, at + k * h), 40) for k in (-2, -1, 1, 2)]
    difference = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
    formula = meanfield.moment_rate(activation(name).expr)
    for expr in (formula.expr, formula.expr if formula.numerical is None else formula.numerical):
        assert abs(sp.N(expr.subs(q, at), 30) - difference) < 1e-20


def test_kinks_count_in_the_curvature():
    """For |z|, σσ'' = 2|z|δ(z) adds nothing; for |z| + 1 it adds 2δ(z), which a plain second derivative would miss."""
    kinked = meanfield.moment_rate(sp.Abs(z) + 1).expr.subs(q, 2)
    density = 1 / sp.sqrt(2 * sp.pi * 2)
    assert sp.simplify(kinked - (1 + 2 * density)) == 0


def test_edge_of_chaos_of_erf_in_closed_form():
    """χ₁ = 1 with E[erf'²] = 4/(π√(1 + 4q)) and E[erf²] = (2/π) asin(2q/(1 + 2q))."""
    values = {
        meanfield.SLOPE_PAIR: 4 / (sp.pi * sp.sqrt(1 + 4 * meanfield.FIXED)),
        E_PAIR: 2 / sp.pi * sp.asin(2 * meanfield.FIXED / (1 + 2 * meanfield.FIXED)),
    }
    sigma = meanfield.edge_sigma_w().expr.subs(values)
    assert sp.simplify(sigma**2 - sp.pi * sp.sqrt(1 + 4 * meanfield.FIXED) / 4) == 0
    bias = meanfield.edge_bias_variance().expr.subs(values)
    assert abs(sp.N((sigma_b**2 + sigma_w**2 * values[E_PAIR] - meanfield.FIXED).subs(
        {sigma_w: sigma, sigma_b: sp.sqrt(bias)}).subs(meanfield.FIXED, sp.Rational(7, 5)), 30)) < 1e-25  # fmt: skip


def test_without_the_curvature_the_slope_is_refuted(monkeypatch):
    """Negative control: E[σ'²] alone is not the slope of the length map."""
    right = meanfield._diagonal
    monkeypatch.setattr(meanfield, "_diagonal", lambda s, t: right(s, t) if s == t else sp.Integer(0))
    with pytest.raises(ProofFailed, match="erf"):
        meanfield._rate_steps.__wrapped__()


def test_with_a_wrong_scale_in_the_map_slopes_and_edge_are_refuted(monkeypatch):
    """Negative control: a map with σ_w instead of σ_w² contradicts its slopes."""
    right = meanfield.fixed_point()
    wrong = replace(right, expr=right.expr.subs(sigma_w, sp.sqrt(sigma_w)))
    monkeypatch.setattr(meanfield, "fixed_point", lambda: wrong)
    with pytest.raises(ProofFailed):
        meanfield.variance_slope.__wrapped__()
    monkeypatch.setattr(meanfield, "correlation_map", meanfield.correlation_map.__wrapped__)
    with pytest.raises(ProofFailed):
        meanfield.correlation_slope.__wrapped__()
