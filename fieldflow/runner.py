"""The main job: derive, train, coarse-grain, compare. One experiment in, one result out."""

from collections.abc import Callable
from pathlib import Path

from fieldflow.checks.record import judge
from fieldflow.experiment import load_experiment
from fieldflow.result import Result
from fieldflow.study import Study
from fieldflow.workers import checked_threads


def run(
    experiment: str | Path | Study,
    *,
    members: int | None = None,
    seed: int | None = None,
    threads: int | None = None,
    quick: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
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
    progress : callable, optional
        Called as progress(stage, members done, members in all) after each block.

    Raises
    ------
    BadInput
        For anything the experiment file or the arguments get wrong; nothing is computed then.
    """
    workers = checked_threads(threads)
    if not isinstance(experiment, Study):
        experiment = load_experiment(experiment, members=members, seed=seed, quick=quick)
    outcome = experiment.outcome(workers, progress or (lambda *_: None))
    return Result.of(experiment, outcome, judge(outcome.families, experiment.checks.alpha))
