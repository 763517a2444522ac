"""The verbs that take a recipe, and what the command line changes in it: `elusive run RECIPE --set KEY=VALUE ...`."""

import argparse
import dataclasses
import difflib
import functools
import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from elusive.config.describe import Setting, describe
from elusive.config.run import Recipe
from elusive.config.shipped import shipped_recipes
from elusive.config.toml import inline, load_recipe
from elusive.config.verbs import PretrainSettings, SweepRecipe
from elusive.errors import ElusiveError
from elusive.runs.terminal import note, say

from .printing import print_markdown, print_results
from .settings import overview
from .table import OUTPUT_FLAGS


def run(recipe: Recipe, *, plan: bool = False) -> Any:
    """Run a recipe: corpus, scores, copies, trained models, report."""
    if plan:
        return _planned(recipe)
    from elusive.pipeline import run as run_recipe

    return print_results(run_recipe(recipe, announce=note))


def _planned(recipe: Recipe) -> Any:
    from elusive.planning.recipes import plan_of

    plan = plan_of(recipe)
    say(plan.text())
    return plan


def demo(recipe: Recipe, *, plan: bool = False) -> Any:
    """Run everything on a tiny pair that ships with Elusive: minutes.

    The same as `elusive run demo`: 100 new fictional people, five arms.
    """
    return run(recipe, plan=plan)


def sweep(recipe: SweepRecipe) -> Any:
    """Try settings of a recipe, and compare the arms at their best.

    Every arm is trained with each choice; the best is chosen in three ways.
    """
    from elusive.experiments.sweep import sweep as run_sweep
    from elusive.reporting.sweeps import sweep_markdown
    from elusive.runs.files import write_text
    from elusive.runs.folder import RunFolder

    swept = run_sweep(recipe, announce=note)
    text = sweep_markdown(swept, recipe.sweep.metric)
    write_text(swept.folder / "sweep.md", text)
    print_markdown(text)
    trials = RunFolder(swept.folder).trials.resolve()
    say(f"Every trial: {trials}")
    return {"folder": swept.folder, "trials": trials, "choices": swept.choices(recipe.sweep.metric)}


def pretrain(settings: PretrainSettings) -> Any:
    """Pretrain a tokenizer and a tiny model from scratch, from a recipe.

    The text is about fictional people.
    """
    from elusive.runs.progress import shown
    from elusive.training.pretraining import pretrain as pretrain_model

    with shown(f"pretrain {settings.output}") as progress:
        folder = pretrain_model(settings, progress=progress)
    say(f"{folder}: pretrained")
    return {"folder": folder}


_HELP = """\
usage: elusive {verb}{recipe} [--output FOLDER] [--set KEY=VALUE ...]

{doc}
{about}
  --output FOLDER   where the results go, in place of the recipe's `output`
  --set KEY=VALUE   another value for a setting; several may follow one --set
{plan}  -h, --help        this page

Every verb takes {everywhere} too: `elusive --help`.

VALUE is TOML: 1e-4, true, [0, 1], "text"; a bare word is text, too. Lists need
quotes for the shell, and so does text that looks like a number ('title="7"'):

{examples}

Settings by section (`elusive settings SECTION` explains them):

{overview}"""

_RECIPE = """
RECIPE is a TOML file with settings; what it leaves out has a default. `elusive
init` writes one. These ship with Elusive, and go by their names:
{shipped}.
"""

_PLAN = "  --plan            print what it would take, and do nothing\n"

_EXAMPLES = {
    "demo": ["elusive demo --output small --set corpus.people=20 train.max_steps=100"],
    "run": [
        "elusive run demo --set train.learning_rate=1e-4 corpus.people=50",
        "elusive run my.toml --set 'arms=[\"plain\", \"contrast-cues\"]' 'seeds=[0, 1, 2]'",
    ],
    "sweep": [
        "elusive sweep sweep --set train.max_steps=100 'arms=[\"plain\"]'",
        "elusive sweep my.toml --set 'sweep.grid.\"train.learning_rate\"=[5e-4, 1e-3]'",
    ],
    "pretrain": ["elusive pretrain embedded-small --output tiny --set layers=1"],
}


class _Parser(argparse.ArgumentParser):
    """argparse, with errors of this package."""

    def error(self, message: str) -> NoReturn:
        raise ElusiveError(f"{message[:1].upper()}{message[1:]}. `{self.prog} --help` shows how it is called.")


def help_page(verb: str, doc: str, kind: type) -> str:
    """What `elusive VERB --help` prints for a verb that takes a recipe."""
    own = verb in _OWN_RECIPE
    return _HELP.format(
        verb=verb,
        recipe="" if own else " RECIPE",
        doc=doc,
        about="" if own else _RECIPE.format(shipped=", ".join(_shipped_for(verb))),
        plan=_PLAN if kind is Recipe else "",
        everywhere=", ".join(OUTPUT_FLAGS),
        examples="\n".join(f"  {example}" for example in _EXAMPLES[verb]),
        overview=overview(describe(kind)),
    )


RECIPE_FLAGS = ("--output", "--set")
"""Flags of every verb that takes a recipe."""

_OWN_RECIPE = ("demo",)
"""Verbs that need no recipe: the one of their name ships with the package."""


def _shipped_for(verb: str) -> list[str]:
    def is_for(name: str) -> bool:
        return verb == ("pretrain" if name.startswith("embedded-") else "sweep" if name == "sweep" else "run")

    return [name for name in shipped_recipes() if is_for(name)]


def recipe_call(verb: str, kind: type, function: Callable[..., Any], arguments: Sequence[str]) -> Callable[[], Any]:
    """The call of a verb's function with its recipe.

    Args:
        verb: run, demo, sweep or pretrain.
        kind: the dataclass that the recipe describes.
        function: the verb's.
        arguments: what stands after the verb.

    Raises:
        ElusiveError: if the recipe is missing, a flag is unknown, or a setting is refused.
    """
    plan = {"plan": True} if kind is Recipe and "--plan" in arguments else {}
    recipe = recipe_from(verb, kind, [one for one in arguments if not plan or one != "--plan"])
    return functools.partial(function, recipe, **plan)


def recipe_from(verb: str, kind: type, arguments: Sequence[str]) -> Any:
    """The settings that the command line of a verb means: those of its recipe, and what --output and --set change.

    Args:
        verb: run, demo, sweep or pretrain.
        kind: the dataclass that the recipe describes.
        arguments: what stands after the verb.

    Raises:
        ElusiveError: if the recipe is missing, a flag is unknown, or a setting is refused.
    """
    parser = _Parser(prog=f"elusive {verb}", add_help=False, allow_abbrev=False)
    if verb not in _OWN_RECIPE:
        parser.add_argument("recipe", nargs="?")
    parser.add_argument("--output")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    parsed, unknown = parser.parse_known_args(list(arguments))
    recipe = verb if verb in _OWN_RECIPE else parsed.recipe
    if unknown:
        settings = {setting.path: setting for section in describe(kind) for setting in section.settings}
        _refuse(verb, recipe, unknown, settings)
    if recipe is None:
        given = [one for one in parsed.set if "=" not in one]
        hint = f" It comes first: elusive {verb} {given[-1]} --set ..." if given else ""
        raise ElusiveError(f"Expected a recipe: elusive {verb} RECIPE.toml [--set KEY=VALUE ...].{hint}")
    settings = load_recipe(recipe, kind, parsed.set)
    return settings if parsed.output is None else dataclasses.replace(settings, output=parsed.output)


def _refuse(verb: str, recipe: str | None, unknown: list[str], settings: dict[str, Setting]) -> NoReturn:
    """Stop at flags that are unknown; those that name a setting are shown as --set takes them."""
    if not unknown[0].startswith("-"):
        takes = "no recipe" if verb in _OWN_RECIPE else "one recipe"
        raise ElusiveError(f"`elusive {verb}` takes {takes}, got {unknown[0]!r} too. Settings are changed by --set.")
    assignments = []
    for flag, values in _flags(unknown):
        name = flag.lstrip("-").replace("-", "_")
        section, _, key = name.rpartition(".")
        if name not in settings and key.startswith("no_"):
            name, values = f"{section}.{key[3:]}".lstrip("."), ["false"]
        # The setting of another section or version: the recipe says what is wrong with it.
        if name not in settings and not section:
            near = difflib.get_close_matches(flag, (*RECIPE_FLAGS, "--plan", "--help", *OUTPUT_FLAGS), n=1)
            hint = f" Did you mean {near[0]}?" if near else " `elusive settings` lists the keys."
            raise ElusiveError(f"Unknown flag {flag}. `elusive {verb}` takes --output and --set KEY=VALUE.{hint}")
        assignments.append(shlex.quote(f"{name}={_as_toml(values, settings.get(name))}"))
    named = verb if verb in _OWN_RECIPE else f"{verb} {recipe or 'RECIPE.toml'}"
    command = f"elusive {named} --set {' '.join(assignments)}"
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
