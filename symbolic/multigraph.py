"""Which connected diagrams are there? All multigraphs with given legs and vertices, self-lines allowed, up to isomorphism.

Half-lines of a vertex are alike, vertices of one degree are alike, external legs are alike: the symmetry factor counts the
relabellings that change nothing.  It is what is left of Wick's pairings (1950) after 1/n! per vertex.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby, permutations, product
from math import factorial, prod

Matrix = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Multigraph:
    """A diagram: degree and external legs of each vertex, and how many lines join each pair (diagonal: self-lines).

    >>> bubble = Multigraph((4, 4), (2, 2), ((0, 2), (2, 0)))
    >>> bubble.symmetry_factor, bubble.loops
    (16, 1)
    """

    degrees: tuple[int, ...]
    legs: tuple[int, ...]
    lines: Matrix

    @property
    def external(self) -> int:
        """Number of external legs."""
        return sum(self.legs)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Internal lines as pairs u <= v of vertices, one entry per line."""
        size = range(len(self.degrees))
        return tuple((u, v) for u in size for v in size if u <= v for _ in range(self.lines[u][v]))

    @property
    def loops(self) -> int:
        """Number of independent loops."""
        return len(self.edges) - len(self.degrees) + 1

    @property
    def symmetry_factor(self) -> int:
        """Relabellings of vertices, lines, ends of self-lines and external legs that leave the diagram as it is."""
        size = range(len(self.degrees))
        ends = prod(2 ** self.lines[v][v] for v in size)
        alike = prod(factorial(self.lines[u][v]) for u in size for v in size if u <= v)
        return int(self._automorphisms() * ends * alike * prod(map(factorial, self.legs)))

    def _automorphisms(self) -> int:
        return sum(self._permuted(order) == self for order in _orders(self.degrees))

    def _permuted(self, order: tuple[int, ...]) -> "Multigraph":
        lines = tuple(tuple(self.lines[u][v] for v in order) for u in order)
        return Multigraph(self.degrees, tuple(self.legs[u] for u in order), lines)

    def canonical(self) -> "Multigraph":
        """Return the representative of all graphs that differ in the order of vertices of one degree."""
        return max(
            (self._permuted(order) for order in _orders(self.degrees)), key=lambda graph: (graph.legs, graph.lines)
        )


@cache
def _orders(degrees: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return the permutations of vertices that keep the (sorted) degrees in place."""
    groups = [list(group) for _, group in groupby(range(len(degrees)), key=lambda v: degrees[v])]
    return tuple(tuple(v for part in parts for v in part) for parts in product(*map(permutations, groups)))


@cache
def connected_graphs(legs: int, degrees: tuple[int, ...]) -> tuple[Multigraph, ...]:
    """Return the connected multigraphs with these vertices (degrees in falling order) and this number of external legs.

    >>> [graph.symmetry_factor for graph in connected_graphs(2, (4,))]
    [4]
    """
    if (sum(degrees) - legs) % 2 or legs > sum(degrees) - 2 * (len(degrees) - 1):
        return ()
    found = {
        Multigraph(degrees, outer, lines).canonical()
        for outer in _shared(legs, degrees)
        for lines in _joined([degree - leg for degree, leg in zip(degrees, outer, strict=True)])
        if _is_connected(lines)
    }
    return tuple(sorted(found, key=lambda graph: (graph.legs, graph.lines), reverse=True))


def _shared(total: int, capacities: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the ways to share ``total`` legs among vertices."""
    if not capacities:
        if total == 0:
            yield ()
        return
    for own in range(min(total, capacities[0]) + 1):
        for rest in _shared(total - own, capacities[1:]):
            yield (own, *rest)


def _joined(free: list[int]) -> Iterator[Matrix]:
    """Yield the symmetric matrices of lines that use all free half-lines of the vertices."""
    if not free:
        yield ()
        return
    for own in range(free[0] // 2 + 1):
        for row in _shared(free[0] - 2 * own, tuple(free[1:])):
            rest = [half - used for half, used in zip(free[1:], row, strict=True)]
            for below in _joined(rest):
                yield ((own, *row), *((used, *line) for used, line in zip(row, below, strict=True)))


def _is_connected(lines: Matrix) -> bool:
    reached, fresh = {0}, [0]
    while fresh:
        vertex = fresh.pop()
        new = [other for other, count in enumerate(lines[vertex]) if count and other not in reached]
        reached.update(new)
        fresh += new
    return len(reached) == len(lines)
