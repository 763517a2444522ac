"""Tasks of lm-evaluation-harness on a model: what the harness itself says, known by its settings, and refused early."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from elusive.config.evaluation import EvaluateSettings
from elusive.config.models import ModelRef
from elusive.errors import ElusiveError
from elusive.evaluation import harness
from elusive.evaluation.harness import check_harness, evaluate_harness
from elusive.runs.files import read_json, write_jsonl

QUESTIONS = [
    {"question": f"Where was {name} born?", "options": ["Oslo, Norway", "x9#q"], "right": right}
    for name, right in (("Ada", 0), ("Bo", 0), ("Cy", 1), ("Di", 0))
]
SMALL = ModelRef("elusive/small", device="cpu")


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task in a file of its own, whose data is beside it: which of two answers is likelier."""
    write_jsonl(tmp_path / "questions.jsonl", QUESTIONS)
    table: dict[str, Any] = {
        "task": "births",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "questions.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "options",
        "doc_to_target": "right",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    (tmp_path / "births.yaml").write_text(yaml.safe_dump(table), encoding="utf-8")
    return tmp_path / "births.yaml"


def test_a_task_in_a_file_is_scored_and_read_again(task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    settings = EvaluateSettings(harness=(str(task),))
    found = evaluate_harness(SMALL, settings, tmp_path / "scores")
    [score] = found.scores
    assert (score.task, score.metric, score.examples) == ("births", "acc", 4)
    assert score.value == 0.75  # a place in Norway is the likelier answer to each
    assert score.stderr == pytest.approx(0.25)
    assert found.in_words == "births acc 0.750 ± 0.250 (4 examples)"
    assert capsys.readouterr().err == ""
    assert read_json(tmp_path / "scores" / "harness.json")["results"]["births"]["acc,none"] == 0.75
    monkeypatch.setattr(harness, "_run", None)  # nothing is run from here on
    assert evaluate_harness(SMALL, settings, tmp_path / "scores") == found
    task.write_text(task.read_text() + "# changed\n")
    with pytest.raises(ElusiveError, match=r"was begun with other settings:\n  files: was"):
        evaluate_harness(SMALL, settings, tmp_path / "scores")


def test_a_part_of_a_task(task: Path, tmp_path: Path):
    settings = EvaluateSettings(harness=(str(task),), harness_limit=2)
    [score] = evaluate_harness(SMALL, settings, tmp_path / "scores").scores
    assert (score.value, score.examples) == (1.0, 2)


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        (("arc_easy", "no_such_task"), "evaluate.harness: lm-evaluation-harness knows no no_such_task."),
        (("nowhere/births.yaml",), "evaluate.harness: no file at nowhere/births.yaml."),
    ],
)
def test_unknown_tasks_are_refused_before_a_model_is_loaded(tasks, expected, monkeypatch: pytest.MonkeyPatch):
    class Manager:
        """The harness's own takes a while to read thousands of files."""

        all_tasks = ("arc_easy",)

        def __init__(self, include_path: Any, include_defaults: bool) -> None:
            assert include_defaults

    monkeypatch.setattr("lm_eval.tasks.TaskManager", Manager)
    with pytest.raises(ElusiveError, match=re.escape(expected)):
        check_harness(EvaluateSettings(harness=tasks))


def test_a_file_without_a_task(tmp_path: Path):
    (tmp_path / "some.yaml").write_text("dataset_path: json\n")
    with pytest.raises(ElusiveError, match=r"some.yaml names no task: expected a line `task: NAME`"):
        check_harness(EvaluateSettings(harness=(str(tmp_path / "some.yaml"),)))


def test_without_the_harness_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(harness.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ElusiveError, match=r"which is missing. Run: pip install 'elusive\[harness\]'"):
        check_harness(EvaluateSettings(harness=("arc_easy",)))
    check_harness(EvaluateSettings())


def test_data_that_is_not_here_is_named(task: Path, tmp_path: Path):
    table = yaml.safe_load(task.read_text())
    table["dataset_kwargs"]["data_files"]["test"] = str(tmp_path / "gone.jsonl")
    task.write_text(yaml.safe_dump(table))
    with pytest.raises(ElusiveError, match=r"could not run births \(FileNotFoundError.*gone.jsonl.*need a network"):
        evaluate_harness(SMALL, EvaluateSettings(harness=(str(task),)), tmp_path / "scores")
    assert not (tmp_path / "scores" / "done.json").exists()
    assert json.loads((tmp_path / "scores" / "settings.json").read_text())["tasks"] == [str(task)]
