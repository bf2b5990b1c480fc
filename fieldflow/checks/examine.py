"""Given its hidden layer, is each member where it should be? The exact conditional law, member by member."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.checks.case import Case, Member, Progress, member_of
from fieldflow.checks.sampling import Sampled
from fieldflow.inputs import Array
from fieldflow.numeric.statistics import whiten
from fieldflow.workers import in_blocks

EVERY = 1000
"""All members are examined up to this many, then every 20th."""

CONTROLLED = 64
"""Members on which the other mode's law is evaluated: a lower bound on its power over all members."""


class MemberRecord(NamedTuple):
    """Mean, variance, the other mode's variance (grid, stated); expected loss under both modes (grid,); whitened
    components of all cells and of those at Λ = 0; the latter with a wrong factor ½ in the kernel; change of f at the
    stated inputs when the units with λ = 0 are removed (standardised residual and components); the first components
    under the other mode's law (first members only).
    """

    mean: Array
    variance: Array
    swapped_variance: Array
    loss: Array
    swapped_loss: Array
    components: Array
    start: Array
    half: Array
    change: Array
    change_variance: Array
    change_components: Array
    swapped: Array | None


@dataclass(frozen=True)
class Examined:
    """The examined members and their records, in order."""

    members: NDArray[np.int64]
    records: tuple[MemberRecord, ...]

    def stack(self, name: str) -> Array:
        """Return one field of all records as an array with the members first."""
        return np.array([getattr(record, name) for record in self.records])


def examined_members(sampled: Sampled) -> NDArray[np.int64]:
    """Return which members are examined: every used one below ``EVERY``, then every 20th."""
    used = sampled.used
    chosen: NDArray[np.int64] = used[(used < EVERY) | (used % 20 == 0)]
    return chosen


def examine(case: Case, sampled: Sampled, progress: Progress) -> Examined:
    """Return the conditional law of the examined members next to their standardised residuals."""
    chosen = examined_members(sampled)

    def work(first: int, count: int, stop: NDArray[np.uint8]) -> list[MemberRecord]:
        found = []
        for position in range(first, first + count):
            if stop[0]:
                break
            index = int(chosen[position])
            found.append(_record(case, member_of(case, index), sampled.outputs[index], position < CONTROLLED))
        return found

    parts = in_blocks(work, len(chosen), threads=case.threads, progress=lambda done: progress("examine", done))
    return Examined(chosen, tuple(record for part in parts for record in part))


def _record(case: Case, member: Member, outputs: Array, controlled: bool) -> MemberRecord:
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
        whiten(residual, law.loading),
        whiten(residual[start], law.loading[start]),
        whiten(cells[start] - half.mean[:, 0], half.loading),
        change,
        np.einsum("ij,ij->i", change_loading, change_loading),
        whiten(change, change_loading),
        _swapped(case, member, stated, cells) if controlled else None,
    )


def _swapped(case: Case, member: Member, stated: Array, outputs: Array) -> Array:
    """Return the components of the same outputs under the law of the other mode, which is wrong."""
    law = member.flow.law(stated, case.grid, mode=case.other_mode)
    return whiten(outputs - law.mean[:, 0], law.loading)
