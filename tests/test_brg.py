"""LinearRG: the closed form, the integrated flow, the c-function, and named errors."""

import math

import numpy as np
import pytest

import fieldflow as ff

GENERATOR = np.random.default_rng(6)
X, XS = GENERATOR.normal(size=(5, 2)), GENERATOR.normal(size=(3, 2))
MESH = np.vstack([X, XS])
Y = X[:, 0] ** 2 - 0.5 * X[:, 1] + 0.5
RELU = ff.MLP(2, depth=1, activation="relu", sigma_w=(1.4, 0.9))
COSINE = ff.MLP(2, depth=1, activation="cos", sigma_w=(3.0, 1.0), sigma_b=(4.0, 0.0))
CUTOFFS = [0.0, 0.3, 0.5, 0.7]


def trained(net, **law):
    return ff.ShellFlow(ff.TrainingFlow(net, X, Y, learning_rate=0.4, steps=60), **law)


@pytest.mark.parametrize("mode", ["resample", "prune"])
@pytest.mark.parametrize("cutoff", [0.0, 0.4, 2.0, math.inf])
def test_homogeneous_map_is_the_shell_flow(mode, cutoff):
    shell = trained(RELU, mode=mode)
    rg = ff.LinearRG.from_shell(shell, MESH)
    mean, covariance = shell.flow.mean(MESH), shell.flow.covariance(MESH)
    np.testing.assert_allclose(rg.mean(mean, cutoff), shell.mean(MESH, cutoff), atol=1e-9)
    np.testing.assert_allclose(rg.covariance(covariance, cutoff), shell.covariance(MESH, cutoff=cutoff), atol=1e-9)
    if mode == "resample":
        np.testing.assert_allclose(rg.covariance(rg.prior, cutoff), rg.prior, atol=1e-9)


@pytest.mark.parametrize("mode", ["resample", "prune"])
def test_integrated_flow_is_the_closed_form_and_the_ornstein_uhlenbeck_law(mode):
    shell = trained(RELU, mode=mode)
    rg = ff.LinearRG.from_shell(shell, MESH)
    mean, covariance = shell.flow.mean(MESH), shell.flow.covariance(MESH)
    law = rg.flow(mean, covariance, 0.0, 1.5)
    np.testing.assert_allclose(law.mean, rg.mean(mean, 1.5), atol=1e-8)
    np.testing.assert_allclose(law.covariance, rg.covariance(covariance, 1.5), atol=1e-8)
    on = rg.flow(*law, 1.5, 2.5)
    np.testing.assert_allclose(on.covariance, rg.covariance(covariance, 2.5), atol=1e-8)
    time = -np.log(shell.kernel.stiff_factor(np.array([1.5]))[0])
    ou = ff.derive(f"brg.ou_covariance_{mode}").compile()(covariance, rg.prior, time)
    np.testing.assert_allclose(law.covariance, ou, atol=1e-8)
    assert rg.generator_eigenvalue(1.5) >= -1e-9


@pytest.mark.parametrize("mode", ["resample", "prune"])
def test_sampled_kernel_flows_between_its_cutoffs(mode):
    shell = trained(COSINE, mode=mode, fisher=XS, samples=2**12)
    rg = ff.LinearRG.from_shell(shell, MESH, cutoffs=CUTOFFS)
    mean, covariance = shell.flow.mean(MESH), shell.flow.covariance(MESH)
    law = rg.flow(mean, covariance, 0.0, 0.6)
    np.testing.assert_allclose(law.mean, rg.mean(mean, 0.6), atol=1e-8)
    np.testing.assert_allclose(law.covariance, rg.covariance(covariance, 0.6), atol=1e-8)
    # ShellFlow samples K_> between other points: both agree within the error it states.
    error = 10 * shell.std_error * np.abs(np.linalg.solve(rg.prior, mean)).sum()
    assert np.max(np.abs(rg.mean(mean, 0.5) - shell.mean(MESH, 0.5))) < error
    assert np.max(np.abs(rg.mean(mean, 0.5) - mean)) > error / 10


def test_resampling_need_not_be_a_diffusion():
    prior = np.diag([1.0, 100.0])
    stiff = np.array([prior, [[0.5, 1.0], [1.0, 60.0]], [[0.05, 1.0], [1.0, 59.9]]])
    rg = ff.LinearRG.from_kernels(prior, stiff, cutoffs=[0.0, 1.0, 2.0])
    pruned = ff.LinearRG.from_kernels(prior, stiff, cutoffs=[0.0, 1.0, 2.0], mode="prune")
    assert rg.generator_eigenvalue(1.0) < 0 < pruned.generator_eigenvalue(1.0)
    law = rg.flow([1.0, 2.0], prior, 0.0, 2.0)
    np.testing.assert_allclose(law.covariance, prior, atol=1e-7)
    np.testing.assert_allclose(law.mean, stiff[2] @ [1.0, 0.02], atol=1e-8)


def test_cumulants_take_the_map_on_each_leg():
    rg = ff.LinearRG.from_shell(trained(COSINE, fisher=XS, samples=2**12), MESH, cutoffs=CUTOFFS)
    tensor = np.random.default_rng(1).normal(size=(8, 8, 8))
    p = rg.projector(0.5)
    expected = np.einsum("ai,bj,ck,ijk->abc", p, p, p, tensor)
    np.testing.assert_allclose(rg.cumulant(tensor, 0.5), expected, atol=1e-10)


def test_information_is_monotone_and_its_loss_is_the_slope():
    rg = ff.LinearRG.from_shell(trained(RELU), MESH)
    grid = np.linspace(0.0, 4.0, 30)
    values = [rg.information(float(cutoff), 0.2, range(5)) for cutoff in grid]
    assert np.all(np.diff(values) < 0)
    kernel = ff.nngp(RELU, X)
    whole = 0.5 * np.linalg.slogdet(kernel / 0.2 + np.eye(5))[1]
    assert values[0] == pytest.approx(whole, rel=1e-9)
    assert rg.information(math.inf, 0.2) == pytest.approx(0.0, abs=1e-12)
    slope = (rg.information(1.0 + 1e-4, 0.2, range(5)) - rg.information(1.0 - 1e-4, 0.2, range(5))) / 2e-4
    assert slope == pytest.approx(-rg.information_loss(1.0, 0.2, range(5)), rel=1e-6)


def test_a_repeated_point_needs_a_ridge():
    mesh = np.vstack([MESH, MESH[:1]])
    shell = trained(RELU)
    with pytest.raises(ff.errors.NotPositiveDefinite, match=r"condition number .* ridge > 0"):
        ff.LinearRG.from_shell(shell, mesh)
    rg = ff.LinearRG.from_shell(shell, mesh, ridge=1e-9)
    mean, covariance = shell.flow.mean(mesh), shell.flow.covariance(mesh)
    np.testing.assert_allclose(rg.mean(mean, 0.5), shell.mean(mesh, 0.5), atol=1e-4)
    np.testing.assert_allclose(rg.covariance(covariance, 0.5), shell.covariance(mesh, cutoff=0.5), atol=1e-4)
    np.testing.assert_allclose(rg.mean(mean, 0.0), mean, atol=1e-6)


def test_no_generator_where_nothing_is_left():
    rg = ff.LinearRG.from_shell(trained(RELU), MESH)
    with pytest.raises(ff.errors.NotPositiveDefinite, match="cutoff: K_> is singular at inf"):
        rg.generator(math.inf)


ONE = np.array([[[1.0]], [[0.5]]])


@pytest.mark.parametrize(
    ("call", "key"),
    [
        (lambda rg: ff.LinearRG.from_shell("shell", MESH), "shell"),
        (lambda rg: ff.LinearRG.from_shell(trained(RELU), MESH[1:]), "mesh"),
        (lambda rg: ff.LinearRG.from_shell(trained(RELU), MESH, mode="drop"), "mode"),
        (lambda rg: ff.LinearRG.from_shell(trained(RELU), MESH, ridge=-1.0), "ridge"),
        (lambda rg: ff.LinearRG.from_shell(trained(COSINE, fisher=XS), MESH), "cutoffs"),
        (lambda rg: ff.LinearRG.from_kernels([1.0], ONE, cutoffs=[0, 1]), "prior"),
        (lambda rg: ff.LinearRG.from_kernels([[1.0]], ONE, cutoffs=[0, 1, 2]), "stiff"),
        (lambda rg: ff.LinearRG.from_kernels(np.eye(2), [np.eye(2), [[1, 1], [0, 1]]], cutoffs=[0, 1]), "stiff"),
        (lambda rg: rg.mean([1.0, 2.0], 0.5), "mean"),
        (lambda rg: rg.covariance([1.0], 0.5), "covariance"),
        (lambda rg: rg.cumulant([[1.0]], 0.5), "cumulant"),
        (lambda rg: rg.projector(-1.0), "cutoff"),
        (lambda rg: rg.projector(2.0), "cutoff"),
        (lambda rg: rg.flow([1.0], [[1.0]], 0.5, 0.2), "stop"),
        (lambda rg: rg.flow([1.0], [[1.0]], 0.0, math.inf), "stop"),
        (lambda rg: rg.information(0.5, 0.0), "noise_variance"),
        (lambda rg: rg.information(0.5, 1.0, [3]), r"points\[0\]"),
    ],
)
def test_bad_arguments_are_named(call, key):
    rg = ff.LinearRG.from_kernels([[1.0]], ONE, cutoffs=[0.0, 1.0])
    with pytest.raises(ff.errors.BadInput, match=rf"^{key}") as caught:
        call(rg)
    assert "\n" not in str(caught.value)
