"""Tokens hidden as keys from later positions, in padded rows; those of packed rows are hidden by `packing`.

The masks of a model's own attention are made by transformers, windows and chunks included, so they are changed where
transformers makes them. Axes: B rows, T tokens, V vocabulary.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from elusive.errors import ElusiveError
from elusive.models.loading import innermost

from .packing import PACKED, attention_of, evaluated, pack, visible
from .sequences import pad_right

_ATTENTIONS = ("sdpa", "eager")
"""Whose masks are dense. Others cannot hide single keys, which `check_hides` sees."""


@contextlib.contextmanager
def hiding(hidden_BT: Bool[Tensor, "rows tokens"] | None) -> Iterator[None]:
    """Run the block with masks in which no position but itself attends to a hidden token; None hides nothing."""
    if hidden_BT is None:
        yield
        return
    # transformers reads this mapping, and keeps its own functions in another.
    for name in _ATTENTIONS:
        ALL_MASK_ATTENTION_FUNCTIONS[name] = functools.partial(
            _hiding_mask, ALL_MASK_ATTENTION_FUNCTIONS[name], hidden_BT
        )
    try:
        yield
    finally:
        for name in _ATTENTIONS:
            del ALL_MASK_ATTENTION_FUNCTIONS[name]


def _hiding_mask(make_mask: Callable[..., Tensor], hidden_BT: Tensor, *lengths: int, **options: Any) -> Tensor:
    mask = make_mask(*lengths, **options | {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False})
    seen_B1TT = visible(hidden_BT.to(mask.device))
    return mask & seen_B1TT if mask.dtype == torch.bool else mask.masked_fill(~seen_B1TT, torch.finfo(mask.dtype).min)


def check_hides(model: Any, packed: bool) -> None:
    """See once that no later position is told of a hidden token, whatever that is, and that nothing else changes.

    Args:
        model: a causal language model, peft-wrapped or not, with its weights in place.
        packed: whether texts are packed into one row.

    Raises:
        ElusiveError: if the architecture lets later positions see it.
    """
    inner = innermost(model)
    vocabulary = inner.config.get_text_config(decoder=True).vocab_size
    generator = np.random.default_rng(0)
    rows = [generator.integers(0, vocabulary, length) for length in (10, 8)]
    other = [rows[0].copy(), rows[1]]
    other[0][_PLACE] = (rows[0][_PLACE] + 1) % vocabulary
    hidden_BT = torch.zeros(2, 10, dtype=torch.bool)
    hidden_BT[0, _PLACE] = True
    with evaluated(model):
        seen, seen_other = (_logits(model, one, hidden_BT & False, packed) for one in (rows, other))
        hidden, hidden_other = (_logits(model, one, hidden_BT, packed) for one in (rows, other))
    told = (seen - seen_other)[_PLACE + 1 : 10].abs().max()
    still_told = (hidden - hidden_other)[_PLACE + 1 : 10].abs().max()
    elsewhere = torch.cat([(hidden - seen)[: _PLACE + 1], (hidden - seen)[10:]]).abs().max()
    if still_told > 0.05 * told or elsewhere > 0.05 * seen.abs().max():
        raise ElusiveError(
            f"{type(inner).__name__} cannot be trained with hidden keys (arms key-dropout-...): positions behind a "
            "hidden token still see it, because the model keeps a state or makes its attention masks itself. Choose "
            "another arm or another model."
        )


_PLACE = 3


def _logits(model: Any, rows: list[np.ndarray], hidden_BT: Tensor, packed: bool) -> Tensor:
    """Logits of the texts one after the other, float32 (tokens, vocabulary)."""
    device = next(model.parameters()).device
    if not packed:
        with hiding(hidden_BT.to(device) if hidden_BT.any() else None):
            logits_BTV = model(input_ids=pad_right(rows)["input_ids"].to(device), use_cache=False).logits
        return torch.cat([of_row[: len(row)] for of_row, row in zip(logits_BTV, rows, strict=True)]).float()
    batch = pack(rows)
    hidden_T = torch.cat([of_row[: len(row)] for of_row, row in zip(hidden_BT, rows, strict=True)])
    borders = batch["borders"].hiding(hidden_T).to(device)
    inputs = {name: batch[name].to(device) for name in ("input_ids", "position_ids")}
    with attention_of(model, PACKED):
        return model(**inputs, borders=borders, use_cache=False).logits[0].float()
