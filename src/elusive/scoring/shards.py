"""Scores of texts, and the Parquet shards that hold them."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int32

from elusive.errors import ElusiveError
from elusive.runs.files import atomic_path
from elusive.runs.parquet import WRITE, opened_parquet
from elusive.runs.stage import refuse_old_folder

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


# Large lists: layers x heads x tokens of a shard may pass the 2^31 numbers that a plain list can hold.
PER_HEAD_SCHEMA = pa.schema([*_COLUMNS, ("per_head", pa.large_list(pa.large_list(pa.large_list(pa.float32()))))])
"""The same with each layer's and head's scores, [layer][head][token]."""


@dataclasses.dataclass(frozen=True, eq=False)
class TokenScores:
    """One text's scores in one model.

    Attributes:
        document_id: the document.
        token_ids: int32 (tokens,), special tokens included.
        offsets: int32 (tokens, 2), each token's first character and the one after its last.
        scores: float32 (tokens,), s(k): the mean attention that token k receives from the queries that see it, over
            the chosen layers and heads; 0 where no query sees it.
        queries: int32 (tokens,), how many queries see the token.
        per_head: float32 (layers, heads, tokens), the same of each layer and head; None unless asked for.
    """

    document_id: str
    token_ids: Int32[np.ndarray, " tokens"]
    offsets: Int32[np.ndarray, "tokens 2"]
    scores: Float32[np.ndarray, " tokens"]
    queries: Int32[np.ndarray, " tokens"]
    per_head: Float32[np.ndarray, "layers heads tokens"] | None = None


def write_shard(path: Path, scores: Sequence[TokenScores]) -> None:
    """Write scores to one Parquet file; with a column `per_head` where they have each head's."""
    columns: dict[str, Any] = {
        "document_id": [row.document_id for row in scores],
        "token_ids": [row.token_ids for row in scores],
        "starts": [row.offsets[:, 0] for row in scores],
        "ends": [row.offsets[:, 1] for row in scores],
        "scores": [row.scores for row in scores],
        "queries": [row.queries for row in scores],
    }
    per_head = [row.per_head for row in scores if row.per_head is not None]
    if per_head:
        columns["per_head"] = _nested(per_head)
    with atomic_path(path) as temporary:
        table = pa.table(columns, schema=PER_HEAD_SCHEMA if per_head else SCHEMA)
        pq.write_table(table, temporary, **WRITE)


def read_shard(path: Path) -> list[TokenScores]:
    """The scores of one Parquet file, in its order.

    Raises:
        ElusiveError: if it cannot be read.
    """
    with opened_parquet(path, "Delete it and done.json beside it, and run the score stage again.") as file:
        with_heads = "per_head" in file.schema_arrow.names
        table = file.read(columns=(PER_HEAD_SCHEMA if with_heads else SCHEMA).names)
        table = table.select(_NAMES).cast(SCHEMA) if not with_heads else table.cast(PER_HEAD_SCHEMA)
        return [
            _row(row, _heads(table.column("per_head")[number]) if with_heads else None)
            for number, row in enumerate(table.select(_NAMES).to_pylist())
        ]


_NAMES = SCHEMA.names


def _row(row: Mapping[str, Any], per_head: np.ndarray | None) -> TokenScores:
    """A row of a shard.

    Raises:
        ValueError: if it has more values of one kind than of another, or one that is no number.
    """
    read = TokenScores(
        document_id=row["document_id"],
        token_ids=np.array(row["token_ids"], dtype=np.int32),
        offsets=np.array([row["starts"], row["ends"]], dtype=np.int32).T.copy(),
        scores=np.array(row["scores"], dtype=np.float32),
        queries=np.array(row["queries"], dtype=np.int32),
        per_head=per_head,
    )
    tokens = len(read.token_ids)
    if not (len(read.offsets) == len(read.scores) == len(read.queries) == tokens and np.isfinite(read.scores).all()):
        raise ValueError(f"document {read.document_id!r}: expected a score for each of {tokens} tokens")
    return read


def iterate_scores(folder: str | Path) -> Iterator[TokenScores]:
    """The scores of a finished `score_corpus`, in the corpus's order, one shard in memory at a time.

    Raises:
        ElusiveError: if the folder is missing, not done or of another version (at once), or a shard cannot be read
            (when its turn comes).
    """
    folder = Path(folder)
    refuse_old_folder(folder)
    if not (folder / "done.json").exists():
        raise ElusiveError(f"The scores in {folder} are not finished. Run the score stage first (again, to resume it).")
    return (row for path in sorted(folder.glob("part-*.parquet")) for row in read_shard(path))


def read_scores(folder: str | Path) -> list[TokenScores]:
    """All that `iterate_scores` gives, in a list.

    Raises:
        ElusiveError: if the folder is missing, not done, or a shard cannot be read.
    """
    return list(iterate_scores(folder))


def _nested(per_head: Sequence[np.ndarray]) -> pa.Array:
    """Arrays (layers, heads, tokens) as lists of lists of lists, without a Python object for each number."""
    values = pa.array(np.concatenate([array.ravel() for array in per_head]), pa.float32())
    tokens = [np.full(layers * heads, length) for layers, heads, length in (array.shape for array in per_head)]
    heads = [np.full(array.shape[0], array.shape[1]) for array in per_head]
    for lengths in (np.concatenate(tokens), np.concatenate(heads), [array.shape[0] for array in per_head]):
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        values = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)
    return values


def _heads(row: Any) -> np.ndarray:
    """One document's [layer][head][token] as float32 (layers, heads, tokens)."""
    layers = row.values
    heads = layers.flatten()
    return heads.flatten().to_numpy().reshape(len(layers), len(heads) // len(layers), -1).astype(np.float32)
