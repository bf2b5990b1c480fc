"""How much of the prior survives the information shell? The shell kernel K_> at infinite width, closed or sampled.

K_>^Λ(x, x') = s_w N E[h(x) h(x') 1{λ(h) >= Λ}] (+ σ_b² 1{1/s² >= Λ} for a trained read-out bias).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fieldflow import inputs
from fieldflow.compile import compile_activation
from fieldflow.errors import BadInput, NoClosedForm
from fieldflow.formulas import compiled, second_moment
from fieldflow.inputs import Array
from fieldflow.kernels import last_hidden, nngp
from fieldflow.network import MLP
from fieldflow.numeric.quadrature import gaussian_replicates, root, shell_averages


class ShellEstimate(NamedTuple):
    """K_> at each cut-off, (cutoffs, n1, n2), its standard error, and the independent replicates behind it."""

    value: Array
    std_error: Array
    replicates: Array


@dataclass(frozen=True)
class FisherLaw:
    """Where λ comes from: fixed inputs (n, d_in), or a Gaussian law of the inputs (``points`` None)."""

    points: Array | None
    input_mean: Array
    input_std: Array
    noise_variance: float


def fisher_law(net: MLP, fisher: Any, input_mean: Any, input_std: Any, noise_variance: Any) -> FisherLaw:
    """Return the checked Fisher law; BadInput names what cannot be used."""
    noise = inputs.real("noise_variance", noise_variance, minimum=0.0, strict=True)
    mean = np.broadcast_to(inputs.real_array("input_mean", input_mean), (net.d_in,))
    std = np.broadcast_to(inputs.real_array("input_std", input_std), (net.d_in,))
    if np.any(std <= 0):
        raise BadInput(f"input_std: expected positive numbers, got {input_std!r}")
    if isinstance(fisher, str):
        if fisher != "gaussian":
            raise BadInput(f'fisher: expected "gaussian" or inputs of shape (n, {net.d_in}), got {fisher!r}')
        if net.hidden_layers > 1:
            raise NoClosedForm('fisher: "gaussian" is available for one hidden layer; give Fisher inputs (n, d_in)')
        return FisherLaw(None, mean, std, noise)
    return FisherLaw(inputs.points("fisher", fisher, net.d_in), mean, std, noise)


@dataclass(frozen=True)
class ShellKernel:
    """The shell kernel of a network under a Fisher law; closed form where it exists, else ``samples`` quasi-random."""

    net: MLP
    law: FisherLaw
    samples: int
    seed: int

    @cached_property
    def closed_form(self) -> bool:
        """True for one hidden layer, homogeneous activation, no hidden bias, centred isotropic Gaussian inputs."""
        degree = self.net.activation[0].degree
        return (
            self.law.points is None
            and degree is not None
            and degree > 0
            and self.net.sigma_b[0] == 0.0
            and bool(np.all(self.law.input_mean == 0.0))
            and bool(np.all(self.law.input_std == self.law.input_std[0]))
        )

    def homogeneous_values(self, cutoff: Any) -> tuple[Any, ...]:
        """Return the arguments of ``shell.homogeneous_Z`` and ``shell.sloppy_fraction`` at ``cutoff``."""
        activation = self.net.activation[0]
        moment = float(second_moment(activation.expr)(1.0))
        sigma_v = self.net.sigma_w[0] * np.sqrt(self.net.layer_factor(0))
        return cutoff, self.net.d_in, activation.degree, moment, self.law.input_std[0], sigma_v, self.law.noise_variance

    def stiff_factor(self, cutoffs: Array) -> Array:
        """Return Z(Λ) with K_> = Z K, (cutoffs,); only when ``closed_form``."""
        finite = np.where(np.isinf(cutoffs), 0.0, cutoffs)
        value = compiled("shell.homogeneous_Z")(*self.homogeneous_values(finite))
        return np.where(np.isinf(cutoffs), 0.0, value)

    def sloppy_fraction(self, cutoffs: Array) -> tuple[Array, Array]:
        """Return P(λ < Λ) of a read-out weight at each cut-off and its standard error."""
        if self.closed_form:
            finite = np.where(np.isinf(cutoffs), 0.0, cutoffs)
            value = compiled("shell.sloppy_fraction")(*self.homogeneous_values(finite))
            return np.where(np.isinf(cutoffs), 1.0, value), np.zeros_like(cutoffs)
        origin = np.zeros((1, self.net.d_in))
        fractions = np.array([fraction for _, fraction in self._replicates(origin, origin, cutoffs)])
        return fractions.mean(axis=0), fractions.std(axis=0, ddof=1) / np.sqrt(len(fractions))

    def bias_part(self, cutoffs: Array) -> Array:
        """Return σ_b² 1{1/s² >= Λ}, (cutoffs, 1, 1)."""
        kept = 1.0 / self.law.noise_variance >= cutoffs
        part: Array = np.where(kept, self.net.sigma_b[-1] ** 2, 0.0)[:, None, None]
        return part

    def __call__(self, x1: Array, x2: Array, cutoffs: Array) -> ShellEstimate:
        """Return K_>(x1, x2) at each cut-off (points already checked)."""
        weights = nngp(self.net, x1, x2) - self.net.sigma_b[-1] ** 2
        if self.closed_form:
            value = self.stiff_factor(cutoffs)[:, None, None] * weights + self.bias_part(cutoffs)
            return ShellEstimate(value, np.zeros_like(value), value[None])
        scale = self.net.sigma_w[-1] ** 2 * self.net.layer_factor(self.net.hidden_layers)
        every = []
        for stiff, _ in self._replicates(x1, x2, np.concatenate([[0.0], cutoffs])):
            # What the sampling misses of K at Λ = 0 is known exactly; give each shell its share of that correction.
            whole, shells = scale * stiff[0], scale * stiff[1:]
            share = np.einsum("cij,ij->c", shells, whole) / np.sum(whole * whole) if np.any(whole) else 0.0
            every.append(shells + np.multiply.outer(share, weights - whole) + self.bias_part(cutoffs))
        replicates = np.array(every)
        error = replicates.std(axis=0, ddof=1) / np.sqrt(len(replicates))
        return ShellEstimate(replicates.mean(axis=0), error, replicates)

    def _replicates(self, x1: Array, x2: Array, cutoffs: Array) -> Iterator[tuple[Array, Array]]:
        """Yield per replicate E[hh'1{λ >= Λ}] and the sloppy fraction."""
        fisher = np.empty((0, self.net.d_in)) if self.law.points is None else self.law.points
        every = np.concatenate([x1, x2, fisher])
        split = np.cumsum([len(x1), len(x2)])
        activate = compile_activation(self.net.activation[-1].expr)
        one_layer = self.net.hidden_layers == 1
        factor = self._first_layer(every) if one_layer else root(last_hidden(self.net, every).c)
        for normal in gaussian_replicates(max(factor.shape[1], 1), self.samples, self.seed):
            hidden = np.ascontiguousarray(normal[:, : factor.shape[1]] @ factor.T)
            activate(hidden.reshape(-1))
            left, right, seen = np.split(hidden, split, axis=1)
            if self.law.points is None:
                diagonal = self._gaussian_fisher(normal)
            else:
                diagonal = np.einsum("si,si->s", seen, seen) / (seen.shape[1] * self.law.noise_variance)
            yield shell_averages(left, right, diagonal, cutoffs)

    def _first_layer(self, x: Array) -> Array:
        """Return the map (p, d_in + 1) from a neuron's own normals (weights, bias) to its preactivations."""
        weights = self.net.sigma_w[0] * np.sqrt(self.net.layer_factor(0)) * x
        return np.column_stack([weights, np.full(len(x), self.net.sigma_b[0])])

    def _gaussian_fisher(self, normal: Array) -> Array:
        """Return λ of neurons with the given weight and bias normals, inputs N(input_mean, input_std²)."""
        weights = self.net.sigma_w[0] * np.sqrt(self.net.layer_factor(0)) * normal[:, : self.net.d_in]
        mean = weights @ self.law.input_mean + self.net.sigma_b[0] * normal[:, self.net.d_in]
        deviation = np.sqrt((weights**2) @ self.law.input_std**2)
        return gaussian_fisher(self.net, mean, deviation, self.law.noise_variance)


def gaussian_fisher(net: MLP, mean: Array, deviation: Array, noise_variance: float) -> Array:
    """Return λ = E[σ(z)²]/s² for preactivations z ~ N(mean, deviation²) under Gaussian inputs."""
    activation = net.activation[0]
    if not np.any(mean):
        centred: Array = second_moment(activation.expr)(deviation**2) / noise_variance
        return centred
    if activation.name != "relu":
        raise NoClosedForm(
            f'fisher: "gaussian" inputs with a mean, or a hidden bias, with activation {activation.name!r}: only relu so far; '
            "give Fisher inputs (n, d_in)"
        )
    value: Array = compiled("fisher.relu")(mean, deviation, noise_variance)
    return value
