"""Checkpoints that training can go on from: each is marked once all of its files are on the disk."""

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from transformers import TrainerCallback

from elusive.errors import ElusiveError
from elusive.models import processes
from elusive.runs.files import read_json, write_json
from elusive.runs.lock import check_still_locked

_MARK = "whole.json"
_LOSS = "unlogged_loss-{}.json"
CHECKPOINTS = "checkpoints"
"""Their folder, in that of the model."""


@dataclasses.dataclass(frozen=True)
class UnloggedLoss:
    """The loss that metrics.jsonl does not hold yet.

    Attributes:
        loss: the sum over the steps since the last log.
        logged_at: the step of that log.
    """

    loss: float
    logged_at: int


def read_unlogged_loss(checkpoint: Path) -> UnloggedLoss | None:
    """What a checkpoint holds for this process; None if as many processes as there are now did not write it."""
    if len(list(checkpoint.glob(_LOSS.format("*")))) != processes.count():
        return None
    return UnloggedLoss(**read_json(checkpoint / _LOSS.format(processes.rank())))


class MarkCheckpoints(TrainerCallback):
    """Writes each file of a checkpoint and its size into the checkpoint, when everything else has been written.

    Args:
        folder: of the checkpoints.
        unlogged_loss: tells this process's, which goes into the checkpoint too.
    """

    def __init__(self, folder: Path, unlogged_loss: Callable[[], UnloggedLoss]) -> None:
        self.folder, self.unlogged_loss = folder, unlogged_loss

    def on_save(self, args, state, control, **kwargs) -> None:
        """Called by the trainer when this process has written its part."""
        checkpoint = self.folder / f"checkpoint-{state.global_step}"
        write_json(checkpoint / _LOSS.format(processes.rank()), dataclasses.asdict(self.unlogged_loss()))
        if processes.count() > 1:
            import torch

            torch.distributed.barrier()
        if state.is_world_process_zero:
            mark_whole(checkpoint)


def mark_whole(checkpoint: Path) -> None:
    """Flush a checkpoint's files to the disk, then mark it.

    Raises:
        ElusiveError: if another command's folder lies there now.
    """
    check_still_locked(checkpoint)
    sizes = {}
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file() and path.name != _MARK:
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())
            sizes[str(path.relative_to(checkpoint))] = path.stat().st_size
    write_json(checkpoint / _MARK, sizes)


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was marked, and its files are what they were then."""
    if not (checkpoint / _MARK).exists():
        return False
    try:
        sizes = read_json(checkpoint / _MARK)
    except ElusiveError:  # damaged, so that nobody knows
        return False
    return all((checkpoint / name).is_file() and (checkpoint / name).stat().st_size == sizes[name] for name in sizes)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; one that was cut off would make resuming fail."""
    found = sorted(folder.glob("checkpoint-*"), key=_step, reverse=True)
    return next((path for path in found if is_whole(path)), None)


def discard_partial(folder: Path) -> None:
    """Delete checkpoints that were cut off, so that none counts among those that are kept."""
    for path in folder.glob("checkpoint-*"):
        if not is_whole(path):
            shutil.rmtree(path)


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a training that is done."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
