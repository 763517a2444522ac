"""WiSE-FT: the weights after training averaged with those before it.

Reference:
    Wortsman et al. 2022, "Robust fine-tuning of zero-shot models".
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from elusive.config.models import ModelRef
from elusive.models.merging import load_merged

_LORA = ".lora_B."


@torch.no_grad()
def average_with_start(trained: Any, start: ModelRef, ratio: float, weights: Mapping[str, Any] | None = None) -> None:
    """Make trained weights (1 - ratio) * start + ratio * trained, in place.

    What adapters add is the product of two factors, scaled; the second is multiplied by the ratio, so that the merged
    weights are that average too.

    Args:
        trained: the model after training.
        start: what it was before.
        ratio: the share of the trained weights, in (0, 1]; at 1 nothing is done.
        weights: the trained weights by name, where the model does not hold them whole.
    """
    if ratio == 1:
        return
    named = weights if weights is not None else dict(trained.named_parameters())
    if any(_LORA in name for name in named):
        for name, weight in named.items():
            if _LORA in name:
                weight.mul_(ratio)
        return
    before = dict(load_merged(dataclasses.replace(start, device="cpu")).named_parameters())
    for name, weight in named.items():
        if name in before:  # of sharded weights, there are buffers too
            # In float32: with FSDP in mixed precision, weights have another type than their start.
            weight.copy_(before[name].to(weight.device).float().lerp(weight.float(), ratio))
