"""What the windows of one text add up to, and the scores that follow.

Axes: M sentences that hold a query, L layers, H heads, T tokens of the text, N tokens of a window.
"""

import numpy as np

from .passes import Received
from .shards import TokenScores
from .windows import TokenisedText, Window, rows_in, seeing_queries


class TextSums:
    """One text's sums over queries and numbers of queries, window by window.

    Args:
        text: the text.
        heads_LH: layers and heads of the model, where each head's sums are kept.
    """

    def __init__(self, text: TokenisedText, heads_LH: tuple[int, int] | None = None) -> None:
        tokens = len(text.token_ids)
        self._text = text
        self._heads_LH = heads_LH
        self._sums_T = np.zeros(tokens)
        self._counts_T = np.zeros(tokens, dtype=np.int32)
        self._sums_LHT: np.ndarray | None = None
        rows = 0 if text.rows is None else len(text.rows.sentences)
        self._sums_MT = np.zeros((rows, tokens), dtype=np.float32)
        self._counts_MT = np.zeros((rows, tokens), dtype=np.int32)

    def add(self, window: Window, received: Received, include_self: bool) -> None:
        """Add what the queries of one window give."""
        self._sums_T[window.positions] += received.sums_N
        self._counts_T[window.positions] += seeing_queries(window.is_query, include_self)
        if received.sums_LHN is not None:
            if self._sums_LHT is None:
                shape = (*received.sums_LHN.shape[:2], len(self._counts_T))
                self._sums_LHT = np.zeros(shape, dtype=np.float32)
            self._sums_LHT[:, :, window.positions] += received.sums_LHN
        if self._text.rows is not None:
            rows_M = rows_in(self._text.rows, window)
            row_N, where = self._text.rows.rows_T[window.positions], np.ix_(rows_M, window.positions)
            self._sums_MT[where] += received.sums_MN
            self._counts_MT[where] += seeing_queries((row_N == rows_M[:, None]) & window.is_query, include_self)

    def scores(self) -> TokenScores:
        """The means over the queries that see each token."""
        text, rows = self._text, self._text.rows
        return TokenScores(
            document_id=text.document.id,
            token_ids=text.token_ids,
            offsets=text.offsets,
            scores=(self._sums_T / np.maximum(self._counts_T, 1)).astype(np.float32),
            queries=self._counts_T,
            per_head=self._head_means(),
            sentences=None if rows is None else rows.sentences,
            rows=None if rows is None else self._sums_MT / np.maximum(self._counts_MT, 1).astype(np.float32),
            row_queries=None if rows is None else self._counts_MT,
        )

    def _head_means(self) -> np.ndarray | None:
        if self._heads_LH is None:
            return None
        if self._sums_LHT is None:  # this text has no query
            return np.zeros((*self._heads_LH, len(self._counts_T)), dtype=np.float32)
        return self._sums_LHT / np.maximum(self._counts_T, 1).astype(np.float32)
