"""Which action do these correlators belong to, and back? Couplings by inverse Feynman rules, correlators by the usual ones.

S = ½φΔφ + Σ_r g_r φ…φ with Δ = (G_c^{(2)})^{-1}, sums over all index tuples of the mesh, no 1/r!, φ measured from its mean:
equations (40)-(43) and (57), (58) of arXiv:2405.17538, corrected.  g_2 is the shift of the quadratic form.
"""

from collections.abc import Iterable, Mapping
from math import factorial
from typing import Any

import numpy as np

from fieldflow import inputs, memory
from fieldflow.contractions import contracted
from fieldflow.errors import BadInput, NotPositiveDefinite
from fieldflow.inputs import Array
from fieldflow.numeric.symmetric import entries, unpacked
from fieldflow.symbolic import counting as orders
from fieldflow.symbolic import forward_rules, inverse_rules

MAX_CONDITION = 1e13
"""Condition number of G_2 beyond which its inverse keeps less than three digits."""

_SYMMETRIC = 1e-9
"""Largest asymmetry of a tensor, relative to its largest entry, that counts as rounding."""


def couplings(
    cumulants: Mapping[int, Any], order: int = 1, *, counting: str | None = None, regulator: float = 0.0
) -> dict[int, Array]:
    """Return the couplings {r: g_r} of the action with these connected correlators, every diagram up to N^{-order}.

    Inverse Feynman rules, Sec. 3.2 of arXiv:2307.03223; ``coupling_formula`` prints what is computed.

    Parameters
    ----------
    cumulants : mapping of int to array
        {2: G2 (m, m), 4: G4 (m, m, m, m), …}, fully symmetric; numbers for one mesh point.  Without odd keys the ensemble
        is even.  Key 1, the mean, is accepted and drops out: φ is measured from it.
    order : int
        1 to 4, with odd cumulants 1 to 3 ("trained") or 2 ("iid").
    counting : {"iid", "trained"}, optional
        Of odd cumulants: κ_n ~ N^{1-n/2}, or N^{1-⌈n/2⌉}, which is the default where odd keys are given.
    regulator : float
        Added to the diagonal of G2: the theory is then that of the field plus white noise of this variance, which has the
        same higher cumulants.

    Returns
    -------
    dict
        Symmetric tensors (m,)·r for r = 2, 4, … 2·order + 2, and odd r with odd cumulants.

    Raises
    ------
    BadInput
        For a missing cumulant (named), a tensor that is not symmetric, repeated mesh points, or no room in memory.
    NotPositiveDefinite
        For a G2 that is singular or nearly so, with its condition number.

    >>> g = couplings({2: 1.0, 4: 0.12})
    >>> round(float(g[2]), 3), round(float(g[4]), 3)
    (0.03, -0.005)
    """
    _fits_already(cumulants.get(2) if isinstance(cumulants, Mapping) else None, order)
    given = _tensors("cumulants", cumulants, first=1)
    odd = any(n % 2 for n in given if n > 1)
    counting = _counting(counting, odd)
    order = orders.check(order, odd, counting)
    needed = inverse_rules.vertex_orders(order, odd=odd, counting=counting)
    _require("cumulants", given, [2, *needed], order)
    size = _size(given)
    line = propagator("cumulants[2]", given[2], inputs.real("regulator", regulator, minimum=0.0))
    _fits(size, order)
    precision: Array = np.linalg.inv(line).astype(np.float64)
    amputated = {n: on_every_leg(given[n], precision) for n in needed}
    found = {}
    for legs in range(1 if odd else 2, inverse_rules.largest_legs(order) + 1, 1 if odd else 2):
        terms = inverse_rules.action_terms(legs, order, odd=odd, counting=counting)
        total = sum(float(term.weight) * contracted(term.graph, amputated, line) for term in terms)
        found[legs] = _returned(total, size, legs, cumulants)
    return found


def correlators(
    G2: Any, couplings: Mapping[int, Any], order: int = 1, *, counting: str | None = None
) -> dict[int, Array]:
    """Return the connected correlators {n: G_c^{(n)}} of S = ½φ G2^{-1} φ + Σ_r g_r φ…φ, every diagram up to N^{-order}.

    Feynman rules: lines G2, vertices -r! g_r, each diagram over its symmetry factor.

    Parameters
    ----------
    G2 : array (m, m)
        Inverse of the quadratic form without g_2.
    couplings : mapping of int to array
        {2: g2, 4: g4, …} as from ``couplings``; without odd keys the theory is even.
    order : int
        1 to 4, with odd couplings 1 to 3 ("trained") or 2 ("iid").
    counting : {"iid", "trained"}, optional
        As in ``couplings``.

    Returns
    -------
    dict
        Symmetric tensors (m,)·n for n = 2, 4, … 2·order + 2, and with odd couplings odd n, where 1 is the mean of φ.

    Raises
    ------
    BadInput, NotPositiveDefinite

    >>> G = correlators(1.0, couplings({2: 1.0, 4: 0.012, 6: 0.0}, order=2), order=2)
    >>> round(float(G[2]), 4), round(float(G[4]), 4)
    (1.0, 0.012)
    """
    _fits_already(G2, order)
    given = _tensors("couplings", couplings, first=1)
    odd = any(r % 2 for r in given)
    counting = _counting(counting, odd)
    order = orders.check(order, odd, counting)
    needed = forward_rules.vertex_orders(order, odd=odd, counting=counting)
    _require("couplings", given, needed, order)
    line = propagator("G2", _tensors("G2", {2: G2}, first=2)[2], 0.0)
    size = len(line)
    _fits(size, order)
    if any(len(tensor) != size for tensor in given.values()):
        raise BadInput(
            f"couplings: expected tensors on the {size} points of G2, got sizes "
            + ", ".join(f"{rank}: {len(tensor)}" for rank, tensor in sorted(given.items()))
        )
    vertices = {r: -float(factorial(r)) * given[r] for r in needed}
    found = {}
    for legs in range(1 if odd else 2, forward_rules.largest_legs(order) + 1, 1 if odd else 2):
        total = np.zeros(entries(size, legs))
        for graph in forward_rules.graphs(legs, order, odd=odd, counting=counting):
            total = total + factorial(legs) / graph.symmetry_factor * contracted(graph, vertices, line)
        dense = on_every_leg(unpacked(total, size, legs), line)
        found[legs] = dense + line if legs == 2 else dense
    return {n: value.reshape(()) if np.ndim(G2) == 0 else value for n, value in found.items()}


def on_every_leg(tensor: Array, matrix: Array) -> Array:
    """Return the tensor with ``matrix`` (m, m) applied to each of its indices."""
    for _ in range(tensor.ndim):
        tensor = np.tensordot(tensor, matrix, axes=(0, 1))
    return tensor


def propagator(name: str, matrix: Array, regulator: float) -> Array:
    """Return G2 with the regulator on its diagonal, checked to be safely positive definite."""
    equal = np.all(matrix[:, None, :] == matrix[None, :, :], axis=2)
    pairs = np.argwhere(np.triu(equal, k=1))
    if len(pairs) and regulator == 0.0:
        raise BadInput(f"{name}: rows {pairs[0][0]} and {pairs[0][1]} are equal: repeated mesh points have no action")
    whole: Array = matrix + regulator * np.eye(len(matrix))
    values = np.linalg.eigvalsh(whole)
    smallest, largest = float(values[0]), float(values[-1])
    if smallest < -largest / MAX_CONDITION:
        raise NotPositiveDefinite(
            f"{name}: expected G2 to be a positive definite matrix, its smallest eigenvalue is {smallest:.3g} (the largest "
            f"{largest:.3g}): no field has this covariance"
        )
    condition = largest / smallest if smallest > 0.0 else np.inf
    if not condition <= MAX_CONDITION:
        raise NotPositiveDefinite(
            f"{name}: expected a positive definite matrix, its condition number is {condition:.3g} (eigenvalues "
            f"{smallest:.3g} to {largest:.3g}, at most {MAX_CONDITION:g} is inverted); drop mesh points or give a regulator"
        )
    return whole


def _tensors(name: str, given: Any, first: int) -> dict[int, Array]:
    """Return the tensors by rank, each fully symmetric; numbers become tensors on one point."""
    if not isinstance(given, Mapping) or not given:
        found_instead = "an empty one" if isinstance(given, Mapping) else type(given).__name__
        raise BadInput(f"{name}: expected a mapping of ranks to tensors like {{2: …, 4: …}}, got {found_instead}")
    found = {}
    for rank, value in given.items():
        label = f"{name}[{rank!r}]"
        inputs.integer(f"{name}: key", rank, minimum=first, maximum=64)
        array = inputs.real_array(label, value)
        array = array.reshape((1,) * rank) if array.ndim == 0 else array
        if array.ndim != rank or len(set(array.shape)) != 1 or array.size == 0:
            raise BadInput(f"{label}: expected shape (m,)*{rank}, got {array.shape}")
        swaps = (np.abs(array - array.swapaxes(i, i + 1)).max() for i in range(rank - 1))
        difference = max(swaps, default=0.0)
        if difference > _SYMMETRIC * np.abs(array).max():
            raise BadInput(f"{label}: expected a fully symmetric tensor, entries differ by {difference:.3g}")
        found[int(rank)] = array
    return found


def _counting(counting: str | None, odd: bool) -> str:
    return ("trained" if odd else "iid") if counting is None else counting


def _require(name: str, given: Mapping[int, Array], needed: Iterable[int], order: int) -> None:
    missing = [str(n) for n in needed if n not in given]
    if missing:
        keys = f"keys {', '.join(missing)}, which are" if len(missing) > 1 else f"key {missing[0]}, which is"
        raise BadInput(f"{name}: order {order} needs {keys} missing")


def _size(tensors: Mapping[int, Array]) -> int:
    """Return the number of mesh points; BadInput unless all tensors share it."""
    sizes = {rank: len(tensor) for rank, tensor in tensors.items()}
    if len(set(sizes.values())) != 1:
        listed = ", ".join(f"{rank}: {size}" for rank, size in sorted(sizes.items()))
        raise BadInput(f"mesh: expected tensors on the same points, got sizes {listed}")
    return next(iter(sizes.values()))


def _fits(size: int, order: int) -> None:
    rank = inverse_rules.largest_legs(order)
    memory.require(8 * 3 * size**rank, f"tensors of rank {rank} on {size} mesh points")


def _fits_already(matrix: Any, order: Any) -> None:
    """Refuse what cannot fit before any tensor is looked at; what is not a matrix and an order is left to their own checks."""
    if isinstance(matrix, np.ndarray) and matrix.ndim == 2 and isinstance(order, (int, np.integer)) and 1 <= order <= 4:
        _fits(len(matrix), int(order))


def _returned(total: Any, size: int, legs: int, cumulants: Mapping[int, Any]) -> Array:
    dense = unpacked(np.asarray(total, dtype=np.float64), size, legs)
    return dense.reshape(()) if np.ndim(cumulants[2]) == 0 else dense
