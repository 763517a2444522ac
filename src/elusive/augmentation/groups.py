"""Augmented documents group by group, as their files hold them: what one process makes and another may write."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from elusive.config.augmentation import AugmentSettings

from .arm import Arm, count_at_ceiling
from .arms import arm_named
from .copies import AugmentedDocument, AugmentedText
from .marks import COLUMN, COLUMN_TYPE
from .rankings import ranking_rows, ranking_schema
from .summary import AugmentedCorpus
from .survival import SpanCounts, added, survival

TRAIN_SCHEMA = pa.schema([("text", pa.string()), ("id", pa.string()), ("copy", pa.int32()), ("arm", pa.string())])

GROUP_DOCUMENTS = 256
"""Documents of a row group of train.parquet and ranking.parquet."""


def train_schema(arm: Arm) -> pa.Schema:
    """Columns of train.parquet: TRAIN_SCHEMA, and marks where the arm makes any."""
    return TRAIN_SCHEMA.append(pa.field(COLUMN, COLUMN_TYPE)) if arm.marks else TRAIN_SCHEMA


@dataclasses.dataclass(frozen=True)
class AugmentedCounts:
    """What the summary of an augmented set is made from; counts of groups add up, in the order of the groups.

    Attributes:
        documents: documents.
        texts: originals and copies.
        dropped: tokens dropped over all copies.
        chances: rankable tokens over all copies.
        at_ceiling: ranked tokens whose drop probability is within 1% of alpha.
        ranked: ranked tokens.
        unchanged: copies that are their original.
        marked: tokens that marks take away; a weight counts by what it takes.
        markable: rankable tokens over all texts with marks.
        clues: clues that were found.
        headed: of these, those of documents that mark a head entity.
        right_clues: of these, those that are the head entity of their sentence.
        intact: by field, copies in which its spans are intact.
    """

    documents: int = 0
    texts: int = 0
    dropped: int = 0
    chances: int = 0
    at_ceiling: int = 0
    ranked: int = 0
    unchanged: int = 0
    marked: float = 0.0
    markable: int = 0
    clues: int = 0
    headed: int = 0
    right_clues: int = 0
    intact: dict[str, SpanCounts] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, group: Sequence[AugmentedDocument], arm: Arm, settings: AugmentSettings) -> "AugmentedCounts":
        """The counts of one group."""
        headed = [item for item in group if item.right_clues is not None]
        ceilings = [_at_ceiling(item, arm, settings) for item in group]
        return cls(
            documents=len(group),
            texts=sum(len(item.texts) for item in group),
            dropped=sum(item.dropped for item in group),
            chances=sum(item.droppable * (len(item.texts) - 1) for item in group),
            at_ceiling=sum(counted for counted, _ in ceilings),
            ranked=sum(ranked for _, ranked in ceilings),
            unchanged=sum(_unchanged(text, item) for item in group for text in item.texts[1:]),
            marked=sum(item.marked for item in group),
            markable=sum(item.droppable for item in group for text in item.texts if text.marks),
            clues=sum(len(item.ranked.clues) for item in group),
            headed=sum(len(item.ranked.clues) for item in headed),
            right_clues=sum(item.right_clues or 0 for item in headed),
            intact=added(item.spans for item in group),
        )

    def __add__(self, other: "AugmentedCounts") -> "AugmentedCounts":
        numbers = [one.name for one in dataclasses.fields(self) if one.name != "intact"]
        sums = {name: getattr(self, name) + getattr(other, name) for name in numbers}
        return AugmentedCounts(**sums, intact=added([self.intact, other.intact]))

    def summary(self) -> AugmentedCorpus:
        """The counts as rates."""
        copies = self.texts - self.documents
        return AugmentedCorpus(
            self.documents,
            self.texts,
            mean_drop_rate=self.dropped / self.chances if self.chances else 0.0,
            mean_mark_rate=self.marked / self.markable if self.markable else 0.0,
            at_ceiling=self.at_ceiling / self.ranked if self.ranked else 0.0,
            unchanged=self.unchanged / copies if copies > 0 else 0.0,
            clues=self.clues,
            right_clues=self.right_clues / self.headed if self.headed else None,
            survival=survival(self.intact),
        )


class TextGroup(NamedTuple):
    """A group of documents as files hold it.

    Attributes:
        lines: its part of train.jsonl.
        train: its row group of train.parquet.
        ranking: its row group of ranking.parquet.
        counts: what the summary needs of it.
    """

    lines: str
    train: pa.Table
    ranking: pa.Table
    counts: AugmentedCounts


def text_group(group: Sequence[AugmentedDocument], arm: str, settings: AugmentSettings) -> TextGroup:
    """A group of documents as the files hold it.

    Args:
        group: the documents.
        arm: how they were made.
        settings: what they were made with.
    """
    columns = train_schema(arm_named(arm))
    rows = [_train_row(text, columns) for item in group for text in item.texts]
    encode = json.JSONEncoder(ensure_ascii=False).encode
    return TextGroup(
        "".join(encode(row) + "\n" for row in rows),
        pa.table({name: [row[name] for row in rows] for name in columns.names}, columns),
        ranking_rows([item.ranked for item in group], ranking_schema(arm, settings)),
        AugmentedCounts.of(group, arm_named(arm), settings),
    )


def _at_ceiling(item: AugmentedDocument, arm: Arm, settings: AugmentSettings) -> tuple[int, int]:
    ranks = item.ranked.ranks if arm.ranked else np.zeros_like(item.ranked.ranks)
    return count_at_ceiling(ranks, item.ranked.drop_probability, settings.alpha)


def _train_row(text: AugmentedText, columns: pa.Schema) -> dict[str, Any]:
    row = {name: getattr(text, name) for name in TRAIN_SCHEMA.names}
    return row | ({COLUMN: text.marks and text.marks.row} if COLUMN in columns.names else {})


def _unchanged(copy: AugmentedText, document: AugmentedDocument) -> bool:
    return copy.text == document.ranked.text and not (copy.marks and copy.marks.acts)
