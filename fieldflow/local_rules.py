"""What is a diagram worth when its vertices are points of a box? Sums over quadrature nodes, one index per vertex.

S_int = Σ_z w_z Σ_r g_r φ(z)^r (no 1/r!): a vertex of degree r at the node z carries -r! g_r w_z, a line the free propagator.
The dense rules of ``action.correlators`` with diagonal couplings give the same numbers at the price of m^r tensors.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from math import factorial
from typing import Any

import numpy as np
import opt_einsum

from fieldflow.contractions import leg_average
from fieldflow.inputs import Array
from fieldflow.numeric.symmetric import unpacked
from fieldflow.symbolic.multigraph import Multigraph, connected_graphs


@dataclass(frozen=True)
class LocalTheory:
    """Free propagator on external points and nodes, and the couplings of a local interaction.

    Parameters
    ----------
    propagator : array (p + m, p + m)
        External points first, then the nodes.
    weights : array (m,)
        Quadrature weights.
    couplings : mapping of int to float
        {r: g_r}.
    """

    propagator: Array
    weights: Array
    couplings: Mapping[int, float]

    @property
    def external(self) -> int:
        """Number p of external points."""
        return len(self.propagator) - len(self.weights)

    def moved(self, change: Array) -> "LocalTheory":
        """Return the theory with ``change`` added to the propagator."""
        return LocalTheory(self.propagator + change, self.weights, self.couplings)

    def term(self, legs: int, order: int) -> Array:
        """Return the sum of all connected diagrams with this number of legs and of vertices: shape (p,)·legs."""
        size = self.external
        if order == 0:
            return self.propagator[:size, :size].copy() if legs == 2 else np.zeros((size,) * legs)
        total: Any = 0.0
        for graph in local_graphs(legs, order, tuple(sorted(self.couplings))):
            total = total + factorial(legs) / graph.symmetry_factor * leg_average(self._dense(graph), graph)
        if legs == 0:
            return np.asarray(total, dtype=np.float64)
        dense = np.zeros((size,) * legs) if np.ndim(total) == 0 else unpacked(total, size, legs)
        return np.asarray(dense)

    def _dense(self, graph: Multigraph) -> Any:
        """Return one diagram with external legs in the order of its vertices."""
        size, nodes = self.external, len(self.weights)
        inner, outer = self.propagator[size:, size:], np.ascontiguousarray(self.propagator[:size, size:])
        loops = np.diag(inner)
        operands = []
        for vertex, degree in enumerate(graph.degrees):
            strength = -factorial(degree) * self.couplings[degree] * self.weights
            operands.append(strength * loops ** graph.lines[vertex][vertex])
        operands += [inner**count for _, _, count in _joins(graph)]
        operands += [outer] * graph.external
        return _expression(graph, size, nodes)(*operands)


@cache
def local_graphs(legs: int, order: int, degrees: tuple[int, ...]) -> tuple[Multigraph, ...]:
    """Return the connected diagrams of ``order`` vertices with degrees among those given.

    >>> [graph.symmetry_factor for graph in local_graphs(2, 1, (4,))]
    [4]
    """
    chosen = (tuple(reversed(found)) for found in combinations_with_replacement(degrees, order))
    return tuple(graph for vertices in chosen for graph in connected_graphs(legs, vertices))


def _joins(graph: Multigraph) -> Iterator[tuple[int, int, int]]:
    """Yield (u, v, number of lines) of joined vertices u < v."""
    size = range(len(graph.degrees))
    return ((u, v, graph.lines[u][v]) for u in size for v in size if u < v and graph.lines[u][v])


@cache
def _expression(graph: Multigraph, size: int, nodes: int) -> Any:
    """Return the contraction of a diagram, planned once for all propagators."""
    vertices = range(len(graph.degrees))
    letters = [opt_einsum.get_symbol(v) for v in vertices]
    outer = [opt_einsum.get_symbol(len(letters) + i) for i in range(graph.external)]
    owners = [v for v in vertices for _ in range(graph.legs[v])]
    parts: Sequence[str] = [
        *letters,
        *(letters[u] + letters[v] for u, v, _ in _joins(graph)),
        *(leg + letters[v] for leg, v in zip(outer, owners, strict=True)),
    ]
    shapes = [tuple(size if letter in outer else nodes for letter in part) for part in parts]
    return opt_einsum.contract_expression(f"{','.join(parts)}->{''.join(outer)}", *shapes, optimize="greedy")
