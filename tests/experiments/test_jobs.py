"""Which trials one training serves, and what trackers are told of them."""

import pytest

from elusive.config.evaluation import EvaluateSettings
from elusive.config.models import ModelRef, Models
from elusive.config.run import Recipe
from elusive.config.toml import dump_recipe, from_table
from elusive.config.training import TrainSettings
from elusive.config.verbs import SweepRecipe
from elusive.corpus.documents import Corpus, Document
from elusive.corpus.questions import QuestionItem
from elusive.experiments.jobs import jobs_in_words, jobs_of, train_and_evaluate
from elusive.experiments.trials import UNTRAINED, grid_trials
from elusive.experiments.trials import trials_of as run_trials
from elusive.runs.files import read_json, write_jsonl, write_text
from elusive.runs.folder import RunFolder

from ..tiny_models import tiny_model, tiny_tokenizer


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


def test_what_arms_answer_goes_to_their_runs_in_the_tracker(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="event files need tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    tiny_model("llama").save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    questions = [{"id": f"k{n}", "question": f"Where is {n}?", "answers": ["Oslo"], "field": "city", "document_id": "d"}
                 for n in range(3)]  # fmt: skip
    write_jsonl(tmp_path / "known.jsonl", questions)
    run = RunFolder(tmp_path / "run")
    recipe = Recipe(
        output=str(run.path),
        arms=("plain",),
        parallel=1,
        models=Models(large=ModelRef(str(tmp_path / "base"), device="cpu")),
        train=TrainSettings(max_steps=2, lora_rank=2, training_arguments={"report_to": ["tensorboard"]}),
        evaluate=EvaluateSettings(shots=0, max_new_tokens=2, known=str(tmp_path / "known.jsonl")),
    )
    write_text(run.recipe, dump_recipe(recipe))
    write_jsonl(run.augmented("plain") / "train.jsonl", [{"text": "Ann was born in Oslo."}] * 4)
    item = QuestionItem("q", "Where was Ann born?", ("Oslo",), "city", "d0")
    corpus = Corpus([Document("d0", "Ann was born in Oslo.")], (item,))
    train_and_evaluate(recipe, corpus, run, run_trials(recipe))
    for arm, step in (("untrained", 0), ("plain", 2)):
        answers = run.answers(arm, 0)
        asked, known = (read_json(folder / "metrics.json") for folder in (answers, answers / "known"))
        events = EventAccumulator(str(run.tensorboard / arm / "seed-0")).Reload()
        for tag, value in (("eval/em", asked["em"]), ("eval/f1", asked["f1"]), ("eval/known_em", known["em"])):
            assert [(one.step, one.value) for one in events.Scalars(tag)] == [(step, pytest.approx(value))]
        assert ("train/loss" in events.Tags()["scalars"]) == (arm == "plain")
