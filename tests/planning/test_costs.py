"""What passes cost: counted by hand, and beside what torch counts in real models."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, Qwen2Config

from elusive.config.models import ModelRef
from elusive.config.training import TrainSettings
from elusive.errors import ElusiveError
from elusive.models.loading import load_configs, load_model
from elusive.planning.costs import (
    H100,
    Device,
    ModelShape,
    answering_bytes,
    answering_flops,
    pass_seconds,
    scoring_bytes,
    scoring_flops,
    step_seconds,
    training_bytes,
    training_flops,
)
from elusive.planning.shapes import shape_of
from elusive.training.adapters import with_adapters
from elusive.training.packing import PACKED, attention_of, pack

from ..tiny_models import tiny_config

HAND = ModelShape("by hand", 4, 2, 2, 1, 2, 3, 5)
LLAMA_70B = ModelShape("Llama 3 70B", 8192, 80, 64, 8, 128, 28672, 128256, context=8192)
LLAMA_8B = ModelShape("Llama 3 8B", 4096, 32, 32, 8, 128, 14336, 128256, context=8192)
LIKE_LLAMA = ["llama", "gemma", "gemma2", "gemma3", "qwen2", "qwen3", "mistral", "olmo2", "smollm3", "granite", "glm4"]
OTHERS = ["phi", "phi3", "cohere", "nemotron", "starcoder2", "stablelm", "gpt_neox", "gpt2", "opt", "bloom", "gptj"]
SIZES = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
}
KINDS = [LlamaConfig, Gemma2Config]


def counting():
    """torch's counter, which knows the fused attention of GPUs only."""
    aten = torch.ops.aten

    def forward(query, key, value, *args, out_shape=None, **kwargs):
        return sdpa_flop_count(query, key, value)

    def backward(gradient, query, key, value, *args, out_shape=None, **kwargs):
        return 2 * sdpa_flop_count(query, key, value)

    fused = aten._scaled_dot_product_flash_attention_for_cpu
    of_cpu = {fused: forward, aten._scaled_dot_product_flash_attention_for_cpu_backward: backward}
    return FlopCounterMode(display=False, custom_mapping=of_cpu)


def model_of(config, lora_rank=0):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return with_adapters(model, TrainSettings(lora_rank=lora_rank)) if lora_rank else model


def bytes_of(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


# Counted by hand.


def test_parameters_by_hand():
    # Query 4 x 4, key and value 4 x 2 each, output 4 x 4, and three of 4 x 3, in each of two layers.
    assert HAND.entering_parameters == 16 + 8 + 8
    assert HAND.leaving_parameters == 16 + 36
    assert HAND.linear_parameters == 168
    assert HAND.parameters == 168 + 2 * 20
    assert dataclasses.replace(HAND, tied=True, others=12).parameters == 168 + 20 + 12
    assert dataclasses.replace(HAND, gated=False).linear_parameters == 168 - 2 * 12
    # Inputs and outputs: 8 + 6 + 6 + 8, and three of 7.
    assert HAND.lora_parameters(3) == 3 * 2 * 49


def test_flops_by_hand():
    # Of three tokens; the last layer's output and feed-forward matrices, and half of its attention, are left out.
    assert scoring_flops(HAND, [3]) == 2 * 116 * 3 + 1.5 * (4 * 4 * 9)
    assert scoring_flops(HAND, [3], layers=1) == 2 * 32 * 3 + 0.5 * 144
    # The scores of the first layer are computed twice; the last one's are needed for its rows alone.
    assert scoring_flops(HAND, [3], rows_again=True) == 2 * 116 * 3 + 2 * 144
    assert scoring_flops(HAND, [3, 3]) == 2 * scoring_flops(HAND, [3])
    layers, head, attention, adapters = 2 * 168 * 3, 2 * 20 * 3, 2 * 144, 2 * 98 * 3
    assert training_flops(HAND, [3], method="full") == 3 * (layers + head + attention)
    assert training_flops(HAND, [3], lora_rank=1) == 2 * (layers + head) + 3 * (attention + adapters)
    again = training_flops(HAND, [3], method="full", gradient_checkpointing=True)
    assert again == 4 * (layers + attention) + 3 * head
    assert training_flops(HAND, [3], passes=2.5) == 2.5 * training_flops(HAND, [3])
    # Two tokens are read; two answered, which see three and four.
    assert answering_flops(HAND, 3, 2) == 2 * 116 * 2 + 4 * 4 * 4 + 2 * 188 * 2 + 2 * (4 * 4 * 7)


def test_bytes_by_hand():
    parts = training_bytes(HAND, tokens=0, longest_row=0, method="full", precision="fp32")
    held = 208 * 4
    assert parts["weights"] == parts["gradients"] == parts["optimizer"] // 2 == held
    assert sum(parts.values()) == 4 * held
    drawn = training_bytes(HAND, tokens=0, longest_row=0, method="full", precision="fp32", l2_sp=True)
    assert sum(drawn.values()) == 5 * held
    parts = training_bytes(HAND, tokens=10, longest_row=5, dtype="bfloat16", lora_rank=1)
    assert parts["weights"] == 208 * 2 + 98 * 4
    assert parts["gradients"] == 98 * 4
    assert parts["casts"] == 0
    assert parts["logits"] == 10 * 5 * 12
    asked = answering_bytes(HAND, batch_tokens=100, longest=20, dtype="bfloat16")
    assert asked["cache"] == 100 * 2 * 2 * 2 * 2  # keys and values, layers, channels, bytes
    assert scoring_bytes(HAND, batch_tokens=100, longest=20)["weights"] == held


def test_checkpointed_activations_are_one_layers_and_the_inputs_of_all():
    def activations(**options):
        return training_bytes(LLAMA_8B, tokens=1000, longest_row=100, dtype="bfloat16", **options)["activations"]

    inputs = 1000 * 32 * 4096 * 2
    assert activations(gradient_checkpointing=True) == pytest.approx(activations() / 32 + inputs)


# Beside real models.


@pytest.mark.parametrize("name", [*LIKE_LLAMA, *OTHERS])
def test_shapes_count_what_real_models_have(name):
    config = tiny_config(name)
    shape, model = shape_of(config, name), AutoModelForCausalLM.from_config(config)
    assert shape.parameters == sum(one.numel() for one in model.parameters())
    adapted = with_adapters(model, TrainSettings(lora_rank=4))
    assert shape.lora_parameters(4) == sum(one.numel() for one in adapted.parameters() if one.requires_grad)


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3", "t5"])
def test_other_models_are_refused(name):
    with pytest.raises(ElusiveError, match=f"costs of {name} cannot be planned: .* Expected a plain decoder"):
        shape_of(tiny_config(name), name)


def test_sizes_of_known_models():
    llama = LlamaConfig(
        hidden_size=8192,
        intermediate_size=28672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
        vocab_size=128256,
        max_position_embeddings=8192,
    )
    shape = shape_of(llama, "Llama 3 70B")
    assert shape.parameters == 70_553_706_496  # as its files have
    assert dataclasses.replace(shape, others=0, adapter_sides=0) == LLAMA_70B
    assert shape.lora_parameters(16) == LLAMA_70B.lora_parameters(16) == 207_093_760
    gemma = Gemma2Config(
        hidden_size=2304,
        intermediate_size=9216,
        num_hidden_layers=26,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        vocab_size=256000,
    )
    shape = shape_of(gemma, "Gemma 2 2B")
    assert (shape.parameters, shape.tied, shape.capped, shape.norms) == (2_614_341_888, True, True, 4)


def test_what_a_configuration_leaves_out():
    bare: dict[str, Any] = {key: SIZES[key] for key in SIZES if key not in ("head_dim", "num_key_value_heads")}
    shape = shape_of(Qwen2Config(**bare, num_key_value_heads=None, tie_word_embeddings=True), "small")
    assert (shape.head_size, shape.key_value_heads, shape.tied, shape.context) == (16, 4, True, 512)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["forward", "full", "lora"])
def test_flops_are_those_of_real_models(kind, method):
    config = kind(**SIZES)
    shape, model = shape_of(config, "tiny"), model_of(config, lora_rank=4 if method == "lora" else 0)
    ids_BT = torch.randint(0, 300, (3, 40))
    with counting() as counter:
        loss = model(input_ids=ids_BT, labels=ids_BT, use_cache=False).loss
        if method != "forward":
            loss.backward()
    planned = training_flops(shape, [40] * 3, method="lora" if method == "lora" else "full", lora_rank=4)
    if method == "forward":
        planned /= 3
    if method == "lora":
        # Nothing below the first layer's queries, keys and values learns, so nothing is passed down through these.
        planned -= 2 * 120 * (shape.entering_parameters + 3 * 4 * shape.hidden_size)
    # The rest is rotary angles.
    assert counter.get_total_flops() == pytest.approx(planned, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("method", "dtype"), [("full", "float32"), ("full", "bfloat16"), ("lora", "bfloat16")])
def test_memory_is_that_of_real_tensors(kind, method, dtype):
    config = kind(**SIZES)
    shape, model = shape_of(config, "tiny"), model_of(config).to(getattr(torch, dtype))
    model = with_adapters(model, TrainSettings(lora_rank=4)) if method == "lora" else model
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    ids_BT = torch.randint(0, 300, (1, 8))
    model(input_ids=ids_BT, labels=ids_BT).loss.backward()
    optimizer.step()
    averages = [state[key] for state in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq")]
    parts = training_bytes(shape, tokens=8, longest_row=8, method=method, dtype=dtype, lora_rank=4)
    assert parts["weights"] == bytes_of(model.parameters())
    assert parts["gradients"] == bytes_of(one.grad for one in trained)
    assert parts["optimizer"] == bytes_of(averages)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize(("dtype", "precision"), [("float32", "fp32"), ("float32", "bf16"), ("bfloat16", "bf16")])
def test_activations_are_those_that_autograd_keeps(kind, method, dtype, precision):
    config = kind(**SIZES)
    shape, model = shape_of(config, "tiny"), model_of(config).to(getattr(torch, dtype))
    model = with_adapters(model, TrainSettings(lora_rank=2)) if method == "lora" else model
    own = {one.untyped_storage().data_ptr() for one in (*model.parameters(), *model.buffers())}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage  # held, so that no other gets its address
        return tensor

    batch = pack([np.arange(length) for length in (256, 250, 246)])
    del batch["labels"]
    decoder = (model.get_base_model() if method == "lora" else model).model
    with (
        attention_of(model, PACKED),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        held = decoder.train()(**batch)
    options = {"method": method, "dtype": dtype, "precision": precision, "lora_rank": 2}
    parts = training_bytes(shape, tokens=752, longest_row=256, **options)
    head = shape.head_parameters * 2 if parts["casts"] else 0  # which did not run
    # The rest: adapters' inner states, rotary angles, the last norm, the places of packed texts.
    assert parts["activations"] + parts["casts"] - head == pytest.approx(
        sum(storage.nbytes() for storage in kept.values()), rel=0.15
    )
    del held


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_quantised_weights_are_those_of_bitsandbytes(quantization):
    pytest.importorskip("bitsandbytes")
    model = load_model(ModelRef("elusive/large", dtype="bfloat16", quantization=quantization, device="cpu"))
    shape = shape_of(load_configs("elusive/large")[0], "elusive/large")
    scales = [one.quant_state.absmax for one in model.parameters() if getattr(one, "quant_state", None)]
    planned = scoring_bytes(shape, batch_tokens=1, longest=1, dtype="bfloat16", quantization=quantization)["weights"]
    assert planned == bytes_of([*model.parameters(), *scales])
    adapted = with_adapters(model, TrainSettings())
    options = {"dtype": "bfloat16", "quantization": quantization}
    planned = training_bytes(shape, tokens=1, longest_row=1, **options)["weights"]
    assert planned == bytes_of([*adapted.parameters(), *scales])


# A device's time.


def test_a_device_takes_as_long_as_its_operations_or_their_launching():
    device = Device("a card", 1e15, 10**9, utilisation=0.5)
    assert device.hours(3600 * 5e14) == 1
    assert device.hours(3600 * 5e14, least_seconds=1800) == 1
    assert device.hours(0, least_seconds=7200) == 2
    assert H100.hours(989e12 * 0.4 * 3600) == pytest.approx(1)
    assert pass_seconds(32) == 0.032
    assert step_seconds(10, "8bit") == pytest.approx(0.05 + 2 * 0.01)
    assert step_seconds(10, "8bit", again=True) == pytest.approx(2 * 0.05 + 2 * 0.01)


@pytest.mark.parametrize("wrong", [{"utilisation": 0.0}, {"flops_a_second": 0.0}, {"memory_bytes": 0}])
def test_a_device_that_does_nothing_is_refused(wrong):
    with pytest.raises(ElusiveError, match="Expected a device that computes and holds something"):
        Device(**{"name": "nothing", "flops_a_second": 1e15, "memory_bytes": 10**9} | wrong)
