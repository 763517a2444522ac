"""One forward pass through a model whose layers report their attention, and the checks before it.

Axes: B batch, T tokens, H heads.
"""

import weakref
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from elusive.errors import ElusiveError
from elusive.models.devices import decoder_device, put_back_weights

from .architectures import OTHER_FAMILY, way_in
from .hooks import reporting_modules
from .recorder import HeadShard, Recorder, recording

_LAYERS_CHECKED: weakref.WeakSet[PreTrainedModel] = weakref.WeakSet()
"""Models whose layers each reported exactly once."""


_PACKING_CHECKED: weakref.WeakSet[PreTrainedModel] = weakref.WeakSet()
"""Models that gave a text packed with others the attention that it has alone."""


def capture(model: PreTrainedModel, recorder: Recorder, ids_BT: Tensor, **options: Any) -> Any:
    """Run the decoder once, so that its layers report to `recorder`.

    No attention mask: padding stands on the right, where no token of a text sees it, and weighs nothing as a query.
    Relative and absolute positions, and ALiBi's slopes, are counted from the first token of a sequence.

    Args:
        model: in evaluation mode, with the attention that `attention_to_load` names.
        recorder: says what to capture, and receives it.
        ids_BT: token ids, (batch, tokens).
        **options: more arguments of the decoder, e.g. position_ids of texts packed into one sequence.

    Returns:
        The decoder's output, as transformers gives it; None if the recorder ended the pass early.

    Raises:
        ElusiveError: if the model's attention cannot be captured, with the reason.
    """
    if recorder.lengths:
        check_packing(model)
    return _run(model, recorder, ids_BT, **options)


def _run(model: PreTrainedModel, recorder: Recorder, ids_BT: Tensor, **options: Any) -> Any:
    way, decoder, output = way_in(model), decoder_of(model), None
    recorder.shard = head_shard(model)
    with recording(recorder), put_back_weights(decoder):
        if way == "interface":
            output = decoder(input_ids=ids_BT, use_cache=False, **options)
        else:
            with reporting_modules(decoder, recorder):
                output = decoder(input_ids=ids_BT, use_cache=False, output_attentions=True, **options)
    return output


def head_shard(model: PreTrainedModel) -> HeadShard | None:
    """The heads that this process computes, where tensor parallelism splits them."""
    if (getattr(model, "tp_size", None) or 1) == 1:
        return None
    mesh: Any = model._device_mesh
    mesh = mesh["tp"] if "tp" in (mesh.mesh_dim_names or ()) else mesh
    heads = model.config.get_text_config(decoder=True).num_attention_heads
    return HeadShard(mesh.get_local_rank(), mesh.size(), heads, mesh.get_group())


def decoder_of(model: PreTrainedModel) -> torch.nn.Module:
    """The model without its head."""
    # transformers' get_decoder returns ModernBERT's head, which has this name, and all of Llama 4.
    parts = (model.get_decoder(), model.base_model, getattr(model, "model", None))
    found = (part for part in parts if isinstance(part, PreTrainedModel) and part is not model)
    return next(found, model.base_model)


def check_layers(model: PreTrainedModel) -> None:
    """Run three tokens through the whole model once, to see that each layer reports, and reports once.

    A capture stops after the last layer that it needs, and would not notice layers that run twice.

    Raises:
        ElusiveError: if attention cannot be captured, or a layer does not report exactly once.
    """
    way_in(model)
    if model in _LAYERS_CHECKED:
        return
    device = decoder_device(model)
    recorder = Recorder(torch.ones(1, 3, device=device))
    with torch.inference_mode():
        _run(model, recorder, torch.zeros(1, 3, dtype=torch.long, device=device))
        received_T = recorder.mean_over_layers(model)[0]
    total = float(received_T.sum())
    tolerance = 1e-3 if model.dtype == torch.float32 else 5e-2
    # Attention sinks take a part of what each query gives.
    if not 0 < total <= 3 * (1 + tolerance):
        raise ElusiveError(
            f"{type(model).__name__} cannot be scored: the attention of three queries adds up to {total:.3f}, expected "
            f"at most 3. {OTHER_FAMILY}"
        )
    _LAYERS_CHECKED.add(model)


def check_packing(model: PreTrainedModel) -> None:
    """Check once that a text receives the same attention at both ends of a packed sequence, with another text between.

    Positions that do not restart, or a mask that lets texts see each other, would show.

    Raises:
        ElusiveError: if texts cannot be packed for this model.
    """
    if model in _PACKING_CHECKED:
        return
    name = type(model).__name__
    if way_in(model) != "interface":
        raise ElusiveError(
            f"Texts packed into one sequence would see each other in {name}, which computes its attention itself. Give "
            "each text a sequence of its own."
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
            f"{name} cannot take texts packed into one sequence: the attention of one text differs by {error:.1e} "
            "between the start of a sequence and its end. Give each text a sequence of its own."
        )
    _PACKING_CHECKED.add(model)
