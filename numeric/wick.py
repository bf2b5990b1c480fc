"""What is E[Π P_i(z_i) exp(α_i z_i² + β_i z_i)] for jointly Gaussian z? Completing the square, then Stein's lemma.

The exponentials tilt N(0, Q) into N(Sβ, S), S = (1 - 2QA)^{-1}Q with A = diag(α), and leave the weight
det(1 - 2QA)^{-1/2} exp(½ β·Sβ); Q may be singular.  Powers then go one by one: E[z_i F] = m_i E[F] + Σ_j S_ij E[∂_j F].
"""

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

_ROUNDING = 1e-15
"""Eigenvalues of 1 - 2QA below which they are zero."""

_MEMORY = 2**24
"""Numbers held at a time by the recursion over powers."""


class Exponential(NamedTuple):
    """P(z)·exp(alpha z² + beta z), P by its coefficients from the constant up."""

    alpha: float
    beta: complex
    polynomial: tuple[complex, ...]


def gaussian_products(covariance: Array, terms: Sequence[Exponential]) -> Array:
    """Return E[σ(z_1)…σ(z_n)], σ = Re Σ terms (real in sum), for each covariance (tuples, n, n); not finite where it diverges.

    >>> square = [Exponential(0.0, 0.0, (0.0, 0.0, 1.0))]
    >>> gaussian_products(np.ones((1, 2, 2)), square).tolist()
    [3.0]
    """
    n = covariance.shape[1]
    if all(term.alpha == 0.0 and len(term.polynomial) == 1 for term in terms):
        return _plane_waves(covariance, terms)
    total = np.zeros(len(covariance), dtype=np.complex128)
    for chosen in product(terms, repeat=n):
        total += _tilted(covariance, chosen)
    return total.real


def _plane_waves(covariance: Array, terms: Sequence[Exponential]) -> Array:
    """Return the expectation of products of pure exponentials: Σ weight·exp(½ β·Qβ) over all choices."""
    chosen = list(product(terms, repeat=covariance.shape[1]))
    beta = np.array([[term.beta for term in row] for row in chosen])
    weight = np.array([prod(term.polynomial[0] for term in row) for row in chosen])
    total = np.empty(len(covariance))
    step = max(1, _MEMORY // beta.size)
    for start in range(0, len(covariance), step):
        part = covariance[start : start + step]
        exponent = 0.5 * np.einsum("ci,tij,cj->tc", beta, part, beta, optimize=True)
        with np.errstate(over="ignore", invalid="ignore"):
            total[start : start + step] = (np.exp(exponent) @ weight).real
    return total


def _tilted(covariance: Array, chosen: Sequence[Exponential]) -> Complex:
    alpha = np.array([term.alpha for term in chosen])
    beta = np.array([term.beta for term in chosen])
    law, weight = covariance, np.ones(len(covariance))
    if np.any(alpha):
        matrix = np.eye(len(alpha)) - 2.0 * covariance * alpha
        # The eigenvalues of 1 - 2QA are those of 1 - 2Q^½AQ^½, real; one that is not positive means a divergence.
        values = np.linalg.eigvals(matrix).real
        finite = np.min(values, axis=1) > _ROUNDING
        matrix[~finite] = np.eye(len(alpha))
        solved = np.linalg.solve(matrix, covariance)
        law = 0.5 * (solved + np.swapaxes(solved, 1, 2))
        weight = np.where(finite, 1.0 / np.sqrt(np.prod(np.where(finite[:, None], values, 1.0), axis=1)), np.inf)
    mean = law.astype(np.complex128) @ beta.astype(np.complex128)
    with np.errstate(over="ignore", invalid="ignore"):
        factor = weight * np.exp(0.5 * (mean @ beta))
        found: Complex = factor * _polynomials(mean, law, [term.polynomial for term in chosen])
    return found


def _polynomials(mean: Complex, law: Array, polynomials: Sequence[tuple[complex, ...]]) -> Complex:
    """Return E[Π P_i(z_i)] for z ~ N(mean, law), shapes (tuples, n) and (tuples, n, n)."""
    states = prod(len(polynomial) for polynomial in polynomials)
    step = max(1, _MEMORY // states)
    parts = []
    for start in range(0, len(mean), step):
        powers = _Powers(mean[start : start + step], law[start : start + step])
        total = np.zeros(len(powers.mean), dtype=np.complex128)
        for weight, power in _expanded(polynomials):
            total += weight * powers.moment(power)
        parts.append(total)
    return np.concatenate(parts)


def _expanded(polynomials: Sequence[tuple[complex, ...]]) -> Iterator[tuple[complex, tuple[int, ...]]]:
    for power in product(*(range(len(polynomial)) for polynomial in polynomials)):
        weight = prod(polynomial[k] for polynomial, k in zip(polynomials, power, strict=True))
        if weight != 0:
            yield weight, power


class _Powers:
    """Moments E[Π z_i^{k_i}] of one Gaussian law per tuple, each computed once."""

    def __init__(self, mean: Complex, law: Array) -> None:
        self.mean, self.law = mean, law
        self.known: dict[tuple[int, ...], Complex] = {(0,) * mean.shape[1]: np.ones(len(mean), dtype=np.complex128)}

    def moment(self, power: tuple[int, ...]) -> Complex:
        if power not in self.known:
            i = next(place for place, k in enumerate(power) if k)
            lowered = _less(power, i)
            total = self.mean[:, i] * self.moment(lowered)
            for j, k in enumerate(lowered):
                if k:
                    total = total + k * self.law[:, i, j] * self.moment(_less(lowered, j))
            self.known[power] = total
        return self.known[power]


def _less(power: tuple[int, ...], i: int) -> tuple[int, ...]:
    return (*power[:i], power[i] - 1, *power[i + 1 :])
