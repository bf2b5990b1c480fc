"""Read-outs on one frozen hidden layer: against plain gradient descent, step by step, and against their noise."""

import numpy as np

from fieldflow.flow import training_matrix
from fieldflow.numeric.frozen import Frozen, frozen_outputs, skewed, stream_block
from fieldflow.numeric.rng import READOUT, REDRAW, normals

GENERATOR = np.random.default_rng(2)
FEATURES, Y = GENERATOR.normal(size=(30, 6)) / np.sqrt(30), GENERATOR.normal(size=4)
DIAGONAL = GENERATOR.uniform(size=30)
TRAIN = np.arange(4)


def test_streams_are_those_of_single_members():
    block = stream_block(np.uint64(7), 3, 2, READOUT, 5)
    assert (block[1] == normals(5, seed=7, member=4, stream=READOUT)).all()


def test_outputs_are_those_of_gradient_descent_on_each_members_targets():
    seen, rate, steps = FEATURES[:, TRAIN], 0.3, 12
    matrix = training_matrix(seen.T @ seen, method="gd", learning_rate=rate, steps=steps, d_out=1)
    layer = Frozen(FEATURES, TRAIN, DIAGONAL, matrix)
    cutoffs = np.array([0.0, 0.4])
    found = {resample: frozen_outputs(layer, Y, 0.5, cutoffs, resample, 9, 0, 3) for resample in (True, False)}
    noise = skewed(stream_block(np.uint64(9), 0, 3, 5, 4))
    for member in range(3):
        weights = normals(30, seed=9, member=member, stream=READOUT)
        for _ in range(steps):
            weights = weights + 2 * rate / 4 * seen @ (Y + 0.5 * noise[member] - weights @ seen)
        np.testing.assert_allclose(found[True][member, 0], weights @ FEATURES, atol=1e-12)
        kept = np.where(DIAGONAL >= 0.4, weights, 0.0)
        np.testing.assert_allclose(found[False][member, 1], kept @ FEATURES, atol=1e-12)
        drawn = np.where(DIAGONAL < 0.4, normals(30, seed=9, member=member, stream=REDRAW), 0.0)
        np.testing.assert_allclose(found[True][member, 1], (kept + drawn) @ FEATURES, atol=1e-12)


def test_target_noise_is_skewed():
    values = skewed(stream_block(np.uint64(1), 0, 20_000, 5, 5).reshape(-1))
    n = len(values)
    for power, expected, spread in ((1, 0.0, 1.0), (2, 1.0, np.sqrt(14.0)), (3, np.sqrt(8.0), 60.0)):
        assert abs(np.mean(values**power) - expected) < 5 * spread / np.sqrt(n)
