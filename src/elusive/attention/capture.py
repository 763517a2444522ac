"""How each architecture's attention is read: through transformers' attention interface, or by hooks on its modules.

Axes: B batch, T tokens, H heads.
"""

import contextlib
import functools
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from elusive.errors import ElusiveError
from elusive.models.devices import decoder_device, put_back_weights

from . import tiles
from .architectures import _ANOTHER, way_in
from .recorder import HeadShard, Recorder, recording

_EXACT: weakref.WeakSet[PreTrainedModel] = weakref.WeakSet()
"""Models whose every layer has been seen to report once."""


_PACKS: weakref.WeakSet[PreTrainedModel] = weakref.WeakSet()
"""Models that have been seen to read texts packed in one row as each alone."""


def read_out(model: PreTrainedModel, recorder: Recorder, ids_BT: Tensor, **options: Any) -> None:
    """Run the decoder once, so that its layers report to `recorder`.

    No attention mask: padding stands on the right, where no token of a text sees it, and weighs nothing as a query.
    Relative and absolute positions, and ALiBi's slopes, are counted from the row's first token on.

    Args:
        model: in evaluation mode, with the attention that `attention_to_load` names.
        recorder: what is read out.
        ids_BT: token ids, (batch, tokens).
        **options: more arguments of the decoder, e.g. position_ids of texts packed in one row.

    Raises:
        ElusiveError: if the model cannot be read, with the reason.
    """
    if recorder.lengths:
        check_packing(model)
    _run(model, recorder, ids_BT, **options)


def _run(model: PreTrainedModel, recorder: Recorder, ids_BT: Tensor, **options: Any) -> None:
    way, decoder = way_in(model), _decoder(model)
    recorder.shard = head_shard(model)
    with recording(recorder), put_back_weights(decoder):
        if way == "interface":
            decoder(input_ids=ids_BT, use_cache=False, **options)
        else:
            with reporting_modules(decoder, recorder):
                decoder(input_ids=ids_BT, use_cache=False, output_attentions=True, **options)


def head_shard(model: PreTrainedModel) -> HeadShard | None:
    """The heads that this process computes, where tensor parallelism splits them."""
    if (getattr(model, "tp_size", None) or 1) == 1:
        return None
    mesh: Any = model._device_mesh
    mesh = mesh["tp"] if "tp" in (mesh.mesh_dim_names or ()) else mesh
    heads = model.config.get_text_config(decoder=True).num_attention_heads
    return HeadShard(mesh.get_local_rank(), mesh.size(), heads, mesh.get_group())


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
    batch, tokens = recorder.reading.query_weights_BT.shape
    maps = [
        i
        for i, item in enumerate(output)
        if isinstance(item, Tensor) and item.ndim == 4 and (len(item), *item.shape[2:]) == (batch, tokens, tokens)
    ]
    if not maps:
        return output
    probabilities_BHTT = output[maps[0]]
    _check_probabilities(module, probabilities_BHTT, len(maps))
    recorder.add(module, tiles.reduced(recorder.reading.to(probabilities_BHTT.device), probabilities_BHTT))
    rest = [None if i == maps[0] else item for i, item in enumerate(output)]
    return getattr(output, "_make", type(output))(rest)


def _check_probabilities(module: torch.nn.Module, probabilities_BHTT: Tensor, maps: int) -> None:
    name = type(module).__name__
    if maps > 1:
        raise ElusiveError(f"{name} returns {maps} attention maps, expected one. {_ANOTHER}")
    if probabilities_BHTT.triu(1).any():
        raise ElusiveError(f"Expected causal attention, but in {name} a token sees a later one. {_ANOTHER}")
    error = float((probabilities_BHTT.sum(-1, dtype=torch.float32) - 1).abs().max())
    # Rounded to bf16, a row of n probabilities adds up to 1 within 2^-9.
    if not error <= (1e-4 if probabilities_BHTT.dtype == torch.float32 else 1e-2):
        raise ElusiveError(
            f"Expected attention probabilities from {name}, but its rows miss a sum of 1 by {error:.1e}. {_ANOTHER}"
        )


def check_layers(model: PreTrainedModel) -> None:
    """Run three tokens through the whole model once, to see that each layer reports, and reports once.

    A reading stops behind the last layer that it wants, and would not notice layers that run twice.

    Raises:
        ElusiveError: if the model has no way in, or other than each of its layers reports once.
    """
    way_in(model)
    if model in _EXACT:
        return
    device = decoder_device(model)
    recorder = Recorder(torch.ones(1, 3, device=device))
    with torch.inference_mode():
        _run(model, recorder, torch.zeros(1, 3, dtype=torch.long, device=device))
        received_T = recorder.mean_over_layers(model)[0]
    total = float(received_T.sum())
    tolerance = 1e-3 if model.dtype == torch.float32 else 5e-2
    # Attention sinks take a part of each row.
    if not 0 < total <= 3 * (1 + tolerance):
        raise ElusiveError(
            f"{type(model).__name__} cannot be scored: three rows of attention add up to {total:.3f}, expected at "
            f"most 3. {_ANOTHER}"
        )
    _EXACT.add(model)


def _decoder(model: PreTrainedModel) -> torch.nn.Module:
    """The model without its head. ModernBERT calls its head `decoder`, and transformers' get_decoder returns that."""
    decoder = model.get_decoder()
    return decoder if isinstance(decoder, PreTrainedModel) else model.base_model


def check_packing(model: PreTrainedModel) -> None:
    """See once that two copies of a text, packed in one row with another between them, read alike.

    Positions that do not start again, or a mask that lets texts see each other, would show.

    Raises:
        ElusiveError: if texts cannot be packed for this model.
    """
    if model in _PACKS:
        return
    name = type(model).__name__
    if way_in(model) != "interface":
        raise ElusiveError(
            f"Texts packed in one row would see each other in {name}, which computes its attention itself. Give each "
            "text a row of its own."
        )
    lengths, device = (3, 58, 3), decoder_device(model)
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    ids_T = torch.cat([torch.arange(length, device=device) for length in lengths]) % vocabulary
    positions_T = torch.cat([torch.arange(length, device=device) for length in lengths])
    recorder = Recorder(torch.ones(1, sum(lengths), device=device), lengths=lengths)
    with torch.inference_mode():
        _run(model, recorder, ids_T[None], position_ids=positions_T[None])
        first_T, _, last_T = recorder.mean_over_layers(model)[0].split(list(lengths))
    error = float((first_T - last_T).abs().max())
    if error > (1e-4 if model.dtype == torch.float32 else 5e-2):
        raise ElusiveError(
            f"{type(model).__name__} cannot read texts packed in one row: the same text reads {error:.1e} apart at its "
            "start and at its end. Give each text a row of its own."
        )
    _PACKS.add(model)
