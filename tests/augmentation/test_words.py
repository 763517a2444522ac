"""Words as groups of tokens: where they begin and end."""

import numpy as np
import pytest
import regex

from elusive.augmentation.words import first_tokens_of_words


def words_in(text: str, tokens: str = r"\s?\w|\S") -> list[str]:
    """The words of a text whose tokens are what `tokens` matches."""
    offsets = np.array([found.span() for found in regex.finditer(tokens, text)], dtype=int).reshape(-1, 2)
    first = first_tokens_of_words(text, offsets, np.zeros(len(offsets), bool))
    groups: dict[int, str] = {}
    for place, (start, end) in zip(first.tolist(), offsets.tolist(), strict=True):
        groups[place] = groups.get(place, "") + text[start:end]
    return [word.strip() for word in groups.values()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Liam Thompson, 1990", ["Liam", "Thompson", ",", "1990"]),
        ("don't say 3.14 or U.S. (Paris)", ["don't", "say", "3.14", "or", "U.S", ".", "(", "Paris", ")"]),
        ("self-evident 1990-2001 a/b - c", ["self-evident", "1990-2001", "a", "/", "b", "-", "c"]),
        ("東京タワー Zoë e\u0301te 👩‍👧", ["東", "京", "タワー", "Zoë", "e\u0301te", "👩‍👧"]),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_in(text, r"\s?\w|\S|\p{M}|\p{Cf}") == words


def test_a_token_in_two_words_makes_one_of_them() -> None:
    assert words_in("of the house", r"of th|e| house") == ["of the", "house"]


def test_white_space_and_special_tokens_are_words_of_their_own() -> None:
    # <s>, "Ada", " ", "was", "</s>" written out in the text
    offsets = np.array([[0, 0], [0, 3], [3, 4], [4, 7], [7, 11], [0, 0]])
    special = np.array([True, False, False, False, True, True])
    assert first_tokens_of_words("Ada was</s>", offsets, special).tolist() == [0, 1, 2, 3, 4, 5]
