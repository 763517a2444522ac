"""Readers of every source: a file, a folder or a dataset comes in, documents, questions and bad rows come out."""

import contextlib
import dataclasses
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elusive.config.corpus import CorpusFormat, CorpusSettings
from elusive.corpus.chunk_questions import follow_chunks
from elusive.corpus.documents import Corpus, Entry, Tally, collect
from elusive.corpus.input_files import ReadLimits
from elusive.corpus.quarantine import LeftOut, bad_row, most_bad_rows, refuse_bad_rows
from elusive.errors import ElusiveError
from elusive.inputs import regular_file
from elusive.storage import Location, is_url, located

from .conversion.forms import FORMS
from .files import Source, SourceFile, left_out, opened_source, seen_format
from .hub import dataset_name, dataset_rows
from .jsonl import json_entries, jsonl_rows
from .read_state import FLAT_COLUMNS, ReadCounts, ReadState
from .row_documents import row_entries
from .tables import csv_rows, parquet_rows
from .text import converted_entries, text_entries

DEFAULT_TOKENIZER = "elusive/large"
"""Default tokenizer that counts the tokens of chunks."""


_SHOWN_BYTES = 1024


def read_corpus(
    source: str | Location,
    format: CorpusFormat = "auto",
    limit: int = 0,
    *,
    skip_bad: bool = False,
    tokenizer: str = DEFAULT_TOKENIZER,
    **settings: Any,
) -> Corpus:
    """Read a corpus into memory: a file, a folder, a glob pattern, standard input or a Hugging Face dataset.

    Formats (compressed by gzip or Zstandard or not; `**` and folders may mix them; hidden files are left out):

    - jsonl: one object a line with `text`, and optionally `id` and `spans`: `[[field, start, end], ...]` or
      `[{"field": ..., "start": ..., "end": ...}, ...]`, in characters, end exclusive. Blank lines are left out.
    - json: an array of such objects, bare or under `data`; or SQuAD.
    - csv, tsv: a header with a column `text` and optionally `id` and `spans` (as JSON). Balanced tags such as
      `<date>..</date>` are taken out of the text and become spans; anything else in angle brackets stays.
    - parquet: the same columns, without tags.
    - text, markdown: a file is a document; the id is its path in the folder.
    - squad: SQuAD v1.1 or v2.0 JSON, or its flat form (context, question, answers) in any rows. Each distinct
      paragraph is a document, its answers are spans of the field `answer`, and its questions come with the
      corpus; impossible questions are left out. These documents come after those of other files.
    - dataset: `hf:org/name`, streamed, or a folder of save_to_disk; its columns as in Parquet.
    - auto: by each file's name, or its content where that says nothing.

    A text of more than `chunk_tokens` tokens is cut between paragraphs, sentences or words, but not within a span,
    into documents with `#0001` ... behind the id. Its spans and questions follow their chunk. `limit` counts these
    documents.

    Rows whose spans mark fields with a known question form (`question_forms`) bring questions about them.

    A row without an id is called `<file stem>-000001` by its number among the rows, or `<path>#000001` where the source
    has several files; a SQuAD paragraph `<title>-0001`, by its number in the article.

    Args:
        source: the path, pattern, URL or name.
        format: one of the above.
        limit: largest number of documents (0: all).
        skip_bad: put bad rows into `quarantined`, with the reason, instead of stopping.
        tokenizer: folder or hub name of the tokenizer that counts the tokens of chunks.
        settings: others of `CorpusSettings`, e.g. `text_column="body"`.

    Returns:
        The corpus, documents in the order of the source.

    Raises:
        ElusiveError: if the source is missing, cannot be read as a whole or holds no document; or if a row is bad and
            `skip_bad` is false, with file, line and reason of the first ten.
    """
    known = typing.get_args(CorpusFormat)
    if format not in known:
        raise ElusiveError(f"corpus.format: expected one of {', '.join(known)}, got {format!r}.")
    name = str(located(source) if is_url(source) else source)
    chosen = CorpusSettings(source=name, format=format, limit=limit, skip_bad=skip_bad, **settings)
    tally, counts = Tally(most_bad_rows(chosen)), ReadCounts()
    corpus = collect(tally.passing(read_entries(chosen, tokenizer, counts=counts)))
    refuse_bad_rows(tally.counts(), chosen)
    return dataclasses.replace(corpus, notes=tuple(counts.lines()))


def read_entries(
    settings: CorpusSettings,
    tokenizer: str = DEFAULT_TOKENIZER,
    source: Source | None = None,
    counts: ReadCounts | None = None,
) -> Iterator[Entry]:
    """Stream a source; memory does not grow with its rows (JSON values, SQuAD's and Markdown files are read whole).

    Args:
        settings: the source and its format. Bad rows are yielded; they stop nothing here.
        tokenizer: folder or hub name of the tokenizer that counts the tokens of chunks.
        source: the source, if the caller has opened it.
        counts: told what reading makes of the source beside its rows.

    Yields:
        Documents, questions, bad rows and rows left out; `settings.limit` counts documents.

    Raises:
        ElusiveError: if the source is missing or cannot be read as a whole.
    """
    with contextlib.ExitStack() as stack:
        source = source or stack.enter_context(opened_source(settings.source))
        state = stack.enter_context(contextlib.closing(ReadState(settings, settings.tokenizer or tokenizer, counts)))
        yield from follow_chunks(_entries(source, state), lambda: not state.full)


def _entries(source: Source, state: ReadState) -> Iterator[Entry]:
    settings = state.settings
    if source.is_dataset and settings.format in ("auto", "dataset", "squad"):
        file = SourceFile(Path(source.name), source.name, dataset_name(source), alone=True)
        yield from row_entries(dataset_rows(source, settings), file, state, flat=settings.format == "squad")
    else:
        limits = ReadLimits.of(settings)
        for file in source.files():
            yield from _file_entries(file._replace(limits=limits), state)
            if state.full:
                break
    for document, label, where in state.paragraphs.documents():
        if not state.room:
            break
        try:
            yield from state.noted(document, label, where)
        except ElusiveError as reason:
            yield bad_row(label, 0, f"{where}: {reason}", document.text.encode())


def _file_entries(file: SourceFile, state: ReadState) -> Iterator[Entry]:
    """The entries of one file. An unreadable file among others is a bad row; alone it is an error."""
    begun = False
    if state.settings.format == "auto" and not file.alone and (reason := left_out(file)):
        yield LeftOut(reason)
        return
    try:
        for entry in _entries_as(_format(file, state.settings), file, state):
            begun = True
            yield entry
    except ElusiveError as error:
        reason = str(error).removeprefix(f"{file.label}: ").removeprefix(f"{file.label} ")
        if file.alone or begun:
            raise ElusiveError(str(error) if file.label in str(error) else f"{file.label}: {error}.") from None
        yield bad_row(file.label, 1, reason, _first_bytes(file.path))


def _first_bytes(path: Location) -> bytes:
    try:
        with regular_file(path).open("rb") as stream:
            return stream.read(_SHOWN_BYTES)
    except (OSError, ElusiveError):  # then that is the reason
        return b""


def _format(file: SourceFile, settings: CorpusSettings) -> CorpusFormat:
    if settings.format == "dataset":
        raise ElusiveError(
            f"{file.label}: expected a folder that save_to_disk wrote, or hf:org/name. "
            "Set corpus.format to what the file is."
        )
    if settings.format not in ("auto", "squad"):
        return settings.format
    found = seen_format(file, (settings.text_column, FLAT_COLUMNS[0]))
    return "json" if settings.format == "squad" and found in ("text", "markdown") else found


def _entries_as(format: CorpusFormat, file: SourceFile, state: ReadState) -> Iterator[Entry]:
    settings = state.settings
    flat = settings.format == "squad"
    if format in FORMS:
        return converted_entries(file, state, format)
    if format in ("text", "markdown"):
        return text_entries(file, state, markdown=format == "markdown")
    if format == "json":
        return json_entries(file, state, squad=flat)
    if format == "jsonl":
        return row_entries(jsonl_rows(file), file, state, flat=flat)
    if format == "parquet":
        return row_entries(parquet_rows(file, settings), file, state, flat=flat)
    rows = csv_rows(file, settings, tabs=format == "tsv")
    return row_entries(rows, file, state, tagged=settings.tags, flat=flat)
