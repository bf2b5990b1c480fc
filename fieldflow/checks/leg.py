"""What goes around the commutative diagram? One network with its mesh, its trained ensemble and its linear RG map."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.brg import LinearRG
from fieldflow.checks.case import Progress
from fieldflow.ensemble import CoarseGrained, Ensemble, Trained
from fieldflow.errors import BadInput
from fieldflow.flow import training_matrix
from fieldflow.formulas import compiled
from fieldflow.inputs import Array
from fieldflow.kernels import nngp
from fieldflow.network import MLP
from fieldflow.numeric import rng
from fieldflow.numeric.coarsegrain import fisher_diagonal
from fieldflow.numeric.ensemble import DIVERGENCE, BlockSample, outputs_block
from fieldflow.numeric.mlp import readout_features
from fieldflow.shell import ShellFlow
from fieldflow.workers import in_blocks

_BATCHES = 4
"""Independent runs of the sampled shell kernel: one has too few replicates to tell the covariance of its errors."""

_CURVE = 80
"""Cut-offs, besides those of the experiment, at which curves are drawn."""


class Outputs(NamedTuple):
    """f_Λ on the mesh, (used members, cutoffs, m), the cut-off 0 first; indices of the used members."""

    values: Array
    used: NDArray[np.int64]


class Moments(NamedTuple):
    """Of each member: mean (members, cutoffs, m) and covariance by mode (members, cutoffs, m, m) on the mesh, given its
    hidden layer; the cut-off 0 first.  A sampled function is its own mean, without covariance.
    """

    mean: Array
    covariance: Mapping[str, Array]


@dataclass(frozen=True)
class Leg:
    """One network on its way around the diagram.

    ``mesh`` (m, d_in) holds the training inputs first; ``grid`` the cut-offs, 0 first; ``stated`` the positions in the mesh
    at which moments are compared; ``widths`` the scan, each with ``scan_members`` members of their own.
    """

    label: str
    net: MLP
    mesh: Array
    trained: Trained
    shell: ShellFlow
    grid: Array
    stated: NDArray[np.int64]
    members: int
    widths: tuple[int, ...]
    scan_members: int
    frozen_members: int
    seed: int
    threads: int

    @cached_property
    def stiff(self) -> Array:
        """K_> on the mesh, (replicates, cutoffs, m, m): one replicate where it is known in closed form."""
        kernel, batches = self.shell.kernel, 1 if self.homogeneous else _BATCHES
        seeds = [(kernel.seed + i) % 2**64 for i in range(batches)]
        found = [replace(kernel, seed=seed)(self.mesh, self.mesh, self.grid).replicates for seed in seeds]
        return np.concatenate(found)

    @property
    def stiff_error(self) -> float:
        """Largest standard error of K_> on the mesh."""
        return float(np.max(self.stiff.std(axis=0, ddof=1)) / np.sqrt(len(self.stiff)))

    @cached_property
    def maps(self) -> Mapping[str, LinearRG]:
        """The map of either mode, exact along Λ where K_> has a closed form."""
        if self.homogeneous:
            return {mode: LinearRG.from_shell(self.shell, self.mesh, mode=mode) for mode in ("resample", "prune")}
        return {mode: self.map_of(self.stiff.mean(axis=0), mode) for mode in ("resample", "prune")}

    def map_of(self, stiff: Array, mode: str) -> LinearRG:
        """Return the map of one table of stiff kernels (cutoffs, m, m)."""
        return LinearRG.from_kernels(nngp(self.net, self.mesh), stiff, cutoffs=self.grid, mode=mode)

    @cached_property
    def fine(self) -> Array:
        """Cut-offs fine enough for a curve, 0 first and those of the experiment among them."""
        return np.unique(np.concatenate([np.linspace(0.0, self.grid[-1], _CURVE), self.grid]))

    @cached_property
    def _fine_table(self) -> Array:
        return self.shell.kernel(self.mesh, self.mesh, self.fine).value

    def curve(self, mode: str) -> LinearRG:
        """Return the map between the cut-offs ``fine``."""
        if self.homogeneous:
            return self.maps[mode]
        return LinearRG.from_kernels(nngp(self.net, self.mesh), self._fine_table, cutoffs=self.fine, mode=mode)

    def replicated(self, mode: str) -> list[LinearRG]:
        """Return the map of each replicate of a sampled shell kernel, which tell its error; none if it is closed."""
        return [] if self.homogeneous else [self.map_of(stiff, mode) for stiff in self.stiff]

    @property
    def fisher_inputs(self) -> int:
        """Number of given Fisher inputs, 0 for a Gaussian law of them."""
        points = self.shell.kernel.law.points
        return 0 if points is None else len(points)

    @property
    def homogeneous(self) -> bool:
        """Whether K_> = ZK, so that the flow is of the Ornstein-Uhlenbeck type."""
        return self.shell.closed_form

    def features(self, net: MLP, seed: int, index: int) -> tuple[Array, Array]:
        """Return the normalised features (width, m) of one member on the mesh and its λ (width,)."""
        law = self.shell.kernel.law
        fisher = np.empty((0, net.d_in)) if law.points is None else law.points
        every = np.ascontiguousarray(np.concatenate([self.mesh, fisher]).T)
        block = outputs_block(
            net.architecture(), net.compiled_activations(), np.uint64(seed), index, 1, rng.HIDDEN, every
        )
        hidden, m = block[0], len(self.mesh)
        if law.points is None:
            diagonal = Ensemble(net, 1, seed).gaussian_law(law, index, 1)[0]
        else:
            diagonal = fisher_diagonal(np.ascontiguousarray(hidden[:, m:]), law.noise_variance)
        return readout_features(net.architecture(), np.ascontiguousarray(hidden[:, :m])), diagonal

    def sample(self, net: MLP, mode: str, members: int, seed: int, progress: Progress) -> Outputs:
        """Return what the trained and coarse-grained members do on the mesh, diverged ones left out."""
        shell = CoarseGrained(self.grid, self.shell.kernel.law, mode)
        ensemble = Ensemble(net, members, seed, self.trained, shell, self.threads)

        def reduce(block: BlockSample) -> tuple[Array, NDArray[np.bool_]]:
            return block.outputs[..., 0], block.diverged

        parts = ensemble.simulate(self.mesh, reduce, lambda done: progress("sample", done))
        outputs, diverged = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        used = np.flatnonzero(~diverged)
        return Outputs(outputs[used], used)

    def moments(
        self, net: MLP, members: int, seed: int, progress: Progress, *, used: NDArray[np.int64] | None = None
    ) -> Moments:
        """Return the law of each member given its hidden layer, by ``shell.mean`` and ``shell.covariance`` of its kernels."""
        chosen = np.arange(members) if used is None else used

        def work(first: int, count: int, stop: NDArray[np.uint8]) -> list[tuple[Array, Array, Array]]:
            block = chosen[first : first + count]
            return [self._given_hidden(net, seed, int(index)) for index in block if not stop[0]]

        parts = in_blocks(work, len(chosen), threads=self.threads, progress=lambda done: progress("given", done))
        mean, resampled, pruned = (
            np.array(column) for column in zip(*(entry for part in parts for entry in part), strict=True)
        )
        return Moments(mean, {"resample": resampled, "prune": pruned})

    def _given_hidden(self, net: MLP, seed: int, index: int) -> tuple[Array, Array, Array]:
        """Return mean (cutoffs, m) and the two covariances (cutoffs, m, m) of one member."""
        features, diagonal = self.features(net, seed, index)
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
