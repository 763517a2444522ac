"""The stage that scores a corpus into a folder of Parquet shards."""

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
from elusive.config.run import AugmentSettings, ModelSettings, Quantization, Queries, ScoreSettings
from elusive.corpus.documents import Document, corpus_hash
from elusive.errors import ElusiveError
from elusive.models import loading
from elusive.runs.files import ProgressFunction, silent
from elusive.runs.progress import shown
from elusive.runs.stage import Stage

from .positions import answer_spans
from .score import score_documents
from .sets import ScoreSet
from .shards import write_shard

ModelToScore = tuple[str, str, tuple[int, ...], tuple[str, ...]]
"""A model's name and revision, and the layers and heads that are averaged."""


def score_sets(
    documents: Collection[Document],
    folder: str | Path,
    needed: Sequence[ScoreSet],
    *,
    loading: ModelSettings,
    settings: ScoreSettings,
    excluded_tokens: Sequence[str],
    others: Mapping[str, ModelToScore] | None = None,
    field_documents: int | None = None,
    per_head: bool = False,
) -> dict[ScoreSet, Path]:
    """Score a corpus with each model at each kind of query, doing only what the folder does not hold yet.

    Args:
        documents: the corpus.
        folder: RUN/scores; each score set gets a folder of its own, by its name.
        needed: model by model, so that each is loaded once.
        loading: what large and small are, and how they are loaded and read.
        settings: how attention is read out.
        excluded_tokens: strings that are never ranked, for score.renormalise.
        others: further models by name.
        field_documents: how many documents are read at a single field's cue (None: all).
        per_head: keep each head's scores.

    Returns:
        The folder of each score set.
    """
    models: dict[str, ModelToScore] = {
        "large": (loading.large, loading.large_revision, loading.large_layers, loading.large_heads),
        "small": (loading.small, loading.small_revision, loading.small_layers, loading.small_heads),
        **(others or {}),
    }
    made: dict[ScoreSet, Path] = {}
    for model, wanted in itertools.groupby(needed, key=lambda one: one.model):
        load = functools.cache(load_for_scoring)  # loaded once, and let go before the next model is loaded
        name, revision, layers, heads = models[model]
        for score_set in wanted:
            made[score_set] = Path(folder) / score_set.name
            with shown(f"score {score_set}") as progress:
                score_corpus(
                    list(itertools.islice(documents, field_documents)) if score_set.field else documents,
                    made[score_set],
                    model=name,
                    revision=revision,
                    dtype=loading.dtype,
                    quantization=loading.quantization,
                    device=loading.device,
                    queries=score_set.queries,
                    fields=(score_set.field,) if score_set.field else (),
                    layers=layers,
                    heads=heads,
                    per_head=per_head,
                    excluded_tokens=excluded_tokens,
                    settings=settings,
                    load=load,
                    progress=progress,
                )
    return made


def score_corpus(
    documents: Collection[Document],
    folder: str | Path,
    *,
    model: str,
    revision: str = "",
    dtype: str = "float32",
    quantization: Quantization = "none",
    device: str = "auto",
    queries: Queries,
    fields: Sequence[str] = (),
    layers: Sequence[int] = (),
    heads: Sequence[str] = (),
    per_head: bool = False,
    excluded_tokens: Sequence[str] = AugmentSettings.excluded_tokens,
    settings: ScoreSettings,
    load: Callable[..., Any] | None = None,
    progress: ProgressFunction = silent,
) -> None:
    """Score a corpus into a folder of Parquet shards; begun again, only what is missing is scored.

    Args:
        documents: the corpus; one shard of it is held at a time.
        folder: `RUN/scores/<model>-<queries>`.
        model: folder or hub name of the model.
        revision: commit or branch of a hub model.
        dtype: the weights' type.
        quantization: see `loading.load_model`.
        device: see `loading.load_model`.
        queries: which positions are read; stands in for `settings.queries`, as some arms need another set.
        fields: only spans of these fields (empty: all but the head fields).
        layers: layers whose heads are averaged, from 0 (with `heads` empty too: all).
        heads: single heads "layer.head" to average.
        per_head: write every head's scores too, in a column of their own.
        excluded_tokens: strings that are never ranked; used with `settings.renormalise`.
        settings: how attention is captured.
        load: stands in for `load_for_scoring`, to keep a model that scores more than once.
        progress: called with (documents done, all documents).

    Raises:
        ElusiveError: if there are no documents or no spans to read from, the folder was begun with other settings,
            or as `score_documents`.
    """
    _check_corpus(documents, queries, settings.head_fields, fields)
    stage = Stage(
        folder,
        {
            "model": model,
            "model_hash": loading.model_hash(model),
            "revision": revision,
            "dtype": dtype,
            "quantization": quantization,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "queries": queries,
            "fields": list(fields),
            "head_fields": list(settings.head_fields),
            "include_self": settings.include_self,
            "layers": list(layers),
            "heads": list(heads),
            "per_head": per_head,
            "renormalise": settings.renormalise,
            **({"excluded_tokens": list(excluded_tokens)} if settings.renormalise else {}),
            "max_length": settings.max_length,
            "shard_documents": settings.shard_documents,
            "corpus": corpus_hash(documents),
        },
    )
    if stage.done:
        return progress(len(documents), len(documents))
    began = time.monotonic()
    size = settings.shard_documents
    shards = [stage.folder / f"part-{number:05d}.parquet" for number in range(math.ceil(len(documents) / size))]
    if not all(path.exists() for path in shards):
        loaded = (load or load_for_scoring)(model, revision, dtype, device, quantization)
        tokenizer = loading.load_tokenizer(model, revision)
        remaining = iter(documents)
        done = sum(min(size, len(documents) - number * size) for number, path in enumerate(shards) if path.exists())
        for path in shards:
            part = list(itertools.islice(remaining, size))
            if path.exists():
                continue
            scores = score_documents(
                part,
                loaded,
                tokenizer,
                queries=queries,
                head_fields=settings.head_fields,
                fields=fields,
                include_self=settings.include_self,
                layers=layers,
                heads=heads,
                per_head=per_head,
                renormalise=settings.renormalise,
                excluded_tokens=excluded_tokens,
                max_length=settings.max_length,
                max_batch_tokens=settings.max_batch_tokens,
                packed=settings.packed,
                progress=lambda finished, _, before=done: progress(before + finished, len(documents)),
            )
            write_shard(path, scores)
            done += len(part)
    stage.finish({"documents": len(documents), "shards": len(shards), "seconds": round(time.monotonic() - began, 3)})


def _check_corpus(
    documents: Collection[Document], queries: Queries, head_fields: Sequence[str], fields: Sequence[str]
) -> None:
    if len(documents) == 0:
        raise ElusiveError("Expected documents to score, got none.")
    if queries != "all" and not any(answer_spans(document, head_fields, fields) for document in documents):
        known = sorted({span.field for document in documents for span in document.spans})
        raise ElusiveError(
            f"queries = {queries} reads attention at answer spans, but no document has a span of "
            f"{', '.join(fields) or 'an answer field'} (fields: {', '.join(known) or 'none'}; "
            f"head fields: {', '.join(head_fields) or 'none'}). Use queries = all for text without spans."
        )


def load_for_scoring(name: str, revision: str, dtype: str, device: str, quantization: Quantization = "none") -> Any:
    """Load a model whose layers report their attention.

    Raises:
        ElusiveError: if it cannot be loaded, or its attention cannot be read, with the reason.
    """
    return loading.load_model(
        name, revision=revision, dtype=dtype, quantization=quantization, device=device, attention=attention_to_load
    )
