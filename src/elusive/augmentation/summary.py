"""What the stage says of one arm's texts; its done-mark holds it."""

from dataclasses import dataclass, field

from .survival import Survival


@dataclass(frozen=True)
class AugmentedCorpus:
    """How much one arm's training texts are.

    Attributes:
        documents: documents that were augmented.
        texts: originals and copies.
        mean_drop_rate: dropped tokens over rankable tokens of all copies, protected ones included.
        at_ceiling: share of the ranked tokens whose drop probability is within 1% of alpha; 0 without ranked tokens.
        survival: by field, the share of copies in which a span is intact, alone and together with its head entity.
    """

    documents: int
    texts: int
    mean_drop_rate: float
    at_ceiling: float = 0.0
    survival: dict[str, Survival] = field(default_factory=dict)

    def warning(self, arm: str) -> str:
        """What is wrong with ranks that hardly matter, in one line; empty where at most half are at the ceiling."""
        if self.at_ceiling <= MOST_AT_CEILING:
            return ""
        return (
            f"warning: {self.at_ceiling:.0%} of the tokens that {arm} ranks have a drop probability within 1% of "
            "alpha, so it is nearly random dropout. The documents are long for augment.beta: lower it, set "
            'augment.rank_scale = "relative", or cut them into shorter ones.'
        )


MOST_AT_CEILING = 0.5
"""Share of ranked tokens at the ceiling above which ranks hardly matter."""
