"""Where the arms that insert take their clues from, and how many of them are right; by hand."""

import dataclasses

import numpy as np
import pytest

from elusive.augmentation.clue_spans import Clue, Words
from elusive.augmentation.insertion import (
    attention_clues,
    contrast_clues,
    count_right,
    distance_clues,
    head_clues,
    random_clues,
    words_of,
)
from elusive.augmentation.signals import ScoredDocument
from elusive.config.augmentation import AugmentSettings
from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Document, Span
from elusive.errors import ElusiveError
from elusive.scoring.sets import ScoreSet
from elusive.scoring.shards import TokenScores

TEXT = "Ada Byron met Bob. She lived in London. He left."
# One token a word and one for each point; Ada Byron, met, Bob, ., She, lived, in, London, ., He, left, .
STARTS = (0, 4, 10, 14, 17, 19, 23, 29, 32, 38, 40, 43, 47)
ENDS = (3, 9, 13, 17, 18, 22, 28, 31, 38, 39, 42, 47, 48)
OFFSETS = np.array([STARTS, ENDS], dtype=np.int32).T.copy()
SENTENCES = np.array([[0, 19], [19, 40], [40, 48]], dtype=np.int32)
ADA, BOB, LONDON = (0, 9), (14, 17), (32, 38)
LARGE, SMALL = ScoreSet("large", "cues", each=True), ScoreSet("small", "cues", each=True)


def scores(*rows: dict[str, float]) -> TokenScores:
    """Rows of the three sentences, by the tokens' texts; 0 elsewhere."""
    made = [[row.get(TEXT[a:b], 0.0) for a, b in OFFSETS] for row in (*rows, *({},) * (3 - len(rows)))]
    tokens = len(OFFSETS)
    return TokenScores(
        "d",
        np.arange(tokens, dtype=np.int32),
        OFFSETS,
        np.zeros(tokens, np.float32),
        np.ones(tokens, np.int32),
        sentences=SENTENCES,
        rows=np.array(made, np.float32),
        row_queries=np.ones((3, tokens), np.int32),
    )


def document(*spans: Span) -> Document:
    return Document("d", TEXT, spans)


def given(
    large: TokenScores, small: TokenScores | None = None, spans: tuple[Span, ...] = (), **settings: object
) -> tuple[ScoredDocument, Words]:
    special = np.zeros(len(OFFSETS), bool)
    found = {LARGE: large} | ({SMALL: small} if small else {})
    chosen = AugmentSettings(**{"clue_reach": 0.0, **settings})  # type: ignore[arg-type]
    content = np.array([TEXT[a:b] != "." for a, b in OFFSETS])
    scored = ScoredDocument(document(*spans), found, LARGE, special, content, ScoreSettings(), chosen)
    return scored, words_of(scored)


NOTHING: dict[str, float] = {}


class TestContrast:
    large = scores(NOTHING, {"Ada": 0.2, "Byron": 0.3, "London": 0.4, "Bob": 0.1}, {"Bob": 0.2, "London": 0.5})
    small = scores(NOTHING, {"London": 0.4, "Bob": 0.05}, {"London": 0.5, "Bob": 0.01})

    def test_by_difference(self) -> None:
        # Second sentence: .2 + .3 against .05. Third: Bob's .19 alone.
        assert contrast_clues(*given(self.large, self.small, clue_signal="difference")) == [
            Clue(19, *ADA),
            Clue(40, *BOB),
        ]

    def test_by_ratio(self) -> None:
        # Second sentence: log(.2e6) + log(.3e6) = 24.8 against log(2) = .7.
        assert contrast_clues(*given(self.large, self.small)) == [Clue(19, *ADA), Clue(40, *BOB)]

    def test_what_both_models_attend_to_is_no_clue(self) -> None:
        assert contrast_clues(*given(self.large, self.large)) == []

    def test_sentences_share_what_they_know(self) -> None:
        large, nothing = scores(NOTHING, {"Ada": 0.5, "Byron": 0.5}), scores()
        assert contrast_clues(*given(large, nothing)) == [Clue(19, *ADA)]
        # The first sentence holds the name.
        assert contrast_clues(*given(large, nothing, clue_reach=3.0)) == [Clue(19, *ADA), Clue(40, *ADA)]

    def test_other_tokens_are_refused(self) -> None:
        other = dataclasses.replace(self.small, token_ids=self.small.token_ids + 1)
        with pytest.raises(ElusiveError, match="split document 'd' into different tokens"):
            contrast_clues(*given(self.large, other))


def test_a_sink_takes_the_evidence_of_the_token_behind_it() -> None:
    # The sink receives most, and alike from both models: by itself it is no clue, and its word is a part of the name.
    large = scores(NOTHING, {"Ada": 0.9, "Byron": 0.3, "Bob": 0.1})
    small = scores(NOTHING, {"Ada": 0.9, "Bob": 0.05})
    assert contrast_clues(*given(large, small, clue_signal="difference")) == [Clue(19, 4, 9)]
    large, small = (dataclasses.replace(one, sink_end=3) for one in (large, small))
    assert contrast_clues(*given(large, small, clue_signal="difference")) == [Clue(19, *ADA)]


def test_answers_are_no_clues_unless_that_is_asked_for() -> None:
    large = scores(NOTHING, {"Ada": 0.3, "Byron": 0.3}, {"London": 0.9, "Bob": 0.2})
    spans = (Span("name", 0, 9), Span("city", 32, 38))
    assert attention_clues(*given(large, spans=spans, clue_answers=True)) == [Clue(19, *ADA), Clue(40, *LONDON)]
    assert attention_clues(*given(large, spans=spans)) == [Clue(19, *ADA), Clue(40, *BOB)]
    # The head entity is no answer; without it marked as such, it is one.
    everything = (Span("subject", 0, 9), *spans[1:])
    assert attention_clues(*given(large, spans=everything)) == [Clue(40, *BOB)]
    assert distance_clues(*given(scores(), spans=everything)) == [
        Clue(19, 10, 17),
        Clue(40, 10, 17),
    ]


def test_a_sink_alone_is_no_clue() -> None:
    only = dataclasses.replace(scores(NOTHING, {"Ada": 0.9, "Bob": 0.1}), sink_end=3)
    assert attention_clues(*given(only)) == [Clue(19, *BOB)]


def test_own_attention() -> None:
    large = scores(NOTHING, {"Ada": 0.2, "Byron": 0.3, "London": 0.1}, {"Bob": 0.2, "Byron": 0.15})
    assert attention_clues(*given(large)) == [Clue(19, *ADA)]  # Bob is less than twice as heavy as Byron
    assert attention_clues(*given(large, clue_margin=0.2)) == [Clue(19, *ADA), Clue(40, *BOB)]


def test_scores_of_whole_documents_are_refused() -> None:
    whole = dataclasses.replace(scores(), rows=None, sentences=None, row_queries=None)
    with pytest.raises(ElusiveError, match="Expected scores sentence by sentence"):
        attention_clues(*given(whole))


def test_distance_takes_the_first_words_that_name_something() -> None:
    assert distance_clues(*given(scores())) == [Clue(19, 0, 17), Clue(40, 0, 17)]
    assert distance_clues(*given(scores(), clue_words=2)) == [Clue(19, *ADA), Clue(40, *ADA)]


def test_distance_does_not_repeat_what_a_sentence_says() -> None:
    text = "Ada sat. Ada left."
    offsets = np.array([[0, 3], [4, 7], [7, 8], [9, 12], [13, 17], [17, 18]], np.int32)
    ids, ones = np.arange(6, dtype=np.int32), np.ones(6, np.int32)
    sentences = np.array([[0, 9], [9, 18]], np.int32)
    rows = {"rows": np.zeros((2, 6), np.float32), "row_queries": np.ones((2, 6), np.int32)}
    own = TokenScores("d", ids, offsets, np.zeros(6, np.float32), ones, sentences=sentences, **rows)
    special, content = np.zeros(6, bool), np.array([1, 1, 0, 1, 1, 0], bool)
    settings = AugmentSettings(clue_words=1)
    scored = ScoredDocument(Document("d", text), {LARGE: own}, LARGE, special, content, ScoreSettings(), settings)
    assert distance_clues(scored, words_of(scored)) == []


def test_random_words_stand_side_by_side_outside_the_sentence() -> None:
    drawn = [random_clues(*given(scores(), seed=seed)) for seed in range(40)]
    assert all([clue.sentence for clue in clues] == [0, 19, 40] for clues in drawn)
    for clues in drawn:
        for clue, (start, end) in zip(clues, SENTENCES.tolist(), strict=True):
            assert len(TEXT[clue.start : clue.end].replace(".", "").split()) == 2
            assert not start <= clue.start < end
    assert len({clues[2] for clues in drawn}) > 3
    assert random_clues(*given(scores(), seed=3)) == drawn[3]


NAMES = (Span("name", *ADA), Span("city", *LONDON), Span("name", *BOB))


class TestHead:
    def test_the_last_one_before_a_sentence_that_has_none(self) -> None:
        assert head_clues(*given(scores(), spans=NAMES)) == [Clue(19, *BOB), Clue(40, *BOB)]

    def test_the_first_after_it_where_none_stands_before(self) -> None:
        assert head_clues(*given(scores(), spans=(Span("name", *LONDON),))) == [Clue(0, *LONDON), Clue(40, *LONDON)]

    def test_a_document_without_one(self) -> None:
        with pytest.raises(ElusiveError, match="has no span of name"):
            head_clues(*given(scores(), spans=(Span("city", *LONDON),)))


def test_how_many_are_right() -> None:
    clues = [Clue(19, *BOB), Clue(40, *ADA), Clue(0, *ADA)]  # of the first sentence Ada is the first head entity
    assert count_right(document(*NAMES), clues, ("name",)) == 2
    assert count_right(document(), clues, ("name",)) == 0
