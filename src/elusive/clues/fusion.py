"""One ranking of a document from the signals of its single cues, each on a scale of its own.

The paper looks from one preposition at a time. A mean over all cues is led by those with the largest differences, and a
token that one cue alone points at is lost in it.

Axes: S rows, one for each sentence that holds a query; T tokens.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64

from elusive.config.augmentation import CueFusion
from elusive.errors import ElusiveError

from .ranks import rank_tokens

RANDOM_ORDERS = 100
"""Random orders behind the chance of a fused ranking."""

_RRF = 60
"""Constant of reciprocal-rank fusion, as its authors chose it: how little the first ranks stand out."""


def fused(
    signal_ST: Float[np.ndarray, "rows tokens"], candidates_ST: Bool[np.ndarray, "rows tokens"], rule: CueFusion
) -> Float64[np.ndarray, " tokens"]:
    """One signal from those of single rows, the largest for the best clue.

    A token seen by many rows has many chances, so what is added up is divided by the number of rows that see it.

    Args:
        signal_ST: each row's signal, larger for better clues.
        candidates_ST: which tokens may be ranked and are seen by a row's queries; no others count in it.
        rule: `rrf`: mean of 1 / (60 + rank); `zscore`: mean of the row's z-scores; `max`: the largest of them;
            `best-rank`: the best rank, ties by `rrf`.

    Returns:
        float64 (tokens,); -inf for tokens that no row has among its candidates.

    Raises:
        ElusiveError: for `mean`, which is taken over queries before models are contrasted.

    Reference:
        Cormack, Clarke, Buettcher 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
        methods".

    Example:
        >>> fused(np.array([[3.0, 1.0, 2.0], [0.0, 9.0, 5.0]]), np.ones((2, 3), bool), "best-rank").argsort()
        array([2, 0, 1])
    """
    if rule == "mean":
        raise ElusiveError("cue_fusion = mean is no fusion of rows: the scores of whole documents hold it.")
    scaled_ST = _z_scores(signal_ST, candidates_ST) if rule in ("zscore", "max") else _ranks(signal_ST, candidates_ST)
    seen_T = candidates_ST.any(axis=0)
    if rule == "max":
        fused_T = np.where(candidates_ST, scaled_ST, -np.inf).max(axis=0, initial=-np.inf)
    else:
        values_ST = scaled_ST if rule == "zscore" else 1 / (_RRF + scaled_ST)
        fused_T = np.where(candidates_ST, values_ST, 0.0).sum(axis=0) / np.maximum(candidates_ST.sum(axis=0), 1)
        if rule == "best-rank":  # what is added is below 1
            fused_T = fused_T - np.where(candidates_ST, scaled_ST, np.inf).min(axis=0, initial=np.inf)
    return np.where(seen_T, fused_T, -np.inf)


def random_orders(
    candidates_ST: Bool[np.ndarray, "rows tokens"], rule: CueFusion, seed: int = 0
) -> Float64[np.ndarray, "orders tokens"]:
    """What `fused` makes of rows in random order: a token that many rows see has another chance than one that few do.

    Args:
        candidates_ST: as in `fused`.
        rule: as in `fused`.
        seed: of the draws.
    """
    draw = np.random.default_rng(seed)
    return np.array([fused(draw.random(candidates_ST.shape), candidates_ST, rule) for _ in range(RANDOM_ORDERS)])


def _ranks(signal_ST: np.ndarray, candidates_ST: np.ndarray) -> np.ndarray:
    """Each row's ranks among its candidates, from 1."""
    everything = np.ones(signal_ST.shape[-1], dtype=bool)
    among_ST = np.where(candidates_ST, signal_ST, -np.inf)
    return rank_tokens(among_ST, everything, everything).astype(np.float64)


def _z_scores(signal_ST: np.ndarray, candidates_ST: np.ndarray) -> np.ndarray:
    """Each row's signal less its mean over candidates, in standard deviations; 0 where all of them are tied."""
    count_S1 = np.maximum(candidates_ST.sum(axis=1, keepdims=True), 1)
    values_ST = np.where(candidates_ST, signal_ST, 0.0).astype(np.float64)
    from_mean_ST = np.where(candidates_ST, values_ST - values_ST.sum(axis=1, keepdims=True) / count_S1, 0.0)
    spread_S1 = np.sqrt((from_mean_ST**2).sum(axis=1, keepdims=True) / count_S1)
    return from_mean_ST / np.where(spread_S1 > 1e-12, spread_S1, np.inf)
