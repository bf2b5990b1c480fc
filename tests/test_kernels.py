"""NNGP and NTK against 40-digit references that share no code with the package, and their structure."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import sympy as sp

import fieldflow as ff
from fieldflow import compile as compile_module
from fieldflow import memory, pair_code

z = sp.Symbol("z", real=True)
REFERENCE = json.loads((Path(__file__).parent / "data" / "kernel_reference.json").read_text(encoding="utf-8"))
DEEP = json.loads((Path(__file__).parent / "data" / "deep_kernels.json").read_text(encoding="utf-8"))
ACTIVATIONS = {
    "identity": z,
    "relu": sp.Max(z, 0),
    "leaky_relu_0.1": sp.Max(z, 0) + sp.Rational(1, 10) * sp.Min(z, 0),
    "abs": sp.Abs(z),
    "sign": sp.sign(z),
    "erf": sp.erf(z),
    "erf_0.5_0.8_0.3": sp.erf(0.8 * z) / 2 + 0.3,
    "sin": sp.sin(z),
    "cos": sp.cos(z),
    "gelu": "gelu",
    "exp_0.5_0.3": sp.exp(0.3 * z) / 2,
    "gaussian_1_-1": sp.exp(-(z**2)),
    "poly_0.1_0.5_0.2": sp.Rational(1, 10) + z / 2 + z**2 / 5,
    "rect_monomial_2": sp.Max(z, 0) ** 2,
}


def network(activation, depth, sigma_b):
    return ff.MLP(3, depth=depth, activation=activation, sigma_w=REFERENCE["sigma_w"], sigma_b=sigma_b)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("sigma_b", [0.0, 0.4])
def test_generic_inputs_agree_with_forty_digits(name, depth, sigma_b):
    reference = REFERENCE["kernels"][f"{name}/L{depth}/b{sigma_b}"]
    x = np.array(REFERENCE["inputs"]["X"])
    net = network(ACTIVATIONS[name], depth, sigma_b)
    for kernel, key in ((ff.nngp, "nngp"), (ff.ntk, "ntk")):
        expected = np.array(reference[f"{key}_XX"])
        found = kernel(net, x)
        scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        assert np.abs(found - expected).max() <= 1e-13 * scale.max()
        assert (np.abs(found - expected) / scale).max() <= 2e-13


def read(text):
    """Return the expression of a reference string, which is ours; user text goes through fieldflow.expression."""
    return sp.nsimplify(sp.sympify(text, locals={"z": z}), rational=True)


def error(found, expected):
    """Return the largest error in units of √(K_ii K_jj), and the largest relative one."""
    diagonal = np.sqrt(np.diag(expected))
    unit = np.outer(diagonal, diagonal)
    size = np.where(expected == 0, 1.0, np.abs(expected))
    return (np.abs(found - expected) / np.where(unit == 0, 1.0, unit)).max(), (np.abs(found - expected) / size).max()


def deep(case, inputs):
    net = ff.MLP(
        3,
        depth=case["depth"],
        activation=tuple(read(text) for text in case["activations"]),
        sigma_w=float(case["sigma_w"]),
        sigma_b=float(case["sigma_b"]),
    )
    x = np.array([[float(entry) for entry in inputs[name]] for name in case["inputs"]])
    expected = (np.array([[float(e) for e in row] for row in case[key]]) for key in ("nngp", "ntk"))
    return net, x, zip(ff.nngp_ntk(net, x), expected, strict=True)


@pytest.mark.parametrize("case", REFERENCE["degenerate"], ids=lambda c: f"{c['act']}-{c['depth']}-{c['b_std']}")
def test_duplicated_opposite_and_scaled_inputs(case):
    net = network(case["act"], case["depth"], case["b_std"])
    x = np.array(REFERENCE["degenerate_inputs"])
    for found, key in zip(ff.nngp_ntk(net, x), ("nngp", "ntk"), strict=True):
        assert error(found, np.array(case[key]))[0] <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("case", DEEP["generic"], ids=lambda c: f"{c['name']}-{c['depth']}-{c['sigma_b']}")
def test_three_and_five_layers_on_generic_inputs(case):
    _, _, pairs = deep(case, DEEP["inputs"]["generic"])
    for found, expected in pairs:
        in_units, relative = error(found, expected)
        assert in_units <= 1e-14
        assert relative <= (1e-13 if case["depth"] < 5 else 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("case", DEEP["degenerate"], ids=lambda c: f"{c['name']}-{c['depth']}-{c['sigma_b']}")
def test_three_and_five_layers_on_degenerate_inputs(case):
    """Equal, 1e-3 … 1e-9 apart, opposite, zero, 1e-8 and 1e6 large: full accuracy in units of √(K_ii K_jj)."""
    net, x, pairs = deep(case, DEEP["inputs"]["degenerate"])
    for found, expected in pairs:
        assert error(found, expected)[0] <= 1e-12
    # Rectangular calls take another path through the points, not through the numbers.
    # (a Hermite series is summed by BLAS, whose order depends on the number of points: the last bit).
    np.testing.assert_allclose(ff.nngp(net, x[:3], x)[:, 3:], ff.nngp(net, x)[:3, 3:],
                               rtol=4e-16 if case["name"] == "tanh" else 0.0)  # fmt: skip


def test_covariances_alone_do_not_resolve_close_points():
    """The negative control: from (q11, c, q22) rounded to doubles the tangent kernel of close points has half the digits."""
    points = DEEP["inputs"]["degenerate"]
    x = np.array([[float(e) for e in points[name]] for name in ("point", "near 1e-9")])
    x[1] = x[0] + 1e-9 * np.array([1.1, 0.7, -0.3])
    net = network("relu", 1, 0.4)
    c = net.sigma_b[0] ** 2 + net.sigma_w[0] ** 2 * x @ x.T / 3
    naive = 0.25 + np.arcsin(min(1.0, c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]))) / (2 * np.pi)
    k, theta = ff.nngp_ntk(net, x)
    slope = (theta[0, 1] - k[0, 1]) / (net.sigma_w[1] ** 2 * c[0, 1])
    apart = net.sigma_w[0] ** 2 * np.sum((x[1] - x[0]) ** 2) / 3
    assert 0 < 0.5 - slope < np.sqrt(apart)  # the angle is below the distance
    assert abs(naive - slope) > 0.05 * (0.5 - slope)


def test_threads_and_order_of_points_change_no_bit():
    x = np.random.default_rng(0).normal(size=(400, 3))
    net = network("gelu", 2, 0.4)
    k, theta = ff.nngp_ntk(net, x)
    order = np.random.default_rng(1).permutation(400)
    for whole, permuted in zip((k, theta), ff.nngp_ntk(net, x[order], x), strict=True):
        np.testing.assert_allclose(permuted, whole[order], rtol=1e-13)
    np.testing.assert_array_equal(k, k.T)


def test_the_loops_of_rectifiers_and_erf_are_vector_code(monkeypatch):
    """A call or an exception left inside costs a factor three and no digit, so nothing else would show it."""
    monkeypatch.setattr(compile_module, "cache_root", lambda: None)  # cached code cannot be inspected
    net = ff.MLP(3, depth=3, activation=("leaky_relu", "erf", "relu"))  # a sequence of no other test
    ff.nngp_ntk(net, np.ones((2, 3)))
    (code,) = pair_code.compiled_fill(net.activation).inspect_llvm().values()
    roots = re.findall(r"<\d+ x double> @llvm\.sqrt", code)
    assert len(roots) >= 4  # one of each rectifier, two of erf


def test_a_kernel_that_would_not_fit_says_its_size(monkeypatch):
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    with pytest.raises(ff.errors.BadInput, match=r"two kernels: needs .* GiB of memory"):
        ff.nngp(network("relu", 1, 0.4), np.ones((40, 3)))


def test_a_kink_without_a_closed_form_warns_with_its_error():
    net = ff.MLP(3, depth=1, activation=sp.tanh(sp.Abs(z)), sigma_w=1.3)
    with pytest.warns(ff.errors.InaccurateResult, match="relative error"):
        ff.nngp(net, np.array(REFERENCE["inputs"]["X"]))


def test_two_sets_equal_the_block_of_one():
    net = network("relu", 3, 0.4)
    x = np.array(REFERENCE["inputs"]["X"])
    for kernel in (ff.nngp, ff.ntk):
        np.testing.assert_allclose(kernel(net, x[:2], x), kernel(net, x)[:2], rtol=1e-12)


def test_unscaled_widths_multiply_the_expectation():
    x = np.array([[1.0, 2.0], [0.5, -1.0]])
    unscaled = ff.MLP(2, widths=(5, 7), activation="relu", scaling="unscaled", sigma_w=0.3)
    scaled = ff.MLP(2, depth=2, activation="relu", sigma_w=(0.3 * 2**0.5, 0.3 * 5**0.5, 0.3 * 7**0.5))
    np.testing.assert_allclose(ff.nngp(unscaled, x), ff.nngp(scaled, x), rtol=1e-14)


def test_linear_network_has_the_closed_kernel():
    net = ff.MLP(2, depth=4, activation="identity", sigma_w=1.2)
    x = np.array([[1.0, 2.0], [0.5, -1.0]])
    np.testing.assert_allclose(ff.nngp(net, x), 1.2**10 * x @ x.T / 2, rtol=1e-14)
    np.testing.assert_allclose(ff.ntk(net, x), 5 * 1.2**10 * x @ x.T / 2, rtol=1e-14)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([1.0, 2.0], "shape"),
        ([[1.0]], "shape"),
        ([[1.0, float("nan")]], "finite"),
        ([[1.0, 1j]], "real"),
        ([[True, False]], "real"),
        (np.array([[1.0, "a"]], dtype=object), "real"),
        (np.empty((0, 2)), "n >= 1"),
    ],
)
def test_bad_points_are_named(x, message):
    net = ff.MLP(2, depth=1, activation="relu")
    with pytest.raises(ff.errors.BadInput, match="x1: .*" + message):
        ff.nngp(net, x)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"d_in": 0, "depth": 1, "activation": "relu"}, "d_in"),
        ({"d_in": 2, "activation": "relu"}, "depth, widths"),
        ({"d_in": 2, "depth": 1, "widths": (3,), "activation": "relu"}, "depth, widths"),
        ({"d_in": 2, "widths": (3, -1), "activation": "relu"}, r"widths\[1\]"),
        ({"d_in": 2, "widths": (3,), "activation": "rellu"}, "activation: .*relu"),
        ({"d_in": 2, "widths": (3,), "activation": ("relu", "relu")}, "activation"),
        ({"d_in": 2, "widths": (3,), "activation": sp.Symbol("a") * z}, "activation"),
        ({"d_in": 2, "widths": (3,), "activation": "relu", "sigma_w": (1.0,)}, "sigma_w"),
        ({"d_in": 2, "widths": (3,), "activation": "relu", "sigma_b": -1.0}, "sigma_b"),
        ({"d_in": 2, "depth": 2, "activation": "relu", "scaling": "unscaled"}, "scaling"),
        ({"d_in": 2, "depth": 2, "activation": "relu", "scaling": "fan-in"}, "scaling"),
    ],
)
def test_bad_networks_are_named(arguments, key):
    with pytest.raises(ff.errors.BadInput, match=key):
        ff.MLP(**arguments)


def true_kernels(names, sigma_b, x, y):
    """K, Θ and their diagonals of one pair in 60-digit arithmetic, from textbook forms; inputs taken as exact."""

    def angle(p, k, q):
        return mpmath.atan2(mpmath.sqrt(max(p * q - k * k, mpmath.mpf(0))), k)

    def relu(p, k, q):
        theta = angle(p, k, q)
        root = mpmath.sqrt(max(p * q - k * k, mpmath.mpf(0)))
        return (root + k * (mpmath.pi - theta)) / (2 * mpmath.pi), (mpmath.pi - theta) / (2 * mpmath.pi)

    def erf(p, k, q):
        det = (1 + 2 * p) * (1 + 2 * q) - 4 * k * k
        return 2 / mpmath.pi * mpmath.atan2(2 * k, mpmath.sqrt(det)), 4 / mpmath.pi / mpmath.sqrt(det)

    def sin(p, k, q):
        near, far = mpmath.exp(k - (p + q) / 2) / 2, mpmath.exp(-k - (p + q) / 2) / 2
        return near - far, near + far

    def sign(p, k, q):
        return 1 - 2 * angle(p, k, q) / mpmath.pi, mpmath.mpf(0)

    layers = {"relu": relu, "erf": erf, "sin": sin, "sign": sign}

    def pair(a, b):
        w, v = mpmath.mpf(1.3) ** 2, mpmath.mpf(sigma_b) ** 2
        a, b = [mpmath.mpf(float(entry)) for entry in a], [mpmath.mpf(float(entry)) for entry in b]
        p, k, q = (w * mpmath.fdot(s, t) / len(s) + v for s, t in ((a, a), (a, b), (b, b)))
        tangent = k
        for name in names:
            layer = layers[name]
            value, slope = layer(p, k, q)
            p, k, q = w * layer(p, p, p)[0] + v, w * value + v, w * layer(q, q, q)[0] + v
            tangent = k + w * slope * tangent
        return k, tangent

    with mpmath.workdps(60):
        return [*pair(x, y), *pair(x, x), *pair(y, y)]


@pytest.mark.parametrize("names", [("erf", "relu", "relu"), ("sin", "relu", "erf"), ("relu", "sin", "sign")])
@pytest.mark.parametrize("sigma_b", [0.0, 0.3])
def test_mixed_layers_keep_the_angle_of_nearly_equal_points(names, sigma_b):
    """After a smooth layer the determinant is not that of rounded covariances, which loses the tangent kernel to 1e-9."""
    generator = np.random.default_rng(5)
    net = ff.MLP(3, depth=3, activation=names, sigma_w=1.3, sigma_b=sigma_b)
    x = generator.normal(size=3)
    others = [x + size * generator.normal(size=3) for size in (1e-3, 1e-4, 1e-5, 1e-7, 1e-9)]
    for y in [*others, x * (1 + 1e-6), -x, -x + 1e-7 * generator.normal(size=3)]:
        k, theta, *own = true_kernels(names, sigma_b, x, y)
        found = ff.nngp_ntk(net, [x], [y])
        assert abs(found[0][0, 0] - k) <= 1e-12 * mpmath.sqrt(own[0] * own[2])
        assert abs(found[1][0, 0] - theta) <= 1e-12 * mpmath.sqrt(own[1] * own[3])


def test_points_on_one_line_keep_their_angle():
    """2x rounded is not quite parallel to x, and five layers of sign turn an angle of 1e-16 into one of 0.1."""
    x = np.array([0.3, -1.7, 2.9])
    net = ff.MLP(3, depth=5, activation="sign", sigma_w=1.3)
    for factor in (2.1, -0.7):
        k, _, *own = true_kernels(["sign"] * 5, 0.0, x, factor * x)
        assert abs(ff.nngp(net, [x], [factor * x])[0, 0] - k) <= 1e-12 * mpmath.sqrt(own[0] * own[2])


def test_a_python_function_is_an_activation_too():
    known = ff.nngp_ntk(ff.MLP(2, depth=2, activation="tanh"), [[1.0, 2.0], [-1.0, 0.3]])
    given = ff.nngp_ntk(ff.MLP(2, depth=2, activation=np.tanh), [[1.0, 2.0], [-1.0, 0.3]])
    for a, b in zip(known, given, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: ff.nngp("relu", [[1.0]]), "net: expected a fieldflow.MLP"),
        (
            lambda: ff.ntk(ff.MLP(2, depth=1, activation="relu"), [[1e160, 1.0]]),
            "x1, x2: expected points whose squared norm",
        ),
        (lambda: ff.MeanField(np.tanh, 1.0, 0.1), "activation: mean-field theory needs its derivative"),
        (lambda: ff.gaussian_expectation("relu", tolerance="x"), "tolerance"),
        (
            lambda: ff.gaussian_expectation("relu").compile()(np.ones(2), np.ones(3), 1.0),
            "expectation.relu: expected shapes",
        ),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises(ff.errors.BadInput, match=f"^{name}"):
        call()


SHIFTED = {
    "shifted": (sp.Max(z - sp.Rational(1, 2), 0), lambda t: max(t - mpmath.mpf("0.5"), 0), (0.5,)),
    "hard tanh": (sp.Abs(z - 1) - sp.Abs(z + 1), lambda t: abs(t - 1) - abs(t + 1), (-1, 1)),
    "elu": (sp.Piecewise((z, z > 0), (sp.exp(z) - 1, True)), lambda t: t if t > 0 else mpmath.expm1(t), (0,)),
}


@pytest.mark.parametrize("name", SHIFTED)
def test_the_diagonal_of_shifted_rectifiers_at_all_variances(name):
    expr, f, places = SHIFTED[name]
    variances = [1e-4, 0.1, 0.7, 1.0, 4.0, 50.0, 1e4, 1e8] if name != "shifted" else [0.01, 0.1, 1.0, 4.0, 1e4, 1e8]
    found = ff.nngp(ff.MLP(1, depth=1, activation=expr), np.sqrt(variances)[:, None])
    for q, value in zip(variances, np.diag(found), strict=True):
        root = mpmath.sqrt(q)
        edges = {mpmath.mpf(k) for k in (-20, -8, -2, -1, -0.1, 0, 0.1, 1, 2, 8, 20)} | {k / root for k in places}
        inside = sorted(edge for edge in edges if abs(edge) <= 20)
        with mpmath.workdps(25):
            expected = mpmath.quad(lambda t, root=root, f=f: f(root * t) ** 2 * mpmath.npdf(t), inside)
        assert abs(value - expected) <= 3e-12 * expected, q


def test_mean_field_of_a_hard_tanh():
    net = ff.MeanField(sp.Abs(z + 1) - sp.Abs(z - 1), 1.2, 0.3)
    assert abs(net.length_map(net.fixed_point) - net.fixed_point) < 1e-12


def test_a_weight_without_a_second_moment_is_named():
    net = ff.MLP(1, depth=1, activation=sp.exp(z**2 / 4))
    assert abs(ff.nngp(net, [[0.5]])[0, 0] - (1 - 0.25) ** -0.5) < 1e-14
    with pytest.raises(ff.errors.BadInput, match="infinite: expected 1 - q > 0"):
        ff.nngp(net, [[1.5]])
