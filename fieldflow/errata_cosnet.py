"""Smallest examples for the corrections on cosine networks and free fields: integrals over frequencies, and a few samples."""

import math
from collections.abc import Callable

import numpy as np
from scipy import integrate, optimize, special

from fieldflow.errata_examples import ENUMERATION, QUADRATURE, SAMPLING, Example, generator, legendre, normal_nodes
from fieldflow.formulas import compiled


def cosine() -> Example:
    """Kernel at x = (0.7, 0), y = (0, 0.4), d = 2, R = 2, m = 1; truth: the spectral integral with a Bessel function."""
    radius, mass, x, y = 2.0, 1.0, np.array([0.7, 0.0]), np.array([0.0, 0.4])
    lengths, weight = legendre(0.0, radius)
    angles = np.linspace(0.0, 2.0 * np.pi, 64, endpoint=False)
    b = lengths[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    share = (weight * lengths)[:, None] * (2.0 * np.pi / len(angles)) / (np.pi * radius**2)
    square = np.broadcast_to(lengths[:, None] ** 2, share.shape)
    kernel = compiled("erratum.eq77")
    corrected = float(np.sum(share * kernel(b @ x, b @ y, square, mass)))
    # As printed the sum over components stands outside: every pair of components counts.
    pairs = sum(kernel(b[..., i] * x[i], b[..., j] * y[j], square, mass) for i in range(2) for j in range(2))
    printed = float(np.sum(share * pairs))
    distance = float(np.linalg.norm(x - y))
    truth = float(weight @ (lengths * special.j0(lengths * distance) / (lengths**2 + mass**2))) / radius**2
    return Example(r"kernel at $(0.7, 0)$, $(0, 0.4)$, $R = 2$, $m = 1$", printed, corrected, truth, 0.0, QUADRATURE)


def support() -> Example:
    """Variance of the output, d = 1, R = 2, m = 1; truth: an average over sampled neurons."""
    radius, mass = 2.0, 1.0
    density = np.pi / (2.0 * radius)  # C_1 = 2π/(2 Vol), Vol = 2R
    nodes, weights = legendre(0.0, radius)
    corrected = float(weights @ compiled("erratum.eq81")(nodes, radius, mass, density, 1.0)) / np.pi
    printed = density / (2.0 * mass)
    random = generator(81)
    b, c = radius * random.uniform(-1.0, 1.0, 2_000_000), np.pi * random.uniform(-1.0, 1.0, 2_000_000)
    values = np.cos(c) ** 2 / (b**2 + mass**2)
    error = float(values.std() / math.sqrt(len(values)))
    return Example(r"$\mathrm{Var}\,\phi$, $d = 1$, $R = 2$, $m = 1$, $\sigma_w = 1$", printed, corrected, float(values.mean()),
                   error, SAMPLING)  # fmt: skip


def free_field() -> Example:
    """Variance of the mode p = 2, m = 1; truth: Fourier transform of the covariance e^{-mr}/2m."""
    return _mode(2.0, r"variance of the mode $p = 2$, $m = 1$")


def slides_action() -> Example:
    """The same at p = 1/2, where the printed weight can be normalised."""
    return _mode(0.5, r"variance of the mode $p = \frac12$, $m = 1$")


def _mode(momentum: float, quantity: str) -> Example:
    mass = 1.0
    grid = np.linspace(-12.0, 12.0, 4001)
    corrected = float(np.average(grid**2, weights=np.exp(-compiled("erratum.eq84")(momentum, mass, grid))))
    printed = 1.0 / (2.0 * (mass**2 - momentum**2))
    truth = (
        2.0 * integrate.quad(lambda r: math.exp(-mass * r) / (2.0 * mass), 0.0, np.inf, weight="cos", wvar=momentum)[0]
    )
    return Example(quantity, printed, corrected, float(truth), 0.0, QUADRATURE)


def learnt_mean() -> Example:
    """Mean at the one training point, y = 1, Λ = 0.1, R = 4, m = 1; truth: 400 networks of 4000 neurons."""
    radius, mass, cut, width, members = 4.0, 1.0, 0.1, 4000, 400
    corrected = float(compiled("erratum.eq86")(1.0, radius, mass, cut, 1.0))
    random = generator(86)
    b = radius * random.uniform(-1.0, 1.0, (members, width))
    c = np.pi * random.uniform(-1.0, 1.0, (members, width))
    square = np.cos(0.3 * b + c) ** 2 / (b**2 + mass**2)
    stiff = 1.0 / (2.0 * (b**2 + mass**2)) >= cut
    means = (square * stiff).sum(axis=1) / square.sum(axis=1)
    return Example(r"mean at the training point, $y = 1$, $\Lambda = 0.1$, $R = 4$, $m = 1$", 0.0, corrected,
                   float(means.mean()), float(means.std() / math.sqrt(members)), SAMPLING)  # fmt: skip


def effective_variance() -> Example:
    """E|w|² for w̄ = (1, 2), Ξ = 1/4; as printed the free index is read as the first neuron."""
    average, covariance = np.array([[1.0], [2.0]]), 0.25 * np.eye(2)
    corrected = float(compiled("erratum.eq87")(covariance, average))
    printed = float(np.trace(covariance)) + 1.0
    nodes, weights = normal_nodes()
    truth = float(sum(weights @ (mean + 0.5 * nodes) ** 2 for mean in (1.0, 2.0)))
    return Example(r"$\sigma_w^2(\Lambda)$, $\bar w = (1, 2)$, $\Xi = \frac14 \mathbf{1}$", printed, corrected, truth, 0.0,
                   ENUMERATION)  # fmt: skip


def pole() -> Example:
    """G(1)/G(0) for m = 1 and C_d σ_w²(Λ) = 4: the printed mass would be 1/2."""
    mass, distance, factor = 1.0, 1.0, 4.0
    corrected = float(compiled("erratum.eq89")(mass, distance))
    printed = math.exp(-mass * distance / math.sqrt(factor))
    near = integrate.quad(lambda p: factor / (p**2 + mass**2), 0.0, np.inf, weight="cos", wvar=distance)[0]
    whole = integrate.quad(lambda p: factor / (p**2 + mass**2), 0.0, np.inf)[0]
    return Example(
        r"$G(1)/G(0)$, $m = 1$, $C_d\,\sigma_w^2(\Lambda) = 4$", printed, corrected, near / whole, 0.0, QUADRATURE
    )


def rescaled() -> Example:
    """R' where nothing has flowed, σ_w²(Λ) = 1, R = 2, d = 3; truth: the ball of equal volume, by integration over slices."""
    radius, dimension = 2.0, 3.0
    corrected = float(compiled("erratum.eq90")(radius, 1.0, dimension))
    printed = radius * 2.0 ** (1.0 / dimension)

    def volume(size: float) -> float:
        nodes, weights = legendre(-size, size)
        return float(weights @ (np.pi * (size**2 - nodes**2)))

    truth = optimize.brentq(lambda size: volume(size) - volume(radius), 0.5, 5.0, xtol=1e-13)
    return Example(
        r"$R'$ at $\sigma_w^2(\Lambda) = 1$, $R = 2$, $d = 3$", printed, corrected, float(truth), 0.0, QUADRATURE
    )


def beta() -> Example:
    """β/λ₄ of ReLU, d = 1: minus the logarithmic slope of the box integral of four kernels."""
    corrected = float(compiled("erratum.slides_beta")(1.0, 1.0))
    points = np.array([0.2, 0.4, 0.6, 0.8])

    def box(size: float) -> float:
        nodes, weights = legendre(0.0, size)
        legs = points[:, None] * nodes / 2.0  # K vanishes for y < 0 when all points are positive
        return float(weights @ np.prod(legs, axis=0))

    size, step = 3.0, 1e-4
    truth = -(math.log(box(size * math.exp(step))) - math.log(box(size * math.exp(-step)))) / (2.0 * step)
    return Example(r"$\beta/\lambda_4$ of ReLU, $\sigma_b = 0$, $d = 1$", -1.0, corrected, truth, 0.0, QUADRATURE)


EXAMPLES: dict[str, Callable[[], Example]] = {
    "eq77": cosine,
    "eq81": support,
    "eq84": free_field,
    "eq86": learnt_mean,
    "eq87": effective_variance,
    "eq89": pole,
    "eq90": rescaled,
    "slides_action": slides_action,
    "slides_beta": beta,
}
