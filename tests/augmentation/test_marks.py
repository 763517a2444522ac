"""Arms that act in training: the marks on their texts, by hand, and how they are written and read."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from elusive.augmentation.arms import ARMS, arm_named
from elusive.augmentation.copies import AugmentedDocument, augment_documents
from elusive.augmentation.draws import copy_generator
from elusive.augmentation.marked_copies import TextMaker
from elusive.augmentation.marks import TokenMarks, digest, marks_of
from elusive.augmentation.rankings import RankedDocument
from elusive.augmentation.stage import check_texts, write_augmented
from elusive.config.augmentation import AugmentSettings
from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Document, Span
from elusive.errors import ElusiveError
from elusive.runs.files import read_jsonl
from elusive.scoring.sets import entropy_set, pair_sets
from elusive.scoring.shards import TokenScores

TEXT = "Ada Byron wrote notes in London."
DOCUMENT = Document("ada", TEXT, (Span("name", 0, 9), Span("city", 25, 31)))
ACTING = tuple(name for name, arm in ARMS.items() if arm.marks)
SETTINGS = AugmentSettings(alpha=0.7, beta=0.05, copies=3, unseen_tokens="last")


def scores_of(document: Document, tokenizer: Any, seed: int) -> TokenScores:
    encoded = tokenizer(document.text, return_offsets_mapping=True)
    ids, offsets = (np.array(encoded[key], np.int32) for key in ("input_ids", "offset_mapping"))
    drawn = np.random.default_rng(seed).random(len(ids), dtype=np.float32)
    return TokenScores(document.id, ids, offsets, drawn, np.ones(len(ids), np.int32))


def augmented(tokenizer: Any, arm: str, **changed: Any) -> AugmentedDocument:
    names = (*pair_sets("cues"), entropy_set("large"))
    sets = {one: [scores_of(DOCUMENT, tokenizer, seed)] for seed, one in enumerate(names)}
    settings = dataclasses.replace(SETTINGS, **changed)
    [made] = augment_documents(
        [DOCUMENT], arm, sets, trained="large", tokenizer=tokenizer, score=ScoreSettings(), settings=settings
    )
    return made


def test_the_arms() -> None:
    assert {name: ARMS[name].marks for name in ACTING} == {
        "key-dropout-random": "hide_keys",
        "key-dropout-contrast": "hide_keys",
        "masked-random": "mask_inputs",
        "masked-contrast": "mask_inputs",
        "entrodrop": "mask_rising",
        "weighted-contrast": "weigh_loss",
        "weighted-answers": "weigh_loss",
        "random-unbroken": "weigh_loss",
        "contrast-cues-unbroken": "weigh_loss",
        "selective": "select_loss",
    }


@pytest.mark.parametrize("name", ACTING)
def test_what_they_depend_on(name: str) -> None:
    arm = ARMS[name]
    used = {one for one in ("alpha", "beta", "copies", "seed", "blank", "insert_share") if arm.uses(one)}
    drawn = {"copies", "seed"} if arm.copies else set()
    rates = {"weighted-answers": {"alpha"}, "entrodrop": {"alpha"}, "selective": set()}.get(name, {"alpha", "beta"})
    assert used == drawn | rates | ({"blank"} if name.endswith("unbroken") else set())
    settings = ("learning_rate", "mask_token", "mask_steepness", "selected_ratio", "reference")
    trained = {one for one in settings if arm.trains_with(one)}
    more = {
        "mask_inputs": {"mask_token"},
        "mask_rising": {"mask_token", "mask_steepness"},
        "select_loss": {"selected_ratio", "reference"},
    }
    assert trained == {"learning_rate"} | more.get(str(arm.marks), set())


@pytest.mark.parametrize("name", [*(f"{one}+reorder" for one in ACTING), "key-dropout-random+insert-head"])
def test_they_do_not_go_together_with_others(name: str) -> None:
    with pytest.raises(ElusiveError, match=r"none that acts in training \(key-dropout-"):
        arm_named(name)


@pytest.mark.parametrize("use", ["key-dropout", "masked"])
def test_what_dropout_would_drop_is_marked_and_the_text_stays(tokenizer: Any, use: str) -> None:
    marked, dropped = (augmented(tokenizer, arm) for arm in (f"{use}-contrast", "contrast-cues"))
    assert marked.ranked.drop_probability.tolist() == dropped.ranked.drop_probability.tolist()
    assert {text.text for text in marked.texts} == {TEXT}
    assert marked.texts[0].marks is None
    for copy in (1, 2, 3):
        drawn = copy_generator(0, "ada", copy).random(len(marked.ranked.token_ids))
        expected = (drawn < marked.ranked.drop_probability).astype(int).tolist()
        marks = marked.texts[copy].marks
        assert marks is not None
        assert marks.values.tolist() == expected
        assert marks.tokens == digest(tokenizer(TEXT)["input_ids"])
    assert (marked.dropped, marked.marked) == (0, dropped.dropped)
    assert all(one.intact == one.copies == 3 for one in marked.spans.values())


def test_masking_begins_at_a_strength_of_its_own_for_each_token(tokenizer: Any) -> None:
    made = augmented(tokenizer, "entrodrop", copies=40, low_entropy_share=0.25)
    entropies = scores_of(DOCUMENT, tokenizer, 2).scores
    rankable = np.flatnonzero(made.ranked.ranks)
    lowest = rankable[np.argsort(entropies[rankable])[: len(rankable) // 4]]
    expected = np.isin(np.arange(len(entropies)), lowest) * 0.7
    assert made.ranked.drop_probability.tolist() == expected.tolist()
    values = np.array([text.marks.values for text in made.texts[1:] if text.marks])
    assert {text.text for text in made.texts} == {TEXT}
    assert not values[:, expected == 0].any()
    at_half, at_all = ((values > 0) & (values <= strength) for strength in (0.5, 1.0))
    assert (at_all.sum(), made.marked) == (np.count_nonzero(values), np.count_nonzero(values))
    count = len(lowest) * 40
    assert at_all.sum() / count == pytest.approx(0.7, abs=0.1)
    assert at_half.sum() / count == pytest.approx(0.35, abs=0.1)
    assert (values[values > 0] > 0).all()


def test_the_random_twin_hides_at_the_guided_rate(tokenizer: Any) -> None:
    for use in ("key-dropout", "masked"):
        twin, guided = (augmented(tokenizer, f"{use}-{by}").ranked for by in ("random", "contrast"))
        assert twin.drop_probability.sum() == pytest.approx(guided.drop_probability.sum(), abs=1e-9)
    twin, guided = (augmented(tokenizer, f"{by}-unbroken") for by in ("random", "contrast-cues"))
    assert twin.ranked.drop_probability.sum() == pytest.approx(guided.ranked.drop_probability.sum(), abs=1e-9)


def test_weights_are_probabilities_to_stay(tokenizer: Any) -> None:
    made = augmented(tokenizer, "weighted-contrast")
    [text] = made.texts
    assert text.marks is not None
    assert text.marks.values.tolist() == pytest.approx((1 - made.ranked.drop_probability).tolist(), abs=1e-6)
    assert text.marks.values.min() < 0.75
    assert made.marked == pytest.approx(made.ranked.drop_probability.sum(), abs=1e-4)


def test_answers_weigh_more(tokenizer: Any) -> None:
    made = augmented(tokenizer, "weighted-answers", alpha=0.8)
    marks = made.texts[0].marks
    assert marks is not None

    def weights(words: str) -> set[float]:
        begin = TEXT.index(words)
        columns = zip(made.ranked.offsets.tolist(), marks.values.tolist(), strict=True)
        return {round(value, 6) for (start, end), value in columns if begin <= start < end <= begin + len(words)}

    assert weights("notes in") == {0.2}
    assert weights("Ada Byron") == {0.2}
    assert weights("London") == {1.0}
    assert weights(".") == {1.0}, "never dropped, so of full weight"


def test_answers_that_nobody_marked() -> None:
    with pytest.raises(ElusiveError, match="Arm weighted-answers looks at marked answers, but no document has any"):
        check_texts([Document("d", "Ada", (Span("name", 0, 3),))], ARMS["weighted-answers"], ScoreSettings(), SETTINGS)
    check_texts([DOCUMENT], ARMS["weighted-answers"], ScoreSettings(), SETTINGS)


def left_out(tokenizer: Any, kept: list[bool], text: str = "abc def ghi", **settings: Any) -> tuple[str, list[str]]:
    """A copy's text and the tokens of it whose loss is left out, of a text in tokens of one character."""
    encoded = tokenizer(text, return_offsets_mapping=True)
    ids, offsets = (np.array(encoded[key], np.int32) for key in ("input_ids", "offset_mapping"))
    ranked = RankedDocument("d", text, ids, offsets, np.zeros(len(ids), np.int32), np.zeros(len(ids)))
    maker = TextMaker(tokenizer, AugmentSettings(**settings), ARMS["random-unbroken"])
    [copy] = maker.copies(ranked, np.array([kept]), [1])
    assert copy.marks is not None
    again = tokenizer(copy.text, return_offsets_mapping=True)
    assert copy.marks.tokens == digest(again["input_ids"])
    pieces = [copy.text[start:end] for start, end in again["offset_mapping"]]
    return copy.text, [piece for piece, value in zip(pieces, copy.marks.values.tolist(), strict=True) if value == 0]


@pytest.fixture(scope="module")
def characters() -> PreTrainedTokenizerFast:
    """A tokenizer of single characters, behind a bos; "x" and "y" side by side become one token."""
    vocabulary = {"<s>": 0, "xy": 1, **{letter: 2 + n for n, letter in enumerate([*"abcdefxy", "\u0120"])}}
    made = Tokenizer(models.BPE(vocabulary, [("x", "y")]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>")


@pytest.mark.parametrize(
    ("text", "kept", "copy", "expected"),
    [
        ("abcdef", "1.11111", "bcdef", ["b"]),  # the first of the text: nothing of it stands before
        ("abcdef", "111..11", "abef", ["e"]),
        ("abcdef", "11.1.1.", "ace", ["c", "e"]),  # behind the last, the end of the text counts
        ("abcdef", "1111111", "abcdef", []),
        ("abcdef", "1......", "", []),
        ("axbyc", "111.11", "axyc", ["xy"]),  # x and y have become one token
        ("xayxy", "11.111", "xyxy", ["xy"]),
    ],
)
def test_labels_behind_a_gap_are_left_out(
    characters: Any, text: str, kept: str, copy: str, expected: list[str]
) -> None:
    stays = [one == "1" for one in kept][: len(characters(text)["input_ids"])]
    assert left_out(characters, stays, text) == (copy, expected)


def test_labels_in_and_behind_blanks_are_left_out(characters: Any) -> None:
    stays = [one == "1" for one in "11..1111"]
    assert left_out(characters, stays, "abc def", blank=True) == ("a   def", [" ", " ", " ", "d"])


def test_the_texts_of_unbroken_arms_are_those_of_the_arms(tokenizer: Any) -> None:
    own, dropped = augmented(tokenizer, "contrast-cues-unbroken"), augmented(tokenizer, "contrast-cues")
    assert [text.text for text in own.texts] == [text.text for text in dropped.texts]
    assert own.dropped == dropped.dropped > 0
    assert own.texts[0].marks is None
    assert all(text.marks and text.marks.acts for text in own.texts[1:])


@pytest.mark.parametrize("arm", ["plain", "contrast-cues", *ACTING])
def test_files(tokenizer: Any, tmp_path: Path, arm: str) -> None:
    made = augmented(tokenizer, arm)
    figures = write_augmented(tmp_path, [made], arm, SETTINGS)
    rows = list(read_jsonl(tmp_path / "train.jsonl"))
    marked = ARMS[arm].marks is not None
    assert pq.read_schema(tmp_path / "train.parquet").names == ["text", "id", "copy", "arm", *["token_marks"] * marked]
    for row, text, other in zip(rows, made.texts, pq.read_table(tmp_path / "train.parquet").to_pylist(), strict=True):
        assert ("token_marks" in row) is marked
        assert marks_of(row) == text.marks
        assert marks_of(other) == text.marks
    assert figures.unchanged == 0
    assert (figures.mean_drop_rate > 0) is ARMS[arm].deletes
    assert (figures.mean_mark_rate > 0) is (marked and arm != "selective")


def test_the_mark_rate_by_hand(tokenizer: Any, tmp_path: Path) -> None:
    made = augmented(tokenizer, "masked-random", alpha=1.0, beta=99.0)  # all that may be
    figures = write_augmented(tmp_path, [made], "masked-random", SETTINGS)
    assert (figures.mean_drop_rate, figures.mean_mark_rate) == (0.0, 1.0)
    assert figures.rates_in_words() == "mean drop rate 0.000, mean mark rate 1.000"
    nothing = augmented(tokenizer, "masked-random", alpha=0.0)
    assert write_augmented(tmp_path, [nothing], "masked-random", SETTINGS).unchanged == 1.0


MARKS = {"use": "hide_keys", "tokens": "0" * 16, "values": [0, 1]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            [1, 2],
            "expected a table with `use` = hide_keys | mask_inputs | mask_rising | weigh_loss | select_loss, "
            "got [1, 2]",
        ),
        (MARKS | {"use": "hide"}, "expected a table with `use` = hide_keys"),
        ({"use": "hide_keys"}, "expected `tokens`, a digest, and `values`, a number of 0 or more for each token"),
        (MARKS | {"values": ["1"]}, "expected `tokens`, a digest, and `values`, a number of 0 or more"),
        (MARKS | {"values": [True]}, "expected `tokens`, a digest, and `values`, a number of 0 or more"),
        (MARKS | {"values": [-1]}, "expected `tokens`, a digest, and `values`, a number of 0 or more"),
        (MARKS | {"values": [float("nan")]}, "expected `tokens`, a digest, and `values`, a number of 0 or more"),
        (MARKS | {"tokens": 5}, "expected `tokens`, a digest, and `values`, a number of 0 or more"),
        (MARKS | {"use": "mask_rising", "values": [1.5]}, "expected a number from 0 to 1 for each token with `use` ="),
        (MARKS | {"values": [0.5, 1]}, "expected 0 or 1 for each token with `use` = hide_keys"),
    ],
)
def test_what_is_no_mark(given: Any, message: str) -> None:
    with pytest.raises(ElusiveError) as caught:
        marks_of({"token_marks": given})
    assert str(caught.value).startswith(f"token_marks: {message}")


def test_marks_survive_json_to_the_bit() -> None:
    marks = TokenMarks.of("weigh_loss", [5, 6, 7], np.array([1 / 3, 1.0, 0.7 * (1 - np.exp(-0.05))]))
    again = marks_of(json.loads(json.dumps({"token_marks": marks.row})))
    assert again == marks
    assert again is not None
    assert again.values.tobytes() == marks.values.tobytes()
    assert marks.row["values"] == [0.333333, 1, 0.034139]
    assert marks_of({}) is None
