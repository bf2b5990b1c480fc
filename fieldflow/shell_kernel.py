"""How much of the prior survives the information shell? The shell kernel K_> at infinite width, closed or sampled.

K_>^Λ(x, x') = s_w N E[h(x) h(x') 1{λ(h) >= Λ}] (+ σ_b² 1{1/s² >= Λ} for a trained read-out bias).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from fieldflow import inputs
from fieldflow.compile import compile_activation
from fieldflow.errors import BadInput, NoClosedForm
from fieldflow.formulas import compiled, second_moment, unit_fisher
from fieldflow.inputs import Array
from fieldflow.kernels import last_hidden, nngp
from fieldflow.network import MLP
from fieldflow.numeric import angular
from fieldflow.numeric.mlp import apply_activation
from fieldflow.numeric.quadrature import gaussian_replicates, root, shell_averages

CLOSED, QUADRATURE, SAMPLED = "closed form", "quadrature", "quasi-Monte Carlo"


class ShellEstimate(NamedTuple):
    """K_> at each cut-off, (cutoffs, n1, n2), its standard error, and the independent replicates behind it.

    The error of a quadrature is its own estimate, that of a closed form is 0; both are one replicate.
    """

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
    mean = inputs.per_coordinate("input_mean", input_mean, net.d_in)
    std = inputs.per_coordinate("input_std", input_std, net.d_in)
    if np.any(std <= 0):
        raise BadInput(f"input_std: expected positive numbers, got {input_std!r}")
    if isinstance(fisher, str):
        if fisher != "gaussian":
            raise BadInput(f'fisher: expected "gaussian" or inputs of shape (n, {net.d_in}), got {fisher!r}')
        if net.hidden_layers > 1:
            raise NoClosedForm(
                'fisher: "gaussian" is available for one hidden layer; give Fisher inputs (n, d_in): above an infinitely wide '
                "layer the preactivations of one unit over all inputs are a random function, not finitely many normals"
            )
        return FisherLaw(None, mean, std, noise)
    return FisherLaw(inputs.points("fisher", fisher, net.d_in), mean, std, noise)


@dataclass(frozen=True)
class ShellKernel:
    """The shell kernel of a network under a Fisher law; ``samples`` quasi-random points where it is sampled."""

    net: MLP
    law: FisherLaw
    samples: int
    seed: int

    @cached_property
    def closed_form(self) -> bool:
        """True for one hidden layer, homogeneous activation, no hidden bias, centred isotropic Gaussian inputs."""
        return (
            self.law.points is None
            and self.degree is not None
            and self.net.sigma_b[0] == 0.0
            and bool(np.all(self.law.input_mean == 0.0))
            and bool(np.all(self.law.input_std == self.law.input_std[0]))
        )

    @property
    def degree(self) -> int | float | None:
        """Degree of homogeneity of the last hidden layer's activation; None if it is not homogeneous."""
        return self.net.activation[-1].degree

    @property
    def method(self) -> str:
        """How K_> is computed: "closed form", "quadrature" (a unit of one or two normals) or "quasi-Monte Carlo"."""
        if self.closed_form:
            return CLOSED
        few = self.net.hidden_layers == 1 and self.normals <= 2
        return QUADRATURE if few and self.degree is not None else SAMPLED

    @property
    def normals(self) -> int:
        """Weights and bias of one unit of the first layer."""
        return self.net.d_in + (1 if self.net.sigma_b[0] else 0)

    def homogeneous_values(self, cutoff: Any) -> tuple[Any, ...]:
        """Return the arguments of ``shell.homogeneous_Z`` and ``shell.sloppy_fraction`` at ``cutoff``."""
        sigma_v = self.net.sigma_w[0] * np.sqrt(self.net.layer_factor(0))
        return cutoff, self.net.d_in, self.degree, self._moment, self.law.input_std[0], sigma_v, self.law.noise_variance

    @cached_property
    def _moment(self) -> float:
        """c_k = E[σ(z)²], z ~ N(0, 1)."""
        return float(second_moment(self.net.activation[0].expr)(1.0))

    @property
    def common_fisher(self) -> float | None:
        """The λ that all units share at degree 0, c_0/s²; None otherwise."""
        shared = self.closed_form and self.degree == 0
        return self._moment / self.law.noise_variance if shared else None

    def stiff_factor(self, cutoffs: Array) -> Array:
        """Return Z(Λ) with K_> = Z K, (cutoffs,); only when ``closed_form``."""
        finite = np.where(np.isinf(cutoffs), 0.0, cutoffs)
        if self.degree == 0:
            value = compiled("shell.step_Z")(finite, self._moment, self.law.noise_variance)
        else:
            value = compiled("shell.homogeneous_Z")(*self.homogeneous_values(finite))
        return np.where(np.isinf(cutoffs), 0.0, value)

    def sloppy_fraction(self, cutoffs: Array) -> tuple[Array, Array]:
        """Return P(λ < Λ) of a read-out weight at each cut-off and its standard error."""
        if self.closed_form:
            if self.degree == 0:
                return 1.0 - self.stiff_factor(cutoffs), np.zeros_like(cutoffs)
            finite = np.where(np.isinf(cutoffs), 0.0, cutoffs)
            value = compiled("shell.sloppy_fraction")(*self.homogeneous_values(finite))
            return np.where(np.isinf(cutoffs), 1.0, value), np.zeros_like(cutoffs)
        origin = np.zeros((1, self.net.d_in))
        if self.method == QUADRATURE:
            rule = self._circle(origin, partial(self.radial_sloppy, cutoffs))
            return rule.values @ rule.weights, np.full(len(cutoffs), rule.error)
        fractions = np.array([fraction for _, fraction in self._replicates(origin, origin, cutoffs)])
        return fractions.mean(axis=0), fractions.std(axis=0, ddof=1) / np.sqrt(len(fractions))

    def bias_part(self, cutoffs: Array) -> Array:
        """Return σ_b² 1{1/s² >= Λ}, (cutoffs, 1, 1)."""
        kept = 1.0 / self.law.noise_variance >= cutoffs
        part: Array = np.where(kept, self.net.sigma_b[-1] ** 2, 0.0)[:, None, None]
        return part

    def __call__(self, x1: Array, x2: Array, cutoffs: Array) -> ShellEstimate:
        """Return K_>(x1, x2) at each cut-off (points already checked)."""
        scale = self.net.sigma_w[-1] ** 2 * self.net.layer_factor(self.net.hidden_layers)
        if self.method == QUADRATURE:
            return self._integrated(x1, x2, cutoffs, scale)
        weights = nngp(self.net, x1, x2) - self.net.sigma_b[-1] ** 2
        if self.closed_form:
            value = self.stiff_factor(cutoffs)[:, None, None] * weights + self.bias_part(cutoffs)
            return ShellEstimate(value, np.zeros_like(value), value[None])
        every = []
        for stiff, _ in self._replicates(x1, x2, np.concatenate([[0.0], cutoffs])):
            # What the sampling misses of K at Λ = 0 is known exactly; give each shell its share of that correction.
            whole, shells = scale * stiff[0], scale * stiff[1:]
            share = np.einsum("cij,ij->c", shells, whole) / np.sum(whole * whole) if np.any(whole) else 0.0
            every.append(shells + np.multiply.outer(share, weights - whole) + self.bias_part(cutoffs))
        replicates = np.array(every)
        error = replicates.std(axis=0, ddof=1) / np.sqrt(len(replicates))
        return ShellEstimate(replicates.mean(axis=0), error, replicates)

    def _integrated(self, x1: Array, x2: Array, cutoffs: Array, scale: float) -> ShellEstimate:
        """Return K_> as an average over the directions of a unit's one or two normals."""
        rule = self._circle(np.concatenate([x1, x2]), partial(self.radial, cutoffs))
        left, right = (self.hidden(rule.directions, x) for x in (x1, x2))
        value = scale * angular.shell_sums(left, right, rule.values * rule.weights) + self.bias_part(cutoffs)
        size = np.max(np.abs(left), initial=0.0) * np.max(np.abs(right), initial=0.0)
        error = np.full(value.shape, rule.error * scale * size)
        return ShellEstimate(value, error, value[None])

    def _circle(self, x: Array, radial: Callable[[Array, int], Array]) -> angular.Circle:
        """Return the rule for directions with ``radial``(λ of unit length, normals) as its weight."""

        def weight(directions: Array) -> Array:
            return radial(self.unit_fisher(directions), self.normals)

        if self.normals == 1:
            return angular.line(weight)
        seen = np.empty((0, self.net.d_in)) if self.law.points is None else self.law.points
        return angular.circle(angular.kinks(self._first_layer(np.concatenate([x, seen]))), weight)

    def radial(self, cutoffs: Array, unit: Array, normals: int) -> Array:
        """Return E[|ξ|^{2k} 1{g|ξ|^{2k} >= Λ}] (cutoffs, directions) for λ = g on the unit sphere: ``shell.angular``."""
        if self.degree == 0:
            return np.where(unit >= cutoffs[:, None], 1.0, 0.0)
        finite = np.where(np.isinf(cutoffs), 0.0, cutoffs)[:, None]
        value = compiled("shell.angular")(finite, unit, normals, self.degree)
        return np.where(np.isinf(cutoffs)[:, None], 0.0, value)

    def radial_sloppy(self, cutoffs: Array, unit: Array, normals: int) -> Array:
        """Return P(g|ξ|^{2k} < Λ) (cutoffs, directions): ``shell.angular_sloppy``."""
        if self.degree == 0:
            return np.where(unit >= cutoffs[:, None], 0.0, 1.0)
        finite = np.where(np.isinf(cutoffs), 0.0, cutoffs)[:, None]
        value = compiled("shell.angular_sloppy")(finite, unit, normals, self.degree)
        return np.where(np.isinf(cutoffs)[:, None], 1.0, value)

    def _replicates(self, x1: Array, x2: Array, cutoffs: Array) -> Iterator[tuple[Array, Array]]:
        """Yield per replicate E[hh'1{λ >= Λ}] and the sloppy fraction."""
        fisher = np.empty((0, self.net.d_in)) if self.law.points is None else self.law.points
        every = np.concatenate([x1, x2, fisher])
        split = np.cumsum([len(x1), len(x2)])
        activate = compile_activation(self.net.activation[-1].expr)
        one_layer = self.net.hidden_layers == 1
        factor = self._first_layer(every) if one_layer else root(last_hidden(self.net, every).c)
        size = factor.shape[1]
        for normal in gaussian_replicates(max(size, 1), self.samples, self.seed):
            if self.degree is not None:
                normal /= np.linalg.norm(normal, axis=1, keepdims=True)
            hidden = np.ascontiguousarray(normal[:, :size] @ factor.T)
            apply_activation(activate, hidden.reshape(-1))
            left, right, seen = np.split(hidden, split, axis=1)
            if self.law.points is None:
                diagonal = self._gaussian_fisher(normal)
            else:
                diagonal = np.einsum("si,si->s", seen, seen) / (seen.shape[1] * self.law.noise_variance)
            if self.degree is None:
                yield shell_averages(left, right, diagonal, cutoffs)
            else:
                normals = max(size, 1)
                shells = self.radial(cutoffs, diagonal, normals) / len(diagonal)
                sloppy = self.radial_sloppy(cutoffs, diagonal, normals)
                yield angular.shell_sums(left, right, shells), sloppy.mean(axis=1)

    def hidden(self, directions: Array, x: Array) -> Array:
        """Return σ of the preactivations at x, (directions, n), of units with the given normals."""
        hidden = np.ascontiguousarray(directions @ self._first_layer(x).T)
        apply_activation(compile_activation(self.net.activation[0].expr), hidden.reshape(-1))
        return hidden

    def unit_fisher(self, directions: Array) -> Array:
        """Return λ of units whose normals are the given directions (one hidden layer)."""
        if self.law.points is None:
            return self._gaussian_fisher(directions)
        seen = self.hidden(directions, self.law.points)
        value: Array = np.einsum("si,si->s", seen, seen) / (seen.shape[1] * self.law.noise_variance)
        return value

    def _first_layer(self, x: Array) -> Array:
        """Return the map (p, d_in[+ 1]) from a unit's own normals (weights[, bias]) to its preactivations."""
        weights: Array = self.net.sigma_w[0] * np.sqrt(self.net.layer_factor(0)) * x
        if self.net.sigma_b[0] == 0.0:
            return weights
        return np.column_stack([weights, np.full(len(x), self.net.sigma_b[0])])

    def _gaussian_fisher(self, normal: Array) -> Array:
        """Return λ of units with the given weight and bias normals, inputs N(input_mean, input_std²)."""
        weights = self.net.sigma_w[0] * np.sqrt(self.net.layer_factor(0)) * normal[:, : self.net.d_in]
        mean = weights @ self.law.input_mean
        if self.net.sigma_b[0]:
            mean = mean + self.net.sigma_b[0] * normal[:, self.net.d_in]
        deviation = np.sqrt((weights**2) @ self.law.input_std**2)
        return gaussian_fisher(self.net, mean, deviation, self.law.noise_variance)


def gaussian_fisher(net: MLP, mean: Array, deviation: Array, noise_variance: float) -> Array:
    """Return λ = E[σ(z)²]/s² for preactivations z ~ N(mean, deviation²) under Gaussian inputs, any activation."""
    activation = net.activation[0]
    if np.any(mean):
        value = unit_fisher(activation.expr)(mean, deviation, noise_variance)
    else:
        value = second_moment(activation.expr)(deviation**2) / noise_variance
    # Rounding must not make a weight that nothing depends on sloppy at Λ = 0.
    positive: Array = np.maximum(value, 0.0)
    return positive
