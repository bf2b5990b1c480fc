"""Mean-field fixed points, depth scales and the edge of chaos against closed forms, mpmath and iterated recursions."""

import math

import mpmath
import numpy as np
import pytest
import sympy as sp

import fieldflow as ff

z = sp.Symbol("z", real=True)


def erf_square(q):
    return 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q))


def erf_layer(net, q, c):
    """One layer of the textbook recursion for erf: variance and covariance."""
    bias, weight = net.sigma_b**2, net.sigma_w**2
    return bias + weight * erf_square(q), bias + weight * 2 / np.pi * np.arcsin(2 * c / (1 + 2 * q))


def gaussian_average(function, q):
    """E[f(z)], z ~ N(0, q), by mpmath, sharing nothing with the package."""
    weight = lambda x: mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi)  # noqa: E731
    return mpmath.quad(lambda x: function(mpmath.sqrt(q) * x) * weight(x), [-12, -6, -2, 0, 2, 6, 12])


@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(1.0, 0.5), (1.4, 0.1), (0.3, 2.0)])
def test_relu_is_exact(sigma_w, sigma_b):
    net = ff.MeanField("relu", sigma_w, sigma_b)
    slope = sigma_w**2 / 2
    assert net.fixed_point == pytest.approx(sigma_b**2 / (1 - slope), rel=1e-13)
    assert net.chi1 == pytest.approx(slope, rel=1e-15)
    assert net.correlation_fixed_point == 1.0
    assert net.correlation_length == pytest.approx(-1 / math.log(slope), rel=1e-13)
    assert net.variance_length == pytest.approx(-1 / math.log(slope), rel=1e-13)


def test_critical_relu_keeps_every_variance():
    net = ff.MeanField("relu", math.sqrt(2), 0.0, start=3.7)
    assert (net.fixed_point, net.correlation_fixed_point) == (3.7, 1.0)
    assert net.variance_length == net.correlation_length == math.inf


@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(1.5, 0.0), (1.5, 0.3), (math.sqrt(2), 0.1)])
def test_growing_variance_is_a_named_error(sigma_w, sigma_b):
    with pytest.raises(ff.errors.NoFixedPoint, match="grows"):
        _ = ff.MeanField("relu", sigma_w, sigma_b).fixed_point


def test_the_start_decides_between_two_fixed_points():
    """σ = z²: q = σ_b² + 3σ_w²q² has a lower, attracting and an upper, repelling solution."""
    sigma_w, sigma_b = 0.5, 0.3
    low, high = np.roots([3 * sigma_w**2, -1, sigma_b**2])[::-1]
    for start in (1e-3, 0.99 * high):
        assert ff.MeanField(z**2, sigma_w, sigma_b, start=start).fixed_point == pytest.approx(low, rel=1e-12)
    with pytest.raises(ff.errors.NoFixedPoint):
        _ = ff.MeanField(z**2, sigma_w, sigma_b, start=1.01 * high).fixed_point


@pytest.mark.parametrize("activation", ["tanh", "erf"])
def test_silent_networks_have_no_correlation(activation):
    net = ff.MeanField(activation, 0.8, 0.0)
    assert net.fixed_point == 0.0
    assert net.chi1 == pytest.approx(0.64 * (1 if activation == "tanh" else 4 / math.pi), rel=1e-12)
    assert net.variance_length == pytest.approx(-1 / math.log(net.chi1), rel=1e-10)
    with pytest.raises(ff.errors.NoFixedPoint, match="die out"):
        _ = net.correlation_length


@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(1.3, 0.2), (2.5, 0.3)])
def test_tanh_agrees_with_mpmath(sigma_w, sigma_b):
    net = ff.MeanField("tanh", sigma_w, sigma_b)
    root = mpmath.findroot(
        lambda q: sigma_b**2 + sigma_w**2 * gaussian_average(lambda x: mpmath.tanh(x) ** 2, q) - q,
        (0.05, 8.0),
        solver="anderson",
    )
    assert net.fixed_point == pytest.approx(float(root), rel=1e-12)
    sech = lambda x: mpmath.sech(x) ** 2  # noqa: E731
    slope = sigma_w**2 * gaussian_average(lambda x: sech(x) ** 2, root)
    curvature = sigma_w**2 * gaussian_average(lambda x: -2 * mpmath.tanh(x) ** 2 * sech(x), root)
    assert net.chi1 == pytest.approx(float(slope), rel=1e-11)
    assert net.slope_at(net.fixed_point) == pytest.approx(float(slope + curvature), rel=1e-10)
    assert abs(net.chi1 / float(slope + curvature) - 1) > 0.1  # negative control: χ₁ is not V'


def test_erf_is_closed():
    net = ff.MeanField("erf", 1.7, 0.25)
    q = net.fixed_point
    assert q == pytest.approx(net.sigma_b**2 + net.sigma_w**2 * erf_square(q), rel=1e-13)
    assert net.chi1 == pytest.approx(net.sigma_w**2 * 4 / math.pi / math.sqrt(1 + 4 * q), rel=1e-13)


@pytest.mark.parametrize("activation", ["erf", "tanh", "gaussian", "sin", "swish"])
def test_slope_of_the_correlation_map_by_differences(activation):
    net = ff.MeanField(activation, {"gaussian": 3.0, "swish": 1.3}.get(activation, 2.0), 0.3)
    c, h = net.correlation_fixed_point, 1e-4
    if c == 1.0:
        ends = [net.correlation_map(1 - k * h) for k in range(5)]
        measured = np.dot([25, -48, 36, -16, 3], ends) / (12 * h)
    else:
        ends = [net.correlation_map(c + k * h) for k in (-2, -1, 1, 2)]
        measured = np.dot([1, -8, 8, -1], ends) / (12 * h)
        assert net.chi1 > 1.0
    assert float(net.correlation_map(c)) == pytest.approx(c, abs=1e-13)
    assert math.exp(-1 / net.correlation_length) == pytest.approx(measured, rel=1e-8)
    assert net.correlation_map(1.0) == pytest.approx(1.0, abs=1e-13)


@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(1.0, 0.3), (1.8, 0.3)])
def test_iterated_layers_forget_at_the_predicted_rate(sigma_w, sigma_b):
    """Decay e^{-l/ξ} of variance and correlation, fitted to the textbook recursion; half of ξ must not fit."""
    net = ff.MeanField("erf", sigma_w, sigma_b)
    fixed = net.fixed_point
    q, c = 1.2 * fixed, 0.8 * fixed
    variance, correlation = [], []
    for _ in range(12):
        variance.append(abs(q / fixed - 1))
        q, _ = erf_layer(net, q, 0.0)
    for _ in range(60):
        correlation.append(abs(c / fixed - net.correlation_fixed_point))
        _, c = erf_layer(net, fixed, c)
    for length, series in ((net.variance_length, variance), (net.correlation_length, correlation)):
        kept = np.log([value for value in series if value > 1e-9][-6:])
        measured = -5 / (kept[-1] - kept[0])
        assert length == pytest.approx(measured, rel=2e-3)
        assert length / 2 != pytest.approx(measured, rel=0.1)


def test_correlation_map_is_the_layer_of_nngp():
    field = ff.MeanField("erf", 1.5, 0.2)
    radius = math.sqrt((field.fixed_point - field.sigma_b**2) / field.sigma_w**2 * 2)  # so that q¹ = q*
    x = radius * np.array([[1.0, 0.0], [math.cos(0.7), math.sin(0.7)]])
    kernel = ff.nngp(ff.MLP(2, depth=3, activation="erf", sigma_w=1.5, sigma_b=0.2), x)
    c = (field.sigma_b**2 + field.sigma_w**2 * (x @ x.T / 2)[0, 1]) / field.fixed_point
    for _ in range(3):
        c = float(field.correlation_map(c))
    np.testing.assert_allclose(kernel, field.fixed_point * np.array([[1.0, c], [c, 1.0]]), rtol=1e-12)


def test_edge_of_erf_is_closed():
    q = np.array([0.01, 0.5, 3.0, 200.0])
    edge = ff.edge_of_chaos_curve("erf", q)
    weight = np.pi / 4 * np.sqrt(1 + 4 * q)
    np.testing.assert_allclose(edge.sigma_w**2, weight, rtol=1e-13)
    np.testing.assert_allclose(edge.sigma_b**2, q - weight * erf_square(q), rtol=1e-9)
    assert np.abs(edge.sigma_w**2 / (weight / 2) - 1).min() > 0.5  # negative control: E[σ'²] without its 2/√π


@pytest.mark.parametrize("activation", ["tanh", "erf", "sin", "cos", "sigmoid"])
def test_networks_on_the_edge_are_critical(activation):
    sigma_b = np.array([[0.1], [0.8]])
    edge = ff.edge_of_chaos(activation, sigma_b)
    assert edge.sigma_w.shape == (2, 1)
    for weight, bias, q in zip(edge.sigma_w.flat, sigma_b.flat, edge.q.flat, strict=True):
        net = ff.MeanField(activation, weight, bias, start=q)
        assert net.fixed_point == pytest.approx(q, rel=1e-9)
        assert net.chi1 == pytest.approx(1.0, abs=1e-9)
        for shift, phase in ((0.99, "ordered"), (1.01, "chaotic")):
            shifted = ff.MeanField(activation, shift * weight, bias, start=q)
            assert (shifted.chi1 < 1.0) == (phase == "ordered")
            assert (shifted.correlation_fixed_point == 1.0) == (phase == "ordered")


def test_published_critical_point_of_tanh():
    """Schoenholz et al. vary σ_w² at σ_b² = 0.05 around the critical 1.76."""
    edge = ff.edge_of_chaos("tanh", math.sqrt(0.05))
    assert round(float(edge.sigma_w) ** 2, 2) == 1.76
    slope = gaussian_average(lambda x: mpmath.sech(x) ** 4, float(edge.q))
    assert float(edge.sigma_w) ** 2 * float(slope) == pytest.approx(1.0, rel=1e-10)


def test_edge_without_bias_starts_at_the_linear_network():
    edge = ff.edge_of_chaos("tanh", 0.0)
    assert float(edge.sigma_w) == pytest.approx(1.0, rel=1e-12)
    assert float(edge.q) == 0.0


@pytest.mark.parametrize(("activation", "square"), [("relu", "2"), ("identity", "1"), ("abs", "1")])
def test_homogeneous_activations_have_a_point_not_a_curve(activation, square):
    for call in (lambda: ff.edge_of_chaos(activation, 0.1), lambda: ff.edge_of_chaos_curve(activation, [1.0])):
        with pytest.raises(ff.errors.NoEdgeOfChaos, match=rf"sigma_w\^2 = {square}, sigma_b = 0"):
            call()


def test_repelling_fixed_points_are_no_edge():
    """GELU's length map is steeper than 1 where χ₁ = 1, up to q* = 30 or so: no network settles there."""
    curve = ff.edge_of_chaos_curve("gelu", [1.0])
    assert curve.variance_slope[0] > 1.0
    with pytest.raises(ff.errors.NoEdgeOfChaos, match="sigma_b"):
        ff.edge_of_chaos("gelu", float(curve.sigma_b[0]))


def test_points_without_a_real_bias_are_nan():
    curve = ff.edge_of_chaos_curve("cos", [1.0, 2.0])  # σ_b² = q - coth q
    assert np.isnan(curve.sigma_b[0])
    assert curve.sigma_b[1] == pytest.approx(math.sqrt(2 - 1 / math.tanh(2)), rel=1e-12)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: ff.MeanField("tanh", -1.0, 0.0), "sigma_w"),
        (lambda: ff.MeanField("tanh", float("nan"), 0.0), "sigma_w"),
        (lambda: ff.MeanField("tanh", 1.0, -0.1), "sigma_b"),
        (lambda: ff.MeanField("tanh", 1.0, "0.1"), "sigma_b"),
        (lambda: ff.MeanField("tanh", 1.0, 0.1, start=0.0), "start"),
        (lambda: ff.MeanField("tanhh", 1.0, 0.1), "activation: .*tanh"),
        (lambda: ff.MeanField("step", 1.0, 0.1), "activation: .*jumps at 0"),
        (lambda: ff.MeanField(sp.Symbol("a") * z, 1.0, 0.1), "activation"),
        (lambda: ff.edge_of_chaos("tanh", [-0.1]), "sigma_b"),
        (lambda: ff.edge_of_chaos("tanh", float("inf")), "sigma_b"),
        (lambda: ff.edge_of_chaos_curve("tanh", [0.0]), "q"),
        (lambda: ff.edge_of_chaos_curve("sign", [1.0]), "activation"),
        (lambda: ff.edge_of_chaos_curve(z**0, [1.0]), "activation: .*constant"),
        (lambda: ff.MeanField("relu", 1.0, 0.5).correlation_map(1.5), "c: "),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ff.errors.BadInput, match=f"^{name}"):
        call()
