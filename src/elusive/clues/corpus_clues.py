"""The clues of documents: scores of both models, their contrast and each token's rank, in one object a document."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
from jaxtyping import Bool, Float32, Int32
from transformers import PreTrainedTokenizerFast

from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Document
from elusive.models.special_tokens import special_token_ids
from elusive.runs.frames import Joined, Tabular, needed
from elusive.scoring.positions import rankable_tokens
from elusive.scoring.shards import TokenScores

from .contrast import contrast
from .heatmap import heatmap, heatmaps
from .ranks import rank_tokens
from .tokenizers import pair_on_tokens

if TYPE_CHECKING:
    import datasets


class RankedToken(NamedTuple):
    """One token among the best clues of its document.

    Attributes:
        document_id: the document.
        rank: 1 is the best clue.
        text: its characters.
        start: the first of them in the document's text.
        end: the one after the last.
        contrast: score of the large model minus that of the small one.
    """

    document_id: str
    rank: int
    text: str
    start: int
    end: int
    contrast: float


@dataclass(frozen=True, eq=False, repr=False)
class DocumentClues(Tabular):
    """What the large model attends to in one document and the small one overlooks; in a notebook, a heat map.

    Attributes:
        document: the text and its spans.
        large: scores of the large model. Its tokens are the document's tokens here.
        small: scores of the small model on these tokens.
        contrast: float32, (tokens,): large.scores - small.scores.
        rankable: bool, (tokens,); false for special tokens, sinks, white space and excluded tokens.
        seen: bool, (tokens,); whether any query sees the token.
        ranks: int32, (tokens,); 1 is the best clue, 0 is never ranked. Unseen tokens rank after all seen ones.

    Reference:
        Gao et al. 2025, arXiv 2409.17954, "Contrasting attention of large and small language models".
    """

    document: Document
    large: TokenScores
    small: TokenScores
    contrast: Float32[np.ndarray, " tokens"]
    rankable: Bool[np.ndarray, " tokens"]
    seen: Bool[np.ndarray, " tokens"]
    ranks: Int32[np.ndarray, " tokens"]

    @property
    def token_ids(self) -> np.ndarray:
        """Token ids, special tokens included, int32 (tokens,)."""
        return self.large.token_ids

    @property
    def offsets(self) -> np.ndarray:
        """Each token's first character and the one after its last, int32 (tokens, 2)."""
        return self.large.offsets

    @property
    def tokens(self) -> tuple[str, ...]:
        """Each token's characters in the text; empty for tokens such as bos that have none."""
        return tuple(self.document.text[start:end] for start, end in self.offsets.tolist())

    def best(self, k: int = 10) -> list[RankedToken]:
        """The best clues, the best one first.

        Args:
            k: how many at most; tokens that no query sees are never among them.
        """
        candidates = np.flatnonzero((self.ranks > 0) & self.seen)
        chosen = candidates[np.argsort(self.ranks[candidates])][:k]
        tokens, ranks = self.tokens, self.ranks
        starts_T, ends_T = self.offsets.T.tolist()
        return [
            RankedToken(
                self.document.id, int(ranks[at]), tokens[at], starts_T[at], ends_T[at], float(self.contrast[at])
            )
            for at in chosen.tolist()
        ]

    def columns(self) -> dict[str, list[Any]]:
        """One list a column, each with one value a token."""
        return {"document_id": [self.document.id] * len(self), **self._token_columns()}

    def _token_columns(self) -> dict[str, list[Any]]:
        """`columns` without the document's id."""
        starts_T, ends_T = self.offsets.T
        return {
            "token_id": self.token_ids.tolist(),
            "token": list(self.tokens),
            "start": starts_T.tolist(),
            "end": ends_T.tolist(),
            "rank": self.ranks.tolist(),
            "contrast": self.contrast.tolist(),
            "large": self.large.scores.tolist(),
            "small": self.small.scores.tolist(),
            "queries": self.large.queries.tolist(),
            "rankable": self.rankable.tolist(),
        }

    def __len__(self) -> int:
        return len(self.token_ids)

    def __repr__(self) -> str:
        best = ", ".join(repr(token.text.strip()) for token in self.best(5))
        return f"DocumentClues({self.document.id!r}, {len(self):,} tokens, best: {best or 'none'})"

    def _repr_html_(self) -> str:
        return heatmap(self)


@dataclass(frozen=True, eq=False, repr=False)
class CorpusClues(Tabular, Sequence[DocumentClues]):
    """The clues of several documents, as a sequence; a slice of it is such a sequence again.

    Attributes:
        documents: the clues of each document.
        settings: the queries, and how their attention was averaged.
        tokenizer: the large model's, whose tokens are ranked.
    """

    documents: tuple[DocumentClues, ...]
    settings: ScoreSettings
    tokenizer: PreTrainedTokenizerFast

    def best(self, k: int = 10) -> list[RankedToken]:
        """The k best clues of each document, document by document."""
        return [token for document in self.documents for token in document.best(k)]

    def columns(self) -> dict[str, list[Any]]:
        """One list a column, each with one value a token of each document."""
        return Joined(self.documents).columns()

    def to_datasets(self) -> "datasets.Dataset":
        """One row a document: its id and text, and lists with one value a token.

        Raises:
            ElusiveError: if datasets is missing.
        """
        rows = [{"id": one.document.id, "text": one.document.text, **one._token_columns()} for one in self.documents]
        return needed("datasets", "to_datasets").Dataset.from_list(rows)

    @overload
    def __getitem__(self, index: int) -> DocumentClues: ...
    @overload
    def __getitem__(self, index: slice) -> "CorpusClues": ...
    def __getitem__(self, index: int | slice) -> "DocumentClues | CorpusClues":
        if isinstance(index, slice):
            return CorpusClues(self.documents[index], self.settings, self.tokenizer)
        return self.documents[index]

    def __len__(self) -> int:
        return len(self.documents)

    def __iter__(self) -> Iterator[DocumentClues]:
        return iter(self.documents)

    def __repr__(self) -> str:
        tokens = sum(map(len, self.documents))
        return f"CorpusClues({len(self):,} documents, {tokens:,} tokens, queries = {self.settings.queries})"

    def _repr_html_(self) -> str:
        return heatmaps(self.documents)


def clues_of(
    document: Document,
    large: TokenScores,
    small: TokenScores,
    tokenizer: PreTrainedTokenizerFast,
    settings: ScoreSettings = ScoreSettings(),
    *,
    across_tokenizers: bool = False,
) -> DocumentClues:
    """The clues of one document that both models have scored at the same queries.

    Args:
        document: the text and its spans.
        large: scores of the large model.
        small: scores of the small model.
        tokenizer: the large model's.
        settings: excluded tokens.
        across_tokenizers: carry the small model's scores over to the large one's tokens where these differ.

    Raises:
        ElusiveError: if documents, tokens or queries of the two differ.
    """
    if across_tokenizers:
        large, small = pair_on_tokens(large, small, large, document.text)
    contrast_T = contrast(large, small)
    special_ids = set(special_token_ids(tokenizer))
    excluded, sink_end = settings.excluded_tokens, max(large.sink_end, small.sink_end)
    rankable_T = rankable_tokens(document.text, large.token_ids, large.offsets, special_ids, excluded, sink_end)
    seen_T = large.queries > 0
    ranks_T = rank_tokens(contrast_T, rankable_T, seen_T)
    return DocumentClues(document, large, small, contrast_T, rankable_T, seen_T, ranks_T)
