"""What does the main job run? Ensembles drawn, trained, coarse-grained and compared, network by network."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from fieldflow.checks import exact, infinite_width, literature, lower_layers
from fieldflow.checks.case import Case, Progress
from fieldflow.checks.examine import EVERY, MOST
from fieldflow.checks.lower_layers import DRAWS
from fieldflow.checks.measured import KEPT
from fieldflow.checks.record import Family
from fieldflow.checks.sampling import Sampled, sample
from fieldflow.data import (
    FISHER,
    TEST,
    TRAIN,
    Data,
    file_digest,
    gaussian_points,
    parse_target,
    population_mean_square,
    read_points,
    subset,
    target_values,
)
from fieldflow.ensemble import Trained
from fieldflow.errors import BadInput
from fieldflow.figures import Series, pictures
from fieldflow.inputs import Array
from fieldflow.latex import escape, number, with_error
from fieldflow.network import MLP
from fieldflow.numeric.tally import BINS
from fieldflow.picture import Tabular
from fieldflow.schema import ChecksSection, DataSection, FisherSection, Network, ShellSection, TrainingSection
from fieldflow.shell_kernel import fisher_law
from fieldflow.study import Outcome, Report, Study

MEMORY_LIMIT = 8 * 2**30
"""Bytes that an experiment may need at most."""

MINIMUM_MEMBERS = 16
"""Fewer members have no meaningful covariance; whether more are enough is for the power of each family to say."""


class ShellStudy(Study):
    """Train an ensemble and move it along the information-shell flow (see the template of ``fieldflow init``)."""

    network: Annotated[list[Network], Field(min_length=1, max_length=20)]
    data: DataSection
    training: TrainingSection
    fisher: FisherSection
    shell: ShellSection
    checks: ChecksSection = ChecksSection()

    @model_validator(mode="after")
    def _consistent(self) -> "ShellStudy":
        labels = [network.label for network in self.network]
        if len(set(labels)) != len(labels):
            raise BadInput(f"network: expected a different label for each, got {', '.join(labels)}")
        if self.data.from_files and self.fisher.law is None:
            for name in sorted({"input_mean", "input_std"} & self.data.model_fields_set):
                raise BadInput(f'data.{name}: not accepted with train_file, unless fisher.law = "gaussian"')
        for network in self.network:
            self._fits(network)
        return self

    def _fits(self, network: Network) -> None:
        """Refuse what one network cannot take."""
        for name in ("input_mean", "input_std"):
            value = getattr(self.data, name)
            if isinstance(value, list) and len(value) != network.d_in:
                raise BadInput(f"data.{name}: expected a number or {network.d_in} of them, got {len(value)}")
        if self.fisher.law and len(network.widths) > 1:
            raise BadInput('fisher.law: "gaussian" needs one hidden layer; give inputs = a number of Fisher inputs')
        if self.checks.widths and len(network.widths) > 1:
            raise BadInput("checks.widths: a scan of widths needs one hidden layer; expected []")
        if self.data.target is not None:
            parse_target(self.data.target, network.d_in)
            self._check_memory(network, self.data.train or 0, self.data.test or 0)

    def resolved(self) -> dict[str, Any]:
        """Return every key with its value, defaults filled in, files by the digest of their content.

        >>> from fieldflow.experiment import load_experiment
        >>> load_experiment("paper").resolved()["fisher"]
        {'inputs': 10, 'law': None, 'noise_variance': 1.0}
        """
        values = super().resolved()
        for key in ("train_file", "test_file"):
            if values["data"][key] is not None:
                values["data"][key] = "sha256:" + file_digest(self._folder / values["data"][key], f"data.{key}")
        return values

    def outcome(self, threads: int, report: Report) -> Outcome:
        """Return what the ensembles did beside what was predicted."""
        if self.members < MINIMUM_MEMBERS:
            raise BadInput(f"members: expected at least {MINIMUM_MEMBERS}, got {self.members}")
        cases = [case_of(self, position, threads) for position in range(len(self.network))]
        families: list[Family] = []
        drawn, tables, training, excluded = [], [], {}, 0
        for case in cases:
            found, series, table = _run_case(case, report)
            families += found
            report.found([family for family in found if family.dof], self.checks.alpha)
            drawn.append(series)
            tables += table
            training[case.label] = _training(case, series.sampled, self)
            excluded += series.sampled.diverged
        return Outcome(
            families=families,
            pictures=pictures(drawn),
            conventions={case.label: dict(case.net.convention.items()) for case in cases},
            requested=sum(case.members for case in cases),
            excluded=excluded,
            formulas=_formulas(self, families),
            tables=tables,
            notes=[training_line(label, entry) for label, entry in sorted(training.items())],
            training=training,
        )

    @property
    def ensembles(self) -> int:
        """One per network."""
        return len(self.network)

    def input_law(self, network: Network) -> tuple[Array, Array]:
        """Return mean and standard deviation (d_in,) of the Gaussian inputs."""
        mean, std = np.array(self.data.input_mean), np.array(self.data.input_std)
        return np.broadcast_to(mean, (network.d_in,)), np.broadcast_to(std, (network.d_in,))

    def datasets(self, network: Network) -> Data:
        """Return training, test and Fisher points of one network, each from its own substream of the data seed.

        Returns
        -------
        Data
            x (n, d_in) and y (n,) for training and test; Fisher inputs are drawn like the data: from the same Gaussian,
            or from the rows of the training file.

        Raises
        ------
        BadInput
            Naming the key, and in a file the row and the column.
        """
        mean, std = self.input_law(network)
        if self.data.target is None:
            train = read_points(self._folder / str(self.data.train_file), "data.train_file", network.d_in)
            test = read_points(self._folder / str(self.data.test_file), "data.test_file", network.d_in)
            self._check_memory(network, len(train[0]), len(test[0]))
        else:
            x_train = gaussian_points(self.data.train or 0, mean, std, self.data.seed, TRAIN)
            x_test = gaussian_points(self.data.test or 0, mean, std, self.data.seed, TEST)
            train = x_train, target_values(self.data.target, x_train)
            test = x_test, target_values(self.data.target, x_test)
        count = self.fisher.inputs
        if count is None:
            return Data(*train, *test, None)
        if not self.data.from_files:
            return Data(*train, *test, gaussian_points(count, mean, std, self.data.seed, FISHER))
        if count > len(train[0]):
            raise BadInput(f"fisher.inputs: expected at most {len(train[0])}, the rows of train_file, got {count}")
        return Data(*train, *test, subset(train[0], count, self.data.seed, FISHER))

    def mean_square_target(self, label: str) -> float | None:
        """Return E y² over the input law of the network called ``label``; None for data from files."""
        network = next(entry for entry in self.network if entry.label == label)
        return None if self.data.target is None else population_mean_square(self.data.target, *self.input_law(network))

    def _check_memory(self, network: Network, train: int, test: int) -> None:
        """Refuse what would not fit: a member's weights, features and Gram matrix, and what is kept of all."""
        fan_in = [network.d_in, *network.widths[:-1]]
        width = max(network.widths[-1], *self.checks.widths, 1)
        weights = sum(m * (n + 1) for m, n in zip([*network.widths[:-1], width], fan_in, strict=True))
        points = train + test + (self.fisher.inputs or 0)
        cells = (len(self.shell.cutoffs) + 2) * min(self.checks.inputs, test)
        one = weights + points * (3 * max(width, *network.widths) + network.d_in) + 6 * train**2
        one += cells * (3 * width + cells) + 64 * len(self.shell.cutoffs) * test
        kept = min(self.members, KEPT + DRAWS + EVERY + MOST) * (cells * 6 + 8 * len(self.shell.cutoffs))
        needed = 8 * (2 * one + kept + (cells + 2 * len(self.shell.cutoffs)) * BINS) / 2**30
        limit = MEMORY_LIMIT / 2**30
        if needed > limit:
            raise BadInput(
                f"network.widths, data.train, data.test, members: {network.label} would need about {needed:.3g} GB; "
                f"expected at most {limit:g} GB"
            )


def case_of(experiment: ShellStudy, position: int, threads: int) -> Case:
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
        keeper=experiment._keeper,
    )


def _run_case(case: Case, report: Report) -> tuple[list[Family], Series, list[Tabular]]:
    progress = _reporter(case, report)
    sampled = sample(case, progress, report.standing)
    if sampled.used < MINIMUM_MEMBERS // 2:
        raise BadInput(
            f"training.learning_rate: {sampled.diverged} of {case.members} members of {case.label} diverged; "
            f"at least {MINIMUM_MEMBERS // 2} must be left: lower it"
        )
    examined = sampled.examined
    found = [family for build in exact.FAMILIES if (family := build(case, examined)) is not None]
    independent = lower_layers.draw_independent(case, progress)
    if case.widths:
        shell = infinite_width.theory(case)
        scan = infinite_width.scan(case, shell, progress)
        found += [
            infinite_width.sloppy_law(case, shell, sampled),
            infinite_width.infinite_width(case, shell, scan),
            infinite_width.critical_cutoff(case, shell, scan),
        ]
        tables = [corrections_table(case.label, infinite_width.width_corrections(case, shell, scan))]
    else:
        shell, tables = None, []
        found += [
            lower_layers.averages(case, sampled, independent),
            lower_layers.sloppy_fraction(case, sampled, independent),
        ]
    found.append(literature.literature(case, sampled))
    return found, Series(case, sampled, independent, shell), tables


def _reporter(case: Case, progress: Report) -> Progress:
    totals = {"scan": case.scan_members * len(case.widths), "predict": min(case.members, DRAWS)}
    done: dict[str, int] = {}

    def report(stage: str, count: int) -> None:
        done[stage] = done.get(stage, 0) + count
        progress(f"{case.label} {stage}", done[stage], totals.get(stage, case.members))

    return report


def _training(case: Case, sampled: Sampled, study: ShellStudy) -> dict[str, Any]:
    """Return the training loss of the used members beside the mean square of the targets."""
    return {
        "train_loss_mean": float(sampled.train_loss.mean[0]),
        "train_loss_median": float(sampled.train_loss.quantile(0.5)[0]),
        "test_loss_median": float(sampled.loss.quantile(0.5)[0]),
        "mean_square_train_target": float(np.mean(case.y_train**2)),
        "mean_square_target": study.mean_square_target(case.label),
        "silent_fraction": float(sampled.silent.mean[0] / case.net.finite_widths[-1]),
    }


def training_line(label: str, entry: Mapping[str, Any]) -> str:
    """Return the training loss beside the mean square of the target, and whether training underfits."""
    scale = entry["mean_square_target"] or entry["mean_square_train_target"]
    kind = "E y²" if entry["mean_square_target"] is not None else "mean y² of the training set"
    line = (
        f"{label}: training loss {entry['train_loss_median']:.4g} (median), {entry['train_loss_mean']:.4g} (mean); "
        f"{kind} = {scale:.4g}; on the training set mean y² = {entry['mean_square_train_target']:.4g}"
    )
    if entry["train_loss_median"] > scale:
        line += ". The ensemble underfits: the zero function has a smaller loss than its median member"
    return line + "."


def corrections_table(label: str, corrections: Sequence[Mapping[str, Any]]) -> Tabular:
    """Return the fits a + b/N + c/N² at the first stated input."""
    point = corrections[0]["point"]
    chosen = [entry for entry in corrections if entry["point"] == point]
    rows = [
        [
            entry["name"],
            number(entry["cutoff"], 3),
            number(entry["predicted"]),
            with_error(entry["a"], entry["a_error"]),
            with_error(entry["b"], entry["b_error"]),
            with_error(entry["values"][-1], entry["errors"][-1]),
        ]
        for entry in chosen
    ]
    place = ", ".join(f"{value:.3g}" for value in point)
    return Tabular(
        f"corrections-{label}",
        rf"{escape(label)}: fit $a + b/N + c/N^2$ of the Rao--Blackwellised moments at $x=({place})$. The intercept $a$ is "
        r"judged against the infinite-width flow (column $N=\infty$); $b$ and the value at finite $N$ are reported, not judged.",
        "lrrrrr",
        ["moment", r"$\Lambda$", r"$N=\infty$", "$a$", "$b$", rf"at $N={int(chosen[0]['widths'][-1])}$"],
        rows,
    )


def _formulas(study: ShellStudy, families: Sequence[Family]) -> list[str]:
    """Return the formulas behind a run, in the order of the argument."""
    names = [f"training.{study.training.method}", "fisher.readout", "shell.mean", "shell.covariance"]
    if study.shell.mode == "prune":
        names.append("shell.covariance_prune")
    if any(family.name.endswith("/infinite-width") for family in families):
        closed = ["shell.relu_Z", "shell.sloppy_fraction", "shell.critical"]
        names = ["expectation.relu", "nngp.recursion", *names, *closed]
    return names
