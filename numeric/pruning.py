"""What is left of a trained network when a fraction of its read-out weights is set to zero, by whichever rule?

Each rule is a score per weight: of every member the lowest scores go first, exactly the stated number of them.  Equation (53)
of arXiv:2405.17538 for the Fisher information; LeCun, Denker, Solla (1990) for the saliency.
"""

import numpy as np

from fieldflow.numeric.coarsegrain import shell_outputs
from fieldflow.numeric.ensemble import member_fisher, train_readout
from fieldflow.numeric.jit import jit
from fieldflow.numeric.mlp import hidden_outputs, normals_per_member, readout_features
from fieldflow.numeric.rng import HIDDEN, READOUT, UNIFORM, fill_normals, fill_uniforms

RULES = {"random": 0, "magnitude": 1, "fisher": 2, "saliency": 3}
"""uniform numbers; |ω|; λ; ω²λ."""


@jit
def removed_by_rank(score, counts):  # type: ignore[no-untyped-def]
    """Return per weight the index of the first of the increasing ``counts`` at which it is among that many lowest scores."""
    first = np.empty(score.size, np.int64)
    # Ties (units that never fire) go by position.
    order = np.argsort(score, kind="mergesort")
    for rank in range(score.size):
        first[order[rank]] = np.searchsorted(counts, rank, side="right")
    return first


@jit
def pruned_block(net, activations, seed, first, x, training, shell, given, rules, counts, outputs, diverged, stop):  # type: ignore[no-untyped-def]
    """Fill ``outputs`` (members, rules, counts, p) with consecutive members, trained and then pruned; see ``simulate_block``.

    A read-out bias is never removed.
    """
    width = net.widths[-1]
    size = width + (1 if net.bias_std[-1] != 0.0 else 0)
    numbers, draws, uniforms = np.empty(normals_per_member(net)), np.empty(size), np.empty(width)
    score = np.empty(width)
    removed = np.full(size, counts.size, np.int64)
    for slot in range(diverged.size):
        if stop[0] != 0:
            return
        member = first + slot
        fill_normals(numbers, seed, member, HIDDEN)
        features = readout_features(net, hidden_outputs(net, activations, numbers, x))
        fill_normals(draws, seed, member, READOUT)
        weights = draws.reshape((size, 1)).copy()
        if training.x.shape[1] > 0:
            seen = readout_features(net, hidden_outputs(net, activations, numbers, training.x))
            weights, _, grown = train_readout(seen, weights, training)
            diverged[slot] = grown or not np.all(np.isfinite(weights))
        diagonal = member_fisher(net, activations, numbers, shell, given, slot)
        fill_uniforms(uniforms, seed, member, UNIFORM)
        for place in range(rules.size):
            for neuron in range(width):
                if rules[place] == 0:
                    score[neuron] = uniforms[neuron]
                elif rules[place] == 1:
                    score[neuron] = abs(weights[neuron, 0])
                elif rules[place] == 2:
                    score[neuron] = diagonal[neuron]
                else:
                    score[neuron] = weights[neuron, 0] ** 2 * diagonal[neuron]
            removed[:width] = removed_by_rank(score, counts)
            outputs[slot, place] = shell_outputs(features, weights, weights, removed, counts.size, False)[:, :, 0]
