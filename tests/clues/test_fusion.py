"""One ranking from those of single cues, by hand."""

import numpy as np
import pytest

from elusive.clues.fusion import RANDOM_ORDERS, fused, random_orders
from elusive.errors import ElusiveError

# Three cues see 3, 4 and 4 of four tokens. Ranks: 2 1 3 -, 1 4 2 3, 1 3 4 2.
SIGNAL = np.array([[0.2, 0.3, 0.1, 9.0], [4.0, 1.0, 3.0, 2.0], [40.0, 20.0, 10.0, 30.0]])
SEEN = np.array([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]], dtype=bool)


def test_reciprocal_ranks_are_a_mean_over_the_rows_that_see_a_token() -> None:
    expected = [
        (1 / 62 + 1 / 61 + 1 / 61) / 3,
        (1 / 61 + 1 / 64 + 1 / 63) / 3,
        (1 / 63 + 1 / 62 + 1 / 64) / 3,
        (1 / 63 + 1 / 62) / 2,
    ]
    np.testing.assert_allclose(fused(SIGNAL, SEEN, "rrf"), expected)


def test_the_best_rank_and_then_reciprocal_ranks() -> None:
    # Best ranks 1, 1, 2, 2; the first token beats the second, and the fourth the third, by reciprocal ranks.
    assert np.argsort(-fused(SIGNAL, SEEN, "best-rank")).tolist() == [0, 1, 3, 2]


def test_z_scores_do_not_depend_on_a_rows_scale() -> None:
    root = np.sqrt(1.25)  # spread of 1, 2, 3, 4
    first = np.array([0.0, 0.1, -0.1]) / np.sqrt(0.02 / 3)
    expected = [
        (first[0] + 1.5 / root + 1.5 / root) / 3,
        (first[1] - 1.5 / root - 0.5 / root) / 3,
        (first[2] + 0.5 / root - 1.5 / root) / 3,
        (-0.5 / root + 0.5 / root) / 2,
    ]
    np.testing.assert_allclose(fused(SIGNAL, SEEN, "zscore"), expected, atol=1e-12)
    largest = [1.5 / root, first[1], 0.5 / root, 0.5 / root]
    np.testing.assert_allclose(fused(SIGNAL, SEEN, "max"), largest, atol=1e-12)


@pytest.mark.parametrize("rule", ["rrf", "zscore", "max", "best-rank"])
def test_one_row_keeps_its_order_and_what_no_row_sees_is_last(rule) -> None:
    found = fused(SIGNAL[:1], SEEN[:1], rule)
    assert np.argsort(-found).tolist() == [1, 0, 2, 3]
    assert found[3] == -np.inf
    assert fused(np.zeros((0, 2)), np.zeros((0, 2), bool), rule).tolist() == [-np.inf, -np.inf]


@pytest.mark.parametrize("rule", ["zscore", "max"])
def test_a_row_without_any_difference_says_nothing(rule) -> None:
    assert fused(np.full((1, 3), 0.4), np.ones((1, 3), bool), rule).tolist() == [0.0, 0.0, 0.0]


def test_a_mean_over_queries_is_no_fusion() -> None:
    with pytest.raises(ElusiveError, match="mean is no fusion of rows"):
        fused(SIGNAL, SEEN, "mean")


def test_many_rows_give_a_token_many_chances() -> None:
    seen = np.zeros((6, 12), dtype=bool)
    seen[:, :6] = True
    seen[5] = True
    orders = random_orders(seen, "best-rank")
    assert orders.shape == (RANDOM_ORDERS, 12)
    best_four = np.argsort(-orders, axis=1)[:, :4]
    assert (best_four < 6).mean() > 0.7
    np.testing.assert_array_equal(orders, random_orders(seen, "best-rank"))
