"""What does an ensemble of finite width do that an infinitely wide one does not? Its law to order 1/N, from one neuron.

Formulas ``finite_width.*``: the derivatives of ``shell.mean`` and ``shell.covariance`` along one neuron's contribution to
the kernels, averaged over neurons by randomised quasi-Monte Carlo, with a standard error.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fieldflow import inputs, memory
from fieldflow.errors import BadInput, NoClosedForm
from fieldflow.flow import TrainingFlow
from fieldflow.formulas import compiled
from fieldflow.inputs import Array
from fieldflow.kernels import nngp
from fieldflow.numeric import jets
from fieldflow.numeric.quadrature import REPLICATES, gaussian_replicates
from fieldflow.shell import ShellFlow


class Coefficient(NamedTuple):
    """The coefficient of 1/N, ([cutoffs,] points), and its standard error."""

    value: Array
    std_error: Array


class Corrections(NamedTuple):
    """N(E f - μ), N(Var f - Σ), N κ₃, N κ₄, and the part E[(Dμ)²] of the second."""

    mean: Coefficient
    variance: Coefficient
    third_cumulant: Coefficient
    fourth_cumulant: Coefficient
    spread_of_means: Coefficient


class Cumulants(NamedTuple):
    """N times the deviation of mean (m,) and covariance (m, m) from infinite width, N κ₃ (m, m, m) and N κ₄ (m, m, m, m)."""

    mean: Coefficient
    covariance: Coefficient
    third: Coefficient
    fourth: Coefficient


class Tensors(NamedTuple):
    """The values behind ``Cumulants``, with leading axes (replicates, cutoffs)."""

    mean: Array
    covariance: Array
    third: Array
    fourth: Array


class Kernels(NamedTuple):
    """K (m, m), K_> (cutoffs, m, m) without biases, and the read-out bias's part of K_> (cutoffs, 1, 1)."""

    prior: Array
    stiff: Array
    bias: Array


class Slopes(NamedTuple):
    """Derivatives along stacked deviations: Dμ, D²μ (s, p) and DC, D²C (s, p, p)."""

    mean: Array
    mean_twice: Array
    covariance: Array
    covariance_twice: Array


class FiniteWidth:
    """Law of a trained and coarse-grained ensemble to order 1/N (immutable).

    Parameters
    ----------
    flow : ShellFlow or TrainingFlow
        Of a network with one hidden layer and one output; the read-out is trained.
    samples : int
        Neurons in the average.
    seed : int

    Raises
    ------
    BadInput, NoClosedForm
        Deeper networks: their kernels are no averages over independent neurons.

    >>> from fieldflow import MLP
    >>> flow = TrainingFlow(MLP(1, depth=1, activation="relu"), [[1.0]], [1.0], learning_rate=0.5, steps=0)
    >>> found = FiniteWidth(flow).corrections([[1.0]]).fourth_cumulant  # untrained: 3 Var(h²) = 3 (3/2 - 1/4)
    >>> bool(abs(found.value[0] - 3.75) < 4 * found.std_error[0])
    True
    """

    def __init__(self, flow: ShellFlow | TrainingFlow, *, samples: int = 2**12, seed: int = 0) -> None:
        if isinstance(flow, TrainingFlow):
            # Without a cut-off nothing depends on the Fisher diagonal.
            flow = ShellFlow(flow, fisher=flow.x_train)
        if not isinstance(flow, ShellFlow):
            raise BadInput(f"flow: expected a fieldflow.ShellFlow or TrainingFlow, got {type(flow).__name__}")
        if flow.net.hidden_layers != 1:
            raise NoClosedForm(
                f"flow: the 1/N expansion about one neuron needs one hidden layer, got {flow.net.hidden_layers}"
            )
        if flow.net.d_out != 1:
            raise BadInput(f"flow: expected one output, got d_out = {flow.net.d_out}")
        if flow.flow.trained != "readout":
            raise NoClosedForm('flow: expected trained = "readout"; with all layers trained the kernels move')
        self.shell = flow
        self.samples = inputs.integer("samples", samples, minimum=64, maximum=2**24)
        self.seed = inputs.integer("seed", seed, minimum=0, maximum=2**64 - 1)

    def corrections(self, x: Any, cutoff: Any = 0.0) -> Corrections:
        """Return N times the deviations of the law at the points x (p, d_in) from that of infinite width.

        Formulas ``finite_width.mean``, ``finite_width.variance``, ``finite_width.kappa3`` and ``finite_width.kappa4`` at
        N = 1, each ([cutoffs,] points).
        """
        x = inputs.points("x", x, self.shell.net.d_in)
        grid, scalar = inputs.cutoffs(cutoff)
        found = np.array([[_averaged(slopes) for slopes in row] for row in self._neurons(x, grid)])
        error, value = found.std(axis=0, ddof=1) / np.sqrt(len(found)), found.mean(axis=0)
        parts = (Coefficient(value[:, i], error[:, i]) for i in range(value.shape[1]))
        return Corrections(*(Coefficient(part.value[0], part.std_error[0]) if scalar else part for part in parts))

    def cumulants(self, x: Any, cutoff: Any = 0.0) -> Cumulants:
        """Return N times the deviations of the joint law on a mesh from that of infinite width, to order 1/N.

        Formulas ``finite_width.mean``, ``finite_width.variance``, ``finite_width.kappa3`` and ``finite_width.kappa4`` at
        N = 1: connected correlators of equation (56) of arXiv:2405.17538, fully symmetric.

        Parameters
        ----------
        x : array_like (m, d_in)
        cutoff : float or array_like (cutoffs,)
            An array adds a leading axis to every tensor.

        Returns
        -------
        Cumulants
            Values and standard errors.

        Raises
        ------
        BadInput

        >>> from fieldflow import MLP
        >>> flow = TrainingFlow(MLP(1, depth=1, activation="relu"), [[1.0]], [1.0], learning_rate=0.5, steps=3)
        >>> FiniteWidth(flow).cumulants([[1.0], [-2.0]], [0.0, 0.5]).third.value.shape
        (2, 2, 2, 2)
        """
        x = inputs.points("x", x, self.shell.net.d_in)
        grid, scalar = inputs.cutoffs(cutoff)
        parts = [
            Coefficient(value.mean(axis=0), value.std(axis=0, ddof=1) / np.sqrt(len(value)))
            for value in self.replicates(x, grid)
        ]
        return Cumulants(*(Coefficient(part.value[0], part.std_error[0]) if scalar else part for part in parts))

    def replicates(self, x: Array, cutoffs: Array) -> Tensors:
        """Return what ``cumulants`` averages: independent replicates, (replicates, cutoffs, m, ...)."""
        m, neurons = len(x), self.samples
        memory.require(8 * (2 * REPLICATES * len(cutoffs) * m**4 + neurons * m * m), f"fourth cumulants on {m} points")
        found = [[_joint_averages(slopes) for slopes in row] for row in self._neurons(x, cutoffs)]
        return Tensors(*(np.array([[entry[i] for entry in row] for row in found]) for i in range(4)))

    def kernels(self, x: Array, cutoffs: Array) -> Kernels:
        """Return K (m, m) and K_> (cutoffs, m, m) at infinite width, without biases; rows: training inputs, then x."""
        every = np.concatenate([self.shell.flow.x_train, x])
        prior = nngp(self.shell.net, every) - self.shell.net.sigma_b[-1] ** 2
        kernel = self.shell.kernel
        return Kernels(
            prior, kernel(every, every, cutoffs).value - kernel.bias_part(cutoffs), kernel.bias_part(cutoffs)
        )

    def slopes(self, kernels: Kernels, whole: Array, stiff: Array) -> list[Slopes]:
        """Return the derivatives along kernels that are not those of infinite width, at each cut-off.

        ``whole`` (s, m, m) and ``stiff`` (cutoffs, s, m, m) are such kernels: those of single neurons, or of members.
        """
        flow = self.shell.flow
        n = len(flow.x_train)
        train, there = slice(None, n), slice(n, None)
        away = whole - kernels.prior
        change = np.ascontiguousarray(away[:, train, train])
        matrix, first, second = self.training_jet(change)
        target = flow.y_train.reshape(n, 1)
        found = []
        for own, part, bias in zip(stiff, kernels.stiff, kernels.bias, strict=True):
            response = part[train, there] + bias
            moved = np.ascontiguousarray((own - part)[:, train, there])
            rest = away if self.shell.mode == "resample" else own - part
            prior = np.ascontiguousarray(rest[:, there, there])
            arguments = (response, response, moved, moved, flow.prior, change)
            found.append(
                Slopes(
                    compiled("finite_width.mean_slope")(matrix, first, response, moved, target)[..., 0],
                    compiled("finite_width.mean_curvature")(first, second, response, moved, target)[..., 0],
                    compiled("finite_width.covariance_slope")(matrix, first, *arguments, prior),
                    compiled("finite_width.covariance_curvature")(matrix, first, second, *arguments),
                )
            )
        return found

    def training_jet(self, change: Array) -> tuple[Array, Array, Array]:
        """Return M (n, n) and its first and second derivatives (..., n, n) along the stacked changes of K(X, X)."""
        flow = self.shell.flow
        n = len(flow.x_train)
        if math.isinf(flow.steps):
            slope = compiled("finite_width.posterior_slope")(flow.matrix, change)
            return flow.matrix, slope, compiled("finite_width.posterior_curvature")(flow.matrix, change)
        gram = np.stack([np.broadcast_to(flow.prior, change.shape), change, np.zeros_like(change)])
        if flow.method == "sgd":
            jet = jets.sequential(gram, 2.0 * flow.learning_rate, int(flow.steps))
        elif flow.method == "gd":
            jet = jets.full_batch(gram, 2.0 * flow.learning_rate / n, int(flow.steps))
        else:
            jet = jets.gradient_flow(gram, 2.0 * flow.learning_rate / n, float(flow.steps))
        return flow.matrix, jet[1], 2.0 * jet[2]

    def _neurons(self, x: Array, cutoffs: Array) -> Iterator[list[Slopes]]:
        """Yield the derivatives along the neurons of each replicate, one per cut-off."""
        kernel, kernels = self.shell.kernel, self.kernels(x, cutoffs)
        every = np.concatenate([self.shell.flow.x_train, x])
        scale = self.shell.net.sigma_w[-1] ** 2 * self.shell.net.layer_factor(1)
        for normals in gaussian_replicates(kernel.normals, self.samples, self.seed):
            hidden, diagonal = kernel.hidden(normals, every), kernel.unit_fisher(normals)
            own = scale * hidden[:, :, None] * hidden[:, None, :]
            kept = (diagonal >= cutoffs[:, None])[:, :, None, None]
            yield self.slopes(kernels, own, own * kept)


def _averaged(slopes: Slopes) -> Array:
    """Return the averages over neurons behind the fields of ``Corrections``, (fields, points)."""
    slope, curvature = (np.diagonal(part, axis1=-2, axis2=-1) for part in (slopes.covariance, slopes.covariance_twice))
    square, mixed = slopes.mean**2, slopes.mean * slope
    fields = (
        compiled("finite_width.mean")(slopes.mean_twice, 1.0),
        compiled("finite_width.variance")(square, curvature, 1.0),
        compiled("finite_width.kappa3")(mixed, mixed, mixed, 1.0),
        compiled("finite_width.kappa4")(slope**2, slope**2, slope**2, 1.0),
        square,
    )
    return np.array([np.mean(field, axis=0) for field in fields])


def _joint_averages(slopes: Slopes) -> tuple[Array, Array, Array, Array]:
    """Return the averages over neurons behind the fields of ``Cumulants``, at all tuples of points."""
    count, m = slopes.mean.shape
    pairs = slopes.covariance.reshape(count, m * m)
    spread = slopes.mean.T @ slopes.mean / count
    mixed = (slopes.mean.T @ pairs / count).reshape(m, m, m)
    products = (pairs.T @ pairs / count).reshape(m, m, m, m)
    # The pairings of kappa3 are 1|23, 2|13, 3|12, those of kappa4 12|34, 13|24, 14|23.
    return (
        compiled("finite_width.mean")(slopes.mean_twice.mean(axis=0), 1.0),
        compiled("finite_width.variance")(spread, slopes.covariance_twice.mean(axis=0), 1.0),
        compiled("finite_width.kappa3")(mixed, mixed.transpose(1, 0, 2), mixed.transpose(1, 2, 0), 1.0),
        compiled("finite_width.kappa4")(products, products.transpose(0, 2, 1, 3), products.transpose(0, 2, 3, 1), 1.0),
    )
