"""Whether a loaded model has the weights of its folder, all of them and no others, and which file is damaged if not."""

import json
import os
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from elusive.errors import ElusiveError
from elusive.storage import Location

_SHOWN = 2
"""Weights that a message names."""


def check_weights(model: Any, name: str, loading_info: Mapping[str, Any], config: Any) -> None:
    """Refuse a model that lacks weights, or whose files hold weights that the model has no place for.

    transformers starts missing weights at random numbers, and leaves the others out. What it does without on purpose
    (tied heads, buffers of older versions) is not among what it reports.

    Args:
        model: what transformers loaded.
        name: the model as the user named it.
        loading_info: what transformers reported: missing_keys, unexpected_keys, and mismatched_keys with their shapes.
        config: the folder's configuration; that of a model with images or sound holds one for each of its parts.

    Raises:
        ElusiveError: if a weight is missing, has another shape, or has no place; those of parts other than text may
            have none.
    """
    missing = loading_info["missing_keys"]
    shapes = {
        f"{key}: {tuple(found)} for {tuple(expected)}" for key, found, expected in loading_info["mismatched_keys"]
    }
    homeless = {key for key in loading_info["unexpected_keys"] if not _of_another_part(key, model, config)}
    problems = [
        *_described(missing, "of the model's weights missing from the files, so they would be random"),
        *_described(shapes, "of the files' weights of another shape than in the model"),
        *_described(homeless, "of the files' weights without a place in the model, so they would be left out"),
    ]
    if problems:
        raise ElusiveError(
            f"The weights of '{name}' are not those of the model that its config.json describes: "
            f"{'; '.join(problems)}. Correct config.json (number of layers, biases, tied embeddings), or download or "
            "save the model again."
        )


def check_adapters(model: Any, path: str, base: str) -> None:
    """Refuse peft adapters that lack weights, or whose file holds weights that the model has no place for.

    peft only warns of the first, and says nothing of the second.

    Args:
        model: the PeftModel, with the adapters loaded.
        path: the adapters' folder.
        base: name of the model that they belong to.

    Raises:
        ElusiveError: if a weight is missing or has no place.
    """
    from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
    from peft.utils.save_and_load import load_peft_weights, set_peft_model_state_dict

    prefix = PEFT_TYPE_TO_PREFIX_MAPPING.get(model.active_peft_config.peft_type, "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that are on a disk
        # Loaded once more: peft translates names of other versions on the way, and only here says what was left.
        result = set_peft_model_state_dict(model, load_peft_weights(path, device="cpu"))
    missing = [key for key in result.missing_keys if prefix and prefix in key]
    problems = [
        *_described(missing, "of the adapters' weights missing from the file, so they would do nothing or be random"),
        *_described(result.unexpected_keys, "of the file's weights without a place in the model"),
    ]
    if problems:
        raise ElusiveError(
            f"The adapters in {path} do not fit their model '{base}' and their adapter_config.json: "
            f"{'; '.join(problems)}. Give the model that they were trained on as base_model_name_or_path in "
            "adapter_config.json, or train or copy them again."
        )


def embedding_rows(path: str | Path, model: Any) -> int:
    """Rows of the input embedding that the file of adapters brings; 0 where it brings none.

    Where tokens were added before adapters were trained, peft saves the embedding with them.
    """
    found = next((name for name, one in model.named_modules() if one is model.get_input_embeddings()), "")
    file = Path(path) / "adapter_model.safetensors"
    with safe_open(file, framework="pt") as weights:
        own = [key for key in weights.keys() if f".{found}." in key and key.endswith("weight") and "lora_" not in key]  # noqa: SIM118
        return weights.get_slice(own[0]).get_shape()[0] if found and own else 0


def damaged_file(folder: str | Path) -> str:
    """Which file of a model's folder is damaged, how, and what to do; empty if all can be read, or it is no folder.

    Reads the headers of weights, not the weights.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        return ""
    return next(_damages(folder), "")


_JSON = (
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_AGAIN = "Download or copy it again; if `elusive train` or `elusive run` made the folder, delete it and run again."


def _damages(folder: Path) -> Iterator[str]:
    for path in (folder / name for name in _JSON if (folder / name).exists()):
        if read_object(path) is None:
            yield f"{path} is damaged: expected a JSON object, got {_content(path)}. {_AGAIN}"
    for path in sorted(folder.glob("*.index.json")):
        yield from _damages_of_index(path)
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            yield f"{path} is damaged: expected safetensors, got {_content(path)} ({error}). {_AGAIN}"


def read_object(path: Location) -> dict[str, Any] | None:
    """The JSON object of a file; None if it holds none."""
    try:
        content = json.loads(path.read_bytes().decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _damages_of_index(path: Path) -> Iterator[str]:
    files = (read_object(path) or {}).get("weight_map")
    if not isinstance(files, dict) or not files or not all(isinstance(name, str) for name in files.values()):
        yield f"{path} is damaged: expected weights and their files, got {_content(path)}. {_AGAIN}"
        return
    names = set(files.values())
    lost = [name for name in names if not (path.parent / name).is_file()]
    if lost:
        yield f"{len(lost)} of {len(names)} files of weights that {path} names are not there: {_some(lost)}. {_AGAIN}"


def _content(path: Path) -> str:
    """What a file holds, for a message."""
    if path.is_dir():
        return "a folder"
    try:
        with path.open("rb") as stream:
            start = stream.read(40)
    except OSError as error:
        return f"a file that cannot be read ({error.strerror})"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS (run: git lfs pull)"
    return f"{path.stat().st_size} bytes" + (f" that begin with {start[:16]!r}" if start else "")


def _of_another_part(key: str, model: Any, config: Any) -> bool:
    """Whether an unexpected weight belongs to a part of a model with images or sound of which only the text is loaded.

    Such a part stands beside the text model, under a name that is none of the text model's own.
    """
    if type(model.config) is type(config) or type(model.config) is not type(config.get_text_config(decoder=True)):
        return False
    decoder = model.get_decoder()
    own = {name for module in (model, decoder) for name, _ in module.named_children()}
    own |= {"language_model", "text_model", model.base_model_prefix} - {"model"}
    parts = key.removeprefix("model.").split(".")
    return parts[0] not in own


def _described(keys: Collection[str], words: str) -> list[str]:
    return [f"{len(keys)} {words} ({_some(keys)})"] if keys else []


def _some(names: Collection[str]) -> str:
    """The first few of some names, numbers in their order, and how many more there are."""
    ordered = sorted(
        names, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
    )
    more = f", and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(ordered[:_SHOWN]) + more
