"""Scores of texts, and the Parquet shards that hold them."""

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.parquet as pq
from jaxtyping import Float32, Int32

from elusive.errors import ElusiveError
from elusive.runs.files import atomic_path
from elusive.runs.frames import Tabular
from elusive.runs.parquet import WRITE, opened_parquet
from elusive.runs.stage import refuse_old_folder, stage_settings
from elusive.storage import Location, located

_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("document_id", pa.string()),
    ("token_ids", pa.list_(pa.int32())),
    ("starts", pa.list_(pa.int32())),
    ("ends", pa.list_(pa.int32())),
    ("scores", pa.list_(pa.float32())),
    ("queries", pa.list_(pa.int32())),
]


SCHEMA = pa.schema(_COLUMNS)
"""Columns of a shard; starts and ends are characters of the text."""


Kept = Literal["heads", "sentences"]
"""What may be kept in addition: the scores of each head, or of each sentence's queries."""


# Large lists: layers x heads x tokens of a shard may pass the 2^31 numbers that a plain list can hold.
_KEPT_COLUMNS: dict[Kept, list[tuple[str, pa.DataType]]] = {
    "heads": [("per_head", pa.large_list(pa.large_list(pa.large_list(pa.float32()))))],
    "sentences": [
        ("sentence_starts", pa.list_(pa.int32())),
        ("sentence_ends", pa.list_(pa.int32())),
        ("rows", pa.large_list(pa.large_list(pa.float32()))),
        ("row_queries", pa.large_list(pa.large_list(pa.int32()))),
    ],
}


_SINK_END = "sink_end"
"""A column that only texts with a sink of their own have."""


def schema_with(kept: Collection[Kept], sinks: bool = False) -> pa.Schema:
    """The columns of a shard that holds more: [layer][head][token] of heads, [sentence][token] of sentences, sinks."""
    more = [column for one in get_args(Kept) if one in kept for column in _KEPT_COLUMNS[one]]
    return pa.schema([*_COLUMNS, *more, *([(_SINK_END, pa.int32())] if sinks else [])])


class SentenceScores(NamedTuple):
    """What the queries of single sentences give: see the attributes of `TokenScores`."""

    sentences: Int32[np.ndarray, "rows 2"]
    rows: Float32[np.ndarray, "rows tokens"]
    queries: Int32[np.ndarray, "rows tokens"]


@dataclasses.dataclass(frozen=True, eq=False)
class TokenScores(Tabular):
    """One text's scores in one model.

    Attributes:
        document_id: the document.
        token_ids: int32 (tokens,), special tokens included.
        offsets: int32 (tokens, 2), each token's first character and the one after its last.
        scores: float32 (tokens,), s(k): the mean attention that token k receives from the queries that see it, over
            the chosen layers and heads; 0 where no query sees it. In a set of entropies, that of the prediction in the
            token's place, in nats.
        queries: int32 (tokens,), how many queries see the token; of entropies, 1 for each token that is predicted.
        per_head: float32 (layers, heads, tokens), the same of each layer and head; None unless asked for.
        sentences: int32 (rows, 2), the characters of each sentence that holds a query, in order; None unless asked for,
            like the rows. The sentence of a query at a cue or in a span is that of the token which it predicts.
        rows: float32 (rows, tokens), the mean attention that token k receives from those of one sentence's queries that
            see it; 0 where none does.
        row_queries: int32 (rows, tokens), how many of the sentence's queries see the token.
        sink_end: the text's characters up to this one, its first token's, are an attention sink, whose score says
            nothing of the text; 0: none are.
    """

    document_id: str
    token_ids: Int32[np.ndarray, " tokens"]
    offsets: Int32[np.ndarray, "tokens 2"]
    scores: Float32[np.ndarray, " tokens"]
    queries: Int32[np.ndarray, " tokens"]
    per_head: Float32[np.ndarray, "layers heads tokens"] | None = None
    sentences: Int32[np.ndarray, "rows 2"] | None = None
    rows: Float32[np.ndarray, "rows tokens"] | None = None
    row_queries: Int32[np.ndarray, "rows tokens"] | None = None
    sink_end: int = 0

    def columns(self) -> dict[str, list[Any]]:
        """One list a column, each with one value a token."""
        starts_T, ends_T = self.offsets.T
        return {
            "document_id": [self.document_id] * len(self.token_ids),
            "token_id": self.token_ids.tolist(),
            "start": starts_T.tolist(),
            "end": ends_T.tolist(),
            "score": self.scores.tolist(),
            "queries": self.queries.tolist(),
        }

    def by_sentence(self) -> SentenceScores:
        """The rows of single sentences.

        Raises:
            ElusiveError: if they were not kept.
        """
        if self.sentences is None or self.rows is None or self.row_queries is None:
            raise ElusiveError(
                "Expected scores sentence by sentence, got those of whole documents. Score with each=True "
                '(keep=("sentences",)).'
            )
        return SentenceScores(self.sentences, self.rows, self.row_queries)


def write_shard(path: Location, scores: Sequence[TokenScores]) -> None:
    """Write scores to one Parquet file, with more columns where they hold single heads or sentences."""
    columns: dict[str, Any] = {
        "document_id": [row.document_id for row in scores],
        "token_ids": [row.token_ids for row in scores],
        "starts": [row.offsets[:, 0] for row in scores],
        "ends": [row.offsets[:, 1] for row in scores],
        "scores": [row.scores for row in scores],
        "queries": [row.queries for row in scores],
    }
    kept: list[Kept] = []
    if per_head := [row.per_head for row in scores if row.per_head is not None]:
        kept.append("heads")
        columns["per_head"] = _nested(per_head, pa.float32())
    if sentences := [row.sentences for row in scores if row.sentences is not None]:
        kept.append("sentences")
        columns["sentence_starts"] = [characters_2[:, 0] for characters_2 in sentences]
        columns["sentence_ends"] = [characters_2[:, 1] for characters_2 in sentences]
        columns["rows"] = _nested([row.rows for row in scores if row.rows is not None], pa.float32())
        columns["row_queries"] = _nested([row.row_queries for row in scores if row.row_queries is not None], pa.int32())
    if sinks := any(row.sink_end for row in scores):
        columns[_SINK_END] = [row.sink_end for row in scores]
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns, schema=schema_with(kept, sinks)), temporary, **WRITE)


def read_shard(path: Location, ids: Collection[str] | None = None) -> list[TokenScores]:
    """The scores of one Parquet file, in its order.

    Args:
        path: the file.
        ids: documents to read (None: all).

    Raises:
        ElusiveError: if it cannot be read.
    """
    with opened_parquet(path, "Delete it and done.json beside it, and run the score stage again.") as file:
        names = file.schema_arrow.names
        kept: list[Kept] = [one for one, columns in _KEPT_COLUMNS.items() if columns[-1][0] in names]
        schema = schema_with(kept, _SINK_END in names)
        table = file.read(columns=schema.names).select(schema.names).cast(schema)
        if ids is not None:
            table = table.filter(
                cast("Any", compute).is_in(table.column("document_id"), pa.array(sorted(ids), pa.string()))
            )
            table = table.combine_chunks()
        nested = [name for name in schema.names if name in _NESTED]
        return [
            _row(row, {name: table.column(name)[number] for name in nested})
            for number, row in enumerate(table.drop_columns(nested).to_pylist())
        ]


_NESTED = ("per_head", "rows", "row_queries")
"""Columns of whole arrays: no Python object is made for each of their numbers."""


def _row(row: Mapping[str, Any], nested: Mapping[str, Any]) -> TokenScores:
    """A row of a shard.

    Args:
        row: by column, as Python objects.
        nested: the columns of whole arrays, as pyarrow's scalars.

    Raises:
        ValueError: if it has more values of one kind than of another, or one that is no number.
    """
    read = TokenScores(
        document_id=row["document_id"],
        token_ids=np.array(row["token_ids"], dtype=np.int32),
        offsets=_pairs(row["starts"], row["ends"]),
        scores=np.array(row["scores"], dtype=np.float32),
        queries=np.array(row["queries"], dtype=np.int32),
        per_head=_heads(nested["per_head"]) if "per_head" in nested else None,
        **(_sentences(row, nested) if "rows" in nested else {}),
        sink_end=row.get(_SINK_END, 0),
    )
    tokens = len(read.token_ids)
    if not (len(read.offsets) == len(read.scores) == len(read.queries) == tokens and np.isfinite(read.scores).all()):
        raise ValueError(f"document {read.document_id!r}: expected a score for each of {tokens} tokens")
    return read


def _pairs(starts: Sequence[int], ends: Sequence[int]) -> np.ndarray:
    """First characters, and those after the last, int32 (items, 2)."""
    return np.array([starts, ends], dtype=np.int32).T.copy()


def _sentences(row: Mapping[str, Any], nested: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The sentences of a row of a shard, and their rows.

    Raises:
        ValueError: if a sentence has no number for each token.
    """
    sentences_2, tokens = _pairs(row["sentence_starts"], row["sentence_ends"]), len(row["token_ids"])
    arrays = {}
    for name, dtype in (("rows", np.float32), ("row_queries", np.int32)):
        rows = nested[name].values
        lengths, values = rows.value_lengths().to_numpy(), rows.flatten().to_numpy()
        if len(lengths) != len(sentences_2) or (lengths != tokens).any() or not np.isfinite(values).all():
            raise ValueError(
                f"document {row['document_id']!r}: expected {name} of {tokens} numbers for each of {len(sentences_2)} "
                "sentences"
            )
        arrays[name] = values.reshape(-1, tokens).astype(dtype)
    return {"sentences": sentences_2, **arrays}


def iterate_scores(folder: str | Location, ids: Collection[str] | None = None) -> Iterator[TokenScores]:
    """The scores of a finished `score_corpus`, in the corpus's order, one shard in memory at a time.

    Args:
        folder: the score set.
        ids: documents to read (None: all).

    Raises:
        ElusiveError: if the folder is missing, not done or of another version (at once), or a shard cannot be read
            (when its turn comes).
    """
    folder = located(folder)
    refuse_old_folder(folder)
    if not (folder / "done.json").exists():
        raise ElusiveError(f"The scores in {folder} are not finished. Run the score stage first (again, to resume it).")
    return (row for path in shard_paths(folder) for row in read_shard(path, ids))


def scores_of_part(folder: str | Location, first: int, count: int) -> list[TokenScores]:
    """The scores of some documents of a finished `score_corpus`, by their place in the corpus.

    Args:
        folder: the score set.
        first: the first document, from 0.
        count: so many from there on.

    Raises:
        ElusiveError: if a shard is missing or cannot be read.
    """
    size, last = stage_settings(folder)["shard_documents"], first + count - 1
    numbers = range(first // size, last // size + 1)
    scores = [row for number in numbers for row in read_shard(shard_path(folder, number))]
    before = numbers[0] * size
    return scores[first - before : first - before + count]


def shard_paths(folder: str | Location) -> list[Location]:
    """The shards that a folder holds, in their order."""
    return sorted(located(folder).glob("part-*.parquet"))  # type: ignore[type-var] # all are of one kind


def shard_path(folder: str | Location, number: int) -> Location:
    """The file of a shard."""
    return located(folder) / f"part-{number:05d}.parquet"


def read_scores(folder: str | Location) -> list[TokenScores]:
    """All that `iterate_scores` gives, in a list.

    Raises:
        ElusiveError: if the folder is missing, not done, or a shard cannot be read.
    """
    return list(iterate_scores(folder))


def _nested(arrays: Sequence[np.ndarray], numbers: pa.DataType) -> pa.Array:
    """Arrays of one number of axes as lists of lists, without a Python object for each number."""
    values = pa.array(np.concatenate([array.ravel() for array in arrays]), numbers)
    for axis in reversed(range(arrays[0].ndim)):  # the innermost lists first
        lengths = np.concatenate([np.full(math.prod(array.shape[:axis]), array.shape[axis]) for array in arrays])
        values = pa.LargeListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64()), values)
    return values


def _heads(row: Any) -> np.ndarray:
    """One document's [layer][head][token] as float32 (layers, heads, tokens)."""
    layers = row.values
    heads = layers.flatten()
    return heads.flatten().to_numpy().reshape(len(layers), len(heads) // len(layers), -1).astype(np.float32)
