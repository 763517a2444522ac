"""Trackers of experiments that a training reports to: which there are, and what it is called in them."""

import difflib
import importlib.util
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, TensorBoardCallback

from elusive.errors import ElusiveError
from elusive.runs.folder import RunFolder

_MODULES = {"azure_ml": ("azureml.core",), "flyte": ("flytekit",), "tensorboard": ("tensorboard", "tensorboardX")}
"""Modules of which a tracker needs one, where they have other names than it has."""
_PACKAGES = {"azure_ml": "azureml-core", "flyte": "flytekit"}
"""What pip installs, where it has another name."""


def trackers_of(training_arguments: Mapping[str, Any]) -> list[str]:
    """The names in `report_to`; `all` and `none` stand for no single one.

    Example:
        >>> trackers_of({"report_to": "wandb"}), trackers_of({"report_to": ["all"]}), trackers_of({})
        (['wandb'], [], [])
    """
    given = training_arguments.get("report_to") or ()
    names = [given] if isinstance(given, str) else list(given)
    return [name for name in names if name not in ("all", "none")]


def check_trackers(training_arguments: Mapping[str, Any]) -> None:
    """Refuse trackers that are unknown or not installed.

    Raises:
        ElusiveError: if there is one; says how it is installed.
    """
    for name in trackers_of(training_arguments):
        if name not in INTEGRATION_TO_CALLBACK:
            near = difflib.get_close_matches(str(name), INTEGRATION_TO_CALLBACK, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"Those are {', '.join(sorted(INTEGRATION_TO_CALLBACK))}."
            raise ElusiveError(
                f"train.training_arguments: report_to: expected a tracker that transformers knows, got {name!r}. {hint}"
            )
        if not any(map(_is_there, _MODULES.get(name, (name,)))):
            raise ElusiveError(
                f"train.training_arguments: report_to = {name!r} needs {name}, which is missing. Run: pip install "
                f"{_PACKAGES.get(name, name)}"
            )


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


def tracked_name(model: Path, given: str | None = None) -> str:
    """What trackers call a training: within a run, each of its own.

    Args:
        model: the folder of the trained model.
        given: run_name, where one is given.

    Example:
        >>> tracked_name(Path("trained")), tracked_name(Path("trained"), "first")
        ('trained', 'first')
    """
    found = RunFolder.around_model(model)
    if found is None:
        return given or model.name
    run, place = found
    return " ".join((given or run.path.name, *place.parts))


def tensorboard_folder(model: Path) -> Path:
    """Where TensorBoard's event files of a training lie; TENSORBOARD_LOGGING_DIR is for all trainings of a run.

    Args:
        model: the folder of the trained model.
    """
    given = os.environ.get("TENSORBOARD_LOGGING_DIR", "")
    found = RunFolder.around_model(model)
    if found is None:
        return Path(given).expanduser() if given else RunFolder(model).tensorboard
    run, place = found
    return (Path(given).expanduser() if given else run.tensorboard) / place


def point_tensorboard(callbacks: Iterable[Any], model: Path) -> None:
    """Let TensorBoard write where a training's event files lie; by itself it writes among the checkpoints.

    Args:
        callbacks: of a Trainer.
        model: the folder of the trained model.
    """
    for callback in callbacks:
        if isinstance(callback, TensorBoardCallback):
            callback.logging_dir = str(tensorboard_folder(model))
