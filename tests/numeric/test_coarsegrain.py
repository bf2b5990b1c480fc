"""The one-pass shell against a loop over neurons, and the strictness of the partition."""

import numpy as np
import pytest

from fieldflow.numeric import coarsegrain
from oracles import primal


@pytest.mark.parametrize("mode", ["resample", "prune"])
def test_shell_outputs_equal_the_loop(mode):
    generator = np.random.default_rng(0)
    features = generator.normal(size=(37, 4))
    trained, redrawn = generator.normal(size=(2, 37, 2))
    diagonal = generator.exponential(size=37)
    diagonal[:5] = 0.0
    cutoffs = np.array([0.0, 5e-324, 0.3, diagonal[7], 2.0, 1e9, np.inf])
    cutoffs.sort()
    removed = coarsegrain.removed_from(diagonal, cutoffs)
    found = coarsegrain.shell_outputs(features, trained, redrawn, removed, len(cutoffs), mode == "resample")
    for i, cutoff in enumerate(cutoffs):
        for output in range(2):
            expected = primal.coarse_grain(features, trained[:, output], redrawn[:, output], diagonal, cutoff, mode)
            np.testing.assert_allclose(found[i, :, output], expected, rtol=1e-12, atol=1e-12)


def test_the_partition_is_strict():
    diagonal = np.array([0.0, 0.5, 1.0])
    cutoffs = np.array([0.0, 0.5, 1.0, 2.0])
    counts = coarsegrain.sloppy_counts(coarsegrain.removed_from(diagonal, cutoffs), 3, 4)
    assert counts.tolist() == [0, 1, 2, 3]


def test_fisher_diagonal_is_the_mean_square():
    outputs = np.array([[1.0, 2.0], [0.0, 0.0]])
    assert coarsegrain.fisher_diagonal(outputs, 0.5).tolist() == [5.0, 0.0]
