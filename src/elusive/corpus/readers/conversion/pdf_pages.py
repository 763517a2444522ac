"""The lines of a PDF with their fonts and places, as JSON, one page a line: what runs in a process of its own.

    python -m elusive.corpus.readers.conversion.pdf_pages FILE

The first line of the output holds the number of pages and the outline. Only pypdfium2 and the standard library are
needed, so that the process starts fast. A memory limit is set before the file is opened.
"""

import ctypes
import json
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

_MEMORY_BYTES = 4 << 30

_FIXED_PITCH = 1

_FIXED_FONTS = ("mono", "courier", "consol", "typewriter", "cmtt")

_BOLD = 600

_GAP = 1.2
"""Characters that stand farther from each other than this share of their size belong to two cells."""

_NAME_BYTES = 256

_SAMPLES = 6
"""Characters of a line whose fonts are looked at."""


class _Character(NamedTuple):
    text: str
    left: float
    right: float
    bottom: float
    size: float


def main(path: str) -> int:
    """Print the pages of a file; 2 where it needs a password, 3 where it is no PDF that can be read."""
    _limit_memory()
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
        count = len(document)
    except pypdfium2.PdfiumError as error:
        return 2 if "password" in str(error).lower() else 3
    _write({"pages": count, "outline": list(_outline(document))})
    for number in range(count):
        try:
            page = document[number]
        except pypdfium2.PdfiumError:
            _write({"lines": [], "damaged": True})
            continue
        _write({"lines": list(_lines(page)), "height": page.get_height()})
        page.close()
    return 0


def _limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    except (ImportError, OSError, ValueError):  # a system without, or with a lower one
        return


def _write(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _outline(document: Any) -> Iterator[list[Any]]:
    """Level and title of each bookmark."""
    for item in document.get_toc():
        yield [item.level, item.get_title()]


def _lines(page: Any) -> Iterator[dict[str, Any]]:
    """Each line: its cells, the size and kind of its font, and its place."""
    import pypdfium2.raw as raw

    text_page = page.get_textpage()
    line: list[_Character] = []
    first = 0
    for index in range(text_page.count_chars()):
        code = raw.FPDFText_GetUnicode(text_page, index)
        if code in (0x0D, 0x0A):
            if line:
                yield _line(line, text_page, first)
                line = []
            continue
        if code in (0, 0xFFFE, 0xFFFF):
            continue
        if not line:
            first = index
        line.append(_character(text_page, index, code))
    if line:
        yield _line(line, text_page, first)
    text_page.close()


def _character(text_page: Any, index: int, code: int) -> _Character:
    import pypdfium2.raw as raw

    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    raw.FPDFText_GetCharBox(text_page, index, left, right, bottom, top)
    text = "\u00ad" if code == 2 else chr(code)  # PDFium writes 2 for the hyphen of a broken word
    return _Character(text, left.value, right.value, bottom.value, raw.FPDFText_GetFontSize(text_page, index))


def _line(characters: list[_Character], text_page: Any, first: int) -> dict[str, Any]:
    import pypdfium2.raw as raw

    shown = [one for one in characters if one.text.strip()] or characters
    sizes = sorted(one.size for one in shown)
    place = first + characters.index(shown[len(shown) // 2])
    samples = shown[:: max(1, len(shown) // _SAMPLES)]
    fonts = [_font(text_page, first + characters.index(one)) for one in samples]
    font, _ = _font(text_page, place)
    return {
        "cells": _cells(characters),
        "size": round(_height(text_page, place) or sizes[len(sizes) // 2], 1),
        "fixed": all(bool(flags & _FIXED_PITCH) or any(word in font for word in _FIXED_FONTS) for font, flags in fonts),
        "bold": raw.FPDFText_GetFontWeight(text_page, place) >= _BOLD or "bold" in font,
        "left": round(shown[0].left, 1),
        "right": round(shown[-1].right, 1),
        "bottom": round(min(one.bottom for one in shown), 1),
    }


def _font(text_page: Any, index: int) -> tuple[str, int]:
    """The name and the flags of a character's font."""
    import pypdfium2.raw as raw

    name, flags = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_int()
    raw.FPDFText_GetFontInfo(text_page, index, name, _NAME_BYTES, flags)
    return name.value.decode("utf-8", "replace").lower(), flags.value


def _height(text_page: Any, index: int) -> float:
    """The size of a character as it is shown: fonts of size 1 are scaled on the page."""
    import pypdfium2.raw as raw

    matrix = raw.FS_MATRIX()
    size = raw.FPDFText_GetFontSize(text_page, index)
    if not raw.FPDFText_GetMatrix(text_page, index, matrix):
        return size
    scale = (matrix.b**2 + matrix.d**2) ** 0.5
    return size * scale


def _cells(characters: list[_Character]) -> list[str]:
    """The text of a line, cut where wide gaps are."""
    cells, text, end = [], "", None
    for one in characters:
        if one.text.isspace():
            text += " "
            continue
        if end is not None and text.strip() and one.left - end > _GAP * max(one.size, 1) and one.size > 1:
            cells.append(text.strip())
            text = ""
        text += one.text
        end = one.right
    return [*cells, text.strip()] if text.strip() or not cells else cells


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
