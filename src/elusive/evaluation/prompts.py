"""Few-shot prompts, and the examples that they show."""

import collections
import dataclasses
import hashlib
import itertools
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from elusive.config.evaluation import EvaluateSettings
from elusive.corpus.languages import LANGUAGES
from elusive.corpus.people.biographies import well_known_examples
from elusive.corpus.question_sets import questions_that_give_cues
from elusive.corpus.questions import Example, QuestionItem, read_questions
from elusive.corpus.wording import counted
from elusive.errors import ElusiveError
from elusive.models.chat import Chat, Message

from .known import are_general
from .language import EACH_OTHER, OF_CORPUS, UNKNOWN, WELL_KNOWN, in_language_of, language_in_words

NOTHING_ASKED = (
    "no questions, so nothing will be evaluated: give corpus.questions (a JSONL file), or corpus.question_forms for "
    "fields that are marked"
)
"""Said before a run without questions scores or trains anything."""


ENGLISH_LABELS = LANGUAGES["en"].labels

_FIELDS_NAMED = 3
"""So many fields with too few examples are named."""


def few_shot_prompt(item: QuestionItem, examples: Sequence[Example], settings: EvaluateSettings) -> str:
    """The prompt of one question: `shots` solved examples, then the question, ending in `Answer:`, or in other labels.

    The examples are drawn without replacement by a generator derived from (seed, item.id) alone, so a question's
    prompt does not depend on which other questions are asked, or in which order. With draw = "field" it is derived
    from (seed, item.field): questions of a field then begin alike, which is read once.

    With example_fields = "same" the examples are of the question's field. Where it has fewer than `shots`, examples of
    other fields come before them; `examples_in_words` counts these questions.

    No example gives the answer away: one with the question's text, or with one of its answers from the document that
    it is about, is left out before the draw. Of the corpus's own questions, all about that document are.

    Args:
        item: the question.
        examples: what is drawn from; its order matters.
        settings: shots, seed, draw, example_fields and labels, as `in_language_of` gives them for all questions.

    Raises:
        ElusiveError: if there are fewer such examples than shots.

    Reference:
        Gao et al. 2025, arXiv 2409.17954, "Data details": five pairs about well-known people for each question, "of
        the same format"; the released code shows pairs of the field that is asked.

    Example:
        >>> item = QuestionItem("q1", "When was Ada born?", ("1815",), "date", "d1")
        >>> examples = [Example("Where was Isaac born?", "Woolsthorpe", "city"),
        ...             Example("When was Isaac born?", "1643", "date")]
        >>> few_shot_prompt(item, examples, EvaluateSettings(shots=1))
        'Question: When was Isaac born?\\nAnswer: 1643\\nQuestion: When was Ada born?\\nAnswer:'
    """
    question, answer = settings.labels or ENGLISH_LABELS
    shown = _shown(item, examples, settings)
    blocks = [f"{question}: {example.question}\n{answer}: {example.answer}\n" for example in shown]
    return "".join(blocks) + f"{question}: {item.question}\n{answer}:"


def prompt_of(item: QuestionItem, examples: Sequence[Example], settings: EvaluateSettings) -> str | Chat:
    """The prompt of one question in the form of `settings.chat`; its examples are those of `few_shot_prompt`.

    Args:
        item: the question.
        examples: what is drawn from.
        settings: as `few_shot_prompt` takes them, and a chat that is not auto.

    Raises:
        ElusiveError: if there are fewer such examples than shots.

    Example:
        >>> item = QuestionItem("q1", "When was Ada born?", ("1815",), "date", "d1")
        >>> examples = [Example("When was Isaac born?", "1643", "date")]
        >>> for role, content in prompt_of(item, examples, EvaluateSettings(shots=1, chat="turns")):
        ...     print(role, content)
        user When was Isaac born?
        assistant 1643
        user When was Ada born?
    """
    if settings.chat == "bare":
        return few_shot_prompt(item, examples, settings)
    if settings.chat == "message":
        chat = [Message("user", few_shot_prompt(item, examples, settings))]
    else:
        shown = _shown(item, examples, settings)
        turns = [(Message("user", one.question), Message("assistant", one.answer)) for one in shown]
        chat = [*itertools.chain(*turns), Message("user", item.question)]
    # Not as a system's message: some templates have none, and others put one of their own in front.
    before = f"{settings.instruction}\n\n" if settings.instruction else ""
    return (Message("user", before + chat[0].content), *chat[1:])


def _shown(item: QuestionItem, examples: Sequence[Example], settings: EvaluateSettings) -> list[Example]:
    """The examples of one question, those of its own field last."""
    own, others = _pools(item, examples, settings)
    shots, at_hand = settings.shots, len(own) + len(others)
    if shots > at_hand:
        beside = "about other documents than" if settings.examples == OF_CORPUS else "beside"
        itself = "" if at_hand == len(examples) else f" {beside} the question {item.question!r} itself"
        raise ElusiveError(
            f"Few-shot prompts: expected shots from 0 to the {at_hand} examples at hand{itself}, got {shots}. "
            "Lower evaluate.shots, or give more examples."
        )
    generator = random.Random(_draw_seed(settings.seed, item.id if settings.draw == "question" else item.field))
    of_field = min(shots, len(own))
    # Those of the question's own field stand next to it.
    return [*_drawn(others, shots - of_field, generator), *_drawn(own, of_field, generator)]


def _pools(
    item: QuestionItem, examples: Sequence[Example], settings: EvaluateSettings
) -> tuple[list[Example], list[Example]]:
    """The examples that are drawn first, and those that fill up; with example_fields = "any" all are in the first."""
    allowed = [example for example in examples if not _gives_away(example, item, settings)]
    if settings.example_fields == "any":
        return allowed, []
    own = [example for example in allowed if example.field == item.field]
    return own, [example for example in allowed if example.field != item.field]


def _gives_away(example: Example, item: QuestionItem, settings: EvaluateSettings) -> bool:
    too_near = settings.examples == OF_CORPUS or example.answer in item.answers
    return example.question == item.question or (example.document_id == item.document_id and too_near)


def _drawn(examples: Sequence[Example], count: int, generator: random.Random) -> list[Example]:
    """So many of the examples, without replacement, in the order of their draw."""
    order = list(range(len(examples)))
    for place in range(count):
        # random() alone keeps its sequence in every Python version; sample() and shuffle() may change.
        other = place + int(generator.random() * (len(order) - place))
        order[place], order[other] = order[other], order[place]
    return [examples[index] for index in order[:count]]


def _draw_seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}\n{name}".encode(), digest_size=16).digest(), "big")


class Prompting(NamedTuple):
    """How some questions are prompted: the examples that are drawn from, and settings that leave nothing open."""

    examples: tuple[Example, ...]
    settings: EvaluateSettings


def prompting_of(
    items: Sequence[QuestionItem], settings: EvaluateSettings, questions: str | Path | None = None
) -> Prompting:
    """How questions are prompted.

    Args:
        items: all questions that are asked together.
        settings: which examples they get, and what else of them.
        questions: the file that they come from: of a corpus folder, the questions that give cues lie beside it. None:
            these are the cue questions, too.
    """
    settled = in_language_of(items, settings)
    if settled.examples == WELL_KNOWN:
        return Prompting(well_known_examples(), settled)
    if settled.examples == OF_CORPUS:
        return Prompting(_pool(questions_that_give_cues(questions) if questions else items), settled)
    return Prompting(_examples(read_questions(settled.examples)), settled)


def prompting_of_known(
    known: Sequence[QuestionItem],
    examples: Sequence[Example],
    items: Sequence[QuestionItem],
    settings: EvaluateSettings,
) -> Prompting:
    """How questions about what was known before are prompted: in their own language, if need be by other examples.

    They are examples for each other, unless examples are well-known people or a file: those of the corpus's own
    questions say nothing about how others are asked.

    Args:
        known: these questions.
        examples: those of the corpus's questions, which are taken where both are drawn from the same people or file.
        items: the corpus's questions.
        settings: of the evaluation; evaluate.language is that of the corpus's questions alone.
    """
    own = dataclasses.replace(settings, language="auto")
    settled = in_language_of(known, own)
    if are_general(known) or settled.examples == OF_CORPUS:
        return Prompting(_pool(known), dataclasses.replace(settled, examples=EACH_OTHER))
    if settled.examples == in_language_of(items, settings).examples:
        return Prompting(tuple(examples), settled)
    return prompting_of(known, own)


def _examples(items: Iterable[QuestionItem]) -> tuple[Example, ...]:
    return tuple(Example(item.question, item.answers[0], item.field, item.document_id) for item in items)


_OF_FIELD = 200
"""Of a corpus's own questions, so many of each field are drawn from: each question looks through all of them."""


def _pool(items: Sequence[QuestionItem]) -> tuple[Example, ...]:
    taken: collections.Counter[str] = collections.Counter()
    chosen = []
    for item in sorted(items, key=lambda item: _draw_seed(0, item.id)):
        if taken[item.field] < _OF_FIELD:
            taken[item.field] += 1
            chosen.append(item)
    return _examples(chosen)


def prompts_in_words(items: Sequence[QuestionItem], examples: Sequence[Example], settings: EvaluateSettings) -> str:
    """What the prompts of some questions show and say, in words; `examples_in_words` where they are English as usual.

    Example:
        >>> items = [QuestionItem(f"q{n}", "Wo ist Wien?", ("Österreich",), "place", f"d{n}") for n in "12"]
        >>> prompts_in_words(items, *prompting_of(items, EvaluateSettings(shots=0)))
        'no examples, in German (Frage, Antwort)'
    """
    settings = in_language_of(items, settings)
    said = examples_in_words(items, examples, settings)
    if settings.examples == OF_CORPUS and settings.shots:
        said += ", from the corpus's own questions about other documents"
    if settings.examples == EACH_OTHER and settings.shots:
        said += ", from the others of these questions"
    question, answer = settings.labels
    unknown = settings.language == UNKNOWN and settings.examples == OF_CORPUS
    if (question, answer) != ENGLISH_LABELS or unknown:
        said += f", in {language_in_words(settings.language)} ({question}, {answer})"
    return said + _CHATS[settings.chat]


_CHATS = {
    "bare": "",
    "turns": ", as turns of a chat",
    "message": ", as one message of a chat",
    "auto": ", as turns of a chat where the model has a template",
}


def examples_in_words(items: Sequence[QuestionItem], examples: Sequence[Example], settings: EvaluateSettings) -> str:
    """What the prompts of some questions show, in words: of the question's own field, of any, or how many of each.

    Example:
        >>> item = QuestionItem("q1", "When was Ada born?", ("1815",), "date", "d1")
        >>> examples = [Example("Where was Isaac born?", "Woolsthorpe", "city")]
        >>> examples_in_words([item], examples, EvaluateSettings(shots=1))
        '1 example, of other fields in 1 of 1 question, where too few are of its own: date (0 of 1)'
    """
    shots = settings.shots
    said = counted(shots, "example")
    if not shots:
        return "no examples"
    if settings.example_fields == "any":
        return f"{said} of any field"
    fewest: dict[str, int] = {}
    filled = 0
    for item in items:
        own = len(_pools(item, examples, settings)[0])
        if own < shots:
            filled += 1
            fewest[item.field] = min(fewest.get(item.field, own), own)
    if not filled:
        return f"{said} of the question's own field"
    named = [
        f"{field} ({fewest[field]} of {shots})" for field in sorted(fewest, key=fewest.__getitem__)[:_FIELDS_NAMED]
    ]
    more = ", ..." if len(fewest) > _FIELDS_NAMED else ""
    return (
        f"{said}, of other fields in {filled:,} of {counted(len(items), 'question')}, where too few are of its own: "
        f"{', '.join(named)}{more}"
    )
