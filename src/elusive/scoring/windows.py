"""Documents as tokens, and the windows that go through a model."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Document
from elusive.errors import ElusiveError
from elusive.models.special_tokens import special_token_ids

from .positions import QueryFinder, rankable_tokens
from .sentence_rows import SentenceRows, sentence_rows
from .sets import QuerySet
from .sinks import first_token_is_sink, front_tokens


@dataclasses.dataclass(frozen=True)
class TextQueries:
    """The queries of one text that belong to one query set."""

    positions: np.ndarray
    """Sorted."""
    rows: SentenceRows | None = None
    """The sentences that hold a query, where each has a row of scores of its own."""


@dataclasses.dataclass(frozen=True)
class TokenisedText:
    """One tokenised document; arrays have its length in tokens."""

    document: Document
    token_ids: np.ndarray
    offsets: np.ndarray
    special: np.ndarray
    queries: tuple[TextQueries, ...]
    """Its queries, one query set after the other."""
    front: int = 0
    """How many tokens at its front begin every window: special ones (bos), or the text's own sink."""
    sink_end: int = 0
    """Its characters up to this one are an attention sink; 0: none are."""
    ranked: np.ndarray | None = None
    """Whether a token may be ranked, where rows are renormalised over those that may."""


@dataclasses.dataclass(frozen=True)
class Window:
    """Tokens that go through the model together: a whole text up to its last query, or a part of a long one.

    Axes: S query sets, N tokens of the window.
    """

    text: int
    """Index of the document."""
    positions: np.ndarray
    """Which tokens of the document stand in the window."""
    is_query_SN: np.ndarray
    """Whether each of them is a query of this window, for each query set."""
    length: int
    """Tokens of the whole text, or of this part of a long one, before it was cut after its last query."""


def tokenise(
    documents: Sequence[Document],
    tokenizer: PreTrainedTokenizerFast,
    settings: ScoreSettings,
    query_sets: Sequence[QuerySet],
) -> list[TokenisedText]:
    """Documents as tokens, with their queries.

    Args:
        documents: the texts.
        tokenizer: the model's, with character offsets.
        settings: the head fields, and whether rows are renormalised.
        query_sets: which tokens are queries.

    Raises:
        ElusiveError: if a document has no token, or no query can be placed.
    """
    if not documents:
        return []
    rows = tokenizer(
        [document.text for document in documents],
        add_special_tokens=True,
        padding=False,
        truncation=False,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
        verbose=False,  # longer than the model's context is fine: windows take care of it
    )
    special_ids = special_token_ids(tokenizer)
    has_sink = first_token_is_sink(tokenizer, settings.sink)
    texts = []
    for document, ids, offsets, added in zip(
        documents, rows["input_ids"], rows["offset_mapping"], rows["special_tokens_mask"], strict=True
    ):
        ids_T = np.array(ids, dtype=np.int32)
        offsets_T2 = np.array(offsets, dtype=np.int32).reshape(-1, 2)
        special_T = np.array(added, dtype=bool) | np.isin(ids_T, special_ids)
        if special_T.all():
            raise ElusiveError(f"Document '{document.id}' has no token: its text is {document.text[:60]!r}. Remove it.")
        front = front_tokens(special_T, has_sink)
        sink_end = int(offsets_T2[front - 1, 1]) if has_sink else 0
        finder = QueryFinder(document, offsets_T2, special_T, settings.head_fields)
        queries = tuple(_queries(document.text, offsets_T2, finder, query_set) for query_set in query_sets)
        ranked_T = None
        if settings.renormalise:
            excluded = settings.excluded_tokens
            ranked_T = rankable_tokens(document.text, ids_T, offsets_T2, special_ids, excluded, sink_end) & ~special_T
        texts.append(TokenisedText(document, ids_T, offsets_T2, special_T, queries, front, sink_end, ranked_T))
    return texts


def _queries(text: str, offsets_T2: np.ndarray, finder: QueryFinder, query_set: QuerySet) -> TextQueries:
    """The queries of one text that belong to one query set."""
    positions_Q = finder.positions(query_set.queries, query_set.fields)
    rows = sentence_rows(text, offsets_T2, positions_Q, query_set.queries) if query_set.each else None
    return TextQueries(positions_Q, rows)


def check_vocabulary(texts: Sequence[TokenisedText], base: PreTrainedModel) -> None:
    """Refuse token ids that the model has no embedding for: the tokenizer is another model's."""
    entries = int(base.get_input_embeddings().weight.shape[0])  # type: ignore[union-attr]
    largest = max((int(text.token_ids.max()) for text in texts), default=0)
    if largest >= entries:
        raise ElusiveError(
            f"The tokenizer gives token id {largest}, but {type(base).__name__} embeds only {entries} ids. "
            "Give the tokenizer that belongs to the model."
        )


def windows_of(index: int, text: TokenisedText, max_length: int) -> list[Window]:
    """The windows that hold a query, each cut after its last one: causal attention sees nothing behind it.

    A query stands in the same window, with the same tokens before it, whatever other query sets are read with its own.
    """
    reach = 1 + max((int(queries.positions[-1]) for queries in text.queries if len(queries.positions)), default=-1)
    if not reach:
        return []
    is_query_ST = np.zeros((len(text.queries), reach), dtype=bool)
    for is_query_T, queries in zip(is_query_ST, text.queries, strict=True):
        is_query_T[queries.positions] = True
    if reach <= max_length:
        return [Window(index, np.arange(reach), is_query_ST, min(len(text.token_ids), max_length))]
    # Special tokens (bos), or the text's own sink: a window without one would make a sink of whatever it begins with.
    front = text.front
    width = max_length - front
    if width < 1:
        raise ElusiveError(
            f"max_length is {max_length}, but {front} tokens begin every window (special ones, or the text's attention "
            f"sink). Give at least {front + 2}."
        )
    stride = max(1, width // 2)
    windows = []
    for number in range(1 + max(0, -(-(reach - front - width) // stride))):
        start = front + number * stride
        # Window 0 reads all its queries, each later one those of its last stride: width - stride tokens precede them.
        fresh = 0 if number == 0 else start + width - stride
        read = np.arange(fresh, min(start + width, reach))
        read = read[is_query_ST[:, read].any(0)]
        if len(read):
            positions_N = np.concatenate([np.arange(front), np.arange(start, read[-1] + 1)])
            length = front + min(width, len(text.token_ids) - start)
            positions_N = positions_N[positions_N <= read[-1]]
            is_query_SN = is_query_ST[:, positions_N] & np.isin(positions_N, read)
            windows.append(Window(index, positions_N, is_query_SN, length))
    return windows


def weightings_of(text: TokenisedText, window: Window) -> list[np.ndarray]:
    """What a window's queries are summed over, for each query set: boolean (weightings, tokens of the window).

    A query set has one weighting, or with rows one for each that `rows_in` names, which together hold all its queries.
    """
    found = []
    for queries, is_query_N in zip(text.queries, window.is_query_SN, strict=True):
        if queries.rows is None:
            found.append(is_query_N[None])
        else:
            rows_M = rows_in(queries.rows, window.positions[is_query_N])
            found.append((queries.rows.rows_T[window.positions] == rows_M[:, None]) & is_query_N)
    return found


def rows_in(rows: SentenceRows, queries_Q: np.ndarray) -> np.ndarray:
    """The rows of some queries, each once, in order."""
    return np.unique(rows.rows_T[queries_Q])


def seeing_queries(is_query_N: np.ndarray, include_self: bool) -> np.ndarray:
    """For each token the number of queries at it or after it (only after it, without include_self).

    More axes may stand before that of the tokens.
    """
    seeing_N = np.cumsum(is_query_N[..., ::-1], axis=-1, dtype=np.int32)[..., ::-1]
    return seeing_N if include_self else seeing_N - is_query_N
