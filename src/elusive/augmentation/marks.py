"""What training does with single tokens of a text that stays whole, as an arm draws it and train.jsonl holds it.

Marks travel with their text and are of its tokens, by number: every token that the trained model's tokenizer makes of
the text, special ones that it adds included. A digest of these tokens goes with them, so that marks are never laid on
others.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from elusive.errors import ElusiveError

MarkUse = Literal["hide_keys", "mask_inputs", "mask_rising", "weigh_loss", "select_loss"]
"""What training does with a token's mark: 1 hides it as a key from all later positions; 1 puts the mask token in its
place at the input; it is the strength of masking from which on that is done, which rises from 0 to 1 over the training
(0: never); it is the weight of its loss as a label; 1 lets it be chosen among the labels."""

MARK_WORDS: dict[MarkUse, str] = {
    "hide_keys": "it hides tokens from later positions",
    "mask_inputs": "it masks tokens at the input",
    "mask_rising": "it masks more and more tokens at the input",
    "weigh_loss": "it weighs the loss of each token",
    "select_loss": "it chooses the tokens whose loss counts",
}

Use = Literal["delete", MarkUse]
"""How an arm uses its drop probabilities: to delete tokens from the text, or for marks on it."""

COLUMN = "token_marks"
"""The key in train.jsonl and the column in train.parquet; absent where an arm marks nothing."""

COLUMN_TYPE = pa.struct([("use", pa.string()), ("tokens", pa.string()), ("values", pa.list_(pa.float32()))])


@dataclass(frozen=True, eq=False)
class TokenMarks:
    """The marks of one text.

    Attributes:
        use: what training does with them.
        tokens: digest of the tokens that they are of.
        values: float32 (tokens,), of six decimals.
    """

    use: MarkUse
    tokens: str
    values: Float32[np.ndarray, " tokens"]

    @classmethod
    def of(cls, use: MarkUse, token_ids: Sequence[int] | np.ndarray, values: np.ndarray) -> "TokenMarks":
        """Marks of the tokens with these ids."""
        return cls(use, digest(token_ids), np.round(np.asarray(values, np.float64), 6).astype(np.float32))

    @property
    def row(self) -> dict[str, Any]:
        """As a row of train.jsonl holds them; JSON types only."""
        values = [int(value) if value in (0, 1) else round(value, 6) for value in self.values.tolist()]
        return {"use": self.use, "tokens": self.tokens, "values": values}

    @property
    def acts(self) -> bool:
        """Whether training with them differs from training without."""
        neutral = 1 if self.use == "weigh_loss" else 0
        return bool((self.values != neutral).any())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenMarks) and self.row == other.row


class MarkedText(NamedTuple):
    """A training text, and the marks on its tokens where it has any."""

    text: str
    marks: TokenMarks | None = None


def digest(token_ids: Sequence[int] | np.ndarray) -> str:
    """A short name of a sequence of tokens: 16 hexadecimal digits."""
    return hashlib.blake2b(np.asarray(token_ids, dtype="<i4").tobytes(), digest_size=8).hexdigest()


def marks_of(row: Mapping[str, Any]) -> TokenMarks | None:
    """The marks of a row of train.jsonl; None without any.

    Raises:
        ElusiveError: with the reason only, if they are none.
    """
    given = row.get(COLUMN)
    if given is None:
        return None
    if not isinstance(given, dict) or given.get("use") not in get_args(MarkUse):
        raise ElusiveError(
            f"{COLUMN}: expected a table with `use` = {' | '.join(get_args(MarkUse))}, got {given!r:.60}"
        )
    values = given.get("values")
    if (
        not isinstance(values, list)
        or not all(type(value) in (int, float) and 0 <= value < 1e6 for value in values)
        or not isinstance(given.get("tokens"), str)
    ):
        raise ElusiveError(f"{COLUMN}: expected `tokens`, a digest, and `values`, a number of 0 or more for each token")
    if given["use"] == "mask_rising" and max(values, default=0) > 1:
        raise ElusiveError(f"{COLUMN}: expected a number from 0 to 1 for each token with `use` = mask_rising")
    if given["use"] not in ("weigh_loss", "mask_rising") and not set(values) <= {0, 1}:
        raise ElusiveError(f"{COLUMN}: expected 0 or 1 for each token with `use` = {given['use']}")
    return TokenMarks(given["use"], given["tokens"], np.array(values, dtype=np.float32))
