import json

import pytest

from elusive.errors import ElusiveError
from elusive.runs.files import read_jsonl
from elusive.training import texts as texts_module
from elusive.training.texts import TrainingTexts

BAD = {
    "not JSON": (b"?", "malformed JSON"),
    "not UTF-8": (b'{"text": "\xff"}', "not UTF-8"),
    "no object": (b'["a"]', "expected a JSON object {...}, got a list"),
    "no text": (b'{"content": "a"}', "no 'text'"),
    "a number": (b'{"text": 7}', "'text': expected a string, got a number"),
    "null": (b'{"text": null}', "'text': expected a string, got null"),
    "empty": (b'{"text": " "}', "empty text"),
    "half a surrogate pair": (b'{"text": "\\ud800"}', "'text' holds half of a surrogate pair"),
    "too deep": (b'{"text": ' + b"[" * 100_000, "JSON that cannot be read"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_quarantined_with_its_reason(kind, tmp_path):
    raw, reason = BAD[kind]
    path, quarantine = tmp_path / "train.jsonl", tmp_path / "out" / "quarantine.jsonl"
    path.write_bytes(b'{"text": "Ada."}\n\n' + raw + b'\n{"text": "Bo."}\n')
    texts = TrainingTexts(path)
    with pytest.raises(ElusiveError, match="got 1 bad row") as refused:
        texts.check(skip_bad=False, quarantine=quarantine)
    assert f"line 3: {reason}" in str(refused.value)
    assert "train.skip_bad" in str(refused.value)
    [row] = map(json.loads, quarantine.read_text(encoding="utf-8").splitlines())
    assert row["line"] == 3
    assert texts.check(skip_bad=True, quarantine=quarantine) == 2
    assert list(texts) == ["Ada.", "Bo."]


def test_a_copy_of_which_dropout_left_nothing_is_a_text(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text('{"text": "", "id": "a", "copy": 1, "arm": "random"}\n', encoding="utf-8")
    assert TrainingTexts(path).check(skip_bad=False, quarantine=None) == 1


def test_only_bad_rows_are_refused_whatever_is_allowed(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("?\n?\n", encoding="utf-8")
    with pytest.raises(ElusiveError, match="got 2 bad rows"):
        TrainingTexts(path).check(skip_bad=True, quarantine=None)


def test_so_many_bad_rows_end_the_reading_unless_they_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(texts_module, "MOST_BAD_ROWS", 2)
    path, quarantine = tmp_path / "train.jsonl", tmp_path / "quarantine.jsonl"
    path.write_text('x\n{"text": "a"}\ny\nz\n', encoding="utf-8")
    with pytest.raises(ElusiveError, match=r"got 2 bad rows\. Nothing was read after them"):
        TrainingTexts(path).check(skip_bad=False, quarantine=quarantine)
    assert [row["line"] for row in read_jsonl(quarantine)] == [1, 3]
    assert TrainingTexts(path).check(skip_bad=True, quarantine=quarantine) == 1
    assert [row["line"] for row in read_jsonl(quarantine)] == [1, 3, 4]
