"""A pair of models, loaded: documents come in, their clues go out. This is the method's first half in one call."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerFast

from elusive.config.models import Dtype, ModelRef, Quantization
from elusive.config.scoring import ScoreSettings
from elusive.corpus.readers.given import Given, documents_of
from elusive.models.loading import checked_tokenizer, load_tokenizer
from elusive.runs.files import ProgressFunction, silent
from elusive.runs.frames import Joined
from elusive.scoring.score import score_documents
from elusive.scoring.sets import QuerySet
from elusive.scoring.shards import Kept, TokenScores
from elusive.scoring.stage import check_corpus, load_for_scoring

from .corpus_clues import CorpusClues, clues_of


@dataclass(frozen=True)
class LoadedModel:
    """A model and its tokenizer; scores borrow its attention, and leave it as it was.

    Attributes:
        reference: which model, and the layers and heads that are averaged.
        model: a causal language model of transformers, whatever attention it was loaded with.
        tokenizer: its fast tokenizer.
    """

    reference: ModelRef
    model: Any
    tokenizer: PreTrainedTokenizerFast

    @classmethod
    def load(cls, model: ModelRef | str) -> "LoadedModel":
        """Load a model and its tokenizer.

        Raises:
            ElusiveError: if it cannot be loaded, or its attention cannot be read, with the reason.
        """
        reference = ModelRef.of(model)
        return cls(reference, load_for_scoring(reference), load_tokenizer(reference))

    @classmethod
    def of(cls, model: Any, tokenizer: PreTrainedTokenizerFast, *, reference: ModelRef | None = None) -> "LoadedModel":
        """A model that is loaded already.

        Args:
            model: from AutoModelForCausalLM, LoRA adapters on it or not.
            tokenizer: its fast tokenizer.
            reference: the layers and heads that are averaged (None: all).

        Raises:
            ElusiveError: if the tokenizer gives no character offsets.
        """
        return cls(reference or ModelRef(model.config.name_or_path), model, checked_tokenizer(tokenizer))

    def scores(
        self,
        documents: Given,
        settings: ScoreSettings = ScoreSettings(),
        *,
        keep: Collection[Kept] = (),
        progress: ProgressFunction = silent,
    ) -> Joined[TokenScores]:
        """The scores of each document, see `score_documents`."""
        layers, heads = self.reference.layers, self.reference.heads
        return score_documents(
            documents, self.model, self.tokenizer, settings, layers=layers, heads=heads, keep=keep, progress=progress
        )


@dataclass(frozen=True)
class Pair:
    """A large and a small model of one family, both loaded.

    Attributes:
        large: the model whose attention shows the clues.
        small: the model that overlooks some of them.
    """

    large: LoadedModel
    small: LoadedModel

    @classmethod
    def load(
        cls,
        large: ModelRef | LoadedModel | str,
        small: ModelRef | LoadedModel | str,
        *,
        dtype: Dtype = "float32",
        quantization: Quantization = "none",
        device: str = "auto",
    ) -> "Pair":
        """Load both models.

        Args:
            large: folder or hub name, a ModelRef, or a model that is loaded already (`LoadedModel.of`).
            small: the same of the small model.
            dtype: of the weights of models given by name; a ModelRef has its own settings.
            quantization: the same for 8 or 4 bit.
            device: the same for cpu, cuda, a device map, or auto.

        Raises:
            ElusiveError: if one cannot be loaded, or its attention cannot be read, with the reason.

        Example:
            >>> pair = Pair.load("elusive/large", "elusive/small", device="cpu")
            >>> pair.large.reference.name
            'elusive/large'
        """
        named = (
            ModelRef(model, dtype=dtype, quantization=quantization, device=device) if isinstance(model, str) else model
            for model in (large, small)
        )
        return cls(*(one if isinstance(one, LoadedModel) else LoadedModel.load(one) for one in named))

    def clues(
        self,
        documents: Given,
        settings: ScoreSettings = ScoreSettings(),
        *,
        across_tokenizers: bool = False,
        keep: Collection[Kept] = (),
        progress: ProgressFunction = silent,
    ) -> CorpusClues:
        """Score documents with both models, contrast the scores, and rank each document's tokens.

        All scores are held in memory; `score_corpus` writes those of a large corpus to disk.

        Args:
            documents: texts, see `documents_of` for what is taken; with queries = cues or spans, their spans mark
                the answers.
            settings: which positions are queries, what is never ranked, and how attention is averaged.
            across_tokenizers: carry the small model's scores over to the large one's tokens where these differ.
            keep: what to keep in addition, as in `score_documents`; augment.cue_fusion needs `sentences`.
            progress: called with (documents done, documents), each document counted once for each model.

        Raises:
            ElusiveError: if there are no documents, none has an answer span and queries are not all, the two models
                have different tokens and across_tokenizers is not set, or as `score_documents`.
        """
        documents = documents_of(documents)
        check_corpus(documents, settings, QuerySet(settings.queries))
        total = 2 * len(documents)
        large = self.large.scores(documents, settings, keep=keep, progress=lambda done, _: progress(done, total))
        small = self.small.scores(
            documents, settings, keep=keep, progress=lambda done, _: progress(total // 2 + done, total)
        )
        return CorpusClues(
            tuple(
                clues_of(*one, self.large.tokenizer, settings, across_tokenizers=across_tokenizers)
                for one in zip(documents, large, small, strict=True)
            ),
            settings,
            self.large.tokenizer,
        )
