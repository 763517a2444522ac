"""SQuAD v1.1 and v2.0: its JSON, and its flat form with one question a row."""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from elusive.corpus.documents import Entry
from elusive.corpus.quarantine import LeftOut, bad_row
from elusive.corpus.questions import ANSWER_FIELD, QuestionItem
from elusive.corpus.values import kind, row_id, text_value
from elusive.errors import ElusiveError

from .files import SourceFile
from .read_state import ReadState, Row, bad, json_bytes, place
from .squad_paragraphs import Stored

REPEATED = LeftOut("repeated paragraph")


IMPOSSIBLE = LeftOut("impossible question")


ORPHANED = LeftOut("question of a bad paragraph")


_FORM = '{"data": [{"title", "paragraphs": [{"context", "qas": [...]}]}]}'


def nested_entries(value: object, file: SourceFile, state: ReadState) -> Iterator[Entry]:
    """Questions of a SQuAD file, one by one; its paragraphs are kept in `state.paragraphs`.

    Raises:
        ElusiveError: if it has another form.
    """
    for where, id, paragraph in _paragraphs(value, file, state):
        try:
            context, rows = _context_and_questions(paragraph)
        except ElusiveError as reason:
            yield bad_row(file.label, 0, f"{where}: {reason}", json_bytes(paragraph))
            rows = paragraph.get("qas") if isinstance(paragraph, dict) else None
            yield from [ORPHANED] * len(rows if isinstance(rows, list) else ())
            continue
        stored = state.paragraphs.find(context)
        if stored:
            yield REPEATED
        elif state.room:
            stored = state.paragraphs.add(context, id, file, where)
        else:
            state.full = True
            return
        for index, row in enumerate(rows):
            here = f"{where}.qas[{index}]"
            if isinstance(row, dict) and row.get("is_impossible") is True:
                yield IMPOSSIBLE
                continue
            try:
                yield _question(row, context, stored, file, here, state)
            except ElusiveError as reason:
                yield bad_row(file.label, 0, f"{here}: {reason}", json_bytes(row), "question")


def _paragraphs(value: object, file: SourceFile, state: ReadState) -> Iterator[tuple[str, str, object]]:
    """Each paragraph as (where it stands, its id, its value)."""
    # Du and Cardie's split is the list of articles without the object around it.
    articles = value.get("data") if isinstance(value, dict) else value
    if not isinstance(articles, list):
        raise _form_error(file, "an object without a list 'data'" if isinstance(value, dict) else kind(value))
    for index, article in enumerate(articles):
        where = f"data[{index}]"
        if not isinstance(article, dict) or not isinstance(article.get("paragraphs"), list):
            raise _form_error(file, f"no list 'paragraphs' in {where}")
        try:
            title = row_id(article, "title", "article")
        except ElusiveError as error:
            raise ElusiveError(f"{file.label}, {where}: {error}. Correct the title, or leave it out.") from None
        for number, paragraph in enumerate(article["paragraphs"]):
            yield f"{where}.paragraphs[{number}]", state.paragraphs.numbered(title), paragraph


def _form_error(file: SourceFile, got: str) -> ElusiveError:
    return ElusiveError(
        f"{file.label}: expected SQuAD's form, {_FORM}, got {got}. "
        "Give SQuAD JSON, or set corpus.format to what the file is."
    )


def _context_and_questions(value: object) -> tuple[str, list[Any]]:
    if not isinstance(value, dict):
        raise ElusiveError(f"expected an object with 'context' and 'qas', got {kind(value)}")
    rows = value.get("qas", [])
    if not isinstance(rows, list):
        raise ElusiveError(f"'qas': expected a list, got {kind(rows)}")
    return text_value(value, "context"), rows


def flat_entries(row: Row, file: SourceFile, state: ReadState) -> Iterator[Entry]:
    """The question of one row; its paragraph is kept in `state.paragraphs`.

    A row holds a paragraph and a question, and both are counted: a paragraph that was there before is left out.
    """
    value: Any = row.value
    try:
        context, title = text_value(value, "context"), row_id(value, "title", "article")
    except ElusiveError as reason:
        yield bad(file, row, reason)
        yield ORPHANED
        return
    stored = state.paragraphs.find(context)
    if stored:
        yield REPEATED
    elif state.room:
        stored = state.paragraphs.add(context, state.paragraphs.numbered(title), file, place(row))
    else:
        state.full = True
        return
    try:
        question = dict(value) | {"answers": _listed_answers(value.get("answers"))}
        question.setdefault("id", f"{file.row_prefix}{row.number:06d}")
        if not question["answers"] or value.get("is_impossible") in (True, "True", "true"):
            yield IMPOSSIBLE
        else:
            yield _question(question, context, stored, file, place(row), state)
    except ElusiveError as reason:
        yield bad(file, row, reason, "question")


def _listed_answers(value: object) -> list[Any]:
    """The hub's {"text": [...], "answer_start": [...]} as a list of answers; in a table it is written as text."""
    if isinstance(value, str):
        value = _answers_cell(value)
    if isinstance(value, list):
        return value
    texts, starts = (value.get("text"), value.get("answer_start")) if isinstance(value, dict) else (None, None)
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise ElusiveError(
            f'\'answers\': expected {{"text": [...], "answer_start": [...]}}, both as long, got {_shown(value)}'
        )
    return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]


# NumPy's words around a list, or a quoted text, which stays. What is never looked at twice takes no square of the time.
_NUMPY = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\\.)|array\(|(?:,\s*dtype=\w+)?\)""", re.DOTALL)


def _answers_cell(cell: str) -> object:
    # JSON, Python's own form, or (datasets' to_csv) NumPy's around it.
    for text in (cell, _NUMPY.sub(r"\1", cell)):
        for parse in (json.loads, ast.literal_eval):
            try:
                return parse(text)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                continue
    return cell


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 100 else text[:100] + "..."


def _question(
    row: object, context: str, stored: Stored, file: SourceFile, where: str, state: ReadState
) -> QuestionItem:
    """A question; the places of its answers are kept with its paragraph.

    Raises:
        ElusiveError: with the reason only, if it is bad.
    """
    if not isinstance(row, dict):
        raise ElusiveError(f"expected an object with 'id', 'question' and 'answers', got {kind(row)}")
    answers = row.get("answers")
    if not isinstance(answers, list) or not answers:
        raise ElusiveError("'answers': expected at least one answer (or is_impossible: true), got none")
    places = [_place(answer, context) for answer in answers]
    text_value(row, "question")
    item = QuestionItem(
        id=row_id(row, "id", "") or text_value(row, "id"),
        question=row["question"],
        answers=tuple(dict.fromkeys(context[start:end] for start, end in places)),
        field=ANSWER_FIELD,
        document_id=stored.id,
    )
    state.question_is_new(item, file, where)
    state.paragraphs.add_answers(stored.number, places)
    return item


def _place(answer: object, context: str) -> tuple[int, int]:
    """Start and end of an answer, which must stand there."""
    if not isinstance(answer, dict):
        raise ElusiveError(f"answer: expected an object with 'text' and 'answer_start', got {kind(answer)}")
    text, start = text_value(answer, "text"), answer.get("answer_start")
    if type(start) is not int:
        raise ElusiveError(f"'answer_start': expected a whole number, got {kind(start)}")
    found = context[start : start + len(text)] if start >= 0 else ""
    if found != text:
        raise ElusiveError(f"answer_start {start}: expected {text!r} there, got {found!r}")
    return start, start + len(text)
