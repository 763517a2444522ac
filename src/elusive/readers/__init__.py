"""Any source as a stream of documents, questions and bad rows."""

import csv
import json
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..config import CorpusFormat
from ..documents import Corpus, Document
from ..errors import ElusiveError
from ..rows import (
    BadRow,
    bad_row,
    byte_lines,
    checked_text,
    counted,
    csv_records,
    kind,
    listed,
    not_utf8,
    parse_row,
    read_bytes,
    row_id,
    text_value,
)
from ..tags import Span, parse_tags
from .squad import ANSWER_FIELD, read_squad

TEXT_SUFFIXES = (".txt", ".md", ".markdown")
_FORMAT_BY_SUFFIX: Mapping[str, CorpusFormat] = {
    ".jsonl": "jsonl",
    ".csv": "tagged-csv",
    ".json": "squad",
    **dict.fromkeys(TEXT_SUFFIXES, "text"),
}


class _Row(NamedTuple):
    """A row as read: its document, or the reason why there is none."""

    source: Path
    line: int
    raw: bytes
    result: Document | str


def read_corpus(path: str | Path, format: CorpusFormat = "auto", limit: int = 0, *, skip_bad: bool = False) -> Corpus:
    """Read a corpus from a file or a folder.

    Formats:
        jsonl: one object a line with `text`, and optionally `id` and `spans`: `[[field, start, end], ...]` or
            `[{"field": ..., "start": ..., "end": ...}, ...]`, in characters, end exclusive. Blank lines are left out.
        tagged-csv: a comma-separated file with a header, a column `text` and optionally `id`. Balanced tags such as
            `<date>..</date>` are taken out of the text and become spans; anything else in angle brackets stays.
        text: a text or Markdown file, or all of them under a folder, in the order of their paths (hidden ones are left
            out); one file is one document, without white space around it, and its id is its path in the folder.
        squad: SQuAD v1.1 or v2.0 JSON. Each different paragraph is a document, its answers are spans of the field
            `answer`, and its questions come with the corpus; impossible questions are left out.
        auto: by the suffix: .jsonl, .csv, .json (SQuAD), .txt, .md, .markdown, or a folder of text.

    A row without an id is called `<file stem>-000001`, by its number among the rows; a SQuAD paragraph `<title>-0001`,
    by its number in the article.

    Args:
        path: the file or folder.
        format: one of the above.
        limit: stop after so many documents (0: read all).
        skip_bad: set bad rows aside in `quarantined` and go on, instead of stopping.

    Returns:
        The corpus, documents in the order of the source.

    Raises:
        ElusiveError: if the source is missing, cannot be read as a whole or holds no document; or if a row is bad and
            `skip_bad` is false, with file, line and reason of the first ten.
    """
    path = Path(path)
    if not path.exists():
        raise ElusiveError(f"No file or folder at {path}. Give the path of a corpus that exists.")
    known = typing.get_args(CorpusFormat)
    if format not in known:
        raise ElusiveError(f"corpus.format: expected one of {', '.join(known)}, got {format!r}.")
    chosen = _detect_format(path) if format == "auto" else format
    if chosen == "squad":
        corpus = _squad_corpus(path, limit)
    else:
        readers = {"jsonl": _jsonl_rows, "tagged-csv": _csv_rows, "text": _text_rows}
        corpus = _collect(readers[chosen](path), limit)
    if corpus.quarantined and not skip_bad:
        raise _bad_rows_error(path, corpus.quarantined)
    if not corpus.documents:
        raise _empty_error(path, chosen, corpus.quarantined)
    return corpus


def _detect_format(path: Path) -> CorpusFormat:
    if not path.is_dir():
        if found := _FORMAT_BY_SUFFIX.get(path.suffix.lower()):
            return found
        raise ElusiveError(
            f"{path}: expected .jsonl, .csv (tagged), .json (SQuAD), .txt, .md, .markdown or a folder of text files, "
            f"got {path.suffix or 'no suffix'!r}. "
            "Rename the file, or set corpus.format to jsonl, tagged-csv, text or squad."
        )
    for name in _visible_files(path):
        # Leaving such a file out in silence would lose most of some corpora.
        if _FORMAT_BY_SUFFIX.get(Path(name).suffix.lower(), "text") != "text":
            raise ElusiveError(
                f"{path}: expected a folder of text and Markdown files, found {name}. "
                "Give the path of that file, or set corpus.format to text to read only .txt, .md and .markdown."
            )
    return "text"


def _collect(rows: Iterable[_Row], limit: int) -> Corpus:
    """The rows' documents, up to `limit`; a repeated id makes a bad row."""
    documents: list[Document] = []
    places: dict[str, str] = {}
    bad: list[BadRow] = []
    for row in rows:
        result = row.result
        if isinstance(result, Document) and result.id in places:
            result = f"id {result.id!r} is already used on {places[result.id]}"
        if isinstance(result, str):
            bad.append(bad_row(row.source, row.line, result, row.raw))
            continue
        places[result.id] = f"line {row.line}"
        documents.append(result)
        if len(documents) == limit:
            break
    return Corpus(tuple(documents), quarantined=tuple(bad))


def _place(row: BadRow) -> str:
    return f"{row.source}, line {row.line}: {row.reason}" if row.line else f"{row.source}, {row.reason}"


def _bad_rows_error(path: Path, bad: tuple[BadRow, ...]) -> ElusiveError:
    return ElusiveError(
        f"{path}: expected every row to be readable, got {counted(len(bad), 'bad row')}.\n"
        f"{listed([_place(row) for row in bad])}\n"
        "Correct these rows, or set them aside and go on: corpus.skip_bad = true in a recipe, --skip-bad with generate."
    )


def _empty_error(path: Path, format: CorpusFormat, bad: tuple[BadRow, ...]) -> ElusiveError:
    if bad:
        problems = listed([_place(row) for row in bad])
        return ElusiveError(
            f"{path}: expected at least one document, got {counted(len(bad), 'bad row')} and nothing else.\n"
            f"{problems}\nCorrect these rows, or check that corpus.format is right."
        )
    wanted = {
        "jsonl": "one JSON object a line",
        "tagged-csv": "a row below the header",
        "text": "a .txt, .md or .markdown file",
        "squad": "a paragraph",
    }[format]
    return ElusiveError(f"{path} holds no document: expected {wanted}, got none. Give a corpus that is not empty.")


# JSONL


def _jsonl_rows(path: Path) -> Iterator[_Row]:
    for number, (line, raw) in enumerate(byte_lines(path), 1):
        try:
            result = _json_document(parse_row(raw), f"{path.stem}-{number:06d}")
        except ElusiveError as error:
            result = str(error)
        yield _Row(path, line, raw, result)


def _json_document(row: Mapping[str, Any], default_id: str) -> Document:
    spans = row.get("spans")
    if spans is not None and not isinstance(spans, list):
        raise ElusiveError(f"'spans': expected a list, got {kind(spans)}")
    return Document(row_id(row, "id", default_id), text_value(row, "text"), tuple(map(_json_span, spans or ())))


def _json_span(value: object) -> Span:
    parts: Any = [value.get(key) for key in Span._fields] if isinstance(value, dict) else value
    if not isinstance(parts, list) or len(parts) != 3 or not all(type(part) is int for part in parts[1:]):
        raise ElusiveError(
            'span: expected [field, start, end] or {"field", "start", "end"} with whole numbers, '
            f"got {json.dumps(value)}"
        )
    return Span(checked_text(parts[0], "field of a span"), parts[1], parts[2])


# Tagged CSV


def _csv_rows(path: Path) -> Iterator[_Row]:
    header: list[str] = []
    number = 0
    for line, raw, cells in csv_records(path):
        if not header:
            header = _csv_header(path, cells)
            continue
        number += 1
        try:
            result = _csv_document(header, raw, cells, f"{path.stem}-{number:06d}")
        except ElusiveError as error:
            result = str(error)
        yield _Row(path, line, raw, result)


def _csv_header(path: Path, cells: list[str] | csv.Error) -> list[str]:
    names = [cell.strip() for cell in cells] if isinstance(cells, list) else []
    if names.count("text") != 1:
        got = ", ".join(map(repr, names)) or cells
        raise ElusiveError(
            f"{path}: expected a first line that names the columns, one of them 'text', separated by commas; "
            f"got {got}. Name the column that holds the texts 'text'."
        )
    return names


def _csv_document(header: list[str], raw: bytes, cells: list[str] | csv.Error, default_id: str) -> Document:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ElusiveError(not_utf8(error)) from None
    if isinstance(cells, csv.Error):
        raise ElusiveError(
            f"malformed CSV ({cells}); a text with commas, quotes or newlines needs double quotes around it, "
            "and a quote inside them is written as two"
        )
    if len(cells) != len(header):
        raise ElusiveError(
            f"expected {counted(len(header), 'cell')} ({', '.join(header)}), got {len(cells)}; "
            "a text with commas needs double quotes around it"
        )
    row = dict(zip(header, cells, strict=True))
    text, spans = parse_tags(row["text"])
    return Document(row_id(row, "id", default_id), checked_text(text, "text"), spans)


# Text and Markdown


def _text_rows(path: Path) -> Iterator[_Row]:
    if not path.is_dir():
        yield _text_row(path, path.name)
        return
    for name in _visible_files(path):
        if name.lower().endswith(TEXT_SUFFIXES):
            yield _text_row(path / name, name)


def _text_row(file: Path, name: str) -> _Row:
    raw = read_bytes(file)
    line = 1
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n").strip()
        result = Document(name, checked_text(text, "text"))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        result = not_utf8(error)
    except ElusiveError as error:
        result = str(error)
    return _Row(file, line, raw, result)


def _visible_files(folder: Path) -> list[str]:
    """The files under a folder without hidden ones, as sorted paths relative to it."""
    names = (file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir())
    return sorted(name for name in names if not name.startswith(".") and "/." not in name)


# SQuAD


def _squad_corpus(path: Path, limit: int) -> Corpus:
    paragraphs, questions, bad = read_squad(path, limit)
    documents = (
        Document(paragraph.id, paragraph.text, tuple(Span(ANSWER_FIELD, *place) for place in sorted(paragraph.answers)))
        for paragraph in paragraphs
    )
    return Corpus(tuple(documents), tuple(questions), tuple(bad))
