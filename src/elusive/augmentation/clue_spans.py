"""The clue to each sentence: the contiguous words elsewhere in the text that its queries look at most.

Axes: S sentences that hold a query, T tokens, W words.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from elusive.corpus.english import FUNCTION_WORDS, JOINING_WORDS
from elusive.scoring.positions import trimmed_offsets


@dataclass(frozen=True)
class Clue:
    """Words that a sentence needs to be understood, and that stand outside it.

    Attributes:
        sentence: its first character, in characters of the document's text.
        start: the clue's first character.
        end: the one after its last.
    """

    sentence: int
    start: int
    end: int


@dataclass(frozen=True)
class Words:
    """The words of a text that may be parts of clues, in order.

    Attributes:
        text: the document's text.
        bounds: int, (words, 2); first character of each, and the one after its last.
        tokens: int, (tokens,); the word of each token, -1 for tokens of none.
        barred: bool, (words,); words that are no clues, whatever they say; None: all may be.
    """

    text: str
    bounds: Int[np.ndarray, "words 2"]
    tokens: Int[np.ndarray, " tokens"]
    barred: Bool[np.ndarray, " words"] | None = None

    @classmethod
    def of(
        cls,
        text: str,
        offsets: Int[np.ndarray, "tokens 2"],
        content: Bool[np.ndarray, " tokens"],
        first_tokens: Int[np.ndarray, " tokens"],
    ) -> "Words":
        """Group tokens to words.

        Args:
            text: the document's text.
            offsets: characters of each token, (tokens, 2).
            content: bool, (tokens,); others, such as white space and points, belong to no word.
            first_tokens: from `first_tokens_of_words`.
        """
        trimmed_T2 = trimmed_offsets(text, offsets)
        names, tokens_T = np.unique(np.where(content, first_tokens, -1), return_inverse=True)
        tokens_T = tokens_T - int(len(names) > 0 and names[0] == -1)
        inside_T = tokens_T >= 0
        bounds_W2 = np.tile([len(text), 0], (tokens_T.max(initial=-1) + 1, 1))
        np.minimum.at(bounds_W2[:, 0], tokens_T[inside_T], trimmed_T2[inside_T, 0])
        np.maximum.at(bounds_W2[:, 1], tokens_T[inside_T], trimmed_T2[inside_T, 1])
        return cls(text, bounds_W2, tokens_T)

    def __len__(self) -> int:
        return len(self.bounds)

    def __getitem__(self, word: int) -> str:
        start, end = self.bounds[word].tolist()
        return self.text[start:end]

    def weights(self, evidence_T: Float[np.ndarray, " tokens"]) -> Float64[np.ndarray, " words"]:
        """The sum over each word's tokens."""
        inside_T = self.tokens >= 0
        sums_W = np.bincount(self.tokens[inside_T], evidence_T[inside_T], minlength=len(self))
        return sums_W.astype(np.float64)  # of no words, whole numbers

    def naming(self) -> Bool[np.ndarray, " words"]:
        """Which words may name a clue: not barred, no function words, and not without a letter or digit."""
        naming_W = np.array(
            [self[n].lower() not in FUNCTION_WORDS and any(map(str.isalnum, self[n])) for n in range(len(self))], bool
        )
        return naming_W if self.barred is None else naming_W & ~self.barred

    def overlapping(self, places_S2: Int[np.ndarray, "spans 2"]) -> Bool[np.ndarray, " words"]:
        """Which words share a character with any of some spans."""
        starts_W, ends_W = self.bounds.T
        return ((starts_W < places_S2[:, 1:]) & (ends_W > places_S2[:, :1])).any(axis=0)

    def groups(self, chosen: list[int]) -> Iterator[list[int]]:
        """Chosen words that stand side by side, or with one joining word between them ("University of Naples")."""
        group: list[int] = []
        for word in sorted(chosen):
            if group and not self._joined(group[-1], word):
                yield group
                group = []
            group.append(word)
        if group:
            yield group

    def _joined(self, one: int, other: int) -> bool:
        between = self.text[self.bounds[one, 1] : self.bounds[other, 0]].split()
        return not between or (len(between) == 1 and between[0].lower() in JOINING_WORDS)


def evidence(signal_ST: Float[np.ndarray, "sentences tokens"]) -> Float64[np.ndarray, "sentences tokens"]:
    """What of a sentence's signal speaks for each token: its positive part, scaled to sum 1 where there is any.

    Args:
        signal_ST: larger for better clues, and above 0 for clues alone; -inf or nan where it is not defined.

    Example:
        >>> evidence(np.array([[0.2, -0.3, 0.6], [-1.0, -np.inf, 0.0]]))
        array([[0.25, 0.  , 0.75],
               [0.  , 0.  , 0.  ]])
    """
    positive_ST = np.maximum(np.where(np.isfinite(signal_ST), signal_ST, 0.0), 0.0).astype(np.float64)
    total_S1 = positive_ST.sum(axis=1, keepdims=True)
    return positive_ST / np.where(total_S1 > 0, total_S1, 1.0)


def shared(evidence_ST: Float[np.ndarray, "sentences tokens"], reach: float) -> Float64[np.ndarray, "sentences tokens"]:
    """Each sentence's evidence and that of the others, which weighs exp(-n / reach) at n sentences with queries away.

    What a text is about is a clue to most of its sentences, and one sentence's queries may miss it.

    Args:
        evidence_ST: of each sentence alone.
        reach: 0: no other sentence counts; inf: all count alike.

    Example:
        >>> shared(np.array([[1.0, 0.0], [0.0, 1.0]]), np.inf)
        array([[1., 1.],
               [1., 1.]])
    """
    places = np.arange(len(evidence_ST))
    away_SS = np.abs(places[:, None] - places)
    weights_SS = np.exp(-away_SS / reach) if reach > 0 else (away_SS == 0).astype(np.float64)
    return weights_SS @ evidence_ST


def best_group(
    words: Words, weights_W: Float[np.ndarray, " words"], allowed_W: Bool[np.ndarray, " words"], count: int
) -> tuple[list[int], float]:
    """Of the best words, those side by side that weigh most together; and how far they are ahead of the next.

    Args:
        words: the text's.
        weights_W: of each word.
        allowed_W: which words may be chosen.
        count: how many of the best are looked at.

    Returns:
        The words (none where none has a weight), and 1 - the weight of the next group / theirs.

    Example:
        >>> words = Words("Ada Byron wrote code", np.array([[0, 3], [4, 9], [10, 15], [16, 20]]), np.arange(4))
        >>> best_group(words, np.array([0.3, 0.4, 0.0, 0.35]), np.ones(4, bool), count=3)
        ([0, 1], 0.5)
    """
    order = np.lexsort((np.arange(len(words)), -weights_W))
    best = [int(word) for word in order if allowed_W[word] and weights_W[word] > 0][:count]
    # Ties go to the first in the text: sorting is stable.
    weighed = sorted(((float(weights_W[group].sum()), group) for group in words.groups(best)), key=lambda one: -one[0])
    if not weighed:
        return [], 0.0
    (first, group), *others = weighed
    return group, 1 - others[0][0] / first if others else 1.0


def clue_spans(
    words: Words,
    evidence_ST: Float[np.ndarray, "sentences tokens"],
    sentences_S2: Int[np.ndarray, "sentences 2"],
    *,
    count: int,
    margin: float,
) -> list[Clue]:
    """The clue to each sentence, where one is clear.

    Args:
        words: the text's.
        evidence_ST: what speaks for each token as a clue to each sentence.
        sentences_S2: characters of these sentences.
        count: how many of the best words are looked at; a clue is at most so long.
        margin: how far the best group must be ahead of the next, as a share of its weight.

    Returns:
        At most one for each sentence, in order; none for a sentence that holds the best words itself.
    """
    naming_W = words.naming()
    found = []
    for evidence_T, (start, end) in zip(evidence_ST, sentences_S2.tolist(), strict=True):
        group, ahead = best_group(words, words.weights(evidence_T), naming_W, count)
        if not group or ahead < margin:
            continue
        clue = Clue(start, int(words.bounds[group[0], 0]), int(words.bounds[group[-1], 1]))
        # A sentence whose best clue is its own, or says the same, needs none.
        if not start <= clue.start < end and words.text[clue.start : clue.end] not in words.text[start:end]:
            found.append(clue)
    return found
