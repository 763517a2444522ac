"""Where work is done: by this process, or by actors of a Ray cluster."""

import dataclasses
from typing import Literal

from .checks import check, check_each


@dataclasses.dataclass(frozen=True)
class EngineSettings:
    """Who does the work: this process, or actors on one machine or many."""

    engine: Literal["local", "ray"] = "local"
    """This process alone, or the actors of a Ray cluster (needs `elusive[ray]`); the files are the same."""
    ray_address: str = ""
    """A running cluster: HOST:PORT, or auto for the one of this machine (empty: start Ray here, and stop it after)."""
    ray_actors: int = 0
    """Actors, each with a model of its own (0: as many as the cluster has room for)."""
    ray_cpus: int = 1
    """Cores of one actor."""
    ray_gpus: float | None = None
    """GPUs of one actor; actors of score share one at 0.5 (none: 1 for score where the cluster has any, else 0)."""

    def __post_init__(self) -> None:
        check_each("engine", self, ("ray_actors",), 0)
        check_each("engine", self, ("ray_cpus",), 1)
        check(self.ray_gpus is None or self.ray_gpus >= 0, "engine.ray_gpus", "0 or more", self.ray_gpus)
        given = [field.name for field in dataclasses.fields(self) if getattr(self, field.name) != field.default]
        check(
            self.engine == "ray" or not given,
            ", ".join(f"--{name.replace('_', '-')}" for name in given),
            "nothing without --engine ray",
            ", ".join(str(getattr(self, name)) for name in given),
        )


LOCAL = EngineSettings()
"""This process alone."""
