"""An evaluation folder read back: predictions, scores of several seeds, and metrics."""

from pathlib import Path

import pytest

from elusive.config.evaluation import EvaluateSettings
from elusive.corpus.questions import QuestionItem
from elusive.errors import ElusiveError
from elusive.evaluation.predictions import (
    MeanScores,
    Prediction,
    Questions,
    read_metrics,
    read_predictions,
    read_scores_of_seeds,
)
from elusive.evaluation.stage import _predictions, write_answers
from elusive.runs.files import write_json

ITEMS = [
    QuestionItem("q1", "Where?", ("Rome",), "city", "ada"),
    QuestionItem("q2", "When?", ("May 1",), "date", "ada"),
    QuestionItem("q3", "Where?", ("Oslo", "Christiania"), "city", "bo"),
]


SETTINGS = EvaluateSettings(labels=("Question", "Answer"), metric="squad")


def write(folder: Path, answers: list[str], items: list[QuestionItem] = ITEMS) -> Path:
    write_answers(_predictions(items, answers, SETTINGS), folder, 0.0)
    return folder


def test_what_an_evaluation_writes_is_read_back(tmp_path: Path) -> None:
    found = read_predictions(write(tmp_path, ["Rome\n", "June 1\n", "Christiania\n"]))
    assert found.items[1] == Prediction(
        "q2", "ada", "date", "When?", ("May 1",), prediction="June 1", text="June 1\n", em=0.0, f1=0.5
    )
    questions = found.questions
    assert (questions.ids.tolist(), questions.document_count) == (["q1", "q2", "q3"], 2)
    assert questions.fields.tolist() == Questions.of(ITEMS).fields.tolist() == ["city", "date", "city"]
    metrics = read_metrics(tmp_path)
    assert (metrics.em, metrics.questions, metrics.fields["city"]) == (pytest.approx(2 / 3), 3, MeanScores(1, 1, 2))


def test_scores_have_the_order_of_the_questions_whatever_the_files_order(tmp_path: Path) -> None:
    one = write(tmp_path / "one", ["Rome", "no", "no"])
    two = write(tmp_path / "two", ["no", "no", "Rome"], ITEMS[::-1])
    scores = read_scores_of_seeds([one, two], ["q2", "q1", "q3"])
    assert scores.em.tolist() == [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    assert scores.of("f1").shape == (2, 3)


def test_other_questions_missing_files_and_other_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path, ["Rome", "no", "no"])
    with pytest.raises(ElusiveError, match=r"expected answers to the same 1 questions as every other model's, got 3"):
        read_scores_of_seeds([tmp_path], ["q1"])
    with pytest.raises(ElusiveError, match=r"nowhere/predictions\.jsonl is missing\. Run the stage 'evaluate'"):
        read_predictions(tmp_path / "nowhere")
    with pytest.raises(ElusiveError, match=r"nowhere/metrics\.json is missing"):
        read_metrics(tmp_path / "nowhere")
    (tmp_path / "predictions.jsonl").write_text('{"id": "q1"}\n')
    with pytest.raises(ElusiveError, match=r"predictions\.jsonl, line 1: not a prediction that Elusive wrote"):
        read_predictions(tmp_path)
    write_json(tmp_path / "metrics.json", {"em": 1.0})
    with pytest.raises(ElusiveError, match=r"metrics\.json, which the stage 'evaluate' writes: expected what"):
        read_metrics(tmp_path)
