"""How is a fully symmetric tensor kept? By its entries at sorted indices only: C(m + n - 1, n) numbers instead of m^n."""

from functools import cache
from itertools import combinations_with_replacement
from math import comb

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@cache
def sorted_tuples(size: int, rank: int) -> NDArray[np.int64]:
    """Return all i_1 <= … <= i_rank below ``size``, in lexicographic order: shape (C(size + rank - 1, rank), rank).

    >>> sorted_tuples(2, 2).tolist()
    [[0, 0], [0, 1], [1, 1]]
    """
    found = np.array(list(combinations_with_replacement(range(size), rank)), dtype=np.int64).reshape(
        entries(size, rank), rank
    )
    found.setflags(write=False)
    return found


def entries(size: int, rank: int) -> int:
    """Return the number of independent entries.

    >>> entries(6, 4)
    126
    """
    return comb(size + rank - 1, rank)


def positions(tuples: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return where sorted tuples (…, rank) stand in ``sorted_tuples``, shape (…).

    >>> positions(np.array([[0, 1], [1, 1]]), 2).tolist()
    [1, 2]
    """
    rank = tuples.shape[-1]
    below = np.array([[comb(position + k, k + 1) for k in range(rank)] for position in range(size)], dtype=np.int64)
    # Colexicographic rank of the mirrored tuple, counted from the end.
    found = np.full(tuples.shape[:-1], entries(size, rank) - 1, dtype=np.int64)
    for k in range(rank):
        found -= below[size - 1 - tuples[..., rank - 1 - k], k]
    return found


@cache
def _places(size: int, rank: int) -> NDArray[np.int64]:
    """Return the position of every index tuple among the sorted ones, shape (size,)·rank."""
    grids = np.sort(np.indices((size,) * rank).reshape(rank, -1), axis=0)
    found = positions(grids.T, size).reshape((size,) * rank)
    found.setflags(write=False)
    return found


def packed(tensor: Array) -> Array:
    """Return the entries of a symmetric tensor at sorted indices."""
    found: Array = tensor[tuple(sorted_tuples(tensor.shape[0], tensor.ndim).T)]
    return found


def unpacked(values: Array, size: int, rank: int) -> Array:
    """Return the dense tensor (…, size, …, size) of packed values (…, entries).

    >>> unpacked(np.array([1.0, 2.0, 3.0]), 2, 2).tolist()
    [[1.0, 2.0], [2.0, 3.0]]
    """
    found: Array = np.take(values, _places(size, rank), axis=-1)
    return found


def multiplicities(size: int, rank: int) -> Array:
    """Return how many index tuples of the dense tensor share each packed entry."""
    return np.bincount(_places(size, rank).reshape(-1)).astype(np.float64)
