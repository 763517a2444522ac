"""Spans found by answers, patterns and spaCy pipelines."""

import itertools
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elusive.config.corpus import CorpusSettings
from elusive.corpus.documents import Document
from elusive.corpus.questions import QuestionItem
from elusive.corpus.spans import INSIDE_WORDS, NO_DOCUMENT, NOWHERE, Unplaced, find_answer, mark, mark_entries, markers
from elusive.corpus.tags import Span
from elusive.errors import ElusiveError


def asked(document_id: str, *answers: str, field: str = "answer", id: str = "q") -> QuestionItem:
    return QuestionItem(id, "?", answers, field, document_id)


def marked(documents, settings, questions=()):
    chosen, counts = markers(settings, questions)
    return list(mark(documents, chosen)), counts


class TestFindAnswer:
    @pytest.mark.parametrize(
        ("text", "answer", "place"),
        [
            ("Born in Rome, Italy.", "Rome, Italy", (8, 19)),
            ("Rome is in Rome.", "Rome", (0, 4)),  # the first place
            ("Romeo saw Rome.", "Rome", (10, 14)),  # whole words
            ("the ART of art", "art", (11, 14)),  # its own case first
            ("the ART of it", "art", (4, 7)),  # then any
            ("the British\n\t Museum", "British Museum", (4, 20)),
            ("the British Museum", " British  Museum ", (4, 18)),
            ("a (UK)b", "(UK)", (2, 6)),  # brackets are no letters: words may go on beside them
            ("5%", "5%", (0, 2)),
            ("C++ and C", "C++", (0, 3)),
            ("It's Apple's.", "Apple", (5, 10)),
            ("彼は東京で生まれた", "東京", (2, 4)),  # no spaces between words
            ("서울에서 태어났다", "서울", (0, 2)),  # particles are joined to words
            ("日本のNASAは", "NASA", (3, 7)),
            ("राम आया।", "आया", (4, 7)),
            ("रामायण", "राम", None),  # a vowel sign is part of the word
            ("cafe\u0301", "cafe", None),
            ("a party", "art", None),
            ("in the 1990s", "1990", None),
            ("x_1", "x", None),
            ("nothing", "else", None),
            ("Straße", "Stra", None),
        ],
    )
    def test_by_hand(self, text, answer, place):
        assert find_answer(text, answer) == place

    @given(
        st.lists(st.text(st.characters(codec="utf-8"), max_size=12), max_size=4),
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(str.strip),
    )
    def test_an_answer_between_spaces_is_found(self, pieces, answer):
        text = " ".join([*pieces, answer, *pieces])
        start, end = find_answer(text, answer) or pytest.fail("not found")
        found, wanted = text[start:end].split(), answer.split()
        assert found == wanted or [word.casefold() for word in found] == [word.casefold() for word in wanted]
        assert start <= len(" ".join(pieces)) + 1 + len(answer)  # no later than where it was put

    @given(st.text("aAbB ,", max_size=20), st.text("aAbB,", min_size=1, max_size=3))
    def test_against_all_places_one_by_one(self, text, answer):
        def whole(start):
            end = start + len(answer)
            before = answer[0].isalpha() and text[:start][-1:].isalpha()
            after = answer[-1].isalpha() and text[end:][:1].isalpha()
            return not before and not after

        places = [start for start in range(len(text)) if whole(start)]
        own = [start for start in places if text.startswith(answer, start)]
        any_case = [start for start in places if text.lower().startswith(answer.lower(), start)]
        first = next(iter(own or any_case), None)
        assert find_answer(text, answer) == (None if first is None else (first, first + len(answer)))


class TestAnswers:
    def test_counts_and_spans(self):
        documents = [
            Document("a", "Ada was born in London in 1815."),
            Document("b", "Bob was born in Rome.", (Span("answer", 16, 20),)),
            Document("c", "Cleo was born in Cairo.", (Span("name", 0, 4),)),
            Document("d", "No question."),
        ]
        questions = [
            asked("a", "1815", field="date", id="q1"),
            asked("a", "London", "London, England", field="city", id="q2"),
            asked("b", "Bob", "Rome", id="q3"),
            asked("c", "cairo", id="q4"),
            asked("c", "Cair", id="q5"),
            asked("z", "Zoe", "Zoë", id="q6"),
        ]
        found, counts = marked(documents, CorpusSettings(), questions)
        assert [document.spans for document in found] == [
            (Span("city", 16, 22), Span("date", 26, 30)),
            (Span("answer", 16, 20),),  # it came with answers marked
            (Span("name", 0, 4), Span("answer", 17, 22)),  # a head entity is no answer
            (),
        ]
        assert (counts.questions, counts.found, counts.already_marked) == (6, 3, 2)
        assert counts.unplaced == [
            Unplaced("q2", "a", "London, England", NOWHERE),
            Unplaced("q5", "c", "Cair", INSIDE_WORDS),
            Unplaced("q6", "z", "Zoe", NO_DOCUMENT),
            Unplaced("q6", "z", "Zoë", NO_DOCUMENT),
        ]
        assert counts.lines() == [
            "3 of 9 answers found in their documents; 1 stand nowhere in their document, 1 stand there only as a part "
            "of longer words, 2 name no document, 2 left to the spans that their documents came with"
        ]

    def test_one_answer_of_two_questions_is_one_span(self):
        questions = [asked("a", "Rome", id="q1"), asked("a", "Rome", "rome", id="q2")]
        (document,), counts = marked([Document("a", "In Rome.")], CorpusSettings(), questions)
        assert document.spans == (Span("answer", 3, 7),)
        assert counts.found == 3
        assert counts.lines() == ["3 of 3 answers found in their documents"]

    def test_a_file_s_name_stands_for_its_chunks(self):
        texts = ["Romeo, in ROME.", "In Rome and Cairo.", "Cairo, once more, and Oslo."]
        chunks = [Document(f"guide.md#{number:04d}", text) for number, text in enumerate(texts, 1)]
        questions = [
            asked("guide.md", "Cairo", "Rome", id="q1"),
            asked("guide.md#0003", "Cairo", "Rome", id="q2"),
            asked("guide.md", "Bonn", "more, and Os", id="q3"),
            asked("guide", "Rome", id="q4"),
        ]
        found, counts = marked(chunks, CorpusSettings(), questions)
        assert [document.spans for document in found] == [
            (Span("answer", 10, 14),),
            (Span("answer", 12, 17),),
            (Span("answer", 0, 5),),
        ]
        assert counts.found == 3
        assert counts.unplaced == [
            Unplaced("q3", "guide.md", "Bonn", NOWHERE),
            Unplaced("q3", "guide.md", "more, and Os", INSIDE_WORDS),
            Unplaced("q2", "guide.md#0003", "Rome", NOWHERE),
            Unplaced("q4", "guide", "Rome", NO_DOCUMENT),
        ]

    def test_switched_off(self):
        document = Document("a", "In Rome.")
        found, counts = marked([document], CorpusSettings(mark_answers=False), [asked("a", "Rome")])
        assert found == [document]
        assert counts.lines() == []

    @given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["x y", "Rome", "ROME", "z"])), max_size=12))
    def test_every_answer_is_found_left_or_listed(self, pairs):
        documents = [Document(str(n), "In Rome: x  y.", (Span("fact", 0, 2),) if n % 3 == 0 else ()) for n in range(6)]
        questions = [asked(str(place), answer, id=str(n)) for n, (place, answer) in enumerate(pairs)]
        found, counts = marked(documents, CorpusSettings(), questions)
        assert counts.found + counts.already_marked + len(counts.unplaced) == len(pairs)
        assert [(document.id, document.text) for document in found] == [(d.id, d.text) for d in documents]
        for before, after in zip(documents, found, strict=True):
            assert set(before.spans) <= set(after.spans)
            assert len(set(after.spans)) == len(after.spans)
            assert list(after.spans) == sorted(after.spans, key=lambda span: span.start)


class TestPatterns:
    def test_whole_match_group_and_counts(self):
        settings = CorpusSettings(
            patterns=(r"year=\b[12]\d{3}\b", r"person=Dr\. (?P<span>\w+)", "void=x*", r"part=a(?P<span>b)?", "none=q")
        )
        text = "Dr. Smith, 1815 and 1990s, ab, ac"
        (document,), counts = marked([Document("a", text, (Span("year", 11, 15),))], settings)
        assert document.spans == (
            Span("person", 4, 9),
            Span("year", 11, 15),  # it was there: not doubled
            Span("part", 28, 29),
        )
        assert counts.patterns == {"year": 1, "person": 1, "part": 1, "void": 0, "none": 0}
        assert counts.lines() == ["patterns: 3 matches (0 none, 1 part, 1 person, 0 void, 1 year)"]

    def test_an_equals_sign_in_the_expression(self):
        (document,), _ = marked([Document("a", "x=12")], CorpusSettings(patterns=(r"value==(?P<span>\d+)",)))
        assert document.spans == (Span("value", 2, 4),)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("no sign", "expected \"field=regular expression\", got 'no sign'"),
            ("=x", "expected \"field=regular expression\", got '=x'"),
            ("x=", "expected \"field=regular expression\", got 'x='"),
            ("year=[0-9", r"'\[0-9' \(field 'year'\) is no regular expression: unterminated character set"),
            ("year=a{99999999999999999999}", "is no regular expression"),
        ],
    )
    def test_bad_ones_are_named(self, given, message):
        with pytest.raises(ElusiveError, match=message):
            markers(CorpusSettings(patterns=(given,)))


def test_documents_stream_one_by_one():
    endless = (Document(str(number), "In Rome, 1815.") for number in itertools.count())
    chosen, _ = markers(CorpusSettings(patterns=("year=1815",)), [asked("1", "Rome")])
    first, second = itertools.islice(mark(endless, chosen), 2)
    assert first.spans == (Span("year", 9, 13),)
    assert second.spans == (Span("answer", 3, 7), Span("year", 9, 13))


def test_other_entries_pass_by_in_their_order():
    one, two = Document("1", "In 1815."), Document("2", "In 1816.")
    chosen, counts = markers(CorpusSettings(patterns=(r"year=\d+",)))
    entries = list(mark_entries(["a", one, "b", "c", two, "d"], chosen))
    assert [entry if isinstance(entry, str) else entry.id for entry in entries] == ["a", "1", "b", "c", "2", "d"]
    assert counts.patterns == {"year": 2}


class TestSpacy:
    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory):
        spacy = pytest.importorskip("spacy")
        pipeline = spacy.blank("en")
        patterns = [{"label": "GPE", "pattern": "Rome"}, {"label": "PERSON", "pattern": "Ada Lovelace"}]
        pipeline.add_pipe("entity_ruler").add_patterns(patterns)
        folder = tmp_path_factory.mktemp("spacy") / "rules"
        pipeline.to_disk(folder)
        return folder

    def test_labels_are_fields(self, folder):
        documents = [Document("a", "Ada Lovelace saw  Rome.\n"), Document("b", "Nobody.")]
        found, counts = marked(documents, CorpusSettings(spacy=str(folder)))
        assert found[0].spans == (Span("person", 0, 12), Span("gpe", 18, 22))
        assert found[1] is documents[1]
        assert counts.lines() == [f"{folder}: 2 entities (1 gpe, 1 person)"]

    def test_texts_stream_in_batches(self, folder):
        endless = (Document(str(number), "In Rome.") for number in itertools.count())
        chosen, _ = markers(CorpusSettings(spacy=str(folder)))
        taken = list(itertools.islice(mark(endless, chosen), 1500))
        assert [document.id for document in taken] == [str(number) for number in range(1500)]
        assert {document.spans for document in taken} == {(Span("gpe", 3, 7),)}

    def test_no_such_pipeline(self, folder):
        with pytest.raises(ElusiveError, match="python -m spacy download en_nothing_sm"):
            markers(CorpusSettings(spacy="en_nothing_sm"))

    def test_a_pipeline_without_entities(self, tmp_path):
        spacy = pytest.importorskip("spacy")
        spacy.blank("en").to_disk(tmp_path / "blank")
        with pytest.raises(ElusiveError, match=r"finds entities, got .* with the parts \(none\)"):
            markers(CorpusSettings(spacy=str(tmp_path / "blank")))

    def test_a_pipeline_of_another_spacy(self, folder, tmp_path):
        (tmp_path / "meta.json").write_bytes((folder / "meta.json").read_bytes())
        unknown = '[nlp]\nlang = "en"\npipeline = ["x"]\n[components.x]\nfactory = "of_a_later_version"\n'
        (tmp_path / "config.cfg").write_text(unknown)
        with pytest.raises(ElusiveError, match="does not fit the installed spaCy"):
            markers(CorpusSettings(spacy=str(tmp_path)))

    def test_a_text_too_long_for_spacy(self, folder):
        with pytest.raises(ElusiveError, match="document 'long' has 1,000,001 characters, and spaCy reads at most"):
            marked([Document("long", "x" * 1_000_001)], CorpusSettings(spacy=str(folder)))

    def test_without_spacy(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "spacy", None)
        with pytest.raises(ElusiveError, match=r"pip install 'elusive\[spacy\]' && python -m spacy download en_core"):
            markers(CorpusSettings(spacy="en_core_web_sm"))
