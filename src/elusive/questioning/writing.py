"""Questions by a language model: written document by document, checked by rules, then by the model's own answers."""

import hashlib
import json
from collections.abc import Sequence

from elusive.augmentation.survival import says
from elusive.config.questions import QuestionRules
from elusive.corpus.llm.chat import Answer, Request
from elusive.corpus.llm.model import Asked, LanguageModel
from elusive.evaluation.metrics import exact_match, f1
from elusive.evaluation.normal_forms import AnswerMetric

from .checks import CUT_OFF, KNOWN, NOT_ANSWERED, NOT_NEEDED, SAID_BEFORE, UNREADABLE, Asking
from .pairs import Rejected, Written, pairs_of
from .prompts import answering_prompt, writing_prompt
from .split import are_alike

_ANSWER_TOKENS = 64
"""Longest answer to a question, in tokens."""

_LEAST_F1 = 0.8
"""An answer with the document is right from here on, where it does not say the reference word for word."""


class DocumentQuestions:
    """The questions of one document, asked for until enough have passed or the tries are used up."""

    def __init__(self, asking: Asking) -> None:
        self.asking = asking
        self.kept: list[Written] = []
        self.rejected: list[Rejected] = []

    @property
    def _settings(self) -> QuestionRules:
        return self.asking.settings

    async def ask(self, model: Asked) -> None:
        """Ask for questions, and check what comes."""
        for attempt in range(self._settings.tries):
            wanted = self._settings.questions_per_document - len(self.kept)
            if wanted <= 0:
                return
            prompt = writing_prompt(self.asking.passage, wanted, self._settings.max_answer_words)
            request = self._request(prompt, self._settings.temperature, attempt, self._settings.max_new_tokens)
            answer = await model.ask(request)
            await self._take(answer, request.name, model)

    async def _take(self, answer: Answer, request: str, model: Asked) -> None:
        pairs = pairs_of(answer.text)
        if not pairs:
            reason = CUT_OFF if answer.cut_off else UNREADABLE
            self._reject(Rejected(self.asking.passage.document.id, reason, answer.text, request=request))
        for pair in pairs:
            found = self.asking.checked(pair, request)
            if isinstance(found, Rejected):
                self._reject(found)
            elif len(self.kept) >= self._settings.questions_per_document:
                self._reject(_rejection(found, NOT_NEEDED))
            elif any(are_alike(found.question, one.question, self._settings.max_similarity) for one in self.kept):
                self._reject(_rejection(found, SAID_BEFORE))
            elif not self._settings.verify or await self._passes(found, model):
                self.kept.append(found)

    async def _passes(self, one: Written, model: Asked) -> bool:
        """Whether the model answers a question with its document, and not without."""
        with_document = self._request(answering_prompt(one.question, self.asking.passage.text), 0.0, 0, _ANSWER_TOKENS)
        said = (await model.ask(with_document)).text
        if not is_right(said, one.answer, self.asking.language):
            self._reject(_rejection(one, NOT_ANSWERED, said))
            return False
        for attempt in range(self._settings.closed_book_tries):
            temperature = max(self._settings.temperature, 0.5) if attempt else 0.0
            closed = self._request(answering_prompt(one.question), temperature, attempt, _ANSWER_TOKENS)
            said = (await model.ask(closed)).text
            if is_right(said, one.answer, self.asking.language):
                self._reject(_rejection(one, KNOWN, said))
                return False
        return True

    def _reject(self, one: Rejected) -> None:
        self.rejected.append(one)

    def _request(self, prompt: str, temperature: float, attempt: int, tokens: int) -> Request:
        """A request named by all that its answer depends on, so that none is sent twice."""
        settings = self._settings
        seed = _number(f"{settings.seed} {self.asking.passage.document.id} {attempt}")
        depends = (settings.engine, settings.model, settings.extra_body, temperature, seed, tokens, prompt)
        name = hashlib.blake2b(json.dumps(depends).encode(), digest_size=12).hexdigest()
        return Request(name, prompt, temperature, seed, tokens)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") >> 1


def _rejection(one: Written, reason: str, said: str = "") -> Rejected:
    return Rejected(one.document_id, reason, one.question, one.answer, one.request, said)


def is_right(said: str, answer: str, language: str) -> bool:
    """Whether a model's reply gives an answer: it says it word for word, or nearly nothing else.

    Args:
        said: the reply.
        answer: the reference.
        language: of both, by its code.

    Example:
        >>> is_right("It lasts five years.", "five years", "en"), is_right("ten years", "five years", "en")
        (True, False)
    """
    metric = AnswerMetric("multilingual", language)
    return says(said, answer) or bool(exact_match(said, [answer], metric)) or f1(said, [answer], metric) >= _LEAST_F1


def written_by_model(asking: Sequence[Asking], model: LanguageModel) -> list[DocumentQuestions]:
    """The questions of some documents, by a language model.

    Raises:
        ElusiveError: if the server refuses or does not answer, or the model cannot be used.
    """
    works = [DocumentQuestions(one) for one in asking]
    model.do([work.ask for work in works])
    return works
