"""What is the density of a finite network at one point, exactly? Fourier inversion of its characteristic function.

One hidden layer and a Gaussian read-out: formula ``edgeworth.characteristic``, one neuron's average by quadrature.
"""

import math
import warnings
from typing import Any, NamedTuple

import numpy as np

from fieldflow import inputs
from fieldflow.errors import BadInput, InaccurateResult, NoClosedForm
from fieldflow.formulas import compiled
from fieldflow.inputs import Array
from fieldflow.network import MLP
from fieldflow.numeric.fourier import cosine_transform
from fieldflow.numeric.mlp import apply_activation
from fieldflow.numeric.neuron import MOST_ZEROS, NeuronLaw, Table, TooManyZeros, mixture, neuron_law
from fieldflow.symbolic.activations import kinks

_FAR = np.array([1e8, 1e10])
_LARGEST_LOG = 745.0
"""-ln of the smallest positive float."""


class PointDensity(NamedTuple):
    """Density (k,) of the continuous part, its estimated error (k,), and the probability ``atom`` of the value 0."""

    value: Array
    error: Array
    atom: float


def exact_density(net: MLP, x: Any, values: Any, *, tolerance: float = 1e-12) -> PointDensity:
    """Return the density of f(x) of a network with one hidden layer, at any width; ``edgeworth.characteristic``.

    p(y) = (1/π) ∫ cos(ty) ψ(t)^N e^{-σ_b²t²/2} dt.  Where a neuron is off with probability a > 0 (rectifiers: ½) and the
    read-out has no bias, f = 0 exactly with probability a^N: that atom is returned apart and the density is that of the
    rest.  Networks in which a single neuron is on give it a logarithmic singularity at y = 0, of weight N a^{N-1}: the
    value there is infinite as long as that weight counts at the tolerance.

    Parameters
    ----------
    net : MLP
        One hidden layer of finite width, one output.
    x : array_like (1, d_in)
        The point.
    values : array_like (k,)
        Where the density is wanted; |y| below 1e-8 standard deviations but not 0 costs accuracy.
    tolerance : float
        Absolute, in units of 1/(standard deviation of f).

    Returns
    -------
    PointDensity
        value (k,), error (k,), atom.

    Raises
    ------
    BadInput
        For more than one point, a network whose f(x) is always 0, or an activation that oscillates too fast.
    NoClosedForm
        For deeper networks, whose neurons are not independent.

    Warns
    -----
    InaccurateResult
        If the estimated error is above the tolerance.

    >>> net = MLP(1, widths=(2,), activation="identity")  # Laplace's law: e^{-√2|y|}/√2
    >>> found = exact_density(net, [[1.0]], [0.0, 1.0])
    >>> found.value.round(12).tolist(), found.atom
    ([0.707106781187, 0.171909491538], 0.0)
    """
    _check(net)
    preactivation = _preactivation(net, x)
    values = inputs.real_array("values", values)
    if values.ndim != 1:
        raise BadInput(f"values: expected shape (k,), got {values.shape}")
    tolerance = inputs.real("tolerance", tolerance, minimum=0.0, maximum=1.0, strict=True)
    field = _Field(net, *_laws(net, preactivation))
    transform, error = cosine_transform(field.continuous, np.abs(values) / field.spread, 0.1 * tolerance)
    if field.singular * _LARGEST_LOG > tolerance:
        transform, error = np.where(values == 0.0, np.inf, transform), np.where(values == 0.0, 0.0, error)
    error = (error + field.drift) / np.pi
    if np.any(error > tolerance):
        warnings.warn(
            f"exact_density: the estimated error {np.max(error):.1e} (over the standard deviation of f) is above the "
            f"tolerance {tolerance:g}",
            InaccurateResult,
            stacklevel=2,
        )
    return PointDensity(transform / (np.pi * field.spread), error / field.spread, field.atom)


class _Field:
    """The characteristic function of f(x) in units of its standard deviation ``spread``, the ``atom`` at 0 taken out."""

    def __init__(self, net: MLP, law: NeuronLaw, rough: NeuronLaw) -> None:
        self.width, self.bias = net.finite_widths[0], net.sigma_b[1]
        self.spread = math.sqrt(self.width * net.readout_variance * law.mean_square + self.bias**2)
        if self.spread == 0.0:
            raise BadInput("net: f(x) = 0 for every network at this point: it has no density")
        self.scale = math.sqrt(net.readout_variance) / self.spread
        self.off = law.atom
        self.atom = law.atom**self.width if self.bias == 0.0 else 0.0
        self.table = Table(law)
        # What the neuron's own quadrature leaves uncertain, as a bound on the transform.
        apart = np.abs(self.table.values - mixture(rough, self.table.tau))
        self.drift = self.width * (float(np.max(apart)) + abs(law.atom - rough.atom))

    def continuous(self, t: Array) -> Array:
        """Return χ(t) - a^N, any shape."""
        on = self.table(t * self.scale)
        whole: Array = compiled("edgeworth.characteristic")(
            on + self.off, float(self.width), t, self.bias / self.spread
        )
        if self.atom == 0.0:
            return whole
        # Without cancellation where the neurons that are on hardly count.
        rest: Array = whole * -np.expm1(-self.width * np.log1p(on / self.off))
        return rest

    @property
    def singular(self) -> float:
        """C of a tail C/t, which is -(C/π) ln|y| in the density; of slower tails too, and 0 of faster ones."""
        near, far = np.abs(self.continuous(_FAR)) * _FAR
        return float(far) if far > 0.5 * near else 0.0


def _check(net: Any) -> None:
    """Refuse what is no network with one hidden layer and one output."""
    if not isinstance(net, MLP):
        raise BadInput(f"net: expected a fieldflow.MLP, got {type(net).__name__}")
    if net.hidden_layers != 1:
        raise NoClosedForm(f"net: expected one hidden layer of independent neurons, got {net.hidden_layers}")
    if net.d_out != 1:
        raise BadInput(f"net: expected one output, got d_out = {net.d_out}")


def _preactivation(net: MLP, x: Any) -> float:
    """Return the variance of a preactivation at one point."""
    x = inputs.points("x", x, net.d_in)
    if len(x) != 1:
        raise BadInput(f"x: expected one point (1, {net.d_in}), got {x.shape}; densities at more: ff.Edgeworth")
    return net.sigma_b[0] ** 2 + net.sigma_w[0] ** 2 * net.layer_factor(0) * float(x[0] @ x[0])


def _laws(net: MLP, variance: float) -> tuple[NeuronLaw, NeuronLaw]:
    """Return one neuron's law by two rules."""
    activation, compiled_activation = net.activation[0], net.compiled_activations()[0]

    def function(z: Array) -> Array:
        found = np.array(z, dtype=np.float64)
        apply_activation(compiled_activation, found)
        return found

    breaks = tuple(float(kink) for kink in kinks(activation.expr))
    try:
        return neuron_law(function, breaks, variance), neuron_law(function, breaks, variance, 16)
    except TooManyZeros as error:
        raise BadInput(
            f"net: expected an activation with at most {MOST_ZEROS} zeros within reach of its input, found {error}"
        ) from error
