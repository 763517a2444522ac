"""`elusive settings [SECTION]`: what every setting of a recipe takes, its default and what it does."""

import difflib
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from elusive.config.describe import Section, Setting, describe
from elusive.config.verbs import PretrainSettings, SweepRecipe
from elusive.errors import ElusiveError
from elusive.runs.terminal import say

_WIDTH = 80


def settings(arguments: Sequence[str]) -> Any:
    """Show the settings of a recipe: values, defaults, meaning.

    Args:
        arguments: sections or single settings; none for a list of all names.
    """
    if {"-h", "--help"} & set(arguments):
        say(_HELP)
        return None
    found = [section for one in arguments for section in _found(one)]
    if arguments:
        say("\n\n".join(_explained(one) for one in arguments))
    else:
        say(_every_name())
    return {"sections": [_as_table(one) for one in found or [*describe(SweepRecipe), *describe(PretrainSettings)]]}


def _as_table(section: Section) -> dict[str, Any]:
    return {**section._asdict(), "settings": [setting._asdict() for setting in section.settings]}


_HELP = """\
usage: elusive settings [SECTION | SECTION.KEY ...]

Show the settings of a recipe: values, defaults, meaning.

  elusive settings                       all names
  elusive settings train                 the section [train]
  elusive settings train.learning_rate   one setting
  elusive settings pretrain              the recipe of `elusive pretrain`

Change them in the recipe, or with --set: elusive run my.toml --set train.seed=1"""


def overview(sections: Iterable[Section]) -> str:
    """The names of settings, below each other by section."""
    lines = []
    for section in sections:
        names = ", ".join(setting.name for setting in section.settings)
        title = f"[{section.name}]" if section.name else "(top)"
        # Names like models.large are wider than the column, so that the list begins below them.
        head = f"  {title:12}"
        if len(title) > 11:
            lines.append(head)
            head = " " * 14
        lines.append(textwrap.fill(names, _WIDTH, initial_indent=head, subsequent_indent=" " * 14))
    return "\n".join(lines)


def _every_name() -> str:
    return (
        "Recipes of `elusive run`; [sweep] is for `elusive sweep` alone:\n\n"
        f"{overview(describe(SweepRecipe))}\n\n"
        "Recipes of `elusive pretrain` (`elusive settings pretrain`):\n\n"
        f"{overview(describe(PretrainSettings))}\n\n"
        "`elusive settings SECTION` explains a section, `elusive settings top` the first."
    )


def _explained(name: str) -> str:
    """A section with all of its settings, or one setting."""
    found = _found(name)
    if found[0].settings[0].path == name:
        return _setting(found[0].settings[0], name)
    return "\n\n".join(_section(one, name == "pretrain") for one in found)


def _found(name: str) -> list[Section]:
    """The sections of a name; or, of a single setting, its section with it alone.

    Raises:
        ElusiveError: if there is none.
    """
    sections = describe(SweepRecipe)
    chosen = describe(PretrainSettings) if name == "pretrain" else _chosen(name, sections)
    if chosen:
        return chosen
    every = {setting.path: setting for one in sections for setting in one.settings}
    if name in every:
        return [one._replace(settings=(every[name],)) for one in sections if one.name == every[name].section]
    known = ["pretrain", *every, *{one.name for one in sections}]
    near = [path for path in every if path.split(".")[-1] == name] or difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else "`elusive settings` lists them."
    raise ElusiveError(f"No section or setting {name!r}. {hint}")


def _chosen(name: str, sections: list[Section]) -> list[Section]:
    """The section of a name and those in it."""
    if name == "top":
        return sections[:1]
    return [one for one in sections if one.name == name or one.name.startswith(f"{name}.")]


def _section(section: Section, pretrain: bool) -> str:
    top = "Recipe of `elusive pretrain`:" if pretrain else "Top of the recipe:"
    title = f"[{section.name}]" if section.name else top
    head = "\n".join(textwrap.wrap(f"{title}  {section.doc}".replace("\n", " "), _WIDTH))
    return "\n\n".join([head, *(_setting(one, one.name) for one in section.settings)])


def _setting(setting: Setting, name: str) -> str:
    """One setting: `name = default` as in a recipe, and below it what it takes and does."""
    words = textwrap.wrap(f"{setting.doc} ({setting.values})", _WIDTH - 4, break_on_hyphens=False)
    return "\n".join([_assignment(name, setting), *(f"    {line}" for line in words)])


def _assignment(name: str, setting: Setting) -> str:
    """`name = default` as in a recipe; a long list on lines of its own."""
    line = f"{name} = {setting.default}"
    if len(line) <= _WIDTH or not setting.is_list:
        return line
    items = textwrap.wrap(setting.default[1:-1], _WIDTH - 4, break_on_hyphens=False)
    return "\n".join([f"{name} = [", *(f"    {item}" for item in items), "]"])
