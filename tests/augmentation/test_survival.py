"""How often spans are intact, counted by hand."""

import numpy as np

from elusive.augmentation.survival import SpanCounts, Survival, added, count_intact, survival, survival_words
from elusive.corpus.documents import Document, Span

TEXT = "A B c D e. F"
OFFSETS = np.array([[0, 0], [0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [9, 10], [11, 12]])
KEPT = np.array(
    [
        [1, 1, 1, 1, 1, 1, 1, 1],
        [1, 1, 0, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 0, 1, 1, 0],
        [1, 0, 0, 0, 1, 1, 1, 1],
    ],
    dtype=bool,
)
NAME, CITY, AGAIN = Span("name", 0, 3), Span("city", 6, 9), Span("city", 11, 12)


def test_by_hand() -> None:
    found = count_intact(Document("d", TEXT, (NAME, CITY, AGAIN)), OFFSETS, KEPT, ("name",))
    # "A B" is whole in copies 1 and 3; "D e" in 1, 2, 4, with the name in 1; "F" in 1, 2, 4, with the name in 1.
    assert found == {"name": SpanCounts(4, 2, 0, 0), "city": SpanCounts(8, 6, 8, 2)}
    assert survival(found) == {"name": Survival(0.5), "city": Survival(0.75, 0.25)}


def test_one_mention_of_the_head_entity_is_enough() -> None:
    mentions = (NAME, Span("name", 4, 5), AGAIN)
    found = count_intact(Document("d", TEXT, mentions), OFFSETS, KEPT, ("name",))
    # "A B" in copies 1 and 3, "c" in 1, 2, 3; "F" in 1, 2, 4.
    assert found == {"name": SpanCounts(8, 5, 0, 0), "city": SpanCounts(4, 3, 4, 2)}


def test_without_head_entities_copies_or_spans() -> None:
    assert count_intact(Document("d", TEXT, (CITY,)), OFFSETS, KEPT, ("name",)) == {"city": SpanCounts(4, 3)}
    assert count_intact(Document("d", TEXT, (CITY,)), OFFSETS, KEPT[:0], ("name",)) == {}
    assert count_intact(Document("d", TEXT), OFFSETS, KEPT, ("name",)) == {}
    assert survival({"city": SpanCounts(4, 3)}) == {"city": Survival(0.75, None)}


def test_added() -> None:
    one, other = {"city": SpanCounts(4, 3, 4, 1)}, {"name": SpanCounts(2, 1), "city": SpanCounts(1, 1, 0, 0)}
    assert added([one, other]) == {"city": SpanCounts(5, 4, 4, 1), "name": SpanCounts(2, 1)}


def test_in_words() -> None:
    found = {"name": Survival(0.5), "company": Survival(0.002, 0.0)}
    assert survival_words(found) == "name 50.0%, company 0.2% (with the head entity 0.0%)"
    assert survival_words({}) == ""
