"""Values of an input row, checked: JSON objects, texts, ids. Errors hold the reason only."""

import json
from collections.abc import Mapping
from typing import Any

from elusive.errors import ElusiveError

ENCODING = "Name the encoding with corpus.encoding, e.g. cp1252, or save the file as UTF-8"
"""What to do about rows that are not UTF-8."""


def parse_row(raw: bytes) -> dict[str, Any]:
    """The JSON object on one line.

    Raises:
        ElusiveError: with the reason only, if the line is not UTF-8, not JSON, or not an object.
    """
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ElusiveError(f"{not_utf8(error)}. {ENCODING}") from None
    except json.JSONDecodeError as error:
        raise ElusiveError(f"malformed JSON ({error.msg}, column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise ElusiveError(unreadable_json(error)) from None
    if not isinstance(value, dict):
        raise ElusiveError(f"expected a JSON object {{...}}, got {kind(value)}")
    return value


def unreadable_json(error: Exception) -> str:
    """Why JSON that is well formed cannot be read, in words: Python's own say what to change in a program."""
    reason = "nested too deeply" if isinstance(error, RecursionError) else "a number of too many digits"
    return f"JSON that cannot be read ({reason})"


def not_utf8(error: UnicodeDecodeError) -> str:
    """Why bytes are not UTF-8, in words."""
    return f"not UTF-8 (byte 0x{error.object[error.start]:02x} at position {error.start})"


def text_value(row: Mapping[str, Any], key: str) -> str:
    """A text under `key` that holds more than white space and can be written as UTF-8.

    Raises:
        ElusiveError: with the reason only.
    """
    if key not in row:
        raise ElusiveError(f"no {key!r}: expected a string, got the keys {', '.join(map(repr, row)) or '(none)'}")
    return checked_text(row[key], key)


def checked_text(value: object, name: str) -> str:
    """A value that is text of more than white space and can be written as UTF-8.

    Raises:
        ElusiveError: with the reason only.
    """
    if not isinstance(value, str):
        raise ElusiveError(f"{name!r}: expected a string, got {kind(value)}")
    if not value or value.isspace():
        raise ElusiveError(f"empty {name}: expected at least one character that is not white space")
    try:
        if not value.isascii():
            value.encode("utf-8")
    except UnicodeEncodeError:
        raise ElusiveError(
            f"{name!r} holds half of a surrogate pair (a \\ud800-\\udfff escape), which is no character"
        ) from None
    return value


def row_id(row: Mapping[str, Any], key: str, default: str) -> str:
    """The id under `key` as a string, or `default` where it is absent, null or empty.

    Raises:
        ElusiveError: with the reason only, if it is neither a string nor a whole number.
    """
    value = row.get(key)
    if value is None or value == "":
        return default
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return checked_text(value, key)


def kind(value: object) -> str:
    """JSON's name of a value's type."""
    names = {bool: "true or false", dict: "an object", list: "a list", str: "a string", type(None): "null"}
    return names.get(type(value), "a number")
