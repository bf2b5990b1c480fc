"""The polynomials against mpmath, their edges, and what makes them reproducible: no number depends on its place."""

import mpmath
import numba
import numpy as np
import pytest
from scipy import special

from fieldflow.numeric import rng, vectormath

NAMES = ("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf")
NUMPY = {**{name: getattr(np, name) for name in NAMES[:-1]}, "erf": special.erf}


def over_arrays(function):
    """Return the function as a loop over an array, which LLVM vectorises."""

    @numba.njit(error_model="numpy")
    def fill(values):
        for i in range(values.size):
            values[i] = function(values[i])

    def evaluate(values):
        out = np.array(values, dtype=float)
        fill(out)
        return out

    return evaluate


LOOPS = {name: over_arrays(getattr(vectormath, name)) for name in NAMES}

draw = np.random.default_rng(5)
SMALL = 10.0 ** draw.uniform(-300, 0, 400) * draw.choice([-1, 1], 400)
NEAR = np.concatenate([draw.uniform(-1, 1, 700), np.linspace(-1, 1, 301), SMALL])
RANGES = {
    "exp": np.concatenate([NEAR, draw.uniform(-700, 709, 1500), np.log(2) * (np.arange(-1000, 1000) + 0.5)]),
    "expm1": np.concatenate([NEAR, draw.uniform(-50, 709, 1500), np.log(2) * (np.arange(-20, 1000) + 0.5)]),
    "log": np.concatenate([10.0 ** draw.uniform(-307, 308, 1500), 1 + NEAR / 2, np.sqrt(2) + SMALL]),
    "log1p": np.concatenate([NEAR[np.abs(NEAR) < 1], 10.0 ** draw.uniform(-300, 308, 1000)]),
    "sin": np.concatenate([NEAR, draw.uniform(-1e4, 1e4, 1500), np.pi / 4 * np.arange(-400, 400)]),
    "cos": np.concatenate([NEAR, draw.uniform(-1e4, 1e4, 1500), np.pi / 4 * np.arange(-400, 400)]),
    "tanh": np.concatenate([NEAR, draw.uniform(-22, 22, 1500)]),
    "erf": np.concatenate([NEAR, draw.uniform(-7, 7, 1500), np.linspace(0, 6.5, 700)]),
}
BOUNDS = {"exp": 4e-16, "expm1": 5e-16, "log": 4e-16, "log1p": 5e-16, "tanh": 6e-16, "erf": 8e-16}
"""Of relative errors; sine and cosine are judged by absolute ones."""


def exact(name, values):
    with mpmath.workdps(40):
        return [getattr(mpmath, name)(mpmath.mpf(float(value))) for value in values]


def worst(name, found, relative=True):
    errors = []
    for value, truth in zip(found, exact(name, RANGES[name]), strict=True):
        unit = abs(truth) if relative and truth != 0 else 1
        errors.append(float(abs(mpmath.mpf(float(value)) - truth) / unit))
    return max(errors)


@pytest.mark.parametrize("name", BOUNDS)
def test_relative_accuracy(name):
    assert worst(name, LOOPS[name](RANGES[name])) <= BOUNDS[name]
    # Negative control: four units in the last place are seen.
    assert worst(name, LOOPS[name](RANGES[name]) * (1 + 8e-16)) > BOUNDS[name]


@pytest.mark.parametrize("name", ["sin", "cos", "erf"])
def test_absolute_accuracy(name):
    assert worst(name, LOOPS[name](RANGES[name]), relative=False) <= 4e-16


def test_large_angles_keep_their_digits():
    angles = draw.uniform(-(2.0**44), 2.0**44, 500)
    for name in ("sin", "cos"):
        found = LOOPS[name](angles)
        assert max(abs(float(t) - v) for t, v in zip(exact(name, angles), found, strict=True)) <= 4e-16
        assert np.isnan(LOOPS[name]([2.0**46, -1e300, np.inf])).all()


@pytest.mark.parametrize("name", NAMES)
def test_edges(name):
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 709.7, 710.5, -745.0, -746.0, -740.0, 1e13, -1.0, -2.0]
    edges += [1e308, -1e308, 5e-324, 1e-310] if name not in ("sin", "cos") else []
    with np.errstate(all="ignore"):
        expected = NUMPY[name](np.array(edges))
    # Subnormal results have an absolute accuracy only.
    np.testing.assert_allclose(LOOPS[name](edges), expected, rtol=1e-15, atol=1e-322)


def test_odd_functions_are_odd_to_the_bit():
    for name in ("sin", "tanh", "erf"):
        np.testing.assert_array_equal(LOOPS[name](-NEAR), -LOOPS[name](NEAR))


def test_quarter_turns_are_exact():
    turn = numba.njit(lambda x: vectormath.turn(x))
    found = [turn(x) for x in (0.0, 0.25, 0.5, 0.75)]
    assert found == [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)]
    for x in draw.uniform(0, 1, 500):
        with mpmath.workdps(40):
            angle = 2 * mpmath.pi * mpmath.mpf(float(x))
            assert abs(mpmath.mpf(turn(x)[0]) - mpmath.cos(angle)) <= 2e-16
            assert abs(mpmath.mpf(turn(x)[1]) - mpmath.sin(angle)) <= 2e-16


@pytest.mark.parametrize("name", NAMES)
def test_no_number_depends_on_its_place(name):
    """Vector body, remainder and single call are the same arithmetic, for every length and alignment."""
    values = np.abs(draw.normal(size=240)) * 3
    whole = LOOPS[name](values)
    single = np.array([getattr(vectormath, name)(value) for value in values])
    np.testing.assert_array_equal(whole, single)
    for length in range(1, 201):
        for start in (0, length % 8):
            assert (LOOPS[name](values[start : start + length]) == whole[start : start + length]).all()


def test_fused_products_are_what_makes_that_true():
    """Negative control: with products fused at LLVM's discretion a plain expression changes with its place or form."""
    fused = numba.njit(lambda a, b, c: vectormath.fma(a, b, c))
    a = 1.0 + 2.0**-30
    assert fused(a, a, -1.0 - 2.0**-29) == 2.0**-60
    assert a * a - 1.0 - 2.0**-29 == 0.0


def test_normals_of_every_length_agree():
    """Lengths beyond one and two batches, odd ones, and the first of each batch."""
    longest = 4 * rng.PAIRS + 5
    whole = rng.normals(longest, seed=3, member=2**33 + 1, stream=1)
    for length in [*range(1, 201), *range(2 * rng.PAIRS - 3, 2 * rng.PAIRS + 4), longest - 1]:
        assert (rng.normals(length, seed=3, member=2**33 + 1, stream=1) == whole[:length]).all()


def test_normals_against_their_definition():
    """Each pair from its own Philox block, by mpmath: a fault in one lane of the vector code would show."""
    seed, member, stream = 9, 5, 1
    found = rng.normals(1100, seed=seed, member=member, stream=stream)
    for pair in [*range(20), 254, 255, 256, 257, 511, 512, 549]:
        words = rng.philox(*(np.uint64(w) for w in (pair, stream, member, 0, seed, 0)))
        w0, w1, w2, w3 = (int(word) for word in words)
        with mpmath.workdps(40):
            radius = mpmath.sqrt(-2 * mpmath.log(mpmath.mpf(((w0 << 32 | w1) >> 11) + 1) / 2**53))
            angle = 2 * mpmath.pi * mpmath.mpf((w2 << 32 | w3) >> 11) / 2**53
            expected = [float(radius * mpmath.cos(angle)), float(radius * mpmath.sin(angle))]
        np.testing.assert_allclose(found[2 * pair : 2 * pair + 2], expected, rtol=0, atol=2e-15)
