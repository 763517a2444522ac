"""What each way of finding clues would write into the sentences of a corpus, before anything is written or trained."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from elusive.config.augmentation import AugmentSettings
from elusive.config.models import Models
from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Document
from elusive.scoring.shards import iterate_scores
from elusive.scoring.stage import score_sets

from .arms import arm_named
from .copies import augment_documents

FINDERS = ("insert-contrast", "insert-attention", "insert-distance", "insert-head")
"""Arms whose clues are counted: by two models, by one, by none, and the marked head entities themselves."""


@dataclass(frozen=True)
class FoundClues:
    """The clues that an arm would write.

    Attributes:
        clues: how many.
        right: how many are the head entity that their sentence tells of.
    """

    clues: int
    right: int


def count_clues(
    documents: Collection[Document],
    folder: str | Path,
    *,
    pair: Models,
    tokenizer: PreTrainedTokenizerFast,
    score: ScoreSettings,
    settings: AugmentSettings,
) -> dict[str, FoundClues]:
    """The clues of each of `FINDERS`, with the large model as the one that is trained.

    Args:
        documents: a corpus that marks head entities.
        folder: where scores are kept; what it lacks is scored.
        pair: the two models.
        tokenizer: the large model's.
        score: queries and head fields.
        settings: how clues are found (`clue_*`).

    Raises:
        ElusiveError: as `copies.augment_documents` and `scoring.score_sets`.
    """
    needed = {arm: arm_named(arm).needs("large", score.queries) for arm in FINDERS}
    folders = score_sets(
        documents,
        folder,
        list(dict.fromkeys(one for sets in needed.values() for one in sets)),
        models=pair.by_role(),
        settings=score,
    )
    counted = {}
    for arm, sets in needed.items():
        augmented = augment_documents(
            documents,
            arm,
            {one: iterate_scores(folders[one]) for one in sets},
            trained="large",
            tokenizer=tokenizer,
            score=score,
            settings=dataclasses.replace(settings, copies=1),
        )
        found = [(len(one.ranked.clues), one.right_clues) for one in augmented if one.right_clues is not None]
        counted[arm] = FoundClues(sum(clues for clues, _ in found), sum(right or 0 for _, right in found))
    return counted
