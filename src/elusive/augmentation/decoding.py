"""Token ids back to text for many selections of one text's tokens, as `tokenizer.decode` does it."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

Decoder = Callable[[np.ndarray, np.ndarray], list[str]]
"""From token ids, (tokens,), and which of them each copy keeps, bool (copies, tokens), to each copy's text."""


def text_decoder(tokenizer: PreTrainedTokenizerFast) -> Decoder:
    """The fastest way from token ids to text that this tokenizer's own decoder allows.

    All give what `tokenizer.decode(ids, clean_up_tokenization_spaces=False)` gives, special tokens included (no draw
    has dropped the spaces that some tokenizers would clean up). Which way is decided by the decoder's type:

    - byte-level (GPT-2, Llama 3, Qwen ...): each token is a piece of bytes whatever stands beside it, so the pieces
      are joined and read as UTF-8, broken sequences as U+FFFD.
    - any other (Metaspace, ByteFallback, WordPiece ...): the tokenizers library decodes all copies in one call.
    - a tokenizer class with a `decode` of its own: that, one copy after the other.
    """
    if any(getattr(type(tokenizer), name) is not getattr(PreTrainedTokenizerFast, name) for name in _DECODE):
        return _one_by_one(tokenizer)
    backend = tokenizer.backend_tokenizer
    if backend.decoder is not None and _is_byte_level(json.loads(backend.decoder.__getstate__())):
        return _by_bytes(backend)
    return lambda token_ids, kept_CT: backend.decode_batch(
        [token_ids[kept].tolist() for kept in kept_CT], skip_special_tokens=False
    )


_DECODE = ("decode", "_decode")


def _is_byte_level(decoder: dict[str, Any]) -> bool:
    if decoder["type"] == "Sequence":
        return len(decoder["decoders"]) == 1 and _is_byte_level(decoder["decoders"][0])
    return decoder["type"] == "ByteLevel"


_BYTE_OF = {character: bytes([value]) for value, character in bytes_to_unicode().items()}


class _Pieces(dict[int, bytes]):
    """The bytes of each token, looked up when first needed."""

    def __init__(self, backend: Any) -> None:
        super().__init__()
        self.backend = backend

    def __missing__(self, token_id: int) -> bytes:
        token = self.backend.id_to_token(token_id) or ""  # decoding passes over ids that stand for nothing
        if all(character in _BYTE_OF for character in token):
            piece = b"".join(_BYTE_OF[character] for character in token)
        else:  # an added token that holds a space or the like is taken as it is
            piece = token.encode()
        self[token_id] = piece
        return piece


def _by_bytes(backend: Any) -> Decoder:
    pieces = _Pieces(backend)

    def decode(token_ids: np.ndarray, kept_CT: np.ndarray) -> list[str]:
        pieces_T = [pieces[token_id] for token_id in token_ids.tolist()]
        # A row as bytes of 0 and 1 is iterated faster than the array itself.
        return [
            b"".join(itertools.compress(pieces_T, kept.tobytes())).decode("utf-8", errors="replace") for kept in kept_CT
        ]

    return decode


def _one_by_one(tokenizer: PreTrainedTokenizerFast) -> Decoder:
    return lambda token_ids, kept_CT: [
        str(tokenizer.decode(token_ids[kept].tolist(), clean_up_tokenization_spaces=False)) for kept in kept_CT
    ]
