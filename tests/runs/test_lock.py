"""One command at a time in a folder, whatever became of the one before."""

import contextlib
import errno
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from elusive.errors import ElusiveError
from elusive.runs import lock
from elusive.runs.files import atomic_path, write_text
from elusive.runs.lock import LOCK, FolderInUseError, Owner, check_still_locked, locked
from elusive.runs.temporary import temporary_folder

# Each has one argument, a folder, and says "ready" when it has it; they import nothing that takes long.
HOLDING = """
import sys, time
from elusive.runs.lock import locked
with locked(sys.argv[1]):
    print("ready", flush=True)
    time.sleep(60)
"""
WRITING = """
import sys, time
from pathlib import Path
from elusive.runs.files import atomic_path
from elusive.runs.lock import locked
with locked(sys.argv[1]), atomic_path(Path(sys.argv[1]) / "sub" / "train.jsonl") as path:
    path.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""
WITH_A_WORKER = """
import multiprocessing, os, sys, time
from elusive.runs.lock import locked
def work(folder):
    with locked(folder):
        print(os.getpid(), flush=True)
        time.sleep(60)
multiprocessing.get_context("fork").Process(target=work, args=(sys.argv[1],)).start()
time.sleep(60)
"""
TEMPORARY = """
import time
from elusive.runs.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "stdin").write_text("spooled")
    print("ready", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def started(program: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that runs a program, and the first line that it prints; killed at the end."""
    arguments = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def killed(program: str, folder: Path) -> None:
    with started(program, folder) as (_, line):
        assert line == "ready"


def test_a_folder_in_use_says_by_which_process_since_when_and_on_which_host(tmp_path: Path) -> None:
    with started(HOLDING, tmp_path / "a") as (process, _):
        with pytest.raises(FolderInUseError) as refusal, locked(tmp_path / "a"):
            pass
        with locked(tmp_path / "b"), locked(tmp_path / "a" / "sub"):
            pass
    message = str(refusal.value)
    assert message.startswith(f"{tmp_path / 'a'} is in use by process {process.pid} on {platform.node()}, since 20")
    assert str(tmp_path / "a") in message.partition(" (-c ")[2]  # its command line
    assert message.endswith("Wait until it is done, or give another output folder.")


def test_one_process_uses_a_folder_once_too(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(FolderInUseError, match=f"process {os.getpid()} on"), locked(tmp_path):
        pass
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_stays_empty_goes_again(tmp_path: Path) -> None:
    with locked(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()


def test_the_lock_of_a_killed_command_is_taken_and_its_half_written_files_go(tmp_path: Path) -> None:
    (tmp_path / ".train-mine.jsonl").write_text("somebody's")
    (tmp_path / ".elusive-notes").write_text("somebody's")
    killed(WRITING, tmp_path)
    killed(WRITING, tmp_path / "other")
    [half] = (tmp_path / "sub").iterdir()
    assert half.read_text() == "half"
    with locked(tmp_path):
        assert not half.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".elusive-notes", ".train-mine.jsonl", "other", "sub"]
    # A folder with a lock of its own may be in use: its own next command clears it up.
    assert len(list((tmp_path / "other" / "sub").iterdir())) == 1


def test_a_file_that_another_command_is_writing_stays(tmp_path: Path) -> None:
    with started(WRITING, tmp_path / "sub"), locked(tmp_path):
        pass
    assert len(list((tmp_path / "sub" / "sub").iterdir())) == 1


def test_workers_of_a_killed_command_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with started(WITH_A_WORKER, tmp_path) as (process, worker):
        with pytest.raises(FolderInUseError, match=f"process {process.pid} on"), locked(tmp_path):
            pass
        process.kill()
        process.wait()
        end, naps = time.sleep, []

        def nap(seconds: float) -> None:
            naps.append(seconds)
            os.kill(int(worker), signal.SIGKILL)
            end(seconds)

        monkeypatch.setattr(time, "sleep", nap)
        with locked(tmp_path):
            assert naps


def test_workers_that_do_not_end_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_SECONDS_FOR_CHILDREN", 0.1)
    with started(WITH_A_WORKER, tmp_path) as (process, worker):
        process.kill()
        process.wait()
        try:
            with pytest.raises(FolderInUseError, match="has ended, but others that it started"), locked(tmp_path):
                pass
        finally:
            os.kill(int(worker), signal.SIGKILL)


def left_by(folder: Path, **changed: str | int) -> None:
    killed(HOLDING, folder)
    record = json.loads((folder / LOCK).read_text())
    (folder / LOCK).write_text(json.dumps(record | changed))


def test_what_another_host_left_is_refused_with_what_to_do(tmp_path: Path) -> None:
    left_by(tmp_path, host="node-7", boot="another")
    with pytest.raises(ElusiveError) as refusal, locked(tmp_path):
        pass
    assert " on node-7, since 20" in str(refusal.value)
    assert f"If it has ended, delete {tmp_path / LOCK} and run this command again." in str(refusal.value)
    (tmp_path / LOCK).unlink()
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("changed", [{"boot": "before"}, {"host": "a-container"}], ids=["reboot", "container"])
def test_what_this_host_left_is_taken_after_a_reboot_and_in_another_container(tmp_path: Path, changed) -> None:
    left_by(tmp_path, **changed)
    with locked(tmp_path):
        pass


def test_a_record_that_cannot_be_read_is_no_owner(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text('{"process": 1')
    with locked(tmp_path):
        owner = Owner.of(tmp_path / LOCK)
        assert owner
        assert owner.process == os.getpid()


def test_without_locks_the_record_decides_and_the_command_says_so(tmp_path: Path, monkeypatch, capsys) -> None:
    def none(descriptor: int, *, blocking: bool) -> bool:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(lock, "lock_descriptor", none)
    killed(HOLDING, tmp_path)
    with locked(tmp_path):
        assert f"the file system of {tmp_path} has no locks (Function not implemented)" in capsys.readouterr().err
        with pytest.raises(FolderInUseError, match=f"process {os.getpid()} on"), locked(tmp_path):
            pass
    with locked(tmp_path):
        pass


def test_a_folder_that_was_removed_is_not_written_to_again(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with locked(folder):
        write_text(folder / "sub" / "a.txt", "a")
        shutil.rmtree(folder)
        with pytest.raises(ElusiveError, match="was removed or replaced while this command was writing"):
            write_text(folder / "sub" / "b.txt", "b")
        with started(HOLDING, folder) as (other, _):  # another command begins there
            with pytest.raises(ElusiveError, match="was removed or replaced"):
                write_text(folder / "sub" / "b.txt", "b")
            with pytest.raises(ElusiveError, match="was removed or replaced"):
                check_still_locked(folder)
            owner = Owner.of(folder / LOCK)
            assert owner
            assert owner.process == other.pid
    assert not list(folder.rglob("*.txt"))
    assert (folder / LOCK).exists()  # the other's, to the end


def test_temporary_files_keep_their_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.b.parquet") as path:
        assert path.suffix == ".parquet"
        path.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.b.parquet"]


def test_temporary_folders_of_killed_commands_go_and_others_stay(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    killed(TEMPORARY, tmp_path)
    (tmp_path / "elusive-temporary-mine").mkdir()
    assert len(list(tmp_path.glob("*/stdin"))) == 1
    with started(TEMPORARY, tmp_path), temporary_folder():
        assert len(list(tmp_path.glob("*/stdin"))) == 1  # of the one that is at work
        assert len(list(tmp_path.iterdir())) == 3
