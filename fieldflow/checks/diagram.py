"""Does the diagram commute? Train and coarse-grain samples (upper leg), or map the measured moments of the trained ones.

The lower leg applies P and Q at infinite width to the *measured* mean and covariance of the trained ensemble.  At finite
width the legs differ at order 1/N: on samples the difference is compared with its expectation given the hidden layers
(exact), and that expectation is extrapolated over a scan of widths, where it vanishes (asymptotic).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fieldflow.brg import LinearRG
from fieldflow.checks.leg import Leg, Moments, Outputs
from fieldflow.checks.record import ASYMPTOTIC, EXACT, Family, Source, row
from fieldflow.formulas import compiled, derive
from fieldflow.inputs import Array
from fieldflow.numeric.statistics import chi2_shift, hotelling, intercept_weights

_EQUATION = "2405.17538 figs. 1, 2; (53)-(58)"


class Extrapolated(NamedTuple):
    """Difference of two sides: coefficients (3, cells) of the fit a + b/N + c/N², covariance of a, values per width."""

    coefficients: Array
    covariance: Array
    per_width: Array
    errors: Array


def sampled_moments(outputs: Outputs, mode: str) -> Moments:
    """Return sampled functions as moments: each is its own mean, and has no covariance."""
    return Moments(outputs.values, {mode: np.zeros((1, outputs.values.shape[1], 1, 1))})


def upper(leg: Leg, moments: Moments, mode: str) -> Array:
    """Return the influence values (members, cutoffs, cells) of mean and covariance of f_Λ at the stated points."""
    return np.stack([_at(leg, moments, mode, i) for i in range(1, len(leg.grid))], axis=1)


def start(leg: Leg, moments: Moments, mode: str) -> Array:
    """Return the same of the trained ensemble, (members, cells)."""
    return _at(leg, moments, mode, 0)


def lower(leg: Leg, moments: Moments, rg: LinearRG, *, noise: bool = True, times: int = 1) -> Array:
    """Return the influence values of the mapped mean and covariance of the trained ensemble, shaped like ``upper``.

    ``noise`` False leaves Q out, ``times`` ≠ 1 takes that power of P: negative controls.
    """
    mean, covariance = moments.mean[:, 0], moments.covariance[rg.mode][:, 0]
    found = []
    for cutoff in leg.grid[1:]:
        projector = np.linalg.matrix_power(rg.projector(float(cutoff)), times)[leg.stated]
        added = rg.noise(float(cutoff))[np.ix_(leg.stated, leg.stated)] * noise
        spread = projector @ covariance @ projector.T if covariance.shape[-1] > 1 else np.zeros((1, *added.shape))
        found.append(_influence(mean @ projector.T, spread + added))
    return np.stack(found, axis=1)


def law(leg: Leg, rg: LinearRG, mode: str, cutoffs: Array) -> Array:
    """Return mean and covariance (cutoffs, cells) of the exact law: the trained law of theory, moved along its flow.

    For homogeneous activations by ``brg.ou_mean`` and ``brg.ou_covariance_*`` in t = -ln Z, else by the map.
    """
    mean, covariance = leg.trained_law()
    found = []
    for cutoff in cutoffs:
        if leg.homogeneous:
            time = -float(np.log(leg.stiff_share(float(cutoff))))
            there = compiled("brg.ou_mean")(mean[:, None], time)[:, 0]
            spread = compiled(f"brg.ou_covariance_{mode}")(covariance, rg.prior, time)
        else:
            there, spread = rg.mean(mean, float(cutoff)), rg.covariance(covariance, float(cutoff))
        found.append(np.concatenate([there[leg.stated], _pairs(spread[np.ix_(leg.stated, leg.stated)])]))
    return np.array(found)


def sampled_legs(leg: Leg, mode: str, sampled: Moments, given: Moments) -> Family:
    """Return the family "on samples the legs differ by what the hidden layers say", exact at any width.

    ``given`` holds the law of the same members given their hidden layers.  This ties the samples to the averages that are
    extrapolated; whether the map is right is for ``arrow`` (member by member) and ``legs_agree`` (N = infinity) to say.
    """
    rg, other = leg.maps[mode], "prune" if mode == "resample" else "resample"
    gap = upper(leg, sampled, mode) - lower(leg, sampled, rg)
    expected = upper(leg, given, mode) - lower(leg, given, rg)
    residual = (gap - expected).reshape(len(gap), -1)
    difference, covariance = residual.mean(axis=0), np.cov(residual, rowvar=False) / len(residual)
    statistic, rank, p_value = hotelling(difference, covariance, len(residual))
    right = upper(leg, given, mode).mean(axis=0)
    controls = {
        f"samples of {other}": (upper(leg, given, other).mean(axis=0) - right).reshape(-1),
        "samples not coarse-grained": (start(leg, given, mode).mean(axis=0) - right).reshape(-1),
    }
    source = Source(f"{leg.label}/legs-{mode}", EXACT, _EQUATION, derive(f"brg.covariance_{mode}").digest)
    predicted, errors = expected.mean(axis=0).reshape(-1), np.sqrt(np.diag(covariance))
    wrong = controls["samples not coarse-grained"]
    checks = tuple(
        row(source, f"{name}: upper leg - lower leg", float(predicted[i]), float(predicted[i] + difference[i]),
            float(errors[i]), len(residual), control=float(predicted[i] + wrong[i]), cutoff=cutoff,
            point=point, width=leg.width)
        for i, (name, cutoff, point) in enumerate(cells(leg))
    )  # fmt: skip
    shifts = {name: _shift(difference - shift, covariance, len(residual)) for name, shift in controls.items()}
    return Family(source.family, EXACT, True, statistic, rank, p_value, shifts, checks)


def legs_agree(leg: Leg, mode: str, scan: Sequence[Moments]) -> tuple[Family, Extrapolated]:
    """Return the family "upper leg minus lower leg vanishes as N -> infinity"."""
    rg = leg.maps[mode]
    found = _extrapolated(leg, [upper(leg, moments, mode) - lower(leg, moments, rg) for moments in scan])
    weights = _weights(leg)[0]

    def bottom(other: LinearRG) -> Array:
        value: Array = weights @ np.array([lower(leg, entry, other).mean(axis=0).reshape(-1) for entry in scan])
        return value

    wrong = [_wrong(leg, moments, rg) for moments in scan]
    controls = {name: weights @ np.array([entry[name] for entry in wrong]) for name in wrong[0]}
    extra = _replicate_covariance([bottom(other) for other in leg.replicated(mode)])
    source = Source(f"{leg.label}/diagram-{mode}", ASYMPTOTIC, _EQUATION, derive(f"brg.covariance_{mode}").digest)
    return _family(leg, source, "upper leg - lower leg", found, extra, controls), found


def law_agrees(leg: Leg, mode: str, scan: Sequence[Moments]) -> Family:
    """Return the family "the upper leg follows the exact flow as N -> infinity"."""
    other = "prune" if mode == "resample" else "resample"
    rg, cutoffs = leg.maps[mode], leg.grid[1:]
    expected = law(leg, rg, mode, cutoffs)
    found = _extrapolated(leg, [upper(leg, moments, mode) - expected for moments in scan])
    name = f"brg.ou_covariance_{mode}" if leg.homogeneous else f"brg.covariance_{mode}"
    controls = {
        f"law of {other}": (expected - law(leg, leg.maps[other], other, cutoffs)).reshape(-1),
        "trained law, not moved": (expected - law(leg, rg, mode, leg.grid[:1])).reshape(-1),
    }
    extra = _replicate_covariance([law(leg, entry, mode, cutoffs).reshape(-1) for entry in leg.replicated(mode)])
    source = Source(f"{leg.label}/flow-{mode}", ASYMPTOTIC, _EQUATION, derive(name).digest)
    return _family(leg, source, "upper leg - exact flow", found, extra, controls)


def estimates(values: Array) -> tuple[Array, Array]:
    """Return average and standard error of influence values (members, ...)."""
    error: Array = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return values.mean(axis=0), error


def cells(leg: Leg) -> list[tuple[str, float, tuple[float, ...]]]:
    """Return name, cut-off and point of every cell, cut-offs slowest."""
    count = len(leg.stated)
    pairs = list(zip(*np.triu_indices(count), strict=True))
    names = ["mean"] * count + ["variance" if i == j else f"covariance with stated point {j + 1}" for i, j in pairs]
    where = [*range(count), *(int(i) for i, _ in pairs)]
    points = [tuple(leg.mesh[leg.stated[i]].tolist()) for i in where]
    return [(name, float(cutoff), point) for cutoff in leg.grid[1:] for name, point in zip(names, points, strict=True)]


def _wrong(leg: Leg, moments: Moments, rg: LinearRG) -> dict[str, Array]:
    """Return by how much wrong lower legs move the difference of the legs, (cutoffs·cells,)."""
    right = lower(leg, moments, rg).mean(axis=0).reshape(-1)
    return {
        "Q left out": right - lower(leg, moments, rg, noise=False).mean(axis=0).reshape(-1),
        "P twice": right - lower(leg, moments, rg, times=2).mean(axis=0).reshape(-1),
        "P = 1": right - lower(leg, moments, rg, times=0).mean(axis=0).reshape(-1),
    }


def _pairs(matrix: Array) -> Array:
    value: Array = matrix[..., *np.triu_indices(matrix.shape[-1])]
    return value


def _at(leg: Leg, moments: Moments, mode: str, place: int) -> Array:
    covariance = moments.covariance[mode][:, place]
    some = covariance[:, leg.stated[:, None], leg.stated] if covariance.shape[-1] > 1 else covariance
    return _influence(moments.mean[:, place, leg.stated], some)


def _influence(mean: Array, covariance: Array) -> Array:
    """Return per member (mean, covariance + (mean - average)(mean - average)^T n/(n - 1)), (members, cells)."""
    centred = mean - mean.mean(axis=0)
    products = centred[:, :, None] * centred[:, None, :] * (len(mean) / (len(mean) - 1))
    return np.concatenate([mean, _pairs(covariance + products)], axis=1)


def _weights(leg: Leg) -> Array:
    widths = np.array(leg.widths, dtype=float)
    return intercept_weights(widths, np.full(len(widths), float(leg.scan_members)))


def _extrapolated(leg: Leg, differences: Sequence[Array]) -> Extrapolated:
    flat = [entry.reshape(len(entry), -1) for entry in differences]
    weights = _weights(leg)
    means = np.array([entry.mean(axis=0) for entry in flat])
    covariances = np.array([np.cov(entry, rowvar=False) / len(entry) for entry in flat])
    total = np.einsum("w,wij->ij", weights[0] ** 2, covariances)
    return Extrapolated(weights @ means, total, means, np.sqrt(np.einsum("wii->wi", covariances)))


def _replicate_covariance(values: Sequence[Array]) -> Array | float:
    """Return the covariance of the average over independent replicates of K_>; 0 where it is closed."""
    if not values:
        return 0.0
    covariance: Array = np.cov(np.array(values), rowvar=False) / len(values)
    return covariance


def _family(
    leg: Leg, source: Source, name: str, found: Extrapolated, extra: Array | float, controls: Mapping[str, Array]
) -> Family:
    """Return the family judged by Hotelling's T² of all cells; ``controls`` are shifts of the difference."""
    covariance, intercept = found.covariance + extra, found.coefficients[0]
    statistic, rank, p_value = hotelling(intercept, covariance, leg.scan_members)
    shifts = {label: _shift(intercept + shift, covariance, leg.scan_members) for label, shift in controls.items()}
    errors, wrong = np.sqrt(np.diag(covariance)), next(iter(controls.values()))
    checks = tuple(
        row(source, f"{what}: {name}, extrapolated", 0.0, float(intercept[i]), float(errors[i]),
            leg.scan_members * len(leg.widths), control=float(-wrong[i]), cutoff=cutoff, point=point)
        for i, (what, cutoff, point) in enumerate(cells(leg))
    )  # fmt: skip
    return Family(source.family, ASYMPTOTIC, True, statistic, rank, p_value, shifts, checks)


def _shift(difference: Array, covariance: Array, samples: int) -> float:
    statistic, rank, _ = hotelling(difference, covariance, samples)
    return chi2_shift(statistic, rank)
