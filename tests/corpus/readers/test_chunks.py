"""Chunks of long texts: nothing but white space is lost, and what belongs together stays together."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from elusive.config.corpus import Headings
from elusive.corpus.readers.chunks import (
    Block,
    Chunk,
    TokenCounts,
    chunked,
    looks_like_markdown,
    markdown_blocks,
    plain_blocks,
    token_counts,
)


def words(texts: Sequence[str]) -> list[int]:
    """Tokens that can be counted by hand."""
    return [len(text.split()) for text in texts]


def characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def plain(text: str, budget: int) -> list[str]:
    return texts(chunked(plain_blocks(text.splitlines(keepends=True)), budget, words))


def markdown(text: str, budget: int, headings: Headings = "own") -> list[str]:
    blocks = markdown_blocks(text, lambda part: words([part])[0] > budget)
    return texts(chunked(blocks, budget, words, headings=headings))


def texts(chunks: Iterable[Chunk]) -> list[str]:
    return [chunk.text for chunk in chunks]


def assert_only_white_space_is_lost(text: str, chunks: list[str]) -> None:
    at = 0
    for chunk in chunks:
        start = text.index(chunk, at)
        assert not text[at:start].strip()
        at = start + len(chunk)
    assert not text[at:].strip()


class TestPlain:
    def test_paragraphs_are_packed(self) -> None:
        text = "\n\none two\nthree\n\n\nfour five\n \nsix\n\nseven eight nine ten\n"
        assert plain(text, 5) == ["one two\nthree\n\n\nfour five", "six\n\nseven eight nine ten"]
        assert plain(text, 4) == ["one two\nthree", "four five\n \nsix", "seven eight nine ten"]

    def test_a_long_paragraph_is_cut_at_sentences_then_at_words(self) -> None:
        text = 'Start here.\n\nA b c. "D e!" F g? H i j k l m n.\n\nEnd.'
        assert plain(text, 5) == ["Start here.", 'A b c. "D e!"', "F g? H i j", "k l m n.\n\nEnd."]

    def test_no_cut_behind_an_abbreviation(self) -> None:
        assert plain("One two three. Met Dr. J. Smith now.", 5) == ["One two three.", "Met Dr. J. Smith now."]

    def test_chinese_sentences_need_no_space(self) -> None:
        blocks = plain_blocks(["你好世界。再见世界。\n"])
        assert texts(chunked(blocks, 6, characters)) == ["你好世界。", "再见世界。"]

    def test_the_first_line_keeps_its_indentation(self) -> None:
        assert plain("a b\n\n    indented\n", 2) == ["a b", "    indented"]

    def test_nothing(self) -> None:
        assert plain("", 3) == plain(" \n\n\t\n", 3) == []


class TestMarkdown:
    def test_a_heading_goes_with_what_follows(self) -> None:
        text = "intro one\n\n# A\n\n## B\n\nbody body body\n\nSet\n===\n\nlast\n"
        assert markdown(text, 7) == ["intro one", "# A\n\n## B\n\nbody body body", "Set\n===\n\nlast"]

    def test_a_heading_at_the_end_is_kept_where_it_fits(self) -> None:
        assert markdown("one two\n\n# End\n", 4) == ["one two\n\n# End"]
        assert markdown("one two\n\n# End\n", 3) == ["one two"]

    def test_headings_and_comments_alone_are_no_chunk(self) -> None:
        assert markdown("# A\n\n## B\n\n<!-- Licensed to all. -->\n", 9) == []
        assert markdown("<!-- Licence:\n\nfree -->\n\n# A\n\none <!-- two -->\n", 9) == ["# A\n\none <!-- two -->"]

    @pytest.mark.parametrize(
        "block",
        [
            "```python\na b c\n\ne f g\n```",
            "    a b c d\n\n    e f g h",
            "| a | b |\n| --- | --- |\n| c d | e f |",
            "~~~\nnot closed a\n\n# e",
        ],
    )
    def test_code_and_tables_stay_whole_within_the_budget(self, block: str) -> None:
        tokens = words([block])[0]
        assert markdown(f"before it\n\n{block}", tokens + 1) == ["before it", block]
        assert markdown(f"before it\n\n# H\n\n{block}", tokens + 2) == ["before it", f"# H\n\n{block}"]

    def test_long_code_is_cut_between_lines_each_part_in_its_fence(self) -> None:
        text = "# H\n\n```py\na b\nc d\ne f\ng h i j k\n```\n\nend\n"
        assert markdown(text, 6) == [
            "# H\n\n```py\na b\n```",
            "```py\nc d\ne f\n```",
            "```py\ng h i j \n```",
            "```py\nk\n```\n\nend",
        ]

    def test_long_tables_are_cut_between_rows_each_part_with_its_head(self) -> None:
        head = "| x |\n|---|\n"
        rows = ["| a b |\n", "| c d |\n", "| e |\n"]
        assert markdown(head + "".join(rows), 12) == [(head + rows[0] + rows[1]).strip(), (head + rows[2]).strip()]

    @pytest.mark.parametrize("fence", ["---", "+++"])
    def test_front_matter_goes_with_what_follows(self, fence: str) -> None:
        front = f"{fence}\ntitle: a\n\n# no heading\n{fence}"
        assert markdown(f"{front}\n\nText here.\n", 9) == [f"{front}\n\nText here."]
        assert markdown(front, 9) == []

    def test_a_title_path_before_each_chunk(self) -> None:
        text = "Top\n===\n\none two\n\n## A\n\na b c d. e f g h.\n\n### B\n\ni j\n\n## C\n\nk l\n"
        assert markdown(text, 10, "path") == [
            "Top\n===\n\none two",
            "# Top\n\n## A\n\na b c d.",
            "# Top\n\n## A\n\ne f g h.",
            "# Top\n\n## A\n\n### B\n\ni j",
            "# Top\n\n## C\n\nk l",
        ]
        assert markdown(text, 10, "none") == ["one two\n\na b c d. e f g h.", "i j\n\nk l"]

    def test_a_long_path_leaves_room_for_the_text(self) -> None:
        text = "# Subject\n\n## in between\n\n### last one\n\na b c d e f\n"
        last = "# Subject\n\n### last one"
        assert markdown(text, 11, "path") == [f"{last}\n\na b c d e f"]
        assert markdown(text, 10, "path") == [f"{last}\n\na b c d e", f"{last}\n\nf"]
        assert markdown(text, 6, "path") == ["### last one\n\na b c", "### last one\n\nd e f"]

    def test_a_rule_alone_is_no_front_matter(self) -> None:
        assert markdown("---\n\none two three\n", 3) == ["---", "one two three"]

    def test_a_long_list_is_cut_between_its_items(self) -> None:
        text = "- one two\n- three four\n  - five\n\n    ```\n    six seven\n\n    eight nine ten\n    ```\n- eleven\n"
        code = "    ```\n    six seven\n\n    eight nine ten\n    ```"
        assert markdown(text, 7) == ["- one two\n- three four", "  - five", code, "- eleven"]

    def test_link_definitions_are_kept(self) -> None:
        text = "see [a]\n\n[a]: http://x\n\nthen\n"
        assert markdown(text, 100) == [text.rstrip()]

    def test_code_is_no_heading(self) -> None:
        text = "```\n# a comment\n```\n\nb c\n"
        assert markdown(text, 5) == ["```\n# a comment\n```", "b c"]


PIECES = (
    *("", "", " ", "word", "A b. C d! e", "# H", "===", "---", "```", "~~~", "    code x", "- item a", "  - in b"),
    *("1. one", "> quote it", "| a | b |", "|---|---|", "<div>", "</div>", "[r]: u", "***", "\x0c", "a\u2028b", "\tx"),
)
LINES = st.lists(st.sampled_from(PIECES), max_size=25)


@given(LINES, st.integers(1, 12))
def test_no_character_is_lost(lines: list[str], budget: int) -> None:
    text = "\n".join(lines)
    paragraphs = plain_blocks(re.findall(r"[^\n]*\n|[^\n]+", text))
    chunks = texts(chunked(paragraphs, budget, words))
    assert_only_white_space_is_lost(text, chunks)
    assert all(chunk.strip() and chunk == chunk.rstrip() for chunk in chunks)


@given(LINES, st.integers(1, 12), st.sampled_from(["path", "own", "none"]))
def test_markdown_keeps_its_words_and_the_budget(lines: list[str], budget: int, headings: Headings) -> None:
    text = "\n".join(lines)
    blocks = list(markdown_blocks(text, lambda part: words([part])[0] > budget))
    chunks = list(chunked(blocks, budget, words, headings=headings))
    for chunk in chunks:
        assert chunk.tokens == words([chunk.text])[0] <= budget
        for start, end, at in chunk.segments:
            assert text[start:end] == chunk.text[at : at + end - start]
    # What is no heading, front matter or comment stands in one chunk, in order.
    places = [segment for chunk in chunks for segment in chunk.segments]
    start = 0
    for block in blocks:
        for at in range(start, start + len(block.text)):
            held = [segment for segment in places if segment.start <= at < segment.end]
            assert len(held) <= 1
            assert held or text[at].isspace() or block.kind in ("heading", "front matter", "comment")
        start += len(block.text)


@given(LINES, st.integers(1, 12))
def test_markdown_blocks_join_to_the_text(lines: list[str], budget: int) -> None:
    text = "\n".join(lines)
    assert "".join(block.text for block in markdown_blocks(text, lambda part: words([part])[0] > budget)) == text


@given(st.text(st.sampled_from("ab .!\n"), max_size=120), st.integers(1, 8))
def test_a_chunk_of_plain_text_is_within_its_budget(text: str, budget: int) -> None:
    assert all(words([chunk])[0] <= budget for chunk in plain(text, budget))


TEXT = st.text(st.sampled_from("aZ é世.,'1 \n"), max_size=60)


@pytest.fixture(scope="module")
def count() -> TokenCounts:
    return token_counts("elusive/large")


@given(parts=st.lists(TEXT, max_size=8))
def test_parts_are_counted_in_their_text(count: TokenCounts, parts: list[str]) -> None:
    assert sum(count(parts)) == count(["".join(parts)])[0]
    assert count(["I ", "am ", "here", ""]) == [1, 2, 2, 0]  # I, " a" m, " her" e
    assert [*map(count, (["I "], ["am "], ["here"]))] == [[2], [2], [2]]


@given(words=st.lists(st.text("abcdefghij", min_size=1, max_size=9), max_size=40), budget=st.integers(12, 40))
def test_chunks_of_words_without_a_sentence_end_are_full(count: TokenCounts, words: list[str], budget: int) -> None:
    chunks = texts(chunked([Block(" ".join(words))], budget, count))
    assert " ".join(chunks) == " ".join(words)
    assert all(count([chunk])[0] <= budget for chunk in chunks)
    for chunk, following in pairwise(chunks):
        # The spaces behind a chunk's first word and its last may be tokens of their own.
        assert count([f"{chunk} {following.split()[0]}"])[0] > budget - 2


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=12), st.integers(1, 8))
def test_only_a_last_heading_ends_a_chunk(sizes: list[tuple[int, bool]], budget: int) -> None:
    blocks = [
        Block(f"{'h' if heading else 'p'}{' x' * (size - 1)}\n\n", "heading" if heading else "text", 1, "h")
        for size, heading in sizes
    ]
    for chunk in texts(chunked(blocks, budget, words))[:-1]:
        assert not chunk.split("\n\n")[-1].startswith("h")


def test_a_huge_text_is_encoded_by_the_section(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each character that it encodes at once, the tokenizers library holds some 70 bytes."""
    count, text = token_counts("elusive/large"), "word " * 1000
    tokens = count([text])[0]
    monkeypatch.setattr("elusive.corpus.readers.chunks._SECTION_CHARACTERS", 100)
    encoded: list[int] = []

    def count_noted(parts: Sequence[str]) -> list[int]:
        encoded.append(sum(map(len, parts)))
        return words(parts)

    chunks = texts(chunked([Block(text)], 7, count_noted))
    assert sorted(encoded)[-2:] == [105, 5000]  # to the next border of a word; the whole is counted, not cut
    assert " ".join(chunks) == text.strip()
    assert {len(chunk.split()) for chunk in chunks} == {7, 1000 % 7}
    # Each of 50 sections begins without the space before it.
    assert tokens < count(["of others", text])[1] <= tokens + 100


class TestWithoutSpaces:
    @pytest.mark.parametrize("text", ["x" * 5000, "ก็" * 2000, "👩‍🚀é" * 800, "字" * 3000])
    def test_a_word_longer_than_a_chunk_is_cut_between_characters(self, count: TokenCounts, text: str) -> None:
        chunks = texts(chunked([Block(text)], 64, count))
        assert "".join(chunks) == text
        assert all(0 < tokens <= 64 for chunk in chunks for tokens in count([chunk]))
        assert len(chunks) < 3 * count([text])[0] / 64
        characters_of_text = regex.findall(r"\X", text)
        assert [one for chunk in chunks for one in regex.findall(r"\X", chunk)] == characters_of_text

    def test_sections_of_a_text_without_spaces(self, count: TokenCounts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("elusive.corpus.readers.chunks._SECTION_CHARACTERS", 10)
        text = "é" * 50
        assert "".join(texts(chunked([Block(text)], 4, count))) == text

    def test_one_character_may_be_longer_than_a_chunk(self, count: TokenCounts) -> None:
        text = "a👩‍🚀b"
        assert texts(chunked([Block(text)], 1, count)) == ["a", "👩‍🚀", "b"]


def test_markdown_is_told_from_prose() -> None:
    assert all(map(looks_like_markdown, ("a\n## b\n", "```\n", "a | b\n--|--\n")))
    assert not looks_like_markdown("No #1 | a - b\n---\n")
