"""Sweeps: the arms of a recipe trained with each choice of settings, side by side, every trial kept."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .arms import jobs_in_words, train_and_evaluate
from .choosing import Asked, Choice, Outcome, choices, pooled, read_asked, read_outcomes
from .corpora import summary_lines
from .documents import Corpus
from .errors import ElusiveError
from .fitting import check_arguments
from .pipeline import augment_for, checked_scores, corpus_of, other_models, score_sets, scores_of_arm, versions
from .recipes import dump_recipe
from .runs import read_json, write_json, write_jsonl, write_text
from .trials import UNTRAINED, Trial, grid_trials
from .verb_config import SweepRecipe

Announce = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Swept:
    """A finished sweep.

    Attributes:
        folder: where it lies; trials.jsonl in it has a row for each trial, seed and pass that was asked after.
        trials: what was trained, and the untrained model.
        asked: its questions.
        outcomes: the answers of each trial, after each pass that was asked after.
    """

    folder: Path
    trials: list[Trial]
    asked: Asked
    outcomes: list[Outcome]

    def choices(self, metric: str) -> dict[str, dict[str, Choice]]:
        """For each way of choosing settings, what each arm gets (see choosing.choices)."""
        return choices(self.outcomes, [self.asked], metric)


def sweep(recipe: SweepRecipe, *, announce: Announce = print) -> Swept:
    """Try settings, doing only what the folder does not hold yet; it may be gone on with with more settings and arms.

    Args:
        recipe: a run's recipe with the settings to be tried.
        announce: told of each stage, in words.

    Raises:
        ElusiveError: on bad input, settings that cannot be swept, or a corpus without questions.
    """
    trials = grid_trials(recipe)  # refuses what cannot be swept, whatever the search
    for trial in trials:
        check_arguments(trial.recipe.train.arguments)
    folder = Path(recipe.output)
    write_text(folder / "sweep.toml", dump_recipe(recipe))
    write_json(folder / "run.json", versions())
    announce(f"corpus: {recipe.corpus.source}")
    corpus = corpus_of(recipe, trials, folder)
    for line in summary_lines(folder / "corpus"):
        announce(f"    {line}")
    if not corpus.questions:
        raise ElusiveError("A sweep expects a corpus with questions to choose by, got one without any.")
    asked = read_asked(folder)
    if recipe.sweep.search == "tpe":
        trials = _searched(recipe, corpus, folder, asked, announce)
    else:
        run_trials(recipe, trials, corpus, folder, announce)
    outcomes = read_outcomes([folder], [trials], [asked])
    write_jsonl(folder / "trials.jsonl", trial_rows(folder, trials, asked, outcomes))
    return Swept(folder, trials, asked, outcomes)


def run_trials(recipe: SweepRecipe, trials: Sequence[Trial], corpus: Corpus, folder: Path, announce: Announce) -> None:
    """Score, augment, train and ask for all that the trials need and the folder does not hold yet."""
    trained = [trial for trial in trials if trial.arm != UNTRAINED]
    for reading in dict.fromkeys(trial.reading for trial in trained):
        alike = [trial for trial in trained if trial.reading == reading]
        score_folders = _score(alike, corpus, folder / "scores" / reading)
        for trial in {(trial.arm, trial.texts): trial for trial in alike}.values():
            augment_for(trial, corpus, score_folders, folder)
    announce(f"train and evaluate: {jobs_in_words(recipe, trials)}")
    train_and_evaluate(recipe, corpus, folder, trials, weights=recipe.sweep.keep == "all")


def _score(alike: Sequence[Trial], corpus: Corpus, folder: Path) -> dict[str, Path]:
    """The scores of all trials whose attention is read alike."""
    recipe = alike[0].recipe
    needed = [one for trial in alike for one in scores_of_arm(trial.arm, trial.recipe)]
    return score_sets(
        corpus.documents,
        folder,
        checked_scores(needed, recipe, corpus.documents),
        loading=recipe.models,
        settings=recipe.score,
        excluded_tokens=recipe.augment.excluded_tokens,
        others=other_models(recipe),
    )


def _searched(recipe: SweepRecipe, corpus: Corpus, folder: Path, asked: Asked, announce: Announce) -> list[Trial]:
    """Trials that a TPE search chose: in each round one for each arm, trained side by side."""
    from .search import next_trial, searched_arms

    done: dict[str, list[tuple[Trial, float]]] = {arm: [] for arm in searched_arms(recipe)}
    fixed = [trial for trial in grid_trials(recipe) if trial.arm not in done]
    for number in range(recipe.sweep.trials):
        announce(f"round {number + 1} of {recipe.sweep.trials}")
        fresh = [next_trial(recipe, arm, before) for arm, before in done.items()]
        run_trials(recipe, [*fixed, *fresh], corpus, folder, announce)
        for trial in fresh:
            outcomes = read_outcomes([folder], [[trial]], [asked])
            best = max(pooled(outcome, recipe.sweep.metric) for outcome in outcomes)
            done[trial.arm].append((trial, best))
            announce(f"    {trial.label}: {recipe.sweep.metric.upper()} {best:.3f}")
    tried = {(trial.arm, trial.name): trial for before in done.values() for trial, _ in before}
    return [*fixed, *tried.values()]


def trial_rows(
    folder: Path, trials: Sequence[Trial], asked: Asked, outcomes: Sequence[Outcome]
) -> list[dict[str, Any]]:
    """A row for each trial, seed and pass that was asked after: its settings, what it took, EM and F1 by field."""
    by_name = {(trial.arm, trial.name): trial for trial in trials}
    rows = []
    for outcome in outcomes:
        trial = by_name[outcome.arm, outcome.name]
        for place, seed in enumerate(trial.seeds):
            scores = {"em": outcome.cohorts[0].em[place], "f1": outcome.cohorts[0].f1[place]}
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
                    **_took(folder, trial, seed),
                }
            )
    return rows


def _took(folder: Path, trial: Trial, seed: int) -> dict[str, Any]:
    """What the whole training of a trial took, and how much its texts lost."""
    if trial.arm == UNTRAINED:
        return {}
    done = read_json(trial.model_folder(folder, seed) / "done.json")
    dropped = read_json(trial.texts_folder(folder) / "done.json")["mean_drop_rate"]
    return {"mean_drop_rate": dropped, **{key: done[key] for key in ("steps", "tokens_trained", "seconds")}}
