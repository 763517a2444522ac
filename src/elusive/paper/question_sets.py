"""Whether it matters that cues stand at the questions that are asked, as numbers (`wording` makes text of them)."""

from collections.abc import Sequence

import numpy as np

from elusive.evaluation.predictions import Questions, Scores
from elusive.experiments.selection import Choice, choices, difference, estimate
from elusive.stats.estimates import corrected_by_name

from .comparison import QuestionSets, QuestionSetsRow
from .experiments import Done


def question_sets_numbers(done: Sequence[Done]) -> QuestionSets:
    """Each arm's EM with cues at the questions that are asked and with cues at the other half, paired over questions.

    Args:
        done: four experiments: cues and questions from the first or second half of each document's questions.
    """
    by_sets = {(one.recipes[0].corpus.cue_questions, one.recipes[0].corpus.asked_questions): one for one in done}
    same = [by_sets["first", "first"], by_sets["second", "second"]]
    other = [by_sets["second", "first"], by_sets["first", "second"]]
    asked = _joined_questions(same)
    pairs = {arm: (_joined(same, arm), _joined(other, arm)) for arm in same[0].experiment.arms}
    [differences] = corrected_by_name([{arm: difference(a, b, asked, "em") for arm, (a, b) in pairs.items()}])
    rows = tuple(
        QuestionSetsRow(arm, estimate(a, asked, "em"), estimate(b, asked, "em"), differences[arm])
        for arm, (a, b) in pairs.items()
    )
    return QuestionSets(rows, sum(len(one.ids) for one in asked), len(asked))


def _joined_questions(halves: Sequence[Done]) -> list[Questions]:
    """The questions of both halves, cohort by cohort."""
    return [
        Questions(*(np.concatenate([getattr(one, name) for one in cohort]) for name in ("ids", "fields", "documents")))
        for cohort in zip(*(half.asked for half in halves), strict=True)
    ]


def _joined(halves: Sequence[Done], arm: str) -> Choice:
    """An arm's answers to the questions of both halves, cohort by cohort."""
    found = [next(iter(choices(half.outcomes, half.asked, equal=({},)).values()))[arm] for half in halves]
    cohorts = zip(*(choice.cohorts for choice in found), strict=True)
    joined = [
        Scores(*(np.concatenate([one.of(m) for one in cohort], axis=1) for m in ("em", "f1"))) for cohort in cohorts
    ]
    return Choice(arm, found[0].settings, tuple(joined))
