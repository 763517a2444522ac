"""What a training starts from: a model, adapters that are trained further or merged first, or a GGUF file."""

import dataclasses
from pathlib import Path
from typing import Any

from elusive.config.models import ModelRef
from elusive.config.training import TrainSettings
from elusive.errors import ElusiveError
from elusive.models import processes
from elusive.models.gguf_files import GgufFile
from elusive.models.loading import BASE_MODELS, adapter_config, base_of, load_model, model_hash, resolve
from elusive.models.merging import load_merged, write_plain
from elusive.runs.files import read_json, write_json
from elusive.runs.terminal import note

from .adapters import continued_adapters

_SETS = ("target_modules", "exclude_modules")
"""What peft holds as sets in the settings of adapters."""


@dataclasses.dataclass(frozen=True)
class Start:
    """How the model of a training is made ready for it.

    Attributes:
        model: as the recipe names it.
        settings: of the training.
    """

    model: ModelRef
    settings: TrainSettings

    def check(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            ElusiveError: if the weights are quantised and all of them are to be trained, or there are adapters that
                cannot be trained further by these settings.
        """
        name, settings = self.model.name, self.settings
        if self.model.quantization != "none" and settings.method == "full":
            raise ElusiveError(
                f"Weights in {self.model.quantization} cannot be trained themselves: expected method = lora, got full. "
                "Train adapters, or set quantization = none."
            )
        if not self._continues:
            return
        if settings.method == "full":
            raise ElusiveError(
                f"{name} holds adapters, and method = full trains all weights: expected train.adapters = merge, got "
                "continue. Set it, or method = lora."
            )
        if (kind := self._adapters.get("peft_type")) != "LORA":
            raise ElusiveError(
                f"{name} holds adapters of type {kind}: expected LORA to train further. Set train.adapters = merge, if "
                "they can be merged."
            )
        if settings.average < 1:
            raise ElusiveError(
                f"train.average: expected 1 where adapters are trained further ({name}), got {settings.average:g}: the "
                "average of two products has twice their rank. Set train.adapters = merge."
            )

    @property
    def identity(self) -> dict[str, str]:
        """The files behind adapters that are trained further; empty for other models."""
        return {"base_hash": model_hash(base_of(self.model.name))} if self._continues else {}

    def load(self, bases: Path, device: str) -> Any:
        """The model, or the peft model of adapters that are trained further; says what is done with adapters.

        Args:
            bases: folder for whole models that adapters stand on, where they have to be written.
            device: where it is loaded to.

        Raises:
            ElusiveError: if it cannot be loaded, merged or written.
        """
        model, base = dataclasses.replace(self.model, device=device), self.write_base(bases)
        if self._continues:
            loaded = load_model(model)
            self._say(f"{model.name}: {_in_words(self._adapters)} are trained further, at their own rank and alpha.")
            return continued_adapters(loaded, self.settings)
        if not self._merges:
            return load_model(model)
        if base:
            return load_model(dataclasses.replace(model, name=str(base), revision=""))
        self._say(f"{model.name}: {_in_words(self._adapters)} are merged into {base_of(model.name)} first.")
        return load_merged(model)

    def write_base(self, bases: Path) -> Path | None:
        """Write the whole model that adapters are to stand on, where no folder or hub name stands for it yet.

        That is merged weights, and those of a GGUF file, which peft cannot load.

        Args:
            bases: the folder for such models; those of other files or types lie there too.

        Returns:
            Where it lies; None where there is no need.
        """
        base = base_of(self.model.name)
        if self.settings.method == "full" or not (self._merges or GgufFile.of(base)):
            return None
        source = self.model if self._merges else dataclasses.replace(self.model, name=base)
        place = bases / _folder_name(source)
        with processes.main_first(cpu=True):
            written = write_plain(dataclasses.replace(source, device="cpu", quantization="none"), place)
        if written and self._merges:
            self._say(f"{source.name}: {_in_words(self._adapters)} were merged into {base}; new ones stand on {place}.")
        elif written:
            self._say(f"{base} is a GGUF file, which peft and vLLM cannot load: the adapters stand on {place}.")
        return place

    def name_base(self, folder: Path, bases: Path) -> None:
        """Let the adapters in a folder name their model as peft, transformers and vLLM find it: by hub name or folder.

        Written afterwards: peft would look a name up on the hub while it saves. It writes sets of names in the order of
        their hashes, which differs between processes; here they are sorted, so that equal adapters are equal files.
        """
        written = self.write_base(bases)
        base, config = str(written or base_of(self.model.name)), folder / "adapter_config.json"
        named: dict[str, Any] = {"base_model_name_or_path": str(Path(base).absolute()) if Path(base).exists() else base}
        if self.model.revision and not written:
            named["revision"] = self.model.revision
        saved = read_json(config)
        names = {key: sorted(saved[key]) for key in _SETS if isinstance(saved.get(key), list)}
        write_json(config, saved | names | named)

    @property
    def _adapters(self) -> dict[str, Any]:
        return adapter_config(resolve(self.model.name))

    @property
    def _continues(self) -> bool:
        return bool(self._adapters) and self.settings.adapters == "continue"

    @property
    def _merges(self) -> bool:
        return bool(self._adapters) and self.settings.adapters == "merge"

    def _say(self, words: str) -> None:
        if processes.is_main():
            note(words)


def bases_in(folder: Path) -> Path:
    """Where a run, or a training alone, keeps the whole models that it had to write."""
    return folder / BASE_MODELS


def _folder_name(source: ModelRef) -> str:
    """By the files and their type: trials of a sweep may have several."""
    name = Path(source.name).name.removesuffix(".gguf") or "model"
    return "-".join(part for part in (name, source.dtype, model_hash(source.name)[:8]) if part)


def _in_words(config: dict[str, Any]) -> str:
    rank = config.get("r")
    return f"its adapters (of rank {rank})" if rank else "its adapters"
