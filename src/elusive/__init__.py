"""Elusive: find the clues that language models overlook in a text, and train on text that brings them out."""

import importlib
import os
from typing import Any

__version__ = "0.1.0"

# Downloads from the hub would else carry usage data.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_HOMES = {
    "ElusiveError": "errors",
    "Recipe": "config.run",
    "CorpusSettings": "config.run",
    "ModelRef": "config.models",
    "Models": "config.models",
    "ScoreSettings": "config.run",
    "AugmentSettings": "config.run",
    "TrainSettings": "config.run",
    "EvaluateSettings": "config.run",
    "ReportSettings": "config.run",
    "ExportSettings": "config.verbs",
    "PretrainSettings": "config.verbs",
    "load_recipe": "config.toml",
    "Document": "corpus.documents",
    "Span": "corpus.documents",
    "Corpus": "corpus.documents",
    "read_corpus": "corpus.readers",
    "QuestionItem": "corpus.questions",
    "Example": "corpus.questions",
    "read_questions": "corpus.questions",
    "exact_match": "evaluation.metrics",
    "f1": "evaluation.metrics",
    "biography_corpus": "corpus.people.biographies",
    "load_model": "models.loading",
    "load_for_scoring": "scoring.stage",
    "load_tokenizer": "models.loading",
    "received_attention": "attention.received",
    "TokenScores": "scoring.shards",
    "score_documents": "scoring.score",
    "score_corpus": "scoring.stage",
    "read_scores": "scoring.shards",
    "iterate_scores": "scoring.shards",
    "Ranking": "clues.ranks",
    "contrast": "clues.contrast",
    "rank_tokens": "clues.ranks",
    "drop_probability": "augmentation.arms",
    "AugmentedText": "augmentation.copies",
    "augment": "augmentation.copies",
    "augment_corpus": "augmentation.stage",
    "pair_recall": "clues.pairs",
    "pair_heads": "clues.pairs",
    "FreshCopies": "training.fresh",
    "FreshDropoutCollator": "training.fresh",
    "FreshEpochs": "training.fresh",
    "train": "training.stage",
    "pretrain": "training.pretraining",
    "evaluate": "evaluation.stage",
    "export": "exporting",
    "evaluate_model": "evaluation.stage",
    "write_report": "reporting",
    "make_corpus": "corpus.stage",
    "run": "pipeline",
}

__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    # Names are resolved when first used: importing elusive loads no torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'elusive' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
