"""Progress for people: bars on a terminal, a line every few seconds in a log."""

import contextlib
import math
import sys
import time
from collections.abc import Iterator
from typing import Any

from elusive.messages import visible

from .files import ProgressFunction
from .terminal import is_quiet, is_terminal, note, stop_waiting

_SECONDS_BETWEEN_LINES = 10.0


_BARS = 12


def clock(seconds: float) -> str:
    """A duration as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextlib.contextmanager
def shown(name: str) -> Iterator[ProgressFunction]:
    """Show one piece of work: its name, its progress and the time left.

    Args:
        name: name of the work, e.g. `score large-cues`.

    Yields:
        The function to call with (done, total).
    """
    with shown_together() as show:
        yield lambda done, total: show(name, done, total)


@contextlib.contextmanager
def shown_together() -> Iterator["Display"]:
    """Show several pieces of work at once; yields the function to call with (name, done, total)."""
    display = Display()
    try:
        yield display
    finally:
        display.close()


class Display:
    """Bars (rich) on a terminal; plain lines where standard error is a file or a pipe."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._tasks: dict[str, Any] = {}
        self._bars = _bars() if is_terminal(sys.stderr) and not is_quiet() else None
        if self._bars:
            stop_waiting()
            self._bars.start()

    def __call__(self, name: str, done: int, total: int) -> None:
        if self._bars is None:
            self._lines.setdefault(name, _Line(name)).show(done, total)
            return
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(visible(name), total=total)
        many = len(self._tasks) > _BARS and done == total  # finished ones make room
        self._bars.update(self._tasks[name], completed=done, total=total, visible=not many)

    def close(self) -> None:
        """Stop drawing."""
        if self._bars:
            self._bars.stop()


def _bars():
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


class _Line:
    def __init__(self, name: str) -> None:
        self.name = name
        self.began = time.monotonic()
        self.first: int | None = None
        self.last = -math.inf

    def show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = done
        if done < total and now - self.last < _SECONDS_BETWEEN_LINES:
            return
        self.last = now
        elapsed = now - self.began
        worked = done - self.first
        left = f", {clock(elapsed / worked * (total - done))} left" if worked > 0 and done < total else ""
        note(f"  {self.name}: {done:,} of {total:,} ({clock(elapsed)}{left})")
