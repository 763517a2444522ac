"""Clue recall and the choice of heads, on cases worked by hand."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elusive.clues.heads import ALL, HeadChoice, RankedHeads, choose_heads
from elusive.clues.ranks import rank_tokens
from elusive.clues.recall import (
    Chance,
    Clues,
    RecallTable,
    SignalRecall,
    best_ranked,
    clue_recall,
    read_clues,
    recall_at,
)
from elusive.config.augmentation import AugmentSettings
from elusive.corpus.documents import Document, Span
from elusive.errors import ElusiveError
from elusive.reporting.clue_tables import heads_table, recall_markdown, recall_table
from elusive.scoring.shards import TokenScores
from elusive.stats.estimates import Difference, Estimate
from elusive.stats.halves import first_half

TEXT = "Ann Lee was born , in Rome"
#       0   4   8   12   17 19 22
OFFSETS = np.array([(0, 0), (0, 3), (4, 7), (8, 11), (12, 16), (17, 18), (19, 21), (22, 26)], np.int32)
DOCUMENT = Document("ann", TEXT, (Span("name", 0, 7), Span("city", 22, 26)))
LARGE = [0.5, 0.02, 0.06, 0.03, 0.05, 0.3, 0.04, 0.0]
SMALL = [0.4, 0.01, 0.06, 0.01, 0.01, 0.4, 0.11, 0.0]


def scores(values: Sequence[float], name: str = "ann", ids: Sequence[int] = range(8), per_head: Any = None):
    queries = np.array([1] * 7 + [0], np.int32)
    return TokenScores(name, np.array(ids, np.int32), OFFSETS, np.array(values, np.float32), queries, per_head)


def read(large: TokenScores, small: TokenScores, **options: Any) -> list[Clues]:
    chosen = {"head_fields": ("name",), "excluded_tokens": (".", ",")} | options
    return read_clues([DOCUMENT], {"ann": large}, {"ann": small}, **chosen)


def clues(name: str, large: Any, small: Any, is_head: Sequence[int]) -> Clues:
    large, small = np.atleast_2d(np.array(large, float)), np.atleast_2d(np.array(small, float))
    places = np.arange(len(is_head))
    return Clues(name, places, np.array([places, places + 1]).T, np.array(is_head, bool), large, small)


class TestClues:
    def test_ranked_tokens_by_hand(self) -> None:
        (one,) = read(scores(LARGE), scores(SMALL))
        # <s>, the comma and the unseen city are left out.
        assert one.positions.tolist() == [1, 2, 3, 4, 6]
        assert one.is_head.tolist() == [True, True, False, False, False]
        assert one.offsets.tolist() == OFFSETS[[1, 2, 3, 4, 6]].tolist()
        np.testing.assert_allclose(one.signal("large"), [0.02, 0.06, 0.03, 0.05, 0.04], atol=1e-7)
        np.testing.assert_allclose(one.signal("contrast"), [0.01, 0.0, 0.02, 0.04, -0.07], atol=1e-7)

    def test_special_tokens_of_the_text_and_documents_of_one_model_alone(self) -> None:
        (one,) = read(scores(LARGE), scores(SMALL), special_ids=(1, 4))
        assert one.positions.tolist() == [2, 3, 6]
        assert read_clues([DOCUMENT], {"ann": scores(LARGE)}, {}, head_fields=(), excluded_tokens=()) == []

    def test_by_ratio(self) -> None:
        (one,) = read(scores(LARGE), scores(SMALL), augment=AugmentSettings(contrast_signal="ratio"))
        ratios = [0.02 / 0.01, 1.0, 0.03 / 0.01, 0.05 / 0.01, 0.04 / 0.11]
        np.testing.assert_allclose(one.signal("contrast"), np.log(ratios), atol=2e-4)
        np.testing.assert_allclose(one.signal("large"), [0.02, 0.06, 0.03, 0.05, 0.04], atol=1e-7)

    def test_fused_cues_beside_random_orders_fused_alike(self) -> None:
        # Two cues; the first sees three of the ranked tokens. Ranks by large: 2 1 3 - -, 5 1 2 3 4.
        counts = np.array([[1, 1, 1, 1, 0, 0, 0, 0], [1] * 7 + [0]], np.int32)
        rows = np.array([[0, 0.2, 0.3, 0.1, 0, 0, 0, 0], [0, 0.1, 0.5, 0.4, 0.3, 0, 0.2, 0]], np.float32)
        by_sentence = {"sentences": np.array([[0, 11], [12, 26]], np.int32), "row_queries": counts}
        large = replace(scores(LARGE), rows=rows, **by_sentence)
        small = replace(scores(SMALL), rows=np.zeros((2, 8), np.float32), **by_sentence)
        (one,) = read(large, small, augment=AugmentSettings(cue_fusion="rrf"))
        expected = [(1 / 62 + 1 / 65) / 2, 1 / 61, (1 / 63 + 1 / 62) / 2, 1 / 63, 1 / 64]
        np.testing.assert_allclose(one.signal("large"), expected)
        np.testing.assert_allclose(one.signal("contrast"), expected)
        # A name that two cues see has a mean of two, which is less often among the best two than one value is.
        (other,) = read(large, small, augment=AugmentSettings(cue_fusion="zscore"))
        assert other.chance(2) < 0.36 < 2 / 5
        assert read(large, small)[0].chance(2) == 2 / 5
        with pytest.raises(ElusiveError, match="got those of whole documents"):
            read(scores(LARGE), scores(SMALL), augment=AugmentSettings(cue_fusion="rrf"))

    def test_a_sink_is_never_a_find(self) -> None:
        # "Ann" takes the most, in one model or both; "Lee" is the only token of the name that counts.
        for ends in ((3, 3), (0, 3)):
            pair = (replace(scores(LARGE), sink_end=ends[0]), replace(scores(SMALL), sink_end=ends[1]))
            (one,) = read(*pair)
            assert one.positions.tolist() == [2, 3, 4, 6]
            assert one.is_head.tolist() == [True, False, False, False]

    def test_other_tokens_are_refused_unless_carried_over(self) -> None:
        small = TokenScores(
            "ann",
            np.array([9, 8, 7], np.int32),
            np.array([(0, 0), (0, 7), (8, 26)], np.int32),
            np.array([0.4, 0.6, 0.15], np.float32),
            np.array([1, 1, 0], np.int32),
        )
        with pytest.raises(ElusiveError, match="split document 'ann' into different tokens"):
            read(scores(LARGE), small)
        (one,) = read(scores(LARGE), small, augment=AugmentSettings(across_tokenizers=True))
        # "Ann Lee" gives 0.1 to each of its 6 letters.
        np.testing.assert_allclose(one.signal("small")[:2], [0.3, 0.3], atol=1e-7)

    def test_heads_are_rows_layer_by_layer(self) -> None:
        per_head = np.arange(2 * 3 * 8, dtype=np.float32).reshape(2, 3, 8)
        (one,) = read(scores(LARGE, per_head=per_head), scores(SMALL, per_head=per_head[:1]), per_head=True)
        assert one.large.tolist() == per_head.reshape(6, 8)[:, [1, 2, 3, 4, 6]].tolist()
        assert one.small.shape == (3, 5)
        with pytest.raises(ElusiveError, match="'ann' hold no single heads"):
            read(scores(LARGE), scores(SMALL), per_head=True)


class TestRecallAt:
    IS_HEAD = np.array([True, True, False, False, False])

    @pytest.mark.parametrize(("k", "expected"), [(1, 0.5), (2, 0.5), (3, 0.5), (4, 0.5), (5, 1.0), (9, 1.0)])
    def test_by_hand(self, k: int, expected: float) -> None:
        # Ranked: token 1, 3, 4, 2, 0.
        signals = np.array([[0.02, 0.06, 0.03, 0.05, 0.04]])
        assert recall_at(k, signals, self.IS_HEAD).tolist() == [expected]

    def test_ties_go_to_the_earlier_token_and_a_whole_tie_says_nothing(self) -> None:
        signals = np.array([[1.0, 1.0, 1.0, 1.0, 0.0], [0.5] * 5, [0.1] * 4 + [0.1 + 2e-17]])
        values = recall_at(1, signals, self.IS_HEAD)
        assert values[0] == 0.5
        assert np.isnan(values[1:]).all()
        assert len(best_ranked(signals[1], 3)) == 0

    def test_a_single_token_is_not_a_tie(self) -> None:
        assert recall_at(1, np.array([[0.3]]), np.array([True])).tolist() == [1.0]
        assert best_ranked(np.array([0.3]), 2).tolist() == [0]

    @given(st.lists(st.integers(0, 4), min_size=2, max_size=12), st.integers(1, 12), st.data())
    def test_is_what_the_ranks_say(self, values: list[int], k: int, data: st.DataObject) -> None:
        is_head = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
        is_head[0] = True
        signal = np.array(values, float)
        ranks = rank_tokens(signal, np.ones(len(values), bool), np.ones(len(values), bool))
        expected = float(np.mean([rank <= k for rank, head in zip(ranks, is_head, strict=True) if head]))
        (got,) = recall_at(k, signal[None], is_head)
        if len(set(values)) == 1:
            assert math.isnan(got)
        else:
            assert got == pytest.approx(expected)
            assert best_ranked(signal, k).tolist() == sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]


class TestClueRecall:
    def test_over_documents_by_hand(self) -> None:
        found = clue_recall(
            [
                clues("a", [4, 3, 2, 1], [1, 2, 3, 4], [1, 1, 0, 0]),  # large 1, small 0, contrast 1
                clues("b", [4, 3, 2, 1], [1, 2, 3, 4], [1, 0, 1, 0]),  # large 1/2, small 1/2, contrast 1/2
                clues("c", [3, 3, 2, 1], [3, 3, 2, 1], [0, 0, 1, 0]),  # large 0, small 0, contrast tied
                clues("no head", [4, 3, 2, 1], [1, 2, 3, 4], [0, 0, 0, 0]),
            ],
            k=2,
            resamples=200,
        )
        assert found is not None
        assert found.documents == 3
        signals = [found.by(name) for name in ("large", "small", "contrast")]
        assert [one.value for one in signals] == [0.5, pytest.approx(1 / 6), 0.75]
        assert [one.documents for one in signals] == [3, 3, 2]
        assert [one.head_share for one in signals[:2]] == [0.5, pytest.approx(1 / 6)]
        assert found.chance.value == 0.5
        assert found.chance.head_share == pytest.approx((2 / 4 + 2 / 4 + 1 / 4) / 3)
        assert (found.large.low or 0) <= 0.5 <= (found.large.high or 0)
        # Paired over the two documents in which contrast ranks anything: 0 and 0.
        assert found.differences["contrast-large"] == Difference(0.0, 0.0, 0.0, p_value=1.0)
        assert found.differences["large-small"].value == pytest.approx(1 / 3)

    def test_fewer_ranked_tokens_than_k(self) -> None:
        found = clue_recall([clues(name, [2, 1], [1, 1], [1, 0]) for name in "ab"], k=10)
        assert found is not None
        assert found.large == SignalRecall(1.0, 1.0, 1.0, documents=2, head_share=0.5)
        assert found.chance == Chance(1.0, 0.5)
        assert found.small == SignalRecall(None, None, None, documents=0, head_share=None)

    def test_no_head_entity_gives_nothing(self) -> None:
        assert clue_recall([clues("a", [2, 1], [1, 2], [0, 0])], k=1) is None
        assert clue_recall([], k=1) is None

    def test_tables_hold_every_row_and_difference(self) -> None:
        row = clue_recall([clues(name, [2, 1, 0], [0, 2, 1], [1, 0, 0]) for name in "ab"], k=1)
        assert row is not None
        found = RecallTable(1, ("name",), {"all cues": row, "city": row})
        table = recall_table(found)
        assert table.splitlines()[0] == "Share of the name tokens among the 1 best ranked, 95% interval"
        assert [line.split()[0] for line in table.splitlines() if " 1.000 [1.000, 1.000]" in line] == ["all", "city"]
        shares = table.split("Share of the 1 best ranked that are name tokens\n")[1].splitlines()
        assert [line.split()[-4:] for line in shares[:2]] == [["1.000", ".000", "1.000", ".333"]] * 2
        assert "city      large minus small     +1.000 [+1.000, +1.000] separated" in table
        assert "city      contrast minus large  .000 [.000, .000] not separated" in table
        assert max(map(len, table.splitlines())) <= 120
        markdown = "\n".join(recall_markdown(found))
        assert "| city | 2 | 1.000 [1.000, 1.000] | .000 [.000, .000] | 1.000 [1.000, 1.000] | .333 |" in markdown
        assert "| all cues | large minus small | +1.000 [+1.000, +1.000] separated |" in markdown


def head_clues(number: int) -> Clues:
    """Four ranked tokens, the first is the head's; of 2 x 2 heads of the large model, 1.0 alone finds it.

    Of the small model, 0.1 finds it and 0.0 does not.
    """
    best, none = [0.4, 0.3, 0.2, 0.1], [0.0, 0.5, 0.3, 0.2]
    shift = number * 1e-3
    large = [none, none, best, none]
    small = [none, best]
    moved = [np.array(row) + np.array([0, 0, shift, 0]) for row in large]
    return clues(f"d{number}", moved, small, [1, 0, 0, 0])


class TestHeads:
    def test_the_head_that_finds_the_clue_is_chosen_and_shown_on_the_other_half(self) -> None:
        found = choose_heads([head_clues(number) for number in range(8)], (2, 2), (1, 2), k=1, resamples=200)
        assert found.documents == (4, 4)
        own = found.own
        assert own.large == HeadChoice("1 head", heads=("1.0",))
        assert (own.first_half, own.second_half) == (1.0, Estimate(1.0, 1.0, 1.0))
        assert own.all_heads.second_half.value == 0.0
        # No resample of 200 reaches zero; corrected for the two differences of the table.
        assert (own.difference.value, own.difference.low, own.difference.high) == (1.0, 1.0, 1.0)
        assert (own.difference.p_value, own.difference.p_adjusted) == pytest.approx((2 / 201, 4 / 201))
        assert own.ranked[0] == RankedHeads("1.0", 1.0)
        assert {one.name for one in own.ranked} == {"layer 0", "layer 1", "0.0", "0.1", "1.0", "1.1"}
        assert own.small is None
        contrast = found.contrast
        assert {one.name for one in contrast.ranked_small} == {"layer 0", "0.0", "0.1"}
        # Against both small heads 1.0 wins by .4 - .2 to .3 - .4; the small model stays as it is, as nothing is better.
        assert contrast.large.heads == ("1.0",)
        assert contrast.small == HeadChoice(ALL)
        assert contrast.second_half.value == 1.0

    def test_the_small_models_head_that_misses_the_clue_is_contrasted(self) -> None:
        def document(number: int) -> Clues:
            # The large model sees the head and the last token alike; only the small model's 0.0 sees the last alone.
            return clues(f"d{number}", [[0.4, 0.1, 0.5]], [[0.0, 0.1, 0.9], [0.9, 0.1, 0.0]], [1, 0, 0])

        found = choose_heads([document(number) for number in range(6)], (1, 1), (1, 2), k=1)
        assert found.contrast.large == HeadChoice(ALL)
        assert found.contrast.small == HeadChoice("1 head", heads=("0.0",))
        assert found.contrast.difference.value == 1.0

    def test_a_whole_layer_is_named_as_a_layer(self) -> None:
        # Each head of layer 1 finds one of the two head tokens, the two together both.
        large = [[0, 0, 0.9, 0.8], [0, 0, 0.9, 0.8], [0.9, 0.1, 0.4, 0.0], [0.1, 0.9, 0.4, 0.0]]
        documents = [clues(f"d{number}", large, [1, 2, 3, 4], [1, 1, 0, 0]) for number in range(4)]
        found = choose_heads(documents, (2, 2), (1, 1), k=2)
        assert found.own.large == HeadChoice("layer 1", layers=(1,))
        assert "    [models.large]\n    layers = [1]" in heads_table(found)

    def test_a_choice_that_does_not_hold_is_not_hidden(self) -> None:
        """A head that finds the clue on the first half alone is chosen, and its failure on the second is shown."""
        ids = [f"d{number}" for number in range(8)]
        first = first_half(ids)
        good, bad = [[0.0, 0.7, 0.3], [0.6, 0.1, 0.0]], [[0.5, 0.3, 0.0], [0.0, 0.2, 0.6]]
        documents = [clues(one, good if first[i] else bad, [1, 2, 3], [1, 0, 0]) for i, one in enumerate(ids)]
        own = choose_heads(documents, (1, 2), (1, 1), k=1).own
        assert own.large.heads == ("0.1",)
        assert (own.first_half, own.second_half.value) == (1.0, 0.0)

    def test_too_few_documents_are_refused(self) -> None:
        with pytest.raises(ElusiveError, match=r"Expected at least 4 documents with a head entity .* got 3"):
            choose_heads([head_clues(number) for number in range(3)], (2, 2), (1, 2))

    def test_one_model_twice_chooses_nothing_by_rounding(self) -> None:
        rng = np.random.default_rng(0)
        same = [rng.random((4, 5)) for _ in range(4)]
        documents = [clues(f"d{i}", one, one, [1, 0, 0, 0, 0]) for i, one in enumerate(same)]
        found = choose_heads(documents, (2, 2), (2, 2), k=1)
        assert found.contrast.all_heads.second_half == Estimate(None, None, None)
        assert found.contrast.difference == Difference(None, None, None)

    def test_what_is_printed_can_be_pasted(self) -> None:
        import tomllib

        found = choose_heads([head_clues(number) for number in range(8)], (2, 2), (1, 2), k=1, resamples=200)
        lines = heads_table(found).splitlines()
        assert lines[0] == "Clue recall@1 at cues: chosen on 4 documents, shown on 4 others"
        assert "  chosen minus all heads, second half: +1.000 [+1.000, +1.000] separated" in lines
        start = lines.index("    [models.large]")
        assert tomllib.loads("\n".join(lines[start : start + 2])) == {"models": {"large": {"heads": ["1.0"]}}}
