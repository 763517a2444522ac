"""The command line: which verb is meant, its flags (they derive from the settings' dataclasses), and how it ends."""

import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from elusive import __version__
from elusive.config.run import Recipe
from elusive.config.toml import load_recipe
from elusive.config.verbs import PretrainSettings, SweepRecipe
from elusive.errors import ElusiveError
from elusive.models import processes

from . import verbs

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


_VERBS: dict[str, Callable[..., None]] = {
    "run": verbs.run,
    "sweep": verbs.sweep,
    "reproduce": verbs.reproduce,
    "generate": verbs.generate,
    "pretrain": verbs.pretrain,
    "score": verbs.score,
    "recall": verbs.recall,
    "heads": verbs.heads,
    "augment": verbs.augment,
    "train": verbs.train,
    "evaluate": verbs.evaluate,
    "report": verbs.report,
    "export": verbs.export,
}


_TOGETHER = ("train", "score", "recall", "heads")
"""Verbs for processes that were launched together: sharing texts, or each layer's heads."""


_FROM_RECIPE = {"run": Recipe, "sweep": SweepRecipe, "pretrain": PretrainSettings}


def usage() -> str:
    """The verbs, one line each."""
    lines = [f"  {verb:10} {(function.__doc__ or '').splitlines()[0]}" for verb, function in _VERBS.items()]
    return (
        "usage: elusive VERB ...   (elusive VERB --help: its flags)\n\n"
        "Find the clues that language models overlook, and train on text that brings them out.\n\n"
        + "\n".join(lines)
        + "\n\nTry: elusive run recipes/demo.toml"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb; bad input ends in a message and exit code 2, Ctrl-C in 130."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Before torch is loaded: by itself, GNU's OpenMP lets a waiting thread spin for so long that a step takes tens of
    # times as long where another process wants one of the cores.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    try:
        _dispatch(arguments)
    except ElusiveError as error:
        _stop(str(error), 2)
    except KeyboardInterrupt:
        _stop("stopped; run the same command again to go on where it was", 130)
    except Exception as error:
        if not _disk_is_full(error):
            raise
        _stop("The disk is full. Free some space and run the same command again; finished files are kept.", 2)


def _dispatch(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
    elif arguments[0] == "--version":
        print(__version__)
    elif arguments[0] not in _VERBS:
        raise ElusiveError(f"Expected a verb ({', '.join(_VERBS)}), got '{arguments[0]}'.")
    elif processes.count() > 1 and arguments[0] not in _TOGETHER:
        raise ElusiveError(
            f"`elusive {arguments[0]}` expects one process, got {processes.count()}. Launched together, processes work "
            f"for {', '.join(_TOGETHER)} alone; `run` starts its own, one for each GPU or core."
        )
    elif arguments[0] in _FROM_RECIPE:
        _run_recipe(arguments[0], arguments[1:])
    else:
        with _FLAGS:
            tyro.cli(_VERBS[arguments[0]], args=arguments[1:], prog=f"elusive {arguments[0]}")


def _run_recipe(verb: str, arguments: list[str]) -> None:
    """`elusive run RECIPE [flags]`: the recipe gives the flags' defaults."""
    kind = _FROM_RECIPE[verb]
    description = f"{(_VERBS[verb].__doc__ or '').strip()}\n\nRECIPE is a TOML file; flags override what it says."
    with_recipe = bool(arguments) and not arguments[0].startswith("-")
    if not with_recipe and not {"-h", "--help"} & set(arguments):
        raise ElusiveError(f"Expected a recipe: elusive {verb} RECIPE.toml [flags].")
    with _FLAGS:
        settings = tyro.cli(
            kind,
            args=arguments[with_recipe:],
            default=load_recipe(arguments[0], kind) if with_recipe else kind(),
            prog=f"elusive {verb} {arguments[0] if with_recipe else 'RECIPE'}",
            description=description,
        )
    _VERBS[verb](settings)


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an exception; safetensors and torch raise types of their own for it."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _stop(message: str, code: int) -> None:
    # Processes that were launched together stop for the same reason, as a rule.
    process = "" if processes.is_main() else f", process {processes.rank()}"
    print(f"elusive{process}: {message}", file=sys.stderr)
    sys.exit(code)
