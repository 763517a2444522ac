"""Windows in batches, and the forward pass over each batch that captures attention.

Axes: B sequences, T tokens, N tokens of a window; L layers, H heads; M sentences that hold a query of the window.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from elusive.attention import Recorder, capture
from elusive.config.run import ScoreSettings
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

    @classmethod
    def of(cls, base: PreTrainedModel, settings: ScoreSettings) -> "Batching":
        """As the settings say, or as suits the model's device."""
        return cls(settings.max_batch_tokens or _default_budget(base), settings.packed, RotaryRule.of(base.config))

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


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the windows of a batch stand: each in a padded row of its own, or one after the other in a single row."""

    lengths: tuple[int, ...]
    """Tokens that run for each window."""
    places: tuple[tuple[int, slice], ...]
    """The row of each window's tokens, and where they stand in it."""
    packed: bool
    """Whether all stand in one row."""

    @classmethod
    def of(cls, batch: Sequence[Window], batching: Batching) -> "Layout":
        """The layout of some windows."""
        lengths = tuple(batching.tokens(window) for window in batch)
        ends = itertools.accumulate(lengths)
        starts = [end - length if batching.packed else 0 for length, end in zip(lengths, ends, strict=True)]
        places = tuple(
            (0 if batching.packed else row, slice(start, start + len(window.positions)))
            for row, (start, window) in enumerate(zip(starts, batch, strict=True))
        )
        return cls(lengths, places, batching.packed)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and tokens."""
        return (1, sum(self.lengths)) if self.packed else (len(self.lengths), max(self.lengths))

    @property
    def packed_lengths(self) -> tuple[int, ...]:
        """Tokens of each text of the single row; none where each has a row of its own."""
        return self.lengths if self.packed else ()

    def positions(self) -> torch.Tensor:
        """Of the single row, the position of each token in its window, int64 (1, tokens)."""
        return torch.cat([torch.arange(length) for length in self.lengths])[None]

    def spread(self, values: Sequence[np.ndarray], fill: float) -> torch.Tensor:
        """A value for each token of the batch, of which each window gives those of its own, (tokens of it,)."""
        spread_BT = np.full(self.shape, fill, dtype=values[0].dtype)
        for place, of_window in zip(self.places, values, strict=True):
            spread_BT[place] = of_window
        return torch.from_numpy(spread_BT)

    @contextlib.contextmanager
    def enough_memory(self) -> Iterator[None]:
        """Run the block, and say what to do where memory is too small for the batch.

        Raises:
            ElusiveError: if it is.
        """
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise ElusiveError(
                f"Out of memory on a batch of {self.shape[0]} x {self.shape[1]} tokens. Lower score.max_batch_tokens "
                "(or score.max_length, if it is one text) and run again; finished shards are kept."
            ) from error


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
    layout = Layout.of(batch, batching)
    device = devices.decoder_device(base)
    ranked = [_ranked(texts[window.text], window) for window in batch]
    groups = [_groups(texts[window.text], window) for window in batch]
    ranked_BT, groups_BT = layout.spread(ranked, False), layout.spread(groups, -1)
    weights_BT = layout.spread([window.is_query.astype(np.float32) for window in batch], 0)
    renormalised, each = texts[batch[0].text].ranked is not None, texts[batch[0].text].rows is not None
    with layout.enough_memory():
        recorder = Recorder(
            weights_BT.to(device),
            plan.include_self,
            ranked_BT=ranked_BT.to(device) if renormalised else None,
            groups_BT=groups_BT.to(device) if each else None,
            lengths=layout.packed_lengths,
            weights_LH=None if plan.weights_LH is None else plan.weights_LH.to(device),
            per_head=plan.per_head,
            layers=plan.layers,
        )
        run(texts, batch, base, recorder, layout, batching)
        means_BT = recorder.mean_over_layers(base).cpu().numpy()
        rows_MBT = recorder.groups_over_layers(base).cpu().numpy()
        heads_LBHT = _stacked(recorder, base) if plan.per_head else None
    rows = [int(of_window.max(initial=-1)) + 1 for of_window in groups]
    return [
        Received(
            means_BT[sequence, part],
            None if heads_LBHT is None else heads_LBHT[:, sequence, :, part],
            rows_MBT[:held, sequence, part],
        )
        for (sequence, part), held in zip(layout.places, rows, strict=True)
    ]


def run(
    texts: Sequence[TokenisedText],
    batch: Sequence[Window],
    base: PreTrainedModel,
    recorder: Recorder,
    layout: Layout,
    batching: Batching,
) -> Any:
    """Run one batch of windows through the decoder; its output, None if the recorder ended the pass early."""
    device = devices.decoder_device(base)
    ids_BT = layout.spread([texts[window.text].token_ids[window.positions].astype(np.int64) for window in batch], 0)
    positions = {"position_ids": layout.positions().to(device)} if layout.packed else {}
    with torch.inference_mode():
        if batching.rule.keeps_state(max(layout.lengths)):
            _forget_longer_texts(base, device)
        return capture(base, recorder, ids_BT.to(device), **positions)


def _ranked(text: TokenisedText, window: Window) -> np.ndarray:
    """Whether each token of a window may be ranked; none where rows are not renormalised."""
    return np.zeros(len(window.positions), dtype=bool) if text.ranked is None else text.ranked[window.positions]


def _groups(text: TokenisedText, window: Window) -> np.ndarray:
    """The sentence of each query of a window, from 0 for the first that holds one; -1 elsewhere."""
    if text.rows is None:
        return np.full(len(window.positions), -1)
    rows_N = text.rows.rows_T[window.positions]
    return np.where(window.is_query, np.searchsorted(rows_in(text.rows, window), rows_N), -1)


def _default_budget(base: PreTrainedModel) -> int:
    """Tokens of a batch: on a CPU its states should fit the caches (1 MiB of them), a GPU wants much to do at once."""
    if devices.decoder_device(base).type != "cpu":
        return 16_384
    return max(1024, (1 << 18) // base.config.get_text_config(decoder=True).hidden_size)


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
