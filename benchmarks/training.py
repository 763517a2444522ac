"""What training costs, beside the paper's released code, the tools that people use, and the arithmetic alone.

    python benchmarks/training.py [--model elusive/large | 100M | 135M] [--method full | lora] [--steps 24] [--batch 8]
        [--squad FILE]                          paragraphs of a SQuAD-form file instead of biographies
        [--device cuda] [--only "ours" "TRL, packed" ...]

Prints a Markdown table of real tokens (no padding) a second and of ratios, taken side by side in one run: the same
texts, originals and token-dropped copies, 8 in a step, in float32; on a GPU float32 weights under bf16 autocast, with
the peak of its memory. `authors` is transformers' Trainer on batches in random order, padded to their longest text with
an attention mask, with activation checkpointing. `ours` is `elusive.fitting.fit` on texts packed in one row, `ours,
padded` the same on padded ones of like lengths; both order the same rows. `Trainer, by length` groups padded texts of
like lengths, `Trainer, flattened` puts those of a step in one row without padding. TRL's SFTTrainer packs by best fit
into rows of as many tokens as a step has (so its steps may be one more or fewer), flattens the texts of a step, or
groups padded ones by length; left out where trl is not installed. None of these checkpoints activations.
All include what a Trainer does around a step: clipping, AdamW, logging; theirs are built and their texts tokenized and
packed before the clock starts. `bare` is the forward and backward pass alone, of as many tokens a step, in one dense
batch.
"""

import argparse
import copy
import importlib.util
import statistics
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from scoring import print_table
from side_by_side import (
    SHAPES,
    Call,
    Measured,
    Way,
    chosen_device,
    machine,
    model_of,
    side_by_side,
    times_as_fast,
    tokenizer_of,
)
from torch.utils.data import Dataset
from transformers import DataCollatorWithFlattening, Trainer, TrainingArguments

from elusive.config.training import TrainSettings
from elusive.corpus.people.biographies import biography_corpus
from elusive.corpus.readers import read_corpus
from elusive.training.marked_rows import RowCollator
from elusive.training.packing import packs
from elusive.training.sequences import pad_right, row_order, tokenize_rows
from elusive.training.stage import with_adapters
from elusive.training.trainer import FitSettings, Steps, fit

COPIES = 10
DROPPED = 0.42
"""The mean drop rate of the embedded pair's contrast arm at the paper's alpha .6 and beta .05, 71 tokens a text."""


def training_rows(tokenizer: Any, squad: str, count: int) -> list[np.ndarray]:
    """Token rows of originals and of copies that lost tokens, in random order."""
    people = max(100, -(-count // (COPIES + 1)))
    documents = read_corpus(squad).documents if squad else biography_corpus(people, seed=1)[0]
    originals = tokenize_rows([document.text for document in documents], tokenizer, 512)
    generator = np.random.default_rng(0)
    rows = list(originals)
    for row in originals * COPIES:
        kept_T = generator.random(len(row)) >= DROPPED
        kept_T[[0, -1]] = True  # bos and eos
        rows.append(row[kept_T])
    np.random.default_rng(1).shuffle(rows)
    return rows[:count]


class _Rows(Dataset):
    def __init__(self, rows: list[np.ndarray]) -> None:
        self.rows = [{"input_ids": row.tolist()} for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return self.rows[index]


def _with_mask(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    batch = pad_right([np.asarray(row["input_ids"]) for row in rows])
    return {**batch, "attention_mask": (batch["labels"] != -100).long()}


class Tools:
    """What people train with, on the same rows and in the same precision.

    Attributes:
        learner: gives a model to train.
        rows: int32 token arrays.
        batch: texts of a step.
        folder: for what they write.
        device: where they train.
    """

    def __init__(
        self, learner: Callable[[], Any], rows: list[np.ndarray], batch: int, folder: str, device: torch.device
    ) -> None:
        self.learner, self.rows, self.batch, self.folder, self.device = learner, rows, batch, folder, device

    def authors(self) -> Call:
        return self._trainer(_with_mask, gradient_checkpointing=True)

    def by_length(self) -> Call:
        return self._trainer(_with_mask, train_sampling_strategy="group_by_length")

    def flattened(self) -> Call:
        return self._trainer(DataCollatorWithFlattening())

    def trl_packed(self) -> Call:
        longest = max(map(len, self.rows))
        length = max(longest, round(self.batch * sum(map(len, self.rows)) / len(self.rows)))
        return self._sft(packing=True, max_length=length, per_device_train_batch_size=1)

    def trl_flattened(self) -> Call:
        return self._sft(padding_free=True, max_length=None)

    def trl_by_length(self) -> Call:
        return self._sft(max_length=None, train_sampling_strategy="group_by_length")

    def _trainer(self, collate: Any, **options: Any) -> Call:
        arguments = TrainingArguments(**self._arguments(remove_unused_columns=False, **options))
        return self._quiet(
            Trainer(model=self.learner(), args=arguments, train_dataset=_Rows(self.rows), data_collator=collate)
        )

    def _sft(self, **options: Any) -> Call:
        import datasets
        from trl.trainer.sft_config import SFTConfig
        from trl.trainer.sft_trainer import SFTTrainer

        datasets.disable_progress_bars()
        texts = datasets.Dataset.from_dict({"input_ids": [row.tolist() for row in self.rows]})
        arguments = SFTConfig(**self._arguments(**options))
        tokenizer = tokenizer_of("elusive/large")  # for its padding alone
        return self._quiet(
            SFTTrainer(model=self.learner(), args=arguments, train_dataset=texts, processing_class=tokenizer)
        )

    def _arguments(self, **options: Any) -> dict[str, Any]:
        common = {
            "output_dir": self.folder,
            "num_train_epochs": 1,
            "per_device_train_batch_size": self.batch,
            "learning_rate": 1e-5,
            "gradient_checkpointing": False,
            "use_cpu": self.device.type == "cpu",
            "bf16": self.device.type == "cuda",
            "save_strategy": "no",
            "logging_steps": len(self.rows),
            "report_to": "none",
            "disable_tqdm": True,
            "dataloader_pin_memory": self.device.type == "cuda",
        }
        return common | options

    @staticmethod
    def _quiet(trainer: Trainer) -> Call:
        trainer.remove_callback(transformers.PrinterCallback)
        return trainer.train


def ours(model: Any, rows: list[np.ndarray], batch: int, packed: bool) -> None:
    settings = FitSettings(
        learning_rate=1e-5,
        lr_scheduler="linear",
        warmup_ratio=0.1,
        weight_decay=0.0,
        max_grad_norm=1.0,
        precision="bf16" if model.device.type == "cuda" else "fp32",
        seed=0,
        save_steps=0,
    )
    lengths = [len(row) for row in rows]
    order = row_order(lengths, batch_size=batch, draws=len(rows), seed=0)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            model,
            Steps(rows, lengths, order, len(rows), len(rows)),
            settings,
            Path(folder),
            collate=RowCollator(packed),
        )


def bare(model: Any, ids_BT: torch.Tensor, steps: int) -> None:
    model.train()
    for _ in range(steps):
        with torch.autocast(ids_BT.device.type, torch.bfloat16, enabled=ids_BT.device.type == "cuda"):
            loss = model(input_ids=ids_BT, labels=ids_BT, use_cache=False).loss
        loss.backward()
        model.zero_grad()


def all_ways(learner: Callable[[], Any], rows: list[np.ndarray], ids_BT: torch.Tensor, tools: Tools) -> dict[str, Way]:
    """Each trains weights of its own, which are made before the clock starts."""

    def own(call: Callable[..., None], *arguments: Any) -> Way:
        def prepare() -> Call:
            model = learner()
            return lambda: call(model, *arguments)

        return prepare

    ways: dict[str, Way] = {
        "authors": tools.authors,
        "ours": own(ours, rows, tools.batch, True),
        "ours, padded": own(ours, rows, tools.batch, False),
        "Trainer, by length": tools.by_length,
        "Trainer, flattened": tools.flattened,
        "TRL, packed": tools.trl_packed,
        "TRL, flattened": tools.trl_flattened,
        "TRL, by length": tools.trl_by_length,
        "bare": own(bare, ids_BT, -(-len(rows) // tools.batch)),
    }
    missing = [name for name in ("trl", "datasets") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"{' and '.join(missing)} cannot be imported: TRL is left out.", flush=True)
        ways = {name: way for name, way in ways.items() if not name.startswith("TRL")}
    return ways


def table_rows(measured: dict[str, Measured], tokens: dict[str, int], bases: dict[str, str]) -> list[list[str]]:
    """Tokens a second of each way, how many times those of each base, and memory."""
    rates = {name: [tokens[name] / value for value in of.seconds] for name, of in measured.items()}
    return [
        [
            name,
            f"{statistics.median(rates[name]):,.0f}",
            *(times_as_fast(rates[name], rates[base]) for base in bases.values()),
            of.memory(),
        ]
        for name, of in measured.items()
    ]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="elusive/large", help=f"a model, or a shape: {', '.join(SHAPES)}")
    parser.add_argument("--method", choices=["full", "lora"], default="full")
    parser.add_argument("--squad", default="", help="a SQuAD-form file of paragraphs")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--batch", type=int, default=8, help="texts of a step")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--only", nargs="*", default=[], help="these ways alone")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    device = chosen_device(arguments.device)
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning)
    tokenizer = tokenizer_of(arguments.model)
    first = model_of(arguments.model, device, torch.float32, len(tokenizer))
    assert packs(first, 512)

    def learner() -> Any:
        model = copy.deepcopy(first)
        return with_adapters(model, TrainSettings()) if arguments.method == "lora" else model

    rows = training_rows(tokenizer, arguments.squad, arguments.steps * arguments.batch)
    real = sum(map(len, rows))
    ids_BT = torch.randint(3, 2000, (arguments.batch, round(real / len(rows))), device=device)
    with tempfile.TemporaryDirectory() as folder:
        tools = Tools(learner, rows, arguments.batch, folder, device)
        ways = all_ways(learner, rows, ids_BT, tools)
        if arguments.only:
            ways = {name: way for name, way in ways.items() if name in arguments.only}
        measured = side_by_side(ways, arguments.rounds, device)
    tokens = dict.fromkeys(measured, real) | {"bare": ids_BT.numel() * -(-len(rows) // arguments.batch)}
    bases = {"over the authors'": "authors", "over bare": "bare"}
    bases = {title: name for title, name in bases.items() if name in measured}
    if trl := [name for name in measured if name.startswith("TRL")]:
        best = min(trl, key=lambda name: statistics.median(measured[name].seconds))
        bases[f"over TRL's best ({best.removeprefix('TRL, ')})"] = best
    corpus = "Wikipedia paragraphs" if arguments.squad else "biographies"
    starts = range(0, len(rows), arguments.batch)
    padding = sum(arguments.batch * max(map(len, rows[at : at + arguments.batch])) for at in starts) / real
    title = (
        f"{arguments.model}, {arguments.method}, {corpus}: {len(rows)} texts of {real / len(rows):.0f} tokens, batches "
        f"of {arguments.batch} in random order padded to {padding:.2f} times, {arguments.rounds} rounds"
    )
    head = ["way", "tokens a second", *bases, "MiB of GPU memory, without weights"]
    print_table(title, head, table_rows(measured, tokens, bases), machine(device))


if __name__ == "__main__":
    main()
