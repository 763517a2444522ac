"""Patterns of text that may be protected from dropout: named ones, and the user's regular expressions."""

from collections.abc import Iterator

import regex

from elusive.errors import ElusiveError

_CARDINALS = (
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|"
    "nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|billion|trillion"
)

NAMED_PATTERNS = {
    # Fences, and lines that are indented behind a blank line; rows of which the second is a line of dashes.
    "code": r"(?ms:^[ \t]*+(?P<fence>`{3,}+|~{3,}+)[^\n]*+\n.*?(?:^[ \t]*+(?P=fence)[`~]*+[ \t]*+$|\Z))"
    r"|(?m:(?<=\n[ \t]*\n)(?:(?: {4}|\t)[^\n]*+(?:\n(?:[ \t]*+\n)*+|\Z))++)",
    "tables": r"(?m:^[^\n|]*+\|[^\n]*+\n[ \t]*+\|?[ \t]*+:?-+:?[ \t]*+(?:\|[ \t:-]*+)++(?:\n[^\n|]*+\|[^\n]*+)*+)",
    # Signs, currency, percent and attached letters belong to their number: "-3 %" or "5th" without them mislead too.
    "numbers": r"(?:[-+\u2212±]|\p{Sc}\s?){0,2}+(?:\b\p{Latin}{1,3})?\p{N}+(?:[.,:/\u2212-]\p{N}+)*+"
    r"(?:\p{Latin}{1,3}\b)?(?:\s?(?:[%‰°]|\p{Sc}(?!\s?\p{N})))?" + rf"|(?i:\b(?:{_CARDINALS})(?:-one)?\b)",
    "negations": r"(?i:\b(?:\w+n['\u2019]t|not|no|none|nobody|nothing|nowhere|never|neither|nor|cannot|without|hardly|"
    r"scarcely|barely)\b)",
}
"""Regular expressions by name: code and tables of Markdown, numbers in digits (and English cardinals above one), and
English negations."""


def compiled_pattern(pattern: str, setting: str) -> regex.Pattern[str]:
    """A named pattern, or a regular expression of the module `regex` (a superset of `re`'s).

    Args:
        pattern: a key of NAMED_PATTERNS, or an expression.
        setting: where it stands, for the message.

    Raises:
        ElusiveError: if it is neither.
    """
    try:
        return regex.compile(NAMED_PATTERNS.get(pattern, pattern))
    except (regex.error, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise ElusiveError(
            f"{setting}: expected {', '.join(NAMED_PATTERNS)} or a regular expression, got {pattern!r} ({error})."
        ) from None


def matches(pattern: regex.Pattern[str], text: str, seconds: float) -> Iterator[tuple[int, int]]:
    """Where a pattern matches, as [start, end) in characters; empty matches are left out.

    Raises:
        TimeoutError: if that takes longer than `seconds`.
    """
    return (found.span() for found in pattern.finditer(text, timeout=seconds) if found.end() > found.start())
