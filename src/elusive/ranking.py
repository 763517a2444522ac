"""From scores to ranks: rank 1 is the clue to keep most, 0 is never ranked and never dropped."""

from dataclasses import dataclass

import numpy as np

from .errors import ElusiveError
from .shards import TokenScores


@dataclass(frozen=True)
class Ranking:
    """Ranks of one document's tokens under one arm.

    Attributes:
        document_id: the document.
        token_ids: int32, (tokens,).
        offsets: int32 character positions [start, end), (tokens, 2).
        ranks: int32, (tokens,); 1 is the best clue, 0 an excluded token.
        seen: bool, (tokens,); whether any query sees the token. Unseen tokens rank after all seen ones.
    """

    document_id: str
    token_ids: np.ndarray
    offsets: np.ndarray
    ranks: np.ndarray
    seen: np.ndarray


def contrast(large: TokenScores, small: TokenScores) -> np.ndarray:
    """What the large model attends to and the small one overlooks: s_large - s_small.

    Args:
        large: scores of the large model.
        small: scores of the small model for the same document and queries.

    Returns:
        float32, (tokens,).

    Raises:
        ElusiveError: if documents, token ids or queries differ; models contrast only where their tokens agree.

    Reference:
        d(k) in the paper's "Contrasting attention of large and small language models".
    """
    if large.document_id != small.document_id:
        raise ElusiveError(
            f"Expected scores of the same document, got {large.document_id!r} and {small.document_id!r}. "
            "Score one corpus with both models."
        )
    if not np.array_equal(large.token_ids, small.token_ids):
        raise ElusiveError(
            f"The two models split document {large.document_id!r} into different tokens "
            f"({len(large.token_ids)} and {len(small.token_ids)}; first difference at token "
            f"{_first_difference(large.token_ids, small.token_ids)}). "
            "Attention can be contrasted only where token ids agree: choose two models of one family."
        )
    if not np.array_equal(large.queries, small.queries):
        raise ElusiveError(
            f"The two models' scores of document {large.document_id!r} come from different queries. "
            "Score both with the same queries, fields and window length (score.max_length)."
        )
    return large.scores - small.scores


def _first_difference(first: np.ndarray, second: np.ndarray) -> int:
    length = min(len(first), len(second))
    different = np.flatnonzero(first[:length] != second[:length])
    return int(different[0]) if len(different) else length


def rank_tokens(signal: np.ndarray, rankable: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Rank tokens by a signal, the largest first, ties by position.

    Args:
        signal: float, (tokens,); -inf where it is not defined.
        rankable: bool, (tokens,); others get rank 0.
        seen: bool, (tokens,); rankable tokens that no query sees rank after the rest, by position.

    Returns:
        int32 ranks from 1, (tokens,).

    Example:
        >>> rank_tokens(np.array([0.1, 0.5, 0.3]), np.array([True, False, True]), np.array([True] * 3))
        array([2, 0, 1], dtype=int32)
    """
    unseen = ~np.asarray(seen, dtype=bool)
    # Two keys: a seen token whose signal is -inf still comes before every unseen one.
    order = np.lexsort((np.where(unseen, 0.0, -np.asarray(signal, dtype=np.float64)), unseen))
    order = order[rankable[order]]
    ranks = np.zeros(len(unseen), dtype=np.int32)
    ranks[order] = np.arange(1, len(order) + 1, dtype=np.int32)
    return ranks


def distance_signal(positions: np.ndarray, tokens: int) -> np.ndarray:
    """Mean distance of each token from the queries after it: the farthest token is rank 1.

    Args:
        positions: int, query positions.
        tokens: number of tokens.

    Returns:
        float64, (tokens,): mean of (q - k) over queries q >= k; -inf where there is none.

    Reference:
        "Token-dropout by distance" in the paper's "More results".
    """
    token_K = np.arange(tokens)
    position_Q = np.sort(np.asarray(positions, dtype=np.int64))
    # By sums over the queries that follow, as a table of queries x tokens would not fit the memory for long texts.
    total_Q = np.append(np.cumsum(position_Q[::-1])[::-1], 0)
    first_K = np.searchsorted(position_Q, token_K)
    count_K = len(position_Q) - first_K
    total_K = total_Q[first_K] - count_K * token_K
    return np.where(count_K > 0, total_K / np.maximum(count_K, 1), -np.inf)
