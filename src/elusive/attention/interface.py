"""The attention and mask functions that transformers calls, which also report how much attention each token receives.

Axes: L layers, B batch, T tokens, H heads, G key-value heads, M weightings of the queries, Q queries, K keys, D
channels.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from elusive.errors import ElusiveError

from .flex import column_sums, fused_attention, fused_output
from .masks import KeyRanges, key_ranges
from .recorder import Recorder, current_recorder
from .request import CaptureRequest, Softmax
from .tiles import received_by_rows, tiled_attention

ATTENTION = "elusive"
"""The attn_implementation under which `recorded_attention` is registered with transformers."""


def recorded_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | KeyRanges | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor | None, None]:
    """The attention function that transformers calls in every layer, in place of `sdpa`.

    transformers sets the parameters and their names. Right padding needs no attention mask here: attention is causal,
    so no token of the text sees the padding behind it, and padding has query weight 0.

    Args:
        module: the layer's attention module.
        query: (batch, heads, tokens, channels).
        key: (batch, key-value heads, tokens, channels).
        value: (batch, key-value heads, tokens, value channels).
        attention_mask: what `recorded_mask` made: None for plain causal attention, on a GPU the run of keys that each
            query attends to, else boolean (True = attend), (batch or 1, 1, tokens, tokens); float masks are added to
            the scores. Windows and chunks come this way.
        dropout: attention dropout; must be 0.
        scaling: factor of the scores (default: 1 / sqrt(channels)).
        softcap: Gemma 2's soft cap of the scores.
        s_aux: gpt-oss's sinks, one more logit for each head in the softmax's denominator, (heads,).
        is_causal: transformers' flag; None uses the module's.
        **kwargs: what else the architecture passes.

    Returns:
        The output (batch, tokens, heads, value channels), and None for the probabilities.

    Raises:
        ElusiveError: outside `recording`, or if the call is something other than causal self-attention of whole
            texts in evaluation mode.
    """
    recorder = current_recorder()
    if recorder is None:
        raise ElusiveError(
            f"The attention '{ATTENTION}' only runs inside elusive.attention.recording(...). To train or generate, "
            "load the model without naming an attention; scores borrow what they need."
        )
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    _check_call(recorder, query, key, causal or attention_mask is not None, dropout, kwargs)
    recorder.check_mask(attention_mask, query.shape[2])
    softmax = Softmax(float(query.shape[-1] ** -0.5 if scaling is None else scaling), softcap, s_aux)
    requests, gpu = [request.to(query.device) for request in recorder.next_requests()], on_gpu(query.device)
    if isinstance(attention_mask, KeyRanges) and not gpu:
        attention_mask = attention_mask.dense()  # a device map put this layer elsewhere
    if recorder.lengths and attention_mask is None and gpu:
        attention_mask = KeyRanges.causal(query.shape[2], query.device).packed(recorder.lengths)
    if not recorder.lengths or isinstance(attention_mask, KeyRanges):
        output, sums = _attention_and_sums(recorder, requests, query, key, value, attention_mask, softmax)
    else:
        output, sums = _attention_of_each_text(recorder, requests, query, key, value, attention_mask, softmax)
    recorder.add(module, sums)
    return output, None


def _attention_of_each_text(
    recorder: Recorder,
    requests: Sequence[CaptureRequest],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    softmax: Softmax,
) -> tuple[Tensor | None, Iterable[Tensor]]:
    """`_attention_and_sums` of a packed sequence, one text after the other."""
    outputs, sums, start = [], [], 0
    requests_of_texts = zip(*(request.parts(recorder.lengths) for request in requests), strict=True)
    for end, of_text in zip(itertools.accumulate(recorder.lengths), requests_of_texts, strict=True):
        part = None if mask is None else mask[:, :, start:end, start:end]
        q, k, v = (x[:, :, start:end] for x in (query, key, value))
        part_BTHD, part_sums = _attention_and_sums(recorder, of_text, q, k, v, part, softmax)
        outputs.append(part_BTHD)
        sums.append(part_sums)
        start = end
    whole_sums = (torch.cat(parts, dim=3) for parts in zip(*sums, strict=True))
    return None if recorder.is_last else torch.cat(outputs, dim=1), whole_sums


def _attention_and_sums(
    recorder: Recorder,
    requests: Sequence[CaptureRequest],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | KeyRanges | None,
    softmax: Softmax,
) -> tuple[Tensor | None, Iterable[Tensor]]:
    """One batch's output (batch, tokens, heads, channels), if needed, and its sums over queries.

    The sums are those of each request, (batch, heads, weightings, tokens), computed as they are taken.
    """
    fits = _fits_fused_kernel(query, key, value, mask, softmax)
    if on_gpu(query.device) and mask is None:
        mask = KeyRanges.causal(query.shape[2], query.device)
    if len(requests) > 1 or (fits and requests[0].few_queries):
        return _output_then_sums(recorder, requests, query, key, value, mask, softmax, fits)
    request, with_output = requests[0], not recorder.is_last
    if not isinstance(mask, KeyRanges):
        # On a GPU, tiles are for the masks that flex_attention does not get: added to the scores, or broken runs.
        output, received_BHMT = tiled_attention(request, query, key, value, mask, softmax, with_output=with_output)
    elif with_output or softmax.sinks_H is not None:
        output, received_BHMT = fused_attention(request, query, key, value, mask, softmax)
    else:
        output, received_BHMT = None, column_sums(request, query, key, mask, softmax)
    return output, [received_BHMT]


def _fits_fused_kernel(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | KeyRanges | None, softmax: Softmax
) -> bool:
    """Whether torch's fused kernel can compute the output."""
    # They have neither cap nor sinks, fall back to the whole map where channels differ and, on a GPU, in float32 where
    # heads share keys; and there they would need the whole of a mask.
    if softmax.softcap is not None or softmax.sinks_H is not None or key.shape[-1] != value.shape[-1]:
        return False
    one_by_one = query.shape[1] == key.shape[1] or query.dtype != torch.float32
    return not on_gpu(query.device) or (mask is None and one_by_one)


def _output_then_sums(
    recorder: Recorder,
    requests: Sequence[CaptureRequest],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | KeyRanges | None,
    softmax: Softmax,
    fits: bool,
) -> tuple[Tensor | None, Iterable[Tensor]]:
    """`_attention_and_sums` where the rows of the selected queries are computed a second time, on their own."""
    output, lse_BHT = None, None
    if fits and not recorder.is_last:
        dense, shared = mask if isinstance(mask, Tensor) else None, query.shape[1] != key.shape[1]
        output = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, dense, is_causal=dense is None, scale=softmax.scaling, enable_gqa=shared
        ).transpose(1, 2)
    if isinstance(mask, KeyRanges):
        # Sinks are no keys: only the whole row's log-sum-exp has them.
        if softmax.sinks_H is not None or not (fits or recorder.is_last):
            output, lse_BHT = fused_output(query, key, value, mask, softmax)
        return output, (column_sums(request, query, key, mask, softmax, lse_BHT) for request in requests)
    if not (fits or recorder.is_last):
        nothing = CaptureRequest(torch.zeros_like(requests[0].weights_BMT[:, :1]))
        output, _ = tiled_attention(nothing, query, key, value, mask, softmax)
    return output, (received_by_rows(request, query, key, mask, softmax) for request in requests)


def on_gpu(device: torch.device) -> bool:
    """Whether attention there goes through flex_attention, which compiles its sums for CUDA alone."""
    return device.type == "cuda"


def recorded_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    *,
    device: torch.device | str = "cpu",
    **options: Any,
) -> Tensor | KeyRanges | None:
    """The mask function that transformers calls before the layers, in place of `sdpa_mask`.

    transformers sets the parameters and their names.

    Args:
        batch_size: texts in the batch.
        q_length: queries of each.
        kv_length: keys of each.
        q_offset: tokens before the first query.
        kv_offset: tokens before the first key.
        device: where the mask is needed.
        **options: what else transformers passes (mask_function, attention_mask, local_size ...).

    Returns:
        What `recorded_attention` takes: on a GPU never of size tokens x tokens, unless some query attends to a broken
        run of keys; elsewhere what `sdpa_mask` makes.

    Raises:
        ElusiveError: on a GPU, if a token attends to a later one.
    """
    lengths = (batch_size, q_length, kv_length, q_offset, kv_offset)
    place, recorder = torch.device(device), current_recorder()
    if not on_gpu(place) or q_length != kv_length:
        return sdpa_mask(*lengths, device=place, **options)
    window = options.get("local_size")
    plain = options.get("allow_is_causal_skip", True) and options.get("attention_mask") is None
    if plain and (window is None or kv_length < window):
        ranges = KeyRanges.causal(kv_length, place)
    else:
        ranges = key_ranges(batch_size, kv_length, place, **options)
    if ranges is None:
        return sdpa_mask(*lengths, device=place, **options)
    if recorder is not None and recorder.lengths:
        return ranges.packed(recorder.lengths)
    return None if ranges is KeyRanges.causal(kv_length, place) else ranges


AttentionInterface.register(ATTENTION, recorded_attention)


# Without a mask function of its own, a registered attention gets no mask at all, and padding is ignored in silence.
AttentionMaskInterface.register(ATTENTION, recorded_mask)


def _check_call(
    recorder: Recorder, query: Tensor, key: Tensor, causal: bool, dropout: float, kwargs: dict[str, Any]
) -> None:
    expected, came = recorder.shape_BT, (query.shape[0], query.shape[2])
    if came != expected or key.shape[2] != query.shape[2]:
        raise ElusiveError(
            f"Expected self-attention over (batch, tokens) = {expected}, got queries {came} and {key.shape[2]} keys. "
            "Run whole texts with use_cache=False, and give query weights of the shape of the token ids."
        )
    if not causal:
        raise ElusiveError("Expected causal attention, but this layer sees later tokens. Choose a decoder-only model.")
    if dropout:
        raise ElusiveError(f"Expected attention dropout 0, got {dropout}. Call model.eval() first.")
    for keyword in ("position_bias", "sinks"):
        if kwargs.get(keyword) is not None:
            raise ElusiveError(
                f"This architecture passes '{keyword}' to its attention, which cannot be captured yet. "
                "Choose a pair of another family."
            )
