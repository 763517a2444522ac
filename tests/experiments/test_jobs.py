"""Which trials one training serves."""

from elusive.config.toml import from_table
from elusive.config.verbs import SweepRecipe
from elusive.experiments.jobs import jobs_in_words, jobs_of
from elusive.experiments.trials import UNTRAINED, grid_trials


def trials_of(grid: dict, **train: object) -> list:
    table = {"arms": ["plain"], "parallel": 1, "train": train, "sweep": {"grid": grid}}
    return [one for one in grid_trials(from_table(SweepRecipe, table, "test")) if one.arm != UNTRAINED]


def averages(trials: list, seeds: tuple[int, ...] = (0,)) -> list[list[float]]:
    jobs = jobs_of((trial, seed) for seed in seeds for trial in trials)
    return [[trial.recipe.train.average for trial in job.trials] for job in jobs]


def test_averages_follow_the_training_that_they_are_taken_of():
    trials = trials_of({"train.average": [0.5, 1, 0.7]})
    assert averages(trials) == [[1, 0.7, 0.5]]
    assert averages(trials, seeds=(0, 3)) == [[1, 0.7, 0.5]] * 2
    recipe = trials[0].recipe
    assert jobs_in_words(recipe, trials).startswith("1 model, ")


def test_each_other_setting_has_a_training_of_its_own():
    trials = trials_of({"train.average": [1, 0.5], "train.learning_rate": [1e-3, 2e-3]})
    assert averages(trials) == [[1, 0.5]] * 2


def test_without_the_whole_training_among_them_or_with_questions_in_its_midst_none_is_shared():
    assert averages(trials_of({"train.average": [0.5, 0.7]})) == [[0.7], [0.5]]
    assert averages(trials_of({"train.average": [1, 0.5]}, evaluate_at_epochs=[1.0])) == [[1], [0.5]]
