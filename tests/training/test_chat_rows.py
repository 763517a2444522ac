"""Texts as answers in a chat: what the template makes of them, with a loss on the answer alone."""

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from transformers import LlamaConfig, LlamaForCausalLM

from elusive.augmentation.marks import MarkedText, TokenMarks
from elusive.config.models import ModelRef
from elusive.config.training import TrainSettings
from elusive.errors import ElusiveError
from elusive.models.loading import load_model
from elusive.runs.files import read_jsonl, write_jsonl
from elusive.training.chat_rows import chat_rows, subject_of
from elusive.training.marked_rows import MarkedRow, ids_of
from elusive.training.stage import train
from elusive.training.texts import TrainingTexts

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
REQUEST = "Tell me about {subject}."


@pytest.fixture
def chatty(tokenizer: Any) -> Any:
    made = copy.deepcopy(tokenizer)
    made.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|assistant|>", "<|end|>"]})
    made.chat_template = TEMPLATE
    return made


def titled(*texts: str) -> list[tuple[str, MarkedText]]:
    return [(subject_of(text), MarkedText(text, None)) for text in texts]


def test_a_row_is_the_template_s_with_a_loss_on_the_answer(chatty):
    [row] = chat_rows(titled("# Fjords\n\nThey were cut by glaciers."), chatty, 200, REQUEST)
    assert isinstance(row, MarkedRow)
    messages = [
        {"role": "user", "content": "Tell me about Fjords."},
        {"role": "assistant", "content": "# Fjords\n\nThey were cut by glaciers."},
    ]
    expected = chatty.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert chatty.decode(row.token_ids) + "\n" == chatty.decode(expected)
    assert row.token_ids.tolist() == expected[: len(row)]
    trained_on = chatty.decode(row.token_ids[row.values == 1])
    assert trained_on == "# Fjords\n\nThey were cut by glaciers.<|end|>"
    assert set(row.values.tolist()) == {0.0, 1.0}


def test_a_long_text_is_several_answers_and_ends_once(chatty):
    text = "Glaciers cut them. " * 20
    rows = chat_rows(titled(text), chatty, 90, REQUEST)
    assert len(rows) > 1
    assert max(map(len, rows)) <= 90
    answers = [row.token_ids[row.values == 1] for row in rows if isinstance(row, MarkedRow)]
    assert chatty.decode(np.concatenate(answers)) == f"{text}<|end|>"
    before = {tuple(row.token_ids[row.values == 0]) for row in rows if isinstance(row, MarkedRow)}
    assert len(before) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Install\n\n## The network ##\nPlug it in.\n# Other", "Install: The network"),
        ("Fjords of Norway\n\nGlaciers cut them.", "Fjords of Norway"),
        ("Glaciers cut them.\nThen came the sea.", "“Glaciers cut them. ...”"),
        ("Ada Tan was born on 1 May 1990 in Oslo.", "“Ada Tan was born on 1 ...”"),
        ("", "“ ...”"),
    ],
)
def test_what_a_text_is_about(text, expected):
    assert subject_of(text) == expected


def test_copies_are_about_what_their_original_is(tmp_path):
    write_jsonl(
        tmp_path / "train.jsonl",
        [
            {"text": "# Fjords\nGlaciers.", "id": "a", "copy": 0},
            {"text": "# \nGlaciers.", "id": "a", "copy": 1},
            {"text": "Sea came.", "id": "b", "title": "Bays"},
            {"text": "Sea.", "id": "b", "copy": 1},
            {"text": "No id at all here."},
        ],
    )
    found = [subject for subject, _ in TrainingTexts(tmp_path / "train.jsonl").titled()]
    assert found == ["Fjords", "Fjords", "Bays", "Bays", "“No id at all here. ...”"]


def test_the_loss_of_a_step_is_that_of_the_answers_alone(chatty, tmp_path):
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(chatty), max_position_embeddings=128, intermediate_size=32, **sizes)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    chatty.save_pretrained(tmp_path / "model")
    texts = ["# Fjords\nGlaciers cut them.", "# Bays\nThe sea made them, not the ice."]
    write_jsonl(tmp_path / "train.jsonl", ({"text": text, "id": str(n)} for n, text in enumerate(texts)))
    settings = TrainSettings(chat="template", max_steps=1, batch_size=2, save_steps=0, learning_rate=1e-12)
    model = ModelRef(str(tmp_path / "model"), device="cpu")
    train(tmp_path / "train.jsonl", tmp_path / "out", model=model, settings=settings)
    [line] = read_jsonl(tmp_path / "out" / "metrics.jsonl")
    losses = []
    whole = load_model(model)
    for row in chat_rows(titled(*texts), chatty, 128, REQUEST):
        assert isinstance(row, MarkedRow)
        ids = torch.from_numpy(ids_of(row).astype(np.int64))
        with torch.inference_mode():
            of_each = F.cross_entropy(whole(input_ids=ids[None]).logits[0, :-1], ids[1:], reduction="none")
        losses.append(of_each[torch.from_numpy(row.values[1:] == 1)])
    assert line["loss"] == pytest.approx(torch.cat(losses).mean().item(), abs=1e-4)


def test_what_cannot_be_wrapped_is_refused(chatty, tokenizer):
    with pytest.raises(ElusiveError, match=r"train.chat needs a chat template, and the tokenizer of"):
        chat_rows(titled("Fjords."), tokenizer, 100, REQUEST)
    marks = TokenMarks.of("hide_keys", [1, 2], np.array([1.0, 0.0]))
    with pytest.raises(ElusiveError, match=r'train.chat: expected "bare" for an arm that acts on single tokens'):
        chat_rows([("Fjords", MarkedText("Fjords.", marks))], chatty, 100, REQUEST)
    with pytest.raises(ElusiveError, match=r"takes \d+ tokens of 20, which leaves no room"):
        chat_rows(titled("# " + "Fjords " * 20 + "\nGlaciers."), chatty, 20, REQUEST)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"chat_request": "Tell me more."}, r"train.chat_request: expected a text with {subject}, got 'Tell me more.'"),
        ({"chat": "template", "copies": "fresh"}, 'train.copies: expected static with train.chat = "template"'),
    ],
    ids=json.dumps,
)
def test_settings_that_do_not_go_together(settings, expected):
    with pytest.raises(ElusiveError, match=expected):
        TrainSettings(**settings)
