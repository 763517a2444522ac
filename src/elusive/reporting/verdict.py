"""What the results say, in sentences."""

from collections.abc import Mapping, Sequence

from elusive.augmentation.arms import ARMS
from elusive.experiments.trials import UNTRAINED
from elusive.stats.estimates import Difference

from .formatting import difference_text, score
from .results import ArmDifference, Results, Verdict

NEAR_ZERO = 0.02
"""Below this EM in every arm, a comparison says nothing; above 1 minus this, nothing is left to compare."""


FEW_DOCUMENTS = 20
"""Percentile intervals over fewer documents come out too narrow."""


FEW_SEEDS = 10
"""Of intervals over fewer training seeds, what the seeds add to the width comes out too narrow."""


def verdict(results: Results) -> Verdict:
    """What the paired intervals allow to be said, and no more.

    Args:
        results: the numbers; their own verdict is not read.
    """
    trained = [arm for arm in results.arms if arm != UNTRAINED]
    overall = {arm: row.em.value or 0.0 for arm, row in results.arms.items() if row.em}
    if not overall:
        headline = "Nothing was evaluated: the corpus brings no questions."
        return Verdict(headline, notes=tuple(_training_notes(results)))
    pairs = [pair for pair in results.pairs if pair.field == "all"]
    between = [pair for pair in pairs if UNTRAINED not in (pair.a, pair.b)]
    best = max(overall, key=lambda arm: overall[arm])
    notes = []
    if overall[best] < NEAR_ZERO:
        headline = f"No arm can answer these questions: the highest EM is {score(overall[best])} ({best})."
        notes.append("At this level, differences between arms say nothing about how the text was augmented.")
    elif min(overall[arm] for arm in trained) > 1 - NEAR_ZERO:
        headline = "Every trained arm answers nearly all questions, so this corpus cannot tell the arms apart."
    else:
        headline = _headline(len(trained), sum(pair.separated for pair in between), len(between))
    notes += _untrained_notes(pairs, overall) + _known_notes(results)
    notes += _interval_notes(results, between) + _training_notes(results)
    return Verdict(
        headline,
        separated=tuple(pair_text(pair) for pair in between if pair.separated),
        not_separated=tuple(pair_text(pair) for pair in between if not pair.separated),
        notes=tuple(notes),
    )


def pair_text(pair: ArmDifference) -> str:
    """One paired difference as text."""
    return f"{pair.a} minus {pair.b}: {difference_text(pair)}"


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


def _untrained_notes(pairs: Sequence[ArmDifference], overall: Mapping[str, float]) -> list[str]:
    above, below, same = _by_side({pair.a: pair for pair in pairs if pair.b == UNTRAINED})
    groups = {"above it": above, "below it": below, "not separated from it": same}
    said = "; ".join(f"{name}: {', '.join(arms)}" for name, arms in groups.items() if arms)
    return [f"The model before training has an EM of {score(overall[UNTRAINED])} ({said})."]


def _by_side(differences: Mapping[str, Difference]) -> tuple[list[str], list[str], list[str]]:
    """Names of the differences that are separated and above zero, separated and below it, and not separated."""
    above, below, same = [], [], []
    for name, one in differences.items():
        (same if not one.separated else above if (one.value or 0.0) > 0 else below).append(name)
    return above, below, same


def _known_notes(results: Results) -> list[str]:
    known = results.known
    if not known:
        return []
    lost = {arm: row.lost for arm, row in known.items() if row.lost}
    above, below, same = _by_side(lost)
    groups = {"lost": below, "gained": above, "not separated from it": same}
    said = "".join(
        f"; {name}: " + ", ".join(f"{arm} {difference_text(lost[arm])}" for arm in arms)
        for name, arms in groups.items()
        if arms
    )
    before = known[UNTRAINED]
    return [
        f"What was known before training ({before.questions:,} questions about {before.documents:,} people): "
        f"EM {score(before.em.value)} before{said}."
    ]


def _interval_notes(results: Results, between: Sequence[ArmDifference]) -> list[str]:
    notes = []
    seeds, documents = len(results.seeds), results.corpus.documents
    if any(not pair.separated for pair in between):
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


def _training_notes(results: Results) -> list[str]:
    notes = []
    models = results.models
    if models.large == models.small and any(arm in ARMS and ARMS[arm].contrasts for arm in results.arms):
        notes.append(
            f"Large and small are one model ({models.large}): there is no contrast, and the contrast arms rank "
            "tokens by nothing but their order in the text."
        )
    steps = {arm: round(row.steps) for arm, row in results.arms.items() if row.steps is not None}
    if len(set(steps.values())) > 1:
        listed = ", ".join(f"{arm} {number:,}" for arm, number in steps.items())
        notes.append(f"Arms were trained for different numbers of optimizer steps ({listed}).")
    rates = {arm: row.mean_drop_rate for arm, row in results.arms.items() if row.mean_drop_rate}
    if rates and max(rates.values()) - min(rates.values()) > 0.05:
        listed = ", ".join(f"{arm} {score(rate)}" for arm, rate in rates.items())
        notes.append(
            f"Arms drop different shares of the tokens ({listed}), so a difference may come from how much "
            "is dropped and not from which tokens."
        )
    return notes
