"""Trials of a grid: which there are, what they are called, what they share, and what is refused."""

import itertools
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elusive.config.augmentation import AugmentSettings
from elusive.config.models import Models
from elusive.config.run import Recipe
from elusive.config.scoring import ScoreSettings
from elusive.config.toml import dump_recipe, from_table, load_recipe
from elusive.config.training import TrainSettings
from elusive.config.verbs import ReproduceSettings, SweepRecipe, SweepSettings
from elusive.errors import ElusiveError
from elusive.experiments.search import check_search
from elusive.experiments.trials import UNTRAINED, changed, depends_on, grid_trials, name_of, trial_with, trials_of
from elusive.paper.experiments import ARMS_OF_TABLES, cohort_recipes
from elusive.paper.families import family
from elusive.runs.folder import RunFolder

ALL = ("plain", "random", "random-matched", "attention", "distance", "query-distance", "contrast-all", "contrast-cues")
"""The arms that drop tokens, and plain training."""
ROOT = Path(__file__).parents[2]


def recipe_of(*arms: str, models: dict[str, Any] | None = None, **sweep: Any) -> SweepRecipe:
    table = {"arms": list(arms or ALL), "models": models or {}, "sweep": sweep}
    return from_table(SweepRecipe, table, "test")


def named(recipe: SweepRecipe) -> dict[str, list[str]]:
    """The names of each arm's trials."""
    found: dict[str, list[str]] = {}
    for trial in grid_trials(recipe):
        found.setdefault(trial.arm, []).append(trial.name)
    return found


# ---- which trials there are


def test_every_combination_is_tried_and_each_trial_has_its_settings():
    grid = {"train.learning_rate": [1e-3, 2e-3], "augment.alpha": [0.2, 0.6], "augment.beta": [0.02, 0.05]}
    trials = [trial for trial in grid_trials(recipe_of("contrast-cues", grid=grid)) if trial.arm == "contrast-cues"]
    found = [
        (trial.recipe.train.learning_rate, trial.recipe.augment.alpha, trial.recipe.augment.beta) for trial in trials
    ]
    assert found == list(itertools.product([1e-3, 2e-3], [0.2, 0.6], [0.02, 0.05]))
    assert trials[1].name == "learning_rate-0.001,alpha-0.2,beta-0.05"
    assert trials[1].chosen == (("train.learning_rate", 1e-3), ("augment.alpha", 0.2), ("augment.beta", 0.05))
    assert trials[1].label == "contrast-cues learning_rate-0.001,alpha-0.2,beta-0.05"
    assert len({trial.name for trial in trials}) == 8
    assert not any(isinstance(trial.recipe, SweepRecipe) for trial in trials)


def test_arms_that_do_not_depend_on_a_setting_have_one_trial():
    grid = {"augment.alpha": [0.2, 0.6], "augment.beta": [0.02, 0.05]}
    counts = {arm: len(names) for arm, names in named(recipe_of(grid=grid)).items()}
    assert counts == {UNTRAINED: 1, "plain": 1, "random": 2, **dict.fromkeys(ALL[2:], 4)}
    assert named(recipe_of(grid=grid))["random"] == ["alpha-0.2", "alpha-0.6"]
    assert named(recipe_of(grid=grid))["plain"] == [""]


@pytest.mark.parametrize(
    ("key", "arms"),
    [
        ("train.learning_rate", ALL),
        ("models.trained", (UNTRAINED, *ALL)),
        ("augment.alpha", ALL[1:]),
        ("augment.copies", ALL[1:]),
        ("augment.beta", ALL[2:]),
        ("augment.rank_scale", ALL[2:]),
        ("augment.unit", ALL[1:]),
        ("augment.protected_spans", ALL[1:]),
        ("augment.protected_patterns", ALL[1:]),
        ("augment.unseen_tokens", ALL[1:]),
        ("augment.across_tokenizers", ("contrast-all", "contrast-cues")),
        ("augment.contrast_signal", ("contrast-all", "contrast-cues")),
        ("augment.cue_fusion", ("contrast-all", "contrast-cues")),
        ("score.sink", ALL[1:]),
        ("score.queries", ALL[2:]),
        ("score.head_fields", ALL[2:]),
        ("score.include_self", ALL[2:]),
        ("score.renormalise", ("attention", "contrast-all", "contrast-cues")),
        ("models.large.heads", ("attention", "contrast-all", "contrast-cues")),
        ("models.small.heads", ("contrast-all", "contrast-cues")),
        ("models.large.name", (UNTRAINED, *ALL)),
        ("models.small.name", ("contrast-all", "contrast-cues")),
        ("models.small.revision", ("contrast-all", "contrast-cues")),
        ("models.large.dtype", (UNTRAINED, *ALL)),
        ("models.other.name", ()),
        ("score.excluded_tokens", ALL[1:]),
    ],
)
def test_what_each_arm_depends_on(key, arms):
    recipe = replace(recipe_of(), augment=AugmentSettings(unseen_tokens="last"))
    assert {arm for arm in (UNTRAINED, *ALL) if depends_on(recipe, arm, key)} == set(arms)


EDITING = ("reorder", "insert-head", "insert-attention", "insert-contrast+reorder", "attention+insert-contrast")


@pytest.mark.parametrize(
    ("key", "arms"),
    [
        ("augment.copies", EDITING),
        ("augment.alpha", EDITING[4:]),
        ("augment.insert_share", EDITING[1:]),
        ("augment.clue_margin", EDITING[2:]),
        ("augment.clue_signal", EDITING[3:]),
        ("augment.clue_answers", EDITING[2:]),
        ("augment.contrast_signal", ()),
        ("augment.cue_fusion", ()),
        ("augment.across_tokenizers", EDITING[3:]),
        ("score.queries", EDITING[1:]),
        ("score.head_fields", EDITING[1:]),
        ("score.excluded_tokens", EDITING[1:]),
        ("models.small.heads", EDITING[3:]),
    ],
)
def test_what_arms_depend_on_that_edit_sentences(key, arms):
    recipe = replace(recipe_of(*EDITING), augment=AugmentSettings(unseen_tokens="last"))
    assert {arm for arm in EDITING if depends_on(recipe, arm, key)} == set(arms)


@pytest.mark.parametrize(
    ("key", "arms"),
    [
        ("train.epochs", "khmwaue s"),
        ("train.mask_token", "me"),
        ("train.mask_steepness", "e"),
        ("train.selected_ratio", "s"),
        ("train.reference", "s"),
        ("augment.alpha", "khmwaue"),
        ("augment.low_entropy_share", "e"),
        ("augment.beta", "khmwu"),
        ("augment.copies", "khmue"),
        ("augment.seed", "khmue"),
        ("augment.blank", "u"),
        ("augment.insert_share", ""),
        ("score.queries", "khmwue"),
        ("score.head_fields", "khmwuae"),
        ("score.excluded_tokens", "khmwuae"),
        ("models.small.heads", "kmwu"),
        ("models.large.heads", "kmwu"),
        ("score.max_length", "khmwue"),
    ],
)
def test_what_arms_that_act_in_training_depend_on(key, arms):
    names = {
        "k": "key-dropout-contrast",
        "h": "key-dropout-random",
        "m": "masked-contrast",
        "w": "weighted-contrast",
        "a": "weighted-answers",
        "u": "contrast-cues-unbroken",
        "s": "selective",
        "e": "entrodrop",
    }
    recipe = replace(recipe_of(), arms=tuple(names.values()), augment=AugmentSettings(unseen_tokens="last"))
    assert {letter for letter, arm in names.items() if depends_on(recipe, arm, key)} == set(arms) - {" "}


def test_what_random_and_the_small_model_count_for_hangs_on_other_settings():
    # Tokens that no query sees are kept in every arm: random then depends on what the queries see.
    keep = replace(recipe_of(), augment=AugmentSettings(unseen_tokens="keep"))
    assert depends_on(keep, "random", "score.queries")
    assert not depends_on(keep, "random", "augment.beta")
    assert not depends_on(keep, "random", "augment.rank_scale")
    assert depends_on(recipe_of(grid={"augment.unseen_tokens": ["last", "keep"]}), "random", "score.queries")
    # Spans of head fields are protected in every arm.
    heads = replace(recipe_of(), augment=AugmentSettings(unseen_tokens="last", protected_spans=("heads",)))
    assert depends_on(heads, "random", "score.head_fields")
    assert not depends_on(heads, "random", "score.queries")
    small = replace(recipe_of(), models=Models(trained="small"))
    assert depends_on(small, "plain", "models.small.name")
    assert not depends_on(small, "plain", "models.large.name")
    assert not depends_on(small, "plain", "models.small.heads")
    assert depends_on(small, "attention", "models.small.heads")
    assert not depends_on(small, "attention", "models.large.heads")
    assert depends_on(small, "contrast-cues", "models.large.heads")
    both = recipe_of(grid={"models.trained": ["large", "small"]})
    assert depends_on(both, "plain", "models.small.name")
    fixed = recipe_of(settings={"plain": {"models.trained": "small"}})
    assert depends_on(fixed, "plain", "models.small.name")
    assert not depends_on(fixed, "random", "models.small.name")


def test_an_arm_s_own_grid_takes_the_place_of_all_arms():
    recipe = recipe_of(
        "plain", "random", grid={"augment.alpha": [0.6]}, grids={"random": {"augment.alpha": [0.2, 0.4]}}
    )
    assert named(recipe) == {UNTRAINED: [""], "plain": [""], "random": ["alpha-0.2", "alpha-0.4"]}


def test_an_arm_s_fixed_settings_are_not_tried():
    recipe = recipe_of(
        "plain",
        "random",
        grid={"train.epochs": [3.0, 6.0]},
        settings={"plain": {"train.epochs": 40, "train.evaluate_at_epochs": [10.0, 20.0]}},
    )
    trials = {(trial.arm, trial.name): trial for trial in grid_trials(recipe)}
    assert list(trials) == [(UNTRAINED, ""), ("plain", ""), ("random", "epochs-3.0"), ("random", "epochs-6.0")]
    assert trials["plain", ""].recipe.train == TrainSettings(epochs=40.0, evaluate_at_epochs=(10.0, 20.0))
    assert trials["random", "epochs-3.0"].recipe.train == TrainSettings(epochs=3.0)


def test_lists_are_values():
    recipe = recipe_of("contrast-cues", "plain", grid={"models.large.heads": [[], ["2.3", "0.1"]]})
    trials = [trial for trial in grid_trials(recipe) if trial.arm == "contrast-cues"]
    assert [trial.recipe.models.large.heads for trial in trials] == [(), ("2.3", "0.1")]
    assert [trial.name for trial in trials] == ["large_heads-all", "large_heads-2.3+0.1"]
    protected = recipe_of("random", grid={"augment.protected_spans": [[], ["heads", "city"], ["none"]]})
    empty, two, named_none = named(protected)["random"]
    assert (empty, two) == ("protected_spans-none", "protected_spans-heads+city")
    assert named_none.startswith("protected_spans-none-")  # a field of this name
    assert named(recipe)["plain"] == [""]


def test_equal_values_are_one_trial_however_they_are_written():
    assert named(recipe_of("plain", grid={"train.epochs": [10, 10.0, 1e1, 20]}))["plain"] == ["epochs-10", "epochs-20"]
    assert named(recipe_of("random", grid={"augment.alpha": [0.1, 0.10]}))["random"] == ["alpha-0.1"]


def test_a_run_has_one_trial_of_each_arm_and_seeds_of_the_recipe():
    recipe = Recipe(arms=("plain", "random"), seeds=(3, 4))
    trials = trials_of(recipe)
    assert [(trial.arm, trial.name, trial.seeds) for trial in trials] == [
        (UNTRAINED, "", (0,)),
        ("plain", "", (3, 4)),
        ("random", "", (3, 4)),
    ]
    run = RunFolder(Path("r"))
    assert trials[1].model_folder(run, 3) == Path("r/models/plain/seed-3")
    assert trials[1].texts_folder(run) == Path("r/augmented/plain")
    named_trial = grid_trials(recipe_of("plain", grid={"train.epochs": [3.0]}))[1]
    assert named_trial.answers_folder(run, 0) == Path("r/evaluation/plain/epochs-3.0/seed-0")


# ---- names


def test_names_stand_in_one_order_whatever_the_recipe_s():
    grid = {"augment.beta": [0.02], "train.learning_rate": [1e-5], "augment.alpha": [0.6]}
    assert named(recipe_of("attention", grid=grid))["attention"] == ["learning_rate-1e-05,alpha-0.6,beta-0.02"]
    backwards = dict(reversed(grid.items()))
    assert named(recipe_of("attention", grid=backwards)) == named(recipe_of("attention", grid=grid))


VALUES = {
    "models.other.name": ["org/name", "org-name", "org name", "./a", "ä/b", "large"],
    "score.head_fields": [[], ["all"], [""], ["a", "b"], ["a+b"], ["a,b"], ["a", "b", ""], ["name"]],
    "train.learning_rate": [0.1, 0.01, 1e-5, 1e-05 + 1e-20, 0.1 + 1e-17, 0.30000000000000004, 0.3],
    "train.training_arguments": [{}, {"optim": "a"}, {"optim": "b"}, {"optim": "a", "b": [1]}],
    "models.large.heads": [[f"{layer}.{head}" for layer in range(9) for head in range(9)][:n] for n in range(60)],
}


@pytest.mark.parametrize("key", VALUES)
def test_different_values_never_share_a_name_and_names_are_folders(key):
    distinct = [value for place, value in enumerate(VALUES[key]) if value not in VALUES[key][:place]]
    names = [name_of({key: value}) for value in distinct]
    assert len(set(names)) == len(distinct)
    for name in names:
        assert len(name.encode()) <= 120
        assert Path(name).name == name
        assert not set(name) & set('/\\:*?"<>| \n')


def test_a_long_name_ends_in_a_hash_of_all_settings():
    heads = [f"{layer}.{head}" for layer in range(8) for head in range(8)]
    one, other = (name_of({"models.large.heads": [*heads, last], "augment.alpha": 0.6}) for last in ("8.0", "8.1"))
    assert one.startswith("alpha-0.6,large_heads-0.0+0.1")
    assert one[:100] == other[:100]
    assert one != other
    assert len(one) == 109


def test_names_of_the_paper_s_grids_are_as_they_were():
    # Experiments that were run lie in folders of these names.
    recipes = cohort_recipes(family("embedded"), "biographies", "large", ARMS_OF_TABLES[2], ReproduceSettings())
    names = named(recipes[0])
    assert names["plain"] == [""]
    assert names["random"] == ["alpha-0.6"]
    assert names["contrast-cues"] == ["alpha-0.6,beta-0.02", "alpha-0.6,beta-0.05"]
    assert {trial.score_settings for trial in grid_trials(recipes[0])} == {""}
    assert [trial.texts for trial in grid_trials(recipes[0])][-2:] == names["contrast-cues"]


# ---- what is shared


def test_trials_that_differ_in_training_alone_share_texts_and_scores():
    grid = {"train.learning_rate": [1e-3, 2e-3], "augment.beta": [0.02, 0.05]}
    trials = [trial for trial in grid_trials(recipe_of("attention", grid=grid)) if trial.arm == "attention"]
    assert [trial.texts for trial in trials] == ["beta-0.02", "beta-0.05"] * 2
    assert {trial.score_settings for trial in trials} == {""}
    grid |= {"models.large.heads": [["0.0"], ["1.1"]], "score.queries": ["cues", "all"]}
    trials = [trial for trial in grid_trials(recipe_of("attention", grid=grid)) if trial.arm == "attention"]
    assert len({trial.texts for trial in trials}) == 8
    assert {trial.score_settings for trial in trials} == {
        f"queries-{queries},large_heads-{head}" for queries in ("cues", "all") for head in ("0.0", "1.1")
    }


def test_what_is_read_otherwise_has_scores_of_its_own():
    def readings(recipe: SweepRecipe) -> dict[str, str]:
        return {trial.arm + trial.name: trial.score_settings for trial in grid_trials(recipe) if trial.arm != UNTRAINED}

    # An arm's own fixed settings must not be read with another arm's.
    fixed = readings(recipe_of("attention", "contrast-cues", settings={"attention": {"score.renormalise": True}}))
    assert fixed == {"attention": "renormalise-True", "contrast-cues": ""}
    # Tokens that are never ranked change scores where rows are scaled without them.
    grid = {"score.excluded_tokens": [["."], [","]]}
    recipe = recipe_of("contrast-cues", grid=grid)
    assert set(readings(recipe).values()) == {""}
    renormalised = readings(replace(recipe, score=ScoreSettings(renormalise=True)))
    assert sorted(renormalised.values()) == sorted(f"excluded_tokens-{one}" for one in folder_words(grid))
    # Another model that learns is read too; large and small are read anyway.
    own = {"other": {"name": "own"}}
    assert readings(recipe_of("plain", models=own, grid={"models.trained": ["large", "small", "other"]})) == {
        "plaintrained-large": "",
        "plaintrained-small": "",
        "plaintrained-other": "trained-other",
    }
    revisions = {"models.other.revision": ["a", "b"]}
    assert set(readings(recipe_of("plain", models=own | {"trained": "other"}, grid=revisions)).values()) == {
        "other_revision-a",
        "other_revision-b",
    }


def folder_words(grid: dict[str, Any]) -> list[str]:
    """The parts of names behind the setting's own, of a grid of one setting."""
    [(key, values)] = grid.items()
    return [name_of({key: value}).partition("-")[2] for value in values]


# ---- errors


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"grid": {"evaluate.shots": [1]}}, r"sweep: expected settings of train.*got 'evaluate\.shots' in sweep\.grid"),
        ({"grid": {"corpus.people": [1]}}, r"got 'corpus\.people'"),
        ({"grid": {"seeds": [1]}}, r"got 'seeds'"),
        ({"grid": {"train": {"learning_rate": [1e-3]}}}, r'in quotes, e\.g\. "train\.learning_rate", got \'train\''),
        ({"grid": {"train.": [1]}}, r"got 'train\.'"),
        ({"grid": {"train.seed": [0, 1]}}, r"train\.seed.*Give training seeds in `seeds`"),
        ({"grid": {"train.learning_rat": [1]}}, r"unknown key 'learning_rat'\. Did you mean 'learning_rate'"),
        ({"grid": {"augment.gamma": [1]}}, r"unknown key 'gamma'"),
        ({"grid": {"models.larg.name": ["a"]}}, r"unknown key 'larg'\. Did you mean 'large'"),
        ({"grid": {"train.learning_rate": 1e-3}}, r"expected a list of values for 'train\.learning_rate', got 0\.001"),
        ({"grid": {"train.learning_rate": []}}, r"expected a list of values for 'train\.learning_rate', got \[\]"),
        ({"grid": {"train.learning_rate": ["1e-3"]}}, r"learning_rate: expected float, got '1e-3'"),
        ({"grid": {"train.learning_rate": [-1.0]}}, r"train\.learning_rate: expected above 0, got -1\.0"),
        ({"grid": {"train.method": ["loraa"]}}, r"method: expected one of lora, full, got 'loraa'"),
        ({"grid": {"augment.alpha": [0.5, 1.5]}}, r"augment\.alpha: expected a probability in \[0, 1\], got 1\.5"),
        ({"grid": {"models.large.heads": ["2.3"]}}, r"heads: expected a list, got '2\.3'"),
        ({"grid": {"models.large.heads": [["x"]]}}, r'"layer\.head"'),
        ({"grids": {"random": {"augment.alpha": 0.5}}}, r"sweep\.grids\.random: expected a list of values"),
        ({"grids": {"random": {"evaluate.shots": [1]}}}, r"got 'evaluate\.shots' in sweep\.grids\.random"),
        ({"grids": {"randm": {"augment.alpha": [0.5]}}}, r"sweep\.grids: expected tables of arms \(.*got 'randm'"),
        ({"grids": {"untrained": {"models.large.dtype": ["auto"]}}}, r"sweep\.grids: expected tables of arms"),
        ({"settings": {"random": 3}}, r"sweep\.settings\.random: expected a table"),
        ({"settings": {"random": {"evaluate.shots": 1}}}, r"got 'evaluate\.shots' in sweep\.settings\.random"),
        ({"settings": {"random": {"train.epochs": -1.0}}}, r"train\.epochs: expected above 0"),
        (
            {"settings": {"random": {"train.epochs": 3.0}}, "grids": {"random": {"train.epochs": [3.0]}}},
            r"'train\.epochs': expected in sweep\.grids\.random or in sweep\.settings\.random, got it in both",
        ),
        ({"ranges": {"train.epochs": [1, 2]}}, r'sweep\.ranges: expected nothing, unless sweep\.search = "tpe"'),
        (
            {"search": "tpe", "equal": {"train.epochs": 1.0}},
            r'sweep\.equal: expected nothing with sweep\.search = "tpe',
        ),
        ({"trials": 0}, r"sweep\.trials: expected at least 1"),
    ],
)
def test_what_cannot_be_swept_is_refused_by_name(sweep, message):
    with pytest.raises(ElusiveError, match=message):
        grid_trials(recipe_of("plain", "random", "attention", **sweep))


@pytest.mark.parametrize("arm", ["contrast-cue", UNTRAINED])
def test_unknown_arms_are_refused(arm):
    message = rf"^arms: expected one of plain, random, .*, got '{arm}'\."
    with pytest.raises(ElusiveError, match=message):
        trials_of(Recipe(arms=("plain", arm)))
    with pytest.raises(ElusiveError, match=message):
        grid_trials(recipe_of("plain", arm))


def test_bad_values_are_refused_also_where_no_arm_depends_on_them():
    for key, value in (("augment.alpha", 1.5), ("augment.gamma", 1.0), ("score.queries", "cue"), ("augment.beta", -1)):
        with pytest.raises(ElusiveError, match=key.split(".")[1]):
            grid_trials(recipe_of("plain", grid={key: [value]}))
    # Table 1 has the plain arm alone: values that are right are no error.
    assert named(recipe_of("plain", grid={"augment.alpha": [0.5]})) == {UNTRAINED: [""], "plain": [""]}


def test_settings_of_a_run_are_changed_by_dotted_name():
    assert changed(recipe_of(), {"evaluate.shots": 2, "train.epochs": 3}, "x").evaluate.shots == 2
    for key in ("foo.bar", "output.x", "seeds"):
        with pytest.raises(ElusiveError, match=rf"--set: expected settings of corpus, models.*got '{key}'"):
            changed(recipe_of(), {key: 1}, "--set")


def test_a_trial_leaves_out_what_its_arm_does_not_depend_on():
    trial = trial_with(recipe_of("random"), "random", {"augment.beta": 0.3, "augment.alpha": 0.4})
    assert trial.chosen == (("augment.alpha", 0.4),)
    assert trial.recipe.augment == AugmentSettings(alpha=0.4)


def test_a_sweep_s_recipe_comes_back_from_its_toml(tmp_path):
    recipe = recipe_of(
        "plain",
        "contrast-cues",
        grid={"train.learning_rate": [1e-3, 2e-3], "models.large.heads": [[], ["0.1"]]},
        grids={"plain": {"train.epochs": [3, 10.0]}},
        settings={"contrast-cues": {"train.evaluate_at_epochs": [1.0]}},
        equal={"train.learning_rate": 1e-3},
    )
    (tmp_path / "sweep.toml").write_text(dump_recipe(recipe))
    assert load_recipe(tmp_path / "sweep.toml", SweepRecipe) == recipe
    assert SweepRecipe().sweep == SweepSettings()


def test_the_example_recipe():
    recipe = load_recipe("sweep", SweepRecipe)
    counts = {arm: len(names) for arm, names in named(recipe).items()}
    assert counts == {UNTRAINED: 1, "plain": 2, "random-matched": 8, "attention": 16, "contrast-cues": 16}


def test_the_examples_of_the_documentation_are_sweeps():
    text = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    recipes = [
        from_table(SweepRecipe, tomllib.loads(block.split("```")[0]), "docs") for block in text.split("```toml")[1:]
    ]
    grid, search = recipes
    counts = {arm: len(names) for arm, names in named(grid).items()}
    assert counts == {UNTRAINED: 1, "plain": 2, "random-matched": 6, "attention": 8, "contrast-cues": 8}
    assert grid_trials(grid)[1].recipe.train.epochs == 40.0
    check_search(search)
