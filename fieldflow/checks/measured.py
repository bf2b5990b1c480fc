"""What is known about one quantity over all members? Some of them one by one, all of them as running sums and counts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fieldflow.inputs import Array
from fieldflow.numeric.statistics import bootstrap_errors
from fieldflow.numeric.tally import Reference, Tally

KEPT = 4096
"""Members that are kept one by one: all of most ensembles; of larger ones enough to estimate errors by the bootstrap."""


@dataclass
class Measured:
    """A quantity with a fixed number of cells, seen block by block in the order of the members.

    Statistics of at most ``KEPT`` members are those of the sample; of more, those of all members by their tally.
    """

    tally: Tally | None = None
    parts: list[Array] = field(default_factory=list)
    kept: int = 0

    def add(self, values: Array) -> None:
        """Add values (n, cells)."""
        if not len(values):
            return
        if self.tally is None:
            self.tally = Tally(Reference.of(values))
        self.tally.add(values)
        room = KEPT - self.kept
        if room > 0:
            self.parts.append(values[:room].copy())
            self.kept += len(self.parts[-1])

    @property
    def first(self) -> Array:
        """Return the values (kept, cells) of the first members."""
        if len(self.parts) > 1:
            self.parts = [np.concatenate(self.parts)]
        return self.parts[0]

    @property
    def _all(self) -> Tally:
        if self.tally is None:
            raise ValueError("no values were added")
        return self.tally

    @property
    def count(self) -> int:
        """Return how many members were seen."""
        return 0 if self.tally is None else self.tally.count

    @property
    def mean(self) -> Array:
        """Return the mean (cells,)."""
        return self._all.mean if self.kept < self.count else self.first.mean(axis=0)

    @property
    def std(self) -> Array:
        """Return the standard deviation (cells,), without bias in its square."""
        return np.sqrt(self._all.variance) if self.kept < self.count else self.first.std(axis=0, ddof=1)

    @property
    def mean_error(self) -> Array:
        """Return the standard error of the mean (cells,)."""
        result: Array = self.std / np.sqrt(self.count)
        return result

    def central(self, order: int) -> Array:
        """Return the mean of (f - mean)^order, (cells,)."""
        return self._all.central(order)

    def quantile(self, level: float) -> Array:
        """Return the quantile (cells,)."""
        if self.kept < self.count:
            return self._all.quantile(level)
        result: Array = np.quantile(self.first, level, axis=0)
        return result

    def counts(self, cell: int, edges: Array) -> Array:
        """Return how many values of one cell lie between consecutive edges."""
        if self.kept < self.count:
            result: Array = np.diff(self._all.distribution(cell, edges)) * self.count
            return result
        return np.histogram(self.first[:, cell], bins=edges)[0].astype(np.float64)

    def bootstrap(
        self, statistic: Callable[[Array], Array], *, seed: int, cells: Any = slice(None), resamples: int = 400
    ) -> tuple[Array, Array]:
        """Return standard error (k,) and covariance (k, k) of ``statistic``: (members, chosen cells) → (k,).

        The members that are kept are resampled; variances scale with the inverse number of all.
        """
        errors, covariance = bootstrap_errors(self.first[:, cells], statistic, seed=seed, resamples=resamples)
        share = self.kept / self.count
        return errors * np.sqrt(share), covariance * share
