"""What are the connected n-point functions of an ensemble, with errors? Estimated from networks or samples as they come.

Memory does not grow with the number of networks: only sums of monomials over groups of members are kept.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from threading import local
from typing import Any

import numpy as np

from fieldflow import inputs
from fieldflow.correlator_estimate import Correlators
from fieldflow.errors import BadInput, Underpowered
from fieldflow.inputs import Array
from fieldflow.memory import require
from fieldflow.network import MLP
from fieldflow.numeric import dyadic, moments, npoint
from fieldflow.numeric.rng import ACROSS
from fieldflow.progress import LateBar
from fieldflow.workers import checked_threads, in_order

_POINTS = 16
_FEWEST_BLOCKS = 32
_SMALLEST_BLOCK = 4


def _checked_orders(orders: Any) -> tuple[int, ...]:
    given = tuple(orders) if isinstance(orders, (tuple, list, np.ndarray, range)) else (orders,)
    if not given:
        raise BadInput("orders: expected at least one order")
    return tuple(
        inputs.integer(f"orders[{i}]", order, minimum=1, maximum=moments.HIGHEST) for i, order in enumerate(given)
    )


def _checked_points(net: Any, points: Any) -> Array:
    """Return the points (m, d_in) of a network that can be drawn here."""
    if not isinstance(net, MLP):
        raise BadInput(f"net: expected a fieldflow.MLP, got {type(net).__name__}")
    if len(net.finite_widths) != 1 or net.d_out != 1:
        raise BadInput(
            f"net: expected one hidden layer and one output, got {net.hidden_layers} and {net.d_out}; for others use "
            "correlators_of(Ensemble(...).sample(points))"
        )
    x = inputs.points("points", points, net.d_in)
    if len(x) > _POINTS:
        raise BadInput(f"points: expected at most {_POINTS}, got {len(x)}")
    return x


def _checked_first(first: int, block: int) -> int:
    """Return the number of the first member, which starts a block."""
    first = inputs.integer("first", first)
    if first % block:
        raise BadInput(f"first: expected a multiple of the block of {block} members, got {first}")
    return first


def _checked_block(block: int | None, members: int, highest: int) -> int:
    """Return the members per block: about _FEWEST_BLOCKS blocks or more; Underpowered with too few members for that."""
    fewest = _FEWEST_BLOCKS * _SMALLEST_BLOCK
    needed = max(fewest, _FEWEST_BLOCKS * highest)
    if members < needed:
        within = f"the highest of orders at {members // _FEWEST_BLOCKS}"
        if members < fewest:
            within = f"at least {fewest} with the highest of orders at {_SMALLEST_BLOCK}"
        alternative = f" or {within}, as in orders=(2, 4)" if needed > fewest else ""
        raise Underpowered(
            f"members: {highest}-point functions with errors need at least {needed} independent samples, got {members}; "
            f"give {needed} or more{alternative}"
        )
    if block is None:
        return min(ACROSS, 1 << int(math.log2(members // _FEWEST_BLOCKS)))
    size = inputs.integer("block", block, minimum=_SMALLEST_BLOCK, maximum=ACROSS)
    if size & (size - 1) or members < 2 * size:
        raise BadInput(f"block: expected a power of two, at most half of the {members} members, got {block!r}")
    return size


def sample_correlators(
    net: MLP,
    points: Any,
    members: int,
    *,
    seed: int = 0,
    orders: Any = (2, 4, 6),
    threads: int | None = None,
    rao_blackwell: bool = True,
    first: int = 0,
    block: int | None = None,
    progress: bool = True,
) -> Correlators:
    """Draw networks with one hidden layer and return their n-point functions, in memory that does not grow with their number.

    Member m is that of ``Ensemble``, a pure function of (seed, m); results are the same to the bit for any number of threads.

    Parameters
    ----------
    net : MLP
        One hidden layer of finite width, one output.
    points : array_like (m, d_in)
        1 <= m <= 16; points may repeat.
    members : int
    seed : int
    orders : sequence of int from 1 to 6
        All moments up to the largest are kept; odd ones only if an odd order is asked for.
    threads : int, optional
    rao_blackwell : bool
        Integrate the Gaussian read-out exactly (smaller variance, and faster); odd orders are then exactly zero.
    first : int
        The first member, a multiple of ``block``: runs over disjoint ranges ``merge``.
    block : int, optional
        Members per block, a power of two from 4 to 256; by default 256, or less with fewer than 8192 members.
    progress : bool
        Draw a bar on a terminal when it takes more than two seconds.

    Raises
    ------
    BadInput
        If an argument is not of the stated form, or sums overflow.
    Underpowered
        With too few members.

    >>> net = MLP(1, widths=(20,), activation="relu")
    >>> sample_correlators(net, [[0.5], [1.0]], 4096).connected(4).value.shape
    (2, 2, 2, 2)
    """
    x, wanted = _checked_points(net, points), _checked_orders(orders)
    members = inputs.integer("members", members, minimum=1)
    seed = inputs.integer("seed", seed, maximum=2**64 - 1)
    size = _checked_block(block, members, max(wanted))
    first = _checked_first(first, size)
    odd = not rao_blackwell and any(order % 2 for order in wanted)
    drawing = Drawing(net, x, max(wanted), odd, bool(rao_blackwell), seed, size)
    return drawing.correlators(_network_tree(drawing, (first, first + members), checked_threads(threads), progress))


@dataclass(frozen=True)
class Drawing:
    """Which networks are drawn at which points x (m, d_in), and of which of their monomials sums are taken.

    ``block`` members make a leaf of the tree of sums; ``odd``: whether there are odd monomials.
    """

    net: MLP
    x: Array
    highest: int
    odd: bool
    given_hidden: bool
    seed: int
    block: int

    @classmethod
    def of(cls, net: MLP, points: Any, members: int, seed: int) -> "Drawing":
        """Return the drawing of ``sample_correlators`` with its default options."""
        x, highest = _checked_points(net, points), 6
        return cls(net, x, highest, False, True, seed, _checked_block(None, members, highest))

    @property
    def plan(self) -> moments.Plan:
        """Which products make which monomial."""
        return moments.plan(len(self.x), self.odd, self.highest, self.given_hidden)

    @property
    def entries(self) -> int:
        """How many sums there are."""
        return moments.packed_size(len(self.x), self.odd, self.highest)

    def sums(self) -> Callable[[int, int, int, Any], Array]:
        """Return the function of (first member, first beyond, level of the node, stop) that returns the sums of a node."""
        built, plan, entries, key = self.net.architecture(), self.plan, self.entries, np.uint64(self.seed)
        columns = np.ascontiguousarray(self.x.T * built.weight_std[0])
        width, biases = self.net.finite_widths[0], built.bias_std
        layer = npoint.Layer(columns, width, biases[0], built.weight_std[1], biases[1])
        activation, block, given_hidden = self.net.compiled_activations()[0], self.block, self.given_hidden
        own = local()

        def node(first: int, beyond: int, level: int, stop: Any) -> Array:
            if not hasattr(own, "room"):  # fresh memory for every node would cost as much as a small node
                own.room = npoint.workspace(layer, block, len(plan.quadruples))
            stack = np.zeros((level + 1, entries))
            npoint.network_sums(
                layer, activation, key, (first, beyond), block, plan, given_hidden, own.room, stack, stop
            )
            total: Array = stack[-1].copy()
            return total

        return node

    def correlators(self, tree: dyadic.Tree) -> Correlators:
        """Return what is known from the sums."""
        how = "moments given the hidden layer" if self.given_hidden else "moments"
        origin, size = (self.net, tuple(map(tuple, self.x.tolist()))), len(self.x)
        return _finite(
            Correlators(tree, size, self.highest, self.odd, self.block, np.zeros(size), self.seed, origin, how)
        )


def _network_tree(drawing: Drawing, members: tuple[int, int], threads: int, progress: bool) -> dyadic.Tree:
    """Return the sums over the networks members[0] … members[1] - 1."""
    block, sums = drawing.block, drawing.sums()
    nodes = _nodes(members, block)
    levels = max(level for level, _ in nodes) + 2
    require(8 * drawing.entries * (len(nodes) + threads * levels), f"sums of moments at {len(drawing.x)} points")

    def work(node: dyadic.Node, stop: Any) -> tuple[int, Array]:
        start, end = (block * edge for edge in dyadic.blocks_of(node))
        beyond = min(end, members[1])
        return beyond - start, sums(start, beyond, node[0], stop)

    with LateBar(progress, members[1] - members[0]) as bars:
        found = in_order(work, nodes, threads=threads, progress=lambda node: bars.advance(block << node[0]))
    return dyadic.tree_of(dict(zip(nodes, found, strict=True)))


def _nodes(members: tuple[int, int], block: int) -> list[dyadic.Node]:
    """Return the nodes over the blocks of members[0] … members[1] - 1; the last block may be cut short."""
    first, beyond = members[0] // block, -(-members[1] // block)
    return dyadic.nodes_of(first, beyond, dyadic.level_for([(first, beyond)]))


def correlators_of(
    samples: Any, *, orders: Any = (2, 4, 6), centre: Any = None, first: int = 0, block: int | None = None
) -> Correlators:
    """Return the n-point functions of samples already drawn, of any ensemble: trained, coarse-grained, of any depth.

    Parameters
    ----------
    samples : array_like (members, m)
        One row per independent member, as ``Ensemble.sample`` returns; 1 <= m <= 16.
    orders : sequence of int from 1 to 6
        The moments up to the largest are kept, odd ones included.
    centre : array_like (m,), optional
        Subtracted from the samples before they are multiplied, against cancellation; by default their mean.  To ``merge``
        parts give each the same one.
    first : int
        Number of the first member, a multiple of ``block``, for parts that are to be merged.
    block : int, optional
        Members per block, a power of two from 4 to 256; by default 256, or less with fewer than 8192 members.

    Raises
    ------
    BadInput
    Underpowered
        With too few members for the order.

    >>> samples = np.random.Generator(np.random.Philox(0)).exponential(size=(4000, 1))
    >>> third = correlators_of(samples, orders=(3,)).connected(3)                 # 2 for an exponential law
    >>> bool(abs(third.value[0, 0, 0] - 2.0) < 4 * third.std_error[0, 0, 0])
    True
    """
    values = inputs.real_array("samples", samples)
    if values.ndim != 2 or not 1 <= values.shape[1] <= _POINTS:
        raise BadInput(f"samples: expected shape (members, m) with 1 <= m <= {_POINTS}, got {values.shape}")
    highest = max(_checked_orders(orders))
    members, points = values.shape
    size = _checked_block(block, members, highest)
    first = _checked_first(first, size)
    middle = values.mean(axis=0) if centre is None else inputs.real_array("centre", centre)
    if middle.shape != (points,):
        raise BadInput(f"centre: expected shape ({points},), got {middle.shape}")
    plan = moments.plan(points, True, highest, False)
    parts = {}
    for node in _nodes((first, first + members), size):
        start, beyond = (size * edge - first for edge in dyadic.blocks_of(node))
        stack = np.zeros((node[0] + 1, moments.packed_size(points, True, highest)))
        part = values[start : min(beyond, members)]
        npoint.sample_sums(part, middle, size, plan, stack)
        parts[node] = len(part), stack[-1].copy()
    return _finite(Correlators(dyadic.tree_of(parts), points, highest, True, size, middle, None, None, "moments"))


def _finite(found: Correlators) -> Correlators:
    """Return the correlators; BadInput if a sum is not a finite number."""
    if not np.all(np.isfinite(found.tree.sums)):
        raise BadInput(f"orders: products of up to {found.highest} outputs are not finite numbers")
    return found
