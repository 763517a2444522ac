"""Greedy continuation of many prompts at once: shared beginnings are read once, and rows that are done leave.

Axes: B rows, T tokens, V vocabulary; H heads, D channels of a head.
"""

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from .hooks import decoder_device

_PLAIN_LAYERS = {"full_attention", "sliding_attention"}
_LENGTHS_AT_ONCE = 4
"""Different lengths in one pass over prompts: each costs a row of logits, as wide as the vocabulary, a prompt."""
_LEAVE_AT = 0.75
"""The rest moves together once this share of the rows, or less, is still being continued."""


def continues(model: Any) -> bool:
    """Whether `continue_greedily` can take this model: its whole state is the keys and values of each layer."""
    config = model.config.get_text_config(decoder=True)
    return (
        "past_key_values" in inspect.signature(_forward(model)).parameters
        and not getattr(model, "_is_stateful", False)
        and not config.is_encoder_decoder
        and not getattr(config, "num_kv_shared_layers", 0)
        and set(getattr(config, "layer_types", None) or ()) <= _PLAIN_LAYERS
    )


def continue_greedily(
    model: Any,
    token_ids: Sequence[Sequence[int]],
    *,
    stops: Sequence[int],
    max_new_tokens: int,
    max_batch_tokens: int,
    done: Callable[[int], None] = lambda rows: None,
) -> list[list[int]]:
    """The most likely next token, again and again, until a stop token or the limit: what `generate` gives one by one.

    Prompts are read unmasked, padded on the right, where causal attention does not look; prompts that share at least
    half of their tokens read these once. All rows of a batch then grow together, their keys and values in memory that
    has room for the answers, and rows that are done leave.

    Args:
        model: a causal language model that `continues`, in evaluation mode.
        token_ids: prompts, of at least one token.
        stops: tokens that end an answer.
        max_new_tokens: longest answer in tokens.
        max_batch_tokens: tokens of prompts and answers whose keys and values are held at once.
        done: called with the number of prompts that were just finished.

    Returns:
        New token ids of each prompt, the stop token included, in the order given.
    """
    reader = _Reader(model, max_batch_tokens)
    beginnings = {row: group for group in shared_beginnings(token_ids) for row in group.rows}
    answers: list[list[int]] = [[] for _ in token_ids]
    order = sorted(range(len(token_ids)), key=lambda row: -len(token_ids[row]))
    while order:
        size = max(1, max_batch_tokens // (len(token_ids[order[0]]) + max_new_tokens))
        rows, order = order[:size], order[size:]
        batch = reader.read([token_ids[row] for row in rows], [beginnings[row] for row in rows], max_new_tokens)
        for row, answer in zip(rows, _grow(model, batch, stops, max_new_tokens), strict=True):
            answers[row] = answer
        done(len(rows))
    return answers


@dataclass(frozen=True)
class Beginning:
    """Tokens that some prompts begin with, and these prompts; no tokens where a prompt shares too few."""

    token_ids: tuple[int, ...]
    rows: tuple[int, ...]


def shared_beginnings(token_ids: Sequence[Sequence[int]]) -> list[Beginning]:
    """Group prompts whose common beginning is at least half of each, and shorter than each.

    Example:
        >>> shared_beginnings([[1, 2, 3, 4], [9, 9], [1, 2, 3, 5]])
        [Beginning(token_ids=(1, 2, 3), rows=(0, 2)), Beginning(token_ids=(), rows=(1,))]
    """
    groups: list[tuple[int, int, list[int]]] = []  # tokens shared, the longest prompt's, and the prompts
    for row in sorted(range(len(token_ids)), key=lambda row: tuple(token_ids[row])):
        ids = token_ids[row]
        if groups:
            length, longest, rows = groups[-1]
            first = token_ids[rows[0]]
            same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, ids, strict=False)))
            length, longest = min(length, same, len(ids) - 1), max(longest, len(ids))
            if 2 * length >= longest:
                rows.append(row)
                groups[-1] = (length, longest, rows)
                continue
        groups.append((len(ids) - 1, len(ids), [row]))
    return [
        Beginning(tuple(token_ids[rows[0]][: length if len(rows) > 1 else 0]), tuple(rows))
        for length, _, rows in groups
    ]


@dataclass
class _Batch:
    """Prompts that were read: keys and values side by side, each row's last token at the same place."""

    layers: list["_RoomyLayer"]
    logits_BV: Tensor
    lengths_B: Tensor


class _RoomyLayer(DynamicLayer):
    """One layer's keys and values with room for what is still to come, so that a new token copies nothing.

    Rows end at the same place; shorter ones begin later.
    """

    def __init__(self, like: Any, rows: int, length: int, room: int) -> None:
        super().__init__()
        self._keys_BHTD, self._values_BHTD = (
            kept.new_zeros(rows, kept.shape[1], length + room, kept.shape[3]) for kept in (like.keys, like.values)
        )
        self.dtype, self.device, self.is_initialized = like.keys.dtype, like.keys.device, True
        self.length = length

    def put(self, row: int, keys_HTD: Tensor, values_HTD: Tensor) -> None:
        """One prompt's keys and values."""
        begin = self.length - keys_HTD.shape[1]
        self._keys_BHTD[row, :, begin : self.length] = keys_HTD
        self._values_BHTD[row, :, begin : self.length] = values_HTD

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        begin, self.length = self.length, self.length + key_states.shape[2]
        self._keys_BHTD[:, :, begin : self.length] = key_states
        self._values_BHTD[:, :, begin : self.length] = value_states
        return self._keys_BHTD[:, :, : self.length], self._values_BHTD[:, :, : self.length]

    def get_seq_length(self) -> int:
        return self.length

    def keep(self, rows_B: Tensor) -> None:
        """Only these rows stay."""
        rows_B = rows_B.to(self._keys_BHTD.device)
        self._keys_BHTD, self._values_BHTD = self._keys_BHTD[rows_B], self._values_BHTD[rows_B]


class _Reader:
    """Reads prompts, and each shared beginning once while it is held; no more of them are than a batch's tokens."""

    def __init__(self, model: Any, max_batch_tokens: int) -> None:
        self.model = model
        self.device = decoder_device(model)
        # On a CPU a pass's states should fit the caches.
        self.tokens_at_once = min(max_batch_tokens, 2048) if self.device.type == "cpu" else max_batch_tokens
        self.chooses_logits = "logits_to_keep" in inspect.signature(_forward(model)).parameters
        self.held_tokens = max_batch_tokens
        self.beginnings: dict[Beginning, DynamicCache] = {}

    def read(self, prompts: Sequence[Sequence[int]], beginnings: Sequence[Beginning], room: int) -> _Batch:
        """Read prompts, the longest first, into memory with room for their answers."""
        layers: list[_RoomyLayer] = []
        logits: dict[int, Tensor] = {}
        for beginning, rows in self._passes(prompts, beginnings):
            cache, logits_BV = self._pass([prompts[row] for row in rows], beginning)
            if not layers:
                layers = [_RoomyLayer(layer, len(prompts), len(prompts[0]), room) for layer in cache.layers]
            for place, row in enumerate(rows):
                logits[row] = logits_BV[place]
                found: Any
                for layer, found in zip(layers, cache.layers, strict=True):
                    layer.put(row, *(kept[place, :, : len(prompts[row])] for kept in (found.keys, found.values)))
        lengths_B = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        return _Batch(layers, torch.stack([logits[row] for row in range(len(prompts))]), lengths_B)

    def _passes(
        self, prompts: Sequence[Sequence[int]], beginnings: Sequence[Beginning]
    ) -> Iterator[tuple[Beginning, list[int]]]:
        """Rows that are read together: of one beginning (or of none), of few lengths, within the budget."""
        keys = [beginning.token_ids for beginning in beginnings]
        for _, same in itertools.groupby(sorted(range(len(prompts)), key=lambda row: keys[row]), lambda row: keys[row]):
            rows: list[int] = []
            for row in sorted(same, key=lambda row: -len(prompts[row])):
                new = len(prompts[rows[0]]) - len(keys[row]) if rows else 0
                lengths = {len(prompts[other]) for other in (*rows, row)}
                if rows and ((len(rows) + 1) * new > self.tokens_at_once or len(lengths) > _LENGTHS_AT_ONCE):
                    yield beginnings[rows[0]], rows
                    rows = []
                rows.append(row)
            yield beginnings[rows[0]], rows

    def _pass(self, prompts: list[Sequence[int]], beginning: Beginning) -> tuple[DynamicCache, Tensor]:
        """Keys and values of prompts, the longest first, and the logits behind the last token of each."""
        start, longest = len(beginning.token_ids), len(prompts[0])
        # Padding stands on the right, where no token of the text sees it; any id will do.
        ids_BT = torch.tensor([[*prompt[start:], *[0] * (longest - len(prompt))] for prompt in prompts])
        cache = self._after(beginning, len(prompts)) if start else DynamicCache()
        last = sorted({len(prompt) - start - 1 for prompt in prompts})
        chosen = {"logits_to_keep": torch.tensor(last, device=self.device)} if self.chooses_logits else {}
        logits_BTV = self.model(
            input_ids=ids_BT.to(self.device), past_key_values=cache, use_cache=True, **chosen
        ).logits
        places = {place: number for number, place in enumerate(last)} if chosen else {place: place for place in last}
        rows = [logits_BTV[row, places[len(prompt) - start - 1]] for row, prompt in enumerate(prompts)]
        return cache, torch.stack(rows).float()

    def _after(self, beginning: Beginning, rows: int) -> DynamicCache:
        """The state after a shared beginning, for so many rows."""
        if beginning not in self.beginnings:
            held = sum(len(other.token_ids) for other in self.beginnings)
            if held + len(beginning.token_ids) > self.held_tokens:
                self.beginnings.clear()  # thousands of pairs of questions would else fill the memory
            cache = DynamicCache()
            ids_1T = torch.tensor([beginning.token_ids], device=self.device)
            chosen = {"logits_to_keep": 1} if self.chooses_logits else {}
            self.model(input_ids=ids_1T, past_key_values=cache, use_cache=True, **chosen)
            self.beginnings[beginning] = cache
        layers: list[Any] = self.beginnings[beginning].layers
        return DynamicCache([tuple(kept.expand(rows, -1, -1, -1) for kept in (one.keys, one.values)) for one in layers])


def _grow(model: Any, batch: _Batch, stops: Sequence[int], max_new_tokens: int) -> list[list[int]]:
    """Continue the rows of a batch; each row's new tokens."""
    layers, device = batch.layers, batch.lengths_B.device
    takes_positions = "position_ids" in inspect.signature(_forward(model)).parameters
    cache, stops_S = Cache(layers=list(layers)), torch.tensor(sorted(stops), device=device, dtype=torch.long)
    answers: list[list[int]] = [[] for _ in batch.lengths_B]
    rows_B, going_B, lengths_B = (
        torch.arange(len(answers), device=device),
        torch.ones(len(answers), dtype=torch.bool, device=device),
        batch.lengths_B,
    )
    longest = layers[0].length
    padding_B = longest - lengths_B
    logits_BV = batch.logits_BV.to(device)
    for step in range(max_new_tokens):
        tokens_B = logits_BV.argmax(-1)
        for row, token, going in zip(rows_B.tolist(), tokens_B.tolist(), going_B.tolist(), strict=True):
            if going:
                answers[row].append(token)
        going_B = going_B & ~torch.isin(tokens_B, stops_S)
        left = int(going_B.sum())
        if not left or step == max_new_tokens - 1:
            break
        if left <= _LEAVE_AT * len(going_B):
            kept_B = going_B.nonzero()[:, 0]
            for layer in layers:
                layer.keep(kept_B)
            rows_B, going_B, padding_B, tokens_B = (one[kept_B] for one in (rows_B, going_B, padding_B, tokens_B))
        inputs: dict[str, Tensor] = {}
        if int(padding_B.max()):
            inputs["attention_mask"] = (torch.arange(longest + step + 1, device=device) >= padding_B[:, None]).long()
        if takes_positions:
            inputs["position_ids"] = (longest + step - padding_B)[:, None]
        output = model(input_ids=tokens_B[:, None], past_key_values=cache, use_cache=True, **inputs)
        logits_BV = output.logits[:, -1].float()
    return answers


def _forward(model: Any) -> Any:
    """The forward method with its named arguments; peft's takes any."""
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).forward
