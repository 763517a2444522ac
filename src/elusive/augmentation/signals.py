"""The signals that arms rank tokens by, each computed from one document's scores."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from elusive.clues.contrast import contrast, contrast_rows
from elusive.clues.fusion import fused
from elusive.clues.ranks import distance_signal
from elusive.clues.tokenizers import pair_on_tokens
from elusive.config.augmentation import AugmentSettings
from elusive.config.scoring import Queries, ScoreSettings
from elusive.corpus.documents import Document
from elusive.errors import ElusiveError
from elusive.scoring.positions import query_positions, tokens_of_spans
from elusive.scoring.sets import ScoreSet, entropy_set, pair_sets
from elusive.scoring.shards import TokenScores


@dataclass(frozen=True)
class ScoredDocument:
    """One document with its scores: all that a signal may be computed from.

    Attributes:
        document: the text and its spans.
        scores: its scores by score set.
        own_set: the score set of the model to be trained at score.queries; its tokens are ranked and dropped.
        special: bool, (tokens,); whether each of these tokens is special (bos, eos).
        content: bool, (tokens,); false for special tokens, white space and excluded tokens.
        score: queries and head fields.
        settings: how models are contrasted, and whether scores are carried over between tokenizers.
    """

    document: Document
    scores: Mapping[ScoreSet, TokenScores]
    own_set: ScoreSet
    special: np.ndarray
    content: np.ndarray
    score: ScoreSettings
    settings: AugmentSettings

    @cached_property
    def own(self) -> TokenScores:
        """The scores in the trained model's own set.

        Raises:
            ElusiveError: if there are none.
        """
        return scores_of(self.scores, self.own_set, self.document)

    @cached_property
    def sink(self) -> np.ndarray:
        """Which tokens are the attention sink in any of its scores, bool (tokens,)."""
        ends = max((one.sink_end for one in self.scores.values()), default=0)
        return (self.own.offsets[:, 0] < ends) & ~self.special

    @property
    def rankable(self) -> np.ndarray:
        """Which tokens may be ranked and dropped, bool (tokens,)."""
        return self.content & ~self.sink

    def pair(self, queries: Queries, each: bool = False) -> tuple[TokenScores, TokenScores]:
        """Scores of the large and of the small model at the same queries, on the tokens of the trained model.

        Args:
            queries: the positions.
            each: with scores sentence by sentence.

        Raises:
            ElusiveError: if scores are missing, or the tokens differ and augment.across_tokenizers is not set.
        """
        large, small = (scores_of(self.scores, one, self.document) for one in pair_sets(queries, each=each))
        if self.settings.across_tokenizers:
            return pair_on_tokens(large, small, self.own, self.document.text)
        if self.own is not large and not np.array_equal(self.own.token_ids, large.token_ids):
            raise ElusiveError(
                f"The model to be trained splits document {self.document.id!r} into other tokens than the contrasted "
                "pair. Train a model of the pair's family, leave the contrast arms out, or set "
                "augment.across_tokenizers = true (--across-tokenizers) to carry scores over by their characters."
            )
        return large, small


Signal = Callable[[ScoredDocument], np.ndarray]
"""A document's signal, float (tokens,): the token with the largest value is rank 1; -inf where it is not defined."""


def attention(scored: ScoredDocument) -> np.ndarray:
    """The trained model's own attention, float32 (tokens,)."""
    return scored.own.scores


def entropy(scored: ScoredDocument) -> np.ndarray:
    """The entropy of the trained model's prediction in each token's place, float32 (tokens,).

    A token that nothing predicts (the first of a text without bos) is not predictable, so its entropy is infinite.
    """
    found = scores_of(scored.scores, entropy_set(scored.own_set.model), scored.document)
    if not np.array_equal(found.token_ids, scored.own.token_ids):
        raise ElusiveError(
            f"The entropies of document {scored.document.id!r} are of other tokens than its attention scores. Score "
            "both with the model that will be trained."
        )
    return np.where(found.queries > 0, found.scores, np.inf).astype(np.float32)


def distance_from_head(scored: ScoredDocument) -> np.ndarray:
    """Closeness to the head entity: minus the distance, in tokens, from the mean position of its nearest mention.

    float64 (tokens,); the token nearest to the head entity is rank 1.

    The paper measures a distance from the mean position of the head entity's tokens ("Definition of Distance"), and
    drops tokens "based on the distance between the head entity and the tail entity". It does not say which tokens are
    kept. Here those near the head entity are: with the others kept, the name would be dropped first, and the arm could
    not be the strong baseline of the paper's Table 6.

    Raises:
        ElusiveError: if the document marks no head entity.
    """
    document, heads = scored.document, scored.score.head_fields
    spans = [span for span in document.spans if span.field in heads]
    inside_ST = tokens_of_spans(document.text, spans, scored.own.offsets)
    centres = [np.flatnonzero(inside_T & ~scored.special).mean() for inside_T in inside_ST if inside_T.any()]
    if not centres:
        raise no_head_entity(document.id, heads)
    distances = np.abs(np.arange(len(scored.own.token_ids)) - np.array(centres)[:, None])
    return -distances.min(axis=0)


def no_head_entity(document_id: str, head_fields: Collection[str]) -> ElusiveError:
    """The error of an arm that looks at the head entity, on a document that marks none."""
    return ElusiveError(
        f"The arms distance and insert-head look at the head entity, but document {document_id!r} has no span of "
        f"{' or '.join(head_fields) or 'a head field'} (score.head_fields). Mark it, name the field that holds it, or "
        "use arms that look from the queries: query-distance, insert-distance."
    )


def distance_from_queries(scored: ScoredDocument) -> np.ndarray:
    """Mean distance of each token from the queries after it, float64 (tokens,); the farthest token is rank 1."""
    positions = query_positions(
        scored.document, scored.own.offsets, scored.special, scored.score.queries, scored.score.head_fields
    )
    return distance_signal(positions, len(scored.own.token_ids))


@dataclass(frozen=True)
class ContrastAt:
    """The signal that is the contrast at these queries, as augment.contrast_signal and augment.cue_fusion take it."""

    queries: Queries

    def __call__(self, scored: ScoredDocument) -> np.ndarray:
        """float (tokens,); -inf for tokens that these queries do not see: 0 would put them in the middle."""
        signal, fusion = scored.settings.contrast_signal, scored.settings.cue_fusion
        large, small = scored.pair(self.queries, each=fusion != "mean")
        if fusion == "mean":
            return np.where(large.queries > 0, contrast(large, small, signal), -np.inf)
        candidates_ST = scored.rankable & (large.by_sentence().queries > 0)
        return fused(contrast_rows(large, small, signal), candidates_ST, fusion)


def scores_of(scores: Mapping[ScoreSet, TokenScores], wanted: ScoreSet, document: Document) -> TokenScores:
    """A document's scores in one score set.

    Raises:
        ElusiveError: if there are none.
    """
    if wanted not in scores:
        raise ElusiveError(f"No {wanted} scores of document {document.id!r}. Score the same corpus first.")
    return scores[wanted]
