"""Attention and its column sums in plain PyTorch, one cache-sized tile of queries at a time.

Output and sums come from the same probabilities, so nothing of size tokens x tokens x heads is ever kept. Axes: B
batch, T tokens, H heads, G key-value heads, R query heads that share one key-value head (H = G * R), Q queries, K keys,
D channels.
"""

import dataclasses

import torch
from torch import Tensor

LOWEST = torch.finfo(torch.float32).min
"""Score of a masked key. Finite, so that a row of padding, in which all keys are masked, gives no NaN."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """What is read out of one batch's attention.

    Attributes:
        query_weights_BT: float32, 1 where a position is a query, 0 elsewhere (padding included).
        include_self: whether a token's attention to itself counts.
        ranked_BT: boolean; where given, each row counts over these keys alone and is renormalised to sum to 1 over
            them; None counts every key.
    """

    query_weights_BT: Tensor
    include_self: bool = True
    ranked_BT: Tensor | None = None

    def to(self, device: torch.device) -> "Reading":
        """The same on another device."""
        ranked_BT = None if self.ranked_BT is None else self.ranked_BT.to(device)
        return Reading(self.query_weights_BT.to(device), self.include_self, ranked_BT)

    def part(self, start: int, end: int) -> "Reading":
        """The same for one text of a packed row."""
        ranked_BT = None if self.ranked_BT is None else self.ranked_BT[:, start:end]
        return Reading(self.query_weights_BT[:, start:end], self.include_self, ranked_BT)


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
) -> tuple[Tensor, Tensor]:
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

    Returns:
        The output (batch, tokens, heads, value channels), and the sums over selected queries of the attention
        probability, float32 (batch, heads, tokens).
    """
    batch, heads, tokens, _ = query_BHTD.shape
    output_BTHD = value_BGTD.new_empty(batch, tokens, heads, value_BGTD.shape[-1])
    received_BHT = torch.zeros(batch, heads, tokens, device=query_BHTD.device)
    # A window hides the oldest keys from a whole tile: they are left out rather than computed and masked.
    first_keys = attended_pairs(mask).int().argmax(-1).tolist() if mask is not None else [0] * tokens
    size = tile_queries(batch * heads * tokens, query_BHTD.device)
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
        if not reading.include_self:
            probabilities.diagonal(offset=start - first, dim1=-2, dim2=-1).zero_()
        ranked_BK = None if reading.ranked_BT is None else reading.ranked_BT[:, first:end]
        received_BHT[:, :, first:end] += _column_sums(reading.query_weights_BT[:, start:end], probabilities, ranked_BK)
    return output_BTHD, received_BHT


def selected_positions(query_weights_BT: Tensor) -> Tensor:
    """The selected positions of each row side by side (batch, queries); shorter rows end in positions of weight 0."""
    selected_BT = query_weights_BT > 0
    longest = int(selected_BT.sum(1).max()) if selected_BT.numel() else 0
    return selected_BT.int().argsort(dim=1, descending=True, stable=True)[:, :longest]


def received_by_rows(
    reading: Reading, positions_BQ: Tensor, query_BHTD: Tensor, key_BGTD: Tensor, mask: Tensor | None, scaling: float
) -> Tensor:
    """The same sums from the selected rows alone, where the output was computed elsewhere.

    Args:
        reading: what is read out.
        positions_BQ: as `selected_positions` gives them.
        query_BHTD: queries.
        key_BGTD: keys.
        mask: as in `tiled_attention`.
        scaling: factor of the scores.

    Returns:
        float32 (batch, heads, tokens).
    """
    batch, heads, tokens, channels = query_BHTD.shape
    received_BHT = torch.zeros(batch, heads, tokens, device=query_BHTD.device)
    weights_BQ = reading.query_weights_BT.gather(1, positions_BQ)
    keys_T = torch.arange(tokens, device=query_BHTD.device)
    size = tile_queries(batch * heads * tokens, query_BHTD.device)
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
        if not reading.include_self:
            probabilities.masked_fill_((keys_T == tile_BQ[..., None])[:, None, None], 0.0)
        received_BHT += _column_sums(weights_BQ[:, start : start + size], probabilities, reading.ranked_BT)
    return received_BHT


def reduced(reading: Reading, probabilities_BHTT: Tensor) -> Tensor:
    """The same sums from a whole attention map, float32 (batch, heads, tokens)."""
    probabilities = probabilities_BHTT.float().unsqueeze(2)
    if not reading.include_self:
        probabilities = probabilities.clone()
        probabilities.diagonal(dim1=-2, dim2=-1).zero_()
    return _column_sums(reading.query_weights_BT, probabilities, reading.ranked_BT)


def attended_pairs(mask: Tensor) -> Tensor:
    """Pairs that any text or head of the batch attends to, boolean (tokens, tokens)."""
    allowed = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    return allowed.flatten(0, 1).any(0)


def tile_queries(scores_of_a_query: int, device: torch.device) -> int:
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


def _column_sums(weights_BQ: Tensor, probabilities_BGRQK: Tensor, ranked_BK: Tensor | None) -> Tensor:
    """Sum over queries of the weighted probabilities, float32 (batch, heads, keys)."""
    weights = weights_BQ[:, None, None, None]
    if ranked_BK is not None:
        ranked = ranked_BK[:, None, None, None].float()
        mass = (probabilities_BGRQK @ ranked.transpose(-1, -2)).transpose(-1, -2)
        sums = torch.where(mass > 0, weights / mass, 0.0) @ probabilities_BGRQK * ranked
    else:
        sums = weights @ probabilities_BGRQK
    return sums.flatten(1, 3)
