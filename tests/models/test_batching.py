"""Batches under a token budget, worked by hand."""

from elusive.models.batching import length_batches, packed_batches


def test_length_batches_by_hand():
    assert length_batches([], 10) == []
    assert length_batches([2, 9, 3, 4], 8) == [[1], [3, 2], [0]]
    assert length_batches([3, 9, 5, 4, 20, 3], 12) == [[4], [1], [2, 3], [0, 5]]
    assert length_batches([5, 5, 5], 10) == [[0, 1], [2]]
    assert length_batches([5, 5, 5], 1) == [[0], [1], [2]]


def test_packed_batches_by_hand():
    assert packed_batches([], 10) == []
    assert packed_batches([2, 9, 3, 4], 8) == [[1], [3, 2], [0]]
    assert packed_batches([6, 2, 2], 10) == [[0, 1, 2]]  # length_batches gives [[0], [1, 2]]
    assert packed_batches([5, 5, 5], 1) == [[0], [1], [2]]
