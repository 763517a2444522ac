"""The contrast: what the large model attends to and the small one overlooks."""

import numpy as np
from jaxtyping import Float, Float32

from elusive.config.augmentation import ContrastSignal
from elusive.errors import ElusiveError
from elusive.scoring.shards import TokenScores

LEAST = 1e-6
"""Attention below which a ratio says nothing: about what float32 leaves of a softmax over a long text."""


def contrast(
    large: TokenScores, small: TokenScores, signal: ContrastSignal = "difference"
) -> Float32[np.ndarray, " tokens"]:
    """What the large model attends to and the small one overlooks: s_large - s_small, or the logarithm of their ratio.

    Args:
        large: scores of the large model.
        small: scores of the small model for the same document and queries.
        signal: difference (the paper's) or ratio.

    Returns:
        float32, (tokens,).

    Raises:
        ElusiveError: if documents, token ids or queries differ; models contrast only where their tokens agree.

    Reference:
        d(k) in the paper's "Contrasting attention of large and small language models".
    """
    check_contrast(large, small)
    return contrasted(large.scores, small.scores, signal)


def contrasted(
    large: Float[np.ndarray, "*any"], small: Float[np.ndarray, "*any"], signal: ContrastSignal
) -> Float[np.ndarray, "*any"]:
    """The contrast of two models' scores, number by number.

    A difference is led by tokens to which both models attend much. A ratio finds those that the large model attends to
    many times more than the small one, however little that is.

    Example:
        >>> contrasted(np.array([0.6, 0.02]), np.array([0.5, 0.01]), "difference").round(2)
        array([0.1 , 0.01])
        >>> contrasted(np.array([0.6, 0.02]), np.array([0.5, 0.01]), "ratio").round(2)
        array([0.18, 0.69])
    """
    return np.log(large + LEAST) - np.log(small + LEAST) if signal == "ratio" else large - small


def contrast_rows(large: TokenScores, small: TokenScores, signal: ContrastSignal) -> Float32[np.ndarray, "rows tokens"]:
    """The contrast at the queries of each sentence alone.

    Raises:
        ElusiveError: as `contrast`, if sentences were not kept, or the two models' queries stand in different ones.
    """
    check_contrast(large, small)
    one, other = large.by_sentence(), small.by_sentence()
    if not np.array_equal(one.sentences, other.sentences):
        raise ElusiveError(
            f"The two models' queries in document {large.document_id!r} stand in different sentences, because their "
            "tokens differ. Choose two models of one family."
        )
    return contrasted(one.rows, other.rows, signal)


def check_contrast(large: TokenScores, small: TokenScores) -> None:
    """Refuse scores that cannot be contrasted.

    Raises:
        ElusiveError: as `contrast`.
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


def _other_document(first: TokenScores, second: TokenScores) -> ElusiveError:
    return ElusiveError(
        f"Expected scores of the same document, got {first.document_id!r} and {second.document_id!r}. "
        "Score one corpus with both models."
    )


def _first_difference(first: np.ndarray, second: np.ndarray) -> int:
    length = min(len(first), len(second))
    different = np.flatnonzero(first[:length] != second[:length])
    return int(different[0]) if len(different) else length
