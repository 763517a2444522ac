"""GGUF files: models of one file, as llama.cpp uses them, whose weights transformers reads de-quantized."""

import contextlib
import functools
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from elusive.errors import ElusiveError

_ON_HUB = re.compile(r"([\w.-]+/[\w.-]+):([\w./-]+\.gguf)")


class GgufFile(NamedTuple):
    """A GGUF file as transformers names it.

    Attributes:
        place: its folder, or its repository on the hub.
        file: its name there.
    """

    place: str
    file: str

    @classmethod
    def of(cls, name: str) -> "GgufFile | None":
        """The file that a model's name means, `folder/model.gguf` or `owner/repository:model.gguf`; None for others.

        Example:
            >>> GgufFile.of("Qwen/Qwen3-0.6B-GGUF:Qwen3-0.6B-Q8_0.gguf").file, GgufFile.of("models/small.gguf").place
            ('Qwen3-0.6B-Q8_0.gguf', 'models')
        """
        if not name.endswith(".gguf"):
            return None
        if not os.path.exists(name) and (match := _ON_HUB.fullmatch(name)):
            return cls(match[1], match[2])
        return cls(str(Path(name).parent), Path(name).name)

    @property
    def path(self) -> Path:
        """Where it lies on this machine, if it does."""
        return Path(self.place) / self.file


def named(name: str) -> dict[str, str]:
    """How transformers' `from_pretrained` is to be told of a model by its folder, hub name or GGUF file.

    Raises:
        ElusiveError: if it is a GGUF file and the package that reads it is missing.
    """
    found = GgufFile.of(name)
    if found is None:
        return {"pretrained_model_name_or_path": name}
    if importlib.util.find_spec("gguf") is None:
        raise ElusiveError(f"{name} is read with the package gguf, which is missing. Run: pip install 'elusive[gguf]'")
    return {"pretrained_model_name_or_path": found.place, "gguf_file": found.file}


def refuse_gguf(base: str, what: str) -> None:
    """Refuse a GGUF file where another program reads the weights.

    Args:
        base: folder, hub name or file of a model, without adapters.
        what: who needs them, for the message.

    Raises:
        ElusiveError: if it is a GGUF file; says how to write its weights as safetensors.
    """
    if GgufFile.of(base):
        raise ElusiveError(
            f"{what} needs safetensors, and {base} is a GGUF file. Write them once, in Python: "
            f"elusive.load_model({base!r}).save_pretrained(FOLDER) and "
            f"elusive.load_tokenizer({base!r}).save_pretrained(FOLDER); then name FOLDER as the model."
        )


def damage_of(path: Path) -> str:
    """What is wrong with a GGUF file, and what to do; empty if it can be read, or is not there."""
    if not os.path.isfile(path):
        return ""
    with path.open("rb") as stream:
        start = stream.read(40)
    if start.startswith(b"version https://git-lfs"):
        return f"{path} is a pointer of Git LFS. Run: git lfs pull"
    if not start.startswith(b"GGUF"):
        return (
            f"{path} is damaged: expected a GGUF file, got {path.stat().st_size} bytes that begin with {start[:16]!r}."
        )
    from gguf import GGUFReader

    try:
        GGUFReader(path)
    except Exception as error:  # numpy's and its own, whatever a part of a file leads to
        return f"{path} is damaged or was cut off ({type(error).__name__}: {error}). Download or copy it again."
    return ""


@contextlib.contextmanager
def without_bar() -> Iterator[None]:
    """Hide the bar that transformers draws while it de-quantizes weights, which knows none of its settings of bars."""
    import transformers.modeling_gguf_pytorch_utils as reading

    module: Any = reading
    own = module.tqdm
    module.tqdm = functools.partial(own, disable=True)
    try:
        yield
    finally:
        module.tqdm = own


def forget_quantization(model: Any) -> None:
    """Let transformers save and train a model that it read from a GGUF file.

    The weights are ordinary ones from then on, but transformers remembers that they were not, and would refuse.
    """
    if (quantizer := getattr(model, "hf_quantizer", None)) is not None:
        quantizer.remove_quantization_config(model)
