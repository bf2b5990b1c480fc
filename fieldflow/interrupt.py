"""How does Ctrl-C stop a run at once? The work runs on a thread of its own and the main thread only waits for it.

Python handles signals between two steps of the main thread.  A compilation or a block of compiled work is one step that may
take seconds, so it must not be the main thread that is inside it.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_STACK = 64 * 2**20
"""Bytes of stack for the thread: deep expressions recurse deeply, and some systems give threads little."""


class Abandoned(KeyboardInterrupt):
    """Ctrl-C arrived while the work was going on; its thread is still running and the process should end at once."""


class _Work(threading.Thread, Generic[T]):
    """A thread that keeps the outcome of ``work``."""

    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__(daemon=True)
        self.work = work
        self.outcome: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.outcome.append(self.work())
        except BaseException as error:
            self.error = error


def interruptible(work: Callable[[], T]) -> T:
    """Return ``work()``, or raise what it raises; Ctrl-C is answered within a tenth of a second.

    Raises
    ------
    Abandoned
        On Ctrl-C.

    >>> interruptible(lambda: 6 * 7)
    42
    """
    thread = _Work(work)
    try:
        _start(thread)
        while thread.is_alive():
            thread.join(0.1)
    except KeyboardInterrupt as error:  # it may arrive inside _start, when the work has already begun
        raise Abandoned from error
    if thread.error is not None:
        raise thread.error
    return thread.outcome[0]


def _start(thread: threading.Thread) -> None:
    before = threading.stack_size(_STACK)
    try:
        thread.start()
    finally:
        threading.stack_size(before)
