"""Batches under a token budget, worked by hand."""

from elusive.batching import length_batches


def test_length_batches_by_hand():
    assert length_batches([], 10) == []
    assert length_batches([2, 9, 3, 4], 8) == [[1], [3, 2], [0]]
    assert length_batches([5, 5, 5], 10) == [[0, 1], [2]]
    assert length_batches([5, 5, 5], 1) == [[0], [1], [2]]
