"""Exported code: Python that runs by itself, C that compiles, Mathematica that is well-formed; all equal to compile()."""

import ctypes
import hashlib
import math
import re
import subprocess

import numpy as np
import pytest
import sympy as sp

from fieldflow.errors import BadInput, NoClosedForm
from fieldflow.formulas import derive
from fieldflow.symbolic.formula import Formula
from fieldflow.symbolic.special import BivariateNormal, DifferenceOfProducts, NormalCdf
from fieldflow.symbolic.symbols import z

x, y, n = sp.Symbol("x", real=True), sp.Symbol("y", real=True), sp.Symbol("n", positive=True)

SCALARS = {
    "expectation.identity": (1.3, -0.7, 0.9),
    "expectation.relu": (1.3, -0.7, 0.9),
    "fisher.readout": (1.7, 0.4),
    "fisher.relu": (0.3, 1.1, 0.7),
    "nngp.recursion": (1.3, 0.4, 1.0, 0.8),
    "ntk.recursion": (0.5, 1.3, 1.0, 0.8, 0.6),
    "shell.critical": (1.2, 1.9, 2.0, 0.1),
    "shell.loss": (0.7, 1.2, 1.9, 2.0),
    "training.gd": (0.8, 0.1, 30.0),
    "training.gradient_flow": (0.8, 0.1, 2.5),
}
LIBRARY = {
    "shell.relu_Z": (0.3, 2.0, 1.1, 0.9, 1.0),
    "shell.critical_cutoff": (0.6, 2.0, 1.0, 0.5, 1.1, 0.9, 1.0),
    "shell.gamma": (0.3, 2.0, 1.0, 0.5, 1.1, 0.9, 1.0),
}


def formula(expr, *args, numerical=None, name="test.f"):
    return Formula(name, sp.Symbol("f"), expr, args, "", "exact", derived_from=("a test",), numerical=numerical)


def python_function(text):
    """The one function that the text defines, with nothing given to it but the interpreter."""
    namespace: dict[str, object] = {}
    exec(compile(text, "exported.py", "exec"), namespace)
    return namespace[re.search(r"(?m)^def (\w+)\(", text).group(1)]


def c_function(text, folder, arity):
    stem = hashlib.sha256(text.encode()).hexdigest()[:12]  # a library of the same name would not be loaded again
    source, library = folder / f"{stem}.c", folder / f"{stem}.so"
    source.write_text(text, encoding="ascii")
    flags = ["-std=c99", "-pedantic", "-Wall", "-Werror", "-O1", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, str(source), "-o", str(library), "-lm"], check=True)
    found = getattr(ctypes.CDLL(str(library)), re.search(r"(?m)^double (\w+)\(", text).group(1))
    found.restype, found.argtypes = ctypes.c_double, [ctypes.c_double] * arity
    return found


def balanced(text):
    pairs, open_ = {")": "(", "]": "[", "}": "{"}, []
    for character in re.sub(r"\(\*.*?\*\)", "", text):
        if character in pairs.values():
            open_.append(character)
        elif character in pairs and (not open_ or open_.pop() != pairs[character]):
            return False
    return not open_


@pytest.mark.parametrize("name", SCALARS)
def test_python_and_c_agree_with_the_compiled_formula(name, tmp_path):
    found, values = derive(name), SCALARS[name]
    expected = float(found.compile()(*values))
    text = found.code("python")
    assert set(re.findall(r"(?m)^import (\S+)", text)) <= {"math"}
    assert python_function(text)(*values) == pytest.approx(expected, rel=1e-13)
    assert c_function(found.code("c"), tmp_path, len(values))(*values) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("name", LIBRARY)
def test_python_names_the_library_function_and_c_refuses_by_name(name):
    found, values = derive(name), LIBRARY[name]
    assert "scipy.special.gammaincc" in found.code("python")
    assert python_function(found.code("python"))(*values) == pytest.approx(float(found.compile()(*values)), rel=1e-12)
    with pytest.raises(NoClosedForm, match=r"c has no counterpart of (Inverse)?RegularizedUpperGamma"):
        found.code("c")


def test_matrices_become_numpy_and_dots():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(3, 3))
    gram = root @ root.T + np.eye(3)
    posterior = derive("training.posterior")
    np.testing.assert_allclose(
        python_function(posterior.code("python"))(gram, 0.3), np.linalg.inv(gram + 0.3 * np.eye(3))
    )
    lower = np.tril(gram, -1)
    update = 0.1 * np.linalg.inv(np.eye(3) + 0.1 * lower)
    expected = np.linalg.inv(gram) @ (np.eye(3) - np.linalg.matrix_power(np.eye(3) - gram @ update, 4))
    np.testing.assert_allclose(python_function(derive("training.sgd").code("python"))(gram, lower, 0.1, 4), expected)
    covariance = derive("shell.covariance")
    arrays = [rng.normal(size=shape) for shape in ((2, 4), (3, 2), (3, 4), (3, 3), (3, 3))]
    np.testing.assert_allclose(python_function(covariance.code("python"))(*arrays), covariance.compile()(*arrays))
    assert "Transpose[kStiffX].M.K0.Transpose[M].kStiffY" in covariance.code("mathematica")
    with pytest.raises(NoClosedForm, match="no matrices"):
        covariance.code("c")


def test_mathematica_is_exact_and_well_formed():
    assert derive("shell.relu_Z").code("mathematica").splitlines()[1] == (
        "shellReluZ[Lambda_, d_, sX_, sigmaV_, s2_] := GammaRegularized[(1/2)*d + 1, Lambda*s2/(sX^2*sigmaV^2)]"
    )
    assert derive("training.posterior").code("mathematica").splitlines()[1] == (
        "trainingPosterior[K0_, rho_] := Inverse[rho*IdentityMatrix[Dimensions[K0][[1]]] + K0]"
    )
    for name in [*SCALARS, *LIBRARY, "training.sgd", "shell.covariance"]:
        assert balanced(derive(name).code("mathematica"))
    text = formula(sp.atan2(y, x) + sp.Heaviside(x) + sp.sign(y) + sp.Max(x, y), x, y).code("mathematica")
    for piece in ("ArcTan[x, y]", "(1 + Sign[x])/2", "Sign[y]", "Max[x, y]"):
        assert piece in text
    steps = formula(sp.Piecewise((x, sp.Eq(x, 0)), (1 / x, True)), x).code("mathematica")
    assert steps.endswith("test_f".replace("_f", "F") + "[x_] := Piecewise[{{x, x == 0}, {x^(-1), True}}]\n")


@pytest.mark.parametrize("value", [-1.3, 0.0, 0.7])
def test_kinks_branches_and_signs(value, tmp_path):
    expr = (
        sp.Heaviside(x)
        + 3 * sp.sign(x)
        + sp.Max(x, 0, -x / 2)
        + sp.Min(x, 1)
        + sp.Abs(x)
        + sp.exp(-(x**2))
        + sp.erfc(x)
    )
    whole = formula(expr, x)
    step = 0.5 if value == 0 else float(value > 0)
    expected = step + 3 * np.sign(value) + max(value, 0, -value / 2) + min(value, 1) + abs(value)
    expected += math.exp(-(value**2)) + math.erfc(value)
    assert python_function(whole.code("python"))(value) == pytest.approx(expected)
    assert c_function(whole.code("c"), tmp_path, 1)(value) == pytest.approx(expected)
    guarded = formula(sp.Piecewise((1, sp.Eq(x, 0)), (sp.sin(x) / x, True)), x)
    expected = 1.0 if value == 0 else math.sin(value) / value
    assert python_function(guarded.code("python"))(value) == pytest.approx(expected)
    assert c_function(guarded.code("c"), tmp_path, 1)(value) == pytest.approx(expected)


def test_an_integral_is_left_to_quadrature():
    bound = sp.Symbol("s", real=True)
    found = formula(sp.Integral(sp.exp(-(bound**2)) * sp.cos(bound * x), (bound, -sp.oo, sp.oo)), x)
    text = found.code("python")
    assert "scipy.integrate.quad(lambda s:" in text
    assert python_function(text)(0.6) == pytest.approx(math.sqrt(math.pi) * math.exp(-0.09))
    assert "NIntegrate[" in found.code("mathematica")
    assert "{s, -Infinity, Infinity}" in found.code("mathematica")
    with pytest.raises(NoClosedForm, match="c has no counterpart of Integral"):
        found.code("c")


def test_quadrature_may_look_far_outside():
    bound = sp.Symbol("s", real=True)
    weight = sp.exp(-(bound**2) / 2) / sp.sqrt(2 * sp.pi)
    found = formula(sp.Integral(weight * sp.log(1 + sp.exp(x * bound)), (bound, -sp.oo, sp.oo)), x)
    assert python_function(found.code("python"))(40.0) == pytest.approx(40.0 / math.sqrt(2 * math.pi), rel=2e-3)


def test_functions_of_our_own_become_known_ones(tmp_path):
    h, k, rho = sp.symbols("h k rho", real=True)
    orthant = formula(BivariateNormal(h, k, rho), h, k, rho)
    expected = float(sp.N(BivariateNormal(sp.Rational(3, 10), sp.Rational(-1, 2), sp.Rational(2, 5)), 15))
    assert python_function(orthant.code("python"))(0.3, -0.5, 0.4) == pytest.approx(expected, rel=1e-12)
    assert "CDF[BinormalDistribution[rho], {h, k}]" in orthant.code("mathematica")
    with pytest.raises(NoClosedForm, match="c has no counterpart of BivariateNormal"):
        orthant.code("c")
    tail = formula(NormalCdf(x) + 0 * x, x)
    for function in (python_function(tail.code("python")), c_function(tail.code("c"), tmp_path, 1)):
        assert function(-20.0) == pytest.approx(math.erfc(20 / math.sqrt(2)) / 2, rel=1e-12)
    rounded = formula(DifferenceOfProducts(x, x, y, y), x, y)
    assert python_function(rounded.code("python"))(3.0, 2.0) == 5.0


def test_names_that_a_language_keeps_for_itself():
    odd = sp.symbols("lambda double K a_b 2nd t0", positive=True)
    found = formula(
        sum(odd, sp.Integer(0)) + sp.sqrt(1 + sum(odd)) * sp.exp(sp.sqrt(1 + sum(odd))), *odd, name="9 strange-names"
    )
    values = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    root = math.sqrt(1 + sum(values))
    assert python_function(found.code("python"))(*values) == pytest.approx(sum(values) + root * math.exp(root))
    assert "(double lambda, double double0, double K, double a_b, double x2nd, double t0)" in found.code("c")
    assert "[lambda_, double_, K0_, aB_, x2nd_, t0_]" in found.code("mathematica")


def test_what_cannot_be_exported_is_named():
    with pytest.raises(BadInput, match="language: expected one of python, c, mathematica, got 'fortran'"):
        derive("nngp.recursion").code("fortran")
    with pytest.raises(NoClosedForm, match="python has no counterpart of besselj"):
        formula(sp.besselj(0, x), x).code("python")
    with pytest.raises(NoClosedForm, match="mathematica has no counterpart of E"):
        formula(sp.Function("E")(z), z).code("mathematica")


@pytest.mark.parametrize("language", ["python", "c", "mathematica"])
def test_a_comment_cannot_end_early(language, tmp_path):
    found = Formula("f", sp.Symbol("f"), x, (x,), 'a */ b *) c """ \\ d ½', "exact", derived_from=("a test",))
    text = found.code(language)
    if language == "python":
        assert python_function(text)(2.0) == 2.0
    elif language == "c":
        assert c_function(text, tmp_path, 1)(2.0) == 2.0
    else:
        assert text.count("*)") == 1
