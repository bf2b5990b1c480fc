"""What do the figures show? The numbers behind figs 8-11, kept apart from how they are drawn (and saved as JSON)."""

import math
from typing import Any

import numpy as np

from fieldflow.checks.case import Case
from fieldflow.checks.lower_layers import Independent, mixture_density, mixture_quantile
from fieldflow.checks.sampling import Sampled
from fieldflow.inputs import Array
from fieldflow.shell import ShellFlow

DENSITY_POINTS = 241
CURVE_POINTS = 160


def case_figures(
    case: Case, sampled: Sampled, independent: Independent, shell: ShellFlow | None, corrections: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the series of all figures of one network as plain lists and numbers."""
    critical = critical_from_curve(case.grid, sampled.loss[sampled.used].mean(axis=0), case.excess)
    return {
        "point": case.x_stated[0].tolist(),
        "target": float(case.y_test[0]),
        "mode": case.mode,
        "members": len(sampled.used),
        "width": case.net.finite_widths[-1],
        "measured_critical_cutoff": critical,
        "density": [_density(case, sampled, independent, i) for i in _panels(case, critical)],
        "loss": _loss(case, sampled, independent),
        "moments": _moments(case, sampled, independent),
        "infinite_width": None if shell is None else _infinite_width(case, shell),
        "corrections": corrections,
    }


def critical_from_curve(grid: Array, loss: Array, excess: float) -> float | None:
    """Return where a measured curve first exceeds loss(0) + excess·(loss(largest) - loss(0)), interpolated in ln Λ."""
    bound = loss[0] + excess * (loss[-1] - loss[0])
    above = np.flatnonzero(loss > bound)
    if loss[-1] <= loss[0] or len(above) == 0:
        return None
    i = int(above[0])
    if grid[i - 1] < 1e-300:
        return float(grid[i])
    share = (bound - loss[i - 1]) / (loss[i] - loss[i - 1])
    return float(np.exp((1.0 - share) * np.log(grid[i - 1]) + share * np.log(grid[i])))


def _panels(case: Case, critical: float | None) -> list[int]:
    """Return four positions in ``shown`` order: the start, one below the critical cut-off, one above, the largest."""
    last = len(case.cutoffs) - 1
    below = 0 if critical is None else int(np.searchsorted(case.cutoffs, critical)) - 1
    return sorted({0, max(below, 0), min(below + 2, last), last})


def _density(case: Case, sampled: Sampled, independent: Independent, i: int) -> dict[str, Any]:
    position = case.shown[i]
    values = sampled.outputs[sampled.used][:, position, 0]
    mean, variance = independent.mean[:, position, 0], independent.variance[:, position, 0]
    low, high = (float(mixture_quantile(mean[:, None], variance[:, None], level)[0]) for level in (0.01, 0.99))
    at = np.linspace(low, high, DENSITY_POINTS)
    inside = values[(values >= low) & (values <= high)]
    counts, bins = np.histogram(inside, bins=40, range=(low, high))
    return {
        "cutoff": float(case.cutoffs[i]),
        "bins": bins.tolist(),
        "histogram": (counts / (len(values) * np.diff(bins))).tolist(),
        "histogram_error": (np.sqrt(np.maximum(counts, 1)) / (len(values) * np.diff(bins))).tolist(),
        "outside": int(len(values) - len(inside)),
        "at": at.tolist(),
        "mixture": mixture_density(mean, variance, at).tolist(),
        "gaussian_mean": float(values.mean()),
        "gaussian_std": float(values.std(ddof=1)),
    }


def _loss(case: Case, sampled: Sampled, independent: Independent) -> dict[str, Any]:
    measured, predicted = sampled.loss[sampled.used][:, case.shown], independent.loss[:, case.shown]
    return {
        "cutoff": case.cutoffs.tolist(),
        "mean": measured.mean(axis=0).tolist(),
        "mean_error": (measured.std(axis=0, ddof=1) / math.sqrt(len(measured))).tolist(),
        "median": np.median(measured, axis=0).tolist(),
        "predicted_mean": predicted.mean(axis=0).tolist(),
        "predicted_mean_error": (predicted.std(axis=0, ddof=1) / math.sqrt(len(predicted))).tolist(),
        "sloppy": (sampled.sloppy[sampled.used][:, case.shown].mean(axis=0) / case.net.finite_widths[-1]).tolist(),
    }


def _moments(case: Case, sampled: Sampled, independent: Independent) -> dict[str, Any]:
    values = sampled.outputs[sampled.used][:, case.shown, 0]
    mean, variance = independent.mean[:, case.shown, 0], independent.variance[:, case.shown, 0]
    n = len(values)
    spread = values.std(axis=0, ddof=1)
    fourth = np.mean((values - values.mean(axis=0)) ** 4, axis=0)
    # Delta method: the tails are heavy, so the Gaussian error of a standard deviation would be far too small.
    scale = np.maximum(2.0 * spread, np.finfo(float).tiny)
    spread_error = np.sqrt(np.maximum(fourth - spread**4, 0.0) / n) / scale
    return {
        "cutoff": case.cutoffs.tolist(),
        "mean": values.mean(axis=0).tolist(),
        "mean_error": (spread / math.sqrt(n)).tolist(),
        "median": np.median(values, axis=0).tolist(),
        "std": spread.tolist(),
        "std_error": spread_error.tolist(),
        "predicted_mean": mean.mean(axis=0).tolist(),
        "predicted_median": mixture_quantile(mean, variance, 0.5).tolist(),
        "predicted_std": np.sqrt(variance.mean(axis=0) + mean.var(axis=0, ddof=1)).tolist(),
    }


def _infinite_width(case: Case, shell: ShellFlow) -> dict[str, Any]:
    positive = case.cutoffs[case.cutoffs > 0.0]
    grid = np.concatenate([[0.0], np.geomspace(positive[0] / 2.0, positive[-1] * 1.5, CURVE_POINTS)])
    point = case.x_stated[:1]
    variance = shell.covariance(point, cutoff=grid)[:, 0, 0]
    return {
        "cutoff": grid.tolist(),
        "loss": np.asarray(shell.loss(case.x_test, case.y_test, grid)).tolist(),
        "mean": shell.mean(point, grid)[:, 0].tolist(),
        "std": np.sqrt(variance).tolist(),
        "sloppy": np.asarray(shell.sloppy_fraction(grid)).tolist(),
        "critical_cutoff": shell.critical_cutoff(case.x_test, case.y_test, case.excess),
    }
