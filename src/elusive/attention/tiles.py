"""Attention and its column sums in plain PyTorch, one cache-sized tile of queries at a time.

Output and sums come from the same probabilities, so nothing of size tokens x tokens x heads is ever kept. Axes: B
batch, T tokens, H heads, G key-value heads, R query heads that share one key-value head (H = G * R), Q queries of a
tile, K keys, D channels; flat, for the products: N = B * G, S = R * Q.
"""

import functools
import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from elusive.models.devices import computes_bfloat16

from .reading import Reading

LOWEST = torch.finfo(torch.float32).min
"""Score of a masked key. Finite, so that a row of padding, in which all keys are masked, gives no NaN."""


LOG2_E = math.log2(math.e)
"""Scores are in units of log 2, because torch computes 2**x in half the time of exp(x)."""


def tiled_attention(
    reading: Reading,
    query_BHTD: Tensor,
    key_BGTD: Tensor,
    value_BGTD: Tensor,
    mask: Tensor | None,
    *,
    scaling: float,
    softcap: float | None = None,
    sinks_H: Tensor | None = None,
    with_output: bool = True,
) -> tuple[Tensor | None, Tensor]:
    """Causal attention and what each key receives from the selected queries.

    Args:
        reading: what is read out.
        query_BHTD: queries.
        key_BGTD: keys.
        value_BGTD: values, whose channels may be another number.
        mask: None for plain causal attention, else boolean (True = attend) or added to the scores,
            (batch or 1, heads or 1, tokens, tokens).
        scaling: factor of the scores.
        softcap: Gemma 2's soft cap of the scores.
        sinks_H: gpt-oss's sinks, one more logit in each head's softmax.
        with_output: False computes the sums alone.

    Returns:
        The output (batch, tokens, heads, value channels) or None, and the sums over selected queries of the attention
        probability, float32 (batch, heads, tokens).
    """
    batch, heads, tokens, _ = query_BHTD.shape
    groups, channels = value_BGTD.shape[1], value_BGTD.shape[3]
    shared, device = heads // groups, query_BHTD.device
    output_BTHD = value_BGTD.new_empty(batch, tokens, heads, channels) if with_output else None
    received_BHT = torch.zeros(batch, heads, tokens, device=device)
    # A window hides the oldest keys from a whole tile: they are left out rather than computed and masked.
    first_keys = [0] * tokens if mask is None else first_attended(mask)
    size = tile_queries(shared, tokens, device)
    together = max(1, _tile_scores(device) // (shared * size * tokens))
    memory = torch.empty(min(together, batch * groups) * shared * size * tokens, device=device)
    for texts, some in _blocks(batch, groups, together):
        of_some = slice(some.start * shared, some.stop * shared)
        query_NRTD = _queries(query_BHTD[texts, of_some], shared, scaling, softcap)
        # Each tile reads keys and values again: side by side in memory, and in the type that products are fast in.
        key_NKD = _side_by_side(key_BGTD[texts, some])
        value_NKD = _side_by_side(value_BGTD[texts, some]) if with_output else key_NKD
        # What the tiles write to, in their order of axes.
        received_BGRK = received_BHT[texts, of_some].unflatten(1, (-1, shared))
        weights_B11T = reading.query_weights_BT[texts, None, None]
        ranked_BK = None if reading.ranked_BT is None else reading.ranked_BT[texts]
        mask_of_some = mask if mask is None else _of_block(mask, texts, of_some)
        sinks_GR = None if sinks_H is None else sinks_H[of_some].view(-1, shared)
        for start in range(0, tokens, size):
            end = min(start + size, tokens)
            first = min(first_keys[start:end])
            rows_NSD = query_NRTD[:, :, start:end].flatten(1, 2)
            scores_NSK = _scores(rows_NSD, key_NKD[:, first:end], scaling, softcap, memory)
            scores_BGRQK = scores_NSK.view(*received_BGRK.shape[:3], end - start, end - first)
            if mask_of_some is None:
                # Keys before the tile are seen by all its queries: only the block on the diagonal is masked.
                scores_BGRQK[..., start - first :].add_(_later(end - start, device))
            else:
                _apply_mask(scores_BGRQK, mask_of_some[:, :, start:end, first:end])
            shares_BGRQ = _exponentials(scores_BGRQK, sinks_GR)
            if output_BTHD is not None:
                values_NSD = torch.bmm(scores_NSK.to(value_NKD.dtype), value_NKD[:, first:end])
                of_tile_BQGRD = output_BTHD[texts, start:end, of_some].unflatten(2, (-1, shared))
                values_BGRQD = values_NSD.view(*shares_BGRQ.shape, channels)
                torch.mul(values_BGRQD, shares_BGRQ[..., None], out=of_tile_BQGRD.movedim(1, 3))
            if not reading.include_self:
                scores_BGRQK.diagonal(offset=start - first, dim1=3, dim2=4).zero_()
            weights_BGRQ = _row_weights(
                scores_BGRQK, shares_BGRQ, weights_B11T[..., start:end], ranked_BK, slice(first, end)
            )
            received_BGRK[..., first:end] += _column_sums(weights_BGRQ, scores_NSK)
        if ranked_BK is not None:
            received_BGRK *= ranked_BK[:, None, None]
    return output_BTHD, received_BHT


def received_by_rows(
    reading: Reading, query_BHTD: Tensor, key_BGTD: Tensor, mask: Tensor | None, scaling: float
) -> Tensor:
    """The same sums from the selected rows alone, where the output was computed elsewhere.

    Args:
        reading: what is read out.
        query_BHTD: queries.
        key_BGTD: keys.
        mask: as in `tiled_attention`.
        scaling: factor of the scores.

    Returns:
        float32 (batch, heads, tokens).
    """
    batch, heads, tokens, channels = query_BHTD.shape
    groups, device, positions_BQ = key_BGTD.shape[1], query_BHTD.device, reading.positions
    shared, queries = heads // groups, positions_BQ.shape[1]
    received_BHT = torch.zeros(batch, heads, tokens, device=device)
    if not queries:
        return received_BHT
    size = min(queries, max(16, _tile_scores(device) // (heads * tokens)))
    together = max(1, _tile_scores(device) // (heads * size * tokens))
    memory = torch.empty(min(together, batch) * heads * size * tokens, device=device)
    keys_T = torch.arange(tokens, device=device)
    all_weights_BQ = reading.query_weights_BT.gather(1, positions_BQ)
    for text in range(0, batch, together):
        texts = slice(text, min(text + together, batch))
        key_NKD = key_BGTD[texts].flatten(0, 1).to(_fast_type(key_BGTD))
        received_BGRK = received_BHT[texts].unflatten(1, (groups, shared))
        ranked_BK = None if reading.ranked_BT is None else reading.ranked_BT[texts]
        for start in range(0, queries, size):
            tile_BQ = positions_BQ[texts, start : start + size]
            end = int(tile_BQ.max()) + 1
            picked_BHQ1 = tile_BQ[:, None, :, None].expand(-1, heads, -1, -1)
            query_BHQD = query_BHTD[texts].gather(2, picked_BHQ1.expand(-1, -1, -1, channels))
            rows_NSD = _queries(query_BHQD, shared, scaling, None).flatten(1, 2)
            scores_NSK = _scores(rows_NSD, key_NKD[:, :end], scaling, None, memory)
            scores_BGRQK = scores_NSK.view(-1, groups, shared, tile_BQ.shape[1], end)
            if mask is None:
                _apply_mask(scores_BGRQK, (keys_T[:end] <= tile_BQ[..., None])[:, None])
            else:
                mask_BHTK = _of_block(mask, texts, slice(None))[..., :end].expand(len(tile_BQ), -1, -1, -1)
                of_rows_BHQK = tile_BQ[:, None, :, None].expand(-1, mask.shape[1], -1, end)
                _apply_mask(scores_BGRQK, mask_BHTK.gather(2, of_rows_BHQK))
            shares_BGRQ = _exponentials(scores_BGRQK, sinks_GR=None)
            if not reading.include_self:
                scores_BGRQK.masked_fill_((keys_T[:end] == tile_BQ[..., None])[:, None, None], 0.0)
            weights_B11Q = all_weights_BQ[texts, None, None, start : start + size]
            weights_BGRQ = _row_weights(scores_BGRQK, shares_BGRQ, weights_B11Q, ranked_BK, slice(0, end))
            received_BGRK[..., :end] += _column_sums(weights_BGRQ, scores_NSK)
        if ranked_BK is not None:
            received_BGRK *= ranked_BK[:, None, None]
    return received_BHT


def reduced(reading: Reading, probabilities_BHTT: Tensor) -> Tensor:
    """The same sums from a whole attention map, float32 (batch, heads, tokens)."""
    map_BHRQK = probabilities_BHTT.float().unsqueeze(2)
    if not reading.include_self:
        map_BHRQK = map_BHRQK.clone()
        map_BHRQK.diagonal(dim1=3, dim2=4).zero_()
    shares_BHRQ = torch.ones_like(map_BHRQK[..., 0])
    weights_B11Q = reading.query_weights_BT[:, None, None]
    weights_BHRQ = _row_weights(map_BHRQK, shares_BHRQ, weights_B11Q, reading.ranked_BT, slice(None))
    received_BHK = _column_sums(weights_BHRQ, map_BHRQK.flatten(0, 1).flatten(1, 2)).flatten(1, 2)
    return received_BHK if reading.ranked_BT is None else received_BHK * reading.ranked_BT[:, None]


def attended_pairs(mask: Tensor) -> Tensor:
    """Pairs that any text or head of the batch attends to, boolean (tokens, tokens)."""
    allowed = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    return allowed.flatten(0, 1).any(0)


def first_attended(mask: Tensor) -> list[int]:
    """The first key that each query attends to, in any text or head; remembered, as layers share their masks."""
    if mask not in _FIRST_KEYS:
        _FIRST_KEYS[mask] = attended_pairs(mask).int().argmax(-1).tolist()
    return _FIRST_KEYS[mask]


_FIRST_KEYS = WeakIdKeyDictionary()


def tile_queries(shared: int, tokens: int, device: torch.device) -> int:
    """Queries in a tile: rows enough for fast products, few enough that little of the tile lies in the future."""
    if device.type != "cpu":
        return min(1024, tokens)
    rows = max(128, _tile_scores(device) // tokens)
    queries = min(128, max(32, tokens // 8), rows // shared)
    # In sixteens, so that rows of scores begin where vector registers like them to.
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


def _side_by_side(x_BGKD: Tensor) -> Tensor:
    """Keys or values in a memory of their own, in the type that products are fast in, (N, K, D)."""
    return x_BGKD.to(_fast_type(x_BGKD), memory_format=torch.contiguous_format).contiguous().flatten(0, 1)


def _fast_type(x: Tensor) -> torch.dtype:
    emulated = x.device.type == "cpu" and x.dtype != torch.float32 and not computes_bfloat16(x.device)
    return torch.float32 if emulated else x.dtype


def _of_block(mask: Tensor, texts: slice, heads: slice) -> Tensor:
    return mask[texts if mask.shape[0] > 1 else slice(None), heads if mask.shape[1] > 1 else slice(None)]


@functools.lru_cache(maxsize=8)
def _later(queries: int, device: torch.device) -> Tensor:
    """What hides the later keys of a square block, (Q, K): 0 up to the query, the lowest score behind it."""
    return torch.full((queries, queries), LOWEST, device=device).triu(1)


def _queries(query_BHQD: Tensor, shared: int, scaling: float, softcap: float | None) -> Tensor:
    """Queries side by side in memory, (N, R, Q, D); scaled already, unless that would round them once more."""
    if _fast_type(query_BHQD) == torch.float32:
        scaled_BHQD = torch.empty(query_BHQD.shape, device=query_BHQD.device)
        query_BHQD = torch.mul(query_BHQD, _factor(scaling, softcap), out=scaled_BHQD)
    return query_BHQD.unflatten(1, (-1, shared)).flatten(0, 1).contiguous()


def _factor(scaling: float, softcap: float | None) -> float:
    return scaling * LOG2_E if softcap is None else scaling / softcap


def _scores(query_NSD: Tensor, key_NKD: Tensor, scaling: float, softcap: float | None, memory: Tensor) -> Tensor:
    """Unmasked scores in units of log 2, float32 (N, S, K), written to `memory`."""
    together, rows, keys = *query_NSD.shape[:2], key_NKD.shape[1]
    scores_NSK = memory[: together * rows * keys].view(together, rows, keys)
    if query_NSD.dtype == torch.float32:
        torch.bmm(query_NSD, key_NKD.mT, out=scores_NSK)
    else:
        torch.mul(torch.bmm(query_NSD, key_NKD.mT), _factor(scaling, softcap), out=scores_NSK)
    return scores_NSK if softcap is None else scores_NSK.tanh_().mul_(softcap * LOG2_E)


def _apply_mask(scores_BGRQK: Tensor, mask_BHQK: Tensor) -> None:
    """Hide keys, or add a bias; the mask may be one for all texts or heads."""
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
    numerators_BGRQK: Tensor, shares_BGRQ: Tensor, weights_B11Q: Tensor, ranked_BK: Tensor | None, keys: slice
) -> Tensor:
    """What each row's numerators are multiplied by: its query's weight, over its sum (B, G, R, Q)."""
    if ranked_BK is None:
        return shares_BGRQ * weights_B11Q
    totals_BGRQ = (numerators_BGRQK * ranked_BK[:, None, None, None, keys]).sum(-1)
    return (weights_B11Q / totals_BGRQ).masked_fill_(totals_BGRQ == 0, 0.0)  # a query may see no ranked token


def _column_sums(weights_BGRQ: Tensor, numerators_NSK: Tensor) -> Tensor:
    """Sum over queries of the weighted numerators, float32 (B, G, R, K)."""
    queries, keys = weights_BGRQ.shape[-1], numerators_NSK.shape[-1]
    # One head after the other: products of a single row read the numerators fastest.
    sums = torch.bmm(weights_BGRQ.reshape(-1, 1, queries), numerators_NSK.view(-1, queries, keys))
    return sums.view(*weights_BGRQ.shape[:3], keys)
