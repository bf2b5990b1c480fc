"""Smallest examples for the corrections on actions, Edgeworth series and priors."""

import math
from collections.abc import Callable

import numpy as np

from fieldflow.errata_examples import (
    ENUMERATION,
    QUADRATURE,
    SAMPLING,
    Example,
    generator,
    grid_mean,
    legendre,
    normal_nodes,
)
from fieldflow.formulas import compiled


def edgeworth() -> Example:
    """A biased coin, standardised: E He_6 is c_6, for Hermite polynomials are orthogonal to p_0 and its derivatives."""
    chance = 0.25
    spread = math.sqrt(chance * (1.0 - chance))
    faces, weights = (np.array([1.0, 0.0]) - chance) / spread, np.array([chance, 1.0 - chance])
    moments = {n: float(weights @ faces**n) for n in range(3, 7)}
    kappa_6 = moments[6] - 15.0 * moments[4] - 10.0 * moments[3] ** 2 + 30.0
    hermite = float(weights @ np.polynomial.hermite_e.hermeval(faces, [0, 0, 0, 0, 0, 0, 1]))
    corrected = float(compiled("erratum.eq39")(moments[3], kappa_6))
    return Example(
        r"$c_6$ of a coin with $P = \frac14$, standardised", moments[6], corrected, hermite, 0.0, ENUMERATION
    )


def free_action() -> Example:
    """⟨φ²⟩ for G = 1, μ = 1/2."""
    mean, variance = 0.5, 1.0
    grid = np.linspace(-14.0, 15.0, 4001)
    printed = grid_mean(np.exp(-(grid**2) / variance), grid**2)
    corrected = grid_mean(np.exp(-compiled("erratum.eq41")(grid, mean, variance)), grid**2)
    nodes, weights = normal_nodes()
    truth = float(weights @ (mean + math.sqrt(variance) * nodes) ** 2)
    return Example(r"$\langle\phi^2\rangle$ for $G = 1$, $\mu = \frac12$", printed, corrected, truth, 0.0, QUADRATURE)


def quadratic_shift() -> Example:
    """Change of ⟨φ²⟩ per κ₄ at fixed G = 1; truth: a mixture of two Gaussians, whose variance is 1 whatever κ₄ is."""
    nodes, weights = normal_nodes()
    action = compiled("erratum.eq42")
    first = action(nodes, 1.0, 1.0) - action(nodes, 1.0, 0.0)
    quartic = -(nodes**4) / 24.0

    def slope(term: np.ndarray) -> float:
        return float(-(weights @ (nodes**2 * term)) + (weights @ term) * (weights @ nodes**2))

    widths = np.array([0.9, 1.1])
    kappa = 3.0 * float(np.mean(widths**2)) - 3.0
    truth = (float(np.mean(widths)) - 1.0) / kappa
    return Example(r"$\partial\langle\phi^2\rangle/\partial\kappa_4$ at $G = 1$, first order", slope(quartic), slope(first),
                   truth, 0.0, ENUMERATION)  # fmt: skip


def readout_prior() -> Example:
    """P(|w| < 1) of a redrawn weight, s_w = 1/4; a flat law on the line gives every interval the probability 0."""
    nodes, weights = legendre(-1.0, 1.0)
    corrected = float(weights @ compiled("erratum.eq54")(nodes, 0.25))
    drawn = np.abs(0.5 * generator(54).standard_normal(400_000)) < 1.0
    error = float(drawn.std() / math.sqrt(drawn.size))
    return Example(
        r"$P(|w| < 1)$ of a redrawn weight, $s_w = \frac14$", 0.0, corrected, float(drawn.mean()), error, SAMPLING
    )


def fan_in() -> Example:
    """Output variance at width 64 over that at width 32: 1 if there is a limit.  One hidden ReLU layer, d = 1, |x| = 1."""
    members, square = 40_000, 0.5  # E relu(z)² = 1/2
    corrected = float(compiled("erratum.eq61")(1.0, square)) / float(compiled("erratum.eq61")(1.0, square))
    random, means, errors = generator(61), [], []
    for width in (32, 64):
        hidden = np.maximum(random.standard_normal((members, width)), 0.0)
        squares = np.sum(hidden * random.standard_normal((members, width)), axis=1) ** 2 / width
        means.append(float(squares.mean()))
        errors.append(float(squares.std() / squares.mean() / math.sqrt(members)))
    ratio = means[1] / means[0]
    return Example(r"variance of a ReLU network at width 64 over width 32", 2.0, corrected, ratio,
                   ratio * math.hypot(*errors), SAMPLING)  # fmt: skip


def many_data_centre() -> Example:
    """E(μ - μ*)² of posterior draws, ten data of variance 2, flat prior."""
    count, variance, repeats = 10, 2.0, 200_000
    random = generator(71)
    centres = math.sqrt(variance) * random.standard_normal((repeats, count)).mean(axis=1)
    draws = (centres + math.sqrt(variance / count) * random.standard_normal(repeats)) ** 2
    error = float(draws.std() / math.sqrt(repeats))
    corrected = float(compiled("erratum.eq71")(float(count), variance))
    return Example(r"$\mathrm{E}(\mu - \mu_\ast)^2$ of posterior draws, $|D| = 10$, $\sigma^2 = 2$", variance / count, corrected,
                   float(draws.mean()), error, SAMPLING)  # fmt: skip


EXAMPLES: dict[str, Callable[[], Example]] = {
    "eq39": edgeworth,
    "eq41": free_action,
    "eq42": quadratic_shift,
    "eq54": readout_prior,
    "eq61": fan_in,
    "eq71": many_data_centre,
}
