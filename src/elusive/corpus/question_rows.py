"""Rows of question sets as people have them, in the one form that the package reads.

NQ-open, TriviaQA, PopQA, HotpotQA, SQuAD's flat form, chat sets of one turn (messages, ShareGPT, Alpaca), and tables
with columns of questions and answers. Aliases become reference answers.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from elusive.errors import ElusiveError

from .values import kind

_QUESTION = ("question", "query")

_ANSWERS = ("answers", "answer", "possible_answers", "target", "targets")

_ID = ("id", "_id", "question_id", "questionid", "qid", "uid")

_DOCUMENT = ("document_id", "doc_id", "documentid")

_FIELD = ("field", "prop")

_VALUES = ("value", "text")
"""Keys of an answer that is an object."""

_ALIASES = ("aliases", "answer_aliases", "normalizedaliases", "normalized_aliases")

_USERS, _ASSISTANTS = ("user", "human", "prompter"), ("assistant", "gpt", "chatgpt", "model", "bot")


def question_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the keys `question` and `answers`, and `id`, `field` and `document_id` where it has them.

    Args:
        row: of one of the forms; a row that has these keys already stays as it is.

    Returns:
        The row, unchecked: its values may have any type.

    Raises:
        ElusiveError: with the reason only, if a chat has more turns than one question with its answer.

    Example:
        >>> question_row({"Question": "Who?", "QuestionId": "q", "Answer": {"Value": "Ada", "Aliases": ["Ada L."]}})
        {'id': 'q', 'question': 'Who?', 'answers': ['Ada', 'Ada L.']}
    """
    lower = {str(key).strip().lower(): value for key, value in row.items()}
    names = _names(lower)
    if "question" in row and _is_own(row):
        return {**names, **row}
    if turns := _turns(lower):
        lower |= turns
    found: dict[str, Any] = names
    if (question := _first(lower, _QUESTION)) is not None:
        found["question"] = question
    named = [name for name in _ANSWERS if lower.get(name) is not None]
    if named:
        aliases = [value for name in _ALIASES for value in _listed(lower.get(name))]
        found["answers"] = _distinct([*_listed(lower[named[0]]), *aliases])
    return found if "question" in found else dict(row)


def _names(row: Mapping[str, Any]) -> dict[str, Any]:
    """The id, the field and the document of a row, where it has them."""
    keys = (("id", _ID), ("field", _FIELD), ("document_id", _DOCUMENT))
    values = {name: _first(row, known) for name, known in keys}
    return {name: value for name, value in values.items() if value is not None}


def _is_own(row: Mapping[str, Any]) -> bool:
    """Whether the answers of a row have the package's own form, well or badly."""
    if "answer" in row and "answers" in row:
        return True
    if not {"answer", "answers"} & set(row) or any(alias in row for alias in _ALIASES):
        return False
    answers = row.get("answers")
    of_objects = isinstance(answers, list) and any(isinstance(one, Mapping) for one in answers)
    return not (isinstance(row.get("answer"), (list, Mapping)) or isinstance(answers, Mapping) or of_objects)


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def _listed(value: Any) -> list[Any]:
    """Answers as a list: of one, of a list, of an object with aliases, of JSON in a cell."""
    if isinstance(value, str):
        return listed_cell(value)
    if isinstance(value, Mapping):
        lower = {str(key).lower(): one for key, one in value.items()}
        own = [one for name in _VALUES for one in _listed(lower.get(name))]
        return [*own, *(one for name in _ALIASES for one in _listed(lower.get(name)))]
    if isinstance(value, (list, tuple)):
        return [one for each in value for one in (_listed(each) if isinstance(each, Mapping) else [each])]
    return [] if value is None else [value]


def listed_cell(value: str) -> list[Any]:
    """A cell of a table: a list in JSON, or one answer."""
    if value.lstrip().startswith("["):
        try:
            listed = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
        if isinstance(listed, list):
            return listed
    return [value]


def _distinct(values: list[Any]) -> list[Any]:
    """Answers without those that stand there twice; values of other types stay, to be refused."""
    return [value for place, value in enumerate(values) if value not in values[:place] and value != ""]


def _turns(row: Mapping[str, Any]) -> dict[str, Any]:
    """Question and answer of a chat; empty for other rows.

    Raises:
        ElusiveError: with the reason only, if it has more turns.
    """
    if isinstance(row.get("instruction"), str) and isinstance(row.get("output"), str):
        given = row.get("input")
        question = f"{row['instruction']}\n{given}" if isinstance(given, str) and given.strip() else row["instruction"]
        return {"question": question, "answers": [row["output"]]}
    chat = row.get("messages", row.get("conversations"))
    if not isinstance(chat, list) or "question" in row:
        return {}
    turns = [_turn(one) for one in chat]
    questions = [text for role, text in turns if role in _USERS]
    answers = [text for role, text in turns if role in _ASSISTANTS]
    if len(questions) != 1 or len(answers) != 1:
        raise ElusiveError(
            f"a chat of {len(turns)} turns: expected one question of the user and one answer. Make a row of each pair "
            'that can be understood alone: {"question": ..., "answer": ...}'
        )
    return {"question": questions[0], "answers": answers}


def _turn(value: Any) -> tuple[str, Any]:
    if not isinstance(value, Mapping):
        raise ElusiveError(f"a chat: expected turns with a role and a content, got {kind(value)}")
    role = value.get("role", value.get("from"))
    return str(role).lower(), value.get("content", value.get("value"))


def without_text(row: Mapping[str, Any], text_column: str) -> str:
    """What to do with a row of a corpus that has no text, by what it seems to be; empty if nothing is known.

    Args:
        row: of a source of documents.
        text_column: the key that it lacks.
    """
    keys = {str(key).lower() for key in row}
    if keys & {"messages", "conversations"} or {"instruction", "output"} <= keys:
        return "A chat set holds questions, no documents: give it as corpus.questions"
    if keys & set(_QUESTION) and keys & set(_ANSWERS):
        return "A row of questions: give the file as corpus.questions, and documents as corpus.source"
    return f"Name it with corpus.text_column; {text_column}.x is x in a column of objects"
