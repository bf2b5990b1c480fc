"""Is the action of a finite ensemble what one neuron says, along training and along the information shell?

Asymptotic: N times each measured coupling, extrapolated to N → ∞, against the one-neuron coefficients.  Exact: members
drawn are Gaussian given their hidden layers; before training κ₃ = 0 and N κ₄ is the same at every width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.checks.action_members import QUADRATIC, QUANTITIES, Flows, Given, places
from fieldflow.checks.case import Progress
from fieldflow.checks.finite_width import FrozenShell
from fieldflow.checks.record import ASYMPTOTIC, EXACT, Family, Source, row
from fieldflow.finite_width import FiniteWidth
from fieldflow.flow_action import LEGS, FlowAction
from fieldflow.formulas import derive
from fieldflow.inputs import Array
from fieldflow.numeric.jackknife import standard_error
from fieldflow.numeric.statistics import (
    RANK_TOLERANCE,
    chi2_p,
    chi2_shift,
    hotelling,
    intercept_weights,
    ks_p,
    normality_shift,
)
from fieldflow.numeric.symmetric import sorted_tuples

FORMULAS = {**{f"g{r}": f"action.g{r}" for r in LEGS}, QUADRATIC: "action.quadratic_form"}
"""Quantity to the formula of its coefficient."""

_CONTROL = {"g1": "1/2 left out", "g2": "1/2 in place of 1/4"}


class Predicted(NamedTuple):
    """N times the action (stages, components), and the same without each replicate of the neurons, (replicates, …)."""

    value: Array
    left_out: Array

    @property
    def std_error(self) -> Array:
        """Standard errors (stages, components)."""
        return standard_error(self.left_out)

    def covariance(self, stages: slice, components: slice | NDArray[np.intp]) -> Array:
        """Return the covariance of some stages and components, flattened: the same neurons serve all of them."""
        part = self.left_out[:, stages, components].reshape(len(self.left_out), -1)
        away = part - part.mean(axis=0)
        found: Array = (len(part) - 1) / len(part) * away.T @ away
        return found


@dataclass(frozen=True)
class Found:
    """N times the action at every stage: predicted (stages, components), wrong predictions, and pseudo-values per width."""

    flows: Flows
    predicted: Predicted
    controls: Mapping[str, Array]
    widths: Array
    values: tuple[Array, ...]

    @property
    def weights(self) -> Array:
        """G (3, widths) of the fit a + b/N + c/N² to N times a coupling, whose spread is the same at every N."""
        return intercept_weights(self.widths, 1.0 / self.widths)

    def fit(self) -> tuple[Array, Array]:
        """Return a, b, c (3, stages, components), and the standard errors (stages, components) of a."""
        means = np.array([entry.mean(axis=0) for entry in self.values])
        variances = np.array([entry.var(axis=0, ddof=1) / len(entry) for entry in self.values])
        return np.tensordot(self.weights, means, axes=1), np.sqrt(np.tensordot(self.weights[0] ** 2, variances, axes=1))


def predicted(flows: Flows, samples: int) -> Predicted:
    """Return N times the action to order 1/N, (stages, components)."""
    return _flattened(flows, flows.laws(samples))


def frozen(flows: Flows, samples: int) -> Array:
    """Return it with kernels that fluctuate and a shell that does not: a negative control."""
    return _flattened(flows, flows.laws(samples, FrozenShell)).value


def _flattened(flows: Flows, laws: list[FiniteWidth]) -> Predicted:
    values, left = [], []
    for law, leg in zip(laws, flows.legs, strict=True):
        action = FlowAction(law, flows.points, leg.grid)
        every = [*action.coefficients().values(), action.quadratic_coefficient()]
        values.append(np.concatenate([_packed(part.value) for part in every], axis=-1))
        left.append(np.concatenate([_packed(part, 2) for part in action.left_out()], axis=-1))
    return Predicted(np.concatenate(values), np.concatenate(left, axis=1))


def _packed(tensors: Array, leading: int = 1) -> Array:
    """Return symmetric tensors (…, m, …, m) by their entries at sorted indices, (…, entries)."""
    places = sorted_tuples(tensors.shape[-1], tensors.ndim - leading)
    found: Array = tensors[(..., *places.T)]
    return found


def controls(right: Predicted, still: Array, size: int) -> dict[str, Array]:
    """Return wrong predictions (stages, components): a factor changed, pairings left out, a shell that does not fluctuate."""
    where = places(size)
    wrong = right.value.copy()
    wrong[:, where["g1"]] *= 2.0
    wrong[:, where["g2"]] *= 2.0
    for name in ("g3", "g4"):
        wrong[:, where[name]] /= 3.0
    # Without g_2 only the two-point function is left in the quadratic form.
    wrong[:, where[QUADRATIC]] -= 2.0 * right.value[:, where["g2"]]
    return {"wrong": wrong, "K_> does not fluctuate": still}


def judged(found: Found) -> list[Family]:
    """Return a family per quantity and flow: what N times the measured one tends to against the one-neuron coefficient."""
    flows = found.flows
    families = []
    for flow, chosen in (("training", flows.training), ("shell", flows.shell)):
        for name in QUANTITIES:
            families.append(_judged(found, flow, chosen, name))
    return families


def _judged(found: Found, flow: str, chosen: slice, name: str) -> Family:
    flows, where = found.flows, places(len(found.flows.points))[name]
    stages = flows.stages[chosen]
    flat = [entry[:, chosen, where].reshape(len(entry), -1) for entry in found.values]
    weights = found.weights[0]
    measured = weights @ np.array([entry.mean(axis=0) for entry in flat])
    spread = np.array([np.cov(entry, rowvar=False) / len(entry) for entry in flat])
    right, doubt = (part[chosen, where].reshape(-1) for part in (found.predicted.value, found.predicted.std_error))
    own = np.einsum("w,wij->ij", weights**2, spread)
    covariance = own + found.predicted.covariance(chosen, where)
    source = Source(
        f"{flows.last.label}/{name}-{flow}", ASYMPTOTIC, "(57), (58) corrected", derive(FORMULAS[name]).digest
    )
    statistic, rank, p_value = hotelling(measured - right, covariance, len(flat[0]))
    labels = {"wrong": _CONTROL.get(name, "one pairing of three")}
    if name == QUADRATIC:
        labels = {"wrong": "g_2 left out"}
    wrong = {labels.get(key, key): value[chosen, where].reshape(-1) for key, value in found.controls.items()}
    wrong["infinite width: none"] = np.zeros_like(measured)
    shifts = {
        key: chi2_shift(*hotelling(measured - value, covariance, len(flat[0]))[:2]) for key, value in wrong.items()
    }
    errors = np.sqrt(np.diag(own))
    first = next(iter(wrong.values()))
    tuples = tuples_of(name, len(flows.points))
    cells = [(stage, indices) for stage in stages for indices in tuples]
    rows = tuple(
        row(source, f"N x {_component(name, indices)}, T = {stage.steps:g}, extrapolated", float(right[i]),
            float(measured[i]), float(errors[i]), len(flat[0]) * len(flat), control=float(first[i]),
            prediction_std_error=float(doubt[i]), cutoff=stage.cutoff)
        for i, (stage, indices) in enumerate(cells)
    )  # fmt: skip
    return Family(source.family, ASYMPTOTIC, True, statistic, rank, p_value, shifts, rows)


def initial(flows: Flows, values: Array, right: Predicted, width: int) -> list[Family]:
    """Return the families "before training the action at width N is exactly 1/N of the coefficient", from functions alone.

    ``values`` (blocks, 1, components) are the pseudo-values of untrained members, nothing about them averaged exactly.  The
    vertices g_3, g_4 and the tadpoles g_1, g_2, which are contractions of those, are two families: of both together only
    second-order fluctuations would be left in some directions.
    """
    return [
        _initial(flows, values, right, width, ("g1", "g2"), "1/2 in place of 1/4", 2.0),
        _initial(flows, values, right, width, ("g3", "g4"), "one pairing of three", 1.0 / 3.0),
    ]


def _initial(
    flows: Flows, values: Array, right: Predicted, width: int, names: tuple[str, str], label: str, factor: float
) -> Family:
    where = places(len(flows.points))
    chosen = np.r_[where[names[0]], where[names[1]]]
    part = values[:, 0, chosen]
    measured, own = part.mean(axis=0), np.cov(part, rowvar=False) / len(part)
    prediction, error = right.value[0, chosen] / width, right.std_error[0, chosen] / width
    covariance = own + right.covariance(slice(0, 1), chosen) / width**2
    formula = FORMULAS[names[1]]
    source = Source(
        f"{flows.last.label}/initial-{''.join(names)}", EXACT, "(42) at initialisation", derive(formula).digest
    )
    statistic, rank, p_value = hotelling(measured - prediction, covariance, len(part))
    wrong = {"infinite width: none": np.zeros_like(prediction), label: factor * prediction}
    shifts = {key: chi2_shift(*hotelling(measured - value, covariance, len(part))[:2]) for key, value in wrong.items()}
    cells = [(name, indices) for name in names for indices in tuples_of(name, len(flows.points))]
    rows = tuple(
        row(source, _component(name, indices), float(prediction[i]), float(measured[i]), float(np.sqrt(own[i, i])), len(part),
            prediction_std_error=float(error[i]), control=0.0, cutoff=0.0, width=width)
        for i, (name, indices) in enumerate(cells)
    )  # fmt: skip
    return Family(source.family, EXACT, True, statistic, rank, p_value, shifts, rows)


def conditional_law(flows: Flows, members: Given, width: int, progress: Progress) -> tuple[Family, int]:
    """Return the family "given its hidden layer a sampled network is this Gaussian field on the mesh", exact.

    One stage per member in turn, all points at once, so that the whitened components are independent.  Members whose
    training diverged are left out; the number of the others is returned as well.
    """
    stages = flows.stages
    parts = [leg.sample(leg.shell.mode, f"sample_time{place}", progress) for place, leg in enumerate(flows.legs)]
    used = np.flatnonzero(np.all([np.isin(np.arange(flows.last.members), part.used) for part in parts], axis=0))
    drawn = [part.values[np.isin(part.used, used)][:, :, flows.last.stated] for part in parts]
    turn = np.arange(len(used)) % len(stages)
    values = np.concatenate(drawn, axis=1)[np.arange(len(used)), turn]
    mean, covariance = members.mean[used, turn], members.covariance[used, turn]
    eigenvalues, vectors = np.linalg.eigh(covariance)
    # A pruned member may have fewer stiff neurons than there are points: its field then lives on fewer directions.
    kept = eigenvalues > RANK_TOLERANCE * eigenvalues[:, -1:]
    scale = np.sqrt(np.where(kept, eigenvalues, 1.0))
    components, centred = (
        np.einsum("sij,si->sj", vectors, part)[kept] / scale[kept] for part in (values - mean, values)
    )  # fmt: skip
    place = np.broadcast_to(turn[:, None], kept.shape)[kept]
    source = Source(
        f"{flows.last.label}/conditional-law", EXACT, "theory: total cumulance", derive("shell.covariance").digest
    )
    chi2, count = float(components @ components), components.size
    rows = tuple(
        row(source, f"whitened squared residual, T = {stage.steps:g}", 1.0, float(np.mean(components[place == i] ** 2)),
            float(np.sqrt(2.0 / np.sum(place == i))), int(np.sum(place == i)), control=0.5, cutoff=stage.cutoff, width=width)
        for i, stage in enumerate(stages)
    )  # fmt: skip
    shifts = {
        "no mean": normality_shift(centred),
        "half the covariance": normality_shift(np.sqrt(2.0) * components),
    }
    family = Family(source.family, EXACT, True, chi2, count, chi2_p(chi2, count), shifts, rows,
                    ks_p_value=ks_p(components))  # fmt: skip
    return family, len(used)


def tuples_of(name: str, size: int) -> list[tuple[int, ...]]:
    """Return the legs of the components of a quantity, counted from 1."""
    rank = 2 if name == QUADRATIC else int(name[1:])
    return [tuple(int(i) + 1 for i in indices) for indices in sorted_tuples(size, rank)]


def _component(name: str, indices: tuple[int, ...]) -> str:
    label = "quadratic form" if name == QUADRATIC else f"g_{name[1:]}"
    return f"{label}({','.join(map(str, indices))})"
