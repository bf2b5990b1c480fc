"""How are exp, log, sine and erf taken of whole arrays? By polynomials without branches, which LLVM makes vector code of.

The C library's functions are called once per number; these are arithmetic and selections only, five to ten times as fast.
Every product that is fused is fused by name (``fma``), so a number does not depend on its place in an array.  The
polynomials are weighted least-maximum fits; the error quoted with each is that of the fit, before rounding.
"""

import numpy as np

from fieldflow.numeric.jit import choose, fma, inlined

_ROUND = 6755399441055744.0
"""1.5·2^52: adding and subtracting it rounds to an integer, which the low bits of the sum then hold."""
_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.6931471805599453, 2.3190468138462996e-17
_TWO_OVER_PI = 0.6366197723675814
_HALF_PI_HIGH, _HALF_PI_MIDDLE, _HALF_PI_LOW = 1.5707963267948966, 6.123233995736766e-17, -1.4973849048591833e-33
_LARGEST_ANGLE = 2.0**45
_MANTISSA, _EXPONENT_OF_ONE = np.int64(0xFFFFFFFFFFFFF), np.int64(0x3FF0000000000000)
_SQRT_HALF_BITS = np.int64(0x3FE6A09E667F3BCD)
_SIGN = np.int64(-0x8000000000000000)
_TINY = 2.2250738585072014e-308


@inlined
def _between(x, low, high):  # type: ignore[no-untyped-def]
    """Return x confined to [low, high]; some number in it for NaN."""
    raised = choose(x > low, x, low)
    return choose(raised < high, raised, high)


@inlined
def _power_of_two(n):  # type: ignore[no-untyped-def]
    """Return 2^n for an integer n of type int64, -1022 <= n <= 1023."""
    return np.int64((n + 1023) << 52).view(np.float64)


@inlined
def _with_sign(x, y):  # type: ignore[no-untyped-def]
    """Return |x| with the sign of y, by bits."""
    return np.int64((np.float64(x).view(np.int64) & ~_SIGN) | (np.float64(y).view(np.int64) & _SIGN)).view(np.float64)


@inlined
def _exp_parts(x):  # type: ignore[no-untyped-def]
    """Return (e^r - 1, n) with x = n ln 2 + r, |r| <= ln 2 / 2 and n an int64, for |x| < 2^40 (fit 3e-18)."""
    shifted = fma(x, _LOG2_E, _ROUND)
    n = shifted - _ROUND
    r = fma(-n, _LN2_LOW, fma(-n, _LN2_HIGH, x))
    p = 2.5115683879142616e-08
    p = fma(p, r, 2.7631341754307705e-07)
    p = fma(p, r, 2.755722347029879e-06)
    p = fma(p, r, 2.4801489747753208e-05)
    p = fma(p, r, 0.0001984126990892889)
    p = fma(p, r, 0.0013888888947234037)
    p = fma(p, r, 0.008333333333311382)
    p = fma(p, r, 0.04166666666651441)
    p = fma(p, r, 0.1666666666666669)
    p = fma(p, r, 0.5000000000000013)
    whole = np.float64(shifted).view(np.int64) - np.float64(_ROUND).view(np.int64)
    return fma(p * r, r, r), whole


@inlined
def exp(x):  # type: ignore[no-untyped-def]
    """Return e^x to 4e-16 of its value; subnormal results, 0, inf and NaN as usual."""
    inside = _between(x, -750.0, 710.0)
    part, n = _exp_parts(inside)
    half = n >> 1
    # In two steps: 2^n alone would overflow or vanish before the result does.
    value = (1.0 + part) * _power_of_two(half) * _power_of_two(n - half)
    return choose(x != x, x, value)


@inlined
def expm1(x):  # type: ignore[no-untyped-def]
    """Return e^x - 1 to 1e-15 of its value, also for small x."""
    inside = _between(x, -100.0, 710.0)
    part, n = _exp_parts(inside)
    half = n >> 1
    scale, rest = _power_of_two(half), _power_of_two(n - half)
    # (2^n part + 2^n) - 1 with 2^n in two factors, one of which is kept outside where both are large.
    large = (scale + scale * part) * rest
    value = choose(n < 1000, fma(scale * rest, part, scale * rest - 1.0), large)
    return choose(x != x, x, value)


@inlined
def log_normal(x):  # type: ignore[no-untyped-def]
    """Return ln x for a normal positive x to 2e-16 of its value (fit 2.5e-18)."""
    bits = np.float64(x).view(np.int64)
    n = (bits - _SQRT_HALF_BITS) >> 52
    m = np.int64(bits - (n << 52)).view(np.float64)
    exponent = np.float64(np.int64(n + np.float64(_ROUND).view(np.int64)).view(np.float64) - _ROUND)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    p = 0.14797595490716156
    p = fma(p, z, 0.15313893728460012)
    p = fma(p, z, 0.18183570148901299)
    p = fma(p, z, 0.222221984671707)
    p = fma(p, z, 0.2857142874336144)
    p = fma(p, z, 0.3999999999941056)
    p = fma(p, z, 0.6666666666666735)
    half_square = 0.5 * f * f
    # ln m = f - (f²/2 - s·(f²/2 + z·p)): the leading term is exact where ln m is small.
    small = fma(s, fma(z, p, half_square), exponent * _LN2_LOW)
    return fma(exponent, _LN2_HIGH, f - (half_square - small))


@inlined
def log(x):  # type: ignore[no-untyped-def]
    """Return ln x to 4e-16 of its value; -inf at zero, NaN below it, subnormal numbers included."""
    small = x < _TINY
    value = log_normal(choose(small, x * 18014398509481984.0, x)) - choose(small, 37.42994775023705, 0.0)
    value = choose(x > 0.0, value, choose(x == 0.0, -np.inf, np.nan))
    return choose(x == np.inf, x, value)


@inlined
def log1p(x):  # type: ignore[no-untyped-def]
    """Return ln(1 + x) to 1e-15 of its value, also for small x."""
    u = 1.0 + x
    # ln(1 + x) = ln u + (1 + x - u)/u to first order in the rounding of u.
    value = log(u) + (x - (u - 1.0)) / u
    return choose((np.abs(x) < np.inf) & (u > 0.0), value, log(u))


@inlined
def _sine_cosine(x):  # type: ignore[no-untyped-def]
    """Return (sin r, cos r, n): x = n π/2 + r with |r| <= π/4 (a little more beyond 2^40); fits 3.5e-18 and 5e-20."""
    shifted = fma(x, _TWO_OVER_PI, _ROUND)
    n = shifted - _ROUND
    r = fma(-n, _HALF_PI_MIDDLE, fma(-n, _HALF_PI_HIGH, x))
    r = fma(-n, _HALF_PI_LOW, r)
    z = r * r
    p = 1.5896660313022287e-10
    p = fma(p, z, -2.5050755844394336e-08)
    p = fma(p, z, 2.7557313677831316e-06)
    p = fma(p, z, -0.00019841269829768405)
    p = fma(p, z, 0.008333333333322366)
    p = fma(p, z, -0.16666666666666632)
    q = -1.1359551209246906e-11
    q = fma(q, z, 2.087572145542384e-09)
    q = fma(q, z, -2.7557314339316696e-07)
    q = fma(q, z, 2.480158728943837e-05)
    q = fma(q, z, -0.0013888888888874055)
    q = fma(q, z, 0.0416666666666666)
    return fma(p * z, r, r), fma(fma(q, z, -0.5), z, 1.0), np.float64(shifted).view(np.int64)


@inlined
def _turned(first, second, quadrant):  # type: ignore[no-untyped-def]
    """Return first, second, -first, -second in quadrants 0, 1, 2, 3 (mod 4)."""
    value = choose((quadrant & 1) != 0, second, first)
    return choose((quadrant & 2) != 0, -value, value)


@inlined
def sin(x):  # type: ignore[no-untyped-def]
    """Return sin x to 4e-16; NaN for |x| > 2^45, where neighbouring doubles are 1/256 apart and more."""
    s, c, n = _sine_cosine(x)
    return choose(np.abs(x) <= _LARGEST_ANGLE, _turned(s, c, n), np.nan)


@inlined
def cos(x):  # type: ignore[no-untyped-def]
    """Return cos x to 4e-16; NaN for |x| > 2^45, where neighbouring doubles are 1/256 apart and more."""
    s, c, n = _sine_cosine(x)
    return choose(np.abs(x) <= _LARGEST_ANGLE, _turned(c, -s, n), np.nan)


@inlined
def turn(x):  # type: ignore[no-untyped-def]
    """Return (cos 2πx, sin 2πx) to 2e-16 for 0 <= x <= 1: the part of a quarter turn is found exactly (fits 1e-18)."""
    shifted = fma(x, 4.0, _ROUND)
    r = fma(shifted - _ROUND, -0.25, x)
    z = r * r
    p = 3.7780853560113545
    p = fma(p, z, -15.093662870284383)
    p = fma(p, z, 42.05868225987342)
    p = fma(p, z, -76.70585967839871)
    p = fma(p, z, 81.60524927583012)
    p = fma(p, z, -41.34170224039941)
    p = fma(p, z, 6.283185307179586)
    q = -1.6970168426543408
    q = fma(q, z, 7.903101472628899)
    q = fma(q, z, -26.42625113712926)
    q = fma(q, z, 60.24464133157925)
    q = fma(q, z, -85.4568172065399)
    q = fma(q, z, 64.93939402266801)
    q = fma(q, z, -19.739208802178716)
    s, c = p * r, fma(q, z, 1.0)
    quadrant = np.float64(shifted).view(np.int64)
    return _turned(c, -s, quadrant), _turned(s, c, quadrant)


@inlined
def tanh(x):  # type: ignore[no-untyped-def]
    """Return tanh x to 1e-15 of its value."""
    size = _between(np.abs(x), 0.0, 20.0)
    grown = expm1(2.0 * size)
    return choose(x != x, x, _with_sign(grown / (grown + 2.0), x))


@inlined
def erf(x):  # type: ignore[no-untyped-def]
    """Return erf x to 7e-16 of its value and 4e-16 in all.

    erf = 1 - q^-8 with q(|x|) = 1 + |x|·p(|x|) = (1 - erf |x|)^-1/8, a polynomial to 9e-17 of erf.  What is squared three times is
    q^k - 1, so that nothing cancels at small x.
    """
    size = _between(np.abs(x), 0.0, 5.95)
    p = -1.9339499039187923e-14
    p = fma(p, size, 8.437103232144584e-13)
    p = fma(p, size, -1.6757859942153868e-11)
    p = fma(p, size, 2.0309805571230112e-10)
    p = fma(p, size, -1.683274400255333e-09)
    p = fma(p, size, 1.0099041392640007e-08)
    p = fma(p, size, -4.489627457603584e-08)
    p = fma(p, size, 1.4709734688681668e-07)
    p = fma(p, size, -3.311909254491529e-07)
    p = fma(p, size, 3.7215629158040684e-07)
    p = fma(p, size, 6.060513291122928e-07)
    p = fma(p, size, -3.326170418749698e-06)
    p = fma(p, size, 6.581817188491215e-06)
    p = fma(p, size, 1.6375427999875997e-05)
    p = fma(p, size, -2.8817712883953887e-05)
    p = fma(p, size, 0.00034380481813259223)
    p = fma(p, size, 0.0012709617137313107)
    p = fma(p, size, 0.0033952699543799204)
    p = fma(p, size, 0.0245384453424203)
    p = fma(p, size, 0.08952465548919675)
    p = fma(p, size, 0.14104739588693907)
    grown = p * size
    grown = fma(grown, grown, 2.0 * grown)
    grown = fma(grown, grown, 2.0 * grown)
    grown = fma(grown, grown, 2.0 * grown)
    return choose(x != x, x, _with_sign(grown / (1.0 + grown), x))
