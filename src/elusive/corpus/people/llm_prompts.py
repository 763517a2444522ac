"""The prompts for a language model: the paper's tagged form and its requirements, then a second question."""

import itertools
import random
from collections.abc import Sequence
from functools import cache

from .biographies import Person, biography, people

_INITIALS = "ABCDEFGHIJKLMNOPRSTVWYZ"


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


def tagged_biography(person: Person) -> str:
    """The paper's five sentences with a tag around each field."""
    document = biography(person, "")
    text = document.text
    for field, start, end in sorted(document.spans, key=lambda span: -span.start):
        text = f"{text[:start]}<{field}>{text[start:end]}</{field}>{text[end:]}"
    return text


@cache
def form_examples() -> tuple[Person, ...]:
    """A man and a woman from the package's own generator, to show the form."""
    some = list(itertools.islice(people(0), 20))
    return tuple(next(person for person in some if person.pronoun == pronoun) for pronoun in ("he", "she"))


def people_prompt(count: int, seed: int, number: int) -> str:
    """The request for some people; `number` tells the requests of a run apart, each with other initials."""
    draw = random.Random(f"initials {seed} {number}")
    initials = ", ".join(f"{draw.choice(_INITIALS)}. {draw.choice(_INITIALS)}." for _ in range(count))
    return _ASK_PEOPLE.format(
        count=count,
        forms="\n".join(tagged_biography(person) for person in _PLACEHOLDERS),
        examples="\n".join(map(tagged_biography, form_examples())),
        initials=initials,
    )


_PLACEHOLDERS = tuple(
    Person("[name]", pronoun, "[Month] [day], [year]", "[city], [country]", "[university]", "[major]", "[company]")
    for pronoun in ("he", "she")
)


def check_prompt(candidates: Sequence[Person]) -> str:
    """The second question: who is well known, and whose places are strongly associated."""
    lines = (
        f"{place}. {person.name}; birth city: {person.city}; university: {person.university}; company: {person.company}"
        for place, person in enumerate(candidates, 1)
    )
    return _ASK_CHECK.format(count=len(candidates), people="\n".join(lines))
