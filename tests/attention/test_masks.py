"""Masks as runs of keys against the dense masks of transformers, and their blocks against torch's own."""

import functools

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask
from transformers.masking_utils import (
    and_masks,
    causal_mask_function,
    chunked_causal_mask_function,
    packed_sequence_compatibility_function,
    sdpa_mask,
    sliding_window_causal_mask_function,
)

from elusive.attention import masks
from elusive.attention.masks import KeyRanges, key_ranges
from elusive.errors import ElusiveError

CPU = torch.device("cpu")
LENGTHS = (70, 1, 129)
POSITIONS_BT = torch.cat([torch.arange(n) for n in LENGTHS])[None].expand(2, -1)
SEGMENTS_BT = torch.repeat_interleave(torch.arange(3), torch.tensor(LENGTHS))[None].expand(2, -1)


def padding(left, right, tokens=200):
    return torch.stack([(torch.arange(tokens) >= a) & (torch.arange(tokens) < tokens - b) for a, b in (left, right)])


MASKS = {
    "window": {"mask_function": sliding_window_causal_mask_function(9)},
    "wide window": {"mask_function": sliding_window_causal_mask_function(150), "local_size": 150},
    "chunks": {"mask_function": chunked_causal_mask_function(60, torch.tensor([0, 0]))},
    "left padding": {"attention_mask": padding((0, 0), (140, 0))},
    "right padding": {"attention_mask": padding((0, 30), (0, 0))},
    "window, padding": {
        "mask_function": sliding_window_causal_mask_function(9),
        "attention_mask": padding((13, 0), (2, 9)),
    },
    "packed": {
        "mask_function": packed_sequence_compatibility_function(causal_mask_function, POSITIONS_BT, SEGMENTS_BT)
    },
    "custom, by vmap": {
        "mask_function": and_masks(causal_mask_function, lambda b, h, q, k: k >= POSITIONS_BT[b, q]),
        "use_vmap": True,
    },
}


def made(name, tokens=200):
    ranges = key_ranges(2, tokens, CPU, **MASKS[name])
    assert ranges is not None
    return ranges


@pytest.mark.parametrize("pairs", [2 * 200 * 33, 1 << 24])
@pytest.mark.parametrize("name", list(MASKS))
def test_the_runs_are_those_of_the_dense_mask(monkeypatch, name, pairs):
    monkeypatch.setattr(masks, "_PAIRS_AT_ONCE", pairs)
    expected = sdpa_mask(2, 200, 200, allow_is_causal_skip=False, **MASKS[name])
    assert expected is not None
    assert expected.any(-1).sum() > 200, "most queries attend to something"
    torch.testing.assert_close(made(name).dense().expand(2, 1, 200, 200), expected)


def test_plain_causal_masks_are_one_for_all():
    causal = KeyRanges.causal(200, CPU)
    assert key_ranges(2, 200, CPU, mask_function=causal_mask_function) is causal
    assert key_ranges(2, 200, CPU, attention_mask=torch.ones(2, 200, dtype=torch.bool)) is causal
    assert torch.equal(causal.dense(), torch.ones(200, 200).tril().bool()[None, None])


def test_a_mask_that_looks_ahead_is_refused_and_a_broken_run_is_none(monkeypatch):
    monkeypatch.setattr(masks, "_PAIRS_AT_ONCE", 2 * 50 * 20)
    with pytest.raises(ElusiveError, match="Expected causal attention, but a token's mask lets it see a later one"):
        key_ranges(2, 50, CPU, mask_function=lambda b, h, q, k: (k <= q) | ((k == 49) & (q == 48)))
    holes = torch.ones(2, 50, dtype=torch.bool)
    holes[1, 20] = False
    assert key_ranges(2, 50, CPU, attention_mask=holes) is None


def test_nothing_of_size_tokens_by_tokens_is_made(monkeypatch):
    from torch.utils._python_dispatch import TorchDispatchMode

    sizes = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            sizes.extend(x.untyped_storage().nbytes() for x in [result] if isinstance(x, torch.Tensor))
            return result

    monkeypatch.setattr(masks, "_PAIRS_AT_ONCE", 1 << 14)
    tokens = 2048
    with Sizes():
        ranges = key_ranges(1, tokens, CPU, mask_function=sliding_window_causal_mask_function(300))
        assert ranges is not None
        assert ranges.by_query.shape == ranges.by_key.shape == (1, 1, tokens, tokens)
    # int64 indices of the pairs looked at together are the largest; a mask of one byte a pair would be 4 MiB.
    assert (1 << 14) <= max(sizes) <= 8 * (1 << 14) + 8 * tokens


def brute_force(name):
    """The pairs that attend, looked up in the dense mask: what torch's create_block_mask is given."""
    allowed = made(name).dense().expand(2, 1, -1, -1)[:, 0]
    return lambda b, h, q, k: allowed[b, q, k]


def blocks(block_mask):
    """Rows of (partial blocks, full blocks) as sets, in order."""
    parts = []
    for numbers, indices in (
        (block_mask.kv_num_blocks, block_mask.kv_indices),
        (block_mask.full_kv_num_blocks, block_mask.full_kv_indices),
    ):
        rows = zip(numbers.flatten().tolist(), indices.flatten(0, 2).tolist(), strict=True)
        parts.append([set(row[:number]) for number, row in rows])
    return parts


@pytest.mark.parametrize("size", [16, 128])
@pytest.mark.parametrize("name", list(MASKS))
def test_blocks_are_those_that_torch_finds_in_the_dense_mask(monkeypatch, name, size):
    monkeypatch.setattr(masks, "BLOCK", size)
    allowed = brute_force(name)
    expected = create_block_mask(allowed, 2, None, 200, 200, device="cpu", BLOCK_SIZE=size)
    assert blocks(made(name).by_query) == blocks(expected)
    swapped = create_block_mask(lambda b, h, k, q: allowed(b, h, q, k), 2, None, 200, 200, "cpu", size)
    assert blocks(made(name).by_key) == blocks(swapped)
    if size == 16:
        assert sum(map(len, blocks(expected)[0])) < 13 * 13, "blocks are skipped"


@pytest.mark.parametrize("swapped", [False, True])
def test_blocks_of_some_rows_and_of_a_causal_mask(monkeypatch, swapped):
    monkeypatch.setattr(masks, "BLOCK", 16)
    causal = KeyRanges.causal(100, CPU)
    positions_BQ = torch.tensor([[3, 40, 99], [0, 1, 2]])
    picked = causal.without_self.rows(positions_BQ)
    assert picked is causal.without_self.rows(positions_BQ), "made once for all layers"
    expected = torch.arange(100) < positions_BQ[:, :, None]
    assert torch.equal(picked.dense()[:, 0], expected)
    for ranges, dense in ((picked, expected), (causal, causal.dense()[:, 0])):
        dense = dense.mT if swapped else dense
        texts, queries, keys = dense.shape
        mask = create_block_mask(lambda b, h, q, k, x=dense: x[b, q, k], texts, None, queries, keys, "cpu", 16)
        assert blocks(ranges.by_key if swapped else ranges.by_query) == blocks(mask)
    # Of a causal mask's blocks, only those on the diagonal are looked at pair by pair (and those of an unfilled row).
    whole = KeyRanges.causal(112, CPU)
    partial, full = blocks(whole.by_key if swapped else whole.by_query)
    assert partial == [{i} for i in range(7)]
    assert full == [set(range(i + 1, 7) if swapped else range(i)) for i in range(7)]


def test_packed_texts_see_none_of_each_other():
    dense = KeyRanges.causal(200, CPU).packed(LENGTHS).dense()[0, 0]
    expected = torch.block_diag(*(torch.ones(n, n).tril() for n in LENGTHS)).bool()
    assert torch.equal(dense, expected)
    window = made("window").packed(LENGTHS).dense()[0, 0]
    assert torch.equal(window, expected & made("window").dense()[0, 0])


def test_ranges_move_between_devices_and_are_remembered_there():
    ranges = made("window")
    assert ranges.to(CPU) is ranges
    moved = ranges.to("meta")
    assert moved.first_BQ.device == moved.last_BQ.device == torch.device("meta")
    assert ranges.to("meta") is moved
    # accelerate moves the arguments of each layer of a device map by their method `to`.
    send = functools.partial(pytest.importorskip("accelerate.utils").send_to_device, device="meta", non_blocking=True)
    assert send({"attention_mask": ranges})["attention_mask"] is moved


def test_a_row_that_attends_to_nothing_has_no_block():
    alone = KeyRanges.causal(200, CPU).packed(LENGTHS).without_self.rows(torch.tensor([[70], [71]]))
    assert alone.dense().sum((1, 2, 3)).tolist() == [0, 0], "one text of one token, and the next one's first"
    assert blocks(alone.by_query) == [[set(), set()]] * 2
    assert blocks(alone.by_key) == [[set()] * 4] * 2
