"""A run whose processes are ended from outside: none is left behind, and the same command goes on."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from elusive.runs.files import read_json
from elusive.runs.folder import RunFolder
from tests.loaded import start

RECIPE = """
output = "{output}"
arms = ["plain", "random"]
parallel = 2
[models.large]
name = "elusive/small"
[corpus]
people = 2
[augment]
copies = 1
[train]
epochs = {epochs}
batch_size = 2
save_steps = 2
[evaluate]
known = "none"
max_new_tokens = 2
[report]
documents = 1
"""


class Run:
    """A run in a process of its own, and the processes that it starts."""

    def __init__(self, folder: Path, epochs: int) -> None:
        recipe, self.output, self.printed = folder / "recipe.toml", RunFolder(folder / "run"), folder / "printed"
        recipe.write_text(RECIPE.format(output=self.output.path, epochs=epochs))
        self.process = start(["run", str(recipe)], dict(os.environ), self.printed)

    def workers(self) -> list[psutil.Process]:
        """The processes that train; they hold the locks of the models' folders."""
        found = []
        for model in ("plain", "random"):
            for process in psutil.Process(os.getpid()).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    lock = self.output.model(model, 0).resolve() / ".elusive.lock"
                    if any(one.path == str(lock) for one in process.open_files()):
                        found.append(process)
        return found


def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Run]:
    """A run that has trained both arms for a while and would go on for minutes."""
    run = Run(tmp_path, 20_000)
    try:
        until(
            lambda: all(list(run.output.model(arm, 0).glob("checkpoints/*/whole.json")) for arm in ("plain", "random"))
        )
        assert len(run.workers()) == 2
        yield run
    finally:
        run.process.kill()


def test_workers_end_with_a_run_that_is_killed(training: Run) -> None:
    workers = training.workers()
    training.process.kill()
    assert len(psutil.wait_procs(workers, timeout=60)[0]) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_stop_leaves_checkpoints_and_no_process(training: Run, number: signal.Signals) -> None:
    workers = training.workers()
    assert training.process.pid
    os.kill(training.process.pid, number)
    training.process.join(60)
    assert training.process.exitcode == 128 + number
    assert not [worker for worker in workers if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE]
    words = "stopped by SIGTERM" if number == signal.SIGTERM else "stopped"
    lines = training.printed.read_text().splitlines()
    assert lines[-1] == f"elusive: {words}; run the same command again to go on where it was"
    assert not [line for line in lines if "Traceback" in line]
    assert not list(training.output.path.rglob(".elusive.lock"))


def test_a_worker_that_is_killed_ends_the_run_with_a_message(training: Run) -> None:
    training.workers()[0].kill()
    training.process.join(60)
    assert training.process.exitcode == 2
    assert "A process that trained or evaluated a model was ended from outside" in training.printed.read_text()
    assert training.workers() == []


def test_a_run_that_is_killed_goes_on_at_once(tmp_path: Path) -> None:
    """The next command waits for the workers of the one before, whose locks they still hold."""
    run = Run(tmp_path, 10)
    until(lambda: len(run.workers()) == 2)
    run.process.kill()
    run.process.join()
    again = Run(tmp_path, 10)
    marks = [again.output.model(arm, 0) / "done.json" for arm in ("plain", "random")]
    until(lambda: all(mark.exists() for mark in marks))
    again.process.kill()
    assert [read_json(mark)["steps"] for mark in marks] == [10, 20]
    assert "elusive: " not in again.printed.read_text()
