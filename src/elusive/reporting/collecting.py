"""The numbers of a run, gathered from the files of its stages."""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elusive.augmentation.summary import AugmentedCorpus
from elusive.config.evaluation import EvaluateSettings
from elusive.config.run import Recipe
from elusive.corpus.documents import Document
from elusive.corpus.question_sets import question_sets_of
from elusive.corpus.questions import QuestionItem, read_questions
from elusive.evaluation.predictions import (
    Questions,
    Scores,
    has_predictions,
    read_metrics,
    read_predictions,
    read_scores_of_seeds,
)
from elusive.evaluation.task_scores import TaskScores
from elusive.experiments.trials import UNTRAINED
from elusive.runs.files import read_json, read_jsonl
from elusive.runs.folder import RunFolder, epoch_answers, harness_scores, known_answers
from elusive.runs.stage import stage_settings
from elusive.runs.typed_json import from_json
from elusive.scoring.sets import sets_in
from elusive.stats.estimates import Difference, Estimate, corrected, corrected_by_name, difference, estimate

from .facts import run_facts, scoring_seconds
from .results import (
    ArmDifference,
    ArmResults,
    CorpusSize,
    EpochScores,
    FieldScores,
    KnownScores,
    ModelNames,
    Results,
)
from .standing import Standing, standing_of
from .verdict import verdict


def collect(run: RunFolder, recipe: Recipe, documents: Collection[Document], distances: Mapping[str, float]) -> Results:
    """Gather the figures of a run's stages, with intervals and paired differences.

    Intervals resample documents and, where arms were trained with several seeds, seeds too. Where every model was also
    evaluated on what was known before training, each arm has `known`.

    Args:
        run: the run folder.
        recipe: its recipe.
        documents: its corpus.
        distances: mean head-to-tail distance of each field in tokens; may be empty.

    Returns:
        The results, without cue_ranks and clue_recall.

    Raises:
        ElusiveError: if files of a finished stage are missing or arms were evaluated on different questions.
    """
    items = _read_questions(run)
    standing = standing_of(run, recipe, asked=bool(items))
    results = Results(
        title=recipe.title,
        corpus=CorpusSize(
            source=recipe.corpus.source,
            documents=len(documents),
            questions=len(items),
            quarantined=_count_lines(run.quarantine),
        ),
        models=ModelNames(recipe.models.large.name, recipe.models.small.name, recipe.models.trained),
        read={side: _chosen(run, recipe, side) for side in ("large", "small")},
        train=recipe.train,
        augment=recipe.augment,
        excluded_tokens=recipe.score.excluded_tokens,
        seeds=standing.seeds,
        arms={arm: _training_figures(run, recipe, arm, standing.trained.get(arm, ())) for arm in standing.texts},
        made=run_facts(run, recipe, standing),
        missing=standing.missing,
    )
    if items:
        results = _with_evaluation(results, run, recipe, standing, Questions.of(items), distances)
    return dataclasses.replace(results, verdict=verdict(results))


def _chosen(run: RunFolder, recipe: Recipe, side: str) -> str:
    """Whose mean a model's attention is, in words."""
    layers, heads = recipe.models[side].layers, recipe.models[side].heads
    parts = [f"layers {', '.join(map(str, layers))}" if layers else "", f"heads {', '.join(heads)}" if heads else ""]
    chosen = " and ".join(part for part in parts if part) or "all heads"
    chosen += ", rows over the ranked tokens alone" if recipe.score.renormalise else ""
    scored = (path for one, path in sets_in(run.scores_folder()).items() if one.model == side)
    sink = any(stage_settings(path).get("sink") for path in scored if (path / "settings.json").exists())
    return chosen + (", each text's first token left out of ranks as the attention sink" if sink else "")


def _read_questions(run: RunFolder) -> list[QuestionItem]:
    there = run.questions.exists() and run.questions.stat().st_size
    return read_questions(run.questions) if there else []


def _count_lines(path: Path) -> int:
    return sum(1 for _ in read_jsonl(path)) if path.exists() else 0


@dataclass(frozen=True)
class _Took:
    """What is shown of a training's done.json."""

    steps: int
    texts: int
    seconds: float
    loss: float


def _training_figures(run: RunFolder, recipe: Recipe, arm: str, seeds: Sequence[int]) -> ArmResults:
    """What an arm was trained on, and how its trainings went that are done."""
    path = run.augmented(arm) / "done.json"
    texts_made = from_json(AugmentedCorpus, read_json(path), str(path))
    marks = [run.model(arm, seed) / "done.json" for seed in seeds]
    done = [from_json(_Took, read_json(mark), str(mark)) for mark in marks]
    means: dict[str, Any] = {
        name: float(np.mean([getattr(one, name) for one in done])) if done else None
        for name in ("steps", "texts", "seconds", "loss")
    }
    return ArmResults(
        mean_drop_rate=texts_made.mean_drop_rate,
        at_ceiling=texts_made.at_ceiling,
        unchanged=texts_made.unchanged,
        clues=texts_made.clues,
        right_clues=texts_made.right_clues,
        survival=texts_made.survival,
        scoring_seconds=scoring_seconds(run, recipe, arm),
        **means,
    )


def _by_epoch(run: RunFolder, arm: str, recipe: Recipe, seeds: Sequence[int]) -> tuple[EpochScores, ...]:
    """EM and F1 in training, after each epoch of train.evaluate_at_epochs, averaged over seeds."""
    found = []
    for epoch in sorted(recipe.train.evaluate_at_epochs):
        of_seeds = [read_metrics(epoch_answers(run.answers(arm, seed), epoch)) for seed in seeds]
        em, f1 = (float(np.mean([getattr(one, metric) for one in of_seeds])) for metric in ("em", "f1"))
        found.append(EpochScores(epoch, em, f1))
    return tuple(found)


@dataclass(frozen=True)
class _Scored:
    """Every arm's scores on the same questions, and how their intervals are drawn."""

    scores: Mapping[str, Scores]
    questions: Questions
    settings: EvaluateSettings

    def estimate(self, arm: str, metric: str, here: np.ndarray | slice = slice(None)) -> Estimate:
        """An arm's mean over the questions that `here` takes."""
        values, about = self.scores[arm].of(metric)[:, here], self.questions.documents[here].tolist()
        return estimate([values], [about], resamples=self.settings.resamples, seed=self.settings.seed)

    def difference(self, a: str, b: str, here: np.ndarray | slice = slice(None)) -> Difference:
        """EM of arm a minus that of arm b, over the questions that `here` takes."""
        values_a, values_b = (self.scores[arm].em[:, here] for arm in (a, b))
        about = self.questions.documents[here].tolist()
        return difference([values_a], [values_b], [about], resamples=self.settings.resamples, seed=self.settings.seed)


def _with_evaluation(
    results: Results,
    run: RunFolder,
    recipe: Recipe,
    standing: Standing,
    questions: Questions,
    distances: Mapping[str, float],
) -> Results:
    ids = questions.ids.tolist()
    scores = {arm: read_scores_of_seeds(folders, ids) for arm, folders in _answers(run, standing).items()}
    scored = _Scored(scores, questions, recipe.evaluate)
    fields = list(dict.fromkeys(questions.fields.tolist()))
    measured = {field: distances[field] for field in fields if field in distances}
    fields.sort(key=lambda field: measured.get(field, math.inf))
    farthest = max(measured, key=lambda field: measured[field]) if measured else None
    known = _known_scores(run, recipe, standing)
    arms = ({UNTRAINED: ArmResults()} if UNTRAINED in scores else {}) | results.arms
    parts: dict[str, np.ndarray | slice] = {"all": slice(None)}
    if farthest is not None and len(fields) > 1:
        parts[farthest] = questions.fields == farthest
    return dataclasses.replace(
        results,
        examples=_noted(run, "examples"),
        metric=_noted(run, "metric"),
        question_sets=question_sets_of(run.corpus),
        fields=tuple(fields),
        distances=measured,
        farthest_field=farthest,
        arms={
            arm: row
            if arm not in scores
            else dataclasses.replace(
                row,
                by_epoch=() if arm == UNTRAINED else _by_epoch(run, arm, recipe, standing.seeds),
                em=scored.estimate(arm, "em"),
                f1=scored.estimate(arm, "f1"),
                em_per_seed=tuple(scores[arm].em.mean(axis=1).tolist()),
                fields={field: _field_scores(scored, arm, field) for field in fields},
                known=known.get(arm),
                tasks=_tasks(_answers(run, standing)[arm]),
            )
            for arm, row in arms.items()
        },
        pairs=tuple(
            corrected(
                [
                    ArmDifference(**dataclasses.asdict(scored.difference(a, b, here)), a=a, b=b, field=name)
                    for name, here in parts.items()
                    for b, a in itertools.combinations(scores, 2)
                ]
            )
        ),
    )


def _noted(run: RunFolder, name: str) -> str:
    """What the evaluation of the model before training noted of its examples or metric, in words."""
    noted = run.answers(UNTRAINED, 0) / "done.json"
    return read_json(noted).get(name, "") if noted.exists() else ""


def _field_scores(scored: _Scored, arm: str, field: str) -> FieldScores:
    here = scored.questions.fields == field
    return FieldScores(int(here.sum()), scored.estimate(arm, "em", here), scored.estimate(arm, "f1", here))


def _tasks(answers: Sequence[Path]) -> dict[str, float]:
    """Scores of lm-evaluation-harness's tasks, a mean over seeds; none where a seed has none."""
    done = [harness_scores(folder) / "done.json" for folder in answers]
    if not all(path.exists() for path in done):
        return {}
    of_seeds = [from_json(TaskScores, read_json(path), str(path)).scores for path in done]
    return {
        f"{scores[0].task}, {scores[0].metric}": statistics.fmean(one.value for one in scores)
        for scores in zip(*of_seeds, strict=True)
    }


def _known_scores(run: RunFolder, recipe: Recipe, standing: Standing) -> dict[str, KnownScores]:
    """What every model still answers about what was known before training; empty unless every model was evaluated."""
    answers = {arm: [known_answers(folder) for folder in folders] for arm, folders in _answers(run, standing).items()}
    if UNTRAINED not in answers or not all(
        has_predictions(folder) for folders in answers.values() for folder in folders
    ):
        return {}
    questions = read_predictions(answers[UNTRAINED][0]).questions
    ids = questions.ids.tolist()
    scored = _Scored(
        {arm: read_scores_of_seeds(folders, ids) for arm, folders in answers.items()}, questions, recipe.evaluate
    )
    lost = corrected_by_name([{arm: scored.difference(arm, UNTRAINED) for arm in answers if arm != UNTRAINED}])[0]
    return {
        arm: KnownScores(
            questions=len(ids),
            documents=questions.document_count,
            em=scored.estimate(arm, "em"),
            f1=scored.estimate(arm, "f1"),
            lost=lost.get(arm),
        )
        for arm in answers
    }


def _answers(run: RunFolder, standing: Standing) -> dict[str, list[Path]]:
    """Every evaluated model's folders, one a seed; the model before training has one."""
    return {
        arm: [run.answers(arm, seed) for seed in ((0,) if arm == UNTRAINED else standing.seeds)]
        for arm in standing.evaluated
    }
