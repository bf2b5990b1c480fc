"""What is the average over one hidden unit of a cosine network? Quadrature over its frequency and phase, d = 1 and the ball."""

import math

import numpy as np

from fieldflow.cosnet import CosNet
from fieldflow.inputs import Array

_PHASES = 5
"""Equidistant phases that average products of four cosines exactly."""


def unit_law(net: CosNet, columns: Array) -> tuple[Array, Array]:
    """Return weights (q,) and features (q, n) whose average of products of up to four features is that over b and c.

    Features carry σ_w, so that Σ w f f is the propagator; one input dimension, ``columns`` (1, n).
    """
    reach = float(np.max(np.abs(columns)))
    size = 16 + math.ceil(2.0 * net.radius * (reach + 1.0 / max(net.mass, 1.0 / net.radius)))
    x, w = np.polynomial.legendre.leggauss(size)
    momenta, chance = 0.5 * net.radius * (x + 1.0), 0.5 * w
    phases = 2.0 * np.pi * np.arange(_PHASES) / _PHASES
    amplitude = float(net.sigma_w or 0.0) / np.sqrt(momenta**2 + net.mass**2)
    waves = np.cos(momenta[:, None, None] * columns[0] + phases[None, :, None]) * amplitude[:, None, None]
    return np.repeat(chance / _PHASES, _PHASES), waves.reshape(-1, columns.shape[1])
