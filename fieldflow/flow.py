"""Where does training take an infinitely wide ensemble? Mean and covariance after T steps, IR to UV.

The law is f_T(x) = f_0(x) + k_xᵀ M_T (Y - f_0(X)) with M_T from ``training.gd | sgd | gradient_flow | posterior``; at
infinite width the kernels are deterministic and f_0 is Gaussian.
"""

import math
from functools import cached_property
from typing import Any

import numpy as np
from scipy import linalg

from fieldflow import inputs
from fieldflow.errors import BadInput, NotPositiveDefinite
from fieldflow.formulas import compiled
from fieldflow.inputs import Array
from fieldflow.kernels import nngp, ntk
from fieldflow.network import MLP

METHODS = ("gd", "sgd", "gradient_flow")


def checked_steps(steps: Any, method: str) -> float:
    """Return the training time: a non-negative int (any non-negative float for gradient flow), or math.inf."""
    if isinstance(steps, float) and math.isinf(steps) and steps > 0:
        return math.inf
    if method == "gradient_flow":
        return inputs.real("steps", steps, minimum=0.0)
    return inputs.integer("steps", steps)


def training_matrix(kernel: Array, *, method: str, learning_rate: float, steps: float, d_out: int) -> Array:
    """Return M_T (n, n) for the Gram matrix ``kernel``, so that the dual solution is M_T (Y - f_0(X)).

    Full batch and gradient flow: the spectral filters ``training.gd`` and ``training.gradient_flow`` on the eigenvalues
    (``learning_rate`` in the NTK parameterisation, η = 2·learning_rate/(n·d_out)).  Per-sample descent: A Σ_t B^t by
    the doubling identity proved in ``training.sgd`` (γ = 2·learning_rate/d_out).  steps = inf: the posterior.
    """
    n = kernel.shape[0]
    if math.isinf(steps):
        singular = NotPositiveDefinite(
            "steps: infinite training needs a positive definite K(X, X); repeated points or too low a rank: "
            "give ridge > 0 or finite steps"
        )
        try:
            factor = linalg.cho_factor(kernel)
        except linalg.LinAlgError as error:
            raise singular from error
        # The squared pivots of repeated points are rounding errors of K, which may well be positive.
        if np.min(np.diag(factor[0])) ** 2 <= 4.0 * n * np.finfo(np.float64).eps * np.max(np.diag(kernel)):
            raise singular
        inverse: Array = linalg.cho_solve(factor, np.eye(n))
        return inverse
    if method == "sgd":
        return _sequential_matrix(kernel, 2.0 * learning_rate / d_out, int(steps))
    values, vectors = linalg.eigh(kernel)
    spectral = compiled(f"training.{method}")
    filtered = spectral(np.maximum(values, 0.0), 2.0 * learning_rate / (n * d_out), float(steps))
    result: Array = (vectors * filtered) @ vectors.T
    return result


def _sequential_matrix(kernel: Array, gamma: float, steps: int) -> Array:
    """Return A Σ_{t<T} B^t with A = γ(1 + γL)^{-1} and B = 1 - KA."""
    n = kernel.shape[0]
    identity = np.eye(n)
    update: Array = gamma * linalg.solve_triangular(identity + gamma * np.tril(kernel, -1), identity, lower=True)
    step = identity - kernel @ update
    # Columns [S | B^t], so that both parts of the doubling are one product.
    both = np.hstack([np.zeros_like(kernel), identity])
    with np.errstate(over="ignore", invalid="ignore"):  # a diverging network overflows; its caller sees the infinities
        for bit in bin(steps)[2:]:
            product = both[:, n:] @ both
            product[:, :n] += both[:, :n]
            both = product
            if bit == "1":
                both = step @ both
                both[:, :n] += identity
        result: Array = update @ both[:, :n]
    return result


class TrainingFlow:
    """Gaussian law of an infinitely wide ensemble during training (immutable).

    Parameters
    ----------
    net : MLP
        Hidden layers are independent between members; kernels are the infinite-width ones.
    x_train : array_like (n, d_in)
    y_train : array_like (n,) or (n, d_out)
    learning_rate : float
        NTK parameterisation: one full-batch step multiplies the residual by 1 - (2·learning_rate/(n·d_out)) K.
    steps : int, or float for gradient flow, or math.inf
        math.inf is the posterior (by Cholesky).
    method : {"gd", "sgd", "gradient_flow"}
    trained : {"readout", "all"}
        With "all" the tangent kernel drives the training of a prior whose covariance is the NNGP kernel.
    ridge : float
        Replaces K(X, X) by K(X, X) + ridge·1 everywhere.

    Raises
    ------
    BadInput, NotPositiveDefinite

    >>> net = MLP(1, depth=1, activation="relu")
    >>> flow = TrainingFlow(net, [[1.0]], [2.0], learning_rate=0.5, steps=math.inf)
    >>> flow.mean([[1.0]]).round(12).tolist(), flow.covariance([[1.0]]).round(12).tolist()
    ([2.0], [[0.0]])
    """

    def __init__(
        self,
        net: MLP,
        x_train: Any,
        y_train: Any,
        *,
        learning_rate: float,
        steps: Any,
        method: str = "gd",
        trained: str = "readout",
        ridge: float = 0.0,
    ) -> None:
        if not isinstance(net, MLP):
            raise BadInput(f"net: expected an fieldflow.MLP, got {type(net).__name__}")
        self.net = net
        self.x_train = inputs.points("x_train", x_train, net.d_in)
        self.y_train = inputs.targets("y_train", y_train, len(self.x_train), net.d_out)
        self.learning_rate = inputs.real("learning_rate", learning_rate, minimum=0.0, strict=True)
        self.method = inputs.choice("method", method, METHODS)
        self.steps = checked_steps(steps, method)
        self.trained = inputs.choice("trained", trained, ("readout", "all"))
        self.ridge = inputs.real("ridge", ridge, minimum=0.0)

    @cached_property
    def prior(self) -> Array:
        """K(X, X) + ridge·1, shape (n, n)."""
        kernel: Array = nngp(self.net, self.x_train) + self.ridge * np.eye(len(self.x_train))
        return kernel

    @cached_property
    def matrix(self) -> Array:
        """M_T, shape (n, n)."""
        kernel = self.prior
        if self.trained == "all":
            kernel = ntk(self.net, self.x_train) + self.ridge * np.eye(len(self.x_train))
        with np.errstate(over="ignore", invalid="ignore"):
            matrix = training_matrix(
                kernel, method=self.method, learning_rate=self.learning_rate, steps=self.steps, d_out=self.net.d_out
            )
        if not np.all(np.isfinite(matrix)):
            raise BadInput(
                f"learning_rate: training diverges beyond the range of floats in {self.steps:g} steps; lower it"
            )
        return matrix

    def response(self, x: Array) -> Array:
        """Return the kernel that carries the training to x: K(X, x), or Θ(X, x) when all layers are trained."""
        return (nngp if self.trained == "readout" else ntk)(self.net, self.x_train, x)

    def mean(self, x: Any) -> Array:
        """Return μ_T(x), shape (n_x,) or (n_x, d_out) like y_train; formula ``shell.mean`` at Λ = 0."""
        x = inputs.points("x", x, self.net.d_in)
        value: Array = compiled("shell.mean")(
            self.response(x), self.matrix, self.y_train.reshape(len(self.x_train), -1)
        )
        return value.reshape(len(x), *self.y_train.shape[1:])

    def covariance(self, x: Any, x2: Any = None) -> Array:
        """Return Cov[f_T(x), f_T(x2)], shape (n1, n2), the same for each output; x2 = None means x.

        Formula ``shell.covariance`` at Λ = 0, or ``training.two_kernels`` when all layers are trained.
        """
        x = inputs.points("x", x, self.net.d_in)
        other = x if x2 is None else inputs.points("x2", x2, self.net.d_in)
        prior = nngp(self.net, x) if x2 is None else nngp(self.net, x, other)
        left, right = self.response(x), self.response(other)
        if self.trained == "readout":
            value: Array = compiled("shell.covariance")(prior, left, right, self.matrix, self.prior)
            return value
        seen, other_seen = nngp(self.net, self.x_train, x), nngp(self.net, self.x_train, other)
        both: Array = compiled("training.two_kernels")(prior, seen, other_seen, left, right, self.matrix, self.prior)
        return both
