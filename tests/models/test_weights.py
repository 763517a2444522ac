"""Weights that are missing, left over, of another shape, or in damaged files: refused, with the file and what to do."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from elusive.config.models import ModelRef
from elusive.errors import ElusiveError
from elusive.models import loading
from elusive.runs.stage import Stage
from elusive.training.stage import train

from ..tiny_models import CONFIGS, tiny_config

Weights = dict[str, torch.Tensor]


def saved(folder: Path, name: str = "llama", tied: bool = False, **options: Any) -> Path:
    config = tiny_config(name)
    config.tie_word_embeddings = tied
    AutoModelForCausalLM.from_config(config).save_pretrained(folder, **options)
    return folder


def adapters(folder: Path, base: Path, **options: Any) -> Path:
    model = AutoModelForCausalLM.from_pretrained(base)
    settings = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False, **options)
    get_peft_model(model, settings).save_pretrained(str(folder))
    return folder


def configured(folder: Path, name: str = "config.json", **changes: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def reweighted(folder: Path, change: Callable[[Weights], Weights], name: str = "model.safetensors") -> Path:
    save_file(change(load_file(folder / name)), folder / name, metadata={"format": "pt"})
    return folder


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {key: weight for key, weight in weights.items() if part not in key}


def load(folder: Path) -> Any:
    return loading.load_model(ModelRef(str(folder), device="cpu"))


def test_layers_that_only_the_configuration_has_are_refused(tmp_path, capfd):
    folder = configured(saved(tmp_path), num_hidden_layers=4)
    with pytest.raises(ElusiveError, match=r"18 of the model's weights missing .*\(model\.layers\.2.*and 16 more\)"):
        load(folder)
    assert "LOAD REPORT" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"num_hidden_layers": 1}, "9 of the files' weights without a place"),
        ({"attention_bias": True}, r"8 of the model's weights missing .*k_proj\.bias"),
        ({"vocab_size": 300}, r"2 of the files' .* shape .*\(275, 32\) for \(300, 32\)"),
        ({"model_type": "qwen2"}, "6 of the model's weights missing"),
        ({"model_type": "gpt_neox"}, "23 of the model's weights missing .*; 20 of the files' weights without a place"),
    ],
)
def test_a_configuration_of_another_model_is_refused(tmp_path, change, expected):
    with pytest.raises(ElusiveError, match=expected):
        load(configured(saved(tmp_path), **change))


def test_a_head_is_missing_only_where_it_is_not_tied(tmp_path):
    tied = saved(tmp_path / "tied", tied=True)
    assert "lm_head.weight" not in load_file(tied / "model.safetensors")
    model = load(tied)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    with pytest.raises(ElusiveError, match=r"1 of the model's weights missing .*lm_head\.weight"):
        load(configured(tied, tie_word_embeddings=False))
    with pytest.raises(ElusiveError, match=r"2 of the model's weights missing .*embed_tokens"):
        load(reweighted(saved(tmp_path / "none", tied=True), without("embed_tokens")))


@pytest.mark.parametrize("lost", ["experts.3.w2", "experts.3.w1", "experts.3."])
def test_a_missing_expert_is_refused(tmp_path, lost):
    folder = reweighted(saved(tmp_path, "mixtral"), without(lost))
    with pytest.raises(ElusiveError, match="are not those of the model"):
        load(folder)


def test_buffers_of_older_versions_are_no_weights(tmp_path):
    folder = saved(tmp_path, "gpt2")
    load(reweighted(folder, lambda weights: weights | {"transformer.h.0.attn.bias": torch.ones(1, 1, 8, 8)}))
    load(reweighted(saved(tmp_path), lambda weights: weights | {"model.rotary_emb.inv_freq": torch.ones(4)}))


def composite(folder: Path) -> Path:
    images = {"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    images |= {"image_size": 28, "patch_size": 14, "vision_output_dim": 16}
    images |= {"projector_input_dim": 16, "projector_output_dim": 16}
    config = transformers.Llama4Config(text_config=copy.deepcopy(CONFIGS["llama4"][1]), vision_config=images)
    transformers.Llama4ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def test_the_text_of_a_model_with_images_is_loaded_without_its_other_parts(tmp_path):
    folder = composite(tmp_path)
    assert any(key.startswith("vision_model.") for key in load_file(folder / "model.safetensors"))
    assert type(load(folder)).__name__ == "Llama4ForCausalLM"
    more = {"language_model.model.layers.9.self_attn.q_proj.weight": torch.ones(32, 32)}
    with pytest.raises(ElusiveError, match=r"1 of the files' weights without a place .*layers\.9"):
        load(reweighted(folder, lambda weights: weights | more))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_a_file_that_was_cut_is_named(tokenizer, tmp_path, name):
    folder = saved(tmp_path)
    tokenizer.save_pretrained(folder)
    cut(folder / name)
    open_it = loading.load_tokenizer if name.startswith("tokenizer") else loading.load_model
    with pytest.raises(ElusiveError, match=rf"{name} is damaged: expected .*, got \d+ bytes.* copy it again"):
        open_it(str(folder))


def test_a_pointer_in_the_place_of_weights_is_told_as_one(tmp_path):
    folder = saved(tmp_path)
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n")
    with pytest.raises(ElusiveError, match="got a pointer of Git LFS"):
        load(folder)


def test_a_shard_that_is_gone_or_cut_is_named(tmp_path):
    folder = saved(tmp_path, max_shard_size="40KB")
    load(folder)
    second = sorted(folder.glob("model-*.safetensors"))[1]
    cut(second)
    with pytest.raises(ElusiveError, match=rf"{second.name} is damaged"):
        load(folder)
    second.unlink()
    with pytest.raises(ElusiveError, match=rf"1 of \d files .* not there: {second.name}"):
        load(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(ElusiveError, match=r"index\.json is damaged: expected weights and their files"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (without("layers.1."), "14 of the adapters' weights missing"),
        (without("lora_B"), "14 of the adapters' weights missing"),
        (
            lambda weights: weights | {key.replace("s.1.", "s.7."): 1 * weight for key, weight in weights.items()},
            "14 of the file's weights without a place",
        ),
    ],
)
def test_adapters_without_a_part_of_their_weights_are_refused(tmp_path, change, expected):
    folder = adapters(tmp_path / "adapters", saved(tmp_path / "base"))
    assert load(folder).active_adapter == "default"
    with pytest.raises(ElusiveError, match=f"{expected}.*base_model_name_or_path"):
        load(reweighted(folder, change, "adapter_model.safetensors"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"target_modules": ["q_proj"]}, "24 of the file's weights without a place"),
        ({"r": 2}, r"size mismatch .*\[4, 32\].*\[2, 32\]"),
        ({"base_model_name_or_path": None}, r"expected the model that the adapters belong to .*, got None"),
        ({"base_model_name_or_path": "elusive/small"}, "could not be loaded|do not fit"),
    ],
)
def test_adapters_that_do_not_fit_their_configuration_are_refused(tmp_path, change, expected):
    folder = adapters(tmp_path / "adapters", saved(tmp_path / "base"))
    with pytest.raises(ElusiveError, match=expected):
        load(configured(folder, "adapter_config.json", **change))


def test_damaged_adapters_are_named(tmp_path):
    folder = adapters(tmp_path / "adapters", saved(tmp_path / "base"))
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        cut(folder / name)
        with pytest.raises(ElusiveError, match=f"{name} is damaged"):
            load(folder)


def test_adapters_on_adapters_are_refused_before_anything_is_trained(tmp_path):
    first = adapters(tmp_path / "first", saved(tmp_path / "base"))
    second = configured(
        adapters(tmp_path / "second", tmp_path / "base"), "adapter_config.json", base_model_name_or_path=str(first)
    )
    with pytest.raises(
        ElusiveError, match=r"belong to .*first, which itself holds adapters.*elusive merge .*first WHOLE"
    ):
        load(second)
    (tmp_path / "train.jsonl").write_text('{"text": "Ada was born."}\n')
    with pytest.raises(ElusiveError, match="which itself holds adapters: expected a whole model"):
        train(tmp_path / "train.jsonl", tmp_path / "out", model=ModelRef(str(second)))
    assert not (tmp_path / "out").exists()


def test_adapters_are_refused_when_their_model_has_changed(tmp_path):
    base = saved(tmp_path / "base")
    folder = tmp_path / "adapters"
    with Stage(folder, loading.model_identity(ModelRef(str(base)))):
        adapters(folder, base)
    load(folder)
    shutil.rmtree(base)
    saved(base)  # other random weights
    with pytest.raises(ElusiveError, match=r"were trained on other files than .*base holds now"):
        load(folder)


def test_a_name_that_is_too_long_for_a_path_is_a_message() -> None:
    with pytest.raises(ElusiveError, match=r"^The model of .a/x+ \.\.\. \[[\d,]+ characters\]"):
        loading.load_model(ModelRef("a/" + "x" * 5000, device="cpu"))
