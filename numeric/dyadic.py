"""How are sums over members made the same for any cut of the work? Every sum is a node of one binary tree over blocks.

Blocks are numbered from member 0.  Node (level, index) is the sum over blocks index·2^level … (index + 1)·2^level - 1, always
the sum of its two children.  A range of blocks is kept as the largest such nodes that it fills, up to a level at which few
nodes are left: the state stays small for any number of members, and two runs over disjoint ranges combine to the run over
both to the last bit, in any order.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Node = tuple[int, int]

MOST = 256
"""How many nodes of the highest level are kept at most."""


@dataclass(frozen=True)
class Tree:
    """Sums over members by node: ``sums`` (nodes, entries) and ``counts`` (nodes,) members, nodes in order of members."""

    nodes: tuple[Node, ...]
    counts: NDArray[np.int64]
    sums: Array


def blocks_of(node: Node) -> tuple[int, int]:
    """Return the first block of a node and the first one beyond it.

    >>> blocks_of((3, 2))
    (16, 24)
    """
    level, index = node
    return index << level, (index + 1) << level


def level_for(ranges: list[tuple[int, int]]) -> int:
    """Return the lowest level at which the ranges of blocks (first, beyond) touch at most MOST nodes."""
    level = 0
    while True:
        touched = {
            index for first, beyond in ranges if beyond > first for index in (first >> level, (beyond - 1) >> level)
        }
        inner = sum(max(0, ((beyond - 1) >> level) - (first >> level) - 1) for first, beyond in ranges)
        if len(touched) + inner <= MOST:
            return level
        level += 1


def nodes_of(first: int, beyond: int, highest: int) -> list[Node]:
    """Return the largest nodes up to level ``highest`` that fill the blocks first … beyond - 1, in order.

    >>> nodes_of(3, 9, 2)
    [(0, 3), (2, 1), (0, 8)]
    """
    found = []
    while first < beyond:
        level = highest
        while first % (1 << level) or first + (1 << level) > beyond:
            level -= 1
        found.append((level, first >> level))
        first += 1 << level
    return found


def _joined(parts: dict[Node, tuple[int, Array]], highest: int) -> dict[Node, tuple[int, Array]]:
    """Return the nodes with siblings replaced by their parents wherever both are there, up to level ``highest``."""
    for level in range(highest):
        for index in sorted(i for lev, i in parts if lev == level and i % 2 == 0):
            if (level, index + 1) in parts:
                (left, left_sum), (right, right_sum) = parts.pop((level, index)), parts.pop((level, index + 1))
                parts[level + 1, index // 2] = left + right, left_sum + right_sum
    return parts


def tree_of(parts: dict[Node, tuple[int, Array]]) -> Tree:
    """Return the tree of nodes that do not overlap, given with their counts and sums."""
    parts = _joined(dict(parts), level_for([blocks_of(node) for node in parts]))
    ordered = sorted(parts, key=blocks_of)
    counts = np.array([parts[node][0] for node in ordered], dtype=np.int64)
    return Tree(tuple(ordered), counts, np.array([parts[node][1] for node in ordered]))


def overlap(one: Tree, other: Tree) -> tuple[int, int] | None:
    """Return a range of blocks that is in both trees, or None."""
    ranges = sorted((*blocks_of(node), which) for which, tree in enumerate((one, other)) for node in tree.nodes)
    for (first, beyond, _), (next_first, next_beyond, _) in itertools.pairwise(ranges):
        if next_first < beyond:
            return max(first, next_first), min(beyond, next_beyond)
    return None


def merged(one: Tree, other: Tree) -> Tree:
    """Return the tree of both, which must not overlap."""
    parts: dict[Node, tuple[int, Array]] = {}
    for tree in (one, other):
        for node, count, total in zip(tree.nodes, tree.counts, tree.sums, strict=True):
            parts[node] = int(count), total
    return tree_of(parts)


def groups(tree: Tree) -> tuple[NDArray[np.int64], Array]:
    """Return counts (g,) and sums (g, entries) of at most MOST groups: all nodes within one node of the highest level."""
    highest = level_for([blocks_of(node) for node in tree.nodes])
    index = np.array([blocks_of(node)[0] >> highest for node in tree.nodes])
    starts = np.flatnonzero(np.diff(index, prepend=index[0] - 1))
    counts: NDArray[np.int64] = np.add.reduceat(tree.counts, starts)
    return counts, np.add.reduceat(tree.sums, starts, axis=0)
