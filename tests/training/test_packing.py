"""Packed rows by hand: borders, labels, and attention that no text shares."""

import numpy as np
import pytest
import torch
from accelerate.utils import send_to_device
from hypothesis import given
from hypothesis import strategies as st

from elusive.training.packing import Borders, pack, packed_attention


def test_a_packed_row_by_hand():
    batch = pack([np.array([5, 6], np.int32), np.array([7, 8, 9], np.int32)])
    assert batch["input_ids"].tolist() == [[7, 8, 9, 5, 6]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert batch["labels"].tolist() == [[-100, 8, 9, -100, 6]]
    assert batch["use_cache"] is False


def test_texts_of_like_lengths_share_a_group():
    groups = Borders.of([10, 8, 7, 3, 3]).groups
    assert [(group.first, group.texts, group.longest) for group in groups] == [(0, 2, 10), (18, 1, 7), (25, 2, 3)]
    assert groups[0].kept_T.tolist() == [*range(10), *range(10, 18)]


def test_borders_move_with_their_batch():
    moved = send_to_device(pack([np.array([1, 2, 3])]), "meta")
    assert moved["borders"].groups[0].places_BM.device.type == "meta"
    assert moved["input_ids"].device.type == "meta"


def test_a_model_that_drops_the_borders_is_told():
    states = torch.randn(1, 2, 4, 8)
    with pytest.raises(ValueError, match="does not pass the borders of packed texts on"):
        packed_attention(torch.nn.Identity(), states, states, states, None)


def by_hand(query, key, value, lengths, window=None, softcap=None, sinks=None):
    """Attention text by text from the definition, float64; (tokens, heads, channels)."""
    outputs, begin = [], 0
    for length in lengths:
        q, k, v = (x[0, :, begin : begin + length].double() for x in (query, key, value))
        shared = q.shape[0] // k.shape[0]
        k, v = k.repeat_interleave(shared, 0), v.repeat_interleave(shared, 0)
        logits = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        if softcap:
            logits = softcap * torch.tanh(logits / softcap)
        for i in range(length):
            for j in range(length):
                if j > i or (window and i - j >= window):
                    logits[:, i, j] = -torch.inf
        weights = logits.exp()
        total = weights.sum(-1, keepdim=True) + (0 if sinks is None else sinks.double().exp().view(-1, 1, 1))
        outputs.append((weights / total @ v).transpose(0, 1))
        begin += length
    return torch.cat(outputs)


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    window=st.one_of(st.none(), st.integers(1, 14)),
    softcap=st.sampled_from([None, 3.0]),
    with_sinks=st.booleans(),
    shared=st.sampled_from([1, 2]),
)
def test_attention_is_that_of_each_text_alone(lengths, window, softcap, with_sinks, shared):
    lengths = sorted(lengths, reverse=True)
    torch.manual_seed(sum(lengths))
    query = torch.randn(1, 4, sum(lengths), 8)
    key, value = (torch.randn(1, 4 // shared, sum(lengths), 8) for _ in range(2))
    sinks = torch.randn(4) if with_sinks else None
    output, _ = packed_attention(
        torch.nn.Identity(),
        query,
        key,
        value,
        None,
        borders=Borders.of(lengths),
        softcap=softcap,
        sliding_window=window,
        s_aux=sinks,
    )
    expected = by_hand(query, key, value, lengths, window, softcap, sinks)
    assert torch.allclose(output[0].double(), expected, atol=1e-5)
