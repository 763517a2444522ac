import os
import socket
import threading
from pathlib import Path

import pytest

from elusive import inputs
from elusive.config.corpus import CorpusSettings
from elusive.config.run import Recipe
from elusive.config.toml import load_recipe
from elusive.corpus.questions import read_questions
from elusive.corpus.readers import read_corpus
from elusive.corpus.stage import make_corpus
from elusive.errors import ElusiveError
from elusive.training.texts import TrainingTexts


def folder_of(kind: str, folder: Path) -> Path:
    """A path at which no file is."""
    path = folder / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.close()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "dangling":
        path.symlink_to(folder / "nothing")
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        return Path("/dev/zero")
    elif kind == "longname":
        return folder / ("x" * 5000)
    return path


READERS = {
    "corpus": read_corpus,
    "questions": read_questions,
    "texts": lambda path: TrainingTexts(path).check(False, None),
    "recipe": lambda path: load_recipe(path, Recipe),
}
REASONS = {
    "pipe": "pipe",
    "socket": "a socket",
    "loop": "symbolic links|No recipe",
    "dangling": "No file or folder|No recipe",
    "folder": "a folder|holds no document",
    "device": "a device",
    "longname": "File name too long",
    "nothing": "No file or folder|No recipe",
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", REASONS)
def test_what_is_no_file_is_said_and_not_waited_for(reader, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "PIPE_SECONDS", 0.1)
    with pytest.raises(ElusiveError, match=REASONS[kind]):
        READERS[reader](folder_of(kind, tmp_path))


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_may_not_be_read_is_said(reader, tmp_path, monkeypatch):
    path = tmp_path / "closed.jsonl"
    path.write_text('{"text": "Ada was born."}\n', encoding="utf-8")

    def refused(*_, **__):
        # Root may read everything, so that no mode of a file would refuse it.
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(ElusiveError, match=r"closed\.jsonl could not be read: Permission denied"):
        READERS[reader](path)


def test_in_a_folder_each_of_them_is_a_bad_row(tmp_path):
    for kind in ("pipe", "socket", "loop", "dangling"):
        folder_of(kind, tmp_path)
    (tmp_path / "ada.txt").write_text("Ada was born in London.", encoding="utf-8")
    settings = CorpusSettings(source=str(tmp_path), skip_bad=True)
    corpus = make_corpus(settings, tmp_path.with_name("corpus"))
    assert [document.id for document in corpus.documents] == ["ada.txt"]
    found = read_corpus(tmp_path, skip_bad=True)
    reasons = {Path(row.source).name: row.reason for row in found.quarantined}
    assert "got a pipe" in reasons["pipe"]
    assert "got a socket" in reasons["socket"]
    assert "Too many levels of symbolic links" in reasons["loop"]
    assert "No file or folder" in reasons["dangling"]


def test_a_closed_folder_within_a_source_is_a_bad_row(tmp_path, monkeypatch):
    (tmp_path / "ada.txt").write_text("Ada was born in London.", encoding="utf-8")
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refused(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    [row] = read_corpus(tmp_path, skip_bad=True).quarantined
    assert row.source == str(tmp_path / "closed")


def test_a_pipe_is_read_once_somebody_writes(tmp_path):
    pipe = folder_of("pipe", tmp_path)
    writer = threading.Thread(target=lambda: pipe.write_text('{"text": "Ada was born."}\n', encoding="utf-8"))
    writer.start()
    corpus = read_corpus(pipe)
    writer.join()
    assert [document.text for document in corpus.documents] == ["Ada was born."]


def test_a_recipe_comes_through_a_pipe(tmp_path):
    pipe = folder_of("pipe", tmp_path)
    writer = threading.Thread(target=lambda: pipe.write_text('title = "piped"\n', encoding="utf-8"))
    writer.start()
    assert load_recipe(pipe, Recipe).title == "piped"
    writer.join()


def test_a_file_of_the_wrong_kind_is_no_recipe(tmp_path):
    path = tmp_path / "large.toml"
    path.write_bytes(b"#" * (1 << 20) + b"#")
    with pytest.raises(ElusiveError, match="more than 1,048,576 bytes"):
        load_recipe(path, Recipe)
    path.write_text("a = " + "[" * 100_000, encoding="utf-8")
    with pytest.raises(ElusiveError, match="is not valid TOML"):
        load_recipe(path, Recipe)


def test_a_file_name_that_is_not_utf_8_gives_ids_that_can_be_written(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    Path(os.fsdecode(os.path.join(os.fsencode(source), b"caf\xe9.txt"))).write_text("Ada was born.", encoding="utf-8")
    corpus = make_corpus(CorpusSettings(source=str(source)), tmp_path / "out")
    assert [document.id for document in corpus.documents] == ["caf\\xe9.txt"]
