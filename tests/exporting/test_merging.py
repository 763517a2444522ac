"""Merged weights: what the adapters said, in a folder that any program loads."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from elusive.cli.main import main
from elusive.config.models import ModelRef
from elusive.errors import ElusiveError
from elusive.exporting.merging import merge
from elusive.models import merging
from elusive.models.loading import load_model

from ..tiny_models import tiny_config, tiny_tokenizer

IDS = torch.arange(5, 15)[None]


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(input_ids=IDS).logits


@pytest.fixture
def base(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config("llama")).to(torch.bfloat16)
    model.generation_config.eos_token_id = 7
    model.save_pretrained(tmp_path / "base")
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(tmp_path / "base")
    tokenizer.chat_template = None
    return tmp_path / "base"


@pytest.fixture
def adapters(base: Path, tmp_path: Path) -> Path:
    torch.manual_seed(1)
    settings = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings).save_pretrained(str(tmp_path / "adapters"))
    return tmp_path / "adapters"


def test_the_verb_writes_a_whole_model(adapters, base, tmp_path, capsys):
    main(["merge", str(adapters), str(tmp_path / "whole")])
    said = capsys.readouterr().out
    parameters = sum(weight.numel() for weight in load_file(base / "model.safetensors").values())
    assert f"{tmp_path / 'whole'}: {parameters:,} weights in bfloat16, merged into {base}" in said
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    assert whole.dtype == torch.bfloat16
    assert whole.generation_config.eos_token_id == 7
    expected = logits(load_model(ModelRef(str(adapters), device="cpu")))
    assert (logits(whole.float()) - expected).abs().max() < 0.03 * expected.abs().max()
    assert AutoTokenizer.from_pretrained(tmp_path / "whole").chat_template == "{{ messages[0]['content'] }}"
    card = (tmp_path / "whole" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers")
    assert "| kind | LORA, rank 4, alpha 8 |\n| merged into | `base` |" in card
    assert str(tmp_path) not in card
    main(["merge", str(adapters), str(tmp_path / "whole")])
    assert "these weights are there already" in capsys.readouterr().out


def test_the_dtype_can_be_chosen(adapters, tmp_path):
    merged = merge(adapters, tmp_path / "whole", dtype="float32")
    assert merged
    assert merged.dtype == "float32"
    expected = logits(load_model(ModelRef(str(adapters), device="cpu")))
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "whole"))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_the_base_can_be_another(adapters, base, tmp_path, capsys):
    (adapters / "settings.json").write_text(json.dumps({"model_hash": "of other files"}))
    shutil.move(base, tmp_path / "moved")
    with pytest.raises(ElusiveError, match=r"base'? could not be loaded|No .* at .*base"):
        merge(adapters, tmp_path / "whole")
    main(["merge", str(adapters), str(tmp_path / "whole"), "--base", str(tmp_path / "moved")])
    printed = capsys.readouterr()
    assert printed.err.startswith("Warning: ")
    assert "has other files than the model that these adapters were trained on" in printed.err
    assert f"merged into {tmp_path / 'moved'}" in printed.out
    assert (tmp_path / "whole" / "tokenizer.json").exists()


def test_adapters_on_adapters_are_merged_one_by_one(adapters, base, tmp_path):
    first = merge(adapters, tmp_path / "inner", dtype="float32")
    assert first
    config = adapters / "adapter_config.json"
    outer = shutil.copytree(adapters, tmp_path / "outer")
    (outer / "adapter_config.json").write_text(
        json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": str(adapters)})
    )
    with pytest.raises(
        ElusiveError, match=r"elusive merge .*adapters WHOLE; elusive merge .*outer OUTPUT --base WHOLE"
    ):
        merge(outer, tmp_path / "both")
    with pytest.raises(ElusiveError, match=r"--base: expected a whole model, got .*, which holds adapters"):
        merge(outer, tmp_path / "both", base=str(adapters))
    merge(outer, tmp_path / "both", base=str(tmp_path / "inner"), dtype="float32")
    start, once, twice = (
        load_model(ModelRef(str(one), device="cpu")).get_parameter("model.layers.0.self_attn.q_proj.weight")
        for one in (base, tmp_path / "inner", tmp_path / "both")
    )
    torch.testing.assert_close(twice - once, once - start, rtol=0, atol=1e-5)  # the same adapters, added again


def test_what_cannot_be_merged_is_refused_and_leaves_nothing(adapters, base, tmp_path):
    with pytest.raises(ElusiveError, match=r"base holds no adapters: expected a folder with adapter_config.json"):
        merge(base, tmp_path / "whole")
    prompt = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), prompt).save_pretrained(tmp_path / "prompt")
    with pytest.raises(ElusiveError, match=r"prompt \(of type PROMPT_TUNING\) cannot be merged into their model"):
        merge(tmp_path / "prompt", tmp_path / "whole")
    weights = load_file(adapters / "adapter_model.safetensors")
    next(iter(weights.values())).fill_(float("nan"))
    save_file(weights, adapters / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ElusiveError, match=r"of type LORA\) cannot be merged into their model: NaNs"):
        merge(adapters, tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapters", "base", "prompt"]


def test_a_merge_that_is_stopped_leaves_nothing(adapters, tmp_path, monkeypatch):
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(merging, "load_tokenizer", stopped)  # after the weights were written
    with pytest.raises(KeyboardInterrupt):
        merge(adapters, tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapters", "base"]


def test_other_files_are_not_overwritten(adapters, tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "thesis.txt").write_text("years of work")
    with pytest.raises(ElusiveError, match=r"whole holds other files: expected a new or an empty folder"):
        merge(adapters, tmp_path / "whole")
    assert (tmp_path / "whole" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "whole" / "thesis.txt").unlink()
    assert merge(adapters, tmp_path / "whole")  # an empty folder will do
    with pytest.raises(ElusiveError, match="holds other files"):
        merge(adapters, tmp_path / "whole", dtype="float32")
    assert isinstance(load_model(ModelRef(str(tmp_path / "whole"), device="cpu")), PreTrainedModel)
