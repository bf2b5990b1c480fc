"""Which networks stand behind the correlators of the NN-QFT experiments? Drawn in pieces, their moments given hidden layers.

ReLU- and Erf-networks leave sums of monomials (``sampled.Drawing``), Gauss-networks their covariances with the weights of
tilted hidden units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.checks.nnqft import Estimate, grouped
from fieldflow.inputs import Array
from fieldflow.keeper import BlockWork, Keeper
from fieldflow.nnqft import NNQFT, wick_sum
from fieldflow.numeric import dyadic
from fieldflow.numeric.ensemble import outputs_block
from fieldflow.numeric.rng import HIDDEN
from fieldflow.numeric.symmetric import sorted_tuples
from fieldflow.numeric.tilted import TILTS, tilted_block
from fieldflow.processes import Stop
from fieldflow.sampled import Drawing

GROUPS = 128


class Covariances(NamedTuple):
    """Cov[f(x), f(x')] given the hidden layer, (members, m, m), and weights (members,), 1 unless tilted."""

    values: Array
    weights: Array


class Sums(NamedTuple):
    """Numbers of the members, (members,), and sums of their monomials, (blocks, entries)."""

    members: NDArray[np.int64]
    sums: Array


@dataclass(frozen=True)
class Networks:
    """The networks of one width on one mesh: how many, who keeps them, and who is told how far a pass is."""

    theory: NNQFT
    width: int
    seed: int
    members: int
    label: str
    keeper: Keeper
    threads: int
    progress: Callable[[int], None]

    def moments(self, stage: str) -> dict[int, Estimate]:
        """Return the moments {n: estimate}, n = 4 and 6; ``stage`` names the shards."""
        if self.theory.activation == "gauss":
            return self._tilted(stage)
        found = self._drawn(stage)
        return {n: Estimate(entry.packed, entry.loading) for n in (4, 6) for entry in (found.moment(n),)}

    def covariances(self, stage: str, members: int, *, tilted: bool = True) -> Covariances:
        """Return those of the first members; of Gauss-networks drawn as they are unless ``tilted``."""
        theory = self.theory
        net = theory.network(self.width)
        scale = theory.scale(theory.points)
        prepare = partial(_tilted, net, scale, theory.points, self.seed)
        if theory.activation != "gauss" or not tilted:
            prepare = partial(_plain, net, scale, theory.points, self.seed)
        found = self.keeper.gather(
            self.label, stage, Covariances, members, prepare, threads=self.threads, progress=self.progress
        )
        return Covariances(found.values + net.sigma_b[-1] ** 2, found.weights)

    def _tilted(self, stage: str) -> dict[int, Estimate]:
        """Return the moments of Gauss-networks from tilted hidden units, in groups of members."""
        covariances, weights = self.covariances(stage, self.members)
        found = {}
        for n in (4, 6):
            points = sorted_tuples(len(self.theory.points), n)
            size = len(weights) // GROUPS
            means = np.empty((GROUPS, len(points)))
            for group in range(GROUPS):
                chosen = slice(group * size, (group + 1) * size)
                entries = np.moveaxis(covariances[chosen], 0, -1)
                means[group] = wick_sum(entries, points) @ weights[chosen] / size
            found[n] = grouped(means, np.ones(GROUPS), GROUPS)
        return found

    def _drawn(self, stage: str) -> Any:
        """Return the correlators, their sums folded into one tree that does not grow with the members."""
        drawing = Drawing.of(self.theory.network(self.width), self.theory.points, self.members, self.seed)
        block, tree = drawing.block, dyadic.Tree((), np.empty(0, np.int64), np.empty((0, drawing.entries)))

        def add(first: int, count: int, record: Sums) -> None:
            nonlocal tree
            counts = [min(block, count - start) for start in range(0, count, block)]
            leaves = {(0, first // block + i): pair for i, pair in enumerate(zip(counts, record.sums, strict=True))}
            tree = dyadic.merged(tree, dyadic.tree_of(leaves))
            self.progress(count)

        prepare = partial(_sums, drawing)
        self.keeper.each(
            self.label, stage, Sums, self.members, prepare, add, threads=self.threads, block=block
        )  # fmt: skip
        return drawing.correlators(tree)


def _sums(drawing: Drawing) -> BlockWork[Sums]:
    node = drawing.sums()

    def work(first: int, count: int, stop: Stop) -> Sums:
        return Sums(np.arange(first, first + count), node(first, first + count, 0, stop)[None])

    return work


def _tilted(net: Any, scale: Array, points: Array, seed: int) -> BlockWork[Covariances]:
    columns, architecture = np.ascontiguousarray(points.T), net.architecture()

    def work(first: int, count: int, _: Stop) -> Covariances:
        found, weights = np.empty((count, len(scale), len(scale))), np.ones(count)
        tilted_block(architecture, scale, columns, np.array(TILTS), np.uint64(seed), first, found, weights)
        return Covariances(found, weights)

    return work


def _plain(net: Any, scale: Array, points: Array, seed: int) -> BlockWork[Covariances]:
    columns, architecture, activations = np.ascontiguousarray(points.T), net.architecture(), net.compiled_activations()

    def work(first: int, count: int, _: Stop) -> Covariances:
        hidden = outputs_block(architecture, activations, np.uint64(seed), first, count, HIDDEN, columns) * scale
        return Covariances(net.readout_variance * np.einsum("mni,mnj->mij", hidden, hidden), np.ones(count))

    return work
