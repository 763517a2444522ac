"""Bootstrap intervals: by hand, against a loop, and by how often they hold the true mean."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from elusive.errors import ElusiveError
from elusive.stats import intervals
from elusive.stats.intervals import cohort_interval, interval, paired_interval


def test_equal_values_give_an_interval_of_no_width():
    assert interval([0.25] * 6, ["a", "a", "b", "b", "c", "c"]) == (0.25, 0.25)


def test_two_documents_worked_by_hand():
    # Draws of two out of {0, 1}: means 0, 1/2, 1 with chances 1/4, 1/2, 1/4, so both 2.5% tails are the ends.
    assert interval([0.0, 1.0], ["a", "b"]) == (0.0, 1.0)


def test_eight_documents_worked_by_hand():
    # One success in eight: the number of times it is drawn is binomial(8, 1/8); P(0) = .344, P(<= 2) = .936,
    # P(<= 3) = .989, so the 2.5% quantile is 0 and the 97.5% quantile is 3 of 8.
    values = [1.0] + [0.0] * 7
    assert interval(values, [f"d{i}" for i in range(8)]) == (0.0, 3 / 8)


def test_questions_of_a_document_stay_together():
    # Fifty questions each about two documents: as many as two documents, not a hundred questions.
    values, documents = [0.0] * 50 + [1.0] * 50, ["a"] * 50 + ["b"] * 50
    assert interval(values, documents) == (0.0, 1.0)
    alone = interval(values, [str(i) for i in range(100)])
    assert 0.35 < alone[0] < 0.45
    assert 0.55 < alone[1] < 0.65


def test_documents_with_more_questions_weigh_more():
    # a has one question (0), b has three (1): draws aa, ab, bb have means 0, 3/4, 1; mean of all is 3/4.
    values, documents = [0.0, 1.0, 1.0, 1.0], ["a", "b", "b", "b"]
    means = intervals._resampled_means(np.array([0.0, 3.0]), np.array([1, 3]), 4000, seed=0)
    assert set(means) == {0.0, 0.75, 1.0}
    assert np.mean(means == 0.75) == pytest.approx(0.5, abs=0.03)
    assert interval(values, documents) == (0.0, 1.0)


def test_same_as_a_plain_loop_over_the_same_draws():
    random = np.random.default_rng(3)
    documents = [f"d{i}" for i in random.integers(7, size=40)]
    values = random.random(40)
    names = sorted(set(documents))
    by_document = [values[[d == name for d in documents]] for name in names]
    drawn = np.random.default_rng(5).integers(len(names), size=(300, len(names)))
    means = [np.concatenate([by_document[i] for i in row]).mean() for row in drawn]
    expected = np.quantile(means, (0.025, 0.975))
    assert interval(values, documents, resamples=300, seed=5) == pytest.approx(tuple(expected), abs=1e-12)


def test_chunks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch):
    values, documents = np.arange(9.0), [str(i % 5) for i in range(9)]
    whole = interval(values, documents, resamples=1001, seed=2)
    monkeypatch.setattr(intervals, "CHUNK_NUMBERS", 35)
    assert interval(values, documents, resamples=1001, seed=2) == whole


def test_seed_repeats_and_matters():
    values, documents = np.random.default_rng(0).random(60), [str(i // 3) for i in range(60)]
    assert interval(values, documents, seed=1) == interval(values, documents, seed=1)
    assert interval(values, documents, seed=1) != interval(values, documents, seed=2)


def test_order_of_rows_does_not_matter():
    values, documents = [0.0, 1.0, 0.5, 0.25], ["a", "b", "a", "c"]
    order = [3, 1, 2, 0]
    assert interval(values, documents) == interval([values[i] for i in order], [documents[i] for i in order])


def test_fewer_than_two_documents_give_no_interval():
    assert all(math.isnan(end) for end in interval([0.0, 1.0], ["a", "a"]))
    assert all(math.isnan(end) for end in interval([], []))
    difference, low, high = paired_interval([1.0, 1.0], [0.0, 1.0], ["a", "a"])
    assert difference == 0.5
    assert math.isnan(low)
    assert math.isnan(high)


def test_coverage_is_about_95_percent():
    # 40 documents of 3 questions; document effects make questions within a document alike.
    random, documents, held, trials = np.random.default_rng(11), [str(i // 3) for i in range(120)], 0, 400
    too_narrow = 0
    for trial in range(trials):
        values = np.repeat(random.normal(0.3, 1.0, 40), 3) + random.normal(0.0, 0.5, 120)
        low, high = interval(values, documents, resamples=800, seed=trial)
        held += low <= 0.3 <= high
        half = 1.96 * values.std(ddof=1) / math.sqrt(120)
        too_narrow += abs(values.mean() - 0.3) > half
    assert 0.91 <= held / trials <= 0.97
    # The same data as 120 independent questions would miss far more often: the clusters are what makes it hold.
    assert too_narrow / trials > 0.15


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
    assert paired_interval(values[None], other[None], documents) == paired_interval(values, other, documents)
    # Seeds that answer alike add nothing, and the documents drawn are the same however many seeds there are.
    assert interval(np.stack([values] * 3), documents) == pytest.approx(alone, abs=1e-12)


def test_two_seeds_worked_by_hand():
    # Documents are alike; draws of two seeds out of {0, 1}: means 0, 1/2, 1 with chances 1/4, 1/2, 1/4.
    values = [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    assert interval(values, ["a", "b", "c"]) == (0.0, 1.0)
    assert interval(np.mean(values, axis=0), ["a", "b", "c"]) == (0.5, 0.5)


def test_eight_seeds_worked_by_hand():
    # As with one success in eight documents: 0 and 3 of 8.
    values = [[1.0, 1.0]] + [[0.0, 0.0]] * 7
    assert interval(values, ["a", "b"]) == (0.0, 3 / 8)


def test_seeds_and_documents_are_drawn_independently():
    # One of two seeds is right about one of two documents: it is drawn m times and the document n times, each
    # 0, 1 or 2 with chances 1/4, 1/2, 1/4, and the mean is m * n / 4.
    means = intervals._resampled_means(np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([1, 1]), 8000, seed=0)
    chances = {0.0: 7 / 16, 0.25: 4 / 16, 0.5: 4 / 16, 1.0: 1 / 16}
    assert set(means) == set(chances)
    for mean, chance in chances.items():
        assert np.mean(means == mean) == pytest.approx(chance, abs=0.02)


def test_seeds_and_documents_same_as_a_plain_loop_over_the_same_draws():
    random = np.random.default_rng(3)
    documents = [f"d{i}" for i in random.integers(5, size=14)]
    values = random.random((3, 14))
    names = sorted(set(documents))
    places = [[i for i, one in enumerate(documents) if one == name] for name in names]
    draw = np.random.default_rng(5)
    draw_seeds = draw.spawn(1)[0]
    drawn = draw.integers(len(names), size=(200, len(names)))
    drawn_seeds = draw_seeds.integers(3, size=(200, 3))
    means = [
        np.mean([values[seed, question] for seed in seeds for name in row for question in places[name]])
        for row, seeds in zip(drawn, drawn_seeds, strict=True)
    ]
    expected = np.quantile(means, (0.025, 0.975))
    assert interval(values, documents, resamples=200, seed=5) == pytest.approx(tuple(expected), abs=1e-12)


def test_chunks_do_not_change_the_draws_of_seeds(monkeypatch: pytest.MonkeyPatch):
    values, documents = np.random.default_rng(0).random((4, 9)), [str(i % 5) for i in range(9)]
    whole = interval(values, documents, resamples=1001, seed=2)
    for numbers in (35, 3):
        monkeypatch.setattr(intervals, "CHUNK_NUMBERS", numbers)
        assert interval(values, documents, resamples=1001, seed=2) == pytest.approx(whole, abs=1e-12)


def test_order_of_seeds_in_a_pair_matters_and_rows_of_questions_do_not():
    values, documents = crossed(1, seeds=4, people=10, effect=1.0)
    order = np.random.default_rng(0).permutation(20)
    moved = interval(values[:, order], [documents[i] for i in order])
    assert moved == pytest.approx(interval(values, documents), abs=1e-12)
    together, apart = (paired_interval(values, values[seeds], documents) for seeds in ([0, 1, 2, 3], [1, 2, 3, 0]))
    assert together == (0.0, 0.0, 0.0)
    assert apart[1] < -0.1
    assert apart[2] > 0.1


def test_coverage_with_seeds_is_about_95_percent():
    held, without_seeds, trials = 0, 0, 300
    for trial in range(trials):
        values, documents = crossed(trial, seeds=20, people=40, effect=0.7)
        low, high = interval(values, documents, resamples=400, seed=trial)
        held += low <= 0.3 <= high
        low, high = interval(values.mean(axis=0), documents, resamples=400, seed=trial)
        without_seeds += low <= 0.3 <= high
    assert 0.90 <= held / trials <= 0.98
    # Documents alone miss how seeds differ, and the true mean more often.
    assert without_seeds / trials < 0.88


def test_seeds_are_paired():
    # Both arms have the same lucky and unlucky seeds; the second is a little worse in each of them.
    a, documents = crossed(2, seeds=5, people=20, effect=1.0)
    b = a - 0.05 + np.random.default_rng(0).normal(0.0, 0.05, a.shape)
    difference, low, high = paired_interval(a, b, documents)
    assert difference == pytest.approx((a - b).mean(), abs=1e-12)
    assert 0 < low < difference < high
    alone = interval(a, documents)
    assert high - low < 0.1 * (alone[1] - alone[0])
    assert paired_interval(b, a, documents) == pytest.approx((-difference, -high, -low), abs=1e-12)


def test_a_side_with_one_seed_is_set_against_every_seed():
    a, documents = crossed(3, seeds=4, people=12, effect=0.5)
    before = np.random.default_rng(1).random(24)
    expected = paired_interval(a, np.stack([before] * 4), documents)
    assert paired_interval(a, before, documents) == expected
    assert paired_interval(a, before[None], documents) == expected
    assert paired_interval(before, a, documents)[0] == pytest.approx(-expected[0], abs=1e-12)


def test_several_seeds_of_one_document_give_no_interval():
    assert all(math.isnan(end) for end in interval([[0.0, 1.0], [1.0, 1.0]], ["a", "a"]))
    difference, *ends = paired_interval([[1.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]], ["a", "a"])
    assert difference == 0.25
    assert all(math.isnan(end) for end in ends)


def test_refusals_about_seeds_say_what_is_wrong():
    three, two = np.zeros((3, 2)), np.zeros((2, 2))
    with pytest.raises(ElusiveError, match=r"as many training seeds on both sides.*got 3 and 2\. Train and evaluate"):
        paired_interval(three, two, ["a", "b"])
    with pytest.raises(ElusiveError, match=r"same questions on both sides, got 2 and 3 values"):
        paired_interval(two, np.zeros((2, 3)), ["a", "b"])
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
    difference, low, high = paired_interval(a, b, documents)
    assert difference == pytest.approx(a.mean() - b.mean(), abs=1e-12)
    assert 0 < low < difference < high
    ends_a, ends_b = interval(a, documents), interval(b, documents)
    assert high - low < 0.2 * min(ends_a[1] - ends_a[0], ends_b[1] - ends_b[0])


def test_paired_is_the_difference_of_means_in_the_same_draws():
    a, b, documents = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0, 0.5]), ["a", "a", "b", "c"]
    counts = np.array([2, 1, 1])
    means_a = intervals._resampled_means(np.array([1.0, 1.0, 1.0]), counts, 500, seed=9)
    means_b = intervals._resampled_means(np.array([0.0, 1.0, 0.5]), counts, 500, seed=9)
    expected = np.quantile(means_a - means_b, (0.025, 0.975))
    difference, low, high = paired_interval(a, b, documents, resamples=500, seed=9)
    assert difference == 0.375
    assert (low, high) == pytest.approx(tuple(expected), abs=1e-12)


def test_swapping_the_arms_swaps_the_signs():
    a, b = np.random.default_rng(0).random((2, 50))
    documents = [str(i // 2) for i in range(50)]
    forward, back = paired_interval(a, b, documents), paired_interval(b, a, documents)
    assert forward == pytest.approx((-back[0], -back[2], -back[1]), abs=1e-12)


def test_refusals_say_what_is_wrong():
    with pytest.raises(ElusiveError, match=r"same questions on both sides, got 2 and 1 values"):
        paired_interval([0.0, 1.0], [0.0], ["a", "b"])
    with pytest.raises(ElusiveError, match=r"values of shape \(2,\) and 3 document ids"):
        interval([0.0, 1.0], ["a", "b", "c"])
    with pytest.raises(ElusiveError, match=r"got 'q2' and 'q3' at place 1\. Evaluate both models on one question file"):
        paired_interval([0.0, 1.0], [0.0, 1.0], ["a", "b"], ids_a=["q1", "q2"], ids_b=["q1", "q3"])
    with pytest.raises(ElusiveError, match=r"got 2 and 1 ids"):
        paired_interval([0.0, 1.0], [0.0, 1.0], ["a", "b"], ids_a=["q1", "q2"], ids_b=["q1"])
    with pytest.raises(ElusiveError, match=r"finite values, got nan for a question about document 'b'"):
        interval([0.0, math.nan], ["a", "b"])
    with pytest.raises(ElusiveError, match=r"evaluate\.resamples: expected at least 1, got 0"):
        interval([0.0, 1.0], ["a", "b"], resamples=0)
    assert paired_interval([1.0, 1.0], [0.0, 0.0], ["a", "b"], ids_a=["q1", "q2"], ids_b=["q1", "q2"]) == (1, 1, 1)


# ---- cohorts


def test_one_cohort_is_the_interval_of_documents_and_seeds():
    values, documents = crossed(2, seeds=3, people=10, effect=0.5)
    assert cohort_interval([values], [documents], 300, seed=4) == interval(values, documents, 300, seed=4)
    assert cohort_interval([[0.0, 1.0]], [["a", "b"]]) == (0.0, 1.0)


def test_two_cohorts_of_equal_values_worked_by_hand():
    # Draws of two cohorts out of {0, 1}: means 0, 1/2, 1 with chances 1/4, 1/2, 1/4, however many documents they have.
    assert cohort_interval([[0.0, 0.0], [1.0] * 5], [["a", "b"], list("cdefg")]) == (0.0, 1.0)
    assert cohort_interval([[0.5, 0.5], [[0.5] * 3] * 2], [["a", "b"], ["c", "d", "d"]]) == (0.5, 0.5)


def test_eight_cohorts_worked_by_hand():
    # As with one success in eight documents: 0 and 3 of 8.
    documents = [["a", "b"]] * 8
    assert cohort_interval([[1.0, 1.0]] + [[0.0, 0.0]] * 7, documents) == (0.0, 3 / 8)


def exact_chances(values: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    """Means of every draw in two stages, of one value a document, and the chance that a mean is at most each of them.

    Every draw of cohorts, and in each drawn cohort every draw of its documents, is as likely as any other.
    """
    means_of = [[np.mean(row) for row in itertools.product(one, repeat=len(one))] for one in values]
    chances: dict[float, float] = {}
    for drawn in itertools.product(range(len(values)), repeat=len(values)):
        rows = list(itertools.product(*(means_of[cohort] for cohort in drawn)))
        for row in rows:
            mean = round(float(np.mean(row)), 12)
            chances[mean] = chances.get(mean, 0.0) + 1 / len(rows) / len(values) ** len(values)
    atoms = sorted(chances)
    return atoms, list(np.cumsum([chances[atom] for atom in atoms]))


@pytest.mark.parametrize(
    "values",
    [
        [[0.0, 1.0], [0.0, 3.0]],
        [[0.0, 1.0, 5.0], [2.0, 2.0]],
        [[0.0, 1.0], [4.0, 5.0], [1.0, 7.0]],
    ],
)
def test_the_two_stages_by_brute_force(values):
    atoms, below = exact_chances(values)
    documents = [[str(number) for number in range(len(one))] for one in values]
    low, high = cohort_interval(values, documents, 40_000)
    # The ends are values whose exact chances reach the tails, give or take the noise of the draws.
    for end, tail in ((low, 0.025), (high, 0.975)):
        place = int(np.argmin(np.abs(np.array(atoms) - end)))
        assert atoms[place] == pytest.approx(end, abs=1e-9)
        before = below[place - 1] if place else 0.0
        assert before - 0.003 <= tail <= below[place] + 0.003


def test_a_cohort_drawn_twice_brings_its_documents_in_two_draws():
    # No document of the value 1 is drawn with chance 1/16 in a cohort, so 1/256 in both. If a cohort that is drawn
    # twice brought one draw twice, it would be 1/16 there, 1/32 in all: more than the tail, and the low end would be 0.
    values = [[0.0, 0.0, 1.0, 1.0]] * 2
    atoms, below = exact_chances(values)
    assert below[0] == pytest.approx(1 / 256)
    low, high = cohort_interval(values, [["a", "b", "c", "d"]] * 2)
    assert (low, high) == (atoms[1], atoms[-2])


def test_each_cohort_counts_alike_whatever_its_size():
    low, high = cohort_interval([[0.0] * 40, [1.0, 1.0]], [[str(i) for i in range(40)], ["a", "b"]], 2000)
    assert (low, high) == (0.0, 1.0)
    many = [[0.0] * 40] * 20 + [[1.0, 1.0]] * 20
    documents = [[str(i) for i in range(len(one))] for one in many]
    low, high = cohort_interval(many, documents, 2000)
    assert 0.3 < low < 0.5 < high < 0.7


def test_cohorts_are_drawn_alike_by_one_seed_and_otherwise_by_another():
    made = [crossed(number, seeds=2, people=8, effect=0.3) for number in range(4)]
    values, documents = [one for one, _ in made], [about for _, about in made]
    assert cohort_interval(values, documents, 400, seed=1) == cohort_interval(values, documents, 400, seed=1)
    assert cohort_interval(values, documents, 400, seed=1) != cohort_interval(values, documents, 400, seed=2)


def test_coverage_of_cohorts_holds_where_documents_alone_would_not():
    # 12 cohorts with a training each: what differs from training to training is alike in all answers of a cohort.
    random, trials, held, alone = np.random.default_rng(5), 200, 0, 0
    documents = [str(i // 2) for i in range(24)]
    for trial in range(trials):
        effects = random.normal(0.3, 0.5, (12, 1))
        values = effects + np.repeat(random.normal(0.0, 1.0, (12, 12)), 2, axis=1) + random.normal(0.0, 0.3, (12, 24))
        low, high = cohort_interval(list(values), [documents] * 12, 300, seed=trial)
        held += low <= 0.3 <= high
        ids = [f"{cohort}-{one}" for cohort in range(12) for one in documents]
        low, high = interval(values.ravel(), ids, 300, seed=trial)
        alone += low <= 0.3 <= high
    assert 0.92 <= held / trials <= 0.995
    assert alone / trials < 0.85


def test_cohorts_that_say_nothing_about_documents_give_no_interval():
    assert all(math.isnan(end) for end in cohort_interval([[0.0, 1.0], [1.0, 1.0]], [["a", "b"], ["c", "c"]]))


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
