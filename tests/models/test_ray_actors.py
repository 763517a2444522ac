"""Work that actors do: what is lost when they, their nodes or their command are killed (nothing), or a disk is full."""

import errno
import filecmp
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from elusive.config.corpus import CorpusSettings
from elusive.config.engine import EngineSettings
from elusive.config.models import ModelRef
from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Corpus, stored
from elusive.corpus.stage import make_corpus
from elusive.errors import ElusiveError
from elusive.models.ray_actors import ActorPool
from elusive.runs.disk import disk_errors
from elusive.scoring.stage import score_corpus

pytestmark = pytest.mark.filterwarnings("default")  # what Ray warns of is not about these tests
ROOT = Path(__file__).parents[2]
RAY = EngineSettings("ray", ray_actors=2)
LARGE = ModelRef("elusive/large")
SHARDS = 100
SETTINGS = ScoreSettings(queries="all", shard_documents=2)
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'elusive[ray]'")


def test_settings_of_ray_alone_are_refused_without_it():
    with pytest.raises(ElusiveError, match="--ray-address, --ray-actors: expected nothing without --engine ray"):
        EngineSettings(ray_address="auto", ray_actors=2)


def test_a_source_that_actors_cannot_read_by_place_is_refused(tmp_path: Path, corpus: Corpus):
    with pytest.raises(ElusiveError, match=r"expected a corpus folder.*elusive generate --source"):
        score_corpus(tuple(corpus.documents), tmp_path / "scores", LARGE, SETTINGS, engine=RAY)


def test_without_ray_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ElusiveError, match=r"pip install 'elusive\[ray\]'"):
        list(ActorPool(lambda _: print, None, RAY).done([1]))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(CorpusSettings(people=2 * SHARDS), tmp_path_factory.mktemp("people") / "corpus")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Three nodes: one of the driver without room for actors, and two with a core each."""
    # Ray starts its workers at niceness 15, where a busy machine hardly lets them run.
    for name, value in {"RAY_worker_niceness": "0", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}.items():
        monkeypatch.setenv(name, value)
    import ray  # pyright: ignore[reportMissingImports]
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.add_node(num_cpus=1)
    made.add_node(num_cpus=1)
    made.wait_for_nodes()
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> Path:
    """The scores of one machine."""
    folder = tmp_path_factory.mktemp("local") / "scores"
    score_corpus(corpus.documents, folder, LARGE, SETTINGS)
    return folder


def refuse_other_files(found: Path, expected: Path) -> None:
    """The same names, and in the shards the same bytes: so each document is there once."""
    names = sorted(path.name for path in expected.iterdir())
    assert sorted(path.name for path in found.iterdir()) == names
    shards = [name for name in names if name != "done.json"]  # which holds the seconds that it took
    assert len(shards) == SHARDS + 1
    assert filecmp.cmpfiles(found, expected, shards, shallow=False)[0] == shards


def once_begun(folder: Path, act: Callable[[], object]) -> threading.Thread:
    """Act when the first shards are there and others are not."""

    def watch() -> None:
        while len(list(folder.glob("part-*"))) < 3:
            time.sleep(0.01)
        act()
        assert len(list(folder.glob("part-*"))) < SHARDS

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def kill_an_actor() -> None:
    actors = [one for one in psutil.process_iter(["name", "cmdline"]) if "MapWorker" in " ".join(one.cmdline())]
    mine = [one for one in actors if psutil.Process().pid in {parent.pid for parent in one.parents()}]
    mine[0].kill()


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["actor", "node"])
def test_nothing_is_lost_or_doubled_when_one_is_killed(
    victim: str, cluster: Any, tmp_path: Path, corpus: Corpus, expected: Path
):
    import ray  # pyright: ignore[reportMissingImports]

    ray.init(cluster.address, log_to_driver=False)
    folder = tmp_path / "scores"
    node = cluster.list_all_nodes()[-1]
    acts = {"actor": kill_an_actor, "node": lambda: cluster.remove_node(node, allow_graceful=False)}
    killed = once_begun(folder, acts[victim])
    score_corpus(corpus.documents, folder, LARGE, SETTINGS, engine=RAY)
    killed.join(timeout=1)
    assert not killed.is_alive()
    refuse_other_files(folder, expected)


@needs_ray
@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was(cluster: Any, tmp_path: Path, corpus: Corpus, expected: Path):
    folder, corpus_folder = tmp_path / "scores", stored(corpus.documents).path.parent
    command = [sys.executable, "-m", "elusive", "score", str(corpus_folder), "--output", str(folder)]
    command += ["--model", LARGE.name, "--queries", "all", "--shard-documents", "2"]
    command += ["--engine", "ray", "--ray-address", cluster.address, "--ray-actors", "2"]
    begun = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL)
    while len(list(folder.glob("part-*"))) < 3:
        assert begun.poll() is None
        time.sleep(0.01)
    begun.kill()
    begun.wait()
    assert not (folder / "done.json").exists()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("part-*")}
    subprocess.run(command, env=dict(os.environ), check=True)
    refuse_other_files(folder, expected)
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())


def on_a_full_disk(full: str) -> Callable[[int], str]:
    """Work that the disk of one node ("": of all) refuses."""
    import ray  # pyright: ignore[reportMissingImports]

    node = ray.get_runtime_context().get_node_id()

    def work(item: int) -> str:
        time.sleep(0.2)  # the others get some of the items
        with disk_errors(f"part-{item}"):
            if node == full or not full:
                raise OSError(errno.ENOSPC, "No space left on device")
        return node

    return work


@needs_ray
@pytest.mark.slow
def test_a_full_disk_of_one_node_leaves_its_items_to_the_others(cluster: Any, monkeypatch: pytest.MonkeyPatch):
    import ray  # pyright: ignore[reportMissingImports]

    ray.init(cluster.address, log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    full = cluster.list_all_nodes()[-1].node_id
    done = dict(ActorPool(on_a_full_disk, full, RAY).done(range(12)))
    assert sorted(done) == list(range(12))
    assert full not in done.values()
    with pytest.raises(ElusiveError, match="The disk is full: part-"):
        list(ActorPool(on_a_full_disk, "", RAY).done(range(2)))
