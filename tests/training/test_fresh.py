"""Fresh copies: epoch 0 is the static set, later epochs are new copies at the same rates, in every trainer."""

import dataclasses
import itertools
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

import elusive
from elusive.augmentation.copies import augment_documents
from elusive.augmentation.marks import MarkedText
from elusive.augmentation.rankings import SETTINGS_KEY
from elusive.augmentation.stage import write_augmented
from elusive.config.augmentation import AugmentSettings
from elusive.config.models import ModelRef
from elusive.config.scoring import ScoreSettings
from elusive.config.training import TrainSettings
from elusive.corpus.documents import Document
from elusive.corpus.people.biographies import biography, people
from elusive.errors import ElusiveError
from elusive.runs.files import read_jsonl, write_jsonl
from elusive.runs.stage import FORMAT
from elusive.scoring.sets import entropy_set, pair_sets
from elusive.scoring.shards import TokenScores
from elusive.training.fresh import FreshCopies, FreshDropoutCollator, FreshEpochs, FreshRows, fresh_rows
from elusive.training.marked_rows import ids_of
from elusive.training.sequences import pad_right, row_order, token_rows, tokenize_rows
from elusive.training.stage import train
from elusive.training.trainer import Fitted, Steps, fit

from .test_stage import FIT

SETTINGS = AugmentSettings(alpha=0.7, beta=0.05, copies=3)
DOCUMENTS = [biography(person, f"person-{number}") for number, person in enumerate(itertools.islice(people(5), 5), 1)]
UNICODE = Document("unicode", 'Zoë said "Añb\u2028c" 😀,\n\ttwice . No , really: e\u0301 — 東京. ')


def write(folder: Path, tokenizer: Any, arm: str = "contrast-all", settings: AugmentSettings = SETTINGS) -> Path:
    """An augmented set from random scores; its train.jsonl."""
    documents = [*DOCUMENTS, UNICODE]

    def scores(seed: int) -> list[TokenScores]:
        made = []
        for document in documents:
            encoded = tokenizer(document.text, return_offsets_mapping=True)
            ids, offsets = (np.array(encoded[key], np.int32) for key in ("input_ids", "offset_mapping"))
            drawn = np.random.default_rng([seed, len(ids)]).random(len(ids), dtype=np.float32)
            made.append(TokenScores(document.id, ids, offsets, drawn, np.ones(len(ids), np.int32)))
        return made

    names = (*pair_sets("all"), *pair_sets("cues"), entropy_set("large"))
    sets = {one: scores(seed) for seed, one in enumerate(names)}
    options = {"trained": "large", "tokenizer": tokenizer, "score": ScoreSettings(queries="all"), "settings": settings}
    write_augmented(folder, augment_documents(documents, arm, sets, **options), arm, settings)
    return folder / "train.jsonl"


def static_texts(train_jsonl: Path) -> list[str]:
    return [row["text"] for row in read_jsonl(train_jsonl)]


@pytest.fixture(scope="module")
def train_jsonl(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("augmented"), tokenizer)


@pytest.fixture(scope="module")
def ranking(train_jsonl: Path) -> Path:
    return train_jsonl.with_name("ranking.parquet")


@pytest.fixture
def copies(ranking: Path, tokenizer: Any) -> FreshCopies:
    return FreshCopies(ranking, tokenizer)


def tiny_model(tokenizer: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=1,
            max_position_embeddings=256,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
    )


class TestCopies:
    @pytest.mark.parametrize(
        "changed", [{}, {"blank": True}, {"unit": "word", "protected_patterns": ("numbers",)}, {"unit": "phrase"}]
    )
    @pytest.mark.parametrize("arm", ["plain", "random", "contrast-all"])
    def test_epoch_0_is_the_static_set_and_epoch_1_the_copies_that_would_follow(
        self, tokenizer: Any, tmp_path: Path, arm: str, changed: dict[str, Any]
    ) -> None:
        settings = dataclasses.replace(SETTINGS, **changed)
        static = static_texts(write(tmp_path / "three", tokenizer, arm, settings))
        copies = FreshCopies(tmp_path / "three" / "ranking.parquet", tokenizer)
        assert [copies.text(index) for index in range(len(copies))] == list(copies.texts()) == static
        write(tmp_path / "six", tokenizer, arm, dataclasses.replace(settings, copies=6))
        rows = list(read_jsonl(tmp_path / "six" / "train.jsonl"))
        copies.set_epoch(1)
        assert list(copies.texts()) == [row["text"] for row in rows if row["copy"] == 0 or row["copy"] > 3]
        assert len(static) == 6 * (1 if arm == "plain" else 4)
        for index, (before, now) in enumerate(zip(static, copies.texts(), strict=True)):
            assert (before == now) is (arm == "plain" or index % 4 == 0)
        assert list(copies.texts(0)) == static

    def test_the_rates_are_the_same(self, copies: FreshCopies, ranking: Path) -> None:
        for number, row in enumerate(pq.read_table(ranking).to_pylist()[:5]):  # one byte a character
            chance, width = np.array(row["drop_probability"]), np.array(row["ends"]) - row["starts"]
            draws = 3 * 60
            kept = [len(copies.text(number * 4 + slot, epoch)) for epoch in range(60) for slot in (1, 2, 3)]
            deviation = np.sqrt((chance * (1 - chance) * width**2).sum() / draws)
            assert abs(np.mean(kept) - ((1 - chance) * width).sum()) < 4 * deviation
            assert np.mean(kept) < 0.8 * len(row["text"])

    def test_items_are_whole_texts_between_bos_and_eos(self, copies: FreshCopies, tokenizer: Any) -> None:
        copies.set_epoch(2)
        assert len(copies) == 24
        for index in (0, 5, 23):
            ids = copies[index]["input_ids"]
            assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
            assert tokenizer.decode(ids[1:-1]) == copies.text(index)
        assert copies[-1] == copies[23]
        with pytest.raises(IndexError, match="expected an index below 24, got 24"):
            copies[24]

    @pytest.mark.parametrize("persistent", [False, True])
    def test_workers_see_the_epoch(self, copies: FreshCopies, persistent: bool) -> None:
        loader = DataLoader(copies, batch_size=None, num_workers=2, persistent_workers=persistent)
        for epoch in (0, 1, 0):
            copies.set_epoch(epoch)
            alone = FreshCopies.__getitem__
            assert [item["input_ids"] for item in loader] == [alone(copies, i)["input_ids"] for i in range(24)]

    def test_another_tokenizer_is_refused(self, ranking: Path) -> None:
        from elusive.models.loading import load_tokenizer

        with pytest.raises(ElusiveError, match=r"Document 'person-1' has other tokens in ranking\.parquet than this"):
            FreshCopies(ranking, load_tokenizer("elusive/large"))

    def test_a_file_of_an_older_version_or_none(self, ranking: Path, tokenizer: Any, tmp_path: Path) -> None:
        table = pq.read_table(ranking)
        pq.write_table(table.replace_schema_metadata({}), tmp_path / "ranking.parquet")
        with pytest.raises(
            ElusiveError, match=r"ranking\.parquet was written by an older version of Elusive, which kept"
        ):
            FreshCopies(tmp_path / "ranking.parquet", tokenizer)
        settings = json.loads(table.schema.metadata[SETTINGS_KEY])
        assert settings.pop("format") == FORMAT
        pq.write_table(table.replace_schema_metadata({SETTINGS_KEY: json.dumps(settings)}), tmp_path / "0.1.parquet")
        with pytest.raises(ElusiveError, match=r"0\.1\.parquet was written by Elusive 0\.1, whose folders this"):
            FreshCopies(tmp_path / "0.1.parquet", tokenizer)
        (tmp_path / "ranking.parquet").write_bytes(b"PAR1 and no more")
        with pytest.raises(ElusiveError, match=r"ranking\.parquet is damaged"):
            FreshCopies(tmp_path / "ranking.parquet", tokenizer)
        with pytest.raises(
            ElusiveError, match=r"No ranking\.parquet in .*nowhere: fresh copies are drawn from the file"
        ):
            FreshCopies(tmp_path / "nowhere" / "ranking.parquet", tokenizer)

    def test_epochs_count_from_0(self, copies: FreshCopies) -> None:
        with pytest.raises(ElusiveError, match="epoch: expected 0 or more, got -1"):
            copies.set_epoch(-1)


class Seen:
    """A collator that notes the texts which it is given."""

    def __init__(self, tokenizer: Any, inner: Any) -> None:
        self.tokenizer, self.inner, self.texts = tokenizer, inner, []

    def __call__(self, items: Any) -> Any:
        batch = self.inner(items)
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            self.texts.append(self.tokenizer.decode(ids[labels != -100][1:-1]))
        return batch


def of_ids(items: Any) -> dict[str, torch.Tensor]:
    batch = pad_right([np.array(item["input_ids"]) for item in items])
    return {**batch, "attention_mask": (batch["labels"] != -100).long()}


def make_trainer(
    kind: str, tokenizer: Any, folder: Path, dataset: Any, collator: Any, told: Any, **options: Any
) -> Any:
    given = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 5,
        "num_train_epochs": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "remove_unused_columns": False,
        "save_strategy": "no",
        "bf16": False,
    } | options
    model: Any = tiny_model(tokenizer)
    callbacks: list[TrainerCallback] = [FreshEpochs(told)]
    if kind == "sft":
        arguments = SFTConfig(**given, dataset_kwargs={"skip_prepare_dataset": True})
        dataset = dataset.as_datasets() if isinstance(dataset, FreshCopies) else dataset
        return SFTTrainer(model, arguments, collator, dataset, processing_class=tokenizer, callbacks=callbacks)
    return Trainer(model, TrainingArguments(**given), collator, dataset, callbacks=callbacks)


@pytest.mark.parametrize("kind", ["trainer", "sft"])
class TestTrainers:
    def test_a_dataset(self, kind: str, copies: FreshCopies, tokenizer: Any, train_jsonl: Path, tmp_path: Path) -> None:
        seen = Seen(tokenizer, of_ids)
        make_trainer(kind, tokenizer, tmp_path, copies, seen, copies).train()
        static = static_texts(train_jsonl)
        assert Counter(seen.texts[:24]) == Counter(static)
        assert Counter(seen.texts[24:]) == Counter(copies.texts(1)) != Counter(static)

    def test_a_dataset_with_the_trainers_own_collator(
        self, kind: str, copies: FreshCopies, tokenizer: Any, tmp_path: Path
    ) -> None:
        from transformers import DataCollatorForLanguageModeling

        collator = None if kind == "sft" else DataCollatorForLanguageModeling(tokenizer, mlm=False)
        result = make_trainer(kind, tokenizer, tmp_path, copies, collator, copies).train()
        assert result.global_step == 10
        assert copies.epoch == 1

    def test_resuming_within_an_epoch(self, kind: str, copies: FreshCopies, tokenizer: Any, tmp_path: Path) -> None:
        saving = {"save_strategy": "steps", "save_steps": 7}
        whole, rest = Seen(tokenizer, of_ids), Seen(tokenizer, of_ids)
        make_trainer(kind, tokenizer, tmp_path, copies, whole, copies, **saving).train()
        copies.set_epoch(0)  # as in a new process
        again = make_trainer(kind, tokenizer, tmp_path, copies, rest, copies, **saving)
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-7"))
        assert rest.texts == whole.texts[7 * 5 - 1 :]  # the first epoch's last batch holds 4 texts

    def test_a_collator(self, kind: str, tokenizer: Any, ranking: Path, train_jsonl: Path, tmp_path: Path) -> None:
        rows = datasets.Dataset.from_parquet(str(ranking), cache_dir=str(tmp_path / "cache"))
        collator = FreshDropoutCollator(ranking, tokenizer)
        seen = Seen(tokenizer, collator)
        make_trainer(kind, tokenizer, tmp_path, rows, seen, collator, num_train_epochs=8).train()
        static = static_texts(train_jsonl)
        assert len(seen.texts) == 48
        assert Counter(seen.texts[:24]) == Counter(static)
        assert Counter(seen.texts[24:]) == Counter(FreshCopies(ranking, tokenizer).texts(1))
        originals = [sum(text in static[::4] for text in seen.texts[start : start + 6]) for start in range(0, 24, 6)]
        assert sum(originals) == 6
        assert max(originals) < 6  # not all in one epoch


class TestCollator:
    @pytest.fixture
    def rows(self, ranking: Path) -> list[dict[str, Any]]:
        return pq.read_table(ranking).to_pylist()

    def test_batches(self, ranking: Path, tokenizer: Any, rows: list[dict[str, Any]]) -> None:
        collator = FreshDropoutCollator(ranking, tokenizer)
        collator.set_epoch(3)
        batch = collator(rows[:3])
        assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
        assert batch["attention_mask"].tolist() == (batch["labels"] != -100).long().tolist()
        expected = list(token_rows([collator.text(row) for row in rows[:3]], tokenizer))
        lengths = batch["attention_mask"].sum(1).tolist()
        assert [ids[:length].tolist() for ids, length in zip(batch["input_ids"], lengths, strict=True)] == [
            row.tolist() for row in expected
        ]
        # Neither the batch nor how often it was asked for matters.
        assert torch.equal(collator(rows[:3])["input_ids"], batch["input_ids"])
        alone = collator(rows[1:2])["input_ids"][0]
        assert alone.tolist() == expected[1].tolist()

    def test_workers_see_the_epoch(self, ranking: Path, tokenizer: Any, rows: list[dict[str, Any]]) -> None:
        collator = FreshDropoutCollator(ranking, tokenizer)
        loader = DataLoader(rows, batch_size=2, num_workers=2, persistent_workers=True, collate_fn=collator)  # type: ignore[arg-type]
        for epoch in (0, 1, 5):
            collator.set_epoch(epoch)
            given = [batch["input_ids"] for batch in loader]
            expected = [collator(rows[start : start + 2])["input_ids"] for start in (0, 2, 4)]
            assert all(torch.equal(one, other) for one, other in zip(given, expected, strict=True))

    def test_refusals(self, ranking: Path, tokenizer: Any, rows: list[dict[str, Any]]) -> None:
        from elusive.models.loading import load_tokenizer

        collator = FreshDropoutCollator(ranking, tokenizer)
        with pytest.raises(ElusiveError, match="was not told the epoch, so every epoch would have the same texts"):
            collator(rows)
        collator.set_epoch(0)
        with pytest.raises(
            ElusiveError, match=r"got rows without text, ranks, drop_probability.* remove_unused_columns=False"
        ):
            collator([{key: row[key] for key in ("document_id", "token_ids", "starts", "ends")} for row in rows])
        other = FreshDropoutCollator(ranking, load_tokenizer("elusive/large"))
        other.set_epoch(0)
        with pytest.raises(ElusiveError, match=r"has other tokens in ranking\.parquet than this tokenizer gives it"):
            other(rows)
        short = FreshDropoutCollator(ranking, tokenizer, max_length=20)
        short.set_epoch(0)
        with pytest.raises(ElusiveError, match=r"Document 'person-1': expected at most 20 tokens, got \d+"):
            short(rows)


class TestOwnTrainer:
    @pytest.fixture
    def model_folder(self, tokenizer: Any, tmp_path: Path) -> str:
        tiny_model(tokenizer).save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
        return str(tmp_path / "model")

    @pytest.mark.parametrize("max_length", [1000, 17])
    def test_rows_of_each_pass(self, copies: FreshCopies, train_jsonl: Path, tokenizer: Any, max_length: int) -> None:
        rows = fresh_rows(train_jsonl, tokenizer, max_length)
        rows.count_pass()
        rows.count_pass()
        expected = [tokenize_rows(copies.texts(epoch), tokenizer, max_length) for epoch in range(3)]
        assert rows.passes == [len(of_pass) for of_pass in expected]
        assert rows.lengths.tolist() == [len(row) for of_pass in expected for row in of_pass]
        assert len(rows) == sum(rows.passes)
        for number in np.random.default_rng(0).permutation(len(rows)):
            assert ids_of(rows[number]).tolist() == list(itertools.chain(*expected))[number].tolist()

    def test_texts_without_tokens_have_no_row(self) -> None:
        class Tokenizer:
            eos_token_id = None

            def __call__(self, texts: list[str], **options: Any) -> dict[str, Any]:
                return {"input_ids": [[7] * len(text) for text in texts]}

        texts = ["", "abc", "", "", "de", ""]
        copies: Any = SimpleNamespace(
            marked_texts=lambda epoch: map(MarkedText, texts),
            marked=lambda index, epoch: MarkedText(texts[index]),
            maker=SimpleNamespace(tokenizer=Tokenizer()),
        )
        rows = FreshRows(copies, 2)
        rows.count_pass()
        rows.count_pass()
        assert rows.lengths.tolist() == [2, 1, 2] * 2
        assert [ids_of(rows[number]).tolist() for number in range(6)] == [[7, 7], [7], [7, 7]] * 2

    def test_each_pass_sees_its_own_copies_once(
        self,
        copies: FreshCopies,
        train_jsonl: Path,
        tokenizer: Any,
        model_folder: str,
        tmp_path: Path,
        monkeypatch: Any,
    ) -> None:
        given = {}

        def note(model: Any, steps: Steps, *_: Any, **__: Any) -> tuple[Fitted, None]:
            rows, order = steps.rows, np.stack(steps.order)
            texts = [tokenizer.decode(rows[number][1:-1]) for number in order[:, :4].ravel()]
            given[settings.copies] = texts, order.shape, [rows[number].tolist() for number in order[:, 4:].ravel()]
            return Fitted(steps=len(order), loss=0.0, tokens_trained=0, processes=1, seconds=0.0), None

        monkeypatch.setattr("elusive.training.stage.fit", note)
        write_jsonl(tmp_path / "replay.jsonl", [{"text": "Something else."}, {"text": "And more."}])
        for settings in (
            TrainSettings(
                copies=name, epochs=2.5, batch_size=4, replay=str(tmp_path / "replay.jsonl"), replay_batch_size=1
            )
            for name in ("static", "fresh")
        ):
            figures = train(train_jsonl, tmp_path / settings.copies, model=ModelRef(model_folder), settings=settings)
            assert (figures.steps, figures.texts, figures.rows) == (15, 24, 24)
        (static, shape, replayed), (fresh, fresh_shape, fresh_replayed) = given["static"], given["fresh"]
        assert shape == fresh_shape == (15, 5)
        assert Counter(map(tuple, replayed)) == Counter(map(tuple, fresh_replayed))
        assert len(static) == len(fresh) == 60
        once, twice = Counter(copies.texts(0)), Counter(copies.texts(1))
        assert once + twice <= Counter(fresh)
        assert Counter(fresh) - once - twice <= Counter(copies.texts(2))
        assert once + once <= Counter(static)
        originals = {document.text for document in [*DOCUMENTS, UNICODE]}
        assert abs(sum(text in originals for text in fresh) - 15) <= 3  # 2.5 passes over 6 originals

    def test_the_plain_arm_is_trained_as_before(self, tokenizer: Any, model_folder: str, tmp_path: Path) -> None:
        texts = write(tmp_path / "plain", tokenizer, "plain")
        for name in ("static", "fresh"):
            settings = TrainSettings(method="full", copies=name, epochs=3, batch_size=4, save_steps=0, precision="fp32")
            train(texts, tmp_path / name, model=ModelRef(model_folder), settings=settings)
        static, fresh = (LlamaForCausalLM.from_pretrained(tmp_path / name).state_dict() for name in ("static", "fresh"))
        assert all(torch.equal(static[name], fresh[name]) for name in static)

    def test_a_stopped_run_goes_on_to_the_same_weights(self, train_jsonl: Path, tokenizer: Any, tmp_path: Path) -> None:
        def planned() -> Steps:
            rows = fresh_rows(train_jsonl, tokenizer, 40)
            rows.count_pass()
            order = row_order(rows.lengths, batch_size=8, draws=64, seed=0, passes=rows.passes)
            return Steps(rows, rows.lengths, order, rows.passes[0], len(rows))

        class StoppedError(Exception):
            pass

        def stop_after_five(done: int, total: int) -> None:
            if done == 5:
                raise StoppedError

        whole, halved, again = (tiny_model(tokenizer) for _ in range(3))
        fit(whole, planned(), FIT, tmp_path / "whole")
        with pytest.raises(StoppedError):
            fit(halved, planned(), FIT, tmp_path / "halved", progress=stop_after_five)
        steps = []
        fit(again, planned(), FIT, tmp_path / "halved", progress=lambda done, total: steps.append(done))
        assert steps == [5, 6, 7, 8]
        for one, other in zip(whole.parameters(), again.parameters(), strict=True):
            assert torch.equal(one, other)

    def test_refusals(self, train_jsonl: Path, tokenizer: Any, model_folder: str, tmp_path: Path) -> None:
        settings = TrainSettings(copies="fresh", max_steps=1)
        rows = list(read_jsonl(train_jsonl))
        write_jsonl(tmp_path / "alone" / "train.jsonl", rows)
        with pytest.raises(
            ElusiveError, match=r"No ranking\.parquet in .*alone: fresh copies .*train\.copies = static"
        ):
            train(tmp_path / "alone" / "train.jsonl", tmp_path / "out", model=ModelRef(model_folder), settings=settings)
        ranking = train_jsonl.with_name("ranking.parquet").read_bytes()
        (tmp_path / "alone" / "ranking.parquet").write_bytes(ranking)
        rows[5]["text"] = "Changed by hand."
        for changed, line in ((rows, 6), (rows[:3], 4)):
            write_jsonl(tmp_path / "alone" / "train.jsonl", changed)
            with pytest.raises(
                ElusiveError, match=rf"train\.jsonl, line {line}: expected what ranking\.parquet beside it"
            ):
                train(
                    tmp_path / "alone" / "train.jsonl",
                    tmp_path / "out",
                    model=ModelRef(model_folder),
                    settings=settings,
                )
            assert not (tmp_path / "out" / "done.json").exists()

    def test_another_ranking_is_another_run(
        self, train_jsonl: Path, tokenizer: Any, model_folder: str, tmp_path: Path
    ) -> None:
        settings = TrainSettings(copies="fresh", max_steps=1, batch_size=2)
        folder = write(tmp_path / "own", tokenizer).parent
        train(folder / "train.jsonl", tmp_path / "out", model=ModelRef(model_folder), settings=settings)
        asked = json.loads((tmp_path / "out" / "settings.json").read_text())
        assert len(asked["ranking"]) == 64
        table = pq.read_table(folder / "ranking.parquet")
        pq.write_table(table, folder / "ranking.parquet", compression="none")
        with pytest.raises(ElusiveError, match="ranking: was '"):
            train(folder / "train.jsonl", tmp_path / "out", model=ModelRef(model_folder), settings=settings)


@pytest.fixture(scope="module")
def clues() -> elusive.CorpusClues:
    return elusive.Pair.load("elusive/large", "elusive/small", device="cpu").clues(
        elusive.biography_corpus(3, seed=1)[0]
    )


class TestInMemory:
    """Fresh copies of clues that were never written."""

    def test_epoch_0_is_what_augment_gives(self, clues: elusive.CorpusClues) -> None:
        settings = AugmentSettings(copies=2)
        fresh = FreshCopies.of_clues(clues, settings)
        assert list(fresh.texts(0)) == [made.text for made in elusive.augment(clues, settings=settings)]
        assert fresh.text(0, 1) == fresh.text(0, 0)
        assert fresh.text(1, 1) == elusive.augment(clues, copies=4)[3].text  # copy 1 + 1 * 2

    def test_a_trainer_collates_rows_of_the_clues(self, clues: elusive.CorpusClues) -> None:
        collator = FreshDropoutCollator.of_clues(clues, AugmentSettings(copies=1))
        rows = [dict(row) for row in clues.to_datasets()]
        collator.set_epoch(0)
        batch = collator(rows)
        assert len(batch["input_ids"]) == 3
        texts = {made.text for made in elusive.augment(clues, copies=1)}
        assert {collator.text(row, epoch) for row in rows for epoch in (0, 1)} == texts
        with pytest.raises(elusive.ElusiveError, match="Expected rows with the `id` of a document of the clues, got"):
            collator([{"id": "another"}])


@pytest.mark.parametrize("arm", ["contrast-all", "contrast-cues-unbroken", "entrodrop", "plain", "reorder"])
def test_the_slots_of_a_document_drawn_together_are_those_drawn_one_by_one(tokenizer: Any, tmp_path: Path, arm: str):
    copies = FreshCopies(write(tmp_path, tokenizer, arm).with_name("ranking.parquet"), tokenizer)
    for epoch in (0, 2):
        assert list(copies.marked_texts(epoch)) == [copies.marked(index, epoch) for index in range(len(copies))]
