"""A language model's answers: biographies checked against the paper's requirements, and its verdicts on them."""

import calendar
import dataclasses
import datetime
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

from elusive.corpus.values import checked_text
from elusive.errors import ElusiveError
from elusive.messages import visible

from .biographies import FIELDS, Person, well_known_names
from .llm_prompts import tagged_biography

LONGEST_FIELD = 100
"""In characters; what is longer is no name of anything."""


# Reasons why a biography is rejected, as rejected.jsonl gives them.

EMPTY = "an answer without a biography"


FORM = "not in the requested form"


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


NOT_NEEDED = "more people than requested"


_THINKING = re.compile(r"\A\s*<think>.*?(</think>|\Z)", re.DOTALL)


_LIST_MARK = re.compile(r"^(?:\d+[.)]|[-*•])\s+")


_NAME = re.compile(r"[^\W\d_]+(?:(?:[.'\u2019-] ?| )[^\W\d_]+)*\.?")


_YEAR_DATE = re.compile(r"(\w+) ([1-9]\d?), (\d{4})")


def biography_lines(text: str) -> Iterator[str]:
    """The lines of an answer that are meant as biographies, without thoughts, list marks and extra spaces."""
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
    """The person in a tagged biography, if it meets the requirements that need no judgement.

    Args:
        line: one biography.
        taken: names that are taken, as `name_key` gives them.

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
    yield WELL_KNOWN, not {name_key(person.name), _first_and_last(person.name)} & _well_known()
    yield REPEATED, name_key(person.name) not in taken
    city = re.compile(rf"\b{re.escape(parts[0])}\b", re.IGNORECASE)
    yield SAME_CITY, not (city.search(person.university) or city.search(person.company))


def _is_field(value: str) -> bool:
    try:
        checked_text(value, "field")
    except ElusiveError:
        return False
    legible = visible(value) == value and "\ufffd" not in value
    return legible and value == value.strip() and len(value) <= LONGEST_FIELD and not set(value) & set("[]{}")


def _exists(date: str) -> bool:
    match = _YEAR_DATE.fullmatch(date)
    if not match or match[1] not in calendar.month_name:
        return False
    try:
        datetime.date(int(match[3]), list(calendar.month_name).index(match[1]), int(match[2]))
    except ValueError:
        return False
    return True


def name_key(name: str) -> str:
    """A name without accents and case, for comparing names."""
    letters = unicodedata.normalize("NFKD", name).casefold()
    return " ".join("".join(letter for letter in letters if not unicodedata.combining(letter)).split())


def _first_and_last(name: str) -> str:
    words = name_key(name).split()
    return f"{words[0]} {words[-1]}"


@cache
def _well_known() -> frozenset[str]:
    return frozenset(map(name_key, well_known_names()))


def verdicts_by_number(text: str) -> dict[int, tuple[bool, bool]]:
    """(well known, associated) by number; a number with two different lines has none."""
    verdicts: dict[int, set[tuple[bool, bool]]] = {}
    for line in _THINKING.sub("", text).splitlines():
        number = re.match(r"\W*(\d+)\b", line)
        words = re.findall(r"\b(?:yes|no)\b", line.lower())
        if number and len(words) == 2:
            verdicts.setdefault(int(number[1]), set()).add((words[0] == "yes", words[1] == "yes"))
    return {number: said.pop() for number, said in verdicts.items() if len(said) == 1}


def judged(verdict: tuple[bool, bool] | None) -> str:
    """Why a person is rejected by the second answer, "" if it is not."""
    if verdict is None:
        return NOT_JUDGED
    well_known, associated = verdict
    return JUDGED_WELL_KNOWN if well_known else JUDGED_ASSOCIATED if associated else ""
