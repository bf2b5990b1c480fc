"""Cosine networks: every closed form against mpmath quadrature that shares no code, and wrong premises that must fail."""

from itertools import pairwise

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import integrate, special

from fieldflow.errors import ProofFailed
from fieldflow.formulas import compiled, derive
from fieldflow.symbolic import cosnet, cosnet_propagator, cosnet_shell
from fieldflow.symbolic.radial import CutoffPropagator, RadialWave, ScaledRadialWave, ShellEdge
from fieldflow.symbolic.symbols import d, sigma_w


def wave(dimension, z):
    if dimension == 2:
        return mpmath.besselj(0, z)
    return mpmath.cos(z) if dimension == 1 else (mpmath.sin(z) / z if z else mpmath.mpf(1))


def ends(radius, mass, r):
    """E_1 form of the integrals beyond R, theory sheet: T± = e^{∓mr}E_1(-iRr ∓ mr)."""
    return [mpmath.exp(-s * mass * r) * mpmath.e1(-1j * radius * r - s * mass * r) for s in (1, -1)]


def reference(dimension, radius, mass, r):
    """∫_{|k|<R} d^dk/(2π)^d e^{ikr}/(k² + m²) to 18 digits, and the size of its oscillation."""
    radius, mass, r = (mpmath.mpf(value) for value in (radius, mass, r))
    if r == 0 or radius * r < 20:
        sphere = 2 * mpmath.pi ** (mpmath.mpf(dimension) / 2) / mpmath.gamma(mpmath.mpf(dimension) / 2)
        edges = {mpmath.mpf(0), radius, *(mass * 2**i for i in range(-1, 10) if mass * 2**i < radius)}
        edges |= {radius * i / 4 for i in range(4)}
        value = mpmath.quad(lambda k: k ** (dimension - 1) * wave(dimension, k * r) / (k**2 + mass**2), sorted(edges))
        value *= sphere / (2 * mpmath.pi) ** dimension
    elif dimension == 2:
        # The contour turned up from R: the integrand decays.
        def turned(s):
            k = radius + 1j * s
            return k * mpmath.hankel1(0, k * r) / (k**2 + mass**2)

        tail = mpmath.re(1j * mpmath.quad(turned, [0, 4 / r, 50 / r]))
        value = (mpmath.besselk(0, mass * r) - tail) / (2 * mpmath.pi)
    else:
        plus, minus = ends(radius, mass, r)
        value = mpmath.exp(-mass * r) / (2 * mass) - mpmath.re((plus - minus) / (2j * mass)) / mpmath.pi
        if dimension == 3:
            value = mpmath.exp(-mass * r) / (4 * mpmath.pi * r)
            value -= mpmath.im((plus + minus) / 2) / (2 * mpmath.pi**2 * r)
    swing = 0
    if radius * r > 1:
        swing = (2 * mpmath.pi) ** (-mpmath.mpf(dimension) / 2) * (radius / r) ** (mpmath.mpf(dimension) / 2)
        swing *= mpmath.sqrt(2 / (mpmath.pi * radius * r)) / (radius**2 + mass**2)
    return value, max(abs(value), swing)


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize(("radius", "mass"), [(8.0, 1.0), (0.5, 5.0), (300.0, 0.02)])
def test_propagators_to_twelve_digits(dimension, radius, mass):
    """From r = 0 through mr >> 1 and Rr >> 1; the scale is the value, or the oscillation around it."""
    strength = float(derive(f"cosnet.variance_d{dimension}").compile()(radius, mass, 1.0)) / float(
        CutoffPropagator(dimension, sp.Rational(radius), sp.Rational(mass), 0).evalf(20)
    )
    with mpmath.workdps(20):
        for phase in (0.0, 1e-6, 3.0, 79.0, 81.0, *((2000.0,) if dimension != 2 else ())):
            r = phase / radius
            expected, scale = reference(dimension, radius, mass, r)
            found = compiled(f"cosnet.propagator_d{dimension}")(r, radius, mass, 1.0) / strength
            general = compiled("cosnet.propagator")(r, dimension, radius, mass, 1.0) / strength
            assert abs(found - expected) <= 1e-12 * scale
            assert abs(general - expected) <= 1e-12 * scale


def test_plane_without_a_closed_form_has_an_error_estimate():
    formula = derive("cosnet.propagator_d2")
    assert formula.closed_form is False
    assert 0 <= formula.compile().error_estimate(1.0, 8.0, 1.0, 1.0) < 1e-14
    assert derive("cosnet.propagator_d1").closed_form is derive("cosnet.propagator_d3").closed_form is True


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_cut_off_goes_away_and_the_spectrum_comes_back(dimension):
    """∫d^dr e^{-ipr} G_∞ = 1/(p² + m²); at R = 10⁵ the tail is small."""
    infinite = compiled(f"cosnet.propagator_infinite_d{dimension}")
    sphere = {1: 2.0, 2: 2 * np.pi, 3: 4 * np.pi}[dimension]
    kernel = {
        1: lambda r: np.exp(-0.7 * r) / 1.4,
        2: lambda r: special.k0(0.7 * r) / (2 * np.pi),
        3: lambda r: np.exp(-0.7 * r) / (4 * np.pi * r),
    }[dimension]
    assert kernel(0.9) == pytest.approx(float(infinite(0.9, 0.7)), rel=1e-14)
    turn = {1: np.cos, 2: special.j0, 3: lambda z: np.sinc(z / np.pi)}[dimension]
    back, _ = integrate.quad(
        lambda r: sphere * r ** (dimension - 1) * turn(1.3 * r) * kernel(r), 0, 60, epsabs=1e-13, limit=400
    )
    assert back == pytest.approx(1 / (1.3**2 + 0.7**2), rel=1e-11)
    strength = float(cosnet.normalisation().subs({d: dimension, cosnet.R: 1e5}))
    found = compiled("cosnet.propagator")(0.9, dimension, 1e5, 0.7, 1.0) / strength
    assert abs(found / infinite(0.9, 0.7) - 1) < {1: 1e-9, 2: 1e-6, 3: 1e-4}[dimension]


CASES = [
    (0.3, [0.4], [-0.3], 8.0, 1.0, 1.2, 1.0, 1.0),
    (0.45, [0.7, 0.2], [0.1, -0.5], 5.0, 1.0, 1.0, 0.2, 1.0),
    (0.1, [0.7, 0.2, 0.3], [0.1, -0.5, 0.4], 4.0, 0.5, 0.9, 0.6, 0.7),
]


@pytest.mark.parametrize("case", CASES)
def test_shell_kernel_against_the_average_over_b_and_c(case):
    """E[h h' 1{λ >= Λ}]: over c by the midpoint rule between its own jumps, |b| by Gauss-Legendre, directions by waves."""
    cutoff, x, y, radius, mass, sigma, std, noise = case
    x, y = np.array(x), np.array(y)
    dimension = len(x)
    minus, plus = np.linalg.norm(x - y), np.linalg.norm(x + y)
    with mpmath.workdps(15):

        def over_phase(k):
            # stiff: 1 + e^{-2s²k²}cos 2c >= 2Λs²(k² + m²); the integrand's average over directions enters through waves.
            level = (2 * cutoff * noise * (k**2 + mass**2) - 1) * mpmath.exp(2 * std**2 * k**2)
            half = mpmath.pi if level <= -1 else (mpmath.mpf(0) if level >= 1 else mpmath.acos(level))
            inside = lambda t: wave(dimension, k * minus) + mpmath.cos(t) * wave(dimension, k * plus)  # noqa: E731
            return mpmath.quad(inside, [-half, half]) / (4 * mpmath.pi)

        grid = [radius * mpmath.mpf(i) / 4000 for i in range(4001)]
        level = lambda k: (2 * cutoff * noise * (k**2 + mass**2) - 1) * mpmath.exp(2 * std**2 * k**2)  # noqa: E731
        jumps = [
            mpmath.findroot(lambda k, t=t: level(k) - t, (a, b), solver="anderson", tol=1e-25, verify=False)
            for t in (-1, 1)
            for a, b in pairwise(grid)
            if (level(a) - t) * (level(b) - t) < 0
        ]
        edges = [mpmath.mpf(0), *sorted(jumps), mpmath.mpf(radius)]
        weight = lambda k: dimension * k ** (dimension - 1) / radius**dimension / (k**2 + mass**2)  # noqa: E731
        expected = sigma**2 * mpmath.quad(lambda k: weight(k) * over_phase(k), edges)
    found = compiled("cosnet.shell_kernel")(cutoff, minus, plus, dimension, radius, mass, sigma, std, noise)
    assert abs(found - expected) < 1e-11 * sigma**2
    without = compiled("cosnet.shell_kernel")(cutoff, minus, 0.0, dimension, radius, mass, sigma, std, noise)
    assert abs(without - expected) > 1e-5


def test_broad_inputs_make_the_shell_a_ball():
    """What is left of the phase are the units with |b| of order 1/s_x: a share s_x^{-d}."""
    edge = compiled("cosnet.shell_radius")(0.1, 8.0, 1.0, 1.0)
    assert edge == 2.0
    for dimension in (1, 2, 3):
        strengths = [float(cosnet.normalisation().subs({d: dimension, cosnet.R: R})) for R in (8, 2)]
        ball = compiled("cosnet.propagator")(0.7, dimension, edge, 1.0, 1.0) * strengths[0] / strengths[1]
        errors = [
            abs(compiled("cosnet.shell_kernel")(0.1, 0.7, 1.9, dimension, 8.0, 1.0, 1.0, std, 1.0) - ball)
            for std in (20.0, 200.0)
        ]
        assert np.log10(errors[0] / errors[1]) == pytest.approx(dimension, abs=0.02)


def test_law_of_lambda_is_its_density_integrated():
    law, density = compiled("cosnet.sloppy_fraction_gaussian"), compiled("cosnet.fisher_density_gaussian")
    nodes, weights = np.polynomial.legendre.leggauss(40)
    for dimension, low, high in ((1, 0.02, 0.1), (2, 0.3, 0.4), (3, 0.01, 0.03)):
        at = 0.5 * (high + low) + 0.5 * (high - low) * nodes
        area = 0.5 * (high - low) * weights @ density(at, dimension, 8.0, 1.0, 0.7, 1.0)
        ends_ = law(np.array([low, high]), dimension, 8.0, 1.0, 0.7, 1.0)
        assert abs(area - (ends_[1] - ends_[0])) < 1e-9
    broad = compiled("cosnet.fisher_density")(np.array([0.05, 0.3]), 3, 8.0, 1.0, 1.0)
    narrow = density(np.array([0.05, 0.3]), 3, 8.0, 1.0, 40.0, 1.0)
    np.testing.assert_allclose(narrow, broad, rtol=1e-5)
    assert law(1.1, 2, 8.0, 1.0, 0.7, 1.0) == pytest.approx(1.0, abs=1e-13)


def test_density_of_lambda_over_momenta_is_that_over_the_phase():
    """The printed integral over |b| has inverse roots at its edges |q| = 1; the compiled one runs over q = cos 2c."""
    formula = derive("cosnet.fisher_density_gaussian")
    values = (0.1, 3, 8, 1, 0.7, 1)
    printed = formula.expr.subs(dict(zip(formula.args, (sp.Rational(str(value)) for value in values), strict=True)))
    integrand = sp.lambdify(k := printed.variables[0], printed.function.args[0][0], "mpmath")
    q = sp.lambdify(k, (sp.Rational(1, 5) * (k**2 + 1) - 1) * sp.exp(sp.Rational(49, 50) * k**2), "mpmath")
    edges = [
        mpmath.findroot(lambda t, sign=sign: q(t) - sign, start) for sign, start in ((-1, 0.55), (-1, 1.97), (1, 2.02))
    ]
    parts = ([0, edges[0]], [edges[1], edges[2]])
    area = sum(mpmath.quad(lambda t: mpmath.re(integrand(t)), part) for part in parts)
    assert float(area) == pytest.approx(compiled(formula.name)(*map(float, values)), rel=1e-6)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_windowed_spectrum_is_a_gaussian_average(dimension):
    """E Σ(p + ξ), ξ ~ N(0, 1/(2L²)) per component, by quadrature along and across p."""
    p, low, high, window, radius, mass = 1.5, 0.7, 3.0, 1.2, 4.0, 0.8
    strength = float(cosnet.normalisation().subs({d: dimension, cosnet.R: radius}))

    def shell(along, across):
        k2 = along**2 + across**2
        return strength / (k2 + mass**2) if low**2 < k2 < high**2 else 0.0

    # Polar coordinates around the origin of momenta: the shell is a rectangle.
    k, wk = np.polynomial.legendre.leggauss(80)
    k, wk = 0.5 * (high + low) + 0.5 * (high - low) * k, 0.5 * (high - low) * wk
    angle, wa = np.polynomial.legendre.leggauss(120)
    angle, wa = 0.5 * np.pi * (angle + 1), 0.5 * np.pi * wa
    gauss = lambda a, b: (window**2 / np.pi) ** (dimension / 2) * np.exp(-(window**2) * ((a - p) ** 2 + b**2))  # noqa: E731
    if dimension == 1:
        total = sum(w * shell(s * q, 0.0) * gauss(s * q, 0.0) for q, w in zip(k, wk, strict=True) for s in (-1, 1))
    else:
        measure = {2: lambda q, t: 2 * q, 3: lambda q, t: 2 * np.pi * q**2 * np.sin(t)}[dimension]
        total = sum(
            w * v * measure(q, t) * shell(q * np.cos(t), q * np.sin(t)) * gauss(q * np.cos(t), q * np.sin(t))
            for q, w in zip(k, wk, strict=True)
            for t, v in zip(angle, wa, strict=True)
        )
    found = compiled("cosnet.windowed_spectrum")(p, low, high, window, dimension, radius, mass, 1.0)
    assert found == pytest.approx(total, rel=1e-11)


def test_effective_variance_is_the_change_of_the_weights():
    """Σ_stiff ω_T² by linear algebra with explicit features; the same without the cross term is wrong."""
    generator = np.random.default_rng(3)
    features, kept = generator.normal(size=(6, 40)) / 6, (np.arange(40) % 3 > 0).astype(float)
    y, matrix = generator.normal(size=(6, 1)), generator.normal(size=(6, 6)) / 3
    linear = np.eye(40) - features.T @ matrix @ features
    shift = features.T @ matrix @ y
    expected = np.trace(linear.T @ np.diag(kept) @ linear) + np.sum(kept[:, None] * shift**2) - kept.sum()
    stiff, gram = features * kept @ features.T, features @ features.T
    found = compiled("cosnet.effective_variance")(1.3, 40.0, stiff, matrix, gram, y)
    assert (found - 1.69) * 40 / 1.69 == pytest.approx(expected, rel=1e-12)
    assert abs((found - 1.69) * 40 / 1.69 + 2 * np.trace(matrix @ stiff) - expected) > 0.1


def test_corrected_rescaling_keeps_the_normalisation():
    """C_d(R') = C_d(R)σ_w²(Λ); with the radius that (90) prints it is half of that."""
    for dimension in (1, 2, 3):
        radius = compiled("cosnet.renormalized")(1.7, dimension, 8.0)
        constant = lambda R: float(cosnet.normalisation().subs({d: dimension, cosnet.R: R}))  # noqa: B023, E731
        assert constant(radius) == pytest.approx(1.7 * constant(8.0), rel=1e-13)
        printed = 8.0 * (2 / 1.7) ** (1 / dimension)
        assert constant(printed) == pytest.approx(0.5 * 1.7 * constant(8.0), rel=1e-13)
        mass2 = compiled("cosnet.renormalized_mass")(1.7, dimension, 8.0, 0.9)
        assert mass2 / compiled("cosnet.renormalized_momentum")(1.7, dimension, 8.0) == pytest.approx(0.81, rel=1e-14)


def test_general_alpha_has_the_spectrum_of_the_paper():
    """∫d^dk/(2π)^d f_R (k² + m²)^{-α-1} by mpmath, and α = -1 in closed form."""
    for alpha, dimension in ((0.0, 2), (1.0, 3), (-1.0, 3), (-0.5, 1)):
        for name, weight in (("", lambda k: 1), ("_gaussian", lambda k: mpmath.exp(-(k**2) / 18))):
            top = 3 if not name else 45
            sphere = 2 * mpmath.pi ** (mpmath.mpf(dimension) / 2) / mpmath.gamma(mpmath.mpf(dimension) / 2)
            value = sphere / (2 * mpmath.pi) ** dimension * mpmath.quad(
                lambda k: k ** (dimension - 1) * weight(k) * (k**2 + mpmath.mpf("0.49")) ** (-alpha - 1),  # noqa: B023
                [0, 0.5, 1, 3, top] if name else [0, 0.5, 1, top],
            )  # fmt: skip
            found = compiled("cosnet.momentum_volume" + name)(dimension, 3.0, 0.7, alpha)
            assert abs(found - value) < 1e-12 * value


def test_named_functions_have_the_values_of_their_definitions():
    z = sp.Rational(17, 10)
    assert RadialWave(2, z).evalf(25) == sp.besselj(0, z).evalf(25)
    for dimension in (1, 2, 3, 4):
        scaled = ScaledRadialWave(dimension, z).evalf(25)
        assert abs(scaled - sp.exp(-z) * RadialWave(dimension, sp.I * z).doit().evalf(25)) < 1e-22
    for branch, q, a in ((1, sp.Rational(3, 5), sp.Rational(1, 3)), (0, -sp.Rational(1, 9), sp.Rational(2, 5))):
        k = ShellEdge(branch, q, a, sp.Rational(1, 2), sp.Rational(7, 10)).evalf(30)
        assert abs((a * (k**2 + sp.Rational(1, 4)) - 1) * sp.exp(2 * sp.Rational(49, 100) * k**2) - q) < 1e-25


def test_wrong_premises_derive_nothing(monkeypatch):
    right = cosnet.transform
    monkeypatch.setattr(cosnet, "transform", lambda *given: 2 * right(*given))  # the 1/2 of cos·cos lost
    with pytest.raises(ProofFailed):
        cosnet.spectrum.__wrapped__()
    monkeypatch.undo()
    monkeypatch.setattr(cosnet_propagator, "_tail", lambda sign: -sp.expint(1, -sp.I * cosnet.R * cosnet_propagator.r))
    with pytest.raises(ProofFailed):
        cosnet_propagator.propagator_line.__wrapped__()
    monkeypatch.undo()
    full = cosnet_shell.fisher_value
    monkeypatch.setattr(cosnet_shell, "fisher_value", lambda dispersion: 2 * full(dispersion))
    for builder in (cosnet_shell.fisher, cosnet_shell.shell_radius, cosnet_shell.shell_kernel):
        with pytest.raises(ProofFailed):
            builder.__wrapped__()
    assert derive("cosnet.spectrum").expr.has(sigma_w)
