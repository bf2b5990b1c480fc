"""What did the ensemble do? One pass over all members, in memory that does not grow with their number."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.checks.case import Case, Progress
from fieldflow.checks.examine import Examined, MemberRecord, examine, is_examined, stacked
from fieldflow.checks.measured import Measured
from fieldflow.checks.record import standing
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork, Keeper
from fieldflow.numeric.comoments import Comoments
from fieldflow.verdict import Standing
from fieldflow.workers import BLOCK

LAW = MemberRecord._fields


class Record(NamedTuple):
    """Per member: exclusion (members,), f at the stated inputs (members, grid, stated), test loss (members, grid), training
    loss (members,), number of sloppy (members, grid) and of silent units (members,); then which members were examined, and
    the fields of their ``MemberRecord``.
    """

    diverged: NDArray[np.bool_]
    outputs: Array
    loss: Array
    train_loss: Array
    sloppy: NDArray[np.int64]
    silent: NDArray[np.int64]
    examined: NDArray[np.int64]
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


@dataclass
class Sampled:
    """What all members did.  Outputs have one cell for each cut-off of the grid and stated input, losses and the numbers of
    sloppy units one for each cut-off, the training loss and the number of silent units one.

    ``sloppy_of_all`` counts those of excluded members, too: which units are sloppy does not depend on training.
    """

    sloppy: Comoments
    sloppy_of_all: NDArray[np.int64]
    outputs: Measured = field(default_factory=Measured)
    loss: Measured = field(default_factory=Measured)
    train_loss: Measured = field(default_factory=Measured)
    silent: Measured = field(default_factory=Measured)
    members: int = 0
    _examined: list[Examined] = field(default_factory=list)

    @property
    def used(self) -> int:
        """Return how many members are compared: those whose training did not diverge."""
        return self.loss.count

    @property
    def diverged(self) -> int:
        """Return how many members are excluded."""
        return self.members - self.used

    @property
    def examined(self) -> Examined:
        """Return what was found of the examined members."""
        found = self._examined
        records = zip(*(part.records for part in found), strict=True)
        return Examined(
            MemberRecord(*map(np.concatenate, records)),
            np.concatenate([part.outputs for part in found]),
            np.concatenate([part.loss for part in found]),
            np.concatenate([part.sloppy for part in found]),
        )

    def add(self, record: Record) -> None:
        """Add the next members."""
        at = record.examined - self.members
        law = MemberRecord(*(getattr(record, name) for name in LAW))
        self._examined.append(Examined(law, record.outputs[at], record.loss[at], record.sloppy[at]))
        for first in range(0, len(record.diverged), BLOCK):
            self._add_block(record, slice(first, first + BLOCK))
        self.sloppy_of_all = self.sloppy_of_all + record.sloppy.sum(axis=0)
        self.members += len(record.diverged)

    def _add_block(self, record: Record, block: slice) -> None:
        """Add the members of one block, whose size is part of the definition of every sum."""
        used = ~record.diverged[block]
        outputs = record.outputs[block][used]
        self.outputs.add(outputs.reshape(len(outputs), int(np.prod(outputs.shape[1:]))))
        self.loss.add(record.loss[block][used])
        self.train_loss.add(record.train_loss[block][used, None])
        self.silent.add(record.silent[block][used, None].astype(np.float64))
        self.sloppy.add(record.sloppy[block][used, None].astype(np.float64))


def sample(case: Case, progress: Progress, told: Callable[[Standing], None] = lambda _: None) -> Sampled:
    """Return what the ensemble of ``case`` did; ``told`` hears how the conditional law stands meanwhile."""
    middle = np.full((1, len(case.grid)), 0.5 * case.net.finite_widths[-1])
    sampled, chi2, dof = Sampled(Comoments(middle), np.zeros(len(case.grid), np.int64)), 0.0, 0

    def add(_first: int, count: int, record: Record) -> None:
        nonlocal chi2, dof
        sampled.add(record)
        components = record.components[~np.isnan(record.components)]
        chi2, dof = chi2 + float(components @ components), dof + len(components)
        told(standing(f"{case.label}/conditional-law", chi2, dof, case.alpha))
        progress("sample", count)

    alone = replace(case, keeper=Keeper())  # it may go to another process, without the keeper
    case.keeper.each(case.label, "sample", Record, case.members, partial(_work, alone), add, threads=case.threads)
    return sampled


def _work(case: Case) -> BlockWork[Record]:
    """Return the function that runs, reduces and examines one block of members."""
    run = case.ensemble().block_work(case.x_test, lambda block: block)

    def work(first: int, count: int, stop: NDArray[np.uint8]) -> Record:
        block = run(first, count, stop)
        outputs = block.outputs[..., 0]
        # A diverged member may overflow here; it is excluded by its own rule.
        with np.errstate(over="ignore", invalid="ignore"):
            loss = np.mean((outputs - case.y_test) ** 2, axis=2)
            train_loss = np.mean((block.train_outputs[..., 0] - case.y_train) ** 2, axis=1)
        kept = outputs[:, :, : case.stated].copy()
        chosen, laws = [], []
        for slot in range(count):
            if stop[0]:
                break
            if not block.diverged[slot] and is_examined(first + slot, case.members):
                chosen.append(first + slot)
                laws.append(examine(case, first + slot, kept[slot]))
        law = stacked(laws, case)
        return Record(
            block.diverged,
            kept,
            loss,
            train_loss,
            block.sloppy,
            block.silent,
            np.array(chosen, np.int64),
            **law._asdict(),
        )

    return work
