"""In which order do neighbouring inputs have similar features? It costs nothing, and rectifiers then fall silent in runs.

A Gram matrix leaves out units that are zero on a whole strip of inputs (``tiles.add_gram``); the more alike the inputs of a
strip, the more it leaves out.
"""

import numpy as np

from fieldflow.numeric.jit import jit, merged


@merged
def _directions(net, x):  # type: ignore[no-untyped-def]
    """Return the unit vectors (n, d_in + 1) along (σ_w x, σ_b) of the first layer; 0 for a zero vector."""
    axes, n = x.shape[0], x.shape[1]
    result = np.empty((n, axes + 1))
    for point in range(n):
        square = net.bias_std[0] ** 2
        for axis in range(axes):
            square += (net.weight_std[0] * x[axis, point]) ** 2
        scale = 1.0 / np.sqrt(square) if square > 0.0 else 0.0
        for axis in range(axes):
            result[point, axis] = net.weight_std[0] * x[axis, point] * scale
        result[point, axes] = net.bias_std[0] * scale
    return result


@merged
def _nearest(directions, wanted, left):  # type: ignore[no-untyped-def]
    """Return which of the directions that are ``left`` has the largest overlap with ``wanted``."""
    best, nearest = -1, 0.0
    for point in range(left.size):
        overlap = 0.0
        for axis in range(wanted.size):
            overlap += wanted[axis] * directions[point, axis]
        if left[point] and (best < 0 or overlap > nearest):
            best, nearest = point, overlap
    return best


@jit
def chain(net, x):  # type: ignore[no-untyped-def]
    """Return the inputs x (d_in, n) in an order (n,) in which each is followed by the nearest in direction of the rest.

    The angle between two inputs, the bias counted in, is what decides which units see both.
    """
    directions = _directions(net, x)
    n = directions.shape[0]
    order, left = np.empty(n, np.int64), np.ones(n, np.bool_)
    # From the edge: a chain that starts in the middle has to come back for the other half.
    wanted = np.zeros(directions.shape[1])
    for point in range(n):
        for axis in range(wanted.size):
            wanted[axis] -= directions[point, axis]
    for place in range(n):
        order[place] = _nearest(directions, wanted, left)
        left[order[place]] = False
        wanted = directions[order[place]]
    return order
