"""Halves of a corpus: by documents, whatever their order, and the same as the published numbers were made on."""

from typing import Any

import pytest

from elusive.stats.halves import first_half


@pytest.mark.parametrize("draw", ["hash", "shuffle"])
def test_halves_split_documents_and_keep_their_entries_together(draw: Any) -> None:
    documents = [str(number // 3) for number in range(30)]
    half = first_half(documents, 0, draw)
    assert half.sum() == 15
    assert all(len({bool(half[i]) for i in range(30) if documents[i] == one}) == 1 for one in set(documents))
    assert (first_half(documents, 0, draw) == half).all()
    assert (first_half(documents[::-1], 0, draw) == half[::-1]).all()
    assert any((first_half(documents, seed, draw) != half).any() for seed in (1, 2, 3))
    assert first_half(["a", "b", "c"], 0, draw).sum() == 3 // 2
    assert first_half([], 0, draw).tolist() == []


def test_the_draws_are_those_that_published_numbers_were_made_with() -> None:
    documents = [f"person-{number}" for number in range(8)]
    assert "".join("01"[int(here)] for here in first_half(documents, 0, "hash")) == "01101001"
    assert "".join("01"[int(here)] for here in first_half(documents, 0, "shuffle")) == "01101010"
