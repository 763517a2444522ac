"""What a model answers after its training, in the trackers that its training was reported to."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerControl, TrainerState
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from elusive.config.training import TrainSettings
from elusive.models.devices import default_device
from elusive.models.loading import without_future_warnings
from elusive.models.weights import read_object

from .arguments import FitSettings, trainer_arguments
from .checkpoints import CHECKPOINTS
from .trackers import point_tensorboard, trackers_of

TRACKED = ("tensorboard", "trackio", "wandb")
"""Trackers whose runs can be gone on with after the training."""


@without_future_warnings()
def track_answers(model: Path, settings: TrainSettings, measures: Mapping[str, float]) -> None:
    """Report measures to the run that a training had in each tracker, at its last step, and close that run.

    Args:
        model: the folder of the trained model; of the model before training, where it would lie: its step is 0.
        settings: of the training.
        measures: by name, e.g. `em`; nothing is reported where there are none.
    """
    names = [name for name in trackers_of(settings.training_arguments) if name in TRACKED]
    if not names:
        return
    steps = int((read_object(model / "done.json") or {}).get("steps", 0))
    arguments = trainer_arguments(
        FitSettings.of(settings), steps, model / CHECKPOINTS, torch.device(default_device()), use_cache=True
    )
    state = TrainerState(global_step=steps, max_steps=steps)
    logs = {f"eval_{name}": value for name, value in measures.items()}
    for name in names:
        (callback,) = (make() for make in get_reporting_integration_callbacks([name]))
        point_tensorboard([callback], model)
        if logs:
            callback.on_log(arguments, state, TrainerControl(), model=None, logs=logs)
        _close(name, callback)


def _close(name: str, callback: Any) -> None:
    """End a tracker's run: else the next training of this process would go on with it."""
    if name != "tensorboard":
        importlib.import_module(name).finish()
    elif callback.tb_writer:
        callback.tb_writer.close()
