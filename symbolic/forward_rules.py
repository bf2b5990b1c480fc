"""Which diagrams make up a correlator? The usual Feynman rules of S = ½φΔφ + Σ_r g_r φ^r, order by order in 1/N."""

from fractions import Fraction
from functools import cache

from fieldflow.symbolic.counting import check, coupling_order, degrees
from fieldflow.symbolic.multigraph import Multigraph, connected_graphs


def vertex_orders(order: int, *, odd: bool, counting: str) -> dict[int, Fraction]:
    """Return the couplings r >= 1 that enter up to N^{-order}, and at which order each does.

    >>> vertex_orders(1, odd=False, counting="iid")
    {2: Fraction(1, 1), 4: Fraction(1, 1)}
    """
    every = range(1, 2 * order + 3) if odd else range(2, 2 * order + 3, 2)
    return {r: power for r in every if (power := coupling_order(r, counting)) <= order}


def largest_legs(order: int) -> int:
    """Return the largest n for which G_c^{(n)} has a diagram at N^{-order}: that of the single vertex g_n."""
    return 2 * order + 2


def graphs(legs: int, order: int, *, odd: bool, counting: str) -> tuple[Multigraph, ...]:
    """Return every connected diagram of G_c^{(legs)} with vertices, up to N^{-order}; its value is legs!/symmetry factor.

    The bare line of the two-point function has no vertex and is not among them.
    """
    return _graphs(legs, check(order, odd, counting), odd, counting)


@cache
def _graphs(legs: int, order: int, odd: bool, counting: str) -> tuple[Multigraph, ...]:
    known = vertex_orders(order, odd=odd, counting=counting)
    powers = [Fraction(halves, 2) for halves in range(1, 2 * order + 1)]
    return tuple(
        graph
        for power in powers
        for vertices in sorted(degrees(power, known), key=lambda found: (len(found), found))
        for graph in connected_graphs(legs, vertices)
    )
