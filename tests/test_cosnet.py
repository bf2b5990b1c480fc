"""ff.CosNet: the calls as written, limits, and what is refused by name."""

import math

import numpy as np
import pytest

import fieldflow as ff
from fieldflow.cosnet_flow import CosNetFlow

COS = ff.CosNet(d=1, radius=8.0, mass=1.0, sigma_w=1.0, width=4000)


def test_spectrum_is_a_free_field_inside_the_shell():
    p = np.array([0.0, 1.0, 2.0, 7.9, 8.1])
    whole = np.pi / 16 * 2 / 2 / (p**2 + 1) * (p <= 8) * 1.0
    np.testing.assert_allclose(COS.spectrum(p), whole, rtol=1e-14)
    np.testing.assert_allclose(COS.spectrum(p, cutoff=[0.0, 0.1, 0.6]), [whole, whole * (p <= 2), 0 * p], rtol=1e-14)
    quiet = COS.spectrum(p, cutoff=0.1, noise_variance=5.0)
    np.testing.assert_allclose(quiet, 0 * p)
    with pytest.raises(ff.errors.BadInput, match=r"^p: expected absolute"):
        COS.spectrum([-1.0])


def test_shell_radius_and_the_empty_shell():
    assert COS.shell_radius(0.0) == 8.0
    assert COS.shell_radius(0.1) == 2.0
    assert COS.shell_radius(1e-9) == 8.0
    assert COS.shell_radius(0.5) == COS.shell_radius(math.inf) == 0.0
    assert COS.shell_radius([0.0, 0.1, 7.0]).tolist() == [8.0, 2.0, 0.0]
    np.testing.assert_array_equal(COS.propagator([0.0, 1.0], 7.0), [0.0, 0.0])
    np.testing.assert_array_equal(COS.shell_kernel([[0.1]], None, [7.0, math.inf], 1.0), np.zeros((2, 1, 1)))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_propagator_is_the_transform_of_the_spectrum(d):
    net = ff.CosNet(d=d, radius=5.0, mass=0.8, sigma_w=1.3)
    k, w = np.polynomial.legendre.leggauss(200)
    for cutoff in (0.0, 0.1):
        edge = net.shell_radius(cutoff)
        q, v = 0.5 * edge * (k + 1), 0.5 * edge * w
        wave = {1: np.cos, 2: lambda z: np.mean(np.cos(np.multiply.outer(z, np.cos(np.pi * (np.arange(400) + 0.5) / 400))), -1),
                3: lambda z: np.sinc(z / np.pi)}[d]  # fmt: skip
        sphere = {1: 2, 2: 2 * np.pi, 3: 4 * np.pi}[d] / (2 * np.pi) ** d
        expected = [sphere * v @ (q ** (d - 1) * wave(q * r) * net.spectrum(q, cutoff)) for r in (0.0, 0.7, 3.0)]
        np.testing.assert_allclose(net.propagator([0.0, 0.7, 3.0], cutoff), expected, rtol=1e-11, atol=1e-14)


def test_kernels_are_positive_and_grow_towards_the_prior():
    x = np.random.default_rng(2).normal(size=(7, 2))
    net = ff.CosNet(d=2, radius=6.0, mass=1.0)
    kernels = net.shell_kernel(x, None, [0.0, 0.03, 0.2, 0.6], 0.7)
    for inner, outer in zip(kernels[1:], kernels, strict=False):
        assert np.linalg.eigvalsh(inner).min() > -1e-13
        assert np.linalg.eigvalsh(outer - inner).min() > -1e-13
    shifted = net.shell_kernel(x + 0.5, None, 0.2, 0.7)
    assert np.abs(shifted - kernels[2]).max() > 1e-3  # not translation invariant
    broad = net.shell_kernel(x, None, 0.2)
    np.testing.assert_allclose(net.shell_kernel(x + 0.5, None, 0.2), broad, rtol=1e-12, atol=1e-15)


def test_general_alpha_and_regulators_keep_the_field():
    p = np.linspace(0, 4, 5)
    for alpha in (-1, -0.5, 0, 1):
        for regulator in ("ball", "gaussian"):
            net = ff.CosNet(d=3, radius=4.0, mass=1.0, alpha=alpha, regulator=regulator)
            cut = 1.0 if regulator == "ball" else np.exp(-(p**2) / 32)
            np.testing.assert_allclose(net.spectrum(p), net.strength * cut / (p**2 + 1), rtol=1e-13)
            fixed = ff.CosNet(d=3, radius=4.0, mass=1.0, alpha=alpha, regulator=regulator, readout="fixed")
            np.testing.assert_allclose(fixed.propagator(p) * net.strength, net.propagator(p), rtol=1e-9)
    paper = ff.CosNet(d=3, radius=4.0, mass=1.0)
    assert ff.CosNet(d=3, radius=4.0, mass=1.0, alpha=-1.0).strength == paper.strength
    limit = ff.CosNet(d=3, radius=math.inf, mass=0.0, readout="fixed")
    np.testing.assert_allclose(limit.propagator([1.0, 2.0]), [0.25 / np.pi, 0.125 / np.pi], rtol=1e-14)
    assert ff.CosNet(d=1, radius=math.inf, mass=2.0, readout="fixed").propagator(0.0) == 0.25
    four = ff.CosNet(d=2, radius=100.0, mass=1.0, width=30, alpha=0, regulator="gaussian", readout="fixed")
    infinite = ff.CosNet(d=2, radius=math.inf, mass=1.0, readout="fixed")
    np.testing.assert_allclose(four.propagator([1.0, 2.0]), infinite.propagator([1.0, 2.0]), rtol=1e-4)


def test_renormalised_parameters():
    found = COS.renormalized(1.1)
    strength = np.pi / 16
    assert found == pytest.approx((1 / (1.1 * strength), 1 / (1.1 * strength), 8 / 1.1))
    assert type(found).__name__ == "Renormalized"
    assert found.mass2 / found.momentum2_factor == pytest.approx(1.0)


def test_flow_limits_and_effective_variance():
    x = np.array([[-0.5], [0.2], [0.9]])
    flow = CosNetFlow(COS, x, [1.0, -0.5, 0.3], learning_rate=3.0, steps=4000, input_std=0.7)
    np.testing.assert_allclose(flow.mean(x), [1.0, -0.5, 0.3], atol=1e-3)
    np.testing.assert_allclose(flow.covariance(x, None, math.inf), COS.shell_kernel(x), atol=1e-14)
    pruned = CosNetFlow(COS, x, [1.0, -0.5, 0.3], learning_rate=3.0, steps=4000, input_std=0.7, mode="prune")
    np.testing.assert_allclose(pruned.covariance(x, None, math.inf), 0.0, atol=1e-14)
    np.testing.assert_allclose(pruned.mean(x, [0.0, 0.1]), flow.mean(x, [0.0, 0.1]), rtol=1e-13)
    wide, wider = (flow.effective_variance(0.0, width) - 1.0 for width in (1000, 2000))
    assert wide == pytest.approx(2 * wider, rel=1e-9)
    assert flow.effective_variance(math.inf, 1000) == 1.0


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"d": 0}, "d: "),
        ({"radius": 0.0}, "radius: expected a finite number > 0"),
        ({"radius": -1.0}, "radius: "),
        ({"radius": math.inf}, "radius: expected a finite number: C_d = 0"),
        ({"radius": math.nan}, "radius: "),
        ({"mass": 0.0}, "mass: expected > 0 in d <= 2 .infrared divergence"),
        ({"mass": 0.0, "d": 2, "radius": math.inf, "readout": "fixed"}, "mass: .*infrared divergence"),
        ({"mass": 0.0, "d": 3, "alpha": 1}, "mass: .*no density"),
        ({"mass": -1.0}, "mass: "),
        ({"width": 0}, "width: "),
        ({"sigma_w": 0.0}, "sigma_w: "),
        ({"sigma_w": 1.0, "readout": "fixed"}, "sigma_w: not accepted"),
        ({"regulator": "box"}, "regulator: "),
        ({"readout": "none"}, "readout: "),
        ({"alpha": math.nan}, "alpha: "),
    ],
)
def test_bad_networks_are_named(keys, message):
    with pytest.raises(ff.errors.BadInput, match=f"^{message}") as caught:
        ff.CosNet(**{"d": 1, "radius": 8.0, "mass": 1.0, **keys})
    assert "\n" not in str(caught.value)


def test_what_has_no_answer_is_refused():
    fixed = ff.CosNet(d=2, radius=math.inf, mass=1.0, readout="fixed")
    with pytest.raises(ff.errors.BadInput, match="variance is infinite"):
        fixed.propagator([0.0])
    with pytest.raises(ff.errors.BadInput, match="fixed read-out has no weights"):
        fixed.shell_radius(0.1)
    with pytest.raises(ff.errors.NoClosedForm, match="alpha"):
        ff.CosNet(d=1, radius=8.0, mass=1.0, alpha=0).spectrum([1.0], cutoff=0.1)
    with pytest.raises(ff.errors.NoClosedForm, match="regulator"):
        ff.CosNet(d=1, radius=8.0, mass=1.0, regulator="gaussian").shell_kernel([[0.0]], None, 0.1, 1.0)
    with pytest.raises(ff.errors.BadInput, match="sigma_w2"):
        COS.renormalized(0.0)
    with pytest.raises(ff.errors.BadInput, match="net"):
        CosNetFlow(fixed, [[0.0, 0.0]], [1.0], learning_rate=1.0, steps=1)
    assert "R_{\\Lambda}" in COS.formula("sloppy_fraction").latex()
    assert COS._repr_latex_().startswith("$")
