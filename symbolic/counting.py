"""At which order in 1/N does a vertex enter? The two countings of cumulants, and the vertices that an order allows."""

from collections.abc import Iterator
from fractions import Fraction
from numbers import Integral

from fieldflow.symbolic.errors import BadInput

COUNTINGS = ("iid", "trained")
"""κ_n ~ N^{1-n/2} (independent neurons), or N^{1-⌈n/2⌉} (trained or renormalised ensembles: κ₃ and κ₄ alike)."""

LARGEST = {False: 4, True: 3}
"""Orders offered, without and with odd cumulants: all that the expansion at one point has been compared with."""


def cumulant_order(n: int, counting: str) -> Fraction:
    """Return k where κ_n ~ N^{-k}, n >= 3.

    >>> cumulant_order(3, "iid"), cumulant_order(3, "trained"), cumulant_order(6, "iid")
    (Fraction(1, 2), Fraction(1, 1), Fraction(2, 1))
    """
    return Fraction(n, 2) - 1 if counting == "iid" else Fraction((n + 1) // 2 - 1)


def coupling_order(r: int, counting: str) -> Fraction:
    """Return k where g_r ~ N^{-k}, r >= 1: that of κ_r, but g_1 and g_2 begin with a loop of κ₃ and of κ₄ (or κ₃κ₃).

    >>> coupling_order(1, "iid"), coupling_order(2, "iid")
    (Fraction(1, 2), Fraction(1, 1))
    """
    return cumulant_order({1: 3, 2: 4}.get(r, r), counting)


def check(order: object, odd: bool, counting: object) -> int:
    """Return the order; BadInput if it is no integer from 1 to what is offered, or the counting is unknown."""
    if not isinstance(odd, bool):
        raise BadInput(f"odd: expected True or False, got {odd!r}")
    if counting not in COUNTINGS:
        raise BadInput(f"counting: expected one of {', '.join(COUNTINGS)}, got {counting!r}")
    largest = LARGEST[odd] if counting == "trained" or not odd else 2
    kind = "with" if odd else "without"
    if isinstance(order, bool) or not isinstance(order, Integral) or not 1 <= int(order) <= largest:
        raise BadInput(f"order: expected an integer from 1 to {largest} ({kind} odd cumulants), got {order!r}")
    return int(order)


def degrees(order: Fraction, orders: dict[int, Fraction]) -> Iterator[tuple[int, ...]]:
    """Yield the vertices (degrees in falling order) whose orders add up to ``order``, given the order of each degree.

    >>> list(degrees(Fraction(2), {4: Fraction(1), 6: Fraction(2)}))
    [(6,), (4, 4)]
    """
    if order == 0:
        yield ()
        return
    for degree in sorted(orders, reverse=True):
        if orders[degree] <= order:
            below = {other: value for other, value in orders.items() if other <= degree}
            for rest in degrees(order - orders[degree], below):
                yield (degree, *rest)
