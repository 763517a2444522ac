"""The only place that loads tokenizers and models: safetensors only, no remote code, dtype and device explicit."""

import contextlib
import functools
import importlib.util
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from elusive.config.models import ModelRef, Quantization
from elusive.errors import ElusiveError
from elusive.runs.files import file_hash

from . import gguf_files
from .devices import default_device
from .names import EMBEDDED as EMBEDDED
from .names import resolve as resolve
from .weights import check_adapters, check_weights, damaged_file, embedding_rows, read_object

# What is missing is an error here (see `check_weights`); its table of it would stand above the message.
logging.getLogger("transformers.modeling_utils").addFilter(lambda record: "LOAD REPORT" not in record.getMessage())

# peft imports it where it is installed, whether it is used or not; it then tells of kernels that could not be fetched,
# and for every product of every layer that LLM.int8 rounds activations to float16.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


AttentionChoice = str | Callable[[PreTrainedConfig], str | None] | None
"""transformers' attn_implementation, or a function that names one for a configuration; None: transformers' choice."""


def load_tokenizer(model: ModelRef | str) -> PreTrainedTokenizerFast:
    """Load a model's fast tokenizer; only these give the character offsets that scores are tied to.

    Adapters that were saved without a tokenizer have that of their model.

    Raises:
        ElusiveError: if there is no tokenizer, or only a slow one.
    """
    model = ModelRef.of(model)
    name, revision = model.name, model.revision
    path = resolve(name)
    if adapter_config(path) and not (Path(path) / "tokenizer_config.json").exists():
        name, revision = base_of(name), revision or base_revision(path)
    with _reasons("tokenizer", name):
        place = gguf_files.named(resolve(name))
        tokenizer = AutoTokenizer.from_pretrained(**place, revision=revision or None, trust_remote_code=False)
    return checked_tokenizer(tokenizer, name)


def checked_tokenizer(tokenizer: Any, name: str = "") -> PreTrainedTokenizerFast:
    """A tokenizer that gives character offsets.

    Args:
        tokenizer: one of transformers.
        name: of its model, for the message (empty: its own).

    Raises:
        ElusiveError: if it is a slow one, or none.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ElusiveError(
            f"The tokenizer of {name or getattr(tokenizer, 'name_or_path', '') or 'the model'} is "
            f"{type(tokenizer).__name__}, which gives no character offsets. "
            "Elusive needs a fast tokenizer (a tokenizer.json); convert it, or choose a model that has one."
        )
    return tokenizer


def innermost(model: Any) -> Any:
    """The transformers model within a peft wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether each process holds a part of the weights (FSDP), so that all of them have to run every pass together."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(weight, DTensor) for weight in model.parameters())


_FILES = ("*.safetensors", "config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json")


def model_hash(name: str) -> str:
    """SHA-256 of a local model's files, so that a model retrained in the same folder is noticed ("" for hub names)."""
    place = Path(resolve(name))
    if os.path.isdir(place):
        files = sorted(path for pattern in _FILES for path in place.glob(pattern))
    else:
        files = [place] if gguf_files.GgufFile.of(name) and os.path.isfile(place) else []
    return _hash_of(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files)) if files else ""


def model_identity(model: ModelRef) -> dict[str, str]:
    """What a model's weights are known by in a stage's settings.json."""
    return {
        "model": model.name,
        "model_hash": model_hash(model.name),
        "revision": model.revision,
        "dtype": model.dtype,
        "quantization": model.quantization,
    }


@functools.lru_cache(maxsize=8)
def _hash_of(files: tuple[tuple[Path, int, int], ...]) -> str:
    # Cached by size and time, because each stage of a run needs it, and large weights take a while to read.
    return file_hash(*(path for path, _, _ in files))


@contextlib.contextmanager
def without_future_warnings() -> Iterator[None]:
    """Hide peft's and transformers' warnings of coming changes; users can do nothing about them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        # peft looks for these ranks among modules alone; those of experts are of parameters, and are found.
        warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys did not match", RuntimeWarning)
        yield


@without_future_warnings()
def load_model(
    model: ModelRef | str,
    *,
    attention: AttentionChoice = None,
    device_map: Mapping[str, int | str] | None = None,
) -> Any:
    """Load a causal language model, with its peft adapters where it is a folder that holds some.

    LLM.int8 (quantization 8bit) picks its outlier columns over a whole batch, so a text's result depends a little
    on the other texts of its batch; NF4 (4bit) does not.

    Args:
        model: which one, and its dtype, quantization and device. The revision of adapters is that of their base model.
        attention: transformers' attn_implementation (None: its choice, SDPA unless an architecture such as Gemma 2
            has no form in it), or a function that names one for the model's configuration.
        device_map: modules and their devices, in the place of the model's device.

    Returns:
        A PreTrainedModel, or the PeftModel around it, in evaluation mode.

    Raises:
        ElusiveError: if it cannot be loaded, or its attention cannot be read, with the reason; weights other than
            safetensors are refused.
    """
    # Bars for weights that load in a moment would bury the stages' own progress.
    transformers.utils.logging.disable_progress_bar()
    model = ModelRef.of(model)
    name, quantization = model.name, model.quantization
    path = resolve(name)
    device = device_map or (default_device() if model.device == "auto" else model.device)
    options: dict[str, Any] = {
        "dtype": model.dtype if model.dtype == "auto" else getattr(torch, model.dtype),
        "use_safetensors": True,
        "trust_remote_code": False,
    }
    on_one_device = isinstance(device, str) and device.split(":")[0] in ("cpu", "cuda", "mps")
    if not on_one_device:
        options["device_map"] = device
    base = base_of(name)
    if quantization != "none":
        if gguf_files.GgufFile.of(base):
            raise ElusiveError(
                f"quantization: expected none for {base}, which is a GGUF file, got {quantization!r}: its weights are "
                "de-quantized when they are loaded. Leave it out, or name the model's safetensors."
            )
        # Quantised weights are placed while they load, and cannot be moved afterwards.
        options["device_map"] = {"": device} if on_one_device else device
        options["quantization_config"] = _quantization(quantization, options["dtype"])
    with _reasons("model", base):
        loaded = _load_base(base, model.revision or base_revision(path), options, attention)
    if base != path:
        check_base(path, base)
        loaded = add_adapters(loaded, path, base)
    loaded = loaded.to(device) if on_one_device and quantization == "none" else loaded
    return loaded.eval()


def _load_base(
    base: str,
    revision: str,
    options: Mapping[str, Any],
    attention: AttentionChoice,
) -> Any:
    """The transformers model, with all its weights."""
    weights = {**gguf_files.named(base), "revision": revision or None}
    config = AutoConfig.from_pretrained(**weights, trust_remote_code=False)
    if callable(attention):
        attention = attention(config)
    _check_generation(base)
    with gguf_files.without_bar() if "gguf_file" in weights else contextlib.nullcontext():
        found: Any = AutoModelForCausalLM.from_pretrained(
            **weights,
            **options,
            attn_implementation=attention,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are then reported, and refused by us with their names
        )
    loaded, loading_info = found
    check_weights(loaded, base, loading_info, config)
    if gguf_files.GgufFile.of(base):
        gguf_files.forget_quantization(loaded)
        loaded.config.name_or_path = base
        loaded.name_or_path = None  # peft would look for a config.json there
    _keep_trainable_form(loaded)
    return loaded


@without_future_warnings()
def add_adapters(loaded: Any, path: str, base: str) -> Any:
    """The peft model of a loaded model and the adapters in a folder.

    Args:
        loaded: the model, whole.
        path: the adapters' folder.
        base: the model's name, for messages.

    Raises:
        ElusiveError: if the adapters cannot be read, or do not fit the model.
    """
    from peft import PeftModel

    with _reasons("adapters", path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found missing adapter keys")  # an error below
        if (rows := embedding_rows(path, loaded)) and rows != loaded.get_input_embeddings().weight.shape[0]:
            loaded.resize_token_embeddings(rows, mean_resizing=False)  # the file has these rows
        adapted = PeftModel.from_pretrained(loaded, path)
        check_adapters(adapted, path, base)
    return adapted


def _check_generation(base: str) -> None:
    """Refuse a damaged generation_config.json: transformers then goes without, and answers would end elsewhere."""
    path = Path(base) / "generation_config.json"
    if os.path.exists(path) and read_object(path) is None:
        raise _loading_error("generation settings", base, ValueError(f"{path} holds no JSON object"))


@contextlib.contextmanager
def _reasons(what: str, name: str) -> Iterator[None]:
    """Turn whatever a library says of a folder that it cannot load into a message."""
    try:
        yield
    except (ElusiveError, MemoryError, torch.OutOfMemoryError):
        raise
    except BaseException as error:
        # Libraries raise all kinds for files that others wrote; where tokenizers panics, not even an Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise _loading_error(what, name, error) from error


def _quantization(quantization: Quantization, dtype: Any) -> BitsAndBytesConfig:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ElusiveError(
            f"Weights in {quantization} need bitsandbytes, which is missing. Run: pip install 'elusive[quantized]'"
        )
    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    compute = dtype if isinstance(dtype, torch.dtype) else None
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)


def _keep_trainable_form(model: torch.nn.Module) -> None:
    """Keep bitsandbytes from putting 4-bit weights in another form at the first pass in evaluation mode on a CPU.

    That form is for inference alone: every gradient taken after it is wrong, and not all shapes fit it.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 (no attribute of torch's own type)


def adapter_config(path: str) -> dict[str, Any]:
    """The configuration of the peft adapters that a folder holds (empty: it holds none).

    Raises:
        ElusiveError: if the configuration is damaged, or their weights are not there as safetensors.
    """
    config = Path(path) / "adapter_config.json"
    if not os.path.exists(config):  # a name on the hub may be too long for a path
        return {}
    if not (config.parent / "adapter_model.safetensors").exists():
        raise ElusiveError(
            f"Expected adapter_model.safetensors in {path}, found none. Save the adapters as safetensors."
        )
    with _reasons("adapters", path):
        return dict(json.loads(config.read_text(encoding="utf-8")))


def base_revision(path: str) -> str:
    """The revision that the adapters in a folder name for their model (empty: none, or no adapters)."""
    revision = adapter_config(path).get("revision")
    return revision if isinstance(revision, str) else ""


def base_of(name: str) -> str:
    """The folder or hub name of the model itself: of adapters, the one that they belong to.

    Raises:
        ElusiveError: if adapters name no such model, or one that itself is a folder of adapters.
    """
    path = resolve(name)
    if not (adapters := adapter_config(path)):
        return path
    base = adapters.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ElusiveError(
            f"{path}/adapter_config.json: expected the model that the adapters belong to as base_model_name_or_path, "
            f"got {base!r}. Name its folder, its hub name, elusive/large or elusive/small there."
        )
    if os.path.exists(Path(resolve(base)) / "adapter_config.json"):
        raise ElusiveError(
            f"The adapters in {path} belong to {base}, which itself holds adapters: expected a whole model. Merge "
            f"both, the inner ones first: elusive merge {base} WHOLE; elusive merge {path} OUTPUT --base WHOLE."
        )
    return _found_base(base, Path(path))


BASE_MODELS = "base_models"
"""Folder of whole models that were written for adapters to stand on: of a run, or of the adapters alone."""


def _found_base(base: str, adapters: Path) -> str:
    """Where the model of adapters lies: they name the folder that it had when they were trained, and may have moved."""
    if not Path(base).is_absolute() or os.path.exists(base):
        return resolve(base)
    written = [parent / BASE_MODELS / Path(base).name for parent in (adapters, *adapters.absolute().parents[:4])]
    trained = resolve(str((read_object(adapters / "settings.json") or {}).get("model", "")))
    places = [*map(str, written), *([trained] if trained and not adapter_config(trained) else [])]
    return next((place for place in places if os.path.exists(place)), base)


def has_other_files(path: str, base: str) -> bool:
    """Whether `elusive train` made adapters on other files than a model has now.

    Args:
        path: the adapters' folder.
        base: folder or hub name of the model; of one on the hub it is not known.
    """
    stage, written = (read_object(Path(one) / "settings.json") or {} for one in (path, base))
    trained_on, now = stage.get("base_hash") or stage.get("model_hash"), model_hash(base)
    # Whole models that were written for adapters to stand on know what they were made of.
    made_of = written.get("model_hash") if "base" in written else None
    return bool(trained_on and now) and trained_on not in (now, made_of)


def check_base(path: str, base: str) -> None:
    """Refuse adapters that `elusive train` made on other files than those that their model has now.

    Args:
        path: the adapters' folder; of adapters from elsewhere it is not known what they were trained on.
        base: folder or hub name of their model.

    Raises:
        ElusiveError: if the model's files have changed.
    """
    if has_other_files(path, base):
        raise ElusiveError(
            f"The adapters in {path} were trained on other files than {base} holds now (weights, configuration or "
            "tokenizer have changed). Put the model back as it was, or delete the adapters and train them again."
        )


class ModelConfigs(NamedTuple):
    """A model's configuration, and that of its generation as a loaded model has it.

    Attributes:
        model: from config.json.
        generation: from generation_config.json, or else from config.json.
    """

    model: Any
    generation: Any


def load_configs(model: ModelRef | str) -> ModelConfigs:
    """A model's configurations, without its weights.

    Raises:
        ElusiveError: if there is no configuration for the model.
    """
    model = ModelRef.of(model)
    base, revision = base_of(model.name), model.revision
    with _reasons("configuration", base):
        config = AutoConfig.from_pretrained(
            **gguf_files.named(base), revision=revision or None, trust_remote_code=False
        )
        _check_generation(base)
    if gguf_files.GgufFile.of(base):
        return ModelConfigs(config, GenerationConfig.from_model_config(config))
    try:
        return ModelConfigs(config, GenerationConfig.from_pretrained(base, revision=revision or "main"))
    except OSError:  # it has none
        return ModelConfigs(config, GenerationConfig.from_model_config(config))


def config_context(config: Any, name: str) -> int:
    """Longest context in tokens that a loaded configuration names."""
    text_config = config.get_text_config()
    for key in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx"):
        length = getattr(text_config, key, None)
        if isinstance(length, int) and length > 0:
            return length
    raise ElusiveError(
        f"The configuration of {name} names no context length. To score with it, set score.max_length (in tokens); "
        "to train or evaluate it, add max_position_embeddings to its config.json."
    )


_LONGEST_REASON = 400
"""Characters of what a library says."""


def _loading_error(what: str, name: str, error: BaseException) -> ElusiveError:
    if found := gguf_files.GgufFile.of(name):
        return _gguf_error(what, found, error)
    if Path(resolve(name)).is_absolute() and not os.path.exists(resolve(name)):
        return ElusiveError(f"No {what} at {resolve(name)}: the folder does not exist.")
    if damage := damaged_file(resolve(name)):
        return ElusiveError(f"The {what} of '{name}' could not be loaded: {damage}")
    if "automatic conversion of the weights" in str(error):
        # What transformers puts together from several weights of the files, it names in its report alone.
        return ElusiveError(
            f"The weights of '{name}' are not those of the model that its config.json describes: some of the weights "
            "that transformers joins, such as those of experts, are missing or have another shape. Download or save "
            "the model again."
        )
    return ElusiveError(
        f"The {what} of '{name}' could not be loaded: {_reason(error)}\n"
        "Expected a local folder with safetensors weights, a GGUF file, a hub name that can be reached, elusive/large "
        "or elusive/small."
    )


def _gguf_error(what: str, found: gguf_files.GgufFile, error: BaseException) -> ElusiveError:
    if damage := gguf_files.damage_of(found.path):
        return ElusiveError(f"The {what} of '{found.path}' could not be loaded: {damage}")
    if (os.path.isdir(found.place) or found.path.is_absolute()) and not os.path.exists(found.path):
        return ElusiveError(f"No {what} at {found.path}: the file does not exist.")
    return ElusiveError(
        f"The {what} of the GGUF file '{found.path}' could not be loaded: {_reason(error)}\n"
        "transformers reads GGUF files of some architectures only (Llama, Mistral, Qwen 2 and 3, Gemma 2 and 3, Phi-3 "
        "and more). Name the model's safetensors instead: a folder, or a hub name."
    )


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {' '.join(line.strip() for line in lines[:2])}"[:_LONGEST_REASON]
