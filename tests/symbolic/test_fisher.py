"""Laws of λ: units against quadrature, distributions against sampled units and their own densities, large d, Gauss-nets."""

from itertools import pairwise

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import integrate, stats

from fieldflow.formulas import catalog, compiled, derive
from fieldflow.symbolic.activations import CATALOGUE, kinks
from fieldflow.symbolic.symbols import z

MEAN, SPREAD, NOISE = 0.4, 1.3, 0.8
UNITS = [name for name in CATALOGUE if f"fisher.{name}" in catalog()]


def second_moment(name, mean, spread):
    f = sp.lambdify(z, CATALOGUE[name], ["numpy", "scipy"])
    edges = sorted({float(edge) for edge in kinks(CATALOGUE[name])} | {mean - 12 * spread, mean, mean + 12 * spread})
    density = stats.norm(mean, spread).pdf
    return sum(
        integrate.quad(lambda t: f(t) ** 2 * density(t), a, b, epsabs=1e-13, limit=200)[0] for a, b in pairwise(edges)
    )


@pytest.mark.parametrize("name", UNITS)
def test_unit_under_gaussian_inputs_with_a_mean(name):
    """λ(m, τ) = E[σ(m + τz)²]/s², by quadrature; control: the same unit without its mean."""
    found = float(compiled(f"fisher.{name}")(MEAN, SPREAD, NOISE))
    assert found == pytest.approx(second_moment(name, MEAN, SPREAD) / NOISE, rel=2e-9)
    control = second_moment(name, 0.0, SPREAD) / NOISE
    if name != "sign":  # whose λ does not know the mean
        assert abs(found - control) > 1e-3 * control


def of_units(name, d, s_x, sigma_v, noise, count, seed):
    """Return λ of sampled units with centred inputs, by one quadrature over the preactivation each."""
    v = sigma_v * np.random.default_rng(seed).normal(size=(count, d))
    tau = s_x * np.linalg.norm(v, axis=1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(201)
    f = sp.lambdify(z, CATALOGUE[name], ["numpy", "scipy"])
    return f(tau[:, None] * nodes) ** 2 @ weights / weights.sum() / noise


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["erf", "sin", "cos"])
@pytest.mark.parametrize("d", [1, 3])
def test_distribution_density_and_moments_of_bounded_units(name, d):
    arguments = (d, 0.9, 0.6, 0.8)
    sample = of_units(name, d, 0.9, 0.6, 0.8, 20_000, 11)
    law, density = compiled(f"fisher.{name}_cdf"), compiled(f"fisher.{name}_density")
    assert stats.kstest(sample, lambda at: law(at, *map(float, arguments))).pvalue > 1e-3
    assert stats.kstest(sample, lambda at: law(at, d + 1.0, 0.9, 0.6, 0.8)).pvalue < 1e-30
    low, high = np.quantile(sample, [0.2, 0.8])
    area = integrate.quad(lambda at: density(at, *map(float, arguments)), low, high, epsabs=1e-12)[0]
    assert area == pytest.approx(law(high, *map(float, arguments)) - law(low, *map(float, arguments)), abs=1e-10)
    for order in (1, 2) if name != "erf" else ():
        moment = compiled(f"fisher.{name}_moment_{order}")(*map(float, arguments))
        error = np.std(sample**order) / np.sqrt(len(sample))
        assert abs(np.mean(sample**order) - moment) < 4.5 * error
        wrong = compiled(f"fisher.{name}_moment_{order}")(d + 1.0, 0.9, 0.6, 0.8)
        assert abs(np.mean(sample**order) - wrong) > 8 * error


@pytest.mark.statistical
@pytest.mark.parametrize(("d", "degree"), [(1, 1), (3, 1), (2, 2), (2, 3)])
def test_distribution_density_and_moments_of_homogeneous_units(d, degree):
    moment = float(sp.factorial2(2 * degree - 1)) / 2  # E[relu(z)^{2k}]
    arguments = (float(d), float(degree), moment, 1.1, 0.7, 0.9)
    v = 0.7 * np.random.default_rng(2).normal(size=(40_000, d))
    sample = moment * (1.1 * np.linalg.norm(v, axis=1)) ** (2 * degree) / 0.9
    law, density = compiled("shell.sloppy_fraction"), compiled("fisher.homogeneous_density")
    assert stats.kstest(sample, lambda at: law(at, *arguments)).pvalue > 1e-3
    assert stats.kstest(sample, lambda at: law(2 * at, *arguments)).pvalue < 1e-30
    low, high = np.quantile(sample, [0.2, 0.8])
    area = integrate.quad(lambda at: density(at, *arguments), low, high, epsabs=1e-12)[0]
    assert area == pytest.approx(law(high, *arguments) - law(low, *arguments), abs=1e-9)
    exact = compiled("fisher.homogeneous_moment")(1.0, *arguments)
    assert abs(sample.mean() - exact) < 4.5 * sample.std() / np.sqrt(len(sample))


@pytest.mark.statistical
@pytest.mark.parametrize("d", [1, 3])
def test_gauss_net_is_log_normal_times_pareto(d):
    """Units drawn by hand, λ by quadrature over inputs in one dimension; distribution, moments, the shell kernel."""
    sigma_w, sigma_b, s_x, noise, count = 1.2, 0.4, 0.8, 0.7, 400_000
    kappa = sigma_w**2 / d
    rng = np.random.default_rng(5)
    w, b = np.sqrt(kappa) * rng.normal(size=(count, d)), sigma_b * rng.normal(size=count)
    unit = compiled("fisher.gaussnet")
    sample = unit(np.sum(w**2, axis=1), b, float(d), sigma_w, sigma_b, s_x, noise)
    # Inputs along w alone matter: the rest is a normalisation per axis.
    nodes, weights = np.polynomial.hermite_e.hermegauss(81)
    x, share = s_x * nodes, weights / weights.sum()
    for i in range(3):
        length = np.linalg.norm(w[i])
        along = np.exp(2 * length * x - 2 * kappa * x**2) @ share
        across = (np.exp(-2 * kappa * x**2) @ share) ** (d - 1)
        assert sample[i] == pytest.approx(np.exp(2 * b[i] - 2 * sigma_b**2) * along * across / noise, rel=1e-9)
    arguments = (float(d), sigma_w, sigma_b, s_x, noise)
    law = compiled("fisher.gaussnet_cdf")
    assert stats.kstest(sample[:20_000], lambda at: law(at, *arguments)).pvalue > 1e-3
    assert stats.kstest(sample[:20_000], lambda at: law(at, float(d), sigma_w, 2 * sigma_b, s_x, noise)).pvalue < 1e-30
    half = compiled("fisher.gaussnet_moment")(0.5, *arguments)
    assert abs(np.mean(sample**0.5) - half) < 4.5 * np.std(sample**0.5) / np.sqrt(count)
    if d == 3:
        x1, x2 = np.array([1.2, -0.4, 0.6]), np.array([0.7, 1.0, 0.2])
        h = [np.exp(w @ point + b - sigma_b**2 - kappa * point @ point) for point in (x1, x2)]
        square = float(np.sum((x1 + x2) ** 2))
        for cutoff in np.quantile(sample, [0.4, 0.8]):
            kept = h[0] * h[1] * (sample >= cutoff)
            share_ = compiled("shell.gaussnet_Z")(float(cutoff), square, *arguments)
            kernel = float(compiled("nngp.gaussnet")(float(np.sum((x1 - x2) ** 2)), float(d), sigma_w)) / sigma_w**2
            error = kept.std() / np.sqrt(count)
            assert abs(kept.mean() - share_ * kernel) < 4.5 * error
            assert abs(kept.mean() - compiled("shell.gaussnet_Z")(float(cutoff), 0.0, *arguments) * kernel) > 8 * error


def test_two_dimensional_gauss_net_in_closed_form():
    """A Pareto tail folded with a log-normal: the formula against the integral."""
    at = np.array([0.05, 0.4, 3.0, 50.0])
    closed = compiled("fisher.gaussnet_pareto")(at, 1.2, 0.4, 0.8, 0.7)
    integral = compiled("fisher.gaussnet_cdf")(at, 2.0, 1.2, 0.4, 0.8, 0.7)
    np.testing.assert_allclose(closed, integral, atol=1e-9)


@pytest.mark.parametrize("d", [784, 5000])
def test_high_dimensions_do_not_overflow(d):
    """Γ(d/2) leaves the floats at d = 342; the laws do not."""
    sigma = 1.0 / np.sqrt(d)
    gamma = mpmath.gamma
    with mpmath.workdps(30):
        u, order = mpmath.mpf(d) / 2 * mpmath.mpf("0.98"), mpmath.mpf(d) / 2
        density = u**order * mpmath.exp(-u) / gamma(order)
        beyond = mpmath.gammainc(order + 1, u, regularized=True)
    cutoff = 0.98 * 0.5  # u = 0.98 d/2
    assert compiled("fisher.homogeneous_density")(cutoff, float(d), 1.0, 0.5, 1.0, sigma, 1.0) == pytest.approx(
        float(density / cutoff), rel=1e-9
    )
    assert compiled("shell.gamma")(cutoff, float(d), 1.0, 0.5, 1.0, sigma, 1.0) == pytest.approx(
        float(u * density / order / beyond), rel=1e-9
    )
    assert compiled("fisher.homogeneous_moment")(2.0, float(d), 1.0, 0.5, 1.0, sigma, 1.0) == pytest.approx(
        0.25 * (1 + 2 / d), rel=1e-10
    )
    whole = 2.0 * float(order * beyond)
    assert compiled("shell.angular")(float(2 * u), 1.0, float(d), 1.0) == pytest.approx(whole, rel=1e-9)
    for name, at in (("erf", 0.4), ("sin", 0.43), ("cos", 0.57)):
        slope = compiled(f"fisher.{name}_density")(at, float(d), 1.0, sigma, 1.0)
        law = compiled(f"fisher.{name}_cdf")
        h = 1e-5
        difference = (law(at + h, float(d), 1.0, sigma, 1.0) - law(at - h, float(d), 1.0, sigma, 1.0)) / (2 * h)
        assert slope == pytest.approx(difference, rel=1e-4, abs=1e-8)


def test_jeffreys_prior_has_no_normalisation():
    formula = derive("fisher.jeffreys")
    assert "improper" in formula.domain
    assert compiled("fisher.jeffreys")(2.0, 3.0, 1.0, 0.5) == pytest.approx(np.sqrt(5.0) / 0.5)
