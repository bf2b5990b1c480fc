"""What did the ensemble do? One pass over all members, keeping what the comparisons and figures need."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.checks.case import Case, Progress
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork, Keeper
from fieldflow.numeric.ensemble import BlockSample


class Sampled(NamedTuple):
    """Per member: f at the stated inputs (members, grid, stated), test loss (members, grid), training loss (members,),
    number of sloppy (members, grid) and of silent units (members,), exclusion (members,).
    """

    outputs: Array
    loss: Array
    train_loss: Array
    sloppy: NDArray[np.int64]
    silent: NDArray[np.int64]
    diverged: NDArray[np.bool_]

    @property
    def used(self) -> NDArray[np.int64]:
        """Return the indices of the members that are kept."""
        return np.flatnonzero(~self.diverged)


def sample(case: Case, progress: Progress) -> Sampled:
    """Return what the ensemble of ``case`` did."""
    return case.keeper.gather(
        case.label,
        "sample",
        Sampled,
        case.members,
        partial(_work, replace(case, keeper=Keeper())),  # it may go to another process, without the keeper
        threads=case.threads,
        progress=lambda count: progress("sample", count),
    )


def _work(case: Case) -> BlockWork[Sampled]:
    """Return the function that runs and reduces one block of members."""

    def reduce(block: BlockSample) -> Sampled:
        outputs = block.outputs[..., 0]
        # A diverged member may overflow here; it is excluded by its own rule below.
        with np.errstate(over="ignore", invalid="ignore"):
            loss = np.mean((outputs - case.y_test) ** 2, axis=2)
            train_loss = np.mean((block.train_outputs[..., 0] - case.y_train) ** 2, axis=1)
        kept = outputs[:, :, : case.stated].copy()
        return Sampled(kept, loss, train_loss, block.sloppy, block.silent, block.diverged)

    return case.ensemble().block_work(case.x_test, reduce)
