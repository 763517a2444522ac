"""`elusive reproduce --plan`: its sections and sums, without a network, and beside what runs took."""

import dataclasses
import json
import re
import socket
from pathlib import Path

import pytest

from elusive.config.verbs import PretrainSettings, ReproduceSettings
from elusive.errors import ElusiveError
from elusive.experiments.sweep import sweep
from elusive.experiments.trials import UNTRAINED, grid_trials
from elusive.paper.experiments import cohort_recipes
from elusive.paper.families import families, family
from elusive.paper.plan import plan, shape_to_make
from elusive.paper.reproduce import needed_arms, wanted
from elusive.planning.published import published_shape
from elusive.planning.shapes import shape_of
from elusive.runs.files import read_json
from elusive.runs.folder import RunFolder
from elusive.training.pretraining import new_model, train_tokenizer

PARAMETERS = {
    "Gemma 2 9B": 9.24e9,
    "Gemma 2 2B": 2.61e9,
    "Llama 3 8B": 8.03e9,
    "Llama 3 70B": 70.6e9,
    "Llama 2 7B": 6.74e9,
    "Llama 2 70B": 69.0e9,
    "Gemma 2B": 2.51e9,
    "Gemma 7B": 8.54e9,
}


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was touched")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)


@pytest.fixture
def paragraphs(tmp_path):
    """Three paragraphs in SQuAD's form, with two questions each."""
    text = "The river Ilm rises in the north and flows through Weimar, where it drove the mills of the dukes. " * 4

    def paragraph(number):
        asked = {"answers": [{"text": "Weimar", "answer_start": text.index("Weimar") + 2}]}
        questions = [asked | {"id": f"{number}-{one}", "question": "Where does it flow?"} for one in range(2)]
        return {"context": f"{number} {text}", "qas": questions}

    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": [{"title": "Ilm", "paragraphs": [paragraph(number) for number in range(3)]}]}))
    return str(path)


def _rows(text, section=0):
    """The rows of a section's table by the stage's name: its cells."""
    table = text.split("\nstage")[section + 1]
    cells = [re.split("  +", line) for line in table.splitlines() if re.match(r"\w.*  ", line)]
    return {row[0]: row[1:] for row in cells}


@pytest.mark.parametrize("name", [one for one in families() if one != "embedded"])
def test_shapes_have_the_models_parameters(name):
    pair = family(name)
    for member in (pair.large, pair.small):
        shape = published_shape(member.model, member.title)
        assert shape is not None
        assert shape.parameters == pytest.approx(PARAMETERS[member.title], rel=0.005)


@pytest.mark.parametrize("name", families())
def test_plans_of_all_families_touch_no_network(name, no_network, paragraphs):
    text = plan(["all"], ReproduceSettings(family=name, people=4, wikipedia=paragraphs))
    assert max(map(len, text.splitlines())) <= 80
    assert f"All of the family '{name}'" in text
    assert ("device-hours" in text) == (name != "embedded")
    for title in (family(name).large.title, family(name).small.title):
        assert title in text
    # Each experiment has a section.
    names = [one for one in wanted(["all"]) if f"left out: {one}:" not in text]
    settings = ReproduceSettings(family=name, wikipedia=paragraphs)
    assert text.count(" learns, for ") == len(needed_arms(family(name), names, settings))


def test_paragraphs_without_questions_are_said_to_be(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"data": [{"title": "T", "paragraphs": [{"context": "Zoë wrote."}]}]}))
    text = plan(["table3"], ReproduceSettings(wikipedia=str(path)))
    assert "no questions, so nothing will be evaluated" in " ".join(text.split())


def test_sections_and_their_sum():
    text = plan(["table2"], ReproduceSettings(family="gemma-2"))
    assert "biographies: Gemma 2 9B learns, for table2" in text
    assert "1 cohort: 100 documents of ~69 tokens, 500 questions of ~98 with their shots; 120 trainings" in " ".join(
        text.split()
    )
    large, small, both = (_rows(text, section) for section in range(3))
    assert list(large)[:2] == ["score large, cues", "score small, cues"]
    assert [large[f"train large: {arm}"][0] for arm in ("plain", "random", "attention")] == ["15", "30", "15"]
    assert large["evaluate large in training"][0] == "450"
    assert large["evaluate large"][0] == "121"
    hours = [float(one["together"][-1]) for one in (large, small)]
    assert both["biographies, large model"][-1] == large["together"][-1]
    assert float(both["together"][-1]) == pytest.approx(sum(hours), abs=1)
    assert "Tokens marked ~ are estimated: 4.2 characters each." in text
    assert "what runs/reproduce holds already is not done again" in " ".join(text.split())


def test_cohorts_and_seeds_multiply():
    def times(**settings):
        rows = _rows(plan(["table2"], ReproduceSettings(family="gemma-2", people=4, **settings)))
        return {name: int(row[0]) for name, row in rows.items() if name != "together"}

    once = times(seeds=1)
    expected = {name: count * 2 if name.startswith(("train", "evaluate")) else count for name, count in once.items()}
    expected["evaluate large"] -= 1  # the untrained model is evaluated once
    assert times(seeds=2) == expected
    # Each cohort has one seed, and scores of its own.
    assert times(cohorts=3) == {name: 3 * count for name, count in once.items()}


def test_more_than_a_device_holds_is_said(paragraphs):
    text = plan(["table3"], ReproduceSettings(family="llama-3", wikipedia=paragraphs))
    assert "do not fit one H100: up to 2 are needed" in " ".join(text.split())
    assert "3 documents of ~95 tokens, 6 questions" in text
    assert "score large, all" in _rows(text)


def test_what_all_leaves_out_is_said():
    text = plan(["all"], ReproduceSettings(family="gemma", people=4))
    assert "left out: table3: the family 'gemma' has no experiment for it" in text
    assert "left out: table8: needs paragraphs" in text
    with pytest.raises(ElusiveError, match="Give --wikipedia FILE"):
        plan(["table8"], ReproduceSettings(family="gemma"))
    with pytest.raises(ElusiveError, match="has no experiment for it"):
        plan(["table3"], ReproduceSettings(family="gemma"))


def test_other_models_in_the_place_of_a_familys(no_network):
    small = plan(["table2"], ReproduceSettings(family="gemma-2", large="elusive/large", small="elusive/small"))
    assert "elusive/large learns" in small
    assert "~" not in small
    assert "Hours are left out" in " ".join(small.split())
    # A model of another family is known as well.
    other = plan(["table2"], ReproduceSettings(family="gemma-2", large="google/gemma-7b"))
    assert "google/gemma-7b learns" in other


def test_models_that_an_attempt_makes_are_planned():
    text = plan(["attempts"], ReproduceSettings(people=4))
    at = text.index("larger-gap: embedded large learns, for attempts")
    section = text[at : text.index("chosen-heads:")]
    assert "pretrain smaller" in section
    assert "from scratch, 732 steps" in section
    assert "1,000 questions" not in section  # of 20, and 500 about people known before
    assert "520 questions, of 1 trained and the untrained model" in section
    assert "less-trained: less-trained learns" in text


def test_the_shape_of_a_model_to_be_made_is_that_of_the_model():
    own = PretrainSettings(people=20, vocab_size=300, hidden_size=32, layers=2, heads=2, intermediate_size=96)
    made = new_model(own, train_tokenizer(own))
    shape = shape_to_make("small", own)
    assert shape.parameters == sum(one.numel() for one in made.parameters())
    assert dataclasses.replace(shape_of(made.config, "small"), adapter_sides=0) == shape


def test_a_real_run_takes_what_was_planned(tmp_path):
    settings = ReproduceSettings(
        output=str(tmp_path),
        people=6,
        cohorts=2,
        set={
            "train.max_steps": 3,
            "train.evaluate_at_epochs": [],
            # What is looked at is the training; its answers may be short.
            "evaluate.known": "none",
            "evaluate.shots": 1,
            "evaluate.max_new_tokens": 1,
        },
    )
    rows = _rows(plan(["figure4"], settings))
    arms = ("plain", "contrast-cues")
    taken = {arm: [] for arm in arms}
    for recipe in cohort_recipes(family("embedded"), "biographies", "large", arms, settings):
        sweep(dataclasses.replace(recipe, parallel=1), announce=lambda line: None)
        for trial in grid_trials(recipe):
            for seed in trial.seeds if trial.arm != UNTRAINED else ():
                done = read_json(trial.model_folder(RunFolder(Path(recipe.output)), seed) / "done.json")
                taken[trial.arm].append(done["tokens_trained"])
    for arm, tokens in taken.items():
        times, planned_tokens, *_ = rows[f"train large: {arm}"]
        assert int(times) == len(tokens)
        # A cohort's longest texts may be drawn or not; copies lose a little less than is planned.
        assert 1000 * float(planned_tokens.removesuffix(" k")) * len(tokens) == pytest.approx(sum(tokens), rel=0.05)
