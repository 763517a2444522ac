"""An arm's training texts with the marks on their tokens, from what was ranked and drawn.

Axes: C copies, T tokens.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from transformers import PreTrainedTokenizerFast

from elusive.config.augmentation import AugmentSettings

from .arm import Arm
from .draws import copy_generator
from .edits import CopyWriter
from .marks import MarkedText, TokenMarks
from .rankings import RankedDocument


class TextMaker:
    """Makes the training texts of any document under one arm.

    Args:
        tokenizer: the tokenizer whose tokens were ranked.
        settings: how dropped tokens are left out, and clues written.
        arm: what is done with the drop probabilities.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, settings: AugmentSettings, arm: Arm) -> None:
        self.arm = arm
        self.writer = CopyWriter(tokenizer, settings, arm.reorders)
        self._broken = _BrokenLabels(self.writer)

    def original(self, ranked: RankedDocument) -> MarkedText:
        """The document's own text, with marks where these are not drawn."""
        if self.arm.marks == "weigh_loss" and not self.arm.skips_broken:
            return MarkedText(ranked.text, TokenMarks.of("weigh_loss", ranked.token_ids, 1 - ranked.drop_probability))
        if self.arm.marks == "select_loss":
            return MarkedText(ranked.text, TokenMarks.of("select_loss", ranked.token_ids, ranked.token_ids >= 0))
        return MarkedText(ranked.text)

    def copies(
        self, ranked: RankedDocument, kept_CT: Bool[np.ndarray, "copies tokens"], numbers: Sequence[int]
    ) -> list[MarkedText]:
        """Some copies of a document.

        Args:
            ranked: its tokens and clues.
            kept_CT: the tokens that dropout keeps in each copy, bool (copies, tokens).
            numbers: of the copies, from 1.
        """
        if self.arm.use == "mask_rising":
            return [
                MarkedText(ranked.text, self._rising(ranked, kept, copy))
                for kept, copy in zip(kept_CT, numbers, strict=True)
            ]
        if self.arm.use in ("hide_keys", "mask_inputs"):
            marks = [TokenMarks.of(self.arm.use, ranked.token_ids, ~kept) for kept in kept_CT]
            return [MarkedText(ranked.text, one) for one in marks]
        if self.arm.use != "delete":
            return [self.original(ranked)] * len(kept_CT)
        texts = self.writer.texts(ranked, kept_CT, numbers)
        if not self.arm.skips_broken:
            return list(map(MarkedText, texts))
        broken = self._broken.marks(ranked, kept_CT, texts)
        return [MarkedText(*one) for one in zip(texts, broken, strict=True)]

    def _rising(self, ranked: RankedDocument, kept_T: np.ndarray, copy: int) -> TokenMarks:
        """The strength at which each token of a copy that is not kept begins to be masked, uniform in (0, 1]."""
        generator = copy_generator(self.writer.settings.seed, ranked.document_id, copy, "strength")
        strengths_T = np.maximum(1 - generator.random(len(kept_T)), _LEAST_STRENGTH)
        return TokenMarks.of("mask_rising", ranked.token_ids, np.where(kept_T, 0.0, strengths_T))


_LEAST_STRENGTH = 1e-6
"""Marks keep six decimals, and 0 means never."""


class _BrokenLabels:
    """Finds the labels of copies that follow a deletion: their previous token is not the one that was there.

    A copy's text is split into tokens anew, which need not be those that were kept, so places are characters.

    Args:
        writer: wrote these copies.
    """

    def __init__(self, writer: CopyWriter) -> None:
        self.writer = writer

    def marks(self, ranked: RankedDocument, kept_CT: np.ndarray, texts: Sequence[str]) -> list[TokenMarks]:
        """Loss weights of copies: 0 for labels next to a deletion, 1 for all others.

        Args:
            ranked: the document.
            kept_CT: the tokens that stay in each copy, bool (copies, tokens).
            texts: each copy's text.
        """
        if not texts:
            return []
        text_T = self.writer.text_tokens(ranked)
        encoded = self.writer.tokenizer(
            list(texts),
            add_special_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
        marks = []
        for kept_T, text, ids, offsets in zip(
            kept_CT, texts, encoded["input_ids"], encoded["offset_mapping"], strict=True
        ):
            gaps = self._gaps(ranked, text_T, kept_T, text)
            offsets_T2 = np.array(offsets, dtype=np.int64).reshape(-1, 2)
            marks.append(TokenMarks.of("weigh_loss", ids, ~_after_gaps(offsets_T2, gaps)))
        return marks

    def _gaps(self, ranked: RankedDocument, text_T: np.ndarray, kept_T: np.ndarray, text: str) -> list[tuple[int, int]]:
        """Where the copy's text has a gap: the first character of it, and the first that was there behind it."""
        if self.writer.settings.blank:
            return [
                (start, end + len(text[end:]) - len(text[end:].lstrip()))
                for start, end in ranked.offsets[text_T & ~kept_T].tolist()
            ]
        numbers = np.flatnonzero(text_T)
        kept = kept_T[numbers]
        first = numbers[1:][kept[1:] & ~kept[:-1]]
        before = np.arange(len(kept_T))[None] < first[:, None]
        places = map(len, self.writer.decoded(ranked, before & (kept_T & text_T)))
        return [(place, place) for place in places]


def _after_gaps(offsets_T2: np.ndarray, gaps: Sequence[tuple[int, int]]) -> Bool[np.ndarray, " tokens"]:
    """Tokens that lie in a gap, and the first one that ends behind it."""
    starts_T, ends_T = offsets_T2.T
    broken_T = np.zeros(len(offsets_T2), dtype=bool)
    for start, end in gaps:
        broken_T |= (starts_T < end) & (ends_T > start)
        broken_T[np.flatnonzero(ends_T > end)[:1]] = True
    return broken_T
