"""Given its hidden layer, is each member where it should be? The exact conditional law, member by member."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.checks.case import Case, Member, Progress, member_of
from fieldflow.checks.sampling import Sampled
from fieldflow.conditional import Conditional
from fieldflow.inputs import Array
from fieldflow.numeric.statistics import whiten
from fieldflow.workers import in_blocks

EVERY = 1000
"""All members are examined up to this many, then every 20th."""

CONTROLLED = 64
"""Members on which the negative controls are evaluated: a lower bound on their power over all members."""


class MemberRecord(NamedTuple):
    """Mean, variance, the other mode's variance (grid, stated); expected loss under both modes (grid,); whitened
    components of all cells and of those at Λ = 0; the controls' (χ², dof).
    """

    mean: Array
    variance: Array
    swapped_variance: Array
    loss: Array
    swapped_loss: Array
    components: Array
    start: Array
    controls: dict[str, tuple[float, int]]


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
    return used[(used < EVERY) | (used % 20 == 0)]


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
    residual = outputs.reshape(-1) - law.mean[:, 0]
    mean, variance = member.flow.moments(member.test, case.grid)
    bias = np.mean((mean[..., 0] - case.y_test) ** 2, axis=1)
    other = case.other_mode
    shape = (len(case.grid), case.stated)
    first = whiten(residual[: case.stated], law.loading[: case.stated])
    return MemberRecord(
        law.mean[:, 0].reshape(shape),
        np.einsum("ij,ij->i", law.loading, law.loading).reshape(shape),
        variance[other][:, : case.stated],
        bias + variance[case.mode].mean(axis=1),
        bias + variance[other].mean(axis=1),
        whiten(residual, law.loading),
        first,
        _controls(case, member, stated, outputs.reshape(-1), law) if controlled else {},
    )


def _controls(
    case: Case, member: Member, stated: Array, outputs: Array, law: Conditional
) -> dict[str, tuple[float, int]]:
    """Return χ² and dof of the same outputs under deliberately wrong laws."""
    half = whiten(outputs - 0.5 * law.mean[:, 0], law.loading)
    other = member.flow.law(stated, case.grid, mode=case.other_mode)
    swapped = whiten(outputs - other.mean[:, 0], other.loading)
    # Every unit with λ = 0 counted as sloppy at Λ = 0: the partition λ <= Λ.
    loose = member.flow.law(stated, case.grid[1:2], mode=case.mode)
    partition = whiten(outputs[: case.stated] - loose.mean[:, 0], loose.loading)
    found = {"half": half, "swapped": swapped, "loose": partition}
    return {name: (float(values @ values), len(values)) for name, values in found.items()}
