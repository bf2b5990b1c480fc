"""Every catalogued formula: derived with checked steps, right by quadrature, and wrong when a lemma is removed."""

import ast
import itertools
import time
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy as sp

from fieldflow.errors import BadInput, ProofFailed
from fieldflow.formulas import catalog, derive
from fieldflow.symbolic import gaussian, lemmas, pair, shells, stein
from fieldflow.symbolic.activations import activation
from fieldflow.symbolic.symbols import c, q, q11, q22, z

GOLDEN = Path(__file__).parent.parent / "golden"

ACTIVATIONS = [z, sp.Max(z, 0), sp.Heaviside(z), sp.Abs(z), sp.sign(z), sp.Max(z, 0) ** 2, sp.Max(z, z / 5), z**3 - z]


def quadrature(sigma, tau, a, b, d):
    """E[σ(u)τ(v)] by mpmath: inner integral over v given u, split at the kinks."""
    f, g = (sp.lambdify(z, sp.sympify(s).subs(sp.Heaviside(z), (1 + sp.sign(z)) / 2), "mpmath") for s in (sigma, tau))
    a, b, d = mpmath.mpf(a), mpmath.mpf(b), mpmath.mpf(d)
    spread = mpmath.sqrt(d - b**2 / a)

    def density(t, scale):
        return mpmath.exp(-(t**2) / (2 * scale**2)) / (scale * mpmath.sqrt(2 * mpmath.pi))

    def inner(u):
        centre = b * u / a
        edges = sorted({centre - 10 * spread, centre, mpmath.mpf(0), centre + 10 * spread})
        return mpmath.quad(lambda v: g(v) * density(v - centre, spread), edges)

    root = mpmath.sqrt(a)
    return mpmath.quad(lambda u: f(u) * density(u, root) * inner(u), [-10 * root, -2 * root, 0, 2 * root, 10 * root])


@pytest.mark.slow
@pytest.mark.parametrize(("sigma", "tau"), [(s, s) for s in ACTIVATIONS] + [(ACTIVATIONS[1], ACTIVATIONS[3])], ids=str)
def test_expectations_against_quadrature(sigma, tau):
    with mpmath.workdps(20):
        values = (mpmath.mpf(13) / 10, mpmath.mpf(-7) / 10, mpmath.mpf(9) / 10)
        expected = quadrature(sigma, tau, *values)
        formula = gaussian.gaussian_expectation(sigma, tau)
        found = formula.expr.subs({q11: sp.Rational(13, 10), c: sp.Rational(-7, 10), q22: sp.Rational(9, 10)})
        assert abs(mpmath.mpf(str(sp.N(found, 25))) - expected) < 1e-12
        half = abs(mpmath.mpf(str(sp.N(found / 2, 25))) - expected)
        assert half > 1e-3


def test_relu_is_the_arc_cosine_kernel():
    theta = sp.Symbol("theta", positive=True)
    formula = gaussian.gaussian_expectation("relu")
    cho_saul = sp.sqrt(q11 * q22) * (sp.sin(theta) + (sp.pi - theta) * sp.cos(theta)) / (2 * sp.pi)
    for angle in (sp.pi / 7, sp.pi / 2, 6 * sp.pi / 7):
        ours = formula.expr.subs(c, sp.sqrt(q11 * q22) * sp.cos(angle)).subs({q11: 2, q22: 3})
        assert abs(sp.N(ours - cho_saul.subs({theta: angle, q11: 2, q22: 3}), 30)) < 1e-28


@pytest.mark.parametrize("sigma", ACTIVATIONS, ids=str)
def test_second_moment_is_the_one_dimensional_integral(sigma):
    f = sp.lambdify(z, sp.sympify(sigma).subs(sp.Heaviside(z), (1 + sp.sign(z)) / 2), "mpmath")
    variance = mpmath.mpf("1.7")
    weight = lambda t: mpmath.exp(-(t**2) / (2 * variance)) / mpmath.sqrt(2 * mpmath.pi * variance)  # noqa: E731
    expected = mpmath.quad(lambda t: f(t) ** 2 * weight(t), [-15, -3, 0, 3, 15])
    found = gaussian.second_moment(sigma).expr.subs(q, sp.Rational(17, 10))
    assert abs(mpmath.mpf(str(sp.N(found, 20))) - expected) < 1e-12


@pytest.mark.parametrize("name", catalog())
def test_every_formula_is_derived_with_steps_that_hold(name):
    formula = derive(name)
    assert formula.steps
    assert {step.check.status for step in formula.steps} <= {"proved", "certified"}
    assert formula.references or formula.derived_from
    assert formula.latex()


def test_training_and_shell_algebra_is_proved_not_sampled():
    for name in ("training.sgd", "training.two_kernels", "shell.mean", "shell.loading", "shell.covariance"):
        assert {step.check.status for step in derive(name).steps} == {"proved"}


@pytest.fixture
def fresh():
    """Derivations are cached per process; start and leave without what a broken lemma produced."""
    caches = (gaussian.expectation, gaussian._derive, gaussian.second_moment, lemmas.price, lemmas.stein,
              lemmas.tilt, stein.pieces)  # fmt: skip
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def test_without_price_nothing_with_two_gates_is_derived(fresh, monkeypatch):
    right = pair.orthant
    monkeypatch.setattr(pair, "orthant", lambda *a: tuple(2 * form for form in right(*a)))
    for sigma in (sp.Max(z, 0), sp.Abs(z), sp.sign(z), sp.erf(z), activation("gelu").expr, z**2 * sp.erf(z)):
        with pytest.raises(ProofFailed):
            gaussian.gaussian_expectation(sigma)
    assert gaussian.gaussian_expectation(z**2).expr == 2 * c**2 + q11 * q22


def test_without_steins_cross_term_nothing_with_powers_is_derived(fresh, monkeypatch):
    right = stein._unconditioned

    def broken(centred):
        law = right(centred)
        return stein._Gaussian(law.mean, {**law.cov, frozenset((stein.U, stein.V)): sp.Integer(0)})

    monkeypatch.setattr(stein, "_unconditioned", broken)
    for sigma in (sp.Max(z, 0), z, z**2 + z, activation("gelu").expr, z * sp.exp(-(z**2) / 2), z**3 * sp.sin(z)):
        with pytest.raises(ProofFailed):
            gaussian.gaussian_expectation(sigma)


def test_with_a_wrong_tilt_nothing_exponential_is_derived(fresh, monkeypatch):
    right = pair.tilt

    def broken(left, other, mean):
        law = right(left, other, mean)
        return pair.Tilted(law.delta, law.cov, law.mean, 2 * law.log_weight, law.alphas)

    monkeypatch.setattr(pair, "tilt", broken)
    for sigma in (sp.sin(z), sp.exp(z), sp.exp(z) * sp.Heaviside(-z)):
        with pytest.raises(ProofFailed):
            gaussian.gaussian_expectation(sigma)


def test_a_wrong_transpose_in_the_covariance_is_caught(monkeypatch):
    monkeypatch.setattr(
        shells,
        "_transposed_loading_nc",
        lambda: shells._nc["h_y^T"] - shells._nc["H^T"] * shells._nc["M"] * shells._nc["k_y"],
    )
    with pytest.raises(ProofFailed):
        shells._covariance(True)


def test_inverse_functions_only_in_their_base_case():
    """asin, acos, atan, atan2 and expressions with them appear in ``pair.orthant`` and nowhere else in the engine."""
    found = {}
    folder = Path(gaussian.__file__).parent
    for name in ("gaussian", "lemmas", "pair", "stein", "readable", "normal_form", "activations", "nngp"):
        tree = ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
            for call in [node for node in ast.walk(function) if isinstance(node, ast.Call)]:
                called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                if called in {"asin", "acos", "atan", "atan2", "acot"}:
                    found.setdefault(f"{name}.{function.name}", []).append(called)
    assert found == {"pair.orthant": ["asin", "atan2"]}


@pytest.mark.parametrize("expr", [sp.tanh(z), 1 / (1 + z**2), sp.erf(z) ** 2, sp.sin(z) * sp.Heaviside(z)], ids=str)
def test_what_has_no_closed_form_is_an_integral_with_the_reason(expr):
    formula = gaussian.gaussian_expectation(expr)
    assert formula.closed_form is False
    assert isinstance(formula.expr, sp.Integral)
    assert "no closed form: " in formula.steps[0].rule


def test_a_mean_is_a_number_or_a_symbol():
    m1, m2 = sp.symbols("m1 m2", real=True)
    formula = gaussian.gaussian_expectation("relu", mean=(m1, m2))
    assert formula.args == (q11, c, q22, m1, m2)
    assert formula.closed_form == "special"
    numbers = gaussian.gaussian_expectation("relu", mean=(0.3, sp.Rational(-7, 10)))
    values = {q11: 2, c: sp.Rational(1, 3), q22: 1}
    difference = formula.expr.subs(values).subs({m1: sp.Rational(3, 10), m2: sp.Rational(-7, 10)}) - numbers.expr.subs(
        values
    )
    assert abs(sp.N(difference, 20)) < 1e-18
    for bad in ((1,), (1, "x"), (sp.I, 0), (float("nan"), 0), (sp.Symbol("w"), 0), None):
        with pytest.raises(BadInput, match="mean"):
            gaussian.gaussian_expectation("relu", mean=bad)


@pytest.mark.parametrize("seed", range(3))
def test_a_random_activation_against_quadrature(seed):
    rng = np.random.default_rng(seed)
    a, b = (sp.Rational(int(k), 16) for k in rng.integers(-32, 33, 2))
    sigma = a * sp.Max(z, 0) + b * sp.erf(z / 2) + z**3 * sp.exp(-(z**2))
    f = gaussian.gaussian_expectation(sigma)
    values = [sp.Rational(int(k), 16) for k in rng.integers(8, 40, 2)]
    values.insert(1, sp.Rational(-1, 3) * sp.Rational(int(rng.integers(8, 16)), 16))
    with mpmath.workdps(20):
        expected = quadrature(sigma, sigma, *(mpmath.mpf(v.p) / v.q for v in values))
    found = sp.N(f.expr.subs(dict(zip((q11, c, q22), values, strict=True))), 25)
    assert abs(mpmath.mpf(str(found)) - expected) < 1e-12


def test_degrees_of_homogeneity():
    assert [activation(e).degree for e in (z, sp.Max(z, 0), sp.Max(z, 0) ** 3, sp.Abs(z), sp.Heaviside(z))] == [
        1,
        1,
        3,
        1,
        0,
    ]
    assert activation(sp.Max(z, 0) + z**2).degree is None
    assert activation(0.1 * z + sp.Max(z, 0)).expr == z / 10 + sp.Max(0, z)


@pytest.mark.parametrize(
    "name", ["shell.covariance", "training.sgd", "expectation.relu", "shell.critical", "shell.relu_Z"]
)
def test_golden_latex(name):
    golden = GOLDEN / f"{name}.tex"
    assert derive(name).latex(style="align") + "\n" == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize(("mean", "spread"), list(itertools.product((-0.7, 0.4), (0.5, 1.3))))
def test_fisher_of_relu_against_quadrature(mean, spread):
    def weighted(t):
        return t**2 * mpmath.exp(-((t - mean) ** 2) / (2 * spread**2)) / (spread * mpmath.sqrt(2 * mpmath.pi))

    expected = mpmath.quad(weighted, [0, max(mean, 0.1), 3, 15]) / 0.8
    found = derive("fisher.relu").expr.subs(dict(zip(derive("fisher.relu").args, (mean, spread, 0.8), strict=True)))
    assert abs(float(found) - float(expected)) < 1e-12


def test_gamma_is_the_slope_of_ln_z():
    factor, slope = derive("shell.homogeneous_Z"), derive("shell.gamma")
    values = dict(zip(factor.args, (sp.Rational(3, 10), 3, 2, sp.Rational(3, 2), 1, sp.Rational(6, 5), 1), strict=True))
    cutoff = factor.args[0]
    rest = {key: value for key, value in values.items() if key != cutoff}
    step = sp.Rational(1, 10**8)
    logs = [sp.log(factor.expr.subs(rest).subs(cutoff, values[cutoff] * sp.exp(s * step)).evalf(40)) for s in (1, -1)]
    numerical = -(logs[0] - logs[1]) / (2 * step)
    assert abs(sp.N(numerical - slope.expr.subs(values), 20)) < 1e-13


@pytest.mark.parametrize(
    "sigma",
    [z * sp.Max(z, 0) * sp.exp(-(z**2) / 3), z**3 * sp.erf(z), z**2 * sp.Heaviside(z) * sp.exp(-(z**2))],
    ids=str,
)
def test_products_of_powers_weights_and_gates_are_derived_in_seconds(sigma, fresh):
    """Two seconds on an idle machine; expanded sums of fractions took more than forty."""
    start = time.process_time()
    formula = gaussian.gaussian_expectation(sigma)
    assert time.process_time() - start < 8
    if sigma.has(sp.erf):  # its quadrature takes longer than its derivation
        return
    values = {q11: sp.Rational(13, 10), c: sp.Rational(-7, 10), q22: sp.Rational(9, 10)}
    with mpmath.workdps(20):
        expected = quadrature(sigma, sigma, 1.3, -0.7, 0.9)
        assert abs(mpmath.mpf(str(sp.N(formula.expr.subs(values), 25))) - expected) < 1e-12
