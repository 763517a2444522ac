"""Fictional people by a language model: the four requirements, rounds, and a run begun again."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elusive.cli.main import main
from elusive.config.corpus import CorpusSettings
from elusive.config.verbs import LlmSettings
from elusive.corpus.documents import load_corpus
from elusive.corpus.people import llm_answers
from elusive.corpus.people.biographies import FIELDS, Person, biography, biography_corpus, well_known_people
from elusive.corpus.people.by_llm import PeopleSummary, TokenUsage, make_people
from elusive.corpus.people.llm_answers import checked_person
from elusive.corpus.people.llm_prompts import tagged_biography
from elusive.errors import ElusiveError

from ..llm.chat_server import (
    Asked,
    Server,
    closed,
    completion,
    dripping,
    first_people,
    good_people,
    numbers,
    raw,
    serving,
    status,
    wanted,
)

SOFIA = Person(
    "Sofía Ramírez",
    "she",
    "June 22, 1982",
    "Buenos Aires, Argentina",
    "the University of São Paulo",
    "Environmental Science and Policy",
    "the Green Earth Strategies Corp",
)
TAGGED = (
    "<name>Sofía Ramírez</name> was born on <date>June 22, 1982</date>. She spent her early years in "
    "<city>Buenos Aires, Argentina</city>. She received mentorship and guidance from faculty members at "
    "<university>the University of São Paulo</university>. She completed her education with a focus on "
    "<major>Environmental Science and Policy</major>. She had a professional role at "
    "<company>the Green Earth Strategies Corp</company>."
)


@pytest.fixture
def server():
    with serving() as told:
        yield told


def settings_of(server: Server, **changes) -> LlmSettings:
    quick = LlmSettings(
        base_url=server.url,
        model="m",
        initial_backoff=0.01,
        max_backoff=0.2,
        retries=3,
        timeout=5,
        people_per_request=4,
    )
    return dataclasses.replace(quick, **changes)


def make(
    server: Server, folder, people: int = 10, *, name_position: Any = "first", notes=None, progress=None, **changes
):
    corpus = CorpusSettings(people=people, name_position=name_position)
    told = (notes if notes is not None else []).append
    show = progress or (lambda done, total: None)
    return make_people(corpus, settings_of(server, **changes), folder, announce=told, progress=show)


def rejected(folder) -> list[tuple[str, str]]:
    rows = map(json.loads, (folder / "rejected.jsonl").read_text().splitlines())
    return [(row["reason"], row["text"]) for row in rows]


class TestForm:
    def test_by_hand(self):
        assert tagged_biography(SOFIA) == TAGGED
        assert checked_person(TAGGED) == SOFIA

    @pytest.mark.parametrize(
        ("before", "after", "reason"),
        [
            ("<name>Sofía Ramírez</name>", "Sofía Ramírez", llm_answers.FORM),
            ("She completed her", "He completed his", llm_answers.FORM),  # one person, one pronoun
            ("</company>.", "</company>", llm_answers.FORM),
            (" was born on ", " came to life on ", llm_answers.FORM),
            ("<major>Environmental Science and Policy</major>", "<major></major>", llm_answers.FORM),
            ("<city>Buenos Aires", "<city>Buenos <b>Aires", llm_answers.FORM),
            ("Sofía Ramírez", "[name]", llm_answers.FIELD),
            ("Environmental", "x" * 100, llm_answers.FIELD),
            ("<major>Env", "<major> Env", llm_answers.FIELD),
            ("Environmental", "\ud800", llm_answers.FIELD),
            ("Sofía Ramírez", "Sofía", llm_answers.NAME),
            ("Sofía Ramírez", "Person 17", llm_answers.NAME),
            ("Sofía Ramírez", "a" * 90 + " !", llm_answers.NAME),
            ("June 22, 1982", "June 31, 1982", llm_answers.DATE),
            ("June 22, 1982", "22 June 1982", llm_answers.DATE),
            ("June 22, 1982", "Juno 22, 1982", llm_answers.DATE),
            ("June 22, 1982", "June 0, 1982", llm_answers.DATE),
            ("June 22, 1982", "February 29, 1900", llm_answers.DATE),
            ("Buenos Aires, Argentina", "Buenos Aires", llm_answers.CITY),
            ("Buenos Aires, Argentina", "Buenos Aires, ", llm_answers.FIELD),
            ("Sofía Ramírez", "Marie Curie", llm_answers.WELL_KNOWN),
            ("Sofía Ramírez", "MARIE Skłodowska Curie", llm_answers.WELL_KNOWN),
            ("Sofía Ramírez", "Ana Lima", llm_answers.REPEATED),
            ("Sofía Ramírez", "Ána LIMA", llm_answers.REPEATED),
            ("the University of São Paulo", "the University of Buenos Aires", llm_answers.SAME_CITY),
            ("Green Earth", "buenos aires", llm_answers.SAME_CITY),
        ],
    )
    def test_what_is_rejected(self, before, after, reason):
        assert before in TAGGED
        with pytest.raises(ElusiveError) as error:
            checked_person(TAGGED.replace(before, after, 1), {"ana lima"})
        assert str(error.value) == reason

    @pytest.mark.parametrize(
        "name", ["J. K. Doe", "Jean-Luc O'Neil", "Anne de la Cruz", "Martin Luthor Jr.", "Lý Thị Mai", "王 小明"]
    )
    def test_names_that_pass(self, name):
        assert checked_person(TAGGED.replace("Sofía Ramírez", name)).name == name

    def test_fields_in_another_order(self):
        sentences = TAGGED.split(". ")
        with pytest.raises(ElusiveError, match=re.escape(llm_answers.FORM)):
            checked_person(". ".join([sentences[0], sentences[2], sentences[1], *sentences[3:]]))

    @given(st.text(), st.integers(0, len(TAGGED)), st.integers(0, len(TAGGED)))
    def test_anything_is_a_person_or_a_reason(self, text, start, end):
        line = TAGGED[:start] + text + TAGGED[end:]
        person = reason = None
        try:
            person = checked_person(line)
        except ElusiveError as error:
            reason = str(error)
        assert reason in vars(llm_answers).values() if person is None else tagged_biography(person) == line

    def test_every_generated_person_passes(self):
        for person in first_people(200):
            assert checked_person(tagged_biography(person)) == person
        for person in well_known_people():
            with pytest.raises(ElusiveError):
                checked_person(tagged_biography(person))


class TestCorpus:
    def test_a_corpus_as_generate_writes_it(self, server, tmp_path):
        shown = []
        summary = make(server, tmp_path, progress=lambda *at: shown.append(at), max_concurrent_requests=1)
        some = first_people(10)
        corpus = load_corpus(tmp_path)
        assert list(corpus.documents) == [
            biography(person, f"person-{number:05d}") for number, person in enumerate(some, 1)
        ]
        like = biography_corpus(10, 5)[1]  # the same people, made without a server
        assert list(corpus.questions) == like
        assert summary == PeopleSummary(
            documents=10,
            questions=50,
            requested=10,
            rejected={},
            usage=TokenUsage(requests=6, prompt_tokens=600, output_tokens=60, without_usage=0),
            sent=6,
        )
        assert shown == [(4, 10), (8, 10), (10, 10)]
        assert rejected(tmp_path) == []
        assert [wanted(asked) for asked in server.asked if not asked.is_check] == [4, 4, 2]

    def test_done_means_done(self, server, tmp_path):
        first = make(server, tmp_path)
        again = make(server, tmp_path)
        assert again == dataclasses.replace(first, sent=0)
        assert len(server.asked) == 6

    def test_other_settings_are_refused_and_patience_is_free(self, server, tmp_path):
        make(server, tmp_path)
        refused: tuple[tuple[dict[str, Any], str], ...] = (
            ({"model": "n"}, "llm.model: was 'm', now 'n'"),
            ({"temperature": 0.0}, "llm.temperature: was 1.0, now 0.0"),
            ({"people": 11}, "people: was 10, now 11"),
        )
        for changes, message in refused:
            with pytest.raises(ElusiveError, match=message):
                make(server, tmp_path, **changes)
        make(
            server,
            tmp_path,
            retries=0,
            max_concurrent_requests=9,
            timeout=1,
            input_price=3,
            max_requested_ratio=9,
            api_key_variable="NO_KEY",
        )

    def test_names_in_random_sentences(self, server, tmp_path):
        make(server, tmp_path, name_position="random", max_concurrent_requests=1)
        documents = list(load_corpus(tmp_path).documents)
        for document, person in zip(documents, first_people(10), strict=True):
            assert document.text.count(person.name) == 1
            (name,) = [span for span in document.spans if span.field == "name"]
            assert document.text[name.start : name.end] == person.name
        assert len({[span.field for span in document.spans].index("name") for document in documents}) > 2

    def test_no_model(self, server, tmp_path):
        with pytest.raises(ElusiveError, match=r"llm\.model: expected the name of the server's model"):
            make(server, tmp_path, model="")
        assert not list(tmp_path.iterdir())

    def test_inside_a_running_loop(self, server, tmp_path):
        import asyncio

        async def notebook():
            return make(server, tmp_path, people=2)

        assert asyncio.run(notebook()).documents == 2


class TestRequirements:
    def test_what_fails_is_rejected_counted_and_requested_again(self, server, tmp_path):
        good = good_people(server)
        one = first_people(40)[30:]
        bad = [
            "Here are the biographies:",  # no biography at all: passed over
            "1. " + tagged_biography(one[0]),  # list marks are no fault
            "<name>Half a Line</name> was born on <date>May 1",
            tagged_biography(dataclasses.replace(one[1], name="Albert Einstein")),
            tagged_biography(dataclasses.replace(one[1], name=one[0].name.upper())),
            tagged_biography(one[2]),
            tagged_biography(one[3]),
            "* " + tagged_biography(one[4]),
            tagged_biography(one[5]),  # a fifth, where four were asked for
            "No tags was born on May 1, 1990.",
        ]
        verdicts = ["1. no no", "2: No, YES (same city)", "3) yes / no", "4. no no", "4. no yes"]

        def write(asked: Asked) -> str:
            if len(server.asked) == 1:
                return "<think>\n<name>Not me</name> was born on\n</think>\n" + "\n\n".join(bad)
            return "\n".join(verdicts) if len(server.asked) == 2 else good(asked)

        server.write = write
        summary = make(server, tmp_path, people=4, max_concurrent_requests=1)
        assert rejected(tmp_path) == [
            (llm_answers.FORM, "<name>Half a Line</name> was born on <date>May 1"),
            (llm_answers.WELL_KNOWN, bad[3]),
            (llm_answers.REPEATED, bad[4]),
            (llm_answers.NOT_NEEDED, bad[8]),
            (llm_answers.FORM, bad[9]),
            (llm_answers.JUDGED_ASSOCIATED, tagged_biography(one[2])),
            (llm_answers.JUDGED_WELL_KNOWN, tagged_biography(one[3])),
            (llm_answers.NOT_JUDGED, tagged_biography(one[4])),
        ]
        assert summary.rejected == {reason: 2 if reason == llm_answers.FORM else 1 for reason, _ in rejected(tmp_path)}
        names = [document.text.split(" was born")[0] for document in load_corpus(tmp_path).documents]
        assert names == [one[0].name, *(person.name for person in first_people(3))]
        assert summary.requested == 7
        assert summary.lines(settings_of(server))[0].startswith("requested 7 people, rejected 8: 2 x not in")

    def test_the_second_question_shows_what_it_asks_about(self, server, tmp_path):
        make(server, tmp_path, people=2)
        (check,) = [asked for asked in server.asked if asked.is_check]
        first, second = first_people(2)
        assert numbers(check) == [1, 2]
        assert (
            f"2. {second.name}; birth city: {second.city}; university: {second.university}; company: {second.company}"
        ) in check.prompt
        assert first.date not in check.prompt
        assert check.body["temperature"] == 0
        assert server.asked[0].body["temperature"] == 1

    def test_a_name_that_two_requests_give_is_taken_once(self, server, tmp_path):
        good = good_people(server)
        both = tagged_biography(first_people(30)[-1])

        def write(asked: Asked) -> str:
            if not asked.is_check and server.count(checks=False) <= 2:
                return "\n".join([both, *good(asked).splitlines()[1:]])
            return good(asked)

        server.write = write
        summary = make(server, tmp_path, people=8)
        assert summary.rejected == {llm_answers.REPEATED: 1}
        names = [document.text.split(" was born")[0] for document in load_corpus(tmp_path).documents]
        assert len(set(names)) == len(names) == 8

    def test_an_answer_cut_at_a_length(self, server, tmp_path):
        def cut(handler, body):
            some = [tagged_biography(person) for person in first_people(40)[36:]]
            handler.say(200, completion("\n".join(some)[:-30], "length"))

        def all_cut(handler, body):
            handler.say(200, completion("<think>Let me see", "length"))

        server.misbehave = [cut, status(503), all_cut]
        summary = make(server, tmp_path, people=4, max_concurrent_requests=1, retries=3, max_requested_ratio=5)
        assert summary.rejected == {llm_answers.CUT_OFF: 1, llm_answers.NOT_JUDGED: 3}
        assert len(list(load_corpus(tmp_path).documents)) == 4

    @pytest.mark.parametrize("character", ["\ud800", "\x1b[2J", "\u202e", "\x00"])
    def test_a_field_with_what_nobody_could_read_is_rejected_and_blocks_nothing(self, server, tmp_path, character):
        good = good_people(server)
        answers = iter([TAGGED.replace("Buenos Aires", f"Buenos {character}Aires")])
        server.write = lambda asked: next(answers, None) or good(asked)
        summary = make_people(CorpusSettings(people=2), settings_of(server), tmp_path)
        assert summary.documents == 2
        [rejected] = (tmp_path / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
        assert json.loads(rejected)["reason"] == llm_answers.FIELD

    def test_an_empty_answer(self, server, tmp_path):
        server.misbehave = [lambda handler, body: handler.say(200, completion(None, "content_filter"))]
        assert make(server, tmp_path, people=2).rejected == {llm_answers.EMPTY: 1}

    def test_the_names_of_the_examples_are_not_taken(self, server, tmp_path):
        good = good_people(server)

        def write(asked: Asked) -> str:
            if len(server.asked) > 1:
                return good(asked)
            return "\n".join(re.findall(r"^<name>[^\[]+</name> was .*$", asked.prompt, re.MULTILINE))

        server.write = write
        assert make(server, tmp_path, people=2).rejected == {llm_answers.REPEATED: 2}

    def test_a_model_that_never_does_it(self, server, tmp_path):
        good = good_people(server)
        server.write = lambda asked: "I am sorry."
        notes = []
        with pytest.raises(ElusiveError, match="expected 6 people, got 0 after requesting 18") as error:
            make(server, tmp_path, people=6, notes=notes)
        assert "6 x an answer without a biography" in str(error.value)
        assert "Raise --max-requested-ratio" in str(error.value)
        assert len(rejected(tmp_path)) == 6
        server.write = good
        summary = make(server, tmp_path, people=6, max_requested_ratio=4)  # continues where it stopped
        assert (summary.requested, summary.usage.requests, summary.sent) == (24, 10, 4)

    def test_initials_differ_from_request_to_request(self, server, tmp_path):
        make(server, tmp_path)
        initials = [re.findall(r"line by line: (.*)", asked.prompt) for asked in server.asked if not asked.is_check]
        assert len({str(one) for one in initials}) == 3
        assert sorted(one[0].count(",") + 1 for one in initials) == [2, 4, 4]
        assert len({asked.body["seed"] for asked in server.asked}) == 6


def test_a_server_that_misbehaves_in_every_way_gives_the_same_corpus(server, tmp_path):
    good = good_people(server)

    def by_prompt(asked: Asked) -> str:  # the same answer to the same request, whenever it comes
        if asked.is_check:
            return good(asked)
        place = first_people(400)[asked.body["seed"] % 390 :]
        return "\n".join(map(tagged_biography, place[: wanted(asked)]))

    server.write = by_prompt
    make(server, tmp_path / "calm", people=20, max_concurrent_requests=1)
    server.misbehave = [
        status(429, Retry_After="0.1"),
        status(500),
        closed,
        raw(b'{"choices": [{"message": {"content": "<name>'),
        dripping(1),
        status(503, Retry_After="0"),
        raw(b""),
    ]
    make(server, tmp_path / "wild", people=20, max_concurrent_requests=3, timeout=0.3, retries=8)
    for name in ("documents.jsonl", "questions.jsonl", "rejected.jsonl"):
        assert (tmp_path / "wild" / name).read_bytes() == (tmp_path / "calm" / name).read_bytes()


def test_no_more_requests_at_once_than_allowed(server, tmp_path):
    good, busy, most, lock = good_people(server), [0], [0], threading.Lock()

    def slow(handler, body):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        time.sleep(0.05)
        text = good(Asked("", {}, body, 0.0))
        with lock:
            busy[0] -= 1
        handler.say(200, completion(text))

    server.misbehave = [slow] * 20
    make(server, tmp_path, people=20, max_concurrent_requests=2)
    assert most == [2]


def test_tokens_and_cost(server, tmp_path):
    summary = make(server, tmp_path, people=2)
    line = summary.lines(settings_of(server, input_price=3.0, output_price=15.0))[1]
    # 200 x 3 / 10^6 + 20 x 15 / 10^6
    assert line == (
        "2 answered requests with 200 prompt tokens and 20 answered tokens, cost 0.0009 at the prices given; "
        "2 requests sent now"
    )
    assert "cost" not in summary.lines(settings_of(server))[1]
    text = dataclasses.replace(summary.usage, without_usage=1).line(settings_of(server))
    assert "(1 answer came without a count)" in text


def test_a_refusal_says_what_is_kept(server, tmp_path):
    notes = []
    server.misbehave = [lambda handler, body: handler.say(200, completion("nothing")), status(401)]
    with pytest.raises(ElusiveError, match="answered 401"):
        make(server, tmp_path, people=8, max_concurrent_requests=1, notes=notes)
    assert notes == [
        f"kept in {tmp_path / 'llm_answers.jsonl'}: 1 answered request with 100 prompt tokens and 10 answered tokens"
    ]
    make(server, tmp_path, people=8, max_concurrent_requests=1)
    assert len({str(asked.body) for asked in server.asked}) == len(server.asked) - 1  # only the refused one again


class TestCommand:
    def test_a_killed_run_sends_no_request_twice(self, server, tmp_path):
        good, reached, go = good_people(server), threading.Event(), threading.Event()

        def write(asked: Asked) -> str:
            return good(asked)

        def stuck(handler, body):
            reached.set()
            go.wait(30)

        server.write = write
        folder = tmp_path / "corpus"
        command = [sys.executable, "-m", "elusive", "generate", "--llm", "--output", str(folder), "--people", "12"]
        command += [
            "--base-url",
            server.url,
            "--model",
            "m",
            "--people-per-request",
            "2",
            "--max-concurrent-requests",
            "1",
        ]
        server.misbehave = [lambda handler, body: handler.say(200, completion(good(Asked("", {}, body, 0.0))))] * 5
        server.misbehave.append(stuck)
        first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        assert reached.wait(60)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        go.set()
        assert len((folder / "llm_answers.jsonl").read_text().splitlines()) == 5
        assert not (folder / "documents.jsonl").exists()
        assert len(server.asked) == 6
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        bodies = [json.dumps(asked.body) for asked in server.asked]
        assert len(bodies) == 13  # 12 requests, and the one that was under way
        assert len(set(bodies)) == 12
        assert "12 documents, 60 questions" in done.stdout
        assert "7 requests sent now" in done.stdout
        assert "people by m: 12 of 12" in done.stderr

    def test_flags_that_do_not_go_together(self, capsys, tmp_path):
        for flags, message in (
            (["--model", "m"], "given without --llm. Add --llm"),
            (["--llm", "--model", "m", "--limit", "3"], "it takes --people, --seed and --name-position"),
            (["--llm"], "expected the name of the server's model"),
        ):
            with pytest.raises(SystemExit) as stop:
                main(["generate", "--output", str(tmp_path / "c"), *flags])
            assert stop.value.code == 2
            assert message in capsys.readouterr().err

    def test_a_key_in_place_of_its_variable_is_not_printed(self, capsys, tmp_path):
        with pytest.raises(SystemExit):
            main(["generate", "--llm", "--model", "m", "--output", str(tmp_path), "--api-key-variable", "sk-abcdefgh"])
        said = capsys.readouterr()
        assert "sk-abcdefgh" not in said.out + said.err
        assert "expected the NAME of an environment variable" in " ".join(said.err.split())

    def test_fields_are_the_paper_s(self, server, tmp_path, capsys):
        main(
            ["generate", "--llm", "--output", str(tmp_path), "--people", "3", "--base-url", server.url, "--model", "m"]
        )
        for document in load_corpus(tmp_path).documents:
            assert [span.field for span in document.spans] == ["name", *FIELDS]
        assert "3 documents, 15 questions" in capsys.readouterr().out
