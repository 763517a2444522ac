"""The same documents in every form and compression; real files, written by the real libraries."""

import csv
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from elusive.config.corpus import CorpusSettings
from elusive.corpus.documents import Corpus, Document, Tally, collect
from elusive.corpus.questions import QuestionItem
from elusive.corpus.readers import read_corpus, read_entries, tables
from elusive.corpus.tags import Span
from elusive.errors import ElusiveError

from ... import shared_data

SHARED = shared_data.SHARED / "data"

DOCUMENTS = tuple(
    Document(
        f"p{n}",
        f'Zoë "{n}", born; in\t1815{"" if n % 3 else chr(10) + chr(10) + "and so on"}.',
        (Span("name", 0, 3), Span("date", 15 + len(str(n)), 19 + len(str(n)))) if n % 2 else (),
    )
    for n in range(20)
)


def rows(documents: Iterable[Document] = DOCUMENTS) -> list[dict[str, Any]]:
    return [
        {"id": document.id, "text": document.text, "spans": [span._asdict() for span in document.spans]}
        for document in documents
    ]


def tagged(document: Document) -> str:
    text = document.text
    for field, start, end in reversed(document.spans):
        text = f"{text[:start]}<{field}>{text[start:end]}</{field}>{text[end:]}"
    return text


def csv_bytes(delimiter: str, header: tuple[str, str] = ("id", "text")) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerow(header)
    writer.writerows((document.id, tagged(document)) for document in DOCUMENTS)
    return stream.getvalue().encode()


def csv_with_spans() -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, ["spans", "text", "id"])
    writer.writeheader()
    writer.writerows(row | {"spans": json.dumps(row["spans"])} for row in rows())
    return stream.getvalue().encode()


def parquet_bytes(**options: Any) -> bytes:
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows()), stream, **options)
    return stream.getvalue()


def jsonl_bytes(values: Iterable[object]) -> bytes:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode()


FORMS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "jsonl": (".jsonl", lambda: jsonl_bytes(rows())),
    "ndjson": (".ndjson", lambda: jsonl_bytes(rows())),
    "json": (".json", lambda: json.dumps(rows(), indent=2).encode()),
    "json under data": (".json", lambda: json.dumps({"version": 1, "data": rows()}).encode()),
    "json lines in .json": (".json", lambda: jsonl_bytes(rows())),
    "csv": (".csv", lambda: csv_bytes(",")),
    "csv with semicolons": (".csv", lambda: csv_bytes(";")),
    "csv with tabs": (".csv", lambda: csv_bytes("\t")),
    "csv with spans": (".csv", csv_with_spans),
    "tsv": (".tsv", lambda: csv_bytes("\t")),
    "parquet": (".parquet", parquet_bytes),
    "parquet in row groups": (".parquet", lambda: parquet_bytes(row_group_size=3, compression="zstd")),
}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": gzip.compress,
    ".zst": lambda content: zstandard.ZstdCompressor(write_checksum=True).compress(content),
}


class Piped:
    """Standard input that is a pipe."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)

    def isatty(self) -> bool:
        return False


def counted(source: str | Path, **settings: Any) -> tuple[int, Corpus]:
    """How many rows a source has by the reader's count, and what they became, without questions about them."""
    tally = Tally()
    forms: dict[str, Any] = {"question_forms": {}}
    chosen = CorpusSettings(source=str(source), **(forms | settings))
    corpus = collect(tally.passing(read_entries(chosen)))
    counts = tally.counts()
    assert (counts.documents, counts.questions) == (len(corpus.documents), len(corpus.questions))
    return counts.rows, corpus


def refusal(source: str | Path, **options: Any) -> str:
    with pytest.raises(ElusiveError) as caught:
        read_corpus(source, **options)
    return str(caught.value)


class TestEveryForm:
    @pytest.mark.parametrize("compression", COMPRESSIONS)
    @pytest.mark.parametrize("form", FORMS)
    def test_file(self, tmp_path: Path, form: str, compression: str) -> None:
        suffix, make = FORMS[form]
        content = COMPRESSIONS[compression](make())
        path = tmp_path / f"people{suffix}{compression}"
        path.write_bytes(content)
        assert counted(path) == (20, Corpus(DOCUMENTS))

    @pytest.mark.parametrize("compression", COMPRESSIONS)
    @pytest.mark.parametrize("form", FORMS)
    def test_by_content_alone(self, form: str, compression: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", Piped(COMPRESSIONS[compression](FORMS[form][1]())))
        assert counted("-") == (20, Corpus(DOCUMENTS))

    @pytest.mark.parametrize("compression", COMPRESSIONS)
    @pytest.mark.parametrize("suffix", [".txt", ".md"])
    def test_folder_of_texts(self, tmp_path: Path, suffix: str, compression: str) -> None:
        for document in DOCUMENTS:
            content = COMPRESSIONS[compression](document.text.encode())
            (tmp_path / f"{document.id}{suffix}{compression}").write_bytes(content)
        expected = sorted((Document(document.id + suffix, document.text) for document in DOCUMENTS), key=lambda d: d.id)
        assert counted(tmp_path) == (20, Corpus(tuple(expected)))

    def test_dataset_from_disk(self, tmp_path: Path) -> None:
        datasets.Dataset.from_list(rows()).save_to_disk(str(tmp_path / "one"), num_shards=3)
        assert counted(tmp_path / "one") == (20, Corpus(DOCUMENTS))
        assert counted(tmp_path / "one", format="dataset") == (20, Corpus(DOCUMENTS))

    def test_dataset_by_name(self, tmp_path: Path) -> None:
        # A local folder goes through the same load_dataset(streaming=True) as a name on the hub.
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "train.parquet").write_bytes(parquet_bytes())
        assert counted(f"hf:{tmp_path / 'set'}") == (20, Corpus(DOCUMENTS))

    def test_folder_and_pattern_mix_forms(self, tmp_path: Path) -> None:
        (tmp_path / "in" / "er").mkdir(parents=True)
        (tmp_path / "in" / "a.csv.gz").write_bytes(gzip.compress(csv_bytes(";")))
        (tmp_path / "in" / "er" / "b.parquet").write_bytes(parquet_bytes())
        (tmp_path / "in" / "er" / "c.md").write_text("# Text\n\nof it\n")
        (tmp_path / "in" / ".hidden.jsonl").write_text("not read")
        (tmp_path / "in" / "er-x.jsonl").write_text('{"text": "no id"}\n')
        total, corpus = counted(tmp_path / "in")
        assert total == 42
        assert [document.id for document in corpus.documents] == [
            *(document.id for document in DOCUMENTS),
            "er-x.jsonl#000001",
            "er/c.md",
        ]
        assert len(corpus.quarantined) == 20
        assert "row 1: id 'p0' is already used in " in corpus.quarantined[0].reason
        assert "a.csv.gz, line 2" in corpus.quarantined[0].reason
        assert json.loads(corpus.quarantined[0].raw)["id"] == "p0"
        assert counted(f"{tmp_path}/in/**/*.parquet") == (20, Corpus(DOCUMENTS))
        assert [document.id for document in counted(f"{tmp_path}/**/*.[jm]*")[1].documents] == [
            "in/er-x.jsonl#000001",
            "in/er/c.md",
        ]

    @pytest.mark.parametrize("form", ["jsonl", "csv", "parquet", "json"])
    def test_limit(self, tmp_path: Path, form: str) -> None:
        path = tmp_path / f"people{FORMS[form][0]}"
        path.write_bytes(FORMS[form][1]())
        assert counted(path, limit=7) == (7, Corpus(DOCUMENTS[:7]))

    def test_other_columns(self, tmp_path: Path) -> None:
        (tmp_path / "c.csv").write_bytes(csv_bytes(";", ("key", "body")))
        settings = {"text_column": "body", "id_column": "key"}
        assert counted(tmp_path / "c.csv", **settings) == (20, Corpus(DOCUMENTS))
        renamed = [{"body": row["text"], "key": row["id"], "spans": row["spans"], "other": 1} for row in rows()]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(renamed), tmp_path / "c.parquet")
        assert counted(tmp_path / "c.parquet", **settings) == (20, Corpus(DOCUMENTS))
        (tmp_path / "c.jsonl").write_bytes(jsonl_bytes(renamed))
        assert counted(tmp_path / "c.jsonl", **settings) == (20, Corpus(DOCUMENTS))
        for name in ("c.csv", "c.parquet"):
            message = refusal(tmp_path / name)
            assert f"{name}: expected one column 'text', or SQuAD's context, question, answers; got the col" in message
            assert "'body'" in message
            assert "corpus.text_column" in message
            assert "corpus.id_column" in message
        assert "got the keys 'body', 'key', 'spans', 'other'. Name it with corpus.text_column" in refusal(
            tmp_path / "c.jsonl"
        )

    def test_tags_can_be_left_as_text(self, tmp_path: Path) -> None:
        (tmp_path / "c.tsv").write_bytes(csv_bytes("\t"))
        documents = counted(tmp_path / "c.tsv", tags=False)[1].documents
        assert [document.text for document in documents] == [tagged(document) for document in DOCUMENTS]

    def test_the_old_name_of_csv(self, tmp_path: Path) -> None:
        (tmp_path / "c.log").write_bytes(csv_bytes(","))
        assert counted(tmp_path / "c.log", format="tagged-csv") == (20, Corpus(DOCUMENTS))


class TestQuestionsOfMarkedFields:
    @pytest.mark.parametrize("form", FORMS)
    def test_every_form_of_rows(self, tmp_path: Path, form: str) -> None:
        suffix, make = FORMS[form]
        path = tmp_path / f"people{suffix}"
        path.write_bytes(make())
        assert read_corpus(path, limit=4).questions == (
            QuestionItem("p1-date", "When was Zoë born?", ("n 18",), "date", "p1"),  # a tab where the span has it
            QuestionItem("p3-date", "When was Zoë born?", ("n 18",), "date", "p3"),
        )

    def test_the_authors_form(self) -> None:
        corpus = read_corpus(SHARED / "biographies_well_known.csv")
        assert len(corpus.questions) == 5 * len(corpus.documents) == 50
        assert corpus.questions[3] == QuestionItem(
            "biographies_well_known-000001-major",
            "What did Isaac Newton study?",
            ("Mathematics and Physics",),
            "major",
            "biographies_well_known-000001",
        )

    def test_forms_of_ones_own(self, tmp_path: Path) -> None:
        (tmp_path / "c.csv").write_text('text\n"<prize>Nobel</prize> went to <who>Ada</who> in <year>1815</year>."\n')
        forms = {"year": "When did {who} win the {prize}?", "place": "Where did {who} win?"}
        assert read_corpus(tmp_path / "c.csv", question_forms=forms).questions == (
            QuestionItem("c-000001-year", "When did Ada win the Nobel?", ("1815",), "year", "c-000001"),
        )

    def test_an_id_that_another_question_has(self, tmp_path: Path) -> None:
        squad = {"context": "Zoë", "id": "a-date", "question": "Who?", "answers": [{"text": "Zoë", "answer_start": 0}]}
        row = {"id": "a", "text": "Zoë 1815", "spans": [["name", 0, 3], ["date", 4, 8]]}
        (tmp_path / "c.jsonl").write_bytes(jsonl_bytes([squad, row]))
        corpus = read_corpus(tmp_path / "c.jsonl", skip_bad=True)
        assert [item.question for item in corpus.questions] == ["Who?"]
        assert "id 'a-date' is already used by another question, on line 1" in corpus.quarantined[0].reason


class TestCompression:
    @pytest.mark.parametrize("compression", [".gz", ".zst"])
    def test_every_cut_is_refused(self, tmp_path: Path, compression: str) -> None:
        content = COMPRESSIONS[compression](jsonl_bytes(rows()))
        path = tmp_path / f"c.jsonl{compression}"
        for size in [*range(5, len(content), 37), len(content) - 8, len(content) - 4, len(content) - 1]:
            path.write_bytes(content[:size])
            message = refusal(path, skip_bad=True)
            assert f"{path} is cut off: its compressed stream ends before its end mark." in message

    @pytest.mark.parametrize("compression", [".gz", ".zst"])
    def test_every_damage_is_refused(self, tmp_path: Path, compression: str) -> None:
        content = COMPRESSIONS[compression](jsonl_bytes(rows()))
        for place in range(20, len(content), 41):
            damaged = bytearray(content)
            damaged[place] ^= 16
            (tmp_path / f"c.jsonl{compression}").write_bytes(damaged)
            message = refusal(tmp_path / f"c.jsonl{compression}", skip_bad=True)
            assert "is damaged" in message or "is cut off" in message or "could not be read" in message

    def test_several_streams_in_one_file(self, tmp_path: Path) -> None:
        one, two = jsonl_bytes(rows(DOCUMENTS[:9])), jsonl_bytes(rows(DOCUMENTS[9:]))
        for compression in (".gz", ".zst"):
            compress = COMPRESSIONS[compression]
            (tmp_path / f"c.jsonl{compression}").write_bytes(compress(one) + compress(two))
            assert counted(tmp_path / f"c.jsonl{compression}") == (20, Corpus(DOCUMENTS))

    def test_a_cut_file_in_a_folder_is_a_bad_row(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(jsonl_bytes(rows()))[:-9])
        (tmp_path / "b.txt").write_text("fine")
        assert "a.jsonl.gz, line 1: is cut off: its compressed stream ends" in refusal(tmp_path)


class TestUnknownForms:
    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            ("a.zip", b"PK\x03\x04\x14", "a ZIP archive, which cannot be read: unpack it, and give the folder"),
            ("a.docx", b"PK\x03\x04\x14", "an archive that cannot be read"),
            ("a.docx", b"no archive", "expected Word, and it does not begin like it"),
            (
                "a.doc",
                b"\xd0\xcf\x11\xe0\xa1",
                "an office document of before 2007, which cannot be read: save it",
            ),
            ("picture", b"\x89PNG\r\n\x1a\n", "an image"),
            ("a.bin", b"abc\0\1\2", "a binary file of a form that is not known"),
            ("a.xml", b"<?xml version='1.0'?>\n<rows/>", "XML of a form that is not known"),
            ("a.texi", b"\\input texinfo\n@node Top", "a Texinfo source, which is not converted: give its HTML"),
            ("a.jsonl.bz2", b"BZh91AY", "a bzip2 file, which cannot be read: unpack it"),
            ("a.parquet", b"nothing", "expected a Parquet file, and it does not begin like one"),
            ("a.parquet", b"PAR1 cut off", "could not be read as Parquet"),
            ("a.csv", b"title;body\nx;y\n", "expected one column 'text'"),
        ],
    )
    def test_a_bad_row_in_a_folder_and_an_error_alone(
        self, tmp_path: Path, name: str, content: bytes, reason: str
    ) -> None:
        (tmp_path / name).write_bytes(content)
        message = refusal(tmp_path / name, skip_bad=True)
        assert message.startswith(str(tmp_path / name))
        assert reason in message
        (tmp_path / "good.txt").write_text("good")
        total, corpus = counted(tmp_path)
        assert total == 2
        assert corpus.documents == (Document("good.txt", "good"),)
        assert reason in corpus.quarantined[0].reason
        assert corpus.quarantined[0].source == str(tmp_path / name)
        assert corpus.quarantined[0].raw == content.decode("utf-8", "backslashreplace")
        assert "got 1 bad row" in refusal(tmp_path)

    @pytest.mark.parametrize(
        ("name", "content", "ids"),
        [
            ("README", "# Head\n\nbody", ["README"]),
            ("run.py", "# no heading\n\nprint()", ["run.py"]),
            ("people.log", '{"text": "a"}\n{"text": "b"}', ["people-000001", "people-000002"]),
            ("list", '[{"text": "a"}]', ["list-000001"]),
            ("one.json", '{"text": "a"}', ["one-000001"]),
            ("one.json", '{\n "text": "a"\n}', ["one-000001"]),
            ("link.log", "[link](there) {x}", ["link.log"]),
            ("table", "a;text\n1;x\n2;y", ["table-000001", "table-000002"]),
            ("alone", "text\n<name>x</name>\ny", ["alone-000001", "alone-000002"]),
            ("comma.log", "a text, with a comma\nline", ["comma.log"]),
        ],
    )
    def test_seen_from_the_content(self, tmp_path: Path, name: str, content: str, ids: list[str]) -> None:
        (tmp_path / name).write_text(content)
        assert [document.id for document in read_corpus(tmp_path / name).documents] == ids


class TestParquet:
    def test_bytes_and_bad_rows(self, tmp_path: Path) -> None:
        texts = pyarrow.array([b"caf\xc3\xa9", b"caf\xe9", None, b" ", b"last"], pyarrow.binary())
        pyarrow.parquet.write_table(pyarrow.table({"text": texts, "id": [1, 2, 3, 4, 1]}), tmp_path / "c.parquet")
        total, corpus = counted(tmp_path / "c.parquet")
        assert total == 5
        assert corpus.documents == (Document("1", "café"),)
        assert [bad.reason for bad in corpus.quarantined] == [
            "row 2: 'text': not UTF-8 (byte 0xe9 at position 3)",
            "row 3: 'text': expected a string, got null",
            "row 4: empty text: expected at least one character that is not white space",
            "row 5: id '1' is already used in row 1",
        ]
        assert json.loads(corpus.quarantined[1].raw) == {"text": None, "id": 3}
        assert "caf\\\\xe9" in corpus.quarantined[0].raw

    def test_strings_that_are_not_utf8(self, tmp_path: Path) -> None:
        broken = pyarrow.array([b"fine", b"caf\xe9"], pyarrow.binary()).view(pyarrow.string())
        pyarrow.parquet.write_table(pyarrow.table({"text": broken}), tmp_path / "c.parquet")
        corpus = counted(tmp_path / "c.parquet")[1]
        assert [document.text for document in corpus.documents] == ["fine"]
        assert "not UTF-8" in corpus.quarantined[0].reason

    def test_few_long_rows_at_a_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tables, "_BATCH_BYTES", 1000)
        (tmp_path / "c.parquet").write_bytes(parquet_bytes(compression="none"))
        with pyarrow.parquet.ParquetFile(tmp_path / "c.parquet") as table:
            assert 1 <= tables._batch_rows(table.metadata) < 20
        assert counted(tmp_path / "c.parquet") == (20, Corpus(DOCUMENTS))


LONG = "Ada Lovelace of the long and winding name that never ends before the line does"
FLAT = [
    {"id": "q1", "title": "T", "context": "Ada, 1815", "question": "When?", "answers": [("1815", 5)]},
    {"id": "q2", "title": "T", "context": "Bob in Rome", "question": "Who?", "answers": [("Bob", 0), ("Bob in", 0)]},
    {"id": "q3", "title": "T", "context": "Ada, 1815", "question": "Who?", "answers": [("Ada", 0)]},
    # NumPy breaks its line behind an answer this long.
    {"id": "q7", "title": "T", "context": f"{LONG}, of 1815", "question": "Who?", "answers": [(LONG, 0)]},
    {"id": "q4", "title": "U", "context": "Cy", "question": "What?", "answers": []},
    {"id": "q5", "title": "U", "context": "Cy", "question": "Bad?", "answers": [("Cy", 1)]},
    {"id": "q1", "title": "U", "context": "Cy", "question": "Twice?", "answers": [("Cy", 0)]},
    {"id": "q6", "title": "U", "context": " ", "question": "Where?", "answers": [("x", 0)]},
]
FLAT_DOCUMENTS = (
    Document("T-0001", "Ada, 1815", (Span("answer", 0, 3), Span("answer", 5, 9))),
    Document("T-0002", "Bob in Rome", (Span("answer", 0, 3), Span("answer", 0, 6))),
    Document("T-0003", f"{LONG}, of 1815", (Span("answer", 0, len(LONG)),)),
    Document("U-0001", "Cy"),
)


def flat_rows() -> list[dict[str, Any]]:
    def columns(answers: list[tuple[str, int]]) -> dict[str, list[Any]]:
        return {"text": [text for text, _ in answers], "answer_start": [start for _, start in answers]}

    return [row | {"answers": columns(row["answers"])} for row in FLAT]


class TestFlatSquad:
    def save(self, tmp_path: Path, form: str) -> Path:
        table = datasets.Dataset.from_list(flat_rows())
        path = tmp_path / f"set.{form}"
        if form == "disk":
            table.save_to_disk(str(path))
        elif form == "json":
            path.write_text(json.dumps({"data": flat_rows()}))
        elif form == "numpy.csv":
            table.to_csv(str(path))  # answers as Python and NumPy print them
        elif form == "csv":
            with path.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, list(FLAT[0]))
                writer.writeheader()
                writer.writerows(row | {"answers": json.dumps(row["answers"])} for row in flat_rows())
        else:
            {"jsonl": table.to_json, "parquet": table.to_parquet}[form](str(path))
        return path

    @pytest.mark.parametrize("form", ["jsonl", "parquet", "json", "csv", "numpy.csv", "disk"])
    @pytest.mark.parametrize("format", ["auto", "squad"])
    def test_every_row_form(self, tmp_path: Path, form: str, format: str) -> None:
        total, corpus = counted(self.save(tmp_path, form), format=format)
        assert total == 2 * len(FLAT)  # a row is a paragraph and a question
        assert corpus.documents == FLAT_DOCUMENTS
        assert corpus.questions == (
            QuestionItem("q1", "When?", ("1815",), "answer", "T-0001"),
            QuestionItem("q2", "Who?", ("Bob", "Bob in"), "answer", "T-0002"),
            QuestionItem("q3", "Who?", ("Ada",), "answer", "T-0001"),
            QuestionItem("q7", "Who?", (LONG,), "answer", "T-0003"),
        )
        assert [bad.of for bad in corpus.quarantined] == ["question", "question", "document"]
        wanted = ("answer_start 1: expected 'Cy' there, got 'y'", "id 'q1' is already used by another", "empty context")
        assert all(reason in bad.reason for reason, bad in zip(wanted, corpus.quarantined, strict=True))

    def test_what_was_left_out(self, tmp_path: Path) -> None:
        tally = Tally()
        collect(tally.passing(read_entries(CorpusSettings(source=str(self.save(tmp_path, "jsonl"))))))
        assert tally.counts().left_out == {
            "repeated paragraph": 3,
            "impossible question": 1,
            "question of a bad paragraph": 1,
        }

    def test_limit(self, tmp_path: Path) -> None:
        corpus = counted(self.save(tmp_path, "parquet"), limit=2)[1]
        assert corpus.documents == FLAT_DOCUMENTS[:2]
        assert [item.id for item in corpus.questions] == ["q1", "q2", "q3"]

    def test_nested_bad_paragraphs_lose_their_questions_by_name(self, tmp_path: Path) -> None:
        qas = [{"id": f"q{n}", "question": "?", "answers": [{"text": "x", "answer_start": 0}]} for n in range(3)]
        articles = [{"title": "T", "paragraphs": [{"context": "", "qas": qas}, {"context": "good"}]}]
        (tmp_path / "s.json").write_text(json.dumps(articles))
        total, corpus = counted(tmp_path / "s.json")
        assert total == 2 + 3
        assert [document.id for document in corpus.documents] == ["T-0002"]
        assert len(corpus.quarantined) == 1

    def test_xquad_flat_is_xquad(self, tmp_path: Path) -> None:
        if not (SHARED / "xquad.en.json").exists():
            pytest.skip("xquad.en.json is not beside the repository (it is not part of it)")
        nested = read_corpus(SHARED / "xquad.en.json")
        flat = [
            {
                "id": question["id"],
                "title": article["title"],
                "context": paragraph["context"],
                "question": question["question"],
                "answers": {key: [answer[key] for answer in question["answers"]] for key in ("text", "answer_start")},
            }
            for article in json.loads((SHARED / "xquad.en.json").read_text("utf-8"))["data"]
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
        ]
        datasets.Dataset.from_list(flat).to_parquet(str(tmp_path / "x.parquet"))
        assert read_corpus(tmp_path / "x.parquet") == nested


class TestDatasets:
    def test_splits(self, tmp_path: Path) -> None:
        parts = {"train": DOCUMENTS[:9], "test": DOCUMENTS[9:]}
        both = datasets.DatasetDict({part: datasets.Dataset.from_list(rows(held)) for part, held in parts.items()})
        both.save_to_disk(str(tmp_path / "both"))
        for part in both:
            both[part].to_parquet(str(tmp_path / "hub" / f"{part}.parquet"))
        for source in (str(tmp_path / "both"), f"hf:{tmp_path / 'hub'}"):
            message = refusal(source)
            assert "has the splits train, test: expected one of them, or several joined by '+'" in message
            assert "corpus.split" in message
            assert "got 'dev'" in refusal(source, split="dev")
            assert read_corpus(source, split="test").documents == DOCUMENTS[9:]
            assert read_corpus(source, split="train+test").documents == DOCUMENTS
            assert "expected one column 'body'" in refusal(source, split="test", text_column="body")
        assert "has no splits" in refusal(str(tmp_path / "both" / "train"), split="train")

    def test_ids_of_rows_without_one(self, tmp_path: Path) -> None:
        datasets.Dataset.from_dict({"text": ["a", "", "b"]}).save_to_disk(str(tmp_path / "set"))
        total, corpus = counted(tmp_path / "set")
        assert total == 3
        assert [document.id for document in corpus.documents] == ["set-000001", "set-000003"]
        assert corpus.quarantined[0].reason.startswith("row 2: empty text")

    def test_subset_that_is_not_there(self, tmp_path: Path) -> None:
        (tmp_path / "train.parquet").write_bytes(parquet_bytes())
        message = refusal(f"hf:{tmp_path}", subset="zz")
        assert "could not be loaded (ValueError: BuilderConfig 'zz' not found" in message
        assert "corpus.subset" in message

    def test_scripts_are_not_run(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "set.py").write_text("raise SystemExit('it ran')")
        assert "could not be loaded" in refusal(f"hf:{tmp_path / 'set'}")

    def test_without_the_library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "datasets", None)
        message = refusal("hf:org/name")
        assert message == (
            "hf:org/name needs the package datasets, which is not installed. Install it: "
            "pip install 'elusive[datasets]'"
        )

    def test_a_file_is_no_dataset(self, tmp_path: Path) -> None:
        (tmp_path / "c.jsonl").write_bytes(jsonl_bytes(rows()))
        assert "expected a folder that save_to_disk wrote" in refusal(tmp_path / "c.jsonl", format="dataset")


class TestLongRows:
    """Texts of rows are cut as those of files are."""

    SENTENCES = " ".join(f"Sentence {n} has a few words of its own, and an end." for n in range(40))
    TEXT = f"Zoë wrote. {SENTENCES} She was born in May. 1815, in the end."
    PLACE = TEXT.index("May. 1815")
    ROWS = ({"id": "z", "text": TEXT, "spans": [["name", 0, 3], ["date", PLACE, PLACE + 9]]}, {"text": "short"})

    def forms(self) -> dict[str, bytes]:
        parquet = io.BytesIO()
        spans = [{"field": "name", "start": 0, "end": 3}, {"field": "date", "start": self.PLACE, "end": self.PLACE + 9}]
        table = [{**self.ROWS[0], "spans": spans}, {"id": None, "text": "short", "spans": None}]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), parquet)
        tags = f"<name>Zoë</name>{self.TEXT[3 : self.PLACE]}<date>May. 1815</date>{self.TEXT[self.PLACE + 9 :]}"
        return {
            ".jsonl": jsonl_bytes(self.ROWS),
            ".json": json.dumps(self.ROWS).encode(),
            ".csv": f'id,text\nz,"{tags}"\n,short\n'.encode(),
            ".parquet": parquet.getvalue(),
        }

    def check(self, corpus: Corpus) -> None:
        *chunks, short = corpus.documents
        assert [chunk.id for chunk in chunks] == [f"z#{n:04d}" for n in range(1, len(chunks) + 1)]
        assert " ".join(chunk.text for chunk in chunks) == self.TEXT
        assert (short.text, short.id.split("-")[1]) == ("short", "000002")
        assert chunks[0].spans == (Span("name", 0, 3),)
        [date] = chunks[-1].spans
        assert chunks[-1].text[date.start : date.end] == "May. 1815"
        asked = QuestionItem("z-date", "When was Zoë born?", ("May. 1815",), "date", chunks[-1].id)
        assert corpus.questions == (asked,)
        assert (
            corpus.notes[0] == f"1 long text cut into {len(chunks)} documents of up to 63 tokens (corpus.chunk_tokens)"
        )

    def test_every_form(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for suffix, content in self.forms().items():
            (tmp_path / f"c{suffix}").write_bytes(content)
            self.check(read_corpus(tmp_path / f"c{suffix}", chunk_tokens=64))
            monkeypatch.setattr(sys, "stdin", Piped(content))
            self.check(read_corpus("-", chunk_tokens=64))
        spans = [dict(zip(("field", "start", "end"), span, strict=True)) for span in self.ROWS[0]["spans"]]
        datasets.Dataset.from_list([self.ROWS[0] | {"spans": spans}, {"text": "short"}]).save_to_disk(tmp_path / "set")
        self.check(read_corpus(tmp_path / "set", chunk_tokens=64))

    def test_chunks_fill_their_budget(self, tmp_path: Path) -> None:
        from elusive.models.loading import load_tokenizer

        (tmp_path / "c.jsonl").write_bytes(jsonl_bytes(self.ROWS))
        for budget in (64, 256):
            *chunks, _ = read_corpus(tmp_path / "c.jsonl", chunk_tokens=budget).documents
            sizes = [len(load_tokenizer("elusive/large")(chunk.text)["input_ids"]) for chunk in chunks]
            assert max(sizes) <= budget
            assert min(sizes[:-1]) > budget // 2

    def test_zero_keeps_rows_whole(self, tmp_path: Path) -> None:
        (tmp_path / "c.jsonl").write_bytes(jsonl_bytes(self.ROWS))
        corpus = read_corpus(tmp_path / "c.jsonl", chunk_tokens=0)
        assert [document.text for document in corpus.documents] == [self.TEXT, "short"]
        assert corpus.questions[0].document_id == "z"

    def test_the_limit_counts_chunks_and_leaves_out_what_they_do_not_hold(self, tmp_path: Path) -> None:
        (tmp_path / "c.jsonl").write_bytes(jsonl_bytes(self.ROWS))
        corpus = read_corpus(tmp_path / "c.jsonl", chunk_tokens=64, limit=2)
        assert [document.id for document in corpus.documents] == ["z#0001", "z#0002"]
        assert corpus.questions == ()

    def test_ids_stay_unique(self, tmp_path: Path) -> None:
        twice = [self.ROWS[0], {"id": "z", "text": "short"}, {"id": "z#0001", "text": "short"}]
        (tmp_path / "c.jsonl").write_bytes(jsonl_bytes(twice))
        corpus = read_corpus(tmp_path / "c.jsonl", chunk_tokens=64, skip_bad=True)
        assert [bad.reason for bad in corpus.quarantined] == [
            "id 'z' is already used on line 1",
            "id 'z#0001' is already used on line 1",
        ]

    @pytest.mark.parametrize("flat", [False, True])
    def test_squad(self, tmp_path: Path, flat: bool) -> None:
        qas = [
            {"id": name, "question": f"{name}?", "answers": [{"text": text, "answer_start": self.TEXT.index(text)}]}
            for name, text in (("when", "May. 1815"), ("who", "Zoë"), ("which", "Sentence 20"))
        ]
        if flat:
            (tmp_path / "c.jsonl").write_bytes(jsonl_bytes({"context": self.TEXT, **one} for one in qas))
        else:
            articles = [{"title": "article", "paragraphs": [{"context": self.TEXT, "qas": qas}]}]
            (tmp_path / "c.json").write_text(json.dumps({"data": articles}))
        corpus = read_corpus(tmp_path, chunk_tokens=64)
        texts = {document.id: document for document in corpus.documents}
        assert [item.id for item in corpus.questions] == ["when", "who", "which"]
        for item in corpus.questions:
            document = texts[item.document_id]
            assert item.answers[0] in {document.text[span.start : span.end] for span in document.spans}
        assert sum(len(document.spans) for document in corpus.documents) == 3
        assert len(texts) > 5
        assert all(id.startswith("article-0001#") for id in texts)


class TestTexts:
    LONG = "# Head\n\n" + "\n\n".join(f"Paragraph {n} has a few words of its own, and an end." for n in range(60))

    def test_chunks_within_the_budget_of_the_tokenizer(self, tmp_path: Path) -> None:
        from elusive.models.loading import load_tokenizer

        (tmp_path / "a.md").write_text(self.LONG)
        (tmp_path / "b.txt").write_text("short")
        corpus = read_corpus(tmp_path, chunk_tokens=64)
        assert [document.id for document in corpus.documents][:2] == ["a.md#0001", "a.md#0002"]
        assert list(corpus.documents)[-1] == Document("b.txt", "short")
        chunks = [document.text for document in list(corpus.documents)[:-1]]
        sizes = [len(load_tokenizer("elusive/large")(text)["input_ids"]) for text in chunks]
        assert max(sizes) <= 64
        assert min(sizes[:-1]) > 32
        head = self.LONG.partition("\n\n")[0] + "\n\n"
        assert head + "\n\n".join(chunk.removeprefix(head) for chunk in chunks) == self.LONG
        assert all(chunk.startswith(head) for chunk in chunks)
        assert len(read_corpus(tmp_path, chunk_tokens=64, limit=2).documents) == 2

    def test_zero_keeps_files_whole(self, tmp_path: Path) -> None:
        (tmp_path / "a.md").write_text(self.LONG)
        assert read_corpus(tmp_path, chunk_tokens=0).documents == (Document("a.md", self.LONG),)

    def test_plain_text_and_markdown_differ(self, tmp_path: Path) -> None:
        code = "```\n" + "x = 1\n\n" * 40 + "```"
        (tmp_path / "a.md").write_text(code)
        (tmp_path / "a.txt").write_text(code)
        fenced = read_corpus(tmp_path / "a.md", chunk_tokens=20).documents
        assert all(one.text.startswith("```\n") and one.text.endswith("\n```") for one in fenced)
        plain = read_corpus(tmp_path / "a.txt", chunk_tokens=20).documents
        assert not any(one.text.endswith("\n```") for one in list(plain)[:-1])
        assert [one.text for one in read_corpus(tmp_path / "a.txt", chunk_tokens=20, format="markdown").documents] == [
            one.text for one in fenced
        ]


class TestStandardInput:
    def test_a_terminal_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Piped, "isatty", lambda self: True)
        monkeypatch.setattr(sys, "stdin", Piped(b""))
        assert "expected a file or a pipe on standard input, got a terminal" in refusal("-")

    def test_messages_name_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", Piped(b'{"text": "a"}\n{"text": ""}\n'))
        assert "  standard input, line 2: empty text" in refusal("-")

    def test_text(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", Piped(b"just a text\n"))
        assert read_corpus("-").documents == (Document("stdin", "just a text"),)

    def test_a_named_pipe(self) -> None:
        code = "import sys, elusive; print(elusive.read_corpus(sys.argv[1]).documents[0].text)"
        command = ["bash", "-c", f'{sys.executable} -c "$1" <(echo \'{{"text": "through a pipe"}}\')', "-", code]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.stdout.strip() == "through a pipe", done.stderr


class TestPatterns:
    def test_nothing_matches(self, tmp_path: Path) -> None:
        assert "No file matches the pattern" in refusal(f"{tmp_path}/**/*.md")

    def test_links_to_a_folder_around_them_end(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "x.txt").write_text("x")
        (tmp_path / "a" / "loop").symlink_to(tmp_path)
        assert read_corpus(tmp_path).documents == (Document("a/x.txt", "x"),)
