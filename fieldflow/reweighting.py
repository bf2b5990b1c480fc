"""Which correlators do reweighted networks have? Members of a free ensemble, each with the weight e^{-O(φ_θ)}.

Equation (44) of arXiv:2405.17538 by self-normalised importance sampling.  Too few effective members, or weights with too heavy
a tail, are a status that travels with every estimate.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldflow import inputs, memory
from fieldflow.cosnet import CosNet
from fieldflow.designed import NODES, DesignedTheory
from fieldflow.errors import Underpowered
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork, Keeper
from fieldflow.numeric import importance
from fieldflow.numeric.cosnet import CosLayer
from fieldflow.numeric.design import DesignBlock, LocalInteraction, design_block, empty_design
from fieldflow.numeric.symmetric import sorted_tuples, unpacked
from fieldflow.processes import Stop
from fieldflow.unit_law import unit_law
from fieldflow.verdict import UNDERPOWERED
from fieldflow.workers import checked_threads

USABLE = "usable"

MINIMUM_EFFECTIVE = 400.0
"""Effective members (or draws of a chain) below which an estimate is underpowered."""

MAXIMUM_K = 0.7
"""Pareto k̂ above which weights are not to be trusted (Vehtari et al., arXiv:1507.02646)."""

_PER_CONTROL = 40
"""Members that a control variate must have."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """A correlator with its standard errors and what may be believed of it.

    Attributes
    ----------
    value, std_error : array
    status : str
        "usable" or "underpowered".
    effective_size : float
        Effective number of independent members.
    diagnostic : float
        The largest Pareto k̂ of weights and influence values (reweighting), or the largest R̂ (chains).
    """

    value: Array
    std_error: Array
    status: str
    effective_size: float
    diagnostic: float

    def usable(self) -> "Estimate":
        """Return the estimate itself.

        Raises
        ------
        Underpowered
            If it is not to be used.
        """
        if self.status == UNDERPOWERED:
            raise Underpowered(
                f"estimate: underpowered: effective size {self.effective_size:.3g} (at least {MINIMUM_EFFECTIVE:g} needed), "
                f"diagnostic {self.diagnostic:.3g}"
            )
        return self


@dataclass(frozen=True, eq=False)
class Reweighted:
    """The designed theory of parameters reweighted by e^{-coupling·O(φ_θ)}, O = ∫_box V(φ), from one free ensemble.

    Equation (44) of arXiv:2405.17538.  Member m is a pure function of (seed, m); the numbers do not depend on threads.

    Parameters
    ----------
    net : CosNet
        With a width; any dimension.
    interaction : SymPy expression
        V(φ): a polynomial in one symbol, bounded below.
    points : array_like (p, d)
    box : float
        Half width of the box.
    members : int
        Networks drawn; too few are a status, not an error.
    seed : int
    nodes : int
        Gauss-Legendre nodes along each axis of the box: they define O.
    coupling : float
        In front of V, >= 0; ``at`` changes it without new networks.
    threads : int, optional

    Raises
    ------
    BadInput

    >>> import sympy as sp
    >>> net = CosNet(d=1, radius=4.0, mass=1.0, width=20)
    >>> theory = Reweighted(net, sp.Symbol("phi") ** 4, [[0.0], [0.5]], box=1.0, members=64)
    >>> theory.status, theory.two_point().value.shape
    ('underpowered', (2, 2))
    """

    net: CosNet
    interaction: Any
    points: Any
    box: float
    members: int
    seed: int = 0
    nodes: int = NODES
    coupling: float = 1.0
    threads: int | None = None

    def __post_init__(self) -> None:
        inputs.integer("members", self.members, minimum=1)
        inputs.integer("seed", self.seed, maximum=2**64 - 1)
        inputs.real("coupling", self.coupling, minimum=0.0)
        checked_threads(self.threads)
        self.theory  # noqa: B018  # refuses what is no theory

    @cached_property
    def theory(self) -> DesignedTheory:
        """The theory."""
        return DesignedTheory(self.net, self.interaction, self.points, self.box, self.nodes)

    def at(self, coupling: float) -> "Reweighted":
        """Return the theory with another coupling, on the same networks."""
        other = replace(self, coupling=coupling)
        other.__dict__.update(theory=self.theory, sample=self.sample, controls=self.controls)
        return other

    @cached_property
    def sample(self) -> DesignBlock:
        """The free networks: fields (members, p), O at coupling 1 (members,), and the Schwinger-Dyson pair (members, p)."""
        return draw(self, Keeper(), lambda _: None)

    @cached_property
    def log_weights(self) -> Array:
        """-coupling·O of every member."""
        return np.asarray(-self.coupling * self.sample.action)

    @cached_property
    def weights(self) -> Array:
        """Weights of the members, of mean one."""
        return importance.weights_of(self.log_weights)

    @cached_property
    def effective_size(self) -> float:
        """(Σw)²/Σw²."""
        return importance.effective_size(self.log_weights)

    @cached_property
    def pareto_k(self) -> float:
        """Shape k̂ of the tail of the weights; infinite with too few members to tell."""
        return importance.pareto_k(self.log_weights)

    @property
    def log_partition(self) -> float:
        """ln Z/Z_0, the logarithm of the free average of e^{-coupling·O}."""
        return importance.log_mean(self.log_weights)

    @property
    def status(self) -> str:
        """ "usable", or "underpowered" for fewer than 400 effective members or k̂ > 0.7."""
        good = self.effective_size >= MINIMUM_EFFECTIVE and self.pareto_k <= MAXIMUM_K
        return USABLE if good else UNDERPOWERED

    def mean(self) -> Estimate:
        """Return ⟨φ⟩ (p,)."""
        value = np.mean(self.weights[:, None] * self.sample.fields, axis=0)
        return self._estimate(value, self.weights[:, None] * (self.sample.fields - value), None)

    def two_point(self) -> Estimate:
        """Return the connected two-point function (p, p), with free moments as control variates."""
        pairs = sorted_tuples(self.sample.fields.shape[1], 2)
        return self._estimate(*self.two_point_samples(pairs), 2)

    def four_point(self) -> Estimate:
        """Return the connected four-point function (p, p, p, p), with free moments as control variates."""
        quadruples = sorted_tuples(self.sample.fields.shape[1], 4)
        return self._estimate(*self.four_point_samples(quadruples), 4)

    def two_point_samples(self, pairs: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return the two-point function at pairs of points (cells, 2), and influence values (members, cells).

        The mean of the influence values is zero, their covariance over the number of members that of the estimates.
        """
        fields, _ = importance.centred(self.sample.fields, self.weights, self.theory.even)
        value, influence = importance.two_point_influence(fields, self.weights, pairs)
        return (value, influence) if self.controls is None else self.controls.apply(value, influence)

    def four_point_samples(self, quadruples: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return the four-point function at quadruples of points (cells, 4), and influence values (members, cells)."""
        even = self.theory.even
        fields, _ = importance.centred(self.sample.fields, self.weights, even)
        return importance.four_point_influence(fields, self.weights, quadruples, even, self.controls)

    def schwinger_dyson_samples(self, factor: float = 1.0) -> Array:
        """Return weight·(φ_xφ_1 - K_h(x, x_1) + Σ_z K_h(x, z)O'(z)φ_1) of every member, (members, p): mean zero.

        Exact at any width and coupling (``design.schwinger_dyson``); x_1 is the first point, ``factor`` multiplies O'.
        """
        found = self.sample.free + factor * self.coupling * self.sample.bound
        return np.asarray(self.weights[:, None] * found)

    @cached_property
    def controls(self) -> importance.Controls | None:
        """Products of fields minus their exact free means (members, k): pairs, and in d = 1 with the ball quadruples.

        Of at most three points, the first, a middle and the last one; the means hold at any width.  None with too few
        members for so many.
        """
        theory, fields = self.theory, self.sample.fields
        size = fields.shape[1]
        chosen = np.unique([0, size // 2, size - 1])
        pairs = sorted_tuples(size, 2)
        found = [fields[:, pairs[:, 0]] * fields[:, pairs[:, 1]] - theory.propagator[pairs[:, 0], pairs[:, 1]]]
        if theory.net.d == 1 and theory.net.regulator == "ball":
            means = free_fourth_moments(theory)
            for cell in chosen[sorted_tuples(len(chosen), 4)]:
                found.append((np.prod(fields[:, cell], axis=1) - means[tuple(cell)])[:, None])
        controls = np.concatenate(found, axis=1)
        return importance.Controls(controls) if self.members >= _PER_CONTROL * controls.shape[1] else None

    def _estimate(self, value: Array, influence: Array, rank: int | None) -> Estimate:
        few = len(influence) < 2
        error = np.full(len(value), np.inf) if few else influence.std(axis=0, ddof=1) / np.sqrt(len(influence))
        worst, known = importance.heaviest_tail(influence)
        shape = max(self.pareto_k, worst)
        good = self.status == USABLE and shape <= MAXIMUM_K and known
        if rank is not None:
            size = self.sample.fields.shape[1]
            value, error = unpacked(value, size, rank), unpacked(error, size, rank)
        return Estimate(value, error, USABLE if good else UNDERPOWERED, self.effective_size, shape)


def free_fourth_moments(theory: DesignedTheory) -> Array:
    """Return E[φφφφ] (p, p, p, p) of the free network: exact at any width, d = 1 and the ball.

    E K_h K_h over three pairings; given the hidden layer the field is Gaussian.
    """
    size = len(theory.points)
    weights, features = unit_law(theory.net, theory.columns[:, :size])
    free = theory.propagator[:size, :size]
    both = np.einsum("q,qa,qb,qc,qd->abcd", weights, features, features, features, features, optimize=True)
    width = float(theory.net.width or 1)
    product = np.einsum("ab,cd->abcd", free, free) * (1.0 - 1.0 / width) + both / width
    total: Array = product + product.transpose(0, 2, 1, 3) + product.transpose(0, 2, 3, 1)
    return total


def draw(free: Reweighted, keeper: Keeper, progress: Callable[[int], None], label: str = "free") -> DesignBlock:
    """Return what the interaction sees of the free networks; ``label`` names the shards."""
    theory, members, size = free.theory, free.members, len(free.theory.points)
    memory.require(8 * (10 * size + size**2 + 60) * members, f"{members} members at {size} points")
    return keeper.gather(
        label,
        "sample",
        DesignBlock,
        members,
        partial(_work, theory.net.architecture(), theory.columns, theory.compiled(), size, free.seed),
        threads=checked_threads(free.threads),
        progress=progress,
    )


def _work(layer: CosLayer, columns: Array, compiled: LocalInteraction, size: int, seed: int) -> BlockWork[DesignBlock]:
    def work(first: int, count: int, stop: Stop) -> DesignBlock:
        out = empty_design(count, size)
        design_block(layer, np.uint64(seed), first, columns, compiled, out, stop)
        return out

    return work
