"""The data set card: README.md with the hub's YAML in front."""

import shlex
from typing import Any

from elusive import __version__
from elusive.augmentation.arms import arm_named
from elusive.augmentation.summary import AugmentedCorpus
from elusive.augmentation.survival import survival_words
from elusive.augmentation.wording import dropout_words
from elusive.config.augmentation import AugmentSettings
from elusive.config.run import Recipe
from elusive.config.toml import from_table, load_recipe
from elusive.config.verbs import ExportSettings
from elusive.errors import ElusiveError
from elusive.runs.folder import RunFolder
from elusive.runs.licences import licence_fields
from elusive.runs.publishing import CITATION, PAPER, code, fence_of, markdown, public_name
from elusive.runs.typed_json import from_json

from .base_model import BaseModel
from .sources import Source
from .splitting import RowCounts
from .trainers import environment

QUESTIONS = "questions.parquet"
"""The questions as a data set; a JSON reader of the harness's file would turn answers that are dates into dates."""
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
          (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"))  # fmt: skip


def dataset_card(
    source: Source,
    settings: ExportSettings,
    base: BaseModel,
    counts: RowCounts,
    *,
    title: str,
    max_length: int,
    task: str = "",
    questions: int = 0,
) -> str:
    """The text of README.md.

    Args:
        source: the texts.
        settings: licence, language, source.
        base: the model that the texts are meant for.
        counts: what was written.
        title: the data set's name.
        max_length: longest row in tokens.
        task: name of the task for lm-evaluation-harness, if there is one.
        questions: number of its questions.

    Raises:
        ElusiveError: if the title is empty.
    """
    if not title.strip():
        raise ElusiveError("--title: expected a name for the data set, got an empty one.")
    commands = _commands(source, settings)
    environment_ = environment()
    environment_.filters |= {"md": markdown, "code": code, "n": lambda value: f"{value:,}"}
    body = environment_.get_template("card.md.jinja").render(
        title=title,
        made=arm_named(source.arm).made,
        copies=arm_named(source.arm).copies and source.settings["augment"]["copies"],
        figures=source.figures,
        counts=counts,
        facts=_facts(source, settings, base, counts),
        licence=settings.licence.strip().lower(),
        base=base,
        max_length=max_length,
        task=task,
        questions=questions,
        replay=source.run is not None and bool(source.recipe.train.replay),
        moved_back=[name for name, off in (("l2_sp", 0), ("average", 1)) if getattr(source.recipe.train, name) != off],
        fresh=source.run is not None and source.recipe.train.copies == "fresh",
        commands=commands,
        fence=fence_of("\n".join(commands)),
        version=__version__,
        citation=CITATION,
        paper=PAPER,
    )
    return f"---\n{_front_matter(source, settings, base, counts, title, bool(task))}\n---\n\n{body}"


def _front_matter(
    source: Source, settings: ExportSettings, base: BaseModel, counts: RowCounts, title: str, questions: bool
) -> str:
    from huggingface_hub import DatasetCardData

    configs: list[dict[str, Any]] = [
        {"config_name": "default", "data_files": [{"split": "train", "path": "train.parquet"}]}
    ]
    if questions:
        configs.append({"config_name": "questions", "data_files": [{"split": "test", "path": QUESTIONS}]})
    return DatasetCardData(
        pretty_name=title,
        **licence_fields(settings.licence),
        language=list(settings.language) or None,
        size_categories=[size_category(counts.rows)],
        task_categories=["text-generation"],
        tags=["elusive", "knowledge-learning", "continual-pretraining", "token-dropout", source.arm],
        base_model=base.name if base.on_hub else None,
        configs=configs,
    ).to_yaml()


def size_category(rows: int) -> str:
    """The hub's size category.

    Example:
        >>> size_category(1100)
        '1K<n<10K'
    """
    return next((name for most, name in _SIZES if rows < most), "n>1B")


def _facts(source: Source, settings: ExportSettings, base: BaseModel, counts: RowCounts) -> list[tuple[str, str]]:
    """Rows of the card's table, escaped."""
    augment = from_table(AugmentSettings, source.settings["augment"], "settings.json")
    recipe, run, arm = source.recipe, source.run, arm_named(source.arm)
    made = from_json(AugmentedCorpus, source.figures, "done.json")
    facts = [
        ("source", markdown(source_name(source, settings))),
        ("licence", markdown(settings.licence)),
        ("arm", code(source.arm)),
        ("queries", code(str(source.settings["queries"]))),
    ]
    read = dict.fromkeys(map(public_name, source.settings.get("models", {}).values()))
    if arm.ranked:
        facts.append(("attention read of", " and ".join(map(code, read)) or "-"))
    facts += [
        ("to be trained", code(public_name(base.name)) + (f" at {code(base.revision)}" if base.revision else "")),
        ("dropout", markdown(dropout_words(augment))),
        ("copies of each document", f"{augment.copies if arm.copies else 0}, and the original"),
        ("mean drop rate of the copies", f"{made.mean_drop_rate:.4f}"),
        ("spans intact in the copies", markdown(survival_words(made.survival)) or "-"),
        ("never ranked and never dropped", " ".join(map(code, source.settings["excluded_tokens"])) or "-"),
        ("seed of the copies", str(augment.seed)),
    ]
    if run:
        facts += [("seed of the corpus", str(recipe.corpus.seed))] if recipe.corpus.source == "biographies" else []
        facts.append(("training seeds of the run", ", ".join(map(str, recipe.seeds))))
    return [
        *facts,
        ("documents", f"{source.figures['documents']:,}"),
        ("rows", f"{counts.rows:,}"),
        ("tokens, eos included", f"{counts.tokens:,}; the longest row has {counts.longest:,}"),
        ("Elusive", __version__),
    ]


def source_name(source: Source, settings: ExportSettings) -> str:
    """Where the texts come from, for the card."""
    if settings.source:
        return settings.source
    if not source.run:
        return "not given (--source)"
    return _corpus_name(source.recipe)


def source_of_run(run: RunFolder) -> str:
    """Where the texts of a run come from, for a card (empty: of a sweep it is not said)."""
    return _corpus_name(load_recipe(run.recipe, Recipe)) if run.recipe.exists() else ""


def _corpus_name(recipe: Recipe) -> str:
    corpus = recipe.corpus
    if corpus.source == "biographies":
        return f"{corpus.people} fictional people, generated by Elusive"
    return public_name(corpus.source)


def _commands(source: Source, settings: ExportSettings) -> list[str]:
    arm = shlex.quote(source.arm)
    licence = f" --licence {shlex.quote(settings.licence)}" if settings.licence != "unknown" else ""
    if source.run:
        return ["elusive run RECIPE --output RUN", f"elusive export RUN --arm {arm} --output FOLDER{licence}"]
    flags = _flags(from_table(AugmentSettings, source.settings["augment"], "settings.json"))
    return [
        f"elusive augment CORPUS --large SCORES --small SCORES --arm {arm} {flags} --output AUGMENTED",
        f"elusive export AUGMENTED --output FOLDER{licence}",
    ]


def _flags(settings: AugmentSettings) -> str:
    """The settings as flags of `elusive augment`: the four that say most, and all that are not the default."""
    words = []
    for name, value in vars(settings).items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif name in ("alpha", "beta", "copies", "seed") or value != getattr(AugmentSettings, name):
            values = value if isinstance(value, tuple) else [value]
            words += [flag, *(shlex.quote(str(one)) for one in values)]
    return " ".join(words)
