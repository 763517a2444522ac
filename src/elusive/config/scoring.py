"""Settings of scoring: whose attention is averaged, over what, and in what batches."""

import dataclasses
from typing import Literal

from .checks import check

Queries = Literal["cues", "spans", "all"]


Sink = Literal["auto", "first-token", "none"]


@dataclasses.dataclass(frozen=True)
class ScoreSettings:
    """Whose attention is captured, and how it is averaged."""

    queries: Queries = "cues"
    """Query positions of the attention and distance arms: before each answer span, all that predict it, or all."""
    head_fields: tuple[str, ...] = ("name",)
    """Span fields that are head entities: clues, not answers, so never queries."""
    include_self: bool = True
    """Count a token's attention to itself (q >= k); false leaves it out (q > k)."""
    excluded_tokens: tuple[str, ...] = (".", ",")
    """Never ranked and never dropped, in addition to special tokens and white space."""
    renormalise: bool = False
    """Leave attention to tokens that are never ranked out, and scale the rest of each row to sum to 1."""
    sink: Sink = "auto"
    """The first token of each text takes up surplus attention where no bos stands before it: never ranked and never
    dropped then (auto), or always (first-token), or treated like any other (none)."""
    max_length: int = 0
    """Longest window in tokens (0: the model's own context)."""
    max_batch_tokens: int = 0
    """Tokens in one forward pass, padding included (0: what suits the device, from 1,024 on a CPU to 16,384)."""
    packed: bool = False
    """Pack the texts of a batch into one sequence without padding; slower on sorted texts."""
    shard_documents: int = 256
    """Documents in one Parquet file; an interrupted run loses at most one."""

    def __post_init__(self) -> None:
        check(self.max_length >= 0, "score.max_length", "0 or more", self.max_length)
        check(self.max_batch_tokens >= 0, "score.max_batch_tokens", "0 or more", self.max_batch_tokens)
        check(self.shard_documents > 0, "score.shard_documents", "at least 1", self.shard_documents)
