"""What do figures 8-11 of the paper show for these networks? Predictions drawn through the samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fieldflow.checks.case import Case
from fieldflow.checks.lower_layers import Independent, mixture_density, mixture_quantile
from fieldflow.checks.sampling import Sampled
from fieldflow.inputs import Array
from fieldflow.picture import Line, Mark, Panel, Picture, Points
from fieldflow.shell import ShellFlow

DENSITY_POINTS = 241
CURVE_POINTS = 160
CUTOFF = r"cut-off $\Lambda$ (hidden output² / noise variance)"


@dataclass(frozen=True)
class Series:
    """What is known about one network, for its panels."""

    case: Case
    sampled: Sampled
    independent: Independent
    shell: ShellFlow | None

    @property
    def title(self) -> str:
        """Name, width and number of members."""
        return f"{self.case.label}: N = {self.case.net.finite_widths[-1]}, {self.sampled.used} members"

    @cached_property
    def critical(self) -> float | None:
        """Λ_C read off the measured loss."""
        case = self.case
        return critical_from_curve(case.grid, self.sampled.loss.mean, case.excess)

    @cached_property
    def limit(self) -> dict[str, Any] | None:
        """The curves at infinite width, where they have a closed form."""
        return None if self.shell is None else _infinite_width(self.case, self.shell)


def pictures(networks: Sequence[Series]) -> list[Picture]:
    """Return figures 8-11, with a panel or a row of panels for each network."""
    densities = [
        _density_panel(series, i, rf"{series.case.label}: $\Lambda$ = {series.case.cutoffs[i]:g}", single=False)
        for series in networks
        for i in _panels(series.case, series.critical)
    ]
    return [
        Picture(
            "fig08",
            "Distribution of the trained output at the first stated test input (Fig.~8 of the paper): samples, the "
            "predicted mixture of Gaussians over independent hidden draws, and the single Gaussian with the sample's mean "
            "and variance.",
            [_density_panel(series, 0, series.title + ", trained", single=True) for series in networks],
        ),
        Picture(
            "fig09",
            "Test loss along the information-shell flow (Fig.~9). The line is bias squared plus variance over "
            "independent hidden draws; points are sample means with standard errors, squares medians.",
            [_loss_panel(series) for series in networks],
        ),
        Picture(
            "fig10",
            "Distribution of the output at four cut-offs (Fig.~10).",
            densities,
            columns=2 if len(networks) == 1 else 4,
        ),
        Picture(
            "fig11",
            "Mean and standard deviation of the output at the first stated test input along the flow (Fig.~11).",
            [panel for series in networks for panel in _moment_panels(series)],
        ),
    ]


def _density_panel(series: Series, i: int, title: str, *, single: bool) -> Panel:
    part = _density(series.case, series.sampled, series.independent, i)
    bins, at = np.array(part["bins"]), np.array(part["at"])
    drawn: list[Line | Points | Mark] = [
        Points(0.5 * (bins[1:] + bins[:-1]), part["histogram"], part["histogram_error"], "samples", marker="."),
        Line(at, part["mixture"], "mixture over independent hidden draws"),
    ]
    if single:
        scaled = (at - part["gaussian_mean"]) / part["gaussian_std"]
        curve = np.exp(-0.5 * scaled**2) / (np.sqrt(2.0 * np.pi) * part["gaussian_std"])
        drawn.append(Line(at, curve, "single Gaussian (sample mean, variance)", "alternative", dashed=True))
    drawn.append(Mark(float(series.case.y_test[0]), "target"))
    limits = (float(bins[0]), float(bins[-1]))
    return Panel(drawn, r"$f_\Lambda(x)$ (target units)", "density", title, xlim=limits, ylim=(0.0, None))


def _loss_panel(series: Series) -> Panel:
    loss, limit = _loss(series.case, series.sampled, series.independent), series.limit
    x = loss["cutoff"]
    drawn: list[Line | Points | Mark] = [
        Line(x, loss["predicted_mean"], "bias² + variance, independent draws"),
        Points(x, loss["mean"], loss["mean_error"], "mean over members"),
        Points(x, loss["median"], None, "median over members", "alternative", "s"),
    ]
    if limit is not None:
        drawn.append(Line(limit["cutoff"], limit["loss"], "infinite width, closed form", "limit", dashed=True))
        drawn.append(Mark(limit["critical_cutoff"], r"$\Lambda_C$, closed form", role="limit"))
    elif series.critical is not None:
        drawn.append(Mark(series.critical, r"$\Lambda_C$, measured"))
    return Panel(drawn, CUTOFF, "test loss (target units²)", series.title, xscale="cutoff", yscale="log")


def _moment_panels(series: Series) -> list[Panel]:
    moments, limit = _moments(series.case, series.sampled, series.independent), series.limit
    panels = []
    for name, word in (("mean", "mean"), ("std", "std. deviation")):
        drawn: list[Line | Points | Mark] = [
            Line(moments["cutoff"], moments[f"predicted_{name}"], "independent hidden draws"),
            Points(moments["cutoff"], moments[name], moments[f"{name}_error"], "samples"),
        ]
        if limit is not None:
            drawn.append(Line(limit["cutoff"], limit[name], "infinite width, closed form", "limit", dashed=True))
        if name == "mean":
            drawn.append(Mark(float(series.case.y_test[0]), "target", vertical=False))
        label = rf"{word} of $f_\Lambda(x)$ (target units)"
        title, scale = (series.title, "linear") if name == "mean" else ("", "log")
        panels.append(Panel(drawn, CUTOFF, label, title, xscale="cutoff", yscale=scale))
    return panels


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
    position, outputs = case.shown[i], sampled.outputs
    cell = int(position) * case.stated
    mean, variance = independent.mean[:, position, 0], independent.variance[:, position, 0]
    low, high = (float(mixture_quantile(mean[:, None], variance[:, None], level)[0]) for level in (0.01, 0.99))
    at = np.linspace(low, high, DENSITY_POINTS)
    bins = np.linspace(low, high, 41)
    counts = outputs.counts(cell, bins)
    return {
        "cutoff": float(case.cutoffs[i]),
        "bins": bins.tolist(),
        "histogram": (counts / (outputs.count * np.diff(bins))).tolist(),
        "histogram_error": (np.sqrt(np.maximum(counts, 1)) / (outputs.count * np.diff(bins))).tolist(),
        "at": at.tolist(),
        "mixture": mixture_density(mean, variance, at).tolist(),
        "gaussian_mean": float(outputs.mean[cell]),
        "gaussian_std": float(outputs.std[cell]),
    }


def _loss(case: Case, sampled: Sampled, independent: Independent) -> dict[str, Any]:
    loss, shown, predicted = sampled.loss, case.shown, independent.loss[:, case.shown]
    return {
        "cutoff": case.cutoffs.tolist(),
        "mean": loss.mean[shown].tolist(),
        "mean_error": loss.mean_error[shown].tolist(),
        "median": loss.quantile(0.5)[shown].tolist(),
        "predicted_mean": predicted.mean(axis=0).tolist(),
        "predicted_mean_error": (predicted.std(axis=0, ddof=1) / math.sqrt(len(predicted))).tolist(),
        "sloppy": (sampled.sloppy.mean[0, shown] / case.net.finite_widths[-1]).tolist(),
    }


def _moments(case: Case, sampled: Sampled, independent: Independent) -> dict[str, Any]:
    outputs, cells = sampled.outputs, case.shown * case.stated
    mean, variance = independent.mean[:, case.shown, 0], independent.variance[:, case.shown, 0]
    spread, fourth = outputs.std[cells], outputs.central(4)[cells]
    # Delta method: the tails are heavy, so the Gaussian error of a standard deviation would be far too small.
    scale = np.maximum(2.0 * spread, np.finfo(float).tiny)
    spread_error = np.sqrt(np.maximum(fourth - spread**4, 0.0) / outputs.count) / scale
    return {
        "cutoff": case.cutoffs.tolist(),
        "mean": outputs.mean[cells].tolist(),
        "mean_error": outputs.mean_error[cells].tolist(),
        "median": outputs.quantile(0.5)[cells].tolist(),
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
