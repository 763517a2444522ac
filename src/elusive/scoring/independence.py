"""Sees that a text's scores depend neither on the texts of its batch nor on the tokens behind its last query.

Two random texts run through the very passes that score a corpus, so whatever makes them differ is noticed, in models
that nobody has heard of as well.
"""

import weakref

import numpy as np
import torch
from transformers import PreTrainedModel

from elusive.corpus.documents import Document
from elusive.errors import ElusiveError

from .passes import Batching, CapturePlan, forward
from .windows import TokenisedText, Window

_SHORT = 16
"""Tokens of the short text, and of what is kept of the long one."""

_CHECKED: weakref.WeakKeyDictionary[PreTrainedModel, tuple[int, int]] = weakref.WeakKeyDictionary()
"""Tokens of the shortest and of the longest text for which a model was checked."""


def check_independence(base: PreTrainedModel, batching: Batching, shortest: int, longest: int) -> None:
    """Compare a short text alone and beside a longer one, and a long one whole and cut; once for each model and length.

    Args:
        base: the model, in evaluation mode.
        batching: how windows share passes.
        shortest: tokens of the shortest window of the corpus.
        longest: tokens of its longest text, cut to what the model may take.

    Raises:
        ElusiveError: if a score depends on the batch, or on later tokens.
    """
    checked = _CHECKED.get(base)
    short = min(shortest, _SHORT)
    if longest <= short or (checked and checked[0] <= short and longest <= checked[1]):
        return
    config = base.config.get_text_config(decoder=True)
    plan = CapturePlan(True, None, int(config.num_hidden_layers), False)
    generator = np.random.default_rng(0)
    texts = [_random_text(generator, length, config.vocab_size) for length in (short, longest)]

    def received(*windows: Window) -> np.ndarray:
        means = forward(texts, windows, base, plan, batching)[0].sums_N[:short]
        return means / np.arange(short, 0, -1)

    alone = _first_tokens(0, short, short, short)
    # As long as can stand beside another text; the longest texts of a corpus run alone.
    beside = min(longest, max(short, batching.budget // 2))
    if batching.rule.group(beside) == batching.rule.group(short):
        refuse_difference(
            base,
            received(alone),
            received(alone, _first_tokens(1, beside, beside, beside)),
            f"alone and beside a text of {beside} tokens",
        )
    whole, cut = _first_tokens(1, longest, short, longest), _first_tokens(1, short, short, longest)
    refuse_difference(
        base, received(whole), received(cut), f"of {longest} tokens, whole and cut after its first {short}"
    )
    _CHECKED[base] = (min(short, checked[0]), max(longest, checked[1])) if checked else (short, longest)


def refuse_difference(base: PreTrainedModel, one_N: np.ndarray, other_N: np.ndarray, words: str) -> None:
    """Refuse a model by the largest difference of two runs' scores."""
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
    return TokenisedText(Document("random", "", ()), ids_T, nothing_T2, np.zeros(length, dtype=bool), np.arange(length))


def _first_tokens(text: int, kept: int, queries: int, length: int) -> Window:
    """The first tokens of a text of some length, the first few of them queries."""
    return Window(text, np.arange(kept), np.arange(kept) < queries, length)
