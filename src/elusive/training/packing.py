"""Texts of a training step packed in one row without padding: no token attends across a border, positions restart.

Axes: B texts of a group, T tokens of the packed row, M tokens of a group's longest text, H heads, D channels.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name that torch gives it)
from jaxtyping import Bool
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv

from elusive.errors import ElusiveError
from elusive.models.loading import innermost
from elusive.models.rotary import RotaryRule

from .sequences import pad_right

PACKED = "elusive_packed"
"""The attn_implementation under which `packed_attention` is registered with transformers. It has no mask function: no
mask over the whole row is ever made."""


_SHORTEST = 0.75
"""A text shares a group with texts at most so much longer; within a group, attention alone is padded."""


@dataclasses.dataclass(frozen=True)
class _Group:
    """Texts that stand side by side in the row, of like lengths.

    Attributes:
        first: where the group begins in the row.
        texts: how many.
        longest: tokens of the longest.
        places_BM: places of each text's tokens within the group, then of whatever stands behind; int64.
        kept_T: places of the group's tokens in the padded texts, flat, int64.
        hidden_BM: whether each token is hidden as a key from all later ones; None where none is.
    """

    first: int
    texts: int
    longest: int
    places_BM: Tensor
    kept_T: Tensor
    hidden_BM: Tensor | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Borders:
    """Where the texts of a packed row begin and end.

    Made once a row and passed to every layer, as an object: what moves batches between devices would take a mapping
    apart.
    """

    groups: tuple[_Group, ...]

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "Borders":
        """The borders of texts that follow each other, the longest first.

        Args:
            lengths: tokens of each text, at least 1, in descending order.
        """
        groups, begin = [], 0
        while begin < len(lengths):
            end = begin
            while end < len(lengths) and lengths[end] >= _SHORTEST * lengths[begin]:
                end += 1
            groups.append(_group(sum(lengths[:begin]), lengths[begin:end]))
            begin = end
        return cls(tuple(groups))

    def hiding(self, hidden_T: Bool[Tensor, " tokens"]) -> "Borders":
        """The same with some tokens hidden as keys: no position but itself attends to one.

        Args:
            hidden_T: of the packed row, bool (tokens,).
        """
        groups = []
        for group in self.groups:
            of_group = hidden_T[group.first : group.first + len(group.kept_T)]
            hidden_BM = of_group[group.places_BM] if of_group.any() else None
            groups.append(dataclasses.replace(group, hidden_BM=hidden_BM))
        return Borders(tuple(groups))

    def to(self, device: Any, non_blocking: bool = False) -> "Borders":
        """The same on another device; accelerate calls this as it moves a batch."""
        moved = [
            dataclasses.replace(
                group,
                places_BM=group.places_BM.to(device, non_blocking=non_blocking),
                kept_T=group.kept_T.to(device, non_blocking=non_blocking),
                hidden_BM=None if group.hidden_BM is None else group.hidden_BM.to(device, non_blocking=non_blocking),
            )
            for group in self.groups
        ]
        return Borders(tuple(moved))


def _group(first: int, lengths: Sequence[int]) -> _Group:
    longest, total = lengths[0], sum(lengths)
    starts_B = np.cumsum([0, *lengths[:-1]])
    places_BM = np.minimum(starts_B[:, None] + np.arange(longest), total - 1)
    kept = [row * longest + np.arange(length) for row, length in enumerate(lengths)]
    return _Group(first, len(lengths), longest, torch.from_numpy(places_BM), torch.from_numpy(np.concatenate(kept)))


def pack(rows: Sequence[np.ndarray]) -> dict[str, Any]:
    """Collate token rows into one row without padding, the longest text first.

    Args:
        rows: int32 token arrays, (tokens,).

    Returns:
        input_ids, position_ids (from 0 in each text) and labels (-100 on each text's first token, which nothing
        predicts), int64 (1, tokens); the texts' borders for `packed_attention`; use_cache, which is off.
    """
    rows = sorted(rows, key=lambda row: -len(row))
    lengths = [len(row) for row in rows]
    ids_1T = torch.from_numpy(np.concatenate(rows).astype(np.int64))[None]
    labels_1T = ids_1T.clone()
    labels_1T[0, np.cumsum([0, *lengths[:-1]])] = -100
    positions_T = np.concatenate([np.arange(length) for length in lengths])
    return {
        "input_ids": ids_1T,
        "labels": labels_1T,
        "position_ids": torch.from_numpy(positions_T)[None],
        "borders": Borders.of(lengths),
        "use_cache": False,
    }


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    borders: Borders | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each text of a packed row; a transformers attention function, with gradients.

    Texts of like lengths are padded to the longest of them, within this operation alone, and go through torch's fused
    attention together; where logits are capped or have sinks, through the definition.

    Args:
        module: the attention layer.
        query: (1, heads, tokens, channels).
        key: (1, key-value heads, tokens, channels).
        value: as key.
        attention_mask: none: there is no padding.
        borders: where the texts are, (tokens,) in all.
        dropout: chance to drop a probability.
        scaling: factor of the logits.
        softcap: cap of the logits (Gemma 2).
        sliding_window: how many tokens back a token attends, itself included.
        s_aux: logits of attention sinks, (heads,) (gpt-oss).
        **kwargs: what else the model passes on; not used.

    Returns:
        (1, tokens, heads, channels), and no attention weights.

    Raises:
        ValueError: if the model did not pass the borders on, or made a mask (see `packs`).
    """
    if borders is None or attention_mask is not None:
        raise ValueError(f"{type(module).__name__} does not pass the borders of packed texts on, or makes a mask.")
    shared = query.shape[1] // key.shape[1]
    outputs_TE = []
    for group in borders.groups:
        query_BHMD, key_BGMD, value_BGMD = (_padded(states, group) for states in (query, key, value))
        window = sliding_window if sliding_window and sliding_window < group.longest else None
        plain = window is None and group.hidden_BM is None
        mask = None if plain and softcap is None and s_aux is None else _allowed(group, window, query.device)
        if softcap is None and s_aux is None:
            output_BHMD = F.scaled_dot_product_attention(
                query_BHMD,
                key_BGMD,
                value_BGMD,
                attn_mask=mask,
                dropout_p=dropout,
                is_causal=mask is None,
                scale=scaling,
                enable_gqa=shared > 1,
            )
        else:
            assert mask is not None
            output_BHMD = _by_definition(
                query_BHMD, key_BGMD, value_BGMD, scaling or query.shape[-1] ** -0.5, softcap, mask, s_aux, dropout
            )
        flat_TE = output_BHMD.transpose(1, 2).reshape(group.texts * group.longest, -1)
        outputs_TE.append(flat_TE.index_select(0, group.kept_T))
    return torch.cat(outputs_TE).view(1, query.shape[2], query.shape[1], -1), None


AttentionInterface.register(PACKED, packed_attention)


def _padded(states_1HTD: Tensor, group: _Group) -> Tensor:
    """A group's texts side by side, (texts, heads, longest, channels)."""
    heads, _, channels = states_1HTD.shape[1:]
    states_TE = states_1HTD[0, :, group.first : group.first + len(group.kept_T)].transpose(0, 1).flatten(1)
    return F.embedding(group.places_BM, states_TE).view(group.texts, group.longest, heads, channels).transpose(1, 2)


def _allowed(group: _Group, window: int | None, device: torch.device) -> Tensor:
    """Which keys each query attends to, boolean, (tokens, tokens) or, with hidden ones, (texts, 1, tokens, tokens)."""
    allowed_MM = torch.ones(group.longest, group.longest, dtype=torch.bool, device=device).tril()
    if window is not None:
        allowed_MM = allowed_MM.triu(1 - window)
    return allowed_MM if group.hidden_BM is None else allowed_MM & visible(group.hidden_BM)


def visible(hidden_BT: Bool[Tensor, "rows tokens"]) -> Bool[Tensor, "rows 1 tokens tokens"]:
    """Which keys are not hidden from each query: itself always.

    Args:
        hidden_BT: whether each token is hidden, bool (rows, tokens).
    """
    itself_TT = torch.eye(hidden_BT.shape[1], dtype=torch.bool, device=hidden_BT.device)
    return ~hidden_BT[:, None, None, :] | itself_TT


def _by_definition(
    query_BHMD: Tensor,
    key_BGMD: Tensor,
    value_BGMD: Tensor,
    scaling: float,
    softcap: float | None,
    allowed: Tensor,
    sinks_H: Tensor | None,
    dropout: float,
) -> Tensor:
    """Attention that torch's fused operation has no form of, as transformers' eager functions compute it."""
    shared = query_BHMD.shape[1] // key_BGMD.shape[1]
    key_BHMD, value_BHMD = repeat_kv(key_BGMD, shared), repeat_kv(value_BGMD, shared)
    logits_BHMM = query_BHMD @ key_BHMD.transpose(2, 3) * scaling
    if softcap is not None:
        logits_BHMM = softcap * torch.tanh(logits_BHMM / softcap)
    logits_BHMM = logits_BHMM.masked_fill(~allowed, torch.finfo(logits_BHMM.dtype).min)
    if sinks_H is not None:
        sinks_BHM1 = sinks_H.view(1, -1, 1, 1).expand(*logits_BHMM.shape[:3], 1)
        logits_BHMM = torch.cat([logits_BHMM, sinks_BHM1.to(logits_BHMM.dtype)], -1)
    weights = logits_BHMM.softmax(-1, dtype=torch.float32).to(query_BHMD.dtype)
    weights = F.dropout(weights[..., : key_BHMD.shape[2]], dropout)
    return weights @ value_BHMD


@contextlib.contextmanager
def attention_of(model: Any, name: str) -> Iterator[None]:
    """Run the block under another attention, e.g. the model's own while it answers questions in its training."""
    inner = innermost(model)
    before = inner.config._attn_implementation
    inner.set_attn_implementation(name)
    try:
        yield
    finally:
        inner.set_attn_implementation(before)


def packs(model: Any, longest: int) -> bool:
    """Whether texts packed in one row give what each gives alone under the model's own attention.

    Seen by running three short texts through the model, the third the same as the first; architectures that compute
    attention themselves, keep a state, or do not pass on what a layer must know of the borders, do not pack.

    Args:
        model: a causal language model, peft-wrapped or not, with its weights in place.
        longest: tokens of the longest text to be trained on; windows and chunks of attention show up to there.
    """
    inner = innermost(model)
    text = inner.config.get_text_config(decoder=True)
    if getattr(inner, "_is_stateful", False) or not inner._can_set_attn_implementation():
        return False
    # Llama 4's chunks are told to the mask alone, which packed texts do without.
    if "chunked_attention" in (getattr(text, "layer_types", None) or ()) and longest > text.attention_chunk_size:
        return False
    window = getattr(text, "sliding_window", None) or 0
    generator = np.random.default_rng(0)
    tokens = window + 3 if 40 < window < longest else max(8, min(40, longest))
    first, last = (generator.integers(0, text.vocab_size, length) for length in (tokens, 7))
    rows = [first, last, last]
    try:
        with evaluated(model):
            alone_TV = torch.cat([_logits(model, {"input_ids": torch.from_numpy(row)[None]})[0] for row in rows])
            with attention_of(model, PACKED):
                packed = {key: value for key, value in pack(rows).items() if key not in ("labels", "use_cache")}
                packed_TV = _logits(model, packed)[0]
    except (TypeError, ValueError):
        return False  # the model refuses an argument, or its layers are never told the borders
    return _alike(inner, packed_TV, alone_TV)


def check_padded(model: Any, shortest: int, longest: int) -> None:
    """See once that a text beside a longer one, padded on the right, gives what it gives alone.

    Args:
        model: a causal language model, peft-wrapped or not, with its weights in place.
        shortest: tokens of the shortest text to be trained on.
        longest: tokens of the longest.

    Raises:
        ElusiveError: if texts of a step would change each other.
    """
    inner = innermost(model)
    generator = np.random.default_rng(0)
    vocabulary = inner.config.get_text_config(decoder=True).vocab_size
    rows = [generator.integers(0, vocabulary, length) for length in (longest, shortest)]
    if RotaryRule.of(inner.config).group(shortest) != RotaryRule.of(inner.config).group(longest):
        return  # they never share a step
    with evaluated(model):
        alone_TV = _logits(model, {"input_ids": torch.from_numpy(rows[1])[None]})[0]
        padded_TV = _logits(model, {"input_ids": pad_right(rows)["input_ids"]})[1, :shortest]
    if not _alike(inner, padded_TV, alone_TV):
        raise ElusiveError(
            f"{type(inner).__name__} cannot be trained on several texts in a step: a text of {shortest} tokens gives "
            f"other logits beside one of {longest} tokens than alone. Set train.batch_size = 1, "
            "or choose another model."
        )


@contextlib.contextmanager
def evaluated(model: Any) -> Iterator[None]:
    """Run the block in evaluation mode, without gradients."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _alike(inner: Any, one_TV: Tensor, other_TV: Tensor) -> bool:
    # LLM.int8 rounds a text a little differently beside others.
    exact = other_TV.dtype == torch.float32 and not getattr(inner, "is_quantized", False)
    tolerance = 1e-3 if exact else 5e-2
    return bool((one_TV - other_TV).abs().max() <= tolerance * other_TV.abs().max())


def _logits(model: Any, inputs: dict[str, Any]) -> Tensor:
    device = next(model.parameters()).device
    return model(**{key: value.to(device) for key, value in inputs.items()}, use_cache=False).logits
