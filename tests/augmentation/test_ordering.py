"""Sentences in another order, and what keeps its place."""

import numpy as np
import pytest

from elusive.augmentation.ordering import goes_on, keeps_order, points_back, random_order

NAME = "Ada was born in a town by the sea. "
SHE = "She lived in the old house of an uncle. "
HER = "Her work was about the weather. "
THEN = "Then she went to the city. "
BOB = "Bob was the son of a baker. "


def orders(sentences: list[str]) -> set[tuple[int, ...]]:
    return {tuple(random_order(sentences, np.random.default_rng(seed))) for seed in range(60)}


def test_all_orders_of_sentences_that_stand_for_themselves() -> None:
    found = orders([NAME, BOB, "The sea is blue in the morning. "])
    assert found == {(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)}


def test_what_points_back_stays_behind_its_name() -> None:
    assert orders([NAME, SHE, HER]) == {(0, 1, 2), (0, 2, 1)}
    assert orders([NAME, SHE, BOB, HER]) == {(0, 1, 2, 3), (2, 3, 0, 1)}


def test_what_goes_on_stays_right_behind() -> None:
    assert orders([NAME, SHE, THEN, HER]) == {(0, 1, 2, 3), (0, 3, 1, 2)}
    assert orders([NAME, THEN]) == {(0, 1)}


def test_pronouns_without_a_name_before_them() -> None:
    """They point to a title or an earlier text: nothing may come between, but they may change places."""
    assert orders([SHE, HER, BOB, HER]) == {(0, 1, 2, 3), (1, 0, 2, 3)}


def test_no_sentence_leaves_its_paragraph() -> None:
    found = orders([NAME, BOB.rstrip() + "\n", NAME, BOB])
    assert found == {(0, 1, 2, 3), (1, 0, 2, 3), (0, 1, 3, 2), (1, 0, 3, 2)}


@pytest.mark.parametrize(
    "paragraph",
    [
        ["1. Open the lid of the box. ", "2. Turn the key to the left. "],
        ["(a) Open the lid of the box. ", "b) Turn the key to the left. "],
        ["Step 1 is to open the lid. ", "The key is in the box. "],
        ["- the lid of the box. ", "- the key to it. "],
        ["Der Hund lief schnell davon. ", "Die Katze blieb ruhig sitzen. "],  # no English
        ["The lid of the box is open", "The key is in it. "],  # a heading, or a line of a table
    ],
)
def test_what_keeps_its_order(paragraph: list[str]) -> None:
    assert keeps_order(paragraph)
    assert orders(paragraph) == {(0, 1)}


@pytest.mark.parametrize(
    "paragraph", [[NAME, BOB], ["J. Smith was in the room. ", BOB], ["Phase changes are a part of it. "]]
)
def test_what_does_not(paragraph: list[str]) -> None:
    assert not keeps_order(paragraph)


def test_nothing() -> None:
    assert random_order([], np.random.default_rng(0)) == []


@pytest.mark.parametrize(
    ("sentence", "back"),
    [
        ('"She left."', True),
        ("THIS is it.", True),
        ("In 1908 he went back to Lahore.", True),
        ("At the age of ten, her parents moved.", True),
        ("During these years the town grew.", True),
        ("Iqbal went back to his town.", False),
        ("Sheila left.", False),
        ("The company sold its cars.", False),
        ("42.", False),
        ("", False),
    ],
)
def test_what_points_back(sentence: str, back: bool) -> None:
    assert points_back(sentence) is back


@pytest.mark.parametrize(
    ("sentence", "on"),
    [
        ("However, no.", True),
        ("(Then he left.)", True),
        ("For instance, cats sleep.", True),
        ("The latter is a cat.", True),
        ("For cats, sleep is all.", False),
        ("Thence.", False),
        ("", False),
    ],
)
def test_what_goes_on(sentence: str, on: bool) -> None:
    assert goes_on(sentence) is on
