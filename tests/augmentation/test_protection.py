"""Protected tokens: of which spans and patterns, and what is refused."""

import numpy as np
import pytest
import regex

from elusive.augmentation.protection import check_protected, protected_tokens
from elusive.config.augmentation import AugmentSettings
from elusive.corpus.documents import Document, Span
from elusive.errors import ElusiveError

TEXT = "Ada Lovelace was not born on May 5, 1990 at Zeiss."
NAME, DATE, COMPANY = Span("name", 0, 12), Span("date", 29, 40), Span("company", 44, 49)
DOCUMENT = Document("d", TEXT, (NAME, DATE, COMPANY))


def protected(*fields: str, patterns: tuple[str, ...] = ()) -> list[str]:
    offsets = np.array([found.span() for found in regex.finditer(r"\s?\w+|\S", TEXT)])
    settings = AugmentSettings(protected_spans=fields, protected_patterns=patterns)
    chosen = protected_tokens(DOCUMENT, offsets, settings, ("name",))
    return [TEXT[start:end].strip() for start, end in offsets[chosen].tolist()]


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ((), []),
        (("company",), ["Zeiss"]),
        (("heads",), ["Ada", "Lovelace"]),
        (("answers",), ["May", "5", ",", "1990", "Zeiss"]),
        (("heads", "company"), ["Ada", "Lovelace", "Zeiss"]),
        (("nowhere",), []),  # other documents may have it
    ],
)
def test_spans(fields: tuple[str, ...], tokens: list[str]) -> None:
    assert protected(*fields) == tokens


def test_patterns() -> None:
    assert protected(patterns=("numbers", "negations")) == ["not", "5", "1990"]
    assert protected("company", patterns=("born on",)) == ["born", "on", "Zeiss"]


def test_a_pattern_that_would_not_end() -> None:
    settings = AugmentSettings(protected_patterns=("(a|aa)+$",), pattern_seconds=0.05)
    with pytest.raises(ElusiveError, match=r"'\(a\|aa\)\+\$' took longer than 0.05 s on document 'd' \(61 characters"):
        protected_tokens(Document("d", "a" * 60 + "b"), np.array([[0, 61]]), settings, ())


def test_a_field_that_no_document_has() -> None:
    with pytest.raises(ElusiveError) as caught:
        check_protected([DOCUMENT], AugmentSettings(protected_spans=("answers", "compny")), ("name",))
    assert str(caught.value) == (
        "augment.protected_spans: no document has a span of 'compny'. Expected heads, answers or fields of the corpus "
        "(company, date, name). Did you mean 'company'?"
    )
    check_protected([DOCUMENT], AugmentSettings(protected_spans=("answers", "heads", "date")), ("name",))


def test_heads_where_none_are_marked() -> None:
    headless = Document("d", TEXT, (DATE,))
    with pytest.raises(ElusiveError, match=r"no document has a span of 'heads'\. .* \(date\)\.$"):
        check_protected([headless], AugmentSettings(protected_spans=("heads",)), ("name",))
    with pytest.raises(ElusiveError, match=r"no document has a span of 'answers'\. .* \(it has no spans\)\.$"):
        check_protected([Document("d", TEXT)], AugmentSettings(protected_spans=("answers",)), ())


def test_code_and_tables_of_markdown_are_never_dropped_into():
    table = "| a | b |\n| --- | --- |\n| 1 | 2 |"
    text = (
        f"One | two.\n\n```py\nx = 1\n\ny\n```\n\nMore.\n\n    indented\n\nEnd.\n\n{table}\n\n- it\n  ~~~\n  z\n  ~~~\n"
    )
    offsets_T2 = np.array([found.span() for found in regex.finditer(r"\S+", text)])
    kept = protected_tokens(Document("d", text), offsets_T2, AugmentSettings(), ())
    words = [text[start:end] for start, end in offsets_T2[~kept]]
    assert words == ["One", "|", "two.", "More.", "End.", "-", "it"]
