"""The optimisation itself, by transformers' Trainer: rows of tokens in a given order, on one process or several.

The order of all rows is drawn before the first step, so a run that was stopped and resumed sees exactly the rows that
it would have seen, and so do several processes together.
"""

import contextlib
import dataclasses
import functools
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.loss.loss_utils import ForCausalLMLoss

from elusive.augmentation.marks import MarkUse
from elusive.errors import ElusiveError
from elusive.models import processes
from elusive.models.devices import peak_bytes
from elusive.models.loading import innermost, without_future_warnings
from elusive.runs.files import ProgressFunction, silent, write_jsonl
from elusive.runs.folder import METRICS
from elusive.runs.progress import Shown
from elusive.runs.stopping import stop_deferred

from .arguments import FitSettings, trainer_arguments
from .checkpoints import (
    CHECKPOINTS,
    MarkCheckpoints,
    UnloggedLoss,
    discard_partial,
    newest_checkpoint,
    read_unlogged_loss,
)
from .hiding import hiding
from .marked_rows import MarkedRow, Row, RowCollator
from .packing import PACKED, attention_of
from .sequences import split_step
from .starting_point import StartingPointDecay
from .trackers import point_tensorboard

Ask = Callable[[Any, float], Mapping[str, float]]
"""Asks a model in its training, after so many passes; called in every process, returns measures in the main one."""


@dataclass(frozen=True)
class Steps:
    """What each step trains on.

    Attributes:
        rows: tokens by number, with their marks where there are any; made when they are asked for, perhaps.
        lengths: tokens of each row, int64 (rows,).
        order: row numbers of each step.
        rows_a_pass: how many of the arm's rows make up one pass.
        replay_from: rows from this number on are replay, and belong to no pass.
        uses: to what use any of the rows are marked.
        steepness: of the masking that rises over the steps, see `strength`.
    """

    rows: Any
    lengths: Sequence[int] | np.ndarray
    order: Sequence[np.ndarray]
    rows_a_pass: int
    replay_from: int
    uses: frozenset[MarkUse] = frozenset()
    steepness: float = 0.0

    def strength(self, step: int) -> float:
        """The strength of masking in a step, from 0: a logistic curve over the training with its middle at one half."""
        done = (step + 0.5) / len(self.order)
        return 1 / (1 + math.exp(-self.steepness * (done - 0.5)))

    @functools.cached_property
    def tokens_after(self) -> np.ndarray:
        """Tokens trained on up to each step, replay included, int64 (steps,)."""
        lengths = np.asarray(self.lengths, dtype=np.int64)
        return np.cumsum([int(lengths[rows].sum()) for rows in self.order])

    @functools.cached_property
    def passes_after(self) -> np.ndarray:
        """Passes over the arm's rows up to each step, float64 (steps,)."""
        return np.cumsum([np.count_nonzero(rows < self.replay_from) for rows in self.order]) / self.rows_a_pass


class _Parts(Dataset):
    """Each step's rows in parts, one for each process and accumulated batch, in the order in which they are taken."""

    def __init__(self, steps: Steps, parts: int) -> None:
        self.steps, self.parts = steps, parts

    def __len__(self) -> int:
        return len(self.steps.order) * self.parts

    def __getitem__(self, index: int) -> list[Row]:
        step, part = divmod(index, self.parts)
        rows = split_step(self.steps.order[step], self.steps.lengths, self.parts)[part]
        strength = self.steps.strength(step)
        found = (self.steps.rows[row] for row in rows)
        return [row.at(strength) if isinstance(row, MarkedRow) else row for row in found]


class _Collator:
    """One part as a batch; a process without rows in the last step takes part with a token that nothing predicts."""

    def __init__(self, collate: RowCollator) -> None:
        self.collate = collate

    def __call__(self, parts: Sequence[list[Row]]) -> dict[str, Any]:
        [rows] = parts
        return self.collate(rows) if rows else self.collate.nothing()


class _OrderedTrainer(Trainer):
    """Takes the rows in the order in which they come; it was drawn before.

    What it has not logged yet goes into the checkpoints: else the first loss after a stop would be that of the steps
    since the last checkpoint alone.
    """

    _before_stop: UnloggedLoss | None = None
    _loss_since_log: torch.Tensor
    compute_loss_func: Callable[..., Any] | None

    def resume_loss(self, checkpoint: Path) -> None:
        """Go on with the loss that a checkpoint holds; one of another number of processes holds none for this one."""
        self._before_stop = read_unlogged_loss(checkpoint)

    @property
    def unlogged_loss(self) -> UnloggedLoss:
        """This process's loss since the last log."""
        return UnloggedLoss(self._loss_since_log.item(), self._globalstep_last_logged)

    def training_step(self, *args: Any, **options: Any) -> torch.Tensor:
        """The loss of one part of a step; with the first after a stop, what was not logged before it."""
        loss = super().training_step(*args, **options)
        if self._before_stop:
            loss = loss + self._before_stop.loss
            self._globalstep_last_logged = self._before_stop.logged_at
            self._before_stop = None
        return loss

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
        """The loss of one part of a step, with keys hidden and labels weighed where its rows are marked for it."""
        hidden_BT, weights = inputs.pop("hidden_keys", None), inputs.pop("weights", None)
        own_loss = self.compute_loss_func
        if weights is not None and not weights.plain:
            smoothing = self.args.label_smoothing_factor
            self.compute_loss_func = functools.partial(weights.loss, label_smoothing=smoothing)
        try:
            with hiding(hidden_BT):
                return super().compute_loss(model, inputs, *args, **options)
        finally:
            self.compute_loss_func = own_loss

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> Any:
        """What all labels of a step weigh; without weights their number, as the Trainer counts it."""
        if not batch_samples or "weights" not in batch_samples[0]:
            return super()._get_num_items_in_batch(batch_samples, device)
        total: Any = torch.tensor(sum(batch["weights"].total for batch in batch_samples), device=device)
        gathered: Any = self.accelerator.gather(total)  # itself in a single process
        return gathered.sum()

    def _maybe_log_save_evaluate(self, tr_loss: torch.Tensor, *args: Any, **options: Any) -> None:
        self._loss_since_log = tr_loss  # logging sets it to zero in place
        super()._maybe_log_save_evaluate(tr_loss, *args, **options)

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # pyright: ignore[reportArgumentType]

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the count walks over all parameters in every step, which a tiny model notices."""
        return 0


class _Report(TrainerCallback):
    """Shows the steps, with the loss since the last log; the last step is done once its loss is logged."""

    def __init__(self, progress: ProgressFunction) -> None:
        self.progress = progress

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if logs and "loss" in logs and isinstance(self.progress, Shown):
            self.progress.remark(f"loss {logs['loss']:.3f}")

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step < state.max_steps:
            self._show(state)

    def on_train_end(self, args, state, control, **kwargs) -> None:
        if state.global_step == state.max_steps:
            self._show(state)

    def _show(self, state: Any) -> None:
        if state.is_world_process_zero:
            self.progress(state.global_step, state.max_steps)


class _Metrics(TrainerCallback):
    """A line for each log entry; lines of steps that are trained again after a stop are dropped first."""

    def __init__(self, path: Path, steps: Steps, resumed_at: int) -> None:
        self.path, self.steps = path, steps
        if processes.is_main() and path.exists():
            write_jsonl(path, [row for row in _whole_lines(path) if row["step"] <= resumed_at])

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        kept = {key.removeprefix("eval_"): value for key, value in (logs or {}).items() if key in _LOGGED}
        if kept and state.is_world_process_zero:
            step = state.global_step
            passes, tokens = self.steps.passes_after[step - 1], self.steps.tokens_after[step - 1]
            row = {"step": step, "epoch": round(float(passes), 6), "tokens": int(tokens), **kept}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8", newline="\n") as stream:
                stream.write(json.dumps(row) + "\n")


_LOGGED = ("loss", "grad_norm", "learning_rate", "eval_em", "eval_f1", "eval_questions", "eval_seconds")


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that was appended to; a last line that was cut off is left out."""
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines()]


class _Asking(TrainerCallback):
    """Asks questions after chosen steps, under the model's own attention and precision."""

    def __init__(self, trainer: Trainer, ask: Ask, at: Mapping[int, Sequence[float]], attention: str) -> None:
        self.trainer, self.ask, self.at, self.attention = trainer, ask, at, attention

    def on_step_end(self, args, state, control, **kwargs) -> None:
        for epoch in self.at.get(state.global_step, ()):
            model = self.trainer.model
            with attention_of(model, self.attention), _own_forward(model):
                found = self.ask(model, epoch)
            self.trainer.log({f"eval_{name}": value for name, value in found.items()})


class _Stopping(TrainerCallback):
    """Ends the training after the step in which SIGTERM came, with a checkpoint where any are written."""

    def __init__(self, is_told: Callable[[], bool]) -> None:
        self.is_told = is_told

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if self.is_told():
            control.should_training_stop = True
            control.should_save = args.save_strategy != "no"


@contextlib.contextmanager
def _stopping_between_steps(trainer: Trainer) -> Iterator[None]:
    if processes.count() > 1:  # they are told at different steps, and could not save together
        yield
        return
    with stop_deferred() as is_told:
        trainer.add_callback(_Stopping(is_told))
        yield


@contextlib.contextmanager
def _own_forward(model: Any) -> Iterator[None]:
    """Take off the mixed precision that accelerate puts around a model's forward method."""
    mixed = model.forward
    model.forward = getattr(model, "_original_forward", mixed)
    try:
        yield
    finally:
        model.forward = mixed


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What a training did.

    Attributes:
        steps: optimizer steps.
        loss: the last logged mean loss.
        tokens_trained: tokens over all steps, those of the replay included.
        processes: how many trained together.
        seconds: of the call; of a resumed training, since it resumed.
        peak_bytes: most memory that this process, the main one, has used: of its GPU, or else of the machine.
    """

    steps: int
    loss: float
    tokens_trained: int
    processes: int
    seconds: float
    peak_bytes: int = dataclasses.field(default=0, kw_only=True)


@without_future_warnings()
def fit(
    model: Any,
    steps: Steps,
    settings: FitSettings,
    folder: Path,
    *,
    device: torch.device | None = None,
    collate: RowCollator = RowCollator(packed=False),
    ask: Ask | None = None,
    ask_at: Mapping[int, Sequence[float]] | None = None,
    progress: ProgressFunction = silent,
) -> tuple[Fitted, dict[str, Any] | None]:
    """Train a model on rows in a given order; resumes from the newest whole checkpoint.

    Args:
        model: transformers or peft model; trained in place.
        steps: the rows, and which of them each step trains on.
        settings: optimisation.
        folder: the model's own; metrics.jsonl goes here, and `checkpoints`, left for the caller to remove once its own
            result is written.
        device: where it is trained (None: where it is).
        collate: makes batches of the rows, packed (see `packing.packs`) or padded.
        ask: asks the model in its training.
        ask_at: steps after which it is asked, and the passes that these stand for.
        progress: called with (steps done, steps).

    Returns:
        What was done; and the weights, gathered in the main process, where they are sharded over processes.

    Raises:
        ElusiveError: if an argument of the Trainer's is unknown, refused or set elsewhere.
    """
    checkpoints = folder / CHECKPOINTS
    if processes.is_main():
        discard_partial(checkpoints)
    own_attention = innermost(model).config._attn_implementation
    arguments = trainer_arguments(
        settings, len(steps.order), checkpoints, device or model.device, use_cache=model.config.use_cache
    )
    trainer = _trainer(model, steps, arguments, collate)
    point_tensorboard(trainer.callback_handler.callbacks, folder)
    trainer.add_callback(_Report(progress))
    if settings.l2_sp:  # of the weights as they are now: a checkpoint is loaded later
        trainer.add_callback(StartingPointDecay(model, settings.l2_sp))
    trainer.add_callback(MarkCheckpoints(checkpoints, lambda: trainer.unlogged_loss))
    found = newest_checkpoint(checkpoints)
    if found:
        trainer.resume_loss(found)
    trainer.add_callback(_Metrics(folder / METRICS, steps, int(found.name.rpartition("-")[2]) if found else 0))
    if ask:
        trainer.add_callback(_Asking(trainer, ask, ask_at or {}, own_attention))
    began = time.monotonic()
    for name in ("trainer", "trainer_utils"):
        logging.getLogger(f"transformers.{name}").setLevel(logging.ERROR)
    with attention_of(model, PACKED if collate.packed else own_attention), _stopping_between_steps(trainer):
        result = trainer.train(resume_from_checkpoint=str(found) if found else None)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    fitted = Fitted(
        steps=result.global_step,
        loss=round(float(losses[-1] if losses else result.training_loss), 4),
        tokens_trained=int(steps.tokens_after[-1]),
        processes=trainer.args.world_size,
        seconds=round(time.monotonic() - began, 1),
        peak_bytes=peak_bytes(trainer.args.device),
    )
    return fitted, _gathered_weights(trainer, model)


def _trainer(model: Any, steps: Steps, arguments: TrainingArguments, collate: RowCollator) -> _OrderedTrainer:
    parts = arguments.gradient_accumulation_steps * arguments.world_size
    try:
        trainer = _OrderedTrainer(
            model=model,
            args=arguments,
            train_dataset=_Parts(steps, parts),
            data_collator=_Collator(collate),
        )
    except (ImportError, RuntimeError) as error:  # a tracker of report_to that is not whole
        raise ElusiveError(f"train.training_arguments: transformers' Trainer refuses them: {error}") from error
    if trainer.is_deepspeed_enabled:
        raise ElusiveError("Expected DDP or FSDP, got DeepSpeed, whose weights cannot be gathered here. Use FSDP.")
    if not trainer.model_accepts_loss_kwargs:
        # Its own loss is a mean over one part, whatever share of the step's tokens that has.
        trainer.compute_loss_func = _mean_over_step
    # It prints its log dictionaries; progress is shown by our callback instead.
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def _gathered_weights(trainer: Trainer, model: Any) -> dict[str, Any] | None:
    """The whole weights, in the main process, of a model that is sharded; tied ones once."""
    if not trainer.is_fsdp_enabled:
        return None
    tied = getattr(innermost(model), "all_tied_weights_keys", {})
    gathered = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return {name: weight for name, weight in gathered.items() if name not in tied}


def _mean_over_step(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    logits = outputs["logits"]
    return ForCausalLMLoss(logits, labels, logits.shape[-1], num_items_in_batch=num_items_in_batch)
