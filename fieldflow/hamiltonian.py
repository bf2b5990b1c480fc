"""Does a Markov chain over the parameters find the same theory? No-U-turn Hamiltonian Monte Carlo under π(θ)e^{-O(φ_θ)}.

The parameters are made standard normal (read-out weights are; |b| and the phase through their distribution functions), so that
the dynamics of the prior is solved exactly and only O is integrated.  The sampler is that of the library Mici, an extra.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import special
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fieldflow import inputs
from fieldflow.cosnet import CosNet
from fieldflow.designed import NODES, DesignedTheory
from fieldflow.errors import BadInput
from fieldflow.inputs import Array
from fieldflow.numeric import importance
from fieldflow.numeric.chains import effective_draws, split_rhat
from fieldflow.numeric.symmetric import sorted_tuples, unpacked
from fieldflow.reweighting import MINIMUM_EFFECTIVE, USABLE, Estimate
from fieldflow.verdict import UNDERPOWERED

EXTRA = "mici"
MAXIMUM_RHAT = 1.02
"""R̂ of fields or their squares above which chains are underpowered."""

_SQRT2 = float(np.sqrt(2.0))


class Posterior:
    """Field, interaction and its gradient as functions of the standard normal parameters θ = (ω, g, v) of one network."""

    def __init__(self, theory: DesignedTheory, coupling: float) -> None:
        self.net, self.points = theory.net, len(theory.points)
        self.width, self.columns = int(theory.net.width or 1), theory.columns
        self.weights = theory.quadrature[1]
        self.potential = np.polynomial.Polynomial(coupling * np.array(theory.coefficients))
        self.force = self.potential.deriv()
        self.unit = float(theory.net.sigma_w or 0.0) / np.sqrt(self.width)

    @property
    def dimension(self) -> int:
        """Number of parameters: N(d + 2)."""
        return self.width * (self.net.d + 2)

    def _parts(self, theta: Array) -> tuple[Array, Array, Array]:
        cut = self.width * (self.net.d + 1)
        return theta[: self.width], theta[self.width : cut].reshape(self.width, self.net.d), theta[cut:]

    def _radial(self, g: Array) -> tuple[Array, Array]:
        """Return s and s'/|g| where b = s(|g|) g has the law of the frequencies."""
        if self.net.regulator != "ball":
            return np.full(len(g), self.net.radius), np.zeros(len(g))
        d = self.net.d
        norm = np.maximum(np.linalg.norm(g, axis=1), 1e-12)
        chance = special.gammainc(0.5 * d, 0.5 * norm**2)
        density = norm ** (d - 1) * np.exp(-0.5 * norm**2 - special.gammaln(0.5 * d)) * 2.0 ** (1.0 - 0.5 * d)
        length = self.net.radius * chance ** (1.0 / d)
        growth = length * density / (d * chance)
        return length / norm, (growth - length / norm) / norm**2

    def _waves(self, theta: Array, columns: Array) -> tuple[Array, Array, Array, Array, Array]:
        omega, g, v = self._parts(theta)
        scale, bend = self._radial(g)
        b = scale[:, None] * g
        amplitude = self.unit / np.sqrt(np.sum(b**2, axis=1) + self.net.mass**2)
        return omega, b, b @ columns + np.pi * special.erf(v / _SQRT2)[:, None], amplitude, bend

    def field(self, theta: Array) -> Array:
        """Return φ at the points (p,)."""
        omega, _, angle, amplitude, _ = self._waves(theta, self.columns[:, : self.points])
        return np.asarray((omega * amplitude) @ np.cos(angle))

    def action(self, theta: Array) -> float:
        """Return coupling·O(φ_θ)."""
        omega, _, angle, amplitude, _ = self._waves(theta, self.columns[:, self.points :])
        return float(self.weights @ self.potential((omega * amplitude) @ np.cos(angle)))

    def gradient(self, theta: Array) -> tuple[Array, float]:
        """Return the gradient of ``action``, and its value."""
        nodes = self.columns[:, self.points :]
        omega, b, angle, amplitude, bend = self._waves(theta, nodes)
        _, g, v = self._parts(theta)
        cosine = np.cos(angle)
        field = (omega * amplitude) @ cosine
        force = self.weights * self.force(field)
        onto_cosine = cosine @ force
        pulled = -(omega * amplitude)[:, None] * np.sin(angle) * force
        toward_b = pulled @ nodes.T
        toward_b -= ((omega * amplitude * onto_cosine) / (np.sum(b**2, axis=1) + self.net.mass**2))[:, None] * b
        scale, _ = self._radial(g)
        toward_g = scale[:, None] * toward_b + (bend * np.sum(g * toward_b, axis=1))[:, None] * g
        toward_v = pulled.sum(axis=1) * np.sqrt(2.0 * np.pi) * np.exp(-0.5 * v**2)
        value = float(self.weights @ self.potential(field))
        return np.concatenate([amplitude * onto_cosine, toward_g.reshape(-1), toward_v]), value


@dataclass(frozen=True, eq=False)
class Chains:
    """Draws of a designed theory: ``fields`` (chains, draws, p); estimates as those of ``Reweighted``."""

    theory: DesignedTheory
    fields: Array
    acceptance: float

    @cached_property
    def rhat(self) -> float:
        """Largest split R̂ of the fields and their squares."""
        series = np.concatenate([self.fields, self.fields**2], axis=2)
        return max(split_rhat(series[:, :, i]) for i in range(series.shape[2]))

    @cached_property
    def effective_size(self) -> float:
        """Smallest effective number of draws of the fields and their squares."""
        series = np.concatenate([self.fields, self.fields**2], axis=2)
        return min(effective_draws(series[:, :, i]) for i in range(series.shape[2]))

    @property
    def status(self) -> str:
        """ "usable", or "underpowered" for fewer than 400 effective draws or R̂ > 1.02."""
        good = self.effective_size >= MINIMUM_EFFECTIVE and self.rhat <= MAXIMUM_RHAT
        return USABLE if good else UNDERPOWERED

    def two_point(self) -> Estimate:
        """Return the connected two-point function (p, p)."""
        fields, weights = self._flat()
        return self._estimate(*importance.two_point_influence(fields, weights, sorted_tuples(fields.shape[1], 2)), 2)

    def four_point(self) -> Estimate:
        """Return the connected four-point function (p, p, p, p)."""
        fields, weights = self._flat()
        cells = sorted_tuples(fields.shape[1], 4)
        return self._estimate(*importance.four_point_influence(fields, weights, cells, self.theory.even), 4)

    def _flat(self) -> tuple[Array, Array]:
        every = self.fields.reshape(-1, self.fields.shape[2])
        weights = np.ones(len(every))
        return importance.centred(every, weights, self.theory.even)[0], weights

    def _estimate(self, value: Array, influence: Array, rank: int) -> Estimate:
        series = influence.reshape(*self.fields.shape[:2], -1)
        draws = np.array([effective_draws(series[:, :, i]) for i in range(series.shape[2])])
        with np.errstate(divide="ignore"):
            error = influence.std(axis=0, ddof=1) / np.sqrt(draws)
        size = self.fields.shape[2]
        return Estimate(
            unpacked(value, size, rank), unpacked(error, size, rank), self.status, self.effective_size, self.rhat
        )  # fmt: skip


def available() -> bool:
    """Return whether the extra is installed."""
    return importlib.util.find_spec(EXTRA) is not None


def nuts(
    net: CosNet,
    interaction: Any,
    points: Any,
    box: float,
    *,
    coupling: float = 1.0,
    chains: int = 4,
    draws: int = 1000,
    warm_up: int = 300,
    seed: int = 0,
    nodes: int = NODES,
) -> Chains:
    """Return chains over the parameters of one network under π(θ)e^{-coupling·O(φ_θ)}, by the no-U-turn sampler of Mici.

    Equation (44) of arXiv:2405.17538; Betancourt's multinomial no-U-turn sampler (arXiv:1701.02434).

    Parameters
    ----------
    net, interaction, points, box, coupling, nodes
        As for ``Reweighted``.
    chains, draws, warm_up : int
        At least 2 chains; draws per chain after the warm-up, in which the step size is adapted.
    seed : int

    Raises
    ------
    BadInput
        For a bad argument, or if the extra is missing: ``pip install 'fieldflow[design]'``.
    """
    theory = DesignedTheory(net, interaction, points, box, nodes)
    chains = inputs.integer("chains", chains, minimum=2, maximum=1000)
    draws = inputs.integer("draws", draws, minimum=1, maximum=10**7)
    warm_up = inputs.integer("warm_up", warm_up, minimum=1, maximum=10**6)
    inputs.integer("seed", seed, maximum=2**64 - 1)
    posterior = Posterior(theory, inputs.real("coupling", coupling, minimum=0.0))
    mici = _library()
    system = mici.systems.GaussianEuclideanMetricSystem(
        neg_log_dens=posterior.action, grad_neg_log_dens=posterior.gradient
    )
    generator = np.random.Generator(np.random.Philox(seed))
    sampler = mici.samplers.DynamicMultinomialHMC(system, mici.integrators.LeapfrogIntegrator(system), generator)
    starts = [generator.normal(size=posterior.dimension) for _ in range(chains)]
    with threadpool_limits(limits=1, user_api="blas"):
        _, traces, statistics = sampler.sample_chains(
            warm_up, draws, starts, trace_funcs=[lambda state: {"field": posterior.field(state.pos)}],
            adapters=[mici.adapters.DualAveragingStepSizeAdapter(0.8)], display_progress=False, n_worker=1,
        )  # fmt: skip
    acceptance = float(np.mean([np.mean(found) for found in statistics["accept_stat"]]))
    return Chains(theory, np.array(traces["field"]), acceptance)


def _library() -> Any:
    """Return the sampler's package; BadInput that says how to install it."""
    try:
        return importlib.import_module(EXTRA)
    except ImportError as error:
        raise BadInput("nuts: needs the package mici: pip install 'fieldflow[design]'") from error
