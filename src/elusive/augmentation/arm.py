"""What an arm is: which tokens its copies drop, which clues are written into them, what training does with them."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32

from elusive.config.augmentation import AugmentSettings, CueFusion
from elusive.config.scoring import Queries
from elusive.errors import ElusiveError
from elusive.scoring.sets import ScoreSet

from .insertion import (
    ClueFinder,
    attention_clues,
    contrast_clues,
    contrast_facts,
    distance_clues,
    random_clues,
)
from .marks import MarkUse, Use
from .rewrite_prompts import Style
from .rules import DropRule, Tokens, at_lowest, by_rank, none_dropped, ranks_by
from .signals import ContrastAt, Signal
from .units import mean_in_unit


def _nothing(trained: str, queries: Queries) -> tuple[ScoreSet, ...]:
    return ()


OTHER = "#7a7f85"
"""Colour of an arm that is not in the table: several of it at once."""

_FOUND = ("clue_words", "clue_reach", "clue_margin", "clue_answers")
_CLUE_SETTINGS: dict[ClueFinder | None, tuple[str, ...]] = {
    contrast_clues: ("clue_signal", *_FOUND),
    contrast_facts: ("clue_signal", *_FOUND),
    attention_clues: _FOUND,
    distance_clues: ("clue_words", "clue_answers"),
}
"""The settings of [augment] that each way to find clues depends on."""

_OF_MARKS: dict[str, tuple[MarkUse, ...]] = {
    "mask_token": ("mask_inputs", "mask_rising"),
    "mask_steepness": ("mask_rising",),
    "selected_ratio": ("select_loss",),
    "reference": ("select_loss",),
}
"""The settings of [train] that only some kinds of marks depend on."""


@dataclass(frozen=True)
class Arm:
    """One way to train: the originals, and copies that drop tokens, repeat clues or change the order; marks on both.

    Attributes:
        name: as recipes and folders name it.
        words: as the paper's tables name it.
        made: how its copies were made, in words, after "copies of each in which" on a data set's card.
        colour: in plots and on the page, "#rrggbb"; no two arms share one.
        on_dark: its colour on a dark page (empty: the same).
        marker: of its points in plots, as matplotlib names it.
        signal: what it ranks tokens by; None if it ranks none.
        reads: (role of the trained model, score.queries) -> the score sets whose values its signal depends on.
        drop_probability: the rule that gives each token's probability.
        use: what is done with them: tokens are deleted from the text, or the text stays whole and training acts on its
            tokens (see `marks.MarkUse`); a loss is weighed by the probability to stay, and masking that rises reaches
            the probability at the end of training.
        skips_broken: whether the labels next to a deletion are left out of the loss.
        spares: fields whose spans it never drops, as in augment.protected_spans.
        ranked: whether these probabilities follow Equation 1, and with it beta and which tokens a query sees.
        clues: finds what its copies write into sentences; None if they write nothing.
        reorders: whether sentences of its copies change places.
        rewrites: how a language model writes its copies, told of its clues; None if none does.
        copies: whether it writes copies; otherwise its texts are the originals alone.
        needs_head: whether every document must mark a head entity.
    """

    name: str
    words: str
    colour: str
    made: str = ""
    on_dark: str = ""
    marker: str = "o"
    signal: Signal | None = None
    reads: Callable[[str, Queries], tuple[ScoreSet, ...]] = _nothing
    drop_probability: DropRule = by_rank
    use: Use = "delete"
    skips_broken: bool = False
    spares: tuple[str, ...] = ()
    ranked: bool = True
    clues: ClueFinder | None = None
    reorders: bool = False
    rewrites: Style | None = None
    copies: bool = True
    needs_head: bool = False

    def needs(self, trained: str, queries: Queries, fusion: CueFusion = "mean") -> tuple[ScoreSet, ...]:
        """The score sets that its texts are made with: what it reads, and the trained model's, for its tokens.

        Args:
            trained: role of the model to be trained: large, small or another.
            queries: score.queries of the run.
            fusion: augment.cue_fusion of the run.
        """
        read = self.reads(trained, queries)
        if self.fuses(fusion):
            read = tuple(dataclasses.replace(one, each=True) for one in read)
        return tuple(dict.fromkeys((self.own(trained, queries, fusion), *read)))

    def own(self, trained: str, queries: Queries, fusion: CueFusion = "mean") -> ScoreSet:
        """The trained model's score set, whose tokens are ranked and dropped; by sentences if it reads those.

        Args:
            trained: as in `needs`.
            queries: as in `needs`.
            fusion: as in `needs`.
        """
        return ScoreSet(trained, queries, each=self.by_sentence(fusion))

    def fuses(self, fusion: CueFusion) -> bool:
        """Whether its ranking is made of those of single sentences, with this augment.cue_fusion."""
        return fusion != "mean" and self.drops_by_contrast

    def by_sentence(self, fusion: CueFusion) -> bool:
        """Whether it reads scores sentence by sentence, with this augment.cue_fusion."""
        return self.clues is not None or self.fuses(fusion)

    @property
    def drops_by_contrast(self) -> bool:
        """Whether it ranks tokens by the contrast of two models."""
        return isinstance(self.signal, ContrastAt)

    @property
    def drops(self) -> bool:
        """Whether its tokens have drop probabilities, to whatever use."""
        return self.drop_probability is not none_dropped

    @property
    def deletes(self) -> bool:
        """Whether its copies lack tokens of their document."""
        return self.drops and self.use == "delete"

    @property
    def marks(self) -> MarkUse | None:
        """What training does with the marks on its texts; None if it marks nothing."""
        if self.use == "delete":
            return "weigh_loss" if self.skips_broken else None
        return self.use

    @property
    def alters(self) -> bool:
        """Whether it trains on more than the originals as they are."""
        return self.copies or self.marks is not None

    def uses(self, setting: str) -> bool:
        """Whether its texts depend on a setting of [augment], by name."""
        if setting in ("copies", "seed"):
            return self.copies
        if setting == "blank":
            return self.deletes
        if setting == "across_tokenizers":
            return self.contrasts
        if setting in ("contrast_signal", "cue_fusion"):
            return self.drops_by_contrast
        if setting == "low_entropy_share":
            return self.drop_probability is at_lowest
        if setting.startswith("insert_"):
            return self.clues is not None and not self.rewrites
        if setting.startswith("clue_"):
            return setting in _CLUE_SETTINGS.get(self.clues, ())
        return self.drops and (self.ranked or setting not in ("beta", "rank_scale"))

    def trains_with(self, setting: str) -> bool:
        """Whether training on its texts depends on a setting of [train], by name."""
        return setting not in _OF_MARKS or self.marks in _OF_MARKS[setting]

    @property
    def by_chance(self) -> bool:
        """Whether chance alone chooses its tokens or clues: what an arm with a signal has to do better than."""
        drops = self.drops and self.signal is None and not self.spares
        return (drops and self.clues is None) or (not self.drops and self.clues is random_clues)

    @property
    def contrasts(self) -> bool:
        """Whether it reads both the large and the small model, whichever is trained."""
        return {"large", "small"} <= {one.model for one in self.reads("other", "cues")}


class Arms(Mapping[str, Arm]):
    """The arms by name, and by names joined with "+" those that do at once what several do.

    At most one of them deletes tokens and at most one writes clues; in that order, then reorder. None marks tokens.
    Iteration gives the arms of the table alone.

    Attributes:
        table: these, by name.
    """

    def __init__(self, table: Iterable[Arm]) -> None:
        self.table = {arm.name: arm for arm in table}

    def __getitem__(self, name: str) -> Arm:
        if name in self.table:
            return self.table[name]
        parts = [self.table[part] for part in name.split("+")]
        return together(parts)

    def __iter__(self) -> Iterator[str]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)


def together(parts: Sequence[Arm], **look: str) -> Arm:
    """One arm that does what several do.

    Raises:
        KeyError: unless they are a deleting, an inserting and a reordering one, each at most once, in this order.
    """
    does = [(arm.drops, arm.clues is not None, arm.reorders) for arm in parts]
    if (
        len(parts) < 2
        or any(arm.marks or arm.rewrites for arm in parts)
        or sorted(does, reverse=True) != does
        or any(sum(column) > 1 for column in zip(*does, strict=True))
    ):
        raise KeyError("+".join(arm.name for arm in parts))
    dropping = next((arm for arm in parts if arm.drops), parts[0])
    return dataclasses.replace(
        dropping,
        name="+".join(arm.name for arm in parts),
        words=", ".join(arm.words for arm in parts),
        **({"colour": OTHER, "on_dark": OTHER} | look),
        reads=lambda trained, queries: tuple(one for arm in parts for one in arm.reads(trained, queries)),
        clues=next((arm.clues for arm in parts if arm.clues), None),
        reorders=any(arm.reorders for arm in parts),
        copies=True,
        needs_head=any(arm.needs_head for arm in parts),
        made=" and ".join(arm.made for arm in parts),
    )


def arm_ranks(arm: Arm, tokens: Tokens, settings: AugmentSettings) -> Int32[np.ndarray, " tokens"]:
    """The ranks that an arm drops by, int32 (tokens,); all 0 if it ranks nothing.

    Unseen tokens that every arm keeps (augment.unseen_tokens) get rank 0, like those that are never ranked.

    Raises:
        ElusiveError: if the arm ranks by a signal that was not given.
    """
    if arm.signal is None:
        return np.zeros(len(tokens.rankable), dtype=np.int32)
    if tokens.signal is None:
        raise ElusiveError(f"Arm {arm.name} ranks by a signal, which was not given. Score the corpus for it first.")
    return ranks_by(tokens.signal, tokens, settings)


def drop_probabilities(
    arm: Arm, tokens: Tokens, settings: AugmentSettings, ranks: Int32[np.ndarray, " tokens"] | None = None
) -> Float64[np.ndarray, " tokens"]:
    """Each token's drop probability under an arm.

    Tokens that no query sees get the same probability in every guided arm and in random-matched: that of the ranks
    after all others (`last`), or 0 in every arm (`keep`). Where words or phrases are dropped as wholes, the probability
    of one is the mean over its tokens. Their ranks follow each other, so that the sum over a document is the same in
    every guided arm and in random-matched, and the same as for single tokens.

    Args:
        arm: an entry of ARMS.
        tokens: the document's.
        settings: alpha, beta, rank_scale, unseen_tokens.
        ranks: from `arm_ranks` (None: computed).

    Returns:
        float64 in [0, 1], (tokens,).

    Raises:
        ElusiveError: as `arm_ranks` and `drop_probability`.
    """
    ranks = arm_ranks(arm, tokens, settings) if ranks is None else ranks
    probability = arm.drop_probability(ranks, tokens, settings)
    if tokens.units is not None:
        probability = mean_in_unit(probability, tokens.units)
    return np.where(tokens.seen, probability, 0.0) if settings.unseen_tokens == "keep" else probability


def count_at_ceiling(
    ranks: Int32[np.ndarray, " tokens"], probability: Float64[np.ndarray, " tokens"], alpha: float
) -> tuple[int, int]:
    """How many ranked tokens have a drop probability within 1% of alpha, and how many are ranked at all.

    Where most have, ranks hardly matter: the arm drops nearly all tokens alike, as the random arm does.

    Args:
        ranks: int32, (tokens,); 0 for tokens that are not ranked.
        probability: of Equation 1, (tokens,).
        alpha: its ceiling.
    """
    ranked = ranks > 0
    return int(np.count_nonzero(ranked & (probability >= 0.99 * alpha))) if alpha else 0, int(np.count_nonzero(ranked))
