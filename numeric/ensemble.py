"""What does an ensemble of real networks do? Draw, train and coarse-grain each member.

Every member is a pure function of (seed, member), so blocks of members can be computed anywhere and in any order.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.blas import gram
from fieldflow.numeric.coarsegrain import fisher_diagonal, removed_from, shell_outputs, sloppy_counts
from fieldflow.numeric.jit import jit
from fieldflow.numeric.mlp import (
    first_layer_moments,
    hidden_outputs,
    member_outputs,
    normals_per_member,
    readout_features,
)
from fieldflow.numeric.rng import HIDDEN, READOUT, REDRAW, fill_normals
from fieldflow.numeric.training import dual_solution

DIVERGENCE = 1e3
"""A member is excluded iff its residual from zero initialisation grew by more than this factor."""


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


@jit
def member_fisher(net, activations, numbers, shell, given, slot):  # type: ignore[no-untyped-def]
    """Return λ of every read-out parameter of one member (read-out bias last, 1/s², when there is one)."""
    bias = 1 if net.bias_std[-1] != 0.0 else 0
    width = net.widths[-1]
    diagonal = np.empty(width + bias)
    if shell.inputs.shape[1] > 0:
        outputs = hidden_outputs(net, activations, numbers, shell.inputs)
        diagonal[:width] = fisher_diagonal(outputs, shell.noise_variance)
    else:
        diagonal[:width] = given[slot]
    if bias:
        diagonal[width] = 1.0 / shell.noise_variance
    return diagonal


@jit
def train_readout(features, initial, training):  # type: ignore[no-untyped-def]
    """Return the read-out after training, f on the training inputs, and whether the member diverged from zero."""
    kernel = gram(features)
    weights = initial.copy()
    reached = np.empty((features.shape[1], initial.shape[1]))
    diverged = False
    for output in range(initial.shape[1]):
        target = np.ascontiguousarray(training.y[:, output])
        start = np.dot(features.T, np.ascontiguousarray(initial[:, output]))
        from_zero, residual = dual_solution(kernel, target, training.rate, training.method, training.duration)
        from_start, _ = dual_solution(kernel, start, training.rate, training.method, training.duration)
        change = from_zero - from_start
        weights[:, output] += np.dot(features, change)
        reached[:, output] = start + np.dot(kernel, change)
        growth = np.sqrt(np.sum(residual * residual))
        if not growth <= DIVERGENCE * np.sqrt(np.sum(target * target)):
            diverged = True
    return weights, reached, diverged


@jit
def simulate_block(net, activations, seed, first, x, training, shell, given, out, stop):  # type: ignore[no-untyped-def]
    """Fill ``out`` (a BlockSample) with the members first, first + 1, …; x (d_in, p) are the points of evaluation.

    ``given`` (members, width) holds λ when the shell has no Fisher inputs.  ``stop[0] != 0`` ends the block early.
    """
    bias = 1 if net.bias_std[-1] != 0.0 else 0
    size = net.widths[-1] + bias
    outputs = out.outputs.shape[3]
    numbers = np.empty(normals_per_member(net))
    draws = np.empty(size * outputs)
    cutoffs = shell.cutoffs.size
    for slot in range(out.diverged.size):
        if stop[0] != 0:
            return
        member = first + slot
        fill_normals(numbers, seed, member, HIDDEN)
        features = readout_features(net, hidden_outputs(net, activations, numbers, x))
        fill_normals(draws, seed, member, READOUT)
        weights = draws.reshape((size, outputs)).copy()
        if training.x.shape[1] > 0:
            seen = readout_features(net, hidden_outputs(net, activations, numbers, training.x))
            weights, out.train_outputs[slot], diverged = train_readout(seen, weights, training)
            out.diverged[slot] = diverged or not np.all(np.isfinite(weights))
        diagonal = member_fisher(net, activations, numbers, shell, given, slot)
        removed = removed_from(diagonal, shell.cutoffs)
        fill_normals(draws, seed, member, REDRAW)
        redrawn = draws.reshape((size, outputs))
        out.outputs[slot] = shell_outputs(features, weights, redrawn, removed, cutoffs, shell.resample)
        out.sloppy[slot] = sloppy_counts(removed, net.widths[-1], cutoffs)
        out.silent[slot] = np.sum(diagonal == 0.0)


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
        result[slot] = member_outputs(net, activations, seed, first + slot, stream, x)
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
