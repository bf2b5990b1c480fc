"""Functions with compiled code of their own, against mpmath at fifty digits over the whole range of their arguments."""

import mpmath
import numpy as np
import pytest
import sympy as sp

from fieldflow.compile import compile_formula
from fieldflow.symbolic.formula import Formula
from fieldflow.symbolic.special import (
    Angle,
    BivariateNormal,
    Chord,
    Dawson,
    DifferenceOfProducts,
    ExpDifference,
    NormalCdf,
)

a, b, c, d = sp.symbols("a b c d", real=True)
EPS = np.finfo(np.float64).eps
GENERATOR = np.random.Generator(np.random.Philox(11))


def compiled(expr, *args):
    """Return the expression as compiled code."""
    return compile_formula(Formula("f", sp.Symbol("f"), expr, args, "", "exact", derived_from=("",)))


def worst(function, truth, *columns, scale=None):
    """Return the largest error of ``function``, relative to ``truth`` or to ``scale`` of the arguments."""
    found = function(*columns)
    errors = []
    with mpmath.workdps(50):
        for value, *row in zip(found, *columns, strict=True):
            exact = truth(*(mpmath.mpf(float(entry)) for entry in row))
            size = abs(exact) if scale is None else scale(*row)
            errors.append(float(abs(mpmath.mpf(float(value)) - exact) / size) if size else float(value != exact))
    return max(errors)


def magnitudes(low, high, count=400):
    return 10.0 ** GENERATOR.uniform(low, high, count)


def test_differences_of_products_cancel_without_loss():
    x, y, z = (GENERATOR.normal(size=400) for _ in range(3))
    near = x * y / z * (1.0 + magnitudes(-16, 0))
    function = compiled(DifferenceOfProducts(a, b, c, d), a, b, c, d)
    assert worst(function, lambda p, q, r, s: p * q - r * s, x, y, z, near) <= 4 * EPS
    plain = compiled(a * b - c * d, a, b, c, d)
    assert worst(plain, lambda p, q, r, s: p * q - r * s, x, y, z, near) > 1e-6  # what it is for


def test_differences_of_exponentials():
    x = GENERATOR.uniform(-30.0, 30.0, 400)
    gap = magnitudes(-15, 1) * GENERATOR.choice([-1.0, 1.0], 400)
    function = compiled(ExpDifference(a, b, c), a, b, c)
    assert (
        worst(function, lambda p, q, r: mpmath.exp(p) * -mpmath.expm1(-r), x, x - gap, gap) <= 60 * EPS
    )  # e^x: |x| eps


def exact_chord(s, t):
    with mpmath.workdps(150):  # the plain form cancels s²/t²
        return s - t * mpmath.atan2(s, t)


@pytest.mark.parametrize(("low", "high"), [(-300, 0), (-20, 3), (-2, 2)])
def test_angles_and_chords(low, high):
    s, t = magnitudes(low, high), magnitudes(-3, 3)
    assert worst(compiled(Angle(a, b), a, b), mpmath.atan2, s, t) <= 3 * EPS
    # s - t·atan2(s, t) ~ s³/(3t²): below the range of floats there is nothing left to compare.
    kept = s**3 / t**2 > 1e-290 if low > -200 else np.zeros(400, bool)
    if np.any(kept):
        chord = compiled(Chord(a, b), a, b)
        assert worst(chord, exact_chord, s[kept], t[kept]) <= 16 * EPS


def test_angles_at_the_ends():
    angle = compiled(Angle(a, b), a, b)
    np.testing.assert_array_equal(angle([0.0, 0.0, 1.0], [0.0, 1.0, 0.0]), [np.pi / 2, 0.0, np.pi / 2])


def test_dawson():
    x = magnitudes(-12, 4) * GENERATOR.choice([-1.0, 1.0], 400)
    function = compiled(Dawson(a), a)

    def truth(p):
        # The closed form cancels e^{x²}·e^{-x²}: enough digits for both.
        if abs(p) > 20:
            return mpmath.nsum(lambda k: mpmath.fac2(2 * k - 1) / (2 * p**2) ** k, [0, 40]) / (2 * p)
        with mpmath.workdps(300):
            return mpmath.sqrt(mpmath.pi) / 2 * mpmath.exp(-(p**2)) * mpmath.erfi(p)

    assert worst(function, truth, x[np.abs(x) < 20.0]) <= 64 * EPS  # SciPy's own accuracy
    assert worst(function, truth, x[np.abs(x) > 30.0]) <= 8 * EPS


def test_normal_cdf_keeps_its_digits_in_the_tail():
    x = GENERATOR.uniform(-37.0, 8.0, 400)
    # A rounded x of the tail changes the value by x² eps.
    assert (
        worst(compiled(NormalCdf(a), a), mpmath.ncdf, x, scale=lambda p: (1 + p * p) * float(mpmath.ncdf(p))) <= 4 * EPS
    )


@pytest.mark.parametrize("closeness", [1.0, 1e-3, 1e-8])
def test_bivariate_normal_probabilities(closeness):
    h, k = GENERATOR.normal(size=60), GENERATOR.normal(size=60)
    rho = (1.0 - closeness * GENERATOR.uniform(0.1, 1.0, 60)) * GENERATOR.choice([-1.0, 1.0], 60)

    def truth(p, q, r):
        def density(t):
            return mpmath.exp(-(p**2 - 2 * mpmath.sin(t) * p * q + q**2) / (2 * mpmath.cos(t) ** 2))

        start, end = (0, mpmath.asin(r))
        parts = [start, end / 2, end * 0.9, end * 0.99, end * 0.999, end * 0.9999, end]
        return mpmath.ncdf(p) * mpmath.ncdf(q) + mpmath.quad(density, parts) / (2 * mpmath.pi)

    with mpmath.workdps(30):
        function = compiled(BivariateNormal(a, b, c), a, b, c)
        assert worst(function, truth, h, k, rho, scale=lambda *_: 1.0) <= (4 * EPS if closeness > 1e-6 else 1e-12)
