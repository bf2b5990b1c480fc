"""What goes around the commutative diagram? One network with its mesh, its trained ensemble and its linear RG map."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fieldflow.brg import LinearRG
from fieldflow.checks.case import Progress
from fieldflow.ensemble import Trained
from fieldflow.errors import BadInput
from fieldflow.flow import training_matrix
from fieldflow.formulas import compiled
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork, Keeper
from fieldflow.numeric.ensemble import DIVERGENCE
from fieldflow.processes import Stop
from fieldflow.rows import stacked, until_told

_CURVE = 80
"""Cut-offs, besides those of the experiment, at which curves are drawn."""


class Outputs(NamedTuple):
    """f_Λ on the mesh, (used members, cutoffs, m), the cut-off 0 first; indices of the used members."""

    values: Array
    used: NDArray[np.int64]


class Simulated(NamedTuple):
    """f_Λ on the mesh of all members, (members, cutoffs, m), and which of them diverged (members,)."""

    values: Array
    diverged: NDArray[np.bool_]


class Given(NamedTuple):
    """Mean (members, cutoffs, m) and covariances (members, cutoffs, m, m) on the mesh of members given their hidden layers."""

    mean: Array
    resampled: Array
    pruned: Array


class Moments(NamedTuple):
    """Of each member: mean (members, cutoffs, m) and covariance by mode (members, cutoffs, m, m) on the mesh, given its
    hidden layer; the cut-off 0 first.  A sampled function is its own mean, without covariance.
    """

    mean: Array
    covariance: Mapping[str, Array]


@dataclass(frozen=True)
class Leg(ABC):
    """One network on its way around the diagram; what kind of network is for the subclasses to say.

    ``mesh`` (m, d_in) holds the training inputs first; ``grid`` the cut-offs, 0 first; ``stated`` the positions in the mesh
    at which moments are compared; ``widths`` the scan, each with ``scan_members`` members of their own.
    """

    label: str
    mesh: Array
    trained: Trained
    grid: Array
    stated: NDArray[np.int64]
    width: int
    members: int
    widths: tuple[int, ...]
    scan_members: int
    frozen_members: int
    seed: int
    threads: int
    keeper: Keeper = field(default_factory=Keeper, kw_only=True)

    @property
    def alone(self) -> Self:
        """The same leg as it may go to another process: without its keeper."""
        return replace(self, keeper=Keeper())

    @property
    @abstractmethod
    def conventions(self) -> Mapping[str, str]:
        """Return the conventions of the network."""

    @property
    @abstractmethod
    def note(self) -> str:
        """Return what kind of flow the network has, in a sentence."""

    @property
    @abstractmethod
    def formulas(self) -> tuple[str, ...]:
        """Return the catalogue names behind its kernels."""

    @property
    @abstractmethod
    def homogeneous(self) -> bool:
        """Whether K_> = ZK, so that the flow is of the Ornstein-Uhlenbeck type."""

    @property
    @abstractmethod
    def prior(self) -> Array:
        """Return K on the mesh, (m, m)."""

    @property
    @abstractmethod
    def stiff(self) -> Array:
        """Return K_> on the mesh, (replicates, cutoffs, m, m): one replicate where it is not sampled."""

    @abstractmethod
    def stiff_on(self, cutoffs: Array) -> Array:
        """Return the best value of K_> on the mesh, (cutoffs, m, m)."""

    @abstractmethod
    def trained_law(self) -> tuple[Array, Array]:
        """Return mean (m,) and covariance (m, m) of the trained ensemble on the mesh at N = infinity."""

    @abstractmethod
    def sloppy_fraction(self, cutoffs: Array) -> Array:
        """Return P(λ < Λ) at each cut-off."""

    @abstractmethod
    def features(self, width: int, seed: int, index: int) -> tuple[Array, Array]:
        """Return the normalised features (width, m) of one member on the mesh and its λ (width,)."""

    @abstractmethod
    def simulation(self, mode: str) -> BlockWork[Simulated]:
        """Return the function that draws, trains and coarse-grains one block of members."""

    def sample(self, mode: str, stage: str, progress: Progress) -> Outputs:
        """Return what the trained and coarse-grained members do on the mesh, diverged ones left out."""
        found = self.keeper.gather(
            self.label,
            stage,
            Simulated,
            self.members,
            partial(_simulation, self.alone, mode),
            threads=self.threads,
            progress=lambda done: progress("sample", done),
        )
        used = np.flatnonzero(~found.diverged)
        return Outputs(found.values[used], used)

    @cached_property
    def maps(self) -> Mapping[str, LinearRG]:
        """The map of either mode, exact along Λ where K_> has a closed form."""
        return {mode: self.map_of(self.stiff.mean(axis=0), mode) for mode in ("resample", "prune")}

    def map_of(self, stiff: Array, mode: str) -> LinearRG:
        """Return the map of one table of stiff kernels (cutoffs, m, m)."""
        return LinearRG.from_kernels(self.prior, stiff, cutoffs=self.grid, mode=mode)

    @cached_property
    def fine(self) -> Array:
        """Cut-offs fine enough for a curve, 0 first and those of the experiment among them."""
        return np.unique(np.concatenate([np.linspace(0.0, self.grid[-1], _CURVE), self.grid]))

    @cached_property
    def _fine_table(self) -> Array:
        return self.stiff_on(self.fine)

    def curve(self, mode: str) -> LinearRG:
        """Return the map between the cut-offs ``fine``."""
        return LinearRG.from_kernels(self.prior, self._fine_table, cutoffs=self.fine, mode=mode)

    def stiff_share(self, cutoff: float) -> float:
        """Return Z with K_> = ZK; only when ``homogeneous``."""
        raise TypeError(f"{self.label}: not homogeneous")

    def replicated(self, mode: str) -> list[LinearRG]:
        """Return the map of each replicate of a sampled shell kernel, which tell its error; none if it is not sampled."""
        return [self.map_of(stiff, mode) for stiff in self.stiff] if len(self.stiff) > 1 else []

    def moments(self, width: int, chosen: NDArray[np.int64], seed: int, stage: str, progress: Progress) -> Moments:
        """Return the law of the chosen members given their hidden layers, by ``shell.mean`` and ``shell.covariance`` of their
        kernels.
        """
        found = self.keeper.gather(
            self.label,
            stage,
            Given,
            len(chosen),
            partial(_laws, self.alone, width, chosen, seed),
            threads=self.threads,
            progress=lambda done: progress("given", done),
        )
        return Moments(found.mean, {"resample": found.resampled, "prune": found.pruned})

    def given_hidden(self, width: int, seed: int, index: int) -> tuple[Array, Array, Array]:
        """Return mean (cutoffs, m) and the two covariances (cutoffs, m, m) of one member."""
        features, diagonal = self.features(width, seed, index)
        rule, n = self.trained, len(self.trained.x)
        whole = features.T @ features
        gram = np.ascontiguousarray(whole[:n, :n])
        matrix = training_matrix(
            gram, method=rule.method, learning_rate=rule.learning_rate, steps=rule.steps, d_out=1
        )  # fmt: skip
        with np.errstate(over="ignore", invalid="ignore"):
            residual = np.linalg.norm(rule.y - gram @ matrix @ rule.y)
        if not residual <= DIVERGENCE * np.linalg.norm(rule.y):
            raise BadInput(
                f"training.learning_rate: {self.label}: training diverged at width {len(features)}: lower it"
            )
        mean, resampled, pruned = [], [], []
        for cutoff in self.grid:
            kept = features * (diagonal >= cutoff)[:, None]
            stiff = kept.T @ kept
            response = np.ascontiguousarray(stiff[:n])
            mean.append(compiled("shell.mean")(response, matrix, rule.y)[:, 0])
            resampled.append(compiled("shell.covariance")(whole, response, response, matrix, gram))
            pruned.append(compiled("shell.covariance_prune")(stiff, response, response, matrix, gram))
        return np.array(mean), np.array(resampled), np.array(pruned)

    def scan_seed(self, position: int) -> int:
        """Return the seed of one width of the scan: the widths share no member, with each other or with the ensemble."""
        return (self.seed + 1 + position) % 2**64


def _simulation(leg: Leg, mode: str) -> BlockWork[Simulated]:
    return leg.simulation(mode)


def _laws(leg: Leg, width: int, chosen: NDArray[np.int64], seed: int) -> BlockWork[Given]:
    """Return the work on the members ``chosen``, which it counts from 0."""

    def work(first: int, count: int, stop: Stop) -> Given:
        members = until_told(chosen[first : first + count].tolist(), stop)
        return stacked(Given, (leg.given_hidden(width, seed, member) for member in members))

    return work
