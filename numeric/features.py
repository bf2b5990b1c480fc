"""What do read-outs do on features that are not their own? The three ensembles behind equations (63)-(76) of arXiv:2405.17538.

*shared*: one frozen hidden layer for all members, each with its own initial read-out, trained on it.
*factorised*: the same trained read-outs, each on a freshly drawn hidden layer.
*independent*: every member has its own hidden layer and is trained on it.

Features are normalised: f = Σ ω_i feature_i with ω ~ N(0, 1) before training.  Members are functions of (seed, member).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.coarsegrain import removed_from, shell_outputs
from fieldflow.numeric.jit import jit
from fieldflow.numeric.mlp import hidden_outputs, normals_per_member, readout_features
from fieldflow.numeric.rng import HIDDEN, READOUT, REDRAW, fill_normals
from fieldflow.numeric.tiles import gram
from fieldflow.numeric.training import dual_solution


class Frozen(NamedTuple):
    """A frozen hidden layer and what is learnt on it: features (m, n) at the training inputs, targets (n,), rule."""

    seen: NDArray[np.float64]
    target: NDArray[np.float64]
    rate: float
    method: int
    duration: float


@jit
def _trained(seen, kernel, from_zero, initial, frozen):  # type: ignore[no-untyped-def]
    """Return the read-out after training from ``initial``; ``from_zero`` is the dual solution of the targets."""
    start = np.dot(seen.T, initial)
    from_start, _ = dual_solution(kernel, start, frozen.rate, frozen.method, frozen.duration)
    return initial + np.dot(seen, from_zero - from_start)


@jit
def shared_block(frozen, features, removed, cutoffs, seed, first, outputs, stop):  # type: ignore[no-untyped-def]
    """Fill ``outputs`` (members, cutoffs, p) with f_Λ of consecutive members on one hidden layer.

    ``features`` (m, p) at the points; ``removed`` (m,) the index of the first of ``cutoffs`` at which a weight is sloppy.
    """
    size = features.shape[0]
    kernel = gram(frozen.seen)
    from_zero, _ = dual_solution(kernel, frozen.target, frozen.rate, frozen.method, frozen.duration)
    draws, redrawn = np.empty(size), np.empty(size)
    for slot in range(outputs.shape[0]):
        if stop[0] != 0:
            return
        fill_normals(draws, seed, first + slot, READOUT)
        fill_normals(redrawn, seed, first + slot, REDRAW)
        weights = _trained(frozen.seen, kernel, from_zero, draws, frozen)
        column, fresh = weights.reshape((size, 1)), redrawn.reshape((size, 1))
        outputs[slot] = shell_outputs(features, column, fresh, removed, cutoffs, True)[:, :, 0]


@jit
def factorised_block(net, activations, frozen, x, fixed, given, cutoffs, seed, first, out, own, stop):  # type: ignore[no-untyped-def]
    """Fill ``out`` and ``own`` (members, cutoffs, p): read-outs trained on the frozen layer, on a hidden layer drawn anew.

    ``fixed`` (m,) is the partition of all members in ``out``; in ``own`` each has that of its new hidden layer, whose
    Fisher diagonal is ``given`` (members, m).
    """
    size = frozen.seen.shape[0]
    kernel = gram(frozen.seen)
    from_zero, _ = dual_solution(kernel, frozen.target, frozen.rate, frozen.method, frozen.duration)
    numbers = np.empty(normals_per_member(net))
    draws, redrawn = np.empty(size), np.empty(size)
    for slot in range(out.shape[0]):
        if stop[0] != 0:
            return
        member = first + slot
        fill_normals(draws, seed, member, READOUT)
        fill_normals(redrawn, seed, member, REDRAW)
        fill_normals(numbers, seed, member, HIDDEN)
        weights = _trained(frozen.seen, kernel, from_zero, draws, frozen)
        features = readout_features(net, hidden_outputs(net, activations, numbers, x))
        column, fresh = weights.reshape((size, 1)), redrawn.reshape((size, 1))
        mine = removed_from(given[slot], cutoffs)
        out[slot] = shell_outputs(features, column, fresh, fixed, cutoffs.size, True)[:, :, 0]
        own[slot] = shell_outputs(features, column, fresh, mine, cutoffs.size, True)[:, :, 0]


@jit
def independent_block(net, activations, x, x_train, frozen, given, cutoffs, seed, first, own, sums, stop):  # type: ignore[no-untyped-def]
    """Fill ``own`` (members, cutoffs, p) with members trained on their own hidden layers, ``sums`` (members, 2) with Σω, Σω².

    Of ``frozen`` only targets and rule are used.
    """
    size = net.widths[-1]
    numbers = np.empty(normals_per_member(net))
    draws, redrawn = np.empty(size), np.empty(size)
    for slot in range(own.shape[0]):
        if stop[0] != 0:
            return
        member = first + slot
        fill_normals(draws, seed, member, READOUT)
        fill_normals(redrawn, seed, member, REDRAW)
        fill_normals(numbers, seed, member, HIDDEN)
        features = readout_features(net, hidden_outputs(net, activations, numbers, x))
        seen = readout_features(net, hidden_outputs(net, activations, numbers, x_train))
        kernel = gram(seen)
        from_zero, _ = dual_solution(kernel, frozen.target, frozen.rate, frozen.method, frozen.duration)
        weights = _trained(seen, kernel, from_zero, draws, frozen)
        sums[slot, 0] = np.sum(weights)
        sums[slot, 1] = np.sum(weights * weights)
        column, fresh = weights.reshape((size, 1)), redrawn.reshape((size, 1))
        mine = removed_from(given[slot], cutoffs)
        own[slot] = shell_outputs(features, column, fresh, mine, cutoffs.size, True)[:, :, 0]
