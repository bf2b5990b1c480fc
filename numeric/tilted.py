"""How does one sample moments that rare networks carry? One hidden unit is drawn from a tilted law, with bounded weights.

For exponential units h = e^z the n-point function of a network is dominated by networks with one huge unit: E h^8 sets the
variance of a plain estimate of E h^4.  Here the bias of one unit, whose index is uniform, comes from the mixture of
N(kσ_b, 1) over tilts k; the ratio of the laws, averaged over the index, is the weight, and products of up to k legs divided by
it are bounded.  The read-out is integrated exactly.
"""

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.jit import jit
from fieldflow.numeric.rng import HIDDEN, UNIFORM, fill_normals, fill_uniforms

Array = NDArray[np.float64]

TILTS = (0.0, 2.0, 4.0, 6.0)
"""Numbers of legs that the mixture is made for; 0 is the law of the network itself."""


@jit
def tilted_block(net, scale, x, tilts, seed, first, covariances, weights):  # type: ignore[no-untyped-def]
    """Fill ``covariances`` (members, p, p) with Cov[f(x), f(x')] given the hidden layer, ``weights`` (members,) with p/q.

    ``net`` an ``Architecture`` with one hidden layer; ``x`` (d_in, p); ``scale`` (p,) multiplies e^z at each point.
    """
    d_in, points = x.shape
    width, weight_std, bias_std = net.widths[0], net.weight_std[0], net.bias_std[0]
    readout_variance = net.weight_std[1] ** 2
    numbers = np.empty(width * (d_in + 1))
    choice = np.empty(1)
    unit = np.empty(points)
    for slot in range(weights.size):
        fill_normals(numbers, seed, first + slot, HIDDEN)
        fill_uniforms(choice, seed, first + slot, UNIFORM)
        tilt = tilts[min(int(choice[0] * tilts.size), tilts.size - 1)]
        # All units are alike, so the tilted one may be the first.
        numbers[d_in] += tilt * bias_std
        ratio = 0.0
        covariances[slot] = 0.0
        for neuron in range(width):
            row = neuron * (d_in + 1)
            bias = numbers[row + d_in]
            for k in range(tilts.size):
                ratio += np.exp(tilts[k] * bias_std * bias - 0.5 * (tilts[k] * bias_std) ** 2)
            for point in range(points):
                z = bias_std * bias
                for axis in range(d_in):
                    z += weight_std * numbers[row + axis] * x[axis, point]
                unit[point] = scale[point] * np.exp(z)
            for i in range(points):
                for j in range(i + 1):
                    covariances[slot, i, j] += unit[i] * unit[j]
        for i in range(points):
            for j in range(i + 1):
                covariances[slot, i, j] *= readout_variance
                covariances[slot, j, i] = covariances[slot, i, j]
        weights[slot] = width * tilts.size / ratio
