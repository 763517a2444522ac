"""Every setting in words: its name in a recipe, what values it takes, its default, and what it does."""

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types
import typing
from typing import Any, Literal, NamedTuple

from .toml import inline


class Setting(NamedTuple):
    """One setting, as a recipe names it."""

    section: str
    """Dotted name of its table; empty at the top of a recipe."""
    name: str
    """Its key in that table."""
    values: str
    """The values that it takes, in words."""
    default: str
    """Its default, as TOML."""
    doc: str
    """What it does: the text below the field."""
    is_list: bool
    """Whether it holds several values."""

    @property
    def path(self) -> str:
        """Its dotted name, e.g. train.learning_rate."""
        return f"{self.section}.{self.name}" if self.section else self.name


class Section(NamedTuple):
    """One table of a recipe."""

    name: str
    """Its dotted name; empty for the top of a recipe."""
    doc: str
    """What it is about."""
    settings: tuple[Setting, ...]
    """Its settings, in the order of the dataclass."""


def describe(kind: type, section: str = "", default: Any = None) -> list[Section]:
    """The tables that a settings dataclass stands for, each before those that lie in it.

    Args:
        kind: a dataclass whose fields all have defaults, e.g. Recipe.
        section: dotted name of its table.
        default: the settings whose values are shown as defaults (none: the dataclass's own).
    """
    default = kind() if default is None else default
    hints, docs = typing.get_type_hints(kind), field_docs(kind)
    settings, inner = [], []
    for field in dataclasses.fields(kind):
        hint, value = hints[field.name], getattr(default, field.name)
        if dataclasses.is_dataclass(hint):
            inner += describe(typing.cast(type, hint), f"{section}.{field.name}".lstrip("."), value)
            continue
        words = _in_words(hint)
        doc = docs.get(field.name, "")
        settings.append(Setting(section, field.name, words, inline(value), doc, typing.get_origin(hint) is tuple))
    own = [Section(section, inspect.cleandoc(kind.__doc__ or ""), tuple(settings))] if settings else []
    return [*own, *inner]


def field_docs(kind: type) -> dict[str, str]:
    """The text below each field of a dataclass, those that it inherits too; on one line, without its indentation."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]).body
        for field, below in itertools.pairwise(body):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                docs[field.target.id] = " ".join(str(below.value.value).split())
    return docs


_WORDS = {int: "integer", float: "number", str: "text", bool: "true or false"}


def _in_words(hint: Any) -> str:
    """The values of a type, in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return ", ".join(map(inline, arguments[:-1])) + f" or {inline(arguments[-1])}"
    if origin is tuple:
        item = _in_words(arguments[0])
        return f"list of {item}" if typing.get_origin(arguments[0]) is Literal else f"list of {item}s"
    if origin is dict:
        return "table"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_in_words(one) for one in arguments if one is not type(None))
    return _WORDS[hint]
