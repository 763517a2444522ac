"""Exports: the rows, the card, what is refused; and each trainer's stanza or script, run where the library installs."""

import ast
import contextlib
import dataclasses
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from elusive.cli.main import main
from elusive.config.training import TrainSettings
from elusive.config.verbs import ExportSettings
from elusive.errors import ElusiveError
from elusive.exporting import export
from elusive.exporting.card import code, markdown, public_name, size_category
from elusive.exporting.splitting import cut_text
from elusive.exporting.trainers import Plan, trainer_files
from elusive.models.loading import load_tokenizer
from elusive.runs.files import read_json, read_jsonl, write_json, write_jsonl
from elusive.training.adapters import LinearWeights, adapters_of, with_adapters

from ..tiny_models import tiny_model, tiny_tokenizer

# Documented names. Where a newer version of a trainer drops one, the stanza must change.
LLAMA_FACTORY_DATA_KEYS = {  # https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md
    "hf_hub_url", "ms_hub_url", "script_url", "file_name", "formatting", "ranking", "subset", "split", "folder",
    "num_samples", "columns", "tags",
}  # fmt: skip
LLAMA_FACTORY_KEYS = {  # https://github.com/hiyouga/LLaMA-Factory/tree/main/src/llamafactory/hparams, and
    # https://huggingface.co/docs/transformers/main_classes/trainer#transformers.TrainingArguments
    "model_name_or_path", "model_revision", "disable_gradient_checkpointing",
    "stage", "do_train", "finetuning_type", "lora_rank", "lora_alpha", "lora_dropout", "lora_target",
    "dataset", "dataset_dir", "template", "cutoff_len", "packing",
    "output_dir", "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "max_steps",
    "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm", "optim", "bf16", "seed",
    "logging_steps", "save_strategy", "report_to",
}  # fmt: skip
AXOLOTL_KEYS = {  # https://docs.axolotl.ai/docs/config-reference.html
    "base_model", "revision_of_model", "adapter", "lora_r", "lora_alpha", "lora_dropout", "lora_target_linear",
    "lora_target_modules", "lora_target_parameters",
    "datasets", "dataset_prepared_path", "val_set_size", "sequence_len", "excess_length_strategy", "sample_packing",
    "pad_to_sequence_len", "output_dir", "micro_batch_size", "gradient_accumulation_steps", "num_epochs", "max_steps",
    "learning_rate", "lr_scheduler", "warmup_steps", "weight_decay", "max_grad_norm", "optimizer", "bf16",
    "gradient_checkpointing", "seed", "logging_steps", "save_strategy",
}  # fmt: skip
AXOLOTL_DATASET_KEYS = {"path", "ds_type", "type", "field", "data_files", "split", "name", "revision"}
TORCHTUNE_KEYS = {
    # https://docs.pytorch.org/torchtune/main/generated/torchtune.datasets.text_completion_dataset.html and
    # https://docs.pytorch.org/torchtune/main/recipes/lora_finetune_single_device.html
    "dataset._component_", "dataset.source", "dataset.data_files", "dataset.split", "dataset.column",
    "dataset.add_eos", "dataset.packed", "tokenizer.max_seq_len", "output_dir", "batch_size",
    "gradient_accumulation_steps", "epochs", "max_steps_per_epoch", "optimizer.lr", "optimizer.weight_decay",
    "lr_scheduler._component_", "lr_scheduler.num_warmup_steps", "clip_grad_norm", "dtype",
    "enable_activation_checkpointing", "seed", "model.lora_rank", "model.lora_alpha", "model.lora_dropout",
    "model.lora_attn_modules", "model.apply_lora_to_mlp", "optimizer_in_bwd",
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    with contextlib.redirect_stdout(io.StringIO()):
        main(["generate", "--output", str(folder), "--people", "5", "--seed", "4"])
    return folder


@pytest.fixture(scope="module")
def augmented(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `augment` writes: 5 people, the original and 3 copies each."""
    folder = tmp_path_factory.mktemp("augmented")
    with contextlib.redirect_stdout(io.StringIO()):
        main(["score", str(corpus), "--output", str(folder / "scores"), "--model", "elusive/large", "--device", "cpu"])
        main(["augment", str(corpus), "--output", str(folder / "texts"), "--large", str(folder / "scores"),
              "--arm", "attention", "--copies", "3"])  # fmt: skip
    return folder / "texts"


@pytest.fixture(scope="module")
def exported(augmented: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "out"
    settings = ExportSettings(licence="cc-by-4.0", language=("en",), method="full", epochs=2, title="Five people")
    export(augmented, folder, questions=corpus / "questions.jsonl", settings=settings)
    return folder


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(folder / "train.jsonl"))


def tokens_with_eos(folder: Path) -> list[list[int]]:
    """Each text's tokens as they must reach a model: bos, the text, one eos. Worked out beside the export's own way."""
    tokenizer: Any = load_tokenizer("elusive/large")
    texts = [row["text"] for row in rows_of(folder)]
    return [[0, *tokenizer(text, add_special_tokens=False)["input_ids"], 1] for text in texts]


class TestRows:
    def test_both_files_hold_what_augment_wrote(self, augmented: Path, exported: Path) -> None:
        rows = rows_of(exported)
        assert rows == rows_of(augmented)
        assert len(rows) == 20
        assert pq.read_table(exported / "train.parquet").to_pylist() == rows
        assert pq.read_schema(exported / "train.parquet").names == ["text", "id", "copy", "arm"]

    def test_eos_never_stands_in_a_text(self, exported: Path) -> None:
        assert not any("<eos>" in row["text"] or "<bos>" in row["text"] for row in rows_of(exported))

    def test_tokens_are_counted_with_bos_and_eos(self, exported: Path) -> None:
        lengths = [len(ids) for ids in tokens_with_eos(exported)]
        mark = read_json(exported / "export.json")
        assert (mark["rows"], mark["tokens"], mark["longest"]) == (len(lengths), sum(lengths), max(lengths))

    def test_longer_texts_become_several_rows_and_lose_nothing(self, augmented: Path, tmp_path: Path) -> None:
        figures = export(augmented, tmp_path / "out", settings=ExportSettings(max_length=40))
        pieces = rows_of(tmp_path / "out")
        assert figures.cut > 5
        assert figures.rows == len(pieces) > 20
        assert figures.longest == max(map(len, tokens_with_eos(tmp_path / "out"))) <= 40
        joined: dict[tuple[str, int], str] = {}
        for row in pieces:
            joined[row["id"], row["copy"]] = joined.get((row["id"], row["copy"]), "") + row["text"]
        assert joined == {(row["id"], row["copy"]): row["text"] for row in rows_of(augmented)}
        assert yaml.safe_load((tmp_path / "out" / "axolotl.yaml").read_text())["sequence_len"] == 40
        assert "longer ones were cut" in (tmp_path / "out" / "README.md").read_text()

    def test_a_text_without_white_space_is_cut_too(self) -> None:
        pieces = list(cut_text("x" * 37, lambda texts: [len(text) for text in texts], 10))
        assert "".join(text for text, _ in pieces) == "x" * 37
        assert all(length <= 10 for _, length in pieces)
        with pytest.raises(ElusiveError, match="too short for any text"):
            list(cut_text("xy", lambda texts: [5 for _ in texts], 4))

    def test_a_changed_source_is_noticed(self, augmented: Path, tmp_path: Path) -> None:
        changed = shutil.copytree(augmented, tmp_path / "changed")
        lines = (changed / "train.jsonl").read_text().splitlines(keepends=True)
        (changed / "train.jsonl").write_text("".join(lines[:-1]))
        with pytest.raises(ElusiveError, match=r"expected the 20 texts that done\.json counts, got 19"):
            export(changed, tmp_path / "out")
        (changed / "train.jsonl").write_text("".join(lines[:-1]) + '{"text": "x"}\n')
        with pytest.raises(ElusiveError, match=r"line 20: expected the keys text, id, copy, arm"):
            export(changed, tmp_path / "out2")


class TestFolder:
    def test_the_same_again_gives_the_same_bytes(self, augmented: Path, tmp_path: Path) -> None:
        def content() -> dict[str, bytes]:
            files = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
            return {str(path): path.read_bytes() for path in files}

        export(augmented, tmp_path / "out")
        first = content()
        export(augmented, tmp_path / "out")
        assert content() == first
        assert read_json(tmp_path / "out" / "export.json")["done"]

    def test_stale_files_go_and_others_stay(self, augmented: Path, corpus: Path, tmp_path: Path) -> None:
        export(augmented, tmp_path, questions=corpus / "questions.jsonl")
        (tmp_path / "output").mkdir()
        (tmp_path / "output" / "mine.txt").write_text("a trained model")
        export(augmented, tmp_path)
        assert not [path for path in (tmp_path / "lm_eval").iterdir() if path.is_file()]
        assert not (tmp_path / "questions.parquet").exists()
        assert (tmp_path / "output" / "mine.txt").exists()

    def test_a_record_names_nothing_outside_to_delete(self, augmented: Path, tmp_path: Path) -> None:
        export(augmented, tmp_path / "out")
        (tmp_path / "precious.txt").write_text("x")
        mark = read_json(tmp_path / "out" / "export.json")
        write_json(tmp_path / "out" / "export.json", mark | {"files": [*mark["files"], "../precious.txt"]})
        export(augmented, tmp_path / "out")
        assert (tmp_path / "precious.txt").exists()

    def test_a_folder_in_which_an_export_was_killed_before_its_first_file_is_used(
        self, augmented: Path, tmp_path: Path
    ) -> None:
        (tmp_path / ".elusive.lock").write_text("")
        (tmp_path / ".export.elusive-k3j2x1ab.json").write_text("{")
        assert export(augmented, tmp_path).rows == 20
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]

    def test_other_content_is_not_overwritten(self, augmented: Path, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(ElusiveError, match="holds other files, which are not overwritten"):
            export(augmented, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
        with pytest.raises(ElusiveError, match="is a file: expected a folder"):
            export(augmented, tmp_path / "notes.txt")
        with pytest.raises(ElusiveError, match="holds other files"):
            export(augmented, augmented)

    def test_an_export_of_other_texts_is_not_overwritten(self, augmented: Path, tmp_path: Path) -> None:
        export(augmented, tmp_path / "out")
        other = shutil.copytree(augmented, tmp_path / "other")
        (other / "train.jsonl").write_text((other / "train.jsonl").read_text() + "\n")
        with pytest.raises(ElusiveError, match=r"holds an export of other texts \(arm attention\)"):
            export(other, tmp_path / "out")

    def test_no_path_of_this_machine_is_written(self, exported: Path) -> None:
        for path in exported.rglob("*"):
            if path.suffix in (".md", ".json", ".jsonl", ".yaml", ".py", ".sh"):
                text = path.read_text(encoding="utf-8")
                assert str(exported) not in text
                assert str(Path.home()) + "/" not in text
                assert "site-packages" not in text


class TestSources:
    def test_unfinished_texts(self, augmented: Path, tmp_path: Path) -> None:
        unfinished = shutil.copytree(augmented, tmp_path / "unfinished")
        (unfinished / "done.json").unlink()
        with pytest.raises(ElusiveError, match=r"are not finished: done\.json is missing. Run the same"):
            export(unfinished, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_anything_else(self, corpus: Path, tmp_path: Path) -> None:
        for folder in (corpus, tmp_path, tmp_path / "nothing"):
            with pytest.raises(ElusiveError, match=r"to be a folder that `elusive augment` wrote .* or a run folder"):
                export(folder, tmp_path / "out")

    @pytest.mark.parametrize("copy", [2**31, -1, 10**99, True, 1.0, None])
    def test_a_copy_number_that_no_column_holds(self, augmented: Path, tmp_path: Path, copy: object) -> None:
        texts = shutil.copytree(augmented, tmp_path / "texts")
        rows = rows_of(texts)
        write_jsonl(texts / "train.jsonl", [*rows[:3], rows[3] | {"copy": copy}])
        with pytest.raises(
            ElusiveError, match=r"line 4: expected a number from 0 to 2147483647 as copy, got -?[0-9TN]"
        ):
            export(texts, tmp_path / "out")

    def test_an_arm_that_is_another(self, augmented: Path, tmp_path: Path) -> None:
        with pytest.raises(ElusiveError, match=r"--arm plain: .* holds the arm attention"):
            export(augmented, tmp_path / "out", arm="plain")

    def test_a_base_model_must_be_named_where_the_tokens_are_others(self, augmented: Path, tmp_path: Path) -> None:
        other = shutil.copytree(augmented, tmp_path / "other")
        table = pq.read_table(other / "ranking.parquet")
        ids = [[number + 1 for number in row] for row in table.column("token_ids").to_pylist()]
        column = table.schema.get_field_index("token_ids")
        pq.write_table(table.set_column(column, "token_ids", [ids]).cast(table.schema), other / "ranking.parquet")
        with pytest.raises(ElusiveError, match=r"not made with the tokens of elusive/large\. Say with --base-model"):
            export(other, tmp_path / "out")
        assert export(other, tmp_path / "out", settings=ExportSettings(base_model="elusive/large")).rows == 20

    def test_a_base_model_that_is_none(self, augmented: Path, tmp_path: Path) -> None:
        with pytest.raises(ElusiveError, match=r"could not be loaded|does not exist"):
            export(augmented, tmp_path / "out", settings=ExportSettings(base_model=str(tmp_path / "no-model")))

    def test_a_run(self, augmented: Path, corpus: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        shutil.copytree(augmented, run / "augmented" / "attention")
        shutil.copytree(corpus, run / "corpus")
        (run / "augmented" / "plain").mkdir()
        (run / "recipe.toml").write_text(
            'title = "Five"\narms = ["attention"]\n[corpus]\nsource = "/home/somebody/secret/five.jsonl"\n'
            '[train]\nmethod = "full"\nlearning_rate = 3e-4\nmax_steps = 7\nbatch_size = 5\n[evaluate]\nshots = 2\n'
        )
        with pytest.raises(ElusiveError, match="with the arms attention, plain: expected one as --arm, got none"):
            export(run, tmp_path / "out")
        with pytest.raises(ElusiveError, match="with the arms attention, plain: expected one as --arm, got 'random'"):
            export(run, tmp_path / "out", arm="random")
        with pytest.raises(ElusiveError, match="plain are not finished"):
            export(run, tmp_path / "out", arm="plain")
        figures = export(run, tmp_path / "out", arm="attention", settings=ExportSettings(learning_rate=1e-4))
        assert figures.task == "elusive_five_attention"
        stanza = yaml.safe_load((tmp_path / "out" / "llama_factory.yaml").read_text())
        assert (stanza["learning_rate"], stanza["max_steps"], stanza["finetuning_type"]) == (1e-4, 7, "full")
        prompt = next(read_jsonl(tmp_path / "out" / "lm_eval" / "questions.jsonl"))["prompt"]
        assert prompt.count("Question:") == 3
        card = (tmp_path / "out" / "README.md").read_text()
        assert "five.jsonl" in card
        assert "somebody" not in card
        export(run / "augmented" / "attention", tmp_path / "out2", settings=ExportSettings(epochs=3))
        stanza = yaml.safe_load((tmp_path / "out2" / "llama_factory.yaml").read_text())
        assert stanza["num_train_epochs"] == 3
        assert "max_steps" not in stanza
        assert "near those before" not in card
        recipe = (run / "recipe.toml").read_text().replace("batch_size", "l2_sp = 1.0\naverage = 0.5\nbatch_size")
        (run / "recipe.toml").write_text(recipe)
        export(run / "augmented" / "attention", tmp_path / "out3", settings=ExportSettings(method="lora"))
        said = "near those before training (train.l2_sp, train.average); the trainers above do not."
        assert said in (tmp_path / "out3" / "README.md").read_text()


@pytest.mark.parametrize(
    ("arm", "does"),
    [("key-dropout-random", "hides tokens from later positions"), ("random-unbroken", "weighs the loss of each token")],
)
def test_an_arm_that_acts_in_training_is_refused(
    corpus: Path, augmented: Path, tmp_path: Path, arm: str, does: str
) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        main(["augment", str(corpus), "--output", str(tmp_path / "texts"), "--large", str(augmented.parent / "scores"),
              "--arm", arm, "--copies", "1"])  # fmt: skip
    with pytest.raises(ElusiveError, match=rf"the arm {arm}, which acts in training \(it {does}\): no other"):
        export(tmp_path / "texts", tmp_path / "out")
    assert not (tmp_path / "out").exists()


class TestCard:
    def test_the_hubs_loader_reads_it(self, exported: Path) -> None:
        from huggingface_hub import DatasetCard

        data = DatasetCard.load(exported / "README.md").data.to_dict()
        assert data["pretty_name"] == "Five people"
        assert (data["license"], data["language"], data["size_categories"]) == ("cc-by-4.0", ["en"], ["n<1K"])
        assert [config["config_name"] for config in data["configs"]] == ["default", "questions"]
        assert {"elusive", "attention"} <= set(data["tags"])

    def test_datasets_loads_the_folder_as_the_card_says(
        self, exported: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import datasets

        texts = datasets.load_dataset(str(exported), cache_dir=str(tmp_path))
        assert list(texts) == ["train"]
        assert texts["train"].to_list() == rows_of(exported)
        asked: Any = datasets.load_dataset(str(exported), "questions", cache_dir=str(tmp_path))
        wanted = list(read_jsonl(corpus / "questions.jsonl"))
        names = list(wanted[0])
        assert [{name: row[name] for name in names} for row in asked["test"]] == wanted

    def test_its_figures(self, augmented: Path, exported: Path) -> None:
        card = (exported / "README.md").read_text(encoding="utf-8")
        rate = read_json(augmented / "done.json")["mean_drop_rate"]
        assert 0 < rate < 1
        for row in (
            f"| mean drop rate of the copies | {rate:.4f} |",
            "| dropout | alpha 0.6, beta 0.05, unseen tokens kept |",
            "| arm | `attention` |",
            "| copies of each document | 3, and the original |",
            "| seed of the copies | 0 |",
            "| licence | cc-by-4.0 |",
            "| source | not given (--source) |",
        ):
            assert row in card, row
        assert "gao2025elusive" in card

    def test_an_unknown_licence_is_said_plainly(self, augmented: Path, tmp_path: Path) -> None:
        from huggingface_hub import DatasetCard

        export(augmented, tmp_path / "out")
        assert "**Licence: unknown.**" in (tmp_path / "out" / "README.md").read_text()
        assert DatasetCard.load(tmp_path / "out" / "README.md").data.to_dict()["license"] == "unknown"
        with pytest.raises(ElusiveError, match="expected a licence, or unknown"):
            ExportSettings(licence=" ")

    def test_everything_given_is_escaped(self, augmented: Path, tmp_path: Path) -> None:
        from huggingface_hub import DatasetCard

        title = 'A: "b" <script>alert(1)</script> | {{ x }} # é'
        settings = ExportSettings(title=title, licence="Ours: [yes]", source="a|b\n# heading <img src=x> *c*")
        export(augmented, tmp_path / "out", settings=settings)
        card = DatasetCard.load(tmp_path / "out" / "README.md")
        data = card.data.to_dict()
        assert (data["pretty_name"], data["license"], data["license_name"]) == (title, "other", "Ours: [yes]")
        assert "<script>" not in card.text
        assert "<img" not in card.text
        assert "| source | a\\|b \\# heading &lt;img src=x&gt; \\*c\\* |" in card.text
        assert not re.search(r"^# heading", card.text, re.MULTILINE)
        for name in ("axolotl.yaml", "llama_factory.yaml"):
            yaml.safe_load((tmp_path / "out" / name).read_text(encoding="utf-8"))
        (name,) = read_json(tmp_path / "out" / "dataset_info.json")
        assert re.fullmatch(r"[a-z0-9_]+", name)

    def test_helpers(self) -> None:
        assert markdown("a_b\n`c`") == r"a\_b \`c\`"
        assert code("a`b") == "`` a`b ``"
        assert code("a|b") == "`a\\|b`"
        assert [public_name(name) for name in ("/x/y/z", "./z", "org/name", "hf:org/name", "a/b/c")] == [
            "z", "z", "org/name", "hf:org/name", "c",
        ]  # fmt: skip
        assert [size_category(n) for n in (999, 1000, 10**6, 10**9)] == ["n<1K", "1K<n<10K", "1M<n<10M", "n>1B"]
        assert size_category(10**12) == "n>1B"


def plan(**changes: Any) -> Plan:
    train = TrainSettings(**{"method": "lora", "epochs": 10.0} | changes.pop("train", {}))
    return Plan(**{"model": "org/name", "revision": "", "dtype": "float32", "settings": train, "max_length": 512,
                   "rows": 1100, "tokens": 60_000} | changes)  # fmt: skip


PLANS = [
    plan(),
    plan(revision="abc", train={"method": "full", "max_steps": 33, "precision": "fp32", "max_grad_norm": 0.0}),
    plan(rows=16, train={"lr_scheduler": "cosine", "learning_rate": 2e-5, "gradient_checkpointing": True}),
]


class TestStanzas:
    @pytest.mark.parametrize("plan", PLANS)
    def test_llama_factory(self, plan: Plan) -> None:
        files = trainer_files(plan, "mine")
        data = json.loads(files["dataset_info.json"])
        assert set(data["mine"]) <= LLAMA_FACTORY_DATA_KEYS
        assert data["mine"] == {"file_name": "train.parquet", "columns": {"prompt": "text"}}
        stanza = yaml.safe_load(files["llama_factory.yaml"])
        assert set(stanza) <= LLAMA_FACTORY_KEYS
        assert (stanza["stage"], stanza["packing"], stanza["cutoff_len"]) == ("pt", False, 512)
        assert (stanza["dataset"], stanza["dataset_dir"], stanza["template"]) == ("mine", ".", "empty")
        assert isinstance(stanza["learning_rate"], float)
        assert stanza["finetuning_type"] == plan.settings.method
        assert ("lora_rank" in stanza) == (plan.settings.method == "lora")
        assert stanza["bf16"] is (plan.settings.precision != "fp32")

    @pytest.mark.parametrize("plan", PLANS)
    def test_axolotl(self, plan: Plan) -> None:
        stanza = yaml.safe_load(trainer_files(plan, "mine")["axolotl.yaml"])
        assert set(stanza) <= AXOLOTL_KEYS
        (data,) = stanza["datasets"]
        assert set(data) <= AXOLOTL_DATASET_KEYS
        assert data == {"path": "train.parquet", "ds_type": "parquet", "type": "completion", "field": "text"}
        assert (stanza["sequence_len"], stanza["sample_packing"]) == (512, False)
        assert stanza["excess_length_strategy"] == "raise"
        assert isinstance(stanza["learning_rate"], float)
        assert stanza.get("revision_of_model") == (plan.revision or None)

    @pytest.mark.parametrize(
        ("plan", "batch", "epochs", "steps"),
        [
            (PLANS[0], ("1", "8"), "10", "null"),  # 1,100 rows are no whole batches of 8
            (PLANS[1], ("1", "8"), "1", "33"),
            (PLANS[2], ("8", "1"), "10", "null"),
            (plan(rows=16, train={"max_steps": 5, "epochs": 1.5}), ("8", "1"), "3", "null"),
        ],
    )
    def test_torchtune(self, plan: Plan, batch: tuple[str, str], epochs: str, steps: str, tmp_path: Path) -> None:
        given = self.tune_arguments(plan, tmp_path, "llama3_2/1B", "device=cpu")
        assert given[:4] == ["run", f"{plan.settings.method}_finetune_single_device", "--config", "llama3_2/1B"]
        assert given[-1] == "device=cpu"
        values = dict(word.split("=", 1) for word in given[4:-1])
        assert set(values) <= TORCHTUNE_KEYS
        assert values["dataset._component_"] == "torchtune.datasets.text_completion_dataset"
        assert values["dataset.data_files"] == str(tmp_path / "train.parquet")
        assert (values["dataset.packed"], values["dataset.add_eos"]) == ("False", "True")
        assert values["tokenizer.max_seq_len"] == "null"
        assert (values["batch_size"], values["gradient_accumulation_steps"]) == batch
        assert (values["epochs"], values["max_steps_per_epoch"]) == (epochs, steps)

    def tune_arguments(self, plan: Plan, folder: Path, *words: str) -> list[str]:
        """What the script hands to `tune`, by a stand-in that prints its arguments."""
        (folder / "tune").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        (folder / "tune").chmod(0o755)
        (folder / "torchtune.sh").write_text(trainer_files(plan, "mine")["torchtune.sh"])
        environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", str(folder / "torchtune.sh"), *words], capture_output=True, text=True, env=environment, check=True
        )
        return done.stdout.splitlines()

    def test_torchtune_asks_for_a_configuration(self, tmp_path: Path) -> None:
        with pytest.raises(subprocess.CalledProcessError) as error:
            self.tune_arguments(PLANS[0], tmp_path)
        assert "expected torchtune's configuration of your model" in error.value.stderr

    @pytest.mark.parametrize("plan", PLANS)
    def test_scripts_are_python_and_name_known_settings(self, plan: Plan) -> None:
        from transformers import TrainingArguments
        from trl.trainer.sft_config import SFTConfig

        files = trainer_files(plan, "mine")
        for name, call, kind in (
            ("train_with_trl.py", "SFTConfig", SFTConfig),
            ("train_with_transformers.py", "TrainingArguments", TrainingArguments),
        ):
            tree = ast.parse(files[name])
            (found,) = [
                node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == call
            ]
            known = {field.name for field in dataclasses.fields(kind)} | {"gradient_checkpointing"}
            assert {keyword.arg for keyword in found.keywords} <= known
            imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "peft"]
            assert bool(imported) == (plan.settings.method == "lora")


def run_script(path: Path, *arguments: str) -> dict[str, Any]:
    """Run a script as `python path arguments` would, in this process, which has loaded the libraries already."""
    before = sys.argv
    sys.argv = [str(path), *arguments]
    try:
        return runpy.run_path(str(path), run_name="__main__")
    finally:
        sys.argv = before


def lora_arguments(script: str) -> dict[str, Any]:
    """What a script hands to LoraConfig."""
    (call,) = [
        node
        for node in ast.walk(ast.parse(script))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "LoraConfig"
    ]
    return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}


class TestScripts:
    """The very scripts that were exported, on the embedded model."""

    def test_trl_trains_on_every_token(
        self, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        import trl
        from trl.trainer.sft_trainer import SFTTrainer

        batches: list[Any] = []

        class Watched(SFTTrainer):
            def training_step(self, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
                batches.append({name: value.clone() for name, value in inputs.items() if hasattr(value, "clone")})
                return super().training_step(model, inputs, *rest, **options)

        monkeypatch.setattr(trl, "SFTTrainer", Watched)
        monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
        run_script(exported / "train_with_trl.py", "--output", str(tmp_path / "model"), "--max-steps", "3")
        # 20 texts in batches of 8: three steps are an epoch, in which each token comes once.
        wanted = tokens_with_eos(exported)
        assert sorted(trained_rows(batches)) == sorted(wanted)
        assert f"20 texts, {sum(map(len, wanted)):,} tokens, none left out" in capsys.readouterr().out
        assert (tmp_path / "model" / "model.safetensors").exists()

    def test_trl_stops_where_a_token_would_be_lost(self, exported: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(exported, tmp_path / "out")
        script = folder / "train_with_trl.py"
        script.write_text(script.read_text().replace("max_length=None", "max_length=20"))
        with pytest.raises(SystemExit, match=r"expected 20 rows of \d+ tokens, TRL has 20 of 400"):
            run_script(script, "--output", str(tmp_path / "model"), "--max-steps", "1")

    @pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys")  # peft 0.19 asks modules alone
    def test_experts_get_the_adapters_of_elusive_train(self, augmented: Path, tmp_path: Path) -> None:
        from peft import AutoPeftModelForCausalLM

        base = tmp_path / "base"
        model = tiny_model("qwen3_moe")
        model.save_pretrained(base)
        tiny_tokenizer().save_pretrained(base)
        export(augmented, tmp_path / "out", settings=ExportSettings(base_model=str(base), method="lora"))
        script = (tmp_path / "out" / "train_with_transformers.py").read_text()
        run_script(tmp_path / "out" / "train_with_transformers.py", "--output", str(tmp_path / "m"), "--max-steps", "1")
        weights = LinearWeights.of(model)
        found = adapters_of(AutoPeftModelForCausalLM.from_pretrained(tmp_path / "m", is_trainable=True), weights)
        assert found == adapters_of(with_adapters(model, TrainSettings()), weights)
        assert not found.without
        assert any("experts" in name for name in found.on)
        # TRL hands the same to the same LoraConfig.
        assert lora_arguments(script) == lora_arguments((tmp_path / "out" / "train_with_trl.py").read_text())
        stanzas = [(tmp_path / "out" / name).read_text() for name in ("axolotl.yaml", "llama_factory.yaml")]
        axolotl = yaml.safe_load(stanzas[0])
        assert set(axolotl) <= AXOLOTL_KEYS
        assert "lora_target_linear" not in axolotl
        named = {f"{name}.weight" for name in axolotl["lora_target_modules"]} | {*axolotl["lora_target_parameters"]}
        assert named == set(weights.entries)
        assert "experts and routers have no adapters" in stanzas[1]
        assert "routers too" in (tmp_path / "out" / "torchtune.sh").read_text()

    def test_transformers_alone_trains_on_every_token(
        self, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import transformers

        batches: list[Any] = []

        class Watched(transformers.Trainer):
            def training_step(self, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
                batches.append({name: value.clone() for name, value in inputs.items()})
                return super().training_step(model, inputs, *rest, **options)

        monkeypatch.setattr(transformers, "Trainer", Watched)
        run_script(exported / "train_with_transformers.py", "--output", str(tmp_path / "model"), "--max-steps", "3")
        assert sorted(trained_rows(batches)) == sorted(tokens_with_eos(exported))


def trained_rows(batches: list[Any]) -> list[list[int]]:
    """The tokens that count in the loss, row by row."""
    return [
        ids[labels != -100].tolist()
        for batch in batches
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True)
    ]


def test_the_command(augmented: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["export", str(augmented), "--output", str(tmp_path / "out"), "--learning-rate", "1e-5", "--epochs", "2"])
    said = capsys.readouterr().out
    assert "20 rows" in said
    assert "licence: unknown, as the card says; give it with --licence" in said
    assert "learning_rate=1e-05" in (tmp_path / "out" / "train_with_trl.py").read_text()
    with pytest.raises(SystemExit):
        main(["export", str(augmented), "--output", str(augmented)])
    assert "which are not overwritten" in capsys.readouterr().err
