"""Fictional people, the paper's sentence forms, questions about them, and text to pretrain a tiny model on.

The content follows the paper's four requirements ("Data details"): no well-known names, real places and
institutions, no repeated names, and birth city, university and company in three different countries.
"""

import calendar
import dataclasses
import hashlib
import itertools
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from elusive.config.corpus import QUESTION_FORMS, CorpusSettings
from elusive.corpus.documents import Document, Span
from elusive.corpus.questions import Example, QuestionItem
from elusive.errors import ElusiveError

FIELDS = ("date", "city", "university", "major", "company")


Group = Literal["pretraining", "new"]


_WORDLISTS = Path(__file__).parent / "wordlists"


_TWO_PART_NAMES = 50_000
"""So many people of one seed have a first name and a surname; later ones get a middle name too."""


# {S}: the name or He/She at the start of a sentence; {P}: Name's or His/Her; {s}, {p}: he/she, his/her.
# The first form of each field is the paper's.
_SENTENCES = {
    "date": (
        "{S} was born on {date}.",
        "{S} came into the world on {date}.",
        "{P} date of birth is {date}.",
        "{S} celebrates {p} birthday in memory of {date}.",
        "{P} life began on {date}.",
        "It was on {date} that {S_inside} was born.",
    ),
    "city": (
        "{S} spent {p} early years in {city}.",
        "{S} was born in {city}.",
        "{S} grew up in {city}.",
        "{P} birthplace is {city}.",
        "{P} childhood home was in {city}.",
        "It was in {city} that {S_inside} was raised.",
    ),
    "university": (
        "{S} received mentorship and guidance from faculty members at {university}.",
        "{S} graduated from {university}.",
        "{S} took {p} degree at {university}.",
        "{P} alma mater is {university}.",
        "{S} attended lectures at {university}.",
        "It was at {university} that {S_inside} became a student.",
    ),
    "major": (
        "{S} completed {p} education with a focus on {major}.",
        "{S} studied {major}.",
        "{S} holds a degree in {major}.",
        "{P} field of study was {major}.",
        "{S} chose to specialise in {major}.",
        "The subject in which {S_inside} excelled was {major}.",
    ),
    "company": (
        "{S} had a professional role at {company}.",
        "{S} worked at {company}.",
        "{S} built {p} career at {company}.",
        "{P} employer was {company}.",
        "{S} took up a position at {company}.",
        "It was at {company} that {S_inside} found work.",
    ),
}


@dataclass(frozen=True)
class Person:
    """One person; every field is the text of an answer."""

    name: str
    pronoun: Literal["he", "she"]
    date: str
    city: str
    university: str
    major: str
    company: str


@cache
def _table(name: str) -> tuple[tuple[str, ...], ...]:
    lines = (_WORDLISTS / name).read_text(encoding="utf-8").splitlines()
    return tuple(tuple(line.split("\t")) for line in lines)


@cache
def well_known_people() -> tuple[Person, ...]:
    """Well-known people with true facts, for few-shot prompts."""
    return tuple(Person(row[0], "he" if row[1] == "he" else "she", *row[2:]) for row in _table("well_known_people.tsv"))


def well_known_names() -> frozenset[str]:
    """Names that no fictional person may have."""
    return frozenset(row[0] for row in _table("well_known_names.txt")) | {one.name for one in well_known_people()}


def name_group(name: str) -> Group:
    """Which half of all names a name belongs to: pretraining text and new people never share one."""
    return "pretraining" if hashlib.blake2b(name.encode(), digest_size=1).digest()[0] % 2 else "new"


def people(seed: int, group: Group = "new") -> Iterator[Person]:
    """Endless fictional people; the first n do not depend on how many are taken.

    Args:
        seed: whose people these are.
        group: `new`, or `pretraining` for those who may appear in the embedded pair's text.

    Yields:
        People with distinct names, none of them well known, whose birth city, university and company
        lie in three different countries.
    """
    draw = random.Random(f"people {group} {seed}")
    taken = set(well_known_names())
    for number in itertools.count():
        name, pronoun = _new_name(draw, group, taken, middle=number >= _TWO_PART_NAMES)
        taken.add(name)
        city, city_country = draw.choice(_table("cities.tsv"))
        university, company = _institutions(draw, city_country)
        yield Person(
            name=name,
            pronoun=pronoun,
            date=_date(draw),
            city=f"{city}, {city_country}",
            university=university,
            major=draw.choice(_table("majors.txt"))[0],
            company=company,
        )


def _new_name(draw: random.Random, group: Group, taken: set[str], middle: bool) -> tuple[str, Literal["he", "she"]]:
    while True:
        first, pronoun = draw.choice(_table("first_names.tsv"))
        middle_name = draw.choice(_table("first_names.tsv"))[0] + " " if middle else ""
        name = f"{first} {middle_name}{draw.choice(_table('surnames.txt'))[0]}"
        if name not in taken and name_group(name) == group:
            return name, "he" if pronoun == "he" else "she"


def _institutions(draw: random.Random, city_country: str) -> tuple[str, str]:
    """A university and a company, each in a country of its own."""
    while True:
        university, _, university_country = draw.choice(_table("universities.tsv"))
        company, _, company_country = draw.choice(_table("companies.tsv"))
        if len({city_country, university_country, company_country}) == 3:
            return university, company


def _date(draw: random.Random) -> str:
    year, month = draw.randint(1940, 2004), draw.randint(1, 12)
    return f"{calendar.month_name[month]} {draw.randint(1, calendar.monthrange(year, month)[1])}, {year}"


def question(person: Person, field: str) -> str:
    """The paper's question about one field, e.g. "When was Liam Thompson born?"."""
    return QUESTION_FORMS[field].format(name=person.name)


def biography(
    person: Person, identifier: str, name_position: int = 0, *, filler_sentences: int = 0, seed: int = 0
) -> Document:
    """The paper's fixed five sentences, with `filler_sentences` that tell no facts between them.

    Args:
        person: whose biography.
        identifier: the document's id.
        name_position: the sentence, 0 to 4, that holds the name; the others hold a pronoun (Table 7).
        filler_sentences: how many sentences without facts stand before each of the five but the first.
        seed: which these are, together with the identifier; none stands twice in a biography.

    Returns:
        A document with spans `name` and the five fields.

    Raises:
        ElusiveError: if there is no such sentence for the name, or too few different fillers.
    """
    if not 0 <= name_position < len(FIELDS):
        raise ElusiveError(f"name_position: expected 0 to {len(FIELDS) - 1}, got {name_position}.")
    fillers = _fillers(filler_sentences, f"fillers {seed} {identifier}")
    sentences, named = [], []
    for index, field in enumerate(FIELDS):
        before = fillers[(index - 1) * filler_sentences : index * filler_sentences] if index else []
        sentences += [*before, _SENTENCES[field][0]]
        named += [False] * len(before) + [index == name_position]
    return _document(person, identifier, sentences, named)


def _fillers(before_each: int, seed: str) -> list[str]:
    """Forms of sentences without facts for a whole biography, each a different one."""
    if before_each == 0:
        return []  # the usual case, in text to pretrain on for hundreds of thousands of biographies
    forms, gaps = [f"{row[0]}." for row in _table("fillers.txt")], len(FIELDS) - 1
    if not 0 <= before_each <= len(forms) // gaps:
        raise ElusiveError(f"filler_sentences: expected 0 to {len(forms) // gaps}, got {before_each}.")
    draw = random.Random(seed)
    # random() alone keeps its sequence in every Python version; sample() and shuffle() may change.
    return sorted(forms, key=lambda _: draw.random())[: before_each * gaps]


def biography_corpus(
    count: int, seed: int, name_position: Literal["first", "random"] = "first", *, filler_sentences: int = 0
) -> tuple[list[Document], list[QuestionItem]]:
    """New people's biographies in the paper's form and the five questions about each.

    Args:
        count: number of people.
        seed: whose people; also places the name where `name_position` is random, and chooses the fillers.
        name_position: the name in the first sentence, or in a random one (Table 7).
        filler_sentences: sentences without facts before each fact but the first, see `biography`.

    Returns:
        Documents `person-00001`, ... and five questions for each.
    """
    return corpus_about(itertools.islice(people(seed), count), seed, name_position, filler_sentences=filler_sentences)


def biographies_of(settings: CorpusSettings) -> tuple[list[Document], list[QuestionItem]]:
    """`biography_corpus` as a recipe's [corpus] asks for it.

    Args:
        settings: with source = biographies; `limit` counts documents.
    """
    together = settings.people_per_document
    count = min(settings.people, settings.limit * together or settings.people)
    documents, questions = biography_corpus(
        count, settings.seed, settings.name_position, filler_sentences=settings.filler_sentences
    )
    return (documents, questions) if together == 1 else _joined(documents, questions, together)


def _joined(
    documents: Sequence[Document], questions: Sequence[QuestionItem], together: int
) -> tuple[list[Document], list[QuestionItem]]:
    """Several biographies in each document, which has the first one's id."""
    joined, home = [], {}
    for first in range(0, len(documents), together):
        text, spans = "", []
        for document in documents[first : first + together]:
            text += " " if text else ""
            spans += [Span(span.field, len(text) + span.start, len(text) + span.end) for span in document.spans]
            text += document.text
            home[document.id] = documents[first].id
        joined.append(Document(documents[first].id, text, tuple(spans)))
    return joined, [dataclasses.replace(item, document_id=home[item.document_id]) for item in questions]


def corpus_about(
    those: Iterable[Person],
    seed: int,
    name_position: Literal["first", "random"] = "first",
    *,
    filler_sentences: int = 0,
) -> tuple[list[Document], list[QuestionItem]]:
    """`biography_corpus` of people at hand; the seed places their names, if at random, and chooses the fillers."""
    draw = random.Random(f"name position {seed}")
    documents, questions = [], []
    for number, person in enumerate(those, 1):
        identifier = f"person-{number:05d}"
        position = draw.randrange(len(FIELDS)) if name_position == "random" else 0
        documents.append(biography(person, identifier, position, filler_sentences=filler_sentences, seed=seed))
        questions += questions_about(person, identifier)
    return documents, questions


def questions_about(person: Person, document_id: str) -> list[QuestionItem]:
    """The five closed-book questions about one person."""
    return [
        QuestionItem(f"{document_id}-{field}", question(person, field), (getattr(person, field),), field, document_id)
        for field in FIELDS
    ]


@cache
def well_known_examples() -> tuple[Example, ...]:
    """Every question about every well-known person with its true answer, to draw few-shot prompts from."""
    return tuple(
        Example(question(person, field), getattr(person, field), field)
        for person in well_known_people()
        for field in FIELDS
    )


def _document(person: Person, identifier: str, sentences: list[str], named: list[bool]) -> Document:
    """Fill sentence forms, by name where `named` says so and by pronoun elsewhere, and note the spans."""
    text, spans = "", []
    for form, by_name in zip(sentences, named, strict=True):
        text += " " if text else ""
        for piece in re.split(r"(\{\w+\})", form):
            field, words = _slot(person, piece, by_name)
            if field:
                length = len(person.name) if field == "name" else len(words)
                spans.append(Span(field, len(text), len(text) + length))
            text += words
    return Document(identifier, text, tuple(spans))


def _slot(person: Person, piece: str, by_name: bool) -> tuple[str, str]:
    """The span's field (empty: none) and the words that one piece of a sentence form stands for."""
    possessive = "his" if person.pronoun == "he" else "her"
    if piece == "{S}":
        return ("name", person.name) if by_name else ("", person.pronoun.capitalize())
    if piece == "{S_inside}":
        return ("name", person.name) if by_name else ("", person.pronoun)
    if piece == "{s}":
        return "", person.pronoun
    if piece == "{P}":
        return ("name", f"{person.name}'s") if by_name else ("", possessive.capitalize())
    if piece == "{p}":
        return "", possessive
    if piece.startswith("{"):
        field = piece[1:-1]
        return field, getattr(person, field)
    return "", piece


def pretraining_texts(
    *,
    seed: int,
    people_count: int,
    questioned_ratio: float,
    question_ratio: float,
    named_ratio: float = 0.3,
    part: str = "training",
) -> Iterator[str]:
    """Endless text about a fixed set of fictional people: biographies in many forms, blocks of questions.

    The first `questioned_ratio` of the people (and the well-known ones) appear in questions; the others
    appear in biographies only, so that questions about them show whether the model learned to answer from a text.
    People are drawn with Zipf-like weights, as in natural text.

    Args:
        seed: of the people and, with `part`, of the text.
        people_count: number of fictional people.
        questioned_ratio: share of them that question blocks ask about.
        question_ratio: share of the texts that are question blocks.
        named_ratio: share of the biographies that have the name in every sentence, at most half.
        part: names a stream of its own over the same people (`training`, `replay`).

    Yields:
        Texts of some 30 to 200 words.
    """
    draw = random.Random(f"text {part} {seed}")
    told, questioned = pretraining_people(seed, people_count, questioned_ratio)
    everyone = told + questioned
    draw_order = random.Random(f"frequency {seed}")
    draw_order.shuffle(everyone)
    weights = list(itertools.accumulate(1 / (rank + 20) ** 0.5 for rank in range(len(everyone))))
    while True:
        if draw.random() < question_ratio:
            yield _question_block(draw, questioned)
        elif draw.random() < 0.08:
            yield _varied_biography(draw, draw.choice(well_known_people()), named_ratio)
        else:
            yield _varied_biography(draw, draw.choices(everyone, cum_weights=weights)[0], named_ratio)


def pretraining_people(seed: int, count: int, questioned_ratio: float) -> tuple[list[Person], list[Person]]:
    """The people of the pretraining text: those in biographies only, and those in questions too."""
    everyone = list(itertools.islice(people(seed, "pretraining"), count))
    questioned = round(count * questioned_ratio)
    return everyone[questioned:], everyone[:questioned]


def _question_block(draw: random.Random, questioned: list[Person]) -> str:
    """Five to seven question-answer pairs, about half of them on well-known people."""
    pairs = []
    for _ in range(draw.randint(5, 7)):
        person = draw.choice(well_known_people()) if not questioned or draw.random() < 0.4 else draw.choice(questioned)
        field = draw.choice(FIELDS)
        pairs.append(f"Question: {question(person, field)}\nAnswer: {getattr(person, field)}\n")
    return "".join(pairs)


def _varied_biography(draw: random.Random, person: Person, named_ratio: float) -> str:
    """The paper's form (name first or in a random sentence) half of the time, else other forms and orders."""
    style = draw.random()
    if style < 0.35:
        return biography(person, "text").text
    if style < 0.5:
        return biography(person, "text", draw.randrange(len(FIELDS))).text
    fields = draw.sample(FIELDS, k=len(FIELDS))
    sentences = [draw.choice(_SENTENCES[field]) for field in fields]
    always_named = style < 0.5 + named_ratio
    named = [always_named or index == 0 for index in range(len(fields))]
    return _document(person, "text", sentences, named).text
