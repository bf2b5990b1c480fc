"""Do connected three-point functions scale with P on each leg? On one frozen hidden layer, exactly and at any width.

Non-Gaussianity must come from outside: members share their hidden layer and are trained on targets with skewed noise of
their own.  f_Λ - P̂f_T is Gaussian and independent of it, so κ₃(f_Λ) = P̂⊗P̂⊗P̂ κ₃(f_T) (``polchinski.connected``).  With
hidden layers of their own the members' P̂ differ, and the law holds at leading order in 1/N only.
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from fieldflow.brg import LinearRG
from fieldflow.checks.leg import Leg
from fieldflow.checks.record import EXACT, Family, Source, row
from fieldflow.flow import training_matrix
from fieldflow.formulas import derive
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork
from fieldflow.numeric.frozen import Frozen, frozen_outputs
from fieldflow.numeric.statistics import chi2_shift, hotelling
from fieldflow.processes import Stop


class Cumulants(NamedTuple):
    """κ₃ at one stated point along Λ: upper leg, lower leg, each (cutoffs,) with standard errors."""

    upper: Array
    upper_error: Array
    lower: Array
    lower_error: Array


class Outputs(NamedTuple):
    """f_Λ on the mesh, (members, cutoffs, m), the cut-off 0 first."""

    values: Array


class _Draw(NamedTuple):
    """The frozen layer, what its read-outs are trained on, and how they are coarse-grained."""

    layer: Frozen
    targets: Array
    spread: float
    grid: Array
    resample: bool
    seed: int


def frozen_layer(leg: Leg) -> Frozen:
    """Return the hidden layer of member 0 with the training matrix of its own kernel."""
    features, diagonal = leg.features(leg.width, leg.seed, 0)
    train = np.arange(len(leg.trained.x), dtype=np.int64)
    rule = leg.trained
    seen = features[:, train]
    matrix = training_matrix(
        seen.T @ seen, method=rule.method, learning_rate=rule.learning_rate, steps=rule.steps, d_out=1
    )
    return Frozen(features, train, diagonal, matrix)


def third_cumulants(leg: Leg, mode: str, spread: float) -> tuple[Family, Cumulants]:
    """Return the family "κ₃ of the coarse-grained members is P on each leg of κ₃ of the trained ones"."""
    layer = frozen_layer(leg)
    kept = layer.features[None] * (layer.diagonal >= leg.grid[:, None])[:, :, None]
    stiff = np.swapaxes(kept, 1, 2) @ kept
    rg = LinearRG.from_kernels(stiff[0], stiff, cutoffs=leg.grid, mode=mode)
    outputs = leg.keeper.gather(
        leg.label,
        f"sample_frozen_{mode}",
        Outputs,
        leg.frozen_members,
        partial(_work, _Draw(layer, leg.trained.y[:, 0], spread, leg.grid, mode == "resample", leg.seed)),
        threads=leg.threads,
        progress=lambda _: None,
    ).values
    top = np.stack([_influence(outputs[:, i, leg.stated]) for i in range(1, len(leg.grid))], axis=1)
    bottom, unmoved, twice = (_mapped(leg, rg, outputs[:, 0], times) for times in (1, 0, 2))
    count, cells = len(outputs), top.shape[2]
    difference = (top - bottom).reshape(count, -1)
    covariance = np.cov(difference, rowvar=False) / count
    statistic, rank, p_value = hotelling(difference.mean(axis=0), covariance, count)
    shifts = {
        name: (wrong - bottom).mean(axis=0).reshape(-1) for name, wrong in (("P = 1", unmoved), ("P twice", twice))
    }
    source = Source(
        f"{leg.label}/cumulant-{mode}", EXACT, "2405.17538 (56)-(58)", derive("polchinski.connected").digest
    )
    errors, means = np.sqrt(np.diag(covariance)), difference.mean(axis=0)
    rows = tuple(
        row(source, f"third cumulant of stated points {_triple(leg, i % cells)}: upper leg - lower leg", 0.0,
            float(means[i]), float(errors[i]), count, control=float(shifts["P = 1"][i]),
            cutoff=float(leg.grid[1 + i // cells]), width=leg.width)
        for i in range(len(means))
    )  # fmt: skip
    controls = {}
    for name, shift in shifts.items():
        wrong, dof, _ = hotelling(means - shift, covariance, count)
        controls[name] = chi2_shift(wrong, dof)
    family = Family(source.family, EXACT, True, statistic, rank, p_value, controls, rows)
    return family, Cumulants(*_summary(top[:, :, 0]), *_summary(bottom[:, :, 0]))


def _work(draw: _Draw) -> BlockWork[Outputs]:
    def work(first: int, count: int, _: Stop) -> Outputs:
        return Outputs(frozen_outputs(*draw, first, count))

    return work


def _summary(values: Array) -> tuple[Array, Array]:
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def _mapped(leg: Leg, rg: LinearRG, trained: Array, times: int) -> Array:
    """Return the influence values (members, cutoffs, triples) of P^times on each leg of κ₃(f_T)."""
    powers = [np.linalg.matrix_power(rg.projector(float(cutoff)), times)[leg.stated] for cutoff in leg.grid[1:]]
    return np.stack([_influence(trained @ power.T) for power in powers], axis=1)


def _influence(values: Array) -> Array:
    """Return per member the influence value of κ₃ at all unordered triples, (members, triples), by the k-statistic."""
    n, points = values.shape
    centred = values - values.mean(axis=0)
    second = centred.T @ centred / n
    found = []
    for i, j, k in _triples(points):
        product = centred[:, i] * centred[:, j] * centred[:, k]
        value = float(product.mean()) * n**2 / ((n - 1) * (n - 2))
        # The estimated means move κ₃ as well, at first order by -3 times covariance times deviation.
        drift = centred[:, i] * second[j, k] + centred[:, j] * second[i, k] + centred[:, k] * second[i, j]
        found.append(value + product - product.mean() - drift)
    return np.stack(found, axis=1)


def _triples(points: int) -> list[tuple[int, int, int]]:
    return [(i, j, k) for i in range(points) for j in range(i, points) for k in range(j, points)]


def _triple(leg: Leg, cell: int) -> str:
    return "".join(str(entry + 1) for entry in _triples(len(leg.stated))[cell])
