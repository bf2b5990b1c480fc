"""How sure is a cumulant estimated from sums over groups of members? Leave out one group at a time.

Groups may differ in size (the last one often does): Busing, Meijer and van der Leeden, Statistics and Computing 9 (1999) 3.
The estimate loses its bias of order 1/members on the way (Quenouille 1956).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Jackknife(NamedTuple):
    """Bias-corrected value (entries,), and a loading (groups, entries) with loadingᵀ·loading its covariance."""

    value: Array
    loading: Array


def delete_one_group(counts: NDArray[np.int64], sums: Array, estimate: Callable[[Array], Array]) -> Jackknife:
    """Return the jackknife of ``estimate`` of the means.

    Parameters
    ----------
    counts : (g,)
        Members of each group, g >= 2.
    sums : (g, k)
        Sums over the members of each group.
    estimate : callable
        From means (k,) to what is estimated (entries,).

    >>> counts, sums = np.array([1, 1, 1]), np.array([[1.0], [2.0], [6.0]])
    >>> found = delete_one_group(counts, sums, lambda mean: mean)
    >>> round(float(found.value[0]), 12), round(float(np.sum(found.loading**2)), 12)    # variance 7 over 3 members
    (3.0, 2.333333333333)
    """
    groups, members, total = len(counts), int(counts.sum()), sums.sum(axis=0)
    whole = estimate(total / members)
    ratio = members / counts
    without = np.array([estimate((total - part) / (members - count)) for part, count in zip(sums, counts, strict=True)])
    value = groups * whole - (1.0 - 1.0 / ratio) @ without
    pseudo = ratio[:, None] * whole - (ratio - 1.0)[:, None] * without
    return Jackknife(value, (pseudo - value) / np.sqrt(groups * (ratio - 1.0))[:, None])


def leave_one_out(blocks: Array) -> Array:
    """Return the mean of all blocks but one, for each one: the shape of ``blocks`` (blocks, …).

    >>> leave_one_out(np.array([1.0, 2.0, 6.0])).tolist()
    [4.0, 3.5, 1.5]
    """
    found: Array = (blocks.sum(axis=0) - blocks) / (len(blocks) - 1)
    return found


def pseudo_values(whole: Array, left_out: Array) -> Array:
    """Return B·θ - (B - 1)·θ_b (blocks, …): their mean is θ without its bias of order 1/B, their spread its error.

    ``whole`` (…) is θ of all blocks, ``left_out`` (blocks, …) that without each block.

    >>> pseudo_values(np.array(3.0), leave_one_out(np.array([1.0, 2.0, 6.0]))).tolist()
    [1.0, 2.0, 6.0]
    """
    count = len(left_out)
    found: Array = count * whole - (count - 1) * left_out
    return found


def standard_error(left_out: Array) -> Array:
    """Return the standard error of θ from its values without each block, (blocks, …).

    >>> round(float(standard_error(leave_one_out(np.array([1.0, 2.0, 6.0]))) ** 2 * 3), 12)  # the variance of the three
    7.0
    """
    count = len(left_out)
    found: Array = np.sqrt((count - 1) / count * np.sum((left_out - left_out.mean(axis=0)) ** 2, axis=0))
    return found
