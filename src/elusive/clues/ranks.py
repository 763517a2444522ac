"""From scores to ranks: rank 1 is the clue to keep most, 0 is never ranked and never dropped."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int32


def rank_tokens(
    signal: Float[np.ndarray, "*rows tokens"], rankable: Bool[np.ndarray, " tokens"], seen: Bool[np.ndarray, " tokens"]
) -> Int32[np.ndarray, "*rows tokens"]:
    """Rank tokens by a signal, the largest first, ties by position.

    Args:
        signal: float, (..., tokens), each row ranked for itself; -inf where it is not defined.
        rankable: bool, (tokens,); others get rank 0.
        seen: bool, (tokens,); rankable tokens that no query sees rank after the rest, by position.

    Returns:
        int32 ranks from 1, shaped as the signal.

    Example:
        >>> rank_tokens(np.array([0.1, 0.5, 0.3]), np.array([True, False, True]), np.array([True] * 3))
        array([2, 0, 1], dtype=int32)
    """
    signal = np.asarray(signal, dtype=np.float64)
    unseen = ~np.asarray(seen, dtype=bool)
    # The last key counts first: a seen token whose signal is -inf still comes before every unseen one.
    keys = (np.where(unseen, 0.0, -signal), unseen, ~rankable)
    ranks = np.empty(signal.shape, dtype=np.int32)
    if signal.ndim == 1:  # the same, without the cost of broadcasting
        ranks[np.lexsort(keys)] = np.arange(1, 1 + len(unseen))
    else:
        order = np.lexsort(np.broadcast_arrays(*keys))
        np.put_along_axis(ranks, order, np.broadcast_to(np.arange(1, 1 + len(unseen)), signal.shape), axis=-1)
    ranks[..., ~rankable] = 0
    return ranks


def distance_signal(positions: Int[np.ndarray, " queries"], tokens: int) -> Float64[np.ndarray, " {tokens}"]:
    """Mean distance of each token from the queries after it: the farthest token is rank 1.

    Args:
        positions: int, query positions.
        tokens: number of tokens.

    Returns:
        float64, (tokens,): mean of (q - k) over queries q >= k; -inf where there is none.
    """
    token_K = np.arange(tokens)
    position_Q = np.sort(np.asarray(positions, dtype=np.int64))
    # By sums over the queries that follow, as a table of queries x tokens would not fit the memory for long texts.
    total_Q = np.append(np.cumsum(position_Q[::-1])[::-1], 0)
    first_K = np.searchsorted(position_Q, token_K)
    count_K = len(position_Q) - first_K
    total_K = total_Q[first_K] - count_K * token_K
    return np.where(count_K > 0, total_K / np.maximum(count_K, 1), -np.inf)
