"""The arms: what each token's chance to be dropped is, and the draws."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from elusive.clues.ranks import rank_tokens
from elusive.config.run import AugmentSettings
from elusive.errors import ElusiveError


@dataclass(frozen=True)
class Signals:
    """All that an arm may look at in one document; a signal that was not computed is None.

    Attributes:
        rankable: bool, (tokens,); false for tokens that are never ranked and never dropped.
        seen: bool, (tokens,); whether a query of the run (score.queries) sees the token.
        attention: float32, (tokens,); scores of the model to be trained.
        distance: float64, (tokens,); mean distance to the queries.
        contrast_cues: float32, (tokens,); large minus small at the cues.
        contrast_all: float32, (tokens,); large minus small over all queries.
    """

    rankable: np.ndarray
    seen: np.ndarray
    attention: np.ndarray | None = None
    distance: np.ndarray | None = None
    contrast_cues: np.ndarray | None = None
    contrast_all: np.ndarray | None = None


def drop_probability(rank: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """p(r) = alpha * (1 - exp(-beta * r)); 0 for rank 0.

    Args:
        rank: int, any shape; 1 is the best clue.
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


def _plain(signals: Signals, settings: AugmentSettings) -> np.ndarray:
    return np.zeros(len(signals.rankable))


def _random(signals: Signals, settings: AugmentSettings) -> np.ndarray:
    """The paper's random arm: alpha for every token."""
    return np.where(signals.rankable, settings.alpha, 0.0)


def _random_matched(signals: Signals, settings: AugmentSettings) -> np.ndarray:
    """Each document at the rate of the guided arms: they differ from it only in which seen tokens they drop."""
    guided = _by_rank(np.zeros(len(signals.rankable)), signals, settings)
    ranked = signals.rankable & signals.seen
    return np.where(ranked, guided[ranked].mean() if ranked.any() else 0.0, guided)


def _by_rank(signal: np.ndarray, signals: Signals, settings: AugmentSettings) -> np.ndarray:
    return drop_probability(rank_tokens(signal, signals.rankable, signals.seen), settings.alpha, settings.beta)


def _guided(arm: str) -> Callable[[Signals, AugmentSettings], np.ndarray]:
    return lambda signals, settings: drop_probability(arm_ranks(arm, signals, settings), settings.alpha, settings.beta)


SIGNAL = {
    "attention": "attention",
    "distance": "distance",
    "contrast-cues": "contrast_cues",
    "contrast-all": "contrast_all",
}
"""The signal that each rank-guided arm ranks by."""


ARMS: dict[str, Callable[[Signals, AugmentSettings], np.ndarray]] = {
    "plain": _plain,
    "random": _random,
    "random-matched": _random_matched,
    **{arm: _guided(arm) for arm in SIGNAL},
}
"""Each arm's drop probabilities, float64 (tokens,), before the setting for unseen tokens."""


def signal_of(arm: str, signals: Signals) -> np.ndarray:
    """The signal that a rank-guided arm ranks by, (tokens,).

    Raises:
        ElusiveError: if it was not computed.
    """
    signal = getattr(signals, SIGNAL[arm])
    if signal is None:
        raise ElusiveError(f"Arm {arm} ranks by {SIGNAL[arm]}, which was not given. Score the corpus for it first.")
    return signal


def arm_ranks(arm: str, signals: Signals, settings: AugmentSettings) -> np.ndarray:
    """The ranks that a rank-guided arm drops by, int32 (tokens,).

    Unseen tokens that are kept whatever the arm are as good as excluded: they get rank 0, as those never ranked.
    """
    ranks = rank_tokens(signal_of(arm, signals), signals.rankable, signals.seen)
    return np.where(signals.seen, ranks, np.int32(0)) if settings.unseen_tokens == "keep" else ranks


def drop_probabilities(arm: str, signals: Signals, settings: AugmentSettings) -> np.ndarray:
    """Each token's chance to be dropped under an arm.

    Tokens that no query sees get the same chance in every guided arm and in random-matched: that of the ranks after
    all others (`last`), or 0 in every arm (`keep`).

    Args:
        arm: a key of ARMS.
        signals: the document.
        settings: alpha, beta, unseen_tokens.

    Returns:
        float64 in [0, 1], (tokens,).
    """
    probability = ARMS[arm](signals, settings)
    return np.where(signals.seen, probability, 0.0) if settings.unseen_tokens == "keep" else probability
