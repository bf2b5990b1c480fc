"""What do the couplings look like along training and along the information shell? Figures and the table of ``actions``.

Everything is shown in units of the field: a leg at x_a is multiplied by σ_a = √Σ(x_a, x_a) of infinite width, so that the
numbers do not change with the unit of the output.
"""

from typing import NamedTuple

import numpy as np

from fieldflow.checks.action_members import QUADRATIC, QUANTITIES, Limit, places
from fieldflow.checks.actions import Found, Predicted, tuples_of
from fieldflow.inputs import Array
from fieldflow.latex import number, with_error
from fieldflow.picture import Line, Mark, Panel, Picture, Points, Tabular

_LABELS = {
    "g1": r"$N g_1\,\sigma$", "g2": r"$N g_2\,\sigma^2$", "g3": r"$N g_3\,\sigma^3$", "g4": r"$N g_4\,\sigma^4$",
    QUADRATIC: r"$N(\Delta + 2g_2 - \Sigma^{-1})\,\sigma^2$",
}  # fmt: skip
_SECOND = {"g1": (2,), "g2": (1, 2), "g3": (1, 1, 2), "g4": (1, 1, 2, 2), QUADRATIC: (1, 2)}
_ALL, _BOTH = "all legs at $x_1$", "legs at $x_1$ and $x_2$"


class Curve(NamedTuple):
    """The prediction at every place of a finer grid (places, components), with Σ there."""

    at: Array
    predicted: Predicted
    covariance: Array


def along(found: Found, limit: Limit, chosen: slice, curve: Curve, flow: str) -> Picture:
    """Return the couplings along one flow, "training" or "shell": one neuron (lines) and ensembles (points)."""
    stages = found.flows.stages[chosen]
    training = flow == "training"
    at = [stage.steps if training else stage.cutoff for stage in stages]
    label, scale = ("training time $T$", "cutoff") if training else (r"cut-off $\Lambda$", "linear")
    fit, error = found.fit()
    panels = []
    for name in QUANTITIES:
        series: list[Line | Points | Mark] = [Mark(0.0, "infinite width", vertical=False, role="limit")]
        for (place, indices, text), role, marker in zip(
            _shown(name, limit), ("predicted", "alternative"), "os", strict=False
        ):
            unit, fine = _unit(limit.covariance[chosen], indices), _unit(curve.covariance, indices)
            right = curve.predicted.value[:, place] * fine
            series.append(
                Line(curve.at, right, f"one neuron, {text}", role, band=curve.predicted.std_error[:, place] * fine)
            )
            series.append(
                Points(at, fit[0, chosen, place] * unit, error[chosen, place] * unit, f"ensembles, {text}",
                       "measured" if role == "predicted" else role, marker)
            )  # fmt: skip
        panels.append(Panel(series, label, _LABELS[name], xscale=scale))
    panels.append(Panel(_gaussian_part(curve), label, r"$\Sigma(x_a, x_a)$", xscale=scale, yscale="log"))
    what = (
        "training ($\\Lambda = 0$)" if training
        else f"the information shell, Fisher cut-off $\\Lambda$ after $T = {stages[-1].steps:g}$ steps"
    )  # fmt: skip
    return Picture(
        flow,
        rf"The action along {what}: $N$ times the couplings for $N\to\infty$, every leg in units of the standard deviation "
        r"$\sigma$ of the field there. Lines: averages over one neuron; points: ensembles of several widths, extrapolated. "
        r"At infinite width all of them vanish and $\frac12\phi\Sigma^{-1}\phi$ is left, $\Sigma$ in the last panel.",
        panels,
    )


def _gaussian_part(curve: Curve) -> list[Line | Points | Mark]:
    roles = ("predicted", "alternative", "guide", "limit", "control")
    return [
        Line(curve.at, curve.covariance[:, a, a], rf"$\Sigma(x_{a + 1}, x_{a + 1})$", roles[a], dashed=a > 1)
        for a in range(curve.covariance.shape[1])
    ]


def extrapolation(found: Found, limit: Limit) -> Picture:
    """Return N times the couplings against 1/N where training ends and behind the first cut-off, all legs at x_1."""
    end = found.flows.training.stop - 1
    fit, _ = found.fit()
    fine = np.linspace(0.0, 1.0 / found.widths[0], 50)
    panels = []
    for name in QUANTITIES[:-1]:
        (place, indices, _), *_ = _shown(name, limit)
        series: list[Line | Points | Mark] = []
        for stage, role, marker in ((end, "predicted", "o"), (end + 1, "alternative", "s")):
            unit = float(_unit(limit.covariance[stage], indices))
            text = rf"$\Lambda = {found.flows.stages[stage].cutoff:g}$"
            a, b, c = fit[:, stage, place] * unit
            values = [entry[:, stage, place] * unit for entry in found.values]
            series.append(Line(fine, a + b * fine + c * fine**2, "", "guide", dashed=True))
            series.append(
                Points(1.0 / found.widths, [entry.mean() for entry in values],
                       [entry.std(ddof=1) / np.sqrt(len(entry)) for entry in values], f"ensembles, {text}",
                       "measured" if role == "predicted" else role, marker)
            )  # fmt: skip
            right = found.predicted
            series.append(
                Points([0.0], [right.value[stage, place] * unit], [right.std_error[stage, place] * unit],
                       f"one neuron, {text}", role, "^")
            )  # fmt: skip
        panels.append(Panel(series, r"$1/N$", _LABELS[name]))
    steps = found.flows.stages[end].steps
    return Picture(
        "extrapolation",
        rf"$N$ times the couplings of ensembles of width $N$, all legs at $x_1$, after $T = {steps:g}$ steps, with the fit "
        r"$a+b/N+c/N^2$ (dashed). Triangles: the average over one neuron, to which $a$ is compared.",
        panels,
    )


def table(found: Found, limit: Limit) -> Tabular:
    """Return N times the couplings with all legs at x_1 at every stage."""
    fit, error = found.fit()
    rows = []
    for place, stage in enumerate(found.flows.stages):
        for name in QUANTITIES:
            (component, indices, _), *_ = _shown(name, limit)
            unit = float(_unit(limit.covariance[place], indices))
            right = found.predicted
            rows.append([
                number(stage.steps, 4), number(stage.cutoff, 3), _LABELS[name],
                _text(right.value[place, component] * unit, right.std_error[place, component] * unit),
                _text(fit[0, place, component] * unit, error[place, component] * unit),
            ])  # fmt: skip
    return Tabular(
        "couplings",
        r"Couplings with all legs at $x_1$, in units of the field's standard deviation there: averages over one neuron, and "
        r"what ensembles extrapolate to at $N\to\infty$.",
        "rrlrr",
        ["$T$", r"$\Lambda$", "quantity", "one neuron", "ensembles"],
        rows,
    )


def _text(value: float, error: float) -> str:
    return with_error(float(value), float(error)) if error > 0.0 else number(float(value), 3)


def _shown(name: str, limit: Limit) -> list[tuple[int, tuple[int, ...], str]]:
    """Return position, legs and label of the components that are drawn."""
    size = limit.mean.shape[1]
    every = tuples_of(name, size)
    start = places(size)[name].start
    chosen = [(every[0], _ALL)] + ([(_SECOND[name], _BOTH)] if size > 1 else [])
    return [(start + every.index(indices), indices, text) for indices, text in chosen]


def _unit(covariance: Array, indices: tuple[int, ...]) -> Array:
    deviation = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    unit: Array = np.prod(deviation[..., [index - 1 for index in indices]], axis=-1)
    return unit
