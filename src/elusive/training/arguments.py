"""The arguments of transformers' Trainer: which Elusive sets, which may be given, and which are refused."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import TrainingArguments

from elusive.config.training import Precision, TrainSettings
from elusive.errors import ElusiveError
from elusive.models.devices import computes_bfloat16

from .trackers import check_trackers, tracked_name


@dataclass(frozen=True)
class FitSettings:
    """What `fit` needs in addition to the sequences; both kinds of training translate their settings to this."""

    learning_rate: float
    lr_scheduler: Literal["linear", "cosine", "constant"]
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    precision: Precision
    seed: int
    save_steps: int
    gradient_checkpointing: bool = False
    gradient_accumulation_steps: int = 1
    l2_sp: float = 0.0
    training_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, settings: TrainSettings) -> "FitSettings":
        """Those of a training on texts."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: getattr(settings, name) for name in names})


def trainer_arguments(
    settings: FitSettings, steps: int, folder: Path, device: torch.device, *, use_cache: bool
) -> TrainingArguments:
    """The arguments of transformers' Trainer.

    Args:
        settings: of the training.
        steps: optimizer steps.
        folder: for checkpoints, in that of the model.
        device: where it is trained.
        use_cache: as the model's configuration has it; the Trainer writes it into the one that is saved.

    Raises:
        ElusiveError: if an argument is unknown, refused or set elsewhere, or a tracker is
            missing.
    """
    bfloat16 = settings.precision == "bf16" or (settings.precision == "auto" and computes_bfloat16(device))
    check_arguments(settings.training_arguments)
    chosen: dict[str, Any] = {
        "lr_scheduler_type": settings.lr_scheduler if settings.lr_scheduler != "constant" else "constant_with_warmup",
        "optim": "adamw_torch_fused",
        "save_total_limit": 2,
        "logging_steps": max(1, min(50, steps // 10)),
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": device.type == "cuda",
        "ddp_find_unused_parameters": False,
        **settings.training_arguments,
        "run_name": tracked_name(folder.parent, settings.training_arguments.get("run_name")),
    }
    try:
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=1,  # one part of a step, whatever number of texts
            gradient_accumulation_steps=settings.gradient_accumulation_steps,
            learning_rate=settings.learning_rate,
            warmup_steps=round(settings.warmup_ratio * steps),
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            bf16=bfloat16,
            use_cpu=device.type == "cpu",
            seed=settings.seed,
            save_strategy="steps" if settings.save_steps else "no",
            save_steps=settings.save_steps or 500,
            remove_unused_columns=False,
            gradient_checkpointing=settings.gradient_checkpointing,
            use_cache=use_cache,
            **chosen,
        )
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        raise ElusiveError(f"train.training_arguments: transformers' TrainingArguments refuse them: {error}") from error
    # Without a launcher one process uses one device: DataParallel would take rows of its own for each.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


_SETTINGS = {
    "max_steps": "max_steps",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "auto_find_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "learning_rate": "learning_rate",
    "warmup_steps": "warmup_ratio",
    "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm",
    "bf16": "precision",
    "fp16": "precision",
    "seed": "seed",
    "save_strategy": "save_steps",
    "save_steps": "save_steps",
    "gradient_checkpointing": "gradient_checkpointing",
    "eval_strategy": "evaluate_at_epochs",
    "do_eval": "evaluate_at_epochs",
}
"""TrainingArguments that settings of [train] stand for."""


_KEPT = {
    "output_dir",
    "use_cpu",
    "use_cache",
    "remove_unused_columns",
    "train_sampling_strategy",
    "dataloader_drop_last",
    "ignore_data_skip",
    "average_tokens_across_devices",
    "resume_from_checkpoint",
    "load_best_model_at_end",
}
"""TrainingArguments that would change which tokens are seen, or how a run is resumed."""


_LAUNCHED = {"fsdp", "fsdp_config", "deepspeed"}
"""TrainingArguments that would spread weights which have been loaded whole by then."""


def check_arguments(given: Mapping[str, Any]) -> None:
    """Refuse what cannot be passed through to transformers' TrainingArguments.

    Args:
        given: values by field name.

    Raises:
        ElusiveError: if a name is none of theirs, or stands for something that Elusive decides, or a tracker is
            missing.
    """
    check_trackers(given)
    names = {field.name for field in dataclasses.fields(TrainingArguments) if field.init}
    for name in given:
        if name in _SETTINGS:
            raise ElusiveError(f"train.training_arguments: expected no '{name}'. Set train.{_SETTINGS[name]} instead.")
        if name in _KEPT:
            raise ElusiveError(
                f"train.training_arguments: expected no '{name}'. It would change which tokens are seen, or how a run "
                "resumes."
            )
        if name in _LAUNCHED:
            raise ElusiveError(
                f"train.training_arguments: expected no '{name}'. Weights are spread by `accelerate launch` with FSDP "
                "in its configuration, before they are loaded."
            )
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise ElusiveError(
                f"train.training_arguments: '{name}' is no field of transformers' TrainingArguments.{hint}"
            )
