"""What are the features of one member? The forward pass of a fully connected network whose weights are Philox normals.

Arrays are neuron-major: points are the columns of ``x`` (d_in, p) and features have shape (neurons, p), so that one
neuron's outputs are contiguous.  Equations (59)-(62) of arXiv:2405.17538, with explicit weight scales.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.jit import jit
from fieldflow.numeric.rng import fill_normals
from fieldflow.numeric.tiles import add_product

_STRIP = 16
"""Neurons at a time, so that their outputs are still in the nearest cache for the activation."""


class Architecture(NamedTuple):
    """A network as the compiled code needs it.

    ``widths`` (hidden layers,), ``weight_std`` and ``bias_std`` (hidden layers + 1,): prior standard deviations of one
    weight and one bias of each layer, read-out last.
    """

    d_in: int
    widths: NDArray[np.int64]
    weight_std: NDArray[np.float64]
    bias_std: NDArray[np.float64]


@jit
def normals_per_member(net):  # type: ignore[no-untyped-def]
    """Return how many normals the hidden layers of one member take (weights and one bias per neuron)."""
    total = 0
    fan_in = net.d_in
    for width in net.widths:
        total += width * (fan_in + 1)
        fan_in = width
    return total


@jit
def apply_activation(activation, values):  # type: ignore[no-untyped-def]
    """Apply a compiled activation in place to a flat array: called from Python itself it would run uncompiled."""
    activation(values)


@jit
def layer_outputs(net, activations, layer, rows, inputs, out):  # type: ignore[no-untyped-def]
    """Write to ``out`` (m, p) what neurons of one layer make of ``inputs`` (fan_in, p).

    ``rows`` (m, fan_in + 1) holds the normals of each neuron, its weights and then its bias.
    """
    fan_in = inputs.shape[0]
    # The exact product of each weight with its scale, as one sees it written in the text.
    weights = rows[:, :fan_in] * net.weight_std[layer]
    for first in range(0, rows.shape[0], _STRIP):
        strip = out[first : min(first + _STRIP, rows.shape[0])]
        for neuron in range(strip.shape[0]):
            bias = net.bias_std[layer] * rows[first + neuron, fan_in] if net.bias_std[layer] != 0.0 else 0.0
            strip[neuron] = bias
        add_product(strip, weights[first : first + strip.shape[0]], inputs)
        activations[layer](strip.reshape(-1))


@jit
def lower_outputs(net, activations, normals, x):  # type: ignore[no-untyped-def]
    """Return what enters the last hidden layer, (fan_in, p), for points x (d_in, p), and that layer's own normals.

    ``normals`` holds, layer by layer and neuron by neuron, the fan_in weights and then the bias; those of the last layer
    are returned as (width, fan_in + 1).
    """
    inputs = x
    offset = 0
    for layer in range(net.widths.size):
        size = net.widths[layer] * (inputs.shape[0] + 1)
        rows = normals[offset : offset + size].reshape((net.widths[layer], inputs.shape[0] + 1))
        if layer == net.widths.size - 1:
            break
        outputs = np.empty((net.widths[layer], x.shape[1]))
        layer_outputs(net, activations, layer, rows, inputs, outputs)
        inputs = outputs
        offset += size
    return inputs, rows


@jit
def hidden_outputs(net, activations, normals, x):  # type: ignore[no-untyped-def]
    """Return h(x) of the last hidden layer, shape (width, p), for points x (d_in, p); ``normals`` as in ``lower_outputs``."""
    inputs, rows = lower_outputs(net, activations, normals, x)
    outputs = np.empty((rows.shape[0], x.shape[1]))
    layer_outputs(net, activations, net.widths.size - 1, rows, inputs, outputs)
    return outputs


@jit
def scale_features(net, outputs):  # type: ignore[no-untyped-def]
    """Turn hidden outputs (m, p) into normalised features, in place."""
    scale = net.weight_std[-1]
    if scale != 1.0:
        for neuron in range(outputs.shape[0]):
            for point in range(outputs.shape[1]):
                outputs[neuron, point] *= scale


@jit
def readout_features(net, outputs):  # type: ignore[no-untyped-def]
    """Return normalised features (width [+ 1 if the read-out has a bias], p): f = Σ ω_i feature_i with ω ~ N(0, 1).

    ``outputs`` is scaled in place (and is the result when there is no bias): fresh arrays of this size cost more than
    the arithmetic.
    """
    width, points = outputs.shape
    scale_features(net, outputs)
    if net.bias_std[-1] == 0.0:
        return outputs
    extended = np.empty((width + 1, points))
    # Number by number: a slice assigned from an array compiles the words of an error message with it.
    for neuron in range(width):
        for point in range(points):
            extended[neuron, point] = outputs[neuron, point]
    extended[width] = net.bias_std[-1]
    return extended


@jit
def member_outputs(net, activations, seed, member, stream, x):  # type: ignore[no-untyped-def]
    """Return h(x), (width, p), of one member whose hidden layers are drawn from ``stream``."""
    numbers = np.empty(normals_per_member(net))
    fill_normals(numbers, seed, member, stream)
    return hidden_outputs(net, activations, numbers, x)


@jit
def first_layer_moments(net, seed, member, stream, input_mean, input_std):  # type: ignore[no-untyped-def]
    """Return mean and standard deviation, each (width,), of the first preactivations over Gaussian inputs.

    Inputs are N(input_mean, diag(input_std²)) with both given per coordinate (d_in,).
    """
    width = net.widths[0]
    numbers = np.empty(normals_per_member(net))
    fill_normals(numbers, seed, member, stream)
    rows = numbers[: width * (net.d_in + 1)].reshape((width, net.d_in + 1))
    mean = np.empty(width)
    deviation = np.empty(width)
    for neuron in range(width):
        centre = net.bias_std[0] * rows[neuron, net.d_in]
        square = 0.0
        for axis in range(net.d_in):
            weight = net.weight_std[0] * rows[neuron, axis]
            centre += weight * input_mean[axis]
            square += (weight * input_std[axis]) ** 2
        mean[neuron] = centre
        deviation[neuron] = np.sqrt(square)
    return mean, deviation
