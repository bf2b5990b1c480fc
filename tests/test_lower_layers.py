"""Narrow layers below an infinitely wide one: against one hidden layer, against sampled networks, and not the infinite net."""

import numpy as np
import pytest

import fieldflow as ff
from fieldflow.errors import BadInput

X = np.random.default_rng(4).normal(size=(5, 2))
Y = X[:, 0] - X[:, 1] ** 2
THERE = np.array([[1.2, -0.4], [0.1, 0.9]])
RULE = {"learning_rate": 0.3, "steps": 60}
CUTOFFS = [0.0, 0.2, 0.8]


@pytest.mark.statistical
@pytest.mark.parametrize("mode", ["resample", "prune"])
@pytest.mark.parametrize("scaling", ["fan_in", "unscaled"])
def test_sampled_networks_with_a_narrow_layer(mode, scaling):
    width = 3000
    scale = (1.2, 1.2, 0.9) if scaling == "fan_in" else (0.85, 0.7, 0.9 / np.sqrt(width))
    net = ff.MLP(
        2, widths=(4, width), activation=("erf", "relu"), sigma_w=scale, sigma_b=(0.2, 0.1, 0.0), scaling=scaling
    )
    flow = ff.LowerLayers(net, X, Y, fisher=X, mode=mode, draws=300, samples=256, seed=1, **RULE)
    ens = ff.Ensemble(net, members=1000, seed=2).train(X, Y, **RULE).coarse_grain(CUTOFFS, fisher=X, mode=mode)
    outputs = ens.sample(THERE)
    mean, covariance = flow.mean(THERE, CUTOFFS), flow.covariance(THERE, cutoff=CUTOFFS)
    error = outputs.std(axis=1, ddof=1) / np.sqrt(outputs.shape[1])
    assert np.max(np.abs(outputs.mean(axis=1) - mean.value) / np.hypot(error, mean.std_error)) < 4.5
    apart = outputs - outputs.mean(axis=1, keepdims=True)
    products = apart[..., :, None] * apart[..., None, :]
    spread = products.std(axis=1, ddof=1) / np.sqrt(outputs.shape[1])
    pulls = (products.mean(axis=1) - covariance.value) / np.hypot(spread, covariance.std_error)
    # 1/N of the last layer: a per cent or two of a variance known to four.
    assert np.max(np.abs(pulls)) < 5
    if scaling == "fan_in":  # the network whose lower layer is infinite too is another one
        wide = ff.MLP(2, depth=2, activation=("erf", "relu"), sigma_w=scale, sigma_b=(0.2, 0.1, 0.0))
        limit = ff.ShellFlow(ff.TrainingFlow(wide, X, Y, **RULE), fisher=X, mode=mode)
        apart_by = np.abs(limit.covariance(THERE, cutoff=CUTOFFS) - covariance.value) / covariance.std_error
        assert np.max(apart_by) > 8


def test_wide_lower_layers_are_the_infinite_network():
    net = ff.MLP(2, widths=(400, 10), activation="relu", sigma_w=1.3)
    flow = ff.LowerLayers(net, X, Y, fisher=X, draws=24, samples=512, **RULE)
    limit = ff.ShellFlow(
        ff.TrainingFlow(ff.MLP(2, depth=2, activation="relu", sigma_w=1.3), X, Y, **RULE), fisher=X, samples=2**15
    )
    mean = flow.mean(THERE, CUTOFFS)
    assert np.max(np.abs(mean.value - limit.mean(THERE, CUTOFFS))) < 5 * np.max(mean.std_error) + 4e-3
    fraction = flow.sloppy_fraction(CUTOFFS)
    assert np.max(np.abs(fraction.value - limit.sloppy_fraction(CUTOFFS))) < 5 * np.max(fraction.std_error) + 4e-3


def test_several_outputs_are_trained_apart():
    targets = np.column_stack([Y, 2.0 * Y])
    net = ff.MLP(2, widths=(3, 10), activation="relu", d_out=2)
    rule = {"learning_rate": 0.6, "steps": 60}  # the loss is a mean over outputs too
    flow = ff.LowerLayers(net, X, targets, fisher=X, draws=4, samples=256, **rule)
    single = ff.LowerLayers(ff.MLP(2, widths=(3, 10), activation="relu"), X, Y, fisher=X, draws=4, samples=256, **RULE)
    found, one = flow.mean(THERE, CUTOFFS).value, single.mean(THERE, CUTOFFS).value
    np.testing.assert_allclose(found[..., 0], one, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[..., 1], 2.0 * one, rtol=1e-9, atol=1e-12)
    with pytest.raises(BadInput, match=r"^net: expected one output, got d_out = 2"):
        flow.covariance(THERE)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"net": ff.MLP(2, widths=(5,), activation="relu")}, "net: expected at least two hidden layers"),
        ({"net": ff.MLP(2, depth=2, activation="relu")}, "net: a network given by depth"),
        ({"fisher": "gaussian"}, "fisher"),
        ({"draws": 1}, "draws"),
        ({"samples": 10}, "samples"),
        ({"mode": "jeffreys"}, "mode: Jeffreys' prior is improper"),
        ({"method": "adam"}, "method"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_bad_arguments_are_named(change, key):
    arguments = {"net": ff.MLP(2, widths=(3, 10), activation="relu"), "fisher": X, **RULE, **change}
    with pytest.raises(BadInput, match=f"^{key}"):
        ff.LowerLayers(arguments.pop("net"), X, Y, **arguments)
