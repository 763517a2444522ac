"""Ranks, contrasts and distances, worked by hand."""

import dataclasses
import itertools
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elusive.clues.contrast import contrast
from elusive.clues.ranks import distance_signal, rank_tokens
from elusive.clues.tokenizers import across_tokenizers, pair_on_tokens
from elusive.errors import ElusiveError
from elusive.scoring.positions import rankable_tokens
from elusive.scoring.shards import TokenScores


def scores(token_ids: list[int], values: list[float], queries: list[int], name: str = "d1") -> TokenScores:
    offsets = np.array([(index, index + 1) for index in range(len(token_ids))], dtype=np.int32)
    return TokenScores(
        name, np.array(token_ids, np.int32), offsets, np.array(values, np.float32), np.array(queries, np.int32)
    )


def tokenised(text: str, tokenizer: Any, name: str = "d1") -> TokenScores:
    encoded = tokenizer(text, return_offsets_mapping=True)
    count = len(encoded["input_ids"])
    return TokenScores(
        name,
        np.array(encoded["input_ids"], np.int32),
        np.array(encoded["offset_mapping"], np.int32),
        np.zeros(count, np.float32),
        np.ones(count, np.int32),
    )


def rankable(text: str, tokens: TokenScores, special_ids: Any, excluded: tuple[str, ...]) -> np.ndarray:
    return rankable_tokens(text, tokens.token_ids, tokens.offsets, special_ids, excluded)


class TestRankTokens:
    def test_largest_signal_is_rank_1(self) -> None:
        ranks = rank_tokens(np.array([0.1, 0.9, -0.5, 0.4]), np.ones(4, bool), np.ones(4, bool))
        assert ranks.tolist() == [3, 1, 4, 2]
        assert ranks.dtype == np.int32

    def test_excluded_tokens_get_0_and_take_no_rank(self) -> None:
        rankable = np.array([False, True, False, True, True])
        assert rank_tokens(np.array([9.0, 1, 8, 3, 2]), rankable, np.ones(5, bool)).tolist() == [0, 3, 0, 1, 2]

    def test_ties_by_position(self) -> None:
        ranks = rank_tokens(np.array([0.5, 0.7, 0.5, 0.7, 0.5]), np.ones(5, bool), np.ones(5, bool))
        assert ranks.tolist() == [3, 1, 4, 2, 5]

    def test_unseen_tokens_come_last_by_position_whatever_their_signal(self) -> None:
        seen = np.array([True, False, True, False])
        assert rank_tokens(np.array([0.1, 5.0, 0.2, 9.0]), np.ones(4, bool), seen).tolist() == [2, 3, 1, 4]

    def test_seen_token_without_a_signal_comes_before_an_unseen_one(self) -> None:
        # In a long text read in windows, an unseen token may stand before one that other queries see.
        signal = np.array([0.3, 0.9, -np.inf, -np.inf])
        assert rank_tokens(signal, np.ones(4, bool), np.array([True, False, True, True])).tolist() == [1, 4, 2, 3]

    def test_nothing_to_rank(self) -> None:
        assert rank_tokens(np.array([1.0, 2.0]), np.zeros(2, bool), np.ones(2, bool)).tolist() == [0, 0]
        assert rank_tokens(np.zeros(0), np.zeros(0, bool), np.zeros(0, bool)).tolist() == []

    @given(st.integers(0, 2**32 - 1))
    def test_several_rows_are_ranked_each_for_itself(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        rows, rankable, seen = rng.integers(0, 3, (3, 7)).astype(float), rng.random(7) < 0.7, rng.random(7) < 0.7
        together = rank_tokens(rows, rankable, seen)
        assert together.shape == (3, 7)
        assert together.dtype == np.int32
        for row, ranks in zip(rows, together, strict=True):
            order = sorted(np.flatnonzero(rankable), key=lambda i: (not seen[i], -row[i] if seen[i] else 0, i))
            assert [int(i) for i in np.argsort(ranks) if ranks[i]] == [int(i) for i in order]


class TestRankable:
    def test_special_white_space_and_punctuation_are_not(self, tokenizer: Any) -> None:
        text = "Ann, 5 .  \n"
        tokens = tokenised(text, tokenizer)
        chosen = rankable(text, tokens, tokenizer.all_special_ids, (".", ","))
        words = [text[start:end] for start, end in tokens.offsets.tolist()]
        assert tokenizer.bos_token_id == tokens.token_ids[0]
        assert "".join(word for word, may in zip(words, chosen, strict=True) if may).replace(" ", "") == "Ann5"
        refused = [word for word, may in zip(words, chosen, strict=True) if not may]
        assert sorted({word.strip() for word in refused}) == ["", ",", "."]
        assert chosen.dtype == bool

    def test_special_token_that_stands_in_the_text_is_not(self, tokenizer: Any) -> None:
        text = "Ann<eos>"
        tokens = tokenised(text, tokenizer)
        assert (tokens.token_ids[-1], *tokens.offsets[-1]) == (tokenizer.eos_token_id, 3, 8)
        chosen = rankable(text, tokens, tokenizer.all_special_ids, ())
        assert chosen.tolist() == [False, *[True] * (len(chosen) - 2), False]

    def test_the_list_is_a_setting(self, tokenizer: Any) -> None:
        text = "Ann,5."
        tokens = tokenised(text, tokenizer)
        assert rankable(text, tokens, tokenizer.all_special_ids, ()).sum() == len(tokens.token_ids) - 1
        # White space around a string of the list does not count either.
        assert rankable(text, tokens, [], (" 5 ", "."))[-3:].tolist() == [
            True,
            False,
            False,
        ]

    def test_a_word_that_holds_a_period_is(self) -> None:
        tokens = scores([5, 6], [0, 0], [1, 1])
        tokens.offsets[:] = [(0, 3), (3, 5)]
        assert rankable("No.,.", tokens, [], (".", ",")).tolist() == [True, True]


class TestContrast:
    def test_large_minus_small(self) -> None:
        large = scores([7, 8, 9], [0.5, 0.25, 0.125], [2, 1, 0])
        small = scores([7, 8, 9], [0.25, 0.5, 0.125], [2, 1, 0])
        assert contrast(large, small).tolist() == [0.25, -0.25, 0.0]
        assert contrast(large, small).dtype == np.float32

    @pytest.mark.parametrize(
        ("token_ids", "message"),
        [
            ([7, 8, 5], "different tokens (3 and 3; first difference at token 2)"),
            ([7, 8, 9, 10], "different tokens (3 and 4; first difference at token 3)"),
        ],
    )
    def test_other_tokens_are_refused(self, token_ids: list[int], message: str) -> None:
        large = scores([7, 8, 9], [0.5] * 3, [1] * 3)
        small = scores(token_ids, [0.5] * len(token_ids), [1] * len(token_ids))
        with pytest.raises(ElusiveError, match=re.escape(message)) as caught:
            contrast(large, small)
        assert str(caught.value).startswith("The two models split document 'd1' into different tokens")
        assert "choose two models of one family" in str(caught.value)
        assert "augment.across_tokenizers = true" in str(caught.value)

    def test_other_document_is_refused(self) -> None:
        with pytest.raises(ElusiveError, match="Expected scores of the same document, got 'd1' and 'd2'"):
            contrast(scores([7], [0.5], [1]), scores([7], [0.5], [1], "d2"))

    def test_other_queries_are_refused(self) -> None:
        with pytest.raises(ElusiveError, match="scores of document 'd1' come from different queries"):
            contrast(scores([7, 8], [0.5, 0.5], [2, 1]), scores([7, 8], [0.5, 0.5], [1, 1]))


def on_offsets(offsets: list[tuple[int, int]], values: list[float], ids: Any = None, queries: Any = None):
    count = len(offsets)
    ids, queries = ids or list(range(count)), queries or [1] * count
    held = scores(ids, values, queries)
    held.offsets[:] = offsets
    return held


class TestAcrossTokenizers:
    TEXT = "to Rome, Zoë"
    #       0  3     9

    def test_by_hand(self) -> None:
        other = on_offsets([(0, 0), (0, 7), (7, 8), (8, 12)], [0.5, 0.6, 0.1, 0.3], queries=[3, 3, 2, 1])
        own = on_offsets([(0, 0), (0, 2), (2, 7), (7, 9), (9, 12)], [0.0] * 5)
        carried = across_tokenizers(other, own, self.TEXT)
        # "to Rome" gives .1 to each of its 6 letters, " Zoë" .1 to each of its 3, and <s> nothing.
        np.testing.assert_allclose(carried.scores, [0, 0.2, 0.4, 0.1, 0.3], atol=1e-7)
        assert carried.queries.tolist() == [0, 3, 3, 2, 1]
        assert carried.token_ids is own.token_ids
        assert carried.offsets is own.offsets
        assert carried.scores.dtype == np.float32

    def test_bytes_of_one_character_share_it(self) -> None:
        split = on_offsets([(0, 7), (7, 8), (8, 11), (11, 12), (11, 12)], [0.0, 0.0, 0.1, 0.2, 0.4])
        whole = on_offsets([(0, 7), (7, 8), (9, 12)], [0.0, 0.0, 0.9])
        np.testing.assert_allclose(across_tokenizers(split, whole, self.TEXT).scores[-1], 0.7, atol=1e-7)
        np.testing.assert_allclose(
            across_tokenizers(whole, split, self.TEXT).scores, [0, 0, 0.6, 0.15, 0.15], atol=1e-7
        )

    def test_the_same_tokens_are_left_untouched(self) -> None:
        one = on_offsets([(0, 2), (2, 7)], [0.1, 0.2], ids=[5, 6])
        assert across_tokenizers(one, on_offsets([(0, 2), (2, 7)], [0, 0], ids=[5, 6]), self.TEXT) is one
        other = across_tokenizers(one, on_offsets([(0, 2), (2, 7)], [0, 0], ids=[8, 9]), self.TEXT)
        assert other.token_ids.tolist() == [8, 9]
        assert other.scores is one.scores

    def test_another_document_is_refused(self) -> None:
        with pytest.raises(ElusiveError, match="Expected scores of the same document, got 'd1' and 'd2'"):
            across_tokenizers(scores([7], [0.5], [1]), scores([7], [0.5], [1], "d2"), "x")

    def test_each_head_is_carried_like_the_score(self) -> None:
        other = on_offsets([(0, 7), (8, 12)], [0.6, 0.3])
        per_head = np.array([[[0.6, 0.3], [0.06, 0.0]]], np.float32)
        held = TokenScores("d1", other.token_ids, other.offsets, other.scores, other.queries, per_head)
        carried = across_tokenizers(held, on_offsets([(0, 2), (3, 7), (9, 12)], [0, 0, 0]), self.TEXT)
        assert carried.per_head is not None
        np.testing.assert_allclose(carried.per_head, [[[0.2, 0.4, 0.3], [0.02, 0.04, 0.0]]], atol=1e-7)
        np.testing.assert_allclose(carried.scores, carried.per_head[0, 0], atol=1e-7)

    def test_each_sentences_row_is_carried_like_the_score(self) -> None:
        rows, counts = np.array([[0.6, 0.3], [0.06, 0]], np.float32), np.array([[2, 1], [1, 0]], np.int32)
        sentences = np.array([[0, 8], [8, 12]], np.int32)
        held = dataclasses.replace(
            on_offsets([(0, 7), (8, 12)], [0.6, 0.3]), sentences=sentences, rows=rows, row_queries=counts
        )
        carried = across_tokenizers(held, on_offsets([(0, 2), (3, 7), (9, 12)], [0, 0, 0]), self.TEXT)
        assert carried.rows is not None
        assert carried.row_queries is not None
        assert carried.sentences is sentences
        np.testing.assert_allclose(carried.rows, [[0.2, 0.4, 0.3], [0.02, 0.04, 0.0]], atol=1e-7)
        assert carried.row_queries.tolist() == [[2, 2, 1], [1, 1, 0]]

    @given(st.text("ab é東 .", min_size=1, max_size=20), st.integers(0, 2**32 - 1))
    def test_the_sum_over_characters_stays(self, text: str, seed: int) -> None:
        rng = np.random.default_rng(seed)

        def tokens() -> list[tuple[int, int]]:
            """Any partition of the text; some tokens come twice (bytes), some leave the space before them out."""
            inner = rng.integers(0, len(text), rng.integers(0, 6))
            ends = sorted({0, len(text), *inner.tolist()})
            found = [(0, 0)]
            for start, end in itertools.pairwise(ends):
                part = text[start:end]
                if part.strip() and rng.random() < 0.5:
                    start += len(part) - len(part.lstrip())
                found += [(start, end)] * int(rng.integers(1, 3))
            return found

        one, other = tokens(), tokens()
        values = rng.random(len(one))
        values[0] = 0  # <s> stands on no character
        values[[not text[start:end].strip() for start, end in one]] = 0  # nor may white space stand on any token
        carried = across_tokenizers(on_offsets(one, values.tolist()), on_offsets(other, [0.0] * len(other)), text)
        assert float(carried.scores.sum()) == pytest.approx(values.sum(), abs=1e-5)
        assert (carried.scores >= 0).all()

    def test_a_pair_is_contrasted_on_the_tokens_of_a_third(self) -> None:
        large = on_offsets([(0, 7), (8, 12)], [0.6, 0.3], queries=[2, 1])
        small = on_offsets([(0, 2), (3, 12)], [0.2, 0.8], ids=[5, 6], queries=[1, 1])
        own = on_offsets([(0, 2), (3, 7), (9, 12)], [0, 0, 0])
        one, other = pair_on_tokens(large, small, own, self.TEXT)
        np.testing.assert_allclose(contrast(one, other), [0.2 - 0.2, 0.4 - 4 * 0.8 / 8, 0.3 - 3 * 0.8 / 8], atol=1e-6)
        one, other = pair_on_tokens(large, small, large, self.TEXT)
        assert one is large
        assert other.queries.tolist() == [2, 1], "queries of two tokenizers are other tokens"
        rows = {"sentences": np.array([[0, 12]], np.int32), "rows": np.zeros((1, 2), np.float32)}
        large = dataclasses.replace(large, **rows, row_queries=np.array([[2, 1]], np.int32))
        small = dataclasses.replace(small, **rows, row_queries=np.array([[1, 1]], np.int32))
        _, other = pair_on_tokens(large, small, large, self.TEXT)
        assert other.row_queries is not None
        assert other.row_queries.tolist() == [[2, 1]]

    def test_queries_of_one_tokenizer_are_still_compared(self) -> None:
        large = on_offsets([(0, 7), (8, 12)], [0.7, 0.3], queries=[2, 1])
        small = on_offsets([(0, 7), (8, 12)], [0.7, 0.3], queries=[1, 1])
        with pytest.raises(ElusiveError, match="come from different queries"):
            contrast(*pair_on_tokens(large, small, large, self.TEXT))


class TestDistance:
    def test_by_hand(self) -> None:
        # Token 0 is 2 and 4 before the queries; token 2 is a query itself; nothing reads token 5.
        expected = [3.0, 2.0, 1.0, 1.0, 0.0, -np.inf]
        assert distance_signal(np.array([2, 4]), 6).tolist() == expected
        assert distance_signal(np.array([4, 2]), 6).tolist() == expected

    def test_farthest_token_is_rank_1(self) -> None:
        # Tokens 2 and 3 tie: queries 2 and 4 are 0 and 2 away from the one, query 4 is 1 away from the other.
        signal = distance_signal(np.array([2, 4]), 6)
        assert rank_tokens(signal, np.ones(6, bool), np.array([True] * 5 + [False])).tolist() == [1, 2, 3, 4, 5, 6]

    def test_nearer_query_set_can_make_a_later_token_farther(self) -> None:
        # Token 0 averages over queries 1 and 9 (5 away), token 2 over query 9 alone (7 away).
        signal = distance_signal(np.array([1, 9]), 10)
        assert signal[[0, 1, 2]].tolist() == [5.0, 4.0, 7.0]

    def test_no_query(self) -> None:
        assert distance_signal(np.array([], dtype=int), 2).tolist() == [-np.inf, -np.inf]

    def test_all_queries_of_a_long_text(self) -> None:
        # A table of queries x tokens would take 80 GB.
        signal = distance_signal(np.arange(100_000), 100_000)
        assert signal[[0, 50_000, 99_999]].tolist() == [49_999.5, 24_999.5, 0.0]
