"""The definition: mean attention that each token receives."""

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from elusive.errors import ElusiveError


def received_attention(attention_LHQK: Float[Tensor, "L H T T"]) -> Float32[Tensor, " T"]:
    """Mean attention that each token receives from itself and every later token.

    Rows of a causal attention map sum to 1 whatever the text says, so importance is read down the
    columns; token k of n is seen by n - k queries, and dividing by that count keeps early tokens
    from winning only because more of the text can see them.

    Args:
        attention_LHQK: softmax weights of one unpadded text, (layers, heads, tokens, tokens).

    Returns:
        float32 scores in [0, 1], (tokens,).

    Raises:
        ElusiveError: if the shape is wrong or a token attends to a later one.

    Reference:
        Gao et al. 2025, arXiv 2409.17954; s(k) in the reading notes, Q = all.

    Example:
        >>> received_attention(torch.tensor([[1.00, 0.00], [0.25, 0.75]])[None, None])
        tensor([0.6250, 0.7500])
    """
    shape = tuple(attention_LHQK.shape)
    if len(shape) != 4 or shape[2] != shape[3] or 0 in shape:
        raise ElusiveError(f"attention_LHQK: expected (layers, heads, tokens, tokens), got shape {shape}.")
    attention_QK = attention_LHQK.float().mean(dim=(0, 1))
    later = attention_LHQK.triu(1).ne(0).any(dim=0).any(dim=0).nonzero()
    if len(later):
        q, k = later[0].tolist()
        raise ElusiveError(
            f"attention_LHQK: expected causal attention, but token {q} attends to the later token {k}. "
            "Give the attention of a decoder, without padding."
        )
    tokens = shape[2]
    return attention_QK.sum(0) / torch.arange(tokens, 0, -1, device=attention_QK.device)
