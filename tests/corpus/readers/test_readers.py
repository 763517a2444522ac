"""Readers of every format, bad rows, and the corpus of a run folder."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from elusive.corpus import quarantine
from elusive.corpus.documents import Corpus, Document, write_corpus
from elusive.corpus.quarantine import RAW_CHARACTERS, BadRow
from elusive.corpus.questions import QuestionItem
from elusive.corpus.readers import read_corpus
from elusive.corpus.tags import Span, parse_tags
from elusive.errors import ElusiveError

from ... import shared_data

SHARED = shared_data.SHARED / "data"


def write(path: Path, *lines: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))
    return path


def shared(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not beside the repository (it is not part of it)")
    return SHARED / name


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ElusiveError) as caught:
        read_corpus(path, **options)
    return str(caught.value)


class TestDocument:
    def test_spans_inside(self) -> None:
        document = Document("d", "Ada, 1815", (Span("name", 0, 3), Span("date", 5, 9)))
        assert [document.text[span.start : span.end] for span in document.spans] == ["Ada", "1815"]

    @pytest.mark.parametrize(("start", "end"), [(-1, 2), (5, 10), (3, 3), (4, 2), (9, 9), (20, 30)])
    def test_spans_outside(self, start: int, end: int) -> None:
        with pytest.raises(ElusiveError) as caught:
            Document("d7", "Ada, 1815", (Span("date", start, end),))
        assert str(caught.value) == (
            "document 'd7': span 'date' outside the text: expected 0 <= start < end <= 9 "
            f"(characters, end exclusive), got start {start}, end {end}"
        )


class TestJsonl:
    def test_ids_spans_and_blank_lines(self, tmp_path: Path) -> None:
        path = write(
            tmp_path / "people.jsonl",
            '{"text": "Zoë, 1815", "id": "a", "spans": [["date", 5, 9], ["name", 0, 3]]}',
            "",
            '{"text": "Ada", "spans": [{"field": "name", "start": 0, "end": 3}], "more": 1}',
            '{"text": " kept as it is \\n", "id": 7, "spans": null}',
            '{"text": "x", "id": null}',
        )
        corpus = read_corpus(path)
        assert corpus == Corpus(
            (
                Document("a", "Zoë, 1815", (Span("date", 5, 9), Span("name", 0, 3))),
                Document("people-000002", "Ada", (Span("name", 0, 3),)),
                Document("7", " kept as it is \n"),
                Document("people-000004", "x"),
            ),
            (QuestionItem("a-date", "When was Zoë born?", ("1815",), "date", "a"),),
        )
        assert isinstance(list(corpus.documents)[1].spans[0], Span)

    def test_line_separators_inside_a_string_do_not_end_the_line(self, tmp_path: Path) -> None:
        path = write(tmp_path / "c.jsonl", '{"text": "a\u2028b\x85c"}', '{"text": "d"}')
        assert [document.text for document in read_corpus(path).documents] == ["a\u2028b\x85c", "d"]

    def test_windows_line_ends_and_byte_order_mark(self, tmp_path: Path) -> None:
        path = tmp_path / "c.jsonl"
        path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": "b"}')
        assert [document.id for document in read_corpus(path).documents] == ["c-000001", "c-000002"]

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ('{"text": "a"', "malformed JSON (Expecting ',' delimiter, column 13)"),
            ("null", "expected a JSON object {...}, got null"),
            ('{"text": null}', "'text': expected a string, got null"),
            ('{"text": ""}', "empty text"),
            ('{"text": " \\n\\t"}', "empty text"),
            ('{"body": "a"}', "no 'text': expected a string, got the keys 'body'"),
            ("{}", "no 'text': expected a string, got the keys (none)"),
            ('{"text": 3}', "'text': expected a string, got a number"),
            ('{"text": "\\ud83d"}', "'text' holds half of a surrogate pair"),
            (b'{"text": "caf\xe9"}', "not UTF-8 (byte 0xe9 at position 13)"),
            ('{"text": "a", "id": "first"}', "id 'first' is already used on line 1"),
            ('{"text": "a", "id": ["x"]}', "'id': expected a string, got a list"),
            ('{"text": "Ada", "id": "u", "spans": [["name", 0, 4]]}', "document 'u': span 'name' outside the text"),
            ('{"text": "Ada", "spans": [["name", 2, 2]]}', "got start 2, end 2"),
            ('{"text": "Ada", "spans": [["name", 0]]}', "span: expected [field, start, end]"),
            ('{"text": "Ada", "spans": [["name", 0, true]]}', 'with whole numbers, got ["name", 0, true]'),
            ('{"text": "Ada", "spans": [["name", 0, 2.0]]}', "with whole numbers"),
            ('{"text": "Ada", "spans": [{"field": "name", "start": 0}]}', "with whole numbers"),
            ('{"text": "Ada", "spans": [["", 0, 1]]}', "empty field of a span"),
            ('{"text": "Ada", "spans": "name"}', "'spans': expected a list, got a string"),
            ("[" * 100_000, "JSON that cannot be read (nested too deeply)"),
            ('{"text": "a", "n": ' + "9" * 5000 + "}", "JSON that cannot be read (a number of too many digits)"),
        ],
    )
    def test_bad_rows(self, tmp_path: Path, line: str | bytes, reason: str) -> None:
        path = write(tmp_path / "c.jsonl", '{"text": "one", "id": "first"}', line, '{"text": "three"}')
        message = refusal(path)
        assert message.startswith(f"{path}: expected every row to be readable, got 1 bad row.\n  {path}, line 2: ")
        assert reason in message
        assert message.endswith(
            "Correct these rows, or leave them in quarantine: "
            "corpus.skip_bad = true in a recipe, --skip-bad with generate."
        )

        corpus = read_corpus(path, skip_bad=True)
        assert [document.text for document in corpus.documents] == ["one", "three"]
        assert list(corpus.documents)[1].id == "c-000003"  # as if the bad row were good
        [bad] = corpus.quarantined
        assert (bad.source, bad.line) == (str(path), 2)
        assert reason in bad.reason

    def test_raw_is_escaped_and_cut(self, tmp_path: Path) -> None:
        long = b'{"text": "' + "é".encode() * RAW_CHARACTERS
        path = write(tmp_path / "c.jsonl", b'{"text": "caf\xe9 \xc3\xa9"}', long, '{"text": "x"}')
        first, second = read_corpus(path, skip_bad=True).quarantined
        assert first.raw == '{"text": "caf\\xe9 é"}'
        assert second.raw == '{"text": "' + "é" * (RAW_CHARACTERS - 10)

    def test_first_ten_of_many(self, tmp_path: Path) -> None:
        path = write(tmp_path / "c.jsonl", *["?"] * 1234)
        message = refusal(path)
        assert "got 1,234 bad rows" in message
        assert message.count(f"{path}, line ") == 10
        assert "line 10: malformed JSON" in message
        assert "... and 1,224 more" in message

    def test_long_reasons_lose_their_middle_and_the_row_is_kept(self, tmp_path: Path) -> None:
        path = write(tmp_path / "c.jsonl", '{"text": "x", "spans": ["' + "y" * 9_000 + '"]}', '{"text": "z"}')
        message = refusal(path)
        assert 'yyy"\nCorrect these rows' in message
        assert len(message) < 800
        [row] = read_corpus(path, skip_bad=True).quarantined
        assert " characters] ... y" in row.reason
        assert "y" * 9_000 in row.raw

    def test_limit_stops_reading(self, tmp_path: Path) -> None:
        path = write(tmp_path / "c.jsonl", '{"text": "a"}', '{"text": "b"}', "not read")
        assert [document.text for document in read_corpus(path, limit=2).documents] == ["a", "b"]
        assert "line 3" in refusal(path, limit=3)

    def test_given_ids_may_meet_made_ones(self, tmp_path: Path) -> None:
        path = write(tmp_path / "c.jsonl", '{"text": "a", "id": "c-000002"}', '{"text": "b"}')
        assert "line 2: id 'c-000002' is already used on line 1" in refusal(path)


class TestSource:
    def test_empty(self, tmp_path: Path) -> None:
        path = write(tmp_path / "c.jsonl", "", " ")
        expected = "holds no document: expected a row or a text in it, got none. Give a corpus that is not empty."
        assert refusal(path) == f"{path} {expected}"

    def test_nothing_but_bad_rows(self, tmp_path: Path) -> None:
        message = refusal(write(tmp_path / "c.jsonl", "x", "y"), skip_bad=True)
        assert "expected at least one document, got 2 bad rows and nothing else" in message
        assert "line 1: malformed JSON" in message
        assert "check that corpus.format and corpus.text_column are right" in message

    def test_so_many_bad_rows_end_the_reading_where_none_is_allowed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(quarantine, "MOST_BAD_ROWS", 3)
        path = write(tmp_path / "c.jsonl", "x", '{"text": "a"}', "y", "z", "x", '{"text": "b"}')
        message = refusal(path)
        assert "got 3 bad rows among the first 4, and nothing was read after them" in message
        assert "line 4: malformed JSON" in message
        assert "corpus.skip_bad = true reads the source to its end" in message
        # Where some are allowed, all are counted.
        assert "got 4 bad rows of 6" in refusal(path, max_bad_share=0.5)
        assert len(read_corpus(path, skip_bad=True).documents) == 2

    def test_missing(self, tmp_path: Path) -> None:
        assert refusal(tmp_path / "no.jsonl") == (
            f"No file or folder at {tmp_path / 'no.jsonl'}. Give the path of a corpus that exists, "
            "or hf:org/name for a dataset on the Hugging Face hub."
        )

    def test_format_overrides_suffix(self, tmp_path: Path) -> None:
        path = write(tmp_path / "corpus.log", '{"text": "a"}')
        assert read_corpus(path, format="jsonl").documents == (Document("corpus-000001", "a"),)
        assert read_corpus(path, format="text").documents == (Document("corpus.log", '{"text": "a"}'),)

    def test_unknown_format(self, tmp_path: Path) -> None:
        message = refusal(write(tmp_path / "c.txt", "x"), format="xml")
        assert message == (
            "corpus.format: expected one of auto, jsonl, json, csv, tagged-csv, tsv, parquet, text, markdown, squad, "
            "dataset, html, pdf, docx, pptx, xlsx, odt, epub, notebook, rst, man, asciidoc, rtf, org, latex, docbook, "
            "mediawiki, pod, got 'xml'."
        )

    def test_a_format_that_is_given_holds_for_all_files_of_a_folder(self, tmp_path: Path) -> None:
        write(tmp_path / "a.log", '{"text": "x"}')
        write(tmp_path / "b", '{"text": "y"}')
        documents = read_corpus(tmp_path, format="jsonl").documents
        assert documents == (Document("a.log#000001", "x"), Document("b#000001", "y"))

    def test_suffix_in_capitals(self, tmp_path: Path) -> None:
        assert next(iter(read_corpus(write(tmp_path / "C.JSONL", '{"text": "a"}')).documents)).id == "C-000001"


class TestTags:
    @pytest.mark.parametrize(
        ("tagged", "text", "spans"),
        [
            ("plain", "plain", []),
            ("<name>Ada</name>, <date>1815</date>.", "Ada, 1815.", [("name", 0, 3), ("date", 5, 9)]),
            ("if a < b and c > d", "if a < b and c > d", []),
            ("a<br>b<br/>c", "a<br>b<br/>c", []),
            ("</name>x<name>", "</name>x<name>", []),
            ("<name>Ada", "<name>Ada", []),
            ('<a href="u">x</a>', '<a href="u">x</a>', []),
            ("<name>a < b <br> c</name>", "a < b <br> c", [("name", 0, 12)]),
            ("<Name>x</name>", "<Name>x</name>", []),
            ("<birth_date>1</birth_date><field-2>2</field-2>", "12", [("birth_date", 0, 1), ("field-2", 1, 2)]),
            ("<2>x</2>", "<2>x</2>", []),
            ("< name>x</name >", "< name>x</name >", []),
            # Nested: both count, the outer one first.
            ("<city>Oslo, <land>Norway</land></city>", "Oslo, Norway", [("city", 0, 12), ("land", 6, 12)]),
            # Crossing: <b> loses its partner to </a>, and both of its tags stay.
            ("<a>x<b>y</a>z</b>", "x<b>yz</b>", [("a", 0, 5)]),
            # The nearest open tag of the name is the partner.
            ("<name>x<name>y</name>", "<name>xy", [("name", 7, 8)]),
            ("<名>é</名>!", "é!", [("名", 0, 1)]),
        ],
    )
    def test_by_hand(self, tagged: str, text: str, spans: list[tuple[str, int, int]]) -> None:
        assert parse_tags(tagged) == (text, tuple(Span(*span) for span in spans))

    def test_a_tag_without_partner_changes_nothing_else(self) -> None:
        # Flat fields alone are read another way than fields beside other tags.
        tagged = "<name>Ada</name><city>Oslo</city>, <b_1>é > e</b_1> < <date>1815</date>\n<name>x</name>"
        text, spans = parse_tags(tagged)
        assert text == "AdaOslo, é > e < 1815\nx"
        assert parse_tags(tagged + "<open>") == (text + "<open>", spans)
        assert parse_tags("</shut>" + tagged)[1] == tuple(Span(f, a + 7, b + 7) for f, a, b in spans)

    def test_many_tags_without_partner_stay_quick(self) -> None:
        tagged = "<a>" * 50_000 + "</b>" * 50_000
        assert parse_tags(tagged) == (tagged, ())


class TestTaggedCsv:
    def test_columns_and_ids(self, tmp_path: Path) -> None:
        path = write(
            tmp_path / "people.csv",
            b"\xef\xbb\xbfid, text ,year",
            '7,"<name>Ada</name>, the ""Countess"" & more\nin <date>1815</date>",1',
            "",
            ",<name>Élie</name> was here,2",
        )
        first, second = read_corpus(path).documents
        assert first == Document("7", 'Ada, the "Countess" & more\nin 1815', (Span("name", 0, 3), Span("date", 30, 34)))
        assert first.text[30:34] == "1815"
        assert second == Document("people-000002", "Élie was here", (Span("name", 0, 4),))

    def test_long_text_and_the_limit_is_put_back(self, tmp_path: Path) -> None:
        before = csv.field_size_limit()
        path = write(tmp_path / "c.csv", "text", "<name>" + "x" * 300_000 + "</name>")
        assert next(iter(read_corpus(path, chunk_tokens=0).documents)).spans == (Span("name", 0, 300_000),)
        assert csv.field_size_limit() == before

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("b,", "empty text"),
            ("b,<name></name>", "empty text"),
            ("b,x<name></name>", "span 'name' outside the text"),
            (b"b,caf\xe9", "not UTF-8 (byte 0xe9 at position 5)"),
            ("a,x", "id 'a' is already used on line 2"),
            ("b", "expected 2 cells (id, text), got 1"),
            ("b,x,y", "expected 2 cells (id, text), got 3; a text with commas needs double quotes around it"),
            ('b,"x" y', "malformed CSV (',' expected after '\"')"),
        ],
    )
    def test_bad_rows(self, tmp_path: Path, line: str | bytes, reason: str) -> None:
        path = write(tmp_path / "c.csv", "id,text", 'a,"one\ntwo"', line, "z,last")
        message = refusal(path)
        assert f"  {path}, line 4: " in message  # the second row takes two lines
        assert reason in message
        corpus = read_corpus(path, skip_bad=True)
        assert [(document.id, document.text) for document in corpus.documents] == [("a", "one\ntwo"), ("z", "last")]
        assert len(corpus.quarantined) == 1
        assert corpus.quarantined[0].line == 4

    def test_a_quote_inside_a_cell_is_text(self, tmp_path: Path) -> None:
        path = write(tmp_path / "c.csv", "id,text", 'a,5" disk', "b,next")
        assert [document.text for document in read_corpus(path).documents] == ['5" disk', "next"]

    def test_raw_of_bytes_that_are_not_utf8(self, tmp_path: Path) -> None:
        path = write(tmp_path / "c.csv", "text", b'"caf\xe9, \xc3\xa9"', "x")
        [bad] = read_corpus(path, skip_bad=True).quarantined
        assert bad.raw == '"caf\\xe9, é"\n'

    def test_a_quote_never_closed_is_not_read_as_one_text(self, tmp_path: Path) -> None:
        path = write(tmp_path / "c.csv", "text", "good", '"open', "swallowed", "too")
        assert "line 3: malformed CSV (unexpected end of data)" in refusal(path)
        corpus = read_corpus(path, skip_bad=True)
        assert corpus.documents == (Document("c-000001", "good"),)
        assert corpus.quarantined[0].raw == '"open\nswallowed\ntoo\n'

    @pytest.mark.parametrize(
        ("header", "got"),
        [("body,id", "'body', 'id'"), ("id|text", "'id|text'"), ("text,text", "'text', 'text'"), ("Text", "'Text'")],
    )
    def test_header_without_text(self, tmp_path: Path, header: str, got: str) -> None:
        message = refusal(write(tmp_path / "c.csv", header, "x,y"), skip_bad=True)
        assert "c.csv: expected one column 'text', or SQuAD's context, question, answers; " in message
        assert f"got the columns {got}. Name the one that holds the texts with corpus.text_column" in message

    @pytest.mark.parametrize("lines", [[], ["text"]])
    def test_empty(self, tmp_path: Path, lines: list[str]) -> None:
        assert "holds no document: expected a row or a text" in refusal(write(tmp_path / "c.csv", *lines))

    def test_well_known_biographies(self) -> None:
        corpus = read_corpus(shared("biographies_well_known.csv"))
        assert len(corpus.documents) == 10
        fields = ("name", "date", "city", "university", "major", "company")
        assert all(tuple(span.field for span in document.spans) == fields for document in corpus.documents)
        assert not any("<" in document.text for document in corpus.documents)
        second = list(corpus.documents)[1]
        assert second.id == "biographies_well_known-000002"
        assert [second.text[span.start : span.end] for span in second.spans] == [
            "Erwin Schrödinger",
            "August 12, 1887",
            "Vienna, Austria",
            "the University of Vienna",
            "Physics and Mathematics",
            "the Dublin Institute for Advanced Studies",
        ]


class TestText:
    def test_folder(self, tmp_path: Path) -> None:
        write(tmp_path / "b.txt", "", "second", "line", "")
        write(tmp_path / "a" / "z.md", b"\xef\xbb\xbf# Title\r", "body <b>kept</b>")
        write(tmp_path / "a" / "y.MARKDOWN", "third")
        write(tmp_path / ".hidden" / "x.txt", "no")
        write(tmp_path / "a" / ".x.txt", "no")
        assert read_corpus(tmp_path).documents == (
            Document("a/y.MARKDOWN", "third"),
            Document("a/z.md", "# Title\nbody <b>kept</b>"),
            Document("b.txt", "second\nline"),
        )
        assert len(read_corpus(tmp_path, limit=2).documents) == 2

    def test_one_file(self, tmp_path: Path) -> None:
        assert read_corpus(write(tmp_path / "note.txt", "hello")).documents == (Document("note.txt", "hello"),)

    def test_bad_files(self, tmp_path: Path) -> None:
        write(tmp_path / "a.txt", "fine", b"caf\xe9")
        write(tmp_path / "b.txt", " ", "")
        write(tmp_path / "c.txt", "good")
        message = refusal(tmp_path)
        assert f"{tmp_path / 'a.txt'}, line 2: not UTF-8 (byte 0xe9 at position 8)" in message
        assert f"{tmp_path / 'b.txt'}, line 1: empty text" in message
        corpus = read_corpus(tmp_path, skip_bad=True)
        assert [document.id for document in corpus.documents] == ["c.txt"]
        reason = (
            "not UTF-8 (byte 0xe9 at position 8). It looks like cp1252, in which a line reads 'café': if that is "
            'right, set corpus.encoding = "cp1252"'
        )
        assert corpus.quarantined[0] == BadRow(str(tmp_path / "a.txt"), 2, reason, "fine\ncaf\\xe9\n")

    def test_empty_folder(self, tmp_path: Path) -> None:
        assert "holds no document: expected a row or a text in it" in refusal(tmp_path)


def squad(*paragraphs: object, title: str | None = "Ada") -> dict[str, Any]:
    article: dict[str, Any] = {"paragraphs": list(paragraphs)}
    return {"version": "1.1", "data": [article | ({"title": title} if title else {})]}


def asked(id: str, *answers: tuple[str, int], **more: Any) -> dict[str, Any]:
    rows = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": id, "question": f"{id}?", "answers": rows, **more}


class TestSquad:
    def save(self, tmp_path: Path, value: object) -> Path:
        return write(tmp_path / "set.json", json.dumps(value))

    def test_documents_spans_and_questions(self, tmp_path: Path) -> None:
        path = self.save(
            tmp_path,
            squad(
                {
                    "context": "Ada Lovelace, 1815. Ada.",
                    "qas": [
                        asked("q1", ("1815", 14)),
                        asked("q2", ("Ada", 20), ("Ada Lovelace", 0), ("Ada", 20), ("Ada", 0)),
                        asked("q3", ("1815", 14)),
                        asked("q4", is_impossible=True, plausible_answers=[{"text": "Ada", "answer_start": 0}]),
                        asked("q5", ("1815.", 14), is_impossible=False),
                    ],
                },
                {"context": "No questions.", "qas": []},
            ),
        )
        corpus = read_corpus(path)
        assert corpus.documents == (
            Document(
                "Ada-0001",
                "Ada Lovelace, 1815. Ada.",
                tuple(Span("answer", *place) for place in [(0, 3), (0, 12), (14, 18), (14, 19), (20, 23)]),
            ),
            Document("Ada-0002", "No questions."),
        )
        assert corpus.questions == (
            QuestionItem("q1", "q1?", ("1815",), "answer", "Ada-0001"),
            QuestionItem("q2", "q2?", ("Ada", "Ada Lovelace"), "answer", "Ada-0001"),
            QuestionItem("q3", "q3?", ("1815",), "answer", "Ada-0001"),
            QuestionItem("q5", "q5?", ("1815.",), "answer", "Ada-0001"),
        )

    def test_same_context_is_merged_and_numbers_stay(self, tmp_path: Path) -> None:
        path = self.save(
            tmp_path,
            squad(
                {"context": "Ada, 1815", "qas": [asked("q1", ("Ada", 0))]},
                {"context": "Ada, 1815", "qas": [asked("q2", ("1815", 5))]},
                {"context": "Bob", "qas": [asked("q3", ("Bob", 0))]},
            ),
        )
        corpus = read_corpus(path)
        assert [document.id for document in corpus.documents] == ["Ada-0001", "Ada-0003"]
        assert next(iter(corpus.documents)).spans == (Span("answer", 0, 3), Span("answer", 5, 9))
        assert [item.document_id for item in corpus.questions] == ["Ada-0001", "Ada-0001", "Ada-0003"]

    def test_titles_repeated_and_missing(self, tmp_path: Path) -> None:
        articles = [
            squad({"context": text}, title=title)["data"][0]
            for text, title in zip("abc", ["T", "T", None], strict=True)
        ]
        path = self.save(tmp_path, articles)  # the bare list of articles is read as well
        assert [document.id for document in read_corpus(path).documents] == ["T-0001", "T-0002", "article-0001"]

    def test_characters_not_bytes(self, tmp_path: Path) -> None:
        path = self.save(tmp_path, squad({"context": "Zoë 😀 café", "qas": [asked("q", ("café", 6))]}))
        assert next(iter(read_corpus(path).documents)).spans == (Span("answer", 6, 10),)

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            (asked("q", ("Ada", 1)), "answer_start 1: expected 'Ada' there, got 'da,'"),
            (asked("q", ("1815", -4)), "answer_start -4: expected '1815' there, got ''"),
            (asked("q", ("18155", 5)), "answer_start 5: expected '18155' there, got '1815'"),
            (asked("q", ("Ada", 0), ("x", 99)), "answer_start 99: expected 'x' there, got ''"),
            (asked("q"), "'answers': expected at least one answer (or is_impossible: true), got none"),
            ({"id": "q", "answers": [{"text": "Ada", "answer_start": 0}]}, "no 'question'"),
            ({"question": "?", "answers": [{"text": "Ada", "answer_start": 0}]}, "no 'id'"),
            (
                {"id": "q", "question": "?", "answers": [{"text": "Ada"}]},
                "'answer_start': expected a whole number, got null",
            ),
            ({"id": "q", "question": "?", "answers": ["Ada"]}, "answer: expected an object with 'text'"),
            ({"id": "q", "question": "?", "answers": [{"text": "", "answer_start": 0}]}, "empty text"),
            (asked("q0", ("Ada", 0)), "id 'q0' is already used by another question"),
            ("why?", "expected an object with 'id', 'question' and 'answers', got a string"),
        ],
    )
    def test_bad_questions(self, tmp_path: Path, row: object, reason: str) -> None:
        paragraph = {"context": "Ada, 1815", "qas": [asked("q0", ("Ada", 0)), row]}
        path = self.save(tmp_path, squad(paragraph))
        assert f"  {path}, data[0].paragraphs[0].qas[1]: {reason}" in refusal(path)
        corpus = read_corpus(path, skip_bad=True)
        assert corpus.documents == (Document("Ada-0001", "Ada, 1815", (Span("answer", 0, 3),)),)
        assert [item.id for item in corpus.questions] == ["q0"]
        assert corpus.quarantined[0].line == 0
        assert corpus.quarantined[0].raw == json.dumps(row)

    @pytest.mark.parametrize(
        ("paragraph", "reason"),
        [
            ({"context": "  ", "qas": []}, "empty context"),
            ({"qas": []}, "no 'context'"),
            ({"context": "\ud800"}, "half of a surrogate pair"),
            ({"context": "x", "qas": {}}, "'qas': expected a list, got an object"),
            (None, "expected an object with 'context' and 'qas', got null"),
        ],
    )
    def test_bad_paragraphs(self, tmp_path: Path, paragraph: object, reason: str) -> None:
        path = self.save(tmp_path, squad(paragraph, {"context": "good"}))
        message = refusal(path)
        assert "data[0].paragraphs[0]: " in message
        assert reason in message
        corpus = read_corpus(path, skip_bad=True)
        assert corpus.documents == (Document("Ada-0002", "good"),)
        write_corpus(tmp_path / "corpus", corpus.entries())  # the raw text is UTF-8 whatever the row held

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b'{"text": "a"}', "line 1: no 'context': expected a string, got the keys 'text'"),
            (b'{\n"text": "a"}', "expected SQuAD's form"),
            (b'{"data": [{"title": "x", "paragraphs": {}}]}', "got no list 'paragraphs' in data[0]"),
            (b'{"data": [{"title": "x"}]}', "got no list 'paragraphs' in data[0]"),
            (b'"x"', "got a string. Give SQuAD JSON"),
            (b'{\n"text": "a"}\n{"text": "b"}', "line 3: malformed JSON (Extra data, column 1)"),
            (b'{"data": [\n"caf\xe9"]}', "line 2: not UTF-8 (byte 0xe9 at position 15). Save the file as UTF-8."),
            (b'{"data": [{"title": {}, "paragraphs": []}]}', "data[0]: 'title': expected a string, got an object"),
            (b'{"data": []}', "holds no document: expected a row or a text"),
            (b"[" * 100_000, "JSON that cannot be read"),
        ],
    )
    def test_whole_file(self, tmp_path: Path, content: bytes, reason: str) -> None:
        path = tmp_path / "set.json"
        path.write_bytes(content)
        message = refusal(path, skip_bad=True, format="squad")
        assert message.startswith(str(path))
        assert reason in message

    def test_limit_leaves_out_the_questions_of_the_rest(self, tmp_path: Path) -> None:
        paragraphs = [{"context": f"{n}", "qas": [asked(f"q{n}", (f"{n}", 0))]} for n in range(3)]
        corpus = read_corpus(self.save(tmp_path, squad(*paragraphs)), limit=2)
        assert [document.text for document in corpus.documents] == ["0", "1"]
        assert [item.id for item in corpus.questions] == ["q0", "q1"]

    def test_xquad(self) -> None:
        corpus = read_corpus(shared("xquad.en.json"), chunk_tokens=0)
        assert (len(corpus.documents), len(corpus.questions), len(corpus.quarantined)) == (240, 1190, 0)
        texts = {document.id: document for document in corpus.documents}
        assert len(texts) == 240
        for item in corpus.questions:
            document = texts[item.document_id]
            marked = {document.text[span.start : span.end] for span in document.spans}
            assert set(item.answers) <= marked
        assert texts["Super_Bowl_50-0001"].spans[0] == Span("answer", 34, 37)
        assert corpus.questions[0].answers == ("308",)

    def test_xquad_in_chunks(self) -> None:
        whole, cut = read_corpus(shared("xquad.en.json"), chunk_tokens=0), read_corpus(shared("xquad.en.json"))
        assert [item.id for item in cut.questions] == [item.id for item in whole.questions]
        texts = {document.id: document for document in cut.documents}
        for item, before in zip(cut.questions, whole.questions, strict=True):
            document = texts[item.document_id]
            assert item.document_id.partition("#")[0] == before.document_id
            assert set(item.answers) & {document.text[span.start : span.end] for span in document.spans}
        spans = [sum(len(document.spans) for document in corpus.documents) for corpus in (whole, cut)]
        assert spans[0] == spans[1]


def test_reading_needs_no_torch() -> None:
    code = (
        "import sys, elusive.corpus.readers, elusive.corpus.questions; "
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
