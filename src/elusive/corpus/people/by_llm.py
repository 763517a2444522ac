"""Fictional people by a language model, checked against the paper's four requirements.

The model is asked for tagged biographies in the paper's form, then, in a second question, whether a person is well
known or strongly associated. What fails is rejected with its reason and asked for again, in rounds.
"""

import asyncio
import calendar
import collections
import dataclasses
import datetime
import hashlib
import itertools
import random
import re
import unicodedata
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from elusive.config.run import CorpusSettings
from elusive.config.toml import to_table
from elusive.config.verbs import LlmSettings
from elusive.corpus.documents import write_corpus
from elusive.corpus.values import checked_text
from elusive.corpus.wording import counted, listed
from elusive.errors import ElusiveError
from elusive.runs.files import ProgressFunction, silent, write_jsonl
from elusive.runs.stage import Stage

from .biographies import FIELDS, Person, biography, corpus_about, people, well_known_names
from .chat import Announce, Answer, AnswerLog, Chat, Request

ANSWERS_FILE = "llm_answers.jsonl"


REJECTED_FILE = "rejected.jsonl"


LONGEST_FIELD = 100
"""In characters; what is longer is no name of anything."""


EMPTY = "an answer without a biography"


FORM = "not in the form that was asked for"


CUT_OFF = "cut off by the server"


NAME = "not a first name and a surname"


DATE = "a date that does not exist, or is not written as Month day, year"


CITY = "a birth place without city and country"


FIELD = "a field that is a placeholder, too long or no text"


WELL_KNOWN = "a well-known name"


REPEATED = "a repeated name"


SAME_CITY = "a university or company named after the birth city"


JUDGED_WELL_KNOWN = "a well-known person, says the model"


JUDGED_ASSOCIATED = "strongly associated, says the model"


NOT_JUDGED = "the model's second answer does not say"


NOT_NEEDED = "more people than were asked for"


_INITIALS = "ABCDEFGHIJKLMNOPRSTVWYZ"


_THINKING = re.compile(r"\A\s*<think>.*?(</think>|\Z)", re.DOTALL)


_LIST_MARK = re.compile(r"^(?:\d+[.)]|[-*•])\s+")


_NAME = re.compile(r"[^\W\d_]+(?:(?:[.'\u2019-] ?| )[^\W\d_]+)*\.?")


_YEAR_DATE = re.compile(r"(\w+) ([1-9]\d?), (\d{4})")


_ASK_PEOPLE = """\
Please write biographies of {count} fictional people in the following format, one person a line, with the tags:

{forms}

These two lines are written as they should be:

{examples}

Please keep to these requirements:
1. No name is that of a real person, least of all of a well-known one.
2. Places, dates, universities, majors and companies are real.
3. No name is repeated. To this end, the initials of the names are, line by line: {initials}
4. In each biography, birth city, university and company have no strong association: they are in three different \
countries, for example, and none is named after another.
Write the {count} lines and nothing else."""


_ASK_CHECK = """\
Below are {count} people. Please answer two questions about each of them with yes or no:
A. Is this the name of a real person who is well known?
B. Are any two of the birth city, the university and the company strongly associated, for example in one city, or one \
known for the other?

{people}

Write one line for each person and nothing else: the number, the answer to A, the answer to B. For example: \
1. no yes"""


@dataclass(frozen=True)
class Rejected:
    """A biography that was not taken.

    Attributes:
        request: the request that it answers, as in llm_answers.jsonl.
        reason: why.
        text: the line.
    """

    request: str
    reason: str
    text: str


@dataclass
class _Found:
    people: list[Person] = dataclasses.field(default_factory=list)
    rejected: list[Rejected] = dataclasses.field(default_factory=list)
    asked: int = 0

    def names(self) -> set[str]:
        """Names that are taken; those of the examples, which a model may repeat, among them."""
        return {_key(person.name) for person in (*_examples(), *self.people)}

    def reasons(self) -> dict[str, int]:
        return dict(collections.Counter(one.reason for one in self.rejected).most_common())


def make_people(
    corpus: CorpusSettings,
    settings: LlmSettings,
    folder: str | Path,
    *,
    progress: ProgressFunction = silent,
    announce: Announce = print,
) -> dict[str, Any]:
    """Write a corpus folder about people that a language model made up, asking only for what it does not hold yet.

    Beside the files of a corpus the folder holds `llm_answers.jsonl`, each request with the server's answer as it came,
    and `rejected.jsonl`. What a server answers is its own affair, whatever the seed; from the same answers the same
    corpus is made, in whatever order they came.

    Args:
        corpus: how many people, the seed, and where their names stand.
        settings: the server, and how it is asked.
        folder: the corpus folder.
        progress: called with (people so far, people wanted).
        announce: told why a request is sent again.

    Returns:
        documents, questions, asked (people asked for), rejected (number by reason), requests, sent (by this call),
        prompt_tokens, output_tokens, without_usage (answers whose tokens the server did not count).

    Raises:
        ElusiveError: if the server cannot be used, too few people pass, or the folder holds results of other settings.

    Reference:
        Gao et al. 2025, arXiv 2409.17954, "Data details": the form, and four requirements on the content.
    """
    if not settings.model:
        raise ElusiveError("llm.model: expected the name of the server's model, got none. Give it with --model.")
    stage = Stage(folder, _asked(corpus, settings))
    if stage.done:
        return {**stage.summary, "sent": 0}
    log = AnswerLog(stage.folder / ANSWERS_FILE)
    try:
        found, sent = _run(_gather(corpus, settings, log, progress, announce))
    except BaseException:
        if used := _used(log):
            announce(f"kept in {log.path}: {_tokens_in_words(used, settings)}")
        raise
    write_jsonl(stage.folder / REJECTED_FILE, map(vars, found.rejected))
    if len(found.people) < corpus.people:
        raise _too_few(corpus, found, stage.folder)
    documents, questions = corpus_about(found.people, corpus.seed, corpus.name_position)
    write_corpus(stage.folder, itertools.chain(documents, questions))
    made = {"documents": len(documents), "questions": len(questions), "asked": found.asked}
    summary = {**made, "rejected": found.reasons(), **_used(log)}
    stage.finish(summary)
    return {**summary, "sent": sent}


def summary_lines(summary: Mapping[str, Any], settings: LlmSettings) -> list[str]:
    """What `make_people` did, in words, with tokens and cost."""
    rejected = summary["rejected"]
    reasons = ": " + "; ".join(f"{number:,} x {reason}" for reason, number in rejected.items()) if rejected else ""
    return [
        f"asked for {summary['asked']:,} people, rejected {sum(rejected.values()):,}{reasons}",
        f"{_tokens_in_words(summary, settings)}; {counted(summary['sent'], 'request')} of them sent now",
    ]


def _used(log: AnswerLog) -> dict[str, int]:
    """What all kept answers used, {} where there is none."""
    answers = list(log.answers())
    if not answers:
        return {}
    return {
        "requests": len(answers),
        "prompt_tokens": sum(answer.prompt_tokens or 0 for answer in answers),
        "output_tokens": sum(answer.output_tokens or 0 for answer in answers),
        "without_usage": sum(None in (answer.prompt_tokens, answer.output_tokens) for answer in answers),
    }


def _tokens_in_words(used: Mapping[str, Any], settings: LlmSettings) -> str:
    words = (
        f"{counted(used['requests'], 'answered request')} with {used['prompt_tokens']:,} prompt tokens and "
        f"{used['output_tokens']:,} answered tokens"
    )
    if used["without_usage"]:
        words += f" ({counted(used['without_usage'], 'answer')} came without a count)"
    if settings.input_price or settings.output_price:
        cost = used["prompt_tokens"] * settings.input_price + used["output_tokens"] * settings.output_price
        words += f", cost {cost / 1e6:,.4f} at the prices given"
    return words


def _asked(corpus: CorpusSettings, settings: LlmSettings) -> dict[str, Any]:
    """All that the answers depend on; how patient we are with the server is none of it."""
    used = ("base_url", "model", "temperature", "extra_body", "people_per_request")
    prompts = "\n".join((_people_prompt(1, 0, 1), _check_prompt(_examples())))
    return {
        "people": corpus.people,
        "seed": corpus.seed,
        "name_position": corpus.name_position,
        "llm": {key: value for key, value in to_table(settings).items() if key in used},
        "prompts": hashlib.sha256(prompts.encode()).hexdigest()[:16],
    }


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:  # in a notebook a loop is running already
        return pool.submit(asyncio.run, work).result()


# Rounds of requests


async def _gather(
    corpus: CorpusSettings, settings: LlmSettings, log: AnswerLog, progress: ProgressFunction, announce: Announce
) -> tuple[_Found, int]:
    """Ask in rounds, each for as many people as are missing, until there are enough or too many were asked for.

    Nothing depends on the order in which answers come: a round's requests are fixed when it begins, and its people are
    taken in the order of the requests. So a run that is begun again asks the same questions, and reads the answers.
    """
    found = _Found()
    at_most = max(settings.max_requested_ratio * corpus.people, corpus.people + settings.people_per_request)
    numbers = itertools.count(1)
    async with Chat(settings, log, announce) as chat:
        while (missing := corpus.people - len(found.people)) and found.asked + missing <= at_most:
            sizes = [settings.people_per_request] * (missing // settings.people_per_request)
            sizes += [missing % settings.people_per_request] if missing % settings.people_per_request else []
            found.asked += missing
            taken = found.names()
            shown = _Shown(progress, len(found.people), corpus.people)
            batches = [_Batch(chat, next(numbers), size, corpus.seed, taken) for size in sizes]
            await _all(batches, settings.max_concurrent_requests, shown)
            _take(found, batches, corpus.people)
        return found, chat.sent


async def _all(batches: Sequence["_Batch"], max_concurrent_requests: int, shown: "_Shown") -> None:
    slots = asyncio.Semaphore(max_concurrent_requests)

    async def one(batch: _Batch) -> None:
        async with slots:
            await batch.ask()
        shown.more(len(batch.people))

    try:
        async with asyncio.TaskGroup() as group:
            for batch in batches:
                group.create_task(one(batch))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None  # the first stopped the others


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
        prompt = _people_prompt(self.size, self.seed, self.number)
        answer = await self._answer(self.name, prompt, self.chat.settings.temperature)
        candidates = self._in_form(answer)
        if candidates:
            verdicts = _verdicts((await self._answer(f"check-{self.number:05d}", _check_prompt(candidates), 0.0)).text)
            for place, person in enumerate(candidates, 1):
                if reason := _judged(verdicts.get(place)):
                    self._reject(reason, tagged_biography(person))
                else:
                    self.people.append(person)

    async def _answer(self, name: str, prompt: str, temperature: float) -> Answer:
        digest = hashlib.blake2b(f"{self.seed} {name}".encode(), digest_size=4).digest()
        return await self.chat.ask(Request(name, prompt, temperature, int.from_bytes(digest, "big") >> 1))

    def _in_form(self, answer: Answer) -> list[Person]:
        lines = list(_biography_lines(answer.text))
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
            taken.add(_key(person.name))
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
            reason = REPEATED if _key(person.name) in taken else NOT_NEEDED if len(found.people) == wanted else ""
            if reason:
                found.rejected.append(Rejected(batch.name, reason, tagged_biography(person)))
            else:
                taken.add(_key(person.name))
                found.people.append(person)


def _too_few(corpus: CorpusSettings, found: _Found, folder: Path) -> ElusiveError:
    reasons = [f"{number:,} x {reason}" for reason, number in found.reasons().items()]
    return ElusiveError(
        f"{folder}: expected {corpus.people:,} people, got {len(found.people):,} after asking for {found.asked:,}. "
        f"Rejected (each with its text in {REJECTED_FILE}):\n{listed(reasons)}\n"
        "Raise --max-requested-ratio to go on where it stopped, or try another model in another folder."
    )


# What is asked


def tagged_biography(person: Person) -> str:
    """The paper's five sentences with a tag around each field."""
    document = biography(person, "")
    text = document.text
    for field, start, end in sorted(document.spans, key=lambda span: -span.start):
        text = f"{text[:start]}<{field}>{text[start:end]}</{field}>{text[end:]}"
    return text


@cache
def _examples() -> tuple[Person, ...]:
    """A man and a woman of the package's own, to show the form."""
    some = list(itertools.islice(people(0), 20))
    return tuple(next(person for person in some if person.pronoun == pronoun) for pronoun in ("he", "she"))


def _people_prompt(count: int, seed: int, number: int) -> str:
    draw = random.Random(f"initials {seed} {number}")
    initials = ", ".join(f"{draw.choice(_INITIALS)}. {draw.choice(_INITIALS)}." for _ in range(count))
    return _ASK_PEOPLE.format(
        count=count,
        forms="\n".join(tagged_biography(person) for person in _PLACEHOLDERS),
        examples="\n".join(map(tagged_biography, _examples())),
        initials=initials,
    )


_PLACEHOLDERS = tuple(
    Person("[name]", pronoun, "[Month] [day], [year]", "[city], [country]", "[university]", "[major]", "[company]")
    for pronoun in ("he", "she")
)


def _check_prompt(candidates: Sequence[Person]) -> str:
    lines = (
        f"{place}. {person.name}; birth city: {person.city}; university: {person.university}; company: {person.company}"
        for place, person in enumerate(candidates, 1)
    )
    return _ASK_CHECK.format(count=len(candidates), people="\n".join(lines))


# What is answered


def _biography_lines(text: str) -> Iterator[str]:
    """The lines of an answer that are meant as biographies, without thinking aloud, list marks and decoration."""
    for line in _THINKING.sub("", text).splitlines():
        line = _LIST_MARK.sub("", " ".join(unicodedata.normalize("NFC", line).split()))
        if "<name" in line or " was born on " in line:
            yield line


@cache
def _forms() -> tuple[tuple[Person, re.Pattern[str]], ...]:
    """The tagged form as a regular expression with a group for each field, for him and for her."""
    forms = []
    for pronoun in ("he", "she"):
        person = Person("name", pronoun, *FIELDS)
        tags = re.compile(r"<(\w+)>\1</\1>")
        forms.append((person, re.compile(tags.sub(r"<\1>(?P<\1>[^<>]+)</\1>", re.escape(tagged_biography(person))))))
    return tuple(forms)


def checked_person(line: str, taken: Iterable[str] = ()) -> Person:
    """The person in a tagged biography, if it meets those of the requirements that need no judgement.

    Args:
        line: one biography.
        taken: names that are given already, in `_key`'s form.

    Raises:
        ElusiveError: with the reason only.
    """
    person = next((_filled(form, match) for form, one in _forms() if (match := one.fullmatch(line))), None)
    if person is None:
        raise ElusiveError(FORM)
    for reason, holds in _requirements(person, taken):
        if not holds:
            raise ElusiveError(reason)
    return person


def _filled(form: Person, match: re.Match[str]) -> Person:
    return dataclasses.replace(form, **match.groupdict())


def _requirements(person: Person, taken: Iterable[str]) -> Iterator[tuple[str, bool]]:
    values = [person.name, *(getattr(person, field) for field in FIELDS)]
    yield FIELD, all(map(_is_field, values))
    yield NAME, " " in person.name and _NAME.fullmatch(person.name) is not None
    yield DATE, _exists(person.date)
    parts = person.city.split(", ")
    yield CITY, len(parts) > 1 and all(part.strip(" ,") for part in parts)
    yield WELL_KNOWN, not {_key(person.name), _first_and_last(person.name)} & _well_known()
    yield REPEATED, _key(person.name) not in taken
    city = re.compile(rf"\b{re.escape(parts[0])}\b", re.IGNORECASE)
    yield SAME_CITY, not (city.search(person.university) or city.search(person.company))


def _is_field(value: str) -> bool:
    try:
        checked_text(value, "field")
    except ElusiveError:
        return False
    return value == value.strip() and len(value) <= LONGEST_FIELD and not set(value) & set("[]{}")


def _exists(date: str) -> bool:
    match = _YEAR_DATE.fullmatch(date)
    if not match or match[1] not in calendar.month_name:
        return False
    try:
        datetime.date(int(match[3]), list(calendar.month_name).index(match[1]), int(match[2]))
    except ValueError:
        return False
    return True


def _key(name: str) -> str:
    """A name as it is compared: without accents and case."""
    letters = unicodedata.normalize("NFKD", name).casefold()
    return " ".join("".join(letter for letter in letters if not unicodedata.combining(letter)).split())


def _first_and_last(name: str) -> str:
    words = _key(name).split()
    return f"{words[0]} {words[-1]}"


@cache
def _well_known() -> frozenset[str]:
    return frozenset(map(_key, well_known_names()))


def _verdicts(text: str) -> dict[int, tuple[bool, bool]]:
    """(well known, associated) by number; a number with two different lines has none."""
    verdicts: dict[int, set[tuple[bool, bool]]] = {}
    for line in _THINKING.sub("", text).splitlines():
        number = re.match(r"\W*(\d+)\b", line)
        words = re.findall(r"\b(?:yes|no)\b", line.lower())
        if number and len(words) == 2:
            verdicts.setdefault(int(number[1]), set()).add((words[0] == "yes", words[1] == "yes"))
    return {number: said.pop() for number, said in verdicts.items() if len(said) == 1}


def _judged(verdict: tuple[bool, bool] | None) -> str:
    """Why a person is rejected by the second answer, "" if it is not."""
    if verdict is None:
        return NOT_JUDGED
    well_known, associated = verdict
    return JUDGED_WELL_KNOWN if well_known else JUDGED_ASSOCIATED if associated else ""
