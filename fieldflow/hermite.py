"""What is E[σ(u)σ(v)] for an activation without a closed form, for many pairs? Mehler's formula.

σ(√q x) = Σ a_n(q) He_n(x)/√n! gives E[σ(u)σ(v)] = Σ a_n(q11) a_n(q22) ρ^n: coefficients once per point, a short sum per
pair.  The integrals for a_n are done by the trapezoidal rule, which converges exponentially for analytic σ.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fieldflow.errors import InaccurateResult
from fieldflow.inputs import Array

_RANGE = 13.0  # |He_n(x)| φ(x)/√n! < e^{-x²/4}: below 1e-18 outside
_TERMS = 4096
_ACCURACY = 1e-15


def coefficients(name: str, sigma: Callable[[Array], Any], variances: Array) -> Array:
    """Return a_n(q) for each variance, shape (points, terms), terms chosen so that the rest is negligible.

    Warns
    -----
    InaccurateResult
        If ``_TERMS`` terms leave more than 1e-12 of E[σ²] (kinks, or variances far above the scale of σ).

    >>> coefficients("square", lambda z: z**2, np.array([1.0])).shape[1] < 100
    True
    """
    terms = 64
    while True:
        found = _transform(sigma, variances, terms)
        total = np.sum(found**2, axis=1)
        rest = float(np.max(np.sum(found[:, -terms // 8 :] ** 2, axis=1) / np.maximum(total, np.finfo(float).tiny)))
        if rest <= _ACCURACY**1.5 or terms >= _TERMS:
            break
        terms *= 2
    if rest > 1e-12:
        warnings.warn(
            f"{name}: {terms} Hermite coefficients leave an estimated relative error of {rest:.1e} in its kernel",
            InaccurateResult,
            stacklevel=2,
        )
    return np.ascontiguousarray(found)


def _transform(sigma: Callable[[Array], Any], variances: Array, terms: int) -> Array:
    """Return the first ``terms`` coefficients; He_n oscillates with wavenumber √n and σ(√q x) varies over 1/√q."""
    step = min(0.05, 1.0 / np.sqrt(terms), 0.25 / np.sqrt(1.0 + float(np.max(variances))))
    x = np.arange(-np.ceil(_RANGE / step), np.ceil(_RANGE / step) + 1.0) * step
    values = np.asarray(sigma(np.sqrt(variances)[:, None] * x), dtype=np.float64)
    basis = np.empty((terms, x.size))
    basis[0] = np.exp(-0.5 * x**2) * step / np.sqrt(2.0 * np.pi)
    basis[1] = x * basis[0]
    for n in range(2, terms):
        basis[n] = (x * basis[n - 1] - np.sqrt(n - 1.0) * basis[n - 2]) / np.sqrt(n)
    return np.asarray(values @ basis.T)
