"""Packed and padded training: the same loss and the same gradients, for every architecture that packs."""

import copy

import numpy as np
import pytest
import torch
from accelerate.utils import send_to_device
from transformers import AutoModelForCausalLM

from elusive.training.packing import PACKED, attention_of, pack, packs
from elusive.training.sequences import pad_right

from ..tiny_models import CONFIGS, VOCABULARY, tiny_config

PADDED_ONLY = {
    "llama4": "the chunks of its attention are told to the mask alone",
    "nemotron": "its layers pass nothing on to attention",
    "stablelm": "its layers pass nothing on to attention",
    **dict.fromkeys(("bloom", "falcon", "falcon_alibi", "falcon_new", "mpt", "gptj"), "computes attention itself"),
    **dict.fromkeys(("gpt_neo", "codegen", "gpt_neox_japanese", "xglm", "openai_gpt"), "computes attention itself"),
}
LENGTHS = (31, 7, 19, 30, 2, 12)


def rows_of(lengths=LENGTHS, seed=1):
    generator = np.random.default_rng(seed)
    return [generator.integers(2, VOCABULARY, length).astype(np.int32) for length in lengths]


def loss_and_gradients(model, batch, predictions):
    model.zero_grad()
    batch = send_to_device(batch, model.device)
    loss = model(**{"use_cache": False, **batch}, num_items_in_batch=torch.tensor(predictions)).loss
    loss.backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return loss.item(), {name: gradient.clone() for name, gradient in gradients.items()}


def check_alike(own, eager, rows, tolerance=1e-5):
    predictions = sum(len(row) - 1 for row in rows)
    loss, gradients = loss_and_gradients(eager, pad_right(rows), predictions)
    with attention_of(own, PACKED):
        packed_loss, packed_gradients = loss_and_gradients(own, pack(rows), predictions)
    assert packed_loss == pytest.approx(loss, abs=tolerance)
    assert packed_gradients.keys() == gradients.keys()
    largest = max(gradient.abs().max() for gradient in gradients.values()).item()
    assert largest > 0
    for name, gradient in gradients.items():
        difference = (packed_gradients[name] - gradient).abs().max().item()
        assert difference <= tolerance * max(1.0, largest), name


def random_model(name):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(tiny_config(name)).float().eval()


@pytest.mark.parametrize("name", sorted(set(CONFIGS) - set(PADDED_ONLY)))
def test_packed_texts_train_as_padded_ones_under_eager_attention(name):
    own = random_model(name)
    assert packs(own, max(LENGTHS)), "expected to pack"
    eager = copy.deepcopy(own)
    eager.set_attn_implementation("eager")
    check_alike(own, eager, rows_of())


@pytest.mark.parametrize("name", ["llama", "gemma2", "qwen3"])
def test_the_three_families_also_with_checkpointed_activations(name):
    own = random_model(name)
    eager = copy.deepcopy(own)
    eager.set_attn_implementation("eager")
    own.train()
    own.activation_checkpointing_enable()
    check_alike(own, eager, rows_of())


@pytest.mark.parametrize("name", sorted(PADDED_ONLY))
def test_what_cannot_pack_is_seen(name):
    assert not packs(random_model(name), max(LENGTHS)), PADDED_ONLY[name]


def test_chunks_that_no_text_fills_do_not_matter():
    assert packs(random_model("llama4"), 13)
    assert not packs(random_model("llama4"), 14)


def test_a_model_is_left_as_it_was():
    model = random_model("llama").train()
    before = model.config._attn_implementation
    packs(model, 30)
    assert model.training
    assert model.config._attn_implementation == before
