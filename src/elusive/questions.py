"""Question items, few-shot prompts, and the SQuAD v1.1 measures of an answer."""

import collections
import hashlib
import random
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import Draw
from .errors import ElusiveError
from .rows import byte_lines, checked_text, counted, kind, listed, parse_row, row_id, text_value

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


def few_shot_prompt(
    item: QuestionItem, examples: Sequence[Example], shots: int, seed: int, draw: Draw = "question"
) -> str:
    """The prompt of one question: `shots` solved examples, then the question, ending in `Answer:`.

    The examples are drawn without replacement by a generator derived from (seed, item.id) alone, so a question's
    prompt does not depend on which other questions are asked, or in which order. With draw = "field" it is derived
    from (seed, item.field): questions of a field then begin alike, which is read once.

    A question is never its own example, answer and all: examples with its text are left out before the draw.

    Args:
        item: the question.
        examples: what is drawn from; its order matters.
        shots: how many examples are shown.
        seed: changes the draw.
        draw: whether each question or each field has a draw of its own.

    Raises:
        ElusiveError: if there are fewer such examples than shots.

    Reference:
        Gao et al. 2025, arXiv 2409.17954, "Data details": five pairs about well-known people for each question.

    Example:
        >>> item = QuestionItem("q1", "When was Ada born?", ("1815",), "date", "d1")
        >>> few_shot_prompt(item, [Example("When was Isaac born?", "1643")], shots=1, seed=0)
        'Question: When was Isaac born?\\nAnswer: 1643\\nQuestion: When was Ada born?\\nAnswer:'
    """
    others = [example for example in examples if example.question != item.question]
    if not 0 <= shots <= len(others):
        itself = "" if len(others) == len(examples) else f" beside the question {item.question!r} itself"
        raise ElusiveError(
            f"Few-shot prompts: expected shots from 0 to the {len(others)} examples at hand{itself}, got {shots}. "
            "Lower evaluate.shots, or give more examples."
        )
    order = list(range(len(others)))
    generator = random.Random(_draw_seed(seed, item.id if draw == "question" else item.field))
    for place in range(shots):
        # random() alone keeps its sequence in every Python version; sample() and shuffle() may change.
        other = place + int(generator.random() * (len(order) - place))
        order[place], order[other] = order[other], order[place]
    shown = (others[index] for index in order[:shots])
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


def _draw_seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}\n{name}".encode(), digest_size=16).digest(), "big")


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
