"""Losses in which labels do not weigh alike: by given weights, or by what they exceed a reference model's loss.

Axes: B rows of a batch, T tokens, V vocabulary.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name that torch gives it)
from torch import Tensor

from .sequences import pad_right


@dataclasses.dataclass(frozen=True, eq=False)
class LossWeights:
    """How much each label of a batch weighs. An object: what moves batches would take a mapping apart.

    Attributes:
        weights_BT: float32, of each token as a label; 0 for tokens that are none.
        text_BT: int64, the number of the row among whose labels the token may be chosen; -1 for tokens that count as
            they are.
        reference_BT: float32, each label's loss in the reference model; None where nothing is chosen.
        selected_ratio: share of a row's labels that is chosen.
        total: what all labels of the batch weigh together, those that will not be chosen left out.
    """

    weights_BT: Tensor
    text_BT: Tensor
    reference_BT: Tensor | None
    selected_ratio: float
    total: float

    def to(self, device: Any, non_blocking: bool = False) -> "LossWeights":
        """The same on another device; accelerate calls this as it moves a batch."""
        moved = {
            name: value.to(device, non_blocking=non_blocking)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return dataclasses.replace(self, **moved)

    @property
    def plain(self) -> bool:
        """Whether the labels that are not ignored all weigh 1."""
        return self.reference_BT is None and bool(((self.weights_BT == 0) | (self.weights_BT == 1)).all())

    def loss(
        self, outputs: Any, labels_BT: Tensor, num_items_in_batch: Any = None, *, label_smoothing: float = 0.0
    ) -> Tensor:
        """The weighted cross-entropy; a compute_loss_func of transformers' Trainer.

        Args:
            outputs: with `logits`, (rows, tokens, vocabulary).
            labels_BT: int64, -100 where ignored.
            num_items_in_batch: what all labels of the step weigh (None: those of this batch).
            label_smoothing: as in transformers' TrainingArguments.
        """
        losses_BT = losses_of_labels(outputs["logits"], labels_BT, label_smoothing)
        weights_BT = self.weights_BT.to(losses_BT.device)
        if self.reference_BT is not None:
            reference_BT, text_BT = self.reference_BT.to(losses_BT.device), self.text_BT.to(losses_BT.device)
            weights_BT = weights_BT * chosen(losses_BT.detach(), reference_BT, text_BT, self.selected_ratio)
        divisor = self.total if num_items_in_batch is None else num_items_in_batch
        return (losses_BT * weights_BT).sum() / divisor


def losses_of_labels(logits_BTV: Tensor, labels_BT: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The cross-entropy of each token as a label, float32 (rows, tokens); 0 where ignored, and for first tokens."""
    logits_NV = logits_BTV[:, :-1].float().flatten(0, 1)
    labels_N = labels_BT[:, 1:].to(logits_BTV.device).flatten()
    losses_N = F.cross_entropy(logits_NV, labels_N, reduction="none", label_smoothing=label_smoothing)
    return F.pad(losses_N.view(len(labels_BT), -1), (1, 0))


def selected_labels(candidates: int, ratio: float) -> int:
    """How many of a row's labels are chosen: their share, rounded up."""
    return math.ceil(round(ratio * candidates, 6))


def chosen(losses_BT: Tensor, reference_BT: Tensor, text_BT: Tensor, ratio: float) -> Tensor:
    """Which labels count: in each row those with the largest excess loss, and all that are not to choose from.

    Rows choose among their own labels, so that the choice does not depend on what shares the batch.

    Args:
        losses_BT: the trained model's loss of each label.
        reference_BT: the reference model's.
        text_BT: the number of the row that each label belongs to; -1 for labels that always count.
        ratio: share of the labels.

    Returns:
        Boolean, the shape of `losses_BT`. Where the excess is the same to three decimals, as it is everywhere in the
        first step if the reference is the model itself, those with the largest losses.

    Reference:
        Lin et al. 2024, Rho-1, Equations 3 and 4, where a batch chooses as a whole.
    """
    counts_BT = text_BT < 0
    # Rounding differs with how a step is computed, and must not choose.
    losses_N, excess_N = losses_BT.flatten(), ((losses_BT - reference_BT) * 1000).round().flatten()
    for number in text_BT[~counts_BT].unique().tolist():
        places = (text_BT == number).flatten().nonzero()[:, 0]
        places = places[losses_N[places].argsort(descending=True, stable=True)]
        places = places[excess_N[places].argsort(descending=True, stable=True)]
        counts_BT.view(-1)[places[: selected_labels(len(places), ratio)]] = True
    return counts_BT


_REFERENCE_TOKENS = 4096


def reference_losses(model: Any, rows: Sequence[np.ndarray], device: torch.device) -> list[np.ndarray]:
    """Each label's loss in a model, in evaluation mode.

    Args:
        model: a causal language model.
        rows: int32 token arrays, (tokens,).
        device: where its inputs go.

    Returns:
        float32 (tokens,) of each row, 0 for the first token.
    """
    by_length = sorted(range(len(rows)), key=lambda number: -len(rows[number]))
    losses: list[np.ndarray] = [np.empty(0, np.float32)] * len(rows)
    was_training = model.training
    model.eval()
    while by_length:
        count = max(1, _REFERENCE_TOKENS // len(rows[by_length[0]]))
        numbers, by_length = by_length[:count], by_length[count:]
        batch = pad_right([rows[number] for number in numbers])
        with torch.no_grad():
            logits_BTV = model(input_ids=batch["input_ids"].to(device), use_cache=False).logits
            losses_BT = losses_of_labels(logits_BTV, batch["labels"].to(logits_BTV.device)).cpu().numpy()
        for number, losses_T in zip(numbers, losses_BT, strict=True):
            losses[number] = losses_T[: len(rows[number])].astype(np.float32)
    model.train(was_training)
    return losses
