"""Which core or GPU each arm is trained on, when several are trained side by side."""

import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from elusive.config.run import Recipe
from elusive.models.loading import resolve

_BYTES_A_WEIGHT = {"full": 16, "lora": 4}
"""float32 weights; all of them trained: gradients and AdamW's two averages too."""


_PROCESS_BYTES = 2**30
"""The libraries of a process, and the activations of a step."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes_at_once(recipe: Recipe, jobs: int) -> int:
    """How many arms are trained side by side: `parallel`, or one on each GPU, or on each core that there is memory for.

    Args:
        recipe: with `parallel`, 0 to decide here.
        jobs: how many there are.
    """
    if recipe.parallel:
        return min(recipe.parallel, jobs)
    device = recipe.trained.device
    if device not in ("auto", "cpu"):
        return min(1, jobs)  # a device was named, or a map of several
    if device == "auto" and torch.cuda.is_available():
        return min(torch.cuda.device_count(), jobs)
    return min(cores(), _held_by_memory(recipe), jobs)


def _held_by_memory(recipe: Recipe) -> int:
    import psutil

    weights = _weights(Path(resolve(recipe.trained.name)))
    if not weights:
        return 1  # a hub name: its size is not known here
    needed = _PROCESS_BYTES + weights * _BYTES_A_WEIGHT[recipe.train.method]
    return max(1, int(psutil.virtual_memory().available // needed))


def _weights(folder: Path) -> int:
    count = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no mapping)
                count += torch.Size(tensors.get_slice(name).get_shape()).numel()
    return count


def take_place(places: Any, threads: int) -> None:
    """Settle a new process on the next GPU of a queue, if there are any, and give it so many torch threads.

    Args:
        places: queue of GPU numbers among the visible ones; None stands for a core.
        threads: torch threads (0: as they are).
    """
    gpu = places.get()
    if gpu is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu] if visible else str(gpu)
    if threads:
        torch.set_num_threads(threads)


def gpu_places(recipe: Recipe, at_once: int) -> list[int | None]:
    """For each process the GPU that it takes, in turn; None on a CPU, or where a device was named."""
    on_gpus = recipe.trained.device == "auto" and torch.cuda.is_available()
    return [place % torch.cuda.device_count() if on_gpus else None for place in range(at_once)]
