"""The GPU's attention, uncompiled on a CPU, against the float64 definition and against the tiles."""

import functools
import importlib.util
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch._dynamo.exc import FailOnRecompileLimitHit
from torch.nn.attention import flex_attention as torch_flex

from elusive.attention import flex, interface, tiles
from elusive.attention.flex import fused_attention
from elusive.attention.interface import ATTENTION, recorded_attention, recorded_mask
from elusive.attention.masks import KeyRanges
from elusive.attention.recorder import Recorder, recording
from elusive.attention.request import CaptureRequest, Softmax
from elusive.errors import ElusiveError

from ..by_definition import by_definition

TOKENS = 150
KINDS = ("causal", "channels", "window", "padded", "softcap", "sinks", "packed")


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch):
    """flex_attention as plain operations; torch compiles it even on a CPU unless told otherwise."""
    monkeypatch.setattr(torch_flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)


@pytest.fixture
def as_on_gpu(monkeypatch):
    """Every device counts as a GPU."""
    monkeypatch.setattr(interface, "on_gpu", lambda device: True)


def random_call(dtype=torch.float32, tokens=TOKENS, channels=8, value_channels=8):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, tokens, 6, channels, generator=generator).transpose(1, 2) * 2
    key = torch.randn(2, tokens, 2, channels, generator=generator).transpose(1, 2)
    value = torch.randn(2, tokens, 2, value_channels, generator=generator).transpose(1, 2)
    return query.to(dtype), key.to(dtype), value.to(dtype)


def case(kind, dtype=torch.float32):
    """A call, its mask and its options."""
    call = random_call(dtype, channels=20 if kind == "channels" else 8, value_channels=12 if kind == "channels" else 8)
    ranges, options = KeyRanges.causal(TOKENS, torch.device("cpu")), {}
    positions_T = torch.arange(TOKENS, dtype=torch.int32)[None]
    if kind == "window":
        ranges = KeyRanges((positions_T - 19).clamp(min=0), positions_T, TOKENS)
    elif kind == "padded":  # on the left: nothing before the 60th token of the second text
        starts_BT = torch.tensor([[0], [60]], dtype=torch.int32).expand(2, TOKENS)
        ranges = KeyRanges(starts_BT, torch.where(positions_T >= starts_BT, positions_T, -1), TOKENS)
    elif kind == "softcap":
        options["softcap"] = 1.5
    elif kind == "sinks":
        options["sinks_H"] = torch.linspace(-2, 3, 6)
    elif kind == "packed":
        ranges = ranges.packed((40, 1, 109))
    return call, ranges, options


def request(few, include_self, ranked, kind):
    weights_BT = torch.ones(2, TOKENS)
    if few:  # an unequal number in each text
        weights_BT.zero_()
        weights_BT[0, [3, 20, TOKENS - 1]] = 1.0
        weights_BT[1, 70] = 1.0
    else:
        weights_BT[1, 120:] = 0.0
    if kind == "padded":
        weights_BT[1, :60] = 0.0
    ranked_BT = torch.rand(2, TOKENS, generator=torch.Generator().manual_seed(1)) > 0.5 if ranked else None
    # A second weighting has every fifth position of the first's queries.
    weights_BMT = torch.stack([weights_BT, weights_BT * (torch.arange(TOKENS) % 5 == 0)], 1)
    return CaptureRequest(weights_BMT, include_self, ranked_BT)


@pytest.mark.parametrize("ranked", [False, True])
@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_output_and_column_sums_equal_the_definition(kind, few, include_self, ranked):
    call, ranges, options = case(kind)
    wanted = request(few, include_self, ranked, kind)
    assert wanted.few_queries == few
    scaling = call[0].shape[-1] ** -0.5
    expected_BTHD, expected_BHMT = by_definition(wanted, *call, ranges, **options)
    output_BTHD, received_BHMT = fused_attention(wanted, *call, ranges, Softmax(scaling, **options))
    assert received_BHMT.dtype == torch.float32
    torch.testing.assert_close(output_BTHD.double(), expected_BTHD, rtol=0, atol=5e-6)
    torch.testing.assert_close(received_BHMT.double(), expected_BHMT, rtol=1e-5, atol=1e-6)
    # What is 0 by definition is exactly 0: keys that no query sees, and keys that are not ranked.
    assert torch.equal(received_BHMT == 0, expected_BHMT == 0)
    # And the same as on a CPU, but for padding rows, which tiles let attend to every key.
    tiled_BTHD, tiled_BHMT = tiles.tiled_attention(wanted, *call, ranges.dense(), Softmax(scaling, **options))
    rows_BT = (ranges.last_BQ >= ranges.first_BQ).expand(2, -1)
    assert tiled_BTHD is not None
    torch.testing.assert_close(output_BTHD[rows_BT], tiled_BTHD[rows_BT], rtol=0, atol=5e-6)
    torch.testing.assert_close(received_BHMT, tiled_BHMT, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("kind", ["causal", "softcap", "sinks"])
def test_bfloat16(kind, few):
    call, ranges, options = case(kind, torch.bfloat16)
    wanted = request(few, True, False, kind)
    expected_BTHD, expected_BHMT = by_definition(wanted, *call, ranges, **options)
    output_BTHD, received_BHMT = fused_attention(wanted, *call, ranges, Softmax(8**-0.5, **options))
    assert output_BTHD.dtype == torch.bfloat16
    torch.testing.assert_close(output_BTHD.double(), expected_BTHD, rtol=2e-2, atol=2e-2)
    # Scores and sums are float32 whatever the inputs are, so the sums are as exact as theirs.
    torch.testing.assert_close(received_BHMT.double(), expected_BHMT, rtol=1e-5, atol=1e-6)


def test_no_query_at_all_gives_zeros():
    call, ranges, _ = case("causal")
    for weightings in (1, 3):
        nothing = CaptureRequest(torch.zeros(2, weightings, TOKENS))
        _, received_BHMT = fused_attention(nothing, *call, ranges, Softmax(1.0))
        assert received_BHMT.shape == (2, 6, weightings, TOKENS)
        assert not received_BHMT.any()


class Layer(torch.nn.Module):
    """An attention module as transformers' functions read it."""

    num_key_value_groups = 3
    is_causal = True


def recorded(mask, weights_BT, call, **options) -> tuple[Any, torch.Tensor]:
    output_BTHD = None  # of the last layer, whose report ends the block
    with recording(Recorder(weights_BT, **options)) as recorder:
        query, key, value = call
        output_BTHD, _ = recorded_attention(Layer(), query, key, value, mask)
    return output_BTHD, recorder.received


@pytest.mark.parametrize("lengths", [(), (40, 1, 109)])
@pytest.mark.parametrize("kind", ["causal", "window"])
def test_the_dispatch_takes_the_runs_of_keys(monkeypatch, as_on_gpu, kind, lengths):
    call, ranges, _ = case(kind)
    call = tuple(x[:1] for x in call)
    wanted = request(False, True, False, kind)
    weights_BT = wanted.weights_BMT[:1, 0]
    mask = None if kind == "causal" else ranges.packed(lengths or (TOKENS,))
    output_BTHD, received_BT = recorded(mask, weights_BT, call, lengths=lengths)
    # With the GPU elsewhere, the same runs reach a layer that a device map put on a CPU.
    monkeypatch.setattr(interface, "on_gpu", lambda device: False)
    on_cpu_BTHD, on_cpu_BT = recorded(mask, weights_BT, call, lengths=lengths)
    torch.testing.assert_close(output_BTHD, on_cpu_BTHD, rtol=0, atol=5e-6)
    torch.testing.assert_close(received_BT, on_cpu_BT, rtol=1e-5, atol=1e-5)


def test_which_way_attention_goes(monkeypatch, as_on_gpu):
    went = []
    for name in ("fused_attention", "column_sums", "received_by_rows", "tiled_attention"):
        original = getattr(interface, name)
        monkeypatch.setattr(
            interface, name, lambda *args, _name=name, _run=original, **kw: (went.append(_name), _run(*args, **kw))[1]
        )
    call, ranges, _ = case("window")
    half = tuple(x.bfloat16() for x in call)
    few_BT, many_BT = request(True, True, False, "window").weights_BMT[:, 0], torch.ones(2, TOKENS)
    for mask, weights_BT, inputs, expected in (
        (None, many_BT, call, "fused_attention"),
        (None, few_BT, half, "column_sums"),  # torch's own fused kernel, and the selected rows again
        (None, few_BT, call, "fused_attention"),  # float32 with shared keys, and windows, are not for that kernel
        (ranges, few_BT, half, "fused_attention"),
        (ranges.dense(), many_BT, call, "tiled_attention"),
        (ranges.dense(), few_BT, call, "tiled_attention"),
    ):
        recorded(mask, weights_BT, inputs)
        assert went == [expected]
        went.clear()
    recorded(ranges, many_BT, call, layers=1)  # of the last layer, only the sums are wanted
    assert went == ["column_sums"]


@pytest.mark.parametrize("ranked", [False, True])
@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("kind", ["causal", "window", "padded", "softcap"])
def test_column_sums_need_no_first_pass(kind, few, include_self, ranked):
    (query, key, value), ranges, options = case(kind)
    wanted = request(few, include_self, ranked, kind)
    _, expected_BHT = by_definition(wanted, query, key, value, ranges, **options)
    received_BHT = flex.column_sums(wanted, query, key, ranges, Softmax(8**-0.5, **options))
    torch.testing.assert_close(received_BHT.double(), expected_BHT, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["causal", "window"])
def test_the_dispatch_with_few_queries(monkeypatch, as_on_gpu, kind):
    call, ranges, _ = case(kind)
    call = tuple(x.bfloat16() for x in call)
    weights_BT = request(True, True, False, kind).weights_BMT[:, 0]
    mask = None if kind == "causal" else ranges
    output_BTHD, received_BT = recorded(mask, weights_BT, call)
    expected_BTHD, expected_BHMT = by_definition(CaptureRequest(weights_BT[:, None]), *call, ranges)
    torch.testing.assert_close(output_BTHD.double(), expected_BTHD, rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(received_BT.double(), expected_BHMT[:, :, 0].mean(1), rtol=1e-5, atol=1e-6)


def test_the_mask_function_makes_no_dense_mask_on_a_gpu(as_on_gpu):
    from transformers.masking_utils import sliding_window_causal_mask_function

    window = {"mask_function": sliding_window_causal_mask_function(10), "local_size": 10}
    assert recorded_mask(2, 50, 50) is None
    assert isinstance(recorded_mask(2, 50, 50, **window), KeyRanges)
    assert recorded_mask(2, 50, 50, attention_mask=torch.ones(2, 50, dtype=torch.bool)) is None
    broken = torch.ones(2, 50, dtype=torch.bool)
    broken[0, 30] = False
    assert isinstance(recorded_mask(2, 50, 50, attention_mask=broken), torch.Tensor)
    with recording(Recorder(torch.ones(1, 50), lengths=(20, 30))):
        packed = recorded_mask(1, 50, 50, **window)
        assert isinstance(packed, KeyRanges)
        assert packed.first_BQ[0, 20:].min() == 20
        assert isinstance(recorded_mask(1, 50, 50), KeyRanges)


def test_on_a_cpu_the_mask_is_the_one_of_sdpa():
    from transformers.masking_utils import sdpa_mask

    padding = torch.arange(50)[None] >= torch.tensor([[0], [9]])
    assert recorded_mask(2, 50, 50) is None
    ours, theirs = (mask(2, 50, 50, attention_mask=padding) for mask in (recorded_mask, sdpa_mask))
    assert isinstance(ours, torch.Tensor)
    assert isinstance(theirs, torch.Tensor)
    assert torch.equal(ours, theirs)


def test_a_block_mask_from_elsewhere_is_refused():
    call, ranges, _ = case("causal")
    message = "Expected an attention mask as a tensor, got BlockMask"
    with recording(Recorder(torch.ones(2, TOKENS))), pytest.raises(ElusiveError, match=message):
        recorded_attention(Layer(), *call, cast("Any", ranges.by_query))


@pytest.fixture
def graphs(monkeypatch):
    """What torch.compile traces, run as plain operations: all but the making of the kernel itself."""
    traced = []

    def backend(graph, example_inputs):
        traced.append(graph)
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(torch_flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", False)
    monkeypatch.setattr(flex, "compiles", lambda device: True)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    flex._compiled_flex.cache_clear()
    yield traced
    flex._compiled_flex.cache_clear()
    torch._dynamo.reset()


def compiled_call(batch=2, tokens=300, channels=16, width=0, softcap=None):
    """The same call through what torch traces and through the tiles."""
    query, key, value = (x.repeat(batch, 1, 1, 1)[:batch] for x in random_call(torch.float32, tokens, channels))
    positions_T = torch.arange(tokens, dtype=torch.int32)[None]
    first_T = (positions_T - width + 1).clamp(min=0)
    ranges = KeyRanges(first_T, positions_T, tokens) if width else KeyRanges.causal(tokens, torch.device("cpu"))
    softmax = Softmax(channels**-0.5, softcap)
    wanted = CaptureRequest(torch.ones(batch, 1, tokens))
    with torch.inference_mode():
        output, received = fused_attention(wanted, query, key, value, ranges, softmax)
        expected, expected_received = tiles.tiled_attention(wanted, query, key, value, ranges.dense(), softmax)
    torch.testing.assert_close(output, expected, rtol=0, atol=5e-6)
    torch.testing.assert_close(received, expected_received, rtol=1e-5, atol=1e-5)


def test_new_tensors_masks_and_lengths_are_not_compiled_again(graphs):
    compiled_call(tokens=300)
    compiled_call(tokens=300, width=50)
    assert len(graphs) == 2, "one graph for each pass, whatever the mask holds"
    compiled_call(tokens=400)
    assert len(graphs) == 4, "the second length makes lengths free"
    for tokens, width in ((333, 0), (512, 100), (450, 0)):
        compiled_call(tokens=tokens, width=width)
    assert len(graphs) == 4
    # A second model with another scale: free lengths stay, and its scale is a number in the graph, not a symbol.
    compiled_call(tokens=333, channels=32)
    compiled_call(tokens=350, channels=32)
    assert len(graphs) == 6
    scales = [node.args[5] for graph in graphs for node in graph.graph.nodes if "flex_attention" in str(node.target)]
    assert scales == [0.25] * 4 + [32**-0.5] * 2


def test_too_many_variants_are_an_error_and_no_whole_map(monkeypatch, graphs):
    monkeypatch.setattr(flex, "_COMPILED_VARIANTS", 1)
    with pytest.raises(FailOnRecompileLimitHit, match="fullgraph=True"):
        compiled_call(tokens=40)  # its second pass is the second variant


def test_the_registered_functions_are_these():
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    assert AttentionInterface()[ATTENTION] is recorded_attention
    assert AttentionMaskInterface()[ATTENTION] is recorded_mask


def gpu_benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "scoring_gpu.py"
    spec = importlib.util.spec_from_file_location("scoring_gpu", path)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    return benchmark


def test_the_benchmark_runs(monkeypatch, capsys):
    benchmark = gpu_benchmark()
    monkeypatch.setattr(interface, "on_gpu", interface.on_gpu)  # which the benchmark replaces
    sizes = ["--shapes", "toy", "--tokens", "40", "--batch-tokens", "80", "--layers", "1", "--rounds", "2"]
    benchmark.main(["--device", "cpu", "--uncompiled", *sizes])
    table = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| toy")]
    assert [row[1:4] for row in table] == [
        ["40 x 2", part, variant]
        for part, first in (("attention", "fused attention"), ("layers", "bare forward"))
        for variant in (first, "A/A", "cue queries", "all queries")
    ]
    assert table[0][4] == "1.000 [1.000, 1.000]"
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="No CUDA device here"):
            benchmark.main([])


def test_the_benchmark_tries_tiles_and_outlives_those_that_do_not_work(monkeypatch, capsys):
    benchmark, own, told = gpu_benchmark(), dict(flex._KERNEL_OPTIONS), []
    monkeypatch.setattr(interface, "on_gpu", interface.on_gpu)
    kernel = flex.flex_attention

    def watched(*args, kernel_options, **kwargs):
        told.append(kernel_options)
        if kernel_options.get("BLOCK_N") == 64:
            raise RuntimeError("No valid triton configs.\nOutOfResources: out of resource: shared memory | registers")
        return kernel(*args, kernel_options=kernel_options, **kwargs)

    monkeypatch.setattr(flex, "flex_attention", watched)
    sizes = ["--shapes", "toy", "--tokens", "40", "--batch-tokens", "80", "--rounds", "2"]
    benchmark.main(["--tiles", "--device", "cpu", "--uncompiled", *sizes])
    table = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| toy")]
    assert len(table) == 3 + 2 * len(benchmark.WIDE) + len(benchmark.NARROW)
    for row in table:
        refused = "x 64," in row[3]
        assert row[4].startswith("invalid: RuntimeError: OutOfResources") == refused
        assert refused or float(row[4]) > 0
    for tile in (*benchmark.WIDE, *benchmark.NARROW):
        assert own | tile.options in told
    assert own == flex._KERNEL_OPTIONS
    benchmark.main(["--tiles", "--seconds", "0", "--device", "cpu", "--uncompiled", *sizes])
    assert capsys.readouterr().out.count("no time left") == 3
