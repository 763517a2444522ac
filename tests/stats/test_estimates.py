"""Estimates and differences: worked by hand, against the intervals, and what has no value."""

import numpy as np
import pytest

from elusive.errors import ElusiveError
from elusive.runs.typed_json import from_json, to_json
from elusive.stats.estimates import Difference, Estimate, difference, estimate, mean
from elusive.stats.intervals import cohort_interval, interval, paired_interval

NAN = float("nan")
ABOUT = [str(number // 2) for number in range(12)]


def test_one_cohort_is_the_mean_and_the_interval() -> None:
    values = np.random.default_rng(0).random((3, 12))
    found = estimate([values], [ABOUT], resamples=300, seed=4)
    assert found == Estimate(float(values.mean()), *interval(values, ABOUT, 300, 4))


def test_cohorts_weigh_the_same() -> None:
    values, about = [[1.0, 0.0], [1.0, 1.0, 1.0, 0.0]], [["a", "b"], ["c", "d", "e", "f"]]
    found = estimate(values, about, resamples=200)
    assert found == Estimate((0.5 + 0.75) / 2, *cohort_interval(values, about, 200))


def test_difference_is_the_paired_interval_one_seed_against_all() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((3, 12)), rng.random(12)
    found = difference([a], [b], [ABOUT], resamples=300)
    assert (found.value, found.low, found.high) == paired_interval(a, b, ABOUT, 300)


def test_questions_without_a_value_are_left_out_or_refused() -> None:
    values = [1.0, NAN, 0.0, 1.0]
    assert estimate([values], [list("abcd")], skip_nan=True) == estimate([[1.0, 0.0, 1.0]], [list("acd")])
    other = [NAN, 1.0, 0.0, 0.0]
    found = difference([values], [other], [list("abcd")], skip_nan=True)
    assert found == difference([[0.0, 1.0]], [[0.0, 0.0]], [list("cd")])
    with pytest.raises(ElusiveError, match="Expected finite values, got nan"):
        estimate([values], [list("abcd")])
    with pytest.raises(ElusiveError, match="Expected finite values, got inf"):
        estimate([[1.0, float("inf")]], [["a", "b"]], skip_nan=True)


def test_what_has_no_value_or_no_interval_is_none() -> None:
    assert estimate([[NAN, NAN]], [["a", "b"]], skip_nan=True) == Estimate(None, None, None)
    assert difference([[NAN, 1.0]], [[1.0, NAN]], [["a", "b"]], skip_nan=True) == Difference(None, None, None)
    assert estimate([[1.0, 0.0]], [["a", "a"]]) == Estimate(0.5, None, None)
    assert not difference([[1.0, 1.0]], [[0.0, 0.0]], [["a", "a"]]).separated
    assert (mean([NAN, 1.0, 0.0]), mean([]), mean([NAN])) == (0.5, None, None)


@pytest.mark.parametrize(
    ("low", "high", "separated"),
    [(0.1, 0.2, True), (-0.2, -0.1, True), (0.0, 0.2, False), (-0.2, 0.0, False), (-0.1, 0.1, False)],
)
def test_separated_leaves_zero_out(low: float, high: float, separated: bool) -> None:
    one = Difference((low + high) / 2, low, high)
    assert one.separated is separated
    assert to_json(one) == {"difference": one.value, "low": low, "high": high, "separated": separated}
    assert from_json(Difference, to_json(one)) == one


def test_other_sides_are_refused() -> None:
    with pytest.raises(ElusiveError, match="same cohorts on both sides, got 1 and 2"):
        difference([[1.0]], [[1.0], [1.0]], [["a"]])
    with pytest.raises(ElusiveError, match="as many training seeds on both sides"):
        difference([[[1.0], [1.0]]], [[[1.0], [1.0], [1.0]]], [["a"]])
