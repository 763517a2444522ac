"""Rows that become neither a document nor a question: quarantined with a reason. Every row is accounted for."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from elusive.config.corpus import CorpusSettings
from elusive.errors import ElusiveError
from elusive.messages import visible
from elusive.storage import Location

from .wording import counted, listed

QUARANTINE = "quarantine.jsonl"
"""The file of bad rows, in the folder that was to be made of the others."""


MOST_BAD_ROWS = 100_000
"""Bad rows after which a source is not read on, where none is allowed: it is something else than it was taken for."""


RAW_CHARACTERS = 65_536
"""Characters of a bad row that are kept."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used.

    Attributes:
        source: the file.
        line: its first line there, from 1; 0 where the file has no lines (then `reason` begins with the row's place).
        reason: why.
        raw: its bytes as text, bytes that are not UTF-8 as `\\xNN`; at most 65,536 characters.
        of: what the row should have been.
    """

    source: str
    line: int
    reason: str
    raw: str
    of: Literal["document", "question"] = "document"


@dataclass(frozen=True)
class LeftOut:
    """A row that is left out on purpose, with the reason.

    Attributes:
        reason: why; rows with one reason are counted together.
    """

    reason: str


class BadRowsError(ElusiveError):
    """A source was read to its end, and too many of its rows were bad."""


def bad_row(
    source: str | Location, line: int, reason: str, raw: bytes, of: Literal["document", "question"] = "document"
) -> BadRow:
    """A bad row with its bytes made text and cut to size."""
    # A character has at most four bytes; the cut keeps a huge row from being decoded for its first few characters.
    text = raw[: 4 * RAW_CHARACTERS].decode("utf-8", "backslashreplace")
    return BadRow(str(source), line, visible(reason), text[:RAW_CHARACTERS], of)


def file_kind(name: str) -> str:
    """The kind of a file by its suffix, without that of a compression.

    Example:
        >>> file_kind("docs/manual.PDF"), file_kind("rows.jsonl.gz"), file_kind("README")
        ('.pdf', '.jsonl', 'no suffix')
    """
    stem, suffix = os.path.splitext(name.lower())
    if suffix in (".gz", ".zst", ".zstd"):
        suffix = os.path.splitext(stem)[1]
    return suffix or "no suffix"


@dataclass(frozen=True)
class CorpusCounts:
    """The rows of a source by what became of them; every row is accounted for.

    Attributes:
        documents: rows that became documents.
        questions: rows that became questions.
        bad: rows quarantined with a reason, by what they should have been (document, question).
        left_out: rows left out on purpose, by reason.
        first_bad: the first ten quarantined rows.
        stopped: whether the source was not read on, because so many rows were bad.
        bad_files: quarantined rows by the kind of their file: its suffix.
    """

    documents: int = 0
    questions: int = 0
    bad: Mapping[str, int] = dataclasses.field(default_factory=dict)
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    first_bad: tuple[BadRow, ...] = ()
    stopped: bool = False
    bad_files: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def quarantined(self) -> int:
        """All quarantined rows."""
        return sum(self.bad.values())

    @property
    def rows(self) -> int:
        """All rows of the source: documents + questions + quarantined + left out."""
        return self.documents + self.questions + self.quarantined + sum(self.left_out.values())


def most_bad_rows(settings: CorpusSettings) -> int:
    """How many bad rows are read before a source is given up; 0 where some are allowed, as then all are counted."""
    return 0 if settings.skip_bad or settings.max_bad_share else MOST_BAD_ROWS


def refuse_bad_rows(counts: CorpusCounts, settings: CorpusSettings, quarantine: Location | None = None) -> None:
    """Stop where too many rows were bad, or no document was found.

    Args:
        counts: the rows of the source.
        settings: `max_bad_share`, `skip_bad`.
        quarantine: the file that holds all bad rows, if there is one.

    Raises:
        BadRowsError: with the first ten bad rows.
        ElusiveError: if there was nothing at all.
    """
    source = settings.source
    problems = listed([place_of(row) for row in counts.first_bad], counts.quarantined)
    kept = f" All of them are in {quarantine}." if quarantine else ""
    if counts.stopped:
        raise BadRowsError(
            f"{source}: expected every row to be readable, got {counted(counts.quarantined, 'bad row')} among the "
            f"first {counts.rows:,}, and nothing was read after them.\n{problems}\nCheck that corpus.format and "
            f"corpus.text_column are right. corpus.skip_bad = true reads the source to its end.{kept}"
        )
    if not counts.documents and counts.quarantined:
        raise BadRowsError(
            f"{source}: expected at least one document, got {counted(counts.quarantined, 'bad row')} and nothing else."
            f"\n{problems}\nCorrect these rows, or check that corpus.format and corpus.text_column are right.{kept}"
        )
    if not counts.documents:
        raise ElusiveError(
            f"{source} holds no document: expected a row or a text in it, got none. Give a corpus that is not empty."
        )
    if settings.skip_bad or _worst_share(counts) <= settings.max_bad_share:
        return
    expected = "every row to be readable"
    if settings.max_bad_share:
        expected = f"a share of bad rows of at most {settings.max_bad_share:g} (corpus.max_bad_share)"
    raise BadRowsError(
        f"{source}: expected {expected}, got {counted(counts.quarantined, 'bad row')}"
        f"{f' of {counts.rows:,}' if settings.max_bad_share else ''}.\n{problems}\n"
        "Correct these rows, or leave them in quarantine: corpus.skip_bad = true in a recipe, --skip-bad with "
        f"generate.{kept}"
    )


def _worst_share(counts: CorpusCounts) -> float:
    # Documents and questions apart: many good questions would hide that most documents were lost.
    good = {"document": counts.documents, "question": counts.questions}
    return max((bad / (bad + good[of]) for of, bad in counts.bad.items() if bad), default=0.0)


def place_of(row: BadRow) -> str:
    """Where a bad row stands, and why it is one."""
    return f"{row.source}, line {row.line}: {row.reason}" if row.line else f"{row.source}, {row.reason}"
