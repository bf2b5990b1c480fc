"""What do many read-outs on one and the same hidden layer do? Trained on targets of their own, then coarse-grained.

Everything is linear in the read-out and in the targets, so that an ensemble is a few products of matrices.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.jit import jit
from fieldflow.numeric.rng import READOUT, REDRAW, fill_normals

Array = NDArray[np.float64]

TARGETS = 5
"""Stream of a member's own targets (``rng`` names the others)."""


class Frozen(NamedTuple):
    """The hidden layer that all members share: normalised features on the mesh (width, m), positions of the training
    inputs in the mesh (n,), λ (width,), the training matrix M (n, n).
    """

    features: Array
    train: NDArray[np.int64]
    diagonal: Array
    matrix: Array


@jit
def stream_block(seed, first, members, stream, size):  # type: ignore[no-untyped-def]
    """Return the standard normals (members, size) of one stream of consecutive members."""
    result = np.empty((members, size))
    for slot in range(members):
        fill_normals(result[slot], seed, first + slot, stream)
    return result


def skewed(normals: Array) -> Array:
    """Return independent numbers of mean 0, variance 1 and skewness √8: (z² - 1)/√2.

    >>> bool(abs(skewed(np.array([1.0]))[0]) < 1e-15)
    True
    """
    value: Array = (normals**2 - 1.0) / np.sqrt(2.0)
    return value


def frozen_outputs(
    layer: Frozen, y: Array, spread: float, cutoffs: Array, resample: bool, seed: int, first: int, members: int
) -> Array:
    """Return f_Λ on the mesh, (members, cutoffs, m), of members trained on y + spread·(their own skewed noise).

    ``y`` (n,); sloppy weights (λ < Λ) are redrawn (``resample``) or removed.
    """
    width, n = len(layer.features), len(layer.train)
    key = np.uint64(seed)
    initial = stream_block(key, first, members, READOUT, width)
    targets = y + spread * skewed(stream_block(key, first, members, TARGETS, n))
    seen = layer.features[:, layer.train]
    trained = initial + (targets - initial @ seen) @ layer.matrix.T @ seen.T
    redrawn = stream_block(key, first, members, REDRAW, width) if resample else np.zeros_like(initial)
    result = np.empty((members, len(cutoffs), layer.features.shape[1]))
    for i, cutoff in enumerate(cutoffs):
        result[:, i] = np.where(layer.diagonal >= cutoff, trained, redrawn) @ layer.features
    return result
