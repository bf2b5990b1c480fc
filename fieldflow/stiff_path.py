"""How does the stiff part of the prior shrink between two cut-offs? K_> and κ = -∂_ΛK_> along Λ, closed or tabulated."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from fieldflow.errors import BadInput
from fieldflow.formulas import compiled
from fieldflow.inputs import Array
from fieldflow.shell_kernel import ShellKernel


class StiffPath(Protocol):
    """K_>(Λ) on a mesh."""

    def kernel(self, cutoff: float) -> Array:
        """Return K_>, (m, m)."""

    def rate(self, cutoff: float, beside: float | None = None) -> Array:
        """Return κ = -∂_ΛK_>, (m, m); where it jumps, its value on the side of ``beside`` (above, by default)."""

    def smooth(self, start: float, stop: float) -> Iterator[tuple[float, float]]:
        """Yield the stretches from ``start`` to ``stop`` on which κ is smooth."""


@dataclass(frozen=True)
class HomogeneousPath:
    """K_> = Z(Λ)K and κ = γZK/Λ: formulas ``shell.homogeneous_Z`` and ``shell.gamma``."""

    prior: Array
    shell: ShellKernel

    def kernel(self, cutoff: float) -> Array:
        """Return Z(Λ)K."""
        value: Array = self.shell.stiff_factor(np.array([cutoff]))[0] * self.prior
        return value

    def rate(self, cutoff: float, beside: float | None = None) -> Array:
        """Return γZK/Λ; at Λ = 0 nothing changes, for no unit has λ = 0 there."""
        if cutoff == 0.0 or np.isinf(cutoff):
            return np.zeros_like(self.prior)
        gamma = float(compiled("shell.gamma")(*self.shell.homogeneous_values(cutoff)))
        return gamma / cutoff * self.kernel(cutoff)

    def smooth(self, start: float, stop: float) -> Iterator[tuple[float, float]]:
        """Yield the one stretch."""
        yield start, stop


@dataclass(frozen=True)
class TabulatedPath:
    """K_> at given cut-offs (c,), table (c, m, m); linear in Λ in between, so that κ is constant there and not negative."""

    cutoffs: Array
    table: Array

    def kernel(self, cutoff: float) -> Array:
        """Return K_>; BadInput outside the tabulated cut-offs."""
        left, share = self._place(cutoff)
        if share == 0.0:
            known: Array = self.table[left]
            return known.copy()
        value: Array = (1.0 - share) * self.table[left] + share * self.table[left + 1]
        return value

    def rate(self, cutoff: float, beside: float | None = None) -> Array:
        """Return the slope of the stretch that holds ``beside`` (or begins at the cut-off)."""
        left, _ = self._place(cutoff if beside is None else beside)
        left = min(left, len(self.cutoffs) - 2)
        width = self.cutoffs[left + 1] - self.cutoffs[left]
        value: Array = (self.table[left] - self.table[left + 1]) / width
        return value

    def smooth(self, start: float, stop: float) -> Iterator[tuple[float, float]]:
        """Yield the stretches between tabulated cut-offs."""
        inside = self.cutoffs[(self.cutoffs > start) & (self.cutoffs < stop)]
        edges = [start, *inside.tolist(), stop]
        yield from ((left, right) for left, right in pairwise(edges) if left < right)

    def _place(self, cutoff: float) -> tuple[int, float]:
        """Return the tabulated cut-off at or below, and how far the next one has been approached."""
        grid = self.cutoffs
        if not grid[0] <= cutoff <= grid[-1]:
            raise BadInput(
                f"cutoff: expected a number from {grid[0]:g} to {grid[-1]:g}, where K_> is known, got {cutoff:g}"
            )
        left = int(np.searchsorted(grid, cutoff, side="right")) - 1
        if grid[left] == cutoff:
            return left, 0.0
        return left, float((cutoff - grid[left]) / (grid[left + 1] - grid[left]))
