"""Recipes: settings as TOML and as nested tables; unknown keys and wrong types are refused."""

import dataclasses
import difflib
import json
import re
import tomllib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomli_w

from elusive.errors import ElusiveError
from elusive.inputs import file_blocks, is_pipe, is_there, pipe_blocks

from .renamed import refuse_renamed
from .shipped import shipped_recipes

SettingsT = TypeVar("SettingsT")

_MOST_PARTS = 20
"""Of a key with dots; settings have three."""


_MOST_BYTES = 1 << 20
"""Of a recipe; long ones have a few thousand."""


def load_recipe(path: str | Path, kind: type[SettingsT], assignments: Sequence[str] = ()) -> SettingsT:
    """Read a TOML recipe.

    Args:
        path: the recipe, or the name of one that ships with the package; a file of that name comes first.
        kind: the dataclass that it describes, Recipe or PretrainSettings.
        assignments: settings that take the place of the recipe's, each "SECTION.KEY=VALUE" (see `with_overrides`).

    Raises:
        ElusiveError: if the file cannot be read or is not TOML, or holds an unknown key or a bad value.
    """
    read = _recipe_bytes(path)
    try:
        table = tomllib.loads(read.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # tomllib's and UnicodeDecodeError are ValueErrors
        hint = ""
        if Path(path).suffix in (".yaml", ".yml"):
            hint = " Recipes are TOML, and YAML is not read: write [train] and seed = 1 for train: and seed: 1."
        raise ElusiveError(f"{path} is not valid TOML: {error}.{hint}") from None
    if not assignments:
        return from_table(kind, table, str(path))
    return from_table(kind, with_overrides(table, assignments), f"{path} with --set")


def _recipe_bytes(path: str | Path) -> bytes:
    """The content of a recipe, which may come through a pipe: elusive run <(...)."""
    if not is_there(path):
        shipped = shipped_recipes()
        if str(path) in shipped:
            return shipped[str(path)].read_bytes()
        names = ", ".join(shipped)
        raise ElusiveError(
            f"No recipe at {path}. Give the path of a TOML recipe, or the name of one that ships with Elusive "
            f"({names}); `elusive init` writes one."
        )
    read = b""
    for block in pipe_blocks(path) if is_pipe(path) else file_blocks(path):
        read += block
        if len(read) > _MOST_BYTES:
            raise ElusiveError(f"{path}: expected a TOML recipe, got a file of more than {_MOST_BYTES:,} bytes.")
    return read


def with_overrides(table: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """A table of settings with some of its values replaced; the table itself stays as it is.

    Keys are TOML's dotted keys, so a key that holds a dot stands in quotes: sweep.grid."train.learning_rate".

    Args:
        table: nested tables, as a recipe's TOML gives them.
        assignments: each "KEY=VALUE" (see `assigned`); of two for the same key the later one counts.

    Raises:
        ElusiveError: if an assignment is not of this form, or its key goes through a value that is no table.

    Example:
        >>> with_overrides({"train": {"seed": 1}}, ["train.learning_rate=1e-4", "title=A first run"])
        {'train': {'seed': 1, 'learning_rate': 0.0001}, 'title': 'A first run'}
    """
    changed = dict(table)
    for assignment in assignments:
        parts, value = assigned(assignment)
        changed = _placed(changed, parts, value)
    return changed


def assigned(assignment: str) -> tuple[list[str], Any]:
    """The parts of the key and the value of "KEY=VALUE".

    The value is TOML: a number, true or false, a list, an inline table, a string in quotes. What is not TOML is a
    string as it stands, and so are the items of a list: shells take quotes away, and `[plain,random]` says enough.

    Raises:
        ElusiveError: if there is no `=`, or the key is not a dotted key of TOML.

    Example:
        >>> assigned("models.large.name=my/model")
        (['models', 'large', 'name'], 'my/model')
        >>> assigned('sweep.grid."train.learning_rate"=[1e-3, 2e-3]')
        (['sweep', 'grid', 'train.learning_rate'], [0.001, 0.002])
    """
    key, equals, text = assignment.partition("=")
    try:
        inner = tomllib.loads(f"{key} = 0") if equals else {}
    except (ValueError, RecursionError):
        inner = {}
    parts: list[str] = []
    while inner:
        ((part, inner),) = inner.items()
        parts.append(part)
    if not 0 < len(parts) <= _MOST_PARTS:
        raise ElusiveError(f"Expected SECTION.KEY=VALUE, e.g. train.learning_rate=1e-4, got {assignment!r}.")
    return parts, _value(text.strip())


def _value(text: str) -> Any:
    """A value of TOML, a list of bare words, or the text itself."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        table = {}
    if table.keys() == {"value"}:
        return table["value"]
    if bare := re.fullmatch(r"\[([^\[\]{}\"']*)\]", text):
        return [_value(item.strip()) for item in bare[1].split(",") if item.strip()]
    return text


def from_table(kind: type[SettingsT], table: Mapping[str, Any], where: str) -> SettingsT:
    """Build a settings dataclass from nested tables; what a table leaves out keeps its default.

    Args:
        kind: a dataclass.
        table: its settings, tables of further dataclasses in it.
        where: named in errors.

    Raises:
        ElusiveError: on an unknown key (an old name gets the new one), a wrong type, or a value out of range.
    """
    return _filled(kind, table, where, None)


def _filled(kind: type[SettingsT], table: Mapping[str, Any], where: str, default: SettingsT | None) -> SettingsT:
    """The dataclass with a table's settings in the place of `default`'s, or of its own defaults."""
    refuse_renamed(kind.__name__, table, where)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in table.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else f" Known keys: {', '.join(fields)}."
            raise ElusiveError(f"{where}: unknown key '{key}'.{hint}")
        values[key] = _convert(hints[key], value, f"{where}: {key}", _default_of(fields[key], default))
    return kind(**values) if default is None else dataclasses.replace(typing.cast(Any, default), **values)


def _default_of(field: dataclasses.Field, settings: Any) -> Any:
    """What a field has in given settings, or by default."""
    if settings is not None:
        return getattr(settings, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _convert(hint: Any, value: Any, where: str, default: Any = None) -> Any:
    """One TOML value as the type that its dataclass field declares."""
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ElusiveError(f"{where}: expected a table, got {value!r}.")
        return _filled(typing.cast(type, hint), value, where, default)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            near = difflib.get_close_matches(str(value), arguments, n=1)
            hint_text = f" Did you mean '{near[0]}'?" if near else ""
            raise ElusiveError(f"{where}: expected one of {', '.join(arguments)}, got {value!r}.{hint_text}")
        return value
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ElusiveError(f"{where}: expected a table, got {value!r}.")
        return dict(value)
    if origin is tuple:
        if not isinstance(value, list):
            raise ElusiveError(f"{where}: expected a list, got {value!r}.")
        return tuple(_convert(arguments[0], item, where) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ElusiveError(f"{where}: expected a number that a float can hold, got {value}.") from None
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ElusiveError(f"{where}: expected {hint.__name__}, got {value!r}.")
    return value


def with_setting(table: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Nested tables with one setting, by dotted name, in the place of what they have; the given tables do not change.

    Example:
        >>> with_setting({"models": {"large": {"name": "a"}}}, "models.large.name", "b")
        {'models': {'large': {'name': 'b'}}}
    """
    return _placed(table, key.split("."), value)


def _placed(table: Mapping[str, Any], parts: Sequence[str], value: Any) -> dict[str, Any]:
    """Nested tables with a value at the parts of its key, from the outside in."""
    first, *rest = parts
    if not rest:
        return {**table, first: value}
    inner = table.get(first, {})
    if not isinstance(inner, Mapping):
        raise ElusiveError(f"{'.'.join(parts)}: expected {first} to be a table of settings, got {inner!r}.")
    return {**table, first: _placed(inner, rest, value)}


def setting_of(table: Mapping[str, Any], key: str) -> Any:
    """One setting of nested tables, by dotted name."""
    for part in key.split("."):
        table = table[part]
    return table


def to_table(settings: Any) -> dict[str, Any]:
    """A settings dataclass as nested tables of TOML's and JSON's types (tuples become lists)."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    return plain(dataclasses.asdict(settings))


def dump_recipe(settings: Any) -> str:
    """The TOML text that `load_recipe` reads back as the same settings."""
    return tomli_w.dumps(to_table(settings))


def inline(value: Any) -> str:
    """One value as TOML writes it on a single line.

    Example:
        >>> print(inline({"train.learning_rate": [0.001, 1], "blank": False}))
        {"train.learning_rate" = [0.001, 1], blank = false}
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        pairs = (f"{_bare_or_quoted(key)} = {inline(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(inline, value)) + "]"
    return str(value)


def _bare_or_quoted(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
