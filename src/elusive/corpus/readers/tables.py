"""Tables: CSV and TSV, Parquet, and any other source of Arrow tables."""

import contextlib
import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

from elusive.config.corpus import CorpusSettings
from elusive.corpus.input_files import MOST_BLANK_LINES, TOO_MANY_BLANK_LINES
from elusive.corpus.values import ENCODING, not_utf8
from elusive.corpus.wording import counted
from elusive.errors import ElusiveError

from .files import SourceFile
from .read_state import FLAT_COLUMNS, NAMING, SPAN_COLUMNS, Row, json_bytes

_BATCH_BYTES = 1 << 24


_BATCH_ROWS = 1024


def used_columns(names: Sequence[str], settings: CorpusSettings, label: str) -> list[str]:
    """The columns of a table that are used: text, id and spans, or those of SQuAD's flat form.

    Raises:
        ElusiveError: if it has neither.
    """
    flat = all(name in names for name in FLAT_COLUMNS)
    if flat and (settings.format == "squad" or settings.text_column not in names):
        wanted = (*FLAT_COLUMNS, "id", "title", "is_impossible")
    elif list(names).count(_outer(settings.text_column, names)) == 1 and settings.format != "squad":
        wanted = (_outer(settings.text_column, names), _outer(settings.id_column, names), *SPAN_COLUMNS)
    else:
        expected = "" if settings.format == "squad" else f"one column {settings.text_column!r}, or "
        raise ElusiveError(
            f"{label}: expected {expected}SQuAD's {', '.join(FLAT_COLUMNS)}; got the columns "
            f"{', '.join(map(repr, names)) or '(none)'}. {NAMING}."
        )
    return [name for name in dict.fromkeys(wanted) if name in names]


def _outer(name: str, names: Sequence[str]) -> str:
    """The column that holds what a path of keys names."""
    return name if name in names else name.partition(".")[0]


# CSV and TSV


class _Lines(Iterator[str]):
    """Lines for csv.reader, which does not report the lines that it consumed, nor ends with a row without an end."""

    def __init__(self, first: str, rest: TextIO, file: SourceFile) -> None:
        self._waiting, self._rest, self._limits, self._label = first, rest, file.limits, file.label
        self._blank = 0
        self._lines, self._raw = 0, bytearray()  # a row may be made of many million lines

    def __next__(self) -> str:
        line = self._waiting or self._rest.readline(self._limits.at_once + 1)
        self._waiting = ""
        if not line:
            raise StopIteration
        self._lines += 1
        self._blank = self._blank + 1 if line in ("\n", "\r\n") else 0
        if self._blank > MOST_BLANK_LINES:
            raise ElusiveError(f"{self._label}: {TOO_MANY_BLANK_LINES}.")
        self._raw += line.encode("utf-8", "surrogateescape")
        if len(self._raw) > self._limits.at_once:
            while line and not line.endswith(("\n", "\r")):
                line = self._rest.readline(_BATCH_BYTES)
            raise _TooLongError(self._limits.too_long("a row"))
        return line

    def row(self) -> tuple[bytes, int]:
        """The bytes of the row that ended here, and its lines."""
        row = bytes(self._raw), self._lines
        self._lines, self._raw = 0, bytearray()
        return row


class _TooLongError(Exception):
    """A row that is not read to its end."""


def csv_rows(file: SourceFile, settings: CorpusSettings, *, tabs: bool = False) -> Iterator[Row]:
    """The rows below the header of a file with commas, semicolons or tabs between its cells.

    Args:
        file: the file.
        settings: which columns are looked for.
        tabs: only a tab separates cells.

    Raises:
        ElusiveError: if the file cannot be read, or its header lacks the column of texts.
    """
    header: list[str] = []
    number = 0
    with file.opened() as stream, _cells_of_any_length():
        # Bytes that are not UTF-8 become surrogates, so that they cost one row and not the file.
        text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
        first = text.readline(file.limits.at_once + 1)
        delimiter = "\t" if tabs else _delimiter(first, settings)
        for line, raw, cells in _records(_Lines(first, text, file), delimiter):
            if not header:
                header = [cell.strip() for cell in cells] if isinstance(cells, list) else []
                used_columns(header, settings, file.label)
                continue
            number += 1
            yield _csv_row(number, line, raw, cells, header)


def _delimiter(header: str, settings: CorpusSettings) -> str:
    """The delimiter of a header: the one that yields the wanted column, or else the most cells."""

    def fit(delimiter: str) -> tuple[bool, int]:
        cells = {cell.strip() for cell in next(csv.reader([header], delimiter=delimiter), [])}
        return settings.text_column in cells or cells.issuperset(FLAT_COLUMNS), len(cells)

    return max(",;\t", key=fit)


def _records(source: _Lines, delimiter: str) -> Iterator[tuple[int, bytes, list[str] | str]]:
    """The non-blank records as (first line from 1, bytes, cells or why there are none)."""
    # Strict, or a quote that is never closed would swallow the rest of the file in silence.
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    line = 1
    while True:
        try:
            cells = next(reader)
        except csv.Error as error:
            cells = (
                f"malformed CSV ({error}); a text with commas, quotes or newlines needs double quotes around it, "
                "and a quote inside them is written as two"
            )
        except _TooLongError as error:
            cells = str(error)
        except StopIteration:
            return
        raw, lines = source.row()
        if cells:
            yield line, raw, cells
        line += lines


@contextlib.contextmanager
def _cells_of_any_length() -> Iterator[None]:
    """csv's own limit is 131,072 characters in a cell."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _csv_row(number: int, line: int, raw: bytes, cells: list[str] | str, header: list[str]) -> Row:
    if isinstance(cells, str):
        return Row(number, line, cells, raw)
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return Row(number, line, f"{not_utf8(error)}. {ENCODING}", raw)
    if len(cells) != len(header):
        reason = (
            f"expected {counted(len(header), 'cell')} ({', '.join(header)}), got {len(cells)}; "
            "a text with commas needs double quotes around it"
        )
        return Row(number, line, reason, raw)
    return Row(number, line, dict(zip(header, cells, strict=True)), raw)


# Parquet, and other Arrow tables


def parquet_rows(file: SourceFile, settings: CorpusSettings) -> Iterator[Row]:
    """The rows of a Parquet file, a part of a row group at a time.

    Raises:
        ElusiveError: if the file is damaged, or lacks the column of texts.
    """
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        # A row group may be the whole file, so it is not fetched at once.
        with file.unpacked() as path, ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as table:
            columns = used_columns(table.schema_arrow.names, settings, file.label)
            yield from arrow_rows(table.iter_batches(_batch_rows(table.metadata), columns=columns, use_threads=False))
    except (pyarrow.ArrowException, OSError) as error:
        raise ElusiveError(
            f"{file.label} could not be read as Parquet: {str(error).strip()}. Copy or download the file again."
        ) from None


def _batch_rows(metadata: Any) -> int:
    """Rows in a batch: fewer if they are long."""
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    row_bytes = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, row_bytes)))


def arrow_rows(batches: Iterable[Any]) -> Iterator[Row]:
    """The rows of Arrow tables or record batches, one after the other."""
    number = 0
    for batch in batches:
        names = batch.schema.names
        columns = [_values(batch.column(index)) for index in range(len(names))]
        for cells in zip(*columns, strict=True):
            number += 1
            value = dict(zip(names, cells, strict=True))
            yield _row_of_bytes(number, value) if bytes in map(type, cells) else Row(number, 0, value, None)


def _values(column: Any) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:  # Arrow does not check the bytes of a Parquet file
        import pyarrow

        return column.cast(pyarrow.large_binary()).to_pylist()


def _row_of_bytes(number: int, value: dict[str, Any]) -> Row:
    """A row whose bytes are made text, as some writers store it; a bad one if they are none."""
    raw = json_bytes(value)
    for name, cell in value.items():
        if isinstance(cell, bytes):
            try:
                value[name] = cell.decode()
            except UnicodeDecodeError as error:
                return Row(number, 0, f"{name!r}: {not_utf8(error)}", raw)
    return Row(number, 0, value, raw)
