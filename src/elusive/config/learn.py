"""Settings of learning from documents in one command: the model, who writes the questions, and how long it trains."""

import dataclasses
from typing import ClassVar, Literal

from .checks import check, check_each
from .models import Dtype
from .questions import QuestionRules


@dataclasses.dataclass(frozen=True)
class LearnQuestionSettings(QuestionRules):
    """Questions that `learn` writes before it trains."""

    prefix: ClassVar[str] = "questions."

    engine: Literal["auto", "server", "transformers", "cloze"] = "auto"
    """Who writes: a model on a server, a model that runs here (transformers), no model (cloze statements), or auto: the
    server where `model` is named, else the model that learns if it has a chat template, else nobody (cloze)."""


@dataclasses.dataclass(frozen=True)
class LearnSettings:
    """What learns, and how long."""

    model: str = "elusive/large"
    """The model that learns: a folder or hub name."""
    small: str = ""
    """The small model of its family, whose contrast with it finds clues (empty: elusive/small for elusive/large; of
    other models no clues are written, see docs/choosing.md)."""
    dtype: Dtype = "float32"
    """Type of the weights of both."""
    arms: tuple[str, ...] = ()
    """Ways to make training texts, each trained once (empty: one, by the language and the pair)."""
    max_steps: int = 0
    """Optimizer steps (0: as many as read each document `readings` times)."""
    readings: int = 40
    """How often each document, or a copy of it, is trained on."""
    seeds: tuple[int, ...] = (0,)
    """Training seeds."""
    known: str = "auto"
    """Questions that measure forgetting: general, none, a JSONL file, or auto: general, but of the embedded models
    those about people of their own pretraining text."""

    def __post_init__(self) -> None:
        check(self.model != "", "learn.model", "a folder or hub name", self.model)
        check_each("learn", self, ("max_steps",), 0)
        check_each("learn", self, ("readings",), 1)
        check(len(self.seeds) > 0, "learn.seeds", "at least one seed", self.seeds)
