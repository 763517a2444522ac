"""Every architecture through the GPU's attention, uncompiled on a CPU, against transformers' eager attention."""

import numpy as np
import pytest
import torch
from torch.nn.attention import flex_attention as torch_flex

from elusive.attention import architectures as ways
from elusive.attention import capture, interface, tiles
from elusive.attention.recorder import Recorder, recording

from .. import architectures
from ..tiny_models import CONFIGS, eager_attention, model_pair, tiny_config

BY_INTERFACE = [name for name in CONFIGS if ways.attention_to_load(tiny_config(name)) == "elusive"]
TOLERANCE = 2e-6
"""Twice that of the tiles: sums go through their logarithms."""


@pytest.fixture(autouse=True)
def as_on_gpu(monkeypatch):
    """Every device counts as a GPU, where there are no tiles, and flex_attention runs as plain operations."""
    torch.set_num_threads(1)
    monkeypatch.setattr(interface, "on_gpu", lambda device: True)
    monkeypatch.setattr(torch_flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)

    def never(*args, **kwargs):
        raise AssertionError("a whole mask was made")

    monkeypatch.setattr(interface, "tiled_attention", never)
    monkeypatch.setattr(interface, "received_by_rows", never)


@pytest.mark.parametrize("name", BY_INTERFACE)
def test_padded_and_packed_texts_score_as_eager_attention(name):
    model, eager = model_pair(name)
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(2, 256, (length,), generator=generator) for length in architectures.LENGTHS]
    maps = [architectures.attention_map(eager, row_T) for row_T in ids]
    for every, include_self in ((1, True), (13, False)):
        assert architectures.padded_error(model, ids, maps, every, include_self) <= TOLERANCE
    assert architectures.packed_error(model, ids, maps) <= TOLERANCE


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss", "mistral", "llama4"])
@pytest.mark.parametrize("all_queries", [True, False])
def test_left_padding_with_an_attention_mask(name, all_queries):
    model, eager = model_pair(name)
    ids = [torch.randint(2, 256, (length,)) for length in (70, 33)]
    padding = [70 - len(row) for row in ids]
    ids_BT = torch.stack([torch.nn.functional.pad(row, (n, 0)) for n, row in zip(padding, ids, strict=True)])
    mask_BT = torch.stack([(torch.arange(70) >= n).long() for n in padding])
    weights_BT = mask_BT.float() if all_queries else torch.zeros(mask_BT.shape)
    weights_BT[:, -1] = 1.0
    with torch.no_grad(), recording(Recorder(weights_BT)) as recorder:
        model.get_decoder()(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False)
    received_BT = recorder.mean_over_layers(model).numpy()
    for n, row, received_T in zip(padding, ids, received_BT, strict=True):
        map_QK = eager_attention(eager, row.tolist())
        assert not received_T[:n].any()
        np.testing.assert_allclose(received_T[n:], map_QK.sum(0) if all_queries else map_QK[-1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["llama", "gpt_neox", "gemma2", "gpt_oss", "mistral"])
def test_the_sums_of_several_weightings_equal_eager_attention(name, packed):
    model, eager = model_pair(name)
    lengths = (60, 33)
    ids = [torch.randint(2, 256, (length,)) for length in lengths]
    groups = [torch.arange(length) // 20 - 1 for length in lengths]  # the first 20 tokens are no queries
    if packed:
        ids_BT, groups_BT = torch.cat(ids)[None], torch.cat(groups)[None]
        inside = {"position_ids": torch.cat([torch.arange(length) for length in lengths])[None]}
    else:
        ids_BT = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
        groups_BT, inside = torch.nn.utils.rnn.pad_sequence(groups, batch_first=True, padding_value=-1), {}
    # The queries of each group, one of them alone (a few rows), and all of them.
    one_BT = (torch.arange(groups_BT.shape[1]) == 25).expand(groups_BT.shape)
    weights_BMT = torch.stack([groups_BT == 0, groups_BT == 1, one_BT, groups_BT >= 0], 1).float()
    recorder = Recorder(weights_BMT, lengths=lengths if packed else (), layers=2)
    with torch.no_grad():
        capture(model, recorder, ids_BT, **inside)
    sums_BMT = recorder.mean_over_layers(model)
    assert sums_BMT.shape == weights_BMT.shape
    for text, row_T in enumerate(ids):
        map_QK = eager_attention(eager, row_T.tolist())
        start = sum(lengths[:text]) if packed else 0
        here = (0 if packed else text, slice(None), slice(start, start + len(row_T)))
        expected_MT = weights_BMT[here].numpy() @ map_QK
        np.testing.assert_allclose(sums_BMT[here].numpy(), expected_MT, rtol=0, atol=2e-5)


def test_the_tiles_do_give_the_alarm(monkeypatch):
    monkeypatch.setattr(interface, "on_gpu", lambda device: False)
    model, _ = model_pair("llama")
    with pytest.raises(AssertionError, match="a whole mask was made"), recording(Recorder(torch.ones(1, 40))):
        model.get_decoder()(input_ids=torch.ones(1, 40, dtype=torch.long), use_cache=False)
    assert tiles.tiled_attention is not interface.tiled_attention
