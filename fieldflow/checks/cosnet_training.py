"""Does a trained cosine ensemble follow the shell flow? Exactly given the hidden layer, and at N = ∞ by extrapolation."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from fieldflow.checks.cosnet_case import CosCase, Progress, counted
from fieldflow.checks.record import ASYMPTOTIC, EXACT, Check, Family, Source, row
from fieldflow.conditional import MemberFlow
from fieldflow.flow import training_matrix
from fieldflow.formulas import compiled, derive
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork
from fieldflow.numeric.cosnet import TrainedBlock, empty_trained, member_features, train_block
from fieldflow.numeric.statistics import (
    chi2_p,
    chi2_shift,
    hotelling,
    intercept_weights,
    ks_p,
    normality_shift,
    whiten,
)
from fieldflow.processes import Stop
from fieldflow.rows import stacked, until_told

EXAMINED = 300
"""Members whose exact conditional law is evaluated."""

CONTROLLED = 64
"""Members on which the other mode's law is evaluated: a lower bound on its power over all of them."""


class MemberLaw(NamedTuple):
    """Given the hidden layer: mean (cutoffs, p), covariance (cutoffs, p, p), E of the change of Σω² (cutoffs,).

    Of many members: one row for each in every array.
    """

    mean: Array
    covariance: Array
    moved: Array


@dataclass(frozen=True)
class Scan:
    """Influence values of all moments per width, (members, cells), and the conditional means behind them."""

    widths: Array
    moments: tuple[Array, ...]


def sample_training(case: CosCase, progress: Progress) -> TrainedBlock:
    """Return what the trained and coarse-grained ensemble did at the stated points."""
    return case.keeper.gather(
        case.name,
        "sample_trained",
        TrainedBlock,
        case.members,
        partial(_training, case.alone),
        threads=case.threads,
        progress=lambda done: progress("train", done),
    )


def _training(case: CosCase) -> BlockWork[TrainedBlock]:
    layer, shell, seed = case.net.architecture(), case.shell(), np.uint64(case.seed)
    training, points = case.trained.compiled(), np.ascontiguousarray(case.stated.T)

    def work(first: int, count: int, stop: Stop) -> TrainedBlock:
        out = empty_trained(count, len(shell.cutoffs), points.shape[1])
        train_block(layer, seed, first, points, training, shell, out, stop)
        return out

    return work


def _features(case: CosCase, member: int) -> tuple[Array, Array, Array]:
    """Return features at the stated points and the training inputs, (N, ·), and λ (N,)."""
    every = np.ascontiguousarray(np.concatenate([case.stated, case.trained.x]).T)
    features, diagonal = member_features(case.net.architecture(), np.uint64(case.seed), member, every, case.shell())
    return np.ascontiguousarray(features[:, : len(case.stated)]), features[:, len(case.stated) :], diagonal


def member_law(case: CosCase, member: int) -> MemberLaw:
    """Return the exact law of one member given its hidden layer: the formulas of the flow with its own kernels."""
    return _law(case, *_features(case, member))


def _law(case: CosCase, there: Array, seen: Array, diagonal: Array) -> MemberLaw:
    both = np.concatenate([there, seen], axis=1)
    shells = np.searchsorted(case.cutoffs, diagonal, side="right")
    order = np.argsort(shells, kind="stable")
    edges = np.searchsorted(shells[order], np.arange(len(case.cutoffs) + 2))
    sorted_features = both[order]
    grams = np.array([part.T @ part for part in np.split(sorted_features, edges[1:-1])])
    stiff = np.cumsum(grams[::-1], axis=0)[::-1]
    points = slice(len(case.stated))
    inputs = slice(len(case.stated), None)
    rule = case.trained
    whole = stiff[0]
    matrix = training_matrix(
        whole[inputs, inputs], method=rule.method, learning_rate=rule.learning_rate, steps=rule.steps, d_out=1
    )
    means, covariances, moved = [], [], []
    name = "shell.covariance" if case.mode == "resample" else "shell.covariance_prune"
    for kernel in stiff[1:]:
        response = np.ascontiguousarray(kernel[inputs, points])
        first = whole[points, points] if case.mode == "resample" else kernel[points, points]
        means.append(compiled("shell.mean")(response, matrix, rule.y)[:, 0])
        covariances.append(compiled(name)(first, response, response, matrix, whole[inputs, inputs]))
        relative = compiled("cosnet.effective_variance")(
            1.0, 1.0, kernel[inputs, inputs], matrix, whole[inputs, inputs], rule.y
        )
        moved.append(float(relative) - 1.0)
    return MemberLaw(np.array(means), np.array(covariances), np.array(moved))


class Examined(NamedTuple):
    """Of the examined members: law, one row each; all whitened components, one member after the other, and those under the
    law of the other mode (first members only).
    """

    mean: Array
    covariance: Array
    moved: Array
    components: Array
    swapped: Array


@dataclass(frozen=True)
class _Chosen:
    """The case with the members that are examined and what they did, (members, cutoffs, p)."""

    case: CosCase
    members: list[int]
    outputs: Array


def examine(case: CosCase, sampled: TrainedBlock, progress: Progress) -> tuple[list[int], Examined]:
    """Return the members examined and their records."""
    chosen = np.flatnonzero(~sampled.diverged[:EXAMINED]).tolist()
    record = case.keeper.gather(
        case.name,
        "examine",
        Examined,
        len(chosen),
        partial(_examination, _Chosen(case.alone, chosen, sampled.outputs[chosen])),
        threads=case.threads,
        progress=lambda done: progress("examine", done),
    )
    return chosen, record


def _examination(chosen: _Chosen) -> BlockWork[Examined]:
    case, rule = chosen.case, chosen.case.trained
    other = "prune" if case.mode == "resample" else "resample"

    def work(first: int, count: int, stop: Stop) -> Examined:
        laws, found, swapped = [], [], [np.empty(0)]
        for position in until_told(range(first, first + count), stop):
            there, seen, diagonal = _features(case, chosen.members[position])
            flow = MemberFlow(
                seen, rule.y, diagonal, learning_rate=rule.learning_rate, steps=rule.steps, method=rule.method
            )
            outputs = chosen.outputs[position].reshape(-1)
            laws.append(_law(case, there, seen, diagonal))
            found.append(_components(flow, there, case.cutoffs, outputs, case.mode))
            if position < CONTROLLED:
                swapped.append(_components(flow, there, case.cutoffs, outputs, other))
        return Examined(*stacked(MemberLaw, laws), np.concatenate(found), np.concatenate(swapped))

    return work


def _components(flow: MemberFlow, there: Array, cutoffs: Array, outputs: Array, mode: str) -> Array:
    law = flow.law(there, cutoffs, mode=mode)
    return whiten(outputs - law.mean[:, 0], law.loading)


def conditional_law(case: CosCase, sampled: TrainedBlock, chosen: list[int], examined: Examined) -> Family:
    """Given b and c, f_Λ is jointly Gaussian over points and cut-offs: whitened components are iid N(0, 1)."""
    source = Source(f"{case.name}/conditional-law", EXACT, "2405.17538 (94)-(97)", derive("shell.covariance").digest)
    pooled, mean, outputs = examined.components, examined.mean, sampled.outputs[chosen]
    variance = np.einsum("mcpp->mcp", examined.covariance)
    n = len(mean)
    checks = tuple(
        row(
            source,
            "mean",
            float(mean[:, i, k].mean()),
            float(outputs[:, i, k].mean()),
            float(np.sqrt(np.maximum(variance[:, i, k], 0.0).sum()) / n),
            n,
            control=0.5 * float(mean[:, i, k].mean()),
            cutoff=float(cutoff),
            point=point,
            width=case.width,
        )
        for i, cutoff in enumerate(case.cutoffs)
        for k, point in enumerate(case.stated)
    )
    other = "prune" if case.mode == "resample" else "resample"
    controls = {f"{other} for {case.mode}": normality_shift(examined.swapped)}
    chi2, dof = float(pooled @ pooled), len(pooled)
    return Family(source.family, EXACT, True, chi2, dof, chi2_p(chi2, dof), controls, checks, ks_p_value=ks_p(pooled))


def effective_variance(case: CosCase, sampled: TrainedBlock, chosen: list[int], examined: Examined) -> Family:
    """Change of N·Σw²/σ_w² over stiff weights against (87) with the member's kernels; control: no change, as at N = ∞."""
    source = Source(
        f"{case.name}/effective-variance", EXACT, "2405.17538 (87)", derive("cosnet.effective_variance").digest
    )
    measured = sampled.moved[chosen]
    expected = examined.moved
    n = len(measured)
    difference = measured - expected
    covariance = np.atleast_2d(np.cov(difference, rowvar=False)) / n
    errors = np.sqrt(np.diag(covariance))
    checks = tuple(
        row(
            source,
            "N (sigma_w^2(cutoff)/sigma_w^2 - 1)",
            float(expected[:, i].mean()),
            float(measured[:, i].mean()),
            float(errors[i]),
            n,
            control=0.0,
            cutoff=float(cutoff),
            width=case.width,
        )
        for i, cutoff in enumerate(case.cutoffs)
    )
    statistic, rank, p_value = hotelling(difference.mean(axis=0), covariance, n)
    shifted, dof, _ = hotelling(measured.mean(axis=0), covariance, n)
    controls = {"sigma_w unchanged": chi2_shift(shifted, dof)}
    return Family(source.family, EXACT, True, statistic, rank, p_value, controls, checks)


def fisher_law(case: CosCase, sampled: TrainedBlock) -> Family:
    """Number of sloppy units under Gaussian Fisher inputs, binomial with the law of λ."""
    source = Source(
        f"{case.name}/fisher-law",
        EXACT,
        "theory: cosnet.sloppy_fraction_gaussian",
        derive("cosnet.sloppy_fraction_gaussian").digest,
    )
    predicted, wrong = (
        np.asarray(case.net.sloppy_fraction(factor * case.cutoffs, case.input_std, noise_variance=case.noise_variance))
        for factor in (1.0, 0.5)
    )
    total = case.members * case.width
    return counted(source, sampled.sloppy.sum(axis=0), total, predicted, wrong, case.cutoffs, case.width)


def scan(case: CosCase, progress: Progress) -> Scan:
    """Return Rao-Blackwellised means and covariances at each width; the widths use disjoint members."""
    moments = []
    upper = np.triu_indices(len(case.stated))
    for position, width in enumerate(case.widths):
        mean, covariance, _ = case.keeper.gather(
            case.name,
            f"sample_{width}",
            MemberLaw,
            case.scan_members,
            partial(_laws, case.with_width(width).alone, case.members + position * case.scan_members),
            threads=case.threads,
            progress=lambda done: progress("scan", done),
        )
        centred = mean - mean.mean(axis=0)
        # Cov f = E[cov given b, c] + Cov[mean given b, c], the latter unbiased.
        outer = centred[..., :, None] * centred[..., None, :] * (len(mean) / (len(mean) - 1))
        spread = (covariance + outer)[..., upper[0], upper[1]]
        moments.append(np.concatenate([mean.reshape(len(mean), -1), spread.reshape(len(mean), -1)], axis=1))
    return Scan(np.array(case.widths, dtype=float), tuple(moments))


def _laws(case: CosCase, offset: int) -> BlockWork[MemberLaw]:
    """Return the work on the members from ``offset`` on."""

    def work(first: int, count: int, stop: Stop) -> MemberLaw:
        members = until_told(range(offset + first, offset + first + count), stop)
        return stacked(MemberLaw, (member_law(case, member) for member in members))

    return work


def predicted_moments(case: CosCase, input_std: float, factor: float = 1.0) -> Array:
    """Return the infinite-width mean and covariance of all cells, flat, with Fisher inputs N(0, input_std²)."""
    flow = case.flow
    grid = factor * case.cutoffs
    left = case.net.shell_kernel(flow.x_train, case.stated, grid, input_std, noise_variance=case.noise_variance)
    prior = case.net.shell_kernel(case.stated)
    first = (
        [prior] * len(grid)
        if case.mode == "resample"
        else case.net.shell_kernel(case.stated, None, grid, input_std, noise_variance=case.noise_variance)
    )
    upper = np.triu_indices(len(case.stated))
    mean = [compiled("shell.mean")(k, flow.matrix, flow.y_train)[:, 0] for k in left]
    name = "shell.covariance" if case.mode == "resample" else "shell.covariance_prune"
    spread = [compiled(name)(k0, k, k, flow.matrix, flow.prior)[upper] for k0, k in zip(first, left, strict=True)]
    return np.concatenate([np.ravel(mean), np.ravel(spread)])


def fitted(found: Scan) -> tuple[Array, Array]:
    """Return (a, b, c) (3, cells) of a + b/N + c/N² and the covariance (cells, cells) of a."""
    weights = intercept_weights(found.widths, np.array([len(entry) for entry in found.moments], dtype=float))
    centres = np.array([entry.mean(axis=0) for entry in found.moments])
    spreads = np.array([np.cov(entry, rowvar=False) / len(entry) for entry in found.moments])
    return weights @ centres, np.einsum("w,wij->ij", weights[0] ** 2, spreads)


def infinite_width(case: CosCase, found: Scan) -> Family:
    """Intercepts of μ_Λ(x) and Cov_Λ(x, x') at N = ∞ against the shell flow with the finite-input kernel."""
    source = Source(
        f"{case.name}/infinite-width",
        ASYMPTOTIC,
        "theory: shell.mean, shell.covariance with cosnet.shell_kernel; 2405.17538 (86)",
        derive("cosnet.shell_kernel").digest,
    )
    predicted = predicted_moments(case, case.input_std)
    others = {
        "translation-invariant shell, broad inputs": predicted_moments(case, np.inf),
        "lambda without the 1/2 of cos^2": predicted_moments(case, case.input_std, 0.5),
    }
    fit, covariance = fitted(found)
    errors = np.sqrt(np.diag(covariance))
    members = min(len(entry) for entry in found.moments)
    broad = others["translation-invariant shell, broad inputs"]
    checks: list[Check] = [
        row(
            source,
            f"{name} at N = infinity",
            float(predicted[i]),
            float(fit[0, i]),
            float(errors[i]),
            members * len(found.widths),
            control=float(broad[i]),
            cutoff=cutoff,
            point=point,
        )
        for i, (name, cutoff, point) in enumerate(cells(case))
    ]
    statistic, rank, p_value = hotelling(fit[0] - predicted, covariance, members)
    controls = {}
    for name, wrong in others.items():
        shifted, dof, _ = hotelling(fit[0] - wrong, covariance, members)
        controls[name] = chi2_shift(shifted, dof)
    return Family(source.family, ASYMPTOTIC, True, statistic, rank, p_value, controls, tuple(checks))


def cells(case: CosCase) -> list[tuple[str, float, tuple[float, ...]]]:
    """Return name, cut-off and point or points (one after the other) of each cell of ``predicted_moments``."""
    points = [tuple(map(float, point)) for point in case.stated]
    pairs = [points[i] + points[j] for i, j in zip(*np.triu_indices(len(points)), strict=True)]
    found = [("mean", float(cutoff), point) for cutoff in case.cutoffs for point in points]
    return found + [("covariance", float(cutoff), pair) for cutoff in case.cutoffs for pair in pairs]
