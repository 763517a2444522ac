"""Corpora, scores and augmented texts in object stores: the same bytes as in folders, whole files, one command."""

import contextlib
import dataclasses
import gzip
import json
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elusive.augmentation.stage import ScoreFolders, augment_from_scores
from elusive.cli.main import main
from elusive.config.corpus import CorpusSettings
from elusive.config.models import ModelRef
from elusive.config.scoring import ScoreSettings
from elusive.corpus.readers import read_corpus
from elusive.corpus.stage import make_corpus, open_corpus
from elusive.errors import ElusiveError
from elusive.models.loading import load_tokenizer
from elusive.runs.files import atomic_path, read_json, write_json
from elusive.runs.folder import RunFolder
from elusive.runs.lock import LOCK, FolderInUseError, Owner, locked
from elusive.runs.stage import Stage
from elusive.scoring.shards import read_scores
from elusive.scoring.stage import score_corpus
from elusive.storage import UrlPath, is_url, local, located
from elusive.training.fresh import fresh_rows
from elusive.training.origin import origin_of
from elusive.training.stage import train

SMALL = ModelRef("elusive/small", device="cpu")
ROWS = [{"id": f"d{number}", "text": f"Text {number} of the corpus."} for number in range(5)]


@pytest.fixture
def memory() -> Iterator[UrlPath]:
    """An empty folder of the storage that fsspec keeps in memory."""
    yield UrlPath("memory://bucket/folder")
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[UrlPath]:
    """A folder of a server on this machine that speaks S3's protocol."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install s3fs")
    moto = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server,s3]'")
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir("bucket")
    yield UrlPath("s3://bucket/folder")
    fsspec.filesystem("s3").clear_instance_cache()
    server.stop()


def put(folder: UrlPath, name: str, content: bytes) -> None:
    with atomic_path(folder / name) as path:
        path.write_bytes(content)


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


# What a path is


@pytest.mark.parametrize("given", ["s3://bucket/a/b", Path("s3://bucket/a/b"), "s3://bucket/a/b/"])
def test_a_url_is_known_as_one_also_where_pathlib_had_it(given: str | Path):
    assert located(given) == UrlPath("s3://bucket/a/b")
    assert is_url(given)


@pytest.mark.parametrize("given", ["runs/demo", "hf:org/name", "a:/b", "notes:/x", "C:/x", "-", "s3:/bucket"])
def test_everything_else_is_a_path(given: str):
    assert located(given) == Path(given)


def test_a_file_url_is_a_path():
    assert located("file:///tmp/a") == located(Path("file:///tmp/a")) == Path("/tmp/a")


def test_parts_of_a_url():
    path = UrlPath("s3://bucket/a") / "train.tar.gz"
    assert (path.name, path.stem, path.suffix) == ("train.tar.gz", "train.tar", ".gz")
    assert (str(path.parent), path.with_name("b")) == ("s3://bucket/a", UrlPath("s3://bucket/a/b"))


def test_what_no_package_serves_is_refused():
    with pytest.raises(ElusiveError, match=r"got the scheme 's4'.*\./s4://"):
        located("s4://bucket/a")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch):
    def missing(url: str) -> Any:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", missing)
    with pytest.raises(ElusiveError, match=r"s3://b/a needs the package s3fs .*Run: pip install s3fs$"):
        UrlPath("s3://b/a").exists()


@pytest.mark.parametrize("error", [PermissionError("Forbidden"), RuntimeError("no endpoint")])
def test_what_a_storage_refuses_is_never_taken_for_nothing_there(
    memory: UrlPath, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "info", refuse)
    with pytest.raises(ElusiveError, match=rf"memory://.*could not be reached \({type(error).__name__}: {error}\)"):
        (memory / "done.json").exists()


# Files and stages


def test_a_file_appears_whole_or_not_at_all(memory: UrlPath):
    write_json(memory / "a.json", {"a": 1})
    with contextlib.suppress(RuntimeError), atomic_path(memory / "a.json") as path:
        path.write_text("half")
        raise RuntimeError
    assert read_json(memory / "a.json") == {"a": 1}
    assert [path.name for path in memory.glob("*")] == ["a.json"]


def test_stages_know_their_settings_and_whether_they_are_done(memory: UrlPath):
    with Stage(memory, {"a": 1}, anywhere=True) as stage:
        assert (memory / LOCK).exists()
        stage.finish({"rows": 3})
    assert Stage(memory, {"a": 1}, anywhere=True).summary == {"rows": 3}
    with pytest.raises(ElusiveError, match="a: was 1, now 2"), Stage(memory, {"a": 2}, anywhere=True):
        pass


def test_one_command_at_a_time_and_only_its_own_lock_is_given_back(memory: UrlPath):
    with locked(memory), pytest.raises(FolderInUseError, match=f"process {os.getpid()} on"), locked(memory):
        pass
    assert not (memory / LOCK).exists()
    with locked(memory):
        (memory / LOCK).unlink()
        assert (memory / LOCK).create(b"another command's")
        with pytest.raises(ElusiveError, match="was removed or replaced"):
            write_json(memory / "a.json", {})
    assert (memory / LOCK).read_bytes() == b"another command's"
    assert not (memory / "a.json").exists()


def test_of_two_who_come_at_once_the_one_whose_file_stands_goes_on(memory: UrlPath, monkeypatch: pytest.MonkeyPatch):
    def unconditional(path: UrlPath, content: bytes) -> bool:
        put(path.parent, path.name, content + b" ")  # the other's, written a moment later
        return True

    monkeypatch.setattr(UrlPath, "create", unconditional)
    with pytest.raises(ElusiveError, match="was removed or replaced"), locked(memory):
        pytest.fail("both went on")


@pytest.mark.parametrize(("host", "ends"), [(platform.node(), True), ("elsewhere", False)])
def test_the_lock_of_a_killed_command_is_taken_on_its_own_host_alone(memory: UrlPath, host: str, ends: bool):
    killed = dataclasses.replace(Owner.here(), host=host, process=2**22 + 1)
    assert (memory / LOCK).create(json.dumps(dataclasses.asdict(killed)).encode())
    if ends:
        with locked(memory):
            assert Owner.of(memory / LOCK) != killed
    else:
        with pytest.raises(FolderInUseError, match=rf"on elsewhere.*if it has ended, delete {memory}/{LOCK}"):
            locked(memory).__enter__()


def test_a_storage_that_shows_half_written_files_is_not_written_to():
    with (
        pytest.raises(ElusiveError, match=r"expected an output folder.*ftp does not promise that"),
        locked("ftp://x/y"),
    ):
        pass


@pytest.mark.parametrize(
    "use",
    [
        lambda: train("texts.jsonl", "memory://bucket/model", model=SMALL),
        lambda: train("texts.jsonl", Path("memory://bucket/model"), model=SMALL),
        lambda: RunFolder(Path("memory://bucket/run")),
        lambda: local("memory://bucket/run", "a run"),
    ],
)
def test_what_needs_a_folder_of_this_machine_says_so(use: Callable[[], object]):
    with pytest.raises(ElusiveError, match=r"memory://bucket/\w+: expected a local folder .*, got a URL"):
        use()


@pytest.mark.parametrize("arguments", [("report", "s3://b/run"), ("export", "s3://b/augmented", "--output", "out")])
def test_verbs_refuse_urls_where_they_need_paths(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(list(arguments))
    assert f"{arguments[1]}: expected a local folder" in capsys.readouterr().err


# Sources


def test_every_kind_of_source_is_read_from_a_url_as_from_a_folder(memory: UrlPath, tmp_path: Path):
    table = pa.table({name: [row[name] for row in ROWS] for name in ROWS[0]})
    pq.write_table(table, tmp_path / "rows.parquet")
    files = {
        "rows.jsonl": jsonl(ROWS),
        "rows.jsonl.gz": gzip.compress(jsonl(ROWS)),
        "rows.parquet": (tmp_path / "rows.parquet").read_bytes(),
        "deep/wide.txt": "Ein Satz \u00fcber alles.\n".encode("utf-16"),
        "deep/page.html": b"<html><body><p>One sentence.</p></body></html>",
        ".hidden.jsonl": b"{",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
        put(memory, name, content)
    for source in ("rows.jsonl", "rows.jsonl.gz", "rows.parquet", "deep", "deep/*.txt", "**/wide.*"):
        assert read_corpus(f"{memory}/{source}") == read_corpus(tmp_path / source), source
    assert len(read_corpus(memory / "rows.jsonl").documents) == 5
    folder = make_corpus(CorpusSettings(source=f"{memory}/deep"), memory / "corpus")
    assert list(open_corpus(memory / "corpus").documents) == list(folder.documents)
    assert len(folder.documents) == 2


@pytest.mark.parametrize("source", ["memory://bucket/nothing", "memory://bucket/*.jsonl"])
def test_nothing_at_a_url_is_said_so(source: str):
    with pytest.raises(ElusiveError, match=r"No file at memory://bucket/\S+, and none below it"):
        read_corpus(source)


def test_a_url_of_the_hub_is_no_name_of_a_dataset(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(UrlPath, "is_file", lambda path: False)
    monkeypatch.setattr(UrlPath, "files_below", lambda path, pattern: [])
    with pytest.raises(ElusiveError, match="No file at hf://datasets/org/name"):
        read_corpus("hf://datasets/org/name")


# The chain


def chain(folder: Path | UrlPath) -> dict[str, Path | UrlPath]:
    """Make a corpus, score it and write an arm's texts; gives all files but the done-mark that holds a time."""
    corpus = make_corpus(CorpusSettings(people=3), folder / "corpus")
    settings = ScoreSettings(queries="all", shard_documents=2)
    score_corpus(corpus.documents, folder / "scores", SMALL, settings)
    scores = ScoreFolders({"small": folder / "scores"}, trained="small")
    augment_from_scores(corpus.documents, folder / "augmented", "attention", scores)
    parts = [folder / name for name in ("corpus", "scores", "augmented")]
    files = {f"{part.name}/{file.name}": file for part in parts for file in part.glob("*")}
    del files["scores/done.json"]
    return files


def check_chain(url: UrlPath, folder: Path) -> None:
    here, there = chain(folder), chain(url)
    assert sorted(there) == sorted(here)
    assert len(here) == 5 + 3 + 5
    for name, file in here.items():
        assert there[name].read_bytes() == file.read_bytes(), name


def test_the_files_are_those_of_a_folder_and_only_what_is_missing_is_made_again(memory: UrlPath, tmp_path: Path):
    check_chain(memory, tmp_path)
    rows = fresh_rows(memory / "augmented" / "train.jsonl", load_tokenizer(SMALL), 512)
    assert len(rows) == 33
    origins = [origin_of(folder / "augmented" / "train.jsonl") for folder in (memory, tmp_path)]
    assert origins[0] == origins[1]
    assert origins[0] is not None
    scores, put_there = memory / "scores", []
    before = read_scores(scores)
    (scores / "part-00001.parquet").unlink()
    (scores / "done.json").unlink()
    with pytest.raises(ElusiveError, match="are not finished"):
        read_scores(scores)

    with pytest.MonkeyPatch.context() as patch:
        original = UrlPath.put
        patch.setattr(UrlPath, "put", lambda path, file: (put_there.append(path.name), original(path, file)))
        chain(memory)
    assert put_there == ["settings.json", "part-00001.parquet", "done.json"]
    assert [one.scores.tolist() for one in read_scores(scores)] == [one.scores.tolist() for one in before]


@pytest.mark.filterwarnings("default")  # what the libraries of the server warn of is not about this test
def test_the_files_in_a_store_that_speaks_s3_are_the_same(bucket: UrlPath, tmp_path: Path):
    check_chain(bucket, tmp_path)
    with locked(bucket), pytest.raises(FolderInUseError), locked(bucket):
        pass
    (bucket / LOCK).create(b"{}")
    assert not (bucket / LOCK).create(b"{ }")  # the store itself decides
    with (
        pytest.raises(ElusiveError, match=r"s3://other/\S+ could not be reached .*bucket"),
        locked("s3://other/folder"),
    ):
        pass
