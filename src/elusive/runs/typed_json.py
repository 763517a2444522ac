"""Result types as JSON, and back: a file's keys are the names of the attributes."""

import dataclasses
import itertools
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
        ElusiveError: if the object lacks an attribute that has no default, or holds a value of another type.
    """
    try:
        return _typed(kind, value, where)
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        if isinstance(error, ElusiveError):
            raise
        raise ElusiveError(
            f"{where}: expected what this version of Elusive writes, got something else ({error}). Make the file again."
        ) from None


def _typed(hint: Any, value: Any, name: str) -> Any:
    """A value as its type; `name` is what messages call it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _one_of(arguments, value, name)
    if origin is typing.Literal:
        _expect(value in arguments, name, " or ".join(map(repr, arguments)), value)
        return value
    if origin is tuple:
        _expect(isinstance(value, list), name, "a list", value)
        kinds = itertools.repeat(arguments[0], len(value)) if arguments[-1] is ... else arguments
        return tuple(_typed(kind, one, name) for kind, one in zip(kinds, value, strict=True))
    if origin in (dict, Mapping):
        _expect(isinstance(value, dict), name, "an object", value)
        return {key: _typed(arguments[1], one, f"{name}, {key}") for key, one in value.items()}
    if dataclasses.is_dataclass(hint):
        return _filled(hint, value, name)
    if hint is float and type(value) is int:
        float(value)  # refuses what is too large for one
        return value
    _expect(type(value) is hint, name, getattr(hint, "__name__", str(hint)), value)
    return value


def _one_of(hints: tuple[Any, ...], value: Any, name: str) -> Any:
    if value is None and types.NoneType in hints:
        return None
    rest = [hint for hint in hints if hint is not types.NoneType]
    for hint in rest[:-1]:
        try:
            return _typed(hint, value, name)
        except (TypeError, ValueError):
            continue
    return _typed(rest[-1], value, name)


def _filled(kind: Any, value: Any, name: str) -> Any:
    _expect(isinstance(value, dict), name, "an object", value)
    hints, fields = typing.get_type_hints(kind), dataclasses.fields(kind)
    if hasattr(kind, "from_dict"):
        built = kind.from_dict(value)
        for one in fields:
            _typed(hints[one.name], to_json(getattr(built, one.name)), one.name)
        return built
    given = {one.name: _typed(hints[one.name], value[one.name], one.name) for one in fields if one.name in value}
    return kind(**given)


def _expect(holds: bool, name: str, expected: str, value: Any) -> None:
    if not holds:
        raise TypeError(f"{name}: expected {expected}, got {value!r}")
