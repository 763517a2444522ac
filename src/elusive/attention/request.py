"""What one forward pass captures of each layer's attention.

Axes: B batch, T tokens, Q queries, H heads.
"""

import dataclasses
import functools

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class CaptureRequest:
    """Which queries and keys of one batch count.

    Attributes:
        query_weights_BT: float32, 1 where a position is a query, 0 elsewhere (padding included).
        include_self: whether a token's attention to itself counts.
        ranked_BT: boolean; where given, each query counts over these keys alone and is renormalised to sum to 1 over
            them; None counts every key.
    """

    query_weights_BT: Float32[Tensor, "B T"]
    include_self: bool = True
    ranked_BT: Bool[Tensor, "B T"] | None = None

    def to(self, device: torch.device) -> "CaptureRequest":
        """This request on another device."""
        if self.query_weights_BT.device == device:
            return self  # with the positions that it has found
        ranked_BT = None if self.ranked_BT is None else self.ranked_BT.to(device)
        return CaptureRequest(self.query_weights_BT.to(device), self.include_self, ranked_BT)

    def part(self, start: int, end: int) -> "CaptureRequest":
        """This request for one text of a packed sequence."""
        ranked_BT = None if self.ranked_BT is None else self.ranked_BT[:, start:end]
        return CaptureRequest(self.query_weights_BT[:, start:end], self.include_self, ranked_BT)

    @functools.cached_property
    def positions(self) -> Int64[Tensor, "B Q"]:
        """The queries of each text, (batch, queries); texts with fewer queries end in positions of weight 0."""
        # Found once, because the CPU waits for the GPU whenever it needs a value from it.
        selected_BT = self.query_weights_BT > 0
        longest = int(selected_BT.sum(1).max()) if selected_BT.numel() else 0
        return selected_BT.int().argsort(dim=1, descending=True, stable=True)[:, :longest]

    @property
    def few_queries(self) -> bool:
        """Whether computing the selected queries a second time on their own is cheaper than capturing all of them."""
        return 4 * self.positions.shape[1] < self.query_weights_BT.shape[1]


@dataclasses.dataclass(frozen=True, eq=False)
class Softmax:
    """How a layer turns products of queries and keys into probabilities.

    Attributes:
        scaling: factor of the scores.
        softcap: Gemma 2's soft cap of the scores.
        sinks_H: gpt-oss's sinks, one more logit in each head's softmax.
    """

    scaling: float
    softcap: float | None = None
    sinks_H: Float[Tensor, " H"] | None = None
