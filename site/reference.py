"""The pages of the reference: the API from docstrings, the command line from its parsers, recipes from dataclasses."""

import contextlib
import inspect
import io
import os
import re
from pathlib import Path

import elusive
from elusive.cli import table
from elusive.cli.main import main
from elusive.config.describe import Section, describe
from elusive.config.verbs import PretrainSettings, SweepRecipe

_GROUP = re.compile(r'^    # (?P<title>.+)\.$|^    "(?P<name>\w+)",', re.MULTILINE)


def write_reference(folder: Path) -> None:
    """Write all generated pages into a folder."""
    folder.mkdir()
    (folder / "api.rst").write_text(api(), encoding="utf-8")
    (folder / "cli.md").write_text(command_line(), encoding="utf-8")
    (folder / "recipes.md").write_text(recipes(), encoding="utf-8")


def api() -> str:
    """The public names in the groups of elusive.__all__; settings are on the page of recipes."""
    source = inspect.getsource(elusive)
    names = source[source.index("__all__") : source.index("]\n", source.index("__all__"))]
    lines = ["Python", "======", "", "Everything here is imported from ``elusive``. See also :doc:`/python`.", ""]
    for found in _GROUP.finditer(names):
        if title := found["title"]:
            lines += [title, "-" * len(title), ""]
        elif not found["name"].endswith("Settings"):
            lines += [_entry(found["name"]), ""]
        elif found["name"] == "CorpusSettings":
            lines += ["See :doc:`recipes`: each table of a recipe is a dataclass of that name.", ""]
    return "\n".join(lines)


def _entry(name: str) -> str:
    value = getattr(elusive, name)
    if inspect.isclass(value):
        return f".. autoclass:: elusive.{name}\n   :members:"
    return (
        f".. autofunction:: elusive.{name}"
        if inspect.isfunction(value)
        else f".. autodata:: elusive.{name}\n   :no-value:"
    )


def command_line() -> str:
    """What `elusive --help` and each verb's help print at 80 columns."""
    parts = ["# Command line", "```text", table.usage(), "```"]
    for verb in table.VERBS:
        parts += [f"## {verb}", "```text", _help(verb), "```"]
    return "\n".join(parts) + "\n"


def _help(verb: str) -> str:
    page = io.StringIO()
    os.environ["COLUMNS"] = "80"
    with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
        main([verb, "--help"])
    return re.sub(r"\x1b\[[0-9;]*m", "", page.getvalue()).strip()


def recipes() -> str:
    """Every setting of a recipe, of a sweep and of pretraining."""
    parts = [
        "# Recipes",
        "A recipe is TOML. Each heading is a table of it, each row a key. `elusive settings` prints the same.",
    ]
    for title, kind in (("Of run and sweep", SweepRecipe), ("Of pretrain", PretrainSettings)):
        parts.append(f"## {title}")
        parts += map(_table, describe(kind))
    return "\n\n".join(parts) + "\n"


def _table(section: Section) -> str:
    rows = [
        f"| `{one.name}` | {_cell(one.values)} | `{_cell(one.default)}` | {_cell(one.doc)} |"
        for one in section.settings
    ]
    title = f"### `[{section.name}]`" if section.name else "### At the top"
    return "\n".join(
        [
            title,
            "",
            section.doc.split("\n\n")[0],
            "",
            "| key | values | default | meaning |",
            "| --- | --- | --- | --- |",
            *rows,
        ]
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
