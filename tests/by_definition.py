"""Attention and its column sums straight from the definition."""

import math

import torch
from torch import Tensor

from elusive.attention.masks import KeyRanges
from elusive.attention.request import CaptureRequest


def by_definition(
    request: CaptureRequest,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    ranges: KeyRanges,
    softcap: float | None = None,
    sinks_H: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The whole attention map in float64, then its output and column sums."""
    heads, tokens = query.shape[1:3]
    key, value = (x.double().repeat_interleave(heads // key.shape[1], dim=1) for x in (key, value))
    scores = query.double() @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~ranges.dense(), -math.inf)
    sinks = torch.full((heads,), -math.inf, device=query.device) if sinks_H is None else sinks_H
    scores = torch.cat([scores, sinks.double().view(1, -1, 1, 1).expand(len(query), -1, tokens, 1)], dim=-1)
    map_BHQK = scores.softmax(-1)[..., :tokens].nan_to_num()  # a row that attends to nothing
    output_BTHD = (map_BHQK @ value).transpose(1, 2)
    counted = map_BHQK if request.include_self else map_BHQK * (1 - torch.eye(tokens, device=query.device))
    if request.ranked_BT is not None:
        counted = counted * request.ranked_BT[:, None, None]
        mass = counted.sum(-1, keepdim=True)
        counted = torch.where(mass > 0, counted / mass, 0.0)
    return output_BTHD, torch.einsum("bmq,bhqk->bhmk", request.weights_BMT.double(), counted)
