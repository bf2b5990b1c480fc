"""What is known about connected n-point functions after sampling? Sums over members, cumulants with covariance, merging.

The state is one vector of moment sums per group of members, at most a few hundred groups however many networks were drawn;
cumulants and their covariance follow by leaving out one group at a time (``numeric.jackknife``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fieldflow import inputs
from fieldflow.errors import BadInput
from fieldflow.inputs import Array
from fieldflow.memory import require
from fieldflow.numeric import dyadic, moments
from fieldflow.numeric.jackknife import Jackknife, delete_one_group
from fieldflow.numeric.symmetric import entries, positions, unpacked
from fieldflow.prediction import Measurement


@dataclass(frozen=True)
class CorrelatorEstimate:
    """A fully symmetric tensor estimated from samples.

    Attributes
    ----------
    packed : array (entries,)
        The entries at sorted index tuples, in lexicographic order; without bias of order 1/members.
    loading : array (groups, entries)
        loadingᵀ·loading is the covariance of ``packed``.
    points, order, n : int
        Number of points, number of legs, number of independent samples.
    seed : int or None
    estimator : str
    """

    packed: Array
    loading: Array
    points: int
    order: int
    n: int
    seed: int | None
    estimator: str

    @property
    def value(self) -> Array:
        """The dense symmetric tensor, (points,)·order."""
        require(8 * self.points**self.order, f"a tensor of {self.order} indices at {self.points} points")
        return unpacked(self.packed, self.points, self.order)

    @property
    def std_error(self) -> Array:
        """Standard errors, dense, (points,)·order."""
        require(8 * self.points**self.order, f"a tensor of {self.order} indices at {self.points} points")
        return unpacked(np.sqrt(np.einsum("ge,ge->e", self.loading, self.loading)), self.points, self.order)

    @property
    def covariance(self) -> Array:
        """Covariance of the packed entries, (entries, entries); of rank below the number of groups."""
        require(8 * self.packed.size**2, f"a covariance of {self.packed.size} entries")
        found: Array = self.loading.T @ self.loading
        return found

    def measurement(self, index: Any) -> Measurement:
        """Return one entry as a measurement; ``index`` holds ``order`` points in any order."""
        found = tuple(index) if isinstance(index, (tuple, list, np.ndarray)) else (index,)
        if len(found) != self.order:
            raise BadInput(f"index: expected {self.order} indices, got {len(found)}")
        checked = [inputs.integer(f"index[{i}]", k, maximum=self.points - 1) for i, k in enumerate(found)]
        place = int(positions(np.sort(np.array(checked, dtype=np.int64)), self.points))
        error = float(np.linalg.norm(self.loading[:, place]))
        return Measurement(float(self.packed[place]), error, self.n, seed=self.seed, estimator=self.estimator)


@dataclass(frozen=True)
class Correlators:
    """Moments and connected n-point functions of an ensemble at a few points, with errors; mergeable.

    Made by ``sample_correlators`` and ``correlators_of``.

    Attributes
    ----------
    tree : Tree
        Sums over members, see ``numeric.dyadic``.
    points : int
    highest : int
        The highest order that was asked for; all lower ones are there as well.
    odd : bool
        Whether odd moments were summed; if not they vanish by the symmetry f -> -f.
    block : int
        Members per block; only runs with the same blocks merge.
    centre : array (points,)
        What was subtracted from the samples.
    seed : int or None
    origin : object
        The network and the points, or None for samples; equal for runs that merge.
    estimator : str
    """

    tree: dyadic.Tree
    points: int
    highest: int
    odd: bool
    block: int
    centre: Array
    seed: int | None
    origin: Any
    estimator: str

    @property
    def n(self) -> int:
        """Number of members."""
        return int(self.tree.counts.sum())

    def moment(self, n: int) -> CorrelatorEstimate:
        """Return E[f(x_1) … f(x_n)].

        Raises
        ------
        BadInput
            If n is not from 1 to the highest order asked for.
        """
        return self._estimate(n, lambda found: moments.moved(found, self.centre, n)[n])

    def connected(self, n: int) -> CorrelatorEstimate:
        """Return the connected n-point function, the joint cumulant of f(x_1) … f(x_n).

        Raises
        ------
        BadInput
            If n is not from 1 to the highest order asked for.
        """

        def cumulant(found: dict[int, Array]) -> Array:
            values = moments.cumulants(found, self.points, n)[n]
            return values + self.centre if n == 1 else values

        return self._estimate(n, cumulant)

    def measurement(self, index: Any) -> Measurement:
        """Return one connected function as a measurement; ``index`` holds one point per leg."""
        legs = tuple(index) if isinstance(index, (tuple, list, np.ndarray)) else (index,)
        return self.connected(len(legs)).measurement(legs)

    def merge(self, other: "Correlators") -> "Correlators":
        """Return what one run over the members of both would have given, to the last bit.

        Raises
        ------
        BadInput
            If the two are not of the same network, points, orders, seed and blocks, or share members.
        """
        if not isinstance(other, Correlators):
            raise BadInput(f"other: expected Correlators, got {type(other).__name__}")
        for name in ("points", "highest", "odd", "block", "seed", "estimator", "origin"):
            if getattr(self, name) != getattr(other, name):
                mine, theirs = getattr(self, name), getattr(other, name)
                raise BadInput(f"merge: expected the same {name}, got {mine!r} and {theirs!r}")
        if not np.array_equal(self.centre, other.centre):
            raise BadInput("merge: expected the same centre; give it to correlators_of")
        shared = dyadic.overlap(self.tree, other.tree)
        if shared is not None:
            first, beyond = (self.block * edge for edge in shared)
            raise BadInput(f"merge: members {first} to {beyond - 1} are in both runs")
        tree = dyadic.merged(self.tree, other.tree)
        return Correlators(tree, *(getattr(self, name) for name in list(self.__dataclass_fields__)[1:]))

    def _estimate(self, n: Any, of: Callable[[dict[int, Array]], Array]) -> CorrelatorEstimate:
        order = inputs.integer("n", n, minimum=1, maximum=self.highest)
        counts, sums = dyadic.groups(self.tree)
        if order % 2 == 1 and not self.odd:
            found = Jackknife(
                np.zeros(entries(self.points, order)), np.zeros((len(counts), entries(self.points, order)))
            )
        else:
            require(16 * len(counts) * entries(self.points, order), f"the jackknife of {order}-point functions")
            found = delete_one_group(
                counts, sums, lambda means: of(moments.split(means, self.points, self.odd, self.highest))
            )
        return CorrelatorEstimate(found.value, found.loading, self.points, order, self.n, self.seed, self.estimator)
