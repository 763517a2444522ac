"""Fresh copies as a stream: the texts of FreshCopies, each once an epoch, from any position, a few groups in memory."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pytest
from torch.utils.data import DataLoader

import elusive.augmentation.stage
from elusive.augmentation import rankings as rankings_module
from elusive.augmentation.rankings import RankedDocument, RankingFile
from elusive.errors import ElusiveError
from elusive.storage import UrlPath
from elusive.training.fresh import FreshCopies
from elusive.training.fresh_stream import FreshStream

from .test_fresh import SETTINGS, write

TEXTS = 6 * (1 + SETTINGS.copies)


@pytest.fixture(scope="module")
def rankings(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two parts of a set, each of three row groups of two documents."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elusive.augmentation.stage, "GROUP_DOCUMENTS", 2)
        folders = [tmp_path_factory.mktemp("part") for _ in range(2)]
        return [write(folder, tokenizer).with_name("ranking.parquet") for folder in folders]


@pytest.fixture
def stream(rankings: list[Path], tokenizer: Any) -> FreshStream:
    return FreshStream(rankings, tokenizer, window=2)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The numbers of the row groups that are read, call by call."""
    calls: list[list[int]] = []
    original = RankingFile.read_groups

    def noted(file: RankingFile, numbers: Sequence[int]) -> list[RankedDocument]:
        calls.append(list(numbers))
        return original(file, numbers)

    monkeypatch.setattr(RankingFile, "read_groups", noted)
    return calls


def rows_of(items: Iterator[dict[str, list[int]]] | FreshStream) -> list[tuple[int, ...]]:
    return [tuple(item["input_ids"]) for item in items]


def expected(rankings: list[Path], tokenizer: Any, epoch: int) -> Counter[tuple[int, ...]]:
    """The token rows of an epoch, as the map-style datasets of the parts give them."""
    copies = [FreshCopies(ranking, tokenizer) for ranking in rankings]
    for one in copies:
        one.set_epoch(epoch)
    return Counter(tuple(one[number]["input_ids"]) for one in copies for number in range(len(one)))


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_an_epoch_gives_each_text_once_over_all_processes(
    rankings: list[Path], tokenizer: Any, epoch: int, world_size: int
):
    given: list[tuple[int, ...]] = []
    for rank in range(world_size):
        stream = FreshStream(rankings, tokenizer, rank=rank, world_size=world_size, window=2)
        assert stream.texts == 2 * TEXTS
        stream.set_epoch(epoch)
        given += rows_of(stream)
    assert Counter(given) == expected(rankings, tokenizer, epoch)


def test_the_order_is_that_of_the_epoch_the_seed_and_the_window(
    stream: FreshStream, rankings: list[Path], tokenizer: Any
):
    orders = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        orders.append(rows_of(stream))
    assert orders[0] == orders[2]
    assert orders[0] != orders[1]
    assert rows_of(FreshStream(rankings, tokenizer, window=2, seed=1)) != orders[0]
    assert orders[0] != rows_of(FreshStream(rankings, tokenizer, window=6))


@pytest.mark.parametrize("given", [0, 1, 7, 16, 17, 2 * TEXTS - 1, 2 * TEXTS])
def test_a_stopped_stream_goes_on_where_it_was(stream: FreshStream, rankings: list[Path], tokenizer: Any, given: int):
    stream.set_epoch(3)
    whole = rows_of(stream)
    items = iter(stream)
    before = [tuple(next(items)["input_ids"]) for _ in range(given)]
    state = json.loads(json.dumps(stream.state_dict()))
    again = FreshStream(rankings, tokenizer, window=2)
    again.load_state_dict(state)
    assert again.state_dict() == state
    assert before + rows_of(again) == whole
    assert rows_of(again) == whole  # the next time from the beginning
    assert again.epoch == 3


def test_what_came_before_a_position_is_neither_read_nor_drawn(
    stream: FreshStream, rankings: list[Path], tokenizer: Any, read: list[list[int]]
):
    rows_of(stream)
    assert sum(map(len, read)) == 6
    assert max(map(len, read)) <= 2
    read.clear()
    stream.load_state_dict({**stream.state_dict(), "given": 2 * TEXTS - 1})
    assert len(rows_of(stream)) == 1
    assert sum(map(len, read)) == 2


def test_a_new_epoch_begins_at_the_beginning(stream: FreshStream):
    stream.load_state_dict({**stream.state_dict(), "given": 40})
    stream.set_epoch(1)
    assert len(rows_of(stream)) == 2 * TEXTS


def test_of_a_ranking_file_the_groups_that_were_used_last_are_held(
    rankings: list[Path], monkeypatch: pytest.MonkeyPatch
):
    whole = [one.document_id for one in RankingFile(rankings[0]).documents()]
    file, other, opened = RankingFile(rankings[0]), RankingFile(rankings[0]), []
    original = rankings_module.opened_parquet
    monkeypatch.setattr(rankings_module, "_HELD_BYTES", 2 * max(other._group(number).nbytes for number in range(3)))
    monkeypatch.setattr(rankings_module, "opened_parquet", lambda *given: (opened.append(1), original(*given))[1])
    assert [file[number].document_id for number in range(len(file))] == whole
    before = len(opened)
    assert [file[number].document_id for number in (5, 3, 2, 4)] == [whole[number] for number in (5, 3, 2, 4)]
    assert len(opened) == before  # the last two groups
    assert file[0].document_id == whole[0]
    assert len(opened) == before + 1


def test_workers_of_a_loader_share_the_texts(stream: FreshStream, rankings: list[Path], tokenizer: Any):
    loader = DataLoader(stream, batch_size=4, num_workers=2, collate_fn=list)
    stream.set_epoch(1)
    given = [tuple(item["input_ids"]) for batch in loader for item in batch]
    assert Counter(given) == expected(rankings, tokenizer, 1)


@pytest.mark.filterwarnings("default")  # what torchdata and torch warn each other of is not about this test
@pytest.mark.parametrize("workers", [0, 2])
def test_torchdata_keeps_the_position(rankings: list[Path], tokenizer: Any, workers: int):
    torchdata = pytest.importorskip(
        "torchdata.stateful_dataloader", reason="torchdata is not installed: pip install torchdata"
    )

    def loader() -> Any:
        stream = FreshStream(rankings, tokenizer, window=2)
        return torchdata.StatefulDataLoader(stream, batch_size=4, num_workers=workers, collate_fn=list)

    first, again = loader(), loader()
    whole = list(first)
    batches = iter(first)
    before = [next(batches) for _ in range(5)]
    again.load_state_dict(first.state_dict())
    assert before + list(again) == whole
    assert sum(map(len, whole)) == 2 * TEXTS


def test_a_ranking_at_a_url_is_streamed(stream: FreshStream, rankings: list[Path], tokenizer: Any):
    urls = [UrlPath(f"memory://parts/{number}.parquet") for number in range(len(rankings))]
    for url, ranking in zip(urls, rankings, strict=True):
        url.put(ranking)
    assert rows_of(FreshStream(urls, tokenizer, window=2)) == rows_of(stream)
    assert len(rows_of(FreshStream(str(urls[0]), tokenizer))) == TEXTS
    fsspec.filesystem("memory").store.clear()


def test_what_cannot_be_streamed_is_refused(stream: FreshStream, rankings: list[Path], tokenizer: Any, tmp_path: Path):
    for options in ({"rank": 2, "world_size": 2}, {"rank": -1}, {"window": 0}):
        with pytest.raises(ElusiveError, match="expected 0 <= rank < world_size and a window of at least 1"):
            FreshStream(rankings, tokenizer, **options)
    with pytest.raises(ElusiveError, match=r"expected at least one ranking\.parquet"):
        FreshStream([], tokenizer)
    with pytest.raises(ElusiveError, match=r"expected the position of share 0 of 1, got that of 1 of 2"):
        stream.load_state_dict({"epoch": 0, "given": 3, "share": 1, "shares": 2})
    other = write(tmp_path / "other", tokenizer, settings=dataclasses.replace(SETTINGS, seed=1))
    with pytest.raises(ElusiveError, match=r"different arms or settings: expected the parts of one set"):
        FreshStream([*rankings, other.with_name("ranking.parquet")], tokenizer)
    marked = write(tmp_path / "marked", tokenizer, "weighted-contrast")
    with pytest.raises(ElusiveError, match="acts in training"):
        FreshStream(marked.with_name("ranking.parquet"), tokenizer)
