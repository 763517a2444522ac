"""Sweeps: the arms of a recipe trained with each choice of settings, side by side, every trial kept."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from elusive.config.toml import dump_recipe, setting_of, to_table
from elusive.config.verbs import SweepRecipe
from elusive.corpus.documents import Corpus
from elusive.corpus.stage import summary_lines
from elusive.errors import ElusiveError
from elusive.evaluation.known import known_questions
from elusive.evaluation.predictions import Questions
from elusive.evaluation.prompts import prompting_of, prompting_of_known
from elusive.evaluation.stage import questions_identity
from elusive.runs.files import read_json, write_json, write_jsonl, write_text
from elusive.runs.folder import RunFolder, known_answers
from elusive.runs.lock import locked
from elusive.runs.stage import Stage, stage_settings
from elusive.runs.terminal import say
from elusive.runs.versions import versions
from elusive.scoring.sets import ScoreSet
from elusive.scoring.stage import score_sets
from elusive.training.arguments import check_arguments

from .jobs import has_weights, jobs_in_words, jobs_of, train_and_evaluate
from .needs import checked_scores, scores_of_arm
from .selection import Choice, Outcome, choices, pooled, questions_of, read_outcomes
from .stages import augment_for, corpus_of, evaluation_in_words
from .trials import UNTRAINED, Trial, grid_trials

Announce = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Swept:
    """A finished sweep.

    Attributes:
        recipe: what was asked for.
        folder: where it lies; trials.jsonl in it has a row for each trial, seed and epoch that was evaluated.
        trials: what was trained, and the untrained model.
        asked: its questions.
        outcomes: the answers of each trial, after each epoch that was evaluated.
    """

    recipe: SweepRecipe
    folder: Path
    trials: list[Trial]
    asked: Questions
    outcomes: list[Outcome]

    def choices(self, metric: str) -> dict[str, dict[str, Choice]]:
        """For each way of choosing settings, what each arm gets (see choosing.choices)."""
        equal = equal_settings(self.recipe, self.trials)
        return choices(self.outcomes, [self.asked], metric, equal=[] if equal is None else [equal])


def sweep(recipe: SweepRecipe, *, announce: Announce = say) -> Swept:
    """Try settings, doing only what the folder does not hold yet; it can be continued with more values and arms.

    Args:
        recipe: a run's recipe with the settings to be tried.
        announce: told of each stage, in words.

    Raises:
        ElusiveError: on bad input, settings that cannot be swept, a corpus without questions, or if the folder holds
            results of other settings or another command uses it.
    """
    trials = grid_trials(recipe)  # refuses what cannot be swept, whatever the search
    if recipe.sweep.search == "tpe":
        from .search import check_search

        check_search(recipe)
    equal_settings(recipe, trials)
    for trial in trials:
        check_arguments(trial.recipe.train.training_arguments)
    run = RunFolder(Path(recipe.output))
    run.refuse_old()
    with locked(run.path):
        return _sweep(recipe, trials, run, announce)


def _sweep(recipe: SweepRecipe, trials: list[Trial], run: RunFolder, announce: Announce) -> Swept:
    if not run.sweep_recipe.exists():
        write_text(run.sweep_recipe, dump_recipe(recipe))
    announce(f"corpus: {recipe.corpus.source}")
    corpus = corpus_of(recipe, trials, run)
    for line in summary_lines(run.corpus):
        announce(f"    {line}")
    if not corpus.questions:
        raise ElusiveError(
            "A sweep expects a corpus with questions to choose settings by, got one without any. Give corpus.questions "
            f"and another output folder (or delete {run.path})."
        )
    for line in evaluation_in_words(corpus, recipe, run):
        announce(f"    {line}")
    asked = questions_of(run)
    if recipe.sweep.search == "tpe":
        trials = _searched(recipe, corpus, run, asked, announce)
    else:
        run_trials(recipe, trials, corpus, run, announce)
    outcomes = read_outcomes([run], [trials], [asked])
    # Only now is it certain that no stage refuses these settings.
    write_text(run.sweep_recipe, dump_recipe(recipe))
    write_json(run.versions, versions())
    write_jsonl(run.trials, trial_rows(run, trials, asked, outcomes))
    return Swept(recipe, run.path, trials, asked, outcomes)


def equal_settings(recipe: SweepRecipe, trials: Sequence[Trial]) -> dict[str, Any] | None:
    """Settings at which all arms are compared: those of sweep.equal, of all others that are tried the recipe's own.

    Returns:
        The settings by dotted name; None if some arm was not tried with them.

    Raises:
        ElusiveError: if sweep.equal names a setting or value that is not tried.
    """
    tried: dict[str, list[Any]] = {}
    for trial in trials:
        for key, value in trial.chosen:
            tried.setdefault(key, []).append(value)
    for key, value in recipe.sweep.equal.items():
        if value not in [*tried.get(key, []), *recipe.sweep.grid.get(key, [])]:
            raise ElusiveError(
                f"sweep.equal: expected values that are tried, got {value!r} for {key!r}. Add it to sweep.grid."
            )
    own = to_table(recipe)
    settings = {key: setting_of(own, key) for key in tried}
    settings |= recipe.sweep.equal
    for arm in dict.fromkeys(trial.arm for trial in trials):
        if not any(_has(trial, settings) for trial in trials if trial.arm == arm):
            if recipe.sweep.equal:
                raise ElusiveError(f"sweep.equal: expected settings that {arm} is tried with, got {settings!r}.")
            return None
    return settings


def _has(trial: Trial, settings: dict[str, Any]) -> bool:
    return all(value == settings[key] for key, value in trial.chosen)


def run_trials(
    recipe: SweepRecipe, trials: Sequence[Trial], corpus: Corpus, run: RunFolder, announce: Announce
) -> None:
    """Score, augment, train and ask for all that the trials need and the folder does not hold yet."""
    trained = [trial for trial in trials if trial.arm != UNTRAINED]
    for name in dict.fromkeys(trial.score_settings for trial in trained):
        alike = [trial for trial in trained if trial.score_settings == name]
        score_folders = _score(alike, corpus, run.scores_folder(name))
        for trial in {(trial.arm, trial.texts): trial for trial in alike}.values():
            if warning := augment_for(trial, corpus, score_folders, run).warning(trial.label):
                announce(f"    {warning}")
    for trial in trained:
        _refuse_questions_to_no_weights(trial, corpus, run)
    jobs = jobs_of((trial, seed) for trial in trained for seed in trial.seeds)
    before = sum(all((one.model_folder(run, job.seed) / "done.json").exists() for one in job.trials) for job in jobs)
    announce(
        f"train and evaluate: {jobs_in_words(recipe, trials)}"
        + (f", {before} of them trained before" if before else "")
    )
    # What was begun comes first: other settings are refused before anything is trained with them.
    begun = sorted(trials, key=lambda trial: not _is_begun(trial, run))
    train_and_evaluate(recipe, corpus, run, begun, weights=recipe.sweep.keep == "all")


def _is_begun(trial: Trial, run: RunFolder) -> bool:
    places = [trial.answers_folder, *([] if trial.arm == UNTRAINED else [trial.model_folder])]
    return any((place(run, seed) / "settings.json").exists() for place in places for seed in trial.seeds)


def _refuse_questions_to_no_weights(trial: Trial, corpus: Corpus, run: RunFolder) -> None:
    """Refuse to ask a model something else, or more, whose weights were not kept (sweep.keep)."""
    for seed in trial.seeds:
        learned, answers = trial.model_folder(run, seed), trial.answers_folder(run, seed)
        if not (learned / "done.json").exists() or has_weights(learned):
            continue
        settings = trial.recipe.evaluate
        known = known_questions(settings.known, trial.recipe.trained.name)
        prompting = prompting_of(corpus.questions, settings, run.questions)
        of_known = prompting_of_known(known, prompting.examples, corpus.questions, settings) if known else prompting
        for place, items, how in (
            (answers, corpus.questions, prompting),
            (known_answers(answers), known, of_known),
        ):
            if items and not (place / "done.json").exists():
                raise ElusiveError(
                    f"{place}: expected answers, got none, and nothing can be asked any more: the weights of "
                    f'{trial.label} were not kept (sweep.keep = "answers"). Leave evaluate.known as it was, or give '
                    "another output folder."
                )
            if items:
                asked = stage_settings(place)
                Stage(place, asked | questions_identity(items, *how)).check()


def _score(alike: Sequence[Trial], corpus: Corpus, folder: Path) -> dict[ScoreSet, Path]:
    """The scores of all trials whose attention is read alike."""
    recipe = alike[0].recipe
    needed = [one for trial in alike for one in scores_of_arm(trial.arm, trial.recipe)]
    return score_sets(
        corpus.documents,
        folder,
        checked_scores(needed, recipe, corpus.documents),
        models=recipe.models.by_role(),
        settings=recipe.score,
    )


def _searched(recipe: SweepRecipe, corpus: Corpus, run: RunFolder, asked: Questions, announce: Announce) -> list[Trial]:
    """Trials that a TPE search chose: in each round one for each arm, trained side by side."""
    from .search import next_trial, searched_arms

    done: dict[str, list[tuple[Trial, float]]] = {arm: [] for arm in searched_arms(recipe)}
    fixed = [trial for trial in grid_trials(recipe) if trial.arm not in done]
    for number in range(recipe.sweep.trials):
        announce(f"round {number + 1} of {recipe.sweep.trials}")
        fresh = [next_trial(recipe, arm, before) for arm, before in done.items()]
        run_trials(recipe, [*fixed, *fresh], corpus, run, announce)
        for trial in fresh:
            outcomes = read_outcomes([run], [[trial]], [asked])
            best = max(pooled(outcome, recipe.sweep.metric) for outcome in outcomes)
            done[trial.arm].append((trial, best))
            announce(f"    {trial.label}: {recipe.sweep.metric.upper()} {best:.3f}")
    tried = {(trial.arm, trial.name): trial for before in done.values() for trial, _ in before}
    return [*fixed, *tried.values()]


def trial_rows(
    run: RunFolder, trials: Sequence[Trial], asked: Questions, outcomes: Sequence[Outcome]
) -> list[dict[str, Any]]:
    """A row for each trial, seed and epoch that was evaluated: its settings, what it took, EM and F1 by field."""
    by_name = {(trial.arm, trial.name): trial for trial in trials}
    rows = []
    for outcome in outcomes:
        trial = by_name[outcome.arm, outcome.name]
        for place, seed in enumerate(trial.seeds):
            scores = {metric: outcome.cohorts[0].of(metric)[place] for metric in ("em", "f1")}
            rows.append(
                {
                    "arm": trial.arm,
                    "trial": trial.name,
                    "settings": dict(trial.chosen),
                    "seed": seed,
                    "epoch": outcome.epoch,
                    **{metric: float(values.mean()) for metric, values in scores.items()},
                    "fields": {
                        field: {
                            metric: float(values[asked.fields == field].mean()) for metric, values in scores.items()
                        }
                        for field in dict.fromkeys(asked.fields.tolist())
                    },
                    **_took(run, trial, seed),
                }
            )
    return rows


def _took(run: RunFolder, trial: Trial, seed: int) -> dict[str, Any]:
    """What the whole training of a trial took, and how much its texts lost."""
    if trial.arm == UNTRAINED:
        return {}
    done = read_json(trial.model_folder(run, seed) / "done.json")
    dropped = read_json(trial.texts_folder(run) / "done.json")["mean_drop_rate"]
    return {"mean_drop_rate": dropped, **{key: done[key] for key in ("steps", "tokens_trained", "seconds")}}
