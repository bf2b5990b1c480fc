"""What does the flow do above narrow layers? Lower layers of finite width, the last hidden layer infinitely wide.

Given its lower layers a network is one hidden layer on transformed inputs, whose flow ``ShellFlow`` knows; over the lower
layers the ensemble is a mixture of such Gaussians, averaged over draws of them with an error bar.
"""

from typing import Any, NamedTuple

import numpy as np

from fieldflow import inputs
from fieldflow.ensemble import Ensemble
from fieldflow.errors import BadInput
from fieldflow.flow import METHODS, TrainingFlow, checked_steps
from fieldflow.inputs import Array
from fieldflow.network import MLP
from fieldflow.shell import ShellFlow, checked_mode


class Estimate(NamedTuple):
    """An average over lower layers and its standard error."""

    value: Array
    std_error: Array


class LowerLayers:
    """Flow of networks whose last hidden layer is infinitely wide above lower layers of the stated widths (immutable).

    Parameters
    ----------
    net : MLP
        With ``widths``, two or more; the last one only sets the scale of the read-out where scaling = "unscaled".
    x_train, y_train, learning_rate, steps, method
        As in ``TrainingFlow``; the read-out is trained.
    fisher : array_like (n, d_in)
        Inputs over which λ is averaged.
    noise_variance, mode
        As in ``ShellFlow``.
    draws : int
        Independent lower layers.
    samples : int
        Quasi-random units of the last hidden layer per draw.
    seed : int

    Raises
    ------
    BadInput

    >>> net = MLP(2, widths=(3, 1000), activation="relu")
    >>> flow = LowerLayers(net, [[1.0, 0.0]], [1.0], learning_rate=0.3, steps=9, fisher=[[1.0, 0.0]], draws=8, samples=256)
    >>> flow.mean([[0.5, 0.5]], [0.0, 0.1]).value.shape
    (2, 1)
    """

    def __init__(
        self,
        net: MLP,
        x_train: Any,
        y_train: Any,
        *,
        learning_rate: float,
        steps: Any,
        fisher: Any,
        method: str = "gd",
        noise_variance: float = 1.0,
        mode: str = "resample",
        draws: int = 64,
        samples: int = 2**10,
        seed: int = 0,
    ) -> None:
        if not isinstance(net, MLP):
            raise BadInput(f"net: expected a fieldflow.MLP, got {type(net).__name__}")
        if len(net.finite_widths) < 2:
            raise BadInput("net: expected at least two hidden layers; ShellFlow has the flow of one")
        self.net = net
        self.x_train = inputs.points("x_train", x_train, net.d_in)
        self.y_train = inputs.targets("y_train", y_train, len(self.x_train), net.d_out)
        self.fisher = inputs.points("fisher", fisher, net.d_in)
        self.mode = checked_mode(mode)
        self._training: dict[str, Any] = {
            "learning_rate": inputs.real("learning_rate", learning_rate, minimum=0.0, strict=True),
            "steps": checked_steps(steps, inputs.choice("method", method, METHODS)),
            "method": method,
        }
        if method != "gradient_flow":
            self._training["steps"] = int(steps)
        self._noise = inputs.real("noise_variance", noise_variance, minimum=0.0, strict=True)
        self._draws = inputs.integer("draws", draws, minimum=2, maximum=10**6)
        self._samples = inputs.integer("samples", samples, minimum=256, maximum=2**26)
        self._seed = inputs.integer("seed", seed, maximum=2**64 - 1)

    def mean(self, x: Any, cutoff: Any = 0.0) -> Estimate:
        """Return E f_Λ(x), ([cutoffs,] n[, d_out])."""
        x = inputs.points("x", x, self.net.d_in)
        values = np.array([shell.mean(below[0], cutoff) for shell, below in self._given(x)])
        return Estimate(values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values)))

    def covariance(self, x: Any, x2: Any = None, cutoff: Any = 0.0) -> Estimate:
        """Return Cov[f_Λ(x), f_Λ(x2)] of one output, ([cutoffs,] n1, n2): E of the covariances plus covariance of the means."""
        if self.net.d_out != 1:
            raise BadInput(
                f"net: expected one output, got d_out = {self.net.d_out}: above narrow layers outputs share them"
            )
        x = inputs.points("x", x, self.net.d_in)
        other = x if x2 is None else inputs.points("x2", x2, self.net.d_in)
        within, left, right = [], [], []
        for shell, below in self._given(x, other):
            within.append(shell.covariance(below[0], below[1], cutoff))
            left.append(shell.mean(below[0], cutoff))
            right.append(shell.mean(below[1], cutoff))
        a, b = (np.array(part) - np.mean(part, axis=0) for part in (left, right))
        count = len(within)
        values = np.array(within) + a[..., :, None] * b[..., None, :] * (count / (count - 1))
        return Estimate(values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(count))

    def sloppy_fraction(self, cutoff: Any) -> Estimate:
        """Return P(λ < Λ) of a read-out weight, ([cutoffs])."""
        values = np.array([shell.sloppy_fraction(cutoff) for shell, _ in self._given()])
        return Estimate(values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values)))

    def _given(self, *points: Array) -> list[tuple[ShellFlow, list[Array]]]:
        """Return per draw the flow of the last hidden layer and the given points as that layer sees them."""
        net, widths = self.net, self.net.finite_widths
        every = np.concatenate([self.x_train, self.fisher, *points])
        split = np.cumsum([len(self.x_train), len(self.fisher), *(len(part) for part in points)])[:-1]
        plain = net.scaling == "fan_in"
        scales = (
            net.sigma_w[-2] * (1.0 if plain else np.sqrt(widths[-2])),
            net.sigma_w[-1] * (1.0 if plain else np.sqrt(widths[-1])),
        )
        top = MLP(widths[-2], depth=1, activation=net.activation[-1].expr, sigma_w=scales, sigma_b=net.sigma_b[-2:],
                  d_out=net.d_out)  # fmt: skip
        below = MLP(net.d_in, widths=(*widths[:-1],), activation=tuple(entry.expr for entry in net.activation[:-1]),
                    sigma_w=(*net.sigma_w[:-2], 0.0), sigma_b=(*net.sigma_b[:-2], 0.0), scaling=net.scaling)  # fmt: skip
        drawn = Ensemble(below, members=self._draws, seed=self._seed)
        found = []
        for index in range(self._draws):
            seen, fisher, *rest = np.split(drawn.member(index).hidden(every), split)
            flow = TrainingFlow(top, seen, self.y_train, **self._training)
            shell = ShellFlow(flow, fisher=fisher, noise_variance=self._noise, mode=self.mode, samples=self._samples,
                              seed=(self._seed + index) % 2**64)  # fmt: skip
            found.append((shell, rest))
        return found
