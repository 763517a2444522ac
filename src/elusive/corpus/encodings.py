"""Encodings of text: UTF-8, what a byte order mark says, or what the settings say. All else is guessed, and asked for.

A guess is never used in silence: a wrong one reads as text and is none. The message shows it, with a line that it
gives and the setting that confirms it.
"""

import codecs
import io
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, BinaryIO

from elusive.config.checks import is_text_encoding
from elusive.errors import ElusiveError
from elusive.messages import shortened

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_CANDIDATES = (
    *("cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp874"),
    *("shift_jis", "euc_jp", "gb18030", "big5", "euc_kr", "iso8859_2", "iso8859_5", "mac_roman", "cp437", "cp866"),
)

_LIKE_WESTERN = ("cp1250", "cp1254", "cp1257", "iso8859_2", "mac_roman", "cp437")

_NOT_WESTERN = re.compile(
    r"[^\W\d_][^\W\d_\x00-\x7f]?[\xa1-\xbf\xd7\xf7\u02c6\u02dc\u2020\u2021][^\W\d_]|[\ufffd\x80-\x9f]"
)
"""Signs within words, which other encodings have letters for."""

_SAMPLE_BYTES = 1 << 16

_BLOCK_BYTES = 1 << 18

_LINE_CHARACTERS = 100

_DECLARED = re.compile(rb"""<\?xml[^>]*?encoding=["']([\w.:-]+)|<meta[^>]*?charset=["']?\s*([\w.:-]+)""", re.IGNORECASE)


def encoding_of_mark(head: bytes) -> str:
    """The encoding that a byte order mark at the start of a text stands for; empty if there is none."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), "")


def decoded(content: bytes, encoding: str = "", *, declared: bool = False) -> str:
    """A whole text.

    Args:
        content: its bytes.
        encoding: of texts that are not UTF-8 and have no byte order mark (empty: not known).
        declared: whether the text may say it itself, as XML and HTML do.

    Raises:
        ElusiveError: with the reason only, if it is in another encoding; the message has a guess.
    """
    mark = encoding_of_mark(content)
    said = _DECLARED.search(content[:4096]) if declared and not mark else None
    own = (said[1] or said[2]).decode("ascii", "replace") if said else ""
    own = own if is_text_encoding(own or "?") else ""
    # What browsers make of a page that says it is Latin-1.
    own = "cp1252" if own.lower() in ("iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii") else own
    problem = ""
    for name in filter(None, (mark or "utf-8", encoding, own)):
        try:
            return content.decode(name).replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            problem = problem or f"{undecodable(error)}{guess_in_words(content, error.start)}"
    raise ElusiveError(problem)


def undecodable(error: UnicodeDecodeError) -> str:
    """Why bytes are no text in an encoding."""
    name = "UTF-8" if error.encoding.startswith("utf-8") else error.encoding
    return f"not {name} (byte 0x{error.object[error.start]:02x} at position {error.start})"


def guess_in_words(sample: bytes, place: int = 0) -> str:
    """What encoding bytes seem to have, in words that end a message; empty where nothing fits.

    Args:
        sample: the bytes, or the first of them.
        place: of a byte whose line is shown.
    """
    start = max(0, place - _SAMPLE_BYTES // 2)
    part = sample[start - start % 4 : start + _SAMPLE_BYTES]
    if not (name := guessed(part)):
        return ""
    text = part.decode(name, "replace")
    marked = [line for line in text.splitlines() if any(ord(character) > 127 for character in line)] or [text]
    line = shortened(marked[0].strip(), _LINE_CHARACTERS)
    return f'. It looks like {name}, in which a line reads {line!r}: if that is right, set corpus.encoding = "{name}"'


@lru_cache(maxsize=8)
def guessed(sample: bytes) -> str:
    """The encoding that bytes seem to have; empty where nothing fits."""
    if wide := wide_encoding(sample):
        return wide
    from charset_normalizer import from_bytes

    best = from_bytes(sample, cp_isolation=list(_CANDIDATES), enable_fallback=False).best()
    found = best.encoding if best else ""
    return "cp1252" if found in _LIKE_WESTERN and _is_western(sample) else found


def _is_western(sample: bytes) -> bool:
    """Whether bytes read as Western European: its letters within words, and signs between them."""
    text = sample.decode("cp1252", "replace")
    return not _NOT_WESTERN.search(text)


def wide_encoding(sample: bytes) -> str:
    """UTF-16 or UTF-32 without a mark, or empty: most characters of a text have zeros in the same places."""
    if len(sample) < 8:
        return ""
    zeros = [sample[place::4].count(0) / len(sample[place::4]) for place in range(4)]
    if min(zeros[1:]) > 0.9 and zeros[0] < 0.5:
        return "utf-32-le"
    if min(zeros[:3]) > 0.9 and zeros[3] < 0.5:
        return "utf-32-be"
    low, high = (zeros[0] + zeros[2]) / 2, (zeros[1] + zeros[3]) / 2
    if max(low, high) < 0.05 or abs(low - high) < 0.04:
        return ""
    name = "utf-16-le" if high > low else "utf-16-be"
    text = sample[: len(sample) // 2 * 2].decode(name, "replace")
    return name if text.count("\ufffd") < 0.01 * len(text) else ""


def as_utf8(stream: BinaryIO, name: str, label: str) -> BinaryIO:
    """A stream of text in another encoding as one of UTF-8.

    Args:
        stream: the bytes; from their start.
        name: their encoding.
        label: what messages call the file.
    """
    return io.BufferedReader(_Recoded(stream, name, label), _BLOCK_BYTES)


class _Recoded(io.RawIOBase):
    """A stream decoded and encoded again, block by block."""

    def __init__(self, stream: BinaryIO, name: str, label: str) -> None:
        self._stream, self._label = stream, label
        self._decoder = codecs.getincrementaldecoder(name)("strict")
        self._name, self._waiting, self._read = name, b"", 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._waiting:
            block = self._stream.read(_BLOCK_BYTES)
            try:
                self._waiting = self._decoder.decode(block, final=not block).encode("utf-8", "surrogatepass")
            except UnicodeDecodeError as error:
                raise ElusiveError(
                    f"{self._label} is not {self._name} near byte {self._read + error.start}, as corpus.encoding says. "
                    "Name its true encoding."
                ) from None
            self._read += len(block)
            if not block:
                break
        size = min(len(buffer), len(self._waiting))
        buffer[:size] = self._waiting[:size]
        self._waiting = self._waiting[size:]
        return size

    def close(self) -> None:
        self._stream.close()
        super().close()


def is_utf8(blocks: Iterator[bytes]) -> bool:
    """Whether a stream of bytes is UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    try:
        for block in blocks:
            if b"\0" in block:  # UTF-16 of English is UTF-8 with zeros
                return False
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
