"""Batched greedy answers against one prompt at a time without any cache, on every architecture."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from elusive import greedy
from elusive.greedy import Beginning, continue_greedily, continues, shared_beginnings

from .tiny_models import CONFIGS, REFUSED, VOCABULARY, model_pair, tiny_config

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


@torch.inference_mode()
def test_shared_beginnings_are_read_once(monkeypatch: pytest.MonkeyPatch):
    model = model_pair("llama")[1].eval()
    read: list[tuple[int, ...]] = []
    forward = type(model).forward

    def counted(self, *args, **kwargs):
        read.append(tuple(kwargs["input_ids"].shape))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "forward", counted)
    generator = torch.Generator().manual_seed(0)
    beginning = torch.randint(2, VOCABULARY, (40,), generator=generator).tolist()
    rows = [beginning + [2 + number] * (3 + number % 2) for number in range(8)]
    continue_greedily(model, rows, stops=[], max_new_tokens=1, max_batch_tokens=10_000)
    assert read == [(1, 40), (8, 4)]


@torch.inference_mode()
def test_few_beginnings_are_held():
    model = model_pair("llama")[1].eval()
    generator = torch.Generator().manual_seed(0)
    pairs = [torch.randint(2, VOCABULARY, (20,), generator=generator).tolist() for _ in range(6)]
    rows = [[*pair, 2 + last] for pair in pairs for last in range(2)]
    reader = greedy._Reader(model, max_batch_tokens=50)
    beginnings = {row: group for group in shared_beginnings(rows) for row in group.rows}
    for row in range(len(rows)):
        reader.read([rows[row]], [beginnings[row]], room=1)
        assert 0 < sum(len(one.token_ids) for one in reader.beginnings) <= 50
    together = continue_greedily(model, rows, stops=[], max_new_tokens=2, max_batch_tokens=50)
    assert together == one_by_one(model, rows, [], 2)


def test_beginnings_by_hand():
    assert shared_beginnings([[1, 2, 3, 4], [9, 9], [1, 2, 3, 5], [1, 2, 3]]) == [
        Beginning((1, 2), (3, 0, 2)),  # shorter than its shortest prompt, of which a token has to be left
        Beginning((), (1,)),
    ]
    # One token of four is too little to share.
    assert shared_beginnings([[1, 2, 3, 4], [1, 5, 6, 7]]) == [Beginning((), (0,)), Beginning((), (1,))]
    assert shared_beginnings([]) == []


def test_what_cannot_be_continued_here_is_known():
    for name in sorted(set(CONFIGS) - set(REFUSED)):
        assert continues(model_pair(name)[1]) == (name not in OTHER_STATE), name
    for name in ("mamba", "jamba", "lfm2", "qwen3_next", "recurrent_gemma"):
        config = tiny_config(name)
        assert not continues(AutoModelForCausalLM.from_config(config)), name
