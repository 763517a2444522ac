"""Continual pretraining of a model on one arm's texts: LoRA or full, packed where that can be, resumable."""

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from elusive.augmentation.marks import MarkUse
from elusive.config.models import ModelRef
from elusive.config.toml import to_table
from elusive.config.training import TrainSettings
from elusive.corpus.quarantine import QUARANTINE
from elusive.corpus.readers import read_corpus
from elusive.errors import ElusiveError
from elusive.models import processes
from elusive.models.devices import default_device
from elusive.models.loading import (
    base_of,
    base_revision,
    config_context,
    innermost,
    load_model,
    load_tokenizer,
    model_identity,
)
from elusive.models.names import EMBEDDED, resolve
from elusive.models.rotary import RotaryRule
from elusive.runs.files import ProgressFunction, file_hash, read_json, silent, write_text
from elusive.runs.folder import METRICS
from elusive.runs.stage import Stage, stage_settings
from elusive.runs.terminal import note, warn
from elusive.runs.typed_json import from_json, to_json
from elusive.storage import Location, local, located

from .adapters import LinearWeights, adapters_of, with_adapters
from .arguments import FitSettings, check_arguments
from .averaging import average_with_start
from .card import ModelCard
from .chat_rows import chat_rows
from .checkpoints import remove_checkpoints
from .fresh import fresh_rows, ranking_beside
from .hiding import check_hides
from .losses import reference_losses
from .marked_rows import MarkedRow, ReferencedRows, Row, RowCollator, marked_rows, mask_token_id
from .origin import Origin, origin_of
from .packing import check_padded, packs
from .sequences import row_order, tokenize_rows
from .start import Start, bases_in
from .steps import default_row_length, draws_for, steps_for, with_steps
from .texts import TrainingTexts
from .trainer import Fitted, Steps, fit


@dataclass(frozen=True)
class Evaluator:
    """How a model is evaluated during its training.

    Attributes:
        evaluate: called with the model, its tokenizer and the epochs so far, in every process; returns measures.
        identity: all that its answers depend on except the model; JSON types only.
    """

    evaluate: Callable[[Any, PreTrainedTokenizerFast, float], Mapping[str, float]]
    identity: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Training(Fitted):
    """A finished training.

    Attributes:
        texts: texts that were trained on.
        rows: sequences of one epoch over them.
        tokens: their tokens.
        packed: whether a step's texts were packed into one sequence.
        origin: how the texts were made; None where nothing beside them says so.
    """

    texts: int
    rows: int
    tokens: int
    packed: bool
    origin: Origin | None = field(default=None, kw_only=True)


def _check_frequencies(steps: Steps, rule: RotaryRule) -> None:
    """Refuse steps whose rows have different rotary frequencies: a short row would be trained with a long one's.

    Raises:
        ElusiveError: if there is such a step.
    """
    mixed = [rows for rows in steps.order if len({rule.group(int(steps.lengths[row])) for row in rows}) > 1]
    if mixed:
        raise ElusiveError(
            f"train.max_length: this model has other rotary frequencies for rows of more than {rule.shared} tokens "
            f"than for shorter ones, and {len(mixed)} of {len(steps.order)} steps hold both. Set it to {rule.shared} "
            "or less, or train.batch_size = 1."
        )


def train(
    texts: str | Location,
    folder: str | Path,
    *,
    model: ModelRef,
    settings: TrainSettings | None = None,
    trained: str | Path | None = None,
    bases: str | Path | None = None,
    evaluator: Evaluator | None = None,
    progress: ProgressFunction = silent,
) -> Training:
    """Continue the pretraining of a model on one arm's texts.

    Launched in several processes (torchrun, accelerate launch), these share each step's texts.

    Args:
        texts: a `train.jsonl` (`text` in each line), with its `ranking.parquet` beside it for fresh copies.
        folder: where the model or its adapters, the tokenizer and metrics.jsonl go.
        model: what is trained: its name, dtype, device and quantization.
        settings: how to train.
        trained: a folder in which the weights of this training may lie, not averaged (average = 1); they are then
            averaged, to the same weights, and nothing is trained.
        bases: where a whole model is written that the adapters stand on, if there is none that peft can load (None:
            in `folder`).
        evaluator: how it is evaluated after the epochs of `settings.evaluate_at_epochs`.
        progress: called with (steps done, steps).

    Returns:
        What was trained on, and how; at once if the folder is done.

    Raises:
        ElusiveError: if the folder was begun with other settings, there is nothing to train on, a row of the texts is
            bad, the model's weights or adapters cannot be trained in this way, questions are to be asked after the end
            or where there are none, an argument of the Trainer's is refused, or fresh copies are asked for of texts
            that ranking.parquet does not give.
    """
    settings = settings or TrainSettings()
    start, bases = Start(model, settings), Path(bases) if bases else bases_in(local(folder, "a trained model"))
    start.check()
    _check_before_loading(settings, evaluator)
    identity = _identity(texts, model, settings, evaluator)
    device = default_device() if model.device == "auto" else model.device
    main = processes.is_main()
    with contextlib.ExitStack() as begun:
        with processes.main_first(cpu=device == "cpu"):
            stage = begun.enter_context(Stage(folder, identity, writes=main))
        if not stage.done and trained and _holds(trained, identity):
            _average(Path(trained), stage, start, bases)
        elif not stage.done:
            _train(texts, stage, start, bases, device, evaluator, progress)
        if main:
            remove_checkpoints(stage.folder)
        with processes.main_first(cpu=True):
            return from_json(Training, stage.summary, str(stage.folder))


def _train(
    texts: str | Location,
    stage: Stage,
    start: Start,
    bases: Path,
    device: str,
    evaluator: Evaluator | None,
    progress: ProgressFunction,
) -> None:
    model, settings = start.model, start.settings
    count = TrainingTexts(located(texts)).check(
        settings.skip_bad, stage.folder / QUARANTINE if processes.is_main() else None
    )
    tokenizer = load_tokenizer(model)
    # Weights that are to be spread over the processes may fit none of their devices.
    learner: Any = start.load(bases, "cpu" if processes.share_weights() else device)
    rule = RotaryRule.of(learner.config)
    max_length = default_row_length(config_context(learner.config, model.name), settings, rule.shared)
    steps = _steps(texts, model.name, tokenizer, max_length, settings)
    _check_frequencies(steps, rule)
    if "select_loss" in steps.uses:
        steps = _with_references(steps, learner, tokenizer, model, settings)
    ask_at = _ask_at(steps, settings)
    learner = _adapted(learner, settings) if settings.method == "lora" and learner is innermost(learner) else learner
    # Where weights are shared, the main process alone may have them yet.
    packed = processes.from_main(lambda: _packed(learner, steps, settings))
    fitted, weights = fit(
        learner,
        steps,
        FitSettings.of(settings),
        stage.folder,
        device=torch.device(device) if processes.share_weights() else learner.device,
        collate=_collator(steps, tokenizer, packed, settings),
        ask=(lambda model, epoch: evaluator.evaluate(model, tokenizer, epoch)) if evaluator else None,
        ask_at=ask_at,
        progress=progress,
    )
    in_a_pass = np.sum(steps.lengths[: steps.rows_a_pass])
    if processes.is_main():
        done = Training(
            **vars(fitted),
            texts=count,
            rows=steps.rows_a_pass,
            tokens=int(in_a_pass),
            packed=packed,
            origin=origin_of(texts),
        )
        _finish(learner, weights, tokenizer, stage, start, bases, done)


def _finish(
    learner: Any,
    weights: dict[str, Any] | None,
    tokenizer: PreTrainedTokenizerFast,
    stage: Stage,
    start: Start,
    bases: Path,
    done: Training,
) -> None:
    """Write the weights, averaged with those before where that is asked for."""
    average_with_start(learner, start.model, start.settings.average, weights)
    learner.save_pretrained(stage.folder, **({} if weights is None else {"state_dict": weights}))
    if start.settings.method == "lora":
        start.name_base(stage.folder, bases)
    tokenizer.save_pretrained(stage.folder)
    write_text(stage.folder / "README.md", card_of(start.model, start.settings, done).text())  # in the place of peft's
    stage.finish(to_json(done))


def card_of(model: ModelRef, settings: TrainSettings, done: Training) -> ModelCard:
    """The card of a training that is told nothing but what it did.

    Args:
        model: what was trained.
        settings: how.
        done: what came of it.
    """
    return ModelCard(
        start=model.name,
        base=_named_base(model.name),
        revision=model.revision or base_revision(resolve(model.name)),
        settings=settings,
        fitted=done,
        texts=done.texts,
        origin=done.origin,
    )


def _named_base(name: str) -> str:
    """The whole model behind a name, by its own name where it ships with the package."""
    folder = base_of(name)
    return next((embedded for embedded, place in EMBEDDED.items() if folder == str(place)), folder)


def _average(trained: Path, stage: Stage, start: Start, bases: Path) -> None:
    """What `_train` would write, of weights that the same training without averaging wrote."""
    model = start.model
    learner = load_model(dataclasses.replace(model, name=str(trained), revision=""))
    shutil.copyfile(trained / METRICS, stage.folder / METRICS)
    done = from_json(Training, read_json(trained / "done.json"), str(trained))
    _finish(learner, None, load_tokenizer(model), stage, start, bases, done)


def _holds(trained: str | Path | None, identity: Mapping[str, Any]) -> bool:
    """Whether a folder holds the weights that this training gives before they are averaged."""
    if not trained or not (Path(trained) / "done.json").exists() or not any(Path(trained).glob("*.safetensors")):
        return False
    settings = stage_settings(trained)
    whole = {**identity, "train": {**identity["train"], "average": 1.0}}
    return {key: settings.get(key) for key in whole} == whole and "evaluation" not in whole


def _adapted(learner: PreTrainedModel, settings: TrainSettings) -> Any:
    """The model with adapters; says on which of its layers, and on which not."""
    weights = LinearWeights.of(learner)
    adapted = with_adapters(learner, settings)
    if processes.is_main():
        adapters = adapters_of(adapted, weights)
        note(adapters.in_words)
        if adapters.warning:
            warn(f"Warning: {adapters.warning}")
    return adapted


def _check_before_loading(settings: TrainSettings, evaluator: Evaluator | None) -> None:
    if settings.evaluate_at_epochs and evaluator is None:
        raise ElusiveError(
            "train.evaluate_at_epochs: expected questions, got none. Give --questions, or a corpus that has some."
        )
    check_arguments(settings.training_arguments)


def _packed(learner: Any, steps: Steps, settings: TrainSettings) -> bool:
    """Whether a step's texts are packed into one sequence.

    Raises:
        ElusiveError: if they cannot share a step in any form, or keys cannot be hidden that are to be.
    """
    shortest, longest = int(np.min(steps.lengths)), int(np.max(steps.lengths))
    if max(map(len, steps.order)) > 1 and shortest < longest:
        check_padded(learner, shortest, longest)
    packed = settings.packing and packs(learner, longest)
    if "hide_keys" in steps.uses:
        check_hides(learner, packed)
    return packed


def _collator(steps: Steps, tokenizer: PreTrainedTokenizerFast, packed: bool, settings: TrainSettings) -> RowCollator:
    masks = steps.uses & {"mask_inputs", "mask_rising"}
    return RowCollator(
        packed,
        mask_token=mask_token_id(tokenizer, settings.mask_token) if masks else 0,
        selected_ratio=settings.selected_ratio,
        weighs=bool(steps.uses & {"weigh_loss", "select_loss"}),
    )


def _identity(
    texts: str | Location, model: ModelRef, settings: TrainSettings, evaluator: Evaluator | None
) -> dict[str, Any]:
    """All that the trained weights, and what is asked in their training, depend on."""
    start = Start(model, settings).identity
    identity: dict[str, Any] = {
        "texts": file_hash(texts),
        **model_identity(model),
        **start,
        "train": to_table(settings),
    }
    if settings.copies == "fresh":
        identity["ranking"] = file_hash(ranking_beside(texts))
    if settings.replay and Path(settings.replay).is_file():
        identity["replay"] = file_hash(settings.replay)
    if settings.reference:
        identity["reference"] = model_identity(ModelRef(settings.reference))
    if settings.evaluate_at_epochs and evaluator:
        identity["evaluation"] = dict(evaluator.identity)
    return identity


def _steps(
    texts: str | Location, model: str, tokenizer: PreTrainedTokenizerFast, max_length: int, settings: TrainSettings
) -> Steps:
    """The rows of the texts and of the replay, and the order in which they are trained on."""
    rows: Any
    if settings.copies == "fresh":
        rows = fresh_rows(texts, tokenizer, max_length)
        in_a_pass = len(rows)
        settings = with_steps(settings, in_a_pass, int(rows.lengths.sum()))
        draws = draws_for(in_a_pass, settings)
        while len(rows) < draws:
            rows.count_pass()
        lengths, passes, uses = rows.lengths, rows.passes, rows.uses
    else:
        rows = _static_rows(TrainingTexts(located(texts)), tokenizer, max_length, settings)
        in_a_pass, lengths, passes = len(rows), np.array([len(row) for row in rows], dtype=np.int64), ()
        settings = with_steps(settings, in_a_pass, int(lengths.sum()))
        draws = draws_for(in_a_pass, settings)
        uses: frozenset[MarkUse] = frozenset(row.use for row in rows if isinstance(row, MarkedRow))
    replay = _replay_rows(model, tokenizer, max_length, steps_for(in_a_pass, settings), settings)
    replay_lengths = [len(row) for row in replay]
    order = row_order(
        lengths,
        replay_lengths,
        batch_size=settings.batch_size,
        replay_batch_size=settings.replay_batch_size,
        draws=draws,
        seed=settings.seed,
        passes=passes,
    )
    all_lengths = np.concatenate([lengths, np.array(replay_lengths, dtype=np.int64)])
    return Steps(rows + replay, all_lengths, order, in_a_pass, len(lengths), uses, settings.mask_steepness)


def _static_rows(
    texts: TrainingTexts, tokenizer: PreTrainedTokenizerFast, max_length: int, settings: TrainSettings
) -> list[Row]:
    if settings.chat == "bare":
        return marked_rows(texts.marked(), tokenizer, max_length, str(texts.path))
    return chat_rows(texts.titled(), tokenizer, max_length, settings.chat_request, str(texts.path))


def _with_references(
    steps: Steps, learner: Any, tokenizer: PreTrainedTokenizerFast, model: ModelRef, settings: TrainSettings
) -> Steps:
    """Steps whose rows know the loss of their labels in the reference model, as it was before any step.

    Raises:
        ElusiveError: if that model has other tokens.
    """
    rows = [row for row in map(steps.rows.__getitem__, range(steps.rows_a_pass)) if isinstance(row, MarkedRow)]
    chosen_from = {row.token_ids.tobytes(): row.token_ids for row in rows if row.use == "select_loss"}

    def found() -> list[np.ndarray]:
        reference = learner
        if settings.reference:
            if load_tokenizer(settings.reference).get_vocab() != tokenizer.get_vocab():
                raise ElusiveError(
                    f"train.reference: expected a model with the tokens of {model.name}, got {settings.reference}. "
                    "Name one of its family, or leave it empty: the model as it was before."
                )
            reference = load_model(dataclasses.replace(model, name=settings.reference, revision=""))
        return reference_losses(reference, list(chosen_from.values()), reference.device)

    # The weights of a model that is to be spread over processes may be in the main one alone.
    losses = processes.from_main(found) if processes.share_weights() else found()
    return dataclasses.replace(steps, rows=ReferencedRows(steps.rows, dict(zip(chosen_from, losses, strict=True))))


def _ask_at(steps: Steps, settings: TrainSettings) -> dict[int, list[float]]:
    """The steps after which passes of `evaluate_at_epochs` are reached: in a small corpus several in one."""
    last = float(steps.passes_after[-1])
    late = [epoch for epoch in settings.evaluate_at_epochs if epoch > last + 1e-9]
    if late:
        raise ElusiveError(
            f"train.evaluate_at_epochs: expected passes up to the last of the training, {last:g}, got {late[0]:g}. "
            "Train longer, or ask earlier."
        )
    at: dict[int, list[float]] = {}
    for epoch in settings.evaluate_at_epochs:
        at.setdefault(int(np.searchsorted(steps.passes_after, epoch - 1e-9)) + 1, []).append(epoch)
    return at


def _replay_rows(
    model: str, tokenizer: PreTrainedTokenizerFast, max_length: int, steps: int, settings: TrainSettings
) -> list[np.ndarray]:
    if not settings.replay or not settings.replay_batch_size:
        return []
    if settings.replay == "pretraining":
        from .pretraining_text import replay_texts

        texts = replay_texts(model, steps * settings.replay_batch_size)
    else:
        corpus = read_corpus(
            settings.replay, chunk_tokens=0, limit=settings.replay_documents, text_column=settings.replay_column
        )
        texts = [document.text for document in corpus.documents]
    return tokenize_rows(texts, tokenizer, max_length, "replay text")
