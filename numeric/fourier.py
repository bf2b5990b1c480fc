"""What density belongs to a characteristic function that decays slowly? Double-exponential rules for cosine transforms.

Ooura and Mori, J. Comput. Appl. Math. 112 (1999) 229: nodes approach the zeros of the cosine double exponentially, so that
t^{-1} tails cost nothing.  Two step sizes, whose nodes have nothing in common, give the error.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_RIGHT, _LEFT = 6.5, 13.0
"""The rule's variable runs over [-13, 6.5]; on the left weights fall like exp(-α e^{-u}), with α small for small steps."""

_BETA = 0.25
_STEPS = tuple(2.0**-k for k in range(3, 9))


def _rule(width: float) -> tuple[Array, Array]:
    """Return t y and the weights of ∫_0^∞ f(t) cos(ty) dt ≈ (1/y) Σ weight f(t), for one step width."""
    index = np.arange(-int(_LEFT / width), int(_RIGHT / width) + 1)
    u = (index - 0.5) * width
    scale = np.pi / width
    alpha = _BETA / np.sqrt(1.0 + scale * np.log1p(scale) / (4.0 * np.pi))
    with np.errstate(over="ignore"):
        g = 2.0 * u - alpha * np.expm1(-u) + _BETA * np.expm1(u)
        slope = 2.0 + alpha * np.exp(-u) + _BETA * np.exp(u)
        inside = g > -200.0
        u, g, slope, index = u[inside], g[inside], slope[inside], index[inside]
        fall = -np.expm1(-g)
        phi = u / fall
        rate = (fall - u * slope * np.exp(-g)) / fall**2
        # cos(Mu + δ) with Mu = π(n - 1/2): as the sine of the small δ, without cancellation.
        small = scale * u / np.expm1(g)
    sign = np.where(index % 2 == 0, 1.0, -1.0)
    wave = np.where(u > 0.0, sign * np.sin(small), np.cos(scale * phi))
    weight = np.pi * rate * wave
    keep = np.isfinite(weight) & (np.abs(weight) > 1e-200) & (phi > 0.0)
    return scale * phi[keep], weight[keep]


def _half_line(width: float) -> tuple[Array, Array]:
    """Return nodes and weights of ∫_0^∞ f dt: t = exp(π/2 sinh u)."""
    u = np.arange(-int(4.0 / width), int(4.0 / width) + 1) * width
    t = np.exp(0.5 * np.pi * np.sinh(u))
    return t, width * 0.5 * np.pi * np.cosh(u) * t


def cosine_transform(function: Callable[[Array], Array], frequency: Array, tolerance: float) -> tuple[Array, Array]:
    """Return ∫_0^∞ f(t) cos(ty) dt and an error estimate, each (k,), for frequencies y >= 0.

    ``function`` takes arrays of any shape; its scale should be of order 1.  Steps are halved until two rules agree within
    ``tolerance``, or to 2^{-8}; the estimate is their difference.

    >>> value, error = cosine_transform(lambda t: 1 / (1 + t**2), np.array([0.0, 2.0]), 1e-13)
    >>> bool(np.all(np.abs(value - np.pi / 2 * np.exp([-0.0, -2.0])) < 1e-12))
    True
    """
    value, error = np.empty_like(frequency), np.full_like(frequency, np.inf)
    left = np.arange(len(frequency))
    before = np.full_like(frequency, np.nan)
    for width in _STEPS:
        found = _transformed(function, frequency[left], width)
        error[left] = np.abs(found - before[left])
        value[left] = before[left] = found
        left = left[~(error[left] <= tolerance)]
        if left.size == 0:
            break
    return value, error


def _transformed(function: Callable[[Array], Array], frequency: Array, width: float) -> Array:
    nodes, weights = _rule(width)
    found = np.empty_like(frequency)
    for place, y in enumerate(frequency):
        if y == 0.0:
            t, own = _half_line(width)
            found[place] = own @ function(t)
        else:
            found[place] = weights @ function(nodes / y) / y
    return found
