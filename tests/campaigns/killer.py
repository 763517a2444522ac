"""Commands that are interrupted at random moments, again and again, end with the files of one that never was.

    python -m tests.campaigns.killer --minutes 10 --seed 1

A history is one command: it is started, ended from outside, started again, up to four times, and then left alone. Its
files are compared with those of a command that nobody interrupted, byte by byte but for what `_comparison` names. A
history depends on the seed and its number (`--history`); the moment in the program also on the machine's speed.
"""

import argparse
import collections
import contextlib
import dataclasses
import functools
import gc
import itertools
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from elusive.corpus.people.biographies import people
from elusive.corpus.people.llm_prompts import tagged_biography
from elusive.runs.lock import LOCK
from tests import loaded
from tests.corpus.llm import chat_server

from ._comparison import DifferenceError, compare

OUT, INPUTS = "out", "inputs"
"""In a history's folder: what its command writes, and what all histories read."""

SECONDS_TO_END = 120.0
"""A command that is told to stop, and processes whose command is gone, end within so many seconds."""

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
EXPECTED = {signal.SIGKILL: {-9}, signal.SIGTERM: {143}, signal.SIGINT: {130}}
"""Exit codes by signal."""

RECIPE = """
output = "out"
arms = ["plain", "contrast-cues"]
parallel = {parallel}
[models.large]
name = "elusive/small"
[corpus]
people = 3
[score]
shard_documents = 2
[augment]
copies = 2
[train]
method = "{method}"
max_steps = {steps}
batch_size = 2
save_steps = 3
{more}
[evaluate]
known = "inputs/four.jsonl"
shots = 1
max_new_tokens = 2
resamples = 200
[report]
documents = 1
"""
SWEEP = """
[sweep]
keep = "answers"
[sweep.grid]
"train.learning_rate" = [1e-3, 2e-3]
"""
PRETRAIN = """
output = "out"
layers = 1
hidden_size = 16
intermediate_size = 32
heads = 2
people = 20
vocab_size = 400
tokens = 40000
batch_size = 4
save_steps = 5
"""
EVALUATED = "evaluate_at_epochs = [1.0]"
MODEL = "--model elusive/small"
PAIR = "--large elusive/small --small elusive/small"
TRAIN = f"train inputs/texts/train.jsonl --output out {MODEL} --batch-size 2 --save-steps 3"
REPRODUCED = (
    "reproduce table1 figure2 --output out --large elusive/small --people 2 --cohorts 1 --seeds 1 --set "
    "train.max_steps=3 train.save_steps=1 train.replay= train.batch_size=2 train.replay_batch_size=0 "
    "train.evaluate_at_epochs=[] augment.copies=1 evaluate.shots=1 evaluate.max_new_tokens=2"
)


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A command, run in the folder of a history.

    Attributes:
        name: for tables and `--only`.
        command: without `elusive`; {server} stands for the URL of a server that makes up people.
        prepared: in the inputs, what `out` is a copy of before the first start.
    """

    name: str
    command: str
    prepared: str = ""

    @property
    def folder(self) -> str:
        """Its name as part of a path."""
        return re.sub(r"\W+", "-", self.name)


SCENARIOS = (
    Scenario("generate", "generate --output out --people 3000"),
    Scenario("generate from a file", "generate --output out --source inputs/rows.parquet.gz"),
    Scenario(
        "generate --llm",
        "generate --llm --output out --people 60 --base-url {server} --model m --people-per-request 4 "
        "--max-concurrent-requests 2",
    ),
    Scenario("score", f"score inputs/corpus --output out {MODEL} --shard-documents 2"),
    Scenario("augment", "augment inputs/corpus --output out --arm random --large inputs/scores --copies 400"),
    Scenario("train, full", f"{TRAIN} --epochs 6 --method full --evaluate-at-epochs 2 --questions inputs/four.jsonl"),
    Scenario("train, LoRA", f"{TRAIN} --epochs 4 --copies fresh"),
    Scenario(
        "evaluate", f"evaluate --questions inputs/corpus/questions.jsonl --output out {MODEL} --known inputs/four.jsonl"
    ),
    Scenario("recall", f"recall inputs/corpus --output out {PAIR}"),
    Scenario("heads", f"heads inputs/corpus --output out {PAIR}"),
    Scenario("export", "export inputs/run --arm contrast-cues --output out"),
    Scenario("report", "report out", prepared="run"),
    Scenario("pretrain", "pretrain inputs/pretrain.toml"),
    Scenario("run, one by one", "run inputs/one.toml"),
    Scenario("run, side by side", "run inputs/two.toml"),
    Scenario("sweep", "sweep inputs/sweep.toml"),
    Scenario("reproduce", REPRODUCED),
)


# Commands, each in a process of its own


@dataclasses.dataclass
class Command:
    """A started command: the leader of a process group of its own, with its workers in it."""

    process: BaseProcess
    group: int
    printed: Path

    def processes(self) -> list[int]:
        """Those of its group that still run."""
        import psutil

        found = []
        for one in psutil.process_iter(["status"]):
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(one.pid) == self.group and one.info["status"] != psutil.STATUS_ZOMBIE:
                    found.append(one.pid)
        return found

    def wait_for_all(self) -> None:
        """Wait until no process of it is left."""
        deadline = time.monotonic() + SECONDS_TO_END
        while left := self.processes():
            if time.monotonic() > deadline:
                raise DifferenceError(f"processes {left} are left of a command that has ended")
            time.sleep(0.02)

    def check_printed(self) -> None:
        """Look for what no command prints."""
        text = self.printed.read_text(encoding="utf-8", errors="replace")
        for sign in ("Traceback", "Exception ignored", "resource_tracker"):
            if sign in text:
                raise DifferenceError(f"{sign} was printed:\n{text[-3000:]}")


def start(arguments: Sequence[str], folder: Path) -> Command:
    """Run `elusive` in a folder; returns when its libraries are loaded and its own code begins."""
    number = len(list(folder.glob("printed-*")))
    printed, ready = folder / f"printed-{number}", folder / "ready"
    ready.unlink(missing_ok=True)
    process = loaded.CONTEXT.Process(target=_elusive, args=(list(arguments), str(folder), printed.name))
    process.start()
    while not ready.exists():
        if not process.is_alive():
            raise DifferenceError(f"the command did not start: {printed.read_text() if printed.exists() else ''}")
        time.sleep(0.002)
    assert process.pid
    return Command(process, process.pid, printed)


def _elusive(arguments: list[str], folder: str, printed: str) -> None:
    os.chdir(folder)
    os.setpgid(0, 0)
    _print_to(printed)
    sys.argv = ["elusive", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a campaign in the background was told to ignore it
    gc.freeze()
    loaded.workers_of_this_server(functools.partial(_start_worker, os.getpgrp(), os.path.abspath(printed)))
    from elusive.cli.main import main
    from elusive.runs.stopping import stopped_by_sigterm

    # The interpreter's own first moments are not looked at: signals find the command's handlers.
    with stopped_by_sigterm():
        Path("ready").touch()
        main(arguments)


def _print_to(path: str) -> None:
    stream = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)


def _start_worker(group: int, printed: str, *arguments: Any) -> None:
    """What a worker does first: it joins its command, as a process that the command itself had started would."""
    from elusive.experiments import jobs

    os.setpgid(0, group)
    _print_to(printed)
    jobs._start_worker(*arguments)


# Histories


@dataclasses.dataclass(frozen=True)
class Interruption:
    """One end of a command from outside."""

    scenario: str
    stage: str
    signal: signal.Signals
    to_all: bool


class Campaign:
    """Inputs and uninterrupted outputs, made once; histories, and what became of them."""

    def __init__(self, folder: Path, seed: int, server: str) -> None:
        self.folder, self.seed, self.server = folder, seed, server
        self.seconds: dict[str, float] = {}
        self.interruptions: list[Interruption] = []
        self.histories = 0
        self.missed = 0
        self.failures: list[str] = []

    def prepare(self) -> None:
        """Make the inputs."""
        inputs = self.folder / INPUTS
        inputs.mkdir(parents=True)
        (inputs / INPUTS).symlink_to(inputs)
        for name, parallel, steps in (("one", 1, 8), ("two", 2, 12)):
            (inputs / f"{name}.toml").write_text(
                RECIPE.format(parallel=parallel, steps=steps, method="lora", more=EVALUATED)
            )
        (inputs / "sweep.toml").write_text(RECIPE.format(parallel=2, steps=6, method="lora", more="") + SWEEP)
        (inputs / "pretrain.toml").write_text(PRETRAIN)
        finish("generate --output corpus --people 12", inputs)
        finish(f"score corpus --output scores {MODEL}", inputs)
        finish("augment corpus --output texts --arm random --large scores --copies 1", inputs)
        lines = (inputs / "corpus" / "questions.jsonl").read_text().splitlines(keepends=True)
        (inputs / "four.jsonl").write_text("".join(lines[:4]))
        finish("run one.toml", inputs)
        (inputs / OUT).rename(inputs / "run")
        _write_rows(inputs / "rows.parquet.gz")

    def whole(self, scenario: Scenario) -> Path:
        """What a command writes when nobody interrupts it, made when it is first asked for."""
        if scenario.name not in self.seconds:
            place = self.new_folder("whole", scenario)
            began = time.monotonic()
            finish(self.command(scenario), place)
            self.seconds[scenario.name] = time.monotonic() - began
            print(f"{scenario.name}: {self.seconds[scenario.name]:.1f} s without interruptions", flush=True)
        return self.folder / "whole" / f"{scenario.folder}-0" / OUT

    def command(self, scenario: Scenario) -> str:
        """A scenario's command, with the server in it."""
        return scenario.command.replace("{server}", self.server)

    def new_folder(self, kind: str, scenario: Scenario, number: int = 0) -> Path:
        """The folder of a history."""
        place = self.folder / kind / f"{scenario.folder}-{number}"
        place.mkdir(parents=True)
        (place / INPUTS).symlink_to(self.folder / INPUTS)
        if scenario.prepared:
            shutil.copytree(self.folder / INPUTS / scenario.prepared, place / OUT)
        return place

    def history(self, scenario: Scenario, number: int) -> None:
        """Interrupt a command, let it end, and compare; what is found is kept in `failures`, with its folder."""
        whole, place = self.whole(scenario), self.new_folder("histories", scenario, number)
        draw = random.Random(f"{self.seed} {number}")
        done: list[str] = []
        try:
            for _ in range(draw.randint(1, 4)):
                if not self.interrupted(scenario, place, draw, done):
                    break
            finish(self.command(scenario), place)
            compare(whole, place / OUT)
        except DifferenceError as error:
            self.failures.append(
                f"{scenario.name}, --seed {self.seed} --history {number} ({'; '.join(done)}): {error}\n  in {place}"
            )
            print(f"FAILED {self.failures[-1]}", flush=True)
        else:
            shutil.rmtree(place)
        self.histories += 1
        if self.histories % 50 == 0:
            print(self.report(), flush=True)

    def interrupted(self, scenario: Scenario, place: Path, draw: random.Random, done: list[str]) -> bool:
        """Start the command and end it at a random moment; False if it was faster."""
        seconds = draw.uniform(0, self.seconds[scenario.name])
        number, to_all = draw.choice(SIGNALS), draw.random() < 0.5
        command = start(self.command(scenario).split(), place)
        command.process.join(seconds)
        stage = stage_of(place / OUT)
        if not command.process.is_alive():
            self.missed += 1
            return False
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if to_all else os.kill)(command.group, number)
        command.process.join(SECONDS_TO_END)
        code = command.process.exitcode
        done.append(f"{number.name} to {'all' if to_all else 'one'} after {seconds:.2f} s, {stage}: {code}")
        if code == 0:
            self.missed += 1
            command.check_printed()
            command.wait_for_all()
            return False
        if code not in EXPECTED[number]:
            raise DifferenceError(f"exit code {code} after {number.name}: {command.printed.read_text()[-2000:]}")
        command.check_printed()
        # After a SIGKILL workers may still be ending; the next command has to bear with them.
        if number != signal.SIGKILL:
            command.wait_for_all()
        self.interruptions.append(Interruption(scenario.name, stage, number, to_all))
        return True

    def report(self) -> str:
        """Counts by command, stage and signal."""
        lines = ["| command | stage | SIGKILL | SIGTERM | SIGINT | all |", "| --- | --- | --- | --- | --- | --- |"]
        counted = collections.Counter((one.scenario, one.stage) for one in self.interruptions)
        for scenario, stage in sorted(counted):
            numbers = [
                sum((one.scenario, one.stage, one.signal) == (scenario, stage, number) for one in self.interruptions)
                for number in SIGNALS
            ]
            lines.append(f"| {scenario} | {stage} | {' | '.join(map(str, numbers))} | {counted[scenario, stage]} |")
        totals = [sum(one.signal == number for one in self.interruptions) for number in SIGNALS]
        lines.append(f"| all | | {' | '.join(map(str, totals))} | {len(self.interruptions)} |")
        of_all = sum(one.to_all for one in self.interruptions)
        lines += [
            "",
            f"{self.histories} histories, {len(self.interruptions)} interruptions ({of_all} of the whole process "
            f"group), {self.missed} commands that were faster, {len(self.failures)} failures.",
            *self.failures,
        ]
        return "\n".join(lines)


def finish(command: str, folder: Path) -> None:
    """Run a command to its end."""
    started = start(command.split(), folder)
    started.process.join(900)
    if started.process.exitcode != 0:
        raise DifferenceError(f"exit code {started.process.exitcode}: {started.printed.read_text()[-3000:]}")
    started.check_printed()
    started.wait_for_all()


def stage_of(out: Path) -> str:
    """Where a command is: the innermost folders that it has locked, and what a training is at."""
    locked = [path.parent for path in out.rglob(LOCK)]
    inner = [one for one in locked if not any(one in other.parents for other in locked)]
    if not inner:
        return "done" if (out / "done.json").exists() else "before its folder"
    places = [one.relative_to(out).parts for one in inner]
    names = sorted({_name(parts) for parts in places})
    trained = {name for one in inner for name in _training(one)}
    return ", ".join([*names, *sorted(trained)])


def _name(parts: Sequence[str]) -> str:
    if "known" in parts:
        return "evaluation"
    known = ("corpus", "scores", "augmented", "models", "evaluation", "report")
    return next((name for name in known if name in parts), "at work" if not parts else "between stages")


def _training(folder: Path) -> Iterator[str]:
    checkpoints = list(folder.glob("checkpoints/checkpoint-*"))
    if any(not (one / "whole.json").exists() for one in checkpoints):
        yield "in a checkpoint"
    if list(folder.glob("*.safetensors")):
        yield "weights written"


def _write_rows(path: Path) -> None:
    """A compressed Parquet file, which is unpacked to a temporary folder."""
    import gzip
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [f"Text {number} is about nothing. " * 10 for number in range(3_000)]
    plain = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), plain)
    path.write_bytes(gzip.compress(plain.getvalue()))


def _same_people(asked: chat_server.Asked) -> str:
    """Answers that depend on the prompt alone, after a moment."""
    time.sleep(0.02)
    if asked.is_check:
        return "\n".join(f"{number}. no no" for number in chat_server.numbers(asked))
    some = people(zlib.crc32(asked.prompt.encode()))
    return "\n".join(map(tagged_biography, itertools.islice(some, chat_server.wanted(asked))))


def main() -> None:
    """Run a campaign; the exit code is 1 if it found anything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="histories begin for so long")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", nargs="*", default=[], help="names of commands, or beginnings of them")
    parser.add_argument("--history", type=int, help="one history alone")
    parser.add_argument("--folder", type=Path, help="where everything is written; kept")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    scenarios = [one for one in SCENARIOS if not given.only or one.name.startswith(tuple(given.only))]
    with contextlib.ExitStack() as kept:
        folder = given.folder or Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="killer-")))
        os.environ["TMPDIR"] = str(folder.resolve() / "temporary")
        Path(os.environ["TMPDIR"]).mkdir(parents=True)
        server = kept.enter_context(chat_server.serving())
        server.write = _same_people
        campaign = Campaign(folder.resolve(), given.seed, server.url)
        campaign.prepare()
        # A short campaign does not come to all commands: another seed begins with others.
        random.Random(given.seed).shuffle(scenarios)
        end = time.monotonic() + 60 * given.minutes
        for number in itertools.count() if given.history is None else [given.history]:
            if time.monotonic() > end and given.history is None:
                break
            campaign.history(scenarios[number % len(scenarios)], number)
        print(campaign.report(), flush=True)
        if campaign.failures:
            kept.pop_all()  # the folders of failures are to be seen
    sys.exit(1 if campaign.failures else 0)


if __name__ == "__main__":
    main()
