"""The arms: which tokens copies drop, hide or mask, which losses count, which clues are written, in which order.

ARMS is the only place that knows which arms there are.
"""

import difflib
from typing import Any

from elusive.config.scoring import Queries
from elusive.errors import ElusiveError
from elusive.scoring.sets import ScoreSet, entropy_set, pair_sets

from .arm import Arm, Arms, together
from .insertion import (
    attention_clues,
    contrast_clues,
    contrast_facts,
    distance_clues,
    head_clues,
    random_clues,
)
from .protection import ANSWERS
from .rewrite_prompts import Style
from .rules import at_alpha, at_lowest, at_mean_of_ranks, none_dropped
from .signals import ContrastAt, attention, distance_from_head, distance_from_queries, entropy

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
        signal=ContrastAt("all"),
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
        signal=ContrastAt("cues"),
        reads=lambda trained, queries: pair_sets("cues"),
    ),
    Arm(
        "entropy-dropout",
        words="entropy",
        made="tokens were dropped at random unless the model is unsure of them before it reads them",
        colour="#6a7f10",
        on_dark="#a3bd3a",
        marker="<",
        signal=entropy,
        reads=lambda trained, queries: (entropy_set(trained),),
    ),
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


def _rewrites(style: Style, **more: Any) -> Arm:
    """An arm whose copies a language model writes, told of the facts that the contrast chooses."""
    reads = {"reads": lambda trained, queries: pair_sets(queries, each=True), "clues": contrast_facts}
    return _edits(f"rewrite-{style}", rewrites=style, **reads, **more)


_REWRITING = (
    _rewrites(
        "paraphrase",
        words="paraphrases by a language model",
        made="a language model said the text in other words",
        colour="#4d7c8a",
        on_dark="#86b6c4",
        marker="s",
    ),
    _rewrites(
        "entigraph",
        words="relations by a language model (EntiGraph)",
        made="a language model wrote how things that the text names are connected",
        colour="#a23e48",
        on_dark="#d9757f",
        marker="D",
    ),
    _rewrites(
        "active",
        words="study notes by a language model (active reading)",
        made="a language model studied the text by one of several strategies",
        colour="#6b4226",
        on_dark="#b08560",
        marker="P",
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
        signal=ContrastAt("cues"),
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
        signal=ContrastAt("cues"),
        reads=_cues,
        use="mask_inputs",
    ),
    Arm(
        "entrodrop",
        words="inputs of low entropy masked, more and more (EntroDrop)",
        made="more and more of the tokens that the model is sure of before it reads them were masked at the input",
        colour="#2f6b4f",
        on_dark="#6fb393",
        marker="p",
        signal=entropy,
        reads=lambda trained, queries: (entropy_set(trained),),
        drop_probability=at_lowest,
        ranked=False,
        use="mask_rising",
    ),
    Arm(
        "weighted-contrast",
        words="loss weighted by contrast",
        made="the loss of a token weighs more if a large model attends to it more than a small one",
        colour="#b2182b",
        on_dark="#e2505f",
        marker="P",
        signal=ContrastAt("cues"),
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
        signal=ContrastAt("cues"),
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

_SINGLE = {arm.name: arm for arm in (*_TABLE, *_EDITING, *_REWRITING, *_IN_TRAINING)}

ARMS: Arms = Arms(
    (
        *_SINGLE.values(),
        together((_SINGLE["insert-contrast"], _SINGLE["reorder"]), colour="#332288", on_dark="#9187dc", marker="8"),
        together((_SINGLE["insert-head"], _SINGLE["reorder"]), colour="#0f7f8c", on_dark="#4fb6c2", marker="X"),
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
            "acts in training (key-dropout-..., masked-..., entrodrop, weighted-..., ...-unbroken, selective), none "
            "that rewrites."
            if "+" in name
            else ""
        )
        raise ElusiveError(f"{where}: expected one of {', '.join(ARMS)}, got {name!r}.{together}{hint}")
    return ARMS[name]
