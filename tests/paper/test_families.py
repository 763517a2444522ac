"""The families of families.toml: what each experiment would train, beside the paper, and what flags change."""

import dataclasses
import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elusive.augmentation.arms import ARMS
from elusive.config.verbs import ReproduceSettings, SweepRecipe
from elusive.corpus.people.biographies import biography_corpus
from elusive.errors import ElusiveError
from elusive.experiments.trials import UNTRAINED, Trial, grid_trials
from elusive.paper.drawing import FIGURES, table_of
from elusive.paper.experiments import ARMS_OF_TABLES, cohort_recipes, equal_settings, experiments_of, timed
from elusive.paper.families import Experiment, Family, Role, families, family
from elusive.paper.published import COLUMNS, published_rows
from elusive.paper.reproduce import NAMES, STUDIES, needed_arms, wanted
from elusive.runs.files import read_json, write_json

SETTINGS = ReproduceSettings(wikipedia="paragraphs.json")
PAPERS = tuple(name for name in families() if name != "embedded")
LOWEST, HIGHEST = 5e-5, 1e-3
"""Learning rates of the paper's search."""


def arms_of(experiment: Experiment) -> tuple[str, ...]:
    """All that an experiment's tables compare."""
    return experiment.arms or tuple(dict.fromkeys(arm for table in experiment.tables for arm in ARMS_OF_TABLES[table]))


def experiments(pair: Family) -> Iterator[tuple[str, Role, Experiment]]:
    for name, roles in pair.experiments.items():
        for role in roles:
            yield name, role, pair.experiment(name, role)


def recipes_of(pair: Family, name: str, role: Role, **settings: Any) -> list[SweepRecipe]:
    said = dataclasses.replace(SETTINGS, **settings)
    return cohort_recipes(pair, name, role, arms_of(pair.experiment(name, role)), said)


def tried(trials: list[Trial], arm: str) -> list[dict[str, Any]]:
    return [dict(trial.chosen) for trial in trials if trial.arm == arm]


def all_experiments() -> list[Any]:
    return [
        pytest.param(name, key, role, id=f"{name}-{key}-{role}")
        for name in families()
        for key, role, _ in experiments(family(name))
    ]


@pytest.mark.parametrize(("name", "key", "role"), all_experiments())
def test_every_experiment_builds_its_recipes_and_trials(name, key, role):
    pair = family(name)
    experiment, arms = pair.experiment(key, role), arms_of(pair.experiment(key, role))
    assert [bool(experiment.tables), bool(experiment.attempt), experiment.question_sets].count(True) == 1
    assert arms
    recipes = recipes_of(pair, key, role)
    assert len(recipes) == (experiment.cohorts or pair.cohorts)
    assert len({recipe.output for recipe in recipes}) == len(recipes)
    for recipe in recipes:
        trials = grid_trials(recipe)
        assert {trial.arm for trial in trials} == {UNTRAINED, *arms}
        assert recipe.models.trained == role
        # The settings at which all are compared are tried, by every arm.
        assert equal_settings(experiment, recipe) == experiment.equal
        for settings, arm in itertools.product(experiment.equal, arms):
            assert any(settings.items() >= own.items() for own in tried(trials, arm)), (settings, arm)
    source = "biographies" if experiment.people else SETTINGS.wikipedia
    assert {recipe.corpus.source for recipe in recipes} == {source}


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_pairs_are_trained_as_in_the_paper(name):
    pair = family(name)
    for key, role, experiment in experiments(pair):
        (recipe,) = recipes_of(pair, key, role)
        assert experiment.people in (0, 100)
        assert len(recipe.seeds) >= 3
        assert (recipe.models.large.name, recipe.models.small.name) == (pair.large.model, pair.small.model)
        trials = [trial for trial in grid_trials(recipe) if trial.arm != UNTRAINED]
        for trial in trials:
            train, models, augment = trial.recipe.train, trial.recipe.models, trial.recipe.augment
            for model in (models.large, models.small):
                assert (model.quantization, model.dtype) == ("8bit", "bfloat16")
            assert (train.method, train.lora_rank, train.batch_size) == ("lora", 16, 8)
            assert (train.lr_scheduler, train.warmup_ratio, train.max_grad_norm) == ("linear", 0.1, 1.0)
            assert (train.epochs, train.max_steps, train.max_tokens, train.replay) == (30.0, 0, 0, "")
            assert {10.0, 20.0} <= set(train.evaluate_at_epochs)
            assert augment.copies == 10
            assert trial.recipe.evaluate.shots == 5
        for arm in arms_of(experiment):
            rates = sorted({own["train.learning_rate"] for own in tried(trials, arm)})
            assert (rates[0], rates[-1]) == (LOWEST, HIGHEST)
        # All tokens are read on paragraphs, cues on biographies.
        assert recipe.score.queries == ("cues" if experiment.people else "all")


@pytest.mark.parametrize("name", PAPERS)
def test_alpha_and_beta_of_every_row_of_the_paper_are_tried(name):
    pair = family(name)
    for key, role, experiment in experiments(pair):
        published = pair.member(role).published
        trials = [trial for recipe in recipes_of(pair, key, role) for trial in grid_trials(recipe)]
        for table in experiment.tables:
            rows = [row for row in published_rows(table) if row.model == published.get(str(table))]
            assert rows or str(table) not in published
            contrast = [row for row in rows if row.arm == "contrast-cues"]
            contrast = contrast or [row for row in rows if row.arm == "contrast-all"]
            for row in [*rows, *(dataclasses.replace(row, arm="random-matched") for row in contrast)]:
                wanted = {"augment.alpha": row.alpha, "augment.beta": row.beta}
                wanted = {setting: value for setting, value in wanted.items() if value is not None}
                found = tried(trials, row.arm) if row.arm in ARMS_OF_TABLES[table] else []
                assert any(own.items() >= wanted.items() for own in found), (table, row.model, row.arm, wanted)


def test_every_row_of_the_paper_stands_beside_an_experiment():
    covered = {
        (int(table), model)
        for name in PAPERS
        for _, role, experiment in experiments(family(name))
        for table, model in family(name).member(role).published.items()
        if int(table) in experiment.tables
    }
    assert covered == {(row.table, row.model) for row in published_rows()}
    for row in published_rows():
        assert row.arm in ARMS_OF_TABLES[row.table]
        assert row.values.keys() <= set(COLUMNS[row.table])
    assert set(ARMS_OF_TABLES) == set(COLUMNS)
    assert all("random-matched" in arms for table, arms in ARMS_OF_TABLES.items() if table != 1)


def test_the_embedded_pairs_yardsticks_are_rows_of_the_paper():
    printed = {(row.table, row.model) for row in published_rows()}
    pair = family("embedded")
    for role in ("large", "small"):
        assert {(int(table), model) for table, model in pair.member(role).published.items()} <= printed


def test_the_embedded_pair_is_trained_five_times_an_arm_on_other_people_each_time():
    pair = family("embedded")
    assert {table for _, _, one in experiments(pair) for table in one.tables} == set(COLUMNS)
    for key, role, experiment in experiments(pair):
        recipes = recipes_of(pair, key, role)
        # What is no table of the paper's may be tried on fewer.
        assert sum(len(recipe.seeds) for recipe in recipes) >= (5 if experiment.tables else 3)
        if experiment.people:
            assert len({recipe.corpus.seed for recipe in recipes}) == len(recipes) > 1
            assert len({recipe.seeds for recipe in recipes}) == len(recipes)
            # Neither the demo's people nor those that settings were found on.
            assert min(recipe.corpus.seed for recipe in recipes) > 100
    cohorts = [list(biography_corpus(20, recipe.corpus.seed)[0]) for recipe in recipes_of(pair, "biographies", "large")]
    texts = [document.text for documents in cohorts for document in documents]
    assert len(set(texts)) == len(texts)
    names = [{document.text.split(" was born")[0] for document in documents} for documents in cohorts]
    assert not any(one & other for one, other in itertools.combinations(names, 2))


def test_every_table_and_figure_has_a_family_and_names_what_it_needs():
    lacking = []
    for name, one in itertools.product(NAMES, families()):
        settings = dataclasses.replace(SETTINGS, family=one)
        try:
            needed = needed_arms(family(one), [name], settings)
        except ElusiveError as error:
            lacking.append((name, one, str(error)))
            continue
        for (key, role), arms in needed.items():
            assert all(arm in ARMS for arm in arms)
            assert grid_trials(cohort_recipes(family(one), key, role, arms, settings)[0])
    for name, one, message in lacking:
        assert message.startswith(f"{name}: the family '{one}' has no experiment for it. Families that have: embedded")
    lacked = {(name, one) for name, one, _ in lacking}
    assert lacked == {
        *((name, one) for name in ("question-sets", *STUDIES, "attempts") for one in PAPERS),
        *((f"table{table}", one) for one in ("gemma-2", "llama-3") for table in (4, 5, 6, 7, 8)),
        ("table3", "llama-2"),
        *((f"table{table}", "gemma") for table in (3, 4, 5, 7)),
    }
    assert wanted(["figure1", "table2"]) == ["table2", "figure1"]
    assert wanted(["all"]) == list(NAMES)


def test_every_family_can_draw_every_figure():
    for name in families():
        pair = family(name)
        for number in FIGURES:
            assert any(experiments_of(pair, table_of(number, pair))), (name, number)
    assert table_of(4, family("embedded")) == table_of(4, family("llama-2")) == 4
    assert table_of(4, family("gemma-2")) == 2
    settings = dataclasses.replace(SETTINGS, family="gemma-2")
    assert list(needed_arms(family("gemma-2"), ["figure4"], settings)) == [("biographies", "large")]


def test_a_grid_takes_the_place_of_the_familys_setting_by_setting():
    pair = family("gemma-2")
    (recipe,) = recipes_of(pair, "biographies", "large", grid={"train.learning_rate": [3e-4, 1e-4]})
    trials = grid_trials(recipe)
    assert {own["train.learning_rate"] for own in tried(trials, "plain")} == {3e-4, 1e-4}
    # What the grid does not name is still tried as the paper found it best, arm by arm.
    assert {own["augment.beta"] for own in tried(trials, "contrast-cues")} == {0.03, 0.05}
    (paragraphs,) = recipes_of(pair, "wikipedia", "large", grid={"train.learning_rate": [1e-4]})
    assert tried(grid_trials(paragraphs), "contrast-all") == [
        {"train.learning_rate": 1e-4, "augment.alpha": 0.7, "augment.beta": 0.005}
    ]
    (recipe,) = recipes_of(pair, "biographies", "large", grid={"augment.beta": [0.2]})
    trials = grid_trials(recipe)
    assert {own["augment.beta"] for arm in ("attention", "contrast-cues") for own in tried(trials, arm)} == {0.2}
    assert len(tried(trials, "plain")) == 5


def test_arms_are_compared_at_the_first_value_tried_where_the_familys_is_not():
    pair = family("gemma-2")
    experiment = pair.experiment("biographies", "large")
    (own,) = experiment.equal
    for grid, changed in (
        ({}, {}),
        ({"train.learning_rate": [1e-3, 2e-4]}, {}),
        ({"train.learning_rate": [1e-3, 1e-4]}, {"train.learning_rate": 1e-3}),
        ({"augment.alpha": [0.2]}, {"augment.alpha": 0.2}),
        ({"train.lora_rank": [4, 8]}, {"train.lora_rank": 4}),
    ):
        (recipe,) = recipes_of(pair, "biographies", "large", grid=grid)
        assert equal_settings(experiment, recipe) == (own | changed,)
    (recipe,) = recipes_of(pair, "biographies", "large", set={"train.learning_rate": 1e-4})
    assert equal_settings(experiment, recipe) == (own | {"train.learning_rate": 1e-4},)
    # Two settings that become one are compared once.
    pair = family("embedded")
    recipe = recipes_of(pair, "biographies", "large", grid={"augment.beta": [0.1]})[0]
    (one,) = equal_settings(pair.experiment("biographies", "large"), recipe)
    assert one == {"augment.alpha": 0.6, "augment.beta": 0.1}


def test_a_setting_that_is_tried_is_tried_with_the_value_of_set_alone():
    (recipe,) = recipes_of(family("llama-2"), "biographies", "small", set={"augment.beta": 0.3, "train.batch_size": 2})
    trials = grid_trials(recipe)
    for arm in ("random-matched", "attention", "distance", "query-distance", "contrast-cues"):
        assert {own["augment.beta"] for own in tried(trials, arm)} == {0.3}
    assert {trial.recipe.train.batch_size for trial in trials} == {2}
    assert {own["augment.alpha"] for own in tried(trials, "contrast-cues")} == {0.6, 0.7}


def test_passes_after_a_shorter_training_are_not_asked_after():
    pair = family("gemma-2")

    def asked(**said: Any) -> dict[str, tuple[float, ...]]:
        (recipe,) = recipes_of(pair, "biographies", "large", set=said)
        return {
            trial.arm: trial.recipe.train.evaluate_at_epochs for trial in grid_trials(recipe) if trial.arm != UNTRAINED
        }

    assert asked(**{"train.epochs": 6})["contrast-cues"] == (3.0,)
    assert asked(**{"train.epochs": 6})["plain"] == ()
    assert asked(**{"train.epochs": 15})["plain"] == (10.0,)
    assert asked(**{"train.epochs": 2, "train.evaluate_at_epochs": [1]}) == dict.fromkeys(ARMS_OF_TABLES[2], (1.0,))
    with pytest.raises(
        ElusiveError, match=r"train.evaluate_at_epochs: expected epochs up to train.epochs \(2\), got 3"
    ):
        asked(**{"train.epochs": 2, "train.evaluate_at_epochs": [3]})


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"set": {"epochs": 1}},
            "--set: expected settings of corpus, models, score, augment, rewrite, train, evaluate, report by",
        ),
        ({"set": {"trains.epochs": 1}}, "got 'trains.epochs'"),
        ({"set": {"sweep.metric": "f1"}}, "got 'sweep.metric'"),
        ({"set": {"output.name": "x"}}, "got 'output.name'"),
        ({"set": {"train.": 1}}, "got 'train.'"),
        ({"set": {"train.epoch": 1}}, "--set: train: unknown key 'epoch'. Did you mean 'epochs'?"),
        ({"set": {"train.epochs": "many"}}, "--set: train: epochs: expected float, got 'many'."),
        ({"set": {"train.epochs": -1}}, "train.epochs: expected above 0, got -1.0."),
        ({"set": {"train.lora_rank": 2}, "grid": {"train.lora_rank": [4]}}, "stands in --grid and in --set"),
        ({"grid": {"train.rank": [4]}}, "train: unknown key 'rank'"),
        (
            {"grid": {"people": [4]}},
            "sweep: expected settings of train, augment, score, models, rewrite by dotted name",
        ),
        ({"grid": {"train.lora_rank": 4}}, "expected a list of values for 'train.lora_rank', got 4"),
        ({"grid": {"train.lora_rank": []}}, "expected a list of values for 'train.lora_rank', got []"),
        (
            {"wikipedia": ""},
            "Tables 3 and 8 expect paragraphs with questions in SQuAD's form, got none. Give --wikipedia",
        ),
    ],
)
def test_what_a_command_line_gets_wrong_is_refused(said, message):
    with pytest.raises(ElusiveError, match=re.escape(message)):
        grid_trials(recipes_of(family("gemma-2"), "wikipedia", "large", **said)[0])


def test_what_a_command_line_says_reaches_every_run():
    said = {
        "output": "out",
        "large": "my/large",
        "small": "my/small",
        "people": 7,
        "cohorts": 2,
        "set": {"evaluate.shots": 1},
    }
    recipes = recipes_of(family("llama-3"), "biographies", "small", **said)
    assert [recipe.output for recipe in recipes] == ["out/biographies-small/cohort-1", "out/biographies-small/cohort-2"]
    assert [recipe.corpus.people for recipe in recipes] == [7, 7]
    assert [recipe.seeds for recipe in recipes] == [(1,), (2,)]
    for recipe in recipes:
        names = recipe.models.large.name, recipe.models.small.name
        assert (*names, recipe.evaluate.shots) == ("my/large", "my/small", 1)
    (recipe,) = recipes_of(family("llama-3"), "biographies", "small", seeds=2)
    assert recipe.seeds == (0, 1)
    # The same paragraphs again would be no other cohort.
    (recipe,) = recipes_of(family("llama-3"), "wikipedia", "small", cohorts=3)
    assert recipe.seeds == (0, 1, 2)


def test_unknown_families_and_experiments_are_refused():
    with pytest.raises(ElusiveError, match=r"Expected a family \(embedded, gemma-2, .*\), got 'gemma-9'"):
        family("gemma-9")
    with pytest.raises(ElusiveError, match="No experiment wikipedia that trains the large model in the family 'Gemma"):
        family("gemma").experiment("wikipedia", "large")


def test_time_is_counted_while_something_is_done(tmp_path: Path):
    def seconds() -> float:
        return read_json(tmp_path / "time.json")["seconds"]

    def pause(done: str = "") -> None:
        time.sleep(0.15)
        if done:
            write_json(tmp_path / done / "done.json", {})

    with timed(tmp_path):
        pause("one")
    first = seconds()
    assert 0.1 <= first < 5
    with timed(tmp_path):
        pause()
    assert seconds() == first
    with timed(tmp_path):
        pause("two/three")
    second = seconds()
    assert second > first

    def stopped() -> None:
        with timed(tmp_path):
            pause()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert seconds() > second
