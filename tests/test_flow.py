"""TrainingFlow against the process trained step by step, its limits, and its refusals."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import fieldflow as ff
from oracles.flows import iterate

GENERATOR = np.random.default_rng(5)
X, XS = GENERATOR.normal(size=(7, 2)), GENERATOR.normal(size=(4, 2))
Y = X[:, 0] ** 2 - X[:, 1]
NET = ff.MLP(2, depth=2, activation="relu", sigma_w=1.3, sigma_b=0.4)


@pytest.mark.parametrize("method", ["gd", "sgd"])
@pytest.mark.parametrize("trained", ["readout", "all"])
def test_flow_equals_step_by_step_training(method, trained):
    every = np.concatenate([X, XS])
    prior = ff.nngp(NET, every)
    kernel = prior if trained == "readout" else ff.ntk(NET, every)
    rate = 0.05 if method == "sgd" else 0.3
    mean, covariance = iterate(kernel, prior, Y, method=method, learning_rate=rate, steps=40)
    flow = ff.TrainingFlow(NET, X, Y, learning_rate=rate, steps=40, method=method, trained=trained)
    np.testing.assert_allclose(flow.mean(XS), mean[7:], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(flow.covariance(XS), covariance[7:, 7:], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(flow.covariance(X[:3], XS), covariance[:3, 7:], rtol=1e-8, atol=1e-11)


def test_gradient_flow_is_the_limit_of_small_steps():
    flow = ff.TrainingFlow(NET, X, Y, learning_rate=0.2, steps=30.0, method="gradient_flow")
    errors = []
    for factor in (20, 40):
        fine = ff.TrainingFlow(NET, X, Y, learning_rate=0.2 / factor, steps=30 * factor)
        errors.append(np.abs(fine.mean(XS) - flow.mean(XS)).max())
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.05)


def test_zero_steps_is_the_prior_and_infinity_the_posterior():
    start = ff.TrainingFlow(NET, X, Y, learning_rate=0.2, steps=0)
    assert (start.mean(XS) == 0).all()
    np.testing.assert_allclose(start.covariance(XS), ff.nngp(NET, XS), rtol=1e-14)
    ridge = 0.3
    end = ff.TrainingFlow(NET, X, Y, learning_rate=0.2, steps=math.inf, ridge=ridge)
    kernel = ff.nngp(NET, X) + ridge * np.eye(7)
    cross = ff.nngp(NET, X, XS)
    np.testing.assert_allclose(end.mean(XS), cross.T @ np.linalg.solve(kernel, Y), rtol=1e-10)
    expected = ff.nngp(NET, XS) - cross.T @ np.linalg.solve(kernel, cross)
    np.testing.assert_allclose(end.covariance(XS), expected, rtol=1e-8, atol=1e-12)


def test_outputs_train_independently_at_the_shared_rate():
    both = np.column_stack([Y, -2 * Y + 1])
    net = ff.MLP(2, depth=2, activation="relu", sigma_w=1.3, sigma_b=0.4, d_out=2)
    flow = ff.TrainingFlow(net, X, both, learning_rate=0.6, steps=40)
    single = ff.TrainingFlow(NET, X, Y, learning_rate=0.3, steps=40)
    np.testing.assert_allclose(flow.mean(XS)[:, 0], single.mean(XS), rtol=1e-12)
    assert flow.mean(XS).shape == (4, 2)
    assert flow.covariance(XS).shape == (4, 4)


def test_repeated_inputs_with_different_targets_stay_finite():
    x, y = np.concatenate([X, X[:1]]), np.append(Y, Y[0] + 1)
    for method in ("gd", "sgd", "gradient_flow"):
        flow = ff.TrainingFlow(NET, x, y, learning_rate=0.05, steps=500, method=method)
        assert np.isfinite(flow.mean(XS)).all()
    with pytest.raises(ff.errors.NotPositiveDefinite, match="ridge"):
        ff.TrainingFlow(NET, x, y, learning_rate=0.05, steps=math.inf).mean(XS)


def test_what_numpy_promotes_exactly_is_accepted():
    integers = ff.TrainingFlow(NET, [[1, 0], [0, 1]], [1, 2], learning_rate=1e-2, steps=3)
    floats = ff.TrainingFlow(NET, np.eye(2, dtype=np.float32), [1.0, 2.0], learning_rate=1e-2, steps=3)
    assert (integers.mean([[1, 1]]) == floats.mean([[1.0, 1.0]])).all()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"steps": -1}, "steps"),
        ({"steps": 1.5}, "steps"),
        ({"steps": True}, "steps"),
        ({"method": "adam"}, "method"),
        ({"trained": "none"}, "trained"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": math.nan}, "learning_rate"),
        ({"ridge": -1.0}, "ridge"),
        ({"y_train": Y[:-1]}, "y_train"),
        ({"y_train": Y + 1j}, "y_train"),
        ({"x_train": X[:, :1]}, "x_train"),
    ],
)
def test_bad_arguments_are_named(change, key):
    arguments = {"x_train": X, "y_train": Y, "learning_rate": 0.1, "steps": 5} | change
    x, y = arguments.pop("x_train"), arguments.pop("y_train")
    with pytest.raises(ff.errors.BadInput, match=f"^{key}"):
        ff.TrainingFlow(NET, x, y, **arguments)


REFERENCE = json.loads((Path(__file__).parent / "data" / "kernel_reference.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "case",
    [c for c in REFERENCE["predict"] if c["fn"] == "gradient_descent_mse_ensemble" and c["y"] == "y1"],
    ids=lambda c: f"t={c['t']}-reg={c['diag_reg']}-{c['diag_reg_absolute_scale']}",
)
@pytest.mark.parametrize(("trained", "key"), [("readout", "nngp"), ("all", "ntk")])
def test_gradient_flow_agrees_with_neural_tangents(case, trained, key):
    """Their learning_rate·t is twice ours (no ½ in our loss); their relative ridge is in units of tr K/n."""
    given = {name: np.array(value) for name, value in REFERENCE["predict_inputs"].items()}
    net = ff.MLP(3, depth=case["depth"], activation=case["act"], sigma_w=case["W_std"], sigma_b=case["b_std"])
    kernel = (ff.nngp if trained == "readout" else ff.ntk)(net, given["x_train"])
    ridge = case["diag_reg"] * (1.0 if case["diag_reg_absolute_scale"] else np.trace(kernel) / len(kernel))
    flow = ff.TrainingFlow(
        net, given["x_train"], given["y1"], method="gradient_flow", trained=trained, ridge=ridge,
        learning_rate=case["learning_rate"] / 2, steps=float(case["t"]),
    )  # fmt: skip
    x = given["x_test"]
    np.testing.assert_allclose(flow.mean(x), np.array(case[f"{key}_mean"]), atol=2e-11)
    if ridge == 0.0:
        np.testing.assert_allclose(flow.covariance(x), np.array(case[f"{key}_cov"]), atol=2e-11)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("trained", ["readout", "all"])
def test_a_posterior_on_repeated_points_is_refused(seed, trained):
    """Rounding can make the Gram matrix of repeated points pass for positive definite."""
    x = np.random.default_rng(seed).normal(size=(5, 3))
    x[3] = x[1]
    net = ff.MLP(3, depth=2, activation="relu")
    flow = ff.TrainingFlow(net, x, np.arange(5.0), learning_rate=1.0, steps=np.inf, trained=trained)
    with pytest.raises(ff.errors.NotPositiveDefinite, match="ridge"):
        flow.mean(x)
    regular = ff.TrainingFlow(net, x, np.arange(5.0), learning_rate=1.0, steps=np.inf, trained=trained, ridge=1e-6)
    assert np.all(np.isfinite(regular.mean(x)))


def test_divergence_is_named():
    flow = ff.TrainingFlow(
        ff.MLP(1, depth=1, activation="relu"), [[1.0], [2.0]], [1.0, 2.0], learning_rate=1e3, steps=10**5
    )
    with pytest.raises(ff.errors.BadInput, match=r"^learning_rate: training diverges"):
        flow.mean([[1.0]])
