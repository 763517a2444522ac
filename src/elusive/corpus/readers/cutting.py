"""A document that is too long, cut into several as text files are: between its spans, which come along."""

import bisect
import re
from collections.abc import Sequence
from typing import NamedTuple

from elusive.config.corpus import Headings
from elusive.corpus.documents import Document, chunk_id
from elusive.corpus.tags import Span

from .chunks import Chunk, TokenCounts, chunked, looks_like_markdown, markdown_blocks, plain_blocks


class Cut(NamedTuple):
    """What a document became.

    Attributes:
        documents: the document itself, or its chunks: ids `<id>#0001`, ... and spans in characters of their own text.
        lost: spans that no chunk holds whole.
        longest: tokens of the longest chunk; 0 if the document stays as it is.
    """

    documents: list[Document]
    lost: int = 0
    longest: int = 0


def cut(document: Document, budget: int, count: TokenCounts, headings: Headings = "own") -> Cut:
    """The documents that a long one becomes.

    Borders are those of text and Markdown files (`chunks.chunked`), and none lies within a span of up to `budget`
    tokens. A span that is longer itself is lost if a border lies within it.

    Args:
        document: of any length; up to `budget` tokens it stays as it is.
        budget: tokens of a chunk (0: nothing is cut).
        count: counts them.
        headings: which headings of Markdown each chunk has.

    Example:
        >>> words = lambda texts: [len(text.split()) for text in texts]
        >>> ada = Document("d", "Ada was born in London. She wrote.", (Span("city", 16, 22),))
        >>> [(one.id, one.text, one.spans) for one in cut(ada, 4, words).documents]  # doctest: +NORMALIZE_WHITESPACE
        [('d#0001', 'Ada was born in', ()), ('d#0002', 'London. She wrote.', (Span(field='city', start=0, end=6),))]
    """
    text = document.text
    # A token stands for at least one byte, so a text this short needs no counting.
    if not budget or len(text.encode()) <= budget or count([text])[0] <= budget:
        return Cut([document])
    if looks_like_markdown(text):
        blocks = markdown_blocks(text, lambda part: count([part])[0] > budget)
    else:
        blocks = plain_blocks(match.group() for match in re.finditer(r"[^\n]*\n|[^\n]+", text))
    kept = _kept(document, budget, count)
    chunks = list(chunked(blocks, budget, count, headings=headings, kept=kept))
    if len(chunks) < 2:
        return Cut([document])
    spans, lost = _moved(document, chunks)
    documents = [
        Document(chunk_id(document.id, number), chunk.text, tuple(own))
        for number, (chunk, own) in enumerate(zip(chunks, spans, strict=True), 1)
    ]
    return Cut(documents, lost, max(chunk.tokens for chunk in chunks))


def _kept(document: Document, budget: int, count: TokenCounts) -> list[tuple[int, int]]:
    """The places of spans that are not cut; spans that share characters are one place, if that fits too."""
    kept: list[tuple[int, int]] = []
    for start, end in sorted((span.start, span.end) for span in document.spans):
        if count([document.text[start:end]])[0] > budget:
            continue
        if kept and start < kept[-1][1]:
            wide = kept[-1][0], max(end, kept[-1][1])
            if count([document.text[slice(*wide)]])[0] <= budget:
                kept[-1] = wide
            continue
        kept.append((start, end))
    return kept


def _moved(document: Document, chunks: Sequence[Chunk]) -> tuple[list[list[Span]], int]:
    """The spans of each chunk, in characters of the chunk, and how many lie in none."""
    starts = [min(segment.start for segment in chunk.segments) for chunk in chunks]
    moved: list[list[Span]] = [[] for _ in chunks]
    for span in document.spans:
        words = document.text[span.start : span.end]
        # Chunks lose the white space around them, and so do spans there.
        start, end = span.start + len(words) - len(words.lstrip()), span.end - len(words) + len(words.rstrip())
        for first, last in ((span.start, span.end), (start, end)) if start < end else ():
            number = bisect.bisect_right(starts, first) - 1
            if number >= 0 and (place := chunks[number].place(first, last)):
                moved[number].append(Span(span.field, *place))
                break
    return moved, len(document.spans) - sum(map(len, moved))
