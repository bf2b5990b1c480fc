"""What do the paper's figures and text say, and what does the same experiment measure? Reported, never gating."""

from collections.abc import Callable

import numpy as np

from fieldflow.checks.case import Case
from fieldflow.checks.record import LITERATURE, Check, Family, Source, row
from fieldflow.checks.sampling import Sampled
from fieldflow.inputs import Array
from fieldflow.numeric.statistics import bootstrap_errors


def literature(case: Case, sampled: Sampled) -> Family:
    """Claims of section 4.2 of arXiv:2405.17538 beside their measured values (claimed value as prediction)."""
    used = sampled.used
    outputs, loss = sampled.outputs[used], sampled.loss[used]
    width = case.net.finite_widths[-1]
    n = len(used)

    def measured(
        name: str, place: str, claim: float, values: Array, statistic: str, cutoff: float | None = None
    ) -> Check:
        def reduce(sample: Array) -> Array:
            return np.atleast_1d(_STATISTICS[statistic](sample))

        error, _ = bootstrap_errors(values, reduce, seed=case.seed + 3)
        source = Source(f"{case.label}/literature", LITERATURE, f"2405.17538 {place}")
        value, spread = float(reduce(values)[0]), float(error[0])
        return row(source, name, claim, value, spread, n, cutoff=cutoff, width=width)

    silent = sampled.silent[used] / width
    # Columns 0 and 1 of the grid: nothing removed, and only the units with λ = 0 redrawn.
    cost = np.column_stack([loss[:, 1], loss[:, 0]])
    plateau = _plateau(case, loss)
    checks = [
        measured("excess kurtosis of f at the first stated input (a single Gaussian has 0)", "fig. 8", 0.0,
                 outputs[:, 0, :1], "kurtosis", 0.0),
        measured("mean of f at the first stated input (the text: peaked at the target)", "fig. 8",
                 float(case.y_test[0]), outputs[:, 0, :1], "mean", 0.0),
        measured("fraction of units with lambda = 0 (a positive definite Fisher metric has none)", "(49)", 0.0,
                 silent[:, None], "mean"),
        measured("median loss with only the lambda = 0 units redrawn, over the trained one (the text: unchanged)",
                 "fig. 9", 1.0, cost, "ratio of medians"),
        measured("median loss at the last cutoff before the mean loss rises by the stated excess, over the trained one"
                 " (the text: practically unchanged)", "fig. 9", 1.0,
                 np.column_stack([loss[:, plateau], loss[:, 0]]), "ratio of medians", float(case.grid[plateau])),
        measured("median training loss over the mean square of the training targets (the text: a network that fits)",
                 "fig. 7", 0.0, sampled.train_loss[used][:, None] / np.mean(case.y_train**2), "median"),
    ]  # fmt: skip
    return Family(f"{case.label}/literature", LITERATURE, False, 0.0, 0, 1.0, {}, tuple(checks))


def _plateau(case: Case, loss: Array) -> int:
    """Return the last grid position before the mean loss leaves excess·(loss(∞) - loss(0)), largest cut-off as ∞."""
    curve = loss.mean(axis=0)
    above = np.flatnonzero(curve > curve[0] + case.excess * (curve[-1] - curve[0]))
    return int(above[0]) - 1 if len(above) and above[0] > 0 else 0


def _kurtosis(sample: Array) -> Array:
    centred = sample - sample.mean(axis=0)
    value: Array = np.mean(centred**4, axis=0) / np.mean(centred**2, axis=0) ** 2 - 3.0
    return value


_STATISTICS: dict[str, Callable[[Array], Array]] = {
    "mean": lambda sample: sample.mean(axis=0),
    "median": lambda sample: np.median(sample, axis=0),
    "kurtosis": _kurtosis,
    "ratio of medians": lambda sample: np.atleast_1d(np.median(sample[:, 0]) / np.median(sample[:, 1])),
}
