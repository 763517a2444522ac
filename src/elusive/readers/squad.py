"""SQuAD v1.1 and v2.0 files: their paragraphs, the places of the answers, and the questions."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ElusiveError
from ..questions import QuestionItem
from ..rows import BadRow, bad_row, kind, not_utf8, read_bytes, row_id, text_value

ANSWER_FIELD = "answer"
"""Field of all spans and questions of SQuAD, which knows no fields."""


@dataclass
class Paragraph:
    """One paragraph with the places of the answers to its questions.

    Attributes:
        id: `<title>-0001`, by its number in the article.
        text: its context.
        answers: (start, end) in characters of `text`, end exclusive.
    """

    id: str
    text: str
    answers: set[tuple[int, int]] = field(default_factory=set)


def read_squad(path: Path, limit: int) -> tuple[list[Paragraph], list[QuestionItem], list[BadRow]]:
    """Read a SQuAD file; impossible questions are left out, and a repeated paragraph counts once.

    Args:
        path: a JSON file.
        limit: stop after so many different paragraphs (0: read all).

    Returns:
        Paragraphs, questions, and the paragraphs and questions that could not be read.

    Raises:
        ElusiveError: if the file cannot be read or has another form.
    """
    paragraphs: dict[str, Paragraph] = {}
    questions: dict[str, QuestionItem] = {}
    bad: list[BadRow] = []

    def set_aside(where: str, reason: ElusiveError, value: object) -> None:
        raw = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")
        bad.append(bad_row(path, 0, f"{where}: {reason}", raw))

    for where, paragraph_id, value in _paragraphs(path):
        try:
            context, rows = _context_and_questions(value)
        except ElusiveError as reason:
            set_aside(where, reason, value)
            continue
        if limit and len(paragraphs) == limit and context not in paragraphs:
            break
        paragraph = paragraphs.setdefault(context, Paragraph(paragraph_id, context))
        for index, row in enumerate(rows):
            try:
                if _is_impossible(row):
                    continue
                item, places = _question(row, paragraph)
                if item.id in questions:
                    raise ElusiveError(f"id {item.id!r} is already used by another question")
            except ElusiveError as reason:
                set_aside(f"{where}.qas[{index}]", reason, row)
                continue
            questions[item.id] = item
            paragraph.answers.update(places)
    return list(paragraphs.values()), list(questions.values()), bad


def _paragraphs(path: Path) -> Iterator[tuple[str, str, object]]:
    """Each paragraph as (where it stands, its id, its value)."""
    value = _json(path)
    # Du and Cardie's split is the list of articles without the object around it.
    articles = value.get("data") if isinstance(value, dict) else value
    if not isinstance(articles, list):
        raise _form_error(path, "an object without a list 'data'" if isinstance(value, dict) else kind(value))
    counts: dict[str, int] = {}
    for index, article in enumerate(articles):
        where = f"data[{index}]"
        if not isinstance(article, dict) or not isinstance(article.get("paragraphs"), list):
            raise _form_error(path, f"no list 'paragraphs' in {where}")
        try:
            title = row_id(article, "title", "article")
        except ElusiveError as error:
            raise ElusiveError(f"{path}, {where}: {error}. Correct the title, or leave it out.") from None
        for number, paragraph in enumerate(article["paragraphs"]):
            counts[title] = counts.get(title, 0) + 1
            yield f"{where}.paragraphs[{number}]", f"{title}-{counts[title]:04d}", paragraph


def _json(path: Path) -> Any:
    try:
        return json.loads(read_bytes(path).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ElusiveError(f"{path}, line {line}: {not_utf8(error)}. Save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise ElusiveError(
            f"{path}, line {error.lineno}: malformed JSON ({error.msg}, column {error.colno}). "
            "Expected one SQuAD object; a file with one object a line needs the suffix .jsonl or corpus.format = jsonl."
        ) from None
    except (ValueError, RecursionError) as error:
        raise ElusiveError(f"{path}: JSON that cannot be read ({error}). Expected one SQuAD object.") from None


def _form_error(path: Path, got: str) -> ElusiveError:
    return ElusiveError(
        f'{path}: expected SQuAD\'s form, {{"data": [{{"title", "paragraphs": [{{"context", "qas": [...]}}]}}]}}, '
        f"got {got}. Give SQuAD JSON, or set corpus.format to what the file is."
    )


def _context_and_questions(value: object) -> tuple[str, list[Any]]:
    if not isinstance(value, dict):
        raise ElusiveError(f"expected an object with 'context' and 'qas', got {kind(value)}")
    rows = value.get("qas", [])
    if not isinstance(rows, list):
        raise ElusiveError(f"'qas': expected a list, got {kind(rows)}")
    return text_value(value, "context"), rows


def _is_impossible(row: object) -> bool:
    return isinstance(row, dict) and row.get("is_impossible") is True


def _question(row: object, paragraph: Paragraph) -> tuple[QuestionItem, list[tuple[int, int]]]:
    """A question, and the places of its answers."""
    if not isinstance(row, dict):
        raise ElusiveError(f"expected an object with 'id', 'question' and 'answers', got {kind(row)}")
    answers = row.get("answers")
    if not isinstance(answers, list) or not answers:
        raise ElusiveError("'answers': expected at least one answer (or is_impossible: true), got none")
    places = [_place(answer, paragraph.text) for answer in answers]
    item = QuestionItem(
        id=text_value(row, "id"),
        question=text_value(row, "question"),
        answers=tuple(dict.fromkeys(paragraph.text[start:end] for start, end in places)),
        field=ANSWER_FIELD,
        document_id=paragraph.id,
    )
    return item, places


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
