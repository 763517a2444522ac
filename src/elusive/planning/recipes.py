"""What a recipe will cost: its corpus is made or read, its tokens are counted, and nothing is loaded or written."""

import dataclasses
import itertools
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elusive.config.corpus import CorpusSettings
from elusive.config.models import ModelRef
from elusive.config.run import Recipe
from elusive.config.training import TrainSettings
from elusive.corpus.documents import Document, load_corpus
from elusive.corpus.people.biographies import biographies_of
from elusive.corpus.question_sets import CUE_QUESTIONS, chosen_questions
from elusive.corpus.questions import QuestionItem, read_questions
from elusive.corpus.readers import DEFAULT_TOKENIZER, read_corpus
from elusive.evaluation.known import known_questions
from elusive.evaluation.prompts import NOTHING_ASKED, few_shot_prompt, prompting_of
from elusive.models.loading import base_of, load_configs, load_tokenizer, resolve
from elusive.training.pretraining_text import replay_texts
from elusive.training.sequences import tokenize_rows

from .costs import H100, Device, ModelShape
from .plan import CorpusSizes, PlannedStage, plan_recipe
from .published import published_shape
from .shapes import shape_of
from .table import COLUMNS, assumptions, plan_table

CHARACTERS_A_TOKEN = 4.2
"""Of models whose tokenizer is not at hand. In Mistral's vocabularies of 32,000 and 131,000 entries, biographies have
4.1 and 4.3, English Wikipedia 4.2 and 4.7, five-shot prompts 3.5 and 4.2."""


SMALLEST_FOR_HOURS = 100_000_000
"""Parameters of a pair's larger model, below which a GPU's hours say nothing."""


SAMPLE = 200
"""Prompts and replay texts that are counted."""


@dataclass(frozen=True)
class RecipePlan:
    """What a run will cost.

    Attributes:
        corpus: its corpus, in words.
        stages: its stages.
        device: what the hours are for; none for models that are too small for hours to say anything.
        estimated: whether tokens are estimated from characters, as a model's tokenizer is not at hand.
    """

    corpus: str
    stages: list[PlannedStage]
    device: Device | None
    estimated: bool

    def text(self) -> str:
        """A table with what it assumes, at most 80 columns wide."""
        words = f"Tokens marked ~ are estimated: {CHARACTERS_A_TOKEN:g} characters each. " if self.estimated else ""
        words += "Pictures are not counted. The plan is of everything; what the folder holds already is not done again."
        parts = ["\n".join(textwrap.wrap(self.corpus, COLUMNS)), plan_table(self.stages, self.device)]
        return "\n\n".join([*parts, assumptions(self.device), "\n".join(textwrap.wrap(words, COLUMNS))])


def plan_of(recipe: Recipe) -> RecipePlan:
    """What a run will cost, before any weights are loaded.

    The corpus is made or read in memory. Tokens are counted with the trained model's tokenizer where that is in a local
    folder, and estimated otherwise. Models of models.toml are not looked up; others by their configurations.

    Args:
        recipe: the run.

    Raises:
        ElusiveError: if the corpus cannot be read, or a model's sizes cannot be found.
    """
    model = recipe.trained
    tokens = TokenCounter.of(model)
    documents, questions = documents_and_questions(recipe.corpus, model.name)
    lengths = tokens.of_texts([one.text for one in documents])
    prompts, answers = tokens.of_questions(questions, recipe)
    roles = dict.fromkeys(("large", "small", recipe.models.trained))
    shapes = {role: shape_of_model(recipe.models[role]) for role in roles}
    sizes = CorpusSizes(
        documents=len(lengths),
        document_tokens=lengths,
        questions=len(questions),
        prompt_tokens=prompts,
        answer_tokens=answers,
        replay_tokens=tokens.of_rows(replayed(recipe.train.replay, model.name), recipe.train),
        known=len(known_questions(recipe.evaluate.known, model.name)),
    )
    about = "~" if tokens.estimated else ""
    asked = f"{len(questions):,} questions of {about}{prompts:.0f} tokens with their shots"
    return RecipePlan(
        corpus=f"{recipe.title}: {len(lengths):,} documents of {about}{np.mean(lengths):.0f} tokens, "
        + (asked if questions else NOTHING_ASKED),
        stages=plan_recipe(recipe, sizes, shapes),
        device=device_for(max(shape.parameters for shape in shapes.values())),
        estimated=tokens.estimated,
    )


def device_for(parameters: int) -> Device | None:
    """What hours are for, where the larger model of a pair has this many parameters."""
    return H100 if parameters >= SMALLEST_FOR_HOURS else None


def is_local(model: str) -> bool:
    """Whether a model is a folder of this machine."""
    return Path(resolve(model)).is_dir()


def shape_of_model(model: ModelRef, title: str = "") -> ModelShape:
    """The sizes of a model: of a published one without looking it up, of others from its configuration.

    Args:
        model: the model.
        title: its name in tables (empty: its own).
    """
    base = base_of(model.name)
    known = None if Path(base).is_dir() else published_shape(base, title)
    return known or shape_of(load_configs(model)[0], title or model.name)


def replayed(replay: str, model: str) -> Iterator[str]:
    """Texts that training mixes in.

    Args:
        replay: `train.replay`; nothing for none.
        model: the one that is trained, whose pretraining may be replayed.
    """
    if replay == "pretraining":
        yield from replay_texts(model, SAMPLE)
    elif replay:
        yield from (one.text for one in read_corpus(replay, chunk_tokens=0).documents)


def documents_and_questions(settings: CorpusSettings, model: str) -> tuple[list[Document], list[QuestionItem]]:
    """A corpus's documents and the questions that are asked about them, in memory.

    Args:
        settings: the corpus.
        model: whose tokenizer cuts long texts, where it is at hand and the settings name none.
    """
    if settings.source == "biographies":
        documents, questions = biographies_of(settings)
    elif (Path(settings.source) / "documents.jsonl").exists():
        corpus = load_corpus(settings.source)
        documents = list(itertools.islice(corpus.documents, settings.limit or None))
        ids = {one.id for one in documents}
        questions = [item for item in corpus.questions if not settings.limit or item.document_id in ids]
    else:
        others = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
        tokenizer = others.pop("tokenizer") or (model if is_local(model) else DEFAULT_TOKENIZER)
        corpus = read_corpus(**others, tokenizer=tokenizer)
        documents, questions = list(corpus.documents), list(corpus.questions)
    questions = read_questions(settings.questions) if settings.questions else questions
    return documents, chosen_questions(questions, settings.asked_questions)


@dataclass(frozen=True)
class TokenCounter:
    """Counts tokens, or estimates them from characters where there is no tokenizer."""

    tokenizer: Any = None

    @classmethod
    def of(cls, model: ModelRef) -> "TokenCounter":
        """Of a model in a local folder its own tokenizer; of others none."""
        return cls(load_tokenizer(model) if is_local(model.name) else None)

    @property
    def estimated(self) -> bool:
        """Whether tokens are estimated."""
        return self.tokenizer is None

    def of_texts(self, texts: Iterable[str], *, special: bool = True) -> list[int]:
        """Tokens of each text, with or without special tokens."""
        texts = list(texts)
        if self.tokenizer is None:
            return [max(1, round(len(text) / CHARACTERS_A_TOKEN)) + special for text in texts]
        return [len(ids) for ids in self.tokenizer(texts, add_special_tokens=special, verbose=False)["input_ids"]]

    def of_questions(self, questions: Sequence[QuestionItem], recipe: Recipe) -> tuple[float, float]:
        """Of a prompt with its shots, and of an answer with the token that ends it, on average over a sample."""
        sample = questions[:: max(1, len(questions) // SAMPLE)]
        if not sample:
            return 0.0, 0.0
        source = Path(recipe.corpus.source)
        given = source / "questions.jsonl" if (source / CUE_QUESTIONS).exists() else None
        examples, asked = prompting_of(questions, recipe.evaluate, given)
        prompts = [few_shot_prompt(item, examples, asked) for item in sample]
        answers = self.of_texts([f" {item.answers[0]}" for item in sample], special=False)
        most = asked.max_new_tokens
        return float(np.mean(self.of_texts(prompts))), float(np.mean([min(most, count + 1) for count in answers]))

    def of_rows(self, texts: Iterable[str], settings: TrainSettings) -> float:
        """Of a row of training texts, on average over a sample (0: there are none)."""
        texts = list(itertools.islice(texts, SAMPLE))
        if not texts:
            return 0.0
        if self.tokenizer is None:
            return float(np.mean(self.of_texts(texts))) + 1
        return float(np.mean([len(row) for row in tokenize_rows(texts, self.tokenizer, settings.max_length or 1024)]))
