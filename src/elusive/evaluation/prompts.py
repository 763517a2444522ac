"""Few-shot prompts, and the examples that they show."""

import hashlib
import random
from collections.abc import Sequence

from elusive.config.run import Draw
from elusive.corpus.people.biographies import well_known_examples
from elusive.corpus.questions import Example, QuestionItem, read_questions
from elusive.errors import ElusiveError


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


def _draw_seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}\n{name}".encode(), digest_size=16).digest(), "big")


def few_shot_examples(path: str) -> tuple[Example, ...]:
    """Examples from a question file, or about well-known people where there is none."""
    if not path:
        return well_known_examples()
    return tuple(Example(item.question, item.answers[0]) for item in read_questions(path))
