"""Written questions from end to end: a server that misbehaves, a model that runs here, and cloze statements."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elusive.cli.main import main
from elusive.config.corpus import CorpusSettings
from elusive.config.questions import QuestionSettings
from elusive.corpus.documents import load_corpus
from elusive.corpus.question_sets import CUE_QUESTIONS
from elusive.corpus.questions import read_questions
from elusive.corpus.stage import make_corpus
from elusive.errors import ElusiveError
from elusive.models import sampling
from elusive.models.sampling import Sampled
from elusive.questioning import checks
from elusive.questioning.prompts import answering_prompt
from elusive.questioning.stage import ANSWERS_FILE, READ, REJECTED_FILE, make_questions
from elusive.questioning.summary import QuestionsMade

from ..corpus.llm.chat_server import Asked, Server, closed, serving, status

CITIES = ["Graz", "Linz", "Bern", "Genf", "Kiel", "Ulm"]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """Six files, each with three facts about one machine."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for number, city in enumerate(CITIES, 1):
        (folder / f"machine-{number}.md").write_text(
            f"# Machine M{number}\n\nThe machine M{number} comes from {city}.\nIt weighs {30 + number} kg in all. "
            f"Its warranty by Firm{number} ends after {number + 2} years of use.\n"
        )
    return folder


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as told:
        told.write = obliging
        yield told


def machine(text: str) -> int:
    return int(re.findall(r"M(\d)", text)[-1])


def obliging(asked: Asked) -> str:
    """Three good questions and two bad ones of each document; answers them from the text alone."""
    if asked.prompt.startswith("Write"):
        number = machine(asked.prompt)
        return (
            f"Q: Which city does the machine M{number} come from?\nA: {CITIES[number - 1]}.\n"
            f"Q: How much does the machine M{number} weigh?\nA: {30 + number} kg\n"
            f"Q: How much does it weigh?\nA: {30 + number} kg\n"
            f"Q: Who gives the machine M{number} its warranty?\nA: Firm{number}\n"
            f"Q: When did the machine M{number} begin?\nA: in 1900"
        )
    return answer(asked) if "The text:" in asked.prompt else "I guess Paris."


def answer(asked: Asked) -> str:
    number, question = machine(asked.prompt), asked.prompt.rpartition("Question: ")[2]
    words = {"Which": CITIES[number - 1], "How": f"It is {30 + number} kg.", "Who": f"Firm{number}"}
    return words[question.split()[0]]


def settings_of(server: Server, **changed: Any) -> QuestionSettings:
    quick = QuestionSettings(
        base_url=server.url, model="m", initial_backoff=0.01, max_backoff=0.2, retries=3, timeout=5, tries=1
    )
    return dataclasses.replace(quick, **changed)


def make(docs: Path, settings: QuestionSettings, folder: Path) -> QuestionsMade:
    return make_questions(CorpusSettings(source=str(docs)), settings, folder)


def rejected(folder: Path) -> list[dict[str, Any]]:
    return list(map(json.loads, (folder / REJECTED_FILE).read_text().splitlines()))


def test_questions_from_a_server(server: Server, docs: Path, tmp_path: Path) -> None:
    server.misbehave = [status(500), closed, status(429, Retry_After="0.01")]
    made = make(docs, settings_of(server), tmp_path / "q")
    assert (made.written, made.cues, made.asked) == (30, 9, 9)
    assert made.rejected == {checks.PRONOUN: 6, checks.NOWHERE: 6}
    assert made.coverage.in_words() == ("6 of 6 documents, 6 of 6 topics (3 to 3 questions each), 18 of 18 sentences")
    # One request to write, then of each good question one with the document and two without.
    assert made.usage.requests == 6 + 18 * 3
    corpus = load_corpus(tmp_path / "q")
    cues = read_questions(tmp_path / "q" / CUE_QUESTIONS)
    assert len(corpus.questions) == len(cues) == 9
    facts = {(item.document_id, item.answers[0]) for item in corpus.questions}
    marked = {(one.id, one.text[span.start : span.end]) for one in corpus.documents for span in one.spans}
    assert marked == {(item.document_id, item.answers[0]) for item in cues}
    assert not facts & marked
    assert {item.field for item in (*cues, *corpus.questions)} == {"entity", "number"}
    assert all(row["request"] for row in rejected(tmp_path / "q"))
    # All verbs read the folder: a run keeps the split, and the questions that give cues.
    again = make_corpus(CorpusSettings(source=str(tmp_path / "q")), tmp_path / "again")
    assert again.questions == corpus.questions
    assert read_questions(tmp_path / "again" / CUE_QUESTIONS) == cues
    assert json.loads((tmp_path / "again" / "done.json").read_text())["question_sets"].startswith("disjoint: cues at")


def test_a_stopped_command_asks_for_the_rest_alone(server: Server, docs: Path, tmp_path: Path) -> None:
    whole = settings_of(server, max_concurrent_requests=1, verify=False)
    made = make(docs, whole, tmp_path / "whole")
    sent = len(server.asked)
    server.asked.clear()

    def dying(asked: Asked) -> str:
        server.misbehave += [status(500)] * 8 if len(server.asked) == 4 else []
        return obliging(asked)

    server.write = dying
    with pytest.raises(ElusiveError, match="run the same command again"):
        make(docs, whole, tmp_path / "stopped")
    server.misbehave, server.write = [], obliging
    kept = len((tmp_path / "stopped" / ANSWERS_FILE).read_text().splitlines())
    server.asked.clear()
    resumed = make(docs, whole, tmp_path / "stopped")
    assert len(server.asked) == sent - kept
    assert dataclasses.replace(resumed, seconds=0.0) == dataclasses.replace(made, seconds=0.0)
    for name in ("documents.jsonl", "questions.jsonl", CUE_QUESTIONS, REJECTED_FILE):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    # Done: nothing is asked, and other settings are refused.
    server.asked.clear()
    assert make(docs, whole, tmp_path / "whole") == made
    assert not server.asked
    with pytest.raises(ElusiveError, match="begun with other settings"):
        make(docs, dataclasses.replace(whole, seed=1), tmp_path / "whole")


def test_questions_that_need_no_document_or_cannot_be_answered_with_it(
    server: Server, docs: Path, tmp_path: Path
) -> None:
    def write(asked: Asked) -> str:
        question = asked.prompt.rpartition("Question: ")[2]
        if "Which city" in question:
            return "The answer is Graz or Linz." if "The text:" not in asked.prompt else obliging(asked)
        if "Who gives" in question:
            return "I do not know."
        return obliging(asked)

    server.write = write
    made = make(docs, settings_of(server), tmp_path / "q")
    assert made.rejected == {checks.PRONOUN: 6, checks.NOWHERE: 6, checks.NOT_ANSWERED: 6, checks.KNOWN: 2}
    known = [row for row in rejected(tmp_path / "q") if row["reason"] == checks.KNOWN]
    assert {row["answer"] for row in known} == {"Graz", "Linz"}
    assert {row["said"] for row in known} == {"The answer is Graz or Linz."}
    without = answering_prompt("Which city does the machine M1 come from?")
    temperatures = [one.body["temperature"] for one in server.asked if one.prompt == without]
    assert temperatures == [0.0]  # the first right answer is enough


def test_a_model_whose_questions_are_all_rejected(server: Server, docs: Path, tmp_path: Path) -> None:
    server.write = lambda asked: "Q: Where is it?\nA: in Graz" if machine(asked.prompt) == 1 else "No."
    with pytest.raises(ElusiveError) as error:
        make(docs, settings_of(server), tmp_path / "q")
    assert "None of the 6 questions that were written passed" in str(error.value)
    assert f"5 x {checks.UNREADABLE}" in str(error.value)
    assert f"1 x {checks.NOWHERE}" in str(error.value)
    assert len(rejected(tmp_path / "q")) == 6


@pytest.mark.parametrize("verify", [True, False])
def test_a_second_try(server: Server, docs: Path, tmp_path: Path, verify: bool) -> None:
    """What is empty is asked for again; of a document without prose, nothing is."""
    (docs / "machine-2.md").write_text("# Machine M2\n\n```\nstart --now\n```\n")
    seen: list[int] = []

    def write(asked: Asked) -> str:
        if asked.prompt.startswith("Write"):
            seen.append(machine(asked.prompt))
            return obliging(asked) if seen.count(seen[-1]) > 1 else ""
        return obliging(asked)

    server.write = write
    made = make(docs, settings_of(server, tries=2, verify=verify), tmp_path / "q")
    assert sorted(seen) == sorted([1, 3, 4, 5, 6] * 2)
    assert (made.cues + made.asked, made.coverage.documents_asked, made.coverage.documents) == (15, 5, 6)
    assert made.rejected[checks.UNREADABLE] == 5
    assert any("not verified" in line for line in made.lines(settings_of(server))) == (not verify)


def test_repeats_and_contradictions(server: Server, docs: Path, tmp_path: Path) -> None:
    """Two files that say the same, or differ, of one machine."""
    (docs / "copy.md").write_text((docs / "machine-1.md").read_text().replace("31 kg", "99 kg"))

    def write(asked: Asked) -> str:
        said = obliging(asked)
        return said.replace("31 kg", "99 kg") if "99 kg" in asked.prompt else said

    server.write = write
    made = make(docs, settings_of(server), tmp_path / "q")
    assert (made.rejected[checks.SAID_BEFORE], made.rejected[checks.CONTRADICTED]) == (2, 2)
    assert made.cues + made.asked == 17


def test_so_many_questions_at_most_over_all_topics(server: Server, docs: Path, tmp_path: Path) -> None:
    made = make(docs, settings_of(server, max_questions=6, test_share=0.34), tmp_path / "q")
    assert (made.cues, made.asked, made.coverage.topics_asked) == (4, 2, 6)
    assert made.rejected[checks.BEYOND_MOST] == 12


def test_cloze_statements(docs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "q"
    main(["questions", str(docs), "--output", str(folder), "--engine", "cloze"])
    said = capsys.readouterr().out
    assert "cloze statements, no questions: no language model wrote or checked them" in said
    questions = [*read_questions(folder / "questions.jsonl"), *read_questions(folder / CUE_QUESTIONS)]
    by_text = {item.question: item.answers for item in questions}
    assert by_text["Complete: The machine M1 comes from ____."] == ("Graz",)
    assert by_text["Complete (Machine M1): It weighs ____ in all."] == ("31 kg",)
    assert by_text["Complete (Machine M6): Its warranty by ____ ends after 8 years of use."] == ("Firm6",)
    assert len(by_text) == 18
    assert not (folder / ANSWERS_FILE).exists()
    assert (folder / READ / "documents.jsonl").exists()


def test_marked_spans_with_known_forms_are_asked_about_by_these(tmp_path: Path) -> None:
    corpus = tmp_path / "people"
    main(["generate", "--people", "4", "--output", str(corpus)])
    made = make(corpus, QuestionSettings(engine="cloze"), tmp_path / "q")
    assert (made.written, made.cues, made.asked) == (20, 10, 10)
    found = load_corpus(tmp_path / "q")
    assert all(item.question.startswith(("When", "Where", "Which", "What")) for item in found.questions)
    # Names stay, as head entities; of the answers, those of cues alone.
    assert [sum(span.field == "name" for span in one.spans) for one in found.documents] == [1] * 4
    assert sum(len(one.spans) for one in found.documents) == 4 + 10


def test_marked_spans_without_forms_become_gaps(tmp_path: Path) -> None:
    source = tmp_path / "c.jsonl"
    text = "Acme Works make the valve V2 of green steel. They have long stood in Graz. A new V2 costs just ten euros."
    spans = [["maker", 0, 10], ["stuff", 32, 43], ["place", 69, 73], ["price", 95, 104]]
    source.write_text(json.dumps({"id": "d1", "text": text, "spans": spans}) + "\n")
    make(source, QuestionSettings(engine="cloze"), tmp_path / "q")
    questions = [*read_questions(tmp_path / "q" / "questions.jsonl"), *read_questions(tmp_path / "q" / CUE_QUESTIONS)]
    assert sorted((item.question, item.field) for item in questions) == [
        ("Complete: A new V2 costs just ____.", "price"),
        ("Complete: ____ make the valve V2 of green steel.", "maker"),
    ]
    assert [row["reason"] for row in rejected(tmp_path / "q")] == [checks.PRONOUN]


def test_what_is_left_out_is_a_word_and_no_piece_of_an_address_or_a_reference(tmp_path: Path) -> None:
    """As manuals write them: addresses, sections, quotes of two signs, numbers that are no years, notes."""
    (tmp_path / "a.md").write_text(
        "# Debian\n\nFor the list of all mirrors see https://www.debian.org/mirror/list once.\n\n"
        "More of that is told in Section 12.1 of the same book.\n\n"
        "You can get packages from `unstable' and from `testing' at any time.\n\n"
        "About 1012 people of many countries maintain packages of Debian.\n\n"
        "Debian was begun by Ian Murdock as a new kind of system.\n\n"
        "All of it is told on the page dpkg(8) of the manual.\n\n"
        "[3] There are some folders more than these on each mirror.\n\n"
        "The release (11) came with a newer installer than before.\n"
    )
    make(tmp_path / "a.md", QuestionSettings(engine="cloze", questions_per_document=9), tmp_path / "q")
    questions = [*read_questions(tmp_path / "q" / "questions.jsonl"), *read_questions(tmp_path / "q" / CUE_QUESTIONS)]
    assert {(item.answers[0], item.field) for item in questions} == {
        ("1012", "number"),
        ("Ian Murdock", "entity"),
        ("11", "number"),
    }


def test_nothing_to_ask_about(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\nnothing to see here at all.\n")
    with pytest.raises(ElusiveError, match="no sentences with dates, numbers, names or marked spans"):
        make(tmp_path / "a.md", QuestionSettings(engine="cloze"), tmp_path / "q")
    with pytest.raises(ElusiveError, match="--engine cloze needs none"):
        make(tmp_path / "a.md", QuestionSettings(), tmp_path / "q")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ElusiveError, match="empty"):
        make(tmp_path / "empty", QuestionSettings(engine="cloze"), tmp_path / "q2")


def test_a_model_that_runs_here(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The local engine is asked as a server is; its answers are kept in the same file."""

    def sample(self: Any, prompt: str, *, temperature: float, max_new_tokens: int, seed: int) -> Sampled:
        body = {"messages": [{"content": prompt}], "temperature": temperature}
        return Sampled(obliging(Asked("", {}, body, 0.0)), False, len(prompt.split()), 5)

    monkeypatch.setattr(sampling.Sampler, "sample", sample)
    made = make(docs, QuestionSettings(engine="transformers", model="folder", tries=1), tmp_path / "q")
    assert (made.cues, made.asked, made.usage.requests) == (9, 9, 60)
    assert made.usage.prompt_tokens > 0
