"""Texts that a program gives: Documents, strings, dictionaries, rows of a data set or a data frame."""

import collections
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from elusive.corpus.documents import Corpus, Document, StoredDocuments
from elusive.corpus.values import kind, row_id
from elusive.errors import ElusiveError

from .row_documents import row_document

Given = Iterable[Any] | Corpus
"""What `documents_of` takes; the rows of a datasets.Dataset and of a data frame are such mappings."""


def documents_of(given: Given) -> Collection[Document]:
    """Documents from what a program holds.

    Args:
        given: Documents, strings, and dictionaries with `text`, and optionally `id` and `spans`, as in JSONL; or a
            Corpus, a datasets.Dataset, or a data frame of pandas or polars with such columns.

    Returns:
        The documents in order; those without an id are called `text-000001` and so on, by their place.

    Raises:
        ElusiveError: if it is none of these, a text is empty, a span lies outside its text, or two ids are the same.

    Example:
        >>> documents_of(["Ada was born in London."])
        [Document(id='text-000001', text='Ada was born in London.', spans=())]
    """
    if isinstance(given, Corpus):
        return given.documents
    if isinstance(given, StoredDocuments):
        return given
    values = list(_rows(given))
    documents = [_document(value, number) for number, value in enumerate(values, 1)]
    ids = collections.Counter(document.id for document in documents)
    twice = next((id for id, count in ids.items() if count > 1), None)
    if twice is not None and not all(isinstance(value, Document) for value in values):
        raise ElusiveError(f"Expected an id of its own for each text, got {twice!r} {ids[twice]} times.")
    return documents


def _rows(given: Any) -> Iterable[Any]:
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        hint = "Name a split of it." if isinstance(given, Mapping) else "Put a single text into a list."
        raise ElusiveError(f"Expected several texts (Documents, strings, dictionaries), got {_named(given)}. {hint}")
    if hasattr(given, "to_dicts"):  # a data frame of polars; iterating gives columns
        return given.to_dicts()  # pyright: ignore[reportAttributeAccessIssue]
    if hasattr(given, "iterrows"):  # one of pandas; iterating gives the columns' names
        return given.to_dict("records")  # pyright: ignore[reportAttributeAccessIssue]
    return given


def _document(value: Any, number: int) -> Document:
    if isinstance(value, Document):
        return value
    row = {"text": value} if isinstance(value, str) else value
    try:
        if not isinstance(row, Mapping):
            raise ElusiveError(f"expected a Document, a string or a dictionary, got {_named(value)}")
        row = {name: _plain(cell) for name, cell in row.items()}
        return row_document(row_id(row, "id", "") or f"text-{number:06d}", row, "text")
    except ElusiveError as error:
        raise ElusiveError(f"Text {number}: {error}") from None


def _plain(cell: Any) -> Any:
    """A cell as JSON has it: spans may stand in tuples, and in the arrays of a data frame."""
    if not isinstance(cell, tuple | list) and hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, tuple | list):
        return [_plain(value) for value in cell]
    return None if isinstance(cell, float) and cell != cell else cell  # what is missing is NaN in pandas


def _named(value: Any) -> str:
    simple = (type(None), str, int, float, bool, list, dict)
    return kind(value) if type(value) in simple else type(value).__name__
