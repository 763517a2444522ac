"""The recording attention function on hand-worked and random tensors."""

import doctest
import math
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from elusive.attention import tiles
from elusive.attention.interface import recorded_attention
from elusive.attention.received import received_attention
from elusive.attention.recorder import Recorder, recording
from elusive.attention.request import CaptureRequest
from elusive.errors import ElusiveError


class Layer(torch.nn.Module):
    """An attention module as transformers' functions read it."""

    def __init__(self, groups: int = 1, is_causal: bool = True) -> None:
        super().__init__()
        self.num_key_value_groups = groups
        self.is_causal = is_causal


def random_call(batch=2, heads=6, shared=2, tokens=50, channels=8, value_channels=8):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(batch, heads, tokens, channels, generator=generator) * 2
    key = torch.randn(batch, shared, tokens, channels, generator=generator)
    value = torch.randn(batch, shared, tokens, value_channels, generator=generator)
    return query, key, value


def window_mask(tokens, width):
    positions = torch.arange(tokens)
    return ((positions[None] <= positions[:, None]) & (positions[None] > positions[:, None] - width))[None, None]


def by_definition(query, key, value, allowed, weights_BT, include_self, softcap=None, sinks_H=None, bias=None):
    """The whole attention map in float64, then its output and column sums."""
    heads, shared, tokens = query.shape[1], key.shape[1], query.shape[2]
    key, value = (x.double().repeat_interleave(heads // shared, dim=1) for x in (key, value))
    scores = query.double() @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
    scores = (scores if bias is None else scores + bias).masked_fill(~allowed, -math.inf)
    if sinks_H is not None:
        scores = torch.cat([scores, sinks_H.double().view(1, -1, 1, 1).expand(len(query), -1, tokens, 1)], dim=-1)
    map_BHQK = scores.softmax(-1)[..., :tokens]
    output_BTHD = (map_BHQK @ value).transpose(1, 2)
    counted = map_BHQK if include_self else map_BHQK * (1 - torch.eye(tokens))
    return output_BTHD, torch.einsum("bq,bhqk->bk", weights_BT.double(), counted) / heads


def query_weights(batch, tokens, few):
    weights_BT = torch.ones(batch, tokens)
    if few:  # an unequal number in each text
        weights_BT.zero_()
        weights_BT[0, [3, 20, tokens - 1]] = 1.0
        weights_BT[1:, 7] = 1.0
    else:
        weights_BT[-1, tokens // 2 :] = 0.0
    return weights_BT


def run(query, key, value, mask, weights_BT, include_self=True, **options) -> tuple[Any, torch.Tensor]:
    layer = Layer(query.shape[1] // key.shape[1])
    with recording(Recorder(weights_BT, include_self)) as recorder:
        output, none = recorded_attention(layer, query, key, value, mask, **options)
    assert none is None
    return output, recorder.received


@pytest.mark.parametrize("size", [1, 7, 32, 64])
@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("kind", ["causal", "channels", "window", "padded", "additive", "softcap", "sinks"])
def test_output_and_column_sums_equal_the_definition(monkeypatch, size, few, include_self, kind):
    monkeypatch.setattr(tiles, "tile_queries", lambda shared, tokens, device: size)
    query, key, value = random_call(value_channels=12 if kind == "channels" else 8)
    tokens, weights_BT = query.shape[2], query_weights(len(query), query.shape[2], few)
    causal = window_mask(tokens, tokens)
    allowed, mask, bias, options, known = causal, None, None, {}, {}
    if kind == "window":
        allowed = mask = window_mask(tokens, 6)
    elif kind == "padded":  # on the left, another number of tokens for each text; a text's first token sees itself
        behind = torch.stack([torch.arange(tokens) >= n for n in (0, 3)])
        allowed = mask = (causal & behind[:, None, None]) | torch.eye(tokens, dtype=torch.bool)
    elif kind == "additive":  # with a slope over the distance, as ALiBi has
        bias = -0.1 * (torch.arange(tokens)[:, None] - torch.arange(tokens)[None]).float()
        mask = bias.masked_fill(~causal, torch.finfo(torch.float32).min)
    elif kind == "softcap":
        options = known = {"softcap": 1.5}
    elif kind == "sinks":
        sinks_H = torch.linspace(-2, 3, query.shape[1])
        options, known = {"s_aux": sinks_H}, {"sinks_H": sinks_H}
    expected_BTHD, expected_BT = by_definition(query, key, value, allowed, weights_BT, include_self, bias=bias, **known)
    output_BTHD, received_BT = run(query, key, value, mask, weights_BT, include_self, **options)
    torch.testing.assert_close(output_BTHD.double(), expected_BTHD, rtol=0, atol=3e-6)
    torch.testing.assert_close(received_BT.double(), expected_BT, rtol=1e-6, atol=1e-6)
    # The same weighting among others; more than come out of one look at the rows.
    others_BMT = torch.stack([weights_BT * (torch.arange(tokens) % 18 == number) for number in range(18)], 1)
    weights_BMT = torch.cat([others_BMT, weights_BT[:, None]], 1)
    output_BTHD, received_BMT = run(query, key, value, mask, weights_BMT, include_self, **options)
    torch.testing.assert_close(output_BTHD.double(), expected_BTHD, rtol=0, atol=3e-6)
    torch.testing.assert_close(received_BMT[:, -1].double(), expected_BT, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(received_BMT[:, :-1].sum(1).double(), expected_BT, rtol=1e-6, atol=2e-6)
    for number in (0, 3, 17):
        _, one_BT = by_definition(query, key, value, allowed, others_BMT[:, number], include_self, bias=bias, **known)
        torch.testing.assert_close(received_BMT[:, number].double(), one_BT, rtol=1e-6, atol=1e-6)


def test_two_tokens_by_hand():
    """The second query's scores are 0 and ln 3, so it gives 1/4 and 3/4."""
    query = torch.ones(1, 1, 2, 1)
    key = torch.tensor([0.0, math.log(3.0)]).view(1, 1, 2, 1)
    value = torch.tensor([8.0, 16.0]).view(1, 1, 2, 1)
    output, received_BT = run(query, key, value, None, torch.ones(1, 2), scaling=1.0)
    torch.testing.assert_close(output.flatten(), torch.tensor([8.0, 14.0]))
    torch.testing.assert_close(received_BT, torch.tensor([[1.25, 0.75]]))
    _, received_BT = run(query, key, value, None, torch.ones(1, 2), include_self=False, scaling=1.0)
    torch.testing.assert_close(received_BT, torch.tensor([[0.25, 0.0]]))
    _, received_BT = run(query, key, value, None, torch.tensor([[0.0, 1.0]]), scaling=1.0)
    torch.testing.assert_close(received_BT, torch.tensor([[0.25, 0.75]]))


@pytest.mark.parametrize("few", [True, False])
def test_each_selected_row_hands_out_exactly_one(few):
    query, key, value = random_call()
    weights_BT = query_weights(len(query), query.shape[2], few)
    _, received_BT = run(query, key, value, None, weights_BT)
    torch.testing.assert_close(received_BT.sum(1), weights_BT.sum(1), rtol=1e-5, atol=0)


def test_no_query_at_all_records_zeros_and_still_reports():
    query, key, value = random_call()
    with recording(Recorder(torch.zeros(2, 50))) as recorder:
        recorded_attention(Layer(3), query, key, value, None)
    assert not recorder.received.any()
    assert list(recorder.reports.values()) == [1]


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_rows_of_left_padding_stay_finite(softcap):
    query, key, value = random_call()
    behind = torch.stack([torch.arange(50) >= n for n in (0, 9)])
    weights_BT = behind.float()
    mask = window_mask(50, 50) & behind[:, None, None]
    output, received_BT = run(query, key, value, mask, weights_BT, softcap=softcap)
    assert output.isfinite().all()
    assert not received_BT[1, :9].any()


@pytest.mark.parametrize("few", [True, False])
def test_of_the_last_layer_only_the_sums_are_computed(few):
    query, key, value = random_call()
    weights_BT = query_weights(len(query), query.shape[2], few)
    with recording(Recorder(weights_BT)) as whole:
        output, _ = recorded_attention(Layer(3), query, key, value, None)
    assert output is not None
    last = Recorder(weights_BT, layers=1)
    with recording(last):
        recorded_attention(Layer(3), query, key, torch.full_like(value, math.nan), None)  # values are not looked at
        pytest.fail("the forward pass does not stop")
    torch.testing.assert_close(last.received, whole.received)
    assert last.received.isfinite().all()


def test_nothing_is_captured_of_a_layer_without_a_chosen_head():
    query, key, value = random_call()
    weights_LH = torch.tensor([[0.0] * 6, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
    recorder, every = (Recorder(torch.ones(2, 50), weights_LH=weights_LH, per_head=heads) for heads in (False, True))
    for one, queries in ((recorder, 0), (every, 50)):
        with recording(one):
            assert one.next_requests()[0].positions.shape[1] == queries
            first, _ = recorded_attention(Layer(3), query, key, value, None)
            assert not one.received.any()
            assert one.next_requests()[0].positions.shape[1] == 50
            second, _ = recorded_attention(Layer(3), query, key, value, None)
        torch.testing.assert_close(first, second)
    assert recorder.received.any()
    torch.testing.assert_close(every.received_of_layers[1][:, 1], recorder.received)


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation returns."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for item in tree_iter(result):
            if isinstance(item, torch.Tensor):
                self.largest = max(self.largest, item.untyped_storage().nbytes() // item.element_size())
        return result


@pytest.mark.parametrize("value_channels", [8, 12])
@pytest.mark.parametrize("width", [0, 100])
@pytest.mark.parametrize("few", [True, False])
def test_nothing_of_size_tokens_by_tokens_by_heads_is_kept(monkeypatch, few, width, value_channels):
    monkeypatch.setattr(tiles, "tile_queries", lambda shared, tokens, device: 32)
    tokens, heads = 512, 6
    query, key, value = random_call(tokens=tokens, heads=heads, value_channels=value_channels)
    mask = window_mask(tokens, width) if width else None
    with LargestTensor() as seen:
        run(query, key, value, mask, query_weights(2, tokens, few))
    # A tile of 32 queries; the mask, which has no heads, is 512 x 512.
    assert 2 * heads * tokens * 8 <= seen.largest <= max(2 * heads * tokens * 32, tokens**2 if width else 0)


def test_a_tile_is_sized_for_the_cache(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    cpu = torch.device("cpu")
    assert tiles.tile_queries(1, 4096, cpu) == 128  # 2 MiB / (4 bytes * 4,096 keys)
    assert tiles.tile_queries(4, 4096, cpu) == 32  # four heads share a key: 128 rows again
    assert tiles.tile_queries(3, 4096, cpu) == 48  # 42 queries, in sixteens
    assert tiles.tile_queries(64, 4096, cpu) == 16
    assert tiles.tile_queries(1, 512, cpu) == 64  # an eighth of the text: little of the tile lies in the future
    assert tiles.tile_queries(1, 128, cpu) == 32
    assert tiles.tile_queries(1, 30, cpu) == 30
    assert tiles.tile_queries(1, 4096, torch.device("cuda")) == 1024


@pytest.mark.parametrize(("batch", "groups", "together"), [(3, 4, 1), (3, 4, 3), (3, 4, 4), (5, 4, 9), (3, 4, 100)])
def test_blocks_cover_every_text_and_head_once(batch, groups, together):
    seen = torch.zeros(batch, groups)
    for texts, heads in tiles._blocks(batch, groups, together):
        assert seen[texts, heads].numel() <= max(1, together)
        seen[texts, heads] += 1
    assert (seen == 1).all()


def test_the_docstring_example_of_received_attention():
    tests = doctest.DocTestFinder().find(
        received_attention, globs={"torch": torch, "received_attention": received_attention}
    )
    assert [len(test.examples) for test in tests] == [1]
    for test in tests:
        assert doctest.DocTestRunner().run(test).failed == 0


@pytest.mark.usefixtures("unchecked_shapes")
def test_received_attention_refuses_other_shapes_and_later_tokens():
    with pytest.raises(ElusiveError, match=r"expected \(layers, heads, tokens, tokens\), got shape \(2, 2\)"):
        received_attention(torch.eye(2))
    with pytest.raises(ElusiveError, match=r"got shape \(1, 1, 2, 3\)"):
        received_attention(torch.ones(1, 1, 2, 3))
    with pytest.raises(ValueError, match="token 0 attends to the later token 1"):
        received_attention(torch.tensor([[0.5, 0.5], [0.5, 0.5]])[None, None])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 0.1}, "attention dropout 0, got 0.1. Call model.eval"),
        ({"is_causal": False}, "Expected causal attention, but this layer sees later tokens"),
        ({"position_bias": torch.zeros(1)}, "passes 'position_bias' to its attention"),
        ({"attention_mask": torch.ones(1, 1, 50, 50, dtype=torch.bool)}, "mask lets it see a later one"),
        ({"attention_mask": torch.zeros(1, 1, 50, 50)}, "mask lets it see a later one"),
        ({"attention_mask": torch.ones(1, 1, 50, 60, dtype=torch.bool)}, r"attention mask \(batch, heads, 50, 50\)"),
    ],
)
def test_calls_that_would_not_be_exact_are_refused(options, message):
    query, key, value = random_call()
    with recording(Recorder(torch.ones(2, 50))), pytest.raises(ElusiveError, match=message):
        recorded_attention(Layer(3), query, key, value, **{"attention_mask": None, **options})


def test_weights_of_another_shape_and_cached_keys_are_refused():
    query, key, value = random_call()
    with recording(Recorder(torch.ones(2, 49))), pytest.raises(ElusiveError, match=r"\(2, 49\), got queries \(2, 50\)"):
        recorded_attention(Layer(3), query, key, value, None)
    with (
        recording(Recorder(torch.ones(2, 1))),
        pytest.raises(ElusiveError, match=r"50 keys. Run whole texts with use_cache"),
    ):
        recorded_attention(Layer(3), query[:, :, -1:], key, value, None)
    with pytest.raises(ElusiveError, match=r"expected \(batch, tokens\) or .* got shape \(5,\)"):
        Recorder(torch.ones(5))


def test_outside_recording_it_is_refused():
    query, key, value = random_call()
    with recording(Recorder(torch.ones(2, 50))):
        pass
    with pytest.raises(ElusiveError, match=r"only runs inside elusive.attention.recording"):
        recorded_attention(Layer(3), query, key, value, None)


def test_a_layer_that_reports_twice_or_not_at_all_is_noticed():
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="elusive").eval()
    ids = torch.tensor([[1, 2, 3]])
    recorder = Recorder(torch.ones(1, 3))
    with torch.no_grad(), recording(recorder):
        model.get_decoder()(input_ids=ids, use_cache=False)
        assert recorder.mean_over_layers(model).sum() == pytest.approx(3.0)
        model.get_decoder()(input_ids=ids, use_cache=False)
    message = "LlamaForCausalLM cannot be scored: expected one report from each of its 2 layers, got 4 from 2"
    with pytest.raises(ElusiveError, match=message):
        recorder.mean_over_layers(model)
    one = Recorder(torch.ones(1, 3))
    one.add(model.model.layers[0].self_attn, [torch.ones(1, 2, 1, 3)])
    with pytest.raises(ElusiveError, match="got 1 from 1 attention modules"):
        one.mean_over_layers(model)


def test_the_selected_positions_of_each_text_are_lined_up():
    weights_BT = torch.tensor([[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
    positions_BQ = CaptureRequest(weights_BT[:, None]).positions
    assert positions_BQ[0].tolist() == [1, 3]
    assert positions_BQ[1, 0] == 2
    assert weights_BT[1, positions_BQ[1, 1]] == 0
