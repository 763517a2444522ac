"""Documents with their marked spans, and the corpus folder: written as a stream, and read back as one."""

import collections
import contextlib
import hashlib
import itertools
import json
import re
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from elusive.errors import ElusiveError
from elusive.runs.files import atomic_path, damaged, read_jsonl
from elusive.storage import Location, located

from .quarantine import BadRow, BadRowsError, CorpusCounts, LeftOut, file_kind
from .questions import QuestionItem
from .tags import Span
from .wording import LISTED_PROBLEMS

RowT = typing.TypeVar("RowT")


@dataclass(frozen=True)
class Document:
    """One text of the corpus.

    Attributes:
        id: unique within the corpus.
        text: the text, without tags.
        spans: its marked parts, in characters of `text`.

    Raises:
        ElusiveError: if a span is empty or reaches outside the text.
    """

    id: str
    text: str
    spans: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        for span in self.spans:
            if not 0 <= span.start < span.end <= len(self.text):
                raise ElusiveError(
                    f"document {self.id!r}: span {span.field!r} outside the text: expected 0 <= start < end <= "
                    f"{len(self.text)} (characters, end exclusive), got start {span.start}, end {span.end}"
                )


_CHUNK = re.compile(r"(.+)#\d{4,}", re.DOTALL)


def chunk_id(document: str, number: int) -> str:
    """The id of a chunk of a document that was cut, or of a file: `book.txt#0001` is the first."""
    return f"{document}#{number:04d}"


def cut_document(id: str) -> str:
    """The document or file of which an id names a chunk; empty if it names none.

    Example:
        >>> cut_document("book.txt#0001"), cut_document("book.txt")
        ('book.txt', '')
    """
    chunk = _CHUNK.fullmatch(id)
    return chunk[1] if chunk else ""


Entry = Document | QuestionItem | BadRow | LeftOut
"""What a row of a source became: a document, a question, a row in quarantine, or a row left out on purpose."""


@dataclass(frozen=True)
class Corpus:
    """What a source held.

    Attributes:
        documents: in the order of the source; may lie on disk, so use only its length and iteration.
        questions: those that came with the documents.
        quarantined: the bad rows, each with its reason.
        notes: what reading made of the source, in words: long texts cut, questions of marked fields.
    """

    documents: Collection[Document]
    questions: tuple[QuestionItem, ...] = ()
    quarantined: tuple[BadRow, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)

    def entries(self) -> Iterator[Entry]:
        """Everything that it holds, for `write_corpus`."""
        return itertools.chain(self.documents, self.questions, self.quarantined)


class StoredDocuments(Collection[Document]):
    """The documents of a corpus folder, read from disk on each iteration and never held in memory.

    Args:
        path: documents.jsonl.

    Raises:
        ElusiveError: if the file is missing; while reading, if it was changed into something else.
    """

    def __init__(self, path: str | Location) -> None:
        self.path = located(path)
        if not self.path.exists():
            raise ElusiveError(f"{path} is missing. Run the stage that writes it first.")

    def __iter__(self) -> Iterator[Document]:
        return _load(self.path, _stored_document)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, document: object) -> bool:
        return any(document == other for other in self)

    def places(self, size: int) -> list[int]:
        """Where each part of so many documents begins, in bytes of the file: for `part`, on this machine or another."""
        places, place = [], 0
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream):
                places += [place] if number % size == 0 else []
                place += len(line)
        return places

    def part(self, place: int, size: int) -> list[Document]:
        """The documents from a place on, at most so many.

        Raises:
            ElusiveError: if the file was changed into something else.
        """
        with self.path.open("rb") as stream:
            stream.seek(place)
            lines = list(itertools.islice(stream, size))
        try:
            return [_stored_document(json.loads(line)) for line in lines]
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(self.path, f"after byte {place:,}: not a row that Elusive wrote, {error}") from None

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in read_jsonl(self.path))


class Tally:
    """Counts a stream of entries; what is no question, bad row or row left out counts as a document.

    Args:
        most_bad: bad rows after which the stream ends (0: never).
    """

    def __init__(self, most_bad: int = 0) -> None:
        self._most_bad = most_bad
        self._stopped = False
        self._kinds: collections.Counter[type] = collections.Counter()
        self._bad: collections.Counter[str] = collections.Counter()
        self._bad_files: collections.Counter[str] = collections.Counter()
        self._left_out: collections.Counter[str] = collections.Counter()
        self._first_bad: list[BadRow] = []

    def passing(self, entries: Iterable[RowT]) -> Iterator[RowT]:
        """The entries, each counted as it passes, until too many were bad."""
        kinds = self._kinds
        for entry in entries:
            kinds[type(entry)] += 1
            if isinstance(entry, LeftOut):
                self._left_out[entry.reason] += 1
            elif isinstance(entry, BadRow):
                self._bad[entry.of] += 1
                self._bad_files[file_kind(entry.source)] += 1
                self._first_bad += [entry] if len(self._first_bad) < LISTED_PROBLEMS else []
            yield entry
            if self._most_bad and kinds[BadRow] >= self._most_bad:
                self._stopped = True
                return

    def counts(self) -> CorpusCounts:
        """The counts so far."""
        kinds = self._kinds
        return CorpusCounts(
            kinds.total() - kinds[QuestionItem] - kinds[BadRow] - kinds[LeftOut],
            kinds[QuestionItem],
            dict(self._bad),
            dict(self._left_out),
            tuple(self._first_bad),
            self._stopped,
            dict(self._bad_files),
        )


def collect(entries: Iterable[Entry]) -> Corpus:
    """All entries of a stream in memory."""
    held: dict[type, list[Any]] = {Document: [], QuestionItem: [], BadRow: [], LeftOut: []}
    for entry in entries:
        held[type(entry)].append(entry)
    return Corpus(tuple(held[Document]), tuple(held[QuestionItem]), tuple(held[BadRow]))


def write_corpus(
    folder: str | Location,
    entries: Iterable[Entry],
    check: Callable[[CorpusCounts], object] = lambda counts: None,
    *,
    most_bad: int = 0,
) -> CorpusCounts:
    """Write a stream to documents.jsonl, questions.jsonl and quarantine.jsonl, in its order and without holding it.

    All three files appear together, at the end.

    Args:
        folder: where they are written.
        entries: the stream.
        check: called with the counts before the files appear. Where it raises BadRowsError, quarantine.jsonl alone is
            written, so that the rows can be corrected.
        most_bad: bad rows after which nothing more is read (0: never).

    Returns:
        What the stream held.
    """
    folder = located(folder)
    tally = Tally(most_bad)
    refusal = None
    with _jsonl_writer(folder / "quarantine.jsonl") as write_bad:
        try:
            with (
                _jsonl_writer(folder / "documents.jsonl") as write_document,
                _jsonl_writer(folder / "questions.jsonl") as write_question,
            ):
                writers = {Document: write_document, QuestionItem: write_question, BadRow: write_bad}
                for entry in tally.passing(entries):
                    if not isinstance(entry, LeftOut):
                        writers[type(entry)](vars(entry))
                check(tally.counts())
        except BadRowsError as error:
            refusal = error
    if refusal:
        raise refusal
    return tally.counts()


@contextlib.contextmanager
def _jsonl_writer(path: Location) -> Iterator[Callable[[Mapping[str, Any]], object]]:
    """A function that writes one object a line; the file appears when the block ends without an error."""
    encode = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would build one for every row
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        yield lambda row: stream.write(encode(row) + "\n")


def load_corpus(folder: str | Location) -> Corpus:
    """Read what `write_corpus` wrote; the documents and the quarantined rows stay on disk.

    Raises:
        ElusiveError: if a file is missing or was changed into something else.
    """
    folder = located(folder)
    return Corpus(
        documents=StoredDocuments(folder / "documents.jsonl"),
        questions=tuple(_load(folder / "questions.jsonl", _stored_question)),
    )


def _stored_document(row: Mapping[str, Any]) -> Document:
    spans = tuple(Span(*span) for span in row["spans"])
    _expect_strings(row["id"], row["text"], *(span.field for span in spans))
    if not all(type(place) is int for span in spans for place in span[1:]):
        raise TypeError("a span has places that are no whole numbers")
    return Document(row["id"], row["text"], spans)


def _expect_strings(*values: object) -> None:
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"expected a string, got {value!r}")
        value.encode()  # refuses halves of surrogate pairs


def _stored_question(row: Mapping[str, Any]) -> QuestionItem:
    item = QuestionItem(**{**row, "answers": tuple(row["answers"])})
    _expect_strings(item.id, item.question, item.field, item.document_id, *item.answers)
    return item


def _load(path: Location, build: Callable[[Mapping[str, Any]], RowT]) -> Iterator[RowT]:
    for number, row in enumerate(read_jsonl(path), 1):
        try:
            item = build(row)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, f"line {number}: not a row that Elusive wrote, {error}") from None
        yield item


def corpus_hash(documents: Iterable[Document]) -> str:
    """SHA-256 of ids, texts and spans: identifies the corpus in the settings.json of its scores."""
    digest = hashlib.sha256()
    for document in documents:
        row = [document.id, document.text, [list(span) for span in document.spans]]
        digest.update(json.dumps(row, ensure_ascii=True).encode() + b"\n")
    return digest.hexdigest()


def stored(documents: Collection[Document]) -> StoredDocuments:
    """Documents that other processes can read too.

    Raises:
        ElusiveError: if they are none of a corpus folder.
    """
    if not isinstance(documents, StoredDocuments):
        raise ElusiveError(
            "--engine ray: expected a corpus folder, whose documents each actor reads by their place, got another "
            "source. Make one first: elusive generate --source SOURCE --output CORPUS."
        )
    return documents
