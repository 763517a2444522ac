"""Commands that do the same work, as whole processes in turn: CPU seconds, start-up included, and peak memory.

    python benchmarks/whole_process.py evaluate FOLDER     # `elusive evaluate` and lm-evaluation-harness
    python benchmarks/whole_process.py start FOLDER        # what verbs take to start and do very little

FOLDER is for the files and answers. Each round runs every command once, in another order; ratios are of one round.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MODULE = (sys.executable, "-m")
PYTHON = (sys.executable, "-c")


Commands = dict[str, Callable[[int], Sequence[str]]]
"""A command line by name, made for each round: outputs are new folders."""

RECIPE = """output = "{output}"
arms = ["plain"]
[corpus]
people = 100
seed = 12
[train]
method = "full"
learning_rate = 2e-3
max_steps = 60
replay = "pretraining"
max_length = 256
precision = "fp32"
[evaluate]
known = "none"
"""


@dataclass
class Measured:
    """CPU seconds of each round, children's included, and the most resident memory of one process, in MiB."""

    seconds: list[float] = field(default_factory=list)
    mebibytes: float = 0.0


def in_turn(commands: Commands, rounds: int) -> dict[str, Measured]:
    """Each command in each round, beginning with another one each time.

    Raises:
        SystemExit: if a command fails; what it said is shown.
    """
    measured = {name: Measured() for name in commands}
    names = list(commands)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            seconds, mebibytes = _run(commands[name](number))
            measured[name].seconds.append(seconds)
            measured[name].mebibytes = max(measured[name].mebibytes, mebibytes)
            print(f"round {number + 1}, {name}: {seconds:.1f} s", file=sys.stderr, flush=True)
    return measured


def _run(command: Sequence[str]) -> tuple[float, float]:
    with open(os.devnull) as nothing:
        process = subprocess.Popen(command, stdin=nothing, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    said = process.stdout.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}\n{said[-3000:]}\nended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def table(measured: Mapping[str, Measured]) -> str:
    """Median CPU seconds, their ratio to those of the first command in the same round, and memory."""
    over = next(iter(measured))
    lines = ["| command | CPU seconds | over the first | peak MiB |", "| --- | --- | --- | --- |"]
    for name, one in measured.items():
        ratios = [a / b for a, b in zip(one.seconds, measured[over].seconds, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        ratio = f"{statistics.median(ratios):.2f} [{low:.2f}, {high:.2f}]"
        lines.append(f"| {name} | {statistics.median(one.seconds):.1f} | {ratio} | {one.mebibytes:,.0f} |")
    return "\n".join(lines)


def evaluation(folder: Path) -> Commands:
    """Five-shot questions to a model trained for 60 steps: `elusive evaluate` and, exported, lm-evaluation-harness."""
    run, task = folder / "run", folder / "export"
    if not task.exists():
        (folder / "recipe.toml").write_text(RECIPE.format(output=run))
        subprocess.run([*MODULE, "elusive", "run", str(folder / "recipe.toml")], check=True)
        subprocess.run([*MODULE, "elusive", "export", str(run), "--arm", "plain", "--output", str(task)], check=True)
    name, model = json.loads((task / "export.json").read_text())["task"], run / "models" / "plain" / "seed-0"
    questions = ["--questions", str(run / "corpus" / "questions.jsonl")]
    commands: Commands = {
        "elusive evaluate": lambda number: [
            *MODULE, "elusive", "evaluate", "--model", str(model), *questions,
            "--known", "none", "--output", str(folder / f"ours-{number}"),
        ]
    }  # fmt: skip
    for size in ("8", "64", "auto"):
        commands[f"lm_eval, batches: {size}"] = lambda number, size=size: [
            *MODULE, "lm_eval", "--model", "hf", "--model_args", f"pretrained={model},dtype=float32",
            "--tasks", name, "--include_path", str(task / "lm_eval"), "--batch_size", size,
            "--output_path", str(folder / f"harness-{size}-{number}"), "--device", "cpu",
        ]  # fmt: skip
    return commands


def scores_of(folder: Path) -> str:
    """EM and F1 of each way; one line if they are one."""
    found = []
    for path in sorted(folder.glob("ours-*/metrics.json")):
        metrics = json.loads(path.read_text())
        found.append(f"EM {metrics['em']:.4f}, F1 {metrics['f1']:.4f}")
    for path in sorted(folder.glob("harness-*/**/results_*.json")):
        (results,) = json.loads(path.read_text())["results"].values()
        em, f1 = (next(results[key] for key in results if key.startswith(f"{metric},")) for metric in ("em", "f1"))
        found.append(f"EM {em:.4f}, F1 {f1:.4f}")
    return "\n".join(dict.fromkeys(found))


def starts(_: Path) -> Commands:
    """Verbs that run no model, beside the imports that a model needs."""
    commands = {
        "elusive --help": [*MODULE, "elusive", "--help"],
        "elusive augment --help": [*MODULE, "elusive", "augment", "--help"],
        "import torch": [*PYTHON, "import torch"],
        "import torch and a model of transformers": [
            *PYTHON,
            "import torch; from transformers import LlamaForCausalLM",
        ],
    }
    return {name: lambda number, command=command: command for name, command in commands.items()}


def measure(kind: str, folder: Path, rounds: int) -> None:
    """Print the table of one kind of work."""
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("ours-*"), *folder.glob("harness-*")):
        shutil.rmtree(old)
    commands = {"evaluate": evaluation, "start": starts}[kind](folder)
    print(table(in_turn(commands, rounds)))
    print(scores_of(folder))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("evaluate", "start"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    measure(asked.kind, asked.folder.resolve(), asked.rounds)
