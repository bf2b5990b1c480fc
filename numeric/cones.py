"""Into which cones do planes through the origin cut space? Convex spherical polygons with shared corners.

An activation with a kink or a step at zero is a polynomial on each side of the plane v·g = 0; products of several are one
polynomial on each cell of the arrangement of their planes.  Cells are cut one plane at a time, starting from the octants of
a frame in general position, so that every edge is an arc of at most a quarter turn.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TOUCH = 4e-15
"""A corner this near to a plane lies in it: a few roundings of unit vectors."""


@dataclass(frozen=True)
class Polygon:
    """Corners (k, 3), counterclockwise seen from outside, and the inward normal (k, 3) of the edge behind each."""

    corners: Array
    normals: Array


@dataclass(frozen=True)
class Cells:
    """Edges of all cells: cell index (e,), first and last corner and inward normal (e, 3); areas (c,), signs (c, planes)."""

    cell: NDArray[np.int64]
    first: Array
    last: Array
    normal: Array
    area: Array
    signs: Array


def arrangement(normals: Array) -> Cells:
    """Return the cells of the planes with these unit normals (planes, 3); a normal of zero cuts nothing.

    >>> cells = arrangement(np.array([[0.0, 0.0, 1.0]]))
    >>> round(float(np.sum(cells.area[cells.signs[:, 0] > 0]) / (2 * np.pi)), 14)
    1.0
    """
    turned = normals @ _FRAME
    polygons = _octants()
    for normal in turned:
        if np.any(normal):
            polygons = [part for polygon in polygons for part in _cut(polygon, normal)]
    edges = [len(polygon.corners) for polygon in polygons]
    centres = np.array([polygon.corners.sum(axis=0) for polygon in polygons])
    return Cells(
        cell=np.repeat(np.arange(len(polygons)), edges),
        first=np.concatenate([polygon.corners for polygon in polygons]) @ _FRAME.T,
        last=np.concatenate([np.roll(polygon.corners, -1, axis=0) for polygon in polygons]) @ _FRAME.T,
        normal=np.concatenate([polygon.normals for polygon in polygons]) @ _FRAME.T,
        area=np.array([_area(polygon) for polygon in polygons]),
        signs=np.sign(centres @ turned.T),
    )


def crossed(a: Array, b: Array) -> Array:
    """Return a × b of unit vectors (…, 3), to full relative accuracy also where they are nearly parallel."""
    nearby = np.where(np.sum(a * b, axis=-1, keepdims=True) > 0.0, b - a, b + a)
    found: Array = np.cross(a, nearby)
    return found


def _frame() -> Array:
    """Return a rotation in general position: no plane of a regular mesh is one of its coordinate planes."""
    (c1, s1), (c2, s2), (c3, s3) = ((np.cos(angle), np.sin(angle)) for angle in np.sqrt([2.0, 3.0, 5.0]))
    first = np.array([[c1, -s1, 0.0], [s1, c1, 0.0], [0.0, 0.0, 1.0]])
    second = np.array([[1.0, 0.0, 0.0], [0.0, c2, -s2], [0.0, s2, c2]])
    third = np.array([[c3, -s3, 0.0], [s3, c3, 0.0], [0.0, 0.0, 1.0]])
    found: Array = first @ second @ third
    return found


_FRAME = _frame()


def _octants() -> list[Polygon]:
    """Return the eight octants; the edge from axis i to axis j has axis k as its inward normal."""
    found = []
    for signs in np.array(np.meshgrid(*[[1.0, -1.0]] * 3)).reshape(3, -1).T:
        order = [0, 1, 2] if np.prod(signs) > 0.0 else [0, 2, 1]
        axes = np.diag(signs)[order]
        found.append(Polygon(axes, axes[[2, 0, 1]]))
    return found


def _cut(polygon: Polygon, normal: Array) -> list[Polygon]:
    """Return the one or two parts into which a plane cuts a polygon."""
    height = polygon.corners @ normal
    side = np.where(np.abs(height) <= _TOUCH, 0, np.sign(height)).astype(int)
    if np.all(side >= 0) or np.all(side <= 0):
        return [polygon]
    parts: dict[int, list[tuple[Array, Array]]] = {1: [], -1: []}
    count = len(side)
    for i in range(count):
        here, there = int(side[i]), int(side[(i + 1) % count])
        corner, edge = polygon.corners[i], polygon.normals[i]
        if here == 0:
            # The side that the boundary leaves closes along the cut, the one that it enters goes on along its edge.
            for sign in (1, -1):
                parts[sign].append((corner, edge if there == sign else sign * normal))
            continue
        parts[here].append((corner, edge))
        if there == -here:
            middle = corner + polygon.corners[(i + 1) % count]
            crossing = crossed(edge, normal)
            crossing = crossing * (np.sign(crossing @ middle) / np.linalg.norm(crossing))
            parts[here].append((crossing, here * normal))
            parts[there].append((crossing, edge))
    return [Polygon(*(np.array(column) for column in zip(*part, strict=True))) for part in parts.values()]


def _area(polygon: Polygon) -> float:
    """Return the solid angle, 2π less the turns at the corners (Gauss and Bonnet)."""
    before = np.roll(polygon.normals, 1, axis=0)
    sines = np.linalg.norm(crossed(before, polygon.normals), axis=1)
    cosines = np.sum(before * polygon.normals, axis=1)
    return float(2.0 * np.pi - np.sum(np.arctan2(sines, cosines)))
