# ruff: noqa: RUF001 (letters of other scripts)
"""Copies hold no character that their document does not, whatever the script and however tokens cut it."""

import numpy as np
import pytest
import regex
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from transformers import PreTrainedTokenizerFast

from elusive.augmentation.characters import first_tokens_of_characters, joined_at_characters
from elusive.augmentation.draws import kept_tokens
from elusive.augmentation.edits import CopyWriter
from elusive.augmentation.rankings import RankedDocument
from elusive.augmentation.units import first_tokens_of_units
from elusive.config.augmentation import AugmentSettings, Unit
from elusive.models.loading import load_tokenizer
from tests.tiny_models import tiny_tokenizer

TEXTS = {
    "Hindi": "महात्मा गांधी का जन्म १८६९ में पोरबंदर में हुआ था। उन्होंने क्षत्रिय इतिहास पढ़ा।",
    "Arabic": "وُلِدَ ابن سينا قرب بخارى عام ٩٨٠. كتب «القانون في الطب».",
    "traditional Chinese": "國立臺灣大學於一九二八年創立，位於臺北市。其校訓為「敦品勵學」。　校園廣大。",
    "Japanese": "東京タワーは1958年に完成した。高さは３３３ｍです。ﾊﾟﾝ",
    "Thai": "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย ที่นี่มีน้ำ",
    "Korean": "서울대학교는 1946년에 설립되었다. 한글",
    "emoji": "Team 👩‍👩‍👧‍👦 from 🇩🇪🇫🇷 won 👍🏽 ❤️ and 1️⃣ place 🏆!",
    "units": "The park has 12 km², 5 µm dust, 30 °C and ½ of a “field” — naïve café.",
    "decomposed": "Cafe\u0301 Zu\u0308rich, A\u030angstro\u0308m",
    "Burmese, Khmer, Tibetan": "မြန်မာနိုင်ငံ ភាសាខ្មែរ བོད་སྐད་",
    "old scripts": "𐎠𐎡 𓀀𓂀 𝔄𝔅 𠀀𠮷",
    "line ends": "é\r\nü\u2028ö\u00a0x\u3000一",
}


def single_bytes() -> PreTrainedTokenizerFast:
    """A token for each byte."""
    vocabulary = {piece: number for number, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    raw = Tokenizer(BPE(vocabulary, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    raw.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=raw)


def byte_fallback() -> PreTrainedTokenizerFast:
    """Sentencepiece's way: a few letters, and bytes for all others."""
    pieces = ["<unk>", "▁", *(f"<0x{value:02X}>" for value in range(256)), *"aeiournst"]
    raw = Tokenizer(
        BPE({piece: number for number, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    )
    raw.normalizer = normalizers.Replace(" ", "▁")  # type: ignore[assignment]
    raw.decoder = decoders.Sequence(  # type: ignore[assignment]
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>")


TOKENIZERS = {
    "single bytes": single_bytes,
    "byte fallback": byte_fallback,
    "embedded": lambda: load_tokenizer("elusive/large"),
    "tiny": tiny_tokenizer,
    "tiny, offsets with spaces": lambda: tiny_tokenizer(trim_offsets=False),
}


def ranked(tokenizer: PreTrainedTokenizerFast, text: str) -> RankedDocument:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = np.array(encoded["input_ids"], dtype=np.int32)
    zeros = np.zeros(len(ids))
    return RankedDocument("d", text, ids, np.array(encoded["offset_mapping"]), zeros.astype(np.int32), zeros)


def is_cut_from(copy: str, text: str) -> bool:
    """Whether a copy is what remains of a text without some of its characters, white space set aside."""
    place, copy = 0, "".join(copy.split())
    for character in regex.findall(r"\X", text):
        kept = "".join(character.split())
        place += len(kept) if copy.startswith(kept, place) else 0
    return place == len(copy)


@pytest.mark.parametrize("reorders", [False, True])
@pytest.mark.parametrize("unit", ["token", "word", "phrase"])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_copies_are_made_of_whole_characters_of_their_document(name: str, unit: Unit, reorders: bool):
    tokenizer = TOKENIZERS[name]()
    writer = CopyWriter(tokenizer, AugmentSettings(unit=unit), reorders)
    generator = np.random.default_rng(0)
    for script, text in TEXTS.items():
        document = ranked(tokenizer, text)
        special = ~writer.text_tokens(document)
        units = first_tokens_of_units(unit, text, document.offsets, special)
        white = np.array([not text[start:end].strip() for start, end in document.offsets.tolist()])
        chances = [np.where(white | special, 0.0, chance) for chance in (0.1, 0.3, 0.6, 0.9)]
        kept_CT = np.array([kept_tokens(chance, generator, units) for chance in chances])
        for copy in writer.texts(document, kept_CT, range(1, 5)):
            assert set(copy) <= set(text), (script, copy)
            assert reorders or is_cut_from(copy, text), (script, copy)


def test_single_tokens_would_cut_characters():
    """What the test above looks for is there where each token is dropped by itself."""
    tokenizer = single_bytes()
    document = ranked(tokenizer, TEXTS["Hindi"])
    kept = np.arange(len(document.token_ids)) % 5 > 0
    writer = CopyWriter(tokenizer, AugmentSettings())
    assert "\ufffd" in writer.decode(document.token_ids, kept[None])[0]
    # Such a copy is never written: it is cut out of the text instead.
    [copy] = writer.texts(document, kept[None], [1])
    assert set(copy) <= set(document.text)


@pytest.mark.parametrize(
    ("text", "pieces", "firsts"),
    [
        ("ab", ["a", "b"], None),
        ("é 한 你", ["é", " 한", " ", "你"], None),
        ("e\u0301x", ["e", "\u0301", "x"], [0, 0, 2]),
        ("क्षि त", ["क", "्", "षि", " त"], [0, 0, 0, 3]),
        ("🇩🇪🇫🇷", ["🇩", "🇪", "🇫", "🇷"], [0, 0, 2, 2]),
        ("👩‍👧", ["👩", "\u200d", "👧"], [0, 0, 0]),
        ("é\r\nö", ["é", "\r", "\n", "ö"], None),  # white space is none
    ],
)
def test_characters_by_hand(text: str, pieces: list[str], firsts: list[int] | None):
    ends = np.cumsum([len(piece) for piece in pieces])
    offsets = np.stack([ends - [len(piece) for piece in pieces], ends], axis=1)
    found = first_tokens_of_characters(text, offsets, np.zeros(len(pieces), bool))
    assert (None if found is None else found.tolist()) == firsts


def test_a_token_with_a_part_of_the_next_character_joins_both():
    # a, the first byte of é with b, its second byte, c
    offsets = np.array([[0, 1], [1, 3], [2, 3], [3, 4]])
    assert first_tokens_of_characters("abéc", offsets, np.zeros(4, bool)).tolist() == [0, 1, 1, 3]  # type: ignore[union-attr]
    assert first_tokens_of_characters("", np.zeros((0, 2), int), np.zeros(0, bool)) is None


def test_a_word_border_within_a_character_is_none():
    assert joined_at_characters(np.array([0, 1, 2, 2, 4]), np.array([0, 1, 1, 3, 4])).tolist() == [0, 1, 1, 1, 4]
    # The default rules see a word border before the vowel of "นำ", whose characters make one.
    offsets, text = np.array([[0, 1], [1, 2]]), "นำ"
    assert first_tokens_of_units("word", text, offsets, np.zeros(2, bool)).tolist() == [0, 0]  # type: ignore[union-attr]


def test_a_tokenizer_that_folds_case_gives_the_documents_own_letters():
    raw = Tokenizer(WordLevel({"ada": 0, "was": 1, "born": 2, "[UNK]": 3}, unk_token="[UNK]"))
    raw.normalizer = normalizers.Lowercase()  # type: ignore[assignment]
    raw.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]")
    document = ranked(tokenizer, "Ada WAS born")
    kept = np.array([[True, True, True], [True, False, True]])
    assert CopyWriter(tokenizer, AugmentSettings()).texts(document, kept, [1, 2]) == ["Ada WAS born", "Ada born"]
