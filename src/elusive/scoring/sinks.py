"""Attention sinks: the token at the front of a text that takes up attention which no other token needs.

Heads that find nothing to attend to put their attention on the first position. Where the tokenizer puts a special token
there (bos), that is never ranked anyway. Where it adds none, the text's own first token is the sink, and what it
receives says nothing of the text: it took a third to a half of each row in the Qwen2.5 models that were measured.

Reference:
    Xiao et al. 2024, "Efficient streaming language models with attention sinks", arXiv 2309.17453.
"""

import numpy as np
from jaxtyping import Bool
from transformers import PreTrainedTokenizerFast

from elusive.config.scoring import Sink
from elusive.models.special_tokens import special_token_ids


def first_token_is_sink(tokenizer: PreTrainedTokenizerFast, sink: Sink = "auto") -> bool:
    """Whether the first token of each text is taken as the attention sink.

    Args:
        tokenizer: the model's.
        sink: the setting score.sink; auto: where the tokenizer puts no special token before a text.
    """
    if sink == "auto":
        return not adds_special_front(tokenizer)
    return sink == "first-token"


def adds_special_front(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether a tokenizer puts a special token (bos) before a text."""
    ids = tokenizer("a", add_special_tokens=True)["input_ids"]
    return ids[:1] != [] and ids[0] in special_token_ids(tokenizer)  # type: ignore[index]


def front_tokens(special_T: Bool[np.ndarray, " tokens"], first_token_is_sink: bool) -> int:
    """How many tokens at the front of a text are special or its sink.

    Example:
        >>> front_tokens(np.array([True, False, False]), False), front_tokens(np.array([False, False]), True)
        (1, 1)
    """
    return int(np.argmin(special_T)) + first_token_is_sink


def sink_in_words(tokenizer: PreTrainedTokenizerFast, sink: Sink) -> str:
    """What is done about the sink of a model's texts; empty where nothing is."""
    if not first_token_is_sink(tokenizer, sink):
        return ""
    why = "its tokenizer adds no bos: " if sink == "auto" else ""
    return f"{why}the first token of each text is taken as the attention sink and left out of ranks"
