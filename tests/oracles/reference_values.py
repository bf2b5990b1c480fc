"""Independent reference numbers: Gaussian expectations of activation pairs, and kernels of deep networks.

Run ``python tests/oracles/reference_values.py`` to rewrite ``tests/data/expectation_reference.json`` and
``tests/data/deep_kernels.json`` (``--only expectations`` or ``--only kernels`` writes one of them). It imports mpmath
and SymPy (to read the activation strings) and nothing of the package.

Expectations. E[σ(u)τ(v)] is a double integral over the plane. Every activation here is analytic on each side of zero,
so both half-lines of both axes are cut into panels no longer than a few conditional standard deviations, with
Gauss-Legendre nodes in each. The density on the node grid is computed once per covariance and shared by all pairs.
Sums are exact integer arithmetic on 200-bit fixed-point numbers. Each number is computed on two grids that differ in
panel length, order, truncation and dropped corners; `digits` counts the leading digits in which they agree. A few are
repeated by nested adaptive quadrature.

Kernels. The layer recursion runs on closed forms (Cho & Saul 2009 for rectified monomials, Williams 1997 for erf,
characteristic functions for sin and cos, Gaussian integration by parts for GELU) in 60- and again in 110-digit
arithmetic; the two have to round to the same float64. Each closed form is first checked against the quadrature above.
tanh has no closed form and is integrated by the trapezoid rule in whitened coordinates.
"""

import argparse
import json
import operator
import time
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path

import sympy
from mpmath import mp, mpf

DATA = Path(__file__).resolve().parents[1] / "data"
BITS = 200  # fixed-point fraction bits, and the working precision of the quadrature

# --- activations --------------------------------------------------------------------------------------------------


def step(z):
    """Return the Heaviside step, which is never asked at zero."""
    return mpf(z > 0)


def relu(z):
    """Return the positive part."""
    return z if z > 0 else mpf(0)


def normal_cdf(z):
    """Return the standard normal distribution function."""
    return mp.erfc(-z / mp.sqrt(2)) / 2


def normal_pdf(z):
    """Return the standard normal density."""
    return mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi)


def softplus(z):
    """Return log(1 + e^z) without overflow or cancellation."""
    return relu(z) + mp.log1p(mp.exp(-abs(z)))


def logistic(z):
    """Return 1 / (1 + e^-z)."""
    return 1 / (1 + mp.exp(-z))


# name: (SymPy string, mpmath function); the strings are what a user would type, the functions are what is integrated.
ACTIVATIONS = {
    "identity": ("z", lambda z: z),
    "relu": ("Max(z,0)", relu),
    "leaky_relu": ("Max(z,0)+Min(z,0)/10", lambda z: z if z > 0 else z / 10),
    "abs": ("Abs(z)", abs),
    "step": ("Heaviside(z)", step),
    "sign": ("sign(z)", lambda z: 2 * step(z) - 1),
    "rect2": ("z**2*Heaviside(z)", lambda z: relu(z) ** 2),
    "rect3": ("z**3*Heaviside(z)", lambda z: relu(z) ** 3),
    "rect4": ("z**4*Heaviside(z)", lambda z: relu(z) ** 4),
    "erf": ("erf(z)", mp.erf),
    "normal_cdf": ("(1+erf(z/sqrt(2)))/2", normal_cdf),
    "gelu": ("z*(1+erf(z/sqrt(2)))/2", lambda z: z * normal_cdf(z)),
    "z_erf_half": ("z*erf(z/2)", lambda z: z * mp.erf(z / 2)),
    "sin": ("sin(z)", mp.sin),
    "cos_shifted": ("cos(2*z+1/3)", lambda z: mp.cos(2 * z + mpf(1) / 3)),
    "exp_half": ("exp(z/2)", lambda z: mp.exp(z / 2)),
    "gauss1": ("exp(-z**2)", lambda z: mp.exp(-z * z)),
    "gauss_half": ("exp(-z**2/2)", lambda z: mp.exp(-z * z / 2)),
    "z_gauss_half": ("z*exp(-z**2/2)", lambda z: z * mp.exp(-z * z / 2)),
    "z3_gauss1": ("z**3*exp(-z**2)", lambda z: z**3 * mp.exp(-z * z)),
    "gabor": ("exp(-z**2)*cos(z)", lambda z: mp.exp(-z * z) * mp.cos(z)),
    "quartic": ("z**4-6*z**2+3", lambda z: z**4 - 6 * z**2 + 3),
    "elu_tail": ("Heaviside(-z)*exp(z)", lambda z: mpf(0) if z > 0 else mp.exp(z)),
    "elu": ("Max(z,0)+Heaviside(-z)*(exp(z)-1)", lambda z: z if z > 0 else mp.expm1(z)),
    "erf_gauss": ("erf(z)*exp(-z**2/2)", lambda z: mp.erf(z) * mp.exp(-z * z / 2)),
    "sin_step": ("sin(z)*Heaviside(z)", lambda z: mp.sin(z) if z > 0 else mpf(0)),
    "erf_shifted": ("erf(z+1/2)", lambda z: mp.erf(z + mpf(1) / 2)),
    "tanh": ("tanh(z)", mp.tanh),
    "logistic": ("1/(1+exp(-z))", logistic),
    "softplus": ("log(1+exp(z))", softplus),
    "swish": ("z/(1+exp(-z))", lambda z: z * logistic(z)),
    "erf_half": ("erf(z/2)", lambda z: mp.erf(z / 2)),
    "z_erf_double": ("z*erf(2*z)", lambda z: z * mp.erf(2 * z)),
    "cube": ("z**3", lambda z: z**3),
    "cos": ("cos(z)", mp.cos),
}
ONLY_MIXED = ("erf_half", "z_erf_double", "cube", "cos")
MIXED = [
    ("relu", "erf"),
    ("step", "gelu"),
    ("abs", "sin"),
    ("erf_half", "z_erf_double"),
    ("relu", "gauss1"),
    ("cube", "gelu"),
    ("sign", "cos"),
    ("gelu", "exp_half"),
    # beyond the essential ones
    ("abs", "cos"),
    ("sign", "sin"),
    ("erf", "relu"),
    ("identity", "softplus"),
    ("tanh", "relu"),
    ("logistic", "erf_shifted"),
    ("elu", "gabor"),
    ("sin_step", "step"),
    ("rect2", "z_erf_half"),
    ("rect3", "exp_half"),
    ("z3_gauss1", "cos_shifted"),
    ("elu_tail", "quartic"),
    ("leaky_relu", "erf_gauss"),
    ("swish", "abs"),
]
PAIRS = [(name, name) for name in ACTIVATIONS if name not in ONLY_MIXED] + MIXED

NESTED = [("tanh", "relu"), ("abs", "sin"), ("elu", "gabor"), ("rect3", "exp_half")]

# (m1, m2, q11, c, q22); correlations 0.39, -0.71, 0.98, -0.33, then the first and the third with means.
GAUSSIANS = [
    ("0", "0", "3/2", "2/5", "7/10"),
    ("0", "0", "1/10", "-1/2", "5"),
    ("0", "0", "1/2", "49/50", "2"),
    ("0", "0", "4", "-1", "9/4"),
    ("3/10", "-7/10", "3/2", "2/5", "7/10"),
    ("3/10", "-7/10", "1/2", "49/50", "2"),
]
# c² = q11 q22: v is a multiple of u up to a constant.
SINGULAR = [
    ("0", "0", "1/10", "1/10", "1/10"),
    ("0", "0", "3/2", "3/2", "3/2"),
    ("3/10", "3/10", "3/2", "3/2", "3/2"),
    ("3/10", "-7/10", "1/2", "1", "2"),
    ("0", "0", "1/2", "-1", "2"),
]


def check_strings():
    """Compare every activation string with the function that is integrated."""
    z = sympy.Symbol("z", real=True)
    for text, function in ACTIVATIONS.values():
        expression = sympy.sympify(text, locals={"z": z})
        for point in ("-37/10", "-2/7", "1/9", "23/10"):
            exact = mpf(str(expression.subs(z, sympy.Rational(point)).evalf(40)))
            if abs(exact - function(rational(point))) > mpf(10) ** -36:
                raise AssertionError(f"{text} is not its function at {point}")


# --- quadrature ---------------------------------------------------------------------------------------------------


def rational(text):
    """Return the exact rational of a string as an mpf."""
    value = Fraction(text)
    return mpf(value.numerator) / value.denominator


def fixed(value):
    """Return an mpf as a fixed-point integer."""
    return int(mp.ldexp(value, BITS))


def gauss_legendre(order):
    """Return nodes and weights on [-1, 1], by Newton's method."""
    rule = []
    for k in range(order):
        x = mp.cos(mp.pi * (k + mpf(3) / 4) / (order + mpf(1) / 2))
        for _ in range(10):
            previous, current = mpf(1), x
            for n in range(2, order + 1):
                previous, current = current, ((2 * n - 1) * x * current - (n - 1) * previous) / n
            slope = order * (x * current - previous) / (x * x - 1)
            x -= current / slope
        rule.append((x, 2 / ((1 - x * x) * slope * slope)))
    return rule


def panels(breaks, longest, rule):
    """Return nodes and weights on the intervals between breaks, cut into panels of at most 2 * longest."""
    nodes, weights = [], []
    for low, high in pairwise(breaks):
        count = int(mp.ceil((high - low) / (2 * longest)))
        half = (high - low) / (2 * count)
        for k in range(count):
            centre = low + (2 * k + 1) * half
            nodes += [centre + half * x for x, _ in rule]
            weights += [half * w for _, w in rule]
    return nodes, weights


class Resolution:
    """How finely a plane or a line is cut."""

    def __init__(self, order, scale, spread, drop):
        self.rule = gauss_legendre(order)
        self.scale, self.spread, self.drop = mpf(scale), spread, drop

    def axis(self, mean, deviation, conditional, breaks=(0,), pole=1):
        """Return nodes and weights on mean ± spread * deviation, split at breaks."""
        longest = min(2 * conditional, mpf("0.8") / pole) * self.scale
        ends = [mean - self.spread * deviation, *breaks, mean + self.spread * deviation]
        return panels(ends, longest, self.rule)


class Plane:
    """The density of one Gaussian on a grid of nodes, with quadrature weights for the functions on either axis."""

    def __init__(self, gaussian, resolution):
        m1, m2, q11, c, q22 = map(rational, gaussian)
        det = q11 * q22 - c * c
        self.u, self.wu = resolution.axis(m1, mp.sqrt(q11), mp.sqrt(det / q22))
        self.v, self.wv = resolution.axis(m2, mp.sqrt(q22), mp.sqrt(det / q11))
        order = sorted(range(len(self.v)), key=self.v.__getitem__)
        self.v, self.wv = [self.v[j] for j in order], [self.wv[j] for j in order]
        norm = 1 / (2 * mp.pi * mp.sqrt(det))
        dv = [v - m2 for v in self.v]
        self.rows = []
        for u in self.u:
            x = u - m1
            # exponent (v - centre)²/(2 width²) + x²/(2 q11); entries beyond `drop` are left out
            centre, width, height = c * x / q11, det / q11, x * x / (2 * q11)
            if height >= resolution.drop:
                self.rows.append((0, 0, []))
                continue
            reach = mp.sqrt(2 * width * (resolution.drop - height))
            inside = [j for j, y in enumerate(dv) if abs(y - centre) < reach]
            if not inside:
                self.rows.append((0, 0, []))
                continue
            first, last = inside[0], inside[-1] + 1
            double = 2 * width
            row = [fixed(norm * mp.exp(-height - (y - centre) ** 2 / double)) for y in dv[first:last]]
            self.rows.append((first, last, row))
        self._left, self._inner = {}, {}

    def expectation(self, name1, sigma, name2, tau):
        """Return E[sigma(u) tau(v)]; the names are cache keys."""
        if name1 not in self._left:
            self._left[name1] = [fixed(w * sigma(u)) for u, w in zip(self.u, self.wu, strict=True)]
        if name2 not in self._inner:
            right = [fixed(w * tau(v)) for v, w in zip(self.v, self.wv, strict=True)]
            self._inner[name2] = [sum(map(operator.mul, row, right[a:b])) >> BITS for a, b, row in self.rows]
        total = sum(map(operator.mul, self._left[name1], self._inner[name2]))
        return mp.ldexp(mpf(total), -2 * BITS)


def line_expectation(gaussian, resolution, sigma, tau):
    """Return E[sigma(u) tau(v)] where v is an affine function of u."""
    m1, m2, q11, c, _ = map(rational, gaussian)
    slope = c / q11
    breaks = sorted({mpf(0), m1 - m2 / slope})
    deviation = mp.sqrt(q11)
    u, weights = resolution.axis(m1, deviation, deviation, breaks, max(1, abs(slope)))
    terms = (
        w * mp.exp(-((x - m1) ** 2) / (2 * q11)) * sigma(x) * tau(m2 + slope * (x - m1))
        for x, w in zip(u, weights, strict=True)
    )
    return mp.fsum(terms) / mp.sqrt(2 * mp.pi * q11)


def agreement(coarse, fine):
    """Return the value to keep and how many digits two results share; tiny values are zero by parity."""
    if abs(coarse) < mpf(10) ** -38 and abs(fine) < mpf(10) ** -38:
        return mpf(0), 38
    if coarse == fine:
        return fine, 50
    return fine, min(50, int(mp.floor(-mp.log10(abs(coarse - fine) / abs(fine)))))


def nested_expectation(gaussian, sigma, tau):
    """Return E[sigma(u) tau(v)] by mpmath.quad over u of mpmath.quad over v given u, sharing nothing with Plane."""
    m1, m2, q11, c, q22 = map(rational, gaussian)
    deviation, width = mp.sqrt(q11), mp.sqrt(q22 - c * c / q11)

    def given(u):
        mean = m2 + c / q11 * (u - m1)
        low, high = mean - 11 * width, mean + 11 * width
        breaks = [low, mpf(0) if low < 0 < high else mean, high]
        return mp.quad(lambda v: tau(v) * normal_pdf((v - mean) / width), breaks) / width

    breaks = [m1 - 11 * deviation, 0, m1 + 11 * deviation]
    return (
        mp.quad(lambda u: sigma(u) * normal_pdf((u - m1) / deviation) * given(u), breaks, method="gauss-legendre")
        / deviation
    )


def check_nested(records):
    """Compare a few records with nested adaptive quadrature in 25-digit arithmetic."""
    for gaussian, pair in product(GAUSSIANS[4:], NESTED):
        (stored,) = (
            mpf(r["value"])
            for r in records
            if (*r["mean"], *r["cov"].values()) == gaussian and r["name"] == "*".join(pair)
        )
        with mp.workdps(25):
            _, digits = agreement(nested_expectation(gaussian, *(ACTIVATIONS[name][1] for name in pair)), stored)
        if digits < 20:
            raise AssertionError(f"{pair} under {gaussian}: nested quadrature agrees to {digits} digits")


def entry(gaussian, name1, name2, value, digits):
    """Return one record of the expectation file."""
    m1, m2, q11, c, q22 = gaussian
    return {
        "name": f"{name1}*{name2}",
        "sigma": ACTIVATIONS[name1][0],
        "tau": ACTIVATIONS[name2][0],
        "mean": [m1, m2],
        "cov": {"q11": q11, "c": c, "q22": q22},
        "value": mp.nstr(value, 30, strip_zeros=False),
        "float": float(value),
        "digits": digits,
    }


def resolutions():
    """Return the coarse and the fine way to cut."""
    return Resolution(40, "1", 16, 140), Resolution(46, "0.9", 17, 155)


def plane_entries(gaussian, pairs, rules):
    """Return the records of all pairs under one regular Gaussian."""
    values = []
    for rule in rules:
        plane = Plane(gaussian, rule)
        values.append([plane.expectation(a, ACTIVATIONS[a][1], b, ACTIVATIONS[b][1]) for a, b in pairs])
    return [
        entry(gaussian, a, b, *agreement(coarse, fine)) for (a, b), coarse, fine in zip(pairs, *values, strict=True)
    ]


def line_entries(gaussian, pairs, rules):
    """Return the records of all pairs under one singular Gaussian."""
    records = []
    for a, b in pairs:
        coarse, fine = (line_expectation(gaussian, rule, ACTIVATIONS[a][1], ACTIVATIONS[b][1]) for rule in rules)
        records.append(entry(gaussian, a, b, *agreement(coarse, fine)))
    return records


EXPECTATION_NOTE = (
    "E[sigma(u) tau(v)] for (u,v) ~ N(mean, [[q11,c],[c,q22]]). Parameters are exact rationals. value: 30 digits; float: "
    "value rounded to float64; digits: leading digits in which two quadratures agree (absolute 1e-38 if value is 0). "
    "entries: regular covariances; singular: c^2 = q11*q22. Written by tests/oracles/reference_values.py."
)


def write_expectations():
    """Write expectation_reference.json."""
    mp.prec = BITS
    check_strings()
    rules = resolutions()
    records, singular = [], []
    for gaussian in GAUSSIANS:
        records += plane_entries(gaussian, PAIRS, rules)
        report(f"Gaussian {gaussian}: at least {min(r['digits'] for r in records[-len(PAIRS) :])} digits")
    check_nested(records)
    report("nested quadrature agrees")
    for gaussian in SINGULAR:
        singular += line_entries(gaussian, PAIRS, rules)
        report(f"Gaussian {gaussian}: at least {min(r['digits'] for r in singular[-len(PAIRS) :])} digits")
    data = {
        "note": EXPECTATION_NOTE,
        "activations": {name: text for name, (text, _) in ACTIVATIONS.items()},
        "entries": records,
        "singular": singular,
    }
    write("expectation_reference.json", data, ("entries", "singular"))


# --- closed forms -------------------------------------------------------------------------------------------------
# Each takes (q11, c, q22) of a centred Gaussian and returns E[σ(u)σ(v)] and E[σ'(u)σ'(v)] (derivative almost everywhere).


def area(q11, c, q22):
    """Return sqrt(q11 q22 - c²), which is sqrt(q11 q22) times the sine of the angle between u and v."""
    return mp.sqrt(max(q11 * q22 - c * c, mpf(0)))


def angle(q11, c, q22):
    """Return the angle between u and v, exactly 0 or π when they are equal or opposite; π/2 when one vanishes."""
    return mp.pi / 2 if q11 * q22 == 0 else mp.atan2(area(q11, c, q22), c)


def linear_pair(q11, c, q22):
    """Return the pair for z."""
    return c, mpf(1)


def abs_pair(q11, c, q22):
    """Return the pair for |z|: (2/π)(sqrt(q11 q22) sinθ + c (π/2 - θ)) and (2/π)(π/2 - θ)."""
    complement = mp.pi / 2 - angle(q11, c, q22)
    return 2 / mp.pi * (area(q11, c, q22) + c * complement), 2 / mp.pi * complement


def leaky_pair(slope):
    """Return the pair function for max(z, 0) + slope min(z, 0) = (1 + slope)/2 z + (1 - slope)/2 |z|."""

    def pair(q11, c, q22):
        odd, even = ((1 + rational(slope)) / 2) ** 2, ((1 - rational(slope)) / 2) ** 2
        kernel, derivative = abs_pair(q11, c, q22)
        return odd * c + even * kernel, odd + even * derivative

    return pair


def rect2_pair(q11, c, q22):
    """Return the pair for z² step(z), the arc-cosine kernel of order 2; the derivative is 2 relu."""
    theta = angle(q11, c, q22)
    second = 3 * area(q11, c, q22) * c + (mp.pi - theta) * (q11 * q22 + 2 * c * c)
    return second / (2 * mp.pi), 4 * leaky_pair("0")(q11, c, q22)[0]


def sign_pair(q11, c, q22):
    """Return the pair for sign(z)."""
    return 1 - 2 * angle(q11, c, q22) / mp.pi, mpf(0)


def step_pair(q11, c, q22):
    """Return the pair for the step."""
    return (1 - angle(q11, c, q22) / mp.pi) / 2, mpf(0)


def erf_pair(q11, c, q22):
    """Return the pair for erf (Williams 1997)."""
    product = (1 + 2 * q11) * (1 + 2 * q22)
    root = mp.sqrt(product - 4 * c * c)
    return 2 / mp.pi * mp.atan2(2 * c, root), 4 / (mp.pi * root)


def gelu_pair(q11, c, q22):
    """Return the pair for z Φ(z), by integration by parts from E[ΦΦ] = cdf and E[φφ] = pdf."""
    det = (1 + q11) * (1 + q22) - c * c
    cdf = mpf(1) / 4 + mp.atan2(c, mp.sqrt(det)) / (2 * mp.pi)
    pdf = 1 / (2 * mp.pi * mp.sqrt(det))
    tails = q11 / (1 + q11) + q22 / (1 + q22)
    slopes = 1 / (1 + q11) + 1 / (1 + q22)
    return c * cdf + pdf * (q11 * q22 + c * c * (1 - tails)), cdf + c * pdf * (slopes + 1 / det)


def waves(q11, c, q22):
    """Return E[cos u cos v] and E[sin u sin v]."""
    near, far = mp.exp(c - (q11 + q22) / 2), mp.exp(-c - (q11 + q22) / 2)
    return (near + far) / 2, (near - far) / 2


def sin_pair(q11, c, q22):
    """Return the pair for sin."""
    cosines, sines = waves(q11, c, q22)
    return sines, cosines


def gauss_pair(q11, c, q22):
    """Return the pair for exp(-z²/2)."""
    det = (1 + q11) * (1 + q22) - c * c
    return 1 / mp.sqrt(det), c / det ** (mpf(3) / 2)


class TanhPair:
    """The pair for tanh by the trapezoid rule; `fineness` shrinks the step of the two-dimensional grid."""

    def __init__(self, fineness):
        self.fineness, self.cache = mpf(fineness), {}

    def __call__(self, q11, c, q22):
        """Return the pair, remembering it."""
        key = (q11, c, q22)
        if key not in self.cache:
            self.cache[key] = self.cache[q22, c, q11] = self.integrate(*key)
        return self.cache[key]

    def integrate(self, q11, c, q22):
        """Return the sums over u = √q11 x, v = √q22 (ρ x + √(1-ρ²) y); poles of tanh at iπ/2 set the step."""
        su, sv = mp.sqrt(q11), mp.sqrt(q22)
        rho = c / (su * sv) if su * sv else mpf(0)
        left, right = sv * rho, sv * mp.sqrt(max(1 - rho * rho, mpf(0)))
        # the error is exp(-2π d/h) for the distance d of the nearest pole, but exp(-2π²/h²) if the pole is far
        strip = mp.pi / (2 * max(su, sv, mpf(1) / 4))
        h = min(2 * mp.pi * strip / 62, mpf("0.5")) / self.fineness
        reach = int(mp.ceil(mpf("11.5") / h))
        gauss = [mp.exp(-((k * h) ** 2) / 2) for k in range(reach + 1)]
        kernel, derivative = mpf(0), mpf(0)
        for i in range(reach + 1):  # (x, y) and (-x, -y) give the same
            x = i * h
            weight = gauss[i] * (1 if i == 0 else 2)
            inner, slopes = mpf(0), mpf(0)
            for j in range(-reach, reach + 1):
                w = gauss[abs(j)]
                if weight * w < 1e-29:
                    continue
                t = mp.tanh(left * x + right * j * h)
                inner += w * t
                slopes += w * (1 - t * t)
            t = mp.tanh(su * x)
            kernel += weight * t * inner
            derivative += weight * (1 - t * t) * slopes
        norm = h * h / (2 * mp.pi)
        return kernel * norm, derivative * norm


# name: (SymPy string, pair, σ, σ'); the last two are for the check of the pair against quadrature.
CLOSED = {
    "identity": ("z", linear_pair, lambda z: z, lambda z: mpf(1)),
    "relu": ("Max(z,0)", leaky_pair("0"), relu, step),
    "leaky_relu": (
        "Max(z,0)+Min(z,0)/100",
        leaky_pair("1/100"),
        lambda z: z if z > 0 else z / 100,
        lambda z: mpf(1) if z > 0 else mpf(1) / 100,
    ),
    "abs": ("Abs(z)", abs_pair, abs, mp.sign),
    "rect2": ("z**2*Heaviside(z)", rect2_pair, lambda z: relu(z) ** 2, lambda z: 2 * relu(z)),
    "sign": ("sign(z)", sign_pair, mp.sign, lambda z: mpf(0)),
    "step": ("Heaviside(z)", step_pair, step, lambda z: mpf(0)),
    "erf": ("erf(z)", erf_pair, mp.erf, lambda z: 2 / mp.sqrt(mp.pi) * mp.exp(-z * z)),
    "gelu": (
        "z*(1+erf(z/sqrt(2)))/2",
        gelu_pair,
        lambda z: z * normal_cdf(z),
        lambda z: normal_cdf(z) + z * normal_pdf(z),
    ),
    "sin": ("sin(z)", sin_pair, mp.sin, mp.cos),
    "cos": ("cos(z)", waves, mp.cos, mp.sin),
    "gaussian": ("exp(-z**2/2)", gauss_pair, lambda z: mp.exp(-z * z / 2), lambda z: -z * mp.exp(-z * z / 2)),
}
TANH = "tanh(z)"


def check_closed_forms():
    """Compare every closed form, and tanh, with quadrature under two covariances; return the fewest agreeing digits."""
    fewest = 50
    for gaussian in (GAUSSIANS[0], GAUSSIANS[2]):
        plane = Plane(gaussian, Resolution(40, "1", 16, 140))
        parameters = [rational(text) for text in gaussian[2:]]
        forms = {name: row[1:] for name, row in CLOSED.items()}
        forms["tanh"] = (TanhPair("1.2"), mp.tanh, lambda z: 1 - mp.tanh(z) ** 2)
        for name, (pair, sigma, slope) in forms.items():
            for form, function, key in zip(pair(*parameters), (sigma, slope), (name, name + "'"), strict=True):
                _, digits = agreement(form, plane.expectation(key, function, key, function))
                if digits < (18 if name == "tanh" else 30):
                    raise AssertionError(f"{key}: closed form and quadrature agree to {digits} digits under {gaussian}")
                fewest = min(fewest, digits if name != "tanh" else 50)
    return fewest


# --- kernels of deep networks -------------------------------------------------------------------------------------

GENERIC = {
    "a": ("0.9", "-0.3", "1.4"),
    "b": ("-0.6", "1.1", "0.5"),
    "c": ("0.2", "0.7", "-1.6"),
    "d": ("1.5", "0.4", "0.8"),
    "e": ("-1.2", "-0.9", "0.1"),
    "f": ("0.05", "-0.45", "0.25"),
}
DEGENERATE = {
    "point": ("0.7", "-0.4", "1.1"),
    "same": ("0.7", "-0.4", "1.1"),
    "near 1e-3": ("0.7005", "-0.3997", "1.0992"),
    "near 1e-6": ("0.7000005", "-0.3999997", "1.0999992"),
    "near 1e-9": ("0.7000000005", "-0.3999999997", "1.0999999992"),
    "opposite": ("-0.7", "0.4", "-1.1"),
    "zero": ("0", "0", "0"),
    "tiny": ("2e-9", "9e-9", "-3e-9"),
    "huge": ("300000.0", "-800000.0", "500000.0"),
}


def binary(text):
    """Return the float64 that a decimal string stands for, exactly."""
    return mpf(float(text))


def first_layer(points, sigma_w, sigma_b, shift=0):
    """Return q1 over the points; shift scales the off-diagonal entries by 1 - shift."""
    rows = [[binary(x) for x in point] for point in points]
    size = len(rows)
    dots = [[mp.fsum(x * y for x, y in zip(p, q, strict=True)) / len(p) for q in rows] for p in rows]
    q = [[binary(sigma_b) ** 2 + binary(sigma_w) ** 2 * dots[i][j] for j in range(size)] for i in range(size)]
    return [[q[i][j] * (1 - shift) if i != j else q[i][j] for j in range(size)] for i in range(size)]


def kernels(first, pairs, sigma_w, sigma_b):
    """Return NNGP and NTK after the read-out of a network with one hidden layer per entry of pairs."""
    w2, b2 = binary(sigma_w) ** 2, binary(sigma_b) ** 2
    size = len(first)
    nngp, ntk = first, first
    for pair in pairs:
        moments = [[pair(nngp[i][i], nngp[i][j], nngp[j][j]) for j in range(i + 1)] for i in range(size)]
        at = [[moments[max(i, j)][min(i, j)] for j in range(size)] for i in range(size)]
        nngp = [[b2 + w2 * at[i][j][0] for j in range(size)] for i in range(size)]
        ntk = [[nngp[i][j] + w2 * at[i][j][1] * ntk[i][j] for j in range(size)] for i in range(size)]
    return nngp, ntk


def floats(matrix):
    """Round a matrix to float64."""
    return [[float(x) for x in row] for row in matrix]


def changes(matrix, other):
    """Return the absolute differences with two digits."""
    return [
        [float(f"{float(abs(x - y)):.1e}") for x, y in zip(r, s, strict=True)]
        for r, s in zip(matrix, other, strict=True)
    ]


def network(label, strings, layers, inputs, names, sigma_w, sigma_b):
    """Return the record of one network; layers are pair functions, computed in 60 and in 110 digits."""
    points = [inputs[name] for name in names]
    results = []
    for digits in (60, 110):
        with mp.workdps(digits):
            results.append(kernels(first_layer(points, sigma_w, sigma_b), layers, sigma_w, sigma_b))
    coarse, fine = ([floats(k) for k in result] for result in results)
    if coarse != fine:
        raise AssertionError(f"{label}: 60 and 110 digits round differently")
    record = {"name": label, "activations": strings, "depth": len(layers), "sigma_w": sigma_w, "sigma_b": sigma_b}
    record |= {"inputs": names, "nngp": fine[0], "ntk": fine[1]}
    if inputs is DEGENERATE:
        with mp.workdps(110):
            shifted = first_layer(points, sigma_w, sigma_b, mpf(2) ** -53)
            moved = kernels(shifted, layers, sigma_w, sigma_b)
            record["nngp_rounding"], record["ntk_rounding"] = map(changes, results[1], moved)
    return record


def tanh_network(inputs, names, sigma_w, sigma_b):
    """Return the record of a tanh network of depth 3 and the digits in which two step sizes agree."""
    points = [inputs[name] for name in names]
    with mp.workdps(30):
        first = first_layer(points, sigma_w, sigma_b)
        coarse, fine = (kernels(first, [TanhPair(f)] * 3, sigma_w, sigma_b) for f in ("1", "1.15"))
    flat = ([x for matrix in result for row in matrix for x in row] for result in (coarse, fine))
    digits = min(agreement(x, y)[1] for x, y in zip(*flat, strict=True))
    if digits < 18:
        raise AssertionError(f"tanh: {digits} digits")
    record = {"name": "tanh", "activations": [TANH] * 3, "depth": 3, "sigma_w": sigma_w, "sigma_b": sigma_b}
    return record | {"inputs": names, "nngp": floats(fine[0]), "ntk": floats(fine[1])}, digits


HOMOGENEOUS = ("identity", "relu", "leaky_relu", "abs")
KERNEL_NOTE = (
    "NNGP and NTK of fully connected networks. q1 = sigma_b^2 + sigma_w^2 x.x'/d, ntk1 = q1; for each of the `depth` "
    "hidden layers q <- sigma_b^2 + sigma_w^2 E[s(u)s(v)], ntk <- q + sigma_w^2 E[s'(u)s'(v)] ntk, s' almost everywhere "
    "(0 for sign and step). Inputs, sigma_w and sigma_b are decimal strings and stand for the exact value of their "
    "float64. Values are correctly rounded to float64 (tanh: 18 or more digits). *_rounding: absolute change of the entry "
    "when the off-diagonal entries of q1 change by a relative -2^-53, the best that float64 arithmetic from q1 on can "
    "do without treating special cases. Written by tests/oracles/reference_values.py."
)


def closed_records(set_name, inputs):
    """Return the records of all networks with closed forms on one set of inputs."""
    records = []
    for name, (text, pair, _, _) in CLOSED.items():
        sigma_w = "0.5" if name == "rect2" else "1.3"
        for sigma_b in ("0.0", "0.4"):
            names = list(inputs)
            if set_name == "degenerate":
                if sigma_b == "0.0" and name not in (*HOMOGENEOUS, "sign"):
                    continue
                if name == "rect2":
                    names.remove("huge")  # overflows at depth 5
                if sigma_b == "0.0" and name == "sign":
                    names.remove("zero")  # depends on sign(0)
            for depth in (3, 5):
                records.append(network(name, [text] * depth, [pair] * depth, inputs, names, sigma_w, sigma_b))
    mixed = ("relu", "erf", "sin")
    strings, layers = [CLOSED[n][0] for n in mixed], [CLOSED[n][1] for n in mixed]
    for sigma_b in ("0.0", "0.4"):
        records.append(network(", ".join(mixed), strings, layers, inputs, list(inputs), "1.3", sigma_b))
    return records


def write_kernels():
    """Write deep_kernels.json."""
    mp.prec = BITS
    report(f"closed forms and quadrature share at least {check_closed_forms()} digits")
    data = {"note": KERNEL_NOTE, "inputs": {"generic": GENERIC, "degenerate": DEGENERATE}}
    for set_name, inputs in (("generic", GENERIC), ("degenerate", DEGENERATE)):
        data[set_name] = closed_records(set_name, inputs)
        report(f"{set_name}: {len(data[set_name])} networks with closed forms")
        names = [name for name in inputs if name != "huge"]
        record, digits = tanh_network(inputs, names, "1.3", "0.4")
        data[set_name].append(record)
        report(f"{set_name}: tanh, at least {digits} digits")
    write("deep_kernels.json", data, ("generic", "degenerate"))


def write(name, data, lists):
    """Write JSON with one line per record of the named lists."""
    parts = []
    for key, value in data.items():
        if key in lists:
            body = ",\n".join(json.dumps(record, ensure_ascii=False) for record in value)
            parts.append(f"{json.dumps(key)}: [\n{body}\n]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    (DATA / name).write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


START = time.monotonic()


def report(text):
    """Print progress with the elapsed seconds."""
    print(f"{time.monotonic() - START:7.1f} s  {text}", flush=True)


def main():
    """Write both files, or the one named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=("expectations", "kernels"))
    only = parser.parse_args().only
    if only != "kernels":
        write_expectations()
    if only != "expectations":
        write_kernels()


if __name__ == "__main__":
    main()
