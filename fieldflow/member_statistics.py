"""How are the outputs of very many members distributed? Means, covariances, moments, quantiles, with standard errors.

Members come and go block by block; what is kept depends on the number of points and cut-offs only.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fieldflow import inputs, memory
from fieldflow.errors import BadInput
from fieldflow.inputs import Array
from fieldflow.numeric.comoments import Comoments
from fieldflow.numeric.tally import BINS, HIGHEST, Reference, Tally
from fieldflow.progress import LateBar
from fieldflow.workers import AHEAD, BLOCK, in_turn

BYTES_PER_CELL = 4 * BINS + 8 * 2 * HIGHEST
"""What is kept of one output at one cut-off."""


class Histogram(NamedTuple):
    """Edges (bins + 1,), density and its standard error (bins,)."""

    edges: Array
    density: Array
    std_error: Array


@dataclass(frozen=True)
class Statistics:
    """The distribution of f over members, from ``Ensemble.statistics``; every array has the shape of one member's outputs,
    ([cutoffs,] points[, outputs]).

    Attributes
    ----------
    layout : tuple of int
        Cut-offs, points, outputs; ``scalar`` says that there is no axis of cut-offs, and one output has none of outputs.
    count, excluded : int
        Members behind the numbers, and those left out because their training diverged.
    ranges : tuple of (int, int)
        First member and number of each range.
    """

    layout: tuple[int, int, int]
    scalar: bool
    excluded: int
    ranges: tuple[tuple[int, int], ...]
    identity: str
    _tally: Tally
    _both: Comoments

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one member's outputs."""
        cutoffs, points, outputs = self.layout
        return (*(() if self.scalar else (cutoffs,)), points, *(() if outputs == 1 else (outputs,)))

    @property
    def count(self) -> int:
        """Return how many members the numbers are of."""
        return self._tally.count

    @property
    def mean(self) -> Array:
        """Return the mean."""
        return self._shaped(self._tally.mean)

    @property
    def mean_std_error(self) -> Array:
        """Return the standard error of the mean."""
        return self._shaped(np.sqrt(self._tally.variance / self.count))

    @property
    def variance(self) -> Array:
        """Return the variance, without bias."""
        return self._shaped(self._tally.variance)

    @property
    def variance_std_error(self) -> Array:
        """Return the standard error of the variance, from the fourth moment."""
        return self.moment_std_error(2)

    @property
    def covariance(self) -> Array:
        """Return the covariance between points, ([cutoffs,] points, points[, outputs])."""
        return self._between(self._both.covariance)

    @property
    def covariance_std_error(self) -> Array:
        """Return the standard error of the covariance, from mixed fourth moments."""
        return self._between(self._both.covariance_error)

    def moment(self, order: Any) -> Array:
        """Return the mean of (f - mean)^order, order from 2 to 6."""
        return self._shaped(self._tally.central(self._order(order)))

    def moment_std_error(self, order: Any) -> Array:
        """Return its standard error (influence function c^k - m_k - k m_{k-1} c with c = f - mean)."""
        k, central = self._order(order), self._tally.central
        influence = [np.zeros_like(self._tally.mean)] * (k + 1)
        influence[0], influence[1], influence[k] = -central(k), -k * central(k - 1), np.ones_like(central(k))
        return self._shaped(self._tally.error(influence))

    @property
    def excess_kurtosis(self) -> Array:
        """Return m_4/m_2² - 3, zero for a Gaussian; NaN where f does not vary."""
        m2, m4 = self._tally.central(2), self._tally.central(4)
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._shaped(m4 / m2**2 - 3.0)

    @property
    def excess_kurtosis_std_error(self) -> Array:
        """Return its standard error, from the influence function of the ratio."""
        m2, m3, m4 = (self._tally.central(k) for k in (2, 3, 4))
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = m2**-2.0
            influence = [m4 * scale, -4.0 * m3 * scale, -2.0 * m4 / m2**3, np.zeros_like(m2), scale]
            return self._shaped(self._tally.error(influence))

    def quantile(self, level: Any) -> Array:
        """Return the quantile of a level between 0 and 1; exact to 1/64 of the distance from where most members are, mostly
        far better (linear within bins).

        Raises
        ------
        BadInput
        """
        return self._shaped(self._tally.quantile(self._level(level)))

    def quantile_std_error(self, level: Any) -> Array:
        """Return its standard error: half the distance between the quantiles one binomial standard error below and above."""
        value = self._level(level)
        step = sqrt(value * (1.0 - value) / self.count)
        low, high = self._tally.quantile(max(value - step, 0.0)), self._tally.quantile(min(value + step, 1.0))
        return self._shaped(0.5 * (high - low))

    def histogram(self, *index: int, bins: Any = 40) -> Histogram:
        """Return the density of f at one ([cutoff,] point[, output]) between its extremes, in equal bins.

        Raises
        ------
        BadInput
        """
        if len(index) != len(self.shape) or not all(
            isinstance(i, int | np.integer) and 0 <= i < n for i, n in zip(index, self.shape, strict=True)
        ):
            raise BadInput(f"index: expected one position within each of {self.shape}, got {index}")
        number = inputs.integer("bins", bins, minimum=1, maximum=10_000)
        cell = int(np.ravel_multi_index(index, self.shape))
        low, high = float(self._tally.low[cell]), float(self._tally.high[cell])
        if low == high:
            raise BadInput(f"index: f is {low:g} for every member there and has no density")
        edges = np.linspace(low, high, number + 1)
        share = np.diff(self._tally.distribution(cell, edges))
        widths = np.diff(edges)
        return Histogram(edges, share / widths, np.sqrt(share * (1.0 - share) / self.count) / widths)

    def merge(self, other: "Statistics") -> "Statistics":
        """Return the statistics of the members of both.

        Raises
        ------
        BadInput
            If they are not of the same ensemble and points, or share members.
        """
        if not isinstance(other, Statistics):
            raise BadInput(f"other: expected Statistics, got {type(other).__name__}")
        if other.identity != self.identity:
            raise BadInput(
                "other: expected statistics of the same ensemble (network, seed, training, cut-offs) and points"
            )
        ranges = joined([*self.ranges, *other.ranges])
        tally = Tally(self._tally.reference)
        both = Comoments(self._both.reference)
        for part in (self, other):
            tally.merge(part._tally)
            both.merge(part._both)
        return replace(self, excluded=self.excluded + other.excluded, ranges=ranges, _tally=tally, _both=both)

    def _shaped(self, cells: Array) -> Array:
        return cells.reshape(self.shape)

    def _between(self, groups: Array) -> Array:
        """Return (cutoffs·outputs, points, points) in the shape of the outputs with the points twice."""
        cutoffs, points, outputs = self.layout
        spread = np.moveaxis(groups.reshape(cutoffs, outputs, points, points), 1, -1)
        at = 0 if self.scalar else 1
        result: Array = spread.reshape(*self.shape[: at + 1], points, *self.shape[at + 1 :])
        return result

    def _order(self, order: Any) -> int:
        return inputs.integer("order", order, minimum=2, maximum=HIGHEST)

    def _level(self, level: Any) -> float:
        return inputs.real("level", level, minimum=0.0, maximum=1.0)


Block = tuple[Array, NDArray[np.bool_]]
"""Outputs (members, cutoffs, points, outputs) of one block, and which members diverged."""


def collect(
    work: Callable[[int, int, NDArray[np.uint8]], Block],
    first: int,
    count: int,
    *,
    layout: tuple[int, int, int],
    scalar: bool,
    identity: str,
    threads: int,
    progress: bool,
) -> Statistics:
    """Return the statistics of members first … first + count - 1, where ``work`` runs one block.

    The bins are laid out about the ensemble's first block, whichever members are asked for, so that any parts merge.

    Raises
    ------
    BadInput
        If every member diverged, the sums would not fit into memory, or outputs overflow.
    """
    cutoffs, points, outputs = layout
    cells = cutoffs * points * outputs
    needed = cells * BYTES_PER_CELL + 32 * cutoffs * outputs * points**2 + 16 * BLOCK * (AHEAD + 1) * threads * cells
    memory.require(needed, f"statistics of {points} points at {cutoffs} cut-offs")
    with threadpool_limits(limits=1, user_api="blas"):
        values = _used(work(0, BLOCK, np.zeros(1, np.uint8)))
    if not len(values):
        raise BadInput(f"training: all of the first {BLOCK} members diverged; expected a smaller learning_rate")
    tally = Tally(Reference.of(values.reshape(len(values), cells)))
    both = Comoments(_grouped(values).mean(axis=0))
    pieces = [(start, min(BLOCK, first + count - start)) for start in range(first, first + count, BLOCK)]
    with (
        LateBar(progress, count) as bar,
        closing(in_turn(lambda p, stop: work(*p, stop), pieces, threads=threads)) as done,
    ):
        for (_, size), block in zip(pieces, done, strict=True):
            values = _used(block)
            tally.add(values.reshape(len(values), cells))
            both.add(_grouped(values))
            bar.advance(size)
    if not tally.count:
        raise BadInput("training: every member diverged; expected a smaller learning_rate")
    if not np.all(np.isfinite(tally.mean)):
        raise BadInput("x: outputs exceed the range of floats there")
    return Statistics(layout, scalar, count - tally.count, ((first, count),), identity, tally, both)


def joined(ranges: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return ranges (first, count) in order, neighbours joined; BadInput if they overlap.

    >>> joined([(128, 64), (0, 64), (64, 64)])
    ((0, 192),)
    """
    found: list[tuple[int, int]] = []
    for first, count in sorted(ranges):
        if found and first < sum(found[-1]):
            raise BadInput(f"other: expected other members, member {first} is in both")
        if found and first == sum(found[-1]):
            found[-1] = found[-1][0], found[-1][1] + count
        else:
            found.append((first, count))
    return tuple(found)


def digest(parts: Iterable[Any]) -> str:
    """Return a digest of numbers, arrays and texts: equal for equal ensembles."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part.tobytes() + repr(part.shape).encode() if isinstance(part, np.ndarray) else repr(part).encode()
        hasher.update(len(data).to_bytes(8, "little") + data)
    return hasher.hexdigest()


def _used(block: Block) -> Array:
    outputs, diverged = block
    return outputs[~diverged]


def _grouped(values: Array) -> Array:
    """Return (members, cutoffs·outputs, points)."""
    members, cutoffs, points, outputs = values.shape
    return values.swapaxes(2, 3).reshape(members, cutoffs * outputs, points)
