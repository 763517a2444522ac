"""An attention function for transformers that also reports how much attention each token receives.

Axes: L layers, B batch, T tokens, H heads, G key-value heads, Q queries, K keys, D channels.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from .errors import ElusiveError
from .flex import column_sums, fused_attention
from .masks import KeyRanges, key_ranges
from .tiles import Reading, attended_pairs, received_by_rows, tiled_attention

ATTENTION = "elusive"
"""The attn_implementation under which `recorded_attention` is registered with transformers."""


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


def recorded_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | KeyRanges | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor | None, None]:
    """The attention function that transformers calls in every layer, in place of `sdpa`.

    Right padding needs no attention mask here: attention is causal, so no token of the text sees the padding behind
    it, and padding rows have query weight 0.

    Args:
        module: the layer's attention module.
        query: (batch, heads, tokens, channels).
        key: (batch, key-value heads, tokens, channels).
        value: (batch, key-value heads, tokens, value channels).
        attention_mask: what `recorded_mask` made: None for plain causal attention, on a GPU the run of keys that each
            query attends to, else boolean (True = attend), (batch or 1, 1, tokens, tokens); float masks are added to
            the scores. Windows and chunks come this way.
        dropout: attention dropout; must be 0.
        scaling: factor of the scores (default: 1 / sqrt(channels)).
        softcap: Gemma 2's soft cap of the scores.
        s_aux: gpt-oss's sinks, one more logit for each head in the softmax's denominator, (heads,).
        is_causal: transformers' flag; None reads the module's.
        **kwargs: what else the architecture passes.

    Returns:
        The output (batch, tokens, heads, value channels), and None for the probabilities.

    Raises:
        ElusiveError: outside `recording`, or if the call is something other than causal self-attention of whole
            texts in evaluation mode.
    """
    recorder = _RECORDER.get()
    if recorder is None:
        raise ElusiveError(
            f"The attention '{ATTENTION}' only runs inside elusive.attention.recording(...). To train or generate, "
            "load the model without naming an attention."
        )
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    _check_call(recorder, query, key, causal or attention_mask is not None, dropout, kwargs)
    recorder.check_mask(attention_mask, query.shape[2])
    scaling = float(query.shape[-1] ** -0.5 if scaling is None else scaling)
    reading = recorder.next_reading().to(query.device)
    options: dict[str, Any] = {"scaling": scaling, "softcap": softcap, "sinks_H": s_aux}
    options["with_output"] = not recorder.is_last
    if isinstance(attention_mask, KeyRanges) and not on_gpu(query.device):
        attention_mask = attention_mask.dense()  # a device map put this layer elsewhere
    if recorder.lengths and attention_mask is None and on_gpu(query.device):
        attention_mask = KeyRanges.causal(query.shape[2], query.device).packed(recorder.lengths)
    if not recorder.lengths or isinstance(attention_mask, KeyRanges):
        output, received_BHT = _attention_and_sums(reading, query, key, value, attention_mask, **options)
    else:
        outputs, sums, start = [], [], 0
        for end in itertools.accumulate(recorder.lengths):
            mask = None if attention_mask is None else attention_mask[:, :, start:end, start:end]
            q, k, v = (x[:, :, start:end] for x in (query, key, value))
            part_BTHD, part_BHT = _attention_and_sums(reading.part(start, end), q, k, v, mask, **options)
            outputs.append(part_BTHD)
            sums.append(part_BHT)
            start = end
        received_BHT = torch.cat(sums, dim=2)
        output = None if recorder.is_last else torch.cat(outputs, dim=1)
    recorder.add(module, received_BHT)
    return output, None


def _attention_and_sums(
    reading: Reading,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | KeyRanges | None,
    *,
    scaling: float,
    softcap: float | None,
    sinks_H: Tensor | None,
    with_output: bool,
) -> tuple[Tensor | None, Tensor]:
    """One batch's output (batch, tokens, heads, channels), if wanted, and sums over queries (batch, heads, tokens)."""
    options: dict[str, Any] = {"scaling": scaling, "softcap": softcap, "sinks_H": sinks_H}
    gpu, groups = on_gpu(query.device), query.shape[1] // key.shape[1]
    # torch's fused kernels have neither cap nor sinks, fall back to the whole map where channels differ and, on a GPU,
    # in float32 where heads share keys; and there they would need the whole of a mask.
    fits = softcap is None and sinks_H is None and key.shape[-1] == value.shape[-1]
    if gpu:
        fits = fits and mask is None and (groups == 1 or query.dtype != torch.float32)
        mask = KeyRanges.causal(query.shape[2], query.device) if mask is None else mask
    if reading.few and fits:
        dense, output = mask if isinstance(mask, Tensor) else None, None
        if with_output:
            output = torch.nn.functional.scaled_dot_product_attention(
                query, key, value, dense, is_causal=dense is None, scale=scaling, enable_gqa=groups > 1
            ).transpose(1, 2)
        if isinstance(mask, KeyRanges):
            return output, column_sums(reading, query, key, mask, scaling=scaling)
        return output, received_by_rows(reading, query, key, dense, scaling)
    if isinstance(mask, KeyRanges):
        if not with_output and sinks_H is None:
            return None, column_sums(reading, query, key, mask, scaling=scaling, softcap=softcap)
        return fused_attention(reading, query, key, value, mask, **options)
    # On a GPU, tiles are for the masks that flex_attention does not get: added to the scores, or broken runs of keys.
    return tiled_attention(reading, query, key, value, mask, with_output=with_output, **options)


def on_gpu(device: torch.device) -> bool:
    """Whether attention there goes through flex_attention, which compiles its sums for CUDA alone."""
    return device.type == "cuda"


def recorded_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    *,
    device: torch.device | str = "cpu",
    **options: Any,
) -> Tensor | KeyRanges | None:
    """The mask function that transformers calls before the layers, in place of `sdpa_mask`.

    Args:
        batch_size: texts in the batch.
        q_length: queries of each.
        kv_length: keys of each.
        q_offset: tokens before the first query.
        kv_offset: tokens before the first key.
        device: where the mask is needed.
        **options: what else transformers passes (mask_function, attention_mask, local_size ...).

    Returns:
        What `recorded_attention` takes: on a GPU never of size tokens x tokens, unless some query attends to a broken
        run of keys; elsewhere what `sdpa_mask` makes.

    Raises:
        ElusiveError: on a GPU, if a token attends to a later one.
    """
    lengths = (batch_size, q_length, kv_length, q_offset, kv_offset)
    place, recorder = torch.device(device), _RECORDER.get()
    if not on_gpu(place) or q_length != kv_length:
        return sdpa_mask(*lengths, device=place, **options)
    window = options.get("local_size")
    plain = options.get("allow_is_causal_skip", True) and options.get("attention_mask") is None
    if plain and (window is None or kv_length < window):
        ranges = KeyRanges.causal(kv_length, place)
    else:
        ranges = key_ranges(batch_size, kv_length, place, **options)
    if ranges is None:
        return sdpa_mask(*lengths, device=place, **options)
    if recorder is not None and recorder.lengths:
        return ranges.packed(recorder.lengths)
    return None if ranges is KeyRanges.causal(kv_length, place) else ranges


AttentionInterface.register(ATTENTION, recorded_attention)
# Without a mask function of its own, a registered attention gets no mask at all, and padding is ignored in silence.
AttentionMaskInterface.register(ATTENTION, recorded_mask)


def received_attention(attention_LHQK: Tensor) -> Tensor:
    """Mean attention that each token receives from itself and every later token.

    Rows of a causal attention map sum to 1 whatever the text says, so importance is read down the
    columns; token k of n is seen by n - k queries, and dividing by that count keeps early tokens
    from winning only because more of the text can see them.

    Args:
        attention_LHQK: softmax weights of one unpadded text, (layers, heads, tokens, tokens).

    Returns:
        float32 scores in [0, 1], (tokens,).

    Raises:
        ElusiveError: if the shape is wrong or a token attends to a later one.

    Reference:
        Gao et al. 2025, arXiv 2409.17954; s(k) in the reading notes, Q = all.

    Example:
        >>> received_attention(torch.tensor([[1.00, 0.00], [0.25, 0.75]])[None, None])
        tensor([0.6250, 0.7500])
    """
    shape = tuple(attention_LHQK.shape)
    if len(shape) != 4 or shape[2] != shape[3] or 0 in shape:
        raise ElusiveError(f"attention_LHQK: expected (layers, heads, tokens, tokens), got shape {shape}.")
    attention_QK = attention_LHQK.float().mean(dim=(0, 1))
    later = attention_LHQK.triu(1).ne(0).any(dim=0).any(dim=0).nonzero()
    if len(later):
        q, k = later[0].tolist()
        raise ElusiveError(
            f"attention_LHQK: expected causal attention, but token {q} attends to the later token {k}. "
            "Give the attention of a decoder, without padding."
        )
    tokens = shape[2]
    return attention_QK.sum(0) / torch.arange(tokens, 0, -1, device=attention_QK.device)


def _check_call(
    recorder: Recorder, query: Tensor, key: Tensor, causal: bool, dropout: float, kwargs: dict[str, Any]
) -> None:
    expected = tuple(recorder.reading.query_weights_BT.shape)
    came = (query.shape[0], query.shape[2])
    if came != expected or key.shape[2] != query.shape[2]:
        raise ElusiveError(
            f"Expected self-attention over (batch, tokens) = {expected}, got queries {came} and {key.shape[2]} keys. "
            "Run whole texts with use_cache=False, and give query weights of the same shape as the token ids."
        )
    if not causal:
        raise ElusiveError("Expected causal attention, but this layer sees later tokens. Choose a decoder-only model.")
    if dropout:
        raise ElusiveError(f"Expected attention dropout 0, got {dropout}. Call model.eval() first.")
    for keyword in ("position_bias", "sinks"):
        if kwargs.get(keyword) is not None:
            raise ElusiveError(
                f"This architecture passes '{keyword}' to its attention, which is not read out yet. "
                "Choose a pair of another family."
            )


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
