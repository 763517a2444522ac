"""Drop probabilities: Equation 1 and the other rules, from ranks and tokens.

Axes: tokens of one document.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real

from elusive.clues.ranks import rank_tokens
from elusive.config.augmentation import AugmentSettings
from elusive.errors import ElusiveError

from .units import rank_by_units

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
        units: int, (tokens,); the first token of each token's character, word or phrase, where one that is dropped as a
            whole has several. All tokens of one are then rankable or none, and seen or none.
        protected: how many more tokens would be rankable, if the settings did not protect them.
    """

    rankable: Bool[np.ndarray, " tokens"]
    seen: Bool[np.ndarray, " tokens"]
    signal: Float[np.ndarray, " tokens"] | None = None
    units: Int[np.ndarray, " tokens"] | None = None
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


def at_lowest(ranks: np.ndarray, tokens: Tokens, settings: AugmentSettings) -> np.ndarray:
    """Alpha for the last of the seen tokens in the ranking, a share low_entropy_share, and for what ranks behind."""
    seen = np.count_nonzero((ranks > 0) & tokens.seen)
    kept = math.ceil(round((1 - settings.low_entropy_share) * seen, 6))
    return np.where(ranks > kept, settings.alpha, 0.0)


def at_mean_of_ranks(ranks: np.ndarray, tokens: Tokens, settings: AugmentSettings) -> np.ndarray:
    """The mean of Equation 1 over a document's seen tokens: an arm differs from a guided one only in what it drops."""
    any_order = ranks_by(np.zeros(len(tokens.rankable)), tokens, settings)
    guided = by_rank(any_order, tokens, settings)
    ranked = tokens.rankable & tokens.seen
    return np.where(ranked, guided[ranked].mean() if ranked.any() else 0.0, guided)


def ranks_by(signal: np.ndarray, tokens: Tokens, settings: AugmentSettings) -> np.ndarray:
    if tokens.units is None:
        ranks = rank_tokens(signal, tokens.rankable, tokens.seen)
    else:
        ranks = rank_by_units(signal, tokens.rankable, tokens.seen, tokens.units)
    return np.where(tokens.seen, ranks, np.int32(0)) if settings.unseen_tokens == "keep" else ranks
