"""What a run will cost: counted by hand, and beside what torch counts in real models and runs."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, Qwen2Config

from elusive.augmentation import Augmenter
from elusive.biographies import biography_corpus, well_known_examples
from elusive.config import (
    AugmentSettings,
    EvaluateSettings,
    ModelSettings,
    Recipe,
    ReportSettings,
    ScoreSettings,
    TrainSettings,
)
from elusive.dropout import drop_probability
from elusive.errors import ElusiveError
from elusive.evaluation import evaluate
from elusive.models import load_configs, load_model, load_tokenizer
from elusive.packing import PACKED, attention_of, pack
from elusive.planning import (
    ModelShape,
    PlannedStage,
    answering_bytes,
    answering_flops,
    plan_recipe,
    plan_text,
    scoring_bytes,
    scoring_flops,
    shape_of,
    training_bytes,
    training_flops,
)
from elusive.questions import few_shot_prompt
from elusive.runs import write_jsonl
from elusive.scoring import load_for_scoring, score_documents
from elusive.training import train, with_adapters
from elusive.training_rows import tokenize_rows

from ..parity.tiny_models import tiny_config

HAND = ModelShape("by hand", 4, 2, 2, 1, 2, 3, 5)
LLAMA_70B = ModelShape("Llama 3 70B", 8192, 80, 64, 8, 128, 28672, 128256, context=8192)
LLAMA_8B = ModelShape("Llama 3 8B", 4096, 32, 32, 8, 128, 14336, 128256, context=8192)
PAIR = {"large": LLAMA_70B, "small": LLAMA_8B}
CORPUS = {
    "documents": 100,
    "document_tokens": [101] * 100,
    "questions": 500,
    "prompt_tokens": 150.0,
    "answer_tokens": 8.0,
}
LIKE_LLAMA = ["llama", "gemma", "gemma2", "gemma3", "qwen2", "qwen3", "mistral", "olmo2", "smollm3", "granite", "glm4"]
OTHERS = ["phi", "phi3", "cohere", "nemotron", "starcoder2", "stablelm", "gpt_neox", "gpt2", "opt", "bloom", "gptj"]
SIZES = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
}
KINDS = [LlamaConfig, Gemma2Config]


def counting():
    """torch's counter, which knows the fused attention of GPUs only."""
    aten = torch.ops.aten

    def forward(query, key, value, *args, out_shape=None, **kwargs):
        return sdpa_flop_count(query, key, value)

    def backward(gradient, query, key, value, *args, out_shape=None, **kwargs):
        return 2 * sdpa_flop_count(query, key, value)

    fused = aten._scaled_dot_product_flash_attention_for_cpu
    of_cpu = {fused: forward, aten._scaled_dot_product_flash_attention_for_cpu_backward: backward}
    return FlopCounterMode(display=False, custom_mapping=of_cpu)


def model_of(config, lora_rank=0):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return with_adapters(model, TrainSettings(lora_rank=lora_rank)) if lora_rank else model


def bytes_of(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


# Counted by hand.


def test_parameters_by_hand():
    # Query 4 x 4, key and value 4 x 2 each, output 4 x 4, and three of 4 x 3, in each of two layers.
    assert HAND.entering_parameters == 16 + 8 + 8
    assert HAND.leaving_parameters == 16 + 36
    assert HAND.linear_parameters == 168
    assert HAND.parameters == 168 + 2 * 20
    assert dataclasses.replace(HAND, tied=True, others=12).parameters == 168 + 20 + 12
    assert dataclasses.replace(HAND, gated=False).linear_parameters == 168 - 2 * 12
    # Inputs and outputs: 8 + 6 + 6 + 8, and three of 7.
    assert HAND.lora_parameters(3) == 3 * 2 * 49


def test_flops_by_hand():
    # Of three tokens; the last layer's output and feed-forward matrices, and half of its attention, are left out.
    assert scoring_flops(HAND, [3]) == 2 * 116 * 3 + 1.5 * (4 * 4 * 9)
    assert scoring_flops(HAND, [3], layers=1) == 2 * 32 * 3 + 0.5 * 144
    assert scoring_flops(HAND, [3, 3]) == 2 * scoring_flops(HAND, [3])
    layers, head, attention, adapters = 2 * 168 * 3, 2 * 20 * 3, 2 * 144, 2 * 98 * 3
    assert training_flops(HAND, [3], method="full") == 3 * (layers + head + attention)
    assert training_flops(HAND, [3], lora_rank=1) == 2 * (layers + head) + 3 * (attention + adapters)
    again = training_flops(HAND, [3], method="full", activation_checkpointing=True)
    assert again == 4 * (layers + attention) + 3 * head
    assert training_flops(HAND, [3], passes=2.5) == 2.5 * training_flops(HAND, [3])
    # Two tokens are read; two answered, which see three and four.
    assert answering_flops(HAND, 3, 2) == 2 * 116 * 2 + 4 * 4 * 4 + 2 * 188 * 2 + 2 * (4 * 4 * 7)


def test_bytes_by_hand():
    parts = training_bytes(HAND, tokens=0, longest_row=0, method="full", precision="fp32")
    held = 208 * 4
    assert parts["weights"] == parts["gradients"] == parts["optimizer"] // 2 == held
    assert sum(parts.values()) == 4 * held
    parts = training_bytes(HAND, tokens=10, longest_row=5, dtype="bfloat16", lora_rank=1)
    assert parts["weights"] == 208 * 2 + 98 * 4
    assert parts["gradients"] == 98 * 4
    assert parts["casts"] == 0
    assert parts["logits"] == 10 * 5 * 12
    asked = answering_bytes(HAND, batch_tokens=100, longest=20, dtype="bfloat16")
    assert asked["cache"] == 100 * 2 * 2 * 2 * 2  # keys and values, layers, channels, bytes
    assert scoring_bytes(HAND, batch_tokens=100, longest=20)["weights"] == held


def test_checkpointed_activations_are_one_layers_and_the_inputs_of_all():
    def activations(**options):
        return training_bytes(LLAMA_8B, tokens=1000, longest_row=100, dtype="bfloat16", **options)["activations"]

    inputs = 1000 * 32 * 4096 * 2
    assert activations(activation_checkpointing=True) == pytest.approx(activations() / 32 + inputs)


# Beside real models.


@pytest.mark.parametrize("name", [*LIKE_LLAMA, *OTHERS])
def test_shapes_count_what_real_models_have(name):
    config = tiny_config(name)
    shape, model = shape_of(config, name), AutoModelForCausalLM.from_config(config)
    assert shape.parameters == sum(one.numel() for one in model.parameters())
    adapted = with_adapters(model, TrainSettings(lora_rank=4))
    assert shape.lora_parameters(4) == sum(one.numel() for one in adapted.parameters() if one.requires_grad)


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3", "t5"])
def test_other_models_are_refused(name):
    with pytest.raises(ElusiveError, match=f"costs of {name} cannot be planned: .* Expected a plain decoder"):
        shape_of(tiny_config(name), name)


def test_sizes_of_known_models():
    llama = LlamaConfig(
        hidden_size=8192,
        intermediate_size=28672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
        vocab_size=128256,
        max_position_embeddings=8192,
    )
    shape = shape_of(llama, "Llama 3 70B")
    assert shape.parameters == 70_553_706_496  # as its files have
    assert dataclasses.replace(shape, others=0, adapter_sides=0) == LLAMA_70B
    assert shape.lora_parameters(16) == LLAMA_70B.lora_parameters(16) == 207_093_760
    gemma = Gemma2Config(
        hidden_size=2304,
        intermediate_size=9216,
        num_hidden_layers=26,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        vocab_size=256000,
    )
    shape = shape_of(gemma, "Gemma 2 2B")
    assert (shape.parameters, shape.tied, shape.capped, shape.norms) == (2_614_341_888, True, True, 4)


def test_what_a_configuration_leaves_out():
    bare = {key: SIZES[key] for key in SIZES if key not in ("head_dim", "num_key_value_heads")}
    shape = shape_of(Qwen2Config(**bare, num_key_value_heads=None, tie_word_embeddings=True), "small")
    assert (shape.head_size, shape.key_value_heads, shape.tied, shape.context) == (16, 4, True, 512)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["forward", "full", "lora"])
def test_flops_are_those_of_real_models(kind, method):
    config = kind(**SIZES)
    shape, model = shape_of(config, "tiny"), model_of(config, lora_rank=4 if method == "lora" else 0)
    ids_BT = torch.randint(0, 300, (3, 40))
    with counting() as counter:
        loss = model(input_ids=ids_BT, labels=ids_BT, use_cache=False).loss
        if method != "forward":
            loss.backward()
    planned = training_flops(shape, [40] * 3, method="lora" if method == "lora" else "full", lora_rank=4)
    if method == "forward":
        planned /= 3
    if method == "lora":
        # Nothing below the first layer's queries, keys and values learns, so nothing is passed down through these.
        planned -= 2 * 120 * (shape.entering_parameters + 3 * 4 * shape.hidden_size)
    # The rest is rotary angles.
    assert counter.get_total_flops() == pytest.approx(planned, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("method", "dtype"), [("full", "float32"), ("full", "bfloat16"), ("lora", "bfloat16")])
def test_memory_is_that_of_real_tensors(kind, method, dtype):
    config = kind(**SIZES)
    shape, model = shape_of(config, "tiny"), model_of(config).to(getattr(torch, dtype))
    model = with_adapters(model, TrainSettings(lora_rank=4)) if method == "lora" else model
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    ids_BT = torch.randint(0, 300, (1, 8))
    model(input_ids=ids_BT, labels=ids_BT).loss.backward()
    optimizer.step()
    averages = [state[key] for state in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq")]
    parts = training_bytes(shape, tokens=8, longest_row=8, method=method, dtype=dtype, lora_rank=4)
    assert parts["weights"] == bytes_of(model.parameters())
    assert parts["gradients"] == bytes_of(one.grad for one in trained)
    assert parts["optimizer"] == bytes_of(averages)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize(("dtype", "precision"), [("float32", "fp32"), ("float32", "bf16"), ("bfloat16", "bf16")])
def test_activations_are_those_that_autograd_keeps(kind, method, dtype, precision):
    config = kind(**SIZES)
    shape, model = shape_of(config, "tiny"), model_of(config).to(getattr(torch, dtype))
    model = with_adapters(model, TrainSettings(lora_rank=2)) if method == "lora" else model
    own = {one.untyped_storage().data_ptr() for one in (*model.parameters(), *model.buffers())}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage  # held, so that no other gets its address
        return tensor

    batch = pack([np.arange(length) for length in (256, 250, 246)])
    del batch["labels"]
    decoder = (model.get_base_model() if method == "lora" else model).model
    with (
        attention_of(model, PACKED),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        held = decoder.train()(**batch)
    options = {"method": method, "dtype": dtype, "precision": precision, "lora_rank": 2}
    parts = training_bytes(shape, tokens=752, longest_row=256, **options)
    head = shape.head_parameters * 2 if parts["casts"] else 0  # which did not run
    # The rest: adapters' inner states, rotary angles, the last norm, the places of packed texts.
    assert parts["activations"] + parts["casts"] - head == pytest.approx(
        sum(storage.nbytes() for storage in kept.values()), rel=0.15
    )
    del held


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_quantised_weights_are_those_of_bitsandbytes(quantization):
    pytest.importorskip("bitsandbytes")
    model = load_model("elusive/large", dtype="bfloat16", quantization=quantization, device="cpu")
    shape = shape_of(load_configs("elusive/large")[0], "elusive/large")
    scales = [one.quant_state.absmax for one in model.parameters() if getattr(one, "quant_state", None)]
    planned = scoring_bytes(shape, batch_tokens=1, longest=1, dtype="bfloat16", quantization=quantization)["weights"]
    assert planned == bytes_of([*model.parameters(), *scales])
    adapted = with_adapters(model, TrainSettings())
    options = {"dtype": "bfloat16", "quantization": quantization}
    planned = training_bytes(shape, tokens=1, longest_row=1, **options)["weights"]
    assert planned == bytes_of([*adapted.parameters(), *scales])


# Beside real runs of the embedded pair.


@pytest.fixture(scope="module")
def embedded():
    """Six biographies, their questions, the tokenizer, their tokens, and the pair's shapes."""
    documents, questions = biography_corpus(6, seed=3)
    tokenizer = load_tokenizer("elusive/large")
    lengths = [len(ids) for ids in tokenizer([one.text for one in documents])["input_ids"]]
    shapes = {size: shape_of(load_configs(f"elusive/{size}")[0], f"elusive/{size}") for size in ("large", "small")}
    return documents, questions, tokenizer, lengths, shapes


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_real_training_takes_what_was_planned(embedded, tmp_path, method):
    documents, _, _, lengths, shapes = embedded
    texts = tmp_path / "train.jsonl"
    write_jsonl(texts, ({"text": one.text, "id": one.id, "copy": 0, "arm": "plain"} for one in documents))
    settings = TrainSettings(method=method, epochs=4, batch_size=4, precision="fp32", save_steps=0)
    with counting() as counter:
        done = train(texts, tmp_path / "model", model="elusive/large", settings=settings)
    corpus = CORPUS | {"documents": 6, "document_tokens": lengths, "questions": 0}
    [stage] = _named(plan_recipe(Recipe(arms=("plain",), train=settings), shapes=shapes, **corpus), "train")
    assert stage.tokens == done["tokens_trained"]
    assert f"4 passes of 6 rows, {done['steps']} steps" in stage.note
    # Three short texts run before, to see whether the model packs; the first layer has nothing to pass down.
    assert stage.flops == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_real_answers_take_what_was_planned(embedded):
    _, questions, tokenizer, _, shapes = embedded
    examples, settings = list(well_known_examples()), EvaluateSettings(max_new_tokens=12)
    prompts = [few_shot_prompt(item, examples, settings.shots, settings.seed, settings.draw) for item in questions]
    model = load_model("elusive/large", device="cpu")
    with counting() as counter:
        rows = evaluate(model, tokenizer, questions, examples, settings)
    asked = np.mean([len(ids) for ids in tokenizer(prompts)["input_ids"]])
    answered = np.mean([len(ids) - 1 for ids in tokenizer([row["text"] for row in rows])["input_ids"]])
    planned = len(questions) * answering_flops(shapes["large"], asked, answered)
    # Prompts of unlike lengths are read with some tokens of padding, and what they begin with alike only once.
    assert planned == pytest.approx(counter.get_total_flops(), rel=0.1)


@pytest.mark.parametrize("queries", ["all", "cues"])
def test_real_scores_take_what_was_planned(embedded, queries):
    documents, _, tokenizer, lengths, shapes = embedded
    model = load_for_scoring("elusive/large", "", "float32", "cpu")
    with counting() as counter:
        score_documents(documents, model, tokenizer, queries=queries)
    # Padding of the batch is not planned, and texts are cut after their last cue.
    assert scoring_flops(shapes["large"], lengths) == pytest.approx(counter.get_total_flops(), rel=0.15)


def test_copies_have_as_many_tokens_as_planned(embedded):
    documents, _, tokenizer, lengths, shapes = embedded
    scores = {one.id: {} for one in documents}
    for model in ("large", "small"):
        loaded = load_for_scoring(f"elusive/{model}", "", "float32", "cpu")
        for one in score_documents(documents, loaded, tokenizer, queries="cues"):
            scores[one.document_id][f"{model}-cues"] = one
    for arm in ("random", "contrast-cues"):
        augmenter = Augmenter(
            arm, trained="large", tokenizer=tokenizer, score=ScoreSettings(), settings=AugmentSettings()
        )
        made = augmenter.augment([(one, scores[one.id]) for one in documents])
        rows = tokenize_rows([text.text for one in made for text in one.texts], tokenizer, 512)
        recipe = Recipe(arms=(arm,), train=TrainSettings(epochs=2))
        corpus = CORPUS | {"documents": 6, "document_tokens": lengths}
        [stage] = _named(plan_recipe(recipe, shapes=shapes, **corpus), "train")
        assert stage.tokens == pytest.approx(2 * sum(map(len, rows)), rel=0.03)


# The stages of a run.


def _named(stages, beginning):
    return [stage for stage in stages if stage.name.startswith(beginning)]


def test_stages_of_a_run():
    recipe = Recipe(
        arms=("plain", "contrast-cues", "contrast-all"),
        seeds=(0, 1),
        train=TrainSettings(evaluate_at=(3, 6), epochs=10),
        report=ReportSettings(cue_documents=40),
    )
    stages = plan_recipe(recipe, shapes=PAIR, known=20, **CORPUS)
    assert [(stage.name, stage.times) for stage in stages] == [
        ("score large, cues", 1),
        ("score large, all", 1),
        ("score large, one cue", 1),
        ("score small, cues", 1),
        ("score small, all", 1),
        ("score small, one cue", 1),
        ("train large: plain", 2),
        ("train large: contrast-cues", 2),
        ("train large: contrast-all", 2),
        ("ask large in training", 3 * 2 * 2),
        ("evaluate large", 1 + 3 * 2),
    ]
    assert [stage.tokens for stage in stages[:3]] == [10100, 10100, 4040]
    assert stages[0].flops == scoring_flops(LLAMA_70B, [101] * 100)
    assert stages[6].tokens == 10 * 100 * 102  # with an end of text each
    assert stages[9].flops == 500 * answering_flops(LLAMA_70B, 150, 8)
    assert stages[10].flops == 520 * answering_flops(LLAMA_70B, 150, 8)
    assert not _named(plan_recipe(recipe, shapes=PAIR, **CORPUS | {"questions": 0}), "evaluate")


def test_a_sample_of_documents_stands_for_all():
    sampled = plan_recipe(Recipe(), shapes=PAIR, **CORPUS | {"document_tokens": [101]})
    for stage, whole in zip(sampled, plan_recipe(Recipe(), shapes=PAIR, **CORPUS), strict=True):
        assert dataclasses.replace(stage, flops=0) == dataclasses.replace(whole, flops=0)
        assert stage.flops == pytest.approx(whole.flops)


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        (None, drop_probability(np.arange(1, 91), 0.6, 0.05).mean()),
        ({"contrast-cues": 0.25}, 0.25),
        ({"random": 0.25}, drop_probability(np.arange(1, 91), 0.6, 0.05).mean()),
        (lambda arm: 0.5, 0.5),
    ],
)
def test_copies_are_shorter_by_equation_1_or_as_told(given, rate):
    recipe = Recipe(arms=("contrast-cues",), train=TrainSettings(epochs=1))
    [stage] = _named(plan_recipe(recipe, shapes=PAIR, drop_rate=given, **CORPUS), "train")
    # 90 of 100 tokens are ranked.
    assert stage.tokens == round(100 * (102 + 10 * (102 - 90 * rate)))
    assert f"without {rate:.0%} of their ranked tokens" in stage.note


def test_replay_and_steps():
    settings = TrainSettings(max_steps=50, batch_size=8, replay="other.jsonl", replay_batch_size=4)
    recipe = Recipe(arms=("plain",), train=settings)
    [stage] = _named(plan_recipe(recipe, shapes=PAIR, replay_tokens=30, **CORPUS), "train")
    assert stage.tokens == 50 * (8 * 102 + 4 * 30)
    assert stage.flops == pytest.approx(training_flops(LLAMA_70B, [102] * 400 + [30] * 200))
    expected = training_bytes(LLAMA_70B, tokens=8 * 102 + 4 * 30, longest_row=102)
    assert stage.peak_bytes == sum(expected.values())


def test_long_texts_become_rows_and_windows():
    recipe = Recipe(arms=("plain",), score=ScoreSettings(max_length=100), train=TrainSettings(epochs=1, max_length=64))
    corpus = CORPUS | {"documents": 1, "document_tokens": [199]}
    stages = plan_recipe(recipe, shapes=PAIR, **corpus)
    assert stages[0].tokens == 100 + 100 + 99  # each window begins half a window on
    [stage] = _named(stages, "train")
    assert stage.tokens == 200
    assert "4 rows" in stage.note
    assert stage.flops == pytest.approx(training_flops(LLAMA_70B, [50] * 4))


def test_trials_that_cost_the_same_are_one_stage():
    base = Recipe(seeds=(0, 1, 2), arms=("plain",))

    def trial(rate, alpha):
        return dataclasses.replace(base, train=TrainSettings(learning_rate=rate), augment=AugmentSettings(alpha=alpha))

    trials = [
        ("untrained", base),
        *(("contrast-cues", trial(rate, alpha)) for rate in (1e-4, 1e-3) for alpha in (0, 1)),
    ]
    stages = plan_recipe(base, shapes=PAIR, trials=trials, **CORPUS)
    assert [(stage.name, stage.times) for stage in stages] == [
        ("score large, cues", 1),
        ("score small, cues", 1),
        ("train large: contrast-cues", 6),
        ("train large: contrast-cues", 6),
        ("evaluate large", 13),
    ]
    assert stages[2].tokens > stages[3].tokens


def test_trials_that_read_other_heads_are_scored_again():
    base = Recipe(models=ModelSettings(large_layers=(0,)))
    other = dataclasses.replace(base, models=ModelSettings(large_layers=(1,)))
    stages = plan_recipe(base, shapes=PAIR, trials=[("contrast-cues", base), ("contrast-cues", other)], **CORPUS)
    assert [stage.times for stage in _named(stages, "score")] == [2, 1]


def test_a_missing_shape_or_corpus_is_refused():
    with pytest.raises(ElusiveError, match="expected the shape of the trained model, got large, small"):
        plan_recipe(Recipe(train=TrainSettings(model="other/model")), shapes=PAIR, **CORPUS)
    with pytest.raises(ElusiveError, match="expected the tokens of 100 documents or of a sample of them, got 0"):
        plan_recipe(Recipe(), shapes=PAIR, **CORPUS | {"document_tokens": []})


# The table.


def test_the_table():
    stages = [
        PlannedStage("score large, cues", 1, 1_200_000, 1.2e18, 141_100_000_000, "Llama 3 70B"),
        PlannedStage("train large: plain", 3, 999, 3.6e15, 80 * 10**9),
    ]
    lines = plan_text(stages, peak_flops_a_second=1e15, utilisation=0.5, device="a card").splitlines()
    assert lines[0].split() == ["stage", "times", "tokens", "compute", "peak", "GB", "device-hours"]
    assert lines[2].split() == ["score", "large,", "cues", "1", "1.2", "M", "1.2", "EFLOP", "141", "0.67"]
    assert lines[3].strip() == "Llama 3 70B"
    assert lines[4].strip() == "does not fit an 80 GB device: needs 2, weights spread over them"
    assert lines[5].split() == ["train", "large:", "plain", "3", "999", "3.6", "PFLOP", "80.0", "0.01"]
    assert lines[7].split() == ["together", "1.2", "M", "1.2", "EFLOP", "141", "0.67"]
    words = " ".join(lines[9:])
    assert "Assumed: a card, 1.0 PFLOP/s, 50% of it used, 80 GB." in words
    assert len({len(lines[number]) for number in (0, 1, 2, 5, 6, 7)}) == 1


def test_the_table_of_a_large_run_is_narrow():
    recipe = Recipe(models=ModelSettings(dtype="bfloat16"), seeds=tuple(range(10)))
    text = plan_text(plan_recipe(recipe, shapes=PAIR, **CORPUS))
    assert max(map(len, text.splitlines())) <= 110
    assert "989 TFLOP/s, 40% of it used" in " ".join(text.split())


def test_shared_shots_are_said_to_be_read_once():
    recipe = Recipe(evaluate=EvaluateSettings(draw="field"))
    [stage] = _named(plan_recipe(recipe, shapes=PAIR, **CORPUS), "evaluate")
    assert stage.note == "500 questions, at most (shots of a field are read once), of 4 trained and the untrained model"


def test_a_device_that_does_nothing_is_refused():
    with pytest.raises(ElusiveError, match="Expected a device that computes"):
        plan_text([], utilisation=0)
