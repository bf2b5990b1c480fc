"""In which order do neighbouring inputs have similar features? It costs nothing, and rectifiers then fall silent in runs.

A Gram matrix leaves out units that are zero on a whole strip of inputs (``tiles.add_gram``); the more alike the inputs of a
strip, the more it leaves out.
"""

import numpy as np

from fieldflow.numeric.jit import jit


@jit
def _directions(net, x):  # type: ignore[no-untyped-def]
    """Return the unit vectors (n, d_in + 1) along (σ_w x, σ_b) of the first layer; 0 for a zero vector."""
    n = x.shape[1]
    result = np.empty((n, x.shape[0] + 1))
    for point in range(n):
        result[point, :-1] = net.weight_std[0] * x[:, point]
        result[point, -1] = net.bias_std[0]
        norm = np.sqrt(np.sum(result[point] ** 2))
        if norm > 0.0:
            result[point] /= norm
    return result


@jit
def chain(net, x):  # type: ignore[no-untyped-def]
    """Return the inputs x (d_in, n) in an order (n,) in which each is followed by the nearest in direction of the rest.

    The angle between two inputs, the bias counted in, is what decides which units see both.
    """
    directions = _directions(net, x)
    n = directions.shape[0]
    order = np.arange(n)
    if n == 0:
        return order
    middle = np.sum(directions, axis=0)
    # From the edge: a chain that starts in the middle has to come back for the other half.
    order[0] = np.argmin(np.sum(directions * middle, axis=1))
    left = np.ones(n, np.bool_)
    left[order[0]] = False
    for place in range(1, n):
        here = directions[order[place - 1]]
        best, nearest = -1, -np.inf
        for point in range(n):
            overlap = 0.0
            for axis in range(here.size):
                overlap += here[axis] * directions[point, axis]
            if left[point] and (best < 0 or overlap > nearest):
                best, nearest = point, overlap
        order[place] = best
        left[best] = False
    return order
