"""The texts of copies: what dropout leaves, with clues written into sentences, and sentences in another order.

Axes: C copies, S sentences, T tokens.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from transformers import PreTrainedTokenizerFast

from elusive.config.augmentation import AugmentSettings
from elusive.corpus.sentences import sentences
from elusive.models.special_tokens import special_token_ids
from elusive.scoring.positions import trimmed_offsets

from .characters import first_tokens_of_characters
from .decoding import Decoder, text_decoder
from .draws import copy_generator
from .forms import written
from .ordering import random_order
from .protection import matched_places
from .rankings import RankedDocument


class _Sentences(NamedTuple):
    """What all edited copies of a document share."""

    document_id: str
    borders: list[tuple[int, int]]
    """Characters of each sentence, the white space around it included."""
    begin: str
    """White space before the first."""
    gaps: list[str]
    """White space behind each. It stays where it is: a paragraph ends where one ended."""
    in_blocks: set[int]
    """Numbers of those that hold code or a part of a table."""
    clues: dict[int, str]
    """Clues by their sentence's first character, of sentences outside blocks."""


class CopyWriter:
    """Writes the texts of copies of any document.

    Args:
        tokenizer: the tokenizer whose tokens were ranked.
        settings: how dropped tokens are left out, which share of the clues is written, and in which forms.
        reorders: whether sentences change places.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, settings: AugmentSettings, reorders: bool = False) -> None:
        self.tokenizer, self.settings, self.reorders = tokenizer, settings, reorders
        self.special_ids = set(special_token_ids(tokenizer))

    def texts(
        self, ranked: RankedDocument, kept_CT: Bool[np.ndarray, "copies tokens"], copies: Sequence[int]
    ) -> list[str]:
        """The texts of some copies.

        Args:
            ranked: a document's tokens and clues.
            kept_CT: the tokens that stay in each copy, bool (copies, tokens).
            copies: their numbers, from 1.
        """
        if not self.edits(ranked):
            return self._kept(ranked, kept_CT)
        shared = self._sentences(ranked)
        return [
            self._edited(shared, parts, copy)
            for parts, copy in zip(self._kept_sentences(ranked, kept_CT, shared.borders), copies, strict=True)
        ]

    def edits(self, ranked: RankedDocument) -> bool:
        """Whether copies of a document are more than a selection of its tokens."""
        return bool(ranked.clues) or self.reorders

    def token_ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The tokens of texts that are no selection of a document's own, int32 (tokens,), special tokens left out."""
        rows = self.tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
        return [np.array(ids, dtype=np.int32) for ids in rows["input_ids"]]

    def _kept(self, ranked: RankedDocument, kept_CT: np.ndarray) -> list[str]:
        if self.settings.blank:
            return [_blanked(ranked.text, ranked.offsets[~kept]) for kept in kept_CT]
        return self.decoded(ranked, kept_CT & self.text_tokens(ranked))

    def decoded(self, ranked: RankedDocument, kept_CT: Bool[np.ndarray, "copies tokens"]) -> list[str]:
        """The texts of selections of a document's tokens, bool (copies, tokens), in the document's own characters.

        They are what the tokenizer decodes, if it decodes the whole document to what the document says, and a copy to
        no character that the document has not. Other copies are cut out of the document: tokenizers may fold case and
        accents, or know a character by no token.
        """
        if not len(kept_CT):
            return []
        whole, *texts = self.decode(ranked.token_ids, np.vstack([self.text_tokens(ranked), kept_CT]))
        own, faithful = set(ranked.text), whole.split() == ranked.text.split()
        return [
            text if faithful and own.issuperset(text) else _cut_out(ranked, kept)
            for text, kept in zip(texts, kept_CT, strict=True)
        ]

    def _kept_sentences(
        self, ranked: RankedDocument, kept_CT: np.ndarray, borders: Sequence[tuple[int, int]]
    ) -> list[list[str]]:
        """What each copy keeps of each sentence, without the white space around it."""
        if kept_CT.all():
            whole = [ranked.text[start:end].strip() for start, end in borders]
            return [whole] * len(kept_CT)
        if self.settings.blank:
            return [[text[start:end].strip() for start, end in borders] for text in self._kept(ranked, kept_CT)]
        firsts_T, text_T = trimmed_offsets(ranked.text, ranked.offsets)[:, 0], self.text_tokens(ranked)
        characters = first_tokens_of_characters(ranked.text, ranked.offsets, ~text_T)
        if characters is not None:  # one that ends a sentence may share a token with the next one
            firsts_T = firsts_T[characters]
        of_sentences = [
            self.decoded(ranked, kept_CT & text_T & (firsts_T >= start) & (firsts_T < end)) for start, end in borders
        ]
        return [[part.strip() for part in parts] for parts in zip(*of_sentences, strict=True)]

    def _in_blocks(self, ranked: RankedDocument, borders: Sequence[tuple[int, int]]) -> set[int]:
        """Numbers of the sentences that hold code or a part of a table of Markdown, which no edit reaches.

        Raises:
            ElusiveError: if it takes longer than settings.pattern_seconds to find these.
        """
        text, id_ = ranked.text, ranked.document_id
        blocks = [place for name in ("code", "tables") for place in matched_places(name, text, id_, self.settings)]
        # The white space around a sentence may be that of a block's first line.
        trimmed = [
            (end - len(text[start:end].lstrip()), start + len(text[start:end].rstrip())) for start, end in borders
        ]
        return {
            number
            for number, (start, end) in enumerate(trimmed)
            if any(start < block_end and end > block_start for block_start, block_end in blocks)
        }

    def _sentences(self, ranked: RankedDocument) -> _Sentences:
        text, borders = ranked.text, sentences(ranked.text)
        in_blocks = self._in_blocks(ranked, borders)
        starts_in_blocks = {borders[number][0] for number in in_blocks}
        return _Sentences(
            ranked.document_id,
            borders,
            text[: len(text) - len(text.lstrip())],
            [text[start + len(text[start:end].rstrip()) : end] for start, end in borders],
            in_blocks,
            {
                clue.sentence: text[clue.start : clue.end]
                for clue in ranked.clues
                if clue.sentence not in starts_in_blocks
            },
        )

    def _edited(self, shared: _Sentences, parts: Sequence[str], copy: int) -> str:
        parts = self._with_clues(shared, parts, copy)
        if self.reorders:
            generator = copy_generator(self.settings.seed, shared.document_id, copy, "order")
            whole = [part + gap for part, gap in zip(parts, shared.gaps, strict=True)]
            parts = [parts[number] for number in random_order(whole, generator, shared.in_blocks)]
        return shared.begin + "".join(part + gap for part, gap in zip(parts, shared.gaps, strict=True) if part)

    def _with_clues(self, shared: _Sentences, parts: Sequence[str], copy: int) -> list[str]:
        """The sentences of a copy, some with their clue."""
        generator = copy_generator(self.settings.seed, shared.document_id, copy, "clues")
        # Drawn for all sentences, so that arms with other clues write them in the same ones, and in the same forms.
        chances_S2, forms = generator.random((len(shared.borders), 2)).tolist(), self.settings.insert_forms
        edited = list(parts)
        for number, ((start, _), (chance, form)) in enumerate(zip(shared.borders, chances_S2, strict=True)):
            if parts[number] and start in shared.clues and chance < self.settings.insert_share:
                edited[number] = written(shared.clues[start], parts[number], forms[int(form * len(forms))])
        return edited

    def text_tokens(self, ranked: RankedDocument) -> Bool[np.ndarray, " tokens"]:
        """Which tokens are no special ones; np.isin takes ten times as long for a short text."""
        return np.array([token not in self.special_ids for token in ranked.token_ids.tolist()], dtype=bool)

    @functools.cached_property
    def decode(self) -> Decoder:
        """From tokens to text."""
        return text_decoder(self.tokenizer)

    def __getstate__(self) -> dict[str, Any]:
        # A decoder is no data: each process makes its own.
        return {key: value for key, value in vars(self).items() if key != "decode"}


def _cut_out(ranked: RankedDocument, kept_T: np.ndarray) -> str:
    """The characters of the kept tokens; what stands before a token and in none (a space) belongs to it."""
    parts, reached = [], 0
    for kept, end in zip(kept_T.tolist(), ranked.offsets[:, 1].tolist(), strict=True):
        if kept:
            parts.append(ranked.text[reached:end])
        reached = max(reached, end)
    return "".join(parts)


def _blanked(text: str, dropped_offsets: np.ndarray) -> str:
    characters = list(text)
    for start, end in dropped_offsets.tolist():
        characters[start:end] = " " * (end - start)
    return "".join(characters)
