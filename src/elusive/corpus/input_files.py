"""Input files as bytes: compressed or not, whole or line by line, and never more of them in memory than allowed."""

import contextlib
import dataclasses
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from elusive.config.corpus import CorpusSettings
from elusive.errors import ElusiveError
from elusive.inputs import cannot_read, regular_file
from elusive.storage import Location, UrlPath

from .encodings import as_utf8, encoding_of_mark, is_utf8
from .quarantine import RAW_CHARACTERS

_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


_BUFFER_BYTES = 1 << 18

_MARK_BYTES = 4


MOST_BLANK_LINES = 1_000_000
"""In a row, where each line is looked at alone; no file that anybody wrote has more."""


TOO_MANY_BLANK_LINES = f"more than {MOST_BLANK_LINES:,} blank lines in a row. Look what the file holds"


@dataclass(frozen=True)
class ReadLimits:
    """How much of an input is read.

    Attributes:
        at_once: bytes held in memory at once: a line, or a file that is read whole.
        expansion: how many times its size a compressed file may grow to, where that is more than `at_once`.
        encoding: of text that is not UTF-8 and has no byte order mark (empty: not known).
    """

    at_once: int = CorpusSettings.max_read_bytes
    expansion: int = CorpusSettings.max_expansion
    encoding: str = CorpusSettings.encoding

    @classmethod
    def of(cls, settings: CorpusSettings) -> "ReadLimits":
        """Those of a corpus's settings."""
        return cls(settings.max_read_bytes, settings.max_expansion, settings.encoding)

    @property
    def of_bytes(self) -> "ReadLimits":
        """The same for files that are no text."""
        return dataclasses.replace(self, encoding="")

    def too_long(self, what: str) -> str:
        """Why a line or file is not read."""
        return (
            f"{what} of more than {self.at_once:,} bytes (corpus.max_read_bytes). Cut it into smaller parts, or raise "
            "that setting"
        )


class Line(NamedTuple):
    """A line of a file.

    Attributes:
        number: from 1.
        raw: its bytes; the first of them where it is too long.
        problem: why it cannot be used; empty if it can.
    """

    number: int
    raw: bytes
    problem: str = ""


@contextlib.contextmanager
def opened(path: Location, label: str = "", limits: ReadLimits = ReadLimits()) -> Iterator[BinaryIO]:
    """A file as a stream of bytes; gzip and Zstandard, recognised by their first bytes, are decompressed.

    Text with the byte order mark of UTF-16 or UTF-32, or in the encoding of the settings, comes as UTF-8.

    Args:
        path: the file.
        label: what messages call it (empty: its path).
        limits: how far a compressed file may grow, and the encoding of text that is not UTF-8.

    Raises:
        ElusiveError: if the file cannot be read; while reading, if its compressed stream is cut off, damaged, or grows
            too far.
    """
    label = label or str(path)
    path = regular_file(path, label)
    try:
        with _decompressed(path, label, limits) as stream:
            encoding = _encoding(stream, path, label, limits)
            yield as_utf8(stream, encoding, label) if encoding else stream
    except OSError as error:
        raise _cannot_read(label, error) from None


def _encoding(stream: BinaryIO, path: Location, label: str, limits: ReadLimits) -> str:
    """The encoding from which a text is converted; empty for UTF-8, and for what is no text."""
    mark = encoding_of_mark(stream.peek(_MARK_BYTES)[:_MARK_BYTES])  # type: ignore[attr-defined]
    if mark or not limits.encoding:
        return "" if mark == "utf-8-sig" else mark
    with _decompressed(path, label, limits) as again:
        return "" if is_utf8(iter(lambda: again.read(_BUFFER_BYTES), b"")) else limits.encoding


def is_compressed(path: Location) -> bool:
    """Whether a file is gzip or Zstandard."""
    return bool(_compression(path))


def _compression(path: Location) -> str:
    with path.open("rb") as stream:
        first_bytes = stream.read(4)
    return next((name for magic, name in _COMPRESSIONS.items() if first_bytes.startswith(magic)), "")


def _decompressed(path: Location, label: str, limits: ReadLimits) -> BinaryIO:
    if not (compression := _compression(path)):
        return path.open("rb", _BUFFER_BYTES)
    # pyarrow refuses every stream that is cut off; zstandard stops there in silence.
    import pyarrow

    packed = pyarrow.PythonFile(path.open("rb"), "r") if isinstance(path, UrlPath) else pyarrow.OSFile(str(path))
    stream = pyarrow.CompressedInputStream(packed, compression)
    return io.BufferedReader(_Bounded(stream, path.stat().st_size, label, limits), _BUFFER_BYTES)


class _Bounded(io.RawIOBase):
    """A decompressed stream that ends with an error where it grows out of proportion to its file."""

    def __init__(self, stream: Any, file_bytes: int, label: str, limits: ReadLimits) -> None:
        self._stream, self._label = stream, label
        self._most = max(limits.at_once, limits.expansion * file_bytes)
        self._times = self._most // max(1, file_bytes)
        self._room = self._most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._stream.read(len(buffer))
        self._room -= len(block)
        if self._room < 0:
            raise ElusiveError(
                f"{self._label} grows to more than {self._most:,} bytes, {self._times:,} times its size. Unpack it and "
                f"look what it holds, or set corpus.max_expansion to more than {self._times:,}."
            )
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._stream.close()
        super().close()


def bounded_lines(stream: BinaryIO, limits: ReadLimits = ReadLimits(), *, blank: bool = True) -> Iterator[Line]:
    """The lines of a stream with their line ends; of one that is too long the first bytes alone, and the problem.

    Args:
        stream: the file.
        limits: what is too long.
        blank: whether blank lines are among them; a million in a row are a problem then, and the last line.
    """
    number = blank_run = 0
    while raw := stream.readline(limits.at_once + 1):
        number += 1
        if len(raw) <= limits.at_once or raw.endswith(b"\n"):
            blank_run = blank_run + 1 if raw.isspace() else 0
            if blank_run and not blank:
                number += _skip_blank_lines(stream)
                continue
            if blank_run > MOST_BLANK_LINES:
                yield Line(number, raw, TOO_MANY_BLANK_LINES)
                return
            yield Line(number, raw)
            continue
        yield Line(number, raw[: 4 * RAW_CHARACTERS], limits.too_long("a line"))
        while (rest := stream.readline(_BUFFER_BYTES)) and not rest.endswith(b"\n"):
            pass


def _skip_blank_lines(stream: BinaryIO) -> int:
    """Pass over the blank lines that are in the stream's buffer, many at once; returns how many."""
    if not isinstance(stream, io.BufferedReader):
        return 0
    buffered = stream.peek()
    space = buffered[: len(buffered) - len(buffered.lstrip())]
    return stream.read(space.rfind(b"\n") + 1).count(b"\n")


def byte_lines(path: Location, label: str = "", limits: ReadLimits = ReadLimits()) -> Iterator[Line]:
    """The non-blank lines of a file, without line ends and without a byte order mark.

    Raises:
        ElusiveError: if the file cannot be read.
    """
    with opened(path, label, limits) as stream:
        for line in bounded_lines(stream, limits, blank=False):
            raw = line.raw.removeprefix(b"\xef\xbb\xbf") if line.number == 1 else line.raw
            if raw.strip():
                yield line._replace(raw=raw.rstrip(b"\r\n"))


def read_bytes(path: Location, label: str = "", limits: ReadLimits = ReadLimits()) -> bytes:
    """The content of a file, decompressed.

    Raises:
        ElusiveError: if the file cannot be read, or is too large.
    """
    with opened(path, label, limits) as stream:
        content = stream.read(limits.at_once + 1)
    if len(content) > limits.at_once:
        raise ElusiveError(f"{label or path}: expected a file that fits into memory, got {limits.too_long('one')}.")
    return content


def _cannot_read(path: str, error: OSError) -> ElusiveError:
    if "Truncated compressed stream" in str(error):
        return ElusiveError(
            f"{path} is cut off: its compressed stream ends before its end mark. Copy or download the file again."
        )
    if "decompress failed" in str(error) or "inflate failed" in str(error):
        return ElusiveError(f"{path} is damaged: {error}. Copy or download the file again.")
    return cannot_read(path, error)
