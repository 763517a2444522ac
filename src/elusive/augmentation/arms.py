"""The arms: how each token's drop probability is made. ARMS is the only place that knows which arms there are."""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int32, Real

from elusive.clues.ranks import rank_tokens
from elusive.config.run import AugmentSettings, Queries
from elusive.errors import ElusiveError
from elusive.scoring.sets import ScoreSet, pair_sets

from .signals import Signal, attention, contrast_at, distance_from_head, distance_from_queries
from .words import mean_in_word, rank_by_words

REFERENCE_LENGTH = 80
"""Ranked tokens of a document to which augment.rank_scale = relative scales all others: about the paper's biographies,
for which its beta was found."""


@dataclass(frozen=True)
class Tokens:
    """What an arm's drop probabilities are made from, for one document.

    Attributes:
        rankable: bool, (tokens,); false for tokens that are never ranked and never dropped, protected ones among them.
        seen: bool, (tokens,); whether a query of the run (score.queries) sees the token.
        signal: float, (tokens,); what the arm ranks by; None for an arm without a signal.
        words: int, (tokens,); the first token of each token's word, where words are dropped as wholes. All tokens of a
            word are then rankable or none, and seen or none.
        protected: how many more tokens would be rankable, if the settings did not protect them.
    """

    rankable: Bool[np.ndarray, " tokens"]
    seen: Bool[np.ndarray, " tokens"]
    signal: Float[np.ndarray, " tokens"] | None = None
    words: Int[np.ndarray, " tokens"] | None = None
    protected: int = 0


DropRule = Callable[[np.ndarray, Tokens, AugmentSettings], np.ndarray]
"""Ranks (int32, all 0 for an arm without a signal), tokens and settings -> float64 in [0, 1], (tokens,)."""


def drop_probability(rank: Real[np.ndarray, "*any"], alpha: float, beta: float) -> Float64[np.ndarray, "*any"]:
    """p(r) = alpha * (1 - exp(-beta * r)); 0 for rank 0.

    Args:
        rank: any shape; 1 is the best clue. Ranks are whole numbers, but a curve may be drawn through others.
        alpha: largest drop probability.
        beta: how fast it is reached.

    Returns:
        float64 in [0, alpha], the shape of `rank`.

    Raises:
        ElusiveError: if alpha is not a probability, or beta is negative or not finite.

    Reference:
        Gao et al. 2025, Equation 1.
    """
    if not 0 <= alpha <= 1:
        raise ElusiveError(f"alpha: expected a probability in [0, 1], got {alpha!r}.")
    if not 0 <= beta < math.inf:
        raise ElusiveError(f"beta: expected 0 or more, got {beta!r}.")
    return alpha * -np.expm1(-beta * np.asarray(rank, dtype=np.float64))


def by_rank(ranks: np.ndarray, tokens: Tokens, settings: AugmentSettings) -> np.ndarray:
    """Equation 1; with augment.rank_scale = relative of r * REFERENCE_LENGTH / n, where n tokens are ranked."""
    if settings.rank_scale == "relative":
        ranks = ranks * (REFERENCE_LENGTH / max(1, np.count_nonzero(ranks)))
    return drop_probability(ranks, settings.alpha, settings.beta)


def none_dropped(ranks: np.ndarray, tokens: Tokens, settings: AugmentSettings) -> np.ndarray:
    """0 for every token."""
    return np.zeros(len(tokens.rankable))


def at_alpha(ranks: np.ndarray, tokens: Tokens, settings: AugmentSettings) -> np.ndarray:
    """Alpha for every token that may be dropped, whether a query sees it or not, as in the paper's random arm."""
    return np.where(tokens.rankable, settings.alpha, 0.0)


def at_mean_of_ranks(ranks: np.ndarray, tokens: Tokens, settings: AugmentSettings) -> np.ndarray:
    """The mean of Equation 1 over a document's seen tokens: an arm differs from a guided one only in what it drops."""
    any_order = _ranks(np.zeros(len(tokens.rankable)), tokens, settings)
    guided = by_rank(any_order, tokens, settings)
    ranked = tokens.rankable & tokens.seen
    return np.where(ranked, guided[ranked].mean() if ranked.any() else 0.0, guided)


def _nothing(trained: str, queries: Queries) -> tuple[ScoreSet, ...]:
    return ()


@dataclass(frozen=True)
class Arm:
    """One way to make training texts: the originals, and copies in which some tokens are dropped.

    Attributes:
        name: as recipes and folders name it.
        words: as the paper's tables name it.
        kept: which tokens its copies keep, in words, after "tokens were dropped at random" on a data set's card.
        colour: in plots and on the page, "#rrggbb"; no two arms share one.
        on_dark: its colour on a dark page (empty: the same).
        marker: of its points in plots, as matplotlib names it.
        signal: what it ranks tokens by; None if it ranks none.
        reads: (role of the trained model, score.queries) -> the score sets whose values its signal depends on.
        drop_probability: the rule that gives each token's probability.
        ranked: whether these probabilities follow Equation 1, and with it beta and which tokens a query sees.
        copies: whether it writes copies; otherwise its texts are the originals alone.
        needs_head: whether every document must mark a head entity.
    """

    name: str
    words: str
    colour: str
    kept: str = ""
    on_dark: str = ""
    marker: str = "o"
    signal: Signal | None = None
    reads: Callable[[str, Queries], tuple[ScoreSet, ...]] = _nothing
    drop_probability: DropRule = by_rank
    ranked: bool = True
    copies: bool = True
    needs_head: bool = False

    def needs(self, trained: str, queries: Queries) -> tuple[ScoreSet, ...]:
        """The score sets that its texts are made with: what it reads, and the trained model's, for its tokens.

        Args:
            trained: role of the model to be trained: large, small or another.
            queries: score.queries of the run.
        """
        return tuple(dict.fromkeys((ScoreSet(trained, queries), *self.reads(trained, queries))))

    @property
    def contrasts(self) -> bool:
        """Whether it reads both the large and the small model, whichever is trained."""
        return {"large", "small"} <= {one.model for one in self.reads("other", "cues")}


_TABLE = (
    Arm(
        "plain",
        words="plain",
        colour="#56b4e9",
        marker="s",
        drop_probability=none_dropped,
        ranked=False,
        copies=False,
    ),
    Arm(
        "random",
        words="random",
        colour="#4b4f54",
        on_dark="#c9ccd0",
        marker="D",
        drop_probability=at_alpha,
        ranked=False,
    ),
    Arm(
        "random-matched",
        words="random at the guided rate",
        kept=", as many as a guided arm drops",
        colour="#e69f00",
        marker="v",
        drop_probability=at_mean_of_ranks,
    ),
    Arm(
        "attention",
        words="attention",
        kept=" unless the model itself attends to them",
        colour="#009e73",
        on_dark="#1fb58a",
        marker="^",
        signal=attention,
        reads=lambda trained, queries: (ScoreSet(trained, queries),),
    ),
    Arm(
        "distance",
        words="distance",
        kept=" unless they stand near the head entity",
        colour="#cc79a7",
        marker="P",
        signal=distance_from_head,
        needs_head=True,
    ),
    Arm(
        "query-distance",
        words="distance from the queries",
        kept=" unless they stand far from where an answer begins",
        colour="#a58b00",
        on_dark="#f0e442",
        marker="h",
        signal=distance_from_queries,
    ),
    Arm(
        "contrast-all",
        words="contrast (all tokens)",
        kept=" unless a large model attends to them more than a small one",
        colour="#0072b2",
        on_dark="#4a90d9",
        marker="X",
        signal=contrast_at("all"),
        reads=lambda trained, queries: pair_sets("all"),
    ),
    Arm(
        "contrast-cues",
        words="contrast (cues)",
        kept=" unless a large model attends to them more than a small one where an answer begins",
        colour="#d55e00",
        on_dark="#e8702a",
        marker="o",
        signal=contrast_at("cues"),
        reads=lambda trained, queries: pair_sets("cues"),
    ),
)


ARMS: dict[str, Arm] = {arm.name: arm for arm in _TABLE}
"""Every arm by name. A new arm is one more entry; nothing else in the package lists them.

Colours are Okabe and Ito's, which stay apart under colour blindness; their yellow is darker on a light page.
"""


def arm_named(name: str, where: str = "arm") -> Arm:
    """The arm of a name.

    Args:
        name: as a recipe or the command line gives it.
        where: the setting that names it, for the message.

    Raises:
        ElusiveError: if there is no such arm.
    """
    if name not in ARMS:
        near = difflib.get_close_matches(name, ARMS, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise ElusiveError(f"{where}: expected one of {', '.join(ARMS)}, got {name!r}.{hint}")
    return ARMS[name]


def arm_ranks(arm: Arm, tokens: Tokens, settings: AugmentSettings) -> Int32[np.ndarray, " tokens"]:
    """The ranks that an arm drops by, int32 (tokens,); all 0 if it ranks nothing.

    Unseen tokens that every arm keeps (augment.unseen_tokens) get rank 0, like those that are never ranked.

    Raises:
        ElusiveError: if the arm ranks by a signal that was not given.
    """
    if arm.signal is None:
        return np.zeros(len(tokens.rankable), dtype=np.int32)
    if tokens.signal is None:
        raise ElusiveError(f"Arm {arm.name} ranks by a signal, which was not given. Score the corpus for it first.")
    return _ranks(tokens.signal, tokens, settings)


def _ranks(signal: np.ndarray, tokens: Tokens, settings: AugmentSettings) -> np.ndarray:
    if tokens.words is None:
        ranks = rank_tokens(signal, tokens.rankable, tokens.seen)
    else:
        ranks = rank_by_words(signal, tokens.rankable, tokens.seen, tokens.words)
    return np.where(tokens.seen, ranks, np.int32(0)) if settings.unseen_tokens == "keep" else ranks


def drop_probabilities(
    arm: Arm, tokens: Tokens, settings: AugmentSettings, ranks: Int32[np.ndarray, " tokens"] | None = None
) -> Float64[np.ndarray, " tokens"]:
    """Each token's drop probability under an arm.

    Tokens that no query sees get the same probability in every guided arm and in random-matched: that of the ranks
    after all others (`last`), or 0 in every arm (`keep`). Where words are dropped as wholes, a word's probability is
    the mean over its tokens. Their ranks follow each other, so that the sum over a document is the same in every guided
    arm and in random-matched, and the same as for single tokens.

    Args:
        arm: an entry of ARMS.
        tokens: the document's.
        settings: alpha, beta, rank_scale, unseen_tokens.
        ranks: from `arm_ranks` (None: computed).

    Returns:
        float64 in [0, 1], (tokens,).

    Raises:
        ElusiveError: as `arm_ranks` and `drop_probability`.
    """
    ranks = arm_ranks(arm, tokens, settings) if ranks is None else ranks
    probability = arm.drop_probability(ranks, tokens, settings)
    if tokens.words is not None:
        probability = mean_in_word(probability, tokens.words)
    return np.where(tokens.seen, probability, 0.0) if settings.unseen_tokens == "keep" else probability


def count_at_ceiling(
    ranks: Int32[np.ndarray, " tokens"], probability: Float64[np.ndarray, " tokens"], alpha: float
) -> tuple[int, int]:
    """How many ranked tokens have a drop probability within 1% of alpha, and how many are ranked at all.

    Where most have, ranks hardly matter: the arm drops nearly all tokens alike, as the random arm does.

    Args:
        ranks: int32, (tokens,); 0 for tokens that are not ranked.
        probability: of Equation 1, (tokens,).
        alpha: its ceiling.
    """
    ranked = ranks > 0
    return int(np.count_nonzero(ranked & (probability >= 0.99 * alpha))) if alpha else 0, int(np.count_nonzero(ranked))
