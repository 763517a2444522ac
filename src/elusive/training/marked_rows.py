"""Rows of tokens with the marks on them, and batches of both.

Axes: B rows of a batch, T tokens.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from elusive.augmentation.marks import MarkedText, MarkUse, TokenMarks, digest
from elusive.errors import ElusiveError

from .losses import LossWeights, selected_labels
from .packing import pack
from .sequences import pad_right, pieces_of, token_rows


@dataclasses.dataclass(frozen=True, eq=False)
class MarkedRow:
    """A row of tokens that training treats one by one.

    Attributes:
        token_ids: int32 (tokens,).
        use: what is done with the marks.
        values: float32 (tokens,), see `MarkUse`.
        reference: float32 (tokens,), each label's loss in the reference model; None until it is known.
    """

    token_ids: np.ndarray
    use: MarkUse
    values: np.ndarray
    reference: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.token_ids)

    def at(self, strength: float) -> "MarkedRow":
        """The row at some strength of the masking that rises; any other row is the same at each."""
        if self.use != "mask_rising":
            return self
        masked_T = (self.values > 0) & (self.values <= strength)
        return dataclasses.replace(self, use="mask_inputs", values=masked_T.astype(np.float32))


Row = np.ndarray | MarkedRow
"""Tokens to train on, int32 (tokens,); with marks where these do anything."""


def marked_rows(
    texts: Iterable[MarkedText], tokenizer: PreTrainedTokenizerFast, max_length: int, name: str = "text"
) -> list[Row]:
    """`tokenize_rows` of texts with their marks.

    Args:
        texts: the texts.
        tokenizer: of the model to be trained.
        max_length: longest row in tokens, at least 2.
        name: what the texts are, for messages.

    Raises:
        ElusiveError: if there are no texts, or marks are of other tokens.
    """
    rows = [piece for pieces in pieces_of_texts(texts, tokenizer, max_length, name) for piece in pieces]
    if not rows:
        raise ElusiveError(f"No {name} to train on: expected at least one text.")
    return rows


def pieces_of_texts(
    texts: Iterable[MarkedText], tokenizer: PreTrainedTokenizerFast, max_length: int, name: str = "text"
) -> Iterator[list[Row]]:
    """The rows of each text, several of a long one.

    Raises:
        ElusiveError: if marks are of other tokens.
    """
    plain, marked = itertools.tee(texts)
    rows = token_rows((text for text, _ in plain), tokenizer)
    for number, (row, (_, marks)) in enumerate(zip(rows, marked, strict=True), 1):
        pieces = pieces_of(row, max_length)
        values_T = None if marks is None else _values(row, marks, f"{name}, text {number}")
        if marks is None or values_T is None or not marks.acts:
            yield list(pieces)
            continue
        values = np.array_split(values_T, max(1, len(pieces)))
        yield [MarkedRow(piece, marks.use, of_piece) for piece, of_piece in zip(pieces, values, strict=True)]


def _values(row: np.ndarray, marks: TokenMarks, where: str) -> np.ndarray:
    """The marks on a text's tokens; those on the end of text that training puts behind them are neutral."""
    count = len(marks.values)
    if len(row) - count not in (0, 1) or digest(row[:count]) != marks.tokens:
        raise ElusiveError(
            f"{where}: its marks are of other tokens than the tokenizer of the model to be trained makes of it. They "
            "hold for the text as `elusive augment` wrote it, and for the model that it was told will be trained. "
            "Augment again, with that model's scores, or leave the text as it was."
        )
    # An end of text is a label like any other, and nothing follows that could be kept from seeing it.
    end = 1.0 if marks.use in ("weigh_loss", "select_loss") else 0.0
    return np.append(marks.values, np.float32(end))[: len(row)]


@dataclasses.dataclass(frozen=True, eq=False)
class ReferencedRows:
    """Rows that know the losses of their labels in a reference model.

    Attributes:
        rows: by number.
        losses: float32 (tokens,) by the bytes of the tokens; rows of the same tokens have the same.
    """

    rows: Sequence[Row]
    losses: Mapping[bytes, np.ndarray]

    def __getitem__(self, number: int) -> Row:
        row = self.rows[number]
        if isinstance(row, MarkedRow) and row.use == "select_loss":
            return dataclasses.replace(row, reference=self.losses[row.token_ids.tobytes()])
        return row


def mask_token_id(tokenizer: PreTrainedTokenizerFast, token: str = "") -> int:
    """The token that stands where an input is masked.

    Without a mask token it is the first of the unknown, padding, bos and eos token: a special token, because any other
    would say something, and the last ones last, because models were trained to read a new text behind them.

    Args:
        tokenizer: of the model to be trained.
        token: the token to take (empty: as above).

    Raises:
        ElusiveError: if it has no such token, or none of these.
    """
    if token:
        found = tokenizer.get_vocab().get(token)
        if found is None:
            raise ElusiveError(
                f"train.mask_token: expected a token of the model's vocabulary, got {token!r}. Give one such as "
                f"{tokenizer.eos_token!r}, or leave it empty."
            )
        return found
    for name in ("mask", "unk", "pad", "bos", "eos"):
        if (found := getattr(tokenizer, f"{name}_token_id")) is not None:
            return found
    raise ElusiveError("This tokenizer has no special token that could mask an input. Name one: train.mask_token.")


@dataclasses.dataclass(frozen=True)
class RowCollator:
    """Collates rows, with marks or without, into the tensors of a training step.

    Attributes:
        packed: into one row without padding, instead of padded ones.
        mask_token: id of the token at masked inputs.
        selected_ratio: share of the labels that is chosen where rows are marked for it.
        weighs: whether any batch of the training weighs labels; then all say how much theirs weigh.
    """

    packed: bool
    mask_token: int = 0
    selected_ratio: float = 1.0
    weighs: bool = False

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """A batch: what `pack` or `pad_right` gives, with masked inputs, and labels of weight 0 ignored.

        Where any key is hidden, the borders of packed texts hold it, or `hidden_keys`, bool (rows, longest). With
        `weighs`, `weights` are the labels' `LossWeights`.
        """
        rows = sorted(rows, key=lambda row: -len(row))  # as `pack` puts them
        batch: dict[str, Any] = {**(pack if self.packed else pad_right)([ids_of(row) for row in rows])}
        masked_BT = self._laid_out(rows, lambda row: _values_of(row, "mask_inputs", 0) > 0, False)
        batch["input_ids"][masked_BT] = self.mask_token
        hidden_BT = self._laid_out(rows, lambda row: _values_of(row, "hide_keys", 0) > 0, False)
        if hidden_BT.any() and self.packed:
            batch["borders"] = batch["borders"].hiding(hidden_BT[0])
        elif hidden_BT.any():
            batch["hidden_keys"] = hidden_BT
        if self.weighs:
            weights_BT = self._laid_out(rows, lambda row: _values_of(row, "weigh_loss", 1), 0.0)
            batch["labels"][weights_BT == 0] = -100
            batch["weights"] = self._weights(rows, batch["labels"], weights_BT)
        return batch

    def nothing(self) -> dict[str, Any]:
        """A batch of a token that nothing predicts."""
        batch = self([MarkedRow(np.zeros(2, np.int32), "weigh_loss", np.zeros(2, np.float32))])
        batch["labels"].fill_(-100)
        return batch

    def _weights(self, rows: Sequence[Row], labels_BT: Tensor, weights_BT: Tensor) -> LossWeights:
        candidates = [_values_of(row, "select_loss", 0) > 0 for row in rows]
        numbers = [np.where(of_row, number, -1) for number, of_row in enumerate(candidates)]
        text_BT = self._laid_out(numbers, lambda row: row, -1).masked_fill(labels_BT == -100, -1)
        # The first token of a row is no label.
        weights_BT, text_BT = weights_BT * (labels_BT != -100), text_BT.clone()
        weights_BT[:, 0], text_BT[:, 0] = 0.0, -1
        total = float(weights_BT[text_BT < 0].sum())
        total += sum(selected_labels(int((text_BT == n).sum()), self.selected_ratio) for n in range(len(rows)))
        reference_BT = self._laid_out(rows, _reference, 0.0) if (text_BT >= 0).any() else None
        return LossWeights(weights_BT, text_BT, reference_BT, self.selected_ratio, total)

    def _laid_out(self, rows: Sequence[Any], of: Callable[[Any], np.ndarray], fill: Any) -> Tensor:
        """One value for each token, as the batch holds the tokens."""
        values = [torch.from_numpy(of(row)) for row in rows]
        if self.packed:
            return torch.cat(values)[None]
        return torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=fill)


def ids_of(row: Row) -> np.ndarray:
    """The tokens of a row, int32 (tokens,)."""
    return row.token_ids if isinstance(row, MarkedRow) else row


def _values_of(row: Row, use: MarkUse, neutral: float) -> np.ndarray:
    if isinstance(row, MarkedRow) and row.use == use:
        return row.values
    return np.full(len(row), neutral, dtype=np.float32)


def _reference(row: Row) -> np.ndarray:
    if isinstance(row, MarkedRow) and row.reference is not None:
        return row.reference
    return np.zeros(len(row), dtype=np.float32)
