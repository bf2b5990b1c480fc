"""What is one neuron of a cosine network on average? Its momentum integrals I_p, Ω_α, and n-point functions.

All correlators of ``CosNet`` are made of these: formulas ``cosnet.transform*``, ``cosnet.moment_*``.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldflow.errors import BadInput
from fieldflow.formulas import compiled
from fieldflow.inputs import Array
from fieldflow.symbolic.cosnet_cumulants import sign_choices

_ROUNDING = 1e-14
"""Signed sums of points below this share of the largest coordinate are zero but for rounding."""


def distances(vectors: Array, size: float) -> Array:
    """Return the norms of signed sums of points (…, d) with coordinates up to ``size``, without rounding errors of 0."""
    found: Array = np.linalg.norm(vectors, axis=-1)
    return np.where(found <= _ROUNDING * size, 0.0, found)


@dataclass(frozen=True)
class Neuron:
    """The law of one neuron: density of b ∝ f_R(b)(b² + m²)^{-α-1}, amplitude (b² + m²)^{α/2}.

    ``sigma_w`` is None for the fixed amplitude √(2Ω_α).
    """

    d: int
    radius: float
    mass: float
    alpha: float
    gaussian: bool
    sigma_w: float | None

    def transform(self, power: float, y: Array) -> Array:
        """Return I_p(y) = ∫d^dk/(2π)^d f_R cos(k·y)/(k² + m²)^p at distances ``y`` >= 0.

        Raises
        ------
        BadInput
            Where the integral diverges: at m = 0 for 2p >= d, without a regulator at y = 0 for 2p <= d.

        >>> neuron = Neuron(3, math.inf, 0.0, 0.0, False, None)
        >>> float(neuron.transform(1.0, np.array([1.0]))[0] * 4 * math.pi)
        1.0
        """
        if self.mass == 0.0 and 2.0 * power >= self.d:
            raise BadInput(
                f"mass: expected > 0: the integral of 1/(k^2 + m^2)^p, p = {power:g}, diverges at k = 0 in d = {self.d}"
            )
        if self.radius == math.inf:
            return self._without_regulator(power, y)
        name = "cosnet.transform_gaussian" if self.gaussian else "cosnet.transform"
        values: Array = compiled(name)(y, self.d, power, self.radius, self.mass)
        if not np.all(np.isfinite(values)):
            raise BadInput(f"radius: I_p with p = {power:g} in d = {self.d} is beyond the range of floats")
        return values

    def _without_regulator(self, power: float, y: Array) -> Array:
        if 2.0 * power <= self.d and np.any(y == 0.0):
            raise BadInput(
                f"radius: expected a finite number: without a momentum cut-off the integral of 1/(k^2 + m^2)^p, "
                f"p = {power:g}, diverges in d = {self.d} where points, or their signed sums, coincide"
            )
        values: Array = compiled("cosnet.transform_infinite")(y, self.d, power, self.mass)
        return values

    @property
    def volume(self) -> float:
        """Ω_α = I_{α+1}(0)."""
        return float(self.transform(self.alpha + 1.0, np.zeros(1))[0])

    def moments(self, points: Array, tuples: NDArray[np.int64]) -> Array:
        """Return the n-point functions of one neuron at rows of indices into the points: (count, n) → (count,).

        >>> neuron = Neuron(1, 8.0, 1.0, -1.0, False, 1.0)
        >>> pairs = np.array([[0, 0], [0, 1]])
        >>> neuron.moments(np.array([[0.0], [0.5]]), pairs).round(6).tolist()
        [0.090403, 0.0588]
        """
        rank = tuples.shape[1]
        power = float(compiled("cosnet.moment_power")(self.alpha, rank))
        return self.moment(self._signed_sums(points, tuples, power), rank)

    def moment(self, summed: Array, rank: int) -> Array:
        """Return the n-point function of one neuron from the sum of I_p over signs that cancel, one of each pair ±s."""
        if self.sigma_w is None:
            found: Array = compiled("cosnet.moment_fixed")(summed, rank, self.volume)
        else:
            found = compiled("cosnet.moment_gaussian")(summed, rank, self.volume, self.sigma_w)
        return found

    def _signed_sums(self, points: Array, tuples: NDArray[np.int64], power: float) -> Array:
        """Return Σ_s I_p(|Σ s_i x_i|) of every row; equal signed sums are integrated once."""
        size = len(points)
        rows = np.arange(len(tuples))
        keys = []
        for choice in sign_choices(tuples.shape[1]):
            counts = np.zeros((len(tuples), size), np.int8)
            for leg, sign in enumerate(choice):
                counts[rows, tuples[:, leg]] += np.int8(sign)
            keys.append(_canonical(counts))
        every = np.ascontiguousarray(np.concatenate(keys))
        packed = every.view(np.dtype((np.void, size))).reshape(-1)
        _, first, place = np.unique(packed, return_index=True, return_inverse=True)
        centred = points - points.mean(axis=0)
        y = distances(every[first].astype(np.float64) @ centred, float(np.max(np.abs(points))))
        values = self.transform(power, y)[place.reshape(-1)]
        summed: Array = values.reshape(len(keys), len(tuples)).sum(axis=0)
        return summed


def _canonical(counts: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return the rows with their first entry that is not 0 positive: y and -y are one distance."""
    leading = counts[np.arange(len(counts)), np.argmax(counts != 0, axis=1)]
    turned: NDArray[np.int8] = np.where(leading[:, None] < 0, -counts, counts)
    return turned
