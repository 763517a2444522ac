"""Scores carried over from one tokenizer's tokens to another's, by their characters."""

import dataclasses

import numpy as np

from elusive.scoring.shards import TokenScores

from .contrast import _other_document


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
        count is the largest among its characters. `per_head` and `rows`, where they are, are carried over too.

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

    def largest(counts_T: np.ndarray) -> np.ndarray:
        seeing_C, seeing_T = np.zeros(len(text), dtype=np.int32), np.zeros(len(tokens.offsets), dtype=np.int32)
        np.maximum.at(seeing_C, at_N, counts_T[given_N])
        np.maximum.at(seeing_T, taking_M, seeing_C[from_M])
        return seeing_T

    row_queries = None
    if scores.row_queries is not None:
        row_queries = np.array([largest(counts_T) for counts_T in scores.row_queries], dtype=np.int32)
        row_queries = row_queries.reshape(-1, len(tokens.offsets))
    return dataclasses.replace(
        scores,
        token_ids=tokens.token_ids,
        offsets=tokens.offsets,
        scores=carried(scores.scores),
        queries=largest(scores.queries),
        per_head=None if scores.per_head is None else carried(scores.per_head),
        rows=None if scores.rows is None else carried(scores.rows),
        row_queries=row_queries,
    )


def pair_on_tokens(
    large: TokenScores, small: TokenScores, tokens: TokenScores, text: str
) -> tuple[TokenScores, TokenScores]:
    """Both models' scores on the tokens of a third score set (or of one of the two), ready for `contrast`."""
    one_tokenizer = np.array_equal(large.token_ids, small.token_ids)
    large, small = (across_tokenizers(scores, tokens, text) for scores in (large, small))
    if one_tokenizer:
        return large, small
    # Queries of two tokenizers are other tokens, so their counts cannot be compared token by token.
    small = dataclasses.replace(small, queries=large.queries)
    if large.sentences is None or small.sentences is None or not np.array_equal(large.sentences, small.sentences):
        return large, small
    return large, dataclasses.replace(small, row_queries=large.row_queries)


def _characters(text: str, offsets_T2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pair of a token and one of its characters, white space left out: the tokens, and the characters."""
    widths_T = np.maximum(offsets_T2[:, 1] - offsets_T2[:, 0], 0)
    tokens_N = np.repeat(np.arange(len(offsets_T2)), widths_T)
    first_N = np.repeat(np.cumsum(widths_T) - widths_T, widths_T)
    characters_N = offsets_T2[tokens_N, 0] + np.arange(len(tokens_N)) - first_N
    inked_N = ~np.fromiter(map(str.isspace, text), dtype=bool, count=len(text))[characters_N]
    return tokens_N[inked_N], characters_N[inked_N]
