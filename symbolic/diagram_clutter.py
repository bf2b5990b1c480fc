"""How hard is a drawing of a diagram to read? Crossings of the lines as they are drawn, and lines that touch other vertices."""

from collections.abc import Sequence
from itertools import combinations, pairwise

Point = complex
Curve = tuple[Point, Point, Point, Point]
"""Control points of a cubic Bézier curve."""

BLOB = 0.2
"""Radius of a vertex; neighbours are 1.7 apart and legs 0.95 long."""

CROSSING, TOUCHING = 3.0, 5.0
"""What a crossing and a line through another vertex cost, in lengths of a line between neighbours."""

_PIECES = 10
"""Straight pieces that stand for a curve."""

_CLEAR = 0.1  # between a line and the rim of a vertex that it does not belong to


def path(stroke: Sequence[Point]) -> list[Point]:
    """Return points along a curve or a straight stroke (two points).

    >>> path((0j, 1 + 0j))
    [0j, (1+0j)]
    """
    if len(stroke) == 2:
        return list(stroke)
    a, b, c, d = stroke
    steps = [k / _PIECES for k in range(_PIECES + 1)]
    return [(1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d for t in steps]


def crossings(strokes: Sequence[Sequence[Point]], places: Sequence[Point]) -> int:
    """Return how often strokes cross outside the vertices.

    >>> crossings([(-1 + 0j, 1 + 0j), (-1j, 1j)], [])
    1
    """
    paths = [path(stroke) for stroke in strokes]
    return sum(_crossings(first, second, places) for first, second in combinations(paths, 2))


def touches(strokes: Sequence[Sequence[Point]], places: Sequence[Point]) -> int:
    """Return how many (stroke, vertex) pairs come close without belonging together.

    >>> touches([(-1 + 0j, 1 + 0j)], [0j, 1 + 0j])
    1
    """
    return sum(
        any(distance(place, a, b) < BLOB + _CLEAR for a, b in pairwise(path(stroke)))
        for stroke in strokes
        for place in places
        if place not in (stroke[0], stroke[-1])
    )


def distance(point: Point, start: Point, end: Point) -> float:
    """Return the distance of a point from a straight piece."""
    along = ((point - start) * (end - start).conjugate()).real / abs(end - start) ** 2
    return abs(point - (start + min(1.0, max(0.0, along)) * (end - start)))


def _crossings(first: list[Point], second: list[Point], places: Sequence[Point]) -> int:
    if _apart(first, second):
        return 0
    found = 0
    for a, b in pairwise(first):
        for c, d in pairwise(second):
            at = _meeting(a, b, c, d)
            found += at is not None and all(abs(at - place) > BLOB for place in places)
    return found


def _apart(first: list[Point], second: list[Point]) -> bool:
    """Return whether the boxes around two paths do not overlap."""
    sides = [([p.real for p in first], [p.real for p in second]), ([p.imag for p in first], [p.imag for p in second])]
    return any(max(one) < min(other) or max(other) < min(one) for one, other in sides)


def _meeting(a: Point, b: Point, c: Point, d: Point) -> Point | None:
    """Return where two straight pieces cross; a corner belongs to the piece that it begins."""
    turn = ((b - a).conjugate() * (d - c)).imag
    if abs(turn) < 1e-12:
        return None
    along = ((c - a).conjugate() * (d - c)).imag / turn
    across = ((c - a).conjugate() * (b - a)).imag / turn
    return a + along * (b - a) if 0.0 <= along < 1.0 and 0.0 <= across < 1.0 else None
