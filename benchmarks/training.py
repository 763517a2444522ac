"""What training costs on a CPU, beside the way of the paper's released code and beside the arithmetic alone.

    python benchmarks/training.py [--model elusive/large | 100M] [--method full | lora] [--steps 24]
        [--squad FILE]                          paragraphs of a SQuAD-form file instead of biographies

Prints a Markdown table of real tokens (no padding) a second and of ratios, taken side by side in one run as in
benchmarks/scoring.py: the same texts, originals and token-dropped copies, 8 in a step, in float32. `authors` is
transformers' Trainer on batches in random order, padded to their longest text with an attention mask, with activation
checkpointing. `ours` is `elusive.fitting.fit` on texts packed in one row, `ours, padded` the same on padded ones of
like lengths; both order the same rows. All three include what a Trainer does around a step: clipping, AdamW, logging.
`bare` is the forward and backward pass alone, of as many tokens a step, in one dense batch of 8 rows.
"""

import argparse
import copy
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from scoring import Ways, alternate, llama, print_table
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from elusive.config.models import ModelRef
from elusive.config.run import TrainSettings
from elusive.corpus.people.biographies import biography_corpus
from elusive.corpus.readers import read_corpus
from elusive.models import loading
from elusive.training.marked_rows import RowCollator
from elusive.training.packing import packs
from elusive.training.sequences import pad_right, row_order, tokenize_rows
from elusive.training.stage import with_adapters
from elusive.training.trainer import FitSettings, Steps, fit

BATCH = 8
COPIES = 10
DROPPED = 0.42
"""The mean drop rate of the embedded pair's contrast arm at the paper's alpha .6 and beta .05, 71 tokens a text."""


def training_rows(tokenizer: Any, squad: str) -> list[np.ndarray]:
    """Token rows of the originals and of copies that lost tokens."""
    documents = read_corpus(squad).documents if squad else biography_corpus(100, seed=1)[0]
    originals = tokenize_rows([document.text for document in documents], tokenizer, 512)
    generator = np.random.default_rng(0)
    copies = []
    for row in originals * COPIES:
        kept_T = generator.random(len(row)) >= DROPPED
        kept_T[[0, -1]] = True  # bos and eos
        copies.append(row[kept_T])
    return originals + copies


class _Rows(Dataset):
    def __init__(self, rows: list[np.ndarray]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.rows[index]


def _with_mask(rows: list[np.ndarray]) -> dict[str, torch.Tensor]:
    batch = pad_right(rows)
    return {**batch, "attention_mask": (batch["labels"] != -100).long()}


def authors(model: Any, rows: list[np.ndarray], folder: str) -> None:
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=len(rows) // BATCH,
        per_device_train_batch_size=BATCH,
        learning_rate=1e-5,
        gradient_checkpointing=True,
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        logging_steps=len(rows),
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=_Rows(rows), data_collator=_with_mask)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()


def ours(model: Any, rows: list[np.ndarray], packed: bool) -> None:
    settings = FitSettings(
        learning_rate=1e-5,
        lr_scheduler="linear",
        warmup_ratio=0.1,
        weight_decay=0.0,
        max_grad_norm=1.0,
        precision="fp32",
        seed=0,
        save_steps=0,
    )
    lengths = [len(row) for row in rows]
    order = row_order(lengths, batch_size=BATCH, draws=len(rows), seed=0)
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
        model(input_ids=ids_BT, labels=ids_BT, use_cache=False).loss.backward()
        model.zero_grad()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="elusive/large", help="a model, or 100M")
    parser.add_argument("--method", choices=["full", "lora"], default="full")
    parser.add_argument("--squad", default="", help="a SQuAD-form file of paragraphs")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=11)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    tokenizer = loading.load_tokenizer("elusive/large" if arguments.model == "100M" else arguments.model)
    first = (
        llama(torch.float32, 1, "sdpa")
        if arguments.model == "100M"
        else loading.load_model(ModelRef(arguments.model, device="cpu"), attention="sdpa")
    )
    assert packs(first, 512)

    def learner() -> Any:  # each way trains weights of its own
        model = copy.deepcopy(first)
        return with_adapters(model, TrainSettings()) if arguments.method == "lora" else model

    rows = training_rows(tokenizer, arguments.squad)
    np.random.default_rng(1).shuffle(rows)
    rows = rows[: arguments.steps * BATCH]
    tokens = sum(map(len, rows))
    ids_BT = torch.randint(3, 2000, (BATCH, round(tokens / len(rows))))
    own, padded, theirs, dense = (learner() for _ in range(4))
    with tempfile.TemporaryDirectory() as folder:
        ways: Ways = {
            "authors": lambda: authors(theirs, rows, folder),
            "ours": lambda: ours(own, rows, True),
            "ours, padded": lambda: ours(padded, rows, False),
            "bare": lambda: bare(dense, ids_BT, arguments.steps),
        }
        seconds = alternate(ways, arguments.rounds)
    table = []
    for name, values in seconds.items():
        count = ids_BT.numel() * arguments.steps if name == "bare" else tokens
        rates = [count / value for value in values]
        cells = [name, f"{statistics.median(rates):,.0f}"]
        for base, base_count in (("authors", tokens), ("bare", ids_BT.numel() * arguments.steps)):
            over = [rate * other / base_count for rate, other in zip(rates, seconds[base], strict=True)]
            low, middle, high = statistics.quantiles(over, n=4)
            cells.append(f"{middle:.2f} [{low:.2f}, {high:.2f}]")
        table.append(cells)
    corpus = "Wikipedia paragraphs" if arguments.squad else "biographies"
    padding = sum(BATCH * max(map(len, rows[at : at + BATCH])) for at in range(0, len(rows), BATCH)) / tokens
    title = (
        f"{arguments.model}, {arguments.method}, {corpus}: {len(rows)} texts of {tokens / len(rows):.0f} tokens, "
        f"batches of 8 in random order padded to {padding:.2f} times, {arguments.rounds} rounds"
    )
    print_table(title, ["way", "tokens a second", "over the authors'", "over bare"], table)


if __name__ == "__main__":
    main()
