"""What is left of a trained ensemble after coarse-graining? The BRG flow in closed form, UV to IR.

Sloppy read-out weights (λ < Λ) are redrawn from the prior (resample) or removed (prune).  At infinite width the law
stays Gaussian, with k_> = K_>(X, x): formulas ``shell.mean``, ``shell.covariance``, ``shell.covariance_prune``; the
corrected form of equations (74)-(76) of arXiv:2405.17538 for members with their own hidden layers.
"""

import math
from functools import cached_property
from typing import Any

import numpy as np

from fieldflow import inputs
from fieldflow.errors import BadInput, NoClosedForm, NoCriticalCutoff
from fieldflow.flow import TrainingFlow
from fieldflow.formulas import compiled, derive
from fieldflow.inputs import Array
from fieldflow.kernels import nngp
from fieldflow.shell_kernel import ShellKernel, fisher_law
from fieldflow.symbolic.formula import Formula

MODES = ("resample", "prune")

_GRID = 60
_REFINEMENTS = 7


def checked_mode(mode: Any) -> str:
    """Return "resample" or "prune"; Jeffreys' prior of equation (54) is refused with the reason (``fisher.jeffreys``).

    >>> checked_mode("prune")
    'prune'
    """
    if mode == "jeffreys":
        raise BadInput(
            "mode: Jeffreys' prior is improper here: det I does not depend on the read-out weights, so it is flat and no weight "
            "can be drawn from it; expected resample (the Gaussian prior), prune"
        )
    return inputs.choice("mode", mode, MODES)


class ShellFlow:
    """Gaussian law of the coarse-grained ensemble as a function of the cut-off Λ (immutable).

    Parameters
    ----------
    flow : TrainingFlow
        Trained read-out.
    fisher : "gaussian" or array_like (n, d_in)
        Inputs over which λ_i = E[h_i²]/noise_variance is averaged: a Gaussian law N(input_mean, input_std²), or points.
    input_mean, input_std : float or (d_in,)
    noise_variance : float
        Variance s² of the Gaussian likelihood.
    mode : {"resample", "prune"}
    samples, seed : int
        Quasi-random points for shell kernels without a closed form.

    Raises
    ------
    BadInput, NoClosedForm

    >>> from fieldflow.network import MLP
    >>> net = MLP(2, depth=1, activation="relu")
    >>> flow = TrainingFlow(net, [[1.0, 0.0]], [1.0], learning_rate=0.5, steps=100)
    >>> shell = ShellFlow(flow)
    >>> shell.closed_form, shell.std_error, shell.mean([[1.0, 0.0]], [0.0, math.inf]).shape
    (True, 0.0, (2, 1))
    """

    def __init__(
        self,
        flow: TrainingFlow,
        *,
        fisher: Any = "gaussian",
        input_mean: Any = 0.0,
        input_std: Any = 1.0,
        noise_variance: float = 1.0,
        mode: str = "resample",
        samples: int = 2**14,
        seed: int = 0,
    ) -> None:
        if not isinstance(flow, TrainingFlow):
            raise BadInput(f"flow: expected a fieldflow.TrainingFlow, got {type(flow).__name__}")
        if flow.trained != "readout":
            raise BadInput(
                'flow: the information shell of trained="all" is not defined here; expected trained="readout"'
            )
        self.flow = flow
        self.net = flow.net
        self.mode = checked_mode(mode)
        law = fisher_law(flow.net, fisher, input_mean, input_std, noise_variance)
        self.kernel = ShellKernel(
            flow.net,
            law,
            inputs.integer("samples", samples, minimum=256, maximum=2**26),
            inputs.integer("seed", seed, maximum=2**64 - 1),
        )

    @property
    def closed_form(self) -> bool:
        """Whether K_> = Z(Λ) K in closed form; otherwise it is integrated or sampled and ``std_error`` says how well."""
        return self.kernel.closed_form

    @property
    def method(self) -> str:
        """How K_> is computed: "closed form", "quadrature" (one integral, to rounding) or "quasi-Monte Carlo"."""
        return self.kernel.method

    @cached_property
    def std_error(self) -> float:
        """Largest standard error of K_>(X, X)/√(K_ii K_jj) over the training inputs and the deciles of λ; 0 if closed.

        For a quadrature it is the error estimate of the rule.
        """
        if self.closed_form:
            return 0.0
        grid = self._deciles()
        scale = np.sqrt(np.diag(nngp(self.net, self.flow.x_train)))
        error = self.kernel(self.flow.x_train, self.flow.x_train, grid).std_error
        product = np.multiply.outer(scale, scale)
        # Where K_ii = 0 the function is zero, and so is its shell kernel.
        relative = np.divide(error, product, out=np.zeros_like(error), where=product > 0.0)
        return float(np.max(relative))

    def mean(self, x: Any, cutoff: Any) -> Array:
        """Return μ_Λ(x), shape ([cutoffs,] n_x[, d_out]); formula ``shell.mean``."""
        x = inputs.points("x", x, self.net.d_in)
        grid, scalar = inputs.cutoffs(cutoff)
        shells = self.kernel(self.flow.x_train, x, grid).value
        values = np.array([self._mean(kernel) for kernel in shells])
        values = values.reshape(len(grid), len(x), *self.flow.y_train.shape[1:])
        return values[0] if scalar else values

    def covariance(self, x: Any, x2: Any = None, cutoff: Any = 0.0) -> Array:
        """Return Cov[f_Λ(x), f_Λ(x2)], shape ([cutoffs,] n1, n2), the same for each output."""
        x = inputs.points("x", x, self.net.d_in)
        other = x if x2 is None else inputs.points("x2", x2, self.net.d_in)
        grid, scalar = inputs.cutoffs(cutoff)
        left = self.kernel(self.flow.x_train, x, grid).value
        right = left if x2 is None else self.kernel(self.flow.x_train, other, grid).value
        if self.mode == "resample":
            first = np.broadcast_to(nngp(self.net, x, None if x2 is None else other), (len(grid), len(x), len(other)))
        else:
            first = self.kernel(x, other, grid).value
        values = np.array([self._covariance(*parts) for parts in zip(first, left, right, strict=True)])
        return values[0] if scalar else values

    def loss(self, x: Any, y: Any, cutoff: Any) -> Array | float:
        """Return E mean (f_Λ(x) - y)² over points and outputs: bias² + variance, per cut-off; formula ``shell.loss``."""
        x = inputs.points("x", x, self.net.d_in)
        y = inputs.targets("y", y, len(x), self.net.d_out)
        grid, scalar = inputs.cutoffs(cutoff)
        shells = self.kernel(self.flow.x_train, x, grid).value
        prior = nngp(self.net, x)
        first = np.broadcast_to(prior, (len(grid), *prior.shape))
        if self.mode == "prune":
            first = self.kernel(x, x, grid).value
        target = y.reshape(len(x), -1)
        bias = [np.mean((self._mean(kernel) - target) ** 2) for kernel in shells]
        variance = [np.mean(np.diag(self._covariance(k0, k, k))) for k0, k in zip(first, shells, strict=True)]
        values = np.array(bias) + np.array(variance)
        return float(values[0]) if scalar else values

    def sloppy_fraction(self, cutoff: Any) -> Array | float:
        """Return P(λ < Λ) of a read-out weight (a read-out bias is not counted)."""
        grid, scalar = inputs.cutoffs(cutoff)
        values, _ = self.kernel.sloppy_fraction(grid)
        return float(values[0]) if scalar else values

    def formula(self, name: str) -> Formula:
        """Return the formula behind "mean", "covariance", "loss", "sloppy_fraction", "critical", "gamma" or "Z"."""
        accepted = ("mean", "covariance", "loss", "sloppy_fraction", "critical", "gamma", "Z")
        inputs.choice("name", name, accepted)
        if name not in ("mean", "covariance") and not self.closed_form:
            raise NoClosedForm(
                f"name: {name!r} is a formula of homogeneous activations without biases under centred Gaussian inputs; here "
                f"K_> comes by {self.method}; expected mean or covariance"
            )
        if name in ("covariance", "loss") and self.mode == "prune":
            return derive(f"shell.{name}_prune")
        return derive("shell.homogeneous_Z" if name == "Z" else f"shell.{name}")

    def critical_cutoff(self, x: Any = None, y: Any = None, excess: float = 0.1) -> float:
        """Return Λ_C: the largest Λ with loss(Λ') <= loss(0) + excess·(loss(inf) - loss(0)) for all Λ' <= Λ.

        Parameters
        ----------
        x, y : array_like, optional
            Where the loss is taken; the training set by default.
        excess : float
            0 < excess < 1.

        Raises
        ------
        NoCriticalCutoff
            If loss(inf) <= loss(0).
        """
        if (x is None) != (y is None):
            raise BadInput("x, y: expected both or neither")
        x = self.flow.x_train if x is None else inputs.points("x", x, self.net.d_in)
        y = self.flow.y_train if y is None else inputs.targets("y", y, len(x), self.net.d_out)
        excess = inputs.real("excess", excess, minimum=0.0, strict=True)
        if excess >= 1.0:
            raise BadInput(f"excess: expected a number > 0 and < 1 (at 1 the prior itself is allowed), got {excess!r}")
        start, end = np.asarray(self.loss(x, y, [0.0, math.inf]))
        if not np.isfinite(start):
            raise NoCriticalCutoff(f"flow: training diverged, loss(0) = {start:.6g}; expected a smaller learning_rate")
        if end <= start:
            raise NoCriticalCutoff(f"excess: loss(inf) = {end:.6g} does not exceed loss(0) = {start:.6g}")
        if self.closed_form and self.net.sigma_b[-1] == 0.0:
            return self._closed_critical(x, y, excess)
        return self._searched_critical(x, y, start + excess * (end - start))

    def optimal_cutoff(self, x: Any, y: Any) -> float:
        """Return the Λ at which loss(x, y, Λ) is least: 0 if coarse graining only hurts there, inf if the prior is best.

        In closed form from Z* of formula ``shell.optimal``, else on a grid of cut-offs that is refined twice; the smallest
        of equal minima.  Between them lies a regularised ensemble, better than the trained one on these data.

        >>> from fieldflow.network import MLP
        >>> net = MLP(1, depth=1, activation="relu")
        >>> flow = TrainingFlow(net, [[1.0]], [2.0], learning_rate=0.5, steps=500)  # learns f(1) = 2 by heart
        >>> bool(ShellFlow(flow).optimal_cutoff([[1.0]], [0.5]) > 0), ShellFlow(flow).optimal_cutoff([[1.0]], [2.0])
        (True, 0.0)
        """
        x = inputs.points("x", x, self.net.d_in)
        y = inputs.targets("y", y, len(x), self.net.d_out)
        if self.closed_form and self.net.sigma_b[-1] == 0.0:
            a, b, _ = self.loss_coefficients(x, y)
            # A parabola in Z: its vertex if that is a minimum between prior and trained network, else the better end.
            inside = a > b > 0.0 and self.kernel.common_fisher is None  # at degree 0 all units go at one cut-off
            factor = float(compiled("shell.optimal")(a, b)) if inside else float(2.0 * b >= a)
            if factor in (0.0, 1.0):
                return math.inf if factor == 0.0 else 0.0
            return float(compiled("shell.critical_cutoff")(*self.kernel.homogeneous_values(factor)))
        grid = np.concatenate([[0.0], np.geomspace(*self._range(), _GRID)])
        ends = np.asarray(self.loss(x, y, [0.0, math.inf]))
        for _ in range(3):
            loss = np.asarray(self.loss(x, y, grid))
            best = int(np.argmin(loss))
            found, least = float(grid[best]), float(loss[best])
            grid = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], _GRID)
        # Rounding alone tells plateaus apart.
        if ends[0] <= least + 1e-13 * abs(least):
            return 0.0
        return math.inf if ends[1] <= least + 1e-13 * abs(least) else found

    def loss_coefficients(self, x: Array, y: Array) -> tuple[float, float, float]:
        """Return a, b, c of L(Z) = aZ² - 2bZ + c (theory: homogeneous activation, no read-out bias)."""
        mean = self.flow.mean(x)
        prior = float(np.mean(np.diag(nngp(self.net, x))))
        trained = float(np.mean(np.diag(self.flow.covariance(x))))
        square, overlap = float(np.mean(mean**2)), float(np.mean(mean * y))
        a = square - (prior - trained)
        if self.mode == "resample":
            return a, overlap, float(np.mean(y**2)) + prior
        return a, overlap - 0.5 * prior, float(np.mean(y**2))

    def _closed_critical(self, x: Array, y: Array, excess: float) -> float:
        if self.kernel.common_fisher is not None:  # at degree 0 all units go at one cut-off, strictly above their λ
            return self.kernel.common_fisher
        factor = compiled("shell.critical")(*self.loss_coefficients(x, y), excess)
        values = self.kernel.homogeneous_values(float(factor))
        return float(compiled("shell.critical_cutoff")(*values))

    def _searched_critical(self, x: Array, y: Array, bound: float) -> float:
        """Return the first crossing of ``bound`` from below, on a grid of cut-offs that is refined to 1e-10 of itself."""
        grid = np.concatenate([[0.0], np.geomspace(*self._range(), _GRID)])
        for _ in range(_REFINEMENTS):
            above = np.flatnonzero(np.asarray(self.loss(x, y, grid)) > bound)
            if len(above) == 0:
                return math.inf
            last = max(int(above[0]) - 1, 0)
            grid = np.linspace(grid[last], grid[last + 1], _GRID)
            if np.any(np.diff(grid) <= 0.0):  # neighbouring floats
                break
        # The lower end: the loss may jump between the two (equal units go at one cut-off), and there it holds.
        return float(grid[0])

    def _range(self) -> tuple[float, float]:
        """Return cut-offs below and above which (almost) nothing is sloppy or stiff."""
        low, high = 1e-12, 1.0 / self.kernel.law.noise_variance + 1.0
        while self.sloppy_fraction(high) < 1.0 - 1e-6 and high < 1e300:
            high *= 4.0
        return low, 4.0 * high

    def _deciles(self) -> Array:
        grid = np.geomspace(*self._range(), 4 * _GRID)
        fraction = np.asarray(self.sloppy_fraction(grid))
        return np.unique(grid[np.searchsorted(fraction, np.arange(1, 10) / 10.0).clip(max=len(grid) - 1)])

    def _mean(self, shell: Array) -> Array:
        value: Array = compiled("shell.mean")(shell, self.flow.matrix, self.flow.y_train.reshape(len(shell), -1))
        return value

    def _covariance(self, first: Array, left: Array, right: Array) -> Array:
        name = "shell.covariance" if self.mode == "resample" else "shell.covariance_prune"
        value: Array = compiled(name)(first, left, right, self.flow.matrix, self.flow.prior)
        return value
