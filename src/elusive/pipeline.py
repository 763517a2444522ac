"""One run, left to right: corpus, scores, augmented texts, trained models, answers, report.

Each stage reads what the stage before it wrote in the run folder and is skipped where it is done, so a run that was
stopped goes on where it was.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from elusive import __version__
from elusive.config.run import Recipe
from elusive.config.toml import dump_recipe
from elusive.corpus.documents import Corpus
from elusive.corpus.stage import summary_lines
from elusive.experiments.jobs import jobs_in_words, train_and_evaluate
from elusive.experiments.needs import needed_scores
from elusive.experiments.stages import augment_for, corpus_of, evaluation_in_words
from elusive.experiments.trials import Trial, trials_of
from elusive.reporting import write_report
from elusive.runs.files import file_hash, read_json, write_json, write_text
from elusive.runs.folder import RunFolder
from elusive.runs.lock import locked
from elusive.runs.progress import shown
from elusive.runs.terminal import say
from elusive.runs.versions import versions
from elusive.scoring.sets import ScoreSet
from elusive.scoring.stage import score_sets
from elusive.training.arguments import check_arguments

Announce = Callable[[str], None]


def run(recipe: Recipe, *, announce: Announce = say) -> Path:
    """Run a recipe from its corpus to its report, doing only what its folder does not hold yet.

    Args:
        recipe: what to do, and in which folder.
        announce: told of each stage, in words.

    Returns:
        The report's page.

    Raises:
        ElusiveError: on bad input, or if the folder holds results of other settings or another command uses it.
    """
    check_arguments(recipe.train.training_arguments)  # better now than after hours of scoring
    folder, trials = RunFolder(Path(recipe.output)), trials_of(recipe)
    folder.refuse_old()
    with locked(folder.path):
        return _run(recipe, folder, trials, announce)


def _run(recipe: Recipe, folder: RunFolder, trials: list[Trial], announce: Announce) -> Path:
    if not folder.recipe.exists():
        write_text(folder.recipe, dump_recipe(recipe))
    announce(f"1/6 corpus: {recipe.corpus.source}")
    corpus = corpus_of(recipe, trials, folder)
    for line in (*summary_lines(folder.corpus), *evaluation_in_words(corpus, recipe, folder)):
        announce(f"    {line}")
    needed = needed_scores(recipe, corpus.documents)
    announce(f"2/6 score: attention of {' and '.join(_scored_models(recipe, needed))}")
    score_folders = _score(recipe, corpus, folder, needed)
    announce(f"3/6 augment: {', '.join(recipe.arms)}")
    for trial in trials[1:]:
        made = augment_for(trial, corpus, score_folders, folder)
        if made.rewrites:
            announce(f"    {trial.label}: {made.rewrites.in_words()}")
        if warning := made.warning(trial.label):
            announce(f"    {warning}")
    announce(f"4/6 train and 5/6 evaluate: {recipe.train.method}, {jobs_in_words(recipe, trials)}")
    train_and_evaluate(recipe, corpus, folder, trials)
    announce("6/6 report")
    return _report(recipe, folder)


def _report(recipe: Recipe, folder: RunFolder) -> Path:
    """Write the report, unless it stands there already, made of the same files."""
    # Only now is it certain that no stage refuses these settings.
    write_text(folder.recipe, dump_recipe(recipe))
    made_of = {"elusive": __version__, "files": file_hash(*folder.report_sources())}
    page, mark = folder.report / "index.html", folder.report / "done.json"
    if not (page.exists() and mark.exists() and read_json(mark) == made_of):
        write_json(folder.versions, versions())
        with shown("report") as progress:
            write_report(folder.path, recipe.report, progress=progress)
        write_json(mark, made_of)
    return page


def _scored_models(recipe: Recipe, needed: Sequence[ScoreSet]) -> list[str]:
    """The names of the models whose attention is read, each once: of an arm that contrasts nothing, that is one."""
    models = recipe.models.by_role()
    return list(dict.fromkeys(models[one.model].name for one in needed))


def _score(recipe: Recipe, corpus: Corpus, folder: RunFolder, needed: Sequence[ScoreSet]) -> dict[ScoreSet, Path]:
    return score_sets(
        corpus.documents,
        folder.scores_folder(),
        needed,
        models=recipe.models.by_role(),
        settings=recipe.score,
        field_documents=recipe.report.cue_documents,
    )
