"""The corpus stage: its mark, and what is said of a mark that others changed."""

from pathlib import Path

import pytest

from elusive.config.corpus import CorpusSettings
from elusive.corpus.stage import documents_at, make_corpus, make_corpus_folder, summary_lines
from elusive.errors import ElusiveError
from elusive.runs.files import read_json, write_json


@pytest.mark.parametrize("key", ["rows", "documents", "questions", "quarantined", "left_out", "marked", "unplaced"])
def test_a_mark_without_its_hash_and_a_key(tmp_path: Path, key: str) -> None:
    make_corpus(CorpusSettings(people=2), tmp_path)
    done = read_json(tmp_path / "done.json")
    write_json(tmp_path / "done.json", done)
    assert summary_lines(tmp_path) == ["2 documents, 10 questions"]
    for changed in ({name: value for name, value in done.items() if name != key}, done | {key: None}):
        write_json(tmp_path / "done.json", changed)
        with pytest.raises(ElusiveError, match=rf"done\.json: expected what this version of Elusive writes, .*{key}"):
            summary_lines(tmp_path)


def test_what_needs_documents_alone_reads_no_questions(tmp_path: Path) -> None:
    folder = make_corpus_folder(CorpusSettings(people=2), tmp_path)
    (tmp_path / "questions.jsonl").write_text("not JSON")
    assert make_corpus_folder(CorpusSettings(people=2), tmp_path) == folder == tmp_path
    documents, notes = documents_at(folder)
    assert (len(documents), list(notes)) == (2, [])
    with pytest.raises(ElusiveError, match=r"questions\.jsonl is damaged"):
        make_corpus(CorpusSettings(people=2), tmp_path)
