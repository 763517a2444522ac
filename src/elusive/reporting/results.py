"""The numbers of a run, the sentence they allow, and both as plain text."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..config import Recipe
from ..errors import ElusiveError
from ..intervals import interval, paired_interval
from ..recipes import to_table
from ..runs import read_json, read_jsonl
from .clue_tables import recall_markdown
from .text import cell, markdown_row, range_text, score, signed
from .tokens import missing

UNTRAINED = "untrained"
"""Name of the model before training, in the place of an arm."""
NEAR_ZERO = 0.02
"""Below this EM in every arm, a comparison says nothing; above 1 minus this, nothing is left to compare."""
FEW_DOCUMENTS = 20
"""Percentile intervals over fewer documents come out too narrow."""
FEW_SEEDS = 10
"""Of intervals over fewer training seeds, what the seeds add to the width comes out too narrow."""
TABLE_COLUMNS = 120
"""Width that the command line's table keeps to."""
KNOWN_WIDTH = 8
"""Width of its column on people known before training."""
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


def verdict(results: Mapping[str, Any]) -> dict[str, Any]:
    """What the paired intervals allow to be said, and no more.

    Returns:
        headline: one sentence; separated, not_separated: differences between trained arms, as text;
        notes: sentences on the model before training, what was lost of what it knew, and what the intervals cover.
    """
    trained = [arm for arm in results["arms"] if arm != UNTRAINED]
    overall = {arm: row["em"]["value"] for arm, row in results["arms"].items() if row.get("em")}
    if not overall:
        headline = "Nothing was evaluated: the corpus brings no questions."
        return {"headline": headline, "separated": [], "not_separated": [], "notes": _training_notes(results)}
    pairs = [pair for pair in results["pairs"] if pair["field"] == "all"]
    between = [pair for pair in pairs if UNTRAINED not in (pair["a"], pair["b"])]
    best = max(overall, key=lambda arm: overall[arm])
    notes = []
    if overall[best] < NEAR_ZERO:
        headline = f"No arm can answer these questions: the highest EM is {score(overall[best])} ({best})."
        notes.append("At this level, differences between arms say nothing about how the text was augmented.")
    elif min(overall[arm] for arm in trained) > 1 - NEAR_ZERO:
        headline = "Every trained arm answers nearly all questions, so this corpus cannot tell the arms apart."
    else:
        headline = _headline(len(trained), sum(pair["separated"] for pair in between), len(between))
    notes += _untrained_notes(pairs, overall) + _known_notes(results)
    notes += _interval_notes(results, between) + _training_notes(results)
    return {
        "headline": headline,
        "separated": [pair_text(pair) for pair in between if pair["separated"]],
        "not_separated": [pair_text(pair) for pair in between if not pair["separated"]],
        "notes": notes,
    }


def pair_text(pair: Mapping[str, Any]) -> str:
    """One paired difference as text."""
    return f"{pair['a']} minus {pair['b']}: {_change(pair)}"


def known_rows(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What each arm still answers about people known before training; empty where that was not asked.

    Returns:
        For each arm "questions" and "documents" (whom they are about), "em" and "f1" with intervals, and "lost": the
        paired difference in EM, the arm minus the model before training (None for that model itself).
    """
    return {arm: row["known"] for arm, row in results["arms"].items() if row.get("known")}


def results_table(results: Mapping[str, Any]) -> str:
    """The plain-text table that a command prints at its end: two lines an arm, at most 120 columns.

    Intervals stand beside the mean over all fields; those of each field are in results.md and on the page.
    """
    evaluated = any(row.get("em") for row in results["arms"].values())
    fields = _fields_that_fit(results) if evaluated else []
    known = known_rows(results)
    left = max([len(arm) for arm in results["arms"]] + [3])
    widths = {field: max(len(field), 5) + 2 for field in fields}
    header = f"{'arm':<{left}}  " + (f"{'':<2}" if evaluated else "")
    header += "".join(f"{field:>{widths[field]}}" for field in fields)
    header += f"{'all':>7}  {'95% interval':<14}" if evaluated else ""
    header += (f"{'known':>{KNOWN_WIDTH}}" if known else "") + f"{'dropped':>9}{'steps':>8}"
    lines = [header.rstrip(), "-" * len(header)]
    for arm, row in results["arms"].items():
        training = f"{score(row['mean_drop_rate']):>9}{_whole(row['steps']):>8}"
        if not evaluated:
            lines.append(f"{arm:<{left}}  {training}")
            continue
        for metric, label in (("em", "EM"), ("f1", "F1")):
            cells = "".join(f"{score(row['fields'][field][metric]['value']):>{widths[field]}}" for field in fields)
            whole = f"{score(row[metric]['value']):>7}  {range_text(row[metric]):<14}"
            whole += f"{score(known[arm][metric]['value']):>{KNOWN_WIDTH}}" if known else ""
            name, tail = (arm, training) if metric == "em" else ("", "")
            lines.append(f"{name:<{left}}  {label}{cells}{whole}{tail}".rstrip())
    return "\n".join(lines)


def results_markdown(results: Mapping[str, Any]) -> str:
    """The tables of a run as Markdown, with every interval."""
    said = results["verdict"]
    lines = [f"# {cell(results['title'])}", "", said["headline"], ""]
    for name, texts in (("Separated from zero at 95%", said["separated"]), ("Not separated", said["not_separated"])):
        if texts:
            lines += [f"{name}:", "", *[f"- {cell(text)}" for text in texts], ""]
    lines += [cell(note) + "\n" for note in said["notes"]]
    for metric, name in (("em", "EM"), ("f1", "F1")):
        lines += _markdown_scores(results, metric, name)
    lines += _markdown_known(results) + _markdown_by_epoch(results)
    if results.get("clue_recall"):
        lines += recall_markdown(results["clue_recall"])
    lines += ["## Training", "", "| arm | mean drop rate | texts | steps | seconds |", "| --- " * 5 + "|"]
    for arm, row in results["arms"].items():
        cells = [arm, score(row["mean_drop_rate"]), _whole(row["texts"]), _whole(row["steps"]), _whole(row["seconds"])]
        lines.append(markdown_row(cells))
    if results["pairs"]:
        lines += ["", "## Paired differences in EM", ""]
        lines.append("| a minus b | field | difference | 95% interval | separated |")
        lines.append("| --- " * 5 + "|")
    for pair in results["pairs"]:
        cells = [f"{pair['a']} minus {pair['b']}", pair["field"], signed(pair["difference"]), range_text(pair, signed)]
        lines.append(markdown_row([*cells, "yes" if pair["separated"] else "no"]))
    return "\n".join(lines) + "\n"


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


def _headline(arms: int, separated: int, pairs: int) -> str:
    if arms == 1:
        return "One arm was trained, so there is nothing to compare it with but the model before training."
    if pairs == 1:
        is_it = "is" if separated else "is not"
        return f"The difference in EM between the two trained arms {is_it} separated from zero at 95%."
    if separated == 0:
        return "No difference in EM between the trained arms is separated from zero at 95%."
    if separated == pairs:
        return f"All {pairs} differences in EM between the trained arms are separated from zero at 95%."
    verb = "is" if separated == 1 else "are"
    return f"{separated} of {pairs} differences in EM between the trained arms {verb} separated from zero at 95%."


def _untrained_notes(pairs: Sequence[Mapping[str, Any]], overall: Mapping[str, float]) -> list[str]:
    against = [pair for pair in pairs if pair["b"] == UNTRAINED]
    groups = {
        "above it": [pair["a"] for pair in against if pair["separated"] and pair["difference"] > 0],
        "below it": [pair["a"] for pair in against if pair["separated"] and pair["difference"] < 0],
        "not separated from it": [pair["a"] for pair in against if not pair["separated"]],
    }
    said = "; ".join(f"{name}: {', '.join(arms)}" for name, arms in groups.items() if arms)
    return [f"The model before training has an EM of {score(overall[UNTRAINED])} ({said})."]


def _known_notes(results: Mapping[str, Any]) -> list[str]:
    known = known_rows(results)
    if not known:
        return []
    lost = {arm: row["lost"] for arm, row in known.items() if row["lost"]}
    groups = {
        "lost": [arm for arm, pair in lost.items() if pair["separated"] and pair["difference"] < 0],
        "gained": [arm for arm, pair in lost.items() if pair["separated"] and pair["difference"] > 0],
        "not separated from it": [arm for arm, pair in lost.items() if not pair["separated"]],
    }
    said = "".join(
        f"; {name}: " + ", ".join(f"{arm} {_change(lost[arm])}" for arm in arms)
        for name, arms in groups.items()
        if arms
    )
    before = known[UNTRAINED]
    return [
        f"What was known before training ({before['questions']:,} questions about {before['documents']:,} people): "
        f"EM {score(before['em']['value'])} before{said}."
    ]


def _change(paired: Mapping[str, Any]) -> str:
    return f"{signed(paired['difference'])} {range_text(paired, signed)}"


def _interval_notes(results: Mapping[str, Any], between: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = []
    seeds, documents = len(results["seeds"]), results["corpus"]["documents"]
    if any(not pair["separated"] for pair in between):
        notes.append("Not separated does not mean equal: the interval shows which differences remain possible.")
    if seeds == 1:
        notes.append(
            "Each arm was trained with one seed: the intervals cover the choice of documents (people), "
            "not the training seed. Another seed can move every number."
        )
    else:
        notes.append(
            f"The intervals cover the choice of documents (people) and of training seeds ({seeds} of each arm): both "
            "are drawn anew, and are the same for the two arms of a difference."
        )
        if seeds < FEW_SEEDS:
            notes.append(f"What only {seeds} seeds add to the intervals comes out too narrow: read it as rough.")
    if len(between) > 1:
        notes.append(
            f"{len(between)} pairs are compared without correction: at 95%, about one in twenty equal pairs "
            "would look separated."
        )
    if documents < 2:
        notes.append("One document allows no interval.")
    elif documents < FEW_DOCUMENTS:
        notes.append(f"Intervals over only {documents} documents come out too narrow: read them as rough.")
    return notes


def _training_notes(results: Mapping[str, Any]) -> list[str]:
    notes = []
    models = results["models"]
    if models["large"] == models["small"] and any(arm.startswith("contrast-") for arm in results["arms"]):
        notes.append(
            f"Large and small are one model ({models['large']}): there is no contrast, and the contrast arms rank "
            "tokens by nothing but their order in the text."
        )
    steps = {arm: round(row["steps"]) for arm, row in results["arms"].items() if row["steps"] is not None}
    if len(set(steps.values())) > 1:
        listed = ", ".join(f"{arm} {number:,}" for arm, number in steps.items())
        notes.append(f"Arms were trained for different numbers of optimizer steps ({listed}).")
    rates = {arm: row["mean_drop_rate"] for arm, row in results["arms"].items() if row["mean_drop_rate"]}
    if rates and max(rates.values()) - min(rates.values()) > 0.05:
        listed = ", ".join(f"{arm} {score(rate)}" for arm, rate in rates.items())
        notes.append(
            f"Arms drop different shares of the tokens ({listed}), so a difference may come from how much "
            "is dropped and not from which tokens."
        )
    return notes


def _fields_that_fit(results: Mapping[str, Any]) -> list[str]:
    """Fields whose columns leave the table within its width; "all" alone where there is but one field."""
    fields = results["fields"] if len(results["fields"]) > 1 else []
    room = TABLE_COLUMNS - max(len(arm) for arm in results["arms"]) - 44 - (KNOWN_WIDTH if known_rows(results) else 0)
    widths = itertools.accumulate(max(len(field), 5) + 2 for field in fields)
    return [field for field, width in zip(fields, widths, strict=True) if width <= room]


def _whole(number: float | None) -> str:
    return "-" if number is None else f"{number:,.0f}"


def _markdown_by_epoch(results: Mapping[str, Any]) -> list[str]:
    rows = {arm: row["by_epoch"] for arm, row in results["arms"].items() if row.get("by_epoch")}
    if not rows:
        return []
    epochs = [f"{one['epoch']:g}" for one in next(iter(rows.values()))]
    lines = ["## EM after so many passes, in training", "", markdown_row(["arm", *epochs])]
    lines.append("| --- " * (len(epochs) + 1) + "|")
    lines += [markdown_row([arm, *[score(one["em"]) for one in row]]) for arm, row in rows.items()]
    return [*lines, ""]


def _markdown_known(results: Mapping[str, Any]) -> list[str]:
    known = known_rows(results)
    if not known:
        return []
    asked = known[UNTRAINED]
    lines = ["## Known before training", ""]
    lines.append(f"{asked['questions']:,} questions about {asked['documents']:,} people. Lost: EM minus that before.")
    lines += ["", markdown_row(["arm", "EM", "F1", "lost", "95% interval", "separated"]), "| --- " * 6 + "|"]
    for arm, row in known.items():
        scores = [f"{score(row[metric]['value'])} {range_text(row[metric])}" for metric in ("em", "f1")]
        lost = ["-", "-", "-"]
        if paired := row["lost"]:
            separated = "separated" if paired["separated"] else "not separated"
            lost = [signed(paired["difference"]), range_text(paired, signed), separated]
        lines.append(markdown_row([arm, *scores, *lost]))
    return [*lines, ""]


def _markdown_scores(results: Mapping[str, Any], metric: str, name: str) -> list[str]:
    rows = {arm: row for arm, row in results["arms"].items() if row.get(metric)}
    if not rows:
        return []
    fields = results["fields"] if len(results["fields"]) > 1 else []
    lines = [f"## {name}, with 95% intervals", "", markdown_row(["arm", *fields, "all"])]
    lines.append("| --- " * (len(fields) + 2) + "|")
    for arm, row in rows.items():
        numbers = [*(row["fields"][field][metric] for field in fields), row[metric]]
        lines.append(markdown_row([arm, *[f"{score(one['value'])} {range_text(one)}" for one in numbers]]))
    return [*lines, ""]
