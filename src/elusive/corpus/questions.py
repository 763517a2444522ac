"""Questions with their reference answers, and the file that holds them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elusive.errors import ElusiveError

from .input_files import byte_lines
from .values import checked_text, kind, parse_row, row_id, text_value
from .wording import counted, listed

ANSWER_FIELD = "answer"
"""Field of a question, an example or an answer's span that names none."""


@dataclass(frozen=True)
class QuestionItem:
    """One closed-book question with all its reference answers."""

    id: str
    question: str
    answers: tuple[str, ...]
    field: str
    document_id: str


@dataclass(frozen=True)
class Example:
    """A question with its answer, shown in a few-shot prompt.

    Attributes:
        question: its text.
        answer: the answer that is shown.
        field: what it asks for.
        document_id: the document that it is about (empty: none of the corpus).
    """

    question: str
    answer: str
    field: str = ANSWER_FIELD
    document_id: str = ""


def read_questions(path: str | Path) -> list[QuestionItem]:
    """Read questions from JSONL, in order.

    Each line is an object with `question` and either `answer` (a string) or `answers` (a list of strings; duplicates
    are dropped). Optional: `id` (`<file stem>-000001` by row number where missing), `field` (`answer`), and
    `document_id`; a question without one counts as a document of its own. Blank lines are skipped.

    Raises:
        ElusiveError: if the file is missing or holds no question, or a row is bad; names the lines.
    """
    path = Path(path)
    items: list[QuestionItem] = []
    lines_by_id: dict[str, int] = {}
    problems: list[str] = []
    for row, (line, raw, problem) in enumerate(byte_lines(path), 1):
        try:
            if problem:
                raise ElusiveError(problem)
            item = _question_item(parse_row(raw), f"{path.stem}-{row:06d}")
            if item.id in lines_by_id:
                raise ElusiveError(f"id {item.id!r} is already used on line {lines_by_id[item.id]}")
        except ElusiveError as error:
            problems.append(f"line {line}: {error}")
            continue
        lines_by_id[item.id] = line
        items.append(item)
    if problems:
        raise ElusiveError(
            f"{path}: {counted(len(problems), 'bad row')}.\n{listed(problems)}\n"
            'Expected one object a line, e.g. {"id": "q1", "question": "...", "answers": ["..."], "field": "date", '
            '"document_id": "d1"}. Correct these rows.'
        )
    if not items:
        raise ElusiveError(f"{path} holds no question: expected one JSON object a line, got an empty file.")
    return items


def _question_item(row: Mapping[str, Any], default_id: str) -> QuestionItem:
    question_id = row_id(row, "id", default_id)
    return QuestionItem(
        id=question_id,
        question=text_value(row, "question"),
        answers=_answers(row),
        field=row_id(row, "field", ANSWER_FIELD),
        document_id=row_id(row, "document_id", question_id),
    )


def _answers(row: Mapping[str, Any]) -> tuple[str, ...]:
    if ("answer" in row) == ("answers" in row):
        got = "both" if "answer" in row else "neither"
        raise ElusiveError(f"expected 'answer' (a string) or 'answers' (a list of strings), got {got}")
    if "answer" in row:
        return (text_value(row, "answer"),)
    answers = row["answers"]
    if not isinstance(answers, list):
        raise ElusiveError(f"'answers': expected a list of strings, got {kind(answers)}")
    if not answers:
        raise ElusiveError("'answers': expected at least one answer, got an empty list")
    return tuple(dict.fromkeys(checked_text(answer, "answers") for answer in answers))
