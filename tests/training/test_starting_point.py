"""L2-SP: the decay towards the start, beside AdamW written out, and what a stopped training goes on with."""

import dataclasses
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from elusive.config.training import TrainSettings
from elusive.errors import ElusiveError
from elusive.models import processes
from elusive.training.arguments import FitSettings
from elusive.training.sequences import row_order, tokenize_rows
from elusive.training.starting_point import StartingPointDecay
from elusive.training.trainer import Steps, fit

FIT = FitSettings(
    learning_rate=1e-2,
    lr_scheduler="linear",
    warmup_ratio=0.0,
    weight_decay=0.0,
    max_grad_norm=0.0,
    precision="fp32",
    seed=0,
    save_steps=2,
)


def new_model(tokenizer) -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=64, intermediate_size=32, **sizes)
    )


def steps(tokenizer) -> Steps:
    rows = tokenize_rows([f"Person {n} was born in {1900 + n}." for n in range(10)], tokenizer, 64)
    order = row_order([len(row) for row in rows], batch_size=2, draws=12, seed=0)
    return Steps(rows, [len(row) for row in rows], order, len(rows), len(rows))


def distance(model: LlamaForCausalLM, start: LlamaForCausalLM) -> float:
    pairs = zip(model.parameters(), start.parameters(), strict=True)
    return sum((one - other).square().sum().item() for one, other in pairs) ** 0.5


def test_by_hand():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 2.0)
    decay = StartingPointDecay(model, 5.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.nn.init.constant_(model.weight, 3.0)
    decay.on_pre_optimizer_step(None, None, None, optimizer=optimizer)
    assert model.weight.item() == 3.0 - 0.1 * 5.0 * (3.0 - 2.0)


def test_from_zero_it_is_adamws_weight_decay(tokenizer, tmp_path):
    """The output head alone is trained, from zeros: both decays go there."""
    found = []
    for kind in ({"weight_decay": 4.0}, {"l2_sp": 4.0}):
        model = new_model(tokenizer)
        model.model.requires_grad_(False)
        torch.nn.init.zeros_(model.lm_head.weight)
        fit(model, steps(tokenizer), dataclasses.replace(FIT, save_steps=0, **kind), tmp_path / str(kind))
        found.append(model.lm_head.weight)
    assert found[0].abs().max() > 1e-3
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-7)


def test_the_stronger_the_nearer_to_the_start(tokenizer, tmp_path):
    start, found = new_model(tokenizer), []
    for strength in (0.0, 10.0, 100.0):
        model = new_model(tokenizer)
        fit(model, steps(tokenizer), dataclasses.replace(FIT, l2_sp=strength), tmp_path / str(strength))
        found.append(distance(model, start))
    assert found[0] > 1.1 * found[1] > 1.2 * found[2] > 0


def test_a_stopped_training_goes_on_from_the_same_start(tokenizer, tmp_path):
    class StoppedError(Exception):
        pass

    def stop_after_three(done: int, total: int) -> None:
        if done == 3:
            raise StoppedError

    settings = dataclasses.replace(FIT, l2_sp=20.0)
    whole, halved, again = (new_model(tokenizer) for _ in range(3))
    fit(whole, steps(tokenizer), settings, tmp_path / "whole")
    with pytest.raises(StoppedError):
        fit(halved, steps(tokenizer), settings, tmp_path / "halved", progress=stop_after_three)
    fit(again, steps(tokenizer), settings, tmp_path / "halved")
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_weights_spread_over_processes_are_refused(monkeypatch):
    monkeypatch.setattr(processes, "share_weights", lambda: True)
    with pytest.raises(ElusiveError, match=r"train\.l2_sp: expected whole weights in each process, got weights that"):
        StartingPointDecay(torch.nn.Linear(1, 1), 1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"l2_sp": 1.0}, "0 with method = lora: adapters start as 0, so train.weight_decay draws them there, got 1.0"),
        ({"method": "full", "l2_sp": -1.0}, "0 to 1 / train.learning_rate, got -1.0"),
        ({"method": "full", "l2_sp": 2.0, "learning_rate": 1.0}, "0 to 1 / train.learning_rate, got 2.0"),
        ({"average": 0.0}, "train.average: expected a share in (0, 1], got 0.0"),
    ],
    ids=str,
)
def test_settings_that_do_not_go(settings, message):
    with pytest.raises(ElusiveError) as stop:
        TrainSettings(**settings)
    assert message in str(stop.value)
