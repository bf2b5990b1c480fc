"""How far is the run? A bar per stage on standard error, only where somebody can see it."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Bars:
    """A context whose ``update(stage, done, total)`` draws one bar per stage, if standard error is a terminal.

    Parameters
    ----------
    quiet : bool
        Draw nothing at all.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        hidden = quiet or not console.is_terminal
        self._bars = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=hidden)
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
