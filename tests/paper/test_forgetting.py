"""The study of what was learned against what was lost: its numbers by hand, its table, and its figure."""

import itertools

import numpy as np
import pytest

from elusive.config.toml import from_table
from elusive.config.verbs import ReproduceSettings, SweepRecipe
from elusive.errors import ElusiveError
from elusive.evaluation.predictions import Questions, Scores
from elusive.experiments.jobs import jobs_of
from elusive.experiments.selection import Outcome
from elusive.experiments.trials import UNTRAINED, grid_trials
from elusive.paper import forgetting
from elusive.paper.experiments import Done, attempts_of, cohort_recipes
from elusive.paper.families import Experiment, family
from elusive.paper.forgetting import Forgetting, draw_forgetting, forgetting_markdown, forgetting_numbers
from elusive.paper.fronts import Scored, front_figure
from elusive.runs.files import write_json

ASKED = Questions(np.arange(4).astype(str), fields=np.array(["city"] * 4), documents=np.array(list("aabb")))
WHOLE, HALF, RATE = "average-1.0", "average-0.5", "learning_rate-0.001"
GRIDS = {"average": {"train.average": [1.0, 0.5]}, "learning rate": {"train.learning_rate": [1e-3]}}
NEW = {("untrained", ""): 0, ("reorder", WHOLE): 3, ("reorder", HALF): 2, ("reorder", RATE): 1}
KNOWN = {("untrained", ""): 4, ("reorder", WHOLE): 1, ("reorder", HALF): 3, ("reorder", RATE): 3}
"""Of four questions, how many each answers: at a lower rate fewer new ones than the average, and as many known ones."""


def outcomes(recipe: SweepRecipe, right: dict[tuple[str, str], int]) -> list[Outcome]:
    found = []
    for trial in grid_trials(recipe):
        em = (np.arange(4) < right[trial.arm, trial.name]).astype(float)[None]
        found.append(Outcome(trial.arm, trial.name, trial.chosen, None, (Scores(em, em),)))
    return found


@pytest.fixture
def done(tmp_path, monkeypatch) -> list[Done]:
    experiments, known = [], {}
    for attempt, grid in GRIDS.items():
        table = {"arms": ["reorder"], "output": str(tmp_path / attempt), "seeds": [1], "sweep": {"grid": grid}}
        recipe = from_table(SweepRecipe, table, "test")
        write_json(
            tmp_path / attempt / "augmented/reorder/done.json", {"documents": 2, "texts": 4, "mean_drop_rate": 0.0}
        )
        for trial in grid_trials(recipe)[1:]:
            trained = {"steps": 500, "loss": 0.1, "tokens_trained": 1000, "processes": 1, "seconds": 70.0}
            trained |= {"peak_bytes": 2**20, "texts": 5, "rows": 5, "tokens": 100, "packed": True}
            write_json(tmp_path / attempt / "models/reorder" / trial.name / "seed-1/done.json", trained)
        experiments.append(
            Done("f", "large", Experiment(attempt=attempt), [recipe], [ASKED], outcomes(recipe, NEW), 1.0)
        )
        known[attempt] = outcomes(recipe, KNOWN)
    monkeypatch.setattr(forgetting, "known_outcomes", lambda one: (known[one.experiment.attempt], [ASKED]))
    return experiments


@pytest.fixture
def numbers(done) -> Forgetting:
    return forgetting_numbers(done)


def test_by_hand(numbers):
    assert (numbers.cohorts, numbers.documents, numbers.known_questions, numbers.steps) == (1, 2, 4, 500)
    assert [(row.arm, row.setting) for row in numbers.rows] == [
        ("untrained", ""),
        ("reorder", "defaults"),
        ("reorder", "average 0.5"),
        ("reorder", "learning rate 0.001"),
    ]
    before, base, half, rate = numbers.rows
    assert [row.em.value for row in numbers.rows] == [0, 0.75, 0.5, 0.25]
    assert [row.known.value for row in numbers.rows] == [1, 0.25, 0.75, 0.75]
    assert before.lost is before.em_change is base.em_change is base.known_change is None
    assert (base.lost.value, half.lost.value) == (-0.75, -0.25)
    assert (half.em_change.value, half.known_change.value) == (-0.25, 0.5)
    assert [row.on_front for row in numbers.rows] == [True, True, True, False]
    assert (rate.tokens, rate.seconds, before.tokens) == (1000, 70, 0)


def test_in_words(numbers):
    text = forgetting_markdown(numbers)
    assert (
        "2 documents in 1 cohort, each arm trained once on each with 500 equal steps; 4 questions about what was"
        in text
    )
    lines = text.splitlines()
    assert (
        "| arm | setting | new EM | minus the defaults | known EM | minus the defaults | lost | front "
        "| tokens trained on | seconds |" in lines
    )
    [row] = [line for line in lines if "average 0.5" in line]
    assert row.startswith("| sentences in random order | average 0.5 | .500 [.000, 1.000] | -.250 ")
    assert row.endswith("| yes | 1,000 | 70 |")


def test_without_known_people_there_is_nothing_to_lose(done, monkeypatch):
    monkeypatch.setattr(forgetting, "known_outcomes", lambda one: ([], []))
    with pytest.raises(ElusiveError, match=r"expected answers about what was known before training, got none\. Leave"):
        forgetting_numbers(done)


def test_the_figure_is_written(numbers, tmp_path):
    draw_forgetting(numbers, tmp_path)
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} >= {"forgetting.png", "forgetting.svg"}
    text = (tmp_path / "forgetting.svg").read_text(encoding="utf-8")
    assert "average 0.5" in text
    assert "learning rate" not in text  # not on the front


def points(number: int) -> list[Scored]:
    places = [(0.5 + 0.4 * n / number, 0.4 - 0.4 * n / number) for n in range(number)]
    front = [Scored("reorder", "order", f"learning rate {n}", *place, True) for n, place in enumerate(places)]
    below = [Scored("plain", "plain", f"below {n}", x - 0.1, y - 0.05, False) for n, (x, y) in enumerate(places)]
    return [*below, *front]


@pytest.mark.parametrize("number", [2, 12, 40])
def test_names_cover_neither_each_other_nor_a_point(number):
    figure = front_figure(points(number), default="learning rate 0")
    figure.draw_without_rendering()
    [axes] = figure.axes
    boxes = [super(type(one), one).get_window_extent() for one in axes.texts]  # without the lines to the points
    assert [one.get_text() for one in axes.texts] == [f"learning rate {n}" for n in range(number)]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    spots = axes.transData.transform([(one.known, one.new) for one in points(number)])
    assert not any(box.contains(*spot) for box in boxes for spot in spots)


def test_points_of_one_place_are_named_together():
    twice = [Scored("plain", "plain", name, 0.5, 0.5, True) for name in ("replay 2", "L2-SP 1", "replay 2")]
    [label] = front_figure(twice, default="defaults").axes[0].texts
    assert label.get_text() == "replay 2\nL2-SP 1"


def test_about_a_hundred_trainings_on_people_of_their_own():
    pair, settings = family("embedded"), ReproduceSettings(output="out")
    count, seeds = 0, set()
    for name, role, experiment in attempts_of(pair, "forgetting"):
        for recipe in cohort_recipes(pair, name, role, experiment.arms, settings):
            trials = [one for one in grid_trials(recipe) if one.arm != UNTRAINED]
            count += len(jobs_of((trial, seed) for trial in trials for seed in trial.seeds))
            seeds.add(recipe.corpus.seed)
    assert count == 111
    assert seeds == {401, 402, 403}
    others = {
        recipe.corpus.seed
        for study in ("", "copies", "beyond")
        for name, role, experiment in attempts_of(pair, study)
        for recipe in cohort_recipes(pair, name, role, experiment.arms, settings)
    }
    assert not seeds & others
