"""What are the sums of all monomials of degree up to six of a few numbers, over many networks? Products of small matrices.

Every monomial is a product of pairs: with the pairs f_i f_j of each network as one matrix and its quadruples as another,
the sums of degree six are entries of the product of the two.  The same code serves networks whose read-out is integrated
out: then a "pair" is the covariance of f_i and f_j given the hidden layer, and a quadruple the sum over three pairings
(Isserlis 1918; Wick), a sextuple the sum over fifteen.
"""

from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldflow.numeric.jit import fma, vectorised
from fieldflow.numeric.symmetric import entries, positions, sorted_tuples

HIGHEST = 6
Array = NDArray[np.float64]
Indices = NDArray[np.int64]


class Plan(NamedTuple):
    """Which products make which monomial: tables of row numbers, one line an entry at sorted indices.

    ``quadruples`` (entries, ways, 2) of pairs; ``triples`` (entries, 2) of a number and a pair, ``quintuples`` of a number
    and a quadruple, ``sextuples`` (entries, ways, 2) of a pair and a quadruple.  Degrees that are not wanted are empty.
    """

    points: int
    odd: bool
    highest: int
    quadruples: Indices
    triples: Indices
    quintuples: Indices
    sextuples: Indices


def degrees(odd: bool, highest: int) -> tuple[int, ...]:
    """Return the degrees whose sums are kept, in their order within a packed vector.

    >>> degrees(False, 6)
    (2, 4, 6)
    """
    return tuple(n for n in range(1, highest + 1) if odd or n % 2 == 0)


def packed_size(points: int, odd: bool, highest: int) -> int:
    """Return how many sums there are."""
    return sum(entries(points, n) for n in degrees(odd, highest))


def _splits(points: int, degree: int, kept: tuple[int, ...]) -> Indices:
    """Return the rows (of the ``kept`` positions, of the others) of every sorted tuple, shape (entries, 2)."""
    tuples = sorted_tuples(points, degree)
    others = [k for k in range(degree) if k not in kept]
    return np.column_stack([positions(tuples[:, list(kept)], points), positions(tuples[:, others], points)])


@cache
def plan(points: int, odd: bool, highest: int, given_hidden: bool) -> Plan:
    """Return the tables; ``given_hidden``: pairs are covariances and all pairings are summed."""
    nothing = np.empty((0, 1, 2), np.int64)
    four = sextuples = nothing
    triples = quintuples = np.empty((0, 2), np.int64)
    if highest >= 4:
        four = np.stack([_splits(points, 4, (0, k)) for k in (range(1, 4) if given_hidden else (1,))], axis=1)
    if highest >= 6:
        sextuples = np.stack([_splits(points, 6, (0, k)) for k in (range(1, 6) if given_hidden else (1,))], axis=1)
    if odd and highest >= 3:
        triples = _splits(points, 3, (0,))
    if odd and highest >= 5:
        quintuples = _splits(points, 5, (0,))
    return Plan(points, odd, highest, four, triples, quintuples, sextuples)


@vectorised
def pairs_of(numbers, out):  # type: ignore[no-untyped-def]
    """Fill out (pairs, members) with the products numbers_i·numbers_j, i <= j; numbers (points, members)."""
    row = 0
    for i in range(numbers.shape[0]):
        for j in range(i, numbers.shape[0]):
            for member in range(numbers.shape[1]):
                out[row, member] = numbers[i, member] * numbers[j, member]
            row += 1


@vectorised
def _quadruples(pairs, table, out):  # type: ignore[no-untyped-def]
    """Fill out (quadruples, members): the sums over the ways of the table."""
    for entry in range(table.shape[0]):
        row = out[entry]
        a, b = pairs[table[entry, 0, 0]], pairs[table[entry, 0, 1]]
        if table.shape[1] == 1:
            for member in range(row.size):
                row[member] = a[member] * b[member]
            continue
        c, d = pairs[table[entry, 1, 0]], pairs[table[entry, 1, 1]]
        e, f = pairs[table[entry, 2, 0]], pairs[table[entry, 2, 1]]
        for member in range(row.size):
            row[member] = fma(a[member], b[member], fma(c[member], d[member], e[member] * f[member]))


@vectorised
def _gathered(product, table, out):  # type: ignore[no-untyped-def]
    """Fill out (entries,) with the sums of the entries of ``product`` that the table (entries, ways, 2) names."""
    for entry in range(table.shape[0]):
        total = 0.0
        for way in range(table.shape[1]):
            total += product[table[entry, way, 0], table[entry, way, 1]]
        out[entry] = total


@vectorised
def _by_first_index(points, pairs, quadruples):  # type: ignore[no-untyped-def]
    """Return Σ_members pair·quadruple where the pair holds the smallest index i of all, half of the whole product.

    Rows are in lexicographic order: such pairs are consecutive, and quadruples without indices below i come last.
    """
    product = np.zeros((pairs.shape[0], quadruples.shape[0]))
    first = 0
    for i in range(points):
        left = points - i
        above = quadruples.shape[0] - left * (left + 1) * (left + 2) * (left + 3) // 24
        product[first : first + left, above:] = np.dot(pairs[first : first + left], quadruples[above:].T)
        first += left
    return product


@vectorised
def add_up(plan, numbers, pairs, quadruples, out):  # type: ignore[no-untyped-def]
    """Fill out (packed,) with the sums over members of all monomials.

    numbers (points, members) are read for odd degrees only, pairs (pairs, members) always; ``quadruples`` is overwritten.
    """
    ones = np.ones(pairs.shape[1])
    start = 0
    if plan.odd:
        out[: plan.points] = np.dot(numbers, ones)
        start = plan.points
    if plan.highest >= 2:
        out[start : start + pairs.shape[0]] = np.dot(pairs, ones)
        start += pairs.shape[0]
    if plan.triples.shape[0] > 0:
        size = plan.triples.shape[0]
        table = plan.triples.reshape((size, 1, 2))
        _gathered(np.dot(numbers, pairs.T), table, out[start : start + size])
        start += size
    if plan.quadruples.shape[0] > 0:
        size = plan.quadruples.shape[0]
        _quadruples(pairs, plan.quadruples, quadruples)
        out[start : start + size] = np.dot(quadruples, ones)
        start += size
    if plan.quintuples.shape[0] > 0:
        size = plan.quintuples.shape[0]
        table = plan.quintuples.reshape((size, 1, 2))
        _gathered(np.dot(numbers, quadruples.T), table, out[start : start + size])
        start += size
    if plan.sextuples.shape[0] > 0:
        size = plan.sextuples.shape[0]
        _gathered(_by_first_index(plan.points, pairs, quadruples), plan.sextuples, out[start : start + size])


def split(values: Array, points: int, odd: bool, highest: int) -> dict[int, Array]:
    """Return the packed vectors (…, entries) of each degree 0 … highest; odd ones are zero where they are not kept."""
    found = {n: np.zeros((*values.shape[:-1], entries(points, n))) for n in range(1, highest + 1)}
    start = 0
    for n in degrees(odd, highest):
        found[n] = values[..., start : start + entries(points, n)]
        start += entries(points, n)
    return found


def subsets(degree: int) -> list[tuple[int, ...]]:
    """Return the subsets of the positions 0 … degree - 1 that hold 0 but not all, in order of size.

    >>> subsets(3)
    [(0,), (0, 1), (0, 2)]
    """
    return [(0, *rest) for size in range(degree - 1) for rest in combinations(range(1, degree), size)]


@cache
def _subset_rows(points: int, degree: int) -> tuple[tuple[int, Indices], ...]:
    return tuple((len(kept), _splits(points, degree, kept)) for kept in subsets(degree))


def cumulants(moments: dict[int, Array], points: int, order: int) -> dict[int, Array]:
    """Return the packed joint cumulants of the degrees 1 … order from packed moments about zero, over leading axes.

    κ(1…n) = m(1…n) - Σ_{B ∋ 1, B ≠ all} κ(B) m(rest) (the moments are the sum over set partitions of products of cumulants;
    B is the part that holds the first index).
    """
    found: dict[int, Array] = {}
    for n in range(1, order + 1):
        result = moments[n].copy()
        for size, rows in _subset_rows(points, n):
            # Zero for symmetric laws, where a third of the work is left.
            if np.any(found[size]) and np.any(moments[n - size]):
                result -= found[size][..., rows[:, 0]] * moments[n - size][..., rows[:, 1]]
        found[n] = result
    return found


def moved(moments: dict[int, Array], centre: Array, order: int) -> dict[int, Array]:
    """Return the packed moments about zero of degrees 1 … order from those about ``centre`` (points,).

    The product of all (f_k - c_k) + c_k, multiplied out.
    """
    points = len(centre)
    if not np.any(centre):
        return moments
    found: dict[int, Array] = {}
    for n in range(1, order + 1):
        tuples = sorted_tuples(points, n)
        result = moments[n] + np.prod(centre[tuples], axis=1)
        for size in range(1, n):
            for kept in combinations(range(n), size):
                rows = _splits(points, n, kept)
                others = [k for k in range(n) if k not in kept]
                result = result + moments[size][..., rows[:, 0]] * np.prod(centre[tuples[:, others]], axis=1)
        found[n] = result
    return found
