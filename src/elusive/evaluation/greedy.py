"""Greedy continuation of many prompts at once: shared beginnings are read once, and rows that are done leave.

Axes: B rows, T tokens, V vocabulary; H heads, D channels of a head.
"""

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from elusive.models import loading
from elusive.models.devices import decoder_device, put_back_weights

_PLAIN_LAYERS = {"full_attention", "sliding_attention"}


_CPU_TOKENS = 1024
"""Tokens read in one pass on a CPU, whose states should fit its caches."""


_LEAST_SHARED = 8
"""Beginnings of fewer tokens are not worth a pass of their own."""


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

    Of a prompt only the keys and values are wanted, so reading ends where the last layer has them, and what prompts
    begin with in common is read once. All rows of a batch then grow together, their keys and values in memory that
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
    answers: list[list[int]] = [[] for _ in token_ids]
    if not answers:
        return answers
    reader = _Reader(model, max_batch_tokens)
    batches = list(_batches(token_ids, max_new_tokens, max_batch_tokens))
    places = max(len(batch) * (max(len(row.prompt) for row in batch) + max_new_tokens) for batch in batches)
    memory, shared = _Memory(reader.like, places), _Shared(reader)
    for batch in batches:
        _read(reader, memory, shared, batch, max_new_tokens)
        for rows in _grow(reader, memory, batch, frozenset(stops), max_new_tokens):
            for row in rows:
                answers[row.number] = row.answer
            done(len(rows))
    return answers


@dataclass
class _Row:
    """A prompt on its way: what it says so far, and how many of its tokens have keys and values."""

    number: int
    prompt: Sequence[int]
    beginning: "Beginning"
    answer: list[int] = field(default_factory=list)
    held: int = 0


def _batches(token_ids: Sequence[Sequence[int]], max_new_tokens: int, max_batch_tokens: int) -> Iterator[list[_Row]]:
    """Prompts that grow together: the longest first, what begins alike side by side."""

    def longest(group: Beginning) -> int:
        return max(len(token_ids[number]) for number in group.rows)

    batch: list[_Row] = []
    most = 0
    for group in sorted(shared_beginnings(token_ids), key=longest, reverse=True):
        for number in group.rows:
            most = max(most, len(token_ids[number]))
            if batch and (len(batch) + 1) * (most + max_new_tokens) > max_batch_tokens:
                yield batch
                batch, most = [], len(token_ids[number])
            batch.append(_Row(number, token_ids[number], group))
    yield batch


@dataclass(frozen=True)
class Beginning:
    """Tokens that some prompts begin with, and these prompts; no tokens where sharing would save none."""

    token_ids: tuple[int, ...]
    rows: tuple[int, ...]


def shared_beginnings(token_ids: Sequence[Sequence[int]], least: int = _LEAST_SHARED) -> list[Beginning]:
    """Group prompts by common beginnings, so that few tokens have to be read; each prompt keeps one of its own.

    In alphabetical order, prompts with a common beginning stand together, and such stretches lie within one another.
    From the inner ones outwards, a stretch becomes one group if that saves more tokens than the groups within it.

    Args:
        token_ids: prompts, of at least one token.
        least: shorter beginnings are not shared.

    Returns:
        Groups in alphabetical order; every prompt is in one.

    Example:
        >>> shared_beginnings([[1, 2, 3, 4], [9, 9], [1, 2, 3, 5]], least=2)
        [Beginning(token_ids=(1, 2, 3), rows=(0, 2)), Beginning(token_ids=(), rows=(1,))]
    """
    order = sorted(range(len(token_ids)), key=lambda row: tuple(token_ids[row]))
    open_ = [_Stretch(0)]  # each within the one before it
    for row, following in itertools.zip_longest(order, order[1:]):
        length = 0 if following is None else _common(token_ids[row], token_ids[following])
        length = length if length >= least else 0
        current = _Stretch(length, [row], [Beginning((), (row,))])
        while open_[-1].length > length:  # this row is the last of a stretch
            closed = open_.pop()
            closed.add(current)
            current = closed.closed(token_ids, length)
        if open_[-1].length == length:
            open_[-1].add(current)
        else:
            open_.append(current)
    return open_[0].groups


@dataclass
class _Stretch:
    """Prompts in alphabetical order that share `length` tokens, the best groups within it, and what these save."""

    length: int
    rows: list[int] = field(default_factory=list)
    groups: list[Beginning] = field(default_factory=list)
    saved: int = 0

    def add(self, other: "_Stretch") -> None:
        self.rows += other.rows
        self.groups += other.groups
        self.saved += other.saved

    def closed(self, token_ids: Sequence[Sequence[int]], outer: int) -> "_Stretch":
        """The same as part of a stretch that shares `outer` tokens, as one group if that saves more."""
        groups, saved = self.groups, self.saved
        if (together := (len(self.rows) - 1) * self.length) > saved:
            shared = tuple(token_ids[self.rows[0]][: self.length])
            groups, saved = [Beginning(shared, tuple(self.rows))], together
        return _Stretch(outer, self.rows, groups, saved)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that both begin with, at least one of each being left."""
    # Halving: slices are compared many times faster than their tokens one by one.
    low, high = 0, min(len(one), len(other)) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


class _Written(Exception):  # noqa: N818 - no error
    """Every layer has the keys and values of the tokens that are being read."""


class _Layer(DynamicLayer):
    """One layer's keys and values in a memory: a pass sees some rows of it, and writes behind what they hold."""

    def __init__(self, memory: "_Memory", like: Any, places: int) -> None:
        super().__init__()
        self.memory, self.dtype, self.device, self.is_initialized = memory, like.keys.dtype, like.keys.device, True
        # Zeros, because what is masked has to be finite; so is what earlier rows left.
        self.room: list[Tensor] = [
            kept.new_zeros(places, kept.shape[1], kept.shape[3]) for kept in (like.keys, like.values)
        ]
        self.shape(places, 1)

    def shape(self, rows: int, tokens: int) -> None:
        """Let the memory's first places be rows of so many tokens."""
        self.keys_BHTD, self.values_BHTD = (
            kept[: rows * tokens].view(rows, kept.shape[1], tokens, kept.shape[2]) for kept in self.room
        )

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        memory = self.memory
        rows, places = slice(memory.first, memory.first + len(key_states)), slice(memory.begin, memory.end)
        written = slice(memory.end - key_states.shape[2], memory.end)
        self.keys_BHTD[rows, :, written] = key_states
        self.values_BHTD[rows, :, written] = value_states
        memory.layer_wrote()
        return self.keys_BHTD[rows, :, places], self.values_BHTD[rows, :, places]

    def get_seq_length(self) -> int:
        return self.memory.end - self.memory.new - self.memory.begin


class _Memory:
    """Keys and values of rows that end at the same place; shorter ones begin later.

    Distances within a row are then distances in memory, which windows and relative positions go by.
    """

    def __init__(self, like: Sequence[Any], places: int) -> None:
        self.layers = [_Layer(self, one, places) for one in like]
        self.cache = Cache(layers=list(self.layers))
        self.first = self.begin = self.end = self.new = self.written = 0
        self.only_read = False

    def shape(self, rows: int, tokens: int, end: int) -> None:
        """Let it be rows of so many tokens, the first `end` of which are about to be read."""
        self.end = end
        for layer in self.layers:
            layer.shape(rows, tokens)

    def show(self, first: int, width: int, new: int, only_read: bool) -> None:
        """What the next pass sees: rows from `first` on, the last `width` places, `new` of them to be written."""
        self.first, self.begin, self.new = first, self.end - width, new
        self.written, self.only_read = 0, only_read

    def layer_wrote(self) -> None:
        """Count the layers of a pass, and end it after the last one if nothing but keys and values is wanted."""
        self.written += 1
        if self.only_read and self.written == len(self.layers):
            raise _Written

    def kept(self) -> Iterator[Tensor]:
        """Each layer's keys, and its values, (rows, H, tokens, D)."""
        for layer in self.layers:
            yield layer.keys_BHTD
            yield layer.values_BHTD

    def copy(self, rows: int | slice, place: int, source: "_Memory", source_row: int, tokens: int) -> None:
        """Take the last tokens of a row over, of this or another memory, to stand in rows from `place` on."""
        for to_BHTD, from_BHTD in zip(self.kept(), source.kept(), strict=True):
            to_BHTD[rows, :, place : place + tokens] = from_BHTD[source_row, :, source.end - tokens : source.end]


class _Reader:
    """Runs the model over rows of a memory."""

    def __init__(self, model: Any, max_batch_tokens: int) -> None:
        self.model = model
        self.device = decoder_device(model)
        self.tokens_at_once = min(max_batch_tokens, _CPU_TOKENS) if self.device.type == "cpu" else max_batch_tokens
        self.takes_positions = "position_ids" in inspect.signature(_forward(model)).parameters
        # Weights that are gathered for a pass are given back at its end alone.
        self.ends_early = not loading.is_sharded(model)
        # One token tells how many layers there are, and what their keys and values look like.
        cache = DynamicCache()
        model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=self.device), past_key_values=cache, use_cache=True)
        self.like = cache.layers

    def read(self, memory: _Memory, texts: Sequence[Sequence[int]], known: Sequence[int]) -> None:
        """Write the keys and values of texts, a row each, where those of their first tokens stand already.

        The texts with the most unknown tokens come first.
        """
        place = 0
        while place < len(texts) and (new := len(texts[place]) - known[place]):
            rows = range(place, min(len(texts), place + max(1, self.tokens_at_once // new)))
            # Rows with fewer unknown tokens read some known ones again, or padding.
            ids = [[*[0] * (new - len(texts[row])), *texts[row][-new:]] for row in rows]
            with contextlib.suppress(_Written), put_back_weights(self.model):
                self.run(memory, place, ids, [len(texts[row]) for row in rows], only_read=self.ends_early)
            place = rows.stop

    def run(
        self, memory: _Memory, first: int, ids: list[list[int]], held: list[int], only_read: bool = False
    ) -> Tensor:
        """One pass over the last tokens of rows that then hold so many; the logits behind them, (B, V).

        Raises:
            _Written: if keys and values were all that was wanted.
        """
        width, new = max(held), len(ids[0])
        memory.show(first, width, new, only_read)
        inputs: dict[str, Tensor] = {}
        if min(held) < width:
            places_T = torch.arange(width, device=self.device)
            padding_B1 = torch.tensor([[width - tokens] for tokens in held], device=self.device)
            inputs["attention_mask"] = (places_T >= padding_B1).long()
            if self.takes_positions:
                inputs["position_ids"] = (places_T[-new:] - padding_B1).clamp(min=0)
        ids_BT = torch.tensor(ids, device=self.device)
        return self.model(input_ids=ids_BT, past_key_values=memory.cache, use_cache=True, **inputs).logits[:, -1]


def _read(reader: _Reader, memory: _Memory, shared: "_Shared", batch: list[_Row], max_new_tokens: int) -> None:
    """Read the prompts of a batch, all but their last tokens."""
    shared.read([row.beginning for row in batch])
    batch.sort(key=lambda row: (len(row.beginning.token_ids) - len(row.prompt), row.beginning.rows))
    for row in batch:
        row.held = len(row.prompt) - 1
    longest = max(row.held for row in batch)
    memory.shape(len(batch), longest + max_new_tokens, longest)
    first = 0
    for (beginning, held), alike in itertools.groupby(batch, lambda row: (row.beginning, row.held)):
        rows = slice(first, first := first + len(list(alike)))
        shared.copy(beginning, memory, rows, longest - held)
    reader.read(memory, [row.prompt[:-1] for row in batch], [len(row.beginning.token_ids) for row in batch])


def _grow(
    reader: _Reader, memory: _Memory, rows: list[_Row], stops: frozenset[int], max_new_tokens: int
) -> Iterator[list[_Row]]:
    """Continue the rows of a batch that was read; gives those that are done at once."""
    tokens = [row.prompt[-1] for row in rows]
    while rows:
        memory.end += 1
        for row in rows:
            row.held += 1
        logits_BV = reader.run(memory, 0, [[token] for token in tokens], [row.held for row in rows])
        tokens = logits_BV.float().argmax(-1).tolist()
        for row, token in zip(rows, tokens, strict=True):
            row.answer.append(token)
        over = [token in stops or len(row.answer) == max_new_tokens for row, token in zip(rows, tokens, strict=True)]
        if any(over):
            yield list(itertools.compress(rows, over))
            rows = _without(memory, rows, over)
        tokens = [row.answer[-1] for row in rows]


class _Shared:
    """Beginnings that were read, as long as the prompts that are being read need them."""

    def __init__(self, reader: _Reader) -> None:
        self.reader = reader
        self.held: dict[Beginning, tuple[_Memory, int]] = {}

    def read(self, beginnings: Sequence[Beginning]) -> None:
        """Hold these and no others."""
        wanted = {one: self.held.get(one) for one in beginnings if one.token_ids}
        missing = sorted((one for one, where in wanted.items() if where is None), key=lambda one: -len(one.token_ids))
        self.held = {one: where for one, where in wanted.items() if where is not None}
        if missing:
            longest = len(missing[0].token_ids)
            memory = _Memory(self.reader.like, len(missing) * longest)
            memory.shape(len(missing), longest, longest)
            self.reader.read(memory, [one.token_ids for one in missing], [0] * len(missing))
            self.held |= {one: (memory, row) for row, one in enumerate(missing)}

    def copy(self, beginning: Beginning, memory: _Memory, rows: slice, place: int) -> None:
        """Write a beginning into rows of a memory, from `place` on."""
        if beginning.token_ids:
            memory.copy(rows, place, *self.held[beginning], len(beginning.token_ids))


def _without(memory: _Memory, rows: list[_Row], over: list[bool]) -> list[_Row]:
    """The rows that go on; the last ones move to where others leave."""
    left = len(rows) - sum(over)
    free = [place for place in range(left) if over[place]]
    moved = [place for place in range(left, len(rows)) if not over[place]]
    for target, source in zip(free, moved, strict=True):
        rows[target] = rows[source]
        memory.copy(target, memory.end - rows[target].held, memory, source, rows[target].held)
    return rows[:left]


def _forward(model: Any) -> Any:
    """The forward method with its named arguments; peft's takes any."""
    return loading.innermost(model).forward
