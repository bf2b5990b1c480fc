"""What if one process is not enough, or dies? Pieces of work in processes of their own, each lost and redone alone.

Every process has a pool to itself: a pool that loses a process gives up all of its work, and here that is one piece.
"""

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fieldflow.errors import BadInput

ATTEMPTS = 3
"""So often one piece may lose its process; more often it is the piece, or a memory that is too small."""

Piece = tuple[int, int]
Stop = NDArray[np.uint8]
R = TypeVar("R")

_LOG = logging.getLogger("fieldflow.processes")
_STOP: list[Stop] = []
"""In a process of the pool: the byte, shared with the parent, that ends running work."""


def in_processes(
    work: Callable[[Piece, Stop], R], pieces: list[Piece], *, workers: int
) -> Generator[tuple[Piece, R], None, None]:
    """Yield (piece, ``work(piece, stop)``) for all pieces from ``workers`` new processes, as they end.

    Processes are spawned, so ``work`` must be picklable; they end with this process however it ends, or when the generator
    is closed.

    Raises
    ------
    BadInput
        If a piece loses its process ``ATTEMPTS`` times.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.RawArray("B", 1)

    def fresh() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(stop,))

    waiting, lost = deque(pieces), Counter[Piece]()
    busy: dict[Future[R], tuple[ProcessPoolExecutor, Piece]] = {}
    idle = [fresh() for _ in range(min(workers, len(pieces)))]
    try:
        while waiting or busy:
            while waiting and idle:
                pool, piece = idle.pop(), waiting.popleft()
                busy[pool.submit(_run, work, piece)] = pool, piece
            for job in wait(busy, return_when=FIRST_COMPLETED).done:
                pool, piece = busy[job]
                try:
                    result = job.result()
                except BrokenProcessPool as error:
                    lost[piece] += 1
                    _LOG.warning("workers: a process died; members %d to %d are computed again", *_range(piece))
                    if lost[piece] == ATTEMPTS:
                        raise BadInput(
                            "workers: members {} to {} lost their process {} times; expected fewer workers, more memory, "
                            'and in a script: if __name__ == "__main__"'.format(*_range(piece), ATTEMPTS)
                        ) from error
                    pool.shutdown(wait=False)
                    pool = fresh()
                    waiting.appendleft(piece)
                else:
                    yield piece, result
                del busy[job]
                idle.append(pool)
    finally:
        stop[0] = 1
        for pool in [*idle, *(pool for pool, _ in busy.values())]:
            pool.shutdown(wait=True, cancel_futures=True)


def _range(piece: Piece) -> tuple[int, int]:
    first, count = piece
    return first, first + count - 1


def _begin(stop: Any) -> None:
    """Prepare a new process: the parent decides on Ctrl-C, and its end is the end of this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _STOP.append(np.frombuffer(stop, np.uint8))
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _run(work: Callable[[Piece, Stop], R], piece: Piece) -> R:
    return work(piece, _STOP[0])
