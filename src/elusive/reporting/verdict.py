"""What the results say, in sentences."""

from collections.abc import Mapping, Sequence

from elusive.augmentation.arms import ARMS
from elusive.augmentation.summary import MOST_AT_CEILING, MOST_UNCHANGED
from elusive.experiments.trials import UNTRAINED
from elusive.stats.estimates import Difference

from .best import best_arm, cost
from .formatting import REMARKS, difference_text, remark, score
from .results import ArmDifference, Results, Verdict

NEAR_ZERO = 0.02
"""Below this EM in every arm, a comparison says nothing; above 1 minus this, nothing is left to compare."""


FEW_DOCUMENTS = 20
"""Percentile intervals over fewer documents come out too narrow."""


def verdict(results: Results) -> Verdict:
    """What the paired intervals allow to be said, and no more.

    Args:
        results: the numbers; their own verdict is not read.
    """
    overall = {arm: row.em.value or 0.0 for arm, row in results.arms.items() if row.em}
    winner = best_arm(results)
    if winner is None:
        return Verdict(_nothing_evaluated(results), notes=tuple(_training_notes(results)))
    trained = [arm for arm in overall if arm != UNTRAINED]
    pairs = [pair for pair in results.pairs if pair.field == "all"]
    between = [pair for pair in pairs if UNTRAINED not in (pair.a, pair.b)]
    best = max(overall, key=lambda arm: overall[arm])
    notes, advice = [], winner.advice
    if overall[best] < NEAR_ZERO:
        headline = f"No arm can answer these questions: the highest EM is {score(overall[best])} ({best})."
        notes.append("At this level, differences between arms say nothing about how the text was augmented.")
        advice = "Use none of them yet: train longer, or a larger model, until plain training answers some questions."
    elif min(overall[arm] for arm in trained) > 1 - NEAR_ZERO:
        headline = "Every trained arm answers nearly all questions, so this corpus cannot tell the arms apart."
        advice = "Train on more documents, or for fewer steps, to see a difference."
    elif len(trained) == 1:
        headline = f"{winner.headline} No other arm was trained to compare it with."
    else:
        headline = winner.headline
        notes += _separated_notes(between)
    notes += _untrained_notes(pairs, overall) + _known_notes(results)
    notes += _interval_notes(results) + _training_notes(results)
    return Verdict(
        f"So far: {headline}" if results.missing else headline,
        cost=cost(results, winner),
        advice=advice,
        differences=_by_remark(between),
        notes=tuple(notes),
    )


def pair_text(pair: ArmDifference) -> str:
    """One paired difference as text."""
    return f"{pair.a} minus {pair.b}: {difference_text(pair)}"


def _by_remark(pairs: Sequence[ArmDifference]) -> dict[str, tuple[str, ...]]:
    """The differences as text by what may be said of them, the most first; nothing of what no difference has."""
    groups = {name: tuple(pair_text(pair) for pair in pairs if remark(pair) == name) for name in REMARKS}
    return {name: texts for name, texts in groups.items() if texts}


def _nothing_evaluated(results: Results) -> str:
    if results.corpus.questions:
        return "No trained arm has answered the questions yet."
    return "Nothing was evaluated: the corpus brings no questions."


def _separated_notes(between: Sequence[ArmDifference]) -> list[str]:
    """How many of several differences are separated; nothing where that is one, or none can be."""
    pairs = len(between)
    return [_separated(between)] if pairs > 1 and not any(pair.trained_once for pair in between) else []


def _separated(between: Sequence[ArmDifference]) -> str:
    separated, pairs = sum(pair.separated for pair in between), len(between)
    after = "at 95% after correction for the number of comparisons"
    if separated == 0:
        return f"No difference in EM between the trained arms is separated from zero {after}."
    if separated == pairs:
        return f"All {pairs} differences in EM between the trained arms are separated from zero {after}."
    verb = "is" if separated == 1 else "are"
    return f"{separated} of {pairs} differences in EM between the trained arms {verb} separated from zero {after}."


def _untrained_notes(pairs: Sequence[ArmDifference], overall: Mapping[str, float]) -> list[str]:
    if UNTRAINED not in overall:
        return []
    above, below, same = _by_side({pair.a: pair for pair in pairs if pair.b == UNTRAINED})
    groups = {"above it": above, "below it": below, "not told apart": same}
    said = "; ".join(f"{name}: {', '.join(arms)}" for name, arms in groups.items() if arms)
    return [f"The model before training has an EM of {score(overall[UNTRAINED])} ({said})."]


def _by_side(differences: Mapping[str, Difference]) -> tuple[list[str], list[str], list[str]]:
    """Names of the differences whose intervals are above zero, below it, and around it."""
    above, below, same = [], [], []
    for name, one in differences.items():
        (same if not one.leaves_zero_out else above if (one.value or 0.0) > 0 else below).append(name)
    return above, below, same


def _known_notes(results: Results) -> list[str]:
    known = results.known
    if not known:
        return []
    lost = {arm: row.lost for arm, row in known.items() if row.lost}
    above, below, same = _by_side(lost)
    groups = {"lost": below, "gained": above, "not told apart": same}
    said = "".join(
        f"; {name}: " + ", ".join(f"{arm} {difference_text(lost[arm])}" for arm in arms)
        for name, arms in groups.items()
        if arms
    )
    before = known[UNTRAINED]
    return [f"What was known before training ({before.asked}): EM {score(before.em.value)} before{said}."]


def _interval_notes(results: Results) -> list[str]:
    seeds, documents = len(results.seeds), results.corpus.documents
    notes = []
    if seeds == 1:
        notes.append(
            "Each arm was trained with one seed: the intervals cover the choice of documents (people), "
            "not the training seed. Another seed can move every number; give several (seeds = [0, 1, 2]) to compare "
            "arms."
        )
    else:
        notes.append(
            f"The intervals cover the choice of documents (people) and of training seeds ({seeds} of each arm), which "
            "are the same for the two arms of a difference."
        )
    if len(results.pairs) > 1:
        notes.append(
            f"The p-values of the {len(results.pairs)} differences in the table are corrected for their number (Holm)."
        )
    if documents < 2:
        notes.append("One document allows no interval.")
    elif seeds == 1 and documents < FEW_DOCUMENTS:
        notes.append(f"Intervals over only {documents} documents come out too narrow: read them as rough.")
    return notes


def _training_notes(results: Results) -> list[str]:
    notes = []
    models = results.models
    one = models.large == models.small and results.read.get("large") == results.read.get("small")
    if one and any(arm in ARMS and ARMS[arm].contrasts for arm in results.arms):
        notes.append(
            f"Large and small are one model ({models.large}): there is no contrast, and the contrast arms rank "
            "tokens by nothing but their order in the text."
        )
    steps = {arm: round(row.steps) for arm, row in results.arms.items() if row.steps is not None}
    if len(set(steps.values())) > 1:
        listed = ", ".join(f"{arm} {number:,}" for arm, number in steps.items())
        notes.append(f"Arms were trained for different numbers of optimizer steps ({listed}).")
    for arm, row in results.arms.items():
        if row.at_ceiling is not None and row.at_ceiling > MOST_AT_CEILING:
            notes.append(
                f"{arm} is nearly random dropout: {row.at_ceiling:.0%} of the tokens that it ranks have a drop "
                "probability within 1% of alpha, because the documents are long for this beta."
            )
        if row.unchanged is not None and row.unchanged > MOST_UNCHANGED:
            notes.append(
                f"{arm} hardly differs from plain training: {row.unchanged:.0%} of its copies are their original, word "
                "for word, because few sentences have a clear clue or may change places."
            )
    rates = {arm: row.mean_drop_rate for arm, row in results.arms.items() if row.mean_drop_rate}
    if rates and max(rates.values()) - min(rates.values()) > 0.05:
        listed = ", ".join(f"{arm} {score(rate)}" for arm, rate in rates.items())
        notes.append(
            f"Arms drop different shares of the tokens ({listed}), so a difference may come from how much "
            "is dropped and not from which tokens."
        )
    return notes
