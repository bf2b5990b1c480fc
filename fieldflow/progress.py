"""How far is the run? A bar per stage where somebody can see it, or lines of JSON for another program."""

import json
import math
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

INTERVAL = 0.5
"""Seconds between two lines of one stage; its first and its last are always written."""


class Rate(ProgressColumn):
    """How many per second, over the last half minute."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """Return the rate as text, nothing before it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} {self.unit}/s")


class Bars:
    """A context whose ``update(stage, done, total)`` draws one bar per stage, if standard error is a terminal.

    Parameters
    ----------
    quiet : bool
        Draw nothing at all.
    unit : str
        What is counted.
    """

    def __init__(self, *, quiet: bool = False, unit: str = "") -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        hidden = quiet or not console.is_terminal
        self._bars = Progress(
            *columns, Rate(unit), TimeRemainingColumn(), console=console, transient=True, disable=hidden
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Bars":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` members have passed ``stage``."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done)


class JsonLines:
    """A context whose ``update(stage, done, total)`` prints one JSON object on standard output."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[int, float]] = {}
        self._shown: dict[str, float] = {}

    def __enter__(self) -> "JsonLines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the stream open: the result is still to come."""

    def update(self, stage: str, done: int, total: int) -> None:
        """Print how far ``stage`` is; the rate counts from its first line, so that compiling does not enter."""
        now = time.monotonic()
        first, start = self._begun.setdefault(stage, (done, now))
        if done < total and now - self._shown.get(stage, -math.inf) < INTERVAL:
            return
        self._shown[stage] = now
        rate = round((done - first) / (now - start), 3) if now > start else None
        _print({"stage": stage, "done": done, "total": total, "members_per_second": rate})

    def finish(self, result: Path, exit_code: int) -> None:
        """Print the last line: where the result is and what the verdict says."""
        _print({"result": str(result), "exit_code": exit_code})


def _print(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)
