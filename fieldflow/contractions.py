"""What is a diagram worth on a mesh? Its tensors contracted along a good path, and averaged over its external legs."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import opt_einsum

from fieldflow import memory
from fieldflow.numeric.symmetric import sorted_tuples
from fieldflow.symbolic.multigraph import Multigraph


def contracted(graph: Multigraph, vertices: Mapping[int, Any], line: Any) -> Any:
    """Return the diagram with ``vertices`` {degree: tensor (m,)·degree} and lines (m, m), packed in its external legs.

    Tensors of objects (fractions) are contracted exactly; the result is the average over all permutations of the legs.
    """
    return leg_average(_dense(graph, vertices, line), graph)


def leg_average(dense: Any, graph: Multigraph) -> Any:
    """Return a diagram, legs in the order of its vertices, packed and averaged over all permutations of its legs."""
    if graph.external == 0:
        return dense
    points = sorted_tuples(dense.shape[0], graph.external)
    ways = list(_assignments(graph.legs, tuple(range(graph.external))))
    total = sum(dense[tuple(points[:, way].T)] for way in ways)
    return total / len(ways)


def _dense(graph: Multigraph, vertices: Mapping[int, Any], line: Any) -> Any:
    """Return the contraction with external legs in the order of the vertices."""
    labels: list[list[int]] = []
    fresh = iter(range(sum(graph.degrees)))
    labels = [[next(fresh) for _ in range(count)] for count in graph.legs]
    outer = [label for part in labels for label in part]
    operands: list[Any] = []
    for u, v in graph.edges:
        first, second = next(fresh), next(fresh)
        labels[u].append(first)
        labels[v].append(second)
        operands += [line, (first, second)]
    for degree, own in zip(graph.degrees, labels, strict=True):
        operands += [vertices[degree], tuple(own)]
    largest = int(opt_einsum.contract_path(*operands, outer, optimize="greedy")[1].largest_intermediate)
    memory.require(8 * largest, f"a diagram with {graph.external} legs on {line.shape[0]} points")
    backend = "object" if line.dtype == object else "numpy"
    return np.asarray(opt_einsum.contract(*operands, outer, optimize="greedy", backend=backend))


def _assignments(sizes: tuple[int, ...], positions: tuple[int, ...]) -> Iterator[list[int]]:
    """Yield the ways to give external positions to vertices with so many legs each."""
    if not sizes:
        yield []
        return
    for own in combinations(positions, sizes[0]):
        for rest in _assignments(sizes[1:], tuple(p for p in positions if p not in own)):
            yield [*own, *rest]
