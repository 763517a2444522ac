"""Batched greedy answers against one prompt at a time without any cache, on every architecture."""

import random
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from elusive.evaluation import greedy
from elusive.evaluation.greedy import Beginning, continue_greedily, continues, shared_beginnings

from ..tiny_models import CONFIGS, REFUSED, VOCABULARY, model_pair, tiny_config

LENGTHS = (3, 45, 44, 44, 17, 31, 60)
NEW_TOKENS = 6
# Their state is not each layer's keys and values alone.
OTHER_STATE = {"llama4", "openai_gpt"}


def prompts(seed: int = 0) -> list[list[int]]:
    """Seven prompts; the second to the fourth share 30 tokens, which are half and more of each."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(2, 256, (length,), generator=generator).tolist() for length in LENGTHS]
    return [rows[1][:30] + row[30:] if number in (2, 3) else row for number, row in enumerate(rows)]


def one_by_one(model, rows: list[list[int]], stops: list[int], new_tokens: int) -> list[list[int]]:
    """The definition: the whole text is read again for each new token."""
    answers = []
    for row in rows:
        answer: list[int] = []
        while len(answer) < new_tokens and (not answer or answer[-1] not in stops):
            answer.append(int(model(torch.tensor([row + answer]), use_cache=False).logits[0, -1].argmax()))
        answers.append(answer)
    return answers


@pytest.mark.parametrize("name", sorted(set(CONFIGS) - set(REFUSED)))
@torch.inference_mode()
def test_as_one_by_one(name: str):
    model = model_pair(name)[1].eval()
    if not continues(model):
        pytest.skip("answered by transformers' generate")
    rows = prompts()
    free = one_by_one(model, rows, [], NEW_TOKENS)
    assert len({tuple(answer) for answer in free}) > 4, "answers that are all alike would prove nothing"
    stops = sorted({answer[place] for place, answer in enumerate(free) if place < NEW_TOKENS})
    expected = one_by_one(model, rows, stops, NEW_TOKENS)
    assert len({len(answer) for answer in expected}) > 1, "rows should leave at different steps"
    for budget in (10_000, 150):
        got = continue_greedily(model, rows, stops=stops, max_new_tokens=NEW_TOKENS, max_batch_tokens=budget)
        assert got == expected, budget


@torch.inference_mode()
def test_adapters_are_on():
    base = model_pair("llama")[1].eval()
    expected_without = one_by_one(base, prompts(), [], NEW_TOKENS)
    torch.manual_seed(0)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)).eval()
    expected = one_by_one(model, prompts(), [], NEW_TOKENS)
    assert expected != expected_without
    assert continue_greedily(model, prompts(), stops=[], max_new_tokens=NEW_TOKENS, max_batch_tokens=500) == expected


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of what a model is given, pass by pass, without the first that shows what keys look like."""
    seen: list[tuple[int, ...]] = []
    run = greedy._Reader.run

    def counted(self, memory, first, ids, held, only_read=False):
        seen.append((len(ids), len(ids[0])))
        return run(self, memory, first, ids, held, only_read)

    monkeypatch.setattr(greedy._Reader, "run", counted)
    return seen


def drawn(tokens: int, seed: int = 0) -> list[int]:
    return torch.randint(2, VOCABULARY, (tokens,), generator=torch.Generator().manual_seed(seed)).tolist()


@torch.inference_mode()
def test_shared_beginnings_are_read_once(passes: list[tuple[int, ...]]):
    model = model_pair("llama")[1].eval()
    beginning = drawn(40)
    rows = [beginning + [2 + number] * (3 + number % 2) for number in range(8)]
    got = continue_greedily(model, rows, stops=[], max_new_tokens=1, max_batch_tokens=10_000)
    # The last token of a prompt is fed like the first of an answer.
    assert passes == [(1, 40), (8, 3), (8, 1)]
    assert got == one_by_one(model, rows, [], 1)


@torch.inference_mode()
def test_reading_ends_with_the_last_layers_keys_and_values(monkeypatch: pytest.MonkeyPatch):
    model = model_pair("llama")[1].eval()
    tokens: list[int] = []
    last = model.model.layers[-1].mlp
    handle = last.register_forward_hook(lambda module, inputs, output: tokens.append(inputs[0].shape[:2].numel()))
    continue_greedily(model, [drawn(30, seed) for seed in range(3)], stops=[], max_new_tokens=2, max_batch_tokens=999)
    handle.remove()
    assert tokens == [1, 3, 3]  # one to see what keys look like, then two new tokens of each prompt


@torch.inference_mode()
def test_rows_that_are_done_leave(passes: list[tuple[int, ...]]):
    model = model_pair("llama")[1].eval()
    rows = [drawn(12, seed) for seed in range(6)]
    free = one_by_one(model, rows, [], 5)
    stops = [free[1][0], free[4][1]]
    expected = one_by_one(model, rows, stops, 5)
    assert {len(answer) for answer in expected} >= {1, 2, 5}
    assert continue_greedily(model, rows, stops=stops, max_new_tokens=5, max_batch_tokens=999) == expected
    assert passes[1:] == [(sum(len(answer) > step for answer in expected), 1) for step in range(5)]


@torch.inference_mode()
def test_memory_holds_no_more_than_a_batch(monkeypatch: pytest.MonkeyPatch):
    model = model_pair("llama")[1].eval()
    pairs = [drawn(20, seed) for seed in range(6)]
    rows = [[*pair, 2 + last] for pair in pairs for last in range(2)]
    made: list[int] = []
    init = greedy._Memory.__init__

    def counted(self, like, places):
        made.append(places)
        init(self, like, places)

    monkeypatch.setattr(greedy._Memory, "__init__", counted)
    got = continue_greedily(model, rows, stops=[], max_new_tokens=2, max_batch_tokens=50)
    assert got == one_by_one(model, rows, [], 2)
    assert made == [46] + [20] * 6  # two rows of 21 + 2 tokens, and what each pair begins with


@torch.inference_mode()
def test_weights_on_disk(tmp_path: Path):
    model = model_pair("llama")[1].eval()
    expected = one_by_one(model, prompts(), [], NEW_TOKENS)
    model.save_pretrained(tmp_path / "model")
    names = {"model.embed_tokens": "cpu", "model.layers": "disk", "model.norm": "cpu", "lm_head": "cpu"}
    names["model.rotary_emb"] = "cpu"
    offloaded = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", device_map=names, offload_folder=tmp_path / "offloaded", attn_implementation="sdpa"
    ).eval()
    got = continue_greedily(offloaded, prompts(), stops=[], max_new_tokens=NEW_TOKENS, max_batch_tokens=150)
    assert got == expected
    layers = offloaded.model.layers.parameters()
    assert all(weight.device.type == "meta" for weight in layers), "weights should go back"


def test_beginnings_by_hand():
    assert shared_beginnings([[1, 2, 3, 4], [9, 9], [1, 2, 3, 5], [1, 2, 3]], least=1) == [
        Beginning((1, 2), (3, 0, 2)),  # shorter than its shortest prompt, of which a token has to be left
        Beginning((), (1,)),
    ]
    # Sharing 1 between four saves three tokens, sharing 1 2 3 and 1 4 5 between two each saves six.
    pairs = [[1, 2, 3, 8], [1, 4, 5, 8], [1, 2, 3, 9], [1, 4, 5, 9]]
    assert shared_beginnings(pairs, least=1) == [Beginning((1, 2, 3), (0, 2)), Beginning((1, 4, 5), (1, 3))]
    assert shared_beginnings([[1, 2, 8], [1, 3, 8], [1, 4, 8], [1, 5, 8], [1, 5, 9]], least=1) == [
        Beginning((1,), (0, 1, 2, 3, 4))  # four tokens, 1 5 between the last two only two
    ]
    assert shared_beginnings(pairs, least=4) == [Beginning((), (row,)) for row in (0, 2, 1, 3)]
    assert shared_beginnings([[1]], least=1) == [Beginning((), (0,))]
    assert shared_beginnings([]) == []


def test_beginnings_are_those_of_the_prompts():
    generator = random.Random(0)
    for _ in range(300):
        rows = [
            [generator.randrange(2) for _ in range(generator.randint(1, 6))] for _ in range(generator.randint(1, 9))
        ]
        groups = shared_beginnings(rows, least=1)
        assert sorted(row for group in groups for row in group.rows) == list(range(len(rows)))
        for group in groups:
            for row in group.rows:
                assert tuple(rows[row][: len(group.token_ids)]) == group.token_ids
                assert len(group.token_ids) < len(rows[row])
        saved = sum((len(group.rows) - 1) * len(group.token_ids) for group in groups)
        common = next(
            (n for n in range(6) if len({tuple(row[: n + 1]) for row in rows}) > 1 or n + 1 in map(len, rows)), 6
        )
        assert saved >= (len(rows) - 1) * common, "one group of all would have saved more"


def test_what_cannot_be_continued_here_is_known():
    for name in sorted(set(CONFIGS) - set(REFUSED)):
        assert continues(model_pair(name)[1]) == (name not in OTHER_STATE), name
    for name in ("mamba", "jamba", "lfm2", "qwen3_next", "recurrent_gemma"):
        config = tiny_config(name)
        assert not continues(AutoModelForCausalLM.from_config(config)), name
