"""Long texts cut into documents at the borders of their paragraphs."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from ..sentences import sentences

TokenCounts = Callable[[Sequence[str]], list[int]]
"""How many tokens each of the consecutive parts of a text has, where the text is encoded as one."""


_WHOLE = ("fence", "code_block", "table", "html_block")


_CONTAINERS = ("bullet_list", "ordered_list", "list_item", "blockquote")


_FRONT_MATTER = re.compile(r"(---|\+\+\+)[ \t]*\n(?:.*\n)*?(\1|\.\.\.)[ \t]*(?:\n|\Z)")


_WORD = re.compile(r"\s*\S+\s*|\s+")


_SPACE = re.compile(r"\s+")


# Of a text that is encoded at once: the tokenizers library takes some 70 bytes of memory for each.
_SECTION_CHARACTERS = 1 << 20


@lru_cache(maxsize=1)
def token_counts(name: str) -> TokenCounts:
    """A function that counts a model's tokens, without special ones.

    A token counts for the part that holds its last character, so the counts of all parts make the count of the text.
    Encoded alone, a part may have others: its first word lacks the space in front of it, and a tokenizer that knows no
    words may join characters of two parts. Parts of more than a million characters are encoded alone, by the million.

    Args:
        name: folder or hub name of its tokenizer.
    """
    from elusive.models.loading import load_tokenizer

    tokenizer = load_tokenizer(name).backend_tokenizer
    tokenizer.no_truncation()

    @lru_cache(maxsize=1)  # a document of one paragraph is counted as a document, and then as a paragraph
    def count_one(text: str) -> int:
        starts = range(0, len(text), _SECTION_CHARACTERS)
        sections = (text[start : start + _SECTION_CHARACTERS] for start in starts)
        return sum(len(tokenizer.encode_batch_fast([one], add_special_tokens=False)[0]) for one in sections)

    def count(parts: Sequence[str]) -> list[int]:
        if len(parts) == 1 or sum(map(len, parts)) > _SECTION_CHARACTERS:
            return [count_one(part) for part in parts]
        offsets = tokenizer.encode("".join(parts), add_special_tokens=False).offsets
        token_ends = sorted(end for _, end in offsets)
        until = [bisect_right(token_ends, end) for end in accumulate(map(len, parts))]
        return [after - before for before, after in pairwise([0, *until])]

    return count


class Block(NamedTuple):
    """A part of a text that is not cut, or only if it is longer than the budget.

    Attributes:
        text: with the blank lines behind it, so that a text is its blocks one after the other.
        whole: never cut.
        heading: goes with what follows.
    """

    text: str
    whole: bool = False
    heading: bool = False


class _Piece(NamedTuple):
    text: str
    tokens: int


def chunked(blocks: Iterable[Block], budget: int, count: TokenCounts) -> Iterator[str]:
    """Pack blocks into chunks of at most `budget` tokens, in order.

    A chunk is longer only where a block that must stay whole is, or where the headings in front of it make it so. A
    heading never ends a chunk while something follows it. A paragraph longer than the budget begins a chunk of its own
    and is cut at the ends of sentences, and a sentence longer than the budget between words.

    Args:
        blocks: the text.
        budget: tokens, counted block by block.
        count: counts them.

    Yields:
        Chunks without the blank lines and the white space around them. All that is lost between them is white space.
    """
    chunk: list[str] = []
    tokens = 0
    headings: list[_Piece] = []
    for block in blocks:
        piece = _Piece(block.text, count([block.text])[0])
        if block.heading:
            headings.append(piece)
            continue
        group = [*headings, piece]
        headings = []
        size = sum(part.tokens for part in group)
        if chunk and tokens + size > budget:
            yield from _trimmed(chunk)
            chunk, tokens = [], 0
        if size <= budget or block.whole:
            chunk += [part.text for part in group]
            tokens += size
            continue
        start = group[:-1]
        chunk, tokens = [part.text for part in start], sum(part.tokens for part in start)
        for part in _pieces(block.text, budget, count):
            if tokens + part.tokens > budget and len(chunk) > len(start):
                yield from _trimmed(chunk)
                # Without what stood in front of it, a part may have more tokens.
                chunk, tokens, start = [part.text], count([part.text])[0], []
            else:
                chunk.append(part.text)
                tokens += part.tokens
    yield from _trimmed([*chunk, *(heading.text for heading in headings)])


def _trimmed(parts: Sequence[str]) -> Iterator[str]:
    """One chunk, if it holds anything: its first line keeps its indentation, which may mean code."""
    text = re.sub(r"\A(?:[^\S\n]*\n)+", "", "".join(parts)).rstrip()
    if text.strip():
        yield text


def _pieces(text: str, budget: int, count: TokenCounts) -> Iterator[_Piece]:
    """Sentences, and the words of those that are longer than the budget."""
    for section in _sections(text):
        parts = [section[start:end] for start, end in sentences(section)]
        for sentence, tokens in zip(parts, count(parts), strict=True):
            if tokens <= budget:
                yield _Piece(sentence, tokens)
                continue
            words = _WORD.findall(sentence)
            yield from map(_Piece, words, count(words))


def _sections(text: str) -> Iterator[str]:
    """Parts of a text of about a million characters; words stay whole."""
    start = 0
    while border := _SPACE.search(text, start + _SECTION_CHARACTERS):
        yield text[start : border.end()]
        start = border.end()
    yield text[start:]


def plain_blocks(lines: Iterable[str]) -> Iterator[Block]:
    """The paragraphs of plain text: lines with blank lines between them.

    Args:
        lines: with their line ends.
    """
    held: list[str] = []
    for line in lines:
        if held and line.strip() and not held[-1].strip():
            yield Block("".join(held))
            held = []
        held.append(line)
    if held:
        yield Block("".join(held))


def markdown_blocks(text: str, is_long: Callable[[str], bool]) -> Iterator[Block]:
    """The blocks of Markdown, as CommonMark (with tables) sees them.

    Front matter, code, tables and HTML stay whole. Lists and quotations that are too long are taken apart into their
    items, and these into theirs.

    Args:
        text: the text.
        is_long: whether a part is over the budget.
    """
    from markdown_it import MarkdownIt
    from markdown_it.tree import SyntaxTreeNode

    front = _FRONT_MATTER.match(text)
    if front:
        yield Block(front.group(), whole=True)
        text = text[front.end() :]
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    # A carriage return alone is a line end to the parser.
    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])  # what stands in a line takes time that grows with its square
    tree = SyntaxTreeNode(parser.parse(text.replace("\r", " ")))
    yield from _blocks(tree, lines, 0, len(lines), is_long)


def _blocks(node: Any, lines: list[str], start: int, end: int, is_long: Callable[[str], bool]) -> Iterator[Block]:
    """The parts of a node. Each reaches to the next one, so no line is lost (link definitions are no part)."""
    parts = [child for child in node.children if child.map]
    starts = [start, *(part.map[0] for part in parts[1:]), end]
    if not parts and start < end:
        yield Block("".join(lines[start:end]))
    for part, first, last in zip(parts, starts, starts[1:], strict=False):
        text = "".join(lines[first:last])
        if part.type in _CONTAINERS and is_long(text):
            yield from _blocks(part, lines, first, last, is_long)
        elif text:
            yield Block(text, whole=part.type in _WHOLE, heading=part.type == "heading")
