"""Scripts that complete the command line in a shell: verbs, their flags, presets and the settings of --set."""

from importlib import import_module
from typing import Literal

from elusive.config.describe import describe
from elusive.config.shipped import shipped_recipes
from elusive.config.verbs import PretrainSettings, SweepRecipe
from elusive.planning.published import presets

from .flags import flags_of
from .recipes import RECIPE_FLAGS
from .table import OUTPUT_FLAGS, VERBS


def script(shell: Literal["bash", "zsh", "fish"]) -> str:
    """What a shell sources to complete `elusive`."""
    words = {verb: [*flags_of_verb(verb), *_words_of(verb)] for verb in VERBS}
    if shell == "fish":
        return _fish(words)
    cases = "\n".join(f'    {verb}) words="{" ".join(of_verb)}" ;;' for verb, of_verb in words.items())
    text = _BASH.format(verbs=" ".join(VERBS), cases=cases, settings=" ".join(f"{one}=" for one in _settings()))
    return _ZSH + text if shell == "zsh" else text


def flags_of_verb(verb: str) -> list[str]:
    """The flags that a verb takes, those of all verbs among them."""
    if VERBS[verb].recipe:
        own = [*RECIPE_FLAGS, *(["--plan"] if VERBS[verb].recipe.endswith(":Recipe") else [])]
    elif VERBS[verb].words:
        own = []
    else:
        module, _, name = VERBS[verb].function.partition(":")
        own = flags_of(getattr(import_module(f".{module}", __package__), name))
    return list(dict.fromkeys([*own, "--help", *OUTPUT_FLAGS]))


def _words_of(verb: str) -> list[str]:
    """What else may stand behind a verb."""
    if verb == "init":
        return [*presets(), *shipped_recipes()]
    if verb == "completion":
        return ["bash", "zsh", "fish"]
    if verb == "settings":
        return [section.name for section in describe(SweepRecipe) if section.name]
    return list(shipped_recipes()) if VERBS[verb].recipe and verb != "demo" else []


def _settings() -> list[str]:
    kinds = (SweepRecipe, PretrainSettings)
    return [setting.path for kind in kinds for section in describe(kind) for setting in section.settings]


def _fish(words: dict[str, list[str]]) -> str:
    lines = ["complete -c elusive -n __fish_use_subcommand -f"]
    lines += [
        f"complete -c elusive -n __fish_use_subcommand -a {name} -d {_quoted(verb.summary)}"
        for name, verb in VERBS.items()
    ]
    for verb, of_verb in words.items():
        behind = f"complete -c elusive -n '__fish_seen_subcommand_from {verb}'"
        lines += [f"{behind} -l {word[2:]}" if word.startswith("--") else f"{behind} -a {word}" for word in of_verb]
    settings = " ".join(f"{one}=" for one in _settings())
    lines.append(f"complete -c elusive -n 'contains -- --set (commandline -opc)' -f -a {_quoted(settings)}")
    return "\n".join(lines)


def _quoted(words: str) -> str:
    """Words in fish's quotes."""
    return "'" + words.replace("\\", "\\\\").replace("'", "\\'") + "'"


_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"

_BASH = """\
_elusive() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" word words="" settings=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{verbs} --help --version" -- "$current"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{cases}
  esac
  for word in "${{COMP_WORDS[@]:2:$((COMP_CWORD - 2))}}"; do
    case "$word" in
    --set) settings=1 ;;
    --*) settings="" ;;
    esac
  done
  if [ -n "$settings" ] && [ "${{current#-}}" = "$current" ]; then
    compopt -o nospace 2> /dev/null
    words="{settings}"
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current") $(compgen -f -- "$current"))
}}
complete -o filenames -F _elusive elusive"""
