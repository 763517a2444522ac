"""The recipe of a run that learns documents: what follows from their sizes and language, and from the model."""

import collections
import dataclasses
import math
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from elusive.config.augmentation import AugmentSettings
from elusive.config.corpus import CorpusSettings
from elusive.config.evaluation import EvaluateSettings
from elusive.config.learn import LearnQuestionSettings, LearnSettings
from elusive.config.models import ModelRef, Models
from elusive.config.run import Recipe
from elusive.config.scoring import ScoreSettings
from elusive.config.training import TrainSettings
from elusive.corpus.documents import Corpus
from elusive.corpus.languages import language_of
from elusive.corpus.questions import QuestionItem
from elusive.evaluation.prompts import few_shot_prompt, prompting_of
from elusive.models.loading import EMBEDDED, config_context, load_configs, load_tokenizer
from elusive.planning.plan import PlannedStage, together
from elusive.planning.recipes import plan_of

_BATCH = 8
_FEWEST_STEPS = 50
_MOST_SHOTS = EvaluateSettings.shots
_SAMPLE = 200
_CHAT_TOKENS = 24
"""Left free for what a chat template or a special token puts around a prompt."""


def writer_of(learn: LearnSettings, questions: LearnQuestionSettings) -> LearnQuestionSettings:
    """The settings of the questions with their writer decided.

    Args:
        learn: the model that learns, which writes the questions if it can and nobody else is named.
        questions: with engine auto or another.
    """
    engine, model = questions.engine, questions.model
    if engine == "auto":
        own = learn.model not in EMBEDDED and bool(load_tokenizer(learn.model).chat_template)
        engine = "server" if model else "transformers" if own else "cloze"
    if engine == "transformers":
        model = model or learn.model
    return dataclasses.replace(questions, engine=engine, model=model)


@dataclass(frozen=True)
class Choice:
    """A recipe, and why it is as it is, in words."""

    recipe: Recipe
    reasons: tuple[str, ...]


def chosen_recipe(
    learn: LearnSettings, source: str, corpus: Corpus, cues: Sequence[QuestionItem], output: str, title: str
) -> Choice:
    """The recipe that learns a corpus with written questions.

    Args:
        learn: the model, and how long.
        source: the folder of the corpus.
        corpus: what it holds.
        cues: its questions that give cues, which are the examples in prompts.
        output: the run folder.
        title: of the report.
    """
    language = language_of(document.text for document, _ in zip(corpus.documents, range(_SAMPLE), strict=False))
    arms, why = (learn.arms, "arms: as given") if learn.arms else _arm(learn, language)
    steps = learn.max_steps or max(_FEWEST_STEPS, math.ceil(learn.readings * len(corpus.documents) / _BATCH))
    shots = _fitting_shots(learn, corpus, cues, source)
    embedded = learn.model in EMBEDDED
    recipe = Recipe(
        output=output,
        title=title,
        arms=arms,
        seeds=learn.seeds,
        corpus=CorpusSettings(source=source),
        models=_models(learn),
        score=ScoreSettings(queries="all"),
        augment=_augmentation(language),
        train=dataclasses.replace(_EMBEDDED_TRAINING if embedded else TrainSettings(), max_steps=steps),
        evaluate=EvaluateSettings(shots=shots, examples="corpus", known=learn.known),
    )
    reasons = [
        why,
        f"{steps:,} steps of {_BATCH} texts: each document about {steps * _BATCH / len(corpus.documents):.0f} times",
        f"{shots} examples in each prompt, from the {len(cues):,} questions that give cues",
    ]
    return _within_memory(recipe, reasons)


_EMBEDDED_TRAINING = TrainSettings(method="full", learning_rate=2e-3, replay="pretraining", precision="fp32")
"""As in recipes/demo.toml: the embedded models are too small for adapters, and forget without replay how to answer."""


def _arm(learn: LearnSettings, language: str) -> tuple[tuple[str, ...], str]:
    """The arm that docs/choosing.md names for such texts and models, and why."""
    pair = bool(learn.small) or learn.model in EMBEDDED
    english = language in ("en", "")
    if pair and english:
        return ("insert-contrast+reorder",), "insert-contrast+reorder: a pair of one family finds clues in English text"
    if pair:
        return ("insert-contrast",), "insert-contrast: sentences of other languages than English keep their order"
    if english:
        return ("reorder",), (
            "reorder: each chunk begins with its headings, and without a small model of the family (--small) no clues "
            "are sought"
        )
    return ("plain",), "plain: without a small model (--small), nothing is known to help text that is not English"


def _models(learn: LearnSettings) -> Models:
    large = ModelRef(learn.model, dtype=learn.dtype)
    if learn.small or learn.model == "elusive/large":
        return Models(large, ModelRef(learn.small or "elusive/small", dtype=learn.dtype))
    layers = load_configs(learn.model).model.get_text_config().num_hidden_layers
    # A family's half: never read by an arm that seeks no clues.
    return Models(large, dataclasses.replace(large, layers=tuple(range(max(1, layers // 2)))))


def _augmentation(language: str) -> AugmentSettings:
    return AugmentSettings() if language in ("en", "") else AugmentSettings(insert_forms=("prefix",))


def _fitting_shots(learn: LearnSettings, corpus: Corpus, cues: Sequence[QuestionItem], source: str) -> int:
    """So many examples that every question has them, and that its prompt and answer fit the model's context."""
    tokenizer = load_tokenizer(learn.model)
    context = config_context(load_configs(learn.model).model, learn.model)
    for shots in range(min(_MOST_SHOTS, _fewest_examples(corpus.questions, cues)), 0, -1):
        settings = EvaluateSettings(shots=shots, examples="corpus")
        examples, asked = prompting_of(corpus.questions, settings, Path(source) / "questions.jsonl")
        prompts = [few_shot_prompt(item, examples, asked) for item in corpus.questions]
        longest = max(len(ids) for ids in tokenizer(prompts, verbose=False)["input_ids"])
        if longest + settings.max_new_tokens + _CHAT_TOKENS <= context:
            return shots
    return 0


def _fewest_examples(asked: Collection[QuestionItem], cues: Collection[QuestionItem]) -> int:
    """Examples that are left for the question that has fewest: those about its own document are never shown."""
    of_document = collections.Counter(item.document_id for item in cues)
    return min((len(cues) - of_document[item.document_id] for item in asked), default=0)


def _within_memory(recipe: Recipe, reasons: Sequence[str]) -> Choice:
    """The recipe with smaller batches and recomputed activations, if its training would not fit the memory."""
    stages = plan_of(recipe).stages
    memory = available_memory()
    if _peak(stages) > memory:
        small = dataclasses.replace(recipe.train, gradient_accumulation_steps=_BATCH, gradient_checkpointing=True)
        recipe = dataclasses.replace(recipe, train=small)
        stages = plan_of(recipe).stages
        reasons = [*reasons, "one text at a time, with gradient checkpointing: more does not fit the memory"]
    tokens, flops, peak = together(stages)
    cost = f"planned: {tokens:,} tokens, {flops:.1e} operations, {peak / 1e9:.1f} GB at most of {memory / 1e9:.1f}"
    if peak > memory:
        cost += " (that may be too much: take a smaller model, or --dtype bfloat16)"
    return Choice(recipe, (*reasons, cost))


def _peak(stages: Sequence[PlannedStage]) -> int:
    return max(stage.peak_bytes for stage in stages)


def available_memory() -> int:
    """Bytes of the GPU that trains, or of this machine."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
