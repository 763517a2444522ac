"""Work that actors of a Ray cluster do, item by item: an actor that dies is replaced, and its item done again.

What an item's work writes is whole or not there, and does not depend on who does it. So an item may be done twice, by
an actor that everybody took for dead, and nothing is lost or doubled.
"""

import contextlib
import dataclasses
import logging
import os
import pickle  # of what passes between processes, as Ray does it; never of a file
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from elusive.config.engine import EngineSettings
from elusive.errors import ElusiveError

Work = Callable[[int], Any]
"""Does the item of this number; gives what the command needs of it."""

_MOST_BLOCKS = 4096
"""Ray Data keeps account of so many blocks at the most, however many items there are."""
_PAUSE_SECONDS = 5.0
"""An actor whose disk refuses to be written waits so long, or it would take, and fail, most of the items of a round."""


@dataclasses.dataclass(frozen=True)
class ActorPool:
    """Actors that each make their work once, and then do items.

    Attributes:
        make: called with `argument` in each actor; a function of a module, which Ray sends by its name.
        argument: what all actors share.
        engine: which cluster, and how much of it an actor gets.
        uses_gpu: whether an actor takes a GPU where the cluster has any.
        in_order: whether results come in the order of the items.
    """

    make: Callable[[Any], Work]
    argument: Any
    engine: EngineSettings
    uses_gpu: bool = False
    in_order: bool = False

    def done(self, items: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Do all items; gives the number and the result of each.

        What a node's disk refused is done again by actors of other nodes, as long as there are any.

        Raises:
            ElusiveError: if Ray is missing or its cluster cannot be reached, has no room for an actor, or as the work.
        """
        full: set[str] = set()
        with _connected(self.engine) as ray:
            while items:
                refused: dict[int, str] = {}
                for row in self._rows(ray, items, full):
                    if not row["error"]:
                        yield row["item"], pickle.loads(row["made"])
                    elif row["again"] and not self.in_order:
                        refused[row["item"]] = row["error"]
                        full.add(row["node"])
                    else:
                        raise ElusiveError(row["error"])
                if refused and not _nodes_with_room(ray, self.engine.ray_cpus) - full:
                    raise ElusiveError(next(iter(refused.values())))
                items = sorted(refused)

    def _rows(self, ray: Any, items: Sequence[int], full: Collection[str]) -> Iterator[dict[str, Any]]:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.execution_options.preserve_order = self.in_order
        gpus = self._gpus(ray)
        actors = min(self._actors(ray, gpus, full), len(items))
        blocks = min(len(items), max(_MOST_BLOCKS, actors))
        yield from (
            ray.data.from_items([{"item": item} for item in items], override_num_blocks=blocks)
            .map(
                _Actor,
                fn_constructor_args=(self.make, self.argument),
                compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=2),
                num_cpus=self.engine.ray_cpus,
                num_gpus=gpus,
                **({"label_selector": {"ray.io/node-id": f"!in({','.join(sorted(full))})"}} if full else {}),
            )
            .iter_rows()
        )

    def _gpus(self, ray: Any) -> float:
        if self.engine.ray_gpus is not None:
            return self.engine.ray_gpus
        return 1.0 if self.uses_gpu and ray.cluster_resources().get("GPU") else 0.0

    def _actors(self, ray: Any, gpus: float, full: Collection[str]) -> int:
        """How many were asked for, or what there is room for.

        Raises:
            ElusiveError: if there is room for none.
        """
        if full:  # of some nodes is left out what they have: one actor a node is surely placed
            return len(_nodes_with_room(ray, self.engine.ray_cpus) - set(full))
        has = ray.cluster_resources()
        room = int(has.get("CPU", 0) // self.engine.ray_cpus)
        if gpus:
            room = min(room, int(has.get("GPU", 0) / gpus))
        if not room:
            raise ElusiveError(
                f"Expected room for an actor of {self.engine.ray_cpus} cores and {gpus:g} GPUs, got a cluster of "
                f"{has.get('CPU', 0):g} cores and {has.get('GPU', 0):g} GPUs. Set --ray-cpus and --ray-gpus."
            )
        return self.engine.ray_actors or room


class _Actor:
    """What Ray calls with one row after the other."""

    def __init__(self, make: Callable[[Any], Work], argument: Any) -> None:
        self._make, self._argument = make, argument
        self._work: Work | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        made, message, again = b"", "", False
        try:
            self._work = self._work or self._make(self._argument)
            made = pickle.dumps(self._work(row["item"]))
        except ElusiveError as error:
            message, again = str(error), isinstance(error.__cause__, OSError)
        if again:
            time.sleep(_PAUSE_SECONDS)
        return {
            "item": row["item"],
            "made": made,
            "error": message,
            "again": again,
            "node": _own_node() if again else "",
        }


def _own_node() -> str:
    import ray  # pyright: ignore[reportMissingImports]

    return ray.get_runtime_context().get_node_id()


def _nodes_with_room(ray: Any, cpus: int) -> set[str]:
    """Ids of the nodes that are alive and have the cores of an actor."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= cpus}


@contextlib.contextmanager
def _connected(engine: EngineSettings) -> Iterator[Any]:
    """Ray, connected; what was started here is stopped here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # pyright: ignore[reportMissingImports]
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ElusiveError(f"--engine ray needs Ray Data ({error}). Run: pip install 'elusive[ray]'") from None
    if ray.is_initialized():  # by whoever calls, who also stops it
        yield ray
        return
    try:
        ray.init(
            engine.ray_address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if engine.ray_address else {"include_dashboard": False}),
        )
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        where = f"the cluster at {engine.ray_address}" if engine.ray_address else "Ray on this machine"
        raise ElusiveError(
            f"Expected to reach {where}, got: {str(error).strip()}. See that it runs (ray status), with the versions "
            "of Python and Ray that are installed here."
        ) from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()
