"""Correlators of finite cosine networks: published data, quadrature that shares no code, W[J], networks drawn at random."""

import dataclasses
import itertools
import math
from functools import cache
from pathlib import Path

import mpmath
import numpy as np
import pytest

import fieldflow as ff
from fieldflow.formulas import compiled, derive
from fieldflow.numeric.cosnet import hidden_parameters
from fieldflow.numeric.cosnet_fields import momenta_at, momentum_table
from fieldflow.numeric.rng import UNIFORM, uniforms
from fieldflow.symbolic.cosnet_cumulants import cumulant_terms, sign_choices

DATA = Path(__file__).parent / "data" / "nnft_alpha"
INF = math.inf


def make(**keys):
    return ff.CosNet(**{"mass": 1.0, "width": 3, **keys})


def pairings(two):
    """Σ₃ of products of a two-point matrix."""
    product = np.multiply.outer(two, two)
    return product + product.transpose(0, 2, 1, 3) + product.transpose(0, 3, 2, 1)


# Published data


def published():
    for path in sorted(DATA.glob("*.npz")):
        with np.load(path) as data:
            width = int(path.stem.split("_N")[1].split("_")[0])
            yield width, data["configs"], data["means"], data["errors"]


def test_four_point_functions_published_with_2604_27050():
    """450 points, 10⁸ networks each, nothing fitted; without the I term or without any 1/N the theory is far off."""
    pulls, without, free = [], [], []
    for width, configs, means, errors in published():
        net = make(d=2, radius=100.0, width=width, alpha=0, regulator="gaussian", readout="fixed")
        pulls.append((net.four_point(configs) - means) / errors)
        gaussian = dataclasses.replace(net, width=INF).four_point(configs)
        without.append(((1 - 1 / width) * gaussian - means) / errors)
        free.append((gaussian - means) / errors)
    assert np.size(pulls) == 450
    assert np.mean(np.square(pulls)) == pytest.approx(0.81, abs=0.01)
    assert np.max(np.mean(np.square(pulls), axis=1)) <= 1.2
    for control in (without, free):
        assert np.min(np.mean(np.square(control), axis=1)) > 5.0


# Momentum integrals


def reference(d, p, radius, mass, y, gaussian):
    """I_p(y) by quadrature over |k| between the zeros of the wave, 20 digits, and its value without the wave."""
    with mpmath.workdps(20):
        d, p, radius, mass, y = (mpmath.mpf(value) for value in (d, p, radius, mass, y))
        top = 11 * radius if gaussian else radius
        edges = {mpmath.mpf(0), top, *(mass * 2**i for i in range(-1, 9) if mass * 2**i < top)}
        edges |= {radius * i for i in range(1, 11) if radius * i < top}
        edges |= {i * mpmath.pi / y for i in range(1, int(top * y / mpmath.pi) + 1)} if y else set()
        area = 2 * mpmath.pi ** (d / 2) / mpmath.gamma(d / 2) / (2 * mpmath.pi) ** d

        def integrand(k, y):
            z = k * y
            wave = 1 if z == 0 else mpmath.gamma(d / 2) * (2 / z) ** (d / 2 - 1) * mpmath.besselj(d / 2 - 1, z)
            cut = mpmath.exp(-(k**2) / (2 * radius**2)) if gaussian else 1
            return area * k ** (d - 1) * wave * cut * (k**2 + mass**2) ** -p

        return [mpmath.quad(lambda k, at=at: integrand(k, at), sorted(edges)) for at in (y, 0)]


@pytest.mark.parametrize("regulator", ["", "_gaussian"])
@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_transforms_by_quadrature(d, regulator):
    f = compiled("cosnet.transform" + regulator)
    for p, y in itertools.product((-2.5, 0.4, 1.0, 4.0), (0.13, 0.9)):
        expected, size = reference(d, p, 8.0, 0.9, y, bool(regulator))
        assert abs(f(y, d, p, 8.0, 0.9) - expected) <= 1e-14 * size + 1e-11 * abs(expected)


def test_transforms_where_waves_cancel():
    """R y up to 1000: values 10^{-30} of that at y = 0 keep their digits."""
    f = compiled("cosnet.transform_gaussian")
    with mpmath.workdps(30):
        for mass, y in itertools.product((0.1, 1.0, 30.0), (0.0, 0.01, 1.0, 10.0)):
            # d = 1, p = 1: a pair of complementary error functions.
            root, m = 1 / (mpmath.sqrt(2) * 100), mpmath.mpf(mass)
            ends = (mpmath.exp(s * m * y) * mpmath.erfc(m * root + s * y / (2 * root)) for s in (1, -1))
            expected = mpmath.exp((m * root) ** 2) / (4 * m) * sum(ends)
            assert abs(f(y, 1, 1.0, 100.0, mass) / expected - 1) < 1e-12
        for d, p, y in itertools.product((1, 3), (-4.3, -2.0, -0.7, 0.45, 1.3), (0.0, 0.05, 0.4, 10.0)):
            # No mass: Kummer's function.
            q, tau = mpmath.mpf(d) / 2 - mpmath.mpf(p), mpmath.mpf(1) / (2 * 100**2)
            if q > 0:
                wave = mpmath.hyp1f1(q, mpmath.mpf(d) / 2, -(mpmath.mpf(y) ** 2) / (4 * tau))
                expected = (4 * mpmath.pi) ** (-mpmath.mpf(d) / 2) * tau**-q * mpmath.gamma(q) * wave
                expected /= mpmath.gamma(mpmath.mpf(d) / 2)
                assert abs(f(y, d, p, 100.0, 0.0) - expected) <= 1e-11 * abs(expected) + 1e-290


@pytest.mark.parametrize(
    ("d", "p", "mass"), [(1, -1.5, 1.0), (3, -0.7, 1.0), (3, 0.5, 0.4), (2, 2.2, 1.0), (1, 5.0, 0.3)]
)
def test_sharp_cutoff_far_out(d, p, mass):
    f = compiled("cosnet.transform")
    for y in (0.5, 1.3):
        expected, _ = reference(d, p, 100.0, mass, y, False)
        assert abs(f(y, d, p, 100.0, mass) / expected - 1) < 1e-11
    # Panels and expansion meet.
    edge = (80.0 + d + 6.0 * max(p, 0.0)) / 100.0
    values = f(np.array([edge * (1 - 1e-13), edge * (1 + 1e-13)]), d, p, 100.0, mass)
    size = f(0.0, d, p, 100.0, mass)
    assert abs(values[1] - values[0]) < 1e-14 * size + 1e-10 * abs(values[0])


def test_sharp_cutoff_without_a_mass():
    f = compiled("cosnet.transform")
    for d, p, y in itertools.product((1, 2, 3), (-1.5, 0.0, 0.3, 0.9), (0.0, 0.03, 0.5)):
        power = mpmath.mpf(d) - 2 * mpmath.mpf(p)
        if power > 0:
            area = 2 * mpmath.pi ** (mpmath.mpf(d) / 2) / mpmath.gamma(mpmath.mpf(d) / 2) / (2 * mpmath.pi) ** d
            wave = mpmath.hyp1f2(power / 2, mpmath.mpf(d) / 2, power / 2 + 1, -((20 * mpmath.mpf(y)) ** 2) / 4)
            expected = area * mpmath.mpf(20) ** power / power * wave
            assert f(y, d, p, 20.0, 0.0) == pytest.approx(float(expected), rel=1e-12)


def test_transforms_without_a_regulator():
    f = compiled("cosnet.transform_infinite")
    assert f(2.0, 3, 2.0, 1.5) == pytest.approx(math.exp(-3) / (8 * math.pi * 1.5), rel=1e-14)  # d = 3, p = 2
    assert f(0.0, 3, 2.0, 1.5) == pytest.approx(1 / (8 * math.pi * 1.5), rel=1e-14)
    assert f(2.0, 3, 1.0, 0.0) == pytest.approx(1 / (8 * math.pi), rel=1e-14)
    assert f(2.0, 3, -2.0, 1.5) == 0.0  # a derivative of the delta function
    for p in (0.6, 1.3, -0.5):
        limit = compiled("cosnet.transform_gaussian")(1.3, 2, p, 1e6, 0.8)
        assert f(1.3, 2, p, 0.8) == pytest.approx(float(limit), rel=1e-9)


@pytest.mark.parametrize("regulator", ["ball", "gaussian"])
def test_one_home_for_propagator_and_transform(regulator):
    for d in (1, 2, 3, 4):
        net = make(d=d, radius=7.0, alpha=0.3, regulator=regulator, readout="fixed")
        y = np.array([0.0, 0.2, 3.0, 20.0])
        one = compiled("cosnet.transform" + ("_gaussian" if regulator == "gaussian" else ""))(y, d, 1.0, 7.0, 1.0)
        np.testing.assert_allclose(net.propagator(y), one, rtol=1e-13, atol=1e-16)
        points = np.stack([np.zeros(d), np.eye(d)[0] * 3.0])
        np.testing.assert_allclose(net.connected(points, 2)[0], one[[0, 2]], rtol=1e-13)
        name = "cosnet.momentum_volume" + ("_gaussian" if regulator == "gaussian" else "")
        volume = compiled("cosnet.transform" + name.removeprefix("cosnet.momentum_volume"))(0.0, d, 1.3, 7.0, 1.0)
        assert compiled(name)(d, 7.0, 1.0, 0.3) == pytest.approx(float(volume), rel=1e-12)


# Tensors


def one_neuron(net, points, nodes=120):
    """Joint moments of one neuron in d = 1, f_R = θ(R - k): sums over k and 16 phases; returns E of a product."""
    k, w = np.polynomial.legendre.leggauss(nodes)
    k, w = 0.5 * net.radius * (k + 1), 0.5 * net.radius * w
    density = (k**2 + net.mass**2) ** -(net.alpha + 1)
    c = 2 * np.pi * np.arange(16) / 16
    h = np.cos(np.multiply.outer(points[:, 0], k)[:, :, None] + c) * (k**2 + net.mass**2)[:, None] ** (net.alpha / 2)
    weight = (w * density / (w @ density))[:, None] / 16

    @cache
    def moment(indices):
        factor = {"gaussian": {2: 1, 4: 3, 6: 15, 8: 105}[len(indices)] * (net.sigma_w or 1) ** len(indices),
                  "fixed": (w @ density / np.pi * 2) ** (len(indices) / 2)}[net.readout]  # fmt: skip
        return factor * np.sum(weight * np.prod(h[list(indices)], axis=0))

    return moment


def cumulant(moment, indices):
    """κ by the recursion M_S = Σ_{B containing the first} κ_B M_{S\\B}: no table of partitions."""
    if not indices:
        return 0.0
    first, rest = indices[0], indices[1:]
    value = moment(indices)
    for size in range(1, len(rest), 2):
        for chosen in itertools.combinations(range(len(rest)), size):
            inside = (first, *(rest[i] for i in chosen))
            outside = tuple(rest[i] for i in range(len(rest)) if i not in chosen)
            value -= cumulant(moment, inside) * moment(outside)
    return value


@pytest.mark.parametrize(
    "keys", [{}, {"alpha": 0.7, "sigma_w": 1.3}, {"alpha": -0.4, "readout": "fixed"}, {"alpha": 2, "readout": "fixed"}]
)
def test_connected_tensors_by_brute_force(keys):
    net = make(d=1, radius=6.0, **{"alpha": -1, **keys})
    points = np.array([[0.3], [-0.2], [1.1]])
    moment = one_neuron(net, points)
    for n in (2, 4, 6, 8):
        tensor = net.connected(points, n)
        assert tensor.shape == (3,) * n
        for indices in ((0,) * n, (0, 1, 2, 2, 1, 0, 0, 1)[:n], (2, 1, 0, 1, 2, 2, 1, 0)[:n]):
            expected = 3 ** (1 - n / 2) * cumulant(moment, indices)
            assert tensor[indices] == pytest.approx(expected, rel=1e-10)
    assert np.all(net.connected(points, 3) == 0.0)


@pytest.mark.parametrize("regulator", ["ball", "gaussian"])
@pytest.mark.parametrize(
    ("d", "alpha", "readout"), [(1, -1, "gaussian"), (2, 0.5, "fixed"), (3, 1.4, "gaussian"), (6, 0, "fixed")]
)
def test_full_is_connected_and_pairs(d, alpha, readout, regulator):
    net = make(d=d, radius=4.0, alpha=alpha, readout=readout, regulator=regulator)
    x = np.random.default_rng(3).normal(size=(4, d)) + 1000.0
    full = net.connected(x, 4) + pairings(net.connected(x, 2))
    index = np.array(list(itertools.product(range(4), repeat=4)))
    np.testing.assert_allclose(net.four_point(x[index]), full.reshape(-1), rtol=1e-10, atol=1e-10 * np.max(full))
    np.testing.assert_allclose(full, full.transpose(3, 1, 0, 2), rtol=1e-14)
    wide = dataclasses.replace(net, width=3000)
    np.testing.assert_allclose(wide.connected(x, 6) * 1e6, net.connected(x, 6), rtol=1e-12)


def test_common_random_scale_breaks_independence():
    x = np.array([[0.0, 0.0], [0.4, -0.1], [0.2, 0.5]])
    infinite = make(d=2, radius=5.0, width=INF)
    two = infinite.connected(x, 2)
    assert np.all(infinite.connected(x, 4) == 0.0)
    # s = ½ or 2 with probabilities 0.6 and 0.4.
    moments = [0.6 * 0.5**j + 0.4 * 2.0**j for j in range(1, 5)]
    variance = moments[1] - moments[0] ** 2
    third = moments[2] - 3 * moments[1] * moments[0] + 2 * moments[0] ** 3
    np.testing.assert_allclose(infinite.connected(x, 2, scale_moments=moments), moments[0] * two, rtol=1e-14)
    np.testing.assert_allclose(infinite.connected(x, 4, scale_moments=moments), variance * pairings(two), rtol=1e-13)
    found = infinite.connected(x, 6, scale_moments=moments)
    assert found[0, 0, 0, 0, 0, 0] == pytest.approx(15 * third * two[0, 0] ** 3, rel=1e-12)
    net = make(d=2, radius=5.0, width=2)
    base = net.connected(x, 4)
    formula = compiled("cosnet.scaled")(moments[0], moments[1], base[0, 1, 2, 2], two[0, 1], two[2, 2], two[0, 2],
                                        two[1, 2], two[0, 2], two[1, 2])  # fmt: skip
    assert net.connected(x, 4, scale_moments=moments)[0, 1, 2, 2] == pytest.approx(float(formula), rel=1e-12)
    for n in (2, 4, 6, 8):
        certain = net.connected(x, n, scale_moments=[1.0] * 4)
        np.testing.assert_allclose(certain, net.connected(x, n), rtol=1e-10, atol=1e-14)
    # κ_8 at one point by the moments of a mixture of two networks.
    full = sum(share * moment_of(net, x[:1], scale) for share, scale in ((0.6, 0.5), (0.4, 2.0)))
    assert net.connected(x[:1], 8, scale_moments=moments).item() == pytest.approx(from_moments(full)[8], rel=1e-9)


def moment_of(net, point, scale):
    """Moments 2, 4, 6, 8 of f at one point with the read-out variance times ``scale``."""
    k = {n: scale ** (n / 2) * net.connected(point, n).item() for n in (2, 4, 6, 8)}
    return np.array([
        k[2], k[4] + 3 * k[2] ** 2, k[6] + 15 * k[4] * k[2] + 15 * k[2] ** 3,
        k[8] + 28 * k[6] * k[2] + 35 * k[4] ** 2 + 210 * k[4] * k[2] ** 2 + 105 * k[2] ** 4,
    ])  # fmt: skip


def from_moments(m):
    m2, m4, m6, m8 = m
    k4 = m4 - 3 * m2**2
    k6 = m6 - 15 * m4 * m2 + 30 * m2**3
    return {2: m2, 4: k4, 6: k6, 8: m8 - 28 * m6 * m2 - 35 * m4**2 + 420 * m4 * m2**2 - 630 * m2**4}


def test_tables_have_the_right_sizes():
    assert [len(cumulant_terms(n)) for n in (2, 4, 6, 8)] == [1, 4, 31, 379]
    assert [len(sign_choices(n)) for n in (2, 4, 6, 8)] == [1, 3, 10, 35]
    assert "I_{12|34}" in derive("cosnet.four_point").latex()


# Generating functional


def expanded(net, points, sources, *, reach=0.8, terms=9):
    """Coefficients of W(λJ) times (2j)!: a polynomial in λ² through 24 Chebyshev points."""
    s = 0.5 * reach**2 * (1 - np.cos(np.pi * (np.arange(24) + 0.5) / 24))
    w = net.generating_functional(points, np.sqrt(s)[:, None] * sources)
    found = np.linalg.lstsq(np.vander(s / reach**2, terms, increasing=True), w / s, rcond=None)[0]
    return [found[j] * math.factorial(2 * j + 2) / reach ** (2 * j) for j in range(3)]


@pytest.mark.parametrize(
    ("keys", "size"),
    [
        ({"d": 1, "radius": 8.0, "alpha": -1}, 3),
        ({"d": 2, "radius": 4.0, "alpha": 0.4, "regulator": "gaussian"}, 2),
        ({"d": 2, "radius": 5.0, "alpha": -0.5, "readout": "fixed"}, 3),
        ({"d": 3, "radius": 3.0, "alpha": 0.3, "readout": "fixed"}, 3),
        ({"d": 3, "radius": 2.0, "alpha": -1}, 4),
        ({"d": 5, "radius": 3.0, "alpha": -0.3}, 2),
        ({"d": 3, "radius": 3.0, "alpha": 0.2, "mass": 0.0, "readout": "fixed"}, 1),
    ],
)
def test_derivatives_of_w_are_the_connected_tensors(keys, size):
    net = make(**keys)
    rng = np.random.default_rng(5)
    x, direction = 0.6 * rng.normal(size=(size, net.d)), rng.normal(size=size)
    direction /= math.sqrt(direction @ net.connected(x, 2) @ direction)
    found = expanded(net, x, direction)
    for order, value in zip((2, 4, 6), found, strict=True):
        tensor = net.connected(x, order)
        for _ in range(order):
            tensor = tensor @ direction
        assert value == pytest.approx(float(tensor), rel={2: 1e-9, 4: 1e-7, 6: 1e-4}[order])


def test_w_of_one_neuron_by_quadrature_and_its_limits():
    net = make(d=1, radius=8.0, width=1, sigma_w=1.4)
    x, sources = np.array([[0.2], [1.0]]), np.array([[4.0, -3.0], [0.5, 2.0]])
    with mpmath.workdps(20):
        for row, found in zip(sources, net.generating_functional(x, sources), strict=True):

            def factor(k, row=row):
                a = 1.96 / (k * k + 1) / 4
                a *= row @ row + 2 * row[0] * row[1] * mpmath.cos(0.8 * k)
                return mpmath.exp(a) * mpmath.besseli(0, a)

            expected = mpmath.log(mpmath.quad(factor, [0, 1, 2, 4, 8]) / 8)
            assert abs(found / expected - 1) < 1e-11
    infinite = dataclasses.replace(net, width=INF)
    wide = dataclasses.replace(net, width=10**9)
    np.testing.assert_allclose(
        wide.generating_functional(x, sources), infinite.generating_functional(x, sources), rtol=1e-6
    )
    assert net.generating_functional(x, [0.0, 0.0]) == 0.0


# Networks drawn at random


def pull(values, expected):
    return (np.mean(values) - expected) / (np.std(values) / math.sqrt(len(values)))


@pytest.mark.parametrize(
    "keys",
    [
        {"d": 1, "radius": 8.0, "alpha": -1},
        {"d": 2, "radius": 10.0, "alpha": 0.4, "regulator": "gaussian"},
        {"d": 3, "radius": 3.0, "alpha": -0.3, "readout": "fixed"},
        {"d": 2, "radius": 6.0, "alpha": 0, "regulator": "gaussian", "readout": "fixed"},
        {"d": 3, "radius": 3.0, "alpha": 0.2, "mass": 0.0, "readout": "fixed"},
    ],
)
def test_four_point_function_of_drawn_networks(keys):
    """200 000 networks of three neurons at x_1 + x_2 = x_3 + x_4; the control leaves out what one neuron correlates."""
    net = make(**keys)
    x = 0.4 * np.random.default_rng(1).normal(size=(4, net.d))
    x[3] = x[0] + x[1] - x[2]
    fields = net.sample(x, 200_000, seed=3)
    product = np.prod(fields, axis=1)
    assert abs(pull(product, net.four_point([x])[0])) < 4
    assert abs(pull(product, 2 / 3 * dataclasses.replace(net, width=INF).four_point([x])[0])) > 8
    assert abs(pull(fields[:, 0] * fields[:, 1], net.connected(x, 2)[0, 1])) < 4


def test_drawn_networks_follow_w_and_the_common_scale():
    net = make(d=2, radius=5.0, alpha=0.3, width=2, readout="fixed")
    x, sources = np.array([[0.0, 0.0], [0.5, 0.2]]), np.array([1.1, 0.8])
    fields = net.sample(x, 200_000, seed=8)
    sources = 2.0 * sources / math.sqrt(sources @ net.connected(x, 2) @ sources)
    weights = np.exp(fields @ sources)
    assert abs(pull(weights, math.exp(net.generating_functional(x, sources)))) < 4
    free = dataclasses.replace(net, width=INF).generating_functional(x, sources)
    assert abs(pull(weights, math.exp(free))) > 8
    # One random scale per network, s = ½ or 2.
    s = np.where(uniforms(len(fields), seed=4, member=0, stream=UNIFORM) < 0.6, 0.5, 2.0)
    moments = [0.6 * 0.5**j + 0.4 * 2.0**j for j in (1, 2)]
    product = s**2 * fields[:, 0] ** 2 * fields[:, 1] ** 2
    index = (0, 0, 1, 1)
    two = net.connected(x, 2, scale_moments=moments)
    connected = net.connected(x, 4, scale_moments=moments)
    assert abs(pull(product, (connected + pairings(two))[index])) < 4
    assert abs(pull(product, (moments[0] ** 2 * net.connected(x, 4) + pairings(two))[index])) > 8


def test_momenta_are_drawn_by_the_inverse_of_their_law():
    u = np.array([1e-12, 1e-3, 0.2, 0.5, 0.9, 1 - 1e-9])
    np.testing.assert_allclose(momenta_at(momentum_table(3, 5.0, 0.7, -1.0, True), u), 5 * np.cbrt(u), rtol=1e-10)
    # d = 2: the law of k² is elementary.
    found = momenta_at(momentum_table(2, 5.0, 0.7, 0.5, True), u[1:])
    low, high = 0.49**-0.5, (25 + 0.49) ** -0.5
    np.testing.assert_allclose(found, np.sqrt((low - u[1:] * (low - high)) ** -2 - 0.49), rtol=1e-9)
    # d = 2, Gaussian, alpha = -1: a Rayleigh variable.
    found = momenta_at(momentum_table(2, 5.0, 0.7, -1.0, False), u)
    np.testing.assert_allclose(found, 5 * np.sqrt(-2 * np.log1p(-u)), rtol=1e-8)
    table = momentum_table(3, 4.0, 0.0, 0.2, False)
    assert table.volume == pytest.approx(float(compiled("cosnet.transform_gaussian")(0.0, 3, 1.2, 4.0, 0.0)), rel=1e-11)


def test_draws_do_not_depend_on_threads_and_agree_with_the_paper_network():
    net = ff.CosNet(d=2, radius=5.0, mass=0.7, width=4)
    x = np.array([[0.1, 0.2], [-0.3, 0.5]])
    fields = net.sample(x, 130, seed=6, threads=1)
    np.testing.assert_array_equal(fields[:70], net.sample(x, 70, seed=6, threads=2))
    layer = net.architecture()
    b, phases = hidden_parameters(layer, np.uint64(6), 5)
    h = np.cos(x @ b.T + phases) / np.sqrt(np.sum(b**2, axis=1) + 0.49)
    weights = np.linalg.lstsq(h, fields[5], rcond=None)[0]
    np.testing.assert_allclose(h @ weights, fields[5], rtol=1e-9)
    normal = ff.numeric.rng.normals(4, seed=6, member=5, stream=ff.numeric.rng.READOUT)
    np.testing.assert_allclose(h @ normal / 2, fields[5], rtol=1e-9)


# What is refused


@pytest.mark.parametrize(
    ("keys", "call", "message"),
    [
        ({}, lambda net: net.four_point(np.zeros((3, 4))), "configs: expected shape .n, 4, 2."),
        ({}, lambda net: net.four_point(np.zeros((2, 4, 3))), "configs: "),
        ({}, lambda net: net.four_point(np.zeros((2, 3, 2))), "configs: "),
        ({}, lambda net: net.four_point(np.full((1, 4, 2), np.nan)), "configs: "),
        ({"width": None}, lambda net: net.four_point(np.zeros((1, 4, 2))), "width: expected a number of hidden units"),
        ({"width": None}, lambda net: net.connected(np.zeros((1, 2)), 4), "width: "),
        ({}, lambda net: net.connected(np.zeros((1, 3)), 4), "points: "),
        ({}, lambda net: net.connected(np.zeros((1, 2)), 10), "n: expected an integer from 1 to 8"),
        ({}, lambda net: net.connected(np.zeros((1, 2)), 2.0), "n: "),
        ({}, lambda net: net.connected(np.zeros((200, 2)), 8), "n = 8 at 200 points: needs .* GiB"),
        ({}, lambda net: net.connected(np.zeros((1, 2)), 4, scale_moments=[1.0]), "scale_moments: expected E s"),
        ({}, lambda net: net.connected(np.zeros((1, 2)), 4, scale_moments=[1.0, 0.5]), "scale_moments: no random s"),
        ({}, lambda net: net.connected(np.zeros((1, 2)), 4, scale_moments=[-1.0, 2.0]), "scale_moments: no random s"),
        ({"d": 3, "mass": 0.0}, lambda net: net.four_point(np.zeros((1, 4, 3))), "mass: expected > 0: the integral"),
        ({"radius": INF, "alpha": 0, "readout": "fixed"}, lambda net: net.four_point(np.eye(8).reshape(4, 4, 4)[:, :, :2] + 0),
         "radius: expected a finite number: without a momentum cut-off"),
        ({"radius": INF, "readout": "fixed"}, lambda net: net.generating_functional([[0.0, 0.0]], [1.0]), "radius: W"),
        ({}, lambda net: net.generating_functional([[0.0, 0.0]], [1.0, 2.0]), "sources: expected shape .b, 1."),
        ({}, lambda net: net.generating_functional([[0.0, 0.0]], [1e4]), "sources: too strong"),
        ({"alpha": 1.5, "regulator": "gaussian"}, lambda net: net.generating_functional([[0.0, 0.0]], [0.1]),
         "sources: W.J. is infinite"),
        ({"alpha": 2, "regulator": "gaussian", "readout": "fixed"}, lambda net: net.generating_functional([[0.0, 0.0]], [99.0]),
         "sources: W.J. is infinite"),
        ({"d": 3, "mass": 0.0}, lambda net: net.generating_functional([[0.0, 0.0, 0.0]], [1.0]),
         "mass: expected > 0 for alpha < 0"),
        ({"width": INF}, lambda net: net.sample([[0.0, 0.0]], 3), "width: "),
        ({}, lambda net: net.sample([[0.0, 0.0]], 0), "members: "),
    ],
)  # fmt: skip
def test_what_has_no_answer_is_refused(keys, call, message):
    net = make(**{"d": 2, "radius": 8.0, **keys})
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        call(net)
    assert type(caught.value).__module__.startswith("fieldflow")
    assert "\n" not in str(caught.value)


def test_points_too_far_apart_for_w_are_refused_at_once():
    with pytest.raises(ff.errors.NoClosedForm, match="points: W needs waves of"):
        ff.CosNet(d=1, radius=3.0, mass=1.0, width=5).generating_functional([[0.0], [1e12]], [1.0, 1.0])
