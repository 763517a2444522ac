"""How clues are written into sentences."""

import pytest

from elusive.augmentation.forms import in_place_of_pronoun, written


@pytest.mark.parametrize(
    ("form", "sentence", "expected"),
    [
        ("prefix", "He worked at Uber.", "Liam: He worked at Uber."),
        ("parenthesis", "He worked at Uber.", "He worked at Uber (Liam)."),
        ("parenthesis", "He worked at Uber", "He worked at Uber (Liam)"),
        ("parenthesis", 'He said: "Uber!"', 'He said: "Uber (Liam)!"'),
        ("pronoun", "He worked at Uber.", "Liam worked at Uber."),
        ("pronoun", "Their employer was Uber.", "Liam's employer was Uber."),
        ("pronoun", "Uber was his employer.", "Liam: Uber was his employer."),
        ("{clue} - {sentence}", "He left.", "Liam - He left."),
        ("About {clue}. {sentence}", "He left {clue}.", "About Liam. He left {clue}."),
    ],
)
def test_forms(form: str, sentence: str, expected: str) -> None:
    assert written("Liam", sentence, form) == expected


@pytest.mark.parametrize(
    "sentence",
    [
        "It was at Uber that he found work.",
        "It is raining.",
        "He's at Uber.",  # the name in its place would need another verb form
        "Heavy rain fell.",
        "Hers was the best.",
        "",
    ],
)
def test_no_pronoun_to_replace(sentence: str) -> None:
    assert in_place_of_pronoun("Liam", sentence) == ""


def test_braces_in_texts_are_text() -> None:
    assert written("{sentence}", "{clue} and {0}.", "prefix") == "{sentence}: {clue} and {0}."
