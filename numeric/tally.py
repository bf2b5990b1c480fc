"""How is a quantity distributed over any number of members? Sums of powers, and counts in fixed bins.

Memory depends on the number of cells (quantities) only.  The bins of a cell are finest about a reference point and grow with
the distance from it, 64 to an octave, so that tails of any weight are seen; counts are whole numbers, and tallies with the
same reference add up to the same counts in any order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import comb

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.jit import vectorised

HIGHEST = 6
"""Order of the highest moment; sums go to twice that order, for its error."""

Array = NDArray[np.float64]

_BITS = 6
"""Leading bits of the mantissa that number the bins of one octave."""
_SHIFT = 52 - _BITS
_FIRST = 2.0**-10
"""Half the width of the bin about the reference point, in units of the scale."""
_OCTAVES = 30
_SIDE = _OCTAVES << _BITS
_ONE = int(np.float64(1.0).view(np.int64)) >> _SHIFT

BINS = 2 * _SIDE + 1
_UPPER = np.append(((_ONE + np.arange(_SIDE)) << _SHIFT).view(np.float64) * _FIRST, np.inf)
_EDGES = np.concatenate([-_UPPER[::-1], _UPPER])


@dataclass(frozen=True)
class Reference:
    """Where the bins of each cell are finest, and their unit of length, both (cells,)."""

    centre: Array
    scale: Array

    @classmethod
    def of(cls, values: Array) -> "Reference":
        """Return mean and standard deviation of a few values (n, cells); a constant is its own scale."""
        centre = values.mean(axis=0)
        scale = values.std(axis=0)
        scale = np.where(scale > 1e-14 * np.abs(centre), scale, np.abs(centre))
        return cls(centre, np.where(scale > 0.0, scale, 1.0))


@dataclass
class Tally:
    """What is known about the values seen so far, each cell by itself.

    Parameters
    ----------
    reference : Reference
        Tallies merge if their references are the same.

    >>> tally = Tally(Reference(np.zeros(1), np.ones(1)))
    >>> tally.add(np.arange(5.0)[:, None])
    >>> tally.count, tally.mean.tolist(), tally.central(2).tolist()
    (5, [2.0], [2.0])
    """

    reference: Reference
    count: int = field(default=0, init=False)
    mean: Array = field(init=False)
    sums: Array = field(init=False)
    low: Array = field(init=False)
    high: Array = field(init=False)
    counts: NDArray[np.uint32] = field(init=False)

    def __post_init__(self) -> None:
        cells = len(self.reference.centre)
        self.mean, self.sums = np.zeros(cells), np.zeros((2 * HIGHEST - 1, cells))
        self.low, self.high = np.full(cells, np.inf), np.full(cells, -np.inf)
        self.counts = np.zeros((cells, BINS), np.uint32)

    def add(self, values: Array) -> None:
        """Add finite values (n, cells)."""
        if not len(values):
            return
        mean, sums = np.zeros(values.shape[1]), np.zeros((2 * HIGHEST - 1, values.shape[1]))
        _sum_powers(np.ascontiguousarray(values), mean, sums)
        self._add_sums(len(values), mean, sums)
        _count(
            np.ascontiguousarray(values), self.reference.centre, self.reference.scale, self.counts, self.low, self.high
        )

    def merge(self, other: "Tally") -> None:
        """Add what another tally with the same reference has seen."""
        if not other.count:
            return
        self._add_sums(other.count, other.mean, other.sums)
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        self.counts += other.counts

    def _add_sums(self, count: int, mean: Array, sums: Array) -> None:
        """Combine the sums about two means to sums about the common mean (Chan, Golub and LeVeque; binomial theorem)."""
        total = self.count + count
        centre = self.mean + (mean - self.mean) * (count / total)
        moved = _about(self.count, self.mean - centre, self.sums) + _about(count, mean - centre, sums)
        self.count, self.mean, self.sums = total, centre, moved

    def central(self, order: int) -> Array:
        """Return the mean of (f - mean)^order, (cells,), order from 0 to 12."""
        known = [np.full_like(self.mean, self.count), np.zeros_like(self.mean), *self.sums]
        result: Array = known[order] / self.count
        return result

    def error(self, influence: Sequence[Array]) -> Array:
        """Return the standard error (cells,) of a statistic whose influence function is Σ_k influence[k] (f - mean)^k."""
        square = sum(a * b * self.central(i + j) for i, a in enumerate(influence) for j, b in enumerate(influence))
        result: Array = np.sqrt(np.maximum(square, 0.0) / self.count)
        return result

    @property
    def variance(self) -> Array:
        """Return the unbiased variance (cells,)."""
        result: Array = self.sums[0] / max(self.count - 1, 1)
        return result

    def quantile(self, level: float) -> Array:
        """Return the quantile (cells,): linear within a bin, whose width is at most 1/64 of the distance from the centre."""
        found = np.empty(len(self.mean))
        for cell in range(len(found)):
            below = np.cumsum(self.counts[cell], dtype=np.float64)
            wanted = level * self.count
            at = min(int(np.searchsorted(below, wanted)), int(np.searchsorted(below, self.count)))
            inside = float(self.counts[cell, at])
            share = 1.0 - (below[at] - wanted) / inside if inside else 1.0
            left, right = self._edges(cell)[at : at + 2]
            found[cell] = left + share * (right - left)
        return found

    def distribution(self, cell: int, at: Array) -> Array:
        """Return the share of values below each point of ``at`` in one cell."""
        below = np.concatenate([[0.0], np.cumsum(self.counts[cell], dtype=np.float64)]) / self.count
        result: Array = np.interp(at, self._edges(cell), below, left=0.0, right=1.0)
        return result

    def _edges(self, cell: int) -> Array:
        """Return the edges of the bins, no wider than the values seen."""
        edges = self.reference.centre[cell] + _EDGES * self.reference.scale[cell]
        result: Array = np.clip(edges, self.low[cell], self.high[cell])
        return result


@vectorised
def _sum_powers(values, mean, sums):  # type: ignore[no-untyped-def]
    """Fill mean (cells,) of values (n, cells) and sums (orders, cells): Σ (f - mean)^k for k = 2, 3, …"""
    n, cells = values.shape
    for i in range(n):
        for cell in range(cells):
            mean[cell] += values[i, cell]
    for cell in range(cells):
        mean[cell] /= n
    for i in range(n):
        for cell in range(cells):
            centred = values[i, cell] - mean[cell]
            power = centred
            for order in range(sums.shape[0]):
                power *= centred
                sums[order, cell] += power


@vectorised
def _count(values, centre, scale, counts, low, high):  # type: ignore[no-untyped-def]
    """Count values (n, cells) in their bins (cells, BINS), and widen the extremes (cells,)."""
    for i in range(values.shape[0]):
        for cell in range(values.shape[1]):
            value = values[i, cell]
            low[cell], high[cell] = min(low[cell], value), max(high[cell], value)
            scaled = (value - centre[cell]) / scale[cell]
            size = np.float64(abs(scaled) / _FIRST)
            steps = min(max(np.int64((size.view(np.int64) >> _SHIFT) - _ONE + 1), np.int64(0)), np.int64(_SIDE))
            counts[cell, _SIDE - steps if scaled < 0.0 else _SIDE + steps] += np.uint32(1)


def _about(count: int, shift: Array, sums: Array) -> Array:
    """Return Σ (f - c)^k for k = 2, 3, … from the sums about the mean; ``shift`` is mean - c."""
    known = [np.full_like(shift, count), np.zeros_like(shift), *sums]
    return np.array([sum(comb(k, j) * shift ** (k - j) * known[j] for j in range(k + 1)) for k in range(2, len(known))])
