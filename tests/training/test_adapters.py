"""Adapters on every linear layer but embedding and output head, those of experts and routers included."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from elusive.config.models import ModelRef
from elusive.config.training import TrainSettings
from elusive.models.loading import load_model
from elusive.runs.files import read_json, write_json, write_jsonl
from elusive.training.adapters import LinearWeights, adapters_of, with_adapters
from elusive.training.stage import train
from elusive.training.trainer import fit

from ..tiny_models import CONFIGS, EXPERTS, GROUPED, HEADED, MANY_EXPERTS, tiny_tokenizer
from .test_stage import FIT, steps_of

RANK = 2
SHARED = "shared_expert_intermediate_size"
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: CONFIGS[name] for name in ("llama", "gpt2", "gpt_oss", "llama4", "mixtral", "olmoe", "deepseek_v3")},
    "qwen3_moe": ("Qwen3MoeConfig", {**HEADED, **MANY_EXPERTS, "mlp_only_layers": [0]}),
    "qwen2_moe": ("Qwen2MoeConfig", {**GROUPED, **MANY_EXPERTS, SHARED: 16}),
    "granitemoe": ("GraniteMoeConfig", {**GROUPED, **EXPERTS}),
    "phimoe": ("PhimoeConfig", {**GROUPED, **EXPERTS}),
}
LAYERS = {
    # Linear layers in each: attention, then experts (two weights of them all), routers, shared and dense layers.
    "llama": 2 * (4 + 3),
    "gpt2": 2 * (2 + 2),
    "gpt_oss": 2 * (4 + 2 + 1),
    "llama4": 2 * (4 + 2 + 1 + 3),
    "mixtral": 2 * (4 + 2 + 1),
    "olmoe": 2 * (4 + 2 + 1),
    "deepseek_v3": 2 * 5 + 3 + (2 + 1 + 3),
    "qwen3_moe": 2 * 4 + 3 + (2 + 1),
    "qwen2_moe": 2 * (4 + 2 + 1 + 3 + 1),
    "granitemoe": 2 * (4 + 2 + 1),
    "phimoe": 2 * (4 + 2 + 1),
}


def tiny(kind: str) -> Any:
    name, settings = KINDS[kind]
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(getattr(transformers, name)(**copy.deepcopy(settings))).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_every_linear_layer_has_an_adapter_that_is_trained_saved_and_merged(kind, tmp_path):
    base = tiny(kind)
    base.save_pretrained(tmp_path / "base")
    # By shape alone: every weight of two axes or more, but embeddings, the head, and biases of experts.
    head = base.get_output_embeddings().weight
    expected = {
        name
        for name, weight in base.named_parameters()
        if weight.dim() > 1 and weight is not head and not any(word in name for word in ("embed", "wte", "wpe", "bias"))
    }
    assert len(expected) == LAYERS[kind]
    weights = LinearWeights.of(base)
    assert weights.entries == {name: base.get_parameter(name).numel() for name in expected}
    ids = torch.randint(2, 250, (4, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = base(ids, use_cache=False).logits
        model = with_adapters(base, TrainSettings(lora_rank=RANK))
        assert torch.allclose(model(ids, use_cache=False).logits, before, atol=1e-4), "they begin at nothing"
    adapters = adapters_of(model, weights)
    assert set(adapters.on) == expected
    assert not adapters.without
    assert not adapters.warning
    assert f" on {len(expected)} of {len(expected)} linear layers" in adapters.in_words
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert adapters.trained == sum(weight.numel() for weight in trained)
    optimizer = torch.optim.SGD(trained, 1e-2)
    for _ in range(2):  # in the first step, one side of each adapter is nothing, and the other has no gradient
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()
    for name, weight in model.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad, name
        assert not weight.requires_grad or weight.grad.abs().sum() > 0 or "router" in name, name
    model.save_pretrained(tmp_path / "adapters")
    config = tmp_path / "adapters" / "adapter_config.json"
    write_json(config, read_json(config) | {"base_model_name_or_path": str(tmp_path / "base")})
    loaded = load_model(ModelRef(str(tmp_path / "adapters"), device="cpu"))
    with torch.no_grad():
        after = model(ids, use_cache=False).logits
        assert (after - before).abs().max() > 1e-2
        assert torch.equal(loaded(ids, use_cache=False).logits, after)
        merged = loaded.merge_and_unload()
        assert torch.allclose(merged(ids, use_cache=False).logits, after, atol=1e-3)


def test_experts_that_hold_two_layers_in_one_weight_have_twice_the_rank():
    model = with_adapters(tiny("gpt_oss"), TrainSettings(lora_rank=RANK))
    experts = model.get_base_model().model.layers[0].mlp.experts
    ranks = {}
    while hasattr(experts, "parameter_name"):
        ranks[experts.parameter_name] = experts.r["default"], experts.scaling["default"]
        experts = experts.base_layer
    scaling = TrainSettings().lora_alpha / RANK
    assert ranks == {"gate_up_proj": (2 * RANK, scaling), "down_proj": (RANK, scaling)}


def test_what_has_no_adapter_is_said(tmp_path, capsys):
    pytest.importorskip("bitsandbytes")
    tiny("qwen3_moe").save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    write_jsonl(tmp_path / "train.jsonl", [{"text": "Ann Lee was born in Rome."}])
    model = ModelRef(str(tmp_path / "base"), device="cpu", quantization="4bit")
    settings = TrainSettings(lora_rank=RANK, max_steps=1, precision="fp32")
    train(tmp_path / "train.jsonl", tmp_path / "out", model=model, settings=settings)
    said = capsys.readouterr().err
    assert "on 11 of 14 linear layers with 12,416 weights" in said
    assert "Warning: Without an adapter: 3 linear layers with 4,608 weights" in said
    assert "model.layers.0.mlp.down_proj.weight" in said


def test_a_stopped_training_of_experts_goes_on_to_the_same_weights(tmp_path):
    rows = [torch.randint(2, 250, (9,), generator=torch.Generator().manual_seed(row)).int().numpy() for row in range(8)]
    order = list(np.arange(8).reshape(4, 2))

    class StoppedError(Exception):
        pass

    def stop(done, total):
        if done == 3:
            raise StoppedError

    def learn(folder, **options):
        model = with_adapters(tiny("deepseek_v3"), TrainSettings(lora_rank=RANK))
        fit(model, steps_of(rows, order), FIT, tmp_path / folder, **options)
        return model

    whole = learn("whole")
    with pytest.raises(StoppedError):
        learn("halved", progress=stop)
    again = learn("halved")
    for (name, one), other in zip(whole.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name
