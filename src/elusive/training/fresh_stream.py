"""Fresh copies as a stream: the texts of augmented sets of any size, of which a few row groups are held at a time.

The order of an epoch is drawn from its number alone: the row groups of all files in a random order, dealt to the shares
one by one; each share takes a few groups at a time and gives their texts in a random order. So a stream goes on from a
position without drawing what came before it, and what a share gives depends on no other.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info
from transformers import PreTrainedTokenizerFast

from elusive.augmentation.rankings import RankedDocument, RankingFile
from elusive.errors import ElusiveError
from elusive.storage import Location, UrlPath

from .fresh import CHECKED_DOCUMENTS, CopyMaker, Epoch
from .sequences import token_rows

_TEXTS_AT_ONCE = 64
"""Texts that are tokenized together."""


class _Group(NamedTuple):
    """A row group: the number of its file, its own in the file, and its documents."""

    file: int
    number: int
    documents: int


class FreshStream(IterableDataset):
    """`FreshCopies` as an iterable dataset: the same texts in each epoch, streamed from files or URLs.

    Items are {"input_ids"} as of `FreshCopies`. A few row groups are in memory, whatever the size of the set.

    `state_dict` and `load_state_dict` keep the position, as torchdata's StatefulDataLoader and the IterableDataset of
    `datasets` have them: what comes after is the same as without the stop. DataLoader workers share a stream's texts;
    with workers, StatefulDataLoader keeps the position of each. transformers' Trainer takes the whole stream (rank 0 of
    1), deals it to its processes itself, and needs `max_steps`. Where processes are dealt parts here, they differ by up
    to a row group in an epoch, so end training by steps.

    Args:
        rankings: the ranking.parquet that `elusive augment` wrote, a path or URL; or several, of the parts of a corpus.
        tokenizer: the tokenizer whose tokens were ranked; its model is to be trained.
        seed: of the order.
        rank: which part this process gets, from 0.
        world_size: among how many processes the texts are dealt.
        window: row groups (256 documents each) that are held and mixed at a time.

    Raises:
        ElusiveError: if a file cannot be used (see `CopyMaker`), they are of different arms or settings, the arm marks
            tokens, or their tokens are not this tokenizer's.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> stream = FreshStream("s3://bucket/augmented/ranking.parquet", tokenizer)  # doctest: +SKIP
        >>> loader = DataLoader(stream, batch_size=8, collate_fn=collator)  # doctest: +SKIP
    """

    def __init__(
        self,
        rankings: str | Location | Sequence[str | Location],
        tokenizer: PreTrainedTokenizerFast,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        window: int = 16,
    ) -> None:
        if not 0 <= rank < world_size or window < 1:
            raise ElusiveError(
                "FreshStream: expected 0 <= rank < world_size and a window of at least 1, got "
                f"{rank}, {world_size} and {window}."
            )
        paths: list[str | Location] = [rankings] if isinstance(rankings, str | Path | UrlPath) else list(rankings)
        if not paths:
            raise ElusiveError("FreshStream: expected at least one ranking.parquet, got none.")
        self._files = [RankingFile(path) for path in paths]
        self.maker = CopyMaker(paths[0], tokenizer)
        self.maker.refuse_marks()
        self._check_alike()
        for ranked in itertools.islice(self._files[0].documents(), CHECKED_DOCUMENTS):
            self.maker.check_tokenizer(ranked)
        self._groups = [
            _Group(file, number, documents)
            for file, ranking in enumerate(self._files)
            for number, documents in enumerate(ranking.group_sizes())
        ]
        self._seed, self._rank, self._world_size, self._window = seed, rank, world_size, window
        self._epoch = Epoch(0)
        self._position: _Position | None = None
        self._resumed: _Position | None = None

    @property
    def texts(self) -> int:
        """Texts of an epoch, over all processes."""
        return sum(group.documents for group in self._groups) * self.maker.slots

    @property
    def epoch(self) -> int:
        """The epoch whose copies are given."""
        return self._epoch.get()

    def set_epoch(self, epoch: int) -> None:
        """Give the copies of this epoch, from 0, in DataLoader workers too."""
        self._epoch.set(epoch)

    def state_dict(self) -> dict[str, int]:
        """The position: what `load_state_dict` of a stream over the same files takes."""
        return (self._resumed or self._position or self._beginning())._asdict()

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next iteration go on from a position; those after it begin at the beginning.

        Raises:
            ElusiveError: if it is that of another share of the texts.
        """
        position = _Position(**{name: int(state[name]) for name in _Position._fields})
        here = self._beginning()
        if position.shares != here.shares or position.share != here.share:
            raise ElusiveError(
                f"FreshStream: expected the position of share {here.share} of {here.shares}, got that of "
                f"{position.share} of {position.shares}. Go on with as many processes and workers as before."
            )
        self._epoch.set(position.epoch)
        self._resumed = position

    def __iter__(self) -> Iterator[dict[str, list[int]]]:
        start, resumed, self._resumed = self._beginning(), self._resumed, None
        if resumed and resumed.epoch == start.epoch:
            start = resumed
        self._position = start
        numbered = enumerate(self._texts(start), start.given + 1)
        while batch := list(itertools.islice(numbered, _TEXTS_AT_ONCE)):
            rows = token_rows((text for _, text in batch), self.maker.tokenizer)
            for (given, _), row in zip(batch, rows, strict=True):
                self._position = start._replace(given=given)
                yield {"input_ids": row.tolist()}
        self._position = start._replace(given=0)

    def _beginning(self) -> "_Position":
        """Where the epoch begins in this process's share."""
        worker = get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker else (1, 0)
        return _Position(self.epoch, 0, self._rank * workers + number, self._world_size * workers)

    def _texts(self, position: "_Position") -> Iterator[str]:
        """The texts of a share behind a position."""
        generator = np.random.default_rng([self._seed, position.epoch])
        order = generator.permutation(len(self._groups))[position.share :: position.shares]
        skipped = position.given
        for first in range(0, len(order), self._window):
            groups = [self._groups[number] for number in order[first : first + self._window]]
            texts = sum(group.documents for group in groups) * self.maker.slots
            if skipped >= texts:
                skipped -= texts
                continue
            generator = np.random.default_rng([self._seed, position.epoch, position.share, first])
            documents = self._documents(groups)
            for place in generator.permutation(texts)[skipped:]:
                document, slot = divmod(int(place), self.maker.slots)
                yield self.maker.text(documents[document], slot, position.epoch)
            skipped = 0

    def _documents(self, groups: Sequence[_Group]) -> list[RankedDocument]:
        by_file = sorted(groups)
        return [
            document
            for file, of_file in itertools.groupby(by_file, lambda group: group.file)
            for document in self._files[file].read_groups([group.number for group in of_file])
        ]

    def _check_alike(self) -> None:
        first, *others = self._files
        for other in others:
            if (other.arm, other.settings) != (first.arm, first.settings):
                raise ElusiveError(
                    f"{first.path} and {other.path} were made by different arms or settings: expected the parts of one "
                    "set. Augment all parts in the same way."
                )


class _Position(NamedTuple):
    """Where a stream is.

    Attributes:
        epoch: from 0.
        given: texts of the share that were given in this epoch.
        share: which share of the texts, from 0.
        shares: how many there are: processes times workers.
    """

    epoch: int
    given: int
    share: int
    shares: int
