"""Captures the attention of models that compute it themselves, by hooks on their modules.

Axes: B batch, T tokens, H heads.
"""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from elusive.errors import ElusiveError

from . import tiles
from .architectures import OTHER_FAMILY
from .recorder import Recorder


@contextlib.contextmanager
def reporting_modules(decoder: torch.nn.Module, recorder: Recorder) -> Iterator[None]:
    """Let every module that returns attention probabilities report them and then let go of them.

    Modules are known by what they return, not by their names: a tuple or list with one tensor (batch, heads, tokens,
    tokens). The innermost module reports; its probabilities are taken out of its output, so that no layer around it
    sees them and no two layers' maps are ever kept.
    """
    report = functools.partial(_report, recorder)
    handles = [module.register_forward_hook(report) for module in decoder.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _report(recorder: Recorder, module: torch.nn.Module, _: Any, output: Any) -> Any:
    """A forward hook: the output without its attention map, which is reduced to `recorder`."""
    if not isinstance(output, tuple | list):
        return output
    batch, tokens = recorder.shape_BT
    maps = [
        i
        for i, item in enumerate(output)
        if isinstance(item, Tensor) and item.ndim == 4 and (len(item), *item.shape[2:]) == (batch, tokens, tokens)
    ]
    if not maps:
        return output
    probabilities_BHTT = output[maps[0]]
    _check_probabilities(module, probabilities_BHTT, len(maps))
    requests = (request.to(probabilities_BHTT.device) for request in recorder.next_requests())
    recorder.add(module, (tiles.sums_of_map(request, probabilities_BHTT) for request in requests))
    rest = [None if i == maps[0] else item for i, item in enumerate(output)]
    return getattr(output, "_make", type(output))(rest)


def _check_probabilities(module: torch.nn.Module, probabilities_BHTT: Tensor, maps: int) -> None:
    name = type(module).__name__
    if maps > 1:
        raise ElusiveError(f"{name} returns {maps} attention maps, expected one. {OTHER_FAMILY}")
    if probabilities_BHTT.triu(1).any():
        raise ElusiveError(f"Expected causal attention, but in {name} a token sees a later one. {OTHER_FAMILY}")
    error = float((probabilities_BHTT.sum(-1, dtype=torch.float32) - 1).abs().max())
    # Rounded to bf16, a row of n probabilities adds up to 1 within 2^-9.
    if not error <= (1e-4 if probabilities_BHTT.dtype == torch.float32 else 1e-2):
        raise ElusiveError(
            f"Expected attention probabilities from {name}, but its rows miss a sum of 1 by {error:.1e}. {OTHER_FAMILY}"
        )
