"""Kept tokens back to text: whatever the way, it is what `tokenizer.decode` gives."""

from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from elusive.augmentation.decoding import text_decoder
from elusive.models.loading import load_tokenizer

TEXT = ' Zoë said "Añb\u2028c" 😀,\n\ttwice . No , really: e\u0301 — 東京.  Ġot <extra one> 中\x00\x7f'


def defined(tokenizer: Any, ids: np.ndarray, kept_CT: np.ndarray) -> list[str]:
    return [tokenizer.decode(ids[kept].tolist(), clean_up_tokenization_spaces=False) for kept in kept_CT]


def byte_level(**parts: Any) -> PreTrainedTokenizerFast:
    """One entry a byte, so that any cut through a character can happen; and added tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = parts.get("decoder", decoders.ByteLevel())
    made.add_special_tokens([AddedToken("<bos>", special=True), AddedToken("<|end of text|>", special=True)])
    made.add_tokens([AddedToken("<extra one>"), AddedToken("Ġot"), AddedToken("中")])
    return parts.get("kind", PreTrainedTokenizerFast)(tokenizer_object=made, bos_token="<bos>", **parts.get("with", {}))


def pieces(decoder: Any) -> PreTrainedTokenizerFast:
    """Words with sentencepiece's space, bytes, and continuations, under a decoder of another kind."""
    words = ["<unk>", "▁Hello", "▁", "world", "▁world", "##ly", ",", ".", "n't", " ,"]
    words += [f"<0x{number:02X}>" for number in range(256)]
    made = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, [], unk_token="<unk>"))
    made.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", clean_up_tokenization_spaces=True)


def way(tokenizer: Any) -> str:
    return text_decoder(tokenizer).__qualname__.split(".")[0]


class TestByteLevel:
    @pytest.mark.parametrize("name", ["elusive/large", "bytes"])
    def test_any_draw_decodes_as_the_tokenizer_does(self, name: str) -> None:
        tokenizer = byte_level() if name == "bytes" else load_tokenizer(name)
        assert way(tokenizer) == "_by_bytes"
        decode = text_decoder(tokenizer)
        ids = np.array(tokenizer(TEXT * 3)["input_ids"], np.int32)
        kept_CT = np.random.default_rng(0).random((300, len(ids))) >= np.linspace(0, 1, 300)[:, None]
        texts = decode(ids, kept_CT)
        assert texts == defined(tokenizer, ids, kept_CT)
        assert texts[0].replace("<bos>", "") == str(tokenizer.decode(ids)).replace("<bos>", "")
        assert sum("\ufffd" in text for text in texts) > 100  # broken sequences did occur

    def test_any_ids_in_any_order(self) -> None:
        tokenizer = byte_level()
        generator = np.random.default_rng(1)
        for _ in range(300):
            ids = generator.integers(0, len(tokenizer), 60)  # of all bytes, special and added tokens
            kept_CT = generator.random((2, 60)) >= 0.3
            assert text_decoder(tokenizer)(ids, kept_CT) == defined(tokenizer, ids, kept_CT)

    def test_ids_that_stand_for_nothing(self) -> None:
        tokenizer = byte_level()
        ids, kept_CT = np.array([3, 5000, 4]), np.ones((1, 3), bool)
        assert text_decoder(tokenizer)(ids, kept_CT) == defined(tokenizer, ids, kept_CT)

    def test_nothing_kept(self) -> None:
        assert text_decoder(byte_level())(np.array([3, 4]), np.zeros((2, 2), bool)) == ["", ""]
        assert text_decoder(byte_level())(np.array([3, 4]), np.zeros((0, 2), bool)) == []

    def test_a_sequence_of_one(self) -> None:
        assert way(byte_level(decoder=decoders.Sequence([decoders.ByteLevel()]))) == "_by_bytes"


class TestOthers:
    @pytest.mark.parametrize(
        "decoder",
        [
            decoders.Metaspace(),
            decoders.WordPiece(cleanup=True),
            decoders.ByteFallback(),
            decoders.Sequence(  # Llama 2's
                [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
            ),
            decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)]),
            None,
        ],
        ids=lambda decoder: type(decoder).__name__,
    )
    def test_are_decoded_by_the_library(self, decoder: Any) -> None:
        tokenizer = pieces(decoder)
        assert way(tokenizer) == "text_decoder"
        generator = np.random.default_rng(2)
        ids = generator.integers(0, len(tokenizer), 80)
        ids[::3] = generator.integers(0, 10, len(ids[::3]))
        kept_CT = generator.random((50, 80)) >= 0.4
        assert text_decoder(tokenizer)(ids, kept_CT) == defined(tokenizer, ids, kept_CT)

    @pytest.mark.parametrize("name", ["decode", "_decode"])
    def test_a_class_with_a_way_of_its_own(self, name: str) -> None:
        def loud(self: Any, *given: Any, **options: Any) -> str:
            return getattr(PreTrainedTokenizerFast, name)(self, *given, **options).upper()

        tokenizer = byte_level(kind=type("Loud", (PreTrainedTokenizerFast,), {name: loud}))
        ids = np.array(tokenizer("abc")["input_ids"])
        assert text_decoder(tokenizer)(ids, np.ones((1, 3), bool)) == ["ABC"]
