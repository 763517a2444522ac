"""Text in other encodings than UTF-8: read where that is certain, guessed and asked for where it is not."""

import codecs
from pathlib import Path

import pytest

from elusive.corpus.encodings import guessed
from elusive.corpus.readers import read_corpus
from elusive.errors import ElusiveError

TEXTS = {
    "cp1252": "Le café était fermé, et l\u2019élève naïf s\u2019assit.",
    "cp1250": "Zażółć gęślą jaźń. Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "koi8_r": "Привет, мир. Это проверка кодировки текста.",
    "cp1251": "Привет, мир. Это проверка кодировки текста.",
    "shift_jis": "これは日本語のテキストです。東京は首都です。",
    "euc_jp": "これは日本語のテキストです。東京は首都です。",
    "gb18030": "这是一个中文文本。北京是中国的首都。",
    "big5": "這是一個中文文本。台北是首都。",
    "euc_kr": "이것은 한국어 텍스트입니다. 서울은 수도입니다.",
    "utf-16-le": "The plain text.",
    "utf-16-be": "The plain text.",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_guess_is_shown_and_confirmed(tmp_path: Path, name: str) -> None:
    text = TEXTS[name]
    assert guessed(text.encode(name)) == name
    path = tmp_path / "notes"
    path.write_bytes(text.encode(name))
    with pytest.raises(ElusiveError) as caught:
        read_corpus(path)
    assert f"It looks like {name}, in which a line reads {text!r}" in str(caught.value)
    assert f'corpus.encoding = "{name}"' in str(caught.value)
    [document] = read_corpus(path, encoding=name).documents
    assert document.text == text


CONTENTS = [("c.txt", "Zoë"), ("c.jsonl", '{"text": "Zoë"}\n'), ("c.csv", "text\nZoë\n")]


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF8])
@pytest.mark.parametrize(
    ("name", "content"), [("c.txt", "Zoë"), ("c.jsonl", '{"text": "Zoë"}\n'), ("c.csv", "text\nZoë\n")]
)
def test_a_byte_order_mark_is_enough(tmp_path: Path, mark: bytes, name: str, content: str) -> None:
    encodings = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be", codecs.BOM_UTF32_LE: "utf-32-le"}
    (tmp_path / name).write_bytes(mark + content.encode(encodings.get(mark, "utf-8")))
    assert [document.text for document in read_corpus(tmp_path / name).documents] == ["Zoë"]


def test_the_setting_is_for_files_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Zoë".encode("cp1252"))
    (tmp_path / "b.jsonl").write_bytes('{"text": "Zoë"}\n{"text": "café"}\n'.encode("cp1252"))
    (tmp_path / "c.txt").write_text("Zoë", encoding="utf-8")
    found = read_corpus(tmp_path, encoding="cp1252").documents
    assert [document.id for document in found] == ["b.jsonl#000001", "b.jsonl#000002", "a.txt", "c.txt"]
    assert [document.text for document in found] == ["Zoë", "café", "Zoë", "Zoë"]


def test_a_wrong_setting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 \xff\xfe\xfa")
    with pytest.raises(ElusiveError, match="is not shift_jis near byte"):
        read_corpus(tmp_path / "a.txt", encoding="shift_jis")
