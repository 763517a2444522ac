"""An attention function for transformers that also reports how much attention each token receives.

Output and column sums come from the same probabilities, one tile of queries at a time, so nothing of size
tokens x tokens x heads is ever kept. Axes: L layers, B batch, T tokens, H heads, G key-value heads, R query heads
that share one key-value head (H = G * R), Q queries, K keys, D channels.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from .errors import ElusiveError

ATTENTION = "elusive"
"""The attn_implementation under which `recorded_attention` is registered with transformers."""

LOWEST = torch.finfo(torch.float32).min
"""Score of a masked key. Finite, so that a row of padding, in which all keys are masked, gives no NaN."""


class Recorder:
    """What one forward pass reads out, and what it has read so far.

    Args:
        query_weights_BT: 1 where a position is a query, 0 elsewhere (padding included), (batch, tokens).
        include_self: whether a token's attention to itself counts.

    Attributes:
        received_BT: float32, for each key the sum over layers and selected queries of the attention probability,
            averaged over heads.
        reports: how often each attention module reported, by the module's id.

    Raises:
        ElusiveError: if the weights have another number of axes.
    """

    def __init__(self, query_weights_BT: Tensor, include_self: bool = True) -> None:
        if query_weights_BT.ndim != 2:
            raise ElusiveError(
                f"query_weights_BT: expected (batch, tokens), got shape {tuple(query_weights_BT.shape)}."
            )
        self.query_weights_BT = query_weights_BT.float()
        self.include_self = include_self
        self.received_BT = torch.zeros_like(self.query_weights_BT)
        self.reports: dict[int, int] = {}
        # The selected positions of each row side by side; shorter rows are filled up with positions of weight 0.
        selected_BT = self.query_weights_BT > 0
        longest = int(selected_BT.sum(1).max()) if selected_BT.numel() else 0
        self.positions_BQ = selected_BT.int().argsort(dim=1, descending=True, stable=True)[:, :longest]

    def add(self, module: torch.nn.Module, received_BT: Tensor, heads: int) -> None:
        """Take one layer's sums over heads and queries."""
        self.received_BT += (received_BT / heads).to(self.received_BT.device)
        self.reports[id(module)] = self.reports.get(id(module), 0) + 1

    def mean_over_layers(self, model: PreTrainedModel) -> Tensor:
        """Sum over queries of the mean attention over layers and heads, float32 (batch, tokens).

        Raises:
            ElusiveError: unless every decoder layer of `model` reported exactly once.
        """
        config = model.config.get_text_config(decoder=True)
        layers = int(config.num_hidden_layers)
        if len(self.reports) == layers and set(self.reports.values()) == {1}:
            return self.received_BT / layers
        name = type(model).__name__
        running = config._attn_implementation
        if running != ATTENTION:
            raise ElusiveError(
                f"{name} runs the attention '{running}', expected '{ATTENTION}'. Load it with "
                f"elusive.models.load_model(..., attention='{ATTENTION}'), or call "
                f"model.set_attn_implementation('{ATTENTION}'). {_NO_INTERFACE}"
            )
        if not self.reports:
            raise ElusiveError(
                f"{name} records nothing: its attention does not go through transformers' attention interface "
                f"(0 of {layers} layers reported). {_NO_INTERFACE}"
            )
        raise ElusiveError(
            f"{name} cannot be scored: expected one report from each of its {layers} layers, got "
            f"{sum(self.reports.values())} from {len(self.reports)} attention modules. {_NO_INTERFACE}"
        )


_NO_INTERFACE = (
    "Architectures whose layers do not all use that interface (e.g. Falcon, BLOOM, GPT-J) cannot be scored; "
    "choose a pair of another family (e.g. Llama, Gemma, Qwen, Mistral, GPT-NeoX)."
)

_RECORDER: ContextVar[Recorder | None] = ContextVar("elusive_recorder", default=None)


@contextlib.contextmanager
def recording(recorder: Recorder) -> Iterator[Recorder]:
    """Let the attention function report to `recorder`: `with recording(recorder): model(...)`.

    The recorder travels as a context variable, not as an argument of the model: some architectures drop keywords
    that they do not know.
    """
    token = _RECORDER.set(recorder)
    try:
        yield recorder
    finally:
        _RECORDER.reset(token)


def recorded_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls in every layer, in place of `sdpa`.

    Right padding needs no attention mask here: attention is causal, so no token of the text sees the padding behind
    it, and padding rows have query weight 0.

    Args:
        module: the layer's attention module.
        query: (batch, heads, tokens, channels).
        key: (batch, key-value heads, tokens, channels).
        value: (batch, key-value heads, tokens, value channels).
        attention_mask: what `sdpa_mask` made: None for plain causal attention, else boolean (True = attend),
            (batch or 1, 1, tokens, tokens); float masks are added to the scores. Windows and chunks come this way.
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
            "load the model with attention='sdpa'."
        )
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    _check_call(recorder, query, key, causal or attention_mask is not None, dropout, kwargs)
    _check_mask(attention_mask, query.shape[2])
    scaling = float(query.shape[-1] ** -0.5 if scaling is None else scaling)
    few = 4 * recorder.positions_BQ.shape[1] < query.shape[2]
    # torch's fused kernels have neither cap nor sinks, and fall back to the whole map where channels differ.
    if few and softcap is None and s_aux is None and key.shape[-1] == value.shape[-1]:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, is_causal=True)
        received_BT = _received_by_rows(recorder, query, key, attention_mask, scaling)
    else:
        output, received_BT = _tiled_attention(
            recorder, query, key, value, attention_mask, scaling=scaling, softcap=softcap, sinks_H=s_aux
        )
    recorder.add(module, received_BT, heads=query.shape[1])
    return output, None


AttentionInterface.register(ATTENTION, recorded_attention)
# Without a mask function of its own, a registered attention gets no mask at all, and padding is ignored in silence.
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


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
    expected = tuple(recorder.query_weights_BT.shape)
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


def _check_mask(mask: Tensor | None, tokens: int) -> None:
    """Right padding without a mask, and keys up to the tile's last query, are exact only if nothing looks ahead."""
    if mask is None:
        return
    if mask.ndim != 4 or tuple(mask.shape[-2:]) != (tokens, tokens):
        raise ElusiveError(f"Expected an attention mask (batch, heads, {tokens}, {tokens}), got {tuple(mask.shape)}.")
    if _attended_pairs(mask).triu(1).any():
        raise ElusiveError("Expected causal attention, but a token's mask lets it see a later one.")


def _attended_pairs(mask: Tensor) -> Tensor:
    """Pairs that any text or head of the batch attends to, boolean (tokens, tokens)."""
    allowed = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    return allowed.flatten(0, 1).any(0)


def _tiled_attention(
    recorder: Recorder,
    query_BHTD: Tensor,
    key_BGTD: Tensor,
    value_BGTD: Tensor,
    mask: Tensor | None,
    *,
    scaling: float,
    softcap: float | None,
    sinks_H: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Output (batch, tokens, heads, channels) and sums over heads and selected queries, float32 (batch, tokens)."""
    batch, heads, tokens, _ = query_BHTD.shape
    output_BTHD = value_BGTD.new_empty(batch, tokens, heads, value_BGTD.shape[-1])
    received_BT = torch.zeros(batch, tokens, device=query_BHTD.device)
    weights_BT = recorder.query_weights_BT.to(query_BHTD.device)
    # A window hides the oldest keys from a whole tile: they are left out rather than computed and masked.
    first_keys = _attended_pairs(mask).int().argmax(-1).tolist() if mask is not None else [0] * tokens
    size = _tile_queries(batch * heads * tokens, query_BHTD.device)
    for start in range(0, tokens, size):
        end = min(start + size, tokens)
        first = min(first_keys[start:end])
        scores = _scores(query_BHTD[:, :, start:end], key_BGTD[:, :, first:end], scaling, softcap)
        if mask is None:
            # Keys before the tile are seen by all its queries: only the block on the diagonal is masked.
            later_QQ = torch.ones(end - start, end - start, dtype=torch.bool, device=scores.device).triu(1)
            scores[..., start - first :].masked_fill_(later_QQ, LOWEST)
        else:
            _apply_mask(scores, mask[:, :, start:end, first:end])
        probabilities = _softmax(scores, sinks_H)
        rows = probabilities.flatten(2, 3).to(value_BGTD.dtype) @ value_BGTD[:, :, first:end]
        output_BTHD[:, start:end] = rows.view(batch, heads, end - start, -1).transpose(1, 2)
        if not recorder.include_self:
            probabilities.diagonal(offset=start - first, dim1=-2, dim2=-1).zero_()
        received_BT[:, first:end] += _column_sums(weights_BT[:, start:end], probabilities)
    return output_BTHD, received_BT


def _received_by_rows(
    recorder: Recorder, query_BHTD: Tensor, key_BGTD: Tensor, mask: Tensor | None, scaling: float
) -> Tensor:
    """The same sums from the selected rows alone, where the output was computed elsewhere."""
    batch, heads, tokens, channels = query_BHTD.shape
    received_BT = torch.zeros(batch, tokens, device=query_BHTD.device)
    positions_BQ = recorder.positions_BQ.to(query_BHTD.device)
    weights_BQ = recorder.query_weights_BT.to(query_BHTD.device).gather(1, positions_BQ)
    keys_T = torch.arange(tokens, device=query_BHTD.device)
    size = _tile_queries(batch * heads * tokens, query_BHTD.device)
    for start in range(0, positions_BQ.shape[1], size):
        tile_BQ = positions_BQ[:, start : start + size]
        picked_BHQD = query_BHTD.gather(2, tile_BQ[:, None, :, None].expand(-1, heads, -1, channels))
        scores = _scores(picked_BHQD, key_BGTD, scaling, softcap=None)
        if mask is None:
            _apply_mask(scores, keys_T <= tile_BQ[:, None, :, None])
        else:
            rows_BHTT = mask.expand(batch, -1, -1, -1)
            _apply_mask(scores, rows_BHTT.gather(2, tile_BQ[:, None, :, None].expand(-1, mask.shape[1], -1, tokens)))
        probabilities = _softmax(scores, sinks_H=None)
        if not recorder.include_self:
            probabilities.masked_fill_((keys_T == tile_BQ[..., None])[:, None, None], 0.0)
        received_BT += _column_sums(weights_BQ[:, start : start + size], probabilities)
    return received_BT


def _tile_queries(scores_of_a_query: int, device: torch.device) -> int:
    """Queries in a tile: on a CPU its float32 scores stay in the cores' caches, elsewhere they fill the device."""
    on_cpu = device.type == "cpu"
    tile_bytes = (2 << 20) * torch.get_num_threads() if on_cpu else 256 << 20
    return max(32, min(128 if on_cpu else 1024, tile_bytes // (4 * scores_of_a_query)))


def _scores(query_BHQD: Tensor, key_BGKD: Tensor, scaling: float, softcap: float | None) -> Tensor:
    """Unmasked scores, float32 (B, G, R, Q, K); query heads that share keys are rows of one product."""
    batch, heads, queries, channels = query_BHQD.shape
    shared = key_BGKD.shape[1]
    rows = query_BHQD.reshape(batch, shared, heads // shared * queries, channels)
    scores = (rows @ key_BGKD.transpose(-1, -2)).float().mul_(scaling)
    if softcap is not None:
        scores.div_(softcap).tanh_().mul_(softcap)
    return scores.view(batch, shared, heads // shared, queries, -1)


def _apply_mask(scores_BGRQK: Tensor, mask_BHQK: Tensor) -> None:
    groups = scores_BGRQK.shape[1]
    mask = mask_BHQK.unsqueeze(2) if mask_BHQK.shape[1] == 1 else mask_BHQK.unflatten(1, (groups, -1))
    if mask.dtype == torch.bool:
        scores_BGRQK.masked_fill_(~mask, LOWEST)
    else:
        scores_BGRQK.add_(mask).clamp_(min=LOWEST)


def _softmax(scores_BGRQK: Tensor, sinks_H: Tensor | None) -> Tensor:
    if sinks_H is None:
        return scores_BGRQK.softmax(-1)
    batch, groups, shared, queries, _ = scores_BGRQK.shape
    sinks = sinks_H.float().view(1, groups, shared, 1, 1).expand(batch, -1, -1, queries, -1)
    return torch.cat([scores_BGRQK, sinks], dim=-1).softmax(-1)[..., :-1]


def _column_sums(weights_BQ: Tensor, probabilities_BGRQK: Tensor) -> Tensor:
    """Sum over heads and queries of the weighted probabilities, float32 (batch, keys)."""
    batch, groups, shared, queries, _ = probabilities_BGRQK.shape
    weights = weights_BQ[:, None, None].expand(batch, groups, shared, queries).reshape(batch, groups, 1, -1)
    return (weights @ probabilities_BGRQK.flatten(2, 3)).sum(dim=(1, 2))
