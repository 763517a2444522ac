"""An arm's texts as a data set for other trainers, and questions for lm-evaluation-harness.

A folder that `augment` wrote comes in. A folder that can be pushed to the hub goes out: the texts, a data set card,
stanzas and scripts for five trainers. It names no path of this machine, unless the base model is a local folder.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from elusive import __version__
from elusive.augmentation.rankings import RANKING, RankingFile
from elusive.config.evaluation import EvaluateSettings
from elusive.config.toml import to_table
from elusive.config.verbs import ExportSettings
from elusive.corpus.questions import read_questions
from elusive.errors import ElusiveError
from elusive.evaluation.prompts import prompting_of
from elusive.runs.files import ProgressFunction, silent, write_json, write_text
from elusive.runs.lock import locked
from elusive.runs.publishing import public_name

from .base_model import BaseModel, copy_embedded, load_base_model
from .card import QUESTIONS, dataset_card
from .earlier import MARK, earlier_files, remove_others
from .harness import harness_task, question_rows
from .sources import Source, base_model_of, find_source, training_settings
from .splitting import write_rows, write_table
from .trainers import plan, trainer_files


@dataclasses.dataclass(frozen=True)
class Exported:
    """An export that was written.

    Attributes:
        files: names of its files, sorted.
        rows: rows of train.jsonl.
        tokens: their tokens in the base model, special tokens and eos included.
        longest: tokens of the longest row.
        cut: texts that became several rows.
        licence: licence on the card.
        task: name of the task for lm-evaluation-harness ("" without questions).
    """

    files: tuple[str, ...]
    rows: int
    tokens: int
    longest: int
    cut: int
    licence: str
    task: str


def export(
    source: str | Path,
    output: str | Path,
    *,
    arm: str = "",
    questions: str | Path = "",
    settings: ExportSettings | None = None,
    progress: ProgressFunction = silent,
) -> Exported:
    """Export one arm's texts for other trainers.

    Args:
        source: a folder that `augment` wrote, or a run folder.
        output: the new folder; an earlier export of the same texts is overwritten.
        arm: which arm of a run.
        questions: JSONL of questions for lm-evaluation-harness; a run brings its own.
        settings: the card, the base model, the training.
        progress: called with (texts done, texts).

    Returns:
        What was written.

    Raises:
        ElusiveError: if the source is unfinished or lacks the arm, `output` holds something else, or the base model's
            tokenizer cannot be loaded or is not the one that the copies were made with, or another command uses it.
    """
    found, folder = find_source(source, arm), Path(output)
    earlier_files(folder, found.identity)  # refuses what is no folder for an export, before anything is written there
    with locked(folder):
        return _export(found, folder, questions, settings or ExportSettings(), progress)


def _export(
    found: Source, folder: Path, questions: str | Path, settings: ExportSettings, progress: ProgressFunction
) -> Exported:
    earlier = earlier_files(folder, found.identity)
    train = training_settings(found, settings)
    base = load_base_model(*base_model_of(found, settings))
    if not settings.base_model:
        _refuse_other_tokens(found, base)
    title = settings.title or _title(found)
    evaluate, rows = _evaluate_settings(found, settings), []
    if path := Path(questions) if questions else found.questions:
        items = read_questions(path)
        examples, evaluate = prompting_of(items, evaluate, path)
        rows = question_rows(items, examples, evaluate, base)
    record = {"made_by": f"elusive export {__version__}", "input": found.identity, "settings": _public(settings)}
    write_json(folder / MARK, record | {"files": sorted(earlier), "done": False})
    max_length = base.row_length(train)
    counts = write_rows(
        found.folder / "train.jsonl", folder, base.tokens_of, max_length, found.figures["texts"], progress
    )
    task = _task_name(title) if rows else ""
    texts = trainer_files(plan(base, train, found.recipe.trained.dtype, counts), _slug(title))
    texts["README.md"] = dataset_card(
        found, settings, base, counts, title=title, max_length=max_length, task=task, questions=len(rows)
    )
    if rows:
        texts |= harness_task(task, rows, evaluate, base)
        write_table(folder / QUESTIONS, pa.Table.from_pylist(rows))
    for name, text in texts.items():
        write_text(folder / name, text)
    written = {*texts, "train.jsonl", "train.parquet", *copy_embedded(base, folder), *([QUESTIONS] if rows else [])}
    remove_others(folder, earlier - written)
    done = Exported(tuple(sorted(written)), **vars(counts), licence=settings.licence, task=task)
    write_json(folder / MARK, record | dataclasses.asdict(done) | {"done": True})
    return done


def _refuse_other_tokens(source: Source, base: BaseModel) -> None:
    """Check that a base model that was not named is the one whose tokens were dropped."""
    ranked = next(RankingFile(source.folder / RANKING).documents(), None)
    if ranked and base.tokenizer(ranked.text, verbose=False)["input_ids"] != ranked.token_ids.tolist():
        raise ElusiveError(
            f"{source.folder} was not made with the tokens of {base.name}. Say with --base-model which model is to "
            "be trained on it: a folder or a hub name."
        )


def _evaluate_settings(source: Source, settings: ExportSettings) -> EvaluateSettings:
    """The run's settings of evaluation (the defaults without a run), overridden by the export's."""
    names = {"seed": "question_seed"} | {name: name for name in ("shots", "max_new_tokens", "draw", "example_fields")}
    given = {name: getattr(settings, of_export) for name, of_export in names.items()}
    told = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(
        source.recipe.evaluate, examples=settings.examples or source.recipe.evaluate.examples, **told
    )


def _public(settings: ExportSettings) -> dict[str, Any]:
    """The settings as they may be published, without paths of this machine."""
    paths = {name: public_name(getattr(settings, name)) for name in ("base_model", "examples", "source")}
    return to_table(settings) | {name: value for name, value in paths.items() if getattr(settings, name)}


def _title(source: Source) -> str:
    return f"{source.recipe.title} ({source.arm})" if source.run else f"Elusive texts ({source.arm})"


def _task_name(title: str) -> str:
    return "elusive_" + _slug(title).removeprefix("elusive_")


def _slug(title: str) -> str:
    """A name of letters, digits and underscores.

    Example:
        >>> _slug("Elusive demo: 100 people (contrast-cues)")
        'elusive_demo_100_people_contrast_cues'
    """
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_") or "texts"
