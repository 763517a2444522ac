"""Which layers and heads of a pair find the clues: chosen on one half of a corpus, shown on the other.

Axes: H heads (layer by layer), R ranked tokens of a document, D documents, N candidates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from elusive.errors import ElusiveError
from elusive.stats.estimates import Difference, Estimate, corrected, difference, estimate, mean
from elusive.stats.halves import first_half

from .recall import Clues, recall_at

SIZES = (1, 2, 4, 8)
"""Numbers of single heads that are tried."""


ALL = "all heads"


_Heads = tuple[tuple[int, ...], tuple[int, ...]]
"""Heads of the large model, and those of the small one that are contrasted with them (none: own attention)."""


@dataclass(frozen=True)
class Selection:
    """Some heads of one model.

    Attributes:
        name: in words: all heads, a layer, or a number of heads.
        heads: their indices, layer by layer.
        recall: clue recall@k on the documents they were chosen on.
    """

    name: str
    heads: tuple[int, ...]
    recall: float


@dataclass(frozen=True)
class HeadChoice:
    """A selection as recipes name it: in words, and its layers and heads (`layer.head`); both empty: all heads."""

    name: str
    layers: tuple[int, ...] = ()
    heads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """Clue recall of some heads on the half they were chosen on, and on the other half with its interval."""

    first_half: float | None
    second_half: Estimate


@dataclass(frozen=True)
class RankedHeads:
    """A layer or a head alone, with its clue recall on the half that chooses."""

    name: str
    first_half: float


@dataclass(frozen=True)
class ChosenHeads:
    """The heads that were chosen by one signal.

    Attributes:
        large: of the large model.
        small: of the small model; None where its attention is not used.
        first_half: their recall on the half that they were chosen on; None where every document is tied.
        second_half: their recall on the other half.
        all_heads: the same of all heads.
        difference: chosen minus all heads on the second half, paired.
        ranked: the large model's single layers and heads, the best first.
        ranked_small: the small model's, against the large model's choice.
    """

    large: HeadChoice
    small: HeadChoice | None
    first_half: float | None
    second_half: Estimate
    all_heads: Measured
    difference: Difference
    ranked: tuple[RankedHeads, ...]
    ranked_small: tuple[RankedHeads, ...] = ()

    @property
    def models(self) -> dict[str, HeadChoice]:
        """The choice of each model whose attention is used, by large and small."""
        return {"large": self.large} | ({"small": self.small} if self.small else {})


@dataclass(frozen=True)
class HeadSearch:
    """What `choose_heads` found.

    Attributes:
        k: how many of the best ranked tokens count.
        seed: seed of the halves and of the bootstrap.
        documents: of the half that chose, and of the other.
        own: by the large model's own attention.
        contrast: by large minus small.
    """

    k: int
    seed: int
    documents: tuple[int, int]
    own: ChosenHeads
    contrast: ChosenHeads


def choose_heads(
    clues: Sequence[Clues],
    large_shape: tuple[int, int],
    small_shape: tuple[int, int],
    *,
    k: int = 10,
    seed: int = 0,
    resamples: int = 10_000,
) -> HeadSearch:
    """Rank single layers and heads by clue recall, choose a selection on one half, and measure it on the other.

    For the large model's own attention, all its heads, each layer alone, and 1, 2, 4 or 8 heads (each the one that
    adds most to those before it) are compared. For contrast the large model's heads are chosen first, against all
    heads of the small one, and then the small one's against these.

    Args:
        clues: from `read_clues` with per_head; documents in which no head token is ranked do not count.
        large_shape: layers and heads of the large model.
        small_shape: layers and heads of the small model.
        k: how many of the best ranked tokens count.
        seed: seed of the halves and of the bootstrap.
        resamples: bootstrap resamples of documents behind each 95% interval.

    Raises:
        ElusiveError: if fewer than four documents count, so that a half would hold less than two.
    """
    counted = [one for one in clues if one.is_head.any()]
    if len(counted) < 4:
        raise ElusiveError(
            f"Expected at least 4 documents with a head entity before a cue, to choose on one half and show on the "
            f"other, got {len(counted)}."
        )
    of_first = first_half([one.document_id for one in counted], seed)
    first, second = ([counted[i] for i in np.flatnonzero(half)] for half in (of_first, ~of_first))
    own, own_ranked = _choose(first, large_shape, k, lambda one: one.large, _nothing, sign=1)
    large, large_ranked = _choose(first, large_shape, k, lambda one: one.large, lambda one: -one.small.mean(0), sign=1)
    chosen = list(large.heads)
    small, small_ranked = _choose(
        first, small_shape, k, lambda one: one.small, lambda one: one.large[chosen].mean(0), sign=-1
    )
    of_large, of_small = (tuple(range(int(np.prod(shape)))) for shape in (large_shape, small_shape))

    def measured(heads: _Heads, everything: _Heads) -> tuple[float | None, Estimate, Measured, Difference]:
        some, of_all, pair = _measured(first, second, heads, everything, k, resamples, seed)
        return some.first_half, some.second_half, of_all, pair

    found = (
        ChosenHeads(as_settings(own, large_shape), None, *measured((own.heads, ()), (of_large, ())), ranked=own_ranked),
        ChosenHeads(
            as_settings(large, large_shape),
            as_settings(small, small_shape),
            *measured((large.heads, small.heads), (of_large, of_small)),
            ranked=large_ranked,
            ranked_small=small_ranked,
        ),
    )
    pairs = corrected([one.difference for one in found])
    by_own, by_contrast = (replace(one, difference=pair) for one, pair in zip(found, pairs, strict=True))
    return HeadSearch(k, seed, (len(first), len(second)), by_own, by_contrast)


def _measured(
    first: Sequence[Clues],
    second: Sequence[Clues],
    heads: _Heads,
    everything: _Heads,
    k: int,
    resamples: int,
    seed: int,
) -> tuple[Measured, Measured, Difference]:
    """Recall of some heads and of all, each on both halves, and the difference on the second."""
    ids = [one.document_id for one in second]
    before, after = ([_recalls(half, used, k) for used in (heads, everything)] for half in (first, second))
    some, of_all = (
        Measured(mean(one), estimate([other], [ids], resamples=resamples, seed=seed, skip_nan=True))
        for one, other in zip(before, after, strict=True)
    )
    pair = difference([after[0]], [after[1]], [ids], resamples=resamples, seed=seed, skip_nan=True, trained=False)
    return some, of_all, pair


def as_settings(selection: Selection, shape: tuple[int, int]) -> HeadChoice:
    """A selection as recipes name it."""
    if selection.name.startswith("layer "):
        return HeadChoice(selection.name, layers=(selection.heads[0] // shape[1],))
    if selection.name == ALL:
        return HeadChoice(selection.name)
    return HeadChoice(selection.name, heads=tuple(head_name(head, shape) for head in selection.heads))


def head_name(head: int, shape: tuple[int, int]) -> str:
    """The head as recipes name it, layer.head."""
    return f"{head // shape[1]}.{head % shape[1]}"


def _nothing(one: Clues) -> np.ndarray:
    return np.zeros(len(one.is_head))


def _recalls(clues: Sequence[Clues], heads: _Heads, k: int) -> np.ndarray:
    large, small = map(list, heads)
    signals = (one.large[large].mean(0) - (one.small[small].mean(0) if small else 0.0) for one in clues)
    return np.array([recall_at(k, signal[None], one.is_head)[0] for signal, one in zip(signals, clues, strict=True)])


def _choose(
    clues: Sequence[Clues],
    shape: tuple[int, int],
    k: int,
    heads_of: Callable[[Clues], np.ndarray],
    rest_of: Callable[[Clues], np.ndarray],
    sign: int,
) -> tuple[Selection, tuple[RankedHeads, ...]]:
    """The best selection of one model's heads by rest + sign * their mean; and single layers and heads, ranked."""
    documents = [(heads_of(one), rest_of(one), one.is_head) for one in clues]
    layers, width = shape

    def recalls(weights_NH: np.ndarray) -> np.ndarray:
        values_DN = [recall_at(k, rest + sign * (weights_NH @ heads), is_head) for heads, rest, is_head in documents]
        return _means(np.array(values_DN))

    singles_HH = np.eye(layers * width)
    layers_LH = np.repeat(np.eye(layers), width, axis=1) / width
    of_single, of_layer = recalls(singles_HH), recalls(layers_LH)
    everything = tuple(range(layers * width))
    candidates = [Selection(ALL, everything, float(recalls(np.ones((1, layers * width)) / (layers * width))[0]))]
    by_layer = [
        Selection(f"layer {layer}", everything[layer * width : (layer + 1) * width], float(of_layer[layer]))
        for layer in range(layers)
    ]
    candidates += by_layer
    chosen: list[int] = []
    for size in range(1, min(max(SIZES), layers * width) + 1):
        weights_NH = (singles_HH + singles_HH[chosen].sum(0)) / size
        values_N = recalls(weights_NH)
        values_N[chosen] = -np.inf
        chosen.append(int(values_N.argmax()))
        if size in SIZES:
            name = f"{size} head{'s' if size > 1 else ''}"
            candidates.append(Selection(name, tuple(chosen), float(values_N.max())))
    singles = [Selection(head_name(head, shape), (head,), float(of_single[head])) for head in everything]
    ranked = sorted([*by_layer, *singles], key=lambda one: -one.recall)
    # Of equals the first: all heads before a layer, few heads before many.
    best = max(candidates, key=lambda one: one.recall)
    return best, tuple(RankedHeads(one.name, one.recall) for one in ranked)


def _means(values_DN: np.ndarray) -> np.ndarray:
    """Means over the documents that are not all tied; -inf where there is none."""
    known = np.isfinite(values_DN)
    return np.where(known.any(0), np.where(known, values_DN, 0.0).sum(0) / np.maximum(known.sum(0), 1), -np.inf)
