"""The verbs of the command line. `elusive --help` reads this table alone, so it imports nothing of the method."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Verb(NamedTuple):
    """One verb of the command line."""

    group: str
    """Heading below which `elusive --help` lists it."""
    summary: str
    """First line of its function's docstring (a test compares them)."""
    function: str
    """Where its function is: "module:name", the module in this folder."""
    recipe: str = ""
    """For a verb that takes a recipe: the dataclass that describes it, "module:name"."""
    words: bool = False
    """Its function takes the words that follow it as they are, `--help` too."""
    loads_torch: bool = False
    """Whether it runs a model, and so spends its first seconds on loading torch and transformers."""
    together: bool = False
    """Whether several processes can be launched for it, e.g. by torchrun: they share its work."""


OUTPUT_FLAGS = {
    "--quiet": "results, warnings and errors alone",
    "--verbose": "the libraries' messages and times too; of an error its traceback",
    "--json": "one JSON document on standard output; words go to standard error",
}
"""Flags that every verb takes, anywhere behind it."""

EVERYDAY = "Everyday"
STAGES = "One stage at a time"
RESEARCH = "Research"

_RECIPE = "elusive.config.run:Recipe"
_SWEEP = "elusive.config.verbs:SweepRecipe"
_PRETRAIN = "elusive.config.verbs:PretrainSettings"

VERBS = {
    "demo": Verb(
        EVERYDAY,
        "Run everything on a tiny pair that ships with Elusive: minutes.",
        "recipes:demo",
        recipe=_RECIPE,
        loads_torch=True,
    ),
    "init": Verb(EVERYDAY, "Write a commented recipe to begin with, for a pair of models.", "starting:init"),
    "run": Verb(
        EVERYDAY,
        "Run a recipe: corpus, scores, copies, trained models, report.",
        "recipes:run",
        recipe=_RECIPE,
        loads_torch=True,
    ),
    "settings": Verb(
        EVERYDAY, "Show the settings of a recipe: values, defaults, meaning.", "settings:settings", words=True
    ),
    "learn": Verb(
        EVERYDAY,
        "Learn documents: write questions, train, measure the gain.",
        "documents:learn",
        loads_torch=True,
    ),
    "questions": Verb(EVERYDAY, "Write closed-book questions about a corpus, and check them.", "documents:questions"),
    "report": Verb(EVERYDAY, "Write the tables, plots and page of a run folder.", "stages:report"),
    "merge": Verb(EVERYDAY, "Write a model with its adapters merged into it.", "stages:merge", loads_torch=True),
    "export": Verb(EVERYDAY, "Write one arm's texts, or a trained model, for others.", "stages:export"),
    "completion": Verb(EVERYDAY, "Print what makes a shell complete verbs, flags and settings.", "starting:completion"),
    "generate": Verb(STAGES, "Write a corpus folder: fictional people, or a source of yours.", "stages:generate"),
    "score": Verb(
        STAGES,
        "Score tokens by the attention that they receive, or by entropy.",
        "stages:score",
        loads_torch=True,
        together=True,
    ),
    "augment": Verb(STAGES, "Write one arm's texts: originals and copies with dropped tokens.", "stages:augment"),
    "train": Verb(
        STAGES,
        "Continue a model's pretraining on one arm's texts.",
        "stages:train",
        loads_torch=True,
        together=True,
    ),
    "evaluate": Verb(
        STAGES, "Evaluate a model on closed-book questions: exact match and F1.", "stages:evaluate", loads_torch=True
    ),
    "recall": Verb(
        RESEARCH,
        "Measure how well a pair of models finds clues, before training.",
        "research:recall",
        loads_torch=True,
        together=True,
    ),
    "heads": Verb(
        RESEARCH,
        "Choose a pair's layers and heads by their clue recall.",
        "research:heads",
        loads_torch=True,
        together=True,
    ),
    "sweep": Verb(
        RESEARCH,
        "Try settings of a recipe, and compare the arms at their best.",
        "recipes:sweep",
        recipe=_SWEEP,
        loads_torch=True,
    ),
    "reproduce": Verb(RESEARCH, "Reproduce the paper's tables and figures.", "research:reproduce", loads_torch=True),
    "pretrain": Verb(
        RESEARCH,
        "Pretrain a tokenizer and a tiny model from scratch, from a recipe.",
        "recipes:pretrain",
        recipe=_PRETRAIN,
        loads_torch=True,
    ),
}


def introduction(function: Callable[..., Any]) -> str:
    """The docstring of a verb's function up to its arguments."""
    import inspect

    return inspect.cleandoc(function.__doc__ or "").partition("\nArgs:")[0].strip()


def usage() -> str:
    """What `elusive --help` prints: the verbs in their groups."""
    lines = [
        "usage: elusive VERB ...",
        "",
        "Find the clues that language models overlook, and train on text that brings",
        "them out.",
    ]
    for group in (EVERYDAY, STAGES, RESEARCH):
        lines += ["", f"{group}:"]
        lines += [f"  {name:10} {verb.summary}" for name, verb in VERBS.items() if verb.group == group]
    lines += ["", "Every verb takes:", *(f"  {name:10} {words}" for name, words in OUTPUT_FLAGS.items())]
    lines += [
        "",
        "  elusive demo             to begin with; then elusive init",
        "  elusive VERB --help      what a verb takes",
        "  elusive --version",
    ]
    return "\n".join(lines)
