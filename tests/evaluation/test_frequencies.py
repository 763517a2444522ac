"""Models that choose rotary frequencies by length answer in a batch what they answer alone."""

import copy
from typing import Any

import torch

from elusive.evaluation.generation import generate_answers
from elusive.models.rotary import RotaryRule

from ..tiny_models import BOUNDARY, model_pair, tiny_documents, tiny_tokenizer

NEW_TOKENS = 6


def test_answers_in_a_batch_are_those_alone(monkeypatch):
    model: Any = model_pair("phi3_longrope")[1]
    tokenizer: Any = tiny_tokenizer()
    prompts = [document.text for document in tiny_documents(9)]
    ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    # On both sides of the boundary, and one whose answer crosses it.
    prompts.append(tokenizer.decode(ids[-1][1:] * 9, skip_special_tokens=True)[: 3 * BOUNDARY])
    while len(tokenizer(prompts[-1])["input_ids"]) > BOUNDARY - 2:
        prompts[-1] = prompts[-1][:-1]
    lengths = [len(tokenizer(prompt)["input_ids"]) for prompt in prompts]
    assert min(lengths) < BOUNDARY - NEW_TOKENS < lengths[-1] <= BOUNDARY < max(lengths)
    settings: dict[str, Any] = {"max_new_tokens": NEW_TOKENS, "max_batch_tokens": 4096}
    alone = [generate_answers(copy.deepcopy(model), tokenizer, [prompt], **settings)[0] for prompt in prompts]
    by_transformers = [
        tokenizer.decode(
            model.generate(
                torch.tensor([tokenizer(prompt)["input_ids"]]),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                pad_token_id=0,
            )[0, length:],
            skip_special_tokens=True,
        ).split("\n")[0]
        for prompt, length in zip(prompts, lengths, strict=True)
    ]
    assert [answer.split("\n")[0] for answer in alone] == by_transformers
    seen = []
    answers = generate_answers(
        model, tokenizer, prompts, **settings, progress=lambda done, total: seen.append((done, total))
    )
    assert answers == alone
    assert seen[-1] == (len(prompts), len(prompts))
    monkeypatch.setattr(RotaryRule, "of", classmethod(lambda cls, config: cls()))
    assert generate_answers(model, tokenizer, prompts, **settings) != alone, "the prompts show no difference"
