"""Questions with their reference answers, and the file that holds them."""

import collections
import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from elusive.errors import ElusiveError

from .input_files import bounded_lines, byte_lines, opened, read_bytes
from .question_rows import listed_cell, question_row
from .values import checked_text, kind, not_utf8, parse_row, row_id, text_value
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


class _Numbered(NamedTuple):
    """A row of a file of questions: where it stands, and its keys or why it cannot be read."""

    place: str
    row: Mapping[str, Any] | str


def read_questions(path: str | Path) -> list[QuestionItem]:
    """Read questions in order, from JSONL, JSON, CSV or TSV, compressed or not.

    Each row has `question` and either `answer` (a string) or `answers` (a list of strings; duplicates are dropped).
    Optional: `id` (`<file stem>-000001` by row number where missing), `field` (`answer`), and `document_id`; a question
    without one counts as a document of its own. Rows of NQ-open, TriviaQA, PopQA, HotpotQA, SQuAD and of chat sets with
    one turn are read too, aliases as answers (see `question_rows`). A JSON file holds an array of rows, bare or under
    `data`, or SQuAD's articles; a table has its keys in the first line.

    Raises:
        ElusiveError: if the file is missing or holds no question, or a row is bad; names the lines.
    """
    path = Path(path)
    items: list[QuestionItem] = []
    places_by_id: dict[str, str] = {}
    problems: list[str] = []
    for number, (place, row) in enumerate(_rows(path), 1):
        try:
            if isinstance(row, str):
                raise ElusiveError(row)
            item = _question_item(question_row(row), f"{path.stem}-{number:06d}")
            if item.id in places_by_id:
                raise ElusiveError(f"id {item.id!r} is already used on {places_by_id[item.id]}")
        except ElusiveError as error:
            problems.append(f"{place}: {error}")
            continue
        places_by_id[item.id] = place
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


def _rows(path: Path) -> Iterator[_Numbered]:
    """The rows of a file: by its suffix, and where that is another, objects a line."""
    suffix = next((one.lower() for one in reversed(path.suffixes) if one.lower() not in (".gz", ".zst", ".zstd")), "")
    if suffix in (".csv", ".tsv"):
        yield from _table_rows(path, "\t" if suffix == ".tsv" else ",;\t")
    elif suffix == ".json" and (value := _whole_value(path)) is not None:
        yield from _json_rows(value, path)
    else:
        for number, raw, problem in byte_lines(path):
            try:
                yield _Numbered(f"line {number}", problem or parse_row(raw))
            except ElusiveError as error:
                yield _Numbered(f"line {number}", str(error))


def _whole_value(path: Path) -> Any:
    """The value of a JSON file; None where it holds an object on each line."""
    content = read_bytes(path)
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ElusiveError(f"{path}: {not_utf8(error)}. Save the file as UTF-8.") from None
    except (ValueError, RecursionError):
        return None


def _json_rows(value: Any, path: Path) -> Iterator[_Numbered]:
    rows = value
    if isinstance(value, dict):
        rows = next((one for key, one in value.items() if key.lower() in ("data", "questions")), [value])
    if not isinstance(rows, list):
        raise ElusiveError(f"{path}: expected an array of questions, got {kind(rows)}. Put the rows in an array.")
    if any(isinstance(one, dict) and "paragraphs" in one for one in rows[:1]):
        rows = list(_squad_rows(rows))
    for number, row in enumerate(rows, 1):
        yield _Numbered(f"row {number}", row if isinstance(row, dict) else f"expected an object, got {kind(row)}")


def _squad_rows(articles: list[Any]) -> Iterator[Any]:
    """The questions of SQuAD's articles, but for the impossible ones, with the ids that its paragraphs have."""
    numbers: collections.Counter[str] = collections.Counter()
    for article in articles:
        for paragraph in article.get("paragraphs", []) if isinstance(article, dict) else [article]:
            title = str(article.get("title", "article")) if isinstance(article, dict) else ""
            numbers[title] += 1
            for row in paragraph.get("qas", []) if isinstance(paragraph, dict) else [paragraph]:
                if not isinstance(row, dict):
                    yield row
                elif row.get("is_impossible") is not True:
                    yield {"document_id": f"{title}-{numbers[title]:04d}", **row}


def _table_rows(path: Path, delimiters: str) -> Iterator[_Numbered]:
    """The rows of a table whose first line names its columns."""
    with opened(path) as stream:
        lines = (line.raw.decode("utf-8-sig" if line.number == 1 else "utf-8") for line in bounded_lines(stream))
        try:
            header = next(lines, "")
            delimiter = max(delimiters, key=header.count)
            names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            for cells in reader:
                place = f"line {reader.line_num + 1}"
                if len(cells) == len(names):
                    yield _Numbered(place, _with_listed(dict(zip(names, cells, strict=True))))
                elif cells:
                    expected = f"{counted(len(names), 'cell')} ({', '.join(names)})"
                    yield _Numbered(place, f"expected {expected}, got {len(cells)}")
        except UnicodeDecodeError as error:
            raise ElusiveError(f"{path}: {not_utf8(error)}. Save the file as UTF-8.") from None
        except csv.Error as error:
            advice = "Put double quotes around texts with commas"
            raise ElusiveError(f"{path}: malformed CSV ({error}). {advice}.") from None


def _with_listed(row: Mapping[str, str]) -> dict[str, Any]:
    """A row of a table without empty cells; a cell of answers holds one, or a list of them as JSON."""
    lists = ("answers", "aliases")
    return {name: listed_cell(cell) if name.lower() in lists else cell for name, cell in row.items() if cell}


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
