"""Cues from one half of the questions, the other half asked."""

import json
from pathlib import Path
from typing import Any

import pytest

from elusive.config.corpus import CorpusSettings
from elusive.corpus.documents import Document, load_corpus
from elusive.corpus.question_sets import chosen_questions, question_sets_of, sets_of_questions, without_answers
from elusive.corpus.questions import QuestionItem, read_questions
from elusive.corpus.stage import make_corpus, summary_lines
from elusive.corpus.tags import Span
from elusive.errors import ElusiveError

from ..shared_data import SHARED

TEXT = "Ada lived in London, then in Rome. Rome was warm."


def item(name: str, *answers: str) -> QuestionItem:
    return QuestionItem(name, f"{name}?", answers, "answer", "d")


def made(folder: Path, **settings: Any) -> Path:
    make_corpus(CorpusSettings(**{"people": 4, **settings}), folder)
    return folder


def test_halves_are_of_each_document_and_cover_it():
    questions = [QuestionItem(f"{d}-{q}", "?", ("x",), "f", d) for q in range(5) for d in ("a", "b", "c")]
    first, second = (chosen_questions(questions, which) for which in ("first", "second"))
    assert chosen_questions(questions, "all") == questions
    assert sorted([*first, *second], key=questions.index) == questions
    for document in ("a", "b", "c"):
        assert [sum(one.document_id == document for one in half) for half in (first, second)] == [2, 3]
    # Neither the order nor other documents matter.
    assert chosen_questions(questions[::-1], "first") == first[::-1]
    alone = [one for one in questions if one.document_id == "b"]
    assert chosen_questions(alone, "first") == [one for one in first if one.document_id == "b"]


@pytest.mark.parametrize(
    ("hidden", "left"),
    [
        ((), ["name", "London", "Rome", "in Rome. Rome", "warm"]),
        ((item("q", "London"),), ["name", "Rome", "in Rome. Rome", "warm"]),
        # The same text elsewhere, and whatever shares a character with the answer, would give it away.
        ((item("q", "Rome"),), ["name", "London", "warm"]),
        ((item("q", "was  warm", "London"),), ["name", "Rome", "in Rome. Rome"]),
        ((item("q", "Ada"),), ["name", "London", "Rome", "in Rome. Rome", "warm"]),  # the head entity is no cue
        ((item("q", "Paris"),), ["name", "London", "Rome", "in Rome. Rome", "warm"]),
    ],
)
def test_spans_of_hidden_answers_go(hidden: tuple[QuestionItem, ...], left: list[str]):
    marked = ["London", "Rome", "in Rome. Rome", "warm"]
    spans = [Span("name", 0, 3), *(Span("answer", TEXT.index(one), TEXT.index(one) + len(one)) for one in marked)]
    kept = without_answers(Document("d", TEXT, tuple(spans)), hidden, ("name",))
    assert ["name" if span.field == "name" else TEXT[span.start : span.end] for span in kept.spans] == left


@pytest.mark.parametrize(("cues", "asked"), [("first", "second"), ("second", "first")])
def test_no_cue_is_an_answer_that_is_asked_for(tmp_path: Path, cues: str, asked: str):
    folder = made(tmp_path / "c", cue_questions=cues, asked_questions=asked)
    corpus = load_corpus(folder)
    questions = {(one.document_id, one.field) for one in corpus.questions}
    given = {(one.document_id, one.field) for one in read_questions(folder / "cue_questions.jsonl")}
    spans = {(one.id, span.field) for one in corpus.documents for span in one.spans if span.field != "name"}
    assert len(questions) + len(given) == 20
    assert spans == given
    assert not spans & questions
    number = {"first": 8, "second": 12}
    assert summary_lines(folder) == [
        "4 documents, 20 questions",
        f"{number[cues]} of the questions give cues, {number[asked]} are asked; {number[asked]} spans of other answers "
        "hidden",
        f"question sets: disjoint: cues at the answers to the {cues} half of each document's questions, the {asked} "
        "half is asked",
    ]


def test_a_file_of_questions_says_whether_its_answers_were_cues(tmp_path: Path):
    folder = made(tmp_path / "c", cue_questions="first", asked_questions="second")
    assert sets_of_questions(folder / "questions.jsonl").startswith("disjoint: cues at the answers to the first half")
    assert sets_of_questions(folder / "cue_questions.jsonl") == "the same: these questions gave the cues"
    for elsewhere in (tmp_path / "questions.jsonl", folder / "documents.jsonl"):
        assert sets_of_questions(elsewhere).startswith(f"not known: {elsewhere} is not the questions.jsonl of a corpus")


def test_one_half_for_both_compares_with_the_other(tmp_path: Path):
    both = [
        load_corpus(made(tmp_path / cues, cue_questions=cues, asked_questions="first")) for cues in ("first", "second")
    ]
    assert both[0].questions == both[1].questions
    assert question_sets_of(tmp_path / "first").startswith("the same: ")
    spans = [{(one.id, span) for one in corpus.documents for span in one.spans} for corpus in both]
    assert {span.field for _, span in spans[0] & spans[1]} == {"name"}


def test_by_default_all_questions_are_both(tmp_path: Path):
    corpus = load_corpus(made(tmp_path / "c"))
    assert len(corpus.questions) == 20
    assert all(len(one.spans) == 6 for one in corpus.documents)
    assert not (tmp_path / "c" / "cue_questions.jsonl").exists()
    assert question_sets_of(tmp_path / "c") == "the same: cues at the answers to the questions that are asked"
    assert summary_lines(tmp_path / "c") == ["4 documents, 20 questions"]


def test_paragraphs_of_squad(tmp_path: Path):
    settings = {"source": str(SHARED / "data" / "xquad.en.json"), "cue_questions": "first", "asked_questions": "second"}
    corpus = load_corpus(made(tmp_path / "c", **settings))
    asked: dict[str, set[str]] = {}
    for one in corpus.questions:
        asked.setdefault(one.document_id, set()).update(one.answers)
    assert len(corpus.questions) > 600
    for document in corpus.documents:
        cues = [document.text[span.start : span.end] for span in document.spans]
        assert not asked.get(document.id, set()) & set(cues)
    assert sum(len(document.spans) for document in corpus.documents) > 400


def test_a_source_that_is_split_stays_so_and_is_not_split_again(tmp_path: Path):
    split = made(tmp_path / "c", cue_questions="first", asked_questions="second")
    assert question_sets_of(made(tmp_path / "again", source=str(split))) == question_sets_of(split)
    with pytest.raises(ElusiveError, match=r"is split already \(disjoint: .*Leave them at \"all\""):
        made(tmp_path / "twice", source=str(split), cue_questions="first")


def test_nothing_left_to_ask(tmp_path: Path):
    (tmp_path / "c.jsonl").write_text(json.dumps({"text": "Ada 1815", "spans": [["name", 0, 3], ["date", 4, 8]]}))
    with pytest.raises(ElusiveError, match=r"asked_questions = 'first' leaves no question of 1"):
        made(tmp_path / "c", source=str(tmp_path / "c.jsonl"), asked_questions="first")
    made(tmp_path / "c2", source=str(tmp_path / "c.jsonl"), asked_questions="second", cue_questions="first")
