"""Rows of any input file: reading them, checking their values, and saying what is wrong with the bad ones."""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from elusive.errors import ElusiveError

LISTED_ROWS = 10
"""How many bad rows an error message lists."""


PROBLEM_CHARACTERS = 400
"""How much of each."""


RAW_CHARACTERS = 65_536
"""How much of a bad row is kept."""


_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


_BUFFER_BYTES = 1 << 18


@dataclass(frozen=True)
class BadRow:
    """A row that could not be read.

    Attributes:
        source: the file.
        line: its first line there, from 1; 0 where the file has no lines (then `reason` begins with the row's place).
        reason: why.
        raw: its bytes as text, bytes that are not UTF-8 as `\\xNN`; at most 65,536 characters.
        of: what the row should have been.
    """

    source: str
    line: int
    reason: str
    raw: str
    of: Literal["document", "question"] = "document"


@dataclass(frozen=True)
class LeftOut:
    """A row that is left out on purpose, and counted.

    Attributes:
        reason: why, in words that are the same for all such rows.
    """

    reason: str


class BadRowsError(ElusiveError):
    """A source was read to its end, and too many of its rows were bad."""


def bad_row(
    source: str | Path, line: int, reason: str, raw: bytes, of: Literal["document", "question"] = "document"
) -> BadRow:
    """A bad row with its bytes made text and cut to size."""
    # A character has at most four bytes; the cut keeps a huge row from being decoded for its first few characters.
    text = raw[: 4 * RAW_CHARACTERS].decode("utf-8", "backslashreplace")
    return BadRow(str(source), line, reason, text[:RAW_CHARACTERS], of)


@contextlib.contextmanager
def opened(path: Path, label: str = "") -> Iterator[BinaryIO]:
    """A file as a stream of bytes; gzip and Zstandard, seen by their first bytes, are decompressed on the way.

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
    # Of the libraries at hand this alone refuses every stream that is cut off: zstandard ends there in silence.
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


def parse_row(raw: bytes) -> dict[str, Any]:
    """The JSON object on one line.

    Raises:
        ElusiveError: with the reason only, if the line is not UTF-8, not JSON, or not an object.
    """
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ElusiveError(not_utf8(error)) from None
    except json.JSONDecodeError as error:
        raise ElusiveError(f"malformed JSON ({error.msg}, column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise ElusiveError(f"JSON that cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise ElusiveError(f"expected a JSON object {{...}}, got {kind(value)}")
    return value


def not_utf8(error: UnicodeDecodeError) -> str:
    """Why bytes are not UTF-8, in words."""
    return f"not UTF-8 (byte 0x{error.object[error.start]:02x} at position {error.start})"


def text_value(row: Mapping[str, Any], key: str) -> str:
    """A text under `key` that holds more than white space and can be written as UTF-8.

    Raises:
        ElusiveError: with the reason only.
    """
    if key not in row:
        raise ElusiveError(f"no {key!r}: expected a string, got the keys {', '.join(map(repr, row)) or '(none)'}")
    return checked_text(row[key], key)


def checked_text(value: object, name: str) -> str:
    """A value that is text of more than white space and can be written as UTF-8.

    Raises:
        ElusiveError: with the reason only.
    """
    if not isinstance(value, str):
        raise ElusiveError(f"{name!r}: expected a string, got {kind(value)}")
    if not value or value.isspace():
        raise ElusiveError(f"empty {name}: expected at least one character that is not white space")
    try:
        if not value.isascii():
            value.encode("utf-8")
    except UnicodeEncodeError:
        raise ElusiveError(
            f"{name!r} holds half of a surrogate pair (a \\ud800-\\udfff escape), which is no character"
        ) from None
    return value


def row_id(row: Mapping[str, Any], key: str, default: str) -> str:
    """The id under `key` as a string, or `default` where it is absent, null or empty.

    Raises:
        ElusiveError: with the reason only, if it is neither a string nor a whole number.
    """
    value = row.get(key)
    if value is None or value == "":
        return default
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return checked_text(value, key)


def kind(value: object) -> str:
    """JSON's name of a value's type."""
    names = {bool: "true or false", dict: "an object", list: "a list", str: "a string", type(None): "null"}
    return names.get(type(value), "a number")


def counted(number: int, noun: str) -> str:
    """A number with its noun, e.g. `1 bad row`, `12 bad rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(problems: Sequence[str], total: int = 0) -> str:
    """The first ten problems, one a line, and how many more there are; long ones are cut.

    Args:
        problems: the problems, or the first of them.
        total: how many there are (0: those given).
    """
    lines = [f"  {_shortened(problem)}" for problem in problems[:LISTED_ROWS]]
    more = (total or len(problems)) - LISTED_ROWS
    return "\n".join([*lines, f"  ... and {more:,} more"] if more > 0 else lines)


def _shortened(problem: str) -> str:
    # A reason may quote the row, which may be a whole book.
    return problem if len(problem) <= PROBLEM_CHARACTERS else problem[:PROBLEM_CHARACTERS] + "..."


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
