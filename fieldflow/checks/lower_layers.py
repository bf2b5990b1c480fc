"""Averages over the hidden layers: predicted from independent hidden draws, measured on the ensemble.

Given a hidden layer f is N(m, v), so over the ensemble it is a mixture of Gaussians; its moments and quantiles are
predicted from hidden layers that no sampled member has (another random stream).  Tails are heavy: medians stand beside
means, errors come from the bootstrap over members, and the family does not decide the exit code.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from fieldflow.checks.case import Case, Progress, member_of
from fieldflow.checks.measured import Measured
from fieldflow.checks.record import ASYMPTOTIC, Check, Family, Source, row
from fieldflow.checks.sampling import Sampled
from fieldflow.formulas import derive
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork, Keeper
from fieldflow.numeric import rng
from fieldflow.numeric.ensemble import DIVERGENCE
from fieldflow.numeric.statistics import chi2_shift, hotelling

DRAWS = 8192
"""Independent draws of the hidden layers at most; the errors of the predictions say what that leaves open."""

JOINT_CUTOFFS = 2
JOINT_INPUTS = 2
LEVELS = (0.25, 0.5, 0.75)
"""The joint statement uses these quantiles at so many cut-offs and inputs: a bootstrap covariance needs few cells."""


class _Draw(NamedTuple):
    mean: Array
    variance: Array
    loss: Array
    sloppy: Array
    halved: Array


class _Draws(NamedTuple):
    """The fields of ``_Draw`` for all draws, zero where ``used`` is False because the draw diverges."""

    mean: Array
    variance: Array
    loss: Array
    sloppy: Array
    halved: Array
    used: NDArray[np.bool_]


@dataclass(frozen=True)
class Independent:
    """Per independent hidden draw: m and v (draws, grid, stated), expected loss, sloppy fraction, and the sloppy
    fraction under λ/2 (draws, grid).
    """

    mean: Array
    variance: Array
    loss: Array
    sloppy: Array
    halved: Array


def draw_independent(case: Case, progress: Progress) -> Independent:
    """Return the conditional moments over as many independent hidden draws as the ensemble has members, at most ``DRAWS``."""
    drawn = case.keeper.gather(
        case.label,
        "predict",
        _Draws,
        min(case.members, DRAWS),
        partial(_work, replace(case, keeper=Keeper())),  # it may go to another process, without the keeper
        threads=case.threads,
        progress=lambda count: progress("predict", count),
    )
    return Independent(*(column[drawn.used] for column in drawn[:-1]))


def _work(case: Case) -> BlockWork[_Draws]:
    """Return the function that draws one block."""
    grid, stated = len(case.grid), case.stated

    def work(first: int, count: int, stop: NDArray[np.uint8]) -> _Draws:
        cells, line = (count, grid, stated), (count, grid)
        draws = _Draws(
            np.zeros(cells), np.zeros(cells), np.zeros(line), np.zeros(line), np.zeros(line), np.zeros(count, np.bool_)
        )
        for slot in range(count):
            if stop[0]:
                break
            draw = _draw(case, first + slot)
            if draw is not None:
                for column, value in zip(draws[:-1], draw, strict=True):
                    column[slot] = value
                draws.used[slot] = True
        return draws

    return work


def _draw(case: Case, index: int) -> _Draw | None:
    """Return one draw, or None if it diverges by the rule that excludes members of the ensemble."""
    member = member_of(case, index, rng.INDEPENDENT)
    with np.errstate(over="ignore", invalid="ignore"):
        residual = case.trained.y - member.flow.gram @ (member.flow.matrix @ case.trained.y)
        growth = np.linalg.norm(residual)
    if not growth <= DIVERGENCE * np.linalg.norm(case.trained.y):
        return None
    mean, variances = member.flow.moments(member.test, case.grid)
    # Loadings, not the quadratic form, where a variance of its own is needed: a trained one is a small difference.
    law = member.flow.law(np.ascontiguousarray(member.test[:, : case.stated]), case.grid, mode=case.mode)
    shape = (len(case.grid), case.stated)
    width = case.net.finite_widths[-1]
    return _Draw(
        law.mean[:, 0].reshape(shape),
        np.einsum("ij,ij->i", law.loading, law.loading).reshape(shape),
        np.mean((mean[..., 0] - case.y_test) ** 2 + variances[case.mode], axis=1),
        np.mean(member.diagonal[:width] < case.grid[:, None], axis=1),
        np.mean(0.5 * member.diagonal[:width] < case.grid[:, None], axis=1),
    )


def mixture_quantile(mean: Array, variance: Array, level: float) -> Array:
    """Return the quantile (cells,) of the equal mixture of N(mean_i, variance_i), inputs (draws, cells); bisection."""
    deviation = np.sqrt(np.maximum(variance, np.finfo(float).tiny))
    low, high = (mean - 12.0 * deviation).min(axis=0), (mean + 12.0 * deviation).max(axis=0)
    for _ in range(80):
        middle = 0.5 * (low + high)
        below = special.ndtr((middle - mean) / deviation).mean(axis=0) < level
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    quantile: Array = 0.5 * (low + high)
    return quantile


def mixture_density(mean: Array, variance: Array, at: Array) -> Array:
    """Return the density (points,) of the mixture of N(mean_i, variance_i), inputs (draws,), at ``at`` (points,).

    Draws without variance (networks that are dead at this input) are an atom, which has no density.
    """
    spread = variance > 0.0
    deviation = np.sqrt(variance[spread])
    scaled = np.clip((at[:, None] - mean[spread]) / deviation, -40.0, 40.0)  # beyond, the density is zero in float64
    value: Array = np.sum(np.exp(-0.5 * scaled**2) / (np.sqrt(2.0 * np.pi) * deviation), axis=1) / len(mean)
    return value


def averages(case: Case, sampled: Sampled, independent: Independent) -> Family:
    """Mean and median of f, and the mean loss, over the lower layers."""
    source = Source(f"{case.label}/lower-layers", ASYMPTOTIC, "2405.17538 figs. 8-11", derive("shell.mean").digest)
    shown, outputs = _shown_cells(case), sampled.outputs
    mean = independent.mean.reshape(len(independent.mean), -1)[:, shown]
    variance = independent.variance.reshape(len(mean), -1)[:, shown]
    median = mixture_quantile(mean, variance, 0.5)
    median_error = _influence(mean, variance, median).std(axis=0, ddof=1) / np.sqrt(len(mean))
    measured = outputs.quantile(0.5)[shown]
    error, _ = outputs.bootstrap(lambda s: np.median(s, axis=0), seed=case.seed, cells=shown)
    average, spread = outputs.mean[shown], outputs.mean_error[shown]
    checks: list[Check] = []
    cells = [(c, x) for c in case.cutoffs for x in case.x_stated]
    for i, (cutoff, point) in enumerate(cells):
        place = {"cutoff": float(cutoff), "point": point, "width": case.net.finite_widths[-1]}
        predicted, own = float(mean[:, i].mean()), float(mean[:, i].std(ddof=1) / np.sqrt(len(mean)))
        checks.append(
            row(
                source,
                "mean of f",
                predicted,
                float(average[i]),
                float(spread[i]),
                outputs.count,
                prediction_std_error=own,
                control=predicted / 2,
                **place,
            )
        )
        if error[i] == 0.0 and median_error[i] == 0.0:
            continue  # everything is removed: the mean row compares f with 0 exactly
        checks.append(
            row(
                source,
                "median of f",
                float(median[i]),
                float(measured[i]),
                float(error[i]),
                outputs.count,
                prediction_std_error=float(median_error[i]),
                control=float(median[i]) / 2,
                **place,
            )
        )
    checks += _loss_rows(case, source, sampled, independent)
    statistic, rank, p_value, shift = _joint_quantiles(case, outputs, mean, variance)
    return Family(
        source.family,
        ASYMPTOTIC,
        False,
        statistic,
        rank,
        p_value,
        {"quartiles with a wrong factor 1/2": shift},
        tuple(checks),
    )


def sloppy_fraction(case: Case, sampled: Sampled, independent: Independent) -> Family:
    """Fraction of sloppy units of the ensemble against independent hidden draws."""
    source = Source(f"{case.label}/sloppy-fraction", ASYMPTOTIC, "2405.17538 (95)", derive("fisher.readout").digest)
    width = case.net.finite_widths[-1]
    shown = case.shown
    predicted, halved = independent.sloppy[:, shown], independent.halved[:, shown]
    n, k = sampled.used, len(predicted)
    centre = sampled.sloppy.mean[0, shown] / width
    spread = sampled.sloppy.covariance[0][np.ix_(shown, shown)] / (width**2 * n)
    errors = np.sqrt(np.diag(spread)), predicted.std(axis=0, ddof=1) / np.sqrt(k)
    checks = tuple(
        row(
            source,
            "sloppy fraction",
            float(predicted[:, i].mean()),
            float(centre[i]),
            float(errors[0][i]),
            n,
            prediction_std_error=float(errors[1][i]),
            control=float(halved[:, i].mean()),
            cutoff=cutoff,
            width=width,
        )
        for i, cutoff in enumerate(case.cutoffs)
    )
    covariance = spread + np.cov(predicted, rowvar=False) / k
    statistic, rank, p_value = hotelling(centre - predicted.mean(axis=0), covariance, min(n, k))
    wrong, dof, _ = hotelling(centre - halved.mean(axis=0), covariance, min(n, k))
    controls = {"Fisher diagonal with a wrong factor 1/2": chi2_shift(wrong, dof)}
    return Family(source.family, ASYMPTOTIC, False, statistic, rank, p_value, controls, checks)


def _loss_rows(case: Case, source: Source, sampled: Sampled, independent: Independent) -> list[Check]:
    """Return the mean test loss per cut-off: bias² + variance over independent draws against the ensemble's average."""
    shown, predicted = case.shown, independent.loss[:, case.shown]
    measured, error = sampled.loss.mean[shown], sampled.loss.mean_error[shown]
    own = predicted.std(axis=0, ddof=1) / np.sqrt(len(predicted))
    return [
        row(
            source,
            "mean test loss",
            float(predicted[:, i].mean()),
            float(measured[i]),
            float(error[i]),
            min(sampled.used, len(predicted)),
            prediction_std_error=float(own[i]),
            control=float(predicted[:, i].mean() / 2),
            cutoff=cutoff,
            width=case.net.finite_widths[-1],
        )
        for i, cutoff in enumerate(case.cutoffs)
    ]


def _shown_cells(case: Case) -> NDArray[np.int64]:
    """Return the cells of the outputs at the experiment's own cut-offs, all stated inputs of one after the other."""
    return (case.shown[:, None] * case.stated + np.arange(case.stated)).reshape(-1)


def _joint_quantiles(case: Case, outputs: Measured, mean: Array, variance: Array) -> tuple[float, int, float, float]:
    """Return T², rank, p-value of the quartiles at a few cut-offs, and the shift of predicting half of each."""
    few = np.unique(np.linspace(0, len(case.cutoffs) - 1, JOINT_CUTOFFS).round().astype(int))
    cells = (few[:, None] * case.stated + np.arange(min(JOINT_INPUTS, case.stated))).reshape(-1)
    mean, variance, cells = mean[:, cells], variance[:, cells], _shown_cells(case)[cells]

    def quartiles(sample: Array) -> Array:
        values: Array = np.quantile(sample, LEVELS, axis=0).reshape(-1)
        return values

    _, covariance = outputs.bootstrap(quartiles, seed=case.seed + 2, cells=cells, resamples=1000)
    predicted = [mixture_quantile(mean, variance, level) for level in LEVELS]
    influence = np.hstack([_influence(mean, variance, quantile) for quantile in predicted])
    covariance = covariance + np.cov(influence, rowvar=False) / len(mean)
    expected, samples = np.concatenate(predicted), min(outputs.kept, len(mean))
    measured = np.concatenate([outputs.quantile(level)[cells] for level in LEVELS])
    statistic, rank, p_value = hotelling(measured - expected, covariance, samples)
    wrong, dof, _ = hotelling(measured - 0.5 * expected, covariance, samples)
    return statistic, rank, p_value, chi2_shift(wrong, dof)


def _influence(mean: Array, variance: Array, quantile: Array) -> Array:
    """Return the influence values (draws, cells) of the draws on a mixture quantile."""
    deviation = np.sqrt(np.maximum(variance, np.finfo(float).tiny))
    scaled = np.clip((quantile - mean) / deviation, -40.0, 40.0)
    density = np.mean(np.exp(-0.5 * scaled**2) / (np.sqrt(2.0 * np.pi) * deviation), axis=0)
    value: Array = special.ndtr(scaled) / density
    return value
