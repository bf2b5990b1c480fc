"""Independent reference numbers: expectations of products of up to eight activations of Gaussian pre-activations.

Run ``python tests/oracles/npoint_reference.py`` to rewrite ``tests/data/npoint_reference.json`` (a few minutes, mpmath
only, nothing of the package). Pre-activations are z_i = v_i·g with g standard normal in two or three dimensions.

Homogeneous activations: the radius is integrated by hand, the angles numerically. In three dimensions latitude by
latitude: on each circle the integrand is trigonometric between the zeros of v_i·u (Gauss-Legendre), and the outer integrand
is analytic between the latitudes of corners and of the highest and lowest points of the great circles (tanh-sinh, which
takes the square roots there). Other activations: the trapezoidal rule in the plane on two grids that must agree.
"""

import json
from itertools import combinations, pairwise
from pathlib import Path

from mpmath import mp, mpf

DATA = Path(__file__).resolve().parents[1] / "data"
mp.dps = 25


def power(side_below, side_above, k):
    """Return σ(z) = above·z^k for z > 0, below·z^k for z < 0."""
    return lambda z: (side_above if z > 0 else side_below) * z**k


HOMOGENEOUS = {
    "relu": (power(0, 1, 1), 1),
    "abs": (power(-1, 1, 1), 1),
    "leaky_relu": (power(mpf(1) / 100, 1, 1), 1),
    "step": (power(0, 1, 0), 0),
    "sign": (power(-1, 1, 0), 0),
    "relu**2": (power(0, 1, 2), 2),
}
SMOOTH = {
    "erf": mp.erf,
    "tanh": mp.tanh,
    "gelu": lambda z: z * mp.erfc(-z / mp.sqrt(2)) / 2,
    "softplus": lambda z: max(z, mpf(0)) + mp.log1p(mp.exp(-abs(z))),
    "cos": mp.cos,
    "sin": mp.sin,
    "gaussian": lambda z: mp.exp(-(z**2) / 2),
    "z*exp(z-z**2)": lambda z: z * mp.exp(z - z**2),
    "z**3-z": lambda z: z**3 - z,
}


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def radial(degree, dimension):
    """Return E|g|^degree."""
    return mpf(2) ** (mpf(degree) / 2) * mp.gamma(mpf(degree + dimension) / 2) / mp.gamma(mpf(dimension) / 2)


def gauss_rule(count):
    """Return nodes and weights of Gauss and Legendre on [-1, 1]."""
    rule = []
    for k in range(count):
        x = mp.cos(mp.pi * (k + mpf(3) / 4) / (count + mpf(1) / 2))
        for _ in range(8):  # Newton
            value = mp.legendre(count, x)
            slope = count * (x * value - mp.legendre(count - 1, x)) / (x * x - 1)
            x -= value / slope
        rule.append((x, 2 / ((1 - x * x) * slope**2)))
    return rule


RULE = gauss_rule(20)  # for at most eight factors on a quarter turn: below 1e-25


def between(f, breaks):
    """Integrate over a full turn, by the rule between consecutive breaks."""
    inside = sorted({*(mp.pi / 2 * k for k in range(5)), *breaks})
    parts = [((b - a) / 2, (a + b) / 2) for a, b in pairwise(inside)]
    return mp.fsum(half * weight * f(middle + half * x) for half, middle in parts for x, weight in RULE)


def plane(sigma, degree, vectors):
    zeros = [(mp.atan2(v[1], v[0]) + shift * mp.pi / 2) % (2 * mp.pi) for v in vectors for shift in (1, 3) if any(v)]
    f = lambda t: mp.fprod(sigma(v[0] * mp.cos(t) + v[1] * mp.sin(t)) for v in vectors)  # noqa: E731
    return radial(degree * len(vectors), 2) * between(f, zeros) / (2 * mp.pi)


def zeros_on_circle(v, sine, cosine):
    """Return the longitudes where v·u = 0 on a circle of latitude."""
    amplitude = mp.hypot(v[0], v[1]) * sine
    if amplitude <= abs(v[2] * cosine):
        return []
    middle, spread = mp.atan2(v[1], v[0]), mp.acos(-v[2] * cosine / amplitude)
    return [(middle + s * spread) % (2 * mp.pi) for s in (1, -1)]


def space(sigma, degree, vectors):
    def ring(theta):
        sine, cosine = mp.sin(theta), mp.cos(theta)
        flat = [(v[0] * sine, v[1] * sine, v[2] * cosine) for v in vectors]
        f = lambda t: mp.fprod(sigma(a * mp.cos(t) + b * mp.sin(t) + c) for a, b, c in flat)  # noqa: E731
        zeros = [zero for v in vectors for zero in zeros_on_circle(v, sine, cosine)]
        return sine * between(f, zeros)

    latitudes = {mpf(0), mp.pi}
    for v in vectors:
        tilt = mp.atan2(mp.hypot(v[0], v[1]), abs(v[2]))
        latitudes |= {mp.pi / 2 - tilt, mp.pi / 2 + tilt}
    for a, b in combinations(vectors, 2):
        c = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
        if mp.sqrt(dot(c, c)) > 0:
            latitudes |= {mp.acos(s * c[2] / mp.sqrt(dot(c, c))) for s in (1, -1)}
    edges = sorted(latitudes)
    total = mp.fsum(mp.quad(ring, [a, b], maxdegree=5) for a, b in pairwise(edges) if b - a > mpf(10) ** -25)
    return radial(degree * len(vectors), 3) * total / (4 * mp.pi)


def trapezoid(sigma, vectors, count, reach):
    step = 2 * reach / count
    axis = [-reach + step * i for i in range(count + 1)]
    total = mpf(0)
    for x in axis:
        for y in axis:
            total += mp.exp(-(x * x + y * y) / 2) * mp.fprod(sigma(v[0] * x + v[1] * y) for v in vectors)
    return total * step**2 / (2 * mp.pi)


PLANE = {
    "generic": [(1.25, 0.5), (-0.75, 1.0), (0.25, 1.5), (2.0, 0.125)],
    "six": [(1.0, 0.5), (-0.25, 1.0), (0.5, 0.75), (1.5, 0.25), (0.125, 1.25), (0.5, -0.25)],
    "repeated": [(1.25, 0.5), (1.25, 0.5), (2.5, 1.0), (0.25, 1.5)],
}
SPACE = {
    "generic": [(1.0, 0.25, 0.5), (-0.5, 1.0, 0.75), (0.25, -0.5, 1.25), (1.5, 0.5, -0.25)],
    "six": [(1.0, 0.25, 0.5), (-0.25, 1.0, 0.75), (0.25, 0.5, 1.25), (1.5, 0.5, -0.25), (0.5, 0.75, 0.5), (1.0, -0.5, 1.0)],
    "near": [(1.0, 0.25, 0.5), (1.0, 0.25 + 2.0**-20, 0.5), (0.25, -0.5, 1.25), (1.0, 0.25, 0.5 + 2.0**-30)],
    "near a plane": [(1.0, 0.25, 2.0**-20), (-0.5, 1.0, 0.0), (0.25, -0.5, 2.0**-21), (1.5, 0.5, -(2.0**-20))],
}  # fmt: skip
FLAT = [(0.5, 0.75), (-0.25, 1.0), (0.75, 0.25), (0.5, -0.5)]


def entry(activation, case, vectors, value):
    print(activation, case, mp.nstr(value, 17), flush=True)
    return {"activation": activation, "case": case, "vectors": vectors, "value": float(value)}


def exact(vectors):
    return [tuple(mpf(x) for x in v) for v in vectors]


def main():
    entries = []
    for name, (sigma, degree) in HOMOGENEOUS.items():
        for case, vectors in PLANE.items():
            entries.append(entry(name, f"plane: {case}", vectors, plane(sigma, degree, exact(vectors))))
        for case, vectors in SPACE.items():
            if case == "six" and name not in ("relu", "sign"):
                continue
            entries.append(entry(name, f"space, {case}", vectors, space(sigma, degree, exact(vectors))))
    mp.dps = 22
    for name, sigma in SMOOTH.items():
        for vectors in (FLAT, FLAT[:2]):
            coarse, fine = (
                trapezoid(sigma, exact(vectors), count, mpf(reach)) for count, reach in ((110, 11), (160, "11.5"))
            )
            if abs(coarse - fine) > mpf(10) ** -15:
                raise ArithmeticError(f"{name}: the two grids differ by {coarse - fine}")
            entries.append(entry(name, f"plane, {len(vectors)}", vectors, fine))
    path = DATA / "npoint_reference.json"
    path.write_text(json.dumps({"entries": entries}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
