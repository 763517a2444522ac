"""Words of a text as groups of its tokens."""

import bisect

import numpy as np
import regex
from jaxtyping import Bool, Int, Int64

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
