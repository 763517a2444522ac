"""Elusive: find the clues that language models overlook in a text, and train on text that brings them out."""

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# Downloads from the hub would else carry usage data.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

__all__ = [  # noqa: RUF022 (in the order of use)
    "__version__",
    # The method, from a pair to training texts.
    "ModelRef",
    "Models",
    "LoadedModel",
    "Pair",
    "CorpusClues",
    "DocumentClues",
    "RankedToken",
    "augment",
    "AugmentedText",
    # Corpora.
    "Corpus",
    "Document",
    "Span",
    "QuestionItem",
    "Example",
    "read_corpus",
    "make_corpus",
    "read_questions",
    "biography_corpus",
    # The method, step by step.
    "load_model",
    "load_tokenizer",
    "load_for_scoring",
    "received_attention",
    "TokenScores",
    "score_documents",
    "contrast",
    "rank_tokens",
    "drop_probability",
    "Arm",
    "ARMS",
    # How well a pair finds clues.
    "pair_recall",
    "pair_heads",
    # Stages: each writes a folder, and does only what is missing.
    "score_corpus",
    "read_scores",
    "iterate_scores",
    "augment_corpus",
    "train",
    "pretrain",
    "evaluate_model",
    "write_report",
    "read_results",
    "export",
    "export_model",
    # Training and evaluation in a loop of your own.
    "FreshCopies",
    "FreshDropoutCollator",
    "FreshEpochs",
    "FreshStream",
    "evaluate",
    "exact_match",
    "f1",
    "AnswerMetric",
    # Whole runs.
    "Recipe",
    "load_recipe",
    "run",
    "SweepRecipe",
    "sweep",
    "reproduce",
    # Settings.
    "CorpusSettings",
    "ScoreSettings",
    "AugmentSettings",
    "TrainSettings",
    "EvaluateSettings",
    "ReportSettings",
    "ExportSettings",
    "PretrainSettings",
    "SweepSettings",
    "ReproduceSettings",
    # Errors.
    "ElusiveError",
]

# The same names again for type checkers, and where each is loaded from when it is first used: `import elusive` loads
# neither torch nor numpy. tests/test_public_api.py compares the three lists.
if TYPE_CHECKING:
    from .attention.received import received_attention as received_attention
    from .augmentation.arm import Arm as Arm
    from .augmentation.arms import ARMS as ARMS
    from .augmentation.copies import AugmentedText as AugmentedText
    from .augmentation.from_clues import augment as augment
    from .augmentation.rules import drop_probability as drop_probability
    from .augmentation.stage import augment_corpus as augment_corpus
    from .clues.contrast import contrast as contrast
    from .clues.corpus_clues import CorpusClues as CorpusClues
    from .clues.corpus_clues import DocumentClues as DocumentClues
    from .clues.corpus_clues import RankedToken as RankedToken
    from .clues.pair import LoadedModel as LoadedModel
    from .clues.pair import Pair as Pair
    from .clues.pairs import pair_heads as pair_heads
    from .clues.pairs import pair_recall as pair_recall
    from .clues.ranks import rank_tokens as rank_tokens
    from .config.augmentation import AugmentSettings as AugmentSettings
    from .config.corpus import CorpusSettings as CorpusSettings
    from .config.evaluation import EvaluateSettings as EvaluateSettings
    from .config.models import ModelRef as ModelRef
    from .config.models import Models as Models
    from .config.run import Recipe as Recipe
    from .config.run import ReportSettings as ReportSettings
    from .config.scoring import ScoreSettings as ScoreSettings
    from .config.toml import load_recipe as load_recipe
    from .config.training import TrainSettings as TrainSettings
    from .config.verbs import ExportSettings as ExportSettings
    from .config.verbs import PretrainSettings as PretrainSettings
    from .config.verbs import ReproduceSettings as ReproduceSettings
    from .config.verbs import SweepRecipe as SweepRecipe
    from .config.verbs import SweepSettings as SweepSettings
    from .corpus.documents import Corpus as Corpus
    from .corpus.documents import Document as Document
    from .corpus.people.biographies import biography_corpus as biography_corpus
    from .corpus.questions import Example as Example
    from .corpus.questions import QuestionItem as QuestionItem
    from .corpus.questions import read_questions as read_questions
    from .corpus.readers import read_corpus as read_corpus
    from .corpus.stage import make_corpus as make_corpus
    from .corpus.tags import Span as Span
    from .errors import ElusiveError as ElusiveError
    from .evaluation.metrics import exact_match as exact_match
    from .evaluation.metrics import f1 as f1
    from .evaluation.normal_forms import AnswerMetric as AnswerMetric
    from .evaluation.stage import evaluate as evaluate
    from .evaluation.stage import evaluate_model as evaluate_model
    from .experiments.sweep import sweep as sweep
    from .exporting import export as export
    from .exporting.model import export_model as export_model
    from .models.loading import load_model as load_model
    from .models.loading import load_tokenizer as load_tokenizer
    from .paper.reproduce import reproduce as reproduce
    from .pipeline import run as run
    from .reporting import write_report as write_report
    from .reporting.results import read_results as read_results
    from .scoring.score import score_documents as score_documents
    from .scoring.shards import TokenScores as TokenScores
    from .scoring.shards import iterate_scores as iterate_scores
    from .scoring.shards import read_scores as read_scores
    from .scoring.stage import load_for_scoring as load_for_scoring
    from .scoring.stage import score_corpus as score_corpus
    from .training.fresh import FreshCopies as FreshCopies
    from .training.fresh import FreshDropoutCollator as FreshDropoutCollator
    from .training.fresh import FreshEpochs as FreshEpochs
    from .training.fresh_stream import FreshStream as FreshStream
    from .training.pretraining import pretrain as pretrain
    from .training.stage import train as train

_HOMES = {
    "ModelRef": "config.models",
    "Models": "config.models",
    "LoadedModel": "clues.pair",
    "Pair": "clues.pair",
    "CorpusClues": "clues.corpus_clues",
    "DocumentClues": "clues.corpus_clues",
    "RankedToken": "clues.corpus_clues",
    "augment": "augmentation.from_clues",
    "AugmentedText": "augmentation.copies",
    "Corpus": "corpus.documents",
    "Document": "corpus.documents",
    "Span": "corpus.tags",
    "QuestionItem": "corpus.questions",
    "Example": "corpus.questions",
    "read_corpus": "corpus.readers",
    "make_corpus": "corpus.stage",
    "read_questions": "corpus.questions",
    "biography_corpus": "corpus.people.biographies",
    "load_model": "models.loading",
    "load_tokenizer": "models.loading",
    "load_for_scoring": "scoring.stage",
    "received_attention": "attention.received",
    "TokenScores": "scoring.shards",
    "score_documents": "scoring.score",
    "contrast": "clues.contrast",
    "rank_tokens": "clues.ranks",
    "drop_probability": "augmentation.rules",
    "Arm": "augmentation.arm",
    "ARMS": "augmentation.arms",
    "pair_recall": "clues.pairs",
    "pair_heads": "clues.pairs",
    "score_corpus": "scoring.stage",
    "read_scores": "scoring.shards",
    "iterate_scores": "scoring.shards",
    "augment_corpus": "augmentation.stage",
    "train": "training.stage",
    "pretrain": "training.pretraining",
    "evaluate_model": "evaluation.stage",
    "read_results": "reporting.results",
    "write_report": "reporting",
    "export": "exporting",
    "export_model": "exporting.model",
    "FreshCopies": "training.fresh",
    "FreshDropoutCollator": "training.fresh",
    "FreshEpochs": "training.fresh",
    "FreshStream": "training.fresh_stream",
    "evaluate": "evaluation.stage",
    "exact_match": "evaluation.metrics",
    "f1": "evaluation.metrics",
    "AnswerMetric": "evaluation.normal_forms",
    "Recipe": "config.run",
    "load_recipe": "config.toml",
    "run": "pipeline",
    "SweepRecipe": "config.verbs",
    "sweep": "experiments.sweep",
    "reproduce": "paper.reproduce",
    "CorpusSettings": "config.corpus",
    "ScoreSettings": "config.scoring",
    "AugmentSettings": "config.augmentation",
    "TrainSettings": "config.training",
    "EvaluateSettings": "config.evaluation",
    "ReportSettings": "config.run",
    "ExportSettings": "config.verbs",
    "PretrainSettings": "config.verbs",
    "SweepSettings": "config.verbs",
    "ReproduceSettings": "config.verbs",
    "ElusiveError": "errors",
}


def _load(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'elusive' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


if not TYPE_CHECKING:  # else every misspelt name would have a type
    __getattr__ = _load


def __dir__() -> list[str]:
    return sorted(__all__)
