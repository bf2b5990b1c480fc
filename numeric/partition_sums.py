"""What is the sum over all ways to split n points into blocks of given sizes? Products of packed symmetric tensors."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.symmetric import positions, sorted_tuples

Array = NDArray[np.float64]
Partition = Sequence[tuple[int, ...]]

_CHUNK = 2**14
"""Index tuples at a time: what is gathered for them stays in the cache."""


def partition_sum(partitions: Sequence[Partition], tensors: Mapping[int, Array], size: int, rank: int) -> Array:
    """Return Σ over ``partitions`` of Π over blocks of tensors[block size][block], packed (entries,).

    Parameters
    ----------
    partitions : sequence of partitions of 0 … rank - 1 into blocks of increasing numbers
    tensors : mapping of rank to packed symmetric tensor over ``size`` points
    size, rank : int

    >>> pairings = [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    >>> partition_sum(pairings, {2: np.array([2.0])}, 1, 4).tolist()
    [12.0]
    """
    every = sorted_tuples(size, rank)
    return np.concatenate([
        _chunk(partitions, tensors, size, every[start : start + _CHUNK]) for start in range(0, len(every), _CHUNK)
    ])  # fmt: skip


def _chunk(
    partitions: Sequence[Partition], tensors: Mapping[int, Array], size: int, tuples: NDArray[np.int64]
) -> Array:
    gathered: dict[tuple[int, ...], Array] = {}
    total = np.zeros(len(tuples))
    for partition in partitions:
        product = np.ones(len(tuples))
        for block in partition:
            if block not in gathered:  # a sub-tuple of a sorted tuple is sorted
                gathered[block] = tensors[len(block)][positions(tuples[:, block], size)]
            product *= gathered[block]
        total += product
    return total
