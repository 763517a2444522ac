"""Which tokens of a text are queries, which may be ranked, and which belong to a span."""

import functools
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Int, Int64

from elusive.config.scoring import Queries
from elusive.corpus.documents import Document, Span
from elusive.errors import ElusiveError


def query_positions(
    document: Document,
    offsets_T2: Int[np.ndarray, "tokens 2"],
    special_T: Bool[np.ndarray, " tokens"],
    queries: Queries,
    head_fields: Iterable[str],
    fields: Iterable[str] = (),
) -> Int64[np.ndarray, " queries"]:
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
    return QueryFinder(document, offsets_T2, special_T, head_fields).positions(queries, fields)


class QueryFinder:
    """Finds the queries of one text, of any number of kinds; the tokens of each span are looked up once.

    Args:
        document: as `query_positions`, like the others.
        offsets_T2: characters of each token.
        special_T: whether each token is special.
        head_fields: span fields that are head entities.
    """

    def __init__(
        self,
        document: Document,
        offsets_T2: Int[np.ndarray, "tokens 2"],
        special_T: Bool[np.ndarray, " tokens"],
        head_fields: Iterable[str],
    ) -> None:
        self._document, self._offsets_T2 = document, offsets_T2
        self._special_T, self._head_fields = np.asarray(special_T, dtype=bool), tuple(head_fields)
        self._predicting: dict[Span, list[int]] = {}

    def positions(self, queries: Queries, fields: Iterable[str] = ()) -> Int64[np.ndarray, " queries"]:
        """As `query_positions`."""
        if queries == "all":
            if tuple(fields):
                raise ElusiveError(
                    f"queries = all reads every token, but fields = {tuple(fields)} restricts it to spans."
                )
            return np.flatnonzero(~self._special_T)
        if queries not in ("cues", "spans"):
            raise ElusiveError(f"queries: expected cues, spans or all, got {queries!r}.")
        spans = answer_spans(self._document, self._head_fields, fields)
        found = (self._predicting_of(span)[: 1 if queries == "cues" else None] for span in spans)
        return np.array(sorted({k for positions in found for k in positions if k >= 0}), dtype=np.int64)

    def _predicting_of(self, span: Span) -> list[int]:
        """The position before each token of a span; -1 before the first token of the text."""
        if span not in self._predicting:
            is_inside_T = _overlapping(self._document.text, span, self._trimmed_offsets) & ~self._special_T
            if not is_inside_T.any():
                raise ElusiveError(
                    f"Document '{self._document.id}': no token overlaps its span '{span.field}' ({span.start} to "
                    f"{span.end} of {len(self._document.text)} characters, "
                    f"{self._document.text[span.start : span.end]!r}). Correct the span's characters."
                )
            self._predicting[span] = (np.flatnonzero(is_inside_T) - 1).tolist()
        return self._predicting[span]

    @functools.cached_property
    def _trimmed_offsets(self) -> np.ndarray:
        return trimmed_offsets(self._document.text, self._offsets_T2)


def answer_spans(document: Document, head_fields: Iterable[str], fields: Iterable[str] = ()) -> list[Span]:
    """The spans that are answers, not head entities; those of `fields` alone where any is given."""
    heads, wanted = set(head_fields), set(fields)
    return [span for span in document.spans if span.field not in heads and (not wanted or span.field in wanted)]


def span_tokens(text: str, span: Span, offsets_T2: Int[np.ndarray, "tokens 2"]) -> Bool[np.ndarray, " tokens"]:
    """Which tokens belong to a span: those that share a character with it that is no white space.

    Tokenizers differ in whether the space before a word is among a token's characters, so white space around tokens and
    around the span decides nothing, and a token of white space alone belongs to no span.

    Args:
        text: the document's text.
        span: its characters.
        offsets_T2: characters of each token, (tokens, 2).

    Returns:
        bool, (tokens,).

    Example:
        >>> span_tokens("Ada was", Span("name", 0, 4), np.array([[0, 3], [3, 7]]))
        array([ True, False])
    """
    return tokens_of_spans(text, [span], offsets_T2)[0]


def tokens_of_spans(
    text: str, spans: Sequence[Span], offsets_T2: Int[np.ndarray, "tokens 2"]
) -> Bool[np.ndarray, "spans tokens"]:
    """Which tokens belong to each of several spans (see `span_tokens`), bool (spans, tokens)."""
    inner_T2 = _inner_offsets(text, offsets_T2)
    inside = [_belonging(text, span, inner_T2) for span in spans]
    return np.array(inside, dtype=bool).reshape(len(spans), len(inner_T2))


def token_fields(text: str, spans: Iterable[Span], offsets_T2: Int[np.ndarray, "tokens 2"]) -> list[str]:
    """The field of each token: that of the first span it belongs to (see `span_tokens`), or an empty string.

    Example:
        >>> token_fields("Ada was", [Span("name", 0, 4)], np.array([[0, 3], [3, 7]]))
        ['name', '']
    """
    inner_T2 = _inner_offsets(text, offsets_T2)
    fields_T = np.full(len(inner_T2), "", dtype=object)
    for span in reversed(list(spans)):
        fields_T[_belonging(text, span, inner_T2)] = span.field
    return fields_T.tolist()


def head_tokens(
    document: Document, offsets_T2: Int[np.ndarray, "tokens 2"], head_fields: Collection[str]
) -> Bool[np.ndarray, " tokens"]:
    """Whether each token belongs to a span of the head entity (see `span_tokens`), bool (tokens,)."""
    inner_T2 = _inner_offsets(document.text, offsets_T2)
    inside_T = np.zeros(len(inner_T2), dtype=bool)
    for span in document.spans:
        if span.field in head_fields:
            inside_T |= _belonging(document.text, span, inner_T2)
    return inside_T


def rankable_tokens(
    text: str,
    token_ids_T: Int[np.ndarray, " tokens"],
    offsets_T2: Int[np.ndarray, "tokens 2"],
    special_ids: Collection[int],
    excluded: Sequence[str],
    sink_end: int = 0,
) -> Bool[np.ndarray, " tokens"]:
    """Which tokens may be ranked and dropped: not special, no sink, not white space only, not an excluded string.

    Args:
        text: the document's text.
        token_ids_T: its tokens, (tokens,).
        offsets_T2: their characters, (tokens, 2).
        special_ids: ids of bos, eos, pad and the like.
        excluded: strings such as "." that are never ranked; compared without surrounding white space.
        sink_end: the text's characters up to this one are an attention sink (see `TokenScores`).

    Returns:
        bool, (tokens,).

    Reference:
        Gao et al. 2025, footnote 3: periods, commas, spaces and placeholders such as <bos> are removed.
    """
    never = {"", *(word.strip() for word in excluded)}
    starts, ends = np.asarray(offsets_T2).reshape(-1, 2).T.tolist()
    tokens = zip(np.asarray(token_ids_T).tolist(), starts, ends, strict=True)
    rankable = [
        start >= sink_end and token not in special_ids and text[start:end].strip() not in never
        for token, start, end in tokens
    ]
    return np.array(rankable, dtype=bool)


def trimmed_offsets(text: str, offsets_T2: Int[np.ndarray, "tokens 2"]) -> Int[np.ndarray, "tokens 2"]:
    """The tokens' characters without white space at the rim; a token of nothing else stays as it is, (tokens, 2)."""
    inner_T2 = _inner_offsets(text, offsets_T2)
    given_T2 = np.asarray(offsets_T2, dtype=np.int64).reshape(-1, 2)
    return np.where((inner_T2[:, 0] < inner_T2[:, 1])[:, None], inner_T2, given_T2)


def _inner_offsets(text: str, offsets_T2: Int[np.ndarray, "tokens 2"]) -> np.ndarray:
    """From each token's first to its last character that is no white space, (tokens, 2); start >= end without any."""
    # Byte-level tokens may or may not count the space before a word among their characters, and that space belongs
    # to no span.
    starts_T, ends_T = np.asarray(offsets_T2, dtype=np.int64).reshape(-1, 2).T
    places = np.arange(len(text))
    blank = np.fromiter(map(str.isspace, text), dtype=bool, count=len(text))
    # The first character at or after each place, and the last one before it, that is no white space.
    after = np.minimum.accumulate(np.append(np.where(blank, len(text), places), len(text))[::-1])[::-1]
    before = np.maximum.accumulate(np.append(-1, np.where(blank, -1, places)))
    return np.stack([after[starts_T], before[ends_T] + 1], axis=1)


def _belonging(text: str, span: Span, inner_T2: np.ndarray) -> np.ndarray:
    """Which tokens, given their `_inner_offsets`, share a character with the span that is no white space."""
    if not text[span.start : span.end].strip():
        return np.zeros(len(inner_T2), dtype=bool)
    # Both begin and end with such a character, so where they overlap they share one.
    return _overlapping(text, span, inner_T2) & (inner_T2[:, 0] < inner_T2[:, 1])


def _overlapping(text: str, span: Span, trimmed_T2: np.ndarray) -> np.ndarray:
    """Whether the characters of each token overlap the span's, bool (tokens,)."""
    start, end = _trimmed(text, span.start, span.end)
    # A space of its own within the span is predicted like the span's other tokens; where the tokenizer gives it no
    # width, so is this.
    return (trimmed_T2[:, 0] < end) & (trimmed_T2[:, 1] > start)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    if not part.strip():
        return start, end
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())
