"""Numbers as text."""

from collections.abc import Mapping, Sequence
from typing import Any


def score(value: float | None) -> str:
    """A share as three decimals without the zero, as tables in this field print it: .250."""
    if value is None:
        return "-"
    return f"{value:.3f}".replace("0.", ".", 1)


def signed(value: float | None) -> str:
    """A difference with its sign: +.031, -.010; .000 only where it is exactly zero."""
    if value is None:
        return "-"
    sign = "+" if value > 0 else "-" if value < 0 else ""
    return sign + score(abs(value))


def range_text(numbers: Mapping[str, Any], number: Any = score) -> str:
    """An interval as text, or what stands in its place."""
    return "[no interval]" if numbers["low"] is None else f"[{number(numbers['low'])}, {number(numbers['high'])}]"


def markdown_row(cells: Sequence[str]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(cell(one) for one in cells) + " |"


def cell(text: str) -> str:
    """A text that is safe inside a Markdown table."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
