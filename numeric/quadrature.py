"""How large is a shell kernel without a closed form? Randomised quasi-Monte Carlo over one neuron's preactivations.

K_<(x, x') = E[h(x) h(x') 1{λ < Λ}]: the integrand is a function of Gaussian numbers, one scrambled Sobol sequence per
replicate; the spread of the independent replicates is the error.
"""

from collections.abc import Iterator

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import linalg, special

Array = NDArray[np.float64]

REPLICATES = 16


def gaussian_replicates(dimension: int, samples: int, seed: int) -> Iterator[Array]:
    """Yield ``REPLICATES`` independent randomised point sets (samples / REPLICATES, dimension) of standard normals.

    ``samples`` is rounded up so that each replicate is a power of two.
    """
    per_replicate = max(samples // REPLICATES, 2)
    exponent = int(np.ceil(np.log2(per_replicate)))
    for generator in np.random.Generator(np.random.Philox(seed)).spawn(REPLICATES):
        points = scipy.stats.qmc.Sobol(dimension, scramble=True, rng=generator).random_base2(exponent)
        # The scrambled lattice can touch 0; half a cell inside, the inverse normal stays finite.
        half = 2.0**-54
        yield special.ndtri(np.clip(points, half, 1.0 - half))


def root(covariance: Array) -> Array:
    """Return R (p, r) with R Rᵀ = covariance (positive semi-definite), dropping directions at rounding level.

    >>> root(np.ones((2, 2))).shape
    (2, 1)
    """
    values, vectors = linalg.eigh(covariance)
    keep = values > max(values[-1], 0.0) * 1e-14 * len(values)
    factor: Array = vectors[:, keep] * np.sqrt(values[keep])
    return factor


def shell_averages(left: Array, right: Array, diagonal: Array, cutoffs: Array) -> tuple[Array, Array]:
    """Return E[h h' 1{λ >= Λ}] (cutoffs, n1, n2) and P(λ < Λ) (cutoffs,) over one replicate.

    ``left`` (samples, n1) and ``right`` (samples, n2) are hidden outputs, ``diagonal`` (samples,) their λ.
    """
    samples = len(diagonal)
    first = np.searchsorted(cutoffs, diagonal, side="right")
    order = np.argsort(first, kind="stable")
    edges = np.searchsorted(first[order], np.arange(len(cutoffs) + 2))
    shells = np.empty((len(cutoffs) + 1, left.shape[1], right.shape[1]))
    for shell in range(len(cutoffs) + 1):
        members = order[edges[shell] : edges[shell + 1]]
        shells[shell] = left[members].T @ right[members] / samples
    stiff = np.cumsum(shells[::-1], axis=0)[::-1][1:]
    counts = np.diff(edges)
    return stiff, np.cumsum(counts)[: len(cutoffs)] / samples
