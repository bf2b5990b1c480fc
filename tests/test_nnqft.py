"""NN-QFT: the exact numbers of theory and slides, integrals over the box, sampling from tilted units, the experiment."""

import mpmath
import numpy as np
import pytest
from scipy import integrate, optimize

from fieldflow.checks.nnqft import (
    Estimate,
    Scan,
    chosen_tuples,
    grouped,
    moments_family,
    plain_family,
    six_point,
    space_dependence,
)
from fieldflow.errors import BadInput
from fieldflow.experiment import load_experiment, template
from fieldflow.formulas import compiled
from fieldflow.nnqft import NNQFT, wick_sum
from fieldflow.numeric.symmetric import sorted_tuples
from fieldflow.numeric.tilted import TILTS, tilted_block

WIDTHS = (2, 5, 20, 1000)


def place(theory, index):
    points = sorted_tuples(len(theory.points), len(index))
    return int(np.flatnonzero(np.all(points == index, axis=1))[0])


@pytest.mark.parametrize("width", WIDTHS)
def test_relu_in_one_dimension_has_rational_deviations(width):
    theory = NNQFT("relu")
    np.testing.assert_allclose(theory.deviation(4, width), 5 / width, rtol=1e-12)
    np.testing.assert_allclose(theory.deviation(6, width), 15 / width + 44 / width**2, rtol=1e-12)


@pytest.mark.parametrize(("activation", "mean"), [("erf", 0.056278), ("gauss", 13.39937)])
def test_mean_deviation_of_the_slides_inputs(activation, mean):
    theory = NNQFT(activation)
    found = 7 * theory.deviation(4, 7)
    assert len(found) == 126
    assert round(float(found.mean()), 6 if activation == "erf" else 5) == mean


def test_relu_coupling_is_closed_and_the_same_for_every_tuple():
    for width, box in ((3, 1.5), (20, 7.0)):
        np.testing.assert_allclose(NNQFT("relu").coupling(width, box), -12.5 / (width * box**5), rtol=1e-11)


def test_relu_sextic_coupling():
    """44/N² · 15/8 ∏x over 720 ∫_0^L (y/2)^6 dy ∏x."""
    np.testing.assert_allclose(NNQFT("relu").sextic(20, 2.0), -(44 * 15 / 8) * 448 / (720 * 2.0**7 * 400), rtol=1e-9)


def test_six_point_ratios_of_the_slides():
    theory = NNQFT("relu")
    whole = theory.exact(6, 20)
    assert round(float((theory.gaussian(6) / whole).mean()), 4) == 0.5376
    single = float(theory.coupling(20, 2.0).mean())
    for prediction in (theory.six_point(20, 2.0), theory.six_point(20, 2.0, single)):
        np.testing.assert_allclose(prediction / whole, 1.75 / 1.86, rtol=1e-11)


@pytest.mark.parametrize(("points", "pole"), [((-1, 1, 1, 1), 1.9100), ((-0.6, 0.2, 0.6, 1), 7.7044)])
def test_poles_of_the_erf_coupling(points, pole):
    theory = NNQFT("erf", [[float(point)] for point in points])
    here = place(theory, (0, 1, 2, 3))
    found = optimize.brentq(lambda box: theory.vertex(4, box)[here], 0.7 * pole, 1.4 * pole, xtol=1e-9)
    assert found == pytest.approx(pole, abs=5e-5)
    assert not chosen_tuples(theory)[here]


def test_box_integral_against_adaptive_quadrature():
    """Erf, d = 1, mpmath's arcsine typed anew."""

    def kernel(x, y):
        return 2 / mpmath.pi * mpmath.asin(2 * (1 + x * y) / mpmath.sqrt((3 + 2 * x * x) * (3 + 2 * y * y)))

    theory = NNQFT("erf")
    index = (0, 2, 3, 5)
    points = [mpmath.mpf(repr(float(theory.points[i, 0]))) for i in index]
    for box in (1.5, 40.0):
        cuts = [-box, -3, -1, 0, 1, 3, box] if box > 3 else [-box, 0, box]
        expected = mpmath.quad(lambda y: mpmath.fprod(kernel(x, y) for x in points), cuts)
        assert theory.vertex(4, box)[place(theory, index)] == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("d", [2, 3])
def test_box_integral_of_the_gauss_net_is_a_product_of_error_functions(d):
    rng = np.random.Generator(np.random.Philox(3))
    points, box = 0.3 * rng.normal(size=(3, d)), 1.2
    theory = NNQFT("gauss", points, sigma_w=1.4)
    rate = 1.4**2 / (2 * d)

    def axis(coordinates):
        return integrate.quad(lambda y: np.exp(-rate * np.sum((coordinates - y) ** 2)), -box, box, epsabs=1e-14)[0]

    expected = [1.4**8 * np.prod([axis(points[list(index), a]) for a in range(d)]) for index in sorted_tuples(3, 4)]
    np.testing.assert_allclose(theory.vertex(4, box), expected, rtol=1e-9)


def test_beta_functions():
    """Exactly -(d + 4) for ReLU, -d for Erf in a wide box, 0 for Gauss; and the slope of λ itself."""
    for points in ([[0.3], [0.9]], [[0.3, -0.2], [0.9, 0.4]]):
        theory = NNQFT("relu", points)
        np.testing.assert_allclose(theory.beta(5, 3.0) / theory.coupling(5, 3.0), -(theory.d + 4.0), rtol=1e-6)
    erf = NNQFT("erf")
    positive = place(erf, (3, 4, 5, 5))
    wide = [abs(erf.box_slope(box)[positive] / erf.vertex(4, box)[positive] - 1.0) for box in (1e3, 1e4)]
    assert wide[1] < 0.12 * wide[0] < 0.01  # as 1/L
    assert np.abs(NNQFT("gauss").beta(5, 12.0)).max() < 1e-20
    step = 1e-4
    slope = (erf.coupling(5, 4.0 * np.exp(step)) - erf.coupling(5, 4.0 * np.exp(-step))) / (2 * step)
    even = chosen_tuples(erf)
    np.testing.assert_allclose(erf.beta(5, 4.0)[even], slope[even], rtol=1e-5)


@pytest.mark.parametrize(("d", "sigma_w"), [(1, 1.0), (1, 2.0), (2, 1.5), (3, 0.7)])
def test_gauss_coupling_at_the_origin(d, sigma_w):
    theory = NNQFT("gauss", 1e-6 * np.ones((1, d)), sigma_w=sigma_w)
    found = 9 * theory.coupling(9, 8.0 * np.sqrt(d) / sigma_w)
    expected = float(compiled("nnqft.lambda_gauss")(sigma_w, 1.0, d))
    assert float(found[0]) == pytest.approx(expected, rel=1e-5)
    if (d, sigma_w) == (1, 1.0):
        assert round(expected, 5) == -5.34564


def drawn(theory, width, members, tilts, seed=1):
    covariances, weights = np.empty((members, len(theory.points), len(theory.points))), np.ones(members)
    net = theory.network(width)
    columns = np.ascontiguousarray(theory.points.T)
    law = net.architecture(), theory.scale(theory.points), columns, np.array(tilts)
    tilted_block(*law, np.uint64(seed), 0, covariances, weights)
    return covariances + net.sigma_b[-1] ** 2, weights


@pytest.mark.statistical
@pytest.mark.parametrize("width", [2, 20])
def test_tilted_units_have_the_exact_moments_with_bounded_weights(width):
    theory = NNQFT("gauss", [[-0.01], [0.006]])
    covariances, weights = drawn(theory, width, 20000, TILTS)
    for n in (4, 6):
        values = wick_sum(np.moveaxis(covariances, 0, -1), sorted_tuples(2, n)) * weights
        error = values.std(axis=1) / np.sqrt(len(weights))
        pull = (values.mean(axis=1) - theory.exact(n, width)) / error
        assert np.abs(pull).max() < 4.5
        assert np.max(values) < 40 * np.mean(values)  # bounded: no network dominates
        wrong = (values.mean(axis=1) - theory.gaussian(n)) / error
        assert np.abs(wrong).min() > 8.0
    assert np.mean(weights) == pytest.approx(1.0, abs=5 * np.std(weights) / np.sqrt(len(weights)))


def test_without_tilts_the_weights_are_one():
    _, weights = drawn(NNQFT("gauss"), 3, 10, (0.0,))
    np.testing.assert_array_equal(weights, 1.0)


def test_a_space_dependent_coupling_is_found():
    """Four-point functions made from λ(y) = a + b(y/L)²: two terms fit them, one does not."""
    theory, box = NNQFT("erf"), 3.0
    measured = theory.gaussian(4) - 24.0 * (1e-3 * theory.vertex(4, box) - 4e-4 * theory.vertex(4, box, power=2))
    blank = Estimate(measured, np.zeros((4, 126)))
    scan = Scan("d1", theory, (9,), 8192, {9: {4: blank}}, {})
    (_, _, one), (_, at_origin, two), _ = space_dependence(scan, 9, box)
    assert two < 1e-6 < one
    assert at_origin == pytest.approx(1e-3, rel=1e-4)


def scan_of(theory, width, factor=1.0):
    """A scan whose samples are Gaussian about the truth times ``factor``."""
    rng = np.random.Generator(np.random.Philox(11))
    moments = {}
    for n in (4, 6):
        exact = theory.exact(n, width)
        values = factor * exact * (1.0 + 0.01 * rng.normal(size=(128, len(exact))))
        moments[n] = grouped(values, np.ones(128), 128)
    return Scan("d1", theory, (width,), 8192, {width: moments}, {})


def test_families_see_a_wrong_moment():
    theory = NNQFT("relu", [[0.4], [0.9]])
    right, wrong = (moments_family(scan_of(theory, 20, factor), 4) for factor in (1.0, 1.02))
    assert right.p_value > 1e-3
    assert wrong.p_value < 1e-6
    assert right.powered
    found, measured, loading = six_point(scan_of(theory, 20), 20)
    assert np.abs((measured - found) / np.linalg.norm(loading, axis=0)).max() < 4.0


def test_untrusted_tails_have_no_power():
    theory = NNQFT("relu", [[0.4], [0.9]])
    scan = scan_of(theory, 20, 1.5)
    plain = {20: scan.moments[20][4]}
    assert not plain_family("x", scan, 4, plain, {20: 1.1}).powered
    assert plain_family("x", scan, 4, plain, {20: 1.1}).p_value == 1.0
    trusted = plain_family("x", scan, 4, plain, {20: 0.2})
    assert trusted.powered
    assert trusted.p_value < 1e-6


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: NNQFT("tanh"), "activation: expected one of relu, erf, gauss"),
        (lambda: NNQFT("relu", [[1.0, 0.0, 0.0, 0.0]]), "points: expected shape"),
        (lambda: NNQFT("relu", sigma_w=0.0), "sigma_w"),
        (lambda: NNQFT("relu").vertex(4, 1.0), "box: expected at least 1.2"),
        (lambda: NNQFT("relu").vertex(4, -1.0), "box"),
        (lambda: NNQFT("relu").exact(4, 0), "width: expected an integer from 1"),
        (lambda: NNQFT("relu").exact(5, 3), "n: expected 4 or 6"),
    ],
)
def test_bad_input(make, says):
    with pytest.raises(BadInput, match=says):
        make()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "half_widths = [2.0, 20.0]",
            "half_widths = [1.0, 20.0]",
            "box.half_widths: expected two increasing numbers >= 1.2",
        ),
        ("width = 20 ", "width = 21 ", "checks.widths: expected increasing widths with 21"),
        ("members = 262144", "members = 100", "members: expected at least 256"),
        (
            "[[0.2], [0.4], [0.6], [0.8], [1.0], [1.2]]",
            "[[0.2], [0.4, 1.0]]",
            "points: expected points of one, two or three",
        ),
    ],
)
def test_bad_files(tmp_path, old, new, says):
    text = template("nnqft-relu")
    assert old in text
    path = tmp_path / "bad.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(BadInput, match=says):
        load_experiment(path)


@pytest.mark.parametrize("name", ["deviation", "coupling", "beta"])
def test_tuples_without_a_coupling_are_named(name):
    theory = NNQFT("relu", [[-0.5], [0.5]])
    arguments = (4, 5) if name == "deviation" else (5, 1.0)
    with pytest.raises(BadInput, match=r"points: .* vanishes for the points \[0, (0, 0, 1|0, 1, 1|1, 1, 1)\]"):
        getattr(theory, name)(*arguments)


@pytest.mark.parametrize("n", [0, 9, 4.0, True, "4", [4], None])
def test_numbers_of_points_are_checked(n):
    theory = NNQFT("relu")
    theory.connected(4, 10)  # what is remembered must not hide a wrong key
    for call in (lambda: theory.connected(n, 10), lambda: theory.gaussian(n), lambda: theory.vertex(n, 2.0)):
        with pytest.raises(BadInput, match="n: expected an integer from 1 to 8, got"):
            call()
    for call in (lambda: theory.exact(n, 10), lambda: theory.deviation(n, 10), lambda: theory.deviation(3, 10)):
        with pytest.raises(BadInput, match="n: expected 4 or 6, got"):
            call()


def test_odd_functions_vanish():
    assert not NNQFT("erf").connected(3, 10).any()
