"""`elusive generate --source FILE --output DIR`: every format read, and every bad input refused in one screen."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elusive.cli.main import main
from elusive.corpus.documents import Document, load_corpus
from elusive.corpus.questions import QuestionItem
from elusive.corpus.tags import Span


def generate(source: Path, output: Path, *flags: str) -> None:
    main(["generate", "--source", str(source), "--output", str(output), *flags])


def refusal(capsys: pytest.CaptureFixture[str], source: Path, output: Path, *flags: str) -> str:
    """What stderr says; checks what every refusal has in common."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        generate(source, output, *flags)
    printed = capsys.readouterr()
    assert stopped.value.code == 2
    assert "Traceback" not in printed.err
    assert 0 < len(printed.err.splitlines()) <= 24
    assert printed.out == ""
    return printed.err


def write_jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestFormats:
    def test_jsonl(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        rows = [{"id": "z", "text": "Zoë, 1815", "spans": [["name", 0, 3], ["date", 5, 9]]}, {"text": "Ada"}]
        generate(write_jsonl(tmp_path / "people.jsonl", *rows), tmp_path / "corpus")
        assert capsys.readouterr().out == (
            f"{tmp_path / 'corpus'}: 2 documents, 1 question\nasked about marked fields: 1 question (1 date)\n"
        )
        assert tuple(load_corpus(tmp_path / "corpus").documents) == (
            Document("z", "Zoë, 1815", (Span("name", 0, 3), Span("date", 5, 9))),
            Document("people-000002", "Ada"),
        )

    def test_tagged_csv(self, tmp_path: Path) -> None:
        source = tmp_path / "people.csv"
        source.write_text('id,text\n7,"<name>Zoë</name>, <date>1815</date>"\n', encoding="utf-8")
        generate(source, tmp_path / "corpus")
        [document] = load_corpus(tmp_path / "corpus").documents
        assert document == Document("7", "Zoë, 1815", (Span("name", 0, 3), Span("date", 5, 9)))

    def test_folder_of_markdown(self, tmp_path: Path) -> None:
        (tmp_path / "notes" / "old").mkdir(parents=True)
        (tmp_path / "notes" / "a.md").write_text("# Zoë\n\nBorn in 1815.\n", encoding="utf-8")
        (tmp_path / "notes" / "old" / "b.md").write_text("Ada\n", encoding="utf-8")
        generate(tmp_path / "notes", tmp_path / "corpus")
        assert tuple(load_corpus(tmp_path / "corpus").documents) == (
            Document("a.md", "# Zoë\n\nBorn in 1815."),
            Document("old/b.md", "Ada"),
        )

    def test_squad(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        question = {"id": "q1", "question": "When?", "answers": [{"text": "1815", "answer_start": 5}]}
        article = {"title": "Zoë", "paragraphs": [{"context": "Zoë, 1815", "qas": [question]}]}
        write_jsonl(tmp_path / "set.json", {"data": [article]})
        generate(tmp_path / "set.json", tmp_path / "corpus")
        assert "1 document, 1 question\n" in capsys.readouterr().out
        corpus = load_corpus(tmp_path / "corpus")
        assert tuple(corpus.documents) == (Document("Zoë-0001", "Zoë, 1815", (Span("answer", 5, 9),)),)
        assert corpus.questions == (QuestionItem("q1", "When?", ("1815",), "answer", "Zoë-0001"),)

    def test_format_named_by_hand(self, tmp_path: Path) -> None:
        source = write_jsonl(tmp_path / "people.log", {"text": "Ada"})
        generate(source, tmp_path / "corpus", "--format", "jsonl")
        assert tuple(load_corpus(tmp_path / "corpus").documents) == (Document("people-000001", "Ada"),)

    def test_a_corpus_folder_is_read_as_it_is(self, tmp_path: Path) -> None:
        generate(
            write_jsonl(tmp_path / "c.jsonl", {"id": "b", "text": "x"}, {"id": "a", "text": "y"}), tmp_path / "one"
        )
        generate(tmp_path / "one", tmp_path / "two")
        assert (tmp_path / "two/documents.jsonl").read_bytes() == (tmp_path / "one/documents.jsonl").read_bytes()


def missing(folder: Path) -> Path:
    return folder / "none.jsonl"


def malformed_line(folder: Path) -> Path:
    path = folder / "c.jsonl"
    path.write_text('{"text": "one"}\n\n{"text": "two"\n', encoding="utf-8")
    return path


def no_rows(folder: Path) -> Path:
    return write_jsonl(folder / "c.jsonl")


def empty_folder(folder: Path) -> Path:
    (folder / "notes").mkdir()
    return folder / "notes"


def empty_text(folder: Path) -> Path:
    return write_jsonl(folder / "c.jsonl", {"text": "one"}, {"text": " \n"})


def not_utf8(folder: Path) -> Path:
    (folder / "note.md").write_bytes(b"one\ncaf\xe9\n")
    return folder / "note.md"


def no_parquet(folder: Path) -> Path:
    return write_jsonl(folder / "c.parquet")


def repeated_id(folder: Path) -> Path:
    return write_jsonl(folder / "c.jsonl", {"id": "a", "text": "one"}, {"id": "a", "text": "two"})


def span_outside(folder: Path) -> Path:
    return write_jsonl(folder / "c.jsonl", {"id": "a", "text": "Ada", "spans": [["name", 0, 4]]})


def many_bad_rows(folder: Path) -> Path:
    return write_jsonl(folder / "c.jsonl", *[{"text": None, "x" * 5_000: 1}] * 300)


BAD: list[tuple[Callable[[Path], Path], list[str]]] = [
    (missing, ["No file or folder at {source}."]),
    (malformed_line, ["{source}, line 3: malformed JSON (Expecting ',' delimiter", "column 15", "1 bad row"]),
    (no_rows, ["{source} holds no document: expected a row or a text in it, got none"]),
    (empty_folder, ["{source} holds no document: expected a row or a text in it, got none"]),
    (empty_text, ["{source}, line 2: empty text: expected at least one character"]),
    (not_utf8, ["{source}, line 2: not UTF-8 (byte 0xe9 at position 7)"]),
    (no_parquet, ["{source}: expected a Parquet file, and it does not begin like one"]),
    (repeated_id, ["{source}, line 2: id 'a' is already used on line 1"]),
    (span_outside, ["{source}, line 1: document 'a': span 'name' outside the text", "got start 0, end 4"]),
    (many_bad_rows, ["got 300 bad rows", "line 10: 'text': expected a string, got null", "... and 290 more"]),
]


class TestRefusals:
    @pytest.mark.parametrize(("make", "expected"), BAD, ids=[make.__name__ for make, _ in BAD])
    def test_message(
        self, make: Callable[[Path], Path], expected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source = make(tmp_path)
        message = refusal(capsys, source, tmp_path / "corpus")
        assert message.startswith("elusive: ")
        for part in expected:
            assert part.format(source=source) in message
        assert not (tmp_path / "corpus" / "documents.jsonl").exists()

    @pytest.mark.parametrize(("make", "expected"), BAD, ids=[make.__name__ for make, _ in BAD])
    def test_what_was_written_before_stays(
        self, make: Callable[[Path], Path], expected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        good = write_jsonl(tmp_path / "good.jsonl", {"text": "good"})
        generate(good, tmp_path / "corpus")
        before = files(tmp_path / "corpus")
        assert {"documents.jsonl", "questions.jsonl", "quarantine.jsonl", "done.json"} <= before.keys()
        (tmp_path / "bad").mkdir()
        refusal(capsys, make(tmp_path / "bad"), tmp_path / "corpus")
        assert files(tmp_path / "corpus") == before

    def test_unknown_format(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        source = write_jsonl(tmp_path / "c.jsonl", {"text": "x"})
        message = refusal(capsys, source, tmp_path / "corpus", "--format", "xml")
        assert "--format" in message
        assert "tagged-csv" in message
        assert "xml" in message
        assert not (tmp_path / "corpus").exists()

    def test_same_command_once_the_source_is_right(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        source = empty_text(tmp_path)
        refusal(capsys, source, tmp_path / "corpus")
        write_jsonl(source, {"text": "one"}, {"text": "two"})
        generate(source, tmp_path / "corpus")
        assert [document.text for document in load_corpus(tmp_path / "corpus").documents] == ["one", "two"]


class TestSkipBad:
    def test_the_refusal_names_the_setting_and_the_setting_helps(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source = malformed_line(tmp_path)
        message = refusal(capsys, source, tmp_path / "corpus")
        assert "corpus.skip_bad = true" in message
        assert "--skip-bad" in message
        generate(source, tmp_path / "corpus", "--skip-bad")
        quarantine = tmp_path / "corpus" / "quarantine.jsonl"
        assert capsys.readouterr().out == (
            f"{tmp_path / 'corpus'}: 1 document, 0 questions\n"
            "2 in = 1 document + 0 questions + 1 bad + 0 left out\n"
            f"bad rows quarantined in {quarantine}: 1 document\n"
        )
        [bad] = [json.loads(line) for line in quarantine.read_text("utf-8").splitlines()]
        assert (bad["source"], bad["line"], bad["raw"]) == (str(source), 3, '{"text": "two"')
        assert bad["reason"].startswith("malformed JSON (Expecting ',' delimiter")

    def test_nothing_good(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        message = refusal(capsys, many_bad_rows(tmp_path), tmp_path / "corpus", "--skip-bad")
        assert "expected at least one document, got 300 bad rows and nothing else" in message


class TestBadShare:
    def source(self, folder: Path, good: int, bad: int) -> Path:
        rows = [{"id": f"g{n}", "text": f"text {n}"} for n in range(good)]
        return write_jsonl(folder / "c.jsonl", *rows, *[{"text": ""}] * bad)

    def test_all_bad_rows_are_kept_and_the_folder_can_be_used_again(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source, corpus = self.source(tmp_path, 5, 30), tmp_path / "corpus"
        message = refusal(capsys, source, corpus)
        assert "got 30 bad rows" in message
        assert "... and 20 more" in message
        assert f"All of them are in {corpus / 'quarantine.jsonl'}." in message
        assert sorted(files(corpus)) == ["quarantine.jsonl", "settings.json"]
        bad = [json.loads(line) for line in (corpus / "quarantine.jsonl").read_text("utf-8").splitlines()]
        assert [row["line"] for row in bad] == list(range(6, 36))
        assert {row["raw"] for row in bad} == {'{"text": ""}'}

        self.source(tmp_path, 5, 0)
        generate(source, corpus)
        assert len(load_corpus(corpus).documents) == 5
        assert (corpus / "quarantine.jsonl").read_bytes() == b""

    def test_the_share_is_a_border(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        source = self.source(tmp_path, 9, 1)
        message = refusal(capsys, source, tmp_path / "a", "--max-bad-share", "0.0999")
        assert "expected a share of bad rows of at most 0.0999 (corpus.max_bad_share), got 1 bad row of 10" in message
        generate(source, tmp_path / "b", "--max-bad-share", "0.1")
        assert "10 in = 9 documents + 0 questions + 1 bad + 0 left out\n" in capsys.readouterr().out
        assert len((tmp_path / "b" / "quarantine.jsonl").read_text("utf-8").splitlines()) == 1

    def test_skip_bad_goes_on_whatever_the_share(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        generate(self.source(tmp_path, 1, 99), tmp_path / "corpus", "--skip-bad", "--max-bad-share", "0.01")
        assert "100 in = 1 document + 0 questions + 99 bad + 0 left out\n" in capsys.readouterr().out

    def test_questions_do_not_hide_documents(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        answers = [{"text": "x", "answer_start": 0}]
        asked = [{"id": f"q{n}", "question": "?", "answers": answers} for n in range(98)]
        paragraphs = [{"context": "x", "qas": asked}, {"context": " "}]
        source = write_jsonl(tmp_path / "s.json", {"data": [{"title": "T", "paragraphs": paragraphs}]})
        refusal(capsys, source, tmp_path / "corpus", "--max-bad-share", "0.1")
        generate(source, tmp_path / "corpus", "--max-bad-share", "0.5")
        assert "100 in = 1 document + 98 questions + 1 bad + 0 left out\n" in capsys.readouterr().out


class TestRowsIn:
    def test_everything_is_counted(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        answers = [{"text": "Zoë", "answer_start": 0}]
        qas: list[dict[str, Any]] = [{"id": "q1", "question": "Who?", "answers": answers}]
        qas += [{"id": "q2", "question": "What?", "is_impossible": True}, {"id": "q3", "answers": answers}]
        paragraphs = [{"context": "Zoë, 1815", "qas": qas}, {"context": "Zoë, 1815"}, {"qas": qas}]
        (tmp_path / "in").mkdir()
        write_jsonl(tmp_path / "in" / "a.json", {"data": [{"title": "T", "paragraphs": paragraphs}]})
        write_jsonl(tmp_path / "in" / "b.jsonl", {"text": "one"}, {"text": None})
        (tmp_path / "in" / "c.pdf").write_bytes(b"%PDF-1.4")
        (tmp_path / "in" / "d.md").write_text("text")
        generate(tmp_path / "in", tmp_path / "corpus", "--skip-bad")
        corpus = tmp_path / "corpus"
        # a.json: 3 paragraphs and 6 questions; b: 2 rows; c and d: 1 each.
        assert capsys.readouterr().out == (
            f"{corpus}: 3 documents, 1 question\n"
            "13 in = 3 documents + 1 question + 4 bad + 5 left out "
            "(impossible question 1, repeated paragraph 1, question of a bad paragraph 3)\n"
            f"bad rows quarantined in {corpus / 'quarantine.jsonl'}: 1 question, 3 documents\n"
            "bad rows by kind of file: .json 2, .jsonl 1, .pdf 1\n"
        )
        done = json.loads((corpus / "done.json").read_text("utf-8"))
        assert done["rows"] == 13
        assert done["quarantined"] == {"question": 1, "document": 3}

    def test_questions_about_marked_fields_are_no_rows(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source = tmp_path / "c.csv"
        source.write_text(
            'text\n<name>Zoë</name> <date>1815</date>\n<name>Ada</name> <date>1</date> <date>2</date>\n" "\n'
        )
        generate(source, tmp_path / "corpus", "--skip-bad")
        out = capsys.readouterr().out
        assert "2 documents, 1 question\n" in out
        assert "3 in + 1 made of them = 2 documents + 1 question + 1 bad + 0 left out\n" in out
        assert "asked about marked fields: 1 question (1 date)\n" in out
        assert "not asked, as a field is marked with several texts: 1 question (1 date)\n" in out
        mine = write_jsonl(tmp_path / "mine.jsonl", {"question": "When?", "answer": "1815"})
        generate(source, tmp_path / "asked", "--skip-bad", "--questions", str(mine))
        assert [item.question for item in load_corpus(tmp_path / "asked").questions] == ["When?"]

    def test_questions_of_a_file_take_the_place_of_others(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        qas = [{"id": "q1", "question": "Who?", "answers": [{"text": "Zoë", "answer_start": 0}]}]
        article = {"title": "T", "paragraphs": [{"context": "Zoë, 1815", "qas": qas}]}
        source = write_jsonl(tmp_path / "s.json", {"data": [article]})
        mine = write_jsonl(tmp_path / "mine.jsonl", {"question": "When?", "answer": "1815", "document_id": "T-0001"})
        generate(source, tmp_path / "corpus", "--questions", str(mine))
        assert "(question replaced by those of corpus.questions 1)" in capsys.readouterr().out
        assert [item.question for item in load_corpus(tmp_path / "corpus").questions] == ["When?"]

    def test_answers_of_a_file_are_marked(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        source = write_jsonl(tmp_path / "c.jsonl", {"id": "a", "text": "Zoë was born in 1815."})
        rows = [
            {"id": f"q{n}", "question": "When?", "answer": answer, "document_id": document}
            for n, (answer, document) in enumerate([("1815", "a"), ("Rome", "a"), ("1815", "b")])
        ]
        generate(source, tmp_path / "corpus", "--questions", str(write_jsonl(tmp_path / "q.jsonl", *rows)))
        [document] = load_corpus(tmp_path / "corpus").documents
        assert document.spans == (Span("answer", 16, 20),)
        unplaced = [json.loads(line) for line in (tmp_path / "corpus/unplaced.jsonl").read_text("utf-8").splitlines()]
        assert [row["id"] for row in unplaced] == ["q1", "q2"]
        out = capsys.readouterr().out
        assert "1 of 3 answers found in their documents" in out
        assert f"answers without a place: {tmp_path / 'corpus' / 'unplaced.jsonl'}" in out

    def test_questions_of_a_file_follow_the_chunks_of_rows_and_files(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        long = " ".join(f"Sentence {n} has a few words of its own, and an end." for n in range(40))
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a.txt").write_text(long)
        write_jsonl(
            tmp_path / "in" / "b.jsonl", {"id": "b", "text": long}, {"id": "c", "text": "Sentence 35 is short."}
        )
        rows = [
            {"id": f"{name}-{answer}", "question": "Which?", "answer": answer, "document_id": name}
            for name in ("a.txt", "b", "c", "none")
            for answer in ("Sentence 35", "Rome")
        ]
        asked = str(write_jsonl(tmp_path / "q.jsonl", *rows))
        for more in ([], ["--no-mark-answers"]):
            folder = tmp_path / f"corpus{len(more)}"
            generate(tmp_path / "in", folder, "--questions", asked, "--chunk-tokens", "64", *more)
            corpus = load_corpus(folder)
            texts = {document.id: document.text for document in corpus.documents}
            named = {item.id: item.document_id for item in corpus.questions}
            assert [*named] == [row["id"] for row in rows]
            for name in ("a.txt", "b"):
                assert named[f"{name}-Sentence 35"].startswith(f"{name}#")
                assert "Sentence 35 " in texts[named[f"{name}-Sentence 35"]]
                assert named[f"{name}-Rome"] == f"{name}#0001"  # it stands in none
            assert {named[f"{name}-Sentence 35"] for name in ("c", "none")} == {"c", "none"}
        out = capsys.readouterr().out
        assert "2 long texts cut into " in out
        assert "3 of 8 answers found in their documents" in out

    def test_a_corpus_folder_and_its_bad_rows(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        generate(malformed_line(tmp_path), tmp_path / "one", "--skip-bad")
        generate(tmp_path / "one", tmp_path / "two")  # rows quarantined once stop nothing again
        assert tuple(load_corpus(tmp_path / "two").documents) == tuple(load_corpus(tmp_path / "one").documents)

    def test_a_corpus_folder_in_part(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["generate", "--output", str(tmp_path / "one"), "--people", "3"])
        generate(tmp_path / "one", tmp_path / "two", "--limit", "2")
        assert "2 documents, 10 questions\n" in capsys.readouterr().out
        assert json.loads((tmp_path / "two/done.json").read_text("utf-8"))["left_out"] == {
            "question of a document beyond corpus.limit": 5
        }


class TestOtherSources:
    def test_standard_input_by_its_content_and_a_run_again(self, tmp_path: Path) -> None:
        elusive = [sys.executable, "-m", "elusive", "generate", "--source", "-", "--output", str(tmp_path / "corpus")]
        content = gzip.compress(b"id;text\n1;<name>Ada</name>\n")
        for _ in range(2):
            done = subprocess.run(elusive, input=content, capture_output=True)
            assert done.returncode == 0, done.stderr
        assert tuple(load_corpus(tmp_path / "corpus").documents) == (Document("1", "Ada", (Span("name", 0, 3),)),)
        other = subprocess.run(elusive, input=b"another text", capture_output=True, text=False)
        assert other.returncode == 2
        assert b"was begun with other settings" in other.stderr

    def test_reading_rows_loads_neither_torch_nor_datasets(self, tmp_path: Path) -> None:
        source = write_jsonl(tmp_path / "c.jsonl", {"text": "x"})
        (tmp_path / "note.md").write_text("short")
        code = (
            "import sys; from elusive.cli.main import main\n"
            "for name in sys.argv[2:]: main(['generate', '--source', name, '--output', sys.argv[1] + name[-3:]])\n"
            "print({'torch', 'transformers', 'datasets', 'spacy', 'pyarrow', 'markdown_it'} & set(sys.modules))"
        )
        sources = [str(source), str(tmp_path / "note.md")]
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "corpus"), *sources], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "set()"

    def test_a_renamed_file_makes_other_ids_and_so_another_corpus(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs/a.md").write_text("text")
        generate(tmp_path / "docs", tmp_path / "corpus")
        (tmp_path / "docs/a.md").rename(tmp_path / "docs/b.md")
        assert "was begun with other settings" in refusal(capsys, tmp_path / "docs", tmp_path / "corpus")
