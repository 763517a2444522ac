"""Windows in batches, and the forward pass over each batch that captures attention.

Axes: B sequences, M weightings of the queries, T tokens, N tokens of a window; L layers, H heads.
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
from elusive.config.scoring import ScoreSettings
from elusive.errors import ElusiveError
from elusive.models import devices
from elusive.models.batching import length_batches, packed_batches
from elusive.models.rotary import RotaryRule

from .windows import TokenisedText, Window, weightings_of


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

    def spread_rows(self, rows: Sequence[np.ndarray]) -> torch.Tensor:
        """Rows of values of each window, (rows of it, tokens of it), as (batch, most rows, tokens); 0 elsewhere."""
        spread_BMT = np.zeros((self.shape[0], max(map(len, rows)), self.shape[1]), dtype=rows[0].dtype)
        for (sequence, part), of_window in zip(self.places, rows, strict=True):
            spread_BMT[sequence, : len(of_window), part] = of_window
        return torch.from_numpy(spread_BMT)

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
    """What the tokens of one window receive from its queries of one query set."""

    sums_MN: np.ndarray
    """Summed over the queries of each of its weightings (see `weightings_of`) and averaged over the chosen heads,
    float32 (weightings, tokens)."""
    sums_LHN: np.ndarray | None
    """The sums over all its queries of each head, (layers, heads, tokens), where they are wanted."""


def forward(
    texts: Sequence[TokenisedText],
    batch: Sequence[Window],
    base: PreTrainedModel,
    plan: CapturePlan,
    batching: Batching,
) -> list[list[Received]]:
    """Run one batch of windows; gives what the tokens of each receive, for each query set.

    Raises:
        ElusiveError: if memory is too small for the batch, or as `capture`.
    """
    layout = Layout.of(batch, batching)
    device = devices.decoder_device(base)
    ranked = [_ranked(texts[window.text], window) for window in batch]
    ranked_BT, renormalised = layout.spread(ranked, False), texts[batch[0].text].ranked is not None
    weightings = [weightings_of(texts[window.text], window) for window in batch]
    weights_BMT = layout.spread_rows([np.concatenate(sets).astype(np.float32) for sets in weightings])
    with layout.enough_memory():
        recorder = Recorder(
            weights_BMT.to(device),
            plan.include_self,
            ranked_BT=ranked_BT.to(device) if renormalised else None,
            lengths=layout.packed_lengths,
            weights_LH=None if plan.weights_LH is None else plan.weights_LH.to(device),
            per_head=plan.per_head,
            layers=plan.layers,
        )
        run(texts, batch, base, recorder, layout, batching)
        sums_BMT = recorder.mean_over_layers(base).cpu().numpy()
        heads_LBHMT = _stacked(recorder, base) if plan.per_head else None
    return [
        _of_sets(
            [len(weightings_MN) for weightings_MN in sets],
            sums_BMT[sequence, :, part],
            None if heads_LBHMT is None else heads_LBHMT[:, sequence, :, :, part],
        )
        for (sequence, part), sets in zip(layout.places, weightings, strict=True)
    ]


def _of_sets(counts: Sequence[int], sums_MN: np.ndarray, heads_LHMN: np.ndarray | None) -> list[Received]:
    """One window's sums by query set; each has so many of the weightings, one set after the other."""
    parts = [slice(end - count, end) for count, end in zip(counts, itertools.accumulate(counts), strict=True)]
    return [Received(sums_MN[part], None if heads_LHMN is None else heads_LHMN[:, :, part].sum(2)) for part in parts]


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
    """Each head's sums, (layers, batch, heads, weightings, tokens)."""
    counts = sorted({received_BHMT.shape[1] for received_BHMT in recorder.received_of_layers})
    if len(counts) > 1:
        raise ElusiveError(
            f"The layers of {type(base).__name__} have different numbers of heads ({', '.join(map(str, counts))}), "
            "which one array cannot hold. Score it without per_head."
        )
    return torch.stack(recorder.received_of_layers).cpu().numpy()
