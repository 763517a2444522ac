"""A pair of models on a tagged corpus: its clue recall, and the layers and heads that find the clues best."""

import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elusive.config.augmentation import AugmentSettings, ContrastSignal, CueFusion
from elusive.config.models import ModelRef, Models
from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Document
from elusive.corpus.readers.given import Given, documents_of
from elusive.errors import ElusiveError
from elusive.models.loading import load_tokenizer
from elusive.models.special_tokens import special_token_ids
from elusive.scoring.sets import ScoreSet, pair_sets
from elusive.scoring.shards import Kept, TokenScores, read_scores
from elusive.scoring.stage import score_sets, sink_of

from .heads import HeadSearch, choose_heads
from .recall import ALL_CUES, Clues, RecallTable, clue_recall, corrected_rows, read_clues

ScoresById = Mapping[str, TokenScores]
"""Scores of one set, by document."""


@dataclass(frozen=True)
class ReadModel:
    """Which attention of a model is averaged: its name, layers and heads (both empty: all), and what is no find of it.

    Attributes:
        model: its name.
        layers: layers that are averaged.
        heads: single heads that are averaged in addition.
        sink: what is done about the attention sink of its texts, in words; empty where nothing is.
    """

    model: str
    layers: tuple[int, ...]
    heads: tuple[str, ...]
    sink: str = ""


@dataclass(frozen=True)
class PairRecall(RecallTable):
    """Clue recall@k of a pair.

    Attributes:
        models: what was read, by large and small.
        renormalise: whether rows of attention were taken over the ranked tokens alone.
        contrast_signal: how the models were contrasted.
        cue_fusion: how all cues made one ranking.
    """

    models: dict[str, ReadModel]
    renormalise: bool
    contrast_signal: ContrastSignal
    cue_fusion: CueFusion


@dataclass(frozen=True)
class PairHeads(HeadSearch):
    """The layers and heads of a pair that find the clues best.

    Attributes:
        models: what was read, by large and small.
        head_fields: span fields of the head entity.
        renormalise: whether rows of attention were taken over the ranked tokens alone.
    """

    models: dict[str, ReadModel]
    head_fields: tuple[str, ...]
    renormalise: bool


def pair_recall(
    documents: Given,
    folder: str | Path,
    *,
    pair: Models,
    settings: ScoreSettings,
    augment: AugmentSettings,
    k: int = 10,
) -> PairRecall:
    """Clue recall@k of a pair, at all cues together and at each field's alone.

    Args:
        documents: a corpus whose spans mark a head entity (score.head_fields) and answers.
        folder: where the scores are kept; begun again, only what is missing is scored.
        pair: the two models, and the layers and heads that are averaged.
        settings: how attention is captured; queries must be cues.
        augment: contrast_signal, cue_fusion and across_tokenizers.
        k: how many of the best ranked tokens count.

    Returns:
        The rows are `all cues` and each field; a field whose cues all stand before the head entity is left out.

    Raises:
        ElusiveError: if no head entity stands before a cue, queries are not cues, or as `scoring.score_corpus`.
    """
    documents = documents_of(documents)
    _check(documents, settings, k)
    fields = _fields_in_order(documents, settings.head_fields)
    needed = [one for field in ("", *fields) for one in _pair_at(field, augment)]
    # In the same pass, sentence by sentence: clues to be written are counted on these.
    score_sets(documents, folder, [*needed, *pair_sets("cues", each=True)], models=pair.by_role(), settings=settings)
    sets = _scores_of(documents, folder, needed, pair, settings)
    rows = {}
    for field in ("", *fields):
        large, small = (sets[one] for one in _pair_at(field, augment))
        clues = _clues(documents, large, small, pair, settings, _at_one_cue(augment) if field else augment)
        if row := clue_recall(clues, k):
            rows[field or ALL_CUES] = row
    if not rows:
        raise _no_heads(settings)
    return PairRecall(
        k,
        tuple(settings.head_fields),
        corrected_rows(rows),
        _read_models(pair, settings),
        settings.renormalise,
        augment.contrast_signal,
        augment.cue_fusion,
    )


def pair_heads(
    documents: Given,
    folder: str | Path,
    *,
    pair: Models,
    settings: ScoreSettings,
    augment: AugmentSettings,
    k: int = 10,
    seed: int = 0,
) -> PairHeads:
    """Layers and heads of a pair by clue recall at all cues; each model is read once.

    Args:
        documents: a corpus whose spans mark a head entity (score.head_fields) and answers.
        folder: where the scores, with each head's, are kept.
        pair: the two models.
        settings: how attention is captured; queries must be cues.
        augment: across_tokenizers.
        k: how many of the best ranked tokens count.
        seed: seed of the halves.

    Raises:
        ElusiveError: as `heads.choose_heads` and `scoring.score_corpus`.
    """
    documents = documents_of(documents)
    _check(documents, settings, k)
    sets = _scores_of(documents, folder, pair_sets("cues"), pair, settings, keep=("heads",))
    large, small = (sets[one] for one in pair_sets("cues"))
    clues = _clues(documents, large, small, pair, settings, augment, per_head=True)
    shapes = (_shape(next(iter(scores.values()))) for scores in (large, small))
    found = choose_heads(clues, *shapes, k=k, seed=seed)
    return PairHeads(
        **vars(found),
        models=_read_models(pair, settings),
        head_fields=tuple(settings.head_fields),
        renormalise=settings.renormalise,
    )


def _check(documents: Collection[Document], settings: ScoreSettings, k: int) -> None:
    """Refuse before anything is scored what could not be measured."""
    if k < 1:
        raise ElusiveError(f"k: expected at least 1, got {k}.")
    if settings.queries != "cues":
        raise ElusiveError(f"Clue recall is read at cues: expected score.queries = cues, got {settings.queries!r}.")
    if not any(span.field in settings.head_fields for document in documents for span in document.spans):
        raise _no_heads(settings)


def _no_heads(settings: ScoreSettings) -> ElusiveError:
    return ElusiveError(
        f"Clue recall needs spans of a head entity ({', '.join(settings.head_fields) or 'none given'}) before the "
        "answers, and no document has any. Mark them in the corpus, or name their fields in score.head_fields "
        "(--head-fields)."
    )


def _pair_at(field: str, augment: AugmentSettings) -> tuple[ScoreSet, ScoreSet]:
    """The score sets at a field's cues; at all cues ("") sentence by sentence, where these are fused."""
    return pair_sets("cues", field, each=not field and augment.cue_fusion != "mean")


def _at_one_cue(augment: AugmentSettings) -> AugmentSettings:
    """Of a single field's cues nothing is fused: a text mostly has one."""
    return dataclasses.replace(augment, cue_fusion="mean")


def _scores_of(
    documents: Collection[Document],
    folder: str | Path,
    needed: Sequence[ScoreSet],
    pair: Models,
    settings: ScoreSettings,
    *,
    keep: Collection[Kept] = (),
) -> dict[ScoreSet, ScoresById]:
    folders = score_sets(
        documents,
        folder,
        needed,
        models=pair.by_role(),
        settings=settings,
        keep=keep,
    )
    return {one: {item.document_id: item for item in read_scores(path)} for one, path in folders.items()}


def _clues(
    documents: Collection[Document],
    large: ScoresById,
    small: ScoresById,
    pair: Models,
    settings: ScoreSettings,
    augment: AugmentSettings,
    *,
    per_head: bool = False,
) -> list[Clues]:
    return read_clues(
        documents,
        large,
        small,
        head_fields=settings.head_fields,
        excluded_tokens=settings.excluded_tokens,
        special_ids=_special_ids(pair.large),
        augment=augment,
        per_head=per_head,
    )


@functools.lru_cache(maxsize=1)
def _special_ids(model: ModelRef) -> tuple[int, ...]:
    return tuple(special_token_ids(load_tokenizer(model)))


def _fields_in_order(documents: Collection[Document], head_fields: Sequence[str]) -> list[str]:
    """Fields of answers in the order in which they first appear in a text."""
    spans = (span for document in documents for span in sorted(document.spans, key=lambda span: span.start))
    return list(dict.fromkeys(span.field for span in spans if span.field not in head_fields))


def _shape(scores: TokenScores) -> tuple[int, int]:
    """Layers and heads."""
    if scores.per_head is None:
        raise ElusiveError(f"The scores of document {scores.document_id!r} hold no single heads. Score with per_head.")
    return scores.per_head.shape[0], scores.per_head.shape[1]


def _read_models(pair: Models, settings: ScoreSettings) -> dict[str, ReadModel]:
    """What the figures are of: the models, and what is averaged."""
    return {
        role: ReadModel(model.name, model.layers, model.heads, sink_of(model, settings.sink))
        for role, model in (("large", pair.large), ("small", pair.small))
    }
