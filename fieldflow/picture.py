"""What does a figure or a table of a study say? Plain records, apart from how they are drawn and typeset.

A study returns pictures and tables; ``plotting`` draws the ones, ``report`` prints the others.  Both travel through
figures.json, so everything is made of numbers, text, lists and dictionaries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fieldflow.errors import BadInput

ROLES = ("predicted", "measured", "alternative", "limit", "control", "guide")
"""What a series is: the role decides colour and style, the same in all figures."""

SCALES = ("linear", "log", "symlog", "cutoff")
"""Of an axis; "cutoff" is logarithmic with a linear stretch that holds Λ = 0."""

Values = Sequence[float] | np.ndarray


def _list(values: Values) -> list[float]:
    return np.asarray(values, dtype=np.float64).reshape(-1).tolist()


@dataclass(frozen=True)
class Line:
    """A curve: predictions, limits, guides."""

    x: Values
    y: Values
    label: str = ""
    role: str = "predicted"
    dashed: bool = False
    band: Values | None = None
    """Half width of a shaded band (its standard error)."""


@dataclass(frozen=True)
class Points:
    """Samples with their standard errors."""

    x: Values
    y: Values
    error: Values | None = None
    label: str = ""
    role: str = "measured"
    marker: str = "o"


@dataclass(frozen=True)
class Mark:
    """A thin line across the panel, at ``at`` on the x axis (``vertical``) or on the y axis."""

    at: float
    label: str = ""
    vertical: bool = True
    role: str = "guide"


@dataclass(frozen=True)
class Panel:
    """One pair of axes; ``series`` are drawn in order, the first ones below."""

    series: Sequence[Line | Points | Mark]
    xlabel: str
    ylabel: str
    title: str = ""
    xscale: str = "linear"
    yscale: str = "linear"
    xlim: tuple[float, float] | None = None
    ylim: tuple[float | None, float | None] | None = None


@dataclass(frozen=True)
class Picture:
    """A figure of panels, ``columns`` beside each other, with one legend below and a caption in LaTeX."""

    name: str
    caption: str
    panels: Sequence[Panel]
    columns: int = 2
    shared_legend: bool = True

    def plain(self) -> dict[str, Any]:
        """Return the picture as plain values; BadInput for an unknown role or scale."""
        return {
            "name": self.name,
            "caption": self.caption,
            "columns": self.columns,
            "shared_legend": self.shared_legend,
            "panels": [_panel(panel) for panel in self.panels],
        }


@dataclass(frozen=True)
class Tabular:
    """A table of LaTeX cells: ``columns`` as tabular takes them (llr...)."""

    name: str
    caption: str
    columns: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """Return the table as plain values."""
        return {**asdict(self), "header": list(self.header), "rows": [list(row) for row in self.rows]}


def _panel(panel: Panel) -> dict[str, Any]:
    for scale in (panel.xscale, panel.yscale):
        if scale not in SCALES:
            raise BadInput(f"scale: expected one of {', '.join(SCALES)}, got {scale!r}")
    values = {name: getattr(panel, name) for name in ("xlabel", "ylabel", "title", "xscale", "yscale", "xlim", "ylim")}
    return {**values, "series": [_series(entry) for entry in panel.series]}


def _series(entry: Line | Points | Mark) -> Mapping[str, Any]:
    if entry.role not in ROLES:
        raise BadInput(f"role: expected one of {', '.join(ROLES)}, got {entry.role!r}")
    values = {"kind": type(entry).__name__.lower(), **vars(entry)}
    for name in ("x", "y", "band", "error"):
        if values.get(name) is not None:
            values[name] = _list(values[name])
    return values
