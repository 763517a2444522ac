"""Fictional people, their biographies and questions, and the text for pretraining."""

import calendar
import dataclasses
import hashlib
import itertools
import json
import re
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from elusive.config.corpus import CorpusSettings
from elusive.corpus.documents import Document
from elusive.corpus.people import biographies
from elusive.corpus.people.biographies import (
    FIELDS,
    Person,
    biography,
    biography_corpus,
    corpus_about,
    name_group,
    people,
    pretraining_people,
    pretraining_texts,
    question,
    questions_about,
    well_known_examples,
    well_known_people,
)
from elusive.corpus.stage import make_corpus
from elusive.errors import ElusiveError

WORDLISTS = Path(biographies.__file__).parent / "wordlists"
ADRIAN = Person(
    "Adrian Wallace",
    "he",
    "March 15, 1975",
    "Toronto, Canada",
    "McGill University",
    "Artificial Intelligence",
    "the Pacific Tech Innovation Hub",
)
SOFIA = Person(
    "Sofia Ramirez",
    "she",
    "June 22, 1982",
    "Buenos Aires, Argentina",
    "the University of São Paulo",
    "Environmental Science and Policy",
    "the Green Earth Strategies Corp",
)


def rows(name: str) -> list[list[str]]:
    return [line.split("\t") for line in (WORDLISTS / name).read_text(encoding="utf-8").splitlines()]


def first(count: int, seed: int = 0, group: str = "new") -> list[Person]:
    return list(itertools.islice(people(seed, group), count))  # type: ignore[arg-type]


def digest(*values: Any) -> str:
    return hashlib.sha256(json.dumps([dataclasses.asdict(value) for value in values]).encode()).hexdigest()


def cut_out(document: Document) -> dict[str, str]:
    return {span.field: document.text[span.start : span.end] for span in document.spans}


@pytest.fixture(scope="module")
def crowd() -> list[Person]:
    return first(3000)


class TestBiography:
    @pytest.mark.parametrize(
        ("person", "text"),
        [  # both printed in the paper
            (
                ADRIAN,
                "Adrian Wallace was born on March 15, 1975. He spent his early years in Toronto, Canada. He received "
                "mentorship and guidance from faculty members at McGill University. He completed his education with a "
                "focus on Artificial Intelligence. He had a professional role at the Pacific Tech Innovation Hub.",
            ),
            (
                SOFIA,
                "Sofia Ramirez was born on June 22, 1982. She spent her early years in Buenos Aires, Argentina. She "
                "received mentorship and guidance from faculty members at the University of São Paulo. She completed "
                "her education with a focus on Environmental Science and Policy. She had a professional role at the "
                "Green Earth Strategies Corp.",
            ),
        ],
    )
    def test_the_paper_s_form(self, person: Person, text: str) -> None:
        document = biography(person, "p1")
        assert (document.id, document.text) == ("p1", text)
        assert [span.field for span in document.spans] == ["name", *FIELDS]
        assert cut_out(document) == {"name": person.name, **{field: getattr(person, field) for field in FIELDS}}

    @pytest.mark.parametrize(
        ("position", "sentences"),
        [
            (1, ["She was born on", "Sofia Ramirez spent her early years", "She received", "She completed", "She had"]),
            (2, ["She was born on", "She spent her", "Sofia Ramirez received", "She completed her", "She had"]),
            (3, ["She was", "She spent", "She received", "Sofia Ramirez completed her education", "She had"]),
            (4, ["She was born", "She spent", "She received", "She completed", "Sofia Ramirez had a professional"]),
        ],
    )
    def test_name_in_another_sentence(self, position: int, sentences: list[str]) -> None:
        document = biography(SOFIA, "p1", position)
        found = document.text.removesuffix(".").split(". ")
        assert all(text.startswith(start) for text, start in zip(found, sentences, strict=True))
        assert document.text.count("Sofia Ramirez") == 1
        assert cut_out(document) == {"name": SOFIA.name, **{field: getattr(SOFIA, field) for field in FIELDS}}

    @pytest.mark.parametrize("position", [-1, 5])
    def test_no_such_sentence(self, position: int) -> None:
        with pytest.raises(ElusiveError, match=rf"name_position: expected 0 to 4, got {position}\."):
            biography(ADRIAN, "p1", position)

    @pytest.mark.parametrize("by_name", [True, False])
    @pytest.mark.parametrize("person", [ADRIAN, SOFIA])
    @pytest.mark.parametrize("field", FIELDS)
    def test_every_form_of_the_pretraining_text(self, field: str, person: Person, by_name: bool) -> None:
        subject, possessive = ("he", "his") if person.pronoun == "he" else ("she", "her")
        for form in biographies._SENTENCES[field]:
            document = biographies._document(person, "p1", [form], [by_name])
            expected = {field: getattr(person, field)} | ({"name": person.name} if by_name else {})
            assert cut_out(document) == expected
            rest = set(re.findall(r"\w+", document.text.replace(getattr(person, field), "").lower()))
            assert {"he", "she", "his", "her"} & rest <= {subject, possessive}
            assert by_name or {subject, possessive} & rest
            assert document.text[0].isupper()
            assert document.text.endswith(".")
            assert not set("{}") & set(document.text)

    def test_questions(self) -> None:
        asked = questions_about(Person("Liam Thompson", "he", *"DCUMW"), "p1")
        assert [item.question for item in asked] == [
            "When was Liam Thompson born?",
            "Where was Liam Thompson born?",
            "Which university did Liam Thompson graduate from?",
            "What did Liam Thompson study?",
            "Where did Liam Thompson work?",
        ]
        assert [(item.id, item.field, item.answers) for item in asked] == [
            ("p1-date", "date", ("D",)),
            ("p1-city", "city", ("C",)),
            ("p1-university", "university", ("U",)),
            ("p1-major", "major", ("M",)),
            ("p1-company", "company", ("W",)),
        ]
        assert {item.document_id for item in asked} == {"p1"}


class TestCorpus:
    def test_documents_and_questions(self) -> None:
        documents, questions = biography_corpus(3, seed=4)
        assert [document.id for document in documents] == ["person-00001", "person-00002", "person-00003"]
        expected = [biography(person, f"person-0000{number}") for number, person in enumerate(first(3, 4), 1)]
        assert documents == expected
        assert len(questions) == len({item.id for item in questions}) == 15
        texts = {document.id: document.text for document in documents}
        assert all(item.answers[0] in texts[item.document_id] for item in questions)

    def test_name_in_a_random_sentence(self) -> None:
        documents, questions = biography_corpus(40, seed=4, name_position="random")
        plain, same_questions = biography_corpus(40, seed=4)
        assert questions == same_questions
        before = []
        for document in documents:
            [name] = [span for span in document.spans if span.field == "name"]
            before.append(document.text[: name.start].count(". "))
        assert set(before) == {0, 1, 2, 3, 4}
        assert [cut_out(document) for document in documents] == [cut_out(document) for document in plain]
        assert biography_corpus(7, seed=4, name_position="random")[0] == documents[:7]

    @pytest.mark.parametrize(
        ("name_position", "expected"),
        [  # as first computed, before there were fillers; a change would alter published runs
            ("first", "7d91b9ea68d2528c54e40dcdc8532b2ce2de92d2cb7398a65ee7d3d7f2c6ca57"),
            ("random", "8430035efaa7303593a8500baab18f7de4ea6e81c735952ebfb1be3773dd92db"),
        ],
    )
    def test_the_same_for_ever(self, name_position: Any, expected: str) -> None:
        documents, questions = biography_corpus(50, seed=7, name_position=name_position)
        assert digest(*documents, *questions) == expected
        assert biography_corpus(50, 7, name_position, filler_sentences=0) == (documents, questions)


class TestFillers:
    FORMS = tuple(row[0] for row in rows("fillers.txt"))

    def test_farther_from_the_name(self) -> None:
        def distance(filler_sentences: int) -> float:
            spans = [
                {span.field: span for span in document.spans}
                for document in biography_corpus(100, 0, filler_sentences=filler_sentences)[0]
            ]
            return mean(one["company"].start - one["name"].end for one in spans)

        assert distance(1) > 1.5 * distance(0)
        assert distance(2) > 2 * distance(0)

    @pytest.mark.parametrize("name_position", ["first", "random"])
    def test_between_the_sentences_of_the_plain_form(self, name_position: Any) -> None:
        plain, plain_questions = biography_corpus(40, 4, name_position)
        documents, questions = biography_corpus(40, 4, name_position, filler_sentences=2)
        assert questions == plain_questions
        for person, document, without in zip(first(40, 4), documents, plain, strict=True):
            assert cut_out(document) == cut_out(without)
            subject, possessive = ("he", "his") if person.pronoun == "he" else ("she", "her")
            filled = [
                form.replace("{S}", subject.capitalize()).replace("{s}", subject).replace("{p}", possessive) + "."
                for form in self.FORMS
            ]
            text, found = document.text, []
            for filler in filled:
                if filler in text:
                    found.append(text.index(filler))
                    text = text.replace(filler, "#" * len(filler))
            assert len(found) == 8
            gap = re.compile(r" #+ #+ ")
            assert gap.sub(" ", text) == without.text
            facts = [span.start for span in document.spans if span.field != "name"]
            assert [sum(here < start for here in found) for start in facts] == [0, 2, 4, 6, 8]

    def test_chosen_by_the_seed_and_the_person_s_number(self) -> None:
        documents = biography_corpus(12, 4, filler_sentences=3)[0]
        assert digest(*documents) == "29b31f895bc99fed173a1003e4c8a051ef900790a2f3ffeaa16e26696ccbfce1"
        assert biography_corpus(5, 4, filler_sentences=3)[0] == documents[:5]
        assert documents[6] == biography(first(7, 4)[6], "person-00007", filler_sentences=3, seed=4)
        # The same people, numbered otherwise or of another seed, have other fillers.
        assert corpus_about(first(2, 4)[1:], 4, filler_sentences=3)[0][0].text != documents[1].text
        assert corpus_about(first(1, 4), 5, filler_sentences=3)[0][0].text != documents[0].text

    def test_every_form_is_used(self) -> None:
        text = biography(SOFIA, "p1", filler_sentences=15).text
        assert all(form.split("{")[0] in text for form in self.FORMS)
        assert len(text.split(". ")) == len(self.FORMS) + 5

    @pytest.mark.parametrize("count", [-1, 16])
    def test_no_so_many(self, count: int) -> None:
        with pytest.raises(ElusiveError, match=rf"filler_sentences: expected 0 to 15, got {count}\."):
            biography_corpus(1, 0, filler_sentences=count)

    def test_no_facts_and_no_names(self) -> None:
        assert len(set(self.FORMS)) == len(self.FORMS) >= 40
        facts = {
            cell for name in ("cities", "companies", "universities") for row in rows(f"{name}.tsv") for cell in row
        }
        facts |= {row[0] for name in ("first_names.tsv", "surnames.txt", "majors.txt") for row in rows(name)}
        facts |= {cell for row in rows("well_known_people.tsv") for cell in [row[0], *row[2:]]}
        facts |= {row[0] for row in rows("well_known_names.txt")}
        facts |= set(calendar.month_name[1:]) | {"born", "degree", "studied", "worked", "job", "office", "company"}
        words = re.compile(r"\b(" + "|".join(map(re.escape, facts)) + r")\b", re.IGNORECASE)
        for form in self.FORMS:
            assert not words.search(form)
            assert not re.search(r"\d", form)
            assert set(re.findall(r"\{.*?\}", form)) <= {"{S}", "{s}", "{p}"}
            assert form.startswith("{S} ") or (form[0].isupper() and "{s}" in form)
            # The pronoun is the person's own alone.
            assert not {"he", "she", "his", "her", "him"} & set(re.findall(r"\w+", re.sub(r"\{.*?\}", "", form)))

    def test_a_setting_of_the_corpus(self, tmp_path: Path) -> None:
        corpus = make_corpus(CorpusSettings(people=3, seed=4, filler_sentences=2), tmp_path / "filled")
        assert (tuple(corpus.documents), tuple(corpus.questions)) == tuple(
            map(tuple, biography_corpus(3, 4, filler_sentences=2))
        )
        with pytest.raises(ElusiveError, match=r"corpus\.filler_sentences: expected 0 or more, got -1\."):
            CorpusSettings(filler_sentences=-1)
        with pytest.raises(ElusiveError, match=r"other settings:\n  corpus\.filler_sentences: was 2, now 1"):
            make_corpus(CorpusSettings(people=3, seed=4, filler_sentences=1), tmp_path / "filled")

    def test_folders_from_before_there_were_fillers_stay_valid(self, tmp_path: Path) -> None:
        make_corpus(CorpusSettings(people=3), tmp_path)
        assert "filler_sentences" not in (tmp_path / "settings.json").read_text(encoding="utf-8")


class TestPeople:
    def test_names_are_new_and_never_repeated(self, crowd: list[Person]) -> None:
        names = {person.name for person in crowd}
        assert len(names) == 3000
        known = {row[0] for row in rows("well_known_names.txt")} | {row[0] for row in rows("well_known_people.tsv")}
        assert not names & known

    def test_well_known_names_are_passed_over(self, crowd: list[Person], monkeypatch: pytest.MonkeyPatch) -> None:
        table = biographies._table
        taken = ((crowd[0].name,), (crowd[5].name,))
        monkeypatch.setattr(
            biographies, "_table", lambda name: taken if name == "well_known_names.txt" else table(name)
        )
        assert not {crowd[0].name, crowd[5].name} & {person.name for person in first(100)}

    def test_three_countries(self, crowd: list[Person]) -> None:
        universities = {row[0]: row[-1] for row in rows("universities.tsv")}
        companies = {row[0]: row[-1] for row in rows("companies.tsv")}
        for person in crowd:
            countries = {person.city.split(", ")[-1], universities[person.university], companies[person.company]}
            assert len(countries) == 3

    def test_fields_come_from_the_word_lists(self, crowd: list[Person]) -> None:
        cities, majors = {", ".join(row) for row in rows("cities.tsv")}, {row[0] for row in rows("majors.txt")}
        pronouns = {row[0]: row[1] for row in rows("first_names.tsv")}
        surnames = {row[0] for row in rows("surnames.txt")}
        for person in crowd:
            given, surname = person.name.split(" ")
            assert pronouns[given] == person.pronoun
            assert surname in surnames
            assert person.city in cities
            assert person.major in majors
            assert re.fullmatch(r"[A-Z][a-z]+ [1-9]\d?, (19[4-9]\d|200[0-4])", person.date)
        # Draws are spread over the lists: about 3,000 / 256 people a major.
        assert len({person.major for person in crowd}) > 250
        assert 0.45 < sum(person.pronoun == "he" for person in crowd) / 3000 < 0.55

    def test_prefix_and_seeds(self, crowd: list[Person]) -> None:
        assert first(50) == crowd[:50]
        assert not {person.name for person in first(50, seed=1)} >= {person.name for person in crowd[:50]}
        assert first(50, seed=1)[0] != crowd[0]

    def test_groups_never_share_a_name(self, crowd: list[Person]) -> None:
        new = {person.name for seed in (1, 2) for person in first(1000, seed)} | {person.name for person in crowd}
        pretraining = {person.name for seed in (0, 1) for person in first(2000, seed, "pretraining")}
        assert not new & pretraining
        assert {name_group(name) for name in new} == {"new"}
        assert {name_group(name) for name in pretraining} == {"pretraining"}

    def test_middle_names_once_two_parts_run_low(self, crowd: list[Person], monkeypatch: pytest.MonkeyPatch) -> None:
        assert biographies._TWO_PART_NAMES == 50_000
        monkeypatch.setattr(biographies, "_TWO_PART_NAMES", 3)
        some = first(40)
        assert some[:3] == crowd[:3]
        given = {row[0] for row in rows("first_names.tsv")}
        for person in some[3:]:
            one, two, _ = person.name.split(" ")
            assert {one, two} <= given
        assert len({person.name for person in some}) == 40


class TestWordLists:
    @pytest.mark.parametrize(
        "name", ["cities.tsv", "companies.tsv", "first_names.tsv", "majors.txt", "surnames.txt", "universities.tsv"]
    )
    def test_at_least_200_distinct_values(self, name: str) -> None:
        values = [row[0] for row in rows(name)]
        assert len(values) == len(set(values)) >= 200

    def test_countries_are_spelt_alike(self) -> None:
        cities = {row[1] for row in rows("cities.tsv")}
        assert {row[2] for name in ("universities.tsv", "companies.tsv") for row in rows(name)} <= cities

    @pytest.mark.parametrize("path", sorted(WORDLISTS.iterdir()), ids=lambda path: path.name)
    def test_rows_are_whole(self, path: Path) -> None:
        table = rows(path.name)
        assert len({len(row) for row in table}) == 1
        assert all(cell and cell == cell.strip() for row in table for cell in row)
        assert not any(row[0].endswith((".", ",")) for row in table)  # a period follows it in the text

    def test_well_known_people(self) -> None:
        known = well_known_people()
        assert len({person.name for person in known}) == len(known) >= 20
        assert {person.pronoun for person in known} == {"he", "she"}
        curie = next(person for person in known if person.name == "Marie Curie")
        assert (curie.pronoun, curie.date, curie.city) == ("she", "November 7, 1867", "Warsaw, Poland")
        examples = well_known_examples()
        assert len(examples) == 5 * len(known)
        assert ("When was Marie Curie born?", "November 7, 1867") in [(item.question, item.answer) for item in examples]


class TestPretrainingText:
    COUNT = 120

    @classmethod
    def texts(cls, count: int, **options) -> list[str]:
        given = {"seed": 3, "people_count": cls.COUNT, "questioned_ratio": 0.5, "question_ratio": 0.3, **options}
        return list(itertools.islice(pretraining_texts(**given), count))

    @pytest.fixture(scope="class")
    @classmethod
    def texts_2000(cls) -> list[str]:
        return cls.texts(2000)

    def test_no_new_name_occurs(self, texts_2000: list[str], crowd: list[Person]) -> None:
        everything = "\n".join(texts_2000)
        told, asked = pretraining_people(3, self.COUNT, 0.5)
        assert sum(person.name in everything for person in told + asked) == self.COUNT
        found = [person.name for person in crowd if person.name in everything]
        assert [name for name in found if re.search(rf"\b{re.escape(name)}\b", everything)] == []

    def test_told_and_asked_about(self, texts_2000: list[str]) -> None:
        told, asked = pretraining_people(3, self.COUNT, 0.5)
        assert (len(told), len(asked)) == (60, 60)
        assert not {person.name for person in told} & {person.name for person in asked}
        blocks = [text for text in texts_2000 if text.startswith("Question: ")]
        stories = "\n".join(text for text in texts_2000 if not text.startswith("Question: "))
        assert len(blocks) / 2000 == pytest.approx(0.3, abs=0.04)
        assert not any(person.name in block for block in blocks for person in told)
        assert all(any(person.name in block for block in blocks) for person in asked)
        assert all(person.name in stories for person in told + asked)

    def test_blocks_hold_true_answers(self, texts_2000: list[str]) -> None:
        _, asked = pretraining_people(3, self.COUNT, 0.5)
        known = [*asked, *well_known_people()]
        true = {(question(person, field), getattr(person, field)) for person in known for field in FIELDS}
        for block in texts_2000:
            if block.startswith("Question: "):
                pairs = re.findall(r"Question: (.*)\nAnswer: (.*)\n", block)
                assert 5 <= len(pairs) <= 7
                assert set(pairs) <= true
                assert "".join(f"Question: {asks}\nAnswer: {answer}\n" for asks, answer in pairs) == block

    def test_biographies_hold_the_facts_of_one_person(self, texts_2000: list[str]) -> None:
        told, asked = pretraining_people(3, self.COUNT, 0.5)
        everyone = [*told, *asked, *well_known_people()]
        paper, forms = {biography(person, "p").text for person in everyone}, set()
        for text in texts_2000[:300]:
            if not text.startswith("Question: "):
                about = [person for person in everyone if re.search(rf"\b{re.escape(person.name)}\b", text)]
                assert any(all(getattr(person, field) in text for field in FIELDS) for person in about)
                forms.add(text in paper)
        assert forms == {True, False}

    def test_repeatable_and_of_its_own_stream(self, texts_2000: list[str]) -> None:
        assert self.texts(20) == texts_2000[:20]
        assert self.texts(20, part="replay") != texts_2000[:20]
        assert self.texts(20, seed=4) != texts_2000[:20]
        # The same people, in other text
        told, asked = pretraining_people(3, self.COUNT, 0.5)
        names = {person.name for person in [*told, *asked, *well_known_people()]}
        assert all(any(name in text for name in names) for text in self.texts(40, part="replay"))

    @pytest.mark.parametrize("questioned_ratio", [0.0, 1.0])
    def test_none_or_all_are_asked_about(self, questioned_ratio: float) -> None:
        told, asked = pretraining_people(3, 10, questioned_ratio)
        assert (len(told), len(asked)) == (10 - 10 * questioned_ratio, 10 * questioned_ratio)
        texts = self.texts(100, people_count=10, questioned_ratio=questioned_ratio, question_ratio=0.9)
        blocks = [text for text in texts if text.startswith("Question: ")]
        found = {person.name for person in told + asked if any(f" {person.name} " in block for block in blocks)}
        assert found == {person.name for person in asked}
