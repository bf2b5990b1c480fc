"""BRG as a linear RG: proofs, explicit linear algebra that shares no code, quadrature, sampling, and controls that fail."""

import mpmath
import numpy as np
import pytest

from fieldflow.errors import ProofFailed
from fieldflow.formulas import catalog, compiled, derive
from fieldflow.symbolic import brg, brg_flow, degraded, polchinski
from fieldflow.symbolic.formula import step
from fieldflow.symbolic.noncommutative import noncommutative

NAMES = [name for name in catalog() if name.startswith(("brg.", "polchinski."))]


@pytest.mark.parametrize("name", NAMES)
def test_every_step_is_proved_and_every_formula_compiles(name):
    formula = derive(name)
    assert {step.check.status for step in formula.steps} == {"proved"}
    assert formula.derivation_latex()
    assert callable(compiled(name))


def test_names_are_all_there():
    modules = (brg, brg_flow, degraded, polchinski)
    assert sorted(name for module in modules for name in module.FORMULAS) == NAMES


class Explicit:
    """A trained network with given features: every law by plain matrices of the linear map from (ω, ξ)."""

    def __init__(self, seed=0, m=7, n=4, width=60, stiff=35, stiffer=20):
        generator = np.random.default_rng(seed)
        self.h = generator.normal(size=(m, width)) / np.sqrt(width)
        self.y = generator.normal(size=(n, 1))
        self.matrix = generator.normal(size=(n, n)) + 2 * np.eye(n)  # any M, symmetric or not
        self.keep = [np.arange(width) < count for count in (width, stiff, stiffer)]
        seen = self.h[:n]
        self.weights = np.eye(width) - seen.T @ self.matrix @ seen  # ω_T = weights ω + shift
        self.shift = seen.T @ self.matrix @ self.y
        self.kernel = [self.h * keep @ self.h.T for keep in self.keep]

    def loading(self, shell, redrawn):
        """f_Λ = loading (ω, ξ) + mean."""
        keep = self.keep[shell]
        drawn = self.h * ~keep if redrawn else np.zeros_like(self.h)
        return np.hstack([(self.h * keep) @ self.weights, drawn])

    def mean(self, shell):
        return (self.h * self.keep[shell]) @ self.shift

    def covariance(self, first, second, redrawn):
        return self.loading(first, redrawn) @ self.loading(second, redrawn).T


@pytest.mark.parametrize("redrawn", [True, False])
def test_the_map_against_explicit_linear_algebra(redrawn):
    net = Explicit()
    prior, stiff = net.kernel[:2]
    projector = compiled("brg.projector")(stiff, prior)
    trained = net.covariance(0, 0, redrawn)
    mode = "resample" if redrawn else "prune"
    args = (projector, trained, prior) if redrawn else (projector, trained, prior, stiff)
    found = compiled(f"brg.covariance_{mode}")(*args)
    expected = net.covariance(1, 1, redrawn)
    np.testing.assert_allclose(compiled("brg.mean")(projector, net.mean(0)), net.mean(1), atol=1e-12)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(
        compiled("brg.cross_covariance")(projector, trained), net.covariance(1, 0, redrawn), atol=1e-12
    )
    wrong = projector.T @ trained @ projector + prior - projector.T @ prior @ projector
    assert np.max(np.abs(wrong - expected)) > 0.05


def test_two_cutoffs_against_explicit_linear_algebra():
    net = Explicit(1)
    prior, first, second = net.kernel
    pruned = compiled("brg.two_times_prune")(second, first, net.covariance(1, 1, False))
    redrawn = compiled("brg.two_times_resample")(second, first, net.covariance(1, 1, True), prior)
    np.testing.assert_allclose(pruned, net.covariance(2, 1, False), atol=1e-12)
    np.testing.assert_allclose(redrawn, net.covariance(2, 1, True), atol=1e-12)
    # Resampling with one redraw is no Markov process: the block-spin map between the two cut-offs gives something else.
    between = compiled("brg.two_times_prune")(second, first, net.covariance(1, 1, True))
    assert np.max(np.abs(between - redrawn)) > 0.05


@pytest.mark.statistical
def test_residual_is_independent_of_the_trained_network_on_samples():
    """200 000 draws: f_Λ - P f has covariance Q and none with f; with half of Q the joint χ² is far off."""
    net, count = Explicit(2), 200_000
    draws = np.random.default_rng(3).normal(size=(count, 120))
    trained = draws @ net.loading(0, True).T + net.mean(0).T
    coarse = draws @ net.loading(1, True).T + net.mean(1).T
    projector = compiled("brg.projector")(net.kernel[1], net.kernel[0])
    noise = compiled("brg.covariance_resample")(projector, np.zeros((7, 7)), net.kernel[0])
    residual = coarse - trained @ projector.T

    def pulls(expected):
        products = residual[:, :, None] * residual[:, None, :]
        return (products.mean(axis=0) - expected) / (products.std(axis=0) / np.sqrt(count))

    cross = (residual[:, :, None] * (trained - trained.mean(axis=0))[:, None, :]).reshape(count, -1)
    assert np.max(np.abs(pulls(noise))) < 5
    assert np.max(np.abs(pulls(noise / 2))) > 100
    assert np.max(np.abs(cross.mean(axis=0) / (cross.std(axis=0) / np.sqrt(count)))) < 5
    unmoved = (coarse - trained)[:, :, None] * trained[:, None, :]
    assert np.max(np.abs(unmoved.mean(axis=0) / (unmoved.std(axis=0) / np.sqrt(count)))) > 100


def test_differential_flow_is_the_derivative_of_the_law():
    """κ from a small change of one stiff kernel; central differences of ``shell.*`` at 1e-9."""
    net, epsilon = Explicit(4), 1e-5
    n, m = 4, 7
    rate = net.kernel[1] - net.kernel[2]
    gram = net.kernel[0][:n, :n]
    for name, redrawn in (("shell.covariance", True), ("shell.covariance_prune", False)):

        def value(shift, name=name, redrawn=redrawn):
            stiff = net.kernel[1] - shift * rate
            return compiled(name)(net.kernel[0] if redrawn else stiff, stiff[:n], stiff[:n], net.matrix, gram)

        expected = (value(epsilon) - value(-epsilon)) / (2 * epsilon)
        args = (rate[:n], rate[:n], net.kernel[1][:n], net.kernel[1][:n], net.matrix, gram)
        found = (
            compiled("brg.flow_covariance")(*args) if redrawn else compiled("brg.flow_covariance_prune")(*args, rate)
        )
        np.testing.assert_allclose(found, expected, atol=1e-8)
        drift = compiled("brg.generator")(rate, net.kernel[1])
        noise = compiled("brg.diffusion_resample")(drift, net.kernel[0]) if redrawn else rate
        np.testing.assert_allclose(compiled("brg.generator_covariance")(drift, value(0), noise), expected, atol=1e-8)
    mean = compiled("brg.flow_mean")(rate[:n], net.matrix, net.y)
    np.testing.assert_allclose(mean, compiled("brg.generator_mean")(drift, net.mean(1)), atol=1e-11)
    assert mean.shape == (m, 1)


def test_wrong_premises_are_refuted(monkeypatch):
    right = brg._channel
    monkeypatch.setattr(brg, "_channel", lambda noise: right(noise) - brg.K / 2)
    for redrawn in (True, False):
        with pytest.raises(ProofFailed):
            brg.covariance.__wrapped__(redrawn)
    monkeypatch.setattr(brg_flow, "_kappa", -brg_flow._kappa)
    with pytest.raises(ProofFailed):
        brg_flow.flow_of_covariance.__wrapped__()
    with pytest.raises(ProofFailed):
        step(brg.P * brg.K, brg.K * brg.P, "matrices do not commute")


def test_only_sums_and_products_are_translated():
    with pytest.raises(TypeError, match="sums and products"):
        noncommutative(brg.PRIOR.inverse(), {"K": brg.K})


# Polchinski: the trapezoidal rule, which converges faster than any power for smooth densities that decay

GRID = np.linspace(-12.0, 12.0, 1921)


def effective(start, spread):
    """S_Λ(φ) = -ln E e^{-S_0(φ + ζ)}, ζ ~ N(0, spread), at every point of the grid."""
    zeta = GRID[::2]
    weight = np.exp(-(zeta**2) / (2 * spread)) * (zeta[1] - zeta[0]) / np.sqrt(2 * np.pi * spread)
    return -np.log(np.exp(-start(GRID[:, None] + zeta)) @ weight)


def cumulants(action, propagator):
    """κ₂, κ₄, κ₆ of e^{-φ²/2P - S(φ)}, S given on the grid."""
    density = np.exp(-(GRID**2) / (2 * propagator) - action)
    m2, m4, m6 = (np.sum(GRID**n * density) / np.sum(density) for n in (2, 4, 6))
    return np.array([m2, m4 - 3 * m2**2, m6 - 15 * m4 * m2 + 30 * m2**3])


def quartic(x):
    return 0.1 * x**4


def test_quartic_theory_against_quadrature():
    start = cumulants(quartic(GRID), 1.0)
    np.testing.assert_allclose(start, [0.61552719, -0.17543911, 0.33520587], atol=5e-9)
    running = effective(quartic, 0.5)
    zero, one, two = (running[np.argmin(np.abs(GRID - x))] for x in (0.0, 1.0, 2.0))
    np.testing.assert_allclose([zero, one - zero, two - zero], [0.05709768, 0.20962558, 1.07295642], atol=5e-9)
    scaled = [compiled("polchinski.connected")(start[i], 1.0, 0.5, n) for i, n in ((1, 4), (2, 6))]
    found = [compiled("polchinski.two_point")(start[0], 1.0, 0.5), *scaled]
    np.testing.assert_allclose(found, cumulants(running, 0.5), rtol=1e-11)
    np.testing.assert_allclose(found, [0.40388180, -0.01096494, 0.00523759], atol=5e-9)
    assert np.abs(found[1] / 2 - cumulants(running, 0.5)[1]) > 1e-3


def test_the_density_obeys_the_fokker_planck_equation():
    """Central differences of ρ_s ∝ e^{-φ²/2P - S}, P = 1 - s: ∂_sρ = ½∂[∂ρ + 2φρ/P]."""

    def density(s):
        return np.exp(-(GRID**2) / (2 * (1 - s)) - effective(quartic, s)) / np.sqrt(1 - s)

    s, epsilon, step_size = 0.4, 1e-4, GRID[1] - GRID[0]
    rho = density(s)
    change = (density(s + epsilon) - density(s - epsilon)) / (2 * epsilon)
    flux = np.gradient(rho, step_size) + 2 * GRID * rho / (1 - s)
    right = np.gradient(flux, step_size) / 2
    assert np.max(np.abs(change - right)) < 1e-3 * np.max(np.abs(change))
    halved = np.gradient(np.gradient(rho, step_size) + GRID * rho / (1 - s), step_size) / 2
    assert np.max(np.abs(change - halved)) > 0.1 * np.max(np.abs(change))


def test_quadratic_theory_against_quadrature():
    assert compiled("polchinski.quadratic")(1.0, 1.0, 0.5) == pytest.approx(2 / 3, rel=1e-15)
    running = effective(lambda x: 0.35 * x**2, 0.6)
    at = np.argmin(np.abs(GRID - 2.0))
    expected = 0.5 * compiled("polchinski.quadratic")(0.7, 1.5, 0.9) * GRID[at] ** 2
    assert running[at] - running[np.argmin(np.abs(GRID))] == pytest.approx(expected, rel=1e-12)
    assert compiled("polchinski.mean")(3.0, 2.0, 0.5) == pytest.approx(0.75)


# Degraded data and information


def random_kernels(seed=5, n=4):
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(n, 2 * n))
    return root @ root.T / n, root[:, :n] @ root[:, :n].T / n


def test_degraded_data_at_one_point():
    one = np.ones((1, 1))
    noise = 0.3 * one + 0.5 * one
    assert compiled("brg.degraded_mean")(0.5 * one, 0.5 * one, noise, one)[0, 0] == pytest.approx(0.3846153846153846)
    assert compiled("brg.degraded_covariance")(*[0.5 * one] * 4, noise)[0, 0] == pytest.approx(0.3076923076923077)


def test_pruned_posterior_is_the_posterior_of_degraded_data():
    prior, stiff = random_kernels()
    y, s2, eye = np.arange(4.0)[:, None], 0.3, np.eye(4)
    total = prior + s2 * eye
    matrix = np.linalg.inv(total)
    noise = s2 * eye + prior - stiff
    np.testing.assert_allclose(
        compiled("brg.degraded_mean")(stiff, stiff, noise, y), compiled("shell.mean")(stiff, matrix, y), atol=1e-12
    )
    pruned = compiled("shell.covariance_prune")(stiff, stiff, stiff, matrix, total)
    np.testing.assert_allclose(
        compiled("brg.degraded_covariance")(stiff, stiff, stiff, stiff, noise), pruned, atol=1e-12
    )
    undegraded = compiled("brg.degraded_covariance")(stiff, stiff, stiff, stiff, s2 * eye)
    assert np.max(np.abs(undegraded - pruned)) > 0.05


def test_information_is_a_determinant_a_sum_over_modes_and_falls():
    prior, stiff = random_kernels()
    s2, eye = 0.3, np.eye(4)
    noise = s2 * eye + prior - stiff
    found = compiled("brg.information")(stiff, noise)
    shares = np.linalg.eigvals(np.linalg.solve(prior + s2 * eye, stiff)).real
    assert found == pytest.approx(np.sum(compiled("brg.information_mode")(shares)), rel=1e-12)
    with mpmath.workdps(30):
        exact = (
            mpmath.log(mpmath.det(mpmath.matrix(prior + s2 * eye))) - mpmath.log(mpmath.det(mpmath.matrix(noise)))
        ) / 2
    assert found == pytest.approx(float(exact), rel=1e-12)
    rate, epsilon = 0.5 * stiff, 1e-5
    up, down = (compiled("brg.information")(stiff - e * rate, noise + e * rate) for e in (epsilon, -epsilon))
    assert (down - up) / (2 * epsilon) == pytest.approx(compiled("brg.information_loss")(noise, rate), rel=1e-8)
    assert compiled("brg.information_loss")(noise, rate) > 0


def test_ornstein_uhlenbeck_is_the_map_of_a_homogeneous_net():
    prior, trained = random_kernels()
    factor = 0.4
    time = -np.log(factor)
    for mode, extra in (("resample", ()), ("prune", (factor * prior,))):
        projector = compiled("brg.projector")(factor * prior, prior)
        expected = compiled(f"brg.covariance_{mode}")(projector, trained, prior, *extra)
        np.testing.assert_allclose(compiled(f"brg.ou_covariance_{mode}")(trained, prior, time), expected, atol=1e-12)
