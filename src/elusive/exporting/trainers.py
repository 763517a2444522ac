"""Stanzas and scripts that train on an export: LLaMA-Factory, axolotl, TRL, torchtune, and plain transformers.

Each trainer appends eos itself, so it never stands in the texts. Options that would lose tokens are
switched off: packing that drops a tail, limits that cut, loaders that drop the last batch. All use train.parquet,
because a JSON reader turns texts and ids that look like dates into dates.
"""

import dataclasses
import json
import math
import pprint
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml

from elusive.config.training import TrainSettings
from elusive.training.steps import steps_for, with_steps

from .base_model import BaseModel
from .splitting import RowCounts

_EXPERTS_WITHOUT = "linear layers alone: experts and routers have no adapters, as they have in `elusive train`"


_OPTIMIZER = "adamw_torch_fused"


@dataclasses.dataclass(frozen=True)
class Plan:
    """One training, in the terms that all trainers share.

    Attributes:
        model: name of the base model, relative to the export folder.
        revision: commit or branch of a hub model.
        dtype: type of its weights, as scripts load them.
        settings: how to train.
        max_length: longest row in tokens.
        rows: rows of train.jsonl.
        tokens: their tokens, special tokens and eos included.
        targets: of LoRA, as arguments of peft's LoraConfig; those of `elusive train`.
    """

    model: str
    revision: str
    dtype: str
    settings: TrainSettings
    max_length: int
    rows: int
    tokens: int
    targets: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"target_modules": "all-linear"})

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return steps_for(self.rows, self.settings)

    @property
    def adapts_experts(self) -> bool:
        """Whether `elusive train` adapts weights that are no linear layers of their own, as those of experts."""
        return "target_parameters" in self.targets

    @property
    def warmup_steps(self) -> int:
        """Steps in which the learning rate rises."""
        return round(self.settings.warmup_ratio * self.steps)

    @property
    def scheduler(self) -> str:
        """transformers' name of the schedule."""
        return self.settings.lr_scheduler if self.settings.lr_scheduler != "constant" else "constant_with_warmup"


def plan(base: BaseModel, settings: TrainSettings, dtype: str, counts: RowCounts) -> Plan:
    """The training that all files describe."""
    settings = with_steps(settings, counts.rows, counts.tokens)
    targets = {"targets": base.lora_targets(settings)} if settings.method == "lora" else {}
    length = base.row_length(settings)
    return Plan(base.path, base.revision, dtype, settings, length, counts.rows, counts.tokens, **targets)


def trainer_files(plan: Plan, name: str) -> dict[str, str]:
    """The stanzas and scripts by file name.

    Args:
        plan: the training.
        name: the data set's name within LLaMA-Factory.
    """
    return {
        "dataset_info.json": _llama_factory_data(name),
        "llama_factory.yaml": _llama_factory(plan, name),
        "axolotl.yaml": _axolotl(plan),
        "torchtune.sh": _torchtune(plan),
        "train_with_trl.py": _script("train_with_trl.py.jinja", plan),
        "train_with_transformers.py": _script("train_with_transformers.py.jinja", plan),
    }


def _llama_factory_data(name: str) -> str:
    info = {name: {"file_name": "train.parquet", "columns": {"prompt": "text"}}}
    return json.dumps(info, indent=2, ensure_ascii=False) + "\n"


def _llama_factory(plan: Plan, name: str) -> str:
    train = plan.settings
    lora = {"lora_rank": train.lora_rank, "lora_alpha": train.lora_alpha, "lora_dropout": 0.0, "lora_target": "all"}
    return _stanza(
        "LLaMA-Factory, started in this folder: llamafactory-cli train llama_factory.yaml",
        {
            "model_name_or_path": plan.model,
            **({"model_revision": plan.revision} if plan.revision else {}),
            "stage": "pt",
            "do_train": True,
            "finetuning_type": train.method,
            **(lora if train.method == "lora" else {}),
            "dataset": name,
            "dataset_dir": ".",
            "template": "empty",
            "cutoff_len": plan.max_length,
            "packing": False,
            "output_dir": "output/llama_factory",
            "per_device_train_batch_size": train.batch_size,
            "gradient_accumulation_steps": 1,
            "num_train_epochs": train.epochs,
            **({"max_steps": train.max_steps} if train.max_steps else {}),
            "learning_rate": train.learning_rate,
            "lr_scheduler_type": plan.scheduler,
            "warmup_steps": plan.warmup_steps,
            "weight_decay": train.weight_decay,
            "max_grad_norm": train.max_grad_norm,
            "optim": _OPTIMIZER,
            "bf16": train.precision != "fp32",
            "disable_gradient_checkpointing": not train.gradient_checkpointing,
            "seed": train.seed,
            "logging_steps": 10,
            "save_strategy": "epoch",
            "report_to": "none",
        },
        {
            "template": "the model's chat template would change its eos token",
            "cutoff_len": "no text is longer: nothing is cut",
            "packing": "packing, the default of this stage, drops the tail of each 1,000 texts",
            **({"lora_target": _EXPERTS_WITHOUT} if plan.adapts_experts else {}),
        },
    )


def _axolotl(plan: Plan) -> str:
    train = plan.settings
    lora = {
        "adapter": "lora",
        "lora_r": train.lora_rank,
        "lora_alpha": train.lora_alpha,
        "lora_dropout": 0.0,
        **(
            {f"lora_{key}": plan.targets[key] for key in ("target_modules", "target_parameters")}
            if plan.adapts_experts
            else {"lora_target_linear": True}
        ),
    }
    return _stanza(
        "axolotl, started in this folder: axolotl train axolotl.yaml",
        {
            "base_model": plan.model,
            **({"revision_of_model": plan.revision} if plan.revision else {}),
            **(lora if train.method == "lora" else {}),
            "datasets": [{"path": "train.parquet", "ds_type": "parquet", "type": "completion", "field": "text"}],
            "dataset_prepared_path": "output/axolotl_prepared",
            "val_set_size": 0.0,
            "sequence_len": plan.max_length,
            "excess_length_strategy": "raise",
            "sample_packing": False,
            "pad_to_sequence_len": False,
            "output_dir": "output/axolotl",
            "micro_batch_size": train.batch_size,
            "gradient_accumulation_steps": 1,
            "num_epochs": train.epochs,
            **({"max_steps": train.max_steps} if train.max_steps else {}),
            "learning_rate": train.learning_rate,
            "lr_scheduler": plan.scheduler,
            "warmup_steps": plan.warmup_steps,
            "weight_decay": train.weight_decay,
            "max_grad_norm": train.max_grad_norm,
            "optimizer": _OPTIMIZER,
            "bf16": "auto" if train.precision == "auto" else train.precision == "bf16",
            "gradient_checkpointing": train.gradient_checkpointing,
            "seed": train.seed,
            "logging_steps": 10,
            "save_strategy": "epoch",
        },
        {
            "sequence_len": "no text is longer: nothing is cut",
            "excess_length_strategy": "the default would drop longer texts",
            "sample_packing": "each text is a sequence of its own",
            "lora_target_parameters": "`elusive train` gives gate and up projections in one weight twice the rank",
        },
    )


def _torchtune(plan: Plan) -> str:
    train = plan.settings
    # Its loader drops an incomplete last batch; batches of one text are never incomplete, and gradients are summed.
    whole = plan.rows % train.batch_size == 0
    epochs, steps_per_epoch = _torchtune_epochs(plan)
    overrides = _torchtune_overrides(plan, train.batch_size if whole else 1, epochs, steps_per_epoch)
    words = [f"{key}={shlex.quote(str(value))}" for key, value in overrides.items()]
    return (
        environment()
        .get_template("torchtune.sh.jinja")
        .render(
            plan=plan,
            overrides=words,
            whole=whole,
            epochs=epochs,
            exact=steps_per_epoch > 0 or (not train.max_steps and epochs == train.epochs),
            recipe=f"{train.method}_finetune_single_device",
            example=f"llama3_2/1B_{train.method}_single_device",
            cosine=train.lr_scheduler == "cosine",
        )
    )


def _torchtune_overrides(plan: Plan, batch_size: int, epochs: int, steps_per_epoch: int) -> dict[str, Any]:
    train = plan.settings
    lora = {
        "model.lora_rank": train.lora_rank,
        "model.lora_alpha": train.lora_alpha,
        "model.lora_dropout": 0.0,
        "model.lora_attn_modules": "[q_proj,k_proj,v_proj,output_proj]",
        "model.apply_lora_to_mlp": True,
    }
    return {
        "dataset._component_": "torchtune.datasets.text_completion_dataset",
        "dataset.source": "parquet",
        "dataset.split": "train",
        "dataset.column": "text",
        "dataset.add_eos": True,
        "dataset.packed": False,
        "tokenizer.max_seq_len": "null",
        "batch_size": batch_size,
        "gradient_accumulation_steps": train.batch_size // batch_size,
        "epochs": epochs,
        "max_steps_per_epoch": steps_per_epoch or "null",
        "optimizer.lr": train.learning_rate,
        "optimizer.weight_decay": train.weight_decay,
        "lr_scheduler._component_": "torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup",
        "lr_scheduler.num_warmup_steps": plan.warmup_steps,
        "clip_grad_norm": train.max_grad_norm or "null",
        "dtype": "fp32" if train.precision == "fp32" else "bf16",
        "enable_activation_checkpointing": train.gradient_checkpointing,
        "seed": train.seed,
        # A full training's configurations have it, and then refuse summed gradients and clipping.
        **(lora if train.method == "lora" else {"optimizer_in_bwd": False}),
    }


def _torchtune_epochs(plan: Plan) -> tuple[int, int]:
    """Whole epochs, and steps of each (0: all): torchtune has no steps over several epochs."""
    if not plan.settings.max_steps:
        return math.ceil(plan.settings.epochs), 0
    per_epoch = max(1, plan.rows // plan.settings.batch_size)
    epochs = math.ceil(plan.settings.max_steps / per_epoch)
    return epochs, plan.settings.max_steps if epochs == 1 else 0


def _script(template: str, plan: Plan) -> str:
    return environment().get_template(template).render(plan=plan, train=plan.settings)


def _stanza(head: str, entries: dict[str, Any], comments: dict[str, str]) -> str:
    """YAML, one comment line above each key that has one."""
    lines = [f"# {head}\n# Paths are relative to this folder.\n"]
    for key, value in entries.items():
        lines += [f"# {comments[key]}\n"] if key in comments else []
        lines.append(yaml.dump({key: value}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000))
    return "".join(lines)


class _Dumper(yaml.SafeDumper):
    pass


def _float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    # YAML 1.1 reads 5e-05 as a string, and so do some trainers' loaders: there must be a point.
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_Dumper.add_representer(float, _float)


def environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["python"] = repr
    made.filters["literal"] = lambda value, indent: pprint.pformat(value).replace("\n", "\n" + " " * indent)
    return made
