"""Progress for people: bars on a terminal, a line every few seconds in a log."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from elusive.messages import visible

from .terminal import is_quiet, is_terminal, note, stop_waiting

_SECONDS_BETWEEN_LINES = 10.0


_BARS = 12


_COLUMNS = 80
"""The longest line."""


_BESIDE_NAME = 54
"""Columns that the bar takes at least, with the counts, the remark and the times."""


Show = Callable[[str, int, int, str], None]
"""Shows one of several pieces of work: called with (name, done, total, remark)."""


def clock(seconds: float) -> str:
    """A duration as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextlib.contextmanager
def shown(name: str) -> Iterator["Shown"]:
    """Show one piece of work: its name, its progress and the time left.

    Args:
        name: name of the work, e.g. `score large-cues`.

    Yields:
        The function to call with (done, total).
    """
    with shown_together() as show:
        yield Shown(show, name)


class Shown:
    """Shows one of several pieces of work; called with (done, total).

    Args:
        show: called with (name, done, total, remark).
        name: name of the work.
    """

    def __init__(self, show: "Show", name: str) -> None:
        self._show, self._name, self._remark = show, name, ""

    def __call__(self, done: int, total: int) -> None:
        self._show(self._name, done, total, self._remark)

    def remark(self, words: str) -> None:
        """Show words beside the progress from now on, such as the loss."""
        self._remark = words


@contextlib.contextmanager
def shown_together() -> Iterator["Display"]:
    """Show several pieces of work at once; yields the function to call with (name, done, total, remark)."""
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

    def __call__(self, name: str, done: int, total: int, remark: str = "") -> None:
        if self._bars is None:
            self._lines.setdefault(name, _Line(name)).show(done, total, remark)
            return
        if name not in self._tasks:
            words = _shortened(visible(name), self._bars.console.width - _BESIDE_NAME)
            self._tasks[name] = self._bars.add_task(words, total=total, remark="")
        many = len(self._tasks) > _BARS and done == total  # finished ones make room
        self._bars.update(self._tasks[name], completed=done, total=total, visible=not many, remark=remark)

    def close(self) -> None:
        """Stop drawing."""
        if self._bars:
            self._bars.stop()


def _bars(console: Any = None) -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    # The bar has what the words leave of the line.
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=3)),
        MofNCompleteColumn(),
        TextColumn("{task.fields[remark]}", markup=False, table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("left", table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        console=console or Console(stderr=True, width=min(_COLUMNS, Console(stderr=True).width)),
        expand=True,
    )


class _Line:
    def __init__(self, name: str) -> None:
        self.name = name
        self.began = time.monotonic()
        self.first: int | None = None
        self.last = -math.inf

    def show(self, done: int, total: int, remark: str = "") -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = done
        if done < total and now - self.last < _SECONDS_BETWEEN_LINES:
            return
        self.last = now
        elapsed = now - self.began
        worked = done - self.first
        left = f"{clock(elapsed / worked * (total - done))} left" if worked > 0 and done < total else ""
        words = ", ".join(one for one in (clock(elapsed), left, remark) if one)
        note(_fitted(self.name, f": {done:,} of {total:,} ({words})"))


def _fitted(name: str, rest: str) -> str:
    """A line of at most `_COLUMNS`: a long name loses its middle.

    Example:
        >>> _fitted("train plain", ": 1 of 2"), len(_fitted("train " + "+".join(["insert"] * 20), ": 1 of 2"))
        ('  train plain: 1 of 2', 80)
    """
    return f"  {_shortened(name, _COLUMNS - 2 - len(rest))}{rest}"


def _shortened(name: str, room: int) -> str:
    """A name without its middle where it is longer than the room for it, which is at least 12 characters."""
    room = max(12, room)
    return name if len(name) <= room else f"{name[: room - room // 2 - 3]}...{name[len(name) - room // 2 :]}"
