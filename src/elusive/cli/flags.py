"""Flags of the verbs that take no recipe: tyro derives them from the parameters of the verb's function."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import tyro

_FLAGS = tyro.constructors.ConstructorRegistry()


@_FLAGS.primitive_rule
def _json_object(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """A table of a recipe is a JSON object on the command line."""
    if info.type_origin is not dict:
        return None

    def parsed(arguments: list[str]) -> dict[str, Any]:
        value = json.loads(arguments[0])
        if not isinstance(value, dict) or _holds_null(value):
            raise ValueError(f"expected a JSON object without null, got {arguments[0]}")
        return value

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=parsed,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [json.dumps(value)],
    )


def _holds_null(value: Any) -> bool:
    """Whether a JSON value holds null, which TOML has no form of."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is None or any(map(_holds_null, inner))


def call_with_flags(function: Callable[..., None], arguments: Sequence[str], prog: str) -> None:
    """Call a verb's function with what the arguments say."""
    with _FLAGS:
        tyro.cli(function, args=arguments, prog=prog)
