"""Greedy answers of real (tiny) transformers models: some with random weights, some programmed token by token."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from elusive.config.evaluation import EvaluateSettings
from elusive.config.models import ModelRef
from elusive.corpus.questions import Example, QuestionItem
from elusive.errors import ElusiveError
from elusive.evaluation import generation, stage
from elusive.evaluation.generation import clean_answer, generate_answers, stop_token_ids
from elusive.evaluation.predictions import MeanScores, Metrics, Prediction, read_metrics
from elusive.evaluation.prompts import prompting_of
from elusive.evaluation.stage import evaluate, evaluate_model, metrics
from elusive.models import loading
from elusive.runs.files import read_json

BOS, EOS, PAD = "<bos>", "<eos>", "<pad>"
ITEMS = [
    QuestionItem("q1", "Where was Ada Tan born?", ("Oslo, Norway", "Oslo"), "city", "d1"),
    QuestionItem("q2", "When was Ada Tan born?", ("1 May 1990",), "date", "d1"),
    QuestionItem("q3", "Where was Bo Lind born?", ("Lima, Peru",), "city", "d2"),
]
EXAMPLES = [
    Example("Where was Marie Curie born?", "Warsaw, Poland"),
    Example("When was Ada Lovelace born?", "10 December 1815"),
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of single bytes, three special tokens, and the pieces ".<newline>" and two newlines."""
    raw = Tokenizer(BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    raw.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=259, special_tokens=[BOS, EOS, PAD], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator([], trainer)
    raw.add_tokens([AddedToken(".\n", normalized=False), AddedToken("\n\n", normalized=False)])
    raw.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single=f"{BOS} $A", special_tokens=[(BOS, raw.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=BOS, eos_token=EOS, pad_token=PAD)


def random_model(size: int, context: int = 256) -> Any:
    """Two layers of large random weights, so that the output hangs on every token and its position."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=0.5,
        eos_token_id=1,
        bos_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def programmed_model(tokenizer: PreTrainedTokenizerFast, *chains: list[int]) -> Any:
    """A Llama that says, after each token of a chain, the chain's next one: a one-hot embedding and a silent layer."""
    size = len(tokenizer)
    width = size + size % 2
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
    )
    model: Any = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(size, width))
        model.lm_head.weight.zero_()
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        for chain in chains:
            for token, following in itertools.pairwise(chain):
                model.lm_head.weight[following, token] = 1.0
    return model


def ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def answers(model: Any, tokenizer: PreTrainedTokenizerFast, prompts: list[str], **settings: Any) -> list[str]:
    options: dict[str, Any] = {"max_new_tokens": 8, "max_batch_tokens": 4096} | settings
    return generate_answers(model, tokenizer, prompts, **options)


PROMPTS = [
    "Answer:",
    "Question: Who?\nAnswer:",
    "Q: a\nAnswer:",
    "Question: When was it, and where?\nAnswer:",
    "x" * 90,
]


def test_stop_tokens_are_newlines_eos_and_bos(tokenizer: PreTrainedTokenizerFast):
    texts = [tokenizer.decode([token]) for token in stop_token_ids(tokenizer)]
    assert sorted(texts) == sorted([BOS, EOS, "\n", ".\n", "\n\n"])


def test_stop_tokens_without_eos_and_bos(tokenizer: PreTrainedTokenizerFast):
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    assert [bare.decode([token]) for token in stop_token_ids(bare)] == ["\n", ".\n", "\n\n"]


@pytest.mark.parametrize("max_batch_tokens", [1, 60, 4096])
@pytest.mark.parametrize("continues", [True, False])
def test_batches_say_what_single_prompts_say(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch, max_batch_tokens: int, continues: bool
):
    monkeypatch.setattr(generation, "continues", lambda model: continues)  # our own way, and transformers' generate
    model = random_model(len(tokenizer))
    alone = []
    for prompt in PROMPTS:
        row = torch.tensor([tokenizer(prompt)["input_ids"]])
        output = model.generate(row, do_sample=False, max_new_tokens=8, eos_token_id=stop_token_ids(tokenizer))
        alone.append(tokenizer.decode(output[0, row.shape[1] :], skip_special_tokens=True))
    assert len(set(alone)) == len(alone), "prompts that all give one answer would prove nothing"
    assert answers(model, tokenizer, PROMPTS, max_batch_tokens=max_batch_tokens) == alone


def test_padding_without_a_mask_would_have_been_noticed(tokenizer: PreTrainedTokenizerFast):
    model = random_model(len(tokenizer))
    padded = tokenizer(PROMPTS, padding=True, padding_side="left", return_tensors="pt")["input_ids"]
    unmasked = model.generate(padded, attention_mask=torch.ones_like(padded), do_sample=False, max_new_tokens=8)
    texts = tokenizer.batch_decode(unmasked[:, padded.shape[1] :], skip_special_tokens=True)
    assert texts != answers(model, tokenizer, PROMPTS)


@pytest.mark.parametrize("stop", [BOS, EOS, "\n", ".\n", "\n\n"])
def test_answer_ends_at_a_stop_token(tokenizer: PreTrainedTokenizerFast, stop: str):
    # ":" is followed by " Oslo", the stop token, then x for ever; "?" by an answer that takes longer.
    end = ids(tokenizer, stop)
    colon = ids(tokenizer, ": Oslo") + end + ids(tokenizer, "xx")
    model = programmed_model(tokenizer, colon, ids(tokenizer, "?KBCDEFGHIJ") + end)
    first, second = answers(model, tokenizer, ["Answer:", "Really?"], max_new_tokens=30)
    kept = "" if stop in (BOS, EOS) else stop
    assert (first, second) == (" Oslo" + kept, "KBCDEFGHIJ" + kept)


def test_answer_without_a_stop_ends_at_the_limit(tokenizer: PreTrainedTokenizerFast):
    model = programmed_model(tokenizer, ids(tokenizer, ":abcdefghi"))
    assert answers(model, tokenizer, ["Answer:"], max_new_tokens=4) == ["abcd"]


def test_ends_that_only_the_model_names_stop_too(tokenizer: PreTrainedTokenizerFast):
    model = programmed_model(tokenizer, ids(tokenizer, ":ab|cd"))
    assert answers(model, tokenizer, ["Answer:"], max_new_tokens=4) == ["ab|c"]
    model.generation_config.eos_token_id = [1, *ids(tokenizer, "|")]
    assert answers(model, tokenizer, ["Answer:"], max_new_tokens=4) == ["ab"]


def test_generation_settings_of_the_model_do_not_matter(
    tokenizer: PreTrainedTokenizerFast, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
):
    model = random_model(len(tokenizer))
    expected = answers(model, tokenizer, PROMPTS)
    own = GenerationConfig(
        do_sample=True, temperature=5.0, top_k=3, top_p=0.5, repetition_penalty=9.0, max_length=5, num_beams=3,
        suppress_tokens=list(range(100)), no_repeat_ngram_size=1, eos_token_id=1,
    )  # fmt: skip
    model.generation_config = own
    capfd.readouterr()
    assert answers(model, tokenizer, PROMPTS) == expected
    assert model.generation_config is own
    assert capfd.readouterr().err == ""
    assert not list(recwarn)


def test_model_in_training_mode_is_asked_without_dropout_and_left_as_found(tokenizer: PreTrainedTokenizerFast):
    model = random_model(len(tokenizer))
    expected = answers(model, tokenizer, PROMPTS)
    model.config.attention_dropout = 0.9
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.9
    model.train()
    assert answers(model, tokenizer, PROMPTS) == expected
    assert model.training


def test_peft_model_answers_like_its_merged_weights(tokenizer: PreTrainedTokenizerFast):
    from peft import LoraConfig, get_peft_model

    base = random_model(len(tokenizer))
    plain = answers(base, tokenizer, PROMPTS)
    own = base.generation_config = GenerationConfig(repetition_penalty=9.0)
    torch.manual_seed(1)
    wrapped: Any = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    adapted = answers(wrapped, tokenizer, PROMPTS)
    assert wrapped.get_base_model().generation_config is own
    assert adapted != plain
    assert answers(wrapped.merge_and_unload(), tokenizer, PROMPTS) == adapted


def test_eos_that_a_tokenizer_appends_is_not_part_of_the_prompt(tokenizer: PreTrainedTokenizerFast):
    model = random_model(len(tokenizer))
    expected = answers(model, tokenizer, PROMPTS)
    raw = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    raw.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single=f"{BOS} $A {EOS}", special_tokens=[(BOS, 0), (EOS, 1)]
    )
    appending = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=BOS, eos_token=EOS, pad_token=PAD)
    assert appending("a")["input_ids"][-1] == 1
    assert answers(model, appending, PROMPTS) == expected


def test_tokenizer_without_a_pad_token(tokenizer: PreTrainedTokenizerFast):
    model = random_model(len(tokenizer))
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, bos_token=BOS, eos_token=EOS)
    assert bare.pad_token_id is None
    assert answers(model, bare, PROMPTS) == answers(model, tokenizer, PROMPTS)


def test_prompt_that_does_not_fit(tokenizer: PreTrainedTokenizerFast):
    model = random_model(len(tokenizer), context=40)
    fits = "x" * 31  # and bos: 32 tokens, 8 are left for the answer
    assert len(answers(model, tokenizer, [fits])) == 1
    with pytest.raises(ElusiveError, match="the longest has 33 tokens"):
        answers(model, tokenizer, [fits + "x"])
    with pytest.raises(ElusiveError) as error:
        answers(model, tokenizer, [fits, fits + "x", "y" * 60])
    assert str(error.value) == (
        "2 of 3 prompts are too long: the longest has 61 tokens, but only 32 fit (context 40 less 8 for the answer). "
        "Lower evaluate.shots or evaluate.max_new_tokens."
    )


@pytest.mark.parametrize("continues", [True, False])
def test_full_memory_names_the_setting(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch, continues: bool
):
    model = random_model(len(tokenizer))

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "forward" if continues else "generate", full)
    monkeypatch.setattr(generation, "continues", lambda model: continues)
    with pytest.raises(ElusiveError, match=r"too small for .* Lower evaluate\.max_batch_tokens \(now 99"):
        answers(model, tokenizer, ["Answer one:", "Answer:"], max_batch_tokens=99)


def test_no_prompts(tokenizer: PreTrainedTokenizerFast):
    assert answers(random_model(len(tokenizer)), tokenizer, []) == []


def test_progress_counts_prompts(tokenizer: PreTrainedTokenizerFast):
    seen: list[tuple[int, int]] = []
    model = programmed_model(tokenizer, ids(tokenizer, ":\n"))
    answers(model, tokenizer, ["a:", "bb:", "cc:"], max_batch_tokens=24, progress=lambda *at: seen.append(at))
    assert seen == [(2, 3), (3, 3)]


def test_clean_answer():
    assert clean_answer(" Oslo, Norway \nQuestion: x") == "Oslo, Norway"
    assert clean_answer("\nOslo") == ""
    assert clean_answer("Oslo") == "Oslo"
    assert clean_answer("Oslo.\r\n") == "Oslo."


def test_evaluate_gives_rows_worked_by_hand(tokenizer: PreTrainedTokenizerFast):
    # Every prompt ends in ":", so every answer is the same. Of "oslo by", one word of two is in "Oslo": precision
    # 1/2, recall 1, F1 2/3; against "Oslo, Norway" it is 1/2, and the better one counts.
    model = programmed_model(tokenizer, ids(tokenizer, ": Oslo\tBy.\n"))
    rows = evaluate(model, tokenizer, ITEMS, EXAMPLES, EvaluateSettings(shots=1))
    assert rows[0].f1 == pytest.approx(2 / 3)
    assert dataclasses.replace(rows[0], f1=0.0) == Prediction(
        id="q1",
        document_id="d1",
        field="city",
        question="Where was Ada Tan born?",
        answers=("Oslo, Norway", "Oslo"),
        prediction="Oslo\tBy.",
        text=" Oslo\tBy.\n",
        em=0.0,
        f1=0.0,
    )
    assert [(one.id, one.f1) for one in rows[1:]] == [("q2", 0.0), ("q3", 0.0)]
    right = evaluate(programmed_model(tokenizer, ids(tokenizer, ": Oslo\n")), tokenizer, ITEMS[:1], EXAMPLES,
                     EvaluateSettings(shots=1))  # fmt: skip
    assert (right[0].em, right[0].f1) == (1.0, 1.0)


def test_prompts_depend_on_the_seed(tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch):
    seen: list[list[str]] = []
    monkeypatch.setattr(stage, "generate_answers", lambda _m, _t, prompts, **_: seen.append(prompts) or [""] * 3)
    model = random_model(len(tokenizer))
    for seed in (0, 0, 7):
        evaluate(model, tokenizer, ITEMS, EXAMPLES, EvaluateSettings(shots=1, seed=seed))
    assert seen[0] == seen[1] != seen[2]
    assert all(prompt.count("Question:") == 2 and prompt.endswith("Answer:") for prompt in seen[0])


def test_metrics_by_hand():
    scored = [("city", 1.0, 1.0), ("date", 0.0, 0.5), ("city", 0.0, 0.25), ("city", 0.0, 0.25)]
    answers = [Prediction("q", "d", field, "?", ("a",), "a", "a", em, f1) for field, em, f1 in scored]
    fields = {"city": MeanScores(1 / 3, 0.5, 3), "date": MeanScores(0.0, 0.5, 1)}
    assert metrics(answers, 1.5) == Metrics(0.25, 0.5, 4, fields, 1.5)


def test_no_questions_is_an_error(tokenizer: PreTrainedTokenizerFast):
    with pytest.raises(ElusiveError, match="at least one question, got none"):
        evaluate(random_model(len(tokenizer)), tokenizer, [], EXAMPLES, EvaluateSettings())
    with pytest.raises(ElusiveError, match="at least one question, got none"):
        metrics([])


@pytest.fixture
def saved(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    programmed_model(tokenizer, ids(tokenizer, ": Oslo\n")).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run(folder: Path, model: Path, items: list[QuestionItem] | None = None, **settings: Any) -> Metrics:
    options: dict[str, Any] = {"shots": 1, "max_new_tokens": 8} | settings
    return evaluate_model(
        items or ITEMS, EXAMPLES, folder, model=ModelRef(str(model), device="cpu"), settings=EvaluateSettings(**options)
    )


def test_evaluate_model_writes_predictions_and_metrics(saved: Path, tmp_path: Path):
    folder = tmp_path / "evaluation"
    figures = run(folder, saved)
    assert figures.em == pytest.approx(1 / 3)
    assert figures.fields["city"] == MeanScores(0.5, 0.5, 2)
    assert figures.questions == 3
    assert figures.seconds > 0
    assert read_metrics(folder) == figures
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert [(row["id"], row["prediction"], row["em"]) for row in rows] == [
        ("q1", "Oslo", 1.0),
        ("q2", "Oslo", 0.0),
        ("q3", "Oslo", 0.0),
    ]
    assert sorted(path.name for path in folder.iterdir()) == [
        "done.json",
        "metrics.json",
        "predictions.jsonl",
        "settings.json",
    ]


def test_quantised_weights_are_another_evaluation(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    loaded: list[Any] = []
    load_model = loading.load_model

    def load(model: ModelRef) -> Any:
        loaded.append(model.quantization)
        return load_model(dataclasses.replace(model, quantization="none"))

    monkeypatch.setattr(stage.loading, "load_model", load)
    run(tmp_path / "evaluation", saved)
    settings = EvaluateSettings(shots=1, max_new_tokens=8)
    for folder, message in (("quantised", None), ("evaluation", "quantization: was 'none', now '4bit'")):
        with pytest.raises(ElusiveError, match=message) if message else contextlib.nullcontext():
            evaluate_model(
                ITEMS, EXAMPLES, tmp_path / folder, model=ModelRef(str(saved), quantization="4bit"), settings=settings
            )
    assert loaded == ["none", "4bit"]


def test_finished_stage_loads_no_model(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    figures = run(tmp_path / "evaluation", saved)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(stage.loading, "load_model", refuse)
    monkeypatch.setattr(stage.loading, "load_tokenizer", refuse)
    assert run(tmp_path / "evaluation", saved) == figures
    # Neither the batch size nor the bootstrap changes an answer.
    assert run(tmp_path / "evaluation", saved, max_batch_tokens=7, resamples=9) == figures
    with pytest.raises(AssertionError, match="loaded"):
        run(tmp_path / "elsewhere", saved)


def test_unfinished_stage_is_finished(saved: Path, tmp_path: Path):
    folder = tmp_path / "evaluation"
    figures = run(folder, saved)
    (folder / "done.json").unlink()
    (folder / "metrics.json").unlink()
    again = run(folder, saved)
    assert dataclasses.replace(again, seconds=0) == dataclasses.replace(figures, seconds=0)
    assert (folder / "done.json").exists()


def test_other_settings_questions_and_weights_are_refused(
    saved: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
):
    folder = tmp_path / "evaluation"
    run(folder, saved)
    with pytest.raises(ElusiveError, match=r"begun with other settings:\n  settings\.shots: was 1, now 2"):
        run(folder, saved, shots=2)
    with pytest.raises(ElusiveError, match="questions_hash: was"):
        run(folder, saved, items=ITEMS[:2])
    programmed_model(tokenizer, ids(tokenizer, ": Lima\n")).save_pretrained(saved)
    with pytest.raises(ElusiveError, match="model_hash: was"):
        run(folder, saved)


def test_the_metric_belongs_to_the_answers_of_a_stage(saved: Path, tmp_path: Path):
    folder = tmp_path / "evaluation"
    run(folder, saved)
    assert read_json(folder / "done.json")["metric"] == "squad: as in SQuAD v1.1"
    assert "metric" not in read_json(folder / "settings.json")["settings"]
    with pytest.raises(ElusiveError, match=r"begun with other settings:\n  settings\.language: "):
        run(folder, saved, metric="numeric")


def test_known_questions_keep_their_language(saved: Path, tmp_path: Path):
    german = [
        QuestionItem("q1", "Wann wurde Ada geboren?", ("1815",), "answer", "d1"),
        QuestionItem("q2", "Wo ist der Sitz von Bo?", ("der Rhein",), "answer", "d2"),
    ]
    settings = EvaluateSettings(shots=1, max_new_tokens=2)
    examples = prompting_of(german, settings).examples
    evaluate_model(german, examples, tmp_path / "e", model=ModelRef(str(saved)), settings=settings, known=ITEMS)
    asked, known = (read_json(folder / "done.json") for folder in (tmp_path / "e", tmp_path / "e" / "known"))
    assert asked["metric"] == "multilingual, for German: by MLQA's rules"
    assert asked["examples"].endswith("about other documents, in German (Frage, Antwort)")
    assert known["metric"] == "squad: as in SQuAD v1.1"
    assert known["examples"] == "1 example of the question's own field"
    assert read_json(tmp_path / "e" / "settings.json")["settings"]["metric"] == "multilingual"


def test_fields_of_examples_belong_to_the_answers_where_they_choose_them(saved: Path, tmp_path: Path):
    run(tmp_path / "any", saved, example_fields="any")
    noted = read_json(tmp_path / "any" / "settings.json")
    assert noted["settings"] == {"shots": 1, "max_new_tokens": 8, "seed": 0, "draw": "question"}
    # As examples were hashed that knew no fields: folders of that time go on.
    rows = json.dumps([{"answer": one.answer, "question": one.question} for one in EXAMPLES])
    assert noted["examples_hash"] == hashlib.sha256(rows.encode()).hexdigest()
    assert read_json(tmp_path / "any" / "done.json")["examples"] == "1 example of any field"
    with pytest.raises(ElusiveError, match=r"settings\.example_fields: was None, now 'same'"):
        run(tmp_path / "any", saved)
    run(tmp_path / "same", saved)
    assert read_json(tmp_path / "same" / "done.json")["examples"].startswith("1 example, of other fields in 3 of 3")


def test_run_folder_may_be_moved(saved: Path, tmp_path: Path):
    figures = run(tmp_path / "evaluation", saved)
    (tmp_path / "moved").mkdir()
    shutil.move(saved, tmp_path / "moved" / "model")
    shutil.move(tmp_path / "evaluation", tmp_path / "moved" / "evaluation")
    assert run(tmp_path / "moved" / "evaluation", tmp_path / "moved" / "model") == figures


def test_a_failed_evaluation_may_be_begun_again_with_other_settings(saved: Path, tmp_path: Path):
    folder = tmp_path / "evaluation"
    with pytest.raises(ElusiveError, match=r"Lower evaluate\.shots"):
        run(folder, saved, max_new_tokens=250)
    assert run(folder, saved).questions == 3


def test_missing_model_is_an_error(tmp_path: Path):
    with pytest.raises(ElusiveError, match="the folder does not exist"):
        run(tmp_path / "evaluation", tmp_path / "nowhere")


def test_adapter_folder_is_loaded_with_its_base(saved: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast):
    from peft import LoraConfig, get_peft_model

    base = loading.load_model(ModelRef(str(saved), device="cpu"))
    wrapped = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"], base_model_name_or_path=str(saved)))
    wrapped.save_pretrained(str(tmp_path / "adapter"))
    tokenizer.save_pretrained(tmp_path / "adapter")
    assert run(tmp_path / "evaluation", tmp_path / "adapter").em == pytest.approx(1 / 3)
