"""What does an ensemble of real networks do? Draw, train and coarse-grain each member.

Every member is a pure function of (seed, member), so blocks of members can be computed anywhere and in any order.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.coarsegrain import add_to_shells, fisher_diagonal, removed_from, sloppy_counts, summed_shells
from fieldflow.numeric.jit import jit, merged
from fieldflow.numeric.mlp import (
    first_layer_moments,
    hidden_outputs,
    layer_outputs,
    lower_outputs,
    member_outputs,
    normals_per_member,
    scale_features,
)
from fieldflow.numeric.ordering import chain
from fieldflow.numeric.rng import HIDDEN, READOUT, REDRAW, fill_normals
from fieldflow.numeric.tiles import add_gram, add_product, gram, mirror, product
from fieldflow.numeric.training import solve

DIVERGENCE = 1e3
"""A member is excluded iff its residual from zero initialisation grew by more than this factor."""

SEEN, CHUNK = 256, 64
"""Neurons at a time on the training and on the other inputs: their features stay in a near cache until they are used."""


class Training(NamedTuple):
    """Training data and rule for compiled code: x (d_in, n), y (n, d_out), see numeric.training for the numbers."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    rate: float
    method: int
    duration: float


class Shell(NamedTuple):
    """Coarse-graining for compiled code.

    ``inputs`` (d_in, n_fisher) are the Fisher inputs; with none, the caller gives λ per member.
    """

    cutoffs: NDArray[np.float64]
    inputs: NDArray[np.float64]
    noise_variance: float
    resample: bool


class BlockSample(NamedTuple):
    """One block of members: outputs (m, cutoffs, p, d_out), training outputs (m, n, d_out), sloppy counts, exclusion."""

    outputs: NDArray[np.float64]
    train_outputs: NDArray[np.float64]
    sloppy: NDArray[np.int64]
    silent: NDArray[np.int64]
    diverged: NDArray[np.bool_]


class Workspace(NamedTuple):
    """Memory that one thread uses for member after member: fresh arrays of this size cost more than the arithmetic.

    ``numbers`` of the hidden layers; ``weights``, ``redrawn`` (size, d_out) read-outs; on the training inputs, in an order
    of their own, ``seen`` (size, n) features, ``chained`` (n, n) their Gram matrix and ``start`` (d_out, n) what the initial
    read-out makes of them; ``kernel`` (n, n) the same matrix in the order of the samples; ``there`` (CHUNK, p + n_fisher)
    features of a few neurons; ``kept``, ``drawn`` (cutoffs + 1, d_out, p) sums over shells; ``offsets`` (SEEN,) scratch.
    """

    numbers: NDArray[np.float64]
    weights: NDArray[np.float64]
    redrawn: NDArray[np.float64]
    seen: NDArray[np.float64]
    chained: NDArray[np.float64]
    start: NDArray[np.float64]
    kernel: NDArray[np.float64]
    there: NDArray[np.float64]
    kept: NDArray[np.float64]
    drawn: NDArray[np.float64]
    offsets: NDArray[np.int64]


@jit
def member_fisher(net, activations, numbers, shell, given, slot):  # type: ignore[no-untyped-def]
    """Return λ of every read-out parameter of one member (read-out bias last, 1/s², when there is one)."""
    bias = 1 if net.bias_std[-1] != 0.0 else 0
    width = net.widths[-1]
    diagonal = np.empty(width + bias)
    if shell.inputs.shape[1] > 0:
        outputs = hidden_outputs(net, activations, numbers, shell.inputs)
        law = fisher_diagonal(outputs, shell.noise_variance)
    else:
        law = given[slot]
    for neuron in range(width):
        diagonal[neuron] = law[neuron]
    if bias:
        diagonal[width] = 1.0 / shell.noise_variance
    return diagonal


@merged
def _train(kernel, start, training, reached):  # type: ignore[no-untyped-def]
    """Return what training adds to the read-out, in the dual (n, d_out), and whether the member diverged.

    ``kernel`` (n, n) and ``start`` (d_out, n), f before training, give f after it in ``reached`` (n, d_out).
    """
    changes = np.empty((kernel.shape[0], start.shape[0]))
    diverged = False
    for output in range(start.shape[0]):
        target = training.y[:, output].copy()
        rule = (training.rate, training.method, training.duration)
        # By linearity M·y - M·start, the changes from zero and from the initial read-out, in one.
        change, _, size = solve(kernel, target - start[output], *rule, 0)
        # From zero for its residual alone: by the same matrix, so it will take about as large a basis.
        _, residual, _ = solve(kernel, target, *rule, size)
        diverged |= not np.sqrt(np.dot(residual, residual)) <= DIVERGENCE * np.sqrt(np.dot(target, target))
        learnt = np.dot(kernel, change)
        for sample in range(change.size):
            changes[sample, output] = change[sample]
            reached[sample, output] = start[output, sample] + learnt[sample]
    return changes, diverged


@jit
def train_readout(features, initial, training):  # type: ignore[no-untyped-def]
    """Return the read-out after training, f on the training inputs, and whether the member diverged from zero."""
    reached = np.empty((features.shape[1], initial.shape[1]))
    changes, diverged = _train(gram(features), product(initial.T, features), training, reached)
    return initial + np.dot(features, changes), reached, diverged


@merged
def _see(net, activations, x, work):  # type: ignore[no-untyped-def]
    """Fill features, Gram matrix and initial outputs on the training inputs x (d_in, n), a few neurons at a time."""
    inputs, rows = lower_outputs(net, activations, work.numbers, x)
    width, size, last = rows.shape[0], work.seen.shape[0], net.widths.size - 1
    work.chained[:] = 0.0
    work.start[:] = 0.0
    for first in range(0, size, SEEN):
        end = min(first + SEEN, size)
        neurons = min(end, width)
        layer_outputs(net, activations, last, rows[first:neurons], inputs, work.seen[first:neurons])
        scale_features(net, work.seen[first:neurons])
        work.seen[neurons:end] = net.bias_std[-1]
        add_gram(work.chained, work.seen[first:end], work.offsets)
        add_product(work.start, work.weights[first:end].T, work.seen[first:end])
    mirror(work.chained)


@merged
def _arrange(work, places):  # type: ignore[no-untyped-def]
    """Bring the Gram matrix and the initial outputs to the order of the samples."""
    start = np.empty(work.start.shape)
    for sample in range(places.size):
        source, row = work.chained[places[sample]], work.kernel[sample]
        for other in range(places.size):
            row[other] = source[places[other]]
        for output in range(start.shape[0]):
            start[output, sample] = work.start[output, places[sample]]
    return start


@merged
def _move(work, neighbours, changes):  # type: ignore[no-untyped-def]
    """Add to the read-out what was learnt, ``changes`` (n, d_out) in the dual; return whether all of it is finite."""
    n, outputs = changes.shape
    chained = np.empty((n, outputs))
    for place in range(n):
        for output in range(outputs):
            chained[place, output] = changes[neighbours[place], output]
    moved = np.dot(work.seen, chained)
    finite = True
    for unit in range(moved.shape[0]):
        for output in range(outputs):
            work.weights[unit, output] += moved[unit, output]
            finite &= np.isfinite(work.weights[unit, output])
    return finite


@merged
def _coarse_grain(net, activations, every, shell, given, work, sloppy):  # type: ignore[no-untyped-def]
    """Fill the sums over shells and the counts of ``sloppy`` neurons (cutoffs,); return how many have λ = 0.

    ``every`` (d_in, p + n_fisher): points of evaluation, then Fisher inputs; without these ``given`` (width,) is λ.
    """
    inputs, rows = lower_outputs(net, activations, work.numbers, every)
    width, last, points = rows.shape[0], net.widths.size - 1, work.kept.shape[2]
    work.kept[:] = 0.0
    work.drawn[:] = 0.0
    sloppy[:] = 0
    silent = 0
    for first in range(0, width, CHUNK):
        end = min(first + CHUNK, width)
        there = work.there[: end - first]
        layer_outputs(net, activations, last, rows[first:end], inputs, there)
        diagonal = given[first:end]
        if every.shape[1] > points:
            diagonal = fisher_diagonal(there[:, points:], shell.noise_variance)
        scale_features(net, there)
        removed = removed_from(diagonal, shell.cutoffs)
        add_to_shells(work.kept, work.drawn, there, work.weights[first:end], work.redrawn[first:end], removed)
        counts = sloppy_counts(removed, end - first, shell.cutoffs.size)
        for cutoff in range(counts.size):
            sloppy[cutoff] += counts[cutoff]
        for neuron in range(diagonal.size):
            silent += 1 if diagonal[neuron] == 0.0 else 0
    if work.weights.shape[0] > width:
        there = work.there[:1]
        there[:] = net.bias_std[-1]
        bias = np.empty(1)
        bias[0] = 1.0 / shell.noise_variance
        removed = removed_from(bias, shell.cutoffs)
        add_to_shells(work.kept, work.drawn, there, work.weights[width:], work.redrawn[width:], removed)
    return silent


@merged
def _workspace(net, x, training, shell, outputs):  # type: ignore[no-untyped-def]
    """Return the memory for members of this network."""
    size = net.widths[-1] + (1 if net.bias_std[-1] != 0.0 else 0)
    n, points, shells = training.x.shape[1], x.shape[1], shell.cutoffs.size + 1
    return Workspace(
        np.empty(normals_per_member(net)),
        np.empty((size, outputs)),
        np.empty((size, outputs)),
        np.empty((size, n)),
        np.empty((n, n)),
        np.empty((outputs, n)),
        np.empty((n, n)),
        np.empty((CHUNK, points + shell.inputs.shape[1])),
        np.empty((shells, outputs, points)),
        np.empty((shells, outputs, points)),
        np.empty(SEEN, np.int64),
    )


@jit
def simulate_block(net, activations, seed, first, x, training, shell, given, out, stop):  # type: ignore[no-untyped-def]
    """Fill ``out`` (a BlockSample) with the members first, first + 1, …; x (d_in, p) are the points of evaluation.

    ``given`` (members, width) holds λ when the shell has no Fisher inputs.  ``stop[0] != 0`` ends the block early.
    """
    work = _workspace(net, x, training, shell, out.outputs.shape[3])
    neighbours = chain(net, training.x)
    places, x_train = np.empty_like(neighbours), np.empty_like(training.x)
    for place in range(neighbours.size):
        places[neighbours[place]] = place
        for axis in range(training.x.shape[0]):
            x_train[axis, place] = training.x[axis, neighbours[place]]
    points = x.shape[1]
    every = np.empty((x.shape[0], points + shell.inputs.shape[1]))
    # Number by number: a slice assigned from an array compiles the words of an error message with it.
    for axis in range(every.shape[0]):
        for point in range(every.shape[1]):
            every[axis, point] = x[axis, point] if point < points else shell.inputs[axis, point - points]
    law = np.empty(0)
    for slot in range(out.diverged.size):
        if stop[0] != 0:
            return
        member = first + slot
        # Streams as numbers: of each constant Numba would compile a version of its own.
        fill_normals(work.numbers, seed, member, np.int64(HIDDEN))
        fill_normals(work.weights.reshape(-1), seed, member, np.int64(READOUT))
        fill_normals(work.redrawn.reshape(-1), seed, member, np.int64(REDRAW))
        if training.x.shape[1] > 0:
            _see(net, activations, x_train, work)
            changes, diverged = _train(work.kernel, _arrange(work, places), training, out.train_outputs[slot])
            out.diverged[slot] = not _move(work, neighbours, changes) or diverged
        if shell.inputs.shape[1] == 0:
            law = given[slot]
        out.silent[slot] = _coarse_grain(net, activations, every, shell, law, work, out.sloppy[slot])
        summed_shells(work.kept, work.drawn, shell.resample, out.outputs[slot])


@jit
def moments_block(net, seed, first, members, stream, input_mean, input_std):  # type: ignore[no-untyped-def]
    """Return mean and deviation (members, width) of the first preactivations over Gaussian inputs."""
    means = np.empty((members, net.widths[0]))
    deviations = np.empty((members, net.widths[0]))
    for slot in range(members):
        means[slot], deviations[slot] = first_layer_moments(net, seed, first + slot, stream, input_mean, input_std)
    return means, deviations


@jit
def outputs_block(net, activations, seed, first, members, stream, x):  # type: ignore[no-untyped-def]
    """Return the hidden outputs (members, width, p) of consecutive members."""
    result = np.empty((members, net.widths[-1], x.shape[1]))
    for slot in range(members):
        outputs = member_outputs(net, activations, seed, first + slot, stream, x)
        # Number by number, as in ``simulate_block``.
        for neuron in range(outputs.shape[0]):
            for point in range(outputs.shape[1]):
                result[slot, neuron, point] = outputs[neuron, point]
    return result


def empty_sample(members: int, cutoffs: int, points: int, trained: int, outputs: int) -> BlockSample:
    """Return the arrays that ``simulate_block`` fills."""
    return BlockSample(
        np.empty((members, cutoffs, points, outputs)),
        np.empty((members, trained, outputs)),
        np.zeros((members, cutoffs), np.int64),
        np.zeros(members, np.int64),
        np.zeros(members, np.bool_),
    )
