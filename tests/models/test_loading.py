"""Loading: names, reasons, and what is refused."""

import json
import shutil

import pytest
import torch
from transformers import GPT2Config, LlamaConfig, LlamaForCausalLM

from elusive.config.models import ModelRef
from elusive.errors import ElusiveError
from elusive.models import loading
from elusive.models.special_tokens import special_token_ids


def save_tiny(folder, tokenizer, **options):
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(folder, **options)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_local_folder_loads_in_evaluation_mode_as_asked(tokenizer, tmp_path):
    name = save_tiny(tmp_path, tokenizer)
    model = loading.load_model(ModelRef(name, dtype="bfloat16", device="cpu"))
    assert not model.training
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert loading.load_tokenizer(name).is_fast


@pytest.mark.parametrize("load", [loading.load_model, loading.load_tokenizer])
def test_a_missing_folder_is_named(load, tmp_path):
    with pytest.raises(ElusiveError, match=r"No (model|tokenizer) at .*nowhere: the folder does not exist"):
        load(str(tmp_path / "nowhere"))


def test_pickled_weights_are_refused(tokenizer, tmp_path):
    name = save_tiny(tmp_path, tokenizer)
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ElusiveError, match="safetensors"):
        loading.load_model(name)


def test_a_model_without_a_fast_tokenizer_is_refused(monkeypatch, tokenizer):
    class Slow:
        is_fast = False

    monkeypatch.setattr(loading.AutoTokenizer, "from_pretrained", lambda *args, **options: Slow())
    with pytest.raises(ElusiveError, match=r"The tokenizer of some/model is Slow, which gives no character offsets"):
        loading.load_tokenizer("some/model")


def test_remote_code_is_never_run(tokenizer, tmp_path):
    name = save_tiny(tmp_path, tokenizer)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "unheard_of", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "code.py").write_text("raise SystemExit('remote code ran')")
    with pytest.raises(ElusiveError, match="could not be loaded"):
        loading.load_model(name)


def test_the_context_is_read_from_the_configuration():
    assert loading.config_context(LlamaConfig(max_position_embeddings=77), "x") == 77
    assert loading.config_context(GPT2Config(n_positions=55), "x") == 55


def test_unknown_words_are_part_of_the_text(tokenizer):
    assert set(special_token_ids(tokenizer)) == set(tokenizer.convert_tokens_to_ids(["<bos>", "<eos>", "<pad>"]))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"[]",
        lambda content: b"\xff" + content,
        # A merge of nothing with nothing, at which tokenizers panics.
        lambda content: json.dumps(
            {**json.loads(content), "model": {**json.loads(content)["model"], "merges": [["", ""]]}}
        ).encode(),
    ],
)
def test_a_damaged_tokenizer_is_named(tmp_path, change):
    folder = shutil.copytree(loading.EMBEDDED["elusive/small"], tmp_path / "model")
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_bytes(change(tokenizer.read_bytes()))
    with pytest.raises(ElusiveError, match=r"The tokenizer of '.*model' could not be loaded"):
        loading.load_tokenizer(str(folder))
