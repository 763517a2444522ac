"""JSON: one object a line, or one value (an array of objects, SQuAD)."""

import json
from collections.abc import Iterator
from typing import Any

from elusive.corpus.documents import Entry
from elusive.corpus.input_files import byte_lines, read_bytes
from elusive.corpus.values import kind, not_utf8, parse_row, unreadable_json
from elusive.errors import ElusiveError

from .files import SourceFile
from .read_state import ReadState, Row, json_bytes
from .row_documents import row_entries
from .squad import nested_entries


def jsonl_rows(file: SourceFile) -> Iterator[Row]:
    """The rows of a JSONL file; blank lines are skipped."""
    for number, line in enumerate(byte_lines(file.path, file.label, file.limits), 1):
        try:
            value = line.problem or parse_row(line.raw)
        except ElusiveError as error:
            value = str(error)
        yield Row(number, line.number, value, line.raw)


def json_entries(file: SourceFile, state: ReadState, *, squad: bool = False) -> Iterator[Entry]:
    """What a JSON file holds: SQuAD's articles, or rows in an array, bare or under `data`.

    Args:
        file: the file; it is read whole.
        state: ids and limits of the source so far.
        squad: it must be SQuAD, nested or flat.

    Raises:
        ElusiveError: if it is not UTF-8 JSON of one of these forms.
    """
    value = _json(file)
    rows = value.get("data") if isinstance(value, dict) else value
    first: Any = rows[0] if isinstance(rows, list) and rows else None
    is_flat = isinstance(first, dict) and "context" in first and "paragraphs" not in first
    if (isinstance(first, dict) and "paragraphs" in first) or (squad and not is_flat):
        yield from nested_entries(value, file, state)
    elif isinstance(rows, list):
        yield from row_entries(_rows(rows), file, state, flat=squad)
    elif isinstance(value, dict) and state.settings.text_column in value:
        yield from row_entries(_rows([value]), file, state)
    else:
        got = f"an object with the keys {', '.join(map(repr, value))}" if isinstance(value, dict) else kind(value)
        raise ElusiveError(
            f"{file.label}: expected a JSON array of objects, one object with {state.settings.text_column!r}, or "
            f"SQuAD's form, got {got}. Put the rows in an array, or name the text's key with corpus.text_column."
        )


def _rows(values: list[Any]) -> Iterator[Row]:
    for number, value in enumerate(values, 1):
        if isinstance(value, dict):
            yield Row(number, 0, value, None)
        else:
            yield Row(number, 0, f"expected an object, got {kind(value)}", json_bytes(value))


def _json(file: SourceFile) -> Any:
    content = read_bytes(file.path, file.label, file.limits)
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ElusiveError(f"{file.label}, line {line}: {not_utf8(error)}. Save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise ElusiveError(
            f"{file.label}, line {error.lineno}: malformed JSON ({error.msg}, column {error.colno}). "
            "Expected one JSON value; a file with one object a line needs the suffix .jsonl or corpus.format = jsonl."
        ) from None
    except (ValueError, RecursionError) as error:
        raise ElusiveError(f"{file.label}: {unreadable_json(error)}. Expected one JSON value.") from None
