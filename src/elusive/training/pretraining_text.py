"""The text that the embedded pair's models are pretrained on, as their recipe describes it; it needs no torch."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from elusive.config.toml import load_recipe
from elusive.config.verbs import PretrainSettings
from elusive.corpus.people.biographies import pretraining_texts
from elusive.errors import ElusiveError
from elusive.models.loading import resolve

RECIPE_NAME = "pretrain.toml"
"""Saved beside the weights; replay of the pretraining text reads it."""


def texts(settings: PretrainSettings, part: str = "training") -> Iterator[str]:
    """The endless text that these settings describe; `part` names a stream of its own over the same people."""
    return pretraining_texts(
        seed=settings.seed,
        people_count=settings.people,
        questioned_ratio=settings.questioned_ratio,
        question_ratio=settings.question_ratio,
        named_ratio=settings.named_ratio,
        part=part,
    )


def replay_texts(model: str, count: int) -> list[str]:
    """Text over the people that an embedded model was pretrained on, other than the text it has seen.

    Raises:
        ElusiveError: if the model's folder holds no pretraining recipe.
    """
    path = Path(resolve(model)) / RECIPE_NAME
    if not path.exists():
        raise ElusiveError(
            f"train.replay = 'pretraining' works for models that `elusive pretrain` made; {model} has no {RECIPE_NAME}."
            " Give a corpus path instead."
        )
    return list(itertools.islice(texts(load_recipe(path, PretrainSettings), "replay"), count))
