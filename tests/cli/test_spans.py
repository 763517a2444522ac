"""`elusive generate` marks what its settings ask for, and says what found no place."""

import json

import pytest

from elusive.cli.main import main

GUIDE = "# Towns\n\nAda was born in London in 1815.\n\nBob moved to Rome in 1990.\n"
QUESTIONS = [
    {"id": "q1", "question": "Where?", "answer": "london", "field": "city", "document_id": "guide.md"},
    {"id": "q2", "question": "Where?", "answers": ["Rome", "Roma"], "field": "city", "document_id": "guide.md"},
    {"id": "q3", "question": "When?", "answer": "1815", "field": "year", "document_id": "other.md"},
]


@pytest.fixture
def source(tmp_path):
    (tmp_path / "guide.md").write_text(GUIDE)
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    return tmp_path


def generate(source, *flags):
    corpus = source / "corpus"
    main(["generate", "--source", str(source / "guide.md"), "--output", str(corpus), *flags])
    rows = map(json.loads, (corpus / "documents.jsonl").read_text().splitlines())
    return corpus, [(field, row["text"][start:end]) for row in rows for field, start, end in row["spans"]]


def test_answers_and_patterns(source, capsys):
    flags = ["--questions", str(source / "questions.jsonl"), "--patterns", r"year=\b\d{4}\b", r"name=(?P<span>\w+) was"]
    corpus, marked = generate(source, *flags)
    assert marked == [("name", "Ada"), ("city", "London"), ("year", "1815"), ("city", "Rome"), ("year", "1990")]
    said = capsys.readouterr().out
    assert "2 of 4 answers found in their documents; 1 stand nowhere in their document, 1 name no document" in said
    assert "patterns: 3 matches (1 name, 2 year)" in said
    unplaced = list(map(json.loads, (corpus / "unplaced.jsonl").read_text().splitlines()))
    assert unplaced == [
        {
            "id": "q2",
            "document_id": "guide.md",
            "answer": "Roma",
            "reason": "the answer stands nowhere in its document",
        },
        {"id": "q3", "document_id": "other.md", "answer": "1815", "reason": "no document has this id"},
    ]


def test_answers_are_left_alone_when_told_to(source, capsys):
    corpus, marked = generate(source, "--questions", str(source / "questions.jsonl"), "--no-mark-answers")
    assert marked == []
    assert "answers found" not in capsys.readouterr().out
    assert not (corpus / "unplaced.jsonl").exists()


def test_a_bad_pattern_is_named(source, capsys):
    with pytest.raises(SystemExit) as stop:
        generate(source, "--patterns", "year=[0-9")
    assert stop.value.code == 2
    assert "'[0-9' (field 'year') is no regular expression" in capsys.readouterr().err
