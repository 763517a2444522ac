"""New copies in every epoch: the same arm, rates and originals as the static copies, drawn while training.

Each document has the slots of the static set: 0 is the original, 1 to `copies` are copies. In epoch e, slot c holds
copy number c + e * copies, drawn by the same generator as every other copy. So epoch 0 is the static set, text for
text; and what an epoch holds depends on its number alone, not on how often or by which process it was asked for.
"""

import array
import bisect
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast, TrainerCallback

from elusive.augmentation.arms import arm_named
from elusive.augmentation.draws import copy_generator, copy_seeds, kept_in_copies, kept_tokens
from elusive.augmentation.from_clues import RankedClues
from elusive.augmentation.marked_copies import TextMaker
from elusive.augmentation.marks import MARK_WORDS, MarkedText, MarkUse
from elusive.augmentation.rankings import RANKING, RANKING_SCHEMA, RankedDocument, RankingFile
from elusive.augmentation.units import first_tokens_of_units
from elusive.clues.corpus_clues import CorpusClues
from elusive.config.augmentation import AugmentSettings
from elusive.errors import ElusiveError
from elusive.storage import Location, located

from .marked_rows import Row, pieces_of_texts
from .sequences import pad_right, token_rows
from .texts import TrainingTexts

Ranking = str | Location | RankedClues
"""The path or URL of a ranking.parquet, or what it would hold."""


class CopyMaker:
    """Any copy of any document, from its row of ranking.parquet.

    Args:
        ranking: a ranking.parquet, or ranked clues in memory; of it, only the settings are read here.
        tokenizer: the tokenizer whose tokens were ranked.

    Raises:
        ElusiveError: if the file is missing, unreadable, or of a version that kept no settings.
    """

    def __init__(self, ranking: Ranking, tokenizer: PreTrainedTokenizerFast) -> None:
        ranked = _ranked(ranking)
        self.arm, self.settings = ranked.arm, ranked.settings
        arm = arm_named(self.arm)
        if arm.rewrites:
            raise ElusiveError(
                f"The copies of arm {self.arm} are a language model's, which are not drawn anew. Train on the static "
                'ones (train.copies = "static").'
            )
        self.slots = 1 + self.settings.copies if arm.copies else 1
        self.marks: MarkUse | None = arm.marks
        self.tokenizer = tokenizer
        self.maker = TextMaker(tokenizer, self.settings, arm)
        self._generator = np.random.default_rng()  # set anew for each copy

    def text(self, ranked: RankedDocument, slot: int, epoch: int) -> str:
        """The text of one slot in one epoch; as `marked`, without the marks."""
        return self.marked(ranked, slot, epoch).text

    def marked(self, ranked: RankedDocument, slot: int, epoch: int) -> MarkedText:
        """The text of one slot in one epoch, with the marks on its tokens.

        Args:
            ranked: a document of ranking.parquet.
            slot: 0 for the original, then 1 to `copies`.
            epoch: from 0; epoch 0 is the static set.
        """
        if slot == 0:
            return self.maker.original(ranked)
        copy = slot + epoch * (self.slots - 1)
        generator = copy_generator(self.settings.seed, ranked.document_id, copy)
        kept = kept_tokens(ranked.drop_probability, generator, self._units(ranked))
        [made] = self.maker.copies(ranked, kept[None], [copy])
        return made

    def all_marked(self, ranked: RankedDocument, epoch: int) -> list[MarkedText]:
        """What `marked` gives of each slot in one epoch, drawn together, which takes half the time."""
        original = self.maker.original(ranked)
        if self.slots == 1:
            return [original]
        copies = range(1 + epoch * (self.slots - 1), 1 + (epoch + 1) * (self.slots - 1))
        [seeds_C4] = copy_seeds(self.settings.seed, [ranked.document_id], copies)
        kept_CT = kept_in_copies(ranked.drop_probability, seeds_C4, self._generator, self._units(ranked))
        return [original, *self.maker.copies(ranked, kept_CT, copies)]

    def _units(self, ranked: RankedDocument) -> np.ndarray | None:
        special_T = ~self.maker.writer.text_tokens(ranked)
        return first_tokens_of_units(self.settings.unit, ranked.text, ranked.offsets, special_T)

    def refuse_marks(self) -> None:
        """Refuse an arm whose marks no other trainer acts on.

        Raises:
            ElusiveError: if it is one.
        """
        if self.marks:
            raise ElusiveError(
                f"The arm {self.arm} acts in training ({MARK_WORDS[self.marks]}): other trainers would train on its "
                "texts as they are. Train with `elusive train`, or elusive.train."
            )

    def check_tokenizer(self, ranked: RankedDocument) -> None:
        """Refuse a tokenizer under which a document has other tokens than those that were ranked."""
        found = self.tokenizer(ranked.text, add_special_tokens=True, verbose=False)["input_ids"]
        if list(found) != ranked.token_ids.tolist():
            raise ElusiveError(
                f"Document {ranked.document_id!r} has other tokens in ranking.parquet than this tokenizer gives it. "
                "Fresh copies are drawn from the ranked tokens: give the tokenizer of the model that was scored as "
                "the one to be trained, or train on the static copies."
            )


def _ranked(ranking: Ranking) -> RankingFile | RankedClues:
    return ranking if isinstance(ranking, RankedClues) else _ranking_file(located(ranking))


def _ranking_file(path: Location) -> RankingFile:
    if not path.exists():
        raise ElusiveError(
            f"No {path.name} in {path.parent}: fresh copies are drawn from the file that `elusive augment` writes "
            "with train.jsonl. Give the folder that it wrote, or train on the static copies (train.copies = static)."
        )
    return RankingFile(path)


class Epoch:
    """A number that DataLoader workers see change, those that live longer than an epoch too."""

    def __init__(self, value: int) -> None:
        self._shared = torch.tensor(value, dtype=torch.int64).share_memory_()

    def get(self) -> int:
        """The number."""
        return int(self._shared)

    def set(self, value: int) -> None:
        """Change it in all processes."""
        if value < 0:
            raise ElusiveError(f"epoch: expected 0 or more, got {value}.")
        self._shared.fill_(value)


class FreshCopies(Dataset):
    """The texts of an augmented set, with copies drawn anew in every epoch; a map-style torch Dataset.

    Item i is the text of line i of train.jsonl, slot by slot of each document: {"input_ids"}, special tokens as the
    tokenizer adds them and eos at the end, whole however long. transformers' Trainer (and TRL's, with
    `dataset_kwargs={"skip_prepare_dataset": True}`) passes `set_epoch` on; give it `callbacks=[FreshEpochs(dataset)]`
    too, because it forgets to for the epoch in which a stopped training is resumed.

    Args:
        ranking: the ranking.parquet that `elusive augment` wrote.
        tokenizer: the tokenizer whose tokens were ranked; its model is to be trained.

    Raises:
        ElusiveError: if the file cannot be used (see CopyMaker), or its tokens are not this tokenizer's.
    """

    @classmethod
    def of_clues(cls, clues: CorpusClues, settings: AugmentSettings = AugmentSettings()) -> "FreshCopies":
        """The copies that `elusive.augment` makes of clues, drawn anew in every epoch; nothing is written to disk.

        Args:
            clues: from `Pair.clues`; the large model is to be trained, or another one of its tokenizer.
            settings: alpha, beta, copies, seed, ...

        Raises:
            ElusiveError: as `augment`.

        Example:
            >>> import elusive
            >>> pair = elusive.Pair.load("elusive/large", "elusive/small", device="cpu")
            >>> copies = FreshCopies.of_clues(pair.clues(elusive.biography_corpus(1, seed=1)[0]))
            >>> len(copies), copies.text(1, epoch=0) == copies.text(1, epoch=1)
            (11, False)
        """
        return cls(RankedClues.of(clues, settings), clues.tokenizer)

    def __init__(self, ranking: Ranking, tokenizer: PreTrainedTokenizerFast) -> None:
        self.maker = CopyMaker(ranking, tokenizer)
        self._ranked = _ranked(ranking)
        self._epoch = Epoch(0)
        for number in range(min(len(self._ranked), CHECKED_DOCUMENTS)):
            self.maker.check_tokenizer(self._ranked[number])

    @property
    def epoch(self) -> int:
        """The epoch whose copies are given."""
        return self._epoch.get()

    def set_epoch(self, epoch: int) -> None:
        """Give the copies of this epoch, from 0, in DataLoader workers too."""
        self._epoch.set(epoch)

    def __len__(self) -> int:
        return len(self._ranked) * self.maker.slots

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        self.maker.refuse_marks()
        [row] = token_rows([self.text(index)], self.maker.tokenizer)
        return {"input_ids": row.tolist()}

    def text(self, index: int, epoch: int | None = None) -> str:
        """The text of line `index` of train.jsonl, as it is in one epoch (None: the present one)."""
        return self.marked(index, epoch).text

    def marked(self, index: int, epoch: int | None = None) -> MarkedText:
        """`text` with the marks on its tokens."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {index}")
        document, slot = divmod(index % len(self), self.maker.slots)
        return self.maker.marked(self._ranked[document], slot, self.epoch if epoch is None else epoch)

    def texts(self, epoch: int | None = None) -> Iterator[str]:
        """All texts of one epoch (None: the present one), in the order of train.jsonl."""
        return (text for text, _ in self.marked_texts(epoch))

    def marked_texts(self, epoch: int | None = None) -> Iterator[MarkedText]:
        """`texts` with the marks on their tokens."""
        epoch = self.epoch if epoch is None else epoch
        for document in range(len(self._ranked)):
            yield from self.maker.all_marked(self._ranked[document], epoch)

    def as_datasets(self) -> Any:
        """The same items as a `datasets.Dataset`, which TRL insists on; they follow `set_epoch` of this object.

        TRL's SFTConfig then needs `dataset_kwargs={"skip_prepare_dataset": True}` (its preparation would draw each text
        once, for all epochs) and `remove_unused_columns=False`.

        Raises:
            ElusiveError: if `datasets` is not installed, or the arm marks tokens.
        """
        self.maker.refuse_marks()
        try:
            import datasets
        except ImportError:
            raise ElusiveError("Expected the library datasets. Run: pip install 'elusive[datasets]'") from None
        numbers = datasets.Dataset.from_dict({"number": range(len(self))})
        numbers.set_transform(self._items)
        return numbers

    def _items(self, rows: Mapping[str, Sequence[int]]) -> dict[str, list[list[int]]]:
        return {"input_ids": [self[number]["input_ids"] for number in rows["number"]]}


CHECKED_DOCUMENTS = 8
"""Documents that are tokenized again, to see that the tokenizer is that of the ranking."""


class FreshDropoutCollator:
    """A data collator that takes rows of ranking.parquet (one a document) and draws their texts while training.

    In each epoch a document gives one text. The slots follow each other, from a slot of its own for each document, so
    that originals and copies are mixed in every batch; after 1 + `copies` epochs every text of the static set was
    seen once, and new copies follow. What a document gives depends on its row and the epoch alone.

    With `datasets`: `load_dataset("parquet", data_files="augmented/ranking.parquet", split="train")`. The Trainer
    needs `remove_unused_columns=False` and `callbacks=[FreshEpochs(collator)]`; TRL's also
    `dataset_kwargs={"skip_prepare_dataset": True}`.

    Args:
        ranking: the ranking.parquet that `elusive augment` wrote; only its settings are read here.
        tokenizer: the tokenizer whose tokens were ranked; its model is to be trained.
        max_length: longest row in tokens (0: any); longer texts are refused, never cut.

    Raises:
        ElusiveError: if the file cannot be used (see CopyMaker), or its arm marks tokens.
    """

    @classmethod
    def of_clues(
        cls, clues: CorpusClues, settings: AugmentSettings = AugmentSettings(), max_length: int = 0
    ) -> "FreshDropoutCollator":
        """The same from clues in memory: rows then need the `id` of their document alone (`clues.to_datasets()`).

        Args:
            clues: from `Pair.clues`.
            settings: as in `FreshCopies.of_clues`.
            max_length: longest row in tokens (0: any).

        Raises:
            ElusiveError: as `augment`.
        """
        return cls(RankedClues.of(clues, settings), clues.tokenizer, max_length)

    def __init__(self, ranking: Ranking, tokenizer: PreTrainedTokenizerFast, max_length: int = 0) -> None:
        self.maker = CopyMaker(ranking, tokenizer)
        self._by_id = {one.document_id: one for one in ranking} if isinstance(ranking, RankedClues) else None
        self.maker.refuse_marks()
        self.max_length = max_length
        self._epoch = Epoch(-1)  # not told yet
        self._checked = False

    def set_epoch(self, epoch: int) -> None:
        """Draw the texts of this epoch, from 0, in DataLoader workers too."""
        self._epoch.set(epoch)

    def text(self, row: Mapping[str, Any], epoch: int | None = None) -> str:
        """The text that a document gives in one epoch (None: the present one)."""
        epoch = self._epoch.get() if epoch is None else epoch
        slots = self.maker.slots
        ranked = self._ranked_of(row)
        first = int(copy_generator(self.maker.settings.seed, ranked.document_id, 0).integers(slots))
        return self.maker.text(ranked, (first + epoch) % slots, epoch // slots)

    def _ranked_of(self, row: Mapping[str, Any]) -> RankedDocument:
        if self._by_id is None:
            if missing := [name for name in RANKING_SCHEMA.names if name not in row]:
                raise ElusiveError(
                    f"Expected rows of ranking.parquet, got rows without {', '.join(missing)}. Train on "
                    "ranking.parquet as it is, with remove_unused_columns=False."
                )
            return RankedDocument.of(row)
        id = row.get("id", row.get("document_id"))
        if id not in self._by_id:
            raise ElusiveError(
                f"Expected rows with the `id` of a document of the clues, got {id!r}. Give the trainer "
                "clues.to_datasets(), and set remove_unused_columns=False."
            )
        return self._by_id[id]

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """One batch: input_ids, attention_mask and labels (-100 on padding), int64 (rows, longest).

        Raises:
            ElusiveError: if the epoch was never told, columns are missing, the tokens are not the tokenizer's, or a
                text is too long.
        """
        if self._epoch.get() < 0:
            raise ElusiveError(
                "FreshDropoutCollator was not told the epoch, so every epoch would have the same texts. Give the "
                "trainer callbacks=[FreshEpochs(collator)], or call set_epoch before each epoch."
            )
        if not self._checked:
            self.maker.check_tokenizer(self._ranked_of(rows[0]))
            self._checked = True
        tokens = list(token_rows((self.text(row) for row in rows), self.maker.tokenizer))
        for row, found in zip(rows, tokens, strict=True):
            if self.max_length and len(found) > self.max_length:
                document = self._ranked_of(row).document_id
                raise ElusiveError(
                    f"Document {document!r}: expected at most {self.max_length} tokens, got {len(found)}. "
                    "Cut the corpus into shorter documents, or raise max_length."
                )
        batch = pad_right(tokens)
        return {**batch, "attention_mask": (batch["labels"] != -100).long()}


class FreshEpochs(TrainerCallback):
    """Tells FreshCopies or a FreshDropoutCollator each epoch of transformers' or TRL's trainer, also after a stop."""

    def __init__(self, told: FreshCopies | FreshDropoutCollator) -> None:
        self.told = told

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer."""
        # A share of an epoch where training is resumed in its midst; the sum of the shares may fall short by a hair.
        self.told.set_epoch(int((state.epoch or 0) + 1e-6))


class FreshRows(Dataset):
    """Token rows of one pass after the other, each pass with new copies.

    How many rows each text has, and their lengths, are counted ahead, so that their order can be drawn before the
    first step; the rows themselves are made when they are asked for, from their number alone.

    Args:
        copies: the texts.
        max_length: longest row in tokens; longer texts become several rows.

    Attributes:
        passes: rows in each pass counted so far.
    """

    def __init__(self, copies: FreshCopies, max_length: int) -> None:
        self._copies, self._max_length = copies, max_length
        self._first_rows: list[np.ndarray] = []  # in each pass the first row of each text
        self._pieces = functools.lru_cache(maxsize=64)(self._make_pieces)
        self._lengths = array.array("i")
        self.passes: list[int] = []

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row counted so far, int64 (rows,)."""
        return np.array(self._lengths, dtype=np.int64)

    def count_pass(self, texts: Iterable[MarkedText] | None = None) -> None:
        """Count the rows of one more pass.

        Args:
            texts: those of the pass (None: drawn here).
        """
        before, first_rows = len(self._lengths), array.array("q")
        for pieces in self._pieces_of(self._copies.marked_texts(len(self.passes)) if texts is None else texts):
            first_rows.append(len(self._lengths))
            self._lengths.extend(map(len, pieces))
        self._first_rows.append(np.array(first_rows, dtype=np.int64))
        self.passes.append(len(self._lengths) - before)

    @property
    def uses(self) -> frozenset[MarkUse]:
        """To what use rows are marked."""
        marks = self._copies.maker.marks
        return frozenset((marks,) if marks else ())

    def __len__(self) -> int:
        return len(self._lengths)

    def __getitem__(self, number: int) -> Row:
        epoch = bisect.bisect_right([int(first_rows[0]) for first_rows in self._first_rows], number) - 1
        # The last text that begins at or before this row: one without tokens has none, and begins where the next does.
        text = int(np.searchsorted(self._first_rows[epoch], number, side="right")) - 1
        return self._pieces(epoch, text)[number - int(self._first_rows[epoch][text])]

    def _make_pieces(self, epoch: int, text: int) -> list[Row]:
        [pieces] = self._pieces_of([self._copies.marked(text, epoch)])
        return pieces

    def _pieces_of(self, texts: Iterable[MarkedText]) -> Iterator[list[Row]]:
        return pieces_of_texts(texts, self._copies.maker.tokenizer, self._max_length, "fresh copies")


def ranking_beside(texts: str | Location) -> Location:
    """The ranking.parquet that was written with a train.jsonl.

    Raises:
        ElusiveError: if there is none.
    """
    path = located(texts).with_name(RANKING)
    _ranking_file(path)
    return path


def fresh_rows(texts: str | Location, tokenizer: PreTrainedTokenizerFast, max_length: int) -> FreshRows:
    """The rows of the first pass over the fresh copies of a train.jsonl; further passes are still to be counted.

    Args:
        texts: a train.jsonl with the ranking.parquet that was written with it.
        tokenizer: of the model to be trained.
        max_length: longest row in tokens.

    Raises:
        ElusiveError: if there is no ranking.parquet beside it, it does not belong to these texts, or they have no
            token.
    """
    copies = FreshCopies(ranking_beside(texts), tokenizer)
    rows = FreshRows(copies, max_length)
    rows.count_pass(_first_pass(texts, copies))
    if not len(rows):
        raise ElusiveError(f"No {texts} to train on: expected at least one text.")
    return rows


def _first_pass(texts: str | Location, copies: FreshCopies) -> Iterator[MarkedText]:
    """The texts of the first pass, each of which a train.jsonl must hold."""
    static_texts = TrainingTexts(located(texts)).marked()
    for number, (static, fresh) in enumerate(itertools.zip_longest(static_texts, copies.marked_texts(0)), 1):
        if static is None or static != fresh:
            raise ElusiveError(
                f"{texts}, line {number}: expected what ranking.parquet beside it gives for the first pass, got "
                "another text or other marks. Fresh copies are drawn from ranking.parquet: train on a folder as "
                "`elusive augment` wrote it, or on the static copies (train.copies = static)."
            )
        yield static
