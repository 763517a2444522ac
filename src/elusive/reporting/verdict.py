"""What the results say, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from elusive.augmentation.arms import ARMS
from elusive.experiments.trials import UNTRAINED

from .formatting import range_text, score, signed

NEAR_ZERO = 0.02
"""Below this EM in every arm, a comparison says nothing; above 1 minus this, nothing is left to compare."""


FEW_DOCUMENTS = 20
"""Percentile intervals over fewer documents come out too narrow."""


FEW_SEEDS = 10
"""Of intervals over fewer training seeds, what the seeds add to the width comes out too narrow."""


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
    if models["large"] == models["small"] and any(arm in ARMS and ARMS[arm].contrasts for arm in results["arms"]):
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
