"""Sees that a text's scores depend neither on the texts of its batch nor on the tokens behind its last query.

Two random texts run through the very passes that score a corpus, so whatever makes them differ is noticed, in models
that nobody has heard of as well.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from elusive.corpus.documents import Document
from elusive.errors import ElusiveError

from .passes import Batching
from .windows import TextQueries, TokenisedText, Window

_SHORT = 16
"""Tokens of the short text, and of what is kept of the long one."""

_CHECKED: weakref.WeakKeyDictionary[PreTrainedModel, dict[str, tuple[int, int]]] = weakref.WeakKeyDictionary()
"""By what was measured, tokens of the shortest and of the longest text for which a model was checked."""


class Measured(NamedTuple):
    """What must not depend on the batch.

    Attributes:
        name: what it is.
        first: of some texts, and windows of them that run together: what is measured at the tokens of the first window,
            float32 from 0 to 1, (tokens of it,).
    """

    name: str
    first: Callable[[Sequence[TokenisedText], Sequence[Window]], np.ndarray]


def check_independence(
    base: PreTrainedModel, batching: Batching, windows: Sequence[Window], max_length: int, measured: Measured
) -> None:
    """Compare a short text alone and beside a longer one, and a long one whole and cut; once for each model and length.

    Args:
        base: the model, in evaluation mode.
        batching: how windows share passes.
        windows: those of the corpus.
        max_length: longest window, in tokens.
        measured: what is compared.

    Raises:
        ElusiveError: if it depends on the batch, or on later tokens.
    """
    longest = max((min(window.length, max_length) for window in windows), default=0)
    short = min([_SHORT, *(len(window.positions) for window in windows)])
    done = _CHECKED.setdefault(base, {})
    checked = done.get(measured.name)
    if longest <= short or (checked and checked[0] <= short and longest <= checked[1]):
        return
    config = base.config.get_text_config(decoder=True)
    generator = np.random.default_rng(0)
    texts = [_random_text(generator, length, config.vocab_size) for length in (short, longest)]

    def at_first(*windows: Window) -> np.ndarray:
        return measured.first(texts, windows)[:short]

    alone = _first_tokens(0, short, short, short)
    # As long as can stand beside another text; the longest texts of a corpus run alone.
    beside = min(longest, max(short, batching.budget // 2))
    if batching.rule.group(beside) == batching.rule.group(short):
        refuse_difference(
            base,
            at_first(alone),
            at_first(alone, _first_tokens(1, beside, beside, beside)),
            f"alone and beside a text of {beside} tokens",
        )
    whole, cut = _first_tokens(1, longest, short, longest), _first_tokens(1, short, short, longest)
    refuse_difference(
        base, at_first(whole), at_first(cut), f"of {longest} tokens, whole and cut after its first {short}"
    )
    done[measured.name] = (min(short, checked[0]), max(longest, checked[1])) if checked else (short, longest)


def refuse_difference(base: PreTrainedModel, one_N: np.ndarray, other_N: np.ndarray, words: str) -> None:
    """Refuse a model by the largest difference of two runs' scores, from 0 to 1."""
    exact = base.dtype == torch.float32 and not getattr(base, "is_quantized", False)
    error = float(np.abs(one_N - other_N).max())
    if not error <= (1e-4 if exact else 5e-2):
        raise ElusiveError(
            f"{type(base).__name__} cannot be scored in batches: the scores of a text {words} differ by {error:.1e}, "
            "so they depend on other texts or on later tokens. Choose a pair of another family, or report the "
            "architecture, so that its texts are kept apart."
        )


def _random_text(generator: np.random.Generator, length: int, vocabulary: int) -> TokenisedText:
    ids_T = generator.integers(0, vocabulary, length, dtype=np.int32)
    nothing_T2 = np.zeros((length, 2), dtype=np.int32)
    special_T, queries = np.zeros(length, dtype=bool), (TextQueries(np.arange(length)),)
    return TokenisedText(Document("random", "", ()), ids_T, nothing_T2, special_T, queries)


def _first_tokens(text: int, kept: int, queries: int, length: int) -> Window:
    """The first tokens of a text of some length, the first few of them queries."""
    return Window(text, np.arange(kept), (np.arange(kept) < queries)[None], length)
