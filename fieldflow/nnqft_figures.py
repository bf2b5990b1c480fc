"""How do the NN-QFT figures look? Deviations against width, couplings and β functions against the box, the six-point ratio."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fieldflow.checks.nnqft import Scan, chosen_tuples, deviation, six_point
from fieldflow.inputs import Array
from fieldflow.nnqft import NNQFT
from fieldflow.picture import Line, Mark, Panel, Picture, Points

_CURVE = {1: 60, 2: 20, 3: 8}
"""Boxes on a curve, by dimension."""

_ROLES = ("predicted", "alternative", "limit")


def deviations_picture(scans: Sequence[Scan]) -> Picture:
    """Return m_4 and m_6 against the width, exact curves through the samples."""
    panels = []
    for n in (4, 6):
        series: list[Line | Points | Mark] = []
        for scan, role in zip(scans, _ROLES, strict=False):
            found = np.array([deviation(scan, n, width) for width in scan.widths]).T
            series.append(Line(scan.widths, np.abs(found[0]), f"exact, {scan.label}", role))
            series.append(
                Points(
                    scan.widths,
                    np.abs(found[1]),
                    found[2],
                    f"networks, {scan.label}",
                    _measured(role),
                    "os^"[_ROLES.index(role)],
                )
            )
        panels.append(Panel(series, "width $N$", rf"$m_{n}$, mean over tuples", xscale="log", yscale="log"))
    return Picture(
        "deviations",
        r"Deviation of the four- and six-point functions from the free theory, $m_n=(G^{(n)}-G^{(n)}_{\mathrm{GP}})/"
        r"G^{(n)}_{\mathrm{GP}}$, against the width: sampled networks (points) and exact values (lines).",
        panels,
    )


def _measured(role: str) -> str:
    return "measured" if role == "predicted" else role


def couplings_picture(scans: Sequence[Scan], width: int, curve: Sequence[float], boxes: Sequence[float]) -> Picture:
    """Return N|λ_4| and β/λ against the box."""
    strength: list[Line | Points | Mark] = []
    running: list[Line | Points | Mark] = [Mark(0.0, vertical=False)]
    for scan, role in zip(scans, _ROLES, strict=False):
        theory, used = scan.theory, chosen_tuples(scan.theory)
        grid = np.geomspace(curve[0], curve[1], _CURVE[theory.d])
        volumes = np.array([theory.vertex(4, float(box)) for box in grid])
        slopes = np.array([theory.box_slope(float(box)) for box in grid]) / volumes
        change = (scan.limit[4] - scan.exact[width, 4]) / 24.0
        strength.append(
            Line(grid, width * np.abs(np.mean((change / volumes)[:, used], axis=1)), f"exact, {scan.label}", role)
        )
        measured, errors = _measured_coupling(scan, width, boxes, used)
        strength.append(
            Points(boxes, width * np.abs(measured), width * errors, f"networks, {scan.label}", _measured(role))
        )
        running.append(Line(grid, -np.median(slopes[:, used], axis=1), f"exact, {scan.label}", role))
        running.append(
            Line(grid, np.full(len(grid), -float(theory.d)), f"slides: $-d$, {scan.label}", "guide", dashed=True)
        )
        if not np.all(used) and scan is scans[0]:
            running.append(_pole(theory, grid, slopes, used))
    low = min(-8.0, *(-float(scan.theory.d) - 5.0 for scan in scans))
    return Picture(
        "couplings",
        rf"Quartic coupling of networks of width {width} against the box $[-L,L]^d$, and its $\beta$ function over $\lambda_4$ "
        r"(median over tuples of an even number of negative inputs). Erf-nets approach the slides' $-d$; ReLU without biases "
        r"has $-(d+4)$ at every $L$; the Gauss-net's coupling settles. A tuple with an odd number of negative inputs has a pole.",
        [
            Panel(strength, "box $L$", r"$N|\lambda_4|$, mean over tuples", xscale="log", yscale="log"),
            Panel(running, "box $L$", r"$\beta/\lambda_4$", xscale="log", ylim=(low, 6.0)),
        ],
    )


def _measured_coupling(scan: Scan, width: int, boxes: Sequence[float], used: NDArray[np.bool_]) -> tuple[Array, Array]:
    found = scan.moments[width][4]
    values, errors = [], []
    for box in boxes:
        volume = 24.0 * scan.theory.vertex(4, float(box))
        values.append(np.mean(((scan.limit[4] - found.packed) / volume)[used]))
        errors.append(np.linalg.norm(np.mean((found.loading / volume)[:, used], axis=1)))
    return np.array(values), np.array(errors)


def _pole(theory: NNQFT, grid: Array, slopes: Array, used: NDArray[np.bool_]) -> Line:
    """Return β/λ of the first tuple whose integral over the box has a zero."""
    poles = [i for i in np.flatnonzero(~used) if np.any(slopes[:, i] > 4.0)]
    chosen = int(poles[0]) if poles else int(np.flatnonzero(~used)[0])
    return Line(
        grid, -slopes[:, chosen], f"a tuple with a pole, {theory.d} input{'s' * (theory.d > 1)}", "control", dashed=True
    )


def six_point_picture(scans: Sequence[Scan]) -> Picture:
    """Return free theory and first order over the six-point function, against the width."""
    panels = []
    for scan in scans:
        found = [six_point(scan, width) for width in scan.widths]
        series: list[Line | Points | Mark] = [Mark(1.0, vertical=False)]
        for i, (name, role) in enumerate(
            (("free theory", "alternative"), (r"first order in $\lambda_4$", "predicted"))
        ):
            errors = [float(np.linalg.norm(entry[2][:, i])) for entry in found]
            series.append(Line(scan.widths, [entry[0][i] for entry in found], f"{name}, exact", role))
            series.append(
                Points(scan.widths, [entry[1][i] for entry in found], errors, f"{name} / networks", _measured(role))
            )
        panels.append(Panel(series, "width $N$", r"prediction / $G^{(6)}$", title=scan.label, xscale="log"))
    return Picture(
        "six-point",
        r"What the free theory and first order in the measured $\lambda_4$ (Eq. 3.19 of arXiv:2008.08601) make of the six-point "
        r"function, over its measured value: mean over tuples.",
        panels,
        columns=3,
    )
