"""L2-SP: weights are drawn to where training started, so that what was known there is lost less."""

from typing import Any

import torch
from transformers import TrainerCallback

from elusive.errors import ElusiveError
from elusive.models import processes


class StartingPointDecay(TrainerCallback):
    """Weight decay towards the weights before training, decoupled from the gradient as AdamW's is towards 0.

    Before each step, w becomes w - learning rate * strength * (w - w0). As a term of the loss (strength / 2 times the
    squared distance) Adam would divide it by the size of the gradients, which undoes it where they are large.

    The weights before training are held a second time, on the device of the others.

    Args:
        model: with the weights before training; its trained weights are copied.
        strength: what the learning rate is multiplied by.

    Raises:
        ElusiveError: if the weights are shared over processes.

    Reference:
        Li, Grandvalet and Davoine 2018; decoupled, as Loshchilov and Hutter 2019 do with weight decay, in Chen et al.
        2020 ("Recall and Learn").
    """

    def __init__(self, model: torch.nn.Module, strength: float) -> None:
        if processes.share_weights():
            raise ElusiveError(
                "train.l2_sp: expected whole weights in each process, got weights that FSDP spreads over several. "
                "Train in one process or with DDP, or set train.l2_sp = 0 and train.average below 1."
            )
        self.strength = strength
        self._start = {one: one.detach().clone() for one in model.parameters() if one.requires_grad}

    @torch.no_grad()
    def on_pre_optimizer_step(self, args, state, control, optimizer: Any = None, **kwargs) -> None:
        """Called by the trainer between the gradients and the step."""
        for group in optimizer.param_groups:
            share = group["lr"] * self.strength
            for weight in group["params"]:
                if self._start[weight].device != weight.device:  # the trainer moved the model
                    self._start[weight] = self._start[weight].to(weight.device)
                weight.lerp_(self._start[weight], share)
