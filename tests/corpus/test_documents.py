"""The corpus folder: what is written as a stream is read back as one."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elusive.corpus.documents import Corpus, Document, Entry, load_corpus, write_corpus
from elusive.corpus.quarantine import BadRow, LeftOut
from elusive.corpus.questions import QuestionItem
from elusive.corpus.readers import read_corpus
from elusive.corpus.tags import Span
from elusive.errors import ElusiveError


def write(path: Path, *lines: str) -> None:
    path.write_text("".join(line + "\n" for line in lines), "utf-8")


class TestRunFolder:
    CORPUS = Corpus(
        (Document("b", "Zoë\n\u2028end", (Span("name", 0, 3),)), Document("a", "x"), Document("B", "y")),
        (QuestionItem("q2", "Who?", ("Zoë", "Zoe"), "name", "b"), QuestionItem("q1", "What?", ("x",), "f", "a")),
        (BadRow("c.jsonl", 3, "empty text", '{"text": ""}'),),
    )

    def test_round_trip_in_the_order_of_the_source(self, tmp_path: Path) -> None:
        write_corpus(tmp_path / "corpus", self.CORPUS.entries())
        loaded = load_corpus(tmp_path / "corpus")
        assert tuple(loaded.documents) == self.CORPUS.documents
        assert len(loaded.documents) == 3
        assert Document("a", "x") in loaded.documents
        assert loaded.questions == self.CORPUS.questions
        assert loaded.quarantined == ()  # as many as there may be, they stay on disk
        assert isinstance(next(iter(loaded.documents)).spans[0], Span)

    def test_files(self, tmp_path: Path) -> None:
        write_corpus(tmp_path, self.CORPUS.entries())
        documents = (tmp_path / "documents.jsonl").read_bytes().decode().split("\n")
        assert documents[2] == '{"id": "B", "text": "y", "spans": []}'
        assert documents[0] == '{"id": "b", "text": "Zoë\\n\u2028end", "spans": [["name", 0, 3]]}'
        assert json.loads((tmp_path / "questions.jsonl").read_text("utf-8").split("\n")[0]) == {
            "id": "q2",
            "question": "Who?",
            "answers": ["Zoë", "Zoe"],
            "field": "name",
            "document_id": "b",
        }
        assert json.loads((tmp_path / "quarantine.jsonl").read_text("utf-8")) == {
            "source": "c.jsonl",
            "line": 3,
            "reason": "empty text",
            "raw": '{"text": ""}',
            "of": "document",
        }

    def test_written_documents_are_a_corpus_again(self, tmp_path: Path) -> None:
        write_corpus(tmp_path, self.CORPUS.entries())
        again = read_corpus(tmp_path / "documents.jsonl")
        assert again.documents == tuple(load_corpus(tmp_path).documents)

    def test_counts_add_up(self, tmp_path: Path) -> None:
        bad = BadRow("c.jsonl", 4, "no 'question'", "{}", of="question")
        left_out = (LeftOut("impossible question"), LeftOut("repeated paragraph"), LeftOut("impossible question"))
        counts = write_corpus(tmp_path, itertools.chain(left_out, self.CORPUS.entries(), [bad] * 12))
        assert counts.documents == 3
        assert counts.questions == 2
        assert counts.bad == {"document": 1, "question": 12}
        assert counts.left_out == {"impossible question": 2, "repeated paragraph": 1}
        assert counts.rows == 3 + 2 + 13 + 3
        assert counts.first_bad == (self.CORPUS.quarantined[0], *[bad] * 9)

    def test_a_stream_that_breaks_leaves_no_file(self, tmp_path: Path) -> None:
        def broken() -> Iterator[Entry]:
            yield Document("a", "x")
            raise ElusiveError("the source went away")

        with pytest.raises(ElusiveError, match="went away"):
            write_corpus(tmp_path, broken())
        assert list(tmp_path.iterdir()) == []

    def test_missing_and_changed(self, tmp_path: Path) -> None:
        with pytest.raises(ElusiveError, match=r"documents\.jsonl is missing\. Run the stage"):
            load_corpus(tmp_path)
        write_corpus(tmp_path, self.CORPUS.entries())
        write(tmp_path / "documents.jsonl", '{"id": "a", "text": "x", "spans": []}', '{"id": "b"}')
        with pytest.raises(ElusiveError, match=r"line 2: not a row that Elusive wrote, .*Delete the folder"):
            list(load_corpus(tmp_path).documents)


@pytest.mark.parametrize(
    ("file", "row"),
    [
        ("documents.jsonl", {"id": 7, "text": "x", "spans": []}),
        ("documents.jsonl", {"id": "a", "text": None, "spans": []}),
        ("documents.jsonl", {"id": "a", "text": "\ud800", "spans": []}),
        ("documents.jsonl", {"id": "a", "text": "x", "spans": [["name", 0.0, 1]]}),
        ("documents.jsonl", {"id": "a", "text": "x", "spans": [["name", 0]]}),
        ("documents.jsonl", {"id": "a", "text": "x", "spans": 3}),
        ("questions.jsonl", {"id": "q", "question": "?", "answers": [1], "field": "f", "document_id": "a"}),
        ("questions.jsonl", {"id": "q", "question": None, "answers": ["a"], "field": "f", "document_id": "a"}),
        ("questions.jsonl", {"id": "q"}),
    ],
)
def test_a_row_of_another_form_is_said_with_its_file_and_line(tmp_path: Path, file: str, row: dict[str, Any]) -> None:
    write_corpus(tmp_path, [Document("a", "x")])
    (tmp_path / file).write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(ElusiveError, match=rf"{file} is damaged \(line 1: not a row that Elusive wrote"):
        list(load_corpus(tmp_path).documents)
