"""The verbs that take a recipe, and what the command line changes in it: `elusive run RECIPE --set KEY=VALUE ...`."""

import argparse
import dataclasses
import difflib
import json
import shlex
from collections.abc import Sequence
from typing import Any, NoReturn

from elusive.config.describe import Setting, describe
from elusive.config.run import Recipe
from elusive.config.toml import inline, load_recipe
from elusive.config.verbs import PretrainSettings, SweepRecipe
from elusive.errors import ElusiveError
from elusive.runs.terminal import say

from .printing import print_markdown, print_results
from .settings import overview


def run(recipe: Recipe) -> None:
    """Run a recipe: corpus, scores, copies, trained models, report."""
    from elusive.pipeline import run as run_recipe

    print_results(run_recipe(recipe, announce=say))


def sweep(recipe: SweepRecipe) -> None:
    """Try settings of a recipe, and compare the arms at their best.

    Every arm is trained with each choice; the best is chosen in three ways.
    """
    from elusive.experiments.sweep import sweep as run_sweep
    from elusive.reporting.sweeps import sweep_markdown
    from elusive.runs.files import write_text
    from elusive.runs.folder import RunFolder

    swept = run_sweep(recipe, announce=say)
    text = sweep_markdown(swept, recipe.sweep.metric)
    write_text(swept.folder / "sweep.md", text)
    print_markdown(text)
    say(f"Every trial: {RunFolder(swept.folder).trials.resolve()}")


def pretrain(settings: PretrainSettings) -> None:
    """Pretrain a tokenizer and a tiny model from scratch, from a recipe.

    The text is about fictional people.
    """
    from elusive.runs.progress import shown
    from elusive.training.pretraining import pretrain as pretrain_model

    with shown(f"pretrain {settings.output}") as progress:
        folder = pretrain_model(settings, progress=progress)
    say(f"{folder}: pretrained")


_HELP = """\
usage: elusive {verb} RECIPE [--output FOLDER] [--set KEY=VALUE ...]

{doc}

RECIPE is a TOML file with settings; what it leaves out has a default.

  --output FOLDER   where the results go, in place of the recipe's `output`
  --set KEY=VALUE   another value for a setting; several may follow one --set
  -h, --help        this page

VALUE is TOML: 1e-4, true, [0, 1], "text"; a bare word is text, too. Lists need
quotes for the shell, and so does text that looks like a number ('title="7"'):

{examples}

Settings by section (`elusive settings SECTION` explains them):

{overview}"""

_EXAMPLES = {
    "run": [
        "elusive run recipes/demo.toml --set train.learning_rate=1e-4 corpus.people=50",
        "elusive run my.toml --set 'arms=[\"plain\", \"contrast-cues\"]' 'seeds=[0, 1, 2]'",
    ],
    "sweep": [
        "elusive sweep recipes/sweep.toml --set train.max_steps=100 'arms=[\"plain\"]'",
        "elusive sweep my.toml --set 'sweep.grid.\"train.learning_rate\"=[5e-4, 1e-3]'",
    ],
    "pretrain": ["elusive pretrain recipes/embedded-small.toml --output tiny --set layers=1"],
}


class _Parser(argparse.ArgumentParser):
    """argparse, with errors of this package."""

    def error(self, message: str) -> NoReturn:
        raise ElusiveError(f"{message[:1].upper()}{message[1:]}. `{self.prog} --help` shows how it is called.")


def help_page(verb: str, doc: str, kind: type) -> str:
    """What `elusive VERB --help` prints for a verb that takes a recipe."""
    examples = "\n".join(f"  {example}" for example in _EXAMPLES[verb])
    return _HELP.format(verb=verb, doc=doc, examples=examples, overview=overview(describe(kind)))


def recipe_from(verb: str, kind: type, arguments: Sequence[str]) -> Any:
    """The settings that the command line of a verb means: those of its recipe, and what --output and --set change.

    Args:
        verb: run, sweep or pretrain.
        kind: the dataclass that the recipe describes.
        arguments: what stands after the verb.

    Raises:
        ElusiveError: if the recipe is missing, a flag is unknown, or a setting is refused.
    """
    parser = _Parser(prog=f"elusive {verb}", add_help=False, allow_abbrev=False)
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("--output")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    parsed, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        settings = {setting.path: setting for section in describe(kind) for setting in section.settings}
        _refuse(verb, parsed.recipe, unknown, settings)
    if parsed.recipe is None:
        given = [one for one in parsed.set if "=" not in one]
        hint = f" It comes first: elusive {verb} {given[-1]} --set ..." if given else ""
        raise ElusiveError(f"Expected a recipe: elusive {verb} RECIPE.toml [--set KEY=VALUE ...].{hint}")
    settings = load_recipe(parsed.recipe, kind, parsed.set)
    return settings if parsed.output is None else dataclasses.replace(settings, output=parsed.output)


def _refuse(verb: str, recipe: str | None, unknown: list[str], settings: dict[str, Setting]) -> NoReturn:
    """Stop at flags that are unknown; those that name a setting are shown as --set takes them."""
    if not unknown[0].startswith("-"):
        raise ElusiveError(f"`elusive {verb}` takes one recipe, got {unknown[0]!r} too. Settings are changed by --set.")
    assignments = []
    for flag, values in _flags(unknown):
        name = flag.lstrip("-").replace("-", "_")
        section, _, key = name.rpartition(".")
        if name not in settings and key.startswith("no_"):
            name, values = f"{section}.{key[3:]}".lstrip("."), ["false"]
        # The setting of another section or version: the recipe says what is wrong with it.
        if name not in settings and not section:
            near = difflib.get_close_matches(flag, ("--output", "--set", "--help"), n=1)
            hint = f" Did you mean {near[0]}?" if near else " `elusive settings` lists the keys."
            raise ElusiveError(f"Unknown flag {flag}. `elusive {verb}` takes --output and --set KEY=VALUE.{hint}")
        assignments.append(shlex.quote(f"{name}={_as_toml(values, settings.get(name))}"))
    command = f"elusive {verb} {recipe or 'RECIPE.toml'} --set {' '.join(assignments)}"
    raise ElusiveError(f"Settings have no flags of their own (got {unknown[0]}). Write: {command}")


def _flags(arguments: list[str]) -> list[tuple[str, list[str]]]:
    """Each flag and the values after it."""
    found: list[tuple[str, list[str]]] = []
    for argument in arguments:
        if argument.startswith("--"):
            flag, equals, value = argument.partition("=")
            found.append((flag, [value] if equals else []))
        else:
            found[-1][1].append(argument)
    return found


def _as_toml(values: list[str], setting: Setting | None) -> str:
    """The values of a flag as --set takes them."""
    if (setting is not None and setting.is_list) or len(values) > 1:
        return inline([_json(value) for value in values])
    return inline(table) if values and isinstance(table := _json(values[0]), dict) else "".join(values) or "true"


def _json(value: str) -> Any:
    """A number or table; else the text itself."""
    try:
        return json.loads(value)
    except ValueError:
        return value
