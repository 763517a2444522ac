"""Rows with marks: what each means to a batch, and trainings on them from the file to the weights."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPTJConfig, GPTJForCausalLM, PreTrainedTokenizerFast

from elusive.augmentation.marks import MarkedText, MarkUse, TokenMarks
from elusive.config.models import ModelRef
from elusive.config.training import TrainSettings
from elusive.errors import ElusiveError
from elusive.models.loading import load_model
from elusive.runs.files import read_json, read_jsonl, write_jsonl
from elusive.training.fresh import FreshCopies, FreshDropoutCollator, fresh_rows
from elusive.training.marked_rows import MarkedRow, RowCollator, marked_rows, mask_token_id
from elusive.training.sequences import tokenize_rows
from elusive.training.stage import train
from elusive.training.texts import TrainingTexts
from elusive.training.trainer import Steps

from .. import loaded
from .test_fresh import write as write_fresh
from .test_stage import TEXTS, tiny_model, trained_weights

USES: tuple[MarkUse, ...] = ("hide_keys", "mask_inputs", "mask_rising", "weigh_loss", "select_loss")


def values(use: MarkUse, count: int, number: int, share: float = 0.4) -> np.ndarray:
    if use == "select_loss":
        return np.ones(count)
    drawn = np.random.default_rng([number, count]).random(count)
    drawn[0] = 0.99  # a bos is never dropped
    if use == "mask_rising":
        return np.where(drawn < share, drawn / (share or 1), 0.0)
    return (drawn if share else np.ones(count)) if use == "weigh_loss" else drawn < share


def marked(tokenizer: Any, use: MarkUse, share: float = 0.4) -> list[MarkedText]:
    """The texts, the first of them without marks."""
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    marks = [TokenMarks.of(use, one, values(use, len(one), n, share)) for n, one in enumerate(ids)]
    return [MarkedText(TEXTS[0]), *map(MarkedText, TEXTS[1:], marks[1:])]


def write(path: Path, texts: list[MarkedText]) -> Path:
    rows = ({"text": text, "token_marks": marks and marks.row} for text, marks in texts)
    write_jsonl(path, rows)
    return path


@pytest.fixture
def model_folder(tokenizer: Any, tmp_path: Path) -> str:
    tiny_model(tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def plain_file(tmp_path: Path) -> Path:
    return write(tmp_path / "plain.jsonl", [MarkedText(text) for text in TEXTS])


def same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max((one[name] - other[name]).abs().max().item() for name in one)


class TestRows:
    def test_pieces_of_a_long_text_carry_their_marks(self, tokenizer: Any) -> None:
        ids = tokenizer(TEXTS[1])["input_ids"]
        marks = TokenMarks.of("weigh_loss", ids, np.arange(len(ids)) / 100)
        whole, *others = marked_rows([MarkedText(TEXTS[1], marks)], tokenizer, 1000)
        assert others == []
        assert isinstance(whole, MarkedRow)
        assert whole.values.tolist() == pytest.approx([*np.arange(len(ids)) / 100, 1.0]), "eos counts in full"
        pieces = marked_rows([MarkedText(TEXTS[1], marks)], tokenizer, 5)
        assert len(pieces) == 3
        assert all(isinstance(piece, MarkedRow) and len(piece.values) == len(piece) <= 5 for piece in pieces)
        for name in ("token_ids", "values"):
            assert np.concatenate([getattr(piece, name) for piece in pieces]).tolist() == getattr(whole, name).tolist()

    def test_an_end_of_text_is_neither_hidden_nor_masked(self, tokenizer: Any) -> None:
        ids = tokenizer(TEXTS[1])["input_ids"]
        for use in ("hide_keys", "mask_inputs"):
            [row] = marked_rows([MarkedText(TEXTS[1], TokenMarks.of(use, ids, np.ones(len(ids))))], tokenizer, 1000)
            assert isinstance(row, MarkedRow)
            assert row.values.tolist() == [1.0] * len(ids) + [0.0]

    def test_marks_that_do_nothing_make_plain_rows(self, tokenizer: Any) -> None:
        for use in ("hide_keys", "mask_inputs", "weigh_loss"):
            rows = marked_rows(marked(tokenizer, use, share=0.0), tokenizer, 64)
            expected = tokenize_rows(TEXTS, tokenizer, 64)
            assert all(np.array_equal(row, other) for row, other in zip(rows, expected, strict=True))  # type: ignore[arg-type]

    @pytest.mark.parametrize("share", [0.0, 0.4])
    def test_a_text_that_was_edited_is_refused(self, tokenizer: Any, tmp_path: Path, share: float) -> None:
        texts = marked(tokenizer, "hide_keys", share)
        for edited in (texts[3].text.replace("3", "4"), texts[3].text + " It", texts[3].text[:-1]):
            path = write(tmp_path / "train.jsonl", [*texts[:3], MarkedText(edited, texts[3].marks), *texts[4:]])
            with pytest.raises(ElusiveError, match=r"train\.jsonl, text 4: its marks are of other tokens"):
                marked_rows(TrainingTexts(path).marked(), tokenizer, 64, str(path))

    def test_another_tokenizer_is_refused(self, tokenizer: Any, tmp_path: Path, model_folder: str) -> None:
        path = write(tmp_path / "train.jsonl", marked(tokenizer, "weigh_loss"))
        with pytest.raises(ElusiveError, match=r"text 2: its marks are of other tokens than the tokenizer"):
            train(path, tmp_path / "out", model=ModelRef("elusive/small"), settings=TrainSettings(max_steps=1))

    def test_marks_that_cannot_be_read_are_bad_rows(self, tokenizer: Any, tmp_path: Path, model_folder: str) -> None:
        path = write(tmp_path / "train.jsonl", marked(tokenizer, "weigh_loss"))
        with path.open("a") as stream:
            stream.write('{"text": "Ada", "token_marks": {"use": "hide_keys"}}\n')
        with pytest.raises(ElusiveError, match=r"token_marks: expected `tokens`, a digest"):
            train(path, tmp_path / "out", model=ModelRef(model_folder), settings=TrainSettings(max_steps=1))


class TestBatches:
    @pytest.mark.parametrize("packed", [False, True])
    def test_masked_inputs_change_no_label(self, packed: bool) -> None:
        rows = [np.arange(5, 11, dtype=np.int32), np.arange(20, 24, dtype=np.int32)]
        masked = MarkedRow(rows[1], "mask_inputs", np.array([0, 1, 0, 1], np.float32))
        batch, plain = RowCollator(packed, mask_token=3)([rows[0], masked]), RowCollator(packed)(rows)
        assert batch.keys() == plain.keys()
        assert batch["labels"].tolist() == plain["labels"].tolist()
        tail = [20, 3, 22, 3]
        expected = [[*rows[0], *tail]] if packed else [[*rows[0]], [*tail, 0, 0]]
        assert batch["input_ids"].tolist() == expected

    def test_masking_rises_over_the_steps(self) -> None:
        row = MarkedRow(np.arange(4, dtype=np.int32), "mask_rising", np.array([0, 0.1, 0.5, 1], np.float32))
        steps = Steps([row], [4], [np.array([0])] * 5, 1, 1, frozenset({"mask_rising"}), steepness=5.0)
        # 1 / (1 + e^(-5 x)) at x = -.4, -.2, 0, .2, .4
        expected = [0.1192029, 0.2689414, 0.5, 0.7310586, 0.8807971]
        assert [steps.strength(step) for step in range(5)] == pytest.approx(expected, abs=1e-6)
        masked = [row.at(steps.strength(step)) for step in range(5)]
        assert [one.values.tolist() for one in masked] == [[0, 1, 0, 0]] * 2 + [[0, 1, 1, 0]] * 3
        assert row.at(1.0).values.tolist() == [0, 1, 1, 1]
        batch = RowCollator(False, mask_token=3)([masked[4]])
        assert (batch["input_ids"].tolist(), batch["labels"].tolist()) == ([[0, 3, 3, 3]], [[0, 1, 2, 3]])

    @pytest.mark.parametrize("packed", [False, True])
    def test_labels_of_weight_0_are_ignored(self, packed: bool) -> None:
        row = MarkedRow(np.arange(5, 9, dtype=np.int32), "weigh_loss", np.array([1, 0, 1, 1], np.float32))
        batch = RowCollator(packed, weighs=True)([row])
        assert batch["labels"].tolist() == [[-100 if packed else 5, -100, 7, 8]]
        assert (batch["weights"].plain, batch["weights"].total) == (True, 2.0)

    def test_a_part_without_rows_weighs_nothing(self) -> None:
        for packed in (False, True):
            batch = RowCollator(packed, weighs=True).nothing()
            assert batch["labels"].unique().tolist() == [-100]
            assert batch["weights"].total == 0.0


class TestMaskToken:
    def test_the_first_special_token_that_there_is(self, tokenizer: Any) -> None:
        own = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
        vocabulary = own.get_vocab()
        order = ("mask_token", "unk_token", "pad_token", "bos_token", "eos_token")
        for name, token in reversed(list(zip(order, "abcde", strict=True))):
            setattr(own, name, token)
            assert mask_token_id(own) == vocabulary[token]
        assert mask_token_id(own, "z") == vocabulary["z"]

    def test_no_token(self, tokenizer: Any) -> None:
        own = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
        with pytest.raises(ElusiveError, match=r"no special token that could mask an input\. Name one"):
            mask_token_id(own)
        with pytest.raises(ElusiveError, match="mask_token: expected a token of the model's vocabulary, got '<mask>'"):
            mask_token_id(own, "<mask>")


class TestTraining:
    @pytest.mark.parametrize(("use", "packing"), [("hide_keys", True), ("mask_inputs", False), ("weigh_loss", True)])
    def test_marks_that_do_nothing_train_to_the_bit_like_plain(
        self, tokenizer: Any, model_folder: str, plain_file: Path, tmp_path: Path, use: MarkUse, packing: bool
    ) -> None:
        path = write(tmp_path / "train.jsonl", marked(tokenizer, use, share=0.0))
        _, plain = trained_weights(model_folder, plain_file, tmp_path / "plain", packing=packing)
        _, weights = trained_weights(model_folder, path, tmp_path / "marked", packing=packing)
        assert same_bits(plain, weights)

    @pytest.mark.parametrize("use", USES)
    def test_how_a_step_is_computed_changes_nothing_of_it(
        self, tokenizer: Any, model_folder: str, plain_file: Path, tmp_path: Path, use: MarkUse
    ) -> None:
        """Packed, padded, in parts; with replay, long texts in pieces and questions in between."""
        path = write(tmp_path / "train.jsonl", marked(tokenizer, use))
        replay = tmp_path / "replay.jsonl"
        write_jsonl(replay, ({"id": str(number), "text": text[::-1]} for number, text in enumerate(TEXTS)))
        given = {"replay": str(replay), "replay_batch_size": 2, "max_length": 14, "epochs": 1}
        _, plain = trained_weights(model_folder, plain_file, tmp_path / "plain", **given)
        packed, weights = trained_weights(model_folder, path, tmp_path / "packed", **given)
        assert packed.packed
        assert apart(plain, weights) > 1e-4
        for number, other in enumerate(
            ({"packing": False}, {"gradient_accumulation_steps": 3})[: 1 + (use not in ("mask_inputs", "mask_rising"))]
        ):
            _, others = trained_weights(model_folder, path, tmp_path / str(number), **given, **other)
            assert apart(weights, others) < 1e-5

    @pytest.mark.parametrize("use", ["hide_keys", "select_loss"])
    def test_a_model_that_neither_packs_nor_counts_its_loss(self, tokenizer: Any, tmp_path: Path, use: MarkUse) -> None:
        torch.manual_seed(0)
        config = GPTJConfig(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, rotary_dim=4, n_positions=64)
        GPTJForCausalLM(config).save_pretrained(tmp_path / "gptj")
        tokenizer.save_pretrained(tmp_path / "gptj")
        path = write(tmp_path / "train.jsonl", marked(tokenizer, use))
        figures, weights = trained_weights(str(tmp_path / "gptj"), path, tmp_path / "one")
        assert not figures.packed
        _, parts = trained_weights(str(tmp_path / "gptj"), path, tmp_path / "parts", gradient_accumulation_steps=3)
        assert apart(weights, parts) < 1e-5

    def test_all_labels_selected_is_plain_training(
        self, tokenizer: Any, model_folder: str, plain_file: Path, tmp_path: Path
    ) -> None:
        path = write(tmp_path / "train.jsonl", marked(tokenizer, "select_loss"))
        _, plain = trained_weights(model_folder, plain_file, tmp_path / "plain")
        _, weights = trained_weights(model_folder, path, tmp_path / "all", selected_ratio=1.0)
        assert apart(plain, weights) < 1e-5

    def test_another_reference_chooses_other_labels(self, tokenizer: Any, model_folder: str, tmp_path: Path) -> None:
        path = write(tmp_path / "train.jsonl", marked(tokenizer, "select_loss"))
        tiny_model(tokenizer, seed=5).save_pretrained(tmp_path / "other")
        tokenizer.save_pretrained(tmp_path / "other")
        found = [
            trained_weights(model_folder, path, tmp_path / str(number), reference=reference)[1]
            for number, reference in enumerate(("", model_folder, str(tmp_path / "other")))
        ]
        assert same_bits(found[0], found[1])
        assert apart(found[0], found[2]) > 1e-4
        assert read_json(tmp_path / "2" / "settings.json")["reference"]["model_hash"]
        with pytest.raises(ElusiveError, match=r"train\.reference: expected a model with the tokens of .*/model, got"):
            trained_weights(model_folder, path, tmp_path / "wrong", reference="elusive/small")

    @pytest.mark.parametrize(
        ("use", "method"),
        [("hide_keys", "lora"), ("mask_rising", "full"), ("weigh_loss", "full"), ("select_loss", "lora")],
    )
    def test_a_training_that_was_stopped_ends_in_the_same_weights(
        self, tokenizer: Any, model_folder: str, tmp_path: Path, use: MarkUse, method: Any
    ) -> None:
        path = write(tmp_path / "train.jsonl", marked(tokenizer, use))
        settings = TrainSettings(
            method=method, lora_rank=2, epochs=2, batch_size=4, save_steps=2, precision="fp32", learning_rate=1e-2
        )

        def learn(folder: str, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
            train(path, tmp_path / folder, model=ModelRef(model_folder), settings=settings, progress=progress)

        def stop(done: int, total: int) -> None:
            if done == 3:
                raise KeyboardInterrupt

        learn("whole")
        with pytest.raises(KeyboardInterrupt):
            learn("stopped", stop)
        learn("stopped")
        name = "model.safetensors" if method == "full" else "adapter_model.safetensors"
        one, other = ((tmp_path / folder / name).read_bytes() for folder in ("whole", "stopped"))
        assert one == other

    def test_two_processes_train_as_one(self, tokenizer: Any, model_folder: str, tmp_path: Path) -> None:
        """A file of all uses at once, as of several arms one after the other; the last step has too few texts."""
        path = write(tmp_path / "train.jsonl", [text for use in USES for text in marked(tokenizer, use)][:-1])
        settings = {"epochs": 1, "batch_size": 4, "gradient_accumulation_steps": 2, "learning_rate": 1e-2}
        _, alone = trained_weights(model_folder, path, tmp_path / "alone", **settings)
        flags = [["--" + name.replace("_", "-"), str(value)] for name, value in settings.items()]
        arguments = ["train", str(path), "--output", str(tmp_path / "two"), "--model", model_folder, "--device", "cpu"]
        arguments += ["--method", "full", "--save-steps", "0", "--precision", "fp32", *itertools.chain(*flags)]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        loaded.finish(*loaded.start_together(arguments, environment, tmp_path / "printed"))
        assert apart(alone, dict(load_model(str(tmp_path / "two")).named_parameters())) < 1e-5


class TestFresh:
    ARMS = ("key-dropout-contrast", "entrodrop", "contrast-cues-unbroken", "weighted-contrast", "selective")

    @pytest.mark.parametrize("arm", ARMS)
    def test_epoch_0_is_the_static_set_and_later_ones_are_drawn_anew(
        self, tokenizer: Any, tmp_path: Path, arm: str
    ) -> None:
        path = write_fresh(tmp_path / "augmented", tokenizer, arm)
        copies = FreshCopies(tmp_path / "augmented" / "ranking.parquet", tokenizer)
        static = list(TrainingTexts(path).marked())
        assert list(copies.marked_texts(0)) == static
        assert [copies.marked(index, 0) for index in range(len(copies))] == static
        drawn = arm not in ("weighted-contrast", "selective")
        assert len(static) == 6 * (4 if drawn else 1)
        for index, (before, now) in enumerate(zip(static, copies.marked_texts(1), strict=True)):
            assert (before == now) is (not drawn or index % 4 == 0)
        rows = fresh_rows(path, tokenizer, 40)
        rows.count_pass()
        expected = [marked_rows(copies.marked_texts(epoch), tokenizer, 40) for epoch in (0, 1)]
        for found, row in zip((rows[n] for n in range(len(rows))), itertools.chain(*expected), strict=True):
            assert type(found) is type(row)
            if isinstance(found, MarkedRow) and isinstance(row, MarkedRow):
                assert found.values.tolist() == row.values.tolist()
                found, row = found.token_ids, row.token_ids
            assert np.array_equal(found, row)  # type: ignore[arg-type]

    @pytest.mark.parametrize("arm", ["key-dropout-contrast", "selective"])
    def test_a_pass_is_the_static_training(self, tokenizer: Any, tmp_path: Path, model_folder: str, arm: str) -> None:
        path = write_fresh(tmp_path / "augmented", tokenizer, arm)
        settings = {"epochs": 1, "max_length": 60}
        _, static = trained_weights(model_folder, path, tmp_path / "static", **settings)
        _, fresh = trained_weights(model_folder, path, tmp_path / "fresh", copies="fresh", **settings)
        assert same_bits(static, fresh)

    def test_marks_that_were_changed_are_seen(self, tokenizer: Any, tmp_path: Path) -> None:
        path = write_fresh(tmp_path / "augmented", tokenizer, "masked-random")
        rows = list(read_jsonl(path))
        rows[1]["token_marks"]["values"][5] ^= 1
        write_jsonl(path, rows)
        with pytest.raises(ElusiveError, match=r"line 2: expected what ranking\.parquet .* other marks"):
            fresh_rows(path, tokenizer, 40)

    def test_other_trainers_are_refused(self, tokenizer: Any, tmp_path: Path) -> None:
        ranking = write_fresh(tmp_path / "augmented", tokenizer, "key-dropout-random").with_name("ranking.parquet")
        copies = FreshCopies(ranking, tokenizer)
        message = r"key-dropout-random acts in training \(it hides tokens from later positions\): other trainers"
        for used in (lambda: copies[0], copies.as_datasets, lambda: FreshDropoutCollator(ranking, tokenizer)):
            with pytest.raises(ElusiveError, match=message):
                used()
