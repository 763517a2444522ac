"""Which token belongs to a span: worked by hand, with white space on either side."""

import numpy as np

from elusive.corpus.documents import Document, Span
from elusive.scoring.positions import head_tokens, span_tokens, token_fields

TEXT = "Ann Lee was born , in Rome"
#       0   4   8   12   17 19 22
OFFSETS = np.array([(0, 0), (0, 3), (4, 7), (8, 11), (12, 16), (17, 18), (19, 21), (22, 26)], np.int32)
DOCUMENT = Document("ann", TEXT, (Span("name", 0, 7), Span("city", 22, 26)))


def test_a_space_after_a_name_makes_no_token_of_the_next_word_part_of_it() -> None:
    # "Ada was" with tokens "Ada" and " was": they share the space at 3 with the span, and no other character.
    text, offsets = "Ada was", np.array([(0, 3), (3, 7)])
    document = Document("ada", text, (Span("name", 0, 4),))
    assert span_tokens(text, Span("name", 0, 4), offsets).tolist() == [True, False]
    assert head_tokens(document, offsets, ("name",)).tolist() == [True, False]
    assert token_fields(text, document.spans, offsets) == ["name", ""]


def test_fields_and_head_tokens_agree_and_the_first_span_counts() -> None:
    spans = (Span("name", 4, 11), Span("verb", 8, 16), Span("name", 19, 21))
    fields = token_fields(TEXT, spans, OFFSETS)
    assert fields == ["", "", "name", "name", "verb", "", "name", ""]
    inside = head_tokens(Document("x", TEXT, spans), OFFSETS, ("name",))
    assert inside.tolist() == [field == "name" for field in fields]


def test_a_token_of_white_space_or_without_characters_belongs_to_no_span() -> None:
    text = "Ada  Lee"
    offsets = np.array([(0, 0), (0, 3), (3, 5), (4, 8), (8, 8)])
    assert token_fields(text, [Span("name", 0, 8)], offsets) == ["", "name", "", "name", ""]
    assert not span_tokens(text, Span("name", 3, 5), offsets).any()
    assert token_fields("", [], np.zeros((1, 2), int)) == [""]
    assert token_fields(text, [Span("name", 0, 8)], np.zeros((0, 2), int)) == []


def test_white_space_around_tokens_and_spans_belongs_to_neither() -> None:
    spaced = OFFSETS.copy()
    spaced[2:, 0] -= 1  # " Lee", " was", ...
    wide = Document("wide", TEXT, (Span("name", 0, 8), Span("city", 21, 26)))
    for document in (DOCUMENT, wide):
        for offsets in (OFFSETS, spaced):
            assert np.flatnonzero(head_tokens(document, offsets, ("name",))).tolist() == [1, 2]
            assert np.flatnonzero(head_tokens(document, offsets, ("name", "city"))).tolist() == [1, 2, 7]


def test_every_span_of_the_head_entity_counts_and_so_does_a_part_of_a_token() -> None:
    document = Document("x", TEXT, (Span("name", 5, 6), Span("name", 19, 21)))
    assert np.flatnonzero(head_tokens(document, OFFSETS, ("name",))).tolist() == [2, 6]
    assert not head_tokens(document, OFFSETS, ()).any()
