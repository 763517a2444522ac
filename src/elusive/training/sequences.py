"""Rows of tokens to train on: made from texts, put in order, padded."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from elusive.errors import ElusiveError


def tokenize_rows(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerFast, max_length: int, name: str = "text"
) -> list[np.ndarray]:
    """Token rows to train on: special tokens as the tokenizer adds them, eos at the end of each text.

    A text longer than `max_length` becomes several rows; no token is left out.

    Args:
        texts: the texts.
        tokenizer: fast tokenizer.
        max_length: longest row in tokens, at least 2.
        name: what the texts are, for messages.

    Returns:
        int32 arrays, (tokens,), one or more a text.

    Raises:
        ElusiveError: if there are no texts.
    """
    whole = list(token_rows(texts, tokenizer))
    if not whole:
        raise ElusiveError(f"No {name} to train on: expected at least one text.")
    return [piece for row in whole for piece in pieces_of(row, max_length)]


def token_rows(texts: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> Iterator[np.ndarray]:
    """Each text's tokens with special tokens as the tokenizer adds them, and eos at the end; int32 (tokens,)."""
    end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    stream = iter(texts)
    while batch := list(itertools.islice(stream, _TEXTS_AT_ONCE)):
        # verbose: longer than the context is fine, such texts become several rows
        for ids in tokenizer(batch, add_special_tokens=True, verbose=False)["input_ids"]:
            yield np.array(ids if end and ids[-1:] == end else ids + end, dtype=np.int32)


_TEXTS_AT_ONCE = 1024


def pieces_of(row: np.ndarray, max_length: int) -> list[np.ndarray]:
    """A row in as few pieces of at most `max_length` tokens as can be, of like lengths."""
    pieces = max(1, math.ceil(len(row) / max_length))
    return [piece for piece in np.array_split(row, pieces) if len(piece)]


def pack_rows(rows: Iterable[np.ndarray], sequence_length: int) -> list[np.ndarray]:
    """Texts one after another in rows of exactly `sequence_length`; the last, shorter row is kept too.

    Args:
        rows: int32 token arrays.
        sequence_length: tokens in a packed row.

    Returns:
        int32 arrays, (sequence_length,), the last one perhaps shorter.
    """
    stream = np.concatenate(list(rows))
    return [stream[start : start + sequence_length] for start in range(0, len(stream), sequence_length)]


def row_order(
    lengths: Sequence[int] | np.ndarray,
    replay_lengths: Sequence[int] = (),
    *,
    batch_size: int,
    replay_batch_size: int = 0,
    draws: int,
    seed: int,
    passes: Sequence[int] = (),
) -> list[np.ndarray]:
    """Which rows each step trains on.

    Each pass over the rows is a new permutation, and passes follow each other without a gap, so every row is
    seen equally often (to within one). Within 16 steps, rows of like length share a step, in a random order of
    steps: little padding, and the same rows. Replay rows are numbered after the others.

    Args:
        lengths: tokens of each of the arm's rows.
        replay_lengths: tokens of each replay row (none: no replay).
        batch_size: the arm's rows in one step; the last step may have fewer.
        replay_batch_size: replay rows in one step.
        draws: how many of the arm's rows are trained on in all, each as often as it is drawn.
        seed: of the permutations.
        passes: how many rows each pass has, where it has rows of its own (fresh copies); `lengths` then holds those
            of one pass after the other, as many as are drawn. Empty: all passes are over the same rows.

    Returns:
        int64 row numbers of each step, (batch_size + replay_batch_size,).
    """
    generator = np.random.default_rng(seed)
    steps = math.ceil(draws / batch_size)
    own = _permutations(generator, passes or itertools.repeat(len(lengths)), draws, anew=bool(passes))
    replay = np.empty(0, dtype=own.dtype)
    if len(replay_lengths) and replay_batch_size:
        drawn = _permutations(generator, itertools.repeat(len(replay_lengths)), steps * replay_batch_size)
        replay = len(lengths) + drawn
    lengths_N = np.concatenate([np.asarray(lengths), np.asarray(replay_lengths, dtype=np.int64)])
    parts = [_steps_of(own, batch_size), _steps_of(replay, replay_batch_size) or [replay] * steps]
    if lengths_N.min() == lengths_N.max():
        return [np.concatenate(rows) for rows in zip(*parts, strict=True)]  # nothing to pad
    order = [np.concatenate(rows) for rows in zip(*(_by_length(part, lengths_N) for part in parts), strict=True)]
    whole = draws // batch_size
    for start in range(0, whole, _STEPS_OF_LIKE_LENGTHS):
        block = order[start : min(start + _STEPS_OF_LIKE_LENGTHS, whole)]
        places = np.arange(len(block))
        generator.shuffle(places)
        order[start : start + len(block)] = [block[place] for place in places]
    return order


_STEPS_OF_LIKE_LENGTHS = 16


def _permutations(
    generator: np.random.Generator, passes: Iterable[int], draws: int, *, anew: bool = False
) -> np.ndarray:
    """So many draws from permutations of each pass's rows; with `anew`, each pass has rows of its own."""
    order: list[np.ndarray] = []
    drawn = 0
    for count in passes:
        if drawn >= draws:
            break
        order.append(generator.permutation(count) + (drawn if anew else 0))
        drawn += count
    return np.concatenate(order)[:draws]


def _steps_of(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size or 1)]


def _by_length(steps: list[np.ndarray], lengths: np.ndarray) -> list[np.ndarray]:
    """The same rows within each group of steps, the shortest in its first step."""
    sorted_steps: list[np.ndarray] = []
    for start in range(0, len(steps), _STEPS_OF_LIKE_LENGTHS):
        block = steps[start : start + _STEPS_OF_LIKE_LENGTHS]
        rows = np.concatenate(block)
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        sorted_steps += np.split(rows, np.cumsum([len(step) for step in block])[:-1])
    return sorted_steps


def split_step(rows: np.ndarray, lengths: Sequence[int] | np.ndarray, parts: int) -> list[np.ndarray]:
    """One step's rows in so many parts of like numbers of tokens; of few rows, some parts have none.

    Args:
        rows: row numbers.
        lengths: tokens of each row, by number.
        parts: processes times accumulated batches.

    Example:
        >>> split_step(np.array([0, 1, 2, 3]), [10, 40, 20, 30], 2)
        [array([1, 2]), array([3, 0])]
    """
    longest_first = rows[np.argsort([-lengths[row] for row in rows], kind="stable")]
    return [longest_first[part::parts] for part in range(parts)]


def pad_right(rows: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
    """Collate token rows: padding (id 0) on the right, ignored by the loss.

    There is no attention mask: under causal attention no token sees what stands to its right, so the result is the
    same, and attention kernels keep their fast causal path.

    Args:
        rows: int32 token arrays, (tokens,).

    Returns:
        input_ids and labels, int64 (rows, longest); labels are -100 on padding.
    """
    longest = max(len(row) for row in rows)
    input_ids = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), -100, dtype=torch.long)
    for index, row in enumerate(rows):
        tokens = torch.from_numpy(row.astype(np.int64))
        input_ids[index, : len(row)] = tokens
        labels[index, : len(row)] = tokens
    return {"input_ids": input_ids, "labels": labels}
