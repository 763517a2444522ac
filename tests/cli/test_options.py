"""The list of options of every verb, frozen: `python tests/cli/test_options.py` writes it anew after a change."""

import contextlib
import io
import os
import re
from pathlib import Path

from elusive.cli import table
from elusive.cli.main import main
from elusive.config.describe import describe
from elusive.config.verbs import PretrainSettings, SweepRecipe

FROZEN = Path(__file__).with_name("options.txt")


def options(verb: str) -> list[str]:
    """What the help page of a verb names: positional arguments, and flags in their order."""
    page = io.StringIO()
    with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
        main([verb, "--help"])
    usage, _, rest = page.getvalue().partition("\n")
    positional = re.sub(r"^usage: elusive \w+|\[-[^]]*\]|\[OPTIONS\]", "", usage).split("  ")
    flags = re.findall(r"^(?:│|  ) ?((?:--?[a-z][\w.-]*(?:, )?)+)(?= |$)", rest, flags=re.MULTILINE)
    return [one.strip() for one in [*positional, *flags] if one.strip() not in ("", "-h, --help")]


def text() -> str:
    """The options of every verb, and the settings that `--set` takes."""
    parts = [f"elusive {verb}\n" + "".join(f"  {one}\n" for one in options(verb)) for verb in table.VERBS]
    for title, kind in (("run and sweep", SweepRecipe), ("pretrain", PretrainSettings)):
        paths = [setting.path for section in describe(kind) for setting in section.settings]
        parts.append(f"--set of {title}\n" + "".join(f"  {path}\n" for path in paths))
    return "\n".join(parts)


def test_options_are_those_of_the_list(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert text() == FROZEN.read_text(), "Options changed. On purpose? Then run python tests/cli/test_options.py."


if __name__ == "__main__":
    os.environ["COLUMNS"] = "80"
    FROZEN.write_text(text())
