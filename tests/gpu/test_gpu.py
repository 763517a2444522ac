"""On a CUDA device, compiled: the same scores as everywhere, and no memory that grows with tokens x tokens."""

import copy
import warnings
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaModel
from transformers.masking_utils import sliding_window_causal_mask_function

import elusive
from elusive.attention import interface
from elusive.attention.architectures import attention_to_load
from elusive.attention.flex import column_sums, fused_attention
from elusive.attention.interface import ATTENTION, recorded_attention, recorded_mask
from elusive.attention.masks import KeyRanges
from elusive.attention.recorder import Recorder, recording
from elusive.attention.request import CaptureRequest, Softmax
from elusive.config.models import Dtype, ModelRef
from elusive.config.scoring import ScoreSettings
from elusive.config.training import TrainSettings
from elusive.models.loading import load_model, load_tokenizer
from elusive.runs.files import read_jsonl, write_jsonl
from elusive.scoring.score import score_documents
from elusive.training.packing import packs
from elusive.training.stage import train

from ..by_definition import by_definition
from ..tiny_models import model_pair, tiny_documents, tiny_tokenizer
from ..training.test_packing_parity import check_alike, random_model, rows_of

DEVICE = torch.device("cuda", 0)
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; none is here")

TOLERANCES = {torch.float32: (1e-4, 1e-5, 1e-4), torch.bfloat16: (1e-3, 1e-4, 3e-2)}
"""Relative and absolute error of the sums, which are float32 whatever the inputs are; absolute error of the output."""


def random_call(tokens, dtype, heads=8, shared=2, channels=64, texts=2):
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(texts, tokens, count, channels, device=DEVICE, dtype=dtype).transpose(1, 2)
        for count in (heads, shared, shared)
    )
    return query, key, value


def request(tokens, few, include_self=True, ranked=False):
    weights_BT = torch.ones(2, tokens, device=DEVICE)
    weights_BT[1, tokens // 2 :] = 0.0
    if few:
        weights_BT.zero_()
        weights_BT[0, [3, tokens // 3, tokens - 1]] = 1.0
        weights_BT[1, tokens // 2] = 1.0
    ranked_BT = torch.rand(2, tokens, device=DEVICE) > 0.5 if ranked else None
    # A second weighting has every fifth position of the first's queries.
    weights_BMT = torch.stack([weights_BT, weights_BT * (torch.arange(tokens, device=DEVICE) % 5 == 0)], 1)
    return CaptureRequest(weights_BMT, include_self, ranked_BT)


@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("kind", ["causal", "window", "padded", "softcap", "sinks", "packed", "no self", "ranked"])
def test_output_and_column_sums_equal_the_definition(kind, few, dtype):
    # One length below a block, one that fills blocks, and two that do not.
    for tokens in (70, 300, 384, 513):
        call, options = random_call(tokens, dtype), {}
        positions_T = torch.arange(tokens, dtype=torch.int32, device=DEVICE)[None]
        ranges = KeyRanges.causal(tokens, DEVICE)
        if kind == "window":
            ranges = KeyRanges((positions_T - 149).clamp(min=0), positions_T, tokens)
        elif kind == "padded":
            starts_BT = torch.tensor([[0], [60]], dtype=torch.int32, device=DEVICE).expand(2, tokens)
            ranges = KeyRanges(starts_BT, torch.where(positions_T >= starts_BT, positions_T, -1), tokens)
        elif kind == "softcap":
            options["softcap"] = 2.0
        elif kind == "sinks":
            options["sinks_H"] = torch.linspace(-2, 3, 8, device=DEVICE)
        elif kind == "packed":
            ranges = ranges.packed((40, 1, tokens - 41))
        wanted = request(tokens, few, kind != "no self", kind == "ranked")
        expected_BTHD, expected_BHMT = by_definition(wanted, *call, ranges, **options)
        with torch.inference_mode():
            output_BTHD, received_BHMT = fused_attention(wanted, *call, ranges, Softmax(64**-0.5, **options))
        relative, absolute, of_output = TOLERANCES[dtype]
        torch.testing.assert_close(output_BTHD.double(), expected_BTHD, rtol=0, atol=of_output)
        torch.testing.assert_close(received_BHMT.double(), expected_BHMT, rtol=relative, atol=absolute)
        assert torch.equal(received_BHMT == 0, expected_BHMT == 0)


@pytest.mark.parametrize("heads", [(9, 3), (6, 1), (4, 4)])
@pytest.mark.parametrize("channels", [8, 16, 80, 96, 128, 256])
def test_head_sizes_and_counts(heads, channels):
    for dtype, (relative, absolute, of_output) in TOLERANCES.items():
        call = random_call(200, dtype, *heads, channels=channels)
        ranges, wanted = KeyRanges.causal(200, DEVICE), request(200, False)
        expected_BTHD, expected_BHMT = by_definition(wanted, *call, ranges)
        with torch.inference_mode():
            output_BTHD, received_BHMT = fused_attention(wanted, *call, ranges, Softmax(channels**-0.5))
        torch.testing.assert_close(output_BTHD.double(), expected_BTHD, rtol=0, atol=of_output)
        torch.testing.assert_close(received_BHMT.double(), expected_BHMT, rtol=relative, atol=absolute)


def test_few_rows_without_a_first_pass():
    query, key, value = random_call(300, torch.bfloat16)
    ranges, wanted = KeyRanges.causal(300, DEVICE), request(300, True)
    _, expected_BHMT = by_definition(wanted, query, key, value, ranges)
    with torch.inference_mode():
        received_BHMT = column_sums(wanted, query, key, ranges, Softmax(64**-0.5))
    torch.testing.assert_close(received_BHMT.double(), expected_BHMT, rtol=1e-3, atol=1e-4)


class Layer(torch.nn.Module):
    is_causal = True


def peak_bytes(run):
    """Of one call, above what was held before it; the first calls compile."""
    for _ in range(2):
        run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - held


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_no_tokens_by_tokens_matrix_is_kept(few, masked):
    tokens = 8192
    query, key, value = random_call(tokens, torch.bfloat16, heads=32, shared=8, channels=128, texts=1)
    weights_BT = torch.full((1, tokens), float(not few), device=DEVICE)
    weights_BT[0, [100, 4000, tokens - 1]] = 1.0

    def run():
        mask = None
        with torch.inference_mode(), recording(Recorder(weights_BT)):
            if masked:
                window = {"mask_function": sliding_window_causal_mask_function(1024), "local_size": 1024}
                mask = recorded_mask(1, tokens, tokens, device=DEVICE, **window)
                assert isinstance(mask, KeyRanges)
            recorded_attention(Layer(), query, key, value, mask)

    # Output and spread keys are as large as the queries (64 MiB); a map of one head in bf16 would be 128 MiB, of all
    # 4 GiB. Looking at pairs of a mask, 16 million at a time, takes up to 16 bytes each.
    assert peak_bytes(run) < 4 * query.nbytes + (16 * 2**24 if masked else 0)


def test_memory_grows_with_tokens_alone():
    def peak(tokens):
        query, key, value = random_call(tokens, torch.bfloat16, heads=8, shared=2, channels=64, texts=1)

        def run():
            with torch.inference_mode(), recording(Recorder(torch.ones(1, tokens, device=DEVICE))):
                recorded_attention(Layer(), query, key, value, None)

        return peak_bytes(run)

    assert peak(16384) < 2.5 * peak(8192)


@pytest.mark.parametrize(
    "name", ["llama", "gemma2", "gpt_oss", "mistral", "llama4", "qwen3", "gpt_neox", "deepseek_v3"]
)
@pytest.mark.parametrize("queries", ["cues", "all"])
def test_models_score_as_on_a_cpu(name, queries):
    model, _ = model_pair(name)
    documents, tokenizer = tiny_documents(5), tiny_tokenizer()
    expected = score_documents(documents, model, tokenizer, ScoreSettings(queries=queries))
    got = score_documents(documents, cast("Any", model).to(DEVICE), tokenizer, ScoreSettings(queries=queries))
    for one, other in zip(expected, got, strict=True):
        np.testing.assert_array_equal(one.queries, other.queries)
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-4)


@pytest.mark.parametrize("queries", ["cues", "all"])
@pytest.mark.parametrize("device", ["cuda", "balanced", "sequential"])
def test_the_embedded_model_on_a_device_and_by_device_map(device, queries):
    documents, _ = elusive.biography_corpus(4, seed=3)
    tokenizer = load_tokenizer("elusive/large")
    on_cpu = load_model(ModelRef("elusive/large", device="cpu"), attention=attention_to_load)
    expected = score_documents(documents, on_cpu, tokenizer, ScoreSettings(queries=queries))
    tolerances: tuple[tuple[Dtype, float], ...] = (("float32", 1e-5), ("bfloat16", 2e-2))
    for dtype, tolerance in tolerances:
        model = load_model(ModelRef("elusive/large", dtype=dtype, device=device), attention=attention_to_load)
        got = score_documents(documents, model, tokenizer, ScoreSettings(queries=queries))
        for one, other in zip(expected, got, strict=True):
            np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=tolerance)


def test_layers_offloaded_to_main_memory():
    from accelerate import dispatch_model

    model, _ = model_pair("mistral")
    documents, tokenizer = tiny_documents(5), tiny_tokenizer()
    expected = score_documents(documents, model, tokenizer, ScoreSettings(queries="all"))
    places = {"model.embed_tokens": 0, "model.layers.0": 0, "model.layers.1": "cpu"}
    rest = dict.fromkeys(("model.norm", "model.rotary_emb", "lm_head"), 0)
    got = score_documents(documents, dispatch_model(model, places | rest), tokenizer, ScoreSettings(queries="all"))
    for one, other in zip(expected, got, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-4)


def test_lora_adapters():
    from peft import LoraConfig, get_peft_model

    model, _ = model_pair("llama")
    settings = LoraConfig(r=4, target_modules=["q_proj", "k_proj"], init_lora_weights=False)
    adapted = get_peft_model(model, settings).eval()
    documents, tokenizer = tiny_documents(5), tiny_tokenizer()
    expected = score_documents(documents, adapted, tokenizer, ScoreSettings(queries="all"))
    got = score_documents(documents, adapted.to(DEVICE), tokenizer, ScoreSettings(queries="all"))
    for one, other in zip(expected, got, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-4)


def waits(layers, share, weightings):
    """How often a forward pass waits for the device."""
    sizes: dict[str, Any] = {
        "hidden_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
    }
    config = LlamaConfig(vocab_size=64, num_hidden_layers=layers, **sizes)
    made: Any = LlamaModel._from_config(config, attn_implementation=ATTENTION, dtype=torch.bfloat16)
    model = made.to(DEVICE).eval()
    ids_BT = torch.randint(64, (2, 300), device=DEVICE)
    weights_BT = (torch.arange(300, device=DEVICE) % round(1 / share) == 0).float().expand(2, -1)
    weights = torch.stack([weights_BT] * weightings, 1)

    def run():
        with torch.inference_mode(), recording(Recorder(weights)):
            model(input_ids=ids_BT, use_cache=False)

    run()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in seen)


@pytest.mark.parametrize("weightings", [1, 3])
@pytest.mark.parametrize("share", [0.05, 1.0])
def test_layers_do_not_wait_for_the_device(share, weightings):
    """It would stand idle while the next layer is being sent to it."""
    assert waits(8, share, weightings) == waits(2, share, weightings)


def test_the_device_takes_the_way_of_a_gpu():
    assert interface.on_gpu(DEVICE)


@pytest.mark.parametrize("name", ["llama", "gemma2", "qwen3"])
def test_packed_texts_train_as_padded_ones(name):
    own = random_model(name).to(DEVICE)
    assert packs(own, 40)
    eager = copy.deepcopy(own)
    eager.set_attn_implementation("eager")
    check_alike(own, eager, rows_of(), tolerance=1e-4)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_training_runs_and_goes_on_in_bf16(method, tmp_path):
    """Packed, bf16 autocast, and once more from its checkpoints."""
    texts = tmp_path / "train.jsonl"
    write_jsonl(texts, ({"text": f"Person {number} was born in {1900 + number}."} for number in range(24)))
    settings = TrainSettings(method=method, epochs=4, batch_size=8, save_steps=3, learning_rate=1e-3)

    def stop(done, total):
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(texts, tmp_path / "out", model=ModelRef("elusive/large"), settings=settings, progress=stop)
    figures = train(texts, tmp_path / "out", model=ModelRef("elusive/large"), settings=settings)
    assert (figures.steps, figures.packed) == (12, True)
    losses = [row["loss"] for row in read_jsonl(tmp_path / "out" / "metrics.jsonl")]
    assert losses[-1] < losses[0]
