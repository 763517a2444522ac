"""Long texts cut into documents at the borders of their paragraphs."""

import re
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any, Literal, NamedTuple

import regex

from elusive.config.corpus import Headings

from ..sentences import sentences

TokenCounts = Callable[[Sequence[str]], list[int]]
"""How many tokens each of the consecutive parts of a text has, where the text is encoded as one."""


_CONTAINERS = ("bullet_list", "ordered_list", "list_item", "blockquote")


_FRONT_MATTER = re.compile(r"(---|\+\+\+)[ \t]*\n(?:.*\n)*?(\1|\.\.\.)[ \t]*(?:\n|\Z)")


_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")


_COMMENT = re.compile(r"\s*(?:<!--(?:(?!-->).)*-->\s*)+", re.DOTALL)


# Chinese and Japanese clauses end in signs of their own, without a space.
_WORD = re.compile(r"\s*[^\s，、；：]+[，、；：]*\s*|[\s，、；：]+")  # noqa: RUF001


_CHARACTER = regex.compile(r"\X")
"""What a reader takes for one character: a grapheme cluster of Unicode."""


_RUNS = 8
"""Characters of a word that is longer than a chunk are taken together, up to this part of the budget."""


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


Kind = Literal["text", "heading", "code", "table", "front matter", "comment"]


class Block(NamedTuple):
    """A part of a text that is not cut, or only if it is longer than the budget.

    Attributes:
        text: with the blank lines behind it, so that a text is its blocks one after the other.
        kind: headings and front matter go with what follows; code and tables are cut between lines, if at all; comments
            are left out.
        level: of a heading, from 1.
        title: of a heading, in one line.
    """

    text: str
    kind: Kind = "text"
    level: int = 0
    title: str = ""


class Segment(NamedTuple):
    """A part of a chunk that stands in the source: its characters [start, end) there, and its first in the chunk."""

    start: int
    end: int
    at: int


class Chunk(NamedTuple):
    """A part of a text.

    Attributes:
        text: without the blank lines and the white space around it.
        tokens: of the text.
        segments: where it comes from; titles in front of it, and marks that a cut made necessary, come from nowhere.
    """

    text: str
    tokens: int
    segments: tuple[Segment, ...]

    def place(self, start: int, end: int) -> tuple[int, int] | None:
        """Where characters of the source stand in the chunk; None if not all of them, side by side, do."""
        for segment in self.segments:
            if segment.start <= start and end <= segment.end:
                return start - segment.start + segment.at, end - segment.start + segment.at
        return None


class _Part(NamedTuple):
    """A part of a chunk in the making.

    Attributes:
        text: its text.
        tokens: of the text.
        start: its first character in the source; -1 for what is added.
        is_body: whether it is more than a heading.
        level: of a heading.
    """

    text: str
    tokens: int
    start: int
    is_body: bool = True
    level: int = 0


class _Repeated(NamedTuple):
    """What stands around each part of a block that is cut: the marks of code, the head of a table."""

    before: str = ""
    after: str = ""


def chunked(
    blocks: Iterable[Block],
    budget: int,
    count: TokenCounts,
    *,
    headings: Headings = "own",
    kept: Sequence[tuple[int, int]] = (),
) -> Iterator[Chunk]:
    """Pack blocks into chunks of at most `budget` tokens, in order.

    A heading goes with what follows it, and makes no chunk alone. A block longer than the budget begins a chunk of its
    own and is cut: a paragraph at the ends of sentences, these between words, and these between characters (grapheme
    clusters); code between its lines, with its fence around each part; a table between its rows, with its head above
    each part. A chunk is longer than the budget only where a single character or a kept place is.

    Args:
        blocks: the text.
        budget: tokens (0: one chunk).
        count: counts them.
        headings: `own`: as they stand; `path`: each chunk begins with all headings above it; `none`: they are left out.
        kept: places, in characters of the text, in which no border lies; sorted and apart from each other.

    Yields:
        Chunks. All that is lost between them is white space, comments, and headings without a text.
    """
    packer = _Packer(budget, count, headings, kept)
    for start, block in _joined(blocks, kept):
        yield from packer.add(block, start)
    yield from packer.last()


def _joined(blocks: Iterable[Block], kept: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Block]]:
    """Each block with its first character; blocks between which no border may lie are one."""
    start = end = 0
    held: list[Block] = []
    for block in blocks:
        end += len(block.text)
        held.append(block)
        if _is_kept(end, kept):
            continue
        yield start, held[0] if len(held) == 1 else Block("".join(one.text for one in held))
        start, held = end, []
    if held:
        yield start, Block("".join(one.text for one in held))


def _is_kept(border: int, kept: Sequence[tuple[int, int]]) -> bool:
    """Whether a border would lie within a place that is kept whole."""
    number = bisect_left(kept, (border, 0)) - 1
    return number >= 0 and kept[number][0] < border < kept[number][1]


class _Packer:
    """Makes chunks of blocks."""

    def __init__(self, budget: int, count: TokenCounts, headings: Headings, kept: Sequence[tuple[int, int]]) -> None:
        self._budget, self._count, self._headings, self._kept = budget or sys.maxsize, count, headings, kept
        self._parts: list[_Part] = []
        self._tokens = 0
        self._waiting: list[_Part] = []  # headings whose text is still to come
        self._path: list[_Part] = []  # headings above what comes next
        self._around = _Repeated()
        self._reserved = 0

    def add(self, block: Block, start: int) -> Iterator[Chunk]:
        """Take the next block; yields the chunks that are full."""
        if block.kind == "comment" or (block.kind == "heading" and self._headings == "none"):
            return
        tokens = self._count([block.text])[0]
        if block.kind in ("heading", "front matter"):
            self._head(block, _Part(block.text, tokens, start, is_body=False, level=block.level))
            return
        size = tokens + sum(part.tokens for part in self._waiting)
        if self._has_body and self._tokens + size > self._budget:
            yield from self._flush()
        self._begin(tokens)
        if self._tokens + tokens <= self._budget:
            self._append(_Part(block.text, tokens, start))
        else:
            yield from self._cut(block, start)

    def last(self) -> Iterator[Chunk]:
        """The last chunk."""
        fitting = sum(part.tokens for part in self._waiting) + self._tokens <= self._budget
        if self._has_body and fitting:
            self._parts += self._waiting
        yield from self._flush()

    @property
    def _has_body(self) -> bool:
        return any(part.is_body for part in self._parts)

    def _head(self, block: Block, part: _Part) -> None:
        self._waiting.append(part)
        if block.kind == "heading":
            self._path = [above for above in self._path if above.level < block.level]
            title = f"{'#' * block.level} {block.title}\n\n"
            self._path.append(_Part(title, self._count([title])[0], part.start, is_body=False, level=block.level))

    def _begin(self, tokens: int) -> None:
        """Put the headings in front of a text, those that stand there and in a new chunk those above them.

        Args:
            tokens: of the text; headings leave room for it, or where it is long for half of a chunk.
        """
        own, self._waiting = self._waiting, []
        above: list[_Part] = []
        if self._headings == "path" and not self._has_body:
            starts = {part.start for part in own}
            above = [part._replace(start=-1) for part in self._path if part.start not in starts]
        added = [*above, *own]
        room = self._budget - min(tokens, self._budget - self._budget // 2)
        while len(added) > 1 and self._tokens + sum(part.tokens for part in added) > room:
            # The first names the subject, the last what comes next.
            del added[1 if len(added) > 2 else 0]
        if self._tokens + sum(part.tokens for part in added) > room:
            added = []
        for part in added:
            self._append(part)

    def _append(self, part: _Part) -> None:
        self._parts.append(part)
        self._tokens += part.tokens

    def _cut(self, block: Block, start: int) -> Iterator[Chunk]:
        """Take a block that is longer than a chunk, piece by piece."""
        room = self._budget - self._tokens  # beside the headings
        around, pieces = _pieces_of(block, start, room, self._count, self._kept)
        before, after = self._count([around.before])[0], self._count([around.after])[0]
        for number, piece in enumerate(pieces):
            if self._has_body and self._tokens + piece.tokens + after > self._budget:
                yield from self._flush()
                self._begin(self._budget)
                if around.before and number:
                    self._append(_Part(around.before, before, -1, is_body=False))
            self._append(piece)
            self._around, self._reserved = around, after
        self._around, self._reserved = _Repeated(), 0

    def _flush(self) -> Iterator[Chunk]:
        parts, self._parts, self._tokens = self._parts, [], 0
        if any(part.is_body and part.text.strip() for part in parts):
            yield from self._within(parts, self._around)

    def _within(self, parts: list[_Part], around: _Repeated) -> Iterator[Chunk]:
        """A chunk; several where its parts together have more tokens than one by one."""
        end = "" if not parts or parts[-1].text.endswith("\n") else "\n"
        chunk = _chunk([*parts, _Part(f"{end}{around.after}", 0, -1)] if around.after else parts, self._count)
        body = [place for place, part in enumerate(parts) if part.is_body]
        if not chunk.text or (chunk.tokens <= self._budget):
            yield from [chunk] if chunk.text else []
            return
        middle = body[len(body) // 2]
        if len(body) == 1:
            halves = _halves(parts[middle], self._count, self._kept)
            if len(halves) == 1:
                # One character: what stands in front of it goes.
                yield _chunk([halves[0]], self._count)
                return
            parts = [*parts[:middle], *halves, *parts[middle + 1 :]]
            middle += 1
        again = [part._replace(start=-1) for part in parts[: body[0]] if self._headings == "path" or around.before]
        again = [part for part in again if part.level == 0 or self._headings == "path"]
        yield from self._within(parts[:middle], around)
        yield from self._within([*again, *parts[middle:]], _Repeated() if around.after else around)


def _chunk(parts: Sequence[_Part], count: TokenCounts) -> Chunk:
    """One chunk; its first line keeps its indentation, which may mean code."""
    joined = "".join(part.text for part in parts)
    blank = re.match(r"(?:[^\S\n]*\n)*", joined)
    first = blank.end() if blank else 0
    text = joined[first:].rstrip()
    segments: list[Segment] = []
    at = -first
    for part in parts:
        begin, end = max(0, at), min(len(text), at + len(part.text))
        if part.start >= 0 and begin < end:
            segment = Segment(part.start + begin - at, part.start + end - at, begin)
            last = segments[-1] if segments else None
            if last and last.end == segment.start and last.at + last.end - last.start == segment.at:
                segments[-1] = last._replace(end=segment.end)
            else:
                segments.append(segment)
        at += len(part.text)
    return Chunk(text, count([text])[0], tuple(segments)) if text.strip() else Chunk("", 0, ())


def _halves(part: _Part, count: TokenCounts, kept: Sequence[tuple[int, int]]) -> list[_Part]:
    """A part cut in two near its middle, between words or else between characters; itself where there is no border."""
    for borders in (_word_borders, _character_borders):
        inner = [at for at in borders(part.text) if 0 < at < len(part.text) and not _is_kept(part.start + at, kept)]
        inner = [at for at in inner if part.text[:at].strip() and part.text[at:].strip()]
        if inner:
            at = min(inner, key=lambda at: abs(at - len(part.text) // 2))
            texts = [part.text[:at], part.text[at:]]
            starts = [part.start, part.start + at if part.start >= 0 else -1]
            return [_Part(text, count([text])[0], start) for text, start in zip(texts, starts, strict=True)]
    return [part]


# Pieces of blocks that are longer than a chunk


def _pieces_of(
    block: Block, start: int, budget: int, count: TokenCounts, kept: Sequence[tuple[int, int]]
) -> tuple[_Repeated, Iterator[_Part]]:
    """The pieces of a block, and what stands around each chunk of them."""
    if block.kind not in ("code", "table"):
        return _Repeated(), _pieces(block.text, start, budget, count, kept)
    lines = re.findall(r"[^\n]*\n|[^\n]+", block.text)
    fence = _FENCE.match(block.text)
    if block.kind == "table":
        around, first, last = _Repeated("".join(lines[:2])), 2, 0
    elif fence:
        closed = [number for number, line in enumerate(lines) if number and line.strip() == fence[1]]
        around = _Repeated(lines[0], f"{fence[1]}\n")
        first, last = 1, len(lines) - closed[-1] if closed else 0
    else:
        around, first, last = _Repeated(), 0, 0
    if sum(count([around.before, around.after])) > budget // 2:
        around = _Repeated()
    # The first line of all comes with the second, the last with that before it, so that no part is marks alone.
    rows = ["".join(lines[: first + 1]), *lines[first + 1 : len(lines) - last]]
    rows[-1] += "".join(lines[max(first + 1, len(lines) - last) :])
    return around, _lines(rows, start, budget - sum(count([around.before, around.after])), count, kept)


def _lines(
    lines: Sequence[str], start: int, budget: int, count: TokenCounts, kept: Sequence[tuple[int, int]]
) -> Iterator[_Part]:
    for line, tokens in zip(lines, count(lines), strict=True):
        if tokens <= budget:
            yield _Part(line, tokens, start)
        else:
            yield from _pieces(line, start, budget, count, kept)
        start += len(line)


def _pieces(text: str, start: int, budget: int, count: TokenCounts, kept: Sequence[tuple[int, int]]) -> Iterator[_Part]:
    """Sentences, the words of those that are longer than the budget, and the characters of such words."""
    for section in _sections(text):
        yield from _finer(section, start, budget, count, kept, (_sentence_borders, _word_borders, _character_borders))
        start += len(section)


def _finer(
    text: str,
    start: int,
    budget: int,
    count: TokenCounts,
    kept: Sequence[tuple[int, int]],
    ways: Sequence[Callable[[str], Iterable[int]]],
) -> Iterator[_Part]:
    borders = [at for at in ways[0](text) if 0 < at < len(text) and not _is_kept(start + at, kept)]
    parts = [text[begin:end] for begin, end in pairwise([0, *borders, len(text)])]
    held, tokens_held = "", 0
    for part, tokens in zip(parts, count(parts), strict=True):
        if len(ways) > 1 and tokens > budget:
            yield from _finer(part, start, budget, count, kept, ways[1:])
            start += len(part)
        elif len(ways) > 1:
            yield _Part(part, tokens, start)
            start += len(part)
        elif held and tokens_held + tokens > max(1, budget // _RUNS):
            yield _Part(held, tokens_held, start)
            start += len(held)
            held, tokens_held = part, tokens
        else:
            held, tokens_held = held + part, tokens_held + tokens
    if held:
        yield _Part(held, tokens_held, start)


def _sentence_borders(text: str) -> Iterable[int]:
    return (end for _, end in sentences(text))


def _word_borders(text: str) -> Iterable[int]:
    return (match.end() for match in _WORD.finditer(text))


def _character_borders(text: str) -> Iterable[int]:
    return (match.end() for match in _CHARACTER.finditer(text))


def _sections(text: str) -> Iterator[str]:
    """Parts of a text of about a million characters; words stay whole, unless they are as long as that."""
    start = 0
    while len(text) - start > _SECTION_CHARACTERS:
        space = _SPACE.search(text, start + _SECTION_CHARACTERS, start + 2 * _SECTION_CHARACTERS)
        end = space.end() if space else _CHARACTER.match(text, start + _SECTION_CHARACTERS - 1).end()  # type: ignore[union-attr]
        yield text[start:end]
        start = end
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


_KINDS: Mapping[str, Kind] = {"fence": "code", "code_block": "code", "table": "table", "heading": "heading"}


def markdown_blocks(text: str, is_long: Callable[[str], bool]) -> Iterator[Block]:
    """The blocks of Markdown, as CommonMark (with tables) sees them.

    Lists and quotations that are too long are taken apart into their items, and these into theirs.

    Args:
        text: the text.
        is_long: whether a part is over the budget.
    """
    from markdown_it import MarkdownIt
    from markdown_it.tree import SyntaxTreeNode

    front = _FRONT_MATTER.match(text)
    if front:
        yield Block(front.group(), "front matter")
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
        elif part.type == "heading":
            title = " ".join(child.content for child in part.children).replace("\n", " ")
            yield Block(text, "heading", int(part.tag[1:]), title) if title.strip() else Block(text)
        elif part.type == "html_block" and _COMMENT.fullmatch(text):
            yield Block(text, "comment")
        elif text:
            yield Block(text, _KINDS.get(part.type, "text"))


_LOOKS_LIKE_MARKDOWN = re.compile(r"^#{1,6} \S|^(```|~~~)|^\|?[ \t]*:?-{2,}:?[ \t]*\|", re.MULTILINE)


def looks_like_markdown(text: str) -> bool:
    """Whether a text has headings, code or tables as Markdown writes them."""
    return _LOOKS_LIKE_MARKDOWN.search(text) is not None
