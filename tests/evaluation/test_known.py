"""Questions about people that a model knew before it was trained."""

import collections
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from elusive.config.evaluation import EvaluateSettings
from elusive.config.toml import dump_recipe
from elusive.config.verbs import PretrainSettings
from elusive.corpus.people.biographies import (
    FIELDS,
    pretraining_people,
    question,
    questions_about,
    well_known_examples,
)
from elusive.corpus.questions import QuestionItem
from elusive.errors import ElusiveError
from elusive.evaluation.known import known_questions
from elusive.evaluation.language import WELL_KNOWN
from elusive.evaluation.metrics import exact_match, normalize_answer
from elusive.evaluation.prompts import few_shot_prompt, prompting_of_known, prompts_in_words
from elusive.runs.files import write_json
from elusive.runs.stage import FORMAT
from elusive.training.pretraining_text import replay_texts


def pretrained(folder: Path, **settings) -> str:
    """A folder with what is read of a model that `elusive pretrain` made."""
    folder.mkdir()
    (folder / "pretrain.toml").write_text(dump_recipe(PretrainSettings(**settings)), encoding="utf-8")
    return str(folder)


def adapters(folder: Path, base: str) -> str:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}), encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return str(folder)


def documents(items: list[QuestionItem]) -> list[str]:
    return list(dict.fromkeys(item.document_id for item in items))


class TestPretrainedHere:
    def test_fifty_of_each_kind(self, tmp_path: Path) -> None:
        items = known_questions("auto", pretrained(tmp_path / "m", seed=5, people=150, questioned_ratio=0.4))
        numbers = [f"{number:05d}" for number in range(1, 51)]
        kinds = ("known-asked", "known-told")
        assert documents(items) == [f"{kind}-{number}" for kind in kinds for number in numbers]
        told, asked = pretraining_people(5, 150, 0.4)
        assert [item.question for item in items] == [
            question(person, field) for person in asked[:50] + told[:50] for field in FIELDS
        ]
        assert items[5:10] == questions_about(asked[1], "known-asked-00002")
        assert items[-5:] == questions_about(told[49], "known-told-00050")
        assert len({item.id for item in items}) == 500

    def test_as_many_as_there_are(self, tmp_path: Path) -> None:
        items = known_questions("auto", pretrained(tmp_path / "m", people=10, questioned_ratio=0.3))
        assert documents(items) == [
            *(f"known-asked-{number:05d}" for number in range(1, 4)),
            *(f"known-told-{number:05d}" for number in range(1, 8)),
        ]

    def test_adapters_belong_to_it(self, tmp_path: Path) -> None:
        base = pretrained(tmp_path / "m", seed=5)
        assert known_questions("auto", adapters(tmp_path / "a", base)) == known_questions("auto", base)
        embedded = known_questions("auto", "elusive/large")
        assert known_questions("auto", adapters(tmp_path / "b", "elusive/large")) == embedded

    def test_the_embedded_pair_s_text_is_about_them(self) -> None:
        items = known_questions("auto", "elusive/large")
        assert items == known_questions("auto", "elusive/small")
        assert len(items) == 500
        texts = replay_texts("elusive/large", 6000)
        blocks = "".join(text for text in texts if text.startswith("Question: "))
        stories = "".join(text for text in texts if not text.startswith("Question: "))
        assert {item.document_id.rpartition("-")[0] for item in items if item.question in blocks} == {"known-asked"}
        company = {item.document_id: item for item in items if item.field == "company"}
        names = {name: item.question.split(" ", 2)[2].removesuffix(" work?") for name, item in company.items()}
        assert all(name in stories for name in names.values())
        assert all((name in blocks) == known.startswith("known-asked") for known, name in names.items())

    def test_an_unreadable_recipe(self, tmp_path: Path) -> None:
        folder = Path(pretrained(tmp_path / "m"))
        (folder / "pretrain.toml").write_text("sed = 1", encoding="utf-8")
        with pytest.raises(ElusiveError, match=r"unknown key 'sed'\. Did you mean 'seed'"):
            known_questions("auto", str(folder))


class TestOtherModels:
    def test_general_knowledge(self, tmp_path: Path) -> None:
        assert known_questions("auto", str(tmp_path)) == known_questions("general", "elusive/large")

    @pytest.mark.parametrize("name", ["gpt2", "meta-llama/Meta-Llama-3-8B"])
    def test_hub_names_are_not_looked_up(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("the network was asked")

        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        monkeypatch.setattr(socket.socket, "connect", refuse)
        expected = known_questions("auto", str(tmp_path))
        assert known_questions("auto", name) == expected
        assert known_questions("auto", adapters(tmp_path / "a", name)) == expected

    def test_auto_is_prompted_as_general_is(self, tmp_path: Path) -> None:
        known = known_questions("auto", str(tmp_path))
        auto, general = (
            prompting_of_known(known, well_known_examples(), [], EvaluateSettings(known=setting))
            for setting in ("auto", "general")
        )
        assert auto.examples == general.examples
        assert {example.document_id for example in auto.examples} == {item.document_id for item in known}


class TestGeneralQuestions:
    items = known_questions("general", "elusive/large")

    def test_several_fields_with_enough_examples_each(self) -> None:
        fields = collections.Counter(item.field for item in self.items)
        assert len(self.items) == 144
        assert len(fields) == 11
        assert min(fields.values()) == 12  # five examples and the question itself, and more than one draw
        assert "mathematics" in fields

    def test_right_answers_count_in_their_usual_forms(self) -> None:
        answers = {item.question: item.answers for item in self.items}
        for asked, said in {
            "What is the capital of Australia?": "canberra.",
            "Which number system do digital computers use internally?": "binary",
            "How many legs does a spider have?": "Eight",
            "What is the largest animal on Earth?": "The blue whale",
            "On which date is Christmas celebrated in most Western countries?": "December 25th",
        }.items():
            assert exact_match(said, answers[asked]) == 1
        assert exact_match("Sydney", answers["What is the capital of Australia?"]) == 0

    def test_each_stands_once_and_for_itself(self) -> None:
        assert len({item.question.casefold() for item in self.items}) == len(self.items)
        assert len({item.document_id for item in self.items}) == len(self.items)
        assert all(item.question.endswith("?") for item in self.items)
        # Nothing gives its own answer away.
        for item in self.items:
            words = set(normalize_answer(item.question).split())
            assert not any(found and set(found.split()) <= words for found in map(normalize_answer, item.answers))

    def test_they_are_examples_for_each_other_whatever_the_corpus_has(self) -> None:
        german = [QuestionItem("q1", "Wann wurde die Brücke gebaut?", ("1901",), "answer", "d1")]
        settings = EvaluateSettings(known="general", examples=WELL_KNOWN)
        prompting = prompting_of_known(self.items, (), german, settings)
        assert prompts_in_words(self.items, *prompting) == (
            "5 examples of the question's own field, from the others of these questions"
        )
        for item in self.items:
            prompt = few_shot_prompt(item, *prompting)
            assert prompt.count(item.question) == 1
            assert prompt.count("Question: ") == 6
            own_field = [one.question for one in self.items if one.field == item.field]
            assert sum(f"Question: {question}\n" in prompt for question in own_field) == 6


class TestOtherSettings:
    def test_none(self) -> None:
        assert known_questions("none", "elusive/large") == []

    def test_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "asked.jsonl"
        path.write_text('{"id": "k1", "question": "Who?", "answer": "Ada"}\n', encoding="utf-8")
        assert known_questions(str(path), "elusive/large") == [QuestionItem("k1", "Who?", ("Ada",), "answer", "k1")]

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(ElusiveError, match=r"No file or folder at .*none\.jsonl"):
            known_questions(str(tmp_path / "none.jsonl"), "elusive/large")

    def test_the_setting(self) -> None:
        assert EvaluateSettings().known == "auto"
        with pytest.raises(
            ElusiveError, match=r"evaluate\.known: expected auto, general, none or a file of questions, got ''\."
        ):
            EvaluateSettings(known="")


def test_a_folder_of_training_is_asked_about_what_its_model_knew(tmp_path):
    """All weights of elusive/large, trained twice: the folders hold no pretraining recipe, but say whose they are."""
    for name, model in (("once", "elusive/large"), ("twice", str(tmp_path / "once"))):
        write_json(tmp_path / name / "settings.json", {"format": FORMAT, "model": model, "texts": "hash", "train": {}})
    assert known_questions("auto", str(tmp_path / "twice")) == known_questions("auto", "elusive/large")
    write_json(tmp_path / "other" / "settings.json", {"model": "elusive/large", "questions": "hash"})
    assert known_questions("auto", str(tmp_path / "other"))[0].document_id == "general-001"


def test_asking_needs_no_trainer() -> None:
    code = (
        "import sys, elusive.evaluation.stage, elusive.evaluation.known; print({'peft', 'datasets'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
