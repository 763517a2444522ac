"""Adapters that are trained further or merged first, and what else they stand on: loaded by peft and transformers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, IA3Config, LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from elusive.config.models import ModelRef
from elusive.config.scoring import ScoreSettings
from elusive.config.training import TrainSettings
from elusive.corpus.documents import Document
from elusive.errors import ElusiveError
from elusive.evaluation.known import known_questions
from elusive.evaluation.vllm import _lora_config, _rank
from elusive.models.loading import EMBEDDED, base_of, load_model, load_tokenizer
from elusive.models.merging import load_merged
from elusive.runs.files import write_jsonl
from elusive.scoring.score import score_documents
from elusive.scoring.stage import load_for_scoring
from elusive.training.stage import train

IDS = torch.arange(5, 15)[None]
STILL: dict[str, Any] = {"learning_rate": 1e-20, "max_steps": 2, "batch_size": 4, "save_steps": 0}
MOVES: dict[str, Any] = {**STILL, "learning_rate": 1e-2}


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(input_ids=IDS).logits


def loaded(folder: Path | str) -> torch.Tensor:
    return logits(load_model(ModelRef(str(folder), device="cpu")))


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    write_jsonl(path, ({"text": f"Person {n} was born in {1900 + n}.", "id": str(n), "copy": 0} for n in range(8)))
    return path


@pytest.fixture
def base(tokenizer: Any, tmp_path: Path) -> ModelRef:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=64, intermediate_size=32, initializer_range=0.3, **sizes
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return ModelRef(str(tmp_path / "base"), device="cpu")


@pytest.fixture
def first(base: ModelRef, tmp_path: Path) -> ModelRef:
    """Somebody's adapters, on two kinds of layers, saved by peft without a tokenizer."""
    torch.manual_seed(1)
    settings = LoraConfig(
        r=3, lora_alpha=5, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", init_lora_weights=False
    )
    get_peft_model(AutoModelForCausalLM.from_pretrained(base.name), settings).save_pretrained(str(tmp_path / "first"))
    return ModelRef(str(tmp_path / "first"), device="cpu")


def assert_loads_everywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By peft and transformers from another working folder as by Elusive; with what vLLM takes."""
    expected = loaded(folder)
    monkeypatch.chdir("/")
    for load in (AutoPeftModelForCausalLM, AutoModelForCausalLM):
        torch.testing.assert_close(
            logits(load.from_pretrained(folder, dtype=torch.float32)), expected, rtol=0, atol=1e-6
        )
    assert len(AutoTokenizer.from_pretrained(folder)) > 0
    config = json.loads((folder / "adapter_config.json").read_text())
    assert Path(config["base_model_name_or_path"]).is_absolute()
    assert not (Path(config["base_model_name_or_path"]) / "adapter_config.json").exists()
    assert _rank(_lora_config(str(folder)), str(folder)) >= config["r"]  # refuses what vLLM refuses


class TestTrainedFurther:
    def test_they_start_as_they_are_and_keep_their_form(self, first, texts, tmp_path, capsys):
        train(texts, tmp_path / "out", model=first, settings=TrainSettings(lora_rank=7, **STILL))
        torch.testing.assert_close(loaded(tmp_path / "out"), loaded(first.name), rtol=0, atol=1e-6)
        assert (loaded(first.name) - loaded(tmp_path / "base")).abs().max() > 1e-2
        before, after = (
            json.loads((Path(one) / "adapter_config.json").read_text()) for one in (first.name, tmp_path / "out")
        )
        for key in ("r", "lora_alpha", "base_model_name_or_path"):
            assert before[key] == after[key]
        assert sorted(before["target_modules"]) == sorted(after["target_modules"])
        said = "first: its adapters (of rank 3) are trained further, at their own rank and alpha."
        assert said in capsys.readouterr().err

    def test_only_they_move(self, first, texts, tmp_path, monkeypatch):
        train(texts, tmp_path / "out", model=first, settings=TrainSettings(**MOVES))
        one, other = (
            load_file(Path(folder) / "adapter_model.safetensors") for folder in (first.name, tmp_path / "out")
        )
        assert one.keys() == other.keys()
        assert all(not torch.equal(one[key], other[key]) for key in one)
        assert_loads_everywhere(tmp_path / "out", monkeypatch)
        train(texts, tmp_path / "again", model=ModelRef(str(tmp_path / "out")), settings=TrainSettings(**MOVES))
        assert base_of(str(tmp_path / "again")) == str(tmp_path / "base")
        assert_loads_everywhere(tmp_path / "again", monkeypatch)

    def test_their_model_s_files_are_checked(self, first, texts, tmp_path):
        train(texts, tmp_path / "out", model=first, settings=TrainSettings(**STILL))
        config = tmp_path / "base" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"rope_theta": 5.0}))
        with pytest.raises(ElusiveError, match=r"were trained on other files than .*base holds now"):
            loaded(tmp_path / "out")

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({"method": "full"}, "method = full trains all weights: expected train.adapters = merge, got continue"),
            ({"average": 0.5}, "train.average: expected 1 where adapters are trained further .*, got 0.5"),
        ],
        ids=str,
    )
    def test_what_only_merged_ones_allow(self, first, texts, tmp_path, settings, expected):
        with pytest.raises(ElusiveError, match=expected):
            train(texts, tmp_path / "out", model=first, settings=TrainSettings(**settings))
        assert not (tmp_path / "out").exists()

    def test_other_kinds_are_refused(self, base, texts, tmp_path):
        settings = IA3Config(
            target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
        )
        get_peft_model(AutoModelForCausalLM.from_pretrained(base.name), settings).save_pretrained(tmp_path / "ia3")
        with pytest.raises(ElusiveError, match=r"ia3 holds adapters of type IA3: expected LORA to train further"):
            train(texts, tmp_path / "out", model=ModelRef(str(tmp_path / "ia3")))


class TestMergedFirst:
    def test_new_ones_stand_on_what_they_were_merged_into(self, first, texts, tmp_path, capsys, monkeypatch):
        train(texts, tmp_path / "out", model=first, settings=TrainSettings(adapters="merge", lora_rank=7, **STILL))
        torch.testing.assert_close(loaded(tmp_path / "out"), loaded(first.name), rtol=0, atol=1e-5)
        config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
        assert config["r"] == 7
        (whole,) = (tmp_path / "out" / "base_models").iterdir()
        assert config["base_model_name_or_path"] == str(whole)
        torch.testing.assert_close(loaded(whole), loaded(first.name), rtol=0, atol=1e-5)
        said = capsys.readouterr().err
        assert (
            f"first: its adapters (of rank 3) were merged into {tmp_path / 'base'}; new ones stand on {whole}" in said
        )
        train(texts, tmp_path / "moved", model=first, settings=TrainSettings(adapters="merge", **MOVES))
        assert_loads_everywhere(tmp_path / "moved", monkeypatch)

    def test_all_weights_are_trained_from_them(self, first, texts, tmp_path, capsys):
        settings = TrainSettings(method="full", adapters="merge", **STILL)
        train(texts, tmp_path / "out", model=first, settings=settings)
        torch.testing.assert_close(loaded(tmp_path / "out"), loaded(first.name), rtol=0, atol=1e-5)
        assert not (tmp_path / "out" / "base_models").exists()
        assert not (tmp_path / "out" / "adapter_config.json").exists()
        assert "are merged into" in capsys.readouterr().err

    @pytest.mark.parametrize("method", ["full", "lora"])
    def test_averages_start_there(self, first, texts, tmp_path, method):
        for ratio in (1.0, 0.25):
            settings = TrainSettings(method=method, adapters="merge", average=ratio, **MOVES)
            train(texts, tmp_path / str(ratio), model=first, settings=settings)
        start, trained, averaged = (
            dict(load_merged(ModelRef(str(one), device="cpu")).named_parameters())
            for one in (first.name, tmp_path / "1.0", tmp_path / "0.25")
        )
        assert any(not torch.equal(start[name], trained[name]) for name in start)
        for name in start:
            expected = 0.75 * start[name].double() + 0.25 * trained[name].double()
            torch.testing.assert_close(averaged[name].double(), expected, rtol=0, atol=1e-6)

    def test_a_folder_that_has_moved(self, first, texts, tmp_path):
        train(texts, tmp_path / "out", model=first, settings=TrainSettings(adapters="merge", **MOVES))
        expected = loaded(tmp_path / "out")
        shutil.move(tmp_path / "out", tmp_path / "elsewhere")
        torch.testing.assert_close(loaded(tmp_path / "elsewhere"), expected, rtol=0, atol=0)

    def test_what_was_known_before_is_that_of_the_first_model(self, texts, tmp_path):
        settings = TrainSettings(adapters="merge", **STILL)
        train(texts, tmp_path / "one", model=ModelRef("elusive/small"), settings=settings)
        train(texts, tmp_path / "two", model=ModelRef(str(tmp_path / "one")), settings=settings)
        expected = known_questions("auto", "elusive/small")
        assert known_questions("auto", str(tmp_path / "two")) == expected
        assert known_questions("auto", base_of(str(tmp_path / "two"))) == expected


def test_adapters_of_the_embedded_pair_load_everywhere(texts, tmp_path, monkeypatch):
    train(texts, tmp_path / "out", model=ModelRef("elusive/small"), settings=TrainSettings(**MOVES))
    assert_loads_everywhere(tmp_path / "out", monkeypatch)
    # On another machine, the package lies elsewhere.
    config = tmp_path / "out" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "/opt/elusive/small"}))
    assert base_of(str(tmp_path / "out")) == str(EMBEDDED["elusive/small"])


def test_a_relative_folder_and_a_revision_are_named_for_others(base, texts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(texts, tmp_path / "out", model=ModelRef("base", "v2", device="cpu"), settings=TrainSettings(**MOVES))
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["revision"] == "v2"
    assert_loads_everywhere(tmp_path / "out", monkeypatch)


def test_adapters_without_a_tokenizer_are_scored_with_their_model_s(first, base):
    assert load_tokenizer(first).get_vocab() == load_tokenizer(base).get_vocab()
    document = Document("d", "Person 1 was born in 1901.", ())
    of_both = [
        score_documents([document], load_for_scoring(one), load_tokenizer(one), ScoreSettings(queries="all"))
        for one in (first, base)
    ]
    one, other = (next(iter(found)) for found in of_both)
    assert len(one.scores) == len(other.scores)
    assert abs(one.scores - other.scores).max() > 1e-4


def test_adapters_with_tokens_of_their_own(base, texts, tmp_path, monkeypatch):
    tokenizer, model = AutoTokenizer.from_pretrained(base.name), AutoModelForCausalLM.from_pretrained(base.name)
    tokenizer.add_tokens(["Zugspitze", "Matterhorn"])
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    adapted.save_pretrained(tmp_path / "more", save_embedding_layers=True)
    tokenizer.save_pretrained(tmp_path / "more")
    torch.testing.assert_close(loaded(tmp_path / "more"), logits(adapted), rtol=0, atol=1e-6)
    train(
        texts,
        tmp_path / "out",
        model=ModelRef(str(tmp_path / "more")),
        settings=TrainSettings(adapters="merge", **MOVES),
    )
    assert_loads_everywhere(tmp_path / "out", monkeypatch)
