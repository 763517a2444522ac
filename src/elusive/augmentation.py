"""Documents under an arm: the originals and copies in which the best clues survive token dropout."""

import multiprocessing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerFast

from .config import AugmentSettings, ScoreSettings
from .documents import Document
from .dropout import SIGNAL, Signals, copy_generator, drop_probabilities, kept_tokens, signal_of
from .errors import ElusiveError
from .models import special_token_ids
from .positions import query_positions, rankable_tokens
from .ranking import Ranking, contrast, distance_signal, pair_on_tokens, rank_tokens
from .runs import ProgressFunction, atomic_path, silent, write_jsonl
from .shards import TokenScores

ScoreSet = Mapping[str, TokenScores]
"""Scores of one model for one kind of query, by document id."""


@dataclass(frozen=True)
class AugmentedText:
    """One training text.

    Attributes:
        id: the document.
        copy: 0 for the original, then 1, 2, ...
        arm: how it was made.
        text: what to train on.
        token_ids: int32, (tokens kept,), special tokens left out.
    """

    id: str
    copy: int
    arm: str
    text: str
    token_ids: np.ndarray


@dataclass(frozen=True)
class AugmentedDocument:
    """One document under one arm: its texts, and what lay behind them.

    Attributes:
        ranking: the ranks; all 0 for arms that rank nothing.
        probability: float64 chance to be dropped, (tokens,).
        texts: the original and the copies.
        droppable: rankable tokens of the document.
        dropped: tokens dropped over all copies.
    """

    ranking: Ranking
    probability: np.ndarray
    texts: tuple[AugmentedText, ...]
    droppable: int
    dropped: int


def document_signals(
    document: Document,
    scores: Mapping[str, ScoreSet],
    *,
    trained: str,
    tokenizer: PreTrainedTokenizerFast,
    score: ScoreSettings,
    augment: AugmentSettings,
) -> Signals:
    """All signals of one document that the given scores allow.

    Args:
        document: the document.
        scores: score sets named `<model>-<queries>`: large-cues, small-cues, large-all, small-all, ...
        trained: the name of the model to be trained among them (`large`, `small` or another).
        tokenizer: the tokenizer of the scores.
        score: queries and head fields.
        augment: excluded tokens, and whether scores may be carried over from other tokens.

    Raises:
        ElusiveError: if scores of the model to be trained are missing for this document, or its tokens are not those
            of the contrasted pair.
    """
    own = _scores_of(scores, f"{trained}-{score.queries}", document)
    positions = query_positions(
        document,
        own.offsets,
        np.isin(own.token_ids, special_token_ids(tokenizer)),
        score.queries,
        score.head_fields,
    )
    pairs = {
        queries: _contrast_signal(scores, queries, document, own, augment.across_tokenizers)
        for queries in ("cues", "all")
        if f"large-{queries}" in scores and f"small-{queries}" in scores
    }
    return Signals(
        rankable=rankable_tokens(
            document.text, own.token_ids, own.offsets, special_token_ids(tokenizer), augment.excluded_tokens
        ),
        seen=own.queries > 0,
        attention=own.scores,
        distance=distance_signal(positions, len(own.token_ids)),
        contrast_cues=pairs.get("cues"),
        contrast_all=pairs.get("all"),
    )


def _scores_of(scores: Mapping[str, ScoreSet], name: str, document: Document) -> TokenScores:
    if name not in scores or document.id not in scores[name]:
        raise ElusiveError(f"No {name} scores of document {document.id!r}. Score the same corpus first.")
    return scores[name][document.id]


def _contrast_signal(
    scores: Mapping[str, ScoreSet], queries: str, document: Document, own: TokenScores, across: bool
) -> np.ndarray:
    large, small = (_scores_of(scores, f"{model}-{queries}", document) for model in ("large", "small"))
    if across:
        large, small = pair_on_tokens(large, small, own, document.text)
    elif not np.array_equal(own.token_ids, large.token_ids):
        raise ElusiveError(
            f"The model to be trained splits document {document.id!r} into other tokens than the contrasted pair. "
            "Train a model of the pair's family, leave the contrast arms out, or set augment.across_tokenizers = true "
            "(--across-tokenizers) to carry scores over by their characters."
        )
    # A token that these queries do not see has no contrast: 0 would put it in the middle.
    return np.where(large.queries > 0, contrast(large, small), -np.inf)


def augment_document(
    document: Document,
    arm: str,
    signals: Signals,
    tokens: TokenScores,
    tokenizer: PreTrainedTokenizerFast,
    settings: AugmentSettings,
) -> AugmentedDocument:
    """One document's training texts under one arm.

    Args:
        document: the document.
        arm: a key of dropout.ARMS.
        signals: what the arm looks at.
        tokens: any scores of the document, for its token ids and offsets.
        tokenizer: the tokenizer of those ids.
        settings: alpha, beta, copies, seed.

    Returns:
        The original (copy 0) and, except under `plain`, the copies.
    """
    probability = drop_probabilities(arm, signals, settings)
    ranks = np.zeros(len(probability), dtype=np.int32)
    if arm in SIGNAL:
        # Unseen tokens that are kept whatever the arm are as good as excluded.
        ranked = signals.rankable & signals.seen if settings.unseen_tokens == "keep" else signals.rankable
        ranks = rank_tokens(signal_of(arm, signals), ranked, signals.seen)
    special = np.isin(tokens.token_ids, special_token_ids(tokenizer))
    texts = [AugmentedText(document.id, 0, arm, document.text, tokens.token_ids[~special])]
    dropped = 0
    for copy in range(1, settings.copies + 1 if arm != "plain" else 1):
        kept = kept_tokens(probability, copy_generator(settings.seed, document.id, copy))
        dropped += int((~kept).sum())
        ids = tokens.token_ids[kept & ~special]
        text = _blanked(document.text, tokens.offsets[~kept]) if settings.blank else _decoded(tokenizer, ids)
        texts.append(AugmentedText(document.id, copy, arm, text, ids))
    ranking = Ranking(document.id, tokens.token_ids, tokens.offsets, ranks, signals.seen)
    return AugmentedDocument(ranking, probability, tuple(texts), int(signals.rankable.sum()), dropped)


def _decoded(tokenizer: PreTrainedTokenizerFast, ids: np.ndarray) -> str:
    # Some tokenizers would "clean up" spaces before punctuation, which no draw has dropped.
    return str(tokenizer.decode(ids.tolist(), clean_up_tokenization_spaces=False))


def _blanked(text: str, dropped_offsets: np.ndarray) -> str:
    characters = list(text)
    for start, end in dropped_offsets.tolist():
        characters[start:end] = " " * (end - start)
    return "".join(characters)


def augment(
    documents: Iterable[Document],
    arm: str,
    scores: Mapping[str, ScoreSet],
    *,
    trained: str,
    tokenizer: PreTrainedTokenizerFast,
    score: ScoreSettings,
    settings: AugmentSettings,
    workers: int = 1,
    batch_documents: int = 256,
    progress: ProgressFunction = silent,
) -> Iterator[AugmentedDocument]:
    """Augment a corpus; the result depends on neither the order of documents, nor batches, nor workers.

    Args:
        documents: the corpus.
        arm: a key of dropout.ARMS.
        scores: score sets named `<model>-<queries>`.
        trained: which model of them will be trained.
        tokenizer: its tokenizer.
        score: queries and head fields.
        settings: dropout.
        workers: processes.
        batch_documents: documents handed to a process at a time.
        progress: called with (documents, of how many).

    Yields:
        Augmented documents, sorted by id.
    """
    ordered = sorted(documents, key=lambda document: document.id)
    options = {"trained": trained, "tokenizer": tokenizer, "score": score, "augment": settings}
    batches = (ordered[start : start + batch_documents] for start in range(0, len(ordered), batch_documents))
    jobs = ((batch, arm, _only(scores, batch), options) for batch in batches)
    done = 0
    for batch in _mapped(jobs, workers):
        done += len(batch)
        progress(done, len(ordered))
        yield from batch


def _only(scores: Mapping[str, ScoreSet], documents: Sequence[Document]) -> dict[str, dict[str, TokenScores]]:
    """The part of the scores that one batch needs, so that no process is sent the whole."""
    wanted = [document.id for document in documents]
    return {name: {key: held[key] for key in wanted if key in held} for name, held in scores.items()}


def _mapped(jobs: Iterable[tuple], workers: int) -> Iterator[list[AugmentedDocument]]:
    if workers <= 1:
        yield from map(_augment_batch, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_augment_batch, jobs)


def _augment_batch(job: tuple[list[Document], str, Mapping[str, ScoreSet], dict[str, Any]]) -> list[AugmentedDocument]:
    documents, arm, scores, options = job
    results = []
    for document in documents:
        signals = document_signals(document, scores, **options)
        tokens = scores[f"{options['trained']}-{options['score'].queries}"][document.id]
        results.append(augment_document(document, arm, signals, tokens, options["tokenizer"], options["augment"]))
    return results


def write_augmented(folder: Path, augmented: Iterable[AugmentedDocument]) -> dict[str, Any]:
    """Write train.jsonl, train.parquet and ranking.parquet.

    Returns:
        documents, texts, and mean_drop_rate: dropped tokens over rankable tokens of all copies.
    """
    held = list(augmented)
    texts = [text for document in held for text in document.texts]
    rows = [{"text": text.text, "id": text.id, "copy": text.copy, "arm": text.arm} for text in texts]
    write_jsonl(folder / "train.jsonl", rows)
    _write_table(folder / "train.parquet", pa.Table.from_pylist(rows, schema=_TRAIN_SCHEMA))
    rankings = [_ranking_row(item) for item in held]
    _write_table(folder / "ranking.parquet", pa.Table.from_pylist(rankings, schema=_RANKING_SCHEMA))
    chances = sum(item.droppable * (len(item.texts) - 1) for item in held)
    return {
        "documents": len(held),
        "texts": len(texts),
        "mean_drop_rate": sum(item.dropped for item in held) / chances if chances else 0.0,
    }


_TRAIN_SCHEMA = pa.schema([("text", pa.string()), ("id", pa.string()), ("copy", pa.int32()), ("arm", pa.string())])
_RANKING_SCHEMA = pa.schema(
    [("document_id", pa.string())]
    + [(name, pa.list_(pa.int32())) for name in ("token_ids", "starts", "ends", "ranks")]
    + [("drop_probability", pa.list_(pa.float32()))]
)


def _ranking_row(item: AugmentedDocument) -> dict[str, Any]:
    ranking = item.ranking
    return {
        "document_id": ranking.document_id,
        "token_ids": ranking.token_ids,
        "starts": ranking.offsets[:, 0],
        "ends": ranking.offsets[:, 1],
        "ranks": ranking.ranks,
        "drop_probability": item.probability.astype(np.float32),
    }


def _write_table(path: Path, table: pa.Table) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
