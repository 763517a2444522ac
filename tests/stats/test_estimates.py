"""Estimates and differences: worked by hand, against the intervals, and what has no value."""

import numpy as np
import pytest

from elusive.errors import ElusiveError
from elusive.runs.typed_json import from_json, to_json
from elusive.stats.estimates import Difference, Estimate, corrected, corrected_by_name, difference, estimate, mean
from elusive.stats.intervals import cohort_interval, interval, paired_differences

NAN = float("nan")
ABOUT = [str(number // 2) for number in range(12)]


def test_one_cohort_is_the_mean_and_the_interval() -> None:
    values = np.random.default_rng(0).random((3, 12))
    found = estimate([values], [ABOUT], resamples=300, seed=4)
    assert found == Estimate(float(values.mean()), *interval(values, ABOUT, 300, 4)[:2])


def test_cohorts_weigh_the_same() -> None:
    values, about = [[1.0, 0.0], [1.0, 1.0, 1.0, 0.0]], [["a", "b"], ["c", "d", "e", "f"]]
    found = estimate(values, about, resamples=200)
    low, high, _ = cohort_interval(values, about, 200)
    assert (low, high) == pytest.approx((0.625 - 12.7062 / 8, 0.625 + 12.7062 / 8), abs=1e-4)
    assert found == Estimate((0.5 + 0.75) / 2, 0.0, 1.0)  # of shares, so the interval ends where shares do


def test_values_that_are_no_shares_have_the_whole_interval() -> None:
    values, about = [[1.0, 0.0], [3.0, 3.0]], [["a", "b"], ["c", "d"]]
    assert estimate(values, about) == Estimate(1.75, *cohort_interval(values, about)[:2])


def test_difference_is_the_paired_interval_one_seed_against_all() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((3, 12)), rng.random(12)
    found = difference([a], [b], [ABOUT], resamples=300)
    expected = interval(paired_differences(a, b), ABOUT, 300)
    assert (found.low, found.high, found.p_value) == expected
    assert found.value == pytest.approx((a - b).mean())
    assert found.trainings == 3


def test_trainings_are_counted_over_cohorts_and_seeds() -> None:
    values = np.random.default_rng(0).random((2, 12))
    assert difference([values, values[:1]], [values[::-1], values[1:]], [ABOUT] * 2).trainings == 3
    assert difference([values[0]], [values[1]], [ABOUT], resamples=100).trainings == 1
    assert difference([values[0]], [values[1]], [ABOUT], resamples=100, trained=False).trainings is None


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
    nothing = difference([[NAN, 1.0]], [[1.0, NAN]], [["a", "b"]], skip_nan=True)
    assert nothing == Difference(None, None, None, trainings=1)
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
    rest = {"p_value": None, "p_adjusted": None, "trainings": None, "separated": separated}
    assert to_json(one) == {"difference": one.value, "low": low, "high": high, **rest}
    assert from_json(Difference, to_json(one)) == one


def test_one_training_separates_nothing() -> None:
    apart = Difference(0.2, 0.1, 0.3, p_value=0.001, trainings=1)
    assert apart.leaves_zero_out
    assert not apart.separated
    assert Difference(0.2, 0.1, 0.3, p_value=0.001, trainings=2).separated
    assert Difference(0.2, 0.1, 0.3, p_value=0.001).separated  # nothing was trained


def test_what_does_not_survive_correction_is_not_separated() -> None:
    table = [Difference(0.2, 0.1, 0.3, p_value=p_value) for p_value in (0.04, 0.01, None, 0.02)]
    found = corrected(table)
    assert [one.p_adjusted for one in found] == [0.04, 0.03, None, 0.04]
    assert all(one.separated for one in found)
    more = corrected([*table, Difference(0.0, -0.1, 0.1, p_value=0.9)])
    assert [one.separated for one in more] == [False, True, True, False, False]
    by_name = corrected_by_name([{"x": table[0], "y": table[1]}, {}, {"x": table[3]}])
    assert [{name: one.p_adjusted for name, one in row.items()} for row in by_name] == [
        {"x": 0.04, "y": 0.03},
        {},
        {"x": 0.04},
    ]


def test_other_sides_are_refused() -> None:
    with pytest.raises(ElusiveError, match="same cohorts on both sides, got 1 and 2"):
        difference([[1.0]], [[1.0], [1.0]], [["a"]])
    with pytest.raises(ElusiveError, match="as many training seeds on both sides"):
        difference([[[1.0], [1.0]]], [[[1.0], [1.0], [1.0]]], [["a"]])
