"""A local OpenAI-compatible server that misbehaves as it is told to."""

import contextlib
import http.server
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from elusive.corpus.people.biographies import Person, people
from elusive.corpus.people.llm_prompts import tagged_biography

Reply = Callable[["Handler", dict[str, Any]], None]


@dataclass
class Asked:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float

    @property
    def prompt(self) -> str:
        return self.body["messages"][0]["content"]

    @property
    def is_check(self) -> bool:
        return "answer two questions" in self.prompt


@dataclass
class Server:
    """What the test tells it, and what it was asked.

    Attributes:
        url: base URL.
        misbehave: replies of the first requests, in order; afterwards it behaves.
        asked: all requests.
        write: the text that answers a request; by default new good people, and "no no" for each in a check.
    """

    url: str = ""
    misbehave: list[Reply] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    write: Callable[[Asked], str] = lambda asked: ""

    def count(self, *, checks: bool) -> int:
        return sum(one.is_check == checks for one in self.asked)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # who asked was killed
            super().handle()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told: Server = self.server.told
        with self.server.lock:
            told.asked.append(Asked(self.path, dict(self.headers), body, time.monotonic()))
            asked = told.asked[-1]
            reply = told.misbehave.pop(0) if told.misbehave else None
            text = "" if reply else told.write(asked)
        if reply:
            reply(self, body)
        else:
            self.say(200, completion(text))

    def say(self, status: int, value: Any, **headers: str) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, header in headers.items():
            self.send_header(name.replace("_", "-"), header)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def completion(text: str | None, finish_reason: str = "stop", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    return {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 10}} | more


def status(code: int, value: Any = None, **headers: str) -> Reply:
    """An error answer."""
    return lambda handler, body: handler.say(code, value or {"error": {"message": f"no {code}"}}, **headers)


def raw(content: bytes) -> Reply:
    """Status 200 with any bytes."""
    return lambda handler, body: handler.say(200, content)


def closed(handler: Handler, body: dict[str, Any]) -> None:
    """Half of the answer that was promised."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def dripping(seconds: float) -> Reply:
    """A byte now and then, so that no single read waits long."""

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        end = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            while time.monotonic() < end:
                handler.wfile.write(b" ")
                handler.wfile.flush()
                time.sleep(0.02)
        handler.close_connection = True

    return reply


def good_people(told: Server) -> Callable[[Asked], str]:
    """Writes new people each time, as many as are asked for, and finds nothing wrong with any."""
    some = people(5)

    def write(asked: Asked) -> str:
        if asked.is_check:
            return "\n".join(f"{number}. no no" for number in numbers(asked))
        return "\n".join(map(tagged_biography, itertools.islice(some, wanted(asked))))

    return write


def wanted(asked: Asked) -> int:
    """How many people a prompt asks for."""
    (count,) = re.findall(r"biographies of (\d+) fictional", asked.prompt)
    return int(count)


def numbers(asked: Asked) -> list[int]:
    """The numbers of the people in a check."""
    return [int(number) for number in re.findall(r"^(\d+)\. .*; birth city:", asked.prompt, re.MULTILINE)]


def first_people(count: int) -> list[Person]:
    """The people that `good_people` begins with."""
    return list(itertools.islice(people(5), count))


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port, in a thread."""
    told = Server()
    told.write = good_people(told)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.told, server.lock = told, threading.Lock()  # type: ignore[attr-defined]
        told.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
