"""What results show of themselves, and the tables that they turn into."""

from typing import NamedTuple

import numpy as np

from elusive.clues.recall import Chance, ClueRecall, RecallTable, SignalRecall
from elusive.evaluation.predictions import MeanScores, Metrics
from elusive.runs.frames import Items, Joined, html_table
from elusive.scoring.shards import TokenScores


class Row(NamedTuple):
    name: str
    score: float
    answers: tuple[str, ...] = ()


ROWS = Items([Row("a", 0.25, ("x", "y")), Row("<b>", 1 / 3)], Row._fields)


def test_items_are_a_list_and_a_table() -> None:
    assert ROWS[1].name == "<b>"
    assert ROWS.columns() == {"name": ["a", "<b>"], "score": [0.25, 1 / 3], "answers": [["x", "y"], []]}
    assert ROWS.to_pandas()["score"].tolist() == [0.25, 1 / 3]
    assert ROWS.to_datasets()[0] == {"name": "a", "score": 0.25, "answers": ["x", "y"]}


def test_html_is_escaped_and_rounded() -> None:
    shown = ROWS._repr_html_()
    assert "<td>&lt;b&gt;</td><td>0.3333</td>" in shown
    assert "<b>" not in shown
    assert "<i>" not in html_table({"<i>": [1]})


def test_long_tables_and_texts_are_cut() -> None:
    shown = html_table({"text": ["x" * 300] * 25})
    assert shown.count("<tr>") == 21
    assert "rows not shown: 5" in shown
    assert f"<td>{'x' * 200} …</td>" in shown


def test_scores_of_several_texts_are_one_table() -> None:
    numbers = np.array([1, 2], np.int32)
    one = TokenScores("a", numbers, np.array([[0, 1], [1, 3]], np.int32), np.array([0.5, 0.25], np.float32), numbers)
    table = Joined([one, one]).columns()
    assert table["document_id"] == ["a"] * 4
    assert table["end"] == [1, 3, 1, 3]
    assert table["score"] == [0.5, 0.25, 0.5, 0.25]
    assert Joined[TokenScores]().columns() == {}
    assert Joined[TokenScores]()._repr_html_() == "<table><thead><tr></tr></thead><tbody></tbody></table>"


def test_metrics_are_a_table_whose_last_row_is_all_questions() -> None:
    metrics = Metrics(0.5, 0.75, 4, {"<city>": MeanScores(1.0, 1.0, 2), "date": MeanScores(0.0, 0.5, 2)}, 1.5)
    assert metrics.columns() == {
        "field": ["<city>", "date", "all"],
        "em": [1.0, 0.0, 0.5],
        "f1": [1.0, 0.5, 0.75],
        "questions": [2, 2, 4],
    }
    assert list(metrics.to_pandas()["em"]) == [1.0, 0.0, 0.5]
    assert "<td>&lt;city&gt;</td><td>1</td>" in metrics._repr_html_()


def test_clue_recall_is_a_table_with_a_row_for_each_cue() -> None:
    signals = [SignalRecall(value, low, high, 3, None) for value, low, high in ((0.3, 0.1, 0.5), (0.2, None, None))]
    row = ClueRecall(3, signals[0], signals[1], signals[0], Chance(0.25, 0.1), {})
    columns = RecallTable(10, ("name",), {"all cues": row}).columns()
    assert columns["cue"] == ["all cues"]
    assert [columns[name] for name in ("large", "large_low", "small", "small_low", "chance")] == [
        [0.3], [0.1], [0.2], [None], [0.25],
    ]  # fmt: skip
