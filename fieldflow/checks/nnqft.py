"""Do sampled networks have the exact correlators of their width, and the coupling that perturbation theory reads off them?

Moments are compared tuple by tuple on whitened components at every width; the p-values of the widths, which have seeds of their
own, are joined by Fisher's method.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fieldflow.checks.record import ASYMPTOTIC, EXACT, Check, Family, Source, row
from fieldflow.formulas import derive
from fieldflow.inputs import Array
from fieldflow.nnqft import NNQFT, wick_sum
from fieldflow.numeric.importance import pareto_k
from fieldflow.numeric.statistics import chi2_p, chi2_shift, hotelling
from fieldflow.numeric.symmetric import entries, sorted_tuples

EQUATION = "arXiv:2008.08601, Sec. 3"
_LEAST = 1e-300


@dataclass(frozen=True)
class Estimate:
    """Moments of all sorted tuples with their errors: ``packed`` (tuples,), ``loading`` (groups, tuples)."""

    packed: Array
    loading: Array


@dataclass(frozen=True)
class Scan:
    """What was drawn on one mesh: moments {n: estimate} by width, and k̂ of the members' contributions {(width, n): k̂}."""

    label: str
    theory: NNQFT
    widths: tuple[int, ...]
    members: int
    moments: Mapping[int, Mapping[int, Estimate]]
    tails: Mapping[tuple[int, int], float]

    @cached_property
    def exact(self) -> dict[tuple[int, int], Array]:
        """Exact moments by (width, n)."""
        return {(width, n): self.theory.exact(n, width) for width in self.widths for n in (4, 6)}

    @cached_property
    def limit(self) -> dict[int, Array]:
        """Wick sums of the infinitely wide network by n."""
        return {n: self.theory.gaussian(n) for n in (4, 6)}


def grouped(values: Array, weights: Array, groups: int) -> Estimate:
    """Return the mean of weighted ``values`` (members, tuples) with the loading of ``groups`` groups of members."""
    size = len(values) // groups
    means = (weights[:, None] * values)[: size * groups].reshape(groups, size, -1).mean(axis=1)
    centre = means.mean(axis=0)
    return Estimate(centre, (means - centre) / math.sqrt(groups * (groups - 1)))


def tail_shape(covariances: Array, n: int) -> float:
    """Return Pareto's k̂ of what single networks add to the mean n-point function, given their hidden layers."""
    points = sorted_tuples(covariances.shape[1], n)
    chosen = points[:: max(1, len(points) // 20)]
    values = np.mean(np.abs(wick_sum(np.moveaxis(covariances, 0, -1), chosen)), axis=0)
    return pareto_k(np.log(np.maximum(values, np.finfo(float).tiny)))


def joined(scan: Scan, n: int, wrong: Mapping[str, Mapping[int, Array]]) -> tuple[float, int, dict[str, float]]:
    """Return Fisher's -2 Σ ln p over widths, its degrees of freedom, and by how much each control moves it."""

    def statistic(prediction: Mapping[int, Array]) -> float:
        total = 0.0
        for width in scan.widths:
            found = scan.moments[width][n]
            scale = np.abs(scan.limit[n])
            loading = found.loading / scale
            difference = (found.packed - prediction[width]) / scale
            p_value = hotelling(difference, loading.T @ loading, len(loading))[2]
            total -= 2.0 * math.log(max(p_value, _LEAST))
        return total

    right = {width: scan.exact[width, n] for width in scan.widths}
    dof = 2 * len(scan.widths)
    return statistic(right), dof, {name: chi2_shift(statistic(value), dof) for name, value in wrong.items()}


def moments_family(scan: Scan, n: int) -> Family:
    """Return the family of n-point functions at all widths against their exact values."""
    source = Source(f"{scan.label}/m{n}", EXACT, EQUATION, derive(f"cumulants.moment{n}").digest)
    wrong = {"infinite width": dict.fromkeys(scan.widths, scan.limit[n])}
    if n == 6:
        wrong["no connected six-point function"] = {
            width: without_sextic(scan.theory, scan.exact[width, 4], scan.limit) for width in scan.widths
        }
    statistic, dof, shifts = joined(scan, n, wrong)
    rows = tuple(_deviation(source, scan, n, width) for width in scan.widths)
    return Family(source.family, EXACT, True, statistic, dof, chi2_p(statistic, dof), shifts, rows)


def without_sextic(theory: NNQFT, fourth: Array, limit: Mapping[int, Array]) -> Array:
    """Return the six-point function of a four-point function without connected six-point part: (3.19) at λ(x_1 … x_4)."""
    return theory.with_connected(fourth - limit[4])


def deviation(scan: Scan, n: int, width: int) -> tuple[float, float, float]:
    """Return the mean of m_n over tuples: exact, measured, and its standard error."""
    found, limit = scan.moments[width][n], scan.limit[n]
    measured = float(np.mean(found.packed / limit)) - 1.0
    error = float(np.linalg.norm(np.mean(found.loading / limit, axis=1)))
    return float(np.mean(scan.exact[width, n] / limit)) - 1.0, measured, error


def _deviation(source: Source, scan: Scan, n: int, width: int) -> Check:
    exact, measured, error = deviation(scan, n, width)
    tail = scan.tails.get((width, n))
    note = "" if tail is None else f" (Pareto k = {tail:.2f})"
    return row(source, f"m_{n}, mean over {len(scan.limit[n])} tuples{note}", exact, measured, error, scan.members,
               control=0.0, width=width)  # fmt: skip


def plain_family(label: str, scan: Scan, n: int, plain: Mapping[int, Estimate], tails: Mapping[int, float]) -> Family:
    """Return the same moments from plain sampling: reported, with the tail that says why they decide nothing."""
    source = Source(f"{label}/m{n}-plain", ASYMPTOTIC, EQUATION, derive(f"cumulants.moment{n}").digest)
    own = Scan(scan.label, scan.theory, tuple(plain), scan.members, {w: {n: e} for w, e in plain.items()}, {})
    statistic, dof, shifts = joined(own, n, {"infinite width": dict.fromkeys(plain, scan.limit[n])})
    rows, worst = [], max(tails.values())
    for width, found in plain.items():
        exact = float(np.mean(scan.exact[width, n] / scan.limit[n])) - 1.0
        measured = float(np.mean(found.packed / scan.limit[n])) - 1.0
        error = float(np.linalg.norm(np.mean(found.loading / scan.limit[n], axis=1)))
        name = f"m_{n} by plain sampling (Pareto k = {tails[width]:.2f})"
        # An error bar that cannot be trusted refutes nothing.
        p_value = 1.0 if worst > _RELIABLE else None
        rows.append(row(source, name, exact, measured, error, scan.members, control=0.0, p_value=p_value, width=width))
    # Beyond k̂ = 0.7 a mean and its error are not to be trusted at this sample size: no power, whatever the shift says.
    powerless = {name: 0.0 if worst > _RELIABLE else shift for name, shift in shifts.items()}
    return Family(source.family, ASYMPTOTIC, False, statistic, dof, 1.0 if worst > _RELIABLE else chi2_p(statistic, dof),
                  powerless, tuple(rows))  # fmt: skip


_RELIABLE = 0.7


def six_point(scan: Scan, width: int) -> tuple[Array, Array, Array]:
    """Return (GP, with λ) over the six-point function, mean over tuples: exact (2,), measured (2,), loading (groups, 2)."""
    fourth, sixth = scan.moments[width][4], scan.moments[width][6]
    exact = scan.exact[width, 6]
    predicted = without_sextic(scan.theory, fourth.packed, scan.limit)
    moved = np.array([scan.theory.with_connected(column, bare=False) for column in fourth.loading])
    right = np.array(
        [np.mean(scan.limit[6] / exact), np.mean(without_sextic(scan.theory, scan.exact[width, 4], scan.limit) / exact)]
    )
    found = np.array([np.mean(scan.limit[6] / sixth.packed), np.mean(predicted / sixth.packed)])
    loading = np.array(
        [
            np.mean(-scan.limit[6] / sixth.packed**2 * sixth.loading, axis=1),
            np.mean(moved / sixth.packed - predicted / sixth.packed**2 * sixth.loading, axis=1),
        ]
    ).T
    return right, found, loading


def six_point_family(scan: Scan, width: int) -> Family:
    """Return the family "free theory and first order in λ over the measured six-point function", against exact ratios."""
    source = Source(f"{scan.label}/six-point", EXACT, "arXiv:2008.08601, Eq. (3.19)", derive("nnqft.kappa").digest)
    right, found, loading = six_point(scan, width)
    covariance = loading.T @ loading
    statistic, rank, p_value = hotelling(found - right, covariance, len(loading))
    shift = chi2_shift(*hotelling(found - 1.0, covariance, len(loading))[:2])
    names = ("free theory / measured", "first order in lambda / measured")
    rows = tuple(
        row(source, name, float(right[i]), float(found[i]), float(math.sqrt(covariance[i, i])), scan.members,
            control=1.0, width=width)
        for i, name in enumerate(names)
    )  # fmt: skip
    return Family(source.family, EXACT, True, statistic, rank, p_value, {"the ratio is 1": shift}, rows)


def chosen_tuples(theory: NNQFT) -> NDArray[np.bool_]:
    """Return which 4-tuples have no pole in λ(L): for Erf those with an even number of inputs of negative first coordinate."""
    if theory.activation != "erf":
        return np.ones(entries(len(theory.points), 4), dtype=bool)
    negative = theory.points[:, 0] < 0.0
    points = sorted_tuples(len(theory.points), 4)
    return np.asarray(negative[points].sum(axis=1) % 2 == 0)


def running_family(scan: Scan, width: int, boxes: tuple[float, float], seconds: Estimate) -> Family:
    """Return the family of λ in one box and its running to another, from networks of their own (``seconds``)."""
    theory, slides = scan.theory, -float(scan.theory.d)
    used = chosen_tuples(theory)
    exact, limit = scan.exact[width, 4], scan.limit[4]
    volumes = [theory.vertex(4, box) for box in boxes]

    def mean(values: Array, volume: Array) -> float:
        return float(np.mean(((limit - values) / (24.0 * volume))[used]))

    found = [
        mean(entry.packed, volume) for entry, volume in zip((scan.moments[width][4], seconds), volumes, strict=True)
    ]
    errors = [
        float(np.linalg.norm(np.mean((entry.loading / (24.0 * volume))[:, used], axis=1)))
        for entry, volume in zip((scan.moments[width][4], seconds), volumes, strict=True)
    ]
    right = [mean(exact, volume) for volume in volumes]
    span = math.log(boxes[1] / boxes[0])
    relative = [errors[i] / abs(found[i]) for i in range(2)]
    slopes = [(math.log(abs(b)) - math.log(abs(a))) / span for a, b in (found, right)]
    slope_error = math.hypot(*relative) / span
    source = Source(f"{scan.label}/running", EXACT, EQUATION, derive("nnqft.beta").digest)
    rows = (
        row(source, f"N lambda_4, L = {boxes[0]:g}", width * right[0], width * found[0], width * errors[0], scan.members,
            control=2.0 * width * right[0], width=width),
        row(source, f"d ln|lambda_4|/d ln L between L = {boxes[0]:g} and {boxes[1]:g}", slopes[1], slopes[0], slope_error,
            scan.members, control=slides, width=width),
    )  # fmt: skip
    pulls = np.array([(found[0] - right[0]) / errors[0], (found[1] - right[1]) / errors[1]])
    chi2 = float(pulls @ pulls)
    halved = np.array([(found[i] - 2.0 * right[i]) / errors[i] for i in range(2)])
    shifts = {"12 instead of 24 in lambda_4": chi2_shift(float(halved @ halved), 2)}
    if abs(slides - slopes[1]) > 0.5:
        shifts["beta = -d lambda"] = chi2_shift(((slopes[0] - slides) / slope_error) ** 2, 1)
    return Family(source.family, EXACT, True, chi2, 2, chi2_p(chi2, 2), shifts, rows)


def space_dependence(scan: Scan, width: int, box: float, terms: int = 3) -> list[tuple[int, float, float]]:
    """Return (terms, λ(0), largest residual of m_4 relative to the largest m_4) of fits λ(y) = Σ_k λ_k (y/L)^{2k}."""
    theory, limit = scan.theory, scan.limit[4]
    measured = limit - scan.moments[width][4].packed
    found = []
    columns: list[Array] = []
    for k in range(terms):
        columns.append(24.0 * theory.vertex(4, box, power=2 * k) / limit)
        design = np.array(columns).T
        solution, *_ = np.linalg.lstsq(design, measured / limit, rcond=None)
        residual = design @ solution - measured / limit
        found.append((k + 1, float(solution[0]), float(np.max(np.abs(residual)) / np.max(np.abs(measured / limit)))))
    return found
