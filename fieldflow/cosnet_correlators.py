"""What does a cosine network of finite width correlate? Its full four-point function and its connected tensors, exactly.

Formulas ``cosnet.four_point``, ``cosnet.connected`` (partitions for n = 6, 8), ``cosnet.width_factor``, ``cosnet.scaled``.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldflow import inputs, memory
from fieldflow.cosnet_neuron import Neuron, distances
from fieldflow.errors import BadInput
from fieldflow.formulas import compiled
from fieldflow.inputs import Array
from fieldflow.numeric.symmetric import entries, sorted_tuples, unpacked
from fieldflow.symbolic.cosnet_cumulants import cumulant_terms, even_partitions, scale_terms, sign_choices

RANKS = (2, 4, 6, 8)


def four_point(neuron: Neuron, width: float, configs: Any) -> Array:
    """Return G⁽⁴⁾ (n,) at configurations of four points (n, 4, d)."""
    configs = inputs.real_array("configs", configs)
    if configs.ndim != 3 or configs.shape[1:] != (4, neuron.d) or len(configs) == 0:
        raise BadInput(f"configs: expected shape (n, 4, {neuron.d}) with n >= 1, got {configs.shape}")
    pairs = [(0, 1), (2, 3), (0, 2), (1, 3), (0, 3), (1, 2)]
    ab, cd, ac, bd, *_ = differences = np.stack([configs[:, i] - configs[:, j] for i, j in pairs])
    # From differences: far from the origin the sum of two points would lose the digits of the distance.
    signed = np.stack([ac + bd, ab + cd, ab - cd])
    size = float(np.max(np.abs(configs)))
    two = neuron.moment(neuron.transform(1.0, distances(differences, size)), 2)
    if math.isinf(width):
        disconnected: Array = two[0] * two[1] + two[2] * two[3] + two[4] * two[5]
        return disconnected
    power = float(compiled("cosnet.moment_power")(neuron.alpha, 4))
    four = neuron.transform(power, distances(signed, size))
    if neuron.sigma_w is None:
        found: Array = compiled("cosnet.four_point")(width, neuron.volume, *two, *four)
    else:
        found = compiled("cosnet.four_point_gaussian")(width, neuron.volume, neuron.sigma_w, *two, *four)
    return found


def connected(neuron: Neuron, width: float, points: Any, n: Any, scale_moments: Any) -> Array:
    """Return the connected tensor (m,)*n at points (m, d)."""
    points = inputs.points("points", points, neuron.d)
    rank = inputs.integer("n", n, minimum=1, maximum=RANKS[-1])
    size = len(points)
    moments = _checked_moments(scale_moments, rank)
    if rank % 2:
        memory.require(8 * size**rank, f"n = {rank} at {size} points")
        return np.zeros((size,) * rank)  # f and -f are equally likely: the phase is uniform
    # The dense tensor, the places of its entries, and the signed sums of points behind them.
    sums = entries(size, rank) * len(sign_choices(rank)) * (3 * size + 24)
    memory.require(16 * (1 + rank) * size**rank + sums, f"n = {rank} at {size} points")
    ranks = [r for r in RANKS if r <= rank] if moments or not math.isinf(width) else [rank]
    packed = {r: _independent(neuron, width, points, r) for r in ranks}
    values = packed[rank] if moments is None else _scaled(packed, size, rank, moments)
    return unpacked(values, size, rank)


def _independent(neuron: Neuron, width: float, points: Array, rank: int) -> Array:
    """Return the connected tensor of N independent neurons at sorted index tuples."""
    size = len(points)
    tuples = sorted_tuples(size, rank)
    if math.isinf(width) and rank > 2:
        return np.zeros(len(tuples))
    moments = {r: neuron.moments(points, sorted_tuples(size, r)) for r in RANKS if r <= rank}
    dense = {r: unpacked(values, size, r) for r, values in moments.items() if r < rank}
    dense[rank] = moments[rank]
    found = np.zeros(len(tuples))
    for coefficient, blocks in cumulant_terms(rank):
        found += coefficient * _product(dense, tuples, blocks)
    factor = 1.0 if rank == 2 else float(compiled("cosnet.width_factor")(width, rank))
    return factor * found


def _product(dense: dict[int, Array], tuples: NDArray[np.int64], blocks: tuple[tuple[int, ...], ...]) -> Array:
    """Return the product over blocks of tensors at the block's indices; that of full rank is packed already."""
    if len(blocks) == 1:
        return dense[tuples.shape[1]]
    found: Array = np.prod([dense[len(block)][tuple(tuples[:, block].T)] for block in blocks], axis=0)
    return found


def _scaled(packed: dict[int, Array], size: int, rank: int, moments: tuple[float, ...]) -> Array:
    """Return the cumulants when all read-out variances share a random factor s: those given s, averaged over s.

    Given s the tensors are s^{r/2} G_r; the law of total cumulance joins them by the cumulants of powers of s.
    """
    tuples = sorted_tuples(size, rank)
    dense = {r: unpacked(values, size, r) for r, values in packed.items() if r < rank}
    dense[rank] = packed[rank]
    found = np.zeros(len(tuples))
    for blocks in even_partitions(rank):
        powers = tuple(len(block) // 2 for block in blocks)
        cumulant = sum(
            coefficient * math.prod(moments[order - 1] for order in orders)
            for coefficient, orders in scale_terms(powers)
        )
        found += cumulant * _product(dense, tuples, blocks)
    return found


def _checked_moments(value: Any, rank: int) -> tuple[float, ...] | None:
    """Return E s, E s², … of a positive random factor, as many as the cumulant needs; None for s = 1."""
    if value is None:
        return None
    array = inputs.real_array("scale_moments", value)
    needed = max(rank // 2, 1)
    if array.ndim != 1 or len(array) < needed:
        raise BadInput(
            f"scale_moments: expected E s, E s^2, … up to E s^{needed} for n = {rank}, got shape {array.shape}"
        )
    every = np.concatenate([[1.0], array])
    for offset in (0, 1):
        # E (Σ a_i s^i)² s^offset >= 0 for all a.
        order = (len(every) - 1 - offset) // 2 + 1
        hankel = np.array([[every[i + j + offset] for j in range(order)] for i in range(order)])
        root = np.sqrt(np.abs(np.diag(hankel)))
        if np.any(np.diag(hankel) <= 0.0) or np.linalg.eigvalsh(hankel / np.outer(root, root))[0] < -1e-12:
            raise BadInput(f"scale_moments: no random s > 0 has the moments {array.tolist()}")
    return tuple(map(float, array[:needed]))
