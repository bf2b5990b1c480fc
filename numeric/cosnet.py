"""What do real cosine networks do? Parameters drawn in the ball, features, trained read-outs, stiff and sloppy fields.

f(x) = Σ ω_i feature_i(x), ω ~ N(0, 1), feature = σ_w/√N cos(b·x + c)/√(b² + m²): equations (77)-(80) of arXiv:2405.17538.
Member m takes the directions of b (or Gaussian b) from the normals of stream HIDDEN, d a unit, and from stream UNIFORM two
numbers a unit: |b| = R u^{1/d} and c = π(2u' - 1).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.coarsegrain import removed_from, shell_outputs, sloppy_counts
from fieldflow.numeric.ensemble import train_readout
from fieldflow.numeric.jit import jit
from fieldflow.numeric.rng import HIDDEN, READOUT, REDRAW, UNIFORM, fill_normals, fill_uniforms


class CosLayer(NamedTuple):
    """A cosine layer as the compiled code needs it; ``weight_std`` is that of one read-out weight."""

    d: int
    width: int
    radius: float
    mass: float
    in_ball: bool
    weight_std: float


class CosShell(NamedTuple):
    """Cut-offs and where λ comes from: Fisher inputs N(0, input_std²), np.inf for broad ones."""

    cutoffs: NDArray[np.float64]
    input_std: float
    noise_variance: float
    resample: bool


class TrainedBlock(NamedTuple):
    """Members of one block: f at (m, cutoffs, p), change of Σω² over stiff weights (m, cutoffs), sloppy counts, exclusion."""

    outputs: NDArray[np.float64]
    moved: NDArray[np.float64]
    sloppy: NDArray[np.int64]
    diverged: NDArray[np.bool_]


class FieldBlock(NamedTuple):
    """Untrained members, shell by shell from the stiffest (last) to the first removed.

    ``waves`` (m, shells, momenta, 2): real and imaginary part of the windowed Fourier transform of the field of one shell;
    ``pairs`` (m, shells, separations): its two-point function averaged over the read-out; ``counts`` (m, shells) units.
    """

    waves: NDArray[np.float64]
    pairs: NDArray[np.float64]
    counts: NDArray[np.int64]


@jit
def hidden_parameters(layer, seed, member):  # type: ignore[no-untyped-def]
    """Return b (width, d) and c (width,) of one member."""
    b = np.empty((layer.width, layer.d))
    fill_normals(b.reshape(-1), seed, member, HIDDEN)
    numbers = np.empty(2 * layer.width)
    fill_uniforms(numbers, seed, member, UNIFORM)
    phases = np.empty(layer.width)
    for unit in range(layer.width):
        if layer.in_ball:
            norm = np.sqrt(np.dot(b[unit], b[unit]))
            scale = layer.radius * numbers[2 * unit] ** (1.0 / layer.d) / norm
        else:
            scale = layer.radius
        for axis in range(layer.d):
            b[unit, axis] *= scale
        phases[unit] = np.pi * (2.0 * numbers[2 * unit + 1] - 1.0)
    return b, phases


@jit
def cosine_features(layer, b, phases, x):  # type: ignore[no-untyped-def]
    """Return normalised features (width, p) at the points x (d, p)."""
    outputs = np.dot(b, x)
    for unit in range(layer.width):
        amplitude = layer.weight_std / np.sqrt(np.dot(b[unit], b[unit]) + layer.mass**2)
        for point in range(outputs.shape[1]):
            outputs[unit, point] = amplitude * np.cos(outputs[unit, point] + phases[unit])
    return outputs


@jit
def cosine_fisher(layer, b, phases, input_std, noise_variance):  # type: ignore[no-untyped-def]
    """Return λ (width,) of the raw read-out weights for Fisher inputs N(0, input_std²), np.inf for broad ones."""
    diagonal = np.empty(layer.width)
    for unit in range(layer.width):
        square = np.dot(b[unit], b[unit])
        dispersion = 0.0 if np.isinf(input_std) else np.exp(-2.0 * input_std**2 * square)
        diagonal[unit] = 0.5 * (1.0 + dispersion * np.cos(2.0 * phases[unit]))
        diagonal[unit] /= noise_variance * (square + layer.mass**2)
    return diagonal


@jit
def member_features(layer, seed, member, x, shell):  # type: ignore[no-untyped-def]
    """Return normalised features (width, p) and λ (width,) of one member."""
    b, phases = hidden_parameters(layer, seed, member)
    diagonal = cosine_fisher(layer, b, phases, shell.input_std, shell.noise_variance)
    return cosine_features(layer, b, phases, x), diagonal


@jit
def train_block(layer, seed, first, x, training, shell, out, stop):  # type: ignore[no-untyped-def]
    """Fill ``out`` (a TrainedBlock) with the members first, first + 1, … trained and coarse-grained; x (d, p)."""
    points, cutoffs = x.shape[1], shell.cutoffs.size
    every = np.concatenate((x, training.x), axis=1)
    draws, redraws = np.empty(layer.width), np.empty(layer.width)
    for slot in range(out.diverged.size):
        if stop[0] != 0:
            return
        member = first + slot
        features, diagonal = member_features(layer, seed, member, every, shell)
        fill_normals(draws, seed, member, READOUT)
        fill_normals(redraws, seed, member, REDRAW)
        initial = draws.reshape((layer.width, 1))
        seen = np.ascontiguousarray(features[:, points:])
        weights, _, diverged = train_readout(seen, initial, training)
        out.diverged[slot] = diverged or not np.all(np.isfinite(weights))
        removed = removed_from(diagonal, shell.cutoffs)
        there = np.ascontiguousarray(features[:, :points])
        redrawn = redraws.reshape((layer.width, 1))
        out.outputs[slot] = shell_outputs(there, weights, redrawn, removed, cutoffs, shell.resample)[:, :, 0]
        out.sloppy[slot] = sloppy_counts(removed, layer.width, cutoffs)
        out.moved[slot] = _moved(weights[:, 0], draws, removed, cutoffs)


@jit
def _moved(after, before, removed, cutoffs):  # type: ignore[no-untyped-def]
    """Return Σ over stiff weights of ω_T² - ω_0², in units of the prior variance, at each cut-off."""
    shells = np.zeros(cutoffs + 1)
    for unit in range(after.size):
        shells[removed[unit]] += after[unit] ** 2 - before[unit] ** 2
    result = np.empty(cutoffs)
    stiff = shells[cutoffs]
    for cutoff in range(cutoffs - 1, -1, -1):
        result[cutoff] = stiff
        stiff += shells[cutoff]
    return result


@jit
def _add_waves(b, phase, weighted, momenta, window, waves):  # type: ignore[no-untyped-def]
    """Add one unit's ∫dx W(x) e^{-ip·x} f(x)/√∫W² to ``waves`` (momenta, 2), W = e^{-x²/2L²}, p along the first axis.

    Of a cosine it is ½[e^{ic}Ŵ(p - b) + e^{-ic}Ŵ(p + b)], Ŵ/√∫W² = (4πL²)^{d/4} e^{-L²q²/2}.
    """
    across = np.dot(b, b) - b[0] ** 2
    cosine, sine = np.cos(phase), np.sin(phase)
    scale = 0.5 * weighted * (4.0 * np.pi * window**2) ** (0.25 * b.size)
    for i in range(momenta.size):
        towards = 0.5 * window**2 * ((momenta[i] - b[0]) ** 2 + across)
        away = 0.5 * window**2 * ((momenta[i] + b[0]) ** 2 + across)
        if towards > 45.0 and away > 45.0:
            continue
        one = np.exp(-towards) if towards < 45.0 else 0.0
        other = np.exp(-away) if away < 45.0 else 0.0
        waves[i, 0] += scale * cosine * (one + other)
        waves[i, 1] += scale * sine * (one - other)


@jit
def field_block(layer, seed, first, momenta, window, separations, shell, out, stop):  # type: ignore[no-untyped-def]
    """Fill ``out`` (a FieldBlock) with untrained members; momenta and separations lie along the first axis."""
    draws = np.empty(layer.width)
    for slot in range(out.counts.shape[0]):
        if stop[0] != 0:
            return
        member = first + slot
        b, phases = hidden_parameters(layer, seed, member)
        fill_normals(draws, seed, member, READOUT)
        removed = removed_from(cosine_fisher(layer, b, phases, shell.input_std, shell.noise_variance), shell.cutoffs)
        out.waves[slot] = 0.0
        out.pairs[slot] = 0.0
        out.counts[slot] = 0
        for unit in range(layer.width):
            place = removed[unit]
            amplitude = layer.weight_std / np.sqrt(np.dot(b[unit], b[unit]) + layer.mass**2)
            out.counts[slot, place] += 1
            _add_waves(b[unit], phases[unit], draws[unit] * amplitude, momenta, window, out.waves[slot, place])
            here = amplitude * np.cos(phases[unit])
            for i in range(separations.size):
                there = amplitude * np.cos(b[unit, 0] * separations[i] + phases[unit])
                out.pairs[slot, place, i] += here * there


def empty_trained(members: int, cutoffs: int, points: int) -> TrainedBlock:
    """Return the arrays that ``train_block`` fills."""
    return TrainedBlock(
        np.empty((members, cutoffs, points)),
        np.empty((members, cutoffs)),
        np.zeros((members, cutoffs), np.int64),
        np.zeros(members, np.bool_),
    )


def empty_field(members: int, shells: int, momenta: int, separations: int) -> FieldBlock:
    """Return the arrays that ``field_block`` fills."""
    return FieldBlock(
        np.empty((members, shells, momenta, 2)),
        np.empty((members, shells, separations)),
        np.zeros((members, shells), np.int64),
    )
