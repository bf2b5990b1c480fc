"""Given its hidden layer, is each member where it should be? The exact conditional law, member by member."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.checks.case import Case, Member, member_of
from fieldflow.inputs import Array
from fieldflow.numeric.statistics import whiten

EVERY = 1000
"""All members are examined up to this many; of the others every 20th, or fewer, about ``MOST``."""

MOST = 4096

CONTROLLED = 64
"""Members on which the other mode's law is evaluated: a lower bound on its power over all members."""


class MemberRecord(NamedTuple):
    """Mean, variance, the other mode's variance (grid, stated); expected loss under both modes (grid,); whitened
    components of all cells and of those at Λ = 0; the latter with a wrong factor ½ in the kernel; change of f at the
    stated inputs when the units with λ = 0 are removed (standardised residual and components); the first components
    under the other mode's law (first members only).

    Components are fewer than cells where cells depend on each other; they are filled up with NaN.
    """

    mean: Array
    variance: Array
    swapped_variance: Array
    mean_loss: Array
    swapped_loss: Array
    components: Array
    start: Array
    half: Array
    change: Array
    change_variance: Array
    change_components: Array
    swapped: Array


@dataclass(frozen=True)
class Examined:
    """What was found of the examined members, in their order: each field of ``MemberRecord`` with the members first, and
    their outputs (examined, grid, stated), test losses and numbers of sloppy units (examined, grid).
    """

    records: MemberRecord
    outputs: Array
    loss: Array
    sloppy: NDArray[np.int64]

    def components(self, name: str) -> list[Array]:
        """Return the components called ``name`` of each member, without the filling."""
        return [row[~np.isnan(row)] for row in getattr(self.records, name)]


def is_examined(index: int, members: int) -> bool:
    """Return whether a member is examined, if its training does not diverge.

    >>> [sum(is_examined(i, n) for i in range(n)) for n in (600, 5000, 200_000)]
    [600, 1200, 5146]
    """
    return index < EVERY or index % max(20, members // MOST) == 0


def examine(case: Case, index: int, outputs: Array) -> MemberRecord:
    """Return the conditional law of one member next to the residuals of its ``outputs`` (grid, stated)."""
    member = member_of(case, index)
    stated = np.ascontiguousarray(member.test[:, : case.stated])
    law = member.flow.law(stated, case.grid, mode=case.mode)
    cells = outputs.reshape(-1)
    residual = cells - law.mean[:, 0]
    mean, variance = member.flow.moments(member.test, case.grid)
    bias = np.mean((mean[..., 0] - case.y_test) ** 2, axis=1)
    other = case.other_mode
    shape = (len(case.grid), case.stated)
    spread = np.einsum("ij,ij->i", law.loading, law.loading).reshape(shape)
    start = slice(case.stated)
    silent = slice(case.stated, 2 * case.stated)
    change, change_loading = residual[silent] - residual[start], law.loading[silent] - law.loading[start]
    half = member.flow.law(stated, case.grid[:1], mode=case.mode, factor=0.5)
    return MemberRecord(
        law.mean[:, 0].reshape(shape),
        spread,
        spread + (variance[other] - variance[case.mode])[:, : case.stated],
        bias + variance[case.mode].mean(axis=1),
        bias + variance[other].mean(axis=1),
        _filled(whiten(residual, law.loading), len(cells)),
        _filled(whiten(residual[start], law.loading[start]), case.stated),
        _filled(whiten(cells[start] - half.mean[:, 0], half.loading), case.stated),
        change,
        np.einsum("ij,ij->i", change_loading, change_loading),
        _filled(whiten(change, change_loading), case.stated),
        _filled(_swapped(case, member, stated, cells) if index < CONTROLLED else np.empty(0), len(cells)),
    )


def stacked(records: Sequence[MemberRecord], case: Case) -> MemberRecord:
    """Return the fields of several records as arrays with the members first, also of none."""
    if records:
        return MemberRecord(*(np.array(column) for column in zip(*records, strict=True)))
    grid, stated = len(case.grid), case.stated
    block, line, cells, points = (0, grid, stated), (0, grid), (0, grid * stated), (0, stated)
    shapes = (block, block, block, line, line, cells, points, points, points, points, points, cells)
    return MemberRecord(*map(np.empty, shapes))


def _filled(components: Array, size: int) -> Array:
    result = np.full(size, np.nan)
    result[: len(components)] = components
    return result


def _swapped(case: Case, member: Member, stated: Array, outputs: Array) -> Array:
    """Return the components of the same outputs under the law of the other mode, which is wrong."""
    law = member.flow.law(stated, case.grid, mode=case.other_mode)
    return whiten(outputs - law.mean[:, 0], law.loading)
