"""The texts themselves: train.jsonl and train.parquet, with equal rows."""

import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from elusive.errors import ElusiveError
from elusive.runs.files import ProgressFunction, atomic_path, read_jsonl, silent

SCHEMA = pa.schema([("text", pa.string()), ("id", pa.string()), ("copy", pa.int32()), ("arm", pa.string())])
"""Columns of the exported texts."""


_BATCH = 1024


CountTokens = Callable[[Sequence[str]], list[int]]
"""Tokens of each text, special tokens and eos included."""


@dataclasses.dataclass(frozen=True)
class RowCounts:
    """Counts of what was written.

    Attributes:
        rows: rows written.
        tokens: their tokens in the base model, special tokens and eos included.
        longest: tokens of the longest row.
        cut: texts that became several rows.
    """

    rows: int
    tokens: int
    longest: int
    cut: int


def write_rows(
    source: Path,
    folder: Path,
    count_tokens: CountTokens,
    max_length: int,
    expected: int,
    progress: ProgressFunction = silent,
) -> RowCounts:
    """Write train.jsonl and train.parquet, a batch of texts in memory at a time.

    A text of more than `max_length` tokens becomes several rows with its id and copy number, cut at white space:
    most trainers would drop what is beyond their limit, some of them silently.

    Args:
        source: the train.jsonl that `augment` wrote.
        folder: the export.
        count_tokens: tokens of each text.
        max_length: longest row in tokens.
        expected: texts that `source` must have.
        progress: called with (texts done, texts).

    Raises:
        ElusiveError: if `source` has other texts than expected, or a row that `augment` does not write.
    """
    texts = rows = tokens = longest = cut = 0
    with (
        atomic_path(folder / "train.jsonl") as jsonl,
        atomic_path(folder / "train.parquet") as parquet,
        jsonl.open("w", encoding="utf-8", newline="\n") as stream,
        pq.ParquetWriter(parquet, SCHEMA, compression="zstd") as writer,
    ):
        for batch in _batches(_checked(source)):
            lengths = count_tokens([row["text"] for row in batch])
            written: list[dict[str, Any]] = []
            for row, length in zip(batch, lengths, strict=True):
                pieces = [(row["text"], length)]
                if length > max_length:
                    pieces = list(cut_text(row["text"], count_tokens, max_length))
                    cut += 1
                written += [row | {"text": text} for text, _ in pieces]
                tokens += sum(length for _, length in pieces)
                longest = max(longest, *(length for _, length in pieces))
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in written)
            writer.write_table(pa.Table.from_pylist(written, schema=SCHEMA))
            texts, rows = texts + len(batch), rows + len(written)
            progress(texts, expected)
        if texts != expected:
            raise ElusiveError(
                f"{source}: expected the {expected:,} texts that done.json counts, got {texts:,}. "
                "The folder was changed since; delete it and run `elusive augment` again."
            )
    return RowCounts(rows, tokens, longest, cut)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file atomically."""
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def cut_text(text: str, count_tokens: CountTokens, max_length: int) -> Iterator[tuple[str, int]]:
    """Halve a text at white space near its middle until each piece fits; the pieces joined are the text.

    Yields:
        Pieces and their tokens.

    Raises:
        ElusiveError: if a single character does not fit.
    """
    length = count_tokens([text])[0]
    if length <= max_length:
        yield text, length
        return
    if len(text) < 2:
        raise ElusiveError(f"A row of {max_length} tokens is too short for any text. Raise --max-length.")
    middle = len(text) // 2
    places = (match.start() for match in re.finditer(r"\s+", text))
    border = min((place for place in places if 0 < place < len(text)), key=lambda at: abs(at - middle), default=middle)
    for piece in (text[:border], text[border:]):
        yield from cut_text(piece, count_tokens, max_length)


def _checked(source: Path) -> Iterator[dict[str, Any]]:
    kinds = {"text": str, "id": str, "copy": int, "arm": str}
    for number, row in enumerate(read_jsonl(source), 1):
        if set(row) != set(kinds):
            raise ElusiveError(
                f"{source}, line {number}: expected the keys {', '.join(kinds)} as `elusive augment` writes them, got "
                f"{', '.join(row) or 'none'}. Run `elusive augment` again."
            )
        other = [name for name, kind in kinds.items() if type(row[name]) is not kind]
        if other or not 0 <= row["copy"] < 2**31:
            name = other[0] if other else "copy"
            expected = "a number from 0 to 2147483647" if name == "copy" else "a string"
            raise ElusiveError(
                f"{source}, line {number}: expected {expected} as {name}, got {row[name]!r}. "
                "Run `elusive augment` again."
            )
        yield {name: row[name] for name in kinds}


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, _BATCH)):
        yield batch
