"""How is the commutative diagram told in figures? Both legs along Λ, the gap between them in 1/N, κ₃, and information."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fieldflow.checks.diagram import Extrapolated, cell_names
from fieldflow.checks.frozen import Cumulants
from fieldflow.checks.leg import Leg
from fieldflow.inputs import Array
from fieldflow.latex import escape, number, with_error
from fieldflow.picture import Line, Mark, Panel, Picture, Points, Tabular

_INFORMATION_MEMBERS = 64
"""Members whose own kernels are shown beside I_Λ."""

_FINE = 120
"""Cut-offs at which a closed-form curve is drawn."""


class Drawn(NamedTuple):
    """Series of one network under one mode: upper leg, lower leg (value, error) and exact law, each (cutoffs, cells); the
    trained ensemble (cells,); the gap over the widths; third cumulants.
    """

    leg: Leg
    mode: str
    upper: Array
    upper_error: Array
    lower: Array
    lower_error: Array
    start: Array
    start_error: Array
    law: Array
    gap: Extrapolated
    third: Cumulants | None


def pictures(drawn: Sequence[Drawn], data_variance: float, train: int) -> list[Picture]:
    """Return the figures of a run."""
    modes = list(dict.fromkeys(entry.mode for entry in drawn))
    found = [_legs([entry for entry in drawn if entry.mode == mode], mode) for mode in modes]
    found.append(_closing(drawn))
    found.append(_third(drawn))
    found.append(_information([entry for entry in drawn if entry.mode == modes[0]], data_variance, train))
    return found


def table(drawn: Sequence[Drawn]) -> Tabular:
    """Return what the two legs say at the first stated point and the middle cut-off, at the ensemble's own width."""
    rows = []
    for entry in drawn:
        middle = len(entry.leg.grid) // 2 - 1
        for name, cell in (("mean", 0), ("variance", len(entry.leg.stated))):
            rows.append([
                escape(entry.leg.label), entry.mode, name, number(float(entry.leg.grid[1 + middle]), 3),
                with_error(float(entry.upper[middle, cell]), float(entry.upper_error[middle, cell])),
                with_error(float(entry.lower[middle, cell]), float(entry.lower_error[middle, cell])),
                number(float(entry.law[middle, cell])),
            ])  # fmt: skip
    return Tabular(
        "legs",
        "Both legs of the diagram at the first stated point, at the width of the ensemble (differences of order $1/N$ are left), "
        r"and the exact flow at $N=\infty$.",
        "lllrrrr",
        ["network", "mode", "moment", r"$\Lambda$", "upper leg", "lower leg", r"exact, $N=\infty$"],
        rows,
    )


def _legs(drawn: Sequence[Drawn], mode: str) -> Picture:
    panels = []
    for entry in drawn:
        for what, cell in (("mean", 0), ("variance", len(entry.leg.stated))):
            cutoffs = entry.leg.grid
            panels.append(
                Panel(
                    [
                        Line(
                            cutoffs, _with_start(entry.law[:, cell], _trained(entry, cell)), r"exact flow, $N=\infty$"
                        ),
                        Points(
                            cutoffs,
                            _with_start(entry.upper[:, cell], entry.start[cell]),
                            _with_start(entry.upper_error[:, cell], entry.start_error[cell]),
                            "upper leg: train, then coarse-grain samples",
                        ),
                        Points(
                            cutoffs[1:],
                            entry.lower[:, cell],
                            entry.lower_error[:, cell],
                            r"lower leg: $P$, $Q$ on the measured moments",
                            "alternative",
                            "s",
                        ),
                    ],
                    r"cut-off $\Lambda$",
                    rf"{what} of $f_\Lambda(x)$",
                    f"{entry.leg.label}, {mode}",
                    xscale="cutoff",
                )
            )
    return Picture(
        f"diagram-{mode}",
        rf"The commutative diagram ({mode}): mean and variance at one point of the mesh along $\Lambda$. Both legs start from "
        r"the same trained ensemble; the upper one coarse-grains its members, the lower one applies the linear map $P$, $Q$ to "
        r"its measured mean and covariance. The curve is the exact flow at infinite width.",
        panels,
    )


def _with_start(values: Array, start: float) -> Array:
    return np.concatenate([[start], values])


def _trained(entry: Drawn, cell: int) -> float:
    """Return mean or variance of the trained law of theory at the first stated point."""
    point = entry.leg.mesh[entry.leg.stated[:1]]
    flow = entry.leg.shell.flow
    return float(flow.mean(point)[0] if cell == 0 else flow.covariance(point)[0, 0])


def _closing(drawn: Sequence[Drawn]) -> Picture:
    panels = []
    for entry in drawn:
        widths = np.array(entry.leg.widths, dtype=float)
        cells = len(cell_names(entry.leg))
        middle = len(entry.leg.grid) // 2 - 1
        series: list[Line | Points | Mark] = [Mark(0.0, vertical=False)]
        for name, cell, role, marker in (
            ("mean", 0, "measured", "o"), ("variance", len(entry.leg.stated), "alternative", "s")
        ):  # fmt: skip
            at = middle * cells + cell
            inverse = np.concatenate([[0.0], 1.0 / widths[::-1]])
            gap = entry.gap
            error = np.concatenate([[np.sqrt(gap.covariance[at, at])], gap.errors[::-1, at]])
            values = np.concatenate([[gap.intercept[at]], gap.per_width[::-1, at]])
            series.append(Points(inverse[1:], values[1:], error[1:], f"{name}: samples", role, marker))
            series.append(Points(inverse[:1], values[:1], error[:1], f"{name}: extrapolated", role, "^"))
        panels.append(
            Panel(series, r"$1/N$", "upper leg − lower leg",
                  rf"{entry.leg.label}, {entry.mode}, $\Lambda={entry.leg.grid[1 + middle]:g}$")
        )  # fmt: skip
    return Picture(
        "closing",
        r"The diagram closes at infinite width: difference of the two legs at one point and one cut-off against $1/N$, with its "
        r"extrapolation to $N=\infty$ (triangles), which is what the verdict judges.",
        panels,
    )


def _third(drawn: Sequence[Drawn]) -> Picture:
    panels = []
    for entry in drawn:
        third, cutoffs = entry.third, entry.leg.grid[1:]
        if third is None:
            continue
        panels.append(
            Panel(
                [
                    Mark(0.0, vertical=False),
                    Line(
                        cutoffs, third.lower, r"lower leg: $P\otimes P\otimes P\,\kappa_3(f_T)$", band=third.lower_error
                    ),
                    Points(cutoffs, third.upper, third.upper_error, "upper leg: coarse-grained samples"),
                ],
                r"cut-off $\Lambda$",
                r"$\kappa_3$ of $f_\Lambda(x)$",
                f"{entry.leg.label}, {entry.mode}",
                xscale="log",
            )
        )
    return Picture(
        "cumulants",
        r"Connected three-point function of members that share one hidden layer and are trained on targets with skewed noise: "
        r"each leg is multiplied by $P$, exactly at this width.",
        panels,
    )


def _information(drawn: Sequence[Drawn], data_variance: float, train: int) -> Picture:
    points = range(train)
    panels, share = [], []
    for entry, role in zip(drawn, ("predicted", "alternative", "limit", "control") * 3, strict=False):
        leg, rg = entry.leg, entry.leg.maps[entry.mode]
        grid = leg.grid
        fine = np.geomspace(grid[1], grid[-1], _FINE) if leg.homogeneous else grid[1:]
        curve = np.array([rg.information(float(cutoff), data_variance, points) for cutoff in fine])
        value, error = _own_information(leg, data_variance, train)
        start = rg.information(0.0, data_variance, points)
        panels.append(
            Panel(
                [
                    Mark(start, vertical=False, label=r"$\Lambda=0$"),
                    Line(fine, curve, r"$I_\Lambda$, $N=\infty$"),
                    Points(grid[1:], value, error, rf"members' own kernels, $N={leg.net.finite_widths[-1]}$"),
                ],
                r"cut-off $\Lambda$",
                r"$I_\Lambda$ (nats)",
                leg.label,
                xscale="log",
            )
        )
        removed = np.concatenate([[0.0], np.asarray(leg.shell.sloppy_fraction(fine))])
        share.append(Line(removed, np.concatenate([[1.0], curve / start]), leg.label, role, dashed=role != "predicted"))
    panels.append(Panel(share, "fraction of read-out weights removed", r"$I_\Lambda/I_0$", "information kept",
                        ylim=(0.0, None)))  # fmt: skip
    return Picture(
        "information",
        r"Information $I_\Lambda=\frac12\ln\det(K+s^2)-\frac12\ln\det(K_<+s^2)$ of data with noise variance "
        rf"$s^2={data_variance:g}$ about what coarse-graining has left, on the training inputs: it never grows with $\Lambda$. "
        r"Right: against the fraction of weights removed.",
        panels,
        columns=3,
        shared_legend=True,
    )


def _own_information(leg: Leg, data_variance: float, train: int) -> tuple[Array, Array]:
    """Return the average over a few members of I_Λ of their own kernels, and its standard error."""
    found = []
    for index in range(min(_INFORMATION_MEMBERS, leg.members)):
        features, diagonal = leg.features(leg.net, leg.seed, index)
        seen = features[:, :train]
        whole = np.linalg.slogdet(seen.T @ seen + data_variance * np.eye(train))[1]
        sloppy = [seen * (diagonal < cutoff)[:, None] for cutoff in leg.grid[1:]]
        found.append(
            [0.5 * (whole - np.linalg.slogdet(part.T @ part + data_variance * np.eye(train))[1]) for part in sloppy]
        )
    values = np.array(found)
    error: Array = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return values.mean(axis=0), error
