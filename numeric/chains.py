"""When has a Markov chain seen its law? Split R̂ and the effective number of draws, from several chains.

Gelman et al., Bayesian Data Analysis, Sec. 11.4-11.5: variances within and between halves of chains; autocorrelations summed by
Geyer's initial monotone sequence (1992).
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def halves(draws: Array) -> Array:
    """Return chains (chains, draws) cut in two: (2·chains, draws // 2)."""
    half = draws.shape[1] // 2
    found: Array = np.concatenate([draws[:, :half], draws[:, -half:]])
    return found


def _variances(parts: Array) -> tuple[float, float]:
    """Return the variance within chains, and the pooled estimate that also knows how far apart they are."""
    count = parts.shape[1]
    within = float(np.mean(np.var(parts, axis=1, ddof=1)))
    between = float(np.var(np.mean(parts, axis=1), ddof=1))
    return within, within * (count - 1) / count + between


def split_rhat(draws: Array) -> float:
    """Return R̂ of one quantity, draws (chains, n); 1 when all halves agree, infinite for chains that do not move."""
    parts = halves(draws)
    if parts.shape[1] < 2:
        return np.inf
    within, pooled = _variances(parts)
    return float(np.sqrt(pooled / within)) if within > 0.0 else np.inf


def effective_draws(draws: Array) -> float:
    """Return the number of independent draws that would know the mean as well, at most that of all draws.

    >>> white = np.random.Generator(np.random.Philox(0)).normal(size=(4, 500))
    >>> bool(1500 < effective_draws(white) <= 2000)
    True
    """
    parts = halves(draws)
    chains, count = parts.shape
    if count < 4:
        return 0.0
    within, pooled = _variances(parts)
    if not within > 0.0:
        return 0.0
    centred = parts - parts.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(centred, n=2 * count, axis=1)
    covariances = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :count].mean(axis=0) / (count - 1)
    correlation = 1.0 - (within - covariances) / pooled
    correlation[0] = 1.0
    pairs = correlation[: 2 * (count // 2)].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs < 0.0)
    kept = np.minimum.accumulate(pairs[: negative[0]] if len(negative) else pairs)
    return float(chains * count / max(1.0, 2.0 * kept.sum() - 1.0))
