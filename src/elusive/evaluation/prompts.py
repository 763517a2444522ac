"""Few-shot prompts, and the examples that they show."""

import hashlib
import random
from collections.abc import Sequence

from elusive.config.run import EvaluateSettings
from elusive.corpus.people.biographies import well_known_examples
from elusive.corpus.questions import Example, QuestionItem, read_questions
from elusive.corpus.wording import counted
from elusive.errors import ElusiveError

NOTHING_ASKED = (
    "no questions, so nothing will be evaluated: give corpus.questions (a JSONL file), or corpus.question_forms for "
    "fields that are marked"
)
"""Said before a run without questions scores or trains anything."""


_FIELDS_NAMED = 3
"""So many fields with too few examples are named."""


def few_shot_prompt(item: QuestionItem, examples: Sequence[Example], settings: EvaluateSettings) -> str:
    """The prompt of one question: `shots` solved examples, then the question, ending in `Answer:`.

    The examples are drawn without replacement by a generator derived from (seed, item.id) alone, so a question's
    prompt does not depend on which other questions are asked, or in which order. With draw = "field" it is derived
    from (seed, item.field): questions of a field then begin alike, which is read once.

    With example_fields = "same" the examples are of the question's field. Where it has fewer than `shots`, examples of
    other fields come before them; `examples_in_words` counts these questions.

    No example gives the answer away: one with the question's text, or with one of its answers from the document that
    it is about, is left out before the draw.

    Args:
        item: the question.
        examples: what is drawn from; its order matters.
        settings: shots, seed, draw and example_fields.

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
    own, others = _pools(item, examples, settings)
    shots, at_hand = settings.shots, len(own) + len(others)
    if shots > at_hand:
        itself = "" if at_hand == len(examples) else f" beside the question {item.question!r} itself"
        raise ElusiveError(
            f"Few-shot prompts: expected shots from 0 to the {at_hand} examples at hand{itself}, got {shots}. "
            "Lower evaluate.shots, or give more examples."
        )
    generator = random.Random(_draw_seed(settings.seed, item.id if settings.draw == "question" else item.field))
    of_field = min(shots, len(own))
    # Those of the question's own field stand next to it.
    shown = [*_drawn(others, shots - of_field, generator), *_drawn(own, of_field, generator)]
    blocks = [f"Question: {example.question}\nAnswer: {example.answer}\n" for example in shown]
    return "".join(blocks) + f"Question: {item.question}\nAnswer:"


def _pools(
    item: QuestionItem, examples: Sequence[Example], settings: EvaluateSettings
) -> tuple[list[Example], list[Example]]:
    """The examples that are drawn first, and those that fill up; with example_fields = "any" all are in the first."""
    allowed = [example for example in examples if not _gives_away(example, item)]
    if settings.example_fields == "any":
        return allowed, []
    own = [example for example in allowed if example.field == item.field]
    return own, [example for example in allowed if example.field != item.field]


def _gives_away(example: Example, item: QuestionItem) -> bool:
    same_fact = example.document_id == item.document_id and example.answer in item.answers
    return example.question == item.question or same_fact


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


def few_shot_examples(path: str) -> tuple[Example, ...]:
    """Examples from a question file, or about well-known people where there is none."""
    if not path:
        return well_known_examples()
    return tuple(Example(item.question, item.answers[0], item.field, item.document_id) for item in read_questions(path))


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
