"""Documents with their marked spans: readers of four formats, bad rows set aside, and the run folder's corpus."""

import contextlib
import csv
import json
import os
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .config import CorpusFormat
from .errors import ElusiveError
from .questions import (
    QuestionItem,
    byte_lines,
    cannot_read,
    checked_text,
    counted,
    kind,
    listed,
    not_utf8,
    parse_row,
    row_id,
    text_value,
)
from .runs import read_jsonl, write_jsonl

RAW_CHARACTERS = 2_000
"""How much of a bad row is kept."""
TEXT_SUFFIXES = (".txt", ".md", ".markdown")
_FORMAT_BY_SUFFIX: Mapping[str, CorpusFormat] = {
    ".jsonl": "jsonl",
    ".csv": "tagged-csv",
    ".json": "squad",
    **dict.fromkeys(TEXT_SUFFIXES, "text"),
}
RowT = typing.TypeVar("RowT")

_BYTE_ORDER_MARK = "\ufeff"
_TAG = re.compile(r"<(/?)([^\W\d][\w-]*)>")


class Span(NamedTuple):
    """A marked part of a text, in characters, end exclusive."""

    field: str
    start: int
    end: int


@dataclass(frozen=True)
class Document:
    """One text of the corpus.

    Attributes:
        id: unique within the corpus.
        text: the text, without tags.
        spans: its marked parts, in characters of `text`.

    Raises:
        ElusiveError: if a span is empty or reaches outside the text.
    """

    id: str
    text: str
    spans: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        for span in self.spans:
            if not 0 <= span.start < span.end <= len(self.text):
                raise ElusiveError(
                    f"document {self.id!r}: span {span.field!r} outside the text: expected 0 <= start < end <= "
                    f"{len(self.text)} (characters, end exclusive), got start {span.start}, end {span.end}"
                )


@dataclass(frozen=True)
class BadRow:
    """A row that could not be read.

    Attributes:
        source: the file.
        line: its first line there, from 1; 0 where the file has no lines (SQuAD: `reason` says where).
        reason: why.
        raw: its bytes as text, bytes that are not UTF-8 as `\\xNN`; at most 2,000 characters.
    """

    source: str
    line: int
    reason: str
    raw: str


@dataclass(frozen=True)
class Corpus:
    """What a source held: its documents, the questions that came with them, and the rows set aside."""

    documents: tuple[Document, ...]
    questions: tuple[QuestionItem, ...] = ()
    quarantined: tuple[BadRow, ...] = ()


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
            `[{"field": ..., "start": ..., "end": ...}, ...]`, in characters, end exclusive. Blank lines are passed over.
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
        corpus = _read_squad(path, limit)
    else:
        readers = {"jsonl": _jsonl_rows, "tagged-csv": _csv_rows, "text": _text_rows}
        corpus = _collect(readers[chosen](path), limit)
    if corpus.quarantined and not skip_bad:
        raise _bad_rows_error(path, corpus.quarantined)
    if not corpus.documents:
        raise _empty_error(path, chosen, corpus.quarantined)
    return corpus


def write_corpus(folder: str | Path, corpus: Corpus) -> None:
    """Write documents.jsonl (sorted by id), questions.jsonl and quarantine.jsonl into `folder`."""
    folder = Path(folder)
    documents = sorted(corpus.documents, key=lambda document: document.id)
    write_jsonl(folder / "quarantine.jsonl", (vars(row) for row in corpus.quarantined))
    write_jsonl(folder / "questions.jsonl", (vars(item) for item in corpus.questions))
    write_jsonl(folder / "documents.jsonl", (vars(document) for document in documents))


def load_corpus(folder: str | Path) -> Corpus:
    """Read what `write_corpus` wrote.

    Raises:
        ElusiveError: if a file is missing or was changed into something else.
    """
    folder = Path(folder)
    return Corpus(
        documents=tuple(_load(folder / "documents.jsonl", _stored_document)),
        questions=tuple(_load(folder / "questions.jsonl", _stored_question)),
        quarantined=tuple(_load(folder / "quarantine.jsonl", lambda row: BadRow(**row))),
    )


def _stored_document(row: Mapping[str, Any]) -> Document:
    return Document(row["id"], row["text"], tuple(Span(*span) for span in row["spans"]))


def _stored_question(row: Mapping[str, Any]) -> QuestionItem:
    return QuestionItem(**{**row, "answers": tuple(row["answers"])})


def _load(path: Path, build: Callable[[Mapping[str, Any]], RowT]) -> Iterator[RowT]:
    for number, row in enumerate(read_jsonl(path), 1):
        try:
            item = build(row)
        except (KeyError, TypeError) as error:
            raise ElusiveError(
                f"{path}, line {number}: not a row that Elusive wrote ({error}). Delete its folder and make it again."
            ) from None
        yield item


def _detect_format(path: Path) -> CorpusFormat:
    if not path.is_dir():
        if found := _FORMAT_BY_SUFFIX.get(path.suffix.lower()):
            return found
        raise ElusiveError(
            f"{path}: expected .jsonl, .csv (tagged), .json (SQuAD), .txt, .md, .markdown or a folder of text files, "
            f"got {path.suffix or 'no suffix'!r}. Rename the file, or set corpus.format to jsonl, tagged-csv, text or squad."
        )
    for file in _visible_files(path):
        # Leaving such a file out in silence would lose most of some corpora.
        if _FORMAT_BY_SUFFIX.get(file.suffix.lower(), "text") != "text":
            raise ElusiveError(
                f"{path}: expected a folder of text and Markdown files, found {file.relative_to(path)}. "
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
            bad.append(BadRow(str(row.source), row.line, result, _escaped(row.raw)))
            continue
        places[result.id] = f"line {row.line}"
        documents.append(result)
        if len(documents) == limit:
            break
    return Corpus(tuple(documents), quarantined=tuple(bad))


def _escaped(raw: bytes) -> str:
    # A character has at most four bytes; the cut keeps a huge row from being decoded for its first few characters.
    return raw[: 4 * RAW_CHARACTERS].decode("utf-8", "backslashreplace")[:RAW_CHARACTERS]


def _place(row: BadRow) -> str:
    return f"{row.source}, line {row.line}: {row.reason}" if row.line else f"{row.source}, {row.reason}"


def _bad_rows_error(path: Path, bad: tuple[BadRow, ...]) -> ElusiveError:
    return ElusiveError(
        f"{path}: expected every row to be readable, got {counted(len(bad), 'bad row')}.\n"
        f"{listed([_place(row) for row in bad])}\n"
        "Correct these rows, or read with skip_bad to set them aside and go on."
    )


def _empty_error(path: Path, format: CorpusFormat, bad: tuple[BadRow, ...]) -> ElusiveError:
    if bad:
        problems = listed([_place(row) for row in bad])
        return ElusiveError(
            f"{path}: expected at least one document, got {counted(len(bad), 'bad row')} and nothing else.\n{problems}\n"
            "Correct these rows, or check that corpus.format is right."
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
            f'span: expected [field, start, end] or {{"field", "start", "end"}} with whole numbers, got {json.dumps(value)}'
        )
    return Span(checked_text(parts[0], "field of a span"), parts[1], parts[2])


# Tagged CSV


def _csv_rows(path: Path) -> Iterator[_Row]:
    header: list[str] | None = None
    number = 0
    for line, raw, cells in _csv_records(path):
        if header is None:
            header = _csv_header(path, cells)
            continue
        number += 1
        try:
            result = _csv_document(header, raw, cells, f"{path.stem}-{number:06d}")
        except ElusiveError as error:
            result = str(error)
        yield _Row(path, line, raw, result)


def _csv_records(path: Path) -> Iterator[tuple[int, bytes, list[str] | str]]:
    """The non-blank records as (first line, bytes, cells or the reason why there are none)."""
    lines: list[str] = []
    first = 1

    def remembered(stream: Iterable[str]) -> Iterator[str]:
        for line in stream:
            lines.append(line)
            yield line

    with _long_csv_fields(), _csv_stream(path) as stream:
        # Strict, or a quote that is never closed would swallow the rest of the file in silence.
        reader = csv.reader(remembered(stream), strict=True)
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                cells = f"malformed CSV ({error}); a text with commas, quotes or newlines needs double quotes around it"
            if cells is None:
                return
            text = "".join(lines)
            if text.count('"') % 2 and not isinstance(cells, str):
                cells = "malformed CSV (a double quote without its partner); write a quote in a text as two"
            if cells:
                yield first, text.encode("utf-8", "surrogateescape"), cells
            first += len(lines)
            lines.clear()


@contextlib.contextmanager
def _csv_stream(path: Path) -> Iterator[typing.TextIO]:
    try:
        # Bytes that are not UTF-8 pass through as surrogates, so that they cost one row and not the file.
        stream = path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        raise cannot_read(path, error) from None
    with stream:
        yield stream


@contextlib.contextmanager
def _long_csv_fields() -> Iterator[None]:
    """Cells of any length while a file is read; csv's own limit is 131,072 characters."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _csv_header(path: Path, cells: list[str] | str) -> list[str]:
    names = [cell.strip() for cell in cells] if isinstance(cells, list) else []
    if names.count("text") != 1:
        got = ", ".join(map(repr, names)) or cells
        raise ElusiveError(
            f"{path}: expected a first line that names the columns, one of them 'text', separated by commas; got {got}. "
            "Name the column that holds the texts 'text'."
        )
    return names


def _csv_document(header: list[str], raw: bytes, cells: list[str] | str, default_id: str) -> Document:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ElusiveError(not_utf8(raw, error)) from None
    if isinstance(cells, str):
        raise ElusiveError(cells)
    if len(cells) != len(header):
        raise ElusiveError(
            f"expected {counted(len(header), 'cell')} ({', '.join(header)}), got {len(cells)}; "
            "a text with commas needs double quotes around it"
        )
    row = dict(zip(header, cells, strict=True))
    text, spans = parse_tags(row["text"])
    return Document(row_id(row, "id", default_id), checked_text(text, "text"), spans)


def parse_tags(tagged: str) -> tuple[str, tuple[Span, ...]]:
    """Take balanced tags out of a text.

    A closing tag belongs to the nearest open tag of its name. Tags without a partner stay in the text, and so does
    whatever else stands in angle brackets (`a < b`, `<br>`, `<a href="...">`). Tags may be nested.

    Args:
        tagged: a text with `<field>..</field>` around its fields.

    Returns:
        The text without these tags, and its spans in the order of their start.

    Example:
        >>> parse_tags("<name>Ada</name> was born on <date>10 May</date>.<br>")
        ('Ada was born on 10 May.<br>', (Span(field='name', start=0, end=3), Span(field='date', start=16, end=22)))
    """
    pairs = _tag_pairs(tagged)
    removed = sorted((tag for pair in pairs for tag in pair), key=lambda tag: tag.start())
    pieces: list[str] = []
    position = length = 0
    place: dict[int, int] = {}
    for tag in removed:
        pieces.append(tagged[position : tag.start()])
        length += len(pieces[-1])
        place[tag.start()] = length
        position = tag.end()
    pieces.append(tagged[position:])
    spans = [Span(opening[2], place[opening.start()], place[closing.start()]) for opening, closing in pairs]
    return "".join(pieces), tuple(sorted(spans, key=lambda span: (span.start, -span.end)))


def _tag_pairs(tagged: str) -> list[tuple[re.Match[str], re.Match[str]]]:
    opened: list[re.Match[str]] = []
    opened_names: dict[str, int] = {}
    pairs = []
    for tag in _TAG.finditer(tagged):
        name = tag[2]
        if not tag[1]:
            opened.append(tag)
            opened_names[name] = opened_names.get(name, 0) + 1
        elif opened_names.get(name, 0):
            while True:
                opening = opened.pop()
                opened_names[opening[2]] -= 1
                if opening[2] == name:
                    break
            pairs.append((opening, tag))
    return pairs


# Text and Markdown


def _text_rows(path: Path) -> Iterator[_Row]:
    files = [path]
    if path.is_dir():
        files = [file for file in _visible_files(path) if file.suffix.lower() in TEXT_SUFFIXES]
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        yield _text_row(file, name)


def _text_row(file: Path, name: str) -> _Row:
    raw = _read_bytes(file)
    line = 1
    try:
        text = raw.decode("utf-8").removeprefix(_BYTE_ORDER_MARK).replace("\r\n", "\n").strip()
        result = Document(name, checked_text(text, "text"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        result = not_utf8(raw, error)
    except ElusiveError as error:
        result = str(error)
    return _Row(file, line, raw, result)


def _visible_files(folder: Path) -> list[Path]:
    """The files under a folder without hidden ones, sorted by their path there."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(found, key=lambda file: file.relative_to(folder).as_posix())


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise cannot_read(path, error) from None


# SQuAD


@dataclass
class _Paragraph:
    id: str
    spans: set[Span] = field(default_factory=set)


def _read_squad(path: Path, limit: int) -> Corpus:
    paragraphs: dict[str, _Paragraph] = {}
    questions: dict[str, QuestionItem] = {}
    bad: list[BadRow] = []

    def set_aside(where: str, reason: ElusiveError, value: object) -> None:
        raw = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")
        bad.append(BadRow(str(path), 0, f"{where}: {reason}", _escaped(raw)))

    for where, paragraph_id, value in _squad_paragraphs(path):
        try:
            context, rows = _squad_paragraph(value)
        except ElusiveError as reason:
            set_aside(where, reason, value)
            continue
        if limit and len(paragraphs) == limit and context not in paragraphs:
            break
        paragraph = paragraphs.setdefault(context, _Paragraph(paragraph_id))
        for index, row in enumerate(rows):
            try:
                if (found := _squad_question(row, context, paragraph.id)) is None:
                    continue
                item, spans = found
                if item.id in questions:
                    raise ElusiveError(f"id {item.id!r} is already used by another question")
            except ElusiveError as reason:
                set_aside(f"{where}.qas[{index}]", reason, row)
                continue
            questions[item.id] = item
            paragraph.spans |= spans
    documents = (
        Document(paragraph.id, context, tuple(sorted(paragraph.spans, key=lambda span: (span.start, span.end))))
        for context, paragraph in paragraphs.items()
    )
    return Corpus(tuple(documents), tuple(questions.values()), tuple(bad))


def _squad_paragraphs(path: Path) -> Iterator[tuple[str, str, object]]:
    """Each paragraph as (where it stands, its id, its value)."""
    value = _squad_json(path)
    # Du and Cardie's split is the list of articles without the object around it.
    articles = value.get("data") if isinstance(value, dict) else value
    if not isinstance(articles, list):
        raise _squad_form_error(path, "an object without a list 'data'" if isinstance(value, dict) else kind(value))
    counts: dict[str, int] = {}
    for index, article in enumerate(articles):
        where = f"data[{index}]"
        if not isinstance(article, dict) or not isinstance(article.get("paragraphs"), list):
            raise _squad_form_error(path, f"no list 'paragraphs' in {where}")
        try:
            title = row_id(article, "title", "article")
        except ElusiveError as error:
            raise ElusiveError(f"{path}, {where}: {error}. Correct the title, or leave it out.") from None
        for number, paragraph in enumerate(article["paragraphs"]):
            counts[title] = counts.get(title, 0) + 1
            yield f"{where}.paragraphs[{number}]", f"{title}-{counts[title]:04d}", paragraph


def _squad_json(path: Path) -> Any:
    raw = _read_bytes(path)
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ElusiveError(f"{path}, line {line}: {not_utf8(raw, error)}. Save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise ElusiveError(
            f"{path}, line {error.lineno}: malformed JSON ({error.msg}, column {error.colno}). Expected one SQuAD object; "
            "a file with one object a line needs the suffix .jsonl or corpus.format = jsonl."
        ) from None
    except (ValueError, RecursionError) as error:
        raise ElusiveError(f"{path}: JSON that cannot be read ({error}). Expected one SQuAD object.") from None


def _squad_form_error(path: Path, got: str) -> ElusiveError:
    return ElusiveError(
        f'{path}: expected SQuAD\'s form, {{"data": [{{"title", "paragraphs": [{{"context", "qas": [...]}}]}}]}}, '
        f"got {got}. Give SQuAD JSON, or set corpus.format to what the file is."
    )


def _squad_paragraph(value: object) -> tuple[str, list[Any]]:
    if not isinstance(value, dict):
        raise ElusiveError(f"expected an object with 'context' and 'qas', got {kind(value)}")
    rows = value.get("qas", [])
    if not isinstance(rows, list):
        raise ElusiveError(f"'qas': expected a list, got {kind(rows)}")
    return text_value(value, "context"), rows


def _squad_question(row: object, context: str, document_id: str) -> tuple[QuestionItem, set[Span]] | None:
    """A question with the spans of its answers; None where SQuAD v2.0 says that it has none."""
    if not isinstance(row, dict):
        raise ElusiveError(f"expected an object with 'id', 'question' and 'answers', got {kind(row)}")
    if row.get("is_impossible") is True:
        return None
    answers = row.get("answers")
    if not isinstance(answers, list) or not answers:
        raise ElusiveError("'answers': expected at least one answer (or is_impossible: true), got none")
    spans = [_squad_span(answer, context) for answer in answers]
    texts = dict.fromkeys(context[span.start : span.end] for span in spans)
    item = QuestionItem(text_value(row, "id"), text_value(row, "question"), tuple(texts), "answer", document_id)
    return item, set(spans)


def _squad_span(answer: object, context: str) -> Span:
    if not isinstance(answer, dict):
        raise ElusiveError(f"answer: expected an object with 'text' and 'answer_start', got {kind(answer)}")
    text, start = text_value(answer, "text"), answer.get("answer_start")
    if type(start) is not int:
        raise ElusiveError(f"'answer_start': expected a whole number, got {kind(start)}")
    found = context[start : start + len(text)] if start >= 0 else ""
    if found != text:
        raise ElusiveError(f"answer_start {start}: expected {text!r} there, got {found!r}")
    return Span("answer", start, start + len(text))
