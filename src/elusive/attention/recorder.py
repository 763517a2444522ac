"""What one forward pass captures of each layer's attention, and how the attention function reports it."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from elusive.errors import ElusiveError

from .masks import KeyRanges
from .reading import Reading
from .tiles import attended_pairs


@dataclasses.dataclass(frozen=True)
class HeadShard:
    """The heads of each layer that this process computes, under tensor parallelism.

    Attributes:
        rank: this process among those that share a layer's heads.
        ranks: how many they are.
        heads: query heads of a layer, over all of them.
        group: their process group.
    """

    rank: int
    ranks: int
    heads: int
    group: Any

    def share(self, layer: int, received_BHT: Tensor) -> Tensor:
        """One layer's sums as this process's part of a sum over ranks, (batch, all heads, tokens).

        Raises:
            ElusiveError: unless the process holds the same number of heads as every other, or all of them.
        """
        held = received_BHT.shape[1]
        if held == self.heads:  # this layer is computed alike by every process (gpt-oss)
            return received_BHT / self.ranks
        if held * self.ranks != self.heads:
            raise ElusiveError(
                f"Layer {layer} has {self.heads} heads, of which this process holds {held}: expected all, or an equal "
                f"part of them for each of {self.ranks} processes."
            )
        whole_BHT = received_BHT.new_zeros(received_BHT.shape[0], self.heads, received_BHT.shape[2])
        whole_BHT[:, self.rank * held : (self.rank + 1) * held] = received_BHT
        return whole_BHT

    def summed(self, part: Tensor) -> Tensor:
        """The sum over the processes."""
        total = part.clone()
        torch.distributed.all_reduce(total, group=self.group)
        return total


class Recorder:
    """What one forward pass reads out, and what it has read so far.

    Args:
        query_weights_BT: 1 where a position is a query, 0 elsewhere (padding included), (batch, tokens).
        include_self: whether a token's attention to itself counts.
        ranked_BT: boolean (batch, tokens); where given, rows are renormalised over these keys (see `Reading`).
        lengths: tokens of each text where several texts are packed in one row, which then see none of each other;
            empty for one text a row.
        weights_LH: weight of each layer's heads in the mean, (layers, heads); None weighs all alike.
        per_head: keep each head's sums as well, in `received_LBHT`.
        layers: after so many layers have reported, the rest of the forward pass is not run (0: all of it is).

    Attributes:
        received_BT: float32, for each key the sum over selected queries of the attention probability, weighted and
            summed over layers and heads.
        received_LBHT: the same of each layer and head, with `per_head`.
        reports: how often each attention module reported, by the module's id.
        shard: the heads that this process computes, where tensor parallelism splits them (`hooks.read_out` sets it);
            sums are then partial until `mean_over_layers` has added them up over the processes.

    Raises:
        ElusiveError: if the weights have another number of axes, or the lengths do not add up to a row.
    """

    def __init__(
        self,
        query_weights_BT: Tensor,
        include_self: bool = True,
        *,
        ranked_BT: Tensor | None = None,
        lengths: Sequence[int] = (),
        weights_LH: Tensor | None = None,
        per_head: bool = False,
        layers: int = 0,
    ) -> None:
        if query_weights_BT.ndim != 2:
            raise ElusiveError(
                f"query_weights_BT: expected (batch, tokens), got shape {tuple(query_weights_BT.shape)}."
            )
        if lengths and query_weights_BT.shape != (1, sum(lengths)):
            raise ElusiveError(
                f"lengths: expected texts of {query_weights_BT.shape[1]} tokens together in one row, got "
                f"{sum(lengths)} tokens and {query_weights_BT.shape[0]} rows."
            )
        self.reading = Reading(query_weights_BT.float(), include_self, ranked_BT)
        # Looked at once, not in each layer: every look at a GPU waits for it.
        self._no_query = Reading(torch.zeros_like(self.reading.query_weights_BT))
        self._chosen_layers = None if weights_LH is None else weights_LH.any(1).tolist()
        self.lengths = tuple(lengths)
        self.weights_LH = weights_LH
        self.per_head = per_head
        self.layers = layers
        self.received_BT = torch.zeros_like(self.reading.query_weights_BT)
        self.received_LBHT: list[Tensor] = []
        self.reports: dict[int, int] = {}
        self.shard: HeadShard | None = None
        self._partial = True
        self._checked_masks: list[Tensor] = []

    @property
    def is_last(self) -> bool:
        """Whether nothing is wanted of the next layer to report but its sums."""
        return self.layers == len(self.reports) + 1

    def next_reading(self) -> Reading:
        """What is read out of the next layer to report: of one without a chosen head, no query."""
        chosen = self._chosen_layers
        if chosen is None or self.per_head or any(chosen[len(self.reports) : len(self.reports) + 1]):
            return self.reading
        return self._no_query

    def add(self, module: torch.nn.Module, received_BHT: Tensor) -> None:
        """Take one layer's sums over queries; raises `Finished` if nothing after it is wanted."""
        layer = len(self.reports)
        self.reports[id(module)] = self.reports.get(id(module), 0) + 1
        received_BHT = received_BHT.to(self.received_BT.device)
        if self.shard is not None:
            received_BHT = self.shard.share(layer, received_BHT)
        if self.weights_LH is None:
            self.received_BT += received_BHT.mean(1)
        elif layer < len(self.weights_LH):
            if received_BHT.shape[1] != self.weights_LH.shape[1]:
                raise ElusiveError(
                    f"Expected {self.weights_LH.shape[1]} query heads in layer {layer}, as the model's configuration "
                    f"says, got {received_BHT.shape[1]}. Heads of this model cannot be chosen: leave layers and heads "
                    "empty."
                )
            self.received_BT += torch.einsum("h,bht->bt", self.weights_LH[layer], received_BHT)
        if self.per_head:
            self.received_LBHT.append(received_BHT)
        if self.layers and len(self.reports) == self.layers:
            raise Finished

    def mean_over_layers(self, model: PreTrainedModel) -> Tensor:
        """Sum over queries of the mean attention over the chosen layers and heads, float32 (batch, tokens).

        Raises:
            ElusiveError: unless every decoder layer of `model`, up to the last one wanted, reported exactly once.
        """
        if self.shard is None and (getattr(model, "tp_size", None) or 1) > 1:
            raise ElusiveError("Each process has seen its own heads only. Run the model by hooks.read_out.")
        config = model.config.get_text_config(decoder=True)
        layers = self.layers or int(config.num_hidden_layers)
        if len(self.reports) == layers and set(self.reports.values()) == {1}:
            self._add_up_processes()
            return self.received_BT / (layers if self.weights_LH is None else self.weights_LH.sum())
        raise ElusiveError(
            f"{type(model).__name__} cannot be scored: expected one report from each of its {layers} layers, got "
            f"{sum(self.reports.values())} from {len(self.reports)} attention modules. {_EVERY_LAYER}"
        )

    def _add_up_processes(self) -> None:
        if self.shard is not None and self._partial:
            self.received_BT = self.shard.summed(self.received_BT)
            self.received_LBHT = [self.shard.summed(received_BHT) for received_BHT in self.received_LBHT]
        self._partial = False

    def check_mask(self, mask: Tensor | KeyRanges | None, tokens: int) -> None:
        """Refuse a mask that lets a token see a later one. Each is looked at once, however many layers share it."""
        # The masks are kept, not their ids: another tensor may get the id of one that is gone.
        if any(mask is checked for checked in self._checked_masks):
            return
        _check_mask(mask, tokens)
        if isinstance(mask, Tensor):
            self._checked_masks.append(mask)


class Finished(Exception):  # noqa: N818 (a signal, not an error)
    """All that is read out has been read: what the forward pass would still compute is not needed."""


_EVERY_LAYER = (
    "A score is a mean over layers, so each must hand out its attention once, through transformers' attention "
    "interface or to a hook. Choose a pair of another family (e.g. Llama, Gemma, Qwen, Mistral, GPT-NeoX)."
)


_RECORDER: ContextVar[Recorder | None] = ContextVar("elusive_recorder", default=None)


@contextlib.contextmanager
def recording(recorder: Recorder) -> Iterator[Recorder]:
    """Let the attention function report to `recorder`: `with recording(recorder): model(...)`.

    The recorder travels as a context variable, not as an argument of the model: some architectures drop keywords
    that they do not know. A forward pass that the recorder ends early (see `Recorder.layers`) ends the block.
    """
    token = _RECORDER.set(recorder)
    try:
        yield recorder
    except Finished:
        pass
    finally:
        _RECORDER.reset(token)


def _check_mask(mask: Tensor | KeyRanges | None, tokens: int) -> None:
    """Right padding without a mask, and keys up to the tile's last query, are exact only if nothing looks ahead."""
    if mask is None or isinstance(mask, KeyRanges):  # ranges are made by `recorded_mask`, which looks at every pair
        return
    if not isinstance(mask, Tensor):
        raise ElusiveError(f"Expected an attention mask as a tensor, got {type(mask).__name__}. Give it as 0s and 1s.")
    if mask.ndim != 4 or tuple(mask.shape[-2:]) != (tokens, tokens):
        raise ElusiveError(f"Expected an attention mask (batch, heads, {tokens}, {tokens}), got {tuple(mask.shape)}.")
    if attended_pairs(mask).triu(1).any():
        raise ElusiveError("Expected causal attention, but a token's mask lets it see a later one.")
