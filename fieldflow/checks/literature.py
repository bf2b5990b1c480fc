"""What do the paper's figures and text say, and what does the same experiment measure? Reported, never gating."""

import numpy as np

from fieldflow.checks.case import Case
from fieldflow.checks.measured import Measured
from fieldflow.checks.record import LITERATURE, Check, Family, Source, row
from fieldflow.checks.sampling import Sampled
from fieldflow.inputs import Array


def literature(case: Case, sampled: Sampled) -> Family:
    """Claims of section 4.2 of arXiv:2405.17538 beside their measured values (claimed value as prediction)."""
    width = case.net.finite_widths[-1]
    silent, train, loss = sampled.silent, sampled.train_loss, sampled.loss
    scale = float(np.mean(case.y_train**2))

    def measured(name: str, place: str, claim: float, value: float, error: float, cutoff: float | None = None) -> Check:
        source = Source(f"{case.label}/literature", LITERATURE, f"2405.17538 {place}")
        return row(source, name, claim, value, error, sampled.used, cutoff=cutoff, width=width)

    kurtosis, kurtosis_error = _kurtosis(case, sampled)
    plateau = _plateau(case, loss.mean)
    checks = [
        measured("excess kurtosis of f at the first stated input (a single Gaussian has 0)", "fig. 8", 0.0,
                 kurtosis, kurtosis_error, 0.0),
        measured("mean of f at the first stated input (the text: peaked at the target)", "fig. 8",
                 float(case.y_test[0]), float(sampled.outputs.mean[0]), float(sampled.outputs.mean_error[0]), 0.0),
        measured("fraction of units with lambda = 0 (a positive definite Fisher metric has none)", "(49)", 0.0,
                 float(silent.mean[0] / width), float(silent.mean_error[0] / width)),
        # Columns 0 and 1 of the grid: nothing removed, and only the units with λ = 0 redrawn.
        measured("median loss with only the lambda = 0 units redrawn, over the trained one (the text: unchanged)",
                 "fig. 9", 1.0, *_ratio_of_medians(case, loss, 1)),
        measured("median loss at the last cutoff before the mean loss rises by the stated excess, over the trained one"
                 " (the text: practically unchanged)", "fig. 9", 1.0,
                 *_ratio_of_medians(case, loss, plateau), float(case.grid[plateau])),
        measured("median training loss over the mean square of the training targets (the text: a network that fits)",
                 "fig. 7", 0.0, float(train.quantile(0.5)[0] / scale), _median_error(case, train) / scale),
    ]  # fmt: skip
    return Family(f"{case.label}/literature", LITERATURE, False, 0.0, 0, 1.0, {}, tuple(checks))


def _plateau(case: Case, curve: Array) -> int:
    """Return the last grid position before the mean loss leaves excess·(loss(∞) - loss(0)), largest cut-off as ∞."""
    above = np.flatnonzero(curve > curve[0] + case.excess * (curve[-1] - curve[0]))
    return int(above[0]) - 1 if len(above) and above[0] > 0 else 0


def _kurtosis(case: Case, sampled: Sampled) -> tuple[float, float]:
    """Return the excess kurtosis of f at the first stated input and Λ = 0, and its error."""
    outputs = sampled.outputs
    value = outputs.central(4)[0] / outputs.central(2)[0] ** 2 - 3.0

    def of_sample(sample: Array) -> Array:
        centred = sample - sample.mean(axis=0)
        result: Array = np.mean(centred**4, axis=0) / np.mean(centred**2, axis=0) ** 2 - 3.0
        return result

    error, _ = outputs.bootstrap(of_sample, seed=case.seed + 3, cells=slice(1))
    return float(value), float(error[0])


def _ratio_of_medians(case: Case, loss: Measured, position: int) -> tuple[float, float]:
    """Return the median loss at one cut-off of the grid over that at Λ = 0, and its error."""
    medians = loss.quantile(0.5)

    def of_sample(sample: Array) -> Array:
        return np.atleast_1d(np.median(sample[:, 0]) / np.median(sample[:, 1]))

    error, _ = loss.bootstrap(of_sample, seed=case.seed + 3, cells=[position, 0])
    return float(medians[position] / medians[0]), float(error[0])


def _median_error(case: Case, quantity: Measured) -> float:
    return float(quantity.bootstrap(lambda sample: np.median(sample, axis=0), seed=case.seed + 3)[0][0])
