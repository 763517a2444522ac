"""ranking.parquet: each document's tokens, ranks, drop probabilities and clues, as an arm's copies were drawn."""

import collections
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elusive.config.augmentation import AugmentSettings
from elusive.config.toml import from_table, to_table
from elusive.errors import ElusiveError
from elusive.runs.parquet import opened_parquet
from elusive.runs.stage import FORMAT, check_format
from elusive.storage import Location, located

from .clue_spans import Clue

RANKING = "ranking.parquet"


SETTINGS_KEY = b"elusive.augment"
"""Where the file keeps its format, arm and settings, as JSON in the schema's metadata."""


_CLUES = ("clue_sentences", "clue_starts", "clue_ends")

RANKING_SCHEMA = pa.schema(
    [("document_id", pa.string()), ("text", pa.string())]
    + [(name, pa.list_(pa.int32())) for name in ("token_ids", "starts", "ends", "ranks")]
    + [("drop_probability", pa.list_(pa.float64()))]  # as drawn with: rounded, a draw could fall on its other side
    + [(name, pa.list_(pa.int32())) for name in _CLUES]
)


_BATCH_DOCUMENTS = 256
_HELD_BYTES = 1 << 28
"""Row groups that were used last are held up to so many bytes; a set of 100,000 short documents is held whole."""
_AGAIN = "Delete its folder and augment again."


@dataclass(frozen=True, eq=False)
class RankedDocument:
    """A document's tokens as an arm ranked them.

    Attributes:
        document_id: the document.
        text: its text.
        token_ids: int32 (tokens,).
        offsets: int32 (tokens, 2), each token's first character and the one after its last.
        ranks: int32 (tokens,), 1 for the best; 0 for tokens that are never ranked.
        drop_probability: float64 (tokens,).
        clues: what the arm's copies may write into sentences.
    """

    document_id: str
    text: str
    token_ids: np.ndarray
    offsets: np.ndarray
    ranks: np.ndarray
    drop_probability: np.ndarray
    clues: tuple[Clue, ...] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "RankedDocument":
        """A row of the file, as lists or arrays by the names of its columns."""
        starts, ends = (np.asarray(row[name], dtype=np.int32) for name in ("starts", "ends"))
        if not len(starts) == len(row["token_ids"]) == len(row["ranks"]) == len(row["drop_probability"]):
            raise ElusiveError(f"Document {row['document_id']!r} has more tokens than ranks in its file. {_AGAIN}")
        return cls(
            row["document_id"],
            row["text"],
            np.asarray(row["token_ids"], dtype=np.int32),
            np.stack([starts, ends], axis=1),
            np.asarray(row["ranks"], dtype=np.int32),
            np.asarray(row["drop_probability"], dtype=np.float64),
            tuple(
                Clue(int(sentence), int(start), int(end))
                for sentence, start, end in zip(*(row[name] for name in _CLUES), strict=True)
            ),
        )


class RankingFile:
    """A ranking.parquet, from which documents are read one at a time.

    Args:
        path: the file.

    Raises:
        ElusiveError: if it is missing, unreadable, or of a version whose files this one does not read.
    """

    def __init__(self, path: str | Location) -> None:
        self.path = located(path)
        self.arm, self.settings = _arm_and_settings(self.path)
        self._held: collections.OrderedDict[int, pa.Table] = collections.OrderedDict()

    def documents(self, ids: Collection[str] | None = None) -> Iterator[RankedDocument]:
        """The documents in the order of the corpus; those with these ids alone where any are given."""
        with opened_parquet(self.path, _AGAIN) as file:
            for batch in file.iter_batches(batch_size=_BATCH_DOCUMENTS):
                places = range(len(batch))
                if ids is not None:
                    places = [place for place, one in enumerate(batch.column("document_id").to_pylist()) if one in ids]
                yield from (_at(batch, place) for place in places)

    def group_sizes(self) -> list[int]:
        """Documents of each row group, in the order of the file."""
        return [self._metadata.row_group(number).num_rows for number in range(self._metadata.num_row_groups)]

    def read_groups(self, numbers: Sequence[int]) -> list[RankedDocument]:
        """The documents of some row groups, in the order given."""
        with opened_parquet(self.path, _AGAIN) as file:
            tables = (file.read_row_group(number, columns=RANKING_SCHEMA.names) for number in numbers)
            return [_at(table, place) for table in tables for place in range(len(table))]

    def longest_rank(self) -> int:
        """The last rank that any token has; 0 where none is ranked."""
        with opened_parquet(self.path, _AGAIN) as file:
            ranks = file.read(columns=["ranks"]).column("ranks")
        return max((int(chunk.flatten().to_numpy().max(initial=0)) for chunk in ranks.chunks), default=0)

    def __len__(self) -> int:
        return self._metadata.num_rows

    def __getitem__(self, number: int) -> RankedDocument:
        """One document by its place in the corpus; what was read last stays in memory, of a small file all of it."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        group = int(np.searchsorted(self._ends, number, side="right"))
        table = self._group(group)
        return _at(table, number - int(self._ends[group]) + len(table))

    @cached_property
    def _metadata(self) -> pq.FileMetaData:
        with opened_parquet(self.path, _AGAIN) as file:
            return file.metadata

    @cached_property
    def _ends(self) -> np.ndarray:
        """The first document behind each row group, int64 (groups,)."""
        return np.cumsum(self.group_sizes(), dtype=np.int64)

    def _group(self, number: int) -> pa.Table:
        """A row group; those that were used last are held."""
        table = self._held.pop(number, None)
        if table is None:
            with opened_parquet(self.path, _AGAIN, self._metadata) as file:
                table = file.read_row_group(number, columns=RANKING_SCHEMA.names)
            while self._held and sum(one.nbytes for one in self._held.values()) + table.nbytes > _HELD_BYTES:
                self._held.popitem(last=False)
        self._held[number] = table
        return table


def ranking_schema(arm: str, settings: AugmentSettings) -> pa.Schema:
    """The file's columns, with its arm and settings as metadata."""
    made_with = {"format": FORMAT, "arm": arm, **to_table(settings)}
    return RANKING_SCHEMA.with_metadata({SETTINGS_KEY: json.dumps(made_with)})


def ranking_rows(items: Sequence[RankedDocument], schema: pa.Schema) -> pa.Table:
    """Documents as rows of the file."""
    columns = {
        "document_id": [item.document_id for item in items],
        "text": [item.text for item in items],
        "token_ids": [item.token_ids for item in items],
        "starts": [item.offsets[:, 0] for item in items],
        "ends": [item.offsets[:, 1] for item in items],
        "ranks": [item.ranks for item in items],
        "drop_probability": [item.drop_probability for item in items],
        "clue_sentences": [[clue.sentence for clue in item.clues] for item in items],
        "clue_starts": [[clue.start for clue in item.clues] for item in items],
        "clue_ends": [[clue.end for clue in item.clues] for item in items],
    }
    return pa.table(columns, schema)


def _at(table: pa.Table | pa.RecordBatch, number: int) -> RankedDocument:
    values = {name: table.column(name)[number] for name in RANKING_SCHEMA.names}
    return RankedDocument.of(
        {
            name: value.values.to_numpy() if isinstance(value, pa.ListScalar) else value.as_py()
            for name, value in values.items()
        }
    )


def _arm_and_settings(path: Location) -> tuple[str, AugmentSettings]:
    if not path.exists():
        raise ElusiveError(
            f"No {path.name} in {path.parent}. It is what `elusive augment`, or the stage 'augment' of a run, writes "
            "with train.jsonl: run that first, and give the folder that it wrote."
        )
    with opened_parquet(path, _AGAIN) as file:
        schema = file.schema_arrow
    kept = (schema.metadata or {}).get(SETTINGS_KEY)
    if kept is None or not set(RANKING_SCHEMA.names) <= set(schema.names):
        raise ElusiveError(
            f"{path} was written by an older version of Elusive, which kept neither texts nor settings in it. "
            "Augment again into another folder."
        )
    if not schema.remove_metadata().equals(RANKING_SCHEMA):
        raise ElusiveError(f"{path} is damaged (columns of other types). {_AGAIN}")
    try:
        table = json.loads(kept)
        check_format(table, path)
        del table["format"]
        return table.pop("arm"), from_table(AugmentSettings, table, str(path))
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, ElusiveError):
            raise
        raise ElusiveError(f"{path} is damaged (settings that cannot be read, {error}). {_AGAIN}") from None
