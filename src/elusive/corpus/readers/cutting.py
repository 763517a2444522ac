"""A document that is too long, cut into several as text files are: between its spans, which come along."""

import bisect
import re
from collections.abc import Sequence

from elusive.corpus.documents import Document, chunk_id
from elusive.corpus.tags import Span

from .chunks import TokenCounts, chunked, plain_blocks

_BORDERS = "".join(character for character in map(chr, range(0x3001)) if character.isspace()) + "。！？"  # noqa: RUF001
"""Where a text may be cut: at white space, and behind the ends of Chinese and Japanese sentences."""

_HIDDEN = {ord(character): chr(0xE000 + number) for number, character in enumerate(_BORDERS)}
_SHOWN = {ord(hidden): chr(character) for character, hidden in _HIDDEN.items()}


def cut(document: Document, budget: int, count: TokenCounts) -> tuple[list[Document], int]:
    """The documents that a long one becomes, and how many of its spans are lost.

    Borders are those of plain text (`chunks.chunked`), and none lies within a span of up to `budget` tokens, although
    the chunk around it may become longer than that. A span that is longer itself is lost if a border lies within it.

    Args:
        document: of any length; up to `budget` tokens it stays as it is.
        budget: tokens of a chunk (0: nothing is cut).
        count: counts them.

    Returns:
        The document itself, or its chunks: ids `<id>#0001`, ... and spans in characters of their own text.

    Example:
        >>> words = lambda texts: [len(text.split()) for text in texts]
        >>> ada = Document("d", "Ada was born in London. She wrote.", (Span("city", 16, 22),))
        >>> [(one.id, one.text, one.spans) for one in cut(ada, 4, words)[0]]  # doctest: +NORMALIZE_WHITESPACE
        [('d#0001', 'Ada was born in', ()), ('d#0002', 'London. She wrote.', (Span(field='city', start=0, end=6),))]
    """
    # A token stands for at least one byte, so a text this short needs no counting.
    if not budget or len(document.text.encode()) <= budget or count([document.text])[0] <= budget:
        return [document], 0
    whole = _hide_borders(document, budget, count)
    lines = (match.group() for match in re.finditer(r"[^\n]*\n|[^\n]+", whole))
    shown = count if whole == document.text else lambda texts: count([text.translate(_SHOWN) for text in texts])
    places = _places(whole, list(chunked(plain_blocks(lines), budget, shown)))
    if len(places) == 1:
        return [document], 0
    spans, lost = _moved(document.spans, places)
    return [
        Document(chunk_id(document.id, number), document.text[start:end], tuple(own))
        for number, ((start, end), own) in enumerate(zip(places, spans, strict=True), 1)
    ], lost


def _hide_borders(document: Document, budget: int, count: TokenCounts) -> str:
    """The text with other characters, one for one, in the place of all borders within spans that may not be cut."""
    if not document.spans:
        return document.text
    text = list(document.text)
    for span in document.spans:
        words = document.text[span.start : span.end]
        if count([words])[0] <= budget:
            text[span.start : span.end] = words.translate(_HIDDEN)
    return "".join(text)


def _places(text: str, pieces: Sequence[str]) -> list[tuple[int, int]]:
    """Start and end of consecutive pieces of a text; nothing but white space lies between them."""
    places, end = [], 0
    for piece in pieces:
        start = text.index(piece, end)
        end = start + len(piece)
        places.append((start, end))
    return places


def _moved(spans: Sequence[Span], places: Sequence[tuple[int, int]]) -> tuple[list[list[Span]], int]:
    """The spans of each chunk, in characters of the chunk, and how many lie in none."""
    starts = [start for start, _ in places]
    moved: list[list[Span]] = [[] for _ in places]
    for span in spans:
        number = bisect.bisect_right(starts, span.start) - 1
        if number >= 0 and span.end <= places[number][1]:
            start = starts[number]
            moved[number].append(Span(span.field, span.start - start, span.end - start))
    return moved, len(spans) - sum(map(len, moved))
