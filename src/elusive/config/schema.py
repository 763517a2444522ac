"""JSON Schemas of recipes, with which editors complete, explain and check them."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from .describe import field_docs
from .toml import to_table

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


def json_schema(kind: type, title: str) -> dict[str, Any]:
    """The JSON Schema of the recipes that a settings dataclass describes.

    Args:
        kind: a dataclass whose fields all have defaults, e.g. Recipe.
        title: of the schema.
    """
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": title, **_table(kind, to_table(kind()))}


def _table(kind: type, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A table: its settings with their meaning, and nothing else."""
    hints, docs = typing.get_type_hints(kind), field_docs(kind)
    properties = {}
    for field in dataclasses.fields(kind):
        hint, default = hints[field.name], defaults[field.name]
        if dataclasses.is_dataclass(hint):
            properties[field.name] = _table(typing.cast(type, hint), default)
        else:
            properties[field.name] = _values(hint) | ({} if default is None else {"default": default})
        if field.name in docs:
            properties[field.name]["description"] = docs[field.name]
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _values(hint: Any) -> dict[str, Any]:
    """The values of a type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": _values(arguments[0])}
    if origin is dict:
        return {"type": "object"}
    if origin in (typing.Union, types.UnionType):  # TOML has no null: what may be none is left out
        return _values(next(one for one in arguments if one is not type(None)))
    return {"type": _TYPES[hint]}
