"""The verbs that a newcomer begins with: a recipe to change, and completion for the shell."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tyro

from elusive.config.shipped import FOLDER, shipped_recipes
from elusive.errors import ElusiveError
from elusive.runs.terminal import say

from .flags import OptionalPath


def init(
    preset: tyro.conf.Positional[str] = "demo",
    file: tyro.conf.Positional[OptionalPath] = None,
    overwrite: bool = False,
) -> Any:
    """Write a commented recipe to begin with, for a pair of models.

    It says the sizes and licences of the two, and what a run will take.

    Args:
        preset: A pair for your own texts: smollm2, smollm3, qwen2.5, qwen3, gemma2, gemma3, llama3.1, llama3.2,
            pythia, olmo2. Or a recipe that ships with Elusive: demo, squad, sweep, embedded-large, embedded-small.
        file: The new recipe (PRESET.toml here).
        overwrite: Write it even where there is a file of that name.
    """
    from elusive.planning.published import presets
    from elusive.runs.files import write_text

    text = _text_of(preset, presets(), shipped_recipes())
    path = file or Path(f"{preset}.toml")
    if path.exists() and not overwrite:
        raise ElusiveError(f"{path} is there already, and was left as it is. Give another name, or add --overwrite.")
    write_text(path, text)
    verb = {"sweep": "sweep", "embedded-large": "pretrain", "embedded-small": "pretrain"}.get(preset, "run")
    say(f"{path}: written. Look it over, then:\n")
    if preset in presets():
        say(f"  elusive run {path} --plan    what it takes for your corpus")
    say(f"  elusive {verb} {path}")
    return {"recipe": path.resolve(), "preset": preset}


def _text_of(preset: str, pairs: Mapping[str, Any], shipped: Mapping[str, Path]) -> str:
    """The recipe, with its schema where editors find it: that of the installed package."""
    import difflib

    from elusive.planning.starting import recipe_text

    if preset in pairs:
        return f"#:schema {(FOLDER / 'recipe.schema.json').as_uri()}\n{recipe_text(preset, pairs[preset])}"
    if preset in shipped:
        name, _, rest = shipped[preset].read_text(encoding="utf-8").removeprefix("#:schema ").partition("\n")
        return f"#:schema {(FOLDER / name).as_uri()}\n{rest}"
    known = [*pairs, *shipped]
    near = difflib.get_close_matches(preset, known, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    raise ElusiveError(f"Expected a preset, got {preset!r}. {hint}Presets: {', '.join(known)}.")


def completion(shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]) -> Any:
    """Print what makes a shell complete verbs, flags and settings.

    bash: eval "$(elusive completion bash)" in ~/.bashrc.

    zsh: eval "$(elusive completion zsh)" in ~/.zshrc, behind compinit.

    fish: elusive completion fish > ~/.config/fish/completions/elusive.fish

    Args:
        shell: The shell.
    """
    from .completing import script

    text = script(shell)
    say(text)
    return {"shell": shell, "script": text}
