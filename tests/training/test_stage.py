"""Rows, their order, checkpoints and the Trainer: what is seen when, and what a stopped run goes on with."""

import dataclasses
import itertools
import json
import math
import os
import signal
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPTJConfig,
    GPTJForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Trainer,
)

from elusive.config.models import ModelRef
from elusive.config.training import TrainSettings
from elusive.errors import ElusiveError
from elusive.evaluation.generation import generate_answers
from elusive.models.loading import load_model
from elusive.models.rotary import RotaryRule
from elusive.runs.files import read_jsonl, write_jsonl
from elusive.runs.stopping import Stopped, stopped_by_sigterm
from elusive.training.adapters import with_adapters
from elusive.training.arguments import FitSettings
from elusive.training.checkpoints import discard_partial, newest_checkpoint
from elusive.training.packing import check_padded
from elusive.training.sequences import pack_rows, pad_right, row_order, split_step, tokenize_rows
from elusive.training.stage import Evaluator, train
from elusive.training.steps import default_row_length, steps_for, with_steps
from elusive.training.trainer import Steps, fit

from ..tiny_models import BOUNDARY, model_pair, tiny_documents, tiny_tokenizer

FIT = FitSettings(
    learning_rate=1e-2,
    lr_scheduler="linear",
    warmup_ratio=0.1,
    weight_decay=0.0,
    max_grad_norm=1.0,
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
    order = row_order(lengths.tolist(), batch_size=8, draws=320, seed=0)
    order = np.stack(order)
    assert sorted(order.ravel()) == list(range(320))
    padded = lengths[order].max(axis=1).sum() * 8
    in_any_order = lengths[np.arange(320).reshape(40, 8)].max(axis=1).sum() * 8
    assert padded < 0.75 * in_any_order
    longest = lengths[order].max(axis=1)
    assert not np.array_equal(longest, np.sort(longest))  # no step order by length, which would order learning


@pytest.mark.parametrize("count", [1, 3, 10])
def test_no_text_is_dropped_or_cut_however_small_the_corpus(model_folder, tokenizer, tmp_path, count):
    """Three passes in steps of 8: each text three times, in the steps' own batches."""
    write_jsonl(tmp_path / "train.jsonl", ({"text": text} for text in TEXTS[:count]))
    seen = []
    settings = TrainSettings(method="full", epochs=3, batch_size=8, save_steps=0, precision="fp32")

    def count_tokens(batch):
        seen.extend(batch["input_ids"][0].split([len(text) for text in texts_in(batch)]))

    def texts_in(batch):
        starts = [*(batch["position_ids"][0] == 0).nonzero()[:, 0].tolist(), batch["position_ids"].shape[1]]
        return [range(one, other) for one, other in itertools.pairwise(starts)]

    with pytest.MonkeyPatch.context() as patch:
        own = Trainer.compute_loss
        patch.setattr(
            Trainer,
            "compute_loss",
            lambda self, model, inputs, **o: (count_tokens(inputs), own(self, model, inputs, **o))[1],
        )
        figures = train(tmp_path / "train.jsonl", tmp_path / "out", model=ModelRef(model_folder), settings=settings)
    texts = Counter(tokenizer.decode(ids[1:-1]) for ids in seen)
    assert texts == dict.fromkeys(TEXTS[:count], 3)
    assert figures.steps == math.ceil(3 * count / 8)
    assert figures.tokens_trained == 3 * figures.tokens == sum(map(len, seen))


def test_passes_that_one_step_completes_are_all_asked_after(model_folder, tmp_path):
    write_jsonl(tmp_path / "train.jsonl", ({"text": text} for text in TEXTS[:3]))
    settings = TrainSettings(method="full", epochs=4, batch_size=8, save_steps=0, evaluate_at_epochs=(1, 2, 3, 4))
    asked = []

    def ask(model, tokenizer, epoch):
        asked.append(epoch)
        return {"em": 0.0}

    train(
        tmp_path / "train.jsonl",
        tmp_path / "out",
        model=ModelRef(model_folder),
        settings=settings,
        evaluator=Evaluator(ask),
    )
    assert asked == [1, 2, 3, 4]
    steps = [row["step"] for row in read_jsonl(tmp_path / "out" / "metrics.jsonl") if "em" in row]
    assert steps == [1, 1, 2, 2]  # 8 of 12 texts in the first


def trained_weights(model_folder, texts_file, folder, **settings):
    settings = TrainSettings(
        **{"method": "full", "epochs": 2, "batch_size": 4, "save_steps": 0, "precision": "fp32", **settings}
    )
    figures = train(texts_file, folder, model=ModelRef(model_folder), settings=settings)
    return figures, dict(load_model(str(folder)).named_parameters())


@pytest.mark.parametrize(
    "other", [{"packing": False}, {"gradient_accumulation_steps": 3}, {"gradient_checkpointing": True}], ids=str
)
def test_how_a_step_is_computed_changes_nothing_of_it(model_folder, texts_file, tmp_path, other):
    packed, weights = trained_weights(model_folder, texts_file, tmp_path / "packed")
    figures, others = trained_weights(model_folder, texts_file, tmp_path / "other", **other)
    assert packed.packed
    assert figures.packed == ("packing" not in other)
    assert (packed.steps, packed.tokens_trained) == (figures.steps, figures.tokens_trained)
    assert max((weights[name] - others[name]).abs().max().item() for name in weights) < 1e-5
    untrained = dict(load_model(model_folder).named_parameters())
    assert max((weights[name] - untrained[name]).abs().max().item() for name in weights) > 1e-4


@pytest.mark.parametrize("accumulation", [1, 3])
def test_an_architecture_that_does_not_pack_trains_on_padded_texts(tokenizer, texts_file, tmp_path, accumulation):
    """GPT-J's loss is a mean over a batch: parts of a step are weighed by their tokens all the same."""
    torch.manual_seed(0)
    config = GPTJConfig(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, rotary_dim=4, n_positions=64)
    GPTJForCausalLM(config).save_pretrained(tmp_path / "gptj")
    tokenizer.save_pretrained(tmp_path / "gptj")
    figures, weights = trained_weights(str(tmp_path / "gptj"), texts_file, tmp_path / "one")
    assert not figures.packed
    _, parts = trained_weights(
        str(tmp_path / "gptj"), texts_file, tmp_path / "parts", gradient_accumulation_steps=accumulation
    )
    assert max((weights[name] - parts[name]).abs().max().item() for name in weights) < 1e-5


@pytest.mark.parametrize("kind", [Gemma2Config, Qwen3Config])
def test_other_families_are_trained_and_asked(tokenizer, texts_file, tmp_path, kind):
    """Gemma 2's capped logits have no form in SDPA: it is loaded with another attention, and packs all the same."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = kind(vocab_size=len(tokenizer), num_key_value_heads=1, head_dim=8, max_position_embeddings=64, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    figures, weights = trained_weights(str(tmp_path / "model"), texts_file, tmp_path / "packed", method="lora")
    assert figures.packed
    _, padded = trained_weights(str(tmp_path / "model"), texts_file, tmp_path / "padded", method="lora", packing=False)
    assert max((weights[name] - padded[name]).abs().max().item() for name in weights) < 1e-5
    prompts = ["Person 1 was", "Person 22"]
    limits: dict[str, Any] = {"max_new_tokens": 3, "max_batch_tokens": 64}
    models = (load_model(str(tmp_path / name)) for name in ("packed", "padded"))
    packed_answers, padded_answers = (generate_answers(model, tokenizer, prompts, **limits) for model in models)
    assert packed_answers == padded_answers
    assert any(packed_answers)


@pytest.mark.parametrize("quantization", ["none", "8bit", "4bit"])
def test_adapters_are_trained_on_quantised_weights_and_asking_changes_nothing(texts_file, tmp_path, quantization):
    """A forward pass in evaluation mode once put 4-bit weights in a form that has no gradients."""
    settings = TrainSettings(max_steps=6, learning_rate=1e-2, precision="fp32", evaluate_at_epochs=(1.0, 2.0))
    asked = []

    def ask(model, tokenizer, epoch):
        was_training = model.training
        model.eval()
        with torch.no_grad():
            model(torch.arange(5, 15)[None])
        model.train(was_training)
        asked.append(epoch)
        return {"em": 0.5}

    folders = {"asked": Evaluator(ask), "silent": Evaluator(lambda model, tokenizer, epoch: {"em": 0.0})}

    def learn(name, quantization):
        output = tmp_path / name
        return train(
            texts_file,
            output,
            model=ModelRef("elusive/large", quantization=quantization),
            settings=settings,
            evaluator=folders[name],
        )

    assert learn("asked", quantization).packed
    assert learn("silent", quantization).packed
    assert asked == [1.0, 2.0]
    found = list(read_jsonl(tmp_path / "asked" / "metrics.jsonl"))
    assert [row["step"] for row in found if "em" in row] == [2, 3]
    losses = [row["loss"] for row in found if "loss" in row]
    assert losses[-1] < losses[0]
    one, other = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in folders)
    assert one == other
    learned = load_model(ModelRef(str(tmp_path / "asked"), quantization=quantization))
    assert ("Linear8bitLt" in str(learned) or "Linear4bit" in str(learned)) == (quantization != "none")
    assert any(weight.abs().sum() > 0 for name, weight in learned.named_parameters() if "lora_B" in name)
    with pytest.raises(ElusiveError, match="quantization: was"):
        learn("asked", "4bit" if quantization == "none" else "none")


def test_lines_of_steps_that_are_trained_again_are_dropped(tokenizer, tmp_path):
    rows = tokenize_rows(TEXTS, tokenizer, 64)
    order = row_order([len(row) for row in rows], batch_size=2, draws=12, seed=0)
    settings = dataclasses.replace(FIT, training_arguments={"logging_steps": 1})

    def stop(done, total):
        if done == 4:  # its line is not written yet, but those of steps 1 to 3 are; checkpoint 2 is whole
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(tiny_model(tokenizer), steps_of(rows, order), settings, tmp_path, progress=stop)
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 4, "lo')  # cut off
    fit(tiny_model(tokenizer), steps_of(rows, order), settings, tmp_path)
    found = list(read_jsonl(tmp_path / "metrics.jsonl"))
    assert [row["step"] for row in found] == [1, 2, 3, 4, 5, 6]
    assert [row["tokens"] for row in found] == np.cumsum(
        [sum(len(rows[row]) for row in step) for step in order]
    ).tolist()
    assert [row["epoch"] for row in found] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.2])


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("stopped_at", [4, 6])
def test_a_checkpoint_between_two_logs_keeps_the_loss_since_the_first(tokenizer, tmp_path, stopped_at, accumulation):
    """Logs after steps 3 and 6, checkpoints after 2 and 4: each line is the uninterrupted run's."""
    rows = tokenize_rows(TEXTS, tokenizer, 64)
    order = row_order([len(row) for row in rows], batch_size=2, draws=14, seed=0)
    settings = dataclasses.replace(
        FIT, training_arguments={"logging_steps": 3}, gradient_accumulation_steps=accumulation
    )

    def stop(done, total):
        if done == stopped_at:
            raise KeyboardInterrupt

    fit(tiny_model(tokenizer), steps_of(rows, order), settings, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(tiny_model(tokenizer), steps_of(rows, order), settings, tmp_path / "stopped", progress=stop)
    fit(tiny_model(tokenizer), steps_of(rows, order), settings, tmp_path / "stopped")
    whole, stopped = ((tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "stopped"))
    assert whole == stopped
    assert [json.loads(line)["step"] for line in whole.splitlines()] == [3, 6]


def test_sigterm_ends_a_training_after_its_step_with_a_checkpoint(tokenizer, tmp_path):
    rows = tokenize_rows(TEXTS, tokenizer, 64)
    order = row_order([len(row) for row in rows], batch_size=2, draws=12, seed=0)
    steps = []

    def told(done, total):
        steps.append(done)
        if done == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped) as stop, stopped_by_sigterm():
        fit(tiny_model(tokenizer), steps_of(rows, order), FIT, tmp_path, progress=told)
    assert stop.value.code == 143
    assert steps == [1, 2, 3]
    assert newest_checkpoint(tmp_path / "checkpoints") == tmp_path / "checkpoints" / "checkpoint-3"
    fit(tiny_model(tokenizer), steps_of(rows, order), FIT, tmp_path, progress=told)
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_step_is_split_evenly_by_tokens():
    lengths = [10, 40, 20, 30, 5]
    assert [part.tolist() for part in split_step(np.arange(5), lengths, 2)] == [[1, 2, 4], [3, 0]]
    # Fewer rows than parts: the others wait.
    assert [part.tolist() for part in split_step(np.array([3]), lengths, 3)] == [[3], [], []]


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


def test_steps_from_tokens_of_the_arms_texts():
    settings = TrainSettings(max_tokens=10_000, batch_size=8)
    assert with_steps(settings, rows=100, tokens=5_000).max_steps == 25  # 8 rows of 50 tokens a step
    assert with_steps(settings, rows=100, tokens=2_500).max_steps == 50  # shorter texts, more steps
    assert with_steps(settings, rows=1, tokens=50_000).max_steps == 1
    assert with_steps(TrainSettings(max_steps=7), rows=100, tokens=5_000) == TrainSettings(max_steps=7)
    with pytest.raises(ElusiveError, match=r"train.max_tokens: expected 0 with max_steps, got 5"):
        TrainSettings(max_steps=7, max_tokens=5)


def test_two_arms_of_equal_tokens(texts_file, tmp_path):
    """Half the texts take twice the passes: the tokens trained on agree to within a step."""
    settings = TrainSettings(method="full", max_tokens=600, batch_size=4, precision="fp32", save_steps=0)
    half = tmp_path / "half.jsonl"
    half.write_text("".join(texts_file.read_text().splitlines(keepends=True)[::2]))
    whole = train(texts_file, tmp_path / "whole", model=ModelRef("elusive/small"), settings=settings)
    part = train(half, tmp_path / "part", model=ModelRef("elusive/small"), settings=settings)
    for figures in (whole, part):
        a_step = 4 * figures.tokens / figures.rows
        assert abs(figures.tokens_trained - 600) < 2 * a_step
    settings_of_stage = json.loads((tmp_path / "whole" / "settings.json").read_text())
    assert settings_of_stage["train"]["max_tokens"] == 600


def test_a_row_cannot_be_longer_than_the_context():
    assert default_row_length(64, TrainSettings()) == 64
    assert default_row_length(8192, TrainSettings()) == 1024
    with pytest.raises(
        ElusiveError, match=r"train.max_length: expected at most the model's context of 64 tokens, got 65"
    ):
        default_row_length(64, TrainSettings(max_length=65))


def test_rows_of_other_frequencies_share_no_step(tmp_path):
    model, tokenizer = model_pair("phi3_longrope")[1], tiny_tokenizer()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    texts = [document.text for document in tiny_documents(6)]
    write_jsonl(tmp_path / "train.jsonl", [{"text": text} for text in texts])
    lengths = [len(tokenizer(text)["input_ids"]) for text in texts]
    assert min(lengths) < BOUNDARY < max(lengths)

    def learn(**settings):
        settings = TrainSettings(method="full", epochs=1, precision="fp32", **settings)
        name = "-".join(map(str, [settings.max_length, settings.batch_size]))
        return train(
            tmp_path / "train.jsonl", tmp_path / name, model=ModelRef(str(tmp_path / "model")), settings=settings
        )

    with pytest.raises(ElusiveError, match=r"train.max_length: .* more than 64 tokens .* Set it to 64 or less"):
        learn(max_length=256, batch_size=6)
    assert learn(max_length=256, batch_size=1).rows == 6
    assert learn(batch_size=6).rows > 6  # rows of at most 64 tokens


def test_a_model_whose_texts_change_each_other_is_not_trained_on_several(monkeypatch):
    monkeypatch.setattr(RotaryRule, "of", classmethod(lambda cls, config: cls()))  # as of a kind that nobody knows
    _, model = model_pair("phi3_longrope")
    check_padded(model, 7, BOUNDARY)
    with pytest.raises(
        ElusiveError, match=r"text of 7 tokens gives other logits beside one of 65 .*train.batch_size = 1"
    ):
        check_padded(model, 7, BOUNDARY + 1)


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
        texts_file,
        tmp_path / "out",
        model=ModelRef(model_folder),
        settings=settings,
        progress=lambda *p: seen.append(p),
    )
    assert figures.steps == 30
    assert figures.texts == figures.rows == 10
    assert figures.loss < 0.7 * math.log(500)
    assert seen[-1] == (30, 30)
    weights = tmp_path / "out" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert train(texts_file, tmp_path / "out", model=ModelRef(model_folder), settings=settings) == figures
    assert weights.stat().st_mtime_ns == before
    with pytest.raises(ElusiveError, match=r"train.learning_rate: was 0.01, now 0.5"):
        train(
            texts_file,
            tmp_path / "out",
            model=ModelRef(model_folder),
            settings=dataclasses.replace(settings, learning_rate=0.5),
        )


def test_an_adapter_is_saved_by_the_models_name_and_loads_again(model_folder, texts_file, tmp_path):
    settings = TrainSettings(learning_rate=1e-2, max_steps=5, batch_size=4, save_steps=0)
    train(texts_file, tmp_path / "out", model=ModelRef(model_folder), settings=settings)
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
    assert (
        newest_checkpoint(tmp_path / "halved" / "checkpoints") == tmp_path / "halved" / "checkpoints" / "checkpoint-2"
    )
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
    assert (figures.steps, figures.processes) == (2, 1)
    assert figures.tokens_trained == sum(len(rows[row]) for step in order for row in step)


def test_a_half_written_checkpoint_is_passed_over(tokenizer, tmp_path):
    rows = tokenize_rows(TEXTS, tokenizer, 64)
    order = row_order([len(row) for row in rows], batch_size=2, draws=8, seed=0)
    fit(tiny_model(tokenizer), steps_of(rows, order), FIT, tmp_path)
    folder = tmp_path / "checkpoints"
    assert newest_checkpoint(folder) == folder / "checkpoint-4"
    weights = folder / "checkpoint-4" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert newest_checkpoint(folder) == folder / "checkpoint-2"
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
            model=ModelRef(model_folder, device="cpu"),
            settings=TrainSettings(replay="pretraining", max_steps=1),
        )
