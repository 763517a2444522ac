"""Phrases: runs of words of one sentence, broken where another begins."""

import numpy as np
import pytest
import regex

from elusive.augmentation.phrases import first_tokens_of_phrases


def phrases_in(text: str, tokens: str = r"\s?\w+|\s?\S|\s", special: tuple[int, ...] = ()) -> list[str]:
    """The phrases of a text whose tokens are what `tokens` matches."""
    offsets = np.array([found.span() for found in regex.finditer(tokens, text)], dtype=int).reshape(-1, 2)
    first = first_tokens_of_phrases(text, offsets, np.isin(np.arange(len(offsets)), special))
    groups: dict[int, str] = {}
    for place, (start, end) in zip(first.tolist(), offsets.tolist(), strict=True):
        groups[place] = groups.get(place, "") + text[start:end]
    return [one.strip() for one in groups.values() if one.strip()]


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        # A function word behind another kind of word opens a phrase; one behind its like goes on.
        ("Liam was born on October 5, 1990.", ["Liam", "was born", "on October 5", ",", "1990", "."]),
        ("He had a role at Uber. He left.", ["He had a role", "at Uber", ".", "He left", "."]),
        # Joining words stand within names.
        ("He left the University of Naples.", ["He left the University of Naples", "."]),
        # Another sentence or line, without punctuation between them.
        ("Ada left\n\nRome fell", ["Ada left", "Rome fell"]),
        ("- Ada\nRome", ["-", "Ada", "Rome"]),
        # At most six words where nothing else ends one.
        ("uno dos tres cuatro cinco seis siete", ["uno dos tres cuatro cinco seis", "siete"]),
        ("don't (never) go", ["don't", "(", "never", ")", "go"]),
        ("", []),
    ],
)
def test_phrases(text: str, phrases: list[str]) -> None:
    assert phrases_in(text) == phrases


def test_white_space_of_its_own_ends_no_phrase() -> None:
    assert phrases_in("lived in Paris", r"\w+|\s") == ["lived", "inParis"]


def test_a_special_token_ends_one() -> None:
    assert phrases_in("Ada<s>Byron", r"<s>|\w+", special=(1,)) == ["Ada", "<s>", "Byron"]


def test_a_token_that_reaches_into_the_next_sentence_ends_a_phrase() -> None:
    text = "He left. She stayed."
    assert phrases_in(text, r" left\. She|\s?\w+|\S") == ["He left. She", "stayed", "."]
