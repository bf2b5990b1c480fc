"""How do the laws of single members become the record of a block? One member after the other, each a row of every array."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from fieldflow.processes import Stop
from fieldflow.shards import Record

T = TypeVar("T", bound=Record)


def until_told(members: Iterable[int], stop: Stop) -> Iterator[int]:
    """Yield the members, but none after the first one once ``stop`` is set: the record of no member has no shape.

    >>> list(until_told(range(5, 9), np.ones(1, np.uint8)))
    [5]
    """
    for position, member in enumerate(members):
        if position and stop[0]:
            return
        yield member


def stacked(kind: Callable[..., T], rows: Iterable[Sequence[Any]]) -> T:
    """Return rows, each with a value for every field of ``kind``, as one record."""
    return kind(*(np.array(column) for column in zip(*rows, strict=True)))
