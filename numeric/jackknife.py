"""How uncertain is a smooth function of averages? Each block left out once: Quenouille's and Tukey's jackknife."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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
