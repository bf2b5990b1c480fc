"""Exact at any width: the law of f_Λ given the hidden layers, the strict partition, and the loss they imply."""

from collections.abc import Callable

import numpy as np
from scipy import stats

from fieldflow.checks.case import Case
from fieldflow.checks.examine import Examined
from fieldflow.checks.record import EXACT, Check, Family, Source, row
from fieldflow.formulas import derive
from fieldflow.inputs import Array
from fieldflow.numeric.statistics import chi2_p, chi2_shift, hotelling, ks_p, normality_shift, two_sided

ENOUGH_SILENT = 128
"""Components of the change needed for "no change" (χ² = 0) to lie 8 standard errors away: √(dof/2) = 8."""


def conditional_law(case: Case, examined: Examined) -> Family:
    """Given a member's hidden layer f_Λ is jointly Gaussian over inputs and cut-offs, with known mean and covariance.

    χ² over all whitened components, Kolmogorov-Smirnov on the components, and one mean and one variance row per cell.
    """
    source = Source(f"{case.label}/conditional-law", EXACT, "2405.17538 (94)-(97)", derive("shell.covariance").digest)
    return _whitened_family(
        source,
        examined.components("components"),
        {swapped(case): examined.components("swapped")},
        _cells(case, source, examined),
    )


def trained_law(case: Case, examined: Examined) -> Family:
    """The same at Λ = 0, where nothing is removed: the law of training alone."""
    source = Source(
        f"{case.label}/trained-law", EXACT, "2405.17538 Sec. 4.1", derive(f"training.{case.trained.method}").digest
    )
    counts = examined.sloppy[:, 0]
    check = row(source, "units removed at cutoff 0", 0.0, float(counts.sum()), 0.0, len(counts), cutoff=0.0)
    return _whitened_family(
        source,
        examined.components("start"),
        {"kernel with a wrong factor 1/2": examined.components("half")},
        (check,),
    )


def _whitened_family(
    source: Source, components: list[Array], controls: dict[str, list[Array]], checks: tuple[Check, ...]
) -> Family:
    """Return the family judged by χ² and Kolmogorov-Smirnov on whitened components, iid N(0, 1) if the law holds."""
    pooled = np.concatenate(components)
    chi2, dof = float(pooled @ pooled), len(pooled)
    shifts = {name: normality_shift(np.concatenate(wrong)) for name, wrong in controls.items()}
    return Family(source.family, EXACT, True, chi2, dof, chi2_p(chi2, dof), shifts, checks, ks_p_value=ks_p(pooled))


def strict_partition(case: Case, examined: Examined) -> Family | None:
    """Λ = 0 keeps even units with λ = 0; the smallest positive cut-off removes them, and f changes by a known law.

    The partition λ <= Λ would have removed them at Λ = 0 already: no change.  Where too few units have λ = 0 there is
    nothing to check.
    """
    components = examined.components("change_components")
    if sum(len(part) for part in components) < ENOUGH_SILENT:
        return None
    source = Source(f"{case.label}/strict-partition", EXACT, "2405.17538 (95)", derive("shell.covariance").digest)
    change, variance = examined.records.change, examined.records.change_variance
    checks = tuple(
        _ratio_row(source, "squared change of f when lambda = 0 units are removed / its variance", change[:, k],
                   variance[:, k], 0.0, {"cutoff": 0.0, "point": point, "width": _width(case)})
        for k, point in enumerate(case.x_stated)
        if np.any(variance[:, k] > 0.0)
    )  # fmt: skip
    nothing = {"lambda <= cutoff at cutoff 0": [np.zeros_like(part) for part in components]}
    return _whitened_family(source, components, nothing, checks)


def loss_curve(case: Case, examined: Examined) -> Family:
    """Test loss of a member over its expectation bias² + variance given the hidden layer: 1 on average, at any width."""
    source = Source(f"{case.label}/loss-curve", EXACT, "2405.17538 fig. 9", derive("shell.covariance").digest)
    ratio = (examined.loss / examined.records.mean_loss)[:, case.shown]
    n = len(ratio)
    difference = ratio.mean(axis=0) - 1.0
    covariance = np.cov(ratio, rowvar=False) / n
    statistic, rank, p_value = hotelling(difference, covariance, n)
    errors = np.sqrt(np.diag(covariance))
    control = (examined.records.swapped_loss / examined.records.mean_loss)[:, case.shown].mean(axis=0)
    wrong, dof, _ = hotelling(ratio.mean(axis=0) - control, covariance, n)
    checks = tuple(
        row(
            source,
            "test loss / expected loss given the hidden layer",
            1.0,
            float(ratio[:, i].mean()),
            float(errors[i]),
            n,
            control=float(control[i]),
            p_value=_student_p(float(difference[i]), float(errors[i]), n),
            cutoff=cutoff,
            width=_width(case),
        )
        for i, cutoff in enumerate(case.cutoffs)
    )
    shift = {swapped(case): chi2_shift(wrong, dof)}
    return Family(source.family, EXACT, True, statistic, rank, p_value, shift, checks)


def _cells(case: Case, source: Source, examined: Examined) -> tuple[Check, ...]:
    outputs, records = examined.outputs, examined.records
    mean, variance, other = records.mean, records.variance, records.swapped_variance
    n = len(outputs)
    checks = []
    for cutoff, position in zip(case.cutoffs, case.shown, strict=True):
        for k, point in enumerate(case.x_stated):
            cell = (slice(None), position, k)
            spread = float(np.sqrt(variance[cell].sum()) / n)
            predicted = float(mean[cell].mean())
            place = {"cutoff": float(cutoff), "point": point, "width": _width(case)}
            checks.append(
                row(source, "mean", predicted, float(outputs[cell].mean()), spread, n, control=predicted / 2, **place)
            )
            spreads = variance[cell]
            if not np.any(spreads > 0.0):
                continue  # everything is removed: the mean row compares f with 0 exactly
            control = float(np.mean(other[cell][spreads > 0.0] / spreads[spreads > 0.0]))
            name = "variance / its value given the hidden layer"
            checks.append(_ratio_row(source, name, outputs[cell] - mean[cell], spreads, control, place))
    return tuple(checks)


def _ratio_row(
    source: Source, name: str, residual: Array, variance: Array, control: float, place: dict[str, object]
) -> Check:
    """Return the row of residual²/variance, whose sum over members is exactly χ²; members without variance have none."""
    used = variance > 0.0
    squares = residual[used] ** 2 / variance[used]
    n = len(squares)
    total = float(squares.sum())
    p_value = two_sided(float(stats.chi2.cdf(total, n)), float(stats.chi2.sf(total, n)))
    return row(source, name, 1.0, total / n, float(np.sqrt(2.0 / n)), n, control=control, p_value=p_value,
               **place)  # type: ignore[arg-type]  # fmt: skip


def _student_p(difference: float, error: float, n: int) -> float | None:
    """Return the two-sided p-value of a mean whose error is estimated from its own n values; None without an error."""
    return None if error == 0.0 else float(2.0 * stats.t.sf(abs(difference) / error, n - 1))


def swapped(case: Case) -> str:
    """Return the name of the control that uses the other mode's law."""
    return f"{case.other_mode} for {case.mode}"


def _width(case: Case) -> int:
    return case.net.finite_widths[-1]


Judge = Callable[[Case, Examined], Family | None]

FAMILIES: tuple[Judge, ...] = (conditional_law, trained_law, strict_partition, loss_curve)
