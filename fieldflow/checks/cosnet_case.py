"""What is one experiment on cosine networks? Network, data, training, shells and sample sizes, already validated."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fieldflow.checks.record import EXACT, Family, Source, row
from fieldflow.cosnet import CosNet
from fieldflow.cosnet_flow import CosNetFlow
from fieldflow.ensemble import Trained
from fieldflow.inputs import Array
from fieldflow.keeper import Keeper
from fieldflow.numeric.cosnet import CosShell
from fieldflow.numeric.statistics import chi2_p, chi2_shift

Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class CosCase:
    """One cosine network with its data and what is measured.

    ``field_cutoffs`` belong to broad Fisher inputs, ``cutoffs`` to the inputs of training, N(0, input_std²).  Points of
    evaluation ``stated`` (p, d), momenta and separations lie along the first axis.
    """

    name: str
    net: CosNet
    trained: Trained
    input_std: float
    noise_variance: float
    mode: str
    cutoffs: Array
    stated: Array
    field_cutoffs: Array
    momenta: Array
    window: float
    separations: Array
    widths: tuple[int, ...]
    scan_members: int
    members: int
    seed: int
    threads: int
    keeper: Keeper = field(default_factory=Keeper)

    @property
    def width(self) -> int:
        """Return N of the ensemble."""
        return int(self.net.width or 0)

    @cached_property
    def flow(self) -> CosNetFlow:
        """Return the infinite-width law."""
        rule = self.trained
        return CosNetFlow(
            self.net,
            rule.x,
            rule.y,
            learning_rate=rule.learning_rate,
            steps=rule.steps if rule.method == "gradient_flow" else int(rule.steps),
            method=rule.method,
            input_std=self.input_std,
            noise_variance=self.noise_variance,
            mode=self.mode,
        )

    @property
    def alone(self) -> "CosCase":
        """The same case as it may go to another process: without its keeper."""
        return replace(self, keeper=Keeper())

    def with_width(self, width: int) -> "CosCase":
        """Return the case with another width."""
        return replace(self, net=replace(self.net, width=width))

    def shell(self) -> CosShell:
        """Return the shell of the trained ensemble."""
        return CosShell(self.cutoffs, self.input_std, self.noise_variance, self.mode == "resample")

    def field_shell(self) -> CosShell:
        """Return the shell of the untrained field, for broad inputs."""
        return CosShell(self.field_cutoffs, np.inf, self.noise_variance, False)


def counted(
    source: Source, counts: NDArray[np.int64], total: int, predicted: Array, wrong: Array, cutoffs: Array, width: int
) -> Family:
    """Return the family of numbers of sloppy units, multinomial over the shells between cut-offs at any width."""
    errors = np.sqrt(predicted * (1.0 - predicted) / total)
    checks = tuple(
        row(
            source,
            "sloppy fraction",
            float(predicted[i]),
            float(counts[i] / total),
            float(errors[i]),
            total,
            control=float(wrong[i]),
            cutoff=float(cutoff),
            width=width,
            p_value=_binomial_p(int(counts[i]), total, float(predicted[i])),
        )
        for i, cutoff in enumerate(cutoffs)
    )
    chi2, dof = _pearson(counts, total, predicted)
    shifted, _ = _pearson(counts, total, wrong)
    control = {"lambda without the 1/2 of cos^2": chi2_shift(shifted, dof)}
    return Family(source.family, EXACT, True, chi2, dof, chi2_p(chi2, dof), control, checks)


def _pearson(counts: NDArray[np.int64], total: int, fraction: Array) -> tuple[float, int]:
    """Return Pearson's χ² and its degrees of freedom; shells that the prediction leaves empty count one unit as expected."""
    expected = total * np.diff(np.concatenate([[0.0], fraction, [1.0]]))
    observed = np.diff(np.concatenate([[0], counts, [total]]))
    filled = (expected > 0.0) | (observed > 0)
    terms = (observed - expected)[filled] ** 2 / np.maximum(expected[filled], 1.0)
    return float(np.sum(terms)), int(filled.sum()) - 1


def _binomial_p(count: int, total: int, fraction: float) -> float:
    if fraction in (0.0, 1.0):
        return 1.0 if count == total * fraction else 0.0
    return float(stats.binomtest(count, total, fraction).pvalue)
