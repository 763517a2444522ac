"""Clues: words, evidence, and which words side by side are a sentence's clue."""

import numpy as np
import pytest

from elusive.augmentation.clue_spans import Clue, Words, best_group, clue_spans, evidence, shared

TEXT = "Ada Byron was born in London. She studied at the University of Naples."
# One token a word, and one for each point.
OFFSETS = np.array([[m, n] for m, n in (
    (0, 3), (4, 9), (10, 13), (14, 18), (19, 21), (22, 28), (28, 29),
    (30, 33), (34, 41), (42, 44), (45, 48), (49, 59), (60, 62), (63, 69), (69, 70),
)])  # fmt: skip
RANKABLE = np.array([TEXT[a:b] != "." for a, b in OFFSETS])
SENTENCES = np.array([[0, 30], [30, 70]])


def words() -> Words:
    return Words.of(TEXT, OFFSETS, RANKABLE, np.arange(len(OFFSETS)))


def weights(**given: float) -> np.ndarray:
    """Evidence of each token by its text."""
    return np.array([given.get(TEXT[a:b], 0.0) for a, b in OFFSETS])


class TestWords:
    def test_tokens_of_a_word_are_added_up(self) -> None:
        offsets = np.array([[0, 0], [0, 2], [2, 3], [3, 9], [9, 10]])  # bos, "Ad", "a", " Byron", "."
        made = Words.of("Ada Byron.", offsets, np.array([0, 1, 1, 1, 0], bool), np.array([0, 1, 1, 3, 4]))
        assert [made[number] for number in range(len(made))] == ["Ada", "Byron"]
        assert made.weights(np.array([9.0, 0.25, 0.5, 0.125, 9.0])).tolist() == [0.75, 0.125]

    def test_no_words(self) -> None:
        made = Words.of("...", np.array([[0, 3]]), np.array([False]), np.array([0]))
        assert len(made) == 0
        assert clue_spans(made, np.zeros((1, 1)), np.array([[0, 3]]), count=4, margin=0) == []

    def test_function_words_name_nothing(self) -> None:
        made = words()
        named = [made[number] for number in np.flatnonzero(made.naming()).tolist()]
        assert named == ["Ada", "Byron", "born", "London", "studied", "University", "Naples"]

    def test_side_by_side(self) -> None:
        made = words()
        by_word = {made[number]: number for number in range(len(made))}
        chosen = [by_word[one] for one in ("Ada", "Byron", "London", "studied", "University", "Naples")]
        texts = [[made[number] for number in group] for group in made.groups(chosen)]
        # "of" joins two words; a point, or two words between, do not.
        assert texts == [["Ada", "Byron"], ["London"], ["studied"], ["University", "Naples"]]


class TestEvidence:
    def test_by_hand(self) -> None:
        found = evidence(np.array([[0.2, -0.3, 0.6], [-1.0, np.nan, 0.0]]))
        np.testing.assert_allclose(found, [[0.25, 0, 0.75], [0, 0, 0]])

    def test_shared_by_hand(self) -> None:
        alone = np.eye(3)
        np.testing.assert_array_equal(shared(alone, 0), alone)
        np.testing.assert_array_equal(shared(alone, np.inf), np.ones((3, 3)))
        # e^(-1 / 2) = .60653, e^(-2 / 2) = .36788
        expected = [[1, 0.60653, 0.36788], [0.60653, 1, 0.60653], [0.36788, 0.60653, 1]]
        np.testing.assert_allclose(shared(alone, 2), expected, atol=5e-6)


class TestBestGroup:
    def test_the_heaviest_together(self) -> None:
        # London alone is heavier than each word of the name, which weighs more together.
        made = words()
        group, ahead = best_group(made, made.weights(weights(Ada=0.3, Byron=0.2, London=0.4)), made.naming(), 4)
        assert [made[number] for number in group] == ["Ada", "Byron"]
        assert ahead == pytest.approx(1 - 0.4 / 0.5)

    def test_no_more_words_than_asked_for(self) -> None:
        made = words()
        group, ahead = best_group(made, made.weights(weights(Ada=0.3, Byron=0.2, London=0.4)), made.naming(), 1)
        assert ([made[number] for number in group], ahead) == (["London"], 1.0)

    def test_ties_go_to_the_first(self) -> None:
        made = words()
        group, ahead = best_group(made, made.weights(weights(London=0.4, studied=0.4)), made.naming(), 4)
        assert ([made[number] for number in group], ahead) == (["London"], 0.0)

    def test_nothing(self) -> None:
        made = words()
        assert best_group(made, np.zeros(len(made)), made.naming(), 4) == ([], 0.0)


class TestClueSpans:
    def found(self, first: np.ndarray, second: np.ndarray, margin: float = 0.5) -> list[Clue]:
        return clue_spans(words(), np.stack([first, second]), SENTENCES, count=4, margin=margin)

    def test_words_outside_the_sentence(self) -> None:
        name, place = weights(Ada=0.3, Byron=0.3), weights(University=0.9, Naples=0.9)
        assert self.found(name, name) == [Clue(sentence=30, start=0, end=9)]
        assert self.found(place, place) == [Clue(sentence=0, start=49, end=69)]

    def test_a_sentence_with_its_best_words_needs_no_clue(self) -> None:
        name, place = weights(Ada=0.3, Byron=0.3), weights(University=0.9, Naples=0.9)
        assert self.found(name, name + place) == []

    def test_only_what_is_clear(self) -> None:
        near = weights(Ada=0.3, Byron=0.3, London=0.31)
        assert self.found(near, near) == []
        assert self.found(near, near, margin=0.48) == [Clue(30, 0, 9)]  # 1 - .31 / .6 = .483

    def test_a_sentence_that_has_the_words(self) -> None:
        text = "Ada. Ada left."
        offsets = np.array([[0, 3], [3, 4], [5, 8], [9, 13], [13, 14]])
        made = Words.of(text, offsets, np.array([1, 0, 1, 1, 0], bool), np.arange(5))
        looked = np.array([[0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0]])
        assert clue_spans(made, looked, np.array([[0, 5], [5, 14]]), count=4, margin=0.5) == []
