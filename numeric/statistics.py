"""When do samples and a prediction agree? Whitening, χ², Kolmogorov-Smirnov, Hotelling, Holm and the bootstrap.

Cells of one experiment are correlated (the same members serve all inputs and cut-offs), so joint statements are made on
whitened components and by Holm's procedure only: a χ² over correlated cells as if independent gives 6 % false alarms
at 1 %, a pooled Kolmogorov-Smirnov test 27 %.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import linalg

Array = NDArray[np.float64]

RANK_TOLERANCE = 1e-8
"""Directions of a correlation matrix below this eigenvalue carry rounding, not information."""


def normal_p(pull: float) -> float:
    """Return the two-sided p-value of a standard normal pull.

    >>> round(normal_p(1.959964), 4)
    0.05
    """
    return math.erfc(abs(pull) / math.sqrt(2.0))


def two_sided(lower: float, upper: float) -> float:
    """Return a two-sided p-value from the probabilities of both tails."""
    return min(1.0, 2.0 * min(lower, upper))


def chi2_p(chi2: float, dof: int) -> float:
    """Return the two-sided p-value of χ² with ``dof`` degrees of freedom (too small a χ² is a failure as well).

    Without degrees of freedom there is nothing to disagree about: 1.
    """
    if dof == 0:
        return 1.0
    return two_sided(float(scipy.stats.chi2.cdf(chi2, dof)), float(scipy.stats.chi2.sf(chi2, dof)))


def chi2_shift(chi2: float, dof: int) -> float:
    """Return how many standard deviations of χ²(dof) lie between ``chi2`` and its mean; 0, no power, for dof = 0."""
    if dof == 0:
        return 0.0
    return (chi2 - dof) / math.sqrt(2.0 * dof)


def normality_shift(components: Array) -> float:
    """Return how far ``components`` are from iid N(0, 1), in standard errors: by χ² or by Kolmogorov-Smirnov.

    The larger of the two, as the joint statement uses both; a Kolmogorov-Smirnov distance D of n components counts as
    2√n·D, for its tail probability is that of a Gaussian at this distance, exp(-2nD²).
    """
    by_norm = chi2_shift(float(components @ components), len(components))
    by_shape = 2.0 * math.sqrt(len(components)) * float(scipy.stats.kstest(components, "norm").statistic)
    return by_norm if abs(by_norm) >= by_shape else by_shape


def whiten(residual: Array, loading: Array) -> Array:
    """Return iid N(0, 1) components of ``residual`` (cells,) whose covariance is loading·loadingᵀ.

    Eigenvectors of the correlation matrix above ``RANK_TOLERANCE``; cells without variance are left out.
    """
    deviation = np.sqrt(np.einsum("ij,ij->i", loading, loading))
    used = deviation > 0.0
    if not np.any(used):
        return np.empty(0)
    scaled = loading[used] / deviation[used, None]
    values, vectors = linalg.eigh(scaled @ scaled.T)
    keep = values > RANK_TOLERANCE
    components: Array = (vectors[:, keep].T @ (residual[used] / deviation[used])) / np.sqrt(values[keep])
    return components


def ks_p(components: Array) -> float:
    """Return the Kolmogorov-Smirnov p-value of independent components against N(0, 1)."""
    return float(scipy.stats.kstest(components, "norm").pvalue)


def holm(p_values: Array) -> Array:
    """Return Holm-adjusted p-values (valid for any dependence), in the order given.

    >>> holm(np.array([0.01, 0.04, 0.5])).round(3).tolist()
    [0.03, 0.08, 0.5]
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    result = np.empty_like(adjusted)
    result[order] = adjusted
    return result


def hotelling(
    difference: Array, covariance: Array, samples: int, *, tolerance: float = RANK_TOLERANCE, bounds: bool = False
) -> tuple[float, int, float]:
    """Return T², its rank r and the p-value of a mean ``difference`` with an *estimated* covariance of the mean.

    ``samples`` is the number of independent samples behind the covariance: T²(n-r)/(r(n-1)) ~ F(r, n-r).  At most
    n/4 directions are used, those of largest eigenvalue: beyond, the estimated covariance says more than it knows.
    Directions of the correlation matrix below ``tolerance`` are left out.  With ``bounds`` the covariance holds bounds of what a
    prediction leaves out, too; then a small T² is no failure.
    """
    deviation = np.sqrt(np.diag(covariance))
    used = deviation > 0.0
    if not np.any(used):  # a cut-off that removes everything leaves nothing to compare
        return 0.0, 0, 1.0
    correlation = covariance[np.ix_(used, used)] / np.outer(deviation[used], deviation[used])
    values, vectors = linalg.eigh(correlation)
    keep = values > tolerance
    keep[: -max(1, samples // 4)] = False  # eigenvalues ascend
    components = (vectors[:, keep].T @ (difference[used] / deviation[used])) / np.sqrt(values[keep])
    statistic, rank = float(components @ components), int(keep.sum())
    scaled = statistic * (samples - rank) / (rank * (samples - 1))
    tails = scipy.stats.f.cdf(scaled, rank, samples - rank), scipy.stats.f.sf(scaled, rank, samples - rank)
    p_value = float(tails[1]) if bounds else two_sided(float(tails[0]), float(tails[1]))
    return statistic, rank, p_value


def bootstrap_errors(
    samples: Array, statistic: Callable[[Array], Array], *, seed: int, resamples: int = 400
) -> tuple[Array, Array]:
    """Return the standard error (cells,) and covariance (cells, cells) of ``statistic`` by resampling members.

    ``samples`` (members, cells); ``statistic`` maps it to (cells,).
    """
    generator = np.random.Generator(np.random.Philox(seed))
    members = len(samples)
    draws = np.array([statistic(samples[generator.integers(0, members, members)]) for _ in range(resamples)])
    covariance = np.atleast_2d(np.cov(draws, rowvar=False))
    return np.sqrt(np.diag(covariance)), covariance


def intercept_weights(widths: Array, members: Array) -> Array:
    """Return G (3, widths) with (a, b, c) = G·values for the fit a + b/N + c/N².

    Weighted by members·N, the inverse variance of averages whose spread comes from finite width.
    """
    design = np.column_stack([np.ones_like(widths), 1.0 / widths, 1.0 / widths**2])
    weights = widths * members
    scaled = design * weights[:, None]
    result: Array = np.linalg.solve(design.T @ scaled, scaled.T).astype(np.float64)
    return result


def extrapolated(widths: Array, values: Sequence[Array]) -> tuple[Array, Array]:
    """Return (a, b, c) (3, cells) of the fit a + b/N + c/N² and the covariance (3, cells, cells) of each over cells.

    ``values`` holds, per width, the influence values (members, cells) of that width's own members.
    """
    members = np.array([len(entry) for entry in values], dtype=float)
    weights = intercept_weights(widths, members)
    centres = np.array([entry.mean(axis=0) for entry in values])
    spreads = np.array([np.atleast_2d(np.cov(entry, rowvar=False)) / len(entry) for entry in values])
    return weights @ centres, np.einsum("kw,wij->kij", weights**2, spreads)
