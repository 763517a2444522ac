"""What is captured of one layer's attention."""

import dataclasses
import functools

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Reading:
    """What is read out of one batch's attention.

    Attributes:
        query_weights_BT: float32, 1 where a position is a query, 0 elsewhere (padding included).
        include_self: whether a token's attention to itself counts.
        ranked_BT: boolean; where given, each row counts over these keys alone and is renormalised to sum to 1 over
            them; None counts every key.
    """

    query_weights_BT: Tensor
    include_self: bool = True
    ranked_BT: Tensor | None = None

    def to(self, device: torch.device) -> "Reading":
        """The same on another device."""
        if self.query_weights_BT.device == device:
            return self  # with the positions that it has found
        ranked_BT = None if self.ranked_BT is None else self.ranked_BT.to(device)
        return Reading(self.query_weights_BT.to(device), self.include_self, ranked_BT)

    def part(self, start: int, end: int) -> "Reading":
        """The same for one text of a packed row."""
        ranked_BT = None if self.ranked_BT is None else self.ranked_BT[:, start:end]
        return Reading(self.query_weights_BT[:, start:end], self.include_self, ranked_BT)

    @functools.cached_property
    def positions(self) -> Tensor:
        """The queries of each text side by side, (batch, queries); shorter rows end in positions of weight 0."""
        # Found once, because every look at a GPU waits for it.
        selected_BT = self.query_weights_BT > 0
        longest = int(selected_BT.sum(1).max()) if selected_BT.numel() else 0
        return selected_BT.int().argsort(dim=1, descending=True, stable=True)[:, :longest]

    @property
    def few(self) -> bool:
        """Whether so few queries are selected that their rows are better computed again on their own."""
        return 4 * self.positions.shape[1] < self.query_weights_BT.shape[1]
