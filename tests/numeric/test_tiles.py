"""Products in register tiles against NumPy, at every remainder of the tile's shape, and what a Gram matrix may leave out."""

import numpy as np
import pytest

from fieldflow.numeric import tiles
from fieldflow.numeric.mlp import Architecture
from fieldflow.numeric.ordering import chain

GENERATOR = np.random.default_rng(4)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (8, 3, 24), (9, 10, 33), (17, 1, 7), (6, 70, 31), (64, 10, 210), (3, 0, 5)]
)
def test_a_product_is_the_product(shape):
    m, k, p = shape
    left, right, out = GENERATOR.normal(size=(m, k)), GENERATOR.normal(size=(k, p)), GENERATOR.normal(size=(m, p))
    expected, scale = out + left @ right, np.abs(out) + np.abs(left) @ np.abs(right)
    transposed, found = np.ascontiguousarray(left.T).T, out.copy()
    tiles.add_product(found, transposed, right)
    tiles.add_product(out, left, right)
    assert (np.abs(out - expected) <= 1e-15 * (k + 1) * scale).all()
    assert (found == out).all()


def test_an_entry_does_not_depend_on_its_place():
    left, right = GENERATOR.normal(size=(21, 13)), GENERATOR.normal(size=(13, 45))
    whole = tiles.product(left, right)
    for row in range(21):
        for column in range(45):
            single = tiles.product(left[row : row + 1], np.ascontiguousarray(right[:, column : column + 1]))
            assert whole[row, column] == single[0, 0]


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (200, 8), (130, 40), (33, 27), (300, 50), (0, 4)])
def test_gram_matrix_of_silent_units_too(shape):
    features = np.maximum(GENERATOR.normal(size=shape) - 1.0, 0.0)
    found = tiles.gram(features)
    np.testing.assert_allclose(found, features.T @ features, rtol=1e-13, atol=1e-13)
    assert (found == found.T).all()


def test_what_is_not_a_number_is_not_left_out():
    features = np.zeros((3, 16))
    features[1, 9] = np.nan
    found = tiles.gram(features)
    assert np.isnan(found[9, 9])
    assert np.isnan(found[9, 10])
    assert found[0, 1] == 0.0


def test_a_long_sum_loses_no_digits():
    features = np.maximum(GENERATOR.normal(size=(20_000, 8)), 0.0)
    exact = (features.astype(np.longdouble).T @ features.astype(np.longdouble)).astype(float)
    assert np.abs(tiles.gram(features) / exact - 1.0).max() < 4e-15


@pytest.mark.parametrize("bias", [0.0, 0.7])
def test_the_chain_is_an_order_of_all_inputs_along_the_circle(bias):
    net = Architecture(2, np.array([5]), np.array([1.0, 1.0]), np.array([bias, 0.0]))
    x = GENERATOR.normal(size=(2, 40))
    order = chain(net, x)
    assert sorted(order) == list(range(40))
    if bias == 0.0:
        steps = np.diff(np.unwrap(np.arctan2(x[1], x[0])[order]))
        # Once around, apart from what is left behind at the start.
        assert np.abs(np.sum(np.abs(steps))) < 4.0 * np.pi
