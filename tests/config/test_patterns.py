"""Named patterns, and regular expressions of the user's within their time."""

import pytest

from elusive.config.augmentation import AugmentSettings
from elusive.config.patterns import NAMED_PATTERNS, compiled_pattern, matches
from elusive.errors import ElusiveError


def found(pattern: str, text: str) -> list[str]:
    return [text[start:end] for start, end in matches(compiled_pattern(pattern, "here"), text, 5)]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("born on January 5, 1990.", ["5", "1990"]),
        ("-3 % of $5,000.50", ["-3 %", "$5,000.50"]),
        ("the 5th of twenty-one, in 1,990-2001", ["5th", "twenty-one", "1,990-2001"]),
        ("B12 and 10km for €20 or 5 €", ["B12", "10km", "€20", "5 €"]),
        ("在1990年出生, Three ½", ["1990", "Three", "½"]),
        ("one of them, often weighty", []),
    ],
)
def test_numbers(text: str, numbers: list[str]) -> None:
    assert found("numbers", text) == numbers


@pytest.mark.parametrize(
    ("text", "negations"),
    [
        ("He did not, and never will.", ["not", "never"]),
        ("Isn't it? It wasn\u2019t. Nobody cannot.", ["Isn't", "wasn\u2019t", "Nobody", "cannot"]),
        ("A knot is nothing without another notion.", ["nothing", "without"]),
    ],
)
def test_negations(text: str, negations: list[str]) -> None:
    assert found("negations", text) == negations


def test_an_expression_of_ones_own_has_no_empty_matches() -> None:
    assert found(r"[A-Z]\w*|x*", "Ada met Bob") == ["Ada", "Bob"]


@pytest.mark.parametrize("pattern", NAMED_PATTERNS)
@pytest.mark.parametrize("text", ["a" * 200_000 + " 1" * 10_000, "-" * 200_000, "1." * 100_000, "€ " * 50_000])
def test_named_patterns_take_their_time_from_the_length(pattern: str, text: str) -> None:
    assert all(end > start for start, end in matches(compiled_pattern(pattern, "here"), text, 10))  # or TimeoutError


def test_an_expression_that_would_not_end() -> None:
    with pytest.raises(TimeoutError):
        list(matches(compiled_pattern("(a|aa)+$", "here"), "a" * 60 + "b", 0.05))


def test_no_expression() -> None:
    with pytest.raises(ElusiveError) as caught:
        AugmentSettings(protected_patterns=("numbers", "(a"))
    assert str(caught.value).startswith(
        "augment.protected_patterns: expected code, tables, numbers, negations or a regular expression, got '(a' "
        "(missing )"
    )
