"""What are the covariance and the tangent kernel of an infinitely wide network? The layer recursions, evaluated.

Variances follow ``nngp.recursion`` point by point; every pair of points then runs through all layers in one compiled loop
printed from the Gaussian expectations of the activations and of their derivatives (``pair_code``).
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from fieldflow import hermite, inputs, memory, pair_code
from fieldflow.compile import compile_scalar
from fieldflow.errors import BadInput
from fieldflow.formulas import compiled, deriving, second_moment
from fieldflow.inputs import Array
from fieldflow.network import MLP
from fieldflow.symbolic.activations import Activation, derivative, implemented
from fieldflow.symbolic.symbols import z
from fieldflow.workers import available_threads

_ROWS = 64
"""Rows per task of the thread pool."""


class LayerKernel(NamedTuple):
    """Covariance of one layer: variances (n1,), (n2,), cross-covariance and tangent kernel (n1, n2)."""

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
        If points are not finite real (n, d_in) arrays, or the result does not fit into memory.

    >>> nngp(MLP(1, depth=1, activation="relu"), [[1.0]]).tolist()
    [[0.5]]
    """
    return nngp_ntk(net, x1, x2)[0]


def ntk(net: MLP, x1: Any, x2: Any = None) -> Array:
    """Return the neural tangent kernel Θ(x1, x2), shape (n1, n2): NTK parameterisation, all weights and biases.

    Recursion Θ' = q' + σ_w² a E[σ'σ'] Θ, Θ = q in the first layer (Jacot et al., arXiv:1806.07572).  Arguments and
    errors as in ``nngp``.

    >>> ntk(MLP(1, depth=1, activation="relu"), [[1.0]]).tolist()
    [[1.0]]
    """
    return nngp_ntk(net, x1, x2)[1]


def nngp_ntk(net: MLP, x1: Any, x2: Any = None) -> tuple[Array, Array]:
    """Return (``nngp``, ``ntk``) from one pass.

    >>> k, theta = nngp_ntk(MLP(1, depth=1, activation="relu"), [[1.0]])
    >>> float(theta[0, 0] - k[0, 0])
    0.5
    """
    if not isinstance(net, MLP):
        raise BadInput(f"net: expected a fieldflow.MLP, got {type(net).__name__}")
    first = inputs.points("x1", x1, net.d_in)
    second = None if x2 is None else inputs.points("x2", x2, net.d_in)
    memory.require(16 * len(first) * len(first if second is None else second), "x1, x2: the two kernels")
    kernel = _through(net, first, second, net.hidden_layers)
    return kernel.c, kernel.tangent


def last_hidden(net: MLP, x1: Array, x2: Array | None = None) -> LayerKernel:
    """Return the kernel of the last hidden layer's preactivations (points already checked)."""
    return _through(net, x1, x2, net.hidden_layers - 1)


def _through(net: MLP, x1: Array, x2: Array | None, layers: int) -> LayerKernel:
    """Return the kernel after ``layers`` hidden layers and the weights above them."""
    activations = net.activation[:layers]
    first = _Points(net, x1, layers)
    second = first if x2 is None else _Points(net, x2, layers)
    weight = np.array([net.sigma_w[layer] ** 2 * net.layer_factor(layer) for layer in range(layers + 1)])
    bias = np.array([net.sigma_b[layer] ** 2 for layer in range(layers + 1)])
    with deriving():
        fill = pair_code.compiled_fill(activations)
        series = [
            part
            for layer, activation in enumerate(activations)
            if not pair_code.closed(activation)
            for part in _coefficients(activation, first.variances[layer], second.variances[layer])
        ]
    shape = (len(x1), len(x1 if x2 is None else x2))
    kernel, tangent = np.empty(shape), np.empty(shape)
    work = (x2 is None, first.transposed, second.transposed, first.variances, second.variances,
            first.moments, second.moments, first.nearby, second.nearby, weight, bias, kernel, tangent, *series)  # fmt: skip
    starts = range(0, shape[0], _ROWS)
    if kernel.size < 2**16:
        fill(0, shape[0], *work)
    else:
        with ThreadPoolExecutor(available_threads()) as pool:
            list(pool.map(lambda start: fill(start, min(start + _ROWS, shape[0]), *work), starts))
    return LayerKernel(first.variances[layers], second.variances[layers], kernel, tangent)


class _Points:
    """Points, and their variances q and E[σ²] in every layer, shapes (layers + 1, n) and (layers, n)."""

    def __init__(self, net: MLP, x: Array, layers: int) -> None:
        self.transposed = np.ascontiguousarray(x.T)
        squares = np.zeros(len(x))
        with np.errstate(over="ignore"):
            for row in self.transposed:
                squares += row**2
        if not np.all(np.isfinite(squares)):
            raise BadInput("x1, x2: expected points whose squared norm is a float (< 1.8e308)")
        self.variances, self.moments = np.empty((layers + 1, len(x))), np.empty((layers, len(x)))
        self.nearby = np.zeros((layers, 4, len(x)))
        self.variances[0] = compiled("nngp.input")(net.sigma_w[0], net.sigma_b[0], net.layer_factor(0), squares)
        for layer in range(layers):
            self.moments[layer] = _variance(net.activation[layer], self.variances[layer])
            if layer < layers - 1 and pair_code.expands(net.activation[layer]):
                self.nearby[layer] = _nearby(net.activation[layer], self.variances[layer], self.moments[layer])
            scales = (net.sigma_w[layer + 1], net.sigma_b[layer + 1], net.layer_factor(layer + 1))
            self.variances[layer + 1] = compiled("nngp.recursion")(*scales, self.moments[layer])


def _variance(activation: Activation, q: Array) -> Array:
    """Return E[σ²]; at q = 0 that is σ(0)², also where σ jumps there."""
    with np.errstate(over="ignore"):
        value: Array = second_moment(activation.expr)(q)
    if not np.all(np.isfinite(value)):
        worst = float(np.max(q))
        raise BadInput(
            f"activation: E[sigma^2] of {activation.name} exceeds the range of floats at variance {worst:.4g}"
        )
    return np.where(q == 0.0, float(compile_scalar(activation.expr)(0.0)) ** 2, value)


def _nearby(activation: Activation, q: Array, square: Array) -> Array:
    """Return E[zσσ'], E[z²σ'²], E[σ'²] and E[σ''²] at each variance, (4, n): ``nngp.nearby_determinant`` and its error."""
    slope = activation.derivative
    with np.errstate(over="ignore", invalid="ignore"):
        sloped, steep, bent, both = (
            np.zeros_like(q) if expr == 0 else second_moment(expr)(q)
            for expr in (z * slope, slope, derivative(slope), activation.expr + z * slope)
        )
        mixed = 0.5 * (both - square - sloped)
    found = np.array([mixed, sloped, steep, bent])
    found[3] = np.where(np.all(np.isfinite(found), axis=0), found[3], np.inf)  # not known: never near
    return found


def _coefficients(activation: Activation, first: Array, second: Array) -> tuple[Array, Array]:
    """Return the Hermite coefficients of both sets of points, with as many terms for one as for the other."""
    apply = compile_scalar(activation.expr)
    same = np.shares_memory(first, second)
    q = first if same else np.concatenate([first, second])
    slope = np.full_like(q, np.nan) if implemented(activation.expr) else second_moment(activation.derivative)(q)
    both = hermite.coefficients(activation.name, apply, q, np.array([_variance(activation, q), slope]))
    if same:
        return both, both
    return np.ascontiguousarray(both[: len(first)]), np.ascontiguousarray(both[len(first) :])
