"""The command line: which verb is meant, and how it ends. Each verb is imported when it is called (see table.py)."""

import contextlib
import errno
import functools
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from elusive import __version__
from elusive.errors import ElusiveError
from elusive.messages import of_a_screen
from elusive.models import processes
from elusive.runs.stopping import CODE, Stopped, stopped_by_sigterm
from elusive.runs.terminal import answer, discard_output, is_json, output_is_closed, printing, say, waiting, warn

from .table import OUTPUT_FLAGS, VERBS, Verb, introduction, usage

_PIPE_CLOSED = 141  # what a shell says of a process that SIGPIPE ended


_OF_A_PATH = frozenset(
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS", "ENOENT", "ENOTDIR", "EISDIR", "ENOTEMPTY", "ELOOP", "ENAMETOOLONG"),
        *("ENXIO", "ENODEV", "EIO", "ESTALE", "EMFILE"),
    )
)
"""What the system says of paths that cannot be read or written; the stages say more of those that they expect."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb.

    Bad input ends in a message and exit code 2, Ctrl-C in 130, SIGTERM in 143, and a closed pipe (`elusive ... |
    head -1`) in 141 without a word, as a shell's own tools end there.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    arguments = [one for one in given if one not in OUTPUT_FLAGS]
    verbose = "--verbose" in given
    if verbose:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "info")
    with printing(quiet="--quiet" in given, verbose=verbose, json="--json" in given):
        _main(arguments, verbose)


def _main(arguments: list[str], verbose: bool) -> None:
    verb = arguments[0] if arguments else ""
    # Before torch is loaded: by itself, GNU's OpenMP lets a waiting thread spin for so long that a step takes tens of
    # times as long where another process wants one of the cores.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    try:
        try:
            with stopped_by_sigterm():
                _dispatch(arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except ElusiveError as error:
        if verbose:
            warn(traceback.format_exc().rstrip())
        _stop(str(error), 2, verb)
    except KeyboardInterrupt:
        _stop("stopped; run the same command again to go on where it was", 130, verb)
    except Stopped:
        _stop("stopped by SIGTERM; run the same command again to go on where it was", CODE, verb)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and output_is_closed():
            discard_output()
            sys.exit(_PIPE_CLOSED)
        if _disk_is_full(error):
            _stop("The disk is full. Free some space and run the same command again; finished files are kept.", 2, verb)
        if not isinstance(error, OSError) or error.errno not in _OF_A_PATH:
            raise
        _stop(_about_path(error), 2, verb)


def _dispatch(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        say(usage())
    elif arguments[0] == "--version":
        say(__version__)
        _answer("", __version__)
    elif arguments[0] not in VERBS:
        raise ElusiveError(_unknown(arguments[0]))
    elif processes.count() > 1 and not VERBS[arguments[0]].together:
        together = ", ".join(name for name, verb in VERBS.items() if verb.together)
        raise ElusiveError(
            f"`elusive {arguments[0]}` expects one process, got {processes.count()}. Launched together, processes work "
            f"for {together} alone; `run` starts its own, one for each GPU or core."
        )
    else:
        _call(arguments[0], VERBS[arguments[0]], arguments[1:])


def _unknown(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, VERBS, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Verbs: {', '.join(VERBS)}."
    return f"Expected a verb, got '{name}'. {hint}"


def _call(name: str, verb: Verb, arguments: list[str]) -> None:
    """Call the function of a verb with its recipe, its words or its flags, and answer with what it returns."""
    function: Callable[..., Any] = _imported(verb.function, __package__)
    if verb.recipe:
        from .recipes import help_page, recipe_call

        kind: type = _imported(verb.recipe)
        if {"-h", "--help"} & set(arguments):
            say(help_page(name, introduction(function), kind))
            return
        call = recipe_call(name, kind, function, arguments)
    elif verb.words:
        call = functools.partial(function, arguments)
    else:
        from .flags import with_flags

        call = with_flags(function, arguments, f"elusive {name}")
    with waiting("loading torch and transformers ...") if verb.loads_torch else contextlib.nullcontext():
        result = call()
    _answer(name, result)


def _answer(verb: str, result: Any) -> None:
    """Print one JSON document, if that is wanted."""
    if is_json():
        _answer_with(verb, "result", result)


def _answer_with(verb: str, key: str, value: Any) -> None:
    import json

    from elusive.runs.typed_json import to_json

    document = {"elusive": __version__, "verb": verb, key: to_json(value)}
    answer(json.dumps(document, ensure_ascii=False, default=str))


def _imported(place: str, package: str | None = None) -> Any:
    """What stands at "module:name", the module in the package where one is given."""
    module, _, name = place.partition(":")
    return getattr(import_module(f".{module}" if package else module, package), name)


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an exception; safetensors and torch raise types of their own for it."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _about_path(error: OSError) -> str:
    """A message about a path that the system refused."""
    path = f"{error.filename}: " if error.filename is not None else ""
    return f"{path}{error.strerror}. Check that the path is right, and that you may read and write there."


def _stop(message: str, code: int, verb: str) -> None:
    # Processes that were launched together stop for the same reason, as a rule.
    process = "" if processes.is_main() else f", process {processes.rank()}"
    with contextlib.suppress(BrokenPipeError):
        warn(f"elusive{process}: {of_a_screen(message)}")
        if is_json():
            _answer_with(verb, "error", {"message": message, "exit_code": code})
    discard_output()
    sys.exit(code)
