"""The tables of a sweep as Markdown: every trial, and what each way of choosing settings gives."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from elusive.augmentation.wording import dropout_words
from elusive.config.verbs import SweepRecipe
from elusive.corpus.question_sets import question_sets_of
from elusive.evaluation.predictions import Questions
from elusive.experiments.selection import WAYS, Choice, Outcome, difference, estimate, outcome_words, pooled
from elusive.experiments.sweep import Swept
from elusive.experiments.trials import UNTRAINED
from elusive.runs.folder import RunFolder
from elusive.stats.estimates import corrected

from .formatting import cell, estimate_text, markdown_table, remarked_text, score, sentence

_SEARCHED = (
    "The search saw all questions, also those of the halves: what it found is optimistic in each of the ways below."
)


def sweep_markdown(swept: Swept, metric: str) -> str:
    """Every trial of a sweep, then each arm's settings and result by each way of choosing, with paired differences.

    Args:
        swept: what `sweep.sweep` returns.
        metric: what was chosen by, em or f1.
    """
    outcomes: dict[str, list[Outcome]] = {}
    for outcome in swept.outcomes:
        outcomes.setdefault(outcome.arm, []).append(outcome)
    rows = [
        [arm, outcome_words(outcome), *(score(pooled(outcome, name)) for name in ("em", "f1"))]
        for arm, tried in outcomes.items()
        for outcome in sorted(tried, key=lambda one: -pooled(one, metric))
    ]
    title = f": {cell(swept.recipe.title)}" if swept.recipe.title != SweepRecipe.title else ""
    sets = question_sets_of(RunFolder(Path(swept.recipe.output)).corpus)
    lines = [f"# Sweep{title}", "", _counts(swept), ""]
    lines += [f"Question sets: {cell(sets)}.", ""] if sets else []
    lines += ["## Every trial", ""]
    lines += [*markdown_table(["arm", "settings", "EM", "F1"], rows), ""]
    if swept.recipe.sweep.search == "tpe":
        lines += [_SEARCHED, ""]
    for way, chosen in swept.choices(metric).items():
        name, _, settings = way.partition(": ")
        lines += [f"## {cell(_heading(WAYS[name], settings))}", ""]
        lines += [*_chosen(chosen, [swept.asked]), "", *_differences(chosen, [swept.asked], metric), ""]
    return "\n".join(lines)


def _heading(way: str, settings: str) -> str:
    return sentence(way) + (f": {settings}" if settings else "")


def _counts(swept: Swept) -> str:
    """What was tried, and what the intervals are over."""
    trained = [trial for trial in swept.trials if trial.arm != UNTRAINED]
    seeds = max((len(trial.seeds) for trial in trained), default=1)
    of_one = "documents alone: one training seed says nothing about how trainings differ"
    over = f"documents and the {seeds} training seeds" if seeds > 1 else of_one
    return (
        f"{len(trained):,} trained trials, {len(swept.asked.ids):,} questions about "
        f"{swept.asked.document_count:,} documents. 95% intervals over {over}. Dropout, where a trial chooses nothing "
        f"else: {cell(dropout_words(swept.recipe.augment))}."
    )


def _chosen(chosen: Mapping[str, Choice], questions: Sequence[Questions]) -> list[str]:
    rows = []
    for arm, choice in chosen.items():
        found = [estimate(choice, questions, name) for name in ("em", "f1")]
        rows.append([arm, choice.settings, *map(estimate_text, found)])
    return markdown_table(["arm", "settings", "EM", "F1"], rows)


def _differences(chosen: Mapping[str, Choice], questions: Sequence[Questions], metric: str) -> list[str]:
    """Each pair of arms once."""
    pairs = [(a, b) for place, a in enumerate(chosen) for b in list(chosen)[:place]]
    found = corrected([difference(chosen[a], chosen[b], questions, metric) for a, b in pairs])
    rows = [[f"{a} minus {b}", remarked_text(one)] for (a, b), one in zip(pairs, found, strict=True)]
    return markdown_table(["arms", f"{metric.upper()}, paired differences"], rows)
