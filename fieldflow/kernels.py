"""What are the covariance and the tangent kernel of an infinitely wide network? The layer recursions, evaluated.

Each step is a compiled formula of the symbolic layer: ``nngp.recursion``, ``ntk.recursion`` and the Gaussian
expectations of the activation and of its derivative.
"""

from typing import Any, NamedTuple

import numpy as np

from fieldflow import inputs
from fieldflow.formulas import compiled, pair_expectation, second_moment
from fieldflow.inputs import Array
from fieldflow.network import MLP
from fieldflow.symbolic.activations import Activation

_ULPS = 8.0 * np.finfo(np.float64).eps


class LayerKernel(NamedTuple):
    """Preactivation covariance of one layer: variances (n1,), (n2,), cross-covariance and tangent kernel (n1, n2)."""

    q11: Array
    q22: Array
    c: Array
    tangent: Array


def nngp(net: MLP, x1: Any, x2: Any = None) -> Array:
    """Return the NNGP covariance K(x1, x2) of the read-out, shape (n1, n2), of the infinitely wide network.

    Recursion q' = σ_b² + σ_w² a E[σσ], from q = σ_b² + σ_w² a x·x' (theory of Lee et al., arXiv:1711.00165).

    Parameters
    ----------
    net : MLP
        Widths enter only under scaling="unscaled" (as a_l).
    x1, x2 : array_like (n1, d_in), (n2, d_in)
        Points; x2 = None means x1.

    Raises
    ------
    BadInput
        If points are not finite real (n, d_in) arrays.

    >>> nngp(MLP(1, depth=1, activation="relu"), [[1.0]]).tolist()
    [[0.5]]
    """
    return _read_out(net, *_pair(net, x1, x2)).c


def ntk(net: MLP, x1: Any, x2: Any = None) -> Array:
    """Return the neural tangent kernel Θ(x1, x2), shape (n1, n2): NTK parameterisation, all weights and biases.

    Recursion Θ' = q' + σ_w² a E[σ'σ'] Θ, Θ = q in the first layer (Jacot et al., arXiv:1806.07572).  Arguments and
    errors as in ``nngp``.

    >>> ntk(MLP(1, depth=1, activation="relu"), [[1.0]]).tolist()
    [[1.0]]
    """
    return _read_out(net, *_pair(net, x1, x2)).tangent


def last_hidden(net: MLP, x1: Array, x2: Array | None = None) -> LayerKernel:
    """Return the kernel of the last hidden layer's preactivations (points already checked)."""
    kernel = _input_layer(net, x1, x2)
    for layer in range(1, net.hidden_layers):
        kernel = _advance(net, kernel, layer, same=x2 is None)
    return kernel


def _pair(net: MLP, x1: Any, x2: Any) -> tuple[Array, Array | None]:
    first = inputs.points("x1", x1, net.d_in)
    return first, None if x2 is None else inputs.points("x2", x2, net.d_in)


def _read_out(net: MLP, x1: Array, x2: Array | None) -> LayerKernel:
    return _advance(net, last_hidden(net, x1, x2), net.hidden_layers, same=x2 is None)


def _input_layer(net: MLP, x1: Array, x2: Array | None) -> LayerKernel:
    step = compiled("nngp.input")

    def covariance(product: Array) -> Array:
        value: Array = step(net.sigma_w[0], net.sigma_b[0], net.layer_factor(0), product)
        return value

    other = x1 if x2 is None else x2
    # Coordinate by coordinate in both: equal points then have exactly equal products, which BLAS does not promise.
    squares, other_squares, products = np.zeros(len(x1)), np.zeros(len(other)), np.zeros((len(x1), len(other)))
    for j in range(net.d_in):
        squares += x1[:, j] ** 2
        other_squares += other[:, j] ** 2
        products += np.multiply.outer(x1[:, j], other[:, j])
    q11, q22 = covariance(squares), covariance(other_squares)
    c = _bounded(covariance(products), q11, q22, same=x2 is None)
    return LayerKernel(q11, q22, c, c)


def _advance(net: MLP, kernel: LayerKernel, layer: int, *, same: bool) -> LayerKernel:
    """Apply the activation of hidden layer ``layer`` (1-based) and the weights above it."""
    activation = net.activation[layer - 1]
    step = compiled("nngp.recursion")
    scales = (net.sigma_w[layer], net.sigma_b[layer], net.layer_factor(layer))
    q11: Array = step(*scales, _variance(activation, kernel.q11))
    q22: Array = q11 if same else step(*scales, _variance(activation, kernel.q22))
    rows, columns = kernel.q11[:, None], kernel.q22[None, :]
    c = _bounded(step(*scales, pair_expectation(activation.expr)(rows, kernel.c, columns)), q11, q22, same=same)
    slope = pair_expectation(activation.derivative)(rows, kernel.c, columns)
    tangent: Array = compiled("ntk.recursion")(c, net.sigma_w[layer], net.layer_factor(layer), slope, kernel.tangent)
    return LayerKernel(q11, q22, c, tangent)


def _variance(activation: Activation, q: Array) -> Array:
    value: Array = second_moment(activation.expr)(q)
    return value


def _bounded(c: Array, q11: Array, q22: Array, *, same: bool) -> Array:
    """Return c with |c| <= √(q11 q22), and exactly symmetric with the variances on the diagonal for equal points.

    Within a few ulp of the bound c is put on it: the angle between such points is below what c resolves, and a rounding
    error of 1e-16 there would become one of 1e-8 in the tangent kernel.
    """
    rows, columns = q11[:, None], q22[None, :]
    limit = np.where(rows == columns, rows, np.sqrt(rows) * np.sqrt(columns))
    c = np.where(np.abs(c) >= limit * (1.0 - _ULPS), np.copysign(limit, c), c)
    if same:
        c = 0.5 * (c + c.T)
        np.fill_diagonal(c, q11)
    return c
