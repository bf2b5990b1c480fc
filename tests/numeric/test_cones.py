"""Cones, powers and grids: solid angles and moments against closed forms, also where planes nearly coincide."""

from math import prod

import numpy as np
import pytest
from scipy import stats

from fieldflow.numeric import cone_moments, cones
from fieldflow.numeric.cones import arrangement
from fieldflow.numeric.partition_sums import partition_sum
from fieldflow.numeric.span import span
from fieldflow.numeric.symmetric import packed, positions, sorted_tuples
from fieldflow.numeric.wick import Exponential, gaussian_products


def hafnian(q, labels):
    """Isserlis by hand: the sum over pairings."""
    if not labels:
        return 1.0
    first, rest = labels[0], labels[1:]
    return sum(q[first, rest[k]] * hafnian(q, rest[:k] + rest[k + 1 :]) for k in range(len(rest)))


def unit(vectors):
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0.0, lengths, 1.0)


def configurations():
    rng = np.random.Generator(np.random.Philox(5))
    lattice = np.array(
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, -1, 0], [0, 1, 1], [1, 1, 1], [-1, 0, 0]], float
    )
    for distance in 10.0 ** -np.arange(1.0, 17.0, 2.5):
        generic = rng.normal(size=(6, 3))
        near = generic.copy()
        near[1], near[2] = near[0] + distance * rng.normal(size=3), -near[0] + distance * rng.normal(size=3)
        yield f"two and an opposite within {distance:.0e}", near
        yield f"all within {distance:.0e}", generic[:1] + distance * rng.normal(size=(6, 3))
        yield f"in a plane to {distance:.0e}", generic * [1.0, 1.0, distance]
        yield f"a lattice to {distance:.0e}", lattice + distance * rng.normal(size=lattice.shape)
    yield "a lattice", lattice
    yield "with zero", np.array([[0.0, 0, 0], [1, 2, 3], [1, 2, 3], [2, 4, 6]])


@pytest.mark.parametrize(
    ("name", "vectors"), list(configurations()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_arrangement_fills_the_sphere_and_knows_its_angles(name, vectors):
    """Pairs in terms of the angle between them (Cho and Saul), which is exact at any distance."""
    v = unit(vectors)
    cells = arrangement(v)
    assert abs(np.sum(cells.area) / (4.0 * np.pi) - 1.0) < 2e-14
    pairs = np.array([pair for pair in sorted_tuples(len(v), 2) if np.all(np.any(v[pair], axis=1))])
    a, b = v[pairs[:, 0]], v[pairs[:, 1]]
    angle = 2.0 * np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))
    above = (cells.signs.T > 0.0).astype(float)
    steps = cone_moments.cone_products(v, cells, np.array([above] * 2), (0, 0), pairs)
    rectified = cone_moments.cone_products(v, cells, np.array([above] * 2), (1, 1), pairs)
    np.testing.assert_allclose(steps, (np.pi - angle) / (2.0 * np.pi), rtol=0.0, atol=1e-14)
    np.testing.assert_allclose(
        rectified, (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2.0 * np.pi), rtol=0.0, atol=1e-14
    )
    sixes = sorted_tuples(len(v), 6)[::37]
    whole = cone_moments.cone_products(v, cells, np.ones((6, len(v), len(cells.area))), (1,) * 6, sixes)
    np.testing.assert_allclose(whole, [hafnian(v @ v.T, tuple(t)) for t in sixes], rtol=0.0, atol=15 * 2e-14)


def test_octants_of_three_planes():
    """Solid angle of a trihedral cone: 1/8 + Σ arcsin ρ/4π."""
    v = unit(np.array([[1.0, 0.25, 0.5], [-0.5, 1.0, 0.75], [0.25, -0.5, 1.25]]))
    cells = arrangement(v)
    assert len(cells.area) == 6 * 6 - 6 + 2  # of six planes in general position, three of them the octants'
    above = (cells.signs.T > 0.0).astype(float)
    found = cone_moments.cone_products(v, cells, np.array([above] * 3), (0, 0, 0), np.array([[0, 1, 2]]))
    rho = (v @ v.T)[np.triu_indices(3, 1)]
    assert abs(found[0] - (0.125 + np.sum(np.arcsin(rho)) / (4.0 * np.pi))) < 1e-15


def test_a_wrong_area_is_seen(monkeypatch):
    right = cones._area
    monkeypatch.setattr(cones, "_area", lambda polygon: right(polygon) + 1e-9)
    with pytest.raises(AssertionError):
        test_octants_of_three_planes()


@pytest.mark.parametrize("degree", range(9))
def test_moments_of_all_cells_are_those_of_space(degree):
    v = unit(np.random.Generator(np.random.Philox(1)).normal(size=(5, 3)))
    total = np.sum(cone_moments.cell_moments(arrangement(v), degree), axis=1)
    expected = [prod(stats.norm.moment(k) if k else 1.0 for k in power) for power in cone_moments.powers(degree)]
    np.testing.assert_allclose(total, expected, rtol=0.0, atol=1e-14 * max([*expected, 1.0]))


def test_powers_by_stein_are_pairings():
    q = np.cov(np.random.Generator(np.random.Philox(2)).normal(size=(8, 20)))
    found = gaussian_products(q[None], [Exponential(0.0, 0.0, (0.0, 1.0))])
    assert abs(found[0] / hafnian(q, tuple(range(8))) - 1.0) < 1e-13
    cubes = gaussian_products(q[None, :2, :2], [Exponential(0.0, 0.0, (0.0, 0.0, 0.0, 1.0))])
    assert abs(cubes[0] / hafnian(q, (0, 0, 0, 1, 1, 1)) - 1.0) < 1e-13


def test_a_growing_weight_diverges_where_its_determinant_vanishes():
    term = [Exponential(0.25, 0.0, (1.0,))]
    q = np.array([[[1.0, 0.9], [0.9, 1.0]]])
    assert np.isfinite(gaussian_products(q, term)[0])
    assert not np.isfinite(gaussian_products(2.0 * q, term)[0])


def test_span_keeps_relative_directions_of_tiny_and_huge_points():
    norms, units = span(np.array([[1e-200, 1e-200, 0.0], [1e200, 1e200, 0.0], [0.0, 0.0, 0.0], [1.0, -1.0, 0.0]]))
    assert units.shape == (4, 2)
    np.testing.assert_allclose(norms, np.sqrt(2.0) * np.array([1e-200, 1e200, 0.0, 1.0]))
    np.testing.assert_allclose(units @ units.T, [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], atol=1e-15)


def test_partition_sums_and_positions():
    rng = np.random.Generator(np.random.Philox(3))
    for size, rank in ((3, 4), (5, 3), (1, 8)):
        assert positions(sorted_tuples(size, rank), size).tolist() == list(range(len(sorted_tuples(size, rank))))
    k = rng.normal(size=(3, 3))
    k = k + k.T
    dense = np.einsum("ab,cd->abcd", k, k) + np.einsum("ac,bd->abcd", k, k) + np.einsum("ad,bc->abcd", k, k)
    pairings = [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    np.testing.assert_allclose(partition_sum(pairings, {2: packed(k)}, 3, 4), packed(dense), rtol=1e-14)
