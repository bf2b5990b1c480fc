"""What is E[σ(u)σ(v)] for an activation without a closed form, for many pairs? Mehler's formula.

σ(√q x) = Σ a_n(q) He_n(x)/√n! gives E[σ(u)σ(v)] = Σ a_n(q11) a_n(q22) ρ^n: coefficients once per point, a short sum per
pair.  The integrals for a_n are done on panels that shrink towards 0, because σ(√q x) switches there within 1/√q.
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
_PANEL, _NARROWEST, _ORDER = 0.125, 0.01, 20
"""Widths of the panels: He_n with n = _TERMS turns through a phase of 8 in the widest one, which the order resolves."""

_BLOCK = 1024
"""Nodes at a time: with all terms their basis is 32 MB."""


def coefficients(name: str, sigma: Callable[[Array], Any], variances: Array, moments: Array) -> Array:
    """Return a_n(q) for each variance, shape (points, terms), terms chosen so that the rest is negligible.

    Parameters
    ----------
    name : str
        Of the activation, for the warning.
    sigma : callable
        Of an array of any shape.
    variances : array (points,)
    moments : array (2, points)
        E[σ²] and E[σ'²] (NaN where not known), which Σ a_n² and Σ n a_n²/q reach with all terms.

    Warns
    -----
    InaccurateResult
        If ``_TERMS`` terms leave more than 1e-12 of one of the moments: the error of coincident points, more than that of others.

    >>> q = np.array([1.0])
    >>> coefficients("square", lambda z: z**2, q, np.array([3 * q**2, 4 * q])).shape[1] < 100
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
    positive = variances > 0.0
    slopes = np.sum(np.arange(terms) * found**2, axis=1)[positive] / variances[positive]
    for what, reached, whole in (("kernel", total[positive], moments[0]), ("tangent kernel", slopes, moments[1])):
        left = np.abs(reached / whole[positive] - 1.0)
        worst = float(np.max(left[np.isfinite(left)], initial=rest if what == "kernel" else 0.0))
        if worst > 1e-12:
            warnings.warn(
                f"{name}: {terms} Hermite coefficients leave a relative error of up to {worst:.1e} in its {what}, the largest "
                "between coincident points",
                InaccurateResult,
                stacklevel=2,
            )
    return np.ascontiguousarray(found)


def _transform(sigma: Callable[[Array], Any], variances: Array, terms: int) -> Array:
    """Return the first ``terms`` coefficients; He_n oscillates with wavenumber √n and σ(√q x) varies over 1/√q."""
    nodes, weights = _graded(float(np.max(variances)))
    found = np.zeros((len(variances), terms))
    for start in range(0, nodes.size, _BLOCK):
        x, weight = nodes[start : start + _BLOCK], weights[start : start + _BLOCK]
        values = np.asarray(sigma(np.sqrt(variances)[:, None] * x), dtype=np.float64)
        basis = np.empty((terms, x.size))
        basis[0] = np.exp(-0.5 * x**2) * weight / np.sqrt(2.0 * np.pi)
        basis[1] = x * basis[0]
        for n in range(2, terms):
            basis[n] = (x * basis[n - 1] - np.sqrt(n - 1.0) * basis[n - 2]) / np.sqrt(n)
        found += values @ basis.T
    return found


def _graded(variance: float) -> tuple[Array, Array]:
    """Return Gauss-Legendre nodes and weights on panels that shrink geometrically towards 0, where σ(√q x) switches."""
    width = max(min(_PANEL, 4.0 * _PANEL / np.sqrt(1.0 + variance)), _NARROWEST)
    steps = np.arange(int(np.ceil(_RANGE / width)), 0, -1) * width
    doublings = int(np.ceil(np.log2(width * np.sqrt(1.0 + variance)))) + 4
    edges = np.concatenate([steps, width * 0.5 ** np.arange(1, max(doublings, 1) + 1), [0.0]])
    places, weights = np.polynomial.legendre.leggauss(_ORDER)
    half, middle = 0.5 * (edges[:-1] - edges[1:]), 0.5 * (edges[:-1] + edges[1:])
    x, w = (middle[:, None] + half[:, None] * places).reshape(-1), (half[:, None] * weights).reshape(-1)
    return np.concatenate([-x, x]), np.concatenate([w, w])
