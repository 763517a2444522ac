"""Characters of a text as groups of its tokens: what is dropped is never less than a whole one.

A character is what a reader takes for one, Unicode's extended grapheme cluster (UAX #29): a letter with its accents and
vowel signs, a syllable of Hangul, a flag, an emoji of several joined ones. Byte-level tokens may hold a part of it.
"""

import numpy as np
import regex
from jaxtyping import Bool, Int, Int64

_CHARACTER = regex.compile(r"\X")


def first_tokens_of_characters(
    text: str, offsets_T2: Int[np.ndarray, "tokens 2"], special_T: Bool[np.ndarray, " tokens"]
) -> Int64[np.ndarray, " tokens"] | None:
    """The place of the first of all tokens that share characters with each token; None where none share any.

    Special tokens and those of white space alone share none.

    Args:
        text: the document's text.
        offsets_T2: characters (code points) of each token, (tokens, 2), in the order of the text; those of a token that
            holds a part of a character are all of it.
        special_T: whether each token is special, bool (tokens,).

    Returns:
        int64, (tokens,): the same number for all tokens that share a character.

    Example:
        >>> offsets = np.array([[0, 2], [2, 3], [2, 3], [3, 4]])
        >>> first_tokens_of_characters("km²!", offsets, np.zeros(4, bool))
        array([0, 1, 1, 3])
        >>> first_tokens_of_characters("été", np.array([[0, 1], [1, 3]]), np.zeros(2, bool)) is None
        True
    """
    if text.isascii():
        return None
    starts_T, ends_T = _of_whole_characters(text, offsets_T2)
    firsts, place, reached = [], 0, -1
    for token, (start, end) in enumerate(zip(starts_T.tolist(), ends_T.tolist(), strict=True)):
        if special_T[token] or start >= end:
            firsts.append(token)
            continue
        if start >= reached:
            place = token
        firsts.append(place)
        reached = max(reached, end)
    found = np.array(firsts, dtype=np.int64)
    return None if np.array_equal(found, np.arange(len(found))) else found


def _of_whole_characters(text: str, offsets_T2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens' offsets without white space at their rim, widened to whole characters; start >= end for no more."""
    clusters = [found.span() for found in _CHARACTER.finditer(text)]
    lengths = np.array([end - start for start, end in clusters])
    start_of, end_of = (np.repeat(np.array(one), lengths) for one in zip(*clusters, strict=True))
    starts, ends = [], []
    for start, end in offsets_T2.tolist():
        part = text[start:end]
        first, last = start + len(part) - len(part.lstrip()), start + len(part.rstrip())
        starts.append(start_of[first] if first < last else 0)
        ends.append(end_of[last - 1] if first < last else 0)
    return np.array(starts), np.array(ends)


def joined_at_characters(
    units_T: Int[np.ndarray, " tokens"], characters_T: Int[np.ndarray, " tokens"]
) -> Int64[np.ndarray, " tokens"]:
    """Units of which those become one that share a character.

    Args:
        units_T: the first token of each token's unit, (tokens,).
        characters_T: from `first_tokens_of_characters`, (tokens,).

    Example:
        >>> joined_at_characters(np.array([0, 0, 2, 3, 3]), np.array([0, 1, 1, 3, 4]))
        array([0, 0, 0, 3, 3])
    """
    joined = np.array(units_T, dtype=np.int64)
    for token in np.flatnonzero(characters_T < np.arange(len(joined))):
        one, other = sorted((joined[token], joined[characters_T[token]]))
        joined[joined == other] = one
    return joined
