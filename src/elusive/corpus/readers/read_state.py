"""What reading a source keeps from row to row: the ids that are used, SQuAD's paragraphs, the room left."""

import collections
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from elusive.config.corpus import CorpusFormat, CorpusSettings
from elusive.corpus.documents import Document
from elusive.corpus.quarantine import BadRow, bad_row
from elusive.corpus.questions import QuestionItem
from elusive.corpus.wording import by_field, counted
from elusive.errors import ElusiveError
from elusive.messages import shortened, visible

from .chunks import token_counts
from .conversion.forms import FORMS
from .cutting import Cut, cut
from .files import SourceFile
from .other_forms import MOST_NEW, OTHER_FORMS, PageText
from .squad_paragraphs import Paragraphs
from .used_ids import UsedIds

_NAMED = 3

FLAT_COLUMNS = ("context", "question", "answers")
"""Columns of SQuAD's flat form on the hub, with one question in each row."""


SPAN_COLUMNS = ("spans", "entities", "ents", "label", "labels")
"""Columns in which spans stand: of the package's own rows, and as spaCy and doccano write them."""


NAMING = (
    "Name the one that holds the texts with corpus.text_column (--text-column), and the one that holds their ids, "
    "if any, with corpus.id_column"
)


class Row(NamedTuple):
    """One row of a file, before it becomes a document or a question.

    Attributes:
        number: from 1; bad rows count.
        line: its first line; 0 where the file has no lines.
        value: its columns, or the reason why it cannot be read.
        raw: its bytes (None: its columns as JSON).
    """

    number: int
    line: int
    value: Mapping[str, Any] | str
    raw: bytes | None


@dataclass
class ReadCounts:
    """What reading made of a source beside its rows; complete when the stream has ended.

    Attributes:
        asked: questions made of marked fields, by field.
        ambiguous: marked fields that are not asked about, because a document marks them with several texts.
        converted: files that were converted to Markdown, by form.
        cut: files, rows and paragraphs that were cut into chunks.
        chunks: the chunks of these.
        longest: tokens of the longest of these.
        in_other_forms: files that hold what pages hold, by their names, with the share of it that pages hold.
        lost_spans: spans longer than a chunk that a border cuts, and that no chunk has.
    """

    asked: collections.Counter[str] = field(default_factory=collections.Counter)
    ambiguous: collections.Counter[str] = field(default_factory=collections.Counter)
    converted: collections.Counter[CorpusFormat] = field(default_factory=collections.Counter)
    cut: int = 0
    chunks: int = 0
    longest: int = 0
    in_other_forms: dict[str, float] = field(default_factory=dict)
    lost_spans: int = 0

    @property
    def made(self) -> int:
        """Documents and questions that are no rows of the source."""
        return self.asked.total() + self.chunks - self.cut

    def lines(self) -> list[str]:
        """The counts in words, a line for each kind of thing that there is any of."""
        said = []
        if self.converted:
            forms = {FORMS[form].words: number for form, number in self.converted.items()}
            said.append(f"converted to Markdown: {by_field(forms, 'file', 'files')}")
        if self.in_other_forms:
            names = [f"{shortened(visible(name), 40)} ({share:.0%})" for name, share in self.in_other_forms.items()]
            more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
            said.append(
                f"pages hold the text of {', '.join(names[:_NAMED])}{more}, left out; corpus.other_forms reads it again"
            )
        if self.cut:
            lost = f"; {counted(self.lost_spans, 'span')} longer than a chunk lost" if self.lost_spans else ""
            said.append(
                f"{counted(self.cut, 'long text')} cut into {self.chunks:,} documents of up to {self.longest:,} tokens "
                f"(corpus.chunk_tokens){lost}"
            )
        if self.asked:
            said.append(f"asked about marked fields: {by_field(self.asked, 'question', 'questions')}")
        if self.ambiguous:
            left_out = by_field(self.ambiguous, "question", "questions")
            said.append(f"not asked, as a field is marked with several texts: {left_out}")
        return said


class ReadState:
    """The ids used so far, SQuAD's paragraphs, and the room left under the limit.

    Args:
        settings: the corpus's settings.
        tokenizer: counts the tokens of chunks.
        counts: told what reading makes of the source.
    """

    def __init__(self, settings: CorpusSettings, tokenizer: str, counts: ReadCounts | None = None) -> None:
        self.settings = settings
        self.tokenizer = tokenizer
        self.counts = counts or ReadCounts()
        self.paragraphs = Paragraphs()
        self.pages = PageText()
        self.full = False
        self._documents = 0
        self._document_ids = UsedIds()
        self._question_ids = UsedIds()

    def close(self) -> None:
        """Remove the temporary files."""
        for part in (self.paragraphs, self._document_ids, self._question_ids):
            part.close()

    @property
    def room(self) -> int:
        """How many more documents the limit allows."""
        limit = self.settings.limit
        return limit - self._documents - len(self.paragraphs) if limit else sys.maxsize

    def repeats_pages(self, lines: Iterable[str], form: CorpusFormat, file: SourceFile) -> bool:
        """Whether a file is another form of pages that were read before, to be left out. Of a page the text is noted.

        Args:
            lines: the text, or its lines.
            form: of the file.
            file: the file.
        """
        if file.alone or self.settings.other_forms:
            return False
        if form not in OTHER_FORMS:
            for line in lines:
                self.pages.add(line)
            return False
        share = self.pages.share_of(lines)
        if share < 1 - MOST_NEW:
            return False
        self.counts.in_other_forms[file.name] = share
        return True

    def repeated(self, document: Document, label: str, where: str) -> str:
        """Note a document; returns why it cannot be used if its id was used before, else empty."""
        if before := self._document_ids.add(document.id, label, where):
            return f"id {document.id!r} is already used {on(before)}"
        self._documents += 1
        self.full = self.room <= 0
        return ""

    def noted(self, document: Document, label: str, where: str) -> list[Document]:
        """Note a document; returns it, or if it is long its chunks, as far as the limit allows.

        Raises:
            ElusiveError: with the reason only, if its id, or that of a chunk, was used before.
        """
        chunks, lost, longest = self._cut(document)
        ids = [document.id, *(chunk.id for chunk in chunks if chunk is not document)]
        for id in ids:
            if before := self._document_ids.add(id, label, where):
                raise ElusiveError(f"id {id!r} is already used {on(before)}")
        kept = chunks[: self.room]
        self._documents += len(kept)
        self.full = self.room <= 0
        if len(chunks) > 1:
            self.counts.cut += 1
            self.counts.chunks += len(kept)
            self.counts.longest = max(self.counts.longest, longest)
            self.counts.lost_spans += lost
        return kept

    def _cut(self, document: Document) -> Cut:
        count = lambda texts: token_counts(self.tokenizer)(texts)  # noqa: E731 (the tokenizer is loaded when it counts)
        return cut(document, self.settings.chunk_tokens, count, self.settings.headings)

    def question_is_new(self, item: QuestionItem, file: SourceFile, where: str) -> None:
        """Note a question's id.

        Raises:
            ElusiveError: with the reason only, if it was used before.
        """
        if before := self._question_ids.add(item.id, file.label, where):
            raise ElusiveError(f"id {item.id!r} is already used by another question, {on(before)}")


def on(place: str) -> str:
    """A place in words: `on line 3`, `in data.csv, line 3`, `in row 3`."""
    return f"on {place}" if place.startswith("line ") else f"in {place}"


def place(row: Row) -> str:
    """Where a row stands, in words."""
    return f"line {row.line}" if row.line else f"row {row.number}"


def bad(file: SourceFile, row: Row, reason: object, of: Any = "document") -> BadRow:
    """A row that cannot be used."""
    raw = json_bytes(row.value) if row.raw is None else row.raw
    # Without a line, the reason begins with the place.
    return bad_row(file.label, row.line, str(reason) if row.line else f"{place(row)}: {reason}", raw, of)


def json_bytes(value: object) -> bytes:
    """A value as JSON; bytes, dates and the like as Python prints them."""
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")
