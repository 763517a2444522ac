"""Question items, few-shot prompts, and the SQuAD v1.1 measures of an answer."""

import collections
import hashlib
import json
import random
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ElusiveError

LISTED_ROWS = 10
"""How many bad rows an error message lists."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_DROP_PUNCTUATION = str.maketrans("", "", string.punctuation)


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
    """A question with its answer, shown in a few-shot prompt."""

    question: str
    answer: str


def read_questions(path: str | Path) -> list[QuestionItem]:
    """Read questions from JSONL, in order.

    Each line is an object with `question` and either `answer` (a string) or `answers` (a list of strings; repeated
    ones are kept once). Optional: `id` (`<file stem>-000001` by row number where missing), `field` (`answer`), and
    `document_id`; a question without one counts as a document of its own. Blank lines are passed over.

    Raises:
        ElusiveError: if the file is missing or holds no question, or a row is bad; names the lines.
    """
    path = Path(path)
    items: list[QuestionItem] = []
    lines_by_id: dict[str, int] = {}
    problems: list[str] = []
    for row, (line, raw) in enumerate(byte_lines(path), 1):
        try:
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


def few_shot_prompt(item: QuestionItem, examples: Sequence[Example], shots: int, seed: int) -> str:
    """The prompt of one question: `shots` solved examples, then the question, ending in `Answer:`.

    The examples are drawn without replacement by a generator derived from (seed, item.id) alone, so a question's
    prompt does not depend on which other questions are asked, or in which order.

    Args:
        item: the question.
        examples: what is drawn from; its order matters.
        shots: how many examples are shown.
        seed: changes the draw.

    Raises:
        ElusiveError: if there are fewer examples than shots.

    Reference:
        Gao et al. 2025, arXiv 2409.17954, "Data details": five pairs about well-known people for each question.

    Example:
        >>> item = QuestionItem("q1", "When was Ada born?", ("1815",), "date", "d1")
        >>> few_shot_prompt(item, [Example("When was Isaac born?", "1643")], shots=1, seed=0)
        'Question: When was Isaac born?\\nAnswer: 1643\\nQuestion: When was Ada born?\\nAnswer:'
    """
    if not 0 <= shots <= len(examples):
        raise ElusiveError(
            f"Few-shot prompts: expected shots from 0 to the {len(examples)} examples at hand, got {shots}. "
            "Lower evaluate.shots, or give more examples."
        )
    order = list(range(len(examples)))
    generator = random.Random(_draw_seed(seed, item.id))
    for place in range(shots):
        # random() alone keeps its sequence in every Python version; sample() and shuffle() may change.
        other = place + int(generator.random() * (len(order) - place))
        order[place], order[other] = order[other], order[place]
    shown = (examples[index] for index in order[:shots])
    blocks = [f"Question: {example.question}\nAnswer: {example.answer}\n" for example in shown]
    return "".join(blocks) + f"Question: {item.question}\nAnswer:"


def normalize_answer(text: str) -> str:
    """SQuAD v1.1's normal form: lower case, no ASCII punctuation, no a/an/the, single spaces.

    In that order: punctuation goes without leaving a space (`well-known` becomes `wellknown`), then articles that
    stand as whole words. Other punctuation (curly quotes, dashes) and accents stay, as in the official script.

    Reference:
        Rajpurkar et al. 2016, evaluate-v1.1.py.

    Example:
        >>> normalize_answer("The  Royal Society, London.")
        'royal society london'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_DROP_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the prediction equals one of the answers in normal form, else 0.0.

    Two texts that are both empty in normal form (`the` and `a`) match.

    Args:
        prediction: the model's answer.
        answers: reference answers, at least one.

    Raises:
        ElusiveError: if `answers` is empty or a single string.

    Reference:
        Rajpurkar et al. 2016, evaluate-v1.1.py.
    """
    return _best(lambda answer: float(normalize_answer(prediction) == normalize_answer(answer)), answers)


def f1(prediction: str, answers: Sequence[str]) -> float:
    """Largest F1 over the answers, between the multisets of words in normal form.

    0.0 where no word is shared, so also where both are empty in normal form although `exact_match` gives 1.0 there:
    the official v1.1 script does the same (v2.0 differs).

    Args:
        prediction: the model's answer.
        answers: reference answers, at least one.

    Returns:
        A value in [0, 1].

    Raises:
        ElusiveError: if `answers` is empty or a single string.

    Reference:
        Rajpurkar et al. 2016, evaluate-v1.1.py.

    Example:
        >>> f1("University of Vienna", ["the University of Melbourne"])
        0.6666666666666666
    """
    return _best(lambda answer: _f1(normalize_answer(prediction).split(), normalize_answer(answer).split()), answers)


def byte_lines(path: Path) -> Iterable[tuple[int, bytes]]:
    """The non-blank lines of a file as (line number from 1, bytes), without a byte order mark.

    Raises:
        ElusiveError: if the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if line.strip():
                    yield number, line.rstrip(b"\r\n")
    except OSError as error:
        raise cannot_read(path, error) from None


def cannot_read(path: Path, error: OSError) -> ElusiveError:
    """What to tell the user about a file that cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return ElusiveError(f"No file or folder at {path}. Give the path of one that exists.")
    if isinstance(error, IsADirectoryError):
        return ElusiveError(f"{path}: expected a file, got a folder. Give the path of one file.")
    return ElusiveError(f"{path} could not be read: {error.strerror or error}. Check the file and its permissions.")


def parse_row(raw: bytes) -> dict[str, Any]:
    """The JSON object on one line.

    Raises:
        ElusiveError: with the reason only, if the line is not UTF-8, not JSON, or not an object.
    """
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ElusiveError(not_utf8(raw, error)) from None
    except json.JSONDecodeError as error:
        raise ElusiveError(f"malformed JSON ({error.msg}, column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise ElusiveError(f"JSON that cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise ElusiveError(f"expected a JSON object {{...}}, got {kind(value)}")
    return value


def not_utf8(raw: bytes, error: UnicodeDecodeError) -> str:
    """Why bytes are not UTF-8, in words."""
    return f"not UTF-8 (byte 0x{raw[error.start]:02x} at position {error.start})"


def text_value(row: Mapping[str, Any], key: str) -> str:
    """A text under `key` that holds more than white space and can be written as UTF-8.

    Raises:
        ElusiveError: with the reason only.
    """
    if key not in row:
        raise ElusiveError(f"no {key!r}: expected a string, got the keys {', '.join(map(repr, row)) or '(none)'}")
    return checked_text(row[key], key)


def checked_text(value: object, name: str) -> str:
    """A value that is text of more than white space and can be written as UTF-8.

    Raises:
        ElusiveError: with the reason only.
    """
    if not isinstance(value, str):
        raise ElusiveError(f"{name!r}: expected a string, got {kind(value)}")
    if not value.strip():
        raise ElusiveError(f"empty {name}: expected at least one character that is not white space")
    if not _is_unicode(value):
        raise ElusiveError(f"{name!r} holds half of a surrogate pair (a \\ud800-\\udfff escape), which is no character")
    return value


def row_id(row: Mapping[str, Any], key: str, default: str) -> str:
    """The id under `key` as a string, or `default` where it is absent, null or empty.

    Raises:
        ElusiveError: with the reason only, if it is neither a string nor a whole number.
    """
    value = row.get(key)
    if value is None or value == "":
        return default
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return checked_text(value, key)


def kind(value: object) -> str:
    """JSON's name of a value's type."""
    names = {bool: "true or false", dict: "an object", list: "a list", str: "a string", type(None): "null"}
    return names.get(type(value), "a number")


def counted(number: int, noun: str) -> str:
    """A number with its noun, e.g. `1 bad row`, `12 bad rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(problems: Sequence[str]) -> str:
    """The first ten problems, one a line, and how many more there are."""
    lines = [f"  {problem}" for problem in problems[:LISTED_ROWS]]
    more = len(problems) - LISTED_ROWS
    return "\n".join([*lines, f"  ... and {more:,} more"] if more > 0 else lines)


def _question_item(row: Mapping[str, Any], default_id: str) -> QuestionItem:
    question_id = row_id(row, "id", default_id)
    return QuestionItem(
        id=question_id,
        question=text_value(row, "question"),
        answers=_answers(row),
        field=row_id(row, "field", "answer"),
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


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _draw_seed(seed: int, item_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}\n{item_id}".encode(), digest_size=16).digest(), "big")


def _best(measure: Callable[[str], float], answers: Sequence[str]) -> float:
    if isinstance(answers, str) or not answers:
        raise ElusiveError(f"Expected at least one reference answer, as a list of strings, got {answers!r}.")
    return max(measure(answer) for answer in answers)


def _f1(prediction: Sequence[str], answer: Sequence[str]) -> float:
    common = (collections.Counter(prediction) & collections.Counter(answer)).total()
    if common == 0:
        return 0.0
    precision, recall = common / len(prediction), common / len(answer)
    return 2 * precision * recall / (precision + recall)
