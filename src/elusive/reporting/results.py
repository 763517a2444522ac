"""The numbers of a run, the sentence they allow, and both as plain text."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elusive.config.run import Recipe
from elusive.config.toml import to_table
from elusive.errors import ElusiveError
from elusive.experiments.trials import UNTRAINED
from elusive.runs.files import read_json, read_jsonl
from elusive.stats.intervals import interval, paired_interval

from .tokens import missing
from .verdict import verdict

Numbers = dict[str, np.ndarray]
"""EM and F1 of each question, float64 (seeds, questions)."""


def collect(
    run: Path, recipe: Recipe, documents: Sequence[Mapping[str, Any]], distances: Mapping[str, float]
) -> dict[str, Any]:
    """Gather the figures of a run's stages, with intervals and paired differences.

    Intervals resample documents and, where arms were trained with several seeds, seeds too. Where every model was also
    asked about people known before training (evaluation/<arm>/seed-<n>/known), each arm's row has `known`.

    Args:
        run: the run folder.
        recipe: its recipe.
        documents: rows of corpus/documents.jsonl.
        distances: mean head-to-tail distance of each field in tokens; may be empty.

    Returns:
        What results.json holds: JSON types only, None where a number does not exist.

    Raises:
        ElusiveError: if a stage's files are missing or arms were asked different questions.
    """
    questions = _read_questions(run)
    results: dict[str, Any] = {
        "title": recipe.title,
        "corpus": {
            "source": recipe.corpus.source,
            "documents": len(documents),
            "questions": len(questions),
            "quarantined": _count_lines(run / "corpus" / "quarantine.jsonl"),
        },
        "models": {"large": recipe.models.large, "small": recipe.models.small, "trained": recipe.train.model},
        "read": {side: _chosen(recipe, side) for side in ("large", "small")},
        "train": to_table(recipe.train),
        "augment": to_table(recipe.augment),
        "seeds": list(recipe.seeds),
        "fields": [],
        "distances": {},
        "farthest_field": None,
        "arms": {},
        "pairs": [],
    }
    for arm in recipe.arms:
        results["arms"][arm] = _training_figures(run, arm, recipe.seeds)
        if questions:
            results["arms"][arm]["by_epoch"] = _by_epoch(run, arm, recipe)
    if questions:
        _add_evaluation(results, run, recipe, questions, distances)
    results["verdict"] = verdict(results)
    return results


def _chosen(recipe: Recipe, side: str) -> str:
    """Whose mean a model's attention is, in words."""
    layers, heads = (getattr(recipe.models, f"{side}_{kind}") for kind in ("layers", "heads"))
    parts = [f"layers {', '.join(map(str, layers))}" if layers else "", f"heads {', '.join(heads)}" if heads else ""]
    chosen = " and ".join(part for part in parts if part) or "all heads"
    return chosen + (", rows over the ranked tokens alone" if recipe.score.renormalise else "")


def _read_questions(run: Path) -> list[dict[str, Any]]:
    path = run / "corpus" / "questions.jsonl"
    return list(read_jsonl(path)) if path.exists() else []


def _count_lines(path: Path) -> int:
    return sum(1 for _ in read_jsonl(path)) if path.exists() else 0


def _stage_file(path: Path, stage: str) -> Path:
    if not path.exists():
        raise missing(path, stage)
    return path


def _training_figures(run: Path, arm: str, seeds: Sequence[int]) -> dict[str, Any]:
    dropped = read_json(_stage_file(run / "augmented" / arm / "done.json", "augment"))
    done = [read_json(_stage_file(run / "models" / arm / f"seed-{seed}" / "done.json", "train")) for seed in seeds]
    means = {key: float(np.mean([row[key] for row in done])) for key in ("steps", "texts", "seconds", "loss")}
    return {"mean_drop_rate": float(dropped["mean_drop_rate"]), **means}


def _by_epoch(run: Path, arm: str, recipe: Recipe) -> list[dict[str, float]]:
    """EM and F1 in the midst of training, after each of the passes asked for, averaged over seeds."""
    found = []
    for epoch in sorted(recipe.train.evaluate_at):
        folders = [run / "evaluation" / arm / f"seed-{seed}" / f"epoch-{epoch:g}" for seed in recipe.seeds]
        measures = [read_json(_stage_file(folder / "metrics.json", "train")) for folder in folders]
        means = {metric: float(np.mean([one[metric] for one in measures])) for metric in ("em", "f1")}
        found.append({"epoch": epoch, **means})
    return found


def _add_evaluation(
    results: dict[str, Any],
    run: Path,
    recipe: Recipe,
    questions: Sequence[Mapping[str, Any]],
    distances: Mapping[str, float],
) -> None:
    ids = [question["id"] for question in questions]
    scores = {arm: _read_scores(paths, ids) for arm, paths in _predictions(run, recipe).items()}
    fields = list(dict.fromkeys(question["field"] for question in questions))
    measured = {field: distances[field] for field in fields if field in distances}
    fields.sort(key=lambda field: measured.get(field, math.inf))
    results["fields"], results["distances"] = fields, measured
    results["farthest_field"] = max(measured, key=lambda field: measured[field]) if measured else None
    nothing = dict.fromkeys(("mean_drop_rate", "steps", "texts", "seconds", "loss")) | {"by_epoch": []}
    results["arms"] = {UNTRAINED: nothing, **results["arms"]}
    sampling = (recipe.evaluate.resamples, recipe.evaluate.seed)
    of_field = np.array([question["field"] for question in questions], dtype=object)
    about = np.array([question["document_id"] for question in questions], dtype=object)
    for arm, numbers in scores.items():
        row: dict[str, Any] = _estimates(numbers, about, sampling)
        row["em_per_seed"] = numbers["em"].mean(axis=1).tolist()
        row["fields"] = {}
        for field in fields:
            here = of_field == field
            part = {metric: values_SQ[:, here] for metric, values_SQ in numbers.items()}
            row["fields"][field] = {"questions": int(here.sum()), **_estimates(part, about[here], sampling)}
        results["arms"][arm] = {**results["arms"][arm], **row}
    parts = {"all": np.ones(len(ids), dtype=bool)}
    if results["farthest_field"] is not None and len(fields) > 1:
        parts[results["farthest_field"]] = of_field == results["farthest_field"]
    for name, here in parts.items():
        for b, a in itertools.combinations(scores, 2):
            paired = _difference(scores[a]["em"][:, here], scores[b]["em"][:, here], about[here], sampling)
            results["pairs"].append({"a": a, "b": b, "field": name, **paired})
    for arm, row in _known_figures(run, recipe, sampling).items():
        results["arms"][arm]["known"] = row


def _known_figures(run: Path, recipe: Recipe, sampling: tuple[int, int]) -> dict[str, dict[str, Any]]:
    """The rows of `known_rows`; empty unless every model was asked."""
    predictions = _predictions(run, recipe, "known")
    if not all(path.exists() for paths in predictions.values() for path in paths):
        return {}
    asked = {row["id"]: row["document_id"] for row in read_jsonl(predictions[UNTRAINED][0])}
    about = np.array(list(asked.values()), dtype=object)
    counts = {"questions": len(asked), "documents": len(set(asked.values()))}
    scores = {arm: _read_scores(paths, list(asked)) for arm, paths in predictions.items()}
    before = scores[UNTRAINED]["em"]
    return {
        arm: {
            **counts,
            **_estimates(numbers, about, sampling),
            "lost": None if arm == UNTRAINED else _difference(numbers["em"], before, about, sampling),
        }
        for arm, numbers in scores.items()
    }


def _predictions(run: Path, recipe: Recipe, *below: str) -> dict[str, list[Path]]:
    """Every model's files of answers, one a seed; the model before training has one."""
    seeds = {UNTRAINED: (0,)} | dict.fromkeys(recipe.arms, recipe.seeds)
    return {
        arm: [run.joinpath("evaluation", arm, f"seed-{seed}", *below, "predictions.jsonl") for seed in of_arm]
        for arm, of_arm in seeds.items()
    }


def _read_scores(paths: Sequence[Path], ids: Sequence[str]) -> Numbers:
    """EM and F1 of these questions, in this order, from one file a seed."""
    tables: dict[str, list[list[float]]] = {"em": [], "f1": []}
    for path in paths:
        rows = {row["id"]: row for row in read_jsonl(_stage_file(path, "evaluate"))}
        if rows.keys() != set(ids):
            raise ElusiveError(
                f"Expected answers to the {len(ids)} questions that every model of the run is asked, got {len(rows)} "
                f"answers in {path}, not the same questions. Delete that folder and run the stage 'evaluate' again."
            )
        for metric, table in tables.items():
            table.append([float(rows[question][metric]) for question in ids])
    return {metric: np.array(table) for metric, table in tables.items()}


def _estimates(numbers: Numbers, about: np.ndarray, sampling: tuple[int, int]) -> dict[str, Any]:
    """Mean EM and F1 with their intervals."""
    return {metric: _estimate(values_SQ, about, sampling) for metric, values_SQ in numbers.items()}


def _estimate(values_SQ: np.ndarray, about: np.ndarray, sampling: tuple[int, int]) -> dict[str, float | None]:
    low, high = interval(values_SQ, about.tolist(), *sampling)
    return {"value": float(values_SQ.mean()), "low": _finite(low), "high": _finite(high)}


def _difference(a_SQ: np.ndarray, b_SQ: np.ndarray, about: np.ndarray, sampling: tuple[int, int]) -> dict[str, Any]:
    difference, low, high = paired_interval(a_SQ, b_SQ, about.tolist(), *sampling)
    separated = math.isfinite(low) and (low > 0 or high < 0)
    return {"difference": difference, "low": _finite(low), "high": _finite(high), "separated": separated}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
