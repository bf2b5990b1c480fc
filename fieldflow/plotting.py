"""How are the figures drawn? Curves are predictions, points with bars are samples; PDF and PNG without dates."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from fieldflow.errors import BadInput

_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "fieldflow",
    "pdf.fonttype": 42,
}
_PREDICTED, _MEASURED, _SINGLE, _LIMIT = "#0b5394", "#222222", "#b45f06", "#38761d"


def draw(name: str, figures: Mapping[str, Any]) -> Figure:
    """Return the figure called ``name`` for all networks of a result (one row of panels per network).

    Raises
    ------
    BadInput
        For an unknown name, naming the known ones.
    """
    if name not in FIGURES:
        raise BadInput(f"figure: expected one of {', '.join(FIGURES)}, got {name!r}")
    with mpl.rc_context(_STYLE):
        figure = FIGURES[name](figures)
        FigureCanvasAgg(figure)
    return figure


def save_all(directory: Path, figures: Mapping[str, Any]) -> None:
    """Write every figure as PDF and PNG, byte-identical for identical numbers."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in FIGURES:
        with mpl.rc_context(_STYLE):
            figure = FIGURES[name](figures)
            FigureCanvasAgg(figure)
            figure.savefig(
                directory / f"{name}.pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None}
            )
            figure.savefig(directory / f"{name}.png", dpi=150, metadata={"Software": None})


def _figure(rows: int, columns: int, height: float = 2.7) -> tuple[Figure, Any]:
    figure = Figure(figsize=(3.35 * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _columns(figures: Mapping[str, Any]) -> int:
    """Return how many legend entries fit side by side under one panel per network."""
    return min(2, len(figures))


def _title(label: str, series: Mapping[str, Any]) -> str:
    return f"{label}: N = {series['width']}, {series['members']} members"


def _density(axes: Axes, part: Mapping[str, Any], target: float, *, single: bool) -> None:
    bins = np.array(part["bins"])
    centres = 0.5 * (bins[1:] + bins[:-1])
    axes.errorbar(centres, part["histogram"], part["histogram_error"], fmt=".", ms=3, lw=0.8, color=_MEASURED,
                  label="samples")  # fmt: skip
    axes.plot(part["at"], part["mixture"], color=_PREDICTED, label="mixture over independent hidden draws")
    if single:
        at = np.array(part["at"])
        scaled = (at - part["gaussian_mean"]) / part["gaussian_std"]
        curve = np.exp(-0.5 * scaled**2) / (np.sqrt(2.0 * np.pi) * part["gaussian_std"])
        axes.plot(at, curve, "--", color=_SINGLE, label="single Gaussian (sample mean, variance)")
    axes.axvline(target, color="0.6", lw=0.8, ls=":", label="target")
    axes.set_xlim(bins[0], bins[-1])
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel(r"$f_\Lambda(x)$ (target units)")
    axes.set_ylabel("density")


def _fig08(figures: Mapping[str, Any]) -> Figure:
    figure, axes = _figure(1, len(figures), 3.1)
    for axis, (label, series) in zip(axes[0], figures.items(), strict=True):
        _density(axis, series["density"][0], series["target"], single=True)
        axis.set_title(_title(label, series) + ", trained")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=_columns(figures))
    return figure


def _fig10(figures: Mapping[str, Any]) -> Figure:
    panels = [(label, series, part) for label, series in figures.items() for part in series["density"]]
    columns = 2 if len(figures) == 1 else 4
    figure, axes = _figure(-(-len(panels) // columns), columns)
    for axis in axes.reshape(-1)[len(panels) :]:
        axis.set_axis_off()
    for axis, (label, series, part) in zip(axes.reshape(-1), panels, strict=False):
        _density(axis, part, series["target"], single=False)
        axis.set_title(rf"{label}: $\Lambda$ = {part['cutoff']:g}")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _cutoff_axis(axes: Axes, cutoffs: Any) -> None:
    """Logarithmic in Λ with a linear stretch that holds Λ = 0."""
    positive = [value for value in cutoffs if value > 0.0]
    axes.set_xscale("symlog", linthresh=positive[0], linscale=0.8)
    low, high = int(np.ceil(np.log10(positive[0]))), int(np.floor(np.log10(positive[-1])))
    stride = max(1, -((low - high) // 5))
    ticks = [0.0, *(10.0**power for power in range(low, high + 1, stride))]
    axes.set_xticks(ticks, ["0", *(rf"$10^{{{power}}}$" for power in range(low, high + 1, stride))])
    axes.set_xticks([], minor=True)
    axes.set_xlim(left=-0.15 * positive[0])
    axes.set_xlabel(r"cut-off $\Lambda$ (hidden output² / noise variance)")


def _log_scale(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _fig09(figures: Mapping[str, Any]) -> Figure:
    figure, axes = _figure(1, len(figures), 3.1)
    for axis, (label, series) in zip(axes[0], figures.items(), strict=True):
        loss = series["loss"]
        axis.plot(loss["cutoff"], loss["predicted_mean"], color=_PREDICTED, label="bias² + variance, independent draws")
        axis.errorbar(loss["cutoff"], loss["mean"], loss["mean_error"], fmt="o", ms=3, lw=0.9, color=_MEASURED,
                      label="mean over members")  # fmt: skip
        axis.plot(loss["cutoff"], loss["median"], "s", ms=3, mfc="none", color=_SINGLE, label="median over members")
        if series["infinite_width"] is not None:
            limit = series["infinite_width"]
            axis.plot(limit["cutoff"], limit["loss"], "--", color=_LIMIT, label="infinite width, closed form")
            axis.axvline(limit["critical_cutoff"], color=_LIMIT, lw=0.8, ls=":", label=r"$\Lambda_C$, closed form")
        elif series["measured_critical_cutoff"] is not None:
            axis.axvline(
                series["measured_critical_cutoff"], color="0.6", lw=0.8, ls=":", label=r"$\Lambda_C$, measured"
            )
        _cutoff_axis(axis, loss["cutoff"])
        _log_scale(axis)
        axis.set_ylabel("test loss (target units²)")
        axis.set_title(_title(label, series))
    # The last network: where a closed form exists it carries all entries.
    figure.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside lower center", ncols=_columns(figures))
    return figure


def _fig11(figures: Mapping[str, Any]) -> Figure:
    figure, axes = _figure(len(figures), 2)
    for line, (label, series) in zip(axes, figures.items(), strict=True):
        moments, limit = series["moments"], series["infinite_width"]
        for axis, name, error in ((line[0], "mean", "mean_error"), (line[1], "std", "std_error")):
            axis.plot(
                moments["cutoff"], moments[f"predicted_{name}"], color=_PREDICTED, label="independent hidden draws"
            )
            axis.errorbar(moments["cutoff"], moments[name], moments[error], fmt="o", ms=3, lw=0.9, color=_MEASURED,
                          label="samples")  # fmt: skip
            if limit is not None:
                axis.plot(limit["cutoff"], limit[name], "--", color=_LIMIT, label="infinite width, closed form")
            _cutoff_axis(axis, moments["cutoff"])
        line[0].axhline(series["target"], color="0.6", lw=0.8, ls=":", label="target")
        line[0].set_ylabel(r"mean of $f_\Lambda(x)$ (target units)")
        line[1].set_ylabel(r"std. deviation of $f_\Lambda(x)$ (target units)")
        _log_scale(line[1])
        line[0].set_title(_title(label, series))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


FIGURES: dict[str, Callable[[Mapping[str, Any]], Figure]] = {
    "fig08": _fig08,
    "fig09": _fig09,
    "fig10": _fig10,
    "fig11": _fig11,
}
