"""Recipes: settings as TOML and as nested tables; unknown keys and wrong types are refused."""

import dataclasses
import difflib
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomli_w

from elusive.errors import ElusiveError

SettingsT = TypeVar("SettingsT")


def load_recipe(path: str | Path, kind: type[SettingsT]) -> SettingsT:
    """Read a TOML recipe.

    Args:
        path: the recipe.
        kind: the dataclass that it describes, Recipe or PretrainSettings.

    Raises:
        ElusiveError: if the file cannot be read or is not TOML, or holds an unknown key or a bad value.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ElusiveError(f"No recipe at {path}. Give the path of a TOML recipe, e.g. recipes/demo.toml.") from None
    except OSError as error:
        raise ElusiveError(f"Cannot read the recipe {path}: {error.strerror}. Give the path of a TOML file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ElusiveError(f"{path} is not valid TOML: {error}") from None
    return from_table(kind, table, str(path))


def from_table(kind: type[SettingsT], table: Mapping[str, Any], where: str) -> SettingsT:
    """Build a settings dataclass from nested tables, refusing unknown keys and wrong types."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in table.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else f" Known keys: {', '.join(fields)}."
            raise ElusiveError(f"{where}: unknown key '{key}'.{hint}")
        values[key] = _convert(hints[key], value, f"{where}: {key}")
    return kind(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    """One TOML value as the type that its dataclass field declares."""
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ElusiveError(f"{where}: expected a table, got {value!r}.")
        return from_table(typing.cast(type, hint), value, where)
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
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ElusiveError(f"{where}: expected {hint.__name__}, got {value!r}.")
    return value


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
