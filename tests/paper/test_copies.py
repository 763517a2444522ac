"""The study of what may be dropped: means, paired changes and survival of two settings in two cohorts, by hand."""

from pathlib import Path

import numpy as np
import pytest

from elusive.augmentation.survival import Survival
from elusive.config.toml import from_table
from elusive.config.verbs import SweepRecipe
from elusive.evaluation.predictions import Questions, Scores
from elusive.experiments.selection import Outcome
from elusive.paper.copies import Copies, copies_markdown, copies_numbers
from elusive.paper.experiments import Done
from elusive.paper.families import Experiment
from elusive.runs.files import write_json

ARMS = ("random-matched", "attention", "contrast-cues")
QUESTIONS = Questions(
    np.array([f"{document}-{field}" for document in "abcd" for field in ("date", "company")]),
    fields=np.array(["date", "company"] * 4),
    documents=np.repeat(list("abcd"), 2),
)


def outcome(arm: str, *cohorts: list[int]) -> Outcome:
    em = [np.array([answers], dtype=float) for answers in cohorts]
    return Outcome(arm, "", (), None, tuple(Scores(one, one) for one in em))


def done(folder: Path, setting: str, augment: dict[str, object], outcomes: list[Outcome]) -> Done:
    recipes = []
    for cohort, (rate, intact) in enumerate(((0.3, 0.5), (0.4, 0.7)), 1):
        run = folder / f"cohort-{cohort}"
        for arm in ("plain", *ARMS):
            summary = {"documents": 4, "texts": 44, "mean_drop_rate": rate}
            survival = {} if arm == "plain" else {"name": {"intact": intact}, "date": {"intact": 0.5, "with_head": 0.1}}
            write_json(run / "augmented" / arm / "done.json", summary | {"survival": survival})
        arms = [one.arm for one in outcomes if one.arm != "untrained"]
        table = {"arms": arms, "output": str(run), "seeds": [cohort], "augment": augment}
        recipes.append(from_table(SweepRecipe, table, "test"))
    return Done(setting, "large", Experiment(attempt=setting), recipes, [QUESTIONS] * 2, outcomes, 1.0)


@pytest.fixture
def numbers(tmp_path: Path) -> Copies:
    none, half, most = [0] * 8, [1, 0] * 4, [1, 1, 1, 1, 1, 1, 1, 0]
    first = [outcome("untrained", none, none), outcome("plain", half, half)]
    first += [outcome("random-matched", none, half), outcome("attention", half, half)]
    first += [outcome("contrast-cues", half, most)]
    second = [outcome("untrained", none, none), outcome("random-matched", half, half)]
    second += [outcome("attention", half, half), outcome("contrast-cues", most, most)]
    return copies_numbers(
        [
            done(tmp_path / "off", "off", {}, first),
            done(tmp_path / "words", "whole words", {"unit": "word"}, second),
        ]
    )


def test_by_hand(numbers: Copies) -> None:
    off, words = numbers.blocks
    assert (numbers.cohorts, numbers.documents) == (2, 8)
    assert [row.arm for row in off.rows] == ["plain", *ARMS]
    assert [row.arm for row in words.rows] == list(ARMS)
    assert [row.all.value for row in off.rows] == [0.5, 0.25, 0.5, 11 / 16]
    assert [row.fields["company"].value for row in off.rows] == [0, 0, 0, 3 / 8]
    assert [row.change for row in off.rows] == [None] * 4
    assert [row.change.value for row in words.rows if row.change] == [0.25, 0, 3 / 16]
    assert off.pairs["attention"].value == 3 / 16
    assert words.pairs["random-matched"].value == 3 / 8
    plain, matched = off.rows[:2]
    assert (plain.mean_drop_rate, plain.survival) == (None, {})
    assert matched.mean_drop_rate == pytest.approx(0.35)
    assert matched.survival["name"].intact == pytest.approx(0.6)
    assert matched.survival["name"].with_head is None
    assert matched.survival["date"] == Survival(0.5, 0.1)


def test_in_words(numbers: Copies) -> None:
    text = copies_markdown(numbers)
    assert "- whole words: alpha 0.6, beta 0.05, unseen tokens kept, whole words\n" in text
    assert "8 documents in 2 cohorts, each arm trained once on each." in text
    assert "| setting | arm | date EM | company EM | all EM | minus the first setting | known EM, lost |" in text
    assert "| whole words | contrast (cues) | 1.000" in text
    assert "| whole words | attention | .350 | .600 | .500 / .100 |" in text
    assert "| off | plain |" in text
    assert text.count("| plain |") == 1  # it has no copies of which anything could survive
