"""Equation 1, the arms and the draws."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from elusive.augmentation.arm import arm_ranks, count_at_ceiling, drop_probabilities
from elusive.augmentation.arms import ARMS, arm_named
from elusive.augmentation.draws import copy_generator, copy_seeds, kept_in_copies, kept_tokens
from elusive.augmentation.rules import Tokens, drop_probability
from elusive.augmentation.signals import ScoredDocument, distance_from_head, entropy
from elusive.config.augmentation import AugmentSettings, UnseenTokens
from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Document, Span
from elusive.errors import ElusiveError
from elusive.scoring.sets import ScoreSet, entropy_set, pair_sets
from elusive.scoring.shards import TokenScores

GUIDED = tuple(name for name, arm in ARMS.items() if arm.signal and arm.ranked)
AT_CUES = (
    "contrast-cues",
    "contrast-cues-unbroken",
    "key-dropout-contrast",
    "masked-contrast",
    "weighted-contrast",
)
"""Arms that rank by the contrast at cues."""
REWRITING = tuple(name for name, arm in ARMS.items() if arm.rewrites)


def tokens_of(
    tokens: int = 12, unseen: tuple[int, ...] = (), excluded: tuple[int, ...] = (0,), seed: int = 0
) -> Tokens:
    """A random signal; a token that nothing sees has a large one, which must not matter."""
    generator = np.random.default_rng(seed)
    seen, rankable = np.ones(tokens, bool), np.ones(tokens, bool)
    seen[list(unseen)], rankable[list(excluded)] = False, False
    drawn = generator.normal(size=tokens)
    drawn[~seen] += generator.choice([-9.0, 9.0], size=int((~seen).sum()))
    return Tokens(rankable, seen, drawn)


def last(**given: Any) -> AugmentSettings:
    """Settings under which every rankable token may be dropped."""
    return AugmentSettings(unseen_tokens="last", **given)


def probabilities(arm: str, tokens: Tokens, settings: AugmentSettings) -> np.ndarray:
    return drop_probabilities(ARMS[arm], tokens, settings)


class TestEquation1:
    @pytest.mark.parametrize(
        ("rank", "expected"),
        [
            (0, 0.0),
            (1, 0.0341394),  # .7 x (1 - e^-.05) = .7 x .0487706
            (10, 0.2754285),  # .7 x (1 - e^-.5) = .7 x .3934693
            (80, 0.6871791),  # .7 x (1 - e^-4) = .7 x .9816844
        ],
    )
    def test_by_hand(self, rank: int, expected: float) -> None:
        assert drop_probability(np.array([rank]), 0.7, 0.05)[0] == pytest.approx(expected, abs=5e-8)

    def test_over_80_tokens(self) -> None:
        ranks = np.arange(1, 81)
        # The sum of e^-.05 ... e^-4 is .9512294 x .9816844 / .0487706 = 19.1471, and .7 x (1 - 19.1471 / 80) = .5325.
        assert drop_probability(ranks, 0.7, 0.05).mean() == pytest.approx(0.5325, abs=5e-5)
        # .9950125 x .3296800 / .0049875 = 65.7713, and .7 x (1 - 65.7713 / 80) = .1245.
        assert drop_probability(ranks, 0.7, 0.005).mean() == pytest.approx(0.1245, abs=5e-5)

    def test_limits(self) -> None:
        ranks = np.array([[0, 1], [2, 1000]])
        assert drop_probability(ranks, 0.0, 0.05).tolist() == [[0, 0], [0, 0]]
        assert drop_probability(ranks, 0.7, 0.0).tolist() == [[0, 0], [0, 0]]
        assert drop_probability(ranks, 1.0, 1000.0).tolist() == [[0, 1], [1, 1]]

    def test_grows_with_the_rank(self) -> None:
        probability = drop_probability(np.arange(50), 0.6, 0.05)
        assert (np.diff(probability) > 0).all()
        assert probability.max() < 0.6

    @pytest.mark.parametrize("alpha", [-0.01, 1.01, float("nan")])
    def test_alpha_that_is_no_probability(self, alpha: float) -> None:
        with pytest.raises(ElusiveError) as caught:
            drop_probability(np.array([1]), alpha, 0.05)
        assert str(caught.value) == f"alpha: expected a probability in [0, 1], got {alpha!r}."

    @pytest.mark.parametrize("beta", [-0.01, float("inf"), float("nan")])
    def test_beta_that_is_negative_or_not_finite(self, beta: float) -> None:
        # An infinite beta would make the probability of rank 0 undefined.
        with pytest.raises(ElusiveError, match=r"beta: expected 0 or more, got"):
            drop_probability(np.array([0]), 0.5, beta)


def token_scores(scores: np.ndarray) -> TokenScores:
    """Scores of the four one-letter tokens of "a b c d", all of them seen."""
    offsets = np.array([[0, 1], [2, 3], [4, 5], [6, 7]], dtype=np.int32)
    return TokenScores("d", np.arange(4, dtype=np.int32), offsets, scores.astype(np.float32), np.ones(4, np.int32))


class TestArms:
    def test_the_arms(self) -> None:
        paper = ["plain", "random", "attention", "distance", "contrast-all", "contrast-cues"]
        inserting = {f"insert-{by}" for by in ("random", "distance", "attention", "contrast", "head")}
        together = {"insert-contrast+reorder", "insert-head+reorder"}
        acting = {f"{what}-{by}" for what in ("key-dropout", "masked") for by in ("random", "contrast")}
        acting |= {"weighted-contrast", "weighted-answers", "random-unbroken", "contrast-cues-unbroken", "selective"}
        entropy = {"entropy-dropout", "entrodrop"}
        others = {"random-matched", "query-distance", "reorder"}
        rewriting = {f"rewrite-{style}" for style in ("paraphrase", "entigraph", "active")}
        assert set(ARMS) == {*paper, *others} | inserting | together | acting | entropy | rewriting
        assert [name for name, arm in ARMS.items() if arm.name != name] == []

    def test_looks_tell_arms_apart(self) -> None:
        for look in ("colour", "on_dark", "words"):
            looks = [getattr(arm, look) for arm in ARMS.values() if getattr(arm, look)]
            assert len(set(looks)) == len(looks)

    def test_an_unknown_arm(self) -> None:
        with pytest.raises(ElusiveError) as caught:
            arm_named("contrast-cue", "arms")
        assert str(caught.value) == (
            "arms: expected one of plain, random, random-matched, attention, distance, query-distance, contrast-all, "
            "contrast-cues, entropy-dropout, reorder, insert-random, insert-distance, insert-attention, "
            "insert-contrast, insert-head, rewrite-paraphrase, rewrite-entigraph, rewrite-active, "
            "key-dropout-random, key-dropout-contrast, masked-random, masked-contrast, entrodrop, weighted-contrast, "
            "weighted-answers, random-unbroken, contrast-cues-unbroken, selective, "
            "insert-contrast+reorder, insert-head+reorder, got 'contrast-cue'. Did you mean 'contrast-cues'?"
        )

    def test_score_sets_that_arms_need(self) -> None:
        own = ScoreSet("large", "spans")
        each = ScoreSet("large", "spans", each=True)
        needed = {name: arm.needs("large", "spans") for name, arm in ARMS.items()}
        assert needed == {name: (each,) if arm.clues else (own,) for name, arm in ARMS.items()} | {
            "contrast-all": (own, *pair_sets("all")),
            **dict.fromkeys(AT_CUES, (own, *pair_sets("cues"))),
            **dict.fromkeys(("entropy-dropout", "entrodrop"), (own, entropy_set("large"))),
            **dict.fromkeys(("insert-contrast", *REWRITING), pair_sets("spans", each=True)),
            "insert-contrast+reorder": pair_sets("spans", each=True),
        }
        assert arm_named("contrast-cues+insert-attention").needs("large", "spans") == (each, *pair_sets("cues"))
        assert ARMS["contrast-cues"].needs("small", "cues") == tuple(pair_sets("cues"))[::-1]
        fused = arm_named("contrast-cues+insert-attention").needs("large", "spans", "rrf")
        assert fused == (each, *pair_sets("cues", each=True))
        assert ARMS["contrast-all"].needs("small", "all", "rrf") == tuple(pair_sets("all", each=True))[::-1]
        for name in ("attention", "random", "attention+insert-contrast"):
            assert arm_named(name).needs("large", "cues", "rrf") == arm_named(name).needs("large", "cues")
        inserting = {"insert-contrast", "insert-contrast+reorder", *REWRITING}
        assert {name for name, arm in ARMS.items() if arm.contrasts} == {"contrast-all", *AT_CUES} | inserting
        reading = {name for name, arm in ARMS.items() if arm.reads("small", "cues")}
        of_itself = {"attention", "insert-attention", "entropy-dropout", "entrodrop"}
        assert reading == {"contrast-all", *of_itself, *AT_CUES} | inserting

    def test_arms_together(self) -> None:
        arm = arm_named("attention+insert-head+reorder")
        assert (arm.signal, arm.clues, arm.reorders) == (ARMS["attention"].signal, ARMS["insert-head"].clues, True)
        assert (arm.drops, arm.copies, arm.needs_head) == (True, True, True)
        assert "attention+insert-head+reorder" in ARMS
        assert arm_named("insert-contrast+reorder").drops is False

    @pytest.mark.parametrize(
        "name",
        [
            "reorder+insert-contrast",  # in another order: two names for one arm
            "attention+contrast-cues",
            "insert-head+insert-contrast",
            "reorder+reorder",
            "plain+reorder",
            "attention+",
        ],
    )
    def test_arms_that_do_not_go_together(self, name: str) -> None:
        assert name not in ARMS
        with pytest.raises(ElusiveError, match="at most one that drops, one that inserts, and reorder, in this order"):
            arm_named(name)

    def test_settings_that_arms_depend_on(self) -> None:
        asked = ("alpha", "beta", "copies", "clue_signal", "clue_margin", "insert_share")
        used = {name: [one for one in asked if arm_named(name).uses(one)] for name in ("plain", "random", "attention")}
        assert used == {"plain": [], "random": ["alpha", "copies"], "attention": ["alpha", "beta", "copies"]}
        names = ("reorder", "insert-head", "insert-attention", "insert-contrast+reorder", "attention+insert-contrast")
        assert {name: [one for one in asked if arm_named(name).uses(one)] for name in names} == {
            "reorder": ["copies"],
            "insert-head": ["copies", "insert_share"],
            "insert-attention": ["copies", "clue_margin", "insert_share"],
            "insert-contrast+reorder": ["copies", "clue_signal", "clue_margin", "insert_share"],
            "attention+insert-contrast": [*asked],
        }

    def test_guided_arms_rank_by_their_own_signal(self) -> None:
        scores = {one: token_scores(np.full(4, 0.1)) for one in (*pair_sets("cues"), *pair_sets("all"))}
        # Each of three signals prefers a token of its own; the first token is the farthest from the last.
        scores[ScoreSet("large", "spans")] = token_scores(np.array([0.1, 0.5, 0.1, 0.1]))
        scores[ScoreSet("large", "cues")] = token_scores(np.array([0.1, 0.1, 0.5, 0.1]))
        scores[ScoreSet("small", "all")] = token_scores(np.array([0.5, 0.5, 0.5, 0.1]))
        scores[entropy_set("large")] = token_scores(np.array([0.9, 2.5, 0.1, 2.6]))
        document = Document("d", "a b c d", (Span("name", 2, 3), Span("city", 6, 7)))
        own, score = ScoreSet("large", "spans"), ScoreSettings(queries="spans")
        scored = ScoredDocument(document, scores, own, np.zeros(4, bool), np.ones(4, bool), score, AugmentSettings())
        settings = AugmentSettings(alpha=0.7, beta=0.05)
        best = {}
        for arm in GUIDED:
            signal = ARMS[arm].signal
            assert signal is not None
            given = Tokens(np.ones(4, bool), np.ones(4, bool), signal(scored))
            best[arm] = int(probabilities(arm, given, settings).argmin())
            # Ranks from 1: even the best clue may be dropped.
            assert probabilities(arm, given, settings).min() == pytest.approx(0.0341394, abs=5e-8)
        expected = {"attention": 1, "distance": 1, "query-distance": 0, "contrast-all": 3, "entropy-dropout": 3}
        assert best == expected | dict.fromkeys(AT_CUES, 2)

    def test_plain_drops_nothing(self) -> None:
        assert probabilities("plain", tokens_of(), AugmentSettings(alpha=1.0)).tolist() == [0.0] * 12

    def test_random_drops_with_alpha_not_keeps(self) -> None:
        probability = probabilities("random", tokens_of(6, unseen=(5,), excluded=(0, 2)), last(alpha=0.2))
        assert probability.tolist() == [0.0, 0.2, 0.0, 0.2, 0.2, 0.2]

    @pytest.mark.parametrize("tokens", [5, 12, 80])
    @pytest.mark.parametrize("unseen_tokens", ["last", "keep"])
    def test_random_matched_has_each_document_s_guided_mean(self, tokens: int, unseen_tokens: UnseenTokens) -> None:
        given = tokens_of(tokens, unseen=(tokens - 1, tokens - 2), excluded=(0, 2), seed=tokens)
        settings = AugmentSettings(alpha=0.7, beta=0.05, unseen_tokens=unseen_tokens)
        ranked = given.rankable & given.seen
        matched = probabilities("random-matched", given, settings)
        by_hand = np.mean([0.7 * (1 - np.exp(-0.05 * rank)) for rank in range(1, ranked.sum() + 1)])
        assert matched[ranked].tolist() == pytest.approx([by_hand] * ranked.sum(), abs=1e-12)
        for arm in GUIDED:
            guided = probabilities(arm, given, settings)
            assert guided[ranked].mean() == pytest.approx(by_hand, abs=1e-12)
            assert guided.sum() == pytest.approx(matched.sum(), abs=1e-12)

    def test_random_matched_without_seen_tokens(self) -> None:
        given = tokens_of(3, unseen=(0, 1, 2), excluded=())
        expected = drop_probability(np.array([1, 2, 3]), 0.6, 0.05).tolist()
        assert probabilities("random-matched", given, last(alpha=0.6, beta=0.05)).tolist() == expected

    @pytest.mark.parametrize("arm", ["random-matched", *GUIDED])
    def test_unseen_tokens_have_the_ranks_after_all_others(self, arm: str) -> None:
        given = tokens_of(10, unseen=(3, 8, 9), excluded=(0, 9))  # 6 seen tokens are ranked
        probability = probabilities(arm, given, last(alpha=0.6, beta=0.05))
        assert probability[[3, 8, 9]].tolist() == [*drop_probability(np.array([7, 8]), 0.6, 0.05), 0.0]

    @pytest.mark.parametrize("arm", ARMS)
    def test_unseen_tokens_are_kept_in_every_arm(self, arm: str) -> None:
        given = tokens_of(10, unseen=(3, 8, 9), excluded=(0, 9))
        dropped = probabilities(arm, given, last(alpha=0.6))
        keep = probabilities(arm, given, AugmentSettings(alpha=0.6, unseen_tokens="keep"))
        assert keep[[3, 8, 9]].tolist() == [0.0, 0.0, 0.0]
        assert keep[given.seen].tolist() == dropped[given.seen].tolist()

    @pytest.mark.parametrize("arm", ARMS)
    def test_excluded_tokens_are_never_dropped(self, arm: str) -> None:
        given = tokens_of(12, unseen=(10, 11), excluded=(0, 4, 11))
        probability = probabilities(arm, given, last(alpha=1.0, beta=1000.0, low_entropy_share=1.0))
        assert probability[[0, 4, 11]].tolist() == [0.0, 0.0, 0.0]
        assert probability[given.rankable].tolist() == [1.0 if ARMS[arm].drops else 0.0] * 9

    @pytest.mark.parametrize(
        ("share", "masked"), [(0.0, []), (0.2, []), (0.25, [5]), (0.5, [1, 5]), (0.75, [1, 3, 5]), (1.0, [1, 2, 3, 5])]
    )
    def test_entrodrop_masks_the_lowest_share_at_alpha(self, share: float, masked: list[int]) -> None:
        signal = np.array([0.0, 0.5, 3.0, 0.7, 9.0, 0.1])
        given = Tokens(np.array([0, 1, 1, 1, 1, 1], bool), np.array([1, 1, 1, 1, 0, 1], bool), signal)
        settings = AugmentSettings(alpha=0.3, low_entropy_share=share)
        assert np.flatnonzero(probabilities("entrodrop", given, settings)).tolist() == masked
        assert set(probabilities("entrodrop", given, settings)) <= {0.0, 0.3}

    def test_a_first_token_that_nothing_predicts_is_not_predictable(self) -> None:
        entropies = dataclasses.replace(
            token_scores(np.array([0.0, 0.5, 0.2, 0.1])), queries=np.array([0, 1, 1, 1], np.int32)
        )
        own = ScoreSet("large", "cues")
        scores = {own: token_scores(np.zeros(4)), entropy_set("large"): entropies}
        masks = np.zeros(4, bool), np.ones(4, bool)
        given = (Document("d", "a b c d", ()), scores, own, *masks, ScoreSettings(), AugmentSettings())
        assert entropy(ScoredDocument(*given)).tolist() == [np.inf, 0.5, pytest.approx(0.2), pytest.approx(0.1)]
        other = dataclasses.replace(entropies, token_ids=entropies.token_ids + 1)
        with pytest.raises(ElusiveError, match="The entropies of document 'd' are of other tokens"):
            entropy(ScoredDocument(given[0], {**scores, entropy_set("large"): other}, *given[2:]))

    def test_signal_that_was_not_computed(self) -> None:
        given = Tokens(np.ones(2, bool), np.ones(2, bool), np.zeros(2))
        probabilities("contrast-cues", given, AugmentSettings())
        with pytest.raises(ElusiveError, match="Arm contrast-cues ranks by a signal, which was not given"):
            probabilities("contrast-cues", dataclasses.replace(given, signal=None), AugmentSettings())


class TestDraws:
    def test_drop_rate_of_10_000_draws(self) -> None:
        given = tokens_of(60, unseen=(58, 59), excluded=(0, 7, 20))
        probability = probabilities("attention", given, AugmentSettings(alpha=0.7, beta=0.05))
        draws = 10_000
        kept = np.zeros(60, dtype=int)
        for copy in range(draws):
            kept += kept_tokens(probability, copy_generator(0, "person-00001", copy))
        deviation = np.sqrt(probability * (1 - probability) / draws)
        assert (np.abs(1 - kept / draws - probability) <= 4 * deviation).all()
        assert kept[[0, 7, 20]].tolist() == [draws] * 3

    def test_never_and_always(self) -> None:
        kept = kept_tokens(np.array([0.0, 1.0] * 50_000), np.random.default_rng(0))
        assert kept[::2].all()
        assert not kept[1::2].any()

    def test_a_generator_is_its_seed_document_and_copy(self) -> None:
        def draw(seed: int, name: str, copy: int) -> list[float]:
            return copy_generator(seed, name, copy).random(4).tolist()

        assert draw(0, "d1", 1) == draw(0, "d1", 1)
        # The parts do not run together: seed 1, copy 11 is not seed 11, copy 1.
        others = [
            (0, "d1", 2),
            (1, "d1", 1),
            (0, "d2", 1),
            (1, "d1", 11),
            (11, "d1", 1),
            (0, "1d1", 1),
            (0, "Zürich", 1),
        ]
        assert len({tuple(draw(*other)) for other in [(0, "d1", 1), *others]}) == 8

    def test_draws_are_the_same_on_every_machine(self) -> None:
        assert copy_generator(0, "person-00001", 1).random(3).tolist() == [
            0.7353439762364308,
            0.11134693076895408,
            0.8253301952999688,
        ]

    def test_arms_share_their_draws(self) -> None:
        low, high = np.linspace(0, 0.5, 200), np.linspace(0, 0.5, 200) * 1.7
        for copy in range(20):
            kept_low, kept_high = (kept_tokens(p, copy_generator(3, "d1", copy)) for p in (low, high))
            assert (kept_low | ~kept_high).all()
            assert kept_low.sum() > kept_high.sum()

    def test_many_copies_are_seeded_as_one_by_one(self) -> None:
        documents, copies = ["person-1", "Zoë 東京", "", "x" * 300], [1, 2, 3, 250, 2**40]
        generator = np.random.default_rng()
        seeds_DC4 = copy_seeds(7, documents, copies)
        assert seeds_DC4.shape == (4, 5, 4)
        probability = np.linspace(0, 1, 97)
        for document, seeds_C4 in zip(documents, seeds_DC4, strict=True):
            kept_CT = kept_in_copies(probability, seeds_C4, generator)
            for copy, kept in zip(copies, kept_CT, strict=True):
                assert kept.tolist() == kept_tokens(probability, copy_generator(7, document, copy)).tolist()

    @pytest.mark.parametrize("digest", [bytes(16), b"\xff" * 16, bytes(15) + b"\x80", b"\x01" + bytes(15)])
    def test_seeds_with_empty_words(self, digest: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("elusive.augmentation.draws._digest", lambda *key: digest)
        [seeds_C4] = copy_seeds(0, ["any"], [1])
        [kept] = kept_in_copies(np.full(50, 0.5), seeds_C4, np.random.default_rng())
        assert kept.tolist() == kept_tokens(np.full(50, 0.5), copy_generator(0, "any", 1)).tolist()

    def test_no_copies(self) -> None:
        seeds_DC4 = copy_seeds(0, ["one", "two"], [])
        assert seeds_DC4.shape == (2, 0, 4)
        assert kept_in_copies(np.zeros(4), seeds_DC4[0], np.random.default_rng()).shape == (0, 4)


class TestCeiling:
    def test_by_hand(self) -> None:
        ranks = np.array([0, 1, 92, 93, 94])
        probability = drop_probability(ranks, 0.6, 0.05)
        # 1 - e^(-.05 r) is .99 at r = ln(100) / .05 = 92.1.
        assert count_at_ceiling(ranks.astype(np.int32), probability, 0.6) == (2, 4)

    def test_without_ranks_or_alpha(self) -> None:
        none = np.zeros(3, np.int32)
        assert count_at_ceiling(none, np.full(3, 0.6), 0.6) == (0, 0)  # the random arm ranks nothing
        assert count_at_ceiling(np.arange(3, dtype=np.int32), np.zeros(3), 0.0) == (0, 2)

    def test_relative_ranks_are_not_at_the_ceiling_however_long_the_text(self) -> None:
        tokens = tokens_of(1700, excluded=())
        for scale, share in (("absolute", 1 - 92 / 1700), ("relative", 0.0)):
            settings = AugmentSettings(rank_scale=scale)  # type: ignore[arg-type]
            ranks = arm_ranks(ARMS["attention"], tokens, settings)
            probability = drop_probabilities(ARMS["attention"], tokens, settings, ranks)
            at_ceiling, ranked = count_at_ceiling(ranks, probability, settings.alpha)
            assert at_ceiling / ranked == pytest.approx(share)


class TestDistance:
    def signal(self, *spans: Span) -> list[float]:
        document = Document("d", "a b c d", spans)
        own, cues = token_scores(np.zeros(4)), ScoreSet("large", "cues")
        special, content = np.zeros(4, bool), np.ones(4, bool)
        scored = ScoredDocument(document, {cues: own}, cues, special, content, ScoreSettings(), AugmentSettings())
        return distance_from_head(scored).tolist()

    def test_from_the_middle_of_the_nearest_mention(self) -> None:
        assert self.signal(Span("city", 0, 1), Span("name", 2, 5)) == [-1.5, -0.5, -0.5, -1.5]
        assert self.signal(Span("name", 0, 1), Span("name", 6, 7)) == [0.0, -1.0, -1.0, 0.0]

    def test_a_document_without_a_head_entity(self) -> None:
        with pytest.raises(ElusiveError, match=r"distance .* document 'd' has no span of name .* query-distance"):
            self.signal(Span("city", 0, 1))
