"""PDF as Markdown: paragraphs, headings, code and tables, told from fonts, places and the outline.

PDFium reads the pages (`pdf_pages`), in a process of its own. Headers, footers and page numbers are lines that stand
at the same end of many pages, alike but for their numbers.
"""

import collections
import importlib.util
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elusive.config.corpus import CorpusSettings
from elusive.errors import ElusiveError
from elusive.runs.progress import shown

from ..files import SourceFile

_PAGES_WITH_PROGRESS = 200

_HEADING = 1.12
"""A heading's letters are so many times as large as those of the text."""

_HEADING_CHARACTERS = 200

_REPEATED_SHARE = 0.2
"""A line at the end of a page that stands on this share of all pages is no text of its own."""

_ENDS = 2
"""Lines at each end of a page that may be a header or a footer."""

_RUNNING = 12
"""Characters by which running titles of one chapter are told."""

_LEADER = re.compile(r"(?:\.\s?){4,}\s*[\divxlc]+$|^[\divxlc]{1,5}$")
"""Ends of lines of a table of contents, and numbers of pages."""

_BULLET = re.compile(r"^[•‣▪◦●○■□–*-]\s+")  # noqa: RUF001

_ITEM = re.compile(r"^(?:[•‣▪◦●○■□*-]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s")


@dataclass(frozen=True)
class _Line:
    """A line of a page: its cells, the size of its letters, and where it stands, in points."""

    cells: tuple[str, ...]
    size: float
    fixed: bool
    bold: bool
    left: float
    right: float
    bottom: float

    @property
    def text(self) -> str:
        return " ".join(self.cells)


_Page = list[_Line]


def pdf_to_markdown(file: SourceFile, settings: CorpusSettings) -> str:
    """The text of a PDF as Markdown.

    Args:
        file: the file.
        settings: `convert_seconds`, for a page, and `max_read_bytes`, for the whole.

    Raises:
        ElusiveError: with what to install, if pypdfium2 is missing; with the reason, if the file cannot be read.
    """
    if importlib.util.find_spec("pypdfium2") is None:
        raise ElusiveError(
            "PDF needs the package pypdfium2, which is not installed. Install it: pip install 'elusive[documents]'"
        )
    with file.unpacked() as path:
        outline, pages = _read(path, file.label, settings)
    if not any(line.text for page in pages for line in page):
        raise ElusiveError("a PDF without text, of scanned pages perhaps: recognise its text first (OCR)")
    return "\n\n".join(_blocks(_without_ends(pages), outline)) + "\n"


def _read(path: Path, label: str, settings: CorpusSettings) -> tuple[dict[str, int], list[_Page]]:
    """The levels of the outline's titles, and the pages."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("pdf_pages.py")), str(path)]
    room = settings.max_read_bytes
    pages: list[_Page] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        rows = _within(process, process.stdout, settings.convert_seconds)
        try:
            head = json.loads(next(rows, "{}"))
            total = head.get("pages", 0)
            with shown(f"read {label}") as show:
                for number, row in enumerate(rows, 1):
                    room -= len(row)
                    if room < 0:
                        most = f"{settings.max_read_bytes:,} bytes of text (corpus.max_read_bytes)"
                        raise ElusiveError(f"more than {most}: split it, or raise that setting")
                    pages.append([_line(values) for values in json.loads(row)["lines"]])
                    if total > _PAGES_WITH_PROGRESS:
                        show(number, total)
        finally:
            process.kill()
    if len(pages) < max(1, total):
        raise ElusiveError(_reason(process.returncode, len(pages), total, settings))
    outline = {_key(title): level + 1 for level, title in reversed(head["outline"]) if _key(title)}
    return outline, pages


def _within(process: "subprocess.Popen[str]", rows: Iterable[str], seconds: float) -> Iterator[str]:
    """The lines of a process, which is killed if one takes longer than `seconds`."""
    rows = iter(rows)
    while True:
        timer = threading.Timer(seconds, process.kill)
        timer.daemon = True
        timer.start()
        try:
            row = next(rows, None)
        finally:
            timer.cancel()
        if row is None:
            process.wait(seconds)
            return
        yield row


def _reason(code: int, read: int, total: int, settings: CorpusSettings) -> str:
    if code == 2:
        return "a PDF with a password: save it without one"
    if code == 3:
        return "a damaged PDF: open it in a viewer and save it again"
    if not total:
        return f"PDFium did not start or broke (exit code {code}): try pip install -U 'elusive[documents]'"
    return (
        f"page {read + 1} of {total} was not read within {settings.convert_seconds:g} s (corpus.convert_seconds) or "
        "broke the reader: save the PDF again, or leave that page out"
    )


def _line(values: Mapping[str, Any]) -> _Line:
    cells = tuple(re.sub(r"\s+", " ", cell) for cell in values["cells"])
    places = [float(values[name]) for name in ("left", "right", "bottom")]
    return _Line(cells, float(values["size"]), bool(values["fixed"]), bool(values["bold"]), *places)


def _key(text: str) -> str:
    """A text by its letters and digits alone; numbers in front of a title are left out."""
    return re.sub(r"[\W_]+", "", re.sub(r"^[\s\d.]+", "", text)).lower()


def _without_ends(pages: Sequence[_Page]) -> list[_Page]:
    """The pages without headers, footers, page numbers and lines of a table of contents."""
    seen = collections.Counter(words for page in pages for words in {_pattern(line) for line in _at_ends(page)})
    often = {words for words, times in seen.items() if times >= max(3, _REPEATED_SHARE * len(pages))}
    begun = collections.Counter(words for page in pages for words in set().union(*map(_beginnings, _at_ends(page, 1))))
    often |= {words for words, times in begun.items() if times >= 3}
    return [[line for line in page if not _is_running(line, page, often)] for page in pages]


def _is_running(line: _Line, page: _Page, often: set[str]) -> bool:
    """Whether a line is a header, a footer, a page number or an entry of a table of contents."""
    if _LEADER.search(line.text):
        return True
    return (_pattern(line) in often and line in _at_ends(page)) or (
        bool(_beginnings(line) & often) and line in _at_ends(page, 1)
    )


def _at_ends(page: _Page, number: int = _ENDS) -> list[_Line]:
    """The highest and the lowest lines of a page."""
    ordered = sorted(page, key=lambda line: line.bottom)
    number = min(number, max(1, len(page) // 4))
    return [*ordered[:number], *ordered[-number:]]


def _pattern(line: _Line) -> str:
    return re.sub(r"\d+", "0", line.text)


def _beginnings(line: _Line) -> set[str]:
    """How a line begins and ends: a running title stands beside a page's number or another title."""
    text = _pattern(line)
    return {f"{text[:_RUNNING]}\t", f"\t{text[-_RUNNING:]}"} if len(text) > _RUNNING else set()


def _blocks(pages: Sequence[_Page], outline: Mapping[str, int]) -> Iterator[str]:
    """Blocks of Markdown, paragraphs that go on over a page among them."""
    lines = [line for page in pages for line in page]
    body = _body_size(lines)
    levels = _levels(lines, body, outline)
    paragraph: list[_Line] = []
    at = 0
    while at < len(lines):
        end = _table_end(lines, at)
        kind = "table" if end else "code" if lines[at].fixed else "text"
        level = _level(lines[at], body, levels, outline) if kind == "text" else 0
        kind = "heading" if level else kind
        if kind != "text" or (paragraph and _begins(paragraph, lines[at])):
            yield from _paragraph(paragraph)
            paragraph = []
        if kind == "table":
            yield _table(lines[at:end])
        elif kind == "code":
            end = next((n for n in range(at, len(lines)) if not lines[n].fixed), len(lines))
            yield _code(lines[at:end])
        elif kind == "heading":
            end = _heading_end(lines, at, body, levels, outline)
            yield f"{'#' * level} {' '.join(line.text for line in lines[at:end])}"
        else:
            paragraph.append(lines[at])
            end = at + 1
        at = end
    yield from _paragraph(paragraph)


def _body_size(lines: Sequence[_Line]) -> float:
    """The size that most letters have."""
    sizes: collections.Counter[float] = collections.Counter()
    for line in lines:
        sizes[round(line.size * 2) / 2] += len(line.text) * (1 if line.fixed else 4)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _levels(lines: Sequence[_Line], body: float, outline: Mapping[str, int]) -> dict[float, int]:
    """The level of a heading by the size of its letters; below those of the outline where there is one."""
    large = sorted({round(line.size) for line in lines if _is_large(line, body)}, reverse=True)
    return {size: min(6, rank) for rank, size in enumerate(large, 1)}


def _is_large(line: _Line, body: float) -> bool:
    return line.size >= _HEADING * body and len(line.text) <= _HEADING_CHARACTERS and any(map(str.isalpha, line.text))


def _level(line: _Line, body: float, levels: Mapping[float, int], outline: Mapping[str, int]) -> int:
    """The level of a heading; 0 for other lines."""
    if not line.fixed and (line.bold or line.size > body) and (level := outline.get(_key(line.text))):
        return min(6, level)
    return levels.get(round(line.size), 6) if _is_large(line, body) else 0


def _heading_end(
    lines: Sequence[_Line], at: int, body: float, levels: Mapping[float, int], outline: Mapping[str, int]
) -> int:
    """Behind the lines of one heading: of one size, near each other."""
    end = at + 1
    while (
        end < len(lines)
        and round(lines[end].size) == round(lines[at].size)
        and 0 < lines[end - 1].bottom - lines[end].bottom < 1.8 * lines[at].size
        and _is_large(lines[end], body)
        and not outline.get(_key(lines[end - 1].text))
    ):
        end += 1
    return end


def _begins(paragraph: Sequence[_Line], line: _Line) -> bool:
    """Whether a line begins a paragraph."""
    before = paragraph[-1]
    if _ITEM.match(line.text):
        return True
    gap = before.bottom - line.bottom
    if gap < 0:  # another page or column: a sentence that is not over goes on
        return bool(re.search(r"[.!?:。！？।؟]\W*$", before.text))  # noqa: RUF001
    return (
        gap > 1.65 * max(line.size, before.size)
        or line.left > paragraph[0].left + 2.5 * line.size
        or (line.bold != before.bold and re.search(r"[.!?:]\W*$", before.text) is not None)
    )


def _paragraph(lines: Sequence[_Line]) -> Iterator[str]:
    text = ""
    for line in lines:
        if text.endswith("\u00ad"):
            text = text.removesuffix("\u00ad") + line.text
        elif re.search(r"[^\W\d_]-$", text) and line.text[:1].islower():
            text = text[:-1] + line.text
        else:
            text += (" " if text and not _joins(text, line.text) else "") + line.text
    text = _BULLET.sub("- ", text.replace("\u00ad", "").strip())
    if text:
        yield re.sub(r"^(#{1,6}\s|>|`{3}|~{3})", r"\\\1", text)


def _joins(before: str, after: str) -> bool:
    """Whether scripts without spaces go on from one line to the next."""
    return bool(re.match(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]{2}", before[-1:] + after[:1]))


def _code(lines: Sequence[_Line]) -> str:
    left = min(line.left for line in lines)
    texts = []
    for line in lines:
        text = "  ".join(line.cells)
        wide = (line.right - line.left) / max(1, len(text))
        texts.append(" " * min(80, round((line.left - left) / wide if wide > 0 else 0)) + text)
    fence = "```"
    while any(fence in text for text in texts):
        fence += "`"
    return "\n".join([fence, *texts, fence])


def _table_end(lines: Sequence[_Line], at: int) -> int:
    """Behind the rows of a table: at least three lines with as many cells each; 0 where there is none."""
    wanted = len(lines[at].cells)
    end = at
    while end < len(lines) and len(lines[end].cells) == wanted and not lines[end].fixed:
        end += 1
    return end if wanted > 1 and end - at >= 3 else 0


def _table(lines: Sequence[_Line]) -> str:
    rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line.cells) + " |" for line in lines]
    return "\n".join([rows[0], "|" + " --- |" * len(lines[0].cells), *rows[1:]])
