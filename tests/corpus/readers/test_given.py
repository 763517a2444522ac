"""What a program gives in the place of Documents."""

import datasets
import pandas
import pytest

from elusive.corpus.documents import Corpus, Document
from elusive.corpus.readers.given import documents_of
from elusive.corpus.tags import Span
from elusive.errors import ElusiveError

ROWS = [{"id": "a", "text": "Ada, 1815", "spans": [["date", 5, 9]]}, {"id": "b", "text": "Charles", "spans": []}]
EXPECTED = [Document("a", "Ada, 1815", (Span("date", 5, 9),)), Document("b", "Charles")]


def test_dictionaries_are_rows_of_jsonl() -> None:
    assert documents_of(ROWS) == EXPECTED
    assert documents_of([{"id": 7, "text": "x", "spans": [Span("field", 0, 1)]}]) == [
        Document("7", "x", (Span("field", 0, 1),))
    ]


def test_rows_of_a_data_set_and_of_a_data_frame() -> None:
    rows = [{**ROWS[0], "spans": [{"field": "date", "start": 5, "end": 9}]}, ROWS[1]]
    assert documents_of(datasets.Dataset.from_list(rows)) == EXPECTED
    assert documents_of(pandas.DataFrame(ROWS)) == EXPECTED


def test_a_missing_cell_of_pandas_is_no_value() -> None:
    frame = pandas.DataFrame([{"text": "x", "spans": [["field", 0, 1]]}, {"text": "y"}])
    assert documents_of(frame) == [Document("text-000001", "x", (Span("field", 0, 1),)), Document("text-000002", "y")]


def test_strings_are_called_by_their_place() -> None:
    assert documents_of(["x", EXPECTED[0], "y"]) == [
        Document("text-000001", "x"),
        EXPECTED[0],
        Document("text-000003", "y"),
    ]


def test_a_corpus_gives_its_documents() -> None:
    assert documents_of(Corpus(tuple(EXPECTED))) == tuple(EXPECTED)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a text", "Expected several texts .*, got a string. Put a single text into a list"),
        ({"train": []}, "got an object. Name a split of it"),
        (datasets.DatasetDict(), "got DatasetDict. Name a split of it"),
        (None, "got null"),
        ([3], "Text 1: expected a Document, a string or a dictionary, got a number"),
        (["x", " "], "Text 2: .*white space"),
        ([{"words": "x"}], "Text 1: no 'text'"),
        ([{"text": "x", "spans": [["f", 0, 9]]}], "Text 1: .*outside the text"),
        (
            [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}],
            "for each text, got 'a' 2 times",
        ),
    ],
)
def test_what_is_none_is_refused(given: object, message: str) -> None:
    with pytest.raises(ElusiveError, match=message):
        documents_of(given)  # pyright: ignore[reportArgumentType]
