"""The verbs of the command line. `elusive --help` reads this table alone, so it imports nothing of the method."""

from collections.abc import Callable
from typing import NamedTuple


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
    together: bool = False
    """Whether several processes can be launched for it, e.g. by torchrun: they share its work."""


EVERYDAY = "Everyday"
STAGES = "One stage at a time"
RESEARCH = "Research"

VERBS = {
    "run": Verb(
        EVERYDAY,
        "Run a recipe: corpus, scores, copies, trained models, report.",
        "recipes:run",
        recipe="elusive.config.run:Recipe",
    ),
    "settings": Verb(EVERYDAY, "Show the settings of a recipe: values, defaults, meaning.", "settings:settings"),
    "generate": Verb(EVERYDAY, "Write a corpus folder: fictional people, or a source of yours.", "stages:generate"),
    "questions": Verb(EVERYDAY, "Write closed-book questions about a corpus, and check them.", "documents:questions"),
    "report": Verb(EVERYDAY, "Write the tables, plots and page of a run folder.", "stages:report"),
    "merge": Verb(EVERYDAY, "Write a model with its adapters merged into it.", "stages:merge"),
    "export": Verb(EVERYDAY, "Write one arm's texts as a data set for other trainers.", "stages:export"),
    "score": Verb(
        STAGES, "Score tokens by the attention that they receive, or by entropy.", "stages:score", together=True
    ),
    "augment": Verb(STAGES, "Write one arm's texts: originals and copies with dropped tokens.", "stages:augment"),
    "train": Verb(STAGES, "Continue a model's pretraining on one arm's texts.", "stages:train", together=True),
    "evaluate": Verb(STAGES, "Evaluate a model on closed-book questions: exact match and F1.", "stages:evaluate"),
    "recall": Verb(
        RESEARCH, "Measure how well a pair of models finds clues, before training.", "research:recall", together=True
    ),
    "heads": Verb(RESEARCH, "Choose a pair's layers and heads by their clue recall.", "research:heads", together=True),
    "sweep": Verb(
        RESEARCH,
        "Try settings of a recipe, and compare the arms at their best.",
        "recipes:sweep",
        recipe="elusive.config.verbs:SweepRecipe",
    ),
    "reproduce": Verb(RESEARCH, "Reproduce the paper's tables and figures.", "research:reproduce"),
    "pretrain": Verb(
        RESEARCH,
        "Pretrain a tokenizer and a tiny model from scratch, from a recipe.",
        "recipes:pretrain",
        recipe="elusive.config.verbs:PretrainSettings",
    ),
}


def introduction(function: Callable[..., None]) -> str:
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
    lines += [
        "",
        "  elusive run recipes/demo.toml    to begin with",
        "  elusive VERB --help              what a verb takes",
        "  elusive --version",
    ]
    return "\n".join(lines)
