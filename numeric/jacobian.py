"""How does the output of one network depend on each of its parameters? Backpropagation through all layers at once.

A network is a list of layers (W (out, in), b (out,) or None); its parameters are W row by row, then b, layer by layer.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Layers = Sequence[tuple[Array, Array | None]]
Elementwise = Callable[[Array], Array]


def forward(layers: Layers, activations: Sequence[Elementwise], x: Array) -> tuple[Array, list[Array], list[Array]]:
    """Return f (n, d_out) at x (n, d_in), and the inputs (n, in) and preactivations (n, out) of each layer."""
    fed, before = [x], []
    for place, (weights, bias) in enumerate(layers):
        z = fed[-1] @ weights.T if bias is None else fed[-1] @ weights.T + bias
        before.append(z)
        if place < len(activations):
            fed.append(activations[place](z))
    return before[-1], fed, before


def jacobian(layers: Layers, activations: Sequence[Elementwise], slopes: Sequence[Elementwise], x: Array) -> Array:
    """Return ∂f_o(x)/∂θ_A, shape (n, d_out, parameters).

    >>> layers = [(np.array([[3.0]]), None), (np.array([[5.0]]), None)]  # f = 5 (3x)²
    >>> jacobian(layers, [np.square], [lambda z: 2.0 * z], np.array([[1.0]])).ravel().tolist()
    [30.0, 9.0]
    """
    _, fed, before = forward(layers, activations, x)
    count, outputs = len(x), len(layers[-1][0])
    back = np.broadcast_to(np.eye(outputs), (count, outputs, outputs))  # ∂f_o/∂z of the layer at hand
    parts: list[Array] = []
    for place in range(len(layers) - 1, -1, -1):
        weights, bias = layers[place]
        if bias is not None:
            parts.append(back)
        parts.append(np.einsum("noj,ni->noji", back, fed[place]).reshape(count, outputs, -1))
        if place > 0:
            back = (back @ weights) * slopes[place - 1](before[place - 1])[:, None, :]
    return np.concatenate(parts[::-1], axis=2)
