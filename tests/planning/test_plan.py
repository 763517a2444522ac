"""What a run will cost: its stages next to what torch counts in real runs, and the table."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elusive.augmentation.copies import Augmenter
from elusive.augmentation.rules import drop_probability
from elusive.config.augmentation import AugmentSettings
from elusive.config.evaluation import EvaluateSettings
from elusive.config.models import ModelRef, Models
from elusive.config.run import Recipe, ReportSettings
from elusive.config.scoring import ScoreSettings
from elusive.config.training import TrainSettings
from elusive.corpus.people.biographies import biography_corpus, well_known_examples
from elusive.errors import ElusiveError
from elusive.evaluation.prompts import few_shot_prompt
from elusive.evaluation.stage import evaluate
from elusive.exporting.base_model import load_base_model
from elusive.models.loading import load_configs, load_model, load_tokenizer
from elusive.planning.costs import (
    Device,
    answering_flops,
    reading_flops,
    scoring_flops,
    training_bytes,
    training_flops,
)
from elusive.planning.plan import CorpusSizes, PlannedStage, hours, plan_recipe, together
from elusive.planning.shapes import shape_of
from elusive.planning.table import assumptions, plan_text
from elusive.runs.files import write_jsonl
from elusive.scoring.score import score_documents
from elusive.scoring.sets import ScoreSet
from elusive.scoring.stage import load_for_scoring
from elusive.training.sequences import tokenize_rows
from elusive.training.stage import train

from ..tiny_models import BOUNDARY, tiny_config, tiny_tokenizer
from .test_costs import LLAMA_8B, LLAMA_70B, counting

PAIR = {"large": LLAMA_70B, "small": LLAMA_8B}
CORPUS: dict[str, Any] = {
    "documents": 100,
    "document_tokens": [101] * 100,
    "questions": 500,
    "prompt_tokens": 150.0,
    "answer_tokens": 8.0,
}


def planned(recipe: Recipe, *, shapes, trials=None, drop_rate=None, **sizes) -> list[PlannedStage]:
    """`plan_recipe` with the sizes of the corpus as keywords."""
    return plan_recipe(recipe, CorpusSizes(**sizes), shapes, trials=trials, drop_rate=drop_rate)


# Next to real runs of the embedded pair.


@pytest.fixture(scope="module")
def embedded():
    """Six biographies, their questions, the tokenizer, their tokens, and the pair's shapes."""
    documents, questions = biography_corpus(6, seed=3)
    tokenizer = load_tokenizer("elusive/large")
    lengths = [len(ids) for ids in tokenizer([one.text for one in documents])["input_ids"]]
    shapes = {size: shape_of(load_configs(f"elusive/{size}")[0], f"elusive/{size}") for size in ("large", "small")}
    return documents, questions, tokenizer, lengths, shapes


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_real_training_takes_what_was_planned(embedded, tmp_path, method, monkeypatch):
    documents, _, _, lengths, shapes = embedded
    texts = tmp_path / "train.jsonl"
    write_jsonl(texts, ({"text": one.text, "id": one.id, "copy": 0, "arm": "plain"} for one in documents))
    settings = TrainSettings(method=method, epochs=4, batch_size=4, precision="fp32", save_steps=0)
    # Two texts that run before, to see that they may share a step, weigh nothing in a real corpus.
    monkeypatch.setattr("elusive.training.stage.check_padded", lambda *_: None)
    with counting() as counter:
        done = train(texts, tmp_path / "model", model=ModelRef("elusive/large"), settings=settings)
    corpus = CORPUS | {"documents": 6, "document_tokens": lengths, "questions": 0}
    [stage] = _named(planned(Recipe(arms=("plain",), train=settings), shapes=shapes, **corpus), "train")
    assert stage.tokens == done.tokens_trained
    assert f"4 epochs of 6 sequences of at most 512 tokens, {done.steps} steps" in stage.note
    # Three short texts run before, to see whether the model packs; the first layer has nothing to pass down.
    assert stage.flops == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_real_answers_take_what_was_planned(embedded):
    _, questions, tokenizer, _, shapes = embedded
    examples, settings = list(well_known_examples()), EvaluateSettings(max_new_tokens=12)
    prompts = [few_shot_prompt(item, examples, settings) for item in questions]
    model = load_model(ModelRef("elusive/large", device="cpu"))
    with counting() as counter:
        rows = evaluate(model, tokenizer, questions, examples, settings)
    asked = float(np.mean([len(ids) for ids in tokenizer(prompts)["input_ids"]]))
    answered = float(np.mean([len(ids) - 1 for ids in tokenizer([one.text for one in rows])["input_ids"]]))
    planned = len(questions) * answering_flops(shapes["large"], asked, answered)
    # Prompts of unlike lengths are read with some tokens of padding, and what they begin with alike only once.
    assert planned == pytest.approx(counter.get_total_flops(), rel=0.1)


@pytest.mark.parametrize("queries", ["all", "cues"])
def test_real_scores_take_what_was_planned(embedded, queries, monkeypatch):
    documents, _, tokenizer, lengths, shapes = embedded
    model = load_for_scoring(ModelRef("elusive/large", device="cpu"))
    # Two texts that run before, to see that scores do not depend on the batch, weigh nothing in a real corpus.
    monkeypatch.setattr("elusive.scoring.score.check_independence", lambda *_: None)
    with counting() as counter:
        score_documents(documents, model, tokenizer, ScoreSettings(queries=queries))
    # Padding of the batch is not planned, and texts are cut after their last cue.
    assert scoring_flops(shapes["large"], lengths) == pytest.approx(counter.get_total_flops(), rel=0.15)


LAST = AugmentSettings(unseen_tokens="last")  # the plan knows nothing of tokens that settings keep


def test_copies_have_as_many_tokens_as_planned(embedded):
    documents, _, tokenizer, lengths, shapes = embedded
    scores = {one.id: {} for one in documents}
    for model in ("large", "small"):
        loaded = load_for_scoring(ModelRef(f"elusive/{model}", device="cpu"))
        for one in score_documents(documents, loaded, tokenizer, ScoreSettings(queries="cues")):
            scores[one.document_id][ScoreSet(model, "cues")] = one
    for arm in ("random", "contrast-cues"):
        augmenter = Augmenter(arm, trained="large", tokenizer=tokenizer, score=ScoreSettings(), settings=LAST)
        made = augmenter.augment([(one, scores[one.id]) for one in documents])
        rows = tokenize_rows([text.text for one in made for text in one.texts], tokenizer, 512)
        recipe = Recipe(arms=(arm,), train=TrainSettings(epochs=2))
        corpus = CORPUS | {"documents": 6, "document_tokens": lengths}
        [stage] = _named(planned(recipe, shapes=shapes, **corpus), "train")
        assert stage.tokens == pytest.approx(2 * sum(map(len, rows)), rel=0.03)


# The stages of a run.


def _named(stages, beginning):
    return [stage for stage in stages if stage.name.startswith(beginning)]


def test_stages_of_a_run():
    recipe = Recipe(
        arms=("plain", "contrast-cues", "contrast-all"),
        seeds=(0, 1),
        train=TrainSettings(evaluate_at_epochs=(3, 6), epochs=10),
        report=ReportSettings(cue_documents=40),
    )
    stages = planned(recipe, shapes=PAIR, known=20, **CORPUS)
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
        ("evaluate large in training", 3 * 2 * 2),
        ("evaluate large", 1 + 3 * 2),
    ]
    assert [stage.tokens for stage in stages[:3]] == [10100, 10100, 4040]
    assert stages[0].flops == scoring_flops(LLAMA_70B, [101] * 100)
    assert stages[6].tokens == 10 * 100 * 102  # with an end of text each
    assert stages[9].flops == 500 * answering_flops(LLAMA_70B, 150, 8)
    assert stages[10].flops == 520 * answering_flops(LLAMA_70B, 150, 8)
    assert not _named(planned(recipe, shapes=PAIR, **CORPUS | {"questions": 0}), "evaluate")


def test_a_sample_of_documents_stands_for_all():
    sampled = planned(Recipe(), shapes=PAIR, **CORPUS | {"document_tokens": [101]})
    for stage, whole in zip(sampled, planned(Recipe(), shapes=PAIR, **CORPUS), strict=True):
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
    [stage] = _named(planned(recipe, shapes=PAIR, drop_rate=given, **CORPUS), "train")
    # 90 of 100 tokens are ranked.
    assert stage.tokens == round(100 * (102 + 10 * (102 - 90 * rate)))
    assert f"without {rate:.0%} of their ranked tokens" in stage.note


def test_arms_that_act_in_training_read_whole_texts():
    arms = ("plain", "key-dropout-random", "masked-contrast", "weighted-contrast", "selective", "random-unbroken")
    recipe = Recipe(arms=arms, train=TrainSettings(epochs=1), augment=AugmentSettings(copies=2))
    tokens = {stage.name.partition(": ")[2]: stage for stage in _named(planned(recipe, shapes=PAIR, **CORPUS), "train")}
    originals = 100 * 102
    for arm, texts in (("key-dropout-random", 3), ("masked-contrast", 3), ("weighted-contrast", 1), ("selective", 1)):
        assert tokens[arm].tokens == texts * originals
        assert "ranked tokens" not in tokens[arm].note
    assert tokens["random-unbroken"].tokens < 3 * originals
    # The reference model reads each text once, forward alone.
    more = tokens["selective"].flops - tokens["plain"].flops
    assert more == reading_flops(LLAMA_70B, np.full(100, 102.0)) > 0
    assert tokens["weighted-contrast"].flops == tokens["plain"].flops


def test_replay_and_steps():
    settings = TrainSettings(max_steps=50, batch_size=8, replay="other.jsonl", replay_batch_size=4)
    recipe = Recipe(arms=("plain",), train=settings)
    [stage] = _named(planned(recipe, shapes=PAIR, replay_tokens=30, **CORPUS), "train")
    assert stage.tokens == 50 * (8 * 102 + 4 * 30)
    assert stage.flops == pytest.approx(training_flops(LLAMA_70B, [102] * 400 + [30] * 200))
    expected = training_bytes(LLAMA_70B, tokens=8 * 102 + 4 * 30, longest_row=102)
    assert stage.peak_bytes == sum(expected.values())


def test_long_texts_become_sequences_and_windows():
    recipe = Recipe(arms=("plain",), score=ScoreSettings(max_length=100), train=TrainSettings(epochs=1, max_length=64))
    corpus = CORPUS | {"documents": 1, "document_tokens": [199]}
    stages = planned(recipe, shapes=PAIR, **corpus)
    assert stages[0].tokens == 100 + 100 + 99  # each window begins half a window on
    [stage] = _named(stages, "train")
    assert stage.tokens == 200
    assert "4 sequences of at most 64 tokens" in stage.note
    assert stage.flops == pytest.approx(training_flops(LLAMA_70B, [50] * 4))


@pytest.mark.parametrize(("name", "length"), [("phi3_longrope", BOUNDARY), ("llama_dynamic", BOUNDARY), ("llama", 512)])
def test_rows_stay_within_one_set_of_rotary_frequencies(name: str, length: int, tmp_path: Path):
    config = tiny_config(name)
    shape = shape_of(config, name)
    [stage] = _named(
        planned(
            Recipe(arms=("plain",), train=TrainSettings(epochs=1)),
            shapes={"large": dataclasses.replace(shape, context=512), "small": shape},
            **CORPUS | {"documents": 1, "document_tokens": [199]},
        ),
        "train",
    )
    pieces = -(-200 // length)
    assert f"1 epochs of {pieces} sequences of at most {length} tokens, 1 steps" in stage.note
    config.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    if name != "llama":  # an export cuts its rows there too
        assert load_base_model(str(tmp_path)).row_length(TrainSettings()) == length


def test_trials_of_an_arm_are_one_stage():
    base = Recipe(seeds=(0, 1, 2), arms=("plain",))

    def trial(rate, alpha):
        train_settings = TrainSettings(learning_rate=rate, epochs=10 if alpha else 20)
        return dataclasses.replace(base, train=train_settings, augment=AugmentSettings(alpha=alpha))

    tried = [("contrast-cues", trial(rate, alpha)) for rate in (1e-4, 1e-3) for alpha in (0, 1)]
    trials = [("untrained", base), *tried]
    stages = planned(base, shapes=PAIR, trials=trials, **CORPUS)
    assert [(stage.name, stage.times) for stage in stages] == [
        ("score large, cues", 1),
        ("score small, cues", 1),
        ("train large: contrast-cues", 12),
        ("evaluate large", 13),
    ]
    alone = [_named(planned(base, shapes=PAIR, trials=[one], **CORPUS), "train")[0] for one in tried]
    tokens, flops, peak = together(alone)
    assert stages[2].tokens * 12 == pytest.approx(tokens, rel=1e-6)
    assert stages[2].flops * 12 == pytest.approx(flops)
    assert stages[2].peak_bytes == peak
    assert stages[2].least_seconds == np.mean([one.least_seconds for one in alone])
    rate = drop_probability(np.arange(1, 91), 1, 0.05).mean()
    assert stages[2].note == (
        "lora; 10 to 20 epochs of 1,100 sequences of at most 1,024 tokens, 1,375 to 2,750 steps, "
        f"copies without 0% to {rate:.0%} of their ranked tokens"
    )


def test_weights_that_are_averaged_share_a_training():
    base = Recipe(seeds=(0, 1), arms=("plain",))

    def stages(**train):
        kinds = [TrainSettings(**train, average=ratio) for ratio in (0.5, 1.0, 0.25)]
        trials = [("plain", dataclasses.replace(base, train=one)) for one in kinds]
        return {one.name: one.times for one in planned(base, shapes=PAIR, trials=trials, **CORPUS)}

    found = stages()
    assert (found["train large: plain"], found["evaluate large"]) == (2, 7)
    # Questions in the midst of a training are answered for each.
    assert stages(evaluate_at_epochs=(1.0,))["train large: plain"] == 6


def test_what_stages_take_at_least():
    # A pass of 80 layers for each batch or token, or a step's three passes; in 8 bit the first of these takes longer.
    recipe = Recipe(
        arms=("plain",),
        train=TrainSettings(epochs=1),
        models=Models(large=ModelRef("elusive/large", quantization="8bit")),
    )
    stages = planned(recipe, shapes=PAIR, **CORPUS)
    scored, [trained], [asked] = (_named(stages, name) for name in ("score large", "train", "evaluate"))
    assert scored[0].least_seconds == pytest.approx(0.4)
    assert trained.least_seconds == pytest.approx(13 * (0.4 + 2 * 0.08))
    # Batches of 90 questions: 16,384 tokens of 182 at most each.
    assert asked.least_seconds == pytest.approx(6 * 9 * 0.4)


def test_trials_that_read_other_heads_are_scored_again():
    base = Recipe(models=Models(large=ModelRef("elusive/large", layers=(0,))))
    other = dataclasses.replace(base, models=Models(large=ModelRef("elusive/large", layers=(1,))))
    stages = planned(base, shapes=PAIR, trials=[("contrast-cues", base), ("contrast-cues", other)], **CORPUS)
    assert [stage.times for stage in _named(stages, "score")] == [2, 1]


def test_a_missing_shape_or_corpus_is_refused():
    with pytest.raises(ElusiveError, match="expected the shape of the other model, got large, small"):
        planned(Recipe(models=Models(other=ModelRef("other/model"), trained="other")), shapes=PAIR, **CORPUS)
    with pytest.raises(ElusiveError, match="expected the tokens of 100 documents or of a sample of them, got 0"):
        planned(Recipe(), shapes=PAIR, **CORPUS | {"document_tokens": []})


# The table.


def test_the_table():
    stages = [
        PlannedStage("score large, cues", 1, 1_200_000, 1.2e18, 141_100_000_000, "Llama 3 70B"),
        PlannedStage("train large: plain", 3, 999, 3.6e15, 80 * 10**9, least_seconds=3600),
    ]
    device = Device("a card", 1e15, 80 * 10**9, utilisation=0.5)
    lines = plan_text(stages, device).splitlines()
    assert lines[0].split() == ["stage", "times", "tokens", "compute", "peak", "GB", "device-hours"]
    assert lines[2].split() == ["score", "large,", "cues", "1", "1.2", "M", "1.2", "EFLOP", "141", "0.67"]
    assert lines[3].strip() == "Llama 3 70B"
    assert lines[4].split() == ["train", "large:", "plain", "3", "999", "3.6", "PFLOP", "80.0", "3.00"]
    assert lines[6].split() == ["together", "1.2", "M", "1.2", "EFLOP", "141", "3.67"]
    words = " ".join(lines[7:])
    assert "Peaks above 80 GB do not fit one a card: up to 2 are needed" in words
    assert "a card, 1.0 PFLOP/s, 80 GB. Assumed, not measured: 50% of its speed, and at least 1 ms" in words
    assert len({len(lines[number]) for number in (0, 1, 2, 4, 5, 6)}) == 1
    assert hours(stages, device) == pytest.approx(1.2e18 / 5e14 / 3600 + 3)
    assert together(stages) == (1_200_000 + 3 * 999, 1.2e18 + 3 * 3.6e15, 141_100_000_000)


def test_a_long_name_has_lines_of_its_own():
    name = "train large: contrast-cues+insert-contrast+reorder"
    lines = plan_text([PlannedStage(name, 3, 999, 3.6e15, 80 * 10**9)]).splitlines()
    assert lines[2] == name
    assert lines[3].split()[:2] == ["3", "999"]
    assert len(lines[3]) == len(lines[0]) == 80


def test_without_a_device_there_are_no_hours():
    text = plan_text([PlannedStage("train large: plain", 3, 999, 3.6e15, 250_000_000)], None)
    assert text.splitlines()[2].split() == ["train", "large:", "plain", "3", "999", "3.6", "PFLOP", "0.25"]
    assert "device" not in text.splitlines()[0]
    assert "Hours are left out" in " ".join(text.split())
    assert hours([], None) is None


def test_the_table_of_a_large_run_is_narrow():
    recipe = Recipe(
        models=Models(ModelRef("elusive/large", dtype="bfloat16"), ModelRef("elusive/small", dtype="bfloat16")),
        seeds=tuple(range(10)),
    )
    text = plan_text(planned(recipe, shapes=PAIR, **CORPUS))
    assert max(map(len, text.splitlines())) <= 80
    assert "H100, 989 TFLOP/s, 80 GB. Assumed, not measured: 40% of its speed" in " ".join(text.split())
    assert "as if it held everything" in " ".join(assumptions().split())


def test_shared_shots_are_said_to_be_read_once():
    recipe = Recipe(evaluate=EvaluateSettings(draw="field"))
    [stage] = _named(planned(recipe, shapes=PAIR, **CORPUS), "evaluate")
    assert (
        stage.note
        == "500 questions, at most (shots of a field are prefilled once), of 5 trained and the untrained model"
    )


def test_score_sets_of_one_model_are_planned_as_one_pass():
    recipe = Recipe(arms=("contrast-cues", "contrast-all"))
    scored = _named(planned(recipe, shapes=PAIR, **CORPUS), "score large")
    assert len(scored) == 3
    (paying,) = [stage for stage in scored if stage.flops]
    for stage in scored:
        if stage is not paying:
            assert stage.least_seconds == 0
            assert stage.note.endswith(f"in one pass with {paying.name.removeprefix('score ')}")
    assert paying.tokens == max(stage.tokens for stage in scored)
