"""Documents with their marked spans, and the corpus folder: written as a stream, and read back as one."""

import collections
import contextlib
import dataclasses
import itertools
import json
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import ElusiveError
from .questions import QuestionItem
from .rows import LISTED_ROWS, BadRow, LeftOut
from .runs import atomic_path, read_jsonl
from .tags import Span

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


Entry = Document | QuestionItem | BadRow | LeftOut
"""What a source holds, one at a time: a document, a question, a row that cannot be used, or one left out on purpose."""


@dataclass(frozen=True)
class Corpus:
    """What a source held.

    Attributes:
        documents: in the order of the source; may stand on disk, so only its length and iteration may be used.
        questions: those that came with the documents.
        quarantined: the rows set aside.
    """

    documents: Collection[Document]
    questions: tuple[QuestionItem, ...] = ()
    quarantined: tuple[BadRow, ...] = ()

    def entries(self) -> Iterator[Entry]:
        """All that it holds, as `write_corpus` takes it."""
        return itertools.chain(self.documents, self.questions, self.quarantined)


@dataclass(frozen=True)
class CorpusCounts:
    """How many rows a source held, and what became of them: no row is lost on the way.

    Attributes:
        documents: rows that became documents.
        questions: rows that became questions.
        bad: rows set aside in quarantine.jsonl, by what they should have been (document, question).
        left_out: rows left out on purpose, by reason.
        first_bad: the first ten rows set aside.
    """

    documents: int = 0
    questions: int = 0
    bad: Mapping[str, int] = dataclasses.field(default_factory=dict)
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    first_bad: tuple[BadRow, ...] = ()

    @property
    def quarantined(self) -> int:
        """All rows set aside."""
        return sum(self.bad.values())

    @property
    def rows(self) -> int:
        """All rows of the source: documents + questions + quarantined + left out."""
        return self.documents + self.questions + self.quarantined + sum(self.left_out.values())


class StoredDocuments(Collection[Document]):
    """The documents of a corpus folder, read from disk each time that they are walked through; none is held.

    Args:
        path: documents.jsonl.

    Raises:
        ElusiveError: if the file is missing; while reading, if it was changed into something else.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise ElusiveError(f"{path} is missing. Run the stage that writes it first.")

    def __iter__(self) -> Iterator[Document]:
        return _load(self.path, _stored_document)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, document: object) -> bool:
        return any(document == other for other in self)

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in read_jsonl(self.path))


def collect(entries: Iterable[Entry]) -> Corpus:
    """All entries of a stream in memory."""
    held: dict[type, list[Any]] = {Document: [], QuestionItem: [], BadRow: [], LeftOut: []}
    for entry in entries:
        held[type(entry)].append(entry)
    return Corpus(tuple(held[Document]), tuple(held[QuestionItem]), tuple(held[BadRow]))


def write_corpus(folder: str | Path, entries: Iterable[Entry]) -> CorpusCounts:
    """Write a stream to documents.jsonl, questions.jsonl and quarantine.jsonl, in its order; nothing is held.

    All three files appear together, at the end.

    Returns:
        What the stream held.
    """
    folder = Path(folder)
    files = {Document: "documents.jsonl", QuestionItem: "questions.jsonl", BadRow: "quarantine.jsonl"}
    counts: collections.Counter[type] = collections.Counter()
    bad: collections.Counter[str] = collections.Counter()
    left_out: collections.Counter[str] = collections.Counter()
    first_bad: list[BadRow] = []
    with contextlib.ExitStack() as stack:
        paths = {kind: stack.enter_context(atomic_path(folder / name)) for kind, name in files.items()}
        streams = {
            kind: stack.enter_context(path.open("w", encoding="utf-8", newline="\n")) for kind, path in paths.items()
        }
        for entry in entries:
            if isinstance(entry, LeftOut):
                left_out[entry.reason] += 1
                continue
            if isinstance(entry, BadRow):
                bad[entry.of] += 1
                first_bad += [entry] if len(first_bad) < LISTED_ROWS else []
            counts[type(entry)] += 1
            streams[type(entry)].write(json.dumps(vars(entry), ensure_ascii=False) + "\n")
    return CorpusCounts(counts[Document], counts[QuestionItem], bad, left_out, tuple(first_bad))


def load_corpus(folder: str | Path) -> Corpus:
    """Read what `write_corpus` wrote; the documents stay on disk.

    Raises:
        ElusiveError: if a file is missing or was changed into something else.
    """
    folder = Path(folder)
    return Corpus(
        documents=StoredDocuments(folder / "documents.jsonl"),
        questions=tuple(_load(folder / "questions.jsonl", _stored_question)),
        quarantined=tuple(_load(folder / "quarantine.jsonl", lambda row: BadRow(**row))),
    )


def _stored_document(row: Mapping[str, Any]) -> Document:
    return Document(row["id"], row["text"], tuple(Span(*span) for span in row["spans"]))


def _stored_question(row: Mapping[str, Any]) -> QuestionItem:
    return QuestionItem(**{**row, "answers": tuple(row["answers"])})


def _load(path: Path, build: Callable[[Mapping[str, Any]], RowT]) -> Iterator[RowT]:
    for number, row in enumerate(read_jsonl(path), 1):
        try:
            item = build(row)
        except (KeyError, TypeError) as error:
            raise ElusiveError(
                f"{path}, line {number}: not a row that Elusive wrote ({error}). Delete its folder and make it again."
            ) from None
        yield item
