"""The run folder: atomic writes, stages, JSON in and out; and the lines that progress prints."""

import errno
import io
import os
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from elusive.errors import ElusiveError
from elusive.runs import progress
from elusive.runs.files import (
    atomic_path,
    file_hash,
    read_json,
    read_jsonl,
    silent,
    write_json,
    write_jsonl,
    write_sealed_json,
    write_text,
)
from elusive.runs.lock import LOCK, FolderInUseError
from elusive.runs.stage import FORMAT, Stage


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestAtomicPath:
    def test_new_and_replaced_file(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "er" / "text.txt"
        write_text(path, "Zürich\n")
        assert path.read_bytes() == "Zürich\n".encode()
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        write_text(path, "Oslo\n")
        assert path.read_text() == "Oslo\n"
        assert names(path.parent) == ["text.txt"]

    def test_temporary_stands_beside_the_file_with_its_suffix(self, tmp_path: Path) -> None:
        with atomic_path(tmp_path / "part.parquet") as temporary:
            assert (temporary.parent, temporary.suffix) == (tmp_path, ".parquet")
            assert temporary.name.startswith(".")
            assert not (tmp_path / "part.parquet").exists()

    def test_flushed_before_it_is_renamed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []
        flush, replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), flush(handle)))
        monkeypatch.setattr(os, "replace", lambda old, new: (calls.append("replace"), replace(old, new)))
        write_text(tmp_path / "text.txt", "x")
        assert calls == ["fsync", "replace"]

    @pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), OSError(errno.EIO, "I/O error")])
    def test_failure_leaves_the_old_file_and_nothing_else(self, tmp_path: Path, error: BaseException) -> None:
        path = tmp_path / "text.txt"
        write_text(path, "old")
        with pytest.raises(type(error)) as caught, atomic_path(path) as temporary:  # noqa: PT012
            temporary.write_text("half")
            raise error
        assert caught.value is error
        assert path.read_text() == "old"
        assert names(tmp_path) == ["text.txt"]

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
    def test_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
        path = tmp_path / "rows.jsonl"
        write_jsonl(path, [{"row": "old"}])

        def full(handle: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(
            ElusiveError, match=r"The disk is full: .*rows\.jsonl could not be written\. Free some space"
        ):
            write_jsonl(path, [{"row": "new"}])
        assert list(read_jsonl(path)) == [{"row": "old"}]
        assert names(tmp_path) == ["rows.jsonl"]

    @pytest.mark.parametrize("path", ["file/text.txt", "file/folder/text.txt", "folder"])
    def test_place_that_cannot_be_written(self, tmp_path: Path, path: str) -> None:
        (tmp_path / "file").write_text("in the way")
        (tmp_path / "folder").mkdir()
        with pytest.raises(ElusiveError, match=r"Cannot write .*: .*\. Choose another output folder\."):
            write_text(tmp_path / path, "x")
        assert names(tmp_path) == ["file", "folder"]


class TestJson:
    VALUE = {"name": "Zürich 😀", "list": [1, 2.5, None, True], "line": "a\u2028b\nc"}  # noqa: RUF012

    def test_round_trip(self, tmp_path: Path) -> None:
        write_json(tmp_path / "a.json", self.VALUE)
        assert read_json(tmp_path / "a.json") == self.VALUE
        assert "Zürich 😀" in (tmp_path / "a.json").read_text(encoding="utf-8")
        write_jsonl(tmp_path / "a.jsonl", [self.VALUE, {}, self.VALUE])
        assert list(read_jsonl(tmp_path / "a.jsonl")) == [self.VALUE, {}, self.VALUE]
        assert (tmp_path / "a.jsonl").read_bytes().count(b"\n") == 3

    @pytest.mark.parametrize("read", [read_json, lambda path: list(read_jsonl(path)), file_hash])
    def test_missing(self, tmp_path: Path, read) -> None:
        with pytest.raises(ElusiveError, match=r"a\.json is missing\. Run the stage that writes it first\."):
            read(tmp_path / "a.json")

    def test_bad_json(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text('{"a": 1')
        with pytest.raises(ElusiveError, match=r"a\.json is damaged \(not valid JSON, .*\)\. Delete the folder"):
            read_json(tmp_path / "a.json")
        (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": \n')
        with pytest.raises(ElusiveError, match=r"a\.jsonl is damaged \(line 2: not valid JSON, Expecting value"):
            list(read_jsonl(tmp_path / "a.jsonl"))

    def test_bad_bytes(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_bytes(b'{"a": "\xff"}\n')
        with pytest.raises(ElusiveError, match=r"a\.json is damaged \(not valid JSON"):
            read_json(tmp_path / "a.json")
        with pytest.raises(ElusiveError, match=r"a\.json is damaged \(line 1: not valid JSON"):
            list(read_jsonl(tmp_path / "a.json"))

    @pytest.mark.parametrize("value", ["[]", "1", "null", '"text"', "[" * 100_000])
    def test_no_object(self, tmp_path: Path, value: str) -> None:
        (tmp_path / "a.json").write_text(value)
        for read in (read_json, lambda path: list(read_jsonl(path))):
            with pytest.raises(ElusiveError, match="is damaged"):
                read(tmp_path / "a.json")

    def test_what_was_changed_since_is_no_other_result(self, tmp_path: Path) -> None:
        path = tmp_path / "done.json"
        value = {"rate": 0.25, "steps": 3, "names": ("é", None), "more": {"x": [1, 2.5]}}
        write_sealed_json(path, value)
        assert read_json(path) == {**value, "names": ["é", None]}
        path.write_text(path.read_text(encoding="utf-8").replace("0.25", "0.75"), encoding="utf-8")
        with pytest.raises(ElusiveError, match=r"done\.json is damaged \(it was changed since it was written\)"):
            read_json(path)

    def test_a_key_that_is_gone_with_the_hash_is_damage(self, tmp_path: Path) -> None:
        path = tmp_path / "done.json"
        write_json(path, {"rate": 0.25, "more": {}})
        assert read_json(path) == {"rate": 0.25, "more": {}}
        with pytest.raises(ElusiveError, match=r"done\.json is damaged \(it lacks 'steps'\)\. Delete the folder"):
            read_json(path)["steps"]
        assert read_json(path).get("steps", 3) == 3

    def test_hash(self, tmp_path: Path) -> None:
        (tmp_path / "abc").write_bytes(b"abc")
        (tmp_path / "d").write_bytes(b"d")
        # FIPS 180-2's example
        assert file_hash(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert file_hash(tmp_path / "abc", tmp_path / "d") != file_hash(tmp_path / "d", tmp_path / "abc")


class TestStage:
    SETTINGS = {"arm": "random", "augment": {"alpha": 0.6, "copies": 10}, "fields": ["date"]}  # noqa: RUF012

    def test_settings_first_done_last(self, tmp_path: Path) -> None:
        folder = tmp_path / "augmented" / "random"
        with Stage(folder, self.SETTINGS) as stage:
            assert names(folder) == [LOCK, "settings.json"]
            assert read_json(folder / "settings.json") == {"format": FORMAT, **self.SETTINGS}
            assert not stage.done
            stage.finish({"texts": 11})
            assert stage.done
        assert names(folder) == ["done.json", "settings.json"]
        with Stage(folder, self.SETTINGS) as again:
            assert again.summary == {"texts": 11}

    def test_begun_and_not_finished(self, tmp_path: Path) -> None:
        with Stage(tmp_path, self.SETTINGS):
            pass
        with Stage(tmp_path, self.SETTINGS) as again:
            assert not again.done
            with pytest.raises(ElusiveError, match=r"done\.json is missing"):
                _ = again.summary

    def test_nothing_written_yet_may_be_begun_again(self, tmp_path: Path) -> None:
        with Stage(tmp_path, self.SETTINGS):
            pass
        with Stage(tmp_path, {"arm": "plain"}):
            pass
        assert read_json(tmp_path / "settings.json") == {"format": FORMAT, "arm": "plain"}

    @pytest.mark.parametrize("written", ["part-00000.parquet", "done.json"])
    def test_other_settings_are_refused(self, tmp_path: Path, written: str) -> None:
        with Stage(tmp_path, self.SETTINGS):
            (tmp_path / written).write_bytes(b"{}")
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        other = {"arm": "random", "augment": {"alpha": 0.7, "copies": 10, "beta": 0.05}, "fields": ["city"]}
        with pytest.raises(ElusiveError) as caught, Stage(tmp_path, other):
            pass
        assert str(caught.value) == (
            f"{tmp_path} was begun with other settings:\n"
            "  augment.alpha: was 0.6, now 0.7\n"
            "  augment.beta: was None, now 0.05\n"
            "  fields: was ['date'], now ['city']\n"
            "Results of different settings are never mixed. Give another output folder, or delete this one."
        )
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_a_second_command_is_refused_until_the_first_is_done(self, tmp_path: Path) -> None:
        with Stage(tmp_path, self.SETTINGS) as stage:
            with pytest.raises(FolderInUseError, match="is in use by process"), Stage(tmp_path, self.SETTINGS):
                pass
            with pytest.raises(FolderInUseError, match="is in use by process"), Stage(tmp_path, {"arm": "plain"}):
                pass
            assert read_json(tmp_path / "settings.json") == {"format": FORMAT, **self.SETTINGS}
            stage.finish({})
            with Stage(tmp_path, self.SETTINGS) as other, Stage(tmp_path, self.SETTINGS) as third:
                assert other.done
                assert third.done
            with Stage(tmp_path, self.SETTINGS, writes=False) as beside:
                assert beside.done

    def test_a_mark_without_settings_passes_for_none(self, tmp_path: Path) -> None:
        """It arises where the folder is removed while a command writes to it."""
        write_json(tmp_path / "done.json", {"texts": 11})
        with pytest.raises(ElusiveError, match=r"marked as done .* nobody knows what its files"), Stage(tmp_path, {}):
            pass
        assert names(tmp_path) == ["done.json"]

    def test_files_without_settings_are_not_taken_for_the_stage_s_own(self, tmp_path: Path) -> None:
        (tmp_path / "part-00000.parquet").write_bytes(b"of another command")
        with pytest.raises(ElusiveError, match=r"holds other files \(part-00000.parquet\)"), Stage(tmp_path, {}):
            pass
        with Stage(tmp_path, {}, beside=("part-*",)):
            pass

    def test_a_folder_that_is_removed_meanwhile_is_not_marked_as_done(self, tmp_path: Path) -> None:
        with Stage(tmp_path / "out", self.SETTINGS) as stage:
            shutil.rmtree(tmp_path / "out")
            with pytest.raises(ElusiveError, match="was removed or replaced"):
                stage.finish({})
        assert not list(tmp_path.rglob("*.json"))

    def test_a_command_that_was_killed_after_its_mark_is_cleared_up(self, tmp_path: Path) -> None:
        with Stage(tmp_path, self.SETTINGS) as stage:
            stage.finish({})
        (tmp_path / LOCK).write_text("")
        (tmp_path / ".done.elusive-abcdefgh.json").write_text("{")
        with Stage(tmp_path, self.SETTINGS):
            pass
        assert names(tmp_path) == ["done.json", "settings.json"]


class TestProgress:
    @pytest.fixture
    def now(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """The time in seconds; a machine that has just been started counts from 0."""
        now = [0.0]
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
        return now

    def test_lines_in_a_log(self, capsys: pytest.CaptureFixture[str], now: list[float]) -> None:
        with progress.shown("score large-cues") as show:
            for now[0], done in [(0, 0), (5, 100), (10, 200), (12, 240), (3670, 900), (3671, 1000)]:
                show(done, 1000)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.splitlines() == [
            "  score large-cues: 0 of 1,000 (0:00)",
            "  score large-cues: 200 of 1,000 (0:10, 0:40 left)",
            "  score large-cues: 900 of 1,000 (1:01:10, 6:48 left)",
            "  score large-cues: 1,000 of 1,000 (1:01:11)",
        ]

    def test_time_left_of_a_resumed_stage(self, capsys: pytest.CaptureFixture[str], now: list[float]) -> None:
        with progress.shown("train") as show:
            show(500, 1000)
            now[0] = 10
            show(600, 1000)  # 100 in 10 seconds, not 600
        assert capsys.readouterr().err.splitlines()[1] == "  train: 600 of 1,000 (0:10, 0:40 left)"

    def test_several_at_once(self, capsys: pytest.CaptureFixture[str], now: list[float]) -> None:
        with progress.shown_together() as show:
            show("a", 0, 2)
            now[0] = 3
            show("b", 0, 2)
            show("a", 1, 2)
            show("b", 2, 2)
        assert capsys.readouterr().err.splitlines() == [
            "  a: 0 of 2 (0:00)",
            "  b: 0 of 2 (0:00)",
            "  b: 2 of 2 (0:00)",
        ]

    def test_bars_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        terminal = Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "120")
        with progress.shown("score large-cues") as show:
            show(1, 4)
            show(4, 4)
        assert "score large-cues" in terminal.getvalue()
        assert "4/4" in terminal.getvalue()

    @pytest.mark.parametrize(
        ("seconds", "words"), [(0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3599.7, "1:00:00"), (3661, "1:01:01")]
    )
    def test_clock(self, seconds: float, words: str) -> None:
        assert progress.clock(seconds) == words

    def test_silent(self, capsys: pytest.CaptureFixture[str]) -> None:
        silent(1, 2)
        assert capsys.readouterr() == ("", "")
