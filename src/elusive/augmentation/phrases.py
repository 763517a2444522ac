"""Phrases of a text as groups of its tokens: runs of words that belong together, by rules that a reader can check."""

import bisect
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int64

from elusive.corpus.english import FUNCTION_WORDS, JOINING_WORDS
from elusive.corpus.sentences import sentences

from .words import first_tokens_of_words

_LONGEST = 6
"""Words of the longest phrase: a bound for languages whose function words are not known."""


class _Word(NamedTuple):
    """A word in small letters, the number of its sentence, and its characters."""

    text: str
    sentence: int
    start: int
    end: int

    @property
    def is_function(self) -> bool:
        return self.text in FUNCTION_WORDS


def first_tokens_of_phrases(
    text: str, offsets_T2: Int[np.ndarray, "tokens 2"], special_T: Bool[np.ndarray, " tokens"]
) -> Int64[np.ndarray, " tokens"]:
    """The place of the first token of each token's phrase.

    A phrase is a run of at most six words of one sentence, on one line, with no punctuation between them. It begins
    anew at an English function word behind a word of another kind ("graduated | from the University of Naples"), but
    for those that stand within names ("of", "the", "and" ...). Punctuation, special tokens and tokens of white space
    are phrases of their own; white space ends none.

    Args:
        text: the document's text.
        offsets_T2: characters of each token, (tokens, 2), in the order of the text.
        special_T: whether each token is special, bool (tokens,).

    Returns:
        int64, (tokens,): the same number for all tokens of a phrase.

    Example:
        >>> offsets = np.array([[0, 2], [2, 8], [8, 11], [11, 18], [18, 19]])
        >>> first_tokens_of_phrases("He lived in Naples.", offsets, np.zeros(5, bool))
        array([0, 0, 2, 2, 4])
    """
    firsts_W, word_T = np.unique(first_tokens_of_words(text, offsets_T2, special_T), return_inverse=True)
    lasts_W = np.searchsorted(word_T, np.arange(len(firsts_W)), side="right") - 1
    sentence_starts = [start for start, _ in sentences(text)]
    phrases, phrase, before, length = [], -1, None, 0
    for first, last in zip(firsts_W.tolist(), lasts_W.tolist(), strict=True):
        word = _word(text, int(offsets_T2[first, 0]), int(offsets_T2[last, 1]), sentence_starts)
        if special_T[first] or not any(map(str.isalnum, word.text)):
            phrases.append(first)
            before = None if special_T[first] or word.text else before
            continue
        goes_on = before is not None and length < _LONGEST and _go_together(before, word, text)
        phrase, length = (phrase, length + 1) if goes_on else (first, 1)
        phrases.append(phrase)
        before = word
    return np.array(phrases, dtype=np.int64)[word_T]


def _word(text: str, start: int, end: int, sentence_starts: list[int]) -> _Word:
    part = text[start:end]
    start, end = end - len(part.lstrip()), start + len(part.rstrip())
    return _Word(part.strip().lower(), bisect.bisect_right(sentence_starts, start), start, end)


def _go_together(before: _Word, word: _Word, text: str) -> bool:
    """Whether a word belongs to the phrase of the one before it."""
    begins = word.is_function and not before.is_function and word.text not in JOINING_WORDS
    return not begins and before.sentence == word.sentence and "\n" not in text[before.end : word.start]
