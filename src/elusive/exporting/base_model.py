"""The model that the exported texts are meant for: its tokens, its context, the tokens that end an answer."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from elusive.config.models import ModelRef
from elusive.config.training import TrainSettings
from elusive.errors import ElusiveError
from elusive.models import loading
from elusive.models.gguf_files import refuse_gguf
from elusive.models.names import on_hub
from elusive.models.rotary import RotaryRule
from elusive.runs.files import atomic_path
from elusive.training.adapters import lora_targets
from elusive.training.steps import default_row_length

COPY = "base_model"
"""Where an embedded model is copied to: no other trainer knows the name elusive/large."""


@dataclasses.dataclass(frozen=True, eq=False)
class BaseModel:
    """A model to be trained on an export.

    Attributes:
        name: folder, hub name, elusive/large or elusive/small.
        revision: commit or branch of a hub model.
        tokenizer: its tokenizer.
        context: its longest context in tokens.
        config: its configuration.
        ends: ids at which a text ends (bos, eos, and those of its generation settings), by their token.
    """

    name: str
    revision: str
    tokenizer: PreTrainedTokenizerFast
    context: int
    config: PreTrainedConfig
    ends: dict[str, int]

    @property
    def embedded(self) -> bool:
        """Whether it ships with the package."""
        return self.name in loading.EMBEDDED

    @property
    def on_hub(self) -> bool:
        """Whether the name is one of the hub's, rather than a folder."""
        return on_hub(self.name)

    @property
    def path(self) -> str:
        """How trainers that are started in the export folder name it."""
        return COPY if self.embedded else self.name

    def row_length(self, settings: TrainSettings) -> int:
        """Longest training row in tokens, as in `elusive train`."""
        return default_row_length(self.context, settings, RotaryRule.of(self.config).shared)

    def lora_targets(self, settings: TrainSettings) -> dict[str, Any]:
        """What `elusive train` adapts, as arguments of peft's LoraConfig; the model is built without memory.

        Raises:
            ElusiveError: if transformers has no language model of this configuration.
        """
        try:
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(self.config, trust_remote_code=False)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ElusiveError(
                f"'{self.name}' could not be built from its configuration ({str(error).strip().splitlines()[0]}). Give "
                "--base-model a causal language model, or --method full."
            ) from error
        return lora_targets(model, settings)

    def tokens_of(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as trainers read it: special tokens, and one eos at the end."""
        end = self.tokenizer.eos_token_id
        rows = self.tokenizer(list(texts), add_special_tokens=True, verbose=False)["input_ids"]
        return [len(ids) + (end is not None and ids[-1:] != [end]) for ids in rows]


def load_base_model(name: str, revision: str = "") -> BaseModel:
    """Read a model's tokenizer and configuration, not its weights.

    Raises:
        ElusiveError: if they cannot be read.
    """
    refuse_gguf(name, "Another trainer")
    tokenizer = loading.load_tokenizer(ModelRef(name, revision))
    place = loading.resolve(name)
    options: dict[str, Any] = {"revision": revision} if revision else {}
    try:
        config = AutoConfig.from_pretrained(place, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError) as error:
        raise ElusiveError(
            f"The configuration of '{name}' could not be loaded ({str(error).strip().splitlines()[0]}). Give "
            "--base-model the model to be trained itself: a folder with a config.json, or a hub name."
        ) from error
    try:
        generation = GenerationConfig.from_pretrained(place, **options)
    except OSError:  # many models have none; transformers then reads it off the configuration
        generation = GenerationConfig.from_model_config(config)
    own: Any = generation.eos_token_id
    named: list[Any] = [tokenizer.bos_token_id, tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
    ends = {end for end in named if end is not None}
    return BaseModel(
        name=name,
        revision=revision,
        tokenizer=tokenizer,
        context=loading.config_context(config, name),
        config=config,
        ends={str(tokenizer.convert_ids_to_tokens(end)): end for end in sorted(ends)},
    )


def copy_embedded(base: BaseModel, folder: Path) -> list[str]:
    """Copy an embedded model into the export; nothing for other models. Returns the files' names in the export."""
    if not base.embedded:
        return []
    names = []
    for path in sorted(loading.EMBEDDED[base.name].iterdir()):
        if path.suffix in (".json", ".safetensors"):
            with atomic_path(folder / COPY / path.name) as temporary:
                shutil.copyfile(path, temporary)
            names.append(f"{COPY}/{path.name}")
    return names
