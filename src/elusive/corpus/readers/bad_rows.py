"""When bad rows stop a reading, and what is said then."""

from pathlib import Path

from elusive.config.run import CorpusSettings
from elusive.corpus.documents import CorpusCounts
from elusive.corpus.rows import BadRow, BadRowsError, counted, listed
from elusive.errors import ElusiveError


def refuse_bad_rows(counts: CorpusCounts, settings: CorpusSettings, quarantine: Path | None = None) -> None:
    """Stop where too many rows were bad, or no document was found.

    Args:
        counts: what was read.
        settings: `max_bad_share`, `skip_bad`.
        quarantine: the file in which all bad rows stand, if there is one.

    Raises:
        BadRowsError: with the first ten bad rows.
        ElusiveError: if there was nothing at all.
    """
    source = settings.source
    problems = listed([_place(row) for row in counts.first_bad], counts.quarantined)
    kept = f" All of them are in {quarantine}." if quarantine else ""
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
        "Correct these rows, or set them aside and go on: corpus.skip_bad = true in a recipe, --skip-bad with "
        f"generate.{kept}"
    )


def _worst_share(counts: CorpusCounts) -> float:
    # Of documents and of questions, each by itself: many questions would hide that most documents were lost.
    good = {"document": counts.documents, "question": counts.questions}
    return max((bad / (bad + good[of]) for of, bad in counts.bad.items() if bad), default=0.0)


def _place(row: BadRow) -> str:
    return f"{row.source}, line {row.line}: {row.reason}" if row.line else f"{row.source}, {row.reason}"
