"""Checkpoints that training can go on from: each is marked once all of its files are on the disk."""

import os
import shutil
from pathlib import Path

from transformers import TrainerCallback

from elusive.models import processes
from elusive.runs.files import read_json, write_json

_MARK = "whole.json"


class MarkCheckpoints(TrainerCallback):
    """Writes each file of a checkpoint and its size into the checkpoint, when everything else has been written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_save(self, args, state, control, **kwargs) -> None:
        """Called by the trainer when this process has written its part."""
        if processes.count() > 1:
            import torch

            torch.distributed.barrier()
        if state.is_world_process_zero:
            mark_whole(self.folder / f"checkpoint-{state.global_step}")


def mark_whole(checkpoint: Path) -> None:
    """Flush a checkpoint's files to the disk, then mark it."""
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
    sizes = read_json(checkpoint / _MARK)
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


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
