"""A table's row as a document with its spans."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from elusive.corpus.chunk_questions import placed_question
from elusive.corpus.documents import Document, Entry
from elusive.corpus.question_forms import questions_of_fields
from elusive.corpus.question_rows import without_text
from elusive.corpus.tags import Span, parse_tags
from elusive.corpus.values import checked_text, kind, row_id
from elusive.errors import ElusiveError

from .files import SourceFile
from .read_state import FLAT_COLUMNS, SPAN_COLUMNS, ReadState, Row, bad, place
from .squad import flat_entries

_SPAN_KEYS = (("field", "label"), ("start", "start_offset"), ("end", "end_offset"))


def row_entries(
    rows: Iterable[Row], file: SourceFile, state: ReadState, *, tagged: bool = False, flat: bool = False
) -> Iterator[Entry]:
    """Documents (and questions, from SQuAD's flat form) of a file's rows, until the limit.

    Args:
        rows: the rows in order.
        file: the file that holds them.
        state: ids and limits of the source so far.
        tagged: tags may stand in the texts.
        flat: all rows are SQuAD questions; else those without a text that have its columns.
    """
    text_column, id_column, prefix = state.settings.text_column, state.settings.id_column, file.row_prefix
    for row in rows:
        value = row.value
        if isinstance(value, str):
            yield bad(file, row, value)
        elif flat or (text_column not in value and all(name in value for name in FLAT_COLUMNS)):
            yield from flat_entries(row, file, state)
        else:
            try:
                id = row_id({id_column: value_at(value, id_column)}, id_column, "") or f"{prefix}{row.number:06d}"
                document = row_document(id, value, text_column, tagged)
                chunks = state.noted(document, file.label, place(row))
            except ElusiveError as reason:
                yield bad(file, row, reason)
                continue
            yield from chunks
            yield from _asked(document, chunks, row, file, state)
        if state.full:
            return


def _asked(
    document: Document, chunks: Sequence[Document], row: Row, file: SourceFile, state: ReadState
) -> Iterator[Entry]:
    """Questions about a document's marked fields, unless a file of questions takes their place."""
    if state.settings.questions:
        return
    questions, ambiguous = questions_of_fields(document, state.settings.question_forms)
    state.counts.ambiguous.update(ambiguous)
    for item in questions:
        try:
            state.question_is_new(item, file, place(row))
        except ElusiveError as reason:
            yield bad(file, row, reason, "question")
            continue
        state.counts.asked[item.field] += 1
        yield item if chunks == [document] else placed_question(item, chunks, complete=not state.full)


def row_document(id: str, row: Mapping[str, Any], text_column: str, tagged: bool = False) -> Document:
    """A row's document.

    Args:
        id: of the document.
        row: its values, as JSON has them.
        text_column: the key of the text.
        tagged: tags may stand in the text.

    Raises:
        ElusiveError: with the reason only, if there is no text, or its spans cannot be read.
    """
    if (text := value_at(row, text_column)) is None and text_column not in row:
        keys = ", ".join(map(repr, row)) or "(none)"
        hint = without_text(row, text_column)
        raise ElusiveError(f"no {text_column!r}: expected a string, got the keys {keys}. {hint}")
    spans = next((row[name] for name in SPAN_COLUMNS if row.get(name) is not None), None)
    if isinstance(spans, str):  # a cell of a table
        spans = _json_cell(spans)
    if spans is not None and not isinstance(spans, list):
        if "spans" not in row:
            spans = None  # a label of the whole text
        else:
            raise ElusiveError(f"'spans': expected a list, got {kind(spans)}")
    if spans and "spans" not in row and not all(isinstance(one, (list, dict)) for one in spans):
        spans = None
    found = tuple(map(_span, spans)) if spans else ()
    if tagged and not found and isinstance(text, str):
        text, found = parse_tags(text)
    return Document(id, checked_text(text, text_column), found)


def value_at(row: Mapping[str, Any], name: str) -> Any:
    """What stands under a key, or under a path of keys: `a.b` is b in the object under a; None if nothing does.

    Example:
        >>> value_at({"a": {"b": 1}}, "a.b"), value_at({"a.b": 2}, "a.b"), value_at({"a": 3}, "a.b")
        (1, 2, None)
    """
    value: Any = row.get(name)
    first, dot, rest = name.partition(".")
    while value is None and dot:
        if isinstance(inner := row.get(first), Mapping):
            return value_at(inner, rest)
        first_again, dot, rest = rest.partition(".")
        first = f"{first}.{first_again}"
    return value


def _json_cell(cell: str) -> object:
    try:
        return json.loads(cell) if cell.strip() else None
    except (ValueError, RecursionError):
        return cell


def _span(value: object) -> Span:
    parts: Any = value
    if isinstance(value, dict):
        parts = [next((value[key] for key in keys if key in value), None) for keys in _SPAN_KEYS]
    elif isinstance(value, list) and len(value) == 3 and isinstance(value[2], str) and type(value[0]) is int:
        parts = [value[2], value[0], value[1]]  # doccano and spaCy put the label last
    # type(), because true and false are whole numbers to isinstance().
    if not isinstance(parts, list) or len(parts) != 3 or type(parts[1]) is not int or type(parts[2]) is not int:
        raise ElusiveError(
            'span: expected [field, start, end] or {"field", "start", "end"} with whole numbers, '
            f"got {json.dumps(value, default=str)}"
        )
    return Span(checked_text(parts[0], "field of a span"), parts[1], parts[2])
