"""Fictional people by a language model, checked against the paper's four requirements.

The model writes tagged biographies in the paper's form; a second question lets it judge whether a person is well known
or strongly associated. What fails is rejected with a reason and requested again, in rounds.
"""

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elusive.config.corpus import CorpusSettings
from elusive.config.toml import to_table
from elusive.config.verbs import LlmSettings
from elusive.corpus.documents import write_corpus
from elusive.corpus.llm.chat import Announce, Answer, AnswerLog, Chat, Request, TokenUsage, ask_all, run_requests
from elusive.corpus.wording import counted, listed
from elusive.errors import ElusiveError
from elusive.runs.files import ProgressFunction, silent, write_jsonl
from elusive.runs.stage import Stage
from elusive.runs.terminal import say
from elusive.runs.typed_json import from_json

from .biographies import Person, corpus_about
from .llm_answers import (
    CUT_OFF,
    EMPTY,
    FORM,
    NOT_NEEDED,
    REPEATED,
    biography_lines,
    checked_person,
    judged,
    name_key,
    verdicts_by_number,
)
from .llm_prompts import check_prompt, form_examples, people_prompt, tagged_biography

ANSWERS_FILE = "llm_answers.jsonl"


REJECTED_FILE = "rejected.jsonl"


@dataclass(frozen=True)
class Rejected:
    """A biography that is not in the corpus.

    Attributes:
        request: the request that it answers, as in llm_answers.jsonl.
        reason: why.
        text: the line.
    """

    request: str
    reason: str
    text: str


@dataclass(frozen=True)
class PeopleSummary:
    """What `make_people` did.

    Attributes:
        documents: biographies written.
        questions: questions about them.
        requested: people requested from the model.
        rejected: number of rejected biographies by reason.
        usage: tokens of all answers in the folder.
        sent: requests that this call sent.
    """

    documents: int
    questions: int
    requested: int
    rejected: Mapping[str, int]
    usage: TokenUsage
    sent: int = 0

    def lines(self, settings: LlmSettings) -> list[str]:
        """The summary in words, with tokens and cost."""
        by_reason = "; ".join(f"{number:,} x {reason}" for reason, number in self.rejected.items())
        rejected = f"{sum(self.rejected.values()):,}" + (f": {by_reason}" if by_reason else "")
        return [
            f"requested {self.requested:,} people, rejected {rejected}",
            f"{self.usage.line(settings)}; {counted(self.sent, 'request')} sent now",
        ]


@dataclass
class _Found:
    people: list[Person] = dataclasses.field(default_factory=list)
    rejected: list[Rejected] = dataclasses.field(default_factory=list)
    requested: int = 0

    def names(self) -> set[str]:
        """Names that are taken, including those of the examples, which a model may repeat."""
        return {name_key(person.name) for person in (*form_examples(), *self.people)}

    def reasons(self) -> dict[str, int]:
        return dict(collections.Counter(one.reason for one in self.rejected).most_common())


def make_people(
    corpus: CorpusSettings,
    settings: LlmSettings,
    folder: str | Path,
    *,
    progress: ProgressFunction = silent,
    announce: Announce = say,
) -> PeopleSummary:
    """Write a corpus folder about people that a language model made up, requesting only what it does not hold yet.

    Besides the files of a corpus, the folder holds `llm_answers.jsonl`, each request with the server's answer, and
    `rejected.jsonl`. A server may answer differently each time, whatever the seed; but the corpus depends on the
    answers alone, not on the order in which they came.

    Args:
        corpus: how many people, the seed, and where their names stand.
        settings: the server and its requests.
        folder: the corpus folder.
        progress: called with (people so far, people wanted).
        announce: told why a request is sent again.

    Returns:
        What was written, requested, rejected and used.

    Raises:
        ElusiveError: if the server cannot be used, too few people pass, or the folder holds results of other settings.

    Reference:
        Gao et al. 2025, arXiv 2409.17954, "Data details": the form, and four requirements on the content.
    """
    if not settings.model:
        raise ElusiveError("llm.model: expected the name of the server's model, got none. Give it with --model.")
    with Stage(folder, _identity(corpus, settings)) as stage:
        return _finished(stage) if stage.done else _made(corpus, settings, stage, progress, announce)


def _made(
    corpus: CorpusSettings, settings: LlmSettings, stage: Stage, progress: ProgressFunction, announce: Announce
) -> PeopleSummary:
    log = AnswerLog(stage.folder / ANSWERS_FILE)
    try:
        found, sent = run_requests(_gather(corpus, settings, log, progress, announce))
    except BaseException:
        if (usage := TokenUsage.of(log)).requests:
            announce(f"kept in {log.path}: {usage.line(settings)}")
        raise
    write_jsonl(stage.folder / REJECTED_FILE, map(vars, found.rejected))
    if len(found.people) < corpus.people:
        raise _too_few(corpus, found, stage.folder)
    documents, questions = corpus_about(found.people, corpus.seed, corpus.name_position)
    write_corpus(stage.folder, itertools.chain(documents, questions))
    summary = PeopleSummary(len(documents), len(questions), found.requested, found.reasons(), TokenUsage.of(log), sent)
    stage.finish({key: value for key, value in dataclasses.asdict(summary).items() if key != "sent"})
    return summary


def _finished(stage: Stage) -> PeopleSummary:
    return from_json(PeopleSummary, stage.summary, str(stage.folder))


def _identity(corpus: CorpusSettings, settings: LlmSettings) -> dict[str, Any]:
    """Everything that the answers depend on; retries and waits are not part of it."""
    used = ("base_url", "model", "temperature", "extra_body", "people_per_request")
    prompts = "\n".join((people_prompt(1, 0, 1), check_prompt(form_examples())))
    return {
        "people": corpus.people,
        "seed": corpus.seed,
        "name_position": corpus.name_position,
        "llm": {key: value for key, value in to_table(settings).items() if key in used},
        "prompts": hashlib.sha256(prompts.encode()).hexdigest()[:16],
    }


# Rounds of requests


async def _gather(
    corpus: CorpusSettings, settings: LlmSettings, log: AnswerLog, progress: ProgressFunction, announce: Announce
) -> tuple[_Found, int]:
    """Request the missing people in rounds, until there are enough or too many were requested.

    Nothing depends on the order in which answers come: a round's requests are fixed when it begins, and its people are
    taken in the order of the requests. So an interrupted run that is started again sends no request twice.
    """
    found = _Found()
    at_most = max(settings.max_requested_ratio * corpus.people, corpus.people + settings.people_per_request)
    numbers = itertools.count(1)
    async with Chat(settings, log, announce) as chat:
        while (missing := corpus.people - len(found.people)) and found.requested + missing <= at_most:
            sizes = [settings.people_per_request] * (missing // settings.people_per_request)
            sizes += [missing % settings.people_per_request] if missing % settings.people_per_request else []
            found.requested += missing
            taken = found.names()
            shown = _Shown(progress, len(found.people), corpus.people)
            batches = [_Batch(chat, next(numbers), size, corpus.seed, taken) for size in sizes]
            await _all(batches, settings.max_concurrent_requests, shown)
            _take(found, batches, corpus.people)
        return found, chat.sent


async def _all(batches: Sequence["_Batch"], max_concurrent_requests: int, shown: "_Shown") -> None:
    async def one(batch: _Batch) -> None:
        await batch.ask()
        shown.more(len(batch.people))

    await ask_all([one(batch) for batch in batches], max_concurrent_requests)


class _Shown:
    def __init__(self, progress: ProgressFunction, done: int, total: int) -> None:
        self.progress, self.done, self.total = progress, done, total

    def more(self, number: int) -> None:
        self.done += number
        self.progress(self.done, self.total)


class _Batch:
    """One request for people, and the second question about those in its answer."""

    def __init__(self, chat: Chat, number: int, size: int, seed: int, taken: set[str]) -> None:
        self.chat, self.number, self.size, self.seed, self.taken = chat, number, size, seed, taken
        self.name = f"people-{number:05d}"
        self.people: list[Person] = []
        self.rejected: list[Rejected] = []

    async def ask(self) -> None:
        prompt = people_prompt(self.size, self.seed, self.number)
        answer = await self._answer(self.name, prompt, self.chat.settings.temperature)
        candidates = self._in_form(answer)
        if candidates:
            check = await self._answer(f"check-{self.number:05d}", check_prompt(candidates), 0.0)
            verdicts = verdicts_by_number(check.text)
            for place, person in enumerate(candidates, 1):
                if reason := judged(verdicts.get(place)):
                    self._reject(reason, tagged_biography(person))
                else:
                    self.people.append(person)

    async def _answer(self, name: str, prompt: str, temperature: float) -> Answer:
        digest = hashlib.blake2b(f"{self.seed} {name}".encode(), digest_size=4).digest()
        return await self.chat.ask(Request(name, prompt, temperature, int.from_bytes(digest, "big") >> 1))

    def _in_form(self, answer: Answer) -> list[Person]:
        lines = list(biography_lines(answer.text))
        if not lines:
            self._reject(CUT_OFF if answer.cut_off else EMPTY, answer.text)
        candidates: list[Person] = []
        taken = set(self.taken)
        for line in lines:
            try:
                person = checked_person(line, taken)
                if len(candidates) == self.size:
                    raise ElusiveError(NOT_NEEDED)
            except ElusiveError as error:
                cut = answer.cut_off and line == lines[-1] and str(error) == FORM
                self._reject(CUT_OFF if cut else str(error), line)
                continue
            taken.add(name_key(person.name))
            candidates.append(person)
        return candidates

    def _reject(self, reason: str, text: str) -> None:
        self.rejected.append(Rejected(self.name, reason, text))


def _take(found: _Found, batches: Iterable[_Batch], wanted: int) -> None:
    """The people of a round, in the order of its requests; a name that two requests gave is taken once."""
    taken = found.names()
    for batch in batches:
        found.rejected += batch.rejected
        for person in batch.people:
            reason = REPEATED if name_key(person.name) in taken else NOT_NEEDED if len(found.people) == wanted else ""
            if reason:
                found.rejected.append(Rejected(batch.name, reason, tagged_biography(person)))
            else:
                taken.add(name_key(person.name))
                found.people.append(person)


def _too_few(corpus: CorpusSettings, found: _Found, folder: Path) -> ElusiveError:
    reasons = [f"{number:,} x {reason}" for reason, number in found.reasons().items()]
    return ElusiveError(
        f"{folder}: expected {corpus.people:,} people, got {len(found.people):,} after requesting {found.requested:,}. "
        f"Rejected (each with its text in {REJECTED_FILE}):\n{listed(reasons)}\n"
        "Raise --max-requested-ratio to continue where it stopped, or try another model in another folder."
    )
