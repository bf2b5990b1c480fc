"""The main job: derive, train, coarse-grain, compare. One experiment in, one result out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fieldflow.checks import exact, infinite_width, literature, lower_layers
from fieldflow.checks.case import Case, Progress
from fieldflow.checks.examine import examine
from fieldflow.checks.record import Family, judge
from fieldflow.checks.sampling import Sampled, sample
from fieldflow.ensemble import Trained
from fieldflow.errors import BadInput
from fieldflow.experiment import Experiment, load_experiment
from fieldflow.figures import case_figures
from fieldflow.network import MLP
from fieldflow.result import Result
from fieldflow.shell_kernel import fisher_law
from fieldflow.workers import checked_threads

MINIMUM_MEMBERS = 16
"""Fewer members have no meaningful covariance; whether more are enough is for the power of each family to say."""


def run(
    experiment: str | Path | Experiment,
    *,
    members: int | None = None,
    seed: int | None = None,
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Result:
    """Run an experiment and return its result: every prediction beside its measurement.

    Parameters
    ----------
    experiment : str, Path or Experiment
        A shipped name ("paper", "paper-text", "shallow-relu"), a TOML file, or a loaded experiment.
    members, seed : int, optional
        Override the experiment's own.
    threads : int, optional
        All available processors by default; the numbers do not depend on it.
    progress : callable, optional
        Called as progress(stage, members done, members in all) after each block.

    Raises
    ------
    BadInput
        For anything the experiment file or the arguments get wrong; nothing is computed then.
    """
    if not isinstance(experiment, Experiment):
        experiment = load_experiment(experiment, members=members, seed=seed)
    if experiment.members < MINIMUM_MEMBERS:
        raise BadInput(f"members: expected at least {MINIMUM_MEMBERS}, got {experiment.members}")
    workers = checked_threads(threads)
    cases = [case_of(experiment, position, workers) for position in range(len(experiment.network))]
    families: list[Family] = []
    figures: dict[str, Any] = {}
    samples = []
    for case in cases:
        found, pictures, sampled = _run_case(case, _reporter(case, progress))
        families += found
        figures[case.label] = pictures
        samples.append(sampled)
    judged = judge(families, experiment.checks.alpha)
    return Result.of(experiment, cases, samples, judged, figures)


def case_of(experiment: Experiment, position: int, threads: int) -> Case:
    """Return the network number ``position`` of an experiment with its data, ready to be run."""
    spec = experiment.network[position]
    net = MLP(
        spec.d_in,
        widths=spec.widths,
        activation=spec.functions(),
        sigma_w=spec.sigma_w,
        sigma_b=spec.sigma_b,
        scaling=spec.scaling,
    )
    data = experiment.datasets(spec)
    fisher = "gaussian" if data.x_fisher is None else data.x_fisher
    law = fisher_law(
        net, fisher, experiment.data.input_mean, experiment.data.input_std, experiment.fisher.noise_variance
    )
    rule = experiment.training
    return Case(
        label=spec.label,
        net=net,
        x_train=data.x_train,
        y_train=data.y_train,
        x_test=data.x_test,
        y_test=data.y_test,
        law=law,
        trained=Trained(data.x_train, data.y_train.reshape(-1, 1), rule.learning_rate, rule.steps, rule.method),
        cutoffs=np.array(experiment.shell.cutoffs, dtype=np.float64),
        mode=experiment.shell.mode,
        excess=experiment.shell.excess,
        stated=min(experiment.checks.inputs, len(data.x_test)),
        alpha=experiment.checks.alpha,
        members=experiment.members,
        seed=experiment.seed,
        threads=threads,
        widths=tuple(experiment.checks.widths),
        scan_members=experiment.checks.scan_members,
    )


def _run_case(case: Case, progress: Progress) -> tuple[list[Family], dict[str, Any], Sampled]:
    sampled = sample(case, progress)
    if len(sampled.used) < MINIMUM_MEMBERS // 2:
        raise BadInput(
            f"training.learning_rate: {int(sampled.diverged.sum())} of {case.members} members of {case.label} diverged; "
            f"at least {MINIMUM_MEMBERS // 2} must be left: lower it"
        )
    examined = examine(case, sampled, progress)
    found = [family for build in exact.FAMILIES if (family := build(case, sampled, examined)) is not None]
    independent = lower_layers.draw_independent(case, progress)
    if case.widths:
        shell = infinite_width.theory(case)
        scan = infinite_width.scan(case, shell, progress)
        found += [
            infinite_width.sloppy_law(case, shell, sampled),
            infinite_width.infinite_width(case, shell, scan),
            infinite_width.critical_cutoff(case, shell, scan),
        ]
        corrections = infinite_width.width_corrections(case, shell, scan)
    else:
        shell, corrections = None, []
        found += [
            lower_layers.averages(case, sampled, independent),
            lower_layers.sloppy_fraction(case, sampled, independent),
        ]
    found.append(literature.literature(case, sampled))
    return found, case_figures(case, sampled, independent, shell, corrections), sampled


def _reporter(case: Case, progress: Callable[[str, int, int], None] | None) -> Progress:
    totals = {"scan": case.scan_members * len(case.widths)}
    done: dict[str, int] = {}

    def report(stage: str, count: int) -> None:
        done[stage] = done.get(stage, 0) + count
        if progress is not None:
            progress(f"{case.label} {stage}", done[stage], totals.get(stage, case.members))

    return report
