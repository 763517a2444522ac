"""From clues to training texts in one call: the method's second half."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from elusive.clues.corpus_clues import CorpusClues
from elusive.config.augmentation import AugmentSettings
from elusive.errors import ElusiveError
from elusive.runs.frames import Items
from elusive.scoring.sets import pair_sets

from .copies import AugmentedDocument, AugmentedText, Augmenter
from .protection import check_protected
from .rankings import RankedDocument

_ARMS = {"cues": "contrast-cues", "all": "contrast-all"}
"""The arm that drops by the contrast at these queries."""


def augment(
    clues: CorpusClues,
    *,
    alpha: float | None = None,
    beta: float | None = None,
    copies: int | None = None,
    seed: int | None = None,
    settings: AugmentSettings = AugmentSettings(),
) -> Items[AugmentedText]:
    """Each document and copies of it in which the best clues survive token dropout, by p(r) = alpha (1 - exp(-beta r)).

    These are the texts that the arm contrast-cues (contrast-all, where the clues' queries are all tokens) trains on.

    Args:
        clues: from `Pair.clues`.
        alpha: largest drop probability (None: that of the settings, like the next three).
        beta: how fast the drop probability grows with the rank.
        copies: augmented copies of each document, in addition to the original.
        seed: a copy's draws derive from (seed, document id, copy number) alone.
        settings: all others: which tokens are protected, whole words, ...

    Returns:
        Document by document the original (copy 0), then its copies. As a list, and a table with a row for each text.

    Raises:
        ElusiveError: if a setting is out of its range, a protected field is none of the documents', the clues'
            queries are spans, at which no arm drops tokens, or cues are fused and sentences were not kept.

    Reference:
        Gao et al. 2025, arXiv 2409.17954, Equation 1.
    """
    given = {"alpha": alpha, "beta": beta, "copies": copies, "seed": seed}
    settings = dataclasses.replace(settings, **{name: value for name, value in given.items() if value is not None})
    made = (text for document in _augmented(clues, settings) for text in document.texts)
    return Items(made, ("id", "copy", "arm", "text"))


@dataclass(frozen=True)
class RankedClues(Sequence[RankedDocument]):
    """What ranking.parquet holds, in memory: each document's tokens with their ranks and drop probabilities.

    Attributes:
        arm: the arm whose copies are drawn.
        settings: how.
        documents: the documents, in order.
    """

    arm: str
    settings: AugmentSettings
    documents: tuple[RankedDocument, ...]

    @classmethod
    def of(cls, clues: CorpusClues, settings: AugmentSettings) -> "RankedClues":
        """The clues as `augment` ranks them.

        Raises:
            ElusiveError: as `augment`.
        """
        ranked = tuple(one.ranked for one in _augmented(clues, dataclasses.replace(settings, copies=0)))
        return cls(_ARMS[clues.settings.queries], settings, ranked)

    @overload
    def __getitem__(self, number: int) -> RankedDocument: ...
    @overload
    def __getitem__(self, number: slice) -> tuple[RankedDocument, ...]: ...
    def __getitem__(self, number: int | slice) -> RankedDocument | tuple[RankedDocument, ...]:
        return self.documents[number]

    def __len__(self) -> int:
        return len(self.documents)


def _augmented(clues: CorpusClues, settings: AugmentSettings) -> list[AugmentedDocument]:
    check_protected((one.document for one in clues), settings, clues.settings.head_fields)
    queries = clues.settings.queries
    if queries not in _ARMS:
        raise ElusiveError(
            f"augment: expected clues at queries = cues or all, got {queries}. Call Pair.clues with "
            'ScoreSettings(queries="cues").'
        )
    augmenter = Augmenter(
        _ARMS[queries], trained="large", tokenizer=clues.tokenizer, score=clues.settings, settings=settings
    )
    large, small = pair_sets(queries, each=augmenter.arm.by_sentence(settings.cue_fusion))
    rows = [(one.document, {large: one.large, small: one.small}) for one in clues]
    return augmenter.augment(rows)
