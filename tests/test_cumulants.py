"""Connected and full n-point functions at finite width: the published numbers, quadrature, samples, and bad input."""

import json
import math
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

import fieldflow as ff
from fieldflow import npoint_moments
from fieldflow.errors import BadInput, InaccurateResult, NoClosedForm
from fieldflow.formulas import derive
from fieldflow.npoint_moments import moments
from fieldflow.numeric import cone_moments
from fieldflow.numeric.partition_sums import partition_sum
from fieldflow.numeric.span import quadrature
from fieldflow.numeric.symmetric import packed, positions, sorted_tuples
from fieldflow.symbolic.partitions import set_partitions
from fieldflow.symbolic.symbols import z

REFERENCE = json.loads((Path(__file__).parent / "data" / "npoint_reference.json").read_text(encoding="utf-8"))[
    "entries"
]
EXPRESSIONS = {"relu**2": sp.Max(z, 0) ** 2, "z*exp(z-z**2)": z * sp.exp(z - z**2), "z**3-z": z**3 - z}
DEGREES = {"relu": 1, "abs": 1, "leaky_relu": 1, "step": 0, "sign": 0, "relu**2": 2, "z**3-z": 3}
INPUTS = np.array([[-1.0], [-0.6], [-0.2], [0.2], [0.6], [1.0]])
POSITIVE = np.array([[0.2], [0.4], [0.6], [0.8], [1.0], [1.2]])
PLANE = np.array([[1.0, 0.5], [-0.5, 1.0], [0.25, -1.0], [1.5, 0.25]])


def deviation(net, points, n, **options):
    """(G - G_GP)/G_GP of the full n-point function over unordered tuples; G_GP: Wick's sum of the two-point function."""
    k = packed(ff.n_point(net, points, 2, **options))
    wick = partition_sum(set_partitions(n)[(2,) * (n // 2)], {2: k}, len(points), n)
    return (packed(ff.n_point(net, points, n, **options)) - wick) / wick


def bare(d_in, activation):
    """A network whose pre-activations are x·g."""
    return ff.MLP(d_in, widths=(1,), activation=EXPRESSIONS.get(activation, activation), scaling="unscaled")


# Numbers of theory.md, section 5.1


@pytest.mark.parametrize("width", [2, 20, 1000])
def test_relu_in_one_dimension(width):
    net = ff.MLP(1, widths=(width,), activation="relu")
    np.testing.assert_allclose(deviation(net, POSITIVE, 4), 5 / width, rtol=2e-14 * width)
    np.testing.assert_allclose(deviation(net, POSITIVE, 6), 15 / width + 44 / width**2, rtol=2e-14 * width)


def test_erf_net_mean_over_unordered_tuples():
    net = ff.MLP(1, widths=(7,), activation="erf", sigma_b=1.0)
    assert len(deviation(net, INPUTS, 4)) == 126
    assert round(7 * float(np.mean(deviation(net, INPUTS, 4))), 6) == 0.056278


def test_gauss_net_is_an_exponential_with_a_normalisation_of_the_inputs():
    """σ(x) = e^{Wx + b}/√exp[2(σ_b² + σ_W²x²/d)] is c(x)e^z: every hidden factor brings c(x)."""
    x = 0.01 * INPUTS
    net = ff.MLP(1, widths=(7,), activation="exp", sigma_b=1.0)
    c = np.exp(-(1.0 + x[:, 0] ** 2))
    assert round(7 * float(np.mean(deviation(net, x, 4, normalisation=c))), 5) == 13.39937
    expected = 1.0 + np.exp(-((x - x.T) ** 2) / 2)
    np.testing.assert_allclose(ff.n_point(net, x, 2, normalisation=c), expected, rtol=1e-15)
    scaled = ff.connected(net, x, 4) * np.einsum("a,b,c,d->abcd", c, c, c, c)
    np.testing.assert_allclose(ff.connected(net, x, 4, normalisation=c), scaled, rtol=1e-14)


# One hidden unit


@pytest.mark.parametrize("entry", REFERENCE, ids=lambda e: f"{e['activation']}, {e['case']}")
def test_moments_against_quadrature_in_many_digits(entry):
    vectors = np.array(entry["vectors"])
    n, degree = len(vectors), DEGREES.get(entry["activation"], 0)
    found = moments(bare(vectors.shape[1], entry["activation"]), vectors, n)[positions(np.arange(n), n)]
    norms = np.linalg.norm(vectors, axis=1)
    scale = float(np.prod(norms) ** degree) * math.prod(range(n * degree - 1, 0, -2))  # E z^{nd} at equal points
    assert abs(found - entry["value"]) < 3e-14 * max(scale, 1.0)


def test_a_dropped_boundary_term_is_seen(monkeypatch):
    right = cone_moments._edge_sums
    monkeypatch.setattr(cone_moments, "_edge_sums", lambda *a: {k: (1 + 1e-9) * v for k, v in right(*a).items()})
    entry = next(e for e in REFERENCE if e["case"] == "space, generic" and e["activation"] == "relu")
    with pytest.raises(AssertionError):
        test_moments_against_quadrature_in_many_digits(entry)


@pytest.mark.parametrize("name", ["relu", "step", "abs", "cos", "sin", "exp", "gaussian", "erf", "tanh", "identity"])
def test_two_factors_are_the_kernel(name):
    net = ff.MLP(2, widths=(5,), activation=name, sigma_w=(1.2, 0.8), sigma_b=(0.3, 0.4))
    np.testing.assert_allclose(ff.connected(net, PLANE, 2), ff.nngp(net, PLANE), rtol=1e-13, atol=1e-14)
    unscaled = ff.MLP(2, widths=(5,), activation=name, sigma_w=(1.2, 0.8), sigma_b=(0.3, 0.4), scaling="unscaled")
    np.testing.assert_allclose(ff.connected(unscaled, PLANE, 2), ff.nngp(unscaled, PLANE), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("activation", ["cos", "sin", "gaussian", z * sp.exp(-(z**2)), z**2 - 1, sp.cos(z) + z / 2])
@pytest.mark.parametrize("n", [3, 4, 6])
def test_closed_forms_in_three_dimensions_against_the_grid(activation, n):
    net = ff.MLP(2, widths=(1,), activation=activation, sigma_b=0.5)
    x = 0.6 * PLANE[:3]
    sigma = sp.lambdify(z, net.activation[0].expr, "numpy")
    expected, change = quadrature(sigma, npoint_moments.hidden_vectors(net, x), n, 1e-11)
    assert change < 1e-11
    np.testing.assert_allclose(moments(net, x, n), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("name", "function"), [("erf", math.erf), ("tanh", math.tanh)])
def test_smooth_activations_against_gauss_hermite(name, function):
    net = ff.MLP(1, widths=(1,), activation=name, sigma_b=0.5)
    x = np.array([[0.25], [0.75], [-0.5]])
    vectors = npoint_moments.hidden_vectors(net, x)
    nodes, weights = np.polynomial.hermite_e.hermegauss(180)
    weights = weights / np.sqrt(2.0 * np.pi)
    values = [np.vectorize(function)(a * nodes[:, None] + b * nodes) for a, b in vectors]
    for place, (i, j, k, m) in enumerate(combinations_with_replacement(range(3), 4)):
        expected = weights @ (values[i] * values[j] * values[k] * values[m]) @ weights
        assert abs(moments(net, x, 4)[place] - expected) < 1e-12


def test_the_tilted_weight_is_that_of_the_lemma():
    sigma = sp.exp(-(z**2) / 3 + z / 2)
    net, x = bare(2, sigma), PLANE[:2]
    q = x @ x.T
    third, half = 1 / 3, 1 / 2
    expected = derive("lemma.tilt").compile()(q[0, 0], q[0, 1], q[1, 1], -third, half, -third, half)
    assert abs(moments(net, x, 2)[1] / expected - 1.0) < 1e-14


def test_repeated_opposite_zero_and_collinear_points():
    net = ff.MLP(2, widths=(3,), activation="leaky_relu")
    x = np.array([[1.0, 0.5], [2.0, 1.0], [-1.0, -0.5], [0.0, 0.0], [1.0, 0.5]])
    g = ff.connected(net, x, 4)
    np.testing.assert_allclose(g[1], 2.0 * g[0], rtol=1e-14)
    np.testing.assert_allclose(g[4], g[0], rtol=1e-14)
    assert not np.any(g[3])
    moment = (1 + 1e-8) / 2 * 3 * (1.25 / 2) ** 2  # E σ⁴ = ½(1 + 10⁻⁸)·3q²
    second = (1 + 1e-4) / 2 * 1.25 / 2
    assert abs(g[0, 0, 0, 0] / ((3 * moment - 3 * second**2) / 3) - 1.0) < 1e-14
    step = ff.MLP(2, widths=(3,), activation="step")
    assert abs(moments(step, x[3:4], 4)[0] - 1 / 16) < 1e-16  # θ(0) = 1/2


@pytest.mark.parametrize("activation", ["relu", "cos"])
def test_orders_in_the_width(activation):
    """N^{k-1} G_c^{(2k)} does not depend on N."""
    one, many = (ff.MLP(2, widths=(width,), activation=activation) for width in (1, 50))
    for n in (2, 4, 6, 8):
        scaled = 50 ** (n // 2 - 1) * ff.connected(many, PLANE[:2], n)
        np.testing.assert_allclose(scaled, ff.connected(one, PLANE[:2], n), rtol=1e-12)


def test_tensors_are_symmetric_and_the_bias_is_in_two_points_only():
    net = ff.MLP(2, widths=(4,), activation="relu", sigma_b=(0.3, 0.7))
    silent = ff.MLP(2, widths=(4,), activation="relu", sigma_b=(0.3, 0.0))
    g = ff.connected(net, PLANE, 4)
    for axes in ((1, 0, 2, 3), (3, 1, 2, 0), (1, 2, 3, 0)):
        np.testing.assert_array_equal(g, g.transpose(axes))
    np.testing.assert_array_equal(g, ff.connected(silent, PLANE, 4))
    np.testing.assert_allclose(ff.connected(net, PLANE, 2) - ff.connected(silent, PLANE, 2), 0.49, rtol=1e-14)
    assert not np.any(ff.connected(net, PLANE, 3))
    assert not np.any(ff.n_point(net, PLANE, 1))


def test_one_point_by_hand_at_order_eight():
    """f = Σ w_i relu(z_i) at x = 1, N = 1: E f^8 = 105·105/2."""
    net = ff.MLP(1, widths=(1,), activation="relu")
    assert abs(ff.n_point(net, [[1.0]], 8).item() / (105 * 105 / 2) - 1.0) < 1e-13


@pytest.mark.parametrize("name", ["relu", "step", "cos", "tanh", "identity"])
def test_no_input_and_no_bias_leaves_the_value_at_zero(name):
    net = ff.MLP(2, widths=(1,), activation=name)
    at_zero = float(net.activation[0].expr.subs(z, 0))
    np.testing.assert_allclose(moments(net, np.zeros((2, 2)), 4), at_zero**4, rtol=1e-15)


# Other read-outs


def test_a_common_scale_breaks_independence_at_infinite_width():
    net = ff.MLP(2, widths=(10**9,), activation="relu", sigma_b=(0.3, 0.0))
    k = ff.nngp(net, PLANE)
    wick = np.einsum("ab,cd->abcd", k, k) + np.einsum("ac,bd->abcd", k, k) + np.einsum("ad,bc->abcd", k, k)
    g = ff.connected(net, PLANE, 4, scale_moments=(1.0, 1.25))
    np.testing.assert_allclose(g, 0.25 * wick, rtol=0.0, atol=1e-7 * np.max(k) ** 2)
    certain = ff.connected(net, PLANE, 4, scale_moments=(2.0, 4.0))
    np.testing.assert_allclose(certain, 4.0 * ff.connected(net, PLANE, 4), rtol=0.0, atol=1e-15)


def sampled(readout, members, rng, width=3):
    """f at PLANE of relu networks with d_in = 2, sigma_b = 0.5 hidden and 0.4 at the read-out, drawn here by hand."""
    z_ = rng.normal(size=(members, width, 2)) @ (1.3 / np.sqrt(2.0) * PLANE.T) + 0.5 * rng.normal(
        size=(members, width, 1)
    )
    shape = (members, width)
    w = {"gaussian": rng.normal(size=shape), "signs": rng.choice([-1.0, 1.0], size=shape), "fixed": np.ones(shape)}[
        readout
    ]
    return 0.8 / np.sqrt(width) * np.einsum("mi,min->mn", w, np.maximum(z_, 0.0))


NET = ff.MLP(2, widths=(3,), activation="relu", sigma_w=(1.3, 0.8), sigma_b=(0.5, 0.4))


def pulls(f, expected):
    """(mean - expected)/standard error of products over all tuples; tuples are correlated, so the largest is judged."""
    products = np.prod(f[:, sorted_tuples(len(PLANE), 4)], axis=2)
    return (products.mean(axis=0) - expected) * np.sqrt(len(f)) / products.std(axis=0)


@pytest.mark.statistical
@pytest.mark.parametrize("readout", ["gaussian", "signs", "fixed"])
def test_four_point_functions_of_sampled_networks(readout):
    rng = np.random.Generator(np.random.Philox(11))
    members = 400_000
    f = sampled(readout, members, rng) + 0.4 * rng.normal(size=(members, 1))
    found = pulls(f, packed(ff.n_point(NET, PLANE, 4, readout=readout)))
    assert np.max(np.abs(found)) < 4.5  # 35 tuples
    wrong = {"gaussian": "signs", "signs": "gaussian", "fixed": "gaussian"}[readout]
    control = pulls(f, packed(ff.n_point(NET, PLANE, 4, readout=wrong)))
    assert np.max(np.abs(control)) > 8.0


@pytest.mark.statistical
def test_four_point_functions_of_an_ensemble():
    f = ff.Ensemble(NET, members=60_000, seed=5).sample(PLANE)
    assert np.max(np.abs(pulls(f, packed(ff.n_point(NET, PLANE, 4))))) < 4.5
    k = packed(ff.n_point(NET, PLANE, 2))
    wick = partition_sum(set_partitions(4)[2, 2], {2: k}, len(PLANE), 4)
    assert np.max(np.abs(pulls(f, wick))) > 8.0


@pytest.mark.statistical
def test_four_point_functions_with_a_common_scale():
    rng = np.random.Generator(np.random.Philox(12))
    members = 400_000
    s = rng.choice([0.5, 1.5], size=(members, 1))
    f = np.sqrt(s) * sampled("gaussian", members, rng) + 0.4 * rng.normal(size=(members, 1))
    assert np.max(np.abs(pulls(f, packed(ff.n_point(NET, PLANE, 4, scale_moments=(1.0, 1.25)))))) < 4.5
    assert np.max(np.abs(pulls(f, packed(ff.n_point(NET, PLANE, 4))))) > 8.0


def test_fixed_weights_have_a_mean_and_odd_cumulants():
    net = ff.MLP(1, widths=(4,), activation="relu", sigma_w=(1.0, 2.0))
    mean, second, third = 1 / math.sqrt(2 * math.pi), 0.5, math.sqrt(2 / math.pi)  # E relu, E relu², E relu³ at q = 1
    assert abs(ff.connected(net, [[1.0]], 1, readout="fixed").item() - 2.0 * 2.0 * mean) < 1e-14
    expected = 8.0 / 2.0 * (third - 3 * second * mean + 2 * mean**3)  # σ_w³ N^{-1/2} κ₃[h]
    assert abs(ff.connected(net, [[1.0]], 3, readout="fixed").item() / expected - 1.0) < 1e-14
    full = ff.n_point(net, [[1.0]], 3, readout="fixed").item()
    assert abs(full / (4 * third + 12 * 3 * second * mean + 24 * mean**3) - 1.0) < 1e-13  # a = 1: E(Σh)³


# What cannot be had

MLPS = {
    "deep": ff.MLP(1, widths=(3, 3), activation="relu"),
    "infinite": ff.MLP(1, depth=1, activation="relu"),
    "good": ff.MLP(1, widths=(3,), activation="relu"),
    "cosine": ff.MLP(1, widths=(3,), activation="cos"),
}


@pytest.mark.parametrize("call", [ff.connected, ff.n_point])
@pytest.mark.parametrize(
    ("net", "points", "options", "error", "message"),
    [
        ("deep", [[1.0]], {}, NoClosedForm, "net: .*one hidden layer, got 2"),
        ("infinite", [[1.0]], {}, BadInput, "net: .*give widths"),
        ("good", [[1.0]], {"n": 0}, BadInput, "n: expected an integer from 1 to 8"),
        ("good", [[1.0]], {"n": 9}, BadInput, "n: expected an integer from 1 to 8"),
        ("good", [[1.0]], {"n": 4.0}, BadInput, "n: expected an integer"),
        ("good", [[1.0]], {"n": True}, BadInput, "n: expected an integer"),
        ("good", [[np.nan]], {}, BadInput, "points: expected finite"),
        ("good", [1.0], {}, BadInput, r"points: expected shape \(n, 1\)"),
        ("good", [[1.0, 2.0]], {}, BadInput, r"points: expected shape \(n, 1\)"),
        ("good", [[1e200]], {}, BadInput, "points: .*squared norm"),
        ("good", [[1e100]], {}, BadInput, "range of floats"),
        ("good", np.ones((1000, 1)), {"n": 8}, BadInput, "memory"),
        ("good", [[1.0]], {"readout": "uniform"}, BadInput, "readout: expected one of gaussian, signs, fixed"),
        ("good", [[1.0]], {"readout": "fixed", "scale_moments": (1.0, 1.0)}, BadInput, "scale_moments: .*fixed"),
        ("good", [[1.0]], {"scale_moments": (1.0,)}, BadInput, "scale_moments: expected 2 positive numbers"),
        ("good", [[1.0]], {"scale_moments": (1.0, 0.9)}, BadInput, "scale_moments: .*no positive random number"),
        ("good", [[1.0]], {"scale_moments": (1.0, 2.0, 2.1), "n": 6}, BadInput, "scale_moments: .*no positive"),
        ("good", [[1.0]], {"normalisation": [1.0, 2.0]}, BadInput, r"normalisation: expected shape \(1,\)"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, net, points, options, error, message):
    with pytest.raises(error, match=message):
        call(MLPS[net], points, **options)


def test_other_networks_are_named():
    with pytest.raises(BadInput, match="net: expected MLP"):
        ff.connected("relu", [[1.0]])


def test_four_independent_points_of_a_rectifier_have_no_closed_form():
    x = np.eye(4)
    for name in ("relu", "tanh"):
        net = ff.MLP(4, widths=(3,), activation=name)
        with pytest.raises(NoClosedForm, match=r"span rank 4.*up to rank 3"):
            ff.connected(net, x, 4)
        np.testing.assert_allclose(ff.connected(net, x, 2), ff.nngp(net, x), rtol=1e-13, atol=1e-16)
    triple = ff.connected(ff.MLP(4, widths=(1,), activation="step"), x, 3, readout="fixed")
    assert abs(triple[0, 1, 2]) < 1e-15  # independent units
    assert ff.connected(ff.MLP(4, widths=(3,), activation="cos"), x, 4).shape == (4,) * 4


def test_kinks_elsewhere_and_divergences():
    shifted = ff.MLP(1, widths=(3,), activation=sp.Max(z - 1, 0))
    with pytest.raises(NoClosedForm, match="kink or step"):
        ff.connected(shifted, [[1.0]], 4)
    growing = ff.MLP(1, widths=(3,), activation=sp.exp(z**2 / 8))
    assert np.isfinite(ff.connected(growing, [[0.9]], 4))
    for x in (1.0, 1.1, 5.0):  # E exp(4 z²/8), z ~ N(0, x²), is finite for x < 1
        with pytest.raises(BadInput, match="infinite"):
            ff.connected(growing, [[x]], 4)


def test_a_quadrature_that_does_not_converge_says_so():
    net = ff.MLP(2, widths=(3,), activation="tanh", sigma_w=60.0, sigma_b=60.0)
    with pytest.warns(InaccurateResult, match="tanh: quadrature of products of 2 factors"):
        ff.connected(net, PLANE[:3], 2)


@pytest.mark.parametrize("activation", ["erf", "tanh", "relu", "cos"])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_every_order_of_fixed_weights(activation, n):
    """Cumulants of N equal units: N^{1-n/2} times those of one; rank 1 needs the average of a single unit."""
    one, five = (
        ff.connected(ff.MLP(1, widths=(width,), activation=activation, sigma_b=0.7), [[0.5], [1.0]], n, readout="fixed")
        for width in (1, 5)
    )
    bias = 0.7**2 if n == 2 else 0.0  # of the read-out, which does not scale
    np.testing.assert_allclose(five - bias, 5.0 ** (1 - n / 2) * (one - bias), rtol=1e-12, atol=1e-15)
