"""A folder that holds one text as pages and in other forms is read once."""

import random
from pathlib import Path

import pytest

from elusive.corpus.readers import other_forms, read_corpus
from elusive.corpus.readers.other_forms import PageText

pytest.importorskip("pypandoc", reason="HTML needs elusive[documents]")


def words(seed: int, number: int = 200) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices("abcdefghij", k=6)) for _ in range(number)]


def prose(parts: list[str]) -> str:
    """Sentences of eight words."""
    return " ".join(f"{' '.join(parts[at : at + 8]).capitalize()}." for at in range(0, len(parts), 8))


def page(folder: Path, name: str, parts: list[str]) -> None:
    (folder / name).write_text(f"<html><body><h1>Part</h1><p>{prose(parts)}</p></body></html>", encoding="utf-8")


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    """Two pages, and both again as a text whose name comes before theirs, wrapped and with a title page."""
    page(tmp_path, "one.html", words(1))
    page(tmp_path, "two.html", words(2))
    lines = prose([*words(1), *words(2)]).replace(". ", ".\n")
    (tmp_path / "all.txt").write_text(f"THE HANDBOOK\n\nPart\n\n{lines.upper()}\n", encoding="utf-8")
    return tmp_path


def files_of(folder: Path, **settings: object) -> list[str]:
    corpus = read_corpus(folder, **settings)  # type: ignore[arg-type]
    return list(dict.fromkeys(document.id.partition("#")[0] for document in corpus.documents))


def test_the_text_is_left_out_and_said(handbook: Path) -> None:
    corpus = read_corpus(handbook)
    assert {document.id.partition("#")[0] for document in corpus.documents} == {"one.html", "two.html"}
    # 9 of 396 sequences of eight words hold a word of the title page, or the border of the two pages.
    assert "pages hold the text of all.txt (98%), left out; corpus.other_forms reads it again" in corpus.notes


def test_all_forms_are_read_where_that_is_asked_for(handbook: Path) -> None:
    assert files_of(handbook, other_forms=True) == ["one.html", "two.html", "all.txt"]


def test_a_text_of_its_own_stays(handbook: Path) -> None:
    (handbook / "news.txt").write_text(prose(words(3)), encoding="utf-8")
    half = [*words(1), *words(4)]
    (handbook / "half.txt").write_text(prose(half), encoding="utf-8")
    assert files_of(handbook) == ["one.html", "two.html", "half.txt", "news.txt"]


def test_a_short_text_stays(handbook: Path) -> None:
    (handbook / "short.txt").write_text(prose(words(1)[:80]), encoding="utf-8")
    assert files_of(handbook) == ["one.html", "two.html", "short.txt"]


def test_pages_that_repeat_each_other_stay(handbook: Path) -> None:
    page(handbook, "one-again.html", words(1))
    assert files_of(handbook) == ["one-again.html", "one.html", "two.html"]


def test_texts_alone_are_all_read(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(prose(words(1)), encoding="utf-8")
    assert files_of(tmp_path) == ["a.txt", "b.txt"]


def test_memory_is_bounded_and_copies_are_still_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_forms, "_MOST_HELD", 1000)
    pages = PageText()
    for seed in range(20):
        pages.add(prose(words(seed, 1000)))
    assert 400 < len(pages._held) <= 1000
    known = [prose(words(seed, 1000)) for seed in range(20)]
    assert pages.share_of(known[:10]) == pytest.approx(1, abs=0.02)
    assert pages.share_of([prose(words(99, 20_000))]) == 0
    assert pages.share_of([*known[:10], prose(words(99, 10_000))]) == pytest.approx(0.5, abs=0.06)
