"""Score sets: a corpus scored by a model at one kind of query, each in a folder of its own."""

import functools
import itertools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from elusive.config.run import ModelSettings, Queries, ScoreSettings
from elusive.corpus.documents import Document
from elusive.runs.progress import shown

from .stage import load_for_scoring, score_corpus

NeededScores = tuple[str, Queries, str]
"""A model, at which queries it is read, and of which field alone (empty: all)."""


ModelToScore = tuple[str, str, tuple[int, ...], tuple[str, ...]]
"""A model's name and revision, and the layers and heads that are averaged."""


def score_set_name(model: str, queries: str, field: str) -> str:
    """The folder of one score set: large-cues, small-all, large-cue-company."""
    return f"{model}-cue-{field}" if field else f"{model}-{queries}"


def score_sets(
    documents: Collection[Document],
    folder: str | Path,
    needed: Sequence[NeededScores],
    *,
    loading: ModelSettings,
    settings: ScoreSettings,
    excluded_tokens: Sequence[str],
    others: Mapping[str, ModelToScore] | None = None,
    field_documents: int | None = None,
    per_head: bool = False,
) -> dict[str, Path]:
    """Score a corpus with each model at each kind of query, doing only what the folder does not hold yet.

    Args:
        documents: the corpus.
        folder: RUN/scores; each score set gets a folder of its own, named by `score_set_name`.
        needed: (model, queries, field), model by model, so that each is loaded once.
        loading: what large and small are, and how they are loaded and read.
        settings: how attention is read out.
        excluded_tokens: strings that are never ranked, for score.renormalise.
        others: further models by name.
        field_documents: how many documents are read at a single field's cue (None: all).
        per_head: keep each head's scores.

    Returns:
        The folder of each score set by name.
    """
    models: dict[str, ModelToScore] = {
        "large": (loading.large, loading.large_revision, loading.large_layers, loading.large_heads),
        "small": (loading.small, loading.small_revision, loading.small_layers, loading.small_heads),
        **(others or {}),
    }
    made: dict[str, Path] = {}
    for model, wanted in itertools.groupby(needed, key=lambda one: one[0]):
        load = functools.cache(load_for_scoring)  # loaded once, and let go before the next model is loaded
        name, revision, layers, heads = models[model]
        for _, queries, field in wanted:
            score_set = score_set_name(model, queries, field)
            made[score_set] = Path(folder) / score_set
            with shown(f"score {score_set}") as progress:
                score_corpus(
                    list(itertools.islice(documents, field_documents)) if field else documents,
                    made[score_set],
                    model=name,
                    revision=revision,
                    dtype=loading.dtype,
                    quantization=loading.quantization,
                    device=loading.device,
                    queries=queries,
                    fields=(field,) if field else (),
                    layers=layers,
                    heads=heads,
                    per_head=per_head,
                    excluded_tokens=excluded_tokens,
                    settings=settings,
                    load=load,
                    progress=progress,
                )
    return made
