"""SQuAD's paragraphs, each distinct one once, with the places of all answers, in a temporary file."""

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

from elusive.corpus.documents import Document
from elusive.corpus.questions import ANSWER_FIELD
from elusive.corpus.tags import Span

from .files import SourceFile
from .used_ids import execute, temporary_database


class Stored(NamedTuple):
    """A paragraph that is stored.

    Attributes:
        number: from 1, in the order of their first appearance.
        id: of its document.
    """

    number: int
    id: str


class Paragraphs:
    """Paragraphs by their text. Answers may come long after it, so documents are made after the last row."""

    def __init__(self) -> None:
        self._count = 0

    @cached_property
    def _database(self):
        return temporary_database(
            "paragraph (number INTEGER PRIMARY KEY, digest BLOB UNIQUE, id TEXT, text TEXT, label TEXT, place TEXT)",
            "answer (paragraph INTEGER, start INTEGER, stop INTEGER, PRIMARY KEY (paragraph, start, stop)) "
            "WITHOUT ROWID",
            "title (title TEXT PRIMARY KEY, count INTEGER) WITHOUT ROWID",
        )

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Remove the temporary file, if there is one."""
        if "_database" in vars(self):
            self._database.close()

    def numbered(self, title: str) -> str:
        """The id of the next paragraph of an article: `<title>-0001`."""
        count = execute(
            self._database,
            "INSERT INTO title VALUES (?, 1) ON CONFLICT DO UPDATE SET count = count + 1 RETURNING count",
            (title,),
        ).fetchone()[0]
        return f"{title}-{count:04d}"

    def find(self, text: str) -> Stored | None:
        """The stored paragraph with this text, if there is one."""
        found = execute(
            self._database, "SELECT number, id FROM paragraph WHERE digest = ?", (_digest(text),)
        ).fetchone()
        return Stored(*found) if found else None

    def add(self, text: str, id: str, file: SourceFile, where: str) -> Stored:
        """Keep a new paragraph."""
        self._count += 1
        values = (self._count, _digest(text), id, text, file.label, where)
        execute(self._database, "INSERT INTO paragraph VALUES (?, ?, ?, ?, ?, ?)", values)
        return Stored(self._count, id)

    def add_answers(self, number: int, places: Iterable[tuple[int, int]]) -> None:
        """Store the places of a question's answers; duplicates are dropped."""
        for start, stop in places:
            execute(self._database, "INSERT OR IGNORE INTO answer VALUES (?, ?, ?)", (number, start, stop))

    def documents(self) -> Iterator[tuple[Document, str, str]]:
        """Each paragraph as (document, file, place in it), in the order of their first appearance.

        None is waiting any more once this has begun.
        """
        if not self._count:
            return
        self._count = 0
        rows = execute(self._database, "SELECT number, id, text, label, place FROM paragraph ORDER BY number", ())
        for number, id, text, label, where in rows:
            question = "SELECT start, stop FROM answer WHERE paragraph = ? ORDER BY start, stop"
            spans = tuple(Span(ANSWER_FIELD, *found) for found in execute(self._database, question, (number,)))
            yield Document(id, text, spans), label, where


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=32).digest()
