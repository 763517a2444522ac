"""The one door to the terminal: what is printed shows every character, and a closed pipe ends the command."""

import contextlib
import os
import select
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from elusive.messages import visible


class _Output:
    """How much this process prints, and where (see `printing`)."""

    quiet = False
    verbose = False
    json = False
    began = 0.0
    waits = False
    """A line that says what is waited for stands at the cursor; the next output takes its place."""


@contextlib.contextmanager
def printing(*, quiet: bool = False, verbose: bool = False, json: bool = False) -> Iterator[None]:
    """Choose what is printed while the block runs.

    Args:
        quiet: results, warnings and errors alone.
        verbose: notes begin with the seconds since the block began.
        json: standard output is for the document of `answer`; what people read goes to standard error.
    """
    before = (_Output.quiet, _Output.verbose, _Output.json, _Output.began)
    _Output.quiet, _Output.verbose, _Output.json, _Output.began = quiet, verbose, json, time.monotonic()
    try:
        yield
    finally:
        _Output.quiet, _Output.verbose, _Output.json, _Output.began = before


def is_quiet() -> bool:
    """Whether results, warnings and errors alone are printed."""
    return _Output.quiet


def is_json() -> bool:
    """Whether standard output is for one JSON document."""
    return _Output.json


def say(text: str = "") -> None:
    """Print a result on standard output."""
    if not _Output.json:
        _write(sys.stdout, text)
    elif not _Output.quiet:
        _write(sys.stderr, text)


def note(text: str) -> None:
    """Print a text about what goes on, on standard error."""
    if not _Output.quiet:
        time_taken = f"[{time.monotonic() - _Output.began:7.1f} s] " if _Output.verbose else ""
        _write(sys.stderr, f"{time_taken}{text}")


def warn(text: str) -> None:
    """Print a warning or an error, on standard error."""
    _write(sys.stderr, text)


def answer(document: str) -> None:
    """Print a document for machines on standard output."""
    _write(sys.stdout, document)


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Say on a terminal what is waited for, until the next output takes the line's place or the block ends."""
    if is_terminal(sys.stderr) and not _Output.quiet:
        print(visible(text), end="", file=sys.stderr, flush=True)
        _Output.waits = True
    try:
        yield
    finally:
        stop_waiting()


def stop_waiting() -> None:
    """Take the line of `waiting` away; whatever draws on the terminal by itself calls this first."""
    if _Output.waits:
        _Output.waits = False
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a standard stream is there, and a terminal."""
    return stream is not None and stream.isatty()


def output_is_closed() -> bool:
    """Whether nobody reads standard output or standard error any more (`elusive ... | head -1`)."""
    return any(_is_closed(stream) for stream in (sys.stdout, sys.stderr))


def discard_output() -> None:
    """Send what is still to be written to closed streams nowhere; without this, Python complains when it ends."""
    for stream in (sys.stdout, sys.stderr):
        if _is_closed(stream):
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def _write(stream: TextIO | None, text: str) -> None:
    stop_waiting()
    if stream is None:  # closed by the shell: >&-
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(visible(text).encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def _is_closed(stream: TextIO | None) -> bool:
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)  # type: ignore[union-attr]
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no file behind it, or a system without poll
        return False
