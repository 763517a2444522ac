"""Sentences in another order, where their order is not a part of what they say.

A paragraph is a run of sentences without a line break between them; no sentence leaves its paragraph. Within it, a
sentence that points back ("She ...", "In 1908 he ...") stays behind the last one that does not, but may change places
with others that do; one that goes on from the sentence before ("Then ...", "For example ...") stays right behind it.
Steps keep their order. So does a paragraph with a sentence that does not end, one that holds code or a part of a table,
and one that is not English, the only language of these rules.
"""

import itertools
import re
from collections.abc import Collection, Sequence

import numpy as np

from elusive.corpus.english import (
    CONNECTING_PAIRS,
    CONNECTIVES,
    FUNCTION_WORDS,
    OPENING_PRONOUNS,
    PERSONS,
    THINGS_SAID,
)

_Unit = list[int]
"""A sentence with those that are bound to it."""

_Group = list[_Unit]
"""A unit that stands for itself, with those that point back to it."""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")  # noqa: RUF001
_STEP = re.compile(
    r"\s*(?:[-*•–]\s|\d+[.:]\s|\(?(?:\d+|[a-z]|[ivx]+)\)\s|(?:step|phase|stage)\s+(?:\d+|one|two|three|four|[ivx]+)\b)",  # noqa: RUF001
    re.IGNORECASE,
)
_ENDED = re.compile(r"""[.!?…。！？:]["'”’»)\]」』）]*\s*\Z""")  # noqa: RUF001
_LEAST_ENGLISH = 0.2
"""Share of English function words in a paragraph's words, below which it is not taken for English."""


def random_order(
    sentences: Sequence[str], generator: np.random.Generator, in_blocks: Collection[int] = ()
) -> list[int]:
    """A random order of a text's sentences, as far as the rules above allow one.

    Args:
        sentences: of a text, in order, each with the white space behind it.
        generator: of this copy.
        in_blocks: numbers of the sentences that hold code or a part of a table.

    Returns:
        The number of the sentence at each place, from 0.
    """
    order: list[int] = []
    for paragraph in _paragraphs(sentences):
        keeps = not set(in_blocks).isdisjoint(paragraph) or keeps_order([sentences[number] for number in paragraph])
        order += paragraph if keeps else _shuffled(paragraph, sentences, generator)
    return order


def points_back(sentence: str) -> bool:
    """Whether a sentence has a pronoun that stands for something said before.

    Example:
        >>> [points_back(one) for one in ("She left.", "In 1908 he left.", "Ada left her home.")]
        [True, True, False]
    """
    words = _lower_words(sentence)
    names = [number for number, word in enumerate(words) if word not in FUNCTION_WORDS]
    named_first = bool(names) and names[0] == 0
    opening = words[: names[0]] if names else words
    return (
        not OPENING_PRONOUNS.isdisjoint(words[:1])
        or not THINGS_SAID.isdisjoint(opening)
        or (not named_first and not PERSONS.isdisjoint(words))
    )


def goes_on(sentence: str) -> bool:
    """Whether a sentence goes on from the one right before it.

    Example:
        >>> goes_on("However, she left."), goes_on("For example, cats."), goes_on("She left.")
        (True, True, False)
    """
    words = _lower_words(sentence)
    return not CONNECTIVES.isdisjoint(words[:1]) or "_".join(words[:2]) in CONNECTING_PAIRS


def keeps_order(paragraph: Sequence[str]) -> bool:
    """Whether a paragraph must keep its order: it lists steps, has a sentence without end, or is not English."""
    words = [word for sentence in paragraph for word in _lower_words(sentence)]
    english = sum(word in FUNCTION_WORDS for word in words) >= _LEAST_ENGLISH * len(words)
    return not english or any(map(_STEP.match, paragraph)) or not all(map(_ENDED.search, paragraph))


def _lower_words(sentence: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(sentence)]


def _paragraphs(sentences: Sequence[str]) -> list[list[int]]:
    ends = [n + 1 for n, one in enumerate(sentences) if "\n" in one[len(one.rstrip()) :]]
    borders = sorted({0, *ends, len(sentences)})
    return [list(range(start, end)) for start, end in itertools.pairwise(borders)]


def _groups(paragraph: Sequence[int], sentences: Sequence[str]) -> list[_Group]:
    groups: list[_Group] = []
    for number in paragraph:
        if groups and goes_on(sentences[number]):
            groups[-1][-1].append(number)
        elif groups and points_back(sentences[number]):
            groups[-1].append([number])
        else:
            groups.append([[number]])
    return groups


def _shuffled(paragraph: Sequence[int], sentences: Sequence[str], generator: np.random.Generator) -> list[int]:
    groups = _groups(paragraph, sentences)
    # What the first sentence points back to stands before the text or in its title: nothing may come between.
    fixed = 1 if points_back(sentences[paragraph[0]]) else 0
    order = [*range(fixed), *(fixed + generator.permutation(len(groups) - fixed))]
    mixed = [_mixed(groups[place], 0 if place < fixed else 1, generator) for place in order]
    return [number for group in mixed for unit in group for number in unit]


def _mixed(group: _Group, fixed: int, generator: np.random.Generator) -> _Group:
    """A group whose first units stay, and whose others change places."""
    return group[:fixed] + [group[fixed + n] for n in generator.permutation(len(group) - fixed)]
