"""Whether cues at the questions that are asked matter: halves joined and paired."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from elusive.config.corpus import CorpusSettings
from elusive.config.verbs import ReproduceSettings, SweepRecipe
from elusive.corpus.question_sets import chosen_questions
from elusive.evaluation.predictions import Questions, Scores
from elusive.experiments.selection import Outcome
from elusive.paper.experiments import cohort_recipes, question_sets_of
from elusive.paper.families import family
from elusive.paper.plan import plan
from elusive.paper.question_sets import question_sets_numbers
from elusive.paper.wording import question_sets_markdown

ARM = "attention"


def done(cues: Any, asked: Any, right: list[float]) -> Any:
    """An experiment of one cohort and seed, with these answers to the questions of one half."""
    recipe = SweepRecipe(corpus=CorpusSettings(cue_questions=cues, asked_questions=asked))
    count = len(right)
    questions = Questions(*(np.array([f"{asked}{n}" for n in range(count)], dtype=object) for _ in range(3)))
    scores = Scores(np.array([right]), np.array([right]))
    outcomes = [Outcome(arm, "", (), None, (scores,)) for arm in ("untrained", ARM)]
    return SimpleNamespace(
        recipes=[recipe], asked=[questions], outcomes=outcomes, experiment=SimpleNamespace(arms=(ARM,))
    )


def test_both_halves_count_as_one():
    numbers = question_sets_numbers(
        [
            done("first", "first", [1, 1]),
            done("first", "second", [0, 0, 1]),
            done("second", "first", [1, 0]),
            done("second", "second", [0, 1, 1]),
        ]
    )
    (row,) = numbers.rows
    assert (row.arm, numbers.questions, numbers.cohorts) == (ARM, 5, 1)
    assert row.same.value == pytest.approx(4 / 5)  # 1 1 and 0 1 1
    assert row.disjoint.value == pytest.approx(2 / 5)  # 1 0 and 0 0 1
    assert row.difference.value == pytest.approx(2 / 5)
    text = question_sets_markdown(numbers)
    assert "5 questions of 1 cohort, in two halves" in text
    assert ".800" in text
    assert "+.400" in text


def test_the_experiments_are_all_four_of_one_corpus():
    pair, settings = family("embedded"), ReproduceSettings(people=4)
    recipes = [
        cohort_recipes(pair, name, role, one.arms, settings)[0].corpus for name, role, one in question_sets_of(pair)
    ]
    assert {(one.cue_questions, one.asked_questions) for one in recipes} == {
        (cues, asked) for cues in ("first", "second") for asked in ("first", "second")
    }
    assert len({(one.people, one.seed) for one in recipes}) == 1
    text = plan(["question-sets"], settings)
    assert "cues-first-asked-second: embedded large learns, for question-sets" in text
    assert "3 cohorts of 4 documents" in text
    assert "8 questions of" in text
    assert "12 questions of" in text
    assert chosen_questions([], "first") == []
