"""Which models a run uses, and how each is loaded and captured."""

import dataclasses
from typing import Literal, get_args

from .checks import check, layer_and_head

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Quantization = Literal["none", "8bit", "4bit"]
Role = Literal["large", "small", "other"]
"""What a model is to a run: the large or the small one of the pair, or another one that is trained."""


@dataclasses.dataclass(frozen=True)
class ModelRef:
    """A model, how it is loaded, and which of its attention heads count."""

    name: str = ""
    """Folder, hub name, GGUF file or repository:file.gguf; elusive/large and elusive/small ship with the package."""
    revision: str = ""
    """Commit or branch of a hub model (empty: its default)."""
    dtype: Dtype = "float32"
    """Type of the weights; float32 is exact; bfloat16 halves the memory, and its rounding moves the contrast."""
    quantization: Quantization = "none"
    """Hold the weights in 8 or 4 bit (needs `elusive[quantized]`); only adapters on them can be trained."""
    device: str = "auto"
    """cpu, cuda, cuda:1, a transformers device map (e.g. `balanced`), or auto: cuda where there is one."""
    layers: tuple[int, ...] = ()
    """Layers, from 0, whose attention is averaged (with `heads` empty too: all)."""
    heads: tuple[str, ...] = ()
    """Single heads, "layer.head", that are averaged in addition to those of `layers`."""

    def __post_init__(self) -> None:
        check(all(layer >= 0 for layer in self.layers), "layers", "layers from 0", self.layers)
        for head in self.heads:
            layer_and_head(head)

    @classmethod
    def of(cls, model: "ModelRef | str") -> "ModelRef":
        """The reference itself, or one to a folder or hub name with all defaults."""
        return cls(model) if isinstance(model, str) else model


@dataclasses.dataclass(frozen=True)
class Models:
    """The pair of one family, and another model where that one is trained."""

    large: ModelRef = ModelRef("elusive/large")
    """The large model of the pair."""
    small: ModelRef = ModelRef("elusive/small")
    """The small model of the pair."""
    other: ModelRef = ModelRef()
    """The model that is trained where it is neither of the two."""
    trained: Role = "large"
    """Which of them is trained: large, small or other."""

    def __post_init__(self) -> None:
        for role in ("large", "small", self.trained):
            check(self[role].name != "", f"models.{role}.name", "a folder or hub name", "")

    def __getitem__(self, role: str) -> ModelRef:
        """The model in a role."""
        return getattr(self, role)

    def by_role(self) -> dict[str, ModelRef]:
        """Each model by its role."""
        return {role: self[role] for role in get_args(Role)}
