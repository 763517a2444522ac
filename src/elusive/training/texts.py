"""The texts of a train.jsonl, anybody's: bad rows are quarantined with a reason, as those of a corpus are."""

import collections
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elusive.augmentation.marks import MarkedText, marks_of
from elusive.corpus.documents import Tally
from elusive.corpus.input_files import Line, byte_lines
from elusive.corpus.quarantine import MOST_BAD_ROWS, BadRow, BadRowsError, CorpusCounts, bad_row, place_of
from elusive.corpus.values import parse_row, text_value
from elusive.corpus.wording import counted, listed
from elusive.errors import ElusiveError
from elusive.runs.files import write_jsonl
from elusive.storage import Location

from .chat_rows import subject_of

_TITLES = ("title", "subject")


@dataclass(frozen=True)
class TrainingTexts:
    """The texts of a train.jsonl, read from disk on each iteration; bad rows are passed over.

    Attributes:
        path: the file: one object a line, with a `text` and perhaps `token_marks`; compressed by gzip or Zstandard,
            or not.
    """

    path: Location

    def __iter__(self) -> Iterator[str]:
        return (text for text, _ in self.marked())

    def marked(self) -> Iterator[MarkedText]:
        """The texts with the marks on their tokens."""
        return (row for row in self._rows() if isinstance(row, MarkedText))

    def titled(self) -> Iterator[tuple[str, MarkedText]]:
        """The texts with what each is about: a title or subject in its row, or else in the text of its original."""
        subjects: dict[str, str] = {}
        for line in byte_lines(self.path):
            try:
                marked, row = _marked_text(line), parse_row(line.raw)
            except ElusiveError:
                continue
            document = str(row.get("id", line.number))
            if document not in subjects or not row.get("copy"):
                subjects[document] = next((row[key] for key in _TITLES if row.get(key)), subject_of(marked.text))
            yield str(subjects[document]), marked

    def check(self, skip_bad: bool, quarantine: Path | None) -> int:
        """Read all rows, and refuse a file with bad ones.

        Args:
            skip_bad: leave bad rows out instead.
            quarantine: the file that bad rows are written to (None: none).

        Returns:
            How many texts there are.

        Raises:
            BadRowsError: if a row is bad, with the first ten.
            ElusiveError: if the file cannot be read.
        """
        tally = Tally(most_bad=0 if skip_bad else MOST_BAD_ROWS)
        bad = (vars(row) for row in tally.passing(self._rows()) if isinstance(row, BadRow))
        first = next(bad, None)
        if first and quarantine:
            write_jsonl(quarantine, itertools.chain([first], bad))
        collections.deque(bad, maxlen=0)
        counts = tally.counts()
        if counts.quarantined and not (skip_bad and counts.documents):
            raise self._refusal(counts, quarantine)
        return counts.documents

    def _rows(self) -> Iterator[MarkedText | BadRow]:
        for line in byte_lines(self.path):
            try:
                yield _marked_text(line)
            except ElusiveError as reason:
                yield bad_row(self.path, line.number, str(reason), line.raw)

    def _refusal(self, counts: CorpusCounts, quarantine: Path | None) -> BadRowsError:
        kept = f" All of them are in {quarantine}." if quarantine else ""
        rest = " Nothing was read after them." if counts.stopped else ""
        return BadRowsError(
            f'{self.path}: expected one object a line with a text, e.g. {{"text": "..."}}, got '
            f"{counted(counts.quarantined, 'bad row')}.{rest}\n"
            f"{listed([place_of(row) for row in counts.first_bad], counts.quarantined)}\n"
            "Correct these rows, or leave them in quarantine: train.skip_bad = true in a recipe, --skip-bad with train."
            f"{kept}"
        )


def _marked_text(line: Line) -> MarkedText:
    """The text of a row, and its marks.

    Raises:
        ElusiveError: with the reason only.
    """
    if line.problem:
        raise ElusiveError(line.problem)
    row = parse_row(line.raw)
    # Of a copy of a few words, dropout may leave nothing; what augmentation wrote is trained on as it is.
    if row.get("copy") and isinstance(row.get("text"), str) and not row["text"].strip():
        return MarkedText(row["text"], marks_of(row))
    return MarkedText(text_value(row, "text"), marks_of(row))
