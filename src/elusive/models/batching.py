"""Batches under a token budget."""

from collections.abc import Sequence


def length_batches(lengths: Sequence[int], max_batch_tokens: int) -> list[list[int]]:
    """Indices grouped so that sequences x longest sequence stays within a budget, longest first.

    Longest first, so that a batch too large for the memory fails at once, not after an hour.

    Example:
        >>> length_batches([2, 9, 3, 4], 8)
        [[1], [3, 2], [0]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= max_batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def packed_batches(lengths: Sequence[int], max_batch_tokens: int) -> list[list[int]]:
    """Indices grouped so that the sum of their lengths stays within a budget, longest first.

    Example:
        >>> packed_batches([2, 9, 3, 4], 8)
        [[1], [3, 2], [0]]
    """
    batches: list[list[int]] = []
    free = 0
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if not batches or lengths[index] > free:
            batches.append([])
            free = max_batch_tokens
        batches[-1].append(index)
        free -= lengths[index]
    return batches
