"""Input files as bytes: compressed or not, whole or line by line."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from elusive.errors import ElusiveError

_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


_BUFFER_BYTES = 1 << 18


@contextlib.contextmanager
def opened(path: Path, label: str = "") -> Iterator[BinaryIO]:
    """A file as a stream of bytes; gzip and Zstandard, recognised by their first bytes, are decompressed.

    Args:
        path: the file.
        label: what messages call it (empty: its path).

    Raises:
        ElusiveError: if the file cannot be read; while reading, if its compressed stream is cut off or damaged.
    """
    try:
        with _decompressed(path) as stream:
            yield stream
    except OSError as error:
        raise _cannot_read(label or str(path), error) from None


def is_compressed(path: Path) -> bool:
    """Whether a file is gzip or Zstandard."""
    return bool(_compression(path))


def _compression(path: Path) -> str:
    with path.open("rb") as stream:
        first_bytes = stream.read(4)
    return next((name for magic, name in _COMPRESSIONS.items() if first_bytes.startswith(magic)), "")


def _decompressed(path: Path) -> BinaryIO:
    if not (compression := _compression(path)):
        return path.open("rb", _BUFFER_BYTES)
    # pyarrow refuses every stream that is cut off; zstandard stops there in silence.
    import pyarrow

    return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), compression), _BUFFER_BYTES)


def byte_lines(path: Path, label: str = "") -> Iterator[tuple[int, bytes]]:
    """The non-blank lines of a file as (line number from 1, bytes), without a byte order mark.

    Raises:
        ElusiveError: if the file cannot be read.
    """
    with opened(path, label) as stream:
        for number, line in enumerate(stream, 1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if line.strip():
                yield number, line.rstrip(b"\r\n")


def read_bytes(path: Path, label: str = "") -> bytes:
    """The content of a file, decompressed.

    Raises:
        ElusiveError: if the file cannot be read.
    """
    with opened(path, label) as stream:
        return stream.read()


def _cannot_read(path: str, error: OSError) -> ElusiveError:
    if isinstance(error, FileNotFoundError):
        return ElusiveError(f"No file or folder at {path}. Give the path of one that exists.")
    if isinstance(error, IsADirectoryError):
        return ElusiveError(f"{path}: expected a file, got a folder. Give the path of one file.")
    if "Truncated compressed stream" in str(error):
        return ElusiveError(
            f"{path} is cut off: its compressed stream ends before its end mark. Copy or download the file again."
        )
    if "decompress failed" in str(error) or "inflate failed" in str(error):
        return ElusiveError(f"{path} is damaged: {error}. Copy or download the file again.")
    return ElusiveError(f"{path} could not be read: {error.strerror or error}. Check the file and its permissions.")
