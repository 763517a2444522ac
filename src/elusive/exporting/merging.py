"""A model with its adapters merged into it, as plain safetensors with a tokenizer and a card."""

import dataclasses
from pathlib import Path
from typing import Any

from elusive import __version__
from elusive.config.models import Dtype, ModelRef
from elusive.errors import ElusiveError
from elusive.models.gguf_files import GgufFile
from elusive.models.loading import adapter_config, base_of, base_revision, has_other_files, resolve
from elusive.models.merging import write_plain
from elusive.runs.files import write_text
from elusive.runs.publishing import code, markdown, public_name


@dataclasses.dataclass(frozen=True)
class Merged:
    """Merged weights.

    Attributes:
        base: the model that the adapters were merged into.
        dtype: type of the weights.
        parameters: how many there are.
        other_base: whether that model has other files than the one that the adapters were trained on.
    """

    base: str
    dtype: str
    parameters: int
    other_base: bool


def merge(
    adapters: str | Path, output: str | Path, *, base: str = "", revision: str = "", dtype: Dtype = "auto"
) -> Merged | None:
    """Write merged weights into a new folder, which is whole or not there.

    Args:
        adapters: a folder of LoRA or other peft adapters whose weights can be added to those of their model.
        output: a new folder: safetensors, tokenizer, generation settings and README.md.
        base: the model that they are merged into (empty: the one that they name).
        revision: of that model on the hub.
        dtype: type of the merged weights; auto: as those of the model are saved.

    Returns:
        What was merged; None if the same call had written it before.

    Raises:
        ElusiveError: if there are no adapters, they cannot be merged or do not fit their model, or the folder holds
            other files.
    """
    name = str(adapters)
    if not (config := adapter_config(resolve(name))):
        raise ElusiveError(
            f"{name} holds no adapters: expected a folder with adapter_config.json and adapter_model.safetensors, as "
            "`elusive train` and peft write it. A whole model needs no merging."
        )
    onto = base or base_of(name)
    if adapter_config(resolve(onto)):
        raise ElusiveError(f"--base: expected a whole model, got {onto}, which holds adapters. Merge those first.")
    if dtype == "auto" and GgufFile.of(onto):
        dtype = "float32"  # of de-quantized weights none is saved
    found: list[Merged] = []

    def finish(folder: Path, model: Any) -> None:
        found.append(
            Merged(
                onto,
                str(model.dtype).removeprefix("torch."),
                sum(one.numel() for one in model.parameters()),
                has_other_files(resolve(name), resolve(onto)),
            )
        )
        write_text(folder / "README.md", _card(name, config, found[0], revision or base_revision(resolve(name))))

    reference = ModelRef(name, revision, dtype, device="cpu")
    write_plain(reference, output, base=ModelRef(base, revision) if base else None, finish=finish)
    return found[0] if found else None


def _card(name: str, config: dict[str, Any], merged: Merged, revision: str) -> str:
    """The text of README.md; licence and data are for the people who publish it to add."""
    from huggingface_hub import ModelCardData

    base = public_name(merged.base)
    front = ModelCardData(
        base_model=base if base == merged.base and "/" in base else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["elusive", "merged-adapters"],
    ).to_yaml()
    facts = [
        ("adapters", code(public_name(name))),
        ("kind", f"{config.get('peft_type')}, rank {config.get('r')}, alpha {config.get('lora_alpha')}"),
        ("merged into", code(base) + (f" at {code(revision)}" if revision else "")),
        ("weights", f"{merged.parameters:,}, {merged.dtype}"),
        ("Elusive", __version__),
    ]
    rows = "\n".join(f"| {key} | {value} |" for key, value in facts)
    return (
        f"---\n{front}\n---\n\n# {markdown(public_name(name))}, merged\n\nAdapters and their model in one, as plain "
        "safetensors: transformers, vLLM and other programs load this folder as any model.\n\n"
        f"| | |\n| --- | --- |\n{rows}\n\nThe licence is that of the model, and of the texts that the adapters were "
        "trained on.\n"
    )
