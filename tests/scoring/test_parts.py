"""Parts of a corpus and of its scores, by place: what an actor reads, whichever it is."""

from pathlib import Path

import numpy as np
import pytest

from elusive.corpus.documents import Document, StoredDocuments, write_corpus
from elusive.errors import ElusiveError
from elusive.runs.stage import Stage
from elusive.scoring.shards import TokenScores, scores_of_part, shard_path, write_shard

IDS = ["a", "ü\u2028b", "c", "d", "e", "f", "g"]


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_parts_of_a_corpus_together_are_the_corpus(tmp_path: Path, size: int):
    documents = [Document(id, f"Text of {id}, größer.\u2028{id * 50}") for id in IDS]
    write_corpus(tmp_path, documents)
    stored = StoredDocuments(tmp_path / "documents.jsonl")
    places = stored.places(size)
    parts = [stored.part(place, size) for place in places]
    assert [document for part in parts for document in part] == documents
    assert [len(part) for part in parts[:-1]] == [size] * (len(places) - 1)


def test_a_part_of_a_changed_corpus_is_refused(tmp_path: Path):
    write_corpus(tmp_path, [Document(id, "text") for id in IDS])
    path = tmp_path / "documents.jsonl"
    stored = StoredDocuments(path)
    place = stored.places(3)[1]
    path.write_text("x" + path.read_text())
    with pytest.raises(ElusiveError, match=f"damaged .after byte {place}"):
        stored.part(place, 3)


@pytest.mark.parametrize("first", range(7))
@pytest.mark.parametrize("count", [1, 2, 5])
def test_scores_of_a_part_come_from_the_shards_that_hold_it(tmp_path: Path, first: int, count: int):
    with Stage(tmp_path, {"shard_documents": 3}) as stage:
        for number in range(3):
            write_shard(shard_path(tmp_path, number), [_scores(id) for id in IDS[3 * number : 3 * number + 3]])
        stage.finish({})
    count = min(count, len(IDS) - first)
    assert [one.document_id for one in scores_of_part(tmp_path, first, count)] == IDS[first : first + count]


def _scores(id: str) -> TokenScores:
    ones = np.ones(2, dtype=np.int32)
    return TokenScores(id, ones, np.array([[0, 1], [1, 2]], np.int32), ones.astype(np.float32), ones)
