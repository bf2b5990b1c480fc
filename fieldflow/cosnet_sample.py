"""How are the fields of many cosine networks drawn? In fixed blocks on all threads, for every density and read-out."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldflow import inputs, memory
from fieldflow.cosnet_neuron import Neuron
from fieldflow.errors import BadInput
from fieldflow.inputs import Array
from fieldflow.numeric.cosnet_fields import FieldLayer, fields_block, momentum_table
from fieldflow.workers import checked_threads, in_blocks


def sample_fields(neuron: Neuron, width: float, points: Any, members: Any, *, seed: Any, threads: int | None) -> Array:
    """Return fields (members, m) at points (m, d); the amplitude comes from the sampler's own normalisation."""
    points = inputs.points("points", points, neuron.d)
    units = inputs.integer("width", width, minimum=1)
    members = inputs.integer("members", members, minimum=1)
    key = np.uint64(inputs.integer("seed", seed, maximum=2**64 - 1))
    if neuron.radius == math.inf:
        raise BadInput("radius: expected a finite number to draw networks")
    memory.require(16 * members * len(points), "fields of the members")
    table = momentum_table(neuron.d, neuron.radius, neuron.mass, neuron.alpha, not neuron.gaussian)
    std = math.sqrt(2.0 * table.volume) if neuron.sigma_w is None else neuron.sigma_w
    scale = std / math.sqrt(units)
    layer = FieldLayer(neuron.d, units, neuron.mass, neuron.alpha, scale, neuron.sigma_w is not None)

    def work(first: int, count: int, stop: NDArray[np.uint8]) -> Array:
        out = np.empty((count, len(points)))
        fields_block(layer, table, key, first, points, out, stop)
        return out

    return np.concatenate(in_blocks(work, members, threads=checked_threads(threads)))
