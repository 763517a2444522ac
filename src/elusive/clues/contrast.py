"""The contrast: what the large model attends to and the small one overlooks."""

import numpy as np
from jaxtyping import Float32

from elusive.errors import ElusiveError
from elusive.scoring.shards import TokenScores


def contrast(large: TokenScores, small: TokenScores) -> Float32[np.ndarray, " tokens"]:
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
    check_contrast(large, small)
    return large.scores - small.scores


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
