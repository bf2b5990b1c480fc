"""Textbook cumulants of random variables with finitely many values, in exact rationals.

A network of a few units whose parameters take finitely many values is averaged state by state; its cumulants follow from
Smith's recursion over subsets, which uses no list of partitions.
"""

from fractions import Fraction
from itertools import product


def expectation(states, function):
    """Return Σ probability·function(state)."""
    return sum((weight * function(state) for weight, state in states), Fraction(0))


def joint(moment, labels):
    """Return the joint cumulant of ``labels`` (a tuple), ``moment`` giving E of the product of a tuple of them.

    E[Π_S] = Σ κ(B)·E[Π_{S∖B}] over subsets B of S that hold its first element.
    """
    if len(labels) == 1:
        return moment(labels)
    head, rest = labels[:1], labels[1:]
    total = moment(labels)
    for mask in range(2 ** len(rest) - 1):
        inside = tuple(label for bit, label in enumerate(rest) if mask >> bit & 1)
        outside = tuple(label for bit, label in enumerate(rest) if not mask >> bit & 1)
        total -= joint(moment, head + inside) * moment(outside)
    return total


def network_states(units, unit_states):
    """Return (probability, tuple of unit states) of independent units, each with (probability, state) pairs."""
    found = []
    for chosen in product(unit_states, repeat=units):
        weight = Fraction(1)
        for probability, _ in chosen:
            weight *= probability
        found.append((weight, tuple(state for _, state in chosen)))
    return found
