"""A network with one hidden layer on its way around the commutative diagram."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fieldflow.brg import LinearRG
from fieldflow.checks.leg import Leg, Simulated
from fieldflow.ensemble import CoarseGrained, Ensemble
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork
from fieldflow.kernels import nngp
from fieldflow.network import MLP
from fieldflow.numeric import rng
from fieldflow.numeric.coarsegrain import fisher_diagonal
from fieldflow.numeric.ensemble import BlockSample, outputs_block
from fieldflow.numeric.mlp import readout_features
from fieldflow.shell import ShellFlow

_BATCHES = 4
"""Independent runs of the sampled shell kernel: one has too few replicates to tell the covariance of its errors."""


@dataclass(frozen=True)
class NetworkLeg(Leg):
    """A leg whose network is an ``MLP``, with the shell flow of its infinitely wide limit."""

    net: MLP
    shell: ShellFlow

    @property
    def conventions(self) -> Mapping[str, str]:
        """Return the conventions of the network."""
        return dict(self.net.convention.items())

    @property
    def note(self) -> str:
        """Return what kind of flow the network has, in a sentence."""
        if self.homogeneous:
            return (
                f"{self.label}: the shell kernel is the kernel times Z, in closed form; the resampled law is that of an "
                "Ornstein-Uhlenbeck process in the time -ln Z at each cut-off (one redraw serves all cut-offs, so that two of "
                "them are not correlated as in that process)."
            )
        lowest = min(self.maps["resample"].generator_eigenvalue(float(cutoff)) for cutoff in self.grid[:-1])
        kind = "a Markov diffusion on this mesh" if lowest >= 0.0 else "no Markov diffusion: a map of laws only"
        points = self.shell.kernel.law.points
        return (
            f"{self.label}: the shell kernel is known by {self.shell.method} (standard error {self.stiff_error:.1e}) with λ "
            f"from {'Gaussian' if points is None else len(points)} Fisher inputs; the smallest eigenvalue of the resampling "
            f"diffusion matrix along the cut-offs is {lowest:.3g}: {kind}."
        )

    @property
    def formulas(self) -> tuple[str, ...]:
        """Return the catalogue names behind its kernels."""
        return ("fisher.readout", "shell.homogeneous_Z") if self.homogeneous else ("fisher.readout",)

    @property
    def homogeneous(self) -> bool:
        """Whether K_> = ZK, so that the flow is of the Ornstein-Uhlenbeck type."""
        return self.shell.closed_form

    @cached_property
    def prior(self) -> Array:
        """Return K on the mesh, (m, m)."""
        return nngp(self.net, self.mesh)

    @cached_property
    def stiff(self) -> Array:
        """Return K_> on the mesh, (replicates, cutoffs, m, m): one replicate where it is not sampled."""
        kernel, batches = self.shell.kernel, _BATCHES if self.shell.method == "quasi-Monte Carlo" else 1
        seeds = [(kernel.seed + i) % 2**64 for i in range(batches)]
        found = [replace(kernel, seed=seed)(self.mesh, self.mesh, self.grid).replicates for seed in seeds]
        return np.concatenate(found)

    @property
    def stiff_error(self) -> float:
        """Largest standard error of K_> on the mesh."""
        if len(self.stiff) == 1:
            return self.shell.std_error
        return float(np.max(self.stiff.std(axis=0, ddof=1)) / np.sqrt(len(self.stiff)))

    def stiff_on(self, cutoffs: Array) -> Array:
        """Return the best value of K_> on the mesh, (cutoffs, m, m)."""
        return self.shell.kernel(self.mesh, self.mesh, cutoffs).value

    @cached_property
    def maps(self) -> Mapping[str, LinearRG]:
        """The map of either mode, exact along Λ where K_> has a closed form."""
        if not self.homogeneous:
            return super().maps
        return {mode: LinearRG.from_shell(self.shell, self.mesh, mode=mode) for mode in ("resample", "prune")}

    def curve(self, mode: str) -> LinearRG:
        """Return the map between the cut-offs ``fine``."""
        return self.maps[mode] if self.homogeneous else super().curve(mode)

    def stiff_share(self, cutoff: float) -> float:
        """Return Z with K_> = ZK; only when ``homogeneous``."""
        return float(self.shell.kernel.stiff_factor(np.array([cutoff]))[0])

    def trained_law(self) -> tuple[Array, Array]:
        """Return mean (m,) and covariance (m, m) of the trained ensemble on the mesh at N = infinity."""
        return self.shell.flow.mean(self.mesh), self.shell.flow.covariance(self.mesh)

    def sloppy_fraction(self, cutoffs: Array) -> Array:
        """Return P(λ < Λ) at each cut-off."""
        return np.asarray(self.shell.sloppy_fraction(cutoffs))

    def features(self, width: int, seed: int, index: int) -> tuple[Array, Array]:
        """Return the normalised features (width, m) of one member on the mesh and its λ (width,)."""
        net, law = self.net.with_width(width), self.shell.kernel.law
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

    def simulation(self, mode: str) -> BlockWork[Simulated]:
        """Return the function that draws, trains and coarse-grains one block of members."""
        shell = CoarseGrained(self.grid, self.shell.kernel.law, mode)
        ensemble = Ensemble(self.net, self.members, self.seed, self.trained, shell, self.threads)

        def reduce(block: BlockSample) -> Simulated:
            return Simulated(block.outputs[..., 0], block.diverged)

        return ensemble.block_work(self.mesh, reduce)
