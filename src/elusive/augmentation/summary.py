"""What the stage says of one arm's texts; its done-mark holds it."""

from dataclasses import dataclass, field

from .survival import Survival
from .wording import clues_in_words


@dataclass(frozen=True)
class AugmentedCorpus:
    """How much one arm's training texts are.

    Attributes:
        documents: documents that were augmented.
        texts: originals and copies.
        mean_drop_rate: dropped tokens over rankable tokens of all copies, protected ones included.
        mean_mark_rate: tokens that are hidden as keys, masked at the input or out of the loss, over rankable tokens of
            all marked texts; a loss weight counts with what it takes away. 0 without marks.
        at_ceiling: share of the ranked tokens whose drop probability is within 1% of alpha; 0 without ranked tokens.
        unchanged: share of the copies that are their original, word for word and without marks; 0 without copies.
        clues: clues that were found; copies hold some of them.
        right_clues: share of the clues that are the head entity of their sentence, in documents that mark one; None
            without such a clue.
        survival: by field, the share of copies in which a span is intact, alone and together with its head entity.
    """

    documents: int
    texts: int
    mean_drop_rate: float
    mean_mark_rate: float = 0.0
    at_ceiling: float = 0.0
    unchanged: float = 0.0
    clues: int = 0
    right_clues: float | None = None
    survival: dict[str, Survival] = field(default_factory=dict)

    def warning(self, arm: str) -> str:
        """What is wrong, in one line: ranks that hardly matter, or copies that hardly differ; empty if nothing is."""
        if self.at_ceiling > MOST_AT_CEILING:
            return (
                f"warning: {self.at_ceiling:.0%} of the tokens that {arm} ranks have a drop probability within 1% of "
                "alpha, so it is nearly random dropout. The documents are long for augment.beta: lower it, set "
                'augment.rank_scale = "relative", or cut them into shorter ones.'
            )
        if self.unchanged > MOST_UNCHANGED:
            return (
                f"warning: {self.unchanged:.0%} of the copies of {arm} are their original, word for word. Few "
                "sentences have a clear clue (augment.clue_margin, augment.insert_share), or their order must stay "
                "(steps, other languages than English)."
            )
        return ""

    def rates_in_words(self) -> str:
        """Which share of the tokens is dropped, and marked where any is."""
        marked = f", mean mark rate {self.mean_mark_rate:.3f}" if self.mean_mark_rate else ""
        return f"mean drop rate {self.mean_drop_rate:.3f}{marked}"

    def clues_in_words(self) -> str:
        """How many clues were found, and how many of them are right; empty without any."""
        return clues_in_words(self.clues, self.right_clues) if self.clues else ""


MOST_AT_CEILING = MOST_UNCHANGED = 0.5
"""Share of ranked tokens at the ceiling above which ranks hardly matter; of copies that are like their original."""
