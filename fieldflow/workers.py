"""How is the work of an ensemble shared? Fixed blocks of members on a thread pool, results in index order.

The compiled code releases the GIL.  BLAS is held to one thread, so every sum has one order and the numbers do not depend
on how many threads share the blocks.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np

# Numba reaches BLAS through this module; unless it is loaded first, the limit below would not see that library.
import scipy.linalg.cython_blas  # noqa: F401
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fieldflow.errors import BadInput

BLOCK = 64
"""Members per block, part of the definition of the numbers (blocks are reduced in index order)."""

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
    stop = np.zeros(1, np.uint8)
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(max_workers=threads) as pool:
        jobs: list[Future[R]] = [pool.submit(work, piece, stop) for piece in pieces]
        piece_of = dict(zip(jobs, pieces, strict=True))
        waiting: set[Future[R]] = set(jobs)
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                for job in done:
                    job.result()
                    if progress is not None:
                        progress(piece_of[job])
        except BaseException:
            stop[0] = 1
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [job.result() for job in jobs]
