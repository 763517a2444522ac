"""Words of a text as groups of its tokens, for dropout that drops or keeps a word as a whole."""

import bisect

import numpy as np
import regex
from jaxtyping import Bool, Float, Float64, Int, Int32, Int64

# Unicode's word borders (UAX #29) keep "don't", "3.14" and "U.S" together and take Chinese characters one by one. A
# hyphen between letters or digits is no border here: without "self-", "self-evident" would leave half a word.
_BORDER = regex.compile(r"\b(?!(?<=\w)[-\u2010\u2011]\w)(?<!\w[-\u2010\u2011](?=\w))", regex.WORD)


def first_tokens_of_words(
    text: str, offsets_T2: Int[np.ndarray, "tokens 2"], special_T: Bool[np.ndarray, " tokens"]
) -> Int64[np.ndarray, " tokens"]:
    """The place of the first token of each token's word.

    Words are Unicode's (UAX #29), joined at hyphens; a token that reaches into two words makes one of them. White space
    and special tokens are words of their own.

    Args:
        text: the document's text.
        offsets_T2: characters of each token, (tokens, 2), in the order of the text.
        special_T: whether each token is special, bool (tokens,).

    Returns:
        int64, (tokens,): the same number for all tokens of a word.

    Example:
        >>> first_tokens_of_words("Liam Thompson", np.array([[0, 4], [4, 7], [7, 13]]), np.zeros(3, bool))
        array([0, 1, 1])
    """
    borders = [found.start() for found in _BORDER.finditer(text)]
    starts, latest, place = [], -1, 0
    for token, (start, end) in enumerate(offsets_T2.tolist()):
        part = text[start:end]
        if special_T[token] or not part.strip():
            starts.append(token)
            continue
        start, end = start + len(part) - len(part.lstrip()), start + len(part.rstrip())
        first, last = (bisect.bisect_right(borders, at) for at in (start, end - 1))
        if first > latest:
            place = token
        starts.append(place)
        latest = max(latest, last)
    return np.array(starts, dtype=np.int64)


def any_in_word(
    chosen_T: Bool[np.ndarray, " tokens"], words_T: Int[np.ndarray, " tokens"]
) -> Bool[np.ndarray, " tokens"]:
    """Whether any token of each token's word is chosen, bool (tokens,)."""
    return np.isin(words_T, words_T[chosen_T])


def rank_by_words(
    signal: Float[np.ndarray, " tokens"],
    rankable: Bool[np.ndarray, " tokens"],
    seen: Bool[np.ndarray, " tokens"],
    words: Int[np.ndarray, " tokens"],
) -> Int32[np.ndarray, " tokens"]:
    """Rank words by their best token, ties by position; the tokens of a word take ranks that follow each other.

    So the ranks are 1, 2, ... as in `rank_tokens`, whatever the order of the words: arms drop at one rate.

    Args:
        signal: float, (tokens,); -inf where it is not defined.
        rankable: bool, (tokens,), the same for all tokens of a word; others get rank 0.
        seen: bool, (tokens,), the same for all tokens of a word; unseen words rank after the rest, by position.
        words: from `first_tokens_of_words`.

    Returns:
        int32 ranks from 1, (tokens,).

    Example:
        >>> true = np.array([True] * 4)
        >>> rank_by_words(np.array([0.3, 0.1, 0.2, 0.9]), true, true, np.array([0, 1, 2, 2]))
        array([3, 4, 2, 1], dtype=int32)
    """
    own = np.where(seen, np.asarray(signal, dtype=np.float64), 0.0)
    best = np.full(len(own), -np.inf)
    np.maximum.at(best, words, own)
    # The last key counts first.
    order = np.lexsort((-own, words, -best[words], ~seen, ~rankable))
    ranks = np.empty(len(own), dtype=np.int32)
    ranks[order] = np.arange(1, 1 + len(own))
    return np.where(rankable, ranks, np.int32(0))


def mean_in_word(
    values: Float64[np.ndarray, " tokens"], words: Int[np.ndarray, " tokens"]
) -> Float64[np.ndarray, " tokens"]:
    """The mean of each token's word, float64 (tokens,)."""
    total, count = (np.bincount(words, weights, minlength=len(words)) for weights in (values, np.ones(len(words))))
    return total[words] / count[words]
