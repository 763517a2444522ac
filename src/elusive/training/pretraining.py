"""The embedded pair's own pretraining: a byte-level BPE tokenizer and a Llama model from scratch."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from elusive.config.toml import dump_recipe, to_table
from elusive.config.verbs import PretrainSettings
from elusive.models.devices import default_device
from elusive.models.loading import load_tokenizer
from elusive.runs.files import ProgressFunction, atomic_path, silent, write_text
from elusive.runs.stage import Stage
from elusive.runs.temporary import temporary_folder
from elusive.runs.typed_json import to_json

from .arguments import FitSettings
from .checkpoints import remove_checkpoints
from .pretraining_text import RECIPE_NAME, texts
from .sequences import pack_rows, row_order, tokenize_rows
from .trainer import Steps, fit

BOS, EOS, PAD = range(3)
"""Ids of the special tokens."""


def train_tokenizer(settings: PretrainSettings) -> PreTrainedTokenizerFast:
    """Byte-level BPE on a sample of the text, with <bos> put before each text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        itertools.islice(texts(settings, "tokenizer"), 20_000),
        trainers.BpeTrainer(
            vocab_size=settings.vocab_size,
            special_tokens=["<bos>", "<eos>", "<pad>"],  # BOS, EOS, PAD
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", BOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        model_max_length=settings.context,
        clean_up_tokenization_spaces=False,
    )


def new_model(settings: PretrainSettings, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama model with random weights."""
    transformers.set_seed(settings.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=settings.hidden_size,
            intermediate_size=settings.intermediate_size,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            max_position_embeddings=settings.context,
            tie_word_embeddings=True,
            bos_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=PAD,
            initializer_range=0.05,
        )
    )


def pretrain(settings: PretrainSettings, *, progress: ProgressFunction = silent) -> Path:
    """Train a tokenizer and a model; resumes where it was stopped, returns at once when it is done.

    Args:
        settings: text, size and optimisation.
        progress: called with (steps done, steps).

    Returns:
        The folder: bf16 safetensors, tokenizer, and the recipe that made them.
    """
    with Stage(settings.output, {"pretrain": to_table(settings)}) as stage:
        if not stage.done:
            _pretrain(settings, stage, progress)
        remove_checkpoints(stage.folder)
    return stage.folder


def _pretrain(settings: PretrainSettings, stage: Stage, progress: ProgressFunction) -> None:
    folder = stage.folder
    if not (folder / "tokenizer.json").exists():
        _save_whole(train_tokenizer(settings), folder)
    tokenizer = load_tokenizer(str(folder))
    rows = _packed_rows(settings, tokenizer)
    steps = len(rows) // settings.batch_size
    model: Any = new_model(settings, tokenizer)
    model.to(default_device())
    lengths = [len(row) for row in rows]
    draws = steps * settings.batch_size
    order = row_order(lengths, batch_size=settings.batch_size, draws=draws, seed=settings.seed)
    fitted, _ = fit(
        model, Steps(rows, lengths, order, len(rows), len(rows)), _fit_settings(settings), folder, progress=progress
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    write_text(folder / RECIPE_NAME, dump_recipe(settings))
    stage.finish({**to_json(fitted), "parameters": model.num_parameters()})


def _save_whole(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save a tokenizer such that tokenizer.json, by which it is known to be there, comes last and whole."""
    with temporary_folder() as temporary:
        made = temporary / "tokenizer"
        tokenizer.save_pretrained(made)
        for path in sorted(made.iterdir(), key=lambda path: path.name == "tokenizer.json"):
            with atomic_path(folder / path.name) as whole:
                shutil.copyfile(path, whole)


def _packed_rows(settings: PretrainSettings, tokenizer: PreTrainedTokenizerFast) -> list[Any]:
    """At least `tokens` tokens of text in packed rows."""
    rows, stream, batch = [], texts(settings), 2_000
    while sum(map(len, rows)) < settings.tokens:
        rows += tokenize_rows(itertools.islice(stream, batch), tokenizer, settings.context)
    return pack_rows(rows, settings.sequence_length)[: settings.tokens // settings.sequence_length]


def _fit_settings(settings: PretrainSettings) -> FitSettings:
    return FitSettings(
        learning_rate=settings.learning_rate,
        lr_scheduler="cosine",
        warmup_ratio=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=1.0,
        precision=settings.precision,
        seed=settings.seed,
        save_steps=settings.save_steps,
    )
