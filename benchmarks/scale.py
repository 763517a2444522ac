"""Scoring through Ray on one machine: start, rate and memory of the command by actors and documents.

    python benchmarks/scale.py --documents 20000 --actors 0 1 2
    python benchmarks/scale.py --items 40 400 4000

With --items, actors do nothing, so many times: what the command itself holds and spends for each shard (40, 400 and
4,000 are the shards of 10,000, 100,000 and 1,000,000 documents).

0 actors is the local engine. Each line is one command of its own (`elusive score --engine ray`); the load of the
machine stands beside it. The rate is taken from the times at which the shards were written, from the first to the last,
so it leaves out the start, which stands in a column of its own. The driver's memory is the largest resident set of the
command's own process. Its seconds are CPU seconds, of which imports are about ten.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from elusive.config.corpus import CorpusSettings
from elusive.config.engine import EngineSettings
from elusive.corpus.stage import make_corpus
from elusive.models.ray_actors import ActorPool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[20_000])
    parser.add_argument("--actors", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--model", default="elusive/small")
    parser.add_argument("--items", type=int, nargs="+", default=[])
    arguments = parser.parse_args()
    # Ray starts its workers at niceness 15, where a busy machine hardly lets them run; torch gets a core an actor.
    os.environ.update(RAY_worker_niceness="0", OMP_NUM_THREADS="1")
    if arguments.items:
        print_items(arguments.items)
        return
    print("documents  actors  start s  documents/s  driver CPU s  driver peak MiB  load before")
    for documents in arguments.documents:
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "corpus"
            make_corpus(CorpusSettings(people=documents), corpus)
            for actors in arguments.actors:
                scores = Path(folder) / f"scores-{actors}"
                load = os.getloadavg()[0]
                start, rate, seconds, peak = measured(corpus, scores, actors, arguments.model, documents)
                figures = f"{start:7.1f}  {rate:11.1f}  {seconds:12.1f}  {peak:15.0f}  {load:11.1f}"
                print(f"{documents:9,}  {actors:6}  {figures}", flush=True)


def measured(corpus: Path, scores: Path, actors: int, model: str, documents: int) -> tuple[float, float, float, float]:
    """Seconds to the first shard, documents a second from then on, CPU seconds and MiB of the command's process."""
    command = [sys.executable, "-m", "elusive", "score", str(corpus), "--output", str(scores), "--model", model]
    command += ["--engine", "ray", "--ray-actors", str(actors)] if actors else []
    began = time.time()
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = seconds = 0.0
    while process.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss / 2**20)
            seconds = sum(process.cpu_times()[:2])
        except psutil.Error:  # it has ended meanwhile
            break
        time.sleep(0.2)
    if process.wait():
        sys.exit(f"failed: {' '.join(command)}")
    written = sorted(path.stat().st_mtime for path in scores.glob("part-*.parquet"))
    first_shard = 256
    return written[0] - began, (documents - first_shard) / (written[-1] - written[0]), seconds, peak


def print_items(counts: Sequence[int]) -> None:
    """What the driver holds and spends for items whose work is nothing; one process for all, so memory only grows."""
    import ray  # pyright: ignore[reportMissingImports]

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    process = psutil.Process()
    print("items  ms an item  driver CPU ms an item  driver MiB  load before")
    for count in counts:
        load, began, used = os.getloadavg()[0], time.monotonic(), sum(process.cpu_times()[:2])
        done = sum(1 for _ in ActorPool(nothing, None, EngineSettings("ray", ray_actors=1)).done(range(count)))
        seconds, used = time.monotonic() - began, sum(process.cpu_times()[:2]) - used
        held = process.memory_info().rss / 2**20
        print(
            f"{done:5,}  {1e3 * seconds / count:10.1f}  {1e3 * used / count:21.1f}  {held:10.0f}  {load:11.1f}",
            flush=True,
        )


def nothing(argument: object) -> Callable[[int], None]:
    return lambda item: None


if __name__ == "__main__":
    main()
