"""Which directions in parameter space does one network's likelihood see? Fisher matrix of all its layers.

Formulas ``fisher.kl`` and ``fisher.matrix``; equations (45)-(54) of arXiv:2405.17538.
"""

from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from fieldflow import inputs
from fieldflow.compile import compile_scalar
from fieldflow.errors import BadInput
from fieldflow.formulas import compiled
from fieldflow.inputs import Array
from fieldflow.network import MLP
from fieldflow.numeric import rng
from fieldflow.numeric.ensemble import train_readout
from fieldflow.numeric.jacobian import forward, jacobian
from fieldflow.numeric.mlp import normals_per_member, readout_features

LARGEST = 20_000
"""Parameters above which a dense Fisher matrix is refused: 3.2 GB."""


class Member:
    """One finite network with all its raw weights and biases (immutable); ``Ensemble.member`` returns it.

    Parameters
    ----------
    net : MLP
        With finite ``widths``.
    parameters : array_like (P,)
        Layer by layer the weights row by row, one row per neuron, then the biases of a layer with σ_b > 0.

    Raises
    ------
    BadInput

    >>> from fieldflow.ensemble import Ensemble
    >>> net = MLP(2, widths=(3,), activation="erf", sigma_b=(0.5, 0.0))
    >>> member = Ensemble(net, members=1).member(0)
    >>> member.layout
    {'W1': slice(0, 6, None), 'b1': slice(6, 9, None), 'W2': slice(9, 12, None)}
    >>> member.fisher_matrix([[1.0, 0.0], [0.0, 1.0]]).shape
    (12, 12)
    """

    def __init__(self, net: MLP, parameters: Any) -> None:
        if not isinstance(net, MLP):
            raise BadInput(f"net: expected a fieldflow.MLP, got {type(net).__name__}")
        self.net = net
        self.layout = _layout(net)
        size = max(part.stop for part in self.layout.values())
        values = inputs.real_array("parameters", parameters)
        if values.shape != (size,):
            raise BadInput(f"parameters: expected shape ({size},), got {values.shape}")
        self.parameters = values
        self._activations = [compile_scalar(entry.expr) for entry in net.activation]
        self._slopes = [compile_scalar(entry.derivative) for entry in net.activation]

    def outputs(self, x: Any) -> Array:
        """Return f(x), shape (n[, d_out]), at x (n, d_in)."""
        values, _, _ = forward(self._layers, self._activations, inputs.points("x", x, self.net.d_in))
        return values[:, 0] if self.net.d_out == 1 else values

    def hidden(self, x: Any) -> Array:
        """Return the outputs of the last hidden layer at x (n, d_in), shape (n, width)."""
        return forward(self._layers, self._activations, inputs.points("x", x, self.net.d_in))[1][-1]

    def jacobian(self, x: Any) -> Array:
        """Return ∂f_o(x)/∂θ, a row per pair of point and output, (n·d_out, P); a kink counts with the mean of its slopes."""
        x = inputs.points("x", x, self.net.d_in)
        return jacobian(self._layers, self._activations, self._slopes, x).reshape(-1, len(self.parameters))

    def fisher_matrix(self, x: Any, *, noise_variance: float = 1.0) -> Array:
        """Return I (P, P) of the Gaussian likelihood, averaged over the inputs x (n, d_in); formula ``fisher.matrix``."""
        if len(self.parameters) > LARGEST:
            raise BadInput(
                f"net: the Fisher matrix of {len(self.parameters)} parameters takes "
                f"{8e-9 * len(self.parameters) ** 2:.1f} GB; at most {LARGEST} are accepted: use fisher_spectrum"
            )
        x = inputs.points("x", x, self.net.d_in)
        noise = inputs.real("noise_variance", noise_variance, minimum=0.0, strict=True)
        value: Array = compiled("fisher.matrix")(self.jacobian(x), float(len(x)), noise)
        return value

    def fisher_spectrum(self, x: Any, *, noise_variance: float = 1.0) -> Array:
        """Return the eigenvalues of the Fisher matrix, largest first; at most n·d_out of the P are not zero.

        From the singular values of the Jacobian, so that small ones are right to rounding relative to the largest *slope*,
        not its square.
        """
        x = inputs.points("x", x, self.net.d_in)
        noise = inputs.real("noise_variance", noise_variance, minimum=0.0, strict=True)
        stretched = np.linalg.svd(self.jacobian(x), compute_uv=False) ** 2 / (len(x) * noise)
        values = np.zeros(len(self.parameters))
        values[: len(stretched)] = stretched[: len(values)]
        return values

    def relative_entropy(self, change: Any, x: Any, *, noise_variance: float = 1.0) -> float:
        """Return KL(p_θ ‖ p_{θ+change}) averaged over x, exact at any distance; formula ``fisher.kl``, equation (51)."""
        change = inputs.real_array("change", change)
        if change.shape != self.parameters.shape:
            raise BadInput(f"change: expected shape {self.parameters.shape}, got {change.shape}")
        noise = inputs.real("noise_variance", noise_variance, minimum=0.0, strict=True)
        x = inputs.points("x", x, self.net.d_in)
        apart = Member(self.net, self.parameters + change).outputs(x) - self.outputs(x)
        return float(compiled("fisher.kl")(float(np.sum(apart**2)) / len(x), noise))

    @cached_property
    def _layers(self) -> list[tuple[Array, Array | None]]:
        layers = []
        for place in range(self.net.hidden_layers + 1):
            weights = self.parameters[self.layout[f"W{place + 1}"]]
            fan_in = (self.net.d_in, *self.net.finite_widths)[place]
            bias = self.layout.get(f"b{place + 1}")
            layers.append((weights.reshape(-1, fan_in), None if bias is None else self.parameters[bias]))
        return layers


def _layout(net: MLP) -> dict[str, slice]:
    found: dict[str, slice] = {}
    start, sizes = 0, (net.d_in, *net.finite_widths, net.d_out)
    for place, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        parts = {f"W{place + 1}": fan_in * fan_out}
        if net.sigma_b[place] > 0.0:
            parts[f"b{place + 1}"] = fan_out
        for name, count in parts.items():
            found[name] = slice(start, start + count)
            start += count
    return found


def drawn(net: MLP, seed: int, index: int, training: Any) -> Member:
    """Return member ``index`` of the ensemble with this seed, its read-out trained by ``training`` (compiled) if not None."""
    rule, sizes = net.architecture(), (net.d_in, *net.finite_widths)
    numbers = rng.normals(normals_per_member(rule), seed=seed, member=index, stream=rng.HIDDEN)
    parts, start = [], 0
    for place, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        rows = numbers[start : start + fan_out * (fan_in + 1)].reshape(fan_out, fan_in + 1)
        parts.append(rule.weight_std[place] * rows[:, :-1].ravel())
        if net.sigma_b[place] > 0.0:
            parts.append(rule.bias_std[place] * rows[:, -1])
        start += rows.size
    biased = net.sigma_b[-1] > 0.0
    size = sizes[-1] + biased
    weights = rng.normals(size * net.d_out, seed=seed, member=index, stream=rng.READOUT).reshape(size, net.d_out)
    if training is not None:
        hidden = Member(net, np.concatenate([*parts, np.zeros(size * net.d_out)]))
        below = hidden.hidden(training.x.T)
        weights, _, _ = train_readout(readout_features(rule, np.ascontiguousarray(below.T)), weights, training)
    parts.append(rule.weight_std[-1] * weights[: sizes[-1]].T.ravel())
    if biased:
        parts.append(rule.bias_std[-1] * weights[-1])
    return Member(net, np.concatenate(parts))
