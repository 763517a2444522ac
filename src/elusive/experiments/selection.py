"""How an arm's settings are chosen: on the questions that are reported, on held-out documents, or equal for all.

Axes: S training seeds, Q questions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elusive.corpus.questions import read_questions
from elusive.errors import ElusiveError
from elusive.evaluation.predictions import Questions, Scores, read_scores_of_seeds
from elusive.runs.folder import RunFolder, epoch_answers, known_answers
from elusive.stats import estimates
from elusive.stats.estimates import Difference, Estimate
from elusive.stats.halves import first_half

from .trials import UNTRAINED, Trial, empty_list

WAYS = {
    "equal": "all arms at equal settings",
    "held-out": "each arm's settings chosen on half of the documents and reported on the other half, both ways",
    "test": "each arm's settings chosen on the questions that are reported (the paper's way)",
}
"""The ways of choosing, in words."""


@dataclass(frozen=True)
class Outcome:
    """An arm's answers under one choice of settings, after a number of epochs (None: at the end of training)."""

    arm: str
    name: str
    chosen: tuple[tuple[str, Any], ...]
    epoch: float | None
    cohorts: tuple[Scores, ...]


@dataclass(frozen=True)
class Choice:
    """What an arm is reported with: its settings in words, and the answers under them, cohort by cohort."""

    arm: str
    settings: str
    cohorts: tuple[Scores, ...]


def questions_of(run: RunFolder) -> Questions:
    """The questions of a run or sweep folder."""
    return Questions.of(read_questions(run.questions))


def read_outcomes(
    runs: Sequence[RunFolder], trials: Sequence[Sequence[Trial]], questions: Sequence[Questions], *, known: bool = False
) -> list[Outcome]:
    """Every trial's answers, after each epoch of train.evaluate_at and at the end.

    Args:
        runs: a run or sweep folder for each cohort.
        trials: the same trials, by arm and name, in each of them.
        questions: those of each.
        known: read the answers about what was known before training, which are evaluated at the end alone.

    Raises:
        ElusiveError: if answers are missing, or cohorts hold different trials.
    """
    found: dict[tuple[str, str, float | None], list[Scores]] = {}
    settings: dict[tuple[str, str], tuple[tuple[str, Any], ...]] = {}
    for run, here, asked in zip(runs, trials, questions, strict=True):
        for trial in here:
            settings[trial.arm, trial.name] = trial.chosen
            epochs = () if trial.arm == UNTRAINED or known else sorted(trial.recipe.train.evaluate_at_epochs)
            for epoch in (*epochs, None):
                answers = [trial.answers_folder(run, seed) for seed in trial.seeds]
                if known:
                    answers = [known_answers(folder) for folder in answers]
                elif epoch is not None:
                    answers = [epoch_answers(folder, epoch) for folder in answers]
                scores = read_scores_of_seeds(answers, asked.ids.tolist())
                found.setdefault((trial.arm, trial.name, epoch), []).append(scores)
    if any(len(scores) != len(runs) for scores in found.values()):
        raise ElusiveError("Expected the same trials in every cohort's folder, got different ones. Run all of them.")
    return [
        Outcome(arm, name, settings[arm, name], epoch, tuple(scores)) for (arm, name, epoch), scores in found.items()
    ]


def pooled(outcome: Outcome | Choice, metric: str, masks: Sequence[np.ndarray] | None = None) -> float:
    """Mean over the questions of all cohorts and over seeds.

    Args:
        outcome: the answers.
        metric: em or f1.
        masks: for each cohort which of its questions count, bool (Q,); None for all.
    """
    masks = masks or [np.ones(scores.em.shape[1], dtype=bool) for scores in outcome.cohorts]
    values = [scores.of(metric).mean(axis=0)[mask] for scores, mask in zip(outcome.cohorts, masks, strict=True)]
    return float(np.concatenate(values).mean())


def choices(
    outcomes: Sequence[Outcome],
    questions: Sequence[Questions],
    metric: str = "em",
    *,
    equal: Sequence[Mapping[str, Any]] = (),
    seed: int = 0,
) -> dict[str, dict[str, Choice]]:
    """What each arm is reported with, for each way of choosing its settings.

    Args:
        outcomes: all that was tried.
        questions: those of each cohort.
        metric: what is chosen by, as a mean over all questions that choose.
        equal: settings by dotted name; for each of these a way `equal` of its own, in which an arm's first outcome at
            the end of training counts whose settings are those, as far as it depends on them.
        seed: which documents make the halves.

    Returns:
        For each way (its key in WAYS; of the equal ones with the settings behind it) the choice of each arm. Of what
        is best alike, the first counts. Held-out is left out where there are too few documents to halve.

    Raises:
        ElusiveError: if no trial of an arm has the equal settings.
    """
    arms: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        arms.setdefault(outcome.arm, []).append(outcome)
    found: dict[str, dict[str, Choice]] = {}
    for settings in equal:
        way = "equal: " + words(settings)
        found[way] = {arm: _as_choice(_with(settings, arm, tried)) for arm, tried in arms.items()}
    first = [first_half(one.documents.tolist(), seed + number, "shuffle") for number, one in enumerate(questions)]
    if any(half.any() for half in first) and not all(half.all() for half in first):
        found["held-out"] = {arm: _held_out(arm, tried, first, metric) for arm, tried in arms.items()}
    found["test"] = {
        arm: _as_choice(max(tried, key=lambda outcome: pooled(outcome, metric))) for arm, tried in arms.items()
    }
    return found


def words(settings: Mapping[str, Any]) -> str:
    """Settings in words: learning_rate 0.002, beta 0.05."""

    def value(key: str, one: Any) -> str:
        if isinstance(one, (list, tuple)):
            return " ".join(map(str, one)) or empty_list(key)
        return f"{one:g}" if isinstance(one, float) else str(one)

    return ", ".join(f"{key.split('.', 1)[1].replace('.', '_')} {value(key, one)}" for key, one in settings.items())


def outcome_words(outcome: Outcome) -> str:
    """An outcome's settings and epochs in words."""
    epochs = "epoch" if outcome.epoch == 1 else "epochs"
    parts = [words(dict(outcome.chosen)), "" if outcome.epoch is None else f"after {outcome.epoch:g} {epochs}"]
    return ", ".join(part for part in parts if part) or "-"


def _as_choice(outcome: Outcome) -> Choice:
    return Choice(outcome.arm, outcome_words(outcome), outcome.cohorts)


def has_settings(own: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether chosen settings are these, as far as they were chosen."""
    return all(own[key] == value for key, value in settings.items() if key in own)


def _with(settings: Mapping[str, Any], arm: str, tried: Sequence[Outcome]) -> Outcome:
    for outcome in tried:
        if outcome.epoch is None and has_settings(dict(outcome.chosen), settings):
            return outcome
    raise ElusiveError(f"Expected a trial of {arm} with {words(settings)}, got none. Add these values to the grid.")


def _held_out(arm: str, tried: Sequence[Outcome], first: Sequence[np.ndarray], metric: str) -> Choice:
    """Each half of the documents with the settings that are best on the other; `first` holds one of the halves."""
    second = [~half for half in first]
    best = [max(tried, key=lambda outcome: pooled(outcome, metric, choosing)) for choosing in (second, first)]
    cohorts = tuple(
        Scores(np.where(half, a.em, b.em), np.where(half, a.f1, b.f1))
        for a, b, half in zip(best[0].cohorts, best[1].cohorts, first, strict=True)
    )
    return Choice(arm, " / ".join(dict.fromkeys(outcome_words(outcome) for outcome in best)), cohorts)


def estimate(
    choice: Choice, questions: Sequence[Questions], metric: str, fields: Sequence[str] = (), *, resamples: int = 10_000
) -> Estimate:
    """Mean over questions, seeds and cohorts; its 95% interval resamples documents, seeds and cohorts.

    Args:
        choice: the answers.
        questions: those of each cohort.
        metric: em or f1.
        fields: fields that count (none: all).
        resamples: bootstrap resamples.
    """
    values, documents = _of_fields(choice.cohorts, questions, metric, fields)
    return estimates.estimate(values, documents, resamples=resamples)


def difference(
    a: Choice,
    b: Choice,
    questions: Sequence[Questions],
    metric: str,
    fields: Sequence[str] = (),
    *,
    resamples: int = 10_000,
) -> Difference:
    """Mean of a minus b with its 95% interval, paired over cohorts, seeds and documents; arguments as in `estimate`."""
    values_a, documents = _of_fields(a.cohorts, questions, metric, fields)
    values_b, _ = _of_fields(b.cohorts, questions, metric, fields)
    return estimates.difference(values_a, values_b, documents, resamples=resamples)


def _of_fields(
    cohorts: Sequence[Scores], questions: Sequence[Questions], metric: str, fields: Sequence[str]
) -> tuple[list[np.ndarray], list[list[str]]]:
    values, documents = [], []
    for scores, one in zip(cohorts, questions, strict=True):
        here = np.isin(one.fields.astype(str), list(fields)) if fields else np.ones(len(one.fields), dtype=bool)
        values.append(scores.of(metric)[:, here])
        documents.append(one.documents[here].tolist())
    return values, documents
