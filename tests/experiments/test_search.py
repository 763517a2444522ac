"""The TPE search: what it draws from, that it can be repeated, and that it finds a maximum."""

import math
import sys
from typing import Any

import pytest

from elusive.config.toml import from_table
from elusive.config.verbs import SweepRecipe
from elusive.errors import ElusiveError
from elusive.experiments.search import check_search, next_trial, searched_arms
from elusive.experiments.trials import Trial


def recipe_of(*arms: str, **sweep: Any) -> SweepRecipe:
    return from_table(SweepRecipe, {"arms": list(arms), "sweep": {"search": "tpe", **sweep}}, "test")


def searched(recipe: SweepRecipe, arm: str, value_of: Any, trials: int) -> list[tuple[Trial, float]]:
    before: list[tuple[Trial, float]] = []
    for _ in range(trials):
        trial = next_trial(recipe, arm, before)
        before.append((trial, value_of(dict(trial.chosen))))
    return before


LEARNING_RATE = {"train.learning_rate": [1e-5, 1e-2]}


def test_the_next_trial_is_a_function_of_what_was_tried():
    recipe = recipe_of("plain", "random", ranges=LEARNING_RATE)
    one = searched(recipe, "plain", lambda chosen: chosen["train.learning_rate"], 14)
    again = searched(recipe, "plain", lambda chosen: chosen["train.learning_rate"], 14)
    assert [trial.name for trial, _ in one] == [trial.name for trial, _ in again]
    # Stopped at any place it goes on alike, in random draws and in TPE's.
    for place in (0, 3, 12):
        assert next_trial(recipe, "plain", one[:place]).name == one[place][0].name
    # After the first draws it hangs on the values, and always on the seed and the arm.
    worse = [(trial, -value) for trial, value in one[:12]]
    assert next_trial(recipe, "plain", worse).name != one[12][0].name
    assert next_trial(recipe, "random", []).name != one[0][0].name
    assert next_trial(recipe_of("plain", ranges=LEARNING_RATE, seed=1), "plain", []).name != one[0][0].name
    assert len({trial.name for trial, _ in one}) > 10


def test_settings_are_drawn_alike_whatever_their_order_in_the_recipe():
    ranges = {"train.learning_rate": [1e-5, 1e-2], "augment.alpha": [0.0, 1.0]}
    one, other = (
        recipe_of("random", ranges=dict(order), grid={"augment.copies": [1, 2, 3]})
        for order in (ranges.items(), reversed(ranges.items()))
    )
    assert next_trial(one, "random", []) == next_trial(other, "random", [])


def test_ranges_far_apart_are_searched_by_their_logarithm():
    recipe = recipe_of("plain", ranges={"train.learning_rate": [1e-5, 1e-2], "train.warmup_ratio": [0.0, 0.5]})
    found = [dict(trial.chosen) for trial, _ in searched(recipe, "plain", lambda chosen: 0.0, 10)]
    rates = [math.log10(one["train.learning_rate"]) for one in found]
    assert -5 <= min(rates) < -4 < -3 < max(rates) <= -2
    shares = [one["train.warmup_ratio"] for one in found]
    assert 0 <= min(shares) < 0.2 < 0.3 < max(shares) <= 0.5
    # Three digits, so that folders have short names.
    assert all(float(f"{one:.3g}") == one for one in [*shares, *(found[0].values())])


def test_whole_numbers_stay_whole_and_fractions_do_not_become_whole():
    recipe = recipe_of("random", ranges={"augment.copies": [1, 4], "augment.alpha": [0, 1], "train.epochs": [1, 9]})
    found = [dict(trial.chosen) for trial, _ in searched(recipe, "random", lambda chosen: 0.0, 10)]
    copies = [one["augment.copies"] for one in found]
    assert {type(one) for one in copies} == {int}
    assert set(copies) <= {1, 2, 3, 4}
    assert len(set(copies)) > 1
    # Ends written as whole numbers do not make a probability 0 or 1.
    assert any(0 < one["augment.alpha"] < 1 for one in found)
    assert {type(one["train.epochs"]) for one in found} == {float}


def test_values_of_a_grid_are_choices_lists_too():
    heads = [[], ["2.3", "0.1"], ["0.0"]]
    recipe = recipe_of("contrast-cues", grid={"models.large.heads": heads, "augment.beta": [0.02, 0.05, 0.05]})
    best = [["2.3", "0.1"], 0.02]
    found = searched(recipe, "contrast-cues", lambda chosen: float(list(chosen.values())[::-1] == best), 12)
    assert {tuple(dict(trial.chosen)["models.large.heads"]) for trial, _ in found} == {tuple(one) for one in heads}
    assert {trial.recipe.augment.beta for trial, _ in found} == {0.02, 0.05}
    assert all(isinstance(dict(trial.chosen)["models.large.heads"], list) for trial, _ in found)


def test_each_arm_is_searched_in_what_it_depends_on():
    recipe = recipe_of(
        "plain",
        "random",
        "attention",
        ranges={"augment.alpha": [0.1, 0.9]},
        grid={"augment.beta": [0.02, 0.05]},
        grids={"attention": {"augment.alpha": [0.6]}},
    )
    assert searched_arms(recipe) == ["random", "attention"]
    assert [key for key, _ in next_trial(recipe, "random", []).chosen] == ["augment.alpha"]
    # An arm's own values take the place of a range.
    assert dict(next_trial(recipe, "attention", []).chosen)["augment.alpha"] == 0.6
    fixed = recipe_of("plain", "random", ranges=LEARNING_RATE, settings={"plain": {"train.learning_rate": 1e-3}})
    assert searched_arms(fixed) == ["random"]


def test_it_finds_a_maximum_better_than_its_first_random_draws():
    # The best learning rate is 10^-3.5 and the best alpha 0.25.
    def value(chosen: dict[str, Any]) -> float:
        return -((math.log10(chosen["train.learning_rate"]) + 3.5) ** 2) - (chosen["augment.alpha"] - 0.25) ** 2

    ranges = {"train.learning_rate": [1e-6, 1e-1], "augment.alpha": [0.0, 1.0]}
    better = 0
    for seed in range(4):
        found = [one for _, one in searched(recipe_of("random", ranges=ranges, seed=seed), "random", value, 40)]
        better += max(found[10:]) > max(found[:10])
        assert max(found) > -0.03
        # It looks there: the later draws are better as a whole.
        assert sum(found[20:]) / 20 > sum(found[:10]) / 10
    assert better >= 3  # one draw in ten may be lucky


# ---- errors


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        (
            {"ranges": {"train.learning_rate": [1e-3]}},
            r"expected \[low, high\] for 'train\.learning_rate', two numbers",
        ),
        ({"ranges": {"train.learning_rate": [1e-3, 1e-4]}}, r"expected \[low, high\].*got \[0\.001, 0\.0001\]"),
        ({"ranges": {"train.learning_rate": [1e-3, 1e-3]}}, r"expected \[low, high\]"),
        ({"ranges": {"train.learning_rate": [1e-3, math.nan]}}, r"expected \[low, high\]"),
        ({"ranges": {"train.learning_rate": 1e-3}}, r"expected \[low, high\].*got 0\.001"),
        ({"ranges": {"train.learning_rate": ["a", "b"]}}, r"expected \[low, high\]"),
        ({"ranges": {"augment.copies": [1.5, 3]}}, r"'augment\.copies', two whole numbers, got \[1\.5, 3\]"),
        ({"ranges": {"augment.blank": [False, True]}}, r"settings that are numbers, got 'augment\.blank'"),
        (
            {"ranges": {"train.lr_scheduler": ["linear", "cosine"]}},
            r"settings that are numbers, got 'train\.lr_scheduler'",
        ),
        ({"ranges": {"evaluate.shots": [1, 2]}}, r"got 'evaluate\.shots' in sweep\.ranges"),
        ({"ranges": {"train": {"learning_rate": [1, 2]}}}, r"in quotes.*got 'train'"),
        ({"ranges": {"train.seed": [1, 2]}}, r"Give training seeds in `seeds`"),
        ({"ranges": {"train.learning_rat": [1, 2]}}, r"Did you mean 'learning_rate'"),
        ({"ranges": {"augment.gamma": [1, 2]}}, r"unknown key 'gamma'"),
        ({"ranges": {"augment.alpha": [0.2, 1.2]}}, r"augment\.alpha: expected a probability in \[0, 1\], got 1\.2"),
        ({"ranges": {"train.learning_rate": [0.0, 1.0]}}, r"train\.learning_rate: expected above 0, got 0\.0"),
        (
            {"ranges": {"train.epochs": [1.0, 9.0]}, "settings": {"plain": {"train.evaluate_at_epochs": [3.0]}}},
            r"train\.evaluate_at_epochs: expected epochs up to train\.epochs \(1\), got 3\.0",
        ),
        (
            {"ranges": LEARNING_RATE, "grid": {"train.learning_rate": [1e-3]}},
            r"'train\.learning_rate': expected in sweep\.grid or in sweep\.ranges, got it in both",
        ),
        ({}, r"a setting that one of the arms \(plain\) depends on, got none"),
        ({"ranges": {"augment.alpha": [0.2, 0.6]}}, r"a setting that one of the arms \(plain\) depends on, got none"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_done(sweep, message):
    with pytest.raises(ElusiveError, match=message):
        check_search(recipe_of("plain", **sweep))


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    recipe = recipe_of("plain", ranges=LEARNING_RATE)
    check_search(recipe)
    monkeypatch.setitem(sys.modules, "optuna", None)
    for call in (lambda: check_search(recipe), lambda: next_trial(recipe, "plain", [])):
        with pytest.raises(ElusiveError, match=r'needs Optuna: pip install "elusive\[sweep\]"'):
            call()
