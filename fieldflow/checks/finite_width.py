"""Are the deviations from infinite width what one neuron says? Exact averages over the read-out, extrapolated in 1/N.

Given its hidden layer a member has a known mean m and variance v, so by the law of total cumulance
E f = E m, Var f = E v + Var m, κ₃ = κ₃(m) + 3 Cov(m, v), κ₄ = κ₄(m) + 6 κ(m, m, v) + 3 Var(v): averages over hidden layers
alone.  The deviations of m and v that are linear in those of the kernels average to nothing and are subtracted first: what
is left is smaller by √N.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from fieldflow.checks.case import Progress
from fieldflow.checks.leg import Leg, Outputs
from fieldflow.checks.record import ASYMPTOTIC, EXACT, Family, Source, row
from fieldflow.errors import BadInput
from fieldflow.finite_width import Coefficient, Corrections, FiniteWidth, Kernels, Slopes
from fieldflow.flow import training_matrix
from fieldflow.formulas import compiled, derive
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork
from fieldflow.numeric.statistics import (
    chi2_p,
    chi2_shift,
    hotelling,
    intercept_weights,
    ks_p,
    normality_shift,
)
from fieldflow.processes import Stop
from fieldflow.rows import until_told

QUANTITIES = {
    "mean": "finite_width.mean",
    "variance": "finite_width.variance",
    "third_cumulant": "finite_width.kappa3",
    "fourth_cumulant": "finite_width.kappa4",
}
"""Field of ``Corrections`` to the formula of its coefficient."""


class Members(NamedTuple):
    """Per member at each cut-off and point, (members, cutoffs, points): mean and variance, and their linear parts."""

    mean: Array
    variance: Array
    mean_line: Array
    variance_line: Array


@dataclass(frozen=True)
class Found:
    """One mode: predicted coefficients, wrong ones, and per width N times the influence values of each quantity."""

    mode: str
    predicted: Corrections
    controls: Mapping[str, Mapping[str, Array]]
    widths: Array
    values: Mapping[str, Sequence[Array]]


@dataclass(frozen=True)
class _Given:
    """Whose law is asked for, at which cut-offs, and what it is expanded about."""

    leg: Leg
    law: FiniteWidth
    kernels: Kernels
    cutoffs: Array
    width: int
    seed: int


def given_hidden(
    leg: Leg, law: FiniteWidth, cutoffs: Array, width: int, seed: int, members: int, stage: str, progress: Progress
) -> Members:
    """Return the exact law of each member of one width given its hidden layer, and what of it is linear in the kernels."""
    kernels = law.kernels(leg.mesh[len(leg.trained.x) :], cutoffs)
    return leg.keeper.gather(
        leg.label,
        stage,
        Members,
        members,
        partial(_work, _Given(leg.alone, law, kernels, cutoffs, width, seed)),
        threads=leg.threads,
        progress=lambda done: progress("scan", done),
    )


def _work(given: _Given) -> BlockWork[Members]:
    leg, law, kernels, cutoffs = given.leg, given.law, given.kernels, given.cutoffs

    def work(first: int, count: int, stop: Stop) -> Members:
        members = until_told(range(first, first + count), stop)
        own = [grams(leg, cutoffs, given.width, given.seed, index) for index in members]
        whole, stiff = np.array([entry[0] for entry in own]), np.swapaxes(np.array([entry[1] for entry in own]), 0, 1)
        slopes = law.slopes(kernels, whole, stiff)
        mean, variance = _law(leg, whole, stiff, law.shell.mode)
        return Members(
            mean,
            variance,
            np.stack([entry.mean for entry in slopes], axis=1),
            np.stack([np.diagonal(entry.covariance, axis1=-2, axis2=-1) for entry in slopes], axis=1),
        )

    return work


def grams(leg: Leg, cutoffs: Array, width: int, seed: int, index: int) -> tuple[Array, Array]:
    """Return the member's own K (m, m) and K_> (cutoffs, m, m)."""
    features, diagonal = leg.features(width, seed, index)
    kept = [features * (diagonal >= cutoff)[:, None] for cutoff in cutoffs]
    return features.T @ features, np.array([part.T @ part for part in kept])


def _law(leg: Leg, whole: Array, stiff: Array, mode: str) -> tuple[Array, Array]:
    """Return mean and variance (members, cutoffs, points) by ``shell.mean`` and ``shell.covariance``."""
    rule, n = leg.trained, len(leg.trained.x)
    gram = np.ascontiguousarray(whole[:, :n, :n])
    matrix = np.array(
        [
            training_matrix(entry, method=rule.method, learning_rate=rule.learning_rate, steps=rule.steps, d_out=1)
            for entry in gram
        ]
    )
    if not np.all(np.isfinite(matrix)):
        raise BadInput(f"training.learning_rate: {leg.label}: training diverged: lower it")
    name = "shell.covariance" if mode == "resample" else "shell.covariance_prune"
    means, variances = [], []
    for part in stiff:
        response = np.ascontiguousarray(part[:, :n, n:])
        prior = np.ascontiguousarray((whole if mode == "resample" else part)[:, n:, n:])
        means.append(compiled("shell.mean")(response, matrix, rule.y)[..., 0])
        variances.append(
            np.diagonal(compiled(name)(prior, response, response, matrix, gram), axis1=-2, axis2=-1)
        )  # fmt: skip
    return np.stack(means, axis=1), np.stack(variances, axis=1)


def measured(members: Members, mean: Array, variance: Array, width: int) -> dict[str, Array]:
    """Return N times the influence values (members, cells) of the deviations from ``mean`` and ``variance``."""
    m, v = members.mean - members.mean.mean(axis=0), members.variance - members.variance.mean(axis=0)
    count = len(m)
    spread, joint = np.mean(m * m, axis=0), np.mean(m * v, axis=0)
    unbiased = count / (count - 1)
    third = (m**3 - 3.0 * spread * m) * count**2 / ((count - 1) * (count - 2))
    mixed = m * v * unbiased
    # κ₄ = E m⁴ - 3 (E m²)², and what estimating the means adds at first order.
    fourth = m**4 - 3.0 * spread**2 - 6.0 * spread * (m * m - spread) - 4.0 * np.mean(m**3, axis=0) * m
    both = m * m * v - spread * v - 2.0 * joint * m
    found = {
        "mean": members.mean - mean - members.mean_line,
        "variance": members.variance - variance - members.variance_line + m * m * unbiased,
        "third_cumulant": third + 3.0 * mixed,
        "fourth_cumulant": fourth + 6.0 * both + 3.0 * v * v * unbiased,
    }
    return {name: width * value.reshape(count, -1) for name, value in found.items()}


class FrozenShell(FiniteWidth):
    """Negative control: the kernels fluctuate, what the shell keeps of them does not."""

    def slopes(self, kernels: Kernels, whole: Array, stiff: Array) -> list[Slopes]:
        """Return the derivatives along deviations of K alone."""
        return super().slopes(kernels, whole, np.broadcast_to(kernels.stiff[:, None], stiff.shape))


def controls(frozen: FrozenShell, x: Array, cutoffs: Array, right: Corrections) -> dict[str, dict[str, Array]]:
    """Return wrong coefficients: a factor or a term left out, or a shell that does not fluctuate."""
    still = frozen.corrections(x, cutoffs)
    wrong = {
        "mean": {"1/2 left out": 2.0 * right.mean.value},
        "variance": {"D^2 C left out": right.spread_of_means.value},
        "third_cumulant": {"one pairing of three": right.third_cumulant.value / 3.0},
        "fourth_cumulant": {"one pairing of three": right.fourth_cumulant.value / 3.0},
    }
    return {name: {**entries, "K_> does not fluctuate": getattr(still, name).value} for name, entries in wrong.items()}


def judged(leg: Leg, found: Found, cutoffs: Array, names: Iterable[str] = QUANTITIES) -> list[Family]:
    """Return a family per quantity named: the intercept of N times the deviation against the one-neuron coefficient."""
    weights = _weights(found.widths)
    families = []
    for name in names:
        formula, values = QUANTITIES[name], found.values[name]
        measured_at = weights[0] @ np.array([entry.mean(axis=0) for entry in values])
        covariances = [np.cov(entry, rowvar=False) / len(entry) for entry in values]
        right: Coefficient = getattr(found.predicted, name)
        covariance = np.einsum("w,wij->ij", weights[0] ** 2, np.array(covariances)) + np.diag(
            right.std_error.reshape(-1) ** 2
        )
        source = Source(
            f"{leg.label}/{name}-{found.mode}", ASYMPTOTIC, "theory: one-neuron 1/N", derive(formula).digest
        )
        difference = measured_at - right.value.reshape(-1)
        statistic, rank, p_value = hotelling(difference, covariance, len(values[0]))
        wrong = {key: value.reshape(-1) for key, value in found.controls[name].items()}
        shifts = {
            key: chi2_shift(*hotelling(measured_at - value, covariance, len(values[0]))[:2])
            for key, value in wrong.items()
        }
        first = next(iter(wrong.values()))
        errors = np.sqrt(np.diag(covariance) - right.std_error.reshape(-1) ** 2)
        points = leg.mesh[len(leg.trained.x) :]
        cells = [(float(cutoff), tuple(point.tolist())) for cutoff in cutoffs for point in points]
        rows = tuple(
            row(source, f"N x {name}, extrapolated", float(right.value.reshape(-1)[i]), float(measured_at[i]), float(errors[i]),
                len(values[0]) * len(values), prediction_std_error=float(right.std_error.reshape(-1)[i]),
                control=float(first[i]), cutoff=cutoff, point=point)
            for i, (cutoff, point) in enumerate(cells)
        )  # fmt: skip
        families.append(Family(source.family, ASYMPTOTIC, True, statistic, rank, p_value, shifts, rows))
    return families


def intercepts(found: Found, name: str) -> tuple[Array, Array, Array]:
    """Return the fit (3, cells) of N times a quantity, a + b/N + c/N², values and errors per width (widths, cells)."""
    values = found.values[name]
    means = np.array([entry.mean(axis=0) for entry in values])
    errors = np.array([entry.std(axis=0, ddof=1) / np.sqrt(len(entry)) for entry in values])
    return _weights(found.widths) @ means, means, errors


def intercept_errors(found: Found, name: str) -> Array:
    """Return the standard errors (cells,) of the intercepts."""
    _, _, errors = intercepts(found, name)
    value: Array = np.sqrt(_weights(found.widths)[0] ** 2 @ errors**2)
    return value


def _weights(widths: Array) -> Array:
    # N times what remains after its linear part is subtracted has the same spread at every N.
    return intercept_weights(widths, 1.0 / widths)


def sampled_law(leg: Leg, mode: str, sampled: Outputs, members: Members, cutoffs: Array) -> Family:
    """Return the family "given its hidden layer a sampled network is normal with this mean and variance", exact.

    One cut-off and point per member in turn, so that all components are independent.
    """
    count, n = len(sampled.used), len(leg.trained.x)
    points = members.mean.shape[2]
    place = np.arange(count) % (len(cutoffs) * points)
    at = (np.arange(count), place // points, place % points)
    mean, variance = (entry[sampled.used][at] for entry in (members.mean, members.variance))
    values = sampled.values[:, :, n:][at]
    components = (values - mean) / np.sqrt(variance)
    source = Source(f"{leg.label}/sampled-{mode}", EXACT, "theory: total cumulance", derive("shell.covariance").digest)
    chi2 = float(components @ components)
    rows = tuple(
        row(source, "squared residual / its variance", 1.0, float(np.mean(components[place == i] ** 2)),
            float(np.sqrt(2.0 / np.sum(place == i))), int(np.sum(place == i)), control=0.5,
            cutoff=float(cutoffs[i // points]), point=leg.mesh[n + i % points].tolist(), width=leg.width)
        for i in range(len(cutoffs) * points)
    )  # fmt: skip
    shifts = {
        "no mean": normality_shift(values / np.sqrt(variance)),
        "half the variance": normality_shift(np.sqrt(2.0) * components),
    }
    return Family(
        source.family, EXACT, True, chi2, count, chi2_p(chi2, count), shifts, rows, ks_p_value=ks_p(components)
    )  # fmt: skip
