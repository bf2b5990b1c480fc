"""The exact density of a finite network at one point, against closed forms, slow quadrature and samples."""

import math
import warnings

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import integrate, special, stats

import fieldflow as ff
from fieldflow.errors import BadInput, InaccurateResult, NoClosedForm
from fieldflow.numeric.neuron import Table, mixture, neuron_law
from fieldflow.symbolic.activations import activation
from oracles.small_networks import linear_density

SIGMA, X = 1.3, 0.8
VALUES = np.array([1e-6, 1e-3, 0.1, 0.5, 1.0, -2.0, 4.0])


def network(name, width, **options):
    return ff.MLP(1, widths=(width,), activation=name, sigma_w=SIGMA, **options)


def linear(width, read_out_width, values=VALUES):
    """Density of ``width`` linear neurons whose weights have the variance of a network of another width."""
    variance = width / read_out_width * SIGMA**4 * X**2
    return linear_density(values[:, None], np.array([[variance]]), width)


@pytest.mark.parametrize("width", [1, 2, 3, 10, 200])
def test_linear_networks_have_bessel_densities(width):
    values = VALUES if width < 20 else VALUES[2:]  # Bessel functions of high order overflow
    found = ff.exact_density(network("identity", width), [[X]], values)
    assert np.max(np.abs(found.value - linear(width, width, values))) < 1e-13
    assert np.max(found.error) < 1e-12
    assert found.atom == 0.0
    assert np.allclose(ff.exact_density(network("abs", width), [[X]], values).value, found.value, rtol=0, atol=1e-13)


@pytest.mark.parametrize("width", [1, 2, 5, 10, 100])
def test_rectified_networks_are_binomial_mixtures_with_an_atom(width):
    values = VALUES if width < 20 else VALUES[2:]
    found = ff.exact_density(network("relu", width), [[X]], values)
    parts = [linear(k, width, values) for k in range(1, width + 1)]
    expected = stats.binom(width, 0.5).pmf(np.arange(1, width + 1)) @ parts
    assert np.max(np.abs(found.value - expected)) < 1e-13
    assert found.atom == pytest.approx(0.5**width, rel=1e-13)
    wrong = stats.binom(width, 0.4).pmf(np.arange(1, width + 1)) @ parts
    assert np.max(np.abs(found.value - wrong)) > 1e-3


def test_what_happens_at_zero():
    assert ff.exact_density(network("relu", 5), [[X]], [0.0]).value[0] == np.inf
    # The weight N 2^{-N} of the logarithm no longer counts.
    assert np.isfinite(ff.exact_density(network("relu", 100), [[X]], [0.0]).value[0])
    assert ff.exact_density(network("identity", 1), [[X]], [0.0]).value[0] == np.inf
    assert ff.exact_density(network("identity", 2), [[X]], [0.0]).value[0] == pytest.approx(
        1 / (2 * SIGMA**2 * X / math.sqrt(2)), rel=1e-12
    )
    biased = ff.exact_density(network("relu", 5, sigma_b=(0.0, 0.2)), [[X]], [0.0])
    assert np.isfinite(biased.value[0])
    assert biased.atom == 0.0


@pytest.mark.parametrize(("name", "width"), [("relu", 3), ("erf", 2), ("cos", 5), ("step", 4), ("exp", 3)])
def test_density_and_atom_have_mass_one(name, width):
    net = network(name, width)
    y = np.geomspace(1e-6, 1e5, 1500)
    value = np.maximum(ff.exact_density(net, [[X]], [*y, 2e-6]).value, 0.0)
    found = ff.exact_density(net, [[X]], [1.0])
    mass = 2 * integrate.simpson(value[:-1] * y, x=np.log(y)) + found.atom
    # Below, a - b ln y: the singularity at 0 is logarithmic at most.
    mass += 2e-6 * (value[0] + (value[0] - value[-1]) / math.log(2))
    assert abs(mass - 1.0) < 1e-9


@pytest.mark.parametrize("name", ["erf", "cos", "tanh", "gelu", "softplus"])
def test_one_neuron_by_quadrature(name):
    """E e^{-τ²h²/2} at thirty digits; softplus has no zero."""
    z = sp.Symbol("z", real=True)
    expr = activation(name).expr.xreplace(dict.fromkeys(activation(name).expr.free_symbols, z))
    h = sp.lambdify(z, expr, "mpmath")
    function = sp.lambdify(z, expr, ["scipy", "numpy"])
    law = neuron_law(function, (), 1.7)
    table = Table(law)
    with mpmath.workdps(20):
        root = mpmath.sqrt(mpmath.mpf(1.7))
        zeros = {"cos": [k * mpmath.pi / 2 for k in range(-7, 8, 2)], "softplus": []}.get(name, [mpmath.mpf(0)])
        for tau in (0.2, 3.0, 40.0):
            spikes = [zero + k / mpmath.mpf(tau) for zero in zeros for k in (-4, -1, 1, 4)]
            marks = sorted({-12 * root, 12 * root, *map(mpmath.mpf, range(-12, 13, 3)), *zeros, *spikes})
            expected = mpmath.quad(
                lambda u, tau=tau: mpmath.exp(-(u**2) / (2 * root**2) - mpmath.mpf(tau) ** 2 * h(u) ** 2 / 2),
                marks,
            ) / (root * mpmath.sqrt(2 * mpmath.pi))
            # gelu below -8.3 is 0 to rounding: counted apart.
            assert abs(table(np.array([tau]))[0] + law.atom - float(expected)) < 2e-14


@pytest.mark.parametrize(("name", "y"), [("erf", 0.3), ("tanh", 0.5)])
def test_two_neurons_by_double_integral(name, y):
    """The average of N(y; 0, s(h_1² + h_2²)) over both preactivations."""
    h = {"erf": math.erf, "tanh": math.tanh}[name]
    s, root = SIGMA**2 / 2, SIGMA * X

    def inside(a, b):
        variance = s * (h(root * a) ** 2 + h(root * b) ** 2) + 1e-300
        return math.exp(-(a**2 + b**2 + y**2 / variance) / 2) / math.sqrt(variance)

    expected = (
        2 / math.pi * integrate.dblquad(inside, 0, 9, 0, 9, epsabs=1e-12, epsrel=1e-12)[0] / math.sqrt(2 * math.pi)
    )
    found = ff.exact_density(network(name, 2), [[X]], [y])
    assert abs(found.value[0] - expected) < 1e-10
    biased = ff.exact_density(network(name, 2, sigma_b=(0.5, 0.0)), [[X]], [y])
    assert abs(biased.value[0] - expected) > 1e-4


def test_cosines_of_a_uniform_phase_have_the_bessel_law():
    law = neuron_law(np.cos, (), 100.0)  # e^{-2q} = 1e-87 from uniform
    tau = np.array([1e-3, 0.3, 1.0, 5.0, 200.0, 1e4])
    expected = special.ive(0, tau**2 / 4)
    assert np.max(np.abs(mixture(law, tau) / expected - 1)) < 1e-12
    assert np.max(np.abs(Table(law)(tau) - expected)) < 1e-14


@pytest.mark.parametrize("power", [2, 3])
def test_neurons_that_touch_zero_are_followed_to_any_frequency(power):
    """h = z^p: ψ falls like τ^{-1/p}, by mpmath."""
    law = neuron_law(lambda z: z**power, (), 1.0)
    table = Table(law)
    with mpmath.workdps(20):
        for tau in (1e-2, 1.0, 1e4, 1e9, 1e15):
            scale = mpmath.mpf(tau) ** (-mpmath.mpf(1) / power)
            truth = mpmath.quad(
                lambda z, tau=tau: mpmath.exp(-(z**2) / 2 - tau**2 * z ** (2 * power) / 2) * mpmath.sqrt(2 / mpmath.pi),
                [0, scale / 3, scale, 2 * scale, 4 * scale, 8 * scale] if scale < 1 else [0, 0.5, 1, 2, 4, 12],
            )
            tolerance = 1e-10 if tau < 1e13 else 1e-6  # beyond the table: a power law
            assert abs(table(np.array([tau]))[0] / float(truth) - 1) < tolerance


def test_what_cannot_be_reached_is_said():
    with pytest.warns(InaccurateResult, match="estimated error"):
        ff.exact_density(network("relu", 3), [[X]], [1e-60])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ff.exact_density(network("gelu", 3), [[X]], VALUES)
    with pytest.raises(BadInput, match="at most 200 zeros"):
        ff.exact_density(ff.MLP(1, widths=(3,), activation=sp.sin(10**4 * sp.Symbol("z"))), [[1.0]], [0.5])


@pytest.mark.statistical
def test_samples_of_a_narrow_network():
    width, members = 4, 100_000
    net = network("relu", width)
    f = ff.Ensemble(net, members=members, seed=2).sample([[X]])[:, 0]
    off = float(np.mean(f == 0.0))
    found = ff.exact_density(net, [[X]], VALUES)
    assert abs(off - found.atom) < 4 * math.sqrt(found.atom / members)
    edges = np.linspace(0.2, 4.0, 39)
    nodes, shares = np.polynomial.legendre.leggauss(8)
    inner = (edges[1:] + edges[:-1])[:, None] / 2 + 0.05 * nodes

    def chi2(density):
        expected = members * 2 * (density.reshape(inner.shape) @ shares) * 0.05
        counts = np.histogram(np.abs(f), edges)[0]
        return (np.sum((counts - expected) ** 2 / expected) - len(counts)) / math.sqrt(2 * len(counts))

    assert abs(chi2(ff.exact_density(net, [[X]], inner.reshape(-1)).value)) < 4.5
    assert chi2(ff.exact_density(network("relu", 5), [[X]], inner.reshape(-1)).value) > 8


def test_scalings_and_points_that_see_no_input():
    unscaled = ff.exact_density(ff.MLP(2, widths=(4,), activation="erf", scaling="unscaled"), [[1.0, 2.0]], [0.4])
    rescaled = ff.MLP(2, widths=(4,), activation="erf", sigma_w=(math.sqrt(2), 2.0))
    assert unscaled.value[0] == pytest.approx(ff.exact_density(rescaled, [[1.0, 2.0]], [0.4]).value[0], rel=1e-12)
    gauss = ff.exact_density(network("cos", 3), [[0.0]], [0.0, 1.0]).value  # every neuron is cos 0 = 1
    assert np.allclose(gauss, stats.norm(scale=SIGMA).pdf([0.0, 1.0]), rtol=0, atol=1e-13)


def test_bad_input_is_named():
    net = network("erf", 4)
    with pytest.raises(BadInput, match="x: expected one point"):
        ff.exact_density(net, [[1.0], [2.0]], [0.0])
    with pytest.raises(BadInput, match=r"values: expected shape \(k,\)"):
        ff.exact_density(net, [[1.0]], [[0.0]])
    with pytest.raises(BadInput, match="infinitely wide"):
        ff.exact_density(ff.MLP(1, depth=1, activation="erf"), [[1.0]], [0.0])
    with pytest.raises(NoClosedForm, match="one hidden layer"):
        ff.exact_density(ff.MLP(1, widths=(4, 4), activation="erf"), [[1.0]], [0.0])
    with pytest.raises(BadInput, match=r"f\(x\) = 0"):
        ff.exact_density(net, [[0.0]], [0.0])
    with pytest.raises(BadInput, match=r"net: expected a fieldflow\.MLP"):
        ff.exact_density("relu", [[0.0]], [0.0])
