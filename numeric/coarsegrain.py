"""Which read-out weights does the information shell remove, and what is left of the function?

Fisher diagonal λ_i = E_x[h_i²]/s² of the raw read-out weight (Gaussian likelihood); sloppy λ < Λ (strict), stiff λ >= Λ:
equations (53), (94)-(97) of arXiv:2405.17538.  One pass over the neurons serves all cut-offs.
"""

import numpy as np

from fieldflow.numeric.jit import fma, jit, vectorised


@jit
def fisher_diagonal(outputs, noise_variance):  # type: ignore[no-untyped-def]
    """Return λ (width,) from the hidden outputs (width, n_fisher) on the Fisher inputs."""
    width, points = outputs.shape
    diagonal = np.empty(width)
    for neuron in range(width):
        total = 0.0
        for point in range(points):
            total = fma(outputs[neuron, point], outputs[neuron, point], total)
        diagonal[neuron] = total / (points * noise_variance)
    return diagonal


@jit
def removed_from(diagonal, cutoffs):  # type: ignore[no-untyped-def]
    """Return per neuron the index of the first cut-off at which it is sloppy, or len(cutoffs); cutoffs increase."""
    first = np.empty(diagonal.size, np.int64)
    for neuron in range(diagonal.size):
        low, high = 0, cutoffs.size
        while low < high:
            middle = (low + high) // 2
            # Strictly: a cut-off equal to λ leaves the neuron stiff.
            if diagonal[neuron] < cutoffs[middle]:
                high = middle
            else:
                low = middle + 1
        first[neuron] = low
    return first


@jit
def sloppy_counts(first_removed, width, cutoffs):  # type: ignore[no-untyped-def]
    """Return how many of the first ``width`` neurons are sloppy at each cut-off, (cutoffs,)."""
    counts = np.zeros(cutoffs + 1, np.int64)
    for neuron in range(width):
        counts[first_removed[neuron]] += 1
    for cutoff in range(1, cutoffs):
        counts[cutoff] += counts[cutoff - 1]
    return counts[:cutoffs]


@vectorised
def _add_scaled(total, factor, values):  # type: ignore[no-untyped-def]
    """Add factor·values to ``total``."""
    for i in range(values.size):
        total[i] = fma(factor, values[i], total[i])


@jit
def add_to_shells(kept, drawn, features, trained, redrawn, first_removed):  # type: ignore[no-untyped-def]
    """Add some neurons to the sums of their shells: ``kept`` and ``drawn``, each (cutoffs + 1, d_out, p).

    ``features`` (m, p or more columns) normalised; ``trained`` and ``redrawn`` (m, d_out) read-out weights in units of their prior
    standard deviation; ``first_removed`` as from ``removed_from``.
    """
    never, points = kept.shape[0] - 1, kept.shape[2]
    for neuron in range(features.shape[0]):
        shell, values = first_removed[neuron], features[neuron, :points]
        for output in range(kept.shape[1]):
            # Redrawn weights first: where both are added, the row of features is read twice from the nearest cache.
            if shell < never:
                _add_scaled(drawn[shell, output], redrawn[neuron, output], values)
            _add_scaled(kept[shell, output], trained[neuron, output], values)


@jit
def summed_shells(kept, drawn, resample, result):  # type: ignore[no-untyped-def]
    """Write f_Λ (cutoffs, p, d_out) to ``result``; sloppy weights are redrawn (``resample``) or zero (prune)."""
    cutoffs, points, outputs = result.shape
    # A neuron first removed at index b is stiff at all cut-offs before b and sloppy from b on.
    total = np.empty(points)
    for output in range(outputs):
        total[:] = 0.0
        for cutoff in range(cutoffs - 1, -1, -1):
            for point in range(points):
                total[point] += kept[cutoff + 1, output, point]
                result[cutoff, point, output] = total[point]
        if resample:
            total[:] = 0.0
            for cutoff in range(cutoffs):
                for point in range(points):
                    total[point] += drawn[cutoff, output, point]
                    result[cutoff, point, output] += total[point]


@jit
def shell_outputs(features, trained, redrawn, first_removed, cutoffs, resample):  # type: ignore[no-untyped-def]
    """Return f_Λ at all points and cut-offs, shape (cutoffs, p, d_out); arguments as in ``add_to_shells``."""
    points, outputs = features.shape[1], trained.shape[1]
    kept, drawn = np.zeros((cutoffs + 1, outputs, points)), np.zeros((cutoffs + 1, outputs, points))
    add_to_shells(kept, drawn, features, trained, redrawn, first_removed)
    result = np.empty((cutoffs, points, outputs))
    summed_shells(kept, drawn, resample, result)
    return result
