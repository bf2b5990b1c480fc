"""A cosine network on its way around the commutative diagram: its shell is a shell in momentum."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fieldflow.checks.leg import Leg, Simulated
from fieldflow.cosnet import CosNet
from fieldflow.cosnet_flow import CosNetFlow
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork
from fieldflow.numeric.cosnet import CosShell, empty_trained, member_features, train_block
from fieldflow.processes import Stop


@dataclass(frozen=True)
class CosNetLeg(Leg):
    """A leg whose network is a ``CosNet``; ``input_std`` is that of its Fisher inputs, np.inf for broad ones."""

    net: CosNet
    input_std: float
    noise_variance: float

    @property
    def conventions(self) -> Mapping[str, str]:
        """Return the conventions of the network."""
        return self.net.conventions

    @property
    def note(self) -> str:
        """Return what kind of flow the network has, in a sentence."""
        lowest = min(self.maps["resample"].generator_eigenvalue(float(cutoff)) for cutoff in self.grid[:-1])
        kind = "a Markov diffusion on this mesh" if lowest >= 0.0 else "no Markov diffusion: a map of laws only"
        law = "broad: the information shell is the momentum shell" if np.isinf(self.input_std) else "those of the data"
        return (
            f"{self.label}: cosine network, the shell kernel is one integral over |b|; Fisher inputs are {law}; the smallest "
            f"eigenvalue of the resampling diffusion matrix along the cut-offs is {lowest:.3g}: {kind}."
        )

    @property
    def formulas(self) -> tuple[str, ...]:
        """Return the catalogue names behind its kernels."""
        return ("cosnet.propagator", "cosnet.fisher", "cosnet.shell_kernel")

    @property
    def homogeneous(self) -> bool:
        """Whether K_> = ZK, so that the flow is of the Ornstein-Uhlenbeck type: never."""
        return False

    @cached_property
    def prior(self) -> Array:
        """Return K on the mesh, (m, m)."""
        return self.net.shell_kernel(self.mesh)

    @cached_property
    def stiff(self) -> Array:
        """Return K_> on the mesh, (1, cutoffs, m, m): it is not sampled."""
        return self.stiff_on(self.grid)[None]

    def stiff_on(self, cutoffs: Array) -> Array:
        """Return K_> on the mesh, (cutoffs, m, m)."""
        return self.net.shell_kernel(self.mesh, None, cutoffs, self.input_std, noise_variance=self.noise_variance)

    def trained_law(self) -> tuple[Array, Array]:
        """Return mean (m,) and covariance (m, m) of the trained ensemble on the mesh at N = infinity."""
        rule = self.trained
        flow = CosNetFlow(
            self.net,
            rule.x,
            rule.y,
            learning_rate=rule.learning_rate,
            steps=rule.steps if rule.method == "gradient_flow" else int(rule.steps),
            method=rule.method,
        )
        return flow.mean(self.mesh), flow.covariance(self.mesh)

    def sloppy_fraction(self, cutoffs: Array) -> Array:
        """Return P(λ < Λ) at each cut-off."""
        return np.asarray(self.net.sloppy_fraction(cutoffs, self.input_std, noise_variance=self.noise_variance))

    def _shell(self, mode: str) -> CosShell:
        return CosShell(self.grid, self.input_std, self.noise_variance, mode == "resample")

    def features(self, width: int, seed: int, index: int) -> tuple[Array, Array]:
        """Return the normalised features (width, m) of one member on the mesh and its λ (width,)."""
        layer = replace(self.net, width=width).architecture()
        points = np.ascontiguousarray(self.mesh.T)
        found: tuple[Array, Array] = member_features(layer, np.uint64(seed), index, points, self._shell("prune"))
        return found

    def simulation(self, mode: str) -> BlockWork[Simulated]:
        """Return the function that draws, trains and coarse-grains one block of members."""
        layer, shell, seed = self.net.architecture(), self._shell(mode), np.uint64(self.seed)
        training, points = self.trained.compiled(), np.ascontiguousarray(self.mesh.T)

        def work(first: int, count: int, stop: Stop) -> Simulated:
            out = empty_trained(count, len(shell.cutoffs), points.shape[1])
            train_block(layer, seed, first, points, training, shell, out, stop)
            return Simulated(out.outputs, out.diverged)

        return work
