"""Sampled cosine networks: their streams, the law of b and c, and one trained member against plain NumPy."""

import numpy as np
import pytest
from scipy import stats

from fieldflow.numeric import cosnet, rng
from fieldflow.numeric.ensemble import Training

LAYER = cosnet.CosLayer(3, 20_000, 5.0, 1.0, True, 0.01)


def test_uniforms_are_addressed_like_normals():
    seed, member = 0x0123456789ABCDEF, 7
    words = rng.philox(*(np.uint64(w) for w in (2, rng.UNIFORM, member, 0, seed & 0xFFFFFFFF, seed >> 32)))
    w0, w1, w2, w3 = (int(word) for word in words)
    expected = [((w0 << 32 | w1) >> 12) * 2.0**-52 + 2.0**-53, ((w2 << 32 | w3) >> 12) * 2.0**-52 + 2.0**-53]
    assert rng.uniforms(6, seed=seed, member=member)[4:].tolist() == expected
    assert (rng.uniforms(999, seed=4, member=9)[:7] == rng.uniforms(7, seed=4, member=9)).all()


@pytest.mark.statistical
def test_uniforms_fill_the_open_interval():
    values = rng.uniforms(400_000, seed=3, member=1)
    assert 0.0 < values.min() < values.max() < 1.0
    assert stats.kstest(values, "uniform").pvalue > 1e-4
    assert stats.kstest(values**1.02, "uniform").pvalue < 1e-4


@pytest.mark.statistical
def test_momenta_fill_the_ball_and_phases_the_circle():
    b, phases = cosnet.hidden_parameters(LAYER, np.uint64(5), 2)
    radius = np.linalg.norm(b, axis=1)
    assert radius.max() <= 5.0
    assert stats.kstest((radius / 5.0) ** 3, "uniform").pvalue > 1e-4
    assert stats.kstest((radius / 5.0) ** 2, "uniform").pvalue < 1e-15  # a disc instead of a ball
    assert stats.kstest(b[:, 2] / radius, stats.uniform(-1, 2).cdf).pvalue > 1e-4
    assert stats.kstest(phases, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-4
    gaussian, _ = cosnet.hidden_parameters(LAYER._replace(in_ball=False), np.uint64(5), 2)
    assert stats.kstest(gaussian.ravel() / 5.0, "norm").pvalue > 1e-4


def test_members_are_functions_of_seed_and_number():
    momenta, separations, stop = np.array([0.0, 1.0]), np.array([0.0, 0.5]), np.zeros(1, np.uint8)
    shell = cosnet.CosShell(np.array([0.05, 0.2]), np.inf, 1.0, True)
    layer = LAYER._replace(width=50)
    out, one = cosnet.empty_field(5, 3, 2, 2), cosnet.empty_field(1, 3, 2, 2)
    cosnet.field_block(layer, np.uint64(3), 10, momenta, 1.0, separations, shell, out, stop)
    cosnet.field_block(layer, np.uint64(3), 13, momenta, 1.0, separations, shell, one, stop)
    for many, single in zip(out, one, strict=True):
        np.testing.assert_array_equal(many[3], single[0])


def test_windowed_transform_is_that_of_the_field():
    """One member in d = 1 on a fine mesh: Σ_x W(x)e^{-ipx}f(x)dx/√∫W²."""
    layer = cosnet.CosLayer(1, 30, 5.0, 1.0, True, 0.2)
    shell, stop = cosnet.CosShell(np.array([0.05]), np.inf, 1.0, True), np.zeros(1, np.uint8)
    momenta, window = np.array([0.0, 1.3, 4.9]), 1.7
    out = cosnet.empty_field(1, 2, 3, 1)
    cosnet.field_block(layer, np.uint64(3), 4, momenta, window, np.zeros(1), shell, out, stop)
    b, phases = cosnet.hidden_parameters(layer, np.uint64(3), 4)
    x = np.linspace(-20, 20, 4001)
    features = cosnet.cosine_features(layer, b, phases, x[None])
    weights = rng.normals(30, seed=3, member=4, stream=rng.READOUT)
    stiff = 0.5 / (b[:, 0] ** 2 + 1.0) >= 0.05
    weight = np.exp(-(x**2) / (2 * window**2)) * 0.01 / np.sqrt(np.sqrt(np.pi) * window)
    for shell_index, kept in ((1, stiff), (0, ~stiff)):
        field = (weights * kept) @ features
        expected = np.exp(-1j * np.outer(momenta, x)) @ (weight * field)
        found = out.waves[0, shell_index]
        # e^{-ipx} against e^{ip(b - p)}: the code keeps the complex conjugate's sign of the imaginary part.
        np.testing.assert_allclose(found[:, 0], expected.real, atol=1e-12)
        np.testing.assert_allclose(np.abs(found[:, 1]), np.abs(expected.imag), atol=1e-12)
    assert out.counts[0].tolist() == [(~stiff).sum(), stiff.sum()]


@pytest.mark.parametrize("resample", [True, False])
def test_a_trained_member_against_plain_descent(resample):
    layer = cosnet.CosLayer(1, 60, 6.0, 1.0, True, 1 / np.sqrt(60))
    shell = cosnet.CosShell(np.array([0.0, 0.1]), 0.7, 1.0, resample)
    x, y = np.array([[-0.4, 0.3, 0.8]]), np.array([[1.0], [0.2], [-0.5]])
    points, stop = np.array([[-1.0, 0.5]]), np.zeros(1, np.uint8)
    rate, steps = 0.9, 40
    out = cosnet.empty_trained(1, 2, 2)
    cosnet.train_block(layer, np.uint64(8), 3, points, Training(x, y, rate, 0, float(steps)), shell, out, stop)
    b, phases = cosnet.hidden_parameters(layer, np.uint64(8), 3)
    seen, there = (np.cos(b @ at + phases[:, None]) / np.sqrt(60 * (b**2 + 1)) for at in (x, points))
    start = rng.normals(60, seed=8, member=3, stream=rng.READOUT)
    omega = start.copy()
    for _ in range(steps):
        omega += rate * seen @ (y[:, 0] - omega @ seen)
    fisher = 0.5 * (1 + np.exp(-2 * 0.49 * b[:, 0] ** 2) * np.cos(2 * phases)) / (b[:, 0] ** 2 + 1)
    fresh = rng.normals(60, seed=8, member=3, stream=rng.REDRAW) * resample
    for i, cutoff in enumerate((0.0, 0.1)):
        stiff = fisher >= cutoff
        np.testing.assert_allclose(out.outputs[0, i], np.where(stiff, omega, fresh) @ there, rtol=1e-10)
        assert out.moved[0, i] == pytest.approx(np.sum((omega**2 - start**2)[stiff]), rel=1e-9)
        assert out.sloppy[0, i] == np.sum(~stiff)
