"""How are the figures drawn? Curves are predictions, points with bars are samples; PDF and PNG without dates."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from fieldflow.errors import BadInput

# The date of an embedded font is not the reader's business.
logging.getLogger("fontTools").setLevel(logging.ERROR)

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
_COLOUR = {
    "predicted": "#0b5394",
    "measured": "#222222",
    "alternative": "#b45f06",
    "limit": "#38761d",
    "control": "#a61c00",
    "guide": "0.6",
}


def draw(name: str, pictures: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the picture called ``name``.

    Raises
    ------
    BadInput
        For an unknown name, naming the known ones.
    """
    chosen = [picture for picture in pictures if picture["name"] == name]
    if not chosen:
        known = ", ".join(str(picture["name"]) for picture in pictures)
        raise BadInput(f"figure: expected one of {known}, got {name!r}")
    with mpl.rc_context(_STYLE):
        figure = _drawn(chosen[0])
        FigureCanvasAgg(figure)
    return figure


def save_all(directory: Path, pictures: Sequence[Mapping[str, Any]]) -> None:
    """Write every picture as PDF and PNG, byte-identical for identical numbers."""
    directory.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        with mpl.rc_context(_STYLE):
            figure = _drawn(picture)
            FigureCanvasAgg(figure)
            place = directory / str(picture["name"])
            figure.savefig(
                place.with_suffix(".pdf"), metadata={"CreationDate": None, "Creator": None, "Producer": None}
            )
            figure.savefig(place.with_suffix(".png"), dpi=150, metadata={"Software": None})


def _drawn(picture: Mapping[str, Any]) -> Figure:
    panels = picture["panels"]
    columns = min(picture["columns"], len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.35 * columns, (2.7 if rows > 1 else 3.1) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    legend: dict[str, Any] = {}
    for axis, panel in zip(axes, panels, strict=False):
        _fill(axis, panel)
        handles = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        if picture["shared_legend"]:
            legend |= {label: handle for label, handle in handles.items() if label not in legend}
        elif handles:
            axis.legend()
    if legend:
        figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=min(2 * columns - 1, 3))
    return figure


def _fill(axes: Axes, panel: Mapping[str, Any]) -> None:
    for entry in panel["series"]:
        _SERIES[entry["kind"]](axes, entry)
    axes.set(xlabel=panel["xlabel"], ylabel=panel["ylabel"], title=panel["title"])
    _scale(axes, "x", panel)
    _scale(axes, "y", panel)
    if panel["xlim"] is not None:
        axes.set_xlim(*panel["xlim"])
    if panel["ylim"] is not None:
        axes.set_ylim(*panel["ylim"])


def _line(axes: Axes, entry: Mapping[str, Any]) -> None:
    colour, x, y = _COLOUR[entry["role"]], _numbers(entry["x"]), _numbers(entry["y"])
    axes.plot(x, y, "--" if entry["dashed"] else "-", lw=1.3, color=colour, label=entry["label"] or None)
    if entry["band"] is not None:
        half = _numbers(entry["band"])
        axes.fill_between(x, y - half, y + half, color=colour, alpha=0.2, lw=0)


def _points(axes: Axes, entry: Mapping[str, Any]) -> None:
    error = None if entry["error"] is None else _numbers(entry["error"])
    face = "none" if entry["marker"] in "s^" else None
    axes.errorbar(_numbers(entry["x"]), _numbers(entry["y"]), error, fmt=entry["marker"], ms=3, lw=0.9, mfc=face,
                  color=_COLOUR[entry["role"]], label=entry["label"] or None)  # fmt: skip


def _mark(axes: Axes, entry: Mapping[str, Any]) -> None:
    draw_line = axes.axvline if entry["vertical"] else axes.axhline
    draw_line(entry["at"], color=_COLOUR[entry["role"]], lw=0.8, ls=":", label=entry["label"] or None)


_SERIES = {"line": _line, "points": _points, "mark": _mark}


def _numbers(values: Any) -> np.ndarray:
    """Return floats; what JSON holds as null is NaN, which is not drawn."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _scale(axes: Axes, which: str, panel: Mapping[str, Any]) -> None:
    scale = panel[f"{which}scale"]
    values = [_numbers(entry[which]) for entry in panel["series"] if which in entry]
    every = np.concatenate(values) if values else np.ones(1)
    if scale == "cutoff":
        _cutoff_axis(axes, np.unique(every[np.isfinite(every)]))
    elif scale == "log":
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        (axes.xaxis if which == "x" else axes.yaxis).set_minor_formatter(NullFormatter())
    elif scale == "symlog":
        smallest = np.min(np.abs(every[np.isfinite(every) & (every != 0.0)]), initial=1.0)
        (axes.set_xscale if which == "x" else axes.set_yscale)("symlog", linthresh=float(smallest))


def _cutoff_axis(axes: Axes, cutoffs: np.ndarray) -> None:
    """Logarithmic in Λ with a linear stretch that holds Λ = 0."""
    positive = cutoffs[cutoffs > 0.0]
    axes.set_xscale("symlog", linthresh=positive[0], linscale=0.8)
    low, high = int(np.ceil(np.log10(positive[0]))), int(np.floor(np.log10(positive[-1])))
    stride = max(1, -((low - high) // 5))
    ticks = [0.0, *(10.0**power for power in range(low, high + 1, stride))]
    axes.set_xticks(ticks, ["0", *(rf"$10^{{{power}}}$" for power in range(low, high + 1, stride))])
    axes.set_xticks([], minor=True)
    axes.set_xlim(left=-0.15 * positive[0])
