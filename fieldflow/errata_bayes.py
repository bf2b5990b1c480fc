"""Smallest examples for the corrections on Bayesian updating, exact RG as diffusion, and marginalised units."""

import math
from collections.abc import Callable

import numpy as np
from scipy import integrate

from fieldflow.errata_examples import ENUMERATION, QUADRATURE, Example, grid_mean, normal_nodes
from fieldflow.formulas import compiled
from fieldflow.inputs import Array

TIME, TRUTH, VARIANCE, CENTRE, WIDTH = 10.0, 1.5, 2.0, 0.0, 4.0
"""T, μ*, σ², m_0, v_0 of the examples on a normal law."""

_GRID = np.linspace(-12.0, 12.0, 6001)


def inverse_propagator() -> Example:
    """Variance of the free mode p = m = 1 under T.7 with K = 1; truth: Fourier transform of e^{-mr}/2m."""
    corrected = float(compiled("erratum.talk7")(1.0, 1.0, 1.0))
    printed = grid_mean(np.exp(-0.5 * _GRID**2 * 0.5), _GRID**2)
    truth = integrate.quad(lambda r: math.exp(-r), 0.0, np.inf, weight="cos", wvar=1.0)[0]
    return Example(r"$\langle\phi^2\rangle$ of T.7, $p = m = K = 1$", printed, corrected, float(truth), 0.0, QUADRATURE)


def diffusion() -> Example:
    """d⟨φ²⟩/d ln Λ of ρ ∝ e^{-φ²/2P - S_Λ}, S_0 = φ²/2, P_0 = 1, P = 1/2, Ṗ = 1."""
    start, here, rate = 1.0, 0.5, 1.0

    def second(propagator: float) -> float:
        """Return ⟨φ²⟩ with e^{-S_Λ} the average of e^{-S_0} over noise of variance P_0 - P."""
        nodes, weights = normal_nodes(100)
        shifted = _GRID[:, None] + math.sqrt(start - propagator) * nodes
        interaction = np.exp(-0.5 * shifted**2) @ weights
        return grid_mean(np.exp(-0.5 * _GRID**2 / propagator) * interaction, _GRID**2)

    step = 1e-4
    truth = rate * (second(here + step) - second(here - step)) / (2.0 * step)
    variance = second(here)
    corrected = float(compiled("erratum.talk8")(variance, here, rate))
    printed = rate * (2.0 - 4.0 * variance / here)
    return Example(r"$d\langle\phi^2\rangle/d\ln\Lambda$, $S_0 = \frac12\phi^2$, $P_0 = 1$, $P = \frac12$, $\dot P = 1$", printed,
                   corrected, truth, 0.0, QUADRATURE)  # fmt: skip


def exponential_family() -> Example:
    """Total probability of a coin at θ = 1."""
    density = compiled("erratum.talk12")
    corrected = float(density(1.0, 0.0) + density(1.0, 1.0))
    return Example(r"total probability of a coin, $\theta = 1$", 1.0 + math.e, corrected, 1.0, 0.0, ENUMERATION)


def _flowed() -> Array:
    """Return the replicator equation integrated from the prior to T on the grid, by Runge and Kutta."""
    divergence = (_GRID - TRUTH) ** 2 / (2.0 * VARIANCE)
    spacing = _GRID[1] - _GRID[0]
    state: Array = np.exp(-((_GRID - CENTRE) ** 2) / (2.0 * WIDTH))
    state /= state.sum() * spacing

    def slope(density: Array) -> Array:
        rate: Array = -(divergence - np.sum(divergence * density) * spacing) * density
        return rate

    steps = 2000
    dt = TIME / steps
    for _ in range(steps):
        k1 = slope(state)
        k2 = slope(state + 0.5 * dt * k1)
        k3 = slope(state + 0.5 * dt * k2)
        k4 = slope(state + dt * k3)
        state = state + dt / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    return state


def replicator() -> Example:
    """Mean of π_T for a normal law, prior N(0, 4): the replicator equation T.14 integrated in T."""
    corrected = float(compiled("erratum.talk15")(TIME, TRUTH, VARIANCE, CENTRE, WIDTH))
    return Example(r"$\mathrm{E}_{\pi_T}\mu$, $\sigma^2 = 2$, prior $N(0, 4)$, $\mu_\ast = \frac32$, $T = 10$", TRUTH, corrected,
                   grid_mean(_flowed(), _GRID), 0.0, QUADRATURE)  # fmt: skip


def normal_posterior() -> Example:
    """Variance of the same."""
    corrected = float(compiled("erratum.talk19")(TIME, VARIANCE, WIDTH))
    density = _flowed()
    truth = grid_mean(density, _GRID**2) - grid_mean(density, _GRID) ** 2
    return Example(r"$\mathrm{Var}_{\pi_T}\mu$, the same", VARIANCE / TIME, corrected, truth, 0.0, QUADRATURE)


def diffusivity() -> Example:
    """Half the growth rate of the variance of T.20, σ² = 2."""

    def spread(tau: float) -> float:
        return grid_mean(np.exp(-(_GRID**2) / (2.0 * VARIANCE * tau)), _GRID**2)

    step = 1e-3
    truth = (spread(0.5 + step) - spread(0.5 - step)) / (4.0 * step)
    return Example(r"diffusivity of T.20, $\sigma^2 = 2$", VARIANCE, float(compiled("erratum.talk20")(VARIANCE)), truth, 0.0,
                   QUADRATURE)  # fmt: skip


def predictive_diffusion() -> Example:
    """∂_τ p at τ = 0 of an exponential law, θ = y = 1; truth: difference quotients of the predictive, extrapolated."""
    nodes, weights = normal_nodes()

    def quotient(tau: float) -> float:
        theta = 1.0 + math.sqrt(tau) * nodes  # the Fisher information at θ = 1 is 1
        return (float(weights @ (theta * np.exp(-theta))) - math.exp(-1.0)) / tau

    step = 1e-3
    truth = (8.0 * quotient(step / 4.0) - 6.0 * quotient(step / 2.0) + quotient(step)) / 3.0
    printed = math.exp(-1.0)  # θ² ∂_y² p, the drift vanishes
    return Example(r"$\partial_\tau p_\tau(1)$, $p = \theta e^{-\theta y}$, $\theta = 1$", printed,
                   float(compiled("erratum.talk21")(1.0, 1.0)), truth, 0.0, QUADRATURE)  # fmt: skip


def scale_direction() -> Example:
    """d(P_0 - P)/d ln Λ at p = m = Λ = 1; as printed the two scales run the same way."""

    def propagator(scale: float) -> float:
        return math.exp(-1.0 / scale**2) / 2.0

    step = 1e-5
    truth = -(propagator(math.exp(step)) - propagator(math.exp(-step))) / (2.0 * step)
    corrected = float(compiled("erratum.talk_dictionary")(1.0, 1.0, 1.0))
    return Example(r"$d(\sigma^2\tau)/d\ln\Lambda$, $K = e^{-p^2/\Lambda^2}$, $p = m = \Lambda = 1$", -corrected, corrected,
                   truth, 0.0, QUADRATURE)  # fmt: skip


def marginal_energy() -> Example:
    """⟨x⟩ of x = ±1 above one Gaussian unit; a constant H' has the same partition function."""
    a, b, v = 0.3, 0.5, 0.8
    energy = compiled("erratum.note_energy")
    boltzmann = np.exp([-float(energy(x, a, b, v)) for x in (1.0, -1.0)])
    corrected = float((boltzmann[0] - boltzmann[1]) / boltzmann.sum())
    joint = [np.sum(np.exp(a * x + x * v * _GRID - 0.5 * _GRID**2 + b * _GRID)) for x in (1.0, -1.0)]
    truth = float((joint[0] - joint[1]) / (joint[0] + joint[1]))
    return Example(r"$\langle x \rangle$, $a = 0.3$, $b = 0.5$, $v = 0.8$, with the same $Z$", 0.0, corrected, truth, 0.0,
                   QUADRATURE)  # fmt: skip


EXAMPLES: dict[str, Callable[[], Example]] = {
    "talk7": inverse_propagator,
    "talk8": diffusion,
    "talk12": exponential_family,
    "talk15": replicator,
    "talk19": normal_posterior,
    "talk20": diffusivity,
    "talk21": predictive_diffusion,
    "talk_dictionary": scale_direction,
    "note_energy": marginal_energy,
}
