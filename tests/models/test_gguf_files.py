"""GGUF files: scored, evaluated and trained as the model that was written to them; and files that cannot be read."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM

from elusive.config.models import ModelRef
from elusive.config.scoring import ScoreSettings
from elusive.config.training import TrainSettings
from elusive.errors import ElusiveError
from elusive.exporting.base_model import load_base_model
from elusive.models import gguf_files
from elusive.models.gguf_files import GgufFile
from elusive.models.loading import load_configs, load_model, load_tokenizer, model_hash, model_identity
from elusive.scoring.score import score_documents
from elusive.scoring.stage import load_for_scoring
from elusive.training.stage import train

from ..tiny_models import tiny_documents, tiny_model, tiny_tokenizer

needs_gguf = pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="the package gguf is not installed")


def write_gguf(path: Path, architecture: str = "llama") -> None:
    """Write the tiny Llama and its tokenizer as llama.cpp keeps them."""
    import gguf

    model, tokenizer = tiny_model("llama"), tiny_tokenizer(bos=False)
    config: Any = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    special = set(tokenizer.all_special_tokens)
    kinds = [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens]
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in merges])
    writer.add_bos_token_id(vocabulary[str(tokenizer.bos_token)])
    writer.add_eos_token_id(vocabulary[str(tokenizer.eos_token)])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, weight in model.state_dict().items():
        kind = name.split(".")[-2]
        if kind in heads:  # llama.cpp rotates neighbouring channels, transformers those half a head apart
            weight = weight.unflatten(0, (heads[kind], 2, -1)).transpose(1, 2).flatten(0, 2)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)) or name, weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path)
    return path


@needs_gguf
def test_scores_are_those_of_the_model_that_was_written(file):
    reference = ModelRef(str(file), device="cpu")
    tokenizer = load_tokenizer(reference)
    documents, settings = tiny_documents(3), ScoreSettings(queries="all")
    written = tiny_tokenizer(bos=False, trim_offsets=False)
    expected = score_documents(documents, tiny_model("llama"), written, settings)
    for got, one in zip(
        score_documents(documents, load_for_scoring(reference), tokenizer, settings), expected, strict=True
    ):
        np.testing.assert_array_equal(got.token_ids, one.token_ids)
        np.testing.assert_array_equal(got.offsets, one.offsets)
        np.testing.assert_allclose(got.scores, one.scores, rtol=0, atol=1e-6)


@needs_gguf
def test_what_was_loaded_is_an_ordinary_model_that_can_be_saved(file, tmp_path, capfd):
    loaded = load_model(ModelRef(str(file), device="cpu"))
    assert "de-quantizing" not in capfd.readouterr().err
    assert loaded.config.name_or_path == str(file)
    assert not getattr(loaded, "is_quantized", False)
    loaded.save_pretrained(tmp_path)
    again = load_model(ModelRef(str(tmp_path), device="cpu"))
    for name, weight in tiny_model("llama").state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight, rtol=0, atol=0)
    configs = load_configs(ModelRef(str(file)))
    assert configs.model.max_position_embeddings == 256
    assert configs.generation.eos_token_id == tiny_tokenizer().eos_token_id


@needs_gguf
@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_was_trained_on_it_is_loaded_again(file, tmp_path, method):
    texts = [{"id": one.id, "text": one.text} for one in tiny_documents(4)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    model, settings = ModelRef(str(file), device="cpu"), TrainSettings(method=method, epochs=2, learning_rate=1e-2)
    train(tmp_path / "train.jsonl", tmp_path / "trained", model=model, settings=settings)
    trained = load_model(ModelRef(str(tmp_path / "trained"), device="cpu"))
    ids = torch.arange(2, 20)[None]
    with torch.inference_mode():
        before, after = (one(input_ids=ids).logits for one in (load_model(model), trained))
    assert (before - after).abs().max() > 1e-3
    if method == "lora":
        adapters = json.loads((tmp_path / "trained" / "adapter_config.json").read_text())
        assert Path(adapters["base_model_name_or_path"]).parent == tmp_path / "trained" / "base_models"
        for load in (AutoPeftModelForCausalLM, AutoModelForCausalLM):
            with torch.inference_mode():
                by_others = load.from_pretrained(tmp_path / "trained")(input_ids=ids).logits
            # A tokenizer of more tokens than rows lets peft add rows.
            torch.testing.assert_close(by_others[..., : after.shape[-1]], after, rtol=0, atol=1e-5)
    else:
        assert (tmp_path / "trained" / "model.safetensors").exists()
        assert "quantization_config" not in json.loads((tmp_path / "trained" / "config.json").read_text())


def test_other_programs_are_refused_it():
    with pytest.raises(ElusiveError, match=r"Another trainer needs safetensors, and tiny.gguf is a GGUF file"):
        load_base_model("tiny.gguf")
    with pytest.raises(ElusiveError, match=r"vLLM' needs safetensors, and owner/some:tiny.gguf is a GGUF file"):
        gguf_files.refuse_gguf("owner/some:tiny.gguf", "'vLLM'")
    gguf_files.refuse_gguf("owner/some", "vLLM")


@needs_gguf
def test_it_is_known_by_its_bytes(file, tmp_path):
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(file.read_bytes())
    assert model_hash(str(copy)) == model_hash(str(file)) != ""
    copy.write_bytes(file.read_bytes()[:-4] + b"\1\2\3\4")
    assert model_identity(ModelRef(str(copy)))["model_hash"] != model_hash(str(file))


def test_names_of_files_and_of_the_hub(tmp_path):
    assert GgufFile.of("models/tiny.gguf") == ("models", "tiny.gguf")
    assert GgufFile.of("owner/some-GGUF:quants/tiny.Q4_K_M.gguf") == ("owner/some-GGUF", "quants/tiny.Q4_K_M.gguf")
    assert GgufFile.of("owner/model") is None
    (tmp_path / "a").mkdir()
    odd = tmp_path / "a" / "b:c.gguf"
    odd.write_bytes(b"")
    assert GgufFile.of(str(odd)) == (str(tmp_path / "a"), "b:c.gguf")


def test_the_missing_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(gguf_files.importlib.util, "find_spec", lambda name: None)
    for load in (load_tokenizer, load_model, load_configs):
        with pytest.raises(
            ElusiveError, match=r"tiny.gguf is read with the package gguf, which is missing. Run: pip install"
        ):
            load(ModelRef(str(tmp_path / "tiny.gguf"), device="cpu"))


@needs_gguf
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda whole: whole[: len(whole) // 2], "is damaged or was cut off .* Download or copy it again"),
        (lambda whole: whole[:300], "is damaged or was cut off"),
        (lambda whole: b"", "expected a GGUF file, got 0 bytes"),
        (lambda whole: b"PK" + whole[2:], "expected a GGUF file, got .* bytes that begin with b'PK"),
        (lambda whole: b"version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS. Run: git lfs pull"),
    ],
)
def test_damaged_files_are_named(file, tmp_path, content, message):
    path = tmp_path / "tiny.gguf"
    path.write_bytes(content(file.read_bytes()))
    for load in (load_tokenizer, load_model):
        with pytest.raises(ElusiveError, match=message):
            load(ModelRef(str(path), device="cpu"))


@needs_gguf
def test_what_transformers_cannot_read_or_find_is_refused(file, tmp_path):
    write_gguf(tmp_path / "other.gguf", "rwkv7")
    with pytest.raises(
        ElusiveError, match=r"other.gguf' could not be loaded: .*rwkv7(?s:.*)Name the model's safetensors"
    ):
        load_model(ModelRef(str(tmp_path / "other.gguf"), device="cpu"))
    with pytest.raises(ElusiveError, match=r"No model at .*nothing.gguf: the file does not exist"):
        load_model(ModelRef(str(tmp_path / "nothing.gguf"), device="cpu"))
    with pytest.raises(ElusiveError, match=r"quantization: expected none for .*tiny.gguf.* got '4bit'"):
        load_model(ModelRef(str(file), quantization="4bit", device="cpu"))
