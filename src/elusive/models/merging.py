"""Adapters merged into their model, and the plain safetensors of a model that other programs can load."""

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from elusive.config.models import ModelRef
from elusive.errors import ElusiveError
from elusive.runs.disk import disk_errors
from elusive.runs.files import read_json, write_json
from elusive.runs.stage import FORMAT

from .loading import (
    adapter_config,
    add_adapters,
    base_of,
    load_model,
    load_tokenizer,
    model_identity,
    resolve,
    without_future_warnings,
)

SETTINGS = "settings.json"


@without_future_warnings()
def load_merged(model: ModelRef, base: ModelRef | None = None) -> Any:
    """Load a model with its adapters, if it has some, merged into its weights.

    Args:
        model: which one; its weights are merged in its dtype, without quantization.
        base: the model that the adapters are merged into, if not the one that they name.

    Returns:
        The transformers model, in evaluation mode.

    Raises:
        ElusiveError: if it cannot be loaded, its adapters are of a kind that cannot be merged, or merged weights would
            not be finite.
    """
    model = dataclasses.replace(model, quantization="none")
    path = resolve(model.name)
    if not adapter_config(path):
        return load_model(model)
    if _are_prompts(path):
        raise _unmergeable(path, "they are tokens in front of a text, not weights")
    if base is None:
        adapted = load_model(model)
    else:
        whole = load_model(dataclasses.replace(model, name=base.name, revision=base.revision))
        adapted = add_adapters(whole, path, base.name)
    try:
        merged = adapted.merge_and_unload(safe_merge=True)
    except (AttributeError, NotImplementedError, ValueError, TypeError) as error:
        raise _unmergeable(path, str(error).strip()) from error
    merged.config.name_or_path = base.name if base else base_of(model.name)
    return merged.requires_grad_().eval()  # adapters had frozen them


def _are_prompts(path: str) -> bool:
    from peft import PeftConfig

    return PeftConfig.from_pretrained(path).is_prompt_learning


def _unmergeable(path: str, reason: str) -> ElusiveError:
    kind = adapter_config(path).get("peft_type")
    return ElusiveError(f"The adapters in {path} (of type {kind}) cannot be merged into their model: {reason}")


def write_plain(
    model: ModelRef,
    folder: str | Path,
    *,
    base: ModelRef | None = None,
    finish: Callable[[Path, Any], None] | None = None,
) -> bool:
    """Write a model as plain safetensors with its tokenizer, its adapters merged into it.

    The folder is whole or not there: everything is written beside it, and renamed.

    Args:
        model: a model, a folder of adapters, or a GGUF file; and the dtype of its weights (auto: as they are).
        folder: a new folder.
        base: the model that adapters are merged into, if not the one that they name.
        finish: called with the folder under its temporary name and the model, before that is renamed.

    Returns:
        Whether it was written: not if the same call has written it before.

    Raises:
        ElusiveError: if the folder holds anything else, or the model cannot be loaded or merged.
    """
    folder, made_of = Path(folder), _identity(model, base)
    if folder.is_dir() and any(folder.iterdir()):
        _refuse_other(folder, made_of)
        return False
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        loaded = load_merged(model, base)
        with disk_errors(folder):
            loaded.save_pretrained(temporary)
            load_tokenizer(model if base is None else _with_tokenizer(model, base)).save_pretrained(temporary)
            if finish:
                finish(temporary, loaded)
            write_json(temporary / SETTINGS, made_of)
            temporary.chmod(0o755)
        _put_in_place(temporary, folder, made_of)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _put_in_place(temporary: Path, folder: Path, made_of: dict[str, Any]) -> None:
    try:
        os.replace(temporary, folder)
    except OSError:
        if not (folder.is_dir() and any(folder.iterdir())):
            raise
        _refuse_other(folder, made_of)  # the same may have been written by another process meanwhile


def _with_tokenizer(model: ModelRef, base: ModelRef) -> ModelRef:
    """The one of adapters and their model that holds the tokenizer."""
    return model if (Path(resolve(model.name)) / "tokenizer_config.json").exists() else base


def _identity(model: ModelRef, base: ModelRef | None) -> dict[str, Any]:
    """All that the weights depend on; of a model before this one, evaluate.known reads `base`."""
    own = {key: value for key, value in model_identity(model).items() if key != "quantization"}
    name = base.name if base else base_of(model.name)
    return {"format": FORMAT, **own, "base": name, "base_revision": base.revision if base else ""}


def _refuse_other(folder: Path, made_of: dict[str, Any]) -> None:
    settings = folder / SETTINGS
    if not settings.exists() or read_json(settings) != made_of:
        raise ElusiveError(
            f"{folder} holds other files: expected a new or an empty folder, or the same weights, written before. Give "
            "another output folder, or delete this one."
        )
