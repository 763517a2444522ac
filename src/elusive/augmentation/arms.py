"""The arms: which tokens copies drop, hide or mask, which losses count, which clues are written, in which order.

ARMS is the only place that knows which arms there are.
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int32, Real

from elusive.clues.ranks import rank_tokens
from elusive.config.run import AugmentSettings, Queries
from elusive.errors import ElusiveError
from elusive.scoring.sets import ScoreSet, pair_sets

from .insertion import (
    ClueFinder,
    attention_clues,
    contrast_clues,
    distance_clues,
    head_clues,
    random_clues,
)
from .marks import MarkUse, Use
from .protection import ANSWERS
from .signals import Signal, attention, contrast_at, distance_from_head, distance_from_queries
from .words import mean_in_word, rank_by_words

REFERENCE_LENGTH = 80
"""Ranked tokens of a document to which augment.rank_scale = relative scales all others: about the paper's biographies,
for which its beta was found."""


@dataclass(frozen=True)
class Tokens:
    """What an arm's drop probabilities are made from, for one document.

    Attributes:
        rankable: bool, (tokens,); false for tokens that are never ranked and never dropped, protected ones among them.
        seen: bool, (tokens,); whether a query of the run (score.queries) sees the token.
        signal: float, (tokens,); what the arm ranks by; None for an arm without a signal.
        words: int, (tokens,); the first token of each token's word, where words are dropped as wholes. All tokens of a
            word are then rankable or none, and seen or none.
        protected: how many more tokens would be rankable, if the settings did not protect them.
    """

    rankable: Bool[np.ndarray, " tokens"]
    seen: Bool[np.ndarray, " tokens"]
    signal: Float[np.ndarray, " tokens"] | None = None
    words: Int[np.ndarray, " tokens"] | None = None
    protected: int = 0


DropRule = Callable[[np.ndarray, Tokens, AugmentSettings], np.ndarray]
"""Ranks (int32, all 0 for an arm without a signal), tokens and settings -> float64 in [0, 1], (tokens,)."""


def drop_probability(rank: Real[np.ndarray, "*any"], alpha: float, beta: float) -> Float64[np.ndarray, "*any"]:
    """p(r) = alpha * (1 - exp(-beta * r)); 0 for rank 0.

    Args:
        rank: any shape; 1 is the best clue. Ranks are whole numbers, but a curve may be drawn through others.
        alpha: largest drop probability.
        beta: how fast it is reached.

    Returns:
        float64 in [0, alpha], the shape of `rank`.

    Raises:
        ElusiveError: if alpha is not a probability, or beta is negative or not finite.

    Reference:
        Gao et al. 2025, Equation 1.
    """
    if not 0 <= alpha <= 1:
        raise ElusiveError(f"alpha: expected a probability in [0, 1], got {alpha!r}.")
    if not 0 <= beta < math.inf:
        raise ElusiveError(f"beta: expected 0 or more, got {beta!r}.")
    return alpha * -np.expm1(-beta * np.asarray(rank, dtype=np.float64))


def by_rank(ranks: np.ndarray, tokens: Tokens, settings: AugmentSettings) -> np.ndarray:
    """Equation 1; with augment.rank_scale = relative of r * REFERENCE_LENGTH / n, where n tokens are ranked."""
    if settings.rank_scale == "relative":
        ranks = ranks * (REFERENCE_LENGTH / max(1, np.count_nonzero(ranks)))
    return drop_probability(ranks, settings.alpha, settings.beta)


def none_dropped(ranks: np.ndarray, tokens: Tokens, settings: AugmentSettings) -> np.ndarray:
    """0 for every token."""
    return np.zeros(len(tokens.rankable))


def at_alpha(ranks: np.ndarray, tokens: Tokens, settings: AugmentSettings) -> np.ndarray:
    """Alpha for every token that may be dropped, whether a query sees it or not, as in the paper's random arm."""
    return np.where(tokens.rankable, settings.alpha, 0.0)


def at_mean_of_ranks(ranks: np.ndarray, tokens: Tokens, settings: AugmentSettings) -> np.ndarray:
    """The mean of Equation 1 over a document's seen tokens: an arm differs from a guided one only in what it drops."""
    any_order = _ranks(np.zeros(len(tokens.rankable)), tokens, settings)
    guided = by_rank(any_order, tokens, settings)
    ranked = tokens.rankable & tokens.seen
    return np.where(ranked, guided[ranked].mean() if ranked.any() else 0.0, guided)


def _nothing(trained: str, queries: Queries) -> tuple[ScoreSet, ...]:
    return ()


OTHER = "#7a7f85"
"""Colour of an arm that is not in the table: several of it at once."""

_FOUND = ("clue_words", "clue_reach", "clue_margin")
_CLUE_SETTINGS: dict[ClueFinder | None, tuple[str, ...]] = {
    contrast_clues: ("clue_signal", *_FOUND),
    attention_clues: _FOUND,
    distance_clues: ("clue_words",),
}
"""The settings of [augment] that each way to find clues depends on."""

_OF_MARKS: dict[str, MarkUse] = {
    "mask_token": "mask_inputs",
    "selected_ratio": "select_loss",
    "reference": "select_loss",
}
"""The settings of [train] that only one kind of marks depends on."""


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
            tokens (see `marks.MarkUse`); a loss is weighed by the probability to stay.
        skips_broken: whether the labels next to a deletion are left out of the loss.
        spares: fields whose spans it never drops, as in augment.protected_spans.
        ranked: whether these probabilities follow Equation 1, and with it beta and which tokens a query sees.
        clues: finds what its copies write into sentences; None if they write nothing.
        reorders: whether sentences of its copies change places.
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
    copies: bool = True
    needs_head: bool = False

    def needs(self, trained: str, queries: Queries) -> tuple[ScoreSet, ...]:
        """The score sets that its texts are made with: what it reads, and the trained model's, for its tokens.

        Args:
            trained: role of the model to be trained: large, small or another.
            queries: score.queries of the run.
        """
        return tuple(dict.fromkeys((self.own(trained, queries), *self.reads(trained, queries))))

    def own(self, trained: str, queries: Queries) -> ScoreSet:
        """The trained model's score set, whose tokens are ranked and dropped; by sentences if clues are sought.

        Args:
            trained: as in `needs`.
            queries: as in `needs`.
        """
        return ScoreSet(trained, queries, each=self.clues is not None)

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
        if setting.startswith("insert_"):
            return self.clues is not None
        if setting.startswith("clue_"):
            return setting in _CLUE_SETTINGS.get(self.clues, ())
        return self.drops and (self.ranked or setting not in ("beta", "rank_scale"))

    def trains_with(self, setting: str) -> bool:
        """Whether training on its texts depends on a setting of [train], by name."""
        return setting not in _OF_MARKS or self.marks == _OF_MARKS[setting]

    @property
    def contrasts(self) -> bool:
        """Whether it reads both the large and the small model, whichever is trained."""
        return {"large", "small"} <= {one.model for one in self.reads("other", "cues")}


_TABLE = (
    Arm(
        "plain",
        words="plain",
        colour="#56b4e9",
        marker="s",
        drop_probability=none_dropped,
        ranked=False,
        copies=False,
    ),
    Arm(
        "random",
        words="random",
        made="tokens were dropped at random",
        colour="#4b4f54",
        on_dark="#c9ccd0",
        marker="D",
        drop_probability=at_alpha,
        ranked=False,
    ),
    Arm(
        "random-matched",
        words="random at the guided rate",
        made="tokens were dropped at random, as many as a guided arm drops",
        colour="#e69f00",
        marker="v",
        drop_probability=at_mean_of_ranks,
    ),
    Arm(
        "attention",
        words="attention",
        made="tokens were dropped at random unless the model itself attends to them",
        colour="#009e73",
        on_dark="#1fb58a",
        marker="^",
        signal=attention,
        reads=lambda trained, queries: (ScoreSet(trained, queries),),
    ),
    Arm(
        "distance",
        words="distance",
        made="tokens were dropped at random unless they stand near the head entity",
        colour="#cc79a7",
        marker="P",
        signal=distance_from_head,
        needs_head=True,
    ),
    Arm(
        "query-distance",
        words="distance from the queries",
        made="tokens were dropped at random unless they stand far from where an answer begins",
        colour="#a58b00",
        on_dark="#f0e442",
        marker="h",
        signal=distance_from_queries,
    ),
    Arm(
        "contrast-all",
        words="contrast (all tokens)",
        made="tokens were dropped at random unless a large model attends to them more than a small one",
        colour="#0072b2",
        on_dark="#4a90d9",
        marker="X",
        signal=contrast_at("all"),
        reads=lambda trained, queries: pair_sets("all"),
    ),
    Arm(
        "contrast-cues",
        words="contrast (cues)",
        made=(
            "tokens were dropped at random unless a large model attends to them more than a small one where an answer "
            "begins"
        ),
        colour="#d55e00",
        on_dark="#e8702a",
        marker="o",
        signal=contrast_at("cues"),
        reads=lambda trained, queries: pair_sets("cues"),
    ),
)


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
        return _together(parts)

    def __iter__(self) -> Iterator[str]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)


def _together(parts: Sequence[Arm], **look: str) -> Arm:
    """One arm that does what several do.

    Raises:
        KeyError: unless they are a deleting, an inserting and a reordering one, each at most once, in this order.
    """
    does = [(arm.drops, arm.clues is not None, arm.reorders) for arm in parts]
    if (
        len(parts) < 2
        or any(arm.marks for arm in parts)
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


def _edits(name: str, words: str, made: str, **more: Any) -> Arm:
    """An arm that drops nothing."""
    return Arm(name, words=words, made=made, drop_probability=none_dropped, ranked=False, **more)


_INSERTED = "clues were written into sentences, "
_EDITING = (
    _edits(
        "reorder",
        "sentences in random order",
        "sentences were put into random order",
        colour="#8c564b",
        on_dark="#b98579",
        marker="<",
        reorders=True,
    ),
    _edits(
        "insert-random",
        "insertion of random words",
        f"{_INSERTED}two random words of the text each",
        colour="#77773a",
        on_dark="#b5b56e",
        marker="d",
        clues=random_clues,
    ),
    _edits(
        "insert-distance",
        "insertion of the farthest words",
        f"{_INSERTED}the words farthest before them",
        colour="#882255",
        on_dark="#c76d9c",
        marker="p",
        clues=distance_clues,
    ),
    _edits(
        "insert-attention",
        "insertion by attention",
        f"{_INSERTED}what the model itself attends to from them",
        colour="#117733",
        on_dark="#46ad69",
        marker=">",
        reads=lambda trained, queries: (ScoreSet(trained, queries, each=True),),
        clues=attention_clues,
    ),
    _edits(
        "insert-contrast",
        "insertion by contrast",
        f"{_INSERTED}what a large model attends to from them more than a small one",
        colour="#7b3294",
        on_dark="#b586c9",
        marker="*",
        reads=lambda trained, queries: pair_sets(queries, each=True),
        clues=contrast_clues,
    ),
    _edits(
        "insert-head",
        "insertion of the marked head entity",
        f"{_INSERTED}the marked subject of the text",
        colour="#c2185b",
        on_dark="#e56a9a",
        marker="H",
        clues=head_clues,
        needs_head=True,
    ),
)


def _cues(trained: str, queries: Queries) -> tuple[ScoreSet, ...]:
    return pair_sets("cues")


_UNLESS = "unless a large model attends to them more than a small one where an answer begins"
_IN_TRAINING = (
    Arm(
        "key-dropout-random",
        words="keys hidden at random",
        made="tokens were hidden from later ones at random, as many as a guided arm drops",
        colour="#a6761d",
        on_dark="#d9a441",
        marker="v",
        drop_probability=at_mean_of_ranks,
        use="hide_keys",
    ),
    Arm(
        "key-dropout-contrast",
        words="keys hidden by contrast",
        made=f"tokens were hidden from later ones at random {_UNLESS}",
        colour="#1b7837",
        on_dark="#5aae61",
        marker="o",
        signal=contrast_at("cues"),
        reads=_cues,
        use="hide_keys",
    ),
    Arm(
        "masked-random",
        words="inputs masked at random",
        made="tokens were masked at the input at random, as many as a guided arm drops",
        colour="#806d9e",
        on_dark="#a593c2",
        marker="v",
        drop_probability=at_mean_of_ranks,
        use="mask_inputs",
    ),
    Arm(
        "masked-contrast",
        words="inputs masked by contrast",
        made=f"tokens were masked at the input at random {_UNLESS}",
        colour="#5e3c99",
        on_dark="#9d7fd1",
        marker="o",
        signal=contrast_at("cues"),
        reads=_cues,
        use="mask_inputs",
    ),
    Arm(
        "weighted-contrast",
        words="loss weighted by contrast",
        made="the loss of a token weighs more if a large model attends to it more than a small one",
        colour="#b2182b",
        on_dark="#e2505f",
        marker="P",
        signal=contrast_at("cues"),
        reads=_cues,
        use="weigh_loss",
        copies=False,
    ),
    Arm(
        "weighted-answers",
        words="loss weighted by answers",
        made="the loss of marked answers weighs more",
        colour="#9c5518",
        on_dark="#c97b3b",
        marker="D",
        drop_probability=at_alpha,
        ranked=False,
        use="weigh_loss",
        spares=(ANSWERS,),
        copies=False,
    ),
    Arm(
        "random-unbroken",
        words="random at the guided rate, no labels after gaps",
        made="tokens were dropped at random, as many as a guided arm drops, and no label follows a gap",
        colour="#c9a227",
        on_dark="#ffd24d",
        marker="v",
        drop_probability=at_mean_of_ranks,
        skips_broken=True,
    ),
    Arm(
        "contrast-cues-unbroken",
        words="contrast (cues), no labels after gaps",
        made=f"tokens were dropped at random {_UNLESS}, and no label follows a gap",
        colour="#e0651f",
        on_dark="#ff9a57",
        marker="o",
        signal=contrast_at("cues"),
        reads=_cues,
        skips_broken=True,
    ),
    Arm(
        "selective",
        words="loss of the labels with the largest excess",
        made="the labels are trained on whose loss exceeds that of a reference model most",
        colour="#3f6f8f",
        on_dark="#7fb0d0",
        marker="X",
        drop_probability=none_dropped,
        ranked=False,
        use="select_loss",
        copies=False,
    ),
)

_SINGLE = {arm.name: arm for arm in (*_TABLE, *_EDITING, *_IN_TRAINING)}

ARMS: Arms = Arms(
    (
        *_SINGLE.values(),
        _together((_SINGLE["insert-contrast"], _SINGLE["reorder"]), colour="#332288", on_dark="#9187dc", marker="8"),
        _together((_SINGLE["insert-head"], _SINGLE["reorder"]), colour="#0f7f8c", on_dark="#4fb6c2", marker="X"),
    )
)
"""Every arm by name. A new arm is one more entry; nothing else in the package lists them.

Colours are Okabe and Ito's, and Tol's for arms that insert; the former's yellow is darker on a light page.
"""


def arm_named(name: str, where: str = "arm") -> Arm:
    """The arm of a name.

    Args:
        name: as a recipe or the command line gives it.
        where: the setting that names it, for the message.

    Raises:
        ElusiveError: if there is no such arm.
    """
    if name not in ARMS:
        near = difflib.get_close_matches(name, ARMS, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        together = (
            " Joined with +, expected at most one that drops, one that inserts, and reorder, in this order; none that "
            "acts in training (key-dropout-..., masked-..., weighted-..., ...-unbroken, selective)."
            if "+" in name
            else ""
        )
        raise ElusiveError(f"{where}: expected one of {', '.join(ARMS)}, got {name!r}.{together}{hint}")
    return ARMS[name]


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
    return _ranks(tokens.signal, tokens, settings)


def _ranks(signal: np.ndarray, tokens: Tokens, settings: AugmentSettings) -> np.ndarray:
    if tokens.words is None:
        ranks = rank_tokens(signal, tokens.rankable, tokens.seen)
    else:
        ranks = rank_by_words(signal, tokens.rankable, tokens.seen, tokens.words)
    return np.where(tokens.seen, ranks, np.int32(0)) if settings.unseen_tokens == "keep" else ranks


def drop_probabilities(
    arm: Arm, tokens: Tokens, settings: AugmentSettings, ranks: Int32[np.ndarray, " tokens"] | None = None
) -> Float64[np.ndarray, " tokens"]:
    """Each token's drop probability under an arm.

    Tokens that no query sees get the same probability in every guided arm and in random-matched: that of the ranks
    after all others (`last`), or 0 in every arm (`keep`). Where words are dropped as wholes, a word's probability is
    the mean over its tokens. Their ranks follow each other, so that the sum over a document is the same in every guided
    arm and in random-matched, and the same as for single tokens.

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
    if tokens.words is not None:
        probability = mean_in_word(probability, tokens.words)
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
