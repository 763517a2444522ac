"""Collects what the layers of one forward pass report of their attention.

Axes: L layers, B batch, M weightings of the queries, T tokens, H heads.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from elusive.errors import ElusiveError

from .masks import KeyRanges, check_causal
from .request import CaptureRequest

WEIGHTINGS_AT_ONCE = 16
"""Of which a layer's sums of all heads are in memory together; more of them take the rows once more."""


@dataclasses.dataclass(frozen=True)
class HeadShard:
    """The heads of each layer that this process computes, under tensor parallelism.

    Attributes:
        rank: index of this process among those that share a layer's heads.
        ranks: number of these processes.
        heads: query heads of a layer, over all processes.
        group: their process group.
    """

    rank: int
    ranks: int
    heads: int
    group: Any

    def share(self, layer: int, received_BHMT: Tensor) -> Tensor:
        """One layer's sums as this process's part of a sum over ranks, (batch, all heads, weightings, tokens).

        Raises:
            ElusiveError: unless the process holds the same number of heads as every other, or all of them.
        """
        held = received_BHMT.shape[1]
        if held == self.heads:  # every process computes the whole of this layer (gpt-oss)
            return received_BHMT / self.ranks
        if held * self.ranks != self.heads:
            raise ElusiveError(
                f"Layer {layer} has {self.heads} heads, of which this process holds {held}: expected all, or an equal "
                f"part of them for each of {self.ranks} processes."
            )
        whole_BHMT = received_BHMT.new_zeros(received_BHMT.shape[0], self.heads, *received_BHMT.shape[2:])
        whole_BHMT[:, self.rank * held : (self.rank + 1) * held] = received_BHMT
        return whole_BHMT

    def summed(self, part: Tensor) -> Tensor:
        """The sum over the processes."""
        total = part.clone()
        torch.distributed.all_reduce(total, group=self.group)
        return total


class Recorder:
    """What one forward pass captures, and what it has captured so far.

    Args:
        query_weights: 1 where a position is a query, 0 elsewhere (padding included), (batch, tokens); or several such
            weightings, (batch, weightings, tokens), which all come out of the one pass.
        include_self: whether a token's attention to itself counts.
        ranked_BT: boolean (batch, tokens); where given, queries are renormalised over these keys.
        lengths: tokens of each text where several texts are packed into one sequence, in which no text sees another;
            empty where each text has a sequence of its own.
        weights_LH: weight of each layer's heads in the mean, (layers, heads); None weighs all heads equally.
        per_head: keep each head's sums as well, in `received_of_layers`.
        layers: number of layers that must report; the forward pass ends with the last of them (0: it runs whole).

    Attributes:
        received: float32, of the shape of `query_weights`: for each key the sum over selected queries of the attention
            probability, weighted and summed over layers and heads.
        received_of_layers: with `per_head`, these sums for each layer, each with an axis of heads after the batch's.
        reports: how often each attention module reported, by the module's id.
        shard: the heads that this process computes, where tensor parallelism splits them (`capture` sets it); sums
            are then partial until `mean_over_layers` has added them up over the processes.

    Raises:
        ElusiveError: if the weights have another number of axes, or the lengths do not add up to the sequence.
    """

    def __init__(
        self,
        query_weights: Tensor,
        include_self: bool = True,
        *,
        ranked_BT: Tensor | None = None,
        lengths: Sequence[int] = (),
        weights_LH: Tensor | None = None,
        per_head: bool = False,
        layers: int = 0,
    ) -> None:
        if query_weights.ndim not in (2, 3):
            raise ElusiveError(
                "query_weights: expected (batch, tokens) or (batch, weightings, tokens), got shape "
                f"{tuple(query_weights.shape)}."
            )
        self.shape_BT = query_weights.shape[0], query_weights.shape[-1]
        if lengths and self.shape_BT != (1, sum(lengths)):
            raise ElusiveError(
                f"lengths: expected texts of {self.shape_BT[1]} tokens together in one sequence, got "
                f"{sum(lengths)} tokens and {self.shape_BT[0]} sequences."
            )
        self._is_one_weighting = query_weights.ndim == 2
        weights_BMT = query_weights.float().view(self.shape_BT[0], -1, self.shape_BT[1])
        # Made once, not in each layer: the CPU waits for the GPU whenever it needs a value from it.
        self._requests = CaptureRequest(weights_BMT, include_self, ranked_BT).in_parts_of(WEIGHTINGS_AT_ONCE)
        self._no_query = CaptureRequest(torch.zeros_like(weights_BMT[:, :1]))
        self._chosen_layers = None if weights_LH is None else weights_LH.any(1).tolist()
        self.lengths = tuple(lengths)
        self.weights_LH = weights_LH
        self.per_head = per_head
        self.layers = layers
        self._received_BMT = torch.zeros_like(weights_BMT)
        self._received_LBHMT: list[Tensor] = []
        self.reports: dict[int, int] = {}
        self.shard: HeadShard | None = None
        self._partial = True
        self._checked_masks: list[Tensor] = []

    @property
    def received(self) -> Tensor:
        """The sums so far, (batch, tokens) or (batch, weightings, tokens), like the weights."""
        return self._received_BMT.squeeze(1) if self._is_one_weighting else self._received_BMT

    @property
    def received_of_layers(self) -> list[Tensor]:
        """Each layer's sums of its heads, (batch, heads, tokens) or (batch, heads, weightings, tokens)."""
        layers = self._received_LBHMT
        return [received.squeeze(2) for received in layers] if self._is_one_weighting else layers

    @property
    def is_last(self) -> bool:
        """Whether the next layer to report needs only its sums, not its output."""
        return self.layers == len(self.reports) + 1

    def next_requests(self) -> tuple[CaptureRequest, ...]:
        """What to capture of the next layer to report, part by part: no query, if none of its heads is chosen."""
        chosen = self._chosen_layers
        if chosen is None or self.per_head or any(chosen[len(self.reports) : len(self.reports) + 1]):
            return self._requests
        return (self._no_query,)

    def add(self, module: torch.nn.Module, sums: Iterable[Tensor]) -> None:
        """Take one layer's sums over queries; raises `Finished` after the last layer that is needed.

        Args:
            module: the layer's attention module.
            sums: float32 (batch, heads, weightings, tokens), one for each of `next_requests`; those of one part at a
                time are in memory if they are computed as they are taken.
        """
        layer, start, per_head = len(self.reports), 0, []
        for received_BHMT in sums:
            received_BHMT = received_BHMT.to(self._received_BMT.device)
            if self.shard is not None:
                received_BHMT = self.shard.share(layer, received_BHMT)
            end = start + received_BHMT.shape[2]
            self._received_BMT[:, start:end] += self._over_heads(layer, received_BHMT)
            start = end
            if self.per_head:
                per_head.append(received_BHMT)
        if per_head:
            self._received_LBHMT.append(torch.cat(per_head, 2))
        self.reports[id(module)] = self.reports.get(id(module), 0) + 1
        if self.layers and len(self.reports) == self.layers:
            raise Finished

    def _over_heads(self, layer: int, received_BHMT: Tensor) -> Tensor:
        """One layer's part of the sum over layers: the mean over its heads, or the weighted sum of the chosen ones."""
        if self.weights_LH is None:
            return received_BHMT.mean(1)
        if layer >= len(self.weights_LH):
            return torch.zeros_like(received_BHMT[:, 0])
        if received_BHMT.shape[1] != self.weights_LH.shape[1]:
            raise ElusiveError(
                f"Expected {self.weights_LH.shape[1]} query heads in layer {layer}, as the model's configuration "
                f"says, got {received_BHMT.shape[1]}. Heads of this model cannot be chosen: leave layers and heads "
                "empty."
            )
        return torch.einsum("h,bhmt->bmt", self.weights_LH[layer], received_BHMT)

    def mean_over_layers(self, model: PreTrainedModel) -> Tensor:
        """Sum over queries of the mean attention over the chosen layers and heads, float32, of the weights' shape.

        Raises:
            ElusiveError: unless every decoder layer of `model`, up to the last one needed, reported exactly once.
        """
        weight = self._weight_of_layers(model)
        return self.received / weight

    def _weight_of_layers(self, model: PreTrainedModel) -> Tensor | int:
        """Add up the processes; gives what the sums over layers are to be divided by."""
        if self.shard is None and (getattr(model, "tp_size", None) or 1) > 1:
            raise ElusiveError("Each process has seen its own heads only. Run the model by attention.capture.")
        config = model.config.get_text_config(decoder=True)
        layers = self.layers or int(config.num_hidden_layers)
        if len(self.reports) == layers and set(self.reports.values()) == {1}:
            self._add_up_processes()
            return layers if self.weights_LH is None else self.weights_LH.sum()
        raise ElusiveError(
            f"{type(model).__name__} cannot be scored: expected one report from each of its {layers} layers, got "
            f"{sum(self.reports.values())} from {len(self.reports)} attention modules. "
            "A score is a mean over layers, so each must hand out its attention once, through transformers' attention "
            "interface or to a hook. Choose a pair of another family (e.g. Llama, Gemma, Qwen, Mistral, GPT-NeoX)."
        )

    def _add_up_processes(self) -> None:
        if self.shard is not None and self._partial:
            self._received_BMT = self.shard.summed(self._received_BMT)
            self._received_LBHMT = [self.shard.summed(received_BHMT) for received_BHMT in self._received_LBHMT]
        self._partial = False

    def check_mask(self, mask: Tensor | KeyRanges | None, tokens: int) -> None:
        """Refuse a mask that lets a token see a later one. Each mask is checked once, though layers share it."""
        # The masks are kept, not their ids: another tensor may get the id of one that is gone.
        if any(mask is checked for checked in self._checked_masks):
            return
        check_causal(mask, tokens)
        if isinstance(mask, Tensor):
            self._checked_masks.append(mask)


class Finished(Exception):  # noqa: N818 (a signal, not an error)
    """Everything that was requested has been captured: the rest of the forward pass is not needed."""


_RECORDER: ContextVar[Recorder | None] = ContextVar("elusive_recorder", default=None)


def current_recorder() -> Recorder | None:
    """The recorder of the surrounding `recording` block, if there is one."""
    return _RECORDER.get()


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
