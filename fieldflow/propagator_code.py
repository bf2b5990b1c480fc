"""How is I_p(r) = ∫_{|k|<R} d^dk/(2π)^d e^{ik·r}/(k² + m²)^p computed to twelve digits? Scalar sources, compiled by Numba.

Rr < X = 80 + d + 6p: Gauss-Legendre on panels that double from the mass on (the branch points k = ±im stay outside each
panel's ellipse of convergence) and hold little more than one wave.  Rr >= X: the integral without a cut-off minus ∫_R^∞,
by parts, -Σ_n 2^n (p)_n R^{ν+1+n} J_{ν+1+n}(Rr)/(r^{n+1}(R² + m²)^{n+p}), ν = d/2 - 1, whose terms fall to e^{-38} at
least.  A propagator is p = 1.
"""

import numpy as np

from fieldflow import heat_code


def _constants(order: int) -> str:
    nodes, weights = np.polynomial.legendre.leggauss(order)
    half = slice(order // 2, None)
    return f"{tuple(map(float, nodes[half]))!r}, {tuple(map(float, weights[half]))!r}"


RADIAL_WAVE = '''
def _radial_wave(d, z):
    """Return the average of cos(z n_1) over directions n in d dimensions: cos z, J_0(z), sin(z)/z, ..."""
    z = abs(z)
    if d == 1.0:
        return math.cos(z)
    if d == 2.0:
        return _j0(z, 0)
    if z < 1e-4:
        return 1.0 - z * z / (2.0 * d) * (1.0 - z * z / (4.0 * d + 8.0))
    if d == 3.0:
        return math.sin(z) / z
    return math.gamma(0.5 * d) * (2.0 / z) ** (0.5 * d - 1.0) * _jv(0.5 * d - 1.0, z, 0)
'''

SCALED_RADIAL_WAVE = '''
def _scaled_radial_wave(d, z):
    """Return the average of exp(z (n_1 - 1)) over directions n in d dimensions, z >= 0."""
    if d == 1.0:
        return 0.5 + 0.5 * math.exp(-2.0 * z)
    if d == 2.0:
        return _i0e(z, 0)
    if z < 1e-4:
        return math.exp(-z) * (1.0 + z * z / (2.0 * d) * (1.0 + z * z / (4.0 * d + 8.0)))
    if d == 3.0:
        return -0.5 * math.expm1(-2.0 * z) / z
    return math.gamma(0.5 * d) * (2.0 / z) ** (0.5 * d - 1.0) * _ive(0.5 * d - 1.0, z, 0)
'''

INFINITE_PROPAGATOR = '''
def _infinite_propagator(d, m, r):
    """Return the propagator 1/(k^2 + m^2) at distance r > 0 without a cut-off."""
    if d == 1.0:
        return math.exp(-m * r) / (2.0 * m)
    if d == 2.0:
        return _k0(m * r, 0) / (2.0 * math.pi)
    if d == 3.0:
        return math.exp(-m * r) / (4.0 * math.pi * r)
    nu = 0.5 * d - 1.0
    if m == 0.0:
        return math.gamma(nu) / (4.0 * math.pi ** (0.5 * d) * r ** (d - 2.0))
    return (2.0 * math.pi) ** (-0.5 * d) * (m / r) ** nu * _kv(nu, m * r, 0)
'''

INFINITE_TRANSFORM = '''
def _infinite_transform(d, p, m, r):
    """Return the transform of (k^2 + m^2)^(-p) without a cut-off, continued in p where it needs one at r > 0."""
    if p == 1.0 and r > 0.0:
        return _infinite_propagator(d, m, r)
    if p <= 0.0 and p == math.floor(p):
        return 0.0
    nu = 0.5 * d - p
    if r == 0.0:
        return math.gamma(-nu) / math.gamma(p) * (4.0 * math.pi) ** (-0.5 * d) * m ** (2.0 * nu)
    if m == 0.0:
        return math.gamma(nu) / math.gamma(p) * 0.25**p * math.pi ** (-0.5 * d) * r ** (-2.0 * nu)
    scale = 2.0 ** (1.0 - p) / math.gamma(p) * (2.0 * math.pi) ** (-0.5 * d)
    return scale * (m / r) ** nu * _kv(abs(nu), m * r, 0)
'''

BESSEL_PAIR = '''
def _bessel_pair(whole, x, low):
    """Return J_0 and J_1 (``whole``), or J_{-1/2} and J_{1/2}, at x + low for x >= 80 and |low| << 1 (Hankel's series)."""
    c, s = math.cos(x), math.sin(x)
    c, s = c - low * s, s + low * c
    scale = math.sqrt(2.0 / (math.pi * x))
    if not whole:
        return scale * c, scale * s
    root = math.sqrt(0.5)
    turned_c, turned_s = root * (c + s), root * (s - c)
    result_0, result_1 = 0.0, 0.0
    for order in range(2):
        even, odd, term = 1.0, 0.0, 1.0
        for k in range(1, 24):
            term = term * (4.0 * order * order - (2.0 * k - 1.0) ** 2) / (8.0 * k * x)
            sign = 1.0 if (k // 2) % 2 == 0 else -1.0
            if k % 2 == 0:
                even += sign * term
            else:
                odd += sign * term
        if order == 0:
            result_0 = scale * (turned_c * even - turned_s * odd)
        else:
            result_1 = scale * (turned_s * even + turned_c * odd)
    return result_0, result_1
'''

TRANSFORM_TAIL = '''
def _transform_tail(d, p, R, m, r):
    """Return the integral over |k| > R and the size of the last term used; R r >= 80 + d + 6 p."""
    x, low = _two_product(R, r)
    whole = d % 2.0 == 0.0
    order = 0.0 if whole else -0.5
    first, second = _bessel_pair(whole, x, low)
    while order < 0.5 * d:
        first, second = second, 2.0 * (order + 1.0) / x * second - first
        order += 1.0
    ratio = R / (r * (R * R + m * m))
    factor, total, last = 1.0, 0.0, math.inf
    for n in range(400):
        # (p)_n vanishes for n > -p where -p is whole, and is small at n ~ -p where it is not.
        if factor == 0.0 or (n > 1.0 - p and (abs(factor) >= last or abs(factor) < 1e-18)):
            break
        total += factor * first
        last = abs(factor)
        factor = factor * 2.0 * (n + p) * ratio
        first, second = second, 2.0 * (order + 1.0) / x * second - first
        order += 1.0
    last = min(last, abs(factor))
    scale = (2.0 * math.pi) ** (-0.5 * d) * (R / r) ** (0.5 * d) * (R * R + m * m) ** (-p)
    return -scale * total, scale * last * math.sqrt(2.0 / (math.pi * x))
'''

_PANEL = '''
def _panel_{order}(d, p, middle, half, m, r):
    """Return the integral over one panel by Gauss-Legendre with {order} points."""
    nodes, weights = {constants}
    total = 0.0
    for i in range({count}):
        up, down = middle + half * nodes[i], middle - half * nodes[i]
        above = up ** (d - 1.0) * _radial_wave(d, up * r) * _inverse_power(up * up + m * m, p)
        below = down ** (d - 1.0) * _radial_wave(d, down * r) * _inverse_power(down * down + m * m, p)
        total += weights[i] * (above + below)
    return half * total
'''

INVERSE_POWER = '''
def _inverse_power(x, p):
    """Return x^(-p), by division where that is all."""
    return 1.0 / x if p == 1.0 else x ** (-p)
'''

MASSLESS_START = '''
def _massless_start(d, p, a, r):
    """Return the integral of k^(d - 1 - 2p) f_d(kr) over (0, a), a r <= 1, by powers of ar; 2p < d."""
    power, z = d - 2.0 * p, 0.25 * a * a * r * r
    term, total = 1.0, 0.0
    for j in range(24):
        total += term / (power + 2.0 * j)
        term = -term * z / ((j + 1.0) * (0.5 * d + j))
    return a**power * total
'''

_RULES = "".join(_PANEL.format(order=n, constants=_constants(n), count=n // 2) for n in (20, 14))

TRANSFORM_PANELS = (
    _RULES
    + '''

def _transform_panels(d, p, R, m, r):
    """Return the integral over |k| < R by panels of 20 points, and its difference from 14 points."""
    sphere = 2.0 * math.pi ** (0.5 * d) / math.gamma(0.5 * d) / (2.0 * math.pi) ** d
    fine, coarse, low = 0.0, 0.0, 0.0
    if m == 0.0:
        low = min(R, 1.0 / max(r, 1e-300))
        fine = coarse = _massless_start(d, p, low, r)
    widest = min(8.0 / max(r, 1e-300), 20.0 * R / max(20.0, d + 2.0 * abs(p)))
    while low < R:
        step = min(max(low, m), widest)
        high = min(R, low + step)
        if R - high < 0.25 * step:
            high = R
        middle, half = 0.5 * (low + high), 0.5 * (high - low)
        fine += _panel_20(d, p, middle, half, m, r)
        coarse += _panel_14(d, p, middle, half, m, r)
        low = high
    return sphere * fine, sphere * abs(fine - coarse)
'''
)

BOTH_TRANSFORM = '''
def _both_transform(d, p, R, m, r):
    """Return the integral over |k| < R and an estimate of its error; m = 0 for 2p < d only."""
    if R * r < 80.0 + d + 6.0 * max(p, 0.0):
        return _transform_panels(d, p, R, m, r)
    tail, error = _transform_tail(d, p, R, m, r)
    return _infinite_transform(d, p, m, r) - tail, error
'''

CUTOFF_PROPAGATOR = '''
def _cutoff_propagator(d, R, m, r):
    """Return the propagator with momenta |k| < R."""
    return _both_transform(d, 1.0, R, m, r)[0]
'''

CUTOFF_PROPAGATOR_ERROR = '''
def _cutoff_propagator_error(d, R, m, r):
    """Return an estimate of the error of the propagator."""
    return _both_transform(d, 1.0, R, m, r)[1]
'''

CUTOFF_TRANSFORM = '''
def _cutoff_transform(d, p, R, m, r):
    """Return the integral of cos(k r)/(k^2 + m^2)^p over momenta |k| < R."""
    return _both_transform(d, p, R, m, r)[0]
'''

CUTOFF_TRANSFORM_ERROR = '''
def _cutoff_transform_error(d, p, R, m, r):
    """Return an estimate of the error of that integral."""
    return _both_transform(d, p, R, m, r)[1]
'''

SHELL_EDGE = '''
def _shell_edge(branch, q, a, m, s):
    """Return k >= 0 with (a (k^2 + m^2) - 1) exp(2 s^2 k^2) = q, q >= 0 (branch 1) or not (0, -1), by Newton; else 0."""
    if (branch == 1.0) != (q >= 0.0):
        return 0.0
    if q == 0.0:
        return math.sqrt(max(0.0, 1.0 / a - m * m))
    level = math.log(2.0 * s * s * abs(q) / a) + 2.0 * s * s * (m * m - 1.0 / a)
    if branch == 1.0:
        u = level if level < 1.0 else math.log(level)
        for _ in range(60):
            step = (math.exp(u) + u - level) / (math.exp(u) + 1.0)
            u -= step
            if abs(step) <= 1e-16 * (1.0 + abs(u)):
                break
        root = math.exp(u)
    elif level >= -1.0:
        return 0.0
    elif branch == 0.0:
        u = level
        for _ in range(60):
            step = (u - math.exp(u) - level) / (1.0 - math.exp(u))
            u -= step
            if abs(step) <= 1e-16 * (1.0 + abs(u)):
                break
        root = -math.exp(u)
    else:
        t = -2.0 * level
        for _ in range(60):
            step = (t - math.log(t) + level) / (1.0 - 1.0 / t)
            t -= step
            if abs(step) <= 1e-16 * t:
                break
        root = -t
    square = 1.0 / a - m * m + 0.5 * root / (s * s)
    return math.sqrt(square) if square > 0.0 else 0.0
'''

HELPERS = {
    "_radial_wave": RADIAL_WAVE,
    "_scaled_radial_wave": SCALED_RADIAL_WAVE,
    "_infinite_propagator": INFINITE_PROPAGATOR,
    "_infinite_transform": INFINITE_TRANSFORM,
    "_bessel_pair": BESSEL_PAIR,
    "_transform_tail": TRANSFORM_TAIL,
    "_inverse_power": INVERSE_POWER,
    "_massless_start": MASSLESS_START,
    "_transform_panels": TRANSFORM_PANELS,
    "_both_transform": BOTH_TRANSFORM,
    "_cutoff_propagator": CUTOFF_PROPAGATOR,
    "_cutoff_propagator_error": CUTOFF_PROPAGATOR_ERROR,
    "_cutoff_transform": CUTOFF_TRANSFORM,
    "_cutoff_transform_error": CUTOFF_TRANSFORM_ERROR,
    **heat_code.HELPERS,
    "_shell_edge": SHELL_EDGE,
}
"""Source of the functions that generated code calls, a function before those that call it."""

CALLED = {
    "RadialWave": "_radial_wave",
    "ScaledRadialWave": "_scaled_radial_wave",
    "InfinitePropagator": "_infinite_propagator",
    "InfiniteTransform": "_infinite_transform",
    "CutoffPropagator": "_cutoff_propagator",
    "CutoffPropagatorError": "_cutoff_propagator_error",
    "CutoffTransform": "_cutoff_transform",
    "CutoffTransformError": "_cutoff_transform_error",
    "ShellEdge": "_shell_edge",
    **heat_code.CALLED,
}
"""SymPy functions that a helper above evaluates."""
