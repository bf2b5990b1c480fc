"""What do weighted members say, and may they be believed? Weights e^{-O}, effective size, Pareto k̂, cumulants with errors.

Self-normalised importance sampling: every estimate is a smooth function of weighted averages, so its error is that of its
influence values (delta method).  The tail of the weights is fitted by a generalised Pareto law (Vehtari et al.,
arXiv:1507.02646; Zhang and Stephens 2009): for a shape k̂ > 0.7 the averages are not to be trusted at any sample size seen.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

Array = NDArray[np.float64]

_COLLINEAR = 1e-8
"""Directions of the controls' correlation matrix below this eigenvalue carry rounding."""

_KURTOSIS = 0.25
_ROUNDING = 1e-9

_SPLITS = np.array([[[0, 1], [2, 3]], [[0, 2], [1, 3]], [[0, 3], [1, 2]]])
"""The three ways to pair four points."""


def weights_of(log_weights: Array) -> Array:
    """Return weights of mean one; the largest exponent is taken out first, sums run in the order of the members."""
    raw = np.exp(log_weights - np.max(log_weights))
    found: Array = raw / np.mean(raw)
    return found


def log_mean(log_weights: Array) -> float:
    """Return ln of the mean weight."""
    top = float(np.max(log_weights))
    return top + math.log(float(np.mean(np.exp(log_weights - top))))


def effective_size(log_weights: Array) -> float:
    """Return (Σw)²/Σw² (Kish).

    >>> effective_size(np.zeros(8))
    8.0
    """
    weights = weights_of(log_weights)
    return float(len(weights) / np.mean(weights**2))


def pareto_k(log_weights: Array) -> float:
    """Return the shape k̂ of the largest min(n/5, 3√n) weights; infinite with fewer than 5 of them, -inf if they are equal."""
    count = len(log_weights)
    tail = math.ceil(min(0.2 * count, 3.0 * math.sqrt(count)))
    if tail < 5:
        return math.inf
    largest = np.sort(log_weights)[-tail - 1 :]
    raw = np.exp(largest - largest[-1])
    excess = raw[1:] - raw[0]
    if excess[-1] <= 0.0:
        return -math.inf
    return _generalised_pareto_shape(excess[excess > 0.0])


def _generalised_pareto_shape(excess: Array) -> float:
    """Return the shape of a generalised Pareto law from sorted excesses, by the average over a profile likelihood.

    Zhang and Stephens (2009), with the weak prior of Vehtari et al., worth ten observations at 1/2.
    """
    count = len(excess)
    grid = 30 + math.isqrt(count)
    quartile = excess[max(0, int(count / 4 + 0.5) - 1)]
    theta = 1.0 / excess[-1] + (1.0 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3.0 * quartile)
    shapes = np.mean(np.log1p(-theta[:, None] * excess), axis=1)
    likelihood = count * (np.log(-theta / shapes) - shapes - 1.0)
    posterior = weights_of(likelihood) / grid
    best = float(posterior @ theta)
    shape = float(np.mean(np.log1p(-best * excess)))
    return (shape * count + 5.0) / (count + 10.0)


def heaviest_tail(influence: Array) -> tuple[float, bool]:
    """Return the largest Pareto k̂ of |influence values| (members, cells), and whether every error is known itself.

    An error is known to about 25 % when the kurtosis of its influence values is at most a quarter of their number.
    """
    count = len(influence)
    spread = influence.std(axis=0)
    moved = influence[:, spread > _ROUNDING * np.max(np.abs(influence), axis=0, initial=0.0)]
    size = np.abs(moved - moved.mean(axis=0))
    kurtosis = np.mean(size**4, axis=0) / np.mean(size**2, axis=0) ** 2
    with np.errstate(divide="ignore"):
        shapes = [pareto_k(column) for column in np.log(size).T]
    return max(shapes, default=-math.inf), bool(np.all(kurtosis <= _KURTOSIS * count))


def centred(fields: Array, weights: Array, even: bool) -> tuple[Array, Array]:
    """Return the fields (members, p) from their weighted mean, and that mean; it is 0 if the theory is even."""
    if even:
        return fields, np.zeros(fields.shape[1])
    mean = np.mean(weights[:, None] * fields, axis=0)
    return fields - mean, mean


def two_point_influence(fields: Array, weights: Array, pairs: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return κ(x_i, x_j) of centred fields at ``pairs`` (cells, 2), and influence values (members, cells)."""
    products = fields[:, pairs[:, 0]] * fields[:, pairs[:, 1]]
    value = np.mean(weights[:, None] * products, axis=0)
    return value, weights[:, None] * (products - value)


def four_point_influence(
    fields: Array, weights: Array, quadruples: NDArray[np.int64], even: bool, controls: "Controls | None" = None
) -> tuple[Array, Array]:
    """Return κ(x_i, x_j, x_k, x_l) of centred fields at ``quadruples`` (cells, 4), and influence values (members, cells).

    Controls act on the moments, before products of them are taken: so these have no error of order 1/members to speak of.
    """
    values, found = [], []
    for cell in quadruples:
        four = fields[:, cell]
        pairs, parts = two_point_influence(four, weights, _SPLITS.reshape(6, 2))
        product = np.prod(four, axis=1)
        moment = float(np.mean(weights * product))
        influence = weights * (product - moment)
        if not even:
            for place in range(4):
                # The mean is estimated, too; two-point functions do not feel it, the fourth moment does.
                third = float(np.mean(weights * np.prod(np.delete(four, place, axis=1), axis=1)))
                influence = influence - third * weights * four[:, place]
        moments, influences = np.append(pairs, moment), np.column_stack([parts, influence])
        if controls is not None:
            moments, influences = controls.apply(moments, influences)
        value, total = moments[6], influences[:, 6]
        for first in (0, 2, 4):
            value = value - moments[first] * moments[first + 1]
            total = total - moments[first + 1] * influences[:, first] - moments[first] * influences[:, first + 1]
        values.append(float(value))
        found.append(total)
    return np.array(values), np.array(found).T


class Controls:
    """Control variates (members, k) of exact mean zero, decomposed once for any number of regressions.

    Slopes that act on one half of the members are fitted on the other: fitted on the members they act on they would take heavy
    tails out of the residuals, and errors would come out too small.
    """

    def __init__(self, values: Array) -> None:
        half = len(values) // 2
        self.scaled = values / values.std(axis=0)
        self.halves = (slice(0, half), slice(half, len(values)))
        self.inverses = tuple(self._inverse(self.scaled[part]) for part in self.halves)

    @staticmethod
    def _inverse(part: Array) -> Array:
        eigenvalues, vectors = linalg.eigh(part.T @ part / len(part))
        keep = eigenvalues > _COLLINEAR
        found: Array = (vectors[:, keep] / eigenvalues[keep]) @ vectors[:, keep].T
        return found

    def apply(self, values: Array, influence: Array) -> tuple[Array, Array]:
        """Return estimates (cells,) and influence values (members, cells) without what the controls explain."""
        rest = np.empty_like(influence)
        for here, there, inverse in zip(self.halves, self.halves[::-1], self.inverses[::-1], strict=True):
            slopes = inverse @ (self.scaled[there].T @ influence[there]) / len(influence[there])
            rest[here] = influence[here] - self.scaled[here] @ slopes
        shift = rest.mean(axis=0)
        shifted: Array = values + shift
        return shifted, rest - shift


def group_means(influence: Array, groups: int) -> Array:
    """Return means over consecutive members, (groups, cells), scaled so that their mean is that of all members.

    >>> group_means(np.arange(6.0)[:, None], 3).ravel().tolist()
    [0.5, 2.5, 4.5]
    """
    edges = np.arange(groups) * len(influence) // groups
    found: Array = np.add.reduceat(influence, edges, axis=0) * (groups / len(influence))
    return found
