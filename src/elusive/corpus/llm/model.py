"""A language model that is asked, on a server or here, by works that ask one thing after the other."""

import dataclasses
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from elusive.config.server import WriterSettings

from .chat import Announce, Answer, AnswerLog, Chat, Request, ask_all, run_requests


class Asked(Protocol):
    """What answers a request: a server, a model that runs here, or the log of either."""

    async def ask(self, request: Request) -> Answer:
        """The answer to one request: the kept one, or the model's."""
        ...


Work = Callable[[Asked], Coroutine[Any, Any, None]]
"""Asks a model as often as it needs, one request after the other."""


class LanguageModel:
    """The model of some settings; of a server's, so many works are under way together as it takes requests.

    Args:
        settings: the engine, the model, and how patient to be with a server.
        log: where answers are kept.
        announce: told, in words, why a request is sent again.
    """

    def __init__(self, settings: WriterSettings, log: AnswerLog, announce: Announce) -> None:
        self.settings, self.log, self._announce = settings, log, announce
        self._local = LocalModel(settings, log) if settings.engine == "transformers" else None

    def do(self, works: Sequence[Work]) -> None:
        """Do all works; the first that fails stops the others, and what was answered is kept.

        Raises:
            ElusiveError: if the server refuses or does not answer, or the model cannot be used.
        """
        run_requests(self._do(works))

    async def _do(self, works: Sequence[Work]) -> None:
        if self._local:
            await ask_all([work(self._local) for work in works], 1)
            return
        async with Chat(self.settings, self.log, self._announce) as chat:
            await ask_all([work(chat) for work in works], self.settings.max_concurrent_requests)


class LocalModel:
    """The answers of a model that runs here, kept as a server's are.

    Args:
        settings: which model, and the longest answer where a request names none.
        log: where answers are kept.
    """

    def __init__(self, settings: WriterSettings, log: AnswerLog) -> None:
        from elusive.models.sampling import Sampler  # and with it torch, only where a model is asked here

        self.settings, self.log, self._sampler = settings, log, Sampler(settings.model)

    async def ask(self, request: Request) -> Answer:
        """The answer to one request: the kept one, or the model's."""
        body = {"model": self.settings.model, **dataclasses.asdict(request)}
        del body["name"]
        response = self.log.response(request.name, body)
        if response is None:
            written = self._sampler.sample(
                request.prompt,
                temperature=request.temperature,
                max_new_tokens=request.max_tokens or self.settings.max_new_tokens,
                seed=request.seed,
            )
            choice = {
                "message": {"content": written.text},
                "finish_reason": "length" if written.cut_off else "stop",
            }
            usage = {"prompt_tokens": written.prompt_tokens, "completion_tokens": written.output_tokens}
            response = {"choices": [choice], "usage": usage}
            self.log.add(request.name, body, response)
        return Answer.of(response)
