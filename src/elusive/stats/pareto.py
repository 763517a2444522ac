"""The Pareto front of two scores, both of which should be high."""

from collections.abc import Sequence


def on_front(scores: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether no other point has more of one score and as much of the other.

    Args:
        scores: of each point.

    Example:
        >>> on_front([(0.1, 0.9), (0.5, 0.5), (0.4, 0.5), (0.5, 0.5)])
        [True, True, False, True]
    """
    return [not any(one[0] >= x and one[1] >= y and one != (x, y) for one in scores) for x, y in scores]
