"""What is dropped or kept as a whole: tokens of whole characters, words or phrases, as groups of a text's tokens."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int32, Int64

from elusive.config.augmentation import Unit

from .characters import first_tokens_of_characters, joined_at_characters
from .phrases import first_tokens_of_phrases
from .words import first_tokens_of_words


def first_tokens_of_units(
    unit: Unit, text: str, offsets_T2: Int[np.ndarray, "tokens 2"], special_T: Bool[np.ndarray, " tokens"]
) -> Int64[np.ndarray, " tokens"] | None:
    """The place of the first token of each token's unit; None where each token is its own.

    No unit is less than whole characters: tokens that share one, as byte-level tokens do, belong to one unit.

    Args:
        unit: token, word or phrase.
        text: the document's text.
        offsets_T2: characters of each token, (tokens, 2), in the order of the text.
        special_T: whether each token is special, bool (tokens,).
    """
    characters = first_tokens_of_characters(text, offsets_T2, special_T)
    if unit == "token":
        return characters
    firsts = first_tokens_of_words if unit == "word" else first_tokens_of_phrases
    units = firsts(text, offsets_T2, special_T)
    return units if characters is None else joined_at_characters(units, characters)


def any_in_unit(
    chosen_T: Bool[np.ndarray, " tokens"], units_T: Int[np.ndarray, " tokens"]
) -> Bool[np.ndarray, " tokens"]:
    """Whether any token of each token's unit is chosen, bool (tokens,)."""
    return np.isin(units_T, units_T[chosen_T])


def rank_by_units(
    signal: Float[np.ndarray, " tokens"],
    rankable: Bool[np.ndarray, " tokens"],
    seen: Bool[np.ndarray, " tokens"],
    units: Int[np.ndarray, " tokens"],
) -> Int32[np.ndarray, " tokens"]:
    """Rank units by their best token, ties by position; the tokens of a unit take ranks that follow each other.

    So the ranks are 1, 2, ... as in `rank_tokens`, whatever the order of the units: arms drop at one rate.

    Args:
        signal: float, (tokens,); -inf where it is not defined.
        rankable: bool, (tokens,), the same for all tokens of a unit; others get rank 0.
        seen: bool, (tokens,), the same for all tokens of a unit; unseen units rank after the rest, by position.
        units: from `first_tokens_of_units`.

    Returns:
        int32 ranks from 1, (tokens,).

    Example:
        >>> true = np.array([True] * 4)
        >>> rank_by_units(np.array([0.3, 0.1, 0.2, 0.9]), true, true, np.array([0, 1, 2, 2]))
        array([3, 4, 2, 1], dtype=int32)
    """
    own = np.where(seen, np.asarray(signal, dtype=np.float64), 0.0)
    best = np.full(len(own), -np.inf)
    np.maximum.at(best, units, own)
    # The last key counts first.
    order = np.lexsort((-own, units, -best[units], ~seen, ~rankable))
    ranks = np.empty(len(own), dtype=np.int32)
    ranks[order] = np.arange(1, 1 + len(own))
    return np.where(rankable, ranks, np.int32(0))


def mean_in_unit(
    values: Float64[np.ndarray, " tokens"], units: Int[np.ndarray, " tokens"]
) -> Float64[np.ndarray, " tokens"]:
    """The mean of each token's unit, float64 (tokens,)."""
    total, count = (np.bincount(units, weights, minlength=len(units)) for weights in (values, np.ones(len(units))))
    return total[units] / count[units]
