"""Intervals: by hand, against a loop and other libraries, and by how often they hold the true mean."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from elusive.errors import ElusiveError
from elusive.stats import intervals
from elusive.stats.intervals import cohort_interval, holm, interval, paired_differences


def ends(*arguments, **more) -> tuple[float, float]:
    return interval(*arguments, **more)[:2]


def paired(a, b, documents: Sequence[str], resamples: int = 10_000, seed: int = 0) -> tuple[float, float, float]:
    """Mean of a minus b, and the ends of its interval."""
    found = paired_differences(a, b)
    return (float(found.mean()), *interval(found, documents, resamples, seed)[:2])


def test_equal_values_give_an_interval_of_no_width():
    assert ends([0.25] * 6, ["a", "a", "b", "b", "c", "c"]) == (0.25, 0.25)


def test_two_documents_worked_by_hand():
    # Draws of two out of {0, 1}: means 0, 1/2, 1 with chances 1/4, 1/2, 1/4, so both 2.5% tails are the ends.
    assert ends([0.0, 1.0], ["a", "b"]) == (0.0, 1.0)


def test_eight_documents_worked_by_hand():
    # One success in eight: the number of times it is drawn is binomial(8, 1/8); P(0) = .344, P(<= 2) = .936,
    # P(<= 3) = .989, so the 2.5% quantile is 0 and the 97.5% quantile is 3 of 8.
    values = [1.0] + [0.0] * 7
    assert ends(values, [f"d{i}" for i in range(8)]) == (0.0, 3 / 8)


def test_questions_of_a_document_stay_together():
    # Fifty questions each about two documents: as many as two documents, not a hundred questions.
    values, documents = [0.0] * 50 + [1.0] * 50, ["a"] * 50 + ["b"] * 50
    assert ends(values, documents) == (0.0, 1.0)
    alone = ends(values, [str(i) for i in range(100)])
    assert 0.35 < alone[0] < 0.45
    assert 0.55 < alone[1] < 0.65


def test_documents_with_more_questions_weigh_more():
    # a has one question (0), b has three (1): draws aa, ab, bb have means 0, 3/4, 1; mean of all is 3/4.
    values, documents = [0.0, 1.0, 1.0, 1.0], ["a", "b", "b", "b"]
    means = intervals._resampled_means(np.array([0.0, 3.0]), np.array([1, 3]), 4000, seed=0)
    assert set(means) == {0.0, 0.75, 1.0}
    assert np.mean(means == 0.75) == pytest.approx(0.5, abs=0.03)
    assert ends(values, documents) == (0.0, 1.0)


def test_same_as_a_plain_loop_over_the_same_draws():
    random = np.random.default_rng(3)
    documents = [f"d{i}" for i in random.integers(7, size=40)]
    values = random.random(40)
    names = sorted(set(documents))
    by_document = [values[[d == name for d in documents]] for name in names]
    drawn = np.random.default_rng(5).integers(len(names), size=(300, len(names)))
    means = [np.concatenate([by_document[i] for i in row]).mean() for row in drawn]
    expected = np.quantile(means, (0.025, 0.975))
    assert ends(values, documents, resamples=300, seed=5) == pytest.approx(tuple(expected), abs=1e-12)


def test_chunks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch):
    values, documents = np.arange(9.0), [str(i % 5) for i in range(9)]
    whole = ends(values, documents, resamples=1001, seed=2)
    monkeypatch.setattr(intervals, "CHUNK_NUMBERS", 35)
    assert ends(values, documents, resamples=1001, seed=2) == whole


def test_seed_repeats_and_matters():
    values, documents = np.random.default_rng(0).random(60), [str(i // 3) for i in range(60)]
    assert ends(values, documents, seed=1) == ends(values, documents, seed=1)
    assert ends(values, documents, seed=1) != ends(values, documents, seed=2)


def test_order_of_rows_does_not_matter():
    values, documents = [0.0, 1.0, 0.5, 0.25], ["a", "b", "a", "c"]
    order = [3, 1, 2, 0]
    assert ends(values, documents) == ends([values[i] for i in order], [documents[i] for i in order])


def test_fewer_than_two_documents_give_no_interval():
    assert all(math.isnan(end) for end in ends([0.0, 1.0], ["a", "a"]))
    assert all(math.isnan(end) for end in ends([], []))
    difference, low, high = paired([1.0, 1.0], [0.0, 1.0], ["a", "a"])
    assert difference == 0.5
    assert math.isnan(low)
    assert math.isnan(high)


def test_coverage_is_about_95_percent():
    # 40 documents of 3 questions; document effects make questions within a document alike.
    random, documents, held, trials = np.random.default_rng(11), [str(i // 3) for i in range(120)], 0, 400
    too_narrow = 0
    for trial in range(trials):
        values = np.repeat(random.normal(0.3, 1.0, 40), 3) + random.normal(0.0, 0.5, 120)
        low, high = ends(values, documents, resamples=800, seed=trial)
        held += low <= 0.3 <= high
        half = 1.96 * values.std(ddof=1) / math.sqrt(120)
        too_narrow += abs(values.mean() - 0.3) > half
    assert 0.91 <= held / trials <= 0.97
    # The same data as 120 independent questions would miss far more often: the clusters are what makes it hold.
    assert too_narrow / trials > 0.15


def test_p_value_of_documents_worked_by_hand():
    # No resample of equal differences reaches zero: one more draw there is counted, on either side.
    assert interval([0.5, 0.5], ["a", "b"], resamples=999).p_value == 2 / 1000
    # Draws of two out of {0, 1}: a quarter of the means is 0, all are at least 0.
    assert interval([0.0, 1.0], ["a", "b"]).p_value == pytest.approx(0.5, abs=0.02)
    assert interval([-1.0, 1.0], ["a", "b"]).p_value == 1.0
    assert math.isnan(interval([0.0, 1.0], ["a", "a"]).p_value)


# ---- documents and seeds


def crossed(seed: int, seeds: int, people: int, effect: float) -> tuple[np.ndarray, list[str]]:
    """Values with mean 0.3, two questions a person, and their documents; people, seeds and answers bring noise."""
    random = np.random.default_rng(seed)
    of_people = np.repeat(random.normal(0.0, 1.0, people), 2)
    of_seeds = random.normal(0.0, effect, (seeds, 1))
    values = 0.3 + of_people + of_seeds + random.normal(0.0, 0.5, (seeds, 2 * people))
    return values, [str(i // 2) for i in range(2 * people)]


def test_one_seed_is_the_interval_over_documents_alone():
    values, documents = np.random.default_rng(0).random(60), [str(i // 3) for i in range(60)]
    alone = interval(values, documents)
    assert interval(values[None], documents) == alone
    assert interval([list(values)], documents) == alone
    other = values[::-1].copy()
    assert paired(values[None], other[None], documents) == paired(values, other, documents)


def test_two_seeds_of_like_documents_are_student_t_of_two():
    # Documents are alike and seeds 0 and 1: mean 1/2, standard error 1/2, and 12.706 of t with one degree of freedom.
    low, high, p_value = interval([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], ["a", "b", "c"])
    assert (low, high) == pytest.approx((0.5 - 12.7062 / 2, 0.5 + 12.7062 / 2), abs=1e-4)
    assert p_value == pytest.approx(0.5, abs=1e-9)  # t of 1 with one degree of freedom


def test_seeds_that_answer_alike_are_student_t_of_the_documents():
    values, documents = np.random.default_rng(0).random(60), [str(i // 3) for i in range(60)]
    of_documents = values.reshape(20, 3).mean(1)
    low, high, p_value = interval(np.stack([values] * 3), documents)
    expected = stats.t.interval(0.95, 19, loc=values.mean(), scale=stats.sem(of_documents))
    assert (low, high) == pytest.approx(expected, abs=1e-9)
    assert p_value == pytest.approx(stats.ttest_1samp(of_documents, 0.0)[1], rel=1e-6)


def test_seeds_and_documents_worked_by_hand():
    # Two seeds, two documents, values [[0, 1], [2, 5]]: mean 2; mean squares of seeds 9, documents 4, the rest 1.
    # Variance (9 + 4 - 1) / 4 = 3; both have one degree of freedom, so 12.706 is their quantile.
    low, high, _ = interval([[0.0, 1.0], [2.0, 5.0]], ["a", "b"])
    assert (low, high) == pytest.approx((2 - 12.7062 * math.sqrt(3), 2 + 12.7062 * math.sqrt(3)), abs=1e-3)


def test_quantiles_of_seeds_and_documents_are_weighted_by_their_mean_squares():
    values, documents = crossed(1, seeds=3, people=12, effect=0.5)
    of_both = values.reshape(3, 12, 2).mean(2)
    rest = of_both - of_both.mean(1, keepdims=True) - of_both.mean(0) + of_both.mean()
    of_seeds, of_documents = 12 * of_both.mean(1).var(ddof=1), 3 * of_both.mean(0).var(ddof=1)
    variance = max(of_seeds + of_documents - (rest**2).sum() / 22, of_seeds, of_documents) / 36
    quantile = (of_seeds * 4.302653 + of_documents * 2.200985) / (of_seeds + of_documents)  # t of 2 and of 11
    low, high = ends(values, documents)
    assert (high - low) / 2 == pytest.approx(quantile * math.sqrt(variance), rel=1e-5)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=1e-12)


def test_documents_with_more_questions_weigh_more_over_seeds_too():
    few, many = ["a", "b", "c"], ["a", "b", "b", "b", "b", "c"]
    values = np.array([[0.0, 1.0, 0.5], [0.2, 0.9, 0.5]])
    low, high = ends(values[:, [0, 1, 1, 1, 1, 2]], many)
    assert (low + high) / 2 == pytest.approx(values[:, [0, 1, 1, 1, 1, 2]].mean(), abs=1e-12)
    assert ends(values, few) != pytest.approx((low, high), abs=1e-3)


def test_order_of_seeds_in_a_pair_matters_and_rows_of_questions_do_not():
    values, documents = crossed(1, seeds=4, people=10, effect=1.0)
    order = np.random.default_rng(0).permutation(20)
    moved = interval(values[:, order], [documents[i] for i in order])
    assert moved == pytest.approx(interval(values, documents), abs=1e-12)
    together, apart = (paired(values, values[seeds], documents) for seeds in ([0, 1, 2, 3], [1, 2, 3, 0]))
    assert together == (0.0, 0.0, 0.0)
    assert apart[1] < -0.1
    assert apart[2] > 0.1


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("effect", [0.0, 0.2])
def test_coverage_of_few_seeds_holds_95_percent(seeds: int, effect: float):
    trials = 1000
    made = [crossed(trial, seeds=seeds, people=40, effect=effect) for trial in range(trials)]
    held = sum(low <= 0.3 <= high for low, high in (ends(values, documents) for values, documents in made))
    assert held / trials >= 0.935  # .95 less two standard deviations of a count of 1,000


def test_coverage_of_documents_alone_is_not_that_of_trainings():
    # One training each of two arms that do not differ, whose answers move by .2 from training to training: a third of
    # the intervals over documents leave zero out. This is why one training separates nothing.
    random, trials, out = np.random.default_rng(3), 300, 0
    documents = [str(i) for i in range(100)]
    for trial in range(trials):
        values = random.normal(0.0, 0.2) + random.normal(0.0, 1.0, 100)
        low, high = ends(values, documents, resamples=400, seed=trial)
        out += low > 0 or high < 0
    assert out / trials > 0.2


def test_seeds_are_paired():
    # Both arms have the same lucky and unlucky seeds; the second is a little worse in each of them.
    a, documents = crossed(2, seeds=5, people=20, effect=1.0)
    b = a - 0.05 + np.random.default_rng(0).normal(0.0, 0.05, a.shape)
    difference, low, high = paired(a, b, documents)
    assert difference == pytest.approx((a - b).mean(), abs=1e-12)
    assert 0 < low < difference < high
    alone = ends(a, documents)
    assert high - low < 0.1 * (alone[1] - alone[0])
    assert paired(b, a, documents) == pytest.approx((-difference, -high, -low), abs=1e-12)


def test_a_side_with_one_seed_is_set_against_every_seed():
    a, documents = crossed(3, seeds=4, people=12, effect=0.5)
    before = np.random.default_rng(1).random(24)
    expected = paired(a, np.stack([before] * 4), documents)
    assert paired(a, before, documents) == expected
    assert paired(a, before[None], documents) == expected
    assert paired(before, a, documents)[0] == pytest.approx(-expected[0], abs=1e-12)


def test_several_seeds_of_one_document_give_no_interval():
    assert all(math.isnan(end) for end in interval([[0.0, 1.0], [1.0, 1.0]], ["a", "a"]))


def test_refusals_about_seeds_say_what_is_wrong():
    three, two = np.zeros((3, 2)), np.zeros((2, 2))
    with pytest.raises(ElusiveError, match=r"as many training seeds on both sides.*got 3 and 2\. Train and evaluate"):
        paired_differences(three, two)
    with pytest.raises(ElusiveError, match=r"same questions on both sides, got 2 and 3 values"):
        paired_differences(two, np.zeros((2, 3)))
    with pytest.raises(ElusiveError, match=r"values of shape \(3, 2\) and 3 document ids"):
        interval(three, ["a", "b", "c"])
    with pytest.raises(ElusiveError, match=r"\(seeds, questions\), got values of shape \(1, 2, 2\)"):
        interval(two[None], ["a", "b"])
    with pytest.raises(ElusiveError, match=r"values of shape \(0, 2\)"):
        interval(np.zeros((0, 2)), ["a", "b"])
    with pytest.raises(ElusiveError, match=r"finite values, got inf for a question about document 'b'"):
        interval([[0.0, 1.0], [0.0, math.inf]], ["a", "b"])


# ---- pairs


def test_paired_is_narrower_than_unpaired_where_arms_are_alike():
    random, documents = np.random.default_rng(4), [str(i // 5) for i in range(500)]
    hard = np.repeat(random.normal(0.0, 1.0, 100), 5)
    a, b = hard + random.normal(0.1, 0.2, 500), hard + random.normal(0.0, 0.2, 500)
    difference, low, high = paired(a, b, documents)
    assert difference == pytest.approx(a.mean() - b.mean(), abs=1e-12)
    assert 0 < low < difference < high
    ends_a, ends_b = ends(a, documents), ends(b, documents)
    assert high - low < 0.2 * min(ends_a[1] - ends_a[0], ends_b[1] - ends_b[0])


def test_paired_is_the_difference_of_means_in_the_same_draws():
    a, b, documents = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0, 0.5]), ["a", "a", "b", "c"]
    counts = np.array([2, 1, 1])
    means_a = intervals._resampled_means(np.array([1.0, 1.0, 1.0]), counts, 500, seed=9)
    means_b = intervals._resampled_means(np.array([0.0, 1.0, 0.5]), counts, 500, seed=9)
    expected = np.quantile(means_a - means_b, (0.025, 0.975))
    difference, low, high = paired(a, b, documents, resamples=500, seed=9)
    assert difference == 0.375
    assert (low, high) == pytest.approx(tuple(expected), abs=1e-12)


def test_swapping_the_arms_swaps_the_signs():
    a, b = np.random.default_rng(0).random((2, 50))
    documents = [str(i // 2) for i in range(50)]
    forward, back = paired(a, b, documents), paired(b, a, documents)
    assert forward == pytest.approx((-back[0], -back[2], -back[1]), abs=1e-12)


def test_refusals_say_what_is_wrong():
    with pytest.raises(ElusiveError, match=r"same questions on both sides, got 2 and 1 values"):
        paired([0.0, 1.0], [0.0], ["a", "b"])
    with pytest.raises(ElusiveError, match=r"values of shape \(2,\) and 3 document ids"):
        interval([0.0, 1.0], ["a", "b", "c"])
    with pytest.raises(ElusiveError, match=r"finite values, got nan for a question about document 'b'"):
        interval([0.0, math.nan], ["a", "b"])
    with pytest.raises(ElusiveError, match=r"evaluate\.resamples: expected at least 1, got 0"):
        interval([0.0, 1.0], ["a", "b"], resamples=0)


# ---- cohorts


def test_one_cohort_is_the_interval_of_documents_and_seeds():
    values, documents = crossed(2, seeds=3, people=10, effect=0.5)
    assert cohort_interval([values], [documents], 300, seed=4) == interval(values, documents, 300, seed=4)
    assert cohort_interval([[0.0, 1.0]], [["a", "b"]])[:2] == (0.0, 1.0)


def test_cohorts_are_student_t_of_their_means():
    # Means 0, 1/2 and 1: standard error .2887, and 4.3027 of t with two degrees of freedom.
    values = [[0.0, 0.0], [0.5] * 5, [[1.0, 1.0, 1.0]] * 2]
    documents = [["a", "b"], list("cdefg"), list("hij")]
    low, high, p_value = cohort_interval(values, documents)
    assert (low, high) == pytest.approx((0.5 - 4.302653 / math.sqrt(12), 0.5 + 4.302653 / math.sqrt(12)), abs=1e-6)
    assert p_value == pytest.approx(stats.ttest_1samp([0.0, 0.5, 1.0], 0.0)[1])
    assert cohort_interval([[0.5, 0.5], [[0.5] * 3] * 2], [["a", "b"], ["c", "d", "d"]])[:2] == (0.5, 0.5)
    assert cohort_interval([[0.0, 0.0]] * 2, [["a", "b"]] * 2) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("cohorts", [2, 3, 4, 5])
def test_coverage_of_few_cohorts_holds_95_percent(cohorts: int):
    # Yes and no answers, and a training each: what differs from training to training is alike in a cohort's answers.
    random, trials, held = np.random.default_rng(5), 1000, 0
    documents = [str(i // 5) for i in range(100)]
    true_mean = stats.norm.cdf(-1.0 / math.sqrt(1 + 0.64 + 0.04))
    for _ in range(trials):
        effects = random.normal(0.0, 0.2, (cohorts, 1)) + np.repeat(random.normal(0.0, 0.8, (cohorts, 20)), 5, axis=1)
        values = (effects + random.normal(0.0, 1.0, (cohorts, 100)) > 1.0).astype(float)
        low, high, _ = cohort_interval(list(values), [documents] * cohorts)
        held += low <= true_mean <= high
    assert held / trials >= 0.935


def test_cohorts_without_questions_give_no_interval():
    assert all(math.isnan(end) for end in cohort_interval([[0.0, 1.0], []], [["a", "b"], []]))


def test_refusals_of_cohorts_say_what_is_wrong():
    for values, documents, counts in (([], [], "0 cohorts and 0"), ([[0.0, 1.0]], [["a", "b"]] * 2, "1 cohorts and 2")):
        with pytest.raises(ElusiveError, match=rf"Expected documents for each cohort, got {counts} lists"):
            cohort_interval(values, documents)
    with pytest.raises(ElusiveError, match=r"values of shape \(2,\) and 3 document ids"):
        cohort_interval([[0.0, 1.0], [0.0, 1.0]], [["a", "b"], ["a", "b", "c"]])
    with pytest.raises(ElusiveError, match=r"finite values, got inf for a question about document 'b'"):
        cohort_interval([[0.0, 1.0], [0.0, math.inf]], [["a", "b"]] * 2)
    with pytest.raises(ElusiveError, match=r"evaluate\.resamples: expected at least 1, got 0"):
        cohort_interval([[0.0, 1.0]] * 2, [["a", "b"]] * 2, resamples=0)


# ---- several comparisons


def test_holm_worked_by_hand():
    p_values = [0.01, 0.0001, 0.4, 0.03, 0.03]
    # In order: .0001 x 5, .01 x 4, .03 x 3, .03 x 2 (not below the one before), .4 x 1.
    assert holm(p_values) == pytest.approx([0.04, 0.0005, 0.4, 0.09, 0.09])
    assert holm([]) == []
    assert holm([0.7, 0.9]) == [1.0, 1.0]


def test_holm_keeps_wrong_claims_at_five_percent_of_tables():
    random, tables = np.random.default_rng(0), 2000
    wrong = sum(min(holm(random.random(10).tolist())) <= 0.05 for _ in range(tables))
    assert 0.03 <= wrong / tables <= 0.065
    assert np.mean(random.random((tables, 10)).min(1) <= 0.05) > 0.35  # without correction
