"""Training on rows of tokens with transformers' Trainer: continual (LoRA or full) and from scratch.

Both ways go through `fit`. The order of all rows is drawn before the first step, so a run that was stopped and
resumed sees exactly the rows that it would have seen.
"""

import json
import logging
import math
import shutil
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import transformers
from torch.utils.data import Dataset, SequentialSampler
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Trainer, TrainerCallback, TrainingArguments

from .config import ModelSettings, Precision, TrainSettings
from .devices import computes_bfloat16
from .errors import ElusiveError
from .fresh import fresh_rows, ranking_beside
from .models import config_context, load_model, load_tokenizer, model_hash, without_future_warnings
from .readers import read_corpus
from .recipes import to_table
from .runs import ProgressFunction, Stage, file_hash, read_json, read_jsonl, silent, write_json
from .training_rows import pad_right, row_order, tokenize_rows

_LONGEST_DEFAULT_ROW = 1024


@dataclass(frozen=True)
class FitSettings:
    """What `fit` needs beside the rows; both kinds of training translate their settings to this."""

    batch_size: int
    learning_rate: float
    schedule: Literal["linear", "cosine", "constant"]
    warmup_share: float
    weight_decay: float
    clip_norm: float
    precision: Precision
    seed: int
    save_steps: int
    activation_checkpointing: bool = False


class _OrderedRows(Dataset):
    def __init__(self, rows: Any, order: np.ndarray) -> None:
        self.rows, self.order = rows, order.reshape(-1)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.rows[self.order[index]]


class _OrderedTrainer(Trainer):
    """Takes the rows in the order in which they come; it was drawn before."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # pyright: ignore[reportArgumentType]


class _Report(TrainerCallback):
    def __init__(self, progress: ProgressFunction) -> None:
        self.progress = progress

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.progress(state.global_step, state.max_steps)


@without_future_warnings()
def fit(
    model: Any,
    rows: Any,
    order: np.ndarray,
    settings: FitSettings,
    folder: Path,
    *,
    progress: ProgressFunction = silent,
) -> dict[str, Any]:
    """Train a model on rows in a given order; resumes from the newest whole checkpoint in `folder`.

    Args:
        model: transformers or peft model; trained in place.
        rows: int32 token arrays, (tokens,), by number.
        order: row numbers, (steps, batch).
        settings: optimisation.
        folder: where checkpoints go; they are left for the caller to remove once its own result is written.
        progress: called with (steps done, steps).

    Returns:
        steps, the last logged mean loss, and seconds of this call (a resumed run: since resuming).

    Raises:
        ElusiveError: if the Trainer would spread the rows over several devices or processes.
    """
    device = next(model.parameters()).device
    bfloat16 = settings.precision == "bf16" or (settings.precision == "auto" and computes_bfloat16(device))
    steps = len(order)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=order.shape[1],
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule if settings.schedule != "constant" else "constant_with_warmup",
        warmup_steps=round(settings.warmup_share * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip_norm,
        bf16=bfloat16,
        use_cpu=device.type == "cpu",
        optim="adamw_torch_fused",
        seed=settings.seed,
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or 500,
        save_total_limit=2,
        logging_steps=max(1, min(50, steps // 10)),
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
        activation_checkpointing=settings.activation_checkpointing,
        use_cache=model.config.use_cache,  # the Trainer writes it into the configuration that is saved
    )
    trainer = _OrderedTrainer(
        model=model,
        args=arguments,
        train_dataset=_OrderedRows(rows, order),
        data_collator=pad_right,
        callbacks=[_Report(progress)],
    )
    if trainer.args.n_gpu * trainer.args.world_size > 1:
        # Each device would take a batch of its own: other rows in each step than were drawn, and fewer steps.
        raise ElusiveError(
            f"Expected one training process on one device, got {trainer.args.world_size} and {trainer.args.n_gpu}. "
            'Set CUDA_VISIBLE_DEVICES to one GPU, or spread the model with models.device = "balanced".'
        )
    # It prints its log dictionaries; progress is shown by our callback instead.
    trainer.remove_callback(transformers.PrinterCallback)
    began = time.monotonic()
    logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
    result = trainer.train(resume_from_checkpoint=newest_checkpoint(folder))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "steps": result.global_step,
        "loss": round(float(losses[-1] if losses else result.training_loss), 4),
        "seconds": round(time.monotonic() - began, 1),
    }


def newest_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole; a half-written one would make resuming fail."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((str(path) for path in found if _is_whole(path)), None)


def _is_whole(checkpoint: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    weights = list(checkpoint.glob("*.safetensors"))
    parts = [checkpoint / name for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth")]
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        for path in weights:
            with safe_open(path, framework="pt") as tensors:
                tensors.keys()
    except (OSError, ValueError, SafetensorError):
        return False
    return bool(weights) and all(zipfile.is_zipfile(path) for path in parts)


def steps_for(rows: int, settings: TrainSettings) -> int:
    """Optimizer steps: max_steps, or as many as `epochs` passes take."""
    return settings.max_steps or max(1, math.ceil(settings.epochs * rows / settings.batch_size))


@without_future_warnings()
def with_adapters(model: PreTrainedModel, settings: TrainSettings) -> Any:
    """The model with LoRA adapters on every linear layer but embedding and output head.

    Reference:
        Gao et al. 2025, "Results"; Hu et al. 2022.
    """
    from peft import LoraConfig, get_peft_model

    transformers.set_seed(settings.seed)
    return get_peft_model(
        model,
        LoraConfig(
            r=settings.lora_rank,
            lora_alpha=settings.lora_alpha,
            lora_dropout=0.0,
            target_modules="all-linear",  # peft leaves the output head out
            task_type="CAUSAL_LM",
        ),
    )


def default_row_length(context: int, settings: TrainSettings) -> int:
    """Longest training row in tokens.

    Raises:
        ElusiveError: if more is asked for than the model's context holds.
    """
    if settings.max_length > context:
        raise ElusiveError(
            f"train.max_length: expected at most the model's context of {context} tokens, got {settings.max_length}."
        )
    return settings.max_length or min(context, _LONGEST_DEFAULT_ROW)


def model_to_train(models: ModelSettings, settings: TrainSettings) -> tuple[str, str, str]:
    """Which model learns: its name in score sets (large, small, trained), its folder or hub name, its revision."""
    if settings.model == "large":
        return "large", models.large, models.large_revision
    if settings.model == "small":
        return "small", models.small, models.small_revision
    return "trained", settings.model, settings.revision


def train(
    texts: str | Path,
    folder: str | Path,
    *,
    model: str,
    revision: str = "",
    loading: ModelSettings | None = None,
    settings: TrainSettings | None = None,
    progress: ProgressFunction = silent,
) -> dict[str, Any]:
    """Continue the pretraining of a model on one arm's texts.

    Args:
        texts: a `train.jsonl` (`text` in each line), with its `ranking.parquet` beside it for fresh copies.
        folder: where the model or its adapters, and the tokenizer, go.
        model: folder or hub name.
        revision: commit or branch of a hub model.
        loading: dtype and device.
        settings: how to train.
        progress: called with (steps done, steps).

    Returns:
        steps, loss, seconds, texts and rows (of one pass over the texts); at once if the folder is done.

    Raises:
        ElusiveError: if the folder was begun with other settings, there is nothing to train on, quantised weights are
            asked for, or fresh copies of texts that ranking.parquet does not give.
    """
    loading, settings = loading or ModelSettings(), settings or TrainSettings()
    if loading.quantization != "none":
        raise ElusiveError(
            f"Weights in {loading.quantization} can be scored, but not trained yet. Set quantization = none to train."
        )
    asked = {
        "texts": file_hash(texts),
        "model": model,
        "model_hash": model_hash(model),
        "revision": revision,
        "dtype": loading.dtype,
        "train": to_table(settings),
    }
    if settings.copies == "fresh":
        asked["ranking"] = file_hash(ranking_beside(texts))
    stage = Stage(folder, asked)
    if stage.done:
        return stage.summary
    tokenizer = load_tokenizer(model, revision)
    learner: Any = load_model(model, revision=revision, dtype=loading.dtype, device=loading.device)
    max_length = default_row_length(config_context(learner.config, model), settings)
    rows: Any
    if settings.copies == "fresh":
        rows = fresh_rows(texts, tokenizer, max_length)
        in_a_pass = len(rows)
        while len(rows) < steps_for(in_a_pass, settings) * settings.batch_size:
            rows.count_pass()
        lengths, passes = rows.lengths, rows.passes
    else:
        rows = tokenize_rows((row["text"] for row in read_jsonl(texts)), tokenizer, max_length, str(texts))
        in_a_pass, lengths, passes = len(rows), [len(row) for row in rows], ()
    steps = steps_for(in_a_pass, settings)
    replay = _replay_rows(model, tokenizer, max_length, steps, settings)
    order = row_order(
        lengths,
        [len(row) for row in replay],
        batch_size=settings.batch_size,
        replay_batch_size=settings.replay_batch_size,
        steps=steps,
        seed=settings.seed,
        passes=passes,
    )
    learner = with_adapters(learner, settings) if settings.method == "lora" else learner
    checkpoints = stage.folder / "checkpoints"
    figures = fit(learner, rows + replay, order, _fit_settings(settings), checkpoints, progress=progress)
    learner.save_pretrained(stage.folder)
    if settings.method == "lora":
        _name_base_model(stage.folder / "adapter_config.json", model)
    tokenizer.save_pretrained(stage.folder)
    stage.finish({**figures, "texts": sum(1 for _ in read_jsonl(texts)), "rows": in_a_pass})
    shutil.rmtree(checkpoints, ignore_errors=True)
    return stage.summary


def _name_base_model(adapter_config: Path, model: str) -> None:
    """Let adapters name their model as it was asked for (elusive/large), not by the folder it has on this machine.

    Written afterwards: peft would look a name up on the hub while it saves.
    """
    write_json(adapter_config, read_json(adapter_config) | {"base_model_name_or_path": model})


def _replay_rows(
    model: str, tokenizer: PreTrainedTokenizerFast, max_length: int, steps: int, settings: TrainSettings
) -> list[np.ndarray]:
    if not settings.replay:
        return []
    if settings.replay == "pretraining":
        from .pretraining import replay_texts

        texts = replay_texts(model, steps * settings.replay_batch_size)
    else:
        texts = [document.text for document in read_corpus(settings.replay).documents]
    return tokenize_rows(texts, tokenizer, max_length, "replay text")


def _fit_settings(settings: TrainSettings) -> FitSettings:
    return FitSettings(
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        schedule=settings.schedule,
        warmup_share=settings.warmup_share,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        precision=settings.precision,
        seed=settings.seed,
        save_steps=settings.save_steps,
        activation_checkpointing=settings.activation_checkpointing,
    )
