"""Questions put by a chat template: the answers of transformers' own generate, and when nothing can be asked so."""

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from elusive.config.evaluation import EvaluateSettings
from elusive.config.models import ModelRef
from elusive.corpus.questions import Example, QuestionItem
from elusive.errors import ElusiveError
from elusive.evaluation.chats import in_chat_of
from elusive.evaluation.generation import clean_chat_answer, generate_answers
from elusive.evaluation.prompts import prompt_of, prompts_in_words
from elusive.evaluation.stage import evaluate, evaluate_model
from elusive.models.chat import Message, chat_ids, turn_end
from elusive.runs.files import read_json

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if loop.index0 % 2 == (message['role'] == 'user') %}{{ raise_exception('roles must take turns') }}{% endif %}"
    "<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
ITEMS = [
    QuestionItem(f"q{n}", f"Where was {name} born?", (answer,), "city", f"d{n}")
    for n, (name, answer) in enumerate([("Ada", "Oslo"), ("Bo", "Lima"), ("Adam", "Rome"), ("Cy", "Bonn")])
]
EXAMPLES = [Example("Where was Marie born?", "Warsaw", "city"), Example("When was Ada born?", "1815", "date")]


@pytest.fixture
def chatty(tokenizer: Any) -> PreTrainedTokenizerFast:
    made = copy.deepcopy(tokenizer)
    made.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|assistant|>", "<|end|>"]})
    made.chat_template = TEMPLATE
    return made


def llama(size: int, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=size, max_position_embeddings=512, initializer_range=0.5, **sizes)
    ).eval()


def saying(tokenizer: Any, text: str) -> Any:
    """A model whose answer is a text and the end of the turn, whatever was asked: it says each token after the last."""
    ids = [
        *tokenizer("<|assistant|>\n", add_special_tokens=False)["input_ids"][-1:],
        *tokenizer(f"{text}<|end|>", add_special_tokens=False)["input_ids"],
    ]
    assert len(set(ids)) == len(ids)
    size = len(tokenizer) + len(tokenizer) % 2
    model: Any = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=size,
            intermediate_size=4,
            num_hidden_layers=1,
            num_attention_heads=1,
            max_position_embeddings=512,
        )
    ).eval()
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(len(tokenizer), size))
        model.lm_head.weight.zero_()
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        for token, following in itertools.pairwise(ids):
            model.lm_head.weight[following, token] = 1.0
    return model


@pytest.mark.parametrize("draw", ["question", "field"])  # a beginning of their own, or one for all
@pytest.mark.parametrize("chat", ["turns", "message"])
def test_answers_are_those_of_generate_on_the_templated_prompt(chatty, chat, draw):
    model, settings = (
        llama(len(chatty)),
        EvaluateSettings(chat=chat, draw=draw, shots=2, max_new_tokens=12, max_batch_tokens=300),
    )
    [end] = chatty.convert_tokens_to_ids(["<|end|>"])
    expected = []
    for item in ITEMS:
        prompt = prompt_of(item, EXAMPLES, settings)
        messages = [{"role": role, "content": content} for role, content in prompt]
        row = chatty.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=False)
        stops = [end, chatty.eos_token_id, chatty.bos_token_id]
        output = model.generate(row, do_sample=False, max_new_tokens=12, eos_token_id=stops, pad_token_id=2)
        expected.append(chatty.decode(output[0, row.shape[1] :], skip_special_tokens=True))
    assert len(set(expected)) > 2  # else it would prove little
    found = evaluate(model, chatty, ITEMS, EXAMPLES, settings)
    assert [one.text for one in found] == expected


def test_messages_are_turns_or_one(chatty):
    turns = prompt_of(ITEMS[0], EXAMPLES[:1], EvaluateSettings(chat="turns", shots=1))
    assert turns == (
        Message("user", "Where was Marie born?"),
        Message("assistant", "Warsaw"),
        Message("user", "Where was Ada born?"),
    )
    [one] = prompt_of(ITEMS[0], EXAMPLES[:1], EvaluateSettings(chat="message", shots=1))
    assert one == Message(
        "user", "Question: Where was Marie born?\nAnswer: Warsaw\nQuestion: Where was Ada born?\nAnswer:"
    )
    [told] = prompt_of(ITEMS[0], (), EvaluateSettings(chat="turns", shots=0, instruction="Be brief."))
    assert told == Message("user", "Be brief.\n\nWhere was Ada born?")
    assert not isinstance(turns, str)
    text = chatty.decode(chat_ids(chatty, turns))
    assert text == (
        "<bos><|user|>\nWhere was Marie born?<|end|>\n<|assistant|>\nWarsaw<|end|>\n"
        "<|user|>\nWhere was Ada born?<|end|>\n<|assistant|>\n"
    )


def test_an_answer_ends_with_its_turn_and_is_its_first_line(chatty):
    assert chatty.decode(turn_end(chatty)) == "<|end|>"
    model = saying(chatty, "Oslo\tin Norway")
    [text] = generate_answers(model, chatty, [(Message("user", "Where?"),)], max_new_tokens=30, max_batch_tokens=999)
    assert text == "Oslo\tin Norway"
    [found] = evaluate(saying(chatty, "Oslo"), chatty, ITEMS[:1], EXAMPLES, EvaluateSettings(chat="auto", shots=2))
    assert (found.prediction, found.em) == ("Oslo", 1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Oslo\n\nIt lies in Norway.", "Oslo"),
        ("\n\n  Oslo ", "Oslo"),
        ("Answer: Oslo", "Oslo"),
        ("Answer:\nOslo\n", "Oslo"),
        ("", ""),
        ("\n", ""),
        ("The answer is Oslo.", "The answer is Oslo."),
    ],
)
def test_the_answer_in_a_turn(text, expected):
    assert clean_chat_answer(text, "Answer") == expected


def test_auto_follows_the_tokenizer(chatty, tokenizer):
    auto = EvaluateSettings(chat="auto")
    assert in_chat_of(chatty, auto).chat == "turns"
    assert in_chat_of(tokenizer, auto).chat == "bare"
    assert in_chat_of(tokenizer, EvaluateSettings(chat="auto", instruction="Be brief.")).instruction == ""
    assert in_chat_of(chatty, EvaluateSettings(chat="message")).chat == "message"
    assert in_chat_of(chatty, EvaluateSettings()).chat == "bare"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, r"evaluate.chat needs a chat template, and the tokenizer of .* has none"),
        ("{{ raise_exception('no chats here') }}", r"cannot be used: no chats here.*evaluate.chat = \"bare\""),
        ("{% for m in messages %}{{ m.content }}{% endfor %}<think>\n", r"lets every answer begin with a thought"),
    ],
)
def test_templates_that_lead_to_no_answer_are_refused(chatty, template, expected):
    chatty.chat_template = template
    with pytest.raises(ElusiveError, match=expected):
        in_chat_of(chatty, EvaluateSettings(chat="turns"))


def test_a_model_that_can_think_is_told_not_to(chatty):
    chatty.chat_template = TEMPLATE.replace(
        "<|assistant|>\n{% endif %}", "<|assistant|>\n{% if not enable_thinking %}-{% endif %}{% endif %}"
    )
    assert chatty.decode(chat_ids(chatty, (Message("user", "Who?"),))).endswith("<|assistant|>\n-")


def test_the_stage_knows_its_form_and_template(chatty, tmp_path: Path):
    saying(chatty, "Oslo").save_pretrained(tmp_path / "model")
    chatty.save_pretrained(tmp_path / "model")
    model, settings = ModelRef(str(tmp_path / "model"), device="cpu"), EvaluateSettings(chat="auto", shots=1)
    found = evaluate_model(ITEMS, EXAMPLES, tmp_path / "answers", model=model, settings=settings)
    assert found.em == 0.25
    stage = read_json(tmp_path / "answers" / "settings.json")
    assert stage["settings"]["chat"] == "turns"
    assert read_json(tmp_path / "answers" / "done.json")["examples"].endswith(", as turns of a chat")
    evaluate_model(ITEMS, EXAMPLES, tmp_path / "bare", model=model, settings=EvaluateSettings(shots=1))
    assert "chat" not in json.dumps(read_json(tmp_path / "bare" / "settings.json"))
    (tmp_path / "model" / "chat_template.jinja").write_text(TEMPLATE + " ")
    with pytest.raises(ElusiveError, match=r"chat_template: was .*, now"):
        evaluate_model(ITEMS, EXAMPLES, tmp_path / "answers", model=model, settings=settings)


def test_prompts_in_words_say_the_form():
    said = {
        chat: prompts_in_words(ITEMS, EXAMPLES, EvaluateSettings(chat=chat, shots=1))
        for chat in ("bare", "turns", "message")
    }
    assert said["bare"] == "1 example of the question's own field"
    assert said["turns"] == f"{said['bare']}, as turns of a chat"
    assert said["message"] == f"{said['bare']}, as one message of a chat"
