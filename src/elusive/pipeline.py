"""One run, left to right: corpus, scores, augmented texts, trained models, answers, report.

Each stage reads what the stage before it wrote in the run folder and is skipped where it is done, so a run that was
stopped goes on where it was.
"""

import functools
import itertools
import platform
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import torch

from . import __version__
from .arms import jobs_in_words, train_and_evaluate
from .augmentation import augment, write_augmented
from .config import Arm, AugmentSettings, ModelSettings, Queries, Recipe, ScoreSettings
from .corpora import make_corpus, summary_lines
from .documents import Corpus, Document
from .errors import ElusiveError
from .fitting import check_arguments
from .models import load_tokenizer
from .progress import shown
from .recipes import dump_recipe, to_table
from .reporting import write_report
from .runs import ProgressFunction, Stage, file_hash, read_json, silent, write_json, write_text
from .scoring import corpus_hash, load_for_scoring, score_corpus
from .shards import iterate_scores
from .training import model_to_train
from .trials import Trial, trials_of

Announce = Callable[[str], None]
NeededScores = tuple[str, Queries, str]
"""A model, at which queries it is read, and of which field alone (empty: all)."""
ModelToScore = tuple[str, str, tuple[int, ...], tuple[str, ...]]
"""A model's name and revision, and the layers and heads that are averaged."""


def run(recipe: Recipe, *, announce: Announce = print) -> Path:
    """Run a recipe from its corpus to its report, doing only what its folder does not hold yet.

    Args:
        recipe: what to do, and in which folder.
        announce: told of each stage, in words.

    Returns:
        The report's page.

    Raises:
        ElusiveError: on bad input, or if the folder holds results of other settings.
    """
    check_arguments(recipe.train.arguments)  # better now than after hours of scoring
    folder, trials = Path(recipe.output), trials_of(recipe)
    if not (folder / "recipe.toml").exists():
        write_text(folder / "recipe.toml", dump_recipe(recipe))
    announce(f"1/6 corpus: {recipe.corpus.source}")
    corpus = corpus_of(recipe, trials, folder)
    for line in summary_lines(folder / "corpus"):
        announce(f"    {line}")
    announce(f"2/6 score: attention of {recipe.models.large} and {recipe.models.small}")
    score_folders = _score(recipe, corpus, folder)
    announce(f"3/6 augment: {', '.join(recipe.arms)}")
    for trial in trials[1:]:
        augment_for(trial, corpus, score_folders, folder)
    announce(f"4/6 train and 5/6 evaluate: {recipe.train.method}, {jobs_in_words(recipe, trials)}")
    train_and_evaluate(recipe, corpus, folder, trials)
    announce("6/6 report")
    return _report(recipe, folder)


def corpus_of(recipe: Recipe, trials: Sequence[Trial], folder: Path) -> Corpus:
    """The corpus of a run or sweep, made or read back.

    Raises:
        ElusiveError: if questions are to be asked in training and it brings none.
    """
    _, trained, _ = model_to_train(recipe.models, recipe.train)
    corpus = make_corpus(recipe.corpus, folder / "corpus", tokenizer=trained)
    if any(trial.recipe.train.evaluate_at for trial in trials) and not corpus.questions:
        raise ElusiveError(
            "train.evaluate_at: expected a corpus with questions to ask, got one without any. Give corpus.questions."
        )
    return corpus


def _report(recipe: Recipe, folder: Path) -> Path:
    """Write the report, unless it stands there already, made of the same files."""
    # Only now is it certain that no stage refuses these settings.
    write_text(folder / "recipe.toml", dump_recipe(recipe))
    parts = ["recipe.toml", "corpus/*.jsonl", "scores/*/*.parquet", "augmented/*/*.*", "models/*/*/done.json"]
    parts += ["models/*/*/metrics.jsonl", "evaluation/*/*/*.*"]
    files = [path for part in parts for path in sorted(folder.glob(part)) if path.is_file()]
    made_of = {"elusive": __version__, "files": file_hash(*files)}
    page, mark = folder / "report" / "index.html", folder / "report" / "done.json"
    if not (page.exists() and mark.exists() and read_json(mark) == made_of):
        write_json(folder / "run.json", versions())
        with shown("report") as progress:
            write_report(folder, recipe.report, progress=progress)
        write_json(mark, made_of)
    return page


def versions() -> dict[str, Any]:
    """What a run was made with."""
    packages = ("torch", "transformers", "peft", "accelerate", "tokenizers", "numpy", "pyarrow")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "elusive": __version__,
        **{name: metadata.version(name) for name in packages},
    }


def needed_scores(recipe: Recipe, documents: Iterable[Document]) -> list[NeededScores]:
    """Which scores the arms and the report of a run need.

    Raises:
        ElusiveError: if cues are asked for and no document has an answer span.
    """
    trained, _, _ = model_to_train(recipe.models, recipe.train)
    needed: list[NeededScores] = [(trained, recipe.score.queries, "")]
    needed += [one for arm in recipe.arms for one in scores_of_arm(arm, recipe)]
    if field := cue_field(recipe, documents):
        needed += _of_pair("cues", field)
    return checked_scores(needed, recipe, documents)


def scores_of_arm(arm: str, recipe: Recipe) -> list[NeededScores]:
    """Which scores an arm's texts are made with; all but the contrast ones use the trained model's, for its tokens."""
    trained, _, _ = model_to_train(recipe.models, recipe.train)
    needed: list[NeededScores] = [(trained, recipe.score.queries, "")]
    if arm in ("contrast-all", "contrast-cues"):
        needed += _of_pair("all" if arm == "contrast-all" else "cues")
    return needed


def _of_pair(queries: Queries, field: str = "") -> list[NeededScores]:
    return [("large", queries, field), ("small", queries, field)]


def checked_scores(needed: Sequence[NeededScores], recipe: Recipe, documents: Iterable[Document]) -> list[NeededScores]:
    """Each score set once, model by model.

    Raises:
        ElusiveError: if cues are asked for and no document has an answer span.
    """
    asks_cues = [queries for _, queries, _ in needed if queries != "all"]
    heads = set(recipe.score.head_fields)
    if asks_cues and not any(span.field not in heads for document in documents for span in document.spans):
        raise ElusiveError(
            f"Queries '{asks_cues[0]}' read attention before marked answers, but no document has any span. "
            'Mark spans in the corpus (JSONL `spans`, tagged CSV or SQuAD), or set score.queries = "all" and use the '
            "arm contrast-all instead of contrast-cues."
        )
    # One model after the other, so that each is loaded once.
    models = [model for model, _, _ in needed]
    return sorted(dict.fromkeys(needed), key=lambda one: models.index(one[0]))


def cue_field(recipe: Recipe, documents: Iterable[Document]) -> str:
    """The field whose cue the report's rank bars look from: the one farthest from the head entity ("" if none)."""
    if recipe.report.cue_field:
        return recipe.report.cue_field
    heads = set(recipe.score.head_fields)
    starts: dict[str, list[int]] = {}
    for document in documents:
        head = [span.start for span in document.spans if span.field in heads]
        for span in document.spans if head else ():
            if span.field not in heads:
                starts.setdefault(span.field, []).append(span.start - min(head))
    return max(starts, key=lambda field: sum(starts[field]) / len(starts[field])) if starts else ""


def score_set_name(model: str, queries: str, field: str) -> str:
    """The folder of one score set: large-cues, small-all, large-cue-company."""
    return f"{model}-cue-{field}" if field else f"{model}-{queries}"


def _score(recipe: Recipe, corpus: Corpus, folder: Path) -> dict[str, Path]:
    return score_sets(
        corpus.documents,
        folder / "scores",
        needed_scores(recipe, corpus.documents),
        loading=recipe.models,
        settings=recipe.score,
        excluded_tokens=recipe.augment.excluded_tokens,
        others=other_models(recipe),
        field_documents=recipe.report.cue_documents,
    )


def other_models(recipe: Recipe) -> dict[str, ModelToScore]:
    """The model to be trained where it is neither large nor small; it is read at all heads."""
    trained, name, revision = model_to_train(recipe.models, recipe.train)
    return {} if trained in ("large", "small") else {trained: (name, revision, (), ())}


def score_sets(
    documents: Collection[Document],
    folder: str | Path,
    needed: Sequence[NeededScores],
    *,
    loading: ModelSettings,
    settings: ScoreSettings,
    excluded_tokens: Sequence[str],
    others: Mapping[str, ModelToScore] | None = None,
    field_documents: int | None = None,
    per_head: bool = False,
) -> dict[str, Path]:
    """Score a corpus with each model at each kind of query, doing only what the folder does not hold yet.

    Args:
        documents: the corpus.
        folder: RUN/scores; each score set gets a folder of its own, named by `score_set_name`.
        needed: (model, queries, field), model by model, so that each is loaded once.
        loading: what large and small are, and how they are loaded and read.
        settings: how attention is read out.
        excluded_tokens: strings that are never ranked, for score.renormalise.
        others: further models by name.
        field_documents: how many documents are read at a single field's cue (None: all).
        per_head: keep each head's scores.

    Returns:
        The folder of each score set by name.
    """
    models: dict[str, ModelToScore] = {
        "large": (loading.large, loading.large_revision, loading.large_layers, loading.large_heads),
        "small": (loading.small, loading.small_revision, loading.small_layers, loading.small_heads),
        **(others or {}),
    }
    made: dict[str, Path] = {}
    for model, wanted in itertools.groupby(needed, key=lambda one: one[0]):
        load = functools.cache(load_for_scoring)  # loaded once, and let go before the next model is loaded
        name, revision, layers, heads = models[model]
        for _, queries, field in wanted:
            score_set = score_set_name(model, queries, field)
            made[score_set] = Path(folder) / score_set
            with shown(f"score {score_set}") as progress:
                score_corpus(
                    list(itertools.islice(documents, field_documents)) if field else documents,
                    made[score_set],
                    model=name,
                    revision=revision,
                    dtype=loading.dtype,
                    quantization=loading.quantization,
                    device=loading.device,
                    queries=queries,
                    fields=(field,) if field else (),
                    layers=layers,
                    heads=heads,
                    per_head=per_head,
                    excluded_tokens=excluded_tokens,
                    settings=settings,
                    load=load,
                    progress=progress,
                )
    return made


def augment_for(trial: Trial, corpus: Corpus, score_folders: Mapping[str, Path], folder: Path) -> None:
    """Write a trial's training texts to RUN/augmented/, unless they are there.

    Args:
        trial: the arm and its settings.
        corpus: the corpus that was scored.
        score_folders: the folder of each score set by name.
        folder: RUN.
    """
    recipe = trial.recipe
    trained, model, revision = model_to_train(recipe.models, recipe.train)
    used = [score_set_name(*one) for one in scores_of_arm(trial.arm, recipe)]
    with shown(f"augment {trial.arm} {trial.texts}".rstrip()) as progress:
        augment_corpus(
            corpus.documents,
            trial.texts_folder(folder),
            cast(Arm, trial.arm),
            {name: score_folders[name] for name in used},
            trained=trained,
            tokenizer=load_tokenizer(model, revision),
            score=recipe.score,
            settings=recipe.augment,
            progress=progress,
        )


def augment_corpus(
    documents: Collection[Document],
    folder: str | Path,
    arm: Arm,
    score_folders: Mapping[str, Path],
    *,
    trained: str,
    tokenizer: Any,
    score: ScoreSettings,
    settings: AugmentSettings,
    progress: ProgressFunction = silent,
) -> dict[str, Any]:
    """Write one arm's training texts, unless they are there; corpus and scores are read as streams.

    Args:
        documents: the corpus that was scored.
        folder: RUN/augmented/ARM.
        arm: a key of dropout.ARMS.
        score_folders: what `score_corpus` wrote, by `<model>-<queries>`.
        trained: the model to be trained among them.
        tokenizer: its tokenizer.
        score: queries and head fields.
        settings: dropout.
        progress: called with (documents, of how many).

    Returns:
        documents, texts, mean_drop_rate.

    Raises:
        ElusiveError: if scores are missing, unfinished or of another corpus, or the folder was begun with other
            settings.
    """
    corpus = corpus_hash(documents)
    scored = {name: read_json(path / "settings.json") for name, path in score_folders.items()}
    for name, path in score_folders.items():
        if scored[name]["corpus"] != corpus:
            raise ElusiveError(f"{path} holds scores of another corpus. Score this one first.")
    asked = {
        "arm": arm,
        "augment": to_table(settings),
        "queries": score.queries,
        "trained": trained,
        "corpus": corpus,
        "models": {name: one["model"] for name, one in scored.items()},
        "scores": {name: file_hash(*sorted(path.glob("part-*.parquet"))) for name, path in score_folders.items()},
    }
    stage = Stage(folder, asked)
    if not stage.done:
        scores = {name: iterate_scores(path) for name, path in score_folders.items()}
        augmented = augment(
            documents,
            arm,
            scores,
            trained=trained,
            tokenizer=tokenizer,
            score=score,
            settings=settings,
            progress=progress,
        )
        stage.finish(write_augmented(stage.folder, augmented, arm, settings))
    return stage.summary
