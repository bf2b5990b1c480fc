"""Which read-out weights does the information shell remove, and what is left of the function?

Fisher diagonal λ_i = E_x[h_i²]/s² of the raw read-out weight (Gaussian likelihood); sloppy λ < Λ (strict), stiff λ >= Λ:
equations (53), (94)-(97) of arXiv:2405.17538.  One pass over the neurons serves all cut-offs.
"""

import numpy as np

from fieldflow.numeric.jit import jit


@jit
def fisher_diagonal(outputs, noise_variance):  # type: ignore[no-untyped-def]
    """Return λ (width,) from the hidden outputs (width, n_fisher) on the Fisher inputs."""
    width, points = outputs.shape
    diagonal = np.empty(width)
    for neuron in range(width):
        diagonal[neuron] = np.dot(outputs[neuron], outputs[neuron]) / (points * noise_variance)
    return diagonal


@jit
def removed_from(diagonal, cutoffs):  # type: ignore[no-untyped-def]
    """Return per neuron the index of the first cut-off at which it is sloppy, or len(cutoffs); cutoffs increase."""
    first = np.empty(diagonal.size, np.int64)
    for neuron in range(diagonal.size):
        # side="right": a cut-off equal to λ leaves the neuron stiff.
        first[neuron] = np.searchsorted(cutoffs, diagonal[neuron], side="right")
    return first


@jit
def sloppy_counts(first_removed, width, cutoffs):  # type: ignore[no-untyped-def]
    """Return how many of the first ``width`` neurons are sloppy at each cut-off, (cutoffs,)."""
    counts = np.zeros(cutoffs + 1, np.int64)
    for neuron in range(width):
        counts[first_removed[neuron]] += 1
    return np.cumsum(counts)[:cutoffs]


@jit
def shell_outputs(features, trained, redrawn, first_removed, cutoffs, resample):  # type: ignore[no-untyped-def]
    """Return f_Λ at all points and cut-offs, shape (cutoffs, p, d_out).

    ``features`` (m, p) normalised; ``trained`` and ``redrawn`` (m, d_out) read-out weights in units of their prior
    standard deviation; sloppy weights are replaced by redrawn ones (``resample``) or by zero (prune).
    """
    points = features.shape[1]
    outputs = trained.shape[1]
    kept = np.zeros((cutoffs + 1, outputs, points))
    drawn = np.zeros((cutoffs + 1, outputs, points))
    for neuron in range(features.shape[0]):
        shell = first_removed[neuron]
        for output in range(outputs):
            old, new = trained[neuron, output], redrawn[neuron, output]
            for point in range(points):
                kept[shell, output, point] += old * features[neuron, point]
            if resample and shell < cutoffs:
                for point in range(points):
                    drawn[shell, output, point] += new * features[neuron, point]
    # A neuron first removed at index b is stiff at all cut-offs before b and sloppy from b on.
    result = np.empty((cutoffs, points, outputs))
    stiff = kept[cutoffs].copy()
    for cutoff in range(cutoffs - 1, -1, -1):
        result[cutoff] = stiff.T
        stiff += kept[cutoff]
    if resample:
        sloppy = np.zeros((outputs, points))
        for cutoff in range(cutoffs):
            sloppy += drawn[cutoff]
            result[cutoff] += sloppy.T
    return result
