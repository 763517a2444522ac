"""Documents under an arm: the originals, and copies that drop tokens, repeat clues or change the order."""

import collections
import itertools
import multiprocessing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from transformers import PreTrainedTokenizerFast

from elusive.config.augmentation import AugmentSettings
from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Document
from elusive.errors import ElusiveError
from elusive.models.special_tokens import special_token_ids
from elusive.runs.files import ProgressFunction, silent
from elusive.runs.stopping import start_worker
from elusive.scoring.positions import rankable_tokens
from elusive.scoring.sets import ScoreSet
from elusive.scoring.shards import TokenScores

from .arm import Arm, arm_ranks, drop_probabilities
from .arms import arm_named
from .clue_spans import Clue
from .draws import copy_seeds, kept_in_copies
from .insertion import count_right, words_of
from .marked_copies import TextMaker
from .marks import TokenMarks
from .protection import protected_tokens, sparing
from .rankings import RankedDocument
from .rules import Tokens
from .signals import ScoredDocument, scores_of
from .survival import SpanCounts, count_intact
from .units import any_in_unit, first_tokens_of_units

_Item = TypeVar("_Item")


BATCH_DOCUMENTS = 256
"""Documents handed to a process at a time; the copies do not depend on it."""


DocumentScores = Mapping[ScoreSet, TokenScores]
"""One document's scores by score set."""


class AugmentedText(NamedTuple):
    """One training text.

    Attributes:
        id: the document.
        copy: 0 for the original, then 1, 2, ...
        arm: how it was made.
        text: what to train on.
        token_ids: int32, (tokens,), special tokens left out: of the document's own those kept, or, where sentences
            were edited, what the tokenizer makes of the text.
        marks: what training does with its tokens, special ones included; None if nothing.
    """

    id: str
    copy: int
    arm: str
    text: str
    token_ids: np.ndarray
    marks: TokenMarks | None = None


@dataclass(frozen=True)
class AugmentedDocument:
    """One document under one arm: its texts, and what lay behind them.

    Attributes:
        ranked: its tokens with their ranks (all 0 for arms that rank nothing) and drop probabilities, and its clues.
        seen: bool, (tokens,); whether any query sees the token. Unseen tokens rank after all seen ones.
        texts: the original and the copies.
        droppable: rankable tokens of the document, those among them that the settings protect included.
        dropped: tokens dropped over all copies.
        marked: droppable tokens over all texts that are hidden, masked or out of the loss; a loss weight counts with
            what it takes away.
        spans: by field, in how many copies the document's spans are intact.
        right_clues: how many of its clues are the head entity of their sentence; None where none is marked.
    """

    ranked: RankedDocument
    seen: np.ndarray
    texts: tuple[AugmentedText, ...]
    droppable: int
    dropped: int
    marked: float = 0.0
    spans: Mapping[str, SpanCounts] = field(default_factory=dict)
    right_clues: int | None = None


class Augmenter:
    """Makes one arm's texts, document by document.

    Args:
        arm: its name, a key of arms.ARMS.
        trained: the name of the model to be trained among the score sets (`large`, `small` or another).
        tokenizer: the tokenizer of its scores.
        score: queries, head fields and excluded tokens.
        settings: alpha, beta, copies, seed, ...
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
        self.arm, self.score, self.settings = arm_named(arm), score, settings
        self.own = self.arm.own(trained, score.queries, settings.cue_fusion)
        self.protecting = sparing(settings, self.arm.spares)
        self.special_ids = set(special_token_ids(tokenizer))
        self.maker = TextMaker(tokenizer, settings, self.arm)
        self.writer = self.maker.writer
        draws = self.arm.copies and not self.arm.rewrites
        self.copies = range(1, settings.copies + 1 if draws else 1)
        self.generator = np.random.default_rng()  # set to the state of each copy

    def augment(self, rows: Sequence[tuple[Document, DocumentScores]]) -> list[AugmentedDocument]:
        """The training texts of some documents.

        Args:
            rows: documents with their scores, by score set.

        Returns:
            For each the original (copy 0) and the arm's copies.

        Raises:
            ElusiveError: if scores that the arm needs are missing, or the tokens of the model to be trained are not
                those of the contrasted pair.
        """
        seeds_DC4 = copy_seeds(self.settings.seed, [document.id for document, _ in rows], self.copies)
        return [self._augmented(*row, seeds_C4) for row, seeds_C4 in zip(rows, seeds_DC4, strict=True)]

    def _augmented(self, document: Document, scores: DocumentScores, seeds_C4: np.ndarray) -> AugmentedDocument:
        scored = self._scored(document, scores)
        own, text_T = scored.own, ~scored.special
        tokens = self._tokens(scored)
        ranks = arm_ranks(self.arm, tokens, self.settings)
        probability = drop_probabilities(self.arm, tokens, self.settings, ranks)
        clues = tuple(self.arm.clues(scored, words_of(scored))) if self.arm.clues else ()
        ranked = RankedDocument(document.id, document.text, own.token_ids, own.offsets, ranks, probability, clues)
        kept_CT = kept_in_copies(probability, seeds_C4, self.generator, tokens.units)
        made = [self.maker.original(ranked), *self.maker.copies(ranked, kept_CT, self.copies)]
        stay_CT = kept_CT if self.arm.deletes else np.ones_like(kept_CT)
        ids = [own.token_ids[stay] for stay in stay_CT & text_T]
        if self.writer.edits(ranked) and ids:
            ids = self.writer.token_ids([text for text, _ in made[1:]])
        texts = [
            AugmentedText(document.id, copy, self.arm.name, text, of_copy, marks)
            for copy, (text, marks), of_copy in zip((0, *self.copies), made, (own.token_ids[text_T], *ids), strict=True)
        ]
        return AugmentedDocument(
            ranked=ranked,
            seen=tokens.seen,
            texts=tuple(texts),
            droppable=int(np.count_nonzero(tokens.rankable)) + tokens.protected,
            dropped=int(stay_CT.size - np.count_nonzero(stay_CT)),
            marked=sum(_marked(one.marks) for one in made),
            spans=count_intact(document, own.offsets, stay_CT, self.score.head_fields),
            right_clues=self._right_clues(document, clues),
        )

    def _right_clues(self, document: Document, clues: Sequence[Clue]) -> int | None:
        fields = self.score.head_fields
        marked = any(span.field in fields for span in document.spans)
        return count_right(document, clues, fields) if marked else None

    def tokens(self, document: Document, scores: DocumentScores) -> Tokens:
        """What the arm's drop probabilities are made from: which tokens may be dropped, and its signal.

        Raises:
            ElusiveError: as `augment`.
        """
        return self._tokens(self._scored(document, scores))

    def _tokens(self, scored: ScoredDocument) -> Tokens:
        document, own = scored.document, scored.own
        rankable, seen = scored.rankable, own.queries > 0
        protected = protected_tokens(document, own.offsets, self.protecting, self.score.head_fields)
        signal = self.arm.signal(scored) if self.arm.signal else None
        units = first_tokens_of_units(self.settings.unit, document.text, own.offsets, scored.special)
        if units is not None:
            # A word is as good as the best of its tokens that may be ranked, but all of it is dropped or kept.
            signal = None if signal is None else np.where(rankable & seen, signal, -np.inf)
            rankable, protected = any_in_unit(rankable, units), any_in_unit(protected, units)
            keeps = self.settings.unseen_tokens == "keep"
            seen = ~any_in_unit(~seen, units) if keeps else any_in_unit(seen, units)
        return Tokens(rankable & ~protected, seen, signal, units, int(np.count_nonzero(rankable & protected)))

    def _scored(self, document: Document, scores: DocumentScores) -> ScoredDocument:
        own = scores_of(scores, self.own, document)
        # np.isin takes ten times as long for a short text.
        special = np.array([token in self.special_ids for token in own.token_ids.tolist()], dtype=bool)
        excluded = self.score.excluded_tokens
        content = rankable_tokens(document.text, own.token_ids, own.offsets, self.special_ids, excluded)
        return ScoredDocument(document, scores, self.own, special, content, self.score, self.settings)


def _marked(marks: TokenMarks | None) -> float:
    """Tokens that are hidden, masked (at the end of training) or out of the loss; a weight counts by what it takes."""
    if marks is None or marks.use == "select_loss":  # which labels are left out is seen in training
        return 0.0
    values = marks.values > 0 if marks.use == "mask_rising" else marks.values
    return float((1 - values if marks.use == "weigh_loss" else values).sum())


def augment_documents(
    documents: Iterable[Document],
    arm: str,
    scores: Mapping[ScoreSet, Iterable[TokenScores]],
    *,
    trained: str,
    tokenizer: PreTrainedTokenizerFast,
    score: ScoreSettings,
    settings: AugmentSettings,
    workers: int = 1,
    progress: ProgressFunction = silent,
) -> Iterator[AugmentedDocument]:
    """Augment a corpus; a document's texts depend on neither the others, nor batches, nor workers.

    Documents and scores are streams that are read side by side: no more than a batch for each process is held.

    Args:
        documents: the corpus.
        arm: its name, a key of arms.ARMS.
        scores: score sets, each in the order of the documents.
        trained: which model of them will be trained.
        tokenizer: its tokenizer.
        score: queries and head fields.
        settings: dropout.
        workers: processes.
        progress: called with (documents done, all documents; 0 where `documents` has no length).

    Yields:
        Augmented documents, in the order of the documents.

    Raises:
        ElusiveError: if there is no such arm, a score set that it needs is missing, or one is not of the same
            documents in the same order.
    """
    check_sets(arm_named(arm), scores, arm_named(arm).needs(trained, score.queries, settings.cue_fusion))
    total = len(documents) if isinstance(documents, Sized) else 0
    options = {"arm": arm, "trained": trained, "tokenizer": tokenizer, "score": score, "settings": settings}
    done = 0
    for batch in _mapped(options, _batches(_side_by_side(documents, scores), BATCH_DOCUMENTS), workers):
        done += len(batch)
        progress(done, total)
        yield from batch


def check_sets(arm: Arm, given: Iterable[ScoreSet], needed: Collection[ScoreSet]) -> None:
    """Refuse to begin without the scores that an arm's texts are made with.

    Raises:
        ElusiveError: names the score sets that are needed, and those given.
    """
    given = sorted(given)
    if not set(needed) <= set(given):
        raise ElusiveError(
            f"Arm {arm.name} is made with the scores {', '.join(map(str, needed))}, got "
            f"{', '.join(map(str, given)) or 'none'}. Score the corpus for it first."
        )


_Row = tuple[Document, DocumentScores]


def _side_by_side(documents: Iterable[Document], scores: Mapping[ScoreSet, Iterable[TokenScores]]) -> Iterator[_Row]:
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
    start_worker()
    _augmenter_of_worker = Augmenter(**options)


def _augment_in_worker(batch: list[_Row]) -> list[AugmentedDocument]:
    return _augmenter_of_worker.augment(batch)


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    stream = iter(items)
    return iter(lambda: list(itertools.islice(stream, size)), [])
