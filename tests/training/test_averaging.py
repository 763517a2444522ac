"""WiSE-FT: weights after training averaged with those before, by the definition."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from elusive.config.models import ModelRef
from elusive.config.training import TrainSettings
from elusive.models.loading import innermost, load_model
from elusive.runs.files import read_json, write_jsonl
from elusive.training import stage
from elusive.training.averaging import average_with_start
from elusive.training.stage import train

SETTINGS: dict[str, Any] = {"learning_rate": 1e-2, "max_steps": 4, "batch_size": 4, "save_steps": 0}


@pytest.fixture
def model(tokenizer, tmp_path) -> ModelRef:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=64, intermediate_size=32, tie_word_embeddings=True, **sizes
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return ModelRef(str(tmp_path / "model"))


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "train.jsonl"
    write_jsonl(path, ({"text": f"Person {n} was born in {1900 + n}.", "id": str(n), "copy": 0} for n in range(8)))
    return path


def weights_of(folder: Any) -> dict[str, torch.Tensor]:
    """The weights that a folder stands for, adapters merged."""
    found = load_model(str(folder))
    merged = found.merge_and_unload() if hasattr(found, "merge_and_unload") else found
    return dict(innermost(merged).named_parameters())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_weights_are_the_average(model, texts, tmp_path, method):
    for ratio in (1.0, 0.25):
        settings = TrainSettings(method=method, average=ratio, lora_rank=2, **SETTINGS)
        train(texts, tmp_path / str(ratio), model=model, settings=settings)
    start, trained, averaged = (weights_of(one) for one in (model.name, tmp_path / "1.0", tmp_path / "0.25"))
    moved = [name for name in start if not torch.equal(start[name], trained[name])]
    assert len(moved) > 10
    for name in start:
        expected = 0.75 * start[name].double() + 0.25 * trained[name].double()
        torch.testing.assert_close(averaged[name].double(), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_weights_of_a_training_that_was_done_are_averaged_to_the_same_bytes(
    model, texts, tmp_path, method, monkeypatch
):
    settings = TrainSettings(method=method, average=0.5, **SETTINGS)
    train(texts, tmp_path / "trained", model=model, settings=TrainSettings(method=method, **SETTINGS))
    alone = train(texts, tmp_path / "alone", model=model, settings=settings)
    monkeypatch.setattr(stage, "fit", None)  # nothing is trained from here on
    shared = train(texts, tmp_path / "shared", model=model, settings=settings, trained=tmp_path / "trained")
    assert (shared.steps, shared.loss, shared.tokens_trained) == (alone.steps, alone.loss, alone.tokens_trained)
    names = {path.name for path in (tmp_path / "alone").iterdir()}
    assert names == {path.name for path in (tmp_path / "shared").iterdir()}
    for name in names - {"done.json", "settings.json"}:
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "shared" / name).read_bytes(), name
    assert read_json(tmp_path / "alone" / "settings.json") == read_json(tmp_path / "shared" / "settings.json")


@pytest.mark.parametrize("other", [{"learning_rate": 2e-2}, {"average": 0.9}], ids=str)
def test_weights_of_another_training_are_not_averaged(model, texts, tmp_path, other):
    settings = TrainSettings(method="full", average=0.5, **SETTINGS)
    train(texts, tmp_path / "other", model=model, settings=TrainSettings(**{"method": "full", **SETTINGS, **other}))
    train(texts, tmp_path / "alone", model=model, settings=settings)
    train(texts, tmp_path / "beside", model=model, settings=settings, trained=tmp_path / "other")
    weights = [(tmp_path / one / "model.safetensors").read_bytes() for one in ("alone", "beside")]
    assert weights[0] == weights[1]


def test_bfloat16_is_rounded_once(model):
    start = ModelRef(model.name, dtype="bfloat16")
    trained = load_model(start)
    with torch.no_grad():
        for weight in trained.parameters():
            weight.mul_(1.5)
    average_with_start(trained, start, 0.5)
    for one, before in zip(trained.parameters(), load_model(start).parameters(), strict=True):
        assert one.dtype == torch.bfloat16
        assert torch.equal(one, ((before.float() + (before * 1.5).float()) / 2).bfloat16())
