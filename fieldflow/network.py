"""Which network is it? Architecture, activations and prior of a fully connected network, checked and immutable.

Equations (59)-(62) of arXiv:2405.17538; (61) lacks the 1/fan_in that an infinite-width limit needs, so the width
scaling is an explicit argument here.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fieldflow import inputs
from fieldflow.compile import compile_activation
from fieldflow.errors import BadInput
from fieldflow.numeric.mlp import Architecture
from fieldflow.symbolic.activations import Activation, activation
from fieldflow.symbolic.convention import Convention

SCALINGS = ("fan_in", "unscaled")


@dataclass(frozen=True, init=False)
class MLP:
    """A fully connected network f: R^d_in -> R^d_out with independent Gaussian weights and biases.

    Parameters
    ----------
    d_in : int
        Number of inputs.
    depth : int, optional
        Number of hidden layers, all infinitely wide.  Exactly one of ``depth`` and ``widths``.
    widths : sequence of int, optional
        Width of each hidden layer.
    activation : str, SymPy expression in one symbol, or tuple with one per hidden layer
        The read-out is linear.
    sigma_w, sigma_b : float or tuple of hidden layers + 1 floats
        Prior scales of weights and biases, input layer first.
    scaling : {"fan_in", "unscaled"}
        W ~ N(0, σ_w²/fan_in), or W ~ N(0, σ_w²) in every layer (needs ``widths``).
    d_out : int
        Number of outputs.

    Raises
    ------
    BadInput
        If an argument is not of the stated form; the message names it.

    >>> net = MLP(2, widths=(10, 10, 2000), activation=("identity", "relu", "relu"), scaling="unscaled")
    >>> net.hidden_layers, net.readout_variance
    (3, 1.0)
    """

    d_in: int
    depth: int | None
    widths: tuple[int, ...] | None
    activation: tuple[Activation, ...]
    sigma_w: tuple[float, ...]
    sigma_b: tuple[float, ...]
    scaling: str
    d_out: int

    def __init__(
        self,
        d_in: int,
        *,
        depth: int | None = None,
        widths: Any = None,
        activation: Any,
        sigma_w: Any = 1.0,
        sigma_b: Any = 0.0,
        scaling: str = "fan_in",
        d_out: int = 1,
    ) -> None:
        if (depth is None) == (widths is None):
            raise BadInput("depth, widths: expected exactly one of them")
        if depth is None:
            if not isinstance(widths, (tuple, list, np.ndarray)) or len(widths) == 0:
                raise BadInput(f"widths: expected a non-empty sequence of positive integers, got {widths!r}")
            widths = tuple(inputs.integer(f"widths[{i}]", w, minimum=1) for i, w in enumerate(widths))
            layers = len(widths)
        else:
            layers = depth = inputs.integer("depth", depth, minimum=1, maximum=1000)
        values = {
            "d_in": inputs.integer("d_in", d_in, minimum=1),
            "depth": depth,
            "widths": widths,
            "activation": _activations(activation, layers),
            "sigma_w": inputs.per_layer("sigma_w", sigma_w, layers + 1),
            "sigma_b": inputs.per_layer("sigma_b", sigma_b, layers + 1),
            "scaling": inputs.choice("scaling", scaling, SCALINGS),
            "d_out": inputs.integer("d_out", d_out, minimum=1),
        }
        if scaling == "unscaled" and widths is None:
            raise BadInput('scaling: "unscaled" has no infinite-width limit; give widths instead of depth')
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def hidden_layers(self) -> int:
        """Number of hidden layers."""
        return len(self.activation)

    def layer_factor(self, layer: int) -> float:
        """Return a_l of the kernel recursion q' = σ_b² + σ_w² a_l E (layer 0: a_0 multiplies x·x')."""
        if self.scaling == "fan_in":
            return 1.0 / self.d_in if layer == 0 else 1.0
        return 1.0 if layer == 0 or self.widths is None else float(self.widths[layer - 1])

    @property
    def finite_widths(self) -> tuple[int, ...]:
        """The widths; BadInput for an infinitely wide network, which cannot be sampled."""
        if self.widths is None:
            raise BadInput("net: a network given by depth is infinitely wide; give widths to sample it")
        return self.widths

    @property
    def readout_variance(self) -> float:
        """s_w, the prior variance of one read-out weight."""
        last = self.sigma_w[-1] ** 2
        return last if self.scaling == "unscaled" else last / self.finite_widths[-1]

    @property
    def convention(self) -> Convention:
        """The conventions under which this network's numbers hold."""
        return Convention(width_scaling=self.scaling)

    def with_width(self, width: int) -> "MLP":
        """Return the same network with another width of the last hidden layer."""
        return MLP(
            self.d_in,
            widths=(*self.finite_widths[:-1], width),
            activation=tuple(entry.expr for entry in self.activation),
            sigma_w=self.sigma_w,
            sigma_b=self.sigma_b,
            scaling=self.scaling,
            d_out=self.d_out,
        )

    def architecture(self) -> Architecture:
        """Return the network as the compiled code takes it."""
        widths = self.finite_widths
        fan_in = np.array([self.d_in, *widths], dtype=np.float64)
        weight_std = np.array(self.sigma_w)
        if self.scaling == "fan_in":
            weight_std = weight_std / np.sqrt(fan_in)
        return Architecture(self.d_in, np.array(widths, dtype=np.int64), weight_std, np.array(self.sigma_b))

    def compiled_activations(self) -> tuple[Any, ...]:
        """Return the compiled in-place activation of each hidden layer."""
        return tuple(compile_activation(entry.expr) for entry in self.activation)


def _activations(given: Any, layers: int) -> tuple[Activation, ...]:
    if isinstance(given, (tuple, list)):
        if len(given) != layers:
            raise BadInput(f"activation: expected one, or {layers} (one per hidden layer), got {len(given)}")
        return tuple(activation(entry) for entry in given)
    return (activation(given),) * layers
