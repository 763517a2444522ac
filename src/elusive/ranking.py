"""From scores to ranks: rank 1 is the clue to keep most, 0 is never ranked and never dropped."""

import dataclasses
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
        raise _other_document(large, small)
    if not np.array_equal(large.token_ids, small.token_ids):
        raise ElusiveError(
            f"The two models split document {large.document_id!r} into different tokens "
            f"({len(large.token_ids)} and {len(small.token_ids)}; first difference at token "
            f"{_first_difference(large.token_ids, small.token_ids)}). "
            "Attention can be contrasted only where token ids agree: choose two models of one family, or set "
            "augment.across_tokenizers = true (--across-tokenizers) to carry scores over by their characters."
        )
    if not np.array_equal(large.queries, small.queries):
        raise ElusiveError(
            f"The two models' scores of document {large.document_id!r} come from different queries. "
            "Score both with the same queries, fields and window length (score.max_length)."
        )
    return large.scores - small.scores


def across_tokenizers(scores: TokenScores, tokens: TokenScores, text: str) -> TokenScores:
    """Scores carried over to another tokenizer's tokens: spread evenly over characters, and gathered there.

    A token's score is spread over its characters, white space left out, because tokenizers differ in which token they
    count it to, if to any; a token gathers what stands on its characters, and tokens that share characters (the bytes
    of one) share it evenly. So the sum over all characters stays as it is. Tokens without characters (bos) and of white
    space alone give and gather nothing: they are never ranked.

    Args:
        scores: what to carry over.
        tokens: any scores of the same document on the tokens to carry them to.
        text: the document's text.

    Returns:
        `scores` itself where the tokens agree, else its values on the ids and offsets of `tokens`; a token's query
        count is the largest among its characters. `per_head`, where there is one, is carried over too.

    Raises:
        ElusiveError: if the two are of different documents.
    """
    if scores.document_id != tokens.document_id:
        raise _other_document(scores, tokens)
    if np.array_equal(scores.offsets, tokens.offsets):
        same_ids = np.array_equal(scores.token_ids, tokens.token_ids)
        return scores if same_ids else dataclasses.replace(scores, token_ids=tokens.token_ids)
    given_N, at_N = _characters(text, scores.offsets)
    taking_M, from_M = _characters(text, tokens.offsets)
    widths_T, holders_C = np.bincount(given_N, minlength=len(scores.offsets)), np.bincount(from_M, minlength=len(text))

    def carried(values: np.ndarray) -> np.ndarray:
        rows_TR = values.reshape(-1, values.shape[-1]).T
        sums_CR, sums_TR = np.zeros((len(text), rows_TR.shape[1])), np.zeros((len(tokens.offsets), rows_TR.shape[1]))
        np.add.at(sums_CR, at_N, rows_TR[given_N] / widths_T[given_N, None])
        np.add.at(sums_TR, taking_M, sums_CR[from_M] / holders_C[from_M, None])
        return sums_TR.T.reshape(*values.shape[:-1], -1).astype(np.float32)

    seeing_C, seeing_T = np.zeros(len(text), dtype=np.int32), np.zeros(len(tokens.offsets), dtype=np.int32)
    np.maximum.at(seeing_C, at_N, scores.queries[given_N])
    np.maximum.at(seeing_T, taking_M, seeing_C[from_M])
    return TokenScores(
        scores.document_id,
        tokens.token_ids,
        tokens.offsets,
        carried(scores.scores),
        seeing_T,
        None if scores.per_head is None else carried(scores.per_head),
    )


def pair_on_tokens(
    large: TokenScores, small: TokenScores, tokens: TokenScores, text: str
) -> tuple[TokenScores, TokenScores]:
    """Both models' scores on the tokens of a third score set (or of one of the two), ready for `contrast`."""
    one_tokenizer = np.array_equal(large.token_ids, small.token_ids)
    large, small = (across_tokenizers(scores, tokens, text) for scores in (large, small))
    # Queries of two tokenizers are other tokens, so their counts cannot be compared token by token.
    return large, small if one_tokenizer else dataclasses.replace(small, queries=large.queries)


def _characters(text: str, offsets_T2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pair of a token and one of its characters, white space left out: the tokens, and the characters."""
    widths_T = np.maximum(offsets_T2[:, 1] - offsets_T2[:, 0], 0)
    tokens_N = np.repeat(np.arange(len(offsets_T2)), widths_T)
    first_N = np.repeat(np.cumsum(widths_T) - widths_T, widths_T)
    characters_N = offsets_T2[tokens_N, 0] + np.arange(len(tokens_N)) - first_N
    inked_N = ~np.fromiter(map(str.isspace, text), dtype=bool, count=len(text))[characters_N]
    return tokens_N[inked_N], characters_N[inked_N]


def _other_document(first: TokenScores, second: TokenScores) -> ElusiveError:
    return ElusiveError(
        f"Expected scores of the same document, got {first.document_id!r} and {second.document_id!r}. "
        "Score one corpus with both models."
    )


def _first_difference(first: np.ndarray, second: np.ndarray) -> int:
    length = min(len(first), len(second))
    different = np.flatnonzero(first[:length] != second[:length])
    return int(different[0]) if len(different) else length


def rank_tokens(signal: np.ndarray, rankable: np.ndarray, seen: np.ndarray) -> np.ndarray:
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
