"""Where do training and the information shell take an infinitely wide cosine network? IR to UV and back, in closed form.

The formulas of ``shell`` (training.*, shell.mean, shell.covariance) with the kernels of ``CosNet``: K the propagator, K_> that
of the momentum shell, or for Fisher inputs N(0, input_std²) one that is not translation invariant.
"""

import math
from functools import cached_property
from typing import Any

import numpy as np

from fieldflow import inputs
from fieldflow.cosnet import CosNet
from fieldflow.errors import BadInput
from fieldflow.flow import METHODS, checked_steps, training_matrix
from fieldflow.formulas import compiled
from fieldflow.inputs import Array
from fieldflow.shell import MODES


class CosNetFlow:
    """Gaussian law of a trained and coarse-grained ensemble of infinitely wide cosine networks (immutable).

    Parameters
    ----------
    net : CosNet
        With the Gaussian read-out, which is what is trained.
    x_train : array_like (n, d)
    y_train : array_like (n,)
    learning_rate, steps, method
        As in ``TrainingFlow``.
    input_std, noise_variance : float
        Fisher inputs N(0, input_std²) (math.inf: broad) and s².
    mode : {"resample", "prune"}

    Raises
    ------
    BadInput, NoClosedForm

    >>> net = CosNet(d=1, radius=8.0, mass=1.0)
    >>> flow = CosNetFlow(net, [[0.3]], [1.0], learning_rate=5.0, steps=100)
    >>> flow.mean([[0.3]], [0.0, math.inf]).round(12).tolist()
    [[1.0], [0.0]]
    """

    def __init__(
        self,
        net: CosNet,
        x_train: Any,
        y_train: Any,
        *,
        learning_rate: float,
        steps: Any,
        method: str = "gd",
        input_std: float = math.inf,
        noise_variance: float = 1.0,
        mode: str = "resample",
    ) -> None:
        if not isinstance(net, CosNet) or net.readout != "gaussian":
            raise BadInput('net: expected a fieldflow.CosNet with readout = "gaussian"')
        self.net = net
        self.x_train = inputs.points("x_train", x_train, net.d)
        self.y_train = inputs.targets("y_train", y_train, len(self.x_train), 1).reshape(-1, 1)
        self.learning_rate = inputs.real("learning_rate", learning_rate, minimum=0.0, strict=True)
        self.method = inputs.choice("method", method, METHODS)
        self.steps = checked_steps(steps, self.method)
        self.input_std = input_std
        self.noise_variance = noise_variance
        self.mode = inputs.choice("mode", mode, MODES)

    @cached_property
    def prior(self) -> Array:
        """K(X, X), shape (n, n)."""
        return self.net.shell_kernel(self.x_train)

    @cached_property
    def matrix(self) -> Array:
        """M_T, shape (n, n)."""
        return training_matrix(
            self.prior, method=self.method, learning_rate=self.learning_rate, steps=self.steps, d_out=1
        )

    def kernel(self, x1: Array, x2: Array | None, cutoffs: Array) -> Array:
        """Return K_>(x1, x2) at each cut-off, (cutoffs, n1, n2)."""
        return self.net.shell_kernel(x1, x2, cutoffs, self.input_std, noise_variance=self.noise_variance)

    def mean(self, x: Any, cutoff: Any = 0.0) -> Array:
        """Return μ_Λ(x), shape ([cutoffs,] n_x); formula ``shell.mean``."""
        x = inputs.points("x", x, self.net.d)
        grid, scalar = inputs.cutoffs(cutoff)
        shells = self.kernel(self.x_train, x, grid)
        values = np.array([compiled("shell.mean")(shell, self.matrix, self.y_train)[:, 0] for shell in shells])
        return values[0] if scalar else values

    def covariance(self, x: Any, x2: Any = None, cutoff: Any = 0.0) -> Array:
        """Return Cov[f_Λ(x), f_Λ(x2)], shape ([cutoffs,] n1, n2); ``shell.covariance`` or ``shell.covariance_prune``."""
        x = inputs.points("x", x, self.net.d)
        other = x if x2 is None else inputs.points("x2", x2, self.net.d)
        grid, scalar = inputs.cutoffs(cutoff)
        left = self.kernel(self.x_train, x, grid)
        right = left if x2 is None else self.kernel(self.x_train, other, grid)
        whole = np.zeros_like(grid) if self.mode == "resample" else grid
        first = [self.net.shell_kernel(x, other)] * len(grid) if not np.any(whole) else self.kernel(x, other, grid)
        name = "shell.covariance" if self.mode == "resample" else "shell.covariance_prune"
        parts = zip(first, left, right, strict=True)
        values = np.array([compiled(name)(k, a, b, self.matrix, self.prior) for k, a, b in parts])
        return values[0] if scalar else values

    def effective_variance(self, cutoff: Any, width: int) -> Array | float:
        """Return σ_w²(Λ) of (87) to order 1/width; formula ``cosnet.effective_variance``."""
        grid, scalar = inputs.cutoffs(cutoff)
        width = inputs.integer("width", width, minimum=1)
        shells = self.kernel(self.x_train, None, grid)
        found = compiled("cosnet.effective_variance")
        values = np.array(
            [float(found(self.net.sigma_w, width, k, self.matrix, self.prior, self.y_train)) for k in shells]
        )
        return float(values[0]) if scalar else values
