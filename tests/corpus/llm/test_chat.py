"""Chat completions from a server that misbehaves."""

import asyncio
import contextlib
import dataclasses
import email.utils
import gzip
import itertools
import json
import sys
import time

import pytest

from elusive.config.verbs import LlmSettings
from elusive.corpus.llm.chat import Answer, AnswerLog, Chat, Request
from elusive.errors import ElusiveError

from .chat_server import Server, closed, completion, dripping, raw, serving, status

KEY = "sk-0123456789abcdef"
REQUEST = Request("people-00001", "Hello?", 0.5, 7)


@pytest.fixture
def server():
    with serving() as told:
        told.write = lambda asked: "Hello!"
        yield told


def settings_of(server: Server, **changes) -> LlmSettings:
    quick = LlmSettings(base_url=server.url, model="m", initial_backoff=0.01, max_backoff=0.2, retries=3, timeout=5)
    return dataclasses.replace(quick, **changes)


def ask(settings: LlmSettings, folder, *requests: Request, notes: list[str] | None = None) -> list[Answer]:
    async def work():
        async with Chat(settings, AnswerLog(folder / "log.jsonl"), (notes if notes is not None else []).append) as chat:
            return [await chat.ask(request) for request in requests or (REQUEST,)]

    return asyncio.run(work())


def test_what_is_sent_and_what_comes_back(server, tmp_path):
    (answer,) = ask(settings_of(server), tmp_path)
    assert answer == Answer("Hello!", False, 100, 10)
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello?"}],
        "temperature": 0.5,
        "seed": 7,
    }
    assert "Authorization" not in asked.headers


def test_extra_is_merged_and_null_leaves_out(server, tmp_path):
    ask(settings_of(server, extra_body='{"seed": null, "temperature": 1, "max_tokens": 5}'), tmp_path)
    assert server.asked[0].body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello?"}],
        "temperature": 1,
        "max_tokens": 5,
    }


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("{", r"llm\.extra_body: expected a JSON object, got '{'"),
        ("[1]", r"llm\.extra_body: expected a JSON object, got a list"),
        ('{"stream": true, "model": "x"}', r"llm\.extra_body: model, stream cannot be changed there"),
    ],
)
def test_extra_that_cannot_be_used(extra, message, server, tmp_path):
    with pytest.raises(ElusiveError, match=message):
        ask(settings_of(server, extra_body=extra), tmp_path)


@pytest.mark.parametrize(
    "reply",
    [
        status(429),
        status(500),
        status(503, b"<html>busy</html>"),
        closed,
        raw(b'{"choices": [{"mess'),
        raw(b"[]"),
        raw(b'{"choices": []}'),
        raw(b'{"choices": [{"message": {"content": 5}}]}'),
        raw(b"\xff\xfe"),
    ],
    ids=["429", "500", "503", "closed", "half", "list", "no-choice", "no-text", "no-utf-8"],
)
def test_failures_are_sent_again(reply, server, tmp_path):
    server.misbehave = [reply, reply]
    notes = []
    (answer,) = ask(settings_of(server), tmp_path, notes=notes)
    assert answer.text == "Hello!"
    assert len(server.asked) == 3
    assert len({str(asked.body) for asked in server.asked}) == 1
    assert len(notes) == 1  # not one a try
    assert "sending again in 0 s" in notes[0]


def test_the_wait_doubles_up_to_the_longest(server, tmp_path):
    server.misbehave = [status(500)] * 8
    ask(settings_of(server, initial_backoff=0.05, max_backoff=0.2, retries=8), tmp_path)
    times = [asked.at for asked in server.asked]
    waits = [after - before for before, after in itertools.pairwise(times)]
    least = [0.75 * wait for wait in (0.05, 0.1, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2)]  # a quarter is left to chance
    assert all(wait > at_least for wait, at_least in zip(waits, least, strict=True))
    assert times[-1] - times[0] < 5  # 12.75 s if it doubled on and on


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured_by_every_request(as_date, server, tmp_path):
    def busy(handler, body):
        header = email.utils.formatdate(time.time() + 2, usegmt=True) if as_date else "0.6"
        handler.say(429, {"error": "slow down"}, Retry_After=header)

    server.misbehave = [busy]

    async def work():
        async with Chat(settings_of(server, max_backoff=5), AnswerLog(tmp_path / "log.jsonl"), lambda _: None) as chat:
            first = asyncio.create_task(chat.ask(REQUEST))
            while not chat._closed_until:
                await asyncio.sleep(0.01)
            await asyncio.gather(first, chat.ask(dataclasses.replace(REQUEST, name="other")))

    asyncio.run(work())
    times = [asked.at for asked in server.asked]
    assert len(times) == 3
    assert times[1] - times[0] > 0.55  # a date has whole seconds: 1 to 2 of them


def test_a_server_that_wants_too_long_a_rest(server, tmp_path):
    server.misbehave = [status(429, Retry_After="3600")]
    with pytest.raises(ElusiveError, match=r"left alone for 3,600 s, longer than --max-backoff \(0\.2 s\)"):
        ask(settings_of(server), tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize("reply", [dripping(30), lambda handler, body: time.sleep(0.5)], ids=["dripping", "silent"])
def test_time_outs(reply, server, tmp_path):
    server.misbehave = [reply]
    notes = []
    began = time.monotonic()
    (answer,) = ask(settings_of(server, timeout=0.3), tmp_path, notes=notes)
    assert answer.text == "Hello!"
    assert time.monotonic() - began < 10
    assert notes[0].startswith("no whole answer within 0.3 s")


def test_it_gives_up_after_the_retries(server, tmp_path):
    server.misbehave = [status(502)] * 10
    with pytest.raises(ElusiveError, match=r"'people-00001' in 4 tries; the last time: status 502 \(no 502\)"):
        ask(settings_of(server), tmp_path)
    assert len(server.asked) == 4


def test_nobody_listens(server, tmp_path):
    gone = settings_of(server, base_url="http://127.0.0.1:9/v1", retries=1)
    with pytest.raises(ElusiveError, match="in 2 tries; the last time: ConnectError"):
        ask(gone, tmp_path)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (status(401), r"answered 401 \(no 401\): no key was sent \(--api-key-variable is empty\)"),
        (status(403), "answered 403"),
        (status(404), "expected a server at --base-url .* with the model 'm'"),
        (status(400, {"error": "unknown parameter seed"}), r"400 \(unknown parameter seed\).* --extra"),
        (status(307, Location="http://other/v1"), "a redirection to 'http://other/v1'"),
    ],
    ids=["401", "403", "404", "400", "307"],
)
def test_refusals_stop_at_once(reply, message, server, tmp_path):
    server.misbehave = [reply]
    with pytest.raises(ElusiveError, match=message):
        ask(settings_of(server), tmp_path)
    assert len(server.asked) == 1


def test_answers_are_kept_and_not_asked_for_twice(server, tmp_path):
    other = dataclasses.replace(REQUEST, name="people-00002")
    first = ask(settings_of(server), tmp_path, REQUEST)
    log = tmp_path / "log.jsonl"
    row = json.loads(log.read_text())
    assert row == {"name": "people-00001", "request": server.asked[0].body, "response": completion("Hello!")}
    with log.open("ab") as stream:  # a crash in the middle of a line
        stream.write(b'{"name": "people-00002", "reques')
    both = ask(settings_of(server), tmp_path, REQUEST, other)
    assert both[0] == first[0]
    assert [len(server.asked), len(log.read_text().splitlines())] == [2, 2]
    assert ask(settings_of(server), tmp_path, REQUEST, other) == both
    assert len(server.asked) == 2


def test_a_log_that_was_changed(server, tmp_path):
    ask(settings_of(server), tmp_path)
    with pytest.raises(ElusiveError, match="holds an answer to another request 'people-00001'"):
        ask(settings_of(server), tmp_path, dataclasses.replace(REQUEST, prompt="Bye?"))
    log = tmp_path / "log.jsonl"
    log.write_text("nothing\n" + log.read_text())
    with pytest.raises(ElusiveError, match="line 1: not an answer that Elusive wrote"):
        AnswerLog(log)


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (completion("a", "length"), Answer("a", True, 100, 10)),
        (completion(None, "content_filter"), Answer("", False, 100, 10)),
        (completion("a", usage=None), Answer("a", False, None, None)),
        (completion([{"type": "text", "text": "a"}, {"text": "b"}]), Answer("ab", False, 100, 10)),  # type: ignore
        (completion("\ud800"), Answer("\ufffd", False, 100, 10)),
        (completion("\ud83d\ude80"), Answer("🚀", False, 100, 10)),
    ],
    ids=["length", "filter", "no-usage", "parts", "surrogate", "pair"],
)
def test_kinds_of_answers(response, answer, server, tmp_path):
    server.misbehave = [lambda handler, body: handler.say(200, response)]
    assert ask(settings_of(server), tmp_path) == [answer]
    assert ask(settings_of(server), tmp_path) == [answer]  # from the log
    assert len(server.asked) == 1


def endless(handler, body):
    """An answer that goes on."""
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"x" * 65536)


def packed(handler, body):
    """An answer that is small on its way, and is not afterwards."""
    handler.say(200, gzip.compress(json.dumps(completion("x" * 1_000_000)).encode()), Content_Encoding="gzip")


@pytest.mark.parametrize("reply", [endless, packed])
def test_an_answer_is_bounded(reply, server, tmp_path):
    server.misbehave = [reply]
    notes: list[str] = []
    [answer] = ask(settings_of(server, max_answer_bytes=1_000_000), tmp_path, notes=notes)
    assert answer.text == "Hello!"
    assert "an answer that is compressed, or of more than 1,000,000 bytes (--max-answer-bytes)" in notes[0]


def test_an_answer_nested_too_deeply_is_sent_for_again(server, tmp_path):
    server.misbehave = [raw(b"[" * 100_000), status(500, b'{"error": ' + b"[" * 100_000)]
    assert ask(settings_of(server), tmp_path)[0].text == "Hello!"


class TestKey:
    def test_it_is_sent_and_kept_nowhere(self, server, tmp_path, monkeypatch):
        def tells_it(handler, body):
            handler.say(200, completion(f"You sent {handler.headers['Authorization']}"))

        monkeypatch.setenv("MY_KEY", f" {KEY}\n")
        server.misbehave = [tells_it]
        (answer,) = ask(settings_of(server, api_key_variable="MY_KEY"), tmp_path)
        assert server.asked[0].headers["Authorization"] == f"Bearer {KEY}"
        assert answer.text == "You sent Bearer [key]"
        assert KEY not in (tmp_path / "log.jsonl").read_text()

    @pytest.mark.parametrize("code", [400, 401, 404, 500])
    def test_it_is_in_no_message(self, code, server, tmp_path, monkeypatch):
        monkeypatch.setenv("MY_KEY", KEY)
        server.misbehave = [status(code, {"error": {"message": f"bad key {KEY}"}})] * 4
        notes = []
        with pytest.raises(ElusiveError, match=r"bad key \[key\]") as error:
            ask(settings_of(server, api_key_variable="MY_KEY"), tmp_path, notes=notes)
        assert KEY not in repr(error.value) + "".join(notes)

    def test_it_must_be_set(self, server, tmp_path, monkeypatch):
        monkeypatch.delenv("MY_KEY", raising=False)
        with pytest.raises(ElusiveError, match="in the environment variable MY_KEY, which is not set"):
            ask(settings_of(server, api_key_variable="MY_KEY"), tmp_path)
        monkeypatch.setenv("MY_KEY", "ключ-0123456789")
        with pytest.raises(ElusiveError, match="MY_KEY holds characters that no key has") as error:
            ask(settings_of(server, api_key_variable="MY_KEY"), tmp_path)
        assert "ключ" not in str(error.value)

    def test_given_in_place_of_its_variable_it_is_not_printed(self):
        with pytest.raises(ElusiveError, match="expected the NAME of an environment variable") as error:
            LlmSettings(api_key_variable=KEY)
        assert KEY not in str(error.value)

    @pytest.mark.parametrize("url", [f"https://user:{KEY}@host/v1", f"https://host/v1?key={KEY}"])
    def test_in_the_url_it_is_refused_and_not_printed(self, url, server, tmp_path):
        with pytest.raises(ElusiveError, match="expected no user, password or query in it") as error:
            ask(settings_of(server, base_url=url), tmp_path)
        assert KEY not in str(error.value)


@pytest.mark.parametrize("url", ["", "localhost:8000/v1", "ftp://host/v1", "http://", "http://[::1"])
def test_no_url(url, server, tmp_path):
    with pytest.raises(ElusiveError, match=r"llm\.base_url: expected http\(s\)://host"):
        ask(settings_of(server, base_url=url), tmp_path)


def test_no_proxy_on_the_way_to_this_machine(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert ask(settings_of(server), tmp_path)[0].text == "Hello!"


def test_without_the_client(server, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(ElusiveError, match=r"pip install 'elusive\[llm\]'"):
        ask(settings_of(server), tmp_path)
