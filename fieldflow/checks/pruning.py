"""Does one share say all that pruning does? Residuals f_pruned - s f_T of members, extrapolated to infinite width.

At N = ∞ the residual has mean 0, covariance s(1-s)K and no correlation with f_T (``pruning.mean``, ``pruning.covariance``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fieldflow.checks.record import ASYMPTOTIC, Family, Source, row
from fieldflow.formulas import derive
from fieldflow.inputs import Array
from fieldflow.numeric.statistics import chi2_shift, extrapolated, hotelling


@dataclass(frozen=True)
class Limit:
    """The trained law on the points of comparison: μ (p,), Σ_T and K (p, p)."""

    mean: Array
    trained: Array
    prior: Array

    def cells(self, share: float, truth: float, *, noise: bool = True) -> Array:
        """Return E D, E DD' (upper triangle) and Cov(D, f_T') of D = f_p - share·f_T if the kept share is ``truth``.

        ``noise``: whether there is an independent part.
        """
        apart = truth - share
        mean = apart * self.mean
        square = apart**2 * self.trained + np.outer(mean, mean)
        if noise:
            square = square + truth * (1.0 - truth) * self.prior
        return np.concatenate([mean, square[np.triu_indices(len(mean))], (apart * self.trained).ravel()])


def residual_cells(pruned: Array, trained: Array, share: float) -> Array:
    """Return the influence values (members, cells) of the cells of ``Limit`` from outputs (members, p)."""
    apart = pruned - share * trained
    upper = np.triu_indices(apart.shape[1])
    square = np.einsum("mi,mj->mij", apart, apart)[:, *upper]
    centred = trained - trained.mean(axis=0)
    cross = np.einsum("mi,mj->mij", apart - apart.mean(axis=0), centred) * len(apart) / (len(apart) - 1)
    return np.concatenate([apart, square, cross.reshape(len(apart), -1)], axis=1)


def law(
    label: str,
    rule: str,
    limit: Limit,
    points: Array,
    fractions: Array,
    shares: Array,
    widths: Array,
    values: Sequence[Array],
) -> Family:
    """Return the family of one rule: all fractions and points; ``values`` (members, cells) per width."""
    source = Source(f"{label}/{rule}", ASYMPTOTIC, "theory: pruning.covariance", derive("pruning.covariance").digest)
    predicted = _all(limit, shares, shares)
    wrong = _controls(rule, limit, fractions, shares)
    fit, covariance = extrapolated(widths, values)
    members = min(len(entry) for entry in values)
    statistic, rank, p_value = hotelling(fit[0] - predicted, covariance[0], members)
    shifts = {
        name: chi2_shift(*hotelling(fit[0] - value, covariance[0], members)[:2]) for name, value in wrong.items()
    }  # fmt: skip
    errors = np.sqrt(np.diag(covariance[0]))
    first = next(iter(wrong.values()))
    per_fraction = len(predicted) // len(fractions)
    names = _names(len(points))
    rows = tuple(
        row(source, f"{names[i % per_fraction]}, fraction {fractions[i // per_fraction]:g} removed", float(predicted[i]),
            float(fit[0, i]), float(errors[i]), members * len(widths), control=float(first[i]))
        for i in range(len(predicted))
    )  # fmt: skip
    return Family(source.family, ASYMPTOTIC, True, statistic, rank, p_value, shifts, rows)


def _controls(rule: str, limit: Limit, fractions: Array, shares: Array) -> Mapping[str, Array]:
    if rule == "random":
        return {"no independent part": _all(limit, shares, shares, noise=False)}
    wrong = {"share of the weights for share of the variance": _all(limit, shares, 1.0 - fractions)}
    if rule == "magnitude":
        # Without the edges of the removed set the mean keeps the share of the weights alone.
        mean_only = [
            np.concatenate([(1.0 - p - s) * limit.mean, limit.cells(float(s), float(s))[len(limit.mean) :]])
            for p, s in zip(fractions, shares, strict=True)
        ]
        wrong["edges of the removed set left out of the mean"] = np.concatenate(mean_only)
    return wrong


def _all(limit: Limit, shares: Array, truths: Array, *, noise: bool = True) -> Array:
    return np.concatenate([
        limit.cells(float(share), float(truth), noise=noise) for share, truth in zip(shares, truths, strict=True)
    ])  # fmt: skip


def _names(points: int) -> list[str]:
    upper = zip(*np.triu_indices(points), strict=True)
    return [
        *(f"E D({i + 1})" for i in range(points)),
        *(f"E D({i + 1})D({j + 1})" for i, j in upper),
        *(f"Cov(D({i + 1}), f({j + 1}))" for i in range(points) for j in range(points)),
    ]


def measured_share(pruned: Array, trained: Array) -> tuple[float, float]:
    """Return the slope of f_pruned on f_T through the origin over members and points, with its standard error."""
    products, squares = np.sum(pruned * trained, axis=1), np.sum(trained**2, axis=1)
    slope = float(products.mean() / squares.mean())
    error = np.std(products - slope * squares, ddof=1) / np.sqrt(len(products)) / squares.mean()
    return slope, float(error)
