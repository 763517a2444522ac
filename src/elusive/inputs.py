"""Paths that were given: what is there, and whether it can be read. Nothing here waits for ever."""

import os
import stat
import time
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path

from .errors import ElusiveError
from .storage import Location, UrlPath, located

PIPE_SECONDS = 10.0
"""How long a pipe may have nobody who writes to it."""

_BLOCK_BYTES = 1 << 20


def regular_file(path: str | Location, label: str = "") -> Location:
    """A path or URL at which a file is, links followed.

    Args:
        path: the path.
        label: what messages call it (empty: the path).

    Raises:
        ElusiveError: if nothing is there, it cannot be reached, or it is a folder, a pipe, a socket or a device.
    """
    label = label or str(path)
    place = located(path)
    if isinstance(place, UrlPath):
        return _file_at_url(place, label)
    mode = _mode(place, label)
    if not stat.S_ISREG(mode):
        raise ElusiveError(f"{label}: expected a file, got {_kind(mode)}. Give the path of a file.")
    return place


def _file_at_url(place: UrlPath, label: str) -> UrlPath:
    if not place.exists():
        raise cannot_read(label, FileNotFoundError())
    if not place.is_file():
        raise cannot_read(label, IsADirectoryError())
    return place


def is_there(path: str | Location) -> bool:
    """Whether anything is at a path or URL, a link to nothing included.

    Raises:
        ElusiveError: if the system does not say, because a folder on the way is closed, say.
    """
    place = located(path)
    if isinstance(place, UrlPath):
        return place.exists()
    try:
        os.lstat(place)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        raise cannot_read(str(path), error) from None
    return True


def is_pipe(path: str | Location) -> bool:
    """Whether a pipe is at a path.

    Raises:
        ElusiveError: if nothing is there, or it cannot be reached.
    """
    place = located(path)
    return isinstance(place, Path) and stat.S_ISFIFO(_mode(place, str(path)))


def file_blocks(path: str | Location) -> Iterator[bytes]:
    """The content of a file in blocks.

    Raises:
        ElusiveError: if it is no file (see `regular_file`), or cannot be read.
    """
    try:
        with regular_file(path).open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                yield block
    except OSError as error:
        raise cannot_read(str(path), error) from None


def pipe_blocks(path: str | Path) -> Iterator[bytes]:
    """What comes through a pipe, until its writers close it.

    Raises:
        ElusiveError: if nobody writes to it for ten seconds.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # without, this alone would wait for a writer
    except OSError as error:
        raise cannot_read(str(path), error) from None
    with open(handle, "rb", buffering=0) as stream:
        yield _first_block(stream, path)
        os.set_blocking(handle, True)
        while block := stream.read(_BLOCK_BYTES):
            yield block


def _first_block(stream: RawIOBase, path: str | Path) -> bytes:
    end = time.monotonic() + PIPE_SECONDS
    while (block := stream.read(_BLOCK_BYTES)) is not None:  # None: somebody is to write, and has not yet
        if block:
            return block
        if time.monotonic() > end:
            raise ElusiveError(f"{path} is a pipe, and nobody writes to it. Start what writes to it first.")
        time.sleep(0.05)
    return b""


def cannot_read(label: str, error: OSError | ValueError) -> ElusiveError:
    """What is said where the system does not let an input be read.

    Args:
        label: what the message calls it.
        error: what the system said; ValueError where the path holds a NUL character.
    """
    if isinstance(error, FileNotFoundError):
        return ElusiveError(f"No file or folder at {label}. Give the path of one that exists.")
    if isinstance(error, IsADirectoryError):
        return ElusiveError(f"{label}: expected a file, got a folder. Give the path of one file.")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return ElusiveError(f"{label} could not be read: {reason}. Check the file and its permissions.")


def _mode(path: str | Path, label: str) -> int:
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise cannot_read(label, error) from None


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
