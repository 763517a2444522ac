"""The one door to the terminal: what is printed shows every character, and a closed pipe ends the command."""

import os
import select
import sys
from typing import TextIO

from elusive.messages import visible


def say(text: str = "") -> None:
    """Print a text on standard output."""
    _write(sys.stdout, text)


def note(text: str) -> None:
    """Print a text about what goes on, on standard error."""
    _write(sys.stderr, text)


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
