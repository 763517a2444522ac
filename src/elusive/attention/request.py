"""What one forward pass captures of each layer's attention.

Axes: B batch, M weightings of the queries, T tokens, Q queries, H heads.
"""

import dataclasses
import functools

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class CaptureRequest:
    """Which queries and keys of one batch count, for one or more weightings of the queries.

    Attributes:
        weights_BMT: float32, for each weighting 1 where a position is a query, 0 elsewhere (padding included).
        include_self: whether a token's attention to itself counts.
        ranked_BT: boolean; where given, each query counts over these keys alone and is renormalised to sum to 1 over
            them; None counts every key.
    """

    weights_BMT: Float32[Tensor, "B M T"]
    include_self: bool = True
    ranked_BT: Bool[Tensor, "B T"] | None = None

    @property
    def weightings(self) -> int:
        """Number of weightings."""
        return self.weights_BMT.shape[1]

    def to(self, device: torch.device) -> "CaptureRequest":
        """This request on another device."""
        if self.weights_BMT.device == device:
            return self  # with the positions that it has found
        ranked_BT = None if self.ranked_BT is None else self.ranked_BT.to(device)
        return CaptureRequest(self.weights_BMT.to(device), self.include_self, ranked_BT)

    def of_texts(self, texts: slice) -> "CaptureRequest":
        """This request for some texts of the batch."""
        ranked_BT = None if self.ranked_BT is None else self.ranked_BT[texts]
        return CaptureRequest(self.weights_BMT[texts], self.include_self, ranked_BT)

    def in_parts_of(self, most: int) -> "tuple[CaptureRequest, ...]":
        """This request in parts of at most so many weightings; itself, if it has no more."""
        if self.weightings <= most:
            return (self,)
        return tuple(
            CaptureRequest(weights_BMT, self.include_self, self.ranked_BT)
            for weights_BMT in self.weights_BMT.split(most, 1)
        )

    def parts(self, lengths: tuple[int, ...]) -> "list[CaptureRequest]":
        """This request for each text of a packed sequence; made once for all layers.

        Args:
            lengths: tokens of each text.
        """
        if lengths not in self._parts:
            ranked = [None] * len(lengths) if self.ranked_BT is None else self.ranked_BT.split(lengths, dim=1)
            self._parts[lengths] = [
                CaptureRequest(weights_BMT, self.include_self, ranked_BT)
                for weights_BMT, ranked_BT in zip(self.weights_BMT.split(lengths, dim=2), ranked, strict=True)
            ]
        return self._parts[lengths]

    @functools.cached_property
    def _parts(self) -> "dict[tuple[int, ...], list[CaptureRequest]]":
        return {}

    @functools.cached_property
    def positions(self) -> Int64[Tensor, "B Q"]:
        """The queries of each text, of all weightings together, (batch, queries).

        Texts with fewer queries end in positions of weight 0.
        """
        # Found once, because the CPU waits for the GPU whenever it needs a value from it.
        selected_BT = (self.weights_BMT > 0).any(1)
        longest = int(selected_BT.sum(1).max()) if selected_BT.numel() else 0
        return selected_BT.int().argsort(dim=1, descending=True, stable=True)[:, :longest]

    @functools.cached_property
    def selected_weights(self) -> Float32[Tensor, "B M Q"]:
        """The weights at `positions`."""
        return self.weights_BMT.gather(2, self.positions[:, None].expand(-1, self.weightings, -1))

    @functools.cached_property
    def few_and_many(self) -> "tuple[list[int], CaptureRequest | None, list[tuple[int, CaptureRequest]]]":
        """Weightings with few queries and the request of all of these, then each other weighting and its request."""
        counts_M = (self.weights_BMT > 0).sum(2).amax(0).tolist()
        few = [number for number, count in enumerate(counts_M) if 4 * count < self.weights_BMT.shape[2]]
        many = [(number, self._of([number])) for number in range(self.weightings) if number not in few]
        return few, self._of(few) if few else None, many

    def _of(self, weightings: list[int]) -> "CaptureRequest":
        return CaptureRequest(self.weights_BMT[:, weightings], self.include_self, self.ranked_BT)

    @property
    def few_queries(self) -> bool:
        """Whether computing the selected queries a second time on their own is cheaper than capturing all of them."""
        return 4 * self.positions.shape[1] < self.weights_BMT.shape[2]


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
