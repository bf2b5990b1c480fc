"""What are the moments of a random network's outputs? Sums over many networks of all monomials of f at a few points.

f(x) = Σ_i w_i σ(W_i·x + b_i) + b with Gaussian read-out.  ACROSS networks are drawn side by side, one in each lane of the
vectors, and a few units at a time, so that only the outputs (points, ACROSS), or their covariances given the hidden layer
(pairs, ACROSS), outlive a unit.  The numbers are those of ``numeric.ensemble``: the same streams in the same order.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.jit import fma, vectorised
from fieldflow.numeric.mlp import apply_activation
from fieldflow.numeric.moments import add_up, pairs_of
from fieldflow.numeric.rng import ACROSS, HIDDEN, READOUT, fill_normals_across

UNITS = 16
"""Units drawn at a time; even, so that they start with a pair of normals."""
_TILE = 64
"""Members whose products are summed at a time, within the first cache."""


class Layer(NamedTuple):
    """A one-hidden-layer network at its points: x (d_in, points) already times the standard deviation of a weight."""

    x: NDArray[np.float64]
    width: int
    bias_std: float
    readout_std: float
    readout_bias_std: float


class Workspace(NamedTuple):
    """What is overwritten from one group of ACROSS networks to the next."""

    numbers: NDArray[np.float64]
    readout: NDArray[np.float64]
    scratch: NDArray[np.float64]
    hidden: NDArray[np.float64]
    outputs: NDArray[np.float64]
    pairs: NDArray[np.float64]
    quadruples: NDArray[np.float64]


def aligned(*shape: int) -> NDArray[np.float64]:
    """Return an uninitialised array that starts with a cache line: vectors across two lines take twice as long.

    >>> aligned(3, 256).ctypes.data % 64
    0
    """
    size = math.prod(shape)
    buffer = np.empty(size + 8)
    start = -(buffer.ctypes.data // 8) % 8
    return buffer[start : start + size].reshape(shape)


def workspace(layer: Layer, block: int, quadruples: int) -> Workspace:
    """Return the workspace of a layer, with room for that many sums of products of four outputs a network."""
    d_in, points = layer.x.shape
    return Workspace(
        aligned(UNITS * (d_in + 1), ACROSS),
        aligned(UNITS, ACROSS),
        aligned(2, ACROSS),
        aligned(points * UNITS * ACROSS),
        aligned(points, ACROSS),
        aligned(points * (points + 1) // 2, ACROSS),
        aligned(quadruples, block),
    )


@vectorised
def _preactivations(layer, numbers, units, hidden):  # type: ignore[no-untyped-def]
    """Fill hidden[tile, point·units + unit] with W·x + b of every member."""
    d_in, points = layer.x.shape
    for unit in range(units):
        first = unit * (d_in + 1)
        for tile in range(hidden.shape[0]):
            members = slice(tile * _TILE, (tile + 1) * _TILE)
            bias, weight = numbers[first + d_in, members], numbers[first, members]
            for point in range(points):
                row = hidden[tile, point * units + unit]
                scale = layer.x[0, point]
                for i in range(_TILE):
                    row[i] = fma(weight[i], scale, layer.bias_std * bias[i])
                for axis in range(1, d_in):
                    other, scale = numbers[first + axis, members], layer.x[axis, point]
                    for i in range(_TILE):
                        row[i] = fma(other[i], scale, row[i])


@vectorised
def _add_products(total, left, right):  # type: ignore[no-untyped-def]
    """Add Σ_unit left·right, both (units, TILE), to total (TILE,)."""
    for unit in range(left.shape[0]):
        for i in range(_TILE):
            total[i] = fma(left[unit, i], right[unit, i], total[i])


@vectorised
def _add_covariances(out, hidden, points, members):  # type: ignore[no-untyped-def]
    """Add Σ_unit h(p) h(q) to the rows p <= q of ``out``; hidden (points·units, TILE)."""
    units = hidden.shape[0] // points
    pair = 0
    for p in range(points):
        left = hidden[p * units : (p + 1) * units]
        for q in range(p, points):
            _add_products(out[pair, members], left, hidden[q * units : (q + 1) * units])
            pair += 1


@vectorised
def _add_outputs(out, hidden, readout, points, members):  # type: ignore[no-untyped-def]
    """Add Σ_unit w h(p) to the rows p of ``out``; readout (units, ACROSS)."""
    units = readout.shape[0]
    weights = np.empty((units, _TILE))
    for unit in range(units):
        weights[unit] = readout[unit, members]
    for p in range(points):
        _add_products(out[p, members], weights, hidden[p * units : (p + 1) * units])


@vectorised
def draw(layer, activation, seed, first, given_hidden, work, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` for the members first, first + 1, …, one per column.

    ``given_hidden``: the covariances of f over the read-out given the hidden layer, (pairs of points, ACROSS), pairs p <= q
    in lexicographic order; else f itself, (points, ACROSS).
    """
    d_in, points = layer.x.shape
    out[:] = 0.0
    for start in range(0, layer.width, UNITS):
        units = min(UNITS, layer.width - start)
        rows = (units * (d_in + 1) + 1) // 2 * 2
        fill_normals_across(work.numbers[:rows], work.scratch, start * (d_in + 1) // 2, seed, first, HIDDEN)
        if not given_hidden:
            fill_normals_across(work.readout[: (units + 1) // 2 * 2], work.scratch, start // 2, seed, first, READOUT)
        tiles = ACROSS // _TILE
        hidden = work.hidden[: points * units * ACROSS].reshape((tiles, points * units, _TILE))
        _preactivations(layer, work.numbers, units, hidden)
        apply_activation(activation, hidden.reshape(-1))
        for tile in range(tiles):
            members = slice(tile * _TILE, (tile + 1) * _TILE)
            if given_hidden:
                _add_covariances(out, hidden[tile], points, members)
            else:
                _add_outputs(out, hidden[tile], work.readout[:units], points, members)
    if given_hidden:
        out[:] = out * layer.readout_std**2 + layer.readout_bias_std**2
        return
    fill_normals_across(work.readout[:2], work.scratch, layer.width // 2, seed, first, READOUT)
    bias = work.readout[layer.width % 2]
    for p in range(points):
        for i in range(ACROSS):
            out[p, i] = fma(layer.readout_std, out[p, i], layer.readout_bias_std * bias[i])


@vectorised
def _block_of(drawn, count, block):  # type: ignore[no-untyped-def]
    """Return the first ``count`` columns, and zeros in the others, as an array of ``block`` columns."""
    if block == drawn.shape[1]:
        drawn[:, count:] = 0.0
        return drawn
    chosen = np.zeros((drawn.shape[0], block))
    chosen[:, :count] = drawn[:, :count]
    return chosen


@vectorised
def carry(stack, leaf, total):  # type: ignore[no-untyped-def]
    """Add the sums ``total`` of leaf number ``leaf`` to a binary tree; stack[k] holds the sum of a full subtree of level k."""
    level = 0
    while leaf >> level & 1:
        total[:] = stack[level] + total
        level += 1
    stack[level] = total


@vectorised
def network_sums(layer, activation, seed, members, block, plan, given_hidden, work, stack, stop):  # type: ignore[no-untyped-def]
    """Leave in the last row of ``stack`` (levels + 1, entries) the sums over the members first … beyond - 1 = ``members``.

    As many blocks as the stack has leaves; ``stop[0] != 0`` ends the work early.
    """
    first, beyond = members
    pairs, numbers = work.pairs, work.outputs
    total = np.empty(stack.shape[1])
    for leaf in range(1 << (stack.shape[0] - 1)):
        if stop[0] != 0:
            return
        start = first + leaf * block
        count = min(block, beyond - start)
        if given_hidden:
            draw(layer, activation, seed, start, True, work, pairs)
            chosen = _block_of(pairs, count, block)
            add_up(plan, numbers, chosen, work.quadruples, total)
        else:
            draw(layer, activation, seed, start, False, work, numbers)
            chosen = _block_of(numbers, count, block)
            products = _block_of(pairs, 0, block)
            pairs_of(chosen, products)
            add_up(plan, chosen, products, work.quadruples, total)
        carry(stack, leaf, total)


@vectorised
def sample_sums(samples, centre, block, plan, stack):  # type: ignore[no-untyped-def]
    """Leave in the last row of ``stack`` the sums over the rows of ``samples`` (members, points) minus ``centre`` (points,)."""
    points = centre.size
    numbers = np.empty((points, block))
    pairs = np.empty((points * (points + 1) // 2, block))
    quadruples = np.empty((plan.quadruples.shape[0], block))
    total = np.empty(stack.shape[1])
    for leaf in range(1 << (stack.shape[0] - 1)):
        start = leaf * block
        count = min(block, samples.shape[0] - start)
        numbers[:] = 0.0
        for member in range(count):
            for point in range(points):
                numbers[point, member] = samples[start + member, point] - centre[point]
        pairs_of(numbers, pairs)
        add_up(plan, numbers, pairs, quadruples, total)
        carry(stack, leaf, total)
