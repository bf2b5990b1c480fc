"""What are the connected correlators of a field that is Gaussian given something else? From averages of its moments.

Given its hidden layer a trained network is a Gaussian field on the mesh, with its own mean and covariance.  Averaging the
moments of these Gaussians over members gives those of the field (no read-out need be drawn), and its cumulants follow.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.symmetric import sorted_tuples

Array = NDArray[np.float64]
Tuple = tuple[int, ...]

LARGEST = 4
"""Highest order of the moments."""


@cache
def tuples(size: int) -> tuple[Tuple, ...]:
    """Return the index tuples of the moments, order by order, each order sorted as a packed symmetric tensor.

    >>> tuples(1)
    ((0,), (0, 0), (0, 0, 0), (0, 0, 0, 0))
    """
    return tuple(
        tuple(int(i) for i in row) for order in range(1, LARGEST + 1) for row in sorted_tuples(size, order).tolist()
    )


def gaussian_moments(mean: Array, covariance: Array) -> Array:
    """Return E[φ_a φ_b …] up to fourth order of N(mean, covariance), (members, tuples).

    ``mean`` (members, m), ``covariance`` (members, m, m).  Stein: E[φ_a F] = mean_a E F + Σ_b covariance_ab E ∂_b F.  A
    covariance from which a fixed one was subtracted need not be positive; cumulants above the second do not notice.

    >>> gaussian_moments(np.zeros((1, 1)), np.full((1, 1, 1), 2.0)).tolist()
    [[0.0, 2.0, 0.0, 12.0]]
    """
    found: dict[Tuple, Array] = {(): np.ones(len(mean))}
    for indices in tuples(mean.shape[1]):
        first, rest = indices[0], indices[1:]
        value = mean[:, first] * found[rest]
        for place, other in enumerate(rest):
            value = value + covariance[:, first, other] * found[rest[:place] + rest[place + 1 :]]
        found[indices] = value
    return np.stack([found[indices] for indices in tuples(mean.shape[1])], axis=1)


def cumulants(moments: Array, size: int) -> tuple[Array, ...]:
    """Return the cumulants of order 1 to 4, each packed (…, entries), from moments (…, tuples).

    M_{a S} = Σ_{T ⊆ S} κ_{a T} M_{S - T}, solved for the term T = S.

    >>> [part.tolist() for part in cumulants(np.array([1.0, 3.0, 7.0, 25.0]), 1)]
    [[1.0], [2.0], [0.0], [0.0]]
    """
    every = tuples(size)
    place = {indices: i for i, indices in enumerate(every)}
    found: dict[Tuple, Array] = {}
    for indices in every:
        rest = indices[1:]
        value = moments[..., place[indices]]
        for chosen in range(2 ** len(rest) - 1):
            inside = tuple(index for bit, index in enumerate(rest) if chosen >> bit & 1)
            outside = tuple(index for bit, index in enumerate(rest) if not chosen >> bit & 1)
            value = value - found[indices[:1] + inside] * moments[..., place[outside]]
        found[indices] = value
    return tuple(
        np.stack([found[indices] for indices in every if len(indices) == order], axis=-1)
        for order in range(1, LARGEST + 1)
    )
