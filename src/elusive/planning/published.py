"""Models that people use, and pairs of them: models.toml, which stands for configurations that are not at hand."""

import functools
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elusive.config.toml import from_table

from .costs import ModelShape


@dataclass(frozen=True)
class PublishedModel:
    """A model of the hub.

    Attributes:
        architecture: its model_type in transformers.
        parameters: how many it has, as published.
        licence: of its weights, by the hub's name for it.
        gated: the hub asks for an account that has accepted the licence.
        shape: its sizes, see `ModelShape`.
    """

    architecture: str
    parameters: int
    licence: str
    gated: bool = False
    shape: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Preset:
    """A pair of models to begin with: hub names, and what is to be known of them."""

    large: str
    small: str
    note: str = ""


@dataclass(frozen=True)
class _Published:
    models: dict[str, Any]
    presets: dict[str, Any]


def presets() -> dict[str, Preset]:
    """The pairs by name."""
    return {name: from_table(Preset, table, f"models.toml: {name}") for name, table in _published().presets.items()}


def published_models() -> dict[str, PublishedModel]:
    """The models by hub name."""
    found = _published().models
    return {name: from_table(PublishedModel, table, f"models.toml: {name}") for name, table in found.items()}


def published_shape(model: str, title: str = "") -> ModelShape | None:
    """The sizes of a published model; None for any other.

    Args:
        model: its hub name.
        title: its name in tables (empty: the last part of the hub name).
    """
    found = published_models().get(model)
    return found and ModelShape(name=title or model.rpartition("/")[2], **found.shape)


@functools.cache
def _published() -> _Published:
    table = tomllib.loads((Path(__file__).parent / "models.toml").read_text(encoding="utf-8"))
    return from_table(_Published, table, "models.toml")
