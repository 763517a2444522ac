"""Windows in batches, and the forward pass over each batch.

Axes: B sequences, T tokens, N tokens of a window; L layers, H heads; M sentences that hold a query of the window.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from elusive.attention import Recorder, capture
from elusive.errors import ElusiveError
from elusive.models import devices
from elusive.models.batching import length_batches, packed_batches
from elusive.models.rotary import RotaryRule

from .windows import TokenisedText, Window, rows_in


@dataclasses.dataclass(frozen=True)
class CapturePlan:
    """What to capture of a model's attention."""

    include_self: bool
    """Whether a token's attention to itself counts."""
    weights_LH: torch.Tensor | None
    """1 for each chosen head, up to the last layer that has one; None weighs all equally."""
    layers: int
    """Layers that run."""
    per_head: bool
    """Whether each head's sums are kept."""


@dataclasses.dataclass(frozen=True)
class Batching:
    """How windows share forward passes."""

    budget: int
    """Tokens of a batch, padding included."""
    packed: bool
    """Whether the windows of a batch stand in one row, rather than each in a padded row of its own."""
    rule: RotaryRule
    """Which of them may."""

    def batches(self, windows: Sequence[Window]) -> list[list[int]]:
        """Indices of windows that run together, the longest first among those that may share a pass."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for index in sorted(range(len(windows)), key=lambda index: -windows[index].length):
            groups.setdefault(self.rule.group(windows[index].length), []).append(index)
        together = packed_batches if self.packed else length_batches
        return [
            [group[number] for number in numbers]
            for group in groups.values()
            for numbers in together([self.tokens(windows[index]) for index in group], self.budget)
        ]

    def tokens(self, window: Window) -> int:
        """Tokens that run for a window."""
        return self.rule.tokens_to_run(len(window.positions), window.length)


@dataclasses.dataclass(frozen=True, eq=False)
class Received:
    """What the tokens of one window receive from its queries."""

    sums_N: np.ndarray
    """Summed over queries and averaged over the chosen heads, float32 (tokens,)."""
    sums_LHN: np.ndarray | None
    """The sums of each head, (layers, heads, tokens), where they are wanted."""
    sums_MN: np.ndarray
    """Those over the queries of each sentence that holds one (see `rows_in`), (sentences, tokens); none unless the
    texts have rows."""


def forward(
    texts: Sequence[TokenisedText],
    batch: Sequence[Window],
    base: PreTrainedModel,
    plan: CapturePlan,
    batching: Batching,
) -> list[Received]:
    """Run one batch of windows; gives what the tokens of each receive.

    Raises:
        ElusiveError: if memory is too small for the batch, or as `capture`.
    """
    lengths, packed = [batching.tokens(window) for window in batch], batching.packed
    shape = (1, sum(lengths)) if packed else (len(batch), max(lengths))
    starts = [end - length if packed else 0 for length, end in zip(lengths, itertools.accumulate(lengths), strict=True)]
    places = [
        (0 if packed else row, slice(start, start + len(window.positions)))
        for row, (start, window) in enumerate(zip(starts, batch, strict=True))
    ]
    ids_BT, weights_BT, inside_BT = np.zeros(shape, np.int64), np.zeros(shape, np.float32), np.zeros(shape, np.int64)
    ranked_BT, groups_BT = np.zeros(shape, dtype=bool), np.full(shape, -1, dtype=np.int64)
    for place, start, length, window in zip(places, starts, lengths, batch, strict=True):
        text = texts[window.text]
        ids_BT[place] = text.token_ids[window.positions]
        weights_BT[place] = window.is_query
        inside_BT[place[0], start : start + length] = np.arange(length)
        ranked_BT[place] = False if text.ranked is None else text.ranked[window.positions]
        groups_BT[place] = _groups(text, window)
    renormalised, each = texts[batch[0].text].ranked is not None, texts[batch[0].text].rows is not None
    device = devices.decoder_device(base)
    try:
        recorder = Recorder(
            torch.from_numpy(weights_BT).to(device),
            plan.include_self,
            ranked_BT=torch.from_numpy(ranked_BT).to(device) if renormalised else None,
            groups_BT=torch.from_numpy(groups_BT).to(device) if each else None,
            lengths=lengths if packed else (),
            weights_LH=None if plan.weights_LH is None else plan.weights_LH.to(device),
            per_head=plan.per_head,
            layers=plan.layers,
        )
        positions = {"position_ids": torch.from_numpy(inside_BT).to(device)} if packed else {}
        with torch.inference_mode():
            if batching.rule.keeps_state(max(lengths)):
                _forget_longer_texts(base, device)
            capture(base, recorder, torch.from_numpy(ids_BT).to(device), **positions)
        means_BT = recorder.mean_over_layers(base).cpu().numpy()
        rows_MBT = recorder.groups_over_layers(base).cpu().numpy()
        heads_LBHT = _stacked(recorder, base) if plan.per_head else None
    except torch.OutOfMemoryError as error:
        raise ElusiveError(
            f"Out of memory on a batch of {shape[0]} x {shape[1]} tokens. Lower score.max_batch_tokens "
            "(or score.max_length, if it is one text) and run again; finished shards are kept."
        ) from error
    rows = [int(groups_BT[place].max(initial=-1)) + 1 for place in places]
    return [
        Received(
            means_BT[sequence, part],
            None if heads_LBHT is None else heads_LBHT[:, sequence, :, part],
            rows_MBT[:held, sequence, part],
        )
        for (sequence, part), held in zip(places, rows, strict=True)
    ]


def _groups(text: TokenisedText, window: Window) -> np.ndarray:
    """The sentence of each query of a window, from 0 for the first that holds one; -1 elsewhere."""
    if text.rows is None:
        return np.full(len(window.positions), -1)
    rows_N = text.rows.rows_T[window.positions]
    return np.where(window.is_query, np.searchsorted(rows_in(text.rows, window), rows_N), -1)


def _forget_longer_texts(base: PreTrainedModel, device: torch.device) -> None:
    """Let one token run up to the first layer: transformers then goes back to the frequencies of short texts."""
    capture(
        base, Recorder(torch.zeros(1, 1, device=device), layers=1), torch.zeros(1, 1, dtype=torch.long, device=device)
    )


def _stacked(recorder: Recorder, base: PreTrainedModel) -> np.ndarray:
    """Each head's sums, (layers, batch, heads, tokens)."""
    counts = sorted({received_BHT.shape[1] for received_BHT in recorder.received_LBHT})
    if len(counts) > 1:
        raise ElusiveError(
            f"The layers of {type(base).__name__} have different numbers of heads ({', '.join(map(str, counts))}), "
            "which one array cannot hold. Score it without per_head."
        )
    return torch.stack(recorder.received_LBHT).cpu().numpy()
