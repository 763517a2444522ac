"""Attention and its column sums in plain PyTorch, one cache-sized tile of queries at a time.

Output and sums come from the same probabilities, so nothing of size tokens x tokens x heads is ever kept. Axes: B
batch, T tokens, H heads, G key-value heads, R query heads that share one key-value head (H = G * R), Q queries of a
tile, K keys, M weightings of the queries, D channels, C channels of values; flat, for the products: N = B * G,
S = R * Q.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor

from elusive.models.devices import computes_bfloat16

from .masks import KeyRanges, first_attended
from .request import CaptureRequest, Softmax

LOWEST = torch.finfo(torch.float32).min
"""Score of a masked key. Finite, so that a query in the padding, which sees no key, gives no NaN."""


LOG2_E = math.log2(math.e)
"""Scores are in units of log 2, because torch computes 2**x in half the time of exp(x)."""


def tiled_attention(
    request: CaptureRequest,
    query_BHTD: Float[Tensor, "B H T D"],
    key_BGTD: Float[Tensor, "B G T D"],
    value_BGTD: Float[Tensor, "B G T C"],
    mask: Shaped[Tensor, "#B #H T T"] | None,
    softmax: Softmax,
    *,
    with_output: bool = True,
) -> tuple[Float[Tensor, "B T H C"] | None, Float32[Tensor, "B H M T"]]:
    """Causal attention and what each key receives from the selected queries.

    Args:
        request: which queries and keys count.
        query_BHTD: queries.
        key_BGTD: keys.
        value_BGTD: values; their number of channels may differ.
        mask: None for plain causal attention, else boolean (True = attend) or added to the scores,
            (batch or 1, heads or 1, tokens, tokens).
        softmax: the layer's scaling, soft cap and sinks.
        with_output: False computes the sums alone.

    Returns:
        The output (batch, tokens, heads, value channels) or None, and for each weighting the sums over its queries of
        the attention probability, float32 (batch, heads, weightings, tokens).
    """
    batch, heads, tokens, _ = query_BHTD.shape
    groups, channels = value_BGTD.shape[1], value_BGTD.shape[3]
    shared, device = heads // groups, query_BHTD.device
    output_BTHD = value_BGTD.new_empty(batch, tokens, heads, channels) if with_output else None
    received_BHMT = torch.zeros(batch, heads, request.weightings, tokens, device=device)
    # A window hides the oldest keys from a whole tile: they are left out rather than computed and masked.
    first_keys = [0] * tokens if mask is None else first_attended(mask)
    size = tile_queries(shared, tokens, device)
    together = max(1, _tile_scores(device) // (shared * size * tokens))
    memory = torch.empty(min(together, batch * groups) * shared * size * tokens, device=device)
    for texts, some in _blocks(batch, groups, together):
        of_some = slice(some.start * shared, some.stop * shared)
        block = _Block(
            query_NRTD=_queries(query_BHTD[texts, of_some], shared, softmax),
            # Each tile reads keys and values again: contiguous, and in the type that products are fast in.
            key_NKD=_contiguous(key_BGTD[texts, some]),
            value_NKD=_contiguous(value_BGTD[texts, some]) if with_output else None,
            mask=_of_block(mask, texts, of_some),
            sinks_GR=None if softmax.sinks_H is None else softmax.sinks_H[of_some].view(-1, shared),
            request=request.of_texts(texts),
            output_BTGRD=None if output_BTHD is None else output_BTHD[texts, :, of_some].unflatten(2, (-1, shared)),
            received_BGRMK=received_BHMT[texts, of_some].unflatten(1, (-1, shared)),
        )
        for start in range(0, tokens, size):
            queries = slice(start, min(start + size, tokens))
            _add_tile(block, queries, min(first_keys[queries]), softmax, memory)
        if block.request.ranked_BT is not None:
            block.received_BGRMK.mul_(block.request.ranked_BT[:, None, None, None])
    return output_BTHD, received_BHMT


@dataclasses.dataclass(frozen=True, eq=False)
class _Block:
    """Some heads of some texts: what their tiles are computed from, and views of what they write to."""

    query_NRTD: Tensor
    key_NKD: Tensor
    value_NKD: Tensor | None
    mask: Tensor | None
    sinks_GR: Tensor | None
    request: CaptureRequest
    output_BTGRD: Tensor | None
    received_BGRMK: Tensor


def _add_tile(block: _Block, queries: slice, first: int, softmax: Softmax, memory: Tensor) -> None:
    """Write the output of these queries, and add what they give to the keys from the first one attended to."""
    start, end, received_BGRMK = queries.start, queries.stop, block.received_BGRMK
    rows_NSD = block.query_NRTD[:, :, queries].flatten(1, 2)
    scores_NSK = _scores(rows_NSD, block.key_NKD[:, first:end], softmax, memory)
    scores_BGRQK = scores_NSK.view(*received_BGRMK.shape[:3], end - start, end - first)
    if block.mask is None:
        # Keys before the tile are seen by all its queries: only the block on the diagonal is masked.
        scores_BGRQK[..., start - first :].add_(_later(end - start, scores_NSK.device))
    else:
        _apply_mask(scores_BGRQK, block.mask[:, :, queries, first:end])
    shares_BGRQ = _exponentials(scores_BGRQK, block.sinks_GR)
    if block.output_BTGRD is not None and block.value_NKD is not None:
        values_NSD = torch.bmm(scores_NSK.to(block.value_NKD.dtype), block.value_NKD[:, first:end])
        values_BGRQD = values_NSD.view(*shares_BGRQ.shape, -1)
        torch.mul(values_BGRQD, shares_BGRQ[..., None], out=block.output_BTGRD[:, queries].movedim(1, 3))
    if not block.request.include_self:
        scores_BGRQK.diagonal(offset=start - first, dim1=3, dim2=4).zero_()
    weights_BMQ = block.request.weights_BMT[..., queries]
    weights_BGRMQ = _row_weights(scores_BGRQK, shares_BGRQ, weights_BMQ, block.request.ranked_BT, slice(first, end))
    received_BGRMK[..., first:end] += _column_sums(weights_BGRMQ, scores_NSK)


def received_by_rows(
    request: CaptureRequest,
    query_BHTD: Float[Tensor, "B H T D"],
    key_BGTD: Float[Tensor, "B G T D"],
    mask: Shaped[Tensor, "#B #H T T"] | KeyRanges | None,
    softmax: Softmax,
) -> Float32[Tensor, "B H M T"]:
    """The column sums from the rows of the selected queries alone, where the output was computed elsewhere.

    Args:
        request: which queries and keys count.
        query_BHTD: queries.
        key_BGTD: keys.
        mask: as in `tiled_attention`, or the run of keys of each query.
        softmax: the layer's scaling, soft cap and sinks.

    Returns:
        float32 (batch, heads, weightings, tokens).
    """
    batch, heads, tokens, _ = query_BHTD.shape
    groups, device, positions_BQ = key_BGTD.shape[1], query_BHTD.device, request.positions
    shared, queries = heads // groups, positions_BQ.shape[1]
    received_BHMT = torch.zeros(batch, heads, request.weightings, tokens, device=device)
    if not queries:
        return received_BHMT
    size = min(queries, max(16, _tile_scores(device) // (heads * tokens)))
    together = max(1, _tile_scores(device) // (heads * size * tokens))
    memory = torch.empty(min(together, batch) * heads * size * tokens, device=device)
    for text in range(0, batch, together):
        texts = slice(text, min(text + together, batch))
        block = _RowBlock(
            query_BHTD=query_BHTD[texts],
            key_NKD=key_BGTD[texts].flatten(0, 1).to(_fast_type(key_BGTD)),
            mask=mask.of_texts(texts) if isinstance(mask, KeyRanges) else _of_block(mask, texts, slice(None)),
            request=request.of_texts(texts),
            received_BGRMK=received_BHMT[texts].unflatten(1, (groups, shared)),
        )
        for start in range(0, queries, size):
            tile = slice(start, start + size)
            _add_rows(block, positions_BQ[texts, tile], request.selected_weights[texts, :, tile], softmax, memory)
        if block.request.ranked_BT is not None:
            block.received_BGRMK.mul_(block.request.ranked_BT[:, None, None, None])
    return received_BHMT


@dataclasses.dataclass(frozen=True, eq=False)
class _RowBlock:
    """All heads of some texts: what the rows of selected queries are computed from, and what they write to."""

    query_BHTD: Tensor
    key_NKD: Tensor
    mask: Tensor | KeyRanges | None
    request: CaptureRequest
    received_BGRMK: Tensor


def _add_rows(block: _RowBlock, tile_BQ: Tensor, weights_BMQ: Tensor, softmax: Softmax, memory: Tensor) -> None:
    """Add what the queries at these positions give to each key."""
    groups, shared = block.received_BGRMK.shape[1:3]
    heads = groups * shared
    # Later keys are left out, but where that number would have to be waited for.
    end = int(tile_BQ.max()) + 1 if tile_BQ.device.type == "cpu" else block.received_BGRMK.shape[-1]
    picked_BHQ1 = tile_BQ[:, None, :, None].expand(-1, heads, -1, -1)
    query_BHQD = block.query_BHTD.gather(2, picked_BHQ1.expand(-1, -1, -1, block.query_BHTD.shape[-1]))
    rows_NSD = _queries(query_BHQD.to(block.key_NKD.dtype), shared, softmax).flatten(1, 2)
    scores_NSK = _scores(rows_NSD, block.key_NKD[:, :end], softmax, memory)
    scores_BGRQK = scores_NSK.view(-1, groups, shared, tile_BQ.shape[1], end)
    _apply_mask(scores_BGRQK, _mask_of_rows(block.mask, tile_BQ, end))
    sinks_GR = None if softmax.sinks_H is None else softmax.sinks_H.view(groups, shared)
    shares_BGRQ = _exponentials(scores_BGRQK, sinks_GR)
    if not block.request.include_self:
        keys_K = torch.arange(end, device=tile_BQ.device)
        scores_BGRQK.masked_fill_((keys_K == tile_BQ[..., None])[:, None, None], 0.0)
    weights_BGRMQ = _row_weights(scores_BGRQK, shares_BGRQ, weights_BMQ, block.request.ranked_BT, slice(0, end))
    block.received_BGRMK[..., :end] += _column_sums(weights_BGRMQ, scores_NSK)


def _mask_of_rows(mask: Tensor | KeyRanges | None, tile_BQ: Tensor, end: int) -> Tensor:
    """The mask of some rows up to the key `end`, (batch, heads or 1, queries, keys)."""
    keys_K = torch.arange(end, device=tile_BQ.device)
    if mask is None:
        return (keys_K <= tile_BQ[..., None])[:, None]
    if isinstance(mask, KeyRanges):
        first_BQ, last_BQ = (x.expand(len(tile_BQ), -1).gather(1, tile_BQ) for x in (mask.first_BQ, mask.last_BQ))
        return ((keys_K >= first_BQ[..., None]) & (keys_K <= last_BQ[..., None]))[:, None]
    mask_BHTK = mask[..., :end].expand(len(tile_BQ), -1, -1, -1)
    return mask_BHTK.gather(2, tile_BQ[:, None, :, None].expand(-1, mask.shape[1], -1, end))


def sums_of_map(request: CaptureRequest, probabilities_BHTT: Float[Tensor, "B H T T"]) -> Float32[Tensor, "B H M T"]:
    """The column sums of a whole attention map, float32 (batch, heads, weightings, tokens)."""
    heads, tokens = probabilities_BHTT.shape[1:3]
    map_BHQK, weights_BMQ = probabilities_BHTT, request.weights_BMT
    if request.few_queries:
        positions_BQ = request.positions
        if not positions_BQ.shape[1]:
            return map_BHQK.new_zeros(len(map_BHQK), heads, request.weightings, tokens, dtype=torch.float32)
        map_BHQK = map_BHQK.gather(2, positions_BQ[:, None, :, None].expand(-1, heads, -1, tokens))
        weights_BMQ = request.selected_weights
    else:
        positions_BQ = torch.arange(tokens, device=map_BHQK.device).expand(len(map_BHQK), -1)
    map_BHRQK = map_BHQK.float().unsqueeze(2)
    if not request.include_self:
        map_BHRQK = map_BHRQK.scatter(4, positions_BQ[:, None, None, :, None].expand(-1, heads, 1, -1, 1), 0.0)
    shares_BHRQ = torch.ones_like(map_BHRQK[..., 0])
    weights_BHRMQ = _row_weights(map_BHRQK, shares_BHRQ, weights_BMQ, request.ranked_BT, slice(None))
    received_BHMK = _column_sums(weights_BHRMQ, map_BHRQK.flatten(0, 1).flatten(1, 2)).flatten(1, 2)
    return received_BHMK if request.ranked_BT is None else received_BHMK * request.ranked_BT[:, None, None]


def tile_queries(shared: int, tokens: int, device: torch.device) -> int:
    """Queries in a tile: rows enough for fast products, few enough that little of the tile lies in the future."""
    if device.type != "cpu":
        return min(1024, tokens)
    rows = max(128, _tile_scores(device) // tokens)
    queries = min(128, max(32, tokens // 8), rows // shared)
    # A multiple of 16 aligns rows of scores with the vector registers.
    return min(tokens, max(16, round(queries / 16) * 16))


def _tile_scores(device: torch.device) -> int:
    """Scores in a tile: on a CPU 2 MiB of them for each thread stay in the caches, elsewhere they fill the device."""
    return (1 << 19) * torch.get_num_threads() if device.type == "cpu" else 1 << 26


def _blocks(batch: int, groups: int, together: int) -> Iterator[tuple[slice, slice]]:
    """Texts and key-value heads that are computed together: some heads of one text, or all heads of some texts."""
    texts, heads = max(1, together // groups), min(groups, together)
    for text in range(0, batch, texts):
        for head in range(0, groups, heads):
            yield slice(text, min(text + texts, batch)), slice(head, min(head + heads, groups))


def _contiguous(x_BGKD: Tensor) -> Tensor:
    """Keys or values, contiguous and in the type that products are fast in, (N, K, D)."""
    return x_BGKD.to(_fast_type(x_BGKD), memory_format=torch.contiguous_format).contiguous().flatten(0, 1)


def _fast_type(x: Tensor) -> torch.dtype:
    emulated = x.device.type == "cpu" and x.dtype != torch.float32 and not computes_bfloat16(x.device)
    return torch.float32 if emulated else x.dtype


def _of_block(mask: Tensor | None, texts: slice, heads: slice) -> Tensor | None:
    if mask is None:
        return None
    return mask[texts if mask.shape[0] > 1 else slice(None), heads if mask.shape[1] > 1 else slice(None)]


@functools.lru_cache(maxsize=8)
def _later(queries: int, device: torch.device) -> Tensor:
    """What hides the later keys of a square block, (Q, K): 0 up to the query, the lowest score behind it."""
    return torch.full((queries, queries), LOWEST, device=device).triu(1)


def _queries(query_BHQD: Tensor, shared: int, softmax: Softmax) -> Tensor:
    """Contiguous queries, (N, R, Q, D); scaled already, unless that would round them once more."""
    if _fast_type(query_BHQD) == torch.float32:
        scaled_BHQD = torch.empty(query_BHQD.shape, device=query_BHQD.device)
        query_BHQD = torch.mul(query_BHQD, _factor(softmax), out=scaled_BHQD)
    return query_BHQD.unflatten(1, (-1, shared)).flatten(0, 1).contiguous()


def _factor(softmax: Softmax) -> float:
    return softmax.scaling * LOG2_E if softmax.softcap is None else softmax.scaling / softmax.softcap


def _scores(query_NSD: Tensor, key_NKD: Tensor, softmax: Softmax, memory: Tensor) -> Tensor:
    """Unmasked scores in units of log 2, float32 (N, S, K), written to `memory`."""
    together, rows, keys = *query_NSD.shape[:2], key_NKD.shape[1]
    scores_NSK = memory[: together * rows * keys].view(together, rows, keys)
    if query_NSD.dtype == torch.float32:
        torch.bmm(query_NSD, key_NKD.mT, out=scores_NSK)
    else:
        torch.mul(torch.bmm(query_NSD, key_NKD.mT), _factor(softmax), out=scores_NSK)
    return scores_NSK if softmax.softcap is None else scores_NSK.tanh_().mul_(softmax.softcap * LOG2_E)


def _apply_mask(scores_BGRQK: Tensor, mask_BHQK: Tensor) -> None:
    """Hide keys, or add a bias; texts or heads may share the mask."""
    groups = scores_BGRQK.shape[1] if mask_BHQK.shape[1] > 1 else 1
    mask = mask_BHQK.unflatten(1, (groups, -1))
    if mask.dtype == torch.bool:
        scores_BGRQK.masked_fill_(~mask, LOWEST)
    else:
        scores_BGRQK.add_(mask * LOG2_E).clamp_(min=LOWEST)


def _exponentials(scores_BGRQK: Tensor, sinks_GR: Tensor | None) -> Tensor:
    """Turn scores into the numerators of their softmax, in place; returns 1 / denominators (B, G, R, Q)."""
    highest = scores_BGRQK.amax(-1, keepdim=True)
    if sinks_GR is None:
        return scores_BGRQK.sub_(highest).exp2_().sum(-1).reciprocal_()
    sinks = sinks_GR.float()[..., None, None] * LOG2_E
    highest = highest.maximum(sinks)
    of_keys_BGRQ = scores_BGRQK.sub_(highest).exp2_().sum(-1)
    return of_keys_BGRQ.add_((sinks - highest).exp2_().squeeze(-1)).reciprocal_()


def _row_weights(
    numerators_BGRQK: Tensor, shares_BGRQ: Tensor, weights_BMQ: Tensor, ranked_BK: Tensor | None, keys: slice
) -> Tensor:
    """Factor of each row's numerators: the weights of its query, divided by the sum of the row (B, G, R, M, Q)."""
    weights_B11MQ = weights_BMQ[:, None, None]
    if ranked_BK is None:
        return shares_BGRQ.unsqueeze(3) * weights_B11MQ
    totals_BGR1Q = (numerators_BGRQK * ranked_BK[:, None, None, None, keys]).sum(-1).unsqueeze(3)
    return (weights_B11MQ / totals_BGR1Q).masked_fill_(totals_BGR1Q == 0, 0.0)  # a query may see no ranked token


def _column_sums(weights_BGRMQ: Tensor, numerators_NSK: Tensor) -> Tensor:
    """Sums over queries of the weighted numerators, float32 (B, G, R, M, K)."""
    weightings, queries = weights_BGRMQ.shape[-2:]
    keys = numerators_NSK.shape[-1]
    # One head after the other: products of few rows read the numerators fastest.
    sums = torch.bmm(weights_BGRMQ.reshape(-1, weightings, queries), numerators_NSK.view(-1, queries, keys))
    return sums.view(*weights_BGRMQ.shape[:4], keys)
