"""Documents under an arm: the originals and copies in which the best clues survive token dropout."""

import collections
import contextlib
import itertools
import json
import multiprocessing
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerFast

from .config import AugmentSettings, ScoreSettings
from .decoding import Decoder, text_decoder
from .documents import Document
from .dropout import SIGNAL, Signals, arm_ranks, copy_seeds, drop_probabilities, drop_probability, kept_in_copies
from .errors import ElusiveError
from .models import special_token_ids
from .positions import query_positions, rankable_tokens
from .ranking import Ranking, contrast, distance_signal, pair_on_tokens
from .recipes import to_table
from .runs import ProgressFunction, atomic_path, silent
from .shards import TokenScores

_Item = TypeVar("_Item")
DocumentScores = Mapping[str, TokenScores]
"""One document's scores by score set: large-cues, small-cues, large-all, ..."""


class AugmentedText(NamedTuple):
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


class Augmenter:
    """Makes one arm's texts, document by document.

    Args:
        arm: a key of dropout.ARMS.
        trained: the name of the model to be trained among the score sets (`large`, `small` or another).
        tokenizer: the tokenizer of its scores.
        score: queries and head fields.
        settings: alpha, beta, copies, seed, excluded tokens, ...
    """

    def __init__(
        self,
        arm: str,
        *,
        trained: str,
        tokenizer: PreTrainedTokenizerFast,
        score: ScoreSettings,
        settings: AugmentSettings,
    ) -> None:
        self.arm, self.trained, self.score, self.settings = arm, trained, score, settings
        self.special_ids = set(special_token_ids(tokenizer))
        self.decode = text_decoder(tokenizer)
        self.copies = range(1, settings.copies + 1 if arm != "plain" else 1)
        self.generator = np.random.default_rng()  # set to the state of each copy

    def augment(self, rows: Sequence[tuple[Document, DocumentScores]]) -> list[AugmentedDocument]:
        """The training texts of some documents.

        Args:
            rows: documents with their scores, by score set.

        Returns:
            For each the original (copy 0) and, except under `plain`, the copies.

        Raises:
            ElusiveError: if scores that the arm needs are missing, or the tokens of the model to be trained are not
                those of the contrasted pair.
        """
        seeds_DC4 = copy_seeds(self.settings.seed, [document.id for document, _ in rows], self.copies)
        return [self._augmented(*row, seeds_C4) for row, seeds_C4 in zip(rows, seeds_DC4, strict=True)]

    def _augmented(self, document: Document, scores: DocumentScores, seeds_C4: np.ndarray) -> AugmentedDocument:
        tokens = scores_of(scores, f"{self.trained}-{self.score.queries}", document)
        signals = self.signals(document, scores)
        if self.arm in SIGNAL:
            ranks = arm_ranks(self.arm, signals, self.settings)
            probability = drop_probability(ranks, self.settings.alpha, self.settings.beta)
        else:
            ranks = np.zeros(len(tokens.token_ids), dtype=np.int32)
            probability = drop_probabilities(self.arm, signals, self.settings)
        kept_CT = kept_in_copies(probability, seeds_C4, self.generator)
        text_T = ~self._special(tokens)
        written = copy_texts(
            document.text, tokens.token_ids, tokens.offsets, text_T, kept_CT, self.decode, self.settings
        )
        texts = [AugmentedText(document.id, 0, self.arm, document.text, tokens.token_ids[text_T])]
        texts += [
            AugmentedText(document.id, copy, self.arm, text, tokens.token_ids[kept])
            for copy, text, kept in zip(self.copies, written, kept_CT & text_T, strict=True)
        ]
        ranking = Ranking(document.id, tokens.token_ids, tokens.offsets, ranks, signals.seen)
        dropped = int(kept_CT.size - np.count_nonzero(kept_CT))
        return AugmentedDocument(ranking, probability, tuple(texts), int(np.count_nonzero(signals.rankable)), dropped)

    def signals(self, document: Document, scores: DocumentScores) -> Signals:
        """What the arm looks at in a document; signals that it does not look at are left out."""
        own = scores_of(scores, f"{self.trained}-{self.score.queries}", document)
        rankable = rankable_tokens(
            document.text, own.token_ids, own.offsets, self.special_ids, self.settings.excluded_tokens
        )
        queries = self.arm.removeprefix("contrast-")
        if queries in ("cues", "all") and {f"large-{queries}", f"small-{queries}"} <= scores.keys():
            signal = {f"contrast_{queries}": self._contrast(document, own, scores, queries)}
        else:
            signal = {"distance": self._distance(document, own)} if self.arm == "distance" else {}
        return Signals(rankable, own.queries > 0, own.scores, **signal)

    def _special(self, tokens: TokenScores) -> np.ndarray:
        # np.isin takes ten times as long for a short text.
        return np.array([token in self.special_ids for token in tokens.token_ids.tolist()], dtype=bool)

    def _distance(self, document: Document, own: TokenScores) -> np.ndarray:
        positions = query_positions(
            document, own.offsets, self._special(own), self.score.queries, self.score.head_fields
        )
        return distance_signal(positions, len(own.token_ids))

    def _contrast(self, document: Document, own: TokenScores, scores: DocumentScores, queries: str) -> np.ndarray:
        large, small = (scores_of(scores, f"{model}-{queries}", document) for model in ("large", "small"))
        if self.settings.across_tokenizers:
            large, small = pair_on_tokens(large, small, own, document.text)
        elif own is not large and not np.array_equal(own.token_ids, large.token_ids):
            raise ElusiveError(
                f"The model to be trained splits document {document.id!r} into other tokens than the contrasted pair. "
                "Train a model of the pair's family, leave the contrast arms out, or set augment.across_tokenizers = "
                "true (--across-tokenizers) to carry scores over by their characters."
            )
        # A token that these queries do not see has no contrast: 0 would put it in the middle.
        return np.where(large.queries > 0, contrast(large, small), -np.inf)


def scores_of(scores: DocumentScores, name: str, document: Document) -> TokenScores:
    """A document's scores in one score set."""
    if name not in scores:
        raise ElusiveError(f"No {name} scores of document {document.id!r}. Score the same corpus first.")
    return scores[name]


def copy_texts(
    text: str,
    token_ids_T: np.ndarray,
    offsets_T2: np.ndarray,
    text_T: np.ndarray,
    kept_CT: np.ndarray,
    decode: Decoder,
    settings: AugmentSettings,
) -> list[str]:
    """The texts of copies of one document.

    Args:
        text: the document's text.
        token_ids_T: its tokens, special ones included, (tokens,).
        offsets_T2: their characters, (tokens, 2).
        text_T: whether each token is no special token, bool (tokens,).
        kept_CT: the tokens that stay, bool (copies, tokens).
        decode: of the tokenizer.
        settings: `blank` overwrites with spaces instead of deleting.

    Returns:
        One text a copy.
    """
    if settings.blank:
        return [_blanked(text, offsets_T2[~kept]) for kept in kept_CT]
    return decode(token_ids_T, kept_CT & text_T)


def _blanked(text: str, dropped_offsets: np.ndarray) -> str:
    characters = list(text)
    for start, end in dropped_offsets.tolist():
        characters[start:end] = " " * (end - start)
    return "".join(characters)


def augment(
    documents: Iterable[Document],
    arm: str,
    scores: Mapping[str, Iterable[TokenScores]],
    *,
    trained: str,
    tokenizer: PreTrainedTokenizerFast,
    score: ScoreSettings,
    settings: AugmentSettings,
    workers: int = 1,
    batch_documents: int = 256,
    total: int = 0,
    progress: ProgressFunction = silent,
) -> Iterator[AugmentedDocument]:
    """Augment a corpus; a document's texts depend on neither the others, nor batches, nor workers.

    Documents and scores are streams that are read side by side: no more than a batch for each process is held.

    Args:
        documents: the corpus.
        arm: a key of dropout.ARMS.
        scores: score sets named `<model>-<queries>`, each in the order of the documents.
        trained: which model of them will be trained.
        tokenizer: its tokenizer.
        score: queries and head fields.
        settings: dropout.
        workers: processes.
        batch_documents: documents handed to a process at a time.
        total: documents in all, for `progress` (0: counted, where `documents` has a length).
        progress: called with (documents, of how many).

    Yields:
        Augmented documents, in the order of the documents.

    Raises:
        ElusiveError: if a score set is not of the same documents in the same order.
    """
    total = total or (len(documents) if isinstance(documents, Sized) else 0)
    options = {"arm": arm, "trained": trained, "tokenizer": tokenizer, "score": score, "settings": settings}
    done = 0
    for batch in _mapped(options, _batches(_side_by_side(documents, scores), batch_documents), workers):
        done += len(batch)
        progress(done, total)
        yield from batch


_Row = tuple[Document, DocumentScores]


def _side_by_side(documents: Iterable[Document], scores: Mapping[str, Iterable[TokenScores]]) -> Iterator[_Row]:
    streams = {name: iter(held) for name, held in scores.items()}
    number = 0
    for number, document in enumerate(documents, 1):
        row = {}
        for name, stream in streams.items():
            found = next(stream, None)
            if found is None or found.document_id != document.id:
                got = "their end" if found is None else f"{found.document_id!r}"
                raise ElusiveError(
                    f"The {name} scores are not of this corpus: expected document {document.id!r} at place {number:,}, "
                    f"got {got}. Score the same corpus first."
                )
            row[name] = found
        yield document, row
    for name, stream in streams.items():
        if (found := next(stream, None)) is not None:
            raise ElusiveError(
                f"The {name} scores are not of this corpus: expected their end after {number:,} documents, got "
                f"{found.document_id!r}. Score the same corpus first."
            )


def _mapped(options: dict[str, Any], batches: Iterable[list[_Row]], workers: int) -> Iterator[list[AugmentedDocument]]:
    """Batches through processes, in order; no more than two a process are under way."""
    if workers <= 1:
        augmenter = Augmenter(**options)
        for batch in batches:
            yield augmenter.augment(batch)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(options,)) as pool:
        under_way: collections.deque[Future[list[AugmentedDocument]]] = collections.deque()
        try:
            for batch in batches:
                under_way.append(pool.submit(_augment_in_worker, batch))
                if len(under_way) == 2 * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


_augmenter_of_worker: Augmenter


def _start_worker(options: dict[str, Any]) -> None:
    # Once a process: a tokenizer is too large to be sent with each batch.
    global _augmenter_of_worker
    _augmenter_of_worker = Augmenter(**options)


def _augment_in_worker(batch: list[_Row]) -> list[AugmentedDocument]:
    return _augmenter_of_worker.augment(batch)


SETTINGS_KEY = b"elusive.augment"
"""Where ranking.parquet keeps its arm and settings, as JSON in the schema's metadata."""
TRAIN_SCHEMA = pa.schema([("text", pa.string()), ("id", pa.string()), ("copy", pa.int32()), ("arm", pa.string())])
RANKING_SCHEMA = pa.schema(
    [("document_id", pa.string()), ("text", pa.string())]
    + [(name, pa.list_(pa.int32())) for name in ("token_ids", "starts", "ends", "ranks")]
    + [("drop_probability", pa.list_(pa.float64()))]  # as drawn with: rounded, a draw could fall on its other side
)
_GROUP_DOCUMENTS = 256


def write_augmented(
    folder: str | Path, augmented: Iterable[AugmentedDocument], arm: str, settings: AugmentSettings
) -> dict[str, Any]:
    """Write train.jsonl, train.parquet and ranking.parquet: all three, or none.

    Args:
        folder: where they go.
        augmented: the documents; they are written as they come, and not held.
        arm: how they were made; kept in ranking.parquet, as the settings are.
        settings: what they were made with.

    Returns:
        documents, texts, and mean_drop_rate: dropped tokens over rankable tokens of all copies.
    """
    folder = Path(folder)
    documents = texts = dropped = chances = 0
    encode = json.JSONEncoder(ensure_ascii=False).encode
    with contextlib.ExitStack() as stack:
        lines, train, ranking = (
            stack.enter_context(atomic_path(folder / name))
            for name in ("train.jsonl", "train.parquet", "ranking.parquet")
        )
        stream = stack.enter_context(lines.open("w", encoding="utf-8", newline="\n"))
        train_table = stack.enter_context(pq.ParquetWriter(train, TRAIN_SCHEMA, compression="zstd"))
        schema = RANKING_SCHEMA.with_metadata({SETTINGS_KEY: json.dumps({"arm": arm, **to_table(settings)})})
        ranking_table = stack.enter_context(pq.ParquetWriter(ranking, schema, compression="zstd"))
        for group in _batches(augmented, _GROUP_DOCUMENTS):
            rows = [text for item in group for text in item.texts]
            stream.writelines(
                encode({"text": text.text, "id": text.id, "copy": text.copy, "arm": text.arm}) + "\n" for text in rows
            )
            train_table.write_table(_train_rows(rows))
            ranking_table.write_table(_ranking_rows(group, schema))
            documents, texts = documents + len(group), texts + len(rows)
            dropped += sum(item.dropped for item in group)
            chances += sum(item.droppable * (len(item.texts) - 1) for item in group)
    return {
        "documents": documents,
        "texts": texts,
        "mean_drop_rate": dropped / chances if chances else 0.0,
    }


def _train_rows(texts: Sequence[AugmentedText]) -> pa.Table:
    return pa.table({name: [getattr(text, name) for text in texts] for name in TRAIN_SCHEMA.names}, TRAIN_SCHEMA)


def _ranking_rows(items: Sequence[AugmentedDocument], schema: pa.Schema) -> pa.Table:
    columns = {
        "document_id": [item.ranking.document_id for item in items],
        "text": [item.texts[0].text for item in items],
        "token_ids": [item.ranking.token_ids for item in items],
        "starts": [item.ranking.offsets[:, 0] for item in items],
        "ends": [item.ranking.offsets[:, 1] for item in items],
        "ranks": [item.ranking.ranks for item in items],
        "drop_probability": [item.probability for item in items],
    }
    return pa.table(columns, schema)


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    stream = iter(items)
    return iter(lambda: list(itertools.islice(stream, size)), [])
