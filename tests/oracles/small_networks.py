"""Laws of networks with one hidden layer by slow, independent routes: cumulants from power series, densities from sums."""

import itertools
import math

import numpy as np
from scipy import special


def normal_rule(covariance, points=64):
    """Nodes (k, m) and weights of N(0, covariance) by Gauss-Hermite, exact for polynomials of degree 2·points - 1."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    m = len(covariance)
    grid = np.array(list(itertools.product(nodes, repeat=m)))
    product = np.prod(np.array(list(itertools.product(weights / weights.sum(), repeat=m))), axis=1)
    return grid @ np.linalg.cholesky(covariance).T, product


def cumulant_tensors(hidden, weights, variance, width, top):
    """Cumulants 2, 4, …, top of Σ w_i h_i at m points: N times the logarithm of the power series of one neuron.

    ``hidden`` (k, m) and ``weights`` (k,): h at nodes of the hidden parameters; ``variance``: s_w.
    """
    m = hidden.shape[1]
    shape = (top + 1,) * m
    moments = np.zeros(shape)
    for power in np.ndindex(shape):
        if sum(power) <= top and sum(power) % 2 == 0:
            j = sum(power) // 2
            mean = weights @ np.prod(hidden ** np.array(power), axis=1)
            factor = math.prod(math.factorial(p) for p in power)
            moments[power] = math.prod(range(1, 2 * j, 2)) * variance**j * mean / factor
    logs = np.zeros(shape)  # |a| l_a = |a| m_a - Σ_{0<b<a} |b| l_b m_{a-b}
    for total in range(2, top + 1, 2):
        for power in (p for p in np.ndindex(shape) if sum(p) == total):
            lower = (b for b in np.ndindex(*(p + 1 for p in power)) if 0 < sum(b) < total)
            known = sum(sum(b) * logs[b] * moments[tuple(np.subtract(power, b))] for b in lower)
            logs[power] = moments[power] - known / total
    found = {}
    for n in range(2, top + 1, 2):
        tensor = np.empty((m,) * n)
        for index in np.ndindex(tensor.shape):
            power = tuple(index.count(i) for i in range(m))
            tensor[index] = width * logs[power] * math.prod(math.factorial(p) for p in power)
        found[n] = tensor
    return found


def linear_density(x, covariance, width):
    """Density at x (k, m) of Σ w_i z_i, z_i ~ N(0, width·covariance/s_w): a Gaussian whose scale is χ² with N degrees."""
    x = np.atleast_2d(x)
    m = x.shape[1]
    scale = covariance / width
    r = np.sqrt(np.einsum("ki,ij,kj->k", x, np.linalg.inv(scale), x))
    order = (width - m) / 2
    log_norm = (width + m - 2) / 2 * np.log(2) + m / 2 * np.log(np.pi) + special.gammaln(width / 2)
    log_norm += np.linalg.slogdet(scale)[1] / 2
    with np.errstate(divide="ignore"):
        return np.exp(order * np.log(r) + np.log(special.kve(order, r)) - r - log_norm)


def inverted(hidden, weights, variance, width, x, step, count):
    """Density at x (k, 2) from the characteristic function on a square grid of frequencies (trapezoidal rule)."""
    line = step * np.arange(-count, count + 1)
    a, b = np.meshgrid(line, line, indexing="ij")
    neuron = np.zeros_like(a)
    for (h1, h2), weight in zip(hidden, weights, strict=True):
        neuron += weight * np.exp(-0.5 * variance * (a * h1 + b * h2) ** 2)
    whole = neuron**width
    waves = [np.exp(1j * np.outer(x[:, i], line)) for i in (0, 1)]
    return np.real(np.einsum("ka,ab,kb->k", waves[0], whole, waves[1])) * (step / (2 * np.pi)) ** 2


def slope(widths, errors, rate=1.0):
    """Power of N by which errors fall, and how much it still moves.

    Widths double; the power is extrapolated once, for corrections of relative size N^{-rate}.
    """
    local = np.diff(np.log(errors)) / np.diff(np.log(widths))
    factor = 2.0**rate
    extrapolated = (factor * local[1:] - local[:-1]) / (factor - 1.0)
    return extrapolated[-1], abs(extrapolated[-1] - extrapolated[-2])
