"""What the settings' dataclasses check their own values with."""

import codecs
from typing import Any

from elusive.errors import ElusiveError


def check(condition: bool, setting: str, expected: str, value: object) -> None:
    """Raise an ElusiveError that says what was expected, unless the condition holds."""
    if not condition:
        raise ElusiveError(f"{setting}: expected {expected}, got {value!r}.")


def check_each(section: str, settings: Any, names: tuple[str, ...], least: int) -> None:
    """Check that each of several numbers is at least `least`."""
    for name in names:
        value = getattr(settings, name)
        check(value >= least, f"{section}.{name}", f"at least {least}", value)


def is_text_encoding(name: str) -> bool:
    """Whether Python knows an encoding of text by a name.

    Example:
        >>> is_text_encoding("shift_jis"), is_text_encoding("hex")
        (True, False)
    """
    try:
        "".encode(name)
        return codecs.lookup(name)._is_text_encoding
    except (LookupError, UnicodeError, ValueError):
        return False


def layer_and_head(name: str) -> tuple[int, int]:
    """The numbers of a head written as "layer.head", both from 0.

    Raises:
        ElusiveError: if it is written otherwise.

    Example:
        >>> layer_and_head("3.1")
        (3, 1)
    """
    layer, _, head = name.partition(".")
    if not (layer.isdecimal() and head.isdecimal()):
        raise ElusiveError(f'Expected a head as "layer.head" (e.g. "3.1"), both from 0, got {name!r}.')
    return int(layer), int(head)
