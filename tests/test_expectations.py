"""Gaussian expectations, compiled: against numbers integrated to 48 digits by code that shares nothing with the engine."""

import dataclasses
import json
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy as sp

import fieldflow as ff
from fieldflow.compile import compile_formula
from fieldflow.errors import InaccurateResult
from fieldflow.symbolic.activations import CATALOGUE, activation, kinks
from fieldflow.symbolic.symbols import c

z = sp.Symbol("z", real=True)
REFERENCE = json.loads((Path(__file__).parent / "data" / "expectation_reference.json").read_text(encoding="utf-8"))
NAMES = {"z": z, **{name: getattr(sp, name) for name in ("Max", "Min", "Heaviside", "erf", "sqrt", "exp", "sin", "cos")},
         **{name: getattr(sp, name) for name in ("tanh", "log", "sign", "Abs")}}  # fmt: skip

SLOW_WITH_A_MEAN = {"z**4*Heaviside(z)", "z**3*Heaviside(z)", "z**3*exp(-z**2)", "erf(z)*exp(-z**2/2)"}
"""Closed forms of which the derivation with a numerical mean takes more than ten seconds each."""


def read(text):
    """Return the expression of a reference string, which is ours; user text goes through fieldflow.expression."""
    return sp.nsimplify(sp.sympify(text, locals=NAMES), rational=True)


def cases(part, *, centred):
    found = {}
    for entry in REFERENCE[part]:
        if (entry["mean"] == ["0", "0"]) == centred:
            found.setdefault((entry["sigma"], entry["tau"], tuple(entry["mean"])), []).append(entry)
    return found


def check(pair, entries, relative):
    sigma, tau, mean = pair
    formula = ff.gaussian_expectation(read(sigma), read(tau), mean=tuple(sp.Rational(m) for m in mean))
    compiled = formula.compile()
    for entry in entries:
        values = [float(sp.Rational(entry["cov"][name])) for name in ("q11", "c", "q22")]
        expected = entry["float"]
        assert abs(compiled(*values) - expected) <= relative * max(abs(expected), 1e-2), (formula.name, values)
        assert abs(1.001 * compiled(*values) - expected) > relative * max(abs(expected), 1e-2) or expected == 0.0
    return formula


@pytest.mark.slow
@pytest.mark.parametrize("pair", list(cases("entries", centred=True)), ids=str)
def test_centred_pairs(pair):
    formula = check(pair, cases("entries", centred=True)[pair], 1e-12)
    assert formula.closed_form in (True, "special", False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "pair",
    [p for p in cases("entries", centred=False) if not SLOW_WITH_A_MEAN & set(p[:2])],
    ids=str,
)
def test_pairs_with_a_mean(pair):
    check(pair, cases("entries", centred=False)[pair], 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("pair", list(cases("singular", centred=True)), ids=str)
def test_coinciding_and_opposite_points(pair):
    check(pair, cases("singular", centred=True)[pair], 1e-11)


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_the_catalogue_has_the_form_it_claims(name):
    by_quadrature = {"tanh", "sigmoid", "softplus", "swish"}
    assert ff.derive(f"expectation.{name}").closed_form is (name not in by_quadrature)
    assert ff.gaussian_expectation(CATALOGUE[name]).expr == ff.derive(f"expectation.{name}").expr


def test_kinks_that_are_not_found_are_an_error_estimate():
    compiled = ff.gaussian_expectation(sp.Abs(sp.sin(z))).compile()
    with pytest.warns(InaccurateResult, match="estimated error"):
        value = compiled(1.5, 0.4, 0.7)
    finer = ff.gaussian_expectation(
        sp.Max(sp.sin(z), -sp.sin(z)), lambda x: np.abs(np.sin(x)), tolerance=1e-4
    ).compile()
    assert abs(value - finer(1.5, 0.4, 0.7)) < 10 * compiled.error_estimate(1.5, 0.4, 0.7) < 1e-2


def test_a_python_function_is_integrated_like_the_expression():
    ours, own = ff.gaussian_expectation("tanh").compile(), ff.gaussian_expectation(np.tanh).compile()
    points = (np.array([0.3, 2.0]), 0.2, 1.5)
    np.testing.assert_allclose(own(*points), ours(*points), rtol=1e-13)
    assert (own.error_estimate(*points) < 1e-9).all()
    with pytest.raises(ff.errors.BadInput, match="same shape"):
        ff.gaussian_expectation(lambda x: np.ones(3)).compile()(1.0, 0.5, 1.0)


def test_sampling_agrees_and_a_wrong_variance_does_not():
    """10⁵ pairs, fixed seed: every closed catalogue form within five standard errors; 10 % more variance is far outside."""
    rng = np.random.default_rng(7)
    q11, c, q22 = 1.3, -0.6, 0.8
    n = 100_000
    u = np.sqrt(q11) * rng.standard_normal(n)
    v = c / q11 * u + np.sqrt(q22 - c**2 / q11) * rng.standard_normal(n)
    controls = []
    for name in sorted(set(CATALOGUE) - {"step"}):
        f = sp.lambdify(activation(name).expr.free_symbols.pop(), activation(name).expr, ["numpy", "scipy"])
        products = f(u) * f(v)
        value, error = products.mean(), products.std() / np.sqrt(n)
        compiled = ff.gaussian_expectation(name).compile()
        assert abs(compiled(q11, c, q22) - value) < 5 * error, name
        controls.append(abs(compiled(1.1 * q11, 1.5 * c, q22) - value) / error)
    assert np.median(controls) > 8


@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        (1 / z, "not a finite number"),
        (sp.log(z), "not a finite number"),
        (sp.exp(z**2), "infinite: expected 1 - 2"),
        (sp.besselj(0, z), "no compiled form of besselj"),
        ("tahn", "nearest: tanh"),
        (sp.Symbol("a") * z, "expected one symbol"),
        (3, "expected a name, a SymPy expression or a function"),
        (sp.Piecewise((z, z > 0)), "has none where no condition holds"),
        (z + sp.zoo, "expected a real, finite expression"),
        (z + sp.nan, "expected a real, finite expression"),
    ],
    ids=str,
)
def test_what_cannot_be_handled_is_named(sigma, message):
    with pytest.raises(ff.errors.BadInput, match=message):
        ff.gaussian_expectation(sigma).compile()(1.0, 0.5, 2.0)


@pytest.mark.parametrize("tolerance", [0, -1, 2, float("nan")])
def test_a_tolerance_is_between_zero_and_one(tolerance):
    with pytest.raises(ff.errors.BadInput, match="tolerance"):
        ff.gaussian_expectation("tanh", tolerance=tolerance)


def test_covariances_are_checked_before_numba_sees_them():
    f = ff.gaussian_expectation("gelu").compile()
    for values, name in (((-1.0, 0.0, 1.0), "q11"), ((1.0, 2.0, 1.0), "c:"), ((1.0, np.nan, 1.0), "c:")):
        with pytest.raises(ff.errors.BadInput, match=name):
            f(*values)
    assert f(1.0, 1.0 + 4e-16, 1.0) == f(1.0, 1.0, 1.0)


def one_variable(f, q, places):
    """E[f(z)²] at 25 digits."""
    with mpmath.workdps(25):
        root = mpmath.sqrt(q)
        edges = sorted({mpmath.mpf(k) for k in (-12, -4, 0, 4, 12)} | {mpmath.mpf(p) / root for p in places})
        return mpmath.quad(lambda t: f(root * t) ** 2 * mpmath.npdf(t), edges)


@pytest.mark.parametrize(
    ("sigma", "f", "places"),
    [
        (sp.Max(-1, sp.Min(1, z)), lambda t: max(-1, min(1, t)), (-1, 1)),
        (sp.Min(sp.Max(z, 0), 6), lambda t: min(max(t, 0), 6), (0, 6)),
        (sp.exp(-sp.Abs(z)), lambda t: mpmath.exp(-abs(t)), (0,)),
    ],
    ids=("hard_tanh", "relu6", "exp_abs"),
)
def test_nested_switches_have_a_closed_form(sigma, f, places):
    known = activation(sigma)
    assert kinks(known.expr) == places
    formula = ff.gaussian_expectation(sigma)
    assert formula.closed_form == "special"
    q = 1.7
    assert abs(ff.formulas.second_moment(known.expr)(q) - one_variable(f, q, places)) < 1e-14
    # Independent points factorise; E[f] by the same quadrature.
    mean = [mpmath.quad(lambda t, s=s: f(mpmath.sqrt(s) * t) * mpmath.npdf(t), sorted({-12, 0, 12} | {
        p / mpmath.sqrt(s) for p in places})) for s in (1.7, 0.6)]  # fmt: skip
    assert abs(formula.compile()(1.7, 0.0, 0.6) - mean[0] * mean[1]) < 1e-13


def test_kinks_of_nested_switches():
    for sigma, places in (
        (sp.Max(z, 2 * z, 3 * z - 1), (0, 1)),
        (sp.Abs(z**2 - 2), (-sp.sqrt(2), sp.sqrt(2))),
        (sp.tanh(sp.Max(-1, sp.Min(1, z))), (-1, 1)),
        (sp.Max(sp.tanh(z), 0), (0,)),
    ):
        assert kinks(activation(sigma).expr) == places


@pytest.mark.parametrize(
    ("sigma", "f"),
    [
        (1.2345678901234567 * z**3 - 0.9876543210987654 * z,
         lambda t: mpmath.mpf("1.2345678901234567") * t**3 - mpmath.mpf("0.9876543210987654") * t),
        (sp.sin(1.2345678901234567 * z), lambda t: mpmath.sin(mpmath.mpf("1.2345678901234567") * t)),
        (1.0507009873554805 * sp.Piecewise((z, z > 0), (1.6732632423543772 * (sp.exp(z) - 1), True)),
         lambda t: mpmath.mpf("1.0507009873554805") * (t if t > 0 else mpmath.mpf("1.6732632423543772") * mpmath.expm1(t))),
    ],
    ids=("polynomial", "sin", "selu"),
)  # fmt: skip
def test_coefficients_with_sixteen_digits(sigma, f):
    formula = ff.gaussian_expectation(sigma)
    expected = one_variable(f, 0.7, ())
    assert abs(ff.formulas.second_moment(activation(sigma).expr)(0.7) / expected - 1) < 4e-15
    assert abs(formula.compile()(0.7, 0.7, 0.7) / expected - 1) < 1e-13


@pytest.mark.parametrize(
    ("q11", "c", "q22", "expected"),
    [  # by nested quadrature in 20 digits, split at the kinks
        (20, 10, 20, 5.674320560032112),
        (100, -60, 90, -2.7350298960558916),
        (1e-6, 5e-7, 2e-6, 4.995190795651402e-07),
        (3, 1, 2, 0.6156272020125274),
    ],
)
def test_closed_forms_give_way_where_rounding_swamps_them(q11, c, q22, expected):
    """e^{q/2}Φ₂ multiplies the rounding of a probability by e^{q/2}: at q = 100 nothing of ELU's closed form is right."""
    elu = sp.Piecewise((z, z > 0), (sp.exp(z) - 1, True))
    formula = ff.gaussian_expectation(elu)
    assert formula.closed_form == "special"
    assert abs(float(formula.compile()(q11, c, q22)) / expected - 1) < 2e-13
    if q11 == 100:  # what it is for
        plain = compile_formula(dataclasses.replace(formula, integral=None))
        assert abs(float(plain(q11, c, q22)) / expected - 1) > 1


def test_the_derivative_of_a_closed_form_has_no_integral():
    formula = ff.gaussian_expectation(sp.erf(z / 2 + 1))
    assert formula.closed_form == "special"
    assert formula.integral is not None
    assert formula.diff(c).integral is None
