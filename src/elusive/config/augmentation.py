"""Settings of augmentation: what copies lose, and what is written into them."""

import dataclasses
import math
from typing import Literal

from .checks import check
from .patterns import compiled_pattern

Unit = Literal["token", "word", "phrase"]


UnseenTokens = Literal["last", "keep"]


ContrastSignal = Literal["difference", "ratio"]


CueFusion = Literal["mean", "rrf", "zscore", "max", "best-rank"]


INSERT_FORMS = ("prefix", "parenthesis", "pronoun")
"""Names of the forms in which a clue is written (augmentation.forms writes them)."""


RankScale = Literal["absolute", "relative"]


@dataclasses.dataclass(frozen=True)
class AugmentSettings:
    """How copies are made: token dropout guided by ranks, p(r) = alpha * (1 - exp(-beta * r)) (Equation 1); and clues
    written into sentences."""

    alpha: float = 0.6
    """Largest drop probability."""
    beta: float = 0.05
    """How fast the drop probability grows with the rank."""
    rank_scale: RankScale = "absolute"
    """Ranks in Equation 1: as they are (the paper's), or times 80 / ranked tokens of the document, for long texts."""
    copies: int = 10
    """Augmented copies of each document, in addition to the original."""
    seed: int = 0
    """A copy's draws derive from (seed, document id, copy number) alone."""
    unseen_tokens: UnseenTokens = "keep"
    """Tokens that no query can see, the same in every guided arm and in random-matched: ranked last, or kept."""
    unit: Unit = "token"
    """What is dropped or kept as a whole, in every arm: single tokens, words, or phrases (runs of words in a sentence);
    a word or phrase stands in the ranking where its best token does, and so do tokens that share a character."""
    protected_spans: tuple[str, ...] = ()
    """Fields whose spans no arm drops; `heads` are all of score.head_fields, `answers` all others."""
    protected_patterns: tuple[str, ...] = ("code", "tables")
    """What no arm drops: `code` and `tables` of Markdown, `numbers`, `negations` (English), or regular expressions; any
    token that a match touches."""
    pattern_seconds: float = 10.0
    """Most seconds that one protected pattern may take on one document."""
    contrast_signal: ContrastSignal = "difference"
    """What arms that drop by contrast rank by: the difference of the two models' attention (the paper's), or its
    ratio."""
    cue_fusion: CueFusion = "mean"
    """How they make one ranking of all queries: from the mean attention (the paper's); or from the contrast of each
    sentence's queries: by reciprocal ranks, z-scores, the largest z-score or the best rank."""
    clue_signal: ContrastSignal = "ratio"
    """What insert-contrast looks for clues by: the ratio of the two models' attention, or their difference."""
    clue_words: int = 5
    """A clue is made of the best words, at most so many; those of them that stand side by side."""
    clue_reach: float = 3.0
    """How far sentences share what they know of clues: that of a sentence weighs exp(-n / clue_reach) in the n-th one
    before and after it, of those with queries (0: each has its own alone; inf: all count alike)."""
    clue_margin: float = 0.5
    """A clue is written only where it is clear: all others weigh less than 1 - clue_margin of it."""
    clue_answers: bool = False
    """Whether marked answers may be clues to other sentences: most wrong clues are such answers."""
    insert_share: float = 0.8
    """Share of the sentences with a clue that get it, drawn anew in each copy."""
    insert_forms: tuple[str, ...] = ("prefix", "parenthesis", "pronoun")
    """How it is written, drawn anew each time: before the sentence, behind it, in place of the English pronoun that the
    sentence begins with (else before it), or by a template, e.g. "{sentence} This is about {clue}."."""
    low_entropy_share: float = 0.5
    """Share of each document's ranked tokens, those of the lowest entropy, that the arm entrodrop masks at alpha."""
    across_tokenizers: bool = False
    """Contrast models whose tokens differ: scores are spread over characters and gathered on the trained one's."""
    blank: bool = False
    """Overwrite dropped characters with spaces (the released code) instead of deleting tokens."""

    def __post_init__(self) -> None:
        check(0 <= self.alpha <= 1, "augment.alpha", "a probability in [0, 1]", self.alpha)
        check(self.beta >= 0 and math.isfinite(self.beta), "augment.beta", "0 or more", self.beta)
        check(self.copies >= 0, "augment.copies", "0 or more", self.copies)
        check(self.clue_words > 0, "augment.clue_words", "at least 1", self.clue_words)
        check(self.clue_reach >= 0, "augment.clue_reach", "0 or more", self.clue_reach)
        check(0 <= self.clue_margin <= 1, "augment.clue_margin", "a share in [0, 1]", self.clue_margin)
        lowest = self.low_entropy_share
        check(0 <= lowest <= 1, "augment.low_entropy_share", "a share in [0, 1]", lowest)
        check(0 <= self.insert_share <= 1, "augment.insert_share", "a share in [0, 1]", self.insert_share)
        check(len(self.insert_forms) > 0, "augment.insert_forms", "at least one form", self.insert_forms)
        for form in self.insert_forms:
            known = form in INSERT_FORMS or ("{clue}" in form and "{sentence}" in form)
            words = f"one of {', '.join(INSERT_FORMS)}, or a template with {{clue}} and {{sentence}}"
            check(known, "augment.insert_forms", words, form)
        check(0 < self.pattern_seconds < math.inf, "augment.pattern_seconds", "above 0", self.pattern_seconds)
        for pattern in self.protected_patterns:
            compiled_pattern(pattern, "augment.protected_patterns")
