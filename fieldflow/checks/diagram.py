"""Does the diagram commute? Train and coarse-grain samples (upper leg), or map the measured moments of the trained ones.

The lower leg applies P and Q at infinite width to the *measured* mean and covariance of the trained ensemble.  Both legs
differ at order 1/N, so the difference is extrapolated over a scan of widths and judged at its intercept.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fieldflow.brg import LinearRG
from fieldflow.checks.leg import Leg, Outputs
from fieldflow.checks.record import ASYMPTOTIC, Family, Source, row
from fieldflow.formulas import compiled, derive
from fieldflow.inputs import Array
from fieldflow.numeric.statistics import chi2_shift, hotelling, intercept_weights

_EQUATION = "2405.17538 figs. 1, 2; (53)-(58)"


class Extrapolated(NamedTuple):
    """Difference of two sides at N = ∞ (cells,), its covariance, the coefficient of 1/N, and the values per width."""

    intercept: Array
    covariance: Array
    slope: Array
    per_width: Array
    errors: Array


def upper(leg: Leg, values: Array) -> Array:
    """Return the influence values (members, cutoffs, cells) of mean and covariance of f_Λ at the stated points."""
    return np.stack([_moments(leg, values[:, i]) for i in range(1, len(leg.grid))], axis=1)


def lower(leg: Leg, values: Array, rg: LinearRG, *, noise: bool = True, moved: bool = True) -> Array:
    """Return the influence values of the mapped mean and covariance of the trained ensemble, shaped like ``upper``.

    ``noise`` False leaves Q out and ``moved`` False sets P = 1: negative controls.
    """
    found = []
    for cutoff in leg.grid[1:]:
        projector = rg.projector(float(cutoff)) if moved else np.eye(rg.size)
        added = rg.noise(float(cutoff)) if noise else np.zeros_like(rg.prior)
        constant = np.concatenate([np.zeros(len(leg.stated)), _pairs(added[np.ix_(leg.stated, leg.stated)])])
        found.append(_moments(leg, values[:, 0] @ projector.T) + constant)
    return np.stack(found, axis=1)


def law(leg: Leg, rg: LinearRG, mode: str) -> Array:
    """Return mean and covariance (cutoffs, cells) of the exact law: the trained law of theory, moved along its flow.

    For homogeneous activations by ``brg.ou_mean`` and ``brg.ou_covariance_*`` in t = -ln Z, else by the map.
    """
    mean, covariance = leg.shell.flow.mean(leg.mesh), leg.shell.flow.covariance(leg.mesh)
    found = []
    for cutoff in leg.grid[1:]:
        if leg.homogeneous:
            time = -float(np.log(leg.shell.kernel.stiff_factor(np.array([cutoff]))[0]))
            there = compiled("brg.ou_mean")(mean[:, None], time)[:, 0]
            spread = compiled(f"brg.ou_covariance_{mode}")(covariance, rg.prior, time)
        else:
            there, spread = rg.mean(mean, float(cutoff)), rg.covariance(covariance, float(cutoff))
        found.append(np.concatenate([there[leg.stated], _pairs(spread[np.ix_(leg.stated, leg.stated)])]))
    return np.array(found)


def legs_agree(leg: Leg, mode: str, scan: Sequence[Outputs]) -> tuple[Family, Extrapolated]:
    """Return the family "upper leg minus lower leg vanishes as N -> infinity"."""
    rg = leg.maps[mode]
    tops = [upper(leg, outputs.values) for outputs in scan]
    found = _extrapolated(leg, [top - lower(leg, outputs.values, rg) for top, outputs in zip(tops, scan, strict=True)])
    weights = _weights(leg)

    def bottom(other: LinearRG, **wrong: bool) -> Array:
        means = [lower(leg, outputs.values, other, **wrong).mean(axis=0).reshape(-1) for outputs in scan]
        value: Array = weights[0] @ np.array(means)
        return value

    reference = bottom(rg)
    controls = {"Q left out": bottom(rg, noise=False) - reference, "P = 1": bottom(rg, moved=False) - reference}
    extra = _replicate_covariance([bottom(other) for other in leg.replicated(mode)])
    source = Source(f"{leg.label}/diagram-{mode}", ASYMPTOTIC, _EQUATION, derive(f"brg.covariance_{mode}").digest)
    return _family(leg, source, "upper leg - lower leg", found, extra, controls), found


def law_agrees(leg: Leg, mode: str, scan: Sequence[Outputs]) -> tuple[Family, Extrapolated]:
    """Return the family "the upper leg follows the exact flow as N -> infinity"."""
    rg, other = leg.maps[mode], "prune" if mode == "resample" else "resample"
    expected = law(leg, rg, mode)
    found = _extrapolated(leg, [upper(leg, outputs.values) - expected for outputs in scan])
    name = f"brg.ou_covariance_{mode}" if leg.homogeneous else f"brg.covariance_{mode}"
    controls = {
        f"law of {other}": (law(leg, leg.maps[other], other) - expected).reshape(-1),
        "trained law, not moved": (_trained(leg) - expected).reshape(-1),
    }
    extra = _replicate_covariance([law(leg, entry, mode).reshape(-1) for entry in leg.replicated(mode)])
    source = Source(f"{leg.label}/flow-{mode}", ASYMPTOTIC, _EQUATION, derive(name).digest)
    return _family(leg, source, "upper leg - exact flow", found, extra, controls), found


def estimates(values: Array) -> tuple[Array, Array]:
    """Return average and standard error (cutoffs, cells) of influence values (members, cutoffs, cells)."""
    error: Array = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return values.mean(axis=0), error


def cell_names(leg: Leg) -> list[str]:
    """Return what each cell of one cut-off is."""
    count = len(leg.stated)
    rows, columns = np.triu_indices(count)
    pairs = ["variance" if i == j else f"covariance with point {j + 1}" for i, j in zip(rows, columns, strict=True)]
    return ["mean"] * count + pairs


def cell_points(leg: Leg) -> Array:
    """Return the point of each cell of one cut-off (the first one of a pair), (cells, d_in)."""
    rows, _ = np.triu_indices(len(leg.stated))
    points: Array = leg.mesh[leg.stated][np.concatenate([np.arange(len(leg.stated)), rows])]
    return points


def _trained(leg: Leg) -> Array:
    covariance = leg.shell.flow.covariance(leg.mesh)[np.ix_(leg.stated, leg.stated)]
    return np.concatenate([leg.shell.flow.mean(leg.mesh)[leg.stated], _pairs(covariance)])


def _pairs(matrix: Array) -> Array:
    value: Array = matrix[..., *np.triu_indices(matrix.shape[-1])]
    return value


def _moments(leg: Leg, values: Array) -> Array:
    """Return per member f and (f - mean)(f - mean)^T n/(n - 1) at the stated points, (members, cells)."""
    chosen = values[:, leg.stated]
    centred = chosen - chosen.mean(axis=0)
    products = centred[:, :, None] * centred[:, None, :] * (len(chosen) / (len(chosen) - 1))
    return np.concatenate([chosen, _pairs(products)], axis=1)


def _weights(leg: Leg) -> Array:
    """Return the rows of the fit a + b/N + c/N² with equal weights: sampling noise does not fall with the width."""
    widths = np.array(leg.widths, dtype=float)
    return intercept_weights(widths, leg.scan_members / widths)


def _extrapolated(leg: Leg, differences: Sequence[Array]) -> Extrapolated:
    flat = [entry.reshape(len(entry), -1) for entry in differences]
    weights = _weights(leg)
    means = np.array([entry.mean(axis=0) for entry in flat])
    covariances = [np.cov(entry, rowvar=False) / len(entry) for entry in flat]
    total = sum((w**2 * c for w, c in zip(weights[0], covariances, strict=True)), np.zeros_like(covariances[0]))
    errors = np.sqrt(np.array([np.diag(entry) for entry in covariances]))
    return Extrapolated(weights[0] @ means, total, weights[1] @ means, means, errors)


def _replicate_covariance(values: Sequence[Array]) -> Array | float:
    """Return the covariance of the average over independent replicates of K_>; 0 where it is closed."""
    if not values:
        return 0.0
    covariance: Array = np.cov(np.array(values), rowvar=False) / len(values)
    return covariance


def _family(
    leg: Leg, source: Source, name: str, found: Extrapolated, extra: Array | float, controls: dict[str, Array]
) -> Family:
    """Return the family judged by Hotelling's T² of all cells; ``controls`` are shifts of the prediction."""
    covariance = found.covariance + extra
    statistic, rank, p_value = hotelling(found.intercept, covariance, leg.scan_members)
    shifts = {label: _shift(found.intercept - shift, covariance, leg.scan_members) for label, shift in controls.items()}
    errors, cells = np.sqrt(np.diag(covariance)), len(cell_names(leg))
    wrong = next(iter(controls.values()))
    checks = tuple(
        row(source, f"{cell_names(leg)[i % cells]}: {name}, extrapolated", 0.0, float(found.intercept[i]), float(errors[i]),
            leg.scan_members * len(leg.widths), control=float(wrong[i]), cutoff=float(leg.grid[1 + i // cells]),
            point=cell_points(leg)[i % cells])
        for i in range(len(errors))
    )  # fmt: skip
    return Family(source.family, ASYMPTOTIC, True, statistic, rank, p_value, shifts, checks)


def _shift(difference: Array, covariance: Array, samples: int) -> float:
    statistic, rank, _ = hotelling(difference, covariance, samples)
    return chi2_shift(statistic, rank)
