"""Attention masks as runs of keys, one for each query: nothing of size tokens x tokens is kept.

Axes: B batch, T tokens, Q queries or blocks of them, K keys or blocks of them.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from torch.utils.weak import WeakIdKeyDictionary
from transformers.masking_utils import sdpa_mask

from elusive.errors import ElusiveError

BLOCK = 128
"""Queries and keys of a block that flex_attention computes or skips as a whole; its own default."""


_PAIRS_AT_ONCE = 1 << 24


@dataclasses.dataclass(frozen=True, eq=False)
class KeyRanges:
    """A mask in which each query attends to an unbroken run of keys: O(tokens) memory, and causal if `last` says so.

    Causal attention, windows, chunks, packed texts and padding at either end are all of this form.

    Attributes:
        first_BQ: int32, the first key that each query attends to, (batch, or 1 if all texts share them, queries).
        last_BQ: int32, the last one; before the first where the query attends to none.
        keys: number of keys.
    """

    first_BQ: Tensor
    last_BQ: Tensor
    keys: int
    _elsewhere: dict[torch.device, "KeyRanges"] = dataclasses.field(default_factory=dict, repr=False)
    _of_rows: WeakIdKeyDictionary = dataclasses.field(default_factory=WeakIdKeyDictionary, repr=False)

    @staticmethod
    @functools.lru_cache(maxsize=16)
    def causal(tokens: int, device: torch.device) -> "KeyRanges":
        """Every query attends to the keys up to itself."""
        last_BQ = torch.arange(tokens, dtype=torch.int32, device=device)[None]
        return KeyRanges(torch.zeros_like(last_BQ), last_BQ, tokens)

    def to(self, device: torch.device | str | int) -> "KeyRanges":
        """This mask on another device; accelerate calls this between the layers of a device map."""
        first_BQ = self.first_BQ.to(device)
        if first_BQ is self.first_BQ:
            return self
        if first_BQ.device not in self._elsewhere:
            self._elsewhere[first_BQ.device] = KeyRanges(first_BQ, self.last_BQ.to(device), self.keys)
        return self._elsewhere[first_BQ.device]

    def packed(self, lengths: Sequence[int]) -> "KeyRanges":
        """This mask for a packed sequence, in which no text sees another."""
        lengths_N = torch.tensor(lengths, device=self.first_BQ.device)
        starts_T = (lengths_N.cumsum(0) - lengths_N).repeat_interleave(lengths_N, output_size=sum(lengths))
        return KeyRanges(self.first_BQ.maximum(starts_T.int()), self.last_BQ, self.keys)

    def of_texts(self, texts: slice) -> "KeyRanges":
        """This mask for some texts of the batch."""
        if len(self.first_BQ) == 1:
            return self
        return KeyRanges(self.first_BQ[texts], self.last_BQ[texts], self.keys)

    def rows(self, positions_BQ: Tensor) -> "KeyRanges":
        """This mask for some queries of each text; made once for all layers."""
        made = self._of_rows.get(positions_BQ)
        if made is None:
            first_BT, last_BT = (x.expand(len(positions_BQ), -1) for x in (self.first_BQ, self.last_BQ))
            made = KeyRanges(first_BT.gather(1, positions_BQ), last_BT.gather(1, positions_BQ), self.keys)
            self._of_rows[positions_BQ] = made
        return made

    def dense(self) -> Tensor:
        """This mask as a boolean tensor, (batch or 1, 1, queries, keys), for layers on a CPU."""
        keys_K = torch.arange(self.keys, device=self.first_BQ.device)
        return ((keys_K >= self.first_BQ[..., None]) & (keys_K <= self.last_BQ[..., None])).unsqueeze(1)

    @functools.cached_property
    def without_self(self) -> "KeyRanges":
        """This mask, but no query attends to itself."""
        before_T = torch.arange(self.keys, dtype=torch.int32, device=self.last_BQ.device) - 1
        return KeyRanges(self.first_BQ, self.last_BQ.minimum(before_T), self.keys)

    @functools.cached_property
    def by_query(self) -> BlockMask:
        """For flex_attention: queries by keys."""
        some_BQK, every_BQK = self._blocks
        mask_mod = _attends(self.first_BQ, self.last_BQ, swapped=False)
        return _block_mask(some_BQK, every_BQK, mask_mod, (self.first_BQ.shape[1], self.keys))

    @functools.cached_property
    def by_key(self) -> BlockMask:
        """For flex_attention with queries and keys swapped: keys by queries."""
        some_BKQ, every_BKQ = (x.transpose(1, 2) for x in self._blocks)
        mask_mod = _attends(self.first_BQ, self.last_BQ, swapped=True)
        return _block_mask(some_BKQ, every_BKQ, mask_mod, (self.keys, self.first_BQ.shape[1]))

    @functools.cached_property
    def _blocks(self) -> tuple[Tensor, Tensor]:
        """Which blocks hold a pair that attends, and which hold nothing else, boolean (batch, Q blocks, K blocks)."""
        missing = -self.first_BQ.shape[1] % BLOCK
        # An empty run overlaps no block, nor does a row behind the last query.
        last_BQ = self.last_BQ.masked_fill(self.first_BQ > self.last_BQ, -1)
        first_BQ = torch.nn.functional.pad(self.first_BQ, (0, missing))
        last_BQ = torch.nn.functional.pad(last_BQ, (0, missing), value=-1)
        first, last = (x.unflatten(1, (-1, BLOCK)).unsqueeze(-1) for x in (first_BQ, last_BQ))
        starts_K = torch.arange(0, self.keys, BLOCK, device=first.device)
        some_BQK = ((first < starts_K + BLOCK) & (last >= starts_K)).any(2)
        # A block that reaches beyond the last key is never one in which nothing is masked.
        every_BQK = ((first <= starts_K) & (last >= starts_K + BLOCK - 1)).all(2)
        return some_BQK, every_BQK


def key_ranges(batch_size: int, length: int, device: torch.device, **mask: Any) -> KeyRanges | None:
    """The mask that transformers' `sdpa_mask` would make, without ever holding the whole of it.

    Args:
        batch_size: texts in the batch.
        length: tokens of each.
        device: where the mask is needed.
        **mask: the other arguments of transformers' mask functions (mask_function, attention_mask, use_vmap ...).

    Returns:
        The ranges, for all texts together where they are plain causal ones; None if some query attends to a broken
        run of keys (padding in the middle of a text, say).

    Raises:
        ElusiveError: if a token attends to a later one.
    """
    mask.update(batch_size=batch_size, kv_length=length, device=device, allow_is_causal_skip=False)
    keys_K = torch.arange(length, device=device)
    firsts, lasts, ahead, broken = [], [], [], []
    rows = max(1, _PAIRS_AT_ONCE // (batch_size * length))
    for start in range(0, length, rows):
        queries = min(rows, length - start)
        allowed = sdpa_mask(q_length=queries, q_offset=start, **mask)
        assert allowed is not None
        allowed_BQK = allowed[:, 0]
        count_BQ, first_BQ = allowed_BQK.sum(-1, dtype=torch.int32), allowed_BQK.int().argmax(-1).int()
        last_BQ = length - 1 - allowed_BQK.flip(-1).int().argmax(-1).int()
        last_BQ = torch.where(count_BQ > 0, last_BQ, first_BQ - 1)
        ahead.append((last_BQ > keys_K[start : start + queries]).any())
        broken.append((count_BQ != last_BQ - first_BQ + 1).any())
        firsts.append(first_BQ)
        lasts.append(last_BQ)
    ranges = KeyRanges(torch.cat(firsts, 1), torch.cat(lasts, 1), length)
    plain = ((ranges.first_BQ == 0) & (ranges.last_BQ == keys_K)).all()
    # One transfer from the device for all three.
    is_ahead, is_broken, is_plain = torch.stack([torch.stack(ahead).any(), torch.stack(broken).any(), plain]).tolist()
    if is_ahead:
        raise ElusiveError("Expected causal attention, but a token's mask lets it see a later one.")
    if is_broken:
        return None
    return KeyRanges.causal(length, ranges.first_BQ.device) if is_plain else ranges


def check_causal(mask: Tensor | KeyRanges | None, tokens: int) -> None:
    """Refuse a mask that lets a token see a later one.

    Right padding without a mask, and keys up to a tile's last query, are exact only if no token looks ahead.

    Args:
        mask: as transformers hands it to the layers.
        tokens: length of the sequences.

    Raises:
        ElusiveError: if a token sees a later one, or the mask has another type or shape.
    """
    if mask is None or isinstance(mask, KeyRanges):  # ranges are made by `recorded_mask`, which looks at every pair
        return
    if not isinstance(mask, Tensor):
        raise ElusiveError(f"Expected an attention mask as a tensor, got {type(mask).__name__}. Give it as 0s and 1s.")
    if mask.ndim != 4 or tuple(mask.shape[-2:]) != (tokens, tokens):
        raise ElusiveError(f"Expected an attention mask (batch, heads, {tokens}, {tokens}), got {tuple(mask.shape)}.")
    if attended_pairs(mask).triu(1).any():
        raise ElusiveError("Expected causal attention, but a token's mask lets it see a later one.")


def attended_pairs(mask: Tensor) -> Tensor:
    """Pairs that any text or head of the batch attends to, boolean (tokens, tokens)."""
    allowed = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    return allowed.flatten(0, 1).any(0)


def first_attended(mask: Tensor) -> list[int]:
    """The first key that each query attends to, in any text or head; cached, because layers share their masks."""
    if mask not in _FIRST_KEYS:
        _FIRST_KEYS[mask] = attended_pairs(mask).int().argmax(-1).tolist()
    return _FIRST_KEYS[mask]


_FIRST_KEYS = WeakIdKeyDictionary()


def _attends(first_BQ: Tensor, last_BQ: Tensor, *, swapped: bool) -> Callable[..., Tensor]:
    """flex_attention's mask_mod, which looks at one pair at a time."""
    shared = first_BQ.shape[0] == 1

    def attends(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        q, k = (k, q) if swapped else (q, k)
        row = torch.zeros_like(b) if shared else b
        return (k >= first_BQ[row, q]) & (k <= last_BQ[row, q])

    return attends


def _block_mask(some_BQK: Tensor, every_BQK: Tensor, mask_mod: Any, lengths: tuple[int, int]) -> BlockMask:
    partial, full = _listed(some_BQK & ~every_BQK), _listed(every_BQK)
    return BlockMask.from_kv_blocks(*partial, *full, BLOCK_SIZE=BLOCK, mask_mod=mask_mod, seq_lengths=lengths)


def _listed(blocks_BQK: Tensor) -> tuple[Tensor, Tensor]:
    """Number of blocks in each row of blocks, and their indices (they come first); all heads share them."""
    indices = blocks_BQK.int().argsort(dim=-1, descending=True, stable=True).int()
    return blocks_BQK.sum(-1, dtype=torch.int32)[:, None].contiguous(), indices[:, None].contiguous()
