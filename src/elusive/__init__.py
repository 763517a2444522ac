"""Elusive: find the clues that language models overlook in a text, and train on text that brings them out."""

import importlib
import os
from typing import Any

__version__ = "0.1.0"

# Downloads from the hub would else carry usage data.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_HOMES = {
    "ElusiveError": "errors",
    "Recipe": "config",
    "CorpusSettings": "config",
    "ModelSettings": "config",
    "ScoreSettings": "config",
    "AugmentSettings": "config",
    "TrainSettings": "config",
    "EvaluateSettings": "config",
    "ReportSettings": "config",
    "ExportSettings": "verb_config",
    "PretrainSettings": "verb_config",
    "load_recipe": "recipes",
    "Document": "documents",
    "Span": "documents",
    "Corpus": "documents",
    "read_corpus": "readers",
    "QuestionItem": "questions",
    "Example": "questions",
    "read_questions": "questions",
    "exact_match": "questions",
    "f1": "questions",
    "biography_corpus": "biographies",
    "load_model": "models",
    "load_tokenizer": "models",
    "received_attention": "attention",
    "TokenScores": "shards",
    "score_documents": "scoring",
    "score_corpus": "scoring",
    "read_scores": "shards",
    "iterate_scores": "shards",
    "Ranking": "ranking",
    "contrast": "ranking",
    "rank_tokens": "ranking",
    "drop_probability": "dropout",
    "AugmentedText": "augmentation",
    "augment": "augmentation",
    "augment_corpus": "pipeline",
    "pair_recall": "pairs",
    "pair_heads": "pairs",
    "FreshCopies": "fresh",
    "FreshDropoutCollator": "fresh",
    "FreshEpochs": "fresh",
    "train": "training",
    "pretrain": "pretraining",
    "evaluate": "evaluation",
    "export": "exporting",
    "evaluate_model": "evaluation",
    "write_report": "reporting",
    "make_corpus": "corpora",
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
