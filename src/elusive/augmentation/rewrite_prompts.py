"""What a language model is asked for: three published ways to rewrite a text, in words of our own."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Style = Literal["paraphrase", "entigraph", "active"]
"""How a text is rewritten."""

_PARAPHRASE = (
    "Say all that this text says in other words: other sentences, in another order where the sense allows it.",
    "Write this text again as an entry of an encyclopedia would say it.",
    "Write this text again as one person would tell it to another.",
    "Write this text again as a list of questions, each with its answer behind it.",
)
"""After Maini et al. 2024, "Rephrasing the Web" (styles), and Allen-Zhu and Li 2023, "Physics of Language Models: Part
3.1" (several wordings of one biography)."""

_ENTIGRAPH = (
    "Write about how {entities} are connected, as far as this text tells: what one has to do with the other, and what "
    "that says of each.",
)
"""After Yang et al. 2024, "Synthetic Continued Pretraining" (EntiGraph): relations of pairs and triples of a text's
entities. There a first request finds the entities; here they are the marked spans and the clues."""

_UNKNOWN_ENTITIES = "two things or persons that this text names, of your choice,"

_ACTIVE = (
    "Write down the facts of this text as a student would note them in order to remember them: each in a sentence of "
    "its own that names whom or what it is about.",
    "Write a quiz about this text: questions on every fact, each with its full answer.",
    "Explain this text to somebody who will be examined on it, and repeat each fact in a second wording.",
    "Write the story or timeline that this text tells, with every fact at its place.",
    "Compare and connect the facts of this text with each other, so that one helps to remember the next.",
)
"""After Lin et al. 2025, "Learning Facts at Scale with Active Reading": a model studies a text by strategies. There the
model proposes them for each text; here they are these."""

_RULES = (
    "Keep every name, number and date exactly as the text writes it. Say nothing that the text does not say. Answer "
    "with the new text alone."
)


_NAMED = "Say each of these facts so that it can be understood alone:"

_TASKS: dict[Style, tuple[str, ...]] = {"paraphrase": _PARAPHRASE, "entigraph": _ENTIGRAPH, "active": _ACTIVE}


@dataclass(frozen=True)
class Fact:
    """A sentence that a prompt names, and the clue that it needs to be understood."""

    sentence: str
    clue: str


def prompts_hash() -> str:
    """A short name of all words that prompts are made of."""
    return hashlib.blake2b(repr((_TASKS, _UNKNOWN_ENTITIES, _RULES, _NAMED)).encode(), digest_size=8).hexdigest()


def rewrite_prompt(
    style: Style, text: str, facts: Sequence[Fact], entities: Sequence[str], generator: np.random.Generator
) -> str:
    """The request for one copy.

    Args:
        style: how the text is rewritten.
        text: the document's.
        facts: what the copy must say in words that are understood alone; none are named if there are none.
        entities: what the text names, for `entigraph`.
        generator: of this copy; it draws one of the style's tasks and, for `entigraph`, two or three entities.
    """
    parts = [_task(style, entities, generator), _RULES]
    if facts:
        named = [f"- {fact.sentence} (about: {fact.clue})" for fact in facts]
        parts.append("\n".join([_NAMED, *named]))
    return "\n\n".join([*parts, f"The text:\n{text}"])


def _task(style: Style, entities: Sequence[str], generator: np.random.Generator) -> str:
    tasks = _TASKS[style]
    task = tasks[int(generator.integers(len(tasks)))]
    if "{entities}" not in task:
        return task
    several = list(dict.fromkeys(entities))
    if len(several) < 2:
        return task.replace("{entities}", _UNKNOWN_ENTITIES)
    count = min(len(several), 2 + int(generator.integers(2)))
    drawn = sorted(generator.choice(len(several), count, replace=False).tolist())
    return task.replace("{entities}", " and ".join(several[place] for place in drawn))
