"""Tokenizers for stages that run no model: where a tokenizer.json says all, torch is not loaded for it."""

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from elusive.config.models import ModelRef

from .names import resolve

_PLAIN = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""Classes that add nothing to tokenizer.json."""


def tokenizer_alone(model: ModelRef) -> PreTrainedTokenizerFast:
    """A model's fast tokenizer, as `load_tokenizer` gives it; of the plain class in a Llama's folder without torch.

    transformers' AutoTokenizer, which knows every other class, takes seconds to load.

    Raises:
        ElusiveError: if there is no tokenizer, or only a slow one.
    """
    folder = Path(resolve(model.name))
    if _is_plain(folder):
        try:
            return PreTrainedTokenizerFast.from_pretrained(str(folder))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # tokenizers panics at damaged files; what is said of them is said in one place
            pass
    from .loading import load_tokenizer

    return load_tokenizer(model)


def _is_plain(folder: Path) -> bool:
    described, config = _object(folder / "tokenizer_config.json"), _object(folder / "config.json")
    plain = described.get("tokenizer_class") in _PLAIN and "auto_map" not in described
    return plain and config.get("model_type") == "llama" and (folder / "tokenizer.json").is_file()


def _object(path: Path) -> dict[str, Any]:
    """The JSON object of a file; empty where it holds none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
