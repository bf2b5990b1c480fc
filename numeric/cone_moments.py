"""What is E[polynomial · 1{g in cone}] for g ~ N(0, 1) in three dimensions? Areas of spherical polygons and arcs.

On the unit sphere a homogeneous polynomial P of degree D has Δ_S P = ΔP - D(D+1)P, so by the divergence theorem
D(D+1) ∫P = ∫ΔP + Σ_edges ∫ ∂_n P (n the inward normals): Stein's lemma for a cone.  Degrees fall by two until solid angles
are left; on an arc a polynomial is trigonometric and a Gauss rule exact to rounding.
"""

from collections.abc import Sequence
from math import gamma, prod

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.cones import Cells

Array = NDArray[np.float64]
Power = tuple[int, int, int]

_CHUNK = 2**22
"""Numbers (tuples times cells) held at a time."""


def powers(degree: int) -> list[Power]:
    """Return the exponents of all monomials of one degree.

    >>> powers(1)
    [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    """
    return [(a, b, degree - a - b) for a in range(degree, -1, -1) for b in range(degree - a, -1, -1)]


def cell_moments(cells: Cells, degree: int) -> Array:
    """Return E[g^power 1{g in cell}] for every monomial of ``powers(degree)``, shape (monomials, cells)."""
    sums = _edge_sums(cells, degree)
    known: dict[Power, Array] = {(0, 0, 0): cells.area}
    for d in range(2 - degree % 2, degree + 1, 2):
        for power in powers(d):
            total = np.zeros(len(cells.area))
            for i in range(3):
                if power[i] >= 2:
                    total += power[i] * (power[i] - 1) * known[_less(power, i, 2)]
                if power[i] >= 1:
                    total += power[i] * sums[_less(power, i, 1)][i]
            known[power] = total / (d * (d + 1))
    radial = 2.0 ** (degree / 2) * gamma((degree + 3) / 2) / gamma(1.5) / (4.0 * np.pi)
    found: Array = radial * np.array([known[power] for power in powers(degree)])
    return found


def _edge_sums(cells: Cells, degree: int) -> dict[Power, Array]:
    """Return Σ over a cell's edges of n ∫ u^power along the edge, (3, cells), for degree - 1, degree - 3, …"""
    points, weights = _arcs(cells, degree)
    table = [[points[..., i] ** k for k in range(max(degree, 1))] for i in range(3)]
    found = {}
    for d in range(degree - 1, -1, -2):
        for power in powers(d):
            values = table[0][power[0]] * table[1][power[1]] * table[2][power[2]]
            integral = np.einsum("ek,ek->e", values, weights)
            found[power] = np.array([
                np.bincount(cells.cell, weights=integral * cells.normal[:, i], minlength=len(cells.area)) for i in range(3)
            ])  # fmt: skip
    return found


def _arcs(cells: Cells, degree: int) -> tuple[Array, Array]:
    """Return nodes (edges, k, 3) and weights (edges, k) of a Gauss rule along every edge."""
    start = cells.first - cells.normal * np.sum(cells.first * cells.normal, axis=1, keepdims=True)
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    ahead = np.cross(cells.normal, start)
    angle = np.arctan2(np.sum(cells.last * ahead, axis=1), np.sum(cells.last * start, axis=1))
    nodes, weights = np.polynomial.legendre.leggauss(degree + 16)
    turned = 0.5 * angle[:, None] * (1.0 + nodes)
    points = np.cos(turned)[..., None] * start[:, None] + np.sin(turned)[..., None] * ahead[:, None]
    return points, 0.5 * angle[:, None] * weights


def cone_products(
    directions: Array, cells: Cells, coefficients: Array, exponents: Sequence[int], tuples: NDArray[np.int64]
) -> Array:
    """Return E[Π_k c_k (v_k·g)^{e_k}] for every index tuple, c_k constant on each cell.

    Parameters
    ----------
    directions : array (m, 3)
        Unit vectors v (or zero).
    cells : Cells
        Of the arrangement of these directions.
    coefficients : array (rank, m, cells)
        c for each place of the tuple, by point and cell.
    exponents : sequence of rank integers
    tuples : array (t, rank)
    """
    degree = sum(exponents)
    moments = cell_moments(cells, degree)
    step = max(1, _CHUNK // (moments.shape[1] + len(moments)))
    parts = []
    for start in range(0, len(tuples), step):
        chosen = tuples[start : start + step]
        on_cells = _products(directions, exponents, chosen) @ moments
        on_cells *= prod(coefficients[k][chosen[:, k]] for k in range(len(exponents)))
        parts.append(np.sum(on_cells, axis=1))
    return np.concatenate(parts)


def _products(directions: Array, exponents: Sequence[int], tuples: NDArray[np.int64]) -> Array:
    """Return the coefficients of Π (v_k·g)^{e_k} on ``powers``, shape (tuples, monomials)."""
    polynomial: dict[Power, Array] = {(0, 0, 0): np.ones(len(tuples))}
    for place, exponent in enumerate(exponents):
        for _ in range(exponent):
            longer: dict[Power, Array] = {}
            for power, value in polynomial.items():
                for i in range(3):
                    raised = _less(power, i, -1)
                    longer[raised] = longer.get(raised, 0.0) + value * directions[tuples[:, place], i]
            polynomial = longer
    return np.array([polynomial[power] for power in powers(sum(exponents))]).T


def _less(power: Power, i: int, by: int) -> Power:
    a, b, c = (k - by * (place == i) for place, k in enumerate(power))
    return a, b, c
