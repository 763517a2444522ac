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

    def of_groups(self, groups_BT: Int64[Tensor, "B T"]) -> "tuple[CaptureRequest, ...]":
        """This request for the queries of each group alone, at least one.

        Args:
            groups_BT: the group of each query, from 0; -1 elsewhere.
        """
        groups = max(1, int(groups_BT.max()) + 1) if groups_BT.numel() else 1
        weights = (self.query_weights_BT * (groups_BT == group) for group in range(groups))
        return tuple(CaptureRequest(weights_BT, self.include_self, self.ranked_BT) for weights_BT in weights)

    def parts(self, lengths: tuple[int, ...]) -> "list[CaptureRequest]":
        """This request for each text of a packed sequence; made once for all layers.

        Args:
            lengths: tokens of each text.
        """
        if lengths not in self._parts:
            ranked = [None] * len(lengths) if self.ranked_BT is None else self.ranked_BT.split(lengths, dim=1)
            self._parts[lengths] = [
                CaptureRequest(weights_BT, self.include_self, ranked_BT)
                for weights_BT, ranked_BT in zip(self.query_weights_BT.split(lengths, dim=1), ranked, strict=True)
            ]
        return self._parts[lengths]

    @functools.cached_property
    def _parts(self) -> "dict[tuple[int, ...], list[CaptureRequest]]":
        return {}

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
