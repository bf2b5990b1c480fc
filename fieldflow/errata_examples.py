"""What does a correction change in the smallest case one can compute? Printed, corrected and true value of one number.

The true value never uses the corrected formula: it is a quadrature, an exact enumeration or a sample with its error.
"""

from dataclasses import dataclass

import numpy as np

from fieldflow.inputs import Array

QUADRATURE, ENUMERATION, SAMPLING = "quadrature", "enumeration", "sampling"


@dataclass(frozen=True)
class Example:
    """One number: what it is (LaTeX), as printed, as corrected, and in truth with its standard error (0: exact)."""

    quantity: str
    printed: float
    corrected: float
    truth: float
    error: float
    how: str


def generator(seed: int) -> np.random.Generator:
    """Return the random numbers of one example."""
    return np.random.Generator(np.random.Philox(seed))


def legendre(low: float, high: float, count: int = 80) -> tuple[Array, Array]:
    """Return nodes and weights on an interval."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return 0.5 * (high - low) * nodes + 0.5 * (high + low), 0.5 * (high - low) * weights


def normal_nodes(count: int = 60) -> tuple[Array, Array]:
    """Return nodes and normalised weights of the standard normal law."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return nodes, weights / weights.sum()


def grid_mean(weight: Array, value: Array) -> float:
    """Return Σ value·weight/Σ weight on an even grid that covers the weight (spectrally accurate)."""
    return float(np.sum(value * weight) / np.sum(weight))
