"""How far is (64)-(76) of arXiv:2405.17538 from an ensemble whose members are trained on their own hidden layers?

Neurons are then exchangeable: all mean weights are equal, and w̄·V(x) cannot fit, whatever the training does.  The best
that (63) can say, with the measured means and covariances of the weights and member-wise partitions, is put beside the
ensemble and beside the infinite-width law.  These numbers are reported, not judged.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from pydantic import Field

from fieldflow.checks.record import LITERATURE, Family, Source, row
from fieldflow.ensemble import Ensemble
from fieldflow.flow import TrainingFlow
from fieldflow.formulas import compiled, derive
from fieldflow.inputs import Array
from fieldflow.latex import number, with_error
from fieldflow.network import MLP
from fieldflow.paper_flow import (
    Independent,
    Pass,
    Predictive,
    drawn_moments,
    exchangeable_law,
    memberwise_prediction,
    sample_independent,
)
from fieldflow.picture import Line, Panel, Picture, Points, Tabular
from fieldflow.schema import Section
from fieldflow.shell import ShellFlow
from fieldflow.studies.features import CUTOFF, OUTPUT, FeaturesStudy, fine_grid, sample_moments


class IndependentSection(Section):
    """Members trained on their own hidden layers, for the gap."""

    width: Annotated[int, Field(strict=True, ge=2, le=400)] = 200
    members: Annotated[int, Field(strict=True, ge=100, le=10**6)] = 4000


@dataclass(frozen=True)
class Gap:
    """Samples of independently trained members, and the two laws beside them."""

    net: MLP
    study: FeaturesStudy
    sampled: Independent

    @classmethod
    def measured(cls, study: FeaturesStudy, section: IndependentSection, run: Pass) -> "Gap":
        """Draw and train the members."""
        net = study.network.network(section.width)
        ensemble = Ensemble(net, section.members, study.seed, study.trained())
        return cls(net, study, sample_independent(ensemble, study.law(), study.points, study.cutoffs, run))

    @property
    def width(self) -> int:
        """Number of neurons of a member."""
        return self.net.finite_widths[-1]

    @cached_property
    def paper(self) -> list[Predictive]:
        """(64)-(76) with the ensemble's own means and covariances of the weights, partitions member-wise."""
        return self._paper(self.study.cutoffs)

    def _paper(self, cutoffs: Array) -> list[Predictive]:
        law = exchangeable_law(self.width, self.sampled.sums, self.net.readout_variance)
        x, fisher = self.study.points, self.study.law()
        return [memberwise_prediction(law, drawn_moments(self.net, x, fisher, cutoff)) for cutoff in cutoffs]

    @cached_property
    def flow(self) -> ShellFlow:
        """The infinite-width flow of an independent ensemble."""
        rule, std = self.study.trained(), self.study.data.input_std
        steps = rule.steps if rule.method == "gradient_flow" else int(rule.steps)
        flow = TrainingFlow(
            self.net, rule.x, rule.y[:, 0], learning_rate=rule.learning_rate, steps=steps, method=rule.method
        )
        return ShellFlow(flow, input_std=std, noise_variance=self.study.shell.noise_variance)

    @cached_property
    def wide(self) -> Array:
        """The gap of the mean at Λ = 0 and infinite width (p,), formula ``paper.eq64_gap``."""
        flow, x = self.flow.flow, self.study.points
        variance = self.net.sigma_w[0] ** 2 * self.net.layer_factor(0)
        single = compiled("paper.eq66")
        here, seen = (single(variance * np.einsum("ij,ij->i", at, at)) for at in (x, flow.x_train))
        response, gap, target = flow.response(x), compiled("paper.eq64_gap"), flow.y_train.reshape(-1, 1)
        total = self.net.sigma_w[-1] ** 2
        found = [
            gap(response[:, [i]], flow.matrix, target, here[[i], None], seen[None, :], total) for i in range(len(x))
        ]
        return np.array([float(value[0, 0]) for value in found])

    @cached_property
    def measured_moments(self) -> list[tuple[Array, Array, Array, Array]]:
        """Mean, error, variance, error at each cut-off."""
        return [sample_moments(self.sampled.own[:, i]) for i in range(len(self.study.cutoffs))]

    def family(self) -> Family:
        """Return the rows that are reported: (64) and (76) as claims about independently trained members."""
        source = Source(
            "independent/paper-flow", LITERATURE, "2405.17538 (63), (64), (76)", derive("paper.eq64").digest
        )
        n, rows = len(self.sampled.own), []
        for i, cutoff in enumerate(self.study.cutoffs):
            mean, mean_error, variance, variance_error = self.measured_moments[i]
            law = self.paper[i]
            for k, point in enumerate(self.study.points):
                rows.append(
                    row(
                        source,
                        f"mean at point {k + 1}, cut-off {cutoff:g}",
                        float(law.mean[k]),
                        float(mean[k]),
                        float(mean_error[k]),
                        n,
                        point=point,
                        cutoff=cutoff,
                        width=self.width,
                    )
                )
            rows.append(
                row(
                    source,
                    f"variance at point 1, cut-off {cutoff:g}",
                    float(law.covariance[0, 0]),
                    float(variance[0]),
                    float(variance_error[0]),
                    n,
                    point=self.study.points[0],
                    cutoff=cutoff,
                    width=self.width,
                )
            )
        return Family(source.family, LITERATURE, False, 0.0, 0, 1.0, {}, tuple(rows))

    def table(self) -> Tabular:
        """Return the gap of the mean at Λ = 0, measured and at infinite width."""
        mean, error, _, _ = self.measured_moments[0]
        rows = [
            [
                ", ".join(f"{value:.3f}" for value in point),
                number(float(self.paper[0].mean[k])),
                with_error(float(mean[k]), float(error[k])),
                with_error(float(mean[k] - self.paper[0].mean[k]), float(error[k])),
                number(float(self.wide[k])),
            ]
            for k, point in enumerate(self.study.points)
        ]
        return Tabular(
            "gap",
            rf"Mean of {len(self.sampled.own)} members of width {self.width}, each trained on its own hidden layer, beside "
            r"Eq.~(64) with the mean weights of the same ensemble. The last column is the gap at infinite width, "
            r"$\sigma_w^2\,\mathrm{Cov}[h(x), h(X)]\,MY$.",
            "lrrrr",
            ["$x$", r"$\bar w\cdot V$ (64)", "measured", "gap", r"gap, $N=\infty$"],
            rows,
        )

    def note(self) -> str:
        """Return the size of the gap in words."""
        mean, error, _, _ = self.measured_moments[0]
        pulls = np.abs(mean - self.paper[0].mean) / error
        share = self.paper[0].mean[0] / mean[0]
        return (
            f"Members trained on their own hidden layers (width {self.width}): (64) with their own mean weights gives {share:.2f} "
            f"of the measured mean at the first point and is off by up to {pulls.max():.0f} standard errors."
        )

    def picture(self) -> Picture:
        """Return mean and standard deviation along Λ: samples, the paper's flow, the infinite-width law."""
        cutoffs, point = self.study.cutoffs, self.study.points[:1]
        grid = fine_grid(cutoffs, 60)
        paper, wide = self._paper(grid), self.flow
        spread = np.sqrt([wide.covariance(point, cutoff=float(cutoff))[0, 0] for cutoff in grid])
        mean = [self.measured_moments[i][0][0] for i in range(len(cutoffs))]
        mean_error = [self.measured_moments[i][1][0] for i in range(len(cutoffs))]
        deviation = np.sqrt([self.measured_moments[i][2][0] for i in range(len(cutoffs))])
        error = np.array([self.measured_moments[i][3][0] for i in range(len(cutoffs))]) / (2.0 * deviation)
        panels = [
            Panel(
                [
                    Line(grid, [law.mean[0] for law in paper], "(64)-(76), own mean weights", "alternative", dashed=True),
                    Line(grid, wide.mean(point, grid)[:, 0], "infinite width, independent layers"),
                    Points(cutoffs, mean, mean_error, "samples, independent layers"),
                ],
                CUTOFF, f"mean of {OUTPUT}", xscale="cutoff",
            ),
            Panel(
                [
                    Line(grid, [np.sqrt(law.covariance[0, 0]) for law in paper], "(64)-(76), own mean weights", "alternative",
                         dashed=True),
                    Line(grid, spread, "infinite width, independent layers"),
                    Points(cutoffs, deviation, error, "samples, independent layers"),
                ],
                CUTOFF, f"std. deviation of {OUTPUT}", xscale="cutoff",
            ),
        ]  # fmt: skip
        caption = (
            "Members trained on their own hidden layers, at the first point: exchangeable neurons have one mean weight, so "
            r"$\bar w\cdot V$ of Eq.~(64) misses most of what was learnt."
        )
        return Picture("independent", caption, panels)
