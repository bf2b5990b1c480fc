"""What does an interaction see of a cosine network? Fields at chosen points, the interaction, and a Schwinger-Dyson pair.

O(φ) = Σ_z w_z Σ_r c_r φ(z)^r over quadrature nodes z.  Given its hidden layer the field of a member is Gaussian with covariance
K_h(x, y) = Σ_i feature_i(x) feature_i(y), so that E[(φ_x φ_y - K_h(x, y) + Σ_z K_h(x, z) O_z'(φ) φ_y) e^{-O}] = 0.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.cosnet import cosine_features, hidden_parameters
from fieldflow.numeric.jit import jit
from fieldflow.numeric.rng import READOUT, fill_normals

Array = NDArray[np.float64]


class LocalInteraction(NamedTuple):
    """Quadrature weights (m,), and the coefficients c_0, c_1, … of the polynomial."""

    weights: Array
    coefficients: Array


class DesignBlock(NamedTuple):
    """Members of one block.

    ``fields`` (m, p) at the points; ``action`` (m,) is O; ``free`` and ``bound`` (m, p) are φ_x φ_1 - K_h(x, x_1) and
    Σ_z K_h(x, z) O_z'(φ) φ_1, x_1 the first point.
    """

    fields: Array
    action: Array
    free: Array
    bound: Array


@jit
def polynomial(coefficients, value):  # type: ignore[no-untyped-def]
    """Return Σ_r c_r value^r and its derivative."""
    total, slope = 0.0, 0.0
    for r in range(coefficients.size - 1, -1, -1):
        slope = slope * value + total
        total = total * value + coefficients[r]
    return total, slope


@jit
def design_block(layer, seed, first, x, interaction, out, stop):  # type: ignore[no-untyped-def]
    """Fill ``out`` (a DesignBlock) with the members first, first + 1, …; x (d, p + m): points, then nodes."""
    points = out.fields.shape[1]
    nodes = x.shape[1] - points
    draws, force = np.empty(layer.width), np.empty(nodes)
    for slot in range(out.action.size):
        if stop[0] != 0:
            return
        member = first + slot
        b, phases = hidden_parameters(layer, seed, member)
        features = cosine_features(layer, b, phases, x)
        fill_normals(draws, seed, member, READOUT)
        fields = np.dot(draws, features)
        total = 0.0
        for node in range(nodes):
            value, slope = polynomial(interaction.coefficients, fields[points + node])
            total += interaction.weights[node] * value
            force[node] = interaction.weights[node] * slope
        out.action[slot] = total
        out.fields[slot] = fields[:points]
        # Σ_z K_h(x, z) force_z through the units: width·(p + m) products instead of width·p·m.
        pulled = np.dot(np.ascontiguousarray(features[:, points:]), force)
        anchor = np.ascontiguousarray(features[:, 0])
        seen = np.ascontiguousarray(features[:, :points])
        out.free[slot] = fields[:points] * fields[0] - np.dot(anchor, seen)
        out.bound[slot] = np.dot(pulled, seen) * fields[0]


def empty_design(members: int, points: int) -> DesignBlock:
    """Return the arrays that ``design_block`` fills."""
    return DesignBlock(
        np.empty((members, points)), np.empty(members), np.empty((members, points)), np.empty((members, points))
    )
