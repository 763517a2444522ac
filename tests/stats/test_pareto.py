"""The Pareto front, beside small sets whose front is seen at once."""

import pytest

from elusive.stats.pareto import on_front


@pytest.mark.parametrize(
    ("scores", "front"),
    [
        ([], []),
        ([(0.2, 0.2)], [True]),
        ([(0.2, 0.2), (0.3, 0.2)], [False, True]),
        ([(0.2, 0.3), (0.3, 0.2), (0.2, 0.2)], [True, True, False]),
        ([(0.2, 0.2), (0.2, 0.2)], [True, True]),
    ],
)
def test_what_no_other_has_more_of(scores, front):
    assert on_front(scores) == front
