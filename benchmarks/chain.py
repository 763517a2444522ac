"""The whole chain on one machine, stage by stage: time and peak memory of each, by the number of documents.

    python benchmarks/chain.py --documents 10000 100000 --folder scratch

Documents are the first two sentences of fictional biographies, about 45 tokens. They are read from a JSONL file, scored
by both embedded models, augmented (contrast-cues, 10 copies), trained on for 50 steps with fresh copies, and exported.
Each stage is a command of its own on one thread; its memory is the largest resident set of its process, as the system
counted it. What an earlier run left in the folder is made again.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from elusive.corpus.documents import Document
from elusive.corpus.people.biographies import biography, people
from elusive.runs.files import write_jsonl


class Used(NamedTuple):
    """What one command took."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--folder", type=Path, default=Path("chain"))
    parser.add_argument("--only", nargs="+", default=[], help="these stages alone, where the others are done")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    print("documents  stage        seconds  CPU seconds  peak MiB  load before", flush=True)
    for documents in arguments.documents:
        folder = arguments.folder / str(documents)
        source = write_source(folder, documents)
        for stage, command in stages(folder, source).items():
            if arguments.only and stage not in arguments.only:
                continue
            shutil.rmtree(command[command.index("--output") + 1], ignore_errors=True)
            load = os.getloadavg()[0]
            used = run(command)
            figures = f"{used.seconds:7.1f}  {used.cpu_seconds:11.1f}  {used.peak_mib:8.0f}  {load:11.1f}"
            print(f"{documents:9,}  {stage:11}  {figures}", flush=True)


def write_source(folder: Path, documents: int) -> Path:
    """A JSONL file of so many short documents, unless it is there."""
    path = folder / "people.jsonl"
    if not path.exists():
        rows = (biography(person, f"person-{number}") for number, person in enumerate(islice(people(1), documents)))
        write_jsonl(path, map(first_sentences, rows))
    return path


def first_sentences(document: Document) -> dict[str, Any]:
    """The first two sentences of a document, with the spans in them."""
    end = document.text.index(". ", document.text.index(". ") + 1) + 1
    spans = [list(span) for span in document.spans if span.end <= end]
    return {"id": document.id, "text": document.text[:end], "spans": spans}


def stages(folder: Path, source: Path) -> dict[str, list[str]]:
    """The arguments of each stage's command."""
    corpus, texts = str(folder / "corpus"), folder / "augmented"
    scores = {role: str(folder / role) for role in ("large", "small")}
    return {
        "generate": ["generate", "--output", corpus, "--source", str(source)],
        **{
            f"score {role}": ["score", corpus, "--output", path, "--model", f"elusive/{role}"]
            for role, path in scores.items()
        },
        "augment": ["augment", corpus, "--output", str(texts), "--large", scores["large"], "--small", scores["small"]],
        "train": [
            *("train", str(texts / "train.jsonl"), "--output", str(folder / "model")),
            *("--copies", "fresh", "--max-steps", "50"),
        ],
        "export": ["export", str(texts), "--output", str(folder / "exported")],
    }


def run(arguments: Sequence[str]) -> Used:
    """Run a command of elusive to its end."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "elusive", *arguments, "--quiet"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: elusive {' '.join(arguments)}")
    return Used(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


if __name__ == "__main__":
    main()
