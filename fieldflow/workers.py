"""How is the work of an ensemble shared? Fixed blocks of members on a thread pool, results in index order.

The compiled code releases the GIL.  BLAS is held to one thread, so every sum has one order and the numbers do not depend
on how many threads share the blocks.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import closing
from typing import TypeVar

import numpy as np

# Numba reaches BLAS through this module; unless it is loaded first, the limit below would not see that library.
import scipy.linalg.cython_blas  # noqa: F401
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fieldflow.errors import BadInput

BLOCK = 64
"""Members per block, part of the definition of the numbers (blocks are reduced in index order)."""

AHEAD = 4
"""Pieces per thread that are begun before the first of them is used."""

P = TypeVar("P")
R = TypeVar("R")


def available_threads() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def checked_threads(threads: int | None) -> int:
    """Return ``threads``, or all available when None; BadInput unless a positive integer."""
    if threads is None:
        return available_threads()
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 1024:
        raise BadInput(f"threads: expected an integer from 1 to 1024, got {threads!r}")
    return threads


def blocks(members: int) -> Iterator[tuple[int, int]]:
    """Yield (first member, count) of the fixed blocks that cover 0 … members - 1.

    >>> list(blocks(130))
    [(0, 64), (64, 64), (128, 2)]
    """
    for first in range(0, members, BLOCK):
        yield first, min(BLOCK, members - first)


def in_blocks(
    work: Callable[[int, int, NDArray[np.uint8]], R],
    members: int,
    *,
    threads: int,
    progress: Callable[[int], None] | None = None,
) -> list[R]:
    """Run ``work(first, count, stop)`` over all blocks on a thread pool; return the results in index order.

    The work releases the GIL; BLAS is held to one thread so that sums have one order.  On Ctrl-C the running blocks
    are told to stop through ``stop`` and the interrupt is passed on.
    """
    return in_order(
        lambda piece, stop: work(*piece, stop),
        list(blocks(members)),
        threads=threads,
        progress=None if progress is None else lambda piece: progress(piece[1]),
    )


def in_order(
    work: Callable[[P, NDArray[np.uint8]], R],
    pieces: list[P],
    *,
    threads: int,
    progress: Callable[[P], None] | None = None,
) -> list[R]:
    """Run ``work(piece, stop)`` over all pieces as ``in_blocks`` does; return the results in their order."""
    found = []
    with closing(in_turn(work, pieces, threads=threads)) as results:
        for piece, result in zip(pieces, results, strict=True):
            found.append(result)
            if progress is not None:
                progress(piece)
    return found


def in_turn(
    work: Callable[[P, NDArray[np.uint8]], R], pieces: Iterable[P], *, threads: int
) -> Generator[R, None, None]:
    """Yield the results of ``work(piece, stop)`` in the order of the pieces, a few pieces at a time.

    So few results wait for their turn that memory does not grow with the number of pieces.  When an exception or Ctrl-C comes,
    or the generator is closed, the running pieces are told to stop and the others are not begun.
    """
    stop = np.zeros(1, np.uint8)
    begun: deque[Future[R]] = deque()
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(max_workers=threads) as pool:
        try:
            for piece in pieces:
                begun.append(pool.submit(work, piece, stop))
                if len(begun) > AHEAD * threads:
                    yield _awaited(begun)
            while begun:
                yield _awaited(begun)
        finally:
            stop[0] = 1
            pool.shutdown(wait=True, cancel_futures=True)


def _awaited(begun: deque[Future[R]]) -> R:
    """Return the first result; wait in short steps, since a signal is not heard inside a wait on every system."""
    while True:
        try:
            result = begun[0].result(timeout=0.2)
        except FutureTimeoutError:
            if begun[0].done():  # the work itself ran into a time limit
                raise
            continue
        begun.popleft()
        return result
