"""Clue recall: how much of the head entity a pair of models ranks among the best at cues. It needs no training.

Axes: N signals (one model's score, or its heads), R ranked tokens of a document that some query sees.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from elusive.config.augmentation import AugmentSettings
from elusive.corpus.documents import Document
from elusive.errors import ElusiveError
from elusive.runs.frames import Tabular
from elusive.scoring.positions import head_tokens, rankable_tokens
from elusive.scoring.shards import TokenScores
from elusive.stats.estimates import (
    Difference,
    Estimate,
    corrected_by_name,
    difference,
    estimate,
    estimate_columns,
    mean,
)

from .contrast import contrast, contrast_rows
from .fusion import fused, random_orders
from .ranks import rank_tokens
from .tokenizers import pair_on_tokens

ALL_CUES = "all cues"
"""Name of the figures in which every field's cue counts."""


RANKED = ("large", "small", "contrast")
"""What tokens are ranked by: each model's own attention, and large minus small."""


@dataclass(frozen=True)
class Clues:
    """The ranked tokens of one document.

    Attributes:
        document_id: the document.
        positions: which of its tokens are ranked and seen by a query, int (R,).
        offsets: their characters [start, end), (R, 2).
        is_head: which of these belong to the head entity, bool (R,).
        large: scores of the large model, one row, or one row a head (layer by layer); float64 (N, R).
        small: the same of the small model.
        signals: what tokens are ranked by, (R,), where that is not these rows' mean or its difference.
        orders: what cue fusion makes of random orders, (orders, R); None: each order is as likely as another.
    """

    document_id: str
    positions: np.ndarray
    offsets: np.ndarray
    is_head: np.ndarray
    large: np.ndarray
    small: np.ndarray
    signals: Mapping[str, np.ndarray] = field(default_factory=dict)
    orders: np.ndarray | None = None

    def signal(self, ranked_by: str) -> np.ndarray:
        """What tokens are ranked by, each model's rows averaged, (R,)."""
        if ranked_by in self.signals:
            return self.signals[ranked_by]
        if ranked_by == "contrast":
            return self.large.mean(0) - self.small.mean(0)
        return (self.large if ranked_by == "large" else self.small).mean(0)

    def chance(self, k: int) -> float:
        """Expected recall@k of a random order."""
        if self.orders is None:
            return min(k, len(self.is_head)) / len(self.is_head)
        return float(recall_at(k, self.orders, self.is_head).mean())


def read_clues(
    documents: Iterable[Document],
    large: Mapping[str, TokenScores],
    small: Mapping[str, TokenScores],
    *,
    head_fields: Collection[str],
    excluded_tokens: Sequence[str],
    special_ids: Collection[int] = (),
    augment: AugmentSettings = AugmentSettings(),
    per_head: bool = False,
) -> list[Clues]:
    """The ranked tokens of every document that both models scored and some query sees.

    Args:
        documents: the corpus.
        large: the large model's scores by document id.
        small: the small model's.
        head_fields: span fields of the head entity.
        excluded_tokens: strings that are never ranked, in addition to special tokens and white space.
        special_ids: special tokens, where they may stand in the text (those without characters are never ranked).
        augment: contrast_signal, cue_fusion and across_tokenizers.
        per_head: rows of single heads instead of scores.

    Raises:
        ElusiveError: if the models' tokens or queries differ, or heads are asked for or sentences fused that were not
            kept.

    Reference:
        Gao et al. 2025, arXiv 2409.17954, Figures 2 and 3: which tokens the models attend to at a cue.
    """
    found = []
    for document in documents:
        if document.id not in large or document.id not in small:
            continue
        one, other = large[document.id], small[document.id]
        if augment.across_tokenizers:
            one, other = pair_on_tokens(one, other, one, document.text)
        contrast(one, other)  # refuses what cannot be compared
        sink_end = max(one.sink_end, other.sink_end)
        rankable_T = rankable_tokens(document.text, one.token_ids, one.offsets, special_ids, excluded_tokens, sink_end)
        positions_R = np.flatnonzero(rankable_T & (one.queries > 0))
        is_head_T = head_tokens(document, one.offsets, head_fields)
        own, others = (_rows(scores, per_head)[:, positions_R] for scores in (one, other))
        if len(positions_R):
            offsets_R2 = one.offsets[positions_R]
            signals, orders = _signals(one, other, positions_R, augment)
            is_head_R = is_head_T[positions_R]
            found.append(Clues(document.id, positions_R, offsets_R2, is_head_R, own, others, signals, orders))
    return found


def _signals(
    large: TokenScores, small: TokenScores, positions_R: np.ndarray, augment: AugmentSettings
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """What tokens are ranked by with a ratio or fused cues, and random orders fused alike."""
    if augment.cue_fusion == "mean":
        ranked = {"contrast": contrast(large, small, augment.contrast_signal)[positions_R]}
        return (ranked if augment.contrast_signal != "difference" else {}), None
    candidates_SR = large.by_sentence().queries[:, positions_R] > 0
    rows = {
        "large": large.by_sentence().rows,
        "small": small.by_sentence().rows,
        "contrast": contrast_rows(large, small, augment.contrast_signal),
    }
    signals = {name: fused(row_ST[:, positions_R], candidates_SR, augment.cue_fusion) for name, row_ST in rows.items()}
    return signals, random_orders(candidates_SR, augment.cue_fusion)


def _rows(scores: TokenScores, per_head: bool) -> np.ndarray:
    """One model's scores (1, tokens), or those of each head, layer by layer, (layers * heads, tokens); float64."""
    if not per_head:
        return scores.scores[None].astype(np.float64)
    if scores.per_head is None:
        raise ElusiveError(
            f"The scores of document {scores.document_id!r} hold no single heads. Score with per_head (--per-head)."
        )
    return scores.per_head.reshape(-1, scores.per_head.shape[-1]).astype(np.float64)


def best_ranked(signal_R: Float[np.ndarray, " R"], k: int) -> Int64[np.ndarray, " best"]:
    """Indices of the k largest, the best first and ties by position; none where all are tied.

    If everything is tied, as when both models are one, the order would be that of the text and mean nothing.
    """
    if _all_tied(signal_R):
        return np.zeros(0, dtype=np.int64)
    everything = np.ones(len(signal_R), dtype=bool)
    return np.argsort(rank_tokens(signal_R, everything, everything))[:k]


def recall_at(
    k: int, signals_NR: Float[np.ndarray, "N R"], is_head_R: Bool[np.ndarray, " R"]
) -> Float64[np.ndarray, " N"]:
    """Share of the head entity's ranked tokens that are among the k best, for each signal.

    Args:
        k: how many of the best ranked tokens count.
        signals_NR: what tokens are ranked by, (N, R); ties go to the earlier token.
        is_head_R: which tokens belong to the head entity, bool (R,); at least one does.

    Returns:
        float64 (N,); nan where all tokens are tied.

    Example:
        >>> recall_at(2, np.array([[0.1, 0.4, 0.3, 0.2]]), np.array([True, True, False, False]))
        array([0.5])
    """
    everything = np.ones(len(is_head_R), dtype=bool)
    found_N = (rank_tokens(signals_NR, everything, everything)[:, is_head_R] <= k).sum(-1)
    return np.where(_all_tied(signals_NR), np.nan, found_N / is_head_R.sum())


def _all_tied(signals: np.ndarray) -> np.ndarray | np.bool_:
    # Means of the same numbers in another order differ by rounding, some 1e-17.
    return (np.ptp(signals, axis=-1) < 1e-12) & (signals.shape[-1] > 1)


@dataclass(frozen=True)
class SignalRecall(Estimate):
    """Clue recall by one signal: the mean share of a document's head tokens among its k best, with its interval.

    Attributes:
        documents: those whose tokens are not all tied.
        head_share: the mean share of the k best that head tokens take; None without documents.
    """

    documents: int
    head_share: float | None


@dataclass(frozen=True)
class Chance:
    """The same of a random order: clue recall, and the share of the k best that head tokens take."""

    value: float
    head_share: float


@dataclass(frozen=True)
class ClueRecall:
    """Clue recall@k over documents.

    Attributes:
        documents: how many hold a ranked head token.
        large: by the large model's attention.
        small: by the small model's.
        contrast: by large minus small.
        chance: by a random order.
        differences: paired, by name: `contrast-large` and `large-small`.
    """

    documents: int
    large: SignalRecall
    small: SignalRecall
    contrast: SignalRecall
    chance: Chance
    differences: dict[str, Difference]

    def by(self, signal: str) -> SignalRecall:
        """That of one of `RANKED`."""
        return {"large": self.large, "small": self.small, "contrast": self.contrast}[signal]


@dataclass(frozen=True)
class RecallTable(Tabular):
    """Clue recall@k at several cues; as a table, a row for each.

    Attributes:
        k: how many of the best ranked tokens count.
        head_fields: span fields of the head entity.
        rows: `all cues` and single fields.
    """

    k: int
    head_fields: tuple[str, ...]
    rows: dict[str, ClueRecall]

    def columns(self) -> dict[str, list[Any]]:
        """One list a column: cue, documents, then value, low and high of each signal, and chance."""
        rows = self.rows.values()
        columns: dict[str, list[Any]] = {"cue": list(self.rows), "documents": [row.documents for row in rows]}
        for signal in RANKED:
            columns |= estimate_columns(signal, [row.by(signal) for row in rows])
        return columns | {"chance": [row.chance.value for row in rows]}


def corrected_rows(rows: Mapping[str, ClueRecall]) -> dict[str, ClueRecall]:
    """The rows of one table, their differences corrected for the number of them all."""
    found = corrected_by_name([row.differences for row in rows.values()])
    return {name: replace(row, differences=here) for (name, row), here in zip(rows.items(), found, strict=True)}


def clue_recall(clues: Sequence[Clues], k: int, resamples: int = 10_000, seed: int = 0) -> ClueRecall | None:
    """Clue recall@k over documents, by each model's own attention, by contrast, and by chance.

    Args:
        clues: from `read_clues`; documents in which no head token is ranked do not count.
        k: how many of the best ranked tokens count.
        resamples: bootstrap resamples of documents behind each 95% interval.
        seed: seed of the draws.

    Returns:
        The figures; None where no document counts.
    """
    counted = [one for one in clues if one.is_head.any()]
    if not counted:
        return None
    ids = [one.document_id for one in counted]
    # Of k best ranked tokens, recall times the number of head tokens are head tokens.
    to_share = np.array([one.is_head.sum() / min(k, len(one.is_head)) for one in counted])
    recalls, found = {}, {}
    for name in RANKED:
        values = np.array([recall_at(k, one.signal(name)[None], one.is_head)[0] for one in counted])
        whole = estimate([values], [ids], resamples=resamples, seed=seed, skip_nan=True)
        known = int(np.isfinite(values).sum())
        recalls[name] = values
        found[name] = SignalRecall(whole.value, whole.low, whole.high, known, mean(values * to_share))
    chance = Chance(
        value=float(np.mean([one.chance(k) for one in counted])),
        head_share=float(np.mean(np.array([one.chance(k) for one in counted]) * to_share)),
    )
    drawn: dict[str, Any] = {"resamples": resamples, "seed": seed, "skip_nan": True, "trained": False}
    differences = {
        f"{a}-{b}": difference([recalls[a]], [recalls[b]], [ids], **drawn)
        for a, b in (("contrast", "large"), ("large", "small"))
    }
    return ClueRecall(len(counted), **found, chance=chance, differences=differences)
