"""Flags of the verbs that take no recipe: tyro derives them from the settings' dataclasses, in titled panels."""

import contextlib
import dataclasses
import difflib
import functools
import inspect
import io
import os
import re
import shutil
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from elusive.config.describe import field_docs
from elusive.config.toml import assigned, inline
from elusive.errors import ElusiveError
from elusive.messages import of_a_screen
from elusive.runs.terminal import is_json, say, warn
from elusive.storage import Location, local, located

from .table import OUTPUT_FLAGS, introduction

_FLAGS = tyro.constructors.ConstructorRegistry()

OptionalPath = Annotated[Path | None, tyro.conf.arg(help_behavior_hint="")]
"""A path that may be left out; its text says what happens then."""

OptionalLocation = Annotated[Location | None, tyro.conf.arg(help_behavior_hint="")]
"""The same of a path or URL."""

Names = Annotated[tuple[str, ...], tyro.conf.arg(help_behavior_hint="", metavar="STR ...")]
"""Any number of names."""


_NARROWEST = 40
"""Columns for help texts at the least; tyro never ends with the wrapping of a panel of five."""


_OF_ALL_VERBS = f"Every verb takes {', '.join(OUTPUT_FLAGS)} too: `elusive --help`."


_EVERYWHERE = (tyro.conf.DisallowNone, tyro.conf.PositionalMetavarFromFieldName)


class _RefusedError(Exception):
    """Carries an ElusiveError through tyro, which would put any ValueError into a box of its own."""

    def __init__(self, error: ElusiveError) -> None:
        super().__init__(str(error))
        self.error = error


@_FLAGS.primitive_rule
def _table(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """A table of settings: KEY=VALUE, as --set of a recipe takes it."""
    if info.type_origin is not dict:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="KEY=VALUE ...",
        instance_from_str=lambda words: {".".join(parts): value for parts, value in map(assigned, words)},
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [f"{key}={inline(item)}" for key, item in value.items()],
    )


@_FLAGS.primitive_rule
def _place(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """A path; where a verb takes a URL too, its parameter is a `Location`."""
    takes_url = info.type in (Location, Location | None)
    if not takes_url and info.type != Path:
        return None

    def made(words: list[str]) -> Location:
        try:
            return located(words[0]) if takes_url else local(words[0], "what this verb reads and writes")
        except ElusiveError as error:
            raise _RefusedError(error) from None

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH|URL" if takes_url else "PATH",
        instance_from_str=made,
        is_instance=lambda value: isinstance(value, info.type),
        str_from_instance=lambda value: [str(value)],
    )


def with_flags(function: Callable[..., Any], arguments: Sequence[str], prog: str) -> Callable[[], Any]:
    """The call of a verb's function with what the arguments say.

    Raises:
        ElusiveError: if a setting is refused.
        SystemExit: after the help page, or if an argument cannot be used.
    """
    if shutil.get_terminal_size().columns < _NARROWEST:
        os.environ["COLUMNS"] = str(_NARROWEST)

    @functools.wraps(function)
    def called_later(*values: Any, **named: Any) -> Callable[[], Any]:
        return functools.partial(function, *values, **named)

    words = f"{introduction(function)}\n\n{_OF_ALL_VERBS}"
    try:
        with _near_flags(function, arguments), _FLAGS, _words_of_tyro(arguments):
            return tyro.cli(called_later, args=arguments, prog=prog, description=words, config=_EVERYWHERE)
    except _RefusedError as refused:
        raise refused.error from None


def flags_of(function: Callable[..., Any]) -> list[str]:
    """The flags that tyro derives for a verb's function, in the order of its help page."""
    page = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(page), _FLAGS:
        tyro.cli(function, args=["--help"], prog="elusive", config=_EVERYWHERE)
    # Each stands at the beginning of a line within its panel; those after a comma say no, or are short.
    return re.findall(r"^\W*?(?:-\w, )?(--[a-z][\w.-]*)", page.getvalue(), flags=re.MULTILINE)


@contextlib.contextmanager
def _near_flags(function: Callable[..., Any], arguments: Sequence[str]) -> Iterator[None]:
    """Name the flags that were meant, where some are unknown; tyro does so for verbs of few flags alone."""
    try:
        yield
    except SystemExit as stop:
        if stop.code:
            known = [*flags_of(function), *OUTPUT_FLAGS]
            given = [one.partition("=")[0].replace("_", "-") for one in arguments if one.startswith("--")]
            for flag in given:
                near = difflib.get_close_matches(flag, known, n=1)
                if near and flag not in known and not flag.startswith("--no-"):
                    warn(f"elusive: unknown flag {of_a_screen(flag)}. Did you mean {near[0]}?")
        raise


@contextlib.contextmanager
def _words_of_tyro(arguments: Sequence[str]) -> Iterator[None]:
    """What tyro prints about arguments that it cannot use: it would quote them as they came, control characters too."""
    if all(of_a_screen(one) == one for one in arguments) and not is_json():
        yield  # in colours, on a terminal
        return
    with io.StringIO() as output, io.StringIO() as error:
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
                yield
        except SystemExit as stop:
            if output.getvalue():
                say(output.getvalue().rstrip())
            if stop.code and is_json():
                raise _RefusedError(ElusiveError(_without_boxes(error.getvalue()))) from None
            warn(of_a_screen(error.getvalue().rstrip()))
            raise


def _without_boxes(text: str) -> str:
    """A text without the lines that tyro draws around it and in it."""
    lines = (re.sub(r"[\u2500-\u257f]|-{4,}", "", line).strip() for line in text.splitlines())
    return " ".join(line for line in lines if line)


def panel(
    settings: Any,
    title: str,
    *,
    names: Mapping[str, str] | None = None,
    prefixed: bool = False,
    left_out: Sequence[str] = (),
    required: Sequence[str] = (),
) -> Any:
    """What makes a parameter of a verb a titled panel of flags, one for each field of its dataclass.

    Args:
        settings: the defaults; of its class are the settings that the verb gets.
        title: of the panel; tyro adds "options".
        names: flags of other names than their fields'.
        prefixed: put "TITLE." in front of the fields that have no name in `names`, as in --large.dtype.
        left_out: fields that have no flag.
        required: fields that have no default.
    """
    kind, names = type(settings), names or {}
    hints, docs = typing.get_type_hints(kind), field_docs(kind)
    parameters = []
    for field in dataclasses.fields(kind):
        if field.name in left_out:
            continue
        default = inspect.Parameter.empty if field.name in required else getattr(settings, field.name)
        name, hint = names.get(field.name), hints[field.name]
        flag = _flag(hint, default, name=name, prefix_name=prefixed and name is None, help=docs.get(field.name))
        parameters.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=flag)
        )
    return tyro.conf.arg(name=title, constructor=_constructor(settings, parameters))


def _flag(hint: Any, default: Any, **said: Any) -> Any:
    """A field's type, and how its flag is shown."""
    behavior = _default_in_words(default)
    return Annotated[hint, tyro.conf.arg(**said, help_behavior_hint=behavior, metavar=_list_metavar(hint))]


def _constructor(settings: Any, parameters: list[inspect.Parameter]) -> Callable[..., Any]:
    """A function of these parameters that gives the settings with their values."""

    def build(**values: Any) -> Any:
        try:
            return dataclasses.replace(settings, **values)
        except ElusiveError as error:
            raise _RefusedError(error) from None

    # tyro reads these in place of a signature in code.
    build.__signature__ = inspect.Signature(parameters, return_annotation=type(settings))  # type: ignore[attr-defined]
    build.__annotations__ = {one.name: one.annotation for one in parameters}
    return build


def _default_in_words(default: Any) -> str:
    if default is inspect.Parameter.empty:
        return "(required)"
    if default is None or (not isinstance(default, (bool, int, float)) and not default):
        return ""
    return f"(default: {' '.join(map(str, default)) if isinstance(default, tuple) else default})"


def _list_metavar(hint: Any) -> str | None:
    """INT ... for a list of integers; tyro's own says [INT [INT ...]]."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is not tuple or len(arguments) != 2 or not isinstance(arguments[0], type):
        return None
    return f"{arguments[0].__name__.upper()} ..."
