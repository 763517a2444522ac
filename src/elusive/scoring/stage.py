"""The stage that scores a corpus into a folder of Parquet shards."""

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from elusive.attention.architectures import attention_to_load
from elusive.config.models import ModelRef
from elusive.config.run import ScoreSettings
from elusive.corpus.documents import Document, corpus_hash
from elusive.errors import ElusiveError
from elusive.models import loading, processes
from elusive.runs.files import ProgressFunction, silent
from elusive.runs.progress import shown
from elusive.runs.stage import Stage

from .entropy import entropy_of_documents
from .positions import answer_spans
from .score import score_documents
from .sets import Measure, ScoreSet
from .shards import Kept, TokenScores, write_shard


def score_sets(
    documents: Collection[Document],
    folder: str | Path,
    needed: Sequence[ScoreSet],
    *,
    models: Mapping[str, ModelRef],
    settings: ScoreSettings,
    field_documents: int | None = None,
    keep: Collection[Kept] = (),
) -> dict[ScoreSet, Path]:
    """Score a corpus with each model in each way, doing only what the folder does not hold yet.

    Args:
        documents: the corpus.
        folder: RUN/scores; each score set gets a folder of its own, by its name.
        needed: model by model, so that each is loaded once.
        models: the models by their roles in `needed`, each with the layers and heads that are averaged.
        settings: how attention is averaged and batched; the queries are those of `needed`.
        field_documents: how many documents are scored at a single field's cue (None: all).
        keep: what to keep in addition of attention, as in `score_documents`; a set with `each` keeps `sentences` too.

    Returns:
        The folder of each score set.
    """
    made: dict[ScoreSet, Path] = {}
    for model, wanted in itertools.groupby(needed, key=lambda one: one.model):
        load = functools.cache(load_for_scoring)  # loaded once, and let go before the next model is loaded
        for score_set in wanted:
            made[score_set] = Path(folder) / score_set.name
            of_attention: set[Kept] = {*keep, "sentences"} if score_set.each else {*keep}
            with shown(f"score {score_set}") as progress:
                score_corpus(
                    list(itertools.islice(documents, field_documents)) if score_set.field else documents,
                    made[score_set],
                    models[model],
                    dataclasses.replace(settings, queries=score_set.queries),
                    fields=(score_set.field,) if score_set.field else (),
                    measure=score_set.measure,
                    keep=of_attention if score_set.measure == "attention" else (),
                    load=load,
                    progress=progress,
                )
    return made


def score_corpus(
    documents: Collection[Document],
    folder: str | Path,
    model: ModelRef,
    settings: ScoreSettings,
    *,
    measure: Measure = "attention",
    fields: Sequence[str] = (),
    keep: Collection[Kept] = (),
    load: Callable[..., Any] | None = None,
    progress: ProgressFunction = silent,
) -> None:
    """Score a corpus into a folder of Parquet shards; begun again, only what is missing is scored.

    Args:
        documents: the corpus; one shard of it is held at a time.
        folder: `RUN/scores/<model>-<queries>`, or `<model>-entropy`.
        model: the model, and of attention the layers and heads that are averaged.
        settings: how texts are batched; of attention, the queries and how it is averaged.
        measure: what is scored: attention (`score_documents`) or entropy (`entropy_of_documents`).
        fields: only spans of these fields (empty: all but the head fields).
        keep: what to write in addition, in columns of their own, as in `score_documents`.
        load: stands in for `load_for_scoring`, to keep a model that scores more than once.
        progress: called with (documents done, all documents).

    Raises:
        ElusiveError: if there are no documents or no spans to read from, the folder was begun with other settings,
            or as `score_documents`.
    """
    way = _Way(measure, settings, tuple(fields), tuple(keep))
    way.check(documents)
    identity = {
        **loading.model_identity(model),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        **way.identity(model),
        "max_length": settings.max_length,
        "shard_documents": settings.shard_documents,
        "corpus": corpus_hash(documents),
    }
    size = settings.shard_documents
    with Stage(folder, identity, writes=processes.is_main()) as stage:
        if stage.done:
            return progress(len(documents), len(documents))
        began = time.monotonic()
        shards = [stage.folder / f"part-{number:05d}.parquet" for number in range(math.ceil(len(documents) / size))]
        if not all(path.exists() for path in shards):
            loaded = (load or load_for_scoring)(model)
            tokenizer = loading.load_tokenizer(model)
            remaining = iter(documents)
            done = sum(min(size, len(documents) - number * size) for number, path in enumerate(shards) if path.exists())
            for path in shards:
                part = list(itertools.islice(remaining, size))
                if path.exists():
                    continue
                scores = way.scores(
                    part,
                    model,
                    loaded,
                    tokenizer,
                    lambda finished, _, before=done: progress(before + finished, len(documents)),
                )
                write_shard(path, scores)
                done += len(part)
        seconds = round(time.monotonic() - began, 3)
        stage.finish({"documents": len(documents), "shards": len(shards), "seconds": seconds})


@dataclasses.dataclass(frozen=True)
class _Way:
    """What is scored, and how."""

    measure: Measure
    settings: ScoreSettings
    fields: tuple[str, ...]
    keep: tuple[Kept, ...]

    def check(self, documents: Collection[Document]) -> None:
        """Refuse to score nothing, or what only attention has."""
        if self.measure == "attention":
            return check_corpus(documents, self.settings, self.fields)
        if self.fields or self.keep:
            raise ElusiveError(
                f"Entropies are taken at every token: expected no fields, and nothing kept in addition, got "
                f"{', '.join((*self.fields, *self.keep))}. Leave these out, or score attention."
            )
        check_corpus(documents, dataclasses.replace(self.settings, queries="all"))

    def identity(self, model: ModelRef) -> dict[str, Any]:
        """All that scores depend on, beside the model, the corpus and the windows; JSON types only."""
        if self.measure == "entropy":
            return {"measure": "entropy"}
        settings = self.settings
        return {
            "queries": settings.queries,
            "fields": list(self.fields),
            "head_fields": list(settings.head_fields),
            "include_self": settings.include_self,
            "layers": list(model.layers),
            "heads": list(model.heads),
            "per_head": "heads" in self.keep,
            **({"each": True} if "sentences" in self.keep else {}),
            "renormalise": settings.renormalise,
            **({"excluded_tokens": list(settings.excluded_tokens)} if settings.renormalise else {}),
        }

    def scores(
        self, documents: Sequence[Document], model: ModelRef, loaded: Any, tokenizer: Any, progress: ProgressFunction
    ) -> list[TokenScores]:
        """The scores of some documents."""
        if self.measure == "entropy":
            return entropy_of_documents(documents, loaded, tokenizer, self.settings, progress=progress)
        return score_documents(
            documents,
            loaded,
            tokenizer,
            self.settings,
            fields=self.fields,
            layers=model.layers,
            heads=model.heads,
            keep=self.keep,
            progress=progress,
        )


def check_corpus(documents: Collection[Document], settings: ScoreSettings, fields: Sequence[str] = ()) -> None:
    """Refuse to score nothing.

    Raises:
        ElusiveError: if there are no documents, or no spans where queries are taken from spans.
    """
    if len(documents) == 0:
        raise ElusiveError("Expected documents to score, got none.")
    queries, head_fields = settings.queries, settings.head_fields
    if queries != "all" and not any(answer_spans(document, head_fields, fields) for document in documents):
        known = sorted({span.field for document in documents for span in document.spans})
        raise ElusiveError(
            f"queries = {queries} reads attention at answer spans, but no document has a span of "
            f"{', '.join(fields) or 'an answer field'} (fields: {', '.join(known) or 'none'}; "
            f"head fields: {', '.join(head_fields) or 'none'}). Use queries = all for text without spans."
        )


def load_for_scoring(model: ModelRef | str) -> Any:
    """Load a model whose layers report their attention.

    Raises:
        ElusiveError: if it cannot be loaded, or its attention cannot be read, with the reason.
    """
    return loading.load_model(model, attention=attention_to_load)
