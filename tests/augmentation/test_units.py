"""Words and phrases that are dropped as wholes: their ranks and their probabilities."""

import numpy as np
import pytest

from elusive.augmentation.arm import arm_ranks, drop_probabilities
from elusive.augmentation.arms import ARMS
from elusive.augmentation.rules import Tokens, drop_probability
from elusive.augmentation.units import any_in_unit, first_tokens_of_units, mean_in_unit, rank_by_units
from elusive.config.augmentation import AugmentSettings

GUIDED = [name for name, arm in ARMS.items() if arm.signal and arm.ranked]


def test_single_tokens_are_no_groups() -> None:
    offsets, special = np.array([[0, 3], [3, 4]]), np.zeros(2, bool)
    assert first_tokens_of_units("token", "Ada,", offsets, special) is None
    for unit in ("word", "phrase"):
        found = first_tokens_of_units(unit, "Ada Byron", np.array([[0, 3], [3, 9]]), special)
        assert found is not None
        assert found.tolist() == {"word": [0, 1], "phrase": [0, 0]}[unit]


def test_any_in_unit() -> None:
    words = np.array([0, 1, 1, 3, 3, 3])
    assert any_in_unit(np.array([0, 0, 1, 0, 0, 0], bool), words).tolist() == [False, True, True, False, False, False]


def test_words_are_ranked_by_their_best_token() -> None:
    words = np.array([0, 1, 1, 3, 4, 4, 4])
    signal = np.array([0.3, 0.1, 0.9, 0.5, 9.0, 9.0, 9.0])
    rankable = np.array([1, 1, 1, 0, 1, 1, 1], bool)
    seen = np.array([1, 1, 1, 1, 0, 0, 0], bool)
    # The second word has .9, the first .3; the fourth is never ranked, and nothing sees the last, whatever its signal.
    assert rank_by_units(signal, rankable, seen, words).tolist() == [3, 2, 1, 0, 4, 5, 6]


def test_ties_go_by_position() -> None:
    true = np.ones(4, bool)
    assert rank_by_units(np.zeros(4), true, true, np.array([0, 0, 2, 3])).tolist() == [1, 2, 3, 4]


def test_probabilities_by_hand() -> None:
    words = np.array([0, 1, 1])
    tokens = Tokens(np.ones(3, bool), np.ones(3, bool), np.array([0.1, 0.2, 0.3]), words)
    settings = AugmentSettings(alpha=0.7, beta=0.05, unit="word")
    # The word of two tokens has ranks 1 and 2: the mean of .7 x .0487706 and .7 x .0951626; the other has rank 3.
    expected = [0.7 * 0.1392920, 0.7 * 0.0719666, 0.7 * 0.0719666]
    assert drop_probabilities(ARMS["attention"], tokens, settings).tolist() == pytest.approx(expected, abs=5e-8)
    mean = 0.7 * (0.0487706 + 0.0951626 + 0.1392920) / 3
    assert drop_probabilities(ARMS["random-matched"], tokens, settings).tolist() == pytest.approx([mean] * 3, abs=5e-8)
    assert drop_probabilities(ARMS["random"], tokens, settings).tolist() == pytest.approx([0.7] * 3)


@pytest.mark.parametrize("unseen_tokens", ["last", "keep"])
@pytest.mark.parametrize("rank_scale", ["absolute", "relative"])
def test_every_arm_drops_at_one_rate_whatever_the_words(unseen_tokens, rank_scale) -> None:
    generator = np.random.default_rng(5)
    lengths = generator.integers(1, 6, size=25)
    first = np.cumsum(lengths) - lengths
    words = np.repeat(first, lengths)
    rankable, seen = (np.repeat(generator.random(25) > 0.2, lengths), words < first[20])
    settings = AugmentSettings(0.6, 0.05, rank_scale=rank_scale, unseen_tokens=unseen_tokens, unit="word")
    sums = set()
    for arm in ("random-matched", *GUIDED):
        tokens = Tokens(rankable, seen, generator.normal(size=len(words)), words)
        probability = drop_probabilities(ARMS[arm], tokens, settings)
        np.testing.assert_array_equal(probability, probability[words])  # one for all of a word
        assert not probability[~rankable].any()
        assert probability[~seen].any() == (unseen_tokens == "last")
        sums.add(round(float(probability.sum()), 9))
    single = drop_probabilities(ARMS["attention"], Tokens(rankable, seen, words * 1.0), settings)
    assert sums == {round(float(single.sum()), 9)}


def test_words_of_one_token_are_as_without_words() -> None:
    generator = np.random.default_rng(2)
    tokens = Tokens(generator.random(30) > 0.1, np.arange(30) < 25, generator.normal(size=30))
    by_words = Tokens(tokens.rankable, tokens.seen, tokens.signal, np.arange(30))
    settings = AugmentSettings()
    for arm in ARMS.values():
        assert arm_ranks(arm, by_words, settings).tolist() == arm_ranks(arm, tokens, settings).tolist()
        one, other = (drop_probabilities(arm, given, settings).tolist() for given in (tokens, by_words))
        assert one == other


def test_mean_in_unit() -> None:
    assert mean_in_unit(np.array([1.0, 2.0, 4.0]), np.array([0, 1, 1])).tolist() == [1.0, 3.0, 3.0]


def test_relative_ranks_by_hand() -> None:
    tokens = Tokens(np.ones(320, bool), np.ones(320, bool), -np.arange(320.0))
    settings = AugmentSettings(alpha=0.7, beta=0.05, rank_scale="relative")
    probability = drop_probabilities(ARMS["attention"], tokens, settings)
    # Four times 80 tokens: rank 4 has what rank 1 has in 80, rank 320 what rank 80 has.
    assert probability[[3, 39, 319]].tolist() == pytest.approx([0.0341394, 0.2754285, 0.6871791], abs=5e-8)
    # The sum of e^-.0125 ... e^-4 is .9875778 x .9816844 / .0124222 = 78.0440, and .7 x (1 - 78.0440 / 320) = .52928:
    # as over 80 tokens (.5325). By absolute ranks it would be .7 x (1 - 19.5042 / 320) = .65733.
    assert probability.mean() == pytest.approx(0.52928, abs=5e-6)
    short = Tokens(np.ones(8, bool), np.ones(8, bool), -np.arange(8.0))
    assert drop_probabilities(ARMS["attention"], short, settings)[0] == pytest.approx(0.2754285, abs=5e-8)  # rank 10
    assert drop_probability(np.arange(1, 321), 0.7, 0.05).mean() == pytest.approx(0.65733, abs=5e-6)
