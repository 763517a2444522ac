"""Requests to a language model on an OpenAI-compatible server: retried when they fail, every answer logged.

A server may answer differently each time, seed or no seed; so each answer is logged, and a run that is started again
takes it from the log.
"""

import asyncio
import email.utils
import json
import os
import random
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elusive import __version__
from elusive.config.server import ServerSettings
from elusive.corpus.values import kind
from elusive.corpus.wording import counted
from elusive.errors import ElusiveError

Announce = Callable[[str], None]


_TRY_AGAIN = frozenset({408, 409, 425, 429})  # and every 5xx


_NO_COMPLETION = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What JSON of another shape than a chat completion's raises."""


_SECONDS_BETWEEN_NOTES = 5.0


_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Request:
    """One request to the model.

    Attributes:
        name: unique in its log, e.g. `people-00001`.
        prompt: the message.
        temperature: of the sampling.
        seed: sent along; servers may ignore it.
        max_tokens: longest answer (None: as the server likes).
    """

    name: str
    prompt: str
    temperature: float
    seed: int
    max_tokens: int | None = None


@dataclass(frozen=True)
class Answer:
    """What the model said.

    Attributes:
        text: its message.
        cut_off: whether the server cut it at a length.
        prompt_tokens: tokens read, None where the server does not say.
        output_tokens: tokens written, None where the server does not say.
    """

    text: str
    cut_off: bool
    prompt_tokens: int | None
    output_tokens: int | None

    @classmethod
    def of(cls, response: Any) -> "Answer":
        """The answer in a chat completion, as a server gives it.

        Raises:
            ValueError, LookupError, TypeError, AttributeError or RecursionError: if it is none.
        """
        choice = response["choices"][0]
        content = choice["message"].get("content")
        if isinstance(content, list):
            content = "".join(part.get("text") or "" for part in content)
        if not isinstance(content, str | None):
            raise TypeError(f"content: expected a string, got {kind(content)}")
        usage = response.get("usage") or {}
        tokens = [usage.get(key) for key in ("prompt_tokens", "completion_tokens")]
        counts = [number if isinstance(number, int) else None for number in tokens]
        # Half of a surrogate pair, which JSON can write, could be neither sent back nor kept in a file.
        whole = (content or "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return cls(whole, choice.get("finish_reason") == "length", *counts)


class AnswerLog:
    """A JSONL file of requests and the server's answers to them, a line each, appended as they come.

    Args:
        path: the file; a half line at its end, left by a crash, is taken away.

    Raises:
        ElusiveError: if another line is not one that was written here.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._rows: dict[str, dict[str, Any]] = {}
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            os.truncate(self.path, len(whole))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                row = json.loads(line)
                Answer.of(row["response"])
                self._rows[row["name"]] = {"request": row["request"], "response": row["response"]}
            except _NO_COMPLETION as error:
                raise ElusiveError(
                    f"{self.path}, line {number}: not an answer that Elusive wrote ({error!r}). "
                    "Delete the line; the request is then sent again."
                ) from None

    def answers(self) -> Iterator[Answer]:
        """All answers so far."""
        return (Answer.of(row["response"]) for row in self._rows.values())

    def response(self, name: str, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """The kept answer to a request, None where there is none.

        Raises:
            ElusiveError: if another request of this name was answered.
        """
        row = self._rows.get(name)
        if row and row["request"] != request:
            raise ElusiveError(
                f"{self.path} holds an answer to another request {name!r} than the one to be sent. The file was "
                "changed, or written by another version of Elusive: give another output folder, or delete this one."
            )
        return row["response"] if row else None

    def add(self, name: str, request: Mapping[str, Any], response: dict[str, Any]) -> None:
        """Log an answer; it is on disk when this returns."""
        self._rows[name] = {"request": dict(request), "response": response}
        line = json.dumps({"name": name, "request": request, "response": response}, ensure_ascii=False) + "\n"
        # A lone surrogate, which JSON allows as an escape, is no UTF-8.
        with self.path.open("ab") as stream:
            stream.write(line.encode("utf-8", "backslashreplace"))
            stream.flush()
            os.fsync(stream.fileno())


@dataclass(frozen=True)
class TokenUsage:
    """What all logged answers used.

    Attributes:
        requests: answered requests.
        prompt_tokens: tokens of their prompts.
        output_tokens: tokens of the answers.
        without_usage: answers whose tokens the server did not count.
    """

    requests: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    without_usage: int = 0

    @classmethod
    def of(cls, log: AnswerLog) -> "TokenUsage":
        """The sums over a log."""
        answers = list(log.answers())
        return cls(
            requests=len(answers),
            prompt_tokens=sum(answer.prompt_tokens or 0 for answer in answers),
            output_tokens=sum(answer.output_tokens or 0 for answer in answers),
            without_usage=sum(None in (answer.prompt_tokens, answer.output_tokens) for answer in answers),
        )

    def line(self, settings: ServerSettings) -> str:
        """The usage in words, with its cost where prices are given."""
        words = (
            f"{counted(self.requests, 'answered request')} with {self.prompt_tokens:,} prompt tokens and "
            f"{self.output_tokens:,} answered tokens"
        )
        if self.without_usage:
            words += f" ({counted(self.without_usage, 'answer')} came without a count)"
        if settings.input_price or settings.output_price:
            cost = self.prompt_tokens * settings.input_price + self.output_tokens * settings.output_price
            words += f", cost {cost / 1e6:,.4f} at the prices given"
        return words


def run_requests(work: Coroutine[Any, Any, Any]) -> Any:
    """What the work gives, in a notebook too, where a loop is running already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def ask_all(works: Sequence[Coroutine[Any, Any, None]], at_once: int) -> None:
    """Do all works, so many at a time; the first that fails stops the others."""
    slots = asyncio.Semaphore(at_once)

    async def one(work: Coroutine[Any, Any, None]) -> None:
        async with slots:
            await work

    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(one(work))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        for work in works:
            work.close()  # those that never began


class Chat:
    """A server's chat completions; used as `async with`.

    Args:
        settings: the server, and how patient to be with it.
        log: where answers are kept.
        announce: told, in words, why a request is sent again.

    Raises:
        ElusiveError: if settings are unusable or the HTTP client is missing.
    """

    def __init__(self, settings: ServerSettings, log: AnswerLog, announce: Announce) -> None:
        try:
            import httpx2
        except ImportError:
            raise ElusiveError(
                "Requests to a language model's server need the package httpx2, which is not installed. "
                "Install it: pip install 'elusive[llm]'"
            ) from None
        self._http = httpx2
        self.settings = settings
        self.log = log
        self.sent = 0
        self._announce = announce
        self._noted = -_SECONDS_BETWEEN_NOTES
        self._closed_until = 0.0
        self._jitter = random.Random()
        self._key = _key(settings)
        self._extra = _extra(settings)
        self._url = _completions_url(httpx2.URL, settings)
        self._client = httpx2.AsyncClient(
            # Unpacked, a short answer may be of any length.
            headers={"User-Agent": f"elusive/{__version__}", "Accept-Encoding": "identity"}
            | ({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            timeout=settings.timeout,
            limits=httpx2.Limits(max_connections=None),  # the caller limits concurrency
            trust_env=self._url.host not in _LOOPBACK,  # no proxy on the way to this machine
        )

    async def __aenter__(self) -> "Chat":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def ask(self, request: Request) -> Answer:
        """The answer to one request: the kept one, or the server's.

        Raises:
            ElusiveError: if the server refuses, or does not answer in any of the tries.
        """
        body = self._body(request)
        response = self.log.response(request.name, body)
        if response is None:
            response = await self._with_retries(request.name, body)
            self.sent += 1
            self.log.add(request.name, body, response)
        return Answer.of(response)

    def _body(self, request: Request) -> dict[str, Any]:
        body = {
            "model": self.settings.model,
            "messages": [{"role": "user", "content": request.prompt}],
            "temperature": request.temperature,
            "seed": request.seed,
            "max_tokens": request.max_tokens,
        }
        return {key: value for key, value in (body | self._extra).items() if value is not None}

    async def _with_retries(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        problem = ""
        for attempt in range(self.settings.retries + 1):
            if attempt:
                await self._wait(problem, self.settings.initial_backoff * 2 ** (attempt - 1))
            while (closed := self._closed_until - time.monotonic()) > 0:
                await asyncio.sleep(closed)
            result = await self._sent_once(body)
            if not isinstance(result, str):
                return result
            problem = result
        raise ElusiveError(
            f"{self._url} gave no usable answer to the request {name!r} in {self.settings.retries + 1} tries; the last "
            f"time: {problem}. Answers so far are kept: run the same command again to continue, "
            f"with {self.settings.given_by('retries')} or {self.settings.given_by('timeout')} higher if the server is "
            "only slow."
        )

    async def _sent_once(self, body: Mapping[str, Any]) -> dict[str, Any] | str:
        """The server's answer, or why to send the request again."""
        try:
            # The client's own time-out starts anew with each piece of an answer.
            async with (
                asyncio.timeout(self.settings.timeout),
                self._client.stream("POST", self._url, json=body) as response,
            ):
                content = await self._content(response)
        except (TimeoutError, self._http.TimeoutException):
            return f"no whole answer within {self.settings.timeout:g} s"
        except self._http.RequestError as error:
            return self._cleaned(f"{type(error).__name__} {error}".strip())
        if content is None:
            most = f"{self.settings.max_answer_bytes:,} bytes ({self.settings.given_by('max_answer_bytes')})"
            return f"an answer that is compressed, or of more than {most}"
        text = self._cleaned(content.decode("utf-8", "replace"))
        if response.status_code in _TRY_AGAIN or response.status_code >= 500:
            self._close_for(response.headers.get("Retry-After", ""))
            return f"status {response.status_code} {_message(text)}".strip()
        if response.status_code != 200:
            raise self._refused(response.status_code, text, response.headers.get("Location", ""))
        try:
            value = json.loads(text)
            Answer.of(value)
        except _NO_COMPLETION as error:
            return f"an answer that is no chat completion ({type(error).__name__}: {error}; it begins {text[:80]!r})"
        return value

    async def _content(self, response: Any) -> bytes | None:
        """The bytes of an answer; None where they are packed, or more than allowed."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            return None
        content = b""
        async for block in response.aiter_raw():
            content += block
            if len(content) > self.settings.max_answer_bytes:
                return None
        return content

    async def _wait(self, problem: str, seconds: float) -> None:
        # Requests that failed together must not come back together.
        seconds = min(seconds, self.settings.max_backoff) * self._jitter.uniform(0.75, 1.0)
        now = time.monotonic()
        if now - self._noted >= _SECONDS_BETWEEN_NOTES:
            self._noted = now
            self._announce(f"{problem}: sending again in {max(seconds, self._closed_until - now):.0f} s")
        await asyncio.sleep(seconds)

    def _close_for(self, retry_after: str) -> None:
        """Send nothing until the server accepts requests again."""
        seconds = _seconds(retry_after)
        if seconds > self.settings.max_backoff:
            raise ElusiveError(
                f"{self._url} wants to be left alone for {seconds:,.0f} s, longer than "
                f"{self.settings.given_by('max_backoff')} ({self.settings.max_backoff:g} s). Answers so far are kept: "
                "run the same command again later."
            )
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)

    def _refused(self, status: int, text: str, location: str) -> ElusiveError:
        said = f"{self._url} answered {status} {_message(text)}".strip()
        if status in (401, 403):
            variable = self.settings.api_key_variable
            key = (
                f"the key in {variable} is not accepted"
                if variable
                else f"no key was sent ({self.settings.given_by('api_key_variable')} is empty)"
            )
            return ElusiveError(
                f"{said}: {key}. Put a valid key into an environment variable, and give its name with "
                f"{self.settings.given_by('api_key_variable')}."
            )
        if status == 404:
            return ElusiveError(
                f"{said}: expected a server at {self.settings.given_by('base_url')} (mostly ending in /v1) with the "
                f"model {self.settings.model!r}. Check both."
            )
        if 300 <= status < 400:
            return ElusiveError(
                f"{said}, a redirection to {self._cleaned(location)!r}. Give that server as "
                f"{self.settings.given_by('base_url')}."
            )
        return ElusiveError(
            f"{said}: the server does not take this request. If it names a parameter, "
            f"{self.settings.given_by('extra_body')} can change it or take it out, e.g. "
            f"{self.settings.given_by('extra_body')} '{{\"seed\": null}}'."
        )

    def _cleaned(self, text: str) -> str:
        """A server's words without the key, should it repeat it."""
        # A short one is a placeholder ("none", "EMPTY") that answers may hold as a word.
        return text.replace(self._key, "[key]") if len(self._key) >= 8 else text


def _message(text: str) -> str:
    """What an error answer says, in at most 300 characters."""
    try:
        error = json.loads(text)["error"]
        text = error["message"] if isinstance(error, dict) else str(error)
    except _NO_COMPLETION:
        pass
    words = " ".join(str(text).split())
    return f"({words[:300]})" if words else ""


def _seconds(retry_after: str) -> float:
    """Seconds of a Retry-After header, given as a number or as a date; 0 where it is neither."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0


def _key(settings: ServerSettings) -> str:
    variable = settings.api_key_variable
    if not variable:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ElusiveError(
            f"{settings.section}.api_key_variable: expected the server's key in the environment variable "
            f"{variable}, which is not set. Set it first: export {variable}=..."
        )
    if not (key.isascii() and key.isprintable()):
        raise ElusiveError(
            f"The environment variable {variable} holds characters that no key has (not printable ASCII). Set it again."
        )
    return key


def _extra(settings: ServerSettings) -> dict[str, Any]:
    text, where = settings.extra_body, f"{settings.section}.extra_body"
    try:
        extra = json.loads(text) if text else {}
    except ValueError as error:
        raise ElusiveError(f"{where}: expected a JSON object, got {text!r} ({error}).") from None
    if not isinstance(extra, dict):
        raise ElusiveError(f"{where}: expected a JSON object, got {kind(extra)}.")
    if ours := sorted({"messages", "model", "stream"} & extra.keys()):
        raise ElusiveError(f"{where}: {', '.join(ours)} cannot be changed there. Leave it out.")
    return extra


def _completions_url(make_url: Callable[[str], Any], settings: ServerSettings) -> Any:
    try:
        url = make_url(settings.base_url)
    except Exception:  # httpx2.InvalidURL, and what urllib and idna raise
        url = None
    if url is None or url.scheme not in ("http", "https") or not url.host:
        raise ElusiveError(
            f"{settings.section}.base_url: expected http(s)://host/..., got {settings.base_url!r}. E.g. http://localhost:8000/v1."
        )
    if url.userinfo or url.query:
        # Not repeated here: it may hold a key.
        raise ElusiveError(
            f"{settings.section}.base_url: expected no user, password or query in it, for it is written down. "
            f"Put the key into an environment variable, and give its name with {settings.given_by('api_key_variable')}."
        )
    return make_url(settings.base_url.rstrip("/") + "/chat/completions")
