"""ShellFlow: closed form against quadrature and quasi-Monte Carlo, limits, and the critical cut-off."""

import math

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import optimize, stats

import fieldflow as ff
from fieldflow.errors import BadInput, NoClosedForm
from fieldflow.formulas import compiled
from fieldflow.shell_kernel import ShellEstimate
from fieldflow.symbolic.symbols import z

GENERATOR = np.random.default_rng(6)
X, XS = GENERATOR.normal(size=(8, 2)), GENERATOR.normal(size=(3, 2))
Y = X[:, 0] ** 2 - 0.5 * X[:, 1] + 0.5
NET = ff.MLP(2, depth=1, activation="relu", sigma_w=(1.4, 0.9))
FLOW = ff.TrainingFlow(NET, X, Y, learning_rate=0.4, steps=150)
CUTOFFS = [0.0, 0.05, 0.3, 1.0, 4.0, math.inf]


def test_stiff_factor_against_forty_digit_quadrature():
    """Z = E[|v|² 1{|v|²/2·s_x²/s² >= Λ}]/E|v|² for a Gaussian weight vector, by mpmath."""
    shell = ff.ShellFlow(FLOW, input_std=1.3, noise_variance=0.7)
    variance = 1.4**2 / 2
    mpmath.mp.dps = 40
    for cutoff in CUTOFFS[1:-1]:
        radius = mpmath.sqrt(2 * mpmath.mpf(0.7) * cutoff) / mpmath.mpf(1.3)
        density = lambda r: r**3 * mpmath.exp(-(r**2) / (2 * mpmath.mpf(variance)))  # noqa: E731
        expected = mpmath.quad(density, [radius, 5, 30]) / mpmath.quad(density, [0, 2, 5, 30])
        found = shell.kernel.stiff_factor(np.array([cutoff]))[0]
        assert abs(found - float(expected)) <= 1e-13
        sloppy = 1 - mpmath.exp(-(radius**2) / (2 * mpmath.mpf(variance)))
        assert abs(shell.sloppy_fraction(cutoff) - float(sloppy)) <= 1e-13


GRID = np.array(CUTOFFS[1:-1])


def pulls(estimate, expected, error=0.0):
    return (estimate.value - expected) / np.hypot(estimate.std_error, error)


def test_sampled_shell_agrees_with_the_closed_form_within_its_errors():
    """A hidden bias of 1e-9 changes nothing but the route: quasi-Monte Carlo instead of Z."""
    closed = ff.ShellFlow(FLOW)
    net = ff.MLP(2, depth=1, activation="relu", sigma_w=(1.4, 0.9), sigma_b=(1e-9, 0.0))
    flow = ff.TrainingFlow(net, X, Y, learning_rate=0.4, steps=150)
    sampled = ff.ShellFlow(flow, samples=2**14)
    assert closed.closed_form
    assert not sampled.closed_form
    assert 0 < sampled.std_error < 0.01
    estimate, expected = sampled.kernel(XS, XS, GRID), closed.kernel(XS, XS, GRID).value
    # 16 replicates: t with 15 degrees of freedom; 36 correlated cells.
    assert np.abs(pulls(estimate, expected)).max() < 6
    assert np.abs(pulls(estimate, 0.5 * expected)).max() > 50
    np.testing.assert_allclose(sampled.sloppy_fraction(GRID), closed.sloppy_fraction(GRID), atol=2e-3)


@pytest.mark.statistical
@pytest.mark.parametrize("fisher", ["gaussian", "points"])
def test_sampled_shell_agrees_with_plain_monte_carlo(fisher):
    """400 000 neurons by hand: Fisher inputs given, or Gaussian with a mean, with a hidden bias."""
    net = ff.MLP(2, depth=1, activation="relu", sigma_w=(1.2, 0.8), sigma_b=(0.5, 0.0))
    flow = ff.TrainingFlow(net, X, Y, learning_rate=0.4, steps=150)
    mean, std, points = np.array([1.0, -0.5]), np.array([0.5, 0.7]), XS + 0.3
    law = {"fisher": points} if fisher == "points" else {"input_mean": mean, "input_std": std}
    estimate = ff.ShellFlow(flow, noise_variance=0.8, **law).kernel(XS, XS, GRID)
    generator = np.random.default_rng(9)
    weights = 1.2 / np.sqrt(2) * generator.normal(size=(400_000, 2))
    bias = 0.5 * generator.normal(size=400_000)
    hidden = np.maximum(weights @ XS.T + bias[:, None], 0.0)
    if fisher == "points":
        diagonal = np.mean(np.maximum(weights @ points.T + bias[:, None], 0.0) ** 2, axis=1) / 0.8
    else:
        m, tau = weights @ mean + bias, np.sqrt(weights**2 @ std**2)
        cdf, density = stats.norm.cdf(m / tau), stats.norm.pdf(m / tau)
        diagonal = ((m**2 + tau**2) * cdf + m * tau * density) / 0.8
    products = 0.64 * hidden[:, :, None] * hidden[:, None, :]
    control = []
    for i, cutoff in enumerate(GRID):
        kept = products * (diagonal >= cutoff)[:, None, None]
        error = kept.std(axis=0) / np.sqrt(len(kept))
        part = ShellEstimate(estimate.value[i], estimate.std_error[i], estimate.replicates[:, i])
        assert np.abs(pulls(part, kept.mean(axis=0), error)).max() < 5
        loose = products * (diagonal >= 2 * cutoff)[:, None, None]
        control.append(np.abs(pulls(part, loose.mean(axis=0), error)).max())
    assert max(control) > 8


def test_deep_networks_take_fisher_inputs_only():
    net = ff.MLP(2, depth=2, activation="relu")
    flow = ff.TrainingFlow(net, X, Y, learning_rate=0.4, steps=50)
    with pytest.raises(ff.errors.NoClosedForm, match="fisher"):
        ff.ShellFlow(flow)
    shell = ff.ShellFlow(flow, fisher=X, samples=2**12)
    np.testing.assert_allclose(shell.mean(XS, 0.0), flow.mean(XS), rtol=1e-12)
    np.testing.assert_allclose(shell.mean(XS, math.inf), 0.0, atol=1e-12)


@pytest.mark.parametrize("mode", ["resample", "prune"])
def test_limits_are_the_trained_network_and_the_prior(mode):
    shell = ff.ShellFlow(FLOW, mode=mode)
    np.testing.assert_allclose(shell.mean(XS, 0.0), FLOW.mean(XS), rtol=1e-13)
    np.testing.assert_allclose(shell.covariance(XS), FLOW.covariance(XS), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(shell.mean(XS, math.inf), 0.0, atol=1e-15)
    end = ff.nngp(NET, XS) if mode == "resample" else np.zeros((3, 3))
    np.testing.assert_allclose(shell.covariance(XS, cutoff=math.inf), end, atol=1e-14)
    assert shell.sloppy_fraction(math.inf) == 1.0


def test_readout_bias_is_kept_up_to_one_over_the_noise():
    net = ff.MLP(2, depth=1, activation="relu", sigma_b=(0.0, 0.8))
    flow = ff.TrainingFlow(net, X, Y, learning_rate=0.4, steps=50)
    shell = ff.ShellFlow(flow, noise_variance=0.5, mode="prune")
    huge = shell.kernel(XS, XS, np.array([2.0, 2.0000001])).value - shell.kernel.stiff_factor(np.array([2.0]))[0] * (
        ff.nngp(net, XS) - 0.64
    )
    np.testing.assert_allclose(huge[0], 0.64, rtol=1e-12)
    np.testing.assert_allclose(huge[1], 0.0, atol=1e-6)


@pytest.mark.parametrize("mode", ["resample", "prune"])
def test_loss_is_bias_squared_plus_variance_and_critical_inverts_it(mode):
    shell = ff.ShellFlow(FLOW, mode=mode)
    ys = XS[:, 0] ** 2
    for cutoff in (0.0, 0.3, math.inf):
        expected = np.mean((shell.mean(XS, cutoff) - ys) ** 2 + np.diag(shell.covariance(XS, cutoff=cutoff)))
        assert shell.loss(XS, ys, cutoff) == pytest.approx(expected, rel=1e-13)
    critical = shell.critical_cutoff(excess=0.2)
    start, at, end = shell.loss(X, Y, [0.0, critical, math.inf])
    assert at == pytest.approx(start + 0.2 * (end - start), rel=1e-10)
    grid = np.linspace(0, critical, 50)
    assert (shell.loss(X, Y, grid) <= at * (1 + 1e-12)).all()


def test_critical_cutoff_without_a_closed_form_is_searched():
    fisher = np.concatenate([points := np.random.default_rng(1).normal(size=(500, 2)), -points])
    closed = ff.ShellFlow(FLOW).critical_cutoff(excess=0.2)
    found = ff.ShellFlow(FLOW, fisher=fisher, samples=2**12).critical_cutoff(excess=0.2)
    assert found == pytest.approx(closed, rel=0.1)


def test_no_critical_cutoff_when_the_prior_is_better():
    flow = ff.TrainingFlow(NET, X, 100.0 + 0 * Y, learning_rate=0.4, steps=150)
    with pytest.raises(ff.errors.NoCriticalCutoff):
        ff.ShellFlow(flow).critical_cutoff(XS, np.zeros(3))


def test_shapes_follow_the_cutoff():
    shell = ff.ShellFlow(FLOW)
    assert shell.mean(XS, 0.1).shape == (3,)
    assert shell.mean(XS, [0.1, 0.2]).shape == (2, 3)
    assert shell.covariance(XS, X, cutoff=[0.1]).shape == (1, 3, 8)
    assert isinstance(shell.loss(X, Y, 0.1), float)
    assert "k^{>}" in shell.formula("mean").latex()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"fisher": "uniform"}, "fisher"),
        ({"fisher": X[:, :1]}, "fisher"),
        ({"noise_variance": 0.0}, "noise_variance"),
        ({"input_std": -1.0}, "input_std"),
        ({"mode": "drop"}, "mode"),
        ({"samples": 3}, "samples"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments_are_named(change, key):
    with pytest.raises(ff.errors.BadInput, match=f"^{key}"):
        ff.ShellFlow(FLOW, **change)


@pytest.mark.parametrize("cutoff", [-1.0, math.nan, [0.2, 0.1], [[0.1]], [], "big"])
def test_bad_cutoffs_are_named(cutoff):
    with pytest.raises(ff.errors.BadInput, match=r"^cutoff"):
        ff.ShellFlow(FLOW).mean(XS, cutoff)


# The best cut-off


def regularising(mode="resample", **options):
    """A narrow prior and few noisy data: overfitting costs more than the spread of what is redrawn."""
    x = np.random.default_rng(8).normal(size=(12, 2))
    y = np.random.default_rng(9).normal(size=12)
    net = ff.MLP(2, depth=1, activation="relu", sigma_w=(1.4, 0.2))
    flow = ff.TrainingFlow(net, x, y, learning_rate=5.0, steps=2000)
    return ff.ShellFlow(flow, mode=mode, **options), x, y


@pytest.mark.parametrize("mode", ["resample", "prune"])
def test_best_cutoff_is_where_the_loss_is_least(mode):
    shell, x, _ = regularising(mode)
    there, target = x[:6] + 0.3, np.zeros(6)
    for wanted in (target, 0.5 * shell.flow.mean(there)):
        best = shell.optimal_cutoff(there, wanted)
        found = optimize.minimize_scalar(
            lambda at, wanted=wanted: shell.loss(there, wanted, at), bounds=(1e-3, 20), method="bounded"
        )
        if np.isinf(best):
            assert shell.loss(there, wanted, np.inf) <= found.fun
        else:
            assert best == pytest.approx(found.x, rel=1e-3)
            assert shell.loss(there, wanted, best) < min(shell.loss(there, wanted, [0.0, np.inf]))
    assert shell.optimal_cutoff(x, shell.flow.mean(x)) == 0.0


def test_best_cutoff_without_a_closed_form_is_searched():
    fisher = np.random.default_rng(0).normal(size=(400, 2))
    there, closed = regularising()[1][:6] + 0.3, regularising()[0]
    target = 0.5 * closed.flow.mean(there)
    found = regularising(fisher=fisher)[0].optimal_cutoff(there, target)
    assert found == pytest.approx(closed.optimal_cutoff(there, target), rel=0.15)
    assert regularising(fisher=fisher)[0].optimal_cutoff(*regularising()[1:]) == 0.0
    assert regularising(fisher=fisher)[0].optimal_cutoff(there, np.zeros(6)) == np.inf


def test_units_that_all_go_at_once_leave_the_better_end():
    net = ff.MLP(1, depth=1, activation="step", sigma_w=(1.0, 0.2))
    flow = ff.TrainingFlow(net, [[1.0], [-1.0]], [1.0, -1.0], learning_rate=5.0, steps=500)
    shell = ff.ShellFlow(flow)
    assert shell.optimal_cutoff([[0.5]], [0.7]) == 0.0
    assert shell.optimal_cutoff([[0.5]], [-0.7]) == np.inf


@pytest.mark.statistical
def test_sampled_networks_are_better_at_the_best_cutoff():
    """Coarse graining as a regulariser: the paired gain of finite networks, against formula ``shell.gain``."""
    shell, x, y = regularising()
    there = x[:6] + 0.3
    target = 0.5 * shell.flow.mean(there)
    best = shell.optimal_cutoff(there, target)
    a, b, _ = shell.loss_coefficients(there, target)
    predicted = float(compiled("shell.gain")(a, b))
    assert predicted == pytest.approx(shell.loss(there, target, 0.0) - shell.loss(there, target, best), rel=1e-9)
    net = ff.MLP(2, widths=(2000,), activation="relu", sigma_w=(1.4, 0.2))
    ens = ff.Ensemble(net, members=1600, seed=5).train(x, y, learning_rate=5.0, steps=2000)
    outputs = ens.coarse_grain([0.0, best], fisher="gaussian").sample(there)
    losses = np.mean((outputs - target) ** 2, axis=2)
    gain, error = np.mean(losses[0] - losses[1]), np.std(losses[0] - losses[1], ddof=1) / 40.0
    first = ff.FiniteWidth(shell).corrections(there, [0.0, best])
    shift = (
        np.mean(2.0 * (shell.mean(there, [0.0, best]) - target) * first.mean.value + first.variance.value, axis=1)
        / 2000
    )
    assert abs(gain - (predicted + shift[0] - shift[1])) < 4.0 * error
    assert gain > 8.0 * error


# Every kind of shell against units drawn by hand


BRUTE = {
    "step, inputs": ("step", 0.0, 0.0, "points"),
    "identity, mean": ("identity", 0.0, 0.7, "gaussian"),
    "relu, bias": ("relu", 0.6, 0.0, "gaussian"),
    "abs, inputs": ("abs", 0.0, 0.0, "points"),
    "leaky, mean and bias": (sp.Max(z, 0) - sp.Max(-z, 0) / 5, 0.4, 0.5, "gaussian"),
    "square, inputs": (z**2, 0.0, 0.0, "points"),
    "cube, bias": (sp.Max(z, 0) ** 3, 0.3, 0.0, "points"),
    "erf, bias": ("erf", 0.8, 0.4, "gaussian"),
    "sin, inputs": ("sin", 0.0, 0.0, "points"),
    "cos, bias": ("cos", 1.1, 0.0, "gaussian"),
    "gaussian, mean": ("gaussian", 0.2, 0.3, "gaussian"),
    "tanh, inputs": ("tanh", 0.5, 0.0, "points"),
}


@pytest.mark.statistical
@pytest.mark.parametrize("case", BRUTE)
@pytest.mark.parametrize("d_in", [1, 2, 3])
def test_every_shell_against_units_by_hand(case, d_in):
    """λ of each unit by a quadrature of its own or over the inputs, the kernel by plain averages; controls: Λ/2 and 1.5 Λ."""
    activation, bias, mean, law = BRUTE[case]
    net = ff.MLP(d_in, depth=1, activation=activation, sigma_w=(1.3, 0.8), sigma_b=(bias, 0.0))
    x = np.random.default_rng(1).normal(size=(3, d_in))
    fisher = x[:2] + 0.5
    flow = ff.TrainingFlow(net, x, [1.0, 0.0, -1.0], learning_rate=0.1, steps=5)
    options = {"fisher": fisher} if law == "points" else {"input_mean": mean, "input_std": 0.7}
    shell = ff.ShellFlow(flow, noise_variance=0.9, samples=2**14, **options)
    count = 240_000 if "cube" in case else 60_000  # twelfth moments of a normal are hard to average
    rng = np.random.default_rng(8)
    v, b = 1.3 / np.sqrt(d_in) * rng.normal(size=(count, d_in)), bias * rng.normal(size=count)
    f = sp.lambdify(z, net.activation[0].expr, ["numpy", "scipy"])
    hidden = f(v @ x.T + b[:, None])
    if law == "points":
        diagonal = np.mean(f(v @ fisher.T + b[:, None]) ** 2, axis=1) / 0.9
    else:
        nodes, weights = np.polynomial.legendre.leggauss(400)
        share = weights * stats.norm.pdf(8 * nodes) * 8
        centre, spread = mean * v.sum(axis=1) + b, 0.7 * np.linalg.norm(v, axis=1)
        diagonal = np.zeros(count)
        for node, weight in zip(nodes, share, strict=True):
            diagonal += weight * f(centre + 8 * node * spread) ** 2 / 0.9
    # Where three and seven tenths of E[λ] are sloppy: that is what the kernel feels.
    ordered = np.sort(diagonal)
    removed = np.cumsum(ordered) / ordered.sum()
    cutoffs = np.unique(ordered[np.searchsorted(removed, [0.3, 0.7])]) * 1.001
    estimate = shell.kernel(x, x, cutoffs)
    products = 0.64 * hidden[:, :, None] * hidden[:, None, :]
    control = 0.0
    for i, cutoff in enumerate(cutoffs):
        kept = products * (diagonal >= cutoff)[:, None, None]
        error = kept.std(axis=0) / np.sqrt(count)
        total = np.hypot(error, estimate.std_error[i]) + 1e-12
        assert np.max(np.abs(kept.mean(axis=0) - estimate.value[i]) / total) < 5
        for factor in (0.5, 1.5):
            wrong = products * (diagonal >= factor * cutoff)[:, None, None]
            control = max(control, np.max(np.abs(wrong.mean(axis=0) - estimate.value[i]) / total))
    assert control > 8
    fraction = np.mean(diagonal[:, None] < cutoffs, axis=0)
    np.testing.assert_allclose(shell.sloppy_fraction(cutoffs), fraction, atol=0.01)


@pytest.mark.statistical
def test_shell_of_a_deep_network_against_gaussian_process_draws():
    """Two hidden layers: the preactivations of the second are normal with the kernel of the first, drawn by hand."""
    net = ff.MLP(2, depth=2, activation=("erf", "relu"), sigma_w=(1.5, 1.2, 0.8), sigma_b=(0.2, 0.1, 0.0))
    fisher = XS + 0.4
    flow = ff.TrainingFlow(net, X, Y, learning_rate=0.2, steps=20)
    estimate = ff.ShellFlow(flow, fisher=fisher, samples=2**14).kernel(XS, XS, GRID[:2])
    every = np.concatenate([XS, fisher])
    below = ff.nngp(ff.MLP(2, depth=1, activation="erf", sigma_w=(1.5, 1.2), sigma_b=(0.2, 0.1)), every)
    draws = np.random.default_rng(3).multivariate_normal(np.zeros(len(every)), below, size=200_000, method="eigh")
    hidden = np.maximum(draws, 0.0)
    diagonal = np.mean(hidden[:, 3:] ** 2, axis=1)
    products = 0.64 * hidden[:, :3, None] * hidden[:, None, :3]
    control = 0.0
    for i, cutoff in enumerate(GRID[:2]):
        kept = products * (diagonal >= cutoff)[:, None, None]
        total = np.hypot(kept.std(axis=0) / np.sqrt(len(kept)), estimate.std_error[i])
        assert np.max(np.abs(kept.mean(axis=0) - estimate.value[i]) / total) < 5
        loose = products * (diagonal >= 2 * cutoff)[:, None, None]
        control = max(control, np.max(np.abs(loose.mean(axis=0) - estimate.value[i]) / total))
    assert control > 8


@pytest.mark.parametrize("mode", ["resample", "prune"])
def test_several_outputs_flow_apart(mode):
    """Each output has the law of its own: the loss is a mean over outputs, so the rate is shared out."""
    net = ff.MLP(2, depth=1, activation="relu", d_out=2)
    targets = np.column_stack([Y, -3.0 * Y])
    both = ff.ShellFlow(ff.TrainingFlow(net, X, targets, learning_rate=0.8, steps=150), mode=mode)
    one = ff.ShellFlow(
        ff.TrainingFlow(ff.MLP(2, depth=1, activation="relu"), X, Y, learning_rate=0.4, steps=150), mode=mode
    )
    mean = both.mean(XS, CUTOFFS)
    np.testing.assert_allclose(mean[..., 0], one.mean(XS, CUTOFFS), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(mean[..., 1], -3.0 * one.mean(XS, CUTOFFS), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(both.covariance(XS, cutoff=CUTOFFS), one.covariance(XS, cutoff=CUTOFFS), rtol=1e-10)


def test_what_is_singular_empty_or_improper_has_an_answer_or_a_name():
    twice = np.concatenate([X, X[:1]])
    repeated = ff.TrainingFlow(NET, twice, np.append(Y, Y[0]), learning_rate=0.4, steps=150)  # a singular Gram matrix
    law = ff.ShellFlow(repeated)
    assert np.all(np.isfinite(law.mean(XS, CUTOFFS)))
    assert np.min(np.linalg.eigvalsh(law.covariance(XS, cutoff=0.3))) > -1e-12
    forever = {"learning_rate": 0.4, "steps": math.inf, "method": "gradient_flow"}
    with pytest.raises(ff.errors.NotPositiveDefinite):
        ff.TrainingFlow(NET, twice, np.append(Y, Y[0]), **forever).mean(XS)
    # A threshold that removes everything leaves the prior (resample) or nothing (prune).
    np.testing.assert_allclose(ff.ShellFlow(FLOW).covariance(XS, cutoff=math.inf), ff.nngp(NET, XS), rtol=1e-12)
    pruned = ff.ShellFlow(FLOW, mode="prune")
    assert np.all(pruned.mean(XS, math.inf) == 0.0)
    assert np.all(pruned.covariance(XS, cutoff=math.inf) == 0.0)
    with pytest.raises(BadInput, match=r"^mode: Jeffreys' prior is improper"):
        ff.ShellFlow(FLOW, mode="jeffreys")


# what an audit found


@pytest.mark.parametrize(("activation", "common"), [("step", 0.5), ("sign", 1.0)])
def test_critical_cutoff_of_units_that_share_one_fisher_information(activation, common):
    x, y = [[1.0, 0.2], [0.3, 1.0], [-0.5, 0.7]], [1.0, -1.0, 0.5]
    flow = ff.TrainingFlow(ff.MLP(2, depth=1, activation=activation), x, y, learning_rate=0.3, steps=200)
    assert ff.ShellFlow(flow).critical_cutoff() == common


def test_critical_cutoff_stays_on_the_good_side_of_a_jump():
    x, y = [[1.0, 0.2], [0.3, 1.0], [-0.5, 0.7]], [1.0, -1.0, 0.5]
    flow = ff.TrainingFlow(ff.MLP(2, depth=1, activation="step"), x, y, learning_rate=0.3, steps=200)
    shell = ff.ShellFlow(flow, fisher=x)
    found = shell.critical_cutoff()
    start, here, above, end = shell.loss(x, y, [0.0, found, found * (1 + 1e-9), math.inf])
    bound = start + 0.1 * (end - start)
    assert here <= bound < above


def test_degrees_need_not_be_whole():
    net = ff.MLP(2, depth=1, activation=sp.Max(z, 0) ** sp.Rational(3, 2))
    shell = ff.ShellFlow(ff.TrainingFlow(net, [[1.0, 0.0], [0.0, 1.0]], [1.0, -1.0], learning_rate=0.3, steps=50))
    assert shell.closed_form
    # Z = Q(d/2 + k, u) with c_{3/2} = E max(z,0)³ = √(2/π), u = (Λ/c)^{2/3}/(2σ_v²), σ_v² = 1/2.
    u = (0.4 / math.sqrt(2.0 / math.pi)) ** (2.0 / 3.0)
    ratio = shell.mean([[1.0, 0.5]], 0.4) / shell.mean([[1.0, 0.5]], 0.0)
    assert float(ratio[0]) == pytest.approx(float(mpmath.gammainc(2.5, u, mpmath.inf, regularized=True)), rel=1e-12)


def test_named_errors_of_the_audit():
    flow = ff.TrainingFlow(ff.MLP(2, depth=1, activation="relu"), [[1.0, 0.0]], [1.0], learning_rate=0.5, steps=10)
    with pytest.raises(BadInput, match="input_std: expected a number or 2 of them"):
        ff.ShellFlow(flow, input_std=[1.0, 2.0, 3.0])
    with pytest.raises(BadInput, match="excess: expected a number > 0 and < 1"):
        ff.ShellFlow(flow).critical_cutoff(excess=1)
    with pytest.raises(NoClosedForm, match="name: 'Z' is a formula of homogeneous activations"):
        ff.ShellFlow(flow, fisher=[[1.0, 0.0]]).formula("Z")
    with pytest.raises(BadInput, match="mass: expected 0 or a number whose square is a float"):
        ff.CosNet(d=3, radius=8.0, mass=1e-200)
    with pytest.raises(NoClosedForm, match="mass: the kernel of finite Fisher inputs"):
        ff.CosNet(d=3, radius=8.0, mass=0.0).shell_kernel([[0.0, 0.0, 0.0]], None, 0.1, 1.0)


def test_the_error_of_a_silent_point_is_none():
    net = ff.MLP(2, depth=1, activation="relu")
    flow = ff.TrainingFlow(net, [[0.0, 0.0], [1.0, 0.0]], [1.0, -1.0], learning_rate=0.5, steps=100)
    assert 0.0 <= ff.ShellFlow(flow, fisher=[[1.0, 1.0]]).std_error < 1e-6
