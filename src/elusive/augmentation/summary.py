"""What the stage says of one arm's texts; its done-mark holds it."""

from dataclasses import dataclass, field

from .survival import Survival
from .wording import clues_in_words


@dataclass(frozen=True)
class Rewrites:
    """Copies that a language model wrote, and what that took.

    Attributes:
        copies: how many were to be written.
        accepted: how many passed the checks.
        rejected: answers that did not, by the reason.
        facts_kept: mean share of a document's marked spans (without marks: of its clues) that stand in an accepted copy
            word for word; None where none is known.
        requests: answered requests, those answered before a stop included, like the tokens.
        prompt_tokens: tokens read.
        output_tokens: tokens written.
        without_usage: answers whose tokens the server did not count.
        seconds: of writing; of a resumed one, since it resumed.
        cost_in_words: requests and tokens, and their price where one is given.
    """

    copies: int
    accepted: int
    rejected: dict[str, int]
    facts_kept: float | None
    requests: int
    prompt_tokens: int
    output_tokens: int
    without_usage: int
    seconds: float
    cost_in_words: str

    def in_words(self) -> str:
        """All of it.

        Example:
            >>> print(Rewrites(20, 18, {"empty": 3}, 0.96, 21, 900, 800, 0, 3.5, "21 requests").in_words())
            18 of 20 copies rewritten, rejected answers: empty 3, 96.0% of the facts word for word; 21 requests, 3.5 s
        """
        words = f"{self.accepted:,} of {self.copies:,} copies rewritten"
        if self.rejected:
            words += ", rejected answers: " + ", ".join(f"{fault} {count:,}" for fault, count in self.rejected.items())
        if self.facts_kept is not None:
            words += f", {self.facts_kept:.1%} of the facts word for word"
        return f"{words}; {self.cost_in_words}, {self.seconds:,.1f} s"


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
        rewrites: what a language model wrote, where one did.
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
    rewrites: Rewrites | None = None

    def warning(self, arm: str) -> str:
        """What is wrong, in one line: ranks that hardly matter, or copies that hardly differ; empty if nothing is."""
        if self.at_ceiling > MOST_AT_CEILING:
            return (
                f"warning: {self.at_ceiling:.0%} of the tokens that {arm} ranks have a drop probability within 1% of "
                "alpha, so it is nearly random dropout. The documents are long for augment.beta: lower it, set "
                'augment.rank_scale = "relative", or cut them into shorter ones.'
            )
        if self.rewrites and self.rewrites.accepted < MOST_UNCHANGED * self.rewrites.copies:
            return f"warning: most copies of {arm} are missing: {self.rewrites.in_words()}."
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
