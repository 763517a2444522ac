"""Which tokens of a text are queries, which may be ranked, and which belong to a span."""

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from elusive.config.run import Queries
from elusive.corpus.documents import Document, Span
from elusive.errors import ElusiveError


def query_positions(
    document: Document,
    offsets_T2: np.ndarray,
    special_T: np.ndarray,
    queries: Queries,
    head_fields: Iterable[str],
    fields: Iterable[str] = (),
) -> np.ndarray:
    """Positions whose attention is captured.

    `cues`: the token just before the first token of each answer span. `spans`: the positions that predict the tokens
    of an answer span, i.e. the span shifted left by one. `all`: every token of the text; special tokens (bos, eos)
    are none of its tokens and are left out. A token belongs to a span if their characters overlap, the white space
    around either set aside. A token at position 0 has no token before it, so nothing predicts it.

    Args:
        document: the text and its spans.
        offsets_T2: characters of each token, (tokens, 2).
        special_T: whether each token is special, boolean (tokens,).
        queries: cues, spans or all.
        head_fields: span fields that are head entities, never queries.
        fields: only spans of these fields (empty: all but the head fields).

    Returns:
        Sorted positions without duplicates, int64.

    Raises:
        ElusiveError: if a span holds no token, or `fields` is given with `all`.

    Reference:
        The set Q in the reading notes; "preposition tokens" in Gao et al. 2025, arXiv 2409.17954.
    """
    if queries == "all":
        if tuple(fields):
            raise ElusiveError(f"queries = all reads every token, but fields = {tuple(fields)} restricts it to spans.")
        return np.flatnonzero(~np.asarray(special_T, dtype=bool))
    if queries not in ("cues", "spans"):
        raise ElusiveError(f"queries: expected cues, spans or all, got {queries!r}.")
    trimmed_T2 = trimmed_offsets(document.text, offsets_T2)
    found: set[int] = set()
    for span in answer_spans(document, head_fields, fields):
        positions = np.flatnonzero(_overlapping(document.text, span, trimmed_T2) & ~np.asarray(special_T, dtype=bool))
        if not len(positions):
            raise ElusiveError(
                f"Document '{document.id}': no token overlaps its span '{span.field}' ({span.start} to {span.end} of "
                f"{len(document.text)} characters, {document.text[span.start : span.end]!r}). "
                "Correct the span's characters."
            )
        found.update(int(k) - 1 for k in (positions[:1] if queries == "cues" else positions) if k > 0)
    return np.array(sorted(found), dtype=np.int64)


def answer_spans(document: Document, head_fields: Iterable[str], fields: Iterable[str] = ()) -> list[Span]:
    """The spans that are answers, not head entities; those of `fields` alone where any is given."""
    heads, wanted = set(head_fields), set(fields)
    return [span for span in document.spans if span.field not in heads and (not wanted or span.field in wanted)]


def head_tokens(document: Document, offsets_T2: np.ndarray, head_fields: Collection[str]) -> np.ndarray:
    """Whether each token shares a character with a span of the head entity, white space set aside; bool (tokens,)."""
    trimmed_T2 = trimmed_offsets(document.text, offsets_T2)
    inside_T = np.zeros(len(trimmed_T2), dtype=bool)
    for span in document.spans:
        if span.field in head_fields:
            inside_T |= _overlapping(document.text, span, trimmed_T2) & (trimmed_T2[:, 1] > trimmed_T2[:, 0])
    return inside_T


def rankable_tokens(
    text: str, token_ids_T: np.ndarray, offsets_T2: np.ndarray, special_ids: Collection[int], excluded: Sequence[str]
) -> np.ndarray:
    """Which tokens may be ranked and dropped: not special, not white space only, not an excluded string.

    Args:
        text: the document's text.
        token_ids_T: its tokens, (tokens,).
        offsets_T2: their characters, (tokens, 2).
        special_ids: ids of bos, eos, pad and the like.
        excluded: strings such as "." that are never ranked; compared without surrounding white space.

    Returns:
        bool, (tokens,).

    Reference:
        Gao et al. 2025, footnote 3: periods, commas, spaces and placeholders such as <bos> are removed.
    """
    never = {"", *(word.strip() for word in excluded)}
    starts, ends = np.asarray(offsets_T2).reshape(-1, 2).T.tolist()
    tokens = zip(np.asarray(token_ids_T).tolist(), starts, ends, strict=True)
    rankable = [token not in special_ids and text[start:end].strip() not in never for token, start, end in tokens]
    return np.array(rankable, dtype=bool)


def trimmed_offsets(text: str, offsets_T2: np.ndarray) -> np.ndarray:
    """The tokens' characters without white space at the rim; a token of nothing else stays as it is, (tokens, 2)."""
    # Byte-level tokens may or may not count the space before a word among their characters, and that space belongs
    # to no span.
    starts_T, ends_T = np.asarray(offsets_T2, dtype=np.int64).reshape(-1, 2).T
    places = np.arange(len(text))
    blank = np.fromiter(map(str.isspace, text), dtype=bool, count=len(text))
    # The first character at or after each place, and the last one before it, that is no white space.
    after = np.minimum.accumulate(np.append(np.where(blank, len(text), places), len(text))[::-1])[::-1]
    before = np.maximum.accumulate(np.append(-1, np.where(blank, -1, places)))
    inner_T2 = np.stack([after[starts_T], before[ends_T] + 1], axis=1)
    return np.where((inner_T2[:, 0] < inner_T2[:, 1])[:, None], inner_T2, np.stack([starts_T, ends_T], axis=1))


def _overlapping(text: str, span: Span, trimmed_T2: np.ndarray) -> np.ndarray:
    """Whether the characters of each token overlap the span's, bool (tokens,)."""
    start, end = _trimmed(text, span.start, span.end)
    # A space of its own within the span is one of its tokens; where the tokenizer gives it no width, so does this.
    return (trimmed_T2[:, 0] < end) & (trimmed_T2[:, 1] > start)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    if not part.strip():
        return start, end
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())
