"""Attention and its column sums on a GPU, by torch's flex_attention: nothing of size tokens x tokens is made.

The first pass gives the output and each row's log-sum-exp of scores. In the second, queries and keys swap roles:
what key k receives is the sum over queries q of w[q] exp(s[q,k] - logsumexp[q]), and its logarithm is the log-sum-exp
of one row of the swapped attention (speed: docs/speed.md). Axes: B batch, T tokens, H heads, G key-value heads, M
weightings of the queries, Q queries, K keys, D channels.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, flex_attention

from .masks import KeyRanges
from .request import CaptureRequest, Softmax
from .tiles import received_by_rows

_FEWEST_CHANNELS = 16  # what the kernel's matrix products need; fewer are padded with zeros


_KERNEL_OPTIONS: Any = {
    # The kernel that torch takes for short texts needs a power of two of heads for each key-value head.
    "FORCE_USE_FLEX_ATTENTION": True,
}
"""What torch's kernel is told, tiles too if need be (BLOCK_M, BLOCK_N, num_warps, num_stages)."""


_COMPILED_VARIANTS = 64  # of one kernel: head sizes, dtypes, window or not, lengths fixed or free


def fused_output(
    query_BHTD: Tensor, key_BGTD: Tensor, value_BGTD: Tensor, ranges: KeyRanges, softmax: Softmax
) -> tuple[Tensor, Tensor]:
    """Causal attention alone.

    Args:
        query_BHTD: queries.
        key_BGTD: keys.
        value_BGTD: values; their number of channels may differ.
        ranges: the mask.
        softmax: the layer's scaling, soft cap and sinks.

    Returns:
        The output (batch, tokens, heads, value channels), and the log-sum-exp of each query's scores, sinks included,
        float32 (batch, heads, tokens).
    """
    query, key, value = (_widened(x) for x in (query_BHTD, key_BGTD, value_BGTD))
    output_BHTD, lse_BHT = _run(query, key, value, _score(softmax), ranges.by_query, softmax.scaling)
    if softmax.sinks_H is not None:
        with_sinks_BHT = torch.logaddexp(lse_BHT, softmax.sinks_H.float()[:, None])
        output_BHTD = (output_BHTD * (lse_BHT - with_sinks_BHT).exp()[..., None]).to(value.dtype)
        lse_BHT = with_sinks_BHT
    return output_BHTD[..., : value_BGTD.shape[-1]].transpose(1, 2), lse_BHT


def fused_attention(
    request: CaptureRequest,
    query_BHTD: Tensor,
    key_BGTD: Tensor,
    value_BGTD: Tensor,
    ranges: KeyRanges,
    softmax: Softmax,
) -> tuple[Tensor, Tensor]:
    """Causal attention and what each key receives from the selected queries, as `tiles.tiled_attention` gives them.

    With few queries the second pass runs over these alone. Renormalising over ranked keys takes one more pass.

    Args:
        request: which queries and keys count.
        query_BHTD: queries.
        key_BGTD: keys.
        value_BGTD: values; their number of channels may differ.
        ranges: the mask.
        softmax: the layer's scaling, soft cap and sinks.

    Returns:
        The output (batch, tokens, heads, value channels), and for each weighting the sums over its queries of the
        attention probability, float32 (batch, heads, weightings, tokens).
    """
    output_BTHD, lse_BHT = fused_output(query_BHTD, key_BGTD, value_BGTD, ranges, softmax)
    return output_BTHD, column_sums(request, query_BHTD, key_BGTD, ranges, softmax, lse_BHT)


def column_sums(
    request: CaptureRequest,
    query_BHTD: Tensor,
    key_BGTD: Tensor,
    ranges: KeyRanges,
    softmax: Softmax,
    lse_BHT: Tensor | None = None,
) -> Tensor:
    """What each key receives from the selected queries, where the output was computed elsewhere.

    Several weightings that have few queries share the rows of these; each that has many takes a pass of its own.

    Args:
        request: which queries and keys count.
        query_BHTD: queries.
        key_BGTD: keys.
        ranges: the mask.
        softmax: the layer's scaling and soft cap; its sinks must already be in `lse_BHT`.
        lse_BHT: log-sum-exp of each query's scores, sinks included; None computes that of the selected queries.

    Returns:
        float32 (batch, heads, weightings, tokens).
    """
    if request.weightings == 1:
        return _sums_of_one(request, query_BHTD, key_BGTD, ranges, softmax, lse_BHT).unsqueeze(2)
    batch, heads, tokens, _ = query_BHTD.shape
    received_BHMT = torch.empty(batch, heads, request.weightings, tokens, device=query_BHTD.device)
    few, of_few, many = request.few_and_many
    if of_few is not None:
        # In float32, as the kernel adds up its scores.
        received_BHMT[:, :, few] = received_by_rows(of_few, query_BHTD, key_BGTD.float(), ranges, softmax)
    for number, one in many:
        received_BHMT[:, :, number] = _sums_of_one(one, query_BHTD, key_BGTD, ranges, softmax, lse_BHT)
    return received_BHMT


def _sums_of_one(
    request: CaptureRequest,
    query_BHTD: Tensor,
    key_BGTD: Tensor,
    ranges: KeyRanges,
    softmax: Softmax,
    lse_BHT: Tensor | None,
) -> Tensor:
    """`column_sums` of a single weighting, (batch, heads, tokens)."""
    batch, heads, tokens, channels = query_BHTD.shape
    weights_BQ, positions_BQ = request.weights_BMT[:, 0], request.positions
    if positions_BQ.shape[1] == 0:
        return torch.zeros(batch, heads, tokens, device=query_BHTD.device)
    counted = ranges if request.include_self else ranges.without_self
    if request.few_queries:
        ranges, counted = ranges.rows(positions_BQ), counted.rows(positions_BQ)
        weights_BQ, rows_BHQ = weights_BQ.gather(1, positions_BQ), positions_BQ[:, None].expand(-1, heads, -1)
        lse_BHT = lse_BHT if lse_BHT is None else lse_BHT.gather(2, rows_BHQ)
        query_BHTD = query_BHTD.gather(2, rows_BHQ[..., None].expand(-1, -1, -1, channels))
    query_BHTD, key_BGTD = _widened(query_BHTD), _widened(key_BGTD)
    # flex_attention cannot leave the values out: these are as narrow as the kernel allows, and take no memory.
    nothing = query_BHTD.new_zeros(_FEWEST_CHANNELS)
    if request.ranked_BT is not None or lse_BHT is None:
        unless_BK = None if request.ranked_BT is None else torch.where(request.ranked_BT, 0.0, torch.inf)
        rows = ranges if unless_BK is None else counted
        values, score = nothing.expand(*key_BGTD.shape[:3], -1), _score(softmax, unless_BK=unless_BK)
        _, lse_BHT = _run(query_BHTD, key_BGTD, values, score, rows.by_query, softmax.scaling)
    # Queries that do not count, and those that attend to nothing, go to -inf: all their shares are exactly 0.
    counts_BHQ = (weights_BQ[:, None] > 0) & lse_BHT.isfinite()
    less_BHQ = torch.where(counts_BHQ, lse_BHT - weights_BQ.log()[:, None], torch.inf)
    # In the swapped attention the keys are the more numerous side, which flex_attention cannot share among heads.
    key_BHTD = key_BGTD.repeat_interleave(heads // key_BGTD.shape[1], dim=1)
    values = nothing.expand(*query_BHTD.shape[:3], -1)
    score = _score(softmax, less_BHK=less_BHQ)
    _, log_received_BHT = _run(key_BHTD, query_BHTD, values, score, counted.by_key, softmax.scaling)
    received_BHT = log_received_BHT.exp()
    return received_BHT if request.ranked_BT is None else received_BHT * request.ranked_BT[:, None]


def _score(softmax: Softmax, *, less_BHK: Tensor | None = None, unless_BK: Tensor | None = None) -> Any:
    """flex_attention's score_mod, or None: the soft cap, then a subtraction for each key."""
    softcap = softmax.softcap
    if softcap is None and less_BHK is None and unless_BK is None:
        return None

    def score_mod(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        score = score.to(torch.float32)
        if softcap is not None:
            score = softcap * torch.tanh(score / softcap)
        if less_BHK is not None:
            score = score - less_BHK[b, h, k]
        if unless_BK is not None:
            score = score - unless_BK[b, k]
        return score

    return score_mod


def _widened(x_BHTD: Tensor) -> Tensor:
    """Padded with zeros to the fewest channels that the kernel takes; they change no score."""
    missing = _FEWEST_CHANNELS - x_BHTD.shape[-1]
    return torch.nn.functional.pad(x_BHTD, (0, missing)) if missing > 0 else x_BHTD


def _run(
    query: Tensor, key: Tensor, value: Tensor, score_mod: Any, block_mask: BlockMask, scaling: float
) -> tuple[Tensor, Tensor]:
    """Output and natural log-sum-exp of each query's scores (-inf where the query attends to nothing)."""
    if not compiles(query.device):
        return _flex(query, key, value, score_mod, block_mask, scaling)
    # torch would make the scale symbolic for a second model, and a symbolic scale does not compile.
    with torch._dynamo.config.patch(recompile_limit=_COMPILED_VARIANTS, specialize_float=True):
        return _compiled_flex()(query, key, value, score_mod, block_mask, scaling)


def compiles(device: torch.device) -> bool:
    """Whether flex_attention's compiled kernel there hands out the log-sum-exp; on a CPU it does not."""
    return device.type != "cpu"


@functools.cache
def _compiled_flex() -> Callable[..., tuple[Tensor, Tensor]]:
    # Without `fullgraph`, torch falls back in silence on whole maps when it has recompiled too often.
    return torch.compile(_flex, fullgraph=True)


def _flex(
    query: Tensor, key: Tensor, value: Tensor, score_mod: Any, block_mask: BlockMask, scaling: float
) -> tuple[Tensor, Tensor]:
    options: Any = dict(_KERNEL_OPTIONS)
    output, aux = flex_attention(
        query,
        key,
        value,
        score_mod=score_mod,
        block_mask=block_mask,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
        kernel_options=options,
        return_aux=AuxRequest(lse=True),
    )
    assert aux.lse is not None
    return output, aux.lse
