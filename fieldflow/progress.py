"""How far is the run? A bar per stage where somebody can see it, or lines of JSON for another program."""

import json
import math
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from fieldflow.verdict import Standing

INTERVAL = 0.5
"""Seconds between two lines of one stage; its first and its last are always written."""

PATIENCE = 2.0
"""Seconds before work that is usually short shows a bar."""


class Rate(ProgressColumn):
    """How many per second, over the last half minute."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """Return the rate as text, nothing before it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} {self.unit}/s")


class _Bars(Progress):
    """Bars with a line of text below them."""

    def __init__(self, *columns: Any, **options: Any) -> None:
        self.below = Text("")
        super().__init__(*columns, **options)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return the bars and, once there is one, the line."""
        yield from super().get_renderables()
        if self.below:
            yield self.below


class Bars:
    """A context whose ``update(stage, done, total)`` draws one bar per stage, if standard error is a terminal, and below
    them how a comparison stands.

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
        self._bars = _Bars(*columns, Rate(unit), TimeRemainingColumn(), console=console, transient=True, disable=hidden)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Bars":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def standing(self, standing: Standing) -> None:
        """Show below the bars how a comparison stands."""
        self._bars.below.plain = str(standing)

    def update(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` members have passed ``stage``."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done)


class LateBar:
    """A progress bar that appears after a while; a quick run draws nothing."""

    def __init__(self, wanted: bool, members: int) -> None:
        self._wanted, self._members, self._done = wanted, members, 0
        self._start = time.monotonic()
        self._stack = ExitStack()
        self._bars: Bars | None = None

    def __enter__(self) -> "LateBar":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def advance(self, members: int) -> None:
        """Count members that are done."""
        self._done = min(self._done + members, self._members)
        if self._bars is None and self._wanted and time.monotonic() - self._start > PATIENCE:
            self._bars = self._stack.enter_context(Bars())
        if self._bars is not None:
            self._bars.update("networks", self._done, self._members)


class JsonLines:
    """A context whose ``update(stage, done, total)`` prints one JSON object on standard output."""

    def __init__(self) -> None:
        self._joint: dict[str, object] | None = None
        self._begun: dict[str, tuple[int, float]] = {}
        self._shown: dict[str, float] = {}

    def __enter__(self) -> "JsonLines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the stream open: the result is still to come."""

    def standing(self, standing: Standing) -> None:
        """Say from the next line on how a comparison stands."""
        self._joint = standing._asdict()

    def update(self, stage: str, done: int, total: int) -> None:
        """Print how far ``stage`` is; the rate counts from its first line, so that compiling does not enter."""
        now = time.monotonic()
        first, start = self._begun.setdefault(stage, (done, now))
        if done < total and now - self._shown.get(stage, -math.inf) < INTERVAL:
            return
        self._shown[stage] = now
        rate = round((done - first) / (now - start), 3) if now > start else None
        left = round((total - done) / rate, 1) if rate else None
        line = {"stage": stage, "done": done, "total": total, "members_per_second": rate, "seconds_left": left}
        _print({**line, "joint": self._joint})

    def finish(self, result: Path, exit_code: int) -> None:
        """Print the last line: where the result is and what the verdict says."""
        _print({"result": str(result), "exit_code": exit_code})


def _print(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)
