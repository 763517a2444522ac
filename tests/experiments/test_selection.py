"""The ways of choosing settings: by hand, on one cohort and on several, and what is refused."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from elusive.config.run import Recipe
from elusive.config.training import TrainSettings
from elusive.config.verbs import SweepRecipe, SweepSettings
from elusive.errors import ElusiveError
from elusive.evaluation.predictions import Questions, Scores
from elusive.experiments.selection import (
    WAYS,
    Choice,
    Outcome,
    choices,
    difference,
    estimate,
    outcome_words,
    pooled,
    questions_of,
    read_outcomes,
    words,
)
from elusive.experiments.sweep import equal_settings
from elusive.experiments.trials import UNTRAINED, Trial, grid_trials
from elusive.reporting.sweeps import sweep_markdown
from elusive.runs.files import write_json, write_jsonl
from elusive.runs.folder import RunFolder
from elusive.stats.estimates import Difference, Estimate
from elusive.stats.halves import first_half
from elusive.stats.intervals import cohort_interval, interval, paired_differences

DOCUMENTS = ["a", "b", "c", "d"]


def asked_of(documents: list[str], fields: list[str] | None = None) -> Questions:
    ids = [f"q{number}" for number in range(len(documents))]
    columns = (ids, fields or ["date"] * len(documents), documents)
    return Questions(*(np.array(column, dtype=object) for column in columns))


def outcome(arm: str, chosen: dict[str, Any], *cohorts: Any, epoch: float | None = None) -> Outcome:
    """An outcome whose F1 is one less its EM, so that the two never choose alike."""
    scores = [np.atleast_2d(np.array(one, dtype=float)) for one in cohorts]
    return Outcome(arm, str(chosen), tuple(chosen.items()), epoch, tuple(Scores(em, 1 - em) for em in scores))


ASKED = asked_of(DOCUMENTS)
FIRST = first_half(DOCUMENTS, 0, "shuffle")
"""Which documents are in the first half."""
A, B = {"train.epochs": 1.0}, {"train.epochs": 2.0}


# ---- chosen on the questions that are reported


def test_by_test_the_best_mean_is_taken_and_of_equals_the_first():
    tried = [
        outcome("plain", A, [1, 0, 0, 0]),
        outcome("plain", B, [0, 1, 1, 0]),
        outcome("plain", {"train.epochs": 3.0}, [1, 0, 0, 1]),
    ]
    found = choices(tried, [ASKED])["test"]["plain"]
    assert found.settings == "epochs 2"
    assert found.cohorts[0].em.tolist() == [[0, 1, 1, 0]]
    assert choices(tried, [ASKED], "f1")["test"]["plain"].settings == "epochs 1"
    assert choices(tried[::-1], [ASKED])["test"]["plain"].settings == "epochs 3"


def test_seeds_are_averaged_and_an_earlier_pass_may_be_best():
    tried = [
        outcome("plain", A, [[1, 0, 0, 0], [1, 1, 1, 1]], epoch=1.0),
        outcome("plain", A, [[1, 1, 0, 0], [1, 1, 0, 0]]),
        outcome("random", A, [[1, 1, 0, 0], [1, 1, 0, 0]], epoch=10.0),
    ]
    found = choices(tried, [ASKED])["test"]
    assert found["plain"].settings == "epochs 1, after 1 epoch"
    assert found["random"].settings == "epochs 1, after 10 epochs"
    assert pooled(found["plain"], "em") == 5 / 8
    assert pooled(found["plain"], "f1") == 3 / 8


# ---- held out


def test_held_out_reports_each_half_with_what_is_best_on_the_other():
    # A is right about the first half alone, B about the second alone: on the half that chooses, each looks perfect,
    # and on the half that is reported it is never right.
    tried = [outcome("plain", A, FIRST), outcome("plain", B, ~FIRST)]
    found = choices(tried, [ASKED])
    held_out = found["held-out"]["plain"]
    # The first half is answered by B, which was best on the second, and the other way round.
    assert held_out.settings == "epochs 2 / epochs 1"
    assert held_out.cohorts[0].em.tolist() == [[0, 0, 0, 0]]
    assert held_out.cohorts[0].f1.tolist() == [[1, 1, 1, 1]]
    assert pooled(found["test"]["plain"], "em") == 0.5


def test_held_out_of_settings_that_are_best_on_both_halves_is_test():
    tried = [outcome("plain", A, [1, 1, 1, 0]), outcome("plain", B, [0, 0, 0, 0])]
    found = choices(tried, [ASKED])
    assert found["held-out"]["plain"].settings == "epochs 1"
    assert found["held-out"]["plain"].cohorts[0].em.tolist() == [[1, 1, 1, 0]]
    equals = [outcome("plain", one, [1, 1, 1, 1]) for one in (B, A)]
    assert choices(equals, [ASKED])["held-out"]["plain"].settings == "epochs 2"


def test_held_out_is_left_out_where_nothing_can_be_halved():
    one = asked_of(["a", "a", "a"])
    assert list(choices([outcome("plain", A, [1, 1, 0])], [one])) == ["test"]
    assert list(choices([outcome("plain", A, [1, 1], [0, 0])], [asked_of(["a", "a"]), asked_of(["b", "c"])])) == [
        "held-out",
        "test",
    ]


def test_an_arm_that_was_not_tried_further_is_reported_as_it_is():
    tried = [outcome(UNTRAINED, {}, [0, 0, 1, 0]), outcome("plain", A, FIRST), outcome("plain", B, ~FIRST)]
    found = choices(tried, [ASKED], equal=[A])
    assert [way[UNTRAINED].cohorts[0].em.tolist() for way in found.values()] == [[[0, 0, 1, 0]]] * 3
    assert {way[UNTRAINED].settings for way in found.values()} == {"-"}


# ---- equal


def test_equal_takes_the_end_of_training_with_these_settings():
    tried = [
        outcome("plain", A, [1, 1, 1, 1], epoch=1.0),
        outcome("plain", A, [1, 0, 0, 0]),
        outcome("random", {**A, "augment.alpha": 0.2}, [1, 1, 1, 1]),
        outcome("random", {**A, "augment.alpha": 0.6}, [0, 0, 0, 1]),
        outcome("random", {**B, "augment.alpha": 0.6}, [1, 1, 1, 1]),
    ]
    found = choices(tried, [ASKED], equal=[{**A, "augment.alpha": 0.6}, {**A, "augment.alpha": 0.2}])
    assert list(found) == ["equal: epochs 1, alpha 0.6", "equal: epochs 1, alpha 0.2", "held-out", "test"]
    assert {way.partition(":")[0] for way in found} == set(WAYS)
    first, second, *_ = found.values()
    assert first["random"].cohorts[0].em.tolist() == [[0, 0, 0, 1]]
    assert second["random"].cohorts[0].em.tolist() == [[1, 1, 1, 1]]
    assert first["plain"].cohorts[0].em.tolist() == [[1, 0, 0, 0]], "an arm without alpha, at the end"


def test_equal_settings_that_were_not_tried_are_refused():
    with pytest.raises(ElusiveError, match=r"trial of plain with epochs 7, got none\. Add these values to the grid"):
        choices([outcome("plain", A, [1, 1, 1, 1])], [ASKED], equal=[{"train.epochs": 7.0}])
    with pytest.raises(ElusiveError, match=r"got none"):
        choices([outcome("plain", A, [1, 1, 1, 1], epoch=1.0)], [ASKED], equal=[A])


def sweep_recipe(arms: tuple[Any, ...], **sweep: Any) -> SweepRecipe:
    return SweepRecipe(arms=arms, train=TrainSettings(epochs=2.0), sweep=SweepSettings(**sweep))


def test_equal_settings_of_a_sweep_are_its_recipe_s_own_where_they_are_tried():
    def equal(arms: tuple[Any, ...], **sweep: Any) -> dict[str, Any] | None:
        recipe = sweep_recipe(arms, **sweep)
        return equal_settings(recipe, grid_trials(recipe))

    arms = ("plain", "random")
    grid = {"train.epochs": [1.0, 2.0], "augment.alpha": [0.2, 0.6]}
    assert equal(arms, grid=grid) == {"train.epochs": 2.0, "augment.alpha": 0.6}
    assert equal(arms, grid={"augment.alpha": [0.2]}) is None
    assert equal(arms, grid=grid, grids={"random": {"augment.alpha": [0.2]}}) is None
    assert equal(arms, grid=grid, equal={"augment.alpha": 0.2}) == {"train.epochs": 2.0, "augment.alpha": 0.2}
    assert equal(("plain",), grid=grid, equal={"augment.alpha": 0.2})["train.epochs"] == 2.0  # type: ignore[index]
    assert equal(arms) == {}
    with pytest.raises(ElusiveError, match=r"sweep\.equal: expected values that are tried, got 0\.3 for 'augment\.alp"):
        equal(arms, grid=grid, equal={"augment.alpha": 0.3})
    with pytest.raises(ElusiveError, match=r"sweep\.equal: expected values that are tried, got 1e-05"):
        equal(arms, grid=grid, equal={"train.learning_rate": 1e-5})
    with pytest.raises(ElusiveError, match=r"sweep\.equal: expected settings that random is tried with"):
        equal(arms, grid=grid, grids={"random": {"augment.alpha": [0.2]}}, equal={"train.epochs": 2.0})


# ---- cohorts


def test_cohorts_are_pooled_and_halved_each_by_itself():
    second = asked_of(["u", "v", "w", "x", "y", "z"])
    other = first_half(second.documents.tolist(), 1, "shuffle")
    tried = [outcome("plain", A, FIRST, other), outcome("plain", B, ~FIRST, ~other)]
    found = choices(tried, [ASKED, second])
    assert pooled(found["test"]["plain"], "em") == 0.5
    assert [one.em.sum() for one in found["held-out"]["plain"].cohorts] == [0, 0]
    # One choice for all cohorts: over ten questions B is better, though not on the first four.
    tried = [outcome("plain", A, [1, 1, 1, 1], [0, 0, 0, 0, 0, 0]), outcome("plain", B, [0] * 4, [1] * 6)]
    assert choices(tried, [ASKED, second])["test"]["plain"].settings == "epochs 2"


def test_pooled_weighs_questions_alike_and_masks_leave_some_out():
    one = outcome("plain", A, [[1, 1], [1, 0]], [[0, 0, 0], [0, 0, 1]])
    assert pooled(one, "em") == pytest.approx((1 + 0.5 + 0 + 0 + 0.5) / 5)
    masks = [np.array([True, False]), np.array([False, False, True])]
    assert pooled(one, "em", masks) == pytest.approx((1 + 0.5) / 2)


# ---- estimates and differences, beside intervals


def choice_of(*cohorts: Any) -> Choice:
    return Choice("plain", "-", outcome("plain", {}, *cohorts).cohorts)


def test_estimate_is_the_interval_of_one_cohort():
    random = np.random.default_rng(0)
    values, documents = random.random((3, 12)), [str(number // 2) for number in range(12)]
    found = estimate(choice_of(values), [asked_of(documents)], "em", resamples=500)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == interval(values, documents, 500)[:2]


def test_estimate_of_some_fields_looks_at_these_alone():
    values, documents = [1.0, 0.0, 1.0, 0.0, 1.0, 1.0], list("aabbcc")
    asked = asked_of(documents, ["date", "city"] * 3)
    found = estimate(choice_of(values), [asked], "em", ["city"], resamples=200)
    assert found.value == pytest.approx(1 / 3)
    assert (found.low, found.high) == interval(values[1::2], ["a", "b", "c"], 200)[:2]
    assert estimate(choice_of(values), [asked], "em", ["city", "date"]).value == pytest.approx(2 / 3)


def test_estimate_of_cohorts_counts_each_alike():
    random = np.random.default_rng(1)
    values = [random.random((2, 6)), random.random((2, 20))]
    documents = [[str(number // 2) for number in range(one.shape[1])] for one in values]
    found = estimate(choice_of(*values), [asked_of(one) for one in documents], "em", resamples=300)
    assert found.value == pytest.approx((values[0].mean() + values[1].mean()) / 2)
    low, high, _ = cohort_interval(values, documents, 300)
    assert (found.low, found.high) == (max(low, 0.0), min(high, 1.0))


def test_difference_is_the_paired_interval_and_says_whether_it_leaves_zero_out():
    random = np.random.default_rng(2)
    documents = [str(number // 2) for number in range(40)]
    hard = np.repeat(random.normal(0, 1, 20), 2)
    a, b = hard + 0.3 + random.normal(0, 0.1, (2, 40)), hard + random.normal(0, 0.1, (2, 40))
    found = difference(choice_of(a), choice_of(b), [asked_of(documents)], "em", resamples=400)
    assert (found.low, found.high, found.p_value) == interval(paired_differences(a, b), documents, 400)
    assert found.value == pytest.approx((a - b).mean())
    assert found.separated
    back = difference(choice_of(b), choice_of(a), [asked_of(documents)], "em", resamples=400)
    assert back.separated
    assert (back.high or 0.0) < 0
    assert not difference(choice_of(a), choice_of(a), [asked_of(documents)], "em").separated
    # An end at zero does not leave it out.
    ends_at_zero = difference(choice_of([1, 0, 0, 0]), choice_of([0, 0, 0, 0]), [ASKED], "em")
    assert ends_at_zero.low == 0.0
    assert not ends_at_zero.leaves_zero_out


def test_a_model_asked_once_is_set_against_every_seed():
    trained, once = [[1, 1, 0, 1], [1, 0, 1, 1]], [0, 0, 1, 0]
    found = difference(choice_of(trained), choice_of(once), [ASKED], "em", resamples=300)
    expected = interval(paired_differences(trained, [once]), DOCUMENTS, 300)
    assert (found.low, found.high, found.p_value) == expected
    assert found.value == 0.5


def test_one_document_gives_no_interval():
    one = asked_of(["a", "a"])
    assert estimate(choice_of([1, 0]), [one], "em") == Estimate(0.5, None, None)
    found = difference(choice_of([1, 1]), choice_of([0, 0]), [one], "em")
    assert found == Difference(1.0, None, None, trainings=1)
    assert not found.separated


# ---- words


def test_settings_in_words():
    assert words({"train.learning_rate": 0.002, "models.large.heads": ["2.3", "0.1"], "augment.copies": 3}) == (
        "learning_rate 0.002, large_heads 2.3 0.1, copies 3"
    )
    assert words({"models.large.heads": [], "augment.blank": True}) == "large_heads all, blank True"
    # An empty list of heads is all of them, of protected spans none.
    assert words({"augment.protected_spans": []}) == "protected_spans none"
    assert outcome_words(outcome("plain", {}, [0])) == "-"
    assert outcome_words(outcome("plain", {}, [0], epoch=2.5)) == "after 2.5 epochs"
    assert outcome_words(outcome("plain", A, [0], epoch=1.0)) == "epochs 1, after 1 epoch"


# ---- read from folders


def write_answers(folder: Path, trial: Trial, seed: int, part: str, em: dict[str, float]) -> None:
    given = {"document_id": "a", "field": "date", "question": "?", "answers": ["x"], "prediction": "", "text": ""}
    rows = [{**given, "id": one, "em": value, "f1": value / 2} for one, value in em.items()]
    write_jsonl(trial.answers_folder(RunFolder(folder), seed) / part / "predictions.jsonl", rows)


def write_questions(folder: Path, documents: list[str]) -> None:
    given = {"field": "date", "question": "?", "answers": ["x"]}
    rows = [{**given, "id": f"q{n}", "document_id": one} for n, one in enumerate(documents)]
    write_jsonl(folder / "corpus" / "questions.jsonl", rows)


def test_outcomes_are_read_pass_by_pass_in_the_order_of_the_questions(tmp_path):
    recipe = Recipe(arms=("plain",), seeds=(0, 5), train=TrainSettings(evaluate_at_epochs=(2.0, 1.0)))
    trials = [Trial(UNTRAINED, recipe), Trial("plain", recipe, name="epochs-1", chosen=(("train.epochs", 1.0),))]
    write_questions(tmp_path, ["a", "b"])
    write_answers(tmp_path, trials[0], 0, "", {"q0": 0.0, "q1": 1.0})
    for seed, part, em in (
        (0, "epoch-1", {"q1": 1.0, "q0": 0.0}),
        (5, "epoch-1", {"q0": 0.5, "q1": 1.0}),
        (0, "epoch-2", {"q0": 0.0, "q1": 0.0}),
        (5, "epoch-2", {"q0": 0.0, "q1": 0.0}),
        (0, "", {"q0": 1.0, "q1": 1.0}),
        (5, "", {"q0": 0.0, "q1": 1.0}),
    ):
        write_answers(tmp_path, trials[1], seed, part, em)
    asked = questions_of(RunFolder(tmp_path))
    assert asked.documents.tolist() == ["a", "b"]
    found = read_outcomes([RunFolder(tmp_path)], [trials], [asked])
    assert [(one.arm, one.name, one.epoch) for one in found] == [
        (UNTRAINED, "", None),
        ("plain", "epochs-1", 1.0),
        ("plain", "epochs-1", 2.0),
        ("plain", "epochs-1", None),
    ]
    assert found[1].cohorts[0].em.tolist() == [[0.0, 1.0], [0.5, 1.0]]
    assert found[1].cohorts[0].f1.tolist() == [[0.0, 0.5], [0.25, 0.5]]
    assert found[1].chosen == (("train.epochs", 1.0),)
    (trials[1].answers_folder(RunFolder(tmp_path), 5) / "predictions.jsonl").unlink()
    with pytest.raises(ElusiveError, match=r"seed-5/predictions\.jsonl is missing"):
        read_outcomes([RunFolder(tmp_path)], [trials], [asked])


def test_answers_to_other_questions_and_other_trials_in_another_cohort_are_refused(tmp_path):
    recipe = Recipe(arms=("plain",))
    trials = [Trial("plain", recipe)]
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        write_questions(folder, ["a", "b"])
        write_answers(folder, trials[0], 0, "", {"q0": 0.0, "q1": 1.0})
    runs = [RunFolder(folder) for folder in folders]
    asked = [questions_of(run) for run in runs]
    assert len(read_outcomes(runs, [trials, trials], asked)[0].cohorts) == 2
    with pytest.raises(ElusiveError, match=r"same trials in every cohort's folder"):
        read_outcomes(runs, [trials, []], asked)
    write_answers(folders[1], trials[0], 0, "", {"q0": 0.0, "q9": 1.0})
    with pytest.raises(ElusiveError, match=r"expected answers to the same 2 questions as every other model's, got 2"):
        read_outcomes(runs, [trials, trials], asked)


# ---- the tables


def swept_of(outcomes: list[Outcome], asked: Questions, recipe: SweepRecipe) -> Any:
    """What the tables look at of a finished sweep."""
    return SimpleNamespace(
        recipe=recipe,
        trials=grid_trials(recipe),
        asked=asked,
        outcomes=outcomes,
        choices=lambda metric: choices(outcomes, [asked], metric, equal=[A]),
    )


def test_tables_name_the_way_of_choosing_and_what_is_not_separated():
    documents = [str(number) for number in range(8)]
    recipe = sweep_recipe(("plain", "random"), grid={"train.epochs": [1.0, 2.0]})
    outcomes = [
        outcome(UNTRAINED, {}, [0] * 8),
        outcome("plain", A, [1] * 8),
        outcome("plain", B, [0] * 8),
        outcome("random", A, [1, 1, 1, 1, 1, 1, 1, 0]),
    ]
    text = sweep_markdown(swept_of(outcomes, asked_of(documents), recipe), "em")
    assert text.startswith("# Sweep\n\n4 trained trials, 8 questions about 8 documents. 95% intervals over ")
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "Every trial",
        "All arms at equal settings: epochs 1",
        "Each arm's settings chosen on half of the documents and reported on the other half, both ways",
        "Each arm's settings chosen on the questions that are reported (the paper's way)",
    ]
    assert "| plain | epochs 1 | 1.000 | .000 |\n| plain | epochs 2 | .000 | 1.000 |" in text
    equal = text.split("## ")[2]
    assert "| plain | epochs 1 | 1.000 [1.000, 1.000] | .000 [.000, .000] |" in equal
    assert "| arms | EM, paired differences |" in equal
    assert "| plain minus untrained | +1.000 [+1.000, +1.000], one training each |" in equal
    assert "| random minus plain | -.125 [-.375, .000], not separated |" in equal
    assert "The search saw all questions" not in text
    assert "F1, paired differences" in sweep_markdown(swept_of(outcomes, asked_of(documents), recipe), "f1")


def test_tables_say_which_questions_gave_cues(tmp_path: Path):
    recipe = dataclasses.replace(sweep_recipe(("plain",)), output=str(tmp_path))
    write_json(tmp_path / "corpus" / "done.json", {"question_sets": "disjoint: <a>"})
    text = sweep_markdown(swept_of([outcome("plain", {}, [0] * 8)], asked_of(list("abcdefgh")), recipe), "em")
    assert "\nQuestion sets: disjoint: &lt;a>.\n" in text.split("## ")[0]


def test_tables_of_a_search_say_that_it_saw_the_questions_and_cells_are_safe():
    recipe = sweep_recipe(("plain",), search="tpe", ranges={"train.epochs": [1.0, 2.0]})
    recipe = dataclasses.replace(recipe, seeds=(0, 1), title="a <b>")
    outcomes = [outcome("plain", {**A, "train.replay": "a|b\n<c>"}, [[1, 0, 1, 0], [1, 1, 1, 0]])]
    text = sweep_markdown(swept_of(outcomes, ASKED, recipe), "em")
    assert text.startswith("# Sweep: a &lt;b>\n")
    assert "The search saw all questions" in text.split("## ")[1]
    assert "95% intervals over documents and the 2 training seeds" in text
    assert "| plain | epochs 1, replay a\\|b &lt;c> | .625 | .375 |" in text
    for line in text.splitlines():
        assert not line.startswith("| plain |") or line.replace("\\|", "").count("|") == 5
    assert json.dumps(text)
