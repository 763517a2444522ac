"""Where sentences end, worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elusive.corpus.sentences import sentences


def parts(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    "expected",
    [
        ["He was born.  ", "Was he?\n", 'She said "No!" ', "(Then he left.) ", "Oh… ", "End"],
        ["你好世界。", "“再见！”", "真的吗？", "是"],  # noqa: RUF001
        ["यह पहला है। ", "दूसरा॥ ", "तीसरा"],
        ["هل جاء؟ ", "نعم۔ ", "ذهب."],  # noqa: RUF001
        ["Բարեւ։ ", "Այո"],  # noqa: RUF001
        ["ሰላም። ", "ቤት።", "ውሃ"],
        ["版本 3.5 已发布。\n", "完"],
        ["A Heading\n\n", "- one item\n \n\t\n", "- another\nline of it\r\n\r\n", "The end.\n"],
        [" \n\nFirst. ", "Second."],
        ["no sentence ends here, 3.5 of them"],
        ["Dr. Ada Lee met Mr. and Mrs. Roe at St. Ann. ", "Ms. Day and Prof. Ito came, too. ", "Done."],
        ["J. R. R. Tolkien, J.R.R. Tolkien and А. С. Пушкин wrote. ", "They did."],  # noqa: RUF001
        ["Pets (e.g. dogs, i.e. animals) vs. plants. ", "The U.S. Army came."],
        ["Gen. Lee rose to No. 5 in Fig. 2 on Jan. 3. ", "He said: No. ", "Nobody came in Jan. ", "So."],
        ["Acme Inc. was sold by King Jr. at 5 p.m. on Monday. ", "It was Acme Inc. ", "They paid."],
        ["1. Boil water.\n ", "2. Add tea.\n", "It was 1990. ", "Then it rained in 12. ", "So."],
        ["A Heading of Dr.\n\n", "Then text."],
        ["The grade was Dr.! ", "He left etc.) ", "End"],
        ["Ends in initials: J.\n\n", "K. Roe"],
    ],
)
def test_sentences_and_the_white_space_behind_them(expected: list[str]) -> None:
    assert parts("".join(expected)) == expected


def test_texts_without_a_sentence() -> None:
    assert sentences("") == []
    assert sentences(" \n\n ") == [(0, 4)]


@given(st.text(alphabet="aZ1J. !?。\n\t\r\"')", max_size=60))
def test_sentences_cover_a_text(text: str) -> None:
    assert "".join(parts(text)) == text
    assert all(part.strip() for part in parts(text)) or not text.strip()


def test_time_grows_with_the_length() -> None:
    for text in ("." * 200_000, "\n " * 100_000, "a" * 200_000 + ". b", "1. " * 70_000):
        assert sentences(text)[-1][1] == len(text)
