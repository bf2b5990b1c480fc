"""Slow textbook versions of what diagrams count: Wick's pairings one by one, and ln P by polynomial algebra.

Shares no code with the package.
"""

from collections import Counter
from fractions import Fraction
from itertools import combinations_with_replacement, permutations, product
from math import factorial


def pairings(items):
    """Yield every way to pair the items."""
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for i, other in enumerate(rest):
        for below in pairings(rest[:i] + rest[i + 1 :]):
            yield [(first, other), *below]


def wick_counts(legs, degrees):
    """Return {canonical multigraph: number of pairings} of connected pairings without lines between two external legs.

    A multigraph is (external legs per vertex, matrix of lines), the largest over vertex orders within one degree.
    """
    halves = [-1] * legs + [v for v, degree in enumerate(degrees) for _ in range(degree)]
    size = len(degrees)
    found = Counter()
    for pairing in pairings(list(range(len(halves)))):
        ends = [(halves[a], halves[b]) for a, b in pairing]
        if (-1, -1) in ends or not _connected(ends, size):
            continue
        found[_key(ends, size)] += 1
    merged = Counter()
    for (outer, lines), count in found.items():
        merged[canonical(outer, lines, degrees)] += count
    return merged


def _connected(ends, size):
    reached = {0}
    for _ in range(size):
        reached |= {b for a, b in ends if a in reached and b >= 0} | {a for a, b in ends if b in reached and a >= 0}
    return len(reached) == size


def _key(ends, size):
    outer, lines = [0] * size, [[0] * size for _ in range(size)]
    for a, b in ends:
        if -1 in (a, b):
            outer[max(a, b)] += 1
        else:
            lines[a][b] += 1
            if a != b:
                lines[b][a] += 1
    return tuple(outer), tuple(map(tuple, lines))


def canonical(outer, lines, degrees):
    orders = [
        order
        for order in permutations(range(len(degrees)))
        if all(degrees[i] == degrees[o] for i, o in enumerate(order))
    ]
    return max(
        (tuple(outer[o] for o in order), tuple(tuple(lines[o][p] for p in order) for o in order)) for order in orders
    )


def relabellings(degrees):
    """Return how many pairings a diagram without symmetry has: n! per vertex, and an order of vertices of one degree."""
    count = 1
    for degree in degrees:
        count *= factorial(degree)
    for repeated in Counter(degrees).values():
        count *= factorial(repeated)
    return count


# Polynomials in components and ε: {(powers of the components, power of ε): coefficient}.


def _multiply(a, b, top):
    found = {}
    for ((p, e), x), ((q, f), y) in product(a.items(), b.items()):
        if e + f <= top:
            key = (tuple(i + j for i, j in zip(p, q, strict=True)), e + f)
            found[key] = found.get(key, 0) + x * y
    return found


def _add(a, b, factor=Fraction(1)):
    found = dict(a)
    for key, value in b.items():
        found[key] = found.get(key, 0) + factor * value
    return {key: value for key, value in found.items() if value}


def _raise(poly, i, precision):
    """Return H' where -∂_i (H e^{-½φΔφ}) = H' e^{-½φΔφ}."""
    size = len(precision)
    found = {}
    for (p, e), value in poly.items():
        for j in range(size):
            key = (tuple(n + (k == j) for k, n in enumerate(p)), e)
            found[key] = found.get(key, 0) + precision[i][j] * value
        if p[i]:
            key = (tuple(n - (k == i) for k, n in enumerate(p)), e)
            found[key] = found.get(key, 0) - p[i] * value
    return found


def action(cumulants, precision, orders, top):
    """Return S + const - ½φΔφ as {(powers, order): coefficient}, up to order ``top`` (in the units of ``orders``).

    ``cumulants`` {n: {sorted index tuple: value}}; P = exp(Σ (-1)^n/n! G_n·∂^n) e^{-½φΔφ}, expanded term by term.
    """
    size = len(precision)
    one = {((0,) * size, 0): Fraction(1)}
    term, ratio = one, dict(one)
    for power in range(1, top + 1):
        applied = {}
        for n, tensor in cumulants.items():
            for index in combinations_with_replacement(range(size), n):
                ways = Fraction(factorial(n))
                for count in Counter(index).values():
                    ways /= factorial(count)
                poly = {(p, e + orders[n]): v for (p, e), v in term.items() if e + orders[n] <= top}
                for i in index:
                    poly = _raise(poly, i, precision)
                applied = _add(applied, poly, ways * tensor[index] / factorial(n))
        term = {key: value / power for key, value in applied.items()}
        ratio = _add(ratio, term)
    rest = _add(ratio, one, Fraction(-1))
    power, logarithm = one, {}
    for k in range(1, top + 1):
        power = _multiply(power, rest, top)
        logarithm = _add(logarithm, power, Fraction((-1) ** (k + 1), k))
    return {key: -value for key, value in logarithm.items()}
