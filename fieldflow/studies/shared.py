"""Where are (64)-(76) of arXiv:2405.17538 exact? In an ensemble whose members share one frozen hidden layer."""

import numpy as np

from fieldflow.checks.record import EXACT, Family, Source
from fieldflow.formulas import derive
from fieldflow.inputs import Array
from fieldflow.numeric.statistics import chi2_p, ks_p, normality_shift
from fieldflow.paper_flow import (
    FrozenLayer,
    Moments,
    Pass,
    Predictive,
    biased_prediction,
    frozen_moments,
    sample_shared,
    shell_prediction,
)
from fieldflow.picture import Line, Panel, Picture, Points
from fieldflow.schema import Text
from fieldflow.studies.features import CUTOFF, OUTPUT, FeaturesStudy, fine_grid, moments_family, sample_moments
from fieldflow.study import Outcome, Report

FORMULAS = (
    "paper.eq64", "paper.eq65", "paper.eq68", "paper.eq69", "paper.eq70", "paper.eq72", "paper.eq72_mean", "paper.eq74",
    "paper.eq75", "paper.eq76_mean", "paper.eq76", "fisher.readout",
)  # fmt: skip


class SharedStudy(FeaturesStudy):
    """Read-outs trained on one hidden layer that all members share."""

    kind: Text = "shared-features"

    def outcome(self, threads: int, report: Report) -> Outcome:
        """Return the laws (64)-(76) against members that share their hidden layer."""
        layer, x, cutoffs = self.layer(), self.points, self.cutoffs
        done = [0]

        def progress(count: int) -> None:
            done[0] += count
            report("shared hidden layer", done[0], self.members)

        samples = sample_shared(layer, x, cutoffs, Pass(self._keeper, self.members, threads, progress))
        moments = frozen_moments(layer, x)
        laws = [shell_prediction(layer.readout, moments, layer.diagonal >= cutoff) for cutoff in cutoffs]
        return Outcome(
            families=[
                _trained(layer, samples, x),
                _gaussian(samples, laws),
                _shell(layer, moments, samples, laws, cutoffs, x),
            ],
            pictures=_pictures(layer, moments, samples, cutoffs),
            conventions={"shared": dict(layer.net.convention.items())},
            requested=self.members,
            formulas=FORMULAS,
            notes=[
                f"All {self.members} members share one hidden layer of {self.network.width} neurons; "
                f"{int(np.sum(layer.diagonal >= cutoffs[-1]))} of {len(layer.diagonal)} read-out parameters are stiff at the "
                f"largest cut-off.",
            ],
        )


def _width(layer: FrozenLayer) -> int:
    return layer.net.finite_widths[-1]


def _trained(layer: FrozenLayer, samples: Array, x: Array) -> Family:
    """(64), (65) with the exact law (69), (70) of the read-out, written with the bias apart as in (72)."""
    source = Source("shared/trained-law", EXACT, "2405.17538 (64), (65), (69)-(72)", derive("paper.eq72").digest)
    law = biased_prediction(layer, x)
    moments, readout = frozen_moments(layer, x), layer.readout
    alone = _uncorrelated(readout.covariance)
    controls = {
        "weights of (70) uncorrelated": [
            shell_prediction(readout._replace(covariance=alone), moments, np.ones(len(readout.mean), bool))
        ],
        "mean weights halved": [Predictive(0.5 * law.mean, law.covariance)],
    }
    return moments_family(source, samples[:, :1], [law], controls, np.zeros(1), x, _width(layer))


def _uncorrelated(covariance: Array) -> Array:
    """Return the diagonal of a covariance as a matrix: weights that have forgotten each other."""
    return np.diag(np.diag(covariance))


def _gaussian(samples: Array, laws: list[Predictive]) -> Family:
    """(68): whitened outputs are iid N(0, 1); each member is looked at at one cut-off, so that all are independent."""
    source = Source("shared/gaussian-law", EXACT, "2405.17538 (68)", derive("paper.eq68").digest)
    parts = []
    for i, law in enumerate(laws):
        values, vectors = np.linalg.eigh(law.covariance)
        keep = values > 1e-8 * values[-1]
        residual = samples[i :: len(laws), i] - law.mean
        parts.append(((residual @ vectors[:, keep]) / np.sqrt(values[keep])).reshape(-1))
    pooled = np.concatenate(parts)
    chi2, dof = float(pooled @ pooled), len(pooled)
    shift = {"covariance with a wrong factor 1/2": normality_shift(np.sqrt(2.0) * pooled)}
    return Family(source.family, EXACT, True, chi2, dof, chi2_p(chi2, dof), shift, (), ks_p_value=ks_p(pooled))


def _shell(
    layer: FrozenLayer, moments: Moments, samples: Array, laws: list[Predictive], cutoffs: Array, x: Array
) -> Family:
    """(74)-(76): the partition is the same for all members, so they hold as they stand, with s_w for σ_w²."""
    source = Source("shared/information-shell", EXACT, "2405.17538 (74)-(76)", derive("paper.eq76").digest)
    readout, stiff = layer.readout, [layer.diagonal >= cutoff for cutoff in cutoffs[1:]]
    printed = readout._replace(prior=layer.net.sigma_w[-1] ** 2)
    controls = {
        "prune for resample": [shell_prediction(readout._replace(prior=0.0), moments, kept) for kept in stiff],
        "sigma_w^2 for s_w in (75)": [shell_prediction(printed, moments, kept) for kept in stiff],
    }
    return moments_family(source, samples[:, 1:], laws[1:], controls, cutoffs[1:], x, _width(layer))


def _pictures(layer: FrozenLayer, moments: Moments, samples: Array, cutoffs: Array) -> list[Picture]:
    grid = fine_grid(cutoffs)
    laws = [shell_prediction(layer.readout, moments, layer.diagonal >= cutoff) for cutoff in grid]
    measured = [sample_moments(samples[:, i]) for i in range(len(cutoffs))]
    panels = []
    for k in range(min(samples.shape[2], 2)):
        mean, mean_error, variance, variance_error = (np.array([m[j][k] for m in measured]) for j in range(4))
        spread, title = np.sqrt(variance), f"point {k + 1}"
        panels += [
            Panel(
                [
                    Line(grid, [law.mean[k] for law in laws], "(74)-(76)"),
                    Points(cutoffs, mean, mean_error, "samples, one hidden layer"),
                ],
                CUTOFF, f"mean of {OUTPUT}", title, xscale="cutoff",
            ),
            Panel(
                [
                    Line(grid, [np.sqrt(law.covariance[k, k]) for law in laws], "(74)-(76)"),
                    Points(cutoffs, spread, variance_error / (2.0 * spread), "samples, one hidden layer"),
                ],
                CUTOFF, f"std. deviation of {OUTPUT}", title, xscale="cutoff",
            ),
        ]  # fmt: skip
    caption = (
        "Mean and standard deviation along the information shell when all members share one hidden layer: Eq.~(76) is exact at "
        "any width. Each step of the curves is one weight that turns sloppy."
    )
    return [Picture("shared", caption, panels)]
