"""The main job: derive, train, coarse-grain, compare. One experiment in, one result out."""

from collections.abc import Callable
from pathlib import Path

from fieldflow import inputs
from fieldflow.checks.record import judge
from fieldflow.errors import BadInput
from fieldflow.experiment import load_experiment
from fieldflow.keeper import Keeper
from fieldflow.result import Result
from fieldflow.shards import Shards, identity
from fieldflow.study import Report, Study
from fieldflow.verdict import Standing
from fieldflow.workers import checked_threads


def run(
    experiment: str | Path | Study,
    *,
    members: int | None = None,
    seed: int | None = None,
    threads: int | None = None,
    quick: bool = False,
    shards: str | Path | None = None,
    resume: bool = False,
    workers: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
    standing: Callable[[Standing], None] | None = None,
) -> Result:
    """Run an experiment and return its result: every prediction beside its measurement.

    Parameters
    ----------
    experiment : str, Path or Study
        A shipped name (``fieldflow list``), a TOML file, or a loaded experiment.
    members, seed : int, optional
        Override the experiment's own.
    threads : int, optional
        All available processors by default; the numbers do not depend on it.
    quick : bool
        The lighter version that the file's table ``quick`` describes.
    shards : str or Path, optional
        A directory that keeps the sampled members while the run goes on, so that a killed run can be resumed.
    resume : bool
        Go on from what ``shards`` keeps; the result is the same to the last bit.
    workers : int
        Processes that sample the members; a script then needs ``if __name__ == "__main__"``.
    progress : callable, optional
        Called as progress(stage, members done, members in all) after every few blocks.
    standing : callable, optional
        Called with (family, chi2, dof, p_value, status): of the conditional law while members come in (kind shell), of other
        families when they are complete and others are still to come; not adjusted for their number.

    Raises
    ------
    BadInput
        For anything the experiment file or the arguments get wrong; nothing is computed then.  If ``shards`` keeps
        another run (the message names what differs), or its disk is full: what it keeps then stays.
    """
    threads, workers = checked_threads(threads), inputs.integer("workers", workers, minimum=1, maximum=1024)
    if resume and shards is None:
        raise BadInput("resume: give shards, the directory that keeps the members")
    if not isinstance(experiment, Study):
        experiment = load_experiment(experiment, members=members, seed=seed, quick=quick)
    report = Report(progress or (lambda *_: None), standing or (lambda _: None))
    keeper = _keeper(experiment, shards, resume, workers)
    try:
        outcome = experiment.kept_by(keeper).outcome(threads, report)
    finally:
        keeper.close()
    return Result.of(experiment, outcome, judge(outcome.families, experiment.checks.alpha))


def _keeper(study: Study, shards: str | Path | None, resume: bool, workers: int) -> Keeper:
    """Return who makes and keeps the records of the long passes; BadInput if there is no place for them."""
    if shards is None:
        return Keeper(workers=workers)
    same = identity(study.resolved(), study.digest, seed=study.seed, members=study.members)
    return Keeper(Shards(Path(shards), same, study.drawn, resume=resume), workers)
