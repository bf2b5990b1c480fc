"""In how many ways do n points fall into blocks? Set partitions, the combinatorics between cumulants and moments.

Partitions of one *type* (the sizes of their blocks, largest first) always come with one coefficient, so formulas are
written in sums over a type: H_42 = Σ₁₅⟨hhhh⟩⟨hh⟩ and G_42 = Σ₁₅ G_c^{(4)}G_c^{(2)}.
"""

from collections.abc import Iterator
from functools import cache
from itertools import groupby

import sympy as sp

from fieldflow.symbolic.errors import BadInput

Type = tuple[int, ...]
Partition = tuple[tuple[int, ...], ...]

LARGEST = 8
"""Points up to which partitions are listed: 4140 of them."""


@cache
def set_partitions(points: int) -> dict[Type, tuple[Partition, ...]]:
    """Return all partitions of 0 … points - 1 into blocks of increasing numbers, by type.

    >>> set_partitions(3)[2, 1]
    (((0, 1), (2,)), ((0, 2), (1,)), ((1, 2), (0,)))
    """
    if not 1 <= points <= LARGEST:
        raise BadInput(f"n: expected an integer from 1 to {LARGEST}, got {points}")
    found = sorted((tuple(sorted(p, key=lambda b: (-len(b), b))) for p in _grown(points)), key=lambda p: (_type(p), p))
    return {kind: tuple(members) for kind, members in groupby(found, key=_type)}


def _type(partition: Partition) -> Type:
    return tuple(len(block) for block in partition)


def _grown(points: int) -> Iterator[Partition]:
    """Yield each partition once: the last point joins a block of a smaller partition or stands alone."""
    if points == 0:
        yield ()
        return
    for smaller in _grown(points - 1):
        for i, block in enumerate(smaller):
            yield (*smaller[:i], (*block, points - 1), *smaller[i + 1 :])
        yield (*smaller, (points - 1,))


def types(points: int, *, even: bool = False) -> tuple[Type, ...]:
    """Return the types of n points, with even blocks only if asked for; one block first.

    >>> types(6, even=True)
    ((6,), (4, 2), (2, 2, 2))
    """
    every = sorted(set_partitions(points), reverse=True)
    return tuple(kind for kind in every if not even or all(size % 2 == 0 for size in kind))


def count(kind: Type) -> int:
    """Return how many partitions have this type.

    >>> count((4, 2)), count((2, 2, 2))
    (15, 15)
    """
    return len(set_partitions(sum(kind))[kind])


def sum_symbol(letter: str, kind: Type) -> sp.Symbol:
    """Return the symbol of the sum over all partitions of a type.

    >>> sum_symbol("H", (4, 2))
    H_42
    """
    return sp.Symbol(f"{letter}_{''.join(map(str, kind))}", real=True)


def _printed(letter: str, kind: Type) -> str:
    ways = "" if count(kind) == 1 else rf"\Sigma_{{{count(kind)}}}"
    return ways + "".join(_power(letter, size, kind.count(size)) for size in sorted(set(kind), reverse=True))


def _power(letter: str, size: int, times: int) -> str:
    """Return ⟨h^size⟩^times or (G_c^{(size)})^times."""
    exponent = "" if times == 1 else f"^{{{times}}}"
    if letter == "H":
        return rf"\langle h{'' if size == 1 else f'^{{{size}}}'}\rangle{exponent}"
    one = f"G_{{c}}^{{({size})}}"
    return rf"\bigl({one}\bigr){exponent}" if exponent else one


def printed_sums() -> dict[str, str]:
    """Return calling name to LaTeX of the sums over types: of moments ⟨h…h⟩ and of connected functions."""
    return {
        sum_symbol(letter, kind).name: _printed(letter, kind)
        for letter in "HG"
        for points in range(1, 7)
        for kind in types(points)
    } | {sum_symbol(letter, kind).name: _printed(letter, kind) for letter in "HG" for kind in types(8, even=True)}
