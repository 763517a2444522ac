"""Rows, their order, checkpoints and the Trainer: what is seen when, and what a stopped run goes on with."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from elusive.checkpoints import discard_partial, newest_checkpoint
from elusive.config import ModelSettings, TrainSettings
from elusive.errors import ElusiveError
from elusive.fitting import FitSettings, Steps, fit
from elusive.models import load_model
from elusive.runs import write_jsonl
from elusive.training import default_row_length, steps_for, train, with_adapters
from elusive.training_rows import pack_rows, pad_right, row_order, tokenize_rows

FIT = FitSettings(
    learning_rate=1e-2,
    schedule="linear",
    warmup_share=0.1,
    weight_decay=0.0,
    clip_norm=1.0,
    precision="fp32",
    seed=0,
    save_steps=2,
)


def steps_of(rows, order):
    return Steps(rows, [len(row) for row in rows], order, len(rows), len(rows))


TEXTS = [f"Person {number} was born in the year {1900 + number}." for number in range(10)]


def tiny_model(tokenizer, seed=0):
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
        )
    )


@pytest.fixture
def model_folder(tokenizer, tmp_path):
    folder = tmp_path / "model"
    tiny_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def texts_file(tmp_path):
    path = tmp_path / "train.jsonl"
    write_jsonl(path, ({"text": text, "id": str(i), "copy": 0, "arm": "plain"} for i, text in enumerate(TEXTS)))
    return path


def test_rows_have_bos_and_eos_and_long_texts_lose_nothing(tokenizer):
    whole = tokenize_rows(TEXTS[:1], tokenizer, 1000)[0]
    assert whole[0] == tokenizer.bos_token_id
    assert whole[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(whole[1:-1]) == TEXTS[0]
    pieces = tokenize_rows(TEXTS[:1], tokenizer, 5)
    assert len(pieces) == math.ceil(len(whole) / 5)
    assert max(map(len, pieces)) <= 5
    assert np.array_equal(np.concatenate(pieces), whole)


def test_no_texts_are_refused(tokenizer):
    with pytest.raises(ElusiveError, match=r"No a\.jsonl to train on: expected at least one text"):
        tokenize_rows([], tokenizer, 10, "a.jsonl")


def test_packing_keeps_the_tail():
    rows = pack_rows([np.arange(5), np.arange(5, 12)], 8)
    assert [row.tolist() for row in rows] == [list(range(8)), list(range(8, 12))]
    # A corpus smaller than a row is one row, not none.
    assert [len(row) for row in pack_rows([np.arange(3)], 8)] == [3]


def test_every_row_is_seen_equally_often_and_replay_stands_behind():
    lengths, replay_lengths = [7] * 10, [9] * 5
    order = row_order(lengths, replay_lengths, batch_size=4, replay_batch_size=2, draws=40, seed=3)
    assert [len(rows) for rows in order] == [6] * 10
    order = np.stack(order)
    own, replay = order[:, :4], order[:, 4:]
    assert np.bincount(own.ravel(), minlength=10).tolist() == [4] * 10
    assert set(replay.ravel()) == set(range(10, 15))
    assert np.bincount(replay.ravel() - 10).tolist() == [4] * 5
    assert np.array_equal(
        order, row_order(lengths, replay_lengths, batch_size=4, replay_batch_size=2, draws=40, seed=3)
    )
    assert not np.array_equal(
        order, row_order(lengths, replay_lengths, batch_size=4, replay_batch_size=2, draws=40, seed=4)
    )


def test_rows_of_like_length_share_a_step():
    lengths = np.random.default_rng(0).integers(5, 100, 320)
    order = row_order(lengths, batch_size=8, draws=320, seed=0)
    order = np.stack(order)
    assert sorted(order.ravel()) == list(range(320))
    padded = lengths[order].max(axis=1).sum() * 8
    in_any_order = lengths[np.arange(320).reshape(40, 8)].max(axis=1).sum() * 8
    assert padded < 0.75 * in_any_order
    longest = lengths[order].max(axis=1)
    assert not np.array_equal(longest, np.sort(longest))  # no step order by length, which would order learning


def test_no_replay_rows_mean_a_smaller_batch():
    order = row_order([5, 5, 5], batch_size=2, replay_batch_size=4, draws=6, seed=0)
    assert [len(rows) for rows in order] == [2, 2, 2]


def test_padding_is_on_the_right_and_ignored_by_the_loss():
    batch = pad_right([np.array([1, 2, 3], np.int32), np.array([4], np.int32)])
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 0, 0]]
    assert batch["labels"].tolist() == [[1, 2, 3], [4, -100, -100]]


def test_padding_changes_no_loss(tokenizer):
    model = tiny_model(tokenizer).eval()
    long, short = np.arange(20, 40, dtype=np.int32), np.arange(50, 57, dtype=np.int32)
    with torch.no_grad():
        together = model(**pad_right([long, short])).loss
        alone = [model(**pad_right([row])).loss for row in (long, short)]
    weighted = (alone[0] * 19 + alone[1] * 6) / 25  # predictions: one fewer than tokens
    assert together.item() == pytest.approx(weighted.item(), abs=1e-5)


def test_steps_from_epochs_or_as_asked():
    assert steps_for(100, TrainSettings(epochs=3, batch_size=8)) == 38
    assert steps_for(100, TrainSettings(max_steps=7)) == 7


def test_a_row_cannot_be_longer_than_the_context():
    assert default_row_length(64, TrainSettings()) == 64
    assert default_row_length(8192, TrainSettings()) == 1024
    with pytest.raises(
        ElusiveError, match=r"train.max_length: expected at most the model's context of 64 tokens, got 65"
    ):
        default_row_length(64, TrainSettings(max_length=65))


def test_adapters_sit_on_every_linear_layer_but_the_head(tokenizer):
    learner = with_adapters(tiny_model(tokenizer), TrainSettings(lora_rank=4))
    adapted = {
        name.split(".lora_A")[0].rpartition(".")[2] for name, _ in learner.named_parameters() if "lora_A" in name
    }
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert all("lora" in name for name, weight in learner.named_parameters() if weight.requires_grad)
    assert learner.peft_config["default"].r == 4


def test_training_lowers_the_loss_and_a_done_folder_is_not_touched(model_folder, texts_file, tmp_path):
    settings = TrainSettings(method="full", learning_rate=1e-2, max_steps=30, batch_size=4, save_steps=0)
    seen = []
    figures = train(
        texts_file, tmp_path / "out", model=model_folder, settings=settings, progress=lambda *p: seen.append(p)
    )
    assert figures["steps"] == 30
    assert figures["texts"] == figures["rows"] == 10
    assert figures["loss"] < 0.7 * math.log(500)
    assert seen[-1] == (30, 30)
    weights = tmp_path / "out" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert train(texts_file, tmp_path / "out", model=model_folder, settings=settings) == figures
    assert weights.stat().st_mtime_ns == before
    with pytest.raises(ElusiveError, match=r"train.learning_rate: was 0.01, now 0.5"):
        train(
            texts_file,
            tmp_path / "out",
            model=model_folder,
            settings=dataclasses.replace(settings, learning_rate=0.5),
        )


def test_an_adapter_is_saved_by_the_models_name_and_loads_again(model_folder, texts_file, tmp_path):
    settings = TrainSettings(learning_rate=1e-2, max_steps=5, batch_size=4, save_steps=0)
    train(texts_file, tmp_path / "out", model=model_folder, settings=settings)
    assert not (tmp_path / "out" / "model.safetensors").exists()
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == model_folder
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        before = load_model(model_folder)(ids).logits
        after = load_model(str(tmp_path / "out"))(ids).logits
    assert not torch.allclose(before, after)


def test_a_stopped_run_goes_on_to_the_same_weights(tokenizer, tmp_path):
    rows = tokenize_rows(TEXTS, tokenizer, 64)
    order = row_order([len(row) for row in rows], batch_size=2, draws=12, seed=0)

    class StoppedError(Exception):
        pass

    def stop_after_three(done, total):
        if done == 3:
            raise StoppedError

    whole = tiny_model(tokenizer)
    fit(whole, steps_of(rows, order), FIT, tmp_path / "whole")
    halved = tiny_model(tokenizer)
    with pytest.raises(StoppedError):
        fit(halved, steps_of(rows, order), FIT, tmp_path / "halved", progress=stop_after_three)
    assert newest_checkpoint(tmp_path / "halved" / "checkpoints").name == "checkpoint-2"
    steps = []
    again = tiny_model(tokenizer)
    fit(again, steps_of(rows, order), FIT, tmp_path / "halved", progress=lambda done, total: steps.append(done))
    assert steps == [3, 4, 5, 6]
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_one_process_uses_one_device(tokenizer, tmp_path, monkeypatch):
    rows = tokenize_rows(TEXTS, tokenizer, 64)
    order = row_order([len(row) for row in rows], batch_size=2, draws=4, seed=0)
    monkeypatch.setattr("transformers.TrainingArguments.n_gpu", property(lambda self: getattr(self, "_n_gpu", 2)))
    figures, _ = fit(tiny_model(tokenizer), steps_of(rows, order), FIT, tmp_path)
    assert (figures["steps"], figures["processes"]) == (2, 1)
    assert figures["tokens_trained"] == sum(len(rows[row]) for step in order for row in step)


def test_a_half_written_checkpoint_is_passed_over(tokenizer, tmp_path):
    rows = tokenize_rows(TEXTS, tokenizer, 64)
    order = row_order([len(row) for row in rows], batch_size=2, draws=8, seed=0)
    fit(tiny_model(tokenizer), steps_of(rows, order), FIT, tmp_path)
    folder = tmp_path / "checkpoints"
    assert newest_checkpoint(folder).name == "checkpoint-4"
    weights = folder / "checkpoint-4" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert newest_checkpoint(folder).name == "checkpoint-2"
    (folder / "checkpoint-2" / "optimizer.pt").unlink()
    assert newest_checkpoint(folder) is None
    (folder / "checkpoint-4" / "whole.json").unlink()
    discard_partial(folder)
    assert list(folder.iterdir()) == []
    assert newest_checkpoint(tmp_path / "nowhere") is None


def test_replay_of_pretraining_text_needs_a_model_that_has_some(model_folder, texts_file, tmp_path):
    with pytest.raises(
        ElusiveError, match=r"train.replay = 'pretraining' works for models that `elusive pretrain` made"
    ):
        train(
            texts_file,
            tmp_path / "out",
            model=model_folder,
            settings=TrainSettings(replay="pretraining", max_steps=1),
            loading=ModelSettings(device="cpu"),
        )
