"""Models whose weights are spread, offloaded, quantised or adapted score as they should."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model

from elusive.attention import capture
from elusive.attention.architectures import attention_to_load
from elusive.attention.recorder import HeadShard, Recorder
from elusive.config.models import ModelRef, Models
from elusive.config.run import Recipe
from elusive.config.scoring import ScoreSettings
from elusive.config.training import TrainSettings
from elusive.errors import ElusiveError
from elusive.evaluation.greedy import continue_greedily
from elusive.models.loading import load_model
from elusive.scoring.score import score_documents
from elusive.training.stage import train

from ..tiny_models import eager_attention, model_pair, scores_by_hand, tiny_documents, tiny_model, tiny_tokenizer
from . import tensor_parallel

CONTEXT: dict[str, Any] = {"max_length": 256}  # BLOOM's configuration names none
TWO_PROCESSES = ["llama", "gemma2", "qwen3", "gpt_oss"]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two processes captures of models whose heads they share."""
    folder = tmp_path_factory.mktemp("models")
    for name in TWO_PROCESSES:
        tiny_model(name).save_pretrained(folder / name)
    command = [sys.executable, tensor_parallel.__file__, str(folder), *TWO_PROCESSES]
    subprocess.run(command, check=True, timeout=240, stderr=subprocess.DEVNULL)
    return [np.load(folder / f"rank-{rank}.npz") for rank in (0, 1)]


@pytest.mark.parametrize("name", TWO_PROCESSES)
def test_heads_split_over_two_processes_score_as_in_one(ranks, name):
    alone = tensor_parallel.captured(tiny_model(name))
    assert alone["heads-each"].shape == (2, 2, 4, tensor_parallel.TOKENS)
    assert np.ptp(alone["heads-each"], axis=2).max() > 1, "heads differ"
    assert alone["weightings"].shape == (2, 3, tensor_parallel.TOKENS)
    np.testing.assert_allclose(alone["weightings"].sum(1), alone["mean"], rtol=0, atol=1e-5)
    seeing_T = np.arange(tensor_parallel.TOKENS, 0, -1)
    for key, expected in alone.items():
        for rank in ranks:
            np.testing.assert_allclose(rank[f"{name}/{key}"] / seeing_T, expected / seeing_T, rtol=0, atol=1e-6)


def test_heads_that_do_not_add_up_over_the_processes_are_refused():
    shard = HeadShard(rank=1, ranks=2, heads=6, group=None)
    whole_BHT = shard.share(0, torch.ones(1, 3, 2))
    assert whole_BHT[0, :, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert shard.share(0, torch.ones(1, 6, 2)).unique().tolist() == [0.5]
    with pytest.raises(ElusiveError, match="Layer 3 has 6 heads, of which this process holds 2: expected all, or an"):
        shard.share(3, torch.ones(1, 2, 2))


def test_a_mean_over_a_part_of_the_heads_is_never_a_result():
    llama: Any = tiny_model("llama")
    recorder = Recorder(torch.ones(1, 3), layers=2)
    with torch.inference_mode():
        capture(llama, recorder, torch.ones(1, 3, dtype=torch.long))
    llama._tp_size = 2
    with pytest.raises(ElusiveError, match=r"seen its own heads only. Run the model by attention.capture"):
        recorder.mean_over_layers(llama)


def sums(model, layers=2):
    recorder = Recorder(torch.ones(1, 40), layers=layers)
    with torch.inference_mode():
        capture(model, recorder, torch.arange(2, 42)[None])
    return recorder.mean_over_layers(model)


def devices(model):
    return {key: parameter.device.type for key, parameter in model.named_parameters()}


def offloaded(name, kind, folder) -> Any:
    """A tiny model with all weights on disk or in memory but not on its device, or its second layer on disk."""
    model = tiny_model(name)
    if kind == "disk":
        return disk_offload(model, str(folder), execution_device=torch.device("cpu"))
    if kind == "cpu":
        return cpu_offload(model, execution_device=torch.device("cpu"))
    stem, layers = ("transformer", "h") if name == "bloom" else ("model", "layers")
    places: dict[str, str | int | torch.device] = {
        f"{stem}.{part}": "cpu" for part, _ in model.get_decoder().named_children() if part != layers
    }
    places |= {"lm_head": "cpu", f"{stem}.{layers}.0": "cpu", f"{stem}.{layers}.1": "disk"}
    return dispatch_model(model, places, main_device=torch.device("cpu"), offload_dir=str(folder), force_hooks=True)


@pytest.mark.parametrize("kind", ["disk", "cpu", "part"])
@pytest.mark.parametrize("name", ["llama", "gpt_oss", "bloom"])
def test_offloaded_weights_score_alike_again_and_again_and_none_stay_behind(name, kind, tmp_path):
    """gpt-oss's attention has weights of its own, its sinks, which an early end would leave on the device."""
    expected = sums(tiny_model(name))
    model = offloaded(name, kind, tmp_path)
    before = devices(model)
    assert "meta" in before.values()
    for layers in (2, 2, 0, 1, 2):
        got = sums(model, layers)
        assert devices(model) == before
        if layers != 1:
            assert torch.equal(got, expected)


def test_documents_are_scored_with_weights_on_disk(tmp_path):
    documents, tokenizer = tiny_documents(3), tiny_tokenizer()
    model = offloaded("llama", "disk", tmp_path)
    assert model.device.type == "meta"
    expected = score_documents(documents, tiny_model("llama"), tokenizer, ScoreSettings(queries="all"))
    for one, two in zip(
        expected, score_documents(documents, model, tokenizer, ScoreSettings(queries="all")), strict=True
    ):
        np.testing.assert_array_equal(one.scores, two.scores)


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["disk", "cpu", "part"])
@pytest.mark.parametrize("name", ["llama", "gpt_oss"])
def test_offloaded_weights_answer_alike_and_none_stay_behind(name, kind, tmp_path):
    """Prompts are read up to the last layer's keys and values only."""
    prompts = [list(range(2, 30)), list(range(2, 20)), list(range(40, 70))]
    settings = {"stops": [], "max_new_tokens": 5, "max_batch_tokens": 200}
    expected = continue_greedily(model_pair(name)[1], prompts, **settings)
    model = offloaded(name, kind, tmp_path)
    model.set_attn_implementation("eager")
    before = devices(model)
    for _ in range(2):
        assert continue_greedily(model, prompts, **settings) == expected
        assert devices(model) == before


def with_adapters(name):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    settings = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    return get_peft_model(tiny_model(name), settings).eval()


@pytest.mark.parametrize("name", ["llama", "bloom", "gpt_neo"])
def test_adapters_on_and_off_are_both_read_right(name):
    """The trained model against the original, as in Figures 6 and 7, out of one model with adapters."""
    documents, tokenizer = tiny_documents(4), tiny_tokenizer()
    settings = ScoreSettings(queries="spans", **CONTEXT)
    adapted = with_adapters(name)
    original = score_documents(documents, tiny_model(name), tokenizer, settings)
    trained = score_documents(documents, adapted, tokenizer, settings)
    with adapted.disable_adapter():
        off = score_documents(documents, adapted, tokenizer, settings)
    again = score_documents(documents, adapted, tokenizer, settings)
    merged = score_documents(documents, adapted.merge_and_unload(), tokenizer, settings)
    assert max(np.abs(a.scores - b.scores).max() for a, b in zip(original, trained, strict=True)) > 1e-2
    for one, two, three, four, five in zip(original, off, trained, again, merged, strict=True):
        np.testing.assert_array_equal(one.scores, two.scores)
        np.testing.assert_array_equal(three.scores, four.scores)
        np.testing.assert_allclose(three.scores, five.scores, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["llama", "bloom"])
def test_a_saved_adapter_is_loaded_onto_its_model_and_scored(name, tmp_path):
    adapted = with_adapters(name)
    tiny_model(name).save_pretrained(tmp_path / "base")
    adapted.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    adapted.save_pretrained(tmp_path / "adapter")
    documents, tokenizer = tiny_documents(3), tiny_tokenizer()
    expected = score_documents(documents, adapted, tokenizer, ScoreSettings(queries="all", **CONTEXT))
    loaded = load_model(ModelRef(str(tmp_path / "adapter"), device="cpu"), attention=attention_to_load)
    for one, two in zip(
        expected, score_documents(documents, loaded, tokenizer, ScoreSettings(queries="all", **CONTEXT)), strict=True
    ):
        np.testing.assert_allclose(one.scores, two.scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
@pytest.mark.parametrize("name", ["llama", "gemma2", "bloom"])
def test_quantised_weights_score_as_their_own_eager_attention(name, quantization, tmp_path):
    pytest.importorskip("bitsandbytes", reason="pip install 'elusive[quantized]'")
    whole = tiny_model(name)
    whole.save_pretrained(tmp_path)
    model = load_model(ModelRef(str(tmp_path), quantization=quantization, device="cpu"), attention=attention_to_load)
    eager = load_model(ModelRef(str(tmp_path), quantization=quantization, device="cpu"), attention="eager")
    assert model.get_memory_footprint() < 0.8 * whole.get_memory_footprint()
    documents, tokenizer = tiny_documents(3), tiny_tokenizer()
    # LLM.int8 chooses its outlier columns over the whole batch: one text at a time there.
    batches = [documents] if quantization == "4bit" else [[document] for document in documents]
    got = [
        scores
        for batch in batches
        for scores in score_documents(batch, model, tokenizer, ScoreSettings(queries="all", **CONTEXT))
    ]
    for document, scores in zip(documents, got, strict=True):
        ids = tokenizer(document.text)["input_ids"]
        expected, _ = scores_by_hand(eager_attention(eager, ids), list(range(1, len(ids))), True)
        np.testing.assert_allclose(scores.scores, expected, rtol=0, atol=1e-6)
    unquantised = score_documents(documents, whole, tokenizer, ScoreSettings(queries="all", **CONTEXT))
    differences = [np.abs(a.scores - b.scores).max() for a, b in zip(got, unquantised, strict=True)]
    assert 1e-4 < max(differences) < 0.2


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_adapters_on_quantised_weights_are_read(quantization, tmp_path):
    pytest.importorskip("bitsandbytes", reason="pip install 'elusive[quantized]'")
    adapted = with_adapters("llama")
    tiny_model("llama").save_pretrained(tmp_path / "base")
    adapted.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    adapted.save_pretrained(tmp_path / "adapter")
    document, tokenizer = tiny_documents(1), tiny_tokenizer()

    def loaded(name):
        ref = ModelRef(str(tmp_path / name), device="cpu", quantization=quantization)
        return load_model(ref, attention=attention_to_load)

    base = score_documents(document, loaded("base"), tokenizer, ScoreSettings(queries="all"))[0]
    model = loaded("adapter")
    trained = score_documents(document, model, tokenizer, ScoreSettings(queries="all"))[0]
    with model.disable_adapter():
        off = score_documents(document, model, tokenizer, ScoreSettings(queries="all"))[0]
    np.testing.assert_allclose(off.scores, base.scores, rtol=0, atol=1e-6)
    assert np.abs(trained.scores - off.scores).max() > 1e-2


def test_quantised_weights_without_bitsandbytes_are_refused(tmp_path, monkeypatch):
    tiny_model("llama").save_pretrained(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ElusiveError, match=r"Weights in 4bit need bitsandbytes.*pip install 'elusive\[quantized\]'"):
        load_model(ModelRef(str(tmp_path), quantization="4bit", device="cpu"))


def test_quantised_weights_themselves_are_not_trained(tmp_path):
    model, settings = ModelRef("elusive/large", quantization="8bit"), TrainSettings(method="full")
    with pytest.raises(ElusiveError, match="Weights in 8bit cannot be trained themselves: expected method = lora"):
        train(tmp_path / "x.jsonl", tmp_path / "out", model=model, settings=settings)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ElusiveError, match=r'quantization: expected none with train.method = "full", got .8bit'):
        Recipe(models=Models(large=model), train=settings)
    assert Recipe(models=Models(large=model)).train.method == "lora"


def test_a_device_map_by_module_is_taken(tmp_path):
    expected = sums(tiny_model("llama"))
    tiny_model("llama").save_pretrained(tmp_path)
    places = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    places |= {"model.layers.0": "disk", "model.layers.1": "cpu"}
    model = load_model(str(tmp_path), device_map=places, attention=attention_to_load)
    assert set(devices(model).values()) == {"meta", "cpu"}
    assert torch.equal(sums(model), expected)
    assert torch.equal(sums(model), expected)
