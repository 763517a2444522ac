"""Result types as JSON, and back: a file's keys are the names of the attributes."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from elusive.errors import ElusiveError

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """A value as JSON types: dataclasses become objects (by their `as_dict`, where they have one), tuples lists.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Point:
        ...     x: tuple[int, ...]
        >>> to_json({"at": Point((1, 2))})
        {'at': {'x': [1, 2]}}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if hasattr(value, "as_dict"):
            return value.as_dict()  # type: ignore[attr-defined]
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(one) for key, one in value.items()}
    return [to_json(one) for one in value] if isinstance(value, (list, tuple)) else value


def from_json(kind: type[T], value: Any, where: str = "") -> T:
    """What `to_json` made JSON of; keys that the type does not have are left out.

    Args:
        kind: a dataclass of JSON types, dataclasses, tuples and dicts.
        value: its JSON object.
        where: the file, for the message.

    Raises:
        ElusiveError: if the object lacks an attribute that has no default.
    """
    return _typed(kind, value, where)


def _typed(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        # Only optional dataclasses need a hint: of plain types the value is as it is.
        return _typed(next((one for one in arguments if dataclasses.is_dataclass(one)), arguments[0]), value, where)
    if origin is tuple:
        return tuple(_typed(arguments[0], one, where) for one in value)
    if origin is dict or origin is Mapping:
        return {key: _typed(arguments[1], one, where) for key, one in value.items()}
    if not dataclasses.is_dataclass(hint):
        return value
    if hasattr(hint, "from_dict"):
        return hint.from_dict(value)  # type: ignore[attr-defined]
    hints = typing.get_type_hints(hint)
    try:
        return hint(  # type: ignore[operator]
            **{field.name: _typed(hints[field.name], value[field.name], where)
               for field in dataclasses.fields(hint) if field.name in value}
        )  # fmt: skip
    except TypeError as error:
        raise ElusiveError(
            f"{where}: expected what this version of Elusive writes, got an object that lacks something ({error}). "
            "Make the file again."
        ) from None
