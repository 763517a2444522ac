"""From a folder of documents to a report: questions, a recipe that follows from the sizes, a run, and what it gave."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from elusive.cli.main import main
from elusive.config.augmentation import AugmentSettings
from elusive.config.corpus import CorpusSettings
from elusive.config.learn import LearnQuestionSettings, LearnSettings
from elusive.config.run import Recipe
from elusive.config.toml import load_recipe
from elusive.config.training import TrainSettings
from elusive.corpus.documents import Document, load_corpus, write_corpus
from elusive.corpus.llm.chat import TokenUsage
from elusive.corpus.question_sets import CUE_QUESTIONS
from elusive.corpus.questions import QuestionItem
from elusive.errors import ElusiveError
from elusive.experiments.trials import UNTRAINED
from elusive.learning import choices
from elusive.learning import learn as learning
from elusive.learning.choices import chosen_recipe, writer_of
from elusive.learning.gain import gain_in_words
from elusive.pipeline import run
from elusive.questioning.summary import Coverage, QuestionsMade
from elusive.reporting.results import (
    ArmDifference,
    CorpusSize,
    KnownScores,
    ModelNames,
    Results,
    RunFacts,
    read_results,
)
from elusive.runs.files import write_jsonl
from elusive.stats.estimates import Difference, Estimate

ENGLISH = "The pump is given by the makers in the town, and it has to be cleaned for all of the time."
GERMAN = "Die Pumpe ist von der Firma und wird in der Stadt für den Betrieb mit dem Filter gereinigt."


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number, city in enumerate(("Graz", "Linz", "Bern", "Genf"), 1):
        text = f"# Machine M{number}\n\nThe machine M{number} comes from {city}. It weighs {30 + number} kg in all.\n"
        (folder / f"machine-{number}.md").write_text(text)
    return folder


def choice_of(
    folder: Path, text: str, documents: int = 40, question: str = "What is it?", **settings: Any
) -> choices.Choice:
    source = folder / f"corpus-{len(list(folder.iterdir()))}"
    asked = QuestionItem("q1", "What is given?", ("a pump",), "phrase", "d1")
    write_corpus(source, [*(Document(f"d{n}", text) for n in range(documents)), asked])
    cues = [QuestionItem(f"c{n}", question, ("a pump",), "phrase", f"d{n}") for n in range(4)]
    write_jsonl(source / CUE_QUESTIONS, map(vars, cues))
    return chosen_recipe(LearnSettings(**settings), str(source), load_corpus(source), cues, "run", "title")


def test_a_folder_becomes_a_report(
    docs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the embedded pair, in few steps; a second call does nothing, other settings are refused."""

    def in_this_process(recipe: Recipe, **named: Any) -> Path:
        train = dataclasses.replace(recipe.train, replay="")
        return run(dataclasses.replace(recipe, parallel=1, train=train), **named)

    monkeypatch.setattr(learning, "run", in_this_process)
    output = tmp_path / "out"
    arguments = ["learn", str(docs), "--output", str(output), "--known", "none", "--max-steps", "2"]
    main(arguments)
    said, noted = capsys.readouterr()
    assert "cloze statements, no questions: no language model wrote or checked them" in noted
    assert "elusive/large answers " in said.splitlines()[-1]
    assert "of 4 held-out questions that no model checked about" in said.splitlines()[-1]
    assert "2 steps." in said.splitlines()[-1]
    recipe = load_recipe(output / "recipe.toml", Recipe)
    assert (recipe.arms, recipe.train.max_steps, recipe.evaluate.shots) == (("insert-contrast+reorder",), 2, 3)
    metrics = output / "run" / "evaluation" / "insert-contrast+reorder" / "seed-0" / "metrics.json"
    assert json.loads(metrics.read_text())["questions"] == 4
    _checks_of_words(read_results(output / "run" / "report" / "results.json"))
    before = _written(output)
    main(arguments)
    assert capsys.readouterr().out.splitlines()[-1] == said.splitlines()[-1]
    assert _written(output) == before
    with pytest.raises(SystemExit):
        main([*arguments[:-1], "3"])
    assert "begun with other settings" in capsys.readouterr().err


def _written(folder: Path) -> dict[Path, int]:
    """When each file was written, but for the run's recipe, which is written at the end of each run."""
    files = (path for path in folder.rglob("*") if path.is_file() and path != folder / "run" / "recipe.toml")
    return {path: path.stat().st_mtime_ns for path in files}


def _checks_of_words(results: Results) -> None:
    """What is said where the answers, and what was known before, were others."""
    arm = "insert-contrast+reorder"
    known = KnownScores(144, 144, Estimate(0.5, 0.4, 0.6), Estimate(0.5, 0.4, 0.6), None)
    lost = dataclasses.replace(known, em=Estimate(0.4, 0.3, 0.5), lost=Difference(-0.1, -0.2, -0.05))
    arms = {
        UNTRAINED: dataclasses.replace(results.arms[UNTRAINED], em=Estimate(0.0, 0.0, 0.0), known=known),
        arm: dataclasses.replace(results.arms[arm], em=Estimate(0.25, 0.0, 0.5), known=lost, steps=2.0),
    }
    gain = ArmDifference(0.25, 0.1, 0.5, a=arm, b=UNTRAINED, field="all")
    made = RunFacts(seconds={"train": 75.0, "evaluate": 5.0})
    changed = dataclasses.replace(results, arms=arms, pairs=(gain,), made=made)
    assert gain_in_words(changed, MADE, "docs") == (
        "elusive/large answers .250 of 4 held-out questions about docs after training (insert-contrast+reorder), .000 "
        "before (+.250 [+.100, +.500]). Of 144 questions about what it knew before, it answers .400, .500 before "
        "(-.100 [-.200, -.050]). It took 1 min 1 s to write questions (1,000 tokens), 1 min 15 s to train, 5 s to "
        "evaluate; 2 steps."
    )
    chance = dataclasses.replace(changed, pairs=(dataclasses.replace(gain, low=-0.1),))
    assert "(+.250 [-.100, +.500]), which may be chance." in gain_in_words(chance, MADE, "docs")


def test_a_stopped_command_goes_on(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped before the run, it has its questions and its recipe, and writes neither again."""

    def stopped(*given: Any, **named: Any) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(learning, "run", stopped)
    given = (CorpusSettings(source=str(docs)), LearnSettings(max_steps=2), LearnQuestionSettings(), tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        learning.learn(*given)
    recipe = tmp_path / "out" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("max_steps = 2", "max_steps = 1"))
    seen: list[Recipe] = []

    def noted(recipe: Recipe, **named: Any) -> Path:
        seen.append(recipe)
        raise KeyboardInterrupt

    monkeypatch.setattr(learning, "run", noted)
    with pytest.raises(KeyboardInterrupt):
        learning.learn(*given)
    assert [one.train.max_steps for one in seen] == [1]


def test_documents_that_cannot_be_learned(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    given = (LearnSettings(), LearnQuestionSettings(), tmp_path / "out")
    with pytest.raises(ElusiveError, match="empty"):
        learning.learn(CorpusSettings(source=str(empty)), *given)
    (empty / "a.md").write_text("# A\n\nnothing to ask about here at all.\n")
    with pytest.raises(ElusiveError, match="None of the 0 cloze statements"):
        learning.learn(CorpusSettings(source=str(empty)), *given)
    settings = LearnQuestionSettings(engine="server")
    with pytest.raises(ElusiveError, match=r"Give it with --questions.model"):
        learning.learn(CorpusSettings(source=str(empty)), LearnSettings(), settings, tmp_path / "out")


def test_who_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tokenizer:
        chat_template: str | None = "{{ messages }}"

    monkeypatch.setattr(choices, "load_tokenizer", lambda name: Tokenizer())
    own, named = LearnSettings(model="folder"), LearnQuestionSettings(model="writer")
    written = [
        writer_of(LearnSettings(), LearnQuestionSettings()),
        writer_of(own, LearnQuestionSettings()),
        writer_of(own, named),
        writer_of(own, dataclasses.replace(named, engine="transformers")),
    ]
    assert [(one.engine, one.model) for one in written] == [
        ("cloze", ""),
        ("transformers", "folder"),
        ("server", "writer"),
        ("transformers", "writer"),
    ]
    monkeypatch.setattr(Tokenizer, "chat_template", None)
    assert writer_of(own, LearnQuestionSettings()).engine == "cloze"


def test_recipes_follow_from_language_and_size(tmp_path: Path) -> None:
    english, german = choice_of(tmp_path, ENGLISH).recipe, choice_of(tmp_path, GERMAN).recipe
    assert (english.arms, english.augment.insert_forms) == (
        ("insert-contrast+reorder",),
        ("prefix", "parenthesis", "pronoun"),
    )
    assert (german.arms, german.augment.insert_forms) == (("insert-contrast",), ("prefix",))
    assert english.score.queries == "all"
    # 40 documents, 40 times, 8 a step; few documents get 50 steps all the same.
    assert [choice_of(tmp_path, ENGLISH, count).recipe.train.max_steps for count in (40, 4)] == [200, 50]
    # Three of the four questions that give cues are about other documents.
    assert (english.evaluate.shots, english.evaluate.examples) == (3, "corpus")
    assert (english.train.method, english.train.replay) == ("full", "pretraining")


def test_prompts_fit_the_context(tmp_path: Path) -> None:
    """Of 512 tokens, 32 are for the answer; the sentence has about ten."""
    lengths = {5: 3, 25: 1, 90: 0}
    found = {count: choice_of(tmp_path, ENGLISH, question="Who of the makers is it? " * count) for count in lengths}
    assert {count: one.recipe.evaluate.shots for count, one in found.items()} == lengths


def test_a_model_without_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "EMBEDDED", {})  # so that it is a model like any other
    for text, arm in ((ENGLISH, "reorder"), (GERMAN, "plain")):
        recipe = choice_of(tmp_path, text, model="elusive/small").recipe
        assert (recipe.arms, recipe.train.method, recipe.evaluate.known) == ((arm,), "lora", "auto")
        assert (recipe.models.small.name, recipe.models.small.layers) == ("elusive/small", (0,))
    assert choice_of(tmp_path, ENGLISH, model="elusive/large", small="elusive/small").recipe.arms == (
        "insert-contrast+reorder",
    )


def test_small_batches_where_the_memory_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plenty = choice_of(tmp_path, ENGLISH).recipe.train
    assert (plenty.gradient_accumulation_steps, plenty.gradient_checkpointing) == (1, False)
    monkeypatch.setattr(choices, "available_memory", lambda: 10**6)
    choice = choice_of(tmp_path, ENGLISH)
    assert (choice.recipe.train.gradient_accumulation_steps, choice.recipe.train.gradient_checkpointing) == (8, True)
    assert "that may be too much" in choice.reasons[-1]
    assert torch.cuda.is_available() or choices.available_memory() == 10**6


MADE = QuestionsMade(9, 4, 4, {}, {}, Coverage(), TokenUsage(2, 900, 100), 61.0, True)


def test_nothing_to_say_of_a_run_without_answers() -> None:
    empty = Results(
        "t", CorpusSize("c", 1, 0, 0), ModelNames("a", "b", "a"), {}, TrainSettings(), AugmentSettings(), (0,), {}
    )
    assert gain_in_words(empty, MADE, "docs").startswith("Nothing was learned of docs")
