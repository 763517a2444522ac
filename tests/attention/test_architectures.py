"""Every architecture against transformers' eager attention, as the table in docs/architectures.md says."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from elusive.attention import architectures as ways
from elusive.attention import capture, recorder, tiles
from elusive.attention.forward import check_layers
from elusive.attention.recorder import Recorder
from elusive.config.scoring import ScoreSettings
from elusive.errors import ElusiveError
from elusive.scoring.score import score_documents

from .. import architectures
from ..tiny_models import CONFIGS, REFUSED, model_pair, tiny_config, tiny_documents, tiny_model, tiny_tokenizer

BY_HOOK = [name for name in CONFIGS if ways.attention_to_load(tiny_config(name)) == "eager"]


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Tiles of 16 queries, so that these short texts run through several, the last of them partly filled."""
    torch.set_num_threads(1)
    monkeypatch.setattr(tiles, "tile_queries", lambda *_: 16)


def table(part: int) -> dict[str, str]:
    """Lines of the page's first or second table by their first cell."""
    blocks = architectures.PAGE.read_text(encoding="utf-8").split("| --- |\n")
    lines = [line for line in blocks[part].splitlines() if line.startswith("| ")]
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines]
    return {name: line for name, line in zip(names, lines, strict=True) if name not in ("architecture", "--- ")}


@pytest.mark.parametrize("name", list(CONFIGS))
def test_each_architecture_scores_as_its_row_says(name):
    assert architectures.row(name) == table(1).get(name), architectures.__doc__


@pytest.mark.parametrize("name", list(REFUSED))
def test_each_refusal_gives_the_reason_on_the_page(name):
    assert architectures.refused_row(name) == table(2).get(name), architectures.__doc__


def test_the_page_holds_no_other_rows():
    assert list(table(1)) == list(CONFIGS)
    assert list(table(2)) == list(REFUSED)
    text = architectures.PAGE.read_text(encoding="utf-8")
    assert text.startswith(architectures.HEAD)
    assert architectures.REFUSALS in text
    assert "NOT" not in text
    assert text.count("<= 1e-6") == len(CONFIGS)


def test_both_ways_are_there():
    assert {"bloom", "falcon", "falcon_alibi", "falcon_new", "mpt", "gptj", "gpt_neo", "codegen"} <= set(BY_HOOK)
    assert not {"llama", "gemma2", "gpt_oss", "stablelm"} & set(BY_HOOK)


@pytest.mark.parametrize("name", ["bloom", "falcon", "gpt_neo", "openai_gpt"])
def test_one_layers_map_is_held_at_a_time(name, monkeypatch):
    model = tiny_model(name)
    reduced, seen, alive = tiles.sums_of_map, [], []

    def watched(request, probabilities_BHTT):
        gc.collect()
        alive.append(sum(reference() is not None for reference in seen))
        seen.append(weakref.ref(probabilities_BHTT))
        return reduced(request, probabilities_BHTT)

    monkeypatch.setattr(tiles, "sums_of_map", watched)
    with torch.inference_mode():
        capture(model, Recorder(torch.ones(2, 40)), torch.ones(2, 40, dtype=torch.long))
    assert alive == [0, 0]


@pytest.mark.parametrize("name", ["llama", "bloom", "gpt_neo"])
def test_nothing_runs_after_the_last_layers_attention_and_no_hook_stays(name):
    model = tiny_model(name)
    ran = []
    for module in model.modules():
        module.register_forward_hook(lambda module, *_: ran.append(type(module).__name__))
    before = [len(module._forward_hooks) for module in model.modules()]
    with torch.inference_mode():
        capture(model, Recorder(torch.ones(1, 20)), torch.ones(1, 20, dtype=torch.long))
        whole, ran[:] = ran[:], []
        capture(model, Recorder(torch.ones(1, 20), layers=2), torch.ones(1, 20, dtype=torch.long))
    assert 0 < len(ran) < len(whole)
    assert ran == whole[: len(ran)]
    assert type(model.get_decoder()).__name__ in whole
    assert type(model.get_decoder()).__name__ not in ran
    assert [len(module._forward_hooks) for module in model.modules()] == before


def test_a_layer_that_hands_out_nothing_is_noticed():
    bloom: Any = tiny_model("bloom")
    silent = bloom.transformer.h[1].self_attention
    silent.register_forward_hook(lambda module, inputs, output: (output[0], None))
    with pytest.raises(ElusiveError, match="expected one report from each of its 2 layers, got 1 from 1 attention mod"):
        score_documents(tiny_documents(2), bloom, tiny_tokenizer(), ScoreSettings(queries="all", max_length=256))


def test_a_hybrid_that_declares_nothing_is_noticed(monkeypatch):
    config = tiny_config("jamba")
    kind = ways.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    monkeypatch.setattr(ways, "_WITHOUT_ATTENTION", frozenset())
    monkeypatch.setattr(kind, "_is_stateful", False)
    jamba = AutoModelForCausalLM.from_config(config, attn_implementation=ways.attention_to_load(config)).eval()
    with pytest.raises(ElusiveError, match="expected one report from each of its 2 layers, got 1 from 1 attention mod"):
        check_layers(jamba)


def test_maps_whose_rows_do_not_add_up_to_one_are_refused():
    bloom: Any = tiny_model("bloom")
    attention = bloom.transformer.h[0].self_attention
    attention.register_forward_hook(lambda module, inputs, output: (output[0], output[1] * 0.999))
    with pytest.raises(ElusiveError, match=r"from BloomAttention, but its rows miss a sum of 1 by 1.0e-03"):
        check_layers(bloom)


def test_a_capture_without_the_attention_that_it_needs_is_refused():
    bloom: Any = AutoModelForCausalLM.from_config(tiny_config("bloom"), attn_implementation="elusive").eval()
    message = r"runs the attention 'elusive', expected 'eager'. Capture within elusive.attention.capturable"
    with pytest.raises(ElusiveError, match=message):
        check_layers(bloom)


@pytest.mark.parametrize("name", ["falcon_alibi", "mpt"])
@pytest.mark.parametrize("queries", ["cues", "all"])
def test_a_batch_through_hooks_scores_as_one_text_at_a_time(name, queries):
    model, _ = model_pair(name)
    documents = tiny_documents(5)
    batched = score_documents(documents, model, tiny_tokenizer(), ScoreSettings(queries=queries, max_length=256))
    for document, one in zip(documents, batched, strict=True):
        alone = score_documents([document], model, tiny_tokenizer(), ScoreSettings(queries=queries, max_length=256))[0]
        np.testing.assert_allclose(one.scores, alone.scores, rtol=0, atol=1e-6)


def test_packing_is_refused_where_positions_do_not_restart():
    gpt2: Any = tiny_model("gpt2")
    drop = lambda module, inputs, keywords: (inputs, {**keywords, "position_ids": None})  # noqa: E731
    gpt2.transformer.register_forward_pre_hook(drop, with_kwargs=True)
    recorder = Recorder(torch.ones(1, 7), lengths=(4, 3))
    with pytest.raises(ElusiveError, match="GPT2LMHeadModel cannot take texts packed into one sequence: the at"):
        capture(gpt2, recorder, torch.ones(1, 7, dtype=torch.long))
    assert not recorder.reports


def test_each_mask_is_looked_at_once(monkeypatch):
    looked_at, check = [], recorder.check_causal
    monkeypatch.setattr(recorder, "check_causal", lambda mask, tokens: (looked_at.append(mask), check(mask, tokens)))
    config = tiny_config("gemma2")
    config.num_hidden_layers, config.layer_types = 6, ["sliding_attention", "full_attention"] * 3
    gemma2 = AutoModelForCausalLM.from_config(config, attn_implementation="elusive").eval()
    with torch.inference_mode():
        for _ in range(2):
            capture(gemma2, Recorder(torch.ones(1, 20)), torch.ones(1, 20, dtype=torch.long))
    masks = [mask for mask in looked_at if mask is not None]
    assert len(masks) == 2, "the window's, once in each forward pass"
