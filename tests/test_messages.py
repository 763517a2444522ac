import pytest

from elusive.errors import ElusiveError
from elusive.messages import LINE_CHARACTERS, MESSAGE_CHARACTERS, MESSAGE_LINES, of_a_screen, shortened, visible


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\x1b", r"\x1b"),
        ("\r", r"\r"),
        ("\x9b", r"\x9b"),  # the one-byte form of ESC [
        ("\x7f", r"\x7f"),
        ("\u202e", r"\u202e"),
        ("\u2066", r"\u2066"),
        ("\u200f", r"\u200f"),
        ("\u2028", r"\u2028"),
        ("\ufeff", r"\ufeff"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_control_characters_and_those_that_reorder_text_are_escaped(character, shown):
    assert visible(f"a{character}b") == f"a{shown}b"
    assert visible(visible(f"a{character}b")) == f"a{shown}b"


def test_text_of_any_language_stays_as_it_is():
    # The joiners between Persian and Indic letters, and within emoji, change what is read.
    text = "naïve\n\tĐà Nẵng می‌خواهم 👩‍🚀 中文"
    assert visible(text) == text


def test_the_middle_of_a_long_quotation_gives_way_to_its_length():
    short = shortened("expected " + "x" * 1_000_000 + " and this to do", 100)
    assert len(short) <= 100
    assert short.startswith("expected x")
    assert "[1,000,024 characters]" in short
    assert short.endswith("x and this to do")


@pytest.mark.parametrize(
    "message",
    [
        "got " + "x" * 5_000_000 + ". Do this.",
        "got " + "\x1b" * 5_000 + ". Do this.",
        "\n".join(["got"] * 100_000) + "\nDo this.",
        "\n".join(["x" * 500] * 30) + "\nDo this.",
    ],
)
def test_an_error_fits_on_a_screen_whatever_it_quotes_and_says_what_to_do(message):
    shown = str(ElusiveError(message))
    assert len(shown) <= MESSAGE_CHARACTERS
    assert max(map(len, shown.split("\n"))) <= LINE_CHARACTERS
    assert len(shown.split("\n")) <= MESSAGE_LINES
    assert shown.isprintable() or shown.replace("\n", "").isprintable()
    assert shown.endswith("Do this.")
    assert of_a_screen(shown) == shown
