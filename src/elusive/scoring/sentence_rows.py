"""The sentences that hold a query: each has a row of scores of its own, what its queries alone give.

Axes: T tokens, Q queries.
"""

import dataclasses

import numpy as np
from jaxtyping import Int, Int32

from elusive.config.scoring import Queries
from elusive.corpus.sentences import sentences

from .positions import trimmed_offsets


@dataclasses.dataclass(frozen=True, eq=False)
class SentenceRows:
    """The sentences of one text that hold a query, each with a row of its own.

    Attributes:
        sentences: int32 (rows, 2), the characters of each, in order.
        rows_T: int32 (tokens,), the row of each token that is a query; -1 elsewhere.
    """

    sentences: Int32[np.ndarray, "rows 2"]
    rows_T: Int32[np.ndarray, " tokens"]


def sentence_rows(
    text: str, offsets_T2: Int[np.ndarray, "tokens 2"], queries_Q: Int[np.ndarray, " queries"], queries: Queries
) -> SentenceRows:
    """Which sentence each query belongs to.

    A token belongs to the sentence of its first character that is no white space. A query at a cue or in a span belongs
    to the sentence of the token that it predicts, because that at the start of a sentence is predicted in the one
    before. With all queries, each belongs to its own.

    Args:
        text: the document's text.
        offsets_T2: characters of each token, (tokens, 2).
        queries_Q: positions of the queries.
        queries: what they are.

    Example:
        >>> made = sentence_rows("A b. C d.", np.array([[0, 1], [1, 3], [3, 4], [4, 6], [6, 8]]), np.array([2]), "cues")
        >>> made.sentences.tolist(), made.rows_T.tolist()
        ([[5, 9]], [-1, -1, 0, -1, -1])
    """
    sentences_2 = np.array(sentences(text), dtype=np.int32).reshape(-1, 2)
    predicted_Q = queries_Q if queries == "all" else queries_Q + 1
    first_Q = trimmed_offsets(text, offsets_T2)[predicted_Q, 0]
    sentence_Q = np.searchsorted(sentences_2[:, 0], first_Q, side="right") - 1
    held, row_Q = np.unique(sentence_Q, return_inverse=True)
    rows_T = np.full(len(offsets_T2), -1, dtype=np.int32)
    rows_T[queries_Q] = row_Q
    return SentenceRows(sentences_2[held], rows_T)
