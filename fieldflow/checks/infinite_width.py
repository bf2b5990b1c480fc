"""Does the ensemble approach the infinite-width law? Rao-Blackwellised moments over a scan of widths, extrapolated.

E f = E[m(h)] and Var f = E[v(h)] + Var[m(h)] need no read-out noise; a fit a + b/N + c/N² per cell is judged at its
intercept a against ``shell.mean`` and ``shell.covariance``.  A finite-N value is never judged against the limit: at
N = 2000 the variance can be 5-24 % above it.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fieldflow.checks.case import Case, Progress, member_of
from fieldflow.checks.record import ASYMPTOTIC, EXACT, Check, Family, Source, row
from fieldflow.checks.sampling import Sampled
from fieldflow.flow import TrainingFlow
from fieldflow.formulas import derive
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork, Keeper
from fieldflow.numeric.statistics import chi2_p, chi2_shift, extrapolated, hotelling
from fieldflow.shell import ShellFlow

NEAR = 0.02
"""The critical cut-off is measured by a Newton step, with the slope between (1 ± NEAR) times its predicted value."""


@dataclass(frozen=True)
class Scan:
    """Influence values per width: mean, variance and their cells (members, cells); critical cut-off (members,)."""

    widths: Array
    members: int
    moments: tuple[Array, ...]
    critical: tuple[Array, ...]


def theory(case: Case) -> ShellFlow:
    """Return the infinite-width flow of the case."""
    rule = case.trained
    flow = TrainingFlow(
        case.net,
        case.x_train,
        case.y_train,
        learning_rate=rule.learning_rate,
        steps=rule.steps if rule.method == "gradient_flow" else int(rule.steps),
        method=rule.method,
    )
    law = case.law
    fisher = "gaussian" if law.points is None else law.points
    return ShellFlow(
        flow,
        fisher=fisher,
        input_mean=law.input_mean,
        input_std=law.input_std,
        noise_variance=law.noise_variance,
        mode=case.mode,
    )


def scan(case: Case, shell: ShellFlow, progress: Progress) -> Scan:
    """Return Rao-Blackwellised moments at each width; the widths use disjoint members, so they are independent."""
    critical = shell.critical_cutoff(case.x_test, case.y_test, case.excess)
    extra = critical * np.array([1.0 - NEAR, 1.0, 1.0 + NEAR])
    moments, crossings = [], []
    for position, width in enumerate(case.widths):
        wide = replace(case, net=case.net.with_width(width))
        offset = case.members + position * case.scan_members
        mean, variance, loss = _conditional_moments(wide, offset, extra, progress)
        centred = mean - mean.mean(axis=0)
        # Var f = E v + Var m with the unbiased Var m; its influence value per member.
        spread = variance + centred**2 * (len(mean) / (len(mean) - 1))
        moments.append(np.concatenate([mean, spread], axis=1))
        crossings.append(_crossing(loss, extra, case.excess))
    return Scan(np.array(case.widths, dtype=float), case.scan_members, tuple(moments), tuple(crossings))


class _Moments(NamedTuple):
    """Per member: mean and variance of f (members, cells) given the hidden layer, and expected losses (members, 5)."""

    mean: Array
    variance: Array
    loss: Array


def _conditional_moments(case: Case, offset: int, extra: Array, progress: Progress) -> _Moments:
    return case.keeper.gather(
        case.label,
        f"scan{case.net.finite_widths[-1]}",
        _Moments,
        case.scan_members,
        partial(_work, replace(case, keeper=Keeper()), offset, extra),  # without the keeper for other processes
        threads=case.threads,
        progress=lambda count: progress("scan", count),
    )


def _work(case: Case, offset: int, extra: Array) -> BlockWork[_Moments]:
    """Return the function that draws one block of members from number ``offset`` on."""
    grid = np.concatenate([case.cutoffs, [0.0], extra, [np.inf]])
    order = np.argsort(grid, kind="stable")
    back = np.argsort(order, kind="stable")
    cells = len(case.cutoffs)

    def work(first: int, count: int, stop: NDArray[np.uint8]) -> _Moments:
        size = cells * case.stated
        found = _Moments(np.zeros((count, size)), np.zeros((count, size)), np.zeros((count, len(grid) - cells)))
        for slot in range(count):
            if stop[0]:
                break
            member = member_of(case, offset + first + slot)
            mean, variances = member.flow.moments(member.test, grid[order])
            mean, variance = mean[back, :, 0], variances[case.mode][back]
            found.loss[slot] = np.mean((mean - case.y_test) ** 2 + variance, axis=1)[cells:]
            found.mean[slot] = mean[:cells, : case.stated].reshape(-1)
            found.variance[slot] = variance[:cells, : case.stated].reshape(-1)
        return found

    return work


def _crossing(loss: Array, extra: Array, excess: float) -> Array:
    """Return per member the influence value of the measured critical cut-off.

    ``loss`` (members, 5) at 0, the three cut-offs ``extra`` and infinity; the crossing of L(0) + excess·(L(∞) - L(0))
    is one Newton step from the predicted one.  Where the prediction holds the step vanishes at N = ∞; at finite N it is
    smooth in 1/N, however far the crossing is.
    """
    above = (loss[:, 1:4] - loss[:, :1]) - excess * (loss[:, 4:] - loss[:, :1])
    slopes = (above[:, 2] - above[:, 0]) / (extra[2] - extra[0])
    slope = slopes.mean()
    step = above[:, 1].mean() / slope
    value: Array = extra[1] - above[:, 1] / slope + step * (slopes / slope - 1.0)
    return value


def infinite_width(case: Case, shell: ShellFlow, found: Scan) -> Family:
    """The intercepts of mean and variance at N = ∞ against the closed flow; control: Z with a wrong factor ½."""
    source = Source(
        f"{case.label}/infinite-width",
        ASYMPTOTIC,
        "theory: shell.mean, shell.covariance; 2405.17538 (76)",
        derive("shell.covariance").digest,
    )
    predicted = _predicted(case, shell)
    mean, variance = predicted.reshape(2, len(case.cutoffs), -1)
    wrong = np.concatenate([0.5 * mean.reshape(-1), _halved_variance(case, shell, variance).reshape(-1)])
    fit, covariance = extrapolated(found.widths, found.moments)
    errors = np.sqrt(np.array([np.diag(part) for part in covariance]))
    names = ["mean"] * mean.size + ["variance"] * mean.size
    cells = [(c, x) for c in case.cutoffs for x in case.x_stated] * 2
    checks: list[Check] = []
    for i, (name, (cutoff, point)) in enumerate(zip(names, cells, strict=True)):
        checks.append(
            row(
                source,
                f"{name} at N = infinity",
                float(predicted[i]),
                float(fit[0, i]),
                float(errors[0, i]),
                found.members * len(found.widths),
                control=float(wrong[i]),
                cutoff=float(cutoff),
                point=point,
            )
        )
    statistic, rank, p_value = hotelling(fit[0] - predicted, covariance[0], found.members)
    shifted, dof, _ = hotelling(fit[0] - wrong, covariance[0], found.members)
    return Family(
        source.family,
        ASYMPTOTIC,
        True,
        statistic,
        rank,
        p_value,
        {"Z with a wrong factor 1/2": chi2_shift(shifted, dof)},
        tuple(checks),
    )


def width_corrections(case: Case, shell: ShellFlow, found: Scan) -> list[dict[str, Any]]:
    """Return, per cell, the infinite-width prediction, the values at each width and the fit a + b/N + c/N².

    The finite-width values and the 1/N coefficient b are reported, never judged against the infinite-width law.
    """
    fit, covariance = extrapolated(found.widths, found.moments)
    errors = np.sqrt(np.array([np.diag(part) for part in covariance]))
    predicted = _predicted(case, shell)
    values = np.array([entry.mean(axis=0) for entry in found.moments])
    spreads = np.array([entry.std(axis=0, ddof=1) / np.sqrt(len(entry)) for entry in found.moments])
    cells = [(name, c, x) for name in ("mean", "variance") for c in case.cutoffs for x in case.x_stated]
    return [
        {
            "name": name,
            "cutoff": float(cutoff),
            "point": point.tolist(),
            "predicted": float(predicted[i]),
            "widths": found.widths.tolist(),
            "values": values[:, i].tolist(),
            "errors": spreads[:, i].tolist(),
            **{key: float(fit[k, i]) for k, key in enumerate("abc")},
            **{f"{key}_error": float(errors[k, i]) for k, key in enumerate("abc")},
        }
        for i, (name, cutoff, point) in enumerate(cells)
    ]


def _predicted(case: Case, shell: ShellFlow) -> Array:
    """Return the infinite-width mean and then variance of all cells, flat."""
    mean = shell.mean(case.x_stated, case.cutoffs)
    variance = np.array([np.diag(part) for part in shell.covariance(case.x_stated, cutoff=case.cutoffs)])
    return np.concatenate([mean.reshape(-1), variance.reshape(-1)])


def critical_cutoff(case: Case, shell: ShellFlow, found: Scan) -> Family:
    """Λ_C in closed form against the extrapolated crossing of the measured loss curve."""
    source = Source(
        f"{case.label}/critical-cutoff",
        ASYMPTOTIC,
        "theory: shell.critical; 2405.17538 fig. 9",
        derive("shell.critical").digest,
    )
    predicted = shell.critical_cutoff(case.x_test, case.y_test, case.excess)
    wrong = shell.critical_cutoff(case.x_test, case.y_test, case.excess / 2)
    fit, covariance = extrapolated(found.widths, tuple(values[:, None] for values in found.critical))
    error = float(np.sqrt(covariance[0, 0, 0]))
    check = row(
        source,
        "critical cutoff at N = infinity",
        predicted,
        float(fit[0, 0]),
        error,
        found.members * len(found.widths),
        control=wrong,
    )
    pull = check.pull or 0.0
    shift = chi2_shift(float(((fit[0, 0] - wrong) / error) ** 2), 1)
    return Family(
        source.family,
        ASYMPTOTIC,
        True,
        pull**2,
        1,
        check.p_value or 0.0,
        {"excess with a wrong factor 1/2": shift},
        (check,),
    )


def sloppy_law(case: Case, shell: ShellFlow, sampled: Sampled) -> Family:
    """Number of sloppy units, binomial with P(d/2, u) at any width; Pearson's χ² over the shells between cut-offs."""
    source = Source(
        f"{case.label}/sloppy-fraction", EXACT, "theory: shell.sloppy_fraction", derive("shell.sloppy_fraction").digest
    )
    width = case.net.finite_widths[-1]
    counts = sampled.sloppy_of_all[case.shown]
    total = sampled.members * width
    predicted = np.asarray(shell.sloppy_fraction(case.cutoffs))
    wrong = np.asarray(shell.sloppy_fraction(0.5 * case.cutoffs))
    errors = np.sqrt(predicted * (1.0 - predicted) / total)
    checks = tuple(
        row(
            source,
            "sloppy fraction",
            float(predicted[i]),
            float(counts[i] / total),
            float(errors[i]),
            total,
            control=float(wrong[i]),
            cutoff=float(cutoff),
            width=width,
            p_value=_binomial_p(int(counts[i]), total, float(predicted[i])),
        )
        for i, cutoff in enumerate(case.cutoffs)
    )
    chi2, dof = _pearson(counts, total, predicted)
    shifted, _ = _pearson(counts, total, wrong)
    return Family(
        source.family,
        EXACT,
        True,
        chi2,
        dof,
        chi2_p(chi2, dof),
        {"u with a wrong factor 1/2": chi2_shift(shifted, dof)},
        checks,
    )


def _pearson(counts: NDArray[np.int64], total: int, fraction: Array) -> tuple[float, int]:
    expected = total * np.diff(np.concatenate([[0.0], fraction, [1.0]]))
    observed = np.diff(np.concatenate([[0], counts, [total]]))
    filled = expected > 0.0
    return float(np.sum((observed - expected)[filled] ** 2 / expected[filled])), int(filled.sum()) - 1


def _binomial_p(count: int, total: int, fraction: float) -> float:
    if fraction in (0.0, 1.0):
        return 1.0 if count == total * fraction else 0.0
    return float(stats.binomtest(count, total, fraction).pvalue)


def _halved_variance(case: Case, shell: ShellFlow, variance: Array) -> Array:
    """Return the variance if Z were half as large: prior + (v - prior)/4, with the prior's own Z when pruned."""
    grid = np.zeros(1) if case.mode == "resample" else case.cutoffs
    stiff = shell.kernel(case.x_stated, case.x_stated, grid).value
    prior = np.einsum("cii->ci", stiff)
    halved: Array = (1.0 if case.mode == "resample" else 0.5) * prior + 0.25 * (variance - prior)
    return halved
