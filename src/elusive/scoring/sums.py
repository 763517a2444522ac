"""What the windows of one text add up to, and the scores that follow.

Axes: M sentences that hold a query, L layers, H heads, T tokens of the text, N tokens of a window.
"""

import numpy as np

from .passes import Received
from .shards import TokenScores
from .windows import TokenisedText, Window, rows_in, seeing_queries, weightings_of


class TextSums:
    """One text's sums over the queries of one query set, and the numbers of these, window by window.

    Args:
        text: the text.
        number: which of its query sets.
        heads_LH: layers and heads of the model, where each head's sums are kept.
    """

    def __init__(self, text: TokenisedText, number: int, heads_LH: tuple[int, int] | None = None) -> None:
        tokens = len(text.token_ids)
        self._text, self._number = text, number
        self._rows = text.queries[number].rows
        self._heads_LH = heads_LH
        self._sums_T = np.zeros(tokens)
        self._counts_T = np.zeros(tokens, dtype=np.int32)
        self._sums_LHT: np.ndarray | None = None
        rows = 0 if self._rows is None else len(self._rows.sentences)
        self._sums_MT = np.zeros((rows, tokens), dtype=np.float32)
        self._counts_MT = np.zeros((rows, tokens), dtype=np.int32)

    def add(self, window: Window, received: Received, include_self: bool) -> None:
        """Add what the queries of one window give."""
        is_query_N = window.is_query_SN[self._number]
        self._sums_T[window.positions] += received.sums_MN.sum(0)
        self._counts_T[window.positions] += seeing_queries(is_query_N, include_self)
        if received.sums_LHN is not None:
            if self._sums_LHT is None:
                shape = (*received.sums_LHN.shape[:2], len(self._counts_T))
                self._sums_LHT = np.zeros(shape, dtype=np.float32)
            self._sums_LHT[:, :, window.positions] += received.sums_LHN
        if self._rows is not None:
            where = np.ix_(rows_in(self._rows, window.positions[is_query_N]), window.positions)
            self._sums_MT[where] += received.sums_MN
            weightings_MN = weightings_of(self._text, window)[self._number]
            self._counts_MT[where] += seeing_queries(weightings_MN, include_self)

    def scores(self) -> TokenScores:
        """The means over the queries that see each token."""
        text, rows = self._text, self._rows
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
            sink_end=text.sink_end,
        )

    def _head_means(self) -> np.ndarray | None:
        if self._heads_LH is None:
            return None
        if self._sums_LHT is None:  # this text has no query
            return np.zeros((*self._heads_LH, len(self._counts_T)), dtype=np.float32)
        return self._sums_LHT / np.maximum(self._counts_T, 1).astype(np.float32)
