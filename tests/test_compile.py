"""Compiled formulas: right, validated at the boundary, warm in a second process, and never stale."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy as sp

import fieldflow as ff
from fieldflow import codegen
from fieldflow import compile as compile_module
from fieldflow.compile import compile_activation, compile_formula
from fieldflow.formulas import compiled, derive
from fieldflow.symbolic.formula import Formula
from fieldflow.symbolic.symbols import z

ROOT = Path(__file__).parent.parent
x, y = sp.symbols("x y", real=True)


def formula(expr, args=(x, y), **more):
    return Formula("test.f", sp.Symbol("f"), expr, args, "", "exact", derived_from=("test",), **more)


@pytest.mark.parametrize(
    "expr",
    [
        sp.Max(x, y, 0) - sp.Min(x, y),
        sp.Piecewise((x / y, y > 0), (x - y, True)),
        sp.Heaviside(x, sp.Rational(1, 2)) + sp.sign(y) * sp.Abs(x),
        sp.erf(x) + sp.erfc(y) + sp.atan2(x, y) + sp.Rational(1, 3) * sp.sqrt(1 + x**2),
        sp.exp(-(x**2)) * sp.cos(y) + sp.gamma(3 + x**2) + sp.pi,
    ],
    ids=str,
)
def test_scalar_code_equals_sympy(expr):
    points = np.array([[-1.3, 0.0, 0.7, 2.0], [0.4, -0.6, 0.0, 1.1]])
    found = compile_formula(formula(expr))(*points)
    for i in range(4):
        exact = expr.subs({x: sp.Rational(str(points[0, i])), y: sp.Rational(str(points[1, i]))})
        assert found[i] == pytest.approx(float(sp.N(exact, 30)), rel=1e-14, abs=1e-15)


def test_library_functions_are_scipys():
    a, u = sp.symbols("a u", positive=True)
    from scipy import special

    from fieldflow.symbolic.special import InverseRegularizedUpperGamma, RegularizedUpperGamma

    grid = np.linspace(0.1, 5, 7)
    upper = compile_formula(formula(RegularizedUpperGamma(a, u), (a, u)))(2.5, grid)
    assert (upper == special.gammaincc(2.5, grid)).all()
    inverse = compile_formula(formula(InverseRegularizedUpperGamma(a, u), (a, u)))(2.5, upper)
    np.testing.assert_allclose(inverse, grid, rtol=1e-12)
    with mpmath.workdps(30):
        exact = mpmath.gammainc(2.5, 3, mpmath.inf, regularized=True)
    assert float(sp.N(RegularizedUpperGamma(sp.Rational(5, 2), 3), 20)) == pytest.approx(float(exact), rel=1e-15)


def test_difference_of_products_is_compensated():
    from fieldflow.symbolic.special import DifferenceOfProducts

    a, b = 1.0 + 2**-27, 1.0 - 2**-27
    found = compile_formula(formula(DifferenceOfProducts(x, y, 1, 1)))(a, b)
    assert found == -(2.0**-54)  # plainly a*b rounds to 1 and the difference to 0
    assert a * b - 1.0 == 0.0


def test_a_negative_power_of_zero_is_infinite():
    """Numba's own raises ZeroDivisionError, and a loop that may raise never becomes vector code."""
    with np.errstate(divide="ignore"):
        assert compile_formula(formula(x**-2 + y))(np.array([0.0, 2.0]), 1.0).tolist() == [np.inf, 1.25]


def test_relu_kernel_keeps_its_digits_near_equal_points():
    f = ff.gaussian_expectation("relu").compile()
    slope = derive("expectation.relu_derivative").compile()
    for gap in (1e-3, 1e-6, 1e-9, 1e-12):
        c = 1.0 - gap
        with mpmath.workdps(40):
            exact_c = mpmath.mpf(c)
            angle = mpmath.acos(exact_c)
            exact = (mpmath.sin(angle) + (mpmath.pi - angle) * exact_c) / (2 * mpmath.pi)
            exact_slope = (mpmath.pi - angle) / (2 * mpmath.pi)
        assert abs(f(1.0, c, 1.0) - float(exact)) <= 2e-16
        assert abs(slope(1.0, c, 1.0) - float(exact_slope)) <= 2e-16


def test_boundary_checks_name_the_argument():
    f = ff.gaussian_expectation("relu").compile()
    assert f(1.0, 1.0 + 4e-16, 1.0) == f(1.0, 1.0, 1.0)
    assert f([1, 2], 0, 3).shape == (2,)
    for values, key in (
        ((1, 2, 1), "c"),
        ((-1, 0, 1), "q11"),
        ((1, 0, float("nan")), "q22"),
        ((1, 0, True), "q22"),
        ((1, 1j, 1), "c"),
        (("1", 0, 1), "q11"),
        ((np.array([1, None]), 0, 1), "q11"),
        ((1, 0), "expected 3"),
    ):
        with pytest.raises(ff.errors.BadInput, match=key):
            f(*values)
    with pytest.raises(ff.errors.BadInput, match="eta"):
        compiled("training.gd")(1.0, 0.0, 3.0)
    with pytest.raises(ff.errors.BadInput, match="M: expected shape"):
        compiled("shell.mean")(np.ones((3, 2)), np.ones((2, 2)), np.ones((3, 1)))


def test_unknown_functions_are_named_at_compile_time():
    with pytest.raises(ff.errors.NoClosedForm, match="besselj"):
        compile_formula(formula(sp.besselj(0, x), (x,)))


def test_filters_at_their_branches():
    """κ = 0, tiny κ, ηκ < 1 and ηκ > 1, against forty digits."""
    filter_ = compiled("training.gd")
    for kappa in (0.0, 1e-14, 1e-3, 0.9, 1.3):
        with mpmath.workdps(60):
            exact = (
                1000 * mpmath.mpf("0.5")
                if kappa == 0
                else (1 - (1 - mpmath.mpf(kappa) / 2) ** 1000) / mpmath.mpf(kappa)
            )
        assert filter_(kappa, 0.5, 1000.0) == pytest.approx(float(exact), rel=1e-13)
    assert np.isfinite(filter_(3.9, 0.5, 10.0))


def test_activations_act_in_place():
    relu = compile_activation(sp.Max(z, 0))
    values = np.array([-1.0, 0.0, 2.0])
    relu(values)
    assert values.tolist() == [0.0, 0.0, 2.0]


def run(code: str, cache: Path, root: Path = ROOT) -> str:
    environment = {**os.environ, "FIELDFLOW_CACHE_DIR": str(cache), "PYTHONPATH": str(root)}
    # Elsewhere than in the checkout: -c puts the working directory before PYTHONPATH.
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=Path(sys.prefix))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


STATS = """
from fieldflow.numeric import rng
rng.normals(3, seed=1, member=0, stream=0)
print(sum(rng.fill_normals.stats.cache_hits.values()), sum(rng.fill_normals.stats.cache_misses.values()))
"""


@pytest.mark.slow
def test_the_second_process_starts_warm(tmp_path):
    assert run(STATS, tmp_path) == "0 1"
    assert run(STATS, tmp_path) == "1 0"


GENERATED = """
import sympy as sp, fieldflow as ff
f = ff.gaussian_expectation(sp.Max(sp.Symbol("z"), 0)).compile()
print(repr(float(f(1.0, 0.5, 1.0))))
"""


@pytest.mark.slow
def test_an_edited_callee_is_never_stale(tmp_path):
    """The same call before and after an edit in another file of a copy, with one cache for both."""
    copy, cache = tmp_path / "copy", tmp_path / "cache"
    for folder in ("fieldflow", "symbolic", "numeric"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    code = "from fieldflow.numeric import mlp, rng; print(rng.normals(1, seed=1, member=0, stream=0)[0])"
    before, kernel = float(run(code, cache, copy)), float(run(GENERATED, cache, copy))
    philox = copy / "numeric" / "rng.py"
    philox.write_text(philox.read_text().replace("_ROUNDS = 10", "_ROUNDS = 9"))
    source = copy / "fieldflow" / "codegen.py"
    source.write_text(source.read_text().replace("return (first - second) + (error - other)", "return 0.0"))
    assert float(run(code, cache, copy)) != before
    # With a zero determinant the kernel is c/4 + c·(π/2)/2π = c/2.
    assert kernel != 0.25
    assert float(run(GENERATED, cache, copy)) == pytest.approx(0.25, rel=1e-15)


@pytest.mark.slow
def test_an_unwritable_cache_only_costs_time(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    assert float(run(GENERATED, blocked / "cache")) == pytest.approx(0.3044988905221147, rel=1e-14)


def test_generated_sources_hold_what_they_call():
    body = codegen.scalar_body(ff.gaussian_expectation("relu").numerical, ["q11", "c", "q22"])
    helpers, library = codegen.helpers_of(body)
    assert "def _difference_of_products" in helpers
    assert library == []
    assert compile_module._signature("gammaincc").startswith("double (double, double")
    with pytest.raises(ff.errors.BadInput, match="signature"):
        compile_module._arity("__pyx_fuse_1erfinv")


@pytest.mark.parametrize("name", ff.catalog())
def test_every_formula_of_the_catalogue_can_be_compiled(name):
    """Down to SciPy's C functions, each of which must exist for doubles; matrices become NumPy."""
    formula = ff.derive(name)
    expr = formula.expr if formula.numerical is None else formula.numerical
    if any(isinstance(argument, sp.MatrixSymbol) for argument in formula.args):
        assert callable(compile_formula(formula))
        return
    for part in expr.atoms(sp.Integral) or {expr}:
        body = codegen.scalar_body(part.function if isinstance(part, sp.Integral) else part, ["a"])
        for needed in codegen.helpers_of(body)[1]:
            assert compile_module._arity(needed) >= 1
