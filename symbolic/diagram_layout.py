"""Where are the vertices and lines of a diagram drawn? Placed here, once, for TikZ and for matplotlib.

Vertices stand on a line, a triangle (with a tail), a square or a star, whichever crosses least as drawn; parallel lines bend
apart, on the rim away from the middle; external legs and self-lines share the free angles around their vertex.
"""

import cmath
import math
from dataclasses import dataclass
from functools import cache
from itertools import combinations, permutations

from fieldflow.symbolic.diagram_clutter import BLOB, CROSSING, TOUCHING, Curve, Point, crossings, touches
from fieldflow.symbolic.multigraph import Multigraph

_SPACING, _LEG, _BEND, _RIM_BEND, _LOOP = 1.7, 0.95, 0.42, 0.45, 1.05
_LINE_BONUS = 0.5  # a chain reads best in a row


@dataclass(frozen=True)
class Layout:
    """Vertices, internal lines and external legs in the plane, complex numbers x + iy."""

    vertices: tuple[Point, ...]
    lines: tuple[Curve, ...]
    legs: tuple[tuple[Point, Point], ...]


@cache
def layout(graph: Multigraph) -> Layout:
    """Return the drawing of a diagram.

    >>> len(layout(Multigraph((4, 4), (2, 2), ((0, 2), (2, 0)))).lines)
    2
    """
    first, *others = sorted(_arrangements(len(graph.degrees)), key=lambda found: _cost(graph, found))
    best = _drawn(graph, first)
    least = _cost(graph, first) + _clutter(best)
    for places in others:
        if _cost(graph, places) >= least:
            break  # clutter only adds to it
        drawn = _drawn(graph, places)
        cost = _cost(graph, places) + _clutter(drawn)
        if cost < least:
            best, least = drawn, cost
    return best


def _clutter(drawn: Layout) -> float:
    """Return what crossings cost, of the strokes as they are drawn."""
    strokes = [*drawn.lines, *drawn.legs]
    return CROSSING * crossings(strokes, drawn.vertices) + TOUCHING * touches(strokes, drawn.vertices)


def _drawn(graph: Multigraph, places: list[Point]) -> Layout:
    """Return the drawing with vertices at these places."""
    between = [curve for u, v in combinations(range(len(places)), 2) for curve in _bundle(graph.lines, places, u, v)]
    loops: list[Curve] = []
    legs: list[tuple[Point, Point]] = []
    for vertex, place in enumerate(places):
        gaps = _gaps(between, place)
        if not graph.legs[vertex] and not graph.lines[vertex][vertex]:
            continue
        for kind, angle, room in _free_angles(gaps, bool(between), graph.legs[vertex], graph.lines[vertex][vertex]):
            if kind == "leg":
                legs.append((place, place + _LEG * cmath.exp(1j * angle)))
            else:
                spread = min(0.75, 0.42 * room)
                ends = [place + _LOOP * cmath.exp(1j * (angle + side * spread)) for side in (-1, 1)]
                loops.append((place, ends[0], ends[1], place))
    return Layout(tuple(places), (*between, *loops), tuple(legs))


def _arrangements(count: int) -> list[list[Point]]:
    """Return the places tried for so many vertices."""
    if count == 1:
        return [[0j]]
    row = [_SPACING * (i - (count - 1) / 2) + 0j for i in range(count)]
    radius = _SPACING / (2 * math.sin(math.pi / max(count, 3)))
    ring = [radius * cmath.exp(2j * math.pi * (i / count) + 0.5j * math.pi * (1 - 2 / count)) for i in range(count)]
    shapes = [row] if count == 2 else [row, ring]
    if count == 4:
        shapes.append([0j, *(_SPACING * cmath.exp(1j * math.pi * (0.5 + 2 * i / 3)) for i in range(3))])
        shapes.append([-_SPACING + 0j, 0j, *(_SPACING * cmath.exp(1j * math.pi * side / 6) for side in (1, -1))])
    return [list(order) for shape in shapes for order in permutations(shape)]


def _cost(graph: Multigraph, places: list[Point]) -> float:
    """Return how hard an arrangement is to read without its crossings: long lines; a row reads best."""
    pairs = [(u, v) for u, v in combinations(range(len(places)), 2) if graph.lines[u][v]]
    length = sum(abs(places[u] - places[v]) / _SPACING for u, v in pairs)
    # Of equal arrangements the one whose first vertices stand first, so that the choice is the same everywhere.
    first = sum(i * (place.real - 0.1 * place.imag) for i, place in enumerate(places))
    lopsided = abs(sum(places)) > 1e-9
    return float(length - _LINE_BONUS * _in_a_row(places) + 0.01 * lopsided - 1e-6 * first)


def _in_a_row(places: list[Point]) -> bool:
    return all(abs(place.imag) < 1e-9 for place in places)


def _bundle(lines: tuple[tuple[int, ...], ...], places: list[Point], u: int, v: int) -> list[Curve]:
    """Return the parallel lines between two vertices, bent apart; those on the rim of an arrangement only outwards."""
    start, end, count = places[u], places[v], lines[u][v]
    across = 1j * (end - start) * (_SPACING / abs(end - start)) ** 2  # flat, so that a diagonal stays within a square
    outwards = ((start + end) / 2 - sum(places) / len(places)) * across.conjugate()
    rim = 0.0 if abs(outwards.real) < 1e-9 else math.copysign(1.0, outwards.real)
    step = _BEND * (2 if count == 2 else 1.6 if count == 3 else 1.2)
    third = (end - start) / 3
    found = []
    for i in range(count):
        bend = _RIM_BEND * rim * i if rim else step * (i - (count - 1) / 2)
        found.append((start, start + third + bend * across, end - third + bend * across, end))
    return found


def _gaps(curves: list[Curve], place: Point) -> list[tuple[float, float]]:
    """Return (start, width) of the angles between the lines at a vertex, not those inside a bundle of parallel lines."""
    ends = [(c[1], c[3]) if c[0] == place else (c[2], c[0]) for c in curves if place in (c[0], c[3])]
    taken = sorted((cmath.phase(towards - place), other.real, other.imag) for towards, other in ends)
    if not taken:
        return [(-0.5 * math.pi, 2 * math.pi)]
    following = zip(taken, taken[1:] + taken[:1], strict=True)
    gaps = [(a[0], (b[0] - a[0]) % (2 * math.pi) or 2 * math.pi, a[1:] == b[1:]) for a, b in following]
    return [(start, width) for start, width, inside in gaps if not inside or width > math.pi]


def _free_angles(
    gaps: list[tuple[float, float]], closed: bool, legs: int, loops: int
) -> list[tuple[str, float, float]]:
    """Return (kind, angle, room) for legs and self-lines, spread over the gaps, which lines bound if ``closed``."""
    contents: list[list[str]] = [[] for _ in gaps]
    for kind in ["loop"] * loops + ["leg"] * legs:
        room = [gap / (sum(_WEIGHT[k] for k in inside) + _WEIGHT[kind] + closed) for (_, gap), inside in
                zip(gaps, contents, strict=True)]  # fmt: skip
        contents[max(range(len(gaps)), key=lambda i: (round(room[i], 9), -i))].append(kind)
    found = []
    for (start, gap), inside in zip(gaps, contents, strict=True):
        ordered = _interleaved(inside)
        total = sum(_WEIGHT[kind] for kind in ordered) + closed
        at = 0.5 * closed
        for kind in ordered:
            found.append((kind, start + gap * (at + 0.5 * _WEIGHT[kind]) / total, gap * _WEIGHT[kind] / total))
            at += _WEIGHT[kind]
    return found


_WEIGHT = {"leg": 1.0, "loop": 1.8}


def _interleaved(kinds: list[str]) -> list[str]:
    """Return self-lines in the middle, legs on both sides."""
    legs = kinds.count("leg")
    return ["leg"] * (legs // 2) + ["loop"] * kinds.count("loop") + ["leg"] * (legs - legs // 2)


def tikz(graph: Multigraph, *, scale: float = 0.6) -> str:
    r"""Return the diagram as a ``tikzpicture``, its vertices placed by coordinates: grey blobs are cumulants.

    >>> print(tikz(Multigraph((4,), (4,), ((0,),))).splitlines()[0])
    \begin{tikzpicture}[baseline={([yshift=-0.6ex]current bounding box.center)}, scale=0.6]
    """
    drawn = layout(graph)
    rows = [rf"\draw {_at(a)} .. controls {_at(b)} and {_at(c)} .. {_at(d)};" for a, b, c, d in drawn.lines]
    rows += [rf"\draw {_at(a)} -- {_at(b)};" for a, b in drawn.legs]
    rows += [rf"\draw[fill=black!20] {_at(place)} circle ({BLOB});" for place in drawn.vertices]
    body = "\n".join(f"  {row}" for row in rows)
    middle = "{([yshift=-0.6ex]current bounding box.center)}"
    return f"\\begin{{tikzpicture}}[baseline={middle}, scale={scale:g}]\n{body}\n\\end{{tikzpicture}}"


def _at(point: Point) -> str:
    return f"({round(point.real, 3) + 0.0:g},{round(point.imag, 3) + 0.0:g})"
