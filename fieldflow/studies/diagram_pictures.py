"""How is the commutative diagram told in figures? Both legs along Λ, the gap between them in 1/N, κ₃, and information."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fieldflow.checks.diagram import Extrapolated, cells, law
from fieldflow.checks.frozen import Cumulants
from fieldflow.checks.leg import Leg
from fieldflow.inputs import Array
from fieldflow.latex import escape, number, with_error
from fieldflow.picture import Line, Mark, Panel, Picture, Points, Tabular

_INFORMATION_MEMBERS = 64
"""Members whose own kernels are shown beside I_Λ."""

_LAMBDA = r"cut-off $\Lambda$"


class Drawn(NamedTuple):
    """Series of one network under one mode: upper leg and lower leg (value, error), each (cutoffs, cells); the trained
    ensemble (cells,); the gap over the widths; third cumulants.
    """

    leg: Leg
    mode: str
    upper: Array
    upper_error: Array
    lower: Array
    lower_error: Array
    start: Array
    start_error: Array
    gap: Extrapolated
    third: Cumulants

    @property
    def shown(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """Name and position, among the cells of one cut-off, of the moments that are drawn."""
        return ("mean", 0), ("variance", len(self.leg.stated))

    @property
    def middle(self) -> int:
        """Position of the middle cut-off, 0 not counted."""
        return (len(self.leg.grid) - 1) // 2


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
        middle, leg = entry.middle, entry.leg
        exact = law(leg, leg.maps[entry.mode], entry.mode, leg.grid[1:])
        for name, cell in entry.shown:
            at = (middle, cell)
            rows.append([
                escape(leg.label), entry.mode, name, number(float(leg.grid[1 + middle]), 3),
                with_error(float(entry.upper[at]), float(entry.upper_error[at])),
                with_error(float(entry.lower[at]), float(entry.lower_error[at])), number(float(exact[at])),
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
        cutoffs = entry.leg.grid
        fine, rg = entry.leg.fine, entry.leg.curve(mode)
        exact = law(entry.leg, rg, mode, fine)
        for what, cell in entry.shown:
            top = Points(
                cutoffs,
                np.concatenate([[entry.start[cell]], entry.upper[:, cell]]),
                np.concatenate([[entry.start_error[cell]], entry.upper_error[:, cell]]),
                "upper: coarse-grained samples",
            )
            bottom = Points(
                cutoffs[1:], entry.lower[:, cell], entry.lower_error[:, cell], "lower: $P$, $Q$ on moments",
                "alternative", "s",
            )  # fmt: skip
            curve = Line(fine, exact[:, cell], r"exact flow, $N=\infty$")
            title = f"{entry.leg.label}, {mode}"
            panels.append(Panel([curve, top, bottom], _LAMBDA, rf"{what} of $f_\Lambda(x)$", title))
    return Picture(
        f"diagram-{mode}",
        rf"The commutative diagram ({mode}): mean and variance at one point of the mesh along $\Lambda$. Both legs start from "
        r"the same trained ensemble; the upper one coarse-grains its members, the lower one applies the linear map $P$, $Q$ to "
        r"its measured mean and covariance. The curve is the exact flow at infinite width.",
        panels,
    )


def _closing(drawn: Sequence[Drawn]) -> Picture:
    panels = []
    for entry in drawn:
        widths, gap = np.array(entry.leg.widths, dtype=float), entry.gap
        inverse, count = 1.0 / widths, len(cells(entry.leg)) // (len(entry.leg.grid) - 1)
        fine = np.linspace(0.0, inverse[0], 50)
        series: list[Line | Points | Mark] = [Mark(0.0, vertical=False)]
        for (name, cell), role, line, marker in zip(
            entry.shown, ("measured", "alternative"), ("guide", "alternative"), "os", strict=True
        ):
            at = entry.middle * count + cell
            a, b, c = gap.coefficients[:, at]
            series.append(Line(fine, a + b * fine + c * fine**2, "", line, dashed=True))
            series.append(Points(inverse, gap.per_width[:, at], gap.errors[:, at], name, role, marker))
            error = float(np.sqrt(gap.covariance[at, at]))
            series.append(Points([0.0], [a], [error], r"$N\to\infty$" if cell == 0 else "", role, "^"))
        title = rf"{entry.leg.label}, {entry.mode}, $\Lambda={entry.leg.grid[1 + entry.middle]:g}$"
        panels.append(Panel(series, r"$1/N$", "upper leg − lower leg", title))
    return Picture(
        "closing",
        r"The diagram closes at infinite width: difference of the two legs at one point and one cut-off against $1/N$, averaged "
        r"over the read-outs given the hidden layers, with the fit $a+b/N+c/N^2$. Triangles: $a$, which the verdict judges.",
        panels,
    )


def _third(drawn: Sequence[Drawn]) -> Picture:
    panels = []
    for entry in drawn:
        third, cutoffs = entry.third, entry.leg.grid[1:]
        bottom = Line(cutoffs, third.lower, r"lower: $P\otimes P\otimes P\,\kappa_3(f_T)$", band=third.lower_error)
        top = Points(cutoffs, third.upper, third.upper_error, "upper: coarse-grained samples")
        title = f"{entry.leg.label}, {entry.mode}"
        series: list[Line | Points | Mark] = [Mark(0.0, vertical=False), bottom, top]
        panels.append(Panel(series, _LAMBDA, r"$\kappa_3$ of $f_\Lambda(x)$", title))
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
        leg = entry.leg
        fine, rg = leg.fine, leg.curve(entry.mode)
        curve = np.array([rg.information(float(cutoff), data_variance, points) for cutoff in fine])
        value, error = _own_information(leg, data_variance, train)
        series: list[Line | Points | Mark] = [
            Line(fine, curve, r"$N=\infty$", role),
            Points(leg.grid, value, error, rf"members, $N={leg.width}$"),
        ]
        panels.append(Panel(series, _LAMBDA, r"$I_\Lambda$ (nats)", leg.label, ylim=(0.0, None)))
        removed = leg.sloppy_fraction(fine)
        share.append(Line(removed, curve / curve[0], leg.label, role))
    panels.append(Panel(share, "fraction of weights removed", r"$I_\Lambda/I_0$", "information kept", ylim=(0.0, None)))
    return Picture(
        "information",
        r"Information $I_\Lambda=\frac12\ln\det(K+s^2)-\frac12\ln\det(K_<+s^2)$ of data with noise variance "
        rf"$s^2={data_variance:g}$ about what coarse-graining has left, on the training inputs: it never grows with $\Lambda$. "
        r"Points: the same of the members' own kernels. Right: against the fraction of read-out weights removed.",
        panels,
        columns=3,
        shared_legend=False,
    )


def _own_information(leg: Leg, data_variance: float, train: int) -> tuple[Array, Array]:
    """Return the average over a few members of I_Λ of their own kernels, and its standard error, (cutoffs,)."""
    found = []
    for index in range(min(_INFORMATION_MEMBERS, leg.members)):
        features, diagonal = leg.features(leg.width, leg.seed, index)
        seen = features[:, :train]
        whole = np.linalg.slogdet(seen.T @ seen + data_variance * np.eye(train))[1]
        sloppy = [seen * (diagonal < cutoff)[:, None] for cutoff in leg.grid]
        found.append(
            [0.5 * (whole - np.linalg.slogdet(part.T @ part + data_variance * np.eye(train))[1]) for part in sloppy]
        )
    values = np.array(found)
    error: Array = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return values.mean(axis=0), error
