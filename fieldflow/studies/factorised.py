"""What if the read-out is independent of the hidden layer, as (63) of arXiv:2405.17538 says? Exact laws, and the gap to training.

Read-outs of the trained law meet freshly drawn hidden layers.  (76) holds while one partition serves all members; with each
member's own partition it does not, and ``paper.eq76_memberwise`` does.  An ensemble that is trained, member by member, on
its own hidden layers is another one again: see ``fieldflow.studies.independent``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from pydantic import model_validator

from fieldflow.checks.record import EXACT, Family, Source, row
from fieldflow.errors import BadInput
from fieldflow.formulas import compiled, derive
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork
from fieldflow.numeric import rng
from fieldflow.numeric.ensemble import outputs_block
from fieldflow.numeric.statistics import chi2_shift, hotelling
from fieldflow.paper_flow import (
    Drawn,
    FrozenLayer,
    Moments,
    Pass,
    Predictive,
    ReadoutLaw,
    drawn_moments,
    memberwise_prediction,
    sample_factorised,
    shell_prediction,
    shell_values,
    trained_prediction,
)
from fieldflow.picture import Line, Mark, Panel, Picture, Points
from fieldflow.processes import Stop
from fieldflow.schema import Text
from fieldflow.studies.features import CUTOFF, OUTPUT, FeaturesStudy, fine_grid, moments_family, sample_moments
from fieldflow.studies.independent import Gap, IndependentSection
from fieldflow.study import Outcome, Report

FORMULAS = (
    "paper.eq64", "paper.eq65", "paper.eq66", "paper.eq66_stiff", "paper.eq67", "paper.eq68", "paper.eq69", "paper.eq70",
    "paper.eq73_mean", "paper.eq73", "paper.eq74", "paper.eq75", "paper.eq76_mean", "paper.eq76",
    "paper.eq76_memberwise_mean", "paper.eq76_memberwise", "paper.eq64_gap", "fisher.readout", "shell.homogeneous_Z",
)  # fmt: skip

ONE_PARTITION = "(76) with one partition"
BY_CHANCE = "partition independent of the features"


class FactorisedStudy(FeaturesStudy):
    """Read-outs of the trained law on freshly drawn hidden layers, and members trained on their own."""

    kind: Text = "factorised"
    independent: IndependentSection = IndependentSection()

    @model_validator(mode="after")
    def _without_bias(self) -> "FactorisedStudy":
        if self.network.sigma_b != 0.0:
            raise BadInput(f"network.sigma_b: expected 0 in a factorised experiment, got {self.network.sigma_b:g}")
        return self

    @property
    def drawn(self) -> int:
        """Read-outs, fresh hidden layers, and members trained on their own."""
        return 2 * self.members + self.independent.members

    def outcome(self, threads: int, report: Report) -> Outcome:
        """Return the laws (64)-(76) against factorised draws, and the gap to members trained on their own layers."""
        laws = Laws(self.layer(), self.points, self.cutoffs)

        def run(stage: str, members: int) -> Pass:
            return Pass(self._keeper, members, threads, _counter(report, stage, members))

        drawn = sample_factorised(laws.layer, laws.x, laws.cutoffs, run("factorised", self.members))
        hidden = hidden_moments(laws.layer, laws.x, run("hidden", self.members))
        gap = Gap.measured(self, self.independent, run("independent", self.independent.members))
        memberwise = _memberwise(laws, drawn)
        return Outcome(
            families=[
                _trained(laws, drawn),
                _fixed(laws, drawn),
                memberwise,
                _fourth(laws, drawn, *hidden),
                gap.family(),
            ],
            pictures=[_picture(laws, drawn), gap.picture()],
            conventions={"factorised": dict(laws.layer.net.convention.items())},
            requested=self.members,
            formulas=FORMULAS,
            tables=[gap.table()],
            notes=[
                "Member-wise partitions: (76) with the partition of the layer on which the read-out was trained is off by "
                f"{memberwise.controls[ONE_PARTITION]:.0f} standard errors of the joint statistic, in its worst mean or variance "
                f"by {_worst(laws, drawn):.0f} standard errors; the law that replaces it agrees.",
                gap.note(),
            ],
        )


@dataclass(frozen=True)
class Laws:
    """The predictions at all cut-offs."""

    layer: FrozenLayer
    x: Array
    cutoffs: Array

    @property
    def width(self) -> int:
        """Number of neurons."""
        return self.layer.net.finite_widths[-1]

    @cached_property
    def every(self) -> Moments:
        """Moments of all neurons."""
        return drawn_moments(self.layer.net, self.x, self.layer.law)

    def fixed(self, cutoff: float, *, prune: bool = False) -> Predictive:
        """Return (76) with the frozen layer's partition."""
        readout = self.layer.readout._replace(prior=0.0) if prune else self.layer.readout
        return shell_prediction(readout, self.every, self.layer.diagonal >= cutoff)

    def own(self, cutoff: float) -> Predictive:
        """Return the law for each member's own partition."""
        return memberwise_prediction(self.layer.readout, drawn_moments(self.layer.net, self.x, self.layer.law, cutoff))

    def by_chance(self, cutoff: float) -> Predictive:
        """Return what member-wise partitions would give if stiff neurons had the features of all: V^> = P(stiff) V."""
        values = shell_values(self.layer.net, self.layer.law, cutoff)
        kept = 1.0 - float(compiled("shell.sloppy_fraction")(*values))
        whole, size = self.every, self.width
        same = np.eye(size, dtype=bool)
        pair = np.where(same, kept, kept**2) * whole.pair
        sloppy = (1.0 - kept) * np.einsum("pqii->pq", whole.pair)
        return memberwise_prediction(self.layer.readout, Moments(kept * whole.single, pair, sloppy))


def _counter(report: Report, stage: str, total: int) -> Callable[[int], None]:
    done = [0]

    def progress(count: int) -> None:
        done[0] += count
        report(stage, done[0], total)

    return progress


class Hidden(NamedTuple):
    """Mean and variance (members, p) of f given a freshly drawn hidden layer, weights of the trained law."""

    mean: Array
    variance: Array


def hidden_moments(layer: FrozenLayer, x: Array, run: Pass) -> Hidden:
    """Return mean and variance of f given freshly drawn hidden layers."""
    return run.gather("hidden", Hidden, partial(_hidden, layer, layer.readout, x))


def _hidden(layer: FrozenLayer, readout: ReadoutLaw, x: Array) -> BlockWork[Hidden]:
    net, activations = layer.net.architecture(), layer.net.compiled_activations()
    columns, average = np.ascontiguousarray(x.T), readout.mean[:, 0]

    def work(first: int, count: int, _: Stop) -> Hidden:
        # Member 0 of this stream is the frozen layer itself.
        hidden = outputs_block(net, activations, np.uint64(layer.seed), first + 1, count, rng.INDEPENDENT, columns)
        flat = np.ascontiguousarray(np.moveaxis(hidden, 1, 2)).reshape(-1, len(average))
        spread = np.einsum("ki,ki->k", flat @ readout.covariance, flat)
        return Hidden((flat @ average).reshape(count, -1), spread.reshape(count, -1))

    return work


def _trained(laws: Laws, drawn: Drawn) -> Family:
    """(64), (65) at Λ = 0; control: without the last line of (65)."""
    source = Source("factorised/trained-law", EXACT, "2405.17538 (64), (65), (73)", derive("paper.eq73").digest)
    law = trained_prediction(laws.layer.readout, laws.every)
    single = laws.every.single
    apart = Moments(single, np.einsum("ip,jq->pqij", single, single), np.zeros((len(laws.x), len(laws.x))))
    silent = laws.layer.readout._replace(covariance=np.zeros_like(laws.layer.readout.covariance))
    spread = trained_prediction(silent, laws.every).covariance - trained_prediction(silent, apart).covariance
    controls = {
        "without the spread of the features under the mean weights": [Predictive(law.mean, law.covariance - spread)]
    }
    return moments_family(source, drawn.fixed[:, :1], [law], controls, np.zeros(1), laws.x, laws.width)


def _fixed(laws: Laws, drawn: Drawn) -> Family:
    """(76) with one partition for all members."""
    source = Source("factorised/one-partition", EXACT, "2405.17538 (74)-(76)", derive("paper.eq76").digest)
    cutoffs = laws.cutoffs[1:]
    controls = {
        "prune for resample": [laws.fixed(cutoff, prune=True) for cutoff in cutoffs],
        "law for member-wise partitions": [laws.own(cutoff) for cutoff in cutoffs],
    }
    predicted = [laws.fixed(cutoff) for cutoff in cutoffs]
    return moments_family(source, drawn.fixed[:, 1:], predicted, controls, cutoffs, laws.x, laws.width)


def _memberwise(laws: Laws, drawn: Drawn) -> Family:
    """The law that replaces (76) when each member has its own partition; control: (76) itself."""
    source = Source(
        "factorised/member-wise", EXACT, "2405.17538 (76), (94)-(96)", derive("paper.eq76_memberwise").digest
    )
    cutoffs = laws.cutoffs[1:]
    controls = {
        ONE_PARTITION: [laws.fixed(cutoff) for cutoff in cutoffs],
        BY_CHANCE: [laws.by_chance(cutoff) for cutoff in cutoffs],
    }
    predicted = [laws.own(cutoff) for cutoff in cutoffs]
    return moments_family(source, drawn.own[:, 1:], predicted, controls, cutoffs, laws.x, laws.width)


def _worst(laws: Laws, drawn: Drawn) -> float:
    """Return by how many standard errors the worst mean or variance of member-wise partitions misses (76)."""
    worst = 0.0
    for i, cutoff in enumerate(laws.cutoffs):
        mean, mean_error, variance, variance_error = sample_moments(drawn.own[:, i])
        law = laws.fixed(cutoff)
        pulls = (mean - law.mean) / mean_error, (variance - np.diag(law.covariance)) / variance_error
        worst = max(worst, *(float(np.max(np.abs(pull))) for pull in pulls))
    return worst


def _fourth(laws: Laws, drawn: Drawn, mean: Array, variance: Array) -> Family:
    """(68) at finite width: the fourth cumulant by ``paper.eq68`` over independent hidden draws, not 0."""
    source = Source("factorised/fourth-cumulant", EXACT, "2405.17538 (68)", derive("paper.eq68").digest)
    measured, spread = _measured_fourth(drawn.fixed[:, 0])
    predicted, error = _predicted_fourth(mean, variance)
    n = len(measured)
    together = np.cov(measured - spread, rowvar=False) / n + np.cov(predicted - error, rowvar=False) / n
    together = np.atleast_2d(together)
    value, law = measured.mean(axis=0), predicted.mean(axis=0)
    statistic, dof, p_value = hotelling(value - law, together, n)
    wrong, rank, _ = hotelling(value, together, n)
    rows = tuple(
        row(source, "fourth cumulant", float(law[k]), float(value[k]), float(np.std(measured[:, k] - spread[:, k]) / np.sqrt(n)),
            n, prediction_std_error=float(np.std(predicted[:, k] - error[:, k]) / np.sqrt(n)), control=0.0, cutoff=0.0,
            point=point, width=laws.width)
        for k, point in enumerate(laws.x)
    )  # fmt: skip
    shift = {"Gaussian, as (68) says": chi2_shift(wrong, rank)}
    return Family(source.family, EXACT, True, statistic, dof, p_value, shift, rows)


def _measured_fourth(values: Array) -> tuple[Array, Array]:
    """Return d⁴ - 3 m₂² per member, whose mean is κ₄, and what to take off it to have its influence values."""
    d = values - values.mean(axis=0)
    second, third = np.mean(d**2, axis=0), np.mean(d**3, axis=0)
    return d**4 - 3.0 * second**2, 6.0 * second * d**2 + 4.0 * third * d


def _predicted_fourth(mean: Array, variance: Array) -> tuple[Array, Array]:
    """Return the same for κ₄ of ``paper.eq68`` from the joint moments of m and v."""
    d, e = mean - mean.mean(axis=0), variance - variance.mean(axis=0)
    kappa = compiled("paper.eq68")
    second, third, mixed = np.mean(d**2, axis=0), np.mean(d**3, axis=0), np.mean(d * e, axis=0)
    value = kappa(d**4 - 3.0 * second**2, d**2 * e, e**2)
    slope = kappa(6.0 * second * d**2 + 4.0 * third * d, second * e + 2.0 * mixed * d, np.zeros_like(e))
    return value, slope


def _picture(laws: Laws, drawn: Drawn) -> Picture:
    cutoffs = laws.cutoffs
    grid = fine_grid(cutoffs)
    laws = replace(laws, x=laws.x[:1])
    fixed, own = [laws.fixed(cutoff) for cutoff in grid], [laws.own(cutoff) for cutoff in grid]
    one = [sample_moments(drawn.fixed[:, i]) for i in range(len(cutoffs))]
    each = [sample_moments(drawn.own[:, i]) for i in range(len(cutoffs))]
    panels = []
    for name, value, error in (("mean", 0, 1), ("variance", 2, 3)):
        curves = [[law.mean[0] if value == 0 else law.covariance[0, 0] for law in both] for both in (fixed, own)]
        samples = [([m[value][0] for m in both], [m[error][0] for m in both]) for both in (one, each)]
        series: list[Line | Points | Mark] = [
            Line(grid, curves[0], "(76), one partition", "alternative"),
            Points(cutoffs, *samples[0], "samples, one partition", "alternative", "s"),
            Line(grid, curves[1], "member-wise partitions, corrected"),
            Points(cutoffs, *samples[1], "samples, member-wise"),
        ]
        panels.append(Panel(series, CUTOFF, f"{name} of {OUTPUT}" + ("²" if value else ""), xscale="cutoff"))
    caption = (
        "Read-outs of the trained law on freshly drawn hidden layers, at the first point. With one partition for all members "
        "Eq.~(76) holds; with each member's own partition the corrected law takes its place."
    )
    return Picture("partitions", caption, panels)
