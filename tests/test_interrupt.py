"""Does Ctrl-C end the wait for the work whenever it arrives, also while the thread is only being started?"""

import threading
import time

import pytest

from fieldflow import interrupt
from fieldflow.interrupt import Abandoned, interruptible


def test_interrupt_while_the_thread_starts_abandons_the_work(monkeypatch):
    release = threading.Event()
    start = interrupt._start

    def start_then_interrupt(thread):
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(interrupt, "_start", start_then_interrupt)
    began = time.perf_counter()
    with pytest.raises(Abandoned):
        interruptible(lambda: release.wait(30))
    assert time.perf_counter() - began < 5
    release.set()


def test_the_stack_size_is_restored():
    before = threading.stack_size()
    assert interruptible(lambda: 1) == 1
    assert threading.stack_size() == before
