"""Questions with their answers as they are written about a document, and how a model's answer is read."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import regex

from elusive.corpus.languages import LANGUAGES
from elusive.corpus.question_rows import question_row
from elusive.errors import ElusiveError

from .terms import MONTHS, looks_like_code

Kind = str
"""Field of a question: date, number, code, entity or phrase, or the field of the span that it asks about. (`name` is
that of head entities.)"""


@dataclass(frozen=True)
class Pair:
    """A question and its answer as they were written, unchecked."""

    question: str
    answer: str


@dataclass(frozen=True)
class Written:
    """A question that passed.

    Attributes:
        document_id: the document that it is about.
        question: its text.
        answer: as it stands in the document.
        start: the answer's first character in the document's text.
        end: the one after its last.
        fact: the first character of the sentence that says it.
        field: what kind of thing the answer is.
        topic: what the document belongs to.
        request: the request that it answers, as the log names it; empty where no model wrote it.
        id: of the question, where it came with the corpus.
        aliases: more reference answers, where it did.
    """

    document_id: str
    question: str
    answer: str
    start: int
    end: int
    fact: int
    field: Kind
    topic: str
    request: str = ""
    id: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rejected:
    """A question that did not pass.

    Attributes:
        document_id: the document that it is about.
        reason: why.
        question: its text; of an answer in which none could be read, that answer.
        answer: the answer that came with it.
        request: the request that it answers, as the log names it.
        said: what the model answered in the check that it did not pass.
    """

    document_id: str
    reason: str
    question: str
    answer: str = ""
    request: str = ""
    said: str = ""


_THINKING = regex.compile(r"\A\s*<think>.*?(?:</think>|\Z)", regex.DOTALL)

_FENCED = regex.compile(r"```(?:json)?\s*(.*?)```", regex.DOTALL)

_MARKS = r"(?:[-*•>#]\s*|\d{1,3}\s*[.):]\s*)*"
"""What lists and emphasis put in front of a line."""


@cache
def _labelled() -> regex.Pattern[str]:
    labels = [one.labels for one in LANGUAGES.values()]
    questions, answers = (sorted({"QA"[place], *(both[place] for both in labels)}) for place in (0, 1))
    both = {"question": "|".join(map(regex.escape, questions)), "answer": "|".join(map(regex.escape, answers))}
    groups = "|".join(rf"(?P<{name}>{words})" for name, words in both.items())
    line = rf"^\s*{_MARKS}\**(?:{groups})\s*\d*\**\s*[:：.)]\s*\**\s*"  # noqa: RUF001
    return regex.compile(line, regex.MULTILINE | regex.IGNORECASE)


def pairs_of(answer: str) -> list[Pair]:
    """The questions with answers in what a model wrote: lines behind labels such as Q: and A:, or JSON.

    Args:
        answer: all that it wrote; thoughts in front are left out.

    Returns:
        The pairs in order; none where none can be read.

    Example:
        >>> pairs_of("1. **Q:** Who made the P7?\\n**A:** Acme.\\n\\n2. Q: How fast?\\nA: 40 l")
        [Pair(question='Who made the P7?', answer='Acme'), Pair(question='How fast?', answer='40 l')]
    """
    text = _THINKING.sub("", answer)
    return list(_of_json(text) or _of_labels(text))


def _of_labels(text: str) -> Iterator[Pair]:
    parts = list(_labelled().finditer(text))
    ends = [*(part.start() for part in parts), len(text)][1:]
    question = ""
    for part, end in zip(parts, ends, strict=False):
        said = _one_line(text[part.end() : end])
        if part["question"]:
            question = said
        elif question:
            yield Pair(question, _answer(said))
            question = ""


def _one_line(text: str) -> str:
    first = next((line for line in text.strip().splitlines() if line.strip()), "")
    return regex.sub(r"\*\*|__|`", "", first).strip()


def _answer(text: str) -> str:
    """An answer without quotes around it and the point behind it, which a sentence would have."""
    text = text.strip("\"“”'«» \t")
    point = text.endswith((".", "。")) and not regex.search(r"\b(?:\p{L}\.)+\Z", text)
    return (text[:-1] if point else text).strip("\"“”'«» ")


def _of_json(text: str) -> list[Pair]:
    fenced = _FENCED.search(text)
    source = fenced[1] if fenced else text
    start = min((place for place in map(source.find, "[{") if place >= 0), default=-1)
    if start < 0:
        return []
    try:
        value, _ = json.JSONDecoder().raw_decode(source[start:])
    except (ValueError, RecursionError):
        return []
    return [pair for row in _rows(value) if (pair := _of_row(row))]


def _rows(value: Any) -> list[Any]:
    if isinstance(value, dict):
        lists = [one for one in value.values() if isinstance(one, list) and one and isinstance(one[0], dict)]
        return lists[0] if lists else [value]
    return value if isinstance(value, list) else []


def _of_row(row: Any) -> Pair | None:
    if not isinstance(row, dict):
        return None
    try:
        found = question_row(row)
    except ElusiveError:
        return None
    answers = found.get("answers") or found.get("answer")
    answer = answers[0] if isinstance(answers, list) and answers else answers
    if not isinstance(found.get("question"), str) or not isinstance(answer, str | int | float):
        return None
    return Pair(_one_line(found["question"]), _answer(str(answer)))


_DATE = regex.compile(
    rf"\b(?:1[5-9]|20)\d\d\b|\b\d{{1,2}}[./-]\d{{1,2}}[./-]\d{{2,4}}\b|\b(?:{MONTHS})\s+\d|\d\.?\s+(?:{MONTHS})\b"
)


def kind_of(answer: str) -> Kind:
    """What kind of thing an answer is, by how it is written; none is `name`, the field of head entities.

    Example:
        >>> [kind_of(text) for text in ("May 3, 1912", "1.7", "--force", "Acme Corp", "a spare wheel")]
        ['date', 'number', 'code', 'entity', 'phrase']
    """
    if looks_like_code(answer):
        return "code"
    if _DATE.search(answer):
        return "date"
    if any(map(str.isdigit, answer)):
        return "number"
    words = [word for word in answer.split() if word[:1].isalpha()]
    longer = [word for word in words if len(word) > 3]
    return "entity" if words and all(word[0].isupper() for word in longer or words) else "phrase"
