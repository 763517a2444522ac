import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from elusive.config.corpus import CorpusSettings
from elusive.corpus import input_files
from elusive.corpus.documents import Document
from elusive.corpus.readers import read_corpus, tables
from elusive.corpus.spans import mark, markers
from elusive.corpus.stage import make_corpus
from elusive.errors import ElusiveError

SMALL: dict[str, Any] = {"max_read_bytes": 1000}


def zstd(path: Path, content: bytes) -> Path:
    path.write_bytes(pyarrow.compress(content, "zstd", asbytes=True))
    return path


def test_a_line_that_is_too_long_is_one_bad_row(tmp_path):
    rows = [{"text": "Ada."}, {"text": "x" * 5000}, {"text": "Bo."}]
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = read_corpus(path, skip_bad=True, **SMALL)
    assert [document.text for document in found.documents] == ["Ada.", "Bo."]
    [row] = found.quarantined
    assert row.line == 2
    assert "a line of more than 1,000 bytes (corpus.max_read_bytes)" in row.reason
    assert len(read_corpus(path, max_read_bytes=10_000, chunk_tokens=0).documents) == 3


def test_a_row_of_a_table_that_is_too_long_is_one_bad_row(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text(f"id,text\n1,Ada.\n2,{'x' * 5000}\n3,Bo.\n", encoding="utf-8")
    found = read_corpus(path, skip_bad=True, **SMALL)
    assert [document.text for document in found.documents] == ["Ada.", "Bo."]
    [row] = found.quarantined
    assert "a row of more than 1,000 bytes" in row.reason
    assert row.line == 3


def test_a_quote_without_an_end_does_not_take_in_the_rest_of_a_table(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text('id,text\n1,"Ada.\n' + "2,Bo.\n" * 1000, encoding="utf-8")
    found = read_corpus(path, skip_bad=True, **SMALL)
    assert "a row of more than 1,000 bytes" in found.quarantined[0].reason
    assert len(found.quarantined) + len(found.documents) > 800


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.json", json.dumps([{"text": "x" * 100}] * 20, indent=1)),
        ("c.md", "# Ada\n\n" + "Born.\n\n" * 300),
        ("c.txt", "x" * 2000),
        ("c.txt", "x\n" * 2000),
    ],
)
def test_a_file_that_is_read_whole_is_bounded(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ElusiveError, match=r"more than 1,000 bytes \(corpus.max_read_bytes\)"):
        read_corpus(path, **SMALL)
    assert read_corpus(path, max_read_bytes=10_000).documents


@pytest.mark.parametrize("content", [b'{"text": "' + b"x" * 3_000_000 + b'"}\n', b"\n" * 3_000_000])
@pytest.mark.parametrize("compress", [zstd, lambda path, content: path.write_bytes(gzip.compress(content)) and path])
def test_a_compressed_file_may_not_grow_out_of_proportion(tmp_path, content, compress):
    path = tmp_path / "bomb.jsonl"
    compress(path, content)
    assert path.stat().st_size < 10_000
    with pytest.raises(ElusiveError, match=r"bomb\.jsonl grows to more than .* corpus\.max_expansion"):
        read_corpus(path, max_expansion=2, **SMALL)


def test_a_header_of_a_megabyte_is_said_on_a_screen(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text(",".join(f"c{number}" for number in range(150_000)) + "\n1\n", encoding="utf-8")
    expected = r"expected one column 'text'.* characters\] .*corpus\.text_column"
    with pytest.raises(ElusiveError, match=expected) as refused:
        read_corpus(path)
    assert len(str(refused.value)) < 1000


def test_what_is_nested_too_deeply_is_a_bad_row(tmp_path):
    deep = '{"text": "Ada", "more": ' + "[" * 100_000 + "]" * 100_000 + "}"
    path = tmp_path / "c.jsonl"
    path.write_text(f'{deep}\n{{"text": "Bo."}}\n', encoding="utf-8")
    found = read_corpus(path, skip_bad=True)
    assert len(found.documents) == len(found.quarantined) == 1
    assert "JSON that cannot be read" in found.quarantined[0].reason


def test_a_pattern_that_never_ends_is_stopped():
    settings = CorpusSettings(patterns=("x=(a|a)+$",), pattern_seconds=0.05)
    chosen, _ = markers(settings)
    with pytest.raises(ElusiveError, match=r"did not end within 0.05 s in document 'd' .* corpus.pattern_seconds"):
        list(mark([Document("d", "a" * 60 + "b")], chosen))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("points.txt", "." * 1_000_000),
        ("brackets.md", "[" * 1_000_000),
        ("quotes.md", "> " * 100_000),
        ("answers.csv", 'context,question,answers\nx,y,"' + "array(['\\'" * 100_000 + '"\n'),
    ],
)
def test_time_does_not_grow_with_the_square_of_a_line(tmp_path, name, content, monkeypatch):
    # At 40 to 400 times the length of a page, what took the square would not end within the time of the whole suite.
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    options: dict[str, Any] = {"skip_bad": True, "chunk_tokens": 512}
    monkeypatch.setattr("elusive.corpus.readers.text.token_counts", lambda name: lambda texts: [*map(len, texts)])
    with contextlib.suppress(ElusiveError):
        assert read_corpus(path, **options).documents


def test_a_header_that_is_not_utf_8_costs_its_rows_and_no_more(tmp_path):
    path = tmp_path / "c.csv"
    path.write_bytes(b"text,caf\xe9\nAda.,1\nBo.,2,3\n")
    found = make_corpus(CorpusSettings(source=str(path), skip_bad=True), tmp_path / "out")
    assert [document.text for document in found.documents] == ["Ada."]
    [row] = map(json.loads, (tmp_path / "out" / "quarantine.jsonl").read_text(encoding="utf-8").splitlines())
    assert row["reason"].startswith("expected 2 cells (text, caf\\udce9), got 3")


def test_blank_lines_are_passed_over_and_counted(tmp_path):
    """A bad row's line number is right behind more blank lines than a buffer holds, with CRs and spaces among them."""
    blank = b"\n" * 300_000 + b"\r\n" * 1000 + b" \t\n" * 10
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"text": "Ada."}\n' + blank + b' \r {"text": "Bo."}\n' + blank + b"bad\n")
    found = read_corpus(path, skip_bad=True)
    assert [document.text for document in found.documents] == ["Ada.", "Bo."]
    assert [row.line for row in found.quarantined] == [3 + 2 * 301_010]


@pytest.mark.parametrize("name", ["c.txt", "c.csv", "c.tsv"])
def test_a_file_of_blank_lines_is_not_read_to_its_end(name, tmp_path, monkeypatch):
    monkeypatch.setattr(input_files, "MOST_BLANK_LINES", 10)
    monkeypatch.setattr(tables, "MOST_BLANK_LINES", 10)
    few, many = tmp_path / name, tmp_path / f"many-{name}"
    few.write_text("text\n" + "\n" * 10 + "Ada.\n", encoding="utf-8")
    many.write_text("text\n" + "\n" * 11 + "Ada.\n", encoding="utf-8")
    assert next(iter(read_corpus(few).documents)).text.endswith("Ada.")
    with pytest.raises(ElusiveError, match="blank lines in a row"):
        read_corpus(many)
