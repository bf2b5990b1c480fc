"""NNGP and NTK against 40-digit references that share no code with the package, and their structure."""

import json
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

import fieldflow as ff

z = sp.Symbol("z", real=True)
REFERENCE = json.loads((Path(__file__).parent / "data" / "kernel_reference.json").read_text(encoding="utf-8"))
ACTIVATIONS = {
    "identity": z,
    "relu": sp.Max(z, 0),
    "leaky_relu_0.1": sp.Max(z, 0) + sp.Rational(1, 10) * sp.Min(z, 0),
    "abs": sp.Abs(z),
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


@pytest.mark.parametrize("case", [c for c in REFERENCE["degenerate"] if c["act"] == "relu"], ids=str)
def test_duplicated_and_tiny_inputs_stay_finite_and_close(case):
    net = network("relu", case["depth"], case["b_std"])
    x = np.array(REFERENCE["degenerate_inputs"])
    expected, found = np.array(case["nngp"]), ff.nngp(net, x)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected))) + np.finfo(float).tiny
    assert np.isfinite(found).all()
    assert (np.abs(found - expected) / scale).max() <= 1e-12
    assert np.isfinite(ff.ntk(net, x)).all()


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
